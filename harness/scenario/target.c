/* Targets: made, filled, snapshotted, put back, removed. */
#define _GNU_SOURCE
#include "scenario/target.h"

#include "base/log.h"
#include "clone/guard.h"
#include "clone/sandbox.h"
#include "load/generate.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_NS 50000000L

struct target {
	struct target_config config;
	struct sandbox *sandbox; /* NULL: config.dsn */
	char snapshot[PATH_MAX]; /* "" until taken */
	const char *names[REHEARSAL_STANDBYS_MAX];
	const char *dsns[REHEARSAL_STANDBYS_MAX];
	int used; /* drills so far */
};

static bool interrupted(const struct target_config *c)
{
	return c->stop != NULL && *c->stop != 0;
}

static void say(const struct target *t, const char *what)
{
	if (t->config.progress != NULL)
		t->config.progress(what, 0, 0, t->config.arg);
}

/* Generating data blocks for seconds and knows of no interruption, so it has a thread of its own; when it is to end, the server
 * is taken from under it. */
struct filling {
	struct target *t;
	enum status outcome;
	struct error err;
	_Atomic bool ended;
	pthread_mutex_t lock;
	char what[128];
	int64_t done, total;
};

static void note_progress(const char *what, int64_t done, int64_t total, void *arg)
{
	struct filling *f = arg;
	pthread_mutex_lock(&f->lock);
	snprintf(f->what, sizeof f->what, "%s", what);
	f->done = done;
	f->total = total;
	pthread_mutex_unlock(&f->lock);
}

static void *fill(void *arg)
{
	struct filling *f = arg;
	const struct target_config *c = &f->t->config;
	f->outcome = generate_data(sandbox_dsn(f->t->sandbox), c->workload_path, c->scale, c->seed, note_progress, f, &f->err);
	atomic_store(&f->ended, true);
	return NULL;
}

static void pass_progress_on(struct filling *f)
{
	const struct target_config *c = &f->t->config;
	pthread_mutex_lock(&f->lock);
	char what[sizeof f->what];
	snprintf(what, sizeof what, "%s", f->what);
	int64_t done = f->done, total = f->total;
	pthread_mutex_unlock(&f->lock);
	if (c->progress != NULL && what[0] != '\0')
		c->progress(what, done, total, c->arg);
}

static enum status fill_sandbox(struct target *t, struct error *err)
{
	struct filling f = {.t = t, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t thread;
	if (pthread_create(&thread, NULL, fill, &f) != 0)
		return error_set(err, ST_FAILED, "a thread for the data could not be started");
	bool stopping = false;
	while (!atomic_load(&f.ended)) {
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
		if (!stopping && interrupted(&t->config)) {
			stopping = true;
			struct error ignored;
			(void)!sandbox_stop_server(t->sandbox, 0, true, &ignored);
		}
		if (!stopping)
			pass_progress_on(&f);
	}
	pthread_join(thread, NULL);
	pthread_mutex_destroy(&f.lock);
	if (stopping)
		return error_set(err, ST_INTERRUPTED, "interrupted");
	if (f.outcome != ST_OK)
		*err = f.err;
	return f.outcome;
}

static enum status take_snapshot(struct target *t, struct error *err)
{
	/* Within the sandbox's folder, so that it goes with it however we end. */
	if ((size_t)snprintf(t->snapshot, sizeof t->snapshot, "%s/snapshot", sandbox_dir(t->sandbox)) >= sizeof t->snapshot)
		return error_set(err, ST_FAILED, "the path of the sandbox is too long: %s", sandbox_dir(t->sandbox));
	say(t, "taking a snapshot");
	enum status st = sandbox_snapshot(t->sandbox, t->snapshot, err);
	if (st != ST_OK)
		t->snapshot[0] = '\0';
	return st;
}

static enum status make_sandbox(struct target *t, struct error *err)
{
	const struct target_config *c = &t->config;
	/* Of a snapshot standbys are made afterwards. */
	struct sandbox_config config = {.standbys = c->snapshot ? 0 : c->standbys, .keep = c->keep, .stop = c->stop};
	say(t, config.standbys > 0 ? "starting a primary and its standby" : "starting a server");
	enum status st = sandbox_up(&config, &t->sandbox, err);
	if (st == ST_OK)
		st = fill_sandbox(t, err);
	if (st == ST_OK && c->snapshot)
		st = take_snapshot(t, err);
	return st;
}

enum status target_prepare(const struct target_config *config, struct target **out, struct error *err)
{
	struct target *t = calloc(1, sizeof *t);
	if (t == NULL)
		abort();
	t->config = *config;
	enum status st = config->dsn != NULL ? guard_check_target(config->dsn, err) : make_sandbox(t, err);
	if (st != ST_OK) {
		target_free(t);
		return interrupted(config) ? error_set(err, ST_INTERRUPTED, "interrupted") : st;
	}
	*out = t;
	return ST_OK;
}

enum status target_refresh(struct target *t, int standbys, struct error *err)
{
	int earlier = t->used++;
	if (t->sandbox == NULL) {
		if (earlier == 0)
			return ST_OK;
		error_set(err, ST_USAGE, "this target cannot be put back to where it started, so it takes one drill a run");
		error_hint(err, "name one: --drill forward, or --drill rollback");
		return ST_USAGE;
	}
	if (t->snapshot[0] == '\0')
		return ST_OK;
	say(t, "putting the data back");
	return sandbox_reset(t->sandbox, t->snapshot, standbys < t->config.standbys ? standbys : t->config.standbys, err);
}

enum status target_fail_over(struct target *t, struct error *err)
{
	if (t->sandbox != NULL && sandbox_standbys(t->sandbox) > 0)
		return sandbox_fail_over(t->sandbox, 0, err);
	error_set(err, ST_USAGE, "there is no standby of ours to fail over to");
	error_hint(err, "the drill failover needs a sandbox: leave out --target");
	return ST_USAGE;
}

void target_describe(struct target *t, struct rehearsal *r)
{
	r->scale = t->config.scale;
	r->seed = t->config.seed;
	r->stop = t->config.stop;
	r->target = t;
	if (t->sandbox == NULL) {
		r->dsn = t->config.dsn;
		return;
	}
	r->dsn = sandbox_dsn(t->sandbox);
	r->sandbox = true;
	r->standbys = sandbox_standbys(t->sandbox);
	for (int i = 0; i < r->standbys; i++) {
		t->names[i] = sandbox_standby_name(t->sandbox, i);
		t->dsns[i] = sandbox_standby_dsn(t->sandbox, i);
	}
	r->standby_names = t->names;
	r->standby_dsns = t->dsns;
}

void target_free(struct target *t)
{
	if (t == NULL)
		return;
	struct error err;
	if (t->snapshot[0] != '\0' && sandbox_remove_snapshot(t->snapshot, &err) != ST_OK)
		log_warning("the snapshot %s could not be removed: %s", t->snapshot, err.what);
	if (t->sandbox != NULL && t->config.keep)
		log_info("the sandbox %s is kept: pgrehearse sandbox psql %s, pgrehearse sandbox down %s", sandbox_name(t->sandbox),
			sandbox_name(t->sandbox), sandbox_name(t->sandbox));
	else if (t->sandbox != NULL && sandbox_down(t->sandbox, &err) != ST_OK)
		log_warning("the sandbox could not be removed: %s", err.what);
	sandbox_free(t->sandbox);
	free(t);
}
