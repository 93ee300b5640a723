/* Names are interned; what is known of one lies at its number. */
#define _GNU_SOURCE
#include "replay/play_schema.h"

#include "base/vec.h"

#include <libpq-fe.h>
#include <string.h>

struct column_domain {
	uint32_t relation, column, domain; /* domain: the place of its first member + 1 */
};

struct play_schema {
	VEC(char *) names;
	uint32_t *table; /* open addressing: number, or 0 */
	size_t size;
	VEC(struct play_relation) relations; /* by number */
	VEC(uint32_t) root;                  /* by number: of a partition; 0: itself */
	VEC(bool) writers;                   /* by number */
	VEC(struct column_domain) domains;
};

struct play_schema *play_schema_create(void)
{
	struct play_schema *s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	s->size = 256;
	s->table = calloc(s->size, sizeof *s->table);
	if (s->table == NULL)
		abort();
	VEC_PUSH(&s->names, NULL); /* numbers begin with 1 */
	return s;
}

void play_schema_free(struct play_schema *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->names.n; i++)
		free(s->names.at[i]);
	VEC_FREE(&s->names);
	VEC_FREE(&s->relations);
	VEC_FREE(&s->root);
	VEC_FREE(&s->writers);
	VEC_FREE(&s->domains);
	free(s->table);
	free(s);
}

static size_t hash_of(const char *name)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);
	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
	return (size_t)(h ^ h >> 32);
}

static uint32_t *slot_of(const struct play_schema *s, const char *name)
{
	size_t i = hash_of(name) & (s->size - 1);
	while (s->table[i] != 0 && strcmp(s->names.at[s->table[i]], name) != 0)
		i = (i + 1) & (s->size - 1);
	return &s->table[i];
}

uint32_t play_schema_name(struct play_schema *s, const char *name)
{
	uint32_t *slot = slot_of(s, name);
	if (*slot != 0)
		return *slot;
	if (s->names.n * 2 > s->size) {
		free(s->table);
		s->size *= 2;
		s->table = calloc(s->size, sizeof *s->table);
		if (s->table == NULL)
			abort();
		for (uint32_t i = 1; i < s->names.n; i++)
			*slot_of(s, s->names.at[i]) = i;
		slot = slot_of(s, name);
	}
	char *copy = strdup(name);
	if (copy == NULL)
		abort();
	*slot = (uint32_t)s->names.n;
	VEC_PUSH(&s->names, copy);
	return *slot;
}

const char *play_schema_text(const struct play_schema *s, uint32_t name)
{
	return name > 0 && name < s->names.n ? s->names.at[name] : "";
}

struct play_relation *play_schema_relation(struct play_schema *s, uint32_t *relation)
{
	if (*relation < s->root.n && s->root.at[*relation] != 0)
		*relation = s->root.at[*relation];
	/* What is not in the catalog may have any key. */
	while (s->relations.n <= *relation)
		VEC_PUSH(&s->relations, (struct play_relation){.unique = true});
	return &s->relations.at[*relation];
}

void play_schema_add_writer(struct play_schema *s, const char *function)
{
	uint32_t number = play_schema_name(s, function);
	while (s->writers.n <= number)
		VEC_PUSH(&s->writers, false);
	s->writers.at[number] = true;
}

bool play_schema_may_write(struct play_schema *s, const char *function)
{
	uint32_t number = *slot_of(s, function);
	return number != 0 && number < s->writers.n && s->writers.at[number];
}

static size_t find_domain(const struct play_schema *s, uint32_t relation, uint32_t column)
{
	size_t i = 0;
	while (i < s->domains.n && (s->domains.at[i].relation != relation || s->domains.at[i].column != column))
		i++;
	return i;
}

uint32_t play_schema_domain(struct play_schema *s, uint32_t relation, uint32_t column)
{
	(void)play_schema_relation(s, &relation);
	size_t i = find_domain(s, relation, column);
	return i < s->domains.n ? s->domains.at[i].domain : 0;
}

static uint32_t make_domain(struct play_schema *s, uint32_t relation, uint32_t column)
{
	size_t i = find_domain(s, relation, column);
	if (i == s->domains.n)
		VEC_PUSH(&s->domains, (struct column_domain){relation, column, (uint32_t)i + 1});
	return s->domains.at[i].domain;
}

void play_schema_join(struct play_schema *s, uint32_t relation, uint32_t column, uint32_t other_relation, uint32_t other_column)
{
	(void)play_schema_relation(s, &relation);
	(void)play_schema_relation(s, &other_relation);
	uint32_t one = make_domain(s, relation, column), other = make_domain(s, other_relation, other_column);
	for (size_t i = 0; i < s->domains.n; i++)
		if (s->domains.at[i].domain == other)
			s->domains.at[i].domain = one;
}

uint32_t play_schema_domain_of_sequence(struct play_schema *s, const char *sequence)
{
	uint32_t name = *slot_of(s, sequence);
	for (uint32_t i = 0; name != 0 && i < s->relations.n; i++)
		if (s->relations.at[i].sequence == name)
			return play_schema_domain(s, i, s->relations.at[i].generated);
	return 0;
}

void play_schema_generates(struct play_schema *s, const char *relation, const char *column, const char *sequence)
{
	uint32_t number = play_schema_name(s, relation), of = play_schema_name(s, column);
	uint32_t from = sequence[0] != '\0' ? play_schema_name(s, sequence) : 0;
	struct play_relation *known = play_schema_relation(s, &number);
	known->generated = of;
	known->sequence = from;
	play_schema_join(s, number, of, number, of);
}

/* ---- asking the target ---- */

static const char *value_of(const PGresult *r, int row, int column)
{
	return PQgetvalue(r, row, column);
}

static void take_partition(struct play_schema *s, const PGresult *r, int i)
{
	uint32_t part = play_schema_name(s, value_of(r, i, 0)), root = play_schema_name(s, value_of(r, i, 1));
	while (s->root.n <= part)
		VEC_PUSH(&s->root, 0);
	if (part != root)
		s->root.at[part] = root;
}

static void take_relation(struct play_schema *s, const PGresult *r, int i)
{
	uint32_t number = play_schema_name(s, value_of(r, i, 0));
	struct play_relation *relation = play_schema_relation(s, &number);
	relation->known = true;
	relation->unique = value_of(r, i, 1)[0] == 't';
}

static void take_key(struct play_schema *s, const PGresult *r, int i)
{
	uint32_t number = play_schema_name(s, value_of(r, i, 0)), column = play_schema_name(s, value_of(r, i, 1));
	struct play_relation *relation = play_schema_relation(s, &number);
	for (uint32_t k = 0; k < relation->n_key; k++)
		if (relation->key[k] == column)
			return;
	if (relation->n_key < PLAY_KEY_MAX)
		relation->key[relation->n_key++] = column;
}

static void take_generated(struct play_schema *s, const PGresult *r, int i)
{
	play_schema_generates(s, value_of(r, i, 0), value_of(r, i, 1), value_of(r, i, 2));
}

static void take_reference(struct play_schema *s, const PGresult *r, int i)
{
	uint32_t names[4];
	for (int k = 0; k < 4; k++)
		names[k] = play_schema_name(s, value_of(r, i, k));
	play_schema_join(s, names[0], names[1], names[2], names[3]);
}

static void take_writer(struct play_schema *s, const PGresult *r, int i)
{
	play_schema_add_writer(s, value_of(r, i, 0));
}

#define USERS_OWN "n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_t%'"

static const struct question {
	const char *sql;
	void (*take)(struct play_schema *s, const PGresult *r, int i);
} QUESTIONS[] = {
	{"WITH RECURSIVE part (part, root) AS ("
	 " SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits"
	 " UNION ALL SELECT p.part, i.inhparent FROM part AS p JOIN pg_catalog.pg_inherits AS i ON i.inhrelid = p.root)"
	 " SELECT c.relname, r.relname FROM part JOIN pg_catalog.pg_class AS c ON c.oid = part JOIN pg_catalog.pg_class AS r ON r.oid = root"
	 " WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_inherits AS above WHERE above.inhrelid = root) AND c.relkind IN ('r', 'p', 'f')",
		take_partition},
	{"SELECT c.relname, EXISTS (SELECT FROM pg_catalog.pg_index AS i WHERE i.indrelid = c.oid AND (i.indisunique OR i.indisexclusion))"
	 " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
	 " WHERE c.relkind IN ('r', 'p', 'f') AND " USERS_OWN,
		take_relation},
	{"SELECT c.relname, a.attname FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indrelid"
	 " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
	 " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = ANY (i.indkey)"
	 " WHERE i.indisprimary AND " USERS_OWN " ORDER BY i.indrelid, pg_catalog.array_position(i.indkey::int2[], a.attnum)",
		take_key},
	/* Identity columns, defaults that call nextval, and keys whose default calls something volatile, such as uuids. */
	{"SELECT c.relname, a.attname, coalesce((SELECT s.relname FROM pg_catalog.pg_depend AS d JOIN pg_catalog.pg_class AS s ON s.oid = d.objid"
	 "  WHERE d.refobjid = c.oid AND d.refobjsubid = a.attnum AND d.classid = 'pg_catalog.pg_class'::regclass AND s.relkind = 'S' LIMIT 1),"
	 "  substring(pg_catalog.pg_get_expr(def.adbin, def.adrelid) FROM 'nextval\\(''\"?(?:[^.'']*\\.)?\"?([^''\"]+)'), '')"
	 " FROM pg_catalog.pg_attribute AS a JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid"
	 " JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
	 " LEFT JOIN pg_catalog.pg_attrdef AS def ON def.adrelid = c.oid AND def.adnum = a.attnum"
	 " WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p', 'f') AND " USERS_OWN
	 " AND (a.attidentity <> '' OR pg_catalog.pg_get_expr(def.adbin, def.adrelid) ~ '^nextval\\(|uuid')",
		take_generated},
	{"SELECT c.relname, a.attname, r.relname, b.attname FROM pg_catalog.pg_constraint AS k"
	 " JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid JOIN pg_catalog.pg_class AS r ON r.oid = k.confrelid"
	 " CROSS JOIN LATERAL pg_catalog.generate_subscripts(k.conkey, 1) AS i"
	 " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum = k.conkey[i]"
	 " JOIN pg_catalog.pg_attribute AS b ON b.attrelid = r.oid AND b.attnum = k.confkey[i] WHERE k.contype = 'f'",
		take_reference},
	/* No foreign key says so, but the name does: orders.id and order_id, or order_id in both. */
	{"SELECT c.relname, a.attname, r.relname, b.attname FROM pg_catalog.pg_attribute AS b"
	 " JOIN pg_catalog.pg_class AS r ON r.oid = b.attrelid JOIN pg_catalog.pg_namespace AS n ON n.oid = r.relnamespace"
	 " LEFT JOIN pg_catalog.pg_attrdef AS def ON def.adrelid = r.oid AND def.adnum = b.attnum"
	 " JOIN pg_catalog.pg_attribute AS a ON a.atttypid IN ('int4'::regtype, 'int8'::regtype, 'uuid'::regtype) AND a.attnum > 0"
	 " JOIN pg_catalog.pg_class AS c ON c.oid = a.attrelid AND c.oid <> r.oid AND c.relkind IN ('r', 'p')"
	 " AND c.relnamespace = r.relnamespace"
	 " WHERE b.attnum > 0 AND NOT b.attisdropped AND NOT a.attisdropped AND r.relkind IN ('r', 'p') AND " USERS_OWN
	 " AND (b.attidentity <> '' OR pg_catalog.pg_get_expr(def.adbin, def.adrelid) ~ '^nextval\\(|uuid')"
	 " AND (a.attname = r.relname || '_id' OR a.attname = pg_catalog.rtrim(r.relname, 's') || '_id'"
	 "  OR (a.attname = b.attname AND a.attname <> 'id'))",
		take_reference},
	{"SELECT p.proname FROM pg_catalog.pg_proc AS p JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace"
	 " WHERE p.provolatile = 'v' AND " USERS_OWN,
		take_writer},
};

enum status play_schema_load(struct play_schema *s, const char *dsn, struct error *err)
{
	static const char *const KEYS[] = {"dbname", "fallback_application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, "pgrehearse replay", "UTF8", NULL};
	PGconn *conn = PQconnectdbParams(KEYS, values, 1);
	enum status st = ST_OK;
	if (PQstatus(conn) != CONNECTION_OK)
		st = error_set(err, ST_FAILED, "the target's catalog cannot be read: %.500s", PQerrorMessage(conn));
	for (size_t q = 0; st == ST_OK && q < sizeof QUESTIONS / sizeof QUESTIONS[0]; q++) {
		PGresult *r = PQexec(conn, QUESTIONS[q].sql);
		if (PQresultStatus(r) != PGRES_TUPLES_OK)
			st = error_set(err, ST_FAILED, "the target's catalog cannot be read: %.500s", PQresultErrorMessage(r));
		for (int i = 0; st == ST_OK && i < PQntuples(r); i++)
			QUESTIONS[q].take(s, r, i);
		PQclear(r);
	}
	PQfinish(conn);
	return st;
}
