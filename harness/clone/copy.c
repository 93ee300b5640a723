/* Copies a folder whole: reflinks where the file system can, the kernel's own copying elsewhere. */
#define _GNU_SOURCE
#include "clone/copy.h"

#include "base/fs.h"
#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

struct copy {
	uid_t uid;
	gid_t gid;
	bool (*skip)(const char *path, void *arg);
	void *arg;
	const char *to;
	bool over; /* `to` may hold something already */
	struct copy_totals totals;
	bool no_reflink;     /* the file system has refused one */
	char path[PATH_MAX]; /* below the root: where we are */
	struct error *err;
};

static enum status fail(struct copy *c, const char *name)
{
	int reason = errno;
	enum status st = error_errno(c->err, ST_FAILED, "cannot copy %s/%s", c->path, name);
	if (reason == ENOSPC || reason == EDQUOT)
		error_hint(c->err, "the disk is full: free some space, or choose a folder on a larger disk");
	return st;
}

/* Copies what is left of in to out by reading and writing: the last resort, for file systems without copy_file_range. */
static bool copy_by_hand(int in, int out, int64_t *bytes)
{
	static char chunk[1 << 17];
	for (;;) {
		ssize_t n = read(in, chunk, sizeof chunk);
		if (n == 0)
			return true;
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		for (ssize_t done = 0; done < n;) {
			ssize_t put = write(out, chunk + done, (size_t)(n - done));
			if (put < 0 && errno != EINTR)
				return false;
			done += put > 0 ? put : 0;
		}
		*bytes += n;
	}
}

/* What is written over may have been longer. */
static bool cut(struct copy *c, int out, off_t size)
{
	return !c->over || ftruncate(out, size) == 0;
}

static bool copy_bytes(struct copy *c, int in, int out)
{
	if (!c->no_reflink) {
		if (ioctl(out, FICLONE, in) == 0) {
			struct stat st;
			if (fstat(in, &st) != 0)
				return false;
			c->totals.reflinked++;
			c->totals.bytes += (int64_t)st.st_size;
			return cut(c, out, st.st_size);
		}
		c->no_reflink = true;
	}
	for (;;) {
		ssize_t n = copy_file_range(in, NULL, out, NULL, (size_t)1 << 30, 0);
		if (n == 0)
			return cut(c, out, lseek(out, 0, SEEK_CUR));
		if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == ENOSYS || errno == EOPNOTSUPP))
			return copy_by_hand(in, out, &c->totals.bytes) && cut(c, out, lseek(out, 0, SEEK_CUR));
		if (n < 0 && errno != EINTR)
			return false;
		c->totals.bytes += n > 0 ? n : 0;
	}
}

static enum status copy_file(struct copy *c, int from, int to, const char *name, mode_t mode)
{
	int in = openat(from, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int out = in < 0 ? -1 : openat(to, name, O_WRONLY | O_CREAT | (c->over ? O_NOFOLLOW : O_EXCL) | O_CLOEXEC, mode & 0777);
	bool ok = out >= 0 && copy_bytes(c, in, out) && fchmod(out, mode & 0777) == 0 && (c->uid == 0 || fchown(out, c->uid, c->gid) == 0);
	enum status st = ok ? ST_OK : fail(c, name);
	if (in >= 0)
		close(in);
	if (out >= 0 && close(out) != 0 && st == ST_OK)
		st = fail(c, name);
	c->totals.files++;
	return st;
}

static enum status copy_folder(struct copy *c, int from, int to);

static enum status copy_entry(struct copy *c, int from, int to, const char *name)
{
	struct stat st;
	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return errno == ENOENT ? ST_OK : fail(c, name);
	if (S_ISREG(st.st_mode))
		return copy_file(c, from, to, name, st.st_mode);
	if (S_ISSOCK(st.st_mode) || S_ISFIFO(st.st_mode))
		return ST_OK;
	if (!S_ISDIR(st.st_mode)) {
		error_set(c->err, ST_FAILED, "cannot copy %s/%s: it is a link to somewhere else, which both copies would write to", c->path,
			name);
		error_hint(c->err, "tablespaces outside of the data folder cannot be in a snapshot");
		return ST_FAILED;
	}
	size_t here = strlen(c->path);
	if ((size_t)snprintf(c->path + here, sizeof c->path - here, "%s%s", here > 0 ? "/" : "", name) >= sizeof c->path - here)
		return error_set(c->err, ST_FAILED, "cannot copy %s: its path is too long", name);
	int in = openat(from, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	int out = in < 0 || (mkdirat(to, name, 0700) != 0 && !(c->over && errno == EEXIST))
		? -1
		: openat(to, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	bool ok = out >= 0 && fchmod(out, st.st_mode & 0777) == 0 && (c->uid == 0 || fchown(out, c->uid, c->gid) == 0);
	enum status result = ok ? copy_folder(c, in, out) : fail(c, "");
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	c->path[here] = '\0';
	return result;
}

typedef VEC(char *) name_vec;

/* Names in a folder; with of_copy only those that are to be copied. */
static bool list(struct copy *c, int folder, bool of_copy, name_vec *names)
{
	int fd = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd >= 0 ? fdopendir(fd) : NULL;
	if (d == NULL) {
		if (fd >= 0)
			close(fd);
		return false;
	}
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		char path[PATH_MAX + 256];
		snprintf(path, sizeof path, "%s%s%s", c->path, c->path[0] != '\0' ? "/" : "", e->d_name);
		if (of_copy && c->skip != NULL && c->skip(path, c->arg))
			continue;
		char *name = strdup(e->d_name);
		if (name == NULL)
			abort();
		VEC_PUSH(names, name);
	}
	closedir(d);
	return true;
}

static void free_names(name_vec *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->at[i]);
	VEC_FREE(names);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* May the copy of `name` be written into what is there? */
static bool can_stay(int from, int to, const char *name)
{
	struct stat wanted, there;
	if (fstatat(from, name, &wanted, AT_SYMLINK_NOFOLLOW) != 0 || fstatat(to, name, &there, AT_SYMLINK_NOFOLLOW) != 0)
		return false;
	return S_ISDIR(wanted.st_mode) ? S_ISDIR(there.st_mode) : S_ISREG(wanted.st_mode) && S_ISREG(there.st_mode) && there.st_nlink == 1;
}

/* Removes from `to` what is not among the sorted names, or cannot be written over. */
static enum status clear_folder(struct copy *c, int from, int to, const name_vec *sorted)
{
	name_vec there = {0};
	enum status st = list(c, to, false, &there) ? ST_OK : fail(c, "");
	for (size_t i = 0; i < there.n && st == ST_OK; i++) {
		if (sorted->n > 0 && bsearch(&there.at[i], sorted->at, sorted->n, sizeof sorted->at[0], compare_names) != NULL &&
			can_stay(from, to, there.at[i]))
			continue;
		char path[2 * PATH_MAX + 256];
		snprintf(path, sizeof path, "%s/%s/%s", c->to, c->path, there.at[i]);
		st = fs_remove_tree(path, c->err);
	}
	free_names(&there);
	return st;
}

static enum status copy_folder(struct copy *c, int from, int to)
{
	name_vec names = {0};
	enum status st = list(c, from, true, &names) ? ST_OK : fail(c, "");
	if (c->over && st == ST_OK) {
		if (names.n > 0)
			qsort(names.at, names.n, sizeof names.at[0], compare_names);
		st = clear_folder(c, from, to, &names);
	}
	for (size_t i = 0; i < names.n && st == ST_OK; i++)
		st = copy_entry(c, from, to, names.at[i]);
	free_names(&names);
	return st;
}

static enum status copy(const char *from, const char *to, struct copy *c)
{
	enum status st = ST_OK;
	int in = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int out = -1;
	c->to = to;
	if (in < 0)
		st = error_errno(c->err, ST_FAILED, "cannot read %s", from);
	else if ((mkdir(to, 0700) != 0 && !(c->over && errno == EEXIST)) ||
		(out = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)) < 0 || (c->uid != 0 && fchown(out, c->uid, c->gid) != 0))
		st = error_errno(c->err, ST_FAILED, "cannot make the folder %s", to);
	if (st == ST_OK)
		st = copy_folder(c, in, out);
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	if (st != ST_OK)
		error_where(c->err, "%s", from);
	return st;
}

static enum status copy_as(const char *from, const char *to, const struct copy *how, struct copy_totals *totals)
{
	struct copy *c = malloc(sizeof *c);
	if (c == NULL)
		return error_set(how->err, ST_FAILED, "cannot copy %s: out of memory", from);
	*c = *how;
	enum status st = copy(from, to, c);
	if (totals != NULL)
		*totals = c->totals;
	free(c);
	return st;
}

enum status copy_tree(const char *from, const char *to, uid_t uid, gid_t gid, bool (*skip)(const char *path, void *arg), void *arg,
	struct copy_totals *totals, struct error *err)
{
	return copy_as(from, to, &(struct copy){.uid = uid, .gid = gid, .skip = skip, .arg = arg, .err = err}, totals);
}

enum status copy_tree_over(const char *from, const char *to, uid_t uid, gid_t gid, bool (*skip)(const char *path, void *arg), void *arg,
	struct copy_totals *totals, struct error *err)
{
	return copy_as(from, to, &(struct copy){.uid = uid, .gid = gid, .skip = skip, .arg = arg, .err = err, .over = true}, totals);
}

enum status copy_sync(const char *dir, struct error *err)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum status st = fd >= 0 && syncfs(fd) == 0 ? ST_OK : error_errno(err, ST_FAILED, "cannot write %s to disk", dir);
	if (fd >= 0)
		close(fd);
	return st;
}
