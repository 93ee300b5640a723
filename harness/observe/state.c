/* The state of the server. A timer looks what is due, and one query is under way at a time. */
#define _GNU_SOURCE
#include "observe/state.h"

#include "base/clock.h"
#include "observe/queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS (50 * NS_PER_MS)
#define TABLES_NS (1 * NS_PER_S) /* how often tables in use are looked for at first, */
#define TABLES_SETTLED_NS (20 * NS_PER_S)
#define TABLES_LATER_NS (5 * NS_PER_S) /* and after TABLES_SETTLED_NS */
#define TABLES_MAX 5000

static struct state *state_of(void *link)
{
	return container_of(link, struct state, link);
}

/* ---- the tables in use ---- */

static struct table_base *find_base(struct state *st, int64_t oid)
{
	for (size_t i = 0; i < st->bases.n; i++)
		if (st->bases.at[i].oid == oid)
			return &st->bases.at[i];
	return NULL;
}

/* What was done to a table before the observer came is not this rehearsal's traffic. */
static void on_tables(struct session *s, void *arg)
{
	struct state *st = state_of(arg);
	if (!link_went_well(&st->link, "asking for the tables in use"))
		return;
	struct table_facts t;
	for (int row = 0; queries_read_table(session_outcome(s)->result, row, &t); row++) {
		struct table_base *base = find_base(st, t.oid);
		if (base == NULL && st->bases.n < TABLES_MAX) {
			VEC_PUSH(&st->bases, (struct table_base){t.oid, st->based ? 0 : t.activity});
			base = &st->bases.at[st->bases.n - 1];
		}
		if (base != NULL && t.activity < base->activity)
			base->activity = 0; /* the statistics were reset */
		if ((t.named || (base != NULL && t.activity > base->activity)) && st->availability != NULL)
			availability_add(st->availability, t.relation, t.quoted);
	}
	st->based = true;
}

void state_note_relation(struct state *st, const char *relation)
{
	char quoted[300];
	snprintf(quoted, sizeof quoted, "\"%s\"", relation);
	if (strstr(st->named, quoted) != NULL)
		return;
	queries_add_to_array(relation, st->named, sizeof st->named);
	st->due_ns[JOB_TABLES] = 0;
}

/* ---- rhythms ---- */

static bool start_job(struct state *st, enum state_job job, int64_t now_ns)
{
	switch (job) {
	default:
		st->due_ns[job] = now_ns + (now_ns - st->begin_ns < TABLES_SETTLED_NS ? TABLES_NS : TABLES_LATER_NS);
		st->values[0] = st->named;
		return link_execute(&st->link, &QUERY_TABLES, st->values, on_tables);
	}
}

static void on_tick(struct loop_timer *t)
{
	struct state *st = container_of(t, struct state, tick);
	int64_t now_ns = clock_now_ns();
	loop_timer_set(st->link.loop, t, now_ns + LOOK_NS);
	for (int job = 0; job < JOBS && st->link.is_up && !st->link.busy; job++)
		if (st->due_ns[job] <= now_ns)
			start_job(st, (enum state_job)job, now_ns);
}

static void on_up(struct link *link)
{
	(void)link; /* the timer finds it up */
}

void state_start(struct state *st, struct loop *loop)
{
	st->link.loop = loop;
	st->link.what = "state of the server";
	st->link.up = on_up;
	st->tick.fn = on_tick;
	st->begin_ns = clock_now_ns();
	queries_begin_array(st->named, sizeof st->named);
	loop_timer_set(loop, &st->tick, st->begin_ns);
	link_open(&st->link);
}

void state_stop(struct state *st)
{
	if (st->link.loop == NULL)
		return;
	loop_timer_cancel(st->link.loop, &st->tick);
	link_close(&st->link);
	VEC_FREE(&st->bases);
}
