/* Each metric's figure out of the facts, with the sentence that says where it came from. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/units.h"
#include "judge/facts_private.h"
#include "judge/unanswered.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A percentile is told only when at least this many samples lie above it: the p99 of 1,000 transactions is the tenth longest. */
#define SAMPLES_ABOVE 10

/* What the figure covers. */
struct scope {
	uint64_t phases; /* bit i: phases[i] */
	char text[96];   /* "during migration" */
	int64_t length_ns;
};

static void sentence(struct figure *out, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void sentence(struct figure *out, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(out->evidence, sizeof out->evidence, fmt, ap);
	va_end(ap);
}

#define MISSING(out, ...) (sentence(out, __VA_ARGS__), (out)->state = FIGURE_MISSING)

static bool in_scope(const struct scope *s, int phase)
{
	return phase >= 0 && (s->phases >> phase & 1) != 0;
}

static bool covers_end(const struct facts *f, const struct scope *s)
{
	return f->phase_count > 0 && in_scope(s, f->phase_count - 1);
}

static void add_phase(const struct facts *f, struct scope *s, int i)
{
	s->phases |= UINT64_C(1) << i;
	if (f->phases[i].ended)
		s->length_ns += f->phases[i].end_ns - f->phases[i].start_ns;
}

/* Before the migration: what the users felt then is not its doing. */
static bool is_preparation(const char *phase)
{
	return strcmp(phase, "warmup") == 0 || strcmp(phase, "baseline") == 0;
}

/* False, with out filled, when the record has no such phase. */
static bool find_scope(const struct facts *f, const char *phase, struct scope *s, struct figure *out)
{
	*s = (struct scope){0};
	const char *drill = json_get_string(f->run, "drill", "");
	for (int i = 0; i < f->phase_count; i++)
		if (phase[0] != '\0' ? strcmp(f->phases[i].name, phase) == 0 : !is_preparation(f->phases[i].name))
			add_phase(f, s, i);
	if (phase[0] == '\0' && s->phases == 0)
		for (int i = 0; i < f->phase_count; i++)
			add_phase(f, s, i);
	if (s->phases != 0) {
		if (phase[0] != '\0')
			snprintf(s->text, sizeof s->text, "during %s", phase);
		else if (f->phase_count > 1)
			snprintf(s->text, sizeof s->text, "after the baseline");
		else
			snprintf(s->text, sizeof s->text, "during the run");
		return true;
	}
	bool elsewhere = strcmp(phase, "rollback") == 0 && strcmp(drill, "rollback") != 0;
	if (elsewhere) {
		sentence(out, "the drill %s has no phase rollback", drill);
		out->state = FIGURE_OTHER_DRILL;
		return false;
	}
	char names[256] = "";
	for (int i = 0; i < f->phase_count; i++) {
		size_t n = strlen(names);
		snprintf(names + n, sizeof names - n, "%s%s", i > 0 ? ", " : "", f->phases[i].name);
	}
	if (names[0] == '\0')
		MISSING(out, "the run did not get as far as its first phase");
	else
		MISSING(out, "the record has no phase %s; it has %s", phase, names);
	return false;
}

static const char *time_text(int64_t ns, char buf[32])
{
	return units_format_time(ns, buf, 32);
}

static double seconds(int64_t ns)
{
	return (double)ns / (double)NS_PER_S;
}

/* ---- latency, service ---- */

static void name_longest(const struct facts *f, const struct scope *s, bool service, char *out, size_t size)
{
	const struct hist_facts *worst = NULL;
	for (size_t i = 0; i < f->hists.n; i++) {
		const struct hist_facts *h = &f->hists.at[i];
		if (h->service == service && h->transaction[0] != '\0' && in_scope(s, h->phase) &&
			(worst == NULL || hist_max(h->hist) > hist_max(worst->hist)))
			worst = h;
	}
	snprintf(out, size, "%s%s", worst != NULL ? " in " : "", worst != NULL ? worst->transaction : "");
}

static void measure_latency(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	bool service = c->metric == METRIC_SERVICE;
	const char *name = service ? "service time" : "response time";
	struct hist *all = hist_create();
	for (size_t i = 0; all != NULL && i < f->hists.n; i++) {
		const struct hist_facts *h = &f->hists.at[i];
		if (h->service == service && in_scope(s, h->phase) && strcmp(h->transaction, c->label) == 0)
			hist_merge(all, h->hist);
	}
	struct unanswered open = {0};
	if (all != NULL && c->stat != STAT_COUNT && c->stat != STAT_MIN && covers_end(f, s))
		open = unanswered_add(f, c->label, service, all);
	uint64_t n = all != NULL ? hist_count(all) : 0;
	if (n == 0 && c->stat != STAT_COUNT) {
		MISSING(out, "no transaction%s%s ended %s", c->label[0] ? " " : "", c->label, s->text);
		hist_free(all);
		return;
	}
	char p[32], max[32], who[NAME_SIZE + 8] = "";
	if (c->label[0] == '\0' && open.n == 0)
		name_longest(f, s, service, who, sizeof who);
	int64_t max_ns = all != NULL ? hist_max(all) : 0;
	out->upper = seconds(max_ns);
	switch (c->stat) {
	case STAT_QUANTILE: {
		int64_t ns = hist_quantile(all, c->quantile);
		out->value = seconds(ns);
		sentence(out, "%s p%g of %llu transactions %s: %s; the longest took %s%s", name, c->quantile * 100, (unsigned long long)n,
			s->text, time_text(ns, p), time_text(max_ns, max), who);
		double above = (double)n * (1 - c->quantile);
		if (above + 1e-9 < SAMPLES_ABOVE) {
			size_t len = strlen(out->evidence);
			snprintf(out->evidence + len, sizeof out->evidence - len, "; p%g needs at least %.0f transactions",
				c->quantile * 100, SAMPLES_ABOVE / (1 - c->quantile));
			out->state = FIGURE_TOO_FEW;
		}
		break;
	}
	case STAT_MAX:
		out->value = seconds(max_ns);
		sentence(out, "the longest %s of %llu transactions %s: %s%s", name, (unsigned long long)n, s->text, time_text(max_ns, max),
			who);
		break;
	case STAT_MIN:
		out->value = seconds(hist_min(all));
		sentence(out, "the shortest %s of %llu transactions %s", name, (unsigned long long)n, s->text);
		break;
	case STAT_MEAN:
		out->value = hist_mean(all) / (double)NS_PER_S;
		sentence(out, "the mean %s of %llu transactions %s", name, (unsigned long long)n, s->text);
		break;
	default:
		out->value = (double)n;
		sentence(out, "%llu transactions ended %s", (unsigned long long)n, s->text);
	}
	unanswered_tell(&open, out);
	hist_free(all);
}

/* ---- errors, throughput, backlog, wal: sums over the intervals ---- */

struct sums {
	int64_t ok, failed, abandoned, wal_bytes, length_ns;
	double lowest; /* successful transactions per second in the worst whole second */
	int64_t lowest_at_ns, backlog, backlog_at_ns;
	int intervals, wal_known;
};

static struct sums sum_intervals(const struct facts *f, const struct scope *s)
{
	struct sums sum = {.lowest = INFINITY, .backlog = -1};
	for (size_t i = 0; i < f->intervals.n; i++) {
		const struct interval_facts *at = &f->intervals.at[i];
		if (!in_scope(s, at->phase))
			continue;
		int64_t length_ns = at->end_ns - at->start_ns;
		sum.intervals++;
		sum.ok += at->ok;
		sum.failed += at->failed;
		sum.abandoned += at->abandoned;
		sum.length_ns += length_ns;
		if (at->wal_bytes >= 0) {
			sum.wal_bytes += at->wal_bytes;
			sum.wal_known++;
		}
		if (at->backlog > sum.backlog) {
			sum.backlog = at->backlog;
			sum.backlog_at_ns = at->end_ns;
		}
		double rate = length_ns > 0 ? (double)at->ok / seconds(length_ns) : INFINITY;
		if (length_ns >= NS_PER_S / 2 && rate < sum.lowest) { /* pieces at the edges of phases are too short to be a rate */
			sum.lowest = rate;
			sum.lowest_at_ns = at->start_ns;
		}
	}
	return sum;
}

static int64_t count_errors(const struct facts *f, const struct scope *s, const char *label, char *list, size_t size)
{
	int64_t n = 0;
	list[0] = '\0';
	for (size_t i = 0; i < f->errors.n; i++) {
		const struct error_facts *e = &f->errors.at[i];
		if (!in_scope(s, e->phase) || (label[0] != '\0' && strcmp(label, e->sqlstate) != 0))
			continue;
		n += e->count;
		int64_t same = 0; /* each phase has a count of its own */
		for (size_t k = 0; k < f->errors.n && same >= 0; k++)
			if (in_scope(s, f->errors.at[k].phase) && strcmp(f->errors.at[k].sqlstate, e->sqlstate) == 0)
				same = k < i ? -1 : same + f->errors.at[k].count;
		size_t len = strlen(list);
		if (same > 0)
			snprintf(list + len, size - len, "%s%lld × %s", len > 0 ? ", " : "", (long long)same, e->sqlstate);
	}
	return n;
}

static void measure_errors(
	const struct facts *f, const struct criterion *c, const struct scope *s, const struct sums *sum, struct figure *out)
{
	char list[200];
	int64_t failed = count_errors(f, s, c->label, list, sizeof list);
	int64_t abandoned = c->label[0] == '\0' || strcmp(c->label, "abandoned") == 0 ? sum->abandoned : 0;
	struct unanswered open = c->label[0] == '\0' && covers_end(f, s) ? unanswered_add(f, "", false, NULL) : (struct unanswered){0};
	int64_t all = sum->ok + sum->failed + sum->abandoned + open.n;
	if (all == 0) {
		MISSING(out, "no transaction ended %s", s->text);
		return;
	}
	int64_t bad = failed + abandoned + open.n;
	out->value = c->stat == STAT_COUNT ? (double)bad : (double)bad / (double)all;
	if (bad == 0)
		sentence(out, "no error%s%s in %lld transactions %s", c->label[0] ? " " : "", c->label, (long long)all, s->text);
	else
		sentence(out, "%lld of %lld transactions failed and %lld were abandoned %s%s%s", (long long)failed, (long long)all,
			(long long)abandoned, s->text, list[0] ? ": " : "", list);
	unanswered_tell(&open, out);
}

static void measure_sums(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	struct sums sum = sum_intervals(f, s);
	if (sum.intervals == 0) {
		MISSING(out, "no second of the run %s is in the record", s->text);
		return;
	}
	if (c->metric == METRIC_ERRORS) {
		measure_errors(f, c, s, &sum, out);
	} else if (c->metric == METRIC_THROUGHPUT && c->stat == STAT_MIN) {
		if (isinf(sum.lowest)) {
			MISSING(out, "no whole second was recorded %s", s->text);
			return;
		}
		out->value = sum.lowest;
		sentence(out, "fewest transactions in one second %s: %.0f, at %.1f s", s->text, sum.lowest, seconds(sum.lowest_at_ns));
	} else if (c->metric == METRIC_THROUGHPUT) {
		out->value = (double)sum.ok / seconds(sum.length_ns);
		sentence(out, "%lld transactions succeeded in %.1f s %s", (long long)sum.ok, seconds(sum.length_ns), s->text);
	} else if (c->metric == METRIC_BACKLOG) {
		if (sum.backlog < 0) {
			MISSING(out, "the backlog was not recorded %s: a closed loop has none", s->text);
			return;
		}
		out->value = (double)sum.backlog;
		sentence(out, "most arrivals waiting at the end of a second %s: %lld, at %.1f s", s->text, (long long)sum.backlog,
			seconds(sum.backlog_at_ns));
	} else {
		if (sum.wal_known == 0) {
			MISSING(out, "the WAL volume was not observed %s", s->text);
			return;
		}
		out->value = (double)sum.wal_bytes;
		sentence(out, "WAL written in %.1f s %s", seconds(sum.length_ns), s->text);
	}
}

/* ---- lock waits ---- */

static int by_length(const void *a, const void *b)
{
	int64_t x = ((const struct wait_facts *)a)->length_ns, y = ((const struct wait_facts *)b)->length_ns;
	return (x > y) - (x < y);
}

static void describe_longest(const struct facts *f, const struct wait_facts *w, size_t n, const struct scope *s, struct figure *out)
{
	char len[32], behind[200];
	const struct statement_facts *blamed = NULL;
	for (size_t i = 0; w->blamed != 0 && i < f->statements.n; i++)
		if (f->statements.at[i].id == w->blamed)
			blamed = &f->statements.at[i];
	if (blamed != NULL)
		snprintf(behind, sizeof behind, "statement %lld of step \"%s\"", (long long)blamed->id, blamed->step);
	else
		snprintf(behind, sizeof behind, "pid %lld (%s)", (long long)w->root_pid, w->root_role[0] ? w->root_role : "unknown");
	sentence(out, "%zu lock wait%s %s; the longest, %s, was %s%s%s behind %s at %.1f s", n, n == 1 ? "" : "s", s->text,
		time_text(w->length_ns, len), w->waiter, w->relation[0] ? " on " : "", w->relation, behind, seconds(w->start_ns));
}

/* Lock waits that went on when the run ended, of those that count; and of those that may belong to the criterion's table. */
struct wait_doubts {
	int64_t unfinished;
	int64_t unnamed, unnamed_longest_ns, unnamed_total_ns;
	bool unnamed_unfinished;
};

static void tell_doubts(const struct wait_doubts *d, enum stat stat, struct figure *out)
{
	double upper = stat == STAT_COUNT ? out->value + (double)d->unnamed
		: stat == STAT_TOTAL      ? out->value + seconds(d->unnamed_total_ns)
					  : fmax(out->value, seconds(d->unnamed_longest_ns));
	if (stat != STAT_COUNT && (d->unfinished > 0 || d->unnamed_unfinished))
		upper = INFINITY;
	size_t n = strlen(out->evidence);
	if (d->unfinished > 0)
		n += (size_t)snprintf(
			out->evidence + n, sizeof out->evidence - n, "; %lld of them went on when the run ended", (long long)d->unfinished);
	if (d->unnamed > 0 && n < sizeof out->evidence)
		snprintf(out->evidence + n, sizeof out->evidence - n, "; %lld wait%s for rows of tables that are not known",
			(long long)d->unnamed, d->unnamed == 1 ? " was" : "s were");
	out->upper = upper;
	out->state = upper > out->value ? FIGURE_AT_LEAST : FIGURE_KNOWN;
}

static void measure_lock_wait(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	int64_t samples = json_get_int(json_object_get(f->run, "observer"), "samples", 0);
	struct wait_facts *waits = calloc(f->waits.n + 1, sizeof *waits);
	struct wait_doubts doubts = {0};
	size_t n = 0;
	int64_t total_ns = 0;
	for (size_t i = 0; waits != NULL && i < f->waits.n; i++) {
		const struct wait_facts *w = &f->waits.at[i];
		if (!in_scope(s, w->phase))
			continue;
		if (c->label[0] != '\0' && w->relation[0] == '\0') {
			doubts.unnamed++;
			doubts.unnamed_total_ns += w->length_ns;
			doubts.unnamed_unfinished = doubts.unnamed_unfinished || w->unfinished;
			if (w->length_ns > doubts.unnamed_longest_ns)
				doubts.unnamed_longest_ns = w->length_ns;
		} else if (c->label[0] == '\0' || strcmp(c->label, w->relation) == 0) {
			waits[n++] = *w;
			doubts.unfinished += w->unfinished;
			total_ns += w->length_ns;
		}
	}
	if (n == 0 && samples == 0) {
		MISSING(out, "lock waits were not observed: the observer took no sample");
		free(waits);
		return;
	}
	if (n == 0 && c->label[0] != '\0' && !facts_has_table(f, c->label)) {
		MISSING(out, "no table %s was seen: nobody used it, locked it or waited for it", c->label);
		free(waits);
		return;
	}
	if (n == 0) {
		sentence(out, "no lock wait%s%s in %lld samples", c->label[0] ? " on " : "", c->label, (long long)samples);
		tell_doubts(&doubts, c->stat, out);
		free(waits);
		return;
	}
	qsort(waits, n, sizeof *waits, by_length);
	describe_longest(f, &waits[n - 1], n, s, out);
	out->upper = seconds(waits[n - 1].length_ns);
	switch (c->stat) {
	case STAT_QUANTILE: {
		out->value = seconds(waits[hist_rank(c->quantile, n) - 1].length_ns);
		break;
	}
	case STAT_MAX:
		out->value = out->upper;
		break;
	case STAT_MEAN:
		out->value = seconds(total_ns) / (double)n;
		break;
	case STAT_TOTAL:
		out->value = seconds(total_ns);
		break;
	default:
		out->value = (double)n;
	}
	tell_doubts(&doubts, c->stat, out);
	free(waits);
}

/* ---- the migration: statements, steps, the phase ---- */

static void measure_statement(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	const struct statement_facts *longest = NULL;
	int64_t total_ns = 0, n = 0;
	char len[32];
	for (size_t i = 0; i < f->statements.n; i++) {
		const struct statement_facts *at = &f->statements.at[i];
		if (!in_scope(s, at->phase) || (c->label[0] != '\0' && strcmp(c->label, at->step) != 0))
			continue;
		n++;
		total_ns += at->end_ns - at->start_ns;
		if (longest == NULL || at->end_ns - at->start_ns > longest->end_ns - longest->start_ns)
			longest = at;
	}
	if (longest == NULL) {
		MISSING(out, "no statement of the migration%s%s%s ran %s", c->label[0] ? " in step \"" : "", c->label,
			c->label[0] ? "\"" : "", s->text);
		return;
	}
	int64_t max_ns = longest->end_ns - longest->start_ns;
	out->value = c->stat == STAT_MAX ? seconds(max_ns)
		: c->stat == STAT_MEAN   ? seconds(total_ns) / (double)n
		: c->stat == STAT_TOTAL  ? seconds(total_ns)
					 : (double)n;
	sentence(out, "%lld statement%s %s; the longest, %s, was attempt %lld of \"%s\" in step \"%s\"%s%s", (long long)n,
		n == 1 ? "" : "s", s->text, time_text(max_ns, len), (long long)longest->attempt, longest->sql, longest->step,
		strcmp(longest->sqlstate, "00000") != 0 ? ", which failed with " : "",
		strcmp(longest->sqlstate, "00000") != 0 ? longest->sqlstate : "");
}

static void measure_eta(const struct facts *f, const struct criterion *c, struct figure *out)
{
	const struct eta_facts *e = NULL;
	char times[3][32], rows[32];
	for (size_t i = 0; i < f->etas.n; i++)
		if (strcmp(f->etas.at[i].step, c->label) == 0)
			e = &f->etas.at[i];
	if (e == NULL || e->eta_ns < 0) {
		MISSING(out, "step \"%s\" made no estimate: it is not a backfill, took no samples, or did not begin", c->label);
		return;
	}
	if (c->stat == STAT_ETA_ERROR && isnan(e->error)) {
		MISSING(out, "step \"%s\" did not walk to its end, so that its estimate cannot be compared", c->label);
		return;
	}
	out->value = c->stat == STAT_ETA ? seconds(e->eta_ns) : fabs(e->error);
	sentence(out, "%lld batches all over the table of step \"%s\": %s for the %s rows %s, between %s and %s at 95 %%",
		(long long)e->samples, c->label, time_text(e->eta_ns, times[0]), units_format_count(e->rows, rows, sizeof rows),
		e->production ? "of production" : "that are here", time_text(e->low_ns, times[1]), time_text(e->high_ns, times[2]));
}

/* Whether `part` is the step, or one that ran within it. */
static bool is_part_of(const struct facts *f, const char *part, const char *step)
{
	if (strcmp(part, step) == 0)
		return true;
	for (size_t i = 0; i < f->steps.n; i++)
		if (strcmp(f->steps.at[i].name, part) == 0)
			return strcmp(f->steps.at[i].within, step) == 0;
	return false;
}

static bool is_of_step(const struct facts *f, int64_t statement, const char *step)
{
	for (size_t i = 0; i < f->statements.n; i++)
		if (f->statements.at[i].id == statement)
			return is_part_of(f, f->statements.at[i].step, step);
	return false;
}

/* Lock waits of the application behind statements of the step, all of their attempts. */
static void measure_victims(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	int64_t n = 0, longest_ns = 0;
	struct wait_doubts doubts = {0};
	char len[32];
	for (size_t i = 0; i < f->waits.n; i++) {
		const struct wait_facts *w = &f->waits.at[i];
		if (!in_scope(s, w->phase) || w->blamed == 0 || !is_of_step(f, w->blamed, c->label))
			continue;
		n++;
		doubts.unfinished += w->unfinished;
		if (w->length_ns > longest_ns)
			longest_ns = w->length_ns;
	}
	out->value = c->stat == STAT_VICTIMS ? (double)n : seconds(longest_ns);
	sentence(out, "%lld lock wait%s of the application %s blamed on statements of step \"%s\"; the longest took %s", (long long)n,
		n == 1 ? "" : "s", n == 1 ? "is" : "are", c->label, time_text(longest_ns, len));
	tell_doubts(&doubts, c->stat == STAT_VICTIMS ? STAT_COUNT : STAT_MAX, out);
}

/* Whole tables that statements of the step wrote anew or read; small or large, so that a small copy tells of it, too. */
static void measure_work(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	bool rewrites = c->stat == STAT_REWRITES;
	int64_t n = 0;
	bool unseen = false;
	const struct statement_facts *first = NULL;
	for (size_t i = 0; i < f->steps.n; i++)
		unseen = unseen || (f->steps.at[i].program && is_part_of(f, f->steps.at[i].name, c->label));
	for (size_t i = 0; i < f->statements.n; i++) {
		const struct statement_facts *st = &f->statements.at[i];
		unseen = unseen || (st->external && is_part_of(f, st->step, c->label));
		int here = rewrites ? st->rewrites : st->scans;
		if (here == 0 || !in_scope(s, st->phase) || !is_part_of(f, st->step, c->label))
			continue;
		n += here;
		if (first == NULL)
			first = st;
	}
	if (unseen) {
		MISSING(out, "step \"%s\" runs a program: what programs make the server do is not observed", c->label);
		return;
	}
	out->value = (double)n;
	const char *did = rewrites ? "wrote a table anew" : "read a whole table to prove a constraint";
	if (first == NULL)
		sentence(out, "no statement of step \"%s\" %s", c->label, did);
	else
		sentence(out, "statement %lld of step \"%s\" %s: %s", (long long)first->id, c->label, did, first->sql);
}

static void measure_step(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	const struct step_facts *longest = NULL;
	if (c->stat == STAT_ETA || c->stat == STAT_ETA_ERROR) {
		measure_eta(f, c, out);
		return;
	}
	bool down = strcmp(c->phase, "rollback") == 0;
	for (size_t i = 0; i < f->steps.n; i++) {
		const struct step_facts *at = &f->steps.at[i];
		if (strcmp(at->name, c->label) == 0 && at->down == down && (longest == NULL || at->duration_ns > longest->duration_ns))
			longest = at;
	}
	if (longest == NULL || longest->duration_ns < 0) {
		MISSING(out, "step \"%s\" %s", c->label,
			longest == NULL ? "is not in the record: it did not begin, or no step has that name" : "did not end");
		return;
	}
	if (c->stat == STAT_DURATION) {
		out->value = seconds(longest->duration_ns);
		sentence(out, "step \"%s\" %s%s%s", c->label, longest->ok ? "completed" : "failed", longest->error[0] ? ": " : "",
			longest->error);
		return;
	}
	if (c->stat == STAT_REWRITES || c->stat == STAT_SCANS) {
		measure_work(f, c, s, out);
		return;
	}
	if (c->stat == STAT_VICTIMS || c->stat == STAT_LONGEST_WAIT) {
		measure_victims(f, c, s, out);
		return;
	}
	int64_t attempts = 0;
	for (size_t i = 0; i < f->statements.n; i++)
		if (in_scope(s, f->statements.at[i].phase) && strcmp(f->statements.at[i].step, c->label) == 0 &&
			f->statements.at[i].attempt > attempts)
			attempts = f->statements.at[i].attempt;
	out->value = (double)attempts;
	sentence(out, "most attempts that a statement of step \"%s\" took", c->label);
}

static void measure_migration(const struct facts *f, const struct criterion *c, struct figure *out)
{
	const char *name = c->phase[0] != '\0' ? c->phase : "migration";
	const struct phase_facts *p = NULL;
	for (int i = 0; i < f->phase_count; i++)
		if (strcmp(f->phases[i].name, name) == 0)
			p = &f->phases[i];
	if (c->stat == STAT_DURATION) {
		if (p == NULL || !p->ended) {
			MISSING(out, "the phase %s %s", name, p == NULL ? "did not begin" : "did not end");
			return;
		}
		out->value = seconds(p->end_ns - p->start_ns);
		sentence(out, "the phase %s from %.1f s to %.1f s", name, seconds(p->start_ns), seconds(p->end_ns));
		return;
	}
	if (p == NULL) {
		MISSING(out, "the migration did not begin");
		return;
	}
	int done = 0;
	out->value = 1;
	for (size_t i = 0; i < f->steps.n; i++) {
		const struct step_facts *at = &f->steps.at[i];
		done += at->ok;
		if (at->ok || at->interrupted)
			continue;
		out->value = 0;
		sentence(out, "step \"%s\" (%s) %s%s", at->name, at->down ? "down" : "up",
			at->duration_ns < 0 ? "did not end" : "failed: ", at->duration_ns < 0 ? "" : at->error);
		return;
	}
	sentence(out, "%d step%s completed", done, done == 1 ? "" : "s");
	if (!p->ended) {
		out->value = 0;
		sentence(out, "the phase %s did not end", name);
	}
}

/* ---- replication ---- */

static void measure_lag(const struct facts *f, const struct criterion *c, const struct scope *s, struct figure *out)
{
	double max = -1, total = 0;
	int64_t n = 0, unknown = 0, unseen = 0;
	const char *standby = "", *silent = "";
	bool of_slots = c->metric == METRIC_SLOT_BYTES;
	for (size_t i = 0; i < f->lags.n; i++) {
		const struct lag_facts *l = &f->lags.at[i];
		if (l->slot != of_slots || !in_scope(s, l->phase) || (c->label[0] != '\0' && strcmp(c->label, l->standby) != 0))
			continue;
		if (l->lost) {
			MISSING(out, "slot %s was lost: the server threw away WAL that it needs", l->standby);
			return;
		}
		int64_t raw = c->metric == METRIC_REPLAY_LAG ? l->heartbeat_ns : l->replay_bytes;
		if (raw < 0) {
			unknown++;
			unseen += l->expected;
			silent = l->expected ? l->standby : silent;
			continue;
		}
		double v = c->metric == METRIC_REPLAY_LAG ? seconds(raw) : (double)raw;
		n++;
		total += v;
		if (v > max) {
			max = v;
			standby = l->standby;
		}
	}
	if (n == 0) {
		MISSING(out, "replication was not observed%s%s: %s",
			c->label[0] == 0   ? ""
				: of_slots ? " of slot "
					   : " of standby ",
			c->label,
			unknown > 0        ? "its lag was never known"
				: of_slots ? "no slot in the record"
					   : "no standby in the record");
		return;
	}
	out->value = c->stat == STAT_MAX ? max : total / (double)n;
	sentence(out, "%lld readings %s; the largest on %s%s", (long long)n, s->text, standby,
		unknown > 0 && unseen == 0 ? "; some readings are missing" : "");
	if (unseen == 0)
		return;
	out->state = FIGURE_AT_LEAST;
	out->upper = INFINITY;
	size_t len = strlen(out->evidence);
	snprintf(out->evidence + len, sizeof out->evidence - len, "; at %lld looks %s was not there to be read", (long long)unseen, silent);
}

/* ---- checks and rollback ---- */

static void measure_check(const struct facts *f, const struct criterion *c, struct figure *out)
{
	size_t i, seen = 0;
	json_t *check;
	double rows = 0;
	char bad[400] = "";
	const char *mistaken = NULL;
	json_array_foreach(json_object_get(f->run, "checks"), i, check)
	{
		const char *name = json_get_string(check, "name", "");
		if (c->label[0] != '\0' && strcmp(c->label, name) != 0)
			continue;
		seen++;
		rows += json_get_number(check, "rows", 0);
		if (!json_is_true(json_object_get(check, "ok"))) {
			const char *error = json_get_string(check, "error", NULL), *sample = json_get_string(check, "sample", "");
			size_t n = strlen(bad);
			n += (size_t)snprintf(
				bad + n, sizeof bad - n, "%s%s %s", n > 0 ? ", " : "", name, json_get_string(check, "when", ""));
			if (n < sizeof bad && error != NULL)
				snprintf(bad + n, sizeof bad - n, " (%.120s)", error);
			else if (n < sizeof bad)
				snprintf(bad + n, sizeof bad - n, " (%lld row%s: %.80s)", (long long)json_get_int(check, "rows", 0),
					json_get_int(check, "rows", 0) == 1 ? "" : "s", sample);
			if (error != NULL)
				mistaken = name;
		}
	}
	if (seen == 0) {
		if (c->label[0] != '\0')
			MISSING(out, "check %s did not run", c->label);
		else
			MISSING(out, "no check ran");
		return;
	}
	if (mistaken != NULL && c->stat != STAT_CLEAN) {
		MISSING(out, "check %s could not be asked: %s", mistaken, bad);
		return;
	}
	out->value = c->stat == STAT_CLEAN ? bad[0] == '\0' : rows;
	if (bad[0] != '\0')
		sentence(out, "violated: %s", bad);
	else
		sentence(out, "%zu check%s held", seen, seen == 1 ? "" : "s");
}

static void measure_ledger(const struct facts *f, const struct criterion *c, struct figure *out)
{
	const json_t *ledger = json_object_get(json_object_get(f->run, "totals"), "ledger");
	const char *error = json_get_string(ledger, "error", NULL);
	if (ledger == NULL || error != NULL) {
		MISSING(out, "%s", error != NULL ? error : "there was no ledger: a scenario asks for it with ledger = true");
		return;
	}
	int64_t acknowledged = json_get_int(ledger, "acknowledged", 0), lost = json_get_int(ledger, "lost", 0);
	int64_t strange = json_get_int(ledger, "strange", 0);
	if (acknowledged == 0) {
		MISSING(out, "the ledger is empty: no transaction that writes ended with c:commit()");
		return;
	}
	out->value = c->stat == STAT_CLEAN ? lost == 0 && strange == 0 : (double)lost;
	char twice[80] = "";
	if (strange > 0)
		snprintf(twice, sizeof twice, "; %" PRId64 " row%s of the ledger nobody wrote, or twice", strange, strange == 1 ? "" : "s");
	sentence(out, "%" PRId64 " of %" PRId64 " acknowledged commits are not in the database%s", lost, acknowledged, twice);
}

static void measure_rollback(const struct facts *f, const struct criterion *c, struct figure *out)
{
	const char *drill = json_get_string(f->run, "drill", "");
	const json_t *rollback = json_object_get(f->run, "rollback");
	const char *word = json_get_string(rollback, "verdict", "");
	if (strcmp(drill, "rollback") != 0 && strcmp(drill, "rollback-each") != 0) {
		out->state = FIGURE_OTHER_DRILL;
		sentence(out, "the drill %s does not roll back", drill);
		return;
	}
	if (word[0] == '\0') {
		MISSING(out, "schema and data were not compared: the rollback did not get that far");
		return;
	}
	out->value = strcmp(word, "identical") == 0 || (c->stat == STAT_CLEAN && strcmp(word, "equivalent") == 0);
	const json_t *differences = json_object_get(rollback, "differences");
	const json_t *first = json_array_get(differences, 0);
	size_t n = json_array_size(differences), i;
	json_t *d;
	json_array_foreach(differences, i, d) if (strcmp(json_get_string(d, "class", ""), word) == 0 &&
		strcmp(json_get_string(first, "class", ""), word) != 0) first = d;
	if (first == NULL)
		sentence(out, "schema and data are %s", word);
	else
		sentence(out, "schema and data are %s: %zu difference%s, %s: %s", word, n, n == 1 ? "" : "s",
			json_get_string(first, "object", ""), json_get_string(first, "detail", ""));
}

/* What the drill demanded: every finding has to be good. */
static void measure_drill(const struct facts *f, struct figure *out)
{
	const json_t *findings = json_object_get(f->run, "findings"), *first = NULL;
	size_t i, bad = 0;
	json_t *finding;
	if (!json_is_array(findings)) {
		const char *drill = json_get_string(f->run, "drill", "");
		out->state = FIGURE_OTHER_DRILL;
		sentence(out, "the drill %s demands nothing of its own", drill);
		return;
	}
	json_array_foreach(findings, i, finding)
	{
		if (json_is_true(json_object_get(finding, "ok")))
			continue;
		first = first != NULL ? first : finding;
		bad++;
	}
	size_t n = json_array_size(findings);
	out->value = bad == 0;
	if (n == 0)
		MISSING(out, "the drill did not get as far as its first finding");
	else if (first == NULL)
		sentence(out, "%zu finding%s, all as they should be", n, n == 1 ? "" : "s");
	else
		sentence(out, "%zu of %zu findings: %s: %s", bad, n, json_get_string(first, "what", ""),
			json_get_string(first, "detail", ""));
}

static void measure_reconciliation(const struct facts *f, const struct criterion *c, struct figure *out)
{
	size_t i;
	json_t *one;
	json_array_foreach(json_object_get(f->run, "reconcile"), i, one)
	{
		if (strcmp(json_get_string(one, "name", ""), c->label) != 0)
			continue;
		const char *error = json_get_string(one, "error", NULL);
		if (error != NULL) {
			MISSING(out, "the reconciliation %s was not carried out: %s", c->label, error);
			return;
		}
		out->value = json_get_number(one, "mismatches", 0);
		char rows[32], twice[32];
		sentence(out, "%s rows compared, %s of them a second time%s%.200s",
			units_format_count(json_get_int(one, "rows", 0), rows, sizeof rows),
			units_format_count(json_get_int(one, "rechecked", 0), twice, sizeof twice),
			out->value > 0 ? "; differing keys: " : "", json_get_string(one, "sample", ""));
		return;
	}
	MISSING(out, "the reconciliation %s did not run", c->label);
}

void facts_measure(const struct facts *f, const struct criterion *c, const char *phase, struct figure *out)
{
	struct scope s;
	*out = (struct figure){.state = FIGURE_KNOWN};
	if (c->metric == METRIC_ROLLBACK) {
		measure_rollback(f, c, out);
		return;
	}
	if (c->metric == METRIC_LEDGER) {
		measure_ledger(f, c, out);
		return;
	}
	if (c->metric == METRIC_DRILL) {
		measure_drill(f, out);
		return;
	}
	if (c->metric == METRIC_RECONCILE) {
		measure_reconciliation(f, c, out);
		return;
	}
	if (c->metric == METRIC_CHECK) {
		measure_check(f, c, out);
		return;
	}
	if (!find_scope(f, phase != NULL ? phase : c->phase, &s, out))
		return;
	switch (c->metric) {
	case METRIC_LATENCY:
	case METRIC_SERVICE:
		measure_latency(f, c, &s, out);
		break;
	case METRIC_ERRORS:
	case METRIC_THROUGHPUT:
	case METRIC_BACKLOG:
	case METRIC_WAL:
		measure_sums(f, c, &s, out);
		break;
	case METRIC_LOCK_WAIT:
		measure_lock_wait(f, c, &s, out);
		break;
	case METRIC_READS_BLOCKED:
	case METRIC_WRITES_BLOCKED:
		figure_blocked(f, c, s.phases, s.text, out);
		break;
	case METRIC_STATEMENT:
		measure_statement(f, c, &s, out);
		break;
	case METRIC_STEP:
		measure_step(f, c, &s, out);
		break;
	case METRIC_MIGRATION:
		measure_migration(f, c, out);
		break;
	default:
		measure_lag(f, c, &s, out);
	}
}
