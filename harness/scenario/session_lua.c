/* The conductor's SQL sessions for Lua: a fiber waits while the server works. */
#define _GNU_SOURCE
#include "scenario/session_lua.h"

#include "base/clock.h"
#include "runtime/fiber.h"
#include "runtime/session.h"
#include "scenario/exec_lua.h"
#include "scenario/host.h"
#include "scenario/value_lua.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define METATABLE "rehearse.session"
#define CONNECT_TIMEOUT_NS (10 * NS_PER_S)
#define NOTICES_MAX 64 /* kept of one operation; more are counted */

struct host_notice {
	char severity[16];
	char text[256];
};

/* Owned by the host, which closes all; the Lua object only points to it, so it may be collected at any time. */
struct host_session {
	struct host_session *next;
	struct session *session;
	struct fiber *owner; /* that opened it */
	struct fiber *fiber; /* that waits for the operation under way; NULL: nobody does */
	int64_t asked_ns;
	struct host_notice notices[NOTICES_MAX]; /* that the server sent during the operation */
	int notices_n;
	int notices_dropped;
};

/* pg_type.h is not among libpq's headers. */

static struct host_session *check_session(lua_State *L)
{
	struct host_session *s = *(struct host_session **)luaL_checkudata(L, 1, METATABLE);
	if (s == NULL)
		luaL_error(L, "this session is closed");
	return s;
}

static void operation_ended(struct session *session, void *arg)
{
	(void)session;
	struct host_session *s = arg;
	struct fiber *f = s->fiber;
	s->fiber = NULL;
	if (f != NULL)
		fiber_resume(f);
}

static void on_notice(struct session *session, const PGresult *notice, void *arg)
{
	(void)session;
	struct host_session *s = arg;
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *text = PQresultErrorField(notice, PG_DIAG_MESSAGE_PRIMARY);
	if (text == NULL)
		return;
	if (s->notices_n == NOTICES_MAX) {
		s->notices_dropped++;
		return;
	}
	struct host_notice *n = &s->notices[s->notices_n++];
	snprintf(n->severity, sizeof n->severity, "%s", severity != NULL ? severity : "");
	size_t length = strlen(text);
	if (length >= sizeof n->text)
		for (length = sizeof n->text - 1; length > 0 && ((unsigned char)text[length] & 0xC0) == 0x80; length--)
			;
	snprintf(n->text, sizeof n->text, "%.*s", (int)length, text);
}

static int wait_for_it(lua_State *L, struct host_session *s, lua_KFunction k)
{
	return fiber_wait(L, k, (lua_KContext)(intptr_t)s);
}

static struct host_session *context_session(lua_KContext ctx)
{
	return (struct host_session *)(intptr_t)ctx;
}

static void push_values(lua_State *L, const PGresult *r)
{
	int rows = r != NULL && PQresultStatus(r) == PGRES_TUPLES_OK ? PQntuples(r) : 0;
	int cols = r != NULL ? PQnfields(r) : 0;
	lua_createtable(L, rows, 0);
	for (int i = 0; i < rows; i++) {
		lua_createtable(L, cols, 1);
		for (int c = 0; c < cols; c++) {
			value_push_lua(L, r, i, c);
			lua_rawseti(L, -2, c + 1);
		}
		lua_pushinteger(L, cols);
		lua_setfield(L, -2, "n");
		lua_rawseti(L, -2, i + 1);
	}
}

static void push_notices(lua_State *L, const struct host_session *s)
{
	lua_createtable(L, s->notices_n, 0);
	for (int i = 0; i < s->notices_n; i++) {
		lua_createtable(L, 0, 2);
		lua_pushstring(L, s->notices[i].severity);
		lua_setfield(L, -2, "severity");
		lua_pushstring(L, s->notices[i].text);
		lua_setfield(L, -2, "text");
		lua_rawseti(L, -2, i + 1);
	}
}

static int after_query(lua_State *L, int status, lua_KContext ctx)
{
	(void)status;
	struct host_session *s = context_session(ctx);
	const struct session_outcome *o = session_outcome(s->session);
	struct host *h = lua_touserdata(L, lua_upvalueindex(1));
	int64_t origin = record_start_ns(h->record);
	lua_createtable(L, 0, 9);
	lua_pushboolean(L, o->ok);
	lua_setfield(L, -2, "ok");
	lua_pushstring(L, o->sqlstate);
	lua_setfield(L, -2, "sqlstate");
	lua_pushstring(L, o->message);
	lua_setfield(L, -2, "message");
	lua_pushinteger(L, o->rows);
	lua_setfield(L, -2, "rows");
	lua_pushinteger(L, (o->sent_ns > 0 ? o->sent_ns : s->asked_ns) - origin);
	lua_setfield(L, -2, "start_ns");
	lua_pushinteger(L, (o->done_ns > 0 ? o->done_ns : clock_now_ns()) - origin);
	lua_setfield(L, -2, "end_ns");
	push_values(L, o->ok ? o->result : NULL);
	lua_setfield(L, -2, "values");
	push_notices(L, s);
	lua_setfield(L, -2, "notices");
	lua_pushinteger(L, s->notices_dropped);
	lua_setfield(L, -2, "notices_dropped");
	return 1;
}

static int host_lua_query(lua_State *L)
{
	struct host_session *s = check_session(L);
	const char *sql = luaL_checkstring(L, 2);
	int n = lua_gettop(L) - 2;
	luaL_argcheck(L, n <= SESSION_PARAMS_MAX, 2, "too many parameters");
	if (s->fiber != NULL)
		return luaL_error(L, "this session is busy");
	if (fiber_of(L) == NULL)
		return luaL_error(L, "a statement can be performed by a step only, not inside a coroutine of the script's own");
	const char **values = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *values, 0); /* behind the parameters */
	for (int i = 0; i < n; i++) {
		int at = 3 + i;
		if (lua_isboolean(L, at))
			values[i] = lua_toboolean(L, at) ? "true" : "false";
		else if (lua_isnil(L, at))
			values[i] = NULL;
		else
			values[i] = luaL_checkstring(L, at);
	}
	s->fiber = fiber_of(L);
	s->asked_ns = clock_now_ns();
	s->notices_n = s->notices_dropped = 0;
	/* The parameters stay on the fiber's stack, so their text lives until the operation is done. */
	if (n > 0)
		session_query_params(s->session, sql, n, values, operation_ended, s);
	else
		session_query(s->session, sql, operation_ended, s);
	return wait_for_it(L, s, after_query);
}

static int host_lua_pid(lua_State *L)
{
	lua_pushinteger(L, session_pid(check_session(L)->session));
	return 1;
}

static int host_lua_connected(lua_State *L)
{
	lua_pushboolean(L, session_state(check_session(L)->session) == SESSION_IDLE);
	return 1;
}

/* Asks the server to give up what is under way; nothing when nothing is. */
static int host_lua_cancel(lua_State *L)
{
	struct host_session *s = check_session(L);
	if (session_state(s->session) == SESSION_BUSY)
		session_cancel(s->session);
	return 0;
}

/* Ends the connection; the object is of no use afterwards. Nobody may be waiting for it. */
static int host_lua_close(lua_State *L)
{
	struct host *h = lua_touserdata(L, lua_upvalueindex(1));
	struct host_session *s = check_session(L);
	if (s->fiber != NULL)
		return luaL_error(L, "this session is busy");
	*(struct host_session **)lua_touserdata(L, 1) = NULL;
	for (struct host_session **at = &h->sessions; *at != NULL; at = &(*at)->next)
		if (*at == s) {
			*at = s->next;
			break;
		}
	session_free(s->session);
	free(s);
	return 0;
}

/* session:cut(): the connection breaks, without a word to the server. */
static int host_lua_cut(lua_State *L)
{
	struct host_session *s = check_session(L);
	PGconn *conn = session_conn(s->session);
	if (conn != NULL && PQsocket(conn) >= 0)
		shutdown(PQsocket(conn), SHUT_RDWR);
	return 0;
}

static int after_connect(lua_State *L, int status, lua_KContext ctx)
{
	(void)status;
	struct host_session *s = context_session(ctx);
	const struct session_outcome *o = session_outcome(s->session);
	if (!o->ok)
		return luaL_error(L, "cannot connect: %s (SQLSTATE %s)", o->message, o->sqlstate);
	*(struct host_session **)lua_newuserdatauv(L, sizeof s, 0) = s;
	luaL_setmetatable(L, METATABLE);
	return 1;
}

int session_lua_open(lua_State *L)
{
	struct host *h = lua_touserdata(L, lua_upvalueindex(1));
	const char *name = luaL_checkstring(L, 1);
	if (fiber_of(L) == NULL)
		return luaL_error(L, "a session can be opened by a step only, not inside a coroutine of the script's own");
	struct host_session *s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	struct session_hooks hooks = {.notice = on_notice, .arg = s};
	s->session = session_create(h->loop, h->spec->dsn, name, &hooks);
	s->owner = s->fiber = fiber_of(L);
	s->next = h->sessions;
	h->sessions = s;
	session_connect(s->session, CONNECT_TIMEOUT_NS, operation_ended, s);
	return wait_for_it(L, s, after_connect);
}

void host_close_sessions(struct host *h)
{
	exec_lua_stop(h);
	bool busy = false;
	for (struct host_session *s = h->sessions; s != NULL; s = s->next) {
		s->fiber = NULL;
		if (session_state(s->session) == SESSION_BUSY) {
			session_cancel(s->session);
			busy = true;
		}
	}
	/* A cancelled statement ends in milliseconds; one that does not is left to the server, which notices that we are gone. */
	for (int64_t until = clock_now_ns() + 2 * NS_PER_S; busy && clock_now_ns() < until;) {
		loop_run_once(h->loop, 20 * NS_PER_MS);
		busy = false;
		for (struct host_session *s = h->sessions; s != NULL; s = s->next)
			busy = busy || session_state(s->session) == SESSION_BUSY;
	}
	while (h->sessions != NULL) {
		struct host_session *s = h->sessions;
		h->sessions = s->next;
		session_free(s->session);
		free(s);
	}
}

void session_lua_forget(struct host *h, const struct fiber *f)
{
	exec_lua_forget(h, f);
	for (struct host_session *s = h->sessions; s != NULL; s = s->next) {
		if (s->owner != f)
			continue;
		s->fiber = NULL;
		if (session_state(s->session) == SESSION_BUSY)
			session_cancel(s->session);
		session_close(s->session);
	}
}

void session_lua_register(lua_State *L, struct host *h)
{
	static const luaL_Reg METHODS[] = {{"query", host_lua_query}, {"pid", host_lua_pid}, {"connected", host_lua_connected},
		{"cancel", host_lua_cancel}, {"close", host_lua_close}, {"cut", host_lua_cut}, {NULL, NULL}};
	luaL_newmetatable(L, METATABLE);
	luaL_newlibtable(L, METHODS);
	lua_pushlightuserdata(L, h);
	luaL_setfuncs(L, METHODS, 1);
	lua_setfield(L, -2, "__index");
	lua_pop(L, 1);
}
