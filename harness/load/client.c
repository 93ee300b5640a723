/* What a workload's transactions see: c:exec and its fellows. Documented for people in workloads/README.md. A statement is handed to
 * the session, the fiber waits, and its outcome becomes values or an error. */
#define _GNU_SOURCE
#include "load/client.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ERROR_TYPE "pgrehearse statement error"
#define METHODS "pgrehearse client methods"
#define SLOW_NS NS_PER_MS

struct client *client_of(lua_State *L)
{
	struct fiber *f = fiber_of(L);
	if (f == NULL)
		luaL_error(L, "statements can only be executed by the transaction itself, not inside a coroutine of its own");
	if (!lua_isyieldable(L))
		luaL_error(L, "statements cannot be executed inside of args, of c:pipeline (where p does), of a sort and the like");
	return fiber_user(f);
}

/* ---- errors ---- */

static int error_text_of(lua_State *L)
{
	lua_getfield(L, 1, "message");
	lua_getfield(L, 1, "sqlstate");
	lua_pushfstring(L, "%s (%s)", lua_tostring(L, -2), lua_tostring(L, -1));
	return 1;
}

int client_raise(lua_State *L, const char *sqlstate, const char *message)
{
	lua_createtable(L, 0, 2);
	lua_pushstring(L, sqlstate);
	lua_setfield(L, -2, "sqlstate");
	lua_pushstring(L, message);
	lua_setfield(L, -2, "message");
	luaL_setmetatable(L, ERROR_TYPE);
	return lua_error(L);
}

bool client_error_sqlstate(lua_State *L, char out[6])
{
	memcpy(out, "LUA", sizeof "LUA");
	if (!lua_istable(L, -1) || !lua_getmetatable(L, -1))
		return false;
	luaL_getmetatable(L, ERROR_TYPE);
	bool ours = lua_rawequal(L, -1, -2);
	lua_pop(L, 2);
	if (!ours)
		return false;
	lua_pushliteral(L, "sqlstate");
	lua_rawget(L, -2);
	const char *sqlstate = lua_tostring(L, -1);
	if (sqlstate != NULL && strlen(sqlstate) == 5)
		memcpy(out, sqlstate, 6);
	lua_pop(L, 1);
	return true;
}

/* ---- executing ---- */

static void tell_failure(const struct client *c, const struct session_outcome *out)
{
	struct crew *crew = c->worker->crew;
	const struct workload *w = c->worker->workload;
	if (atomic_load(&crew->failures) >= LOAD_FAILURES_TOLD || atomic_fetch_add(&crew->failures, 1) >= LOAD_FAILURES_TOLD)
		return;
	struct load_failure failure = {
		.version = w->versions[c->version].name,
		.transaction = w->transactions[c->transaction].name,
		.statement = c->statement,
		.sqlstate = out->sqlstate,
		.message = out->message,
		.params = c->statement_index < w->n_statements ? w->statements[c->statement_index]->params : 0,
		.values = c->values,
	};
	crew->config->failed(&failure, crew->config->arg);
}

void client_statement_done(struct session *s, void *arg)
{
	struct client *c = arg;
	const struct session_outcome *out = session_outcome(s);
	loop_timer_cancel(c->worker->loop, &c->deadline);
	if (c->sent_ns == 0)
		c->sent_ns = out->sent_ns;
	const struct load_config *config = c->worker->crew->config;
	/* Who waits on a standby is not observed, and its pids are not those of the primary. */
	if (out->done_ns - out->sent_ns >= SLOW_NS && config->slow != NULL && s == c->home && config->pooler_dsn == NULL) {
		const struct workload *w = c->worker->workload;
		struct load_slow slow = {
			.pid = c->pid,
			.sent_ns = out->sent_ns,
			.done_ns = out->done_ns,
			.version = w->versions[c->version].name,
			.transaction = w->transactions[c->transaction].name,
			.statement = c->statement,
		};
		memcpy(slow.sqlstate, out->sqlstate, sizeof slow.sqlstate);
		config->slow(&slow, config->arg);
	}
	if (!out->ok && config->failed != NULL)
		tell_failure(c, out);
	stats_record_statement(c->worker->stats, c->version, c->statement_index, out->ok, out->done_ns - out->sent_ns);
	fiber_resume(c->fiber);
}

void client_prepare_done(struct session *s, void *arg)
{
	struct client *c = arg;
	loop_timer_cancel(c->worker->loop, &c->deadline);
	if (c->sent_ns == 0)
		c->sent_ns = session_outcome(s)->sent_ns;
	fiber_resume(c->fiber);
}

const char *client_note_extra(struct client *c, enum extra_statement extra)
{
	c->statement = stats_extra_name(extra);
	c->statement_index = (unsigned)c->worker->workload->n_statements + (unsigned)extra;
	return c->statement;
}

void client_give_up(struct loop_timer *t)
{
	session_cancel(container_of(t, struct client, deadline)->session);
}

int client_await(lua_State *L, struct client *c, lua_KFunction after, lua_KContext ctx)
{
	int64_t patience_ns = c->worker->workload->transactions[c->transaction].cancel_after_ns;
	if (patience_ns > 0) {
		/* A pipeline that was begun long ago may have used it up: due now, else it would count as a lag of the loop. */
		int64_t due_ns = session_outcome(c->session)->sent_ns + patience_ns, now_ns = loop_now_ns(c->worker->loop);
		loop_timer_set(c->worker->loop, &c->deadline, due_ns > now_ns ? due_ns : now_ns);
	}
	return fiber_wait(L, after, ctx);
}

static void note_statement(struct client *c, const struct session_statement *st)
{
	c->statement = st->name;
	c->statement_index = st->index;
}

const struct session_statement *client_find_statement(lua_State *L, struct client *c)
{
	const struct workload_version *v = &c->worker->workload->versions[c->version];
	luaL_checkstring(L, 2);
	lua_rawgeti(L, LUA_REGISTRYINDEX, v->statements_ref);
	lua_pushvalue(L, 2);
	lua_rawget(L, -2);
	const struct session_statement *st = lua_touserdata(L, -1);
	lua_pop(L, 2);
	if (st == NULL)
		luaL_error(L, "there is no statement %s in version %s", lua_tostring(L, 2), v->name);
	else
		note_statement(c, st);
	return st;
}

void client_take_values(lua_State *L, struct client *c, const struct session_statement *st)
{
	int n = lua_gettop(L) - 2;
	if (n != st->params)
		luaL_error(L, "%s has %d parameters but was given %d", st->name, st->params, n);
	for (int i = 0; i < n; i++)
		c->values[i] = client_format_value(L, c, i, 3 + i);
}

void client_need_results(lua_State *L, const struct client *c)
{
	if (session_in_pipeline(c->session))
		luaL_error(L, "inside of a pipeline there are no results yet");
}

/* Stack: c, name, parameters. They stay while the fiber waits, so their strings live. */
static int execute(lua_State *L, lua_KFunction after)
{
	struct client *c = client_of(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	const struct session_statement *st = client_find_statement(L, c);
	client_take_values(L, c, st);
	if (c->worker->crew->ledger && client_wants_ledger(c, st))
		return client_execute_with_ledger(L, c, st, after);
	session_execute(c->session, st, c->values, client_statement_done, c);
	return client_await(L, c, after, 0);
}

const struct session_outcome *client_check_outcome(lua_State *L)
{
	struct client *c = client_of(L);
	const struct session_outcome *out = session_outcome(c->session);
	if (!out->ok)
		client_raise(L, out->sqlstate, out->message);
	return out;
}

/* ---- results ---- */

static int push_count(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	struct client *c = client_of(L);
	const PGresult *result = client_take_result(L, c);
	lua_pushinteger(L, c->ledgered != NULL ? client_count_rows(result) : session_outcome(c->session)->rows);
	return 1;
}

static int push_first_row(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	const PGresult *result = client_take_result(L, client_of(L));
	if (PQntuples(result) == 0)
		return 0;
	int columns = PQnfields(result);
	luaL_checkstack(L, columns, "too many columns");
	for (int i = 0; i < columns; i++)
		client_push_column(L, result, 0, i);
	return columns;
}

static int push_rows(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	client_push_rows(L, client_take_result(L, client_of(L)));
	return 1;
}

static int enqueue(lua_State *L, struct client *c)
{
	const struct session_statement *st = client_find_statement(L, c);
	client_take_values(L, c, st);
	if (session_state(c->session) == SESSION_BUSY && !session_is_prepared(c->session, st))
		return luaL_error(L, "%s is not among the statements that c:start_pipeline was given", st->name);
	session_enqueue(c->session, st, c->values);
	return 0;
}

static int lua_exec(lua_State *L)
{
	struct client *c = client_of(L);
	return session_in_pipeline(c->session) ? enqueue(L, c) : execute(L, push_count);
}

static int lua_row(lua_State *L)
{
	client_need_results(L, client_of(L));
	return execute(L, push_first_row);
}

static int lua_rows(lua_State *L)
{
	client_need_results(L, client_of(L));
	return execute(L, push_rows);
}

/* ---- transactions ---- */

/* What a COMMIT that did not fail for certain left behind. */
static enum ledger_end ledger_end_of(const struct client *c)
{
	const struct session_outcome *out = session_outcome(c->session);
	if (out->ok)
		return strcmp(PQcmdStatus(out->result), "COMMIT") == 0 ? LEDGER_ACKNOWLEDGED : LEDGER_FAILED;
	/* Whatever the last words were: the connection may have gone behind the commit. */
	return session_state(c->session) == SESSION_CLOSED ? LEDGER_UNKNOWN : LEDGER_FAILED;
}

static int after_command(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	struct client *c = client_of(L);
	ledger_end(&c->book, ledger_end_of(c));
	const struct session_outcome *out = client_check_outcome(L);
	/* COMMIT of a failed transaction succeeds, as a ROLLBACK. A script that caught the error must not take it for done. */
	if (strcmp(c->statement, "COMMIT") == 0 && strcmp(PQcmdStatus(out->result), "ROLLBACK") == 0)
		return client_raise(L, "25P02", "COMMIT was answered with ROLLBACK: a statement of the transaction had failed");
	return 0;
}

const char *client_ledger_row(struct client *c, char out[96])
{
	if (!c->worker->crew->ledger || c->worker->workload->transactions[c->transaction].read_only)
		return NULL;
	c->book.pending = true;
	snprintf(out, 96, "INSERT INTO " LEDGER_TABLE " VALUES (%d, %" PRIu64 ")", c->number, c->book.next);
	return out;
}

/* In one message with the COMMIT, so that it costs no round trip. Only within a block that has not failed: a row that is written outside
 * of the transaction would say nothing about it. */
static const char *commit_with_ledger(struct client *c, char out[112])
{
	char row[96];
	if (session_transaction(c->session) != PQTRANS_INTRANS || client_ledger_row(c, row) == NULL)
		return "COMMIT";
	snprintf(out, 112, "%s; COMMIT", row);
	return out;
}

static int command(lua_State *L, enum extra_statement extra)
{
	char with_ledger[112];
	struct client *c = client_of(L);
	const char *sql = stats_extra_name(extra);
	luaL_checktype(L, 1, LUA_TTABLE);
	if (session_in_pipeline(c->session)) {
		session_enqueue_query(c->session, sql);
		return 0;
	}
	client_note_extra(c, extra);
	if (extra == EXTRA_COMMIT)
		sql = commit_with_ledger(c, with_ledger);
	session_query(c->session, sql, client_statement_done, c);
	return client_await(L, c, after_command, 0);
}

static int lua_begin(lua_State *L)
{
	return command(L, EXTRA_BEGIN);
}

static int lua_commit(lua_State *L)
{
	return command(L, EXTRA_COMMIT);
}

static int lua_rollback(lua_State *L)
{
	return command(L, EXTRA_ROLLBACK);
}

void client_note_pause(struct client *c)
{
	if (c->paused_ns == 0)
		c->paused_ns = clock_now_ns();
}

static int lua_sleep(lua_State *L)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	struct fiber *f = fiber_of(L);
	if (f != NULL)
		client_note_pause(fiber_user(f));
	lua_remove(L, 1);
	return fiber_lua_sleep(L);
}

/* c:count(name, n): n is 1 when left out. */
static int lua_count(lua_State *L)
{
	struct client *c = client_of(L);
	const char *name = luaL_checkstring(L, 2);
	lua_Integer n = luaL_optinteger(L, 3, 1);
	if (!stats_count(&c->worker->counters, name, n))
		return luaL_error(
			L, "%s is one counter too many: %d are possible, with names of 47 characters at most", name, LOAD_COUNTERS_MAX);
	stats_count(&c->worker->stats->counters, name, n);
	return 0;
}

/* ---- the object ---- */

static void push_methods(lua_State *L)
{
	static const luaL_Reg METHOD_LIST[] = {
		{"exec", lua_exec},
		{"row", lua_row},
		{"rows", lua_rows},
		{"begin", lua_begin},
		{"commit", lua_commit},
		{"rollback", lua_rollback},
		{"sleep", lua_sleep},
		{"count", lua_count},
		{"pipeline", client_pipeline},
		{"start_pipeline", client_start_pipeline},
		{"sync_pipeline", client_sync_pipeline},
		{"end_pipeline", client_end_pipeline},
		{"query", client_query},
		{"last_row", client_last_row},
		{"keep_results", client_keep_results},
		{"kept_results", client_kept_results},
		{"shell", client_shell},
		{NULL, NULL},
	};
	if (!luaL_newmetatable(L, METHODS))
		return;
	luaL_setfuncs(L, METHOD_LIST, 0);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	luaL_newmetatable(L, ERROR_TYPE);
	lua_pushcfunction(L, error_text_of);
	lua_setfield(L, -2, "__tostring");
	lua_pop(L, 1);
}

void client_create_object(struct client *c)
{
	size_t params = (size_t)c->worker->workload->params_max + 1;
	if ((c->values = calloc(params, sizeof *c->values)) == NULL || (c->numbers = calloc(params, sizeof *c->numbers)) == NULL)
		abort(); /* as VEC_PUSH: this is set-up */
	lua_State *L = c->worker->L;
	c->random = random_push(L);
	lua_pushvalue(L, -1);
	c->random_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	/* A table: methods are found without calling into C, and the client itself by the fiber that runs. */
	lua_createtable(L, 0, 5);
	lua_insert(L, -2);
	lua_setfield(L, -2, "random");
	lua_pushinteger(L, c->number);
	lua_setfield(L, -2, "number");
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->worker->workload->flags_ref);
	lua_setfield(L, -2, "flags");
	push_methods(L);
	lua_setmetatable(L, -2);
	c->object_ref = luaL_ref(L, LUA_REGISTRYINDEX);
	client_set_version(c);
}

void client_free_object(struct client *c)
{
	client_drop_extras(c);
	free(c->values);
	free(c->numbers);
	VEC_FREE(&c->kept);
	VEC_FREE(&c->book.unknown);
	luaL_unref(c->worker->L, LUA_REGISTRYINDEX, c->object_ref);
	luaL_unref(c->worker->L, LUA_REGISTRYINDEX, c->random_ref);
}

void client_set_version(struct client *c)
{
	lua_State *L = c->worker->L;
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->object_ref);
	lua_pushstring(L, c->worker->workload->versions[c->version].name);
	lua_setfield(L, -2, "version");
	lua_pop(L, 1);
}

static int performed(lua_State *L, int status, lua_KContext ctx)
{
	(void)L, (void)status, (void)ctx;
	return 0;
}

static int perform(lua_State *L, struct client *c)
{
	const struct workload *w = c->worker->workload;
	int args_ref = w->transactions[c->transaction].args_ref;
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->versions[c->version].run_refs[c->transaction]);
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->object_ref);
	if (args_ref != LUA_NOREF) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, args_ref);
		lua_rawgeti(L, LUA_REGISTRYINDEX, c->random_ref);
		lua_call(L, 1, LUA_MULTRET);
	}
	lua_callk(L, lua_gettop(L) - 1, 0, 0, performed);
	return 0;
}

/* statement_timeout as the session of this transaction has it. */
static int64_t *timeout_of(struct client *c)
{
	return c->session == c->home ? &c->timeout_ns : &c->replica.timeout_ns;
}

static int timeout_set(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	client_check_outcome(L);
	struct client *c = client_of(L);
	*timeout_of(c) = c->worker->workload->transactions[c->transaction].statement_timeout_ns;
	lua_settop(L, 0);
	return perform(L, c);
}

static int client_perform(lua_State *L)
{
	struct client *c = client_of(L);
	int64_t timeout_ns = c->worker->workload->transactions[c->transaction].statement_timeout_ns;
	if (timeout_ns == *timeout_of(c))
		return perform(L, c);
	char sql[64];
	snprintf(sql, sizeof sql, timeout_ns == 0 ? "RESET statement_timeout" : "SET statement_timeout = %" PRId64, timeout_ns / NS_PER_MS);
	client_note_extra(c, EXTRA_SET);
	session_query(c->session, sql, client_statement_done, c);
	return client_await(L, c, timeout_set, 0);
}

int client_push_transaction(lua_State *L, struct client *c)
{
	const struct workload *w = c->worker->workload;
	const struct workload_transaction *t = &w->transactions[c->transaction];
	/* Nothing to do before it, most often: then Lua's function is called without one of ours around it. */
	if (t->args_ref != LUA_NOREF || t->statement_timeout_ns != *timeout_of(c)) {
		lua_pushcfunction(L, client_perform);
		return 0;
	}
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->versions[c->version].run_refs[c->transaction]);
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->object_ref);
	return 1;
}
