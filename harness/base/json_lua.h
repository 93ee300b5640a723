/* JSON as Lua values: what a record, a parse tree or a message hands to a script. */
#ifndef PGR_BASE_JSON_LUA_H
#define PGR_BASE_JSON_LUA_H

#include <jansson.h>
#include <lua.h>

/* Pushes value: objects and arrays are new tables, null is nil. A null inside an array is false, so that the array keeps its length. Raises a
 * Lua error for JSON that is nested deeper than Lua's stack goes. */
void json_push_lua(lua_State *L, const json_t *value);

#endif
