/* A statement in pieces: what is copied, what is a value, and which values are the server's own words by where they stand. */
#ifndef PGR_REPLAY_ANONYMIZE_TEXT_H
#define PGR_REPLAY_ANONYMIZE_TEXT_H

#include "replay/log_entry.h"

#include <stdbool.h>
#include <stdint.h>

enum text_kind {
	TEXT_COPY,
	TEXT_LITERAL, /* what stands between quotes, or a number */
	TEXT_COMMENT, /* what stands in one */
	TEXT_BODY,    /* between $tag$ */
	TEXT_PARAM,   /* $1, which is also to be copied */
};

struct text_piece {
	enum text_kind kind;
	const char *at;
	size_t n;
	uint32_t param; /* from 0 */
	bool escapes;   /* a literal E'' */
	bool code;      /* a body of DO or CREATE */
	/*
	 * The server must know it: a direct argument of nextval, to_char (the format) and the like, AT TIME ZONE, the key behind -> and ->>,
	 * 'orders'::regclass, what a setting is SET to, but for one with a dot in its name and application_name, which hold what clients put there.
	 */
	bool keep;
};

/* Takes a shape (see replay/shape.h) and its n literals apart, from its begin to its end. */
void text_walk(const char *shape, size_t shape_n, const struct log_text *literals, size_t n,
	void (*take)(const struct text_piece *p, void *arg), void *arg);

#endif
