/* clone/sandbox on real servers: up, snapshot, reset, down, the guard's mark, and what a dead owner leaves. */
#define _GNU_SOURCE
#include "unit.h"

#include "clone/guard.h"
#include "clone/mark.h"
#include "clone/registry.h"
#include "server.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int group_setup(void **state)
{
	(void)state;
	return server_make_home();
}

static int group_teardown(void **state)
{
	(void)state;
	return server_remove_home();
}

static void a_sandbox_streams_is_reset_from_its_snapshot_and_goes(void **state)
{
	(void)state;
	struct error err;
	struct sandbox *sb;
	static const char *const SETTINGS[] = {"work_mem=7MB", "pgrehearse.note=it's", "max_connections=60", NULL};
	assert_ok(sandbox_up(&(struct sandbox_config){.name = "one", .standbys = 1, .settings = SETTINGS}, &sb, &err), &err);
	const char *dsn = sandbox_dsn(sb);
	assert_string_equal(server_ask_at(dsn, "SHOW work_mem"), "7MB");
	assert_string_equal(server_ask_at(dsn, "SHOW pgrehearse.note"), "it's");
	assert_string_equal(server_ask_at(dsn, "SHOW fsync"), "on");
	assert_string_equal(server_ask_at(dsn, "SHOW listen_addresses"), "");
	assert_string_equal(server_ask_at(dsn, "SELECT application_name || ' ' || state FROM pg_stat_replication"), "standby1 streaming");
	assert_string_equal(server_ask_at(sandbox_standby_dsn(sb, 0), "SELECT pg_is_in_recovery()"), "t");
	assert_string_equal(sandbox_standby_name(sb, 0), "standby1");
	assert_true(sandbox_server_version(sb) >= 120000);
	assert_string_equal(server_ask_at(dsn, "CREATE TABLE kept AS SELECT 42 AS n"), "SELECT 1");

	char snapshot[128];
	snprintf(snapshot, sizeof snapshot, "%s/snapshot", server_home);
	assert_ok(sandbox_snapshot(sb, snapshot, &err), &err);
	assert_int_equal(sandbox_snapshot(sb, snapshot, &err), ST_USAGE);
	assert_ok(sandbox_reset(sb, snapshot, 1, &err), &err);
	assert_string_equal(server_ask_at(dsn, "DROP TABLE kept"), "DROP TABLE");
	assert_ok(sandbox_reset(sb, snapshot, 0, &err), &err);
	assert_int_equal(sandbox_standbys(sb), 0);
	assert_string_equal(server_ask_at(dsn, "SELECT count(*) FROM pg_replication_slots"), "0");
	assert_ok(sandbox_reset(sb, snapshot, 1, &err), &err);
	assert_string_equal(server_ask_at(dsn, "SELECT n FROM kept"), "42");
	assert_string_equal(server_ask_at(sandbox_standby_dsn(sb, 0), "SELECT n FROM kept"), "42");
	assert_string_equal(server_ask_at(dsn, "SELECT count(*) FROM pg_replication_slots WHERE active"), "1");

	assert_ok(sandbox_stop_server(sb, 1, true, &err), &err);
	assert_ok(sandbox_start_server(sb, 1, &err), &err);
	assert_string_equal(server_ask_at(sandbox_standby_dsn(sb, 0), "SELECT n FROM kept"), "42");

	char dir[4096];
	snprintf(dir, sizeof dir, "%s", sandbox_dir(sb));
	assert_true(fs_exists(dir));
	assert_ok(sandbox_down(sb, &err), &err);
	assert_ok(sandbox_down(sb, &err), &err);
	assert_false(fs_exists(dir));
	sandbox_free(sb);

	/* A snapshot outlives its sandbox. */
	static const char *const FEWER[] = {"max_connections=40", NULL};
	assert_ok(sandbox_up(&(struct sandbox_config){.from_snapshot = snapshot, .standbys = 2, .settings = FEWER}, &sb, &err), &err);
	assert_string_equal(server_ask_at(sandbox_dsn(sb), "SELECT n FROM kept"), "42");
	assert_string_equal(server_ask_at(sandbox_standby_dsn(sb, 1), "SHOW max_connections"), "40");
	assert_string_equal(server_ask_at(sandbox_dsn(sb), "SELECT count(*) FROM pg_replication_slots WHERE active"), "2");
	sandbox_free(sb);
	assert_ok(sandbox_remove_snapshot(snapshot, &err), &err);
	assert_int_equal(sandbox_remove_snapshot(server_home, &err), ST_USAGE);
	struct sandbox_list list;
	assert_ok(sandbox_list(&list, &err), &err);
	assert_int_equal(list.n, 0);
	sandbox_list_free(&list);
}

static bool answer(const char *database, const char *place, void *typed)
{
	assert_non_null(strstr(place, "unix socket /"));
	return strcmp(database, typed) == 0;
}

static void the_guard_knows_sandboxes_and_otherwise_asks_for_a_mark_of_this_very_server(void **state)
{
	(void)state;
	struct error err;
	struct sandbox *sb;
	assert_ok(sandbox_up(&(struct sandbox_config){.name = "guarded"}, &sb, &err), &err);
	char unmarked[4096];
	snprintf(unmarked, sizeof unmarked, "%s", sandbox_dsn(sb));
	char *name = strstr(unmarked, "dbname=");
	assert_non_null(name);
	snprintf(name, sizeof unmarked - (size_t)(name - unmarked), "dbname=postgres password=hunter2");
	assert_ok(guard_check_target(sandbox_dsn(sb), NULL, &err), &err);
	assert_ok(guard_check_target(unmarked, NULL, &err), &err);

	/* With another TMPDIR, the same server is a stranger's. */
	setenv("TMPDIR", "/var/tmp", 1);
	assert_int_equal(guard_check_target(unmarked, NULL, &err), ST_REFUSED);
	assert_non_null(strstr(err.what, "\"postgres\" is not marked as a clone"));
	assert_non_null(strstr(err.hint, "pgrehearse clone mark"));
	assert_null(strstr(err.what, "hunter2"));
	server_ask_at(unmarked, "COMMENT ON DATABASE postgres IS 'monday''s pgrehearse clone of shop'");
	assert_int_equal(guard_check_target(unmarked, NULL, &err), ST_REFUSED);
	assert_non_null(strstr(err.what, "not of which server"));
	assert_string_equal(err.where, "the guard's rule \"mark\"");

	assert_int_equal(guard_mark_target(unmarked, NULL, answer, (char[]){"shop"}, &err), ST_REFUSED);
	assert_int_equal(guard_check_target(unmarked, NULL, &err), ST_REFUSED);
	assert_ok(guard_mark_target(unmarked, NULL, answer, (char[]){"postgres"}, &err), &err);
	assert_ok(guard_check_target(unmarked, NULL, &err), &err);
	assert_ok(guard_mark_target(unmarked, NULL, answer, (char[]){"postgres"}, &err), &err);
	assert_ok(guard_unmark_target(unmarked, NULL, &err), &err);
	assert_int_equal(guard_check_target(unmarked, NULL, &err), ST_REFUSED);
	assert_non_null(strstr(err.what, "not of which server"));
	assert_ok(guard_unmark_target(unmarked, NULL, &err), &err);
	assert_int_equal(guard_unmark_target(unmarked, NULL, &err), ST_USAGE);
	struct mark mark;
	PGconn *conn = PQconnectdb(unmarked);
	assert_ok(mark_read(conn, &mark, &err), &err);
	assert_int_equal(mark.state, MARK_NONE);
	assert_string_equal(mark.comment, "monday's  of shop");
	PQfinish(conn);

	/* Bound to everything here but to one thing. */
	static const char *const WRONG[] = {"\"system\":\"1\"", "\"directory\":\"/elsewhere\"",
		"\"started\":\"2026-01-01T00:00:00.000000Z\"", "\"oid\":\"1\"", "\"database\":\"shop\"", "\"port\":\"1\"",
		"\"timeline\":\"9\""};
	for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
		char sql[512];
		assert_ok(guard_mark_target(unmarked, NULL, answer, (char[]){"postgres"}, &err), &err);
		snprintf(sql, sizeof sql,
			"DO $$ BEGIN EXECUTE format('COMMENT ON DATABASE postgres IS %%L', regexp_replace((SELECT shobj_description(oid, "
			"'pg_database') FROM pg_database WHERE datname = 'postgres'), '\"%.*s\":\"[^\"]*\"', '%s')); END $$",
			(int)strcspn(WRONG[i] + 1, "\""), WRONG[i] + 1, WRONG[i]);
		server_ask_at(unmarked, sql);
		assert_int_equal(guard_check_target(unmarked, NULL, &err), ST_REFUSED);
		assert_non_null(strstr(err.what, "is not of this server"));
	}
	setenv("TMPDIR", server_home, 1);
	sandbox_free(sb);
}

static void what_cannot_be_made_is_said_and_nothing_is_left(void **state)
{
	(void)state;
	struct error err;
	struct sandbox *sb;
	assert_int_equal(sandbox_up(&(struct sandbox_config){.name = "No spaces"}, &sb, &err), ST_USAGE);
	assert_non_null(strstr(err.hint, "a-z"));
	assert_int_equal(sandbox_up(&(struct sandbox_config){.standbys = 9}, &sb, &err), ST_USAGE);
	assert_int_equal(sandbox_up(&(struct sandbox_config){.server_dir = "/nonexistent"}, &sb, &err), ST_USAGE);
	assert_non_null(strstr(err.hint, "install-deps"));
	assert_int_equal(sandbox_up(&(struct sandbox_config){.from_snapshot = "/nonexistent"}, &sb, &err), ST_USAGE);
	static const char *const RESERVED[] = {"listen_addresses=*", NULL};
	assert_int_equal(sandbox_up(&(struct sandbox_config){.settings = RESERVED}, &sb, &err), ST_USAGE);
	static const char *const NONSENSE[] = {"work_mem=lots", NULL};
	assert_int_equal(sandbox_up(&(struct sandbox_config){.settings = NONSENSE}, &sb, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "work_mem"));
	static volatile sig_atomic_t stop = 1;
	assert_int_equal(sandbox_up(&(struct sandbox_config){.stop = &stop}, &sb, &err), ST_INTERRUPTED);
	assert_null(sb);
	struct sandbox_list list;
	assert_ok(sandbox_list(&list, &err), &err);
	assert_int_equal(list.n, 0);
	sandbox_list_free(&list);
}

/* The watcher's work is done when the folder is gone; the limit only ends a test that has failed. */
static bool goes_within_20_s(const char *dir)
{
	for (int i = 0; i < 400 && fs_exists(dir); i++)
		nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	return !fs_exists(dir);
}

static void a_killed_owner_leaves_nothing(void **state)
{
	(void)state;
	char dir[128];
	snprintf(dir, sizeof dir, "%s/pgrehearse-%u/orphan", server_home, (unsigned)geteuid());
	pid_t pid = fork();
	if (pid == 0) {
		struct sandbox *sb;
		struct error err;
		if (sandbox_up(&(struct sandbox_config){.name = "orphan"}, &sb, &err) == ST_OK)
			raise(SIGKILL);
		abort();
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	assert_true(goes_within_20_s(dir));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_sandbox_streams_is_reset_from_its_snapshot_and_goes),
		cmocka_unit_test(the_guard_knows_sandboxes_and_otherwise_asks_for_a_mark_of_this_very_server),
		cmocka_unit_test(what_cannot_be_made_is_said_and_nothing_is_left),
		cmocka_unit_test(a_killed_owner_leaves_nothing),
	};
	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
