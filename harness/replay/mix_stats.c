/* pg_stat_statements knows what was executed how often, but neither when, nor with which values, nor what belonged to one transaction. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "replay/mix.h"
#include "replay/mix_ask.h"
#include "replay/mix_template.h"
#include "sql/parse.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CLASSES_MAX 500

/* interval $1, as the statistics have INTERVAL '1 day', is no SQL: $1::interval is. */
static void add_statement_text(const char *query, struct buf *out)
{
	static const char *const TYPES[] = {"interval", "date", "timestamp", "timestamptz", "time", "numeric", "uuid", "json", "jsonb",
		"inet", "bytea", "regclass", NULL};
	for (const char *s = query; *s != '\0';) {
		size_t word = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"),
		       blanks = strspn(s + word, " \t\r\n");
		const char *param = s + word + blanks;
		size_t digits = *param == '$' ? strspn(param + 1, "0123456789") : 0, type = 0;
		while (word > 0 && digits > 0 && TYPES[type] != NULL &&
			(strlen(TYPES[type]) != word || strncasecmp(TYPES[type], s, word) != 0))
			type++;
		if (word > 0 && digits > 0 && TYPES[type] != NULL) {
			buf_printf(out, "%.*s::%s", (int)digits + 1, param, TYPES[type]);
			s = param + digits + 1;
		} else if (word > 0) {
			buf_add(out, s, word);
			s += word;
		} else if (strchr(" \t\r\n", *s) != NULL) {
			if (out->len > 0 && out->data[out->len - 1] != ' ')
				buf_char(out, ' ');
			s++;
		} else if (s[0] == '-' && s[1] == '-') {
			s += strcspn(s, "\n");
		} else {
			buf_char(out, *s++);
		}
	}
	while (out->len > 0 && strchr("; ", out->data[out->len - 1]) != NULL)
		out->data[--out->len] = '\0';
}

static size_t count_params(const char *sql)
{
	unsigned long most = 0;
	for (const char *s = strchr(sql, '$'); s != NULL; s = strchr(s + 1, '$')) {
		unsigned long n = s[1] >= '1' && s[1] <= '9' ? strtoul(s + 1, NULL, 10) : 0;
		most = n > most && n < 65536 ? n : most;
	}
	return (size_t)most;
}

static struct mix_statement *find_statement(struct mix *mix, uint64_t fingerprint)
{
	for (size_t i = 0; i < mix->statements.n; i++)
		if (fingerprint != 0 && mix->statements.at[i].fingerprint == fingerprint)
			return &mix->statements.at[i];
	return NULL;
}

static void take_row(struct mix *mix, const char *query, int64_t calls, struct buf *text, int64_t *begun, int64_t *hidden)
{
	uint64_t fingerprint = 0;
	buf_clear(text);
	add_statement_text(query, text);
	enum template_control control = template_control(text->data, text->len);
	if (strcmp(query, "<insufficient privilege>") == 0) {
		*hidden += calls;
		return;
	}
	if (control != CONTROL_NONE && control != CONTROL_OTHER) {
		*begun += control == CONTROL_BEGIN ? calls : 0;
		mix->controls += calls;
		return;
	}
	(void)sql_fingerprint(text->data, &fingerprint);
	struct mix_statement *s = find_statement(mix, fingerprint);
	if (s == NULL) {
		char *sql = strndup(text->data, text->len);
		if (sql == NULL)
			abort();
		s = mix_add_statement(mix, fingerprint, sql, count_params(text->data));
		if (control == CONTROL_OTHER && s->left_out == NULL)
			s->left_out = strdup("neither reads nor writes as a workload's statements do");
		struct mix_transaction t = {.n = 1, .n_slots = s->n};
		t.steps = calloc(1, sizeof *t.steps);
		t.loops = calloc(1, sizeof *t.loops);
		if (t.steps == NULL || t.loops == NULL)
			abort();
		t.steps[0].statement = (uint32_t)(mix->statements.n - 1);
		VEC_PUSH(&mix->transactions, t);
	}
	s->captured += calls;
	mix->transactions.at[s - mix->statements.at].count += calls;
	mix->statements_seen += calls;
}

static enum status find_schema(PGconn *conn, char out[static 200], struct error *err)
{
	PGresult *r;
	enum status st = mix_ask(conn,
		"SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace "
		"WHERE e.extname = 'pg_stat_statements'",
		0, NULL, &r, err);
	if (st != ST_OK)
		return st;
	if (PQntuples(r) == 0) {
		st = error_set(err, ST_USAGE, "the database %s has no pg_stat_statements", PQdb(conn));
		error_hint(err, "CREATE EXTENSION pg_stat_statements, with shared_preload_libraries = 'pg_stat_statements'");
	} else {
		snprintf(out, 200, "%s", PQgetvalue(r, 0, 0));
	}
	PQclear(r);
	return st;
}

static enum status read_rows(struct mix *mix, PGconn *conn, const char *schema, struct error *err)
{
	char sql[1024];
	PGresult *r = NULL;
	int64_t begun = 0, hidden = 0;
	bool has_levels = PQserverVersion(conn) >= 140000;
	snprintf(sql, sizeof sql,
		"SELECT s.query, s.calls FROM %s.pg_stat_statements s JOIN pg_catalog.pg_database d ON d.oid = s.dbid WHERE d.datname = "
		"pg_catalog.current_database()%s AND s.query NOT LIKE '%%pg_stat_statements%%' AND s.query NOT LIKE '%%pg_catalog.%%' "
		"ORDER BY s.calls DESC LIMIT %d",
		schema, has_levels ? " AND s.toplevel" : "", CLASSES_MAX);
	if (mix_ask(conn, sql, 0, NULL, &r, err) != ST_OK)
		return err->status;
	struct buf text;
	buf_init(&text, (size_t)8 << 20);
	for (int i = 0; i < PQntuples(r); i++)
		take_row(mix, PQgetvalue(r, i, 0), strtoll(PQgetvalue(r, i, 1), NULL, 10), &text, &begun, &hidden);
	buf_free(&text);
	PQclear(r);
	if (has_levels) {
		struct error ignored;
		snprintf(sql, sizeof sql,
			"SELECT pg_catalog.date_part('epoch', pg_catalog.now() - stats_reset) FROM %s.pg_stat_statements_info", schema);
		if (mix_ask(conn, sql, 0, NULL, &r, &ignored) == ST_OK && PQntuples(r) > 0)
			mix->span_ns = (int64_t)(strtod(PQgetvalue(r, 0, 0), NULL) * 1e9);
		PQclear(r);
	}
	mix_note(
		mix, "statistics tell no transactions: each statement is one of its own%s", begun > 0 ? "" : ", as they seem to have been");
	if (begun > 0)
		mix_note(mix,
			"BEGIN was executed %" PRId64 " times beside %" PRId64
			" other statements: a trace would show what belonged together",
			begun, mix->statements_seen);
	if (hidden > 0)
		mix_note(mix, "%" PRId64 " calls are hidden from this role: pg_read_all_stats would show their text", hidden);
	return ST_OK;
}

enum status mix_read_stats(struct mix *mix, const char *dsn, struct error *err)
{
	PGconn *conn;
	char schema[200], what[200];
	mix->source = "pg_stat_statements";
	enum status st = mix_connect(dsn, &conn, err);
	if (st == ST_OK)
		st = find_schema(conn, schema, err);
	if (st == ST_OK)
		st = read_rows(mix, conn, schema, err);
	if (st == ST_OK && mix->transactions.n == 0)
		st = error_set(err, ST_USAGE, "pg_stat_statements knows no statement of the database %s", PQdb(conn));
	snprintf(what, sizeof what, "pg_stat_statements in %.120s", st == ST_OK ? PQdb(conn) : "");
	mix->path = strdup(what);
	PQfinish(conn);
	return st;
}
