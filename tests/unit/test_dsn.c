/* runtime/dsn: what a connection string says is what libpq will take from it, and what is none is never taken for an empty one. */
#define _GNU_SOURCE
#include "unit.h"

#include "runtime/dsn.h"

static struct error err;

/* "dbname|host", "-" for what is not said; "?" when it is no connection string. */
static const char *read_dsn(const char *dsn)
{
	static char text[256];
	PQconninfoOption *options = dsn_parse(dsn, &err);
	const char *database = dsn_value(options, "dbname"), *host = dsn_value(options, "host");
	snprintf(text, sizeof text, "%s|%s", database != NULL ? database : "-", host != NULL ? host : "-");
	PQconninfoFree(options);
	return options != NULL ? text : "?";
}

static void a_connection_string_says_what_libpq_will_take_from_it(void **state)
{
	(void)state;
	static const struct {
		const char *dsn, *expected;
	} CASES[] = {
		{"host=/tmp dbname=shop", "shop|/tmp"},
		{"postgresql://localhost/shop", "shop|localhost"},
		{"postgres:///?host=/tmp", "-|/tmp"},
		{"host=/tmp dbname=''", "-|/tmp"},
		{"", "-|-"},
		{"shop_clone", "shop_clone|-"},
		{"it's a \\ name", "it's a \\ name|-"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
		assert_string_equal(read_dsn(CASES[i].dsn), CASES[i].expected);
}

static void what_is_no_connection_string_is_an_error(void **state)
{
	(void)state;
	static const char *const BAD[] = {
		"hots=/tmp password=hunter2", "host=/tmp dbname='hunter2", "postgresql://[::1/hunter2", "=hunter2"};
	for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
		assert_string_equal(read_dsn(BAD[i]), "?");
		assert_int_equal(err.status, ST_USAGE);
		assert_null(strstr(err.what, "hunter2"));
		assert_null(strstr(err.hint, "hunter2"));
	}
}

static void what_is_put_together_reads_as_it_was(void **state)
{
	(void)state;
	struct buf text;
	buf_init(&text, 1024);
	dsn_add_word(&text, "host", "/tmp");
	dsn_add_word(&text, "dbname", "it's a \\ name");
	assert_string_equal(text.data, "host='/tmp' dbname='it\\'s a \\\\ name'");
	assert_string_equal(read_dsn(text.data), "it's a \\ name|/tmp");
	buf_free(&text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_connection_string_says_what_libpq_will_take_from_it),
		cmocka_unit_test(what_is_no_connection_string_is_an_error),
		cmocka_unit_test(what_is_put_together_reads_as_it_was),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
