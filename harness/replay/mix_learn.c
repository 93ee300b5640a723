/* What the clone knows: whether it can prepare a statement, the types of its parameters, and the statistics of the columns that they belong to. */
#define _GNU_SOURCE
#include "base/json.h"
#include "replay/mix.h"
#include "replay/mix_ask.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char COLUMN_SQL[] =
	"SELECT a.attname, pg_catalog.format_type(a.atttypid, NULL), GREATEST(c.reltuples, 0), s.n_distinct, s.null_frac, "
	"pg_catalog.array_to_json(s.most_common_vals::text::text[]), pg_catalog.array_to_json(s.most_common_freqs), "
	"pg_catalog.array_to_json(s.histogram_bounds::text::text[]), "
	"EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum), "
	"EXISTS (SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisvalid AND i.indpred IS NULL AND i.indkey[0] = a.attnum), "
	"pg_catalog.format('%I.%I', n.nspname, c.relname), pg_catalog.quote_ident(a.attname) "
	"FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace "
	"JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
	"LEFT JOIN pg_catalog.pg_stats s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname "
	"WHERE c.oid = pg_catalog.to_regclass($1) AND (a.attname = $2 OR a.attnum = $3::int) ORDER BY s.inherited DESC NULLS LAST LIMIT 1";

enum { NAME, TYPE, ROWS, DISTINCT, NULLS, COMMON, SHARES, BOUNDS, UNIQUE, INDEXED, TABLE, QUOTED };

/* Which column's values another column's are. */
static const char KEY_SQL[] =
	"WITH me AS (SELECT c.oid AS rel, a.attnum AS att, a.attname, a.atttypid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON "
	"a.attrelid = c.oid WHERE c.oid = pg_catalog.to_regclass($1) AND a.attname = $2 AND a.attnum > 0), "
	"found AS (SELECT 1 AS rank, con.confrelid AS rel, f.there AS att FROM me JOIN pg_catalog.pg_constraint con ON con.conrelid = me.rel AND "
	"con.contype = 'f' CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(con.conkey), pg_catalog.unnest(con.confkey)) AS f (here, there) WHERE f.here "
	"= me.att UNION ALL "
	"SELECT 2, me.rel, me.att FROM me JOIN pg_catalog.pg_index i ON i.indrelid = me.rel AND i.indisunique AND i.indnkeyatts = 1 AND i.indkey[0] = "
	"me.att UNION ALL "
	"SELECT 3, i.indrelid, a.attnum FROM me JOIN pg_catalog.pg_attribute a ON a.attname = me.attname AND a.atttypid = me.atttypid AND a.attrelid "
	"<> me.rel JOIN pg_catalog.pg_index i ON i.indrelid = a.attrelid AND i.indisunique AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum JOIN "
	"pg_catalog.pg_class c ON c.oid = i.indrelid AND c.relkind IN ('r', 'p') AND c.relnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace WHERE "
	"nspname IN ('pg_catalog', 'information_schema', 'pgrehearse')) WHERE me.atttypid IN (20, 21, 23, 2950) UNION ALL "
	"SELECT 4, me.rel, me.att FROM me JOIN pg_catalog.pg_index i ON i.indrelid = me.rel AND i.indisunique AND me.att = ANY (i.indkey::int2[])) "
	"SELECT n.nspname || '.' || c.relname, a.attname, pg_catalog.format('%I', a.attname), pg_catalog.format('%I.%I', n.nspname, c.relname) FROM "
	"found f JOIN pg_catalog.pg_class c ON c.oid = f.rel JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace JOIN pg_catalog.pg_attribute a ON "
	"a.attrelid = f.rel AND a.attnum = f.att ORDER BY f.rank, 1 LIMIT 1";

static void fail(PGconn *conn, struct error *err)
{
	(void)error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
	err->what[strcspn(err->what, "\n")] = '\0';
}

enum status mix_connect(const char *dsn, PGconn **out, struct error *err)
{
	const char *const keys[] = {"dbname", "application_name", "connect_timeout", NULL};
	const char *const values[] = {dsn, "pgrehearse workload", "10", NULL};
	PGresult *r = NULL;
	*out = PQconnectdbParams(keys, values, 1);
	if (PQstatus(*out) != CONNECTION_OK) {
		fail(*out, err);
		return err->status;
	}
	enum status st = mix_ask(*out,
		"SELECT pg_catalog.set_config('default_transaction_read_only', 'on', false), pg_catalog.set_config('statement_timeout', "
		"'10s', false)",
		0, NULL, &r, err);
	PQclear(r);
	return st;
}

enum status mix_ask(PGconn *conn, const char *sql, int n, const char *const *params, PGresult **out, struct error *err)
{
	*out = PQexecParams(conn, sql, n, NULL, params, NULL, NULL, 0);
	if (PQresultStatus(*out) == PGRES_TUPLES_OK)
		return ST_OK;
	fail(conn, err);
	PQclear(*out);
	*out = NULL;
	return err->status;
}

/* ---- columns ---- */

void mix_quote_table(const char *table, char *out, size_t size)
{
	const char *dot = strchr(table, '.');
	if (dot != NULL)
		snprintf(out, size, "\"%.*s\".\"%s\"", (int)(dot - table), table, dot + 1);
	else
		snprintf(out, size, "\"%s\"", table);
}

static void take_values(struct column_facts *f, const char *common, const char *shares, const char *bounds)
{
	json_t *list = NULL, *item;
	struct error ignored;
	size_t i;
	const char *const texts[] = {common, bounds};
	for (int k = 0; k < 2; k++) {
		if (texts[k][0] == '\0' || json_parse(texts[k], strlen(texts[k]), "", &list, &ignored) != ST_OK)
			continue;
		json_array_foreach(list, i, item)
		{
			const char *value = json_string_value(item);
			if (value != NULL && strlen(value) <= DOMAIN_VALUE_MAX && f->values.n < DOMAIN_LIST_MAX) {
				char *copy = strdup(value);
				if (copy == NULL)
					abort();
				VEC_PUSH(&f->values, copy);
			}
		}
		json_decref(list);
	}
	if (shares[0] == '\0' || json_parse(shares, strlen(shares), "", &list, &ignored) != ST_OK)
		return;
	json_array_foreach(list, i, item) VEC_PUSH(&f->shares, json_number_value(item));
	json_decref(list);
}

static bool is_integer_type(const char *type)
{
	return strcmp(type, "integer") == 0 || strcmp(type, "bigint") == 0 || strcmp(type, "smallint") == 0;
}

/* Exactly where an index has them, else by the statistics. */
static void take_bounds(PGconn *conn, const PGresult *column, struct column_facts *f)
{
	char sql[512];
	bool exact = false;
	PGresult *r = NULL;
	struct error ignored;
	if (PQgetvalue(column, 0, INDEXED)[0] == 't') {
		snprintf(sql, sizeof sql, "SELECT pg_catalog.min(%s), pg_catalog.max(%s) FROM %s", PQgetvalue(column, 0, QUOTED),
			PQgetvalue(column, 0, QUOTED), PQgetvalue(column, 0, TABLE));
		if (mix_ask(conn, sql, 0, NULL, &r, &ignored) == ST_OK && !PQgetisnull(r, 0, 0)) {
			f->bounds = exact = true;
			f->low = strtoll(PQgetvalue(r, 0, 0), NULL, 10);
			f->high = strtoll(PQgetvalue(r, 0, 1), NULL, 10);
		}
		PQclear(r);
	}
	for (size_t i = 0; !exact && i < f->values.n; i++) {
		int64_t v = strtoll(f->values.at[i], NULL, 10);
		f->low = !f->bounds || v < f->low ? v : f->low;
		f->high = !f->bounds || v > f->high ? v : f->high;
		f->bounds = true;
	}
}

bool mix_look_up(PGconn *conn, const char *table, struct param_column *c, struct column_facts *f)
{
	char quoted[300], position[16];
	PGresult *r = NULL;
	struct error ignored;
	mix_quote_table(table, quoted, sizeof quoted);
	snprintf(position, sizeof position, "%d", c->position);
	const char *const params[] = {quoted, c->column, position};
	if (mix_ask(conn, COLUMN_SQL, 3, params, &r, &ignored) != ST_OK)
		return false;
	bool found = PQntuples(r) > 0;
	if (found) {
		f->known = true;
		f->unique = PQgetvalue(r, 0, UNIQUE)[0] == 't';
		snprintf(f->type, sizeof f->type, "%s", PQgetvalue(r, 0, TYPE));
		snprintf(c->column, sizeof c->column, "%s", PQgetvalue(r, 0, NAME));
		if (c->table != table)
			snprintf(c->table, sizeof c->table, "%s", table);
		f->rows = strtod(PQgetvalue(r, 0, ROWS), NULL);
		f->distinct = strtod(PQgetvalue(r, 0, DISTINCT), NULL);
		f->distinct = f->distinct < 0 ? -f->distinct * f->rows : f->distinct;
		f->null_share = strtod(PQgetvalue(r, 0, NULLS), NULL);
		take_values(f, PQgetvalue(r, 0, COMMON), PQgetvalue(r, 0, SHARES), PQgetvalue(r, 0, BOUNDS));
		if (is_integer_type(f->type))
			take_bounds(conn, r, f);
	}
	PQclear(r);
	return found;
}

bool mix_find_key(PGconn *conn, const char *table, const char *column, struct mix_key *out)
{
	char quoted[300];
	PGresult *r = NULL;
	struct error ignored;
	mix_quote_table(table, quoted, sizeof quoted);
	const char *const params[] = {quoted, column};
	if (mix_ask(conn, KEY_SQL, 2, params, &r, &ignored) != ST_OK)
		return false;
	bool found = PQntuples(r) > 0;
	if (found) {
		snprintf(out->table, sizeof out->table, "%s", PQgetvalue(r, 0, 0));
		snprintf(out->column, sizeof out->column, "%s", PQgetvalue(r, 0, 1));
		snprintf(out->quoted_column, sizeof out->quoted_column, "%s", PQgetvalue(r, 0, 2));
		snprintf(out->quoted_table, sizeof out->quoted_table, "%s", PQgetvalue(r, 0, 3));
	}
	PQclear(r);
	return found;
}

/* A column that refers to keys has values of theirs, also where it is empty so far. */
static void take_referred(PGconn *conn, struct param_column *c, struct domain *d)
{
	struct mix_key key;
	struct param_column there = {0};
	struct domain other = {0};
	if (c->part || d->column.unique || !mix_find_key(conn, c->table, c->column, &key))
		return;
	snprintf(there.column, sizeof there.column, "%s", key.column);
	snprintf(c->refers_table, sizeof c->refers_table, "%s", key.table);
	snprintf(c->refers_column, sizeof c->refers_column, "%s", key.column);
	if (mix_look_up(conn, key.table, &there, &other.column) && (other.column.bounds || other.column.values.n > 0)) {
		struct column_facts own = d->column;
		d->column = other.column;
		d->column.unique = false;
		other.column = own;
	}
	domain_free(&other);
}

static void learn_columns(PGconn *conn, struct mix_statement *s)
{
	for (size_t i = 0; i < s->n; i++) {
		struct param_column *c = &s->columns[i];
		if (c->column[0] == '\0' && c->position == 0)
			continue;
		bool found = c->table[0] != '\0' && mix_look_up(conn, c->table, c, &s->domains[i].column);
		for (size_t t = 0; !found && c->table[0] == '\0' && t < s->tables.n_tables; t++)
			found = mix_look_up(conn, s->tables.tables[t], c, &s->domains[i].column);
		if (found && (c->use == PARAM_KEY || c->use == PARAM_WRITTEN || c->use == PARAM_SET))
			take_referred(conn, c, &s->domains[i]);
	}
}

/* ---- statements ---- */

/* Each $n becomes $n::type where types has one. */
static char *add_casts(const char *sql, const char *const *types, size_t n)
{
	struct buf out;
	buf_init(&out, (size_t)16 << 20);
	for (const char *s = sql; *s != '\0';) {
		char *end = NULL;
		unsigned long number = *s == '$' && s[1] >= '1' && s[1] <= '9' ? strtoul(s + 1, &end, 10) : 0;
		if (number == 0) {
			buf_char(&out, *s++);
			continue;
		}
		buf_add(&out, s, (size_t)(end - s));
		if (number <= n && types[number - 1] != NULL && strncmp(end, "::", 2) != 0)
			buf_printf(&out, "::%s", types[number - 1]);
		s = end;
	}
	return out.data;
}

static const char *type_of_values(const struct domain *d)
{
	int64_t n = d->count - d->nulls;
	if (n == 0)
		return NULL;
	if (d->integers == n)
		return d->low >= INT32_MIN && d->high <= INT32_MAX ? "int" : "bigint";
	return d->integers + d->decimals == n ? "numeric" : NULL;
}

static bool prepare(PGconn *conn, struct mix_statement *s, struct error *err)
{
	PGresult *r = PQprepare(conn, "", s->sql, 0, NULL);
	bool ok = PQresultStatus(r) == PGRES_COMMAND_OK;
	if (!ok)
		fail(conn, err);
	PQclear(r);
	r = ok ? PQdescribePrepared(conn, "") : NULL;
	struct buf oids;
	buf_init(&oids, (size_t)1 << 20);
	buf_char(&oids, '{');
	for (int i = 0; r != NULL && i < PQnparams(r); i++)
		buf_printf(&oids, "%s%u", i > 0 ? "," : "", PQparamtype(r, i));
	buf_char(&oids, '}');
	PQclear(r);
	const char *const params[] = {oids.data};
	struct error ignored;
	if (ok && s->n > 0 &&
		mix_ask(conn,
			"SELECT pg_catalog.format_type(t, NULL) FROM pg_catalog.unnest($1::oid[]) WITH ORDINALITY AS u (t, n) ORDER BY n",
			1, params, &r, &ignored) == ST_OK) {
		for (int i = 0; i < PQntuples(r) && (size_t)i < s->n; i++)
			snprintf(s->types[i], sizeof s->types[i], "%s", PQgetvalue(r, i, 0));
		PQclear(r);
	}
	buf_free(&oids);
	return ok;
}

static void learn_statement(PGconn *conn, struct mix_statement *s)
{
	struct error err;
	if (!prepare(conn, s, &err)) {
		const char **types = calloc(s->n + 1, sizeof *types);
		if (types == NULL)
			abort();
		for (size_t i = 0; i < s->n; i++)
			types[i] = type_of_values(&s->domains[i]);
		char *plain = s->sql;
		s->sql = add_casts(plain, types, s->n);
		struct error ignored;
		if (!prepare(conn, s, &ignored) && asprintf(&s->left_out, "the server cannot prepare it: %.200s", err.what) < 0)
			abort();
		free(plain);
		free(types);
	}
	if (s->left_out == NULL)
		learn_columns(conn, s);
}

enum status mix_learn(struct mix *mix, const char *dsn, struct error *err)
{
	PGconn *conn;
	enum status st = mix_connect(dsn, &conn, err);
	for (size_t i = 0; st == ST_OK && i < mix->statements.n; i++) {
		if (mix->statements.at[i].left_out == NULL)
			learn_statement(conn, &mix->statements.at[i]);
		if (PQstatus(conn) != CONNECTION_OK)
			st = error_set(err, ST_FAILED, "the connection to the server was lost");
	}
	PQfinish(conn);
	return st;
}
