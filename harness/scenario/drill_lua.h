/* What single drills need of the conductor beside what all need (host.h): bursts of traffic, a failover, the state that another
 * drill arrived at. Internal to the room. */
#ifndef PGR_SCENARIO_DRILL_LUA_H
#define PGR_SCENARIO_DRILL_LUA_H

#include <lua.h>

struct host;

/* Adds its functions to the table `host` on top of L. */
void drill_lua_register(lua_State *L, struct host *h);

/* Waits for a failover that is under way. */
void drill_lua_end(struct host *h);

#endif
