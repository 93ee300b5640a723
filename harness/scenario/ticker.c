/* The second's tick: interval lines, histogram lines, and how well the generator kept to its plan. */
#define _GNU_SOURCE
#include "scenario/ticker.h"

#include "base/clock.h"
#include "load/stats.h"
#include "measure/hist.h"
#include "observe/hostload.h"
#include "scenario/latency.h"
#include "scenario/replay_traffic.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DETAIL_EVERY_NS (10 * NS_PER_S)
#define LATE_NS NS_PER_MS /* schedule error above this counts in late_share */
#define KINDS 4

static const char *const KIND_NAMES[KINDS] = {"response/ok", "response/failed", "service/ok", "service/failed"};

struct ticker {
	struct load *load;
	struct replay_traffic *replay;
	struct observer *observer;
	struct record *record;
	struct load_interval *collected;
	const struct load_interval *interval; /* what is written: that, or the replay's */
	struct hist *response;                /* scratch: ok and failed together */
	struct hist *schedule_error;          /* of the whole run */
	struct latency *latency;
	int64_t detail_from_ns; /* when its histograms were last written */
	char phase[64];
	struct ticker_view view;
	struct ticker_tally tally[LOAD_VERSIONS_MAX];
	size_t n_tally;
	struct hostload hostload;
	int64_t host_busy, host_all; /* of /proc/stat at the last cut, in ticks */
	double cpu_share_max;
	uint64_t missed_wakeups;
	struct worker_health {
		double cpu_share_max, cpu_share_sum;
		uint64_t started, seconds;
	} workers[LOAD_WORKERS_MAX];
	int n_workers;
	int64_t loop_lag_max_ns;
};

struct ticker *ticker_create(struct load *load, struct replay_traffic *replay, struct observer *observer, struct record *record)
{
	struct ticker *t = calloc(1, sizeof *t);
	if (t == NULL)
		abort();
	t->load = load;
	t->replay = replay;
	t->observer = observer;
	t->record = record;
	t->interval = t->collected = load_interval_create(load);
	t->latency = latency_create();
	t->response = hist_create();
	t->schedule_error = hist_create();
	if (t->interval == NULL || t->response == NULL || t->schedule_error == NULL)
		abort();
	t->view = (struct ticker_view){.p99_ns = -1, .lag_ns = -1};
	return t;
}

void ticker_free(struct ticker *t)
{
	if (t == NULL)
		return;
	latency_free(t->latency);
	hist_free(t->response);
	hist_free(t->schedule_error);
	load_interval_free(t->collected);
	free(t);
}

static struct hist *hist_of(const struct load_hists *h, int kind)
{
	struct hist *const all[KINDS] = {h->response_ok, h->response_failed, h->service_ok, h->service_failed};
	return all[kind];
}

static void write_detail(struct ticker *t, int64_t now_ns)
{
	latency_write(t->latency, t->record, t->detail_from_ns, now_ns);
	t->detail_from_ns = now_ns;
}

static json_t *errors_json(const struct load_errors *errors)
{
	json_t *out = json_object();
	for (size_t i = 0; i < errors->n; i++)
		if (errors->at[i].count > 0)
			json_object_set_new(out, errors->at[i].sqlstate, json_integer((json_int_t)errors->at[i].count));
	return out;
}

static json_t *target_json(const struct load_version *v)
{
	return json_pack("{s:I, s:I, s:o}", "started", (json_int_t)v->started, "ok", (json_int_t)v->ok, "failed", errors_json(&v->errors));
}

static json_t *counters_json(const struct load_counters *counters)
{
	json_t *out = json_object();
	for (size_t i = 0; i < counters->n; i++)
		json_object_set_new(out, counters->at[i].name, json_integer(counters->at[i].value));
	return out;
}

static json_t *versions_json(const struct load_interval *in)
{
	json_t *out = json_object();
	for (size_t i = 0; i < in->n_versions; i++) {
		const struct load_version *v = &in->versions[i];
		if (v->started + v->ok + v->failed + v->abandoned + v->in_flight == 0)
			continue;
		json_t *counts = json_pack("{s:I, s:I, s:o, s:I}", "started", (json_int_t)v->started, "ok", (json_int_t)v->ok, "failed",
			errors_json(&v->errors), "in_flight", (json_int_t)v->in_flight);
		if (v->abandoned > 0)
			json_object_set_new(counts, "abandoned", json_integer((json_int_t)v->abandoned));
		if (v->retries.n > 0)
			json_object_set_new(counts, "retries", errors_json(&v->retries));
		json_object_set_new(out, v->name, counts);
	}
	return out;
}

/* Busy share of all cores since the last call; -1 when the kernel does not tell. */
static double host_cpu_share(struct ticker *t)
{
	FILE *f = fopen("/proc/stat", "r");
	if (f == NULL)
		return -1;
	char line[512];
	const char *at = fgets(line, sizeof line, f);
	fclose(f);
	if (at == NULL || strncmp(at, "cpu ", 4) != 0)
		return -1;
	/* user nice system idle iowait irq softirq steal */
	int64_t v[8] = {0};
	int64_t all = 0;
	at += 4;
	for (int i = 0; i < 8; i++) {
		char *end;
		v[i] = strtoll(at, &end, 10);
		at = end;
		all += v[i];
	}
	int64_t busy = all - v[3] - v[4];
	double share = all > t->host_all ? (double)(busy - t->host_busy) / (double)(all - t->host_all) : -1;
	bool first = t->host_all == 0;
	t->host_all = all;
	t->host_busy = busy;
	return first ? -1 : share;
}

static json_t *share_json(double share)
{
	return share < 0 ? json_null() : json_real(share);
}

static json_t *response_json(const struct hist *h)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "n", (json_int_t)hist_count(h), "p50_ns", (json_int_t)hist_quantile(h, 0.5), "p99_ns",
		(json_int_t)hist_quantile(h, 0.99), "max_ns", (json_int_t)hist_max(h));
}

static void note_view(struct ticker *t, const struct observation *seen)
{
	const struct load_interval *in = t->interval;
	t->view = (struct ticker_view){
		.length_ns = in->end_ns - in->start_ns,
		.planned = in->planned,
		.abandoned = in->abandoned,
		.backlog = in->backlog,
		.backlog_age_ns = in->backlog_age_ns,
		.rate = in->rate,
		.p50_ns = hist_count(t->response) > 0 ? hist_quantile(t->response, 0.5) : -1,
		.p99_ns = hist_count(t->response) > 0 ? hist_quantile(t->response, 0.99) : -1,
		.max_ns = hist_count(t->response) > 0 ? hist_max(t->response) : -1,
		.schedule_p99_ns = hist_count(in->schedule_error) > 0 ? hist_quantile(in->schedule_error, 0.99) : -1,
		.lag_ns = -1,
		.waiting = seen->waiting,
		.longest_wait_ns = seen->longest_wait_ns,
	};
	t->n_tally = in->n_versions;
	for (size_t i = 0; i < in->n_versions; i++) {
		struct ticker_tally *sum = &t->tally[i];
		sum->version = in->versions[i].name;
		sum->ok += in->versions[i].ok;
		sum->failed += in->versions[i].failed;
		sum->abandoned += in->versions[i].abandoned;
		stats_add_errors(&sum->errors, &in->versions[i].errors);
		t->view.ok += in->versions[i].ok;
		t->view.failed += in->versions[i].failed;
		t->view.in_flight += in->versions[i].in_flight;
		stats_add_errors(&t->view.errors, &in->versions[i].errors);
	}
	for (int i = 0; i < seen->standbys; i++)
		if (seen->lag[i].heartbeat_ns > t->view.lag_ns)
			t->view.lag_ns = seen->lag[i].heartbeat_ns;
}

static void note_health(struct ticker *t)
{
	const struct load_interval *in = t->interval;
	hist_merge(t->schedule_error, in->schedule_error);
	t->missed_wakeups += in->missed_wakeups;
	t->n_workers = in->n_workers;
	for (int i = 0; i < in->n_workers; i++)
		t->workers[i].started += in->worker_started[i];
	if (in->loop_lag_ns > t->loop_lag_max_ns)
		t->loop_lag_max_ns = in->loop_lag_ns;
	/* A share over a few milliseconds says nothing: the edges of phases cut such slivers. */
	if (in->end_ns - in->start_ns < NS_PER_S / 2)
		return;
	if (in->cpu_share > t->cpu_share_max)
		t->cpu_share_max = in->cpu_share;
	for (int i = 0; i < in->n_workers; i++) {
		struct worker_health *w = &t->workers[i];
		w->cpu_share_max = in->worker_cpu[i] > w->cpu_share_max ? in->worker_cpu[i] : w->cpu_share_max;
		w->cpu_share_sum += in->worker_cpu[i];
		w->seconds++;
	}
}

/* What the server and its machine were like, where that is known. */
static void add_server(struct ticker *t, json_t *line)
{
	if (t->observer == NULL)
		return;
	json_t *server = observer_take_server_json(t->observer);
	json_t *host = observer_is_local(t->observer) ? hostload_look(&t->hostload) : NULL;
	if (server != NULL)
		json_object_set_new(line, "server", server);
	if (host != NULL)
		json_object_set_new(line, "host", host);
}

int64_t ticker_cut(struct ticker *t)
{
	load_collect(t->load, t->collected);
	if (t->replay != NULL)
		t->interval = replay_interval(t->replay, t->collected);
	const struct load_interval *in = t->interval;
	struct observation seen = {.wal_bytes = -1, .cpu_share = -1};
	if (t->observer != NULL)
		observer_collect(t->observer, &seen);
	int64_t origin = record_start_ns(t->record);
	int64_t from = in->start_ns - origin;
	int64_t to = in->end_ns - origin;
	hist_clear(t->response);
	hist_merge(t->response, in->total.response_ok);
	hist_merge(t->response, in->total.response_failed);
	note_view(t, &seen);
	note_health(t);
	for (int k = 0; k < KINDS; k++) {
		char tag[64];
		snprintf(tag, sizeof tag, "total/%s", KIND_NAMES[k]);
		record_histogram(t->record, tag, from, to, hist_of(&in->total, k));
	}
	latency_add(t->latency, in);
	json_t *line = json_pack("{s:I, s:I, s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:o, s:i, s:I, s:{s:o, s:o, s:o}}", "start_ns",
		(json_int_t)from, "end_ns", (json_int_t)to, "phase", t->phase, "planned", (json_int_t)in->planned, "abandoned",
		(json_int_t)in->abandoned, "backlog", (json_int_t)in->backlog, "backlog_age_ns", (json_int_t)in->backlog_age_ns, "versions",
		versions_json(in), "response", response_json(t->response), "lag", observation_lag_json(&seen), "wal_bytes",
		seen.wal_bytes < 0 ? json_null() : json_integer((json_int_t)seen.wal_bytes), "waiting", seen.waiting, "longest_wait_ns",
		(json_int_t)seen.longest_wait_ns, "cpu", "host", share_json(host_cpu_share(t)), "worker", share_json(in->cpu_share),
		"observer", share_json(seen.cpu_share));
	if (seen.slots > 0)
		json_object_set_new(line, "slots", observation_slots_json(&seen));
	if (in->rate > 0)
		json_object_set_new(line, "rate", json_real(in->rate));
	json_object_set_new(line, "generator",
		json_pack("{s:o, s:I, s:I}", "schedule_error", response_json(in->schedule_error), "loop_lag_ns",
			(json_int_t)in->loop_lag_ns, "missed_wakeups", (json_int_t)in->missed_wakeups));
	if (in->reads.name != NULL)
		json_object_set_new(line, "targets", json_pack("{s:o}", in->reads.name, target_json(&in->reads)));
	if (in->counters.n > 0)
		json_object_set_new(line, "counters", counters_json(&in->counters));
	add_server(t, line);
	record_interval(t->record, line);
	if (to - t->detail_from_ns >= DETAIL_EVERY_NS)
		write_detail(t, to);
	record_flush(t->record);
	return to;
}

void ticker_phase(struct ticker *t, const char *name, bool started)
{
	int64_t now = record_now_ns(t->record);
	if (started) {
		now = ticker_cut(t);
		write_detail(t, now);
	} else {
		host_cpu_share(t);
		t->detail_from_ns = now;
	}
	if (t->phase[0] != '\0')
		record_phase_end(t->record, now);
	snprintf(t->phase, sizeof t->phase, "%s", name != NULL ? name : "");
	if (name != NULL)
		record_phase_start(t->record, name, now);
	if (t->observer != NULL)
		observer_note_phase(t->observer, name);
	record_flush(t->record);
}

const char *ticker_phase_name(const struct ticker *t)
{
	return t->phase;
}

struct ticker_view ticker_view(const struct ticker *t)
{
	return t->view;
}

size_t ticker_tally(const struct ticker *t, const struct ticker_tally **out)
{
	*out = t->tally;
	return t->n_tally;
}

void ticker_each_executed(const struct ticker *t, void (*fn)(const char *sql, void *arg), void *arg)
{
	const struct workload *w = load_workload(t->load);
	if (t->replay != NULL)
		replay_each_executed(t->replay, fn, arg);
	for (size_t i = 0; i < t->interval->n_statements; i++) {
		const struct load_statement_hists *h = &t->interval->statements[i];
		if (h->ok == NULL || h->statement == NULL)
			continue;
		const struct session_statement *st = workload_find_statement(w, workload_find_version(w, h->version), h->statement);
		if (st != NULL) /* BEGIN and its like are none of the workload's */
			fn(st->sql, arg);
	}
}

static json_t *workers_json(const struct ticker *t)
{
	json_t *out = json_array();
	for (int i = 0; i < t->n_workers; i++) {
		const struct worker_health *w = &t->workers[i];
		json_array_append_new(out,
			json_pack("{s:I, s:f, s:f}", "started", (json_int_t)w->started, "cpu_share_max", w->cpu_share_max, "cpu_share_mean",
				w->seconds > 0 ? w->cpu_share_sum / (double)w->seconds : 0.0));
	}
	return out;
}

json_t *ticker_generator_json(const struct ticker *t)
{
	const struct hist *e = t->schedule_error;
	double late = hist_count(e) > 0 ? (double)hist_count_above(e, LATE_NS) / (double)hist_count(e) : 0;
	return json_pack("{s:{s:I, s:I, s:I, s:I}, s:f, s:I, s:f, s:I, s:o}", "schedule_error", "count", (json_int_t)hist_count(e),
		"p50_ns", (json_int_t)hist_quantile(e, 0.5), "p99_ns", (json_int_t)hist_quantile(e, 0.99), "max_ns",
		(json_int_t)hist_max(e), "cpu_share_max", t->cpu_share_max, "loop_lag_max_ns", (json_int_t)t->loop_lag_max_ns, "late_share",
		late, "missed_wakeups", (json_int_t)t->missed_wakeups, "workers", workers_json(t));
}

json_t *ticker_latency_json(const struct ticker *t)
{
	return latency_json(t->latency);
}

static json_t *unfinished_json(const struct load_totals *totals)
{
	json_t *out = json_array();
	for (size_t i = 0; i < totals->n_open; i++) {
		const struct load_unfinished *u = &totals->open[i];
		json_t *one = json_pack(
			"{s:s, s:s, s:I}", "transaction", u->transaction, "version", u->version, "due_age_ns", (json_int_t)u->due_age_ns);
		if (u->sent_age_ns > 0)
			json_object_set_new(one, "sent_age_ns", json_integer((json_int_t)u->sent_age_ns));
		json_array_append_new(out, one);
	}
	return out;
}

json_t *ticker_totals_json(const struct load_totals *totals)
{
	json_t *versions = json_object();
	for (size_t i = 0; i < totals->n_versions; i++) {
		const struct load_version *v = &totals->versions[i];
		if (v->started + v->abandoned == 0)
			continue;
		json_t *counts = json_pack(
			"{s:I, s:I, s:I}", "started", (json_int_t)v->started, "ok", (json_int_t)v->ok, "failed", (json_int_t)v->failed);
		if (v->abandoned > 0)
			json_object_set_new(counts, "abandoned", json_integer((json_int_t)v->abandoned));
		json_object_set_new(versions, v->name, counts);
	}
	json_t *out = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:b}", "planned", (json_int_t)totals->planned,
		"started", (json_int_t)totals->started, "abandoned", (json_int_t)totals->abandoned, "never_started",
		(json_int_t)totals->never_started, "ok", (json_int_t)totals->ok, "failed", (json_int_t)totals->failed, "unfinished",
		(json_int_t)totals->unfinished, "unfinished_oldest_ns", (json_int_t)totals->unfinished_oldest_ns, "errors",
		errors_json(&totals->errors), "retries", errors_json(&totals->retries), "versions", versions, "holds", (int)totals->holds);
	if (totals->reads.name != NULL)
		json_object_set_new(out, "targets", json_pack("{s:o}", totals->reads.name, target_json(&totals->reads)));
	if (totals->n_open > 0)
		json_object_set_new(out, "open", unfinished_json(totals));
	if (totals->counters.n > 0)
		json_object_set_new(out, "counters", counters_json(&totals->counters));
	return out;
}
