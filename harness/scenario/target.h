/* What drills are performed on: a sandbox filled with a workload's data and put back to that state before each drill, or a
 * connection string that the guard has let pass. */
#ifndef PGR_SCENARIO_TARGET_H
#define PGR_SCENARIO_TARGET_H

#include "base/error.h"
#include "scenario/conductor.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct target;

struct target_config {
	const char *dsn;           /* NULL: a sandbox */
	const char *workload_path; /* as found */
	double scale;
	uint64_t seed;
	int standbys;  /* of the sandbox */
	bool keep;     /* the sandbox outlives us */
	bool snapshot; /* target_refresh will be called more than once */
	const volatile sig_atomic_t *stop;
	void (*progress)(
		const char *what, int64_t done, int64_t total, void *arg); /* as generate_progress; also of the servers, with total 0 */
	void *arg;
};

/* Guards, or makes and fills. Blocks; call it while there is one thread. ST_REFUSED: the guard said no. ST_INTERRUPTED: *stop. */
enum status target_prepare(const struct target_config *config, struct target **out, struct error *err) MUST_CHECK;

/* The state that a drill starts from: at once without a snapshot, else from that. standbys: of the config's, the drill has no use for more.
 * ST_USAGE for a second drill on a connection string, which cannot be put back. */
enum status target_refresh(struct target *t, int standbys, struct error *err) MUST_CHECK;

/* Stops the primary at once and promotes its first standby, to which the connection string leads from then on. ST_USAGE: not with a target that
 * is no sandbox with a standby. Blocks; may be called from a thread of its own while the drill is under way. */
enum status target_fail_over(struct target *t, struct error *err) MUST_CHECK;

/* Fills in the fields of r that say what the target is. They live as long as t. */
void target_describe(struct target *t, struct rehearsal *r);

/* Removes what was made, frees t. NULL is fine. */
void target_free(struct target *t);

#endif
