/* Snapshots of sandboxes: the primary's data, cleanly stopped, and a snapshot.json that says whose they are; made, put back, removed. */
#define _GNU_SOURCE
#include "clone/sandbox_private.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/proc.h"
#include "clone/copy.h"
#include "clone/origin.h"

#include <dirent.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SNAPSHOT_FORMAT 1
#define RECYCLED_WAL_KEPT 8 /* files of 16 MB */

/* A WAL segment's timeline and its number (16 MB each, as initdb makes them); false when the name is none. */
static bool parse_wal_name(const char *name, uint32_t *timeline, uint64_t *number)
{
	if (strlen(name) != 24 || strspn(name, "0123456789ABCDEF") != 24)
		return false;
	char part[9] = "";
	uint32_t value[3];
	for (int i = 0; i < 3; i++) {
		memcpy(part, name + (ptrdiff_t)8 * i, 8);
		value[i] = (uint32_t)strtoul(part, NULL, 16);
	}
	*timeline = value[0];
	*number = (uint64_t)value[1] * 256 + value[2];
	return true;
}

/* WAL that no start needs: older than the first that it reads, or a recycled file for later beyond so many that are kept. */
static bool is_spare_wal(const char *name, const char *first, int kept)
{
	uint32_t timeline, first_timeline;
	uint64_t number, first_number;
	if (!parse_wal_name(name, &timeline, &number) || !parse_wal_name(first, &first_timeline, &first_number))
		return false;
	return timeline == first_timeline && (number < first_number || number > first_number + (uint64_t)kept);
}

/* arg: a struct needed_wal. */
bool sandbox_leaves_out(const char *path, void *arg)
{
	/* Slots would hold WAL back for standbys that are no more; the others belong to a running server. */
	static const char *const NAMES[] = {"pg_replslot/", "pg_dynshmem/", "pg_stat_tmp/"};
	const struct needed_wal *wal = arg;
	for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
		if (strncmp(path, NAMES[i], strlen(NAMES[i])) == 0)
			return true;
	if (strncmp(path, "pg_wal/", 7) == 0 && is_spare_wal(path + 7, wal->first, wal->recycled))
		return true;
	return strcmp(path, "postmaster.pid") == 0 || strcmp(path, "postmaster.opts") == 0;
}

/* needed: what restoring it will take, at most. */
static enum status check_snapshot(const struct sandbox *sb, const char *dir, int64_t *needed, struct error *err)
{
	char path[PATH_MAX];
	json_t *json = NULL;
	snprintf(path, sizeof path, "%.4000s/snapshot.json", dir);
	if (!fs_exists(path) || json_read_file(path, &json, err) != ST_OK) {
		error_set(err, ST_USAGE, "%s is not a snapshot", dir);
		error_hint(err, "a folder that holds a snapshot.json, as pgrehearse makes it");
		return ST_USAGE;
	}
	enum status st = ST_OK;
	int version = (int)json_get_int(json, "server_version", 0);
	/* Copies may share the snapshot's blocks, which is known when it did with its own. */
	int copies = json_get_int(json, "reflinked", 0) == 0 ? 1 + sb->info.standbys : 0;
	*needed = SPACE_NEEDED + json_get_int(json, "bytes", 0) * copies;
	if (json_get_int(json, "format", 0) != SNAPSHOT_FORMAT)
		st = error_set(err, ST_USAGE, "%s was made by another version of pgrehearse", dir);
	else if (version / 10000 != sb->tools.version / 10000)
		st = error_set(err, ST_USAGE, "the snapshot %s is PostgreSQL %d's, the server is %d", dir, version / 10000,
			sb->tools.version / 10000);
	json_decref(json);
	return st;
}

/* The settings that this process was asked for, as an array. NULL: out of memory. */
static json_t *list_settings(const struct sandbox *sb)
{
	json_t *list = json_array();
	for (char **s = sb->settings; list != NULL && *s != NULL; s++)
		if (json_array_append_new(list, json_string(*s)) != 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

bool sandbox_made_with_our_settings(const struct sandbox *sb, const char *snapshot)
{
	char path[PATH_MAX];
	json_t *json = NULL;
	json_t *ours = list_settings(sb);
	snprintf(path, sizeof path, "%.4000s/snapshot.json", snapshot);
	bool same = ours != NULL && json_read_file(path, &json, NULL) == ST_OK && json_equal(json_object_get(json, "settings"), ours);
	json_decref(json);
	json_decref(ours);
	return same;
}

enum status sandbox_restore_primary(struct sandbox *sb, const char *snapshot, struct copy_totals *totals, struct error *err)
{
	int64_t needed = 0;
	enum status st = check_snapshot(sb, snapshot, &needed, err);
	/* What is there is written over, unless there is no room beside it. */
	if (st == ST_OK && sandbox_check_space(sb->info.dir, needed, NULL) != ST_OK &&
		(st = fs_remove_tree(sb->member[0].data_dir, err)) == ST_OK)
		st = sandbox_check_space(sb->info.dir, needed, err);
	if (st != ST_OK)
		return st;
	char data[PATH_MAX];
	snprintf(data, sizeof data, "%.4000s/data", snapshot);
	return copy_tree_over(data, sb->member[0].data_dir, sb->tools.uid, sb->tools.gid, NULL, NULL, totals, err);
}

void sandbox_adopt_snapshot(struct sandbox *sb, const char *snapshot)
{
	char path[PATH_MAX];
	json_t *json = NULL, *setting;
	size_t i;
	snprintf(path, sizeof path, "%.4000s/snapshot.json", snapshot);
	if (json_read_file(path, &json, NULL) != ST_OK)
		return;
	snprintf(sb->user, sizeof sb->user, "%s", json_get_string(json, "user", sb->user));
	snprintf(sb->database, sizeof sb->database, "%s", json_get_string(json, "database", sb->database));
	sb->isolated = sb->isolated || (json_is_true(json_object_get(json, "isolated")) && proc_can_isolate());
	struct origin_data data = {0};
	json_array_foreach(json_object_get(json, "settings"), i, setting)
	{
		char *copy = json_is_string(setting) ? strdup(json_string_value(setting)) : NULL;
		if (copy != NULL)
			VEC_PUSH(&data.found, copy);
	}
	sandbox_prepend_settings(sb, &data);
	json_decref(json);
}

static enum status stop_member(struct sandbox *sb, int i, struct error *err)
{
	struct member *m = &sb->member[i];
	if (!registry_stop_processes(m->data_dir))
		return error_set(err, ST_FAILED, "the server %s of the sandbox %s cannot be stopped", m->name, sb->info.name);
	m->running = false;
	return ST_OK;
}

static enum status remove_member(struct sandbox *sb, int i, struct error *err)
{
	enum status st = stop_member(sb, i, err);
	return st == ST_OK ? fs_remove_tree(sb->member[i].data_dir, err) : st;
}

static enum status write_snapshot_info(const struct sandbox *sb, const char *dir, const struct copy_totals *totals, struct error *err)
{
	char created[32], path[PATH_MAX];
	clock_format_wall(clock_wall_ns(), created, sizeof created);
	json_t *json = json_pack("{s:i, s:s, s:s, s:i, s:I, s:I, s:I, s:o, s:s, s:s, s:b}", "format", SNAPSHOT_FORMAT, "created", created,
		"sandbox", sb->info.name, "server_version", sb->tools.version, "files", (json_int_t)totals->files, "bytes",
		(json_int_t)totals->bytes, "reflinked", (json_int_t)totals->reflinked, "settings", list_settings(sb), "user", sb->user,
		"database", sb->database, "isolated", (int)sb->isolated);
	if (json == NULL)
		return error_set(err, ST_FAILED, "out of memory");
	snprintf(path, sizeof path, "%.4000s/snapshot.json", dir);
	enum status st = json_write_file(path, json, err);
	json_decref(json);
	return st;
}

/* The primary alone, cleanly stopped, and the empty folder dir. */
static enum status begin_snapshot(struct sandbox *sb, const char *dir, struct error *err)
{
	if (fs_exists(dir)) {
		error_set(err, ST_USAGE, "cannot make a snapshot in %s: it exists already", dir);
		return ST_USAGE;
	}
	enum status st = ST_OK;
	for (int i = sb->info.standbys; i >= 1 && st == ST_OK; i--)
		st = remove_member(sb, i, err);
	/* Without the standbys there is nobody whom a clean stop would wait for. */
	if (st == ST_OK)
		st = sandbox_stop_server(sb, 0, false, err);
	return st == ST_OK ? fs_make_dirs(dir, 0700, err) : st;
}

/* What a copy would leave out. */
static void remove_spare_files(const char *data, const struct needed_wal *wal)
{
	char path[PATH_MAX + 300], mark[PATH_MAX + 64];
	snprintf(mark, sizeof mark, "%.4000s/" REGISTRY_SALVAGE_MARK, data);
	(void)!unlink(mark);
	snprintf(path, sizeof path, "%.4000s/pg_wal", data);
	DIR *d = opendir(path);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		snprintf(path, sizeof path, "%.4000s/pg_wal/%s", data, e->d_name);
		if (is_spare_wal(e->d_name, wal->first, wal->recycled))
			(void)!unlink(path);
	}
	if (d != NULL)
		closedir(d);
}

static struct copy_totals counted; /* nftw() passes nothing along */

static int count_file(const char *path, const struct stat *info, int type, struct FTW *where)
{
	(void)path, (void)where;
	counted.files += type == FTW_F;
	counted.bytes += type == FTW_F ? info->st_size : 0;
	return 0;
}

/* Whether copies of what is in there may share its blocks: a small part is copied. */
static bool can_share_blocks(const char *data, const char *dir)
{
	char part[PATH_MAX], copy[PATH_MAX];
	struct copy_totals totals = {0};
	snprintf(part, sizeof part, "%.4000s/global", data);
	snprintf(copy, sizeof copy, "%.4000s/probe", dir);
	bool shared = copy_tree(part, copy, 0, 0, NULL, NULL, &totals, NULL) == ST_OK && totals.reflinked > 0;
	(void)!fs_remove_tree(copy, NULL);
	return shared;
}

enum status sandbox_become_snapshot(struct sandbox *sb, const char *dir, struct error *err)
{
	struct server_place place = sandbox_place(sb, 0);
	struct needed_wal wal = {.recycled = RECYCLED_WAL_KEPT};
	char data[PATH_MAX];
	snprintf(data, sizeof data, "%.4000s/data", dir);
	enum status st = begin_snapshot(sb, dir, err);
	if (st != ST_OK)
		return st;
	server_first_wal(&place, wal.first);
	remove_spare_files(place.data_dir, &wal);
	counted = (struct copy_totals){0};
	nftw(place.data_dir, count_file, 32, FTW_PHYS);
	if (rename(place.data_dir, data) != 0)
		return error_errno(err, ST_FAILED, "cannot move %s to %s", place.data_dir, data);
	counted.reflinked = can_share_blocks(data, dir) ? counted.files : 0;
	st = copy_sync(dir, err);
	return st == ST_OK ? write_snapshot_info(sb, dir, &counted, err) : st;
}

enum status sandbox_snapshot(struct sandbox *sb, const char *dir, struct error *err)
{
	enum status st = begin_snapshot(sb, dir, err);
	if (st == ST_USAGE)
		return st;
	char data[PATH_MAX];
	snprintf(data, sizeof data, "%.4000s/data", dir);
	struct copy_totals totals;
	struct server_place place = sandbox_place(sb, 0);
	/* A server that has to make all its WAL files stalls its first writers in a way that one in production does not. */
	struct needed_wal wal = {.recycled = RECYCLED_WAL_KEPT};
	server_first_wal(&place, wal.first);
	if (st == ST_OK)
		st = copy_tree(sb->member[0].data_dir, data, 0, 0, sandbox_leaves_out, &wal, &totals, err);
	if (st == ST_OK && totals.reflinked == 0)
		st = copy_sync(dir, err);
	/* Last: a folder with a snapshot.json is a whole one. */
	if (st == ST_OK)
		st = write_snapshot_info(sb, dir, &totals, err);
	if (st != ST_OK)
		(void)!fs_remove_tree(dir, NULL);
	return st;
}

enum status sandbox_reset(struct sandbox *sb, const char *snapshot, int standbys, struct error *err)
{
	int64_t needed;
	enum status st = check_snapshot(sb, snapshot, &needed, err);
	if (st == ST_OK && (standbys < 0 || standbys > SANDBOX_STANDBYS_MAX))
		st = error_set(err, ST_USAGE, "%d standbys cannot be made: 0 to %d", standbys, SANDBOX_STANDBYS_MAX);
	for (int i = sb->info.standbys; i >= 0 && st == ST_OK; i--)
		st = i <= standbys ? stop_member(sb, i, err) : remove_member(sb, i, err);
	char address[PATH_MAX];
	sandbox_socket_path(sb, PRIMARY_PORT, address, sizeof address);
	(void)!unlink(address); /* a link, after a failover */
	if (st != ST_OK)
		return st;
	sb->info.standbys = standbys;
	st = sandbox_write_info(sb, err);
	return st == ST_OK ? sandbox_make_servers(sb, snapshot, NULL, err) : st;
}

enum status sandbox_remove_snapshot(const char *dir, struct error *err)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%.4000s/snapshot.json", dir);
	if (!fs_exists(dir))
		return ST_OK;
	if (!fs_exists(path))
		return error_set(err, ST_USAGE, "%s is not a snapshot, and stays", dir);
	return fs_remove_tree(dir, err);
}
