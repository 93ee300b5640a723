/* The mark: read, compared with where we are, written, taken away. */
#define _GNU_SOURCE
#include "clone/mark.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/json.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MARK_WORDS "pgrehearse clone"
#define COMMENT_MAX 65536

static const char QUERY_PLACE[] =
	"SELECT pg_catalog.current_database(), d.oid, pg_catalog.to_char(pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC',"
	" 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), COALESCE(pg_catalog.host(pg_catalog.inet_server_addr()), ''),"
	" COALESCE((SELECT setting FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'port'), ''),"
	" COALESCE((SELECT setting FROM pg_catalog.pg_settings WHERE name OPERATOR(pg_catalog.=) 'data_directory'), ''),"
	" COALESCE(pg_catalog.shobj_description(d.oid, 'pg_database'), ''), session_user,"
	" pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')"
	" AND pg_catalog.has_function_privilege('pg_catalog.pg_control_checkpoint()', 'EXECUTE')"
	" FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/* Of a standby's control file the timeline is that of its last restart point, which is near enough for what it is for. */
static const char QUERY_CONTROL[] =
	"SELECT s.system_identifier, c.timeline_id FROM pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c";

static void take(PGresult *res, int column, char *out, size_t size)
{
	snprintf(out, size, "%s", PQgetvalue(res, 0, column));
}

/* Where a connection leads, and what stands there. */
struct commented {
	struct mark_place here;
	char *user, *comment;
	char *at;      /* where the mark begins within comment: its words, on a line of their own where it is bound; or NULL */
	json_t *bound; /* to what; or NULL */
};

static void forget(struct commented *c)
{
	json_decref(c->bound);
	free(c->comment);
	free(c->user);
}

static void find_mark(struct commented *c)
{
	for (char *p = c->comment; (p = strstr(p, MARK_WORDS)) != NULL; p += sizeof MARK_WORDS - 1)
		c->at = p;
	if (c->at != NULL)
		c->bound = json_loads(c->at + sizeof MARK_WORDS - 1, 0, NULL);
	if (c->bound != NULL && !json_is_object(c->bound)) {
		json_decref(c->bound);
		c->bound = NULL;
	}
}

/* forget(out) after ST_OK. */
static enum status read_place(PGconn *conn, struct commented *out, struct error *err)
{
	*out = (struct commented){.user = NULL};
	struct mark_place *here = &out->here;
	PGresult *res = PQexec(conn, QUERY_PLACE);
	if (PQresultStatus(res) != PGRES_TUPLES_OK || PQntuples(res) != 1) {
		enum status st = error_set(err, ST_FAILED, "cannot ask the target where it is: %.400s", PQresultErrorMessage(res));
		PQclear(res);
		return st;
	}
	take(res, 0, here->database, sizeof here->database);
	take(res, 1, here->oid, sizeof here->oid);
	take(res, 2, here->started, sizeof here->started);
	take(res, 3, here->address, sizeof here->address);
	take(res, 4, here->port, sizeof here->port);
	take(res, 5, here->directory, sizeof here->directory);
	out->comment = strdup(PQgetvalue(res, 0, 6));
	out->user = strdup(PQgetvalue(res, 0, 7));
	bool tells_control = strcmp(PQgetvalue(res, 0, 8), "t") == 0;
	PQclear(res);
	if (out->comment == NULL || out->user == NULL)
		abort();
	find_mark(out);
	if (!tells_control)
		return ST_OK;
	PGresult *control = PQexec(conn, QUERY_CONTROL);
	if (PQresultStatus(control) == PGRES_TUPLES_OK && PQntuples(control) == 1) {
		take(control, 0, here->system, sizeof here->system);
		take(control, 1, here->timeline, sizeof here->timeline);
	}
	PQclear(control);
	return ST_OK;
}

static bool differs(const char *what, const json_t *then, const char *key, const char *now, bool needed, char *out, size_t size)
{
	const char *was = json_get_string(then, key, "");
	if (strcmp(was, now) == 0 || (!needed && (was[0] == '\0' || now[0] == '\0')))
		return false;
	snprintf(out, size, "%s was %.120s, and is %.120s", what, was[0] != '\0' ? was : "not known", now);
	return true;
}

/* The more telling difference first. Only the start has to be known on both sides. */
static bool is_elsewhere(const json_t *then, const struct mark_place *here, char *out, size_t size)
{
	return differs("its system identifier", then, "system", here->system, false, out, size) ||
		differs("its timeline", then, "timeline", here->timeline, false, out, size) ||
		differs("its data directory", then, "directory", here->directory, false, out, size) ||
		differs("its address", then, "address", here->address, false, out, size) ||
		differs("its port", then, "port", here->port, false, out, size) ||
		differs("the database's name", then, "database", here->database, true, out, size) ||
		differs("the database's oid", then, "oid", here->oid, true, out, size) ||
		differs("the start of the server", then, "started", here->started, true, out, size);
}

static void trim(char *text)
{
	size_t n = strlen(text);
	while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
		text[--n] = '\0';
}

enum status mark_read(PGconn *conn, struct mark *out, struct error *err)
{
	struct commented c;
	*out = (struct mark){.state = MARK_NONE};
	enum status st = read_place(conn, &c, err);
	if (st != ST_OK)
		return st;
	out->here = c.here;
	if (c.at != NULL && c.bound == NULL)
		out->state = MARK_UNBOUND;
	if (c.at != NULL && c.bound != NULL) {
		out->state = is_elsewhere(c.bound, &c.here, out->difference, sizeof out->difference) ? MARK_ELSEWHERE : MARK_VALID;
		snprintf(out->since, sizeof out->since, "%s", json_get_string(c.bound, "marked", "?"));
		snprintf(out->by, sizeof out->by, "%s", json_get_string(c.bound, "by", "?"));
		*c.at = '\0';
	}
	trim(c.comment);
	snprintf(out->comment, sizeof out->comment, "%s", c.comment);
	forget(&c);
	return ST_OK;
}

static enum status set_comment(PGconn *conn, const char *database, const char *comment, struct error *err)
{
	char *name = PQescapeIdentifier(conn, database, strlen(database));
	char *text = comment[0] != '\0' ? PQescapeLiteral(conn, comment, strlen(comment)) : NULL;
	struct buf sql;
	buf_init(&sql, COMMENT_MAX * 2);
	if (name != NULL)
		buf_printf(&sql, "COMMENT ON DATABASE %s IS %s", name, text != NULL ? text : "NULL");
	PGresult *res = PQexec(conn, sql.data);
	enum status st = ST_OK;
	if (name == NULL || sql.overflow || PQresultStatus(res) != PGRES_COMMAND_OK) {
		const char *why = PQresultErrorMessage(res);
		st = error_set(err, ST_FAILED, "the comment on the database %.200s cannot be written: %.*s", database,
			(int)strcspn(why, "\n"), why);
		error_hint(err, "connect as the owner of the database");
	}
	PQclear(res);
	buf_free(&sql);
	PQfreemem(name);
	PQfreemem(text);
	return st;
}

static json_t *describe(const struct mark_place *here, const char *user)
{
	char now[40];
	clock_format_wall(clock_wall_ns(), now, sizeof now);
	json_t *bound = json_pack("{s:s, s:o, s:s, s:s, s:s}", "marked", now, "by", json_text(user), "started", here->started, "database",
		here->database, "oid", here->oid);
	const struct {
		const char *key, *value;
	} told[] = {{"system", here->system}, {"timeline", here->timeline}, {"address", here->address}, {"port", here->port},
		{"directory", here->directory}};
	for (size_t i = 0; i < sizeof told / sizeof told[0]; i++)
		if (told[i].value[0] != '\0')
			json_object_set_new(bound, told[i].key, json_text(told[i].value));
	return bound;
}

enum status mark_write(PGconn *conn, struct error *err)
{
	struct commented c;
	enum status st = read_place(conn, &c, err);
	if (st != ST_OK)
		return st;
	if (c.at != NULL && (c.bound != NULL || strcmp(c.comment, MARK_WORDS) == 0))
		*c.at = '\0';
	trim(c.comment);
	json_t *bound = describe(&c.here, c.user);
	char *json = json_dumps(bound, JSON_COMPACT);
	struct buf text;
	buf_init(&text, COMMENT_MAX);
	if (json == NULL)
		abort();
	buf_printf(&text, "%s%s" MARK_WORDS " %s", c.comment, c.comment[0] != '\0' ? "\n" : "", json);
	st = text.overflow ? error_set(err, ST_FAILED, "the comment on the database is too long to add a mark to it")
			   : set_comment(conn, c.here.database, text.data, err);
	buf_free(&text);
	free(json);
	json_decref(bound);
	forget(&c);
	return st;
}

enum status mark_remove(PGconn *conn, struct error *err)
{
	struct commented c;
	enum status st = read_place(conn, &c, err);
	if (st != ST_OK)
		return st;
	if (c.at == NULL) {
		st = error_set(err, ST_USAGE, "the database %.200s has no mark", c.here.database);
	} else {
		/* An unbound one is words that somebody wrote; there may be more of them behind it. */
		char *behind = c.at + sizeof MARK_WORDS - 1;
		if (c.bound != NULL)
			*c.at = '\0';
		else
			memmove(c.at, behind, strlen(behind) + 1);
		trim(c.comment);
		st = set_comment(conn, c.here.database, c.comment, err);
	}
	forget(&c);
	return st;
}
