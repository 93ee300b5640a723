/* Makes the data of a workload: two threads, each with a connection and a Lua state of its own, share the rows out in
 * chunks; each chunk is one COPY. Row i of a table is a function of (seed, table, i) alone, so who makes it does not matter. */
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
#include <string.h>

#define WORKERS 2
#define CHUNK_ROWS 10000
#define FLUSH_BYTES ((size_t)256 << 10)
#define ROW_BYTES_MAX ((size_t)64 << 20)
#define PROGRESS_MS 200

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
	struct worker workers[WORKERS];

	/* What the workers share while they run a batch of tasks. */
	enum status (*perform)(struct worker *w, size_t task, struct error *err);
	size_t n_tasks;
	atomic_size_t next_task, tasks_done;
	pthread_mutex_t lock; /* of what follows */
	pthread_cond_t ended;
	int running;
	enum status status;
	struct error error;
	size_t failed_task;     /* of several errors the first task's counts, so that one mistake is one message */
	const char *const *sql; /* the tasks of a batch of SQL */
	size_t sql_before;      /* how many statements the batches before this one had */
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
		w->stopped = w->refused != ST_OK || (w->rows.len >= FLUSH_BYTES && !send_rows(w));
	}
	return 0;
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

static enum status copy_chunk(struct worker *w, size_t task, struct error *err)
{
	const struct chunk *c = w->chunk = &w->g->chunks.at[task];
	PGresult *res = PQexec(w->conn, c->table->copy);
	if (PQresultStatus(res) != PGRES_COPY_IN) {
		enum status refused = server_error(w->conn, res, c->table->copy, err);
		PQclear(res);
		return refused;
	}
	PQclear(res);
	buf_clear(&w->rows);
	w->stopped = false;
	w->refused = ST_OK;

	lua_State *L = w->L;
	lua_pushlightuserdata(L, w);
	lua_pushcclosure(L, make_rows, 1);
	lua_getfield(L, 1, "generate");
	lua_geti(L, -1, c->index);
	lua_getfield(L, -1, "row");
	lua_replace(L, -3);
	lua_pop(L, 1);
	lua_pushvalue(L, 2);
	lua_getfield(L, 1, "scale");
	enum status st = script_call(L, 3, 0, ST_USAGE, err);
	if (st == ST_OK && w->refused != ST_OK) {
		st = w->refused;
		*err = w->problem;
	}
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

static enum status execute_task(struct worker *w, size_t task, struct error *err)
{
	return execute_sql(w->conn, w->g->sql[task], err);
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
		st = g->perform(w, task, &err);
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

/* Performs n tasks with both workers, calling report() now and then; the first error ends it. */
static enum status run_tasks(struct generator *g, size_t n, enum status (*perform)(struct worker *, size_t, struct error *),
	void (*report)(struct generator *, const char *what), const char *what, struct error *err)
{
	g->perform = perform;
	g->n_tasks = n;
	atomic_store(&g->next_task, 0);
	atomic_store(&g->tasks_done, 0);
	size_t want = n < WORKERS ? n : WORKERS, started = 0;
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

/* The first table that is not complete, or the last. */
static void report_rows(struct generator *g, const char *what)
{
	(void)what;
	if (g->progress == NULL || g->tables.n == 0)
		return;
	size_t i = 0;
	while (i + 1 < g->tables.n && atomic_load(&g->tables.at[i]->done) >= g->tables.at[i]->rows)
		i++;
	g->progress(g->tables.at[i]->name, atomic_load(&g->tables.at[i]->done), g->tables.at[i]->rows, g->arg);
}

static void report_sql(struct generator *g, const char *what)
{
	if (g->progress != NULL)
		g->progress(what, (int64_t)(g->sql_before + atomic_load(&g->tasks_done)), 0, g->arg);
}

/* Runs the steps in field `key` of the data plan: one group after another, the statements of a group at once. */
static enum status run_steps(struct generator *g, const char *key, const char *what, struct error *err)
{
	lua_State *L = g->workers[0].L;
	enum status st = ST_OK;
	lua_getfield(L, 1, key);
	lua_Integer groups = luaL_len(L, -1);
	g->sql_before = 0;
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
		st = run_tasks(g, sql.n, execute_task, report_sql, what, err);
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
	for (int i = 0; i < WORKERS; i++) {
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

enum status generate_data(
	const char *dsn, const char *workload_path, double scale, uint64_t seed, generate_progress *progress, void *arg, struct error *err)
{
	struct generator g = {.seed = seed, .progress = progress, .arg = arg};
	pthread_mutex_init(&g.lock, NULL);
	pthread_cond_init(&g.ended, NULL);
	enum status st = ST_OK;
	for (int i = 0; i < WORKERS; i++) {
		g.workers[i].g = &g;
		buf_init(&g.workers[i].rows, ROW_BYTES_MAX);
	}
	for (int i = 0; i < WORKERS && st == ST_OK; i++)
		st = load_worker(&g.workers[i], workload_path, scale, err);
	for (int i = 0; i < WORKERS && st == ST_OK; i++)
		st = connect_worker(&g.workers[i], dsn, err);
	if (st == ST_OK)
		st = run_steps(&g, "schema", "schema", err);
	if (st == ST_OK) {
		plan_tables(&g);
		st = run_tasks(&g, g.chunks.n, copy_chunk, report_rows, "rows", err);
	}
	if (st == ST_OK)
		st = run_steps(&g, "finish", "keys and indexes", err);
	if (st == ST_USAGE)
		error_where(err, "%s", workload_path);
	free_generator(&g);
	return st;
}
