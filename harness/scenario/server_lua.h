/* Lua's module `server`: connections that wait for their answers, for programs that do nothing beside. No loop may be running. */
#ifndef PGR_SCENARIO_SERVER_LUA_H
#define PGR_SCENARIO_SERVER_LUA_H

#include <lua.h>
#include <signal.h>

/* server.connect(database) connects to that database of dsn's server (NULL: dsn's own) and raises an error when it cannot. Of a connection:
 *   c:query(sql)   one statement, or several in the simple protocol: { ok, sqlstate, message, rows, values, notices } as of the conductor's sessions
 *   c:send(sql)    begins one;  c:answer()  the same table once it has ended, else nil after at most 5 ms
 *   c:pid(), c:version() (150014), c:close()
 * server.stopped() is true once *stop (may be NULL) is set. dsn and stop outlive L. */
void server_preload_lua(lua_State *L, const char *dsn, const volatile sig_atomic_t *stop);

#endif
