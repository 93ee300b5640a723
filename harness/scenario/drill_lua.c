/* Bursts of traffic, failover, the server's programs and remembered states for the drills' Lua side. */
#define _GNU_SOURCE
#include "scenario/drill_lua.h"

#include "clone/sandbox.h"
#include "load/workload.h"
#include "scenario/host.h"
#include "scenario/lua_json.h"
#include "scenario/target.h"
#include "scenario/traffic.h"
#include "base/json_lua.h"

#include <lauxlib.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char *const NAMES[] = {"forward", "rollback", "rollback-each", "crash", "failover", "failover-sync", "versions",
	"blocked-reader", "blocked-writer", "blocked-dump", "blocked-vacuum", "blocked-prepared", NULL};

const char *const *drill_names(void)
{
	return NAMES;
}

static struct host *host_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

/* host.set_load{rate, mix, flags}: as host.change_load, but no event: bursts of a drill are too many. */
static int host_lua_set_load(lua_State *L)
{
	struct host *h = host_of(L);
	struct error err;
	json_t *event = NULL;
	luaL_checktype(L, 1, LUA_TTABLE);
	if (traffic_change(h->load, L, 1, h->closed, &event, &err) != ST_OK)
		return luaL_error(L, "%s", err.what);
	json_decref(event);
	return 0;
}

static void push_errors(lua_State *L, const struct load_errors *errors)
{
	lua_createtable(L, 0, (int)errors->n);
	for (size_t i = 0; i < errors->n; i++) {
		lua_pushinteger(L, (lua_Integer)errors->at[i].count);
		lua_setfield(L, -2, errors->at[i].sqlstate);
	}
}

/* host.tally(): { VERSION = { ok, failed, errors = { SQLSTATE = n } } } since the traffic began, and how many transactions are due or in
 * flight; as of now. */
static int host_lua_tally(lua_State *L)
{
	struct host *h = host_of(L);
	const struct ticker_tally *tally;
	if (h->traffic && !h->traffic_ended)
		ticker_cut(h->ticker);
	size_t n = ticker_tally(h->ticker, &tally);
	lua_createtable(L, 0, (int)n);
	for (size_t i = 0; i < n; i++) {
		lua_createtable(L, 0, 3);
		lua_pushinteger(L, (lua_Integer)tally[i].ok);
		lua_setfield(L, -2, "ok");
		lua_pushinteger(L, (lua_Integer)tally[i].failed + (lua_Integer)tally[i].abandoned);
		lua_setfield(L, -2, "failed");
		push_errors(L, &tally[i].errors);
		lua_setfield(L, -2, "errors");
		lua_setfield(L, -2, tally[i].version);
	}
	struct ticker_view v = ticker_view(h->ticker);
	lua_pushinteger(L, (lua_Integer)v.backlog + (lua_Integer)v.in_flight);
	return 2;
}

/* host.transactions(): names of those that occur, sorted. host.versions(): likewise, v1 first. */
static int host_lua_transactions(lua_State *L)
{
	const struct workload *w = load_workload(host_of(L)->load);
	lua_createtable(L, (int)w->n_transactions, 0);
	for (size_t i = 0; i < w->n_transactions; i++) {
		lua_pushstring(L, w->transactions[i].name);
		lua_seti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static int host_lua_versions(lua_State *L)
{
	const struct workload *w = load_workload(host_of(L)->load);
	lua_createtable(L, (int)w->n_versions, 0);
	for (size_t i = 0; i < w->n_versions; i++) {
		lua_pushstring(L, w->versions[i].name);
		lua_seti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

/* ---- failover: pg_ctl blocks, so it has a thread ---- */

struct host_failover {
	struct loop_message message;
	struct host *host;
	struct fiber *fiber;
	pthread_t thread;
	enum status outcome;
	struct error err;
};

static void failover_ended(struct loop_message *m)
{
	const struct host_failover *f = container_of(m, struct host_failover, message);
	fiber_resume(f->fiber);
}

static void *fail_over(void *arg)
{
	struct host_failover *f = arg;
	f->outcome = target_fail_over(f->host->spec->target, &f->err);
	f->message.fn = failover_ended;
	loop_post(f->host->loop, &f->message);
	return NULL;
}

static int after_failover(lua_State *L, int status, lua_KContext ctx)
{
	(void)status, (void)ctx;
	const struct host_failover *f = host_of(L)->failover;
	lua_pushboolean(L, f->outcome == ST_OK);
	if (f->outcome == ST_OK)
		return 1;
	lua_pushstring(L, f->err.what);
	return 2;
}

/* host.fail_over(): the primary is stopped, the standby takes its place. Returns true, or false and why not. Once a drill. */
static int host_lua_fail_over(lua_State *L)
{
	struct host *h = host_of(L);
	if (h->spec->target == NULL || h->failover != NULL || fiber_of(L) == NULL)
		return luaL_error(L, "a failover is not possible here");
	struct host_failover *f = calloc(1, sizeof *f);
	if (f == NULL)
		abort();
	*f = (struct host_failover){.host = h, .fiber = fiber_of(L)};
	if (pthread_create(&f->thread, NULL, fail_over, f) != 0) {
		free(f);
		return luaL_error(L, "a thread for the failover could not be started");
	}
	h->failover = f;
	return fiber_wait(L, after_failover, 0);
}

void drill_lua_end(struct host *h)
{
	if (h->failover == NULL)
		return;
	pthread_join(h->failover->thread, NULL);
	/* Its message may still lie in the mailbox. */
	loop_run_once(h->loop, 0);
	free(h->failover);
	h->failover = NULL;
}

/* host.standbys(): how many follow the primary; none any more when one has taken its place. */
static int host_lua_standbys(lua_State *L)
{
	const struct host *h = host_of(L);
	lua_pushinteger(L, h->failover != NULL ? 0 : h->spec->standbys);
	return 1;
}

/* host.is_ours(): whether the server was made for this rehearsal, and may be told how to run. */
static int host_lua_is_ours(lua_State *L)
{
	const struct target *t = host_of(L)->spec->target;
	lua_pushboolean(L, t != NULL && target_sandbox(t) != NULL);
	return 1;
}

/* host.server_program(name): its path, of one that fits a server of ours; nil where there is none. */
static int host_lua_server_program(lua_State *L)
{
	char path[PATH_MAX];
	const struct target *t = host_of(L)->spec->target;
	const struct sandbox *sb = t != NULL ? target_sandbox(t) : NULL;
	if (sb == NULL || !sandbox_find_program(sb, luaL_checkstring(L, 1), path, sizeof path))
		return 0;
	lua_pushstring(L, path);
	return 1;
}

/* ---- states that drills of one rehearsal compare with ---- */

static int host_lua_keep_state(lua_State *L)
{
	const struct rehearsal *r = host_of(L)->spec;
	if (r->keep_state == NULL)
		return 0;
	luaL_checktype(L, 1, LUA_TTABLE);
	json_decref(*r->keep_state);
	*r->keep_state = lua_json_value(L, 1);
	return 0;
}

/* host.keeps_state(): whether somebody wants to have it. host.reference(): the one to compare with, or nil. */
static int host_lua_keeps_state(lua_State *L)
{
	lua_pushboolean(L, host_of(L)->spec->keep_state != NULL);
	return 1;
}

static int host_lua_reference(lua_State *L)
{
	const json_t *reference = host_of(L)->spec->reference;
	if (reference == NULL)
		return 0;
	json_push_lua(L, reference);
	return 1;
}

/* host.kept_start(): what a drill before this one kept of the state that both start from, or nil. host.keep_start(state) keeps it. */
static int host_lua_kept_start(lua_State *L)
{
	const struct rehearsal *r = host_of(L)->spec;
	if (r->start == NULL || *r->start == NULL)
		return 0;
	json_push_lua(L, *r->start);
	return 1;
}

static int host_lua_keep_start(lua_State *L)
{
	const struct rehearsal *r = host_of(L)->spec;
	luaL_checktype(L, 1, LUA_TTABLE);
	if (r->start == NULL)
		return 0;
	json_decref(*r->start);
	*r->start = lua_json_value(L, 1);
	return 0;
}

void drill_lua_register(lua_State *L, struct host *h)
{
	static const luaL_Reg FUNCTIONS[] = {
		{"set_load", host_lua_set_load},
		{"tally", host_lua_tally},
		{"transactions", host_lua_transactions},
		{"versions", host_lua_versions},
		{"fail_over", host_lua_fail_over},
		{"standbys", host_lua_standbys},
		{"is_ours", host_lua_is_ours},
		{"server_program", host_lua_server_program},
		{"keep_state", host_lua_keep_state},
		{"keeps_state", host_lua_keeps_state},
		{"reference", host_lua_reference},
		{"kept_start", host_lua_kept_start},
		{"keep_start", host_lua_keep_start},
		{NULL, NULL},
	};
	lua_pushlightuserdata(L, h);
	luaL_setfuncs(L, FUNCTIONS, 1);
}
