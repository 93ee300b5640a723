/* Fibers: reusable Lua coroutines that wait for the event loop. */
#define _GNU_SOURCE
#include "runtime/fiber.h"

#include "base/clock.h"
#include "base/units.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct fiber {
	lua_State *co;
	lua_State *main;
	int anchor; /* registry reference that keeps the coroutine alive */
	struct loop *loop;
	void *user;
	fiber_done_fn *done;
	void *arg;
	bool running;      /* started and not ended */
	bool waiting;      /* yielded by fiber_wait: fiber_resume is due */
	bool inside;       /* lua_resume is on the C stack */
	bool resume_asked; /* fiber_resume was called from inside: an operation that ended at once */
	struct loop_timer sleep;
};

/* A coroutine's fiber is kept in its extra space: LUA_EXTRASPACE bytes before each lua_State. Lua copies the main state's
 * bytes, zeroed by script_create, into each new coroutine, which leaves NULL in those that are not fibers. */
static struct fiber **extra_of(lua_State *L)
{
	return (struct fiber **)lua_getextraspace(L);
}

static void wake_up(struct loop_timer *t)
{
	fiber_resume(container_of(t, struct fiber, sleep));
}

struct fiber *fiber_create(lua_State *main, struct loop *loop, void *user)
{
	struct fiber *f = calloc(1, sizeof *f);
	if (f == NULL)
		abort();
	f->co = lua_newthread(main);
	f->anchor = luaL_ref(main, LUA_REGISTRYINDEX);
	f->main = main;
	f->loop = loop;
	f->user = user;
	f->sleep.fn = wake_up;
	*extra_of(f->co) = f;
	return f;
}

void fiber_free(struct fiber *f)
{
	if (f == NULL)
		return;
	fiber_cancel(f);
	*extra_of(f->co) = NULL;
	luaL_unref(f->main, LUA_REGISTRYINDEX, f->anchor);
	free(f);
}

/* Lua 5.4.0 to 5.4.5 have lua_resetthread only; 5.4.6 renamed it. */
static void reset_coroutine(struct fiber *f)
{
#if LUA_VERSION_RELEASE_NUM >= 50406
	lua_closethread(f->co, NULL);
#else
	lua_resetthread(f->co);
#endif
	lua_settop(f->co, 0);
}

/* Runs the coroutine until it waits for something that has not happened yet, or ends. */
static void go_on(struct fiber *f, int args)
{
	int results = 0;
	int outcome;
	do {
		f->waiting = false;
		f->resume_asked = false;
		f->inside = true;
		outcome = lua_resume(f->co, NULL, args, &results);
		f->inside = false;
		args = 0;
		if (outcome == LUA_YIELD && !f->waiting) {
			/* A script's own coroutine.yield() at the top of a fiber: nothing would ever resume it. */
			lua_settop(f->co, 0);
			reset_coroutine(f);
			lua_pushliteral(f->co, "coroutine.yield() outside a coroutine of the script's own");
			outcome = LUA_ERRRUN;
		}
		if (outcome == LUA_YIELD)
			lua_pop(f->co, results);
	} while (outcome == LUA_YIELD && f->resume_asked);
	if (outcome == LUA_YIELD)
		return;
	f->running = false;
	bool ok = outcome == LUA_OK;
	fiber_done_fn *done = f->done;
	/* done may start the fiber again, so what it left on the stack must be cleared by whoever runs next: fiber_start does. */
	done(f, ok, ok ? results : 1, f->arg);
}

lua_State *fiber_result(struct fiber *f)
{
	return f->co;
}

lua_State *fiber_state(struct fiber *f)
{
	if (!f->running && lua_status(f->co) != LUA_OK)
		reset_coroutine(f);
	return f->co;
}

void fiber_start(struct fiber *f, int args, fiber_done_fn *done, void *arg)
{
	f->done = done;
	f->arg = arg;
	f->running = true;
	/* Results of the call before may lie below; they are dropped so that the stack never grows. */
	int extra = lua_gettop(f->co) - args - 1;
	if (extra > 0) {
		lua_rotate(f->co, 1, -extra);
		lua_pop(f->co, extra);
	}
	go_on(f, args);
}

int fiber_wait(lua_State *L, lua_KFunction k, lua_KContext ctx)
{
	struct fiber *f = fiber_of(L);
	if (f == NULL)
		return luaL_error(L,
			"this call waits for the server, so it cannot be made here (outside a transaction or step, or inside a coroutine of the script's own)");
	f->waiting = true;
	return lua_yieldk(L, 0, ctx, k);
}

void fiber_resume(struct fiber *f)
{
	if (f->inside)
		f->resume_asked = true;
	else if (f->running && f->waiting)
		go_on(f, 0);
}

void fiber_cancel(struct fiber *f)
{
	loop_timer_cancel(f->loop, &f->sleep);
	if (!f->running)
		return;
	f->running = f->waiting = false;
	reset_coroutine(f);
}

bool fiber_running(const struct fiber *f)
{
	return f->running;
}

struct fiber *fiber_of(lua_State *L)
{
	struct fiber *f = *extra_of(L);
	return f != NULL && f->co == L ? f : NULL;
}

void *fiber_user(const struct fiber *f)
{
	return f->user;
}

struct loop *fiber_loop(const struct fiber *f)
{
	return f->loop;
}

const char *fiber_traceback(struct fiber *f)
{
	lua_State *L = f->co;
	const char *text = NULL;
	if (lua_type(L, -1) == LUA_TTABLE && lua_getfield(L, -1, "message") == LUA_TSTRING)
		text = lua_tostring(L, -1);
	if (text == NULL)
		text = luaL_tolstring(L, -1, NULL);
	/* The traceback is pushed on the main state: the coroutine that is being described must not change under it. */
	luaL_traceback(f->main, L, text, 0);
	lua_xmove(f->main, L, 1);
	return lua_tostring(L, -1);
}

int64_t fiber_check_time(lua_State *L, int arg)
{
	if (lua_type(L, arg) == LUA_TNUMBER) {
		double seconds = lua_tonumber(L, arg);
		luaL_argcheck(L, seconds >= 0 && seconds < 1e9, arg, "a duration in seconds, or text like \"50ms\"");
		return (int64_t)llround(seconds * 1e9);
	}
	int64_t ns = 0;
	struct error err;
	if (units_parse_time(luaL_checkstring(L, arg), &ns, &err) != ST_OK)
		luaL_argerror(L, arg, lua_pushfstring(L, "%s (%s)", err.what, err.hint));
	return ns;
}

static int after_sleep(lua_State *L, int status, lua_KContext ctx)
{
	(void)L, (void)status, (void)ctx;
	return 0;
}

int fiber_lua_sleep(lua_State *L)
{
	int64_t ns = fiber_check_time(L, 1);
	struct fiber *f = fiber_of(L);
	if (f != NULL)
		loop_timer_set(f->loop, &f->sleep, clock_now_ns() + ns);
	return fiber_wait(L, after_sleep, 0);
}

/* Lua leaves C functions by glibc's __longjmp_chk, which ThreadSanitizer does not know: it would take each frame that was left for
 * still there, slow down, and stop when its stack is full. longjmp it knows. */
#if defined(__SANITIZE_THREAD__)
#define HAS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define HAS_TSAN 1
#endif
#endif
#ifdef HAS_TSAN
#include <setjmp.h>
void __longjmp_chk(jmp_buf env, int value) __attribute__((noreturn)); /* NOLINT: the name is glibc's */
void __longjmp_chk(jmp_buf env, int value)
{
	longjmp(env, value);
}
#endif
