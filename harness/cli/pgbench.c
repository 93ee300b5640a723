/* --pgbench and its fellows as one name of a workload. */
#define _GNU_SOURCE
#include "cli/pgbench.h"

#include "base/fs.h"

#include <ctype.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <stdlib.h>
#include <string.h>

static enum status add(const char **list, int *n, const char *item, const char *option, struct error *err)
{
	if (*n == PGBENCH_OPTIONS_MAX)
		return error_set(err, ST_USAGE, "%s is given more than %d times", option, PGBENCH_OPTIONS_MAX);
	list[(*n)++] = item;
	return ST_OK;
}

enum status pgbench_add_script(struct pgbench_options *o, const char *script, struct error *err)
{
	return add(o->scripts, &o->n_scripts, script, "--pgbench", err);
}

enum status pgbench_add_define(struct pgbench_options *o, const char *define, struct error *err)
{
	const char *equals = strchr(define, '=');
	if (equals == NULL || equals == define) {
		error_set(err, ST_USAGE, "--define %s: that is no variable with its value", define);
		error_hint(err, "--define NAME=VALUE");
		return ST_USAGE;
	}
	return add(o->defines, &o->n_defines, define, "--define", err);
}

/* %XX for all but the characters of common paths and the keep characters. */
static void add_encoded(struct buf *b, const char *text, const char *keep)
{
	for (const char *c = text; *c != '\0'; c++) {
		if (isalnum((unsigned char)*c) || strchr("/._-", *c) != NULL || strchr(keep, *c) != NULL)
			buf_char(b, *c);
		else
			buf_printf(b, "%%%02X", (unsigned)(unsigned char)*c);
	}
}

enum status pgbench_workload_name(const struct pgbench_options *o, struct buf *out, struct error *err)
{
	buf_str(out, "pgbench:");
	for (int i = 0; i < o->n_scripts; i++) {
		buf_str(out, i > 0 ? "," : "");
		add_encoded(out, o->scripts[i], "@");
	}
	char separator = '?';
	if (o->protocol != NULL) {
		buf_printf(out, "%cprotocol=", separator);
		add_encoded(out, o->protocol, "");
		separator = '&';
	}
	if (o->max_tries > 0) {
		buf_printf(out, "%cmax_tries=%" PRId64, separator, o->max_tries);
		separator = '&';
	}
	for (int i = 0; i < o->n_defines; i++) {
		buf_printf(out, "%cvar.", separator);
		add_encoded(out, o->defines[i], "=");
		separator = '&';
	}
	return out->overflow ? error_set(err, ST_USAGE, "the names of the pgbench scripts are too long") : ST_OK;
}

bool pgbench_uses_builtin(const struct pgbench_options *o)
{
	for (int i = 0; i < o->n_scripts; i++) {
		char *name = strdup(o->scripts[i]);
		if (name == NULL)
			abort();
		char *at = strrchr(name, '@');
		if (at != NULL)
			*at = '\0';
		bool builtin = !fs_exists(name);
		free(name);
		if (builtin)
			return true;
	}
	return false;
}

enum status pgbench_read_scale(const char *dsn, double *scale, struct error *err)
{
	PGconn *conn = PQconnectdb(dsn);
	PGresult *res = PQexec(conn, "SELECT count(*) FROM pgbench_branches");
	enum status st = ST_OK;
	if (PQstatus(conn) != CONNECTION_OK)
		st = error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
	else if (PQresultStatus(res) != PGRES_TUPLES_OK || strtod(PQgetvalue(res, 0, 0), NULL) < 1) {
		const char *why = PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY);
		st = error_set(err, ST_USAGE, "the database has no pgbench tables: %s", why != NULL ? why : "pgbench_branches is empty");
		error_hint(err, "pgbench -i makes them; --scale N tells their scale where they are named otherwise");
	} else
		*scale = strtod(PQgetvalue(res, 0, 0), NULL);
	PQclear(res);
	PQfinish(conn);
	return st;
}
