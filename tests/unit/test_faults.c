/* runtime/session against a scripted server: whatever a server or a network does, each operation ends exactly once and says how. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "fake/fakepg.h"
#include "runtime/loop.h"
#include "runtime/session.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

static struct loop *loop;
static struct fakepg *fake;

static int make_loop(void **state)
{
	(void)state;
	struct error err;
	return loop_create(&loop, &err) == ST_OK ? 0 : -1;
}

static int free_loop(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

static void serve(const char *script)
{
	struct error err;
	if (fakepg_start(script, &fake, &err) != ST_OK)
		fail_msg("%s", err.what);
}

static int stop_serving(void **state)
{
	(void)state;
	fakepg_stop(fake);
	fake = NULL;
	return 0;
}

static void count_done(struct session *s, void *arg)
{
	(void)s;
	++*(int *)arg;
}

static void run_until(const int *done, int n)
{
	int64_t deadline_ns = clock_now_ns() + 30 * NS_PER_S;
	while (*done < n && clock_now_ns() < deadline_ns)
		loop_run_once(loop, 100 * NS_PER_MS);
	assert_int_equal(*done, n);
	/* What would end twice does so now. */
	loop_run_once(loop, 0);
	assert_int_equal(*done, n);
}

static const struct session_outcome *connect_session(struct session *s)
{
	int done = 0;
	session_connect(s, 10 * NS_PER_S, count_done, &done);
	run_until(&done, 1);
	return session_outcome(s);
}

static struct session *connected(void)
{
	struct session *s = session_create(loop, fakepg_dsn(fake), "unit test", NULL);
	const struct session_outcome *out = connect_session(s);
	if (!out->ok)
		fail_msg("%s", out->message);
	return s;
}

static const struct session_outcome *query(struct session *s, const char *sql)
{
	int done = 0;
	session_query(s, sql, count_done, &done);
	run_until(&done, 1);
	return session_outcome(s);
}

static const struct session_statement GET = {.name = "get", .sql = "SELECT name FROM t WHERE id = $1", .index = 7, .params = 1};

static const struct session_outcome *execute(struct session *s)
{
	static const char *const values[] = {"1"};
	int done = 0;
	session_execute(s, &GET, values, count_done, &done);
	run_until(&done, 1);
	return session_outcome(s);
}

static bool is_lost(const char *sqlstate)
{
	return strncmp(sqlstate, "08", 2) == 0;
}

/* ---- the server itself ---- */

static void the_script_answers(void **state)
{
	(void)state;
	serve("# comment\n"
	      "#2 run SELECT n -> row 5|x|\\N; row 6|y|z; complete SELECT 2\n"
	      "run SELECT n -> notice look here; row 4; complete SELECT 1\n"
	      "1x run UPDATE* -> error ERROR 40001 could not serialize access\n"
	      "run UPDATE* -> complete UPDATE 3\n");
	struct session *s = connected();
	assert_string_equal(PQgetvalue(query(s, "SELECT n")->result, 0, 0), "4");
	const struct session_outcome *out = query(s, "SELECT n");
	assert_int_equal(out->rows, 2);
	assert_string_equal(PQgetvalue(out->result, 1, 2), "z");
	assert_true(PQgetisnull(out->result, 0, 2));
	assert_string_equal(query(s, "UPDATE t")->sqlstate, "40001");
	assert_int_equal(query(s, "UPDATE t")->rows, 3);
	assert_true(query(s, "BEGIN")->ok);
	assert_int_equal(session_transaction(s), PQTRANS_INTRANS);
	assert_true(query(s, "COMMIT")->ok);
	assert_string_equal(PQgetvalue(execute(s)->result, 0, 0), "1");
	assert_int_equal(fakepg_runs(fake, "UPDATE*"), 2);
	assert_int_equal(fakepg_runs(fake, "SELECT name*"), 1);
	session_free(s);
	struct error err;
	struct fakepg *none;
	assert_int_equal(fakepg_start("run x -> explode", &none, &err), ST_USAGE);
	assert_non_null(strstr(err.what, "explode"));
}

/* ---- at every byte ---- */

/* A whole conversation: connect, a prepared statement, a simple query of many rows and a notice. */
static const char TALK[] = "run SELECT name* -> notice n; row a; complete SELECT 1\n"
			   "run SELECT many* -> rows 20 30; complete SELECT 20\n";

static void talk(struct session *s, const char **how)
{
	*how = "connect";
	if (connect_session(s)->ok && (*how = "execute", execute(s)->ok))
		*how = query(s, "SELECT many")->ok ? "end" : "query";
}

static void a_connection_that_ends_at_any_byte_ends_the_operation_once_with_08(void **state)
{
	(void)state;
	serve(TALK);
	struct session *s = session_create(loop, fakepg_dsn(fake), "unit test", NULL);
	const char *how;
	talk(s, &how);
	assert_string_equal(how, "end");
	int64_t total = fakepg_bytes_sent(fake);
	assert_true(total > 900);
	session_free(s);
	int connecting = 0, executing = 0, querying = 0;
	for (int64_t n = 0; n < total; n++) {
		fakepg_cut_after(fake, n);
		s = session_create(loop, fakepg_dsn(fake), "unit test", NULL);
		talk(s, &how);
		const struct session_outcome *out = session_outcome(s);
		if (out->ok || !is_lost(out->sqlstate) || session_state(s) != SESSION_CLOSED)
			fail_msg("after %d bytes, %s: %s %s", (int)n, how, out->sqlstate, out->message);
		assert_true(out->message[0] != '\0' && out->done_ns >= out->sent_ns);
		connecting += strcmp(how, "connect") == 0;
		executing += strcmp(how, "execute") == 0;
		querying += strcmp(how, "query") == 0;
		session_free(s);
	}
	assert_true(connecting > 100 && executing > 50 && querying > 500);
}

static void an_answer_may_be_split_at_any_byte(void **state)
{
	(void)state;
	serve(TALK);
	const char *how;
	for (int64_t n = 0; n < 400; n++) {
		fakepg_split_at(fake, n);
		struct session *s = session_create(loop, fakepg_dsn(fake), "unit test", NULL);
		talk(s, &how);
		if (strcmp(how, "end") != 0)
			fail_msg("split after %d bytes: %s: %s", (int)n, how, session_outcome(s)->message);
		assert_int_equal(session_outcome(s)->rows, 20);
		session_free(s);
	}
}

/* ---- errors ---- */

static void every_sqlstate_arrives_as_it_was_sent(void **state)
{
	(void)state;
	serve("run SELECT a -> error ERROR 40001 could not serialize access due to concurrent update\n"
	      "run SELECT b -> error ERROR 55P03 canceling statement due to lock timeout\n"
	      "run SELECT c -> row 1; row 2; error ERROR XX000 in the middle of the rows\n"
	      "run SELECT name* -> error ERROR 40P01 deadlock detected\n");
	struct session *s = connected();
	assert_string_equal(query(s, "SELECT a")->sqlstate, "40001");
	assert_string_equal(query(s, "SELECT b")->sqlstate, "55P03");
	assert_string_equal(query(s, "SELECT c")->sqlstate, "XX000");
	assert_string_equal(session_outcome(s)->message, "in the middle of the rows");
	assert_string_equal(execute(s)->sqlstate, "40P01");
	assert_string_equal(query(s, "SELECT ok; SELECT a; SELECT b")->sqlstate, "40001");
	assert_int_equal(fakepg_runs(fake, "SELECT b"), 1);
	assert_int_equal(session_state(s), SESSION_IDLE);
	assert_true(query(s, "SELECT fine")->ok);
	session_free(s);
}

static void what_a_server_says_to_an_idle_session_ends_it_before_the_socket_closes(void **state)
{
	(void)state;
	/* CommandComplete, ReadyForQuery, and then "bye" (57P01); the stream stays open. */
	serve("run SELECT a* -> raw 430000000d53454c4543542030005a0000000549; stall 50; raw 450000001f53464154414c0056464154414c00433537503031004d6279650000; stall 60000\n");
	struct session *s = connected();
	assert_true(query(s, "SELECT a")->ok);
	for (int i = 0; i < 1000 && session_state(s) == SESSION_IDLE; i++)
		loop_run_once(loop, 10 * NS_PER_MS);
	assert_int_equal(session_state(s), SESSION_CLOSED);
	assert_string_equal(query(s, "SELECT b")->sqlstate, "57P01");
	assert_string_equal(query(s, "SELECT b")->sqlstate, "08003");
	session_free(s);
}

static void last_words_that_came_with_an_answer_are_told_to_the_next_statement(void **state)
{
	(void)state;
	/* The same in one packet: the session looks idle, and sends once more before the stream ends. */
	serve("run SELECT a* -> raw 430000000d53454c4543542030005a0000000549450000001f53464154414c0056464154414c00433537503031004d6279650000; stall 200; drop\n");
	struct session *s = connected();
	assert_true(query(s, "SELECT a")->ok);
	assert_int_equal(session_state(s), SESSION_IDLE);
	assert_string_equal(query(s, "SELECT b")->sqlstate, "57P01");
	assert_string_equal(query(s, "SELECT b")->sqlstate, "08003");
	session_free(s);
}

static void the_last_words_of_a_server_are_kept(void **state)
{
	(void)state;
	serve("run SELECT a* -> row 1; error FATAL 57P01 terminating connection due to administrator command\n"
	      "#2 startup -> error FATAL 57P03 the database system is starting up\n"
	      "#3 startup -> error FATAL 53300 sorry, too many clients already\n"
	      "#4 startup -> drop\n"
	      "#5 startup -> garbage 200; stall 20; drop\n");
	struct session *s = connected();
	assert_string_equal(query(s, "SELECT a")->sqlstate, "57P01");
	assert_int_equal(session_state(s), SESSION_CLOSED);
	assert_string_equal(query(s, "SELECT b")->sqlstate, "08003");
	assert_string_equal(connect_session(s)->sqlstate, "57P03");
	assert_string_equal(connect_session(s)->sqlstate, "53300");
	assert_string_equal(connect_session(s)->sqlstate, "08001");
	assert_string_equal(connect_session(s)->sqlstate, "08001");
	assert_true(connect_session(s)->ok);
	assert_true(query(s, "SELECT b")->ok);
	session_free(s);
}

static void nonsense_from_the_server_ends_the_connection_not_the_program(void **state)
{
	(void)state;
	serve("run SELECT a -> garbage 500\n"
	      "run SELECT b -> raw 44 00 00 00 0a 00 07 00 00 00 01; drop\n"           /* a row that was not described, cut short */
	      "run SELECT c -> raw 54 00 00 00 08 ff ff 00 00; stall 5; drop\n"        /* 65,535 columns that do not come */
	      "run SELECT d -> row 1; raw 44 7f ff ff ff 00 01 00 00; stall 5; drop\n" /* a row of 2 GB */
	      "run SELECT e -> row 1; raw 44 00 00 00 02; stall 5; drop\n"             /* a length below its own */
	      "run SELECT name* -> raw 5a 00 00 00 05 49; reset\n");
	static const char *const SQL[] = {"SELECT a", "SELECT b", "SELECT c", "SELECT d", "SELECT e"};
	for (size_t i = 0; i < sizeof SQL / sizeof *SQL; i++) {
		struct session *s = connected();
		const struct session_outcome *out = query(s, SQL[i]);
		if (out->ok || session_state(s) != SESSION_CLOSED)
			fail_msg("%s: %s %s", SQL[i], out->sqlstate, out->message);
		assert_true(is_lost(out->sqlstate));
		session_free(s);
	}
	struct session *s = connected();
	assert_false(execute(s)->ok);
	session_free(s);
}

static void a_reset_connection_is_08006(void **state)
{
	(void)state;
	serve("run SELECT name* -> reset\nparse SELECT name* -> stall 1\nrun SELECT x -> reset");
	struct session *s = connected();
	assert_string_equal(execute(s)->sqlstate, "08006");
	assert_int_equal(session_state(s), SESSION_CLOSED);
	assert_true(connect_session(s)->ok);
	assert_string_equal(query(s, "SELECT x")->sqlstate, "08006");
	session_free(s);
}

static void a_statement_that_could_not_be_prepared_is_prepared_again(void **state)
{
	(void)state;
	serve("1x parse * -> error ERROR 42P01 relation does not exist\n"
	      "1x run SELECT name* -> error ERROR 0A000 cached plan must not change result type\n"
	      "#2 run SELECT name* -> error ERROR 26000 prepared statement does not exist\n");
	struct session *s = connected();
	assert_string_equal(execute(s)->sqlstate, "42P01");
	assert_string_equal(execute(s)->sqlstate, "0A000");
	assert_string_equal(execute(s)->sqlstate, "26000");
	assert_true(execute(s)->ok);
	assert_true(execute(s)->ok);
	session_free(s);
}

/* ---- stalls ---- */

static void a_handshake_that_stalls_ends_at_its_time_limit(void **state)
{
	(void)state;
	serve("startup -> stall 60000");
	struct session *s = session_create(loop, fakepg_dsn(fake), "unit test", NULL);
	int done = 0;
	session_connect(s, 30 * NS_PER_MS, count_done, &done);
	run_until(&done, 1);
	assert_string_equal(session_outcome(s)->sqlstate, "08001");
	session_free(s);
}

/* libpq closes one socket and opens the next in a single call; the new one mostly gets the old one's number. */
static void who_is_turned_away_by_one_address_connects_to_the_next(void **state)
{
	(void)state;
	serve("2x startup -> error FATAL 57P03 the database system is starting up\n");
	const char *folder = fakepg_dsn(fake) + strlen("host=");
	int n = (int)strcspn(folder, " "), done = 0;
	char dsn[512];
	snprintf(dsn, sizeof dsn, "host=%.*s,%.*s,%.*s%s", n, folder, n, folder, n, folder, folder + n);
	struct session *s = session_create(loop, dsn, "unit test", NULL);
	session_connect(s, 0, count_done, &done);
	run_until(&done, 1);
	assert_true(session_outcome(s)->ok);
	assert_int_equal(fakepg_connections(fake), 3);
	assert_string_equal(PQgetvalue(query(s, "SELECT n")->result, 0, 0), "1");
	session_free(s);
}

static void a_stalled_statement_can_be_cancelled_closed_and_freed(void **state)
{
	(void)state;
	serve("run SELECT slow -> row 1; stall 60000; complete SELECT 1");
	struct session *s = connected();
	int done = 0;
	session_query(s, "SELECT slow", count_done, &done);
	while (fakepg_runs(fake, "SELECT slow") == 0)
		loop_run_once(loop, NS_PER_MS);
	session_cancel(s);
	run_until(&done, 1);
	assert_string_equal(session_outcome(s)->sqlstate, "57014");
	assert_int_equal(fakepg_cancels(fake), 1);
	session_query(s, "SELECT slow", count_done, &done);
	loop_run_once(loop, NS_PER_MS);
	session_close(s);
	run_until(&done, 2);
	assert_string_equal(session_outcome(s)->sqlstate, "08006");
	assert_true(connect_session(s)->ok);
	session_query(s, "SELECT slow", count_done, &done);
	loop_run_once(loop, NS_PER_MS);
	session_free(s);
	loop_run_once(loop, NS_PER_MS);
	assert_int_equal(done, 2);
}

static void a_cancel_that_finds_no_descriptor_left_is_tried_again(void **state)
{
	(void)state;
	serve("run SELECT slow -> stall 60000; complete SELECT 1");
	struct session *s = connected();
	struct rlimit usual, few;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
	/* None for telling that the request is delivered; or two, and none for the request. */
	for (int left = 0; left <= 2; left += 2) {
		int done = 0;
		session_query(s, "SELECT slow", count_done, &done);
		while (fakepg_runs(fake, "SELECT slow") <= left / 2)
			loop_run_once(loop, NS_PER_MS);
		int lowest = open("/dev/null", O_RDONLY | O_CLOEXEC);
		assert_int_equal(close(lowest), 0);
		few = (struct rlimit){.rlim_cur = (rlim_t)(lowest + left), .rlim_max = usual.rlim_max};
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
		session_cancel(s);
		for (int i = 0; i < 20; i++)
			loop_run_once(loop, 10 * NS_PER_MS);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
		assert_int_equal(done, 0);
		run_until(&done, 1);
		assert_string_equal(session_outcome(s)->sqlstate, "57014");
	}
	assert_int_equal(fakepg_cancels(fake), 2);
	session_free(s);
}

/* The answer and the cancel request cross: the request may not hit the next statement. */
static void a_late_cancel_hits_nothing_else(void **state)
{
	(void)state;
	serve("run SELECT brief -> stall 3; row 1; complete SELECT 1\nrun SELECT next -> stall 5; row 2; complete SELECT 1");
	struct session *s = connected();
	int expected = 0;
	for (int i = 0; i < 60; i++) {
		int done = 0;
		session_query(s, "SELECT brief", count_done, &done);
		int64_t until_ns = clock_now_ns() + (int64_t)(i % 12) * NS_PER_MS / 2;
		while (done == 0 && clock_now_ns() < until_ns)
			loop_run_once(loop, NS_PER_MS / 5);
		if (done == 0)
			expected++;
		session_cancel(s);
		run_until(&done, 1);
		const struct session_outcome *out = query(s, "SELECT next");
		if (!out->ok)
			fail_msg("round %d: %s", i, out->sqlstate);
	}
	assert_int_equal(fakepg_cancels(fake), expected);
	assert_true(expected > 10);
	session_free(s);
}

static int lost_count;

static void count_lost(struct session *s, void *arg)
{
	(void)s, (void)arg;
	lost_count++;
}

static void a_connection_that_ends_while_idle_is_told_once(void **state)
{
	(void)state;
	serve("run SELECT a -> row 1; complete SELECT 1; ok\nrun SELECT bye -> row 1");
	const struct session_hooks hooks = {.lost = count_lost};
	struct session *s = session_create(loop, fakepg_dsn(fake), "unit test", &hooks);
	assert_true(connect_session(s)->ok);
	lost_count = 0;
	fakepg_stop(fake);
	fake = NULL;
	run_until(&lost_count, 1);
	assert_int_equal(session_state(s), SESSION_CLOSED);
	session_free(s);
}

static void huge_answers_arrive_whole(void **state)
{
	(void)state;
	serve("run SELECT wide -> rows 3 20000000; complete SELECT 3\nrun SELECT long -> rows 200000 20; complete SELECT 200000");
	struct session *s = connected();
	const struct session_outcome *out = query(s, "SELECT wide");
	assert_int_equal(out->rows, 3);
	assert_int_equal(PQgetlength(out->result, 2, 0), 20000000);
	assert_int_equal(query(s, "SELECT long")->rows, 200000);
	session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(the_script_answers, stop_serving),
		cmocka_unit_test_teardown(a_connection_that_ends_at_any_byte_ends_the_operation_once_with_08, stop_serving),
		cmocka_unit_test_teardown(an_answer_may_be_split_at_any_byte, stop_serving),
		cmocka_unit_test_teardown(every_sqlstate_arrives_as_it_was_sent, stop_serving),
		cmocka_unit_test_teardown(what_a_server_says_to_an_idle_session_ends_it_before_the_socket_closes, stop_serving),
		cmocka_unit_test_teardown(last_words_that_came_with_an_answer_are_told_to_the_next_statement, stop_serving),
		cmocka_unit_test_teardown(the_last_words_of_a_server_are_kept, stop_serving),
		cmocka_unit_test_teardown(nonsense_from_the_server_ends_the_connection_not_the_program, stop_serving),
		cmocka_unit_test_teardown(a_reset_connection_is_08006, stop_serving),
		cmocka_unit_test_teardown(a_statement_that_could_not_be_prepared_is_prepared_again, stop_serving),
		cmocka_unit_test_teardown(a_handshake_that_stalls_ends_at_its_time_limit, stop_serving),
		cmocka_unit_test_teardown(who_is_turned_away_by_one_address_connects_to_the_next, stop_serving),
		cmocka_unit_test_teardown(a_stalled_statement_can_be_cancelled_closed_and_freed, stop_serving),
		cmocka_unit_test_teardown(a_cancel_that_finds_no_descriptor_left_is_tried_again, stop_serving),
		cmocka_unit_test_teardown(a_late_cancel_hits_nothing_else, stop_serving),
		cmocka_unit_test_teardown(a_connection_that_ends_while_idle_is_told_once, stop_serving),
		cmocka_unit_test_teardown(huge_answers_arrive_whole, stop_serving),
	};
	return cmocka_run_group_tests(tests, make_loop, free_loop);
}
