/* All SQL of the observer, with the versions that it serves, and the reading of what comes back. */
#ifndef PGR_OBSERVE_QUERIES_H
#define PGR_OBSERVE_QUERIES_H

#include "base/error.h"
#include "base/vec.h"
#include "observe/clockmap.h"
#include "observe/observer.h"
#include "observe/waits.h"
#include "runtime/session.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* Sent after each connect. Keeps the observer's own statements short and off other people's locks. */
extern const char QUERY_SETTINGS[];

/* What the server is and what we may see there. Reader: queries_read_server. */
extern const char QUERY_SERVER[];

struct server_facts {
	int version_num; /* 150014 */
	bool in_recovery;
	bool sees_all; /* member of pg_read_all_stats (through pg_monitor), or superuser */
	char role[64];
};
bool queries_read_server(const PGresult *result, struct server_facts *out);

/* The cheap look: $1 int4[] are the sessions to report in any case. */
extern const struct session_statement QUERY_GLANCE;

/* The same where no session is to be reported in any case. */
extern const struct session_statement QUERY_GLANCE_AT_ANY;

/* glances is filled anew. *server_us: the server's clock as it ran. False when the result has another shape. */
typedef VEC(struct wait_glance) glance_vec;
bool queries_read_glance(const PGresult *result, glance_vec *glances, int64_t *server_us);

/* The dear look: $1 int4[] are the waiting sessions whose locks and blockers are asked for. waitstart exists since 14. */
extern const struct session_statement QUERY_DETAIL;     /* 14 and later */
extern const struct session_statement QUERY_DETAIL_OLD; /* 12 and 13 */

/* rows is filled anew; their blockers point into blockers. Times are mapped by map, which must be ready. */
typedef VEC(struct wait_seen) seen_vec;
typedef VEC(struct wait_blocker) blocker_vec;
bool queries_read_detail(const PGresult *result, const struct clockmap *map, seen_vec *rows, blocker_vec *blockers);

/* "{1,2,3}" for $1; as many as fit when 12 bytes a pid and 16 more are not there. */
void queries_format_pids(const int *pids, int n, char *out, size_t size);

/* Replication as the primary sees it, and where its WAL ends. */
extern const struct session_statement QUERY_REPLICATION;

struct standby_facts {
	char name[64]; /* application_name, and where several share it their own ("main@10.0.0.7", "main@local#2") */
	bool shared;
	int64_t sent_bytes, write_bytes, flush_bytes, replay_bytes; /* behind the end of WAL; -1 = not known */
	int64_t replay_lag_ns;                                      /* by the rule in observer.h; -1 = not known */
};
typedef VEC(struct standby_facts) standby_vec;
bool queries_read_replication(const PGresult *result, standby_vec *standbys, int64_t *wal_end_bytes);

/* Replication slots, 13 and later. */
extern const struct session_statement QUERY_SLOTS;
typedef VEC(struct observer_slot) slot_vec;
bool queries_read_slots(const PGresult *result, slot_vec *slots);

/* On a standby: queries of this database that replay has cancelled, ever. */
extern const struct session_statement QUERY_CONFLICTS;

/* The heartbeat. QUERY_BEAT: $1 is the sequence number; no row affected means that somebody emptied the table. */
extern const char QUERY_HEARTBEAT_CREATE[];
extern const char QUERY_HEARTBEAT_DROP[];
extern const struct session_statement QUERY_BEAT;
extern const struct session_statement QUERY_HEARTBEAT_READ;

/* What a prober says once, so that what it is refused does not fill the server's log; without effect for others than superusers. */
extern const char QUERY_QUIET[];

/* $1 text[]: tables as SQL has them. Who holds or asks for a lock on one of them that stands in the way of anybody. */
extern const struct session_statement QUERY_HOLDERS;

struct lock_holder {
	char relation[136]; /* as in waits.jsonl */
	char mode[32];
	bool queued;
	struct wait_session session;
};
/* False when there is no such row, or the result has another shape. */
bool queries_read_holder(const PGresult *result, int row, const struct clockmap *map, struct lock_holder *out);

/* $1 text[]: relations as in waits.jsonl that are to be listed in any case. Tables of the application with what was done to them so far. */
extern const struct session_statement QUERY_TABLES;

struct table_facts {
	int64_t oid, activity; /* scans, and rows inserted, updated, deleted; of a partitioned table with those of its partitions */
	bool named;            /* in $1 */
	char relation[136];
	char quoted[300];
};
bool queries_read_table(const PGresult *result, int row, struct table_facts *out);

/* An array of texts for a parameter, built in `out`: queries_begin_array, then one call for each. What does not fit is left out. */
void queries_begin_array(char *out, size_t size);
void queries_add_to_array(const char *text, char *out, size_t size);

/* Do two table-level lock modes ("AccessShareLock") conflict? Modes that are not known conflict with all. */
bool queries_modes_conflict(const char *a, const char *b);

#endif
