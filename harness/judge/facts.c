/* Reading a record into what criteria are about: histograms by phase, sums over intervals, waits, statements, steps. */
#define _GNU_SOURCE
#include "judge/facts.h"

#include "base/clock.h"
#include "base/units.h"
#include "base/vec.h"
#include "judge/facts_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which phase holds t_ns, or -1. */
static int phase_at(const struct facts *f, int64_t t_ns)
{
	for (int i = 0; i < f->phase_count; i++)
		if (t_ns >= f->phases[i].start_ns && t_ns < f->phases[i].end_ns)
			return i;
	return -1;
}

static void read_phases(struct facts *f)
{
	size_t i;
	json_t *phase;
	json_array_foreach(json_object_get(f->run, "phases"), i, phase)
	{
		if (f->phase_count == MAX_PHASES)
			break;
		struct phase_facts *p = &f->phases[f->phase_count++];
		snprintf(p->name, sizeof p->name, "%s", json_get_string(phase, "name", ""));
		p->start_ns = json_get_int(phase, "start_ns", 0);
		p->end_ns = json_get_int(phase, "end_ns", INT64_MAX);
		p->ended = json_is_integer(json_object_get(phase, "end_ns"));
	}
}

/* "TRANSACTION/VERSION/KIND/OUTCOME" or "total/KIND/OUTCOME": transaction and kind. False for a tag of another form. */
static bool split_tag(const char *tag, char transaction[NAME_SIZE], bool *service)
{
	char copy[256];
	char *part[4];
	int n = 0;
	if (snprintf(copy, sizeof copy, "%s", tag) >= (int)sizeof copy)
		return false;
	for (char *save, *word = strtok_r(copy, "/", &save); word != NULL; word = strtok_r(NULL, "/", &save)) {
		if (n == 4)
			return false;
		part[n++] = word;
	}
	bool total = n == 3 && strcmp(part[0], "total") == 0;
	if (!total && n != 4)
		return false;
	*service = strcmp(part[n - 2], "service") == 0;
	if (!*service && strcmp(part[n - 2], "response") != 0)
		return false;
	snprintf(transaction, NAME_SIZE, "%s", total ? "" : part[0]);
	return true;
}

static struct hist *histogram_for(struct facts *f, const char *transaction, bool service, int phase)
{
	for (size_t i = 0; i < f->hists.n; i++) {
		struct hist_facts *h = &f->hists.at[i];
		if (h->phase == phase && h->service == service && strcmp(h->transaction, transaction) == 0)
			return h->hist;
	}
	struct hist_facts h = {.service = service, .phase = phase, .hist = hist_create()};
	snprintf(h.transaction, sizeof h.transaction, "%s", transaction);
	if (h.hist == NULL || f->hists.n >= MAX_HISTOGRAMS) {
		hist_free(h.hist);
		return NULL;
	}
	VEC_PUSH(&f->hists, h);
	return h.hist;
}

static bool add_histogram(const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *hist, void *arg)
{
	struct facts *f = arg;
	char transaction[NAME_SIZE];
	bool service;
	/* Time stamps of the log have microseconds only: its middle says which phase an interval belongs to. */
	int phase = phase_at(f, start_ns + (end_ns - start_ns) / 2);
	if (phase < 0 || !split_tag(tag, transaction, &service))
		return true;
	struct hist *into = histogram_for(f, transaction, service, phase);
	if (into != NULL)
		hist_merge(into, hist);
	return true;
}

static void count_error(struct interval_facts *at, struct facts *f, const char *state, int64_t n)
{
	at->failed += n;
	for (size_t i = 0; i < f->errors.n; i++) {
		struct error_facts *e = &f->errors.at[i];
		if (e->phase == at->phase && strncmp(e->sqlstate, state, sizeof e->sqlstate - 1) == 0) {
			e->count += n;
			return;
		}
	}
	struct error_facts e = {.phase = at->phase, .count = n};
	snprintf(e.sqlstate, sizeof e.sqlstate, "%s", state);
	if (f->errors.n < MAX_ERRORS)
		VEC_PUSH(&f->errors, e);
}

static void add_slots(struct facts *f, const json_t *slots, int phase)
{
	size_t i;
	json_t *slot;
	json_array_foreach(slots, i, slot)
	{
		struct lag_facts l = {
			.phase = phase, .slot = true, .heartbeat_ns = -1, .replay_bytes = json_get_int(slot, "restart_bytes", -1)};
		l.lost = strcmp(json_get_string(slot, "wal_status", ""), "lost") == 0;
		snprintf(l.standby, sizeof l.standby, "%s", json_get_string(slot, "slot", ""));
		VEC_PUSH(&f->lags, l);
	}
}

/* Has the standby an earlier reading of the phase? */
static bool was_read(const struct facts *f, const char *standby, int phase)
{
	for (size_t i = f->lags.n; i-- > 0;) {
		const struct lag_facts *l = &f->lags.at[i];
		if (!l->slot && strcmp(l->standby, standby) == 0)
			return l->phase == phase;
	}
	return false;
}

static void add_lags(struct facts *f, const json_t *lags, int phase, int64_t end_ns)
{
	size_t i;
	json_t *lag;
	json_array_foreach(lags, i, lag)
	{
		struct lag_facts l = {.phase = phase,
			.heartbeat_ns = json_get_int(lag, "heartbeat_ns", -1),
			.replay_bytes = json_get_int(lag, "replay_bytes", -1)};
		snprintf(l.standby, sizeof l.standby, "%s", json_get_string(lag, "standby", ""));
		l.expected = end_ns <= f->failover_ns && was_read(f, l.standby, phase);
		VEC_PUSH(&f->lags, l);
	}
}

static bool add_interval(const json_t *line, void *arg)
{
	struct facts *f = arg;
	struct interval_facts at = {
		.start_ns = json_get_int(line, "start_ns", 0),
		.end_ns = json_get_int(line, "end_ns", 0),
		.planned = json_get_int(line, "planned", 0),
		.abandoned = json_get_int(line, "abandoned", 0),
		.backlog = json_get_int(line, "backlog", -1),
		.backlog_age_ns = json_get_int(line, "backlog_age_ns", 0),
		.wal_bytes = json_get_int(line, "wal_bytes", -1),
		.worker_cpu = json_get_number(json_object_get(line, "cpu"), "worker", -1),
		.loop_lag_ns = json_get_int(json_object_get(line, "generator"), "loop_lag_ns", -1),
	};
	at.phase = phase_at(f, at.start_ns);
	const char *version, *state;
	json_t *counts, *n;
	json_object_foreach(json_object_get(line, "versions"), version, counts)
	{
		at.ok += json_get_int(counts, "ok", 0);
		json_object_foreach(json_object_get(counts, "failed"), state, n) count_error(&at, f, state, json_integer_value(n));
	}
	add_lags(f, json_object_get(line, "lag"), at.phase, at.end_ns);
	add_slots(f, json_object_get(line, "slots"), at.phase);
	VEC_PUSH(&f->intervals, at);
	return true;
}

static bool add_wait(const json_t *line, void *arg)
{
	struct facts *f = arg;
	const json_t *waiter = json_object_get(line, "waiter");
	const char *role = json_get_string(waiter, "role", "");
	if (strcmp(role, "migration") == 0 || strcmp(role, "observer") == 0)
		return true;
	const json_t *root = json_object_get(line, "root");
	struct wait_facts w = {
		.phase = phase_at(f, json_get_int(line, "start_ns", -1)),
		.start_ns = json_get_int(line, "start_ns", 0),
		.length_ns = json_get_int(line, "length_ns", 0),
		.blamed = json_get_int(line, "blamed", 0),
		.root_pid = json_get_int(root, "pid", 0),
		.unfinished = strcmp(json_get_string(line, "ended", ""), "unfinished") == 0,
	};
	snprintf(w.relation, sizeof w.relation, "%s", json_get_string(json_object_get(line, "lock"), "relation", ""));
	const char *name = json_get_string(waiter, "transaction", NULL);
	snprintf(w.waiter, sizeof w.waiter, "%s", name != NULL ? name : role);
	snprintf(w.root_role, sizeof w.root_role, "%s", json_get_string(root, "role", ""));
	VEC_PUSH(&f->waits, w);
	return true;
}

static bool add_window(const json_t *line, void *arg)
{
	struct facts *f = arg;
	struct window_facts w = {
		.start_ns = json_get_int(line, "start_ns", 0),
		.length_ns = json_get_int(line, "length_ns", 0),
		.bound_ns = json_get_int(line, "bound_ns", 0),
		.at_least = json_is_true(json_object_get(line, "at_least")),
		.blamed = json_get_int(line, "blamed", 0),
	};
	const char *ended = json_get_string(line, "ended", "");
	w.open = strcmp(ended, "unknown") == 0 || strcmp(ended, "unfinished") == 0;
	w.phase = phase_at(f, w.start_ns);
	snprintf(w.table, sizeof w.table, "%s", json_get_string(line, "table", ""));
	snprintf(w.access, sizeof w.access, "%s", json_get_string(line, "access", ""));
	VEC_PUSH(&f->windows, w);
	return true;
}

static void add_statement(struct facts *f, const json_t *line)
{
	struct statement_facts s = {
		.id = json_get_int(line, "id", 0),
		.start_ns = json_get_int(line, "start_ns", 0),
		.end_ns = json_get_int(line, "end_ns", 0),
		.attempt = json_get_int(line, "attempt", 1),
		.external = json_is_true(json_object_get(line, "external")),
	};
	s.phase = phase_at(f, s.start_ns);
	snprintf(s.step, sizeof s.step, "%s", json_get_string(line, "step", ""));
	snprintf(s.sql, sizeof s.sql, "%s", json_get_string(line, "sql", ""));
	snprintf(s.sqlstate, sizeof s.sqlstate, "%s", json_get_string(line, "sqlstate", ""));
	size_t i = 0;
	const json_t *work = NULL;
	json_array_foreach(json_object_get(line, "work"), i, work)
	{
		const char *what = json_get_string(work, "what", "");
		s.rewrites += strcmp(what, "rewrite") == 0;
		s.scans += strcmp(what, "scan") == 0 || strcmp(what, "fk_validation") == 0;
	}
	VEC_PUSH(&f->statements, s);
}

static void add_step_edge(struct facts *f, const json_t *line)
{
	const char *name = json_get_string(line, "name", "");
	bool down = strcmp(json_get_string(line, "direction", "up"), "down") == 0;
	if (strcmp(json_get_string(line, "edge", ""), "start") == 0) {
		struct step_facts s = {.down = down, .start_ns = json_get_int(line, "t_ns", 0), .duration_ns = -1};
		s.phase = phase_at(f, s.start_ns);
		s.program = strcmp(json_get_string(line, "kind", ""), "exec") == 0;
		snprintf(s.name, sizeof s.name, "%s", name);
		snprintf(s.within, sizeof s.within, "%s", json_get_string(line, "within", ""));
		VEC_PUSH(&f->steps, s);
		return;
	}
	for (size_t i = f->steps.n; i-- > 0;) {
		struct step_facts *s = &f->steps.at[i];
		if (s->duration_ns >= 0 || s->down != down || strcmp(s->name, name) != 0)
			continue;
		s->duration_ns = json_get_int(line, "duration_ns", json_get_int(line, "t_ns", s->start_ns) - s->start_ns);
		s->ok = json_is_true(json_object_get(line, "ok"));
		snprintf(s->error, sizeof s->error, "%s", json_get_string(line, "error", ""));
		s->interrupted = !s->ok && json_get_string(line, "interrupted", NULL) != NULL;
		return;
	}
}

static void add_eta(struct facts *f, const json_t *line)
{
	struct eta_facts *e = NULL;
	const char *step = json_get_string(line, "step", "");
	for (size_t i = 0; i < f->etas.n; i++)
		if (strcmp(f->etas.at[i].step, step) == 0)
			e = &f->etas.at[i];
	if (e == NULL) {
		VEC_PUSH(&f->etas, (struct eta_facts){.eta_ns = -1, .error = NAN});
		e = &f->etas.at[f->etas.n - 1];
		snprintf(e->step, sizeof e->step, "%s", step);
	}
	if (strcmp(json_get_string(line, "edge", ""), "end") == 0) {
		e->error = json_get_number(line, "error", NAN);
		return;
	}
	e->eta_ns = json_get_int(line, "eta_ns", -1);
	e->low_ns = json_get_int(line, "low_ns", e->eta_ns);
	e->high_ns = json_get_int(line, "high_ns", e->eta_ns);
	e->rows = json_get_int(line, "rows", 0);
	e->samples = json_get_int(line, "samples", 0);
	e->production = json_is_true(json_object_get(line, "production"));
}

static bool add_event(const json_t *line, void *arg)
{
	struct facts *f = arg;
	const char *type = json_get_string(line, "type", "");
	if (strcmp(type, "statement") == 0)
		add_statement(f, line);
	else if (strcmp(type, "step") == 0)
		add_step_edge(f, line);
	else if (strcmp(type, "eta") == 0)
		add_eta(f, line);
	else if (strcmp(type, "failover") == 0 && f->failover_ns == INT64_MAX)
		f->failover_ns = json_get_int(line, "t_ns", INT64_MAX);
	return true;
}

enum status facts_read(const char *dir, struct facts **out, struct error *err)
{
	*out = NULL;
	struct facts *f = calloc(1, sizeof *f);
	if (f == NULL)
		return error_errno(err, ST_FAILED, "cannot read %s", dir);
	f->failover_ns = INT64_MAX;
	enum status st = record_open(dir, &f->reader, err);
	if (st == ST_OK) {
		f->run = reader_run(f->reader);
		read_phases(f);
		st = reader_each(f->reader, "events", add_event, f, err);
	}
	if (st == ST_OK)
		st = reader_each(f->reader, "intervals", add_interval, f, err);
	if (st == ST_OK)
		st = reader_each(f->reader, "waits", add_wait, f, err);
	if (st == ST_OK)
		st = reader_each(f->reader, "windows", add_window, f, err);
	if (st == ST_OK)
		st = reader_histograms(f->reader, add_histogram, f, err);
	if (st != ST_OK) {
		facts_free(f);
		return st;
	}
	f->bad_lines = reader_bad_lines(f->reader);
	*out = f;
	return ST_OK;
}

void facts_free(struct facts *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->hists.n; i++)
		hist_free(f->hists.at[i].hist);
	VEC_FREE(&f->hists);
	VEC_FREE(&f->intervals);
	VEC_FREE(&f->errors);
	VEC_FREE(&f->lags);
	VEC_FREE(&f->waits);
	VEC_FREE(&f->windows);
	VEC_FREE(&f->statements);
	VEC_FREE(&f->steps);
	VEC_FREE(&f->etas);
	record_reader_free(f->reader);
	free(f);
}

/* A record names no more tables in use: one that is not among so many may have been in use, too. */
#define TABLES_LISTED_MAX 16

struct table_search {
	const char *name;
	bool found;
};

static bool look_for_locks(const json_t *line, void *arg)
{
	struct table_search *search = arg;
	size_t i;
	json_t *lock;
	json_array_foreach(json_object_get(line, "locks"), i, lock)
		search->found = search->found || strcmp(json_get_string(lock, "relation", ""), search->name) == 0;
	search->found = search->found || strcmp(json_get_string(line, "relation", ""), search->name) == 0;
	return !search->found;
}

bool facts_has_table(const struct facts *f, const char *name)
{
	const json_t *phase, *table, *watched = json_object_get(json_object_get(f->run, "availability"), "tables");
	size_t i, k, listed = json_array_size(watched);
	for (i = 0; i < f->waits.n; i++)
		if (strcmp(f->waits.at[i].relation, name) == 0)
			return true;
	json_array_foreach(watched, i, table) if (json_is_string(table) && strcmp(json_string_value(table), name) == 0) return true;
	json_array_foreach(json_object_get(f->run, "phase_state"), i, phase)
	{
		const json_t *tables = json_object_get(phase, "tables");
		listed += json_array_size(tables);
		if (json_array_size(tables) >= TABLES_LISTED_MAX)
			return true;
		json_array_foreach(tables, k, table) if (strcmp(json_get_string(table, "table", ""), name) == 0) return true;
	}
	if (listed == 0 || json_array_size(watched) >= TABLES_LISTED_MAX)
		return true;
	struct table_search search = {.name = name};
	struct error err;
	return reader_each(f->reader, "events", look_for_locks, &search, &err) != ST_OK || search.found;
}

int64_t facts_bad_lines(const struct facts *f)
{
	return f->bad_lines;
}

const json_t *facts_run(const struct facts *f)
{
	return f->run;
}

struct generator_seconds facts_count_generator(const struct facts *f, double share, int64_t lag_ns)
{
	struct generator_seconds out = {0};
	for (size_t i = 0; i < f->intervals.n; i++) {
		const struct interval_facts *at = &f->intervals.at[i];
		/* A share over a few milliseconds says nothing: the edges of phases cut such slivers. */
		if (at->worker_cpu < 0 || at->end_ns - at->start_ns < NS_PER_S / 2)
			continue;
		out.busy += at->worker_cpu > share;
		out.lagging += at->loop_lag_ns > lag_ns;
		out.all++;
	}
	return out;
}
