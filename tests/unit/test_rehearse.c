/* scenarios/lib/rehearse: what is wrong with a scenario is said before anything runs, and drills perform what it says. The Lua tests
 * are in tests/unit/rehearse/; each file there returns a table from a sentence to a function that raises when it does not hold. */
#define _GNU_SOURCE
#include "unit.h"

#include "runtime/script.h"

#include <limits.h>

static int run_file(const char *file)
{
	char lib[PATH_MAX + 64], mine[PATH_MAX + 64], path[PATH_MAX + 128];
	snprintf(lib, sizeof lib, "%s/scenarios/lib", script_home());
	snprintf(mine, sizeof mine, "%s/tests/unit/rehearse", script_home());
	snprintf(path, sizeof path, "%s/%s", mine, file);
	const char *const dirs[] = {lib, mine, NULL};
	lua_State *L;
	struct error err;
	assert_int_equal(script_create(dirs, &L, &err), ST_OK);
	if (script_load(L, path, &err) != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
	int failed = 0;
	int n = 0;
	for (lua_pushnil(L); lua_next(L, 1); n++) {
		const char *sentence = lua_tostring(L, -2);
		if (script_call(L, 0, 0, ST_FAILED, &err) != ST_OK) {
			print_error("%s: %s: %s: %s\n", file, sentence, err.where, err.what);
			failed++;
		}
	}
	script_free(L);
	assert_true(n > 0);
	return failed;
}

static void scenarios_are_checked_before_anything_runs(void **state)
{
	(void)state;
	assert_int_equal(run_file("checks.lua"), 0);
}

static void drills_perform_what_the_scenario_says(void **state)
{
	(void)state;
	assert_int_equal(run_file("drills.lua"), 0);
}

static void a_rollback_is_compared_by_names(void **state)
{
	(void)state;
	assert_int_equal(run_file("compares.lua"), 0);
}

static void what_a_statement_did_is_told(void **state)
{
	(void)state;
	assert_int_equal(run_file("work.lua"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scenarios_are_checked_before_anything_runs),
		cmocka_unit_test(drills_perform_what_the_scenario_says),
		cmocka_unit_test(a_rollback_is_compared_by_names),
		cmocka_unit_test(what_a_statement_did_is_told),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
