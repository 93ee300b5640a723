/* Reads a workload: Lua (workloads/lib/workload.lua) checks the table and lays it out as a plan, this file copies the plan. */
#define _GNU_SOURCE
#include "load/workload.h"

#include "base/clock.h"
#include "base/units.h"
#include "base/vec.h"
#include "load/random.h"
#include "load/workload_internal.h"

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
	l->pub.kinds[index] = (unsigned char)workload_statement_kind(st->sql);
	l->pub.params_max = st->params > l->pub.params_max ? st->params : l->pub.params_max;
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
		if ((status = workload_type_oid(lua_tostring(L, -1), &types[i], err)) != ST_OK)
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
	l->pub.kinds = own_zeroed(l, n, sizeof *l->pub.kinds);
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
	if (workload_is_pgbench(path)) {
		lua_pushstring(L, path + strlen(WORKLOAD_PGBENCH));
		return call_module(L, "pgbench", "from_line", 1, err);
	}
	workload_add_folder_of(L, path);
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
