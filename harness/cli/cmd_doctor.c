/* pgrehearse doctor: whether a rehearsal could be carried out here, and what is in its way. */
#define _GNU_SOURCE
#include "base/json.h"
#include "cli/commands.h"
#include "cli/policy.h"
#include "scenario/doctor.h"

#include <stdio.h>
#include <string.h>

static const char HELP[] = "usage: pgrehearse doctor [--target WHAT] [SCENARIO.lua|--trace TRACE] [--json] [OPTION]...\n\n"
			   "Asks everything that a rehearsal needs, and touches nothing: programs, disk space, limits, clock; with\n"
			   "--target of files whether they are whole and fit; of a server the guard's rules, and its version,\n"
			   "privileges, free connections, settings.\n\n"
			   "  --target WHAT         as in pgrehearse run --help-all: [dsn:]DSN, template:DSN, dump:PATH, base:PATH,\n"
			   "                        snapshot:NAME, command:UP,DOWN; without it: a sandbox on this machine\n"
			   "  --server DIR          the folder of the sandbox's initdb, pg_ctl, postgres\n"
			   "  SCENARIO.lua          how many sessions its load needs\n"
			   "  --trace TRACE         how many a replay of it needs\n"
			   "  --json                one JSON object: exit_code, lines of state, what, found, remedy\n" POLICY_HELP
			   "\nok: as it should be; note: it can be rehearsed, but read the line; missing: it cannot, or not all of it\n"
			   "is seen; refused: by the guard. Exit code: 0 nothing is missing, 2 something is, 4 refused.\n\n"
			   "Example: pgrehearse doctor scenarios/user_status.lua\n";

struct doctor_options {
	struct source source;
	const char *server_dir, *scenario, *trace;
	bool json, help;
	struct policy allowed;
	json_t *lines;
};

static void print_line(const struct doctor_line *line, void *arg)
{
	struct doctor_options *o = arg;
	if (o->json) {
		json_array_append_new(o->lines,
			json_pack("{s:s, s:o, s:o, s:o}", "state", doctor_state_name(line->state), "what", json_text(line->what), "found",
				json_text(line->found), "remedy", line->remedy[0] != '\0' ? json_text(line->remedy) : json_null()));
		return;
	}
	printf("%-8s %-22s %s\n", doctor_state_name(line->state), line->what, line->found);
	if (line->remedy[0] != '\0')
		printf("%-8s %-22s -> %s\n", "", "", line->remedy);
}

static int examine(struct doctor_options *o)
{
	struct error err;
	struct doctor_config config = {.source = &o->source,
		.server_dir = o->server_dir,
		.policy = policy_close(&o->allowed),
		.scenario_path = o->scenario,
		.trace_path = o->trace,
		.told = print_line,
		.arg = o};
	o->lines = json_array();
	enum status st = doctor_examine(&config, &err);
	if (o->json && err.status == ST_OK) {
		json_t *all = json_pack("{s:i, s:i, s:O}", "format", 1, "exit_code", (int)st, "lines", o->lines);
		json_dumpf(all, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(all);
	}
	json_decref(o->lines);
	if (err.status != ST_OK)
		return command_fail(&err);
	if (!o->json)
		printf("\n%s\n",
			st == ST_OK                ? "A rehearsal can be carried out."
				: st == ST_REFUSED ? "The guard refuses the target."
						   : "Something is missing.");
	return (int)st;
}

static int read_and_examine(struct doctor_options *o, int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{"target", required_argument, NULL, 't'},
		{"server", required_argument, NULL, 's'},
		{"trace", required_argument, NULL, 'T'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		POLICY_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	struct error err;
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		if (c == 't') {
			source_free(&o->source);
			if (source_parse(optarg, &o->source, &err) != ST_OK)
				return command_fail(&err);
		} else if (c == 's')
			o->server_dir = optarg;
		else if (c == 'T')
			o->trace = optarg;
		else if (c == 'j')
			o->json = true;
		else if (c == 'h')
			return fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
		else if (!policy_take(&o->allowed, c, optarg))
			return command_bad_option("doctor", c, optopt, argv[optind - 1]);
	}
	if (argc - optind > 1) {
		error_set(&err, ST_USAGE, "doctor: one scenario at a time, not %s too", argv[optind + 1]);
		return command_fail(&err);
	}
	if (argc > optind && o->trace != NULL) {
		error_set(&err, ST_USAGE, "doctor: a trace or a scenario, not both");
		return command_fail(&err);
	}
	o->scenario = optind < argc ? argv[optind] : NULL;
	return examine(o);
}

int cmd_doctor(int argc, char **argv)
{
	struct doctor_options o = {0};
	int code = read_and_examine(&o, argc, argv);
	source_free(&o.source);
	policy_free(&o.allowed);
	return code;
}
