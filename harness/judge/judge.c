/* Judging one record: criteria to verdicts, and whether the run is fit to be judged at all. */
#define _GNU_SOURCE
#include "judge/judge.h"

#include "base/clock.h"
#include "base/units.h"
#include "base/vec.h"
#include "judge/facts.h"
#include "record/reader.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUSY_SHARE 0.9 /* of a core: a worker above it has no time left to be on time */
#define LOOP_LAG_LIMIT_NS (100 * NS_PER_MS)
#define BAD_SECONDS_SHARE 0.05 /* of either kind */
#define BAD_SECONDS_MIN 3
#define MISSED_SHARE 0.1
#define SCHEDULE_COUNT_MIN 1000
#define SCHEDULE_ERROR_LIMIT_NS (20 * NS_PER_MS)

static const char *const NAMES[] = {"PASS", "INCONCLUSIVE", "FAIL", "INVALID"};

const char *verdict_name(enum verdict v)
{
	return NAMES[v];
}

int verdict_exit_code(enum verdict v)
{
	return v == VERDICT_PASS ? 0 : v == VERDICT_FAIL ? 1 : ST_UNFIT;
}

/* ---- is the run fit to be judged? ---- */

static void add_reason(json_t *reasons, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void add_reason(json_t *reasons, const char *fmt, ...)
{
	char text[600];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	json_array_append_new(reasons, json_text(text));
}

static void check_status(const json_t *run, json_t *reasons)
{
	const char *status = json_get_string(run, "status", "");
	const char *what = json_get_string(json_object_get(run, "error"), "what", "");
	if (strcmp(status, "interrupted") == 0)
		add_reason(reasons, "the run was interrupted");
	else if (strcmp(status, "failed") == 0)
		add_reason(reasons, "the run could not be carried out%s%s", what[0] ? ": " : "", what);
	else if (strcmp(status, "running") == 0)
		add_reason(reasons, "the run has not ended yet");
}

/* What they held is missing from the figures, which would be too good. */
static void check_lines(const struct facts *f, json_t *reasons)
{
	int64_t bad = facts_bad_lines(f);
	if (bad > 0)
		add_reason(reasons, "%" PRId64 " line%s of the record cannot be read", bad, bad == 1 ? "" : "s");
}

static bool is_too_often(int bad, int all)
{
	return bad >= BAD_SECONDS_MIN && bad > BAD_SECONDS_SHARE * all;
}

/* Each second's CPU and lag of the load workers. */
static void check_seconds(const struct facts *f, json_t *reasons)
{
	struct generator_seconds seconds = facts_count_generator(f, BUSY_SHARE, LOOP_LAG_LIMIT_NS);
	if (is_too_often(seconds.busy, seconds.all))
		add_reason(reasons,
			"the load generator was the bottleneck: in %d of %d seconds a load worker used more than %.0f %% of a core",
			seconds.busy, seconds.all, BUSY_SHARE * 100);
	char text[32];
	if (is_too_often(seconds.lagging, seconds.all))
		add_reason(reasons,
			"the load generator did not get to its work: in %d of %d seconds a timer of a load worker fired over %s late",
			seconds.lagging, seconds.all, units_format_time(LOOP_LAG_LIMIT_NS, text, sizeof text));
}

static void check_schedule(const json_t *generator, json_t *reasons)
{
	char text[32];
	const json_t *schedule = json_object_get(generator, "schedule_error");
	/* As for every percentile: of few arrivals the p99 is but the one that met with a hiccup, and half of them have to be late. */
	int64_t count = json_get_int(schedule, "count", SCHEDULE_COUNT_MIN), missed = json_get_int(generator, "missed_wakeups", 0);
	bool few = count < SCHEDULE_COUNT_MIN;
	if (!few && (double)missed > MISSED_SHARE * (double)count)
		add_reason(reasons,
			"the load generator slept through its work: of %" PRId64 " arrivals that met with an idle session the worker whose "
			"turn it was left %" PRId64 " to another one",
			count, missed);
	int64_t late_ns = json_get_int(schedule, few ? "p50_ns" : "p99_ns", 0);
	if (late_ns > SCHEDULE_ERROR_LIMIT_NS)
		add_reason(reasons,
			"the load generator was late: %s of its arrivals were sent %s or more after they were due, although a session was idle",
			few ? "half" : "1 %", units_format_time(late_ns, text, sizeof text));
}

/* Of a replay `late` among the measures of fidelity is about the schedule, by a limit that may be another one or none; and one that sends
 * as fast as it can is meant to be short of CPU. */
static void check_generator(const struct facts *f, json_t *reasons)
{
	const json_t *run = facts_run(f), *totals = json_object_get(run, "totals");
	if (totals != NULL && json_is_false(json_object_get(totals, "holds")))
		add_reason(reasons, "the conservation law is broken: planned work is not all accounted for");
	if (strcmp(json_get_string(json_object_get(run, "load"), "pacing", ""), "asap") != 0)
		check_seconds(f, reasons);
	if (json_object_get(run, "fidelity") == NULL)
		check_schedule(json_object_get(run, "generator"), reasons);
}

/* Reasons that the run gave itself, and ours. */
static json_t *find_reasons(const struct facts *f)
{
	json_t *reasons = json_array(), *given = json_array(), *reason, *ours;
	size_t i, k;
	check_status(facts_run(f), reasons);
	check_lines(f, reasons);
	check_generator(f, reasons);
	json_array_foreach(json_object_get(facts_run(f), "invalid"), i, reason)
	{
		bool known = !json_is_string(reason);
		json_array_foreach(reasons, k, ours) known = known || json_equal(reason, ours);
		if (!known)
			json_array_append(given, reason);
	}
	json_array_extend(reasons, given);
	json_decref(given);
	return reasons;
}

/* ---- one criterion ---- */

struct opinion {
	enum verdict verdict;
	bool skipped;
	char observed[64];
	char evidence[900];
};

static void observe_value(const struct criterion *c, double value, struct opinion *o)
{
	if (c->comparison != CMP_NONE)
		units_format_quantity(value, c->unit, o->observed, sizeof o->observed);
	else
		snprintf(o->observed, sizeof o->observed, value != 0 ? "yes" : "no");
}

/* The limit of a relative criterion: its factor times the baseline's figure. False when that is not there. */
static bool find_limit(const struct facts *f, const struct criterion *c, const struct figure *figure, double *limit, struct opinion *o)
{
	struct figure baseline;
	char text[32];
	*limit = c->value;
	if (!c->relative)
		return true;
	facts_measure(f, c, "baseline", &baseline);
	if (baseline.state == FIGURE_MISSING || baseline.state == FIGURE_OTHER_DRILL) {
		snprintf(o->evidence, sizeof o->evidence, "no data: %s", baseline.evidence);
		return false;
	}
	*limit = c->value * baseline.value;
	size_t n = strlen(o->evidence);
	/* No more than before, although 0 is not below 2 x 0. */
	bool nothing = baseline.value == 0 && figure->value == 0 && figure->state == FIGURE_KNOWN && c->comparison == CMP_LT &&
		c->value > 0;
	snprintf(o->evidence + n, sizeof o->evidence - n, "; baseline %s%s",
		units_format_quantity(baseline.value, c->unit, text, sizeof text), nothing ? ": nothing in either" : "");
	if (nothing)
		*limit = INFINITY;
	if (baseline.state != FIGURE_KNOWN)
		o->verdict = VERDICT_INCONCLUSIVE;
	return true;
}

static enum verdict compare(const struct criterion *c, const struct figure *figure, double limit)
{
	bool holds = criterion_holds(c, figure->value, limit), at_upper = criterion_holds(c, figure->upper, limit);
	bool below = c->comparison == CMP_LT || c->comparison == CMP_LE, above = c->comparison == CMP_GT || c->comparison == CMP_GE;
	if (figure->state == FIGURE_KNOWN)
		return holds ? VERDICT_PASS : VERDICT_FAIL;
	if (figure->state == FIGURE_TOO_FEW)
		return below && at_upper ? VERDICT_PASS : VERDICT_INCONCLUSIVE;
	/* What lies between two values holds when it does for both, and fails when it does for neither. */
	if (below || above)
		return holds && at_upper ? VERDICT_PASS : !holds && !at_upper ? VERDICT_FAIL : VERDICT_INCONCLUSIVE;
	return limit < figure->value || limit > figure->upper ? VERDICT_FAIL : VERDICT_INCONCLUSIVE;
}

static void judge_criterion(const struct facts *f, const struct criterion *c, struct opinion *o)
{
	struct figure figure;
	*o = (struct opinion){.verdict = VERDICT_PASS};
	facts_measure(f, c, NULL, &figure);
	snprintf(o->evidence, sizeof o->evidence, "%s%s", figure.state == FIGURE_MISSING ? "no data: " : "", figure.evidence);
	if (figure.state == FIGURE_OTHER_DRILL) {
		o->skipped = true;
		return;
	}
	if (figure.state == FIGURE_MISSING) {
		o->verdict = VERDICT_FAIL;
		return;
	}
	observe_value(c, figure.value, o);
	if (c->comparison == CMP_NONE) {
		o->verdict = figure.value != 0 ? VERDICT_PASS : VERDICT_FAIL;
		return;
	}
	double limit;
	if (!find_limit(f, c, &figure, &limit, o)) {
		o->verdict = VERDICT_FAIL;
		return;
	}
	if (o->verdict == VERDICT_INCONCLUSIVE)
		return;
	o->verdict = compare(c, &figure, limit);
}

/* ---- all of them ---- */

typedef VEC(struct criterion) criteria;

static enum status add_criterion(criteria *all, const char *text, const char *where, struct error *err)
{
	struct criterion c;
	enum status st = criterion_parse(text, &c, err);
	if (st != ST_OK) {
		error_where(err, "%s", where);
		return st;
	}
	for (size_t i = 0; i < all->n; i++)
		if (strcmp(all->at[i].text, c.text) == 0)
			return ST_OK;
	VEC_PUSH(all, c);
	return ST_OK;
}

static bool has_migration(const struct facts *f)
{
	size_t i;
	json_t *phase;
	json_array_foreach(json_object_get(facts_run(f), "phases"), i,
		phase) if (strcmp(json_get_string(phase, "name", ""), "migration") == 0) return true;
	return false;
}

static enum status collect_criteria(
	const struct facts *f, const char *dir, const char *const *extra, int n, criteria *all, struct error *err)
{
	size_t i;
	json_t *text;
	enum status st = has_migration(f) ? add_criterion(all, "migration.completed", dir, err) : ST_OK;
	if (st == ST_OK && json_object_get(facts_run(f), "findings") != NULL)
		st = add_criterion(all, "drill.clean", dir, err);
	json_array_foreach(json_object_get(facts_run(f), "criteria"), i, text) if (st == ST_OK && json_is_string(text))
		st = add_criterion(all, json_string_value(text), dir, err);
	for (int k = 0; st == ST_OK && k < n; k++)
		st = add_criterion(all, extra[k], "--require", err);
	return st;
}

static json_t *judge_all(const struct facts *f, const criteria *all, json_t *reasons, enum verdict *out)
{
	json_t *list = json_array();
	*out = json_array_size(reasons) > 0 ? VERDICT_INVALID : VERDICT_PASS;
	for (size_t i = 0; i < all->n; i++) {
		struct opinion o;
		judge_criterion(f, &all->at[i], &o);
		if (!o.skipped && o.verdict > *out)
			*out = o.verdict;
		json_array_append_new(list,
			json_pack("{s:o, s:s, s:o, s:o}", "criterion", json_text(all->at[i].text), "verdict",
				o.skipped ? "SKIPPED" : verdict_name(o.verdict), "observed",
				o.observed[0] ? json_text(o.observed) : json_null(), "evidence", json_text(o.evidence)));
	}
	return json_pack("{s:s, s:o}", "verdict", verdict_name(*out), "criteria", list);
}

enum status judge_record(const char *dir, const char *const *extra, int n, enum verdict *out, struct error *err)
{
	struct facts *f;
	criteria all = {0};
	enum status st = facts_read(dir, &f, err);
	if (st != ST_OK)
		return st;
	st = collect_criteria(f, dir, extra, n, &all, err);
	if (st == ST_OK) {
		json_t *reasons = find_reasons(f);
		st = reader_write_field(dir, "verdict", judge_all(f, &all, reasons, out), err);
		if (st == ST_OK)
			st = reader_write_field(dir, "invalid", reasons, err);
		else
			json_decref(reasons);
	}
	VEC_FREE(&all);
	facts_free(f);
	return st;
}
