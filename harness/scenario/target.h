/* What drills are performed on: a sandbox filled with a workload's data, a dump or a base backup and put back to that state before each
 * drill, or a connection string that the guard has let pass. */
#ifndef PGR_SCENARIO_TARGET_H
#define PGR_SCENARIO_TARGET_H

#include "base/error.h"
#include "clone/guard.h"
#include "clone/source.h"
#include "scenario/conductor.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct target;

struct target_config {
	const struct source *source; /* what --target says */
	struct guard_policy policy;  /* what the guard lets pass by name */
	const char *name;            /* of the sandbox; NULL: made up */
	const char *workload_path;   /* as found; its schema and generator serve a target `sandbox` only */
	double scale;
	uint64_t seed;
	int64_t standby_delay_ns;        /* as in sandbox.h */
	const char *server_dir;          /* of the sandbox's programs; NULL: as it fits */
	const char *const *settings;     /* of the sandbox's servers, "name=value", NULL-terminated; or NULL */
	const char *database;            /* of a dump or base backup that holds several; or NULL */
	const char *const *standby_dsns; /* of a target that is no sandbox */
	const char *pooler_dsn;          /* of a connection string: the load goes through it; or NULL */
	const char *reset_command;       /* puts a connection string's database back to where it started; or NULL */
	const char *snapshot_dir;        /* where the snapshot is made, to stay; NULL: within the sandbox, with which it goes */
	const char *cache;               /* of each drill's start: "cold", "warm"; NULL: as it is */
	const volatile sig_atomic_t *stop;
	void (*progress)(
		const char *what, int64_t done, int64_t total, void *arg); /* as generate_progress; also of the servers, with total 0 */
	void *arg;
	int standbys; /* of the sandbox */
	int jobs;     /* of pg_restore; 0: as it fits */
	int n_standby_dsns;
	bool synchronous;   /* commits wait for its first standby */
	bool record_values; /* as in struct rehearsal */
	bool accept_errors; /* of a restore */
	bool keep;          /* the sandbox outlives us */
	bool snapshot;      /* target_refresh will be called more than once */
};

/* Guards, or makes and fills. Blocks; call it while there is one thread. ST_REFUSED: the guard said no. ST_INTERRUPTED: *stop. */
enum status target_prepare(const struct target_config *config, struct target **out, struct error *err) MUST_CHECK;

/* The state that a drill starts from: at once without a snapshot, else from that. standbys: of the config's, the drill has no use for more.
 * The guard is asked again, as it was by target_prepare. ST_USAGE for a second drill on a connection string, which cannot be put back. */
enum status target_refresh(struct target *t, int standbys, struct error *err) MUST_CHECK;

/* Stops the primary at once and promotes its first standby, to which the connection string leads from then on. ST_USAGE: not with a target that
 * is no sandbox with a standby. Blocks; may be called from a thread of its own while the drill is under way. */
enum status target_fail_over(struct target *t, struct error *err) MUST_CHECK;

/* Calls each for every server of ours in whose log it says, since the drill began, that one of its processes ended unasked or a file could not be
 * written: its name, the first such message, and the last messages of the server's own processes. */
void target_find_trouble(const struct target *t,
	void (*each)(const char *server, const char *trouble, const char *lines, size_t length, void *arg), void *arg);

/* Fills in the fields of r that say what the target is. They live as long as t. */
void target_describe(struct target *t, struct rehearsal *r);

/* What a snapshot of it is of, for snapshot_complete(). A new reference. */
json_t *target_about(const struct target *t);

/* The sandbox outlives us from now on, as with config.keep. ST_USAGE: the target is none. */
enum status target_keep(struct target *t, struct error *err) MUST_CHECK;

/* NULL of a target that is none of ours; lives as long as t. */
const struct sandbox *target_sandbox(const struct target *t);

/* Where it is now; lives until the next call on t. */
const char *target_dsn(const struct target *t);

/* Removes what was made, frees t. NULL is fine. */
void target_free(struct target *t);

#endif
