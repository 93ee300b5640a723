/* What replay knows of the target's catalog: keys, generated columns, who references whom, and which functions may write. Names count
 * without their schema: two relations of one name are taken for one, which orders too much rather than too little. */
#ifndef PGR_REPLAY_PLAY_SCHEMA_H
#define PGR_REPLAY_PLAY_SCHEMA_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define PLAY_KEY_MAX 8

struct play_relation {
	bool known;                 /* the catalog has it */
	bool unique;                /* a unique index or an exclusion constraint: two inserts may collide */
	uint32_t key[PLAY_KEY_MAX]; /* columns of the primary key, in its order */
	uint32_t n_key;
	uint32_t generated; /* the column that gets its value from a sequence or from uuid(); 0: none */
	uint32_t sequence;  /* its sequence; 0: none */
};

struct play_schema;

/* Knows nothing yet. */
struct play_schema *play_schema_create(void);
void play_schema_free(struct play_schema *s);

/* Asks the target; blocks. What its role may not see is missing. */
enum status play_schema_load(struct play_schema *s, const char *dsn, struct error *err) MUST_CHECK;

/* The number of a name, from 1; the same for relations, columns and functions. */
uint32_t play_schema_name(struct play_schema *s, const char *name);

const char *play_schema_text(const struct play_schema *s, uint32_t name);

/* Of a relation; partitions are the table that they are parts of. Valid until the next call of play_schema_name or _relation. */
struct play_relation *play_schema_relation(struct play_schema *s, uint32_t *relation);

/* Functions that may write: volatile ones that are not the server's own. */
void play_schema_add_writer(struct play_schema *s, const char *function);
bool play_schema_may_write(struct play_schema *s, const char *function);

/* Columns that hold the same keys (one references the other, or is named so: order_id for orders.id) have one domain; 0: none that is known. */
uint32_t play_schema_domain(struct play_schema *s, uint32_t relation, uint32_t column);
void play_schema_join(struct play_schema *s, uint32_t relation, uint32_t column, uint32_t other_relation, uint32_t other_column);

/* Of the column that gets its values from a sequence; 0: none does. */
uint32_t play_schema_domain_of_sequence(struct play_schema *s, const char *sequence);

/* The table "relation" gets the values of its column from the sequence (may be ""). */
void play_schema_generates(struct play_schema *s, const char *relation, const char *column, const char *sequence);

#endif
