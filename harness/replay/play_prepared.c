/* A shape is parsed once, and only if it has one of the words. */
#define _GNU_SOURCE
#include "replay/play_prepared.h"

#include "base/json.h"
#include "base/vec.h"
#include "sql/parse.h"

#include <stdlib.h>
#include <string.h>

enum use { USE_UNKNOWN, USE_NONE, USE_MAKES, USE_FREES, USE_FREES_ALL };

struct of_shape {
	enum use use;
	char *name; /* of MAKES and FREES */
};

struct names {
	VEC(char *) at;
};

struct of_session {
	struct names protocol, sql;
};

struct play_prepared {
	VEC(struct of_shape) shapes;
	VEC(struct of_session *) sessions; /* by number; NULL: it has no names */
};

struct play_prepared *play_prepared_create(void)
{
	struct play_prepared *p = calloc(1, sizeof *p);
	if (p == NULL)
		abort();
	return p;
}

static void clear(struct names *names)
{
	for (size_t i = 0; i < names->at.n; i++)
		free(names->at.at[i]);
	VEC_FREE(&names->at);
}

void play_prepared_end(struct play_prepared *p, uint32_t session)
{
	if (session >= p->sessions.n || p->sessions.at[session] == NULL)
		return;
	clear(&p->sessions.at[session]->protocol);
	clear(&p->sessions.at[session]->sql);
	free(p->sessions.at[session]);
	p->sessions.at[session] = NULL;
}

void play_prepared_free(struct play_prepared *p)
{
	if (p == NULL)
		return;
	for (uint32_t i = 0; i < p->sessions.n; i++)
		play_prepared_end(p, i);
	for (size_t i = 0; i < p->shapes.n; i++)
		free(p->shapes.at[i].name);
	VEC_FREE(&p->sessions);
	VEC_FREE(&p->shapes);
	free(p);
}

/* ---- names ---- */

static void remove_at(struct names *names, size_t i)
{
	free(names->at.at[i]);
	names->at.n--;
	memmove(names->at.at + i, names->at.at + i + 1, (names->at.n - i) * sizeof *names->at.at);
}

/* The latest are looked at first. true: it was there. */
static bool take_out(struct names *names, const char *name)
{
	for (size_t i = names->at.n; i > 0; i--)
		if (strcmp(names->at.at[i - 1], name) == 0) {
			remove_at(names, i - 1);
			return true;
		}
	return false;
}

static void add(struct names *names, const char *name)
{
	for (size_t i = names->at.n; i > 0; i--)
		if (strcmp(names->at.at[i - 1], name) == 0)
			return;
	if (names->at.n >= PREPARED_NAMES_MAX)
		remove_at(names, 0);
	char *copy = strdup(name);
	if (copy == NULL)
		abort();
	VEC_PUSH(&names->at, copy);
}

/* ---- shapes ---- */

static bool frees_all(const json_t *stmt)
{
	const json_t *freed = json_object_get(stmt, "DeallocateStmt"), *discarded = json_object_get(stmt, "DiscardStmt");
	return (freed != NULL && json_get_string(freed, "name", NULL) == NULL) ||
		strcmp(json_get_string(discarded, "target", ""), "DISCARD_ALL") == 0;
}

static struct of_shape use_of_tree(const json_t *statements)
{
	const json_t *statement;
	size_t i;
	json_array_foreach(statements, i, statement)
	{
		if (frees_all(json_object_get(statement, "stmt")))
			return (struct of_shape){.use = USE_FREES_ALL};
	}
	const json_t *stmt = json_object_get(json_array_get(statements, 0), "stmt");
	const json_t *freed = json_object_get(stmt, "DeallocateStmt");
	const char *name = json_get_string(freed != NULL ? freed : json_object_get(stmt, "PrepareStmt"), "name", NULL);
	if (name == NULL || json_array_size(statements) > 1)
		return (struct of_shape){.use = USE_NONE};
	struct of_shape s = {.use = freed != NULL ? USE_FREES : USE_MAKES, .name = strdup(name)};
	if (s.name == NULL)
		abort();
	return s;
}

/* With 1 for each literal, which parses wherever a number or what is between quotes may stand. */
static struct of_shape look_at(const struct trace_shape *shape)
{
	struct of_shape s = {.use = USE_NONE};
	struct error ignored;
	json_t *tree;
	if (strcasestr(shape->text, "prepare") == NULL && strcasestr(shape->text, "deallocate") == NULL &&
		strcasestr(shape->text, "discard") == NULL)
		return s;
	char *sql = strdup(shape->text);
	if (sql == NULL)
		abort();
	for (char *mark = sql; (mark = strchr(mark, SHAPE_MARK)) != NULL;)
		*mark = '1';
	if (sql_parse(sql, &tree, NULL, &ignored) == ST_OK) {
		s = use_of_tree(json_object_get(tree, "stmts"));
		json_decref(tree);
	}
	free(sql);
	return s;
}

static const struct of_shape *use_of(struct play_prepared *p, const struct trace_shape *shape)
{
	while (p->shapes.n <= shape->number)
		VEC_PUSH(&p->shapes, (struct of_shape){0});
	struct of_shape *s = &p->shapes.at[shape->number];
	if (s->use == USE_UNKNOWN)
		*s = look_at(shape);
	return s;
}

/* ---- statements ---- */

static struct of_session *session_of(struct play_prepared *p, uint32_t number)
{
	while (p->sessions.n <= number)
		VEC_PUSH(&p->sessions, NULL);
	struct of_session **s = &p->sessions.at[number];
	if (*s == NULL && (*s = calloc(1, sizeof **s)) == NULL)
		abort();
	return *s;
}

enum prepared_fate play_prepared_next(struct play_prepared *p, const struct trace_event *e)
{
	if (e->shape == NULL)
		return PREPARED_SEND;
	const struct of_shape *shape = use_of(p, e->shape);
	bool named = e->kind == CAPTURED_EXECUTE && e->name[0] != '\0';
	if (named)
		add(&session_of(p, e->session->number)->protocol, e->name);
	if (shape->use == USE_NONE || strcmp(e->sqlstate, "00000") != 0)
		return shape->use == USE_FREES_ALL ? PREPARED_FREES_ALL : PREPARED_SEND;
	if (shape->use == USE_FREES_ALL) {
		play_prepared_end(p, e->session->number);
		return PREPARED_FREES_ALL;
	}
	struct of_session *s = session_of(p, e->session->number);
	if (shape->use == USE_MAKES)
		add(&s->sql, shape->name);
	else if (!take_out(&s->sql, shape->name) && take_out(&s->protocol, shape->name))
		return PREPARED_LEAVE_OUT;
	return PREPARED_SEND;
}
