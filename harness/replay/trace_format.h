/* What writing and reading a trace share. Private to replay/; the format is explained in TRACE.md. */
#ifndef PGR_REPLAY_TRACE_FORMAT_H
#define PGR_REPLAY_TRACE_FORMAT_H

#include "base/buf.h"

#include <stdint.h>
#include <string.h>

#define TRACE_MAGIC "PGRTRACE"
#define TRACE_HEADER 16                  /* magic, version u32, reserved u32 */
#define BLOCK_MAGIC UINT32_C(0x424b4350) /* "PCKB" */
#define META_MAGIC UINT32_C(0x4154454d)  /* "META" */
#define BLOCK_HEADER 56

#define BLOCK_ROWS 32768
#define BLOCK_BYTES ((size_t)8 << 20)   /* of values, after which a block is written */
#define SECTION_MAX ((size_t)256 << 20) /* unpacked; a reader refuses more */

/* Fixed columns of a block, then pairs of tags and values. */
enum trace_column {
	COLUMN_KIND,    /* kind | flags */
	COLUMN_SESSION, /* number within the block + 1, or 0 and then the next of SESSIONS */
	COLUMN_SESSIONS,
	COLUMN_STAMP,    /* zigzag difference from the row before, in the block's unit */
	COLUMN_DURATION, /* µs + 1; 0: unknown */
	COLUMN_SHAPE,    /* 0: as after this session's last shape before; else number + 1 */
	COLUMN_NAME,     /* number of a name + 1; 0: none */
	COLUMN_PORTAL,   /* the same */
	COLUMN_ERROR,    /* SQLSTATE, file, line */
	COLUMN_ROWS,
	COLUMN_PARAMS, /* how many */
	COLUMNS_FIXED,
};
#define VALUE_COLUMNS 256
#define COLUMNS_ALL (COLUMNS_FIXED + 2 * VALUE_COLUMNS)

#define ROW_KIND 0x07
#define ROW_FROM_END 0x08
#define ROW_NO_END 0x10
#define ROW_ERROR 0x20
#define ROW_NAMED 0x40
#define ROW_ROWS 0x80

enum value_tag { VALUE_NULL, VALUE_INT, VALUE_TEXT, VALUE_AGAIN };

/* Integers of this size and more are looked for among the session's last ones. */
#define AGAIN_MIN 64
#define AGAIN_RING 16

struct again {
	int64_t ring[AGAIN_RING];
	unsigned next;
};

static inline unsigned value_column(uint32_t shape, size_t position)
{
	return (unsigned)((shape * 11u + position) % VALUE_COLUMNS);
}

static inline void put_u32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

static inline void put_u64(unsigned char *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (unsigned char)(v >> 8 * i);
}

static inline uint32_t get_u32(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get_u64(const unsigned char *p)
{
	return (uint64_t)get_u32(p) | (uint64_t)get_u32(p + 4) << 32;
}

static inline uint64_t zigzag(int64_t v)
{
	return (uint64_t)v << 1 ^ (uint64_t)(v >> 63);
}

static inline int64_t unzigzag(uint64_t v)
{
	return (int64_t)(v >> 1) ^ -(int64_t)(v & 1);
}

/* buf_reserve, without a call as long as there is room: columns grow a byte at a time. */
static inline char *room_for(struct buf *b, size_t n)
{
	if (b->len + n < b->cap && n <= b->max - b->len)
		return b->data + b->len;
	return buf_reserve(b, n);
}

static inline void add_byte(struct buf *b, unsigned c)
{
	char *p = room_for(b, 1);
	if (p == NULL)
		return;
	p[0] = (char)c;
	p[1] = '\0';
	b->len++;
}

static inline void add_varint(struct buf *b, uint64_t v)
{
	char *p = room_for(b, 10);
	size_t n = 0;
	if (p == NULL)
		return;
	while (v >= 0x80) {
		p[n++] = (char)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (char)v;
	p[n] = '\0';
	b->len += n;
}

static inline void add_bytes(struct buf *b, const char *text, size_t n)
{
	add_varint(b, n);
	if (n > 0)
		buf_add(b, text, n);
}

/* Reading: a cursor that turns bad instead of running over its end. */
struct cursor {
	const unsigned char *at, *end;
	bool bad;
};

static inline uint64_t take_varint(struct cursor *c)
{
	uint64_t v = 0;
	for (unsigned shift = 0; c->at < c->end && shift < 64; shift += 7) {
		unsigned char byte = *c->at++;
		v |= (uint64_t)(byte & 0x7f) << shift;
		if ((byte & 0x80) == 0)
			return v;
	}
	c->bad = true;
	return 0;
}

static inline const char *take_bytes(struct cursor *c, size_t *n)
{
	uint64_t length = take_varint(c);
	if (c->bad || length > (uint64_t)(c->end - c->at)) {
		c->bad = true;
		*n = 0;
		return "";
	}
	const char *text = (const char *)c->at;
	c->at += length;
	*n = (size_t)length;
	return text;
}

#endif
