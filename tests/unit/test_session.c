/* runtime/session: one PostgreSQL connection on a loop, against a real server. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "runtime/loop.h"
#include "runtime/session.h"
#include "server.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct loop *loop;

static int start_server(void **state)
{
	(void)state;
	return server_start(0) == 0 && loop_create(&loop, NULL) == ST_OK ? 0 : -1;
}

static int stop_server(void **state)
{
	(void)state;
	loop_free(loop);
	return server_stop();
}

/* Counts how often an operation was said to have ended. */
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
}

static struct session *connected(void)
{
	int done = 0;
	struct session *s = session_create(loop, sandbox_dsn(server), "unit test", NULL);
	assert_non_null(s);
	session_connect(s, 10 * NS_PER_S, count_done, &done);
	run_until(&done, 1);
	if (!session_outcome(s)->ok)
		fail_msg("%s", session_outcome(s)->message);
	return s;
}

static const struct session_outcome *query(struct session *s, const char *sql)
{
	int done = 0;
	session_query(s, sql, count_done, &done);
	run_until(&done, 1);
	return session_outcome(s);
}

static long query_number(struct session *s, const char *sql)
{
	return strtol(PQgetvalue(query(s, sql)->result, 0, 0), NULL, 10);
}

static const struct session_outcome *execute(struct session *s, const struct session_statement *st, const char *const *values)
{
	int done = 0;
	session_execute(s, st, values, count_done, &done);
	run_until(&done, 1);
	return session_outcome(s);
}

static void a_session_names_itself_and_knows_its_backend(void **state)
{
	(void)state;
	struct session *s = connected();
	const struct session_outcome *o = query(
		s, "SELECT pg_backend_pid(), current_setting('application_name'), current_setting('client_encoding')");
	assert_true(o->ok);
	assert_int_equal((int)strtol(PQgetvalue(o->result, 0, 0), NULL, 10), session_pid(s));
	assert_string_equal(PQgetvalue(o->result, 0, 1), "unit test");
	assert_string_equal(PQgetvalue(o->result, 0, 2), "UTF8");
	session_free(s);
}

static void a_statement_is_prepared_once_per_connection(void **state)
{
	(void)state;
	const struct session_statement add = {.name = "add", .sql = "SELECT $1::int + $2::int", .index = 3, .params = 2};
	const char *values[] = {"40", "2"}, *nothing[] = {"40", NULL};
	struct session *s = connected();
	for (int i = 0; i < 3; i++) {
		const struct session_outcome *o = execute(s, &add, values);
		assert_true(o->ok);
		assert_string_equal(PQgetvalue(o->result, 0, 0), "42");
		assert_int_equal(o->rows, 1);
		assert_true(o->sent_ns > 0 && o->done_ns >= o->sent_ns);
	}
	assert_true(PQgetisnull(execute(s, &add, nothing)->result, 0, 0));
	assert_string_equal(PQgetvalue(query(s, "SELECT count(*) FROM pg_prepared_statements")->result, 0, 0), "1");
	session_free(s);
}

static void a_failed_statement_keeps_its_sqlstate_and_the_session(void **state)
{
	(void)state;
	struct session *s = connected();
	const struct session_statement divide = {.name = "divide", .sql = "SELECT 1 / $1::int", .index = 0, .params = 1};
	const struct session_statement wrong = {.name = "wrong", .sql = "SELECT nothing FROM nowhere", .index = 1};
	const char *zero[] = {"0"};
	const struct session_outcome *o = execute(s, &divide, zero);
	assert_false(o->ok);
	assert_string_equal(o->sqlstate, "22012");
	assert_string_equal(o->message, "division by zero");
	assert_true(o->done_ns >= o->sent_ns);
	assert_string_equal(execute(s, &wrong, NULL)->sqlstate, "42P01"); /* fails while it is prepared */
	assert_string_equal(execute(s, &wrong, NULL)->sqlstate, "42P01");
	assert_true(query(s, "SELECT 1")->ok);
	assert_int_equal(session_state(s), SESSION_IDLE);
	session_free(s);
}

static void a_plan_whose_result_changed_is_prepared_again(void **state)
{
	(void)state;
	struct session *s = connected();
	const struct session_statement all = {.name = "all", .sql = "SELECT * FROM changing", .index = 5};
	assert_true(query(s, "CREATE TABLE changing (a int)")->ok);
	assert_true(execute(s, &all, NULL)->ok);
	assert_true(query(s, "ALTER TABLE changing ADD COLUMN b int")->ok);
	assert_string_equal(execute(s, &all, NULL)->sqlstate, "0A000");
	assert_true(execute(s, &all, NULL)->ok);
	assert_int_equal(PQnfields(session_outcome(s)->result), 2);
	assert_true(query(s, "DROP TABLE changing")->ok);
	session_free(s);
}

static void the_first_error_of_several_statements_counts(void **state)
{
	(void)state;
	struct session *s = connected();
	const struct session_outcome *o = query(s, "SELECT 1; SELECT 1/0; SELECT 2");
	assert_false(o->ok);
	assert_string_equal(o->sqlstate, "22012");
	assert_true(query(s, "BEGIN; SELECT 1")->ok);
	assert_int_equal(session_transaction(s), PQTRANS_INTRANS);
	assert_false(query(s, "SELECT 1/0")->ok);
	assert_int_equal(session_transaction(s), PQTRANS_INERROR);
	assert_true(query(s, "ROLLBACK")->ok);
	session_free(s);
}

static void rows_are_counted_for_writes_too(void **state)
{
	(void)state;
	struct session *s = connected();
	assert_true(query(s, "CREATE TABLE counted AS SELECT g FROM generate_series(1, 7) g")->ok);
	assert_int_equal(query(s, "UPDATE counted SET g = g + 1 WHERE g > 4")->rows, 3);
	assert_int_equal(query(s, "SELECT * FROM counted")->rows, 7);
	assert_true(query(s, "DROP TABLE counted")->ok);
	session_free(s);
}

static void a_large_result_and_a_large_statement_pass(void **state)
{
	(void)state;
	struct session *s = connected();
	static const char TAIL[] = "'), repeat('y', 20000000)";
	size_t size = 8 << 20;
	char *sql = malloc(size + 64);
	assert_non_null(sql);
	int n = sprintf(sql, "SELECT length('");
	memset(sql + n, 'x', size);
	memcpy(sql + n + size, TAIL, sizeof TAIL);
	const struct session_outcome *o = query(s, sql);
	assert_true(o->ok);
	assert_int_equal((int)strtol(PQgetvalue(o->result, 0, 0), NULL, 10), size);
	assert_int_equal(PQgetlength(o->result, 0, 1), 20000000);
	free(sql);
	session_free(s);
}

static void a_terminated_backend_ends_what_was_under_way_exactly_once(void **state)
{
	(void)state;
	struct session *victim = connected(), *killer = connected();
	char sql[80];
	int done = 0;
	snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d)", session_pid(victim));
	session_query(victim, "SELECT pg_sleep(60)", count_done, &done);
	assert_true(query(killer, sql)->ok);
	run_until(&done, 1);
	assert_string_equal(session_outcome(victim)->sqlstate, "57P01");
	assert_int_equal(session_state(victim), SESSION_CLOSED);
	assert_int_equal(session_pid(victim), 0);
	session_connect(victim, 10 * NS_PER_S, count_done, &done);
	run_until(&done, 2);
	assert_true(query(victim, "SELECT 1")->ok);
	session_free(victim);
	session_free(killer);
}

static int lost_count;

static void count_lost(struct session *s, void *arg)
{
	(void)s;
	(void)arg;
	lost_count++;
}

static void losing_an_idle_connection_is_told(void **state)
{
	(void)state;
	const struct session_hooks hooks = {.lost = count_lost};
	struct session *killer = connected();
	struct session *victim = session_create(loop, sandbox_dsn(server), "unit test", &hooks);
	int done = 0;
	session_connect(victim, 10 * NS_PER_S, count_done, &done);
	run_until(&done, 1);
	char sql[80];
	snprintf(sql, sizeof sql, "SELECT pg_terminate_backend(%d)", session_pid(victim));
	lost_count = 0;
	assert_true(query(killer, sql)->ok);
	run_until(&lost_count, 1);
	assert_int_equal(session_state(victim), SESSION_CLOSED);
	assert_string_equal(query(victim, "SELECT 1")->sqlstate, "57P01");
	assert_non_null(strstr(session_outcome(victim)->message, "terminating connection"));
	assert_string_equal(query(victim, "SELECT 1")->sqlstate, "08003");
	session_free(victim);
	session_free(killer);
}

static void prepare(struct session *s, const struct session_statement *st)
{
	int done = 0;
	session_prepare(s, st, count_done, &done);
	run_until(&done, 1);
	assert_true(session_outcome(s)->ok && session_is_prepared(s, st));
}

static const struct session_outcome *end_pipeline(struct session *s)
{
	int done = 0;
	session_end_pipeline(s, count_done, &done);
	run_until(&done, 1);
	assert_false(session_in_pipeline(s));
	return session_outcome(s);
}

static const struct session_outcome *end_empty_pipeline(struct session *s)
{
	session_begin_pipeline(s);
	return end_pipeline(s);
}

static void run_passes(int n)
{
	for (int i = 0; i < n; i++)
		loop_run_once(loop, NS_PER_MS);
}

static const struct session_statement INSERT = {.name = "insert", .sql = "INSERT INTO piped VALUES ($1)", .index = 3, .params = 1};
static const struct session_statement DIVIDE = {.name = "divide", .sql = "SELECT 1 / $1::int", .index = 4, .params = 1};

static char parts[64];

static void note_part(struct session *s, int done, const char *sqlstate, const char *message, void *arg)
{
	(void)s, (void)arg;
	size_t n = strlen(parts);
	snprintf(parts + n, sizeof parts - n, "%d:%s%s ", done, sqlstate, message[0] != '\0' ? "!" : "");
}

static void each_part_of_a_pipeline_tells_how_it_ended(void **state)
{
	(void)state;
	int connects = 0;
	struct session_hooks hooks = {.part = note_part};
	struct session *s = session_create(loop, sandbox_dsn(server), "unit test", &hooks);
	session_connect(s, 10 * NS_PER_S, count_done, &connects);
	run_until(&connects, 1);
	parts[0] = '\0';
	session_begin_pipeline(s);
	session_enqueue_query(s, "SELECT 1");
	session_sync_pipeline(s);
	session_enqueue_query(s, "SELECT 1");
	session_enqueue_query(s, "SELECT 1 / 0");
	session_enqueue_query(s, "SELECT 2");
	session_sync_pipeline(s);
	session_enqueue_query(s, "SELECT * FROM nowhere_to_be_found");
	session_sync_pipeline(s);
	session_enqueue_query(s, "SELECT 3");
	const struct session_outcome *out = end_pipeline(s);
	assert_string_equal(parts, "1:00000 1:22012! 0:42P01! 1:00000 ");
	assert_string_equal(out->sqlstate, "22012");
	session_free(s);
}

static void a_pipeline_is_one_operation_whose_outcome_is_its_first_error(void **state)
{
	(void)state;
	struct session *s = connected();
	assert_true(query(s, "CREATE TABLE piped (n int)")->ok);
	prepare(s, &INSERT);
	prepare(s, &DIVIDE);
	prepare(s, &DIVIDE);
	char value[16];
	const char *const values[] = {value};
	session_begin_pipeline(s);
	assert_true(session_in_pipeline(s));
	for (int i = 0; i < 1000; i++) {
		snprintf(value, sizeof value, "%d", i);
		session_enqueue(s, &INSERT, values);
	}
	assert_true(end_pipeline(s)->ok);
	assert_int_equal(query_number(s, "SELECT sum(n) FROM piped"), 499500);

	/* What lies between an error and the next sync is left out, and what came before it in that part is undone. */
	session_begin_pipeline(s);
	snprintf(value, sizeof value, "1000");
	session_enqueue(s, &INSERT, values);
	session_sync_pipeline(s);
	session_enqueue(s, &INSERT, values);
	snprintf(value, sizeof value, "0");
	session_enqueue(s, &DIVIDE, values);
	session_enqueue(s, &INSERT, values);
	session_sync_pipeline(s);
	run_passes(20);
	session_enqueue_query(s, "BEGIN");
	session_enqueue(s, &INSERT, values);
	session_enqueue_query(s, "COMMIT");
	const struct session_outcome *out = end_pipeline(s);
	assert_false(out->ok);
	assert_string_equal(out->sqlstate, "22012");
	assert_int_equal(query_number(s, "SELECT count(*) FROM piped"), 1002);
	assert_true(end_empty_pipeline(s)->ok);
	session_free(s);
}

static void a_pipeline_that_loses_its_connection_says_so_at_its_end(void **state)
{
	(void)state;
	struct session *s = connected(), *other = connected();
	prepare(s, &DIVIDE);
	const char *const values[] = {"1"};
	char kill_it[64];
	snprintf(kill_it, sizeof kill_it, "SELECT pg_terminate_backend(%d)", session_pid(s));
	session_begin_pipeline(s);
	session_enqueue(s, &DIVIDE, values);
	session_sync_pipeline(s);
	query(other, kill_it);
	while (session_state(s) != SESSION_CLOSED)
		loop_run_once(loop, 100 * NS_PER_MS);
	session_enqueue(s, &DIVIDE, values);
	session_sync_pipeline(s);
	assert_true(session_in_pipeline(s));
	assert_false(end_pipeline(s)->ok);
	/* Whether the server's last words still belong to the pipeline depends on when they are read. */
	const char *sqlstate = session_outcome(s)->sqlstate;
	assert_true(strcmp(sqlstate, "57P01") == 0 || strcmp(sqlstate, "08006") == 0);
	session_free(s);
	session_free(other);
}

static void a_stale_plan_in_a_pipeline_is_prepared_again(void **state)
{
	(void)state;
	struct session *s = connected();
	static const struct session_statement ALL = {.name = "all", .sql = "SELECT * FROM changing", .index = 5};
	assert_true(query(s, "CREATE TABLE changing (a int)")->ok);
	prepare(s, &ALL);
	assert_true(query(s, "ALTER TABLE changing ADD COLUMN b int")->ok);
	session_begin_pipeline(s);
	session_enqueue(s, &ALL, NULL);
	assert_string_equal(end_pipeline(s)->sqlstate, "0A000");
	assert_false(session_is_prepared(s, &ALL));
	prepare(s, &ALL);
	session_begin_pipeline(s);
	session_enqueue(s, &ALL, NULL);
	assert_true(end_pipeline(s)->ok);
	session_free(s);
}

static void a_cancelled_statement_ends_with_57014(void **state)
{
	(void)state;
	struct session *s = connected();
	int done = 0;
	session_query(s, "SELECT pg_sleep(60)", count_done, &done);
	for (int i = 0; i < 3; i++)
		loop_run_once(loop, 10 * NS_PER_MS);
	session_cancel(s);
	run_until(&done, 1);
	assert_string_equal(session_outcome(s)->sqlstate, "57014");
	assert_true(query(s, "SELECT 1")->ok);
	session_free(s);
}

static void closing_ends_the_operation_with_08006(void **state)
{
	(void)state;
	struct session *s = connected();
	int done = 0;
	session_query(s, "SELECT pg_sleep(60)", count_done, &done);
	session_close(s);
	run_until(&done, 1);
	assert_string_equal(session_outcome(s)->sqlstate, "08006");
	assert_int_equal(session_state(s), SESSION_CLOSED);
	session_free(s);
}

static void freeing_a_busy_session_leaves_nothing_behind(void **state)
{
	(void)state;
	struct session *watcher = connected(), *s = connected();
	int done = 0;
	session_query(s, "SELECT pg_sleep(0.2)", count_done, &done);
	session_free(s);
	int64_t deadline_ns = clock_now_ns() + 30 * NS_PER_S;
	while (clock_now_ns() < deadline_ns &&
		query_number(watcher, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'unit test'") > 1)
		loop_run_once(loop, 20 * NS_PER_MS);
	assert_int_equal(done, 0);
	session_free(watcher);
}

static void what_cannot_connect_says_so(void **state)
{
	(void)state;
	int done = 0;
	struct session *s = session_create(loop, "host=/nonexistent port=5 dbname=x", "unit test", NULL);
	session_connect(s, 5 * NS_PER_S, count_done, &done);
	run_until(&done, 1);
	assert_false(session_outcome(s)->ok);
	assert_string_equal(session_outcome(s)->sqlstate, "08001");
	assert_non_null(strstr(session_outcome(s)->message, "/nonexistent"));
	session_free(s);

	char dsn[512];
	snprintf(dsn, sizeof dsn, "%s dbname=missing", sandbox_dsn(server));
	s = session_create(loop, dsn, "unit test", NULL);
	session_connect(s, 5 * NS_PER_S, count_done, &done);
	run_until(&done, 2);
	assert_string_equal(session_outcome(s)->sqlstate, "3D000");
	session_free(s);
}

/* Its end is told by a timer, which is due then, not at the beginning of time. */
static void what_cannot_connect_is_no_lag_of_the_loop(void **state)
{
	(void)state;
	int done = 0;
	struct session *s = session_create(loop, "host=/nonexistent port=5 dbname=x", "unit test", NULL);
	loop_take_health(loop);
	session_connect(s, 5 * NS_PER_S, count_done, &done);
	run_until(&done, 1);
	assert_true(loop_take_health(loop).lag_max_ns < NS_PER_S);
	session_query(s, "SELECT 1", count_done, &done);
	run_until(&done, 2);
	assert_true(loop_take_health(loop).lag_max_ns < NS_PER_S);
	session_free(s);
}

static void a_server_that_went_away_and_came_back_can_be_used_again(void **state)
{
	(void)state;
	struct session *s = connected();
	assert_int_equal(sandbox_stop_server(server, 0, true, NULL), ST_OK);
	int done = 0;
	session_query(s, "SELECT 1", count_done, &done);
	run_until(&done, 1);
	assert_false(session_outcome(s)->ok);
	session_connect(s, NS_PER_S, count_done, &done);
	run_until(&done, 2);
	assert_string_equal(session_outcome(s)->sqlstate, "08001");
	assert_int_equal(sandbox_start_server(server, 0, NULL), ST_OK);
	session_connect(s, 10 * NS_PER_S, count_done, &done);
	run_until(&done, 3);
	assert_true(session_outcome(s)->ok);
	session_free(s);
}

/* A socket that takes the connection and never says a word: only the time limit ends this. */
static void a_silent_server_is_given_up_in_time(void **state)
{
	(void)state;
	char dir[] = "/tmp/pgr-silent-XXXXXX", dsn[128];
	assert_non_null(mkdtemp(dir));
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.5432", dir);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(listen(fd, 5), 0);
	snprintf(dsn, sizeof dsn, "host=%s dbname=x user=x", dir);
	struct session *s = session_create(loop, dsn, "unit test", NULL);
	int done = 0;
	session_connect(s, 50 * NS_PER_MS, count_done, &done);
	run_until(&done, 1);
	assert_string_equal(session_outcome(s)->sqlstate, "08001");
	session_free(s);
	close(fd);
	unlink(address.sun_path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_names_itself_and_knows_its_backend),
		cmocka_unit_test(a_statement_is_prepared_once_per_connection),
		cmocka_unit_test(a_failed_statement_keeps_its_sqlstate_and_the_session),
		cmocka_unit_test(a_plan_whose_result_changed_is_prepared_again),
		cmocka_unit_test(the_first_error_of_several_statements_counts),
		cmocka_unit_test(rows_are_counted_for_writes_too),
		cmocka_unit_test(a_large_result_and_a_large_statement_pass),
		cmocka_unit_test(a_terminated_backend_ends_what_was_under_way_exactly_once),
		cmocka_unit_test(losing_an_idle_connection_is_told),
		cmocka_unit_test(each_part_of_a_pipeline_tells_how_it_ended),
		cmocka_unit_test(a_pipeline_is_one_operation_whose_outcome_is_its_first_error),
		cmocka_unit_test(a_pipeline_that_loses_its_connection_says_so_at_its_end),
		cmocka_unit_test(a_stale_plan_in_a_pipeline_is_prepared_again),
		cmocka_unit_test(a_cancelled_statement_ends_with_57014),
		cmocka_unit_test(closing_ends_the_operation_with_08006),
		cmocka_unit_test(freeing_a_busy_session_leaves_nothing_behind),
		cmocka_unit_test(what_cannot_connect_says_so),
		cmocka_unit_test(what_cannot_connect_is_no_lag_of_the_loop),
		cmocka_unit_test(a_server_that_went_away_and_came_back_can_be_used_again),
		cmocka_unit_test(a_silent_server_is_given_up_in_time),
	};
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
