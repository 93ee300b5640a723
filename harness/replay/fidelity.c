/* Of a rehearsal with a migration errors count for the baseline alone: later ones are the migration's, which the criteria judge. */
#define _GNU_SOURCE
#include "replay/fidelity.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/units.h"
#include "measure/hist.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PROFILE_POINTS 300
#define FEW_SENT 1000   /* a p99 of fewer is one statement's */
#define PROFILE_MIN_S 5 /* a shorter run has no profile to speak of */

const struct fidelity_limits FIDELITY_DEFAULTS = {
	.coverage = 0.99,
	.capture_loss = 0.05,
	.new_errors = 0.001,
	.lost_errors = 0.005,
	.rows = 0.01,
	.unfinished = 0.001,
	.arrivals = 0.9,
	.order = 0.001,
	.late_ns = 20e6,
	.uncovered_ns = 1e9,
};

/* ---- limits ---- */

enum status fidelity_set_limit(struct fidelity_limits *limits, const char *text, struct error *err)
{
	struct {
		const char *name;
		double *limit;
		enum unit unit;
	} all[] = {{"coverage", &limits->coverage, UNIT_SHARE}, {"capture_loss", &limits->capture_loss, UNIT_SHARE},
		{"new_errors", &limits->new_errors, UNIT_SHARE}, {"lost_errors", &limits->lost_errors, UNIT_SHARE},
		{"rows", &limits->rows, UNIT_SHARE}, {"unfinished", &limits->unfinished, UNIT_SHARE},
		{"arrivals", &limits->arrivals, UNIT_SHARE}, {"order", &limits->order, UNIT_SHARE}, {"late", &limits->late_ns, UNIT_TIME},
		{"uncovered", &limits->uncovered_ns, UNIT_TIME}};
	size_t n = strcspn(text, "=");
	for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
		if (strlen(all[i].name) != n || strncmp(all[i].name, text, n) != 0 || text[n] != '=')
			continue;
		enum unit unit;
		double value;
		if (strcmp(text + n + 1, "none") == 0) {
			*all[i].limit = -1;
			return ST_OK;
		}
		enum status st = units_parse_quantity(text + n + 1, &value, &unit, err);
		if (st == ST_OK && ((unit != all[i].unit && value != 0) || value < 0))
			st = error_set(err, ST_USAGE, "the limit %s: %s is expected", text,
				all[i].unit == UNIT_TIME ? "a time, such as 50ms" : "a percentage, such as 0.5%");
		if (st == ST_OK)
			*all[i].limit = all[i].unit == UNIT_TIME ? value * 1e9 : value;
		return st;
	}
	error_set(err, ST_USAGE, "there is no limit %s", text);
	error_hint(err,
		"NAME=VALUE or NAME=none; the names are coverage, capture_loss, new_errors, lost_errors, rows, unfinished, arrivals, order, late, "
		"uncovered");
	return ST_USAGE;
}

/* ---- measures ---- */

struct measure {
	const char *name, *what;
	double value; /* below 0: not known */
	double limit;
	bool least; /* the limit is the least that is fit, not the most */
	bool time;
	char detail[200];
};

static void add_measure(json_t *list, const struct measure *m)
{
	bool known = m->value >= 0, limited = m->limit >= 0;
	bool ok = !known || !limited || (m->least ? m->value >= m->limit : m->value <= m->limit);
	json_array_append_new(list,
		json_pack("{s:s, s:s, s:o, s:o, s:s, s:b, s:b, s:o}", "name", m->name, "what", m->what, "value",
			known ? json_real(m->value) : json_null(), "limit", limited ? json_real(m->limit) : json_null(), "unit",
			m->time ? "ns" : "share", "least", (int)m->least, "ok", (int)ok, "detail", json_text(m->detail)));
}

static double share(double part, double whole)
{
	return whole > 0 ? part / whole : -1;
}

struct sums {
	int64_t planned, dropped, started, planned_ns, dropped_ns, refused, refused_there, refused_ns;
};

static struct sums sum_up(const struct play_summary *s)
{
	struct sums out = {0};
	for (size_t i = 0; i < s->n_classes; i++) {
		out.planned += s->classes[i].planned - s->classes[i].cut;
		out.dropped += s->classes[i].dropped;
		out.started += s->classes[i].started;
		out.planned_ns += s->classes[i].planned_ns;
		out.dropped_ns += s->classes[i].dropped_ns;
		out.refused += s->classes[i].refused;
		out.refused_there += s->classes[i].refused_there;
		out.refused_ns += s->classes[i].refused_ns;
	}
	return out;
}

/* Share of the captured arrivals that have one of the replay's in their second. */
static double overlap(const struct play_summary *s)
{
	double both = 0, captured = 0;
	for (size_t i = 0; i < s->n_seconds; i++) {
		captured += s->seconds[i].captured;
		both += s->seconds[i].captured < s->seconds[i].replayed ? s->seconds[i].captured : s->seconds[i].replayed;
	}
	return s->n_seconds >= PROFILE_MIN_S ? share(both, captured) : -1;
}

static int64_t errors_of(const struct play_summary *s, const char *sqlstate, bool captured)
{
	int64_t n = 0;
	for (size_t i = 0; i < s->n_divergences; i++)
		if (strcmp(captured ? s->divergences[i].captured : s->divergences[i].replayed, sqlstate) == 0)
			n += s->divergences[i].count;
	return n;
}

static json_t *measures_json(const struct fidelity_run *run, const struct fidelity_limits *l)
{
	const struct play_summary *s = &run->played;
	const struct play_gate *g = &s->gate;
	struct sums sums = sum_up(s);
	bool few = hist_count(s->late) < FEW_SENT;
	const char *when = s->baseline ? " in the baseline" : "";
	json_t *list = json_array();
	struct measure m = {.name = "coverage",
		.what = "statements that fell due and were sent",
		.limit = l->coverage,
		.least = true,
		.value = share((double)(sums.planned - sums.dropped), (double)sums.planned)};
	snprintf(m.detail, sizeof m.detail, "%" PRId64 " of %" PRId64 "; %.2f %% of the captured time is not replayed",
		sums.planned - sums.dropped, sums.planned,
		sums.planned_ns > 0 ? 100 * (double)sums.dropped_ns / (double)sums.planned_ns : 0.0);
	size_t n = strlen(m.detail);
	if (sums.refused > 0)
		snprintf(m.detail + n, sizeof m.detail - n, "; besides %" PRId64 " writes, which are refused as was wanted", sums.refused);
	add_measure(list, &m);
	m = (struct measure){.name = "capture_loss",
		.what = "busy time of the log that the trace has not",
		.limit = l->capture_loss,
		.value = run->capture_loss};
	add_measure(list, &m);
	m = (struct measure){.name = "new_errors",
		.what = "statements that failed and had not",
		.limit = l->new_errors,
		.value = share((double)g->new_errors, (double)g->ended)};
	snprintf(m.detail, sizeof m.detail, "%" PRId64 " of %" PRId64 "%s", g->new_errors, g->ended, when);
	add_measure(list, &m);
	m = (struct measure){.name = "lost_errors",
		.what = "captured errors that did not come, or as others",
		.limit = l->lost_errors,
		.value = share((double)(g->vanished + g->changed), (double)g->ended)};
	snprintf(m.detail, sizeof m.detail, "%" PRId64 " did not come, %" PRId64 " came as others%s", g->vanished, g->changed, when);
	add_measure(list, &m);
	m = (struct measure){.name = "rows",
		.what = "statements with another number of rows",
		.limit = sums.refused + sums.refused_there > 0 ? -1 : l->rows, /* what was not written is not found */
		.value = share((double)g->rows_differ, (double)g->rows_compared)};
	snprintf(m.detail, sizeof m.detail, g->rows_compared > 0 ? "of %" PRId64 " whose rows are known" : "the log has no rows",
		g->rows_compared);
	add_measure(list, &m);
	m = (struct measure){.name = "unfinished",
		.what = "statements still under way at the end",
		.limit = l->unfinished,
		.value = share((double)s->unfinished, (double)sums.started)};
	snprintf(m.detail, sizeof m.detail, "%" PRId64, s->unfinished);
	add_measure(list, &m);
	m = (struct measure){.name = "arrivals",
		.what = "arrivals in the same second",
		.limit = l->arrivals,
		.least = true,
		.value = run->paced ? overlap(s) : -1};
	add_measure(list, &m);
	m = (struct measure){.name = "order",
		.what = "statements sent before their turn",
		.limit = l->order,
		.value = run->order_released >= 0 ? share((double)run->order_released, (double)sums.started) : -1};
	if (run->order_released >= 0)
		n = (size_t)snprintf(m.detail, sizeof m.detail, "%" PRId64, run->order_released);
	if (run->order_skipped > 0)
		snprintf(m.detail + n, sizeof m.detail - n, "; besides %" PRId64 " behind rows taken with SKIP LOCKED", run->order_skipped);
	add_measure(list, &m);
	m = (struct measure){.name = "late",
		.what = few ? "median of the time by which statements were sent late to idle sessions"
			    : "p99 of the time by which statements were sent late to idle sessions",
		.limit = l->late_ns,
		.time = true,
		.value = run->paced && hist_count(s->late) > 0 ? (double)hist_quantile(s->late, few ? 0.5 : 0.99) : -1};
	add_measure(list, &m);
	m = (struct measure){.name = "uncovered",
		.what = "traffic that was wanted after the trace's end",
		.limit = l->uncovered_ns,
		.time = true,
		.value = run->uncovered_ns >= 0 ? (double)run->uncovered_ns : -1};
	add_measure(list, &m);
	return list;
}

/* ---- tables ---- */

static json_t *ratio_json(const struct play_class *c, double q)
{
	double captured = (double)hist_quantile(c->captured, q), replayed = (double)hist_quantile(c->replayed, q);
	return captured > 0 ? json_real(replayed / captured) : json_null();
}

static json_t *classes_json(const struct play_summary *s)
{
	json_t *list = json_array();
	for (size_t i = 0; i < s->n_classes; i++) {
		const struct play_class *c = &s->classes[i];
		char fingerprint[20];
		snprintf(fingerprint, sizeof fingerprint, "%016" PRIx64, c->fingerprint);
		json_int_t captured = c->planned - c->cut + c->refused;
		json_int_t ended = c->same + c->new_errors + c->vanished + c->changed + c->refused_there;
		json_t *line = json_pack("{s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "class", fingerprint, "name", c->name, "sql",
			json_text(c->sql), "captured", captured, "replayed", ended, "new_errors", (json_int_t)c->new_errors, "vanished",
			(json_int_t)c->vanished, "changed", (json_int_t)c->changed);
		if (c->captured != NULL) {
			json_object_set_new(line, "captured_mean_ns", json_integer((json_int_t)hist_mean(c->captured)));
			json_object_set_new(line, "replayed_mean_ns", json_integer((json_int_t)hist_mean(c->replayed)));
			json_object_set_new(line, "ratio_p50", ratio_json(c, 0.5));
			json_object_set_new(line, "ratio_p99", ratio_json(c, 0.99));
		}
		if (c->refused + c->refused_there > 0)
			json_object_set_new(line, "refused", json_integer(c->refused + c->refused_there));
		if (c->rows_compared > 0)
			json_object_set_new(line, "rows_differ", json_integer(c->rows_differ));
		json_array_append_new(list, line);
	}
	return list;
}

static int by_count(const void *a, const void *b)
{
	const struct play_divergence *const *x = a, *const *y = b;
	return (*x)->count > (*y)->count ? -1 : (*x)->count < (*y)->count;
}

static json_t *errors_json(const struct play_summary *s)
{
	const struct play_divergence *order[PLAY_DIVERGENCES_MAX];
	json_t *list = json_array();
	for (size_t i = 0; i < s->n_divergences; i++)
		order[i] = &s->divergences[i];
	if (s->n_divergences > 1)
		qsort(order, s->n_divergences, sizeof order[0], by_count);
	for (size_t i = 0; i < s->n_divergences; i++) {
		const struct play_divergence *d = order[i];
		bool was_ok = strcmp(d->captured, "00000") == 0, is_ok = strcmp(d->replayed, "00000") == 0;
		json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:I, s:o}", "kind",
			was_ok          ? "new"
				: is_ok ? "vanished"
					: "changed",
			"class", s->classes[d->class].name, "captured", d->captured, "replayed", d->replayed, "count", (json_int_t)d->count,
			"message", json_text(d->message));
		if (d->line > 0) {
			json_object_set_new(line, "file", json_integer((json_int_t)d->file));
			json_object_set_new(line, "line", json_integer(d->line));
		}
		json_array_append_new(list, line);
	}
	return list;
}

static json_t *lag_json(const struct hist *h)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)hist_count(h), "p50_ns",
		(json_int_t)hist_quantile(h, 0.5), "p99_ns", (json_int_t)hist_quantile(h, 0.99), "max_ns", (json_int_t)hist_max(h),
		"over_1ms", (json_int_t)hist_count_above(h, NS_PER_MS), "over_10ms", (json_int_t)hist_count_above(h, 10 * NS_PER_MS),
		"over_100ms", (json_int_t)hist_count_above(h, 100 * NS_PER_MS));
}

struct series {
	double sum, squares, most;
};

static void add_to(struct series *s, double v)
{
	s->sum += v;
	s->squares += v * v;
	s->most = v > s->most ? v : s->most;
}

static json_t *dispersion_json(const struct series *s, double n)
{
	double mean = n > 0 ? s->sum / n : 0;
	return n >= PROFILE_MIN_S && mean > 0 ? json_real((s->squares / n - mean * mean) / mean) : json_null();
}

static json_t *correlation_json(const struct series *a, const struct series *b, double products, double n)
{
	double va = a->squares / n - a->sum / n * (a->sum / n), vb = b->squares / n - b->sum / n * (b->sum / n);
	double cov = products / n - a->sum / n * (b->sum / n);
	return n >= PROFILE_MIN_S && va > 0 && vb > 0 ? json_real(cov / sqrt(va * vb)) : json_null();
}

static json_t *profile_json(const struct play_summary *s)
{
	size_t step = s->n_seconds / PROFILE_POINTS + 1;
	json_t *captured = json_array(), *replayed = json_array(), *captured_active = json_array(), *replayed_active = json_array();
	for (size_t from = 0; from < s->n_seconds; from += step) {
		struct play_second sum = {0};
		size_t to = from + step < s->n_seconds ? from + step : s->n_seconds;
		for (size_t i = from; i < to; i++) {
			sum.captured += s->seconds[i].captured;
			sum.replayed += s->seconds[i].replayed;
			sum.captured_busy += s->seconds[i].captured_busy;
			sum.replayed_busy += s->seconds[i].replayed_busy;
		}
		double n = (double)(to - from);
		json_array_append_new(captured, json_real(sum.captured / n));
		json_array_append_new(replayed, json_real(sum.replayed / n));
		json_array_append_new(captured_active, json_real((double)sum.captured_busy / 1e9 / n));
		json_array_append_new(replayed_active, json_real((double)sum.replayed_busy / 1e9 / n));
	}
	return json_pack("{s:I, s:o, s:o, s:o, s:o}", "step_s", (json_int_t)step, "arrivals_captured", captured, "arrivals_replayed",
		replayed, "active_captured", captured_active, "active_replayed", replayed_active);
}

static void add_profiles(json_t *out, const struct play_summary *s)
{
	struct series arrivals[2] = {0}, active[2] = {0};
	double n = (double)s->n_seconds, products = 0;
	for (size_t i = 0; i < s->n_seconds; i++) {
		const struct play_second *x = &s->seconds[i];
		add_to(&arrivals[0], x->captured);
		add_to(&arrivals[1], x->replayed);
		add_to(&active[0], (double)x->captured_busy / 1e9);
		add_to(&active[1], (double)x->replayed_busy / 1e9);
		products += (double)x->captured_busy / 1e9 * ((double)x->replayed_busy / 1e9);
	}
	json_object_set_new(out, "dispersion",
		json_pack("{s:o, s:o}", "captured", dispersion_json(&arrivals[0], n), "replayed", dispersion_json(&arrivals[1], n)));
	json_object_set_new(out, "concurrency",
		json_pack("{s:o, s:o, s:o}", "area_ratio", active[0].sum > 0 ? json_real(active[1].sum / active[0].sum) : json_null(),
			"max_ratio", active[0].most > 0 ? json_real(active[1].most / active[0].most) : json_null(), "correlation",
			n > 0 ? correlation_json(&active[0], &active[1], products, n) : json_null()));
	json_object_set_new(out, "profile", profile_json(s));
}

json_t *fidelity_json(const struct fidelity_run *run, const struct fidelity_limits *limits)
{
	const struct play_summary *s = &run->played;
	json_t *out = json_pack("{s:o, s:b, s:o, s:o, s:{s:o, s:o}, s:{s:I, s:I, s:I, s:I}}", "measures", measures_json(run, limits),
		"baseline", (int)s->baseline, "classes", classes_json(s), "errors", errors_json(s), "lag", "generator_late",
		lag_json(s->late), "session_busy", lag_json(s->busy), "locks", "deadlocks_new", (json_int_t)errors_of(s, "40P01", false),
		"deadlocks_vanished", (json_int_t)errors_of(s, "40P01", true), "lock_timeouts_new",
		(json_int_t)errors_of(s, "55P03", false), "lock_timeouts_vanished", (json_int_t)errors_of(s, "55P03", true));
	struct sums sums = sum_up(s);
	if (sums.refused + sums.refused_there > 0)
		json_object_set_new(out, "refused",
			json_pack("{s:I, s:I, s:I}", "writes", (json_int_t)sums.refused, "by_server", (json_int_t)sums.refused_there,
				"busy_ns", (json_int_t)sums.refused_ns));
	if (run->rows_taken > 0)
		json_object_set_new(out, "skip_locked",
			json_pack("{s:I, s:I, s:I}", "rows", (json_int_t)run->rows_taken, "otherwise", (json_int_t)run->rows_otherwise,
				"released", (json_int_t)run->order_skipped));
	add_profiles(out, s);
	return out;
}

json_t *fidelity_reasons(const json_t *fidelity)
{
	json_t *reasons = json_array(), *measure;
	size_t i;
	json_array_foreach(json_object_get(fidelity, "measures"), i, measure)
	{
		if (json_is_true(json_object_get(measure, "ok")))
			continue;
		char value[40], limit[40], text[500];
		enum unit unit = strcmp(json_get_string(measure, "unit", ""), "ns") == 0 ? UNIT_TIME : UNIT_SHARE;
		double scale = unit == UNIT_TIME ? 1e-9 : 1;
		const char *detail = json_get_string(measure, "detail", "");
		snprintf(text, sizeof text, "the replay is not true to its capture: %s (%s): %s%s%s%s; at %s %s is fit",
			json_get_string(measure, "name", ""), json_get_string(measure, "what", ""),
			units_format_quantity(scale * json_get_number(measure, "value", 0), unit, value, sizeof value),
			detail[0] != '\0' ? " (" : "", detail, detail[0] != '\0' ? ")" : "",
			json_is_true(json_object_get(measure, "least")) ? "least" : "most",
			units_format_quantity(scale * json_get_number(measure, "limit", 0), unit, limit, sizeof limit));
		json_array_append_new(reasons, json_text(text));
	}
	return reasons;
}
