/* Series of JSON lines. */
#define _GNU_SOURCE
#include "record/series.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct series {
	FILE *file; /* NULL: missing */
	char *path;
	char *text; /* SERIES_LINE_MAX bytes */
	int64_t bad_lines;
	int64_t number; /* of the latest line */
};

enum status series_open(const char *path, struct series **out, struct error *err)
{
	*out = NULL;
	struct series *s = calloc(1, sizeof *s);
	if (s == NULL)
		return error_set(err, ST_FAILED, "no memory to read %s", path);
	s->path = strdup(path);
	s->text = malloc(SERIES_LINE_MAX);
	enum status st = ST_OK;
	if (s->path == NULL || s->text == NULL) {
		st = error_set(err, ST_FAILED, "no memory to read %s", path);
	} else {
		s->file = fopen(path, "re");
		if (s->file == NULL && errno != ENOENT)
			st = error_errno(err, ST_FAILED, "cannot open %s", path);
	}
	if (st != ST_OK)
		series_close(s);
	else
		*out = s;
	return st;
}

void series_close(struct series *s)
{
	if (s == NULL)
		return;
	if (s->file != NULL)
		fclose(s->file);
	free(s->path);
	free(s->text);
	free(s);
}

int64_t series_line(const struct series *s)
{
	return s->number;
}

int64_t series_bad_lines(const struct series *s)
{
	return s->bad_lines;
}

/* Reads up to and past a newline; false where the file ends before one. *len: what s->text holds of it; a longer line gives 0. */
static bool read_line(struct series *s, size_t *len)
{
	size_t n = 0;
	bool too_long = false;
	int c;
	while ((c = getc_unlocked(s->file)) != EOF && c != '\n') {
		if (n < SERIES_LINE_MAX)
			s->text[n++] = (char)c;
		else
			too_long = true;
	}
	s->number++;
	*len = too_long ? 0 : n;
	return c == '\n';
}

enum status series_next(struct series *s, json_t **line, struct error *err)
{
	*line = NULL;
	size_t len;
	while (s->file != NULL && read_line(s, &len)) {
		json_t *value = len > 0 ? json_loadb(s->text, len, 0, NULL) : NULL;
		if (json_is_object(value)) {
			*line = value;
			return ST_OK;
		}
		json_decref(value);
		s->bad_lines++;
	}
	if (s->file != NULL && ferror(s->file))
		return error_errno(err, ST_FAILED, "cannot read %s", s->path);
	return ST_OK;
}
