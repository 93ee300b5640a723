/* The glue: reader, assembler and trace writer; and a trace read, sifted and written again. */
#define _GNU_SOURCE
#include "replay/capture.h"

#include "base/json.h"
#include "base/vec.h"
#include "replay/anonymize.h"
#include "replay/trace.h"
#include "sql/parse.h"

#include <stdlib.h>
#include <string.h>

#define PROGRESS_EVERY 65536 /* messages */

/* ---- from logs ---- */

struct capturing {
	struct trace_writer *writer; /* NULL: only count */
	struct capture_result *result;
};

static void take_session(const struct captured_session *s, void *arg)
{
	struct capturing *c = arg;
	c->result->sessions++;
	if (c->writer != NULL)
		trace_add_session(s, c->writer);
}

static void take_event(const struct captured *e, void *arg)
{
	struct capturing *c = arg;
	struct capture_result *r = c->result;
	int64_t end_ns = e->arrival_ns + (e->duration_ns > 0 ? e->duration_ns : 0);
	if (e->kind > CAPTURED_DISCONNECT) {
		r->statements++;
		if (r->statements == 1 || e->arrival_ns < r->first_ns)
			r->first_ns = e->arrival_ns;
		if (r->statements == 1 || end_ns > r->last_ns)
			r->last_ns = end_ns;
	}
	if (c->writer != NULL)
		trace_add_event(e, c->writer);
}

static json_t *make_meta(const struct capture_config *config, const struct log_reader *reader, const struct capture_result *r)
{
	json_t *files = json_array();
	for (size_t i = 0; i < config->logs.n; i++)
		json_array_append_new(files, json_text(log_reader_path(reader, i)));
	return json_pack("{s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:o}", "program", "pgrehearse " PGR_VERSION, "format",
		log_format_name(r->format), "prefix", r->prefix[0] != '\0' ? json_text(r->prefix) : json_null(), "files", files,
		"log_bytes", (json_int_t)r->log_bytes, "statements", (json_int_t)r->statements, "sessions", (json_int_t)r->sessions,
		"first_ns", (json_int_t)r->first_ns, "last_ns", (json_int_t)r->last_ns, "loss", loss_json(&r->loss));
}

static bool read_all(const struct capture_config *config, struct log_reader *reader, struct assembler *a)
{
	struct log_entry e;
	for (int64_t i = 1; log_reader_next(reader, &e); i++) {
		assemble_entry(a, &e);
		if (i % PROGRESS_EVERY != 0)
			continue;
		if (config->stop != NULL && *config->stop)
			return false;
		if (config->progress != NULL) {
			int64_t done, total;
			log_reader_progress(reader, &done, &total);
			config->progress(done, total, config->arg);
		}
	}
	assemble_end(a);
	return true;
}

static void fill_result(const struct log_reader *reader, const struct assembler *a, struct capture_result *r)
{
	int64_t total;
	const char *zone = log_reader_unknown_zone(reader);
	log_reader_progress(reader, &r->log_bytes, &total);
	r->loss = *assemble_loss(a);
	r->format = log_reader_format(reader);
	if (log_reader_prefix(reader) != NULL)
		memcpy(r->prefix, log_reader_prefix(reader), strlen(log_reader_prefix(reader)) + 1);
	if (zone != NULL)
		memcpy(r->unknown_zone, zone, strlen(zone) + 1);
	r->misread = r->loss.lines > 0 && r->loss.rows[LOSS_ALIEN].lines == r->loss.lines;
}

enum status capture_logs(const struct capture_config *config, struct capture_result *out, struct error *err)
{
	struct log_reader *reader;
	struct capturing c = {.result = out};
	*out = (struct capture_result){0};
	if (config->out != NULL && trace_check_out(config->out, config->logs.paths, config->logs.n, err) != ST_OK)
		return err->status;
	if (log_reader_open(&config->logs, &reader, err) != ST_OK)
		return err->status;
	if (config->out != NULL && trace_create(config->out, &c.writer, err) != ST_OK) {
		log_reader_close(reader);
		return err->status;
	}
	struct assembler *a = assemble_create(&(struct assemble_sink){take_session, take_event, &c});
	enum status st = ST_OK;
	if (!read_all(config, reader, a)) {
		st = error_set(err, ST_INTERRUPTED, "interrupted");
		trace_abandon(c.writer);
		c.writer = NULL;
	}
	fill_result(reader, a, out);
	if (out->misread) {
		trace_abandon(c.writer);
	} else if (c.writer != NULL) {
		json_t *meta = make_meta(config, reader, out);
		st = trace_finish(c.writer, meta, err);
		json_decref(meta);
	}
	assemble_free(a);
	log_reader_close(reader);
	return st;
}

/* ---- what matches ---- */

bool capture_reads_only(const char *sql)
{
	json_t *tree, *statement;
	struct error ignored;
	size_t i;
	if (sql_parse(sql, &tree, NULL, &ignored) != ST_OK)
		return false;
	bool reads = true;
	json_array_foreach(json_object_get(tree, "stmts"), i, statement)
	{
		const char *kind = json_object_iter_key(json_object_iter(json_object_get(statement, "stmt")));
		const json_t *body = kind != NULL ? json_object_get(json_object_get(statement, "stmt"), kind) : NULL;
		if (kind == NULL)
			reads = false;
		else if (strcmp(kind, "SelectStmt") == 0)
			reads &= json_object_get(body, "lockingClause") == NULL && json_object_get(body, "intoClause") == NULL &&
				json_object_get(body, "withClause") == NULL;
		else if (strcmp(kind, "ExplainStmt") == 0)
			reads &= json_object_get(body, "options") == NULL;
		else
			reads &= strcmp(kind, "VariableShowStmt") == 0 || strcmp(kind, "VariableSetStmt") == 0 ||
				strcmp(kind, "TransactionStmt") == 0;
	}
	json_decref(tree);
	return reads;
}

enum status capture_read_class(const char *text, uint64_t *fingerprint, struct error *err)
{
	char *end;
	*fingerprint = strtoull(text, &end, 16);
	if (*end != '\0' || end == text || *fingerprint == 0)
		return error_set(err, ST_USAGE, "--class %s: a fingerprint is expected, as trace info shows it", text);
	return ST_OK;
}

struct capture_matcher {
	struct capture_filter filter;
	int64_t first_ns;
	VEC(signed char) reads; /* [shape]: 1, -1; 0: not asked yet */
	struct buf text;
};

struct capture_matcher *capture_matcher_create(const struct capture_filter *filter, int64_t first_ns)
{
	struct capture_matcher *m = calloc(1, sizeof *m);
	if (m == NULL)
		abort();
	m->filter = *filter;
	m->first_ns = first_ns;
	buf_init(&m->text, LOG_RECORD_MAX);
	return m;
}

void capture_matcher_free(struct capture_matcher *m)
{
	if (m == NULL)
		return;
	VEC_FREE(&m->reads);
	buf_free(&m->text);
	free(m);
}

static bool reads_only(struct capture_matcher *m, const struct trace_event *e)
{
	while (m->reads.n <= e->shape->number)
		VEC_PUSH(&m->reads, 0);
	signed char *known = &m->reads.at[e->shape->number];
	bool whole = e->shape->fingerprint == 0;
	if (*known == 0 || whole) {
		buf_clear(&m->text);
		trace_event_text(e, &m->text);
		*known = capture_reads_only(m->text.data) ? 1 : -1;
	}
	return *known > 0;
}

bool capture_matches(struct capture_matcher *m, const struct trace_event *e)
{
	const struct capture_filter *f = &m->filter;
	if ((f->from_ns > 0 && e->arrival_ns - m->first_ns < f->from_ns) || (f->to_ns > 0 && e->arrival_ns - m->first_ns >= f->to_ns))
		return false;
	if ((f->user != NULL && strcmp(f->user, e->session->user) != 0) ||
		(f->database != NULL && strcmp(f->database, e->session->database) != 0) ||
		(f->application != NULL && strcmp(f->application, e->session->application) != 0))
		return false;
	if (e->shape == NULL)
		return true;
	return (f->fingerprint == 0 || f->fingerprint == e->shape->fingerprint) && (!f->read_only || reads_only(m, e));
}

/* ---- from a trace to another one ---- */

struct rewriting {
	struct trace_writer *writer;
	struct anonymizer *anonymizer;
	VEC(uint32_t) numbers; /* [session]: number in the other trace + 1, or 0 */
	uint32_t sessions;
	struct buf text;
	int64_t kept, statements;
	int64_t first_ns, last_ns;
};

static uint32_t session_number(struct rewriting *r, const struct trace_session *s)
{
	while (r->numbers.n <= s->number)
		VEC_PUSH(&r->numbers, 0);
	if (r->numbers.at[s->number] > 0)
		return r->numbers.at[s->number] - 1;
	struct captured_session told = trace_session_captured(s, r->sessions);
	if (r->anonymizer != NULL)
		told.host = told.application = (struct log_text){0};
	trace_add_session(&told, r->writer);
	r->numbers.at[s->number] = ++r->sessions;
	return r->sessions - 1;
}

static void rewrite_event(struct rewriting *r, const struct trace_event *e)
{
	struct captured c = trace_event_captured(e, session_number(r, e->session));
	buf_clear(&r->text);
	if (r->anonymizer != NULL) {
		c.params = anonymize_event(r->anonymizer, e, &r->text);
	} else {
		trace_event_text(e, &r->text);
	}
	c.text = (struct log_text){r->text.data, r->text.len};
	trace_add_event(&c, r->writer);
	r->kept++;
	if (e->shape == NULL)
		return;
	int64_t end_ns = e->arrival_ns + (e->duration_ns > 0 ? e->duration_ns : 0);
	if (r->statements++ == 0)
		r->first_ns = e->arrival_ns;
	if (r->statements == 1 || end_ns > r->last_ns)
		r->last_ns = end_ns;
}

static json_t *changed_meta(const struct trace *t, const struct rewriting *r)
{
	json_t *meta = trace_meta(t) != NULL ? json_deep_copy(trace_meta(t)) : json_object();
	json_object_set_new(meta, "program", json_string("pgrehearse " PGR_VERSION));
	json_object_set_new(meta, "statements", json_integer(r->statements));
	json_object_set_new(meta, "sessions", json_integer(r->sessions));
	json_object_set_new(meta, "first_ns", json_integer(r->first_ns));
	json_object_set_new(meta, "last_ns", json_integer(r->last_ns));
	json_object_set_new(meta, r->anonymizer != NULL ? "anonymized" : "part", json_true());
	if (r->anonymizer != NULL) {
		/* Samples of lines that were lost are of the log itself. */
		json_t *classes = json_object_get(json_object_get(meta, "loss"), "classes"), *of_class;
		const char *name;
		json_object_foreach(classes, name, of_class) json_object_del(of_class, "sample");
		json_object_del(meta, "files");
		json_object_del(meta, "scaled_keys");
	}
	return meta;
}

enum status capture_rewrite(const char *from, const char *to, const struct capture_filter *filter, struct anonymizer *anonymizer,
	const volatile sig_atomic_t *stop, int64_t *kept, struct error *err)
{
	struct trace *t;
	struct rewriting r = {.anonymizer = anonymizer};
	struct trace_event e;
	if (trace_check_out(to, &from, 1, err) != ST_OK || trace_open(from, &t, err) != ST_OK)
		return err->status;
	if (trace_create(to, &r.writer, err) != ST_OK) {
		trace_close(t);
		return err->status;
	}
	buf_init(&r.text, LOG_RECORD_MAX);
	int64_t first_ns = trace_summary(t)->first_ns;
	struct capture_matcher *m = capture_matcher_create(filter, first_ns);
	if (filter->from_ns > 0)
		trace_seek(t, first_ns + filter->from_ns);
	enum status st = ST_OK;
	while (st == ST_OK && trace_next(t, &e, err)) {
		if (filter->to_ns > 0 && e.arrival_ns - first_ns >= filter->to_ns)
			break;
		if (capture_matches(m, &e))
			rewrite_event(&r, &e);
		if (stop != NULL && *stop)
			st = error_set(err, ST_INTERRUPTED, "interrupted");
	}
	st = err->status;
	if (st == ST_OK) {
		json_t *meta = changed_meta(t, &r);
		st = trace_finish(r.writer, meta, err);
		json_decref(meta);
	} else {
		trace_abandon(r.writer);
	}
	*kept = r.kept;
	VEC_FREE(&r.numbers);
	buf_free(&r.text);
	capture_matcher_free(m);
	trace_close(t);
	return st;
}
