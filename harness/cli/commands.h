/* The subcommands: one function a command, in cmd_<name>.c. Each takes its own words (argv[0] is its name) and returns the exit code. */
#ifndef PGR_CLI_COMMANDS_H
#define PGR_CLI_COMMANDS_H

#include "base/error.h"

#include <stddef.h>

int cmd_calibrate(int argc, char **argv);
int cmd_capture(int argc, char **argv);
int cmd_catalogue(int argc, char **argv);
int cmd_check(int argc, char **argv);
int cmd_clone(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_judge(int argc, char **argv);
int cmd_load(int argc, char **argv);
int cmd_new(int argc, char **argv);
int cmd_run(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_sandbox(int argc, char **argv);
int cmd_snapshot(int argc, char **argv);
int cmd_trace(int argc, char **argv);
int cmd_workload(int argc, char **argv);

/* Prints "pgrehearse: where: what" and the hint on a line of its own to stderr; returns the exit code of err. */
int command_fail(const struct error *err);

/* An option that getopt_long(3) did not accept: says which, and what the command accepts. Returns the exit code. word: argv[optind - 1]. */
int command_bad_option(const char *command, int result, int optopt_value, const char *word);

/* Puts rehearsals/20261121T065018Z-NAME, which does not exist yet, into out; makes rehearsals. */
enum status command_name_out(const char *name, char *out, size_t size, struct error *err) MUST_CHECK;

/* Lets rehearsals/latest lead to out, when that lies there. A file system without links does without. */
void command_link_latest(const char *out);

#endif
