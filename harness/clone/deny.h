/* The deny list: hosts, databases and servers that are never rehearsed on, whatever mark they carry. */
#ifndef PGR_CLONE_DENY_H
#define PGR_CLONE_DENY_H

#include "base/error.h"

/* One rule a word, words apart by blanks, commas or line ends; # begins a comment. From $PGREHEARSE_DENY and from
 * ~/.config/pgrehearse/deny (of the user's home when $HOME is not set), both when both are there:
 *   host=PATTERN       the host or address, as named, as reached and as the server sees itself; also HOST:PORT
 *   database=PATTERN   the name of the database
 *   system=ID[@ADDR]   the server's system identifier, if need be only at that address (a clone of files has the same one)
 * Patterns are the shell's (fnmatch); those of hosts disregard case. */
struct deny_target {
	const char *host, *address;               /* "" when not known */
	const char *port;                         /* "" matches no rule with a port */
	const char *server_address, *server_port; /* as the server sees itself; "" over a unix socket */
	const char *database;
	const char *system; /* the system identifier in decimal; "" is refused if there is any rule on it */
};

/* Refused (ST_REFUSED) when a rule matches. Only host= rules are looked at while database and system are NULL, that is before
 * there is a connection. ST_USAGE: a rule cannot be read, which must not let anything pass. */
enum status deny_check(const struct deny_target *target, struct error *err) MUST_CHECK;

#endif
