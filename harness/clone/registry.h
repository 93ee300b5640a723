/* Which sandboxes exist on this machine for this user: one folder each under one root, each with a sandbox.json. */
#ifndef PGR_CLONE_REGISTRY_H
#define PGR_CLONE_REGISTRY_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SANDBOX_NAME_MAX 32

struct sandbox_info {
	char name[SANDBOX_NAME_MAX + 1];
	char dir[PATH_MAX];
	char socket_dir[PATH_MAX];
	char dsn[PATH_MAX + 128];
	char server_dir[PATH_MAX];
	char created[32]; /* wall time, ISO 8601 */
	int server_version;
	int standbys;
	char salvage[PATH_MAX]; /* where the primary's data go when this ends unfinished (struct sandbox_config); "": nowhere */
	int64_t owner_pid;      /* the process that made it */
	bool owner_alive;       /* that very process, not a later one with its number */
	bool keep;              /* outlives its owner */
	bool ready;             /* it was made completely */
	bool running;           /* its primary's process is there */
};

struct sandbox_list {
	struct sandbox_info *at; /* by name */
	size_t n;
};

/* All that can be read; a folder without a readable sandbox.json is left out. Free with sandbox_list_free(). */
enum status sandbox_list(struct sandbox_list *out, struct error *err) MUST_CHECK;
void sandbox_list_free(struct sandbox_list *list);

/* ST_USAGE when there is none of that name; the hint lists those that exist. */
enum status sandbox_find(const char *name, struct sandbox_info *out, struct error *err) MUST_CHECK;

/* Stops its servers and removes it. One that a living process is using, and that is not kept, is refused (ST_USAGE). */
enum status sandbox_remove(const char *name, struct error *err) MUST_CHECK;

/* Removes what dead processes left: sandboxes that are not kept and whose owner is gone. Adds their number to *removed (or NULL). */
enum status sandbox_sweep(int *removed, struct error *err);

/* The folder that registry_root() is in, or would be made in. */
const char *registry_parent(void);

/* The folder that holds all sandboxes of this user: $TMPDIR/pgrehearse-<uid>, else below /var/tmp or /tmp (whichever is on a
 * disk). Made when missing; refused when it belongs to someone else or others may write to it. */
enum status registry_root(char *out, size_t size, struct error *err) MUST_CHECK;

/* In a data folder that is worth going on with. */
#define REGISTRY_SALVAGE_MARK "pgrehearse.unfinished"

/* For sandbox.c: stops every server process below dir and removes dir and socket_dir ("" when it lies within dir). A primary's data with the mark
 * above are moved to the folder that sandbox.json names for them, when that is still there. */
enum status registry_reap(const char *dir, const char *socket_dir, struct error *err) MUST_CHECK;

/* Ends every server program that works below dir: SIGQUIT (PostgreSQL's immediate shutdown), then SIGKILL to what is left
 * after some seconds. False when something survived even that. */
bool registry_stop_processes(const char *dir);

/* A fresh folder for a sandbox of this name, or of a made-up one (name NULL); fills info->name, dir, owner. Sweeps first. */
enum status registry_create(const char *name, struct sandbox_info *info, struct error *err) MUST_CHECK;

/* Writes info's sandbox.json. dsns: one a standby. */
enum status registry_write(const struct sandbox_info *info, const char *const *standby_dsns, struct error *err) MUST_CHECK;

#endif
