/* Identifiers go with the values: which of the two a message names is not told by its SQLSTATE. */
#define _GNU_SOURCE
#include "replay/play_message.h"

#include "base/buf.h"
#include "replay/anonymize_text.h"
#include "replay/shape.h"

#include <stdio.h>
#include <string.h>

/* As PostgreSQL's translations have them. */
static const char *const MARKS[] = {"\"", "«", "»", "„", "“", "”", "「", "」", "『", "』", "`"};

static size_t mark_at(const char *p)
{
	for (size_t i = 0; i < sizeof MARKS / sizeof MARKS[0]; i++)
		if (strncmp(p, MARKS[i], strlen(MARKS[i])) == 0)
			return strlen(MARKS[i]);
	return 0;
}

void play_withhold_values(const char *sqlstate, const char *message, size_t message_size, char *out, size_t size)
{
	const char *end = message + strlen(message), *first = end, *behind = end;
	if (sqlstate[0] > '9' && sqlstate[0] != 'X') {
		snprintf(out, size, "what a function says of it is left out");
		return;
	}
	for (const char *const *word = (const char *const[]){"DETAIL", "Key (", NULL}; *word != NULL; word++) {
		const char *at = strstr(message, *word);
		end = at != NULL && at < end ? at : end;
	}
	for (const char *p = message; p < end; p++) {
		size_t n = mark_at(p);
		if (n > 0 && first >= end)
			first = p;
		if (n > 0)
			behind = p + n;
	}
	if ((size_t)(end - message) + 1 >= message_size)
		behind = end;
	if (first >= end)
		snprintf(out, size, "%.*s", (int)(end - message), message);
	else
		snprintf(out, size, "%.*s\"...\"%.*s", (int)(first - message), message, (int)(end - behind), behind);
}

static void write_piece(const struct text_piece *p, void *arg)
{
	struct buf *out = arg;
	if (p->kind == TEXT_COPY || p->kind == TEXT_PARAM)
		buf_add(out, p->at, p->n);
	else
		buf_char(out, '?');
}

void play_describe_shape(const char *shape, size_t n, char *out, size_t size)
{
	struct buf text;
	buf_init(&text, 2 * SHAPE_TEXT_MAX);
	text_walk(shape, n, NULL, 0, write_piece, &text);
	for (size_t i = 0; i < text.len; i++)
		text.data[i] = (char)((unsigned char)text.data[i] < ' ' ? ' ' : text.data[i]);
	snprintf(out, size, "%s", text.data);
	buf_free(&text);
}
