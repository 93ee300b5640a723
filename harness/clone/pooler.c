/* A connection pooler before a target. What it is cannot be asked of it as an ordinary client; how it behaves can be seen. */
#define _GNU_SOURCE
#include "clone/pooler.h"

#include "base/clock.h"
#include "clone/guard_host.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_LIMIT_NS (5 * NS_PER_S)

/* Two servers that began within the same microsecond are none that one of us has to do with. */
static const char QUERY_PLACE[] =
	"SELECT pg_catalog.pg_postmaster_start_time()::text || ' ' || d.oid::text || ' ' || pg_catalog.pg_is_in_recovery()::text"
	" FROM pg_catalog.pg_database d WHERE d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";
static const char QUERY_PROCESS[] = "SELECT pg_catalog.pg_backend_pid()";

/* The first value of an answer that has to come soon: a pool without a free session lets its clients wait. */
static enum status ask(PGconn *conn, const char *sql, char *out, size_t size, struct error *err)
{
	int64_t until_ns = clock_now_ns() + ANSWER_LIMIT_NS;
	bool sent = PQsendQuery(conn, sql) == 1;
	while (sent && PQconsumeInput(conn) == 1 && PQisBusy(conn) && clock_now_ns() < until_ns)
		poll(&(struct pollfd){.fd = PQsocket(conn), .events = POLLIN}, 1, 100);
	if (sent && PQstatus(conn) == CONNECTION_OK && PQisBusy(conn)) {
		error_set(err, ST_FAILED, "the pooler does not serve two clients at once");
		error_hint(err, "give it a larger pool: pool_size = 20 or more");
		return ST_FAILED;
	}
	enum status st = sent ? ST_OK : error_set(err, ST_FAILED, "the pooler: %s", PQerrorMessage(conn));
	out[0] = '\0';
	for (PGresult *r; sent && (r = PQgetResult(conn)) != NULL; PQclear(r)) {
		ExecStatusType status = PQresultStatus(r);
		if (status == PGRES_TUPLES_OK && PQntuples(r) > 0)
			snprintf(out, size, "%s", PQgetvalue(r, 0, 0));
		else if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK && st == ST_OK)
			st = error_set(
				err, ST_FAILED, "the pooler: %.*s", (int)strcspn(PQresultErrorMessage(r), "\n"), PQresultErrorMessage(r));
	}
	return st;
}

static enum status open_connection(const char *dsn, const char *what, PGconn **out, struct error *err)
{
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, "10", "pgrehearse pooler", "UTF8", NULL};
	*out = PQconnectdbParams(keys, values, 1);
	if (PQstatus(*out) == CONNECTION_OK)
		return ST_OK;
	const char *why = PQerrorMessage(*out);
	return error_set(err, ST_FAILED, "cannot connect to the %s: %.*s", what, (int)strcspn(why, "\n"), why);
}

static enum status check_place(PGconn *target, PGconn *pooler, struct error *err)
{
	char there[128], here[128], process[32];
	enum status st = ask(target, QUERY_PLACE, there, sizeof there, err);
	if (st == ST_OK)
		st = ask(pooler, QUERY_PLACE, here, sizeof here, err);
	if (st == ST_OK && strcmp(there, here) != 0) {
		error_set(err, ST_REFUSED,
			"the pooler leads to another database than the target: what its clients wrote would be written there");
		error_hint(err, "name the pooler's entry for the database of --target");
		return ST_REFUSED;
	}
	if (st == ST_OK)
		st = ask(pooler, QUERY_PROCESS, process, sizeof process, err);
	if (st == ST_OK && strtol(process, NULL, 10) == PQbackendPID(pooler)) {
		error_set(err, ST_USAGE, "--pooler names the server itself");
		error_hint(err, "leave it out, or name the host and port of the pooler");
		return ST_USAGE;
	}
	return st;
}

/* Where transactions are pooled, the next one takes a session that is free: the other client's, when that has just ended its own, or, where they
 * take turns, another one than before. */
static enum status find_mode(PGconn *first, PGconn *second, bool *transactions, struct error *err)
{
	char before[32], other[32], after[32], ignored[32];
	enum status st = ask(first, "BEGIN", ignored, sizeof ignored, err);
	if (st != ST_OK) {
		error_set(err, ST_USAGE,
			"the pooler knows no transaction blocks (statement mode), which a workload's transactions are made of");
		error_hint(err, "pool_mode = transaction, or session");
		return ST_USAGE;
	}
	st = ask(first, QUERY_PROCESS, before, sizeof before, err);
	if (st == ST_OK)
		st = ask(first, "COMMIT", ignored, sizeof ignored, err);
	if (st == ST_OK)
		st = ask(second, "BEGIN", ignored, sizeof ignored, err);
	if (st == ST_OK)
		st = ask(second, QUERY_PROCESS, other, sizeof other, err);
	if (st == ST_OK)
		*transactions = strcmp(before, other) == 0;
	/* Whoever has it for good keeps it, whatever the other one does. */
	if (st == ST_OK && !*transactions)
		st = ask(first, QUERY_PROCESS, after, sizeof after, err);
	if (st == ST_OK && !*transactions)
		*transactions = strcmp(before, after) != 0;
	return st == ST_OK ? ask(second, "COMMIT", ignored, sizeof ignored, err) : st;
}

enum status pooler_examine(const char *dsn, const char *target, const struct guard_policy *policy, struct pooler *out, struct error *err)
{
	static const struct guard_policy STRICT = {.hosts = NULL};
	enum guard_rule rule;
	PGconn *direct = NULL, *first = NULL, *second = NULL;
	policy = policy != NULL ? policy : &STRICT;
	enum status st = guard_host_check_named(dsn, policy, &rule, err);
	if (st == ST_OK)
		st = open_connection(dsn, "pooler", &first, err);
	if (st == ST_OK)
		st = guard_host_check_reached(first, policy, err);
	if (st == ST_OK)
		st = open_connection(target, "target", &direct, err);
	if (st == ST_OK)
		st = check_place(direct, first, err);
	if (st == ST_OK)
		st = open_connection(dsn, "pooler", &second, err);
	if (st == ST_OK)
		st = find_mode(first, second, &out->transactions, err);
	PQfinish(second);
	PQfinish(first);
	PQfinish(direct);
	if (st != ST_OK && err != NULL)
		error_where(err, "--pooler");
	return st;
}
