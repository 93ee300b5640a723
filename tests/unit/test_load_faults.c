/* load/ against a scripted server: what a transaction does when the server refuses, stalls or goes away, and how it is counted. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/fs.h"
#include "fake/fakepg.h"
#include "load/engine.h"
#include "load/ledger.h"
#include "measure/hist.h"

#include <stdatomic.h>
#include <time.h>
#include <unistd.h>

static char workload_path[] = "/tmp/pgr-faults-XXXXXX.lua";
static struct fakepg *fake;
static struct load *load;
static struct load_interval *all;
static char warning[2048];

static int make_file(void **state)
{
	(void)state;
	int fd = mkstemps(workload_path, 4);
	return fd >= 0 ? close(fd) : -1;
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(workload_path);
}

static int stop_all(void **state)
{
	(void)state;
	load_interval_free(all);
	load_free(load);
	fakepg_stop(fake);
	all = NULL;
	load = NULL;
	fake = NULL;
	return 0;
}

static void note_warning(const char *text, void *arg)
{
	(void)arg;
	snprintf(warning, sizeof warning, "%s", text);
}

static void serve(const char *script)
{
	struct error err;
	if (fakepg_start(script, &fake, &err) != ST_OK)
		fail_msg("%s", err.what);
}

static void make_load(const char *transactions, struct load_config config)
{
	FILE *f = fopen(workload_path, "w");
	assert_non_null(f);
	fprintf(f,
		"return { name = 'w', flags = { fast = false, share = 0.5, banner = 'none' }, setup = function(info) flags = info.flags end,\n"
		"statements = { get = 'SELECT get', put = 'UPDATE put SET n = $1', slow = 'SELECT slow' },\n"
		"transactions = { %s } }",
		transactions);
	fclose(f);
	struct error err = {0};
	config.dsn = fakepg_dsn(fake);
	config.workload_path = workload_path;
	config.scale = 1;
	config.seed = 1;
	config.pods = 1;
	config.workers = config.workers > 0 ? config.workers : 1;
	config.warn = note_warning;
	warning[0] = '\0';
	enum status st = load_create(&config, &load, &err);
	if (st == ST_OK)
		st = load_connect(load, 20 * NS_PER_S, &err);
	if (st != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
}

/* Until so many have ended; then what is under way may end too, for a while. */
static struct load_totals run_until(uint64_t ended, int64_t drain_ns)
{
	struct load_interval *part = load_interval_create(load);
	uint64_t seen = 0;
	int64_t deadline_ns = clock_now_ns() + 30 * NS_PER_S;
	all = load_interval_create(load);
	load_start(load, clock_now_ns());
	while (seen < ended && clock_now_ns() < deadline_ns) {
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		load_collect(load, part);
		seen += part->versions[0].ok + part->versions[0].failed;
		hist_merge(all->total.response_ok, part->total.response_ok);
		hist_merge(all->total.service_ok, part->total.service_ok);
		hist_merge(all->total.response_failed, part->total.response_failed);
		hist_merge(all->total.service_failed, part->total.service_failed);
	}
	load_interval_free(part);
	assert_true(seen >= ended);
	struct load_totals totals;
	load_stop(load, drain_ns, &totals);
	assert_true(totals.holds);
	if (warning[0] != '\0')
		fail_msg("%s", warning);
	return totals;
}

static uint64_t count_of(const struct load_errors *errors, const char *sqlstate)
{
	for (size_t i = 0; i < errors->n; i++)
		if (strcmp(errors->at[i].sqlstate, sqlstate) == 0)
			return errors->at[i].count;
	return 0;
}

static int64_t counter(const struct load_counters *counters, const char *name)
{
	for (size_t i = 0; i < counters->n; i++)
		if (strcmp(counters->at[i].name, name) == 0)
			return counters->at[i].value;
	return 0;
}

static const struct load_config ONE = {.even = true, .rate = 100, .pool = 1};

/* ---- retries ---- */

static void a_serialization_failure_is_retried_with_the_same_arguments(void **state)
{
	(void)state;
	serve("#1 run UPDATE* -> stall 20; error ERROR 40001 try again\n"
	      "#2 run UPDATE* -> error ERROR 40P01 deadlock\n");
	make_load("t = { retry = { backoff = '10ms' }, args = function(r) return r:int(1, 1 << 40) end, run = function(c, n)\n"
		  "if c.number then\n" /* not in the trial before the run */
		  "given = given or n attempts = (attempts or 0) + 1\n"
		  "if (attempts <= 3) ~= (n == given) then error('attempt ' .. attempts .. ': ' .. n) end end\n"
		  "c:begin() c:exec('put', n) c:commit() end }",
		ONE);
	struct load_totals t = run_until(1, 10 * NS_PER_S);
	assert_int_equal(t.failed, 0);
	assert_int_equal(count_of(&t.retries, "40001"), 1);
	assert_int_equal(count_of(&t.retries, "40P01"), 1);
	assert_int_equal(fakepg_runs(fake, "UPDATE*"), t.ok + 2);
	assert_int_equal(fakepg_runs(fake, "ROLLBACK"), 2);
	/* 20 ms, then half of 10 ms and half of 20 ms at least: of one transaction. */
	assert_true(hist_max(all->total.response_ok) >= 35 * NS_PER_MS);
	assert_true(hist_max(all->total.service_ok) >= 35 * NS_PER_MS);
}

static void what_fails_too_often_or_otherwise_fails(void **state)
{
	(void)state;
	serve("run UPDATE* -> error ERROR 40001 try again\nrun SELECT* -> error ERROR 23505 duplicate key");
	make_load("a = { retry = { times = 2, backoff = '1ms' }, run = function(c) c:exec('put', 1) end },\n"
		  "b = { retry = {}, run = function(c) c:exec('get') end }",
		ONE);
	struct load_totals t = run_until(20, 10 * NS_PER_S);
	assert_int_equal(t.ok, 0);
	assert_true(count_of(&t.errors, "40001") > 0 && count_of(&t.errors, "23505") > 0);
	assert_int_equal(count_of(&t.retries, "40001"), 2 * count_of(&t.errors, "40001"));
	assert_int_equal(count_of(&t.retries, "23505"), 0);
	assert_int_equal(fakepg_runs(fake, "UPDATE*"), 3 * count_of(&t.errors, "40001"));
}

static void a_transaction_that_pauses_at_the_end_is_unfinished(void **state)
{
	(void)state;
	serve("run UPDATE* -> error ERROR 40001 try again");
	make_load("a = { retry = { times = 2, backoff = '60s' }, run = function(c) c:exec('put', 1) end },\n"
		  "b = { weight = 20, run = function(c) c:exec('get') end }",
		(struct load_config){.even = true, .rate = 500, .pool = 8});
	struct load_totals t = run_until(50, 0);
	assert_true(t.unfinished >= 1);
	assert_int_equal(t.failed, 0);
	assert_int_equal(count_of(&t.retries, "40001"), t.unfinished);
}

static void a_lost_connection_is_not_retried(void **state)
{
	(void)state;
	serve("1x run UPDATE* -> error FATAL 40001 conflict with recovery");
	make_load("a = { retry = {}, run = function(c) c:exec('put', 1) end }", ONE);
	struct load_totals t = run_until(5, 10 * NS_PER_S);
	assert_int_equal(count_of(&t.errors, "40001"), 1);
	assert_int_equal(t.retries.n, 0);
	assert_int_equal(fakepg_connections(fake), 2);
}

/* ---- pipelines ---- */

static void a_pipeline_returns_the_result_of_each_statement(void **state)
{
	(void)state;
	serve("run UPDATE* -> complete UPDATE 7\nrun SELECT get -> row 1|x; row 2|\\N; complete SELECT 2\n"
	      "run SELECT slow -> complete SELECT 0; rows 0 0");
	make_load(
		"a = { run = function(c)\n"
		"local r = c:pipeline(function(p) p:begin() p:exec('put', 3) p:rows('get') p:row('get') p:row('slow') p:exec('get') p:commit() end)\n"
		"if c.number then assert(#r == 7 and r[1] == true and r[2] == 7, 'counts')\n"
		"assert(#r[3] == 2 and r[3][2][1] == 2 and r[3][2][2] == nil and r[3][1][2] == 'x', 'rows')\n"
		"assert(r[4][1] == 1 and r[4][2] == 'x', 'row') assert(r[5] == false, 'no row') assert(r[6] == 2 and r[7] == true) end\n"
		"assert(#c:pipeline(function() end) == 0)\n"
		"c:exec('put', 4) end }",
		(struct load_config){.even = true, .rate = 200, .pool = 3});
	struct load_totals t = run_until(20, 10 * NS_PER_S);
	assert_int_equal(t.failed, 0);
	assert_int_equal(fakepg_runs(fake, "UPDATE*"), 2 * t.ok);
	assert_int_equal(fakepg_runs(fake, "COMMIT"), t.ok);
}

static void the_first_error_of_a_pipeline_ends_it_and_the_session_serves_on(void **state)
{
	(void)state;
	serve("1x run UPDATE* -> error ERROR 23505 duplicate key\nrun SELECT slow -> error FATAL 57P01 bye");
	make_load(
		"a = { weight = 4, run = function(c) c:pipeline(function(p) p:begin() p:exec('put', 3) p:exec('get') p:commit() end) end },\n"
		"b = { run = function(c) c:pipeline(function(p) p:exec('get') p:exec('slow') end) end }",
		(struct load_config){.even = true, .rate = 300, .pool = 2});
	struct load_totals t = run_until(40, 10 * NS_PER_S);
	assert_int_equal(count_of(&t.errors, "23505"), 1);
	assert_int_equal(count_of(&t.errors, "23505") + count_of(&t.errors, "57P01"), t.failed);
	assert_true(count_of(&t.errors, "57P01") > 0);
	assert_int_equal(fakepg_runs(fake, "ROLLBACK"), 1);
	assert_int_equal(fakepg_runs(fake, "COMMIT"), t.ok);
}

static void a_pipeline_survives_any_byte_that_the_connection_ends_at(void **state)
{
	(void)state;
	static const char TRANSACTION[] =
		"a = { run = function(c) c:pipeline(function(p) p:exec('put', 3) p:rows('get') p:row('get') end) end }";
	serve("run SELECT get -> row 1|x; row 2|y; complete SELECT 2");
	make_load(TRANSACTION, ONE);
	struct load_totals t = run_until(1, NS_PER_S);
	assert_true(t.failed == 0);
	int cut = 0;
	for (int64_t n = 240; n < 480; n += 2) {
		load_interval_free(all);
		load_free(load);
		fakepg_cut_after(fake, n);
		make_load(TRANSACTION, ONE);
		t = run_until(1, NS_PER_S);
		assert_int_equal(t.failed, count_of(&t.errors, "08006") + count_of(&t.errors, "08003"));
		cut += t.ok == 0;
	}
	assert_true(cut > 30);
}

static void what_cannot_be_executed_where_it_stands_says_so(void **state)
{
	(void)state;
	serve("");
	make_load("a = { run = function(c) if c.number then\n"
		  "local ok, text = pcall(c.pipeline, c, function() c:exec('get') end) assert(not ok and text:find 'c:pipeline', text)\n"
		  "ok, text = pcall(c.pipeline, c, function(p) p:exec('put') end) assert(not ok and text:find '1 parameters', text)\n"
		  "ok, text = pcall(c.exec, c, 'put', {}) assert(not ok and text:find 'workload.array', text) end\n"
		  "c:exec('get') end }",
		ONE);
	assert_int_equal(run_until(3, NS_PER_S).failed, 0);
}

/* ---- statements ---- */

static const struct load_statement_hists *statement(const struct load_interval *in, const char *name)
{
	for (size_t i = 0; i < in->n_statements; i++)
		if (strcmp(in->statements[i].statement, name) == 0 && strcmp(in->statements[i].version, "v1") == 0)
			return &in->statements[i];
	fail_msg("no statement %s", name);
	return NULL;
}

static void each_statement_is_measured_by_itself(void **state)
{
	(void)state;
	serve("run SELECT slow -> stall 10; row 1; complete SELECT 1\nrun UPDATE* -> error ERROR 23514 check");
	make_load("a = { run = function(c) c:begin() c:exec('get') c:exec('get') c:exec('slow') c:commit() end },\n"
		  "b = { run = function(c) c:exec('put', 1) end }, d = { run = function(c) c:pipeline(function(p) p:exec('get') end) end }",
		(struct load_config){.even = true, .rate = 200, .pool = 4});
	struct load_interval *in = load_interval_create(load);
	load_start(load, clock_now_ns());
	nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
	struct load_totals t;
	load_stop(load, 10 * NS_PER_S, &t);
	load_collect(load, in);
	uint64_t commits = hist_count(statement(in, "COMMIT")->ok);
	assert_true(commits > 5);
	assert_int_equal(hist_count(statement(in, "get")->ok), 2 * commits);
	assert_int_equal(hist_count(statement(in, "slow")->ok), commits);
	assert_int_equal(hist_count(statement(in, "BEGIN")->ok), commits);
	assert_true(hist_min(statement(in, "slow")->ok) >= 10 * NS_PER_MS);
	assert_null(statement(in, "get")->failed);
	assert_null(statement(in, "put")->ok);
	assert_int_equal(hist_count(statement(in, "put")->failed), t.failed);
	assert_int_equal(hist_count(statement(in, "pipeline")->ok), t.ok - commits);
	load_collect(load, in);
	assert_int_equal(hist_count(statement(in, "get")->ok), 0);
	load_interval_free(in);
}

/* ---- everything at once ---- */

static void at_whatever_byte_connections_end_every_arrival_is_accounted_for(void **state)
{
	(void)state;
	serve("run SELECT get -> row 1|x; complete SELECT 1\n#4 run UPDATE* -> error ERROR 40001 again");
	uint64_t ok = 0, lost = 0;
	for (int64_t n = 190; n < 520; n += 5) {
		load_interval_free(all);
		load_free(load);
		load = NULL;
		all = NULL;
		fakepg_cut_after(fake, n);
		make_load(
			"a = { retry = { on = { '40001', '57014' }, backoff = '1ms' }, statement_timeout = '1s', cancel_after = '1s', run = function(c)\n"
			"c:begin() c:row('get') c:exec('put', 1) c:commit() c:count('done') end }",
			(struct load_config){.even = true, .rate = 1000, .pool = 2});
		struct load_totals t = run_until(3, 2 * NS_PER_S);
		assert_int_equal(t.failed, count_of(&t.errors, "08006") + count_of(&t.errors, "08003"));
		assert_int_equal(counter(&t.counters, "done"), t.ok);
		ok += t.ok;
		lost += t.failed;
	}
	assert_true(ok > 20 && lost > 100);
}

/* ---- flags and counters ---- */

static void a_flag_changes_what_transactions_do_from_then_on(void **state)
{
	(void)state;
	serve("");
	make_load(
		"a = { args = function(r) return flags.share end, run = function(c, share)\n"
		"assert(share == c.flags.share)\n"
		"c:count(c.flags.fast and 'fast' or 'slow') c:count('share', share * 4 // 1 | 0) c:count(c.flags.banner) c:exec('get') end }",
		(struct load_config){.even = true, .rate = 500, .pool = 2, .workers = 1});
	struct error err;
	struct load_interval *in = load_interval_create(load);
	load_start(load, clock_now_ns());
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	assert_int_equal(load_set_flag(load, "fast", "true", &err), ST_OK);
	assert_int_equal(load_set_flag(load, "share", "2", &err), ST_OK);
	assert_int_equal(load_set_flag(load, "banner", "sale", &err), ST_OK);
	load_collect(load, in);
	assert_true(counter(&in->counters, "slow") > 0);
	int64_t before = counter(&in->counters, "fast");
	nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
	load_collect(load, in);
	int64_t fast = counter(&in->counters, "fast");
	assert_true(fast > before && counter(&in->counters, "slow") == 0);
	assert_int_equal(counter(&in->counters, "share"), 8 * fast);
	assert_int_equal(counter(&in->counters, "sale"), fast);
	assert_int_equal(load_check_flag(load, "fast", "maybe", &err), ST_USAGE);
	assert_int_equal(load_set_flag(load, "share", "half", &err), ST_USAGE);
	assert_int_equal(load_set_flag(load, "quick", "true", &err), ST_USAGE);
	assert_non_null(strstr(err.what, "quick"));
	struct load_totals t;
	load_stop(load, NS_PER_S, &t);
	assert_int_equal(counter(&t.counters, "fast") + counter(&t.counters, "slow"), t.ok);
	/* The flags were set one after another, with traffic in between. */
	assert_true(counter(&t.counters, "none") >= counter(&t.counters, "slow"));
	assert_int_equal(counter(&t.counters, "none") + counter(&t.counters, "sale"), t.ok);
	assert_int_equal(t.failed, 0);
	load_interval_free(in);
}

/* ---- the standby ---- */

static struct fakepg *standby;

static int stop_standby(void **state)
{
	stop_all(state);
	fakepg_stop(standby);
	standby = NULL;
	return 0;
}

static const char READS[] =
	"r = { read_only = true, retry = { backoff = '1ms' }, statement_timeout = '3s', run = function(c) c:exec('get') end },\n"
	"w = { run = function(c) c:exec('put', 1) end }";

static void serve_standby(const char *script)
{
	struct error err;
	serve("");
	if (fakepg_start(script, &standby, &err) != ST_OK)
		fail_msg("%s", err.what);
}

static void reads_run_on_the_standby_and_writes_do_not(void **state)
{
	(void)state;
	serve_standby("#3 run SELECT get -> error ERROR 40001 conflict with recovery\n#7 run SELECT get -> error ERROR 55000 no");
	make_load(READS,
		(struct load_config){.even = true, .rate = 400, .pool = 3, .read_dsn = fakepg_dsn(standby), .read_from = "standby1"});
	struct load_totals t = run_until(100, NS_PER_S);
	assert_string_equal(t.reads.name, "standby1");
	assert_int_equal(fakepg_runs(fake, "SELECT*"), 0);
	assert_int_equal(fakepg_runs(standby, "UPDATE*"), 0);
	assert_int_equal(fakepg_runs(standby, "SET*"), 3);
	assert_int_equal(fakepg_runs(fake, "SET*"), 0);
	assert_int_equal(count_of(&t.retries, "40001"), 1);
	assert_int_equal(count_of(&t.reads.errors, "55000"), 1);
	assert_int_equal(t.failed, 1);
	assert_true(t.reads.started > 20 && t.reads.started < t.started);
	assert_int_equal(t.reads.started, t.reads.ok + t.reads.failed);
	assert_int_equal(fakepg_runs(standby, "SELECT*"), t.reads.started + 1);
	assert_int_equal(fakepg_runs(fake, "UPDATE*"), t.started - t.reads.started);
}

static void a_standby_that_goes_away_fails_reads_until_it_is_back(void **state)
{
	(void)state;
	serve_standby("#5 run SELECT get -> error FATAL 57P01 terminating\n#6 run SELECT get -> reset");
	make_load(READS, (struct load_config){.even = true, .rate = 400, .pool = 2, .read_dsn = fakepg_dsn(standby)});
	struct load_totals t = run_until(200, NS_PER_S);
	assert_int_equal(t.failed, t.reads.failed);
	assert_int_equal(count_of(&t.reads.errors, "57P01"), 1);
	assert_int_equal(t.reads.failed,
		count_of(&t.reads.errors, "57P01") + count_of(&t.reads.errors, "08006") + count_of(&t.reads.errors, "08003"));
	assert_int_equal(fakepg_connections(fake), 2);
	assert_true(fakepg_connections(standby) >= 4); /* more when the machine is too busy to connect in time */
	assert_true(t.reads.ok > 50);
}

/* ---- time limits ---- */

static void a_statement_that_takes_too_long_is_cancelled_by_us(void **state)
{
	(void)state;
	serve("run SELECT slow -> stall 20000; row 1; complete SELECT 1");
	make_load("a = { cancel_after = '20ms', run = function(c) c:begin() c:exec('slow') c:commit() end },\n"
		  "b = { cancel_after = '20s', run = function(c) c:exec('get') end }",
		(struct load_config){.even = true, .rate = 200, .pool = 4});
	struct load_totals t = run_until(20, 10 * NS_PER_S);
	assert_true(count_of(&t.errors, "57014") > 0);
	assert_int_equal(count_of(&t.errors, "57014"), t.failed);
	assert_true(fakepg_cancels(fake) >= (int)t.failed); /* a request may come when its statement has ended by itself */
	assert_true(hist_max(all->total.service_failed) >= 20 * NS_PER_MS && hist_max(all->total.service_failed) < 5 * NS_PER_S);
}

static void what_a_pipeline_prepares_first_is_cancelled_by_us_too(void **state)
{
	(void)state;
	serve("parse SELECT slow -> stall 20000");
	make_load("a = { cancel_after = '20ms', run = function(c) c:start_pipeline('slow') c:exec('slow') c:end_pipeline() end }",
		(struct load_config){.even = true, .rate = 200, .pool = 4});
	struct load_totals t = run_until(10, 10 * NS_PER_S);
	assert_int_equal(count_of(&t.errors, "57014"), t.failed);
	assert_int_equal(t.ok, 0);
	assert_true(hist_max(all->total.service_failed) < 5 * NS_PER_S);
}

static void a_time_limit_that_is_not_set_in_time_is_cancelled_by_us_too(void **state)
{
	(void)state;
	serve("run SET statement_timeout* -> stall 20000; complete SET");
	make_load("a = { cancel_after = '20ms', statement_timeout = '1s', run = function(c) c:exec('get') end }",
		(struct load_config){.even = true, .rate = 200, .pool = 4});
	struct load_totals t = run_until(10, 10 * NS_PER_S);
	assert_int_equal(count_of(&t.errors, "57014"), t.failed);
	assert_int_equal(t.ok, 0);
	assert_true(hist_max(all->total.service_failed) < 5 * NS_PER_S);
}

static void the_servers_time_limit_is_set_when_it_changes(void **state)
{
	(void)state;
	serve("");
	make_load("a = { statement_timeout = '250ms', run = function(c) c:exec('get') end },\n"
		  "b = { run = function(c) c:exec('slow') end }",
		(struct load_config){.even = true, .rate = 500, .pool = 1});
	struct load_totals t = run_until(100, 10 * NS_PER_S);
	int set = fakepg_runs(fake, "SET statement_timeout = 250"), reset = fakepg_runs(fake, "RESET statement_timeout");
	assert_int_equal(t.failed, 0);
	assert_true(set > 5 && set < (int)t.ok * 2 / 3);
	assert_true(reset == set || reset == set - 1);
}

/* ---- users and workers ---- */

/* Requests of half of the users lie with the worker whose only session never comes back. */
static void users_of_a_worker_without_an_idle_session_are_served_by_another(void **state)
{
	(void)state;
	struct load_config config = {.closed = true, .users = 8, .pool = 2, .workers = 2};
	struct error err;
	assert_int_equal(think_parse("5ms", &config.think, &err), ST_OK);
	serve("1x run SELECT slow -> stall 60000");
	make_load("a = { run = function(c) c:exec('slow') end }", config);
	load_start(load, clock_now_ns());
	int64_t deadline_ns = clock_now_ns() + 20 * NS_PER_S;
	while (fakepg_runs(fake, "SELECT slow") < 200 && clock_now_ns() < deadline_ns)
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
	all = load_interval_create(load);
	do {
		nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
		load_collect(load, all);
	} while (all->backlog > 0 && clock_now_ns() < deadline_ns);
	assert_int_equal(all->backlog, 0);
	struct load_totals t;
	load_stop(load, 0, &t);
	assert_true(t.holds);
	assert_true(t.unfinished >= 1);
	assert_int_equal(t.failed, 0);
}

/* ---- the ledger ---- */

/* Of one client with three acknowledged commits, on a server that does what the script says. */
static enum status check_ledger(const char *script, struct load_ledger *out, struct error *err)
{
	serve(script);
	const struct ledger_book book = {.next = 3}, *books = &book;
	return ledger_check(fakepg_dsn(fake), &books, 1, 2 * NS_PER_S, out, err);
}

#define COPY_ROWS "run COPY* -> raw 4800000007000000; "
#define ROW_0 "raw 6400000008300930 0a; "
#define ROW_1 "raw 6400000008300931 0a; "
#define ROW_2 "raw 6400000008300932 0a; "
#define COPY_END "raw 6300000004; complete COPY 3\n"

static void a_ledger_that_is_read_to_its_end_tells_what_was_lost(void **state)
{
	(void)state;
	struct load_ledger l;
	struct error err;
	assert_int_equal(check_ledger(COPY_ROWS ROW_0 ROW_2 COPY_END, &l, &err), ST_OK);
	assert_int_equal(l.found, 2);
	assert_int_equal(l.lost, 1);
	assert_string_equal(l.left.what, "");
}

static void a_ledger_whose_server_falls_silent_is_not_checked(void **state)
{
	(void)state;
	static const char *const SCRIPTS[][2] = {
		{"startup -> stall 60000", "cannot connect"},
		{"run COPY* -> stall 60000", "has not answered the ledger for 2.00 s"},
		{COPY_ROWS ROW_0 ROW_1 "stall 60000", "has not answered the ledger for 2.00 s"},
		{COPY_ROWS ROW_0 "drop", "the ledger "},
		{COPY_ROWS ROW_0 "error ERROR XX001 page 7 cannot be read", "page 7"},
	};
	for (size_t i = 0; i < sizeof SCRIPTS / sizeof *SCRIPTS; i++) {
		struct load_ledger l;
		struct error err = {0};
		assert_int_equal(check_ledger(SCRIPTS[i][0], &l, &err), ST_FAILED);
		if (strstr(err.what, SCRIPTS[i][1]) == NULL)
			fail_msg("%s: %s", SCRIPTS[i][0], err.what);
		fakepg_stop(fake);
		fake = NULL;
	}
}

static void a_ledger_that_cannot_be_dropped_is_known_all_the_same(void **state)
{
	(void)state;
	struct load_ledger l;
	struct error err;
	assert_int_equal(check_ledger(COPY_ROWS ROW_0 COPY_END "run DROP* -> stall 60000", &l, &err), ST_OK);
	assert_int_equal(l.lost, 2);
	assert_non_null(strstr(l.left.what, "has not answered"));
}

static void a_ledger_that_cannot_be_made_says_so_in_time(void **state)
{
	(void)state;
	struct error err;
	serve("run DROP* -> stall 60000");
	assert_int_equal(ledger_create(fakepg_dsn(fake), 2 * NS_PER_S, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "has not answered the ledger for 2.00 s"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_serialization_failure_is_retried_with_the_same_arguments, stop_all),
		cmocka_unit_test_teardown(what_fails_too_often_or_otherwise_fails, stop_all),
		cmocka_unit_test_teardown(a_transaction_that_pauses_at_the_end_is_unfinished, stop_all),
		cmocka_unit_test_teardown(a_lost_connection_is_not_retried, stop_all),
		cmocka_unit_test_teardown(a_pipeline_returns_the_result_of_each_statement, stop_all),
		cmocka_unit_test_teardown(the_first_error_of_a_pipeline_ends_it_and_the_session_serves_on, stop_all),
		cmocka_unit_test_teardown(a_pipeline_survives_any_byte_that_the_connection_ends_at, stop_all),
		cmocka_unit_test_teardown(what_cannot_be_executed_where_it_stands_says_so, stop_all),
		cmocka_unit_test_teardown(each_statement_is_measured_by_itself, stop_all),
		cmocka_unit_test_teardown(at_whatever_byte_connections_end_every_arrival_is_accounted_for, stop_all),
		cmocka_unit_test_teardown(a_flag_changes_what_transactions_do_from_then_on, stop_all),
		cmocka_unit_test_teardown(reads_run_on_the_standby_and_writes_do_not, stop_standby),
		cmocka_unit_test_teardown(a_standby_that_goes_away_fails_reads_until_it_is_back, stop_standby),
		cmocka_unit_test_teardown(a_statement_that_takes_too_long_is_cancelled_by_us, stop_all),
		cmocka_unit_test_teardown(what_a_pipeline_prepares_first_is_cancelled_by_us_too, stop_all),
		cmocka_unit_test_teardown(a_time_limit_that_is_not_set_in_time_is_cancelled_by_us_too, stop_all),
		cmocka_unit_test_teardown(the_servers_time_limit_is_set_when_it_changes, stop_all),
		cmocka_unit_test_teardown(users_of_a_worker_without_an_idle_session_are_served_by_another, stop_all),
		cmocka_unit_test_teardown(a_ledger_that_is_read_to_its_end_tells_what_was_lost, stop_all),
		cmocka_unit_test_teardown(a_ledger_whose_server_falls_silent_is_not_checked, stop_all),
		cmocka_unit_test_teardown(a_ledger_that_cannot_be_dropped_is_known_all_the_same, stop_all),
		cmocka_unit_test_teardown(a_ledger_that_cannot_be_made_says_so_in_time, stop_all),
	};
	return cmocka_run_group_tests(tests, make_file, remove_file);
}
