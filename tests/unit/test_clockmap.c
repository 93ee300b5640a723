/* observe/clockmap: a server's clock on ours, from readings with round trips. */
#include "unit.h"

#include "base/clock.h"
#include "observe/clockmap.h"

#define OFFSET_US INT64_C(1750000000000000)

/* The server reads its clock `share` of the way through a round trip of rtt_us that starts at at_us on our clock. */
static void read_clock(struct clockmap *map, int64_t at_us, int64_t rtt_us, double share, int64_t offset_us)
{
	int64_t read_us = at_us + (int64_t)((double)rtt_us * share);
	clockmap_add(map, at_us * 1000, (at_us + rtt_us) * 1000, read_us + offset_us);
}

static int64_t error_of(const struct clockmap *map, int64_t local_us, int64_t offset_us)
{
	return llabs(clockmap_local_ns(map, local_us + offset_us) - local_us * 1000);
}

static void the_shortest_round_trip_counts(void **state)
{
	(void)state;
	static struct clockmap map;
	memset(&map, 0, sizeof map);
	assert_false(clockmap_ready(&map));
	read_clock(&map, 1000, 5000, 0.95, OFFSET_US);
	read_clock(&map, 20000, 100, 0.7, OFFSET_US);
	read_clock(&map, 40000, 9000, 0.02, OFFSET_US);
	assert_true(clockmap_ready(&map));
	assert_int_equal(clockmap_error_ns(&map), 51000);
	assert_true(error_of(&map, 123456, OFFSET_US) <= clockmap_error_ns(&map));
}

static void a_clock_that_is_set_is_noticed(void **state)
{
	(void)state;
	static struct clockmap map;
	memset(&map, 0, sizeof map);
	for (int i = 0; i < 300; i++)
		read_clock(&map, i * 10000, 100, 0.5, OFFSET_US);
	read_clock(&map, 3000000, 200, 0.5, OFFSET_US - 3600000000);
	assert_int_equal(map.steps, 1);
	assert_true(error_of(&map, 3000000, OFFSET_US - 3600000000) <= clockmap_error_ns(&map));
}

static void a_clock_that_runs_fast_is_followed(void **state)
{
	(void)state;
	static struct clockmap map;
	memset(&map, 0, sizeof map);
	read_clock(&map, 0, 50, 0.5, OFFSET_US);
	int64_t offset = OFFSET_US;
	for (int i = 1; i < 20000; i++) { /* 200 s at 100 ppm: 20 ms apart at the end */
		offset = OFFSET_US + i;
		read_clock(&map, i * INT64_C(10000), 60 + i % 50, 0.5, offset);
	}
	assert_int_equal(map.steps, 0);
	assert_true(error_of(&map, 200000000, offset) <= 300000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_shortest_round_trip_counts),
		cmocka_unit_test(a_clock_that_is_set_is_noticed),
		cmocka_unit_test(a_clock_that_runs_fast_is_followed),
	};
	return cmocka_run_group_tests_name("clockmap", tests, NULL, NULL);
}
