/* The player blocks, so it has a thread; what it counts lies in a play_record, which both threads may use. */
#define _GNU_SOURCE
#include "scenario/replay_traffic.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/sha256.h"
#include "measure/hist.h"
#include "replay/trace.h"
#include "runtime/dsn.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOK_NS (5 * NS_PER_MS)
#define VERSION "v1"
#define NAMES "pgrehearse load v1 replay" /* of the sessions: what the observer knows the load's by */

struct replay_traffic {
	struct replay_spec spec;
	struct player_config player;
	struct player_result own, *result;
	struct play_record *record;
	char *dsn;
	void (*slow)(const struct load_slow *s, void *arg);
	void *arg;
	pthread_t thread;
	bool running, stopped;
	atomic_bool ended;
	volatile sig_atomic_t stop, end; /* at once; when what is under way has ended */
	enum status outcome;
	struct error err;
	double capture_loss; /* share of the log's busy time; -1: unknown */
	int64_t stopped_ns;
	struct play_interval played;
	struct load_interval interval;
	struct load_hists hists[PLAY_CLASSES_MAX + 1];
	struct hist *empty;
	double cpu_share;
	atomic_llong cpu_ns; /* of the player's thread */
	int64_t cpu_before_ns;
};

static void note_slow(int pid, int64_t sent_ns, int64_t done_ns, const char *sqlstate, uint32_t class, void *arg)
{
	const struct replay_traffic *r = arg;
	struct load_slow s = {.pid = pid, .sent_ns = sent_ns, .done_ns = done_ns, .version = VERSION};
	s.transaction = s.statement = play_record_class_name(r->record, class);
	snprintf(s.sqlstate, sizeof s.sqlstate, "%s", sqlstate);
	if (r->slow != NULL)
		r->slow(&s, r->arg);
}

static void note_cpu(void *arg)
{
	struct replay_traffic *r = arg;
	atomic_store_explicit(&r->cpu_ns, clock_thread_cpu_ns(), memory_order_relaxed);
}

static double read_loss(const json_t *meta)
{
	const json_t *loss = json_object_get(meta, "loss");
	double kept = json_get_number(loss, "busy_kept_ms", 0), lost = json_get_number(loss, "busy_lost_ms", 0);
	return kept + lost > 0 ? lost / (kept + lost) : -1;
}

enum status replay_measure(const struct player_config *config, int64_t *length_ns, struct error *err)
{
	struct trace *t;
	if (trace_open(config->trace, &t, err) != ST_OK)
		return err->status;
	const struct trace_summary *s = trace_summary(t);
	int64_t to_ns = s->last_ns - s->first_ns;
	if (config->filter.to_ns > 0 && config->filter.to_ns < to_ns)
		to_ns = config->filter.to_ns;
	to_ns -= config->filter.from_ns;
	enum status st = s->events > 0 && to_ns >= 0 ? ST_OK
						     : error_set(err, ST_USAGE, "%s: there is nothing in that part of it", config->trace);
	*length_ns = config->pacing == PACING_ASAP ? 0 : (int64_t)((double)to_ns / config->speed);
	trace_close(t);
	return st;
}

/* NULL: dsn is no connection string. */
static char *name_sessions(const char *dsn, struct error *err)
{
	PQconninfoOption *options = dsn_parse(dsn, err);
	if (options == NULL)
		return NULL;
	struct buf text;
	buf_init(&text, 65536);
	for (const PQconninfoOption *o = options; o->keyword != NULL; o++)
		if (o->val != NULL && strcmp(o->keyword, "application_name") != 0)
			dsn_add_word(&text, o->keyword, o->val);
	dsn_add_word(&text, "application_name", NAMES);
	char *out = strdup(text.data);
	if (out == NULL || text.overflow)
		abort();
	buf_free(&text);
	PQconninfoFree(options);
	return out;
}

enum status replay_create(const struct replay_spec *spec, const char *dsn, bool as_load, void (*slow)(const struct load_slow *s, void *arg),
	void *arg, struct replay_traffic **out, struct error *err)
{
	struct trace *t;
	int64_t length_ns;
	if (replay_measure(&spec->player, &length_ns, err) != ST_OK || trace_open(spec->player.trace, &t, err) != ST_OK)
		return err->status;
	struct replay_traffic *r = calloc(1, sizeof *r);
	if (r == NULL)
		abort();
	*r = (struct replay_traffic){
		.spec = *spec, .player = spec->player, .slow = slow, .arg = arg, .capture_loss = read_loss(trace_meta(t))};
	trace_close(t);
	r->empty = hist_create();
	r->record = play_record_create();
	r->result = spec->result != NULL ? spec->result : &r->own;
	r->dsn = as_load ? name_sessions(dsn, err) : strdup(dsn);
	r->player.dsn = r->dsn;
	if (r->empty == NULL || (r->dsn == NULL && !as_load))
		abort();
	if (r->dsn == NULL || player_check_dsn(&r->player, err) != ST_OK) {
		replay_free(r);
		return err->status;
	}
	r->player.record = r->record;
	r->player.stop = &r->stop;
	r->player.end = &r->end;
	r->player.slow = note_slow;
	r->player.beat = note_cpu;
	r->player.record_arg = r;
	*out = r;
	return ST_OK;
}

void replay_free(struct replay_traffic *r)
{
	if (r == NULL)
		return;
	if (r->running) {
		r->stop = 1;
		pthread_join(r->thread, NULL);
	}
	if (r->result == &r->own)
		player_result_free(&r->own);
	play_record_free(r->record);
	hist_free(r->empty);
	free(r->dsn);
	free(r);
}

static void *play(void *arg)
{
	struct replay_traffic *r = arg;
	r->outcome = player_perform(&r->player, r->result, &r->err);
	atomic_store(&r->ended, true);
	return NULL;
}

void replay_start(struct replay_traffic *r)
{
	r->running = pthread_create(&r->thread, NULL, play, r) == 0;
	if (!r->running) {
		r->outcome = error_set(&r->err, ST_FAILED, "no thread could be started for the replay");
		atomic_store(&r->ended, true);
	}
}

bool replay_has_ended(struct replay_traffic *r)
{
	int64_t at_ns;
	return atomic_load(&r->ended) || play_record_has_ended(r->record, &at_ns);
}

static void copy_errors(struct load_errors *to, const struct play_errors *from)
{
	to->n = 0;
	for (size_t i = 0; i < from->n && i < LOAD_SQLSTATES_MAX; i++) {
		memcpy(to->at[i].sqlstate, from->at[i].sqlstate, sizeof to->at[i].sqlstate);
		to->at[i].count = from->at[i].count;
		to->n++;
	}
}

static struct load_hists hists_of(const struct replay_traffic *r, const struct play_hists *h, const char *name)
{
	struct load_hists out = {.transaction = name, .version = name != NULL ? VERSION : NULL};
	out.response_ok = h->response_ok != NULL ? h->response_ok : r->empty;
	out.response_failed = h->response_failed != NULL ? h->response_failed : r->empty;
	out.service_ok = h->service_ok != NULL ? h->service_ok : r->empty;
	out.service_failed = h->service_failed != NULL ? h->service_failed : r->empty;
	return out;
}

static void add_cpu(struct replay_traffic *r, struct load_interval *in)
{
	int64_t cpu_ns = atomic_load_explicit(&r->cpu_ns, memory_order_relaxed), length_ns = in->end_ns - in->start_ns;
	double share = length_ns > 0 ? (double)(cpu_ns - r->cpu_before_ns) / (double)length_ns : 0;
	r->cpu_before_ns = cpu_ns;
	in->cpu_share = in->worker_cpu[0] = share;
	in->n_workers = 1;
	in->worker_started[0] = in->versions[0].started;
}

const struct load_interval *replay_interval(struct replay_traffic *r, const struct load_interval *engine)
{
	struct load_interval *in = &r->interval;
	struct play_interval *p = &r->played;
	play_record_collect(r->record, p);
	*in = *engine;
	in->planned = p->planned;
	in->backlog = p->backlog;
	in->backlog_age_ns = p->backlog_age_ns;
	in->abandoned = in->missed_wakeups = 0;
	double seconds = (double)(in->end_ns - in->start_ns) / 1e9;
	in->rate = seconds > 0 ? (double)p->planned / seconds : 0;
	in->n_versions = 1;
	in->versions[0] = (struct load_version){
		.name = VERSION, .started = p->started, .ok = p->ok, .failed = p->failed, .in_flight = p->in_flight};
	copy_errors(&in->versions[0].errors, &p->errors);
	for (uint32_t i = 0; i < p->n_classes; i++)
		r->hists[i] = hists_of(r, &p->hists[i], play_record_class_name(r->record, i));
	in->n_hists = p->n_classes;
	in->hists = r->hists;
	in->total = hists_of(r, &p->total, NULL);
	in->n_statements = 0;
	in->schedule_error = p->late;
	add_cpu(r, in);
	return in;
}

static void pause_ns(int64_t ns)
{
	struct timespec t = {.tv_sec = (time_t)(ns / NS_PER_S), .tv_nsec = (long)(ns % NS_PER_S)};
	(void)nanosleep(&t, NULL);
}

void replay_stop(struct replay_traffic *r, int64_t drain_ns, struct load_totals *out)
{
	int64_t limit_ns = clock_now_ns() + drain_ns;
	r->stopped_ns = clock_now_ns();
	r->end = 1;
	while (!atomic_load(&r->ended) && clock_now_ns() < limit_ns)
		pause_ns(LOOK_NS);
	r->stop = 1;
	if (r->running)
		pthread_join(r->thread, NULL);
	r->running = false;
	r->stopped = true;
	struct play_interval all;
	struct load_errors errors;
	play_record_totals(r->record, &all);
	copy_errors(&errors, &all.errors);
	*out = (struct load_totals){
		.planned = all.planned,
		.started = all.started,
		.never_started = all.dropped + all.backlog,
		.ok = all.ok,
		.failed = all.failed,
		.unfinished = all.in_flight,
		.errors = errors,
		.n_versions = 1,
		.versions = {{.name = VERSION, .started = all.started, .ok = all.ok, .failed = all.failed, .errors = errors}},
	};
	const struct player_result *p = r->result;
	out->holds = out->planned == out->started + out->never_started && out->started == out->ok + out->failed + out->unfinished &&
		(int64_t)out->started == p->sent && (int64_t)(out->ok + out->failed) == p->same + p->diverged + p->refused_there;
}

void replay_each_executed(struct replay_traffic *r, void (*fn)(const char *sql, void *arg), void *arg)
{
	play_record_each_executed(r->record, fn, arg);
}

void replay_close_baseline(struct replay_traffic *r)
{
	play_record_close_baseline(r->record);
}

json_t *replay_fidelity(struct replay_traffic *r, bool drill)
{
	int64_t ended_ns;
	bool ended = play_record_has_ended(r->record, &ended_ns);
	struct fidelity_run run = {
		.capture_loss = r->capture_loss,
		.order_released = r->player.order != ORDER_NONE ? r->result->order_released : -1,
		.order_skipped = r->result->order_skipped,
		.rows_taken = r->result->rows_taken,
		.rows_otherwise = r->result->rows_otherwise,
		.uncovered_ns = !drill ? -1
			: ended        ? r->stopped_ns - ended_ns
				       : 0,
		.paced = r->player.pacing == PACING_ARRIVAL,
	};
	play_record_summary(r->record, &run.played);
	return fidelity_json(&run, &r->spec.limits);
}

enum status replay_outcome(const struct replay_traffic *r, struct error *err)
{
	if (r->outcome == ST_OK || r->outcome == ST_INTERRUPTED)
		return ST_OK;
	*err = r->err;
	return r->outcome;
}

json_t *replay_load_json(const struct replay_traffic *r)
{
	static const char *const PACINGS[] = {"arrival", "think", "asap"}, *const ORDERS[] = {"none", "commit", "relation"};
	char hash[SHA256_HEX_SIZE];
	struct error ignored;
	const char *sha256 = sha256_file(r->player.trace, hash, &ignored) == ST_OK ? hash : NULL;
	return json_pack("{s:s, s:o, s:s?, s:s, s:f, s:s, s:b}", "mode", "replay", "trace", json_text(r->player.trace), "trace_sha256",
		sha256, "pacing", PACINGS[r->player.pacing], "speed", r->player.pacing == PACING_ASAP ? 0.0 : r->player.speed, "order",
		ORDERS[r->player.order], "read_only", (int)r->player.filter.read_only);
}
