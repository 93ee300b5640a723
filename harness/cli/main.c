/* pgrehearse: the command table, where messages go, and the only place that ends the program. */
#define _GNU_SOURCE
#include "base/error.h"
#include "base/hide.h"
#include "base/log.h"
#include "cli/commands.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

static int cmd_help(int argc, char **argv);
static int cmd_version(int argc, char **argv);

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} COMMANDS[] = {
	{"run", cmd_run, "perform a scenario's drills under load, and judge them"},
	{"load", cmd_load, "traffic of a workload, without a migration"},
	{"calibrate", cmd_calibrate, "what this machine can generate on time"},
	{"capture", cmd_capture, "production's traffic from a server's log into a trace"},
	{"trace", cmd_trace, "what is in a trace, and parts of it"},
	{"workload", cmd_workload, "a workload that is like captured traffic, or like pg_stat_statements"},
	{"judge", cmd_judge, "judge a record again, with further criteria if need be"},
	{"report", cmd_report, "a record as a page, Markdown, JUnit XML or text"},
	{"new", cmd_new, "write a scenario to start from, or of a migration that there is"},
	{"check", cmd_check, "what a scenario will lock and what is wrong with it, without a database"},
	{"catalogue", cmd_catalogue, "what each schema change locks and rewrites, tried on a server"},
	{"clone", cmd_clone, "mark a database of yours as one that may be destroyed"},
	{"doctor", cmd_doctor, "whether a rehearsal could be carried out here, and what is in its way"},
	{"sandbox", cmd_sandbox, "servers to try things on: up, down, list, psql, sweep"},
	{"snapshot", cmd_snapshot, "prepared data that rehearsals start from: make, list, drop"},
	{"help", cmd_help, "this text, or that of a subcommand"},
	{"version", cmd_version, "the version of this program"},
};
#define COMMAND_COUNT (sizeof COMMANDS / sizeof COMMANDS[0])

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(COMMANDS[i].name, name) == 0)
			return &COMMANDS[i];
	return NULL;
}

static int print_help(FILE *out)
{
	fprintf(out,
		"Rehearses a PostgreSQL schema change under real traffic, on a clone, and judges what the users would have felt.\n\n"
		"usage: pgrehearse SUBCOMMAND ...\n\n");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-9s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
	fprintf(out,
		"\nExit codes: 0 pass, 1 a criterion failed, 2 usage, 3 inconclusive or invalid, 4 refused by the guard,\n"
		"5 could not be carried out, 130 interrupted.\n\n"
		"Example: pgrehearse run scenarios/user_status.lua\n");
	return ST_OK;
}

static int unknown_command(const char *name)
{
	struct error err;
	char names[256] = "";
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		size_t n = strlen(names);
		snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", COMMANDS[i].name);
	}
	error_set(&err, ST_USAGE, "there is no subcommand \"%s\"", name);
	error_hint(&err, "the subcommands are %s", names);
	return command_fail(&err);
}

static int cmd_help(int argc, char **argv)
{
	if (argc < 2)
		return print_help(stdout);
	const struct command *c = find_command(argv[1]);
	if (c == NULL)
		return unknown_command(argv[1]);
	if (c->run == cmd_help || c->run == cmd_version)
		return print_help(stdout);
	char help[] = "--help";
	char *words[] = {argv[1], help, NULL};
	return c->run(2, words);
}

static int cmd_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("pgrehearse %s\n", PGR_VERSION);
	return ST_OK;
}

int command_fail(const struct error *err)
{
	fflush(stdout);
	fprintf(stderr, "pgrehearse: %s%s%s\n", err->where, err->where[0] ? ": " : "", err->what);
	if (err->hint[0] != '\0')
		fprintf(stderr, "            %s\n", err->hint);
	return (int)err->status;
}

int command_bad_option(const char *command, int result, int optopt_value, const char *word)
{
	struct error err;
	if (result == ':')
		error_set(&err, ST_USAGE, "%s: option %s needs a value", command, word);
	else if (optopt_value != 0)
		error_set(&err, ST_USAGE, "%s: unknown option -%c, or a value where none is taken: %s", command, optopt_value, word);
	else
		error_set(&err, ST_USAGE, "%s: unknown or ambiguous option %s", command, word);
	error_hint(&err, "pgrehearse %s --help lists the options", command);
	return command_fail(&err);
}

static void print_message(enum log_level level, const char *text, void *arg)
{
	(void)arg;
	if (level == LOG_DEBUG)
		return;
	fflush(stdout);
	fprintf(stderr, "pgrehearse: %s%s\n", level == LOG_WARNING ? "warning: " : "", text);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN); /* a server that went away is an error to handle, not a reason to die */
	log_set_sink(print_message, NULL);
	if (argc < 2) {
		print_help(stderr);
		return ST_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return print_help(stdout);
	if (strcmp(argv[1], "--version") == 0)
		return cmd_version(argc, argv);
	const struct command *c = find_command(argv[1]);
	if (c == NULL)
		return unknown_command(argv[1]);
	char **words = hide_arguments(argc, argv);
	int code = c->run(argc - 1, words + 1);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		struct error err;
		error_errno(&err, ST_FAILED, "the output could not be written");
		return code != 0 ? code : command_fail(&err);
	}
	return code;
}
