/* The rules on who else uses a server, and who stands before it: standbys, subscribers, client sessions, poolers. Internal to the room. */
#ifndef PGR_CLONE_GUARD_RULES_H
#define PGR_CLONE_GUARD_RULES_H

#include "clone/guard.h"

#include <libpq-fe.h>
#include <stddef.h>

enum status guard_check_direct(PGconn *conn, struct error *err) MUST_CHECK;

/* Each fills detail with what was found: "no standby", "2 sessions of others, allowed". */
enum status guard_check_primary(PGconn *conn, struct error *err) MUST_CHECK;
enum status guard_check_standbys(PGconn *conn, const struct guard_policy *policy, char *detail, size_t size, struct error *err) MUST_CHECK;

/* Waits a second at most for sessions that are just ending. */
enum status guard_check_clients(PGconn *conn, const struct guard_policy *policy, char *detail, size_t size, struct error *err) MUST_CHECK;

#endif
