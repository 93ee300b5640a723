/* A growable byte buffer that states its maximum. Always NUL-terminated, so that data can be read as a string. */
#ifndef PGR_BASE_BUF_H
#define PGR_BASE_BUF_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

struct buf {
	char *data; /* never NULL after buf_init */
	size_t len; /* without the terminator */
	size_t cap;
	size_t max;    /* len never exceeds this */
	bool overflow; /* something did not fit (or memory ran out) and was left out whole; sticky until buf_clear */
};

/* max: the most bytes it may ever hold. */
void buf_init(struct buf *b, size_t max);
void buf_free(struct buf *b);
void buf_clear(struct buf *b);

/* Each appends all of it or nothing; what did not fit sets overflow, which the caller checks once at the end. */
void buf_add(struct buf *b, const void *bytes, size_t n);
void buf_str(struct buf *b, const char *s);
void buf_char(struct buf *b, char c);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Room for n more bytes at data + len, or NULL; the caller adds what it used to len. */
char *buf_reserve(struct buf *b, size_t n);

#endif
