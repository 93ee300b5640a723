/* The loss ledger: every line of a log has a class, and what is not represented in the capture is told with the time that it took. */
#ifndef PGR_REPLAY_LOSS_H
#define PGR_REPLAY_LOSS_H

#include "replay/log_entry.h"

#include <jansson.h>

enum loss_class {
	/* represented */
	LOSS_STATEMENT,  /* a statement's text, with or without its duration */
	LOSS_COMPLETION, /* the duration of a statement told before */
	LOSS_STEP,       /* parse and bind: of a statement that is there, or made again at its first execution */
	LOSS_ERROR,      /* the error of a statement that is there */
	LOSS_CONNECTION, /* connections opened and closed */
	LOSS_KEPT,       /* how many classes are represented: those above */

	/* not represented */
	LOSS_COPY = LOSS_KEPT, /* COPY with the client: its data is not logged */
	LOSS_FASTPATH,         /* function calls of the fast path: large objects */
	LOSS_DURATION,         /* durations without their statement */
	LOSS_PARAMS,           /* statements whose parameters were not logged */
	LOSS_ERROR_ALONE,      /* errors without their statement */
	LOSS_REPLICATION,      /* commands of the replication protocol */
	LOSS_REFUSED,          /* connections that were not let in */
	LOSS_TELLING,          /* what the server tells about statements: lock waits, temporary files, plans */
	LOSS_NOTICE,           /* notices, warnings, debug messages */
	LOSS_SERVER,           /* of the server's own processes */
	LOSS_SESSION,          /* other messages of sessions */
	LOSS_LANGUAGE,         /* statements, durations and severities in a language that is not read */
	LOSS_BROKEN,           /* records that were cut off or damaged */
	LOSS_ALIEN,            /* lines of other writers */
	LOSS_LONG,             /* messages of over LOG_RECORD_MAX */
	LOSS_REPEATED,         /* messages that were read before, by the numbers that sessions give theirs */
	LOSS_ORPHAN,           /* details without their message */
	LOSS_FILE,             /* rests of files that could not be read; no lines are known */
	LOSS_CLASSES,
};

struct loss_row {
	int64_t messages, lines;
	int64_t busy_ns; /* what the statements took, where the log says so */
	size_t file;     /* where the first one is */
	int64_t line;
	char sample[120];
};

struct loss {
	struct loss_row rows[LOSS_CLASSES];
	int64_t lines;       /* of the whole log, counted by the reader: the sum of the rows, unless something is wrong */
	int64_t missing;     /* messages that are not in the log, by the numbers that sessions give theirs */
	int64_t perhaps_cut; /* parameters that end in "...", as log_parameter_max_length leaves them */
	int64_t steps_back;  /* times that the log's clock went back by over a second */
	int64_t no_duration; /* statements whose duration is not in the log */
	int64_t evicted;     /* sessions that were taken for ended, since there were too many to remember */
};

const char *loss_class_name(enum loss_class c); /* one word: "copy" */
const char *loss_class_text(enum loss_class c); /* for people */

void loss_count(struct loss *loss, enum loss_class c, const struct log_entry *e);
void loss_add_busy(struct loss *loss, enum loss_class c, int64_t ns);

/* Time of statements in the capture, and of those that are not. */
int64_t loss_busy_kept_ns(const struct loss *loss);
int64_t loss_busy_lost_ns(const struct loss *loss);
bool loss_adds_up(const struct loss *loss);

/* The ledger as the trace keeps it. The caller owns the answer. */
json_t *loss_json(const struct loss *loss);

#endif
