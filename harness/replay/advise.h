/* Which settings let a server's log be captured whole, and how much log that would be. Only reads, in one session. */
#ifndef PGR_REPLAY_ADVISE_H
#define PGR_REPLAY_ADVISE_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>

/* Appends text for people: what to set and why, and the volume by what the server did during watch_ns. ST_FAILED: no connection, or no
 * answer; *err says which. */
enum status advise_capture(const char *dsn, int64_t watch_ns, struct buf *out, struct error *err) MUST_CHECK;

#endif
