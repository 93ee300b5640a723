/* SQL about the state of the server. Names are qualified by search_path = pg_catalog, as in queries.c, which says why functions are asked rather
 * than views; the progress views and pg_stat_user_tables are asked all the same, since their columns differ from one version to the next. */
#include "observe/state_queries.h"

#include "base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JSON_BYTES_MAX 262144
#define AGE_NS(since) "(extract(epoch FROM clock_timestamp() - " since ") * 1000000)::int8 * 1000"
#define RELATION "CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END"
#define NOT_OURS "application_name NOT LIKE ALL ('{pgrehearse observer%,pgrehearse inspector%,pgrehearse comparison%}')"

/* Locks: those in the table that all sessions share, those that sessions keep to themselves (fast path: weak locks on few relations), and how
 * many the table is laid out for; those of serializable reads (SIReadLock) are in a table of their own. A transaction keeps rows from being
 * vacuumed away by its own id too, not only by its snapshot's xmin. */
const struct session_statement QUERY_STATE = {
	.name = "state",
	.index = 7,
	.params = 0,
	.sql = "WITH activity AS MATERIALIZED (SELECT pid, application_name, backend_type, state, xact_start, state_change, backend_xid, backend_xmin, "
	       "CASE WHEN datid = (SELECT oid FROM pg_database WHERE datname = current_database()) THEN left(query, 200) END AS query "
	       "FROM pg_stat_get_activity(NULL) WHERE " NOT_OURS "), "
	       "holders AS (SELECT greatest(age(backend_xid), age(backend_xmin)) AS age, CASE backend_type WHEN 'walsender' THEN 'standby' "
	       "ELSE 'session' END AS kind, application_name AS name, pid, state, xact_start FROM activity "
	       "WHERE coalesce(backend_xid, backend_xmin) IS NOT NULL "
	       "UNION ALL SELECT age(transaction), 'prepared', gid, NULL, NULL, prepared FROM pg_prepared_xact() "
	       "UNION ALL SELECT greatest(age(xmin), age(catalog_xmin)), 'slot', slot_name::text, active_pid, NULL, NULL FROM "
	       "pg_get_replication_slots() WHERE coalesce(xmin, catalog_xmin) IS NOT NULL) "
	       "SELECT json_build_object("
	       "'xmin', (SELECT json_build_object('age', age, 'kind', kind, 'name', name, 'pid', pid, 'state', state, 'xact_age_ns', " AGE_NS(
		       "xact_start") ") FROM holders ORDER BY age DESC, xact_start LIMIT 1), "
				     "'longest_xact', (SELECT json_build_object('pid', pid, 'application_name', application_name, 'state', state, 'sql', query, "
				     "'age_ns', " AGE_NS(
					     "xact_start") ") FROM activity WHERE xact_start IS NOT NULL AND backend_type = 'client backend' "
							   "ORDER BY xact_start LIMIT 1), "
							   "'idle_in_transaction', (SELECT json_build_object('n', count(*), 'longest_ns', coalesce(max(" AGE_NS(
								   "state_change") "), 0), 'application_name', (array_agg(application_name ORDER BY state_change))[1]) "
										   "FROM activity WHERE state LIKE 'idle in transaction%'), "
										   "'sessions', (SELECT count(*) FROM activity WHERE backend_type = 'client backend'), "
										   "'active', (SELECT count(*) FROM activity WHERE backend_type = 'client backend' AND state = 'active'), "
										   "'prepared', (SELECT count(*) FROM pg_prepared_xact()), "
										   "'xid_age', (SELECT max(age(datfrozenxid)) FROM pg_database), "
										   "'locks', (SELECT json_build_object('n', count(*) FILTER (WHERE NOT fastpath), 'fastpath', count(*) FILTER (WHERE fastpath), 'room', "
										   "current_setting('max_locks_per_transaction')::int8 * (current_setting('max_connections')::int8 + "
										   "current_setting('max_prepared_transactions')::int8)) FROM pg_lock_status() WHERE mode <> 'SIReadLock'), "
										   "'autovacuum', (SELECT coalesce(json_agg(json_build_object('pid', pid, 'table', "
										   "regexp_replace(substring(query, '[^ ]+[.][^ ]+'), '^public[.]', ''), 'wraparound', query LIKE '%wraparound%', "
										   "'age_ns', " AGE_NS(
											   "xact_start") ")), '[]') FROM activity WHERE backend_type = 'autovacuum worker' AND query IS NOT NULL))::text",
};

#define COUNTERS(timed, requested)                                                                                                           \
	"SELECT json_build_object('checkpoints_timed', " timed ", 'checkpoints_requested', " requested ", 'blocks_hit', "                    \
	"pg_stat_get_db_blocks_hit(oid), 'blocks_fetched', pg_stat_get_db_blocks_fetched(oid), 'temp_bytes', "                               \
	"pg_stat_get_db_temp_bytes(oid), 'deadlocks', pg_stat_get_db_deadlocks(oid), 'xact_commit', pg_stat_get_db_xact_commit(oid))::text " \
	"FROM pg_database WHERE datname = current_database()"

const char *state_query_counters(int version_num)
{
	return version_num >= 170000 ? COUNTERS("pg_stat_get_checkpointer_num_timed()", "pg_stat_get_checkpointer_num_requested()")
				     : COUNTERS("pg_stat_get_bgwriter_timed_checkpoints()", "pg_stat_get_bgwriter_requested_checkpoints()");
}

const struct session_statement QUERY_PROFILE = {
	.name = "profile",
	.index = 8,
	.params = 0,
	.sql = "SELECT coalesce(wait_event_type || '/' || wait_event, 'running'), count(*) FROM pg_stat_get_activity(NULL) "
	       "WHERE state = 'active' AND backend_type IN ('client backend', 'parallel worker') AND " NOT_OURS " GROUP BY 1",
};

const struct session_statement QUERY_SIZES = {
	.name = "sizes",
	.index = 9,
	.params = 1,
	.sql = "SELECT coalesce(json_agg(json_build_object('table', " RELATION ", 'bytes', pg_total_relation_size(c.oid), 'live', "
	       "pg_stat_get_live_tuples(c.oid), 'dead', pg_stat_get_dead_tuples(c.oid))), '[]')::text "
	       "FROM unnest($1::text[]) AS name JOIN pg_class c ON c.oid = to_regclass(name) JOIN pg_namespace n ON n.oid = c.relnamespace",
};

#define P_INDEX                                                                                                                            \
	"SELECT pid, command, relid, phase, CASE WHEN phase LIKE 'waiting%' THEN lockers_done WHEN blocks_total > 0 AND blocks_done < "    \
	"blocks_total THEN blocks_done WHEN tuples_total > 0 THEN tuples_done ELSE blocks_done END AS done, CASE WHEN phase LIKE "         \
	"'waiting%' THEN lockers_total WHEN blocks_total > 0 AND blocks_done < blocks_total THEN blocks_total WHEN tuples_total > 0 THEN " \
	"tuples_total ELSE blocks_total END AS total, CASE WHEN phase LIKE 'waiting%' THEN 'transactions' WHEN blocks_total > 0 AND "      \
	"blocks_done < blocks_total THEN 'blocks' WHEN tuples_total > 0 THEN 'rows' ELSE 'blocks' END AS unit, "                           \
	"nullif(current_locker_pid, 0)::int4 AS locker, datname FROM pg_stat_progress_create_index"
#define P_VACUUM                                                                                                          \
	" UNION ALL SELECT pid, 'VACUUM', relid, phase, CASE WHEN phase = 'vacuuming heap' THEN heap_blks_vacuumed ELSE " \
	"heap_blks_scanned END, heap_blks_total, 'blocks', NULL, datname FROM pg_stat_progress_vacuum"
#define P_CLUSTER \
	" UNION ALL SELECT pid, command, relid, phase, heap_blks_scanned, heap_blks_total, 'blocks', NULL, datname FROM pg_stat_progress_cluster"
#define P_13                                                                                                                       \
	" UNION ALL SELECT pid, 'ANALYZE', relid, phase, sample_blks_scanned, sample_blks_total, 'blocks', NULL, datname "         \
	"FROM pg_stat_progress_analyze UNION ALL SELECT pid, 'BASE_BACKUP', NULL, phase, backup_streamed, backup_total, 'bytes', " \
	"NULL, current_database() FROM pg_stat_progress_basebackup"
#define P_14                                                                                                                      \
	" UNION ALL SELECT pid, command, relid, type, CASE WHEN bytes_total > 0 THEN bytes_processed ELSE tuples_processed END, " \
	"nullif(bytes_total, 0), CASE WHEN bytes_total > 0 THEN 'bytes' ELSE 'rows' END, NULL, datname FROM pg_stat_progress_copy"
#define PROGRESS(views)                                                                                                      \
	"SELECT p.pid, p.command, " RELATION ", p.phase, p.done, nullif(p.total, 0), p.unit, a.application_name, p.locker, " \
	"l.application_name, " AGE_NS("l.xact_start") " FROM (" views ") AS p LEFT JOIN pg_class c ON c.oid = p.relid "      \
						      "LEFT JOIN pg_namespace n ON n.oid = c.relnamespace "                  \
						      "LEFT JOIN pg_stat_get_activity(NULL) a ON a.pid = p.pid "             \
						      "LEFT JOIN pg_stat_get_activity(NULL) l ON l.pid = p.locker "          \
						      "WHERE p.datname = current_database() ORDER BY p.pid LIMIT 32"

/* Prepared: planning it anew takes 8 ms, every second. */
const struct session_statement *state_query_progress(int version_num)
{
	static const struct session_statement SINCE_12 = {.name = "progress", .index = 11, .sql = PROGRESS(P_INDEX P_VACUUM P_CLUSTER)},
					      SINCE_13 = {.name = "progress",
						      .index = 11,
						      .sql = PROGRESS(P_INDEX P_VACUUM P_CLUSTER P_13)},
					      SINCE_14 = {.name = "progress",
						      .index = 11,
						      .sql = PROGRESS(P_INDEX P_VACUUM P_CLUSTER P_13 P_14)};
	return version_num >= 140000 ? &SINCE_14 : version_num >= 130000 ? &SINCE_13 : &SINCE_12;
}

static void copy_field(const PGresult *r, int row, int column, char *out, size_t size)
{
	snprintf(out, size, "%s", PQgetvalue(r, row, column));
}

static int64_t read_field(const PGresult *r, int row, int column, int64_t unknown)
{
	return PQgetisnull(r, row, column) ? unknown : strtoll(PQgetvalue(r, row, column), NULL, 10);
}

bool state_read_progress(const PGresult *r, int row, struct progress_facts *out)
{
	if (r == NULL || PQresultStatus(r) != PGRES_TUPLES_OK || PQnfields(r) != 11 || row >= PQntuples(r))
		return false;
	out->pid = (int)read_field(r, row, 0, 0);
	copy_field(r, row, 1, out->command, sizeof out->command);
	copy_field(r, row, 2, out->relation, sizeof out->relation);
	copy_field(r, row, 3, out->phase, sizeof out->phase);
	out->done = read_field(r, row, 4, -1);
	out->total = read_field(r, row, 5, -1);
	copy_field(r, row, 6, out->unit, sizeof out->unit);
	copy_field(r, row, 7, out->application_name, sizeof out->application_name);
	out->locker = (int)read_field(r, row, 8, 0);
	copy_field(r, row, 9, out->locker_application_name, sizeof out->locker_application_name);
	out->locker_xact_age_ns = read_field(r, row, 10, -1);
	return true;
}

json_t *state_read_json(const PGresult *r)
{
	if (r == NULL || PQresultStatus(r) != PGRES_TUPLES_OK || PQnfields(r) != 1 || PQntuples(r) != 1 || PQgetisnull(r, 0, 0))
		return NULL;
	size_t n = (size_t)PQgetlength(r, 0, 0);
	return n <= JSON_BYTES_MAX ? json_loadb(PQgetvalue(r, 0, 0), n, 0, NULL) : NULL;
}
