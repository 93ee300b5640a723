/* What being observed costs: throughput of pgbench's tpcb-like with 64 clients, and CPU a transaction, which tells more where others use
 * the machine too; with the observer and its probes and without, in interleaved pairs. Built and run by cost.sh; PAIRS and LENGTH (s) may be given. */
#define _GNU_SOURCE
#include "bench.h"

#include <dirent.h>
#include <sys/resource.h>

#define PAIRS_MAX 50
#define PROCESSED "number of transactions actually processed: "

static char command[2048];

/* One run of pgbench: its throughput, and what a transaction took of the processors on both servers, in pgbench and in the observer. */
struct pass {
	double tps, cpu_us;
};

/* What of /proc/PID/stat matters, times in s; false when there is no such process. */
static bool read_stat(const char *pid, long *parent, double *own, double *reaped)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%s/stat", pid);
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return false;
	const char *after = fgets(text, sizeof text, f) != NULL ? strrchr(text, ')') : NULL;
	fclose(f);
	if (after == NULL || strlen(after) < 4)
		return false;
	long numbers[18] = {0}; /* as proc(5) counts them; the third is the letter behind the name */
	char *rest = text + (after - text) + 4;
	for (int i = 4; i <= 17; i++)
		numbers[i] = strtol(rest, &rest, 10);
	*parent = numbers[4];
	*own = (double)(numbers[14] + numbers[15]) / (double)sysconf(_SC_CLK_TCK);
	*reaped = (double)(numbers[16] + numbers[17]) / (double)sysconf(_SC_CLK_TCK);
	return true;
}

/* CPU seconds of a server: its first process, those that this has seen end, and those that it has. */
static double tree_cpu(long first)
{
	char pid[32];
	long parent;
	double sum = 0, own, reaped;
	snprintf(pid, sizeof pid, "%ld", first);
	if (read_stat(pid, &parent, &own, &reaped))
		sum = own + reaped;
	DIR *proc = opendir("/proc");
	const struct dirent *entry;
	while (proc != NULL && (entry = readdir(proc)) != NULL) /* NOLINT(concurrency-mt-unsafe) */
		if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && read_stat(entry->d_name, &parent, &own, &reaped) &&
			parent == first)
			sum += own;
	if (proc != NULL)
		closedir(proc);
	return sum;
}

static long servers[2];

static long first_process_of(PGconn *conn)
{
	char pid[32];
	long parent = 0;
	double own, reaped;
	snprintf(pid, sizeof pid, "%d", PQbackendPID(conn));
	if (!read_stat(pid, &parent, &own, &reaped))
		bench_fail("a server's processes are not to be seen");
	return parent;
}

static double usage_of(int who)
{
	struct rusage u;
	getrusage(who, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double cpu_now(void)
{
	return tree_cpu(servers[0]) + tree_cpu(servers[1]) + usage_of(RUSAGE_SELF) + usage_of(RUSAGE_CHILDREN);
}

static struct pass run_pgbench(void)
{
	char line[256];
	double tps = 0, transactions = 0, before = cpu_now();
	FILE *out = popen(command, "re"); /* NOLINT(cert-env33-c): our own words */
	while (out != NULL && fgets(line, sizeof line, out) != NULL) {
		if (strncmp(line, "tps = ", 6) == 0)
			tps = strtod(line + 6, NULL);
		if (strncmp(line, PROCESSED, sizeof PROCESSED - 1) == 0)
			transactions = strtod(line + sizeof PROCESSED - 1, NULL);
	}
	if (out == NULL || pclose(out) != 0 || tps <= 0 || transactions <= 0)
		bench_fail("pgbench failed");
	return (struct pass){tps, (cpu_now() - before) / transactions * 1e6};
}

static double number_of(const char *name, double otherwise)
{
	const char *text = getenv(name);
	return text != NULL ? strtod(text, NULL) : otherwise;
}

/* CPU seconds that processes of a server which serve the observer have used; that they are on this machine is the sandbox's doing. */
static double observer_cpu(PGconn *conn)
{
	double sum = 0, own, reaped;
	long parent;
	PGresult *r = PQexec(conn, "SELECT pid, left(query, 60) FROM pg_stat_activity WHERE application_name LIKE 'pgrehearse observer%'");
	for (int i = 0; i < PQntuples(r); i++) {
		if (!read_stat(PQgetvalue(r, i, 0), &parent, &own, &reaped))
			continue;
		sum += own;
		if (getenv("VERBOSE") != NULL)
			fprintf(stderr, "%6.2f s of CPU: %s\n", own, PQgetvalue(r, i, 1));
	}
	PQclear(r);
	return sum;
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
	PGconn *standby = bench_connect(sandbox_standby_dsn(bench_sandbox, 0), "psql");
	servers[0] = first_process_of(conn);
	servers[1] = first_process_of(standby);
	run_pgbench();
	double ratios[PAIRS_MAX], with[PAIRS_MAX], without[PAIRS_MAX], shares[PAIRS_MAX], rates[PAIRS_MAX], of_server[PAIRS_MAX];
	double cpu[PAIRS_MAX], added[PAIRS_MAX];
	for (int i = 0; i < pairs && i < PAIRS_MAX; i++) {
		struct pass seen = {0}, alone = {0};
		for (int k = 0; k < 2; k++) {
			bool observed = (i + k) % 2 != 0;
			bench_execute(conn, "CHECKPOINT"); /* else who writes full pages is a matter of luck */
			if (observed)
				bench_observe(1);
			bench_pause(NS_PER_S); /* beginning to observe is not what is measured: it is done once */
			if (!observed) {
				alone = run_pgbench();
				continue;
			}
			struct observer_totals totals;
			int64_t from_ns = clock_now_ns();
			double from = observer_cpu(conn) + observer_cpu(standby);
			seen = run_pgbench();
			of_server[i] = (observer_cpu(conn) + observer_cpu(standby) - from) * 1e11 / (double)(clock_now_ns() - from_ns);
			bench_stop_observing(&totals);
			double seconds = (double)(clock_now_ns() - from_ns) / 1e9;
			shares[i] = (double)totals.cpu_ns / 1e7 / seconds;
			rates[i] = (double)totals.statements / seconds;
		}
		with[i] = seen.tps;
		without[i] = alone.tps;
		ratios[i] = seen.tps / alone.tps;
		cpu[i] = alone.cpu_us;
		added[i] = 100 * (seen.cpu_us / alone.cpu_us - 1);
		if (getenv("VERBOSE") != NULL)
			fprintf(stderr, "%.0f of %.0f tps: %.3f; %.1f and %.1f us of CPU: %+.2f %%\n", seen.tps, alone.tps, ratios[i],
				seen.cpu_us, alone.cpu_us, added[i]);
	}
	PQfinish(standby);
	PQfinish(conn);
	bench_row("tpcb-like, 64 clients, not observed", bench_median(without, pairs), "tps");
	bench_row("tpcb-like, 64 clients, observed", bench_median(with, pairs), "tps");
	bench_bar("cost of being observed, median of pairs", 100 * (1 - bench_median(ratios, pairs)), "%", 2);
	bench_row("CPU of a transaction, not observed", bench_median(cpu, pairs), "us");
	bench_row("what being observed adds to that, median of pairs", bench_median(added, pairs), "%");
	double direct = (bench_median(shares, pairs) + bench_median(of_server, pairs)) / (double)sysconf(_SC_NPROCESSORS_ONLN);
	bench_row("observer's CPU while 64 clients work", bench_median(shares, pairs), "% of a core");
	bench_row("CPU of the servers for the observer meanwhile", bench_median(of_server, pairs), "% of a core");
	bench_row("both together", direct, "% of the machine");
	bench_row("observer's statements", bench_median(rates, pairs), "/s");
	return bench_sandbox_down();
}
