/* Counting and measuring transactions, and adding up what several workers counted. */
#include "load/stats.h"

#include "measure/hist.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- errors ---- */

void stats_count_error(struct load_errors *errors, const char *sqlstate, uint64_t count)
{
	size_t i = 0;
	while (i < errors->n && strcmp(errors->at[i].sqlstate, sqlstate) != 0)
		i++;
	if (i >= LOAD_SQLSTATES_MAX - 1)
		i = LOAD_SQLSTATES_MAX - 1;
	if (i == errors->n) {
		snprintf(errors->at[i].sqlstate, sizeof errors->at[i].sqlstate, "%s", i == LOAD_SQLSTATES_MAX - 1 ? "OTHER" : sqlstate);
		errors->at[i].count = 0;
		errors->n++;
	}
	errors->at[i].count += count;
}

bool stats_count(struct load_counters *counters, const char *name, int64_t n)
{
	size_t i = 0;
	while (i < counters->n && strcmp(counters->at[i].name, name) != 0)
		i++;
	if (i == counters->n) {
		if (i == LOAD_COUNTERS_MAX || strlen(name) >= sizeof counters->at[i].name)
			return false;
		snprintf(counters->at[i].name, sizeof counters->at[i].name, "%s", name);
		counters->at[i].value = 0;
		counters->n++;
	}
	counters->at[i].value += n;
	return true;
}

void stats_add_counters(struct load_counters *into, const struct load_counters *from)
{
	for (size_t i = 0; i < from->n; i++)
		stats_count(into, from->at[i].name, from->at[i].value);
}

void stats_add_errors(struct load_errors *into, const struct load_errors *from)
{
	for (size_t i = 0; i < from->n; i++)
		stats_count_error(into, from->at[i].sqlstate, from->at[i].count);
}

void stats_count_end(struct load_version *version, bool ok, const char *sqlstate)
{
	if (ok) {
		version->ok++;
		return;
	}
	version->failed++;
	stats_count_error(&version->errors, sqlstate, 1);
}

void stats_add_version(struct load_version *into, const struct load_version *from)
{
	into->started += from->started;
	into->ok += from->ok;
	into->failed += from->failed;
	into->abandoned += from->abandoned;
	into->in_flight += from->in_flight;
	stats_add_errors(&into->errors, &from->errors);
	stats_add_errors(&into->retries, &from->retries);
}

/* ---- histograms ---- */

/* The four of one transaction, so that they can be handled alike. */
static struct hist **member(struct load_hists *h, int i)
{
	struct hist **const all[] = {&h->response_ok, &h->response_failed, &h->service_ok, &h->service_failed};
	return all[i];
}

#define MEMBERS 4

static bool create_members(struct load_hists *h)
{
	for (int i = 0; i < MEMBERS; i++)
		if ((*member(h, i) = hist_create()) == NULL)
			return false;
	return true;
}

struct load_hists *stats_create_hists(const struct workload *w)
{
	size_t n = w->n_versions * w->n_transactions;
	struct load_hists *hists = calloc(n > 0 ? n : 1, sizeof *hists);
	for (size_t i = 0; hists != NULL && i < n; i++) {
		hists[i].version = w->versions[i / w->n_transactions].name;
		hists[i].transaction = w->transactions[i % w->n_transactions].name;
		if (!create_members(&hists[i])) {
			stats_free_hists(hists, n);
			return NULL;
		}
	}
	return hists;
}

void stats_free_hists(struct load_hists *hists, size_t n)
{
	for (size_t i = 0; hists != NULL && i < n; i++)
		for (int m = 0; m < MEMBERS; m++)
			hist_free(*member(&hists[i], m));
	free(hists);
}

void stats_clear_hists(struct load_hists *hists, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (int m = 0; m < MEMBERS; m++)
			hist_clear(*member(&hists[i], m));
}

/* ---- statements ---- */

const char *stats_extra_name(enum extra_statement extra)
{
	static const char *const NAMES[EXTRA_STATEMENTS] = {"BEGIN", "COMMIT", "ROLLBACK", "pipeline", "SET"};
	return NAMES[extra];
}

struct load_statement_hists *stats_create_statements(const struct workload *w, size_t *n)
{
	*n = w->n_statements + EXTRA_STATEMENTS;
	struct load_statement_hists *statements = calloc(w->n_versions > 0 ? w->n_versions * *n : 1, sizeof *statements);
	for (size_t i = 0; statements != NULL && i < w->n_versions * *n; i++) {
		size_t index = i % *n;
		statements[i].version = w->versions[i / *n].name;
		statements[i].statement = index < w->n_statements ? w->statements[index]->name
								  : stats_extra_name((enum extra_statement)(index - w->n_statements));
	}
	return statements;
}

void stats_free_statements(struct load_statement_hists *statements, size_t n)
{
	for (size_t i = 0; statements != NULL && i < n; i++) {
		hist_free(statements[i].ok);
		hist_free(statements[i].failed);
	}
	free(statements);
}

void stats_clear_statements(struct load_statement_hists *statements, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (statements[i].ok != NULL)
			hist_clear(statements[i].ok);
		if (statements[i].failed != NULL)
			hist_clear(statements[i].failed);
	}
}

void stats_record_statement(struct stats *s, int version, unsigned index, bool ok, int64_t ns)
{
	struct load_statement_hists *h = &s->statements[(size_t)version * s->n_statements + index];
	struct hist **hist = ok ? &h->ok : &h->failed;
	if (*hist == NULL && (*hist = hist_create()) == NULL)
		return;
	hist_record(*hist, ns);
}

void stats_merge_lazily(struct hist **into, const struct hist *from)
{
	if (from == NULL || hist_count(from) == 0)
		return;
	if (*into == NULL && (*into = hist_create()) == NULL)
		return;
	hist_merge(*into, from);
}

/* ---- of one worker ---- */

struct stats *stats_create(const struct workload *w)
{
	struct stats *s = calloc(1, sizeof *s);
	if (s == NULL)
		return NULL;
	s->n_versions = w->n_versions;
	s->n_transactions = w->n_transactions;
	s->hists = stats_create_hists(w);
	s->statements = stats_create_statements(w, &s->n_statements);
	s->schedule_error = hist_create();
	if (s->hists == NULL || s->statements == NULL || s->schedule_error == NULL) {
		stats_free(s);
		return NULL;
	}
	for (size_t i = 0; i < w->n_versions; i++)
		s->versions[i].name = w->versions[i].name;
	return s;
}

void stats_free(struct stats *s)
{
	if (s == NULL)
		return;
	stats_free_hists(s->hists, s->n_versions * s->n_transactions);
	stats_free_statements(s->statements, s->n_versions * s->n_statements);
	hist_free(s->schedule_error);
	free(s);
}

static void clear_versions(struct load_version *versions, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		versions[i].started = versions[i].ok = versions[i].failed = versions[i].abandoned = versions[i].in_flight = 0;
		versions[i].errors.n = versions[i].retries.n = 0;
	}
}

void stats_clear(struct stats *s)
{
	s->abandoned = s->reconnects = s->followed = s->missed_wakeups = 0;
	clear_versions(s->versions, s->n_versions);
	clear_versions(&s->reads, 1);
	s->counters.n = 0;
	stats_clear_hists(s->hists, s->n_versions * s->n_transactions);
	stats_clear_statements(s->statements, s->n_versions * s->n_statements);
	hist_clear(s->schedule_error);
}

void stats_record(struct stats *s, const struct ending *e)
{
	struct load_hists *h = &s->hists[(size_t)e->version * s->n_transactions + (size_t)e->transaction];
	stats_count_end(&s->versions[e->version], e->ok, e->sqlstate);
	hist_record(e->ok ? h->response_ok : h->response_failed, e->end_ns - e->due_ns);
	if (e->sent_ns == 0)
		return;
	hist_record(e->ok ? h->service_ok : h->service_failed, e->end_ns - e->sent_ns);
	bool paused_first = e->paused_ns != 0 && e->paused_ns < e->sent_ns;
	if (e->awaited)
		hist_record(s->schedule_error, (paused_first ? e->paused_ns : e->sent_ns) - e->due_ns);
}

/* ---- of an interval ---- */

void stats_clear_interval(struct load_interval *interval)
{
	interval->planned = interval->abandoned = interval->backlog = interval->reconnects = interval->missed_wakeups = 0;
	interval->backlog_age_ns = interval->loop_lag_ns = 0;
	interval->cpu_share = interval->rate = 0;
	clear_versions(interval->versions, interval->n_versions);
	clear_versions(&interval->reads, 1);
	interval->counters.n = 0;
	stats_clear_hists(interval->hists, interval->n_hists);
	stats_clear_statements(interval->statements, interval->n_statements);
	stats_clear_hists(&interval->total, 1);
	hist_clear(interval->schedule_error);
}

void stats_add(struct load_interval *into, const struct stats *s)
{
	into->abandoned += s->abandoned;
	into->reconnects += s->reconnects;
	into->missed_wakeups += s->missed_wakeups;
	into->planned += s->followed;
	into->backlog += s->waiting;
	into->worker_cpu[s->worker] = s->cpu_share;
	into->worker_started[s->worker] = 0;
	for (size_t i = 0; i < s->n_versions; i++)
		into->worker_started[s->worker] += s->versions[i].started;
	for (size_t i = 0; i < s->n_versions; i++)
		stats_add_version(&into->versions[i], &s->versions[i]);
	for (size_t i = 0; i < into->n_hists; i++) {
		for (int m = 0; m < MEMBERS; m++) {
			const struct hist *from = *member(&s->hists[i], m);
			if (hist_count(from) == 0)
				continue;
			hist_merge(*member(&into->hists[i], m), from);
			hist_merge(*member(&into->total, m), from);
		}
	}
	stats_add_version(&into->reads, &s->reads);
	stats_add_counters(&into->counters, &s->counters);
	for (size_t i = 0; i < into->n_statements; i++) {
		stats_merge_lazily(&into->statements[i].ok, s->statements[i].ok);
		stats_merge_lazily(&into->statements[i].failed, s->statements[i].failed);
	}
	hist_merge(into->schedule_error, s->schedule_error);
	if (s->cpu_share > into->cpu_share)
		into->cpu_share = s->cpu_share;
	if (s->loop_lag_ns > into->loop_lag_ns)
		into->loop_lag_ns = s->loop_lag_ns;
}

struct load_interval *load_interval_create(const struct load *load)
{
	const struct workload *w = load_workload(load);
	struct load_interval *interval = calloc(1, sizeof *interval);
	if (interval == NULL)
		abort(); /* set-up; see vec_grow */
	interval->n_versions = w->n_versions;
	for (size_t i = 0; i < w->n_versions; i++)
		interval->versions[i].name = w->versions[i].name;
	interval->reads.name = load_read_from(load);
	interval->n_hists = w->n_versions * w->n_transactions;
	interval->hists = stats_create_hists(w);
	size_t per_version;
	interval->statements = stats_create_statements(w, &per_version);
	interval->n_statements = w->n_versions * per_version;
	interval->schedule_error = hist_create();
	if (interval->hists == NULL || interval->statements == NULL || interval->schedule_error == NULL ||
		!create_members(&interval->total))
		abort();
	return interval;
}

void load_interval_free(struct load_interval *interval)
{
	if (interval == NULL)
		return;
	stats_free_hists(interval->hists, interval->n_hists);
	stats_free_statements(interval->statements, interval->n_statements);
	for (int m = 0; m < MEMBERS; m++)
		hist_free(*member(&interval->total, m));
	hist_free(interval->schedule_error);
	free(interval);
}
