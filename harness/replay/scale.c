/* One pass: what a shape's values mean is asked of the clone when the shape first occurs. */
#define _GNU_SOURCE
#include "replay/scale.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/vec.h"
#include "replay/domain.h"
#include "replay/mix_ask.h"
#include "replay/mix_template.h"
#include "replay/trace.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHIFT_NS NS_PER_S
#define STRIDE_MAX INT64_C(1000000000)
#define VALUES_MAX 20000 /* of a column that are drawn from */
#define DENSE 0.9        /* share of a range that must be there for its numbers to be drawn without looking */
#define MARKS_MAX (1u << 22)

/* A set of hashes; open addressing. */
struct marks {
	uint64_t *at;
	size_t n, size;
};

/* A column whose values are redrawn. */
struct key {
	char table[2 * COLUMNS_NAME_MAX], column[COLUMNS_NAME_MAX];
	struct column_facts facts;
	bool integer, dense, uuid;
	int64_t stride; /* between new numbers of the copies */
	VEC(char *) values;
	struct marks made, there; /* hashes of values that the traffic made, and of those that the clone has */
	char quoted_table[300], quoted_column[140];
};

/* What stands in a shape's places: literals first, then parameters. */
struct plan {
	size_t n;
	struct literal *literals;
	struct place {
		struct key *key; /* NULL: it stays */
		bool written, array;
	} * places;
};

struct copies {
	VEC(uint32_t) numbers; /* by session: number in the new trace + 1, or 0 */
};

struct scaler {
	const struct scale_config *config;
	struct scale_result *result;
	PGconn *conn;
	struct trace_writer *writer;
	VEC(struct key *) keys;
	VEC(struct plan *) plans; /* by shape; NULL: it has not occurred */
	struct copies *copies;    /* times of them */
	int n_copies;
	uint32_t sessions;
	struct buf text, values;
	VEC(struct param) params;
	int64_t statements, first_ns, last_ns;
};

/* ---- values ---- */

/* Four rounds of a Feistel network over the next even power of two, walked until it falls within the range. */
uint64_t scale_permute(uint64_t x, uint64_t n, uint64_t key)
{
	unsigned half = 1;
	while (half < 32 && (UINT64_C(1) << 2 * half) < n)
		half++;
	uint64_t mask = (UINT64_C(1) << half) - 1;
	do {
		uint64_t left = x >> half, right = x & mask;
		for (uint64_t round = 0; round < 4; round++) {
			uint64_t next = left ^ (rng_mix(key + round * UINT64_C(0x9e3779b97f4a7c15) + right) & mask);
			left = right;
			right = next;
		}
		x = left << half | right;
	} while (x >= n);
	return x;
}

static uint64_t hash_of(const struct scaler *s, const char *value, size_t n, int copy)
{
	return rng_mix(shape_hash(value, n) ^ rng_mix(s->config->seed + (uint64_t)copy));
}

static bool has_mark(const struct marks *m, uint64_t hash)
{
	for (size_t i = hash & (m->size - 1); m->size > 0; i = (i + 1) & (m->size - 1)) {
		if (m->at[i] == hash)
			return true;
		if (m->at[i] == 0)
			return false;
	}
	return false;
}

static void add_mark(struct marks *m, uint64_t hash)
{
	if (has_mark(m, hash) || m->n >= MARKS_MAX)
		return;
	if (m->n * 2 >= m->size) {
		struct marks old = *m;
		m->size = old.size > 0 ? old.size * 2 : 1024;
		m->n = 0;
		m->at = calloc(m->size, sizeof *m->at);
		if (m->at == NULL)
			abort();
		for (size_t i = 0; i < old.size; i++)
			if (old.at[i] != 0)
				add_mark(m, old.at[i]);
		free(old.at);
	}
	size_t i = hash & (m->size - 1);
	while (m->at[i] != 0)
		i = (i + 1) & (m->size - 1);
	m->at[i] = hash;
	m->n++;
}

static bool read_integer(const char *value, size_t n, int64_t *out)
{
	char text[24];
	if (n == 0 || n > 18 || value[0] < '0' || value[0] > '9')
		return false;
	memcpy(text, value, n);
	text[n] = '\0';
	char *end;
	*out = strtoll(text, &end, 10);
	return *end == '\0';
}

static void add_integer(const struct scaler *s, const struct key *k, int64_t v, int copy, struct buf *out)
{
	const struct column_facts *f = &k->facts;
	uint64_t n = f->bounds ? (uint64_t)f->high - (uint64_t)f->low + 1 : 0;
	if (f->bounds && v > f->high) {
		v += copy * k->stride;
	} else if (f->bounds && v >= f->low && k->dense) {
		v = f->low + (int64_t)scale_permute((uint64_t)(v - f->low), n, rng_mix(s->config->seed + (uint64_t)copy) ^ n);
	} else if (k->values.n > 0) {
		buf_str(out, k->values.at[hash_of(s, (const char *)&v, sizeof v, copy) % k->values.n]);
		return;
	}
	buf_printf(out, "%" PRId64, v);
}

/* Hexadecimal digits by others, the version's and the variant's kept. */
static void add_uuid(uint64_t hash, const char *value, size_t n, struct buf *out)
{
	struct rng rng = {hash};
	uint64_t bits = 0;
	for (size_t i = 0; i < n; i++) {
		bits = i % 16 == 0 ? rng_next(&rng) : bits >> 4;
		bool stays = value[i] == '-' || i == 14 || i == 19;
		buf_char(out, stays ? value[i] : "0123456789abcdef"[bits & 15]);
	}
}

/* What the clone has not got was made by the traffic, or by the server for it. */
static bool is_made(const struct scaler *s, struct key *k, const char *value, size_t n, bool written)
{
	uint64_t mark = shape_hash(value, n) | 1;
	char sql[600], text[DOMAIN_VALUE_MAX + 1];
	const char *const params[] = {text};
	PGresult *r = NULL;
	struct error ignored;
	if (has_mark(&k->made, mark) || !k->facts.unique || has_mark(&k->there, mark))
		return has_mark(&k->made, mark);
	bool made = written;
	if (!written && n <= DOMAIN_VALUE_MAX && memchr(value, '\0', n) == NULL) {
		snprintf(text, sizeof text, "%.*s", (int)n, value);
		snprintf(sql, sizeof sql, "SELECT 1 FROM %s WHERE %s = $1", k->quoted_table, k->quoted_column);
		made = mix_ask(s->conn, sql, 1, params, &r, &ignored) == ST_OK && PQntuples(r) == 0;
		PQclear(r);
	}
	add_mark(made ? &k->made : &k->there, mark);
	return made;
}

static void add_value(const struct scaler *s, struct key *k, const char *value, size_t n, bool written, int copy, struct buf *out)
{
	int64_t v;
	if (k->integer) {
		if (read_integer(value, n, &v))
			add_integer(s, k, v, copy, out);
		else
			buf_add(out, value, n);
		return;
	}
	if (is_made(s, k, value, n, written)) {
		if (k->uuid && n == 36) {
			add_uuid(hash_of(s, value, n, copy), value, n, out);
		} else {
			buf_add(out, value, n);
			buf_printf(out, "_%d", copy);
		}
	} else if (k->values.n > 0) {
		buf_str(out, k->values.at[hash_of(s, value, n, copy) % k->values.n]);
	} else {
		buf_add(out, value, n);
	}
}

/* {1,2,3}: what stands between commas; arrays with quotes stay. */
static void add_array(const struct scaler *s, struct key *k, const char *value, size_t n, int copy, struct buf *out)
{
	if (n < 2 || value[0] != '{' || memchr(value, '"', n) != NULL) {
		buf_add(out, value, n);
		return;
	}
	buf_char(out, '{');
	for (size_t i = 1; i + 1 < n;) {
		size_t length = 0;
		while (i + length + 1 < n && value[i + length] != ',')
			length++;
		add_value(s, k, value + i, length, false, copy, out);
		i += length;
		if (i + 1 < n) {
			buf_char(out, ',');
			i++;
		}
	}
	buf_char(out, '}');
}

static void add_place(const struct scaler *s, const struct place *p, const char *value, size_t n, int copy, struct buf *out)
{
	if (p->array)
		add_array(s, p->key, value, n, copy, out);
	else
		add_value(s, p->key, value, n, p->written, copy, out);
}

/* ---- what the clone says ---- */

static void load_values(struct scaler *s, struct key *k)
{
	char sql[800];
	PGresult *r = NULL;
	struct error ignored;
	snprintf(sql, sizeof sql, "SELECT DISTINCT v::text FROM (SELECT %s AS v FROM %s WHERE %s IS NOT NULL LIMIT %d) AS some",
		k->quoted_column, k->quoted_table, k->quoted_column, VALUES_MAX);
	if (mix_ask(s->conn, sql, 0, NULL, &r, &ignored) != ST_OK)
		return;
	for (int i = 0; i < PQntuples(r); i++) {
		char *copy = strdup(PQgetvalue(r, i, 0));
		if (copy == NULL)
			abort();
		VEC_PUSH(&k->values, copy);
	}
	PQclear(r);
}

static struct key *make_key(struct scaler *s, const struct mix_key *name)
{
	struct key *k = calloc(1, sizeof *k);
	struct param_column c = {0};
	if (k == NULL)
		abort();
	snprintf(k->table, sizeof k->table, "%s", name->table);
	snprintf(k->column, sizeof k->column, "%s", name->column);
	snprintf(c.column, sizeof c.column, "%s", name->column);
	snprintf(k->quoted_table, sizeof k->quoted_table, "%s", name->quoted_table);
	snprintf(k->quoted_column, sizeof k->quoted_column, "%s", name->quoted_column);
	(void)mix_look_up(s->conn, name->table, &c, &k->facts);
	struct column_facts *f = &k->facts;
	bool big = strcmp(f->type, "bigint") == 0, small = strcmp(f->type, "smallint") == 0;
	k->integer = big || small || strcmp(f->type, "integer") == 0;
	k->uuid = strcmp(f->type, "uuid") == 0;
	double range = (double)f->high - (double)f->low + 1;
	double there = f->unique ? f->rows : f->distinct;
	k->dense = k->integer && f->bounds && there >= DENSE * range;
	int64_t top = big ? INT64_MAX / 2 : small ? INT16_MAX : INT32_MAX;
	k->stride = f->high < top ? (top - f->high) / (s->n_copies + 1) : 0;
	if (k->stride > STRIDE_MAX)
		k->stride = STRIDE_MAX;
	if (!k->dense)
		load_values(s, k);
	VEC_PUSH(&s->keys, k);
	s->result->keys++;
	return k;
}

static struct key *find_key(struct scaler *s, const char *table, const char *column)
{
	struct mix_key name;
	if (!mix_find_key(s->conn, table, column, &name))
		return NULL;
	for (size_t i = 0; i < s->keys.n; i++)
		if (strcmp(s->keys.at[i]->table, name.table) == 0 && strcmp(s->keys.at[i]->column, name.column) == 0)
			return s->keys.at[i];
	return make_key(s, &name);
}

static void find_place(struct scaler *s, const struct statement_columns *tables, struct param_column *c, struct place *out)
{
	bool wanted = c->use == PARAM_KEY || c->use == PARAM_WRITTEN || c->use == PARAM_SET;
	if (!wanted || c->part || (c->column[0] == '\0' && c->position == 0))
		return;
	if (c->column[0] == '\0') {
		struct column_facts facts = {0};
		struct domain d = {0};
		bool known = mix_look_up(s->conn, c->table, c, &facts);
		d.column = facts;
		domain_free(&d);
		if (!known)
			return;
	}
	out->written = c->use == PARAM_WRITTEN;
	out->array = c->array;
	if (c->table[0] != '\0')
		out->key = find_key(s, c->table, c->column);
	for (size_t i = 0; c->table[0] == '\0' && out->key == NULL && i < tables->n_tables; i++)
		out->key = find_key(s, tables->tables[i], c->column);
}

/* The shape with all its literals as parameters behind those that it has, to see what each belongs to. */
static struct plan *make_plan(struct scaler *s, const struct trace_event *e)
{
	struct plan *plan = calloc(1, sizeof *plan);
	if (plan == NULL)
		abort();
	struct buf canonical, sql;
	size_t n = e->shape->literals + (size_t)e->n_params, mark = 0;
	int *numbers = calloc(n + 1, sizeof *numbers);
	const char **texts = calloc(n + 1, sizeof *texts);
	struct param_column *columns = calloc(n + 1, sizeof *columns);
	plan->literals = calloc((size_t)e->shape->literals + 1, sizeof *plan->literals);
	plan->places = calloc(n + 1, sizeof *plan->places);
	if (numbers == NULL || texts == NULL || columns == NULL || plan->literals == NULL || plan->places == NULL)
		abort();
	buf_init(&canonical, (size_t)8 << 20);
	buf_init(&sql, (size_t)8 << 20);
	plan->n = n;
	template_read(e->shape, &canonical, plan->literals);
	for (uint32_t i = 0; i < e->shape->literals; i++) {
		if (plan->literals[i].kind == LITERAL_COMMENT)
			continue;
		bool fixed = plan->literals[i].kind == LITERAL_FIXED;
		numbers[mark] = fixed ? 0 : (int)(e->n_params + i) + 1;
		texts[mark++] = "'1'";
	}
	template_write(canonical.data, canonical.len, numbers, texts, &sql);
	struct statement_columns tables;
	if (e->shape->fingerprint != 0 && columns_of(sql.data, &tables, columns, n))
		for (size_t i = 0; i < n; i++) {
			size_t place = i < e->n_params ? e->shape->literals + i : i - e->n_params;
			find_place(s, &tables, &columns[i], &plan->places[place]);
		}
	free(numbers);
	free(texts);
	free(columns);
	buf_free(&canonical);
	buf_free(&sql);
	return plan;
}

static const struct plan *plan_of(struct scaler *s, const struct trace_event *e)
{
	while (s->plans.n <= e->shape->number)
		VEC_PUSH(&s->plans, NULL);
	struct plan **plan = &s->plans.at[e->shape->number];
	if (*plan == NULL)
		*plan = make_plan(s, e);
	return *plan;
}

/* ---- events ---- */

static uint32_t session_number(struct scaler *s, const struct trace_session *session, int copy)
{
	struct copies *c = &s->copies[copy];
	while (c->numbers.n <= session->number)
		VEC_PUSH(&c->numbers, 0);
	if (c->numbers.at[session->number] > 0)
		return c->numbers.at[session->number] - 1;
	struct captured_session told = trace_session_captured(session, s->sessions);
	if (copy > 0)
		told.id = rng_mix(session->id + (uint64_t)copy);
	trace_add_session(&told, s->writer);
	c->numbers.at[session->number] = ++s->sessions;
	return s->sessions - 1;
}

/* The statement with other literals; the answer: whether one is another. */
static bool write_text(struct scaler *s, const struct trace_event *e, const struct plan *plan, int copy)
{
	const char *p = e->shape->text, *end = p + e->shape->n;
	bool other = false;
	for (uint32_t i = 0; i < e->n_literals; i++) {
		const char *mark = memchr(p, SHAPE_MARK, (size_t)(end - p));
		if (mark == NULL)
			break;
		buf_add(&s->text, p, (size_t)(mark - p));
		p = mark + 1;
		const struct log_text *value = &e->literals[i].value;
		const struct place *place = &plan->places[i];
		if (place->key == NULL || plan->literals[i].negative || (value->n > 0 && memchr(value->at, '\'', value->n) != NULL)) {
			buf_add(&s->text, value->at, value->n);
			continue;
		}
		other = true;
		buf_clear(&s->values);
		add_place(s, place, value->at, value->n, copy, &s->values);
		for (size_t k = 0; k < s->values.len; k++)
			buf_printf(&s->text, s->values.data[k] == '\'' ? "''" : "%c", s->values.data[k]);
	}
	buf_add(&s->text, p, (size_t)(end - p));
	return other;
}

static bool write_params(struct scaler *s, const struct trace_event *e, const struct plan *plan, int copy)
{
	bool other = false;
	VEC(size_t) at = {0};
	buf_clear(&s->values);
	s->params.n = 0;
	for (uint32_t i = 0; i < e->n_params; i++) {
		size_t place = e->shape->literals + i;
		struct param p = e->params[i];
		VEC_PUSH(&at, s->values.len);
		if (!p.null && place < plan->n && plan->places[place].key != NULL) {
			add_place(s, &plan->places[place], p.value.at, p.value.n, copy, &s->values);
			p.value.n = s->values.len - at.at[i];
			p.value.at = NULL;
			other = true;
		}
		VEC_PUSH(&s->params, p);
	}
	for (uint32_t i = 0; i < e->n_params; i++)
		if (s->params.at[i].value.at == NULL && !s->params.at[i].null)
			s->params.at[i].value.at = s->values.data + at.at[i];
	VEC_FREE(&at);
	return other;
}

/* All sessions of a copy alike: what one hands on to another is there in time. */
static int64_t shift_of(const struct scaler *s, int copy)
{
	return copy == 0 ? 0 : (int64_t)(rng_unit(rng_mix(s->config->seed + (uint64_t)copy)) * (double)SHIFT_NS);
}

static void write_event(struct scaler *s, const struct trace_event *e, int copy)
{
	struct captured c = trace_event_captured(e, session_number(s, e->session, copy));
	c.arrival_ns += shift_of(s, copy);
	buf_clear(&s->text);
	if (copy > 0 && e->shape != NULL) {
		const struct plan *plan = plan_of(s, e);
		bool other = write_text(s, e, plan, copy);
		other |= write_params(s, e, plan, copy);
		c.params = s->params.at;
		s->result->copied++;
		s->result->other_keys += other;
	} else {
		trace_event_text(e, &s->text);
	}
	c.text = (struct log_text){s->text.data, s->text.len};
	trace_add_event(&c, s->writer);
	s->result->events++;
	if (e->shape == NULL)
		return;
	int64_t end_ns = c.arrival_ns + (e->duration_ns > 0 ? e->duration_ns : 0);
	if (s->statements++ == 0)
		s->first_ns = c.arrival_ns;
	if (end_ns > s->last_ns)
		s->last_ns = end_ns;
}

/* Which sessions have the last copy, when their number is no whole one. */
static bool has_copy(const struct scaler *s, const struct trace_session *session, int copy)
{
	if (copy + 1 <= (int)s->config->times)
		return true;
	double share = s->config->times - (int)s->config->times;
	return rng_unit(rng_mix(rng_mix(s->config->seed + 77) + session->number)) < share;
}

/* By what a replay knows keys that the traffic made from those of old rows. */
static json_t *made_keys(const struct scaler *s)
{
	json_t *list = json_array();
	for (size_t i = 0; i < s->keys.n; i++) {
		const struct key *k = s->keys.at[i];
		if (k->integer)
			json_array_append_new(list,
				json_pack("{s:o, s:o, s:I}", "table", json_text(k->table), "column", json_text(k->column), "above",
					(json_int_t)(k->facts.bounds ? k->facts.high : 0)));
	}
	return list;
}

static json_t *changed_meta(const struct trace *t, const struct scaler *s)
{
	json_t *meta = trace_meta(t) != NULL ? json_deep_copy(trace_meta(t)) : json_object();
	json_object_set_new(meta, "program", json_string("pgrehearse " PGR_VERSION));
	json_object_set_new(meta, "statements", json_integer(s->statements));
	json_object_set_new(meta, "sessions", json_integer(s->sessions));
	json_object_set_new(meta, "first_ns", json_integer(s->first_ns));
	json_object_set_new(meta, "last_ns", json_integer(s->last_ns));
	json_object_set_new(meta, "scaled", json_real(s->config->times));
	json_object_set_new(meta, "scaled_keys", made_keys(s));
	return meta;
}

static enum status copy_events(struct scaler *s, struct trace *t, struct error *err)
{
	const struct capture_filter *filter = &s->config->filter;
	int64_t first_ns = trace_summary(t)->first_ns;
	struct capture_matcher *m = capture_matcher_create(filter, first_ns);
	struct trace_event e;
	enum status st = ST_OK;
	if (filter->from_ns > 0)
		trace_seek(t, first_ns + filter->from_ns);
	err->status = ST_OK;
	while (st == ST_OK && trace_next(t, &e, err)) {
		if (filter->to_ns > 0 && e.arrival_ns - first_ns >= filter->to_ns)
			break;
		if (!capture_matches(m, &e))
			continue;
		for (int copy = 0; copy < s->n_copies; copy++)
			if (has_copy(s, e.session, copy))
				write_event(s, &e, copy);
		if (s->config->stop != NULL && *s->config->stop)
			st = error_set(err, ST_INTERRUPTED, "interrupted");
		else if (PQstatus(s->conn) != CONNECTION_OK)
			st = error_set(err, ST_FAILED, "the connection to the clone was lost");
	}
	capture_matcher_free(m);
	return err->status;
}

static void free_scaler(struct scaler *s)
{
	for (size_t i = 0; i < s->keys.n; i++) {
		struct key *k = s->keys.at[i];
		struct domain d = {.column = k->facts};
		domain_free(&d);
		for (size_t v = 0; v < k->values.n; v++)
			free(k->values.at[v]);
		VEC_FREE(&k->values);
		free(k->made.at);
		free(k->there.at);
		free(k);
	}
	for (size_t i = 0; i < s->plans.n; i++) {
		if (s->plans.at[i] == NULL)
			continue;
		free(s->plans.at[i]->literals);
		free(s->plans.at[i]->places);
		free(s->plans.at[i]);
	}
	for (int i = 0; i < s->n_copies; i++)
		VEC_FREE(&s->copies[i].numbers);
	free(s->copies);
	VEC_FREE(&s->keys);
	VEC_FREE(&s->plans);
	VEC_FREE(&s->params);
	buf_free(&s->text);
	buf_free(&s->values);
	PQfinish(s->conn);
}

enum status scale_trace(const struct scale_config *config, struct scale_result *out, struct error *err)
{
	struct trace *t = NULL;
	struct scaler s = {.config = config, .result = out};
	*out = (struct scale_result){0};
	s.n_copies = (int)config->times + (config->times > (int)config->times);
	s.copies = calloc((size_t)s.n_copies + 1, sizeof *s.copies);
	if (s.copies == NULL)
		abort();
	buf_init(&s.text, LOG_RECORD_MAX);
	buf_init(&s.values, LOG_RECORD_MAX);
	enum status st = trace_check_out(config->to, &config->from, 1, err);
	if (st == ST_OK)
		st = trace_open(config->from, &t, err);
	if (st == ST_OK && json_object_get(trace_meta(t), "scaled") != NULL)
		st = error_set(err, ST_USAGE, "%s was scaled already: scale the trace that it was made of", config->from);
	if (st == ST_OK)
		st = mix_connect(config->dsn, &s.conn, err);
	if (st == ST_OK)
		st = trace_create(config->to, &s.writer, err);
	if (st == ST_OK)
		st = copy_events(&s, t, err);
	if (st == ST_OK) {
		json_t *meta = changed_meta(t, &s);
		st = trace_finish(s.writer, meta, err);
		json_decref(meta);
	} else {
		trace_abandon(s.writer);
	}
	out->sessions = s.sessions;
	trace_close(t);
	free_scaler(&s);
	return st;
}
