/* observe/queries, heartbeat and wait_json: what a server answers is read as it is meant, and written as the record says. */
#include "unit.h"

#include "base/clock.h"
#include "observe/heartbeat.h"
#include "observe/queries.h"
#include "observe/wait_json.h"

#define MAX_COLUMNS 20

/* A result of text columns; NULL is SQL NULL. */
static PGresult *result_of(int columns, int rows, const char *const cells[][MAX_COLUMNS])
{
	PGresult *r = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc attributes[MAX_COLUMNS];
	static char name[] = "c";
	for (int c = 0; c < columns; c++)
		attributes[c] = (PGresAttDesc){.name = name, .typid = 25, .typlen = -1, .atttypmod = -1};
	assert_true(PQsetResultAttrs(r, columns, attributes));
	for (int i = 0; i < rows; i++) {
		for (int c = 0; c < columns; c++) {
			char value[2048];
			const char *cell = cells[i][c];
			if (cell != NULL)
				snprintf(value, sizeof value, "%s", cell);
			assert_true(PQsetvalue(r, i, c, cell != NULL ? value : NULL, cell != NULL ? (int)strlen(value) : -1));
		}
	}
	return r;
}

static void the_cheap_look_is_read_with_the_clock_in_a_row_without_a_pid(void **state)
{
	(void)state;
	static const char *const CELLS[][MAX_COLUMNS] = {
		{"101", "t", "1750000000000000", "relation", "active"},
		{NULL, NULL, "1750000000000001", NULL, NULL},
		{"102", "f", NULL, NULL, "idle in transaction"},
	};
	PGresult *r = result_of(5, 3, CELLS);
	glance_vec glances = {0};
	int64_t server_us;
	assert_true(queries_read_glance(r, &glances, &server_us));
	assert_int_equal(server_us, 1750000000000001);
	assert_int_equal(glances.n, 2);
	assert_int_equal(glances.at[0].pid, 101);
	assert_true(glances.at[0].waiting);
	assert_int_equal(glances.at[0].query_start_us, 1750000000000000);
	assert_false(glances.at[1].waiting);
	assert_true(glances.at[1].query_start_us == WAIT_NONE);
	assert_string_equal(glances.at[1].state, "idle in transaction");
	assert_true(glances.at[0].event != glances.at[1].event);
	PQclear(r);
	VEC_FREE(&glances);
}

static void an_answer_of_another_shape_is_refused(void **state)
{
	(void)state;
	static const char *const CELLS[][MAX_COLUMNS] = {{NULL, NULL, NULL, NULL, NULL, NULL}};
	glance_vec glances = {0};
	seen_vec rows = {0};
	blocker_vec blockers = {0};
	standby_vec standbys = {0};
	struct clockmap map = {0};
	int64_t out;
	PGresult *r = result_of(5, 1, CELLS); /* no clock */
	assert_false(queries_read_glance(r, &glances, &out));
	assert_false(queries_read_detail(r, &map, &rows, &blockers));
	assert_false(queries_read_replication(r, &standbys, &out));
	PQclear(r);
	assert_false(queries_read_glance(NULL, &glances, &out));
	r = PQmakeEmptyPGresult(NULL, PGRES_FATAL_ERROR);
	assert_false(queries_read_glance(r, &glances, &out));
	PQclear(r);
}

#define APP(name) name, "client backend", "active", "SELECT 1", "1750000000000000"

static void the_dear_look_gathers_the_blockers_of_each_waiter(void **state)
{
	(void)state;
	static const char *const CELLS[][MAX_COLUMNS] = {
		{"7", "1750000001000000", "relation", "AccessExclusiveLock", "a", "users", APP("m"), "5", "+AccessShareLock", APP("x")},
		{"7", "1750000001000000", "relation", "AccessExclusiveLock", "a", "users", APP("m"), "6", "-RowExclusiveLock", APP("y")},
		{"8", NULL, "transactionid", "ShareLock", "b", NULL, APP("n"), "0", "+ExclusiveLock", NULL, NULL, NULL, NULL, NULL},
		{"9", NULL, "tuple", "ExclusiveLock", "c", "users", APP("o"), NULL, NULL, NULL, NULL, NULL, NULL, NULL},
	};
	struct clockmap map = {0};
	clockmap_add(&map, 5 * NS_PER_S, 5 * NS_PER_S + 2 * NS_PER_US, 1750000001500001);
	PGresult *r = result_of(18, 4, CELLS);
	seen_vec rows = {0};
	blocker_vec blockers = {0};
	assert_true(queries_read_detail(r, &map, &rows, &blockers));
	assert_int_equal(rows.n, 3);
	const struct wait_seen *first = &rows.at[0], *second = &rows.at[1], *third = &rows.at[2];
	assert_int_equal(first->session.pid, 7);
	assert_int_equal(first->start_us, 1750000001000000);
	assert_int_equal(first->start_ns, 5 * NS_PER_S - NS_PER_S / 2);
	assert_string_equal(first->lock.relation, "users");
	assert_int_equal(first->blockers_n, 2);
	assert_int_equal(first->blockers[0].session.pid, 5);
	assert_string_equal(first->blockers[0].mode, "AccessShareLock");
	assert_false(first->blockers[0].queued);
	assert_int_equal(first->blockers[1].session.pid, 6);
	assert_true(first->blockers[1].queued);
	assert_int_equal(first->blockers[1].session.xact_start_ns, 5 * NS_PER_S - 3 * NS_PER_S / 2);
	assert_true(second->start_us == WAIT_NONE && second->start_ns == WAIT_NONE);
	assert_int_equal(second->blockers_n, 1);
	assert_int_equal(second->blockers[0].session.pid, 0);
	assert_string_equal(second->blockers[0].session.state, "prepared");
	assert_true(second->blockers[0].session.xact_start_ns == WAIT_NONE);
	assert_int_equal(third->blockers_n, 0);
	assert_true(first->lock.tag != second->lock.tag && second->lock.tag != third->lock.tag);
	PQclear(r);
	VEC_FREE(&rows);
	VEC_FREE(&blockers);
}

static const char *mode_for(const char *modes, const char *waits_for, bool *queued)
{
	static char mode[32];
	const char *const cells[1][MAX_COLUMNS] = {{"7", NULL, "relation", waits_for, "a", NULL, APP("m"), "5", modes, APP("x")}};
	struct clockmap map = {0};
	clockmap_add(&map, 0, 0, 0);
	PGresult *r = result_of(18, 1, cells);
	seen_vec rows = {0};
	blocker_vec blockers = {0};
	assert_true(queries_read_detail(r, &map, &rows, &blockers));
	snprintf(mode, sizeof mode, "%s", rows.at[0].blockers[0].mode);
	*queued = rows.at[0].blockers[0].queued;
	PQclear(r);
	VEC_FREE(&rows);
	VEC_FREE(&blockers);
	return mode;
}

static void a_blocker_that_upgrades_its_lock_blocks_by_the_mode_that_conflicts(void **state)
{
	(void)state;
	bool queued;
	assert_string_equal(mode_for("+RowExclusiveLock -AccessExclusiveLock", "AccessShareLock", &queued), "AccessExclusiveLock");
	assert_true(queued);
	assert_string_equal(mode_for("-AccessExclusiveLock +RowExclusiveLock", "ShareLock", &queued), "RowExclusiveLock");
	assert_false(queued);
	assert_string_equal(mode_for("+AccessShareLock +ShareLock", "RowExclusiveLock", &queued), "ShareLock");
	assert_false(queued);
	assert_string_equal(mode_for("", "RowExclusiveLock", &queued), "");
	assert_false(queued);
}

static void lock_modes_conflict_as_in_the_manual(void **state)
{
	(void)state;
	static const char *const MODES[] = {"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
		"ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"};
	static const char *const TABLE[] = {".......X", "......XX", "....XXXX", "...XXXXX", "..XX.XXX", "..XXXXXX", ".XXXXXXX", "XXXXXXXX"};
	for (int a = 0; a < 8; a++)
		for (int b = 0; b < 8; b++)
			assert_int_equal(queries_modes_conflict(MODES[a], MODES[b]), TABLE[a][b] == 'X');
}

static void the_servers_lag_is_nothing_when_all_is_replayed_and_unknown_when_it_says_null(void **state)
{
	(void)state;
	static const char *const CELLS[][MAX_COLUMNS] = {
		{NULL, "5000000", NULL, NULL, NULL, NULL, "f"},
		{"standby1", "0", "0", "0", "0", "12100000", "f"},
		{"standby2", "0", "10", "20", "4096", NULL, "f"},
		{"standby3", "0", "10", "20", "4096", "1500", "t"},
		{"standby4", NULL, NULL, NULL, NULL, NULL, "f"},
		{"standby5", "-8", "-8", "-8", "-8", NULL, "f"},
	};
	PGresult *r = result_of(7, 6, CELLS);
	standby_vec standbys = {0};
	int64_t wal_end;
	assert_true(queries_read_replication(r, &standbys, &wal_end));
	assert_int_equal(wal_end, 5000000);
	assert_int_equal(standbys.n, 5);
	assert_int_equal(standbys.at[0].replay_lag_ns, 0);
	assert_int_equal(standbys.at[1].replay_lag_ns, -1);
	assert_int_equal(standbys.at[1].replay_bytes, 4096);
	assert_int_equal(standbys.at[2].replay_lag_ns, 1500000);
	assert_true(standbys.at[2].shared && !standbys.at[1].shared);
	assert_int_equal(standbys.at[3].replay_bytes, -1);
	assert_int_equal(standbys.at[3].replay_lag_ns, -1);
	assert_int_equal(standbys.at[4].replay_bytes, 0);
	assert_int_equal(standbys.at[4].replay_lag_ns, 0);
	PQclear(r);
	VEC_FREE(&standbys);
}

static void a_statement_is_cut_at_the_end_of_a_character(void **state)
{
	(void)state;
	char sql[WAIT_SQL_MAX + 10];
	memset(sql, 'x', sizeof sql);
	memcpy(sql + WAIT_SQL_MAX - 2, "\xE2\x82\xAC", 3); /* the euro sign lies across the end */
	sql[WAIT_SQL_MAX + 9] = '\0';
	const char *const cells[1][MAX_COLUMNS] = {{"7", NULL, "relation", "ShareLock", "a", NULL, "m", "client backend", "active", sql,
		NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL}};
	struct clockmap map = {0};
	clockmap_add(&map, 0, 0, 0);
	PGresult *r = result_of(18, 1, cells);
	seen_vec rows = {0};
	blocker_vec blockers = {0};
	assert_true(queries_read_detail(r, &map, &rows, &blockers));
	assert_int_equal(strlen(rows.at[0].session.sql), WAIT_SQL_MAX - 2);
	PQclear(r);
	VEC_FREE(&rows);
	VEC_FREE(&blockers);
}

static void pids_are_written_as_an_array_and_never_past_the_end(void **state)
{
	(void)state;
	static const int PIDS[] = {1, 22, 2147483647};
	char out[64];
	queries_format_pids(PIDS, 3, out, sizeof out);
	assert_string_equal(out, "{1,22,2147483647}");
	queries_format_pids(PIDS, 0, out, sizeof out);
	assert_string_equal(out, "{}");
	queries_format_pids(PIDS, 3, out, 16);
	assert_string_equal(out, "{1,22}");
}

static void lag_is_the_age_of_the_oldest_beat_that_is_not_shown(void **state)
{
	(void)state;
	struct heartbeat *h = calloc(1, sizeof *h);
	assert_non_null(h);
	assert_int_equal(heartbeat_lag_ns(h, 0, 100), 0);
	heartbeat_commit(h, 10, 1000);
	heartbeat_commit(h, 11, 2000);
	heartbeat_commit(h, 14, 3000); /* 12 and 13 failed */
	assert_int_equal(heartbeat_lag_ns(h, 0, 5000), 4000);
	assert_int_equal(heartbeat_lag_ns(h, 10, 5000), 3000);
	assert_int_equal(heartbeat_lag_ns(h, 11, 5000), 2000);
	assert_int_equal(heartbeat_lag_ns(h, 13, 5000), 2000);
	assert_int_equal(heartbeat_lag_ns(h, 14, 5000), 0);
	assert_int_equal(heartbeat_lag_ns(h, 99, 5000), 0);
	/* What was committed after the look does not count. */
	assert_int_equal(heartbeat_lag_ns(h, 11, 2500), 0);
	free(h);
}

static void lag_is_bounded_by_the_beats_that_are_remembered(void **state)
{
	(void)state;
	struct heartbeat *h = calloc(1, sizeof *h);
	assert_non_null(h);
	for (int64_t i = 1; i <= 2 * HEARTBEATS_MAX + 5; i++)
		heartbeat_commit(h, i, i * 10);
	int64_t now_ns = (2 * HEARTBEATS_MAX + 5) * 10;
	assert_int_equal(heartbeat_lag_ns(h, 1, now_ns), (HEARTBEATS_MAX - 1) * 10);
	assert_int_equal(heartbeat_lag_ns(h, 2 * HEARTBEATS_MAX, now_ns), 40);
	free(h);
}

static void a_wait_is_written_as_the_record_says(void **state)
{
	(void)state;
	struct wait_session waiter = {.pid = 7, .application_name = "pgrehearse load v2 pod 1", .sql = "SELECT 1"};
	struct wait_lock lock = {.type = "relation", .mode = "AccessShareLock", .relation = "users"};
	struct wait_blocker blocker = {
		.session = {.pid = 5, .application_name = "pgrehearse migration", .xact_start_ns = 4000}, .mode = "AccessExclusiveLock"};
	blocker.queued = true;
	struct wait_blocker root = {.session = {.pid = 0, .state = "prepared", .xact_start_ns = WAIT_NONE}};
	int chain[] = {5, 0};
	struct wait_record record = {.start_ns = 5000,
		.length_ns = 300,
		.bound_ns = 9,
		.exact = true,
		.ended = WAIT_TIMEOUT,
		.waiter = &waiter,
		.role = WAIT_ROLE_LOAD,
		.version = "v2",
		.transaction = "checkout",
		.lock = &lock,
		.blockers = &blocker,
		.blockers_n = 1,
		.root = &root,
		.chain = chain,
		.chain_n = 2,
		.seen_ns = 5100,
		.blamed = 42};
	json_t *line = wait_json(&record, 1000);
	char *text = json_dumps(line, JSON_COMPACT);
	assert_string_equal(text,
		"{\"start_ns\":4000,\"length_ns\":300,\"quality\":\"exact\",\"bound_ns\":9,\"ended\":\"timeout\","
		"\"waiter\":{\"pid\":7,\"role\":\"load\",\"version\":\"v2\",\"transaction\":\"checkout\",\"statement\":null,\"sql\":\"SELECT 1\"},"
		"\"lock\":{\"type\":\"relation\",\"relation\":\"users\",\"mode\":\"AccessShareLock\"},"
		"\"blockers\":[{\"pid\":5,\"role\":\"migration\",\"mode\":\"AccessExclusiveLock\",\"queued\":true,\"sql\":null,\"state\":null,\"xact_age_ns\":1100}],"
		"\"root\":{\"pid\":0,\"role\":\"foreign\",\"mode\":null,\"queued\":false,\"sql\":null,\"state\":\"prepared\",\"xact_age_ns\":null},"
		"\"chain\":[5,0],\"blamed\":42}");
	free(text);
	json_decref(line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_cheap_look_is_read_with_the_clock_in_a_row_without_a_pid),
		cmocka_unit_test(an_answer_of_another_shape_is_refused),
		cmocka_unit_test(the_dear_look_gathers_the_blockers_of_each_waiter),
		cmocka_unit_test(a_blocker_that_upgrades_its_lock_blocks_by_the_mode_that_conflicts),
		cmocka_unit_test(lock_modes_conflict_as_in_the_manual),
		cmocka_unit_test(the_servers_lag_is_nothing_when_all_is_replayed_and_unknown_when_it_says_null),
		cmocka_unit_test(a_statement_is_cut_at_the_end_of_a_character),
		cmocka_unit_test(pids_are_written_as_an_array_and_never_past_the_end),
		cmocka_unit_test(lag_is_the_age_of_the_oldest_beat_that_is_not_shown),
		cmocka_unit_test(lag_is_bounded_by_the_beats_that_are_remembered),
		cmocka_unit_test(a_wait_is_written_as_the_record_says),
	};
	return cmocka_run_group_tests_name("observe queries", tests, NULL, NULL);
}
