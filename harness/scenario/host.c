/* The conductor's primitives for Lua: time, events, phases, traffic, deploys, fibers. Sessions are in session_lua.c. */
#define _GNU_SOURCE
#include "scenario/host.h"

#include "base/clock.h"
#include "load/workload.h"
#include "scenario/drill_lua.h"
#include "scenario/exec_lua.h"
#include "scenario/lua_json.h"
#include "scenario/replay_traffic.h"
#include "scenario/schema_lua.h"
#include "scenario/session_lua.h"
#include "scenario/traffic.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRAIN_NS (10 * NS_PER_S)

static struct host *host_of(lua_State *L)
{
	return lua_touserdata(L, lua_upvalueindex(1));
}

/* host.now(): ns since the run started. */
static int host_lua_now(lua_State *L)
{
	lua_pushinteger(L, record_now_ns(host_of(L)->record));
	return 1;
}

/* host.event{type = ..., ...}: a line of events.jsonl. */
static int host_lua_event(lua_State *L)
{
	struct host *h = host_of(L);
	luaL_checktype(L, 1, LUA_TTABLE);
	json_t *event = lua_json_value(L, 1);
	json_object_set_new(event, "t_ns", json_integer(record_now_ns(h->record)));
	record_event(h->record, event);
	return 0;
}

static int host_lua_warning(lua_State *L)
{
	record_warning(host_of(L)->record, "%s", luaL_checkstring(L, 1));
	return 0;
}

/* host.set(field, value): a field of run.json. */
static int host_lua_set(lua_State *L)
{
	record_update(host_of(L)->record, luaL_checkstring(L, 1), lua_json_value(L, 2));
	return 0;
}

/* host.phase(name [, length_ns]): the current phase ends, this one begins, and is to last so long. */
static int host_lua_phase(lua_State *L)
{
	static const char *const BEFORE[] = {"warmup", "baseline", "load"};
	struct host *h = host_of(L);
	const char *name = luaL_checkstring(L, 1);
	bool before = false;
	for (size_t i = 0; i < sizeof BEFORE / sizeof BEFORE[0]; i++)
		before |= strcmp(name, BEFORE[i]) == 0;
	if (h->replay != NULL && !before)
		replay_close_baseline(h->replay);
	ticker_phase(h->ticker, name, h->traffic && !h->traffic_ended);
	h->phase_ends_ns = lua_isnumber(L, 2) ? record_now_ns(h->record) + (int64_t)lua_tonumber(L, 2) : -1;
	return 0;
}

static void status_text(lua_State *L, const char *field, char *out, size_t size)
{
	lua_getfield(L, 1, field);
	if (lua_isstring(L, -1))
		snprintf(out, size, "%s", lua_tostring(L, -1));
	lua_pop(L, 1);
}

/* host.status{step, direction, detail, index, count, eta_ns}: what a person sees. Fields not given stay; eta_ns = false: not known. */
static int host_lua_status(lua_State *L)
{
	struct host *h = host_of(L);
	struct host_status *s = &h->status;
	luaL_checktype(L, 1, LUA_TTABLE);
	status_text(L, "step", s->step, sizeof s->step);
	status_text(L, "detail", s->detail, sizeof s->detail);
	if (lua_getfield(L, 1, "direction") == LUA_TSTRING)
		s->down = strcmp(lua_tostring(L, -1), "down") == 0;
	if (lua_getfield(L, 1, "index") == LUA_TNUMBER)
		s->index = (int)lua_tointeger(L, -1);
	if (lua_getfield(L, 1, "count") == LUA_TNUMBER)
		s->count = (int)lua_tointeger(L, -1);
	int type = lua_getfield(L, 1, "eta_ns");
	if (type != LUA_TNIL)
		s->eta_ns = type == LUA_TNUMBER ? (int64_t)lua_tonumber(L, -1) : -1;
	lua_pop(L, 4);
	return 0;
}

/* host.replay_lag(): of the worst standby in ns, or nil. host.p99(): response time of the last second in ns, or nil. */
static int host_lua_replay_lag(lua_State *L)
{
	struct host *h = host_of(L);
	int64_t lag = h->observer != NULL ? observer_replay_lag_ns(h->observer) : -1;
	if (lag < 0)
		return 0;
	lua_pushinteger(L, lag);
	return 1;
}

static int host_lua_p99(lua_State *L)
{
	struct ticker_view v = ticker_view(host_of(L)->ticker);
	if (v.p99_ns < 0)
		return 0;
	lua_pushinteger(L, v.p99_ns);
	return 1;
}

/* host.backlog(): arrivals due and not started, and the age of the oldest in ns; as of now. */
static int host_lua_backlog(lua_State *L)
{
	struct host *h = host_of(L);
	if (h->traffic && !h->traffic_ended)
		ticker_cut(h->ticker);
	struct ticker_view v = ticker_view(h->ticker);
	lua_pushinteger(L, (lua_Integer)v.backlog);
	lua_pushinteger(L, v.backlog_age_ns);
	return 2;
}

static int host_lua_start_load(lua_State *L)
{
	struct host *h = host_of(L);
	load_start(h->load, clock_now_ns());
	if (h->replay != NULL)
		replay_start(h->replay);
	h->traffic = true;
	return 0;
}

void host_stop_load(struct host *h, int64_t drain_ns)
{
	if (!h->traffic || h->traffic_ended)
		return;
	load_stop(h->load, drain_ns, &h->totals);
	if (h->replay != NULL)
		replay_stop(h->replay, drain_ns, &h->totals);
	ticker_phase(h->ticker, NULL, true);
	h->traffic_ended = true;
}

static int host_lua_stop_load(lua_State *L)
{
	host_stop_load(host_of(L), DRAIN_NS);
	return 0;
}

/* host.change_load{rate, mix}: the traffic changes, which is an event. */
static int host_lua_change_load(lua_State *L)
{
	struct host *h = host_of(L);
	struct error err;
	luaL_checktype(L, 1, LUA_TTABLE);
	json_t *event = NULL;
	if (traffic_change(h->load, L, 1, h->closed, &event, &err) != ST_OK)
		return luaL_error(L, "%s", err.what);
	json_object_set_new(event, "t_ns", json_integer(record_now_ns(h->record)));
	record_event(h->record, event);
	return 0;
}

/* host.replay_has_ended(): whether the trace that is replayed has; nil where none is. */
static int host_lua_replay_has_ended(lua_State *L)
{
	const struct host *h = host_of(L);
	if (h->replay == NULL)
		return 0;
	lua_pushboolean(L, replay_has_ended(h->replay));
	return 1;
}

static int host_lua_pods(lua_State *L)
{
	lua_pushinteger(L, host_of(L)->pods);
	return 1;
}

/* A deploy under way: its end is noticed on a worker's thread and posted to ours. */
struct replacement {
	struct loop_message message;
	struct loop *loop;
	struct fiber *fiber; /* NULL once nobody waits for it any more */
};

static void pod_serves(struct loop_message *m)
{
	struct replacement *r = container_of(m, struct replacement, message);
	struct fiber *f = r->fiber;
	free(r);
	/* A fiber that was cancelled meanwhile is not waiting, which fiber_resume knows. */
	fiber_resume(f);
}

static void pod_replaced(void *arg)
{
	struct replacement *r = arg;
	r->message.fn = pod_serves;
	loop_post(r->loop, &r->message);
}

static int after_replacement(lua_State *L, int status, lua_KContext ctx)
{
	(void)L, (void)status, (void)ctx;
	return 0;
}

/* host.replace_pod(pod, version): pods count from 1; waits until it serves again. */
static int host_lua_replace_pod(lua_State *L)
{
	struct host *h = host_of(L);
	int pod = (int)luaL_checkinteger(L, 1);
	const char *version = luaL_checkstring(L, 2);
	struct fiber *f = fiber_of(L);
	if (f == NULL)
		return luaL_error(L, "a pod can be replaced by a step only, not inside a coroutine of the script's own");
	struct replacement *r = calloc(1, sizeof *r);
	if (r == NULL)
		abort();
	r->loop = h->loop;
	r->fiber = f;
	struct error err;
	if (load_replace_pod(h->load, pod - 1, version, pod_replaced, r, &err) != ST_OK) {
		free(r);
		return luaL_error(L, "%s", err.what);
	}
	return fiber_wait(L, after_replacement, 0);
}

/* host.actors(list): the workload's actors that the scenario switches on; raises for one that there is not. */
static int host_lua_actors(lua_State *L)
{
	const struct workload *w = load_workload(host_of(L)->load);
	luaL_checktype(L, 1, LUA_TTABLE);
	lua_newtable(L);
	for (lua_Integer i = 1; lua_geti(L, 1, i) == LUA_TTABLE; i++) {
		lua_getfield(L, -1, "name");
		const char *name = lua_tostring(L, -1);
		int at = workload_find_actor(w, name != NULL ? name : "");
		if (at < 0)
			return luaL_error(L, "the workload %s has no actor \"%s\"", w->name, name);
		const struct workload_actor *a = &w->actors[at];
		lua_createtable(L, 0, 5);
		lua_pushstring(L, a->name);
		lua_setfield(L, -2, "name");
		lua_pushstring(L, a->sql);
		lua_setfield(L, -2, "sql");
		lua_pushstring(L, a->begin);
		lua_setfield(L, -2, "begin");
		lua_pushinteger(L, a->hold_ns);
		lua_setfield(L, -2, "hold_ns");
		lua_pushinteger(L, a->every_ns);
		lua_setfield(L, -2, "every_ns");
		lua_seti(L, 2, i);
		lua_pop(L, 2);
	}
	lua_settop(L, 2);
	return 1;
}

/* host.checks(): the workload's, a list of { name, sql }. */
static int host_lua_checks(lua_State *L)
{
	const struct workload *w = load_workload(host_of(L)->load);
	lua_createtable(L, (int)w->n_checks, 0);
	for (size_t i = 0; i < w->n_checks; i++) {
		lua_createtable(L, 0, 2);
		lua_pushstring(L, w->checks[i].name);
		lua_setfield(L, -2, "name");
		lua_pushstring(L, w->checks[i].sql);
		lua_setfield(L, -2, "sql");
		lua_seti(L, -2, (lua_Integer)i + 1);
	}
	return 1;
}

static void push_text(const char *sql, void *arg)
{
	lua_State *L = arg;
	lua_pushstring(L, sql);
	lua_seti(L, -2, luaL_len(L, -2) + 1);
}

/* host.executed(): SQL texts of those of the workload's statements that have been executed, repeats included. */
static int host_lua_executed(lua_State *L)
{
	lua_newtable(L);
	ticker_each_executed(host_of(L)->ticker, push_text, L);
	return 1;
}

/* host.schema(): SQL texts that make the workload's schema. */
static int host_lua_schema(lua_State *L)
{
	const struct load *load = host_of(L)->load;
	schema_push(L, load != NULL ? load_workload(load)->path : NULL, NULL);
	return 1;
}

static void spawned_ended(struct fiber *f, bool ok, int nresults, void *arg)
{
	(void)nresults;
	struct host *h = arg;
	if (!ok)
		record_warning(h->record, "an actor ended: %s", fiber_traceback(f));
}

/* host.spawn(f): runs f in a fiber of its own until host.stop_spawned(). */
static int host_lua_spawn(lua_State *L)
{
	struct host *h = host_of(L);
	luaL_checktype(L, 1, LUA_TFUNCTION);
	struct fiber *f = fiber_create(h->L, h->loop, h);
	VEC_PUSH(&h->spawned, f);
	lua_pushvalue(L, 1);
	lua_xmove(L, fiber_state(f), 1);
	fiber_start(f, 0, spawned_ended, h);
	return 0;
}

void host_stop_spawned(struct host *h)
{
	for (size_t i = 0; i < h->spawned.n; i++) {
		session_lua_forget(h, h->spawned.at[i]);
		fiber_free(h->spawned.at[i]);
	}
	VEC_FREE(&h->spawned);
}

static int host_lua_stop_spawned(lua_State *L)
{
	host_stop_spawned(host_of(L));
	return 0;
}

/* host.note(id, pid, sql, in_transaction [, start_ns, end_ns, sqlstate]): a migration statement begins, or has ended. */
static int host_lua_note(lua_State *L)
{
	struct host *h = host_of(L);
	if (h->observer == NULL)
		return 0;
	int64_t origin = record_start_ns(h->record);
	bool ended = lua_isinteger(L, 6);
	struct observer_statement st = {
		.id = luaL_checkinteger(L, 1),
		.pid = (int)luaL_checkinteger(L, 2),
		.sql = luaL_checkstring(L, 3),
		.start_ns = ended ? luaL_checkinteger(L, 5) + origin : clock_now_ns(),
		.end_ns = ended ? lua_tointeger(L, 6) + origin : 0,
		.sqlstate = ended ? luaL_checkstring(L, 7) : NULL,
		.in_transaction = lua_toboolean(L, 4),
	};
	observer_note_statement(h->observer, &st);
	return 0;
}

#define NOTED_LOCKS_MAX 256

/* host.note_locks(id, pid, {{relation=, mode=}...}): what the transaction holds after statement id. */
static int host_lua_note_locks(lua_State *L)
{
	struct host *h = host_of(L);
	struct observer_lock locks[NOTED_LOCKS_MAX];
	int n = 0;
	luaL_checktype(L, 3, LUA_TTABLE);
	lua_Integer count = luaL_len(L, 3);
	luaL_checkstack(L, 3 * NOTED_LOCKS_MAX, "locks");
	for (lua_Integer i = 1; i <= count && n < NOTED_LOCKS_MAX; i++) {
		lua_geti(L, 3, i);
		lua_getfield(L, -1, "relation");
		lua_getfield(L, -2, "mode");
		locks[n++] = (struct observer_lock){luaL_checkstring(L, -2), luaL_checkstring(L, -1)};
	}
	if (h->observer != NULL)
		observer_note_locks(h->observer, luaL_checkinteger(L, 1), (int)luaL_checkinteger(L, 2), locks, n);
	return 0;
}

void host_push(struct host *h, lua_State *L)
{
	static const luaL_Reg FUNCTIONS[] = {
		{"now", host_lua_now},
		{"event", host_lua_event},
		{"warning", host_lua_warning},
		{"set", host_lua_set},
		{"phase", host_lua_phase},
		{"status", host_lua_status},
		{"replay_lag", host_lua_replay_lag},
		{"p99", host_lua_p99},
		{"backlog", host_lua_backlog},
		{"start_load", host_lua_start_load},
		{"stop_load", host_lua_stop_load},
		{"change_load", host_lua_change_load},
		{"replay_has_ended", host_lua_replay_has_ended},
		{"pods", host_lua_pods},
		{"replace_pod", host_lua_replace_pod},
		{"actors", host_lua_actors},
		{"checks", host_lua_checks},
		{"schema", host_lua_schema},
		{"executed", host_lua_executed},
		{"spawn", host_lua_spawn},
		{"stop_spawned", host_lua_stop_spawned},
		{"note", host_lua_note},
		{"note_locks", host_lua_note_locks},
		{"session", session_lua_open},
		{"exec", exec_lua_run},
		{"hold", exec_lua_hold},
		{"held_read", exec_lua_held_read},
		{"release", exec_lua_release},
		{"array", lua_json_array},
		{"sleep", fiber_lua_sleep},
		{NULL, NULL},
	};
	session_lua_register(L, h);
	luaL_newlibtable(L, FUNCTIONS);
	lua_pushlightuserdata(L, h);
	luaL_setfuncs(L, FUNCTIONS, 1);
	drill_lua_register(L, h);
}
