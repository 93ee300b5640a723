/* What the log of a sandbox's server tells of the server itself: why it did not start, or why it went away. */
#ifndef PGR_CLONE_SERVER_LOG_H
#define PGR_CLONE_SERVER_LOG_H

#include "base/buf.h"
#include "base/error.h"

#include <stdint.h>
#include <stdio.h>

#define SERVER_LOG_MAX (64 << 10)

/* The end of its log, from a line's start, as the error of a server that did not start. Nothing when there is no log. */
void server_log_explain_start(const char *path, struct error *err);

/* How long the log is now; 0 when there is none. */
int64_t server_log_length(const char *path);

/* Reads the log from byte `from` on. lines (made with buf_init, at least SERVER_LOG_MAX): the last messages of the postmaster and its own
 * processes. Those of sessions are left out, and so are DETAIL, HINT, CONTEXT and STATEMENT: their text holds values that a record may not.
 * Returns the first of these messages that tells of a process that ended unasked or of a file that could not be written, cut to what fits
 * into trouble; "" when none does. Lines must begin as REHEARSAL in server.c has it ("%m [%p] %a "), and be in English. */
const char *server_log_read(const char *path, int64_t from, struct buf *lines, char trouble[256]);

/* The same of what is left in f. */
void server_log_scan(FILE *f, struct buf *lines, char trouble[256]);

#endif
