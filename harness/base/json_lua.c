/* JSON as Lua values. */
#include "base/json_lua.h"

#include <lauxlib.h>

static void push_object(lua_State *L, const json_t *value)
{
	lua_createtable(L, 0, (int)json_object_size(value));
	/* json_object_foreach wants no const, though it changes nothing. */
	for (void *it = json_object_iter((json_t *)value); it != NULL; it = json_object_iter_next((json_t *)value, it)) {
		json_push_lua(L, json_object_iter_value(it));
		lua_setfield(L, -2, json_object_iter_key(it));
	}
}

static void push_array(lua_State *L, const json_t *value)
{
	lua_createtable(L, (int)json_array_size(value), 0);
	for (size_t i = 0; i < json_array_size(value); i++) {
		json_push_lua(L, json_array_get(value, i));
		if (lua_isnil(L, -1)) {
			lua_pop(L, 1);
			lua_pushboolean(L, 0);
		}
		lua_rawseti(L, -2, (lua_Integer)i + 1);
	}
}

void json_push_lua(lua_State *L, const json_t *value)
{
	luaL_checkstack(L, 4, "JSON is nested too deeply");
	switch (json_typeof(value)) {
	case JSON_OBJECT:
		push_object(L, value);
		break;
	case JSON_ARRAY:
		push_array(L, value);
		break;
	case JSON_STRING:
		lua_pushlstring(L, json_string_value(value), json_string_length(value));
		break;
	case JSON_INTEGER:
		lua_pushinteger(L, json_integer_value(value));
		break;
	case JSON_REAL:
		lua_pushnumber(L, json_real_value(value));
		break;
	case JSON_NULL:
		lua_pushnil(L);
		break;
	default:
		lua_pushboolean(L, json_is_true(value));
	}
}
