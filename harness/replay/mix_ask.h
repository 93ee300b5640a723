/* Sessions that only read, and what they ask a database that is learnt from. Private to replay/. */
#ifndef PGR_REPLAY_MIX_ASK_H
#define PGR_REPLAY_MIX_ASK_H

#include "base/error.h"
#include "replay/columns.h"
#include "replay/domain.h"

#include <libpq-fe.h>

/* Read-only, with a time limit for each statement. PQfinish is the caller's, also after an error. */
enum status mix_connect(const char *dsn, PGconn **out, struct error *err) MUST_CHECK;

/* PQclear is the caller's when it is ST_OK. */
enum status mix_ask(PGconn *conn, const char *sql, int n, const char *const *params, PGresult **out, struct error *err) MUST_CHECK;

/* table: "name" or "schema.name", quoted for to_regclass. */
void mix_quote_table(const char *table, char *out, size_t size);

/* What the database knows of a column (or of the one at c->position, whose name is then filled in). false: there is none such. The facts'
 * lists are the caller's, as those of a struct domain. */
bool mix_look_up(PGconn *conn, const char *table, struct param_column *c, struct column_facts *facts);

/* The column whose values a key's are: the one that it refers to, itself where it is unique, one of its name and type elsewhere that is
 * unique (numbers and UUIDs), itself where it is part of a unique index. false: it is no key. */
struct mix_key {
	char table[2 * COLUMNS_NAME_MAX], column[COLUMNS_NAME_MAX]; /* "schema.table" */
	char quoted_table[300], quoted_column[140];
};
bool mix_find_key(PGconn *conn, const char *table, const char *column, struct mix_key *out);

#endif
