/* Copies a folder whole: reflinks where the file system can, the kernel's own copying elsewhere. */
#ifndef PGR_CLONE_COPY_H
#define PGR_CLONE_COPY_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct copy_totals {
	int64_t files;
	int64_t bytes;
	int64_t reflinked; /* files of those that share their blocks with the original */
};

/* Copies from/ to the new folder to/, with modes, for owner uid:gid (both 0: whoever we are). skip(path below from, arg)
 * says which entries to leave out; skip may be NULL. A symbolic link is refused: it would make two clusters share files. */
enum status copy_tree(const char *from, const char *to, uid_t uid, gid_t gid, bool (*skip)(const char *path, void *arg), void *arg,
	struct copy_totals *totals, struct error *err) MUST_CHECK;

/* The same into a folder that may be there: its files are written over, and what from/ lacks is removed. Removing all and making it anew
 * took three times as long on ext4, until all was on disk, and up to eight times without a journal, where ext4 passes over each inode that was
 * freed lately; with reflinks on XFS it takes as long.
 * Nobody may have the files open. A file that has other names, or is a link, is replaced and not written to. */
enum status copy_tree_over(const char *from, const char *to, uid_t uid, gid_t gid, bool (*skip)(const char *path, void *arg), void *arg,
	struct copy_totals *totals, struct error *err) MUST_CHECK;

/* On disk before anyone measures: left to the kernel, a copy without reflinks would be written back in the middle of a rehearsal. dir: any
 * folder of the file system that copies were made on. */
enum status copy_sync(const char *dir, struct error *err) MUST_CHECK;

#endif
