/* pgrehearse load --trace: captured traffic instead of a workload's. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/load_trace.h"
#include "cli/load_trace_record.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/trace_filter.h"
#include "record/record.h"
#include "replay/scale.h"
#include "measure/hist.h"
#include "replay/player.h"

#include <getopt.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] =
	"usage: pgrehearse load --trace TRACE --target DSN [OPTION]...\n\n"
	"Replays captured traffic on a clone: a session for each captured one, its statements in their order. User, database\n"
	"and application_name are the captured ones where DSN names none: the guard is asked about each of these databases.\n"
	"It ends with how true the replay was.\n\n"
	"  --pacing arrival|think|asap  a statement is due when it arrived (default), so long after the one before as its\n"
	"                           client took, or as soon as its session is free\n"
	"  --speed N|max            2: twice as fast; max: the same as --pacing asap (default 1)\n"
	"  --order none|commit|relation  sessions do not wait for each other (default); writing transactions end in the\n"
	"                           captured order and lock rows in it; the same between those that write the same tables\n"
	"  --order-wait TIME        when nothing gets on for so long, all go and count as violations (default 10s)\n"
	"  --keep-keys              keys that the target generates anew are not put in the place of the captured ones\n"
	"  --from TIME, --to TIME   of the trace: arrivals from then until then, behind its first\n"
	"  --user NAME, --database NAME, --application NAME, --class FINGERPRINT\n"
	"                           only these; pgrehearse trace info names the classes\n"
	"  --read-only              refuses and counts what by its words writes; sessions cannot write either\n"
	"  --scale-traffic N        N times as many sessions: those that are added do the same with other keys of the target's data\n"
	"  --max-diverged SHARE     exit 3 when more statements than this ended otherwise than captured\n"
	"  --record-values          what is told of statements that ended otherwise has their values; else none ever\n"
	"  --limit NAME=VALUE|none  another limit of fidelity, beyond which the run is INVALID (exit 3): coverage, new_errors, late...\n"
	"  --out DIR                the record's folder (default rehearsals/TIME-replay); --no-record: none, and no observer\n" POLICY_HELP
	"\nExample: pgrehearse load --trace monday.trace --target \"host=/tmp dbname=clone\" --speed 2\n";

struct replay_options {
	struct player_config player;
	struct policy allowed;
	struct fidelity_limits limits;
	const char *out;
	double scale;          /* of the traffic */
	char scaled[PATH_MAX]; /* the trace with more; "" none */
	double max_diverged;   /* -1: none */
	bool no_record, help;
};

bool load_trace_wanted(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--trace") == 0 || strncmp(argv[i], "--trace=", 8) == 0)
			return true;
	return false;
}

static enum status read_speed(const char *text, struct player_config *player, struct error *err)
{
	if (strcmp(text, "max") == 0) {
		player->pacing = PACING_ASAP;
		return ST_OK;
	}
	return units_parse_number("--speed", text, 0.001, 1000, &player->speed, err);
}

static enum status read_pacing(const char *text, enum player_pacing *pacing, struct error *err)
{
	static const char *const NAMES[] = {[PACING_ARRIVAL] = "arrival", [PACING_THINK] = "think", [PACING_ASAP] = "asap"};
	for (int i = 0; i < 3; i++)
		if (strcmp(text, NAMES[i]) == 0) {
			*pacing = (enum player_pacing)i;
			return ST_OK;
		}
	return error_set(err, ST_USAGE, "--pacing %s: arrival, think or asap is expected", text);
}

static enum status read_order(const char *text, enum order_mode *order, struct error *err)
{
	static const char *const NAMES[] = {[ORDER_NONE] = "none", [ORDER_COMMIT] = "commit", [ORDER_RELATION] = "relation"};
	for (int i = 0; i < 3; i++)
		if (strcmp(text, NAMES[i]) == 0) {
			*order = (enum order_mode)i;
			return ST_OK;
		}
	return error_set(err, ST_USAGE, "--order %s: none, commit or relation is expected", text);
}

static enum status take_option(struct replay_options *o, int c, struct error *err)
{
	bool taken;
	enum status st = trace_filter_take(&o->player.filter, c, optarg, &taken, err);
	if (taken)
		return st;
	switch (c) {
	case 'T':
		o->player.trace = optarg;
		o->help |= strcmp(optarg, "--help") == 0;
		return ST_OK;
	case 't':
		o->player.dsn = optarg;
		return ST_OK;
	case 's':
		return read_speed(optarg, &o->player, err);
	case 'p':
		return read_pacing(optarg, &o->player.pacing, err);
	case 'o':
		return read_order(optarg, &o->player.order, err);
	case 'k':
		o->player.keep_keys = true;
		return ST_OK;
	case 'v':
		o->player.record_values = true;
		return ST_OK;
	case 'w':
		return units_parse_time(optarg, &o->player.order_wait_ns, err);
	case 'm':
		return units_parse_share("--max-diverged", optarg, &o->max_diverged, err);
	case 'x':
		return units_parse_number("--scale-traffic", optarg, 1, SCALE_MAX, &o->scale, err);
	case 'l':
		return fidelity_set_limit(&o->limits, optarg, err);
	case 'O':
		o->out = optarg;
		return ST_OK;
	case 'n':
		o->no_record = true;
		return ST_OK;
	default:
		(void)policy_take(&o->allowed, c, optarg);
		return ST_OK;
	}
}

static enum status read_options(int argc, char **argv, struct replay_options *o, int *bad_option, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"trace", required_argument, NULL, 'T'},
		{"target", required_argument, NULL, 't'},
		{"speed", required_argument, NULL, 's'},
		{"pacing", required_argument, NULL, 'p'},
		{"order", required_argument, NULL, 'o'},
		{"order-wait", required_argument, NULL, 'w'},
		{"keep-keys", no_argument, NULL, 'k'},
		{"record-values", no_argument, NULL, 'v'},
		TRACE_FILTER_OPTIONS,
		{"max-diverged", required_argument, NULL, 'm'},
		{"scale-traffic", required_argument, NULL, 'x'},
		{"limit", required_argument, NULL, 'l'},
		{"out", required_argument, NULL, 'O'},
		{"no-record", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		POLICY_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		o->help |= c == 'h';
		if (c == '?' || c == ':') {
			*bad_option = c;
			return ST_USAGE;
		}
		if (c != 'h')
			st = take_option(o, c, err);
	}
	if (st != ST_OK || o->help)
		return st;
	if (optind != argc)
		return error_set(err, ST_USAGE, "load: --trace takes the place of the workload %s", argv[optind]);
	if (o->scale > 1 && o->player.order != ORDER_NONE)
		return error_set(err, ST_USAGE, "load: sessions that --scale-traffic adds have no captured order; leave out --order");
	if (o->player.dsn == NULL) {
		st = error_set(err, ST_USAGE, "load: --trace needs a --target: a clone of the database as it was when the capture began");
		error_hint(err, "pgrehearse load --trace TRACE --target DSN");
	}
	return st;
}

static void print_late(const char *what, const struct hist *h)
{
	char p50[32], p99[32], max[32];
	if (hist_count(h) > 0)
		printf("  %-34s %10" PRIu64 "  p50 %s, p99 %s, max %s\n", what, hist_count(h),
			units_format_time(hist_quantile(h, 0.5), p50, sizeof p50),
			units_format_time(hist_quantile(h, 0.99), p99, sizeof p99), units_format_time(hist_max(h), max, sizeof max));
}

static double diverged_share(const struct player_result *r)
{
	return r->sent > 0 ? (double)r->diverged / (double)r->sent : 0;
}

static void print_result(const struct player_result *r)
{
	char took[32], captured[32], replayed[32];
	printf("planned %" PRId64 ", sent %" PRId64 ", fetches and DEALLOCATE left out %" PRId64 ", writes refused %" PRId64
	       ", not sent %" PRId64 " in %s: %.0f a second\n",
		r->planned, r->sent, r->skipped, r->refused_writes, r->not_sent, units_format_time(r->took_ns, took, sizeof took),
		(double)r->sent * 1e9 / (double)(r->took_ns > 0 ? r->took_ns : 1));
	printf("sessions %" PRId64 ", at most %" PRId64 " at a time, %" PRId64 " could not be opened, %" PRId64 " reconnects\n",
		r->sessions, r->peak_sessions, r->refused, r->reconnects);
	printf("ended as captured %" PRId64 ", otherwise %" PRId64 " (%.3f %%), unfinished %" PRId64 "\n", r->same, r->diverged,
		diverged_share(r) * 100, r->unfinished);
	if (r->refused_there > 0)
		printf("refused by the server, since they write: %" PRId64 "\n", r->refused_there);
	if (r->keys_renamed > 0)
		printf("generated keys put in the place of captured ones: %" PRId64 "\n", r->keys_renamed);
	if (r->rows_taken > 0)
		printf("rows taken with SKIP LOCKED %" PRId64 ", of them in the place of another %" PRId64 "\n", r->rows_taken,
			r->rows_otherwise);
	for (size_t i = 0; i < r->n_divergences; i++) {
		const struct player_divergence *d = &r->divergences[i];
		printf("  %s, captured %s: %" PRId64 ", such as %.70s (%s)", strcmp(d->replayed, "00000") == 0 ? "succeeded" : d->replayed,
			strcmp(d->captured, "00000") == 0 ? "as success" : d->captured, d->count, d->sql, d->message);
		if (d->line > 0)
			printf(", line %" PRId64 " of the log", d->line);
		putchar('\n');
	}
	if (hist_count(r->ordered) > 0 || r->order_released + r->order_skipped > 0) {
		printf("waited for other sessions, %" PRId64 " of them in vain (ordering violations)", r->order_released);
		if (r->order_skipped > 0)
			printf(", %" PRId64 " behind rows taken with SKIP LOCKED", r->order_skipped);
		puts(":");
		print_late("to keep the captured order", r->ordered);
	}
	if (hist_count(r->late) + hist_count(r->busy) > 0)
		printf("sent later than due:\n");
	print_late("their session was idle (ours)", r->late);
	print_late("their session was busy (the server)", r->busy);
	if (r->captured_busy_ns > 0)
		printf("busy time captured %s, replayed %s: %.2f x\n", units_format_time(r->captured_busy_ns, captured, sizeof captured),
			units_format_time(r->replayed_busy_ns, replayed, sizeof replayed),
			(double)r->replayed_busy_ns / (double)r->captured_busy_ns);
}

static void show_progress(int64_t done, int64_t total, void *arg)
{
	progress_prepare("replaying", done, total, arg);
}

/* Another trace with more sessions, in a file that goes away. */
static enum status scale_up(struct replay_options *o, struct error *err)
{
	const char *folder = getenv("TMPDIR");
	struct scale_result r;
	snprintf(o->scaled, sizeof o->scaled, "%s/pgrehearse-XXXXXX", folder != NULL && folder[0] != '\0' ? folder : "/tmp");
	int fd = mkstemp(o->scaled);
	if (fd < 0)
		return error_errno(err, ST_FAILED, "%s", o->scaled);
	close(fd);
	struct scale_config config = {.from = o->player.trace,
		.to = o->scaled,
		.dsn = o->player.dsn,
		.times = o->scale,
		.seed = 1,
		.filter = o->player.filter,
		.stop = signals_watch()};
	if (scale_trace(&config, &r, err) != ST_OK)
		return err->status;
	printf("%" PRId64 " sessions; %" PRId64 " statements added, %" PRId64 " of them with other keys\n", r.sessions, r.copied,
		r.other_keys);
	o->player.trace = o->scaled;
	o->player.filter.from_ns = o->player.filter.to_ns = 0;
	return ST_OK;
}

static int perform(struct replay_options *o)
{
	struct error err;
	struct player_result result = {0};
	struct progress progress;
	struct guard_policy policy = policy_close(&o->allowed);
	char out[PATH_MAX] = "";
	progress_init(&progress);
	enum status st = o->out != NULL ? record_check_dir(o->out, &err) : ST_OK;
	if (st == ST_OK)
		st = player_check_target(&o->player, &policy, &err);
	o->player.captured_databases = st == ST_OK;
	if (st == ST_OK && o->out != NULL)
		snprintf(out, sizeof out, "%s", o->out);
	else if (st == ST_OK && !o->no_record)
		st = command_name_out("replay", out, sizeof out, &err);
	if (st == ST_OK && o->scale > 1)
		st = scale_up(o, &err);
	if (st != ST_OK) {
		if (o->scaled[0] != '\0')
			unlink(o->scaled);
		return command_fail(&err);
	}
	if (o->no_record) {
		o->player.stop = signals_watch();
		o->player.progress = progress.terminal ? show_progress : NULL;
		o->player.arg = &progress;
		st = player_perform(&o->player, &result, &err);
	} else {
		struct replay_spec spec = {.player = o->player, .limits = o->limits, .result = &result};
		st = load_trace_perform(&spec, out, &progress, signals_watch(), &err);
	}
	progress_end(&progress);
	int code = ST_OK;
	if (result.late != NULL && (st == ST_OK || st == ST_INTERRUPTED))
		print_result(&result);
	if (st != ST_OK) {
		code = command_fail(&err);
	} else if (o->max_diverged >= 0 && diverged_share(&result) > o->max_diverged) {
		printf("INVALID: over the limit of %.3f %% ended otherwise than captured\n", o->max_diverged * 100);
		code = ST_UNFIT;
	}
	if (st == ST_OK && !o->no_record) {
		command_link_latest(out);
		load_trace_print_fidelity(out);
		enum verdict verdict;
		putchar('\n');
		st = report_verdict(out, &verdict, &err);
		code = st != ST_OK ? command_fail(&err) : code != ST_OK ? code : verdict_exit_code(verdict);
		printf("%sThe record is in %s\n", st == ST_OK && verdict == VERDICT_INVALID ? "\n" : "", out);
	}
	if (o->scaled[0] != '\0')
		unlink(o->scaled);
	player_result_free(&result);
	return code;
}

int load_trace(int argc, char **argv)
{
	struct replay_options o = {.player = {.speed = 1, .drain_ns = 60 * NS_PER_S, .order_wait_ns = 10 * NS_PER_S},
		.limits = FIDELITY_DEFAULTS,
		.max_diverged = -1};
	struct error err;
	int bad_option = 0, code;
	enum status st = read_options(argc, argv, &o, &bad_option, &err);
	if (bad_option != 0)
		code = command_bad_option("load --trace", bad_option, optopt, argv[optind - 1]);
	else if (st != ST_OK)
		code = command_fail(&err);
	else if (o.help)
		code = fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
	else
		code = perform(&o);
	policy_free(&o.allowed);
	return code;
}
