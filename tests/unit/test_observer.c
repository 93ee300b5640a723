/* observe/observer on a real primary and standby: what it records against what was done, with lower bounds only. */
#define _GNU_SOURCE
#include "unit.h"

#include "observed.h"

#define VICTIMS 5

static const char *dsn;

static int ask_number(const char *to, const char *sql)
{
	PGconn *conn = server_connect_as(to, "test");
	PGresult *r = PQexec(conn, sql);
	assert_int_equal(PQresultStatus(r), PGRES_TUPLES_OK);
	int value = atoi(PQgetvalue(r, 0, 0)); /* NOLINT(cert-err34-c): the query returns a number */
	PQclear(r);
	PQfinish(conn);
	return value;
}

static void start_as(const char *primary, bool with_standby)
{
	const char *names[] = {sandbox_standby_name(server, 0)};
	const char *dsns[] = {sandbox_standby_dsn(server, 0)};
	observed_start((struct observer_config){.dsn = primary, .standby_names = names, .standby_dsns = dsns, .standbys = with_standby});
}

static void await_waiting(int n)
{
	for (int i = 0; observer_waiting(observer) != n; i++) {
		assert_true(i < 3000);
		pause_for(5 * MS);
	}
}

static void drain(PGconn *conn)
{
	PGresult *r;
	while ((r = PQgetResult(conn)) != NULL)
		PQclear(r);
}

static const char *text_at(const json_t *o, const char *outer, const char *inner)
{
	const char *text = json_string_value(json_object_get(json_object_get(o, outer), inner));
	return text != NULL ? text : "(null)";
}

static int64_t int_at(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const json_t *wait_of(int pid)
{
	size_t i;
	json_t *line;
	json_array_foreach(waits, i, line)
	{
		if (json_integer_value(json_object_get(json_object_get(line, "waiter"), "pid")) == pid)
			return line;
	}
	print_error("no wait of pid %d\n", pid);
	fail();
	return NULL;
}

/* Victims: sessions of the load that have sent a statement. */
static PGconn *victims[VICTIMS];
static int64_t sent_ns[VICTIMS];
static int pids[VICTIMS];

static void send_victims(const char *sql)
{
	for (int i = 0; i < VICTIMS; i++) {
		victims[i] = server_connect_as(dsn, "pgrehearse load v1 pod 1");
		pids[i] = PQbackendPID(victims[i]);
		sent_ns[i] = clock_now_ns();
		assert_true(PQsendQuery(victims[i], sql));
	}
}

static int64_t done_ns[VICTIMS];

static void finish_victims(void)
{
	for (int i = 0; i < VICTIMS; i++) {
		PGresult *r;
		while ((r = PQgetResult(victims[i])) != NULL)
			PQclear(r);
		done_ns[i] = clock_now_ns();
		observer_note_slow(observer, pids[i], sent_ns[i], done_ns[i], "00000", "v1", "view_user", "get_user");
		PQfinish(victims[i]);
	}
}

static void each_victim_waited_as_long_as_the_lock_was_held(void **state)
{
	(void)state;
	start_as(dsn, true);
	PGconn *blocker = server_connect_as(dsn, "psql");
	server_execute(blocker, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	send_victims("SELECT count(*) FROM users");
	await_waiting(VICTIMS);
	int64_t all_waiting_ns = clock_now_ns();
	pause_for(300 * MS);
	int64_t released_ns = clock_now_ns();
	server_execute(blocker, "COMMIT");
	finish_victims();
	await_waiting(0);
	struct observation seen;
	observer_collect(observer, &seen);
	assert_int_equal(seen.waiting, VICTIMS);
	assert_true(seen.longest_wait_ns >= released_ns - all_waiting_ns);
	int blocker_pid = PQbackendPID(blocker);
	PQfinish(blocker);
	observed_stop();
	assert_int_equal(json_array_size(waits), VICTIMS);
	for (int i = 0; i < VICTIMS; i++) {
		const json_t *w = wait_of(pids[i]);
		int64_t length_ns = int_at(w, "length_ns"), bound_ns = int_at(w, "bound_ns");
		assert_true(length_ns + bound_ns >= released_ns - all_waiting_ns);
		assert_true(length_ns - bound_ns <= done_ns[i] - sent_ns[i] + MS);
		assert_string_equal(json_string_value(json_object_get(w, "ended")), "granted");
		assert_string_equal(text_at(w, "waiter", "role"), "load");
		assert_string_equal(text_at(w, "waiter", "version"), "v1");
		assert_string_equal(text_at(w, "waiter", "transaction"), "view_user");
		assert_string_equal(text_at(w, "waiter", "statement"), "get_user");
		assert_string_equal(text_at(w, "waiter", "sql"), "SELECT count(*) FROM users");
		assert_string_equal(text_at(w, "lock", "type"), "relation");
		assert_string_equal(text_at(w, "lock", "relation"), "users");
		assert_string_equal(text_at(w, "lock", "mode"), "AccessShareLock");
		const json_t *b = json_array_get(json_object_get(w, "blockers"), 0);
		assert_int_equal(int_at(b, "pid"), blocker_pid);
		assert_string_equal(json_string_value(json_object_get(b, "mode")), "AccessExclusiveLock");
		assert_false(json_boolean_value(json_object_get(b, "queued")));
		assert_string_equal(json_string_value(json_object_get(b, "role")), "foreign");
		assert_string_equal(json_string_value(json_object_get(b, "state")), "idle in transaction");
		assert_true(int_at(b, "xact_age_ns") >= 0);
		assert_int_equal(json_integer_value(json_object_get(json_object_get(w, "root"), "pid")), blocker_pid);
		assert_true(json_is_null(json_object_get(w, "blamed")));
	}
	assert_true(totals.samples > 20);
	assert_true(totals.cpu_ns > 0);
	assert_int_equal(totals.waits, VICTIMS);
	assert_int_equal(ask_number(dsn, "SELECT count(*) FROM pg_namespace WHERE nspname = 'pgrehearse'"), 0);
}

static void those_queued_behind_an_alter_blame_it_though_a_reader_is_the_root(void **state)
{
	(void)state;
	start_as(dsn, true);
	PGconn *reader = server_connect_as(dsn, "psql");
	server_execute(reader, "BEGIN; SELECT count(*) FROM users");
	PGconn *migration = server_connect_as(dsn, "pgrehearse migration");
	int reader_pid = PQbackendPID(reader), migration_pid = PQbackendPID(migration);
	server_execute(migration, "SET lock_timeout = '1200ms'");
	struct observer_statement st = {.id = 17, .pid = migration_pid, .sql = "ALTER", .start_ns = clock_now_ns()};
	observer_note_statement(observer, &st);
	assert_true(PQsendQuery(migration, "ALTER TABLE users ADD COLUMN extra int"));
	await_waiting(1);
	send_victims("SELECT count(*) FROM users");
	await_waiting(1 + VICTIMS);
	PGresult *r = PQgetResult(migration);
	assert_string_equal(PQresultErrorField(r, PG_DIAG_SQLSTATE), "55P03");
	PQclear(r);
	st.end_ns = clock_now_ns();
	st.sqlstate = "55P03";
	observer_note_statement(observer, &st);
	finish_victims();
	await_waiting(0);
	PQfinish(migration);
	PQfinish(reader);
	observed_stop();
	assert_int_equal(json_array_size(waits), 1 + VICTIMS);
	const json_t *own = wait_of(migration_pid);
	assert_string_equal(text_at(own, "waiter", "role"), "migration");
	assert_string_equal(json_string_value(json_object_get(own, "ended")), "timeout");
	assert_true(int_at(own, "length_ns") + int_at(own, "bound_ns") >= 1190 * MS);
	assert_true(json_is_null(json_object_get(own, "blamed")));
	for (int i = 0; i < VICTIMS; i++) {
		const json_t *w = wait_of(pids[i]);
		assert_int_equal(int_at(w, "blamed"), 17);
		assert_int_equal(json_array_size(json_object_get(w, "blockers")), 1);
		const json_t *b = json_array_get(json_object_get(w, "blockers"), 0);
		assert_int_equal(int_at(b, "pid"), migration_pid);
		assert_true(json_boolean_value(json_object_get(b, "queued")));
		assert_string_equal(json_string_value(json_object_get(b, "mode")), "AccessExclusiveLock");
		assert_int_equal(json_integer_value(json_object_get(json_object_get(w, "root"), "pid")), reader_pid);
		const json_t *chain = json_object_get(w, "chain");
		assert_int_equal(json_array_size(chain), 2);
		assert_int_equal(json_integer_value(json_array_get(chain, 0)), migration_pid);
		assert_int_equal(json_integer_value(json_array_get(chain, 1)), reader_pid);
	}
}

static void a_wait_for_a_row_names_its_table(void **state)
{
	(void)state;
	start_as(dsn, false);
	PGconn *first = server_connect_as(dsn, "psql"), *second = server_connect_as(dsn, "psql");
	server_execute(first, "BEGIN; UPDATE users SET name = 'x' WHERE id = 1");
	assert_true(PQsendQuery(second, "UPDATE users SET name = 'y' WHERE id = 1"));
	await_waiting(1);
	pause_for(50 * MS);
	server_execute(first, "COMMIT");
	PGresult *r;
	while ((r = PQgetResult(second)) != NULL)
		PQclear(r);
	await_waiting(0);
	int pid = PQbackendPID(second);
	PQfinish(first);
	PQfinish(second);
	observed_stop();
	const json_t *w = wait_of(pid);
	assert_string_equal(text_at(w, "lock", "type"), "transactionid");
	assert_string_equal(text_at(w, "lock", "relation"), "users");
	assert_string_equal(text_at(w, "waiter", "role"), "foreign");
	assert_true(int_at(w, "length_ns") >= 50 * MS);
}

static PGconn *connect_serializable(void)
{
	PGconn *conn = server_connect_as(dsn, "psql");
	server_execute(conn, "SET default_transaction_isolation = serializable; SET enable_seqscan = off");
	return conn;
}

static void what_serializable_transactions_have_read_is_no_lock_in_the_way(void **state)
{
	(void)state;
	PGconn *first = connect_serializable(), *second = connect_serializable(), *third = connect_serializable();
	server_execute(first, "CREATE TABLE IF NOT EXISTS keys (id int PRIMARY KEY)");
	start_as(dsn, false);
	server_execute(first, "BEGIN; SELECT * FROM users WHERE id = 1; INSERT INTO keys VALUES (1)");
	/* It has read a row of one table, and waits for no row of it. */
	server_execute(third, "BEGIN; SELECT * FROM users WHERE id = 2");
	assert_true(PQsendQuery(third, "INSERT INTO keys VALUES (1)"));
	await_waiting(1);
	/* It has read all of the table, and stands in the queue for it. */
	server_execute(second, "BEGIN; SET LOCAL enable_seqscan = on; SELECT * FROM users");
	assert_true(PQsendQuery(second, "LOCK TABLE users IN ACCESS EXCLUSIVE MODE"));
	await_waiting(2);
	PGconn *last = connect_serializable();
	assert_true(PQsendQuery(last, "SELECT * FROM users"));
	await_waiting(3);
	pause_for(50 * MS);
	int pid_of_third = PQbackendPID(third), pid_of_last = PQbackendPID(last);
	server_execute(first, "ROLLBACK");
	drain(third);
	server_execute(third, "ROLLBACK");
	drain(second);
	server_execute(second, "ROLLBACK");
	drain(last);
	await_waiting(0);
	server_execute(first, "DROP TABLE keys");
	PGconn *all[] = {first, second, third, last};
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
		PQfinish(all[i]);
	observed_stop();
	assert_string_equal(text_at(wait_of(pid_of_third), "lock", "type"), "transactionid");
	assert_string_equal(text_at(wait_of(pid_of_third), "lock", "relation"), "(null)");
	const json_t *blocker = json_array_get(json_object_get(wait_of(pid_of_last), "blockers"), 0);
	assert_string_equal(json_string_value(json_object_get(blocker, "mode")), "AccessExclusiveLock");
	assert_true(json_is_true(json_object_get(blocker, "queued")));
}

static void what_still_waits_at_the_end_is_unfinished(void **state)
{
	(void)state;
	start_as(dsn, false);
	PGconn *blocker = server_connect_as(dsn, "psql");
	server_execute(blocker, "BEGIN; SELECT pg_advisory_xact_lock(1)");
	send_victims("SELECT pg_advisory_lock(1)");
	await_waiting(VICTIMS);
	observed_stop();
	assert_int_equal(json_array_size(waits), VICTIMS);
	for (int i = 0; i < VICTIMS; i++) {
		assert_string_equal(json_string_value(json_object_get(wait_of(pids[i]), "ended")), "unfinished");
		PQfinish(victims[i]);
	}
	PQfinish(blocker);
}

static const struct observer_lag *lag_of(const struct observation *seen, const char *standby)
{
	for (int i = 0; i < seen->standbys; i++)
		if (strcmp(seen->lag[i].standby, standby) == 0)
			return &seen->lag[i];
	return NULL;
}

static void standbys_that_share_a_name_are_told_apart(void **state)
{
	(void)state;
	char walsender[600];
	snprintf(walsender, sizeof walsender, "%s replication=true", dsn);
	PGconn *twins[] = {server_connect_as(walsender, "twin"), server_connect_as(walsender, "twin")};
	start_as(dsn, true);
	struct observation seen;
	for (int i = 0; i == 0 || lag_of(&seen, "twin@local#1") == NULL; i++) {
		assert_true(i < 1000);
		pause_for(10 * MS);
		observer_collect(observer, &seen);
	}
	assert_non_null(lag_of(&seen, "twin@local#2"));
	assert_null(lag_of(&seen, "twin"));
	assert_non_null(lag_of(&seen, "standby1"));
	assert_true(lag_of(&seen, "standby1")->sent_bytes >= 0);
	for (int i = 0; i < 2; i++)
		PQfinish(twins[i]);
	observed_stop();
	size_t i;
	json_t *e;
	int warned = 0;
	json_array_foreach(events, i, e)
	{
		const char *text = json_string_value(json_object_get(e, "text"));
		warned += text != NULL && strstr(text, "twin@local#1") != NULL;
	}
	assert_int_equal(warned, 1);
}

static void lag_grows_while_replay_is_paused_and_goes_back_to_nothing(void **state)
{
	(void)state;
	start_as(dsn, true);
	struct observation seen;
	const char *standby = sandbox_standby_dsn(server, 0);
	for (int i = 0; observer_replay_lag_ns(observer) != 0; i++) {
		assert_true(i < 2000);
		pause_for(10 * MS);
	}
	PGconn *conn = server_connect_as(standby, "test");
	server_execute(conn, "SELECT pg_wal_replay_pause()");
	int64_t paused_ns = clock_now_ns();
	PGconn *writer = server_connect_as(dsn, "test");
	server_execute(writer, "CREATE TABLE ballast AS SELECT repeat('x', 1000) FROM generate_series(1, 3000); DROP TABLE ballast");
	pause_for(1000 * MS);
	assert_true(observer_replay_lag_ns(observer) >= 500 * MS);
	assert_true(observer_replay_lag_bytes(observer) > 3000000);
	int64_t resumed_ns = clock_now_ns();
	server_execute(conn, "SELECT pg_wal_replay_resume()");
	for (int i = 0; observer_replay_lag_ns(observer) != 0 || observer_replay_lag_bytes(observer) > 1000000; i++) {
		assert_true(i < 2000);
		pause_for(10 * MS);
	}
	observer_collect(observer, &seen);
	assert_int_equal(seen.standbys, 1);
	assert_string_equal(seen.lag[0].standby, "standby1");
	/* A beat and a look are missing at most. */
	assert_true(seen.lag[0].heartbeat_ns >= resumed_ns - paused_ns - 350 * MS);
	assert_true(seen.lag[0].replay_bytes > 3000000);
	assert_true(seen.wal_bytes > 3000000);
	json_t *lag = observation_lag_json(&seen);
	assert_int_equal(json_integer_value(json_object_get(json_array_get(lag, 0), "heartbeat_ns")), seen.lag[0].heartbeat_ns);
	json_decref(lag);
	PQfinish(conn);
	PQfinish(writer);
	observed_stop();
}

static void a_lost_connection_is_told_once_and_taken_up_again(void **state)
{
	(void)state;
	start_as(dsn, false);
	PGconn *admin = server_connect_as(dsn, "test");
	for (int i = 0; i < 2; i++) {
		server_execute(
			admin, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'pgrehearse observer'");
		pause_for(300 * MS);
	}
	PGconn *blocker = server_connect_as(dsn, "psql");
	server_execute(blocker, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	send_victims("SELECT count(*) FROM users");
	await_waiting(VICTIMS);
	pause_for(300 * MS); /* the dear look of that round may still be under way */
	server_execute(blocker, "COMMIT");
	finish_victims();
	PQfinish(blocker);
	PQfinish(admin);
	observed_stop();
	assert_int_equal(json_array_size(waits), VICTIMS);
	assert_in_range(observed_warnings("lock sampler: connection lost"), 1, 2);
}

static void a_role_without_privileges_is_told_what_it_lacks(void **state)
{
	(void)state;
	PGconn *admin = server_connect_as(dsn, "test");
	server_execute(admin, "CREATE ROLE plain LOGIN");
	char plain[512];
	snprintf(plain, sizeof plain, "%s user=plain", dsn);
	start_as(plain, false);
	pause_for(300 * MS);
	assert_int_equal(observer_replay_lag_ns(observer), -1);
	observed_stop();
	assert_int_equal(observed_warnings("pg_monitor"), 1);
	assert_int_equal(observed_warnings("pgrehearse.heartbeat"), 1);
	server_execute(admin, "DROP ROLE plain");
	PQfinish(admin);
}

static void no_server_is_an_error_that_says_so(void **state)
{
	(void)state;
	struct error err;
	char path[96];
	snprintf(path, sizeof path, "%s/none", server_home);
	record = record_create(path, json_object(), &err);
	assert_non_null(record);
	assert_int_equal(observer_start(&(struct observer_config){.dsn = "host=/nonexistent dbname=x", .record = record}, &observer, &err),
		ST_FAILED);
	assert_non_null(strstr(err.what, "/nonexistent"));
	record_close(record);
}

static int set_up(void **state)
{
	(void)state;
	if (server_start(1) != 0)
		return -1;
	dsn = sandbox_dsn(server);
	PGconn *conn = server_connect_as(dsn, "test");
	server_execute(conn,
		"CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT i, 'user' FROM generate_series(1, 100) i");
	PQfinish(conn);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return server_stop();
}

#define TEST(f) cmocka_unit_test_teardown(f, observed_forget)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(each_victim_waited_as_long_as_the_lock_was_held),
		TEST(those_queued_behind_an_alter_blame_it_though_a_reader_is_the_root),
		TEST(a_wait_for_a_row_names_its_table),
		TEST(what_serializable_transactions_have_read_is_no_lock_in_the_way),
		TEST(what_still_waits_at_the_end_is_unfinished),
		TEST(standbys_that_share_a_name_are_told_apart),
		TEST(lag_grows_while_replay_is_paused_and_goes_back_to_nothing),
		TEST(a_lost_connection_is_told_once_and_taken_up_again),
		TEST(a_role_without_privileges_is_told_what_it_lacks),
		TEST(no_server_is_an_error_that_says_so),
	};
	return cmocka_run_group_tests_name("observer", tests, set_up, tear_down);
}
