/* A replay against a scripted server: sessions that are let in late, or not at all, and what they prepare. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "fake/fakepg.h"
#include "replay/player.h"
#include "replay/trace.h"

#include <unistd.h>

#define START_NS (INT64_C(1795269070) * NS_PER_S)

static char path[64];
static struct fakepg *fake;

static struct log_text text(const char *s)
{
	return (struct log_text){(char *)(uintptr_t)s, strlen(s)};
}

/* One session, a statement each 10 ms; "name: sql" is one of the extended protocol. */
static void write_trace(const char *const *statements)
{
	struct error err;
	struct trace_writer *w;
	struct captured_session s = {.number = 0, .id = 7, .user = text("bob"), .database = text("shop")};
	if (trace_create(path, &w, &err) != ST_OK)
		fail_msg("%s", err.what);
	trace_add_session(&s, w);
	for (int i = 0; statements[i] != NULL; i++) {
		const char *colon = strstr(statements[i], ": ");
		struct captured c = {.kind = colon != NULL ? CAPTURED_EXECUTE : CAPTURED_SIMPLE,
			.arrival_ns = START_NS + i * 10 * NS_PER_MS,
			.duration_ns = NS_PER_MS,
			.text = text(colon != NULL ? colon + 2 : statements[i]),
			.rows = -1,
			.sqlstate = "00000"};
		if (colon != NULL)
			c.name = (struct log_text){(char *)(uintptr_t)statements[i], (size_t)(colon - statements[i])};
		trace_add_event(&c, w);
	}
	json_t *meta = json_object();
	if (trace_finish(w, meta, &err) != ST_OK)
		fail_msg("%s", err.what);
	json_decref(meta);
}

static enum status replay(const char *script, struct player_result *result)
{
	struct error err;
	if (fakepg_start(script, &fake, &err) != ST_OK)
		fail_msg("%s", err.what);
	struct player_config config = {.trace = path,
		.dsn = fakepg_dsn(fake),
		.speed = 1,
		.keep_keys = true,
		.drain_ns = 20 * NS_PER_S,
		.order_wait_ns = NS_PER_S};
	return player_perform(&config, result, &err);
}

static int stop_serving(void **state)
{
	(void)state;
	fakepg_stop(fake);
	fake = NULL;
	return 0;
}

static void a_session_waits_for_a_server_that_comes_back(void **state)
{
	(void)state;
	struct player_result r;
	write_trace((const char *const[]){"SELECT 1", "SELECT 2", "SELECT 3", NULL});
	assert_int_equal(replay("4x: startup -> error FATAL 57P03 the database system is starting up\n"
				"#1: run *2* -> error FATAL 57P01 terminating connection due to administrator command\n"
				"#6: startup -> error FATAL 53300 sorry, too many clients already",
				 &r),
		ST_OK);
	assert_int_equal(r.sent, 3);
	assert_int_equal(r.same, 2);
	assert_int_equal(r.not_sent, 0);
	assert_int_equal(r.refused, 0);
	assert_int_equal(r.reconnects, 1);
	assert_int_equal(fakepg_connections(fake), 7);
	player_result_free(&r);
}

static void a_session_that_is_refused_by_name_is_given_up_at_once(void **state)
{
	(void)state;
	struct player_result r;
	write_trace((const char *const[]){"SELECT 1", "SELECT 2", NULL});
	assert_int_equal(replay("startup -> error FATAL 28P01 password authentication failed for user \"bob\"", &r), ST_FAILED);
	assert_int_equal(r.refused, 1);
	assert_int_equal(r.not_sent, 2);
	assert_int_equal(fakepg_connections(fake), 1);
	player_result_free(&r);
}

/* The server answers the second Parse of a statement with an error, which tells that there was one. */
static void what_frees_all_is_followed_by_preparing_anew(void **state)
{
	(void)state;
	static const char *const FREES[] = {"DISCARD ALL", "rollback; deallocate all", "DISCARD PLANS", "SELECT 'discard all'"};
	for (int i = 0; i < 4; i++) {
		struct player_result r;
		write_trace((const char *const[]){"s_1: SELECT now()", "s_1: SELECT now()", FREES[i], "s_1: SELECT now()", NULL});
		assert_int_equal(replay("#2: parse *now* -> error ERROR 0A001 seen", &r), ST_OK);
		assert_int_equal(r.sent, 4);
		assert_int_equal(r.diverged, i < 2);
		player_result_free(&r);
		fakepg_stop(fake);
		fake = NULL;
	}
}

static void a_name_of_the_protocol_is_not_freed_by_sql(void **state)
{
	(void)state;
	struct player_result r;
	write_trace((const char *const[]){"pdo_stmt_01: SELECT 7", "DEALLOCATE pdo_stmt_01", "DEALLOCATE pdo_stmt_01", "q: SELECT 8",
		"PREPARE q AS SELECT 'x'", "DEALLOCATE PREPARE q", "Big: SELECT 9", "DEALLOCATE Big", "DEALLOCATE \"Big\"", NULL});
	assert_int_equal(replay("", &r), ST_OK);
	assert_int_equal(r.planned, 9);
	assert_int_equal(r.skipped, 2);
	assert_int_equal(r.sent, 7);
	assert_int_equal(fakepg_runs(fake, "DEALLOCATE pdo*"), 1);
	assert_int_equal(fakepg_runs(fake, "DEALLOCATE PREPARE q"), 1);
	assert_int_equal(fakepg_runs(fake, "DEALLOCATE Big"), 1);
	assert_int_equal(fakepg_runs(fake, "DEALLOCATE \"Big\""), 0);
	player_result_free(&r);
}

int main(void)
{
	snprintf(path, sizeof path, "/tmp/pgr-test-player-%d", (int)getpid());
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_session_waits_for_a_server_that_comes_back, stop_serving),
		cmocka_unit_test_teardown(a_session_that_is_refused_by_name_is_given_up_at_once, stop_serving),
		cmocka_unit_test_teardown(what_frees_all_is_followed_by_preparing_anew, stop_serving),
		cmocka_unit_test_teardown(a_name_of_the_protocol_is_not_freed_by_sql, stop_serving),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return failed;
}
