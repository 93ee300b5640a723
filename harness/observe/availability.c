/* Availability. As long as nothing is refused, a round is one attempt at all tables with the strongest of the modes, in one transaction; what
 * is refused is then tried table by table and mode by mode, each in a transaction of its own, until nothing is refused any more. */
#define _GNU_SOURCE
#include "observe/availability.h"

#include "base/clock.h"
#include "base/json.h"
#include "observe/queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALM_NS (10 * NS_PER_MS)  /* between rounds while nothing is refused */
#define ALERT_NS (5 * NS_PER_MS)  /* and while something is */
#define MISSING_NS (1 * NS_PER_S) /* a table that is not there is looked for again */
#define LOOKS_MAX 5               /* at who is in the way, until somebody is found */

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

static void close_window(struct availability *a, struct target *t, enum access access, const struct attempt *passed, const char *ended)
{
	struct gate *g = &t->gates[access];
	if (!g->blocked)
		return;
	/* It began between the last attempt that succeeded and the first that did not, and ended likewise: the middle is the best guess. */
	int64_t start_bound_ns = g->passed.sent_ns > 0 ? (g->first.done_ns - g->passed.sent_ns) / 2 : 0;
	int64_t end_bound_ns = passed->sent_ns > 0 ? (passed->done_ns - g->last.sent_ns) / 2 : 0;
	int64_t start_ns = g->passed.sent_ns > 0 ? g->passed.sent_ns + start_bound_ns : g->first.sent_ns;
	if (g->blamed == 0)
		g->blamed = find_locker(a, t, access, start_ns - start_bound_ns, g->last.done_ns);
	int64_t end_ns = passed->sent_ns > 0 ? g->last.sent_ns + end_bound_ns : g->last.done_ns;
	json_t *window = json_pack("{s:o, s:s, s:I, s:I, s:I, s:s, s:o, s:o}", "table", json_text(t->relation), "access",
		KINDS[access].name, "start_ns", (json_int_t)(start_ns - a->origin_ns), "length_ns", (json_int_t)(end_ns - start_ns),
		"bound_ns", (json_int_t)(start_bound_ns + end_bound_ns), "ended", ended, "blamed",
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

static void refuse(struct target *t, enum access access, const struct attempt *attempt)
{
	struct gate *g = &t->gates[access];
	if (!g->blocked) {
		g->blocked = true;
		g->first = *attempt;
	}
	g->last = *attempt;
}

static bool anything_blocked(const struct availability *a)
{
	for (int i = 0; i < a->n; i++)
		for (int k = 0; k < ACCESSES; k++)
			if (a->targets[i].gates[k].blocked)
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

static void add_probe(struct availability *a, int target, enum access access)
{
	a->batch[a->batch_n++] = (struct probe){target, access};
}

static void plan_all(struct availability *a)
{
	a->stage = STAGE_ALL;
	add_probe(a, -1, ACCESS_WRITES);
}

/* Each table with the strongest mode that is not denied, but those whose turn it is not. */
static void plan_each(struct availability *a)
{
	int64_t now_ns = clock_now_ns();
	a->stage = STAGE_EACH;
	for (int i = 0; i < a->n; i++) {
		const struct target *t = &a->targets[i];
		int k = strongest(t);
		if (k >= 0 && (!t->missing || t->again_ns <= now_ns))
			add_probe(a, i, (enum access)k);
	}
}

/* The weaker modes of the tables whose strongest was refused in this round. */
static void plan_weaker(struct availability *a, const struct probe *done, int n)
{
	struct probe refused[AVAILABILITY_TABLES_MAX];
	int refused_n = 0;
	for (int i = 0; i < n && refused_n < AVAILABILITY_TABLES_MAX; i++)
		if (a->targets[done[i].target].gates[done[i].access].blocked)
			refused[refused_n++] = done[i];
	a->stage = STAGE_WEAKER;
	for (int i = 0; i < refused_n; i++)
		for (int k = (int)refused[i].access - 1; k >= 0; k--)
			if (!a->targets[refused[i].target].gates[k].denied)
				add_probe(a, refused[i].target, (enum access)k);
}

static void end_round(struct availability *a)
{
	a->in_round = false;
	int64_t now_ns = clock_now_ns();
	a->due_ns += anything_blocked(a) ? ALERT_NS : CALM_NS;
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
	struct probe done[AVAILABILITY_TABLES_MAX * ACCESSES];
	int n = a->batch_n;
	memcpy(done, a->batch, (size_t)n * sizeof done[0]);
	a->batch_n = 0;
	if (a->stage == STAGE_ALL && a->refused)
		plan_each(a);
	else if (a->stage == STAGE_EACH)
		plan_weaker(a, done, n);
	if (a->batch_n > 0)
		send_batch(a);
	else if (!ask_for_holders(a))
		end_round(a);
}

static void answer_all(struct availability *a, const char *sqlstate, const struct attempt *attempt)
{
	a->refused = strcmp(sqlstate, "00000") != 0;
	for (int i = 0; i < a->n && !a->refused; i++)
		for (int k = 0; k <= strongest(&a->targets[i]) && !a->targets[i].missing; k++)
			pass(a, &a->targets[i], (enum access)k, attempt);
}

static void on_part(struct link *link, const char *sqlstate, const char *message)
{
	struct availability *a = availability_of(link);
	if (a->answered >= a->batch_n)
		return; /* the part that ends the last transaction */
	const struct probe *p = &a->batch[a->answered++];
	struct attempt attempt = {a->batch_sent_ns, clock_now_ns()};
	if (p->target < 0) {
		answer_all(a, sqlstate, &attempt);
		return;
	}
	struct target *t = &a->targets[p->target];
	if (strcmp(sqlstate, "00000") == 0) {
		set_missing(a, t, false);
		for (int k = 0; k <= (int)p->access; k++)
			pass(a, t, (enum access)k, &attempt);
	} else if (strcmp(sqlstate, "55P03") == 0) {
		set_missing(a, t, false);
		refuse(t, p->access, &attempt);
	} else if (strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "3F000") == 0) {
		set_missing(a, t, true);
	} else if (strcmp(sqlstate, "42501") == 0 || strcmp(sqlstate, "42809") == 0) {
		deny(a, t, p->access, message);
	}
}

static void name_table(struct availability *a, const struct target *t, bool first)
{
	buf_printf(&a->sql, "%s%s", first ? "LOCK TABLE ONLY " : ", ONLY ", t->quoted);
}

/* One LOCK TABLE over all tables whose strongest mode is `access`, or nothing. */
static bool lock_all(struct availability *a, enum access access)
{
	bool first = true;
	buf_clear(&a->sql);
	for (int i = 0; i < a->n; i++) {
		if (a->targets[i].missing || strongest(&a->targets[i]) != (int)access)
			continue;
		name_table(a, &a->targets[i], first);
		first = false;
	}
	buf_printf(&a->sql, " IN %s MODE NOWAIT", KINDS[access].mode);
	return !first;
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
	a->answered = 0;
	a->batch_sent_ns = clock_now_ns();
	for (int i = 0; i < a->batch_n; i++) {
		const struct probe *p = &a->batch[i];
		session_enqueue_query(s, i == 0 ? "BEGIN" : "ROLLBACK AND CHAIN");
		if (p->target >= 0) {
			buf_clear(&a->sql);
			name_table(a, &a->targets[p->target], true);
			buf_printf(&a->sql, " IN %s MODE NOWAIT", KINDS[p->access].mode);
			session_enqueue_query(s, a->sql.data);
		}
		for (int k = 0; k < ACCESSES && p->target < 0; k++)
			if (lock_all(a, (enum access)k))
				session_enqueue_query(s, a->sql.data);
		session_enqueue_query(s, "ROLLBACK AND CHAIN");
		session_sync_pipeline(s);
	}
	session_enqueue_query(s, "ROLLBACK");
	atomic_fetch_add_explicit(a->link.statements, 3 * a->batch_n, memory_order_relaxed);
	link_end_pipeline(&a->link);
}

static bool nothing_to_ask(const struct availability *a)
{
	for (int i = 0; i < a->n; i++)
		if (!a->targets[i].missing && strongest(&a->targets[i]) >= 0)
			return false;
	return true;
}

static bool missing_is_due(const struct availability *a, int64_t now_ns)
{
	for (int i = 0; i < a->n; i++)
		if (a->targets[i].missing && a->targets[i].again_ns <= now_ns)
			return true;
	return false;
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
	if (anything_blocked(a) || missing_is_due(a, now_ns))
		plan_each(a);
	else if (!nothing_to_ask(a))
		plan_all(a);
	if (a->batch_n > 0)
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
	return json_pack("{s:I, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "period_ns", (json_int_t)CALM_NS, "blocked_period_ns",
		(json_int_t)ALERT_NS, "tables", tables, "denied", denied, "rounds", (json_int_t)a->rounds, "missed", (json_int_t)a->missed,
		"windows", (json_int_t)a->windows, "held_ns", (json_int_t)a->held_ns, "delayed", (json_int_t)a->delayed, "delayed_ns",
		(json_int_t)a->delayed_ns);
}
