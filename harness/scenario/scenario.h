/* A scenario file as C sees it: read and checked by scenarios/lib/rehearse, before anything is started. */
#ifndef PGR_SCENARIO_SCENARIO_H
#define PGR_SCENARIO_SCENARIO_H

#include "base/error.h"
#include "base/json.h"
#include "load/engine.h"
#include "runtime/script.h"

#include <stdbool.h>
#include <stdint.h>

struct replay_spec;

/* Strings belong to L, where the scenario's table is kept. */
struct scenario {
	lua_State *L;
	int table_ref; /* Lua registry */
	const char *path;
	char name[64]; /* of the file, without .lua; letters, digits, _ and - */
	const char *title;
	json_t *expect;             /* { fails, holds, because } of one that shows a mistake; NULL for others */
	char *workload_path;        /* found */
	struct replay_spec *replay; /* a trace that is the traffic; or NULL */
	bool traced;                /* it is the workload too, so there are no data */
	double scale;               /* 0: not said */
	char *rate;                 /* of the load: a program, checked */
	bool even;
	int pods, pool, workers, steps;
	bool closed;
	bool ledger;
	const char *read_from; /* name of the standby that read-only transactions run on; or NULL */
	int users;             /* 0: not said */
	struct think think;
	struct requests requests;
	int64_t acquire_timeout_ns, patience_ns;
	bool no_availability; /* whether tables can be read and written is not tried */
	struct load_policy *policies;
	size_t n_policies;
	const char *migration_names, *migration_roles; /* as in observer.h; NULL: none */
	const char **actors;                           /* names, NULL-terminated */
};

/* Values for rehearse.settings in every Lua state made from now on: "NAME=VALUE", NULL-terminated. Call it before threads
 * are started. ST_USAGE for what is not of that form. */
enum status scenario_set_settings(const char *const *settings, struct error *err) MUST_CHECK;

/* ST_USAGE: mistakes in the file, with file and line; settings that it does not look at. */
enum status scenario_read(const char *path, struct scenario *out, struct error *err) MUST_CHECK;
/* What the run of a drill is judged by; NULL-terminated, its texts belong to s, the caller frees the list. */
enum status scenario_criteria(const struct scenario *s, const char *drill, const char ***out, struct error *err) MUST_CHECK;
void scenario_free(struct scenario *s);

/* After script_load of the scenario at path failed: what it says wrongly is one message with its own file, and its line where that is known;
 * where in our library it was noticed helps nobody. */
void scenario_plain_error(struct error *err, const char *path);

#endif
