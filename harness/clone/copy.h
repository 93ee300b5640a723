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

#endif
