/* One walk over libpg_query's tree. A comparison puts its column above the parameters on its other side; what is nearer wins. */
#define _GNU_SOURCE
#include "replay/columns.h"

#include "base/json.h"
#include "sql/parse.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 200

struct walk {
	struct statement_columns *out;
	struct param_column *params;
	size_t n;
	int depth;
};

static void walk(struct walk *w, const json_t *node, const struct param_column *near);

static const char *string_of(const json_t *node)
{
	const json_t *string = json_object_get(node, "String");
	return json_get_string(string, "sval", json_get_string(string, "str", ""));
}

static void copy_name(char *to, const char *from)
{
	snprintf(to, COLUMNS_NAME_MAX, "%s", from);
}

static void note_table(struct walk *w, const json_t *range)
{
	struct statement_columns *o = w->out;
	const char *schema = json_get_string(range, "schemaname", NULL), *name = json_get_string(range, "relname", "");
	const char *alias = json_get_string(json_object_get(range, "alias"), "aliasname", name);
	char whole[2 * COLUMNS_NAME_MAX];
	snprintf(whole, sizeof whole, "%s%s%s", schema != NULL ? schema : "", schema != NULL ? "." : "", name);
	for (size_t i = 0; i < o->n_tables; i++)
		if (strcmp(o->tables[i], whole) == 0 && strcmp(o->aliases[i], alias) == 0)
			return;
	if (o->n_tables == COLUMNS_TABLES_MAX)
		return;
	memcpy(o->tables[o->n_tables], whole, sizeof whole);
	copy_name(o->aliases[o->n_tables++], alias);
}

/* The table's alias stands in for its name until all tables are known. */
static bool read_column(const json_t *node, struct param_column *out)
{
	const json_t *ref = json_object_get(node, "ColumnRef"), *fields = json_object_get(ref, "fields");
	size_t n = json_array_size(fields);
	if (n == 0)
		return false;
	const char *column = string_of(json_array_get(fields, n - 1));
	copy_name(out->column, column);
	copy_name(out->table, n > 1 ? string_of(json_array_get(fields, n - 2)) : "");
	return column[0] != '\0';
}

/* A column below the node, as in lower(email) or id::text. */
static bool find_column(const json_t *node, struct param_column *out, int depth)
{
	const char *key;
	const json_t *member;
	size_t i;
	if (depth > 4)
		return false;
	if (json_is_array(node)) {
		json_array_foreach(node, i, member)
		{
			if (find_column(member, out, depth + 1))
				return true;
		}
	} else if (json_is_object(node)) {
		if (read_column(node, out))
			return true;
		json_object_foreach((json_t *)(uintptr_t)node, key, member)
		{
			if (strcmp(key, "SubLink") != 0 && find_column(member, out, depth + 1))
				return true;
		}
	}
	return false;
}

static void walk_comparison(struct walk *w, const json_t *expr, const struct param_column *near)
{
	const json_t *left = json_object_get(expr, "lexpr"), *right = json_object_get(expr, "rexpr");
	const char *kind = json_get_string(expr, "kind", ""), *op = string_of(json_array_get(json_object_get(expr, "name"), 0));
	bool equal = strcmp(op, "=") == 0 || strcmp(kind, "AEXPR_IN") == 0;
	bool compares = equal || strcmp(op, "<") == 0 || strcmp(op, ">") == 0 || strcmp(op, "<=") == 0 || strcmp(op, ">=") == 0 ||
		strcmp(op, "<>") == 0 || strstr(kind, "BETWEEN") != NULL || strstr(kind, "LIKE") != NULL;
	struct param_column inner = {.use = equal ? PARAM_KEY : PARAM_RANGE, .array = strcmp(kind, "AEXPR_OP_ANY") == 0};
	if (!compares) {
		/* x + $1 within SET x = ...: a part of x. */
		inner = near != NULL ? *near : (struct param_column){0};
		inner.part = true;
		walk(w, left, &inner);
		walk(w, right, &inner);
		return;
	}
	bool plain = read_column(left, &inner) || find_column(left, &inner, 0);
	walk(w, right, plain ? &inner : NULL);
	plain = read_column(right, &inner) || find_column(right, &inner, 0);
	walk(w, left, plain ? &inner : NULL);
}

static void walk_insert(struct walk *w, const json_t *insert)
{
	const json_t *cols = json_object_get(insert, "cols"), *select = json_object_get(insert, "selectStmt");
	const json_t *lists = json_object_get(json_object_get(select, "SelectStmt"), "valuesLists"), *list, *item;
	size_t i, j;
	note_table(w, json_object_get(insert, "relation"));
	const char *alias = w->out->n_tables > 0 ? w->out->aliases[0] : "";
	json_array_foreach(lists, i, list)
	{
		json_array_foreach(json_object_get(json_object_get(list, "List"), "items"), j, item)
		{
			struct param_column written = {.use = PARAM_WRITTEN, .position = json_array_size(cols) == 0 ? (int)j + 1 : 0};
			const json_t *col = json_object_get(json_array_get(cols, j), "ResTarget");
			copy_name(written.table, alias);
			copy_name(written.column, json_get_string(col, "name", ""));
			walk(w, item, &written);
		}
	}
	if (json_array_size(lists) == 0)
		walk(w, select, NULL);
	const json_t *returned = json_object_get(json_array_get(json_object_get(insert, "returningList"), 0), "ResTarget");
	struct param_column first = {0};
	if (read_column(json_object_get(returned, "val"), &first))
		copy_name(w->out->returning, first.column);
	walk(w, json_object_get(insert, "onConflictClause"), NULL);
	walk(w, json_object_get(insert, "withClause"), NULL);
}

static void walk_update(struct walk *w, const json_t *update)
{
	const json_t *target;
	size_t i;
	const char *alias;
	note_table(w, json_object_get(update, "relation"));
	alias = json_get_string(json_object_get(json_object_get(update, "relation"), "alias"), "aliasname",
		json_get_string(json_object_get(update, "relation"), "relname", ""));
	json_array_foreach(json_object_get(update, "targetList"), i, target)
	{
		const json_t *res = json_object_get(target, "ResTarget");
		struct param_column set = {.use = PARAM_SET};
		copy_name(set.table, alias);
		copy_name(set.column, json_get_string(res, "name", ""));
		walk(w, json_object_get(res, "val"), &set);
	}
	walk(w, json_object_get(update, "fromClause"), NULL);
	walk(w, json_object_get(update, "whereClause"), NULL);
	walk(w, json_object_get(update, "withClause"), NULL);
}

static void note_param(struct walk *w, int64_t number, const struct param_column *near)
{
	if (number < 1 || (size_t)number > w->n || near == NULL || w->params[number - 1].use != PARAM_OTHER)
		return;
	w->params[number - 1] = *near;
}

/* What is named by its type in the tree. */
static bool walk_node(struct walk *w, const char *key, const json_t *node, const struct param_column *near)
{
	static const struct param_column LIMIT = {.use = PARAM_LIMIT}, OFFSET = {.use = PARAM_OFFSET};
	if (strcmp(key, "ParamRef") == 0)
		note_param(w, json_get_int(node, "number", 0), near);
	else if (strcmp(key, "RangeVar") == 0)
		note_table(w, node);
	else if (strcmp(key, "A_Expr") == 0)
		walk_comparison(w, node, near);
	else if (strcmp(key, "InsertStmt") == 0)
		walk_insert(w, node);
	else if (strcmp(key, "UpdateStmt") == 0)
		walk_update(w, node);
	else if (strcmp(key, "limitCount") == 0)
		walk(w, node, &LIMIT);
	else if (strcmp(key, "limitOffset") == 0)
		walk(w, node, &OFFSET);
	else if (strcmp(key, "SubLink") == 0)
		walk(w, json_object_get(node, "subselect"), NULL);
	else
		return false;
	return true;
}

static void walk(struct walk *w, const json_t *node, const struct param_column *near)
{
	const char *key;
	const json_t *member;
	size_t i;
	if (node == NULL || w->depth >= DEPTH_MAX)
		return;
	w->depth++;
	if (json_is_array(node)) {
		json_array_foreach(node, i, member) walk(w, member, near);
	} else if (json_is_object(node)) {
		json_object_foreach((json_t *)(uintptr_t)node, key, member)
		{
			if (strcmp(key, "relation") == 0 && json_object_get(member, "relname") != NULL)
				note_table(w, member);
			else if (!walk_node(w, key, member, near))
				walk(w, member, near);
		}
	}
	w->depth--;
}

/* Aliases become tables; a column without one belongs to the only table there is. */
static void resolve(const struct statement_columns *s, struct param_column *p)
{
	if (p->use == PARAM_OTHER || p->use >= PARAM_LIMIT)
		return;
	for (size_t i = 0; p->table[0] != '\0' && i < s->n_tables; i++)
		if (strcmp(s->aliases[i], p->table) == 0) {
			memcpy(p->table, s->tables[i], sizeof p->table);
			return;
		}
	if (s->n_tables == 1)
		memcpy(p->table, s->tables[0], sizeof p->table);
}

bool columns_of(const char *sql, struct statement_columns *out, struct param_column *params, size_t n)
{
	static const struct {
		const char *node, *verb;
	} VERBS[] = {{"SelectStmt", "select"}, {"InsertStmt", "insert"}, {"UpdateStmt", "update"}, {"DeleteStmt", "delete"},
		{"MergeStmt", "merge"}, {"CallStmt", "call"}};
	json_t *tree = NULL;
	struct error err;
	*out = (struct statement_columns){0};
	memset(params, 0, n * sizeof *params);
	if (sql_parse(sql, &tree, NULL, &err) != ST_OK)
		return false;
	const json_t *statements = json_object_get(tree, "stmts"), *first = json_object_get(json_array_get(statements, 0), "stmt");
	out->n_statements = json_array_size(statements);
	for (size_t i = 0; i < sizeof VERBS / sizeof VERBS[0]; i++)
		if (json_object_get(first, VERBS[i].node) != NULL)
			snprintf(out->verb, sizeof out->verb, "%s", VERBS[i].verb);
	struct walk w = {out, params, n, 0};
	walk(&w, statements, NULL);
	for (size_t i = 0; i < n; i++)
		resolve(out, &params[i]);
	json_decref(tree);
	return true;
}
