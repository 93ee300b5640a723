/* pgrehearse judge: the verdict on a record, today or next week, with further criteria if need be. */
#define _GNU_SOURCE
#include "base/vec.h"
#include "cli/commands.h"
#include "judge/judge.h"
#include "record/reader.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char HELP[] =
	"usage: pgrehearse judge DIR [--require CRITERION]...\n\n"
	"Judges the record in DIR, or each record of the rehearsal in DIR, by the criteria of its scenario, and writes the\n"
	"verdict into it. The same record gives the same answer on any machine.\n\n"
	"  --require CRITERION   a further criterion: metric[label].stat [during PHASE] OP VALUE [x baseline]\n"
	"                        (what is of no phase, as a check, takes no `during`, and what the baseline has not,\n"
	"                        as a step, no `x baseline`)\n\n"
	"Exit code: 0 PASS, 1 FAIL, 3 INCONCLUSIVE or INVALID.\n\n"
	"Example: pgrehearse judge rehearsals/latest --require 'latency.p99 during migration < 250ms'\n";

static void print_verdict(const char *dir)
{
	struct record_reader *reader;
	struct error err;
	size_t i;
	json_t *o;
	if (record_open(dir, &reader, &err) != ST_OK)
		return;
	const json_t *verdict = json_object_get(reader_run(reader), "verdict");
	printf("%s: %s\n", dir, json_get_string(verdict, "verdict", "?"));
	json_array_foreach(json_object_get(verdict, "criteria"), i, o)
		printf("  %-12s %-48s %10s   %s\n", json_get_string(o, "verdict", ""), json_get_string(o, "criterion", ""),
			json_get_string(o, "observed", ""), json_get_string(o, "evidence", ""));
	record_reader_free(reader);
}

static int judge_all(const char *dir, const char *const *criteria, int n)
{
	struct error err;
	struct record_list list;
	enum verdict worst = VERDICT_PASS;
	if (reader_list(dir, &list, &err) != ST_OK)
		return command_fail(&err);
	int code = 0;
	for (int i = 0; code == 0 && i < list.n; i++) {
		enum verdict v;
		if (judge_record(list.dirs[i], criteria, n, &v, &err) != ST_OK)
			code = command_fail(&err);
		else if (v > worst)
			worst = v;
	}
	for (int i = 0; code == 0 && i < list.n; i++)
		print_verdict(list.dirs[i]);
	reader_list_free(&list);
	return code != 0 ? code : verdict_exit_code(worst);
}

int cmd_judge(int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{"require", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	VEC(const char *) criteria = {0};
	struct error err;
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 'r':
			VEC_PUSH(&criteria, optarg);
			break;
		case 'h':
			fputs(HELP, stdout);
			VEC_FREE(&criteria);
			return ST_OK;
		default:
			VEC_FREE(&criteria);
			return command_bad_option("judge", c, optopt, argv[optind - 1]);
		}
	}
	int code;
	if (optind + 1 != argc) {
		error_set(&err, ST_USAGE, optind == argc ? "judge: which record?" : "judge: one folder at a time, not %s too",
			argv[argc - 1]);
		error_hint(&err, "pgrehearse judge DIR, the folder that `pgrehearse run` named");
		code = command_fail(&err);
	} else {
		code = judge_all(argv[optind], criteria.at, (int)criteria.n);
	}
	VEC_FREE(&criteria);
	return code;
}
