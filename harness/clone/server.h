/* PostgreSQL's own programs: where they are, and initdb, pg_ctl, pg_basebackup as calls. Internal to the room. */
#ifndef PGR_CLONE_SERVER_H
#define PGR_CLONE_SERVER_H

#include "base/error.h"

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

struct server_tools {
	char dir[PATH_MAX]; /* of initdb, pg_ctl, pg_basebackup, postgres */
	int version;        /* 150014 */
	uid_t uid;          /* whom the servers run as; 0: as we are */
	gid_t gid;
	char user[64]; /* that user's name */
};

struct server_place {
	const char *work_dir; /* of the sandbox: the programs run in it, which is how a sweep finds them */
	const char *data_dir;
	const char *log_path;
	const char *socket_dir;
	int port;
	const char *label; /* cluster_name: what ps shows */
};

/* asked: a folder that must hold the programs (or whose bin/ does); NULL: the newest that is found. */
enum status server_find_tools(const char *asked, struct server_tools *out, struct error *err) MUST_CHECK;

/* Gives path to the user that servers run as. */
enum status server_give(const struct server_tools *tools, const char *path, mode_t mode, struct error *err) MUST_CHECK;

enum status server_init(const struct server_tools *tools, const struct server_place *place, struct error *err) MUST_CHECK;

/* Writes the settings file that postgresql.conf includes: a rehearsal's defaults, then settings ("name=value", may be
 * NULL), then what a sandbox stands on. ST_USAGE for a setting that is malformed or not to be changed. */
enum status server_configure(
	const struct server_tools *tools, const struct server_place *place, const char *const *settings, struct error *err) MUST_CHECK;

/* Returns when it accepts connections. An error quotes the end of the server's log. */
enum status server_start(const struct server_tools *tools, const struct server_place *place, struct error *err) MUST_CHECK;

enum status server_stop(const struct server_tools *tools, const struct server_place *place, bool immediate, struct error *err) MUST_CHECK;

/* The WAL file that a stopped server will start from: its 24 hexadecimal digits. */
enum status server_first_wal(
	const struct server_tools *tools, const struct server_place *place, char out[25], struct error *err) MUST_CHECK;

/* A base backup of the server at dsn into place, with a slot named after the standby; not started yet. */
enum status server_clone_standby(const struct server_tools *tools, const struct server_place *place, const char *primary_dsn,
	const char *name, struct error *err) MUST_CHECK;

/* One statement on a connection of its own; value (may be NULL) takes the first column of the first row, "" when there is none. */
enum status server_query(const char *dsn, const char *sql, char *value, size_t size, struct error *err) MUST_CHECK;

#endif
