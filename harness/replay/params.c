/* One pass over the text of a DETAIL. */
#define _GNU_SOURCE
#include "replay/params.h"

#include <stdlib.h>

#define WORDS_MAX ((size_t)160)

static bool add(struct params *out, struct param p)
{
	if (out->n == PARAMS_MAX)
		return false;
	if (out->n == out->cap) {
		out->cap = out->cap > 0 ? out->cap * 2 : 16;
		out->at = realloc(out->at, out->cap * sizeof *out->at);
		if (out->at == NULL)
			abort();
	}
	out->at[out->n++] = p;
	return true;
}

/* A quoted value whose first quote is at p. Returns what is behind the last one, or NULL. */
static char *read_value(char *p, char *end, struct log_text *value)
{
	char *begin = p + 1, *to = begin;
	for (char *from = begin;;) {
		char *quote = memchr(from, '\'', (size_t)(end - from));
		if (quote == NULL)
			return NULL;
		size_t n = (size_t)(quote - from);
		if (to != from)
			memmove(to, from, n);
		to += n;
		if (quote + 1 == end || quote[1] != '\'') {
			*value = (struct log_text){begin, (size_t)(to - begin)};
			return quote + 1;
		}
		*to++ = '\'';
		from = quote + 2;
	}
}

static bool read_list(char *p, char *end, struct params *out)
{
	for (;;) {
		struct param value = {0};
		if (end - p < 6 || p[0] != '$')
			return false;
		for (p++; p < end && *p >= '0' && *p <= '9'; p++)
			;
		if (end - p < 4 || memcmp(p, " = ", 3) != 0)
			return false;
		p += 3;
		if (*p == '\'') {
			p = read_value(p, end, &value.value);
			if (p == NULL)
				return false;
			const struct log_text *t = &value.value;
			if (t->n >= 3 && memcmp(t->at + t->n - 3, "...", 3) == 0)
				out->perhaps_cut++;
		} else if (end - p >= 4 && memcmp(p, "NULL", 4) == 0) {
			value.null = true;
			p += 4;
		} else {
			return false;
		}
		if (!add(out, value))
			return false;
		if (end - p < 2 || p[0] != ',' || p[1] != ' ')
			return true;
		p += 2;
	}
}

/* In other languages it is another word, of which only the list behind it is sure. */
static char *read_foreign(char *text, size_t n)
{
	char *p = n > 0 ? memmem(text, n < WORDS_MAX ? n : WORDS_MAX, ": $1 = ", 7) : NULL;
	return p != NULL ? p + 2 : NULL;
}

bool params_read(char *text, size_t n, struct params *out)
{
	out->n = out->perhaps_cut = 0;
	/* The word begins a DETAIL; in a CONTEXT a portal's name comes before it. */
	char *p = n > 0 ? memmem(text, n, "arameters: $", 12) : NULL;
	if (p != NULL)
		p += 11;
	else
		p = read_foreign(text, n);
	if (p == NULL)
		return false;
	if (read_list(p, text + n, out))
		return true;
	out->n = 0;
	return false;
}

void params_free(struct params *p)
{
	free(p->at);
	*p = (struct params){0};
}

bool params_needed(const char *sql, size_t n)
{
	char quote = '\0';
	for (size_t i = 0; i < n; i++) {
		char c = sql[i];
		if (quote != '\0') {
			if (c == quote)
				quote = '\0';
		} else if (c == '\'' || c == '"') {
			quote = c;
		} else if (c == '$' && i + 1 < n && sql[i + 1] >= '1' && sql[i + 1] <= '9') {
			return true;
		}
	}
	return false;
}
