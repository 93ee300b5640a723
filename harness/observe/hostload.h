/* How busy this machine is, from /proc: processors, run queue, memory, disks. */
#ifndef PGR_OBSERVE_HOSTLOAD_H
#define PGR_OBSERVE_HOSTLOAD_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Counters at the last look; zero-initialised before the first. */
struct hostload {
	int64_t at_ns;
	int64_t busy, all; /* of /proc/stat, in ticks */
	int64_t read_sectors, written_sectors, busiest_ms;
};

/* What happened since the last call: the field `host` of an interval, a new reference. NULL at the first call. What the kernel does not
 * tell is null. */
json_t *hostload_look(struct hostload *h);

#endif
