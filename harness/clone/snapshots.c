/* Snapshots that are kept, by name. */
#define _GNU_SOURCE
#include "clone/snapshots.h"

#include "base/fs.h"
#include "base/json.h"
#include "clone/registry.h"
#include "clone/sandbox.h"
#include "clone/server.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_LENGTH_MAX 40

/* A name that begins with a dot is no sandbox to the registry. */
static enum status find_root(bool make, char *out, size_t size, struct error *err)
{
	char root[PATH_MAX];
	enum status st = registry_root(root, sizeof root, err);
	if (st != ST_OK)
		return st;
	snprintf(out, size, "%.4000s/.snapshots", root);
	return make ? fs_make_dirs(out, 0700, err) : ST_OK;
}

static json_t *read_about(const char *dir)
{
	char path[PATH_MAX + 32];
	json_t *json = NULL;
	snprintf(path, sizeof path, "%.4050s/about.json", dir);
	return fs_exists(path) && json_read_file(path, &json, NULL) == ST_OK ? json : NULL;
}

enum status snapshot_place(const char *name, bool fresh, char *dir, size_t size, struct error *err)
{
	char root[PATH_MAX];
	size_t n = strlen(name);
	if (n == 0 || n > NAME_LENGTH_MAX || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != n || name[0] == '-') {
		error_set(err, ST_USAGE, "\"%.64s\" cannot be the name of a snapshot", name);
		error_hint(err, "1 to %d of a-z, 0-9, - and _, not beginning with -", NAME_LENGTH_MAX);
		return ST_USAGE;
	}
	enum status st = find_root(fresh, root, sizeof root, err);
	if (st != ST_OK)
		return st;
	snprintf(dir, size, "%.4000s/%s", root, name);
	json_t *about = read_about(dir);
	if (about == NULL)
		return fresh ? fs_remove_tree(dir, err) : ST_OK;
	json_decref(about);
	if (!fresh)
		return ST_OK;
	error_set(err, ST_USAGE, "there is a snapshot called %s already", name);
	error_hint(err, "pgrehearse snapshot drop %s removes it", name);
	return ST_USAGE;
}

enum status snapshot_complete(const char *dir, const json_t *about, struct error *err)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%.4050s/about.json", dir);
	return json_write_file(path, about, err);
}

#define PART ".part" /* no name has a dot */

static json_t *read_part(const char *part)
{
	char path[PATH_MAX + 32];
	json_t *json = NULL;
	snprintf(path, sizeof path, "%.4050s/making.json", part);
	return fs_exists(path) && json_read_file(path, &json, NULL) == ST_OK ? json : NULL;
}

static bool has_data(const char *part)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%.4050s/data", part);
	return fs_is_dir(path);
}

enum status snapshot_begin(
	const char *dir, const json_t *about, const char *server_dir, char *part, size_t size, bool *begun, struct error *err)
{
	struct server_tools tools;
	char path[PATH_MAX + 32];
	snprintf(part, size, "%.4000s" PART, dir);
	enum status st = server_find_tools(server_dir, &tools, err);
	if (st != ST_OK)
		return st;
	json_t *wanted = json_pack("{s:i, s:O}", "server_version", tools.version, "about", about), *there = read_part(part);
	*begun = there != NULL && json_equal(there, wanted) && has_data(part);
	if (!*begun) {
		st = fs_remove_tree(part, err);
		if (st == ST_OK)
			st = fs_make_dirs(part, 0700, err);
		snprintf(path, sizeof path, "%.4050s/making.json", part);
		if (st == ST_OK)
			st = json_write_file(path, wanted, err);
	}
	json_decref(there);
	json_decref(wanted);
	return st;
}

enum status snapshot_end(const char *dir, struct error *err)
{
	char part[PATH_MAX];
	snprintf(part, sizeof part, "%.4000s" PART, dir);
	return fs_remove_tree(part, err);
}

enum status snapshot_list_unfinished(json_t **out, struct error *err)
{
	char root[PATH_MAX];
	enum status st = find_root(false, root, sizeof root, err);
	if (st != ST_OK)
		return st;
	*out = json_array();
	DIR *d = opendir(root);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		char part[PATH_MAX + 300];
		size_t n = strlen(e->d_name);
		snprintf(part, sizeof part, "%.4000s/%s", root, e->d_name);
		json_t *making = n > strlen(PART) && strcmp(e->d_name + n - strlen(PART), PART) == 0 && has_data(part) ? read_part(part)
														       : NULL;
		if (making != NULL)
			json_array_append_new(*out,
				json_pack("{s:s#, s:O*}", "name", e->d_name, (int)(n - strlen(PART)), "about",
					json_object_get(making, "about")));
		json_decref(making);
	}
	if (d != NULL)
		closedir(d);
	return ST_OK;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(json_get_string(*(json_t *const *)a, "name", ""), json_get_string(*(json_t *const *)b, "name", ""));
}

enum status snapshot_list(json_t **out, struct error *err)
{
	char root[PATH_MAX];
	json_t *found[1000];
	size_t n = 0;
	enum status st = find_root(false, root, sizeof root, err);
	if (st != ST_OK)
		return st;
	DIR *d = opendir(root);
	for (struct dirent *e; d != NULL && n < 1000 && (e = readdir(d)) != NULL;) {
		char dir[PATH_MAX + 300], path[PATH_MAX + 400];
		snprintf(dir, sizeof dir, "%.4000s/%s", root, e->d_name);
		snprintf(path, sizeof path, "%s/snapshot.json", dir);
		json_t *about = e->d_name[0] != '.' ? read_about(dir) : NULL, *made = NULL;
		if (about != NULL && json_read_file(path, &made, NULL) == ST_OK)
			found[n++] = json_pack("{s:s, s:s, s:I, s:I, s:O}", "name", e->d_name, "created",
				json_get_string(made, "created", ""), "server_version", (json_int_t)json_get_int(made, "server_version", 0),
				"bytes", (json_int_t)json_get_int(made, "bytes", 0), "about", about);
		json_decref(about);
		json_decref(made);
	}
	if (d != NULL)
		closedir(d);
	if (n > 0)
		qsort(found, n, sizeof found[0], compare_names);
	*out = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(*out, found[i]);
	return ST_OK;
}

enum status snapshot_find(const char *name, char *dir, size_t size, json_t **about, struct error *err)
{
	enum status st = snapshot_place(name, false, dir, size, err);
	if (st != ST_OK || (*about = read_about(dir)) != NULL)
		return st;
	error_set(err, ST_USAGE, "there is no snapshot called %s", name);
	json_t *all, *one;
	size_t i;
	char names[400] = "";
	if (snapshot_list(&all, NULL) == ST_OK) {
		json_array_foreach(all, i, one)
		{
			size_t used = strlen(names);
			snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", json_get_string(one, "name", ""));
		}
		json_decref(all);
	}
	if (names[0] != '\0')
		error_hint(err, "there are: %s", names);
	else
		error_hint(err, "pgrehearse snapshot make %s makes it", name);
	return ST_USAGE;
}

enum status snapshot_find_generated(const json_t *about, const char *server_dir, char *name, size_t size, struct error *err)
{
	json_t *all = NULL, *one;
	size_t i;
	name[0] = '\0';
	enum status st = snapshot_list(&all, err);
	struct server_tools tools = {0};
	if (st == ST_OK && json_array_size(all) > 0)
		st = server_find_tools(server_dir, &tools, err);
	if (st == ST_OK) {
		json_array_foreach(all, i, one)
		{
			const json_t *there = json_object_get(one, "about");
			bool same = json_get_int(one, "server_version", 0) == tools.version;
			static const char *const KEYS[] = {"workload", "settings"};
			for (size_t k = 0; k < 2; k++)
				same = same && json_object_get(there, KEYS[k]) != NULL &&
					json_equal(json_object_get(there, KEYS[k]), json_object_get(about, KEYS[k]));
			if (same)
				snprintf(name, size, "%s", json_get_string(one, "name", ""));
		}
	}
	json_decref(all);
	return st;
}

enum status snapshot_drop(const char *name, struct error *err)
{
	char dir[PATH_MAX], part[PATH_MAX + 16], root[PATH_MAX];
	json_t *about = NULL;
	enum status st = snapshot_place(name, false, dir, sizeof dir, err);
	if (st != ST_OK)
		return st;
	snprintf(part, sizeof part, "%.4000s" PART, dir);
	bool unfinished = has_data(part);
	if (unfinished)
		st = snapshot_end(dir, err);
	if (st == ST_OK && !(unfinished && !fs_exists(dir)))
		st = snapshot_find(name, dir, sizeof dir, &about, err);
	if (st == ST_OK && about != NULL)
		st = sandbox_remove_snapshot(dir, err);
	json_decref(about);
	/* The last one takes the folder of all with it. */
	if (st == ST_OK && (st = find_root(false, root, sizeof root, err)) == ST_OK && rmdir(root) != 0 && errno != ENOTEMPTY &&
		errno != EEXIST)
		st = error_set(err, ST_FAILED, "%s: %s", root, strerror(errno));
	return st;
}
