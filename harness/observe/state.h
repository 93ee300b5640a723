/* What the server is like while a rehearsal runs: one session with several rhythms, none of which is fast. */
#ifndef PGR_OBSERVE_STATE_H
#define PGR_OBSERVE_STATE_H

#include "base/vec.h"
#include "observe/availability.h"
#include "observe/link.h"
#include "observe/progress.h"
#include "observe/queries.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define STATE_TABLES_MAX AVAILABILITY_TABLES_MAX
#define STATE_EDGES_MAX 8 /* edges of phases that wait to be looked at */

struct table_base {
	int64_t oid, activity; /* when it was first seen */
};

/* In the order of their urgency. */
enum state_job { JOB_EDGE, JOB_PROFILE, JOB_PROGRESS, JOB_STATE, JOB_TABLES, JOBS };

struct state {
	/* Set by the owner, with dsn, warn and statements of link. */
	struct link link;
	const struct server_facts *facts;          /* version_num is 0 until it is known */
	struct availability *availability;         /* is told of the tables that are in use; NULL: nobody is */
	void (*latest)(json_t *server, void *arg); /* a new reading, for an interval's `server`; takes the reference */
	/* An event, whose reference it takes; or what to show, "" for nothing. */
	void (*progress)(json_t *event, const char *text, void *arg);
	void (*finished)(void *arg);
	void *arg;

	/* Its own. */
	struct loop_timer tick;
	int64_t due_ns[JOBS];
	int64_t begin_ns;
	VEC(struct table_base) bases;
	bool based; /* the first list is in */
	struct {
		char relation[136], quoted[300];
	} tables[STATE_TABLES_MAX]; /* in use */
	int tables_n;
	char named[8192]; /* tables that the migration has locked, as an array for $1 */
	char names[STATE_TABLES_MAX * 320];
	const char *values[1];
	struct progress commands;
	char edges[STATE_EDGES_MAX][64]; /* names of the phases that begin; "" = none does */
	int edges_n;
	bool finishing;

	json_t *phases;   /* finished ones */
	json_t *phase;    /* the one under way, as it will be in the record; NULL between phases */
	json_t *counters; /* as they were when it began */
	json_t *edge;     /* as they are now */
};

void state_start(struct state *st, struct loop *loop);
void state_stop(struct state *st);

/* The migration has locked a relation, as in waits.jsonl. */
void state_note_relation(struct state *st, const char *relation);

/* A phase begins, and the one before it ends; "": none begins. */
void state_note_phase(struct state *st, const char *name);

/* `finished` is called when every edge has been looked at, perhaps from inside. */
void state_finish(struct state *st);

/* The field `phase_state` of run.json; a new reference. */
json_t *state_json(const struct state *st);

#endif
