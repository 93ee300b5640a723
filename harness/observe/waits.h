/* Lock waits put together from three sources: looks at the server, completions that clients report, statements of the migration.
 * Pure bookkeeping: no connection, no clock; all times are given, on the scale of clock_now_ns(). */
#ifndef PGR_OBSERVE_WAITS_H
#define PGR_OBSERVE_WAITS_H

#include <stdbool.h>
#include <stdint.h>

#define WAIT_NONE INT64_MIN  /* a time that is not known */
#define WAIT_SQL_MAX 1000    /* bytes of a statement that are kept, with the terminator */
#define WAIT_BLOCKERS_MAX 32 /* direct blockers kept per wait */
#define WAIT_CHAIN_MAX 32
#define WAITS_MAX 4096      /* waits under observation at once; more are counted and left out */
#define WAIT_NOTES_MAX 8192 /* completions kept until a later look has come back */

enum wait_role { WAIT_ROLE_LOAD, WAIT_ROLE_MIGRATION, WAIT_ROLE_ACTOR, WAIT_ROLE_OBSERVER, WAIT_ROLE_FOREIGN };

/* Sessions of the observer are also those in which checks and comparisons ask. "pgrehearse load v1 pod 2" -> load and version "v1" (written to version, which holds 32 bytes; "" for the other roles). */
enum wait_role wait_role_of(const char *application_name, char *version);
const char *wait_role_name(enum wait_role role);

/* A row of pg_stat_activity. Texts are "" when not known. */
struct wait_session {
	int pid;        /* 0: a prepared transaction */
	bool migration; /* its statements are known, whatever it calls itself; of blockers in a wait_record */
	char application_name[64];
	char backend_type[32];
	char state[32];
	char sql[WAIT_SQL_MAX];
	int64_t xact_start_us; /* as the server wrote it, or WAIT_NONE */
	int64_t xact_start_ns; /* the same on our clock, or WAIT_NONE */
};

struct wait_lock {
	char type[24]; /* as in pg_locks */
	char mode[32];
	char relation[136]; /* "" when not known */
	uint64_t tag;       /* the same for the same lock in the same mode, and hardly for another */
};

struct wait_blocker {
	struct wait_session session;
	char mode[32]; /* held, or asked for where queued; "" when not known */
	bool queued;   /* does not hold the lock either but stands ahead in the queue */
};

/* One session in a first, cheap look at pg_stat_activity. */
struct wait_glance {
	int pid;
	bool waiting;           /* for a heavyweight lock */
	bool row;               /* it waits for a row, that is for the transaction that locked it, or in the queue for that */
	int64_t query_start_us; /* tells one statement from the next */
	uint64_t event;         /* hash of wait_event: tells one kind of lock from another */
	char state[32];
};

/* A look was sent at from and had come back at to; what it shows was true somewhere in between. */
struct wait_look {
	int64_t from_ns, to_ns;
	const struct wait_glance *sessions; /* all that wait, and those that were asked for by waits_watched and still exist */
	int n;
};

/* One waiting session in the second, dear look (pg_locks, pg_blocking_pids). */
struct wait_seen {
	struct wait_session session;
	int64_t start_us; /* pg_locks.waitstart as the server wrote it, or WAIT_NONE */
	int64_t start_ns; /* the same on our clock, or WAIT_NONE */
	int64_t error_ns; /* of the mapping between the clocks */
	struct wait_lock lock;
	struct wait_blocker *blockers;
	int blockers_n;
};

/* A client's statement that has ended. Names may be NULL; they are kept as pointers. */
struct wait_note {
	int pid;
	int64_t sent_ns, done_ns;
	char sqlstate[6];
	const char *version, *transaction, *statement;
};

enum wait_end { WAIT_GRANTED, WAIT_TIMEOUT, WAIT_DEADLOCK, WAIT_CANCELLED, WAIT_LOST, WAIT_UNFINISHED, WAIT_UNKNOWN };
const char *wait_end_name(enum wait_end end);

/* A wait that has ended, as told to the emit function; everything in it lives until that returns. */
struct wait_record {
	int64_t start_ns, length_ns;
	int64_t bound_ns; /* the length is right to this */
	bool exact;       /* the start is the server's own, the end the client's completion */
	enum wait_end ended;
	const struct wait_session *waiter;
	enum wait_role role;
	const char *version, *transaction, *statement; /* NULL when not known */
	const struct wait_lock *lock;
	const struct wait_blocker *blockers;
	int blockers_n;
	const struct wait_blocker *root; /* NULL when there are no blockers */
	const int *chain;
	int chain_n;
	int64_t seen_ns; /* when the blockers were last seen so; xact ages count up to here */
	int64_t blamed;  /* id of a migration statement, 0 = none */
};

struct waits;
struct waits_config {
	bool has_waitstart; /* PostgreSQL 14 and later */
	int64_t refresh_ns; /* how often the dear look is repeated for a session that keeps waiting, in a crowd; 0 = 100 ms */
	void (*emit)(const struct wait_record *record, void *arg);
	void *arg;
};

struct waits *waits_create(const struct waits_config *config);
void waits_free(struct waits *w);

/* The server's version may be learnt later, or change with a reconnect. */
void waits_set_waitstart(struct waits *w, bool has_waitstart);

/* The rhythm of a round: waits_watched -> cheap look -> waits_look -> waits_wanted -> dear look where any is wanted -> waits_detail ->
 * waits_settle. Notes and statements may come at any time. When a round fails, or none can be done for a while, the next one takes up
 * where the last one ended: what is not known about the time between shows in bound_ns. */

/* Sessions that were waiting by the last round: the cheap look is to report them even when they wait no more. At most max. */
int waits_watched(const struct waits *w, int *pids, int max);

void waits_look(struct waits *w, const struct wait_look *look);

/* Sessions whose locks should be read now: those just found waiting, and those whose last dear look is a while ago. */
int waits_wanted(struct waits *w, int *pids, int max);

/* Is one of those that waits_wanted returns in a wait that must not be missed? Sessions that wait for a row only may be passed over: with many
 * clients on few rows that is how they spend their time, and looking at each of them would cost more than they do. One that waits
 * still when there is time for it is recorded with its true start. */
bool waits_urgent(const struct waits *w);

/* Does anybody wait for something else than a row, as of the last look? */
bool waits_for_more_than_rows(const struct waits *w);

/* No dear look is done in this round though some were wanted: those just found are counted. */
void waits_pass_over(struct waits *w);

/* Is a statement of the migration under way? */
bool waits_migrating(const struct waits *w);

/* asked: what waits_wanted returned; rows: those of them that were still waiting. */
void waits_detail(struct waits *w, int64_t from_ns, int64_t to_ns, const int *asked, int asked_n, const struct wait_seen *rows, int n);

void waits_note(struct waits *w, const struct wait_note *note);

/* A migration statement begins (end_ns 0) or has ended, see observer.h; its end is a completion like any other. */
void waits_statement(struct waits *w, int64_t id, int pid, int64_t start_ns, int64_t end_ns, const char *sqlstate);

/* A migration statement of a session that is not ours is seen to be over: waits_statement said its beginning only, since its end is known from
 * the server and is no completion that the client reported. */
void waits_statement_over(struct waits *w, int64_t id, int pid, int64_t end_ns);

/* A lock on a relation that the transaction of migration statement `id` held right after it, and before it went on; of a session that is not
 * ours one that was first seen held while it was the latest. */
struct wait_hold {
	char relation[136];
	char mode[32];
};
void waits_hold(struct waits *w, int64_t id, int pid, const struct wait_hold *hold);

/* The migration statement of the session's transaction that stands in the way of `wanted`, or 0: the first that was seen to hold a lock
 * against it (of a row the first that wrote to its table, where that is known), else the latest. An ALTER TABLE is blamed for what it locks,
 * though the transaction has long gone on to the next statement. */
int64_t waits_find_culprit(const struct waits *w, const struct wait_session *session, const struct wait_lock *wanted, int64_t at_ns);

/* The latest migration statement that was under way at some time between the two and was seen to hold a lock against `wanted`, or 0. */
int64_t waits_find_locker(const struct waits *w, const struct wait_lock *wanted, int64_t from_ns, int64_t to_ns);

/* Emits the waits whose end is settled. A load session's wait is kept for its completion, which brings the names, for at most 10 s
 * after the server showed it gone; a migration's for 1 s. */
void waits_settle(struct waits *w, int64_t now_ns);

/* Emits everything: waits still open as unfinished. */
void waits_finish(struct waits *w, int64_t now_ns);

struct waits_state {
	int waiting;          /* sessions waiting in the last look */
	int64_t longest_ns;   /* longest that a wait had lasted when seen or ended, since the last call of waits_take_state */
	int waiting_max;      /* most in one look, since then */
	uint64_t emitted;     /* since the start */
	uint64_t passed_over; /* sightings of sessions that waited for a row and were not asked about; since the start */
	uint64_t overflowed;  /* waits and completions left out for want of room, since the start */
};
struct waits_state waits_take_state(struct waits *w);

#endif
