/* Prepared statements that captured SQL names: a replay prepares those of the protocol under names of its own, so that what frees one by its
 * captured name has nothing to free, and what frees all frees ours too. */
#ifndef PGR_REPLAY_PLAY_PREPARED_H
#define PGR_REPLAY_PLAY_PREPARED_H

#include "replay/trace.h"

struct play_prepared;

#define PREPARED_NAMES_MAX 1024 /* of a session that are remembered, the latest ones */

enum prepared_fate {
	PREPARED_SEND,
	PREPARED_LEAVE_OUT, /* DEALLOCATE of what was prepared by the protocol, not by a PREPARE */
	PREPARED_FREES_ALL, /* DISCARD ALL, DEALLOCATE ALL: to be sent, and then nothing is prepared any more */
};

struct play_prepared *play_prepared_create(void);
void play_prepared_free(struct play_prepared *p);

/* What becomes of a statement; of each session all of them, in their order. */
enum prepared_fate play_prepared_next(struct play_prepared *p, const struct trace_event *e);

/* The session has ended: its names are forgotten. */
void play_prepared_end(struct play_prepared *p, uint32_t session);

#endif
