/* measure/hist: three significant digits over the whole range, exact at its edges, and the same however it was filled. */
#include "unit.h"

#include "measure/hist.h"

#include <math.h>

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
	return (x > y) - (x < y);
}

static void assert_same(const struct hist *a, const struct hist *b)
{
	assert_int_equal(a->total, b->total);
	assert_int_equal(a->saturated, b->saturated);
	assert_int_equal(hist_min(a), hist_min(b));
	assert_int_equal(hist_max(a), hist_max(b));
	assert_int_equal(a->first, b->first);
	assert_int_equal(a->last, b->last);
	assert_memory_equal(a->counts, b->counts, sizeof a->counts);
}

/* A spread over all magnitudes: fixed, so that a failure repeats. */
static int64_t spread(uint64_t i)
{
	uint64_t x = (i + 1) * UINT64_C(0x9E3779B97F4A7C15);
	x ^= x >> 31;
	x *= UINT64_C(0xD6E8FEB86659FD93);
	x ^= x >> 32;
	return (int64_t)((x & (uint64_t)HIST_HIGHEST_NS) >> (i % 47));
}

static void an_empty_one_answers_zero(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	assert_int_equal(hist_count(h), 0);
	assert_int_equal(hist_min(h), 0);
	assert_int_equal(hist_max(h), 0);
	assert_int_equal(hist_quantile(h, 0.99), 0);
	assert_true(hist_mean(h) == 0);
	assert_int_equal(hist_count_above(h, 0), 0);
	struct hist_iter it = {0};
	struct hist_bucket b;
	assert_false(hist_next(h, &it, &b));
	hist_free(h);
}

static void slots_tile_the_range_without_gap_or_overlap(void **state)
{
	(void)state;
	int64_t expected = 0;
	for (uint32_t slot = 0; slot < HIST_SLOTS; slot++) {
		assert_int_equal(hist_slot_low(slot), expected);
		assert_int_equal(hist_slot(hist_slot_low(slot)), slot);
		assert_int_equal(hist_slot(hist_slot_high(slot)), slot);
		expected = hist_slot_high(slot) + 1;
	}
	assert_int_equal(expected - 1, HIST_HIGHEST_NS);
}

static void values_below_2048_are_exact(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	for (int64_t v = 0; v < 2048; v++) {
		hist_clear(h);
		hist_record(h, v);
		hist_record(h, 1000000); /* so that the exact maximum does not help */
		assert_int_equal(hist_quantile(h, 0.5), v);
	}
	hist_free(h);
}

static void a_slot_is_never_wider_than_a_thousandth_of_its_values(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 200000; i++) {
		int64_t v = spread(i);
		int64_t high = hist_slot_high(hist_slot(v));
		assert_true(high >= v);
		assert_true((double)(high - v) <= 1e-3 * (double)v);
	}
}

static void quantiles_are_those_of_the_sorted_values(void **state)
{
	(void)state;
	enum { N = 10007 };
	static int64_t values[N];
	struct hist *h = hist_create();
	for (uint64_t i = 0; i < N; i++)
		hist_record(h, values[i] = spread(i));
	qsort(values, N, sizeof values[0], by_value);
	static const double Q[] = {0, 1e-9, 0.001, 0.07, 0.25, 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999, 1};
	for (size_t i = 0; i < sizeof Q / sizeof Q[0]; i++) {
		size_t rank = (size_t)ceil(Q[i] * N);
		int64_t exact = values[rank == 0 ? 0 : rank - 1];
		int64_t expected = hist_slot_high(hist_slot(exact));
		assert_int_equal(hist_quantile(h, Q[i]), expected > values[N - 1] ? values[N - 1] : expected);
	}
	assert_int_equal(hist_min(h), values[0]);
	assert_int_equal(hist_max(h), values[N - 1]);
	hist_free(h);
}

static void a_rank_is_not_lost_to_rounding(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	for (int64_t v = 1; v <= 100; v++)
		hist_record(h, v);
	for (int p = 1; p <= 100; p++)
		assert_int_equal(hist_quantile(h, p / 100.0), p);
	for (uint64_t n = 1; n <= 2000; n++)
		for (uint64_t p = 1; p <= 100; p++)
			assert_int_equal(hist_rank((double)p / 100.0, n), (p * n + 99) / 100);
	assert_int_equal(hist_rank(0, 5), 1);
	assert_int_equal(hist_rank(0.5, 0), 0);
	hist_free(h);
}

static void merging_equals_recording_all(void **state)
{
	(void)state;
	struct hist *all = hist_create(), *sum = hist_create(), *part = hist_create();
	for (uint64_t p = 0; p < 5; p++) {
		hist_clear(part);
		for (uint64_t i = 0; i < 1000 * p; i++) {
			int64_t v = spread(p * 7919 + i) >> p;
			hist_record(all, v);
			hist_record(part, v);
		}
		hist_merge(sum, part);
	}
	hist_record(all, INT64_MAX);
	hist_clear(part);
	hist_record(part, INT64_MAX);
	hist_merge(sum, part);
	assert_same(all, sum);
	assert_true(fabs(hist_mean(all) - hist_mean(sum)) <= 1e-9 * hist_mean(all));
	hist_free(all);
	hist_free(sum);
	hist_free(part);
}

static void what_is_out_of_range_is_counted_and_said(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	hist_record(h, -5);
	hist_record(h, HIST_HIGHEST_NS);
	assert_int_equal(h->saturated, 0);
	hist_record(h, HIST_HIGHEST_NS + 1);
	hist_record(h, INT64_MAX);
	assert_int_equal(h->saturated, 2);
	assert_int_equal(hist_count(h), 4);
	assert_int_equal(hist_min(h), 0);
	assert_int_equal(hist_max(h), INT64_MAX);
	assert_int_equal(hist_quantile(h, 0.25), 0);
	assert_int_equal(hist_quantile(h, 1), INT64_MAX);
	assert_int_equal(h->counts[HIST_SLOTS - 1], 3);
	hist_free(h);
}

static void clearing_leaves_nothing_behind(void **state)
{
	(void)state;
	struct hist *used = hist_create(), *fresh = hist_create();
	for (uint64_t i = 0; i < 1000; i++)
		hist_record(used, spread(i));
	hist_clear(used);
	assert_same(used, fresh);
	hist_record(used, 42);
	assert_int_equal(hist_max(used), 42);
	assert_int_equal(hist_min(used), 42);
	hist_free(used);
	hist_free(fresh);
}

static void the_mean_is_exact(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	for (int64_t v = 1; v <= 1000001; v += 1000)
		hist_record(h, v);
	assert_true(hist_mean(h) == 500001.0);
	hist_free(h);
}

static void values_above_a_limit_are_counted(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	for (int64_t v = 1; v <= 1000; v++)
		hist_record(h, v);
	assert_int_equal(hist_count_above(h, -1), 1000);
	assert_int_equal(hist_count_above(h, 0), 1000);
	assert_int_equal(hist_count_above(h, 1), 999);
	assert_int_equal(hist_count_above(h, 990), 10);
	assert_int_equal(hist_count_above(h, 1000), 0);
	hist_record(h, INT64_MAX);
	assert_int_equal(hist_count_above(h, 50000000), 1);
	assert_int_equal(hist_count_above(h, INT64_MAX), 0);
	hist_free(h);
}

static void the_iteration_meets_every_value_once(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	for (uint64_t i = 0; i < 5000; i++)
		hist_record(h, spread(i));
	struct hist_iter it = {0};
	struct hist_bucket b;
	uint64_t seen = 0;
	int64_t before = -1;
	while (hist_next(h, &it, &b)) {
		seen += b.count;
		assert_true(b.count > 0 && b.low > before && b.high >= b.low);
		assert_int_equal(b.cumulative, seen);
		before = b.high;
	}
	assert_int_equal(seen, 5000);
	assert_true(before >= hist_max(h));
	hist_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_one_answers_zero),
		cmocka_unit_test(slots_tile_the_range_without_gap_or_overlap),
		cmocka_unit_test(values_below_2048_are_exact),
		cmocka_unit_test(a_slot_is_never_wider_than_a_thousandth_of_its_values),
		cmocka_unit_test(quantiles_are_those_of_the_sorted_values),
		cmocka_unit_test(a_rank_is_not_lost_to_rounding),
		cmocka_unit_test(merging_equals_recording_all),
		cmocka_unit_test(what_is_out_of_range_is_counted_and_said),
		cmocka_unit_test(clearing_leaves_nothing_behind),
		cmocka_unit_test(the_mean_is_exact),
		cmocka_unit_test(values_above_a_limit_are_counted),
		cmocka_unit_test(the_iteration_meets_every_value_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
