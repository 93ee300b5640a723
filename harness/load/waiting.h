/* What lies with one worker of requests that have not been started: users who think until their next one is due, and
 * requests that are due and wait for a session. Most arrivals are never in here: they wait in the plan, where any
 * worker can claim them. In here come later requests of users (which lie with the worker that served the one before),
 * and arrivals that have waited longer than one app version lets them, but not another.
 * Those who think are the worker's own; what is due may be taken, counted and looked at by any thread. */
#ifndef PGR_LOAD_WAITING_H
#define PGR_LOAD_WAITING_H

#include "load/engine.h"
#include "load/plan.h"

#include <stdbool.h>
#include <stdint.h>

struct request {
	struct arrival arrival;
	uint64_t user;   /* seed of the user who makes it */
	uint32_t number; /* of the user's requests, from 0 */
	uint32_t count;  /* of the user's requests; THINK_ENDLESS: there is always one more */
	int version;     /* of the pod that it was sent to: whose patience counts, not always who serves it */
};

/* Requests come to the queues from two sides, each in the order of due times. */
enum waiting_side { WAITING_USERS, WAITING_PLAN, WAITING_SIDES };

struct waiting;

/* Running out of memory ends the process, as in set-up: a load without bound to its backlog has nothing better to do. */
struct waiting *waiting_create(void);
void waiting_free(struct waiting *w);

/* A user thinks until r->arrival.due_ns. */
void waiting_think(struct waiting *w, const struct request *r);

/* When the next user has thought enough; PLAN_NEVER: nobody thinks. */
int64_t waiting_thinks_until(const struct waiting *w);

/* Takes a user out who has thought enough by now_ns. */
bool waiting_take_thinker(struct waiting *w, int64_t now_ns, struct request *out);

/* A request that is due waits for a session; on one side, due times must not decrease within a version. */
void waiting_push(struct waiting *w, enum waiting_side side, const struct request *r);
uint64_t waiting_count(const struct waiting *w);

/* Due time of the oldest; PLAN_NEVER: none. */
int64_t waiting_oldest_due(struct waiting *w);
bool waiting_take_oldest(struct waiting *w, struct request *out);

/* Takes one that has waited as long as its version lets it (limits by version, 0: for ever). */
bool waiting_take_overdue(struct waiting *w, int64_t now_ns, const int64_t limits[LOAD_VERSIONS_MAX], struct request *out);

/* When the next one will have; PLAN_NEVER: none. */
int64_t waiting_overdue_at(struct waiting *w, const int64_t limits[LOAD_VERSIONS_MAX]);

#endif
