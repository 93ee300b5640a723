/* Shapes are looked at once; what is left for each statement is to hash the values by which it finds its rows. */
#define _GNU_SOURCE
#include "replay/play_plan.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/vec.h"
#include "replay/trace.h"

#include <string.h>

#define SHAPES_MAX 100000         /* that are looked at; others may do anything */
#define BEYOND_NS (60 * NS_PER_S) /* how long after the window a statement of it may end to be ordered */
#define UNTIMED_SHARE 0.5         /* of the statements, that may be without a duration: failed ones are where they are told at their end */

struct play_plan {
	struct trace *trace;
	struct capture_matcher *matcher;
	struct play_schema *schema;
	int64_t until_ns;
	VEC(struct effect *) effects; /* by shape */
	VEC(uint64_t) values;
	struct effect nothing, anything;
	struct buf text;
};

static enum status look_at_durations(const struct trace *t, const char *path, struct error *err)
{
	const json_t *meta = trace_meta(t);
	double all = json_get_number(meta, "statements", 0);
	double untimed = json_get_number(json_object_get(meta, "loss"), "no_duration", 0);
	if (untimed <= UNTIMED_SHARE * all)
		return ST_OK;
	(void)error_set(err, ST_USAGE,
		"%s: %.0f of %.0f statements have no duration, so that the trace does not tell what ended before what", path, untimed, all);
	error_hint(err, "capture with log_duration = on, or replay with --order none");
	return err->status;
}

enum status play_plan_create(
	const char *trace, const struct capture_filter *filter, const char *dsn, bool ordered, struct play_plan **out, struct error *err)
{
	struct play_plan *p = calloc(1, sizeof *p);
	if (p == NULL)
		abort();
	p->schema = play_schema_create();
	p->anything = (struct effect){.global = true, .writes = true};
	p->nothing = (struct effect){.reads = true};
	buf_init(&p->text, LOG_RECORD_MAX);
	enum status st = ordered ? trace_open(trace, &p->trace, err) : ST_OK;
	if (ordered && st == ST_OK)
		st = look_at_durations(p->trace, trace, err);
	if (st == ST_OK && dsn != NULL)
		st = play_schema_load(p->schema, dsn, err);
	if (st != ST_OK) {
		play_plan_free(p);
		return st;
	}
	*out = p;
	if (!ordered)
		return ST_OK;
	int64_t first_ns = trace_summary(p->trace)->first_ns;
	p->matcher = capture_matcher_create(filter, first_ns);
	p->until_ns = filter->to_ns > 0 ? first_ns + filter->to_ns + BEYOND_NS : INT64_MAX;
	if (filter->from_ns > 0)
		trace_seek(p->trace, first_ns + filter->from_ns);
	trace_in_log_order(p->trace);
	return ST_OK;
}

void play_plan_free(struct play_plan *p)
{
	if (p == NULL)
		return;
	for (size_t i = 0; i < p->effects.n; i++)
		effect_free(p->effects.at[i]);
	VEC_FREE(&p->effects);
	VEC_FREE(&p->values);
	buf_free(&p->text);
	capture_matcher_free(p->matcher);
	play_schema_free(p->schema);
	trace_close(p->trace);
	free(p);
}

struct play_schema *play_plan_schema(const struct play_plan *p)
{
	return p->schema;
}

/* A statement that the server did not understand, or had no mind to, does nothing. */
static bool is_refused(const char *sqlstate)
{
	return strncmp(sqlstate, "42", 2) == 0 || strcmp(sqlstate, "25P02") == 0;
}

const struct effect *play_plan_effect(struct play_plan *p, const struct trace_event *e)
{
	if (is_refused(e->sqlstate))
		return &p->nothing;
	if (e->shape->number >= SHAPES_MAX || (e->shape->n == 1 && e->shape->text[0] == SHAPE_MARK))
		return &p->anything;
	while (p->effects.n <= e->shape->number)
		VEC_PUSH(&p->effects, NULL);
	struct effect **known = &p->effects.at[e->shape->number];
	if (*known == NULL)
		*known = effect_of_shape(e->shape->text, e->shape->n, p->schema);
	return *known;
}

static uint64_t hash_of(const struct trace_event *e, uint32_t slot)
{
	bool literal = slot >= EFFECT_LITERAL;
	uint32_t i = literal ? slot - EFFECT_LITERAL : slot;
	if (i >= (literal ? e->n_literals : e->n_params))
		return 0;
	const struct param *value = literal ? &e->literals[i] : &e->params[i];
	return value->null ? 1 : shape_hash(value->value.n > 0 ? value->value.at : "", value->value.n);
}

bool play_plan_next(struct order_step *step, void *plan)
{
	struct play_plan *p = plan;
	struct trace_event e;
	struct error ignored; /* the player reads the same, and tells it */
	while (trace_next(p->trace, &e, &ignored)) {
		int64_t end_ns = e.arrival_ns + (e.duration_ns > 0 ? e.duration_ns : 0);
		if (end_ns > p->until_ns)
			return false;
		if (e.kind <= CAPTURED_DISCONNECT || e.kind == CAPTURED_FETCH || !capture_matches(p->matcher, &e))
			continue;
		const struct effect *effect = play_plan_effect(p, &e);
		p->values.n = 0;
		for (uint32_t i = 0; i < effect->n_equals; i++)
			VEC_PUSH(&p->values, hash_of(&e, effect->equals[i].slot));
		*step = (struct order_step){.session = e.session->number,
			.arrival_ns = e.arrival_ns,
			.end_ns = end_ns,
			.effect = effect,
			.values = p->values.at};
		return true;
	}
	return false;
}
