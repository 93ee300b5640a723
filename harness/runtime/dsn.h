/* Connection strings: taken apart as libpq does, and put together from keywords and values. */
#ifndef PGR_RUNTIME_DSN_H
#define PGR_RUNTIME_DSN_H

#include "base/buf.h"
#include "base/error.h"

#include <libpq-fe.h>

/* What dsn says, of either form; a word that is neither is the name of a database, as it is for a program's own connections. For PQconninfoFree().
 * NULL (ST_USAGE): it is no connection string; that is never to be taken for one that says nothing. */
PQconninfoOption *dsn_parse(const char *dsn, struct error *err);

/* The value of a keyword; NULL: it is not there, or empty, which libpq takes for the same. */
const char *dsn_value(const PQconninfoOption *options, const char *keyword);

/* Appends keyword='value', quoted, with a blank before it unless it is the first. */
void dsn_add_word(struct buf *out, const char *keyword, const char *value);

#endif
