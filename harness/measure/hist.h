/* Latency histogram of nanoseconds with three significant digits, in HdrHistogram's layout, so that its tools can read what we write. */
#ifndef PGR_MEASURE_HIST_H
#define PGR_MEASURE_HIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * HdrHistogram's layout for (lowest 1, highest 2^47 - 1, 3 digits). Values below 2^11 have a slot each. From there on every
 * power of two is split into 2^10 slots, so a slot is at most 1/1024 of its value wide.
 */
#define HIST_DIGITS 3
#define HIST_HALF_BITS 10
#define HIST_HALF (1 << HIST_HALF_BITS)
#define HIST_HIGHEST_NS ((INT64_C(1) << 47) - 1) /* about 39 hours */
#define HIST_SLOTS (38 * HIST_HALF)              /* index of HIST_HIGHEST_NS, plus 1 */

/*
 * Only made by hist_create: 300 kB of address space, of which the kernel gives 130 kB with the first value and more for values beyond 1 s.
 * Invariants: total is the sum of counts; every non-zero count lies within [first, last]; an empty one has first > last,
 * min_ns > max_ns. Not thread-safe: a worker owns its own.
 */
struct hist {
	uint64_t total;
	uint64_t saturated; /* of total: those above HIST_HIGHEST_NS, which are counted in the last slot */
	int64_t min_ns;     /* exact */
	int64_t max_ns;     /* exact, above HIST_HIGHEST_NS too */
	double sum_ns;      /* exact up to 2^53 ns */
	uint32_t first;
	uint32_t last;
	uint64_t counts[HIST_SLOTS];
};

/* An empty histogram, or NULL when memory runs out. */
struct hist *hist_create(void);

/* NULL is fine. */
void hist_free(struct hist *h);

/* Has the kernel give the pages of the slots that latencies usually fall into, 16 us to 1 s, of an empty histogram: memory grows with the first value
 * and not whenever one is slower than all before, and values are recorded without page faults. hist_record and hist_merge call it. */
void hist_prepare(struct hist *h);

/* Slot of a value in [0, HIST_HIGHEST_NS]. */
static inline uint32_t hist_slot(int64_t ns)
{
	int shift = 64 - HIST_HALF_BITS - 1 - __builtin_clzll((unsigned long long)ns | (2 * HIST_HALF - 1));
	return ((uint32_t)shift << HIST_HALF_BITS) + (uint32_t)(ns >> shift);
}

/* Counts one value. A negative one counts as 0; one above the range goes to the last slot and into saturated. */
static inline void hist_record(struct hist *h, int64_t ns)
{
	if (ns < 0)
		ns = 0;
	if (ns < h->min_ns)
		h->min_ns = ns;
	if (ns > h->max_ns)
		h->max_ns = ns;
	h->sum_ns += (double)ns;
	h->total++;
	if (ns > HIST_HIGHEST_NS) {
		h->saturated++;
		ns = HIST_HIGHEST_NS;
	}
	uint32_t slot = hist_slot(ns);
	if (slot < h->first) {
		if (__builtin_expect(h->first == HIST_SLOTS, 0))
			hist_prepare(h);
		h->first = slot;
	}
	if (slot > h->last)
		h->last = slot;
	h->counts[slot]++;
}

/* Adds all of from to into: the same as recording every value of both. */
void hist_merge(struct hist *into, const struct hist *from);

/* Empties it; touches only the slots that were used. */
void hist_clear(struct hist *h);

uint64_t hist_count(const struct hist *h);

/* The exact smallest and largest value recorded; 0 when empty. After reading from a log: see hlog.h. */
int64_t hist_min(const struct hist *h);
int64_t hist_max(const struct hist *h);

/* The mean in nanoseconds; 0 when empty. */
double hist_mean(const struct hist *h);

/*
 * The value at quantile q in [0, 1] (clamped): the value of rank ceil(q * count), at least 1, in sorted order, given as the
 * highest value of its slot as HdrHistogram does, so it is at most 0.1 % above the exact one and never below it; but never
 * above the exact maximum, so that no quantile exceeds hist_max. 0 when empty.
 */
int64_t hist_quantile(const struct hist *h, double q);

/* The rank, from 1 to n, of quantile q among n sorted values: ceil(q * n), not led astray by rounding (0.07 of 100 is 7). 0 when n is 0. */
uint64_t hist_rank(double q, uint64_t n);

/* How many values were above ns; those in the slot of ns itself do not count (exact where slots are: below 2 µs, at min and max). */
uint64_t hist_count_above(const struct hist *h, int64_t ns);

/* One slot that holds values: all v with low <= v <= high. */
struct hist_bucket {
	int64_t low;
	int64_t high;
	uint64_t count;
	uint64_t cumulative; /* this slot and all below it */
};

/* Start with {0}. */
struct hist_iter {
	uint32_t slot;
	uint64_t cumulative;
};

/* The next slot that is not empty, from low to high; false at the end. The histogram must not change meanwhile. */
bool hist_next(const struct hist *h, struct hist_iter *it, struct hist_bucket *out);

/* Lowest and highest value of a slot. */
int64_t hist_slot_low(uint32_t slot);
int64_t hist_slot_high(uint32_t slot);

#endif
