/* What thousands of open sessions in one process take: connects SESSIONS (5000) of them to the fake server, which is another process,
 * and lets all of them work. Built and run by sessions.sh; prints one JSON object a line as scripts/bench wants it. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "load/engine.h"
#include "fake/fakepg.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RATE 2000

static void die(const struct error *err)
{
	fprintf(stderr, "sessions: %s: %s\n", err->where, err->what);
	exit(1);
}

/* Never returns. Its words on out: the connection string. */
static void serve(int out)
{
	struct error err;
	struct fakepg *fake;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fakepg_start("", &fake, &err) != ST_OK)
		die(&err);
	const char *dsn = fakepg_dsn(fake);
	if (write(out, dsn, strlen(dsn) + 1) < 0)
		exit(1);
	close(out);
	for (;;)
		pause();
}

static pid_t start_server(char dsn[512])
{
	int ends[2];
	struct rlimit files;
	/* Before anything else: both sides need a descriptor a session. */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (pipe(ends) != 0)
		exit(1);
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		close(ends[0]);
		serve(ends[1]);
	}
	close(ends[1]);
	size_t n = 0;
	for (ssize_t got; n < 511 && (got = read(ends[0], dsn + n, 511 - n)) > 0;)
		n += (size_t)got;
	dsn[n] = '\0';
	close(ends[0]);
	return pid;
}

static double resident_kb(void)
{
	char line[256];
	double kb = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (f != NULL && fgets(line, sizeof line, f) != NULL)
		if (strncmp(line, "VmRSS:", 6) == 0)
			kb = strtod(line + 6, NULL);
	if (f != NULL)
		fclose(f);
	return kb;
}

int main(void)
{
	char dsn[512], workload[] = "/tmp/pgr-sessions-XXXXXX.lua";
	const char *wanted = getenv("SESSIONS");
	int sessions = wanted != NULL ? (int)strtol(wanted, NULL, 10) : 5000;
	pid_t server = start_server(dsn);
	int fd = mkstemps(workload, 4);
	FILE *f = fdopen(fd, "w");
	if (f == NULL)
		return 1;
	fputs("return { name = 'w', schema = '', generate = {}, statements = { one = 'SELECT 1' }, "
	      "transactions = { one = { run = function(c) c:exec('one') end } } }\n",
		f);
	fclose(f);

	struct error err;
	struct load *load;
	struct load_totals totals;
	struct load_config config = {.dsn = dsn,
		.workload_path = workload,
		.scale = 1,
		.seed = 1,
		.rate = RATE,
		.pods = 10,
		.pool = sessions / 10,
		.workers = 1};
	double before_kb = resident_kb();
	int64_t start_ns = clock_now_ns();
	if (load_create(&config, &load, &err) != ST_OK || load_connect(load, 60 * NS_PER_S, &err) != ST_OK)
		die(&err);
	double connected_s = (double)(clock_now_ns() - start_ns) / 1e9;
	int *pids = calloc((size_t)sessions, sizeof *pids);
	int open = pids != NULL ? load_pids(load, pids, sessions) : 0;
	struct load_interval *in = load_interval_create(load);
	load_start(load, clock_now_ns());
	load_collect(load, in);
	uint64_t refused = in->reconnects; /* of the first attempts: the server's queue is shorter than this */
	/* Whoever has been idle the longest is next: after so many arrivals each has worked. */
	int64_t work_ns = 2 * NS_PER_S + (int64_t)sessions * NS_PER_S / RATE * 2;
	nanosleep(&(struct timespec){work_ns / NS_PER_S, work_ns % NS_PER_S}, NULL);
	double after_kb = resident_kb();
	load_collect(load, in);
	load_stop(load, 2 * NS_PER_S, &totals);
	printf("{\"name\": \"open sessions in one process\", \"value\": %d, \"unit\": \"\", \"peer\": \"asked for\", \"peer_value\": %d}\n",
		open, sessions);
	printf("{\"name\": \"sessions that were not connected, or lost\", \"value\": %d, \"unit\": \"\", \"peer\": \"allowed\", \"peer_value\": 0.5, "
	       "\"limit\": 1}\n",
		sessions - open + (int)in->reconnects);
	printf("{\"name\": \"attempts that were refused while they connected, and repeated\", \"value\": %llu, \"unit\": \"\"}\n",
		(unsigned long long)refused);
	printf("{\"name\": \"connecting them took\", \"value\": %.3g, \"unit\": \"s\"}\n", connected_s);
	printf("{\"name\": \"resident memory with all of them\", \"value\": %.0f, \"unit\": \"kB\"}\n", after_kb);
	printf("{\"name\": \"memory of each session, libpq's buffers included\", \"value\": %.1f, \"unit\": \"kB\"}\n",
		(after_kb - before_kb) / sessions);
	printf("{\"name\": \"failed or unfinished of %llu transactions\", \"value\": %llu, \"unit\": \"\", \"peer\": \"allowed\", \"peer_value\": 0.5, "
	       "\"limit\": 1}\n",
		(unsigned long long)totals.started, (unsigned long long)totals.failed + totals.unfinished);
	free(pids);
	load_interval_free(in);
	load_free(load);
	unlink(workload);
	kill(server, SIGKILL);
	waitpid(server, NULL, 0);
	return 0;
}
