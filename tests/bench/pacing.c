/* How well the load keeps to its plan: pacing schedule | rate | freeze, each on a sandbox of its own. Built and run by
 * schedule.sh, rate.sh and freeze.sh; prints one JSON object a line as scripts/bench wants it. BENCH_SECONDS and BENCH_ROUNDS in the
 * environment make it shorter. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/proc.h"
#include "base/fs.h"
#include "clone/sandbox.h"
#include "load/engine.h"
#include "load/plan.h"
#include "measure/hist.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char home[] = "/tmp/pgr-pacing-XXXXXX";
static char workload[64];
static struct sandbox *sandbox;

static void die(const struct error *err)
{
	fprintf(stderr, "pacing: %s: %s\n", err->where, err->what);
	sandbox_free(sandbox);
	exit(1);
}

static int64_t from_environment(const char *name, int64_t usual)
{
	const char *text = getenv(name);
	long value = text != NULL ? strtol(text, NULL, 10) : 0;
	return value > 0 ? value : usual;
}

static void pause_for(int64_t ns)
{
	nanosleep(&(struct timespec){ns / NS_PER_S, ns % NS_PER_S}, NULL);
}

static void print_figure(const char *name, double value, const char *unit)
{
	printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\"}\n", name, value, unit);
}

static void print_against(const char *name, double value, const char *unit, const char *peer, double peer_value, double limit)
{
	printf("{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"peer\": \"%s\", \"peer_value\": %.6g", name, value, unit, peer,
		peer_value);
	if (limit > 0)
		printf(", \"limit\": %g", limit);
	printf("}\n");
	fflush(stdout);
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

/* statement: the only one, executed once a transaction. */
static void write_workload(const char *statement)
{
	FILE *f = fopen(workload, "w");
	if (f == NULL)
		exit(1);
	fprintf(f,
		"return { name = 'w', schema = '', generate = {}, statements = { one = [[%s]] },\n"
		"transactions = { one = { run = function(c) c:exec('one') end } } }\n",
		statement);
	fclose(f);
}

static void start(const char *statement)
{
	struct error err;
	if (mkdtemp(home) == NULL || chmod(home, 0755) != 0 || setenv("TMPDIR", home, 1) != 0)
		exit(1);
	snprintf(workload, sizeof workload, "%s/w.lua", home);
	write_workload(statement);
	if (sandbox_up(&(struct sandbox_config){.name = "pacing"}, &sandbox, &err) != ST_OK)
		die(&err);
}

static void end(void)
{
	struct error err;
	if (sandbox_down(sandbox, &err) != ST_OK)
		fprintf(stderr, "pacing: %s\n", err.what);
	sandbox_free(sandbox);
	if (fs_remove_tree(home, &err) != ST_OK)
		fprintf(stderr, "pacing: %s\n", err.what);
}

/* Times at which each was sent, told by the one worker for statements of a millisecond or longer. */
static struct {
	double *at;
	int n, most;
} sent;

static void note_sent(const struct load_slow *slow, void *arg)
{
	(void)arg;
	if (sent.n < sent.most)
		sent.at[sent.n++] = (double)slow->sent_ns / 1e9;
}

static struct load *make_load(double rate, bool even, int sessions, uint64_t seed)
{
	struct load_config config = {.dsn = sandbox_dsn(sandbox),
		.workload_path = workload,
		.scale = 1,
		.seed = seed,
		.rate = rate,
		.even = even,
		.pods = 1,
		.pool = sessions,
		.workers = 1,
		.slow = note_sent};
	struct load *load = NULL;
	struct error err;
	if (load_create(&config, &load, &err) != ST_OK || load_connect(load, 30 * NS_PER_S, &err) != ST_OK)
		die(&err);
	return load;
}

/* ---- schedule: how late arrivals are sent though a session is idle, beside the lag that pgbench -R reports ---- */

#define SCHEDULE_RATE 20000
#define SCHEDULE_SESSIONS 16

static void our_lag(int64_t seconds, uint64_t seed, double *p50_us, double *p99_us)
{
	struct load *load = make_load(SCHEDULE_RATE, false, SCHEDULE_SESSIONS, seed);
	struct load_interval *in = load_interval_create(load);
	struct load_totals totals;
	load_start(load, clock_now_ns());
	pause_for(NS_PER_S / 2);
	load_collect(load, in);
	pause_for(seconds * NS_PER_S);
	load_collect(load, in);
	*p50_us = (double)hist_quantile(in->schedule_error, 0.5) / 1e3;
	*p99_us = (double)hist_quantile(in->schedule_error, 0.99) / 1e3;
	load_stop(load, NS_PER_S, &totals);
	load_interval_free(in);
	load_free(load);
}

/* A loop that does nothing but wake up for the same arrivals: what this machine allows, just now. */
static void wake_up_for(double rate, uint64_t seed, int64_t seconds, void (*note)(int64_t due_ns, int64_t now_ns, void *arg), void *arg)
{
	struct rate_program program;
	struct plan *plan = NULL;
	struct plan_cursor cursor = {0};
	struct arrival a;
	struct error err = {0};
	if (rate_constant(rate, &program, &err) != ST_OK || plan_create(seed, &program, false, &plan, &err) != ST_OK)
		die(&err);
	prctl(PR_SET_TIMERSLACK, 1UL);
	int fd = epoll_create1(EPOLL_CLOEXEC);
	int64_t start_ns = clock_now_ns(), now;
	plan_start(plan, start_ns);
	while ((now = clock_now_ns()) < start_ns + seconds * NS_PER_S) {
		while (plan_claim(plan, &cursor, now, &a))
			note(a.due_ns, now, arg);
		int64_t wait_ns = cursor.due_ns - clock_now_ns();
		struct timespec timeout = {.tv_nsec = wait_ns > 0 && wait_ns < NS_PER_S ? wait_ns : 0};
		struct epoll_event event;
		epoll_pwait2(fd, &event, 1, &timeout, NULL);
	}
	close(fd);
	plan_free(plan);
}

static void note_lag(int64_t due_ns, int64_t now_ns, void *lag)
{
	hist_record(lag, now_ns - due_ns);
}

static void bare_lag(int64_t seconds, uint64_t seed, double *p50_us, double *p99_us)
{
	struct hist *lag = hist_create();
	if (lag == NULL)
		exit(1);
	wake_up_for(SCHEDULE_RATE, seed, seconds, note_lag, lag);
	*p50_us = (double)hist_quantile(lag, 0.5) / 1e3;
	*p99_us = (double)hist_quantile(lag, 0.99) / 1e3;
	hist_free(lag);
}

/* pgbench's own figure: its log's last column, in microseconds, with the latency from the schedule before it. */
static bool pgbench_lag(int64_t seconds, double *p50_us, double *p99_us)
{
	char command[1024], path[96];
	snprintf(path, sizeof path, "%s/one.sql", home);
	FILE *f = fopen(path, "w");
	if (f == NULL)
		return false;
	fputs("SELECT 1;\n", f);
	fclose(f);
	snprintf(command, sizeof command,
		"cd %s && rm -f lag.* && %s/pgbench -n -M prepared -f one.sql -R %d -c %d -j 1 -T %d -l --log-prefix=lag '%s' >pgbench.out 2>&1 && "
		"awk '{print $NF}' lag.* | sort -n | awk '{v[NR] = $1} END {print v[int(NR * 0.5) + 1], v[int(NR * 0.99) + 1]}'",
		home, sandbox_server_dir(sandbox), SCHEDULE_RATE, SCHEDULE_SESSIONS, (int)seconds, sandbox_dsn(sandbox));
	struct buf out;
	struct error err;
	buf_init(&out, 4096);
	const char *const argv[] = {"sh", "-c", command, NULL};
	bool read = proc_check(&(struct proc_spec){.argv = argv}, &out, &err) == ST_OK;
	char *end = out.data, *last = out.data;
	if (read) {
		*p50_us = strtod(out.data, &end);
		*p99_us = strtod(end, &last);
	}
	read = read && end > out.data && last > end;
	buf_free(&out);
	return read;
}

static void bench_schedule(void)
{
	enum { MOST = 51 };
	int64_t seconds = from_environment("BENCH_SECONDS", 5), rounds = from_environment("BENCH_ROUNDS", 5);
	double p50[MOST], p99[MOST], bare_p50[MOST], bare_p99[MOST], their_p50[MOST], their_p99[MOST];
	start("SELECT 1");
	int n = 0;
	bool pgbench = true;
	for (; n < rounds && n < MOST; n++) {
		our_lag(seconds, (uint64_t)n, &p50[n], &p99[n]);
		bare_lag(seconds, (uint64_t)n, &bare_p50[n], &bare_p99[n]);
		pgbench = pgbench && pgbench_lag(seconds, &their_p50[n], &their_p99[n]);
	}
	double our_p50 = median(p50, n), our_p99 = median(p99, n);
	print_against("schedule error at 20,000/s, p50", our_p50, "us", "the bar", 20, 1);
	print_against("schedule error at 20,000/s, p99", our_p99, "us", "the bar", 200, 1);
	print_against("schedule error at 20,000/s, p50", our_p50, "us", "a loop that only wakes up", median(bare_p50, n), 0);
	print_against("schedule error at 20,000/s, p99", our_p99, "us", "a loop that only wakes up", median(bare_p99, n), 0);
	if (pgbench) {
		print_against("schedule error at 20,000/s, p50", our_p50, "us", "lag of pgbench -R", median(their_p50, n), 0);
		print_against("schedule error at 20,000/s, p99", our_p99, "us", "lag of pgbench -R", median(their_p99, n), 0);
	}
	end();
}

/* ---- rate: mean rate, gaps and counts ---- */

/* |count - mean| in units of what is allowed: max(0.1 %, 3 / sqrt(mean)). */
static double deviation(double count, double mean)
{
	return fabs(count / mean - 1) / fmax(0.001, 3 / sqrt(mean));
}

static void check_plan(double rate)
{
	struct rate_program program;
	struct plan *plan = NULL;
	struct plan_cursor cursor = {0};
	struct error err;
	char name[96];
	const double n = 1e6;
	if (rate_constant(rate, &program, &err) != ST_OK || plan_create(3, &program, false, &plan, &err) != ST_OK)
		die(&err);
	plan_start(plan, 0);
	double count = (double)plan_count_until(plan, &cursor, (int64_t)(n / rate * 1e9));
	snprintf(name, sizeof name, "mean rate of 10^6 planned arrivals at %g/s, off by", rate);
	print_against(name, deviation(count, n), "", "allowed", 1, 1);
	plan_free(plan);
}

/* Transactions that were started in the time, as counted by the workers, against rate x time. */
static void check_engine(double rate, int64_t seconds)
{
	struct load *load = make_load(rate, false, 32, 5);
	struct load_interval *in = load_interval_create(load);
	struct load_totals totals;
	char name[96];
	int64_t start_ns = clock_now_ns();
	load_start(load, start_ns);
	pause_for(seconds * NS_PER_S);
	load_collect(load, in);
	snprintf(name, sizeof name, "mean rate of started transactions at %g/s, off by", rate);
	print_against(name, deviation((double)in->versions[0].started, rate * (double)(in->end_ns - start_ns) / 1e9), "", "allowed", 1, 1);
	load_stop(load, NS_PER_S, &totals);
	load_interval_free(in);
	load_free(load);
}

enum { SENT_RATE = 1000, WINDOWS_A_SECOND = 250, ROUNDS_MAX = 51 };

/* Of n times in seconds, which it sorts: distance of their gaps to the exponential distribution, and how far variance / mean of counts is
 * from 1. */
static void judge_times(double *at, int n, int64_t seconds, double *distance, double *dispersion)
{
	qsort(at, (size_t)n, sizeof at[0], by_value);
	int windows = (int)(seconds - 1) * WINDOWS_A_SECOND;
	double *gaps = calloc((size_t)n, sizeof *gaps), *counts = calloc((size_t)windows, sizeof *counts);
	if (gaps == NULL || counts == NULL)
		exit(1);
	n--;
	for (int i = 0; i < n; i++) {
		int window = (int)((at[i] - at[0]) * WINDOWS_A_SECOND);
		gaps[i] = at[i + 1] - at[i];
		if (window < windows)
			counts[window]++;
	}
	qsort(gaps, (size_t)n, sizeof gaps[0], by_value);
	double mean = 0, m2 = 0;
	*distance = 0;
	for (int i = 0; i < n; i++) {
		double f = -expm1(-SENT_RATE * gaps[i]);
		*distance = fmax(*distance, fmax(fabs(f - i / (double)n), fabs(f - (i + 1) / (double)n)));
	}
	for (int i = 0; i < windows; i++) {
		double delta = counts[i] - mean;
		mean += delta / (i + 1);
		m2 += delta * (counts[i] - mean);
	}
	*dispersion = fabs(m2 / (windows - 1) / mean - 1);
	free(gaps);
	free(counts);
}

static void note_wake(int64_t due_ns, int64_t now_ns, void *arg)
{
	(void)due_ns, (void)arg;
	if (sent.n < sent.most)
		sent.at[sent.n++] = (double)now_ns / 1e9;
}

/* What the plan itself says, without a machine: its counts in the same windows. */
static void check_planned_counts(int64_t seconds)
{
	struct plan *plan;
	struct rate_program program;
	struct arrival a;
	struct error err;
	struct plan_cursor cursor = {0};
	double d, dispersion;
	int n = 0, most = (int)seconds * SENT_RATE * 2;
	double *at = calloc((size_t)most, sizeof *at);
	if (at == NULL || rate_constant(SENT_RATE, &program, &err) != ST_OK || plan_create(11, &program, false, &plan, &err) != ST_OK)
		exit(1);
	plan_start(plan, 0);
	while (n < most && plan_claim(plan, &cursor, seconds * NS_PER_S, &a))
		at[n++] = (double)a.due_ns / 1e9;
	judge_times(at, n, seconds, &d, &dispersion);
	print_against("gaps in the plan, Kolmogorov-Smirnov D", d, "", "1 % point", 1.63 / sqrt(n), 1);
	print_against("counts in the plan, |variance / mean - 1|", dispersion, "", "allowed", 0.05, 1);
	plan_free(plan);
	free(at);
}

/* Rounds, because a machine that stands still for some milliseconds in one of them moves many arrivals into one window. */
static void check_sent_times(int64_t seconds, int rounds)
{
	double d[ROUNDS_MAX], dispersion[ROUNDS_MAX], bare_d[ROUNDS_MAX], bare_dispersion[ROUNDS_MAX];
	int n = 0;
	sent.most = (int)seconds * SENT_RATE * 2;
	sent.at = calloc((size_t)sent.most, sizeof *sent.at);
	if (sent.at == NULL)
		exit(1);
	for (int i = 0; i < rounds; i++) {
		struct load_totals totals;
		struct load *load = make_load(SENT_RATE, false, 32, 11 + (uint64_t)i);
		sent.n = 0;
		load_start(load, clock_now_ns());
		pause_for(seconds * NS_PER_S);
		load_stop(load, NS_PER_S, &totals);
		load_free(load);
		n = sent.n;
		judge_times(sent.at, sent.n, seconds, &d[i], &dispersion[i]);
		sent.n = 0;
		wake_up_for(SENT_RATE, 11 + (uint64_t)i, seconds, note_wake, NULL);
		judge_times(sent.at, sent.n, seconds, &bare_d[i], &bare_dispersion[i]);
	}
	free(sent.at);
	double our_d = median(d, rounds), ours = median(dispersion, rounds);
	/* Two that are due at once are sent one after the other, some 10 us apart: the second term. */
	print_against("gaps between sends, Kolmogorov-Smirnov D", our_d, "", "1 % point + 0.01", 1.63 / sqrt(n) + 0.01, 1);
	print_against("gaps between sends, Kolmogorov-Smirnov D", our_d, "", "a loop that only wakes up", median(bare_d, rounds), 0);
	print_against("counts of sends, |variance / mean - 1|", ours, "", "allowed", 0.05, 1);
	print_against("counts of sends, |variance / mean - 1|", ours, "", "a loop that only wakes up", median(bare_dispersion, rounds), 0);
}

static void bench_rate(void)
{
	int64_t seconds = from_environment("BENCH_SECONDS", 10), rounds = from_environment("BENCH_ROUNDS", 5);
	static const double PLANNED[] = {0.1, 1, 400, 20000, 100000};
	static const double STARTED[] = {1, 100, 1000, 10000, 30000};
	start("SELECT 1");
	for (size_t i = 0; i < sizeof PLANNED / sizeof PLANNED[0]; i++)
		check_plan(PLANNED[i]);
	for (size_t i = 0; i < sizeof STARTED / sizeof STARTED[0]; i++)
		check_engine(STARTED[i], seconds);
	write_workload("SELECT pg_sleep(0.0015)");
	check_planned_counts(seconds * 20);
	check_sent_times(seconds * 2, (int)(rounds < ROUNDS_MAX ? rounds : ROUNDS_MAX));
	end();
}

/* ---- freeze: the server stands still for 1.4 s of a run, and at the end of another ---- */

#define FREEZE_RATE 200
#define FREEZE_SESSIONS 4

static void signal_backends(struct load *load, int number)
{
	int pids[FREEZE_SESSIONS], n = load_pids(load, pids, FREEZE_SESSIONS);
	for (int i = 0; i < n; i++)
		kill(pids[i], number);
}

static void freeze_in_the_middle(int64_t seconds)
{
	static const double QUANTILES[] = {0.97, 0.98, 0.99, 0.995, 0.999};
	struct load *load = make_load(FREEZE_RATE, true, FREEZE_SESSIONS, 1);
	struct load_interval *in = load_interval_create(load);
	struct load_totals totals;
	char name[96];
	load_start(load, clock_now_ns());
	pause_for(seconds * NS_PER_S / 2);
	signal_backends(load, SIGSTOP);
	int64_t frozen_ns = clock_now_ns();
	pause_for(1400 * NS_PER_MS);
	int64_t thawed_ns = clock_now_ns();
	signal_backends(load, SIGCONT);
	pause_for(seconds * NS_PER_S - seconds * NS_PER_S / 2 - 1400 * NS_PER_MS);
	load_stop(load, 5 * NS_PER_S, &totals);
	load_collect(load, in);
	/* Of n evenly spaced arrivals, those that wait longer than r are the ones due in the first freeze - r of the freeze. */
	double freeze_s = (double)(thawed_ns - frozen_ns) / 1e9, n = (double)hist_count(in->total.response_ok);
	for (size_t i = 0; i < sizeof QUANTILES / sizeof QUANTILES[0]; i++) {
		double expected = freeze_s - (1 - QUANTILES[i]) * n / FREEZE_RATE;
		double measured = (double)hist_quantile(in->total.response_ok, QUANTILES[i]) / 1e9;
		snprintf(name, sizeof name, "frozen for 1.4 s: p%g of response time", QUANTILES[i] * 100);
		print_against(name, measured * 1e3, "ms", "analytic", expected * 1e3, 0);
		snprintf(name, sizeof name, "frozen for 1.4 s: p%g is off by", QUANTILES[i] * 100);
		print_against(name, fabs(measured / expected - 1) * 100, "%", "allowed", 2, 1);
	}
	print_against("service times over 0.5 s, of as many sessions", (double)hist_count_above(in->total.service_ok, NS_PER_S / 2), "",
		"once each", FREEZE_SESSIONS, 1);
	print_against("the conservation law is broken", totals.holds ? 0 : 1, "", "allowed", 0.5, 1);
	load_interval_free(in);
	load_free(load);
}

static void freeze_at_the_end(void)
{
	struct load *load = make_load(FREEZE_RATE, true, FREEZE_SESSIONS, 1);
	struct load_totals totals;
	load_start(load, clock_now_ns());
	pause_for(NS_PER_S);
	signal_backends(load, SIGSTOP);
	pause_for(2 * NS_PER_S);
	load_stop(load, NS_PER_S / 2, &totals);
	signal_backends(load, SIGCONT);
	print_against("stall to the end: unfinished and never started", (double)(totals.unfinished + totals.never_started), "",
		"due meanwhile", 2.0 * FREEZE_RATE, 1.05);
	print_figure("stall to the end: age of the oldest unfinished", (double)totals.unfinished_oldest_ns / 1e9, "s");
	load_free(load);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	if (strcmp(what, "schedule") == 0) {
		bench_schedule();
	} else if (strcmp(what, "rate") == 0) {
		bench_rate();
	} else if (strcmp(what, "freeze") == 0) {
		start("SELECT 1");
		freeze_in_the_middle(from_environment("BENCH_SECONDS", 30));
		freeze_at_the_end();
		end();
	} else {
		fputs("usage: pacing schedule|rate|freeze\n", stderr);
		return 2;
	}
	return 0;
}
