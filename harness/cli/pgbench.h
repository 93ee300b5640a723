/* --pgbench and its fellows as one name of a workload: pgbench:SCRIPT[@W],...?KEY=VALUE&... (workloads/lib/pgbench/init.lua). */
#ifndef PGR_CLI_PGBENCH_H
#define PGR_CLI_PGBENCH_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define PGBENCH_OPTIONS_MAX 128

struct pgbench_options {
	int n_scripts, n_defines;
	const char *scripts[PGBENCH_OPTIONS_MAX]; /* FILE[@W] or the name of a built-in */
	const char *defines[PGBENCH_OPTIONS_MAX]; /* NAME=VALUE */
	const char *protocol;                     /* or NULL */
	int64_t max_tries;                        /* 0: not given */
};

/* Each takes the argument of an option. ST_USAGE: too many, or it does not look like one. */
enum status pgbench_add_script(struct pgbench_options *o, const char *script, struct error *err) MUST_CHECK;
enum status pgbench_add_define(struct pgbench_options *o, const char *define, struct error *err) MUST_CHECK;

/* Fills an initialised buffer. */
enum status pgbench_workload_name(const struct pgbench_options *o, struct buf *out, struct error *err) MUST_CHECK;

/* The scale that pgbench -i was given for the tables of this database: the number of branches. ST_USAGE when there are none. */
enum status pgbench_read_scale(const char *dsn, double *scale, struct error *err) MUST_CHECK;

/* Whether one of the built-ins is among them: those need the scale. */
bool pgbench_uses_builtin(const struct pgbench_options *o);

#endif
