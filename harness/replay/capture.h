/* From a server's logs to a trace, and from a trace to a part of it. */
#ifndef PGR_REPLAY_CAPTURE_H
#define PGR_REPLAY_CAPTURE_H

#include "base/error.h"
#include "replay/log_reader.h"
#include "replay/loss.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct trace_event;

struct capture_config {
	struct log_reader_config logs;
	const char *out;                                          /* the trace; NULL: only count */
	const volatile sig_atomic_t *stop;                        /* ends it early when not 0, or NULL */
	void (*progress)(int64_t done, int64_t total, void *arg); /* now and then, bytes; total 0: unknown. Or NULL */
	void *arg;
};

struct capture_result {
	struct loss loss;
	int64_t statements, sessions;
	int64_t first_ns, last_ns; /* first arrival, last end */
	int64_t log_bytes;         /* as they lay on disk */
	enum log_format format;
	char prefix[256]; /* stderr */
	char unknown_zone[12];
	bool misread; /* not one line begins as those of its format: no trace was written */
};

/* ST_USAGE as log_reader_open and trace_check_out; ST_FAILED: the trace cannot be written; ST_INTERRUPTED. No file is left then, and one that was
 * there before stays. */
enum status capture_logs(const struct capture_config *config, struct capture_result *out, struct error *err) MUST_CHECK;

/* What of a trace is wanted. NULL and 0: any. */
struct capture_filter {
	const char *user, *database, *application;
	uint64_t fingerprint;
	int64_t from_ns, to_ns; /* arrival, behind the trace's first one; to_ns exclusive */
	bool read_only;         /* statements that by their words only read; see capture_reads_only */
};

/* A fingerprint as `trace info` shows it: 16 hexadecimal digits. */
enum status capture_read_class(const char *text, uint64_t *fingerprint, struct error *err) MUST_CHECK;

struct capture_matcher;
struct capture_matcher *capture_matcher_create(const struct capture_filter *filter, int64_t first_ns);
void capture_matcher_free(struct capture_matcher *m);
bool capture_matches(struct capture_matcher *m, const struct trace_event *e);

/* SELECT without FOR UPDATE and INTO, SHOW, SET, EXPLAIN without ANALYZE, and what begins and ends transactions. What its functions do
 * is not known. */
bool capture_reads_only(const char *sql);

/* What becomes of texts and values on the way; NULL: they stay. */
struct anonymizer;

/* Writes what matches to another trace, which may not be the same file. *kept: how many events. */
enum status capture_rewrite(const char *from, const char *to, const struct capture_filter *filter, struct anonymizer *anonymizer,
	const volatile sig_atomic_t *stop, int64_t *kept, struct error *err) MUST_CHECK;

#endif
