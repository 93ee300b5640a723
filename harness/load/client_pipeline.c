/* Pipelines of a transaction: c:exec between c:start_pipeline and c:end_pipeline sends a statement without waiting for its result. */
#define _GNU_SOURCE
#include "load/client.h"

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
		session_prepare(c->session, st, client_statement_done, c);
		return fiber_wait(L, begin_pipeline, i + 1);
	}
	c->statement = "pipeline";
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
	c->statement = "pipeline";
	session_end_pipeline(c->session, client_statement_done, c);
	return client_await(L, c, after_pipeline, 0);
}
