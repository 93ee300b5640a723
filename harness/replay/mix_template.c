/* Shapes are split again by the same rules that made them, which is why the few cases here suffice. */
#define _GNU_SOURCE
#include "replay/mix_template.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80) != 0;
}

/* The word that ends at the end of text, in small letters; "" when none does. */
static void last_word(const struct buf *text, char out[static 32])
{
	size_t end = text->len, from;
	while (end > 0 && is_blank(text->data[end - 1]))
		end--;
	for (from = end; from > 0 && is_word(text->data[from - 1]); from--)
		;
	size_t n = end - from < 31 ? end - from : 31;
	for (size_t i = 0; i < n; i++) {
		char c = text->data[from + i];
		out[i] = (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
	}
	out[n] = '\0';
}

static bool one_of(const char *word, const char *const *list)
{
	for (; *list != NULL; list++)
		if (strcmp(word, *list) == 0)
			return true;
	return false;
}

/* A string behind the name of a type is a constant of it: no parameter may stand there. */
static bool is_typed(const struct buf *text)
{
	static const char *const TYPES[] = {"interval", "date", "time", "timestamp", "timestamptz", "timetz", "zone", "numeric", "uuid",
		"json", "jsonb", "inet", "cidr", "point", "box", "circle", "line", "path", "polygon", "bit", "bytea", "int", "int4", "int8",
		"bigint", "text", "varchar", "regclass", "e", "b", "x", "n", "u", NULL};
	char word[32];
	last_word(text, word);
	return one_of(word, TYPES);
}

/* A minus that ends the text is a sign when nothing stands before it that it could be taken from. */
static bool takes_sign(const struct buf *text)
{
	static const char *const BEFORE[] = {"and", "or", "not", "in", "between", "then", "else", "when", "case", "select", "where", "set",
		"by", "values", "limit", "offset", "return", "returning", "like", "is", "on", "having", "any", "all", NULL};
	if (text->len < 2 || text->data[text->len - 1] != '-')
		return false;
	size_t at = text->len - 1;
	while (at > 0 && is_blank(text->data[at - 1]))
		at--;
	if (at == 0)
		return false;
	char before = text->data[at - 1], word[32];
	if (strchr("(,=+-*/<>[%|", before) != NULL)
		return true;
	struct buf head = {.data = text->data, .len = at};
	last_word(&head, word);
	return one_of(word, BEFORE);
}

static void add_mark(struct buf *text)
{
	buf_char(text, SHAPE_MARK);
}

static size_t read_string(size_t n, size_t i, struct buf *text, struct literal *l)
{
	l->kind = is_typed(text) ? LITERAL_FIXED : LITERAL_STRING;
	add_mark(text);
	return i + 3 <= n ? i + 3 : n;
}

static void read_number(struct buf *text, struct literal *l)
{
	l->kind = LITERAL_NUMBER;
	if (takes_sign(text)) {
		l->negative = true;
		text->data[--text->len] = '\0';
	}
	add_mark(text);
}

void template_read(const struct trace_shape *shape, struct buf *text, struct literal *out)
{
	const char *s = shape->text;
	size_t n = shape->n, k = 0;
	for (size_t i = 0; i < n;) {
		bool comment = i + 2 < n && (memcmp(s + i, "--", 2) == 0 || memcmp(s + i, "/*", 2) == 0) && s[i + 2] == SHAPE_MARK;
		if (comment) {
			bool block = s[i] == '/';
			out[k++] = (struct literal){.kind = LITERAL_COMMENT};
			i += block ? 5 : 3;
			if (block && text->len > 0 && text->data[text->len - 1] != ' ')
				buf_char(text, ' ');
		} else if (s[i] == '\'' && i + 1 < n && s[i + 1] == SHAPE_MARK) {
			out[k] = (struct literal){0};
			i = read_string(n, i, text, &out[k]);
			k++;
		} else if (s[i] == SHAPE_MARK) {
			out[k] = (struct literal){0};
			read_number(text, &out[k++]);
			i++;
		} else if (is_blank(s[i])) {
			if (text->len > 0 && text->data[text->len - 1] != ' ')
				buf_char(text, ' ');
			i++;
		} else if (s[i] == '"') {
			const char *end = memchr(s + i + 1, '"', n - i - 1);
			size_t next = end != NULL ? (size_t)(end - s) + 1 : n;
			buf_add(text, s + i, next - i);
			i = next;
		} else {
			buf_char(text, s[i++]);
		}
	}
	while (text->len > 0 && (text->data[text->len - 1] == ' ' || text->data[text->len - 1] == ';'))
		text->data[--text->len] = '\0';
}

void template_value(const struct literal *l, const struct log_text *value, struct buf *out)
{
	if (l->kind == LITERAL_NUMBER) {
		if (l->negative)
			buf_char(out, '-');
		buf_add(out, value->at, value->n);
		return;
	}
	for (size_t i = 0; i < value->n; i++) {
		buf_char(out, value->at[i]);
		if (value->at[i] == '\'' && i + 1 < value->n && value->at[i + 1] == '\'')
			i++;
	}
}

void template_write(const char *text, size_t n, const int *params, const char *const *literals, struct buf *out)
{
	size_t k = 0;
	for (size_t i = 0; i < n; i++) {
		if (text[i] != SHAPE_MARK) {
			buf_char(out, text[i]);
			continue;
		}
		if (params[k] > 0)
			buf_printf(out, "$%d", params[k]);
		else
			buf_str(out, literals[k]);
		k++;
	}
}

/* ---- what is no data statement ---- */

static size_t next_word(const char *text, size_t n, size_t i, char out[static 32])
{
	size_t k = 0;
	while (i < n && (is_blank(text[i]) || text[i] == '(' || text[i] == ';'))
		i++;
	for (; i < n && is_word(text[i]); i++)
		if (k < 31)
			out[k++] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] + 32 : text[i]);
	out[k] = '\0';
	return i;
}

enum template_control template_control(const char *text, size_t n)
{
	static const char *const DATA[] = {"select", "insert", "update", "delete", "merge", "with", "values", "call", "table", NULL};
	static const char *const SESSION[] = {"set", "show", "reset", "discard", "deallocate", "savepoint", "release", "rollback", "abort",
		"listen", "unlisten", "notify", "prepare", "close", "", NULL};
	char first[32], second[32];
	size_t i = next_word(text, n, 0, first);
	i = next_word(text, n, i, second);
	if (one_of(first, DATA))
		return CONTROL_NONE;
	if (strcmp(first, "begin") == 0 || (strcmp(first, "start") == 0 && strcmp(second, "transaction") == 0))
		return CONTROL_BEGIN;
	if ((strcmp(first, "commit") == 0 || strcmp(first, "end") == 0) && strcmp(second, "prepared") != 0)
		return CONTROL_COMMIT;
	if ((strcmp(first, "rollback") == 0 || strcmp(first, "abort") == 0) && strcmp(second, "to") != 0 &&
		strcmp(second, "prepared") != 0) {
		if (strcmp(second, "transaction") == 0 || strcmp(second, "work") == 0)
			next_word(text, n, i, second);
		return strcmp(second, "to") == 0 ? CONTROL_SESSION : CONTROL_ROLLBACK;
	}
	return one_of(first, SESSION) ? CONTROL_SESSION : CONTROL_OTHER;
}
