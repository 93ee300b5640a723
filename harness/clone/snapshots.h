/* Snapshots that are kept, by name: one folder each beside the sandboxes, with what they are of. */
#ifndef PGR_CLONE_SNAPSHOTS_H
#define PGR_CLONE_SNAPSHOTS_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the snapshot of this name is or would be, on the disk of the sandboxes, so that it can share blocks with them. What a making that
 * was cut off has left there is removed. ST_USAGE: no name, or (when `fresh`) one that there is already. */
enum status snapshot_place(const char *name, bool fresh, char *dir, size_t size, struct error *err) MUST_CHECK;

/* Completes a snapshot that sandbox_snapshot() made in dir. about: what it is of (takes no reference). */
enum status snapshot_complete(const char *dir, const json_t *about, struct error *err) MUST_CHECK;

/* Where what is made for the snapshot dir is kept when its making is cut off: a folder beside it (sandbox_config.salvage). What is there of other
 * data (about) or for another server is removed; *begun: there is something to go on with. */
enum status snapshot_begin(
	const char *dir, const json_t *about, const char *server_dir, char *part, size_t size, bool *begun, struct error *err) MUST_CHECK;

/* That folder is not needed any more. */
enum status snapshot_end(const char *dir, struct error *err);

/* The folder of a complete one, and what it is of (a new reference). ST_USAGE when there is none; the hint lists those that exist. */
enum status snapshot_find(const char *name, char *dir, size_t size, json_t **about, struct error *err) MUST_CHECK;

/* All complete ones, by name: an array of { name, created, server_version, bytes, about }. */
enum status snapshot_list(json_t **out, struct error *err) MUST_CHECK;

/* Those whose making was cut off: an array of { name, about }. */
enum status snapshot_list_unfinished(json_t **out, struct error *err) MUST_CHECK;

/* One of exactly this generated data and these settings, for the server that a sandbox of server_dir (or NULL) would run; ST_OK with name ""
 * when there is none. about: as given to snapshot_complete(). */
enum status snapshot_find_generated(const json_t *about, const char *server_dir, char *name, size_t size, struct error *err) MUST_CHECK;

/* Also one whose making was cut off. */
enum status snapshot_drop(const char *name, struct error *err) MUST_CHECK;

#endif
