/* What the server is like while a rehearsal runs: one session with several rhythms, none of which is fast. */
#ifndef PGR_OBSERVE_STATE_H
#define PGR_OBSERVE_STATE_H

#include "base/vec.h"
#include "observe/availability.h"
#include "observe/link.h"

#include <jansson.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct table_base {
	int64_t oid, activity; /* when it was first seen */
};

enum state_job { JOB_TABLES, JOBS };

struct state {
	/* Set by the owner, with dsn, warn and statements of link. */
	struct link link;
	struct availability *availability; /* is told of the tables that are in use; NULL: nobody is */

	/* Its own. */
	struct loop_timer tick;
	int64_t due_ns[JOBS];
	int64_t begin_ns;
	VEC(struct table_base) bases;
	bool based;       /* the first list is in */
	char named[8192]; /* tables that the migration has locked, as an array for $1 */
	const char *values[1];
};

void state_start(struct state *st, struct loop *loop);
void state_stop(struct state *st);

/* The migration has locked a relation, as in waits.jsonl. */
void state_note_relation(struct state *st, const char *relation);

#endif
