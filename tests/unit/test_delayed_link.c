/* A standby behind a slow line, on real servers: how late it is, that nothing is lost on the way, and that the line outlives the primary. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "observe/observer.h"
#include "record/record.h"
#include "server.h"

#include <time.h>

#define DELAY_NS (300 * NS_PER_MS)

static void pause_for(int64_t ns)
{
	nanosleep(&(struct timespec){ns / NS_PER_S, ns % NS_PER_S}, NULL);
}

static int set_up(void **state)
{
	(void)state;
	return server_start_as(&(struct sandbox_config){.name = "late", .standbys = 2, .standby_delay_ns = DELAY_NS});
}

static int tear_down(void **state)
{
	(void)state;
	return server_stop();
}

static void a_heartbeat_is_seen_no_earlier_than_the_line_lets_it_through(void **state)
{
	(void)state;
	struct error err;
	struct observer *observer;
	char path[128];
	snprintf(path, sizeof path, "%s/record", server_home);
	struct record *record = record_create(path, json_object(), &err);
	assert_non_null(record);
	const char *names[] = {sandbox_standby_name(server, 0), sandbox_standby_name(server, 1)};
	const char *dsns[] = {sandbox_standby_dsn(server, 0), sandbox_standby_dsn(server, 1)};
	assert_ok(
		observer_start(
			&(struct observer_config){
				.dsn = sandbox_dsn(server), .standby_names = names, .standby_dsns = dsns, .standbys = 2, .record = record},
			&observer, &err),
		&err);
	/* A beat is not seen for as long as the line takes; of the last before it, a period and the time between two looks may be missing. The
	 * server's own columns come with the first answer. */
	struct observation seen = {0};
	bool both = false;
	for (int i = 0; i < 1200 && !both; i++) {
		pause_for(50 * NS_PER_MS);
		observer_collect(observer, &seen);
		both = seen.standbys == 2;
		for (int k = 0; k < 2 && both; k++)
			both = seen.lag[k].heartbeat_ns >= DELAY_NS - 150 * NS_PER_MS && seen.lag[k].replay_lag_ns >= DELAY_NS &&
				seen.lag[k].replay_bytes > 0;
	}
	assert_true(both);
	struct observer_totals totals;
	assert_ok(observer_stop(observer, &totals, &err), &err);
	assert_ok(record_finish(record, "finished", NULL, &err), &err);
	record_close(record);
}

static void much_wal_arrives_whole_though_it_is_on_its_way_for_long(void **state)
{
	(void)state;
	const char *dsn = sandbox_dsn(server);
	server_ask_at(dsn, "CREATE TABLE much AS SELECT i, repeat(md5(i::text), 8) AS t FROM generate_series(1, 100000) i");
	char sum[512];
	static const char SUM[] = "SELECT count(*) || ' ' || sum(hashtext(t)) FROM much";
	snprintf(sum, sizeof sum, "%s", server_ask_at(dsn, SUM));
	bool same = false;
	for (int i = 0; i < 1200 && !same; i++) {
		pause_for(50 * NS_PER_MS);
		same = strcmp(server_ask_at(sandbox_standby_dsn(server, 1), SUM), sum) == 0;
	}
	assert_true(same);
}

static void after_a_crash_of_the_primary_the_line_leads_to_it_again(void **state)
{
	(void)state;
	struct error err;
	assert_ok(sandbox_stop_server(server, 0, true, &err), &err);
	assert_ok(sandbox_start_server(server, 0, &err), &err);
	assert_string_equal(server_ask_at(sandbox_dsn(server), "CREATE TABLE later AS SELECT 7 AS n"), "SELECT 1");
	bool there = false;
	for (int i = 0; i < 1200 && !there; i++) {
		pause_for(50 * NS_PER_MS);
		there = strcmp(server_ask_at(sandbox_standby_dsn(server, 1), "SELECT n FROM later"), "7") == 0;
	}
	assert_true(there);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_heartbeat_is_seen_no_earlier_than_the_line_lets_it_through),
		cmocka_unit_test(much_wal_arrives_whole_though_it_is_on_its_way_for_long),
		cmocka_unit_test(after_a_crash_of_the_primary_the_line_leads_to_it_again),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
