/* A connection pooler before a target, through which an application's sessions go: where it leads, and how it pools. */
#ifndef PGR_CLONE_POOLER_H
#define PGR_CLONE_POOLER_H

#include "base/error.h"
#include "clone/guard.h"

#include <stdbool.h>

struct pooler {
	bool transactions; /* a session of the server serves a client for one transaction only; else for as long as the client stays */
};

/* Asks the pooler at dsn, which must lead to the database that `target` (which the guard has let pass) leads to. Writes nothing. ST_REFUSED:
 * its host is not allowed, or it leads elsewhere. ST_USAGE: it is no pooler, or one that knows no transaction blocks. ST_FAILED: it
 * cannot be reached, or does not answer two clients at once within 5 s. */
enum status pooler_examine(
	const char *dsn, const char *target, const struct guard_policy *policy, struct pooler *out, struct error *err) MUST_CHECK;

#endif
