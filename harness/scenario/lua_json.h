/* Lua tables as JSON. Internal to the room. */
#ifndef PGR_SCENARIO_LUA_JSON_H
#define PGR_SCENARIO_LUA_JSON_H

#include "base/json.h"

#include <lua.h>

/* A new value for what stands at index. Tables are objects, but arrays when they hold [1] or were marked by lua_json_array. What JSON has
 * no word for (functions, NaN) becomes null; bytes that are not UTF-8 become '?'. At most 32 levels deep. */
json_t *lua_json_value(lua_State *L, int index);

/* Lua function array(t): marks t as an array, so that an empty one stays one; returns t. */
int lua_json_array(lua_State *L);

#endif
