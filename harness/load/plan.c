/* The plan of arrivals. Three streams of counter-based random numbers a segment: gaps, kinds, seeds. */
#include "load/plan.h"

#include "base/clock.h"
#include "base/rng.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

/* A program of the plan's own; kept to its end, since any cursor may still stand in a segment of it. */
struct program {
	struct program *next;
	struct rate_program rate;
};

struct segment {
	uint64_t gap_seed, draw_seed;
	const struct rate_program *program;
	const double *shares;
	int64_t start_ns;
	int64_t origin_ns;  /* where the program began: before start_ns when another segment had its beginning */
	long double before; /* operational time that it has used up by start_ns */

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
	uint32_t last; /* segment; touched by the changing thread only, like the next */
	struct program *programs;
	bool even;
	bool started;
};

/* ---- segments ---- */

/* start + Lambda^-1(whole + part), or PLAN_NEVER when the program does not yield as much. */
static int64_t due_time(const struct segment *s, uint64_t whole, double part)
{
	int64_t offset_ns = rate_invert(s->program, s->before + (long double)whole + (long double)part);
	if (offset_ns == RATE_NEVER)
		return PLAN_NEVER;
	int64_t due_ns = s->origin_ns + offset_ns;
	return due_ns > s->start_ns ? due_ns : s->start_ns;
}

static void fill_segment(struct plan *plan, uint32_t number, struct segment with)
{
	struct segment *s = &plan->segments[number];
	uint64_t seed = number == 0 ? plan->seed : rng_at(plan->seed, number);
	s->gap_seed = rng_at(seed, 0);
	s->draw_seed = rng_at(seed, 1);
	s->program = with.program;
	s->shares = with.shares;
	s->start_ns = with.start_ns;
	s->origin_ns = with.origin_ns;
	s->before = with.before;
	atomic_store_explicit(&s->end_ns, PLAN_NEVER, memory_order_relaxed);
}

static const struct rate_program *keep_program(struct plan *plan, const struct rate_program *rate)
{
	struct program *p = malloc(sizeof *p);
	if (p == NULL)
		return NULL;
	p->rate = *rate;
	p->next = plan->programs;
	plan->programs = p;
	return &p->rate;
}

enum status plan_create(uint64_t seed, const struct rate_program *program, bool even, struct plan **out, struct error *err)
{
	struct plan *plan = aligned_alloc(64, (sizeof *plan + 63) / 64 * 64);
	if (plan == NULL)
		return error_set(err, ST_FAILED, "out of memory for the plan of arrivals");
	plan->seed = seed;
	plan->even = even;
	plan->started = false;
	plan->last = 0;
	plan->programs = NULL;
	atomic_init(&plan->next, 0);
	struct segment first = {.program = keep_program(plan, program)};
	if (first.program == NULL) {
		plan_free(plan);
		return error_set(err, ST_FAILED, "out of memory for the plan of arrivals");
	}
	fill_segment(plan, 0, first);
	*out = plan;
	return ST_OK;
}

void plan_free(struct plan *plan)
{
	while (plan != NULL && plan->programs != NULL) {
		struct program *p = plan->programs;
		plan->programs = p->next;
		free(p);
	}
	free(plan);
}

void plan_start(struct plan *plan, int64_t start_ns)
{
	plan->segments[0].start_ns = plan->segments[0].origin_ns = start_ns;
	plan->started = true;
}

enum status plan_change(struct plan *plan, const struct rate_program *program, const double *shares, int64_t at_ns, struct error *err)
{
	struct segment *s = &plan->segments[plan->last];
	if (plan->started && plan->last + 1 == PLAN_SEGMENTS_MAX)
		return error_set(err, ST_USAGE, "the load has been changed %d times, which is the most in one run", PLAN_SEGMENTS_MAX - 1);
	if (at_ns < s->start_ns)
		at_ns = s->start_ns;
	struct segment next = {.program = s->program, .shares = shares, .start_ns = at_ns, .origin_ns = s->origin_ns};
	if (program != NULL) {
		next.program = keep_program(plan, program);
		next.origin_ns = at_ns;
		if (next.program == NULL)
			return error_set(err, ST_FAILED, "out of memory for the plan of arrivals");
	}
	if (!plan->started) {
		s->program = next.program;
		s->shares = shares;
		return ST_OK;
	}
	next.before = rate_integral(next.program, at_ns - next.origin_ns);
	fill_segment(plan, ++plan->last, next);
	atomic_store_explicit(&s->end_ns, at_ns, memory_order_release);
	return ST_OK;
}

double plan_rate_at(const struct plan *plan, int64_t t_ns)
{
	uint32_t i = plan->last;
	while (i > 0 && plan->segments[i].start_ns > t_ns)
		i--;
	const struct segment *s = &plan->segments[i];
	return rate_at(s->program, t_ns > s->origin_ns ? t_ns - s->origin_ns : 0);
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
	a.shares = plan->segments[cursor->segment].shares;
	return a;
}

struct arrival plan_draw(uint64_t seed, uint64_t index)
{
	return (struct arrival){
		.kind = rng_unit(rng_at(seed, 2 * index)),
		.seed = rng_at(seed, 2 * index + 1),
	};
}
