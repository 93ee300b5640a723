/* The mark: a database's comment that says it may be destroyed, bound to the server process that it was made on. Internal to the room. */
#ifndef PGR_CLONE_MARK_H
#define PGR_CLONE_MARK_H

#include "base/error.h"

#include <libpq-fe.h>

/*
 * What the mark is bound to. All that lies in the data directory is shared by a copy of it: the system identifier, the timeline, the comment
 * itself. What no copy shares is the running server: the instant at which its postmaster started, to the microsecond, which any role may ask for
 * on any service. So a base backup, a restored snapshot, a promoted standby, a dump with --create have a mark that is void, and so has
 * this server after a restart: it takes a new one. The rest makes the refusal tell more, and stands against clocks that were set back:
 * system identifier and timeline (control file), the database's oid and name, the data directory (superuser or pg_read_all_settings), the
 * port, and the address as the server sees it (not over a unix socket).
 */
struct mark_place {
	char database[256];
	char oid[16];
	char started[40]; /* UTC, ISO 8601 with microseconds */
	char system[24];  /* here and below: "" when the server does not tell this role */
	char timeline[16];
	char address[64]; /* "" over a unix socket */
	char port[8];     /* of the server, as set */
	char directory[1024];
};

struct mark {
	enum { MARK_NONE, MARK_UNBOUND, MARK_ELSEWHERE, MARK_VALID } state;
	struct mark_place here;
	char since[40], by[128]; /* of a bound one */
	char difference[400];    /* MARK_ELSEWHERE: what is not as it was */
	char comment[1024];      /* what else the comment says; the beginning of it */
};

enum status mark_read(PGconn *conn, struct mark *out, struct error *err) MUST_CHECK;

/* Both leave the rest of the comment as it is. */
enum status mark_write(PGconn *conn, struct error *err) MUST_CHECK;
enum status mark_remove(PGconn *conn, struct error *err) MUST_CHECK;

#endif
