/* The Lua module `server`, documented in the header. */
#define _GNU_SOURCE
#include "scenario/server_lua.h"
#include "scenario/value_lua.h"

#include <lauxlib.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define METATABLE "rehearse.connection"
#define ANSWER_MS 5
#define NOTICES_MAX 256

/* pg_type.h is not among libpq's headers. */

struct place {
	const char *dsn;
	const volatile sig_atomic_t *stop;
};

struct connection {
	PGconn *pg; /* NULL once closed */
	lua_State *L;
	int notices_ref; /* list of the operation under way */
};

static struct place *place_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

static struct connection *check_connection(lua_State *L)
{
	struct connection *c = luaL_checkudata(L, 1, METATABLE);
	if (c->pg == NULL)
		luaL_error(L, "this connection is closed");
	return c;
}

/* libpq calls it while it reads, which is inside a call from Lua. */
static void on_notice(void *arg, const PGresult *notice)
{
	struct connection *c = arg;
	lua_State *L = c->L;
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	if (text == NULL || c->notices_ref == LUA_NOREF || !lua_checkstack(L, 4))
		return;
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->notices_ref);
	lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
	if (n < NOTICES_MAX) {
		lua_createtable(L, 0, 2);
		lua_pushstring(L, severity != NULL ? severity : "");
		lua_setfield(L, -2, "severity");
		lua_pushstring(L, text);
		lua_setfield(L, -2, "text");
		lua_rawseti(L, -2, n + 1);
	}
	lua_pop(L, 1);
}

/* r is cleared by the caller. */
static void push_result(lua_State *L, struct connection *c, const PGresult *r)
{
	ExecStatusType status = PQresultStatus(r);
	bool ok = status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK || status == PGRES_EMPTY_QUERY;
	lua_createtable(L, 0, 6);
	lua_pushboolean(L, ok);
	lua_setfield(L, -2, "ok");
	const char *sqlstate = PQresultErrorField(r, PG_DIAG_SQLSTATE);
	lua_pushstring(L, ok ? "00000" : sqlstate != NULL ? sqlstate : "08006");
	lua_setfield(L, -2, "sqlstate");
	const char *message = PQresultErrorField(r, PG_DIAG_MESSAGE_PRIMARY);
	lua_pushstring(L, message != NULL ? message : ok ? "" : PQerrorMessage(c->pg));
	lua_setfield(L, -2, "message");
	int rows = status == PGRES_TUPLES_OK ? PQntuples(r) : 0;
	int cols = PQnfields(r);
	lua_pushinteger(L, rows > 0 ? rows : strtoll(PQcmdTuples((PGresult *)r), NULL, 10));
	lua_setfield(L, -2, "rows");
	lua_createtable(L, rows, 0);
	for (int i = 0; i < rows; i++) {
		lua_createtable(L, cols, 1);
		for (int k = 0; k < cols; k++) {
			value_push_lua(L, r, i, k);
			lua_rawseti(L, -2, k + 1);
		}
		lua_rawseti(L, -2, i + 1);
	}
	lua_setfield(L, -2, "values");
	lua_rawgeti(L, LUA_REGISTRYINDEX, c->notices_ref);
	lua_setfield(L, -2, "notices");
	luaL_unref(L, LUA_REGISTRYINDEX, c->notices_ref);
	c->notices_ref = LUA_NOREF;
}

static void begin_operation(lua_State *L, struct connection *c)
{
	c->L = L;
	luaL_unref(L, LUA_REGISTRYINDEX, c->notices_ref);
	lua_newtable(L);
	c->notices_ref = luaL_ref(L, LUA_REGISTRYINDEX);
}

static int connection_query(lua_State *L)
{
	struct connection *c = check_connection(L);
	const char *sql = luaL_checkstring(L, 2);
	begin_operation(L, c);
	PGresult *r = PQexec(c->pg, sql);
	push_result(L, c, r);
	PQclear(r);
	return 1;
}

static int connection_send(lua_State *L)
{
	struct connection *c = check_connection(L);
	const char *sql = luaL_checkstring(L, 2);
	begin_operation(L, c);
	if (PQsendQuery(c->pg, sql) != 1)
		return luaL_error(L, "%s", PQerrorMessage(c->pg));
	return 0;
}

static int connection_answer(lua_State *L)
{
	struct connection *c = check_connection(L);
	c->L = L;
	if (PQisBusy(c->pg)) {
		struct pollfd p = {.fd = PQsocket(c->pg), .events = POLLIN};
		if (poll(&p, 1, ANSWER_MS) > 0)
			(void)PQconsumeInput(c->pg);
		if (PQisBusy(c->pg))
			return 0;
	}
	PGresult *r = PQgetResult(c->pg);
	if (r == NULL)
		return luaL_error(L, "nothing was sent");
	push_result(L, c, r);
	PQclear(r);
	while ((r = PQgetResult(c->pg)) != NULL)
		PQclear(r);
	return 1;
}

static int connection_pid(lua_State *L)
{
	lua_pushinteger(L, PQbackendPID(check_connection(L)->pg));
	return 1;
}

static int connection_version(lua_State *L)
{
	lua_pushinteger(L, PQserverVersion(check_connection(L)->pg));
	return 1;
}

static int connection_close(lua_State *L)
{
	struct connection *c = luaL_checkudata(L, 1, METATABLE);
	PQfinish(c->pg);
	c->pg = NULL;
	luaL_unref(L, LUA_REGISTRYINDEX, c->notices_ref);
	c->notices_ref = LUA_NOREF;
	return 0;
}

static int server_connect(lua_State *L)
{
	struct place *p = place_of(L);
	const char *database = luaL_optstring(L, 1, NULL);
	/* What stands later wins over what the connection string says. */
	const char *names[] = {"dbname", "connect_timeout", "application_name", database != NULL ? "dbname" : NULL, NULL};
	const char *values[] = {p->dsn, "10", "pgrehearse catalogue", database, NULL};
	struct connection *c = lua_newuserdatauv(L, sizeof *c, 0);
	*c = (struct connection){.L = L, .notices_ref = LUA_NOREF};
	luaL_setmetatable(L, METATABLE);
	c->pg = PQconnectdbParams(names, values, 1);
	if (PQstatus(c->pg) != CONNECTION_OK)
		return luaL_error(L, "cannot connect: %s", PQerrorMessage(c->pg));
	PQsetNoticeReceiver(c->pg, on_notice, c);
	return 1;
}

static int server_stopped(lua_State *L)
{
	const volatile sig_atomic_t *stop = place_of(L)->stop;
	lua_pushboolean(L, stop != NULL && *stop != 0);
	return 1;
}

static int open_server(lua_State *L)
{
	static const luaL_Reg METHODS[] = {
		{"query", connection_query},
		{"send", connection_send},
		{"answer", connection_answer},
		{"pid", connection_pid},
		{"version", connection_version},
		{"close", connection_close},
		{"__gc", connection_close},
		{NULL, NULL},
	};
	static const luaL_Reg FUNCTIONS[] = {{"connect", server_connect}, {"stopped", server_stopped}, {NULL, NULL}};
	luaL_newmetatable(L, METATABLE);
	luaL_setfuncs(L, METHODS, 0);
	lua_pushvalue(L, -1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
	luaL_newlibtable(L, FUNCTIONS);
	lua_pushvalue(L, lua_upvalueindex(1));
	luaL_setfuncs(L, FUNCTIONS, 1);
	return 1;
}

void server_preload_lua(lua_State *L, const char *dsn, const volatile sig_atomic_t *stop)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	struct place *p = lua_newuserdatauv(L, sizeof *p, 0);
	*p = (struct place){.dsn = dsn, .stop = stop};
	lua_pushcclosure(L, open_server, 1);
	lua_setfield(L, -2, "server");
	lua_pop(L, 1);
}
