/* Long commands under way (CREATE INDEX, VACUUM, CLUSTER, ANALYZE, COPY ...): how far they are, how long they still take, and whom they
 * wait for. */
#ifndef PGR_OBSERVE_PROGRESS_H
#define PGR_OBSERVE_PROGRESS_H

#include "observe/state_queries.h"

#include <jansson.h>
#include <stdint.h>

#define PROGRESS_MAX 32

/* Where a command stood when it was first seen in its present phase. */
struct progress_mark {
	int pid;
	char command[32], phase[64];
	int64_t since_ns, done;
	bool seen;
};

struct progress {
	struct progress_mark marks[PROGRESS_MAX];
	int n;
};

/* Before and after the rows of one look; commands that were not among them are forgotten. */
void progress_begin_look(struct progress *p);
void progress_end_look(struct progress *p);

/* Time left of the phase that a command is in, from its speed in this phase so far; -1: not known. */
int64_t progress_estimate(struct progress *p, const struct progress_facts *facts, int64_t now_ns);

/* An event of type `progress` for the record, without t_ns. */
json_t *progress_json(const struct progress_facts *facts, int64_t eta_ns);

/* "CREATE INDEX CONCURRENTLY on users: building index, 42 %, waits for psql (pid 7), whose transaction is 12 s old" */
void progress_text(const struct progress_facts *facts, int64_t eta_ns, char *out, size_t size);

#endif
