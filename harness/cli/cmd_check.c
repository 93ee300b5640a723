/* pgrehearse check: scenarios looked at without a database. */
#define _GNU_SOURCE
#include "base/units.h"
#include "cli/commands.h"
#include "scenario/check.h"
#include "scenario/scenario.h"
#include "sql/parse.h"

#include "base/vec.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

static const char HELP[] = "usage: pgrehearse check SCENARIO... [--json|--sarif] [--for VERSION] [--set NAME=VALUE]...\n\n"
			   "Reads scenarios without a database and says of each statement which locks it will take, whether it writes\n"
			   "a table anew or reads it whole, and what is wrong with it: what, why, and how it is done more safely.\n\n"
			   "  --json            one JSON object a scenario, in a list\n"
			   "  --sarif           SARIF 2.1.0, which code hosts show beside the lines\n"
			   "  --for VERSION     the major version of the server that is meant (default: that of the parser)\n"
			   "  --set NAME=VALUE  a setting of the scenario\n\n"
			   "A comment `-- check: allow RULE` on a statement's line, or the one above, allows what the rule finds there.\n"
			   "What the parser cannot read, Lua functions and SQL that a body puts together are named as not read.\n\n"
			   "Exit codes: 0 no errors found, 1 errors found, 2 usage, or a scenario that cannot be read.\n\n"
			   "Example: pgrehearse check scenarios/user_status.lua\n";

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_SARIF };

struct check_options {
	enum format format;
	int64_t major;
	VEC(const char *) settings;
	bool help;
};

static json_t *sarif_log(json_t *results, json_t *rules)
{
	return json_pack("{s:s, s:s, s:[{s:{s:{s:s, s:s, s:o}}, s:o}]}", "version", "2.1.0", "$schema",
		"https://json.schemastore.org/sarif-2.1.0.json", "runs", "tool", "driver", "name", "pgrehearse", "version", PGR_VERSION,
		"rules", rules, "results", results);
}

static void print_json(json_t *value)
{
	json_dumpf(value, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
	putchar('\n');
	json_decref(value);
}

static int check_all(char **paths, int n, const struct check_options *o)
{
	json_t *list = json_array(), *results = json_array(), *rules = NULL;
	int errors = 0, code = ST_OK;
	for (int i = 0; i < n && code == ST_OK; i++) {
		struct check_result r;
		struct error err;
		if (check_scenario(paths[i], (int)o->major, &r, &err) != ST_OK) {
			code = command_fail(&err);
			break;
		}
		errors += r.errors;
		if (o->format == FORMAT_TEXT)
			printf("%s%s", i > 0 ? "\n" : "", r.text);
		json_array_append(list, r.json);
		json_array_extend(results, r.sarif);
		if (rules == NULL)
			rules = json_incref(r.rules);
		check_result_free(&r);
	}
	if (code == ST_OK && o->format == FORMAT_JSON)
		print_json(json_incref(list));
	if (code == ST_OK && o->format == FORMAT_SARIF)
		print_json(sarif_log(json_incref(results), json_incref(rules)));
	json_decref(list);
	json_decref(results);
	json_decref(rules);
	return code != ST_OK ? code : errors > 0 ? 1 : ST_OK;
}

static enum status read_options(int argc, char **argv, struct check_options *o, int *bad, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"json", no_argument, NULL, 'j'},
		{"sarif", no_argument, NULL, 's'},
		{"for", required_argument, NULL, 'f'},
		{"set", required_argument, NULL, 'S'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 'j':
			o->format = FORMAT_JSON;
			break;
		case 's':
			o->format = FORMAT_SARIF;
			break;
		case 'f':
			st = units_parse_int("--for", optarg, 12, 99, &o->major, err);
			break;
		case 'S':
			VEC_PUSH(&o->settings, optarg);
			break;
		case 'h':
			o->help = true;
			break;
		default:
			*bad = c;
			return ST_OK;
		}
	}
	VEC_PUSH(&o->settings, NULL);
	if (st == ST_OK && !o->help && optind == argc) {
		st = error_set(err, ST_USAGE, "check: which scenario?");
		error_hint(err, "pgrehearse check FILE.lua");
	}
	return st;
}

int cmd_check(int argc, char **argv)
{
	struct check_options o = {.major = sql_parser_version()};
	struct error err;
	int bad = 0, code;
	enum status st = read_options(argc, argv, &o, &bad, &err);
	if (st == ST_OK && bad == 0)
		st = scenario_set_settings(o.settings.at, &err);
	if (bad != 0)
		code = command_bad_option("check", bad, optopt, argv[optind - 1]);
	else if (st != ST_OK)
		code = command_fail(&err);
	else if (o.help)
		code = fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
	else
		code = check_all(argv + optind, argc - optind, &o);
	VEC_FREE(&o.settings);
	return code;
}
