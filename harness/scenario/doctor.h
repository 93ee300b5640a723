/* The preconditions of a rehearsal, asked without touching anything: tools, space, limits, and on a target the guard, privileges, room and settings. */
#ifndef PGR_SCENARIO_DOCTOR_H
#define PGR_SCENARIO_DOCTOR_H

#include "base/error.h"
#include "clone/guard.h"
#include "clone/source.h"

enum doctor_state {
	DOCTOR_OK,
	DOCTOR_NOTE,    /* it can be rehearsed, but something will not be seen, or is not as in production */
	DOCTOR_MISSING, /* without it the rehearsal fails, or its record has a hole that criteria fall into */
	DOCTOR_REFUSED, /* a rule of the guard */
};

/* "ok", "note", "missing", "refused" */
const char *doctor_state_name(enum doctor_state state);

/* One precondition: what was asked ("disk space"), what was found, and what to do about it ("" when nothing is). */
struct doctor_line {
	enum doctor_state state;
	const char *what, *found, *remedy;
};

struct doctor_config {
	const struct source *source; /* of --target */
	const char *server_dir;      /* of --server, or NULL */
	struct guard_policy policy;
	const char *scenario_path; /* says how many sessions there will be; or NULL */
	const char *trace_path;    /* the same: what would be replayed without a scenario; or NULL */
	void (*told)(const struct doctor_line *line, void *arg);
	void *arg;
};

/* ST_OK when nothing is missing; ST_REFUSED when the guard refuses; ST_USAGE when something is missing, or the scenario or the connection string
 * cannot be read (err says which, and is ST_OK when lines were told). Of a server only questions are asked, in a read-only transaction, and none
 * once the guard has refused to connect; files are only read, commands of the user's not called. Blocks for 10 s at most per host. */
enum status doctor_examine(const struct doctor_config *config, struct error *err) MUST_CHECK;

#endif
