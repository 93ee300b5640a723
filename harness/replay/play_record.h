/* What becomes of replayed statements, by class: counts, latencies, errors beside those of the capture, and both runs second by second. The
 * player's thread writes, another one collects. */
#ifndef PGR_REPLAY_PLAY_RECORD_H
#define PGR_REPLAY_PLAY_RECORD_H

#include "base/vec.h"
#include "replay/trace.h"

#include <stdbool.h>
#include <stdint.h>

struct hist;
struct play_record;

#define PLAY_CLASSES_MAX 400     /* classes beyond these are one, "other" */
#define PLAY_DIVERGENCES_MAX 200 /* kinds of them; those beyond are counted in their class alone */
#define PLAY_SECONDS_MAX 172800  /* of the profiles */
#define PLAY_SQLSTATES_MAX 64

struct play_record *play_record_create(void);
void play_record_free(struct play_record *r);

/* ---- from the player's thread ---- */

/* The class of a statement: to be kept with it. */
uint32_t play_record_class(struct play_record *r, const struct trace_shape *shape);

/* Due times count from start_ns (clock_now_ns()). */
void play_record_start(struct play_record *r, int64_t start_ns);

/* A statement fell due, which took so long when it was captured (-1: unknown). */
void play_record_due(struct play_record *r, uint32_t class, int64_t due_ns, int64_t captured_ns);

/* It will not be sent: its session could not be opened; or (cut) traffic was ended before its turn came, which is no fault of the replay's. */
void play_record_drop(struct play_record *r, uint32_t class, int64_t captured_ns, bool cut);

/* It writes where only reads are wanted: it never falls due. */
void play_record_refuse(struct play_record *r, uint32_t class, int64_t captured_ns);

void play_record_sent(struct play_record *r, uint32_t class);

struct play_done {
	uint32_t class;
	int64_t due_ns, sent_ns, done_ns; /* clock_now_ns() */
	int64_t captured_ns;              /* how long it took when it was captured; -1: unknown */
	const char *captured, *replayed;  /* SQLSTATEs; "00000": it succeeded; "?????": failed, the log does not say how */
	const char *message;              /* of the server, as it may be told */
	int64_t captured_rows, rows;      /* -1: unknown */
	size_t file;
	int64_t line; /* of the log, where the captured one failed; 0: unknown */
	bool busy;    /* its session was not free when it fell due */
	bool ordered; /* it waited for other sessions: no schedule error */
	bool refused; /* by the server, since its session may only read, as was wanted: neither like the capture nor an error */
};
void play_record_done(struct play_record *r, const struct play_done *d);

/* All of the trace has been read. */
void play_record_end(struct play_record *r, int64_t now_ns);

/* ---- from another thread ---- */

struct play_hists {
	struct hist *response_ok, *response_failed, *service_ok, *service_failed; /* NULL: nothing yet */
};

struct play_errors {
	size_t n;
	struct {
		char sqlstate[6];
		uint64_t count;
	} at[PLAY_SQLSTATES_MAX];
};

/* Since the last call; hists belong to the record, until the next call. */
struct play_interval {
	uint64_t planned, started, ok, failed, dropped;
	uint64_t in_flight, backlog; /* as they are now */
	int64_t backlog_age_ns;      /* of the longest queue's head, about; 0 when there is none */
	struct play_errors errors;
	struct hist *late; /* sent less due, where the session was idle */
	size_t n_classes;
	struct play_hists hists[PLAY_CLASSES_MAX + 1]; /* by class */
	struct play_hists total;
};
void play_record_collect(struct play_record *r, struct play_interval *out);

/* The same counts since the start, without histograms; what is collected stays as it is. */
void play_record_totals(struct play_record *r, struct play_interval *out);

/* "select_users_3f2a": the same in every run. "" for a class that there is not. */
const char *play_record_class_name(struct play_record *r, uint32_t class);

/* Calls fn with the text of each class that has been executed. */
void play_record_each_executed(struct play_record *r, void (*fn)(const char *sql, void *arg), void *arg);

/* From here on errors are the migration's, not the replay's: what came before is what fidelity is judged by. */
void play_record_close_baseline(struct play_record *r);

/* Whether all of the trace has been sent, and when (clock_now_ns()). */
bool play_record_has_ended(struct play_record *r, int64_t *at_ns);

/* ---- when the player has ended: all that was counted ---- */

struct play_class {
	uint64_t fingerprint; /* 0: those that cannot be parsed, and "other" */
	char name[80];
	char sql[160];
	char *text; /* as it parses, with 1 for literals; NULL: it does not */
	int64_t planned, dropped, cut, started, same, new_errors, vanished, changed, refused_there; /* ended = same + the four */
	int64_t refused, refused_ns; /* writes that are not among the planned */
	int64_t rows_compared, rows_differ;
	int64_t captured_ns, replayed_ns; /* of statements that succeeded in both and whose time is known in both */
	int64_t dropped_ns, planned_ns;   /* captured time of those that were dropped; of all */
	struct hist *captured, *replayed; /* of the same; NULL: none */
};

struct play_divergence {
	uint32_t class;
	char captured[6], replayed[6];
	int64_t count;
	size_t file;
	int64_t line;
	char message[160];
};

struct play_second {
	uint32_t captured, replayed;          /* arrivals: due, sent */
	int64_t captured_busy, replayed_busy; /* ns of statements under way */
};

/* Errors of all classes; as they were when the baseline was closed, or at the end. */
struct play_gate {
	int64_t ended, new_errors, vanished, changed, rows_compared, rows_differ;
};

struct play_summary {
	size_t n_classes, n_divergences, n_seconds;
	const struct play_class *classes;
	const struct play_divergence *divergences;
	const struct play_second *seconds;
	struct play_gate gate;
	bool baseline; /* the gate is of the baseline alone */
	int64_t unfinished;
	const struct hist *late, *busy;
	int64_t ended_ns; /* the trace's end, since the start; -1: not reached */
};
void play_record_summary(struct play_record *r, struct play_summary *out);

#endif
