/* The plan of arrivals: arrival i's due time, kind and seed follow from (seed, rate program, i) alone. All workers share one
 * plan; whichever has an idle session claims the next arrival, without locks.
 *
 * A plan is a row of segments. Within one, arrivals are points of a unit-rate process (Poisson's, or evenly spaced) in
 * "operational time" u, put at Lambda^-1(u), where Lambda is the integral of the rate program (load/rate.h). A change of the rate
 * or of the mix ends the segment and opens another whose seed is derived from the plan's. */
#ifndef PGR_LOAD_PLAN_H
#define PGR_LOAD_PLAN_H

#include "base/error.h"
#include "load/rate.h"

#include <stdbool.h>
#include <stdint.h>

#define PLAN_SEGMENTS_MAX 4096
#define PLAN_NEVER INT64_MAX

struct plan;

struct arrival {
	int64_t due_ns;
	uint64_t seed;        /* of all that its transaction draws */
	double kind;          /* [0, 1): which transaction, by the shares of the weights */
	const double *shares; /* as given with the segment; NULL: the workload's own weights */
};

/* One reader's place: an arrival and its due time. Zero-initialised it stands at the first arrival of the plan. Cursors differ only in
 * how far they have walked; each belongs to one thread. */
struct plan_cursor {
	bool placed; /* the members below hold an arrival */
	uint32_t segment;
	uint64_t index;  /* of the arrival in its segment */
	uint64_t passed; /* arrivals of the plan before this one */
	uint64_t whole;  /* operational time is whole + part; kept apart so that 10^15 arrivals later part is */
	double part;     /* still exact to 10^-16 */
	int64_t due_ns;  /* PLAN_NEVER: there are no more arrivals as things stand */
};

/* even: one arrival in each unit of operational time instead of a Poisson process. The program is copied. */
enum status plan_create(uint64_t seed, const struct rate_program *program, bool even, struct plan **out, struct error *err) MUST_CHECK;
void plan_free(struct plan *plan);

/* Sets the origin; no cursor may have been used before. */
void plan_start(struct plan *plan, int64_t start_ns);

/* Ends the current segment at at_ns and opens one there, whose program begins then; NULL: the present one goes on where it is. shares:
 * what the new segment's arrivals carry; they must outlive the plan. at_ns must lie so far in the future that every thread sees the change
 * before that time (10 ms is plenty); it is moved behind the start of the current segment where it is not. One thread
 * at a time. Before plan_start it changes the first segment. ST_USAGE: PLAN_SEGMENTS_MAX reached. */
enum status plan_change(
	struct plan *plan, const struct rate_program *program, const double *shares, int64_t at_ns, struct error *err) MUST_CHECK;

/* The rate that is planned for a time, by the segment under way. One thread, the one that changes the plan. */
double plan_rate_at(const struct plan *plan, int64_t t_ns);

/* Claims the next arrival of the plan for the caller if it is due by now_ns. False: the next one is at cursor->due_ns.
 * now_ns must have been read before the call, not estimated: see plan.c on why a claim then never crosses the end of a segment. */
bool plan_claim(struct plan *plan, struct plan_cursor *cursor, int64_t now_ns, struct arrival *out);

/* Moves the cursor to the first arrival that nobody has claimed yet; passed is then the number claimed. */
void plan_seek_unclaimed(struct plan *plan, struct plan_cursor *cursor);

/* Arrivals due by t_ns, from the start. t_ns must not decrease from call to call of one cursor, nor lie in the future. */
uint64_t plan_count_until(struct plan *plan, struct plan_cursor *cursor, int64_t t_ns);

/* The arrival at the cursor (placed by any call above). */
struct arrival plan_arrival_at(const struct plan *plan, const struct plan_cursor *cursor);

/* Kind and seed of arrival `index` of a stream: what plan_arrival_at uses, for the closed loop, which has no due times. */
struct arrival plan_draw(uint64_t seed, uint64_t index);

#endif
