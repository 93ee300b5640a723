/* Identifiers go with the values: which of the two a message names is not told by its SQLSTATE. */
#define _GNU_SOURCE
#include "replay/play_message.h"

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
