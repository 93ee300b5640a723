/* Where a server's clock stands against our monotonic one, learnt from readings that each come with a round trip. */
#ifndef PGR_OBSERVE_CLOCKMAP_H
#define PGR_OBSERVE_CLOCKMAP_H

#include <stdbool.h>
#include <stdint.h>

#define CLOCKMAP_READINGS 256

/* The server read its clock somewhere between sent and done, so the offset lies within half the round trip of its middle. The
 * reading with the shortest round trip among the last CLOCKMAP_READINGS counts; old ones leave, so that a slewed clock is followed. */
struct clockmap {
	struct {
		int64_t offset_ns; /* ours - the server's */
		int64_t error_ns;  /* half the round trip */
	} readings[CLOCKMAP_READINGS];
	int count, next;
	int best;       /* index */
	uint64_t steps; /* how often the server's clock was found to have jumped */
};

/* server_us: microseconds since 1970 as the server read them between sent_ns and done_ns (clock_now_ns() scale). A reading that
 * contradicts the best one by more than 1 ms means that the clock was set: what was learnt before is forgotten. */
void clockmap_add(struct clockmap *map, int64_t sent_ns, int64_t done_ns, int64_t server_us);

/* Any reading yet? Before, the two calls below mean nothing. */
bool clockmap_ready(const struct clockmap *map);

/* A time of the server on our clock; right to clockmap_error_ns, and the microsecond that the server rounds to. */
int64_t clockmap_local_ns(const struct clockmap *map, int64_t server_us);
int64_t clockmap_error_ns(const struct clockmap *map);

#endif
