/* Locks that sessions of the migration hold, put together from looks at pg_locks: for statements outside of transactions, those that
 * failed, and sessions that are not ours. Pure bookkeeping: no connection, no clock; times are on the scale of clock_now_ns(). */
#ifndef PGR_OBSERVE_HOLDS_H
#define PGR_OBSERVE_HOLDS_H

#include <stdbool.h>
#include <stdint.h>

#define HOLDS_MAX 512          /* followed at once; more are counted and left out */
#define HOLD_STATEMENTS_MAX 64 /* likewise */

/* A row of pg_locks of a relation. */
struct hold_seen {
	int pid;
	const char *relation; /* as in waits.jsonl */
	const char *mode;
	bool granted;
};

/* A hold that is over, as told to the emit function; texts live until that returns. */
struct hold_record {
	int64_t statement; /* that took it */
	int pid;
	const char *relation, *mode;
	bool external;
	bool granted;     /* false: it was only ever asked for */
	int64_t asked_ns; /* seen to wait since then; INT64_MIN: never */
	int64_t from_ns;  /* of the hold; where it was not granted the same as to_ns */
	int64_t to_ns;
	int64_t bound_ns; /* the length of the hold is right to this */
};

/* A lock that a session was first seen to hold. */
struct hold_grant {
	int64_t statement; /* that took it, or the next one when it was over within one look */
	int pid;
	bool external;
	const char *relation, *mode;
};

struct holds;
struct holds_config {
	void (*emit)(const struct hold_record *record, void *arg);
	void (*granted)(const struct hold_grant *grant, void *arg); /* NULL: nobody wants to know before the hold is over */
	void *arg;
};
struct holds *holds_create(const struct holds_config *config);
void holds_free(struct holds *h);

/* A statement begins. In a transaction what it takes is told only if it fails: else the migration's own session reads it more exactly.
 * external: of a session that is not ours, whose statements are followed one upon the other until holds_gone. */
void holds_begin(struct holds *h, int64_t id, int pid, int64_t start_ns, bool in_transaction, bool external);

/* It ended; unknown ids are ignored. All that it took is released by then, unless it succeeded in a transaction. */
void holds_end(struct holds *h, int64_t id, int pid, int64_t end_ns, bool failed);

/* An external session is no longer there. */
void holds_gone(struct holds *h, int pid, int64_t from_ns, int64_t to_ns);

/* Sessions whose locks are to be read; at most max. */
int holds_watched(const struct holds *h, int *pids, int max);

/* The start of the youngest statement of ours that runs, and whether any runs outside of transactions. False when none runs. */
bool holds_running(const struct holds *h, int64_t *youngest_ns, bool *outside);

/* A look, sent at from_ns and back at to_ns, showed these locks of the sessions watched, and no others. */
void holds_look(struct holds *h, int64_t from_ns, int64_t to_ns, const struct hold_seen *rows, int n);

/* Tells all that is open as held to now. */
void holds_finish(struct holds *h, int64_t now_ns);

/* Locks left out for want of room. */
uint64_t holds_overflowed(const struct holds *h);

#endif
