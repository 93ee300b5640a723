/* A worker thread: claims arrivals for its idle sessions, performs their transactions, and keeps its sessions connected.
 *
 * The way of a client: AWAY -> CONNECTING -> IDLE -> BUSY -> (CLEANING ->) IDLE ...; a lost or refused connection leads to
 * AWAY and, after a pause, to CONNECTING again; a deploy to CONNECTING as the other version, from IDLE or AWAY at once and from
 * BUSY when the transaction has ended. serve_again() is where all of these ways meet. */
#define _GNU_SOURCE
#include "load/client.h"

#include "base/clock.h"
#include "load/claim.h"
#include "runtime/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BACKOFF_FIRST_NS (10 * NS_PER_MS)
#define BACKOFF_LAST_NS NS_PER_S
#define RETRY_DOUBLED_UNTIL_NS (10 * NS_PER_S)

static void connect_client(struct client *c);
static void serve_again(struct client *c, int64_t now_ns);

/* ---- the idle queue: first in, first out, so that all sessions and pods share the work ---- */

static void push_idle(struct worker *w, struct client *c, int64_t now_ns)
{
	c->state = CLIENT_IDLE;
	c->idle_since_ns = now_ns;
	c->next = NULL;
	c->prev = w->idle_last;
	if (w->idle_last != NULL)
		w->idle_last->next = c;
	else
		w->idle_first = c;
	w->idle_last = c;
	if (w->idle_first == c)
		claim_publish_idle(w);
}

static void remove_idle(struct worker *w, struct client *c)
{
	bool first = w->idle_first == c;
	if (c->prev != NULL)
		c->prev->next = c->next;
	else
		w->idle_first = c->next;
	if (c->next != NULL)
		c->next->prev = c->prev;
	else
		w->idle_last = c->prev;
	c->prev = c->next = NULL;
	if (first)
		claim_publish_idle(w);
}

/* ---- deploys ---- */

/* The session serves again, or never will. */
static void end_replacement(struct client *c)
{
	struct replacement *r = c->replacement;
	c->replacement = NULL;
	if (r != NULL && atomic_fetch_sub(&r->left, 1) == 1 && r->done != NULL)
		r->done(r->arg);
}

/* ---- connections ---- */

static void connection_lost(struct session *s, void *arg)
{
	(void)s;
	struct client *c = arg;
	/* In mid-transaction (a script that sleeps, say) the next statement finds out. */
	if (c->state != CLIENT_IDLE)
		return;
	remove_idle(c->worker, c);
	serve_again(c, clock_now_ns());
}

const char *worker_session_name(const struct client *c, char *out, size_t size)
{
	snprintf(out, size, "pgrehearse load %s pod %d", c->worker->workload->versions[c->version].name, c->pod);
	return out;
}

/* Sessions that will connect as the wanted version. */
static void make_session(struct client *c)
{
	session_free(c->home);
	if (c->version != c->wanted_version) {
		c->version = c->wanted_version;
		client_set_version(c);
	}
	char name[64];
	struct session_hooks hooks = {.lost = connection_lost, .result = client_keep_result, .arg = c};
	const struct load_config *config = c->worker->crew->config;
	c->home = session_create(c->worker->loop, config->pooler_dsn != NULL ? config->pooler_dsn : config->dsn,
		worker_session_name(c, name, sizeof name), &hooks);
	if (config->pooler_transactions)
		session_never_prepare(c->home);
	c->session = c->home;
	replica_open(c);
}

int64_t worker_backoff(struct worker *w, int64_t *backoff_ns)
{
	*backoff_ns = *backoff_ns == 0 ? BACKOFF_FIRST_NS : *backoff_ns * 2;
	if (*backoff_ns > BACKOFF_LAST_NS)
		*backoff_ns = BACKOFF_LAST_NS;
	/* Between half and all of it: sessions that were lost together do not come back together. */
	double share = 0.5 + rng_unit(rng_next(&w->rng)) / 2;
	return (int64_t)((double)*backoff_ns * share);
}

static void try_later(struct client *c)
{
	struct worker *w = c->worker;
	c->state = CLIENT_AWAY;
	w->stats->reconnects++;
	loop_timer_set(w->loop, &c->retry, clock_now_ns() + worker_backoff(w, &c->backoff_ns));
}

void worker_tell_refusal(struct worker *w, const struct session_outcome *out)
{
	struct crew *crew = w->crew;
	pthread_mutex_lock(&crew->lock);
	snprintf(crew->refusal, sizeof crew->refusal, "%s", out->message);
	memcpy(crew->refusal_sqlstate, out->sqlstate, sizeof crew->refusal_sqlstate);
	/* No waiting can mend these. */
	if (strncmp(out->sqlstate, "28", 2) == 0 || strncmp(out->sqlstate, "3D", 2) == 0)
		crew->refused = true;
	pthread_cond_broadcast(&crew->changed);
	pthread_mutex_unlock(&crew->lock);
}

void worker_tell_connected(struct worker *w, bool *counted)
{
	struct crew *crew = w->crew;
	*counted = true;
	pthread_mutex_lock(&crew->lock);
	crew->connected++;
	pthread_cond_broadcast(&crew->changed);
	pthread_mutex_unlock(&crew->lock);
}

static void connection_made(struct session *s, void *arg)
{
	struct client *c = arg;
	const struct session_outcome *out = session_outcome(s);
	if (!out->ok) {
		if (!c->counted)
			worker_tell_refusal(c->worker, out);
		try_later(c);
		return;
	}
	c->pid = session_pid(s);
	c->timeout_ns = 0;
	c->backoff_ns = 0;
	if (!c->counted)
		worker_tell_connected(c->worker, &c->counted);
	end_replacement(c);
	serve_again(c, clock_now_ns());
}

static void connect_client(struct client *c)
{
	loop_timer_cancel(c->worker->loop, &c->retry);
	if (c->home == NULL)
		make_session(c);
	c->state = CLIENT_CONNECTING;
	session_connect(c->home, WORKER_CONNECT_TIMEOUT_NS, connection_made, c);
}

static void retry_now(struct loop_timer *t)
{
	connect_client(container_of(t, struct client, retry));
}

/* The session has nothing to do. Calls claim_due, unless that is on the C stack already. */
static void serve_again(struct client *c, int64_t now_ns)
{
	struct worker *w = c->worker;
	c->session = c->home;
	replica_settle(c);
	if (c->replacement != NULL) {
		make_session(c);
		connect_client(c);
	} else if (session_state(c->session) == SESSION_CLOSED) {
		try_later(c);
	} else {
		push_idle(w, c, now_ns);
		claim_due_at(w, now_ns);
	}
}

/* ---- transactions ---- */

static void tell_drained(struct worker *w)
{
	pthread_mutex_lock(&w->crew->lock);
	w->crew->drained++;
	pthread_cond_broadcast(&w->crew->changed);
	pthread_mutex_unlock(&w->crew->lock);
}

/* The first mistake of each transaction and version is told; all are counted. */
static void warn_once(struct client *c, const char *text)
{
	struct crew *crew = c->worker->crew;
	const struct workload *w = c->worker->workload;
	const char *transaction = w->transactions[c->transaction].name, *version = w->versions[c->version].name;
	size_t place = (size_t)c->version * w->n_transactions + (size_t)c->transaction;
	if (crew->config->warn == NULL || atomic_exchange(&crew->warned[place], true))
		return;
	char message[2048];
	snprintf(message, sizeof message, "transaction %s of %s: %s", transaction, version, text);
	crew->config->warn(message, crew->config->arg);
}

static void transaction_done(struct fiber *f, bool ok, int nresults, void *arg);

/* ---- further attempts ---- */

static void start_attempt(struct client *c)
{
	random_seed(c->random, c->seed);
	int args = client_push_transaction(fiber_state(c->fiber), c);
	fiber_start(c->fiber, args, transaction_done, c);
}

static void try_again(struct loop_timer *t)
{
	start_attempt(container_of(t, struct client, again));
}

static void pause_attempt(struct client *c)
{
	struct worker *w = c->worker;
	const struct workload_retry *retry = &w->workload->transactions[c->transaction].retry;
	int64_t pause_ns = retry->backoff_ns;
	for (int i = 1; i < c->attempt && pause_ns < RETRY_DOUBLED_UNTIL_NS; i++)
		pause_ns *= 2;
	/* Between half and all of it: who collided once does not collide again. */
	double share = 0.5 + rng_unit(rng_next(&w->rng)) / 2;
	loop_timer_set(w->loop, &c->again, clock_now_ns() + (int64_t)((double)pause_ns * share));
}

/* ---- what a transaction leaves open ---- */

/* Whether a transaction block is open. */
static bool in_block(const struct client *c)
{
	PGTransactionStatusType block = session_transaction(c->session);
	return block == PQTRANS_INTRANS || block == PQTRANS_INERROR;
}

static void cleaned(struct client *c)
{
	if (c->state == CLIENT_BUSY)
		pause_attempt(c);
	else
		serve_again(c, clock_now_ns());
}

static void rolled_back(struct session *s, void *arg)
{
	/* Whether that went well does not matter: a session that is not fit has lost its connection. */
	(void)s;
	cleaned(arg);
}

static void pipeline_ended(struct session *s, void *arg)
{
	struct client *c = arg;
	if (in_block(c))
		session_query(s, "ROLLBACK", rolled_back, c);
	else
		cleaned(c);
}

/* Then the next attempt of a transaction that is in flight, else the next transaction. */
static void clean_up(struct client *c)
{
	if (session_in_pipeline(c->session))
		session_end_pipeline(c->session, pipeline_ended, c);
	else if (in_block(c))
		session_query(c->session, "ROLLBACK", rolled_back, c);
	else
		cleaned(c);
}

/* ---- the end of an attempt, and of a transaction ---- */

static bool may_retry(const struct client *c, const char *sqlstate)
{
	const struct workload_retry *retry = &c->worker->workload->transactions[c->transaction].retry;
	if (c->attempt >= retry->times || session_state(c->session) == SESSION_CLOSED)
		return false;
	for (size_t i = 0; i < retry->n_on; i++)
		if (memcmp(retry->on[i], sqlstate, 5) == 0)
			return true;
	return false;
}

/* The client stays busy, and the transaction in flight. */
static void retry_transaction(struct client *c, const char *sqlstate)
{
	struct worker *w = c->worker;
	c->attempt++;
	stats_count_error(&w->stats->versions[c->version].retries, sqlstate, 1);
	stats_count_error(&w->totals[c->version].retries, sqlstate, 1);
	clean_up(c);
}

static void transaction_done(struct fiber *f, bool ok, int nresults, void *arg)
{
	(void)nresults;
	struct client *c = arg;
	struct worker *w = c->worker;
	struct ending e = {
		.version = c->version,
		.transaction = c->transaction,
		.ok = ok,
		.sqlstate = "00000",
		.due_ns = c->due_ns,
		.sent_ns = c->sent_ns,
		.paused_ns = c->paused_ns,
		.end_ns = clock_now_ns(),
		.awaited = c->awaited,
	};
	bool open_pipeline = session_in_pipeline(c->session), open_block = in_block(c);
	if (!ok && !client_error_sqlstate(fiber_result(f), e.sqlstate)) {
		warn_once(c, fiber_traceback(f));
	} else if (ok && (open_pipeline || open_block)) {
		e.ok = false;
		memcpy(e.sqlstate, "LUA", sizeof "LUA");
		warn_once(c,
			open_pipeline ? "it ended inside a pipeline"
				      : "it ended inside a transaction block, which is then rolled back: c:commit() is missing");
	}
	client_drop_extras(c);
	if (!e.ok && may_retry(c, e.sqlstate)) {
		retry_transaction(c, e.sqlstate);
		return;
	}
	stats_record(w->stats, &e);
	stats_count_end(&w->totals[e.version], e.ok, e.sqlstate);
	if (c->session != c->home) {
		stats_count_end(&w->stats->reads, e.ok, e.sqlstate);
		stats_count_end(&w->reads, e.ok, e.sqlstate);
	}
	w->totals[e.version].in_flight--;
	if (--w->in_flight == 0 && w->stopping)
		tell_drained(w);
	claim_next_request(w, &c->request, e.end_ns);
	if (open_pipeline || open_block) {
		c->state = CLIENT_CLEANING;
		clean_up(c);
	} else {
		serve_again(c, e.end_ns);
	}
}

void worker_start_request(struct client *c, const struct request *r, bool awaited)
{
	const struct arrival *a = &r->arrival;
	struct worker *w = c->worker;
	remove_idle(w, c);
	c->state = CLIENT_BUSY;
	c->transaction = claim_pick_transaction(w->workload, a);
	c->due_ns = a->due_ns;
	c->sent_ns = c->paused_ns = 0;
	c->statement = NULL;
	c->seed = a->seed;
	c->attempt = 0;
	c->awaited = awaited;
	if (w->crew->has_users)
		c->request = *r;
	if (c->replica.session != NULL && w->workload->transactions[c->transaction].read_only) {
		c->session = c->replica.session;
		w->stats->reads.started++;
		w->reads.started++;
	}
	w->stats->versions[c->version].started++;
	w->totals[c->version].started++;
	w->totals[c->version].in_flight++;
	w->in_flight++;
	start_attempt(c);
}

/* ---- what the load asks ---- */

void worker_connect(struct worker *w, void *unused)
{
	(void)unused;
	w->cpu_ns = clock_thread_cpu_ns();
	w->cpu_read_ns = clock_now_ns();
	for (int i = 0; i < w->n_clients; i++)
		if (w->clients[i].state == CLIENT_AWAY && !loop_timer_armed(&w->clients[i].retry))
			connect_client(&w->clients[i]);
}

void worker_start(struct worker *w, void *start_ns)
{
	w->running = true;
	claim_start_users(w, *(const int64_t *)start_ns);
	claim_due(w);
}

void worker_review(struct worker *w, void *unused)
{
	(void)unused;
	claim_due(w);
}

void worker_hand_over(struct worker *w, void *unused)
{
	(void)unused;
	struct stats *full = w->stats;
	int64_t now_ns = clock_now_ns(), cpu_ns = clock_thread_cpu_ns();
	if (w->running)
		claim_end_thinking(w, now_ns);
	full->waiting = waiting_count(w->waiting);
	full->waiting_due_ns = waiting_oldest_due(w->waiting);
	full->worker = w->number;
	full->cpu_share = now_ns > w->cpu_read_ns ? (double)(cpu_ns - w->cpu_ns) / (double)(now_ns - w->cpu_read_ns) : 0;
	full->loop_lag_ns = loop_take_health(w->loop).lag_max_ns;
	for (size_t v = 0; v < full->n_versions; v++)
		full->versions[v].in_flight = w->totals[v].in_flight;
	w->cpu_ns = cpu_ns;
	w->cpu_read_ns = now_ns;
	w->stats = w->spare;
	w->spare = full;
}

void worker_deploy(struct worker *w, void *arg)
{
	const struct worker_deploy *d = arg;
	w->pod_versions[d->pod] = d->version;
	for (int i = 0; i < w->n_clients; i++) {
		struct client *c = &w->clients[i];
		if (c->pod != d->pod)
			continue;
		end_replacement(c);
		c->replacement = d->replacement;
		c->wanted_version = d->version;
		if (c->state == CLIENT_STOPPED) {
			end_replacement(c);
		} else if (c->state != CLIENT_BUSY && c->state != CLIENT_CLEANING) {
			if (c->state == CLIENT_IDLE)
				remove_idle(w, c);
			make_session(c);
			connect_client(c);
		}
	}
}

void worker_stop(struct worker *w, void *unused)
{
	(void)unused;
	claim_end_thinking(w, clock_now_ns());
	w->running = false;
	w->stopping = true;
	loop_timer_cancel(w->loop, &w->due);
	if (w->in_flight == 0)
		tell_drained(w);
}

static void stop_client(struct client *c, int64_t now_ns)
{
	struct worker *w = c->worker;
	if (c->state == CLIENT_BUSY) {
		/* When its first statement was sent is kept in c->sent_ns only once that has ended. */
		int64_t sent_ns = c->sent_ns != 0 || c->statement == NULL ? c->sent_ns : session_outcome(c->session)->sent_ns;
		VEC_PUSH(&w->unfinished,
			(struct load_unfinished){
				.transaction = w->workload->transactions[c->transaction].name,
				.version = w->workload->versions[c->version].name,
				.due_age_ns = now_ns - c->due_ns,
				.sent_age_ns = sent_ns >= c->due_ns ? now_ns - sent_ns : 0,
			});
		w->totals[c->version].in_flight--;
		w->in_flight--;
		/* A backend that waits for a lock does not notice that its client has gone. */
		session_cancel(c->session);
		ledger_end(&c->book, LEDGER_UNKNOWN);
		fiber_cancel(c->fiber);
		client_drop_extras(c);
	} else if (c->state == CLIENT_IDLE) {
		remove_idle(w, c);
	}
	c->state = CLIENT_STOPPED;
	loop_timer_cancel(w->loop, &c->retry);
	loop_timer_cancel(w->loop, &c->again);
	loop_timer_cancel(w->loop, &c->deadline);
	session_free(c->home);
	c->home = c->session = NULL;
	replica_close(c);
	end_replacement(c);
}

void worker_finish(struct worker *w, void *unused)
{
	(void)unused;
	int64_t now_ns = clock_now_ns();
	for (int i = 0; i < w->n_clients; i++)
		if (w->clients[i].state != CLIENT_STOPPED)
			stop_client(&w->clients[i], now_ns);
}

/* ---- making and freeing ---- */

static void create_client(struct worker *w, int number)
{
	struct client *c = &w->clients[w->n_clients++];
	c->worker = w;
	c->number = number;
	c->pod = number / w->crew->config->pool;
	c->retry.fn = retry_now;
	c->again.fn = try_again;
	c->deadline.fn = client_give_up;
	const char *version = w->crew->config->version;
	c->version = c->wanted_version = workload_find_version(w->workload, version);
	c->fiber = fiber_create(w->L, w->loop, c);
	client_create_object(c);
}

enum status worker_create(struct crew *crew, int number, struct worker **out, struct error *err)
{
	const struct load_config *config = crew->config;
	*out = NULL;
	struct worker *w = calloc(1, sizeof *w);
	if (w == NULL)
		return error_set(err, ST_FAILED, "out of memory for a load worker");
	w->crew = crew;
	w->number = number;
	claim_init(w);
	w->rng.state = rng_at(config->seed, UINT64_MAX - (uint64_t)number);
	enum status st = loop_create(&w->loop, err);
	if (st == ST_OK)
		st = workload_create_state(config->workload_path, config->scenario_path, &w->L, err);
	if (st == ST_OK)
		st = workload_load(w->L, config->workload_path, config->scenario_path, config->scale, config->seed, &w->workload, err);
	if (st == ST_OK && w->workload->n_versions > LOAD_VERSIONS_MAX)
		st = error_set(err, ST_USAGE, "the scenario has %zu versions, %d more than can be counted", w->workload->n_versions,
			(int)w->workload->n_versions - LOAD_VERSIONS_MAX);
	if (st == ST_OK && workload_find_version(w->workload, config->version) < 0)
		st = error_set(err, ST_USAGE, "the workload %s has no version %s", w->workload->name, config->version);
	if (st != ST_OK) {
		worker_free(w);
		return st;
	}
	w->stats = stats_create(w->workload);
	w->spare = stats_create(w->workload);
	w->clients = calloc((size_t)config->pods * (size_t)config->pool / (size_t)config->workers + 1, sizeof *w->clients);
	w->waiting = waiting_create();
	w->pod_versions = calloc((size_t)config->pods, sizeof *w->pod_versions);
	if (w->stats == NULL || w->spare == NULL || w->clients == NULL || w->waiting == NULL || w->pod_versions == NULL) {
		worker_free(w);
		return error_set(err, ST_FAILED, "out of memory for a load worker");
	}
	for (int p = 0; p < config->pods; p++)
		w->pod_versions[p] = workload_find_version(w->workload, config->version);
	for (size_t v = 0; v < w->workload->n_versions; v++)
		w->totals[v].name = w->workload->versions[v].name;
	for (int i = number; i < config->pods * config->pool; i += config->workers)
		create_client(w, i);
	*out = w;
	return ST_OK;
}

void worker_free(struct worker *w)
{
	if (w == NULL)
		return;
	for (int i = 0; w->clients != NULL && i < w->n_clients; i++) {
		struct client *c = &w->clients[i];
		session_free(c->home);
		replica_close(c);
		fiber_free(c->fiber);
		client_free_object(c);
	}
	free(w->clients);
	free(w->pod_versions);
	VEC_FREE(&w->unfinished);
	waiting_free(w->waiting);
	stats_free(w->stats);
	stats_free(w->spare);
	workload_free(w->workload);
	script_free(w->L);
	loop_free(w->loop);
	free(w);
}
