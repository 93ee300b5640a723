/* Folders and files: make, remove, copy, replace whole. */
#ifndef PGR_BASE_FS_H
#define PGR_BASE_FS_H

#include "base/buf.h"
#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* mkdir -p; existing folders are fine. */
enum status fs_make_dirs(const char *path, mode_t mode, struct error *err) MUST_CHECK;

/* rm -rf, never following a symlink; a path that is not there is fine. */
enum status fs_remove_tree(const char *path, struct error *err) MUST_CHECK;

/* Appends the whole file to out; a file larger than out's maximum is an error. */
enum status fs_read_file(const char *path, struct buf *out, struct error *err) MUST_CHECK;

/* Replaces path atomically: written beside it, fsynced, renamed. A device or a pipe (/dev/null, /dev/stdout) is written to instead. */
enum status fs_write_file(const char *path, const void *data, size_t len, struct error *err) MUST_CHECK;

/* Bytes free for us on the file system that holds path. */
enum status fs_free_bytes(const char *path, int64_t *bytes, struct error *err) MUST_CHECK;

/* Of all files below dir, symbolic links not followed; of a file its own. */
int64_t fs_tree_bytes(const char *path);

bool fs_exists(const char *path);
bool fs_is_dir(const char *path);

#endif
