/* runtime/script and runtime/fiber: protected calls name file and line; fibers wait, are reused, and never raise into C. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "runtime/fiber.h"
#include "runtime/script.h"

#include <unistd.h>

static lua_State *new_state(void)
{
	lua_State *L = NULL;
	struct error err;
	assert_int_equal(script_create(NULL, &L, &err), ST_OK);
	return L;
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void an_error_names_file_and_line_and_carries_a_traceback(void **state)
{
	(void)state;
	lua_State *L = new_state();
	char path[] = "/tmp/pgr-script-XXXXXX";
	close(mkstemp(path));
	write_file(path, "local function inner()\n  error('no such user')\nend\ninner()\n");
	struct error err;
	assert_int_equal(script_load(L, path, &err), ST_USAGE);
	char where[64];
	snprintf(where, sizeof where, "%s:2", path);
	assert_string_equal(err.where, where);
	assert_non_null(strstr(err.what, "no such user"));
	assert_non_null(strstr(err.what, "stack traceback"));
	write_file(path, "return = 5");
	assert_int_equal(script_load(L, path, &err), ST_USAGE);
	assert_non_null(strstr(err.where, ":1"));
	assert_int_equal(script_load(L, "/nowhere/x.lua", &err), ST_USAGE);
	assert_int_equal(lua_gettop(L), 0);
	unlink(path);
	script_free(L);
}

struct ending {
	struct loop *loop;
	int calls;
	bool ok;
	char text[2048];
};

static void note_end(struct fiber *f, bool ok, int nresults, void *arg)
{
	struct ending *e = arg;
	e->calls++;
	e->ok = ok;
	const char *text = ok ? nresults > 0 ? lua_tostring(fiber_state(f), -1) : "" : fiber_traceback(f);
	snprintf(e->text, sizeof e->text, "%s", text);
	loop_stop(e->loop);
}

static struct ending run(struct loop *loop, struct fiber *f, const char *code)
{
	struct ending e = {.loop = loop};
	lua_State *co = fiber_state(f);
	assert_int_equal(luaL_loadstring(co, code), LUA_OK);
	fiber_start(f, 0, note_end, &e);
	while (e.calls == 0)
		loop_run_once(loop, NS_PER_S);
	return e;
}

static void a_fiber_sleeps_without_holding_up_another(void **state)
{
	(void)state;
	lua_State *L = new_state();
	struct loop *loop;
	assert_int_equal(loop_create(&loop, NULL), ST_OK);
	lua_register(L, "sleep", fiber_lua_sleep);
	struct fiber *slow = fiber_create(L, loop, NULL), *quick = fiber_create(L, loop, NULL);
	struct ending slow_end = {.loop = loop};
	assert_int_equal(luaL_loadstring(fiber_state(slow), "sleep('60ms') return 'slow'"), LUA_OK);
	fiber_start(slow, 0, note_end, &slow_end);
	struct ending e = run(loop, quick, "for i = 1, 3 do sleep(0.001) end return 'quick'");
	assert_string_equal(e.text, "quick");
	assert_int_equal(slow_end.calls, 0);
	while (slow_end.calls == 0)
		loop_run_once(loop, NS_PER_S);
	assert_string_equal(slow_end.text, "slow");
	fiber_free(slow);
	fiber_free(quick);
	loop_free(loop);
	script_free(L);
}

static void a_fiber_is_reused_after_errors_without_its_stack_growing(void **state)
{
	(void)state;
	lua_State *L = new_state();
	struct loop *loop;
	assert_int_equal(loop_create(&loop, NULL), ST_OK);
	lua_register(L, "sleep", fiber_lua_sleep);
	struct fiber *f = fiber_create(L, loop, NULL);
	for (int i = 0; i < 200; i++) {
		struct ending e = run(loop, f, "sleep(0) error('told you')");
		assert_false(e.ok);
		assert_non_null(strstr(e.text, "told you"));
		assert_non_null(strstr(e.text, "stack traceback"));
		e = run(loop, f, "sleep(0) return 1, 2, 'three'");
		assert_true(e.ok);
		assert_string_equal(e.text, "three");
	}
	assert_true(lua_gettop(fiber_state(f)) < 10);
	fiber_free(f);
	loop_free(loop);
	script_free(L);
}

static void a_caught_error_and_a_bad_duration_stay_inside_the_script(void **state)
{
	(void)state;
	lua_State *L = new_state();
	struct loop *loop;
	assert_int_equal(loop_create(&loop, NULL), ST_OK);
	lua_register(L, "sleep", fiber_lua_sleep);
	struct fiber *f = fiber_create(L, loop, NULL);
	struct ending e = run(loop, f, "local ok, m = pcall(function() sleep(0) error('x', 0) end) return m");
	assert_string_equal(e.text, "x");
	e = run(loop, f, "sleep('5 parsecs')");
	assert_false(e.ok);
	assert_non_null(strstr(e.text, "50ms"));
	e = run(loop, f, "coroutine.yield()");
	assert_false(e.ok);
	assert_non_null(strstr(e.text, "coroutine.yield"));
	e = run(loop, f, "return coroutine.wrap(function() coroutine.yield('inner') end)()");
	assert_string_equal(e.text, "inner");
	e = run(loop, f, "coroutine.wrap(function() sleep(0) end)()");
	assert_false(e.ok);
	assert_non_null(strstr(e.text, "coroutine of the script's own"));
	fiber_free(f);
	loop_free(loop);
	script_free(L);
}

static void waiting_outside_a_fiber_is_an_error_not_a_crash(void **state)
{
	(void)state;
	lua_State *L = new_state();
	lua_register(L, "sleep", fiber_lua_sleep);
	assert_int_equal(luaL_loadstring(L, "sleep(1)"), LUA_OK);
	struct error err;
	assert_int_equal(script_call(L, 0, 0, ST_FAILED, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "cannot be made here"));
	script_free(L);
}

static void a_cancelled_fiber_closes_what_is_to_be_closed_and_can_start_again(void **state)
{
	(void)state;
	lua_State *L = new_state();
	struct loop *loop;
	assert_int_equal(loop_create(&loop, NULL), ST_OK);
	lua_register(L, "sleep", fiber_lua_sleep);
	struct fiber *f = fiber_create(L, loop, NULL);
	struct ending e = {.loop = loop};
	assert_int_equal(luaL_loadstring(fiber_state(f),
				 "local guard <close> = setmetatable({}, {__close = function() closed = true end}) sleep(60)"),
		LUA_OK);
	fiber_start(f, 0, note_end, &e);
	fiber_cancel(f);
	assert_int_equal(e.calls, 0);
	lua_getglobal(L, "closed");
	assert_true(lua_toboolean(L, -1));
	assert_string_equal(run(loop, f, "return 'again'").text, "again");
	fiber_free(f);
	loop_free(loop);
	script_free(L);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_error_names_file_and_line_and_carries_a_traceback),
		cmocka_unit_test(a_fiber_sleeps_without_holding_up_another),
		cmocka_unit_test(a_fiber_is_reused_after_errors_without_its_stack_growing),
		cmocka_unit_test(a_caught_error_and_a_bad_duration_stay_inside_the_script),
		cmocka_unit_test(waiting_outside_a_fiber_is_an_error_not_a_crash),
		cmocka_unit_test(a_cancelled_fiber_closes_what_is_to_be_closed_and_can_start_again),
	};
	return cmocka_run_group_tests_name("fiber", tests, NULL, NULL);
}
