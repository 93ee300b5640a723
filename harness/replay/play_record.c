/* Two banks of histograms: the player fills one while the other is read. A lock is held for the moment of counting only. */
#define _GNU_SOURCE
#include "replay/play_record.h"

#include "base/clock.h"
#include "measure/hist.h"
#include "replay/columns.h"
#include "replay/play_message.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLASSES (PLAY_CLASSES_MAX + 1)

struct bank {
	struct play_hists classes[CLASSES], total;
	struct hist *late;
	uint64_t planned, started, ok, failed, dropped;
	struct play_errors errors;
};

struct play_record {
	pthread_mutex_t lock;
	struct bank banks[2];
	int filled; /* the bank that the player fills */
	size_t n_classes;
	struct play_class classes[CLASSES];
	VEC(uint32_t) of_shape; /* class + 1 */
	struct play_divergence divergences[PLAY_DIVERGENCES_MAX];
	size_t n_divergences;
	VEC(struct play_second) seconds;
	int64_t start_ns, ended_ns;
	uint64_t planned, dropped, started, ended, ok, failed;
	struct play_errors errors;
	struct play_gate gate, baseline;
	bool baseline_closed;
	struct hist *late, *busy; /* of the whole run */
};

struct play_record *play_record_create(void)
{
	struct play_record *r = calloc(1, sizeof *r);
	if (r == NULL)
		abort();
	pthread_mutex_init(&r->lock, NULL);
	r->late = hist_create();
	r->busy = hist_create();
	r->banks[0].late = hist_create();
	r->banks[1].late = hist_create();
	if (r->late == NULL || r->busy == NULL || r->banks[0].late == NULL || r->banks[1].late == NULL)
		abort();
	return r;
}

static void free_hists(struct play_hists *h)
{
	hist_free(h->response_ok);
	hist_free(h->response_failed);
	hist_free(h->service_ok);
	hist_free(h->service_failed);
}

void play_record_free(struct play_record *r)
{
	if (r == NULL)
		return;
	for (int b = 0; b < 2; b++) {
		for (size_t i = 0; i < CLASSES; i++)
			free_hists(&r->banks[b].classes[i]);
		free_hists(&r->banks[b].total);
		hist_free(r->banks[b].late);
	}
	for (size_t i = 0; i < r->n_classes; i++) {
		hist_free(r->classes[i].captured);
		hist_free(r->classes[i].replayed);
		free(r->classes[i].text);
	}
	hist_free(r->late);
	hist_free(r->busy);
	VEC_FREE(&r->of_shape);
	VEC_FREE(&r->seconds);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

/* ---- classes ---- */

static void name_class(struct play_class *c, const char *sql)
{
	struct statement_columns s;
	struct param_column none[1];
	const char *table = "", *verb = "statement";
	char word[16];
	bool parsed = columns_of(sql, &s, none, 0);
	if (parsed && s.verb[0] != '\0') {
		verb = s.verb;
		table = s.n_tables > 0 ? s.tables[0] : "";
	} else if (parsed) {
		snprintf(word, sizeof word, "%.*s", (int)strcspn(sql, " ;\n\t("), sql);
		verb = word;
	}
	const char *dot = strchr(table, '.');
	snprintf(c->name, sizeof c->name, "%s%s%.48s_%04x", verb, table[0] != '\0' ? "_" : "", dot != NULL ? dot + 1 : table,
		(unsigned)(c->fingerprint >> 48));
	for (char *p = c->name; *p != '\0'; p++)
		if (*p >= 'A' && *p <= 'Z')
			*p = (char)(*p + 32);
		else if (!((*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9')))
			*p = '_';
}

/* The shape's text with 1 for each literal, which parses wherever a number or what is between quotes may stand. */
static void describe_class(struct play_class *c, const struct trace_shape *shape)
{
	char *sql = malloc(shape->n + 1);
	if (sql == NULL)
		abort();
	for (size_t i = 0; i < shape->n; i++)
		sql[i] = (char)(shape->text[i] == SHAPE_MARK ? '1' : shape->text[i]);
	sql[shape->n] = '\0';
	name_class(c, sql);
	play_describe_shape(shape->text, shape->n, c->sql, sizeof c->sql);
	c->text = sql;
}

uint32_t play_record_class(struct play_record *r, const struct trace_shape *shape)
{
	while (r->of_shape.n <= shape->number)
		VEC_PUSH(&r->of_shape, 0);
	uint32_t *class = &r->of_shape.at[shape->number];
	for (uint32_t i = 0; *class == 0 && i < r->n_classes; i++)
		if (r->classes[i].fingerprint == shape->fingerprint)
			*class = i + 1;
	if (*class != 0)
		return *class - 1;
	struct play_class c = {.fingerprint = shape->fingerprint};
	bool other = r->n_classes >= PLAY_CLASSES_MAX;
	if (other)
		snprintf(c.name, sizeof c.name, "other");
	else if (shape->fingerprint == 0)
		snprintf(c.name, sizeof c.name, "not_parsed");
	else
		describe_class(&c, shape);
	pthread_mutex_lock(&r->lock);
	if (!other || r->n_classes == PLAY_CLASSES_MAX)
		r->classes[r->n_classes++] = c;
	pthread_mutex_unlock(&r->lock);
	*class = (uint32_t)r->n_classes;
	return *class - 1;
}

const char *play_record_class_name(struct play_record *r, uint32_t class)
{
	return class < r->n_classes ? r->classes[class].name : "";
}

/* ---- counting ---- */

void play_record_start(struct play_record *r, int64_t start_ns)
{
	pthread_mutex_lock(&r->lock);
	r->start_ns = start_ns;
	pthread_mutex_unlock(&r->lock);
}

static struct play_second *second_of(struct play_record *r, int64_t at_ns)
{
	int64_t second = at_ns > r->start_ns ? (at_ns - r->start_ns) / NS_PER_S : 0;
	if (second >= PLAY_SECONDS_MAX)
		return NULL;
	while (r->seconds.n <= (size_t)second)
		VEC_PUSH(&r->seconds, (struct play_second){0});
	return &r->seconds.at[second];
}

/* Its time goes to the seconds in which it was under way; of one that took an hour, to the first minute of it. */
static void add_busy(struct play_record *r, int64_t from_ns, int64_t to_ns, bool captured)
{
	for (int i = 0; i < 60 && from_ns < to_ns; i++) {
		int64_t edge_ns = from_ns + NS_PER_S - ((from_ns - r->start_ns) % NS_PER_S + NS_PER_S) % NS_PER_S;
		int64_t until_ns = edge_ns < to_ns ? edge_ns : to_ns;
		struct play_second *s = second_of(r, from_ns);
		if (s == NULL)
			return;
		*(captured ? &s->captured_busy : &s->replayed_busy) += until_ns - from_ns;
		from_ns = until_ns;
	}
}

void play_record_due(struct play_record *r, uint32_t class, int64_t due_ns, int64_t captured_ns)
{
	pthread_mutex_lock(&r->lock);
	struct play_second *s = second_of(r, due_ns);
	if (s != NULL)
		s->captured++;
	if (captured_ns > 0) {
		add_busy(r, due_ns, due_ns + captured_ns, true);
		r->classes[class].planned_ns += captured_ns;
	}
	r->classes[class].planned++;
	r->banks[r->filled].planned++;
	r->planned++;
	pthread_mutex_unlock(&r->lock);
}

void play_record_drop(struct play_record *r, uint32_t class, int64_t captured_ns, bool cut)
{
	pthread_mutex_lock(&r->lock);
	r->classes[class].dropped += !cut;
	r->classes[class].cut += cut;
	if (captured_ns > 0 && !cut)
		r->classes[class].dropped_ns += captured_ns;
	r->banks[r->filled].dropped++;
	r->dropped++;
	pthread_mutex_unlock(&r->lock);
}

void play_record_refuse(struct play_record *r, uint32_t class, int64_t captured_ns)
{
	pthread_mutex_lock(&r->lock);
	r->classes[class].refused++;
	r->classes[class].refused_ns += captured_ns > 0 ? captured_ns : 0;
	pthread_mutex_unlock(&r->lock);
}

void play_record_sent(struct play_record *r, uint32_t class)
{
	pthread_mutex_lock(&r->lock);
	r->classes[class].started++;
	r->banks[r->filled].started++;
	r->started++;
	pthread_mutex_unlock(&r->lock);
}

static void record_value(struct hist **h, int64_t ns)
{
	if (*h == NULL && (*h = hist_create()) == NULL)
		abort();
	hist_record(*h, ns);
}

static void count_error(struct play_errors *e, const char *sqlstate)
{
	size_t i = 0;
	while (i < e->n && strcmp(e->at[i].sqlstate, sqlstate) != 0)
		i++;
	if (i == PLAY_SQLSTATES_MAX)
		i--;
	else if (i == e->n)
		snprintf(e->at[e->n++].sqlstate, sizeof e->at[i].sqlstate, "%.5s", i == PLAY_SQLSTATES_MAX - 1 ? "OTHER" : sqlstate);
	e->at[i].count++;
}

static void note_divergence(struct play_record *r, const struct play_done *d)
{
	size_t i = 0;
	while (i < r->n_divergences &&
		!(r->divergences[i].class == d->class && strcmp(r->divergences[i].captured, d->captured) == 0 &&
			strcmp(r->divergences[i].replayed, d->replayed) == 0))
		i++;
	if (i == PLAY_DIVERGENCES_MAX)
		return;
	struct play_divergence *x = &r->divergences[i];
	if (i == r->n_divergences) {
		*x = (struct play_divergence){.class = d->class, .file = d->file, .line = d->line};
		snprintf(x->captured, sizeof x->captured, "%s", d->captured);
		snprintf(x->replayed, sizeof x->replayed, "%s", d->replayed);
		snprintf(x->message, sizeof x->message, "%.150s", d->message);
		r->n_divergences++;
	}
	x->count++;
}

/* true: it ended as captured, or as is wanted. */
static bool compare(struct play_record *r, const struct play_done *d)
{
	struct play_class *c = &r->classes[d->class];
	if (d->refused) {
		c->refused_there++;
		return true;
	}
	bool was_ok = strcmp(d->captured, "00000") == 0, is_ok = strcmp(d->replayed, "00000") == 0;
	bool same = strcmp(d->captured, "?????") == 0 ? !is_ok : strcmp(d->captured, d->replayed) == 0;
	r->gate.ended++;
	if (was_ok && is_ok && d->captured_rows >= 0 && d->rows >= 0) {
		bool differ = d->captured_rows != d->rows;
		c->rows_compared++;
		c->rows_differ += differ;
		r->gate.rows_compared++;
		r->gate.rows_differ += differ;
	}
	if (same) {
		c->same++;
		return true;
	}
	if (was_ok) {
		c->new_errors++;
		r->gate.new_errors++;
	} else if (is_ok) {
		c->vanished++;
		r->gate.vanished++;
	} else {
		c->changed++;
		r->gate.changed++;
	}
	note_divergence(r, d);
	return false;
}

static void record_times(struct play_record *r, const struct play_done *d, bool ok)
{
	struct bank *b = &r->banks[r->filled];
	struct play_hists *h = &b->classes[d->class];
	int64_t response_ns = d->done_ns - d->due_ns, service_ns = d->done_ns - d->sent_ns, late_ns = d->sent_ns - d->due_ns;
	record_value(ok ? &h->response_ok : &h->response_failed, response_ns);
	record_value(ok ? &h->service_ok : &h->service_failed, service_ns);
	record_value(ok ? &b->total.response_ok : &b->total.response_failed, response_ns);
	record_value(ok ? &b->total.service_ok : &b->total.service_failed, service_ns);
	if (d->ordered)
		return;
	hist_record(d->busy ? r->busy : r->late, late_ns);
	if (!d->busy)
		hist_record(b->late, late_ns);
}

/* An error that the capture had as well is none of the replay's: it counts as ok, and in the fidelity table. */
void play_record_done(struct play_record *r, const struct play_done *d)
{
	pthread_mutex_lock(&r->lock);
	struct bank *b = &r->banks[r->filled];
	struct play_class *c = &r->classes[d->class];
	bool succeeded = strcmp(d->replayed, "00000") == 0, same = compare(r, d), ok = succeeded || same;
	struct play_second *s = second_of(r, d->sent_ns);
	if (s != NULL)
		s->replayed++;
	add_busy(r, d->sent_ns, d->done_ns, false);
	r->ended++;
	if (ok) {
		b->ok++;
		r->ok++;
	} else {
		b->failed++;
		r->failed++;
		count_error(&r->errors, d->replayed);
		count_error(&b->errors, d->replayed);
	}
	record_times(r, d, ok);
	if (same && succeeded && d->captured_ns >= 0) {
		c->captured_ns += d->captured_ns;
		c->replayed_ns += d->done_ns - d->sent_ns;
		record_value(&c->captured, d->captured_ns);
		record_value(&c->replayed, d->done_ns - d->sent_ns);
	}
	pthread_mutex_unlock(&r->lock);
}

void play_record_end(struct play_record *r, int64_t now_ns)
{
	pthread_mutex_lock(&r->lock);
	r->ended_ns = now_ns;
	pthread_mutex_unlock(&r->lock);
}

/* ---- collecting ---- */

static void clear_hists(struct play_hists *h)
{
	struct hist *const all[] = {h->response_ok, h->response_failed, h->service_ok, h->service_failed};
	for (size_t i = 0; i < 4; i++)
		if (all[i] != NULL && hist_count(all[i]) > 0)
			hist_clear(all[i]);
}

static void clear_bank(struct bank *b)
{
	for (size_t i = 0; i < CLASSES; i++)
		clear_hists(&b->classes[i]);
	clear_hists(&b->total);
	hist_clear(b->late);
	b->planned = b->started = b->ok = b->failed = b->dropped = 0;
	b->errors.n = 0;
	memset(b->errors.at, 0, sizeof b->errors.at);
}

void play_record_collect(struct play_record *r, struct play_interval *out)
{
	clear_bank(&r->banks[!r->filled]);
	pthread_mutex_lock(&r->lock);
	struct bank *b = &r->banks[r->filled];
	r->filled = !r->filled;
	out->in_flight = r->started - r->ended;
	out->backlog = r->planned - r->dropped - r->started;
	out->n_classes = r->n_classes;
	pthread_mutex_unlock(&r->lock);
	out->planned = b->planned;
	out->started = b->started;
	out->ok = b->ok;
	out->failed = b->failed;
	out->dropped = b->dropped;
	out->errors = b->errors;
	out->late = b->late;
	out->backlog_age_ns = 0;
	memcpy(out->hists, b->classes, sizeof out->hists);
	out->total = b->total;
}

void play_record_totals(struct play_record *r, struct play_interval *out)
{
	pthread_mutex_lock(&r->lock);
	out->planned = r->planned;
	out->started = r->started;
	out->ok = r->ok;
	out->failed = r->failed;
	out->dropped = r->dropped;
	out->in_flight = r->started - r->ended;
	out->backlog = r->planned - r->dropped - r->started;
	out->errors = r->errors;
	pthread_mutex_unlock(&r->lock);
}

void play_record_each_executed(struct play_record *r, void (*fn)(const char *sql, void *arg), void *arg)
{
	for (uint32_t i = 0;; i++) {
		pthread_mutex_lock(&r->lock);
		const char *text = i < r->n_classes && r->classes[i].started > 0 ? r->classes[i].text : NULL;
		bool last = i >= r->n_classes;
		pthread_mutex_unlock(&r->lock);
		if (last)
			return;
		if (text != NULL)
			fn(text, arg);
	}
}

void play_record_close_baseline(struct play_record *r)
{
	pthread_mutex_lock(&r->lock);
	if (!r->baseline_closed) {
		r->baseline = r->gate;
		r->baseline_closed = true;
	}
	pthread_mutex_unlock(&r->lock);
}

bool play_record_has_ended(struct play_record *r, int64_t *at_ns)
{
	pthread_mutex_lock(&r->lock);
	*at_ns = r->ended_ns;
	pthread_mutex_unlock(&r->lock);
	return *at_ns != 0;
}

void play_record_summary(struct play_record *r, struct play_summary *out)
{
	*out = (struct play_summary){
		.n_classes = r->n_classes,
		.n_divergences = r->n_divergences,
		.n_seconds = r->seconds.n,
		.classes = r->classes,
		.divergences = r->divergences,
		.seconds = r->seconds.at,
		.gate = r->baseline_closed ? r->baseline : r->gate,
		.baseline = r->baseline_closed,
		.unfinished = (int64_t)(r->started - r->ended),
		.late = r->late,
		.busy = r->busy,
		.ended_ns = r->ended_ns != 0 ? r->ended_ns - r->start_ns : -1,
	};
}
