/* The guard: no rehearsal on a server that is not known to be a clone. */
#ifndef PGR_CLONE_GUARD_H
#define PGR_CLONE_GUARD_H

#include "base/error.h"

#include <stdbool.h>

/* What the user lets pass by name. All lists are NULL-terminated, or NULL for none; a zeroed policy allows nothing. There is no way to
 * allow what the deny list names, nor a database without a mark. */
struct guard_policy {
	const char *const *hosts; /* --allow-host: hosts that are not this machine, exactly as the connection string names them */
	const char *const
		*clients; /* --allow-client: sessions, as shell patterns on the application_name or on user@address (user@local) */
	const char *const *standbys; /* --allow-standby: standbys and subscribers, as shell patterns on the application_name or slot name */
};

/* The rules, in the order in which they are asked. */
#define GUARD_RULES 8
enum guard_rule {
	GUARD_HOST,    /* this machine (unix socket, loopback), or a host allowed by name; asked before anything is sent */
	GUARD_DENY,    /* not on the deny list (clone/deny.h), before and after connecting */
	GUARD_REACHED, /* it can be connected to; not a rule to break, but the ones below cannot be asked without */
	GUARD_DIRECT, /* no pooler stands before it: each connection is a session of the server, the same one from its first statement to its last */
	GUARD_PRIMARY,  /* it takes writes: it is no standby of another server */
	GUARD_MARK,     /* a sandbox of ours, or a database with a mark that is bound to this very server (clone/mark.h) */
	GUARD_STANDBYS, /* nobody replicates from it, and no slot waits for somebody who does, unless allowed by name */
	GUARD_CLIENTS,  /* no client session of others, nor of another rehearsal, in any of its databases, unless allowed by name */
};

/* The word for it: "host", "deny", "connection", "direct", "primary", "mark", "standbys", "clients". */
const char *guard_rule_name(enum guard_rule rule);

/* Is dsn a target that may be rehearsed on? A sandbox of ours passes without a mark, whoever is connected to it. ST_REFUSED: which rule says
 * no and what to do about it. ST_USAGE: not a connection string, or a deny list that cannot be read. ST_FAILED: the server cannot be reached.
 * Sends nothing to a host that is not allowed, and to others only questions, in read-only transactions. Blocks for 10 s at most per host, and
 * a second for sessions that are just ending. No password ever appears in a message. policy may be NULL. */
enum status guard_check_target(const char *dsn, const struct guard_policy *policy, struct error *err) MUST_CHECK;

/* The same, telling of every rule: err->status is ST_OK where it holds, and detail says what was found. Rules that could not be asked are not
 * told of. Goes on after a refusal where that is safe; the outcome is that of the first rule that does not hold. */
typedef void guard_told(enum guard_rule rule, const struct error *err, const char *detail, void *arg);
enum status guard_examine_target(
	const char *dsn, const struct guard_policy *policy, guard_told *told, void *arg, struct error *err) MUST_CHECK;

/* Is dsn a standby that may be watched and read from, of `primary`, which the guard has let pass? The rules host and deny are asked as of a target,
 * and that it is not certain to follow another server: its system identifier is the same, as far as both tell theirs, and it is not ahead of
 * the primary. ST_REFUSED, ST_USAGE and ST_FAILED as above. Whether it is a standby at all is not asked. */
enum status guard_check_standby(const char *dsn, const char *primary, const struct guard_policy *policy, struct error *err) MUST_CHECK;

/* Marks the database as one that may be destroyed; every rule but the mark's must hold. ask is called when they do, with the database's name and
 * where it is ("unix socket /tmp, port 5432"), and the mark is only written when it returns true; otherwise ST_REFUSED. Takes the ownership of
 * the database, no superuser. */
typedef bool guard_ask(const char *database, const char *place, void *arg);
enum status guard_mark_target(const char *dsn, const struct guard_policy *policy, guard_ask *ask, void *arg, struct error *err) MUST_CHECK;

/* Takes the mark away, ours or a void one; what else the comment says stays. ST_USAGE when there is none. Only the rules host and deny are asked. */
enum status guard_unmark_target(const char *dsn, const struct guard_policy *policy, struct error *err) MUST_CHECK;

/* Drops the tables heartbeat and ledger in the schema pgrehearse, which a run that was killed may have left, and the schema when nothing else is
 * in it. What a backfill that was cut off has noted there stays: the next one goes on from it, and drops it when it is done. *dropped (may be NULL) takes their number. Only for a target that the guard has let pass. */
enum status guard_sweep_target(const char *dsn, int *dropped, struct error *err) MUST_CHECK;

#endif
