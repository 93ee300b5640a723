/* Availability. As long as nothing is refused, a round is one attempt at all tables with the strongest of the modes, in one transaction. When
 * that is refused, each is tried by itself; from then on those that were refused stay by themselves until they are free, beside the one
 * attempt at all others. A table by itself is asked for one mode after the other in one transaction, from the weakest to the first that is
 * refused: that says all, since what refuses a mode refuses the stronger ones too. */
#define _GNU_SOURCE
#include "observe/availability.h"

#include "base/clock.h"
#include "base/json.h"
#include "observe/queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REST_NS (50 * NS_PER_MS)  /* between rounds while the migration does nothing */
#define CALM_NS (10 * NS_PER_MS)  /* while it does, and nothing is refused */
#define ALERT_NS (5 * NS_PER_MS)  /* and while something is */
#define MISSING_NS (1 * NS_PER_S) /* a table that is not there is looked for again */
#define LOOKS_MAX 5               /* at who is in the way, until somebody is found */
#define TOGETHER (-1)             /* in a batch: the attempt at all that are together */

static const struct {
	const char *mode, *held_as, *name;
} KINDS[ACCESSES] = {
	{"ACCESS SHARE", "AccessShareLock", "reads"},
	{"ROW SHARE", "RowShareLock", "row_locks"},
	{"ROW EXCLUSIVE", "RowExclusiveLock", "writes"},
};

static const struct attempt NEVER = {0};

static struct availability *availability_of(void *link)
{
	return container_of(link, struct availability, link);
}

/* ---- windows ---- */

/* A window may be over before anybody could be asked who was in the way: what is known of the migration's locks tells it then. */
static int64_t find_locker(struct availability *a, const struct target *t, enum access access, int64_t from_ns, int64_t to_ns)
{
	struct wait_lock wanted = {.type = "relation"};
	snprintf(wanted.mode, sizeof wanted.mode, "%s", KINDS[access].held_as);
	snprintf(wanted.relation, sizeof wanted.relation, "%s", t->relation);
	a->refresh(a->arg);
	return waits_find_locker(a->waits, &wanted, from_ns, to_ns);
}

/* Nobody else was found in the way. */
static bool is_migrations_alone(const struct gate *g)
{
	size_t i;
	const json_t *holder;
	json_array_foreach(g->holders, i,
		holder) if (strcmp(json_get_string(holder, "role", ""), wait_role_name(WAIT_ROLE_MIGRATION)) != 0) return false;
	return g->blamed != 0;
}

static void close_window(struct availability *a, struct target *t, enum access access, const struct attempt *passed, const char *ended)
{
	struct gate *g = &t->gates[access];
	if (!g->blocked)
		return;
	/* It began between the last attempt that succeeded and the first that did not, and ended likewise: the middle is the best guess. */
	int64_t free_ns = g->passed.sent_ns;
	if (g->blamed == 0)
		g->blamed = find_locker(a, t, access, free_ns > 0 ? free_ns : g->first.sent_ns, g->last.done_ns);
	/* Nor can the migration have locked anything before it did something. */
	if (free_ns > 0 && free_ns < g->roused_ns && is_migrations_alone(g))
		free_ns = g->roused_ns;
	int64_t start_bound_ns = free_ns > 0 ? (g->first.done_ns - free_ns) / 2 : 0;
	int64_t end_bound_ns = passed->sent_ns > 0 ? (passed->done_ns - g->last.sent_ns) / 2 : 0;
	int64_t start_ns = free_ns > 0 ? free_ns + start_bound_ns : g->first.sent_ns;
	int64_t end_ns = passed->sent_ns > 0 ? g->last.sent_ns + end_bound_ns : g->last.done_ns;
	/* Locked before the first attempt, or not seen to come free: what is known of it is a lower limit. */
	bool at_least = g->passed.sent_ns == 0 || passed->sent_ns == 0;
	json_t *window = json_pack("{s:o, s:s, s:I, s:I, s:I, s:b, s:s, s:o, s:o}", "table", json_text(t->relation), "access",
		KINDS[access].name, "start_ns", (json_int_t)(start_ns - a->origin_ns), "length_ns", (json_int_t)(end_ns - start_ns),
		"bound_ns", (json_int_t)(start_bound_ns + end_bound_ns), "at_least", (int)at_least, "ended", ended, "blamed",
		g->blamed != 0 ? json_integer((json_int_t)g->blamed) : json_null(), "holders",
		g->holders != NULL ? g->holders : json_array());
	g->holders = NULL;
	g->blocked = false;
	g->blamed = 0;
	g->looks = 0;
	a->windows++;
	a->emit(window, a->arg);
}

static void pass(struct availability *a, struct target *t, enum access access, const struct attempt *attempt)
{
	struct gate *g = &t->gates[access];
	if (g->blocked)
		close_window(a, t, access, attempt, "free");
	g->passed = *attempt;
}

static void refuse(const struct availability *a, struct target *t, enum access access, const struct attempt *attempt)
{
	struct gate *g = &t->gates[access];
	if (!g->blocked) {
		g->blocked = true;
		g->first = *attempt;
		g->roused_ns = a->roused_ns;
	}
	g->last = *attempt;
}

static bool is_blocked(const struct target *t)
{
	for (int k = 0; k < ACCESSES; k++)
		if (t->gates[k].blocked)
			return true;
	return false;
}

static bool anything_blocked(const struct availability *a)
{
	for (int i = 0; i < a->n; i++)
		if (is_blocked(&a->targets[i]))
			return true;
	return false;
}

/* The strongest that the role may ask for; -1: none. */
static int strongest(const struct target *t)
{
	for (int k = ACCESSES - 1; k >= 0; k--)
		if (!t->gates[k].denied)
			return k;
	return -1;
}

static void set_missing(struct availability *a, struct target *t, bool missing)
{
	char text[256];
	if (missing) {
		t->again_ns = clock_now_ns() + MISSING_NS;
		for (int k = 0; k < ACCESSES; k++) {
			close_window(a, t, (enum access)k, &NEVER, "missing");
			t->gates[k].passed = NEVER;
		}
		if (!t->missing) {
			snprintf(text, sizeof text, "availability: table %s is not there any more", t->relation);
			a->link.warn(text, a->link.warn_arg);
		}
	}
	t->missing = missing;
}

static void deny(struct availability *a, struct target *t, enum access access, const char *message)
{
	char text[700];
	close_window(a, t, access, &NEVER, "unknown");
	t->gates[access].denied = true;
	snprintf(text, sizeof text, "availability: %s of table %s are not measured: LOCK TABLE ... IN %s MODE: %s", KINDS[access].name,
		t->relation, KINDS[access].mode, message);
	a->link.warn(text, a->link.warn_arg);
}

/* ---- a round ---- */

static void send_batch(struct availability *a);

/* Nothing is known to be in the way: those are tried together. True if there are any. */
static bool plan_together(struct availability *a)
{
	bool any = false;
	for (int i = 0; i < a->n; i++) {
		struct target *t = &a->targets[i];
		t->together = strongest(t) >= 0 && !t->missing && !is_blocked(t);
		t->again = false;
		any = any || t->together;
	}
	return any;
}

/* Those that are not together, but missing ones whose turn it is not; or those that are. */
static void plan_each(struct availability *a, bool together)
{
	int64_t now_ns = clock_now_ns();
	for (int i = 0; i < a->n; i++) {
		const struct target *t = &a->targets[i];
		if (t->together == together && strongest(t) >= 0 && (!t->missing || t->again_ns <= now_ns))
			a->batch[a->batch_n++] = i;
	}
}

/* Those that were denied a mode before they came to the others. */
static void plan_again(struct availability *a)
{
	for (int i = 0; i < a->n; i++) {
		struct target *t = &a->targets[i];
		if (t->again && strongest(t) >= 0)
			a->batch[a->batch_n++] = i;
		t->again = false;
	}
}

static void end_round(struct availability *a)
{
	a->in_round = false;
	int64_t now_ns = clock_now_ns();
	a->due_ns += anything_blocked(a) ? ALERT_NS : pace_is_at_rest(a->pace, now_ns) ? REST_NS : CALM_NS;
	if (a->due_ns <= now_ns) {
		a->missed += (now_ns - a->due_ns) / CALM_NS;
		a->due_ns = now_ns;
	}
	loop_timer_set(a->link.loop, &a->tick, a->due_ns);
}

static void take_holders(struct availability *a, const PGresult *r)
{
	for (int i = 0; i < a->n; i++) {
		struct target *t = &a->targets[i];
		for (int k = 0; k < ACCESSES; k++) {
			struct gate *g = &t->gates[k];
			if (!g->blocked || g->holders != NULL)
				continue;
			struct lock_holder h;
			for (int row = 0; queries_read_holder(r, row, a->map, &h); row++) {
				if (strcmp(h.relation, t->relation) != 0 || !queries_modes_conflict(h.mode, KINDS[k].held_as))
					continue;
				char version[32];
				struct wait_lock wanted = {.type = "relation"};
				snprintf(wanted.mode, sizeof wanted.mode, "%s", KINDS[k].held_as);
				snprintf(wanted.relation, sizeof wanted.relation, "%s", t->relation);
				int64_t culprit = waits_find_culprit(a->waits, &h.session, &wanted, clock_now_ns());
				if (g->blamed == 0)
					g->blamed = culprit;
				if (g->holders == NULL)
					g->holders = json_array();
				json_array_append_new(g->holders,
					json_pack("{s:i, s:s, s:o, s:s, s:b}", "pid", h.session.pid, "role",
						wait_role_name(culprit != 0 ? WAIT_ROLE_MIGRATION
									    : wait_role_of(h.session.application_name, version)),
						"application_name", json_text(h.session.application_name), "mode", h.mode, "queued",
						(int)h.queued));
			}
		}
	}
}

static void on_holders(struct session *s, void *arg)
{
	struct availability *a = availability_of(arg);
	a->refresh(a->arg); /* the statement that holds it may have begun a moment ago: it was noted before it was sent */
	if (link_went_well(&a->link, "reading who holds a table's lock"))
		take_holders(a, session_outcome(s)->result);
	end_round(a);
}

/* Who is in the way is asked for soon after a window has begun. */
static bool ask_for_holders(struct availability *a)
{
	bool wanted = false;
	for (int i = 0; i < a->n; i++)
		for (int k = 0; k < ACCESSES; k++) {
			struct gate *g = &a->targets[i].gates[k];
			if (g->blocked && g->holders == NULL && g->looks < LOOKS_MAX) {
				g->looks++;
				wanted = true;
			}
		}
	if (!wanted)
		return false;
	queries_begin_array(a->names, sizeof a->names);
	for (int i = 0; i < a->n; i++)
		queries_add_to_array(a->targets[i].quoted, a->names, sizeof a->names);
	a->values[0] = a->names;
	return link_execute(&a->link, &QUERY_HOLDERS, a->values, on_holders);
}

static void on_batch(struct session *s, void *arg)
{
	struct availability *a = availability_of(arg);
	(void)s;
	a->held_ns += clock_now_ns() - a->batch_sent_ns;
	if (a->answered < a->batch_n || !a->link.is_up) {
		/* The connection is gone in the middle; or what came back is not one of the expected refusals. */
		end_round(a);
		return;
	}
	a->batch_n = 0;
	if (a->refused)
		plan_each(a, true);
	a->refused = false;
	plan_again(a);
	if (a->batch_n > 0)
		send_batch(a);
	else if (!ask_for_holders(a))
		end_round(a);
}

static void pass_together(struct availability *a, const struct attempt *attempt)
{
	for (int i = 0; i < a->n; i++)
		for (int k = 0; k < ACCESSES && a->targets[i].together; k++)
			pass(a, &a->targets[i], (enum access)k, attempt);
}

/* The attempt at a table by itself has ended after `passed` of the modes that the role may ask for. */
static void answer_each(
	struct availability *a, struct target *t, int passed, const char *sqlstate, const char *message, const struct attempt *attempt)
{
	bool refused = strcmp(sqlstate, "55P03") == 0;
	if (strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "3F000") == 0) {
		set_missing(a, t, true);
		return;
	}
	if (refused || passed > 0)
		set_missing(a, t, false);
	for (int k = 0; k < ACCESSES; k++) {
		if (t->gates[k].denied)
			continue;
		if (passed-- > 0) {
			pass(a, t, (enum access)k, attempt);
		} else if (refused) {
			refuse(a, t, (enum access)k, attempt);
		} else {
			t->again = strcmp(sqlstate, "42501") == 0 || strcmp(sqlstate, "42809") == 0;
			if (t->again)
				deny(a, t, (enum access)k, message);
			return;
		}
	}
}

static void on_part(struct link *link, int done, const char *sqlstate, const char *message)
{
	struct availability *a = availability_of(link);
	if (a->answered >= a->batch_n)
		return; /* the part that ends the last transaction */
	int target = a->batch[a->answered++];
	struct attempt attempt = {a->batch_sent_ns, clock_now_ns()};
	if (target >= 0)
		answer_each(a, &a->targets[target], done - 1, sqlstate, message, &attempt); /* the first one begins the transaction */
	else if (strcmp(sqlstate, "00000") == 0)
		pass_together(a, &attempt);
	else
		a->refused = true;
}

static void name_table(struct availability *a, const struct target *t, bool first)
{
	buf_printf(&a->sql, "%s%s", first ? "LOCK TABLE ONLY " : ", ONLY ", t->quoted);
}

/* Adds one LOCK TABLE over those together whose strongest mode is `access`; false, and nothing, when there are none. */
static bool lock_together(struct availability *a, enum access access)
{
	bool first = true;
	for (int i = 0; i < a->n; i++) {
		if (!a->targets[i].together || strongest(&a->targets[i]) != (int)access)
			continue;
		name_table(a, &a->targets[i], first);
		first = false;
	}
	if (!first)
		buf_printf(&a->sql, " IN %s MODE NOWAIT", KINDS[access].mode);
	return !first;
}

static int enqueue_together(struct availability *a)
{
	int sent = 0;
	for (int k = 0; k < ACCESSES; k++) {
		buf_clear(&a->sql);
		if (!lock_together(a, (enum access)k))
			continue;
		session_enqueue_query(a->link.session, a->sql.data);
		sent++;
	}
	return sent;
}

static void lock_one(struct availability *a, const struct target *t, enum access access)
{
	name_table(a, t, true);
	buf_printf(&a->sql, " IN %s MODE NOWAIT", KINDS[access].mode);
}

static int enqueue_each(struct availability *a, const struct target *t)
{
	int sent = 0;
	for (int k = 0; k < ACCESSES; k++) {
		if (t->gates[k].denied)
			continue;
		buf_clear(&a->sql);
		lock_one(a, t, (enum access)k);
		session_enqueue_query(a->link.session, a->sql.data);
		sent++;
	}
	return sent;
}

/* A failed part leaves its transaction behind, without locks: the next one begins with its end. Nothing waits between the parts: a lock is
 * given back by what stands right behind it in the same packet. */
static void send_batch(struct availability *a)
{
	if (!link_begin_pipeline(&a->link, on_batch)) {
		end_round(a);
		return;
	}
	struct session *s = a->link.session;
	int sent = 0;
	a->answered = 0;
	a->batch_sent_ns = clock_now_ns();
	for (int i = 0; i < a->batch_n; i++) {
		session_enqueue_query(s, i == 0 ? "BEGIN" : "ROLLBACK AND CHAIN");
		sent += 2 + (a->batch[i] < 0 ? enqueue_together(a) : enqueue_each(a, &a->targets[a->batch[i]]));
		session_enqueue_query(s, "ROLLBACK AND CHAIN");
		session_sync_pipeline(s);
	}
	session_enqueue_query(s, "ROLLBACK");
	atomic_fetch_add_explicit(a->link.statements, sent, memory_order_relaxed);
	link_end_pipeline(&a->link);
}

static void on_together(struct session *s, void *arg)
{
	struct availability *a = availability_of(arg);
	struct attempt attempt = {a->batch_sent_ns, clock_now_ns()};
	a->held_ns += attempt.done_ns - attempt.sent_ns;
	if (!a->link.is_up) {
		end_round(a);
	} else if (session_outcome(s)->ok) {
		pass_together(a, &attempt);
		end_round(a);
	} else {
		plan_each(a, true);
		send_batch(a);
	}
}

/* Two statements in one message are a transaction that nobody has to begin or end, which costs the server a third less than a pipeline of
 * one part: where there would be one, the first table is named again. */
static void send_together(struct availability *a)
{
	int sent = 0, first = 0;
	buf_clear(&a->sql);
	for (int k = 0; k < ACCESSES; k++)
		if (lock_together(a, (enum access)k)) {
			buf_str(&a->sql, "; ");
			sent++;
		}
	while (!a->targets[first].together)
		first++;
	lock_one(a, &a->targets[first], (enum access)strongest(&a->targets[first]));
	a->batch_sent_ns = clock_now_ns();
	if (link_query(&a->link, a->sql.data, on_together))
		atomic_fetch_add_explicit(a->link.statements, sent, memory_order_relaxed);
	else
		end_round(a);
}

static void on_tick(struct loop_timer *t)
{
	struct availability *a = container_of(t, struct availability, tick);
	int64_t now_ns = clock_now_ns();
	if (a->in_round || !a->link.is_up || a->n == 0) {
		a->due_ns = now_ns + CALM_NS;
		loop_timer_set(a->link.loop, t, a->due_ns);
		return;
	}
	a->in_round = true;
	a->rounds++;
	a->batch_n = 0;
	a->refused = false;
	if (plan_together(a))
		a->batch[a->batch_n++] = TOGETHER;
	plan_each(a, false);
	if (a->batch_n == 1 && a->batch[0] == TOGETHER)
		send_together(a);
	else if (a->batch_n > 0)
		send_batch(a);
	else
		end_round(a);
}

/* A refusal is an error to the server, and a hundred a second of them would fill its log; a superuser may spare it that. */
static void on_quiet(struct session *s, void *arg)
{
	(void)s;
	(void)arg;
}

static void on_up(struct link *link)
{
	link_query(link, QUERY_QUIET, on_quiet);
}

/* What was refused last is the last that is known. */
static void on_down(struct link *link)
{
	struct availability *a = availability_of(link);
	for (int i = 0; i < a->n; i++)
		for (int k = 0; k < ACCESSES; k++) {
			close_window(a, &a->targets[i], (enum access)k, &NEVER, "unknown");
			a->targets[i].gates[k].passed = NEVER;
		}
	if (a->in_round)
		end_round(a);
}

void availability_start(struct availability *a, struct loop *loop)
{
	a->link.loop = loop;
	a->link.what = "availability";
	a->link.up = on_up;
	a->link.down = on_down;
	a->link.part = on_part;
	a->tick.fn = on_tick;
	buf_init(&a->sql, 8192);
	a->due_ns = clock_now_ns() + CALM_NS;
	loop_timer_set(loop, &a->tick, a->due_ns);
	link_open(&a->link);
}

void availability_stop(struct availability *a)
{
	if (a->link.loop == NULL)
		return;
	loop_timer_cancel(a->link.loop, &a->tick);
	link_close(&a->link);
	for (int i = 0; i < a->n; i++) {
		for (int k = 0; k < ACCESSES; k++)
			close_window(a, &a->targets[i], (enum access)k, &NEVER, "unfinished");
		free(a->targets[i].quoted);
		a->targets[i].quoted = NULL;
	}
	buf_free(&a->sql);
}

void availability_add(struct availability *a, const char *relation, const char *quoted)
{
	for (int i = 0; i < a->n; i++)
		if (strcmp(a->targets[i].relation, relation) == 0)
			return;
	if (a->n == AVAILABILITY_TABLES_MAX || strlen(relation) >= sizeof a->targets[0].relation || strlen(quoted) > 280)
		return;
	struct target *t = &a->targets[a->n];
	*t = (struct target){.quoted = strdup(quoted)};
	if (t->quoted == NULL)
		abort();
	snprintf(t->relation, sizeof t->relation, "%s", relation);
	a->n++;
}

void availability_rouse(struct availability *a, int64_t at_ns)
{
	a->roused_ns = at_ns;
	if (a->link.loop == NULL || a->in_round)
		return;
	a->due_ns = clock_now_ns();
	loop_timer_set(a->link.loop, &a->tick, a->due_ns);
}

void availability_note_delay(struct availability *a, int64_t length_ns)
{
	a->delayed++;
	a->delayed_ns += length_ns;
}

json_t *availability_json(const struct availability *a)
{
	json_t *tables = json_array(), *denied = json_array();
	for (int i = 0; i < a->n; i++) {
		const struct target *t = &a->targets[i];
		json_array_append_new(tables, json_text(t->relation));
		for (int k = 0; k < ACCESSES; k++)
			if (t->gates[k].denied)
				json_array_append_new(
					denied, json_pack("{s:o, s:s}", "table", json_text(t->relation), "access", KINDS[k].name));
	}
	return json_pack("{s:I, s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "period_ns", (json_int_t)CALM_NS, "rest_period_ns",
		(json_int_t)(a->pace->restless ? CALM_NS : REST_NS), "blocked_period_ns", (json_int_t)ALERT_NS, "tables", tables, "denied",
		denied, "rounds", (json_int_t)a->rounds, "missed", (json_int_t)a->missed, "windows", (json_int_t)a->windows, "held_ns",
		(json_int_t)a->held_ns, "delayed", (json_int_t)a->delayed, "delayed_ns", (json_int_t)a->delayed_ns);
}
