/* Rows a second of our data generator beside those of pgbench -i: the same tables on the same server, in turns. Built and run by
 * generate.sh; prints one JSON object a line as scripts/bench wants it. SCALE (10) and ROUNDS (5) in the environment. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "clone/sandbox.h"
#include "load/generate.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define ROUNDS_MAX 51

static char home[] = "/tmp/pgr-generate-XXXXXX";
static struct sandbox *sandbox;

static void die(const struct error *err)
{
	fprintf(stderr, "generate: %s: %s\n", err->where, err->what);
	sandbox_free(sandbox);
	exit(1);
}

static void ask(const char *sql)
{
	PGconn *conn = PQconnectdb(sandbox_dsn(sandbox));
	PGresult *res = PQexec(conn, sql);
	if (PQresultStatus(res) != PGRES_COMMAND_OK) {
		fprintf(stderr, "generate: %s\n", PQerrorMessage(conn));
		exit(1);
	}
	PQclear(res);
	PQfinish(conn);
}

/* Each round begins with no tables, and with nothing left to be written. */
static void clear(void)
{
	ask("SET client_min_messages = error; DROP TABLE IF EXISTS pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers");
	ask("CHECKPOINT");
}

static double our_seconds(double scale)
{
	struct error err;
	clear();
	int64_t start_ns = clock_now_ns();
	if (generate_data(sandbox_dsn(sandbox), "pgbench:tpcb-like", scale, 1, NULL, NULL, &err) != ST_OK)
		die(&err);
	return (double)(clock_now_ns() - start_ns) / 1e9;
}

static double their_seconds(double scale)
{
	struct error err;
	char pgbench[512], number[32];
	struct buf out;
	clear();
	buf_init(&out, 65536);
	snprintf(pgbench, sizeof pgbench, "%s/pgbench", sandbox_server_dir(sandbox));
	snprintf(number, sizeof number, "%g", scale);
	const char *const argv[] = {pgbench, "-i", "-q", "-s", number, sandbox_dsn(sandbox), NULL};
	int64_t start_ns = clock_now_ns();
	if (proc_check(&(struct proc_spec){.argv = argv, .timeout_ns = 600 * NS_PER_S}, &out, &err) != ST_OK)
		die(&err);
	buf_free(&out);
	return (double)(clock_now_ns() - start_ns) / 1e9;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double median(double *values, int n)
{
	qsort(values, (size_t)n, sizeof values[0], by_value);
	return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static double from_environment(const char *name, double usual)
{
	const char *text = getenv(name);
	double value = text != NULL ? strtod(text, NULL) : 0;
	return value > 0 ? value : usual;
}

int main(void)
{
	double scale = from_environment("SCALE", 10), ours[ROUNDS_MAX], theirs[ROUNDS_MAX];
	int rounds = (int)from_environment("ROUNDS", 5);
	struct error err;
	if (mkdtemp(home) == NULL || chmod(home, 0755) != 0 || setenv("TMPDIR", home, 1) != 0)
		return 1;
	if (sandbox_up(&(struct sandbox_config){.name = "generate"}, &sandbox, &err) != ST_OK)
		die(&err);
	for (int i = 0; i < rounds && i < ROUNDS_MAX; i++) {
		ours[i] = our_seconds(scale);
		theirs[i] = their_seconds(scale);
	}
	double rows = scale * (100000 + 10 + 1), us = median(ours, rounds), them = median(theirs, rounds);
	printf("{\"name\": \"pgbench's tables at scale %g, keys and VACUUM included: ours\", \"value\": %.0f, \"unit\": \"rows/s\"}\n",
		scale, rows / us);
	printf("{\"name\": \"pgbench's tables at scale %g, keys and VACUUM included: pgbench -i\", \"value\": %.0f, \"unit\": \"rows/s\"}\n",
		scale, rows / them);
	printf("{\"name\": \"seconds to make pgbench's tables at scale %g\", \"value\": %.3f, \"unit\": \"s\", \"peer\": \"pgbench -i\", "
	       "\"peer_value\": %.3f, \"limit\": 1}\n",
		scale, us, them);
	if (sandbox_down(sandbox, &err) != ST_OK)
		fprintf(stderr, "generate: %s\n", err.what);
	sandbox_free(sandbox);
	return fs_remove_tree(home, &err) == ST_OK ? 0 : 1;
}
