/* Follows the locks of the migration's statements by looking at pg_locks while they run, and the statements and locks of sessions that
 * are not ours but belong to the migration: tools of others, known by application_name, by role, or by the process that opened the session. */
#ifndef PGR_OBSERVE_TRACER_H
#define PGR_OBSERVE_TRACER_H

#include "base/vec.h"
#include "observe/ancestry.h"
#include "observe/clockmap.h"
#include "observe/holds.h"
#include "observe/link.h"
#include "observe/pace.h"
#include "observe/waits.h"
#include "runtime/loop.h"

#include <stdbool.h>
#include <stdint.h>

#define TRACER_EXTERNAL_FIRST 1000000 /* ids of statements of external sessions are above: ours are counted from 1 */
#define TRACER_SESSIONS_MAX 32

struct record;

struct tracer {
	/* Set by the owner: link's dsn, warn, statements; and these. */
	struct link link;
	struct record *record;
	struct waits *waits;
	const struct clockmap *map;
	const struct pace *pace;
	int64_t period_ns;
	const char *names; /* LIKE patterns as a text array ("{flyway%}"), of application_name and of the role; NULL: none */
	const char *roles;
	void (*before)(struct tracer *tracer); /* before a look is decided on or worked in: hand over what has been noted */
	void *owner;

	/* Its own. */
	struct holds *holds;
	struct loop_timer tick;
	int64_t next_ns, looked_ns;
	char pids[TRACER_SESSIONS_MAX * 12 + 16], tree_pids[TRACER_SESSIONS_MAX * 12 + 16];
	const char *values[4];
	struct tracer_tree {
		pid_t root;
		char step[128], direction[8];
	} trees[ANCESTRY_ROOTS_MAX];
	int trees_n;
	struct ancestry ancestry;
	VEC(struct tracer_client {
		int pid;
		int64_t start_us;        /* of the server process: a pid may come again */
		struct tracer_tree tree; /* root 0: it belongs to none */
		bool here;
	})
	clients; /* sessions of the database, while there is a tree or one of its sessions */
	bool told_unknown;
	VEC(struct hold_seen) rows;
	struct external {
		int pid; /* 0: free */
		int64_t id;
		int64_t query_start_us;
		int64_t start_ns, seen_ns;
		bool active, here;
		char application_name[64];
		char step[128], direction[8]; /* "" when it belongs to none */
		char sql[WAIT_SQL_MAX];
	} externals[TRACER_SESSIONS_MAX];
	int64_t next_id;
	int64_t started_ns;
	bool told_overflow;
};

void tracer_start(struct tracer *tracer, struct loop *loop);

/* Sessions that the process `root` or one below it opens from now on belong to the migration, to this step; until tracer_unwatch, from
 * when on new ones do not. More than ANCESTRY_ROOTS_MAX at once are left out. */
void tracer_watch(struct tracer *tracer, const struct tracer_tree *tree);
void tracer_unwatch(struct tracer *tracer, pid_t root);

/* The migration begins something, after a while of nothing. */
void tracer_rouse(struct tracer *tracer);

/* Writes what is open, and closes. */
void tracer_stop(struct tracer *tracer);

#endif
