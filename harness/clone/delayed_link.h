/* A slow line between a primary and its standbys: what the primary sends arrives a fixed time later. Internal to the room. */
#ifndef PGR_CLONE_DELAYED_LINK_H
#define PGR_CLONE_DELAYED_LINK_H

#include "base/error.h"

#include <stdint.h>
#include <sys/types.h>

/* The process's name: the registry ends it with the servers, by that and by its folder. */
#define DELAYED_LINK_PROGRAM "pgr-delay"

/* Forks a process that listens on the unix socket `from` and carries each connection to the unix socket `to`; bytes that come from there
 * are held back for delay_ns, those to there are not. At most 64 MB are under way on a connection: beyond them the primary has to wait, as
 * behind a slow line. It works in dir, in a session of its own, until it is ended. *pid: whom to wait for afterwards. */
enum status delayed_link_start(
	const char *dir, const char *from, const char *to, int64_t delay_ns, pid_t *pid, struct error *err) MUST_CHECK;

#endif
