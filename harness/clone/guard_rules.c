/* The rules on who else uses a server, and who stands before it: standbys, subscribers, client sessions, poolers. */
#define _GNU_SOURCE
#include "clone/guard_rules.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LOOKS 11
#define LOOK_NS 100000000L

/* A base backup under way is no standby yet, but whoever takes one takes it of something that matters. A slot that nobody reads at the moment
 * belongs to somebody who will come back, and until then keeps the WAL that a rehearsal makes. */
static const char QUERY_STANDBYS[] =
	"SELECT COALESCE(a.application_name, ''), COALESCE(pg_catalog.host(a.client_addr), ''), 'is replicated from by', w.pid::text"
	" FROM pg_catalog.pg_stat_get_wal_senders() w LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid OPERATOR(pg_catalog.=) w.pid"
	" UNION ALL SELECT s.slot_name, '', 'keeps WAL for the slot', '' FROM pg_catalog.pg_replication_slots s"
	" WHERE NOT s.active AND NOT s.temporary ORDER BY 3, 1, 4";

/* Of sessions that bear our name those of a load or a migration are another rehearsal's, or still at work for one that was killed: none of this
 * one's is open when the guard is asked. A role without pg_monitor sees neither the address nor the kind of another's session, but its name and user. Background workers have no
 * user of their own, or say what they are. */
static const char QUERY_CLIENTS[] =
	"SELECT COALESCE(a.application_name, ''), COALESCE(a.usename::text, ''), COALESCE(pg_catalog.host(a.client_addr), 'local'),"
	" COALESCE(a.datname::text, ''), a.pid FROM pg_catalog.pg_stat_activity a"
	" WHERE a.pid OPERATOR(pg_catalog.<>) pg_catalog.pg_backend_pid() AND a.usesysid IS NOT NULL AND a.datid IS NOT NULL"
	" AND COALESCE(a.backend_type, 'client backend') OPERATOR(pg_catalog.=) 'client backend'"
	" AND (COALESCE(a.application_name, '') NOT LIKE 'pgrehearse%' OR a.application_name LIKE 'pgrehearse load %'"
	" OR a.application_name LIKE 'pgrehearse migration%') ORDER BY a.backend_start, a.pid";

static bool matches(const char *const *patterns, const char *text)
{
	for (; text[0] != '\0' && patterns != NULL && *patterns != NULL; patterns++)
		if (fnmatch(*patterns, text, 0) == 0)
			return true;
	return false;
}

static enum status ask(PGconn *conn, const char *sql, const char *what, PGresult **out, struct error *err)
{
	*out = PQexec(conn, sql);
	if (PQresultStatus(*out) == PGRES_TUPLES_OK)
		return ST_OK;
	enum status st = error_set(err, ST_FAILED, "cannot ask the target for %s: %.400s", what, PQresultErrorMessage(*out));
	PQclear(*out);
	*out = NULL;
	return st;
}

/* A pooler gives its clients keys for cancelling of its own, in every mode, so what the connection calls the process of its session is not what
 * the session itself says. By name none could be told: a client sees nothing of PgBouncer, Odyssey or a cloud's proxy but this. */
enum status guard_check_direct(PGconn *conn, struct error *err)
{
	PGresult *res;
	enum status st = ask(conn, "SELECT pg_catalog.pg_backend_pid()", "its process", &res, err);
	if (st != ST_OK)
		return st;
	if (strtol(PQgetvalue(res, 0, 0), NULL, 10) != PQbackendPID(conn)) {
		st = error_set(err, ST_REFUSED,
			"a connection pooler stands before the target: whose statement waits for which lock could not be told, and settings, limits of "
			"time, prepared statements and cancelling would reach whichever session comes next");
		error_hint(err, "name the server itself: its own host and port, which the pooler's configuration has");
	}
	PQclear(res);
	return st;
}

enum status guard_check_primary(PGconn *conn, struct error *err)
{
	PGresult *res;
	enum status st = ask(conn, "SELECT pg_catalog.pg_is_in_recovery()", "its role", &res, err);
	if (st != ST_OK)
		return st;
	if (strcmp(PQgetvalue(res, 0, 0), "t") == 0) {
		st = error_set(err, ST_REFUSED, "the target is a standby: it repeats what another server does, and takes no writes");
		error_hint(err, "name the clone's primary; a standby that is to become a clone is promoted first");
	}
	PQclear(res);
	return st;
}

enum status guard_check_standbys(PGconn *conn, const struct guard_policy *policy, char *detail, size_t size, struct error *err)
{
	PGresult *res;
	enum status st = ask(conn, QUERY_STANDBYS, "its standbys", &res, err);
	if (st != ST_OK)
		return st;
	int n = PQntuples(res);
	for (int i = 0; i < n && st == ST_OK; i++) {
		const char *name = PQgetvalue(res, i, 0), *address = PQgetvalue(res, i, 1);
		if (matches(policy->standbys, name))
			continue;
		st = error_set(err, ST_REFUSED, "the target %s %.100s%s%.100s: what is rehearsed would go there too", PQgetvalue(res, i, 2),
			name[0] != '\0' ? name : "a standby that does not tell its name", address[0] != '\0' ? " at " : "", address);
		error_hint(err, "if it belongs to the clone: --allow-standby %.200s; else take it away, or name another target",
			name[0] != '\0' ? name : "NAME, once it has an application_name");
	}
	snprintf(detail, size, n == 0 ? "no standby, no slot" : "%d standby%s or slot%s, allowed by name", n, n == 1 ? "" : "s",
		n == 1 ? "" : "s");
	PQclear(res);
	return st;
}

static enum status look_at_clients(PGconn *conn, const struct guard_policy *policy, char *detail, size_t size, struct error *err)
{
	PGresult *res;
	enum status st = ask(conn, QUERY_CLIENTS, "its sessions", &res, err);
	if (st != ST_OK)
		return st;
	int n = PQntuples(res), foreign = 0;
	for (int i = n - 1; i >= 0; i--) {
		char place[400];
		const char *name = PQgetvalue(res, i, 0);
		snprintf(place, sizeof place, "%s@%s", PQgetvalue(res, i, 1), PQgetvalue(res, i, 2));
		if (matches(policy->clients, name) || matches(policy->clients, place))
			continue;
		foreign++;
		st = error_set(err, ST_REFUSED, "%d session%s of others use%s the target: %.100s (%.200s, database %.100s, pid %s)%s",
			foreign, foreign == 1 ? "" : "s", foreign == 1 ? "s" : "", name[0] != '\0' ? name : "without a name", place,
			PQgetvalue(res, i, 3), PQgetvalue(res, i, 4), foreign == 1 ? "" : " and more");
		error_hint(err, "end it if it may be ended; if it belongs to the clone: --allow-client '%.200s'",
			name[0] != '\0' ? name : place);
	}
	snprintf(detail, size, n == 0 ? "nobody else is connected" : "%d session%s of others, allowed by name", n, n == 1 ? "" : "s");
	PQclear(res);
	return st;
}

enum status guard_check_clients(PGconn *conn, const struct guard_policy *policy, char *detail, size_t size, struct error *err)
{
	/* A session that its client has closed is still there for some milliseconds. */
	enum status st = ST_REFUSED;
	for (int i = 0; i < LOOKS && st == ST_REFUSED; i++) {
		if (i > 0)
			nanosleep(&(struct timespec){.tv_nsec = LOOK_NS}, NULL);
		st = look_at_clients(conn, policy, detail, size, err);
	}
	return st;
}
