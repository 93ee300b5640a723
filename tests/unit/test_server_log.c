/* What a server's log tells of the server itself, and what it must not tell. */
#define _GNU_SOURCE
#include "unit.h"

#include "clone/server_log.h"

#include <string.h>

static char trouble[256];

static struct buf read_text(const char *text)
{
	struct buf lines;
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	assert_non_null(f);
	buf_init(&lines, 2 * SERVER_LOG_MAX);
	server_log_scan(f, &lines, trouble);
	fclose(f);
	return lines;
}

/* As PostgreSQL 15 wrote them. */
static const char KILLED[] =
	"2026-11-22 05:51:01.101 UTC [10699]  LOG:  database system is ready to accept connections\n"
	"2026-11-22 05:51:02.200 UTC [10711] pgrehearse load v1 ERROR:  duplicate key value violates unique constraint \"users_email_key\"\n"
	"2026-11-22 05:51:02.200 UTC [10711] pgrehearse load v1 DETAIL:  Key (email)=(ann@example.com) already exists.\n"
	"2026-11-22 05:51:02.200 UTC [10711] pgrehearse load v1 STATEMENT:  INSERT INTO users (email)\n"
	"\tVALUES ('ann@example.com')\n"
	"2026-11-22 05:51:02.300 UTC [10712] [unknown] LOG:  duration: 3.1 ms  statement: SELECT 'ann@example.com'\n"
	"2026-11-22 05:51:03.000 UTC [10699]  LOG:  server process (PID 10711) was terminated by signal 9: Killed\n"
	"2026-11-22 05:51:03.000 UTC [10699]  DETAIL:  Failed process was running: SELECT 'ann@example.com'\n"
	"2026-11-22 05:51:03.000 UTC [10699]  LOG:  terminating any other active server processes\n"
	"2026-11-22 05:51:03.100 UTC [10699]  LOG:  all server processes terminated; reinitializing\n";

static void test_the_servers_own_messages_are_kept_and_no_values(void **state)
{
	(void)state;
	struct buf lines = read_text(KILLED);
	assert_string_equal(trouble, "LOG:  server process (PID 10711) was terminated by signal 9: Killed");
	assert_string_equal(lines.data,
		"2026-11-22 05:51:01.101 UTC [10699]  LOG:  database system is ready to accept connections\n"
		"2026-11-22 05:51:03.000 UTC [10699]  LOG:  server process (PID 10711) was terminated by signal 9: Killed\n"
		"2026-11-22 05:51:03.000 UTC [10699]  LOG:  terminating any other active server processes\n"
		"2026-11-22 05:51:03.100 UTC [10699]  LOG:  all server processes terminated; reinitializing\n");
	buf_free(&lines);
}

static void test_what_belongs_to_a_servers_life_is_no_trouble(void **state)
{
	(void)state;
	static const char *const LINES[] = {
		"2026-11-22 05:51:01.101 UTC [7]  LOG:  received fast shutdown request\n",
		"2026-11-22 05:51:01.101 UTC [7]  LOG:  received immediate shutdown request\n",
		"2026-11-22 05:51:01.101 UTC [7]  LOG:  background worker \"logical replication launcher\" (PID 9) exited with exit code 1\n",
		"2026-11-22 05:51:01.101 UTC [9]  FATAL:  could not receive data from WAL stream: server closed the connection unexpectedly\n",
		"2026-11-22 05:51:01.101 UTC [9]  LOG:  database system was not properly shut down; automatic recovery in progress\n",
		"2026-11-22 05:51:01.101 UTC [9] pgrehearse load v1 PANIC:  a session's words\n",
		"2026-11-22 05:51:01.101 UTC [9]  LOG without its colon: PANIC:  x\n",
		"PANIC:  no prefix\n",
		"\t[9]  PANIC:  a statement's second line\n",
	};
	for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
		struct buf lines = read_text(LINES[i]);
		if (trouble[0] != '\0')
			fail_msg("%s", LINES[i]);
		buf_free(&lines);
	}
}

static void test_ends_unasked_and_files_that_cannot_be_written_are(void **state)
{
	(void)state;
	static const char *const LINES[] = {
		"2026-11-22 05:51:01.101 UTC [7]  PANIC:  could not locate a valid checkpoint record\n",
		"2026-11-22 05:51:01.101 UTC [7]  LOG:  checkpointer process (PID 9) exited with exit code 1\n",
		"2026-11-22 05:51:01.101 UTC [7]  LOG:  background worker \"parallel worker\" (PID 9) was terminated by signal 11: Segmentation fault\n",
		"2026-11-22 05:51:01.101 UTC [7]  ERROR:  could not extend file \"base/5/16384\": No space left on device\n",
		"2026-11-22 05:51:01.101 UTC [7]  LOG:  could not fork autovacuum worker process: Cannot allocate memory\n",
	};
	for (size_t i = 0; i < sizeof LINES / sizeof LINES[0]; i++) {
		struct buf lines = read_text(LINES[i]);
		if (trouble[0] == '\0')
			fail_msg("%s", LINES[i]);
		assert_string_equal(lines.data, LINES[i]);
		buf_free(&lines);
	}
}

static void test_of_a_long_log_the_end_is_kept(void **state)
{
	(void)state;
	struct buf text;
	buf_init(&text, 1 << 20);
	for (int i = 0; i < 5000; i++)
		buf_printf(&text, "2026-11-22 05:51:01.101 UTC [7]  LOG:  checkpoint %d%*s\n", i, i == 9 ? 3000 : 0, "");
	buf_str(&text, "2026-11-22 05:51:01.101 UTC [7]  PANIC:  the last word\n");
	struct buf lines = read_text(text.data);
	assert_false(text.overflow);
	assert_in_range(lines.len, SERVER_LOG_MAX / 3, SERVER_LOG_MAX);
	assert_true(strncmp(lines.data, "2026-", 5) == 0);
	assert_non_null(strstr(lines.data, "LOG:  checkpoint 4999\n"));
	assert_non_null(strstr(lines.data, "PANIC:  the last word\n"));
	assert_string_equal(trouble, "PANIC:  the last word");
	buf_free(&lines);
	buf_free(&text);
}

static void test_a_log_that_is_not_there_tells_nothing(void **state)
{
	(void)state;
	struct buf lines;
	buf_init(&lines, 2 * SERVER_LOG_MAX);
	assert_string_equal(server_log_read("/nonexistent/primary.log", 0, &lines, trouble), "");
	assert_int_equal(server_log_length("/nonexistent/primary.log"), 0);
	assert_int_equal(lines.len, 0);
	buf_free(&lines);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_servers_own_messages_are_kept_and_no_values),
		cmocka_unit_test(test_what_belongs_to_a_servers_life_is_no_trouble),
		cmocka_unit_test(test_ends_unasked_and_files_that_cannot_be_written_are),
		cmocka_unit_test(test_of_a_long_log_the_end_is_kept),
		cmocka_unit_test(test_a_log_that_is_not_there_tells_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
