/* load/engine on a real server: programs, users who think, overload by app version, and several workers of which one wakes up. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "load/engine.h"
#include "load/rate.h"
#include "measure/hist.h"
#include "server.h"

#include <math.h>
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
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	load_free(latest);
	return server_stop();
}

#define DEFAULTS .scale = 1, .seed = 7, .rate = 500, .pods = 2, .pool = 2, .workers = 2

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static struct load *make_load(struct load_config config, const char *transactions)
{
	struct load *load = NULL;
	struct error err = {0};
	char text[1024];
	snprintf(text, sizeof text,
		"return { name = 'w', schema = '', generate = {}, statements = { one = 'SELECT 1', nap = 'SELECT pg_sleep($1)' }, transactions = {\n%s} }\n",
		transactions);
	write_file(workload_path, text);
	config.dsn = sandbox_dsn(server);
	config.workload_path = workload_path;
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

static struct load_totals stop(struct load *load, struct load_interval **interval)
{
	struct load_totals t;
	load_stop(load, 10 * NS_PER_S, &t);
	*interval = load_interval_create(load);
	load_collect(load, *interval);
	if (!t.holds)
		fail_msg("planned %lu started %lu abandoned %lu never %lu ok %lu failed %lu unfinished %lu", (unsigned long)t.planned,
			(unsigned long)t.started, (unsigned long)t.abandoned, (unsigned long)t.never_started, (unsigned long)t.ok,
			(unsigned long)t.failed, (unsigned long)t.unfinished);
	assert_int_equal((*interval)->planned, t.planned);
	assert_int_equal((*interval)->backlog, t.never_started);
	load_free(latest);
	latest = load;
	return t;
}

static struct load_totals run(struct load *load, long ms, struct load_interval **interval)
{
	load_start(load, clock_now_ns());
	pause_ms(ms);
	return stop(load, interval);
}

static uint64_t errors_of(const struct load_errors *errors, const char *sqlstate)
{
	for (size_t i = 0; i < errors->n; i++)
		if (strcmp(errors->at[i].sqlstate, sqlstate) == 0)
			return errors->at[i].count;
	return 0;
}

#define ONE "get = { run = function(c) c:exec('one') end }"
#define NAP "nap = { run = function(c) c:exec('nap', 0.05) end }"

/* ---- programs ---- */

static void a_program_is_followed_and_a_changed_mix_obeyed(void **state)
{
	(void)state;
	struct rate_program program;
	struct error err;
	assert_int_equal(rate_parse("ramp(0, 1000, 1s)", &program, &err), ST_OK);
	struct load *load = make_load((struct load_config){DEFAULTS, .program = &program, .even = true},
		"get = { run = function(c) c:exec('one') end }, rare = { run = function(c) c:exec('one') end }");
	struct load_interval *all;
	const struct load_weight off = {.transaction = "rare", .weight = 0}, wrong = {.transaction = "raer", .weight = 1};
	const struct load_weight nothing[] = {{"rare", 0}, {"get", 0}};
	assert_int_equal(load_change(load, NULL, &wrong, 1, &err), ST_USAGE);
	assert_non_null(strstr(err.what, "raer"));
	assert_int_equal(load_change(load, NULL, nothing, 2, &err), ST_USAGE);
	assert_int_equal(load_change(load, NULL, &off, 1, &err), ST_OK);
	int64_t start_ns = clock_now_ns();
	load_start(load, start_ns);
	pause_ms(500);
	struct load_totals t = stop(load, &all);
	double s = (double)(all->end_ns - start_ns) * 1e-9;
	/* The interval ends after the plan did, by the time that the stop took. */
	assert_true((double)t.planned <= 500 * s * s + 1 && t.planned >= 124);
	for (size_t i = 0; i < all->n_hists; i++)
		assert_true((hist_count(all->hists[i].response_ok) > 0) == (strcmp(all->hists[i].transaction, "get") == 0));
	load_interval_free(all);
}

/* ---- users ---- */

static void users_of_a_closed_loop_think_between_requests(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS, .closed = true, .users = 40};
	struct load_interval *all;
	struct error err;
	assert_int_equal(think_parse("exponential(100ms)", &config.think, &err), ST_OK);
	struct load_totals t = run(make_load(config, ONE), 2000, &all);
	/* 40 users, one request every 100 ms and a bit each, over four sessions. */
	assert_true(t.ok > 550 && t.ok < 900);
	assert_true(hist_count(all->schedule_error) > t.ok / 2);
	load_interval_free(all);
}

static void users_without_think_time_keep_all_sessions_busy(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS, .closed = true, .users = 8};
	struct load_interval *all;
	struct load_totals t = run(make_load(config, NAP), 1000, &all);
	/* Eight users wait for four sessions: each request has waited about as long as it took. */
	assert_true(t.ok >= 60 && t.ok <= 84);
	assert_true(hist_quantile(all->total.response_ok, 0.5) > 85 * NS_PER_MS);
	assert_true(hist_quantile(all->total.service_ok, 0.5) < 85 * NS_PER_MS);
	load_interval_free(all);
}

static void users_who_arrive_make_several_requests_each(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS, .even = true};
	struct load_interval *all;
	struct error err;
	config.rate = 100;
	assert_int_equal(think_parse("10ms", &config.think, &err), ST_OK);
	assert_int_equal(requests_parse("4", &config.requests, &err), ST_OK);
	struct load *load = make_load(config, ONE);
	load_start(load, clock_now_ns());
	pause_ms(1000);
	assert_int_equal(load_change_rate(load, 0, &err), ST_OK);
	pause_ms(300);
	struct load_totals t = stop(load, &all);
	/* About 101 users; each made all of its requests. */
	assert_true(t.planned % 4 == 0 && t.planned >= 400 && t.planned < 600);
	assert_int_equal(t.ok, t.planned);
	load_interval_free(all);
}

/* ---- overload ---- */

static void a_pool_timeout_is_an_error_of_the_application(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS, .acquire_timeout_ns = 20 * NS_PER_MS};
	struct load_interval *all;
	config.pods = config.pool = config.workers = 1;
	struct load_totals t = run(make_load(config, NAP), 500, &all);
	assert_true(t.failed > 50);
	assert_int_equal(t.abandoned, 0);
	assert_int_equal(errors_of(&t.errors, LOAD_POOL_TIMEOUT), t.failed);
	assert_int_equal(hist_count(all->total.response_failed), t.failed);
	assert_true(hist_min(all->total.response_failed) >= 19 * NS_PER_MS);
	assert_int_equal(hist_count(all->total.service_failed), 0);
	load_interval_free(all);
}

static void who_loses_patience_has_gone(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS, .acquire_timeout_ns = NS_PER_S, .patience_ns = 20 * NS_PER_MS};
	struct load_interval *all;
	config.pods = config.pool = config.workers = 1;
	struct load_totals t = run(make_load(config, NAP), 500, &all);
	assert_true(t.abandoned > 50);
	assert_int_equal(t.failed, 0);
	assert_int_equal(all->abandoned, t.abandoned);
	load_interval_free(all);
}

static void each_app_version_waits_by_its_own_policy(void **state)
{
	(void)state;
	write_file(scenario_path, "return { workload = 'w', versions = { v2 = { nap = function(c) c:exec('nap', 0.05) end } } }");
	const struct load_policy policies[] = {{.version = "v2", .acquire_timeout_ns = 10 * NS_PER_MS}};
	struct load_config config = {
		DEFAULTS, .patience_ns = 40 * NS_PER_MS, .policies = policies, .n_policies = 1, .scenario_path = scenario_path};
	struct load_interval *all;
	struct error err;
	struct load *load = make_load(config, NAP);
	assert_int_equal(load_replace_pod(load, 1, "v2", NULL, NULL, &err), ST_OK);
	struct load_totals t = run(load, 1000, &all);
	/* Half of all is sent to each. */
	assert_true(t.abandoned > 100 && t.failed > 100);
	assert_true(errors_of(&t.versions[1].errors, LOAD_POOL_TIMEOUT) == t.failed);
	assert_true(t.versions[0].abandoned == t.abandoned && all->versions[0].abandoned == t.abandoned);
	assert_true(fabs((double)t.failed / (double)t.abandoned - 1) < 0.5);
	load_interval_free(all);
}

/* ---- several workers ---- */

static void workers_share_the_work_of_which_each_arrival_wakes_one(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS};
	struct load_interval *all;
	config.rate = 2000;
	config.workers = 4;
	config.pool = 8;
	struct load_totals t = run(make_load(config, ONE), 1500, &all);
	assert_int_equal(all->n_workers, 4);
	assert_int_equal(t.ok, t.started);
	assert_true(t.never_started <= 200); /* due in the last tenth of a second: machines stand still for some of it */
	for (int i = 0; i < 4; i++)
		assert_true(all->worker_started[i] > t.ok / 20);
	load_interval_free(all);
}

static void one_session_a_worker_is_enough_for_an_arrival_to_find_the_idle_one(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS};
	struct load_interval *all;
	config.rate = 60;
	config.workers = 4;
	config.pods = 4;
	config.pool = 1;
	struct load_totals t = run(make_load(config, "nap = { run = function(c) c:exec('nap', 0.02) end }"), 1500, &all);
	assert_int_equal(t.ok + t.unfinished, t.planned - t.never_started);
	/* Nobody slept through an arrival for which there was a session. */
	assert_true(hist_quantile(all->schedule_error, 0.5) < 5 * NS_PER_MS);
	load_interval_free(all);
}

static void a_pause_before_the_first_statement_is_the_transactions_own(void **state)
{
	(void)state;
	struct load_config config = {DEFAULTS};
	struct load_interval *all;
	config.rate = 60;
	config.pool = 20;
	(void)run(make_load(config,
			  "sleeps = { run = function(c) c:sleep('80ms') c:exec('one') end },\n"
			  "shells = { run = function(c) c:shell('sleep 0.08') c:exec('one') end }"),
		1500, &all);
	assert_true(hist_count(all->schedule_error) > 30);
	assert_true(hist_quantile(all->schedule_error, 0.5) < 40 * NS_PER_MS);
	load_interval_free(all);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_program_is_followed_and_a_changed_mix_obeyed),
		cmocka_unit_test(users_of_a_closed_loop_think_between_requests),
		cmocka_unit_test(users_without_think_time_keep_all_sessions_busy),
		cmocka_unit_test(users_who_arrive_make_several_requests_each),
		cmocka_unit_test(a_pool_timeout_is_an_error_of_the_application),
		cmocka_unit_test(who_loses_patience_has_gone),
		cmocka_unit_test(each_app_version_waits_by_its_own_policy),
		cmocka_unit_test(workers_share_the_work_of_which_each_arrival_wakes_one),
		cmocka_unit_test(one_session_a_worker_is_enough_for_an_arrival_to_find_the_idle_one),
		cmocka_unit_test(a_pause_before_the_first_statement_is_the_transactions_own),
	};
	return cmocka_run_group_tests_name("engine traffic", tests, start_server, stop_server);
}
