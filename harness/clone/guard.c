/* The guard: its rules in their order, the mark, and what a killed run left on a target. */
#define _GNU_SOURCE
#include "clone/guard.h"

#include "clone/deny.h"
#include "clone/guard_host.h"
#include "clone/guard_rules.h"
#include "clone/mark.h"
#include "clone/registry.h"

#include <libpq-fe.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_LIMIT_S "10"

/* One asking of the guard. */
struct examination {
	const struct guard_policy *policy;
	guard_told *told; /* or NULL: the first refusal ends it */
	void *arg;
	bool marking; /* a mark is what it is about: there need not be one */
	struct error *err;
	enum status outcome; /* of the first rule that did not hold */
};

const char *guard_rule_name(enum guard_rule rule)
{
	static const char *const NAMES[GUARD_RULES] = {"host", "deny", "connection", "direct", "primary", "mark", "standbys", "clients"};
	return NAMES[rule];
}

/* Takes the outcome of one rule; returns whether to go on. */
static bool note(struct examination *e, enum guard_rule rule, enum status st, struct error *err, const char *detail)
{
	if (st == ST_OK)
		*err = (struct error){.status = ST_OK};
	else if (rule != GUARD_REACHED)
		error_where(err, "the guard's rule \"%s\"", guard_rule_name(rule));
	if (e->told != NULL)
		e->told(rule, err, detail, e->arg);
	if (st != ST_OK && e->outcome == ST_OK) {
		e->outcome = st;
		if (e->err != NULL)
			*e->err = *err;
	}
	return st == ST_OK || (st == ST_REFUSED && e->told != NULL);
}

/* Where we are, against the deny list. Behind a forwarded port only the server itself knows its address. */
static enum status check_denied(PGconn *conn, const struct mark_place *here, struct error *err)
{
	const char *address = PQhostaddr(conn);
	const struct deny_target reached = {
		.host = PQhost(conn),
		.address = address != NULL ? address : "",
		.port = PQport(conn),
		.server_address = here->address,
		.server_port = here->address[0] != '\0' ? here->port : "",
		.database = here->database,
		.system = here->system,
	};
	return deny_check(&reached, err);
}

static bool is_our_sandbox(PGconn *conn)
{
	char here[PATH_MAX], there[PATH_MAX];
	const char *host = PQhost(conn);
	struct sandbox_list list;
	if (host == NULL || host[0] != '/' || realpath(host, here) == NULL || sandbox_list(&list, NULL) != ST_OK)
		return false;
	bool ours = false;
	for (size_t i = 0; i < list.n && !ours; i++)
		ours = realpath(list.at[i].socket_dir, there) != NULL && strcmp(here, there) == 0;
	sandbox_list_free(&list);
	return ours;
}

static enum status check_mark(const struct mark *mark, char *detail, size_t size, struct error *err)
{
	static const char HINT[] = "if it may be destroyed: pgrehearse clone mark DSN";
	const char *database = mark->here.database;
	switch (mark->state) {
	case MARK_VALID:
		snprintf(detail, size, "marked by %s, %s", mark->by, mark->since);
		return ST_OK;
	case MARK_ELSEWHERE:
		error_set(err, ST_REFUSED,
			"the mark on the database \"%.200s\" is not of this server, or of a time before it was restarted: %s", database,
			mark->difference);
		error_hint(err, "%s; a copy does not inherit the mark", HINT);
		return ST_REFUSED;
	case MARK_UNBOUND:
		error_set(err, ST_REFUSED,
			"the comment on the database \"%.200s\" says that it is a clone, but not of which server, so a copy would say so too",
			database);
		break;
	case MARK_NONE:
		error_set(err, ST_REFUSED, "the database \"%.200s\" is not marked as a clone%s%.200s%s", database,
			mark->comment[0] != '\0' ? ": its comment is \"" : "", mark->comment, mark->comment[0] != '\0' ? "\"" : "");
		break;
	}
	error_hint(err, "%s", HINT);
	return ST_REFUSED;
}

static enum status run(PGconn *conn, const char *sql, struct error *err)
{
	PGresult *res = PQexec(conn, sql);
	enum status st = ST_OK;
	if (PQresultStatus(res) != PGRES_COMMAND_OK && PQresultStatus(res) != PGRES_TUPLES_OK) {
		const char *why = PQerrorMessage(conn);
		st = error_set(err, ST_FAILED, "the target: %.*s", (int)strcspn(why, "\n"), why);
	}
	PQclear(res);
	return st;
}

/* The rules that are asked of the server itself. */
static void ask_server(struct examination *e, PGconn *conn)
{
	struct error err;
	struct mark mark;
	char detail[400] = "";
	guard_host_describe(conn, detail, sizeof detail);
	enum status st = guard_host_check_reached(conn, e->policy, &err);
	if (st != ST_OK && !note(e, GUARD_HOST, st, &err, detail))
		return;
	/* Some poolers know no transaction blocks, so this is asked outside of one; and no more through it. */
	if (st == ST_OK && (st = guard_check_direct(conn, &err)) == ST_REFUSED) {
		note(e, GUARD_DIRECT, st, &err, "");
		return;
	}
	if (st == ST_OK)
		st = run(conn, "BEGIN READ ONLY", &err);
	if (st == ST_OK)
		st = mark_read(conn, &mark, &err);
	/* A server that cannot be asked, or was not to be reached, is asked no more. */
	if (st != ST_OK) {
		note(e, GUARD_REACHED, st, &err, "");
		return;
	}
	if (!note(e, GUARD_REACHED, ST_OK, &err, detail) ||
		!note(e, GUARD_DIRECT, ST_OK, &err, "each connection is a session of the server") ||
		!note(e, GUARD_DENY, check_denied(conn, &mark.here, &err), &err, "on no deny list") ||
		!note(e, GUARD_PRIMARY, guard_check_primary(conn, &err), &err, "it takes writes"))
		return;
	if (is_our_sandbox(conn)) {
		note(e, GUARD_MARK, ST_OK, &err, "a sandbox of ours needs none");
		return;
	}
	detail[0] = '\0';
	if (!e->marking && !note(e, GUARD_MARK, check_mark(&mark, detail, sizeof detail, &err), &err, detail))
		return;
	if (note(e, GUARD_STANDBYS, guard_check_standbys(conn, e->policy, detail, sizeof detail, &err), &err, detail))
		note(e, GUARD_CLIENTS, guard_check_clients(conn, e->policy, detail, sizeof detail, &err), &err, detail);
}

static void drop_notice(void *arg, const char *message)
{
	(void)arg;
	(void)message;
}

static enum status open_connection(const char *dsn, PGconn **out, struct error *err)
{
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, CONNECT_LIMIT_S, "pgrehearse guard", "UTF8", NULL};
	*out = PQconnectdbParams(keys, values, 1);
	if (PQstatus(*out) != CONNECTION_OK) {
		const char *why = PQerrorMessage(*out);
		return error_set(err, ST_FAILED, "cannot connect to the target: %.*s", (int)strcspn(why, "\n"), why);
	}
	PQsetNoticeProcessor(*out, drop_notice, NULL);
	return ST_OK;
}

/* *out is open, outside of any transaction, when all the rules hold; NULL otherwise. */
static enum status examine(struct examination *e, const char *dsn, PGconn **out)
{
	static const struct guard_policy STRICT = {.hosts = NULL};
	struct error err;
	enum guard_rule rule;
	PGconn *conn = NULL;
	*out = NULL;
	e->policy = e->policy != NULL ? e->policy : &STRICT;
	enum status st = guard_host_check_named(dsn, e->policy, &rule, &err);
	note(e, rule, st, &err, "every host named is local, or allowed by name");
	if (st != ST_OK)
		return e->outcome;
	st = open_connection(dsn, &conn, &err);
	if (st == ST_OK)
		ask_server(e, conn);
	else
		note(e, GUARD_REACHED, st, &err, "");
	if (e->outcome == ST_OK && (st = run(conn, "ROLLBACK", &err)) != ST_OK)
		note(e, GUARD_REACHED, st, &err, "");
	if (e->outcome == ST_OK)
		*out = conn;
	else
		PQfinish(conn);
	return e->outcome;
}

enum status guard_examine_target(const char *dsn, const struct guard_policy *policy, guard_told *told, void *arg, struct error *err)
{
	struct examination e = {.policy = policy, .told = told, .arg = arg, .err = err};
	PGconn *conn;
	enum status st = examine(&e, dsn, &conn);
	PQfinish(conn);
	return st;
}

enum status guard_check_target(const char *dsn, const struct guard_policy *policy, struct error *err)
{
	return guard_examine_target(dsn, policy, NULL, NULL, err);
}

static enum status refuse_standby(const char *why, struct error *err)
{
	error_set(err, ST_REFUSED, "the standby does not follow the target: %s", why);
	error_hint(err, "name a standby of the clone itself, with --standby");
	return ST_REFUSED;
}

/* A copy of a server has its system identifier, and so have that server's own standbys; but none is ahead of whom it follows. So the standby is
 * asked first. A role that may not know positions is not told. */
static enum status check_follows(PGconn *standby, PGconn *primary, const struct mark_place *there, struct error *err)
{
	static const char RECEIVED[] = "SELECT pg_catalog.pg_wal_lsn_diff(GREATEST(pg_catalog.pg_last_wal_receive_lsn(),"
				       " pg_catalog.pg_last_wal_replay_lsn()), '0/0') WHERE pg_catalog.pg_is_in_recovery()";
	static const char WRITTEN[] = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')"
				      " WHERE NOT pg_catalog.pg_is_in_recovery()";
	struct mark here;
	PGresult *received = PQexec(standby, RECEIVED), *written = PQexec(primary, WRITTEN);
	bool known = PQntuples(received) == 1 && PQntuples(written) == 1;
	bool ahead = known && strtoll(PQgetvalue(received, 0, 0), NULL, 10) > strtoll(PQgetvalue(written, 0, 0), NULL, 10);
	PQclear(received);
	PQclear(written);
	enum status st = mark_read(primary, &here, err);
	if (st == ST_OK && there->system[0] != '\0' && here.here.system[0] != '\0' && strcmp(there->system, here.here.system) != 0)
		return refuse_standby("its system identifier is another", err);
	return st == ST_OK && ahead ? refuse_standby("it has WAL that the target has not written yet", err) : st;
}

/* Connects to where the rule of hosts lets us, asked before and after. *out is NULL, or is to be closed whatever is returned. */
static enum status open_allowed(const char *dsn, const struct guard_policy *policy, PGconn **out, struct error *err)
{
	static const struct guard_policy STRICT = {.hosts = NULL};
	enum guard_rule rule;
	policy = policy != NULL ? policy : &STRICT;
	enum status st = guard_host_check_named(dsn, policy, &rule, err);
	if (st == ST_OK)
		st = open_connection(dsn, out, err);
	return st == ST_OK ? guard_host_check_reached(*out, policy, err) : st;
}

enum status guard_check_standby(const char *dsn, const char *primary, const struct guard_policy *policy, struct error *err)
{
	struct mark there;
	PGconn *conn = NULL, *target = NULL;
	enum status st = open_allowed(dsn, policy, &conn, err);
	if (st == ST_OK)
		st = mark_read(conn, &there, err);
	if (st == ST_OK)
		st = check_denied(conn, &there.here, err);
	if (st == ST_OK)
		st = open_connection(primary, &target, err);
	if (st == ST_OK)
		st = check_follows(conn, target, &there.here, err);
	PQfinish(target);
	PQfinish(conn);
	if (st != ST_OK)
		error_where(err, "--standby");
	return st;
}

enum status guard_mark_target(const char *dsn, const struct guard_policy *policy, guard_ask *ask, void *arg, struct error *err)
{
	struct examination e = {.policy = policy, .marking = true, .err = err};
	PGconn *conn;
	char place[400];
	enum status st = examine(&e, dsn, &conn);
	if (st != ST_OK)
		return st;
	guard_host_describe(conn, place, sizeof place);
	if (!ask(PQdb(conn), place, arg)) {
		st = error_set(
			err, ST_REFUSED, "the database \"%.200s\" at %.300s was not confirmed, and is not marked", PQdb(conn), place);
		error_hint(err, "type its name, or give it with --yes %.200s", PQdb(conn));
	} else {
		st = mark_write(conn, err);
	}
	PQfinish(conn);
	return st;
}

enum status guard_unmark_target(const char *dsn, const struct guard_policy *policy, struct error *err)
{
	PGconn *conn = NULL;
	enum status st = open_allowed(dsn, policy, &conn, err);
	if (st == ST_OK)
		st = mark_remove(conn, err);
	PQfinish(conn);
	return st;
}

enum status guard_sweep_target(const char *dsn, int *dropped, struct error *err)
{
	/* The tables by name: a schema of this name may hold something else. */
	static const char SWEEP[] =
		"SELECT pg_catalog.count(*) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
		" WHERE n.nspname OPERATOR(pg_catalog.=) 'pgrehearse' AND c.relkind OPERATOR(pg_catalog.=) 'r'"
		" AND c.relname OPERATOR(pg_catalog.=) ANY (ARRAY['heartbeat', 'ledger']::name[])";
	static const char DROP[] =
		"SET LOCAL lock_timeout = '5s'; DROP TABLE IF EXISTS pgrehearse.heartbeat, pgrehearse.ledger;"
		" DO $$ BEGIN DROP SCHEMA IF EXISTS pgrehearse; EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN NULL; END $$";
	PGconn *conn = NULL;
	enum status st = open_connection(dsn, &conn, err);
	int n = 0;
	if (st == ST_OK) {
		PGresult *res = PQexec(conn, SWEEP);
		if (PQresultStatus(res) == PGRES_TUPLES_OK)
			n = (int)strtol(PQgetvalue(res, 0, 0), NULL, 10);
		PQclear(res);
	}
	if (n > 0)
		st = run(conn, DROP, err);
	PQfinish(conn);
	if (dropped != NULL)
		*dropped = st == ST_OK ? n : 0;
	return st;
}
