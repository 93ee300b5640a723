/* judge/: each verdict follows from the record alone, from known numbers to a known word. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/fs.h"
#include "judge/judge.h"
#include "measure/hist.h"
#include "record/reader.h"
#include "record/record.h"

#include <unistd.h>

#define SECOND NS_PER_S

static char root[64];

static int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/pgr-judge-XXXXXX");
	return mkdtemp(root) == NULL;
}

static int remove_root(void **state)
{
	(void)state;
	return fs_remove_tree(root, NULL) != ST_OK;
}

static const char *dir(void)
{
	static char out[80];
	snprintf(out, sizeof out, "%s/r", root);
	return out;
}

/* n transactions of `ns` each, one second from start_s on. */
static void traffic(struct record *r, const char *phase, int start_s, int n, int64_t ns, int failed, double worker_cpu)
{
	struct hist *h = hist_create();
	for (int i = 0; i < n; i++)
		hist_record(h, ns);
	record_histogram(r, "total/response/ok", start_s * SECOND, (start_s + 1) * SECOND, h);
	record_histogram(r, "view_user/v1/response/ok", start_s * SECOND, (start_s + 1) * SECOND, h);
	hist_free(h);
	record_interval(r,
		json_pack("{s:I, s:I, s:s, s:i, s:i, s:i, s:{s:{s:i, s:i, s:{s:i}}}, s:[{s:s, s:I, s:i}], s:i, s:{s:f}}", "start_ns",
			(json_int_t)(start_s * SECOND), "end_ns", (json_int_t)((start_s + 1) * SECOND), "phase", phase, "planned",
			n + failed, "abandoned", 0, "backlog", start_s, "versions", "v1", "started", n + failed, "ok", n, "failed", "40001",
			failed, "lag", "standby", "standby1", "heartbeat_ns", (json_int_t)(start_s * NS_PER_MS), "replay_bytes",
			100 * start_s, "wal_bytes", 1000, "cpu", "worker", worker_cpu));
}

static struct record *begin(const char *drill)
{
	struct error err;
	struct record *r = record_create(dir(), json_pack("{s:s}", "drill", drill), &err);
	assert_non_null(r);
	return r;
}

static void step(struct record *r, const char *name, int start_s, int end_s, bool ok)
{
	record_event(r,
		json_pack("{s:I, s:s, s:s, s:s, s:s, s:s}", "t_ns", (json_int_t)(start_s * SECOND), "type", "step", "name", name, "kind",
			"sql", "direction", "up", "edge", "start"));
	record_event(r,
		json_pack("{s:I, s:s, s:s, s:s, s:s, s:b, s:I, s:s}", "t_ns", (json_int_t)(end_s * SECOND), "type", "step", "name", name,
			"direction", "up", "edge", "end", "ok", (int)ok, "duration_ns", (json_int_t)((end_s - start_s) * SECOND), "error",
			ok ? "" : "lock timeout"));
}

/* Baseline 0–2 s at 10 ms, migration 2–4 s at 30 ms with one failed transaction in each second; one step, one statement, two waits. */
static struct record *usual(const char *drill)
{
	struct record *r = begin(drill);
	record_phase_start(r, "baseline", 0);
	traffic(r, "baseline", 0, 1000, 10 * NS_PER_MS, 0, 0.2);
	traffic(r, "baseline", 1, 1000, 10 * NS_PER_MS, 0, 0.2);
	record_phase_end(r, 2 * SECOND);
	record_phase_start(r, "migration", 2 * SECOND);
	traffic(r, "migration", 2, 999, 30 * NS_PER_MS, 1, 0.2);
	traffic(r, "migration", 3, 999, 30 * NS_PER_MS, 1, 0.2);
	step(r, "add status", 2, 3, true);
	record_event(r,
		json_pack("{s:I, s:s, s:i, s:s, s:s, s:i, s:s, s:I, s:I, s:s, s:[{s:s, s:s}]}", "t_ns", (json_int_t)(3 * SECOND), "type",
			"statement", "id", 1, "step", "add status", "direction", "up", "attempt", 1, "sql", "ALTER TABLE users", "start_ns",
			(json_int_t)(2 * SECOND), "end_ns", (json_int_t)(2 * SECOND + 400 * NS_PER_MS), "sqlstate", "00000", "work", "what",
			"scan", "object", "users"));
	for (int i = 1; i <= 2; i++)
		record_wait(r,
			json_pack("{s:I, s:I, s:{s:s, s:s}, s:{s:s}, s:{s:i, s:s}, s:i}", "start_ns", (json_int_t)(2 * SECOND), "length_ns",
				(json_int_t)(i * 100 * NS_PER_MS), "waiter", "role", "load", "transaction", "view_user", "lock", "relation",
				"users", "root", "pid", 42, "role", "migration", "blamed", 1));
	record_wait(r,
		json_pack("{s:I, s:I, s:{s:s}, s:{s:s}}", "start_ns", (json_int_t)(2 * SECOND), "length_ns", (json_int_t)(9 * SECOND),
			"waiter", "role", "migration", "lock", "relation", "users"));
	record_phase_end(r, 4 * SECOND);
	record_set(r, "observer", json_pack("{s:i}", "samples", 400));
	record_set(r, "totals", json_pack("{s:b}", "holds", 1));
	return r;
}

static enum verdict judged(struct record *r, const char *const *criteria, int n)
{
	struct error err;
	enum verdict verdict;
	assert_int_equal(record_finish(r, "finished", NULL, &err), ST_OK);
	record_close(r);
	if (judge_record(dir(), criteria, n, &verdict, &err) != ST_OK)
		fail_msg("%s", err.what);
	return verdict;
}

/* The opinion on the criterion with that text. */
static void assert_opinion(const char *criterion, const char *verdict, const char *observed, const char *evidence)
{
	struct record_reader *reader;
	assert_int_equal(record_open(dir(), &reader, NULL), ST_OK);
	size_t i;
	json_t *o, *found = NULL;
	json_array_foreach(json_object_get(json_object_get(reader_run(reader), "verdict"), "criteria"), i,
		o) if (strcmp(json_get_string(o, "criterion", ""), criterion) == 0) found = o;
	if (found == NULL)
		fail_msg("no opinion on %s", criterion);
	if (strcmp(json_get_string(found, "verdict", ""), verdict) != 0 || strcmp(json_get_string(found, "observed", ""), observed) != 0 ||
		strstr(json_get_string(found, "evidence", ""), evidence) == NULL)
		fail_msg("%s: %s", criterion, json_dumps(found, 0));
	record_reader_free(reader);
}

static void figures_are_those_of_the_record(void **state)
{
	(void)state;
	static const char *const all[] = {
		"latency.p50 during migration < 2 x baseline",
		"latency.p99 < 40ms",
		"latency[view_user].max during baseline < 11ms",
		"latency[view_user].count == 1998",
		"errors.rate < 0.2%",
		"errors.count == 2",
		"errors[40P01].count == 0",
		"throughput.mean > 0.9 x baseline",
		"lock_wait.max < 150ms",
		"lock_wait[users].total == 300ms",
		"lock_wait[orders].max < 1s",
		"migration.statement.max < 1s",
		"step[add status].duration <= 1s",
		"migration.duration < 3s",
		"replication.replay_lag.max < 10ms",
		"replication.replay_bytes[standby1].mean == 250B",
		"wal.bytes == 2000B",
		"backlog.max < 4",
		"step[add status].scans = 0",
		"step[add status].rewrites = 0",
	};
	assert_int_equal(judged(usual("forward"), all, sizeof all / sizeof all[0]), VERDICT_FAIL);
	assert_opinion("migration.completed", "PASS", "yes", "1 step completed");
	assert_opinion(all[0], "FAIL", "30.0 ms", "baseline 10.0 ms");
	assert_opinion(all[1], "PASS", "30.0 ms", "1998 transactions after the baseline");
	assert_opinion(all[2], "PASS", "10.0 ms", "2000 transactions during baseline");
	assert_opinion(all[3], "PASS", "1998", "");
	assert_opinion(all[4], "PASS", "0.10 %", "2 of 2000 transactions failed and 0 were abandoned after the baseline: 2 × 40001");
	assert_opinion(all[5], "PASS", "2", "");
	assert_opinion(all[6], "PASS", "0", "no error 40P01 in 2000 transactions");
	assert_opinion(all[7], "PASS", "999/s", "baseline 1000/s");
	assert_opinion(all[8], "FAIL", "200 ms", "view_user on users behind statement 1 of step \"add status\" at 2.0 s");
	assert_opinion(all[9], "PASS", "300 ms", "2 lock waits");
	assert_opinion(all[10], "PASS", "0 ns", "no lock wait on orders in 400 samples");
	assert_opinion(all[11], "PASS", "400 ms", "attempt 1 of \"ALTER TABLE users\"");
	assert_opinion(all[12], "PASS", "1.00 s", "completed");
	assert_opinion(all[13], "PASS", "2.00 s", "from 2.0 s to 4.0 s");
	assert_opinion(all[14], "PASS", "3.00 ms", "standby1");
	assert_opinion(all[15], "PASS", "250 B", "2 readings");
	assert_opinion(all[16], "PASS", "1.95 kB", "");
	assert_opinion(all[17], "PASS", "3", "at 4.0 s");
	assert_opinion(all[18], "FAIL", "1", "read a whole table to prove a constraint: ALTER TABLE users");
	assert_opinion(all[19], "PASS", "0", "no statement of step \"add status\" wrote a table anew");
}

static void nothing_is_no_more_than_nothing_in_the_baseline(void **state)
{
	(void)state;
	static const char *const all[] = {"errors.rate during rollback < 2 x baseline", "errors.rate during rollback <= 2 x baseline",
		"errors.rate during migration < 2 x baseline"};
	struct record *r = usual("rollback");
	record_phase_start(r, "rollback", 4 * SECOND);
	traffic(r, "rollback", 4, 1000, 10 * NS_PER_MS, 0, 0.2);
	record_phase_end(r, 5 * SECOND);
	assert_int_equal(judged(r, all, 3), VERDICT_FAIL);
	assert_opinion(all[0], "PASS", "0 %", "no error in 1000 transactions during rollback; baseline 0 %: nothing in either");
	assert_opinion(all[1], "PASS", "0 %", "baseline 0 %");
	assert_opinion(all[2], "FAIL", "0.10 %", "baseline 0 %");
}

static void without_data_a_criterion_fails(void **state)
{
	(void)state;
	static const char *const all[] = {"latency[nobody].max < 1s", "step[other].duration < 1s", "latency.p50 during migratoin < 1s",
		"checks.clean", "replication.replay_lag[standby9].max < 1s", "step[other].scans = 0"};
	assert_int_equal(judged(usual("forward"), all, 6), VERDICT_FAIL);
	assert_opinion(all[5], "FAIL", "", "no data: step \"other\"");
	assert_opinion(all[0], "FAIL", "", "no data: no transaction nobody ended");
	assert_opinion(all[1], "FAIL", "", "no data: step \"other\"");
	assert_opinion(all[2], "FAIL", "", "no phase migratoin; it has baseline, migration");
	assert_opinion(all[3], "FAIL", "", "no check ran");
	assert_opinion(all[4], "FAIL", "", "replication was not observed");
}

static void lock_waits_without_an_observer_are_no_data(void **state)
{
	(void)state;
	static const char *const all[] = {"lock_wait.max < 1s"};
	struct record *r = begin("load");
	record_phase_start(r, "load", 0);
	traffic(r, "load", 0, 10, NS_PER_MS, 0, 0.1);
	record_phase_end(r, SECOND);
	assert_int_equal(judged(r, all, 1), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "", "not observed");
}

static void window(struct record *r, const char *table, const char *access, int64_t start_ms, int64_t length_ms)
{
	record_window(r,
		json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:b}", "table", table, "access", access, "start_ns",
			(json_int_t)start_ms * NS_PER_MS, "length_ns", (json_int_t)length_ms * NS_PER_MS, "bound_ns",
			(json_int_t)(10 * NS_PER_MS), "blamed", 1, "at_least", start_ms == 0));
}

static void windows_without_reads_or_writes_are_counted_by_table_and_phase(void **state)
{
	(void)state;
	static const char *const all[] = {
		"reads_blocked[users].max < 300ms",
		"reads_blocked.total == 500ms",
		"writes_blocked[users].count == 2",
		"writes_blocked[users].max during baseline < 100ms",
		"reads_blocked[items].max < 1s",
		"writes_blocked[orders].max < 1s",
		"reads_blocked[orders].max == 0",
		"reads_blocked[codes].max during baseline < 10ms",
	};
	struct record *r = usual("forward");
	window(r, "users", "reads", 2100, 300);
	window(r, "users", "writes", 2100, 300);
	window(r, "users", "writes", 3000, 50);
	window(r, "accounts", "reads", 2200, 400); /* 200 ms of it beside the first */
	window(r, "users", "writes", 500, 20);
	window(r, "codes", "reads", 0, 40); /* since before the first look */
	record_set(r, "availability",
		json_pack("{s:i, s:[s, s, s, s], s:[{s:s, s:s}]}", "rounds", 100, "tables", "users", "accounts", "orders", "codes",
			"denied", "table", "orders", "access", "writes"));
	assert_int_equal(judged(r, all, sizeof all / sizeof all[0]), VERDICT_FAIL);
	assert_opinion(
		all[0], "FAIL", "300 ms", "1 window without reads after the baseline; the longest of 300 ms (within 10.0 ms) on users");
	assert_opinion(all[1], "PASS", "500 ms", "2 windows");
	assert_opinion(all[2], "PASS", "2", "");
	assert_opinion(all[3], "PASS", "20.0 ms", "during baseline");
	assert_opinion(all[4], "FAIL", "", "table items was not watched");
	assert_opinion(all[5], "FAIL", "", "lacks the privilege");
	assert_opinion(all[6], "PASS", "0 ns", "reads were possible at every look");
	assert_opinion(all[7], "FAIL", "40.0 ms", "the longest of at least 40.0 ms");
}

static void what_was_not_seen_to_end_is_a_lower_limit(void **state)
{
	(void)state;
	static const char *const all[] = {
		"reads_blocked[users].max < 1s",
		"reads_blocked[users].max < 300ms",
		"reads_blocked[users].total > 300ms",
		"reads_blocked[users].total > 500ms",
		"reads_blocked[users].count = 1",
		"reads_blocked[users].max = 1s",
		"reads_blocked[users].max = 300ms",
		"writes_blocked[users].max < 1s",
		"lock_wait.max < 1s",
		"lock_wait.max < 800ms",
		"lock_wait.total > 1s",
		"lock_wait.count = 3",
		"lock_wait[users].max < 1s",
		"step[add status].longest_wait < 1s",
		"step[add status].victims = 3",
	};
	struct record *r = usual("forward");
	static const char *const ends[] = {"unknown", "missing"};
	for (int i = 0; i < 2; i++)
		record_window(r,
			json_pack("{s:s, s:s, s:I, s:I, s:I, s:b, s:s}", "table", "users", "access", i == 0 ? "reads" : "writes",
				"start_ns", (json_int_t)(3 * SECOND), "length_ns", (json_int_t)(400 * NS_PER_MS), "bound_ns",
				(json_int_t)NS_PER_MS, "at_least", 1, "ended", ends[i]));
	record_set(r, "availability", json_pack("{s:i, s:[s]}", "rounds", 100, "tables", "users"));
	record_wait(r,
		json_pack("{s:I, s:I, s:s, s:{s:s}, s:{s:s}, s:i}", "start_ns", (json_int_t)(3 * SECOND), "length_ns",
			(json_int_t)(900 * NS_PER_MS), "ended", "unfinished", "waiter", "role", "load", "lock", "relation", "users",
			"blamed", 1));
	assert_int_equal(judged(r, all, sizeof all / sizeof all[0]), VERDICT_FAIL);
	assert_opinion(all[0], "INCONCLUSIVE", "400 ms", "; 1 of them was not seen to end");
	assert_opinion(all[1], "FAIL", "400 ms", "");
	assert_opinion(all[2], "PASS", "400 ms", "");
	assert_opinion(all[3], "INCONCLUSIVE", "400 ms", "");
	assert_opinion(all[4], "PASS", "1", "");
	assert_opinion(all[5], "INCONCLUSIVE", "400 ms", "");
	assert_opinion(all[6], "FAIL", "400 ms", "");
	assert_opinion(all[7], "PASS", "400 ms", ""); /* it ended with the table */
	assert_opinion(all[8], "INCONCLUSIVE", "900 ms", "; 1 of them went on when the run ended");
	assert_opinion(all[9], "FAIL", "900 ms", "");
	assert_opinion(all[10], "PASS", "1.20 s", "");
	assert_opinion(all[11], "PASS", "3", "");
	assert_opinion(all[12], "INCONCLUSIVE", "900 ms", "");
	assert_opinion(all[13], "INCONCLUSIVE", "900 ms", "went on when the run ended");
	assert_opinion(all[14], "PASS", "3", "");
}

static void read_lag(struct record *r, const char *phase, int start_s, const char *standby, int64_t bytes)
{
	record_interval(r,
		json_pack("{s:I, s:I, s:s, s:[{s:s, s:o}]}", "start_ns", (json_int_t)(start_s * SECOND), "end_ns",
			(json_int_t)((start_s + 1) * SECOND), "phase", phase, "lag", "standby", standby, "replay_bytes",
			bytes < 0 ? json_null() : json_integer((json_int_t)bytes)));
}

/* Migration of five seconds after a baseline of one; lags are read as `bytes` says, -1 being nothing. */
static struct record *with_lags(const char *drill, const int64_t bytes[5])
{
	struct record *r = begin(drill);
	record_phase_start(r, "baseline", 0);
	read_lag(r, "baseline", 0, "standby1", 10);
	record_phase_end(r, SECOND);
	record_phase_start(r, "migration", SECOND);
	for (int i = 0; i < 5; i++)
		read_lag(r, "migration", 1 + i, "standby1", bytes[i]);
	record_phase_end(r, 6 * SECOND);
	return r;
}

static void a_standby_that_falls_silent_may_be_any_way_behind(void **state)
{
	(void)state;
	static const char *const all[] = {"replication.replay_bytes.max < 30MB", "replication.replay_bytes.max < 100B",
		"replication.replay_bytes[standby1].max > 100B", "replication.replay_bytes.max during baseline < 1kB"};
	assert_int_equal(judged(with_lags("forward", (int64_t[]){-1, 200, 300, -1, -1}), all, 4), VERDICT_FAIL);
	assert_opinion(all[0], "INCONCLUSIVE", "300 B", "; at 2 looks standby1 was not there to be read");
	assert_opinion(all[1], "FAIL", "300 B", "");
	assert_opinion(all[2], "PASS", "300 B", "");
	assert_opinion(all[3], "PASS", "10.0 B", "");
	assert_int_equal(fs_remove_tree(dir(), NULL), ST_OK);
	judged(with_lags("forward", (int64_t[]){-1, 200, 300, 10, 10}), all, 1);
	assert_opinion(all[0], "PASS", "300 B", "some readings are missing");
	assert_int_equal(fs_remove_tree(dir(), NULL), ST_OK);
	struct record *r = with_lags("failover", (int64_t[]){200, 300, 10, -1, -1});
	record_event(r, json_pack("{s:s, s:s, s:I}", "type", "failover", "edge", "start", "t_ns", (json_int_t)(4 * SECOND)));
	judged(r, all, 1);
	assert_opinion(all[0], "PASS", "300 B", ""); /* it is the primary then */
}

static void a_slot_that_the_server_gave_up_is_no_data(void **state)
{
	(void)state;
	static const char *const all[] = {"replication.slot_bytes.max < 1GB", "replication.slot_bytes[other].max < 1GB"};
	struct record *r = usual("forward");
	record_interval(r,
		json_pack("{s:I, s:I, s:s, s:[{s:s, s:i, s:s}, {s:s, s:n, s:s}, {s:s, s:n, s:s}, {s:s, s:i, s:s}]}", "start_ns",
			(json_int_t)(3 * SECOND), "end_ns", (json_int_t)(4 * SECOND), "phase", "migration", "slots", "slot", "cdc",
			"restart_bytes", 1000, "wal_status", "reserved", "slot", "cdc", "restart_bytes", "wal_status", "lost", "slot",
			"idle", "restart_bytes", "wal_status", "", "slot", "other", "restart_bytes", 5, "wal_status", "reserved"));
	assert_int_equal(judged(r, all, 2), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "", "no data: slot cdc was lost");
	assert_opinion(all[1], "PASS", "5.00 B", "");
}

static void wait_for_some_row(struct record *r, int64_t length_ns)
{
	record_wait(r,
		json_pack("{s:I, s:I, s:s, s:{s:s}, s:{s:s, s:n}}", "start_ns", (json_int_t)(3 * SECOND), "length_ns",
			(json_int_t)length_ns, "ended", "granted", "waiter", "role", "load", "lock", "type", "transactionid", "relation"));
}

static void waits_whose_table_is_not_known_may_be_any_tables(void **state)
{
	(void)state;
	static const char *const all[] = {"lock_wait[users].max < 1s", "lock_wait[users].max < 10s", "lock_wait[users].max < 150ms",
		"lock_wait[users].count = 2", "lock_wait[users].total < 3s", "lock_wait[users].total < 2s", "lock_wait[orders].max < 1s",
		"lock_wait[users].p50 < 1s", "lock_wait.max < 3s"};
	struct record *r = usual("forward");
	wait_for_some_row(r, 2 * SECOND);
	wait_for_some_row(r, NS_PER_MS);
	assert_int_equal(judged(r, all, sizeof all / sizeof all[0]), VERDICT_FAIL);
	assert_opinion(all[0], "INCONCLUSIVE", "200 ms", "; 2 waits were for rows of tables that are not known");
	assert_opinion(all[1], "PASS", "200 ms", "; 2 waits");
	assert_opinion(all[2], "FAIL", "200 ms", "");
	assert_opinion(all[3], "INCONCLUSIVE", "2", "");
	assert_opinion(all[4], "PASS", "300 ms", "");
	assert_opinion(all[5], "INCONCLUSIVE", "300 ms", "");
	assert_opinion(all[6], "INCONCLUSIVE", "0 ns", "no lock wait on orders in 400 samples; 2 waits were for rows");
	assert_opinion(all[7], "INCONCLUSIVE", "100 ms", "");
	assert_opinion(all[8], "PASS", "2.00 s", "4 lock waits");
}

static void a_table_that_nobody_saw_is_no_data(void **state)
{
	(void)state;
	static const char *const all[] = {"lock_wait[ordres].max < 1s", "lock_wait[users].max < 1s", "lock_wait[orders].max < 1s",
		"lock_wait[items].max < 1s", "lock_wait[codes].max < 1s", "lock_wait[logs].max < 1s"};
	struct record *r = usual("forward");
	record_set(r, "phase_state", json_pack("[{s:s, s:[{s:s}]}]", "phase", "migration", "tables", "table", "orders"));
	record_set(r, "availability", json_pack("{s:i, s:[s]}", "rounds", 100, "tables", "items"));
	record_event(r,
		json_pack("{s:s, s:i, s:I, s:[{s:s, s:s}]}", "type", "statement", "id", 2, "start_ns", (json_int_t)(3 * SECOND), "locks",
			"relation", "codes", "mode", "AccessShareLock"));
	record_event(r, json_pack("{s:s, s:i, s:s}", "type", "lock", "statement", 2, "relation", "logs"));
	assert_int_equal(judged(r, all, sizeof all / sizeof all[0]), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "", "no data: no table ordres was seen");
	assert_opinion(all[1], "PASS", "200 ms", "");
	for (int i = 2; i < 6; i++)
		assert_opinion(all[i], "PASS", "0 ns", "no lock wait on");
}

static void availability_that_was_not_measured_is_no_data(void **state)
{
	(void)state;
	static const char *const all[] = {"reads_blocked.max < 1s"};
	assert_int_equal(judged(usual("forward"), all, 1), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "", "availability was not measured");
}

static void who_has_no_answer_when_the_run_ends_has_waited_so_long(void **state)
{
	(void)state;
	static const char *const all[] = {"latency.max < 1s", "latency.p99 during migration < 1s", "latency[view_user].max < 1s",
		"service.max < 10s", "errors.rate < 1%", "latency.max during baseline < 11ms", "errors[40001].count <= 2",
		"latency[nobody].max < 1h"};
	struct record *r = usual("forward");
	record_interval(r,
		json_pack("{s:I, s:I, s:s, s:i, s:i, s:I}", "start_ns", (json_int_t)(3 * SECOND), "end_ns", (json_int_t)(4 * SECOND),
			"phase", "migration", "planned", 0, "backlog", 100, "backlog_age_ns", (json_int_t)(10 * SECOND)));
	record_set(r, "totals",
		json_pack("{s:b, s:i, s:[{s:s, s:I, s:I}, {s:s, s:I}, {s:s, s:I, s:I}]}", "holds", 1, "never_started", 100, "open",
			"transaction", "view_user", "due_age_ns", (json_int_t)(20 * SECOND), "sent_age_ns", (json_int_t)(12 * SECOND),
			"transaction", "pay", "due_age_ns", (json_int_t)(30 * SECOND), /* it has sent nothing */
			"transaction", "view_user", "due_age_ns", (json_int_t)(SECOND / 2), "sent_age_ns", (json_int_t)(SECOND / 2)));
	assert_int_equal(judged(r, all, sizeof all / sizeof all[0]), VERDICT_FAIL);
	/* 91 of the 100 that no session had come to are older than a second. */
	assert_opinion("latency.max < 1s", "FAIL", "30.0 s", "93 of them had no answer when the run ended, the oldest for 30.0 s");
	assert_opinion("latency.p99 during migration < 1s", "FAIL", "8.20 s", "had no answer");
	assert_opinion(
		"latency[view_user].max < 1s", "FAIL", "20.0 s", "1 of them had no answer when the run ended, the oldest for 20.0 s");
	assert_opinion("service.max < 10s", "FAIL", "12.0 s", "1 of them had no answer");
	assert_opinion("errors.rate < 1%", "FAIL", "4.54 %", "93 of them had no answer");
	assert_opinion("latency.max during baseline < 11ms", "PASS", "10.0 ms", "");
	assert_opinion("errors[40001].count <= 2", "PASS", "2", "");
	assert_opinion("latency[nobody].max < 1h", "FAIL", "", "no data");
}

static void a_percentile_needs_samples_above_it(void **state)
{
	(void)state;
	static const char *const all[] = {"latency.p99.9 < 20ms", "latency.p99.9 < 40ms", "latency.p99.9 > 40ms"};
	assert_int_equal(judged(usual("forward"), all, 3), VERDICT_INCONCLUSIVE);
	assert_opinion(all[0], "INCONCLUSIVE", "30.0 ms", "p99.9 needs at least 10000 transactions");
	assert_opinion(all[1], "PASS", "30.0 ms", "p99.9 needs"); /* even the longest satisfies it */
	assert_opinion(all[2], "INCONCLUSIVE", "30.0 ms", "");
}

static void the_rollback_is_judged_only_where_it_happened(void **state)
{
	(void)state;
	static const char *const all[] = {"rollback.clean", "rollback.identical", "latency.p50 during rollback < 1s"};
	assert_int_equal(judged(usual("forward"), all, 3), VERDICT_PASS);
	assert_opinion(all[0], "SKIPPED", "", "the drill forward does not roll back");
	assert_opinion(all[2], "SKIPPED", "", "no phase rollback");
}

static void an_equivalent_rollback_is_clean_but_not_identical(void **state)
{
	(void)state;
	static const char *const all[] = {"rollback.clean", "rollback.identical"};
	struct record *r = usual("rollback");
	record_set(r, "rollback",
		json_pack("{s:s, s:[{s:s, s:s, s:s}]}", "verdict", "equivalent", "differences", "class", "equivalent", "object",
			"table users", "detail", "a dropped column left a hole"));
	assert_int_equal(judged(r, all, 2), VERDICT_FAIL);
	assert_opinion(all[0], "PASS", "yes", "equivalent: 1 difference, table users: a dropped column left a hole");
	assert_opinion(all[1], "FAIL", "no", "");
}

static void what_a_drill_demands_is_judged_unasked(void **state)
{
	(void)state;
	struct record *r = usual("crash");
	record_set(r, "findings",
		json_pack("[{s:b, s:s, s:s}, {s:b, s:s, s:s}]", "ok", 1, "what", "a", "detail", "b", "ok", 0, "what", "\"fill\" run again",
			"detail", "it failed"));
	assert_int_equal(judged(r, NULL, 0), VERDICT_FAIL);
	assert_opinion("drill.clean", "FAIL", "no", "1 of 2 findings: \"fill\" run again: it failed");
}

static void forward_demands_nothing_of_its_own(void **state)
{
	(void)state;
	static const char *const all[] = {"drill.clean"};
	assert_int_equal(judged(usual("forward"), all, 1), VERDICT_PASS);
	assert_opinion(all[0], "SKIPPED", "", "demands nothing");
}

static void an_attempt_that_a_drill_broke_off_is_no_failure(void **state)
{
	(void)state;
	struct record *r = usual("crash");
	for (int i = 0; i < 2; i++) {
		record_event(r,
			json_pack("{s:s, s:s, s:s, s:s, s:I}", "type", "step", "name", "again", "direction", "up", "edge", "start", "t_ns",
				(json_int_t)(10 * SECOND)));
		json_t *end = json_pack("{s:s, s:s, s:s, s:s, s:b, s:I, s:I}", "type", "step", "name", "again", "direction", "up", "edge",
			"end", "ok", i, "duration_ns", (json_int_t)SECOND, "t_ns", (json_int_t)(11 * SECOND));
		if (i == 0)
			json_object_set_new(end, "interrupted", json_string("cut"));
		record_event(r, end);
	}
	static const char *const all[] = {"migration.completed"};
	assert_int_equal(judged(r, all, 1), VERDICT_PASS);
	assert_opinion(all[0], "PASS", "yes", "completed");
}

static void a_reconciliation_is_judged_by_its_mismatches(void **state)
{
	(void)state;
	static const char *const all[] = {
		"reconcile[lines].mismatches = 0", "reconcile[status].mismatches = 0", "reconcile[other].mismatches = 0"};
	struct record *r = usual("forward");
	record_set(r, "reconcile",
		json_pack("[{s:s, s:i, s:i, s:i, s:s}, {s:s, s:i, s:i, s:i}]", "name", "lines", "rows", 9, "rechecked", 3, "mismatches", 2,
			"sample", "7/1, 7/2", "name", "status", "rows", 9, "rechecked", 0, "mismatches", 0));
	assert_int_equal(judged(r, all, 3), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "2", "9 rows compared, 3 of them a second time; differing keys: 7/1, 7/2");
	assert_opinion(all[1], "PASS", "0", "9 rows compared");
	assert_opinion(all[2], "FAIL", "", "did not run");
}

static void an_empty_ledger_is_no_data(void **state)
{
	(void)state;
	static const char *const all[] = {"ledger.clean"};
	struct record *r = usual("forward");
	record_set(r, "totals", json_pack("{s:b, s:{s:i, s:i, s:i}}", "holds", 1, "ledger", "acknowledged", 0, "found", 0, "lost", 0));
	assert_int_equal(judged(r, all, 1), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "", "the ledger is empty");
}

static void a_ledger_that_there_was_not_is_no_data(void **state)
{
	(void)state;
	static const char *const all[] = {"ledger.clean"};
	assert_int_equal(judged(usual("forward"), all, 1), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "", "there was no ledger");
}

static void a_lost_commit_is_not_clean(void **state)
{
	(void)state;
	static const char *const all[] = {"ledger.clean", "ledger.lost < 3"};
	struct record *r = usual("forward");
	record_set(r, "totals",
		json_pack(
			"{s:b, s:{s:i, s:i, s:i, s:i}}", "holds", 1, "ledger", "acknowledged", 700, "found", 698, "lost", 2, "strange", 0));
	judged(r, all, 2);
	assert_opinion(all[0], "FAIL", "no", "2 of 700 acknowledged commits");
	assert_opinion(all[1], "PASS", "2", "");
}

static void what_runs_within_a_step_is_its_own(void **state)
{
	(void)state;
	static const char *const all[] = {"step[both].scans = 0", "step[both].victims = 0", "step[both].rewrites = 0"};
	struct record *r = usual("forward");
	step(r, "both", 3, 4, true);
	record_event(r,
		json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "t_ns", (json_int_t)(3 * SECOND), "type", "step", "name", "one of them",
			"kind", "sql", "direction", "up", "edge", "start", "within", "both"));
	record_event(r,
		json_pack("{s:s, s:i, s:s, s:I, s:[{s:s}]}", "type", "statement", "id", 7, "step", "one of them", "start_ns",
			(json_int_t)(3 * SECOND), "work", "what", "scan"));
	record_wait(r,
		json_pack("{s:I, s:I, s:{s:s}, s:{s:s}, s:i}", "start_ns", (json_int_t)(3 * SECOND), "length_ns", (json_int_t)NS_PER_MS,
			"waiter", "role", "load", "lock", "relation", "users", "blamed", 7));
	assert_int_equal(judged(r, all, 3), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "1", "statement 7");
	assert_opinion(all[1], "FAIL", "1", "1 lock wait");
	assert_opinion(all[2], "PASS", "0", "");
}

static void a_row_of_the_ledger_that_nobody_wrote_is_not_clean(void **state)
{
	(void)state;
	static const char *const all[] = {"ledger.clean", "ledger.lost = 0"};
	struct record *r = usual("forward");
	record_set(r, "totals",
		json_pack(
			"{s:b, s:{s:i, s:i, s:i, s:i}}", "holds", 1, "ledger", "acknowledged", 700, "found", 700, "lost", 0, "strange", 3));
	judged(r, all, 2);
	assert_opinion(all[0], "FAIL", "no", "0 of 700 acknowledged commits are not in the database; 3 rows of the ledger nobody wrote");
	assert_opinion(all[1], "PASS", "0", "");
}

static void what_programs_make_the_server_do_is_no_data(void **state)
{
	(void)state;
	static const char *const all[] = {"step[tool].rewrites = 0", "step[flyway].scans = 0", "step[add status].rewrites = 0"};
	struct record *r = usual("forward");
	step(r, "flyway", 3, 4, true);
	record_event(r,
		json_pack("{s:s, s:i, s:b, s:s, s:I}", "type", "statement", "id", 1000001, "external", 1, "step", "flyway", "start_ns",
			(json_int_t)(3 * SECOND)));
	record_event(r,
		json_pack("{s:I, s:s, s:s, s:s, s:s, s:s}", "t_ns", (json_int_t)(3 * SECOND), "type", "step", "name", "tool", "kind",
			"exec", "direction", "up", "edge", "start"));
	record_event(r,
		json_pack("{s:I, s:s, s:s, s:s, s:s, s:b, s:I}", "t_ns", (json_int_t)(4 * SECOND), "type", "step", "name", "tool",
			"direction", "up", "edge", "end", "ok", 1, "duration_ns", (json_int_t)SECOND));
	assert_int_equal(judged(r, all, 3), VERDICT_FAIL);
	assert_opinion(all[0], "FAIL", "", "no data: step \"tool\" runs a program: what programs make the server do is not observed");
	assert_opinion(all[1], "FAIL", "", "not observed");
	assert_opinion(all[2], "PASS", "0", "");
}

static void a_failed_step_fails_the_migration(void **state)
{
	(void)state;
	struct record *r = begin("forward");
	record_phase_start(r, "migration", 0);
	step(r, "add status", 0, 1, false);
	record_phase_end(r, SECOND);
	assert_int_equal(judged(r, NULL, 0), VERDICT_FAIL);
	assert_opinion("migration.completed", "FAIL", "no", "step \"add status\" (up) failed: lock timeout");
}

static void a_busy_generator_makes_the_run_invalid(void **state)
{
	(void)state;
	struct record *r = begin("load");
	record_phase_start(r, "load", 0);
	for (int s = 0; s < 10; s++)
		traffic(r, "load", s, 10, NS_PER_MS, 0, s < 3 ? 0.95 : 0.3);
	record_phase_end(r, 10 * SECOND);
	assert_int_equal(judged(r, NULL, 0), VERDICT_INVALID);
	struct record_reader *reader;
	assert_int_equal(record_open(dir(), &reader, NULL), ST_OK);
	assert_non_null(strstr(json_string_value(json_array_get(json_object_get(reader_run(reader), "invalid"), 0)), "in 3 of 10 seconds"));
	record_reader_free(reader);
}

static enum verdict judged_with_schedule_error(int count, int64_t p50_ns, int64_t p99_ns)
{
	assert_int_equal(fs_remove_tree(dir(), NULL), ST_OK);
	struct record *r = usual("forward");
	record_set(r, "generator",
		json_pack("{s:{s:i, s:I, s:I}}", "schedule_error", "count", count, "p50_ns", (json_int_t)p50_ns, "p99_ns",
			(json_int_t)p99_ns));
	return judged(r, NULL, 0);
}

static void a_late_generator_makes_the_run_invalid_when_enough_arrivals_say_so(void **state)
{
	(void)state;
	assert_int_equal(judged_with_schedule_error(1000, NS_PER_MS, 19 * NS_PER_MS), VERDICT_PASS);
	assert_int_equal(judged_with_schedule_error(1000, NS_PER_MS, 21 * NS_PER_MS), VERDICT_INVALID);
	assert_int_equal(judged_with_schedule_error(200, NS_PER_MS, 32 * NS_PER_MS), VERDICT_PASS);
	assert_int_equal(judged_with_schedule_error(200, 21 * NS_PER_MS, 32 * NS_PER_MS), VERDICT_INVALID);
}

static enum verdict judged_replay(const char *pacing, double worker_cpu, int64_t p99_ns)
{
	assert_int_equal(fs_remove_tree(dir(), NULL), ST_OK);
	struct record *r = begin("load");
	record_set(r, "load", json_pack("{s:s, s:s}", "mode", "replay", "pacing", pacing));
	record_set(r, "fidelity", json_pack("{s:[]}", "measures"));
	record_phase_start(r, "load", 0);
	for (int s = 0; s < 10; s++)
		traffic(r, "load", s, 10, NS_PER_MS, 0, worker_cpu);
	record_phase_end(r, 10 * SECOND);
	record_set(r, "generator",
		json_pack("{s:{s:i, s:I, s:I}}", "schedule_error", "count", 1000, "p50_ns", (json_int_t)NS_PER_MS, "p99_ns",
			(json_int_t)p99_ns));
	return judged(r, NULL, 0);
}

static void the_schedule_of_a_replay_is_judged_by_its_fidelity(void **state)
{
	(void)state;
	assert_int_equal(judged_replay("arrival", 0.3, 21 * NS_PER_MS), VERDICT_PASS);
	assert_int_equal(judged_replay("arrival", 0.95, NS_PER_MS), VERDICT_INVALID);
	assert_int_equal(judged_replay("asap", 0.95, NS_PER_MS), VERDICT_PASS);
}

static void workers_that_sleep_through_their_work_make_the_run_invalid(void **state)
{
	(void)state;
	static const struct {
		int count, missed;
		enum verdict expected;
	} CASES[] = {{1000, 100, VERDICT_PASS}, {1000, 101, VERDICT_INVALID}, {900, 900, VERDICT_PASS}};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		assert_int_equal(fs_remove_tree(dir(), NULL), ST_OK);
		struct record *r = usual("forward");
		record_set(r, "generator",
			json_pack("{s:{s:i, s:i, s:i}, s:i}", "schedule_error", "count", CASES[i].count, "p50_ns", 1000, "p99_ns", 1000,
				"missed_wakeups", CASES[i].missed));
		assert_int_equal(judged(r, NULL, 0), CASES[i].expected);
	}
}

static enum verdict judged_with_lag(int seconds, int lagging, int64_t lag_ns)
{
	assert_int_equal(fs_remove_tree(dir(), NULL), ST_OK);
	struct record *r = begin("load");
	record_phase_start(r, "load", 0);
	for (int s = 0; s < seconds; s++)
		record_interval(r,
			json_pack("{s:I, s:I, s:s, s:i, s:{s:f}, s:{s:I}}", "start_ns", (json_int_t)(s * SECOND), "end_ns",
				(json_int_t)((s + 1) * SECOND), "phase", "load", "planned", 10, "cpu", "worker", 0.3, "generator",
				"loop_lag_ns", (json_int_t)(s < lagging ? lag_ns : NS_PER_MS)));
	record_phase_end(r, seconds * SECOND);
	return judged(r, NULL, 0);
}

static void workers_whose_timers_are_late_make_the_run_invalid(void **state)
{
	(void)state;
	assert_int_equal(judged_with_lag(10, 3, 101 * NS_PER_MS), VERDICT_INVALID);
	assert_int_equal(judged_with_lag(10, 2, 30 * SECOND), VERDICT_PASS);
	assert_int_equal(judged_with_lag(10, 10, 99 * NS_PER_MS), VERDICT_PASS);
	assert_int_equal(judged_with_lag(100, 5, 101 * NS_PER_MS), VERDICT_PASS);
}

static enum verdict judged_with_line(const char *series, const char *line)
{
	char path[128];
	struct error err;
	enum verdict verdict;
	assert_int_equal(fs_remove_tree(dir(), NULL), ST_OK);
	judged(usual("forward"), NULL, 0);
	snprintf(path, sizeof path, "%s/%s", dir(), series);
	FILE *file = fopen(path, "ae");
	assert_non_null(file);
	fputs(line, file);
	fclose(file);
	assert_int_equal(judge_record(dir(), NULL, 0, &verdict, &err), ST_OK);
	return verdict;
}

static void lines_that_cannot_be_read_make_the_run_invalid(void **state)
{
	(void)state;
	assert_int_equal(
		judged_with_line("waits.jsonl", "{\"start_ns\": 2000000000, \"len"), VERDICT_PASS); /* cut by the end of its writer */
	assert_int_equal(judged_with_line("latency.hlog", "Tag=total/response/ok,9,1,0,HIST"), VERDICT_PASS);
	assert_int_equal(judged_with_line("waits.jsonl", "{\"start_ns\": 2000000000, \"len\n{}\n[]\n"), VERDICT_INVALID);
	struct record_reader *reader;
	assert_int_equal(record_open(dir(), &reader, NULL), ST_OK);
	const json_t *reason = json_array_get(json_object_get(reader_run(reader), "invalid"), 0);
	assert_string_equal(json_string_value(reason), "2 lines of the record cannot be read");
	record_reader_free(reader);
}

static void judging_again_gives_the_same_answer(void **state)
{
	(void)state;
	struct record *r = usual("forward");
	record_set(r, "totals", json_pack("{s:b}", "holds", 0));
	enum verdict verdict;
	assert_int_equal(judged(r, NULL, 0), VERDICT_INVALID);
	assert_int_equal(judge_record(dir(), NULL, 0, &verdict, NULL), ST_OK);
	assert_int_equal(verdict, VERDICT_INVALID);
	struct record_reader *reader;
	assert_int_equal(record_open(dir(), &reader, NULL), ST_OK);
	assert_int_equal(json_array_size(json_object_get(reader_run(reader), "invalid")), 1);
	record_reader_free(reader);
}

static void a_criterion_that_is_not_understood_changes_nothing(void **state)
{
	(void)state;
	static const char *const all[] = {"latency.p99 < fast"};
	struct record *r = usual("forward");
	struct error err;
	enum verdict verdict;
	assert_int_equal(record_finish(r, "finished", NULL, &err), ST_OK);
	record_close(r);
	assert_int_equal(judge_record(dir(), all, 1, &verdict, &err), ST_USAGE);
	assert_string_equal(err.where, "--require");
	struct record_reader *reader;
	assert_int_equal(record_open(dir(), &reader, NULL), ST_OK);
	assert_null(json_object_get(reader_run(reader), "verdict"));
	record_reader_free(reader);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_root, remove_root)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(figures_are_those_of_the_record),
		TEST(nothing_is_no_more_than_nothing_in_the_baseline),
		TEST(without_data_a_criterion_fails),
		TEST(lock_waits_without_an_observer_are_no_data),
		TEST(who_has_no_answer_when_the_run_ends_has_waited_so_long),
		TEST(a_percentile_needs_samples_above_it),
		TEST(windows_without_reads_or_writes_are_counted_by_table_and_phase),
		TEST(what_was_not_seen_to_end_is_a_lower_limit),
		TEST(a_standby_that_falls_silent_may_be_any_way_behind),
		TEST(a_slot_that_the_server_gave_up_is_no_data),
		TEST(waits_whose_table_is_not_known_may_be_any_tables),
		TEST(a_table_that_nobody_saw_is_no_data),
		TEST(availability_that_was_not_measured_is_no_data),
		TEST(the_rollback_is_judged_only_where_it_happened),
		TEST(an_equivalent_rollback_is_clean_but_not_identical),
		TEST(what_a_drill_demands_is_judged_unasked),
		TEST(forward_demands_nothing_of_its_own),
		TEST(an_attempt_that_a_drill_broke_off_is_no_failure),
		TEST(a_reconciliation_is_judged_by_its_mismatches),
		TEST(a_ledger_that_there_was_not_is_no_data),
		TEST(an_empty_ledger_is_no_data),
		TEST(a_lost_commit_is_not_clean),
		TEST(what_runs_within_a_step_is_its_own),
		TEST(a_row_of_the_ledger_that_nobody_wrote_is_not_clean),
		TEST(what_programs_make_the_server_do_is_no_data),
		TEST(a_failed_step_fails_the_migration),
		TEST(a_busy_generator_makes_the_run_invalid),
		TEST(workers_that_sleep_through_their_work_make_the_run_invalid),
		TEST(workers_whose_timers_are_late_make_the_run_invalid),
		TEST(a_late_generator_makes_the_run_invalid_when_enough_arrivals_say_so),
		TEST(the_schedule_of_a_replay_is_judged_by_its_fidelity),
		TEST(lines_that_cannot_be_read_make_the_run_invalid),
		TEST(judging_again_gives_the_same_answer),
		TEST(a_criterion_that_is_not_understood_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
