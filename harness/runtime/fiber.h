/* Fibers: Lua coroutines that wait for the event loop. A C function starts an operation and yields; when it is done the
 * loop resumes the fiber. A fiber is reused for one call after the other, so that a call allocates nothing but what Lua does. */
#ifndef PGR_RUNTIME_FIBER_H
#define PGR_RUNTIME_FIBER_H

#include "base/error.h"
#include "runtime/loop.h"

#include <lua.h>
#include <stdbool.h>

struct fiber;

/* Called when the fiber's function has returned (ok: its nresults results are on top of fiber_result's stack) or raised (not ok:
 * the error value is on top). fiber_traceback may be called from here. The fiber may be started again from here. */
typedef void fiber_done_fn(struct fiber *f, bool ok, int nresults, void *arg);

/* main: the state that it belongs to. user: the owner's pointer, found again by Lua's C functions with fiber_user. */
struct fiber *fiber_create(lua_State *main, struct loop *loop, void *user);
void fiber_free(struct fiber *f);

/* Inside of a done function: the coroutine with what it left. fiber_state would clear it after an error, for the next start. */
lua_State *fiber_result(struct fiber *f);

/* The coroutine: push a function and its arguments on it, then fiber_start. */
lua_State *fiber_state(struct fiber *f);
void fiber_start(struct fiber *f, int args, fiber_done_fn *done, void *arg);

/* `return fiber_wait(L, k, ctx)` from a C function inside the fiber: yields until fiber_resume, then goes on as k(L, status, ctx). */
int fiber_wait(lua_State *L, lua_KFunction k, lua_KContext ctx);

/* Resumes a waiting fiber. Called from the loop (a done function, a timer), never from inside the fiber. */
void fiber_resume(struct fiber *f);

/* Ends a waiting fiber: its to-be-closed variables are closed, its done function is not called. */
void fiber_cancel(struct fiber *f);

bool fiber_running(const struct fiber *f);

/* The fiber whose coroutine L is, or NULL. Coroutines that a script makes itself inside a fiber are not fibers. */
struct fiber *fiber_of(lua_State *L);
void *fiber_user(const struct fiber *f);
struct loop *fiber_loop(const struct fiber *f);

/* The error value on top of the fiber's stack as text with its traceback; pushes a string and returns it. */
const char *fiber_traceback(struct fiber *f);

/* Lua function sleep(duration): seconds as a number or text like "50ms"; holds up nothing else. */
int fiber_lua_sleep(lua_State *L);

/* A duration argument: seconds as a number, or text with a unit; raises an argument error otherwise. */
int64_t fiber_check_time(lua_State *L, int arg);

#endif
