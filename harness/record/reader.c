/* Reading a run record back: bounded lines, nothing trusted, cut ends passed over. */
#define _GNU_SOURCE
#include "record/reader.h"

#include "base/fs.h"
#include "base/vec.h"
#include "measure/hist.h"
#include "measure/hlog.h"
#include "record/record.h"
#include "record/series.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct phase {
	const char *name;
	int64_t start_ns;
	int64_t end_ns;
};

struct record_reader {
	char *dir;
	json_t *run;
	VEC(struct phase) phases;
	int64_t bad_lines;
};

static bool is_writer_alive(const json_t *run)
{
	int64_t pid = json_get_int(run, "writer_pid", 0);
	return pid > 0 && pid <= INT32_MAX && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

static enum status check_run(const char *path, const json_t *run, struct error *err)
{
	if (!json_is_object(run) || !json_is_integer(json_object_get(run, "format"))) {
		error_set(err, ST_USAGE, "%s is not the run.json of a record: it names no format", path);
		error_hint(err, "name a folder that `pgrehearse run` or `pgrehearse load` wrote");
		return ST_USAGE;
	}
	int64_t format = json_get_int(run, "format", 0);
	if (format <= RECORD_FORMAT && format >= 1)
		return ST_OK;
	error_set(
		err, ST_USAGE, "%s has record format %lld; this pgrehearse reads formats up to %d", path, (long long)format, RECORD_FORMAT);
	error_hint(err, "read it with the pgrehearse that wrote it (%s) or a newer one",
		json_get_string(run, "pgrehearse", "version unknown"));
	return ST_USAGE;
}

static void read_phases(struct record_reader *r)
{
	size_t i;
	json_t *phase;
	json_array_foreach(json_object_get(r->run, "phases"), i, phase)
	{
		struct phase p = {
			json_get_string(phase, "name", ""), json_get_int(phase, "start_ns", 0), json_get_int(phase, "end_ns", INT64_MAX)};
		VEC_PUSH(&r->phases, p);
	}
}

enum status record_open(const char *dir, struct record_reader **out, struct error *err)
{
	*out = NULL;
	char path[4096];
	snprintf(path, sizeof path, "%s/run.json", dir);
	if (!fs_exists(path)) {
		error_set(err, ST_USAGE, "there is no record in %s: it holds no run.json", dir);
		error_hint(err, "name a folder that `pgrehearse run` or `pgrehearse load` wrote");
		return ST_USAGE;
	}
	struct record_reader *r = calloc(1, sizeof *r);
	if (r == NULL)
		return error_errno(err, ST_FAILED, "cannot read %s", path);
	r->dir = strdup(dir);
	enum status st = json_read_file(path, &r->run, err);
	if (st == ST_OK)
		st = check_run(path, r->run, err);
	if (st != ST_OK) {
		record_reader_free(r);
		return st;
	}
	if (strcmp(json_get_string(r->run, "status", ""), "running") == 0 && !is_writer_alive(r->run))
		json_object_set_new(r->run, "status", json_string("interrupted"));
	read_phases(r);
	*out = r;
	return ST_OK;
}

void record_reader_free(struct record_reader *r)
{
	if (r == NULL)
		return;
	json_decref(r->run);
	VEC_FREE(&r->phases);
	free(r->dir);
	free(r);
}

const char *reader_dir(const struct record_reader *r)
{
	return r->dir;
}

const json_t *reader_run(const struct record_reader *r)
{
	return r->run;
}

int64_t reader_bad_lines(const struct record_reader *r)
{
	return r->bad_lines;
}

enum status reader_each(struct record_reader *r, const char *series, reader_line *fn, void *arg, struct error *err)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/%s.jsonl", r->dir, series);
	struct series *s;
	enum status st = series_open(path, &s, err);
	if (st != ST_OK)
		return st;
	json_t *line = NULL;
	for (bool more = true; more && (st = series_next(s, &line, err)) == ST_OK && line != NULL;) {
		more = fn(line, arg);
		json_decref(line);
	}
	r->bad_lines += series_bad_lines(s);
	series_close(s);
	return st;
}

enum status reader_histograms(struct record_reader *r, reader_hist *fn, void *arg, struct error *err)
{
	char path[4096];
	snprintf(path, sizeof path, "%s/latency.hlog", r->dir);
	if (!fs_exists(path))
		return ST_OK;
	struct hlog_reader *log;
	enum status st = hlog_open(path, &log, err);
	if (st != ST_OK)
		return st;
	struct hlog_line line;
	struct error bad;
	for (;;) {
		if (hlog_next(log, &line, &bad) != ST_OK)
			r->bad_lines++;
		else if (line.hist == NULL || !fn(line.tag, line.start_ns, line.end_ns, line.hist, arg))
			break;
	}
	hlog_close(log);
	return ST_OK;
}

const char *reader_phase_at(const struct record_reader *r, int64_t t_ns)
{
	for (size_t i = 0; i < r->phases.n; i++)
		if (t_ns >= r->phases.at[i].start_ns && t_ns < r->phases.at[i].end_ns)
			return r->phases.at[i].name;
	return "";
}

struct found {
	char *dir;
	char started_at[40];
};

static int by_start(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int order = strcmp(x->started_at, y->started_at);
	return order != 0 ? order : strcmp(x->dir, y->dir);
}

static void look_at(const char *dir, const char *name, struct found *out)
{
	char path[4096];
	json_t *run = NULL;
	*out = (struct found){0};
	snprintf(path, sizeof path, "%s/%s/run.json", dir, name);
	if (!fs_exists(path))
		return;
	struct error ignored; /* whoever opens this record gets the error */
	if (json_read_file(path, &run, &ignored) == ST_OK)
		snprintf(out->started_at, sizeof out->started_at, "%s", json_get_string(run, "started_at", ""));
	json_decref(run);
	if (asprintf(&out->dir, "%s/%s", dir, name) < 0)
		out->dir = NULL;
}

static enum status no_record(const char *dir, struct error *err)
{
	error_set(err, ST_USAGE, fs_is_dir(dir) ? "there is no record in %s" : "there is no folder %s", dir);
	error_hint(err, "name a folder that `pgrehearse run` or `pgrehearse load` wrote, or the folder that holds one a drill");
	return ST_USAGE;
}

enum status reader_list(const char *dir, struct record_list *out, struct error *err)
{
	*out = (struct record_list){0};
	char path[4096];
	snprintf(path, sizeof path, "%s/run.json", dir);
	VEC(struct found) found = {0};
	if (fs_exists(path)) {
		struct found only = {strdup(dir), ""};
		VEC_PUSH(&found, only);
	} else {
		DIR *d = opendir(dir);
		if (d == NULL)
			return no_record(dir, err);
		for (struct dirent *e; (e = readdir(d)) != NULL;) {
			struct found one;
			look_at(dir, e->d_name, &one);
			if (e->d_name[0] != '.' && one.dir != NULL)
				VEC_PUSH(&found, one);
			else
				free(one.dir);
		}
		closedir(d);
	}
	if (found.n == 0)
		return no_record(dir, err);
	qsort(found.at, found.n, sizeof found.at[0], by_start);
	out->dirs = calloc(found.n, sizeof *out->dirs);
	for (size_t i = 0; out->dirs != NULL && i < found.n; i++)
		out->dirs[out->n++] = found.at[i].dir;
	VEC_FREE(&found);
	return out->dirs != NULL ? ST_OK : error_errno(err, ST_FAILED, "cannot list %s", dir);
}

void reader_list_free(struct record_list *list)
{
	for (int i = 0; i < list->n; i++)
		free(list->dirs[i]);
	free(list->dirs);
	*list = (struct record_list){0};
}

enum status reader_write_field(const char *dir, const char *key, json_t *value, struct error *err)
{
	char path[4096];
	json_t *run = NULL;
	snprintf(path, sizeof path, "%s/run.json", dir);
	enum status st = json_read_file(path, &run, err);
	if (st == ST_OK)
		json_object_set(run, key, value);
	json_decref(value);
	if (st == ST_OK)
		st = json_write_file(path, run, err);
	json_decref(run);
	return st;
}
