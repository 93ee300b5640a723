/* Lua tables as JSON: for the events that the Lua side of the conductor writes. */
#define _GNU_SOURCE
#include "scenario/lua_json.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEEPEST 32
static const char ARRAY[] = "rehearse.array";

int lua_json_array(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_settop(L, 1);
	luaL_newmetatable(L, ARRAY);
	lua_setmetatable(L, 1);
	return 1;
}

static bool is_array(lua_State *L, int index)
{
	if (lua_rawlen(L, index) > 0)
		return true;
	if (!lua_getmetatable(L, index))
		return false;
	luaL_getmetatable(L, ARRAY);
	bool same = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	return same;
}

static json_t *text_value(const char *text, size_t n)
{
	json_t *value = json_stringn(text, n);
	if (value != NULL)
		return value;
	char *copy = malloc(n + 1);
	if (copy == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
		copy[i] = (unsigned char)text[i] < 128 ? text[i] : '?';
	value = json_stringn(copy, n);
	free(copy);
	return value;
}

static json_t *convert(lua_State *L, int index, int depth)
{
	size_t n;
	const char *text;
	switch (lua_type(L, index)) {
	case LUA_TBOOLEAN:
		return json_boolean(lua_toboolean(L, index));
	case LUA_TNUMBER:
		if (lua_isinteger(L, index))
			return json_integer(lua_tointeger(L, index));
		return isfinite(lua_tonumber(L, index)) ? json_real(lua_tonumber(L, index)) : json_null();
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &n);
		return text_value(text, n);
	case LUA_TTABLE:
		break;
	default:
		return json_null();
	}
	if (depth >= DEEPEST || !lua_checkstack(L, 4))
		return json_null();
	index = lua_absindex(L, index);
	if (is_array(L, index)) {
		json_t *array = json_array();
		n = (size_t)lua_rawlen(L, index);
		for (size_t i = 1; i <= n; i++) {
			lua_rawgeti(L, index, (lua_Integer)i);
			json_array_append_new(array, convert(L, -1, depth + 1));
			lua_pop(L, 1);
		}
		return array;
	}
	json_t *object = json_object();
	for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
		if (lua_type(L, -2) == LUA_TSTRING)
			json_object_set_new(object, lua_tostring(L, -2), convert(L, -1, depth + 1));
	return object;
}

json_t *lua_json_value(lua_State *L, int index)
{
	return convert(L, index, 0);
}
