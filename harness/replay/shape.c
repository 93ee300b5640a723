/* Most statements are of a shape that was just seen: what begins like it is compared with it, from literal to literal, which costs a fraction
 * of splitting it. Other texts without literals are found by their bytes alone; only the rest is split. The parser is asked once a shape. */
#define _GNU_SOURCE
#include "replay/shape.h"

#include "sql/parse.h"

#include <stdlib.h>

#define SHAPES_BYTES_MAX ((size_t)256 << 20)
#define FINGERPRINT_TEXT_MAX ((size_t)64 << 10)

/* By a text's first bytes: the last few shapes of texts that begin so, the latest first. */
#define RECENT_BEGIN 32
#define RECENT_SETS 256
#define RECENT_WAYS 4

enum literal { LITERAL_NUMBER, LITERAL_STRING, LITERAL_ESCAPES, LITERAL_LINE, LITERAL_BLOCK, LITERAL_UNSURE };

struct shape_part {
	uint32_t n;        /* bytes of the shape before the literal */
	enum literal kind; /* UNSURE: a text's own bytes before it decide whether it is one */
};

struct shapes {
	struct shape **table; /* open addressing */
	size_t size, n, bytes;
	struct shape *recent[RECENT_SETS][RECENT_WAYS];
	struct log_text literals[SHAPE_LITERALS_MAX];
	struct shape_part parts[SHAPE_LITERALS_MAX]; /* of the text being split */
	char *split;                                 /* the text being split, as a shape */
	size_t split_n;
};

struct shapes *shapes_create(void)
{
	struct shapes *s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	s->size = 1024;
	s->table = calloc(s->size, sizeof *s->table);
	s->split = malloc(SHAPE_TEXT_MAX + 1);
	if (s->table == NULL || s->split == NULL)
		abort();
	return s;
}

void shapes_free(struct shapes *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->size; i++)
		if (s->table[i] != NULL) {
			free(s->table[i]->text);
			free(s->table[i]->parts);
			free(s->table[i]);
		}
	free(s->table);
	free(s->split);
	free(s);
}

/* Eight bytes a step; mixing as in wyhash. */
uint64_t shape_hash(const char *text, size_t n)
{
	uint64_t h = n * UINT64_C(0x9e3779b97f4a7c15), word;
	for (; n >= 8; text += 8, n -= 8) {
		memcpy(&word, text, 8);
		h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 32;
	}
	word = 0;
	memcpy(&word, text, n);
	h = (h ^ word) * UINT64_C(0xff51afd7ed558ccd);
	h ^= h >> 33;
	h *= UINT64_C(0xc4ceb9fe1a85ec53);
	return h ^ h >> 29;
}

static struct shape **find_slot(const struct shapes *s, uint64_t hash, const char *text, size_t n)
{
	for (size_t i = (size_t)hash & (s->size - 1);; i = (i + 1) & (s->size - 1)) {
		struct shape *shape = s->table[i];
		if (shape == NULL || (shape->hash == hash && shape->n == n && memcmp(shape->text, text, n) == 0))
			return &s->table[i];
	}
}

static void grow(struct shapes *s)
{
	struct shape **old = s->table;
	size_t size = s->size;
	s->size *= 2;
	s->table = calloc(s->size, sizeof *s->table);
	if (s->table == NULL)
		abort();
	for (size_t i = 0; i < size; i++)
		if (old[i] != NULL)
			*find_slot(s, old[i]->hash, old[i]->text, old[i]->n) = old[i];
	free(old);
}

/* ---- splitting ---- */

enum { BLANK, WORD, DIGIT, SPECIAL };

/* Of ASCII; all bytes above belong to words. */
static const unsigned char CLASSES[128] = {
#define W10(c)                                                                                                                  \
	[c] = WORD, [(c) + 1] = WORD, [(c) + 2] = WORD, [(c) + 3] = WORD, [(c) + 4] = WORD, [(c) + 5] = WORD, [(c) + 6] = WORD, \
	[(c) + 7] = WORD, [(c) + 8] = WORD, [(c) + 9] = WORD
	W10('a'), W10('k'), ['u'] = WORD, ['v'] = WORD, ['w'] = WORD, ['x'] = WORD, ['y'] = WORD, ['z'] = WORD, W10('A'),
	W10('K'), ['U'] = WORD, ['V'] = WORD, ['W'] = WORD, ['X'] = WORD, ['Y'] = WORD, ['Z'] = WORD, ['_'] = WORD,
#undef W10
	['0'] = DIGIT, ['1'] = DIGIT, ['2'] = DIGIT, ['3'] = DIGIT, ['4'] = DIGIT, ['5'] = DIGIT, ['6'] = DIGIT, ['7'] = DIGIT,
	['8'] = DIGIT, ['9'] = DIGIT, ['\''] = SPECIAL, ['"'] = SPECIAL, ['$'] = SPECIAL, ['-'] = SPECIAL, ['/'] = SPECIAL,
	['.'] = SPECIAL};

static inline int class_of(unsigned char c)
{
	return c < 128 ? CLASSES[c] : WORD;
}

static const char *end_of_string(const char *q, const char *end, bool escapes)
{
	for (; q < end; q++) {
		if (escapes && *q == '\\' && q + 1 < end)
			q++;
		else if (*q == '\'' && q + 1 < end && q[1] == '\'')
			q++;
		else if (*q == '\'')
			break;
	}
	return q;
}

static const char *end_of_number(const char *q, const char *end)
{
	while (q < end) {
		int c = class_of((unsigned char)*q);
		bool exponent = (*q == 'e' || *q == 'E') && q + 2 < end && (q[1] == '+' || q[1] == '-') && q[2] >= '0' && q[2] <= '9';
		if (c != DIGIT && c != WORD && *q != '.')
			break;
		q += exponent ? 2 : 1;
	}
	return q;
}

static const char *end_of_comment(const char *q, const char *end, bool block)
{
	if (!block) {
		const char *newline = memchr(q, '\n', (size_t)(end - q));
		return newline != NULL ? newline : end;
	}
	for (int depth = 1; q < end; q++) {
		if (q + 1 < end && q[0] == '/' && q[1] == '*') {
			depth++;
			q++;
		} else if (q + 1 < end && q[0] == '*' && q[1] == '/') {
			if (--depth == 0)
				break;
			q++;
		}
	}
	return q;
}

struct splitter {
	const char *p, *begin, *end;
	char *to, *part; /* part: behind the last literal */
	struct log_text *literals;
	struct shape_part *parts;
	size_t n;
};

static void copy_to(struct splitter *x, const char *q)
{
	size_t n = (size_t)(q - x->p);
	memcpy(x->to, x->p, n);
	x->to += n;
	x->p = q;
}

static bool take_literal(struct splitter *x, const char *q, enum literal kind)
{
	if (x->n == SHAPE_LITERALS_MAX)
		return false;
	x->parts[x->n] = (struct shape_part){(uint32_t)(x->to - x->part), kind};
	x->literals[x->n++] = (struct log_text){(char *)(uintptr_t)x->p, (size_t)(q - x->p)};
	*x->to++ = SHAPE_MARK;
	x->part = x->to;
	x->p = q;
	return true;
}

static bool take_string(struct splitter *x, bool escapes)
{
	copy_to(x, x->p + 1);
	const char *q = end_of_string(x->p, x->end, escapes);
	if (!take_literal(x, q, escapes ? LITERAL_ESCAPES : LITERAL_STRING))
		return false;
	if (q < x->end)
		copy_to(x, q + 1);
	return true;
}

static bool take_number(struct splitter *x)
{
	/* Behind a word or a number another text's digits would belong to that. */
	int before = x->p > x->begin ? class_of((unsigned char)x->p[-1]) : BLANK;
	bool sure = before == BLANK || (before == SPECIAL && (x->p[-1] == '-' || x->p[-1] == '/'));
	return take_literal(x, end_of_number(x->p, x->end), sure && (x->n == 0 || x->to > x->part) ? LITERAL_NUMBER : LITERAL_UNSURE);
}

/* $1, or $tag$ up to its like; the body stays in the shape. */
static void take_dollar(struct splitter *x)
{
	const char *q = x->p + 1;
	while (q < x->end && (class_of((unsigned char)*q) == WORD || class_of((unsigned char)*q) == DIGIT))
		q++;
	if (q < x->end && *q == '$' && (q == x->p + 1 || class_of((unsigned char)x->p[1]) == WORD)) {
		size_t tag_n = (size_t)(q + 1 - x->p);
		const char *close = memmem(q + 1, (size_t)(x->end - q - 1), x->p, tag_n);
		q = close != NULL ? close + tag_n : x->end;
	}
	copy_to(x, q);
}

/* What is in a comment differs from one execution to the next where tracing identifiers are put there. */
static bool take_comment(struct splitter *x, bool block)
{
	copy_to(x, x->p + 2);
	return take_literal(x, end_of_comment(x->p, x->end, block), block ? LITERAL_BLOCK : LITERAL_LINE);
}

static bool take_special(struct splitter *x)
{
	const char *p = x->p;
	bool more = p + 1 < x->end;
	if (*p == '\'')
		return take_string(x, false);
	if (*p == '-' && more && p[1] == '-')
		return take_comment(x, false);
	if (*p == '/' && more && p[1] == '*')
		return take_comment(x, true);
	if (*p == '.' && more && class_of((unsigned char)p[1]) == DIGIT)
		return take_number(x);
	if (*p == '$') {
		take_dollar(x);
	} else if (*p == '"') {
		const char *q = memchr(p + 1, '"', (size_t)(x->end - p - 1));
		copy_to(x, q != NULL ? q + 1 : x->end);
	} else {
		copy_to(x, p + 1);
	}
	return true;
}

/* false: it cannot be split. */
static bool split(struct shapes *s, const char *text, size_t n, size_t *literals)
{
	if (n > SHAPE_TEXT_MAX || memchr(text, SHAPE_MARK, n) != NULL)
		return false;
	struct splitter x = {
		.p = text, .begin = text, .end = text + n, .to = s->split, .part = s->split, .literals = s->literals, .parts = s->parts};
	while (x.p < x.end) {
		const char *q = x.p;
		bool well = true;
		switch (class_of((unsigned char)*q)) {
		case WORD:
			/* Digits within a name belong to it. */
			while (q < x.end && (class_of((unsigned char)*q) == WORD || class_of((unsigned char)*q) == DIGIT || *q == '$'))
				q++;
			bool escapes = q - x.p == 1 && (*x.p == 'E' || *x.p == 'e') && q < x.end && *q == '\'';
			copy_to(&x, q);
			if (escapes)
				well = take_string(&x, true);
			break;
		case DIGIT:
			well = take_number(&x);
			break;
		case SPECIAL:
			well = take_special(&x);
			break;
		default:
			while (q < x.end && class_of((unsigned char)*q) == BLANK)
				q++;
			copy_to(&x, q);
		}
		if (!well)
			return false;
	}
	*literals = x.n;
	s->split_n = (size_t)(x.to - s->split);
	return true;
}

/* ---- comparing ---- */

/* Whether text would be split into this shape; its literals are then in s. What decides how a text is split are the bytes before: as long as
 * these are the shape's, a literal begins where the shape has one, if it can begin there at all, and it ends where splitting would end it. */
static bool fits(struct shapes *s, const struct shape *shape, const char *text, size_t n)
{
	const char *p = text, *end = text + n, *part = shape->text;
	for (uint32_t i = 0; i < shape->literals; i++) {
		size_t part_n = shape->parts[i].n;
		if ((size_t)(end - p) < part_n || memcmp(p, part, part_n) != 0)
			return false;
		p += part_n;
		part += part_n + 1;
		const char *q;
		switch (shape->parts[i].kind) {
		case LITERAL_NUMBER:
			if (p == end || *p < '0' || *p > '9')
				return false;
			q = end_of_number(p, end);
			break;
		case LITERAL_STRING:
		case LITERAL_ESCAPES:
			q = end_of_string(p, end, shape->parts[i].kind == LITERAL_ESCAPES);
			break;
		case LITERAL_LINE:
		case LITERAL_BLOCK:
			q = end_of_comment(p, end, shape->parts[i].kind == LITERAL_BLOCK);
			break;
		default:
			return false;
		}
		s->literals[i] = (struct log_text){(char *)(uintptr_t)p, (size_t)(q - p)};
		p = q;
	}
	size_t rest = (size_t)(shape->text + shape->n - part);
	return (size_t)(end - p) == rest && memcmp(p, part, rest) == 0 && n <= SHAPE_TEXT_MAX && memchr(text, SHAPE_MARK, n) == NULL;
}

static struct shape **recent_of(struct shapes *s, const char *text, size_t n)
{
	return s->recent[shape_hash(text, n < RECENT_BEGIN ? n : RECENT_BEGIN) % RECENT_SETS];
}

static bool is_sure(const struct shape *shape)
{
	for (uint32_t i = 0; i < shape->literals; i++)
		if (shape->parts[i].kind == LITERAL_UNSURE)
			return false;
	return true;
}

static void put_first(struct shape **ways, unsigned at, struct shape *shape)
{
	for (; at > 0; at--)
		ways[at] = ways[at - 1];
	ways[0] = shape;
}

/* ---- finding ---- */

static struct shape *add(struct shapes *s, struct shape **slot, uint64_t hash, size_t literals, const char *text, size_t n)
{
	struct shape *shape = calloc(1, sizeof *shape);
	char *copy = malloc(s->split_n + 1);
	if (shape == NULL || copy == NULL)
		abort();
	memcpy(copy, s->split, s->split_n);
	copy[s->split_n] = '\0';
	*shape = (struct shape){.number = (uint32_t)s->n, .literals = (uint32_t)literals, .hash = hash, .n = s->split_n, .text = copy};
	bool whole = s->split_n == 1 && copy[0] == SHAPE_MARK;
	if (literals > 0) {
		shape->parts = malloc(literals * sizeof *shape->parts);
		if (shape->parts == NULL)
			abort();
		memcpy(shape->parts, s->parts, literals * sizeof *shape->parts);
	}
	if (!whole && n <= FINGERPRINT_TEXT_MAX && memchr(text, '\0', n) == NULL) {
		char *sql = malloc(n + 1);
		if (sql == NULL)
			abort();
		memcpy(sql, text, n);
		sql[n] = '\0';
		if (!sql_fingerprint(sql, &shape->fingerprint))
			shape->fingerprint = 0;
		free(sql);
	}
	*slot = shape;
	s->bytes += s->split_n + sizeof *shape + literals * sizeof *shape->parts;
	if (++s->n * 2 > s->size)
		grow(s);
	return shape;
}

static struct shape *find(struct shapes *s, const char *text, size_t n, bool *is_new)
{
	uint64_t hash = shape_hash(text, n);
	struct shape **slot = find_slot(s, hash, text, n);
	if (*slot != NULL && (*slot)->literals == 0)
		return *slot;
	size_t count = 0;
	bool whole = !split(s, text, n, &count);
	for (;;) {
		if (whole) {
			s->split[0] = SHAPE_MARK;
			s->split_n = count = 1;
			s->literals[0] = (struct log_text){(char *)(uintptr_t)text, n};
			s->parts[0] = (struct shape_part){0, LITERAL_UNSURE};
		}
		hash = shape_hash(s->split, s->split_n);
		slot = find_slot(s, hash, s->split, s->split_n);
		if (*slot != NULL)
			return *slot;
		if (whole || (s->bytes + s->split_n < SHAPES_BYTES_MAX && s->n < (1u << 20)))
			break;
		whole = true;
	}
	*is_new = true;
	return add(s, slot, hash, count, text, n);
}

const struct shape *shapes_find(struct shapes *s, const char *text, size_t n, const struct log_text **literals, bool *is_new)
{
	struct shape **ways = recent_of(s, text, n);
	*is_new = false;
	*literals = s->literals;
	unsigned i = 0;
	for (; i < RECENT_WAYS && ways[i] != NULL; i++) {
		if (!fits(s, ways[i], text, n))
			continue;
		put_first(ways, i, ways[i]);
		return ways[0];
	}
	struct shape *shape = find(s, text, n, is_new);
	if (is_sure(shape))
		put_first(ways, i < RECENT_WAYS ? i : RECENT_WAYS - 1, shape);
	return shape;
}

void shape_write(const struct shape *shape, const struct log_text *literals, struct buf *out)
{
	const char *p = shape->text, *end = p + shape->n;
	for (uint32_t i = 0; i < shape->literals; i++) {
		const char *mark = memchr(p, SHAPE_MARK, (size_t)(end - p));
		if (mark == NULL)
			break;
		buf_add(out, p, (size_t)(mark - p));
		buf_add(out, literals[i].at, literals[i].n);
		p = mark + 1;
	}
	buf_add(out, p, (size_t)(end - p));
}
