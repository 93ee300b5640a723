/* PostgreSQL's own programs: where they are, and initdb, pg_ctl, postgres as calls. Internal to the room. */
#ifndef PGR_CLONE_SERVER_H
#define PGR_CLONE_SERVER_H

#include "base/buf.h"
#include "base/error.h"

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct server_tools {
	char dir[PATH_MAX]; /* of initdb, pg_ctl, postgres */
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
	const char *label;       /* cluster_name: what ps shows */
	const char *name;        /* of a standby: its application_name and its slot */
	const char *primary_dsn; /* whom it follows; NULL: it is the primary */
	bool isolated;           /* the server reaches no network */
};

/* asked: a folder that must hold the programs (or whose bin/ does); NULL: $PGREHEARSE_SERVER, else the newest that is found. */
enum status server_find_tools(const char *asked, struct server_tools *out, struct error *err) MUST_CHECK;

/* The folder of the programs of this major version, where packages put them; false when there is none. */
bool server_find_version(int major, char *out, size_t size);

/* A client program that serves tools' server: see sandbox_find_program(). */
bool server_find_client(const struct server_tools *tools, const char *name, char *out, size_t size);

/* Gives path to the user that servers run as. */
enum status server_give(const struct server_tools *tools, const char *path, mode_t mode, struct error *err) MUST_CHECK;

enum status server_init(const struct server_tools *tools, const struct server_place *place, struct error *err) MUST_CHECK;

/* Writes the settings file that postgresql.conf includes: a rehearsal's defaults, then settings ("name=value", may be
 * NULL), then what a sandbox stands on; a standby is told to be one. ST_USAGE for a setting that is malformed or not to be
 * changed. */
enum status server_configure(
	const struct server_tools *tools, const struct server_place *place, const char *const *settings, struct error *err) MUST_CHECK;

/* Returns when it accepts connections. An error quotes the end of the server's log. */
enum status server_start(const struct server_tools *tools, const struct server_place *place, struct error *err) MUST_CHECK;

/* Runs argv (its first word a program of the server's, in place->work_dir) to its end as the servers' user. said takes what it prints. */
enum status server_ask_program(const struct server_tools *tools, const struct server_place *place, const char **argv, struct buf *said,
	struct error *err) MUST_CHECK;

/* Runs statements, one a line, in the database of a server that does not run, as its bootstrap superuser: nothing else of the server is
 * started, no trigger on events fires. Recovers it first if need be, which has no time limit; stop (or NULL) ends it. ST_FAILED quotes what
 * the server said. said takes all that was printed. */
enum status server_run_single(const struct server_tools *tools, const struct server_place *place, const char *database, const char *sql,
	const volatile sig_atomic_t *stop, struct buf *said, struct error *err) MUST_CHECK;

enum status server_stop(const struct server_tools *tools, const struct server_place *place, bool immediate, struct error *err) MUST_CHECK;

/* Starts and stops the cluster in single-user mode, so that its control file holds the settings that it has now: a standby compares its own
 * with those, and refuses to start below them. */
enum status server_settle(const struct server_tools *tools, const struct server_place *place, struct error *err) MUST_CHECK;

/* What its control file calls the state of a data folder, in the words of pg_controldata: "shut down", "in production"; "unknown" when it cannot
 * be read, or is of none of the versions 12 to 18. */
const char *server_control_state(const struct server_place *place);

/* The WAL file that a stopped server will start from: its 24 hexadecimal digits; "" when its control file does not tell. */
void server_first_wal(const struct server_place *place, char out[25]);

/* One statement on a connection of its own; value (may be NULL) takes the first column of the first row, "" when there is none. */
enum status server_query(const char *dsn, const char *sql, char *value, size_t size, struct error *err) MUST_CHECK;

#endif
