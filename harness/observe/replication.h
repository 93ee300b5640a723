/* Replication and WAL: positions as the primary reports them, and a heartbeat row that is read back on each standby. */
#ifndef PGR_OBSERVE_REPLICATION_H
#define PGR_OBSERVE_REPLICATION_H

#include "observe/heartbeat.h"
#include "observe/link.h"
#include "observe/observer.h"
#include "observe/queries.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct replication;

struct standby {
	struct replication *replication;
	struct link link; /* reads the heartbeat; not opened where there is no dsn */
	struct loop_timer look;
	bool configured;
	bool readable; /* has answered once */
	int64_t shown_seq;
	uint64_t looks;
	int64_t conflicts_before;   /* those that were there when we came; -1: not known yet */
	struct observer_lag latest; /* name and bytes as last reported; heartbeat_ns is worked out when asked for */
	struct observer_lag peak;   /* largest since the last replication_collect */
};

struct replication {
	/* Set by the owner, with dsn, warn and statements of the two links; statements, warn, warn_arg serve the standbys too. */
	struct link beat_link;
	struct link status_link;
	char *standby_dsns[OBSERVER_STANDBYS_MAX];

	/* Its own. */
	struct loop *loop;
	pthread_mutex_t lock; /* guards standbys' figures, beats and WAL positions: other threads read them */
	struct heartbeat beats;
	struct standby standbys[OBSERVER_STANDBYS_MAX];
	int standbys_n;
	int64_t wal_end;       /* -1: not known */
	int64_t wal_collected; /* at the last replication_collect */

	struct loop_timer beat, status;
	bool table_ready;
	bool dropping;
	int64_t seq;
	char seq_text[24];
	const char *values[1];
	standby_vec facts;
	bool told_shared;
	uint64_t reports; /* of the primary */
	slot_vec slots_read;
	struct observer_slot slots[OBSERVER_SLOTS_MAX]; /* bytes are the largest since the last replication_collect; guarded by lock */
	struct observer_slot slots_latest[OBSERVER_SLOTS_MAX];
	int slots_n;
	void (*dropped)(struct replication *rep, bool ok);
};

/* names and dsns (elements of dsns may be NULL) are copied. Before replication_start; replication_free undoes it. */
void replication_init(struct replication *rep, const char *const *names, const char *const *dsns, int n);
void replication_free(struct replication *rep);

/* On the loop's thread. */
void replication_start(struct replication *rep, struct loop *loop);
void replication_stop(struct replication *rep);

/* Removes the heartbeat table, then calls dropped, perhaps from inside. */
void replication_drop(struct replication *rep, void (*dropped)(struct replication *rep, bool ok));

/* Any thread. Fills out's lag, standbys and wal_bytes. */
void replication_collect(struct replication *rep, struct observation *out);
int64_t replication_lag_ns(struct replication *rep);
int64_t replication_lag_bytes(struct replication *rep);

#endif
