/* Lag by heartbeat against what was done to a standby: replay paused for a known time, replay a known time behind, and
 * a line to it that delays what the primary sends. Built and run by lag.sh. */
#define _GNU_SOURCE
#include "bench.h"

#define ROUNDS 8
#define BEAT_MS 100 /* a heartbeat's period; the bar is two of them */
#define DELAY_MS 700
#define LOOKS 60

static int64_t peak_ns(void)
{
	struct observation seen;
	observer_collect(bench_observer, &seen);
	return seen.lag[0].heartbeat_ns;
}

static void await_none(void)
{
	while (observer_replay_lag_ns(bench_observer) != 0)
		bench_pause(5 * NS_PER_MS);
	peak_ns(); /* what was before is forgotten */
}

/* The standby shows nothing new from the pause to the resumption: so far behind it was at last. */
static double paused_error(PGconn *standby, int round)
{
	await_none();
	bench_execute(standby, "SELECT pg_wal_replay_pause()");
	int64_t paused_ns = clock_now_ns();
	bench_pause((300 + 370 * round) * NS_PER_MS);
	int64_t truth_ns = clock_now_ns() - paused_ns;
	bench_execute(standby, "SELECT pg_wal_replay_resume()");
	while (observer_replay_lag_ns(bench_observer) != 0)
		bench_pause(5 * NS_PER_MS);
	return (double)llabs(peak_ns() - truth_ns) / 1e6;
}

/* Looks at a standby that is DELAY_MS behind all the time. */
static void look_at_delayed(double *errors)
{
	bench_pause(3 * NS_PER_S);
	for (int i = 0; i < LOOKS; i++) {
		errors[i] = (double)llabs(observer_replay_lag_ns(bench_observer) - DELAY_MS * NS_PER_MS) / 1e6;
		bench_pause(37 * NS_PER_MS);
	}
}

static int behind_a_line(void)
{
	double delayed[LOOKS];
	bench_sandbox_make(&(struct sandbox_config){.name = "line", .standbys = 1, .standby_delay_ns = DELAY_MS * NS_PER_MS});
	bench_observe(1);
	look_at_delayed(delayed);
	bench_stop_observing(NULL);
	double middle = bench_median(delayed, LOOKS);
	bench_row("lag of a standby behind a delayed line: error, median", middle, "ms");
	bench_bar("lag of a standby behind a delayed line: error, largest", delayed[LOOKS - 1], "ms", 2 * BEAT_MS);
	return bench_sandbox_down();
}

int main(void)
{
	double errors[ROUNDS], delayed[LOOKS];
	bench_sandbox_up("lag", 1, NULL);
	PGconn *standby = bench_connect(sandbox_standby_dsn(bench_sandbox, 0), "psql");
	bench_observe(1);
	for (int i = 0; i < ROUNDS; i++)
		errors[i] = paused_error(standby, i);
	/* Each commit is replayed so long after it was made; the clocks are one. */
	char sql[100];
	snprintf(sql, sizeof sql, "ALTER SYSTEM SET recovery_min_apply_delay = '%dms'", DELAY_MS);
	bench_execute(standby, sql);
	bench_execute(standby, "SELECT pg_reload_conf()");
	look_at_delayed(delayed);
	PQfinish(standby);
	bench_stop_observing(NULL);
	double middle = bench_median(errors, ROUNDS);
	bench_row("lag of a standby whose replay was paused: error, median", middle, "ms");
	bench_bar("lag of a standby whose replay was paused: error, largest", errors[ROUNDS - 1], "ms", 2 * BEAT_MS);
	middle = bench_median(delayed, LOOKS);
	bench_row("lag of a standby that replays late: error, median", middle, "ms");
	bench_bar("lag of a standby that replays late: error, largest", delayed[LOOKS - 1], "ms", 2 * BEAT_MS);
	return bench_sandbox_down() != 0 ? 1 : behind_a_line();
}
