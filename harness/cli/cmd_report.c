/* pgrehearse report: what a record holds, as a page for people, a comment for a merge request, a file for CI, or text. */
#define _GNU_SOURCE
#include "cli/commands.h"
#include "cli/report.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

static const char HELP[] =
	"usage: pgrehearse report DIR [--format html|markdown|junit|text] [--out FILE]\n\n"
	"Writes a report of the record in DIR, or one report of all drills of the rehearsal in DIR. Works on any machine, on a\n"
	"record of any age, also on that of a run that is still going on or that died.\n\n"
	"  --format html       one file that needs no network, into DIR/report.html (the default); plots/ beside it holds\n"
	"                      the gnuplot scripts and data of its pictures\n"
	"  --format markdown   for a comment on a merge request: under 1 MiB, to stdout\n"
	"  --format junit      for CI, into DIR/junit.xml: a test suite a drill, a test case a criterion\n"
	"  --format text       the verdict tables that `pgrehearse run` ends with, to stdout\n"
	"  --out FILE          write there instead; - is stdout\n\n"
	"Example: pgrehearse report rehearsals/latest --format markdown --out comment.md\n";

static int write_report(const char *dir, const char *format, const char *out)
{
	struct error err;
	char path[PATH_MAX];
	struct report_spec spec = {.dir = dir, .format = format, .out = out, .stream = stdout};
	if (report_write(&spec, &err) != ST_OK)
		return command_fail(&err);
	const char *written = out != NULL ? out : report_path(dir, format, path, sizeof path);
	if (strcmp(written, "-") != 0)
		printf("%s\n", written);
	return ST_OK;
}

int cmd_report(int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{"format", required_argument, NULL, 'f'},
		{"out", required_argument, NULL, 'o'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *format = "html", *out = NULL;
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":f:o:h", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 'f':
			format = optarg;
			break;
		case 'o':
			out = optarg;
			break;
		case 'h':
			fputs(HELP, stdout);
			return ST_OK;
		default:
			return command_bad_option("report", c, optopt, argv[optind - 1]);
		}
	}
	if (optind + 1 != argc) {
		struct error err;
		error_set(&err, ST_USAGE, optind == argc ? "report: which record?" : "report: one folder at a time, not %s too",
			argv[argc - 1]);
		error_hint(&err, "pgrehearse report DIR, the folder that `pgrehearse run` named");
		return command_fail(&err);
	}
	return write_report(argv[optind], format, out);
}
