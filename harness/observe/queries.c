/* All SQL of the observer, and the reading of what comes back. Functions of the statistics system are asked rather than their views: the
 * views join pg_authid and pg_database, which a lock could close to us. All names are qualified; search_path is pg_catalog alone. */
#include "observe/queries.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jit and parallel workers off, one plan for each statement: they are short, and a hundred a second. synchronous_commit = local: a heartbeat must not wait for
 * the very standby that it measures. */
const char QUERY_SETTINGS[] =
	"SET search_path = pg_catalog; SET statement_timeout = '10s'; SET lock_timeout = '1s'; SET jit = off; "
	"SET plan_cache_mode = force_generic_plan; SET max_parallel_workers_per_gather = 0; SET synchronous_commit = local; SET client_min_messages = error; "
	"SET idle_in_transaction_session_timeout = '10s'";

const char QUERY_SERVER[] = "SELECT current_setting('server_version_num'), pg_is_in_recovery(), "
			    "pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'), current_user";

/* Times as whole microseconds since 1970; `extract` is a double before 14, good to the microsecond until 2255. */
#define US(expression) "(extract(epoch FROM " expression ") * 1000000)::int8"

/* 12 and later. The row without a pid carries the clock alone. Asking about each backend costs half of what pg_stat_get_activity(NULL) does, which
 * makes a row of two dozen columns for each: with 100 sessions 0.09 ms instead of 0.14. The state is of interest where nobody waits. */
const struct session_statement QUERY_GLANCE = {
	.name = "glance",
	.index = 0,
	.params = 1,
	.sql = "SELECT NULL::int4, NULL::bool, " US(
		"clock_timestamp()") ", NULL::text, NULL::text "
				     "UNION ALL "
				     "SELECT pid, waiting, " US(
					     "pg_stat_get_backend_activity_start(id)") ", pg_stat_get_backend_wait_event(id), "
										       "CASE WHEN waiting THEN 'active' ELSE (SELECT a.state FROM pg_stat_get_activity(pid) AS a) END "
										       "FROM (SELECT id, pg_stat_get_backend_pid(id) AS pid, "
										       "pg_stat_get_backend_wait_event_type(id) IS NOT DISTINCT FROM 'Lock' AS waiting "
										       "FROM pg_stat_get_backend_idset() AS id OFFSET 0) AS b WHERE waiting OR pid = ANY ($1::int4[])",
};

/* 12 and later. The row of its own session carries the clock. A quarter cheaper than the above: most of what either costs the server is setting
 * up the parts that it consists of. */
const struct session_statement QUERY_GLANCE_AT_ANY = {
	.name = "glance at any",
	.index = 14,
	.params = 0,
	.sql = "SELECT nullif(pg_stat_get_backend_pid(id), pg_backend_pid()), true, " US(
		"CASE WHEN pg_stat_get_backend_pid(id) = pg_backend_pid() THEN clock_timestamp() ELSE pg_stat_get_backend_activity_start(id) END") ", "
																		   "pg_stat_get_backend_wait_event(id), 'active' FROM pg_stat_get_backend_idset() AS id "
																		   "WHERE pg_stat_get_backend_wait_event_type(id) = 'Lock' OR pg_stat_get_backend_pid(id) = pg_backend_pid()",
};

/* A row for each waiter and each of its blockers; a waiter whose lock has just been granted has none. The first session that
 * waits for a transaction holds the tuple lock of the row in question, which tells the table. Modes of a blocker on the very lock
 * come as "+Held -Asked ...". Statements are shown for sessions of this database only: another one may have another encoding. What
 * serializable transactions have read (SIReadLock) is in nobody's way. */
#define TAG \
	"concat_ws('/', locktype, coalesce(database, 0), coalesce(relation, 0), page, '', tuple, '', virtualxid, transactionid, classid, objid, objsubid)"

#define DETAIL(waitstart)                                                                                                                                      \
	"WITH locks AS MATERIALIZED (SELECT * FROM pg_lock_status() WHERE mode <> 'SIReadLock'), "                                                             \
	"here AS MATERIALIZED (SELECT oid FROM pg_database WHERE datname = current_database()), "                                                              \
	"activity AS MATERIALIZED (SELECT pid, application_name, backend_type, state, "                                                                        \
	"CASE WHEN datid = (SELECT oid FROM here) THEN left(query, 999) END AS query, " US(                                                                    \
		"xact_start") " AS xact_start "                                                                                                                \
			      "FROM pg_stat_get_activity(NULL)), "                                                                                             \
			      "waiting AS MATERIALIZED (SELECT *, " TAG                                                                                        \
			      " AS tag FROM locks WHERE NOT granted AND pid = ANY ($1::int4[])), "                                                             \
			      "blocking AS MATERIALIZED (SELECT DISTINCT w.pid AS waiter, b.pid FROM waiting w, unnest(pg_blocking_pids(w.pid)) AS b (pid)), " \
			      "modes AS MATERIALIZED (SELECT pid, tag, string_agg(CASE WHEN granted THEN '+' ELSE '-' END || mode, ' ') AS modes "             \
			      "FROM (SELECT coalesce(pid, 0) AS pid, granted, mode, " TAG                                                                      \
			      " AS tag FROM locks WHERE coalesce(pid, 0) IN (SELECT pid FROM blocking) "                                                       \
			      "AND locktype IN (SELECT locktype FROM waiting)) AS theirs GROUP BY 1, 2) "                                                      \
			      "SELECT w.pid, " waitstart ", w.locktype, w.mode, w.tag, "                                                                       \
			      "CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END, "                                   \
			      "wa.application_name, wa.backend_type, wa.state, wa.query, wa.xact_start, "                                                      \
			      "b.pid, m.modes, ba.application_name, ba.backend_type, ba.state, ba.query, ba.xact_start "                                       \
			      "FROM waiting w LEFT JOIN activity wa ON wa.pid = w.pid "                                                                        \
			      "LEFT JOIN blocking b ON b.waiter = w.pid "                                                                                      \
			      "LEFT JOIN activity ba ON ba.pid = b.pid "                                                                                       \
			      "LEFT JOIN modes m ON m.pid = b.pid AND m.tag = w.tag "                                                                          \
			      "LEFT JOIN LATERAL (SELECT t.relation, t.database FROM locks t WHERE t.pid = w.pid AND t.granted AND t.locktype = 'tuple' "      \
			      "LIMIT 1) AS t ON w.locktype = 'transactionid' "                                                                                 \
			      "LEFT JOIN pg_class c ON c.oid = coalesce(w.relation, t.relation) "                                                              \
			      "AND coalesce(w.database, t.database) IN (0, (SELECT oid FROM here)) "                                                           \
			      "LEFT JOIN pg_namespace n ON n.oid = c.relnamespace ORDER BY w.pid, w.tag, b.pid"

const struct session_statement QUERY_DETAIL = {.name = "detail", .index = 1, .params = 1, .sql = DETAIL(US("w.waitstart"))};
const struct session_statement QUERY_DETAIL_OLD = {.name = "detail of 12 and 13", .index = 2, .params = 1, .sql = DETAIL("NULL::int8")};

enum {
	D_PID,
	D_WAITSTART,
	D_LOCKTYPE,
	D_MODE,
	D_TAG,
	D_RELATION,
	D_SESSION, /* five columns, as in read_session */
	D_BLOCKER = D_SESSION + 5,
	D_MODES,
	D_BLOCKER_SESSION,
	D_COLUMNS = D_BLOCKER_SESSION + 5,
};

/* 12 and later; a standby that feeds others counts from what it has replayed. Copies and archivers are no standbys. The view
 * pg_stat_replication would describe each session of the server for the name of one. Standbys that share a name are told apart by address, and
 * by number in the order in which they connected; 63 bytes are what a name has elsewhere too. */
const struct session_statement QUERY_REPLICATION = {
	.name = "replication",
	.index = 3,
	.params = 0,
	.sql = "WITH here AS MATERIALIZED (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn), "
	       "senders AS (SELECT w.sent_lsn, w.write_lsn, w.flush_lsn, w.replay_lsn, w.replay_lag, a.application_name AS name, "
	       "count(*) OVER (PARTITION BY a.application_name) > 1 AS shared, '@' || coalesce(host(a.client_addr), 'local') || "
	       "CASE WHEN count(*) OVER (PARTITION BY a.application_name, a.client_addr) > 1 THEN '#' || row_number() OVER "
	       "(PARTITION BY a.application_name, a.client_addr ORDER BY a.backend_start, a.pid) ELSE '' END AS mark "
	       "FROM pg_stat_get_wal_senders() AS w, pg_stat_get_activity(w.pid) AS a "
	       "WHERE w.state <> 'backup' AND a.application_name NOT IN ('pg_basebackup', 'pg_receivewal')) "
	       "SELECT NULL::text, pg_wal_lsn_diff(lsn, '0/0')::int8, NULL::int8, NULL::int8, NULL::int8, NULL::int8, false FROM here "
	       "UNION ALL "
	       "SELECT CASE WHEN shared THEN left(name, 63 - length(mark)) || mark ELSE name END, pg_wal_lsn_diff(lsn, sent_lsn)::int8, "
	       "pg_wal_lsn_diff(lsn, write_lsn)::int8, pg_wal_lsn_diff(lsn, flush_lsn)::int8, pg_wal_lsn_diff(lsn, replay_lsn)::int8, " US(
		       "replay_lag") ", shared FROM here, senders",
};

/* wal_status is there from 13 on. */
const struct session_statement QUERY_SLOTS = {
	.name = "replication slots",
	.index = 10,
	.params = 0,
	.sql = "WITH here AS MATERIALIZED (SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END AS lsn) "
	       "SELECT s.slot_name, s.active, to_jsonb(s) ->> 'wal_status', pg_wal_lsn_diff(lsn, s.restart_lsn)::int8, "
	       "pg_wal_lsn_diff(lsn, s.confirmed_flush_lsn)::int8 FROM pg_get_replication_slots() s, here ORDER BY s.slot_name",
};

const struct session_statement QUERY_CONFLICTS = {
	.name = "conflicts",
	.index = 12,
	.params = 0,
	.sql = "SELECT sum(confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock)::int8 "
	       "FROM pg_stat_database_conflicts WHERE datname = current_database()",
};

/* Not IF NOT EXISTS: that asks for the privilege even when there is nothing to do. */
const char QUERY_HEARTBEAT_CREATE[] =
	"DO $$ BEGIN "
	"IF pg_catalog.to_regclass('pgrehearse.heartbeat') IS NULL THEN "
	"IF pg_catalog.to_regnamespace('pgrehearse') IS NULL THEN CREATE SCHEMA pgrehearse; END IF; "
	"CREATE TABLE pgrehearse.heartbeat (only_row bool PRIMARY KEY CHECK (only_row), seq int8 NOT NULL) WITH (fillfactor = 10); "
	"COMMENT ON TABLE pgrehearse.heartbeat IS 'written by pgrehearse to measure replication lag; may be dropped'; "
	"END IF; END $$; "
	"INSERT INTO pgrehearse.heartbeat VALUES (true, 0) ON CONFLICT DO NOTHING";

/* The schema goes when it was there for the heartbeat alone. */
const char QUERY_HEARTBEAT_DROP[] =
	"DROP TABLE IF EXISTS pgrehearse.heartbeat; "
	"DO $$ BEGIN DROP SCHEMA IF EXISTS pgrehearse; EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN NULL; END $$";

const struct session_statement QUERY_BEAT = {.name = "beat",
	.index = 4,
	.params = 1,
	.sql = "UPDATE pgrehearse.heartbeat SET seq = $1::int8 WHERE only_row"};

const struct session_statement QUERY_HEARTBEAT_READ = {.name = "heartbeat",
	.index = 13,
	.params = 0,
	.sql = "SELECT seq FROM pgrehearse.heartbeat"};

const char QUERY_QUIET[] =
	"SELECT set_config(name, value, false) FROM pg_roles, (VALUES ('log_min_messages', 'fatal'), ('log_statement', 'none'), "
	"('log_min_duration_statement', '-1'), ('pg_stat_statements.track', 'none')) AS quiet (name, value) "
	"WHERE rolname = current_user AND rolsuper";

#define RELATION "CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END"

/* Those that hold it before those that ask for it, and among those the first in the queue. */
const struct session_statement QUERY_HOLDERS = {
	.name = "holders",
	.index = 5,
	.params = 1,
	.sql = "SELECT " RELATION ", coalesce(l.pid, 0), l.mode, NOT l.granted, a.application_name, a.backend_type, a.state, left(a.query, 999), " US(
		"a.xact_start") " FROM pg_lock_status() l JOIN pg_class c ON c.oid = l.relation JOIN pg_namespace n ON n.oid = c.relnamespace "
				"LEFT JOIN pg_stat_get_activity(NULL) a ON a.pid = l.pid "
				"WHERE l.locktype = 'relation' AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
				"AND l.mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock') "
				"AND l.relation IN (SELECT to_regclass(name)::oid FROM unnest($1::text[]) AS name) ORDER BY NOT l.granted, a.query_start",
};

const struct session_statement QUERY_TABLES = {
	.name = "tables",
	.index = 6,
	.params = 1,
	.sql = "WITH seen AS MATERIALIZED (SELECT relid, coalesce(seq_scan, 0) + coalesce(idx_scan, 0) + n_tup_ins + n_tup_upd + n_tup_del AS activity "
	       "FROM pg_stat_user_tables WHERE schemaname <> 'pgrehearse'), "
	       "summed AS (SELECT oid, sum(activity)::int8 AS activity FROM (SELECT relid AS oid, activity FROM seen UNION ALL "
	       "SELECT pg_partition_root(relid), activity FROM seen WHERE pg_partition_root(relid) <> relid) AS both_ways GROUP BY oid) "
	       "SELECT c.oid::int8, activity, " RELATION " = ANY ($1::text[]), " RELATION
	       ", quote_ident(n.nspname) || '.' || quote_ident(c.relname) "
	       "FROM summed JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace "
	       "WHERE c.relpersistence <> 't' AND c.relkind IN ('r', 'p') ORDER BY activity DESC LIMIT 5000",
};

/* ---- reading ---- */

static int64_t read_int(const PGresult *r, int row, int column, int64_t unknown)
{
	return PQgetisnull(r, row, column) ? unknown : strtoll(PQgetvalue(r, row, column), NULL, 10);
}

/* Cut at the end of a character. */
static void copy_text(char *out, size_t size, const char *text)
{
	size_t n = strlen(text);
	if (n >= size) {
		n = size - 1;
		while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
			n--;
	}
	memcpy(out, text, n);
	out[n] = '\0';
}

static void read_text(const PGresult *r, int row, int column, char *out, size_t size)
{
	copy_text(out, size, PQgetvalue(r, row, column)); /* NULL comes as "" */
}

static bool has_shape(const PGresult *r, int columns)
{
	return r != NULL && PQresultStatus(r) == PGRES_TUPLES_OK && PQnfields(r) == columns;
}

static uint64_t hash_text(const char *text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return hash;
}

bool queries_read_server(const PGresult *result, struct server_facts *out)
{
	if (!has_shape(result, 4) || PQntuples(result) != 1)
		return false;
	out->version_num = (int)read_int(result, 0, 0, 0);
	out->in_recovery = PQgetvalue(result, 0, 1)[0] == 't';
	out->sees_all = PQgetvalue(result, 0, 2)[0] == 't';
	read_text(result, 0, 3, out->role, sizeof out->role);
	return true;
}

bool queries_read_glance(const PGresult *result, glance_vec *glances, int64_t *server_us)
{
	if (!has_shape(result, 5))
		return false;
	bool has_clock = false;
	glances->n = 0;
	for (int i = 0; i < PQntuples(result); i++) {
		if (PQgetisnull(result, i, 0)) {
			has_clock = !PQgetisnull(result, i, 2);
			*server_us = read_int(result, i, 2, 0);
			continue;
		}
		struct wait_glance g = {
			.pid = (int)read_int(result, i, 0, 0),
			.waiting = PQgetvalue(result, i, 1)[0] == 't',
			.query_start_us = read_int(result, i, 2, WAIT_NONE),
			.event = hash_text(PQgetvalue(result, i, 3)),
			.row = strcmp(PQgetvalue(result, i, 3), "transactionid") == 0 || strcmp(PQgetvalue(result, i, 3), "tuple") == 0,
		};
		read_text(result, i, 4, g.state, sizeof g.state);
		VEC_PUSH(glances, g);
	}
	return has_clock;
}

/* application_name, backend_type, state, query, xact_start from column on. */
static void read_session(const PGresult *r, int row, int column, const struct clockmap *map, struct wait_session *out)
{
	read_text(r, row, column, out->application_name, sizeof out->application_name);
	read_text(r, row, column + 1, out->backend_type, sizeof out->backend_type);
	read_text(r, row, column + 2, out->state, sizeof out->state);
	read_text(r, row, column + 3, out->sql, sizeof out->sql);
	out->xact_start_us = read_int(r, row, column + 4, WAIT_NONE);
	out->xact_start_ns = out->xact_start_us != WAIT_NONE ? clockmap_local_ns(map, out->xact_start_us) : WAIT_NONE;
}

bool queries_modes_conflict(const char *a, const char *b)
{
	static const char *const MODES[] = {"AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock",
		"ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"};
	/* Bit i of a mode: it conflicts with MODES[i]. PostgreSQL's manual, "Table-Level Locks". */
	static const unsigned CONFLICTS[] = {0x80, 0xC0, 0xF0, 0xF8, 0xEC, 0xFC, 0xFE, 0xFF};
	int ia = -1, ib = -1;
	for (int i = 0; i < 8; i++) {
		if (strcmp(MODES[i], a) == 0)
			ia = i;
		if (strcmp(MODES[i], b) == 0)
			ib = i;
	}
	return ia < 0 || ib < 0 || (CONFLICTS[ia] >> ib & 1) != 0;
}

/* Of what a blocker holds and asks for on the lock, what stands in the waiter's way: a held mode that conflicts, else what it waits
 * for itself. A session that upgrades its lock has both. */
static void choose_mode(const char *modes, const char *waits_for, struct wait_blocker *out)
{
	out->mode[0] = '\0';
	out->queued = false;
	bool asked = false;
	for (const char *p = modes; *p != '\0';) {
		size_t n = strcspn(p, " ");
		char mode[32];
		snprintf(mode, sizeof mode, "%.*s", n > 0 ? (int)n - 1 : 0, p + (n > 0));
		if (*p == '+' && queries_modes_conflict(mode, waits_for)) {
			memcpy(out->mode, mode, sizeof mode);
			out->queued = false;
			return;
		}
		if (*p == '-' && !asked) {
			memcpy(out->mode, mode, sizeof mode);
			out->queued = asked = true;
		}
		p += n;
		p += strspn(p, " ");
	}
}

static void read_blocker(const PGresult *r, int row, const struct clockmap *map, const char *waits_for, struct wait_blocker *out)
{
	memset(out, 0, sizeof *out);
	out->session.pid = (int)read_int(r, row, D_BLOCKER, 0);
	read_session(r, row, D_BLOCKER_SESSION, map, &out->session);
	if (out->session.pid == 0)
		snprintf(out->session.state, sizeof out->session.state, "prepared");
	choose_mode(PQgetvalue(r, row, D_MODES), waits_for, out);
}

bool queries_read_detail(const PGresult *result, const struct clockmap *map, seen_vec *rows, blocker_vec *blockers)
{
	if (!has_shape(result, D_COLUMNS))
		return false;
	rows->n = blockers->n = 0;
	for (int i = 0; i < PQntuples(result); i++) {
		int pid = (int)read_int(result, i, D_PID, 0);
		uint64_t tag = hash_text(PQgetvalue(result, i, D_TAG)) ^ hash_text(PQgetvalue(result, i, D_MODE));
		struct wait_seen *last = rows->n > 0 ? &rows->at[rows->n - 1] : NULL;
		if (last == NULL || last->session.pid != pid) {
			struct wait_seen seen = {
				.start_us = read_int(result, i, D_WAITSTART, WAIT_NONE),
				.start_ns = WAIT_NONE,
				.error_ns = clockmap_error_ns(map),
				.lock.tag = tag,
			};
			if (seen.start_us != WAIT_NONE)
				seen.start_ns = clockmap_local_ns(map, seen.start_us);
			seen.session.pid = pid;
			read_session(result, i, D_SESSION, map, &seen.session);
			read_text(result, i, D_LOCKTYPE, seen.lock.type, sizeof seen.lock.type);
			read_text(result, i, D_MODE, seen.lock.mode, sizeof seen.lock.mode);
			read_text(result, i, D_RELATION, seen.lock.relation, sizeof seen.lock.relation);
			VEC_PUSH(rows, seen);
			last = &rows->at[rows->n - 1];
		}
		if (last->lock.tag != tag || PQgetisnull(result, i, D_BLOCKER) || last->blockers_n == WAIT_BLOCKERS_MAX)
			continue;
		struct wait_blocker b;
		read_blocker(result, i, map, last->lock.mode, &b);
		VEC_PUSH(blockers, b);
		last->blockers_n++;
	}
	/* Only now, since the array may have moved while it grew. */
	int first = 0;
	for (size_t i = 0; i < rows->n; i++) {
		rows->at[i].blockers = blockers->n > 0 ? blockers->at + first : NULL;
		first += rows->at[i].blockers_n;
	}
	return true;
}

bool queries_read_holder(const PGresult *result, int row, const struct clockmap *map, struct lock_holder *out)
{
	if (!has_shape(result, 9) || row >= PQntuples(result))
		return false;
	*out = (struct lock_holder){.queued = PQgetvalue(result, row, 3)[0] == 't'};
	read_text(result, row, 0, out->relation, sizeof out->relation);
	out->session.pid = (int)read_int(result, row, 1, 0);
	read_text(result, row, 2, out->mode, sizeof out->mode);
	read_session(result, row, 4, map, &out->session);
	return true;
}

bool queries_read_table(const PGresult *result, int row, struct table_facts *out)
{
	if (!has_shape(result, 5) || row >= PQntuples(result))
		return false;
	*out = (struct table_facts){
		.oid = read_int(result, row, 0, 0),
		.activity = read_int(result, row, 1, 0),
		.named = PQgetvalue(result, row, 2)[0] == 't',
	};
	read_text(result, row, 3, out->relation, sizeof out->relation);
	read_text(result, row, 4, out->quoted, sizeof out->quoted);
	return true;
}

void queries_begin_array(char *out, size_t size)
{
	snprintf(out, size, "{}");
}

void queries_add_to_array(const char *text, char *out, size_t size)
{
	size_t n = strlen(out) - 1, need = 5;
	for (const char *c = text; *c != '\0'; c++)
		need += *c == '"' || *c == '\\' ? 2 : 1;
	if (n + need > size)
		return;
	if (n > 1)
		out[n++] = ',';
	out[n++] = '"';
	for (const char *c = text; *c != '\0'; c++) {
		if (*c == '"' || *c == '\\')
			out[n++] = '\\';
		out[n++] = *c;
	}
	memcpy(out + n, "\"}", 3);
}

void queries_format_pids(const int *pids, int n, char *out, size_t size)
{
	size_t used = 1;
	snprintf(out, size, "{");
	for (int i = 0; i < n && used + 13 < size; i++)
		used += (size_t)snprintf(out + used, size - used, "%s%d", i > 0 ? "," : "", pids[i]);
	snprintf(out + used, size - used, "}");
}

/* A standby may have reported a position that the primary's query, a moment older, had not reached. */
static int64_t read_distance(const PGresult *r, int row, int column)
{
	if (PQgetisnull(r, row, column))
		return -1;
	int64_t bytes = read_int(r, row, column, 0);
	return bytes > 0 ? bytes : 0;
}

bool queries_read_replication(const PGresult *result, standby_vec *standbys, int64_t *wal_end_bytes)
{
	if (!has_shape(result, 7) || PQntuples(result) < 1)
		return false;
	*wal_end_bytes = read_int(result, 0, 1, -1);
	standbys->n = 0;
	for (int i = 1; i < PQntuples(result); i++) {
		struct standby_facts s = {
			.sent_bytes = read_distance(result, i, 1),
			.write_bytes = read_distance(result, i, 2),
			.flush_bytes = read_distance(result, i, 3),
			.replay_bytes = read_distance(result, i, 4),
			.shared = PQgetvalue(result, i, 6)[0] == 't',
		};
		read_text(result, i, 0, s.name, sizeof s.name);
		int64_t lag_us = read_int(result, i, 5, -1);
		/* The server keeps an old lag after the standby has caught up, and says NULL when it has not measured one lately. */
		s.replay_lag_ns = s.replay_bytes == 0 ? 0 : lag_us >= 0 ? lag_us * NS_PER_US : -1;
		VEC_PUSH(standbys, s);
	}
	return true;
}

bool queries_read_slots(const PGresult *result, slot_vec *slots)
{
	if (!has_shape(result, 5))
		return false;
	slots->n = 0;
	for (int i = 0; i < PQntuples(result); i++) {
		struct observer_slot s = {
			.active = PQgetvalue(result, i, 1)[0] == 't',
			.restart_bytes = read_distance(result, i, 3),
			.confirmed_bytes = read_distance(result, i, 4),
		};
		read_text(result, i, 0, s.slot, sizeof s.slot);
		read_text(result, i, 2, s.wal_status, sizeof s.wal_status);
		VEC_PUSH(slots, s);
	}
	return true;
}
