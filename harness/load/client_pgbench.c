/* What pgbench's scripts do beside c:exec: simple queries, rows that become variables, shell commands. */
#define _GNU_SOURCE
#include "load/client.h"
#include "load/shell.h"

#include <string.h>

static int after_query(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	client_take_result(L, client_of(L));
	return 0;
}

int client_query(lua_State *L)
{
	struct client *c = client_of(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	client_need_results(L, c);
	const struct session_statement *st = client_find_statement(L, c);
	const char *sql = luaL_checkstring(L, 3);
	for (int i = 0; i < st->params; i++) /* they are within the text */
		c->values[i] = NULL;
	if (c->worker->crew->ledger && client_wants_ledger(c, st))
		sql = client_query_with_ledger(L, c, sql);
	session_query(c->session, sql, client_statement_done, c);
	return client_await(L, c, after_query, 0);
}

/* ---- rows by name ---- */

/* Pushes the number of rows and, for each column of the last row, name and text ("" for NULL). */
static int push_last_row(lua_State *L, const PGresult *result)
{
	bool rows = PQresultStatus(result) == PGRES_TUPLES_OK;
	int n = rows ? PQntuples(result) : 0, columns = n > 0 ? PQnfields(result) : 0;
	luaL_checkstack(L, 2 * columns + 1, "too many columns");
	lua_pushinteger(L, n);
	for (int i = 0; i < columns; i++) {
		lua_pushstring(L, PQfname(result, i));
		lua_pushlstring(L, PQgetvalue(result, n - 1, i), (size_t)PQgetlength(result, n - 1, i));
	}
	return 1 + 2 * columns;
}

int client_last_row(lua_State *L)
{
	struct client *c = client_of(L);
	client_need_results(L, c);
	return push_last_row(L, client_latest_result(c));
}

void client_drop_results(struct client *c)
{
	for (size_t i = 0; i < c->kept.n; i++)
		PQclear(c->kept.at[i]);
	c->kept.n = 0;
	c->ledgered = NULL;
	c->keeping = c->piping = false;
}

bool client_keep_result(struct session *s, PGresult *result, void *arg)
{
	(void)s;
	struct client *c = arg;
	if (c->piping) {
		VEC_PUSH(&c->kept, result);
		return true;
	}
	if (!c->keeping || PQresultStatus(result) != PGRES_TUPLES_OK)
		return false;
	PGresult *copy = PQcopyResult(result, PG_COPYRES_ATTRS | PG_COPYRES_TUPLES);
	if (copy != NULL)
		VEC_PUSH(&c->kept, copy);
	return false;
}

int client_keep_results(lua_State *L)
{
	struct client *c = client_of(L);
	client_need_results(L, c);
	client_drop_results(c);
	c->keeping = true;
	return 0;
}

int client_kept_results(lua_State *L)
{
	struct client *c = client_of(L);
	lua_settop(L, 0);
	lua_createtable(L, (int)c->kept.n, 0);
	for (size_t i = 0; i < c->kept.n; i++) {
		lua_newtable(L);
		int n = push_last_row(L, c->kept.at[i]);
		for (; n > 0; n--)
			lua_rawseti(L, 2, n);
		lua_rawseti(L, 1, (lua_Integer)i + 1);
	}
	client_drop_results(c);
	return 1;
}

/* ---- the shell ---- */

static void shell_done(int exit_code, const char *output, size_t len, void *arg)
{
	struct client *c = arg;
	c->shell = NULL;
	c->shell_exit = exit_code;
	c->shell_output = output;
	c->shell_len = len;
	fiber_resume(c->fiber);
}

static int push_shell(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	const struct client *c = client_of(L);
	lua_pushinteger(L, c->shell_exit);
	lua_pushlstring(L, c->shell_output, c->shell_len);
	return 2;
}

int client_shell(lua_State *L)
{
	struct client *c = client_of(L);
	struct error err;
	if (shell_start(c->worker->loop, luaL_checkstring(L, 2), shell_done, c, &c->shell, &err) != ST_OK)
		return luaL_error(L, "%s", err.what);
	client_note_pause(c);
	return fiber_wait(L, push_shell, 0);
}

void client_drop_extras(struct client *c)
{
	client_drop_results(c);
	shell_cancel(c->shell);
	c->shell = NULL;
}
