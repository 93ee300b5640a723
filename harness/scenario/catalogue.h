/* The table of operations (scenarios/catalogue.lua), performed on a server and compared with what it does. */
#ifndef PGR_SCENARIO_CATALOGUE_H
#define PGR_SCENARIO_CATALOGUE_H

#include "base/error.h"

#include <jansson.h>
#include <signal.h>

struct catalogue_spec {
	const char *dsn;                   /* a server that may be rehearsed on; a database is made on it, and removed */
	const char *only;                  /* part of the ids to perform; NULL: all */
	const volatile sig_atomic_t *stop; /* when it turns non-zero, the next operation is not begun: ST_INTERRUPTED; or NULL */
	void (*progress)(int done, int total, const char *id, void *arg);
	void *arg;
};

/* *result is { version, major, performed, differ, problems, operations: [...] }, *text the same as a table for people; the caller owns
 * both. Blocks; minutes at the very most. ST_FAILED: no connection, or no database could be made; that a single operation could not be
 * performed is told in the result. */
enum status catalogue_perform(const struct catalogue_spec *spec, json_t **result, char **text, struct error *err) MUST_CHECK;

#endif
