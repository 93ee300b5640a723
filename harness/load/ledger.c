/* The table of the ledger: made before the traffic, read back and compared after it. */
#define _GNU_SOURCE
#include "load/ledger.h"

#include "base/clock.h"
#include "base/units.h"

#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RETRY_NS (200 * NS_PER_MS)
#define PATIENCE_LEAST_NS (2 * NS_PER_S) /* libpq knows no shorter time limit for connecting */
#define LOOK_MS 100

static const char CREATE[] = "DO $$ BEGIN "
			     "IF pg_catalog.to_regnamespace('pgrehearse') IS NULL THEN CREATE SCHEMA pgrehearse; END IF; "
			     "END $$; "
			     "DROP TABLE IF EXISTS " LEDGER_TABLE "; "
			     "CREATE TABLE " LEDGER_TABLE " (client int4 NOT NULL, n int8 NOT NULL); "
			     "COMMENT ON TABLE " LEDGER_TABLE " IS 'written by pgrehearse to find commits that were lost; may be dropped'";

static const char READ[] = "COPY (SELECT client, n FROM " LEDGER_TABLE ") TO STDOUT";

/* The schema goes when nothing else is in it. */
static const char DROP[] =
	"DROP TABLE IF EXISTS " LEDGER_TABLE "; "
	"DO $$ BEGIN DROP SCHEMA IF EXISTS pgrehearse; EXCEPTION WHEN dependent_objects_still_exist OR insufficient_privilege THEN NULL; END $$";

void ledger_end(struct ledger_book *book, enum ledger_end end)
{
	if (!book->pending)
		return;
	book->pending = false;
	if (end == LEDGER_FAILED)
		return;
	if (end == LEDGER_UNKNOWN)
		VEC_PUSH(&book->unknown, book->next);
	book->next++;
}

/* ---- the server ---- */

static void keep_quiet(void *arg, const PGresult *notice)
{
	(void)arg, (void)notice;
}

static int64_t patience(int64_t ns)
{
	return ns > PATIENCE_LEAST_NS ? ns : PATIENCE_LEAST_NS;
}

static enum status open_connection(const char *dsn, int64_t timeout_ns, PGconn **out, struct error *err)
{
	char seconds[24];
	snprintf(seconds, sizeof seconds, "%lld", (long long)((patience(timeout_ns) + NS_PER_S - 1) / NS_PER_S));
	const char *const keys[] = {"dbname", "application_name", "connect_timeout", NULL};
	const char *const values[] = {dsn, "pgrehearse ledger", seconds, NULL};
	*out = PQconnectdbParams(keys, values, 1);
	if (PQstatus(*out) == CONNECTION_OK) {
		PQsetNoticeReceiver(*out, keep_quiet, NULL);
		return ST_OK;
	}
	const char *why = *out != NULL ? PQerrorMessage(*out) : "out of memory";
	error_set(err, ST_FAILED, "the ledger cannot connect: %.*s", (int)strcspn(why, "\n"), why);
	PQfinish(*out);
	*out = NULL;
	return ST_FAILED;
}

/* Until it is there: after a crash or a failover it recovers first. */
static enum status await_connection(const char *dsn, int64_t timeout_ns, PGconn **out, struct error *err)
{
	int64_t until_ns = clock_now_ns() + timeout_ns;
	enum status st;
	while ((st = open_connection(dsn, until_ns - clock_now_ns(), out, err)) != ST_OK && clock_now_ns() < until_ns)
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
	return st;
}

/* What a server says that has been asked at from_ns. It may be silent for quiet_ns: there is no limit for how long a long ledger takes. */
static enum status await_input(PGconn *conn, int64_t from_ns, int64_t quiet_ns, struct error *err)
{
	char time[32];
	if (clock_now_ns() - from_ns >= quiet_ns)
		return error_set(
			err, ST_FAILED, "the server has not answered the ledger for %s", units_format_time(quiet_ns, time, sizeof time));
	/* Not for all of that time: what TLS has taken out of the socket does not make it ready. */
	struct pollfd p = {.fd = PQsocket(conn), .events = POLLIN};
	poll(&p, 1, LOOK_MS);
	if (PQconsumeInput(conn))
		return ST_OK;
	const char *why = PQerrorMessage(conn);
	return error_set(err, ST_FAILED, "the ledger lost its connection: %.*s", (int)strcspn(why, "\n"), why);
}

/* The last result, or that of a COPY; NULL: err says why there is none. */
static PGresult *take_result(PGconn *conn, int64_t quiet_ns, struct error *err)
{
	PGresult *last = NULL, *result;
	int64_t from_ns = clock_now_ns();
	for (;;) {
		while (PQisBusy(conn))
			if (await_input(conn, from_ns, quiet_ns, err) != ST_OK) {
				PQclear(last);
				return NULL;
			}
		result = PQgetResult(conn);
		if (result == NULL && last == NULL)
			error_set(err, ST_FAILED, "the server has nothing to say to the ledger");
		if (result == NULL)
			return last;
		PQclear(last);
		last = result;
		if (PQresultStatus(result) == PGRES_COPY_OUT)
			return result;
	}
}

static enum status run(PGconn *conn, const char *sql, ExecStatusType expected, int64_t quiet_ns, struct error *err)
{
	PGresult *result = NULL;
	if (PQsendQuery(conn, sql) && (result = take_result(conn, quiet_ns, err)) == NULL)
		return ST_FAILED;
	enum status st = ST_OK;
	if (PQresultStatus(result) != expected) {
		const char *why = PQerrorMessage(conn);
		st = error_set(err, ST_FAILED, "the ledger's table " LEDGER_TABLE ": %.*s", (int)strcspn(why, "\n"), why);
		error_hint(err, "the role must be allowed to create a schema in this database");
	}
	PQclear(result);
	return st;
}

enum status ledger_create(const char *dsn, int64_t timeout_ns, struct error *err)
{
	PGconn *conn;
	enum status st = open_connection(dsn, timeout_ns, &conn, err);
	if (st != ST_OK)
		return st;
	/* Somebody else of ours may make the schema at this moment. */
	int left = 3;
	while ((st = run(conn, CREATE, PGRES_COMMAND_OK, patience(timeout_ns), err)) != ST_OK &&
		PQtransactionStatus(conn) == PQTRANS_IDLE && --left > 0)
		nanosleep(&(struct timespec){.tv_nsec = RETRY_NS}, NULL);
	PQfinish(conn);
	return st;
}

/* ---- comparing ---- */

static bool is_unknown(const struct ledger_book *book, uint64_t n)
{
	size_t lo = 0, hi = book->unknown.n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (book->unknown.at[mid] == n)
			return true;
		if (book->unknown.at[mid] < n)
			lo = mid + 1;
		else
			hi = mid;
	}
	return false;
}

/* A bit for each number of each book. */
struct seen {
	const struct ledger_book *const *books;
	int n;
	uint64_t **bits;
};

static void free_seen(struct seen *seen)
{
	for (int i = 0; seen->bits != NULL && i < seen->n; i++)
		free(seen->bits[i]);
	free(seen->bits);
}

static bool make_seen(struct seen *seen)
{
	seen->bits = calloc((size_t)seen->n + 1, sizeof *seen->bits);
	for (int i = 0; seen->bits != NULL && i < seen->n; i++)
		if ((seen->bits[i] = calloc(seen->books[i]->next / 64 + 1, sizeof(uint64_t))) == NULL)
			return false;
	return seen->bits != NULL;
}

static void note_row(struct seen *seen, const char *line, struct load_ledger *out)
{
	char *end;
	long client = strtol(line, &end, 10);
	uint64_t n = strtoull(end, &end, 10);
	if (client < 0 || client >= seen->n || n >= seen->books[client]->next) {
		out->strange++;
		return;
	}
	uint64_t *word = &seen->bits[client][n / 64], bit = UINT64_C(1) << (n % 64);
	if (*word & bit) {
		out->strange++;
		return;
	}
	*word |= bit;
	if (is_unknown(seen->books[client], n))
		out->unknown_found++;
	else
		out->found++;
}

static enum status read_rows(PGconn *conn, int64_t quiet_ns, struct seen *seen, struct load_ledger *out, struct error *err)
{
	enum status st = run(conn, READ, PGRES_COPY_OUT, quiet_ns, err);
	int64_t heard_ns = clock_now_ns();
	char *line;
	int n = 0;
	while (st == ST_OK && (n = PQgetCopyData(conn, &line, 1)) >= 0) {
		if (n == 0) {
			st = await_input(conn, heard_ns, quiet_ns, err);
			continue;
		}
		note_row(seen, line, out);
		PQfreemem(line);
		heard_ns = clock_now_ns();
	}
	if (st != ST_OK)
		return st;
	PGresult *last = take_result(conn, quiet_ns, err);
	if (last == NULL)
		return ST_FAILED;
	if (n != -1 || PQresultStatus(last) != PGRES_COMMAND_OK) {
		const char *why = PQerrorMessage(conn);
		st = error_set(err, ST_FAILED, "the ledger could not be read to its end: %.*s", (int)strcspn(why, "\n"), why);
	}
	PQclear(last);
	return st;
}

enum status ledger_check(
	const char *dsn, const struct ledger_book *const *books, int n, int64_t timeout_ns, struct load_ledger *out, struct error *err)
{
	*out = (struct load_ledger){0};
	uint64_t unknown = 0;
	for (int i = 0; i < n; i++) {
		out->acknowledged += books[i]->next - books[i]->unknown.n;
		unknown += books[i]->unknown.n;
	}
	struct seen seen = {.books = books, .n = n};
	if (!make_seen(&seen)) {
		free_seen(&seen);
		return error_set(err, ST_FAILED, "out of memory for the ledger");
	}
	PGconn *conn = NULL;
	enum status st = await_connection(dsn, timeout_ns, &conn, err);
	if (st == ST_OK)
		st = read_rows(conn, patience(timeout_ns), &seen, out, err);
	if (st == ST_OK) {
		out->lost = out->acknowledged - out->found;
		out->unknown_lost = unknown - out->unknown_found;
		/* What has been found out stays true when the table cannot be dropped. */
		run(conn, DROP, PGRES_COMMAND_OK, patience(timeout_ns), &out->left);
	}
	PQfinish(conn);
	free_seen(&seen);
	return st;
}
