/* load/stats: what a worker counts is what happened, and merging loses nothing. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "load/stats.h"
#include "measure/hist.h"

static struct workload_transaction TRANSACTIONS[] = {{.name = "get", .weight = 1}, {.name = "put", .weight = 1}};
static struct workload_version VERSIONS[] = {{.name = "v1"}, {.name = "v2"}};
static const struct workload WORKLOAD = {.n_transactions = 2, .transactions = TRANSACTIONS, .n_versions = 2, .versions = VERSIONS};

static struct ending ending(int version, int transaction, const char *sqlstate, int64_t response_us, int64_t service_us)
{
	struct ending e = {
		.version = version, .transaction = transaction, .ok = strcmp(sqlstate, "00000") == 0, .due_ns = NS_PER_S, .awaited = true};
	snprintf(e.sqlstate, sizeof e.sqlstate, "%s", sqlstate);
	e.end_ns = e.due_ns + response_us * NS_PER_US;
	e.sent_ns = service_us >= 0 ? e.end_ns - service_us * NS_PER_US : 0;
	return e;
}

static void a_transaction_is_measured_where_it_belongs(void **state)
{
	(void)state;
	struct stats *s = stats_create(&WORKLOAD);
	struct ending ok = ending(0, 1, "00000", 500, 300), failed = ending(1, 0, "55P03", 2000000, 2000000);
	stats_record(s, &ok);
	stats_record(s, &failed);
	assert_int_equal(s->versions[0].ok, 1);
	assert_int_equal(s->versions[1].failed, 1);
	assert_string_equal(s->versions[1].errors.at[0].sqlstate, "55P03");
	const struct load_hists *put = &s->hists[1], *get2 = &s->hists[2];
	assert_string_equal(put->transaction, "put");
	assert_string_equal(put->version, "v1");
	assert_string_equal(get2->transaction, "get");
	assert_string_equal(get2->version, "v2");
	assert_int_equal(hist_max(put->response_ok), 500 * NS_PER_US);
	assert_int_equal(hist_max(put->service_ok), 300 * NS_PER_US);
	assert_int_equal(hist_count(put->response_failed), 0);
	assert_int_equal(hist_max(get2->response_failed), 2 * NS_PER_S);
	assert_int_equal(hist_count(s->schedule_error), 2);
	assert_int_equal(hist_max(s->schedule_error), 200 * NS_PER_US);
	stats_free(s);
}

static void what_sent_nothing_has_no_service_time_and_what_queued_no_schedule_error(void **state)
{
	(void)state;
	struct stats *s = stats_create(&WORKLOAD);
	struct ending silent = ending(0, 0, "LUA", 10, -1), queued = ending(0, 0, "00000", 90, 10);
	queued.awaited = false;
	stats_record(s, &silent);
	stats_record(s, &queued);
	assert_int_equal(hist_count(s->hists[0].response_failed), 1);
	assert_int_equal(hist_count(s->hists[0].service_failed), 0);
	assert_int_equal(hist_count(s->schedule_error), 0);
	stats_free(s);
}

static void what_a_transaction_itself_waits_before_its_first_statement_is_no_schedule_error(void **state)
{
	(void)state;
	struct stats *s = stats_create(&WORKLOAD);
	struct ending before = ending(0, 0, "00000", 50000, 300), behind = ending(0, 0, "00000", 50000, 49900);
	before.paused_ns = before.due_ns + 20 * NS_PER_US;
	behind.paused_ns = behind.sent_ns + NS_PER_MS;
	stats_record(s, &before);
	assert_int_equal(hist_max(s->schedule_error), 20 * NS_PER_US);
	assert_int_equal(hist_max(s->hists[0].service_ok), 300 * NS_PER_US);
	stats_record(s, &behind);
	assert_int_equal(hist_count(s->schedule_error), 2);
	assert_int_equal(hist_max(s->schedule_error), 100 * NS_PER_US);
	stats_free(s);
}

static void a_full_table_of_errors_counts_the_rest_as_other(void **state)
{
	(void)state;
	struct load_errors errors = {0};
	char sqlstate[12];
	uint64_t sum = 0;
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < LOAD_SQLSTATES_MAX + 20; i++) {
			snprintf(sqlstate, sizeof sqlstate, "%05d", i);
			stats_count_error(&errors, sqlstate, 1);
		}
	}
	assert_int_equal(errors.n, LOAD_SQLSTATES_MAX);
	for (size_t i = 0; i < errors.n; i++)
		sum += errors.at[i].count;
	assert_int_equal(sum, 2 * (LOAD_SQLSTATES_MAX + 20));
	assert_string_equal(errors.at[0].sqlstate, "00000");
	assert_int_equal(errors.at[0].count, 2);
	assert_string_equal(errors.at[LOAD_SQLSTATES_MAX - 1].sqlstate, "OTHER");
	assert_int_equal(errors.at[LOAD_SQLSTATES_MAX - 1].count, 2 * 21);
}

static void versions_add_up_error_by_error(void **state)
{
	(void)state;
	struct load_version a = {.name = "v1", .started = 5, .ok = 3, .failed = 2, .in_flight = 1}, b = a;
	stats_count_error(&a.errors, "40P01", 2);
	stats_count_error(&b.errors, "55P03", 1);
	stats_count_error(&b.errors, "40P01", 1);
	stats_add_version(&a, &b);
	assert_int_equal(a.started, 10);
	assert_int_equal(a.in_flight, 2);
	assert_int_equal(a.errors.n, 2);
	assert_int_equal(a.errors.at[0].count, 3);
	assert_int_equal(a.errors.at[1].count, 1);
}

static void clearing_leaves_nothing_behind(void **state)
{
	(void)state;
	struct stats *s = stats_create(&WORKLOAD);
	struct ending e = ending(1, 1, "40001", 70, 60);
	s->abandoned = s->reconnects = 3;
	s->versions[1].started = 1;
	stats_record(s, &e);
	stats_clear(s);
	assert_int_equal(s->abandoned + s->reconnects + s->versions[1].started + s->versions[1].failed + s->versions[1].errors.n, 0);
	assert_int_equal(
		hist_count(s->hists[3].response_failed) + hist_count(s->hists[3].service_failed) + hist_count(s->schedule_error), 0);
	assert_string_equal(s->versions[1].name, "v2");
	stats_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_transaction_is_measured_where_it_belongs),
		cmocka_unit_test(what_sent_nothing_has_no_service_time_and_what_queued_no_schedule_error),
		cmocka_unit_test(what_a_transaction_itself_waits_before_its_first_statement_is_no_schedule_error),
		cmocka_unit_test(a_full_table_of_errors_counts_the_rest_as_other),
		cmocka_unit_test(versions_add_up_error_by_error),
		cmocka_unit_test(clearing_leaves_nothing_behind),
	};
	return cmocka_run_group_tests_name("load stats", tests, NULL, NULL);
}
