/* Doctor: what a target's server tells of privileges, room, settings and its clock. Everything is asked in one read-only transaction. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "scenario/doctor_private.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SESSIONS_OF_OURS 16 /* the observer, migration sessions, checks */
#define CLOCK_OFF_NS (500 * NS_PER_MS)

/* One row each: what, state, what was found, remedy. State o, n, m: ok, note, missing. $1: sessions that are needed, $2: for a trace. All of it runs on servers
 * from 12 on, and as any role. */
static const char QUERY_PRIVILEGES[] =
	"SELECT 'statistics of others', CASE WHEN pg_has_role(current_user, 'pg_monitor', 'USAGE') THEN 'o' ELSE 'm' END,"
	" CASE WHEN pg_has_role(current_user, 'pg_monitor', 'USAGE') THEN 'sessions, waits and replication can be seen'"
	" ELSE 'the role ' || current_user || ' sees neither the statements of others nor replication' END,"
	" 'GRANT pg_monitor TO ' || quote_ident(current_user)"
	" UNION ALL SELECT 'heartbeat and ledger', CASE WHEN p.may THEN 'o' ELSE 'm' END, CASE WHEN p.may THEN 'a schema can be made for them'"
	" ELSE 'no schema can be made: lag in time is not measured, nor lost commits' END,"
	" format('GRANT CREATE ON DATABASE %I TO %I', current_database(), current_user)"
	" FROM (SELECT has_database_privilege(current_database(), 'CREATE') AS may) p"
	" UNION ALL SELECT 'ownership', CASE WHEN t.theirs = 0 THEN 'o' WHEN t.theirs = t.n THEN 'm' ELSE 'n' END,"
	" CASE WHEN t.n = 0 THEN 'there is no table yet' WHEN t.theirs = 0 THEN format('all %s tables may be altered', t.n)"
	" ELSE format('%s of %s tables belong to others, and cannot be altered', t.theirs, t.n) END,"
	" 'connect as the owner of the tables, or as a member of that role' FROM (SELECT count(*) AS n,"
	" count(*) FILTER (WHERE NOT pg_has_role(current_user, c.relowner, 'USAGE')) AS theirs FROM pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace"
	" WHERE c.relkind IN ('r', 'p') AND s.nspname NOT IN ('pg_catalog', 'information_schema', 'pgrehearse') AND s.nspname NOT LIKE 'pg\\_toast%'"
	" AND s.nspname NOT LIKE 'pg\\_temp%') t";

static const char QUERY_ROOM[] =
	"SELECT 'connections', CASE WHEN r.free >= $1::int THEN 'o' ELSE 'm' END, format('%s are free of max_connections = %s, %s are needed', r.free,"
	" current_setting('max_connections'), $1), 'raise max_connections, or '"
	" || CASE WHEN $2::bool THEN 'replay a part of the trace' ELSE 'lower pods or pool of the load' END FROM (SELECT"
	" LEAST(current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int"
	" - COALESCE(current_setting('reserved_connections', true)::int, 0) - (SELECT count(*) FROM pg_stat_activity WHERE datid IS NOT NULL"
	" AND usesysid IS NOT NULL AND pid <> pg_backend_pid())::int,"
	" (SELECT CASE WHEN datconnlimit < 0 THEN 1000000 ELSE datconnlimit END FROM pg_database WHERE datname = current_database()),"
	" (SELECT CASE WHEN rolconnlimit < 0 THEN 1000000 ELSE rolconnlimit END FROM pg_roles WHERE rolname = current_user)) AS free) r"
	" UNION ALL SELECT 'wal_level', CASE WHEN current_setting('wal_level') = 'minimal' THEN 'n' ELSE 'o' END, current_setting('wal_level'),"
	" 'set wal_level = replica: production writes more WAL than this' "
	" UNION ALL SELECT 'WAL senders and slots', CASE WHEN w.senders < 1 OR w.slots < 1 THEN 'n' ELSE 'o' END,"
	" format('%s senders and %s slots are free', w.senders, w.slots), 'raise max_wal_senders and max_replication_slots: no standby can be added'"
	" FROM (SELECT current_setting('max_wal_senders')::int - (SELECT count(*) FROM pg_stat_get_wal_senders()) AS senders,"
	" current_setting('max_replication_slots')::int - (SELECT count(*) FROM pg_replication_slots) AS slots) w"
	" UNION ALL SELECT 'prepared transactions', CASE WHEN x.n > 0 THEN 'm' WHEN current_setting('max_prepared_transactions')::int = 0 THEN 'n' ELSE 'o' END,"
	" CASE WHEN x.n > 0 THEN format('%s are there, and keep their locks for ever', x.n)"
	" WHEN current_setting('max_prepared_transactions')::int = 0 THEN 'not allowed: the drill blocked-prepared cannot be performed'"
	" ELSE 'none, and allowed' END, CASE WHEN x.n > 0 THEN 'ROLLBACK PREPARED, those in pg_prepared_xacts' ELSE 'set max_prepared_transactions' END"
	" FROM (SELECT count(*) AS n FROM pg_prepared_xacts) x";

/* Settings with which a rehearsal says little about production, and what a copy of production still does to others. */
static const char QUERY_SETTINGS[] =
	"SELECT s.name, 'n', s.name || ' = ' || current_setting(s.name) || ': ' || w.why, w.remedy FROM pg_settings s JOIN (VALUES"
	" ('fsync', 'off', 'commits cost nothing', 'turn it on, unless production has it off'),"
	" ('full_page_writes', 'off', 'less WAL than in production', 'turn it on, unless production has it off'),"
	" ('synchronous_commit', 'off', 'commits do not wait for the disk', 'set it as in production'),"
	" ('autovacuum', 'off', 'nothing vacuums beside the migration', 'turn it on, unless production has it off'),"
	" ('track_activities', 'off', 'statements of others are not seen', 'turn it on'),"
	" ('archive_mode', 'on', 'WAL of the rehearsal is archived, perhaps where production archives its own', 'set archive_mode = off on a clone'),"
	" ('archive_mode', 'always', 'WAL of the rehearsal is archived, perhaps where production archives its own', 'set archive_mode = off on a clone'),"
	" ('default_transaction_read_only', 'on', 'sessions begin read-only', 'ALTER DATABASE or ROLE ... RESET default_transaction_read_only')"
	") w (name, bad, why, remedy) ON w.name = s.name AND w.bad = s.setting"
	" UNION ALL SELECT 'extension ' || extname, 'n', extname || ' is installed: what it does by itself goes on beside the rehearsal',"
	" 'DROP EXTENSION, or see that its jobs do not leave the clone' FROM pg_extension WHERE extname IN ('pg_cron', 'pg_timetable', 'pgagent', 'dblink',"
	" 'postgres_fdw', 'mysql_fdw', 'oracle_fdw', 'http', 'pg_net')"
	" UNION ALL SELECT 'subscriptions', 'n', 'data of another server flows into this one', 'ALTER SUBSCRIPTION ... DISABLE' "
	" FROM (SELECT count(*) AS n FROM pg_stat_subscription WHERE pid IS NOT NULL) u WHERE u.n > 0 ORDER BY 1";

/* What CREATE DATABASE ... TEMPLATE needs besides what the guard asks. */
static const char QUERY_TEMPLATE[] =
	"SELECT 'copying the template', CASE WHEN r.rolsuper OR (r.rolcreatedb AND (d.datistemplate OR pg_has_role(current_user, d.datdba, 'USAGE')))"
	" THEN 'o' ELSE 'm' END, CASE WHEN r.rolsuper OR (r.rolcreatedb AND (d.datistemplate OR pg_has_role(current_user, d.datdba, 'USAGE')))"
	" THEN 'allowed, of ' || pg_size_pretty(pg_database_size(d.datname)) ELSE 'the role ' || current_user || ' may not make a copy of '"
	" || d.datname END, format('ALTER ROLE %I CREATEDB, and own the database', current_user)"
	" FROM pg_roles r, pg_database d WHERE r.rolname = current_user AND d.datname = current_database()";

static enum doctor_state state_of(char letter)
{
	return letter == 'o' ? DOCTOR_OK : letter == 'n' ? DOCTOR_NOTE : DOCTOR_MISSING;
}

/* Returns the number of rows. */
static int tell_rows(struct doctor *d, PGconn *conn, const char *what, const char *sql, int n_params)
{
	char sessions[16];
	snprintf(sessions, sizeof sessions, "%d", SESSIONS_OF_OURS + d->sessions);
	const char *const values[] = {sessions, d->replays ? "t" : "f"};
	PGresult *res = PQexecParams(conn, sql, n_params, NULL, values, NULL, NULL, 0);
	int n = PQresultStatus(res) == PGRES_TUPLES_OK ? PQntuples(res) : -1;
	if (n < 0)
		doctor_tell(d, DOCTOR_MISSING, what, NULL, "cannot be asked: %.400s", PQresultErrorMessage(res));
	for (int i = 0; i < n; i++) {
		enum doctor_state state = state_of(PQgetvalue(res, i, 1)[0]);
		doctor_tell(
			d, state, PQgetvalue(res, i, 0), state == DOCTOR_OK ? NULL : PQgetvalue(res, i, 3), "%s", PQgetvalue(res, i, 2));
	}
	PQclear(res);
	return n;
}

static void check_version(struct doctor *d, PGconn *conn)
{
	int version = PQserverVersion(conn);
	const char *text = PQparameterStatus(conn, "server_version");
	if (version < 120000)
		doctor_tell(d, DOCTOR_MISSING, "server version", "a server of 12 or later", "%s is not supported", text);
	else if (version < 140000)
		doctor_tell(d, DOCTOR_NOTE, "server version", "14 and later tell when a wait began",
			"%s: the start of lock waits is bounded, not exact", text);
	else
		doctor_tell(d, DOCTOR_OK, "server version", NULL, "%s", text);
}

static void check_server_clock(struct doctor *d, PGconn *conn)
{
	int64_t before = clock_wall_ns();
	PGresult *res = PQexec(conn, "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint");
	int64_t after = clock_wall_ns();
	if (PQresultStatus(res) == PGRES_TUPLES_OK) {
		int64_t off = strtoll(PQgetvalue(res, 0, 0), NULL, 10) * 1000 - (before + (after - before) / 2);
		if (off > CLOCK_OFF_NS || off < -CLOCK_OFF_NS)
			doctor_tell(d, DOCTOR_NOTE, "server clock",
				"let both be set by NTP; measured times take the difference into account",
				"it differs from ours by %lld ms", (long long)(off / NS_PER_MS));
		else
			doctor_tell(d, DOCTOR_OK, "server clock", NULL, "as ours within %.1f ms, answers in %.1f ms",
				(double)(off < 0 ? -off : off) / (double)NS_PER_MS, (double)(after - before) / (double)NS_PER_MS);
	}
	PQclear(res);
}

void doctor_ask_server(struct doctor *d, const char *dsn)
{
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, "10", "pgrehearse doctor", "UTF8", NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(conn) == CONNECTION_OK) {
		PQclear(PQexec(conn, "BEGIN READ ONLY"));
		PQclear(PQexec(conn, "SET LOCAL search_path = pg_catalog"));
		check_version(d, conn);
		check_server_clock(d, conn);
		tell_rows(d, conn, "privileges", QUERY_PRIVILEGES, 0);
		tell_rows(d, conn, "room", QUERY_ROOM, 2);
		if (d->config->source->kind == SOURCE_TEMPLATE)
			tell_rows(d, conn, "template", QUERY_TEMPLATE, 0);
		if (tell_rows(d, conn, "settings", QUERY_SETTINGS, 0) == 0)
			doctor_tell(d, DOCTOR_OK, "settings", NULL, "none that makes a rehearsal unlike production");
	} else {
		const char *why = PQerrorMessage(conn);
		doctor_tell(d, DOCTOR_MISSING, "connection", NULL, "%.*s", (int)strcspn(why, "\n"), why);
	}
	PQfinish(conn);
}
