/* Lock waits put together from looks at the server, completions and statements; see waits.h.
 *
 * A wait is open from the first dear look that shows it until a look that does not (gone) or a completion of its session's
 * statement (noted). What is certain is kept as two times: seen_from_ns, when the last request was sent that still saw it, and
 * gone_ns, the earliest time known at which it was over. The true end lies between; the earlier of completion and gone_ns is taken. */
#include "observe/waits.h"

#include "base/clock.h"
#include "base/memory.h"
#include "observe/waits_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REFRESH_NS (100 * NS_PER_MS)
#define REFRESH_CROWD 40             /* with fewer sessions waiting, the dear look is repeated sooner: at most 400 of them a second */
#define HOLD_LOAD_NS (10 * NS_PER_S) /* how long a wait that is over stays for the completion that names it */
#define HOLD_MIGRATION_NS (1 * NS_PER_S)
#define SLACK_NS (200 * NS_PER_US) /* what two clocks may drift apart between readings */

/* How long after the end of the wait a failed statement may be reported and still owe its failure to the wait: these two come from lock
 * waits only ... */
#define LOCK_FAILURE_NS (1 * NS_PER_S)
/* ... and these may as well have hit the work after it. */
#define OTHER_FAILURE_NS (50 * NS_PER_MS)

#define TRANSACTION_TIMEOUT "25P04" /* transaction_timeout of PostgreSQL 17 and later, which ends the session */

struct waits *waits_create(const struct waits_config *config)
{
	struct waits *w = memory_create(sizeof *w);
	if (w == NULL)
		abort();
	w->config = *config;
	if (w->config.refresh_ns == 0)
		w->config.refresh_ns = REFRESH_NS;
	w->look_from_ns = w->look_to_ns = w->look_before_ns = WAIT_NONE;
	return w;
}

void waits_set_waitstart(struct waits *w, bool has_waitstart)
{
	w->config.has_waitstart = has_waitstart;
}

static struct wait **bucket_of(struct waits *w, int pid)
{
	return &w->bucket[(unsigned)pid % WAIT_BUCKETS];
}

static void free_wait(struct wait *it)
{
	free(it->direct);
	wait_free_view(&it->current);
	wait_free_view(&it->best);
	free(it);
}

/* The order of w->all means nothing. */
static void remove_wait(struct waits *w, int index)
{
	struct wait *it = w->all[index];
	w->all[index] = w->all[--w->n];
	struct wait **link = bucket_of(w, it->session.pid);
	while (*link != it)
		link = &(*link)->next;
	*link = it->next;
	free_wait(it);
}

void waits_free(struct waits *w)
{
	if (w == NULL)
		return;
	for (int i = 0; i < w->n; i++)
		free_wait(w->all[i]);
	for (int i = 0; i < WAIT_STATEMENTS; i++)
		VEC_FREE(&w->statements[i].holds);
	VEC_FREE(&w->candidates);
	free(w);
}

static int64_t earlier(int64_t a, int64_t b)
{
	if (a == WAIT_NONE || b == WAIT_NONE)
		return a == WAIT_NONE ? b : a;
	return a < b ? a : b;
}

static int64_t later(int64_t a, int64_t b)
{
	return a > b ? a : b; /* WAIT_NONE is the smallest number */
}

static void grow_longest(struct waits *w, int64_t length_ns)
{
	if (length_ns > w->state.longest_ns)
		w->state.longest_ns = length_ns;
}

/* ---- looks ---- */

int waits_watched(const struct waits *w, int *pids, int max)
{
	int n = 0;
	for (int i = 0; i < w->n && n < max; i++)
		if (!w->all[i]->gone)
			pids[n++] = w->all[i]->session.pid;
	return n;
}

static void mark_gone(struct wait *it, int64_t gone_ns, enum wait_end as)
{
	it->gone = true;
	it->gone_ns = earlier(it->gone_ns, gone_ns);
	it->gone_as = as;
}

/* How the wait of a session that has left its statement must have ended, by what it does now. */
static enum wait_end judge_state(const struct wait_glance *now)
{
	return strcmp(now->state, "idle in transaction") == 0 ? WAIT_GRANTED : WAIT_UNKNOWN;
}

static void look_at_session(struct waits *w, const struct wait_look *look, const struct wait_glance *g)
{
	struct wait *it = waits_find_open(w, g->pid);
	if (it != NULL)
		it->round = w->round;
	if (!g->waiting) {
		/* A session that has waited for deadlock_timeout wakes to look for a deadlock, and for that moment shows no wait_event: only
		 * pg_locks can tell that from the end of its wait. */
		if (it != NULL && strcmp(g->state, "active") == 0 && g->query_start_us == it->query_start_us)
			it->doubtful = it->waking = true;
		else if (it != NULL)
			mark_gone(it, look->to_ns, judge_state(g));
		return;
	}
	w->state.waiting++;
	if (it == NULL) {
		VEC_PUSH(&w->candidates, (struct candidate){g->pid, g->query_start_us, g->event, g->row});
		return;
	}
	it->waking = false;
	bool over = it->noted && look->from_ns > it->note.done_ns;
	if (over || it->doubtful || it->event != g->event || it->query_start_us != g->query_start_us) {
		it->doubtful = true;
		it->next_statement = it->next_statement || it->query_start_us != g->query_start_us;
		it->event = g->event;
		it->query_start_us = g->query_start_us;
		return;
	}
	it->seen_from_ns = look->from_ns;
	grow_longest(w, look->to_ns - it->start_ns);
}

void waits_look(struct waits *w, const struct wait_look *look)
{
	w->round++;
	w->look_before_ns = w->look_from_ns;
	w->look_from_ns = look->from_ns;
	w->look_to_ns = look->to_ns;
	w->candidates.n = 0;
	w->state.waiting = 0;
	for (int i = 0; i < look->n; i++)
		look_at_session(w, look, &look->sessions[i]);
	if (w->state.waiting > w->state.waiting_max)
		w->state.waiting_max = w->state.waiting;
	for (int i = 0; i < w->n; i++)
		if (!w->all[i]->gone && w->all[i]->round != w->round)
			mark_gone(w->all[i], look->to_ns, WAIT_UNKNOWN); /* disconnected, or lost: its client knows */
}

static bool wants_detail(const struct waits *w, const struct wait *it)
{
	if (it->gone)
		return false;
	int crowd = w->state.waiting < REFRESH_CROWD ? w->state.waiting : REFRESH_CROWD;
	int64_t refresh_ns = w->config.refresh_ns / REFRESH_CROWD * crowd;
	return it->doubtful || (it->start_us == WAIT_NONE && w->config.has_waitstart) || w->look_to_ns - it->detail_ns >= refresh_ns;
}

int waits_wanted(struct waits *w, int *pids, int max)
{
	int n = 0;
	for (size_t i = 0; i < w->candidates.n && n < max; i++)
		pids[n++] = w->candidates.at[i].pid;
	for (int i = 0; i < w->n && n < max; i++)
		if (wants_detail(w, w->all[i]))
			pids[n++] = w->all[i]->session.pid;
	return n;
}

bool waits_urgent(const struct waits *w)
{
	for (size_t i = 0; i < w->candidates.n; i++)
		if (!w->candidates.at[i].row)
			return true;
	for (int i = 0; i < w->n; i++)
		if (!wait_is_for_row(&w->all[i]->lock) && wants_detail(w, w->all[i]))
			return true;
	return false;
}

bool waits_for_more_than_rows(const struct waits *w)
{
	for (int i = 0; i < w->n; i++)
		if (!w->all[i]->gone && !wait_is_for_row(&w->all[i]->lock))
			return true;
	return false;
}

void waits_pass_over(struct waits *w)
{
	w->state.passed_over += w->candidates.n;
	w->candidates.n = 0;
}

bool waits_migrating(const struct waits *w)
{
	for (int i = 0; i < WAIT_STATEMENTS; i++)
		if (w->statements[i].id != 0 && w->statements[i].end_ns == 0)
			return true;
	return false;
}

/* ---- dear looks ---- */

static bool is_same(const struct wait *it, const struct wait_seen *row, int64_t from_ns)
{
	if (it->lock.tag != row->lock.tag || (it->noted && from_ns > it->note.done_ns))
		return false;
	if (it->start_us == WAIT_NONE && row->start_us != WAIT_NONE)
		return row->start_ns + row->error_ns + SLACK_NS >= it->start_ns &&
			row->start_ns - row->error_ns - SLACK_NS <= it->start_last_ns;
	if (row->start_us == WAIT_NONE && it->next_statement)
		return false;
	return row->start_us == it->start_us; /* a wait that has no start yet, where the one before had, is a new one */
}

static void set_start(struct wait *it, const struct wait_seen *row)
{
	it->start_us = row->start_us;
	it->start_ns = row->start_ns;
	it->start_last_ns = row->start_ns + row->error_ns;
}

static struct wait *add_wait(struct waits *w, const struct wait_seen *row, int64_t from_ns, int64_t to_ns, int64_t not_before_ns)
{
	if (w->n == WAITS_MAX) {
		w->state.overflowed++;
		return NULL;
	}
	struct wait *it = calloc(1, sizeof *it);
	if (it == NULL)
		abort();
	it->session = row->session;
	it->lock = row->lock;
	it->gone_ns = WAIT_NONE;
	it->start_us = WAIT_NONE;
	if (row->start_us != WAIT_NONE) {
		set_start(it, row);
	} else {
		it->start_ns = later(w->look_before_ns != WAIT_NONE ? w->look_before_ns : from_ns, not_before_ns);
		it->start_last_ns = to_ns;
	}
	for (size_t i = 0; i < w->candidates.n; i++) {
		if (w->candidates.at[i].pid == row->session.pid) {
			it->query_start_us = w->candidates.at[i].query_start_us;
			it->event = w->candidates.at[i].event;
		}
	}
	it->role = wait_role_of(row->session.application_name, it->version);
	it->round = w->round;
	w->all[w->n++] = it;
	struct wait **bucket = bucket_of(w, it->session.pid);
	it->next = *bucket;
	*bucket = it;
	return it;
}

/* The session was seen in the wait `row` after the wait `it`: that one was over when this one started. */
static void supersede(struct wait *it, const struct wait_seen *row, int64_t to_ns)
{
	bool same_transaction = row->session.xact_start_us != WAIT_NONE && row->session.xact_start_us == it->session.xact_start_us;
	it->superseded = true;
	it->seen_from_ns = it->detail_from_ns; /* a cheap look takes the next wait of a statement for this one */
	mark_gone(it, row->start_us != WAIT_NONE ? later(row->start_ns, it->start_ns) : to_ns,
		same_transaction ? WAIT_GRANTED : WAIT_UNKNOWN);
}

static struct wait *take_row(struct waits *w, const struct wait_seen *row, int64_t from_ns, int64_t to_ns)
{
	struct wait *it = waits_find_open(w, row->session.pid);
	struct candidate glance = {0};
	int64_t not_before_ns = WAIT_NONE;
	if (it != NULL && !is_same(it, row, from_ns)) {
		glance = (struct candidate){.pid = row->session.pid, .query_start_us = it->query_start_us, .event = it->event};
		not_before_ns = it->seen_from_ns;
		supersede(it, row, to_ns);
		it = NULL;
	}
	if (it == NULL) {
		it = add_wait(w, row, from_ns, to_ns, not_before_ns);
		if (it == NULL)
			return NULL;
		if (glance.pid != 0) {
			it->query_start_us = glance.query_start_us;
			it->event = glance.event;
		}
	} else if (it->start_us == WAIT_NONE && row->start_us != WAIT_NONE) {
		set_start(it, row);
	}
	it->doubtful = it->waking = false;
	it->gone_ns = WAIT_NONE;
	it->seen_from_ns = it->detail_from_ns = from_ns;
	it->detail_ns = to_ns;
	free(it->direct);
	it->direct = wait_copy_blockers(row->blockers, row->blockers_n);
	it->direct_n = row->blockers_n;
	grow_longest(w, to_ns - it->start_ns);
	return it;
}

void waits_detail(struct waits *w, int64_t from_ns, int64_t to_ns, const int *asked, int asked_n, const struct wait_seen *rows, int n)
{
	struct wait *touched[WAITS_MAX];
	int touched_n = 0;
	for (int i = 0; i < n && touched_n < WAITS_MAX; i++) {
		struct wait *it = take_row(w, &rows[i], from_ns, to_ns);
		if (it != NULL)
			touched[touched_n++] = it;
	}
	/* Asked for but not waiting any more: over by now. Unless the last look told already that its session goes on, it stays open for the
	 * next one, which tells in what state the session is. */
	for (int i = 0; i < asked_n; i++) {
		struct wait *it = waits_find_open(w, asked[i]);
		if (it != NULL && it->detail_ns != to_ns && it->waking) {
			mark_gone(it, to_ns, WAIT_GRANTED);
		} else if (it != NULL && it->detail_ns != to_ns) {
			it->gone_ns = earlier(it->gone_ns, to_ns);
			it->detail_ns = to_ns;
			it->doubtful = true;
		}
	}
	/* The whole graph must be up to date before anyone's chain is followed. */
	for (int i = 0; i < touched_n; i++)
		wait_update_view(w, touched[i], from_ns, to_ns);
	w->candidates.n = 0;
}

/* ---- completions and statements ---- */

void waits_note(struct waits *w, const struct wait_note *note)
{
	if (w->notes_n == WAIT_NOTES_MAX) {
		w->state.overflowed++;
		return;
	}
	w->notes[w->notes_n++] = *note;
}

static struct statement *find_statement(struct waits *w, int64_t id, int pid)
{
	for (uint64_t i = 0; i < WAIT_STATEMENTS; i++)
		if (w->statements[i].id == id && w->statements[i].pid == pid)
			return &w->statements[i];
	return NULL;
}

void waits_statement(struct waits *w, int64_t id, int pid, int64_t start_ns, int64_t end_ns, const char *sqlstate)
{
	struct statement *known = find_statement(w, id, pid);
	if (known == NULL) {
		known = &w->statements[w->statements_n++ % WAIT_STATEMENTS];
		VEC_FREE(&known->holds);
		*known = (struct statement){.id = id, .pid = pid, .start_ns = start_ns};
	}
	known->end_ns = end_ns;
	if (end_ns == 0)
		return;
	struct wait_note note = {.pid = pid, .sent_ns = start_ns, .done_ns = end_ns};
	snprintf(note.sqlstate, sizeof note.sqlstate, "%s", sqlstate != NULL ? sqlstate : "00000");
	waits_note(w, &note);
}

void waits_statement_over(struct waits *w, int64_t id, int pid, int64_t end_ns)
{
	struct statement *s = find_statement(w, id, pid);
	if (s != NULL)
		s->end_ns = end_ns;
}

void waits_hold(struct waits *w, int64_t id, int pid, const struct wait_hold *hold)
{
	struct statement *s = find_statement(w, id, pid);
	if (s != NULL && s->holds.n < WAIT_HOLDS_MAX)
		VEC_PUSH(&s->holds, *hold);
}

static void apply_note(struct waits *w, const struct wait_note *note)
{
	for (struct wait *it = *bucket_of(w, note->pid); it != NULL; it = it->next) {
		if (it->session.pid != note->pid || it->noted)
			continue;
		if (note->sent_ns <= it->start_last_ns + SLACK_NS && note->done_ns >= it->seen_from_ns) {
			it->noted = true;
			it->note = *note;
			if (it->start_us == WAIT_NONE)
				it->start_ns = later(it->start_ns, note->sent_ns);
		} else if (it->gone && note->sent_ns > it->start_last_ns + SLACK_NS) {
			it->nameless = true;
			it->gone_ns = earlier(it->gone_ns, later(note->sent_ns, it->seen_from_ns));
		}
	}
}

/* ---- ends ---- */

static enum wait_end end_of_sqlstate(const char *sqlstate)
{
	if (strcmp(sqlstate, "55P03") == 0 || strcmp(sqlstate, TRANSACTION_TIMEOUT) == 0)
		return WAIT_TIMEOUT;
	if (strcmp(sqlstate, "40P01") == 0)
		return WAIT_DEADLOCK;
	if (strcmp(sqlstate, "57014") == 0)
		return WAIT_CANCELLED;
	if (strncmp(sqlstate, "08", 2) == 0 || strncmp(sqlstate, "57P0", 4) == 0)
		return WAIT_LOST;
	return WAIT_GRANTED;
}

static enum wait_end judge_end(const struct wait *it, int64_t end_ns)
{
	if (!it->noted)
		return it->gone ? it->gone_as : it->gone_ns != WAIT_NONE ? WAIT_UNKNOWN : WAIT_UNFINISHED;
	enum wait_end end = end_of_sqlstate(it->note.sqlstate);
	int64_t reported_after = it->note.done_ns - end_ns;
	if (it->superseded && it->gone_ns < it->note.done_ns)
		return WAIT_GRANTED;
	bool by_lock = (end == WAIT_TIMEOUT || end == WAIT_DEADLOCK) && strcmp(it->note.sqlstate, TRANSACTION_TIMEOUT) != 0;
	return reported_after > (by_lock ? LOCK_FAILURE_NS : OTHER_FAILURE_NS) ? WAIT_GRANTED : end;
}

static void emit(struct waits *w, struct wait *it, int64_t now_ns)
{
	bool by_client = it->noted && (it->gone_ns == WAIT_NONE || it->note.done_ns <= it->gone_ns);
	int64_t end_ns = by_client ? it->note.done_ns : it->gone_ns != WAIT_NONE ? it->gone_ns : now_ns;
	enum wait_end ended = judge_end(it, end_ns);
	/* A statement that fails for its wait ends with it; one that got its lock may have worked on since it was last seen waiting. */
	bool sharp = (by_client && ended != WAIT_GRANTED) || ended == WAIT_UNFINISHED;
	int64_t end_bound = sharp ? 0 : later(end_ns - it->seen_from_ns, 0);
	const struct view *view = wait_view_is_better(&it->current, &it->best) ? &it->current : &it->best;
	struct wait_record record = {
		.start_ns = it->start_ns,
		.length_ns = later(end_ns - it->start_ns, 0),
		.bound_ns = end_bound + later(it->start_last_ns - it->start_ns, 0),
		.exact = by_client && it->start_us != WAIT_NONE,
		.ended = ended,
		.waiter = &it->session,
		.role = it->role,
		.version = it->noted && it->note.version != NULL ? it->note.version
			: it->version[0] != '\0'                 ? it->version
								 : NULL,
		.transaction = it->noted ? it->note.transaction : NULL,
		.statement = it->noted ? it->note.statement : NULL,
		.lock = &it->lock,
		.blockers = view->blockers,
		.blockers_n = view->blockers_n,
		.root = view->chain_n > 0 ? &view->root : NULL,
		.chain = view->chain,
		.chain_n = view->chain_n,
		.seen_ns = view->until_ns,
		.blamed = view->blamed,
	};
	grow_longest(w, record.length_ns);
	w->state.emitted++;
	w->config.emit(&record, w->config.arg);
}

static int64_t hold_of(const struct wait *it)
{
	return it->role == WAIT_ROLE_LOAD ? HOLD_LOAD_NS : it->role == WAIT_ROLE_MIGRATION ? HOLD_MIGRATION_NS : 0;
}

static bool is_settled(const struct waits *w, const struct wait *it, int64_t now_ns)
{
	if (it->noted)
		return it->gone || (w->look_from_ns != WAIT_NONE && w->look_from_ns > it->note.done_ns);
	return it->gone && (it->nameless || now_ns - it->gone_ns >= hold_of(it));
}

void waits_settle(struct waits *w, int64_t now_ns)
{
	/* A note is kept until a look has come back that was sent after it: an earlier one may yet show its wait for the first time. */
	int kept = 0;
	for (int i = 0; i < w->notes_n; i++) {
		apply_note(w, &w->notes[i]);
		if (w->look_from_ns == WAIT_NONE || w->notes[i].done_ns >= w->look_from_ns)
			w->notes[kept++] = w->notes[i];
	}
	w->notes_n = kept;
	for (int i = w->n - 1; i >= 0; i--) {
		struct wait *it = w->all[i];
		if (it->role == WAIT_ROLE_FOREIGN && waits_find_statement(w, it->session.pid, it->start_last_ns) != 0)
			it->role = WAIT_ROLE_MIGRATION;
		if (is_settled(w, it, now_ns)) {
			emit(w, it, now_ns);
			remove_wait(w, i);
		}
	}
}

void waits_finish(struct waits *w, int64_t now_ns)
{
	waits_settle(w, now_ns);
	while (w->n > 0) {
		emit(w, w->all[w->n - 1], now_ns);
		remove_wait(w, w->n - 1);
	}
}

struct waits_state waits_take_state(struct waits *w)
{
	struct waits_state state = w->state;
	w->state.longest_ns = 0;
	w->state.waiting_max = w->state.waiting;
	return state;
}
