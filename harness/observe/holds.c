/* Locks that sessions of the migration hold; see holds.h. A hold begins somewhere between the look before the one that first showed it
 * (or the start of its statement) and that one, and ends likewise; the longest that it can have been is told, with the bound. */
#include "observe/holds.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct hold {
	int pid;
	char relation[136];
	char mode[32];
	int64_t statement;
	bool external;
	bool granted;
	int64_t asked_ns;
	int64_t from_ns, from_last_ns; /* the hold began in between */
	int64_t seen_ns;               /* the last look that showed it was sent then */
	uint64_t round;
};

struct statement {
	int64_t id;
	int pid;
	int64_t start_ns;
	int64_t look_ns; /* the last look at its session was sent then; INT64_MIN: none since it began */
	bool in_transaction, external;
};

struct holds {
	struct holds_config config;
	struct hold open[HOLDS_MAX];
	int n;
	struct statement running[HOLD_STATEMENTS_MAX];
	int running_n;
	uint64_t round, overflowed;
};

struct holds *holds_create(const struct holds_config *config)
{
	struct holds *h = calloc(1, sizeof *h);
	if (h == NULL)
		abort();
	h->config = *config;
	return h;
}

void holds_free(struct holds *h)
{
	free(h);
}

static struct statement *find_running(struct holds *h, int pid)
{
	for (int i = 0; i < h->running_n; i++)
		if (h->running[i].pid == pid)
			return &h->running[i];
	return NULL;
}

static void close_hold(struct holds *h, int index, int64_t to_ns, int64_t to_bound_ns, bool tell)
{
	struct hold *it = &h->open[index];
	if (it->granted && to_ns < it->from_ns)
		to_ns = it->from_ns;
	struct hold_record record = {
		.statement = it->statement,
		.pid = it->pid,
		.relation = it->relation,
		.mode = it->mode,
		.external = it->external,
		.granted = it->granted,
		.asked_ns = it->asked_ns,
		.from_ns = it->granted ? it->from_ns : to_ns,
		.to_ns = to_ns,
		.bound_ns = to_bound_ns + (it->granted ? it->from_last_ns - it->from_ns : 0),
	};
	if (tell)
		h->config.emit(&record, h->config.arg);
	h->open[index] = h->open[--h->n];
}

void holds_begin(struct holds *h, int64_t id, int pid, int64_t start_ns, bool in_transaction, bool external)
{
	struct statement *st = find_running(h, pid);
	if (st == NULL) {
		if (h->running_n == HOLD_STATEMENTS_MAX) {
			h->overflowed++;
			return;
		}
		st = &h->running[h->running_n++];
		st->look_ns = INT64_MIN;
	} else if (!external) {
		st->look_ns = INT64_MIN;
	}
	st->id = id;
	st->pid = pid;
	st->start_ns = start_ns;
	st->in_transaction = in_transaction;
	st->external = external;
}

void holds_end(struct holds *h, int64_t id, int pid, int64_t end_ns, bool failed)
{
	struct statement *st = find_running(h, pid);
	if (st == NULL || st->id != id || st->external)
		return;
	for (int i = h->n - 1; i >= 0; i--)
		if (h->open[i].pid == pid)
			close_hold(h, i, end_ns, 0, !st->in_transaction || (failed && h->open[i].statement == id));
	*st = h->running[--h->running_n];
}

void holds_gone(struct holds *h, int pid, int64_t from_ns, int64_t to_ns)
{
	struct statement *st = find_running(h, pid);
	for (int i = h->n - 1; i >= 0; i--)
		if (h->open[i].pid == pid)
			close_hold(h, i, to_ns, to_ns - (h->open[i].seen_ns < from_ns ? h->open[i].seen_ns : from_ns), true);
	if (st != NULL)
		*st = h->running[--h->running_n];
}

int holds_watched(const struct holds *h, int *pids, int max)
{
	int n = 0;
	for (int i = 0; i < h->running_n && n < max; i++)
		if (!h->running[i].external)
			pids[n++] = h->running[i].pid;
	return n;
}

bool holds_running(const struct holds *h, int64_t *youngest_ns, bool *outside)
{
	bool any = false;
	*outside = false;
	for (int i = 0; i < h->running_n; i++) {
		const struct statement *st = &h->running[i];
		if (st->external)
			continue;
		if (!any || st->start_ns > *youngest_ns)
			*youngest_ns = st->start_ns;
		any = true;
		*outside = *outside || !st->in_transaction;
	}
	return any;
}

static struct hold *find_hold(struct holds *h, const struct hold_seen *row)
{
	for (int i = 0; i < h->n; i++) {
		struct hold *it = &h->open[i];
		if (it->pid == row->pid && strcmp(it->mode, row->mode) == 0 && strcmp(it->relation, row->relation) == 0)
			return it;
	}
	return NULL;
}

static void tell_granted(const struct holds *h, const struct hold *it)
{
	struct hold_grant grant = {it->statement, it->pid, it->external, it->relation, it->mode};
	if (h->config.granted != NULL)
		h->config.granted(&grant, h->config.arg);
}

static void take_row(struct holds *h, const struct statement *st, const struct hold_seen *row, int64_t from_ns, int64_t to_ns)
{
	int64_t not_before_ns = st->look_ns > st->start_ns ? st->look_ns : st->start_ns;
	struct hold *it = find_hold(h, row);
	if (it == NULL) {
		if (h->n == HOLDS_MAX) {
			h->overflowed++;
			return;
		}
		it = &h->open[h->n++];
		*it = (struct hold){.pid = row->pid, .statement = st->id, .external = st->external, .asked_ns = INT64_MIN};
		snprintf(it->relation, sizeof it->relation, "%s", row->relation);
		snprintf(it->mode, sizeof it->mode, "%s", row->mode);
		if (!row->granted)
			it->asked_ns = not_before_ns;
	}
	if (row->granted && !it->granted) {
		it->granted = true;
		it->from_ns = it->asked_ns != INT64_MIN && it->seen_ns > not_before_ns ? it->seen_ns : not_before_ns;
		it->from_last_ns = to_ns;
		tell_granted(h, it);
	}
	it->seen_ns = from_ns;
	it->round = h->round;
}

void holds_look(struct holds *h, int64_t from_ns, int64_t to_ns, const struct hold_seen *rows, int n)
{
	h->round++;
	for (int i = 0; i < n; i++) {
		struct statement *st = find_running(h, rows[i].pid);
		/* A look that was under way when the statement began may show what an earlier one held. */
		if (st != NULL && (st->external || st->start_ns <= from_ns))
			take_row(h, st, &rows[i], from_ns, to_ns);
	}
	for (int i = h->n - 1; i >= 0; i--) {
		const struct statement *st = find_running(h, h->open[i].pid);
		bool looked = st != NULL && (st->external || st->start_ns <= from_ns);
		if (looked && h->open[i].round != h->round)
			close_hold(h, i, to_ns, to_ns - h->open[i].seen_ns, !st->in_transaction);
	}
	for (int i = 0; i < h->running_n; i++)
		if (h->running[i].external || h->running[i].start_ns <= from_ns)
			h->running[i].look_ns = from_ns;
}

void holds_finish(struct holds *h, int64_t now_ns)
{
	while (h->n > 0) {
		const struct hold *it = &h->open[h->n - 1];
		const struct statement *st = find_running(h, it->pid);
		close_hold(h, h->n - 1, now_ns, now_ns - it->seen_ns, st == NULL || !st->in_transaction);
	}
	h->running_n = 0;
}

uint64_t holds_overflowed(const struct holds *h)
{
	return h->overflowed;
}
