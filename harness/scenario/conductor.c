/* The conductor: sets a drill up, lets its Lua side perform it, and takes everything down again whatever happened. */
#define _GNU_SOURCE
#include "scenario/conductor.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/sha256.h"
#include "load/rate.h"
#include "load/workload.h"
#include "runtime/script.h"
#include "scenario/drill_lua.h"
#include "scenario/facts.h"
#include "scenario/host.h"
#include "scenario/lua_json.h"
#include "scenario/replay_traffic.h"
#include "scenario/scenario.h"
#include "scenario/target.h"
#include "scenario/traffic.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_NS (30 * NS_PER_S)
#define LEDGER_WAIT_NS (30 * NS_PER_S) /* for a server that recovers */
#define TICK_NS NS_PER_S
#define LOOK_NS (50 * NS_PER_MS)            /* how often an interruption is looked for */
#define INTERRUPTED_DRAIN_NS (NS_PER_S / 2) /* for transactions in flight */

struct conductor {
	const struct rehearsal *spec;
	struct rate_program rate;
	struct scenario scenario; /* without path: of the drill "load" */
	const char **criteria;    /* of the scenario for this drill */
	struct host host;
	struct fiber *fiber;
	struct loop_timer tick;
	json_t *begins; /* `mix` and `flags` that differ from the workload's when the traffic begins */
	bool ended;
	enum status outcome; /* of the Lua side; ST_OK: a result is on the fiber's stack */
	struct error *err;
};

static const char *scenario_name(const struct conductor *c)
{
	return c->scenario.L != NULL && c->spec->scenario_path != NULL ? c->scenario.name : "load";
}

/* ---- the record's head ---- */

static json_t *criteria_json(const struct conductor *c)
{
	json_t *all = json_array();
	for (const char **s = c->criteria; s != NULL && *s != NULL; s++)
		json_array_append_new(all, json_text(*s));
	for (const char *const *s = c->spec->criteria; s != NULL && *s != NULL; s++)
		json_array_append_new(all, json_text(*s));
	return all;
}

static json_t *hash_json(const char *path)
{
	char hash[SHA256_HEX_SIZE];
	struct error ignored;
	return sha256_file(path, hash, &ignored) == ST_OK ? json_string(hash) : json_null();
}

/* A file of the program's own is named from its home, so that records from two machines can be compared. */
static json_t *path_json(const char *path)
{
	size_t n = strlen(script_home());
	return json_text(strncmp(path, script_home(), n) == 0 && path[n] == '/' ? path + n + 1 : path);
}

static json_t *scenario_json(const struct conductor *c)
{
	if (c->spec->scenario_path == NULL)
		return json_null();
	return json_pack("{s:o, s:s, s:o, s:o, s:O*}", "path", path_json(c->spec->scenario_path), "name", c->scenario.name, "title",
		json_text(c->scenario.title), "sha256", hash_json(c->spec->scenario_path), "expect", c->scenario.expect);
}

/* 20261121T065018Z-user_status-forward */
static json_t *id_json(const struct conductor *c)
{
	char stamp[32], id[160];
	clock_format_wall(clock_wall_ns(), stamp, sizeof stamp);
	size_t n = 0;
	for (const char *s = stamp; *s != '\0' && *s != '.'; s++)
		if (*s != '-' && *s != ':')
			id[n++] = *s;
	snprintf(id + n, sizeof id - n, "Z-%s-%s", scenario_name(c), c->spec->drill);
	return json_string(id);
}

/* What is replayed instead of a workload's transactions; NULL: nothing. */
static const struct replay_spec *replay_of(const struct conductor *c)
{
	return c->spec->replay != NULL ? c->spec->replay : c->scenario.replay;
}

static const char *rate_text(const struct conductor *c)
{
	if (replay_of(c) != NULL)
		return "0";
	return c->spec->rate != NULL ? c->spec->rate : c->scenario.rate;
}

static json_t *policies_json(const struct load_config *load)
{
	json_t *out = json_object();
	for (size_t i = 0; i < load->n_policies; i++)
		json_object_set_new(out, load->policies[i].version,
			json_pack("{s:I, s:I}", "acquire_timeout_ns", (json_int_t)load->policies[i].acquire_timeout_ns, "patience_ns",
				(json_int_t)load->policies[i].patience_ns));
	return out;
}

static json_t *load_json(const struct conductor *c, const struct load_config *load)
{
	if (c->host.replay != NULL)
		return replay_load_json(c->host.replay);
	json_t *out = json_pack("{s:s, s:f, s:s, s:i, s:i, s:i, s:I}", "mode", load->closed ? "closed" : "open", "rate",
		load->closed ? 0.0 : rate_at(&c->rate, 0), "arrivals", load->even ? "even" : "poisson", "pods", load->pods, "pool",
		load->pool, "workers", load->workers, "acquire_timeout_ns", (json_int_t)load->acquire_timeout_ns);
	if (load->patience_ns > 0)
		json_object_set_new(out, "patience_ns", json_integer(load->patience_ns));
	if (load->n_policies > 0)
		json_object_set_new(out, "overload", policies_json(load));
	if (load->users > 0)
		json_object_set_new(out, "users", json_integer(load->users));
	if (load->requests.mean > 0)
		json_object_set_new(out, "requests_mean", json_real(load->requests.mean));
	if (load->think.shape != THINK_NONE)
		json_object_set_new(out, "think_mean_ns", json_integer((json_int_t)think_mean_ns(&load->think)));
	if (load->read_from != NULL)
		json_object_set_new(out, "read_from", json_string(load->read_from));
	if (load_has_ledger(c->host.load))
		json_object_set_new(out, "ledger", json_true());
	if (!load->closed && !rate_is_constant(&c->rate))
		json_object_set_new(out, "program", json_text(rate_text(c)));
	json_object_update(out, c->begins);
	return out;
}

static json_t *run_json(const struct conductor *c, const struct load_config *load, const char *workload_path, json_t *server)
{
	const struct workload *w = load_workload(c->host.load);
	json_t *run = json_object();
	json_object_set_new(run, "id", id_json(c));
	json_object_set_new(run, "drill", json_string(c->spec->drill));
	json_object_set_new(run, "scenario", scenario_json(c));
	json_object_set_new(run, "workload",
		json_pack("{s:o, s:o, s:o, s:f}", "path", path_json(workload_path), "name", json_text(w->name), "sha256",
			hash_json(w->path), "scale", load->scale));
	json_object_set_new(run, "seed", json_integer((json_int_t)load->seed));
	json_object_set_new(run, "load", load_json(c, load));
	json_object_set_new(run, "server", server);
	if (c->spec->target_facts != NULL)
		json_object_set_new(run, "target", json_deep_copy(c->spec->target_facts));
	json_object_set_new(run, "host", facts_host());
	json_object_set_new(run, "criteria", criteria_json(c));
	return run;
}

/* ---- what the load reports from its threads ---- */

static void note_slow(const struct load_slow *s, void *arg)
{
	const struct host *h = arg;
	if (h->observer != NULL)
		observer_note_slow(h->observer, s->pid, s->sent_ns, s->done_ns, s->sqlstate, s->version, s->transaction, s->statement);
}

static void note_warning(const char *text, void *arg)
{
	const struct host *h = arg;
	if (h->record != NULL)
		record_warning(h->record, "%s", text);
}

/* Only when it is asked for: values are data of somebody's. */
static void note_failure(const struct load_failure *f, void *arg)
{
	const struct host *h = arg;
	if (h->record == NULL)
		return;
	json_t *values = json_array();
	for (int i = 0; i < f->params; i++)
		json_array_append_new(values, f->values[i] != NULL ? json_text(f->values[i]) : json_null());
	record_event(h->record,
		json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:o}", "type", "failure", "version", f->version, "transaction", f->transaction,
			"statement", json_text(f->statement), "sqlstate", f->sqlstate, "message", json_text(f->message), "values", values));
}

/* ---- the tick ---- */

static void show_progress(struct conductor *c)
{
	struct host *h = &c->host;
	if (c->spec->progress == NULL)
		return;
	struct ticker_view v = ticker_view(h->ticker);
	bool known = h->traffic && v.length_ns > 0;
	char command[400] = "";
	if (h->observer != NULL)
		observer_describe_progress(h->observer, command, sizeof command);
	double seconds = known ? (double)v.length_ns / 1e9 : 1;
	struct rehearsal_progress p = {
		.drill = c->spec->drill,
		.phase = ticker_phase_name(h->ticker),
		.step = h->status.step,
		.detail = h->status.detail[0] != '\0' ? h->status.detail : command,
		.step_index = h->status.index,
		.step_count = h->status.count,
		.down = h->status.down,
		.elapsed_ns = record_now_ns(h->record),
		.eta_ns = h->status.eta_ns,
		.phase_left_ns = h->phase_ends_ns >= 0 ? h->phase_ends_ns - record_now_ns(h->record) : -1,
		.traffic = known && !h->traffic_ended,
		.planned_rate = (double)v.planned / seconds,
		.done_rate = (double)v.ok / seconds,
		.failed = v.failed + v.abandoned,
		.abandoned = v.abandoned,
		.errors = v.errors,
		.backlog = v.backlog,
		.backlog_age_ns = v.backlog_age_ns,
		.p50_ns = v.p50_ns,
		.p99_ns = v.p99_ns,
		.max_ns = v.max_ns,
		.late_ns = v.schedule_p99_ns,
		.lag_ns = v.lag_ns,
		.waiting = v.waiting,
		.longest_wait_ns = v.longest_wait_ns,
	};
	c->spec->progress(&p, c->spec->arg);
}

static void on_tick(struct loop_timer *t)
{
	struct conductor *c = container_of(t, struct conductor, tick);
	struct host *h = &c->host;
	if (h->traffic && !h->traffic_ended)
		ticker_cut(h->ticker);
	show_progress(c);
	/* The next whole second from now: a tick that came late does not make up for it with a burst. */
	int64_t due = t->due_ns + TICK_NS;
	int64_t now = clock_now_ns();
	loop_timer_set(h->loop, t, due > now ? due : now + TICK_NS);
}

/* ---- the Lua side ---- */

static void lua_side_ended(struct fiber *f, bool ok, int nresults, void *arg)
{
	(void)nresults;
	struct conductor *c = arg;
	c->ended = true;
	c->outcome = ST_OK;
	lua_State *co = fiber_result(f);
	bool refused = !ok && lua_istable(co, -1) && lua_getfield(co, -1, "usage") == LUA_TBOOLEAN;
	if (refused) { /* a mistake in the scenario that only the server's answers show */
		lua_getfield(co, -2, "message");
		c->outcome = error_set(c->err, ST_USAGE, "%s", lua_tostring(co, -1));
		error_where(c->err, "%s", c->scenario.path);
	} else if (!ok) {
		if (lua_isnil(co, -1))
			lua_pop(co, 1);
		lua_pushstring(c->host.L, fiber_traceback(f));
		c->outcome = script_error(c->host.L, ST_FAILED, c->err);
	}
}

/* Pushes rehearse.drill's function and its arguments on the fiber. */
static enum status push_drill(struct conductor *c, struct error *err)
{
	lua_State *L = c->host.L;
	lua_getglobal(L, "require");
	lua_pushliteral(L, "rehearse.drill");
	enum status st = script_call(L, 1, 1, ST_FAILED, err);
	if (st != ST_OK)
		return st;
	bool migration = c->spec->scenario_path != NULL;
	lua_getfield(L, -1, migration ? "perform" : "load");
	lua_remove(L, -2);
	host_push(&c->host, L);
	if (migration) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, c->scenario.table_ref);
		lua_pushstring(L, c->spec->drill);
	} else {
		lua_pushinteger(L, c->spec->duration_ns);
	}
	lua_xmove(L, fiber_state(c->fiber), migration ? 4 : 3);
	return ST_OK;
}

static bool interrupted(const struct conductor *c)
{
	return c->spec->stop != NULL && *c->spec->stop != 0;
}

static void take_result(struct conductor *c)
{
	lua_State *co = fiber_state(c->fiber);
	if (!lua_istable(co, -1))
		return;
	static const char *const FIELDS[] = {"checks", "rollback", "findings", "versions", "sizes", "reconcile"};
	for (size_t i = 0; i < sizeof FIELDS / sizeof FIELDS[0]; i++) {
		if (lua_getfield(co, -1, FIELDS[i]) != LUA_TNIL)
			record_set(c->host.record, FIELDS[i], lua_json_value(co, -1));
		lua_pop(co, 1);
	}
}

static enum status perform(struct conductor *c, struct error *err)
{
	struct host *h = &c->host;
	c->fiber = fiber_create(h->L, h->loop, h);
	enum status st = push_drill(c, err);
	if (st != ST_OK)
		return st;
	c->tick.fn = on_tick;
	loop_timer_set(h->loop, &c->tick, clock_now_ns() + TICK_NS);
	fiber_start(c->fiber, c->spec->scenario_path != NULL ? 3 : 2, lua_side_ended, c);
	while (!c->ended && st == ST_OK) {
		loop_run_once(h->loop, LOOK_NS);
		if (interrupted(c))
			st = error_set(err, ST_INTERRUPTED, "interrupted");
		else
			st = record_error(h->record, err);
	}
	loop_timer_cancel(h->loop, &c->tick);
	if (st == ST_OK)
		st = c->outcome;
	if (st == ST_OK)
		take_result(c);
	return st;
}

/* ---- set-up and the end ---- */

/* The traffic of the drill `versions` comes in bursts of known size, which users who think would not make. */
static bool asks_for_bursts(const char *drill)
{
	return strcmp(drill, "versions") == 0;
}

static struct load_config load_config_of(struct conductor *c)
{
	const struct rehearsal *r = c->spec;
	const struct scenario *s = &c->scenario;
	if (replay_of(c) != NULL)
		return (struct load_config){
			.dsn = r->dsn,
			.workload_path = r->workload_path,
			.scenario_path = r->scenario_path,
			.scale = r->scale,
			.seed = r->seed,
			.program = &c->rate,
			.pods = 1,
			.pool = 1,
			.workers = 1,
			.warn = note_warning,
			.arg = &c->host,
		};
	return (struct load_config){
		.dsn = r->dsn,
		.pooler_dsn = r->pooler_dsn,
		.pooler_transactions = r->pooler_transactions,
		.workload_path = r->workload_path,
		.scenario_path = r->scenario_path,
		.scale = r->scale,
		.seed = r->seed,
		.closed = (r->closed || s->closed) && !asks_for_bursts(r->drill),
		.think = s->think.shape != THINK_NONE ? s->think : r->think,
		.requests = s->requests.mean > 0 ? s->requests : r->requests,
		.users = s->users > 0 ? s->users : r->users,
		.patience_ns = s->patience_ns > 0 ? s->patience_ns : r->patience_ns,
		.policies = s->policies,
		.n_policies = s->n_policies,
		.even = r->even || s->even,
		.ledger = r->ledger || s->ledger || strncmp(r->drill, "failover", 8) == 0,
		.program = &c->rate,
		.pods = r->pods > 0 ? r->pods : s->pods,
		.pool = r->pool > 0 ? r->pool : s->pool,
		.workers = r->workers > 0 ? r->workers
			: s->workers > 0  ? s->workers
					  : 1,
		.acquire_timeout_ns = s->acquire_timeout_ns > 0 ? s->acquire_timeout_ns : r->acquire_timeout_ns,
		.slow = note_slow,
		.warn = note_warning,
		.failed = r->record_values ? note_failure : NULL,
		.arg = &c->host,
	};
}

static enum status read_scenario(struct conductor *c, struct error *err)
{
	if (c->spec->scenario_path != NULL) {
		enum status st = scenario_read(c->spec->scenario_path, &c->scenario, err);
		c->host.L = c->scenario.L;
		if (st == ST_OK)
			st = scenario_criteria(&c->scenario, c->spec->drill, &c->criteria, err);
		return st;
	}
	return workload_create_state(NULL, NULL, &c->host.L, err);
}

/* An actor that is misspelt is found before anything is started. */
static enum status check_actors(struct conductor *c, struct error *err)
{
	const struct workload *w = load_workload(c->host.load);
	enum status st = ST_OK;
	for (const char **name = c->scenario.actors; name != NULL && *name != NULL && st == ST_OK; name++)
		if (workload_find_actor(w, *name) < 0) {
			st = error_set(err, ST_USAGE, "the workload %s has no actor \"%s\"", w->name, *name);
			error_where(err, "%s", c->scenario.path);
			error_hint(err, w->n_actors > 0 ? "its first is %s" : "it has none%s", w->n_actors > 0 ? w->actors[0].name : "");
		}
	return st;
}

/* A session's setting would stay with whoever has that session next. */
static enum status check_pooling(const struct conductor *c, struct error *err)
{
	const struct workload *w = load_workload(c->host.load);
	for (size_t i = 0; c->spec->pooler_transactions && i < w->n_transactions; i++)
		if (w->transactions[i].statement_timeout_ns > 0) {
			error_set(err, ST_USAGE,
				"the transaction %s has a statement_timeout, which a pooler in transaction mode gives to others",
				w->transactions[i].name);
			error_hint(err, "use cancel_after, or set it for the role: ALTER ROLE ... SET statement_timeout");
			return ST_USAGE;
		}
	return ST_OK;
}

/* Finds the standby that reads go to. */
static enum status find_standby(const struct conductor *c, struct load_config *load, struct error *err)
{
	const struct rehearsal *r = c->spec;
	const char *name = r->read_from != NULL ? r->read_from : c->scenario.read_from;
	for (int i = 0; name != NULL && i < r->standbys; i++) {
		if (strcmp(r->standby_names[i], name) == 0) {
			load->read_dsn = r->standby_dsns[i];
			load->read_from = r->standby_names[i];
		}
	}
	if (name == NULL || load->read_dsn != NULL)
		return ST_OK;
	error_set(err, ST_USAGE, "there is no standby %s to read from", name);
	if (r->standbys > 0)
		error_hint(err, "the first one's name is %s", r->standby_names[0]);
	return ST_USAGE;
}

static enum status make_replay(struct conductor *c, struct error *err)
{
	struct replay_spec spec = *replay_of(c);
	spec.player.record_values |= c->spec->record_values;
	return replay_create(&spec, c->spec->dsn, c->spec->scenario_path != NULL, note_slow, &c->host, &c->host.replay, err);
}

/* Everything up to the record: what fails here is the user's, and leaves no folder behind. */
static enum status prepare(struct conductor *c, struct load_config *load, struct error *err)
{
	enum status st = read_scenario(c, err);
	if (st != ST_OK)
		return st;
	*load = load_config_of(c);
	c->host.pods = load->pods;
	c->host.closed = load->closed;
	if (load->closed && c->spec->rate != NULL)
		st = error_set(err, ST_USAGE, "the scenario's load is a closed loop, which has no rate: leave out --rate");
	else if (!load->closed)
		st = rate_parse(rate_text(c), &c->rate, err);
	if (st == ST_OK)
		st = find_standby(c, load, err);
	if (st == ST_OK)
		st = loop_create(&c->host.loop, err);
	if (st == ST_OK)
		st = load_create(load, &c->host.load, err);
	if (st == ST_OK && replay_of(c) != NULL && asks_for_bursts(c->spec->drill))
		st = error_set(err, ST_USAGE, "the drill %s asks for traffic of its own, which a trace has not", c->spec->drill);
	if (st == ST_OK && replay_of(c) != NULL)
		st = make_replay(c, err);
	if (st == ST_OK && c->spec->scenario_path != NULL)
		st = traffic_check(c->host.load, c->scenario.L, c->scenario.table_ref, c->begins, err);
	if (st == ST_OK)
		st = traffic_begin(c->host.load, c->spec->flags, c->spec->mix, c->spec->n_mix, c->begins, err);
	if (st == ST_OK)
		st = check_actors(c, err);
	if (st == ST_OK)
		st = check_pooling(c, err);
	return st;
}

static enum status open_record(struct conductor *c, const struct load_config *load, struct error *err)
{
	json_t *server = NULL;
	enum status st = facts_server(c->spec->dsn, c->spec->sandbox, c->spec->standbys, &server, err);
	if (st != ST_OK)
		return st;
	const char *workload = c->spec->workload_path != NULL ? c->spec->workload_path : c->scenario.workload_path;
	c->host.record = record_create(c->spec->out_dir, run_json(c, load, workload, server), err);
	return c->host.record != NULL ? ST_OK : err->status;
}

static enum status start_observer(struct conductor *c, struct error *err)
{
	const struct rehearsal *r = c->spec;
	struct observer_config config = {
		.dsn = r->dsn,
		.standby_dsns = r->standby_dsns,
		.standby_names = r->standby_names,
		.standbys = r->standbys,
		.record = c->host.record,
		.migration_names = c->scenario.migration_names,
		.migration_roles = c->scenario.migration_roles,
		.no_availability = r->no_availability || c->scenario.no_availability,
	};
	return observer_start(&config, &c->host.observer, err);
}

/* Adds the field `ledger` to the totals. */
static void check_ledger(struct conductor *c, json_t *totals)
{
	struct host *h = &c->host;
	struct load_ledger l;
	struct error err;
	if (!load_has_ledger(h->load))
		return;
	bool interrupted = c->spec->stop != NULL && *c->spec->stop != 0;
	if (load_check_ledger(h->load, interrupted ? NS_PER_S : LEDGER_WAIT_NS, &l, &err) != ST_OK) {
		record_warning(h->record, "the ledger could not be checked: %s", err.what);
		json_object_set_new(totals, "ledger", json_pack("{s:s}", "error", err.what));
		return;
	}
	if (l.lost > 0)
		record_warning(h->record, "%" PRIu64 " acknowledged commits are not in the database", l.lost);
	if (l.left.what[0] != '\0')
		record_warning(h->record, "the ledger's table could not be dropped: %s", l.left.what);
	json_object_set_new(totals, "ledger",
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "acknowledged", (json_int_t)l.acknowledged, "found", (json_int_t)l.found,
			"lost", (json_int_t)l.lost, "unknown_found", (json_int_t)l.unknown_found, "unknown_lost",
			(json_int_t)l.unknown_lost, "strange", (json_int_t)l.strange));
}

/* Ends the traffic and writes what is known only then. */
static void write_totals(struct conductor *c)
{
	struct host *h = &c->host;
	if (h->ticker == NULL)
		return;
	if (h->traffic_ended) {
		json_t *totals = ticker_totals_json(&h->totals);
		check_ledger(c, totals);
		record_set(h->record, "totals", totals);
		record_set(h->record, "generator", ticker_generator_json(h->ticker));
		record_set(h->record, "latency", ticker_latency_json(h->ticker));
		if (h->replay != NULL) {
			json_t *fidelity = replay_fidelity(h->replay, c->spec->scenario_path != NULL);
			record_set(h->record, "invalid", fidelity_reasons(fidelity));
			record_set(h->record, "fidelity", fidelity);
		}
	}
}

static void stop_observer(struct conductor *c)
{
	struct host *h = &c->host;
	if (h->observer == NULL)
		return;
	struct observer *o = h->observer;
	struct observer_totals totals;
	struct error err;
	if (observer_stop(o, &totals, &err) != ST_OK)
		record_warning(h->record, "the observer did not end well: %s", err.what);
	h->observer = NULL;
	record_set(h->record, "observer", observer_totals_json(&totals));
}

/* A server that went away by itself is gone when somebody asks why, and its log with it. */
static void keep_server_log(const char *server, const char *trouble, const char *lines, size_t length, void *arg)
{
	struct conductor *c = arg;
	char path[PATH_MAX];
	struct error err;
	record_warning(c->host.record, "the server %s did not run through: \"%s\" (server-%s.log in the record)", server, trouble, server);
	snprintf(path, sizeof path, "%.4000s/server-%s.log", c->spec->out_dir, server);
	if (fs_write_file(path, lines, length, &err) != ST_OK)
		record_warning(c->host.record, "%s", err.what);
}

/* The order matters: fibers wait for sessions, workers post to the loop and note to the observer. */
static enum status take_down(struct conductor *c, enum status st, struct error *err)
{
	struct host *h = &c->host;
	if (c->fiber != NULL)
		fiber_cancel(c->fiber);
	host_stop_spawned(h);
	if (h->loop != NULL)
		drill_lua_end(h);
	if (h->loop != NULL)
		host_close_sessions(h);
	host_stop_load(h, INTERRUPTED_DRAIN_NS);
	if (h->load != NULL && h->record != NULL)
		write_totals(c);
	if (st == ST_OK && h->replay != NULL)
		st = replay_outcome(h->replay, err);
	ticker_free(h->ticker);
	load_free(h->load);
	stop_observer(c);
	replay_free(h->replay);
	if (h->record != NULL && c->spec->target != NULL)
		target_find_trouble(c->spec->target, keep_server_log, c);
	if (h->record != NULL) {
		struct error disk;
		const char *word = st == ST_OK ? "finished" : st == ST_INTERRUPTED ? "interrupted" : "failed";
		enum status written = record_finish(h->record, word, st == ST_OK || st == ST_INTERRUPTED ? NULL : err, &disk);
		if (st == ST_OK && written != ST_OK) {
			*err = disk;
			st = written;
		}
		record_close(h->record);
	}
	/* Posts of the last pod's replacement may still lie in the mailbox. */
	if (h->loop != NULL)
		loop_run_once(h->loop, 0);
	fiber_free(c->fiber);
	free(c->criteria);
	if (c->spec->scenario_path != NULL)
		scenario_free(&c->scenario);
	else
		script_free(h->L);
	loop_free(h->loop);
	json_decref(c->begins);
	return st;
}

enum status conductor_perform(const struct rehearsal *rehearsal, struct error *err)
{
	struct conductor c = {
		.spec = rehearsal,
		.err = err,
		.begins = json_object(),
		.host = {.spec = rehearsal, .status.eta_ns = -1, .phase_ends_ns = -1},
	};
	struct load_config load;
	enum status st = prepare(&c, &load, err);
	if (st == ST_OK)
		st = load_connect(c.host.load, CONNECT_TIMEOUT_NS, err);
	if (st == ST_OK)
		st = open_record(&c, &load, err);
	if (st == ST_OK)
		st = start_observer(&c, err);
	if (st == ST_OK) {
		c.host.ticker = ticker_create(c.host.load, c.host.replay, c.host.observer, c.host.record);
		st = perform(&c, err);
	}
	return take_down(&c, st, err);
}
