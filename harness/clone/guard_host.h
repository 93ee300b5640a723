/* The rules on hosts: where a connection string leads, before anything is sent there, and where it did lead. Internal to the room. */
#ifndef PGR_CLONE_GUARD_HOST_H
#define PGR_CLONE_GUARD_HOST_H

#include "clone/guard.h"

#include <libpq-fe.h>

/* What the connection string, filled up from the environment as libpq will, names as hosts: each of them this machine or allowed (*rule is
 * GUARD_HOST), and none on the deny list (GUARD_DENY). ST_USAGE: no connection string. */
enum status guard_host_check_named(const char *dsn, const struct guard_policy *policy, enum guard_rule *rule, struct error *err) MUST_CHECK;

/* Where we really are. */
enum status guard_host_check_reached(PGconn *conn, const struct guard_policy *policy, struct error *err) MUST_CHECK;

/* "unix socket /tmp, port 5432", "127.0.0.1 (localhost), port 5432" */
void guard_host_describe(PGconn *conn, char *out, size_t size);

#endif
