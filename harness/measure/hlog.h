/* HdrHistogram interval logs, version 1.2 with V2 compressed payloads: writing them, and reading them back from files that may be cut or hostile. */
#ifndef PGR_MEASURE_HLOG_H
#define PGR_MEASURE_HLOG_H

#include "base/buf.h"
#include "base/error.h"
#include "measure/hist.h"

#include <stdint.h>
#include <stdio.h>

/* Longest line that is written or accepted, in bytes: all slots in use need less, however badly they compress. */
#define HLOG_LINE_MAX (1 << 20)

/*
 * A line is "Tag=T,start,length,max,payload": start and length in seconds, max in milliseconds, the payload in base64. We write the
 * times with nine decimals and max with six, so that all three come back to the nanosecond; HdrHistogram's readers take any number.
 *
 * What a line does not carry: the exact minimum (comes back as the lowest value of its slot), the exact sum (comes back from the
 * slots' middles) and how many values were saturated (comes back as 1 when max tells that there were any). The exact maximum does come back.
 */

/* Appends the header lines. start_wall_ns: clock_wall_ns() at the zero of all start_ns. Overflow is in out. */
void hlog_format_header(struct buf *out, int64_t start_wall_ns);

/*
 * Appends one line. tag: "" for none; commas, white space and control characters are refused (ST_USAGE). Times in nanoseconds since
 * the start, not negative, end_ns >= start_ns. ST_FAILED when memory ran out or out is full; nothing is appended on any error.
 */
enum status hlog_format_line(
	struct buf *out, const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *h, struct error *err) MUST_CHECK;

/* The same two straight into a file; ST_FAILED when that fails. */
enum status hlog_write_header(FILE *file, int64_t start_wall_ns, struct error *err) MUST_CHECK;
enum status hlog_write(FILE *file, const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *h, struct error *err) MUST_CHECK;

struct hlog_reader;

struct hlog_line {
	const char *tag;  /* "" when it has none */
	int64_t start_ns; /* since the start of the log */
	int64_t end_ns;
	const struct hist *hist; /* NULL: the end of the log */
};

/* Opens a log; ST_FAILED when it cannot be. An empty file is a log without lines. */
enum status hlog_open(const char *path, struct hlog_reader **out, struct error *err) MUST_CHECK;

/* Reads from file, which the reader closes in the end (on an error here too); name is used in messages. */
enum status hlog_open_stream(FILE *file, const char *name, struct hlog_reader **out, struct error *err) MUST_CHECK;

/* NULL is fine. */
void hlog_close(struct hlog_reader *r);

/*
 * The next line, or out->hist NULL at the end; a last line that was cut short is taken for the end. tag and hist belong to the reader
 * and last until the next call. ST_FAILED names a line that could not be read; the call after it goes on with the line behind it, so
 * that a caller may count such lines and continue. Histograms of other writers are read when they have three digits and a lowest value
 * of 1, and refused otherwise.
 */
enum status hlog_next(struct hlog_reader *r, struct hlog_line *out, struct error *err) MUST_CHECK;

/* Wall clock of the log's start as its header tells it, as far as lines were read; 0 when unknown. */
int64_t hlog_start_wall_ns(const struct hlog_reader *r);

#endif
