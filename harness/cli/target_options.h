/* --target and what belongs to it: options that run and load share. */
#ifndef PGR_CLI_TARGET_OPTIONS_H
#define PGR_CLI_TARGET_OPTIONS_H

#include "base/error.h"
#include "base/vec.h"
#include "clone/source.h"
#include "scenario/target.h"

#include <getopt.h>
#include <stdbool.h>

enum {
	TARGET_WHAT = 0x200,
	TARGET_STANDBYS,
	TARGET_DELAY,
	TARGET_STANDBY_DSN,
	TARGET_CACHE,
	TARGET_RESET,
	TARGET_SYNC,
	TARGET_SERVER,
	TARGET_PG_CONFIG,
	TARGET_DATABASE,
	TARGET_ACCEPT_ERRORS,
	TARGET_POOLER,
	TARGET_VALUES
};

/* Rows of a table for getopt_long(3). */
#define TARGET_OPTIONS                                                                                                              \
	{"target", required_argument, NULL, TARGET_WHAT}, {"standbys", required_argument, NULL, TARGET_STANDBYS},                   \
		{"cache", required_argument, NULL, TARGET_CACHE}, {"standby", required_argument, NULL, TARGET_STANDBY_DSN},         \
		{"reset-command", required_argument, NULL, TARGET_RESET}, {"standby-delay", required_argument, NULL, TARGET_DELAY}, \
		{"sync-standby", no_argument, NULL, TARGET_SYNC}, {"server", required_argument, NULL, TARGET_SERVER},               \
		{"pg-config", required_argument, NULL, TARGET_PG_CONFIG}, {"pooler", required_argument, NULL, TARGET_POOLER},       \
		{"record-values", no_argument, NULL, TARGET_VALUES}, {"database", required_argument, NULL, TARGET_DATABASE},        \
	{                                                                                                                           \
		"accept-restore-errors", no_argument, NULL, TARGET_ACCEPT_ERRORS                                                    \
	}

struct target_options {
	struct source source;
	int standbys;
	int64_t standby_delay_ns;
	bool synchronous, accept_errors, record_values;
	const char *server_dir, *database, *cache;
	const char *pooler_dsn;
	const char *reset_command, *standby_dsns[REHEARSAL_STANDBYS_MAX];
	int n_standby_dsns;
	VEC(char *) settings; /* of --pg-config */
};

#define TARGET_OPTIONS_DEFAULT \
	{                      \
		.standbys = 1  \
	}

/* For --help-all. */
extern const char TARGET_HELP[];

/* False: option is none of ours. *st says whether its value is good. */
bool target_option(struct target_options *o, int option, const char *value, enum status *st, struct error *err);

/* Whether more than one drill can start from the same state. */
bool target_can_reset(const struct target_options *o);

/* Fills in what o says of config, which then points into o. */
void target_options_apply(struct target_options *o, struct target_config *config);

void target_options_free(struct target_options *o);

#endif
