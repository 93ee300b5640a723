/* What being observed costs: throughput of pgbench's tpcb-like with 64 clients, with the observer and its probes and without, in
 * interleaved pairs. Built and run by cost.sh; PAIRS and LENGTH (s) may be given. */
#define _GNU_SOURCE
#include "bench.h"

#define PAIRS_MAX 50

static char command[2048];

/* Transactions per second of one run. */
static double run_pgbench(void)
{
	char line[256];
	double tps = 0;
	FILE *out = popen(command, "re"); /* NOLINT(cert-env33-c): our own words */
	while (out != NULL && fgets(line, sizeof line, out) != NULL)
		if (strncmp(line, "tps = ", 6) == 0)
			tps = strtod(line + 6, NULL);
	if (out == NULL || pclose(out) != 0 || tps <= 0)
		bench_fail("pgbench failed");
	return tps;
}

static double number_of(const char *name, double otherwise)
{
	const char *text = getenv(name);
	return text != NULL ? strtod(text, NULL) : otherwise;
}

/* CPU seconds that server processes which serve the observer have used; that they are on this machine is the sandbox's doing. */
static double server_cpu(PGconn *conn)
{
	double ticks = 0;
	PGresult *r = PQexec(conn, "SELECT pid, left(query, 60) FROM pg_stat_activity WHERE application_name LIKE 'pgrehearse observer%'");
	for (int i = 0; i < PQntuples(r); i++) {
		char path[64], text[512];
		snprintf(path, sizeof path, "/proc/%s/stat", PQgetvalue(r, i, 0));
		FILE *f = fopen(path, "re");
		if (f == NULL)
			continue;
		const char *after = fgets(text, sizeof text, f) != NULL ? strrchr(text, ')') : NULL;
		long user, system;
		/* NOLINTNEXTLINE(cert-err34-c) */
		int n = after == NULL ? 0 : sscanf(after, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld", &user, &system);
		if (n == 2) {
			ticks += (double)(user + system);
			if (getenv("VERBOSE") != NULL)
				fprintf(stderr, "%6ld ticks of CPU: %s\n", user + system, PQgetvalue(r, i, 1));
		}
		fclose(f);
	}
	PQclear(r);
	return ticks / (double)sysconf(_SC_CLK_TCK);
}

int main(void)
{
	static const char *const SETTINGS[] = {
		"max_connections=120", "shared_buffers=512MB", "max_wal_size=16GB", "checkpoint_timeout=1h", "autovacuum=off", NULL};
	int pairs = (int)number_of("PAIRS", 7), length = (int)number_of("LENGTH", 8);
	bench_sandbox_up("cost", 1, SETTINGS);
	PGconn *conn = bench_connect(bench_dsn, "psql");
	PGresult *r = PQexec(conn, "SELECT setting FROM pg_config WHERE name = 'BINDIR'");
	snprintf(command, sizeof command, "'%s/pgbench' -i -q -s 70 '%s' 2>/dev/null >/dev/null", PQgetvalue(r, 0, 0), bench_dsn);
	if (system(command) != 0) /* NOLINT(cert-env33-c): our own words */
		bench_fail("pgbench -i failed");
	snprintf(command, sizeof command, "'%s/pgbench' -n -M prepared -c 64 -j 2 -T %d '%s' 2>/dev/null", PQgetvalue(r, 0, 0), length,
		bench_dsn);
	PQclear(r);
	run_pgbench();
	double ratios[PAIRS_MAX], with[PAIRS_MAX], without[PAIRS_MAX], shares[PAIRS_MAX], rates[PAIRS_MAX], servers[PAIRS_MAX];
	for (int i = 0; i < pairs && i < PAIRS_MAX; i++) {
		for (int k = 0; k < 2; k++) {
			bench_execute(conn, "CHECKPOINT"); /* else who writes full pages is a matter of luck */
			if ((i + k) % 2 == 0) {
				without[i] = run_pgbench();
				continue;
			}
			struct observer_totals totals;
			int64_t from_ns = clock_now_ns();
			bench_observe(1);
			with[i] = run_pgbench();
			servers[i] = server_cpu(conn) * 1e11 / (double)(clock_now_ns() - from_ns);
			bench_stop_observing(&totals);
			double seconds = (double)(clock_now_ns() - from_ns) / 1e9;
			shares[i] = (double)totals.cpu_ns / 1e7 / seconds;
			rates[i] = (double)totals.statements / seconds;
		}
		ratios[i] = with[i] / without[i];
		if (getenv("VERBOSE") != NULL)
			fprintf(stderr, "%.0f of %.0f tps: %.3f\n", with[i], without[i], ratios[i]);
	}
	PQfinish(conn);
	bench_row("tpcb-like, 64 clients, not observed", bench_median(without, pairs), "tps");
	bench_row("tpcb-like, 64 clients, observed", bench_median(with, pairs), "tps");
	bench_bar("cost of being observed, median of pairs", 100 * (1 - bench_median(ratios, pairs)), "%", 2);
	bench_row("observer's CPU while 64 clients work", bench_median(shares, pairs), "% of a core");
	bench_row("CPU of the server for the observer meanwhile", bench_median(servers, pairs), "% of a core");
	bench_row("observer's statements", bench_median(rates, pairs), "/s");
	return bench_sandbox_down();
}
