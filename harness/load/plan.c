/* The plan of arrivals. Three streams of counter-based random numbers a segment: gaps, kinds, seeds. */
#include "load/plan.h"

#include "base/clock.h"
#include "base/rng.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The rate as a function of time is a row of pieces, each with a closed form of its integral and of that's inverse. A new
 * shape is a new enumerator and a case in each of the two functions below. */
enum piece_shape { PIECE_CONSTANT };

struct piece {
	enum piece_shape shape;
	double length_s; /* INFINITY: to the end of the segment */
	double rate;     /* arrivals a second */
};

#define PIECES_MAX 1

struct segment {
	uint64_t gap_seed, draw_seed;
	int64_t start_ns;
	struct piece pieces[PIECES_MAX];
	int n_pieces;

	/* PLAN_NEVER while this is the last segment. It is stored (release) after the next segment has been filled in, so who
	 * loads (acquire) another value may read that segment: no count of segments is needed. */
	_Atomic int64_t end_ns;
};

/* The claim counter names the first arrival that nobody has claimed: segment << 48 | index. It is advanced by compare-exchange
 * only, to the arrival after the claimed one, so each arrival is claimed once and in order. Where the named arrival lies
 * behind the end of its segment, which is only known once that has been closed, the first of the next one is meant.
 *
 * Why no claim can take an arrival that a concurrent change of the rate has removed: the thread read its clock (now) before it
 * loaded end_ns. Had it loaded PLAN_NEVER, then the end was published after now was read, and an end lies 10 ms in the
 * future when it is published; so due <= now < end, and the arrival belongs to the segment however long the
 * thread is held up before its compare-exchange. */
#define INDEX_BITS 48

struct plan {
	_Alignas(64) _Atomic uint64_t next;
	char pad[64 - sizeof(uint64_t)]; /* the rest is read by everyone and hardly ever written */
	struct segment segments[PLAN_SEGMENTS_MAX];
	uint64_t seed;
	uint32_t last; /* segment; touched by the changing thread only */
	bool even;
	bool started;
};

/* ---- pieces ---- */

/* Arrivals that the whole piece yields on average. */
static double piece_mass(const struct piece *p)
{
	switch (p->shape) {
	case PIECE_CONSTANT:
		return p->rate > 0 ? p->rate * p->length_s : 0;
	}
	return 0;
}

/* Time in ns from the start of the piece at which u = whole + part arrivals have come on average; the piece yields as much. */
static double piece_invert(const struct piece *p, uint64_t whole, double part)
{
	switch (p->shape) {
	case PIECE_CONSTANT: {
		/* Below 2^53 ns (104 days) the sum is exact to a fraction of a nanosecond. */
		double period_ns = 1e9 / p->rate;
		return (double)whole * period_ns + part * period_ns;
	}
	}
	return INFINITY;
}

/* start + Lambda^-1(whole + part), or PLAN_NEVER when the program does not yield as much. */
static int64_t due_time(const struct segment *s, uint64_t whole, double part)
{
	double offset_ns = 0;
	for (int i = 0; i < s->n_pieces; i++) {
		const struct piece *p = &s->pieces[i];
		double mass = piece_mass(p);
		if ((double)whole + part <= mass && mass > 0) {
			double ns = offset_ns + piece_invert(p, whole, part);
			return ns < 0x1p62 ? s->start_ns + (int64_t)llround(ns) : PLAN_NEVER;
		}
		double whole_mass = floor(mass);
		part -= mass - whole_mass;
		whole -= (uint64_t)whole_mass;
		if (part < 0) {
			part += 1;
			whole--;
		}
		offset_ns += p->length_s * 1e9;
	}
	return PLAN_NEVER;
}

/* ---- segments ---- */

static void fill_segment(struct plan *plan, uint32_t number, double rate, int64_t start_ns)
{
	struct segment *s = &plan->segments[number];
	uint64_t seed = number == 0 ? plan->seed : rng_at(plan->seed, number);
	s->gap_seed = rng_at(seed, 0);
	s->draw_seed = rng_at(seed, 1);
	s->start_ns = start_ns;
	s->pieces[0] = (struct piece){.shape = PIECE_CONSTANT, .length_s = INFINITY, .rate = rate};
	s->n_pieces = 1;
	atomic_store_explicit(&s->end_ns, PLAN_NEVER, memory_order_relaxed);
}

static enum status check_rate(double rate, struct error *err)
{
	if (isfinite(rate) && rate >= 0 && rate <= 1e9)
		return ST_OK;
	error_set(err, ST_USAGE, "%g is not a rate of arrivals", rate);
	error_hint(err, "arrivals a second from 0 to 1000000000; fractions are accepted");
	return ST_USAGE;
}

enum status plan_create(uint64_t seed, double rate, bool even, struct plan **out, struct error *err)
{
	enum status st = check_rate(rate, err);
	if (st != ST_OK)
		return st;
	struct plan *plan = aligned_alloc(64, (sizeof *plan + 63) / 64 * 64);
	if (plan == NULL)
		return error_set(err, ST_FAILED, "out of memory for the plan of arrivals");
	plan->seed = seed;
	plan->even = even;
	plan->started = false;
	plan->last = 0;
	atomic_init(&plan->next, 0);
	fill_segment(plan, 0, rate, 0);
	*out = plan;
	return ST_OK;
}

void plan_free(struct plan *plan)
{
	free(plan);
}

void plan_start(struct plan *plan, int64_t start_ns)
{
	plan->segments[0].start_ns = start_ns;
	plan->started = true;
}

enum status plan_change_rate(struct plan *plan, double rate, int64_t at_ns, struct error *err)
{
	enum status st = check_rate(rate, err);
	if (st != ST_OK)
		return st;
	struct segment *s = &plan->segments[plan->last];
	if (!plan->started) {
		s->pieces[0].rate = rate;
		return ST_OK;
	}
	if (plan->last + 1 == PLAN_SEGMENTS_MAX)
		return error_set(err, ST_USAGE, "the rate has been changed %d times, which is the most in one run", PLAN_SEGMENTS_MAX - 1);
	if (at_ns < s->start_ns)
		at_ns = s->start_ns;
	fill_segment(plan, ++plan->last, rate, at_ns);
	atomic_store_explicit(&s->end_ns, at_ns, memory_order_release);
	return ST_OK;
}

/* ---- cursors ---- */

/* Adds the gap that precedes the arrival at the cursor, and finds its due time. */
static void add_gap(const struct plan *plan, struct plan_cursor *c)
{
	const struct segment *s = &plan->segments[c->segment];
	double gap = plan->even ? 1.0 : -log(rng_unit_open(rng_at(s->gap_seed, c->index)));
	double sum = c->part + gap;
	double whole = floor(sum);
	c->whole += (uint64_t)whole;
	c->part = sum - whole;
	c->due_ns = due_time(s, c->whole, c->part);
}

static void enter_segment(const struct plan *plan, struct plan_cursor *c, uint32_t segment)
{
	c->segment = segment;
	c->index = 0;
	c->whole = 0;
	c->part = 0;
	add_gap(plan, c);
}

/* Goes on to the next segment while the arrival lies behind the end of its own. */
static void settle(const struct plan *plan, struct plan_cursor *c)
{
	if (!c->placed) {
		c->placed = true;
		enter_segment(plan, c, 0);
	}
	while (c->segment + 1 < PLAN_SEGMENTS_MAX) {
		int64_t end_ns = atomic_load_explicit(&plan->segments[c->segment].end_ns, memory_order_acquire);
		if (end_ns == PLAN_NEVER || c->due_ns < end_ns)
			return;
		enter_segment(plan, c, c->segment + 1);
	}
}

static void advance(const struct plan *plan, struct plan_cursor *c)
{
	c->index++;
	c->passed++;
	add_gap(plan, c);
	settle(plan, c);
}

/* Walks to the arrival that a value of the claim counter names. A cursor is at most ahead of it by the step over the end
 * of a closed segment. */
static void seek(const struct plan *plan, struct plan_cursor *c, uint64_t next)
{
	uint32_t segment = (uint32_t)(next >> INDEX_BITS);
	uint64_t index = next & ((UINT64_C(1) << INDEX_BITS) - 1);
	settle(plan, c);
	while (c->segment < segment || (c->segment == segment && c->index < index))
		advance(plan, c);
}

bool plan_claim(struct plan *plan, struct plan_cursor *cursor, int64_t now_ns, struct arrival *out)
{
	uint64_t next = atomic_load_explicit(&plan->next, memory_order_acquire);
	for (;;) {
		seek(plan, cursor, next);
		if (cursor->due_ns > now_ns)
			return false;
		uint64_t after = ((uint64_t)cursor->segment << INDEX_BITS) | (cursor->index + 1);
		if (atomic_compare_exchange_weak_explicit(&plan->next, &next, after, memory_order_acq_rel, memory_order_acquire)) {
			*out = plan_arrival_at(plan, cursor);
			return true;
		}
	}
}

void plan_seek_unclaimed(struct plan *plan, struct plan_cursor *cursor)
{
	seek(plan, cursor, atomic_load_explicit(&plan->next, memory_order_acquire));
}

uint64_t plan_count_until(struct plan *plan, struct plan_cursor *cursor, int64_t t_ns)
{
	settle(plan, cursor);
	while (cursor->due_ns <= t_ns)
		advance(plan, cursor);
	return cursor->passed;
}

struct arrival plan_arrival_at(const struct plan *plan, const struct plan_cursor *cursor)
{
	struct arrival a = plan_draw(plan->segments[cursor->segment].draw_seed, cursor->index);
	a.due_ns = cursor->due_ns;
	return a;
}

struct arrival plan_draw(uint64_t seed, uint64_t index)
{
	return (struct arrival){
		.kind = rng_unit(rng_at(seed, 2 * index)),
		.seed = rng_at(seed, 2 * index + 1),
	};
}
