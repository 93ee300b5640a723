/* Makes the data of a workload: threads, each with a connection and a Lua state of its own, share the rows out in chunks; each
 * chunk is one COPY. Row i of a table is a function of (seed, table, i) alone, so who makes it, and when, does not matter. */
#define _GNU_SOURCE
#include "load/generate.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/vec.h"
#include "load/random.h"
#include "load/workload.h"

#include <inttypes.h>
#include <libpq-fe.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WORKERS_MIN 2
#define WORKERS_MAX 8
#define CHUNK_ROWS 10000 /* a database that is half done depends on it */
#define FLUSH_BYTES ((size_t)256 << 10)
#define ROW_BYTES_MAX ((size_t)64 << 20)
#define PROGRESS_MS 200
#define SAMPLE_ROWS 16    /* of each table, for an estimate */
#define ROW_HEAD_BYTES 28 /* heap tuple header, aligned, and its line pointer (PostgreSQL 12 to 18) */

/* One table to fill. */
struct table {
	char *name;
	char *copy; /* COPY name (columns) FROM STDIN */
	int columns;
	int64_t rows;
	_Atomic int64_t done;
};

/* Rows [first, last] of a table. */
struct chunk {
	struct table *table;
	int index; /* of the table in `generate`, from 1 */
	int64_t first, last;
};

struct generator;

struct worker {
	struct generator *g;
	pthread_t thread;
	PGconn *conn;
	lua_State *L; /* its stack: the data plan, the random source */
	struct random *random;
	struct buf rows; /* in COPY's text format, not yet sent */
	const struct chunk *chunk;
	bool stopped;        /* the chunk ended early: refused says so, or else the server has a message */
	enum status refused; /* a row makes no sense: problem says why */
	struct error problem;
};

struct generator {
	uint64_t seed;
	VEC(struct table *) tables;
	VEC(struct chunk) chunks;
	int n_workers;
	struct worker workers[WORKERS_MAX];

	/* What the workers share while they run a batch of tasks. */
	enum status (*perform)(struct worker *w, size_t task, struct error *err);
	size_t n_tasks;
	const size_t *todo; /* which ones, when they are not all; or NULL */
	atomic_size_t next_task, tasks_done;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t ended;
	int running;
	enum status status;
	struct error error;
	size_t failed_task;     /* of several errors the first task's counts, so that one mistake is one message */
	const char *const *sql; /* the tasks of a batch of SQL */
	size_t sql_before;      /* how many statements the batches before this one had */
	const char *step;       /* what the batch belongs to: "schema", "rows", "finish" */
	bool resumable;
	generate_progress *progress;
	void *arg;
};

/* ---- the server ---- */

static void log_notice(void *arg, const PGresult *notice)
{
	(void)arg;
	const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	log_debug("generating: %s", text != NULL ? text : "notice");
}

static enum status server_error(PGconn *conn, const PGresult *res, const char *what, struct error *err)
{
	const char *message = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	const char *context = res != NULL ? PQresultErrorField(res, PG_DIAG_CONTEXT) : NULL;
	const char *detail = res != NULL ? PQresultErrorField(res, PG_DIAG_MESSAGE_DETAIL) : NULL;
	if (message == NULL)
		message = PQerrorMessage(conn);
	size_t len = strlen(message);
	while (len > 0 && message[len - 1] == '\n')
		len--;
	error_set(err, ST_FAILED, "%s: %.*s%s%s%s", what, (int)len, message, detail != NULL ? " (" : "", detail != NULL ? detail : "",
		detail != NULL ? ")" : "");
	if (context != NULL)
		error_where(err, "%s", context);
	return ST_FAILED;
}

/* The first line of a statement, for messages. */
static void shorten_sql(const char *sql, char out[static 80])
{
	sql += strspn(sql, " \t\n");
	size_t len = strcspn(sql, "\n");
	snprintf(out, 80, "%.*s%s", (int)(len < 70 ? len : 70), sql, len > 70 ? "..." : "");
}

static enum status execute_sql(PGconn *conn, const char *sql, struct error *err)
{
	PGresult *res = PQexec(conn, sql);
	ExecStatusType got = PQresultStatus(res);
	enum status st = ST_OK;
	if (got != PGRES_COMMAND_OK && got != PGRES_TUPLES_OK && got != PGRES_EMPTY_QUERY) {
		char what[80];
		shorten_sql(sql, what);
		st = server_error(conn, res, what, err);
	}
	PQclear(res);
	return st;
}

static enum status connect_worker(struct worker *w, const char *dsn, struct error *err)
{
	const char *const keys[] = {"dbname", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, "pgrehearse generate", "UTF8", NULL};
	w->conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(w->conn) != CONNECTION_OK)
		return server_error(w->conn, NULL, "no connection to generate data with", err);
	PQsetNoticeReceiver(w->conn, log_notice, NULL);
	return execute_sql(w->conn,
		"SET synchronous_commit = off; SET maintenance_work_mem = '128MB'; SET statement_timeout = 0; SET lock_timeout = 0", err);
}

/* ---- what is done ---- */

/* One row a part: a statement of the schema or the finish, a chunk of rows. Written with it, so that either both survive or none. */
#define BOOK "pgrehearse.generated"

static const char OPEN_BOOK[] = "CREATE SCHEMA IF NOT EXISTS pgrehearse; CREATE TABLE IF NOT EXISTS " BOOK
				" (step text, part bigint, PRIMARY KEY (step, part))";
static const char CLOSE_BOOK[] = "DROP TABLE " BOOK "; DROP SCHEMA pgrehearse";

/* "BEGIN; INSERT ...; " before what makes a part, malloc'd; the other half is "; COMMIT". */
static char *begin_part(const struct generator *g, size_t part)
{
	char *sql = NULL;
	if (asprintf(&sql, "BEGIN; INSERT INTO " BOOK " VALUES ('%s', %zu); ", g->step, part) < 0)
		abort(); /* as VEC_PUSH */
	return sql;
}

/* Whether each of the parts of g->step up to n is done, in done[]. */
static enum status read_book(struct generator *g, bool *done, size_t n, struct error *err)
{
	char sql[128];
	snprintf(sql, sizeof sql, "SELECT part FROM " BOOK " WHERE step = '%s'", g->step);
	PGconn *conn = g->workers[0].conn;
	PGresult *res = PQexec(conn, sql);
	enum status st = PQresultStatus(res) == PGRES_TUPLES_OK ? ST_OK : server_error(conn, res, "what is done already", err);
	for (int i = 0; st == ST_OK && i < PQntuples(res); i++) {
		size_t part = strtoull(PQgetvalue(res, i, 0), NULL, 10);
		if (part < n)
			done[part] = true;
	}
	PQclear(res);
	return st;
}

/* ---- rows ---- */

static void add_escaped(struct buf *b, const char *text, size_t len)
{
	char *out = buf_reserve(b, 2 * len);
	if (out == NULL)
		return;
	char *p = out;
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (c == '\\' || c == '\n' || c == '\t' || c == '\r') {
			*p++ = '\\';
			c = c == '\n' ? 'n' : c == '\t' ? 't' : c == '\r' ? 'r' : '\\';
		}
		*p++ = c;
	}
	b->len += (size_t)(p - out);
}

static void add_integer(struct buf *b, lua_Integer value)
{
	char digits[24], *p = digits + sizeof digits;
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
	do {
		*--p = (char)('0' + rest % 10);
	} while ((rest /= 10) > 0);
	if (value < 0)
		*--p = '-';
	buf_add(b, p, (size_t)(digits + sizeof digits - p));
}

/* Appends the value at a stack index as one field; false when it is no value. */
static bool add_field(lua_State *L, int index, struct buf *b)
{
	size_t len;
	const char *text;
	switch (lua_type(L, index)) {
	case LUA_TNIL:
		buf_add(b, "\\N", 2);
		break;
	case LUA_TBOOLEAN:
		buf_char(b, lua_toboolean(L, index) ? 't' : 'f');
		break;
	case LUA_TNUMBER:
		if (lua_isinteger(L, index))
			add_integer(b, lua_tointeger(L, index));
		else
			buf_printf(b, "%.17g", lua_tonumber(L, index));
		break;
	case LUA_TSTRING:
		text = lua_tolstring(L, index, &len);
		add_escaped(b, text, len);
		break;
	default:
		return false;
	}
	return true;
}

static uint64_t stream_of(uint64_t seed, const char *table)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325); /* FNV-1a */
	for (; *table != '\0'; table++)
		h = (h ^ (unsigned char)*table) * UINT64_C(0x100000001b3);
	return rng_mix(seed ^ h);
}

static bool send_rows(struct worker *w)
{
	bool sent = PQputCopyData(w->conn, w->rows.data, (int)w->rows.len) == 1;
	buf_clear(&w->rows);
	return sent;
}

static void refuse_row(struct worker *w, int64_t i, const char *hint, const char *fmt, ...) PRINTF_LIKE(4, 5);

static void refuse_row(struct worker *w, int64_t i, const char *hint, const char *fmt, ...)
{
	char what[256];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	w->refused = error_set(&w->problem, ST_USAGE, "row %" PRId64 " of table %s %s", i, w->chunk->table->name, what);
	error_hint(&w->problem, "%s", hint);
}

/* The row's values are behind the three arguments of make_rows. */
static void add_row(struct worker *w, int64_t i)
{
	lua_State *L = w->L;
	int columns = lua_gettop(L) - 3;
	if (columns != w->chunk->table->columns) {
		refuse_row(w, i, "row() returns one value a column, nil for NULL", "has %d values for %d columns", columns,
			w->chunk->table->columns);
		return;
	}
	for (int column = 0; column < columns; column++) {
		if (column > 0)
			buf_char(&w->rows, '\t');
		if (!add_field(L, 4 + column, &w->rows)) {
			refuse_row(w, i, "a string, a number, a boolean, or nil for NULL", "holds a %s as value %d",
				luaL_typename(L, 4 + column), column + 1);
			return;
		}
	}
	buf_char(&w->rows, '\n');
	if (w->rows.overflow)
		refuse_row(w, i, "at most 64 MB", "is too large");
}

/* Lua: (row function, random source, scale) for the worker's chunk. One protected call a chunk, not a row. */
static int make_rows(lua_State *L)
{
	struct worker *w = lua_touserdata(L, lua_upvalueindex(1));
	const struct chunk *c = w->chunk;
	uint64_t stream = stream_of(w->g->seed, c->table->name);
	for (int64_t i = c->first; i <= c->last && !w->stopped; i++) {
		random_seed(w->random, rng_at(stream, (uint64_t)i));
		lua_pushvalue(L, 1);
		lua_pushinteger(L, i);
		lua_pushvalue(L, 2);
		lua_pushvalue(L, 3);
		lua_call(L, 3, LUA_MULTRET);
		add_row(w, i);
		lua_settop(L, 3);
		w->stopped = w->refused != ST_OK || (w->conn != NULL && w->rows.len >= FLUSH_BYTES && !send_rows(w));
	}
	return 0;
}

/* Rows of w->chunk, sent as they come, the last of them still in w->rows. */
static enum status make_chunk(struct worker *w, struct error *err)
{
	lua_State *L = w->L;
	buf_clear(&w->rows);
	w->stopped = false;
	w->refused = ST_OK;
	lua_pushlightuserdata(L, w);
	lua_pushcclosure(L, make_rows, 1);
	lua_getfield(L, 1, "generate");
	lua_geti(L, -1, w->chunk->index);
	lua_getfield(L, -1, "row");
	lua_replace(L, -3);
	lua_pop(L, 1);
	lua_pushvalue(L, 2);
	lua_getfield(L, 1, "scale");
	enum status st = script_call(L, 3, 0, ST_USAGE, err);
	if (st != ST_OK || w->refused == ST_OK)
		return st;
	*err = w->problem;
	return w->refused;
}

/* Reads the end of a COPY, after an error of Lua (which ends it) too. */
static enum status end_copy(struct worker *w, const char *reason, struct error *err)
{
	enum status st = ST_OK;
	if (PQputCopyEnd(w->conn, reason) != 1)
		st = server_error(w->conn, NULL, w->chunk->table->copy, err);
	PGresult *res;
	while ((res = PQgetResult(w->conn)) != NULL) {
		if (st == ST_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
			st = server_error(w->conn, res, w->chunk->table->copy, err);
		bool stuck = PQresultStatus(res) == PGRES_COPY_IN;
		PQclear(res);
		if (stuck)
			break;
	}
	return st;
}

/* libpq stops where the server wants rows; what stands behind it is carried out at their end. */
static PGresult *start_copy(struct worker *w, size_t task)
{
	if (!w->g->resumable)
		return PQexec(w->conn, w->chunk->table->copy);
	char *begin = begin_part(w->g, task), *sql = NULL;
	if (asprintf(&sql, "%s%s; COMMIT", begin, w->chunk->table->copy) < 0)
		abort();
	PGresult *res = PQexec(w->conn, sql);
	free(sql);
	free(begin);
	return res;
}

static enum status copy_chunk(struct worker *w, size_t task, struct error *err)
{
	const struct chunk *c = w->chunk = &w->g->chunks.at[task];
	PGresult *res = start_copy(w, task);
	if (PQresultStatus(res) != PGRES_COPY_IN) {
		enum status refused = server_error(w->conn, res, c->table->copy, err);
		PQclear(res);
		return refused;
	}
	PQclear(res);
	enum status st = make_chunk(w, err);
	if (st != ST_OK) {
		struct error ignored;
		(void)!end_copy(w, "the row function failed", &ignored);
		return st;
	}
	if (!w->stopped && w->rows.len > 0)
		send_rows(w);
	st = end_copy(w, NULL, err);
	if (st == ST_OK)
		atomic_fetch_add(&c->table->done, c->last - c->first + 1);
	return st;
}

/* With its note, in one transaction. What cannot run in one (VACUUM) is noted afterwards: it may be done twice, which does no harm. */
static enum status execute_part(struct worker *w, const char *sql, size_t part, struct error *err)
{
	char *begin = begin_part(w->g, part), *whole = NULL;
	if (asprintf(&whole, "%s%s\n; COMMIT", begin, sql) < 0)
		abort();
	PGresult *res = PQexec(w->conn, whole);
	const char *sqlstate = PQresultErrorField(res, PG_DIAG_SQLSTATE);
	bool alone = sqlstate != NULL && strcmp(sqlstate, "25001") == 0;
	enum status st = PQresultStatus(res) == PGRES_COMMAND_OK ? ST_OK : ST_FAILED;
	if (st != ST_OK && !alone) {
		char what[80];
		shorten_sql(sql, what);
		st = server_error(w->conn, res, what, err);
	}
	PQclear(res);
	if (alone) {
		st = execute_sql(w->conn, "ROLLBACK", err);
		if (st == ST_OK)
			st = execute_sql(w->conn, sql, err);
		if (st == ST_OK)
			st = execute_sql(w->conn, begin + sizeof "BEGIN; " - 1, err);
	}
	free(whole);
	free(begin);
	return st;
}

static enum status execute_task(struct worker *w, size_t task, struct error *err)
{
	const struct generator *g = w->g;
	return g->resumable ? execute_part(w, g->sql[task], g->sql_before + task, err) : execute_sql(w->conn, g->sql[task], err);
}

/* ---- sharing the tasks out ---- */

static void *run_worker(void *arg)
{
	struct worker *w = arg;
	struct generator *g = w->g;
	struct error err;
	enum status st = ST_OK;
	size_t task = 0;
	while (st == ST_OK && (task = atomic_fetch_add(&g->next_task, 1)) < g->n_tasks) {
		st = g->perform(w, g->todo != NULL ? g->todo[task] : task, &err);
		atomic_fetch_add(&g->tasks_done, 1);
	}
	pthread_mutex_lock(&g->lock);
	if (st != ST_OK && (g->status == ST_OK || task < g->failed_task)) {
		g->status = st;
		g->error = err;
		g->failed_task = task;
		atomic_store(&g->next_task, g->n_tasks); /* the other one finishes what it has, and that is all */
	}
	g->running--;
	pthread_cond_signal(&g->ended);
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

/* Performs n tasks with all workers, calling report() now and then; the first error ends it. */
static enum status run_tasks(struct generator *g, size_t n, enum status (*perform)(struct worker *, size_t, struct error *),
	void (*report)(struct generator *, const char *what), const char *what, struct error *err)
{
	g->perform = perform;
	g->n_tasks = n;
	atomic_store(&g->next_task, 0);
	atomic_store(&g->tasks_done, 0);
	size_t want = n < (size_t)g->n_workers ? n : (size_t)g->n_workers, started = 0;
	pthread_mutex_lock(&g->lock);
	g->status = ST_OK;
	g->running = 0;
	while (started < want && pthread_create(&g->workers[started].thread, NULL, run_worker, &g->workers[started]) == 0) {
		started++;
		g->running++;
	}
	if (started == 0 && n > 0) {
		pthread_mutex_unlock(&g->lock);
		return error_set(err, ST_FAILED, "no thread to generate data with");
	}
	while (g->running > 0) {
		int64_t until_ns = clock_wall_ns() + PROGRESS_MS * NS_PER_MS;
		struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_S), .tv_nsec = (long)(until_ns % NS_PER_S)};
		pthread_cond_timedwait(&g->ended, &g->lock, &until);
		pthread_mutex_unlock(&g->lock);
		report(g, what);
		pthread_mutex_lock(&g->lock);
	}
	pthread_mutex_unlock(&g->lock);
	for (size_t i = 0; i < started; i++)
		pthread_join(g->workers[i].thread, NULL);
	if (g->status != ST_OK && err != NULL)
		*err = g->error;
	return g->status;
}

/* Named is the first table that is not complete, or the last. */
static void report_rows(struct generator *g, const char *what)
{
	(void)what;
	if (g->progress == NULL || g->tables.n == 0)
		return;
	size_t i = 0;
	while (i + 1 < g->tables.n && atomic_load(&g->tables.at[i]->done) >= g->tables.at[i]->rows)
		i++;
	char text[160];
	snprintf(text, sizeof text, "generating %s", g->tables.at[i]->name);
	int64_t done = 0, total = 0;
	for (size_t j = 0; j < g->tables.n; j++) {
		done += atomic_load(&g->tables.at[j]->done);
		total += g->tables.at[j]->rows;
	}
	g->progress(text, done, total, g->arg);
}

static void report_sql(struct generator *g, const char *what)
{
	if (g->progress != NULL)
		g->progress(what, (int64_t)(g->sql_before + atomic_load(&g->tasks_done)), 0, g->arg);
}

/* The same for those of n parts that are not done yet; `before` is the number of the first. */
static enum status run_rest(struct generator *g, size_t before, size_t n, enum status (*perform)(struct worker *, size_t, struct error *),
	void (*report)(struct generator *, const char *what), const char *what, struct error *err)
{
	if (!g->resumable)
		return run_tasks(g, n, perform, report, what, err);
	bool *done = calloc(before + n + 1, sizeof *done);
	if (done == NULL)
		abort();
	VEC(size_t) todo = {0};
	enum status st = read_book(g, done, before + n, err);
	for (size_t i = 0; i < n; i++) {
		if (!done[before + i])
			VEC_PUSH(&todo, i);
		else if (perform == copy_chunk)
			atomic_fetch_add(&g->chunks.at[i].table->done, g->chunks.at[i].last - g->chunks.at[i].first + 1);
	}
	g->todo = todo.at;
	if (st == ST_OK && todo.n > 0)
		st = run_tasks(g, todo.n, perform, report, what, err);
	g->todo = NULL;
	VEC_FREE(&todo);
	free(done);
	return st;
}

/* Runs the steps in field `key` of the data plan: one group after another, the statements of a group at once. */
static enum status run_steps(struct generator *g, const char *key, const char *what, struct error *err)
{
	lua_State *L = g->workers[0].L;
	enum status st = ST_OK;
	lua_getfield(L, 1, key);
	lua_Integer groups = luaL_len(L, -1);
	g->sql_before = 0;
	g->step = key;
	for (lua_Integer i = 1; i <= groups && st == ST_OK; i++) {
		lua_geti(L, -1, i);
		VEC(const char *) sql = {0};
		lua_Integer n = luaL_len(L, -1);
		for (lua_Integer j = 1; j <= n; j++) {
			lua_geti(L, -1, j);
			VEC_PUSH(&sql, lua_tostring(L, -1)); /* the plan keeps it alive */
			lua_pop(L, 1);
		}
		g->sql = sql.at;
		st = run_rest(g, g->sql_before, sql.n, execute_task, report_sql, what, err);
		g->sql_before += sql.n;
		VEC_FREE(&sql);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return st;
}

/* ---- setting up ---- */

/* Leaves the data plan at 1 and the random source at 2 of the worker's stack. */
static enum status load_worker(struct worker *w, const char *workload_path, double scale, struct error *err)
{
	enum status st = workload_create_state(workload_path, NULL, &w->L, err);
	if (st != ST_OK)
		return st;
	/* Rows are short-lived and the heap is small: collect seldom. */
	lua_gc(w->L, LUA_GCINC, 400, 400, 0);
	if ((st = workload_load_data(w->L, workload_path, scale, err)) != ST_OK)
		return st;
	lua_pushnumber(w->L, scale);
	lua_setfield(w->L, 1, "scale");
	w->random = random_push(w->L);
	return ST_OK;
}

static int count_columns(const char *columns)
{
	int n = 1;
	for (; *columns != '\0'; columns++)
		n += *columns == ',';
	return n;
}

static void plan_tables(struct generator *g)
{
	lua_State *L = g->workers[0].L;
	lua_getfield(L, 1, "generate");
	lua_Integer n = luaL_len(L, -1);
	for (lua_Integer i = 1; i <= n; i++) {
		struct table *t = calloc(1, sizeof *t);
		lua_geti(L, -1, i);
		lua_getfield(L, -1, "table");
		lua_getfield(L, -2, "columns");
		lua_getfield(L, -3, "rows");
		if (t == NULL || (t->name = strdup(lua_tostring(L, -3))) == NULL ||
			asprintf(&t->copy, "COPY %s (%s) FROM STDIN", t->name, lua_tostring(L, -2)) < 0)
			abort(); /* as VEC_PUSH: this is set-up */
		t->columns = count_columns(lua_tostring(L, -2));
		t->rows = lua_tointeger(L, -1);
		lua_pop(L, 4);
		VEC_PUSH(&g->tables, t);
		for (int64_t first = 1; first <= t->rows; first += CHUNK_ROWS) {
			int64_t last = first + CHUNK_ROWS - 1 < t->rows ? first + CHUNK_ROWS - 1 : t->rows;
			VEC_PUSH(&g->chunks, (struct chunk){.table = t, .index = (int)i, .first = first, .last = last});
		}
	}
	lua_pop(L, 1);
}

static void free_generator(struct generator *g)
{
	for (int i = 0; i < g->n_workers; i++) {
		PQfinish(g->workers[i].conn);
		script_free(g->workers[i].L);
		buf_free(&g->workers[i].rows);
	}
	for (size_t i = 0; i < g->tables.n; i++) {
		free(g->tables.at[i]->name);
		free(g->tables.at[i]->copy);
		free(g->tables.at[i]);
	}
	VEC_FREE(&g->tables);
	VEC_FREE(&g->chunks);
	pthread_cond_destroy(&g->ended);
	pthread_mutex_destroy(&g->lock);
}

static int count_workers(void)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return cores < WORKERS_MIN ? WORKERS_MIN : cores > WORKERS_MAX ? WORKERS_MAX : (int)cores;
}

static enum status generate(struct generator *g, const char *dsn, const char *workload_path, double scale, struct error *err)
{
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->ended, NULL);
	g->n_workers = count_workers();
	enum status st = ST_OK;
	for (int i = 0; i < g->n_workers; i++) {
		g->workers[i].g = g;
		buf_init(&g->workers[i].rows, ROW_BYTES_MAX);
	}
	for (int i = 0; i < g->n_workers && st == ST_OK; i++)
		st = load_worker(&g->workers[i], workload_path, scale, err);
	for (int i = 0; i < g->n_workers && st == ST_OK; i++)
		st = connect_worker(&g->workers[i], dsn, err);
	if (st == ST_OK && g->resumable)
		st = execute_sql(g->workers[0].conn, OPEN_BOOK, err);
	if (st == ST_OK)
		st = run_steps(g, "schema", "schema", err);
	if (st == ST_OK) {
		plan_tables(g);
		g->step = "rows";
		st = run_rest(g, 0, g->chunks.n, copy_chunk, report_rows, "rows", err);
	}
	if (st == ST_OK)
		st = run_steps(g, "finish", "keys and indexes", err);
	if (st == ST_OK && g->resumable)
		st = execute_sql(g->workers[0].conn, CLOSE_BOOK, err);
	if (st == ST_USAGE)
		error_where(err, "%s", workload_path);
	free_generator(g);
	return st;
}

enum status generate_data(
	const char *dsn, const char *workload_path, double scale, uint64_t seed, generate_progress *progress, void *arg, struct error *err)
{
	struct generator g = {.seed = seed, .progress = progress, .arg = arg};
	return generate(&g, dsn, workload_path, scale, err);
}

enum status generate_data_resumably(
	const char *dsn, const char *workload_path, double scale, uint64_t seed, generate_progress *progress, void *arg, struct error *err)
{
	struct generator g = {.seed = seed, .resumable = true, .progress = progress, .arg = arg};
	return generate(&g, dsn, workload_path, scale, err);
}

/* One row's length; 0 of one that cannot be made, which generating will say. */
static size_t sample_row(struct worker *w, const struct chunk *chunk)
{
	struct error ignored;
	w->chunk = chunk;
	return make_chunk(w, &ignored) == ST_OK ? w->rows.len : 0;
}

enum status generate_estimate(const char *workload_path, double scale, uint64_t seed, int64_t *bytes, struct error *err)
{
	struct generator g = {.seed = seed, .n_workers = 1};
	struct worker *w = &g.workers[0];
	double sum = 0;
	pthread_mutex_init(&g.lock, NULL);
	pthread_cond_init(&g.ended, NULL);
	w->g = &g;
	buf_init(&w->rows, ROW_BYTES_MAX);
	enum status st = load_worker(w, workload_path, scale, err);
	if (st == ST_OK)
		plan_tables(&g);
	for (size_t i = 0; i < g.tables.n; i++) {
		struct table *t = g.tables.at[i];
		size_t sampled = 0;
		for (int64_t k = 0; k < SAMPLE_ROWS && t->rows > 0; k++) {
			int64_t row = 1 + (t->rows - 1) * k / SAMPLE_ROWS;
			sampled += sample_row(w, &(struct chunk){.table = t, .index = (int)i + 1, .first = row, .last = row});
		}
		sum += (double)t->rows * ((double)sampled / SAMPLE_ROWS + ROW_HEAD_BYTES);
	}
	*bytes = (int64_t)sum;
	free_generator(&g);
	return st;
}
