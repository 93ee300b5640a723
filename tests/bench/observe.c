/* How well the observer measures lock waits of known length, and what looking costs, on a sandbox with 100 sessions. Built and run by
 * observe.sh; prints one JSON object a line as scripts/bench wants it. */
#define _GNU_SOURCE
#include "bench.h"

#define SESSIONS 100
#define FEW 8 /* of those by sampling: more would queue for a core when they are woken, and go on later than their wait ends */
#define CROWD 40
#define ROUNDS 11
#define HOLD_NS (300 * NS_PER_MS)
#define SHORT_NS (25 * NS_PER_MS)
#define SHORT_ROUNDS 20

static PGconn *sessions[SESSIONS];
static int64_t run_start_ns;

/* ---- waits whose end the client tells, as those of the load do ---- */

/* A victim's wait: from sending its statement to what the server's clock said when the statement went on. One round, read back at once. */
static struct {
	int64_t sent_ns, went_on_ns;
	int pid;
	bool seen;
} crowd[CROWD];
static double crowd_errors[CROWD];
static int crowd_seen;

static bool compare_crowd(const json_t *line, void *arg)
{
	(void)arg;
	int64_t pid = json_get_int(json_object_get(line, "waiter"), "pid", 0);
	for (int i = 0; i < CROWD; i++) {
		if (crowd[i].pid != pid || crowd[i].seen)
			continue;
		crowd[i].seen = true;
		crowd_errors[crowd_seen++] = (double)llabs(json_get_int(line, "length_ns", 0) - (crowd[i].went_on_ns - crowd[i].sent_ns)) /
			1e6;
	}
	return true;
}

/* As long as asked for from when all wait. Sent a millisecond apart, since each has to get a core before it can wait. */
static void hold_crowd(PGconn *blocker, int64_t hold_ns, int n)
{
	bench_execute(blocker, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	for (int i = 0; i < n; i++) {
		crowd[i].pid = PQbackendPID(sessions[i]);
		crowd[i].sent_ns = clock_now_ns();
		PQsendQuery(sessions[i], "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8 FROM users");
		bench_pause(NS_PER_MS);
	}
	bench_pause(hold_ns);
	int64_t wall_ahead_ns = clock_wall_ns() - clock_now_ns();
	bench_execute(blocker, "COMMIT");
	for (int i = 0; i < n; i++) {
		PGresult *r = PQgetResult(sessions[i]);
		int64_t done_ns = clock_now_ns();
		crowd[i].went_on_ns = strtoll(PQgetvalue(r, 0, 0), NULL, 10) * 1000 - wall_ahead_ns;
		observer_note_slow(bench_observer, crowd[i].pid, crowd[i].sent_ns, done_ns, "00000", "v1", "read", "read");
		while (r != NULL) {
			PQclear(r);
			r = PQgetResult(sessions[i]);
		}
	}
}

static void measure_crowd(PGconn *blocker, int64_t hold_ns, const char *length)
{
	char name[100];
	crowd_seen = 0;
	memset(crowd, 0, sizeof crowd);
	bench_observe(0);
	hold_crowd(blocker, hold_ns, CROWD);
	bench_pause(50 * NS_PER_MS);
	bench_stop_observing(NULL);
	bench_read("waits", compare_crowd, NULL);
	snprintf(name, sizeof name, "%s, %d victims", length, CROWD);
	bench_all(name, CROWD, "seen", crowd_seen);
	if (crowd_seen == 0)
		return;
	double middle = bench_median(crowd_errors, crowd_seen);
	snprintf(name, sizeof name, "%s, %d victims: error of the median one", length, CROWD);
	bench_bar(name, middle, "ms", 2);
	snprintf(name, sizeof name, "%s, %d victims: largest error", length, CROWD);
	bench_bar(name, crowd_errors[crowd_seen - 1], "ms", 10);
}

static int short_seen;

static bool count_short(const json_t *line, void *arg)
{
	(void)arg;
	short_seen += json_get_int(line, "length_ns", 0) >= 20 * NS_PER_MS;
	return true;
}

static void measure_short(PGconn *blocker)
{
	bench_observe(0);
	for (int i = 0; i < SHORT_ROUNDS; i++) {
		hold_crowd(blocker, SHORT_NS, 4);
		bench_pause(20 * NS_PER_MS);
	}
	bench_stop_observing(NULL);
	bench_read("waits", count_short, NULL);
	bench_all("waits of 25 ms", 4 * SHORT_ROUNDS, "seen", short_seen);
}

/* ---- waits whose end is seen by sampling alone ---- */

/* Ends of the waits as the observer saw them against the time at which the waiter says it went on; of statements that work on afterwards, so
 * that no completion helps. (The blocker's commit is no truth: a hundred sessions that are woken at once wait for a core first.) */
static struct {
	int pid;
	int64_t went_on_ns[ROUNDS];
} truths[SESSIONS];
static double errors[SESSIONS * ROUNDS * 2], bounds[SESSIONS * ROUNDS * 2];
static int seen_n, all_n, outside;
static bool compare(const json_t *line, void *arg)
{
	(void)arg;
	int64_t end_ns = run_start_ns + json_get_int(line, "start_ns", 0) + json_get_int(line, "length_ns", 0);
	int64_t bound_ns = json_get_int(line, "bound_ns", 0);
	all_n++;
	if (json_get_int(line, "length_ns", 0) > HOLD_NS * 3)
		return true; /* of the round with all sessions */
	int64_t nearest = INT64_MAX, pid = json_get_int(json_object_get(line, "waiter"), "pid", 0);
	for (int i = 0; i < SESSIONS; i++)
		for (int round = 0; truths[i].pid == pid && round < ROUNDS - 1; round++)
			if (llabs(end_ns - truths[i].went_on_ns[round]) < llabs(nearest))
				nearest = end_ns - truths[i].went_on_ns[round];
	errors[seen_n] = (double)llabs(nearest) / 1e6;
	bounds[seen_n++] = (double)bound_ns / 1e6;
	if (llabs(nearest) > bound_ns + NS_PER_MS)
		outside++;
	return true;
}

static void hold_once(PGconn *blocker, int round, int n)
{
	bench_execute(blocker, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	for (int i = 0; i < n; i++)
		PQsendQuery(sessions[i],
			"SELECT count(*) FROM users; SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8; SELECT pg_sleep(0.06)");
	while (observer_waiting(bench_observer) < n)
		bench_pause(NS_PER_MS);
	if (n == SESSIONS)
		bench_row("observer's CPU with 100 sessions waiting", 100 * bench_cpu_share(NS_PER_S), "% of a core");
	else
		bench_pause(HOLD_NS);
	bench_execute(blocker, "COMMIT");
	int64_t wall_ahead_ns = clock_wall_ns() - clock_now_ns();
	for (int i = 0; i < n; i++) {
		PGresult *r;
		truths[i].pid = PQbackendPID(sessions[i]);
		for (int k = 0; (r = PQgetResult(sessions[i])) != NULL; k++) {
			if (k == 1)
				truths[i].went_on_ns[round] = strtoll(PQgetvalue(r, 0, 0), NULL, 10) * 1000 - wall_ahead_ns;
			PQclear(r);
		}
	}
}

int main(void)
{
	static const char *const SETTINGS[] = {"max_connections=200", NULL};
	bench_sandbox_up("observe", 1, SETTINGS);
	PGconn *blocker = bench_connect(bench_dsn, "psql");
	bench_execute(blocker, "CREATE TABLE users AS SELECT 1 AS id");
	for (int i = 0; i < SESSIONS; i++)
		sessions[i] = bench_connect(bench_dsn, i < CROWD ? "pgrehearse load v1 pod 1" : "app");
	/* A session's first look at a table takes milliseconds before it can wait for it. */
	bench_observe(0);
	hold_crowd(blocker, 5 * NS_PER_MS, CROWD);
	bench_stop_observing(NULL);
	measure_crowd(blocker, 50 * NS_PER_MS, "a lock held for 50 ms");
	measure_crowd(blocker, 500 * NS_PER_MS, "a lock held for 500 ms");
	measure_crowd(blocker, 5 * NS_PER_S, "a lock held for 5 s");
	measure_short(blocker);
	bench_observe(1);
	run_start_ns = record_start_ns(bench_record);
	bench_row("observer's CPU while nobody waits", 100 * bench_cpu_share(3 * NS_PER_S), "% of a core");
	for (int i = 0; i < ROUNDS; i++)
		hold_once(blocker, i, i == ROUNDS - 1 ? SESSIONS : FEW);
	bench_pause(100 * NS_PER_MS);
	struct observer_totals totals;
	bench_stop_observing(&totals);
	bench_read("waits", compare, NULL);
	qsort(errors, (size_t)seen_n, sizeof errors[0], bench_by_value);
	qsort(bounds, (size_t)seen_n, sizeof bounds[0], bench_by_value);
	bench_row("waits seen of those that took place", 100.0 * all_n / (SESSIONS + FEW * (ROUNDS - 1)), "%");
	bench_row("end of a wait by sampling: error, median", errors[seen_n / 2], "ms");
	bench_row("end of a wait by sampling: error, p99", errors[seen_n * 99 / 100], "ms");
	bench_row("end of a wait by sampling: stated bound, p99", bounds[seen_n * 99 / 100], "ms");
	bench_all("waits by sampling", seen_n, "right to their bound and 1 ms", seen_n - outside);
	bench_row("ticks missed", 100.0 * (double)totals.missed / (double)(totals.samples + totals.missed), "%");
	for (int i = 0; i < SESSIONS; i++)
		PQfinish(sessions[i]);
	PQfinish(blocker);
	return bench_sandbox_down();
}
