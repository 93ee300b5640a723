/* What each statement of a trace does, by its shape and the target's catalog; and a second reading of the trace, in the log's order, for
 * replay/play_order.h. */
#ifndef PGR_REPLAY_PLAY_PLAN_H
#define PGR_REPLAY_PLAY_PLAN_H

#include "base/error.h"
#include "replay/capture.h"
#include "replay/play_order.h"

struct play_plan;

/* Reads the target's catalog (blocks; dsn NULL: knows nothing). ordered: play_plan_next will be asked. ST_USAGE: the trace has no durations,
 * so that nothing says what ended before what. */
enum status play_plan_create(const char *trace, const struct capture_filter *filter, const char *dsn, bool ordered, struct play_plan **out,
	struct error *err) MUST_CHECK;
void play_plan_free(struct play_plan *p);

/* A function of struct order; arg is the plan. */
bool play_plan_next(struct order_step *step, void *plan);

/* Of a statement; shapes count the same in each reading of a trace. Valid as long as the plan. */
const struct effect *play_plan_effect(struct play_plan *p, const struct trace_event *e);

struct play_schema *play_plan_schema(const struct play_plan *p);

#endif
