/* What values a parameter had, from a sample of them and from what the clone knows of its column, and how a workload draws such ones. */
#ifndef PGR_REPLAY_DOMAIN_H
#define PGR_REPLAY_DOMAIN_H

#include "base/buf.h"
#include "base/vec.h"
#include "replay/columns.h"

#include <stdbool.h>
#include <stdint.h>

#define DOMAIN_SAMPLE 1024
#define DOMAIN_VALUE_MAX 512 /* longer values are known by their length alone */
#define DOMAIN_LIST_MAX 100  /* values that a workload lists */

/* Of a column of the clone. */
struct column_facts {
	bool known, unique;
	char type[32];   /* as format_type says it, without its modifier */
	double rows;     /* of the table, estimated */
	double distinct; /* estimated; 0: unknown */
	double null_share;
	bool bounds; /* low and high are known */
	int64_t low, high;
	VEC(char *) values; /* common ones first, then some of the others */
	VEC(double) shares; /* of the common ones */
};

/* Of one parameter. Zeroed is empty. */
struct domain {
	int64_t count, nulls;
	int64_t integers, decimals; /* of the others */
	int64_t low, high;          /* of the integers */
	double low_decimal, high_decimal;
	int digits;             /* behind the point, at most */
	size_t short_n, long_n; /* lengths */
	int64_t unlisted;       /* too long to be in the sample */
	char **sample;          /* a reservoir of non-null values */
	size_t n_sample;
	uint64_t state;
	struct column_facts column;
};

void domain_add(struct domain *d, const char *value, size_t n, bool null);
void domain_free(struct domain *d);

/* How a value is drawn: a Lua expression of the random source r, appended to out. Longer lists and the like are put into lists as lines
 * of Lua table fields ("  name = { ... },") and drawn from as values.NAME. note: what a reader should know, or "". */
struct domain_text {
	struct buf *expression, *lists;
	const char *name; /* a Lua name that is used for nothing else */
	char note[160];
};
void domain_write(const struct domain *d, const struct param_column *use, const char *type, struct domain_text *out);

/* A Lua string, appended. */
void domain_quote(struct buf *out, const char *value, size_t n);

/* The exponent of a Zipf distribution over n values in which two draws are equal with probability p; 0 when that is as in a uniform one. */
double domain_fit_zipf(double n, double p);

#endif
