/* Runs scenarios/lib/catalogue/selftest.lua. */
#define _GNU_SOURCE
#include "scenario/catalogue.h"

#include "runtime/script.h"
#include "scenario/lua_json.h"
#include "scenario/server_lua.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int tell_progress(lua_State *L)
{
	const struct catalogue_spec *spec = lua_touserdata(L, lua_upvalueindex(1));
	spec->progress((int)luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2), luaL_checkstring(L, 3), spec->arg);
	return 0;
}

static enum status require_module(lua_State *L, const char *name, struct error *err)
{
	lua_getglobal(L, "require");
	lua_pushstring(L, name);
	return script_call(L, 1, 1, ST_FAILED, err);
}

/* Leaves the module and its result on the stack. */
static enum status run_operations(lua_State *L, const struct catalogue_spec *spec, struct error *err)
{
	enum status st = require_module(L, "catalogue.selftest", err);
	if (st != ST_OK)
		return st;
	lua_getfield(L, -1, "run");
	st = require_module(L, "server", err);
	if (st != ST_OK)
		return st;
	lua_pushstring(L, spec->only);
	lua_pushlightuserdata(L, (void *)spec);
	lua_pushcclosure(L, tell_progress, 1);
	if (spec->progress == NULL) {
		lua_pop(L, 1);
		lua_pushnil(L);
	}
	lua_pushcfunction(L, lua_json_array);
	return script_call(L, 4, 1, ST_FAILED, err);
}

enum status catalogue_perform(const struct catalogue_spec *spec, json_t **result, char **text, struct error *err)
{
	char lib[PATH_MAX];
	snprintf(lib, sizeof lib, "%s/scenarios/lib", script_home());
	lua_State *L;
	enum status st = script_create((const char *const[]){lib, NULL}, &L, err);
	if (st != ST_OK)
		return st;
	server_preload_lua(L, spec->dsn, spec->stop);
	st = run_operations(L, spec, err);
	if (st == ST_OK && spec->stop != NULL && *spec->stop != 0)
		st = error_set(err, ST_INTERRUPTED, "interrupted");
	if (st == ST_OK) {
		lua_getfield(L, -2, "text");
		lua_pushvalue(L, -2);
		st = script_call(L, 1, 1, ST_FAILED, err);
	}
	if (st == ST_OK) {
		*text = strdup(lua_tostring(L, -1));
		*result = lua_json_value(L, lua_gettop(L) - 1);
		if (*text == NULL || *result == NULL)
			abort();
	}
	script_free(L);
	return st;
}
