/* The load as a whole: asks its workers, adds up what they counted, and checks the conservation law. */
#define _GNU_SOURCE
#include "load/engine.h"

#include "base/clock.h"
#include "load/worker.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define RATE_NOTICE_NS (10 * NS_PER_MS)

/* One question to one worker, and its answer to us. */
struct ask {
	struct loop_message message;
	struct load *load;
	struct worker *worker;
	void (*fn)(struct worker *w, void *arg);
	void *arg;
};

struct load {
	struct load_config config; /* with strings of our own */
	struct crew crew;
	int n_workers;
	struct worker **workers;
	struct ask *asks;
	int unanswered; /* under crew.lock */
	bool threads;   /* they run */

	pthread_mutex_t calls; /* held during each call of engine.h; the members below belong to its holder */
	bool started, stopped;
	int64_t stopped_ns;   /* when the last worker had stopped to claim */
	int64_t collected_ns; /* the end of the interval before */
	uint64_t collected_planned;
	struct replacement *replacements;
	struct mix *mixes;                /* all that there were: arrivals of any segment may still be claimed */
	const double *shares;             /* of the current one; NULL: the workload's own */
	struct plan_cursor planned;       /* what is due by now */
	struct plan_cursor unclaimed;     /* the first that nobody has claimed */
	VEC(struct load_unfinished) open; /* of all workers, once stopped */
};

struct mix {
	struct mix *next;
	double shares[];
};

/* ---- asking the workers ---- */

static void answer(struct loop_message *m)
{
	struct ask *ask = container_of(m, struct ask, message);
	struct load *load = ask->load;
	ask->fn(ask->worker, ask->arg);
	pthread_mutex_lock(&load->crew.lock);
	if (--load->unanswered == 0)
		pthread_cond_broadcast(&load->crew.changed);
	pthread_mutex_unlock(&load->crew.lock);
}

/* Runs fn for each worker on its thread, and waits. Before the threads run it is called here. */
static void ask_all(struct load *load, void (*fn)(struct worker *w, void *arg), void *arg)
{
	if (!load->threads) {
		for (int i = 0; i < load->n_workers; i++)
			fn(load->workers[i], arg);
		return;
	}
	load->unanswered = load->n_workers;
	for (int i = 0; i < load->n_workers; i++) {
		load->asks[i] = (struct ask){.message.fn = answer, .load = load, .worker = load->workers[i], .fn = fn, .arg = arg};
		loop_post(load->workers[i]->loop, &load->asks[i].message);
	}
	pthread_mutex_lock(&load->crew.lock);
	while (load->unanswered > 0)
		pthread_cond_wait(&load->crew.changed, &load->crew.lock);
	pthread_mutex_unlock(&load->crew.lock);
}

/* Waits for a change of the crew until the time is over; false when it is. The lock is held. */
static bool await_change(struct load *load, int64_t until_ns)
{
	struct timespec until = {.tv_sec = until_ns / NS_PER_S, .tv_nsec = until_ns % NS_PER_S};
	return pthread_cond_timedwait(&load->crew.changed, &load->crew.lock, &until) == 0;
}

/* ---- making ---- */

static enum status check_config(const struct load_config *c, struct error *err)
{
	if (c->pods < 1 || c->pods > LOAD_PODS_MAX || c->pool < 1 || c->pool > LOAD_SESSIONS_MAX || c->pods * c->pool > LOAD_SESSIONS_MAX) {
		error_set(err, ST_USAGE, "%d pods of %d sessions are not possible", c->pods, c->pool);
		error_hint(err, "at least 1 of each, and at most %d sessions in all", LOAD_SESSIONS_MAX);
		return ST_USAGE;
	}
	if (c->workers < 1 || c->workers > LOAD_WORKERS_MAX) {
		error_set(err, ST_USAGE, "%d load workers are not possible", c->workers);
		error_hint(err, "1 to %d; more than there are cores is of no use", LOAD_WORKERS_MAX);
		return ST_USAGE;
	}
	if (c->users < 0 || c->users > LOAD_USERS_MAX)
		return error_set(err, ST_USAGE, "%d users are not possible: at most %d are", c->users, LOAD_USERS_MAX);
	if (!(c->scale > 0))
		return error_set(err, ST_USAGE, "a scale of %g is not possible", c->scale);
	return ST_OK;
}

static char *copy(const char *text)
{
	char *mine = text != NULL ? strdup(text) : NULL;
	if (text != NULL && mine == NULL)
		abort();
	return mine;
}

static void init_crew(struct load *load)
{
	struct crew *crew = &load->crew;
	crew->config = &load->config;
	pthread_mutex_init(&crew->lock, NULL);
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&crew->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_init(&load->calls, NULL);
}

static void set_limit(struct crew *crew, size_t v, const struct load_policy *p)
{
	int64_t acquire_ns = p->acquire_timeout_ns, patience_ns = p->patience_ns;
	bool patience = patience_ns > 0 && (acquire_ns == 0 || patience_ns <= acquire_ns);
	crew->limits[v].is_patience = patience;
	crew->limit_ns[v] = patience ? patience_ns : acquire_ns;
}

static enum status set_limits(struct load *load, const struct load_config *config, struct error *err)
{
	struct crew *crew = &load->crew;
	const struct workload *w = load_workload(load);
	struct load_policy usual = {.acquire_timeout_ns = config->acquire_timeout_ns, .patience_ns = config->patience_ns};
	for (size_t v = 0; v < w->n_versions; v++)
		set_limit(crew, v, &usual);
	for (size_t i = 0; i < config->n_policies; i++) {
		int v = workload_find_version(w, config->policies[i].version);
		if (v < 0)
			return error_set(
				err, ST_USAGE, "there is no app version %s whose requests could wait", config->policies[i].version);
		set_limit(crew, (size_t)v, &config->policies[i]);
	}
	for (size_t v = 0; v < w->n_versions; v++)
		if (crew->limit_ns[v] > 0 && (crew->limit_min_ns == 0 || crew->limit_ns[v] < crew->limit_min_ns))
			crew->limit_min_ns = crew->limit_ns[v];
	return ST_OK;
}

static enum status create_plan(struct load *load, const struct load_config *config, struct error *err)
{
	struct rate_program constant;
	const struct rate_program *program = config->program;
	if (program == NULL) {
		enum status st = rate_constant(config->rate, &constant, err);
		if (st != ST_OK)
			return st;
		program = &constant;
	}
	return plan_create(config->seed, program, config->even, &load->crew.plan, err);
}

enum status load_create(const struct load_config *config, struct load **out, struct error *err)
{
	*out = NULL;
	enum status st = check_config(config, err);
	if (st != ST_OK)
		return st;
	struct load *load = calloc(1, sizeof *load);
	if (load == NULL)
		return error_set(err, ST_FAILED, "out of memory for the load");
	load->config = *config;
	load->config.dsn = copy(config->dsn);
	load->config.workload_path = copy(config->workload_path);
	load->config.scenario_path = copy(config->scenario_path);
	load->config.read_dsn = copy(config->read_dsn);
	load->config.pooler_dsn = copy(config->pooler_dsn);
	load->config.read_from = copy(config->read_from != NULL ? config->read_from : "standby");
	load->config.version = copy(config->version != NULL ? config->version : "v1");
	init_crew(load);
	load->workers = calloc((size_t)config->workers, sizeof *load->workers);
	load->asks = calloc((size_t)config->workers, sizeof *load->asks);
	if (load->workers == NULL || load->asks == NULL)
		abort();
	load->crew.workers = load->workers;
	load->crew.draw_seed = rng_at(config->seed, 1);
	load->crew.leader = -1;
	load->config.policies = NULL;
	if (config->users == 0)
		load->config.users = config->pods * config->pool;
	load->crew.has_users = config->closed ? config->users > 0 || config->think.shape != THINK_NONE : config->requests.mean > 1;
	load->config.program = NULL;
	if (!config->closed)
		st = create_plan(load, config, err);
	for (int i = 0; i < config->workers && st == ST_OK; i++) {
		st = worker_create(&load->crew, i, &load->workers[i], err);
		load->n_workers += st == ST_OK;
	}
	if (st == ST_OK)
		st = set_limits(load, config, err);
	if (st != ST_OK) {
		load_free(load);
		return st;
	}
	const struct workload *w = load_workload(load);
	load->crew.warned = calloc(w->n_versions * w->n_transactions, sizeof *load->crew.warned);
	if (load->crew.warned == NULL)
		abort();
	load->crew.ledger = config->ledger || w->ledger;
	*out = load;
	return ST_OK;
}

const struct workload *load_workload(const struct load *load)
{
	return load->workers[0]->workload;
}

/* ---- connecting ---- */

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	char name[16];
	snprintf(name, sizeof name, "load %d", w->number);
	pthread_setname_np(pthread_self(), name);
	loop_run(w->loop);
	return NULL;
}

/* Signals are the main thread's. */
static enum status start_threads(struct load *load, struct error *err)
{
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	enum status st = ST_OK;
	int n = 0;
	for (; n < load->n_workers && st == ST_OK; n++) {
		if (pthread_create(&load->workers[n]->thread, NULL, run_worker, load->workers[n]) != 0)
			st = error_set(err, ST_FAILED, "cannot start thread %d of the load", n + 1);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (st == ST_OK) {
		load->threads = true;
		return ST_OK;
	}
	for (int i = 0; i < n - 1; i++) {
		loop_stop(load->workers[i]->loop);
		pthread_join(load->workers[i]->thread, NULL);
	}
	return st;
}

/* Each session needs a descriptor, and three while its statement is cancelled, which all may be at once; the usual limit of 1024 is a
 * default, not a rule. */
static void allow_descriptors(int sessions)
{
	struct rlimit limit;
	rlim_t wanted = 4 * (rlim_t)sessions + 256;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted)
		return;
	limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
}

static int count_sessions(const struct load *load)
{
	return load->config.pods * load->config.pool * (load->config.read_dsn != NULL ? 2 : 1);
}

static enum status await_connections(struct load *load, int64_t until_ns, struct error *err)
{
	struct crew *crew = &load->crew;
	int sessions = count_sessions(load);
	pthread_mutex_lock(&crew->lock);
	while (crew->connected < sessions && !crew->refused && await_change(load, until_ns))
		;
	enum status st = ST_OK;
	if (crew->connected < sessions) {
		st = error_set(err, ST_FAILED, "only %d of %d sessions of the load could connect: %s", crew->connected, sessions,
			crew->refusal[0] != '\0' ? crew->refusal : "the server did not answer in time");
		if (strcmp(crew->refusal_sqlstate, "53300") == 0)
			error_hint(err, "pods x pool = %d sessions must fit into the server's max_connections",
				load->config.pods * load->config.pool);
	}
	pthread_mutex_unlock(&crew->lock);
	return st;
}

enum status load_connect(struct load *load, int64_t timeout_ns, struct error *err)
{
	pthread_mutex_lock(&load->calls);
	int64_t until_ns = clock_now_ns() + timeout_ns;
	allow_descriptors(count_sessions(load));
	enum status st = load->crew.ledger && !load->threads ? ledger_create(load->config.dsn, timeout_ns, err) : ST_OK;
	if (st == ST_OK && !load->threads)
		st = start_threads(load, err);
	if (st == ST_OK) {
		ask_all(load, worker_connect, NULL);
		st = await_connections(load, until_ns, err);
	}
	pthread_mutex_unlock(&load->calls);
	return st;
}

/* ---- traffic ---- */

void load_start(struct load *load, int64_t start_ns)
{
	pthread_mutex_lock(&load->calls);
	if (load->crew.plan != NULL)
		plan_start(load->crew.plan, start_ns);
	load->started = true;
	load->collected_ns = start_ns;
	ask_all(load, worker_start, &start_ns);
	pthread_mutex_unlock(&load->calls);
}

/* Shares of the workload's weights but for those given. */
static enum status make_mix(struct load *load, const struct load_weight *weights, size_t n, struct mix **out, struct error *err)
{
	const struct workload *w = load_workload(load);
	for (size_t i = 0; i < n; i++) {
		if (workload_find_transaction(w, weights[i].transaction) < 0)
			return error_set(err, ST_USAGE, "the mix names %s, which is no transaction of the workload %s",
				weights[i].transaction, w->name);
		if (!(weights[i].weight >= 0 && weights[i].weight < 1e12))
			return error_set(err, ST_USAGE, "the weight %g of %s is not possible: 0 or more is", weights[i].weight,
				weights[i].transaction);
	}
	struct mix *mix = calloc(1, sizeof *mix + w->n_transactions * sizeof mix->shares[0]);
	if (mix == NULL)
		return error_set(err, ST_FAILED, "out of memory for a mix of transactions");
	double sum = 0;
	int last = -1;
	for (size_t t = 0; t < w->n_transactions; t++) {
		double weight = w->transactions[t].weight;
		for (size_t i = 0; i < n; i++)
			if (strcmp(weights[i].transaction, w->transactions[t].name) == 0)
				weight = weights[i].weight;
		sum += weight;
		mix->shares[t] = sum;
		last = weight > 0 ? (int)t : last;
	}
	if (last < 0) {
		free(mix);
		return error_set(err, ST_USAGE, "the mix leaves no transaction of the workload %s with a weight", w->name);
	}
	/* Rounding must not let a draw of almost 1 fall behind the last one. */
	for (size_t t = 0; t < w->n_transactions; t++)
		mix->shares[t] = (int)t >= last ? 2 : mix->shares[t] / sum;
	*out = mix;
	return ST_OK;
}

enum status load_check_mix(struct load *load, const struct load_weight *weights, size_t n, struct error *err)
{
	struct mix *mix = NULL;
	enum status st = make_mix(load, weights, n, &mix, err);
	free(mix);
	return st;
}

enum status load_change(
	struct load *load, const struct rate_program *program, const struct load_weight *weights, size_t n, struct error *err)
{
	struct crew *crew = &load->crew;
	if (crew->plan == NULL && program != NULL)
		return error_set(err, ST_USAGE, "a closed loop has no rate that could be changed");
	pthread_mutex_lock(&load->calls);
	struct mix *mix = NULL;
	enum status st = n > 0 ? make_mix(load, weights, n, &mix, err) : ST_OK;
	if (st == ST_OK) {
		const double *shares = mix != NULL ? mix->shares : load->shares;
		if (crew->plan != NULL)
			st = plan_change(crew->plan, program, shares, clock_now_ns() + RATE_NOTICE_NS, err);
		if (st == ST_OK)
			atomic_store_explicit(&crew->shares, shares, memory_order_release);
	}
	if (st == ST_OK && mix != NULL) {
		mix->next = load->mixes;
		load->mixes = mix;
		load->shares = mix->shares;
	} else {
		free(mix);
	}
	if (st == ST_OK && load->started && !load->stopped)
		ask_all(load, worker_review, NULL);
	pthread_mutex_unlock(&load->calls);
	return st;
}

struct flag {
	const char *name, *value;
};

static void set_flag(struct worker *w, void *arg)
{
	const struct flag *flag = arg;
	struct error err;
	if (workload_set_flag(w->workload, flag->name, flag->value, true, &err) != ST_OK)
		abort(); /* it has been checked */
}

/* While the workers run, their Lua is theirs: one of them looks. */
struct flag_check {
	struct flag flag;
	struct worker *by;
	enum status status;
	struct error *err;
};

static void check_flag(struct worker *w, void *arg)
{
	struct flag_check *check = arg;
	if (w == check->by)
		check->status = workload_set_flag(w->workload, check->flag.name, check->flag.value, false, check->err);
}

/* The lock is held. */
static enum status check_flag_now(struct load *load, const char *name, const char *value, struct error *err)
{
	struct flag_check check = {.flag = {.name = name, .value = value}, .by = load->workers[0], .err = err};
	ask_all(load, check_flag, &check);
	return check.status;
}

enum status load_check_flag(struct load *load, const char *name, const char *value, struct error *err)
{
	pthread_mutex_lock(&load->calls);
	enum status st = check_flag_now(load, name, value, err);
	pthread_mutex_unlock(&load->calls);
	return st;
}

enum status load_set_flag(struct load *load, const char *name, const char *value, struct error *err)
{
	struct flag flag = {.name = name, .value = value};
	pthread_mutex_lock(&load->calls);
	enum status st = check_flag_now(load, name, value, err);
	if (st == ST_OK)
		ask_all(load, set_flag, &flag);
	pthread_mutex_unlock(&load->calls);
	return st;
}

struct flag_question {
	const char *name;
	const struct worker *by;
	char *out;
	size_t size;
};

static void tell_flag(struct worker *w, void *arg)
{
	const struct flag_question *q = arg;
	if (w == q->by)
		workload_flag_value(w->workload, q->name, q->out, q->size);
}

void load_flag_value(struct load *load, const char *name, char *out, size_t size)
{
	struct flag_question question = {.name = name, .by = load->workers[0], .size = size};
	question.out = out;
	pthread_mutex_lock(&load->calls);
	ask_all(load, tell_flag, &question);
	pthread_mutex_unlock(&load->calls);
}

enum status load_change_rate(struct load *load, double rate, struct error *err)
{
	struct rate_program program;
	enum status st = rate_constant(rate, &program, err);
	return st == ST_OK ? load_change(load, &program, NULL, 0, err) : st;
}

enum status load_replace_pod(struct load *load, int pod, const char *version, void (*done)(void *arg), void *arg, struct error *err)
{
	int number = workload_find_version(load_workload(load), version);
	if (number < 0)
		return error_set(err, ST_USAGE, "the workload has no version %s", version);
	if (pod < 0 || pod >= load->config.pods)
		return error_set(err, ST_USAGE, "there is no pod %d: they are numbered from 0 to %d", pod, load->config.pods - 1);
	struct replacement *r = calloc(1, sizeof *r);
	if (r == NULL)
		return error_set(err, ST_FAILED, "out of memory for a deploy");
	atomic_init(&r->left, load->config.pool);
	r->done = done;
	r->arg = arg;
	struct worker_deploy deploy = {.pod = pod, .version = number, .replacement = r};
	pthread_mutex_lock(&load->calls);
	r->next = load->replacements;
	load->replacements = r;
	ask_all(load, worker_deploy, &deploy);
	pthread_mutex_unlock(&load->calls);
	return ST_OK;
}

/* ---- results ---- */

/* What is due and not claimed by t_ns. */
static uint64_t count_backlog(struct load *load, int64_t t_ns, int64_t *age_ns)
{
	plan_seek_unclaimed(load->crew.plan, &load->unclaimed);
	uint64_t due = plan_count_until(load->crew.plan, &load->planned, t_ns);
	*age_ns = load->unclaimed.due_ns <= t_ns ? t_ns - load->unclaimed.due_ns : 0;
	return due > load->unclaimed.passed ? due - load->unclaimed.passed : 0;
}

void load_collect(struct load *load, struct load_interval *out)
{
	pthread_mutex_lock(&load->calls);
	ask_all(load, worker_hand_over, NULL);
	int64_t now_ns = load->stopped ? load->stopped_ns : clock_now_ns();
	stats_clear_interval(out);
	int64_t own_due_ns = PLAN_NEVER;
	out->n_workers = load->n_workers;
	for (int i = 0; i < load->n_workers; i++) {
		const struct stats *s = load->workers[i]->spare;
		own_due_ns = s->waiting_due_ns < own_due_ns ? s->waiting_due_ns : own_due_ns;
		stats_add(out, s);
		stats_clear(load->workers[i]->spare);
	}
	out->start_ns = load->collected_ns;
	out->end_ns = clock_now_ns();
	load->collected_ns = out->end_ns;
	if (load->crew.plan != NULL && load->started) {
		out->backlog += count_backlog(load, now_ns, &out->backlog_age_ns);
		out->planned += load->planned.passed - load->collected_planned;
		load->collected_planned = load->planned.passed;
		out->rate = plan_rate_at(load->crew.plan, now_ns);
	} else if (!load->crew.has_users) {
		for (size_t v = 0; v < out->n_versions; v++)
			out->planned += out->versions[v].started;
	}
	if (own_due_ns != PLAN_NEVER && now_ns - own_due_ns > out->backlog_age_ns)
		out->backlog_age_ns = now_ns - own_due_ns;
	pthread_mutex_unlock(&load->calls);
}

/* Sums of the workers' own counters; planned and never_started come from the plan, so that the law is worth checking. */
static void add_totals(struct load *load, struct load_totals *out)
{
	memset(out, 0, sizeof *out);
	out->reads.name = load_read_from(load);
	const struct workload *workload = load_workload(load);
	load->open.n = 0;
	out->n_versions = workload->n_versions;
	for (size_t v = 0; v < workload->n_versions; v++)
		out->versions[v].name = workload->versions[v].name;
	for (int i = 0; i < load->n_workers; i++) {
		const struct worker *w = load->workers[i];
		for (size_t v = 0; v < workload->n_versions; v++) {
			stats_add_version(&out->versions[v], &w->totals[v]);
			stats_add_errors(&out->errors, &w->totals[v].errors);
			stats_add_errors(&out->retries, &w->totals[v].retries);
		}
		stats_add_version(&out->reads, &w->reads);
		stats_add_counters(&out->counters, &w->counters);
		out->abandoned += w->abandoned;
		for (size_t k = 0; k < w->unfinished.n; k++) {
			const struct load_unfinished *u = &w->unfinished.at[k];
			VEC_PUSH(&load->open, *u);
			if (u->due_age_ns > out->unfinished_oldest_ns)
				out->unfinished_oldest_ns = u->due_age_ns;
		}
		out->planned += w->followed;
		out->never_started += waiting_count(w->waiting);
	}
	out->unfinished = out->n_open = load->open.n;
	out->open = load->open.at;
	for (size_t v = 0; v < out->n_versions; v++) {
		out->started += out->versions[v].started;
		out->ok += out->versions[v].ok;
		out->failed += out->versions[v].failed;
	}
	int64_t age_ns;
	if (load->crew.plan == NULL) {
		out->planned += load->crew.next_draw;
	} else if (load->started) {
		out->never_started += count_backlog(load, load->stopped_ns, &age_ns);
		out->planned += load->planned.passed;
	}
	out->holds = out->planned == out->started + out->abandoned + out->never_started &&
		out->started == out->ok + out->failed + out->unfinished;
}

void load_stop(struct load *load, int64_t drain_ns, struct load_totals *out)
{
	pthread_mutex_lock(&load->calls);
	if (!load->stopped) {
		ask_all(load, worker_stop, NULL);
		load->stopped_ns = clock_now_ns();
		load->stopped = true;
		pthread_mutex_lock(&load->crew.lock);
		while (load->crew.drained < load->n_workers && await_change(load, load->stopped_ns + drain_ns))
			;
		pthread_mutex_unlock(&load->crew.lock);
		ask_all(load, worker_finish, NULL);
	}
	add_totals(load, out);
	pthread_mutex_unlock(&load->calls);
}

/* ---- the ledger ---- */

const char *load_read_from(const struct load *load)
{
	return load->config.read_dsn != NULL ? load->config.read_from : NULL;
}

bool load_has_ledger(const struct load *load)
{
	return load->crew.ledger;
}

enum status load_check_ledger(struct load *load, int64_t timeout_ns, struct load_ledger *out, struct error *err)
{
	int n = load->config.pods * load->config.pool;
	const struct ledger_book **books = calloc((size_t)n, sizeof *books);
	if (books == NULL)
		return error_set(err, ST_FAILED, "out of memory for the ledger");
	/* The workers have stopped: their books do not change any more. */
	for (int i = 0; i < load->n_workers; i++)
		for (int k = 0; k < load->workers[i]->n_clients; k++)
			books[load->workers[i]->clients[k].number] = &load->workers[i]->clients[k].book;
	enum status st = ledger_check(load->config.dsn, books, n, timeout_ns, out, err);
	free(books);
	return st;
}

struct pids {
	pthread_mutex_t *lock;
	int *at;
	int n, max;
};

static void add_pids(struct worker *w, void *arg)
{
	struct pids *pids = arg;
	pthread_mutex_lock(pids->lock);
	for (int i = 0; i < w->n_clients && pids->n < pids->max; i++) {
		int pid = w->clients[i].home != NULL ? session_pid(w->clients[i].home) : 0;
		if (pid != 0)
			pids->at[pids->n++] = pid;
	}
	pthread_mutex_unlock(pids->lock);
}

int load_pids(struct load *load, int *pids, int max)
{
	struct pids found = {.lock = &load->crew.lock, .max = max};
	found.at = pids;
	pthread_mutex_lock(&load->calls);
	ask_all(load, add_pids, &found);
	pthread_mutex_unlock(&load->calls);
	return found.n;
}

/* ---- the end ---- */

void load_free(struct load *load)
{
	if (load == NULL)
		return;
	ask_all(load, worker_finish, NULL);
	if (load->threads) {
		for (int i = 0; i < load->n_workers; i++) {
			loop_stop(load->workers[i]->loop);
			pthread_join(load->workers[i]->thread, NULL);
		}
	}
	for (int i = 0; i < load->n_workers; i++)
		worker_free(load->workers[i]);
	VEC_FREE(&load->open);
	while (load->replacements != NULL) {
		struct replacement *r = load->replacements;
		load->replacements = r->next;
		free(r);
	}
	while (load->mixes != NULL) {
		struct mix *m = load->mixes;
		load->mixes = m->next;
		free(m);
	}
	plan_free(load->crew.plan);
	free(load->crew.warned);
	pthread_mutex_destroy(&load->crew.lock);
	pthread_cond_destroy(&load->crew.changed);
	pthread_mutex_destroy(&load->calls);
	free((void *)load->config.dsn);
	free((void *)load->config.workload_path);
	free((void *)load->config.scenario_path);
	free((void *)load->config.read_dsn);
	free((void *)load->config.pooler_dsn);
	free((void *)load->config.read_from);
	free((void *)load->config.version);
	free(load->workers);
	free(load->asks);
	free(load);
}
