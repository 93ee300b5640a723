/* One file of JSON lines from a record, pulled line by line: bounded, nothing trusted, a cut end passed over. */
#ifndef PGR_RECORD_SERIES_H
#define PGR_RECORD_SERIES_H

#include "base/error.h"
#include "base/json.h"

#include <stdint.h>

/* Longest line that is read, in bytes. */
#define SERIES_LINE_MAX (1 << 20)

struct series;

/* A file that is missing is a series without lines; one that cannot be opened is ST_FAILED. */
enum status series_open(const char *path, struct series **out, struct error *err) MUST_CHECK;

/* NULL is fine. */
void series_close(struct series *s);

/*
 * The next line that is a JSON object into *line (the caller's), NULL at the end. A last line without its newline is taken for cut and
 * passed over; anything else that is no JSON object, or too long, is counted and passed over. ST_FAILED when the disk fails.
 */
enum status series_next(struct series *s, json_t **line, struct error *err) MUST_CHECK;

/* Where the latest line stands in the file, from 1. */
int64_t series_line(const struct series *s);

/* Lines counted and passed over so far. */
int64_t series_bad_lines(const struct series *s);

#endif
