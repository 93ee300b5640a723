/* A PostgreSQL server of a unit test's own: a sandbox in a folder that goes with it. Include it behind unit.h. */
#ifndef PGR_TESTS_SERVER_H
#define PGR_TESTS_SERVER_H

#include "base/fs.h"
#include "clone/sandbox.h"

#include <libpq-fe.h>
#include <sys/stat.h>
#include <unistd.h>

static char server_home[64];   /* a folder for the test's files too */
static struct sandbox *server; /* NULL until server_start */

static inline void assert_ok(enum status st, const struct error *err)
{
	if (st != ST_OK)
		print_error("%s (%s)\n", err->what, err->hint);
	assert_int_equal(st, ST_OK);
}

/* Makes the folder, and TMPDIR lead to it. 0, or -1 for cmocka. */
static inline int server_make_home(void)
{
	snprintf(server_home, sizeof server_home, "/tmp/pgr-unit-XXXXXX");
	return mkdtemp(server_home) == NULL || chmod(server_home, 0755) != 0 ? -1 : setenv("TMPDIR", server_home, 1);
}

static inline int server_start_as(const struct sandbox_config *config)
{
	struct error err;
	if (server_make_home() != 0)
		return -1;
	if (sandbox_up(config, &server, &err) == ST_OK)
		return 0;
	print_error("%s: %s (%s)\n", err.where, err.what, err.hint);
	return -1;
}

static inline int server_start(int standbys)
{
	return server_start_as(&(struct sandbox_config){.name = "unit", .standbys = standbys});
}

static inline int server_remove_home(void)
{
	return fs_remove_tree(server_home, NULL) == ST_OK ? 0 : -1;
}

static inline int server_stop(void)
{
	struct error err;
	int failed = sandbox_down(server, &err) != ST_OK;
	sandbox_free(server);
	return server_remove_home() == 0 && !failed ? 0 : -1;
}

static inline PGconn *server_connect_as(const char *dsn, const char *application_name)
{
	const char *keys[] = {"dbname", "application_name", NULL};
	const char *values[] = {dsn, application_name, NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(conn) != CONNECTION_OK)
		print_error("%s", PQerrorMessage(conn));
	assert_int_equal(PQstatus(conn), CONNECTION_OK);
	return conn;
}

static inline void server_execute(PGconn *conn, const char *sql)
{
	PGresult *r = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(r);
	if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
		print_error("%s: %s", sql, PQerrorMessage(conn));
	assert_true(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK);
	PQclear(r);
}

/* The first value of the first row; without rows the command's tag or the error. Lasts until the next call. */
static inline const char *server_ask_on(PGconn *conn, const char *sql)
{
	static char value[512];
	PGresult *res = PQexec(conn, sql);
	if (PQresultStatus(res) == PGRES_TUPLES_OK && PQntuples(res) > 0)
		snprintf(value, sizeof value, "%s", PQgetvalue(res, 0, 0));
	else
		snprintf(value, sizeof value, "%s%s", PQerrorMessage(conn), PQcmdStatus(res));
	PQclear(res);
	return value;
}

static inline const char *server_ask_at(const char *dsn, const char *sql)
{
	PGconn *conn = PQconnectdb(dsn);
	const char *value = server_ask_on(conn, sql);
	PQfinish(conn);
	return value;
}

static inline const char *server_ask(const char *sql)
{
	return server_ask_at(sandbox_dsn(server), sql);
}

#endif
