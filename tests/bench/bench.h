/* What benchmarks of the observer share: a sandbox and a record in a folder that goes, libpq without ceremony, rows as scripts/bench wants them. */
#ifndef PGR_TESTS_BENCH_H
#define PGR_TESTS_BENCH_H

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

static char bench_home[32];
static struct sandbox *bench_sandbox;
static const char *bench_dsn;
static struct record *bench_record;
static struct observer *bench_observer;
static char bench_dir[64]; /* of the record */

static inline void bench_pause(int64_t ns)
{
	struct timespec t = {ns / NS_PER_S, ns % NS_PER_S};
	nanosleep(&t, NULL);
}

static inline void bench_fail(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static inline PGconn *bench_connect(const char *dsn, const char *name)
{
	const char *keys[] = {"dbname", "application_name", NULL};
	const char *values[] = {dsn, name, NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(conn) != CONNECTION_OK)
		bench_fail(PQerrorMessage(conn));
	return conn;
}

static inline void bench_execute(PGconn *conn, const char *sql)
{
	PGresult *r = PQexec(conn, sql);
	if (PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
		bench_fail(PQerrorMessage(conn));
	PQclear(r);
}

static inline void bench_sandbox_make(const struct sandbox_config *config)
{
	struct error err;
	snprintf(bench_home, sizeof bench_home, "/tmp/pgr-bench-XXXXXX");
	if (mkdtemp(bench_home) == NULL || chmod(bench_home, 0755) != 0 || setenv("TMPDIR", bench_home, 1) != 0)
		bench_fail("no temporary folder");
	if (sandbox_up(config, &bench_sandbox, &err) != ST_OK)
		bench_fail(err.what);
	bench_dsn = sandbox_dsn(bench_sandbox);
}

static inline void bench_sandbox_up(const char *name, int standbys, const char *const *settings)
{
	bench_sandbox_make(&(struct sandbox_config){.name = name, .standbys = standbys, .settings = settings});
}

static inline int bench_sandbox_down(void)
{
	struct error err;
	sandbox_down(bench_sandbox, &err);
	sandbox_free(bench_sandbox);
	return fs_remove_tree(bench_home, NULL) == ST_OK ? 0 : 1;
}

/* Watches the standby too where there is one. */
static inline void bench_observe(int standbys)
{
	static int runs;
	struct error err;
	const char *standby = standbys > 0 ? sandbox_standby_dsn(bench_sandbox, 0) : NULL;
	const char *name = standbys > 0 ? sandbox_standby_name(bench_sandbox, 0) : NULL;
	snprintf(bench_dir, sizeof bench_dir, "%s/record-%d", bench_home, ++runs);
	bench_record = record_create(bench_dir, json_object(), &err);
	if (bench_record == NULL ||
		observer_start(&(struct observer_config){.dsn = bench_dsn,
				       .standby_dsns = &standby,
				       .standby_names = &name,
				       .standbys = standbys,
				       .record = bench_record},
			&bench_observer, &err) != ST_OK)
		bench_fail(err.what);
}

static inline void bench_stop_observing(struct observer_totals *totals)
{
	struct error err;
	if (observer_stop(bench_observer, totals, &err) != ST_OK)
		fprintf(stderr, "%s\n", err.what);
	if (record_finish(bench_record, "finished", NULL, &err) != ST_OK)
		bench_fail(err.what);
	record_close(bench_record);
}

/* Calls line for each line of a file of the record ("waits"); run (may be NULL) for run.json. */
static inline void bench_read(const char *file, bool (*line)(const json_t *line, void *arg), void (*run)(const json_t *run))
{
	struct error err;
	struct record_reader *reader;
	if (record_open(bench_dir, &reader, &err) != ST_OK || reader_each(reader, file, line, NULL, &err) != ST_OK)
		bench_fail(err.what);
	if (run != NULL)
		run(reader_run(reader));
	record_reader_free(reader);
}

/* The observer's share of a core over so long. */
static inline double bench_cpu_share(int64_t for_ns)
{
	struct observation seen;
	observer_collect(bench_observer, &seen);
	bench_pause(for_ns);
	observer_collect(bench_observer, &seen);
	return seen.cpu_share;
}

static inline int bench_by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static inline double bench_median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof values[0], bench_by_value);
	return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static inline void bench_row(const char *name, double value, const char *unit)
{
	printf("{\"name\": \"%s\", \"value\": %.4g, \"unit\": \"%s\"}\n", name, value, unit);
	fflush(stdout);
}

/* One that must not be above `most`. */
static inline void bench_bar(const char *name, double value, const char *unit, double most)
{
	printf("{\"name\": \"%s\", \"value\": %.4g, \"unit\": \"%s\", \"peer\": \"at most\", \"peer_value\": %.4g, \"limit\": 1}\n", name,
		value, unit, most);
	fflush(stdout);
}

/* One that is broken when not all were. */
static inline void bench_all(const char *name, int all, const char *were, int n)
{
	printf("{\"name\": \"%s\", \"value\": %d, \"unit\": \"\", \"peer\": \"%s\", \"peer_value\": %d, \"limit\": 1}\n", name, all, were,
		n);
	fflush(stdout);
}

#endif
