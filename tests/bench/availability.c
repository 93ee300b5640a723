/* Availability windows against locks of known length, while other sessions are at work on the same tables. Built and run by
 * availability.sh; prints one JSON object a line as scripts/bench wants it. */
#define _GNU_SOURCE
#include "bench.h"

#define TABLES 16
#define ROUNDS 20

/* A lock is granted somewhere within its statement's round trip, and released within the commit's: its middle is the truth, right to half
 * of both. */
static struct {
	int64_t from_ns, to_ns, bound_ns;
} truths[ROUNDS];
static double start_errors[ROUNDS], end_errors[ROUNDS];
static int seen_n, outside;
static int64_t run_start_ns;

static bool compare(const json_t *line, void *arg)
{
	(void)arg;
	if (strcmp(json_get_string(line, "access", ""), "reads") != 0 || strcmp(json_get_string(line, "table", ""), "t0") != 0 ||
		seen_n == ROUNDS)
		return true;
	int64_t start_ns = run_start_ns + json_get_int(line, "start_ns", 0), length_ns = json_get_int(line, "length_ns", 0);
	int64_t truth_ns = truths[seen_n].to_ns - truths[seen_n].from_ns;
	start_errors[seen_n] = (double)llabs(start_ns - truths[seen_n].from_ns) / 1e6;
	end_errors[seen_n] = (double)llabs(start_ns + length_ns - truths[seen_n].to_ns) / 1e6;
	int64_t error_ns = llabs(length_ns - truth_ns), bound_ns = json_get_int(line, "bound_ns", 0) + truths[seen_n].bound_ns;
	if (error_ns > bound_ns)
		outside++;
	if (error_ns > bound_ns || getenv("VERBOSE") != NULL)
		fprintf(stderr, "window of %.3f ms: %.3f ms off, bound %.3f ms and %.3f ms of the truth\n", (double)truth_ns / 1e6,
			(double)error_ns / 1e6, (double)(bound_ns - truths[seen_n].bound_ns) / 1e6, (double)truths[seen_n].bound_ns / 1e6);
	seen_n++;
	return true;
}

/* As the migration's statement, of which the observer is told before it is sent. */
static void lock_as_migration(PGconn *blocker, const char *sql, int64_t id)
{
	struct observer_statement st = {
		.id = id, .pid = PQbackendPID(blocker), .sql = sql, .start_ns = clock_now_ns(), .in_transaction = true};
	observer_note_statement(bench_observer, &st);
	bench_execute(blocker, sql);
	st.end_ns = clock_now_ns();
	st.sqlstate = "00000";
	observer_note_statement(bench_observer, &st);
}

static void hold_once(PGconn *blocker, int round)
{
	bench_execute(blocker, "BEGIN");
	int64_t a = clock_now_ns();
	lock_as_migration(blocker, "LOCK TABLE t0 IN ACCESS EXCLUSIVE MODE", round + 1);
	int64_t b = clock_now_ns();
	bench_pause((50 + 37 * (round % 7)) * NS_PER_MS);
	int64_t c = clock_now_ns();
	bench_execute(blocker, "COMMIT");
	truths[round].from_ns = a + (b - a) / 2;
	int64_t d = clock_now_ns();
	truths[round].to_ns = c + (d - c) / 2;
	truths[round].bound_ns = (b - a + d - c) / 2;
	bench_pause((160 + 13 * (round % 5)) * NS_PER_MS);
}

/* Longest of many requests for a lock that the probes' own stand against: what a migration's request would wait behind them. */
static void measure_delay(PGconn *conn)
{
	double waits[500];
	for (int i = 0; i < 500; i++) {
		int64_t from = clock_now_ns();
		bench_execute(conn, "BEGIN; LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE; ROLLBACK");
		waits[i] = (double)(clock_now_ns() - from) / 1e6;
		bench_pause(3 * NS_PER_MS);
	}
	qsort(waits, 500, sizeof waits[0], bench_by_value);
	bench_row("ACCESS EXCLUSIVE beside the probes: median", waits[250], "ms");
	bench_row("ACCESS EXCLUSIVE beside the probes: p99", waits[495], "ms");
}

static void read_summary(const json_t *run)
{
	const json_t *summary = json_object_get(run, "availability");
	double rounds = (double)json_get_int(summary, "rounds", 1);
	bench_all("windows seen", seen_n, "of", ROUNDS);
	bench_all("windows as long as they were, within their bound", seen_n - outside, "of", seen_n);
	bench_row("rounds missed", 100.0 * (double)json_get_int(summary, "missed", 0) / rounds, "%");
	bench_row("a round from its sending to its answer, mean", (double)json_get_int(summary, "held_ns", 0) / 1e6 / rounds, "ms");
}

int main(void)
{
	bench_sandbox_up("availability", 0, NULL);
	PGconn *conn = bench_connect(bench_dsn, "psql");
	PGconn *migration = bench_connect(bench_dsn, "pgrehearse migration");
	for (int i = 0; i < TABLES; i++) {
		char sql[64];
		snprintf(sql, sizeof sql, "CREATE TABLE t%d (id int)", i);
		bench_execute(conn, sql);
	}
	bench_observe(0);
	run_start_ns = record_start_ns(bench_record);
	bench_row("observer's CPU without a table to probe", 100 * bench_cpu_share(2 * NS_PER_S), "% of a core");
	while (observer_tables(bench_observer) < TABLES) {
		for (int i = 0; i < TABLES; i++) {
			char sql[64];
			snprintf(sql, sizeof sql, "INSERT INTO t%d VALUES (1)", i);
			bench_execute(conn, sql);
		}
		bench_pause(100 * NS_PER_MS);
	}
	bench_row("observer's CPU with 16 tables probed, at rest", 100 * bench_cpu_share(2 * NS_PER_S), "% of a core");
	for (int i = 0; i < ROUNDS; i++)
		hold_once(migration, i);
	bench_execute(conn, "BEGIN; LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE");
	bench_row("observer's CPU with 16 tables probed, one locked", 100 * bench_cpu_share(2 * NS_PER_S), "% of a core");
	bench_execute(conn, "COMMIT");
	bench_pause(50 * NS_PER_MS);
	measure_delay(conn);
	bench_stop_observing(NULL);
	bench_read("windows", compare, read_summary);
	if (seen_n > 0) {
		bench_row("begin of a window: error, median", bench_median(start_errors, seen_n), "ms");
		bench_bar("begin of a window: error, largest", start_errors[seen_n - 1], "ms", 10);
		bench_row("end of a window: error, median", bench_median(end_errors, seen_n), "ms");
		bench_bar("end of a window: error, largest", end_errors[seen_n - 1], "ms", 10);
	}
	PQfinish(migration);
	PQfinish(conn);
	return bench_sandbox_down();
}
