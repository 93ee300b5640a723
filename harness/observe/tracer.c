/* The tracer. It looks only while there is something to see: a statement of the migration that runs, or patterns of external sessions, or
 * processes whose sessions are looked for. */
#include "observe/tracer.h"

#include "base/clock.h"
#include "base/json.h"
#include "observe/queries.h"
#include "record/record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REST_NS (100 * NS_PER_MS)   /* between two thoughts while there is nothing to see */
#define SEARCH_NS (100 * NS_PER_MS) /* for external sessions where none is known to be active */
#define CALM_NS (100 * NS_PER_MS)   /* least often that a statement inside a transaction is looked at */
#define CALM_PART 20                /* ... or this part of its age: what it takes if it fails is all that this is for */

#define US(expression) "(extract(epoch FROM " expression ") * 1000000)::int8"

/* 12 and later. A row for each lock on a relation of users, and for a session without one row. The text of a statement is asked for of external sessions. */
static const struct session_statement LOOK = {
	.name = "locks of the migration",
	.index = 0,
	.params = 4,
	.sql = "WITH here AS MATERIALIZED (SELECT oid FROM pg_database WHERE datname = current_database()), "
	       "mine AS MATERIALIZED (SELECT pid, NOT pid = ANY ($1::int4[]) AS external, application_name, state, "
	       "query_start, state_change, query "
	       "FROM pg_stat_get_activity(NULL) WHERE pid = ANY ($1::int4[]) OR pid = ANY ($4::int4[]) OR (datid = (SELECT oid FROM here) "
	       "AND application_name NOT LIKE 'pgrehearse%' "
	       "AND (application_name LIKE ANY ($2::text[]) OR pg_get_userbyid(usesysid) LIKE ANY ($3::text[])))), "
	       "locks AS MATERIALIZED (SELECT l.pid, CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END AS "
	       "relation, l.mode, l.granted FROM pg_lock_status() l JOIN pg_class c ON c.oid = l.relation "
	       "JOIN pg_namespace n ON n.oid = c.relnamespace "
	       "WHERE l.locktype = 'relation' AND l.mode <> 'SIReadLock' AND l.database = (SELECT oid FROM here) AND l.pid IN (SELECT pid FROM mine) "
	       "AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')) "
	       "SELECT m.pid, m.external, m.application_name, m.state, " US("m.query_start") ", " US(
		       "m.state_change") ", "
					 "CASE WHEN m.external THEN left(m.query, 999) END, l.relation, l.mode, l.granted "
					 "FROM mine m LEFT JOIN locks l ON l.pid = m.pid ORDER BY m.pid",
};

/* 12 and later: sessions that a process which is watched may have opened. Ports are null of sessions whose role is hidden from ours. */
static const struct session_statement CLIENTS = {
	.name = "sessions of processes",
	.index = 1,
	.params = 0,
	.sql = "SELECT pid, client_port, " US(
		"backend_start") " FROM pg_stat_get_activity(NULL) "
				 "WHERE datid = (SELECT oid FROM pg_database WHERE datname = current_database()) AND client_port IS NOT NULL "
				 "AND backend_type = 'client backend' AND application_name NOT LIKE 'pgrehearse load%' "
				 "AND application_name NOT LIKE 'pgrehearse observer%'",
};

enum { L_PID, L_EXTERNAL, L_NAME, L_STATE, L_START, L_CHANGE, L_QUERY, L_RELATION, L_MODE, L_GRANTED, L_COLUMNS };

static int64_t since(const struct tracer *tracer, int64_t at_ns)
{
	return at_ns - record_start_ns(tracer->record);
}

static void write_event(struct tracer *tracer, json_t *event)
{
	json_object_set_new(event, "t_ns", json_integer(record_now_ns(tracer->record)));
	record_event(tracer->record, event);
}

static void write_hold(const struct hold_record *r, void *arg)
{
	struct tracer *tracer = arg;
	json_t *asked = r->asked_ns != INT64_MIN ? json_integer(since(tracer, r->asked_ns)) : json_null();
	write_event(tracer,
		json_pack("{s:s, s:I, s:i, s:b, s:o, s:s, s:b, s:o, s:I, s:I, s:I}", "type", "lock", "statement", (json_int_t)r->statement,
			"pid", r->pid, "external", r->external, "relation", json_text(r->relation), "mode", r->mode, "granted", r->granted,
			"asked_ns", asked, "from_ns", (json_int_t)since(tracer, r->from_ns), "to_ns", (json_int_t)since(tracer, r->to_ns),
			"bound_ns", (json_int_t)r->bound_ns));
}

/* Our own session tells its locks itself, more exactly. */
static void note_granted(const struct hold_grant *grant, void *arg)
{
	struct tracer *tracer = arg;
	struct wait_hold hold;
	if (!grant->external)
		return;
	snprintf(hold.relation, sizeof hold.relation, "%s", grant->relation);
	snprintf(hold.mode, sizeof hold.mode, "%s", grant->mode);
	waits_hold(tracer->waits, grant->statement, grant->pid, &hold);
}

/* ---- external sessions ---- */

static struct external *find_external(struct tracer *tracer, int pid)
{
	for (int i = 0; i < TRACER_SESSIONS_MAX; i++)
		if (tracer->externals[i].pid == pid)
			return &tracer->externals[i];
	return NULL;
}

static void end_statement(struct tracer *tracer, struct external *e, int64_t end_ns, int64_t bound_ns)
{
	e->active = false;
	waits_statement_over(tracer->waits, e->id, e->pid, end_ns);
	json_t *event = json_pack("{s:s, s:I, s:b, s:o, s:i, s:o, s:I, s:I, s:I, s:n}", "type", "statement", "id", (json_int_t)e->id,
		"external", 1, "application_name", json_text(e->application_name), "pid", e->pid, "sql", json_text(e->sql), "start_ns",
		(json_int_t)since(tracer, e->start_ns), "end_ns", (json_int_t)since(tracer, end_ns > e->start_ns ? end_ns : e->start_ns),
		"bound_ns", (json_int_t)bound_ns, "sqlstate");
	if (e->step[0] != '\0') {
		json_object_set_new(event, "step", json_text(e->step));
		json_object_set_new(event, "direction", json_text(e->direction));
	}
	write_event(tracer, event);
}

static int64_t local_ns(const struct tracer *tracer, const PGresult *r, int row, int column, int64_t otherwise)
{
	if (PQgetisnull(r, row, column) || !clockmap_ready(tracer->map))
		return otherwise;
	return clockmap_local_ns(tracer->map, strtoll(PQgetvalue(r, row, column), NULL, 10));
}

/* ---- sessions of processes ---- */

static struct tracer_client *find_client(struct tracer *tracer, int pid)
{
	for (size_t i = 0; i < tracer->clients.n; i++)
		if (tracer->clients.at[i].pid == pid)
			return &tracer->clients.at[i];
	return NULL;
}

static bool has_tree_clients(const struct tracer *tracer)
{
	for (size_t i = 0; i < tracer->clients.n; i++)
		if (tracer->clients.at[i].tree.root != 0)
			return true;
	return false;
}

static struct tracer_tree tree_of_client(struct tracer *tracer, int pid, int client_port)
{
	char why[128];
	pid_t root = ancestry_of(&tracer->ancestry, pid, client_port, why, sizeof why);
	if (root < 0 && !tracer->told_unknown) {
		char text[300];
		snprintf(text, sizeof text,
			"which sessions a command opened cannot be told (%s); name them in migration_sessions to have them followed", why);
		tracer->link.warn(text, tracer->link.warn_arg);
		tracer->told_unknown = true;
	}
	for (int i = 0; i < tracer->trees_n; i++)
		if (tracer->trees[i].root == root)
			return tracer->trees[i];
	return (struct tracer_tree){0};
}

/* Each session is asked about once, when it is first seen: its client is there by then, and had its parents. */
static void see_clients(struct tracer *tracer, const PGresult *r)
{
	bool looked = false;
	for (size_t i = 0; i < tracer->clients.n; i++)
		tracer->clients.at[i].here = false;
	for (int row = 0; row < PQntuples(r); row++) {
		int pid = (int)strtol(PQgetvalue(r, row, 0), NULL, 10);
		int64_t start_us = strtoll(PQgetvalue(r, row, 2), NULL, 10);
		struct tracer_client *client = find_client(tracer, pid);
		if (client == NULL) {
			VEC_PUSH(&tracer->clients, (struct tracer_client){.pid = pid});
			client = &tracer->clients.at[tracer->clients.n - 1];
		}
		client->here = true;
		if (client->start_us == start_us)
			continue;
		client->start_us = start_us;
		if (!looked) {
			pid_t roots[ANCESTRY_ROOTS_MAX];
			for (int i = 0; i < tracer->trees_n; i++)
				roots[i] = tracer->trees[i].root;
			ancestry_look(&tracer->ancestry, roots, tracer->trees_n);
			looked = true;
		}
		client->tree = tree_of_client(tracer, pid, (int)strtol(PQgetvalue(r, row, 1), NULL, 10));
	}
	size_t kept = 0;
	for (size_t i = 0; i < tracer->clients.n; i++)
		if (tracer->clients.at[i].here)
			tracer->clients.at[kept++] = tracer->clients.at[i];
	tracer->clients.n = kept;
}

/* ---- statements of external sessions ---- */

static void begin_statement(struct tracer *tracer, struct external *e, const PGresult *r, int row, int64_t to_ns)
{
	e->query_start_us = strtoll(PQgetvalue(r, row, L_START), NULL, 10);
	e->start_ns = local_ns(tracer, r, row, L_START, to_ns);
	e->id = ++tracer->next_id;
	e->active = true;
	snprintf(e->application_name, sizeof e->application_name, "%s", PQgetvalue(r, row, L_NAME));
	snprintf(e->sql, sizeof e->sql, "%s", PQgetvalue(r, row, L_QUERY));
	const struct tracer_client *client = find_client(tracer, e->pid);
	if (client != NULL) {
		memcpy(e->step, client->tree.step, sizeof e->step);
		memcpy(e->direction, client->tree.direction, sizeof e->direction);
	}
	/* Its end comes from the server, see end_statement. */
	waits_statement(tracer->waits, e->id, e->pid, e->start_ns, 0, NULL);
	holds_begin(tracer->holds, e->id, e->pid, e->start_ns, false, true);
}

static void see_external(struct tracer *tracer, const PGresult *r, int row, int64_t from_ns, int64_t to_ns)
{
	int pid = (int)strtol(PQgetvalue(r, row, L_PID), NULL, 10);
	struct external *e = find_external(tracer, pid);
	if (e == NULL && (e = find_external(tracer, 0)) == NULL)
		return;
	if (PQgetisnull(r, row, L_START))
		return; /* it has not asked for anything yet */
	bool active = strcmp(PQgetvalue(r, row, L_STATE), "active") == 0;
	int64_t start_us = strtoll(PQgetvalue(r, row, L_START), NULL, 10);
	if (e->pid == 0) {
		*e = (struct external){.pid = pid};
		begin_statement(tracer, e, r, row, to_ns);
		e->active = active || e->start_ns >= tracer->started_ns; /* what it did before we came is not ours to tell */
		if (!e->active)
			waits_statement_over(tracer->waits, e->id, pid, local_ns(tracer, r, row, L_CHANGE, to_ns));
	} else if (start_us != e->query_start_us) {
		int64_t next_ns = local_ns(tracer, r, row, L_START, to_ns);
		if (e->active)
			end_statement(tracer, e, next_ns, next_ns > e->seen_ns ? next_ns - e->seen_ns : 0);
		begin_statement(tracer, e, r, row, to_ns);
	}
	if (e->active && !active)
		end_statement(tracer, e, local_ns(tracer, r, row, L_CHANGE, to_ns), clockmap_error_ns(tracer->map));
	e->seen_ns = from_ns;
	e->here = true;
}

static void forget_gone(struct tracer *tracer, int64_t to_ns)
{
	for (int i = 0; i < TRACER_SESSIONS_MAX; i++) {
		struct external *e = &tracer->externals[i];
		if (e->pid != 0 && !e->here) {
			if (e->active)
				end_statement(tracer, e, to_ns, to_ns - e->seen_ns);
			holds_gone(tracer->holds, e->pid, e->seen_ns, to_ns);
			e->pid = 0;
		}
		e->here = false;
	}
}

/* ---- looking ---- */

static void on_look(struct session *s, void *arg)
{
	struct tracer *tracer = container_of(arg, struct tracer, link);
	const struct session_outcome *out = session_outcome(s);
	if (!link_went_well(&tracer->link, "reading the locks of the migration") || PQnfields(out->result) != L_COLUMNS)
		return;
	tracer->before(tracer);
	tracer->rows.n = 0;
	int last = 0;
	for (int i = 0; i < PQntuples(out->result); i++) {
		const PGresult *r = out->result;
		int pid = (int)strtol(PQgetvalue(r, i, L_PID), NULL, 10);
		if (pid != last && PQgetvalue(r, i, L_EXTERNAL)[0] == 't')
			see_external(tracer, r, i, out->sent_ns, out->done_ns);
		last = pid;
		if (PQgetisnull(r, i, L_RELATION))
			continue;
		struct hold_seen seen = {
			pid, PQgetvalue(r, i, L_RELATION), PQgetvalue(r, i, L_MODE), PQgetvalue(r, i, L_GRANTED)[0] == 't'};
		VEC_PUSH(&tracer->rows, seen);
	}
	holds_look(tracer->holds, out->sent_ns, out->done_ns, tracer->rows.at, (int)tracer->rows.n);
	forget_gone(tracer, out->done_ns);
	if (holds_overflowed(tracer->holds) > 0 && !tracer->told_overflow) {
		tracer->link.warn("the migration holds more locks at once than are followed: some are missing from the record",
			tracer->link.warn_arg);
		tracer->told_overflow = true;
	}
}

static bool is_due(const struct tracer *tracer, int64_t now_ns)
{
	int64_t youngest_ns, ago_ns = now_ns - tracer->looked_ns;
	bool outside;
	if (holds_running(tracer->holds, &youngest_ns, &outside)) {
		int64_t calm_ns = (now_ns - youngest_ns) / CALM_PART;
		if (outside || ago_ns >= (calm_ns < CALM_NS ? calm_ns : CALM_NS))
			return true;
	}
	if (has_tree_clients(tracer))
		return true;
	if (tracer->names == NULL && tracer->roles == NULL)
		return false;
	for (int i = 0; i < TRACER_SESSIONS_MAX; i++)
		if (tracer->externals[i].pid != 0)
			return true;
	return ago_ns >= SEARCH_NS;
}

static void look(struct tracer *tracer)
{
	int watched[TRACER_SESSIONS_MAX], n = 0;
	queries_format_pids(watched, holds_watched(tracer->holds, watched, TRACER_SESSIONS_MAX), tracer->pids, sizeof tracer->pids);
	for (size_t i = 0; i < tracer->clients.n && n < TRACER_SESSIONS_MAX; i++)
		if (tracer->clients.at[i].tree.root != 0)
			watched[n++] = tracer->clients.at[i].pid;
	queries_format_pids(watched, n, tracer->tree_pids, sizeof tracer->tree_pids);
	tracer->looked_ns = clock_now_ns();
	link_execute(&tracer->link, &LOOK, tracer->values, on_look);
}

static void on_clients(struct session *s, void *arg)
{
	struct tracer *tracer = container_of(arg, struct tracer, link);
	if (!link_went_well(&tracer->link, "asking for sessions of processes") || PQnfields(session_outcome(s)->result) != 3)
		return;
	see_clients(tracer, session_outcome(s)->result);
	if (is_due(tracer, clock_now_ns()))
		look(tracer);
	if (tracer->trees_n == 0 && !has_tree_clients(tracer))
		tracer->clients.n = 0; /* one that is there is asked about again when the next tree comes */
}

static void on_tick(struct loop_timer *t)
{
	struct tracer *tracer = container_of(t, struct tracer, tick);
	int64_t now_ns = clock_now_ns();
	bool rest = pace_is_at_rest(tracer->pace, now_ns) && tracer->trees_n == 0 && !has_tree_clients(tracer);
	int64_t period_ns = rest && tracer->period_ns < REST_NS ? REST_NS : tracer->period_ns;
	tracer->next_ns += period_ns;
	if (tracer->next_ns <= now_ns)
		tracer->next_ns = now_ns + period_ns;
	loop_timer_set(tracer->link.loop, t, tracer->next_ns);
	tracer->before(tracer);
	if (!tracer->link.is_up || tracer->link.busy)
		return;
	if (tracer->trees_n > 0 || has_tree_clients(tracer))
		link_execute(&tracer->link, &CLIENTS, NULL, on_clients);
	else if (is_due(tracer, now_ns))
		look(tracer);
}

void tracer_rouse(struct tracer *tracer)
{
	if (tracer->link.loop == NULL)
		return;
	tracer->next_ns = clock_now_ns() + tracer->period_ns;
	loop_timer_set(tracer->link.loop, &tracer->tick, tracer->next_ns);
}

void tracer_watch(struct tracer *tracer, const struct tracer_tree *tree)
{
	/* Our own sessions are known, and everything descends from 1. */
	if (tree->root <= 1 || tree->root == getpid() || tracer->trees_n == ANCESTRY_ROOTS_MAX)
		return;
	tracer->trees[tracer->trees_n++] = *tree;
	size_t kept = 0; /* those of no tree may be of this one: its first session may have been seen before we heard of it */
	for (size_t i = 0; i < tracer->clients.n; i++)
		if (tracer->clients.at[i].tree.root != 0)
			tracer->clients.at[kept++] = tracer->clients.at[i];
	tracer->clients.n = kept;
}

void tracer_unwatch(struct tracer *tracer, pid_t root)
{
	for (int i = 0; i < tracer->trees_n; i++)
		if (tracer->trees[i].root == root)
			tracer->trees[i--] = tracer->trees[--tracer->trees_n];
}

static void on_up(struct link *link)
{
	(void)link; /* the timer finds it up */
}

void tracer_start(struct tracer *tracer, struct loop *loop)
{
	tracer->holds = holds_create(&(struct holds_config){write_hold, note_granted, tracer});
	tracer->next_id = TRACER_EXTERNAL_FIRST;
	tracer->values[0] = tracer->pids;
	tracer->values[1] = tracer->names != NULL ? tracer->names : "{}";
	tracer->values[2] = tracer->roles != NULL ? tracer->roles : "{}";
	tracer->values[3] = tracer->tree_pids;
	tracer->ancestry = ANCESTRY_NONE;
	tracer->link.loop = loop;
	tracer->link.what = "lock tracer";
	tracer->link.up = on_up;
	tracer->tick.fn = on_tick;
	tracer->started_ns = clock_now_ns();
	tracer->next_ns = tracer->started_ns + tracer->period_ns;
	loop_timer_set(loop, &tracer->tick, tracer->next_ns);
	link_open(&tracer->link);
}

void tracer_stop(struct tracer *tracer)
{
	int64_t now_ns = clock_now_ns();
	for (int i = 0; i < TRACER_SESSIONS_MAX; i++)
		if (tracer->externals[i].pid != 0 && tracer->externals[i].active)
			end_statement(tracer, &tracer->externals[i], now_ns, now_ns - tracer->externals[i].seen_ns);
	holds_finish(tracer->holds, now_ns);
	holds_free(tracer->holds);
	loop_timer_cancel(tracer->link.loop, &tracer->tick);
	link_close(&tracer->link);
	VEC_FREE(&tracer->rows);
	VEC_FREE(&tracer->clients);
	ancestry_free(&tracer->ancestry);
}
