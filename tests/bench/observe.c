/* How well the observer measures lock waits of known length, and what it costs, on a sandbox with 100 sessions. Built and run by
 * observe.sh; prints one JSON object a line as scripts/bench wants it. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/fs.h"
#include "clone/sandbox.h"
#include "observe/observer.h"
#include "record/reader.h"
#include "record/record.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define SESSIONS 100
#define FEW 8 /* measure accuracy: more would queue for a core when they are woken, and go on later than their wait ends */
#define ROUNDS 11
#define HOLD_NS (300 * NS_PER_MS)

static char home[] = "/tmp/pgr-bench-XXXXXX";
static struct observer *observer;
static PGconn *sessions[SESSIONS];

static void pause_for(int64_t ns)
{
	struct timespec t = {ns / NS_PER_S, ns % NS_PER_S};
	nanosleep(&t, NULL);
}

static PGconn *connect_as(const char *dsn, const char *name)
{
	const char *keys[] = {"dbname", "application_name", NULL};
	const char *values[] = {dsn, name, NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(conn) != CONNECTION_OK) {
		fprintf(stderr, "%s", PQerrorMessage(conn));
		exit(1);
	}
	return conn;
}

static void execute(PGconn *conn, const char *sql)
{
	PQclear(PQexec(conn, sql));
}

static double cpu_share(int64_t for_ns)
{
	struct observation seen;
	observer_collect(observer, &seen);
	pause_for(for_ns);
	observer_collect(observer, &seen);
	return seen.cpu_share;
}

/* Ends of the waits as the observer saw them against the time at which the waiter says it went on; of statements that work on afterwards, so
 * that no completion helps. (The blocker's commit is no truth: a hundred sessions that are woken at once wait for a core first.) */
static struct {
	int pid;
	int64_t went_on_ns[ROUNDS];
} truths[SESSIONS];
static double errors[SESSIONS * ROUNDS * 2], bounds[SESSIONS * ROUNDS * 2];
static int seen_n, all_n, outside;
static int64_t run_start_ns;

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

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void print_row(const char *name, double value, const char *unit)
{
	printf("{\"name\": \"%s\", \"value\": %.4g, \"unit\": \"%s\"}\n", name, value, unit);
}

static void hold_once(PGconn *blocker, int round, int n)
{
	execute(blocker, "BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE");
	for (int i = 0; i < n; i++)
		PQsendQuery(sessions[i],
			"SELECT count(*) FROM users; SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8; SELECT pg_sleep(0.06)");
	while (observer_waiting(observer) < n)
		pause_for(NS_PER_MS);
	if (n == SESSIONS)
		print_row("observer's CPU with 100 sessions waiting", 100 * cpu_share(NS_PER_S), "% of a core");
	else
		pause_for(HOLD_NS);
	execute(blocker, "COMMIT");
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
	struct error err;
	struct sandbox *sb;
	char dir[64];
	if (mkdtemp(home) == NULL || chmod(home, 0755) != 0 || setenv("TMPDIR", home, 1) != 0)
		return 1;
	static const char *const SETTINGS[] = {"max_connections=200", NULL};
	if (sandbox_up(&(struct sandbox_config){.name = "observe", .standbys = 1, .settings = SETTINGS}, &sb, &err) != ST_OK) {
		fprintf(stderr, "%s\n", err.what);
		return 1;
	}
	const char *dsn = sandbox_dsn(sb), *standby = sandbox_standby_dsn(sb, 0), *name = sandbox_standby_name(sb, 0);
	PGconn *blocker = connect_as(dsn, "psql");
	execute(blocker, "CREATE TABLE users AS SELECT 1 AS id");
	for (int i = 0; i < SESSIONS; i++)
		sessions[i] = connect_as(dsn, "app");
	snprintf(dir, sizeof dir, "%s/record", home);
	struct record *record = record_create(dir, json_object(), &err);
	if (record == NULL ||
		observer_start(
			&(struct observer_config){
				.dsn = dsn, .standby_dsns = &standby, .standby_names = &name, .standbys = 1, .record = record},
			&observer, &err) != ST_OK)
		return 1;
	run_start_ns = record_start_ns(record);
	print_row("observer's CPU while nobody waits", 100 * cpu_share(3 * NS_PER_S), "% of a core");
	for (int i = 0; i < ROUNDS; i++)
		hold_once(blocker, i, i == ROUNDS - 1 ? SESSIONS : FEW);
	pause_for(100 * NS_PER_MS);
	struct observer_totals totals;
	if (observer_stop(observer, &totals, &err) != ST_OK)
		fprintf(stderr, "%s\n", err.what);
	if (record_finish(record, "finished", NULL, &err) != ST_OK)
		return 1;
	record_close(record);
	struct record_reader *reader;
	if (record_open(dir, &reader, &err) != ST_OK || reader_each(reader, "waits", compare, NULL, &err) != ST_OK)
		return 1;
	record_reader_free(reader);
	qsort(errors, (size_t)seen_n, sizeof errors[0], by_value);
	qsort(bounds, (size_t)seen_n, sizeof bounds[0], by_value);
	print_row("waits seen of those that took place", 100.0 * all_n / (SESSIONS + FEW * (ROUNDS - 1)), "%");
	print_row("end of a wait by sampling: error, median", errors[seen_n / 2], "ms");
	print_row("end of a wait by sampling: error, p99", errors[seen_n * 99 / 100], "ms");
	print_row("end of a wait by sampling: stated bound, p99", bounds[seen_n * 99 / 100], "ms");
	print_row("waits off by more than their bound and 1 ms", outside, "");
	print_row("ticks missed", 100.0 * (double)totals.missed / (double)(totals.samples + totals.missed), "%");
	for (int i = 0; i < SESSIONS; i++)
		PQfinish(sessions[i]);
	PQfinish(blocker);
	sandbox_down(sb, &err);
	sandbox_free(sb);
	return fs_remove_tree(home, NULL) == ST_OK ? 0 : 1;
}
