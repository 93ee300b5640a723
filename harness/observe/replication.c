/* Replication and WAL. Three rhythms: a heartbeat every 100 ms, a report of the primary every 200 ms, a look at each standby every 50 ms;
 * each has a session of its own, so that none waits for another. */
#define _GNU_SOURCE
#include "observe/replication.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BEAT_NS (100 * NS_PER_MS)
#define STATUS_NS (200 * NS_PER_MS)
#define LOOK_NS (50 * NS_PER_MS)
#define SLOTS_EVERY 5                   /* reports of the primary */
#define CONFLICTS_EVERY 20              /* looks */
#define LOOK_AGAIN_NS (500 * NS_PER_MS) /* where the table is not there yet, or may not be read */

static const struct observer_lag NOTHING = {"", -1, -1, -1, -1, -1, -1, -1};

static struct standby *add_standby(struct replication *rep, const char *name, bool configured)
{
	struct standby *sb = &rep->standbys[rep->standbys_n++];
	sb->replication = rep;
	sb->configured = configured;
	sb->conflicts_before = -1;
	sb->latest = NOTHING;
	snprintf(sb->latest.standby, sizeof sb->latest.standby, "%s", name);
	sb->peak = sb->latest;
	return sb;
}

void replication_init(struct replication *rep, const char *const *names, const char *const *dsns, int n)
{
	pthread_mutex_init(&rep->lock, NULL);
	rep->wal_end = rep->wal_collected = -1;
	for (int i = 0; i < n && i < OBSERVER_STANDBYS_MAX; i++) {
		add_standby(rep, names[i], true);
		if (dsns != NULL && dsns[i] != NULL && (rep->standby_dsns[i] = strdup(dsns[i])) == NULL)
			abort();
	}
}

void replication_free(struct replication *rep)
{
	for (int i = 0; i < OBSERVER_STANDBYS_MAX; i++)
		free(rep->standby_dsns[i]);
	VEC_FREE(&rep->facts);
	VEC_FREE(&rep->slots_read);
	pthread_mutex_destroy(&rep->lock);
}

/* ---- figures; all with the lock held ---- */

static void raise_to(int64_t *peak, int64_t value)
{
	if (value > *peak)
		*peak = value;
}

static void raise_peak(struct observer_lag *peak, const struct observer_lag *seen)
{
	raise_to(&peak->sent_bytes, seen->sent_bytes);
	raise_to(&peak->write_bytes, seen->write_bytes);
	raise_to(&peak->flush_bytes, seen->flush_bytes);
	raise_to(&peak->replay_bytes, seen->replay_bytes);
	raise_to(&peak->heartbeat_ns, seen->heartbeat_ns);
	raise_to(&peak->replay_lag_ns, seen->replay_lag_ns);
	raise_to(&peak->conflicts, seen->conflicts);
}

static int64_t heartbeat_of(const struct standby *sb, int64_t now_ns)
{
	const struct heartbeat *beats = &sb->replication->beats;
	return sb->readable && beats->n > 0 ? heartbeat_lag_ns(beats, sb->shown_seq, now_ns) : -1;
}

/* ---- the primary's report ---- */

static void forget_positions(struct replication *rep)
{
	pthread_mutex_lock(&rep->lock);
	for (int i = 0; i < rep->standbys_n; i++) {
		struct observer_lag *latest = &rep->standbys[i].latest;
		latest->sent_bytes = latest->write_bytes = latest->flush_bytes = latest->replay_bytes = latest->replay_lag_ns = -1;
	}
	pthread_mutex_unlock(&rep->lock);
}

static struct standby *find_standby(struct replication *rep, const char *name)
{
	for (int i = 0; i < rep->standbys_n; i++)
		if (strcmp(rep->standbys[i].latest.standby, name) == 0)
			return &rep->standbys[i];
	return rep->standbys_n < OBSERVER_STANDBYS_MAX ? add_standby(rep, name, false) : NULL;
}

static void take_positions(struct replication *rep, int64_t wal_end)
{
	forget_positions(rep);
	pthread_mutex_lock(&rep->lock);
	rep->wal_end = wal_end;
	if (rep->wal_collected < 0)
		rep->wal_collected = wal_end;
	for (size_t i = 0; i < rep->facts.n; i++) {
		const struct standby_facts *facts = &rep->facts.at[i];
		struct standby *sb = find_standby(rep, facts->name);
		if (sb == NULL)
			continue;
		struct observer_lag *latest = &sb->latest;
		latest->sent_bytes = facts->sent_bytes;
		latest->write_bytes = facts->write_bytes;
		latest->flush_bytes = facts->flush_bytes;
		latest->replay_bytes = facts->replay_bytes;
		latest->replay_lag_ns = facts->replay_lag_ns;
		raise_peak(&sb->peak, latest);
	}
	pthread_mutex_unlock(&rep->lock);
}

static void warn_of_shared_names(struct replication *rep)
{
	for (size_t i = 0; i < rep->facts.n && !rep->told_shared; i++) {
		if (!rep->facts.at[i].shared)
			continue;
		char text[300];
		snprintf(text, sizeof text,
			"several standbys have the same name, one is told as %s (address and order of connecting); cluster_name or application_name "
			"in primary_conninfo makes their names differ",
			rep->facts.at[i].name);
		rep->status_link.warn(text, rep->status_link.warn_arg);
		rep->told_shared = true;
	}
}

static void take_slots(struct replication *rep)
{
	pthread_mutex_lock(&rep->lock);
	int n = rep->slots_read.n < OBSERVER_SLOTS_MAX ? (int)rep->slots_read.n : OBSERVER_SLOTS_MAX;
	for (int i = 0; i < n; i++) {
		struct observer_slot *now = &rep->slots_read.at[i];
		rep->slots_latest[i] = *now;
		for (int k = 0; k < rep->slots_n; k++) {
			if (strcmp(rep->slots[k].slot, now->slot) == 0) {
				raise_to(&now->restart_bytes, rep->slots[k].restart_bytes);
				raise_to(&now->confirmed_bytes, rep->slots[k].confirmed_bytes);
			}
		}
	}
	for (int i = 0; i < n; i++)
		rep->slots[i] = rep->slots_read.at[i];
	rep->slots_n = n;
	pthread_mutex_unlock(&rep->lock);
}

static void on_slots(struct session *s, void *arg)
{
	struct replication *rep = container_of(arg, struct replication, status_link);
	if (link_went_well(&rep->status_link, "asking for replication slots") &&
		queries_read_slots(session_outcome(s)->result, &rep->slots_read))
		take_slots(rep);
}

static void on_status(struct session *s, void *arg)
{
	struct replication *rep = container_of(arg, struct replication, status_link);
	int64_t wal_end;
	if (link_went_well(&rep->status_link, "asking for replication") &&
		queries_read_replication(session_outcome(s)->result, &rep->facts, &wal_end)) {
		warn_of_shared_names(rep);
		take_positions(rep, wal_end);
	}
	if (rep->reports++ % SLOTS_EVERY == 0)
		link_execute(&rep->status_link, &QUERY_SLOTS, NULL, on_slots);
}

static void on_status_timer(struct loop_timer *t)
{
	struct replication *rep = container_of(t, struct replication, status);
	loop_timer_set(rep->loop, t, clock_now_ns() + STATUS_NS);
	link_execute(&rep->status_link, &QUERY_REPLICATION, NULL, on_status);
}

/* At once: what WAL is written from now on counts. */
static void on_status_up(struct link *link)
{
	struct replication *rep = container_of(link, struct replication, status_link);
	loop_timer_set(rep->loop, &rep->status, clock_now_ns());
}

static void on_status_down(struct link *link)
{
	forget_positions(container_of(link, struct replication, status_link));
}

/* ---- the heartbeat ---- */

static void on_dropped(struct session *s, void *arg)
{
	(void)s;
	struct replication *rep = container_of(arg, struct replication, beat_link);
	rep->dropped(rep, link_went_well(&rep->beat_link, "removing the heartbeat table"));
}

static void drop_now(struct replication *rep)
{
	if (!link_query(&rep->beat_link, QUERY_HEARTBEAT_DROP, on_dropped))
		rep->dropped(rep, false);
}

static void on_table(struct session *s, void *arg)
{
	(void)s;
	struct replication *rep = container_of(arg, struct replication, beat_link);
	rep->table_ready = link_went_well(
		&rep->beat_link, "making the table pgrehearse.heartbeat, without which lag in time is not measured");
	if (rep->dropping)
		drop_now(rep);
}

static void on_beat(struct session *s, void *arg)
{
	struct replication *rep = container_of(arg, struct replication, beat_link);
	const struct session_outcome *out = session_outcome(s);
	if (link_went_well(&rep->beat_link, "writing the heartbeat")) {
		rep->table_ready = out->rows == 1;
		pthread_mutex_lock(&rep->lock);
		if (out->rows == 1)
			heartbeat_commit(&rep->beats, rep->seq, out->done_ns);
		pthread_mutex_unlock(&rep->lock);
	} else if (strcmp(out->sqlstate, "42P01") == 0 || strcmp(out->sqlstate, "3F000") == 0) {
		rep->table_ready = false;
	}
	if (rep->dropping)
		drop_now(rep);
}

static void on_beat_timer(struct loop_timer *t)
{
	struct replication *rep = container_of(t, struct replication, beat);
	loop_timer_set(rep->loop, t, clock_now_ns() + BEAT_NS);
	if (!rep->beat_link.is_up || rep->beat_link.busy)
		return; /* a beat that takes long is not joined by others: the standby is not to blame */
	if (!rep->table_ready) {
		loop_timer_set(rep->loop, t, clock_now_ns() + LOOK_AGAIN_NS);
		link_query(&rep->beat_link, QUERY_HEARTBEAT_CREATE, on_table);
		return;
	}
	snprintf(rep->seq_text, sizeof rep->seq_text, "%lld", (long long)++rep->seq);
	link_execute(&rep->beat_link, &QUERY_BEAT, rep->values, on_beat);
}

static void on_beat_up(struct link *link)
{
	struct replication *rep = container_of(link, struct replication, beat_link);
	rep->table_ready = false;
	link_query(link, QUERY_HEARTBEAT_CREATE, on_table);
}

void replication_drop(struct replication *rep, void (*dropped)(struct replication *rep, bool ok))
{
	rep->dropped = dropped;
	rep->dropping = true;
	loop_timer_cancel(rep->loop, &rep->beat);
	if (!rep->beat_link.busy || !rep->beat_link.is_up)
		drop_now(rep);
}

/* ---- standbys ---- */

static void on_look(struct session *s, void *arg)
{
	struct link *link = arg;
	struct standby *sb = container_of(link, struct standby, link);
	struct replication *rep = sb->replication;
	const struct session_outcome *out = session_outcome(s);
	bool missing = strcmp(out->sqlstate, "42P01") == 0 || strcmp(out->sqlstate, "3F000") == 0;
	if (!out->ok && !missing) {
		link_went_well(link, "reading the heartbeat");
		loop_timer_set(rep->loop, &sb->look, clock_now_ns() + LOOK_AGAIN_NS);
		return;
	}
	pthread_mutex_lock(&rep->lock);
	sb->readable = true;
	sb->shown_seq = missing || out->rows == 0 ? 0 : strtoll(PQgetvalue(out->result, 0, 0), NULL, 10);
	/* As of the send: what is committed while the answer is under way could not be in it. */
	raise_to(&sb->peak.heartbeat_ns, heartbeat_of(sb, out->sent_ns));
	pthread_mutex_unlock(&rep->lock);
}

static void on_conflicts(struct session *s, void *arg)
{
	struct link *link = arg;
	struct standby *sb = container_of(link, struct standby, link);
	const struct session_outcome *out = session_outcome(s);
	if (!link_went_well(link, "counting replay conflicts") || out->rows != 1 || PQgetisnull(out->result, 0, 0))
		return;
	int64_t count = strtoll(PQgetvalue(out->result, 0, 0), NULL, 10);
	pthread_mutex_lock(&sb->replication->lock);
	if (sb->conflicts_before < 0 || count < sb->conflicts_before)
		sb->conflicts_before = count;
	sb->latest.conflicts = count - sb->conflicts_before;
	raise_to(&sb->peak.conflicts, sb->latest.conflicts);
	pthread_mutex_unlock(&sb->replication->lock);
}

static void on_look_timer(struct loop_timer *t)
{
	struct standby *sb = container_of(t, struct standby, look);
	loop_timer_set(sb->replication->loop, t, clock_now_ns() + LOOK_NS);
	if (sb->looks++ % CONFLICTS_EVERY == 0)
		link_execute(&sb->link, &QUERY_CONFLICTS, NULL, on_conflicts);
	else
		link_execute(&sb->link, &QUERY_HEARTBEAT_READ, NULL, on_look);
}

static void on_standby_up(struct link *link)
{
	(void)link; /* the timer finds it up */
}

static void start_standby(struct standby *sb, const char *dsn)
{
	struct replication *rep = sb->replication;
	sb->link.loop = rep->loop;
	sb->link.dsn = dsn;
	sb->link.what = sb->latest.standby;
	sb->link.up = on_standby_up;
	sb->link.warn = rep->beat_link.warn;
	sb->link.warn_arg = rep->beat_link.warn_arg;
	sb->link.statements = rep->beat_link.statements;
	sb->look.fn = on_look_timer;
	loop_timer_set(rep->loop, &sb->look, clock_now_ns());
	link_open(&sb->link);
}

void replication_start(struct replication *rep, struct loop *loop)
{
	rep->loop = loop;
	rep->beat_link.loop = rep->status_link.loop = loop;
	rep->beat_link.what = "heartbeat";
	rep->beat_link.up = on_beat_up;
	rep->status_link.what = "replication probe";
	rep->status_link.up = on_status_up;
	rep->status_link.down = on_status_down;
	rep->values[0] = rep->seq_text;
	rep->seq = clock_wall_ns() / NS_PER_MS; /* above what an earlier observer may have left */
	rep->beat.fn = on_beat_timer;
	rep->status.fn = on_status_timer;
	loop_timer_set(loop, &rep->beat, clock_now_ns() + BEAT_NS);
	loop_timer_set(loop, &rep->status, clock_now_ns());
	link_open(&rep->beat_link);
	link_open(&rep->status_link);
	for (int i = 0; i < rep->standbys_n; i++)
		if (rep->standby_dsns[i] != NULL)
			start_standby(&rep->standbys[i], rep->standby_dsns[i]);
}

void replication_stop(struct replication *rep)
{
	loop_timer_cancel(rep->loop, &rep->beat);
	loop_timer_cancel(rep->loop, &rep->status);
	link_close(&rep->beat_link);
	link_close(&rep->status_link);
	for (int i = 0; i < rep->standbys_n; i++) {
		loop_timer_cancel(rep->loop, &rep->standbys[i].look);
		link_close(&rep->standbys[i].link);
	}
}

/* ---- for other threads ---- */

void replication_collect(struct replication *rep, struct observation *out)
{
	pthread_mutex_lock(&rep->lock);
	int64_t now_ns = clock_now_ns();
	out->standbys = rep->standbys_n;
	for (int i = 0; i < rep->standbys_n; i++) {
		struct standby *sb = &rep->standbys[i];
		sb->latest.heartbeat_ns = heartbeat_of(sb, now_ns - LOOK_NS);
		raise_peak(&sb->peak, &sb->latest);
		out->lag[i] = sb->peak;
		sb->peak = sb->latest;
	}
	out->slots = rep->slots_n;
	for (int i = 0; i < rep->slots_n; i++) {
		out->slot[i] = rep->slots[i];
		rep->slots[i] = rep->slots_latest[i];
	}
	out->wal_bytes = rep->wal_end >= 0 ? rep->wal_end - rep->wal_collected : -1;
	rep->wal_collected = rep->wal_end;
	pthread_mutex_unlock(&rep->lock);
}

int64_t replication_lag_ns(struct replication *rep)
{
	int64_t worst = -1;
	pthread_mutex_lock(&rep->lock);
	int64_t now_ns = clock_now_ns();
	for (int i = 0; i < rep->standbys_n; i++) {
		int64_t lag = heartbeat_of(&rep->standbys[i], now_ns - LOOK_NS);
		raise_to(&worst, lag >= 0 ? lag : rep->standbys[i].latest.replay_lag_ns);
	}
	pthread_mutex_unlock(&rep->lock);
	return worst;
}

int64_t replication_lag_bytes(struct replication *rep)
{
	int64_t worst = -1;
	pthread_mutex_lock(&rep->lock);
	for (int i = 0; i < rep->standbys_n; i++)
		raise_to(&worst, rep->standbys[i].latest.replay_bytes);
	pthread_mutex_unlock(&rep->lock);
	return worst;
}
