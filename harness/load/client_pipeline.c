/* Pipelines of a transaction: statements that are sent without waiting for the results of those before. c:pipeline notes them first and
 * returns their results; between c:start_pipeline and c:end_pipeline c:exec sends at once. */
#define _GNU_SOURCE
#include "load/client.h"

#include <string.h>

static int begin_pipeline(lua_State *L, int status, lua_KContext ctx);

/* Prepares the statements at indexes from ctx on that are not, each in a wait of its own, then begins. A pipeline could carry Parse
 * messages too, but one that fails would leave it unknown which of the statements behind it exist. */
static int prepare_next(lua_State *L, lua_KContext ctx)
{
	struct client *c = client_of(L);
	int top = lua_gettop(L);
	for (int i = (int)ctx; i <= top; i++) {
		lua_pushvalue(L, i);
		lua_replace(L, 2);
		const struct session_statement *st = client_find_statement(L, c);
		if (session_is_prepared(c->session, st))
			continue;
		session_prepare(c->session, st, client_prepare_done, c);
		return client_await(L, c, begin_pipeline, i + 1);
	}
	client_note_extra(c, EXTRA_PIPELINE);
	session_begin_pipeline(c->session);
	return 0;
}

static int begin_pipeline(lua_State *L, int status, lua_KContext ctx)
{
	(void)status;
	client_check_outcome(L);
	return prepare_next(L, ctx);
}

int client_start_pipeline(lua_State *L)
{
	struct client *c = client_of(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	if (session_in_pipeline(c->session))
		return luaL_error(L, "a pipeline begins inside of another one");
	lua_pushnil(L);
	lua_insert(L, 2); /* where client_find_statement looks */
	return prepare_next(L, 3);
}

static struct client *client_in_pipeline(lua_State *L)
{
	struct client *c = client_of(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	if (!session_in_pipeline(c->session))
		luaL_error(L, "there is no pipeline");
	return c;
}

int client_sync_pipeline(lua_State *L)
{
	session_sync_pipeline(client_in_pipeline(L)->session);
	return 0;
}

static int after_pipeline(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	client_check_outcome(L);
	return 0;
}

int client_end_pipeline(lua_State *L)
{
	struct client *c = client_in_pipeline(L);
	client_note_extra(c, EXTRA_PIPELINE);
	session_end_pipeline(c->session, client_statement_done, c);
	return client_await(L, c, after_pipeline, 0);
}

/* ---- c:pipeline(function(p) p:exec(...) ... end) ---- */

#define RECORDER "pgrehearse pipeline"

/* What p notes is a list of tables { kind, name, values..., n = number of values }. */
enum kind { KIND_EXEC, KIND_ROW, KIND_ROWS, KIND_COMMAND };

static int note(lua_State *L, enum kind kind)
{
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checkstring(L, 2);
	int n = lua_gettop(L) - 2;
	lua_createtable(L, n + 2, 1);
	lua_insert(L, 2);
	for (int i = n; i >= 0; i--)
		lua_rawseti(L, 2, i + 2);
	lua_pushinteger(L, kind);
	lua_rawseti(L, 2, 1);
	lua_pushinteger(L, n);
	lua_setfield(L, 2, "n");
	lua_rawseti(L, 1, (lua_Integer)lua_rawlen(L, 1) + 1);
	return 0;
}

static int note_exec(lua_State *L)
{
	return note(L, KIND_EXEC);
}

static int note_row(lua_State *L)
{
	return note(L, KIND_ROW);
}

static int note_rows(lua_State *L)
{
	return note(L, KIND_ROWS);
}

static int note_command(lua_State *L, const char *sql)
{
	lua_settop(L, 1);
	lua_pushstring(L, sql);
	return note(L, KIND_COMMAND);
}

static int note_begin(lua_State *L)
{
	return note_command(L, "BEGIN");
}

static int note_commit(lua_State *L)
{
	return note_command(L, "COMMIT");
}

static int note_rollback(lua_State *L)
{
	return note_command(L, "ROLLBACK");
}

static void push_recorder(lua_State *L)
{
	static const luaL_Reg NOTES[] = {
		{"exec", note_exec},
		{"row", note_row},
		{"rows", note_rows},
		{"begin", note_begin},
		{"commit", note_commit},
		{"rollback", note_rollback},
		{NULL, NULL},
	};
	lua_newtable(L);
	if (luaL_newmetatable(L, RECORDER)) {
		luaL_setfuncs(L, NOTES, 0);
		lua_pushvalue(L, -1);
		lua_setfield(L, -2, "__index");
	}
	lua_setmetatable(L, -2);
}

/* p stands in the registry under c's address while the pipeline is prepared. Makes the stack c, name, values... of its entry i; returns
 * the entry's kind. */
static enum kind push_entry(lua_State *L, const struct client *c, lua_Integer i)
{
	lua_settop(L, 1);
	lua_rawgetp(L, LUA_REGISTRYINDEX, c);
	lua_rawgeti(L, 2, i);
	lua_remove(L, 2);
	lua_getfield(L, 2, "n");
	int n = (int)lua_tointeger(L, -1);
	lua_pop(L, 1);
	luaL_checkstack(L, n + 3, "too many parameters");
	for (int k = 1; k <= n + 2; k++)
		lua_rawgeti(L, 2, k);
	enum kind kind = (enum kind)lua_tointeger(L, 3);
	lua_remove(L, 3);
	lua_remove(L, 2);
	return kind;
}

static lua_Integer count_entries(lua_State *L, const struct client *c)
{
	lua_rawgetp(L, LUA_REGISTRYINDEX, c);
	lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
	lua_pop(L, 1);
	return n;
}

static void push_result(lua_State *L, enum kind kind, PGresult *result)
{
	if (kind == KIND_ROWS)
		client_push_rows(L, result);
	else if (kind == KIND_ROW && PQntuples(result) > 0)
		client_push_row(L, result, 0);
	else if (kind == KIND_EXEC)
		lua_pushinteger(L, client_count_rows(result));
	else
		lua_pushboolean(L, kind == KIND_COMMAND);
}

/* What is known of the COMMIT that the ledger's row belongs to: its result may have come although a later statement failed. Without one
 * the pipeline is an implicit transaction, which its sync commits. */
static enum ledger_end ledger_end_of(const struct client *c)
{
	size_t commit = (size_t)c->ledger_result + 1;
	if (c->ledger_implicit && session_outcome(c->session)->ok)
		return LEDGER_ACKNOWLEDGED;
	if (!c->ledger_implicit && commit < c->kept.n)
		return strcmp(PQcmdStatus(c->kept.at[commit]), "COMMIT") == 0 ? LEDGER_ACKNOWLEDGED : LEDGER_FAILED;
	return session_state(c->session) == SESSION_CLOSED ? LEDGER_UNKNOWN : LEDGER_FAILED;
}

/* The results stand in c->kept, one an entry since none failed, and that of the ledger's row. */
static int push_results(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	struct client *c = client_of(L);
	c->piping = false;
	ledger_end(&c->book, ledger_end_of(c));
	client_check_outcome(L);
	lua_settop(L, 0);
	lua_rawgetp(L, LUA_REGISTRYINDEX, c);
	lua_createtable(L, (int)c->kept.n, 0);
	lua_Integer entry = 0;
	for (size_t i = 0; i < c->kept.n; i++) {
		if ((int)i == c->ledger_result)
			continue;
		lua_rawgeti(L, 1, ++entry);
		lua_rawgeti(L, 3, 1);
		enum kind kind = (enum kind)lua_tointeger(L, -1);
		lua_settop(L, 2);
		push_result(L, kind, c->kept.at[i]);
		lua_rawseti(L, 2, entry);
	}
	client_drop_results(c);
	return 1;
}

/* Everything is prepared and has been looked at: nothing raises between here and the wait. */
static int send_entries(lua_State *L, struct client *c)
{
	lua_Integer n = count_entries(L, c);
	session_begin_pipeline(c->session);
	c->piping = true;
	c->ledger_result = -1;
	c->ledger_implicit = c->worker->crew->ledger && session_transaction(c->session) == PQTRANS_IDLE;
	bool writes = false;
	bool begun = session_transaction(c->session) == PQTRANS_INTRANS;
	for (lua_Integer i = 1; i <= n; i++) {
		char row[96];
		if (push_entry(L, c, i) == KIND_COMMAND) {
			const char *sql = lua_tostring(L, 2);
			c->ledger_implicit = false;
			begun = begun || strcmp(sql, "BEGIN") == 0;
			/* One row a pipeline: of its first COMMIT. */
			if (begun && c->ledger_result < 0 && strcmp(sql, "COMMIT") == 0 && client_ledger_row(c, row) != NULL) {
				c->ledger_result = (int)i - 1;
				session_enqueue_query(c->session, row);
			}
			session_enqueue_query(c->session, sql);
			continue;
		}
		const struct session_statement *st = client_find_statement(L, c);
		client_take_values(L, c, st);
		session_enqueue(c->session, st, c->values);
		writes = writes || c->worker->workload->kinds[st->index] == STATEMENT_WRITES;
		c->ledger_implicit = c->ledger_implicit && c->worker->workload->kinds[st->index] != STATEMENT_COMMITS;
		if (i == n && writes && c->ledger_implicit && client_ledger_row(c, row) != NULL) {
			c->ledger_result = (int)n;
			session_enqueue_query(c->session, row);
		}
	}
	lua_settop(L, 1);
	client_note_extra(c, EXTRA_PIPELINE);
	session_end_pipeline(c->session, client_statement_done, c);
	return client_await(L, c, push_results, 0);
}

/* Prepares what is not, each in a wait of its own: a Parse within the pipeline would take a snapshot before a BEGIN that asks for an
 * isolation level, and its failure would leave it unknown what is prepared. */
static int prepare_entries(lua_State *L, int status, lua_KContext from)
{
	(void)status;
	struct client *c = client_of(L);
	if (from > 1)
		client_check_outcome(L);
	lua_Integer n = count_entries(L, c);
	for (lua_Integer i = from; i <= n; i++) {
		if (push_entry(L, c, i) == KIND_COMMAND)
			continue;
		const struct session_statement *st = client_find_statement(L, c);
		client_take_values(L, c, st);
		if (session_is_prepared(c->session, st))
			continue;
		session_prepare(c->session, st, client_prepare_done, c);
		return client_await(L, c, prepare_entries, i + 1);
	}
	return send_entries(L, c);
}

int client_pipeline(lua_State *L)
{
	struct client *c = client_of(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	luaL_checktype(L, 2, LUA_TFUNCTION);
	client_need_results(L, c);
	lua_settop(L, 2);
	push_recorder(L);
	lua_pushvalue(L, 3);
	lua_rawsetp(L, LUA_REGISTRYINDEX, c);
	lua_call(L, 1, 0);
	client_drop_results(c);
	return prepare_entries(L, LUA_OK, 1);
}
