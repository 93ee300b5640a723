/* The schema that a migration finds, as SQL for Lua. Internal to the room. */
#ifndef PGR_SCENARIO_SCHEMA_LUA_H
#define PGR_SCENARIO_SCHEMA_LUA_H

#include <lua.h>

/* Pushes the list of SQL texts that make the workload's schema; an empty one when there is no workload (NULL) or it cannot be read.
 * workload and beside: as of workload_find. */
void schema_push(lua_State *L, const char *workload, const char *beside);

#endif
