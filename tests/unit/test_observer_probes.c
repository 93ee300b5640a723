/* What the observer's slower probes record on a real server against what was done: availability of tables, state, progress.
 * PGR_TEST_SERVER=build/servers/17 chooses another server. */
#define _GNU_SOURCE
#include "unit.h"

#include "observed.h"

#include <sys/wait.h>

static const char *dsn;

static bool without_availability;

static void start(void)
{
	observed_start((struct observer_config){.dsn = dsn, .no_availability = without_availability});
}

static const char *text_of(const json_t *o, const char *key)
{
	return json_get_string(o, key, "");
}

/* The windows of one access to one table, counted; *longest is the longest of them. */
static int windows_of(const char *table, const char *access, const json_t **longest)
{
	size_t i;
	json_t *w;
	int n = 0;
	*longest = NULL;
	json_array_foreach(windows, i, w)
	{
		if (strcmp(text_of(w, "table"), table) != 0 || strcmp(text_of(w, "access"), access) != 0)
			continue;
		n++;
		if (*longest == NULL || json_get_int(w, "length_ns", 0) > json_get_int(*longest, "length_ns", 0))
			*longest = w;
	}
	return n;
}

/* Tables are found by what is done to them; until `n` of them are probed, something is done. */
static void await_tables(PGconn *conn, const char *sql, int n)
{
	for (int i = 0; observer_tables(observer) < n; i++) {
		assert_true(i < 1000);
		server_execute(conn, sql);
		pause_for(10 * MS);
	}
	pause_for(100 * MS); /* the first attempt on a table tells nothing about when it began to be blocked */
}

static void a_table_under_an_exclusive_lock_can_neither_be_read_nor_written(void **state)
{
	(void)state;
	start();
	PGconn *app = server_connect_as(dsn, "psql"), *migration = server_connect_as(dsn, "pgrehearse migration");
	await_tables(app, "SELECT count(*) FROM users; SELECT count(*) FROM orders", 2);
	/* One that was over when the next one began is not to blame. */
	struct observer_statement st = {.id = 4, .pid = PQbackendPID(migration), .sql = "SELECT", .start_ns = clock_now_ns()};
	observer_note_statement(observer, &st);
	st.end_ns = clock_now_ns();
	st.sqlstate = "00000";
	observer_note_statement(observer, &st);
	pause_for(50 * MS);
	st = (struct observer_statement){.id = 5, .pid = st.pid, .sql = "LOCK", .start_ns = clock_now_ns()};
	observer_note_statement(observer, &st);
	int64_t before_ns = clock_now_ns();
	server_execute(migration, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	int64_t locked_ns = clock_now_ns();
	pause_for(300 * MS);
	int64_t released_ns = clock_now_ns();
	server_execute(migration, "COMMIT");
	int64_t after_ns = clock_now_ns();
	pause_for(100 * MS);
	PQfinish(migration);
	PQfinish(app);
	observed_stop();
	const json_t *w;
	static const char *const ACCESS[] = {"reads", "row_locks", "writes"};
	for (int i = 0; i < 3; i++) {
		assert_int_equal(windows_of("users", ACCESS[i], &w), 1);
		int64_t length_ns = json_get_int(w, "length_ns", 0), bound_ns = json_get_int(w, "bound_ns", 0);
		assert_true(length_ns + bound_ns >= released_ns - locked_ns);
		assert_true(length_ns - bound_ns <= after_ns - before_ns);
		assert_int_equal(json_get_int(w, "blamed", 0), 5);
		assert_string_equal(text_of(w, "ended"), "free");
		const json_t *holder = json_array_get(json_object_get(w, "holders"), 0);
		assert_int_equal(json_get_int(holder, "pid", 0), st.pid);
		assert_string_equal(text_of(holder, "mode"), "AccessExclusiveLock");
		assert_string_equal(text_of(holder, "role"), "migration");
		assert_false(json_is_true(json_object_get(holder, "queued")));
	}
	assert_int_equal(windows_of("orders", "reads", &w), 0);
	const json_t *summary = json_object_get(run, "availability");
	assert_int_equal(json_array_size(json_object_get(summary, "tables")), 2);
	assert_true(json_get_int(summary, "rounds", 0) > 10);
}

static void an_alter_that_is_only_queued_blocks_reads_as_long_as_it_queues(void **state)
{
	(void)state;
	start();
	PGconn *reader = server_connect_as(dsn, "psql"), *migration = server_connect_as(dsn, "pgrehearse migration");
	await_tables(reader, "SELECT count(*) FROM users", 1);
	server_execute(reader, "BEGIN; SELECT count(*) FROM users");
	server_execute(migration, "SET lock_timeout = '300ms'");
	assert_true(PQsendQuery(migration, "ALTER TABLE users ADD COLUMN extra int"));
	PGresult *r = PQgetResult(migration);
	assert_string_equal(PQresultErrorField(r, PG_DIAG_SQLSTATE), "55P03");
	PQclear(r);
	pause_for(100 * MS);
	int migration_pid = PQbackendPID(migration);
	PQfinish(migration);
	PQfinish(reader);
	observed_stop();
	const json_t *w;
	assert_int_equal(windows_of("users", "reads", &w), 1);
	assert_true(json_get_int(w, "length_ns", 0) + json_get_int(w, "bound_ns", 0) >= 290 * MS);
	const json_t *holder = json_array_get(json_object_get(w, "holders"), 0);
	assert_int_equal(json_get_int(holder, "pid", 0), migration_pid);
	assert_true(json_is_true(json_object_get(holder, "queued")));
}

static void a_wait_behind_a_check_is_no_delay_that_the_probes_made(void **state)
{
	(void)state;
	start();
	PGconn *app = server_connect_as(dsn, "psql"), *check = server_connect_as(dsn, "pgrehearse inspector");
	server_execute(check, "BEGIN; LOCK TABLE users IN SHARE MODE");
	assert_true(PQsendQuery(app, "DELETE FROM users WHERE false"));
	for (int i = 0; observer_waiting(observer) != 1; i++) {
		assert_true(i < 3000);
		pause_for(5 * MS);
	}
	pause_for(50 * MS);
	server_execute(check, "COMMIT");
	PGresult *r;
	while ((r = PQgetResult(app)) != NULL)
		PQclear(r);
	PQfinish(app);
	PQfinish(check);
	observed_stop();
	assert_int_equal(json_array_size(waits), 1);
	assert_string_equal(text_of(json_object_get(json_array_get(waits, 0), "root"), "role"), "observer");
	assert_int_equal(json_get_int(json_object_get(run, "availability"), "delayed", -1), 0);
}

static void a_window_that_was_open_at_the_first_attempt_is_told_as_a_lower_limit(void **state)
{
	(void)state;
	start();
	PGconn *migration = server_connect_as(dsn, "pgrehearse migration");
	server_execute(migration, "BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
	const struct observer_lock lock = {.relation = "orders", .mode = "AccessExclusiveLock"};
	observer_note_locks(observer, 1, PQbackendPID(migration), &lock, 1);
	for (int i = 0; observer_tables(observer) < 1; i++) {
		assert_true(i < 1000);
		pause_for(10 * MS);
	}
	pause_for(200 * MS);
	server_execute(migration, "COMMIT");
	pause_for(100 * MS);
	server_execute(migration, "BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE");
	pause_for(100 * MS);
	server_execute(migration, "COMMIT");
	pause_for(100 * MS);
	PQfinish(migration);
	observed_stop();
	const json_t *w;
	assert_int_equal(windows_of("orders", "reads", &w), 2);
	size_t i;
	int limits = 0;
	json_array_foreach(windows, i, w) if (strcmp(text_of(w, "access"), "reads") == 0)
		limits += json_is_true(json_object_get(w, "at_least"));
	assert_int_equal(limits, 1);
	(void)windows_of("orders", "reads", &w);
	assert_true(json_is_true(json_object_get(w, "at_least")));
}

static void building_an_index_blocks_writes_and_leaves_reads_alone(void **state)
{
	(void)state;
	start();
	PGconn *app = server_connect_as(dsn, "psql"), *builder = server_connect_as(dsn, "psql");
	await_tables(app, "SELECT count(*) FROM users", 1);
	server_execute(builder, "BEGIN; LOCK TABLE users IN SHARE MODE");
	pause_for(100 * MS);
	server_execute(builder, "COMMIT");
	pause_for(100 * MS);
	PQfinish(builder);
	PQfinish(app);
	observed_stop();
	const json_t *w;
	assert_int_equal(windows_of("users", "reads", &w), 0);
	assert_int_equal(windows_of("users", "row_locks", &w), 0);
	assert_int_equal(windows_of("users", "writes", &w), 1);
	assert_true(json_is_null(json_object_get(w, "blamed")));
}

static void a_table_that_is_blocked_while_another_is_has_a_window_of_its_own(void **state)
{
	(void)state;
	start();
	PGconn *app = server_connect_as(dsn, "psql"), *first = server_connect_as(dsn, "psql"), *second = server_connect_as(dsn, "psql");
	await_tables(app, "SELECT count(*) FROM users; SELECT count(*) FROM orders; INSERT INTO events VALUES (1)", 4);
	server_execute(first, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	pause_for(60 * MS);
	int64_t before_ns = clock_now_ns();
	server_execute(second, "BEGIN; LOCK TABLE orders IN SHARE MODE");
	int64_t locked_ns = clock_now_ns();
	pause_for(60 * MS);
	int64_t released_ns = clock_now_ns();
	server_execute(second, "COMMIT");
	int64_t after_ns = clock_now_ns();
	pause_for(60 * MS);
	server_execute(first, "COMMIT");
	pause_for(100 * MS);
	PQfinish(second);
	PQfinish(first);
	PQfinish(app);
	observed_stop();
	const json_t *w;
	assert_int_equal(windows_of("users", "reads", &w), 1);
	assert_true(json_get_int(w, "length_ns", 0) + json_get_int(w, "bound_ns", 0) >= 180 * MS);
	assert_int_equal(windows_of("orders", "reads", &w), 0);
	assert_int_equal(windows_of("orders", "writes", &w), 1);
	int64_t length_ns = json_get_int(w, "length_ns", 0), bound_ns = json_get_int(w, "bound_ns", 0);
	assert_true(length_ns + bound_ns >= released_ns - locked_ns);
	assert_true(length_ns - bound_ns <= after_ns - before_ns);
	assert_int_equal(windows_of("events", "writes", &w), 0);
	assert_int_equal(json_get_int(json_object_get(run, "availability"), "windows", 0), 4);
}

static void a_partition_is_not_touched_by_the_probe_of_its_parent(void **state)
{
	(void)state;
	start();
	PGconn *app = server_connect_as(dsn, "psql"), *other = server_connect_as(dsn, "psql");
	await_tables(app, "INSERT INTO events VALUES (1)", 2);
	server_execute(other, "BEGIN; LOCK TABLE events_1 IN ACCESS EXCLUSIVE MODE");
	pause_for(100 * MS);
	server_execute(other, "COMMIT");
	pause_for(100 * MS);
	PQfinish(other);
	PQfinish(app);
	observed_stop();
	const json_t *w;
	assert_int_equal(windows_of("events_1", "reads", &w), 1);
	assert_int_equal(windows_of("events", "reads", &w), 0);
}

static void a_table_that_may_not_be_locked_is_told_once(void **state)
{
	(void)state;
	PGconn *admin = server_connect_as(dsn, "test");
	server_execute(
		admin, "CREATE ROLE reader LOGIN IN ROLE pg_monitor; GRANT SELECT ON users TO reader; GRANT UPDATE ON events TO reader");
	char as_reader[512];
	snprintf(as_reader, sizeof as_reader, "%s user=reader", dsn);
	const char *owner = dsn;
	dsn = as_reader;
	start();
	dsn = owner;
	await_tables(admin, "SELECT count(*) FROM users; SELECT count(*) FROM orders; INSERT INTO events VALUES (1)", 4);
	pause_for(100 * MS);
	server_execute(admin, "BEGIN; LOCK TABLE users, events IN ACCESS EXCLUSIVE MODE");
	pause_for(100 * MS);
	server_execute(admin, "COMMIT");
	pause_for(100 * MS);
	observed_stop();
	const json_t *w;
	assert_int_equal(windows_of("users", "writes", &w), 0);
	assert_int_equal(windows_of("users", "reads", &w), 1);
	assert_int_equal(windows_of("events", "writes", &w), 1); /* though before 16 reads of it may not be tried */
	assert_int_equal(observed_warnings("writes of table users are not measured"), 1);
	assert_int_equal(observed_warnings("reads of table orders are not measured"), 1);
	server_execute(admin, "DROP OWNED BY reader; DROP ROLE reader");
	PQfinish(admin);
}

static void availability_that_is_switched_off_leaves_tables_alone(void **state)
{
	(void)state;
	PGconn *admin = server_connect_as(dsn, "test");
	without_availability = true;
	start();
	without_availability = false;
	server_execute(admin, "SELECT count(*) FROM users; BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	pause_for(100 * MS);
	server_execute(admin, "COMMIT");
	PQfinish(admin);
	observed_stop();
	assert_int_equal(json_array_size(windows), 0);
	assert_null(json_object_get(run, "availability"));
}

static void a_table_that_is_dropped_is_not_blocked_but_gone(void **state)
{
	(void)state;
	PGconn *admin = server_connect_as(dsn, "test");
	server_execute(admin, "CREATE TABLE short_lived (id int)");
	start();
	await_tables(admin, "INSERT INTO short_lived VALUES (1); SELECT count(*) FROM users", 2);
	server_execute(admin, "DROP TABLE short_lived");
	pause_for(100 * MS);
	server_execute(admin, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	pause_for(100 * MS);
	server_execute(admin, "COMMIT");
	pause_for(100 * MS);
	PQfinish(admin);
	observed_stop();
	const json_t *w;
	assert_int_equal(observed_warnings("short_lived is not there any more"), 1);
	assert_true(windows_of("short_lived", "reads", &w) <= 1); /* while the drop was under way */
	assert_int_equal(windows_of("users", "reads", &w), 1);
}

/* The latest event of type `progress` whose phase begins so. */
static const json_t *progress_event(const char *phase)
{
	size_t i;
	json_t *e;
	const json_t *found = NULL;
	json_array_foreach(events, i,
		e) if (strcmp(text_of(e, "type"), "progress") == 0 && strncmp(text_of(e, "phase"), phase, strlen(phase)) == 0) found = e;
	return found;
}

static void an_index_built_concurrently_tells_whose_transaction_it_waits_for(void **state)
{
	(void)state;
	start();
	PGconn *old = server_connect_as(dsn, "nightly report"), *migration = server_connect_as(dsn, "pgrehearse migration");
	server_execute(old, "BEGIN; INSERT INTO orders VALUES (1); INSERT INTO users VALUES (1000, 'x')");
	assert_true(PQsendQuery(migration, "CREATE INDEX CONCURRENTLY users_name ON users (name)"));
	char text[400] = "";
	for (int i = 0; strstr(text, "nightly report") == NULL; i++) {
		assert_true(i < 3000);
		pause_for(10 * MS);
		observer_describe_progress(observer, text, sizeof text);
	}
	server_execute(old, "ROLLBACK");
	PGresult *r;
	while ((r = PQgetResult(migration)) != NULL)
		PQclear(r);
	for (int i = 0; text[0] != '\0'; i++) {
		assert_true(i < 3000);
		pause_for(10 * MS);
		observer_describe_progress(observer, text, sizeof text);
	}
	server_execute(migration, "DROP INDEX users_name");
	int old_pid = PQbackendPID(old), migration_pid = PQbackendPID(migration);
	PQfinish(old);
	PQfinish(migration);
	observed_stop();
	const json_t *e = progress_event("waiting for writers");
	assert_non_null(e);
	assert_int_equal(json_get_int(e, "pid", 0), migration_pid);
	assert_string_equal(text_of(e, "command"), "CREATE INDEX CONCURRENTLY");
	assert_string_equal(text_of(e, "table"), "users");
	const json_t *blocker = json_object_get(e, "waiting_for");
	assert_int_equal(json_get_int(blocker, "pid", 0), old_pid);
	assert_string_equal(text_of(blocker, "application_name"), "nightly report");
	assert_true(json_get_int(blocker, "xact_age_ns", -1) > 0);
}

static const json_t *phase_named(const char *name)
{
	size_t i;
	json_t *phase;
	json_array_foreach(json_object_get(run, "phase_state"), i, phase) if (strcmp(text_of(phase, "phase"), name) == 0) return phase;
	return NULL;
}

static void an_idle_transaction_is_found_with_what_it_holds_back_and_how_many_locks_there_are(void **state)
{
	(void)state;
	start();
	observer_note_phase(observer, "migration");
	PGconn *check = server_connect_as(dsn, "pgrehearse inspector"); /* ours, and older */
	server_execute(check, "BEGIN; INSERT INTO orders VALUES (2)");
	PGconn *idle = server_connect_as(dsn, "nightly report");
	server_execute(idle, "BEGIN; INSERT INTO orders VALUES (1); SELECT count(pg_advisory_xact_lock(i)) FROM generate_series(1, 500) i");
	int pid = PQbackendPID(idle);
	for (int i = 0;; i++) {
		assert_true(i < 1000);
		json_t *seen = observer_take_server_json(observer);
		bool found = json_get_int(json_object_get(seen, "xmin"), "pid", 0) == pid &&
			json_get_int(json_object_get(seen, "idle_in_transaction"), "n", 0) > 0;
		json_decref(seen);
		if (found)
			break;
		pause_for(10 * MS);
	}
	server_execute(idle, "ROLLBACK");
	PQfinish(idle);
	PQfinish(check);
	observed_stop();
	const json_t *phase = phase_named("migration");
	assert_non_null(phase);
	const json_t *xmin = json_object_get(phase, "xmin");
	assert_string_equal(text_of(xmin, "name"), "nightly report");
	assert_string_equal(text_of(xmin, "kind"), "session");
	assert_string_equal(text_of(json_object_get(phase, "longest_xact"), "application_name"), "nightly report");
	assert_true(json_get_int(json_object_get(phase, "idle_in_transaction"), "longest_ns", 0) > 0);
	const json_t *locks = json_object_get(phase, "locks");
	assert_in_range(json_get_int(locks, "n", 0), 500, 5000);
	assert_in_range(json_get_int(locks, "room", 0), 1000, 1000000); /* 64 by default for each of 100 sessions or more */
}

static void a_phase_is_summed_up_with_what_grew_in_it_and_what_sessions_waited_for(void **state)
{
	(void)state;
	PGconn *app = server_connect_as(dsn, "psql"), *sleeper = server_connect_as(dsn, "psql");
	start();
	await_tables(app, "SELECT count(*) FROM users; SELECT count(*) FROM orders", 2);
	observer_note_phase(observer, "baseline");
	pause_for(200 * MS);
	observer_note_phase(observer, "migration");
	assert_true(PQsendQuery(sleeper, "SELECT pg_sleep(1.5)"));
	pause_for(200 * MS);
	server_execute(app, "INSERT INTO orders SELECT i FROM generate_series(1, 20000) i; CHECKPOINT");
	PGresult *r;
	while ((r = PQgetResult(sleeper)) != NULL)
		PQclear(r);
	observer_note_phase(observer, NULL);
	PQfinish(app);
	PQfinish(sleeper);
	observed_stop();
	const json_t *phase = phase_named("migration");
	assert_non_null(phase_named("baseline"));
	assert_non_null(phase);
	assert_true(json_get_int(phase, "checkpoints_requested", 0) >= 1);
	assert_true(json_get_int(json_object_get(phase, "wait_events"), "Timeout/PgSleep", 0) >= 1);
	assert_true(json_get_int(phase, "profile_samples", 0) >= 2);
	size_t i;
	json_t *table;
	int64_t grown = 0;
	json_array_foreach(json_object_get(phase, "tables"), i, table) if (strcmp(text_of(table, "table"), "orders") == 0)
		grown = json_get_int(table, "bytes_end", 0) - json_get_int(table, "bytes_start", 0);
	assert_true(grown > 500000);
}

static const json_t *external_with(const char *part)
{
	size_t i;
	json_t *e;
	json_array_foreach(
		events, i, e) if (strcmp(text_of(e, "type"), "statement") == 0 && strstr(text_of(e, "sql"), part) != NULL) return e;
	return NULL;
}

static void what_a_command_does_in_sessions_of_its_own_belongs_to_its_step(void **state)
{
	(void)state;
	start();
	char script[1000];
	snprintf(script, sizeof script,
		"psql -Xq '%s' -c 'BEGIN; LOCK TABLE users IN SHARE MODE; SELECT pg_sleep(0.3) AS by_the_command; COMMIT' > /dev/null",
		dsn);
	PGconn *other = server_connect_as(dsn, "somebody else");
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", script, (char *)NULL);
		_exit(127);
	}
	observer_watch_command(observer, &(struct observer_command){.pid = pid, .step = "tool", .direction = "up"});
	server_execute(other, "SELECT pg_sleep(0.2) AS by_somebody_else");
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	observer_unwatch_command(observer, pid);
	server_execute(other, "SELECT pg_sleep(0.1)"); /* a look or two, which show it gone */
	PQfinish(other);
	observed_stop();
	const json_t *st = external_with("by_the_command");
	assert_non_null(st);
	assert_true(json_is_true(json_object_get(st, "external")));
	assert_string_equal(text_of(st, "step"), "tool");
	assert_string_equal(text_of(st, "application_name"), "psql");
	assert_true(json_get_int(st, "end_ns", 0) - json_get_int(st, "start_ns", 0) >= 290 * MS);
	assert_null(external_with("by_somebody_else"));
	size_t i;
	json_t *e;
	const json_t *lock = NULL;
	json_array_foreach(events, i, e) if (strcmp(text_of(e, "type"), "lock") == 0 && strcmp(text_of(e, "mode"), "ShareLock") == 0)
		lock = e;
	assert_non_null(lock);
	assert_string_equal(text_of(lock, "relation"), "users");
	assert_int_equal(json_get_int(lock, "statement", 0), json_get_int(st, "id", -1));
	assert_in_range(json_get_int(lock, "to_ns", 0) - json_get_int(lock, "from_ns", 0) + json_get_int(lock, "bound_ns", 0), 280 * MS,
		60000 * MS);
}

static int set_up(void **state)
{
	(void)state;
	if (server_start_as(&(struct sandbox_config){.name = "probes", .server_dir = getenv("PGR_TEST_SERVER")}) != 0)
		return -1;
	dsn = sandbox_dsn(server);
	PGconn *conn = server_connect_as(dsn, "test");
	server_execute(conn,
		"CREATE TABLE users (id int PRIMARY KEY, name text); INSERT INTO users SELECT i, 'user' FROM generate_series(1, 100) i; "
		"CREATE TABLE orders (id int); CREATE TABLE events (id int) PARTITION BY RANGE (id); "
		"CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (1000)");
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
		TEST(a_table_under_an_exclusive_lock_can_neither_be_read_nor_written),
		TEST(an_alter_that_is_only_queued_blocks_reads_as_long_as_it_queues),
		TEST(a_wait_behind_a_check_is_no_delay_that_the_probes_made),
		TEST(a_window_that_was_open_at_the_first_attempt_is_told_as_a_lower_limit),
		TEST(building_an_index_blocks_writes_and_leaves_reads_alone),
		TEST(a_table_that_is_blocked_while_another_is_has_a_window_of_its_own),
		TEST(a_partition_is_not_touched_by_the_probe_of_its_parent),
		TEST(a_table_that_may_not_be_locked_is_told_once),
		TEST(availability_that_is_switched_off_leaves_tables_alone),
		TEST(a_table_that_is_dropped_is_not_blocked_but_gone),
		TEST(an_index_built_concurrently_tells_whose_transaction_it_waits_for),
		TEST(an_idle_transaction_is_found_with_what_it_holds_back_and_how_many_locks_there_are),
		TEST(what_a_command_does_in_sessions_of_its_own_belongs_to_its_step),
		TEST(a_phase_is_summed_up_with_what_grew_in_it_and_what_sessions_waited_for),
	};
	return cmocka_run_group_tests_name("observer's probes", tests, set_up, tear_down);
}
