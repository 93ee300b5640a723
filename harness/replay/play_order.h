/* Which statement of a session has to wait for which ones of others, so that a replay ends as the capture did.
 *
 * Statements are told in the order in which they ended (the log's). Each waits only for such as ended before it: no circle can come of
 * that, and what waits for locks in the server waits for something that went before it here too. It waits for
 * - statements that touch the same rows, where both change them, or one is an insert and the other may collide with it: these have ended.
 *   So row locks are taken in the captured order. "The same rows": the same relation, and no value of a column that both name with = tells
 *   them apart. In the log this order is exact within transactions: a statement's end is logged before its client can go on to COMMIT;
 * - ends of writing transactions (of any; with ORDER_RELATION: of those that wrote a relation that it touches) that had ended before it
 *   arrived: so it sees what it saw then. An end waits so as well, is sent behind those that were under way together with it, and waits for
 *   statements that write and had looked for their rows before it by other than keys: so these do not see it.
 *
 * So the end state is the captured one where statements do the same when they see the same and rows are locked in the same order: not where
 * they tell the time or draw random numbers, nor between two transactions whose order no lock and no earlier end decided. Not known: what
 * triggers, rules and foreign keys touch, and which of two overlapping statements outside of a transaction, in the simple protocol, was
 * first (their commit comes before the line that tells it). Where that leads to a circle, or one that is waited for does not come back, the
 * caller lets the waiting one go (order_release) and it counts as a violation. */
#ifndef PGR_REPLAY_PLAY_ORDER_H
#define PGR_REPLAY_PLAY_ORDER_H

#include "replay/play_effect.h"

#include <stdbool.h>
#include <stdint.h>

enum order_mode { ORDER_NONE, ORDER_COMMIT, ORDER_RELATION };

#define ORDER_WINDOW ((uint64_t)1 << 15) /* statements ahead of the oldest one that has not ended */

/* A statement as it was captured. */
struct order_step {
	uint32_t session;
	int64_t arrival_ns, end_ns;
	const struct effect *effect; /* valid as long as the order */
	const uint64_t *values;      /* hashes, as many as the effect has equals */
};

struct order;

/* next: the next step, or false: there is none. Called from order_may_send and order_ended. */
struct order *order_create(enum order_mode mode, struct play_schema *schema, bool (*next)(struct order_step *step, void *arg), void *arg);
void order_free(struct order *o);

/* May the session's next statement, which arrived then, be sent now? true: it counts as sent. */
bool order_may_send(struct order *o, uint32_t session, int64_t arrival_ns);

/* Its statement that was sent has ended. */
void order_ended(struct order *o, uint32_t session);

/* Its next statement will never be sent. */
void order_skip(struct order *o, uint32_t session);

/* Its next statement need not wait any longer. true: it was waiting; that is a violation. */
bool order_release(struct order *o, uint32_t session);

/* How many have ended without a gap: it grows as long as the replay gets on. */
uint64_t order_progress(const struct order *o);

/* The session's statement that was sent is the first of all, in the captured order, that has not ended: if that waits in the server for a lock
 * of somebody who waits here, that one has a lock that it had not in the capture. */
bool order_is_oldest(const struct order *o, uint32_t session);

/* A session whose next statement has nothing to wait for any more since it asked; false: none. */
bool order_take_ready(struct order *o, uint32_t *session);

#endif
