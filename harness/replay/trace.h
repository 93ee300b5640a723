/* Trace files: captured traffic, packed. The format is described in harness/replay/TRACE.md. Written and read in constant memory; a file
 * that was cut off is readable up to there. */
#ifndef PGR_REPLAY_TRACE_H
#define PGR_REPLAY_TRACE_H

#include "base/error.h"
#include "replay/assemble.h"
#include "replay/shape.h"

#include <jansson.h>

#define TRACE_VERSION 1

/* ---- writing ---- */

struct trace_writer;

/* ST_USAGE: path is, by whatever name, one of the n files that are read; "-" among these is standard input. */
enum status trace_check_out(const char *path, const char *const *inputs, size_t n, struct error *err) MUST_CHECK;

/* What is there stays until trace_finish: PATH.part is written, which only its owner can read, and takes the name then. "-" is standard
 * output; pipes and devices are written as it comes. ST_USAGE: it cannot be, or another program is writing it. */
enum status trace_create(const char *path, struct trace_writer **out, struct error *err) MUST_CHECK;

/* Shaped to be the functions of struct assemble_sink; arg is the writer. Errors are kept for trace_finish. */
void trace_add_session(const struct captured_session *s, void *writer);
void trace_add_event(const struct captured *c, void *writer);

/* Writes what is left and meta (whatever the caller wants to find again; borrowed), closes the file, gives it its name and frees the
 * writer. After a failure nothing of it is left, and what was there before stays. */
enum status trace_finish(struct trace_writer *w, const json_t *meta, struct error *err) MUST_CHECK;

/* Frees the writer and removes what it has written; what was there before stays. NULL is fine. */
void trace_abandon(struct trace_writer *w);

/* Also of the traces that are read: for totals. */
int64_t trace_writer_events(const struct trace_writer *w);

/* ---- reading ---- */

struct trace;

struct trace_session {
	uint32_t number;
	uint64_t id;
	int64_t start_ns; /* 0: unknown */
	const char *user, *database, *application, *host;
};

struct trace_shape {
	uint64_t fingerprint; /* 0: libpg_query could not parse it */
	uint32_t number, literals;
	size_t n;
	const char *text; /* with SHAPE_MARK */
};

/* Valid until the trace is closed, but for what is said otherwise. */
struct trace_event {
	enum captured_kind kind;
	bool from_end, no_end; /* as in struct captured */
	const struct trace_session *session;
	int64_t arrival_ns, duration_ns; /* duration -1: unknown */
	int64_t logged_ns;               /* arrival as reckoned from the log; arrival_ns is later where a session's order demands it */
	const struct trace_shape *shape; /* NULL: no statement */
	const struct param *literals;    /* of the shape; until the next call of trace_next */
	const struct param *params;      /* until the next call of trace_next */
	uint32_t n_literals, n_params;
	const char *name, *portal; /* "": unnamed */
	char sqlstate[6];
	int64_t rows;
	size_t file; /* with line: of the log, for failed statements only (else line is 0) */
	int64_t line;
};

struct trace_summary {
	uint32_t blocks;
	int64_t events;
	int64_t bytes;             /* of the file */
	int64_t first_ns, last_ns; /* first arrival, last end */
	bool cut_off;              /* it ends within a block, or without its meta */
};

/* ST_USAGE: it is no trace, or of a newer version. */
enum status trace_open(const char *path, struct trace **out, struct error *err) MUST_CHECK;
void trace_close(struct trace *t);
const struct trace_summary *trace_summary(const struct trace *t);
const json_t *trace_meta(const struct trace *t); /* NULL: cut off */

/* Only events that arrive from then on; before the first trace_next. Blocks that end earlier are not read. */
void trace_seek(struct trace *t, int64_t from_ns);

/* All events in the order in which the log told them, which is that of their ends, instead of by arrival. Before the first trace_next. Those
 * of long statements, which lie in blocks of their own, come within a few milliseconds of their place. */
void trace_in_log_order(struct trace *t);

/* The next event by arrival; those of a session are in their order. false: there is none, or the rest is damaged (*err is then filled,
 * else its status is ST_OK). */
bool trace_next(struct trace *t, struct trace_event *e, struct error *err);

/* The statement of an event, appended. */
void trace_event_text(const struct trace_event *e, struct buf *out);

/* What is read, to be written again: as it was captured, in the session called number, but for its text. Valid as long as what it is of. */
struct captured trace_event_captured(const struct trace_event *e, uint32_t number);
struct captured_session trace_session_captured(const struct trace_session *s, uint32_t number);

#endif
