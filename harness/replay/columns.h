/* Which column of which table a statement's parameters are compared with or written to, by the parse tree alone. */
#ifndef PGR_REPLAY_COLUMNS_H
#define PGR_REPLAY_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#define COLUMNS_TABLES_MAX 16
#define COLUMNS_NAME_MAX 64

enum param_use {
	PARAM_OTHER,
	PARAM_KEY,     /* compared for equality, or in a list */
	PARAM_RANGE,   /* compared otherwise */
	PARAM_WRITTEN, /* a value of an INSERT */
	PARAM_SET,     /* a value of an UPDATE, or a part of one */
	PARAM_LIMIT,
	PARAM_OFFSET,
};

struct param_column {
	enum param_use use;
	bool array; /* = ANY($1): an array of such values */
	bool part;  /* of an expression with the column: not a value of it */
	char table[2 *
		COLUMNS_NAME_MAX]; /* "table" or "schema.table"; "" when the statement has several and does not say which: any of its tables */
	char column[COLUMNS_NAME_MAX]; /* "": not known */
	/* The key whose values it has, where a clone said so; else "". */
	char refers_table[2 * COLUMNS_NAME_MAX], refers_column[COLUMNS_NAME_MAX];
	int position; /* INSERT without names of columns: from 1; else 0 */
};

struct statement_columns {
	char verb[16];                    /* "select", "insert", "update", "delete", "merge"; "" for any other */
	char returning[COLUMNS_NAME_MAX]; /* the first column that an INSERT returns; "" none */
	size_t n_statements;
	size_t n_tables; /* names, as in "schema.table" or "table" */
	char tables[COLUMNS_TABLES_MAX][2 * COLUMNS_NAME_MAX];
	char aliases[COLUMNS_TABLES_MAX][COLUMNS_NAME_MAX]; /* the name itself where there is none */
};

/* Fills params[0..n) for $1 to $n. false: it cannot be parsed. */
bool columns_of(const char *sql, struct statement_columns *out, struct param_column *params, size_t n);

#endif
