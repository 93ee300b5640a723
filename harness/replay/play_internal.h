/* What the two halves of the player share: the schedule (replay/player.c) and the sessions (replay/play_session.c). */
#ifndef PGR_REPLAY_PLAY_INTERNAL_H
#define PGR_REPLAY_PLAY_INTERNAL_H

#include "base/buf.h"
#include "base/vec.h"
#include "replay/play_keys.h"
#include "replay/play_plan.h"
#include "replay/play_prepared.h"
#include "replay/play_record.h"
#include "replay/play_straighten.h"
#include "replay/player.h"
#include "replay/trace.h"
#include "runtime/loop.h"
#include "runtime/session.h"

/* Beyond so many, or so much, what comes for a session that has some already is left out, and counted. */
#define PLAY_QUEUED_MOST 500000
#define PLAY_QUEUED_BYTES_MOST ((int64_t)512 << 20)

/* One event, copied from the trace: the texts lie behind it. */
struct task {
	struct task *next;
	size_t bytes; /* with the texts behind it */
	enum captured_kind kind;
	bool left_out;      /* it only keeps the order: it is not to be sent */
	bool frees_all;     /* what the session has prepared is gone when it has succeeded */
	bool was_busy;      /* its session had something else to do when it fell due */
	int64_t due_ns;     /* PACING_THINK: of the first of a session only */
	int64_t think_ns;   /* after the end of the one before */
	int64_t arrival_ns; /* when captured */
	int64_t captured_ns;
	char captured[6];
	uint32_t class; /* of the record */
	size_t file;
	int64_t line, rows;                       /* rows: -1 unknown */
	const struct session_statement *prepared; /* or NULL */
	const char *sql;
	const struct trace_shape *shape;
	const struct effect *effect;   /* NULL: it has to do with no keys */
	char (*texts)[PLAY_KEY_TEXT];  /* room for each key of the effect */
	uint32_t n_params, n_literals; /* literals are kept only with an effect */
	const char *params[];          /* parameters, then literals */
};

struct replayed {
	struct player *player;
	uint32_t number;
	struct session *session; /* NULL: closed, or given up */
	struct task *first, **last;
	struct task *running;
	struct loop_timer wake;           /* until it is to be opened, or again, or its client has thought */
	char *dsn, *application;          /* until it is opened */
	int64_t sent_ns;                  /* when the running one was sent */
	int64_t done_ns;                  /* when its last statement ended; 0: none has */
	int64_t captured_done_ns;         /* when the last one that was read had ended; 0: none */
	int64_t waiting_ns;               /* since when its next statement waits for other sessions; 0: it does not */
	struct replayed *before, *behind; /* of those that wait, by when they began to */
	int64_t failing_ns;               /* since when connects have failed; 0: the last one did not */
	int64_t retry_ns, pause_ns;       /* when the next one is due (0: none is), and how long to wait before the one after it */
	bool was_ordered;                 /* the running one had waited for other sessions */
	bool took;                        /* in its transaction rows with SKIP LOCKED, perhaps others than in the capture */
	bool refused;                     /* its transaction writes, and may not */
	bool given_up, ending;
};

struct player {
	const struct player_config *config;
	struct player_result *result;
	struct loop *loop;
	struct trace *trace;
	struct capture_matcher *matcher, *reader; /* reader: those that only read, or NULL: all may be sent */
	struct play_plan *plan;                   /* NULL: neither order nor keys */
	struct play_keys *keys;                   /* NULL: they stay as captured */
	struct straightener *straightener;        /* with order: NULL without */
	struct order *order;
	struct play_prepared *prepared;
	struct trace_event event; /* the next one, when has_event */
	bool has_event, ended, ended_early, ending;
	int64_t first_ns, start_ns;
	struct loop_timer due, tick;
	VEC(struct replayed *) sessions;            /* by number; NULL: none */
	VEC(struct session_statement *) statements; /* by shape; NULL: none */
	uint64_t progress;                          /* of the order, when it was last looked at */
	int64_t moved_ns;                           /* when it was another */
	struct session *asker;                      /* for play_look_for_blocked; NULL: not needed yet */
	int64_t asked_of_ns, ask_after_ns;          /* it was asked about the statement sent then; again when that has run for so long */
	struct replayed *first_waiting, *last_waiting;
	unsigned n_statements;
	struct buf sql;
	int64_t queued, queued_bytes, open, in_flight, told, told_ns;
	int64_t done, done_ns; /* statements that had ended, and when it was so many */
	bool user_given, database_given, application_given;
	struct buf dsn;              /* of what asks about the target */
	char *application, *options; /* of the dsn, or ours; options may be "" */
	struct error error;
};

/* When something that was captured then falls due; at once with PACING_ASAP. */
int64_t play_due(const struct player *p, int64_t captured_ns);

/* A session that opens itself when it is due. */
struct replayed *play_open_session(struct player *p, const struct trace_session *s, int64_t due_ns);

/* Puts a statement into its session's queue, and sends it when the session is free for it. */
void play_take_event(struct player *p, struct replayed *r, const struct trace_event *e, int64_t due_ns);

/* Does the next thing, if the session is free for it. */
void play_advance(struct replayed *r);

/* Its next statement goes, whomever it waits for: an ordering violation. took: of rows that were taken with SKIP LOCKED, by nature. */
void play_release(struct replayed *r, bool took);

/* Lets those go that have a lock that the first statement in order waits for (replay/play_blocked.c). */
void play_look_for_blocked(struct player *p);

/* Sends what waits for nobody any more. */
void play_let_ready_go(struct player *p);

/* Asks again for all that wait, and lets those go that have waited for too long while the order did not get on. */
void play_let_waiting_go(struct player *p);

/* What it has not sent yet will not be. */
void play_drop_tasks(struct replayed *r);

/* The target's connection string, with what the captured session had where it names none. */
void play_write_dsn(const struct player *p, const struct trace_session *s, struct buf *dsn);

/* What of the target's connection string is not the captured session's. ST_USAGE: it is none. */
enum status play_look_at_dsn(struct player *p, struct error *err) MUST_CHECK;
void play_free_session(struct replayed *r);

#endif
