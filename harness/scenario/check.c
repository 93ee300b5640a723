/* Runs scenarios/lib/check over a scenario and the schema of its workload. */
#define _GNU_SOURCE
#include "scenario/check.h"

#include "base/json.h"
#include "load/workload.h"
#include "runtime/script.h"
#include "scenario/lua_json.h"
#include "scenario/scenario.h"
#include "scenario/schema_lua.h"
#include "sql/parse.h"

#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

/* Leaves check's function of that name on the stack, below what the caller pushes next. */
static enum status push_function(lua_State *L, const char *name, struct error *err)
{
	lua_getglobal(L, "require");
	lua_pushliteral(L, "check");
	enum status st = script_call(L, 1, 1, ST_FAILED, err);
	if (st == ST_OK) {
		lua_getfield(L, -1, name);
		lua_remove(L, -2);
	}
	return st;
}

static bool has_finding(const json_t *result, const char *rule)
{
	size_t i;
	json_t *finding;
	json_array_foreach(
		json_object_get(result, "findings"), i, finding) if (strcmp(json_get_string(finding, "rule", ""), rule) == 0) return true;
	return false;
}

/* Calls check.NAME(result, array) with the result at `at`; the value stays on the stack. */
static enum status call_with_result(lua_State *L, const char *name, int at, struct error *err)
{
	enum status st = push_function(L, name, err);
	if (st != ST_OK)
		return st;
	lua_pushvalue(L, at);
	lua_pushcfunction(L, lua_json_array);
	return script_call(L, 2, 1, ST_FAILED, err);
}

static enum status take_results(lua_State *L, struct check_result *out, struct error *err)
{
	int result = lua_gettop(L);
	out->json = lua_json_value(L, result);
	out->errors = (int)json_get_int(out->json, "errors", 0);
	enum status st = call_with_result(L, "text", result, err);
	if (st != ST_OK)
		return st;
	out->text = strdup(lua_tostring(L, -1));
	if (out->text == NULL)
		abort();
	if ((st = call_with_result(L, "sarif_results", result, err)) != ST_OK)
		return st;
	out->sarif = lua_json_value(L, -1);
	if ((st = push_function(L, "sarif_rules", err)) != ST_OK)
		return st;
	lua_pushcfunction(L, lua_json_array);
	if ((st = script_call(L, 1, 1, ST_FAILED, err)) == ST_OK)
		out->rules = lua_json_value(L, -1);
	return st;
}

static enum status examine(lua_State *L, const char *path, int major, struct check_result *out, struct error *err)
{
	enum status st = push_function(L, "watch", err);
	if (st == ST_OK)
		st = script_call(L, 0, 0, ST_FAILED, err);
	if (st == ST_OK)
		st = script_load(L, path, err);
	if (st != ST_OK) {
		scenario_plain_error(err, path);
		return st;
	}
	if (!lua_istable(L, -1) || lua_getfield(L, -1, "steps") != LUA_TTABLE) {
		st = error_set(err, ST_USAGE, "%s does not return a scenario", path);
		error_hint(err, "its last statement is: return rehearse.scenario { ... }");
		return st;
	}
	lua_pop(L, 1);
	int scenario = lua_gettop(L);
	if ((st = push_function(L, "examine", err)) != ST_OK)
		return st;
	lua_pushstring(L, path);
	lua_pushvalue(L, scenario);
	lua_getfield(L, scenario, "workload");
	const char *workload = lua_tostring(L, -1);
	schema_push(L, workload, path);
	lua_remove(L, -2);
	lua_pushinteger(L, major);
	lua_pushcfunction(L, lua_json_array);
	if ((st = script_call(L, 5, 1, ST_FAILED, err)) != ST_OK)
		return st;
	return take_results(L, out, err);
}

enum status check_scenario(const char *path, int major, struct check_result *out, struct error *err)
{
	lua_State *L = NULL;
	*out = (struct check_result){0};
	enum status st = workload_create_state(NULL, path, &L, err);
	if (st == ST_OK) {
		sql_preload_lua(L);
		st = examine(L, path, major, out, err);
	}
	script_free(L);
	/* What the library and the engine check besides: rates, the workload, users. */
	if (st == ST_OK && !has_finding(out->json, "missing-down")) {
		struct scenario s;
		st = scenario_read(path, &s, err);
		if (st == ST_OK)
			scenario_free(&s);
	}
	if (st != ST_OK)
		check_result_free(out);
	return st;
}

void check_result_free(struct check_result *r)
{
	json_decref(r->json);
	json_decref(r->sarif);
	json_decref(r->rules);
	free(r->text);
	*r = (struct check_result){0};
}
