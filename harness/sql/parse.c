/* libpg_query as a call of ours and as a Lua module. */
#include "sql/parse.h"

#include "base/json.h"
#include "base/json_lua.h"

#include <lauxlib.h>
#include <pg_query.h>
#include <stdio.h>
#include <string.h>

enum status sql_parse(const char *text, json_t **tree, int *position, struct error *err)
{
	if (position != NULL)
		*position = 0;
	if (strlen(text) > SQL_TEXT_MAX)
		return error_set(err, ST_USAGE, "SQL text of over 8 MB");
	PgQueryParseResult result = pg_query_parse(text);
	enum status st;
	if (result.error != NULL) {
		st = error_set(err, ST_USAGE, "%s", result.error->message);
		if (position != NULL)
			*position = result.error->cursorpos;
	} else {
		st = json_parse(result.parse_tree, strlen(result.parse_tree), "", tree, err);
		if (st != ST_OK)
			st = error_set(err, ST_USAGE, "the statement is too deeply nested, or not in UTF-8");
	}
	pg_query_free_parse_result(result);
	return st;
}

bool sql_fingerprint(const char *text, uint64_t *fingerprint)
{
	PgQueryFingerprintResult result = pg_query_fingerprint(text);
	bool parsed = result.error == NULL;
	if (parsed)
		*fingerprint = result.fingerprint;
	pg_query_free_fingerprint_result(result);
	return parsed;
}

int sql_parser_version(void)
{
	return PG_VERSION_NUM / 10000;
}

static int push_owned(lua_State *L)
{
	json_push_lua(L, lua_touserdata(L, 1));
	return 1;
}

/* The tree as a table. It is freed, also when making tables raises an error. */
static int push_tree(lua_State *L, json_t *tree)
{
	lua_pushcfunction(L, push_owned);
	lua_pushlightuserdata(L, tree);
	int outcome = lua_pcall(L, 1, 1, 0);
	json_decref(tree);
	return outcome == LUA_OK ? 1 : lua_error(L);
}

static int lua_sql_parse(lua_State *L)
{
	size_t length;
	const char *text = luaL_checklstring(L, 1, &length);
	json_t *tree = NULL;
	struct error err;
	int position = 0;
	enum status st = strlen(text) == length ? sql_parse(text, &tree, &position, &err)
						: error_set(&err, ST_USAGE, "the text has a byte 0 in it");
	if (st != ST_OK) {
		lua_pushnil(L);
		lua_pushstring(L, err.what);
		lua_pushinteger(L, position);
		return 3;
	}
	return push_tree(L, tree);
}

static int lua_sql_plpgsql(lua_State *L)
{
	PgQueryPlpgsqlParseResult result = pg_query_parse_plpgsql(luaL_checkstring(L, 1));
	json_t *tree = NULL;
	struct error err;
	enum status st = result.error != NULL ? error_set(&err, ST_USAGE, "%s", result.error->message)
					      : json_parse(result.plpgsql_funcs, strlen(result.plpgsql_funcs), "", &tree, &err);
	pg_query_free_plpgsql_parse_result(result);
	if (st != ST_OK) {
		lua_pushnil(L);
		lua_pushstring(L, err.what);
		return 2;
	}
	return push_tree(L, tree);
}

static int lua_sql_plpgsql_error(lua_State *L)
{
	PgQueryPlpgsqlParseResult result = pg_query_parse_plpgsql(luaL_checkstring(L, 1));
	char message[512] = "";
	if (result.error != NULL)
		snprintf(message, sizeof message, "%s", result.error->message);
	pg_query_free_plpgsql_parse_result(result);
	if (message[0] == '\0')
		return 0;
	lua_pushstring(L, message);
	return 1;
}

static int open_sql(lua_State *L)
{
	static const luaL_Reg FUNCTIONS[] = {
		{"parse", lua_sql_parse}, {"plpgsql", lua_sql_plpgsql}, {"plpgsql_error", lua_sql_plpgsql_error}, {NULL, NULL}};
	luaL_newlib(L, FUNCTIONS);
	lua_pushinteger(L, sql_parser_version());
	lua_setfield(L, -2, "version");
	return 1;
}

void sql_preload_lua(lua_State *L)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, open_sql);
	lua_setfield(L, -2, "sql");
	lua_pop(L, 1);
}
