/* Reads a workload: Lua (workloads/lib/workload.lua) checks the table and lays it out as a plan, this file copies the plan. */
#define _GNU_SOURCE
#include "load/workload.h"

#include "base/clock.h"
#include "base/buf.h"
#include "base/fs.h"
#include "base/units.h"
#include "base/vec.h"
#include "load/random.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the public struct points into; freed together. */
struct loaded {
	struct workload pub;  /* first: a struct workload * is a struct loaded * */
	const char *scenario; /* its path, or NULL; only while loading */
	VEC(void *) owned;
};

static void *own(struct loaded *l, void *memory)
{
	if (memory == NULL)
		abort(); /* as vec_grow: this is set-up */
	VEC_PUSH(&l->owned, memory);
	return memory;
}

static void *own_zeroed(struct loaded *l, size_t n, size_t size)
{
	return own(l, calloc(n > 0 ? n : 1, size));
}

/* The string in field key of the table on top, or NULL. */
static const char *own_field(struct loaded *l, const char *key)
{
	lua_State *L = l->pub.L;
	const char *text = lua_getfield(L, -1, key) == LUA_TSTRING ? lua_tostring(L, -1) : NULL;
	char *copy = text != NULL ? own(l, strdup(text)) : NULL;
	lua_pop(L, 1);
	return copy;
}

/* ---- where it is ---- */

static bool is_file(const char *path)
{
	return fs_exists(path) && !fs_is_dir(path);
}

static void folder_of(const char *path, char out[static PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	if (slash == NULL)
		snprintf(out, PATH_MAX, ".");
	else
		snprintf(out, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

/* Scripts of pgbench in one line (workloads/lib/pgbench/init.lua) instead of a file. */
#define PGBENCH "pgbench:"

static bool is_pgbench(const char *name)
{
	return strncmp(name, PGBENCH, strlen(PGBENCH)) == 0;
}

/* The line with one more setting: the folder of the file that names it, where scripts may lie. */
static enum status find_pgbench(const char *name, const char *beside, char **out, struct error *err)
{
	struct buf line;
	buf_init(&line, (size_t)1 << 20);
	buf_str(&line, name);
	if (beside != NULL) {
		char folder[PATH_MAX];
		folder_of(beside, folder);
		buf_printf(&line, "%cbeside=", strchr(name, '?') != NULL ? '&' : '?');
		for (const char *c = folder; *c != '\0'; c++)
			buf_printf(&line, *c == '&' || *c == '%' ? "%%%02X" : "%c", (unsigned char)*c);
	}
	enum status st = line.overflow ? error_set(err, ST_USAGE, "the names of the pgbench scripts are too long") : ST_OK;
	if (st == ST_OK && (*out = strdup(line.data)) == NULL)
		st = error_set(err, ST_FAILED, "out of memory");
	buf_free(&line);
	return st;
}

enum status workload_find(const char *name, const char *beside, char **out, struct error *err)
{
	*out = NULL;
	if (is_pgbench(name))
		return find_pgbench(name, beside, out, err);
	size_t len = strlen(name);
	bool suffixed = len > 4 && strcmp(name + len - 4, ".lua") == 0;
	if (len == 0 || len > 1024)
		return error_set(err, ST_USAGE, len == 0 ? "the name of the workload is empty" : "the name of the workload is too long");
	char folder[PATH_MAX], tried[3][PATH_MAX + 2048];
	int n = 0;
	if (suffixed || strchr(name, '/') != NULL)
		snprintf(tried[n++], sizeof tried[0], "%s", name);
	if (beside != NULL && name[0] != '/') {
		folder_of(beside, folder);
		snprintf(tried[n++], sizeof tried[0], "%s/%s%s", folder, name, suffixed ? "" : ".lua");
	}
	if (name[0] != '/')
		snprintf(tried[n++], sizeof tried[0], "%s/workloads/%s%s", script_home(), name, suffixed ? "" : ".lua");
	for (int i = 0; i < n; i++) {
		if (is_file(tried[i])) {
			*out = strdup(tried[i]);
			return *out != NULL ? ST_OK : error_set(err, ST_FAILED, "out of memory");
		}
	}
	error_set(err, ST_USAGE, "there is no workload %s", name);
	error_hint(
		err, "looked for %s%s%s%s%s", tried[0], n > 1 ? ", " : "", n > 1 ? tried[1] : "", n > 2 ? ", " : "", n > 2 ? tried[2] : "");
	return ST_USAGE;
}

/* Lets `require` find modules beside the file, in lib/ first. */
static void add_folder_of(lua_State *L, const char *path)
{
	char folder[PATH_MAX];
	folder_of(path, folder);
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "path");
	const char *before = lua_tostring(L, -1);
	if (before == NULL)
		before = "";
	lua_pushfstring(L, "%s/lib/?.lua;%s/lib/?/init.lua;%s/?.lua", folder, folder, folder);
	if (strstr(before, lua_tostring(L, -1)) == NULL) {
		lua_pushfstring(L, "%s%s%s", before, before[0] != '\0' ? ";" : "", lua_tostring(L, -1));
		lua_setfield(L, -4, "path");
	}
	lua_pop(L, 3);
}

enum status workload_create_state(const char *workload_path, const char *scenario_path, lua_State **out, struct error *err)
{
	char workloads[PATH_MAX], scenarios[PATH_MAX];
	snprintf(workloads, sizeof workloads, "%s/workloads/lib", script_home());
	snprintf(scenarios, sizeof scenarios, "%s/scenarios/lib", script_home());
	enum status st = script_create((const char *const[]){workloads, scenarios, NULL}, out, err);
	if (st != ST_OK)
		return st;
	if (scenario_path != NULL)
		add_folder_of(*out, scenario_path);
	if (workload_path != NULL && strchr(workload_path, '/') != NULL && !is_pgbench(workload_path))
		add_folder_of(*out, workload_path);
	return ST_OK;
}

/* ---- parameters of statements ---- */

/* Each skips what begins at s and returns the first character behind it, the terminator when it does not end. */
static const char *skip_quoted(const char *s, char quote, bool backslashes)
{
	for (s++; *s != '\0'; s++) {
		if (backslashes && *s == '\\' && s[1] != '\0')
			s++;
		else if (*s == quote && s[1] == quote)
			s++;
		else if (*s == quote)
			return s + 1;
	}
	return s;
}

static const char *skip_comment(const char *s)
{
	int depth = 0;
	while (*s != '\0') {
		if (s[0] == '/' && s[1] == '*') {
			depth++;
			s += 2;
		} else if (s[0] == '*' && s[1] == '/') {
			s += 2;
			if (--depth == 0)
				return s;
		} else {
			s++;
		}
	}
	return s;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80) != 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* $tag$...$tag$; returns s when no such quote begins there. */
static const char *skip_dollar_quoted(const char *s)
{
	const char *tag_end = s + 1;
	while (is_word(*tag_end))
		tag_end++;
	if (*tag_end != '$' || is_digit(s[1]))
		return s;
	size_t tag = (size_t)(tag_end + 1 - s);
	for (const char *p = s + tag; *p != '\0'; p++)
		if (*p == '$' && strncmp(p, s, tag) == 0)
			return p + tag;
	return s + strlen(s);
}

int workload_count_params(const char *sql)
{
	int most = 0;
	for (const char *s = sql; *s != '\0';) {
		if (*s == '\'') {
			bool escapes = s > sql && (s[-1] == 'E' || s[-1] == 'e') && (s - 1 == sql || !is_word(s[-2]));
			s = skip_quoted(s, '\'', escapes);
		} else if (*s == '"') {
			s = skip_quoted(s, '"', false);
		} else if (s[0] == '-' && s[1] == '-') {
			s += strcspn(s, "\n");
		} else if (s[0] == '/' && s[1] == '*') {
			s = skip_comment(s);
		} else if (is_word(*s)) {
			/* A $ within a word belongs to it. */
			while (is_word(*s) || *s == '$')
				s++;
		} else if (*s == '$' && is_digit(s[1])) {
			int n = 0;
			for (s++; is_digit(*s); s++)
				n = n < 100000 ? n * 10 + (*s - '0') : n;
			most = n > most ? n : most;
		} else if (*s == '$' && skip_dollar_quoted(s) != s) {
			s = skip_dollar_quoted(s);
		} else {
			s++;
		}
	}
	return most;
}

/* Built-in types by the names that people write (PostgreSQL's pg_type.dat; these numbers never change). */
static const struct {
	const char *name;
	Oid oid;
} TYPES[] = {
	{"bigint", 20},
	{"bool", 16},
	{"boolean", 16},
	{"bytea", 17},
	{"char", 18},
	{"date", 1082},
	{"float4", 700},
	{"float8", 701},
	{"inet", 869},
	{"int", 23},
	{"int2", 21},
	{"int4", 23},
	{"int8", 20},
	{"integer", 23},
	{"interval", 1186},
	{"json", 114},
	{"jsonb", 3802},
	{"numeric", 1700},
	{"oid", 26},
	{"real", 700},
	{"smallint", 21},
	{"text", 25},
	{"time", 1083},
	{"timestamp", 1114},
	{"timestamptz", 1184},
	{"uuid", 2950},
	{"varchar", 1043},
	{"bigint[]", 1016},
	{"bool[]", 1000},
	{"boolean[]", 1000},
	{"bytea[]", 1001},
	{"date[]", 1182},
	{"float8[]", 1022},
	{"int[]", 1007},
	{"int2[]", 1005},
	{"int4[]", 1007},
	{"int8[]", 1016},
	{"jsonb[]", 3807},
	{"numeric[]", 1231},
	{"text[]", 1009},
	{"timestamptz[]", 1185},
	{"uuid[]", 2951},
	{"varchar[]", 1015},
	{"unknown", 0},
};

static enum status type_oid(const char *name, Oid *oid, struct error *err)
{
	for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
		if (strcmp(TYPES[i].name, name) == 0) {
			*oid = TYPES[i].oid;
			return ST_OK;
		}
	}
	error_set(err, ST_USAGE, "there is no type %s for a parameter", name);
	char names[600] = "";
	for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", TYPES[i].name);
	error_hint(err, "accepted: %s; or leave types out and write $1::type", names);
	return ST_USAGE;
}

/* ---- the plan that Lua laid out ---- */

/* Calls function name of a module of ours with the n values on top; leaves its one result, or takes a refusal for an error. */
static enum status call_module(lua_State *L, const char *module, const char *name, int n, struct error *err)
{
	lua_getglobal(L, "require");
	lua_pushstring(L, module);
	enum status st = script_call(L, 1, 1, ST_USAGE, err);
	if (st != ST_OK) {
		lua_pop(L, n);
		return st;
	}
	if (!lua_istable(L, -1)) {
		lua_pop(L, n + 1);
		return error_set(err, ST_USAGE, "the module %s is not the program's own: another file of that name is found first", module);
	}
	lua_getfield(L, -1, name);
	lua_remove(L, -2);
	lua_insert(L, -n - 1);
	if ((st = script_call(L, n, 3, ST_USAGE, err)) != ST_OK)
		return st;
	if (lua_isnil(L, -3)) {
		const char *what = lua_tostring(L, -2), *hint = lua_tostring(L, -1);
		error_set(err, ST_USAGE, "%s", what != NULL ? what : "the workload was refused");
		if (hint != NULL)
			error_hint(err, "%s", hint);
		lua_pop(L, 3);
		return ST_USAGE;
	}
	lua_pop(L, 2);
	return ST_OK;
}

static enum status call_library(lua_State *L, const char *name, int n, struct error *err)
{
	return call_module(L, "workload", name, n, err);
}

/* Pushes list[i + 1] of the field that is on top. */
static void push_item(lua_State *L, size_t i)
{
	lua_geti(L, -1, (lua_Integer)i + 1);
}

static size_t push_list(lua_State *L, const char *key)
{
	lua_getfield(L, -1, key);
	return (size_t)luaL_len(L, -1);
}

static int ref_field(lua_State *L, const char *key)
{
	if (lua_getfield(L, -1, key) == LUA_TNIL) {
		lua_pop(L, 1);
		return LUA_NOREF;
	}
	return luaL_ref(L, LUA_REGISTRYINDEX);
}

/* The statement's table is on top. */
static enum status read_statement(struct loaded *l, size_t index, struct error *err)
{
	lua_State *L = l->pub.L;
	struct session_statement *st = own_zeroed(l, 1, sizeof *st);
	l->pub.statements[index] = st;
	st->name = own_field(l, "name");
	st->sql = own_field(l, "sql");
	st->index = (unsigned)index;
	st->params = workload_count_params(st->sql);
	if (st->params > SESSION_PARAMS_MAX) {
		error_set(err, ST_USAGE, "statement %s has %d parameters", st->name, st->params);
		error_hint(err, "at most %d", SESSION_PARAMS_MAX);
		return ST_USAGE;
	}
	lua_pushinteger(L, st->params);
	lua_setfield(L, -2, "params");
	if (lua_getfield(L, -1, "types") == LUA_TNIL) {
		lua_pop(L, 1);
		return ST_OK;
	}
	enum status status = ST_OK;
	lua_Integer n = luaL_len(L, -1);
	if (n != st->params) {
		status = error_set(err, ST_USAGE, "statement %s has %d parameters but %d types", st->name, st->params, (int)n);
		error_hint(err, "one type a parameter, in order: %s", st->sql);
	}
	Oid *types = own_zeroed(l, (size_t)st->params, sizeof *types);
	for (int i = 0; i < st->params && status == ST_OK; i++) {
		push_item(L, (size_t)i);
		if ((status = type_oid(lua_tostring(L, -1), &types[i], err)) != ST_OK)
			error_where(err, "%s, statement %s", l->pub.path, st->name);
		lua_pop(L, 1);
	}
	st->types = types;
	lua_pop(L, 1);
	return status;
}

static enum status read_statements(struct loaded *l, struct error *err)
{
	lua_State *L = l->pub.L;
	size_t n = push_list(L, "statements");
	if (n > SESSION_STATEMENTS_MAX) {
		lua_pop(L, 1);
		error_set(err, ST_USAGE, "the workload and its versions have %zu statements", n);
		error_hint(err, "at most %d", SESSION_STATEMENTS_MAX);
		return ST_USAGE;
	}
	l->pub.n_statements = n;
	l->pub.statements = own_zeroed(l, n, sizeof *l->pub.statements);
	enum status st = ST_OK;
	for (size_t i = 0; i < n && st == ST_OK; i++) {
		push_item(L, i);
		st = read_statement(l, i, err);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return st;
}

/* Leaves *ns as it is when there is no such field. The table is on top. */
static enum status read_time(struct loaded *l, const char *key, int64_t *ns, struct error *err)
{
	const char *text = own_field(l, key);
	return text != NULL ? units_parse_time(text, ns, err) : ST_OK;
}

/* The transaction's table is on top. */
static enum status read_retry(struct loaded *l, struct workload_retry *retry, struct error *err)
{
	lua_State *L = l->pub.L;
	enum status st = ST_OK;
	if (lua_getfield(L, -1, "retry") == LUA_TTABLE) {
		st = read_time(l, "backoff", &retry->backoff_ns, err);
		lua_getfield(L, -1, "times");
		retry->times = (int)lua_tointeger(L, -1);
		lua_pop(L, 1);
		retry->n_on = push_list(L, "on");
		for (size_t i = 0; i < retry->n_on && i < WORKLOAD_RETRY_ON_MAX; i++) {
			push_item(L, i);
			snprintf(retry->on[i], sizeof retry->on[i], "%s", lua_tostring(L, -1));
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return st;
}

/* The transaction's table is on top. */
static enum status read_transaction(struct loaded *l, struct workload_transaction *t, struct error *err)
{
	lua_State *L = l->pub.L;
	t->name = own_field(l, "name");
	lua_getfield(L, -1, "weight");
	t->weight = lua_tonumber(L, -1);
	lua_getfield(L, -2, "read_only");
	t->read_only = lua_toboolean(L, -1);
	lua_pop(L, 2);
	t->args_ref = ref_field(L, "args");
	enum status st = read_retry(l, &t->retry, err);
	if (st == ST_OK)
		st = read_time(l, "statement_timeout", &t->statement_timeout_ns, err);
	if (st == ST_OK)
		st = read_time(l, "cancel_after", &t->cancel_after_ns, err);
	if (st == ST_OK && t->statement_timeout_ns % NS_PER_MS != 0) {
		st = error_set(err, ST_USAGE, "statement_timeout is not a whole number of milliseconds");
		error_hint(err, "the server knows no finer ones; cancel_after does");
	}
	if (st != ST_OK)
		error_where(err, "%s, transaction %s", l->pub.path, t->name);
	return st;
}

static enum status read_transactions(struct loaded *l, struct error *err)
{
	lua_State *L = l->pub.L;
	size_t n = l->pub.n_transactions = push_list(L, "transactions");
	l->pub.transactions = own_zeroed(l, n, sizeof *l->pub.transactions);
	enum status st = ST_OK;
	for (size_t i = 0; i < n && st == ST_OK; i++) {
		push_item(L, i);
		st = read_transaction(l, &l->pub.transactions[i], err);
		l->pub.weight_sum += l->pub.transactions[i].weight;
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return st;
}

static int compare_names(const void *a, const void *b)
{
	const struct session_statement *const *x = a, *const *y = b;
	return strcmp((*x)->name, (*y)->name);
}

/* The version's table is on top. */
static void read_version(struct loaded *l, struct workload_version *v)
{
	lua_State *L = l->pub.L;
	v->name = own_field(l, "name");
	v->run_refs = own_zeroed(l, l->pub.n_transactions, sizeof *v->run_refs);
	lua_getfield(L, -1, "runs");
	for (size_t i = 0; i < l->pub.n_transactions; i++) {
		push_item(L, i);
		v->run_refs[i] = luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_pop(L, 1);

	lua_newtable(L);
	VEC(const struct session_statement *) found = {0};
	lua_getfield(L, -2, "statements");
	lua_pushnil(L);
	while (lua_next(L, -2)) {
		lua_getfield(L, -1, "index");
		struct session_statement *st = l->pub.statements[lua_tointeger(L, -1)];
		lua_pop(L, 2);
		VEC_PUSH(&found, st);
		lua_pushlightuserdata(L, st);
		lua_setfield(L, -4, st->name);
	}
	lua_pop(L, 1);
	v->statements_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	v->n_statements = found.n;
	if (found.n > 0) {
		qsort(found.at, found.n, sizeof *found.at, compare_names);
		v->statements = own(l, found.at);
	}
}

static void read_versions(struct loaded *l)
{
	lua_State *L = l->pub.L;
	size_t n = l->pub.n_versions = push_list(L, "versions");
	l->pub.versions = own_zeroed(l, n, sizeof *l->pub.versions);
	for (size_t i = 0; i < n; i++) {
		push_item(L, i);
		read_version(l, &l->pub.versions[i]);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static enum status read_actor(struct loaded *l, struct workload_actor *a, struct error *err)
{
	a->name = own_field(l, "name");
	a->sql = own_field(l, "sql");
	a->begin = own_field(l, "begin");
	const char *hold = own_field(l, "hold"), *every = own_field(l, "every");
	enum status st = units_parse_time(every, &a->every_ns, err);
	if (st == ST_OK && hold != NULL)
		st = units_parse_time(hold, &a->hold_ns, err);
	if (st != ST_OK)
		error_where(err, "%s, actor %s", l->pub.path, a->name);
	return st;
}

static enum status read_actors(struct loaded *l, struct error *err)
{
	lua_State *L = l->pub.L;
	size_t n = l->pub.n_actors = push_list(L, "actors");
	l->pub.actors = own_zeroed(l, n, sizeof *l->pub.actors);
	enum status st = ST_OK;
	for (size_t i = 0; i < n && st == ST_OK; i++) {
		push_item(L, i);
		st = read_actor(l, &l->pub.actors[i], err);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return st;
}

static void read_checks(struct loaded *l)
{
	lua_State *L = l->pub.L;
	size_t n = l->pub.n_checks = push_list(L, "checks");
	l->pub.checks = own_zeroed(l, n, sizeof *l->pub.checks);
	for (size_t i = 0; i < n; i++) {
		push_item(L, i);
		l->pub.checks[i] = (struct workload_check){.name = own_field(l, "name"), .sql = own_field(l, "sql")};
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void read_flags(struct loaded *l)
{
	lua_State *L = l->pub.L;
	lua_getfield(L, -1, "flags");
	size_t n = l->pub.n_flags = push_list(L, "names");
	l->pub.flags = own_zeroed(l, n, sizeof *l->pub.flags);
	lua_getfield(L, -2, "values");
	for (size_t i = 0; i < n; i++) {
		lua_geti(L, -2, (lua_Integer)i + 1);
		l->pub.flags[i].name = own(l, strdup(lua_tostring(L, -1)));
		l->pub.flags[i].type = lua_getfield(L, -2, l->pub.flags[i].name);
		lua_pop(L, 2);
	}
	l->pub.flags_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	lua_pop(L, 2);
}

/* The plan is on top. Calls its setup({ scale, seed, rows, flags }). */
static enum status call_setup(struct loaded *l, double scale, uint64_t seed, struct error *err)
{
	lua_State *L = l->pub.L;
	if (lua_getfield(L, -1, "setup") == LUA_TNIL) {
		lua_pop(L, 1);
		return ST_OK;
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, l->pub.table_ref);
	lua_pushnumber(L, scale);
	enum status st = call_library(L, "data", 2, err);
	if (st != ST_OK) {
		lua_pop(L, 1);
		return st;
	}
	lua_createtable(L, 0, 4);
	lua_rawgeti(L, LUA_REGISTRYINDEX, l->pub.flags_ref);
	lua_setfield(L, -2, "flags");
	lua_getfield(L, -2, "rows");
	lua_setfield(L, -2, "rows");
	lua_pushnumber(L, scale);
	lua_setfield(L, -2, "scale");
	lua_pushinteger(L, (lua_Integer)seed);
	lua_setfield(L, -2, "seed");
	lua_remove(L, -2);
	return script_call(L, 1, 0, ST_USAGE, err);
}

/* The plan is on top. Performs each transaction of each version once against no server. */
static enum status try_transactions(struct loaded *l, uint64_t seed, struct error *err)
{
	lua_State *L = l->pub.L;
	struct random *r = random_push(L);
	enum status st = ST_OK;
	for (size_t v = 0; v < l->pub.n_versions && st == ST_OK; v++) {
		for (size_t t = 0; t < l->pub.n_transactions && st == ST_OK; t++) {
			random_seed(r, rng_at(seed, t));
			lua_getglobal(L, "require");
			lua_pushliteral(L, "workload");
			if ((st = script_call(L, 1, 1, ST_USAGE, err)) != ST_OK)
				break;
			lua_getfield(L, -1, "try");
			lua_remove(L, -2);
			lua_pushvalue(L, -3);
			lua_pushinteger(L, (lua_Integer)v + 1);
			lua_pushinteger(L, (lua_Integer)t + 1);
			lua_pushvalue(L, -5);
			if ((st = script_call(L, 4, 2, ST_USAGE, err)) != ST_OK)
				break;
			if (lua_tostring(L, -2) != NULL) {
				st = error_set(err, ST_USAGE, "%s", lua_tostring(L, -2));
				error_where(err, "%s", v > 0 ? l->scenario : l->pub.path);
				if (lua_tostring(L, -1) != NULL)
					error_hint(err, "%s", lua_tostring(L, -1));
			}
			lua_pop(L, 2);
		}
	}
	lua_pop(L, 1);
	return st;
}

/* The workload's table, then the scenario's versions or nil, are on top; both are taken. */
static enum status read_workload(struct loaded *l, double scale, uint64_t seed, struct error *err)
{
	lua_State *L = l->pub.L;
	lua_pushvalue(L, -2);
	l->pub.table_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	enum status st = call_library(L, "plan", 2, err);
	if (st != ST_OK)
		return st;
	l->pub.name = own_field(l, "name");
	lua_getfield(L, -1, "ledger");
	l->pub.ledger = lua_toboolean(L, -1);
	lua_pop(L, 1);
	if ((st = read_statements(l, err)) == ST_OK && (st = read_actors(l, err)) == ST_OK && (st = read_transactions(l, err)) == ST_OK) {
		read_versions(l);
		read_checks(l);
		read_flags(l);
		if ((st = call_setup(l, scale, seed, err)) == ST_OK)
			st = try_transactions(l, seed, err);
	}
	lua_pop(L, 1);
	return st;
}

/* Runs a file that is found by name and leaves its table on the stack. */
static enum status load_table(lua_State *L, const char *path, const char *what, struct error *err)
{
	if (is_pgbench(path)) {
		lua_pushstring(L, path + strlen(PGBENCH));
		return call_module(L, "pgbench", "from_line", 1, err);
	}
	add_folder_of(L, path);
	enum status st = script_load(L, path, err);
	if (st != ST_OK)
		return st;
	if (lua_istable(L, -1))
		return ST_OK;
	error_set(err, ST_USAGE, "the %s returns a %s", what, luaL_typename(L, -1));
	error_where(err, "%s", path);
	error_hint(err, "a %s file ends with return %s { ... }", what, strcmp(what, "workload") == 0 ? "workload" : "rehearse.scenario");
	lua_pop(L, 1);
	return ST_USAGE;
}

enum status workload_load_data(lua_State *L, const char *workload_path, double scale, struct error *err)
{
	char *path;
	enum status st = workload_find(workload_path, NULL, &path, err);
	if (st != ST_OK)
		return st;
	if ((st = load_table(L, path, "workload", err)) == ST_OK) {
		lua_pushnumber(L, scale);
		st = call_library(L, "data", 2, err);
	}
	if (st != ST_OK)
		error_where(err, "%s", path);
	free(path);
	return st;
}

/* Leaves the scenario's `versions` (or nil) on the stack. *name: its workload, to be freed; NULL when it names none. */
static enum status load_scenario(lua_State *L, const char *path, char **name, struct error *err)
{
	enum status st = load_table(L, path, "scenario", err);
	if (st != ST_OK)
		return st;
	if (lua_getfield(L, -1, "workload") == LUA_TSTRING)
		*name = strdup(lua_tostring(L, -1));
	lua_pop(L, 1);
	lua_getfield(L, -1, "versions");
	lua_remove(L, -2);
	return ST_OK;
}

enum status workload_load(lua_State *L, const char *workload_path, const char *scenario_path, double scale, uint64_t seed,
	struct workload **out, struct error *err)
{
	*out = NULL;
	char *named = NULL, *path = NULL;
	int top = lua_gettop(L);
	enum status st = ST_OK;
	if (scenario_path != NULL)
		st = load_scenario(L, scenario_path, &named, err);
	else
		lua_pushnil(L);
	if (st == ST_OK && workload_path == NULL && named == NULL) {
		st = error_set(err, ST_USAGE, "no workload is named");
		if (scenario_path != NULL)
			error_where(err, "%s", scenario_path);
		error_hint(err, "workload = \"shop\" in the scenario, or the path of a file");
	}
	if (st == ST_OK)
		st = workload_find(workload_path != NULL ? workload_path : named, scenario_path, &path, err);
	free(named);
	if (st == ST_OK)
		st = load_table(L, path, "workload", err);
	if (st != ST_OK) {
		free(path);
		lua_settop(L, top);
		return st;
	}
	struct loaded *l = calloc(1, sizeof *l);
	if (l == NULL)
		abort();
	l->pub.L = L;
	l->pub.path = own(l, path);
	l->scenario = scenario_path;
	lua_insert(L, -2);
	st = read_workload(l, scale, seed, err);
	l->scenario = NULL;
	lua_settop(L, top);
	if (st != ST_OK) {
		/* A mistake in a version is the scenario's; its message says "version". */
		bool versions = scenario_path != NULL && err != NULL && strncmp(err->what, "version", 7) == 0;
		error_where(err, "%s", versions ? scenario_path : l->pub.path);
		workload_free(&l->pub);
		return st;
	}
	*out = &l->pub;
	return ST_OK;
}

void workload_free(struct workload *w)
{
	if (w == NULL)
		return;
	struct loaded *l = (struct loaded *)w;
	for (size_t i = 0; i < l->owned.n; i++)
		free(l->owned.at[i]);
	VEC_FREE(&l->owned);
	free(l);
}

/* ---- asking it ---- */

int workload_find_version(const struct workload *w, const char *name)
{
	for (size_t i = 0; i < w->n_versions; i++)
		if (strcmp(w->versions[i].name, name) == 0)
			return (int)i;
	return -1;
}

int workload_find_transaction(const struct workload *w, const char *name)
{
	for (size_t i = 0; i < w->n_transactions; i++)
		if (strcmp(w->transactions[i].name, name) == 0)
			return (int)i;
	return -1;
}

int workload_find_actor(const struct workload *w, const char *name)
{
	for (size_t i = 0; i < w->n_actors; i++)
		if (strcmp(w->actors[i].name, name) == 0)
			return (int)i;
	return -1;
}

enum status workload_set_flag(const struct workload *w, const char *name, const char *text, bool set, struct error *err)
{
	lua_State *L = w->L;
	size_t i = 0;
	while (i < w->n_flags && strcmp(w->flags[i].name, name) != 0)
		i++;
	if (i == w->n_flags) {
		error_set(err, ST_USAGE, "the workload %s has no flag %s", w->name, name);
		error_hint(err, "a workload declares them: flags = { %s = false }", name);
		return ST_USAGE;
	}
	int type = w->flags[i].type;
	bool on = strcmp(text, "true") == 0;
	if (type == LUA_TBOOLEAN && !on && strcmp(text, "false") != 0)
		return error_set(err, ST_USAGE, "flag %s is true or false, not %s", name, text);
	if (type == LUA_TBOOLEAN)
		lua_pushboolean(L, on);
	else if (type == LUA_TSTRING)
		lua_pushstring(L, text);
	else if (lua_stringtonumber(L, text) == 0)
		return error_set(err, ST_USAGE, "flag %s is a number, not %s", name, text);
	if (set) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, w->flags_ref);
		lua_pushvalue(L, -2);
		lua_setfield(L, -2, name);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return ST_OK;
}

const struct session_statement *workload_find_statement(const struct workload *w, int version, const char *name)
{
	const struct workload_version *v = &w->versions[version];
	size_t lo = 0, hi = v->n_statements;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = strcmp(name, v->statements[mid]->name);
		if (order == 0)
			return v->statements[mid];
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

int workload_pick_transaction(const struct workload *w, double unit)
{
	double left = unit * w->weight_sum;
	for (size_t i = 0; i + 1 < w->n_transactions; i++) {
		left -= w->transactions[i].weight;
		if (left < 0)
			return (int)i;
	}
	return (int)w->n_transactions - 1;
}
