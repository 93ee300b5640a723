/* Filling a sandbox. */
#define _GNU_SOURCE
#include "scenario/fill.h"

#include "base/fs.h"
#include "base/units.h"
#include "clone/server.h"
#include "load/generate.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOOK_NS 50000000L

/* Generating data blocks for seconds and knows of no interruption, so it has a thread of its own; when it is to end, the server
 * is taken from under it. */
struct filling {
	const struct fill_config *config;
	enum status outcome;
	struct error err;
	_Atomic bool ended;
	pthread_mutex_t lock;
	char what[128];
	int64_t done, total;
};

struct progress {
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

static struct progress progress_of(struct filling *f)
{
	struct progress p = {.done = 0};
	pthread_mutex_lock(&f->lock);
	snprintf(p.what, sizeof p.what, "%s", f->what);
	p.done = f->done;
	p.total = f->total;
	pthread_mutex_unlock(&f->lock);
	return p;
}

static void *fill(void *arg)
{
	struct filling *f = arg;
	const struct fill_config *c = f->config;
	f->outcome = (c->resumable ? generate_data_resumably : generate_data)(
		sandbox_dsn(c->sandbox), c->workload_path, c->scale, c->seed, note_progress, f, &f->err);
	atomic_store(&f->ended, true);
	return NULL;
}

/* What cannot be told does not stop it; a mistake in the workload is told by what comes next. */
static enum status check_room(const struct fill_config *c, struct error *err)
{
	char needs[32], has[32], there[32] = "";
	int64_t needed = 0, room;
	if (generate_estimate(c->workload_path, c->scale, c->seed, &needed, NULL) != ST_OK ||
		fs_free_bytes(sandbox_dir(c->sandbox), &room, NULL) != ST_OK || needed <= room)
		return ST_OK;
	/* Of data that are half made, the rest is still to come. */
	if (server_query(sandbox_dsn(c->sandbox), "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())", there, sizeof there,
		    err) == ST_OK)
		needed -= strtoll(there, NULL, 10);
	if (needed <= room)
		return ST_OK;
	error_set(err, ST_FAILED, "the disk is too small: at scale %g the rows need about %s and their indexes more, and %s are free at %s",
		c->scale, units_format_bytes((double)needed, needs, sizeof needs), units_format_bytes((double)room, has, sizeof has),
		sandbox_dir(c->sandbox));
	error_hint(err, "a smaller --scale, or TMPDIR on a larger disk");
	return ST_FAILED;
}

enum status fill_sandbox(const struct fill_config *config, struct error *err)
{
	struct filling f = {.config = config, .lock = PTHREAD_MUTEX_INITIALIZER};
	pthread_t thread;
	enum status st = check_room(config, err);
	if (st != ST_OK)
		return st;
	if (pthread_create(&thread, NULL, fill, &f) != 0)
		return error_set(err, ST_FAILED, "a thread for the data could not be started");
	enum status stopped = ST_OK;
	while (!atomic_load(&f.ended)) {
		nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
		if (stopped != ST_OK)
			continue;
		struct progress p = progress_of(&f);
		if (config->stop != NULL && *config->stop != 0)
			stopped = error_set(err, ST_INTERRUPTED, "interrupted");
		else if (config->progress != NULL && p.what[0] != '\0')
			config->progress(p.what, p.done, p.total, config->arg);
		if (stopped != ST_OK)
			(void)!sandbox_stop_server(config->sandbox, 0, true, NULL);
	}
	pthread_join(thread, NULL);
	pthread_mutex_destroy(&f.lock);
	if (stopped != ST_OK)
		return stopped;
	if (f.outcome != ST_OK)
		*err = f.err;
	return f.outcome;
}
