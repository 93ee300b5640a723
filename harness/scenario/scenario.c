/* Reading a scenario: the Lua library checks it, this takes out what C needs to know. */
#define _GNU_SOURCE
#include "scenario/scenario.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/units.h"
#include "load/rate.h"
#include "load/workload.h"
#include "scenario/lua_json.h"
#include "scenario/replay_traffic.h"
#include "sql/parse.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum status scenario_set_settings(const char *const *settings, struct error *err)
{
	struct buf all;
	buf_init(&all, (size_t)1 << 16);
	enum status st = ST_OK;
	for (const char *const *s = settings; s != NULL && *s != NULL && st == ST_OK; s++) {
		size_t n = 0;
		while (isalnum((unsigned char)(*s)[n]) || (*s)[n] == '_')
			n++;
		if (n == 0 || (*s)[n] != '=' || strchr(*s, '\n') != NULL) {
			st = error_set(err, ST_USAGE, "--set %s: a setting is expected", *s);
			error_hint(err, "NAME=VALUE, a name of letters, digits and _: --set batch=5000");
		}
		buf_printf(&all, "%s\n", *s);
	}
	if (st == ST_OK && all.overflow)
		st = error_set(err, ST_USAGE, "--set: all settings together are over 64 kB");
	if (st == ST_OK)
		setenv("PGREHEARSE_SETTINGS", all.data, 1);
	buf_free(&all);
	return st;
}

void scenario_plain_error(struct error *err, const char *path)
{
	if (err == NULL)
		return;
	char *trace = strstr(err->what, "\nstack traceback:");
	if (trace != NULL && strstr(trace, "'rehearse.fields.fail'") != NULL)
		*trace = '\0';
	error_where(err, "%s", path);
}

static void set_name(struct scenario *s)
{
	const char *slash = strrchr(s->path, '/');
	const char *from = slash != NULL ? slash + 1 : s->path;
	size_t n = 0;
	for (; *from != '\0' && strcmp(from, ".lua") != 0 && n < sizeof s->name - 1; from++)
		s->name[n++] = (char)(isalnum((unsigned char)*from) || *from == '-' ? *from : '_');
	s->name[n] = '\0';
}

static double number_field(lua_State *L, int table, const char *key)
{
	lua_getfield(L, table, key);
	double value = lua_tonumber(L, -1);
	lua_pop(L, 1);
	return value;
}

/* Strings stay alive through the scenario's table. */
static const char *text_field(lua_State *L, int table, const char *key)
{
	lua_getfield(L, table, key);
	const char *text = lua_tostring(L, -1);
	lua_pop(L, 1);
	return text;
}

/* A mistyped --set would otherwise go unnoticed, and a run with the wrong values would be believed. */
static enum status check_settings(struct scenario *s, struct error *err)
{
	lua_State *L = s->L;
	lua_getglobal(L, "require");
	lua_pushliteral(L, "rehearse");
	enum status st = script_call(L, 1, 1, ST_FAILED, err);
	if (st != ST_OK)
		return st;
	lua_getfield(L, -1, "unknown_settings");
	st = script_call(L, 0, 2, ST_FAILED, err);
	if (st == ST_OK) {
		const char *unknown = lua_tostring(L, -2);
		const char *known = lua_tostring(L, -1);
		if (unknown[0] != '\0') {
			st = error_set(err, ST_USAGE, "--set: %s has no setting %s", s->path, unknown);
			error_hint(err, known[0] != '\0' ? "its settings are %s" : "it has none%s", known);
		}
		lua_pop(L, 2);
	}
	lua_pop(L, 1);
	return st;
}

/* A list's elements, or their field `key`. NULL-terminated; the caller frees it. */
static const char **text_list(lua_State *L, int table, const char *list, const char *key)
{
	lua_getfield(L, table, list);
	size_t n = (size_t)luaL_len(L, -1);
	const char **out = calloc(n + 1, sizeof *out);
	if (out == NULL)
		abort();
	for (size_t i = 0; i < n; i++) {
		lua_geti(L, -1, (lua_Integer)i + 1);
		out[i] = key != NULL ? text_field(L, lua_gettop(L), key) : lua_tostring(L, -1);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return out;
}

/* Users, and how long requests wait; of the load's table on top. */
static enum status read_users(struct scenario *s, struct error *err)
{
	lua_State *L = s->L;
	int load = lua_gettop(L);
	lua_getfield(L, load, "closed");
	s->closed = lua_toboolean(L, -1);
	lua_pop(L, 1);
	s->read_from = text_field(L, load, "read_from");
	s->users = (int)number_field(L, load, "users");
	s->acquire_timeout_ns = (int64_t)number_field(L, load, "acquire_timeout");
	s->patience_ns = (int64_t)number_field(L, load, "patience");
	enum status st = think_parse(text_field(L, load, "think"), &s->think, err);
	const char *requests = text_field(L, load, "requests");
	if (st == ST_OK && requests != NULL)
		st = requests_parse(requests, &s->requests, err);
	if (st != ST_OK)
		error_where(err, "%s, load", s->path);
	return st;
}

/* Names of versions stay alive through the scenario's table. */
static void read_policies(struct scenario *s)
{
	lua_State *L = s->L;
	lua_getfield(L, -1, "overload");
	s->policies = calloc(LOAD_VERSIONS_MAX, sizeof *s->policies);
	if (s->policies == NULL)
		abort();
	lua_pushnil(L);
	while (s->n_policies < LOAD_VERSIONS_MAX && lua_next(L, -2) != 0) {
		s->policies[s->n_policies++] = (struct load_policy){
			.version = lua_tostring(L, -2),
			.acquire_timeout_ns = (int64_t)number_field(L, lua_gettop(L), "acquire_timeout"),
			.patience_ns = (int64_t)number_field(L, lua_gettop(L), "patience"),
		};
		lua_pop(L, 1);
	}
	lua_settop(L, lua_gettop(L) - 1 - (s->n_policies == LOAD_VERSIONS_MAX));
}

/* Checks the rate in the field of the table on top, and copies it when out is not NULL. */
static enum status read_rate(struct scenario *s, const char *owner, char **out, struct error *err)
{
	lua_State *L = s->L;
	struct rate_program program;
	enum status st = ST_OK;
	if (lua_getfield(L, -1, "rate") != LUA_TNIL) {
		const char *text = lua_tostring(L, -1);
		st = rate_parse(text, &program, err);
		if (st != ST_OK)
			error_where(err, "%s, %s", s->path, owner);
		if (out != NULL && (*out = strdup(text)) == NULL)
			abort();
	}
	lua_pop(L, 1);
	return st;
}

/* Of a table's steps, and of those inside of them. */
static enum status check_step_rates(struct scenario *s, int table, struct error *err)
{
	lua_State *L = s->L;
	int top = lua_gettop(L);
	enum status st = ST_OK;
	if (lua_getfield(L, table, "steps") == LUA_TTABLE)
		for (lua_Integer i = 1; st == ST_OK && lua_geti(L, -1, i) == LUA_TTABLE; i++) {
			char owner[160];
			snprintf(owner, sizeof owner, "step \"%s\"", text_field(L, lua_gettop(L), "name"));
			st = read_rate(s, owner, NULL, err);
			if (st == ST_OK && lua_checkstack(L, 8))
				st = check_step_rates(s, lua_gettop(L), err);
			lua_pop(L, 1);
		}
	lua_settop(L, top);
	return st;
}

/* As it is named, else beside the scenario. */
static char *find_trace(const struct scenario *s, const char *name)
{
	const char *slash = strrchr(s->path, '/');
	char *path = NULL;
	if (name[0] == '/' || slash == NULL || fs_exists(name) || asprintf(&path, "%.*s/%s", (int)(slash - s->path), s->path, name) < 0 ||
		!fs_exists(path)) {
		free(path);
		path = strdup(name);
	}
	if (path == NULL)
		abort();
	return path;
}

static enum status read_limits(struct scenario *s, int fidelity, struct fidelity_limits *limits, struct error *err)
{
	lua_State *L = s->L;
	enum status st = ST_OK;
	lua_pushnil(L);
	while (st == ST_OK && lua_next(L, fidelity) != 0) {
		char text[200];
		snprintf(text, sizeof text, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
		st = fidelity_set_limit(limits, text, err);
		lua_pop(L, 1);
	}
	return st;
}

/* A replay is not begun again when its trace has ended, so it has to last for what is known of the drill beforehand. */
static enum status check_length(struct scenario *s, int table, struct error *err)
{
	lua_State *L = s->L;
	int64_t length_ns, drill_ns;
	if (replay_measure(&s->replay->player, &length_ns, err) != ST_OK)
		return err->status;
	lua_getfield(L, table, "phases");
	drill_ns = (int64_t)(number_field(L, -1, "warmup") + number_field(L, -1, "baseline") + number_field(L, -1, "settle"));
	lua_pop(L, 1);
	if (length_ns > drill_ns)
		return ST_OK;
	char has[32], needs[32];
	error_set(err, ST_USAGE, "the trace %s lasts %s, and warmup, baseline and settling alone take %s", s->replay->player.trace,
		units_format_time(length_ns, has, sizeof has), units_format_time(drill_ns, needs, sizeof needs));
	error_hint(err, "a longer capture, a lower speed, or shorter phases: what was captured is not replayed twice");
	return ST_USAGE;
}

/* load.trace, which check_trace in rehearse/init.lua has looked at. */
static enum status read_trace(struct scenario *s, int table, struct error *err)
{
	lua_State *L = s->L;
	enum status st = ST_OK;
	lua_getfield(L, table, "load");
	int load = lua_gettop(L);
	const char *trace = text_field(L, load, "trace"), *order = text_field(L, load, "order");
	double speed = number_field(L, load, "speed");
	if (trace != NULL) {
		s->replay = calloc(1, sizeof *s->replay);
		if (s->replay == NULL)
			abort();
		s->replay->limits = FIDELITY_DEFAULTS;
		s->replay->player = (struct player_config){.trace = find_trace(s, trace),
			.speed = speed > 0 ? speed : 1,
			.pacing = PACING_ARRIVAL,
			.drain_ns = 10 * NS_PER_S,
			.order_wait_ns = NS_PER_S};
		s->replay->player.order = order == NULL || strcmp(order, "none") == 0 ? ORDER_NONE
			: strcmp(order, "commit") == 0                                ? ORDER_COMMIT
										      : ORDER_RELATION;
		lua_getfield(L, load, "fidelity");
		st = read_limits(s, lua_gettop(L), &s->replay->limits, err);
		lua_pop(L, 1);
		if (st == ST_OK)
			st = check_length(s, table, err);
		if (st != ST_OK)
			error_where(err, "%s, load", s->path);
	}
	lua_pop(L, 1);
	return st;
}

static bool is_trace(const char *workload)
{
	size_t n = strlen(workload);
	return n > 6 && strcmp(workload + n - 6, ".trace") == 0;
}

static enum status read_table(struct scenario *s, struct error *err)
{
	lua_State *L = s->L;
	int table = lua_gettop(L);
	const char *kind = lua_istable(L, table) ? text_field(L, table, "kind") : NULL;
	if (kind == NULL || strcmp(kind, "scenario") != 0) {
		lua_pop(L, 1);
		error_set(err, ST_USAGE, "%s does not return a scenario", s->path);
		error_hint(err, "its last statement is: return rehearse.scenario { ... }");
		return ST_USAGE;
	}
	s->title = text_field(L, table, "title");
	s->scale = number_field(L, table, "scale");
	if (lua_getfield(L, table, "expect") == LUA_TTABLE)
		s->expect = lua_json_value(L, -1);
	lua_pop(L, 1);
	lua_getfield(L, table, "ledger");
	s->ledger = lua_toboolean(L, -1);
	lua_pop(L, 1);
	lua_getfield(L, table, "migration_sessions");
	s->migration_names = text_field(L, lua_gettop(L), "application_name");
	s->migration_roles = text_field(L, lua_gettop(L), "user");
	lua_pop(L, 1);
	lua_getfield(L, table, "observe");
	lua_getfield(L, -1, "availability");
	s->no_availability = !lua_toboolean(L, -1);
	lua_pop(L, 2);
	s->actors = text_list(L, table, "actors", "name");
	lua_getfield(L, table, "steps");
	s->steps = (int)luaL_len(L, -1);
	lua_pop(L, 1);
	lua_getfield(L, table, "load");
	enum status st = read_rate(s, "load", &s->rate, err);
	const char *arrivals = text_field(L, lua_gettop(L), "arrivals");
	s->even = arrivals != NULL && strcmp(arrivals, "even") == 0;
	s->pods = (int)number_field(L, -1, "pods");
	s->pool = (int)number_field(L, -1, "pool");
	s->workers = (int)number_field(L, -1, "workers");
	if (st == ST_OK)
		st = read_users(s, err);
	if (st == ST_OK)
		read_policies(s);
	lua_pop(L, 1);
	if (st == ST_OK)
		st = check_step_rates(s, table, err);
	if (st == ST_OK)
		st = read_trace(s, table, err);
	if (st == ST_OK) {
		const char *workload = text_field(L, table, "workload");
		s->traced = is_trace(workload);
		st = workload_find(workload, s->path, &s->workload_path, err);
	}
	s->table_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	return st;
}

enum status scenario_read(const char *path, struct scenario *out, struct error *err)
{
	*out = (struct scenario){.path = path, .table_ref = LUA_NOREF};
	set_name(out);
	enum status st = workload_create_state(NULL, path, &out->L, err);
	if (st == ST_OK)
		sql_preload_lua(out->L);
	if (st == ST_OK && (st = script_load(out->L, path, err)) != ST_OK)
		scenario_plain_error(err, path);
	if (st == ST_OK)
		st = read_table(out, err);
	if (st == ST_OK)
		st = check_settings(out, err);
	if (st != ST_OK)
		scenario_free(out);
	return st;
}

enum status scenario_criteria(const struct scenario *s, const char *drill, const char ***out, struct error *err)
{
	lua_State *L = s->L;
	int top = lua_gettop(L);
	lua_getglobal(L, "require");
	lua_pushliteral(L, "rehearse.drill");
	enum status st = script_call(L, 1, 1, ST_FAILED, err);
	if (st == ST_OK) {
		lua_getfield(L, -1, "criteria");
		lua_rawgeti(L, LUA_REGISTRYINDEX, s->table_ref);
		lua_pushstring(L, drill);
		st = script_call(L, 2, 1, ST_USAGE, err);
	}
	if (st == ST_OK) {
		/* The table keeps the texts alive. */
		lua_createtable(L, 1, 0);
		lua_insert(L, -2);
		lua_setfield(L, -2, "list");
		*out = text_list(L, lua_gettop(L), "list", NULL);
		luaL_ref(L, LUA_REGISTRYINDEX);
	}
	lua_settop(L, top);
	return st;
}

void scenario_free(struct scenario *s)
{
	free(s->actors);
	free(s->workload_path);
	if (s->replay != NULL)
		free((char *)(uintptr_t)s->replay->player.trace);
	free(s->replay);
	free(s->rate);
	free(s->policies);
	json_decref(s->expect);
	script_free(s->L);
	*s = (struct scenario){.table_ref = LUA_NOREF};
}
