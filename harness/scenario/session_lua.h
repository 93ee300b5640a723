/* The conductor's SQL sessions as Lua objects. Internal to the room. */
#ifndef PGR_SCENARIO_SESSION_LUA_H
#define PGR_SCENARIO_SESSION_LUA_H

#include <lua.h>

struct fiber;
struct host;

/* The metatable of sessions. */
void session_lua_register(lua_State *L, struct host *h);

/* The sessions that f opened are closed and what they do is cancelled; f is not resumed by them any more. */
void session_lua_forget(struct host *h, const struct fiber *f);

/* host.session(application_name): connects and waits for it; raises when that fails. Upvalue 1 is the struct host.
 *
 * session:query(sql, ...) waits for the server and returns { ok, sqlstate, message, rows, start_ns, end_ns, values }: values is an array
 * of rows, each an array with n; integers, floats and booleans are those, NULL is nil, all else is text. Without parameters several
 * statements may stand in sql. It never raises for what the server says.
 * session:pid(); session:connected(); session:cancel() asks the server to give up what another fiber waits for; session:close();
 * session:cut(): the connection breaks as when the client's machine dies. */
int session_lua_open(lua_State *L);

#endif
