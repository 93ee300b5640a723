/* Values of a PostgreSQL result as Lua values. Internal to the room. */
#ifndef PGR_SCENARIO_VALUE_LUA_H
#define PGR_SCENARIO_VALUE_LUA_H

#include <libpq-fe.h>
#include <lua.h>

/* Pushes the value of a result in text format: nil for NULL, a boolean, an integer (int2 to int8, oid), a number (float4, float8), else its text. */
void value_push_lua(lua_State *L, const PGresult *r, int row, int col);

#endif
