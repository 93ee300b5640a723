/* Puts ends of transactions back where they belong. The server releases a transaction's locks before it logs that its COMMIT has ended: on a
 * busy machine one that waited for such a lock may be told to have got it, and even to have committed, before. */
#ifndef PGR_REPLAY_PLAY_STRAIGHTEN_H
#define PGR_REPLAY_PLAY_STRAIGHTEN_H

#include "replay/play_order.h"

struct straightener;

/* next: the log's order. */
struct straightener *straighten_create(struct play_schema *schema, bool (*next)(struct order_step *step, void *arg), void *arg);
void straighten_free(struct straightener *s);

/* The next step in the order in which they had their effect; a function of struct order, arg is the straightener. Who changed rows by
 * their primary key, or its first columns, has them until the end of its transaction: so that end comes before whoever changed them next. */
bool straighten_next(struct order_step *step, void *straightener);

#endif
