/* When each heartbeat was committed, in a ring that is searched by halves. */
#include "observe/heartbeat.h"

void heartbeat_commit(struct heartbeat *h, int64_t seq, int64_t committed_ns)
{
	h->beats[h->n % HEARTBEATS_MAX].seq = seq;
	h->beats[h->n % HEARTBEATS_MAX].committed_ns = committed_ns;
	h->n++;
}

int64_t heartbeat_lag_ns(const struct heartbeat *h, int64_t shown_seq, int64_t at_ns)
{
	uint64_t low = h->n > HEARTBEATS_MAX ? h->n - HEARTBEATS_MAX : 0;
	uint64_t high = h->n;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;
		if (h->beats[middle % HEARTBEATS_MAX].seq > shown_seq)
			high = middle;
		else
			low = middle + 1;
	}
	if (low == h->n)
		return 0;
	int64_t age = at_ns - h->beats[low % HEARTBEATS_MAX].committed_ns;
	return age > 0 ? age : 0;
}
