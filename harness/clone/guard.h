/* The guard: no rehearsal on a server that is not known to be a clone. */
#ifndef PGR_CLONE_GUARD_H
#define PGR_CLONE_GUARD_H

#include "base/error.h"

/* Is dsn a target that may be rehearsed on? Yes: a sandbox of ours; or a database on this machine (unix socket or loopback)
 * whose comment says "pgrehearse clone". Otherwise ST_REFUSED, with what to do. A host that is not this machine is refused
 * before anything is sent to it, and of several hosts each must be local; so is what the deny list (clone/deny.h) matches. ST_USAGE: not a connection string. ST_FAILED: the
 * server cannot be reached. Only reads; blocks for 10 s at most per host. No password ever appears in a message. */
enum status guard_check_target(const char *dsn, struct error *err) MUST_CHECK;

#endif
