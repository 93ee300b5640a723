/* The state of the server. A timer looks what is due, and one query is under way at a time. */
#define _GNU_SOURCE
#include "observe/state.h"

#include "base/clock.h"
#include "base/json.h"
#include "observe/state_queries.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_NS (50 * NS_PER_MS) /* again for what is due and could not be asked */
#define PROFILE_NS (250 * NS_PER_MS)
#define PROGRESS_NS (1 * NS_PER_S)
#define STATE_NS (2 * NS_PER_S)
#define TABLES_NS (1 * NS_PER_S) /* how often tables in use are looked for at first, */
#define TABLES_SETTLED_NS (20 * NS_PER_S)
#define TABLES_LATER_NS (5 * NS_PER_S) /* and after TABLES_SETTLED_NS */
#define TABLES_MAX 5000

static struct state *state_of(void *link)
{
	return container_of(link, struct state, link);
}

static void ask_now(struct state *st, enum state_job job)
{
	st->due_ns[job] = 0;
	if (st->link.loop != NULL)
		loop_timer_set(st->link.loop, &st->tick, clock_now_ns());
}

/* ---- the tables in use ---- */

static struct table_base *find_base(struct state *st, int64_t oid)
{
	for (size_t i = 0; i < st->bases.n; i++)
		if (st->bases.at[i].oid == oid)
			return &st->bases.at[i];
	return NULL;
}

static void add_table(struct state *st, const struct table_facts *t)
{
	for (int i = 0; i < st->tables_n; i++)
		if (strcmp(st->tables[i].relation, t->relation) == 0)
			return;
	if (st->tables_n == STATE_TABLES_MAX)
		return;
	snprintf(st->tables[st->tables_n].relation, sizeof st->tables[0].relation, "%s", t->relation);
	snprintf(st->tables[st->tables_n].quoted, sizeof st->tables[0].quoted, "%s", t->quoted);
	st->tables_n++;
	if (st->availability != NULL)
		availability_add(st->availability, t->relation, t->quoted);
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
		if (t.named || (base != NULL && t.activity > base->activity))
			add_table(st, &t);
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
	ask_now(st, JOB_TABLES);
}

/* ---- what a phase is summed up from ---- */

static void raise_number(json_t *object, const char *key, int64_t value)
{
	if (value > json_get_int(object, key, -1))
		json_object_set_new(object, key, json_integer(value));
}

/* The reading with the largest of `measure` is kept whole. */
static void keep_largest(json_t *phase, const char *key, json_t *reading, const char *measure)
{
	if (json_is_object(reading) && json_get_int(reading, measure, -1) > json_get_int(json_object_get(phase, key), measure, -1))
		json_object_set_new(phase, key, json_deep_copy(reading)); /* the reading itself goes to another thread */
}

static void keep_autovacuum(json_t *phase, const json_t *workers)
{
	size_t i;
	json_t *w;
	json_t *kept = json_object_get(phase, "autovacuum");
	json_array_foreach(workers, i, w)
	{
		const char *table = json_get_string(w, "table", "");
		size_t k = 0;
		while (k < json_array_size(kept) && strcmp(json_string_value(json_array_get(kept, k)), table) != 0)
			k++;
		if (table[0] != '\0' && k == json_array_size(kept) && k < 64)
			json_array_append_new(kept, json_string(table));
	}
}

static void on_state(struct session *s, void *arg)
{
	struct state *st = state_of(arg);
	if (!link_went_well(&st->link, "asking for the server's state"))
		return;
	json_t *server = state_read_json(session_outcome(s)->result);
	if (!json_is_object(server)) {
		json_decref(server);
		return;
	}
	if (st->phase != NULL) {
		keep_largest(st->phase, "xmin", json_object_get(server, "xmin"), "age");
		keep_largest(st->phase, "longest_xact", json_object_get(server, "longest_xact"), "age_ns");
		const json_t *idle = json_object_get(server, "idle_in_transaction");
		if (json_get_int(idle, "n", 0) > 0)
			keep_largest(st->phase, "idle_in_transaction", json_object_get(server, "idle_in_transaction"), "longest_ns");
		keep_largest(st->phase, "locks", json_object_get(server, "locks"), "n");
		raise_number(st->phase, "prepared", json_get_int(server, "prepared", 0));
		raise_number(st->phase, "xid_age", json_get_int(server, "xid_age", 0));
		keep_autovacuum(st->phase, json_object_get(server, "autovacuum"));
	}
	st->latest(server, st->arg);
}

static void on_profile(struct session *s, void *arg)
{
	struct state *st = state_of(arg);
	const PGresult *r = session_outcome(s)->result;
	if (!link_went_well(&st->link, "asking what sessions wait for") || st->phase == NULL || r == NULL || PQnfields(r) != 2)
		return;
	json_t *events = json_object_get(st->phase, "wait_events");
	for (int i = 0; i < PQntuples(r); i++) {
		const char *name = PQgetvalue(r, i, 0);
		int64_t n = strtoll(PQgetvalue(r, i, 1), NULL, 10);
		json_object_set_new(events, name, json_integer(json_get_int(events, name, 0) + n));
	}
	json_object_set_new(st->phase, "profile_samples", json_integer(json_get_int(st->phase, "profile_samples", 0) + 1));
}

/* ---- edges of phases ---- */

/* Sizes at an edge: as *_start into the phase that begins, as *_end into the one that ends. */
static void put_sizes(json_t *phase, const json_t *sizes, bool end)
{
	size_t i, k;
	json_t *size, *table;
	json_t *tables = json_object_get(phase, "tables");
	json_array_foreach(sizes, i, size)
	{
		json_t *into = NULL;
		const char *name = json_get_string(size, "table", "");
		json_array_foreach(tables, k, table) if (strcmp(json_get_string(table, "table", ""), name) == 0) into = table;
		if (into == NULL) {
			into = json_pack("{s:s}", "table", name);
			json_array_append_new(tables, into);
		}
		json_object_set(into, end ? "bytes_end" : "bytes_start", json_object_get(size, "bytes"));
		json_object_set(into, end ? "dead_end" : "dead_start", json_object_get(size, "dead"));
		json_object_set(into, end ? "live_end" : "live_start", json_object_get(size, "live"));
	}
}

static void put_counters(json_t *phase, const json_t *before, const json_t *after)
{
	const char *key;
	json_t *value;
	json_object_foreach((json_t *)before, key, value)
	{
		int64_t n = json_get_int(after, key, -1) - json_integer_value(value);
		if (json_object_get(after, key) != NULL && n >= 0)
			json_object_set_new(phase, key, json_integer(n));
	}
}

static void pass_edge(struct state *st, const json_t *sizes)
{
	if (st->phase != NULL) {
		put_sizes(st->phase, sizes, true);
		put_counters(st->phase, st->counters, st->edge);
		json_array_append_new(st->phases, st->phase);
		st->phase = NULL;
	}
	if (st->edges[0][0] != '\0') {
		st->phase = json_pack(
			"{s:s, s:i, s:{}, s:[], s:[]}", "phase", st->edges[0], "profile_samples", 0, "wait_events", "autovacuum", "tables");
		put_sizes(st->phase, sizes, false);
	}
	json_decref(st->counters);
	st->counters = st->edge;
	st->edge = NULL;
	st->edges_n--;
	memmove(st->edges[0], st->edges[1], (size_t)st->edges_n * sizeof st->edges[0]);
	ask_now(st, JOB_STATE);
	st->due_ns[JOB_EDGE] = INT64_MAX;
	if (st->edges_n > 0)
		ask_now(st, JOB_EDGE);
	if (st->finishing && st->edges_n == 0)
		st->finished(st->arg);
}

static void on_sizes(struct session *s, void *arg)
{
	struct state *st = state_of(arg);
	/* Not told when it fails: somebody has locked a table, which other figures show. */
	json_t *sizes = session_outcome(s)->ok ? state_read_json(session_outcome(s)->result) : NULL;
	pass_edge(st, sizes);
	json_decref(sizes);
}

static void on_counters(struct session *s, void *arg)
{
	struct state *st = state_of(arg);
	json_decref(st->edge);
	st->edge = link_went_well(&st->link, "reading the server's counters") ? state_read_json(session_outcome(s)->result) : NULL;
	queries_begin_array(st->names, sizeof st->names);
	for (int i = 0; i < st->tables_n; i++)
		queries_add_to_array(st->tables[i].quoted, st->names, sizeof st->names);
	st->values[0] = st->names;
	if (!link_execute(&st->link, &QUERY_SIZES, st->values, on_sizes))
		pass_edge(st, NULL);
}

void state_note_phase(struct state *st, const char *name)
{
	if (st->edges_n == STATE_EDGES_MAX)
		return;
	snprintf(st->edges[st->edges_n++], sizeof st->edges[0], "%s", name);
	ask_now(st, JOB_EDGE);
}

/* ---- progress ---- */

static void on_progress(struct session *s, void *arg)
{
	struct state *st = state_of(arg);
	if (!link_went_well(&st->link, "asking for the progress of commands"))
		return;
	struct progress_facts f;
	int64_t now_ns = clock_now_ns();
	char best[400] = "";
	int best_rank = -1;
	progress_begin_look(&st->commands);
	for (int row = 0; state_read_progress(session_outcome(s)->result, row, &f); row++) {
		char text[400];
		int64_t eta_ns = progress_estimate(&st->commands, &f, now_ns);
		progress_text(&f, eta_ns, text, sizeof text);
		st->progress(progress_json(&f, eta_ns), NULL, st->arg);
		char version[32];
		int rank = wait_role_of(f.application_name, version) == WAIT_ROLE_MIGRATION ? 2 : f.application_name[0] != '\0';
		if (rank > best_rank) {
			best_rank = rank;
			memcpy(best, text, sizeof best);
		}
	}
	progress_end_look(&st->commands);
	st->progress(NULL, best, st->arg);
}

/* ---- rhythms ---- */

static void start_job(struct state *st, enum state_job job, int64_t now_ns)
{
	switch (job) {
	case JOB_EDGE:
		st->due_ns[job] = INT64_MAX;
		if (!link_query(&st->link, state_query_counters(st->facts->version_num), on_counters))
			st->due_ns[job] = now_ns;
		break;
	case JOB_PROFILE:
		st->due_ns[job] = now_ns + PROFILE_NS;
		link_execute(&st->link, &QUERY_PROFILE, NULL, on_profile);
		break;
	case JOB_PROGRESS:
		st->due_ns[job] = now_ns + PROGRESS_NS;
		link_execute(&st->link, state_query_progress(st->facts->version_num), NULL, on_progress);
		break;
	case JOB_STATE:
		st->due_ns[job] = now_ns + STATE_NS;
		link_execute(&st->link, &QUERY_STATE, NULL, on_state);
		break;
	default:
		st->due_ns[job] = now_ns + (now_ns - st->begin_ns < TABLES_SETTLED_NS ? TABLES_NS : TABLES_LATER_NS);
		st->values[0] = st->named;
		link_execute(&st->link, &QUERY_TABLES, st->values, on_tables);
		break;
	}
}

static void on_tick(struct loop_timer *t)
{
	struct state *st = container_of(t, struct state, tick);
	int64_t now_ns = clock_now_ns(), next_ns = INT64_MAX;
	for (int job = 0; job < JOBS && st->facts->version_num > 0 && st->link.is_up && !st->link.busy; job++)
		if (st->due_ns[job] <= now_ns)
			start_job(st, (enum state_job)job, now_ns);
	for (int job = 0; job < JOBS; job++)
		if (st->due_ns[job] < next_ns)
			next_ns = st->due_ns[job];
	loop_timer_set(st->link.loop, t, next_ns > now_ns ? next_ns : now_ns + LOOK_NS);
}

static void on_set(struct session *s, void *arg)
{
	(void)s;
	link_went_well(arg, "setting lock_timeout");
}

/* The size of a table that is locked is not worth a place in its queue. The timer finds the link idle after that. */
static void on_up(struct link *link)
{
	link_query(link, "SET lock_timeout = '50ms'", on_set);
}

/* An edge that was being looked at is looked at again. */
static void on_down(struct link *link)
{
	struct state *st = state_of(link);
	if (st->edges_n > 0)
		st->due_ns[JOB_EDGE] = 0;
}

void state_start(struct state *st, struct loop *loop)
{
	st->link.loop = loop;
	st->link.what = "state of the server";
	st->link.up = on_up;
	st->link.down = on_down;
	st->tick.fn = on_tick;
	st->begin_ns = clock_now_ns();
	st->phases = json_array();
	st->due_ns[JOB_EDGE] = INT64_MAX;
	queries_begin_array(st->named, sizeof st->named);
	loop_timer_set(loop, &st->tick, st->begin_ns);
	link_open(&st->link);
}

void state_finish(struct state *st)
{
	st->finishing = true;
	if (st->phase != NULL && st->edges_n == 0)
		state_note_phase(st, "");
	if (st->edges_n == 0 || !st->link.is_up)
		st->finished(st->arg);
}

json_t *state_json(const struct state *st)
{
	return json_deep_copy(st->phases);
}

void state_stop(struct state *st)
{
	if (st->link.loop == NULL)
		return;
	loop_timer_cancel(st->link.loop, &st->tick);
	link_close(&st->link);
	VEC_FREE(&st->bases);
	if (st->phase != NULL)
		json_array_append_new(st->phases, st->phase);
	json_decref(st->counters);
	json_decref(st->edge);
	json_decref(st->phases);
	st->phase = st->counters = st->edge = st->phases = NULL;
}
