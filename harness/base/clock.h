/* Time: int64_t nanoseconds everywhere, from these two clocks and no other. */
#ifndef PGR_BASE_CLOCK_H
#define PGR_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

#define NS_PER_US INT64_C(1000)
#define NS_PER_MS INT64_C(1000000)
#define NS_PER_S INT64_C(1000000000)

/* CLOCK_MONOTONIC: durations and schedules. A loop reads it once a pass and owns the result. */
int64_t clock_now_ns(void);

/* CLOCK_REALTIME since the Unix epoch: only for stamps that a person reads. */
int64_t clock_wall_ns(void);

/* CPU time used so far by the calling thread. */
int64_t clock_thread_cpu_ns(void);

/* "2026-11-21T06:50:18.123456Z" into out (at least 32 bytes); returns out. */
const char *clock_format_wall(int64_t wall_ns, char *out, size_t size);

#endif
