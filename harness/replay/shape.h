/* A statement's shape: its text with the literals taken out, so that a million statements are a few shapes and their values. Text can be
 * put together again to the byte. */
#ifndef PGR_REPLAY_SHAPE_H
#define PGR_REPLAY_SHAPE_H

#include "base/buf.h"
#include "replay/log_entry.h"

#include <stdint.h>

/* Stands in a shape where a literal stood: a number, what is between quotes, what is in a comment. */
#define SHAPE_MARK '\1'

/* More literals than this, longer texts, and texts with the mark in them: the whole text is the only literal of the shape "\1". */
#define SHAPE_LITERALS_MAX 4096
#define SHAPE_TEXT_MAX ((size_t)1 << 20)

struct shape_part;

struct shape {
	uint32_t number; /* from 0, in the order in which they first occur */
	uint32_t literals;
	uint64_t hash;
	uint64_t fingerprint; /* libpg_query's; 0: it cannot be parsed */
	size_t n;
	char *text;
	struct shape_part *parts; /* how it came about: what lies before each literal, and of which kind that is. Private to shape.c */
};

struct shapes;

struct shapes *shapes_create(void);
void shapes_free(struct shapes *s);

/* The shape of text; literals (at most SHAPE_LITERALS_MAX, in memory that belongs to s) point into text. *is_new: it is the first of its
 * kind. Never fails: when there are too many shapes already the text becomes a literal. */
const struct shape *shapes_find(struct shapes *s, const char *text, size_t n, const struct log_text **literals, bool *is_new);

/* Text put together again, appended to out. */
void shape_write(const struct shape *shape, const struct log_text *literals, struct buf *out);

uint64_t shape_hash(const char *text, size_t n);

#endif
