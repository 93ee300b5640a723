/* Two passes over a trace. The first finds, in each class of statements, the commonest text and which of its literals differ; the second
 * collects values and the sequences that make transactions. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "replay/mix.h"
#include "replay/mix_template.h"
#include "replay/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_HASHED UINT64_C(0x9e3779b97f4a7c15)
#define EQUAL_LOOKED 2000 /* occurrences of a transaction whose parameters are compared */
#define SLOTS_MAX 120     /* of a transaction, whose parameters are compared */
#define TRANSACTIONS_SEEN_MAX 20000
#define OPEN_MAX 4096 /* statements of a transaction under way */
#define LOOP_MAX 6    /* statements of a loop's body */
#define NOWHERE UINT32_MAX

/* A canonical text of a class. */
struct variant {
	uint64_t fingerprint;
	char *text;
	size_t text_n, marks;
	enum template_control control;
	char **first; /* of each mark: SQL text of its first literal */
	bool *varies;
	enum literal_kind *kinds;
	int *params;        /* the parameter that stands there, 0: the first literal. Of the chosen ones */
	uint32_t n_params;  /* of the protocol */
	uint32_t statement; /* or NOWHERE */
	bool chosen;
	int64_t count;
};

struct shape_of {
	uint32_t variant; /* + 1; 0: not looked at yet */
	struct literal *literals;
};

struct open {
	bool begun, broken;
	int64_t connected_ns, count; /* of the session */
	VEC(uint32_t) steps;
	VEC(size_t) slots; /* of each step: where its hashes begin */
	VEC(uint64_t) hashes;
};

struct reader {
	struct mix *mix;
	struct trace *trace;
	const struct capture_filter *filter;
	const volatile sig_atomic_t *stop;
	VEC(struct variant) variants;
	VEC(struct shape_of) shapes;
	VEC(struct open *) open; /* by session */
	VEC(uint64_t) keys;      /* of the mix's transactions */
	struct buf text, value;
	int64_t first_ns, too_many;
};

/* ---- first pass ---- */

static struct variant *find_variant(struct reader *r, const struct trace_shape *shape, const struct literal *literals)
{
	size_t marks = 0;
	for (uint32_t i = 0; i < shape->literals; i++)
		marks += literals[i].kind != LITERAL_COMMENT;
	for (size_t i = 0; i < r->variants.n; i++) {
		struct variant *v = &r->variants.at[i];
		if (v->fingerprint == shape->fingerprint && v->text_n == r->text.len && memcmp(v->text, r->text.data, r->text.len) == 0)
			return v;
	}
	struct variant v = {.fingerprint = shape->fingerprint, .text_n = r->text.len, .marks = marks, .statement = NOWHERE};
	v.text = strndup(r->text.data, r->text.len);
	v.first = calloc(marks + 1, sizeof *v.first);
	v.varies = calloc(marks + 1, sizeof *v.varies);
	v.kinds = calloc(marks + 1, sizeof *v.kinds);
	v.params = calloc(marks + 1, sizeof *v.params);
	if (v.text == NULL || v.first == NULL || v.varies == NULL || v.kinds == NULL || v.params == NULL)
		abort();
	v.control = template_control(v.text, v.text_n);
	VEC_PUSH(&r->variants, v);
	return &r->variants.at[r->variants.n - 1];
}

static struct shape_of *shape_of(struct reader *r, const struct trace_shape *shape)
{
	while (r->shapes.n <= shape->number)
		VEC_PUSH(&r->shapes, (struct shape_of){0});
	struct shape_of *s = &r->shapes.at[shape->number];
	if (s->variant > 0)
		return s;
	s->literals = calloc((size_t)shape->literals + 1, sizeof *s->literals);
	if (s->literals == NULL)
		abort();
	buf_clear(&r->text);
	template_read(shape, &r->text, s->literals);
	s->variant = (uint32_t)(find_variant(r, shape, s->literals) - r->variants.at) + 1;
	return s;
}

static void literal_text(struct reader *r, const struct literal *l, const struct log_text *value)
{
	buf_clear(&r->value);
	if (l->kind == LITERAL_NUMBER) {
		template_value(l, value, &r->value);
		return;
	}
	buf_char(&r->value, '\'');
	buf_add(&r->value, value->at, value->n);
	buf_char(&r->value, '\'');
}

static void look_at(struct reader *r, const struct trace_event *e)
{
	struct shape_of *s = shape_of(r, e->shape);
	struct variant *v = &r->variants.at[s->variant - 1];
	size_t mark = 0;
	v->count++;
	if (e->n_params > v->n_params)
		v->n_params = e->n_params;
	for (uint32_t i = 0; i < e->n_literals; i++) {
		if (s->literals[i].kind == LITERAL_COMMENT)
			continue;
		if (!v->varies[mark]) {
			literal_text(r, &s->literals[i], &e->literals[i].value);
			v->kinds[mark] = s->literals[i].kind;
			if (v->first[mark] == NULL)
				v->first[mark] = strdup(r->value.data);
			else
				v->varies[mark] = strcmp(v->first[mark], r->value.data) != 0;
		}
		mark++;
	}
}

/* ---- templates ---- */

static bool write_template(struct reader *r, struct variant *v, bool inline_all)
{
	struct statement_columns tables;
	struct param_column none[1];
	int next = (int)v->n_params + 1;
	for (size_t i = 0; i < v->marks; i++) {
		bool param = !inline_all && v->varies[i] && v->kinds[i] != LITERAL_FIXED && next < PARAMS_MAX;
		v->params[i] = param ? next++ : 0;
	}
	buf_clear(&r->text);
	template_write(v->text, v->text_n, v->params, (const char *const *)v->first, &r->text);
	return !r->text.overflow && columns_of(r->text.data, &tables, none, 0);
}

static void make_statement(struct reader *r, struct variant *v)
{
	if (v->fingerprint != 0 && !write_template(r, v, false))
		(void)write_template(r, v, true);
	size_t n = v->n_params;
	for (size_t i = 0; i < v->marks; i++)
		n += v->params[i] > 0;
	char *sql = strndup(v->fingerprint != 0 ? r->text.data : v->text, v->fingerprint != 0 ? r->text.len : v->text_n);
	if (sql == NULL)
		abort();
	v->statement = (uint32_t)r->mix->statements.n;
	struct mix_statement *s = mix_add_statement(r->mix, v->fingerprint, sql, n);
	if (v->control == CONTROL_OTHER && s->left_out == NULL)
		s->left_out = strdup("neither reads nor writes as a workload's statements do");
}

static int by_class(const void *a, const void *b)
{
	const struct variant *const *x = a, *const *y = b;
	if ((*x)->fingerprint != (*y)->fingerprint)
		return (*x)->fingerprint < (*y)->fingerprint ? -1 : 1;
	return (*x)->count > (*y)->count ? -1 : (*x)->count < (*y)->count;
}

static int by_count(const void *a, const void *b)
{
	const struct variant *const *x = a, *const *y = b;
	return (*x)->count > (*y)->count ? -1 : (*x)->count < (*y)->count;
}

/* Of each class the commonest variant becomes the statement. */
static void make_statements(struct reader *r)
{
	VEC(struct variant *) order = {0}, chosen = {0};
	for (size_t i = 0; i < r->variants.n; i++)
		if (r->variants.at[i].control == CONTROL_NONE || r->variants.at[i].control == CONTROL_OTHER)
			VEC_PUSH(&order, &r->variants.at[i]);
	if (order.n > 1)
		qsort(order.at, order.n, sizeof *order.at, by_class);
	for (size_t i = 0; i < order.n; i++)
		if (i == 0 || order.at[i]->fingerprint != order.at[i - 1]->fingerprint)
			VEC_PUSH(&chosen, order.at[i]);
	if (chosen.n > 1)
		qsort(chosen.at, chosen.n, sizeof *chosen.at, by_count);
	for (size_t i = 0; i < chosen.n; i++) {
		chosen.at[i]->chosen = true;
		make_statement(r, chosen.at[i]);
	}
	uint32_t statement = NOWHERE;
	for (size_t i = 0; i < order.n; i++) {
		statement = order.at[i]->chosen ? order.at[i]->statement : statement;
		order.at[i]->statement = statement;
	}
	VEC_FREE(&order);
	VEC_FREE(&chosen);
}

/* ---- second pass ---- */

static struct open *open_of(struct reader *r, const struct trace_session *s)
{
	while (r->open.n <= s->number)
		VEC_PUSH(&r->open, NULL);
	struct open **slot = &r->open.at[s->number];
	if (*slot == NULL && (*slot = calloc(1, sizeof **slot)) == NULL)
		abort();
	return *slot;
}

static void free_open(struct open *o)
{
	if (o == NULL)
		return;
	VEC_FREE(&o->steps);
	VEC_FREE(&o->slots);
	VEC_FREE(&o->hashes);
	free(o);
}

static void note_arrival(struct reader *r, int64_t at_ns)
{
	int64_t second = (at_ns - r->first_ns) / NS_PER_S;
	if (second < 0 || second >= MIX_SECONDS_MAX)
		return;
	while (r->mix->seconds.n <= (size_t)second)
		VEC_PUSH(&r->mix->seconds, 0);
	r->mix->seconds.at[second]++;
}

/* Values go to the statement's domains, and their hashes to the transaction. */
static void note_values(struct reader *r, struct open *o, const struct trace_event *e, const struct shape_of *shape)
{
	const struct variant *v = &r->variants.at[shape->variant - 1];
	struct mix_statement *s = &r->mix->statements.at[v->statement];
	size_t from = o->hashes.n, mark = 0;
	for (size_t i = 0; i < s->n; i++)
		VEC_PUSH(&o->hashes, 0);
	if (!v->chosen)
		return;
	for (uint32_t i = 0; i < e->n_params && e->n_params == v->n_params; i++) {
		const struct param *p = &e->params[i];
		domain_add(&s->domains[i], p->value.at, p->value.n, p->null);
		if (!p->null)
			o->hashes.at[from + i] = shape_hash(p->value.at, p->value.n) | 1;
	}
	for (uint32_t i = 0; i < e->n_literals; i++) {
		if (shape->literals[i].kind == LITERAL_COMMENT)
			continue;
		int param = v->params[mark++];
		if (param == 0)
			continue;
		buf_clear(&r->value);
		template_value(&shape->literals[i], &e->literals[i].value, &r->value);
		domain_add(&s->domains[param - 1], r->value.data, r->value.len, false);
		o->hashes.at[from + (size_t)param - 1] = shape_hash(r->value.data, r->value.len) | 1;
	}
}

static bool same_steps(const uint32_t *a, const uint32_t *b, size_t n)
{
	return memcmp(a, b, n * sizeof *a) == 0;
}

/* The body at `at` and how often it follows itself: the shortest one that repeats. */
static size_t find_loop(const struct open *o, size_t at, size_t *passes)
{
	const uint32_t *s = o->steps.at;
	for (size_t length = 1; length <= LOOP_MAX && at + 2 * length <= o->steps.n; length++) {
		size_t n = 1;
		while (at + (n + 1) * length <= o->steps.n && same_steps(s + at, s + at + n * length, length))
			n++;
		if (n > 1) {
			*passes = n;
			return length;
		}
	}
	*passes = 1;
	return 1;
}

struct rolled {
	size_t n, n_loops, n_slots;
	struct mix_step steps[MIX_STEPS_MAX];
	size_t from[MIX_STEPS_MAX]; /* the step of o that it is */
	size_t passes[MIX_STEPS_MAX];
};

static bool roll_up(const struct reader *r, const struct open *o, struct rolled *out)
{
	*out = (struct rolled){0};
	for (size_t at = 0; at < o->steps.n;) {
		size_t passes, length = find_loop(o, at, &passes);
		if (out->n + length > MIX_STEPS_MAX)
			return false;
		if (passes > 1)
			out->passes[out->n_loops++] = passes < MIX_REPEATS_MAX ? passes : MIX_REPEATS_MAX;
		for (size_t i = 0; i < length; i++) {
			uint32_t statement = o->steps.at[at + i];
			out->steps[out->n] = (struct mix_step){statement, passes > 1 ? (uint32_t)out->n_loops : 0};
			out->from[out->n++] = at + i;
			out->n_slots += r->mix->statements.at[statement].n;
		}
		at += length * passes;
	}
	return out->n > 0;
}

/* How many slots two occurrences of a value have in common. */
static void compare_slots(struct mix_transaction *t, const struct reader *r, const struct open *o, const struct rolled *x)
{
	uint64_t hashes[SLOTS_MAX];
	size_t n = 0;
	if (t->equal == NULL || t->looked >= EQUAL_LOOKED)
		return;
	for (size_t i = 0; i < x->n; i++)
		for (size_t k = 0; k < r->mix->statements.at[x->steps[i].statement].n; k++)
			hashes[n++] = o->hashes.at[o->slots.at[x->from[i]] + k];
	t->looked++;
	for (size_t i = 1; i < n; i++)
		for (size_t j = 0; j < i; j++)
			t->equal[i * n + j] += hashes[i] != 0 && hashes[i] == hashes[j];
}

/* Whether the parameter counts the passes of its loop. length: statements of the loop's body. */
static bool counts_passes(const struct open *o, size_t from, size_t length, size_t passes, size_t param)
{
	char text[24];
	for (size_t pass = 0; pass < passes; pass++) {
		int n = snprintf(text, sizeof text, "%zu", pass + 1);
		if (o->hashes.at[o->slots.at[from + pass * length] + param] != (shape_hash(text, (size_t)n) | 1))
			return false;
	}
	return true;
}

static void look_at_passes(struct mix_transaction *t, const struct reader *r, const struct open *o, const struct rolled *x)
{
	size_t slot = 0;
	if (t->equal == NULL || t->looked > EQUAL_LOOKED)
		return;
	for (size_t i = 0; i < x->n; i++) {
		uint32_t loop = x->steps[i].loop;
		size_t n = r->mix->statements.at[x->steps[i].statement].n, length = 0;
		for (size_t k = 0; loop > 0 && k < x->n; k++)
			length += x->steps[k].loop == loop;
		for (size_t k = 0; k < n; k++, slot++)
			if (loop > 0 && x->passes[loop - 1] < MIX_REPEATS_MAX)
				t->passes[slot] += counts_passes(o, x->from[i], length, x->passes[loop - 1], k);
	}
}

static struct mix_transaction *find_transaction(struct reader *r, const struct rolled *x, bool begun, bool rolled_back)
{
	struct mix *mix = r->mix;
	uint64_t key = shape_hash((const char *)x->steps, x->n * sizeof x->steps[0]) * VALUE_HASHED + (uint64_t)begun * 2 + rolled_back;
	for (size_t i = 0; i < r->keys.n; i++)
		if (r->keys.at[i] == key && mix->transactions.at[i].n == x->n)
			return &mix->transactions.at[i];
	if (mix->transactions.n >= TRANSACTIONS_SEEN_MAX)
		return NULL;
	struct mix_transaction t = {.begun = begun, .rolled_back = rolled_back, .n = x->n, .n_loops = x->n_loops, .n_slots = x->n_slots};
	t.steps = malloc(x->n * sizeof *t.steps);
	t.loops = calloc(x->n_loops + 1, sizeof *t.loops);
	t.equal = x->n_slots <= SLOTS_MAX ? calloc(x->n_slots * x->n_slots + 1, sizeof *t.equal) : NULL;
	t.passes = calloc(x->n_slots + 1, sizeof *t.passes);
	if (t.steps == NULL || t.loops == NULL || t.passes == NULL)
		abort();
	memcpy(t.steps, x->steps, x->n * sizeof *t.steps);
	VEC_PUSH(&r->keys, key);
	VEC_PUSH(&mix->transactions, t);
	return &mix->transactions.at[mix->transactions.n - 1];
}

static void end_transaction(struct reader *r, struct open *o, bool rolled_back)
{
	struct rolled x;
	if (o->broken) {
		r->mix->broken++;
	} else if (o->steps.n >= OPEN_MAX || (o->steps.n > 0 && !roll_up(r, o, &x))) {
		r->mix->too_long++;
	} else if (o->steps.n > 0) {
		struct mix_transaction *t = find_transaction(r, &x, o->begun, rolled_back);
		r->too_many += t == NULL;
		if (t != NULL) {
			t->count++;
			for (size_t i = 0; i < x.n_loops; i++)
				t->loops[i].passes[x.passes[i]]++;
			compare_slots(t, r, o, &x);
			look_at_passes(t, r, o, &x);
		}
	}
	o->begun = o->broken = false;
	o->count++;
	o->steps.n = o->slots.n = o->hashes.n = 0;
}

static void note_statement(struct reader *r, struct open *o, const struct trace_event *e, const struct shape_of *shape)
{
	uint32_t statement = r->variants.at[shape->variant - 1].statement;
	if (statement == NOWHERE)
		return;
	if (strcmp(e->sqlstate, "00000") != 0) {
		r->mix->failed++;
		if (!o->begun)
			note_arrival(r, e->arrival_ns);
		o->broken = o->begun;
		return;
	}
	r->mix->statements_seen++;
	r->mix->statements.at[statement].captured++;
	if (!o->begun)
		note_arrival(r, e->arrival_ns);
	if (o->steps.n < OPEN_MAX) {
		VEC_PUSH(&o->steps, statement);
		VEC_PUSH(&o->slots, o->hashes.n);
		note_values(r, o, e, shape);
	}
	if (!o->begun)
		end_transaction(r, o, false);
}

static void note_session(struct reader *r, const struct trace_event *e)
{
	struct open *o = open_of(r, e->session);
	if (e->kind == CAPTURED_CONNECT) {
		o->connected_ns = e->arrival_ns;
		return;
	}
	if (o->connected_ns > 0) {
		r->mix->session_ns += e->arrival_ns - o->connected_ns;
		r->mix->sessions_ended++;
	}
	r->mix->broken += o->begun;
	r->mix->sessions += o->count > 0;
	r->mix->in_sessions += o->count;
	free_open(o);
	r->open.at[e->session->number] = NULL;
}

static void note_event(struct reader *r, const struct trace_event *e)
{
	if (e->shape == NULL) {
		note_session(r, e);
		return;
	}
	struct open *o = open_of(r, e->session);
	const struct shape_of *shape = &r->shapes.at[e->shape->number];
	enum template_control control = r->variants.at[shape->variant - 1].control;
	if (e->kind == CAPTURED_FETCH || control == CONTROL_SESSION) {
		r->mix->controls++;
	} else if (control == CONTROL_BEGIN) {
		r->mix->controls++;
		if (!o->begun)
			note_arrival(r, e->arrival_ns);
		o->begun = true;
	} else if (control == CONTROL_COMMIT || control == CONTROL_ROLLBACK) {
		r->mix->controls++;
		if (o->begun)
			end_transaction(r, o, control == CONTROL_ROLLBACK);
	} else {
		note_statement(r, o, e, shape);
	}
}

/* ---- the whole ---- */

static enum status pass(struct reader *r, const char *path, void (*fn)(struct reader *, const struct trace_event *), struct error *err)
{
	struct trace_event e;
	int64_t last_ns = 0, first_ns = 0;
	if (trace_open(path, &r->trace, err) != ST_OK)
		return err->status;
	int64_t begin_ns = trace_summary(r->trace)->first_ns;
	struct capture_matcher *m = capture_matcher_create(r->filter, begin_ns);
	if (r->filter->from_ns > 0)
		trace_seek(r->trace, begin_ns + r->filter->from_ns);
	r->first_ns = begin_ns + r->filter->from_ns;
	enum status st = ST_OK;
	err->status = ST_OK;
	while (st == ST_OK && trace_next(r->trace, &e, err)) {
		if (r->filter->to_ns > 0 && e.arrival_ns - begin_ns >= r->filter->to_ns)
			break;
		if (r->stop != NULL && *r->stop)
			st = error_set(err, ST_INTERRUPTED, "interrupted");
		if (!capture_matches(m, &e))
			continue;
		first_ns = first_ns == 0 ? e.arrival_ns : first_ns;
		last_ns = e.arrival_ns;
		fn(r, &e);
	}
	r->mix->span_ns = last_ns - first_ns;
	capture_matcher_free(m);
	trace_close(r->trace);
	return err->status;
}

static void look_pass(struct reader *r, const struct trace_event *e)
{
	if (e->shape != NULL)
		look_at(r, e);
}

static void note_what_is_missing(struct reader *r)
{
	struct mix *mix = r->mix;
	for (size_t i = 0; i < r->open.n; i++)
		if (r->open.at[i] != NULL) {
			mix->broken += r->open.at[i]->begun;
			mix->sessions += r->open.at[i]->count > 0;
			mix->in_sessions += r->open.at[i]->count;
			free_open(r->open.at[i]);
		}
	if (mix->broken > 0)
		mix_note(mix, "%" PRId64 " transactions failed or have no end in the trace: they are left out", mix->broken);
	if (mix->too_long + r->too_many > 0)
		mix_note(mix, "%" PRId64 " transactions are of over %d statements, or of too many forms: they are left out",
			mix->too_long + r->too_many, MIX_STEPS_MAX);
	if (mix->failed > 0)
		mix_note(mix, "%" PRId64 " statements failed: a workload has none that are meant to", mix->failed);
}

enum status mix_read_trace(
	struct mix *mix, const char *path, const struct capture_filter *filter, const volatile sig_atomic_t *stop, struct error *err)
{
	struct reader r = {.mix = mix, .filter = filter, .stop = stop};
	mix->source = "trace";
	mix->path = strdup(path);
	buf_init(&r.text, (size_t)8 << 20);
	buf_init(&r.value, LOG_RECORD_MAX);
	enum status st = pass(&r, path, look_pass, err);
	if (st == ST_OK) {
		make_statements(&r);
		st = pass(&r, path, note_event, err);
	}
	note_what_is_missing(&r);
	if (st == ST_OK && mix->transactions.n == 0)
		st = error_set(err, ST_USAGE, "%s: no whole transaction of what is asked for is in it", path);
	for (size_t i = 0; i < r.variants.n; i++) {
		struct variant *v = &r.variants.at[i];
		for (size_t k = 0; k < v->marks; k++)
			free(v->first[k]);
		free(v->text);
		free(v->first);
		free(v->varies);
		free(v->kinds);
		free(v->params);
	}
	for (size_t i = 0; i < r.shapes.n; i++)
		free(r.shapes.at[i].literals);
	VEC_FREE(&r.variants);
	VEC_FREE(&r.shapes);
	VEC_FREE(&r.open);
	VEC_FREE(&r.keys);
	buf_free(&r.text);
	buf_free(&r.value);
	return st;
}
