/* pgrehearse load: a workload's traffic without a migration, recorded like a rehearsal. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/json.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/load_trace.h"
#include "cli/policy.h"
#include "cli/pgbench.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/target_options.h"
#include "load/engine.h"
#include "load/rate.h"
#include "load/workload.h"
#include "record/reader.h"
#include "record/record.h"
#include "scenario/conductor.h"
#include "scenario/target.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] = "usage: pgrehearse load WORKLOAD|--pgbench SCRIPT[@W]... [--rate R|--closed] [OPTION]...\n\n"
			   "Traffic of a workload (a name like shop, or a file) without a migration, against a sandbox filled\n"
			   "with its data, or against a clone of yours. Response times count from when an arrival was due.\n"
			   "Checks of the workload run before and after the traffic; a violated one makes the exit code 1. A run\n"
			   "whose load generator was late or short of CPU is INVALID, and says so: exit code 3.\n\n"
			   "  --rate R              arrivals a second (default 100), or a program: ramp(100, 2000, 60s)\n"
			   "  --closed              instead: each client starts its next transaction when the last one ended\n"
			   "  --clients N           sessions (default 8)\n"
			   "  --duration T          how long, for example 30s or 5min (default 30s)\n"
			   "  --pgbench SCRIPT[@W]  instead of a workload: a script of pgbench's, a file or tpcb-like,\n"
			   "                        simple-update, select-only; repeated: several, by their weights W\n"
			   "  --trace TRACE         instead: captured traffic; --trace --help has its options\n"
			   "  --ledger              each commit is numbered, and looked for afterwards if acknowledged\n"
			   "  --scale N             size of the data (default 1); with --target: of the data that is there\n"
			   "  --seed N              of data and traffic (default 1)\n"
			   "  --target WHAT         your data instead of generated ones: dump:PATH, base:PATH, the connection\n"
			   "                        string of a marked clone, ... (--help-all)\n"
			   "  --out DIR             the record's folder (default rehearsals/TIME-load)\n"
			   "  --keep                the sandbox stays afterwards\n"
			   "  --help-all            rates that change, users who think or lose patience, threads, standbys\n\n"
			   "Example: pgrehearse load shop --rate 300 --duration 20s --scale 0.1\n";

static const char HELP_MORE[] =
	"\nFurther options:\n\n"
	"  --rate R              400; ramp(100, 2000, 60s); sine(400, 200, 10min); steps(100/30s, 200/30s);\n"
	"                        burst(200, 2000, 1s every 10s); in sequence: 400 for 10s then ramp(400, 900, 1min)\n"
	"  --arrivals A          poisson (default), or even: evenly spaced\n"
	"  --users N             with --closed: users who share the clients (default: one each)\n"
	"  --think T             pause between two requests of a user: 100ms, exponential(100ms),\n"
	"                        uniform(50ms, 150ms), lognormal(100ms, 50ms)\n"
	"  --requests N          requests of each user who arrives: 5, geometric(5); --rate is then users a second\n"
	"  --acquire-timeout T   waiting so long for a client is an error of the application's pool (POOL)\n"
	"  --patience T          a user who has waited so long for a client has gone\n"
	"  --workers N           threads of ours (default 1)\n"
	"  --read-from STANDBY   read-only transactions run there (standby1)\n"
	"  --flag NAME=VALUE     another value for a feature flag of the workload; repeated for more\n"
	"  --mix NAME=WEIGHT,... other weights of transactions; those not named keep the workload's\n" POLICY_HELP
	"  --no-availability     do not try every few milliseconds whether tables can be read and written\n"
	"  --protocol P, --define NAME=VALUE, --max-tries N   of scripts, as in pgbench; P is simple or prepared\n";

#define FLAGS_MAX 32
#define MIX_MAX 64

struct load_options {
	const char *workload, *out;
	struct target_options target;
	struct policy allowed; /* what the guard lets pass */
	const char *rate, *read_from;
	const char *flags[FLAGS_MAX + 1];
	int n_flags;
	struct load_weight mix[MIX_MAX];
	size_t n_mix;
	char names[2048]; /* of the mix */
	size_t names_len;
	double scale;
	bool closed, even, keep, ledger, help, help_all, no_availability;
	struct think think;
	struct requests requests;
	int64_t users, acquire_timeout_ns, patience_ns;
	int64_t clients, workers, seed, duration_ns;
	struct pgbench_options pgbench;
};

static enum status check_users(const struct load_options *o, struct error *err)
{
	if (o->users > 0 && !o->closed)
		return error_set(err, ST_USAGE, "load: --users belongs to --closed; otherwise users arrive by --rate");
	if (o->requests.mean > 0 && o->closed)
		return error_set(err, ST_USAGE, "load: --requests is of users who arrive; those of --closed never leave");
	if (o->think.shape != THINK_NONE && !o->closed && o->requests.mean == 0)
		return error_set(err, ST_USAGE,
			"load: --think is the pause between two requests of a user: say how many there are with --requests, or --closed");
	return ST_OK;
}

/* "NAME=WEIGHT,...", added to what other --mix have said. */
static enum status read_mix(const char *text, struct load_options *o, struct error *err)
{
	for (const char *s = text; *s != '\0';) {
		size_t len = strcspn(s, ","), name = strcspn(s, "=");
		char number[32];
		double weight = 0;
		if (name == 0 || name >= len || len - name > sizeof number) {
			error_set(err, ST_USAGE, "--mix %s: \"%.*s\" is no weight of a transaction", text, (int)len, s);
			error_hint(err, "NAME=WEIGHT,... as in --mix view_user=30,checkout=0");
			return ST_USAGE;
		}
		snprintf(number, sizeof number, "%.*s", (int)(len - name - 1), s + name + 1);
		enum status st = units_parse_number("--mix: the weight", number, 0, 1e9, &weight, err);
		if (st != ST_OK)
			return st;
		if (o->n_mix == MIX_MAX || o->names_len + name + 1 > sizeof o->names)
			return error_set(err, ST_USAGE, "--mix: over %d transactions, or their names are too long", MIX_MAX);
		char *copy = o->names + o->names_len;
		memcpy(copy, s, name);
		copy[name] = '\0';
		o->names_len += name + 1;
		o->mix[o->n_mix++] = (struct load_weight){.transaction = copy, .weight = weight};
		s += len;
		s += *s == ',';
	}
	return ST_OK;
}

static enum status read_options(int argc, char **argv, struct load_options *o, int *bad_option, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"rate", required_argument, NULL, 'a'},
		{"arrivals", required_argument, NULL, 'A'},
		{"think", required_argument, NULL, 'T'},
		{"requests", required_argument, NULL, 'R'},
		{"users", required_argument, NULL, 'u'},
		{"acquire-timeout", required_argument, NULL, 'q'},
		{"patience", required_argument, NULL, 'P'},
		{"closed", no_argument, NULL, 'c'},
		{"no-availability", no_argument, NULL, 'v'},
		{"ledger", no_argument, NULL, 'L'},
		{"flag", required_argument, NULL, 'f'},
		{"mix", required_argument, NULL, 'm'},
		{"read-from", required_argument, NULL, 'F'},
		{"clients", required_argument, NULL, 'n'},
		{"workers", required_argument, NULL, 'w'},
		{"duration", required_argument, NULL, 'd'},
		{"scale", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'e'},
		TARGET_OPTIONS,
		{"pgbench", required_argument, NULL, 'p'},
		{"protocol", required_argument, NULL, 'M'},
		{"define", required_argument, NULL, 'D'},
		{"max-tries", required_argument, NULL, 'x'},
		{"out", required_argument, NULL, 'o'},
		{"keep", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		POLICY_OPTIONS,
		{"help-all", no_argument, NULL, 'H'},
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":hM:D:", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 'a':
			o->rate = optarg;
			st = rate_parse(optarg, &(struct rate_program){0}, err);
			break;
		case 'A':
			o->even = strcmp(optarg, "even") == 0;
			if (!o->even && strcmp(optarg, "poisson") != 0)
				st = error_set(err, ST_USAGE, "--arrivals %s: poisson or even is expected", optarg);
			break;
		case 'T':
			st = think_parse(optarg, &o->think, err);
			break;
		case 'R':
			st = requests_parse(optarg, &o->requests, err);
			break;
		case 'u':
			st = units_parse_int("--users", optarg, 1, LOAD_USERS_MAX, &o->users, err);
			break;
		case 'q':
			st = units_parse_time(optarg, &o->acquire_timeout_ns, err);
			break;
		case 'P':
			st = units_parse_time(optarg, &o->patience_ns, err);
			break;
		case 'v':
			o->no_availability = true;
			break;
		case 'c':
			o->closed = true;
			break;
		case 'f':
			if (o->n_flags == FLAGS_MAX)
				st = error_set(err, ST_USAGE, "load: over %d flags", FLAGS_MAX);
			else
				o->flags[o->n_flags++] = optarg;
			break;
		case 'm':
			st = read_mix(optarg, o, err);
			break;
		case 'F':
			o->read_from = optarg;
			break;
		case 'L':
			o->ledger = true;
			break;
		case 'n':
			st = units_parse_int("--clients", optarg, 1, 10000, &o->clients, err);
			break;
		case 'w':
			st = units_parse_int("--workers", optarg, 1, 256, &o->workers, err);
			break;
		case 'd':
			st = units_parse_time(optarg, &o->duration_ns, err);
			if (st == ST_OK && o->duration_ns < NS_PER_S)
				st = error_set(err, ST_USAGE, "--duration %s: at least 1s is expected", optarg);
			break;
		case 's':
			st = units_parse_number("--scale", optarg, 0.0001, 100000, &o->scale, err);
			break;
		case 'e':
			st = units_parse_int("--seed", optarg, 0, INT64_MAX, &o->seed, err);
			break;
		case 'p':
			st = pgbench_add_script(&o->pgbench, optarg, err);
			break;
		case 'M':
			o->pgbench.protocol = optarg;
			break;
		case 'x':
			st = units_parse_int("--max-tries", optarg, 1, 1000, &o->pgbench.max_tries, err);
			break;
		case 'D':
			st = pgbench_add_define(&o->pgbench, optarg, err);
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'k':
			o->keep = true;
			break;
		case 'H':
			o->help_all = true;
			/* fall through */
		case 'h':
			o->help = true;
			return ST_OK;
		default:
			if (policy_take(&o->allowed, c, optarg) || target_option(&o->target, c, optarg, &st, err))
				break;
			*bad_option = c;
			return ST_USAGE;
		}
	}
	if (st == ST_OK)
		st = check_users(o, err);
	if (st == ST_OK && o->closed && (o->rate != NULL || o->even))
		st = error_set(
			err, ST_USAGE, "load: --closed has no rate: its users set the pace; keep --rate and --arrivals, or --closed");
	bool pgbench = o->pgbench.n_scripts > 0;
	if (st == ST_OK && !pgbench && (o->pgbench.n_defines > 0 || o->pgbench.protocol != NULL || o->pgbench.max_tries > 0))
		st = error_set(err, ST_USAGE, "load: --protocol, --define and --max-tries belong to --pgbench");
	if (st == ST_OK && pgbench && optind != argc)
		st = error_set(err, ST_USAGE, "load: --pgbench takes the place of the workload %s; keep one of the two", argv[optind]);
	if (st == ST_OK && !pgbench && optind + 1 != argc) {
		st = error_set(err, ST_USAGE, optind == argc ? "load: which workload?" : "load: one workload at a time, not %s too",
			argv[argc - 1]);
		error_hint(err, "pgrehearse load shop --rate 300");
	}
	o->workload = optind < argc ? argv[optind] : NULL;
	return st;
}

/* Returns how many were violated or could not be run. */
static size_t print_checks(const json_t *checks)
{
	size_t bad = 0, i;
	json_t *check;
	json_array_foreach(checks, i, check)
	{
		if (json_is_true(json_object_get(check, "ok")))
			continue;
		const char *error = json_get_string(check, "error", NULL), *sample = json_get_string(check, "sample", "");
		int64_t rows = json_get_int(check, "rows", 0);
		printf("check %s, %s the traffic: ", json_get_string(check, "name", ""), json_get_string(check, "when", ""));
		if (error != NULL)
			printf("it could not be run: %s\n", error);
		else
			printf("%" PRId64 " row%s it, such as %s\n", rows, rows == 1 ? " violates" : "s violate", sample);
		bad++;
	}
	size_t n = json_array_size(checks);
	if (n > 0 && bad == 0)
		printf("%zu checks held before the traffic and after it\n", n / 2);
	return bad;
}

/* Returns whether something was lost or is not as it was written, or may be: an empty ledger has proved nothing. */
static bool print_ledger(const json_t *ledger)
{
	if (ledger == NULL)
		return false;
	const char *error = json_get_string(ledger, "error", NULL);
	int64_t lost = json_get_int(ledger, "lost", 0), acknowledged = json_get_int(ledger, "acknowledged", 0);
	int64_t strange = json_get_int(ledger, "strange", 0);
	if (error != NULL)
		printf("ledger: it could not be checked: %s\n", error);
	else if (acknowledged == 0)
		printf("ledger: it is empty, and so proves nothing: no transaction was seen to write\n");
	else
		printf("ledger: %" PRId64 " acknowledged commits, %" PRId64 " found, %" PRId64 " lost; connection lost during %" PRId64
		       " more\n",
			acknowledged, json_get_int(ledger, "found", 0), lost,
			json_get_int(ledger, "unknown_found", 0) + json_get_int(ledger, "unknown_lost", 0));
	if (strange > 0)
		printf("ledger: %" PRId64 " row%s in it that nobody wrote, or twice\n", strange, strange == 1 ? " is" : "s are");
	return error != NULL || lost > 0 || acknowledged == 0 || strange > 0;
}

/* How long the phase of the traffic lasted. */
static int64_t traffic_ns(const json_t *run)
{
	size_t i;
	json_t *phase;
	json_array_foreach(json_object_get(run, "phases"), i, phase)
	{
		if (strcmp(json_get_string(phase, "name", ""), "load") == 0)
			return json_get_int(phase, "end_ns", 0) - json_get_int(phase, "start_ns", 0);
	}
	return 0;
}

static const char *percentile_text(const json_t *times, const char *name, char *out, size_t size)
{
	const json_t *p = json_object_get(json_object_get(times, "percentiles"), name);
	int64_t ns = json_get_int(p, "ns", -1);
	if (ns < 0)
		snprintf(out, size, "–"); /* none was longer */
	else
		units_format_time(ns, out, size);
	return out;
}

static void print_times(const char *what, const json_t *times)
{
	char p50[32], p99[32], p999[32], max[32];
	if (json_get_int(times, "count", 0) == 0)
		return;
	printf("%s time: %" PRId64 " transactions, p50 %s, p99 %s, p99.9 %s, max %s\n", what, json_get_int(times, "count", 0),
		percentile_text(times, "p50", p50, sizeof p50), percentile_text(times, "p99", p99, sizeof p99),
		percentile_text(times, "p99.9", p999, sizeof p999), units_format_time(json_get_int(times, "max_ns", 0), max, sizeof max));
}

static void print_speed(const json_t *run, int64_t ok)
{
	char length[32];
	const json_t *latency = json_object_get(run, "latency");
	int64_t ns = traffic_ns(run);
	if (ns > 0)
		printf("%.1f succeeded a second, in %s\n", (double)ok * 1e9 / (double)ns, units_format_time(ns, length, sizeof length));
	print_times("response", json_object_get(latency, "response"));
	print_times("service", json_object_get(latency, "service"));
}

/* Returns whether checks were violated or acknowledged commits lost. */
static bool print_summary(const struct record_reader *reader)
{
	const json_t *run = reader_run(reader);
	const json_t *totals = json_object_get(run, "totals");
	const json_t *error_counts = json_object_get(totals, "errors");
	const char *sqlstate;
	json_t *count;
	printf("planned %" PRId64 ", succeeded %" PRId64 ", failed %" PRId64 ", abandoned %" PRId64 ", never started %" PRId64
	       ", unfinished %" PRId64 "\n",
		json_get_int(totals, "planned", 0), json_get_int(totals, "ok", 0), json_get_int(totals, "failed", 0),
		json_get_int(totals, "abandoned", 0), json_get_int(totals, "never_started", 0), json_get_int(totals, "unfinished", 0));
	json_object_foreach((json_t *)(uintptr_t)error_counts, sqlstate, count)
		printf("  %s: %" JSON_INTEGER_FORMAT "\n", sqlstate, json_integer_value(count));
	print_speed(run, json_get_int(totals, "ok", 0));
	bool lost = print_ledger(json_object_get(totals, "ledger"));
	size_t violated = print_checks(json_object_get(run, "checks"));
	return violated > 0 || lost;
}

/* Judges the record and tells what is in it. Returns the exit code. */
static int conclude(const char *dir)
{
	struct record_reader *reader;
	struct error err;
	enum verdict verdict;
	if (report_verdict(dir, &verdict, &err) != ST_OK || record_open(dir, &reader, &err) != ST_OK)
		return command_fail(&err);
	if (verdict == VERDICT_INVALID)
		putchar('\n');
	bool bad = print_summary(reader);
	record_reader_free(reader);
	printf("\nThe record is in %s\n", dir);
	return bad ? 1 : verdict_exit_code(verdict);
}

/* The workload as the engine finds it, to be freed. */
static enum status find_workload(const struct load_options *o, char **out, struct error *err)
{
	if (o->pgbench.n_scripts == 0)
		return workload_find(o->workload, NULL, out, err);
	struct buf name;
	buf_init(&name, (size_t)1 << 20);
	enum status st = pgbench_workload_name(&o->pgbench, &name, err);
	if (st == ST_OK)
		st = workload_find(name.data, NULL, out, err);
	buf_free(&name);
	return st;
}

static int perform(struct load_options *o)
{
	struct error err;
	struct target *target = NULL;
	struct progress progress;
	char *workload = NULL;
	char out[PATH_MAX];
	progress_init(&progress);
	if (find_workload(o, &workload, &err) != ST_OK)
		return command_fail(&err);
	if (o->out != NULL && record_check_dir(o->out, &err) != ST_OK) {
		free(workload);
		return command_fail(&err);
	}
	double scale = o->scale > 0 ? o->scale : 1;
	struct target_config config = {
		.policy = policy_close(&o->allowed),
		.workload_path = workload,
		.scale = scale,
		.seed = (uint64_t)o->seed,
		.keep = o->keep,
		.stop = signals_watch(),
		.progress = progress_prepare,
		.arg = &progress,
	};
	target_options_apply(&o->target, &config);
	enum status st = target_prepare(&config, &target, &err);
	progress_end(&progress);
	bool read_scale = o->target.source.kind != SOURCE_SANDBOX && !(o->scale > 0) && pgbench_uses_builtin(&o->pgbench);
	if (st == ST_OK && read_scale)
		st = pgbench_read_scale(target_dsn(target), &scale, &err);
	if (st == ST_OK && o->out != NULL)
		snprintf(out, sizeof out, "%s", o->out);
	else if (st == ST_OK)
		st = command_name_out("load", out, sizeof out, &err);
	if (st == ST_OK)
		st = target_refresh(target, config.standbys, &err);
	if (st == ST_OK) {
		struct rehearsal r = {
			.workload_path = workload,
			.drill = "load",
			.out_dir = out,
			.closed = o->closed,
			.ledger = o->ledger,
			.read_from = o->read_from,
			.flags = o->flags,
			.mix = o->mix,
			.n_mix = o->n_mix,
			.think = o->think,
			.requests = o->requests,
			.users = (int)o->users,
			.acquire_timeout_ns = o->acquire_timeout_ns,
			.patience_ns = o->patience_ns,
			.even = o->even,
			.rate = o->rate != NULL ? o->rate
				: o->closed     ? NULL
						: "100",
			.pods = 1,
			.pool = (int)o->clients,
			.workers = (int)o->workers,
			.no_availability = o->no_availability,
			.duration_ns = o->duration_ns,
			.progress = progress_run,
			.arg = &progress,
		};
		target_describe(target, &r);
		if (read_scale)
			r.scale = scale;
		st = conductor_perform(&r, &err);
		progress_end(&progress);
	}
	int code = ST_OK;
	if (st == ST_OK) {
		command_link_latest(out);
		code = conclude(out);
	} else {
		code = command_fail(&err);
	}
	target_free(target);
	free(workload);
	return code;
}

static int read_and_perform(struct load_options *o, int argc, char **argv)
{
	struct error err;
	int bad_option = 0;
	enum status st = read_options(argc, argv, o, &bad_option, &err);
	if (bad_option != 0)
		return command_bad_option("load", bad_option, optopt, argv[optind - 1]);
	if (st != ST_OK)
		return command_fail(&err);
	if (o->help)
		return fputs(HELP, stdout) < 0 || (o->help_all && (fputs(HELP_MORE, stdout) < 0 || fputs(TARGET_HELP, stdout) < 0))
			? ST_FAILED
			: ST_OK;
	return perform(o);
}

int cmd_load(int argc, char **argv)
{
	if (load_trace_wanted(argc, argv))
		return load_trace(argc, argv);
	struct load_options o = {.clients = 8, .workers = 1, .seed = 1, .duration_ns = 30 * NS_PER_S, .target = TARGET_OPTIONS_DEFAULT};
	int code = read_and_perform(&o, argc, argv);
	policy_free(&o.allowed);
	target_options_free(&o.target);
	return code;
}
