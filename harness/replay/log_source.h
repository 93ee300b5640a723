/* The bytes of log files one after another: plain, gzip or zstd, files or pipes, in one buffer that a reader looks into. */
#ifndef PGR_REPLAY_LOG_SOURCE_H
#define PGR_REPLAY_LOG_SOURCE_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct log_source;

/* Nothing is read yet. "-" is standard input. The paths must live as long as the source. */
struct log_source *log_source_create(const char *const *paths, size_t n);

/* For tests: the bytes are copied. */
struct log_source *log_source_create_memory(const void *data, size_t size);

void log_source_free(struct log_source *s);

/* Goes on to the next file; what was left of this one is dropped. false: there is none. *err is filled (and true returned) when it
 * cannot be opened: it is then empty. */
bool log_source_next_file(struct log_source *s, struct error *err);

/* What lies in the buffer, which the caller may change in place; valid until the next call of log_source_fill. */
static inline char *log_source_at(const struct log_source *s);
static inline size_t log_source_n(const struct log_source *s);

/* Reads more of this file behind that, at least a byte. false: it has ended, or could not be read further (see log_source_error), or
 * the buffer holds LOG_RECORD_MAX bytes already. */
bool log_source_fill(struct log_source *s);

/* The first n bytes have been dealt with. */
static inline void log_source_take(struct log_source *s, size_t n);

/* What went wrong with this file, once; NULL: nothing. */
const char *log_source_error(struct log_source *s);

bool log_source_at_end(const struct log_source *s); /* of this file: nothing more can be read */
size_t log_source_file(const struct log_source *s); /* number of this file */
const char *log_source_path(const struct log_source *s, size_t file);
int64_t log_source_bytes(const struct log_source *s); /* read so far from all files, as they lie on disk */

/* Of all plain files, or compressed as they lie; 0: unknown, since one is a pipe. */
int64_t log_source_total(const struct log_source *s);

/* ---- */

struct log_source_view {
	char *at;
	size_t n;
};
static inline char *log_source_at(const struct log_source *s)
{
	return ((const struct log_source_view *)(const void *)s)->at;
}
static inline size_t log_source_n(const struct log_source *s)
{
	return ((const struct log_source_view *)(const void *)s)->n;
}
static inline void log_source_take(struct log_source *s, size_t n)
{
	struct log_source_view *view = (struct log_source_view *)(void *)s;
	view->at += n;
	view->n -= n;
}

#endif
