/* Histograms: what is not on the hot path of recording. */
#include "measure/hist.h"

#include "base/memory.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void set_empty(struct hist *h)
{
	h->total = 0;
	h->saturated = 0;
	h->min_ns = INT64_MAX;
	h->max_ns = INT64_MIN;
	h->sum_ns = 0;
	h->first = HIST_SLOTS;
	h->last = 0;
}

struct hist *hist_create(void)
{
	/* calloc, not malloc and memset: fresh pages from the kernel are zero and cost nothing until touched. */
	struct hist *h = calloc(1, sizeof *h);
	if (h != NULL)
		set_empty(h);
	return h;
}

void hist_prepare(struct hist *h)
{
	const uint32_t from = hist_slot(16 * 1000), to = hist_slot(1000 * 1000 * 1000);
	memory_touch(&h->counts[from], (to - from + 1) * sizeof h->counts[0]);
}

void hist_free(struct hist *h)
{
	free(h);
}

void hist_merge(struct hist *into, const struct hist *from)
{
	if (from->total == 0)
		return;
	if (into->total == 0)
		hist_prepare(into);
	for (uint32_t i = from->first; i <= from->last; i++) {
		if (from->counts[i] != 0) /* do not touch pages of into for nothing */
			into->counts[i] += from->counts[i];
	}
	into->total += from->total;
	into->saturated += from->saturated;
	into->sum_ns += from->sum_ns;
	if (from->min_ns < into->min_ns)
		into->min_ns = from->min_ns;
	if (from->max_ns > into->max_ns)
		into->max_ns = from->max_ns;
	if (from->first < into->first)
		into->first = from->first;
	if (from->last > into->last)
		into->last = from->last;
}

void hist_clear(struct hist *h)
{
	if (h->first <= h->last)
		memset(&h->counts[h->first], 0, (h->last - h->first + 1) * sizeof h->counts[0]);
	set_empty(h);
}

uint64_t hist_count(const struct hist *h)
{
	return h->total;
}

int64_t hist_min(const struct hist *h)
{
	return h->total == 0 ? 0 : h->min_ns;
}

int64_t hist_max(const struct hist *h)
{
	return h->total == 0 ? 0 : h->max_ns;
}

double hist_mean(const struct hist *h)
{
	return h->total == 0 ? 0 : h->sum_ns / (double)h->total;
}

int64_t hist_slot_low(uint32_t slot)
{
	if (slot < 2 * HIST_HALF)
		return slot;
	uint32_t shift = (slot >> HIST_HALF_BITS) - 1;
	return (int64_t)(slot - (shift << HIST_HALF_BITS)) << shift;
}

int64_t hist_slot_high(uint32_t slot)
{
	return hist_slot_low(slot + 1) - 1;
}

uint64_t hist_rank(double q, uint64_t n)
{
	if (n == 0)
		return 0;
	if (!(q > 0))
		return 1;
	if (q >= 1)
		return n;
	/* One step down first: 0.07 * 100 is 7.000000000000001 in doubles and must give rank 7. */
	double rank = ceil(nextafter(q, 0) * (double)n);
	if (rank >= (double)n)
		return n;
	return rank < 1 ? 1 : (uint64_t)rank;
}

int64_t hist_quantile(const struct hist *h, double q)
{
	if (h->total == 0)
		return 0;
	uint64_t rank = hist_rank(q, h->total);
	uint64_t seen = 0;
	for (uint32_t i = h->first; i < h->last; i++) {
		seen += h->counts[i];
		if (seen >= rank)
			return hist_slot_high(i);
	}
	/* The last slot: also that of all saturated values, which makes the exact maximum the only honest answer for it. */
	return h->saturated > 0 || hist_slot_high(h->last) > h->max_ns ? h->max_ns : hist_slot_high(h->last);
}

uint64_t hist_count_above(const struct hist *h, int64_t ns)
{
	if (h->total == 0 || ns >= h->max_ns)
		return 0;
	if (ns < h->min_ns)
		return h->total;
	uint64_t above = 0;
	for (uint32_t i = hist_slot(ns > HIST_HIGHEST_NS ? HIST_HIGHEST_NS : ns) + 1; i <= h->last; i++)
		above += h->counts[i];
	return above;
}

bool hist_next(const struct hist *h, struct hist_iter *it, struct hist_bucket *out)
{
	if (it->slot < h->first)
		it->slot = h->first;
	for (; it->slot <= h->last; it->slot++) {
		uint64_t count = h->counts[it->slot];
		if (count == 0)
			continue;
		it->cumulative += count;
		*out = (struct hist_bucket){hist_slot_low(it->slot), hist_slot_high(it->slot), count, it->cumulative};
		it->slot++;
		return true;
	}
	return false;
}
