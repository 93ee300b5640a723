/* Writing a run record: each line reaches its file whole, in one write(), the moment it is recorded. */
#define _GNU_SOURCE
#include "record/record.h"

#include "base/clock.h"
#include "base/fs.h"
#include "measure/hist.h"
#include "measure/hlog.h"
#include "record/series.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A record survives kill -9 of its writer because nothing waits in a buffer of ours; what the kernel holds is safe from that.
 * It is not fsynced: an fsync every second would take the disk from the very server that is being measured. */
struct series {
	int fd;
	off_t length; /* of whole lines; what a full disk left behind them is cut off again */
};

enum { EVENTS, INTERVALS, WAITS, WINDOWS, LATENCY, SERIES_COUNT };

static const char *const FILES[SERIES_COUNT] = {"events.jsonl", "intervals.jsonl", "waits.jsonl", "windows.jsonl", "latency.hlog"};

struct record {
	pthread_mutex_t lock; /* of everything below: a few hundred lines a second, so one lock is enough */
	struct series series[SERIES_COUNT];
	json_t *run;
	bool run_dirty;       /* record_set changed run since it was last written */
	struct error failure; /* the first one; status ST_OK while there is none */
	int64_t start_ns;
	char dir[512];
};

static void keep_failure(struct record *r, const struct error *err)
{
	if (r->failure.status == ST_OK)
		r->failure = *err;
}

static void fail_series(struct record *r, int which)
{
	struct error err;
	error_errno(&err, ST_FAILED, "the record cannot be written");
	error_where(&err, "%s/%s", r->dir, FILES[which]);
	if (errno == ENOSPC || errno == EDQUOT)
		error_hint(&err, "free space on that disk, or choose another folder with --out");
	keep_failure(r, &err);
}

static void append(struct record *r, int which, const char *data, size_t len)
{
	struct series *s = &r->series[which];
	if (r->failure.status != ST_OK)
		return;
	for (size_t done = 0; done < len;) {
		ssize_t n = write(s->fd, data + done, len - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			fail_series(r, which);
			if (ftruncate(s->fd, s->length) != 0)
				return; /* the reader passes over a line that was cut short */
			return;
		}
		done += (size_t)n;
	}
	s->length += (off_t)len;
}

/* Halves the longest of a line's lists, and says beside it how many of it are left out. False when there is none. */
static bool shorten(json_t *line)
{
	const char *key, *longest = NULL;
	json_t *value;
	size_t n = 1;
	json_object_foreach(line, key, value)
	{
		if (json_array_size(value) <= n)
			continue;
		n = json_array_size(value);
		longest = key;
	}
	if (longest == NULL)
		return false;
	char count[80];
	json_t *list = json_object_get(line, longest);
	snprintf(count, sizeof count, "%.60s_left_out", longest);
	for (size_t i = n; i-- > n / 2;)
		json_array_remove(list, i);
	json_object_set_new(line, count, json_integer(json_get_int(line, count, 0) + (json_int_t)(n - n / 2)));
	return true;
}

static void append_json(struct record *r, int which, json_t *line)
{
	char *text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12));
	while (text != NULL && strlen(text) > SERIES_LINE_MAX && shorten(line)) {
		free(text);
		text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(12));
	}
	json_decref(line);
	if (text == NULL)
		return;
	size_t len = strlen(text);
	text[len] = '\n'; /* in place of the terminator: append takes a length */
	pthread_mutex_lock(&r->lock);
	append(r, which, text, len + 1);
	pthread_mutex_unlock(&r->lock);
	free(text);
}

static void write_run(struct record *r)
{
	char path[600];
	struct error err;
	snprintf(path, sizeof path, "%s/run.json", r->dir);
	if (json_write_file(path, r->run, &err) != ST_OK)
		keep_failure(r, &err);
	r->run_dirty = false;
}

enum status record_check_dir(const char *dir, struct error *err)
{
	DIR *d = opendir(dir);
	if (d == NULL)
		return errno == ENOENT ? ST_OK : error_errno(err, ST_USAGE, "the folder %s for the record cannot be read", dir);
	enum status st = ST_OK;
	for (struct dirent *e; st == ST_OK && (e = readdir(d)) != NULL;) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		st = error_set(err, ST_USAGE, "the folder %s for the record is not empty: it holds %s", dir, e->d_name);
		error_hint(err, "name a folder that does not exist yet; records are never overwritten");
	}
	closedir(d);
	return st;
}

static enum status open_series(struct record *r, struct error *err)
{
	for (int i = 0; i < SERIES_COUNT; i++) {
		char path[600];
		snprintf(path, sizeof path, "%s/%s", r->dir, FILES[i]);
		r->series[i].fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0644);
		if (r->series[i].fd < 0)
			return error_errno(err, ST_FAILED, "cannot make %s", path);
	}
	return ST_OK;
}

static void write_hlog_header(struct record *r, int64_t wall_ns)
{
	struct buf text;
	buf_init(&text, 4096);
	hlog_format_header(&text, wall_ns);
	append(r, LATENCY, text.data, text.len);
	buf_free(&text);
}

/* What could not be begun leaves nothing behind. */
static struct record *abandon(struct record *r)
{
	char path[600];
	for (int i = 0; i < SERIES_COUNT; i++) {
		snprintf(path, sizeof path, "%s/%s", r->dir, FILES[i]);
		if (r->series[i].fd >= 0)
			unlink(path);
	}
	rmdir(r->dir);
	record_close(r);
	return NULL;
}

struct record *record_create(const char *dir, json_t *run, struct error *err)
{
	struct record *r = calloc(1, sizeof *r);
	if (r == NULL || strlen(dir) >= sizeof r->dir) {
		error_set(err, ST_USAGE, "the name of the record's folder is too long: %s", dir);
		json_decref(run);
		free(r);
		return NULL;
	}
	pthread_mutex_init(&r->lock, NULL);
	snprintf(r->dir, sizeof r->dir, "%s", dir);
	r->run = run;
	for (int i = 0; i < SERIES_COUNT; i++)
		r->series[i].fd = -1;
	if (record_check_dir(dir, err) != ST_OK || fs_make_dirs(dir, 0755, err) != ST_OK) {
		record_close(r);
		return NULL;
	}
	if (open_series(r, err) != ST_OK)
		return abandon(r);
	char stamp[32];
	int64_t wall_ns = clock_wall_ns();
	r->start_ns = clock_now_ns();
	json_object_set_new(run, "format", json_integer(RECORD_FORMAT));
	json_object_set_new(run, "pgrehearse", json_string(PGR_VERSION));
	json_object_set_new(run, "status", json_string("running"));
	json_object_set_new(run, "writer_pid", json_integer(getpid()));
	json_object_set_new(run, "started_at", json_string(clock_format_wall(wall_ns, stamp, sizeof stamp)));
	json_object_set_new(run, "phases", json_array());
	write_hlog_header(r, wall_ns);
	write_run(r);
	if (r->failure.status != ST_OK) {
		if (err != NULL)
			*err = r->failure;
		return abandon(r);
	}
	return r;
}

const char *record_dir(const struct record *r)
{
	return r->dir;
}

int64_t record_now_ns(const struct record *r)
{
	return clock_now_ns() - r->start_ns;
}

int64_t record_start_ns(const struct record *r)
{
	return r->start_ns;
}

void record_event(struct record *r, json_t *event)
{
	append_json(r, EVENTS, event);
}

void record_interval(struct record *r, json_t *interval)
{
	append_json(r, INTERVALS, interval);
}

void record_wait(struct record *r, json_t *wait)
{
	append_json(r, WAITS, wait);
}

void record_window(struct record *r, json_t *window)
{
	append_json(r, WINDOWS, window);
}

void record_warning(struct record *r, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	record_event(r, json_pack("{s:I, s:s, s:o}", "t_ns", (json_int_t)record_now_ns(r), "type", "warning", "text", json_text(text)));
}

void record_histogram(struct record *r, const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *hist)
{
	if (hist_count(hist) == 0)
		return;
	struct error err;
	struct buf text;
	buf_init(&text, HLOG_LINE_MAX);
	enum status st = hlog_format_line(&text, tag, start_ns, end_ns, hist, &err);
	pthread_mutex_lock(&r->lock);
	if (st == ST_OK)
		append(r, LATENCY, text.data, text.len);
	else
		keep_failure(r, &err);
	pthread_mutex_unlock(&r->lock);
	buf_free(&text);
}

void record_set(struct record *r, const char *key, json_t *value)
{
	pthread_mutex_lock(&r->lock);
	json_object_set_new(r->run, key, value);
	r->run_dirty = true;
	pthread_mutex_unlock(&r->lock);
}

void record_update(struct record *r, const char *key, json_t *value)
{
	pthread_mutex_lock(&r->lock);
	json_object_set_new(r->run, key, value);
	write_run(r);
	pthread_mutex_unlock(&r->lock);
}

static void phase_event(struct record *r, const char *name, const char *edge, int64_t t_ns)
{
	record_event(r, json_pack("{s:I, s:s, s:s, s:s}", "t_ns", (json_int_t)t_ns, "type", "phase", "name", name, "edge", edge));
}

void record_phase_start(struct record *r, const char *name, int64_t t_ns)
{
	phase_event(r, name, "start", t_ns);
	pthread_mutex_lock(&r->lock);
	json_array_append_new(
		json_object_get(r->run, "phases"), json_pack("{s:s, s:I, s:n}", "name", name, "start_ns", (json_int_t)t_ns, "end_ns"));
	write_run(r);
	pthread_mutex_unlock(&r->lock);
}

void record_phase_end(struct record *r, int64_t t_ns)
{
	char name[64] = "";
	pthread_mutex_lock(&r->lock);
	json_t *phases = json_object_get(r->run, "phases");
	size_t n = json_array_size(phases);
	json_t *last = n > 0 ? json_array_get(phases, n - 1) : NULL;
	bool open = last != NULL && json_is_null(json_object_get(last, "end_ns"));
	if (open) {
		snprintf(name, sizeof name, "%s", json_get_string(last, "name", ""));
		json_object_set_new(last, "end_ns", json_integer(t_ns));
		write_run(r);
	}
	pthread_mutex_unlock(&r->lock);
	if (open)
		phase_event(r, name, "end", t_ns);
}

void record_flush(struct record *r)
{
	pthread_mutex_lock(&r->lock);
	if (r->run_dirty)
		write_run(r);
	pthread_mutex_unlock(&r->lock);
}

enum status record_error(struct record *r, struct error *err)
{
	pthread_mutex_lock(&r->lock);
	enum status st = r->failure.status;
	if (st != ST_OK && err != NULL)
		*err = r->failure;
	pthread_mutex_unlock(&r->lock);
	return st;
}

enum status record_finish(struct record *r, const char *status, const struct error *cause, struct error *err)
{
	int64_t now_ns = record_now_ns(r);
	record_phase_end(r, now_ns);
	pthread_mutex_lock(&r->lock);
	json_object_set_new(r->run, "status", json_string(status));
	json_object_set_new(r->run, "duration_ns", json_integer(now_ns));
	if (cause != NULL)
		json_object_set_new(r->run, "error",
			json_pack("{s:o, s:o, s:o}", "what", json_text(cause->what), "where", json_text(cause->where), "hint",
				json_text(cause->hint)));
	write_run(r);
	pthread_mutex_unlock(&r->lock);
	return record_error(r, err);
}

void record_close(struct record *r)
{
	if (r == NULL)
		return;
	for (int i = 0; i < SERIES_COUNT; i++)
		if (r->series[i].fd >= 0)
			close(r->series[i].fd);
	json_decref(r->run);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
