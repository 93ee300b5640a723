/* Who stands in a waiter's way: the search through the graph of who waits for whom, for a migration to blame and for the root. */
#include "observe/waits_internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

struct wait *waits_find_open(const struct waits *w, int pid)
{
	for (struct wait *it = w->bucket[(unsigned)pid % WAIT_BUCKETS]; it != NULL; it = it->next)
		if (it->session.pid == pid && !it->gone)
			return it;
	return NULL;
}

struct wait_blocker *wait_copy_blockers(const struct wait_blocker *from, int n)
{
	if (n == 0)
		return NULL;
	struct wait_blocker *copy = malloc((size_t)n * sizeof *copy);
	if (copy == NULL)
		abort();
	memcpy(copy, from, (size_t)n * sizeof *copy);
	return copy;
}

int64_t waits_find_statement(const struct waits *w, int pid, int64_t at_ns)
{
	uint64_t oldest = w->statements_n > WAIT_STATEMENTS ? w->statements_n - WAIT_STATEMENTS : 0;
	for (uint64_t i = w->statements_n; i-- > oldest;) {
		const struct statement *s = &w->statements[i % WAIT_STATEMENTS];
		if (s->pid == pid && s->start_ns <= at_ns)
			return s->id;
	}
	return 0;
}

/* PostgreSQL's table of conflicting lock modes (documentation 13.3.1), from the weakest to the strongest: bit i is mode i. */
static const struct {
	const char *mode;
	unsigned conflicts;
} MODES[] = {
	{"AccessShareLock", 0x80},
	{"RowShareLock", 0xC0},
	{"RowExclusiveLock", 0xF0},
	{"ShareUpdateExclusiveLock", 0xF8},
	{"ShareLock", 0xEC},
	{"ShareRowExclusiveLock", 0xFC},
	{"ExclusiveLock", 0xFE},
	{"AccessExclusiveLock", 0xFF},
};
#define MODE_COUNT ((int)(sizeof MODES / sizeof MODES[0]))

static int mode_number(const char *mode)
{
	for (int i = 0; i < MODE_COUNT; i++)
		if (strcmp(MODES[i].mode, mode) == 0)
			return i;
	return -1;
}

bool wait_is_for_row(const struct wait_lock *wanted)
{
	return strcmp(wanted->type, "transactionid") == 0 || strcmp(wanted->type, "tuple") == 0;
}

/* The modes of which one is held by whoever stands in the way of `wanted`, as bits. Of a row that is who writes to its table: what is
 * stronger lets nobody come as far as the row, and RowShareLock comes from foreign keys too, which are seldom in the way. */
static unsigned modes_against(const struct wait_lock *wanted)
{
	if (wait_is_for_row(wanted))
		return 1U << mode_number("RowExclusiveLock");
	int mode = strcmp(wanted->type, "relation") == 0 ? mode_number(wanted->mode) : -1;
	return mode >= 0 ? MODES[mode].conflicts : 0; /* the table is symmetric */
}

static bool holds_one_of(const struct statement *s, const char *relation, unsigned modes)
{
	for (size_t i = 0; i < s->holds.n; i++) {
		int held = mode_number(s->holds.at[i].mode);
		if (held >= 0 && (modes >> held & 1) != 0 && strcmp(s->holds.at[i].relation, relation) == 0)
			return true;
	}
	return false;
}

int64_t waits_find_culprit(const struct waits *w, const struct wait_session *session, const struct wait_lock *wanted, int64_t at_ns)
{
	uint64_t oldest = w->statements_n > WAIT_STATEMENTS ? w->statements_n - WAIT_STATEMENTS : 0;
	unsigned modes = session->xact_start_ns != WAIT_NONE ? modes_against(wanted) : 0;
	for (uint64_t i = oldest; modes != 0 && i < w->statements_n; i++) {
		const struct statement *s = &w->statements[i % WAIT_STATEMENTS];
		/* BEGIN came a round trip before the first statement: a millisecond for the clocks is less than that and a commit. */
		if (s->pid == session->pid && s->start_ns >= session->xact_start_ns - NS_PER_MS && s->start_ns <= at_ns &&
			holds_one_of(s, wanted->relation, modes))
			return s->id;
	}
	return waits_find_statement(w, session->pid, at_ns);
}

int64_t waits_find_locker(const struct waits *w, const struct wait_lock *wanted, int64_t from_ns, int64_t to_ns)
{
	int64_t found = 0;
	uint64_t oldest = w->statements_n > WAIT_STATEMENTS ? w->statements_n - WAIT_STATEMENTS : 0;
	for (uint64_t i = oldest; i < w->statements_n; i++) {
		const struct statement *s = &w->statements[i % WAIT_STATEMENTS];
		if (s->start_ns <= to_ns && (s->end_ns == 0 || s->end_ns >= from_ns) &&
			holds_one_of(s, wanted->relation, modes_against(wanted)))
			found = s->id;
	}
	return found;
}

static bool is_migration(const struct waits *w, const struct wait_blocker *b, int64_t at_ns)
{
	char version[32];
	return wait_role_of(b->session.application_name, version) == WAIT_ROLE_MIGRATION ||
		waits_find_statement(w, b->session.pid, at_ns) != 0;
}

/* A step of the search through the graph of who waits for whom. */
struct hop {
	const struct wait_blocker *blocker;
	int parent; /* index of the hop that it blocks; -1: the waiter itself */
};

#define HOPS_MAX 256

static bool has_hop(const struct hop *hops, int n, int pid)
{
	for (int i = 0; i < n; i++)
		if (hops[i].blocker->session.pid == pid)
			return true;
	return false;
}

static int push_hops(const struct wait *from, int parent, int waiter, struct hop *hops, int n)
{
	for (int i = 0; i < from->direct_n && n < HOPS_MAX; i++) {
		int pid = from->direct[i].session.pid;
		if (pid != waiter && !has_hop(hops, n, pid))
			hops[n++] = (struct hop){&from->direct[i], parent};
	}
	return n;
}

/* The nearest migration session on any way up from the waiter; the way to it goes to view->chain, and to *wanted the lock that somebody asks
 * of it. NULL when there is none. */
static const struct wait_blocker *find_migration(
	const struct waits *w, const struct wait *it, int64_t at_ns, struct view *view, const struct wait_lock **wanted)
{
	struct hop hops[HOPS_MAX];
	int n = push_hops(it, -1, it->session.pid, hops, 0);
	for (int i = 0; i < n; i++) {
		if (is_migration(w, hops[i].blocker, at_ns)) {
			int length = 0;
			for (int h = i; h >= 0; h = hops[h].parent)
				length++;
			if (length > WAIT_CHAIN_MAX)
				return NULL;
			view->chain_n = length;
			for (int h = i; h >= 0; h = hops[h].parent)
				view->chain[--length] = hops[h].blocker->session.pid;
			const struct wait *behind = hops[i].parent >= 0 ? waits_find_open(w, hops[hops[i].parent].blocker->session.pid)
									: it;
			*wanted = behind != NULL ? &behind->lock : &it->lock;
			return hops[i].blocker;
		}
		const struct wait *up = waits_find_open(w, hops[i].blocker->session.pid);
		if (up != NULL)
			n = push_hops(up, i, it->session.pid, hops, n);
	}
	return NULL;
}

static bool in_chain(const struct view *view, int pid)
{
	for (int i = 0; i < view->chain_n; i++)
		if (view->chain[i] == pid)
			return true;
	return false;
}

/* From one blocker to the next: rather one that waits itself, so that the chain leads to its true root. */
static const struct wait_blocker *next_in_chain(const struct waits *w, const struct wait *from, int waiter, const struct view *view)
{
	const struct wait_blocker *choice = NULL;
	for (int i = 0; i < from->direct_n; i++) {
		const struct wait_blocker *b = &from->direct[i];
		if (b->session.pid == waiter || in_chain(view, b->session.pid))
			continue;
		if (waits_find_open(w, b->session.pid) != NULL)
			return b;
		if (choice == NULL)
			choice = b;
	}
	return choice;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	return (hash ^ value) * UINT64_C(0x9E3779B97F4A7C15) + (hash >> 29);
}

static uint64_t sign_view(const struct wait *it, const struct view *view)
{
	uint64_t hash = mix(1, (uint64_t)view->blamed);
	for (int i = 0; i < it->direct_n; i++)
		hash = mix(hash, (uint64_t)it->direct[i].session.pid * 2 + it->direct[i].queued);
	for (int i = 0; i < view->chain_n; i++)
		hash = mix(hash, (uint64_t)view->chain[i]);
	return hash | 1;
}

/* Of two views of one wait the one that names a migration statement tells more; then the one that lasted longer. */
bool wait_view_is_better(const struct view *a, const struct view *b)
{
	if (b->signature == 0 || (a->blamed != 0) != (b->blamed != 0))
		return b->signature == 0 || a->blamed != 0;
	return a->until_ns - a->since_ns >= b->until_ns - b->since_ns;
}

void wait_free_view(struct view *view)
{
	free(view->blockers);
	free(view->newest);
}

/* The same sessions stand in the way as before. */
static void refresh_view(struct view *view, const struct view *seen)
{
	view->until_ns = seen->until_ns;
	if (view->newest != NULL) {
		free(view->blockers);
		view->blockers = view->newest;
		view->root = view->newest_root;
	}
	view->newest = seen->blockers;
	view->newest_root = seen->root;
}

void wait_update_view(const struct waits *w, struct wait *it, int64_t from_ns, int64_t to_ns)
{
	struct view view = {.since_ns = from_ns, .until_ns = to_ns};
	const struct wait_lock *wanted = NULL;
	const struct wait_blocker *b = find_migration(w, it, to_ns, &view, &wanted);
	if (b != NULL)
		view.blamed = waits_find_culprit(w, &b->session, wanted, to_ns);
	const struct wait_blocker *root = b;
	const struct wait *at = b != NULL ? waits_find_open(w, b->session.pid) : it;
	while (at != NULL && view.chain_n < WAIT_CHAIN_MAX && (b = next_in_chain(w, at, it->session.pid, &view)) != NULL) {
		view.chain[view.chain_n++] = b->session.pid;
		root = b;
		at = waits_find_open(w, b->session.pid);
	}
	view.signature = sign_view(it, &view);
	if (root != NULL) {
		view.root = *root;
		view.root.session.migration = is_migration(w, root, to_ns);
	}
	view.blockers = wait_copy_blockers(it->direct, it->direct_n);
	view.blockers_n = it->direct_n;
	for (int i = 0; i < view.blockers_n; i++)
		view.blockers[i].session.migration = is_migration(w, &view.blockers[i], to_ns);
	if (view.signature == it->current.signature) {
		refresh_view(&it->current, &view);
		return;
	}
	if (it->current.signature != 0 && wait_view_is_better(&it->current, &it->best)) {
		wait_free_view(&it->best);
		it->best = it->current;
		free(it->best.newest);
		it->best.newest = NULL;
	} else {
		wait_free_view(&it->current);
	}
	it->current = view;
}
