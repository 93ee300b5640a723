/* Watches the whole server while a rehearsal runs, from a thread of its own: lock waits (who behind whom, how long),
 * replication lag, WAL. It never ends a run: what it cannot see it warns about once and leaves unknown. */
#ifndef PGR_OBSERVE_OBSERVER_H
#define PGR_OBSERVE_OBSERVER_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OBSERVER_STANDBYS_MAX 16
#define OBSERVER_SLOTS_MAX 32

struct observer;
struct record;

struct observer_config {
	const char *dsn;                  /* of the primary; a role with pg_monitor will do, CREATE on the database for the heartbeat */
	const char *const *standby_dsns;  /* one each; an element may be NULL: no heartbeat is read there */
	const char *const *standby_names; /* as application_name in pg_stat_replication, and as `standby` in the record; standby_facts */
	int standbys;
	struct record *record; /* gets waits and warnings; outlives the observer */
	int64_t period_ns;     /* of the lock samples while the migration is at work or somebody waits for a table; 0 = 10 ms */
	bool no_availability;  /* tables are not probed */
	/* Sessions that are not ours and belong to the migration: LIKE patterns as a text array ("{flyway%,liquibase%}") of their
	 * application_name and of their role; NULL: none. Their statements and locks are followed and blamed. */
	const char *migration_names, *migration_roles;
};

/* Connects, makes the table pgrehearse.heartbeat, starts the thread and returns when the first sample is in. Strings of
 * the configuration are copied. ST_FAILED when the primary cannot be reached; a standby that cannot is only warned about. */
enum status observer_start(const struct observer_config *config, struct observer **out, struct error *err) MUST_CHECK;

/* One client statement that took 1 ms or more, when it has ended. It turns the end of a wait from bounded into exact and says
 * who waited. Any thread; takes a lock for a copy and never waits for the server. pid is the backend's; sqlstate "00000" when it
 * succeeded; the three names are kept as pointers and must live as long as the observer. Notes that come faster than the observer
 * drains them (8,192 between two samples) are dropped and counted. */
void observer_note_slow(struct observer *o, int pid, int64_t sent_ns, int64_t done_ns, const char *sqlstate, const char *version,
	const char *transaction, const char *statement);

/* One attempt of one migration statement: noted when it is about to be sent (end_ns 0), and again with the same id when it ended.
 * Of a session in whose way others stand, the statement is blamed that took the lock, as far as observer_note_locks told which
 * that was; else the latest one. */
struct observer_statement {
	int64_t id;           /* as in events.jsonl, from 1 */
	int pid;              /* of the session's backend */
	const char *sql;      /* copied */
	int64_t start_ns;     /* clock_now_ns() scale */
	int64_t end_ns;       /* 0: it begins */
	const char *sqlstate; /* of the end; NULL while it lasts */
	bool in_transaction;  /* of several statements: what it locked is read by its own session, unless it fails */
};
void observer_note_statement(struct observer *o, const struct observer_statement *st);

/* The locks on relations that the transaction of statement `id` held right after it, before it went on: n of them, copied. */
struct observer_lock {
	const char *relation; /* as in waits.jsonl: without its schema when that is public */
	const char *mode;     /* as in pg_locks */
};
void observer_note_locks(struct observer *o, int64_t id, int pid, const struct observer_lock *locks, int n);

/* A command that the migration runs beside us: sessions that this process or one below it opens are followed and blamed like those of
 * `migration_names`, as part of the step, whatever they call themselves. What is over between two looks (10 ms) is not seen. Clients on this
 * machine only (a container is another); over a unix socket the server must be on it too, and run as our user or we as root. What cannot
 * be told is warned about once. */
struct observer_command {
	pid_t pid;
	const char *step, *direction; /* copied; for the record */
};
void observer_watch_command(struct observer *o, const struct observer_command *command);

/* It has ended: sessions that it opened are followed until they are gone, new ones are not looked for. */
void observer_unwatch_command(struct observer *o, pid_t pid);

/* A phase begins, and the one before it ends; NULL: none begins. What the server was like is summed up by phase. Any thread. */
void observer_note_phase(struct observer *o, const char *name);

/* Replication of one standby. -1 = not known. */
struct observer_lag {
	char standby[64];
	int64_t sent_bytes; /* how far what was sent, written, flushed, replayed lies behind pg_current_wal_lsn() */
	int64_t write_bytes;
	int64_t flush_bytes;
	int64_t replay_bytes;
	int64_t heartbeat_ns;  /* age of the oldest heartbeat that is committed on the primary and that the standby was not seen to show;
	                          * 0 when it shows all. Heartbeats and looks are 100 ms and 50 ms apart, which is the resolution. A
	                          * standby that stops answering keeps ageing; one that never answered is -1 */
	int64_t replay_lag_ns; /* the server's own: 0 when replay_bytes is 0, -1 when the server says NULL with bytes outstanding */
	int64_t conflicts;     /* queries that replay has cancelled there since the start; read once a second */
};

/* A replication slot, by samples taken each second. -1 = not known. */
struct observer_slot {
	char slot[64];
	bool active;
	char wal_status[16];     /* "reserved", "extended", "unreserved", "lost"; "" when it reserves nothing */
	int64_t restart_bytes;   /* of WAL that is kept for it */
	int64_t confirmed_bytes; /* how far a logical one is behind */
};

/* What happened since the last observer_collect (the first: since the start). Lags are the largest of the samples since then. */
struct observation {
	int64_t start_ns, end_ns; /* clock_now_ns() scale */
	int standbys;
	struct observer_lag lag[OBSERVER_STANDBYS_MAX]; /* those configured in their order, then others that the primary names */
	int slots;
	struct observer_slot slot[OBSERVER_SLOTS_MAX];
	int64_t wal_bytes;       /* written; by the samples taken each 100 ms; -1 = not known */
	int waiting;             /* most sessions that waited for a lock in one sample */
	int64_t longest_wait_ns; /* longest that a wait had lasted when it was last seen or ended */
	double cpu_share;        /* of one core, by the observer's thread */
};

/* Any thread, one caller. Does not wait for the server. */
void observer_collect(struct observer *o, struct observation *out);

/* The field `lag` of an interval line; a new reference. */
json_t *observation_lag_json(const struct observation *seen);

/* The field `slots`; a new reference. */
json_t *observation_slots_json(const struct observation *seen);

/* The worst standby now, for throttles; -1 = not known (no standby, or none that answers). Any thread, cheap. The first is by
 * heartbeat where one is read, else the server's replay_lag. */
int64_t observer_replay_lag_ns(struct observer *o);
int64_t observer_replay_lag_bytes(struct observer *o);

/* Sessions that wait for a lock as of the last sample. Any thread, cheap. */
int observer_waiting(struct observer *o);

/* The field `server` of an interval, when there is a reading since the last call, else NULL; a new reference. Any thread, one caller. */
json_t *observer_take_server_json(struct observer *o);

/* What long command is under way, in words; "" when none is. Any thread. */
void observer_describe_progress(struct observer *o, char *out, size_t size);

/* Does the server run on this machine, as far as its address tells? */
bool observer_is_local(struct observer *o);

/* Tables whose availability is measured as of now. Any thread, cheap. */
int observer_tables(struct observer *o);

struct observer_totals {
	int64_t period_ns;
	int64_t rest_period_ns; /* the same while nothing of the migration is under way and nobody waits for more than a row */
	int64_t samples;        /* taken */
	int64_t missed;         /* ticks at which the sample before was not back yet */
	int64_t statements;     /* sent to primary and standbys, all told */
	int64_t cpu_ns;         /* of the observer's thread */
	int64_t waits;          /* lines written to waits.jsonl */
	int64_t notes_dropped;  /* see observer_note_slow */
	int64_t passed_over;    /* see waits_pass_over: sightings of waits for rows that nobody was asked about, to save time */
};

/* The field `observer` of run.json; a new reference. */
json_t *observer_totals_json(const struct observer_totals *totals);

/* Writes the waits that have not ended (as `unfinished`), drops schema pgrehearse's heartbeat, ends the thread, frees o (also when it
 * returns an error: then the heartbeat table may be left behind). out may be NULL. Waits at most 5 s for the server. */
enum status observer_stop(struct observer *o, struct observer_totals *out, struct error *err);

#endif
