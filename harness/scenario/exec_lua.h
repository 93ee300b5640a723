/* Programs that a step or a drill runs, for Lua: a fiber waits while they do, or holds them up. Internal to the room. */
#ifndef PGR_SCENARIO_EXEC_LUA_H
#define PGR_SCENARIO_EXEC_LUA_H

#include <lua.h>

struct fiber;
struct host;

/* host.exec{step = ..., direction = ..., argv = {...}, env = {"NAME=value", ...}, dir = ..., timeout_ns = ...}: runs the program in a process group of its own, with
 * the target in PGHOST, PGPORT, PGUSER, PGDATABASE and so on, PGAPPNAME ("exec by pgrehearse " and its number), and DATABASE_URL. Waits
 * for its end. Returns { pid, exit_code, output (the last 16 kB of both its streams), start_ns, end_ns, timed_out, application (that
 * PGAPPNAME) }, or { error } when it could not be started. */
int exec_lua_run(lua_State *L);

/* host.hold{argv, env, dir}: starts it likewise, but does not read what it writes, so that it stops at its first output. Returns its pid, or
 * nil and why not. host.held_read(pid, go): whether it still runs; with go it may write some kB more first.
 * host.release(pid): ends it; returns what host.exec does, output being what was read. */
int exec_lua_hold(lua_State *L);
int exec_lua_held_read(lua_State *L);
int exec_lua_release(lua_State *L);

/* The program that f waits for is asked to end; f is not resumed by it any more. */
void exec_lua_forget(struct host *h, const struct fiber *f);

/* Ends those that are still running, and waits for it. */
void exec_lua_stop(struct host *h);

#endif
