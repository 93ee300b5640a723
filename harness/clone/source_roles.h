/* What is named in a dump's SQL: roles that have to be there before it is restored, databases that it enters,
 * tablespaces that it would make. */
#ifndef PGR_CLONE_SOURCE_ROLES_H
#define PGR_CLONE_SOURCE_ROLES_H

#include "base/error.h"

#include <signal.h>
#include <stddef.h>

struct source_names {
	char **at; /* each once, in the order of their coming */
	size_t n, cap;
};

struct source_found {
	struct source_names roles, databases, tablespaces; /* tablespaces: that it makes */
};

void source_found_free(struct source_found *found);

/* One line of a script that pg_dump wrote. state: 0 before the first line of a script. */
void source_scan_line(const char *line, int *state, struct source_found *found);

/* A whole script; rows of COPY are passed over. ST_INTERRUPTED: *stop. */
enum status source_scan_roles(
	const char *path, struct source_found *found, const volatile sig_atomic_t *stop, struct error *err) MUST_CHECK;

#endif
