/* Which requests a worker starts, and when it looks. Private to load/; all on the worker's thread. */
#ifndef PGR_LOAD_CLAIM_H
#define PGR_LOAD_CLAIM_H

#include "load/worker.h"

/* Before the worker's thread starts. */
void claim_init(struct worker *w);

/* Hands what is due to idle sessions, gives up what has waited too long, and sets the timer for the next look. Does nothing while it
 * is on the C stack already, or the worker does not run. */
void claim_due(struct worker *w);

/* For who has just read the clock. */
void claim_due_at(struct worker *w, int64_t now_ns);

/* The idle queue has another first session. */
void claim_publish_idle(struct worker *w);

/* Closed loop with think times: the worker's share of the users begins to think. */
void claim_start_users(struct worker *w, int64_t start_ns);

/* Users who have thought enough by now_ns wait for a session. */
void claim_end_thinking(struct worker *w, int64_t now_ns);

/* The request has ended: its user thinks about the next one, if there is to be one. */
void claim_next_request(struct worker *w, const struct request *ended, int64_t now_ns);

/* By the shares of its segment. */
int claim_pick_transaction(const struct workload *w, const struct arrival *a);

#endif
