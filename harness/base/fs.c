/* Folders and files: make, remove, replace whole. */
#define _GNU_SOURCE
#include "base/fs.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

bool fs_exists(const char *path)
{
	struct stat st;
	return lstat(path, &st) == 0;
}

bool fs_is_dir(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum status fs_make_dirs(const char *path, mode_t mode, struct error *err)
{
	char step[PATH_MAX];
	if ((size_t)snprintf(step, sizeof step, "%s", path) >= sizeof step)
		return error_set(err, ST_USAGE, "path of %zu bytes is too long", strlen(path));
	for (char *p = step + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char was = *p;
		*p = '\0';
		if (mkdir(step, mode) != 0 && !(errno == EEXIST && fs_is_dir(step)))
			return error_errno(err, ST_FAILED, "cannot make the folder %s", step);
		*p = was;
		if (was == '\0')
			return ST_OK;
	}
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *at)
{
	(void)st, (void)kind, (void)at;
	return remove(path);
}

enum status fs_remove_tree(const char *path, struct error *err)
{
	if (!fs_exists(path))
		return ST_OK;
	if (nftw(path, remove_one, 64, FTW_DEPTH | FTW_PHYS) != 0)
		return error_errno(err, ST_FAILED, "cannot remove %s", path);
	return ST_OK;
}

enum status fs_read_file(const char *path, struct buf *out, struct error *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return error_errno(err, ST_USAGE, "cannot read %s", path);
	enum status st = ST_OK;
	char chunk[65536];
	ssize_t n;
	while ((n = read(fd, chunk, sizeof chunk)) > 0)
		buf_add(out, chunk, (size_t)n);
	if (n < 0)
		st = error_errno(err, ST_FAILED, "cannot read %s", path);
	else if (out->overflow)
		st = error_set(err, ST_USAGE, "%s is larger than %zu bytes", path, out->max);
	close(fd);
	return st;
}

static bool write_all(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, data, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		data += n;
		len -= (size_t)n;
	}
	return true;
}

/* A device or a pipe, such as /dev/null or /dev/stdout, is written to: replacing it by a file would take it away from everybody. */
static enum status write_special(const char *path, const void *data, size_t len, struct error *err)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write_all(fd, data, len);
	enum status st = ok ? ST_OK : error_errno(err, ST_FAILED, "cannot write %s", path);
	if (fd >= 0)
		close(fd);
	return st;
}

enum status fs_write_file(const char *path, const void *data, size_t len, struct error *err)
{
	char beside[PATH_MAX];
	struct stat s;
	if (stat(path, &s) == 0 && (S_ISCHR(s.st_mode) || S_ISFIFO(s.st_mode)))
		return write_special(path, data, len, err);
	snprintf(beside, sizeof beside, "%s.new", path);
	int fd = open(beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		return error_errno(err, ST_FAILED, "cannot write %s", path);
	bool ok = write_all(fd, data, len) && fsync(fd) == 0;
	int reason = errno;
	close(fd);
	if (ok && rename(beside, path) == 0)
		return ST_OK;
	if (!ok)
		errno = reason;
	enum status st = error_errno(err, ST_FAILED, "cannot write %s", path);
	unlink(beside);
	return st;
}

static _Thread_local int64_t tree_bytes; /* nftw hands nothing through */

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)path, (void)where;
	if (type == FTW_F)
		tree_bytes += (int64_t)st->st_size;
	return 0;
}

int64_t fs_tree_bytes(const char *path)
{
	tree_bytes = 0;
	nftw(path, count_entry, 32, FTW_PHYS);
	return tree_bytes;
}

enum status fs_free_bytes(const char *path, int64_t *bytes, struct error *err)
{
	struct statvfs vfs;
	if (statvfs(path, &vfs) != 0)
		return error_errno(err, ST_FAILED, "cannot tell the free space at %s", path);
	*bytes = (int64_t)vfs.f_bavail * (int64_t)vfs.f_frsize;
	return ST_OK;
}
