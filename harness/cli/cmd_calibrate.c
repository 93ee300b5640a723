/* pgrehearse calibrate: how much load this machine can generate on time, measured against an idle sandbox. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/signals.h"
#include "clone/sandbox.h"
#include "load/engine.h"
#include "load/workload.h"
#include "measure/hist.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char HELP[] = "usage: pgrehearse calibrate [--duration T] [--workers N] [--clients N]\n\n"
			   "Measures what this machine can generate, against an idle sandbox that it makes: how many of the\n"
			   "cheapest transactions a second in a closed loop, by number of workers, and how late arrivals are\n"
			   "sent at several rates though a session is idle. The server shares the machine, as it does in a\n"
			   "rehearsal. Ends with advice; a run beyond it is called INVALID by the judge.\n\n"
			   "  --duration T          of each measurement (default 3s)\n"
			   "  --workers N           1, 2, 4... and at last so many threads (default 2, or 1 on one core)\n"
			   "  --clients N           sessions (default 16)\n\n"
			   "Example: pgrehearse calibrate --duration 5s\n";

#define WARM_UP_NS (NS_PER_S / 2)
#define ON_TIME_NS NS_PER_MS /* p99 of the schedule error that a run on time stays below; the judge draws its line far above */
#define CALM_SHARE 0.7       /* of a core: a worker above it has no reserve for a burst */
#define REACHED_SHARE 0.95   /* of what fell due; the rest may be under way */

struct options {
	int64_t duration_ns, workers, clients;
	bool help;
};

/* One measurement. */
struct result {
	double rate; /* asked for; 0: closed loop */
	int workers;
	double done;                    /* transactions a second */
	double due;                     /* arrivals a second: around a rate, by chance */
	double cpu_share;               /* of the busiest worker */
	double cpu_us;                  /* of all workers, a transaction */
	int64_t p50_ns, p99_ns, max_ns; /* how late */
	uint64_t sent;                  /* though a session was idle */
};

struct bench {
	const struct options *options;
	const char *dsn, *workload;
	const volatile sig_atomic_t *stop;
};

static enum status wait_for(const struct bench *b, int64_t ns, struct error *err)
{
	for (int64_t until = clock_now_ns() + ns, now; (now = clock_now_ns()) < until;) {
		if (*b->stop != 0)
			return error_set(err, ST_INTERRUPTED, "interrupted");
		int64_t left = until - now < NS_PER_S / 10 ? until - now : NS_PER_S / 10;
		nanosleep(&(struct timespec){.tv_nsec = left}, NULL);
	}
	return ST_OK;
}

/* The first half second is thrown away: statements get prepared, caches get warm. */
static enum status measure(const struct bench *b, double rate, int workers, struct result *out, struct error *err)
{
	struct load_config config = {.dsn = b->dsn,
		.workload_path = b->workload,
		.scale = 1,
		.seed = 1,
		.closed = rate == 0,
		.rate = rate,
		.pods = 1,
		.pool = (int)b->options->clients,
		.workers = workers};
	struct load *load = NULL;
	struct load_totals totals;
	enum status st = load_create(&config, &load, err);
	if (st == ST_OK)
		st = load_connect(load, 30 * NS_PER_S, err);
	if (st != ST_OK) {
		load_free(load);
		return st;
	}
	struct load_interval *in = load_interval_create(load);
	load_start(load, clock_now_ns());
	st = wait_for(b, WARM_UP_NS, err);
	load_collect(load, in);
	if (st == ST_OK)
		st = wait_for(b, b->options->duration_ns, err);
	load_collect(load, in);
	double seconds = (double)(in->end_ns - in->start_ns) / 1e9, cpu = 0;
	uint64_t ok = 0;
	for (size_t v = 0; v < in->n_versions; v++)
		ok += in->versions[v].ok;
	for (int i = 0; i < in->n_workers; i++)
		cpu += in->worker_cpu[i];
	*out = (struct result){
		.rate = rate,
		.workers = workers,
		.done = (double)ok / seconds,
		.due = (double)in->planned / seconds,
		.cpu_share = in->cpu_share,
		.cpu_us = ok > 0 ? cpu * seconds / (double)ok * 1e6 : 0,
		.p50_ns = hist_quantile(in->schedule_error, 0.5),
		.p99_ns = hist_quantile(in->schedule_error, 0.99),
		.max_ns = hist_max(in->schedule_error),
		.sent = hist_count(in->schedule_error),
	};
	load_stop(load, NS_PER_S, &totals);
	load_interval_free(in);
	load_free(load);
	return st;
}

static const char *time_text(int64_t ns, char *out, size_t size)
{
	return units_format_time(ns, out, size);
}

static void print_result(const struct result *r)
{
	char p50[32], p99[32], max[32], rate[32];
	snprintf(rate, sizeof rate, r->rate > 0 ? "%.0f/s" : "closed loop", r->rate);
	printf("  %-12s %7d  %11.0f/s  %11.0f %%  %9.1f µs", rate, r->workers, r->done, r->cpu_share * 100, r->cpu_us);
	if (r->sent > 0)
		printf("  %9s  %9s  %9s", time_text(r->p50_ns, p50, sizeof p50), time_text(r->p99_ns, p99, sizeof p99),
			time_text(r->max_ns, max, sizeof max));
	putchar('\n');
	fflush(stdout);
}

/* Where no session was idle nothing tells how late the generator is. */
static bool is_calm(const struct result *r)
{
	bool reached = r->sent > 0 && r->done >= REACHED_SHARE * r->due;
	return reached && r->p99_ns <= ON_TIME_NS && r->cpu_share <= CALM_SHARE;
}

/* Two digits: the next run will not give the same. */
static double rounded(double rate)
{
	double step = 1;
	while (rate / step >= 100)
		step *= 10;
	return (double)(int64_t)(rate / step) * step;
}

/* on_time: the highest rate at which, as at every lower one, arrivals were on time; odd: one above it was on time again. */
static void advise(const struct result *fastest, const struct result *single, double on_time, bool odd)
{
	printf("\nThe generator needs %.1f µs of CPU for a transaction at least; what a workload's Lua code does comes on top.\n",
		single->cpu_us);
	printf("Beside its own server this machine makes up to about %.0f transactions a second in all.\n", rounded(fastest->done));
	if (on_time > 0)
		printf("Up to %.0f/s arrivals were on time (99 %% within 1 ms) with %d worker%s.\n", on_time, fastest->workers,
			fastest->workers == 1 ? "" : "s");
	else
		printf("Not even at the lowest rate were arrivals on time (99 %% within 1 ms).\n");
	if (on_time == 0 || odd)
		printf("The machine is busy with other things: calibrate again when it is not.\n");
	if (fastest->workers == 1)
		printf("One worker is enough here: more would take the cores from the server.\n");
	else
		printf("With %d workers it makes %.0f %% more than with one: --workers %d pays at high rates.\n", fastest->workers,
			(fastest->done / single->done - 1) * 100, fastest->workers);
}

static enum status calibrate(const struct bench *b, struct error *err)
{
	static const double RATES[] = {100, 1000, 5000, 20000, 50000};
	struct result fastest = {0}, single = {0}, r;
	printf("  %-12s %7s  %13s  %13s  %12s  %9s  %9s  %9s\n", "load", "workers", "done", "busiest worker", "CPU each", "late p50", "p99",
		"max");
	enum status st = ST_OK;
	int most = (int)b->options->workers;
	for (int workers = 1, last = 0; last < most; last = workers, workers = workers * 2 < most ? workers * 2 : most) {
		st = measure(b, 0, workers, &r, err);
		if (st != ST_OK)
			return st;
		print_result(&r);
		single = workers == 1 ? r : single;
		/* A tenth more is worth a thread. */
		fastest = r.done > fastest.done * 1.1 ? r : fastest;
	}
	double on_time = 0;
	bool all_calm = true, odd = false;
	for (size_t i = 0; i < sizeof RATES / sizeof RATES[0]; i++) {
		if (RATES[i] > fastest.done * 0.8)
			break;
		st = measure(b, RATES[i], fastest.workers, &r, err);
		if (st != ST_OK)
			return st;
		print_result(&r);
		bool calm = is_calm(&r);
		odd = odd || (calm && !all_calm);
		all_calm = all_calm && calm;
		on_time = all_calm ? RATES[i] : on_time;
	}
	advise(&fastest, &single, on_time, odd);
	return ST_OK;
}

static enum status read_options(int argc, char **argv, struct options *o, int *bad_option, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"duration", required_argument, NULL, 'd'},
		{"workers", required_argument, NULL, 'w'},
		{"clients", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 'd':
			st = units_parse_time(optarg, &o->duration_ns, err);
			if (st == ST_OK && o->duration_ns < NS_PER_S / 2)
				st = error_set(err, ST_USAGE, "--duration %s: at least 500ms is expected", optarg);
			break;
		case 'w':
			st = units_parse_int("--workers", optarg, 1, LOAD_WORKERS_MAX, &o->workers, err);
			break;
		case 'n':
			st = units_parse_int("--clients", optarg, 1, 500, &o->clients, err);
			break;
		case 'h':
			o->help = true;
			return ST_OK;
		default:
			*bad_option = c;
			return ST_USAGE;
		}
	}
	if (st == ST_OK && optind != argc)
		st = error_set(err, ST_USAGE, "calibrate: nothing but options is expected, not %s", argv[optind]);
	return st;
}

static int perform(const struct options *o)
{
	struct error err, ignored;
	struct sandbox *sandbox = NULL;
	char *workload = NULL;
	char connections[64];
	snprintf(connections, sizeof connections, "max_connections=%d", (int)o->clients + 20);
	const char *const settings[] = {connections, NULL};
	struct sandbox_config config = {.settings = settings, .stop = signals_watch()};
	enum status st = workload_find("calibrate", NULL, &workload, &err);
	if (st == ST_OK)
		st = sandbox_up(&config, &sandbox, &err);
	if (st == ST_OK) {
		struct bench b = {.options = o, .dsn = sandbox_dsn(sandbox), .workload = workload, .stop = config.stop};
		st = calibrate(&b, &err);
	}
	int code = st == ST_OK ? ST_OK : command_fail(&err);
	if (sandbox != NULL && sandbox_down(sandbox, &ignored) != ST_OK && code == ST_OK)
		code = command_fail(&ignored);
	sandbox_free(sandbox);
	free(workload);
	return code;
}

int cmd_calibrate(int argc, char **argv)
{
	struct options o = {.duration_ns = 3 * NS_PER_S, .workers = sysconf(_SC_NPROCESSORS_ONLN) > 1 ? 2 : 1, .clients = 16};
	struct error err;
	int bad_option = 0;
	enum status st = read_options(argc, argv, &o, &bad_option, &err);
	if (bad_option != 0)
		return command_bad_option("calibrate", bad_option, optopt, argv[optind - 1]);
	if (st != ST_OK)
		return command_fail(&err);
	if (o.help)
		return fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
	return perform(&o);
}
