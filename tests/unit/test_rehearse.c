/* scenarios/lib/rehearse: what is wrong with a scenario is said before anything runs, and drills perform what it says. The Lua tests
 * are in tests/unit/rehearse/; each file there returns a table from a sentence to a function that raises when it does not hold. */
#define _GNU_SOURCE
#include "unit.h"

#include "lua_cases.h"

static int run_file(const char *file)
{
	return run_lua_cases("rehearse", file, NULL);
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

static void rows_that_are_missing_are_told_from_deleted_ones(void **state)
{
	(void)state;
	assert_int_equal(run_file("witness.lua"), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scenarios_are_checked_before_anything_runs),
		cmocka_unit_test(drills_perform_what_the_scenario_says),
		cmocka_unit_test(a_rollback_is_compared_by_names),
		cmocka_unit_test(what_a_statement_did_is_told),
		cmocka_unit_test(rows_that_are_missing_are_told_from_deleted_ones),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
