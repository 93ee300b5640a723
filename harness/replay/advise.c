/* The recommendation is the one of least volume that still has each statement's arrival and duration: the text once, when it arrives
 * (log_statement), and a bare duration at the end (log_duration). log_min_duration_statement = 0 instead writes the text of extended
 * queries three times: at parse, bind and execute. */
#define _GNU_SOURCE
#include "replay/advise.h"

#include "base/clock.h"
#include "base/units.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a csvlog line has beside its message: times, session, user, database, application and the rest. Of lines of servers 13 to 15. */
#define CSV_LINE_BYTES 190
#define DURATION_BYTES 24
#define TEXT_BYTES_UNKNOWN 120
#define STATEMENTS_PER_TRANSACTION_UNKNOWN 4

struct activity {
	double transactions, calls; /* so far; calls -1: unknown */
	double text_bytes;          /* of a statement, weighed by calls */
};

static const char SETTINGS_SQL[] =
	"SELECT pg_catalog.current_setting(name, true) FROM pg_catalog.unnest(ARRAY['server_version_num', 'log_statement', 'log_duration', "
	"'log_min_duration_statement', 'log_destination', 'logging_collector', 'log_connections', 'log_disconnections', "
	"'log_parameter_max_length', 'log_parameter_max_length_on_error', 'log_min_error_statement', 'log_transaction_sample_rate', "
	"'log_line_prefix', 'lc_messages']) AS name";

enum {
	VERSION,
	STATEMENT,
	DURATION,
	MIN_DURATION,
	DESTINATION,
	COLLECTOR,
	CONNECTIONS,
	DISCONNECTIONS,
	MAX_LENGTH,
	MAX_LENGTH_ON_ERROR,
	MIN_ERROR,
	SAMPLE,
	PREFIX,
	MESSAGES
};

static enum status ask(PGconn *conn, const char *sql, PGresult **out, struct error *err)
{
	*out = PQexec(conn, sql);
	if (PQresultStatus(*out) == PGRES_TUPLES_OK)
		return ST_OK;
	enum status st = error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
	err->what[strcspn(err->what, "\n")] = '\0';
	PQclear(*out);
	*out = NULL;
	return st;
}

static double number(const PGresult *r, int column)
{
	return PQntuples(r) > 0 && !PQgetisnull(r, 0, column) ? strtod(PQgetvalue(r, 0, column), NULL) : 0;
}

static enum status read_activity(PGconn *conn, bool has_statements, const char *schema, struct activity *a, struct error *err)
{
	PGresult *r;
	if (ask(conn, "SELECT pg_catalog.sum(xact_commit + xact_rollback) FROM pg_catalog.pg_stat_database", &r, err) != ST_OK)
		return err->status;
	a->transactions = number(r, 0);
	a->calls = -1;
	a->text_bytes = TEXT_BYTES_UNKNOWN;
	PQclear(r);
	if (!has_statements)
		return ST_OK;
	char sql[512];
	char *quoted = PQescapeIdentifier(conn, schema, strlen(schema));
	snprintf(sql, sizeof sql,
		"SELECT pg_catalog.sum(calls), pg_catalog.sum(calls * pg_catalog.length(query)) / GREATEST(pg_catalog.sum(calls), 1) "
		"FROM %s.pg_stat_statements",
		quoted != NULL ? quoted : "public");
	PQfreemem(quoted);
	struct error ignored;
	if (ask(conn, sql, &r, &ignored) != ST_OK)
		return ST_OK; /* not loaded, or not for us */
	a->calls = number(r, 0);
	a->text_bytes = number(r, 1) > 0 ? number(r, 1) : TEXT_BYTES_UNKNOWN;
	PQclear(r);
	return ST_OK;
}

static void recommend(struct buf *out, const char *name, const char *is, const char *should, const char *why)
{
	char now[64] = "(as it is)";
	if (strcmp(is, should) != 0)
		snprintf(now, sizeof now, "(now %.50s)", is[0] != '\0' ? is : "empty");
	buf_printf(out, "  %-29s %-8s %-18s %s\n", name, should, now, why);
}

static void recommend_settings(const PGresult *r, struct buf *out)
{
	const char *is[MESSAGES + 1];
	for (int i = 0; i <= MESSAGES; i++)
		is[i] = i < PQntuples(r) ? PQgetvalue(r, i, 0) : "";
	int version = (int)strtol(is[VERSION], NULL, 10);
	const char *destination = version >= 150000 ? "jsonlog" : "csvlog";
	if (strcmp(is[DESTINATION], "csvlog") == 0 || strstr(is[DESTINATION], destination) != NULL)
		destination = is[DESTINATION];
	buf_str(out, "Settings, for the time of the capture:\n\n");
	recommend(out, "log_statement", is[STATEMENT], "all", "the text of each statement, once, when it arrives");
	recommend(out, "log_duration", is[DURATION], "on", "a short line when it has ended");
	recommend(out, "log_min_duration_statement", is[MIN_DURATION], "-1", "0 would write the text of extended queries three times");
	recommend(out, "log_destination", is[DESTINATION], destination, "messages that cannot be mistaken for each other");
	recommend(out, "logging_collector", is[COLLECTOR], "on",
		strcmp(is[COLLECTOR], "on") == 0 ? "" : "needs a restart; with stderr it may stay off");
	recommend(out, "log_connections", is[CONNECTIONS], "on", "");
	recommend(out, "log_disconnections", is[DISCONNECTIONS], "on", "when sessions begin and end");
	if (version >= 130000) {
		recommend(out, "log_parameter_max_length", is[MAX_LENGTH], "-1", "parameters whole");
		recommend(out, "log_parameter_max_length_on_error", is[MAX_LENGTH_ON_ERROR], "-1",
			"also those of statements that fail while they are bound");
	}
	recommend(out, "log_min_error_statement", is[MIN_ERROR], "error", "errors with their statement");
	if (strcmp(is[SAMPLE], "0") != 0 && is[SAMPLE][0] != '\0')
		recommend(out, "log_transaction_sample_rate", is[SAMPLE], "0", "");
	if (is[MESSAGES][0] != 'C' && strncmp(is[MESSAGES], "en", 2) != 0 && is[MESSAGES][0] != '\0')
		recommend(out, "lc_messages", is[MESSAGES], "C", "messages in English are understood");
	if (strstr(is[DESTINATION], "csvlog") == NULL && strstr(is[DESTINATION], "jsonlog") == NULL && strstr(is[PREFIX], "%c") == NULL)
		buf_str(out,
			"\n  If the log has to be stderr: log_line_prefix = '%m|%u|%d|%c|%l|%e|%a|', so that sessions and errors can be told.\n");
}

static void describe_volume(const struct activity *a, const struct activity *b, double seconds, struct buf *out)
{
	char rate[32], hour[32], day[32], three[32];
	double transactions = (b->transactions - a->transactions) / seconds;
	bool known = a->calls >= 0 && b->calls >= a->calls;
	double statements = known ? (b->calls - a->calls) / seconds : transactions * STATEMENTS_PER_TRANSACTION_UNKNOWN;
	double bytes = 2 * CSV_LINE_BYTES + DURATION_BYTES + b->text_bytes;
	double threefold = 3 * (CSV_LINE_BYTES + DURATION_BYTES + b->text_bytes);
	buf_printf(out, "\nVolume: %.0f transactions and %s%.0f statements a second over the last %.0f s", transactions,
		known ? "" : "about ", statements, seconds);
	if (!known)
		buf_printf(out, " (pg_stat_statements is not there to count them: %d a transaction are assumed)",
			STATEMENTS_PER_TRANSACTION_UNKNOWN);
	buf_printf(out, ".\n  about %.0f bytes a statement: %s/s, %s an hour, %s a day, before compression\n", bytes,
		units_format_bytes(statements * bytes, rate, sizeof rate), units_format_bytes(statements * bytes * 3600, hour, sizeof hour),
		units_format_bytes(statements * bytes * 86400, day, sizeof day));
	buf_printf(out, "  log_min_duration_statement = 0 instead: %s an hour where queries are extended\n",
		units_format_bytes(statements * threefold * 3600, three, sizeof three));
	if (statements * bytes > 50e6)
		buf_str(out, "  At over 50 MB/s the log collector itself may slow the server down: capture a shorter time.\n");
}

enum status advise_capture(const char *dsn, int64_t watch_ns, struct buf *out, struct error *err)
{
	const char *const keys[] = {"dbname", "application_name", "connect_timeout", NULL};
	const char *const values[] = {dsn, "pgrehearse advise", "10", NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	PGresult *settings = NULL, *extension = NULL;
	struct activity before = {0}, after = {0};
	enum status st = ST_OK;
	if (PQstatus(conn) != CONNECTION_OK) {
		st = error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
		err->what[strcspn(err->what, "\n")] = '\0';
	}
	if (st == ST_OK)
		st = ask(conn, SETTINGS_SQL, &settings, err);
	if (st == ST_OK)
		st = ask(conn,
			"SELECT n.nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE "
			"e.extname = 'pg_stat_statements'",
			&extension, err);
	bool has_statements = st == ST_OK && PQntuples(extension) > 0;
	const char *schema = has_statements ? PQgetvalue(extension, 0, 0) : "public";
	int64_t start_ns = clock_now_ns();
	if (st == ST_OK)
		st = read_activity(conn, has_statements, schema, &before, err);
	if (st == ST_OK) {
		struct timespec wait = {.tv_sec = (time_t)(watch_ns / NS_PER_S), .tv_nsec = (long)(watch_ns % NS_PER_S)};
		(void)nanosleep(&wait, NULL);
		st = read_activity(conn, has_statements, schema, &after, err);
	}
	if (st == ST_OK) {
		recommend_settings(settings, out);
		describe_volume(&before, &after, (double)(clock_now_ns() - start_ns) / 1e9, out);
	}
	PQclear(settings);
	PQclear(extension);
	PQfinish(conn);
	return st;
}
