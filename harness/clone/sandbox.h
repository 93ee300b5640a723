/* Sandboxes: a primary and its streaming standbys in a folder of their own, on unix sockets only, made from nothing or from
 * a snapshot and gone afterwards, however the process that made them ended. */
#ifndef PGR_CLONE_SANDBOX_H
#define PGR_CLONE_SANDBOX_H

#include "base/error.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define SANDBOX_STANDBYS_MAX 8

struct sandbox;
struct origin;

struct sandbox_config {
	const char *name;       /* 1 to 32 of a-z 0-9 - _; NULL: made up, "rehearsal-<pid>" */
	int standbys;           /* 0 to SANDBOX_STANDBYS_MAX */
	const char *server_dir; /* folder of initdb, pg_ctl, postgres; NULL: $PGREHEARSE_SERVER, or the newest version that is installed */
	const char *from_snapshot;   /* a folder made by sandbox_snapshot(), or NULL for an empty cluster */
	const char *const *settings; /* "name=value", NULL-terminated, over the sandbox's own; or NULL */
	int64_t standby_delay_ns;    /* what the primary sends arrives at the standbys so much later; 0: at once */
	const struct origin *origin; /* makes the first data folder instead of initdb (clone/source.h); or NULL */
	const char *
		salvage; /* a folder: what its `data` is becomes the primary's data, and goes back there, however this process ends, unless it has become a snapshot; or NULL */
	bool isolated;   /* servers reach no network, where proc_can_isolate() */
	bool keep;       /* outlives this process, until sandbox_remove() */
	const volatile sig_atomic_t *stop; /* when it turns non-zero, making stops at the next step with ST_INTERRUPTED; or NULL */
};

/* Makes and starts the servers; returns when every standby streams. About 1 s with one standby. The database is called
 * `rehearsal`, its superuser `postgres`; settings differ from PostgreSQL's defaults only where a rehearsal needs it, and
 * fsync stays on, as in production. When we are root, the servers run as the user postgres, or nobody where there is none.
 * Blocks; call it before threads are started (it forks, and takes PGHOSTADDR, PGSERVICE and the like out of our
 * environment, since libpq would let them redirect a connection string that does not name them).
 * ST_USAGE: a bad name or setting, an unknown server folder. ST_FAILED: what the server's programs said; nothing is left. */
enum status sandbox_up(const struct sandbox_config *config, struct sandbox **out, struct error *err) MUST_CHECK;

/* Stops all servers at once (nothing in there is worth a checkpoint) and removes the folder. NULL and repeats are fine. */
enum status sandbox_down(struct sandbox *sb, struct error *err);

/* Frees the memory. A sandbox that is still up stays up when it is a kept one, and is removed otherwise. NULL is fine. */
void sandbox_free(struct sandbox *sb);

/* Which database the connection strings lead to from now on; it must be there. ST_USAGE: a name that no database can have. */
enum status sandbox_choose_database(struct sandbox *sb, const char *name, struct error *err) MUST_CHECK;

/* Lets a kept state begin late: from now on it outlives this process. */
enum status sandbox_keep(struct sandbox *sb, struct error *err) MUST_CHECK;

/* Removes the standbys, stops the primary cleanly and copies its data to the new folder dir (a reflink where the file
 * system can). The sandbox is stopped afterwards: go on with sandbox_reset() or sandbox_down(). */
enum status sandbox_snapshot(struct sandbox *sb, const char *dir, struct error *err) MUST_CHECK;

/* The same without a copy: the sandbox has no data any more, and can only go down. */
enum status sandbox_become_snapshot(struct sandbox *sb, const char *dir, struct error *err) MUST_CHECK;

/* Throws the data of all servers away and starts again from a snapshot, with so many fresh standbys. Connection strings stay. */
enum status sandbox_reset(struct sandbox *sb, const char *snapshot, int standbys, struct error *err) MUST_CHECK;

/* Removes a snapshot folder. Refuses a folder that sandbox_snapshot() did not make. */
enum status sandbox_remove_snapshot(const char *dir, struct error *err);

/* Servers are numbered: 0 is the primary, i + 1 is standby i. Stopping at once (immediate) is a crash to PostgreSQL. */
enum status sandbox_stop_server(struct sandbox *sb, int server, bool immediate, struct error *err) MUST_CHECK;
enum status sandbox_start_server(struct sandbox *sb, int server, struct error *err) MUST_CHECK;

/* Stops the primary at once, promotes standby i and lets the primary's address lead to it, as a floating address or a proxy would: connection
 * strings stay. Returns when it takes writes. From then on server 0 is gone until sandbox_reset(). ST_USAGE: there is no such standby. */
enum status sandbox_fail_over(struct sandbox *sb, int standby, struct error *err) MUST_CHECK;

/* What follows lives as long as sb. */
const char *sandbox_name(const struct sandbox *sb);
const char *sandbox_dir(const struct sandbox *sb);
const char *sandbox_dsn(const struct sandbox *sb);
int sandbox_standbys(const struct sandbox *sb);
const char *sandbox_standby_name(const struct sandbox *sb, int i); /* "standby1", ...: also its application_name */
const char *sandbox_standby_dsn(const struct sandbox *sb, int i);
const char *sandbox_server_name(
	const struct sandbox *sb, int server);                        /* "primary", "standby1", ...; NULL: there is none with that number */
const char *sandbox_server_log(const struct sandbox *sb, int server); /* the path of its log, which may not be there */
bool sandbox_is_isolated(const struct sandbox *sb);                   /* its servers reach no network */
int sandbox_server_version(const struct sandbox *sb);                 /* as PQserverVersion(): 150014 */
const char *sandbox_server_dir(const struct sandbox *sb);             /* of the programs: psql, pg_dump and so on are there too */

/* The path of a client program such as pg_dump: the server's own, else of the newest version that is installed and is not older than the
 * server. False when there is none. */
bool sandbox_find_program(const struct sandbox *sb, const char *name, char *out, size_t size);

#endif
