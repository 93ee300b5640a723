/* Availability windows against locks of known length, while other sessions are at work on the same tables. Built and run by
 * availability.sh; prints one JSON object a line as scripts/bench wants it. */
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

#define TABLES 16
#define ROUNDS 20

static char home[] = "/tmp/pgr-bench-XXXXXX";
static struct observer *observer;

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

/* A lock is granted somewhere within its statement's round trip, and released within the commit's: its middle is the truth. */
static struct {
	int64_t from_ns, to_ns;
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
	if (llabs(length_ns - truth_ns) > json_get_int(line, "bound_ns", 0))
		outside++;
	seen_n++;
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

static void hold_once(PGconn *blocker, int round)
{
	int64_t a = clock_now_ns();
	execute(blocker, "BEGIN; LOCK TABLE t0 IN ACCESS EXCLUSIVE MODE");
	int64_t b = clock_now_ns();
	pause_for((50 + 37 * (round % 7)) * NS_PER_MS);
	int64_t c = clock_now_ns();
	execute(blocker, "COMMIT");
	truths[round].from_ns = a + (b - a) / 2;
	truths[round].to_ns = c + (clock_now_ns() - c) / 2;
	pause_for((60 + 13 * (round % 5)) * NS_PER_MS);
}

/* Longest of many requests for a lock that the probes' own stand against: what a migration's request would wait behind them. */
static void measure_delay(PGconn *conn)
{
	double waits[500];
	for (int i = 0; i < 500; i++) {
		int64_t from = clock_now_ns();
		execute(conn, "BEGIN; LOCK TABLE t1 IN ACCESS EXCLUSIVE MODE; ROLLBACK");
		waits[i] = (double)(clock_now_ns() - from) / 1e6;
		pause_for(3 * NS_PER_MS);
	}
	qsort(waits, 500, sizeof waits[0], by_value);
	print_row("ACCESS EXCLUSIVE beside the probes: median", waits[250], "ms");
	print_row("ACCESS EXCLUSIVE beside the probes: p99", waits[495], "ms");
}

int main(void)
{
	struct error err;
	struct sandbox *sb;
	char dir[64];
	if (mkdtemp(home) == NULL || chmod(home, 0755) != 0 || setenv("TMPDIR", home, 1) != 0)
		return 1;
	if (sandbox_up(&(struct sandbox_config){.name = "availability"}, &sb, &err) != ST_OK) {
		fprintf(stderr, "%s\n", err.what);
		return 1;
	}
	const char *dsn = sandbox_dsn(sb);
	PGconn *conn = connect_as(dsn, "psql");
	for (int i = 0; i < TABLES; i++) {
		char sql[64];
		snprintf(sql, sizeof sql, "CREATE TABLE t%d (id int)", i);
		execute(conn, sql);
	}
	snprintf(dir, sizeof dir, "%s/record", home);
	struct record *record = record_create(dir, json_object(), &err);
	if (record == NULL || observer_start(&(struct observer_config){.dsn = dsn, .record = record}, &observer, &err) != ST_OK)
		return 1;
	run_start_ns = record_start_ns(record);
	print_row("observer's CPU without a table to probe", 100 * cpu_share(2 * NS_PER_S), "% of a core");
	while (observer_tables(observer) < TABLES) {
		for (int i = 0; i < TABLES; i++) {
			char sql[64];
			snprintf(sql, sizeof sql, "INSERT INTO t%d VALUES (1)", i);
			execute(conn, sql);
		}
		pause_for(100 * NS_PER_MS);
	}
	print_row("observer's CPU with 16 tables probed", 100 * cpu_share(2 * NS_PER_S), "% of a core");
	for (int i = 0; i < ROUNDS; i++)
		hold_once(conn, i);
	execute(conn, "BEGIN; LOCK TABLE t2 IN ACCESS EXCLUSIVE MODE");
	print_row("observer's CPU with 16 tables probed, one locked", 100 * cpu_share(2 * NS_PER_S), "% of a core");
	execute(conn, "COMMIT");
	pause_for(50 * NS_PER_MS);
	measure_delay(conn);
	if (observer_stop(observer, NULL, &err) != ST_OK)
		fprintf(stderr, "%s\n", err.what);
	if (record_finish(record, "finished", NULL, &err) != ST_OK)
		return 1;
	record_close(record);
	struct record_reader *reader;
	if (record_open(dir, &reader, &err) != ST_OK || reader_each(reader, "windows", compare, NULL, &err) != ST_OK)
		return 1;
	const json_t *summary = json_object_get(reader_run(reader), "availability");
	double rounds = (double)json_get_int(summary, "rounds", 1);
	qsort(start_errors, (size_t)seen_n, sizeof start_errors[0], by_value);
	qsort(end_errors, (size_t)seen_n, sizeof end_errors[0], by_value);
	print_row("windows seen of those that there were", 100.0 * seen_n / ROUNDS, "%");
	if (seen_n > 0) {
		print_row("begin of a window: error, median", start_errors[seen_n / 2], "ms");
		print_row("begin of a window: error, largest (a probe comes every 10 ms)", start_errors[seen_n - 1], "ms");
		print_row("end of a window: error, median", end_errors[seen_n / 2], "ms");
		print_row("end of a window: error, largest (a probe comes every 5 ms)", end_errors[seen_n - 1], "ms");
	}
	print_row("windows off by more than their bound", outside, "");
	print_row("rounds missed", 100.0 * (double)json_get_int(summary, "missed", 0) / rounds, "%");
	print_row("a round from its sending to its answer, mean", (double)json_get_int(summary, "held_ns", 0) / 1e6 / rounds, "ms");
	record_reader_free(reader);
	PQfinish(conn);
	sandbox_down(sb, &err);
	sandbox_free(sb);
	return fs_remove_tree(home, NULL) == ST_OK ? 0 : 1;
}
