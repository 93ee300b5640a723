/* What a rehearsal runs on. Asked once, before any loop runs, so libpq's blocking calls are fine here. */
#define _GNU_SOURCE
#include "scenario/facts.h"

#include "base/json.h"

#include <libpq-fe.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* Places and names say nothing about how the server works, and would differ from run to run. What may hold a secret is not for a record: commands,
 * and options of an application's own whose names say so. */
static const char SETTINGS[] =
	"SELECT name, CASE WHEN name ~* '(_command$|secret|passw|passphrase|token|credential|_key$)' "
	"AND setting !~ '^(on|off|[0-9]*|md5|scram-sha-256)$' THEN '(set)' ELSE pg_catalog.current_setting(name) END "
	"FROM pg_catalog.pg_settings "
	"WHERE source NOT IN ('default', 'client', 'override', 'session') AND setting IS DISTINCT FROM boot_val "
	"AND name !~ '(_file|_director(y|ies)|^primary_conninfo|^primary_slot_name|^cluster_name|^port)$' "
	"AND name <> 'port' AND NOT name LIKE 'lc\\_%' ORDER BY 1";

static PGconn *connect_to(const char *dsn)
{
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", NULL};
	const char *const values[] = {dsn, "10", "pgrehearse", NULL};
	return PQconnectdbParams(keys, values, 1);
}

enum status facts_server(const char *dsn, bool sandbox, int standbys, json_t **out, struct error *err)
{
	PGconn *conn = connect_to(dsn);
	if (PQstatus(conn) != CONNECTION_OK) {
		error_set(err, ST_FAILED, "the target cannot be reached: %s", PQerrorMessage(conn));
		PQfinish(conn);
		return ST_FAILED;
	}
	json_t *settings = json_object();
	PGresult *r = PQexec(conn, SETTINGS);
	for (int i = 0; PQresultStatus(r) == PGRES_TUPLES_OK && i < PQntuples(r); i++)
		json_object_set_new(settings, PQgetvalue(r, i, 0), json_text(PQgetvalue(r, i, 1)));
	PQclear(r);
	const char *version = PQparameterStatus(conn, "server_version");
	*out = json_pack("{s:s, s:o, s:i, s:i, s:o}", "kind", sandbox ? "sandbox" : "dsn", "version", json_text(version), "version_num",
		PQserverVersion(conn), "standbys", standbys, "settings", settings);
	PQfinish(conn);
	return ST_OK;
}

json_t *facts_host(void)
{
	struct utsname name;
	bool known = uname(&name) == 0;
	return json_pack("{s:I, s:I, s:o}", "cores", (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "memory_bytes",
		(json_int_t)sysconf(_SC_PHYS_PAGES) * (json_int_t)sysconf(_SC_PAGESIZE), "kernel",
		known ? json_text(name.release) : json_null());
}
