/* Messages of a server's log files, one after another: csvlog, jsonlog and stderr, of PostgreSQL 12 to 18, in constant memory. */
#ifndef PGR_REPLAY_LOG_READER_H
#define PGR_REPLAY_LOG_READER_H

#include "base/error.h"
#include "replay/log_entry.h"

struct log_reader;

enum log_format { LOG_FORMAT_GUESS, LOG_FORMAT_CSV, LOG_FORMAT_JSON, LOG_FORMAT_STDERR };

struct log_reader_config {
	const char *const *paths; /* files, plain or packed with gzip or zstd; "-" is standard input. Put into the order of their times */
	size_t n;
	enum log_format format;
	const char *prefix; /* stderr: log_line_prefix; NULL: the one in common use that fits */
	const void *memory; /* for tests: these bytes instead of files, or NULL */
	size_t memory_n;
};

/* ST_USAGE: a file cannot be opened, its format cannot be told, or files are of different formats (which hold the same messages). */
enum status log_reader_open(const struct log_reader_config *config, struct log_reader **out, struct error *err) MUST_CHECK;
void log_reader_close(struct log_reader *r);

/* The next message, or lines that are none (e->trouble). false: there are no more. */
bool log_reader_next(struct log_reader *r, struct log_entry *e);

enum log_format log_reader_format(const struct log_reader *r);
const char *log_format_name(enum log_format format);
const char *log_reader_prefix(const struct log_reader *r); /* stderr; else NULL */
const char *log_reader_path(const struct log_reader *r, size_t file);

/* The first time zone's abbreviation that was taken for UTC; NULL: none. */
const char *log_reader_unknown_zone(const struct log_reader *r);

/* How far it is: bytes read of so many (0: unknown), as they lie on disk. */
void log_reader_progress(const struct log_reader *r, int64_t *done, int64_t *total);

#endif
