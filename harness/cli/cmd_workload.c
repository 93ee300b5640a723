/* pgrehearse workload: a Lua workload that is like captured traffic, and how far it is from it. */
#define _GNU_SOURCE
#include "base/units.h"
#include "cli/commands.h"
#include "cli/signals.h"
#include "cli/trace_filter.h"
#include "replay/mix.h"

#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] =
	"usage: pgrehearse workload from-trace TRACE --out FILE.lua [--target DSN] [OPTION]...\n"
	"       pgrehearse workload from-stats DSN --out FILE.lua [--target DSN]\n\n"
	"Writes a workload to read, to change and to load: each class of statements once, with parameters drawn like those that were\n"
	"captured; transactions by how often they occurred; the rate and its bursts. It ends with the classes' shares in the mix beside\n"
	"those in the capture. from-stats takes pg_stat_statements, which knows neither values nor transactions.\n\n"
	"  -o, --out FILE.lua       the workload\n"
	"  --target DSN             a clone that is asked for the ranges and values of columns, and whether it can prepare each\n"
	"                           statement; it is only read. from-stats asks its own database when there is none\n"
	"  --from TIME, --to TIME, --user NAME, --database NAME, --application NAME\n"
	"                           this part of the trace, as for pgrehearse trace\n"
	"  --max-difference SHARE   exit 3 when a class's share differs by more than this: 2%\n\n"
	"Example: pgrehearse workload from-trace monday.trace --target \"host=/tmp dbname=clone\" --out monday.lua\n";

struct workload_options {
	const char *verb, *source, *out, *target;
	struct capture_filter filter;
	double max_difference; /* -1: none */
	bool help;
};

static enum status take_option(struct workload_options *o, int c, struct error *err)
{
	bool taken;
	enum status st = trace_filter_take(&o->filter, c, optarg, &taken, err);
	if (taken)
		return st;
	switch (c) {
	case 'o':
		o->out = optarg;
		break;
	case 't':
		o->target = optarg;
		break;
	case 'm':
		st = units_parse_share("--max-difference", optarg, &o->max_difference, err);
		break;
	default:
		o->help = true;
	}
	return st;
}

static enum status read_options(int argc, char **argv, struct workload_options *o, int *bad_option, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"out", required_argument, NULL, 'o'},
		{"target", required_argument, NULL, 't'},
		TRACE_SESSION_OPTIONS,
		{"max-difference", required_argument, NULL, 'm'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && !o->help && (c = getopt_long(argc, argv, ":o:h", OPTIONS, NULL)) != -1;) {
		if (c == '?' || c == ':') {
			*bad_option = c;
			return ST_USAGE;
		}
		st = take_option(o, c, err);
	}
	if (st != ST_OK || o->help)
		return st;
	bool known = argc > optind && (strcmp(argv[optind], "from-trace") == 0 || strcmp(argv[optind], "from-stats") == 0);
	if (!known || optind + 2 != argc) {
		st = error_set(err, ST_USAGE, "workload: from-trace TRACE or from-stats DSN is expected");
		error_hint(err, "pgrehearse workload from-trace monday.trace --out monday.lua");
		return st;
	}
	o->verb = argv[optind];
	o->source = argv[optind + 1];
	if (o->out == NULL)
		return error_set(err, ST_USAGE, "workload %s: --out FILE.lua is missing", o->verb);
	return ST_OK;
}

/* ---- how far it is from the capture ---- */

static int by_captured(const void *a, const void *b)
{
	const struct mix_statement *const *x = a, *const *y = b;
	return (*x)->captured > (*y)->captured ? -1 : (*x)->captured < (*y)->captured;
}

static void print_statement(const struct mix_statement *s, double all)
{
	double captured = 100 * (double)s->captured / all, written = 100 * s->written / all;
	printf("  %016" PRIx64 " %10" PRId64 " %7.2f %% %7.2f %% %+7.2f  %.60s%s%s\n", s->fingerprint, s->captured, captured, written,
		written - captured, s->sql, s->left_out != NULL ? "  -- left out: " : "", s->left_out != NULL ? s->left_out : "");
}

static double print_difference(struct mix *mix)
{
	double largest = mix_compare(mix), all = 0;
	size_t written = 0, n = 0;
	const struct mix_statement **order = calloc(mix->statements.n + 1, sizeof *order);
	if (order == NULL)
		abort();
	for (size_t i = 0; i < mix->statements.n; i++) {
		all += (double)mix->statements.at[i].captured;
		order[n++] = &mix->statements.at[i];
	}
	qsort(order, n, sizeof *order, by_captured);
	printf("\n  %-16s %10s %9s %9s %7s  %s\n", "class", "captured", "share", "in mix", "differ", "statement");
	for (size_t i = 0; i < n; i++)
		if (i < 40 || order[i]->left_out != NULL || fabs(order[i]->written - (double)order[i]->captured) > 0.001 * all)
			print_statement(order[i], all);
	free(order);
	for (size_t i = 0; i < mix->transactions.n; i++)
		written += !mix->transactions.at[i].left_out;
	printf("\n%zu transactions of %zu forms seen; the largest difference of a class's share is %.2f points\n", written,
		mix->transactions.n, 100 * largest);
	return largest;
}

static enum status read_mix(struct workload_options *o, struct mix *mix, struct error *err)
{
	bool stats = strcmp(o->verb, "from-stats") == 0;
	enum status st = stats ? mix_read_stats(mix, o->source, err) : mix_read_trace(mix, o->source, &o->filter, signals_watch(), err);
	const char *asked = o->target != NULL ? o->target : stats ? o->source : NULL;
	if (st == ST_OK && asked != NULL)
		st = mix_learn(mix, asked, err);
	if (st != ST_OK)
		return st;
	mix_choose(mix);
	return mix_write(mix, o->out, err);
}

static int perform(struct workload_options *o)
{
	struct error err;
	struct mix mix = {0};
	if (read_mix(o, &mix, &err) != ST_OK) {
		mix_free(&mix);
		return command_fail(&err);
	}
	double largest = print_difference(&mix);
	for (size_t i = 0; i < mix.notes.n; i++)
		printf("note: %s\n", mix.notes.at[i]);
	if (mix_rate(&mix) > 0)
		printf("rate: %.4g transactions a second", mix_rate(&mix));
	if (mix_dispersion(&mix) > 0)
		printf(", index of dispersion of their number in a second %.2f (1: as of a Poisson process)", mix_dispersion(&mix));
	printf("%sThe workload is in %s; its first lines say how to load it\n", mix_rate(&mix) > 0 ? "\n\n" : "\n", o->out);
	mix_free(&mix);
	if (o->max_difference >= 0 && largest > o->max_difference) {
		printf("INVALID: over the limit of %.2f points\n", 100 * o->max_difference);
		return ST_UNFIT;
	}
	return ST_OK;
}

int cmd_workload(int argc, char **argv)
{
	struct workload_options o = {.max_difference = -1};
	struct error err;
	int bad_option = 0;
	enum status st = read_options(argc, argv, &o, &bad_option, &err);
	if (bad_option != 0)
		return command_bad_option("workload", bad_option, optopt, argv[optind - 1]);
	if (st != ST_OK)
		return command_fail(&err);
	if (o.help)
		return fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
	return perform(&o);
}
