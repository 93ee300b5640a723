/* pgrehearse capture: a server's log becomes a trace, and what of it does not is told. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "replay/advise.h"
#include "replay/capture.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char HELP[] =
	"usage: pgrehearse capture LOG... [--out TRACE] [--format csv|json|stderr] [--prefix PREFIX]\n"
	"       pgrehearse capture --advise DSN\n\n"
	"Reads a server's log (csvlog, jsonlog or stderr, of PostgreSQL 12 to 18; plain, gzip or zstd; rotated files in any order; - is\n"
	"standard input) and writes the statements in it to a trace, with when they arrived, how long they took, their parameters and\n"
	"errors. It ends with a ledger of all lines: what the trace has, what it has not, and how much of the servers' time that was.\n\n"
	"  -o, --out TRACE     where to; without it the log is only read and counted\n"
	"  --format FORMAT     instead of looking at the first lines\n"
	"  --prefix PREFIX     stderr: the log_line_prefix, when it is none of those in common use\n"
	"  --max-lost SHARE    exit 3 when more of the busy time is not represented: 5%\n"
	"  --advise DSN        which settings to log with on that server, and how much log that would be; it is only asked\n\n"
	"Example: pgrehearse capture /var/log/postgresql/postgresql-*.csv --out monday.trace\n";

struct capture_options {
	const char *out, *format, *prefix, *advise;
	double max_lost; /* -1: none */
};

static int advise(const char *dsn)
{
	struct error err;
	struct buf text;
	buf_init(&text, (size_t)1 << 16);
	enum status st = advise_capture(dsn, 3 * NS_PER_S, &text, &err);
	if (st == ST_OK)
		fputs(text.data, stdout);
	buf_free(&text);
	return st == ST_OK ? ST_OK : command_fail(&err);
}

static void print_row(const struct loss *loss, enum loss_class c)
{
	const struct loss_row *row = &loss->rows[c];
	char busy[32] = "-";
	if (row->messages == 0)
		return;
	if (row->busy_ns > 0)
		units_format_time(row->busy_ns, busy, sizeof busy);
	printf("  %-48s %12" PRId64 " %12" PRId64 " %9s", loss_class_text(c), row->messages, row->lines, busy);
	if (c >= LOSS_KEPT)
		printf("  line %" PRId64 ": %.60s", row->line, row->sample);
	putchar('\n');
}

static void print_note(int64_t count, const char *text)
{
	if (count > 0)
		printf("note: %" PRId64 " %s\n", count, text);
}

static double lost_share(const struct loss *loss)
{
	double kept = (double)loss_busy_kept_ns(loss), lost = (double)loss_busy_lost_ns(loss);
	return kept + lost > 0 ? lost / (kept + lost) : 0;
}

static void print_ledger(const struct capture_result *r)
{
	const struct loss *loss = &r->loss;
	printf("\n%-50s %12s %12s %9s\n", "in the trace", "messages", "lines", "busy");
	for (int c = 0; c < LOSS_KEPT; c++)
		print_row(loss, (enum loss_class)c);
	printf("%s\n", "not in the trace");
	for (int c = LOSS_KEPT; c < LOSS_CLASSES; c++)
		print_row(loss, (enum loss_class)c);
	printf("busy time that is not represented: %.2f %%\n", lost_share(loss) * 100);
	if (!loss_adds_up(loss))
		printf("These do not add up to the log's %" PRId64 " lines: the ledger cannot be trusted.\n", loss->lines);
	print_note(loss->no_duration, "statements have no duration in the log, and count as no busy time");
	print_note(loss->missing, "messages are missing, by the numbers that sessions give theirs");
	print_note(loss->perhaps_cut, "parameters end in \"...\": log_parameter_max_length may have cut them");
	print_note(loss->steps_back, "times the log's clock went back by over a second");
	print_note(loss->evicted, "sessions were taken for ended, since there were over 100,000 at a time");
	print_note(loss->rows[LOSS_LANGUAGE].messages,
		"messages are in a language that is not read: ALTER SYSTEM SET lc_messages = 'C' on that server, and log anew");
	if (r->unknown_zone[0] != '\0')
		printf("note: the time zone %s is not known and was taken for UTC\n", r->unknown_zone);
}

static void print_result(const struct capture_result *r, const char *out, int64_t took_ns)
{
	char span[32], size[32], rate[32], packed[32];
	struct stat st;
	units_format_time(r->last_ns - r->first_ns, span, sizeof span);
	units_format_bytes((double)r->log_bytes, size, sizeof size);
	units_format_bytes((double)r->log_bytes * 1e9 / (double)(took_ns > 0 ? took_ns : 1), rate, sizeof rate);
	printf("%s%s%s%s: %" PRId64 " statements of %" PRId64 " sessions in %s; %s read at %s/s\n", log_format_name(r->format),
		r->prefix[0] != '\0' ? " with prefix '" : "", r->prefix, r->prefix[0] != '\0' ? "'" : "", r->statements, r->sessions, span,
		size, rate);
	print_ledger(r);
	if (out != NULL && stat(out, &st) == 0 && S_ISREG(st.st_mode))
		printf("\nThe trace is in %s: %s, %.1f %% of the log\n", out, units_format_bytes((double)st.st_size, packed, sizeof packed),
			r->log_bytes > 0 ? 100 * (double)st.st_size / (double)r->log_bytes : 0.0);
}

static enum status read_format(const char *text, enum log_format *format, struct error *err)
{
	*format = LOG_FORMAT_GUESS;
	if (text == NULL)
		return ST_OK;
	if (strcmp(text, "csv") == 0 || strcmp(text, "csvlog") == 0)
		*format = LOG_FORMAT_CSV;
	else if (strcmp(text, "json") == 0 || strcmp(text, "jsonlog") == 0)
		*format = LOG_FORMAT_JSON;
	else if (strcmp(text, "stderr") == 0)
		*format = LOG_FORMAT_STDERR;
	else
		return error_set(err, ST_USAGE, "--format %s: csv, json or stderr is expected", text);
	return ST_OK;
}

static void show_progress(int64_t done, int64_t total, void *arg)
{
	progress_prepare("reading the log", done, total, arg);
}

static int capture(const struct capture_options *o, const char *const *logs, size_t n)
{
	struct error err;
	struct capture_result result;
	struct progress progress;
	progress_init(&progress);
	struct capture_config config = {.logs = {.paths = logs, .n = n, .prefix = o->prefix},
		.out = o->out,
		.stop = signals_watch(),
		.progress = progress.terminal ? show_progress : NULL,
		.arg = &progress};
	if (read_format(o->format, &config.logs.format, &err) != ST_OK)
		return command_fail(&err);
	int64_t start_ns = clock_now_ns();
	enum status st = capture_logs(&config, &result, &err);
	progress_end(&progress);
	if (st != ST_OK)
		return command_fail(&err);
	print_result(&result, result.misread ? NULL : o->out, clock_now_ns() - start_ns);
	if (result.misread) {
		printf("Not one line begins as %s says. SHOW log_line_prefix tells how that server's do; no trace was written.\n",
			o->prefix != NULL ? "--prefix" : "its format");
		return ST_UNFIT;
	}
	if (o->max_lost >= 0 && lost_share(&result.loss) > o->max_lost) {
		printf("That is over the limit of %.2f %%.\n", o->max_lost * 100);
		return ST_UNFIT;
	}
	return ST_OK;
}

int cmd_capture(int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{"out", required_argument, NULL, 'o'},
		{"format", required_argument, NULL, 'f'},
		{"prefix", required_argument, NULL, 'p'},
		{"max-lost", required_argument, NULL, 'l'},
		{"advise", required_argument, NULL, 'a'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct capture_options o = {.max_lost = -1};
	struct error err;
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":o:f:p:h", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 'o':
			o.out = optarg;
			break;
		case 'f':
			o.format = optarg;
			break;
		case 'p':
			o.prefix = optarg;
			break;
		case 'l':
			if (units_parse_share("--max-lost", optarg, &o.max_lost, &err) != ST_OK)
				return command_fail(&err);
			break;
		case 'a':
			o.advise = optarg;
			break;
		case 'h':
			return fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
		default:
			return command_bad_option("capture", c, optopt, argv[optind - 1]);
		}
	}
	if (o.advise != NULL && optind == argc)
		return advise(o.advise);
	if (o.advise != NULL || optind == argc) {
		(void)error_set(&err, ST_USAGE, o.advise != NULL ? "capture: --advise reads no log" : "capture: which log?");
		error_hint(&err, "pgrehearse capture LOG... --out TRACE");
		return command_fail(&err);
	}
	return capture(&o, (const char *const *)(argv + optind), (size_t)(argc - optind));
}
