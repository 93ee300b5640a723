/* What of a trace a command is to take: --from, --to, --user, --database, --application, --class, --read-only. */
#ifndef PGR_CLI_TRACE_FILTER_H
#define PGR_CLI_TRACE_FILTER_H

#include "base/error.h"
#include "replay/capture.h"

#include <getopt.h>
#include <stdbool.h>

/* For a command's table of long options, above any character of its own and policy.h's. */
enum {
	OPTION_FROM = 1100,
	OPTION_TO,
	OPTION_USER,
	OPTION_DATABASE,
	OPTION_APPLICATION,
	OPTION_CLASS,
	OPTION_READ_ONLY,
};
/* clang-format off */
#define TRACE_SESSION_OPTIONS                                       \
	{"from", required_argument, NULL, OPTION_FROM},               \
	{"to", required_argument, NULL, OPTION_TO},                   \
	{"user", required_argument, NULL, OPTION_USER},               \
	{"database", required_argument, NULL, OPTION_DATABASE},       \
	{"application", required_argument, NULL, OPTION_APPLICATION}
#define TRACE_FILTER_OPTIONS                                        \
	TRACE_SESSION_OPTIONS,                                        \
	{"class", required_argument, NULL, OPTION_CLASS},             \
	{"read-only", no_argument, NULL, OPTION_READ_ONLY}
/* clang-format on */

/* Takes one of them; *taken is false when c is none. ST_USAGE: the value cannot be read. */
enum status trace_filter_take(struct capture_filter *filter, int c, const char *value, bool *taken, struct error *err) MUST_CHECK;

#endif
