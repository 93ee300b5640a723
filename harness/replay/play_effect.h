/* What a statement does, as far as its text tells: which relations it writes and by which values of which columns it finds the rows, and
 * whether it begins or ends a transaction. What cannot be told is taken for something that touches everything. */
#ifndef PGR_REPLAY_PLAY_EFFECT_H
#define PGR_REPLAY_PLAY_EFFECT_H

#include "replay/play_schema.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a value comes from: a parameter from 0, or a literal as EFFECT_LITERAL + its number. */
#define EFFECT_LITERAL 0x10000u
#define EFFECT_NO_SLOT UINT32_MAX

enum touch_mode {
	TOUCH_READ, /* by a statement that also writes */
	TOUCH_INSERT,
	TOUCH_CHANGE, /* update, delete, or lock rows */
};

/* column = value, for all rows that are touched; or the value that a new row gets. */
struct effect_equal {
	uint32_t column, slot;
};

struct effect_touch {
	uint32_t relation;
	enum touch_mode mode;
	bool never_waits;        /* SKIP LOCKED, NOWAIT */
	bool one_row;            /* an insert of one row */
	uint32_t equal, n_equal; /* among the effect's equals */
	uint32_t set, n_set;     /* columns that are changed, among the effect's sets */
	bool generates;          /* an insert: a key of its own for each row */
};

/* A value that is a key, or is compared with one. */
struct effect_key {
	uint32_t domain, slot;
};

/* What generates a key that the client gets to know. */
struct effect_source {
	enum { SOURCE_INSERT, SOURCE_NAMED /* nextval('s'), currval('s') */, SOURCE_LAST /* lastval() */, SOURCE_TAKEN } kind;
	uint32_t domain;  /* of an insert; of rows that were taken with SKIP LOCKED */
	uint32_t returns; /* as which column of the result, a name; 0: as the first; an insert: not at all */
	uint32_t slot;    /* of the sequence's name */
};

struct effect {
	bool begins, ends; /* a transaction; both: it is whole within the text */
	bool writes;       /* or locks rows */
	bool global;       /* what it touches cannot be told */
	bool skips;        /* rows that others have locked: which ones it takes is a matter of moments */
	bool reads;        /* nothing but a query without effect, or a setting of its session */
	uint32_t n_touches, n_equals, n_sets;
	struct effect_touch *touches;
	struct effect_equal *equals;
	uint32_t *sets;
	uint32_t n_keys, n_sources;
	struct effect_key *keys;
	struct effect_source *sources;
};

/* The effect of a shape (see replay/shape.h). Never NULL. */
struct effect *effect_of_shape(const char *shape, size_t n, struct play_schema *schema);
void effect_free(struct effect *e);

#endif
