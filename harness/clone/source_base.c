/* base:PATH: a base backup or the folder of a stopped server, copied, cut off from everything that it knew, and only then started. */
#define _GNU_SOURCE
#include "clone/source.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "clone/copy.h"
#include "clone/server.h"
#include "clone/source_config.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum status refuse(const struct source_base *b, const char *what, const char *hint, struct error *err)
{
	error_set(err, ST_USAGE, "--target base:%.300s: %s", b->job->path, what);
	error_hint(err, "%s", hint);
	return ST_USAGE;
}

static void say(const struct source_base *b, const char *what)
{
	if (b->job->progress != NULL)
		b->job->progress(what, 0, 0, b->job->arg);
}

static bool stopped(const struct source_base *b)
{
	return b->job->stop != NULL && *b->job->stop != 0;
}

/* What it is. */

static bool is_there(const char *dir, const char *name)
{
	char path[PATH_MAX + 64];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return lstat(path, &st) == 0;
}

static int read_version(const char *dir)
{
	char path[PATH_MAX + 16], text[16] = "";
	snprintf(path, sizeof path, "%s/PG_VERSION", dir);
	FILE *f = fopen(path, "re");
	size_t n = f != NULL ? fread(text, 1, sizeof text - 1, f) : 0;
	if (f != NULL)
		fclose(f);
	text[n] = '\0';
	return (int)strtol(text, NULL, 10);
}

static const char *const ENDINGS[] = {"", ".gz", ".lz4", ".zst", NULL};

/* dir/name.tar, packed in one way or another; false when there is none. */
static bool find_tar(const char *dir, const char *name, char *out, size_t size)
{
	for (size_t i = 0; ENDINGS[i] != NULL; i++) {
		snprintf(out, size, "%s/%s.tar%s", dir, name, ENDINGS[i]);
		if (fs_exists(out))
			return true;
	}
	return false;
}

static void take_version(const char *line, void *arg)
{
	struct source_base *b = arg;
	if (b->version == 0)
		b->version = (int)strtol(line, NULL, 10);
}

static enum status read_tar_version(struct source_base *b, const char *tar, struct error *err)
{
	const char *argv[] = {"tar", "--extract", "--to-stdout", "--occurrence=1", "--file", tar, "PG_VERSION", NULL};
	struct source_program p = {.argv = argv, .line = take_version, .arg = b, .stop = b->job->stop};
	int code = 0;
	say(b, "reading the backup");
	enum status st = source_run(&p, &code, err);
	if (st == ST_OK && b->version == 0) { /* of a folder that was packed by hand */
		argv[6] = "./PG_VERSION";
		st = source_run(&p, &code, err);
	}
	if (st == ST_OK && b->version == 0)
		st = refuse(b, "it is not a tar archive of a base backup, or damaged: no PG_VERSION can be read from it",
			"what pg_basebackup -Ft writes is expected: base.tar, or the folder that holds it", err);
	return st;
}

static enum status inspect_folder(struct source_base *b, struct error *err)
{
	b->version = read_version(b->path);
	if (b->version == 0 && is_there(b->path, "toc.dat"))
		return refuse(b, "it is a dump, not a base backup", "name it dump:PATH", err);
	if (b->version == 0 || !is_there(b->path, "base"))
		return refuse(b, "it is not a data folder: there is no PG_VERSION, or no base, in it",
			"what pg_basebackup writes, or the data folder of a server that was stopped, is expected", err);
	if (is_there(b->path, "postmaster.pid"))
		return refuse(b, "it is the folder of a server that runs, or was not stopped: postmaster.pid is in it",
			"a copy of files that change cannot be used: stop it, or take pg_basebackup -D DIR from it", err);
	if (!is_there(b->path, "global/pg_control"))
		return refuse(b, "it is not whole: there is no global/pg_control", "copy the backup again", err);
	return ST_OK;
}

static enum status find_server(struct source_base *b, const char *server_dir, struct error *err)
{
	if (server_dir != NULL) {
		snprintf(b->server_dir, sizeof b->server_dir, "%s", server_dir);
		return ST_OK;
	}
	if (server_find_version(b->version, b->server_dir, sizeof b->server_dir))
		return ST_OK;
	error_set(err, ST_USAGE, "--target base:%.300s: it is PostgreSQL %d's, whose server programs are not found here", b->job->path,
		b->version);
	error_hint(err, "install PostgreSQL %d, or name the folder of its initdb, pg_ctl and postgres with --server", b->version);
	return ST_USAGE;
}

/* Making a data folder of it. */

struct making {
	struct source_base *b;
	struct origin_data *data;
	char source[PATH_MAX]; /* of what is copied now */
	int64_t done, total, start_ns;
	int64_t reflinked, files;
	bool tablespace; /* in one: only the folder of our version counts */
};

static void tell_copying(const struct making *m)
{
	char text[256];
	source_describe_progress("copying", m->done, m->total, m->start_ns, "", text, sizeof text);
	say(m->b, text);
}

/* What a server makes anew, what would make it follow or archive, and what must not be shared. Links are looked after apart. */
static bool is_left_out(const char *path)
{
	static const char *const FILES[] = {"postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal", "recovery.conf",
		"recovery.done", "backup_manifest", "tablespace_map", "current_logfiles", "log", "pg_log"};
	static const char *const FOLDERS[] = {"pg_replslot/", "pg_dynshmem/", "pg_stat_tmp/", "pg_notify/", "pg_snapshots/",
		"pg_wal/archive_status/", "pg_logical/snapshots/", "pg_logical/mappings/"};
	for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++)
		if (strcmp(path, FILES[i]) == 0)
			return true;
	for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0]; i++)
		if (strncmp(path, FOLDERS[i], strlen(FOLDERS[i])) == 0)
			return true;
	return strstr(path, "pgsql_tmp") != NULL;
}

/* Also counts, and ends a copy that is to end: by leaving the rest out. */
static bool skip(const char *path, void *arg)
{
	struct making *m = arg;
	char whole[PATH_MAX + 300];
	struct stat st;
	if (stopped(m->b) || (!m->tablespace && is_left_out(path)))
		return true;
	if (m->tablespace && strchr(path, '/') == NULL) {
		char ours[32];
		snprintf(ours, sizeof ours, "PG_%d_", m->b->version);
		if (strncmp(path, ours, strlen(ours)) != 0)
			return true;
	}
	snprintf(whole, sizeof whole, "%s/%s", m->source, path);
	if (lstat(whole, &st) != 0)
		return true;
	if (S_ISLNK(st.st_mode)) {
		if (strncmp(path, "pg_tblspc/", 10) != 0 && strcmp(path, "pg_wal") != 0)
			source_note_defused(m->b->job->facts, "link", path);
		return true;
	}
	if (S_ISREG(st.st_mode)) {
		m->done += (int64_t)st.st_size;
		tell_copying(m);
	}
	return false;
}

static enum status copy_part(struct making *m, const char *from, const char *to, bool tablespace, struct error *err)
{
	struct copy_totals totals = {0};
	snprintf(m->source, sizeof m->source, "%s", from);
	m->tablespace = tablespace;
	enum status st = copy_tree(from, to, m->data->tools->uid, m->data->tools->gid, skip, m, &totals, err);
	m->reflinked += totals.reflinked;
	m->files += totals.files;
	return stopped(m->b) ? error_set(err, ST_INTERRUPTED, "interrupted") : st;
}

/* What a link leads to becomes part of the copy: a folder in its place, which the server takes as well. */
static enum status copy_link(struct making *m, const char *name, bool tablespace, struct error *err)
{
	char link[PATH_MAX + 300], target[PATH_MAX], to[PATH_MAX + 300];
	struct stat st;
	snprintf(link, sizeof link, "%s/%s", m->b->path, name);
	if (lstat(link, &st) != 0 || !S_ISLNK(st.st_mode))
		return ST_OK;
	if (realpath(link, target) == NULL) {
		error_set(err, ST_USAGE, "--target base:%.200s: %s leads to a folder that is not there", m->b->job->path, name);
		error_hint(err, "copy that folder too, or take the backup as tar: pg_basebackup -Ft");
		return ST_USAGE;
	}
	snprintf(to, sizeof to, "%s/%s", m->data->place->data_dir, name);
	m->total += fs_tree_bytes(target);
	if (tablespace)
		source_note_defused(m->b->job->facts, "tablespace outside of the data folder", target);
	return copy_part(m, target, to, tablespace, err);
}

static enum status copy_tablespaces(struct making *m, struct error *err)
{
	char dir[PATH_MAX + 16];
	snprintf(dir, sizeof dir, "%s/pg_tblspc", m->b->path);
	DIR *d = opendir(dir);
	enum status st = ST_OK;
	for (struct dirent *e; d != NULL && st == ST_OK && (e = readdir(d)) != NULL;) {
		char name[300];
		snprintf(name, sizeof name, "pg_tblspc/%s", e->d_name);
		if (e->d_name[0] != '.')
			st = copy_link(m, name, true, err);
	}
	if (d != NULL)
		closedir(d);
	return st;
}

static enum status copy_folder(struct making *m, struct error *err)
{
	m->total = fs_tree_bytes(m->b->path);
	m->start_ns = clock_now_ns();
	enum status st = copy_part(m, m->b->path, m->data->place->data_dir, false, err);
	if (st == ST_OK)
		st = copy_link(m, "pg_wal", false, err);
	if (st == ST_OK)
		st = copy_tablespaces(m, err);
	json_object_set_new(m->b->job->facts, "bytes", json_integer(m->done));
	json_object_set_new(m->b->job->facts, "reflinked", json_boolean(m->reflinked > 0 && m->reflinked == m->files));
	json_object_set_new(m->b->job->facts, "copy_ns", json_integer(clock_now_ns() - m->start_ns));
	return st;
}

/* Tar archives. */

struct unpacking {
	struct making *m;
	char last[512];
};

static void tell_unpacking(pid_t pid, void *arg)
{
	struct unpacking *u = arg;
	struct making *m = u->m;
	char text[256];
	int64_t read = source_bytes_read(pid);
	source_describe_progress("unpacking", m->done + read, m->total, m->start_ns, "", text, sizeof text);
	say(m->b, text);
}

static void keep_line(const char *line, void *arg)
{
	struct unpacking *u = arg;
	if (line[0] != '\0' && strstr(line, "Exiting with failure") == NULL && strstr(line, "not recoverable") == NULL)
		snprintf(u->last, sizeof u->last, "%s", line);
}

static enum status unpack(struct making *m, const char *tar, const char *into, struct error *err)
{
	struct stat info;
	struct unpacking u = {.m = m};
	const char *argv[] = {"tar", "--extract", "--no-same-owner", "--file", tar, "--directory", into, NULL};
	struct source_program p = {.argv = argv, .line = keep_line, .tick = tell_unpacking, .arg = &u, .stop = m->b->job->stop};
	int code = 0;
	enum status st = source_run(&p, &code, err);
	if (st == ST_OK && code != 0) {
		st = error_set(err, ST_USAGE, "--target base:%.200s: %.200s cannot be unpacked: %.300s", m->b->job->path,
			strrchr(tar, '/') + 1, u.last);
		error_hint(err, "it is damaged or cut off, or the program that unpacks it is missing: tar -tf %.200s", tar);
	}
	m->done += stat(tar, &info) == 0 ? (int64_t)info.st_size : 0;
	return st;
}

static uid_t owner_uid;
static gid_t owner_gid;

static int give_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)type, (void)where;
	return lchown(path, owner_uid, owner_gid);
}

/* Of a walk through what was unpacked. */
static struct {
	const struct source_base *b;
	size_t skip; /* the length of the folder's path, and its slash */
	struct error *err;
	enum status status;
} links;

/* What a folder's links lead to is not in an archive of it, and the server, or we who clean up, would follow them to the original. */
static int cut_link(const char *path, const struct stat *info, int type, struct FTW *where)
{
	static const char *const NEEDED[] = {"pg_wal", "pg_tblspc", "base", "global", "pg_xact", "pg_multixact"};
	(void)where;
	if (type != FTW_SL && !S_ISLNK(info->st_mode))
		return 0;
	const char *name = path + links.skip;
	for (size_t i = 0; i < sizeof NEEDED / sizeof NEEDED[0]; i++)
		if (strncmp(name, NEEDED[i], strlen(NEEDED[i])) == 0 && strchr("/", name[strlen(NEEDED[i])]) != NULL) {
			char what[600];
			snprintf(what, sizeof what, "%.300s is a symbolic link in it, and what that leads to is not", name);
			links.status = refuse(links.b, what, "pack it with tar --dereference, or take pg_basebackup -Ft", links.err);
			return 1;
		}
	if (unlink(path) != 0) {
		links.status = error_errno(links.err, ST_FAILED, "cannot remove the link %s", path);
		return 1;
	}
	source_note_defused(links.b->job->facts, "link", name);
	return 0;
}

static enum status cut_links(const struct making *m, struct error *err)
{
	const char *data = m->data->place->data_dir;
	links.b = m->b;
	links.skip = strlen(data) + 1;
	links.err = err;
	links.status = ST_OK;
	if (nftw(data, cut_link, 32, FTW_PHYS) != 0 && links.status == ST_OK)
		return error_errno(err, ST_FAILED, "cannot look through %s", data);
	return links.status;
}

/* A folder within what was unpacked, where it is none yet. */
static enum status make_folder(const char *path, struct error *err)
{
	struct stat info;
	if (mkdir(path, 0700) == 0 || (errno == EEXIST && lstat(path, &info) == 0 && S_ISDIR(info.st_mode)))
		return ST_OK;
	return error_errno(err, ST_FAILED, "cannot make the folder %s", path);
}

static enum status unpack_into(struct making *m, const char *tar, const char *into, struct error *err)
{
	enum status st = make_folder(into, err);
	return st == ST_OK ? unpack(m, tar, into, err) : st;
}

static enum status unpack_parts(struct making *m, struct error *err)
{
	const char *data = m->data->place->data_dir;
	char dir[PATH_MAX], tar[PATH_MAX + 300], into[PATH_MAX + 300];
	snprintf(dir, sizeof dir, "%s", m->b->path);
	*strrchr(dir, '/') = '\0'; /* path is base.tar itself */
	enum status st = unpack(m, m->b->path, data, err);
	if (st == ST_OK)
		st = cut_links(m, err);
	snprintf(into, sizeof into, "%s/pg_wal", data);
	if (st == ST_OK && find_tar(dir, "pg_wal", tar, sizeof tar))
		st = unpack_into(m, tar, into, err);
	DIR *d = opendir(dir);
	for (struct dirent *e; d != NULL && st == ST_OK && (e = readdir(d)) != NULL;) {
		size_t digits = strspn(e->d_name, "0123456789");
		if (digits == 0 || strncmp(e->d_name + digits, ".tar", 4) != 0)
			continue;
		snprintf(tar, sizeof tar, "%s/%s", dir, e->d_name);
		snprintf(into, sizeof into, "%s/pg_tblspc/%.*s", data, (int)digits, e->d_name);
		st = unpack_into(m, tar, into, err);
		char oid[32];
		snprintf(oid, sizeof oid, "%.*s", (int)(digits < 31 ? digits : 31), e->d_name);
		source_note_defused(m->b->job->facts, "tablespace outside of the data folder", oid);
	}
	if (d != NULL)
		closedir(d);
	return st == ST_OK ? cut_links(m, err) : st; /* of the parts */
}

/* What a copy leaves out, a tar archive has brought. */
static enum status remove_left_out(const char *data, const char *folder, struct error *err)
{
	char dir[PATH_MAX + 64];
	snprintf(dir, sizeof dir, "%s/%s", data, folder);
	DIR *d = opendir(dir);
	enum status st = ST_OK;
	for (struct dirent *e; d != NULL && st == ST_OK && (e = readdir(d)) != NULL;) {
		char path[PATH_MAX + 400], name[300];
		snprintf(name, sizeof name, "%s%s%s", folder, folder[0] != '\0' ? "/" : "", e->d_name);
		snprintf(path, sizeof path, "%s/%s", data, name);
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && is_left_out(name))
			st = fs_remove_tree(path, err);
	}
	if (d != NULL)
		closedir(d);
	return st;
}

static enum status unpack_folder(struct making *m, struct error *err)
{
	static const char *const FOLDERS[] = {"", "pg_replslot", "pg_dynshmem", "pg_stat_tmp", "pg_notify", "pg_snapshots",
		"pg_wal/archive_status", "pg_logical/snapshots"};
	char dir[PATH_MAX];
	snprintf(dir, sizeof dir, "%s", m->b->path);
	*strrchr(dir, '/') = '\0';
	struct stat info;
	m->total = stat(m->b->path, &info) == 0 ? (int64_t)info.st_size : 0;
	m->start_ns = clock_now_ns();
	if (mkdir(m->data->place->data_dir, 0700) != 0)
		return error_errno(err, ST_FAILED, "cannot make the folder %s", m->data->place->data_dir);
	enum status st = unpack_parts(m, err);
	for (size_t i = 0; i < sizeof FOLDERS / sizeof FOLDERS[0] && st == ST_OK; i++)
		st = remove_left_out(m->data->place->data_dir, FOLDERS[i], err);
	owner_uid = m->data->tools->uid;
	owner_gid = m->data->tools->gid;
	if (st == ST_OK && owner_uid != 0 && nftw(m->data->place->data_dir, give_entry, 32, FTW_PHYS) != 0)
		st = error_errno(err, ST_FAILED, "cannot give the files to the user %s", m->data->tools->user);
	json_object_set_new(m->b->job->facts, "bytes", json_integer(m->done));
	json_object_set_new(m->b->job->facts, "copy_ns", json_integer(clock_now_ns() - m->start_ns));
	return st;
}

/* pg_basebackup's own list of what it wrote: files that are missing or of another size are found without reading them. */
static enum status check_manifest(const struct making *m, struct error *err)
{
	char path[PATH_MAX + 64], dir[PATH_MAX];
	json_t *manifest = NULL, *file;
	size_t i;
	snprintf(dir, sizeof dir, "%s", m->b->path);
	if (m->b->tar)
		*strrchr(dir, '/') = '\0';
	snprintf(path, sizeof path, "%s/backup_manifest", dir);
	if (!fs_exists(path) || json_read_file(path, &manifest, NULL) != ST_OK)
		return ST_OK;
	enum status st = ST_OK;
	json_array_foreach(json_object_get(manifest, "Files"), i, file)
	{
		const char *name = json_get_string(file, "Path", "");
		char copy[PATH_MAX + 300];
		struct stat info;
		if (name[0] == '\0' || is_left_out(name) || strstr(name, "..") != NULL)
			continue;
		snprintf(copy, sizeof copy, "%s/%.300s", m->data->place->data_dir, name);
		bool found = stat(copy, &info) == 0;
		if (found && (int64_t)info.st_size == json_get_int(file, "Size", -1))
			continue;
		st = error_set(err, ST_USAGE, "--target base:%.200s: it is not whole: %.200s %s", m->b->job->path, name,
			found ? "has another size than its backup_manifest says" : "is missing");
		error_hint(err, "copy the backup again; pg_verifybackup says more");
		break;
	}
	json_decref(manifest);
	return st;
}

/* Recovery that was asked for, and slots: what waited for them does so no more. */
static void note_left_out(const struct source_base *b)
{
	static const char *const FILES[] = {"standby.signal", "recovery.signal", "recovery.conf"};
	for (size_t i = 0; i < sizeof FILES / sizeof FILES[0] && !b->tar; i++)
		if (is_there(b->path, FILES[i]))
			source_note_defused(b->job->facts, "recovery file", FILES[i]);
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/pg_replslot", b->path);
	DIR *d = b->tar ? NULL : opendir(path);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;)
		if (e->d_name[0] != '.')
			source_note_defused(b->job->facts, "replication slot", e->d_name);
	if (d != NULL)
		closedir(d);
}

/* The rows of single-user mode: "\t 1: NAME = "VALUE"\t(typeid = ...". Calls found(VALUE) for each NAME that begins with `name`. */
static void each_value(const char *said, const char *name, void (*found)(const char *value, void *arg), void *arg)
{
	char begin[64];
	snprintf(begin, sizeof begin, ": %s = \"", name);
	for (const char *at = strstr(said, begin); at != NULL; at = strstr(at, begin)) {
		at += strlen(begin);
		const char *end = strstr(at, "\"\t(typeid");
		if (end == NULL)
			return;
		char value[512];
		snprintf(value, sizeof value, "%.*s", (int)(end - at < 511 ? end - at : 511), at);
		found(value, arg);
		at = end;
	}
}

static void take_user(const char *value, void *arg)
{
	struct origin_data *data = arg;
	snprintf(data->user, sizeof data->user, "%s", value);
}

static void take_defused(const char *value, void *arg)
{
	const struct source_base *b = arg;
	char what[64];
	size_t n = strcspn(value, "\t");
	snprintf(what, sizeof what, "%.*s", (int)(n < 63 ? n : 63), value);
	source_note_defused(b->job->facts, what, value[n] != '\0' ? value + n + 1 : "");
}

struct names {
	VEC(char *) all;
};

static void take_database(const char *value, void *arg)
{
	struct names *names = arg;
	char *copy = strdup(value);
	if (copy == NULL)
		abort();
	VEC_PUSH(&names->all, copy);
}

static void add_statements(struct buf *out, const char *const *statements)
{
	for (; *statements != NULL; statements++)
		buf_printf(out, "%s\n", *statements);
}

static enum status choose_database(const struct making *m, const struct names *names, struct error *err)
{
	char all[512] = "";
	const char *only = NULL;
	int users = 0;
	bool found = false;
	for (size_t i = 0; i < names->all.n; i++) {
		const char *name = names->all.at[i];
		size_t n = strlen(all);
		snprintf(all + n, sizeof all - n, "%s%s", n > 0 ? ", " : "", name);
		found = found || (m->b->job->database != NULL && strcmp(name, m->b->job->database) == 0);
		if (strcmp(name, "postgres") != 0) {
			only = name;
			users++;
		}
	}
	const char *chosen = found ? m->b->job->database : users == 1 ? only : names->all.n == 1 ? names->all.at[0] : NULL;
	if (chosen != NULL && (found || m->b->job->database == NULL)) {
		snprintf(m->data->database, sizeof m->data->database, "%s", chosen);
		return ST_OK;
	}
	if (m->b->job->database != NULL)
		error_set(err, ST_USAGE, "--database %.100s: the backup has no such database", m->b->job->database);
	else
		error_set(err, ST_USAGE, "--target base:%.200s: it is not plain which of its databases is migrated", m->b->job->path);
	error_hint(err, "--database NAME, one of: %s", all);
	return ST_USAGE;
}

/* In single-user mode, which recovers the backup, and in which nothing but these statements runs. */
static enum status defuse_catalogs(struct making *m, struct error *err)
{
	const struct origin_data *data = m->data;
	struct buf sql, said;
	struct names names = {0};
	buf_init(&sql, 65536);
	buf_init(&said, 16 << 20);
	say(m->b, "recovering the backup");
	buf_str(&sql,
		"SELECT rolname AS pgr_user FROM pg_catalog.pg_authid WHERE oid = 10\n"
		"SELECT datname AS pgr_database FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate ORDER BY 1\n"
		"SELECT 'prepared transaction' || chr(9) || gid AS pgr_kept FROM pg_catalog.pg_prepared_xacts\n");
	add_statements(&sql, SOURCE_LIST_CLUSTER);
	add_statements(&sql, SOURCE_CUT_CLUSTER);
	enum status st = server_run_single(data->tools, data->place, "template1", sql.data, data->stop, &said, err);
	if (st == ST_FAILED)
		error_hint(err, "if WAL is missing: take the backup with pg_basebackup -X stream or -X fetch");
	if (st == ST_OK) {
		each_value(said.data, "pgr_user", take_user, m->data);
		each_value(said.data, "pgr_database", take_database, &names);
		each_value(said.data, "pgr", take_defused, m->b);
		st = choose_database(m, &names, err);
	}
	for (size_t i = 0; i < names.all.n && st == ST_OK; i++) {
		buf_clear(&sql);
		buf_clear(&said);
		add_statements(&sql, SOURCE_LIST_DATABASE);
		add_statements(&sql, SOURCE_CUT_DATABASE);
		st = server_run_single(data->tools, data->place, names.all.at[i], sql.data, data->stop, &said, err);
		if (st == ST_OK)
			each_value(said.data, "pgr", take_defused, m->b);
	}
	for (size_t i = 0; i < names.all.n; i++)
		free(names.all.at[i]);
	VEC_FREE(&names.all);
	buf_free(&sql);
	buf_free(&said);
	return st;
}

/* A server's folder that is no backup must have been stopped: WAL may lie elsewhere, or pages may be torn. */
static enum status check_state(const struct making *m, struct error *err)
{
	if (is_there(m->data->place->data_dir, "backup_label"))
		return ST_OK;
	const char *state = server_control_state(m->data->place);
	if (strncmp(state, "shut down", 9) == 0)
		return ST_OK;
	error_set(err, ST_USAGE, "--target base:%.200s: its server was not stopped cleanly, and it is no base backup (its state: %s)",
		m->b->job->path, state);
	error_hint(err, "start and stop that server, or take pg_basebackup -D DIR from it");
	return ST_USAGE;
}

static enum status make(struct origin_data *data, void *arg, struct error *err)
{
	struct source_base *b = arg;
	struct making m = {.b = b, .data = data};
	enum status st = b->tar ? unpack_folder(&m, err) : copy_folder(&m, err);
	if (st == ST_OK)
		st = check_manifest(&m, err);
	if (st == ST_OK)
		st = check_state(&m, err);
	if (st == ST_OK && read_version(data->place->data_dir) != data->tools->version / 10000) {
		st = error_set(err, ST_USAGE, "--target base:%.200s: it is PostgreSQL %d's, the programs are %d's", b->job->path,
			read_version(data->place->data_dir), data->tools->version / 10000);
		error_hint(err, "name the folder of those that fit with --server");
	}
	if (st == ST_OK) {
		note_left_out(b);
		st = source_take_config(data, b->job->facts, err);
	}
	if (st == ST_OK)
		st = defuse_catalogs(&m, err);
	return st;
}

enum status source_base_inspect(struct source_job *job, const char *server_dir, struct source_base *out, struct error *err)
{
	*out = (struct source_base){.job = job};
	struct stat info;
	if (realpath(job->path, out->path) == NULL || stat(out->path, &info) != 0)
		return error_errno(err, ST_USAGE, "--target base:%.300s: it cannot be read", job->path);
	char tar[PATH_MAX + 300];
	out->tar = !S_ISDIR(info.st_mode);
	if (!out->tar && !is_there(out->path, "PG_VERSION") && find_tar(out->path, "base", tar, sizeof tar)) {
		out->tar = true;
		snprintf(out->path, sizeof out->path, "%.4000s", tar);
	}
	enum status st = out->tar ? read_tar_version(out, out->path, err) : inspect_folder(out, err);
	if (st == ST_OK)
		st = find_server(out, server_dir, err);
	out->origin = (struct origin){.make = make, .arg = out};
	json_object_set_new(job->facts, "format", json_string(out->tar ? "tar" : "folder"));
	return st;
}
