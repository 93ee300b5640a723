/* Predictions, rules and conversions of migrations: the Lua tests of tests/unit/check/, each file a table from a sentence to a function
 * that raises when it does not hold; and SQL as the parser sees it. */
#define _GNU_SOURCE
#include "unit.h"

#include "lua_cases.h"
#include "sql/parse.h"

/* libpg_query forgets an empty string when a function's body does not parse. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:pg_query_raw_parse\n";
}

static int run_file(const char *file)
{
	return run_lua_cases("check", file, sql_preload_lua);
}

static void what_statements_lock_is_predicted(void **state)
{
	(void)state;
	assert_int_equal(run_file("predicts.lua"), 0);
}

static void what_is_wrong_with_a_migration_is_found(void **state)
{
	(void)state;
	assert_int_equal(run_file("finds.lua"), 0);
}

static void sql_is_parsed_and_what_cannot_be_is_placed(void **state)
{
	(void)state;
	struct error err;
	json_t *tree = NULL;
	int at = -1;
	assert_int_equal(sql_parse("SELECT 1; DROP TABLE t", &tree, &at, &err), ST_OK);
	assert_int_equal(json_array_size(json_object_get(tree, "stmts")), 2);
	assert_int_equal(at, 0);
	json_decref(tree);
	assert_int_equal(sql_parse("SELEKT 1", &tree, &at, &err), ST_USAGE);
	assert_int_equal(at, 1);
	assert_non_null(strstr(err.what, "syntax error"));
	assert_true(sql_parser_version() >= 13);
}

static void a_statement_that_is_too_deep_is_refused(void **state)
{
	(void)state;
	enum { DEEP = 100000 };
	char *text = malloc(2 * DEEP + 16);
	struct error err;
	json_t *tree = NULL;
	assert_non_null(text);
	memcpy(text, "SELECT ", 7);
	memset(text + 7, '(', DEEP);
	text[7 + DEEP] = '1';
	memset(text + 8 + DEEP, ')', DEEP);
	text[8 + 2 * DEEP] = '\0';
	assert_int_equal(sql_parse(text, &tree, NULL, &err), ST_USAGE);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_statements_lock_is_predicted),
		cmocka_unit_test(what_is_wrong_with_a_migration_is_found),
		cmocka_unit_test(sql_is_parsed_and_what_cannot_be_is_placed),
		cmocka_unit_test(a_statement_that_is_too_deep_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
