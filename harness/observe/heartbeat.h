/* When each heartbeat was committed on the primary, and so how far behind a standby is that shows one of them. Pure arithmetic. */
#ifndef PGR_OBSERVE_HEARTBEAT_H
#define PGR_OBSERVE_HEARTBEAT_H

#include <stdint.h>

#define HEARTBEATS_MAX 65536 /* at ten a second 109 minutes; a standby further behind than that reads as that far */

struct heartbeat {
	struct {
		int64_t seq;          /* rises, with gaps where a beat failed */
		int64_t committed_ns; /* when its commit was known to us */
	} beats[HEARTBEATS_MAX];
	uint64_t n; /* ever; the slot is the number modulo HEARTBEATS_MAX */
};

/* seq must be above those before. */
void heartbeat_commit(struct heartbeat *h, int64_t seq, int64_t committed_ns);

/* The age at at_ns of the oldest beat that was committed by then and is newer than shown_seq; 0 when there is none. */
int64_t heartbeat_lag_ns(const struct heartbeat *h, int64_t shown_seq, int64_t at_ns);

#endif
