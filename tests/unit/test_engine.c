/* load/engine on a real server: every arrival is accounted for, whatever becomes of its transaction, its session or its pod. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "load/engine.h"
#include "measure/hist.h"
#include "server.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

static char workload_path[96], scenario_path[96];
static struct load *latest; /* names in its results live as long as the load, so it is kept */

static int start_server(void **state)
{
	(void)state;
	if (server_start(0) != 0)
		return -1;
	snprintf(workload_path, sizeof workload_path, "%s/w.lua", server_home);
	snprintf(scenario_path, sizeof scenario_path, "%s/s.lua", server_home);
	server_ask("CREATE TABLE log (version text, value bigint, on_time boolean)");
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	load_free(latest);
	return server_stop();
}

/* ---- a load whose transactions are given as text ---- */

static void write_file(const char *path, const char *before, const char *text, const char *after)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%s%s%s", before, text, after);
	fclose(f);
}

static char warning[4096];
static atomic_int warnings, slow_naps;
static struct load_slow first_nap;

static void note_warning(const char *text, void *arg)
{
	(void)arg;
	if (atomic_fetch_add(&warnings, 1) == 0)
		snprintf(warning, sizeof warning, "%s", text);
}

static void note_slow(const struct load_slow *slow, void *arg)
{
	(void)arg;
	/* On a busy machine any statement may be slow; a nap is slow by design. */
	if (strcmp(slow->statement, "nap") == 0 && atomic_fetch_add(&slow_naps, 1) == 0)
		first_nap = *slow;
}

#define DEFAULTS .scale = 1, .seed = 7, .rate = 500, .pods = 2, .pool = 2, .workers = 2

static void write_workload(const char *transactions)
{
	write_file(workload_path,
		"return { name = 'w', schema = '', generate = {}, statements = {\n"
		"one = 'SELECT 1', nap = 'SELECT pg_sleep($1)', fail = 'SELECT 1 / $1::int',\n"
		"log = 'INSERT INTO log (version, value) VALUES ($1, $2)',\n"
		"types = 'SELECT $1::int8, $2::text, $3::bool, $4::float8, $5::numeric, NULL::int, ARRAY[1, 2]' }, transactions = {\n",
		transactions, "} }\n");
}

static struct load *make_load(struct load_config config)
{
	struct load *load = NULL;
	struct error err = {0};
	config.dsn = sandbox_dsn(server);
	config.workload_path = workload_path;
	config.slow = note_slow;
	config.warn = note_warning;
	warnings = slow_naps = 0;
	warning[0] = '\0';
	enum status st = load_create(&config, &load, &err);
	if (st == ST_OK)
		st = load_connect(load, 20 * NS_PER_S, &err);
	if (st != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
	return load;
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static struct load_totals stop(struct load *load, int64_t drain_ns)
{
	struct load_totals totals;
	load_stop(load, drain_ns, &totals);
	if (!totals.holds)
		fail_msg("planned %lu started %lu abandoned %lu never %lu ok %lu failed %lu unfinished %lu", (unsigned long)totals.planned,
			(unsigned long)totals.started, (unsigned long)totals.abandoned, (unsigned long)totals.never_started,
			(unsigned long)totals.ok, (unsigned long)totals.failed, (unsigned long)totals.unfinished);
	return totals;
}

/* Traffic for so long; the interval, to be freed, holds all of it. */
static struct load_totals run(struct load *load, long ms, struct load_interval **interval)
{
	load_start(load, clock_now_ns());
	pause_ms(ms);
	struct load_totals totals = stop(load, 10 * NS_PER_S);
	*interval = load_interval_create(load);
	load_collect(load, *interval);
	load_free(latest);
	latest = load;
	return totals;
}

static uint64_t errors_of(const struct load_errors *errors, const char *sqlstate)
{
	for (size_t i = 0; i < errors->n; i++)
		if (strcmp(errors->at[i].sqlstate, sqlstate) == 0)
			return errors->at[i].count;
	return 0;
}

/* ---- accounting ---- */

static void every_planned_arrival_is_started_and_measured(void **state)
{
	(void)state;
	write_workload(
		"get = { weight = 3, run = function(c) c:exec('one') end },\n"
		"put = { args = function(r) return r:int(1, 1000) end, run = function(c, n) c:begin() c:exec('log', c.version, n) c:commit() end }");
	struct load_interval *all;
	struct load_totals t = run(make_load((struct load_config){DEFAULTS}), 2000, &all);
	double expected = 500 * (double)(all->end_ns - all->start_ns) * 1e-9;
	assert_true(fabs((double)t.planned - expected) < 4 * sqrt(expected) + 10);
	assert_int_equal(t.failed, 0);
	assert_int_equal(t.abandoned, 0);
	assert_int_equal(t.unfinished, 0);
	assert_int_equal(all->planned, t.planned);
	assert_int_equal(all->versions[0].started, t.started);
	assert_int_equal(hist_count(all->total.response_ok), t.ok);
	assert_int_equal(hist_count(all->total.service_ok), t.ok);
	assert_int_equal(all->n_hists, 2);
	assert_string_equal(all->hists[0].transaction, "get");
	uint64_t get = hist_count(all->hists[0].response_ok), put = hist_count(all->hists[1].response_ok);
	assert_int_equal(get + put, t.ok);
	assert_true(get > 2 * put && get < 4 * put);
	assert_true(hist_quantile(all->total.response_ok, 0.5) >= hist_quantile(all->total.service_ok, 0.5));
	assert_true(hist_count(all->schedule_error) > t.ok / 4);
	char count[32];
	snprintf(count, sizeof count, "%lu", (unsigned long)put);
	assert_string_equal(server_ask("SELECT count(*) FROM log"), count);
	load_interval_free(all);
}

static void one_seed_asks_the_same_questions_however_many_workers_there_are(void **state)
{
	(void)state;
	write_workload("put = { args = function(r) return r:int(1, 1 << 60) end, run = function(c, n) c:exec('log', c.version, n) end }");
	struct load_interval *all;
	server_ask("TRUNCATE log");
	struct load_totals first = run(make_load((struct load_config){DEFAULTS}), 300, &all);
	load_interval_free(all);
	server_ask("CREATE TABLE first AS SELECT value FROM log; TRUNCATE log");
	struct load_config other = {DEFAULTS};
	other.workers = 1;
	other.pods = 1;
	other.pool = 4;
	struct load_totals second = run(make_load(other), 1500, &all);
	load_interval_free(all);
	assert_true(first.ok > 50 && second.ok > first.ok);
	assert_string_equal(server_ask("SELECT count(*) FROM first WHERE value NOT IN (SELECT value FROM log)"), "0");
	server_ask("DROP TABLE first");
}

static void intervals_add_up_to_the_totals(void **state)
{
	(void)state;
	write_workload("get = { run = function(c) c:exec('one') end }, bad = { run = function(c) c:exec('fail', 0) end }");
	struct load *load = make_load((struct load_config){DEFAULTS});
	struct load_interval *part = load_interval_create(load);
	uint64_t planned = 0, started = 0, ok = 0, failed = 0, division = 0, measured = 0;
	load_start(load, clock_now_ns());
	struct load_totals t = {0};
	int64_t edge_ns = 0;
	for (int i = 0; i < 6; i++) {
		if (i < 5)
			pause_ms(80);
		else
			t = stop(load, NS_PER_S);
		load_collect(load, part);
		assert_true(edge_ns == 0 || part->start_ns == edge_ns);
		edge_ns = part->end_ns;
		planned += part->planned;
		started += part->versions[0].started;
		ok += part->versions[0].ok;
		failed += part->versions[0].failed;
		division += errors_of(&part->versions[0].errors, "22012");
		measured += hist_count(part->total.response_ok) + hist_count(part->total.response_failed);
		assert_true(part->versions[0].in_flight <= 4);
		assert_true(part->cpu_share >= 0 && part->cpu_share < 1.5);
	}
	assert_int_equal(planned, t.planned);
	assert_int_equal(started, t.started);
	assert_int_equal(ok, t.ok);
	assert_int_equal(failed, t.failed);
	assert_int_equal(division, errors_of(&t.errors, "22012"));
	assert_int_equal(failed, division);
	assert_int_equal(measured, ok + failed);
	load_interval_free(part);
	load_free(load);
}

static void a_change_of_the_rate_takes_effect_within_milliseconds(void **state)
{
	(void)state;
	write_workload("get = { run = function(c) c:exec('one') end }");
	struct load_config config = {DEFAULTS};
	config.rate = 0.01;
	struct load *load = make_load(config);
	struct error err;
	load_start(load, clock_now_ns());
	pause_ms(50);
	assert_int_equal(load_change_rate(load, 1000, &err), ST_OK);
	pause_ms(510);
	assert_int_equal(load_change_rate(load, 0, &err), ST_OK);
	pause_ms(100);
	struct load_totals t = stop(load, NS_PER_S);
	assert_true(t.planned > 300);
	assert_int_equal(t.never_started, 0);
	assert_int_equal(load_change_rate(load, -1, &err), ST_USAGE);
	load_free(load);
}

static void the_closed_loop_keeps_every_session_busy(void **state)
{
	(void)state;
	write_workload("get = { run = function(c) c:exec('one') end }, nothing = { run = function() end }");
	struct load_config config = {DEFAULTS};
	config.closed = true;
	struct load_interval *all;
	struct load_totals t = run(make_load(config), 300, &all);
	assert_true(t.ok > 500);
	assert_int_equal(t.never_started, 0);
	assert_int_equal(all->planned, t.planned);
	load_interval_free(all);
}

/* ---- overload ---- */

static void what_no_session_was_free_for_is_abandoned_or_never_started(void **state)
{
	(void)state;
	write_workload("nap = { run = function(c) c:exec('nap', 0.05) end }");
	struct load_config config = {DEFAULTS};
	config.rate = 200;
	config.pods = config.pool = config.workers = 1;
	struct load_interval *all;
	struct load_totals t = run(make_load(config), 500, &all);
	assert_true(t.started <= 12 + t.planned / 8);
	assert_true(t.never_started > 50);
	assert_int_equal(all->backlog, t.never_started);
	assert_true(all->backlog_age_ns > 200 * NS_PER_MS);
	/* Those who waited have it in their response time, not in their service time. */
	assert_true(hist_max(all->total.response_ok) > 200 * NS_PER_MS);
	assert_true(hist_quantile(all->total.service_ok, 0.5) < hist_quantile(all->total.response_ok, 0.5));
	load_interval_free(all);

	config.patience_ns = 20 * NS_PER_MS;
	t = run(make_load(config), 500, &all);
	assert_true(t.abandoned > 50);
	assert_int_equal(all->abandoned, t.abandoned);
	load_interval_free(all);
}

static void a_frozen_server_shows_in_the_response_time_of_all_that_fell_due(void **state)
{
	(void)state;
	write_workload("get = { run = function(c) c:exec('one') end }");
	struct load *load = make_load((struct load_config){DEFAULTS});
	load_start(load, clock_now_ns());
	pause_ms(500);
	int pids[8], n = load_pids(load, pids, 8);
	assert_int_equal(n, 4);
	for (int i = 0; i < n; i++)
		assert_int_equal(kill(pids[i], SIGSTOP), 0);
	pause_ms(500);
	for (int i = 0; i < n; i++)
		assert_int_equal(kill(pids[i], SIGCONT), 0);
	pause_ms(500);
	struct load_totals t = stop(load, NS_PER_S);
	struct load_interval *all = load_interval_create(load);
	load_collect(load, all);
	assert_int_equal(t.failed, 0);
	/* About 250 fell due meanwhile and waited 250 ms on average; only four were under way. */
	assert_true(hist_count_above(all->total.response_ok, 100 * NS_PER_MS) > 120);
	assert_in_range(hist_count_above(all->total.service_ok, 300 * NS_PER_MS), 1, 4);
	assert_true(hist_max(all->total.response_ok) > 400 * NS_PER_MS);
	load_interval_free(all);
	load_free(load);
}

static void what_has_sent_nothing_has_no_age_since_its_send(void **state)
{
	(void)state;
	/* Each session has sent something after those that it sleeps in at last had fallen due. */
	write_workload(
		"nap = { run = (function() local n = 0 return function(c) n = n + 1 if n <= 4 then c:exec('nap', 0.1) else c:sleep('30s') end end "
		"end)() }");
	struct load *load = make_load((struct load_config){DEFAULTS});
	load_start(load, clock_now_ns());
	pause_ms(400);
	struct load_totals t = stop(load, 10 * NS_PER_MS);
	assert_int_equal(t.n_open, 4);
	for (size_t i = 0; i < t.n_open; i++)
		assert_int_equal(t.open[i].sent_age_ns, 0);
	load_free(load);
}

static void what_does_not_end_is_unfinished_with_its_age_and_cancelled(void **state)
{
	(void)state;
	write_workload("nap = { run = function(c) c:exec('nap', 30) end }");
	struct load *load = make_load((struct load_config){DEFAULTS});
	load_start(load, clock_now_ns());
	pause_ms(200);
	struct load_totals t = stop(load, 100 * NS_PER_MS);
	assert_int_equal(t.unfinished, 4);
	assert_true(t.unfinished_oldest_ns > 150 * NS_PER_MS);
	assert_int_equal(t.n_open, 4);
	for (size_t i = 0; i < t.n_open; i++) {
		const struct load_unfinished *u = &t.open[i];
		assert_string_equal(u->transaction, "nap");
		assert_string_equal(u->version, "v1");
		assert_true(u->due_age_ns >= u->sent_age_ns && u->sent_age_ns > 0 && u->due_age_ns <= t.unfinished_oldest_ns);
	}
	assert_int_equal(t.ok + t.failed, 0);
	load_free(load);
	const char *left = "4";
	for (int i = 0; i < 100 && strcmp(left, "0") != 0; i++) {
		pause_ms(20);
		left = server_ask("SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'pgrehearse load%'");
	}
	assert_string_equal(left, "0");
}

/* ---- errors ---- */

static void failures_are_counted_by_sqlstate_with_their_latency_and_leave_no_block_open(void **state)
{
	(void)state;
	write_workload("bad = { run = function(c) c:begin() c:exec('nap', 0.002) c:exec('fail', 0) c:commit() end }");
	struct load_config config = {DEFAULTS};
	config.rate = 100;
	struct load_interval *all;
	struct load_totals t = run(make_load(config), 400, &all);
	assert_int_equal(t.ok, 0);
	assert_true(t.failed > 10);
	assert_int_equal(errors_of(&t.errors, "22012"), t.failed);
	assert_int_equal(hist_count(all->total.response_failed), t.failed);
	assert_true(hist_min(all->total.service_failed) >= 2 * NS_PER_MS);
	assert_int_equal(warnings, 0);
	/* The nap was slow enough to be told. */
	assert_true(slow_naps >= (int)t.failed);
	assert_string_equal(first_nap.statement, "nap");
	assert_string_equal(first_nap.transaction, "bad");
	assert_string_equal(first_nap.version, "v1");
	assert_string_equal(first_nap.sqlstate, "00000");
	assert_true(first_nap.pid > 0 && first_nap.done_ns - first_nap.sent_ns >= 2 * NS_PER_MS);
	load_interval_free(all);
}

static void mistakes_of_the_script_are_told_once_and_counted_as_lua(void **state)
{
	(void)state;
	write_workload("bad = { run = function(c) c:exec('one') c.nothing.x = 1 end }");
	struct load_interval *all;
	struct load_totals t = run(make_load((struct load_config){DEFAULTS}), 200, &all);
	load_interval_free(all);
	assert_true(t.failed > 10);
	assert_int_equal(errors_of(&t.errors, "LUA"), t.failed);
	assert_int_equal(warnings, 1);
	assert_non_null(strstr(warning, "transaction bad of v1"));
	assert_non_null(strstr(warning, "w.lua:"));
	assert_non_null(strstr(warning, "stack traceback"));

	write_workload("open = { run = function(c) c:begin() c:exec('one') end }");
	t = run(make_load((struct load_config){DEFAULTS}), 200, &all);
	load_interval_free(all);
	assert_int_equal(errors_of(&t.errors, "LUA"), t.failed);
	assert_int_equal(t.ok, 0);
	assert_non_null(strstr(warning, "c:commit() is missing"));
}

static void a_commit_that_was_a_rollback_is_no_success(void **state)
{
	(void)state;
	write_workload(
		"sly = { run = function(c) c:begin() pcall(c.exec, c, 'fail', 0) c:commit() end },\n"
		"fair = { run = function(c) c:begin() local ok, e = pcall(c.exec, c, 'fail', 0)\n"
		"  assert(not ok and e.sqlstate == '22012' and e.message:find('zero') and tostring(e):find('22012')) c:rollback() end }");
	struct load_interval *all;
	struct load_totals t = run(make_load((struct load_config){DEFAULTS}), 200, &all);
	load_interval_free(all);
	assert_true(t.ok > 10 && t.failed > 10);
	assert_int_equal(errors_of(&t.errors, "25P02"), t.failed);
	assert_int_equal(warnings, 0);
}

static void values_come_back_by_their_types(void **state)
{
	(void)state;
	write_workload(
		"check = { run = function(c)\n"
		"  local i, s, b, f, n, null, array = c:row('types', math.mininteger, \"it's\", false, 0.1, 12.5)\n"
		"  if i == nil then return end -- tried without a server\n"
		"  assert(i == math.mininteger and math.type(i) == 'integer' and s == \"it's\" and b == false and f == 0.1 and n == 12.5 and null == nil and array == '{1,2}')\n"
		"  local rows = c:rows('types', 7, nil, true, 1 / 0, 3)\n"
		"  assert(#rows == 1 and rows[1][1] == 7 and rows[1][2] == nil and rows[1][3] == true and rows[1][4] == 1 / 0 and rows[1][5] == 3)\n"
		"  assert(c:exec('one') == 1 and c.version == 'v1' and c.random:int(1, 2) <= 2)\n"
		"  c:sleep('1ms')\n"
		"  local ok, e = pcall(c.exec, c, 'log', 'v1') assert(not ok and tostring(e):find('2 parameters'))\n"
		"  ok, e = pcall(c.exec, c, 'log', {}, 1) assert(not ok and tostring(e):find('is a table'))\n"
		"  ok, e = pcall(c.exec, c, 'log', 'a\\0b', 1) assert(not ok and tostring(e):find('zero byte'))\n"
		"  ok, e = pcall(c.exec, c, 'log', 'v1', 'no number') assert(not ok and e.sqlstate == '22P02')\n"
		"end }");
	struct load_config config = {DEFAULTS};
	config.rate = 100;
	struct load_interval *all;
	struct load_totals t = run(make_load(config), 200, &all);
	load_interval_free(all);
	assert_string_equal(warning, "");
	assert_int_equal(t.failed, 0);
	assert_true(t.ok > 5);
}

/* Each value as a parameter of its type, and back: by the server's own text, and by the value where Lua has its type. */
static void parameters_of_every_type_arrive_as_they_were_meant(void **state)
{
	(void)state;
	write_file(workload_path,
		"local workload = require 'workload'\n"
		"local bytes = {} for i = 0, 255 do bytes[i + 1] = string.char(i) end bytes = table.concat(bytes)\n"
		"local deep = { a = { 1, 2.5, true, workload.null }, ['k\"'] = 'tab\\t, \\\\, \\1', e = {} }\n"
		"local CASES = {\n"
		"{ 'int2', -32768 }, { 'int4', 7 }, { 'int8', math.maxinteger }, { 'float8', 0.1 }, { 'float8', -1 / 0 }, { 'numeric', 12.25 },\n"
		"{ 'bool', true }, { 'text', 'it\\'s \\\\ \\n \"x\"' }, { 'text', '' }, { 'varchar', 'a{b,c}' },\n"
		"{ 'timestamptz', '2026-11-21 06:50:18.123456+00', '2026-11-21 06:50:18.123456+00' }, { 'timestamp', '2026-02-28 23:59:59', '2026-02-28 23:59:59' },\n"
		"{ 'date', '2024-02-29', '2024-02-29' }, { 'interval', '90 minutes', '01:30:00' },\n"
		"{ 'uuid', 'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' }, { 'inet', '10.0.0.1' },\n"
		"{ 'jsonb', workload.json(deep), '{\"a\": [1, 2.5, true, null], \"e\": [], \"k\\\\\"\": \"tab\\\\t, \\\\\\\\, \\\\u0001\"}' },\n"
		"{ 'json', workload.json('x'), '\"x\"' }, { 'bytea', workload.bytea(bytes), bytes }, { 'bytea', workload.bytea(''), '' },\n"
		"{ 'int8[]', workload.array { 1, nil, math.mininteger, n = 3 }, '{1,NULL,-9223372036854775808}' }, { 'int4[]', workload.array {}, '{}' },\n"
		"{ 'text[]', workload.array { 'a', '', 'NULL', 'q\"\\\\', 'x,y {z}' }, '{a,\"\",\"NULL\",\"q\\\\\"\\\\\\\\\",\"x,y {z}\"}' },\n"
		"{ 'bool[]', workload.array { true, false }, '{t,f}' }, { 'float8[]', workload.array { { 1, 0.5 }, { 1 / 0, -2 } }, '{{1,0.5},{Infinity,-2}}' },\n"
		"{ 'bytea[]', workload.array { workload.bytea '\\0\\255' }, '{\"\\\\\\\\x00ff\"}' },\n"
		"{ 'uuid[]', workload.array { 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11' }, '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}' } }\n"
		"local statements = { null = { 'SELECT $1 IS NULL', types = { 'bytea' } } }\n"
		"for i, case in ipairs(CASES) do statements['typed' .. i] = { 'SELECT $1', types = { case[1] } } statements['cast' .. i] = 'SELECT $1::' .. case[1] end\n"
		"return workload { name = 'w', statements = statements, transactions = { check = { run = function(c)\n"
		"  if not c.number then return end\n"
		"  assert(c:row('null', nil) == true)\n"
		"  for i, case in ipairs(CASES) do for _, how in ipairs { 'typed', 'cast' } do\n"
		"    local expected, got = case[3] or case[2], c:row(how .. i, case[2])\n"
		"    assert(got == expected, ('%s %s: %s instead of %s'):format(how, case[1], got, expected))\n"
		"  end end\n"
		"end } } }",
		"", "");
	struct load_config config = {DEFAULTS};
	config.rate = 20;
	config.pods = config.pool = config.workers = 1;
	struct load *load = make_load(config);
	struct load_interval *all;
	struct load_totals t = run(load, 300, &all);
	load_interval_free(all);
	assert_string_equal(warning, "");
	assert_int_equal(t.failed, 0);
	assert_true(t.ok > 0);
}

/* How many sessions there are that are none of those. */
static int new_sessions(struct load *load, const int *old, int n)
{
	int pids[8], now = load_pids(load, pids, 8), count = 0;
	for (int i = 0; i < now; i++) {
		bool known = false;
		for (int k = 0; k < n; k++)
			known |= pids[i] == old[k];
		count += !known;
	}
	return count;
}

static void a_killed_session_counts_57P01_and_connects_again(void **state)
{
	(void)state;
	write_workload("nap = { run = function(c) c:exec('nap', 0.02) end }");
	struct load_config config = {DEFAULTS};
	config.rate = 190;
	struct load *load = make_load(config);
	load_start(load, clock_now_ns());
	pause_ms(300);
	int old[8];
	assert_int_equal(load_pids(load, old, 8), 4);
	assert_string_equal(
		server_ask("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'pgrehearse load%'"),
		"4");
	for (int i = 0; i < 1000 && new_sessions(load, old, 4) < 4; i++)
		pause_ms(10);
	assert_int_equal(new_sessions(load, old, 4), 4);
	pause_ms(300);
	struct load_totals t = stop(load, 5 * NS_PER_S);
	struct load_interval *all = load_interval_create(load);
	load_collect(load, all);
	assert_in_range(t.failed, 1, 4);
	assert_int_equal(errors_of(&t.errors, "57P01"), t.failed);
	assert_true(all->reconnects >= 4);
	assert_true(t.ok > 60);
	load_interval_free(all);
	load_free(load);
}

/* ---- pods ---- */

static void count_call(void *arg)
{
	atomic_fetch_add((atomic_int *)arg, 1);
}

static bool becomes(const atomic_int *calls, int n)
{
	for (int i = 0; i < 500 && atomic_load(calls) < n; i++)
		pause_ms(10);
	return atomic_load(calls) == n;
}

static void a_rolling_deploy_replaces_pod_by_pod_without_losing_a_transaction(void **state)
{
	(void)state;
	write_workload("get = { run = function(c) c:exec('nap', 0.003) assert(c.version == 'v1') end }");
	write_file(scenario_path, "return { workload = '", workload_path,
		"', versions = { v2 = { get = function(c) c:exec('two') assert(c.version == 'v2') end, statements = { two = 'SELECT 2' } } } }");
	struct load_config config = {DEFAULTS};
	config.scenario_path = scenario_path;
	struct load *load = make_load(config);
	struct error err;
	struct load_interval *part = load_interval_create(load);
	assert_int_equal(load_replace_pod(load, 2, "v2", NULL, NULL, &err), ST_USAGE);
	assert_int_equal(load_replace_pod(load, 0, "v9", NULL, NULL, &err), ST_USAGE);
	load_start(load, clock_now_ns());
	pause_ms(200);
	atomic_int calls = 0;
	assert_int_equal(load_replace_pod(load, 0, "v2", count_call, &calls, &err), ST_OK);
	assert_true(becomes(&calls, 1));
	pause_ms(200);
	load_collect(load, part);
	assert_string_equal(part->versions[1].name, "v2");
	assert_true(part->versions[0].ok > 0 && part->versions[1].ok > 0);
	assert_string_equal(
		server_ask(
			"SELECT string_agg(application_name, ',' ORDER BY application_name) FROM pg_stat_activity WHERE application_name LIKE 'pgrehearse load%'"),
		"pgrehearse load v1 pod 1,pgrehearse load v1 pod 1,pgrehearse load v2 pod 0,pgrehearse load v2 pod 0");
	assert_int_equal(load_replace_pod(load, 1, "v2", count_call, &calls, &err), ST_OK);
	assert_true(becomes(&calls, 2));
	load_collect(load, part);
	pause_ms(200);
	load_collect(load, part);
	assert_int_equal(part->versions[0].started, 0);
	assert_true(part->versions[1].started > 20);
	/* The same version again, busy or not: still a replacement. */
	assert_int_equal(load_replace_pod(load, 1, "v2", count_call, &calls, &err), ST_OK);
	assert_true(becomes(&calls, 3));
	struct load_totals t = stop(load, NS_PER_S);
	assert_int_equal(t.failed, 0);
	assert_int_equal(t.versions[0].ok + t.versions[1].ok, t.ok);
	assert_string_equal(warning, "");
	load_interval_free(part);
	load_free(load);
}

static void a_deploy_under_way_is_called_done_when_the_load_stops(void **state)
{
	(void)state;
	write_workload("nap = { run = function(c) c:exec('nap', 30) end }");
	struct load *load = make_load((struct load_config){DEFAULTS});
	struct error err;
	load_start(load, clock_now_ns());
	pause_ms(100);
	atomic_int calls = 0;
	assert_int_equal(load_replace_pod(load, 0, "v1", count_call, &calls, &err), ST_OK);
	pause_ms(50);
	assert_int_equal(calls, 0);
	stop(load, 0);
	assert_int_equal(calls, 1);
	load_free(load);
}

/* ---- beginnings ---- */

static void what_cannot_work_is_said_before_any_traffic(void **state)
{
	(void)state;
	struct error err;
	struct load *load = NULL;
	write_workload("bad = { run = function(c) c:exec('nowhere') end }");
	struct load_config config = {DEFAULTS};
	config.dsn = sandbox_dsn(server);
	config.workload_path = workload_path;
	assert_int_equal(load_create(&config, &load, &err), ST_USAGE);
	assert_non_null(strstr(err.what, "nowhere"));
	write_workload("get = { run = function(c) c:exec('one') end }");
	config.version = "v3";
	assert_int_equal(load_create(&config, &load, &err), ST_USAGE);
	assert_non_null(strstr(err.what, "v3"));
	config.version = NULL;
	config.pool = 0;
	assert_int_equal(load_create(&config, &load, &err), ST_USAGE);
	config.pool = 2;
	char dsn[512];
	snprintf(dsn, sizeof dsn, "%s dbname=nowhere", sandbox_dsn(server));
	config.dsn = dsn;
	assert_int_equal(load_create(&config, &load, &err), ST_OK);
	int64_t before = clock_now_ns();
	assert_int_equal(load_connect(load, 60 * NS_PER_S, &err), ST_FAILED);
	assert_true(clock_now_ns() - before < 30 * NS_PER_S);
	assert_non_null(strstr(err.what, "nowhere"));
	assert_string_equal(err.hint, "");
	load_free(load);
	config.dsn = "host=/nonexistent";
	assert_int_equal(load_create(&config, &load, &err), ST_OK);
	assert_int_equal(load_connect(load, 100 * NS_PER_MS, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "/nonexistent"));
	assert_string_equal(err.hint, "");
	load_free(load);
	server_ask("CREATE ROLE few LOGIN CONNECTION LIMIT 1");
	snprintf(dsn, sizeof dsn, "%s user=few", sandbox_dsn(server));
	config.dsn = dsn;
	assert_int_equal(load_create(&config, &load, &err), ST_OK);
	assert_int_equal(load_connect(load, NS_PER_S, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "too many connections for role"));
	assert_non_null(strstr(err.hint, "= 4 sessions must fit into the server's max_connections"));
	load_free(load);
	assert_int_equal(load_create(&config, &load, &err), ST_OK);
	load_free(load);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_planned_arrival_is_started_and_measured),
		cmocka_unit_test(one_seed_asks_the_same_questions_however_many_workers_there_are),
		cmocka_unit_test(intervals_add_up_to_the_totals),
		cmocka_unit_test(a_change_of_the_rate_takes_effect_within_milliseconds),
		cmocka_unit_test(the_closed_loop_keeps_every_session_busy),
		cmocka_unit_test(what_no_session_was_free_for_is_abandoned_or_never_started),
		cmocka_unit_test(a_frozen_server_shows_in_the_response_time_of_all_that_fell_due),
		cmocka_unit_test(what_has_sent_nothing_has_no_age_since_its_send),
		cmocka_unit_test(what_does_not_end_is_unfinished_with_its_age_and_cancelled),
		cmocka_unit_test(failures_are_counted_by_sqlstate_with_their_latency_and_leave_no_block_open),
		cmocka_unit_test(mistakes_of_the_script_are_told_once_and_counted_as_lua),
		cmocka_unit_test(a_commit_that_was_a_rollback_is_no_success),
		cmocka_unit_test(values_come_back_by_their_types),
		cmocka_unit_test(parameters_of_every_type_arrive_as_they_were_meant),
		cmocka_unit_test(a_killed_session_counts_57P01_and_connects_again),
		cmocka_unit_test(a_rolling_deploy_replaces_pod_by_pod_without_losing_a_transaction),
		cmocka_unit_test(a_deploy_under_way_is_called_done_when_the_load_stops),
		cmocka_unit_test(what_cannot_work_is_said_before_any_traffic),
	};
	return cmocka_run_group_tests_name("engine", tests, start_server, stop_server);
}
