/* base/units: numbers with units are read strictly and written briefly. */
#include "unit.h"

#include "base/units.h"

static int64_t time_of(const char *text)
{
	int64_t ns = -1;
	struct error err;
	return units_parse_time(text, &ns, &err) == ST_OK ? ns : -1;
}

static void durations_are_read_to_the_nanosecond(void **state)
{
	(void)state;
	assert_int_equal(time_of("50ms"), 50000000);
	assert_int_equal(time_of("2s"), 2000000000);
	assert_int_equal(time_of("1.5 s"), 1500000000);
	assert_int_equal(time_of("250us"), 250000);
	assert_int_equal(time_of("24h"), INT64_C(86400000000000));
	assert_int_equal(time_of("0"), 0);
}

static void what_is_no_duration_is_refused_with_what_would_be(void **state)
{
	(void)state;
	static const char *const BAD[] = {"", "50", "ms", "50 parsecs", "-1s", "nan s", "0x10s", "1e400s", "5s5", "1000000d"};
	for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
		int64_t ns;
		struct error err;
		assert_int_equal(units_parse_time(BAD[i], &ns, &err), ST_USAGE);
		assert_non_null(strstr(err.hint, "50ms"));
	}
}

static void sizes_are_powers_of_two_as_in_postgresql(void **state)
{
	(void)state;
	int64_t bytes;
	struct error err;
	assert_int_equal(units_parse_bytes("30MB", &bytes, &err), ST_OK);
	assert_int_equal(bytes, 30 * 1048576);
	assert_int_equal(units_parse_bytes("8kB", &bytes, &err), ST_OK);
	assert_int_equal(bytes, 8192);
	assert_int_equal(units_parse_bytes("30 mb", &bytes, &err), ST_USAGE);
}

static void a_quantity_tells_its_unit(void **state)
{
	(void)state;
	double value;
	enum unit unit;
	struct error err;
	assert_int_equal(units_parse_quantity("0.1%", &value, &unit, &err), ST_OK);
	assert_int_equal(unit, UNIT_SHARE);
	assert_float_equal(value, 0.001, 1e-12);
	assert_int_equal(units_parse_quantity("400/s", &value, &unit, &err), ST_OK);
	assert_int_equal(unit, UNIT_RATE);
	assert_int_equal(units_parse_quantity("3", &value, &unit, &err), ST_OK);
	assert_int_equal(unit, UNIT_NONE);
	assert_int_equal(units_parse_quantity("abc", &value, &unit, &err), ST_USAGE);
}

static void three_significant_digits_are_written(void **state)
{
	(void)state;
	char out[64];
	assert_string_equal(units_format_time(1250000000, out, sizeof out), "1.25 s");
	assert_string_equal(units_format_time(999950000, out, sizeof out), "1.00 s");
	assert_string_equal(units_format_time(870000, out, sizeof out), "870 µs");
	assert_string_equal(units_format_time(0, out, sizeof out), "0 ns");
	assert_string_equal(units_format_bytes(12.3 * 1048576, out, sizeof out), "12.3 MB");
	assert_string_equal(units_format_count(0, out, sizeof out), "0");
	assert_string_equal(units_format_count(999, out, sizeof out), "999");
	assert_string_equal(units_format_count(1000, out, sizeof out), "1,000");
	assert_string_equal(units_format_count(1900000000, out, sizeof out), "1,900,000,000");
	assert_string_equal(units_format_count(-123456, out, sizeof out), "-123,456");
	assert_string_equal(units_format_quantity(0.001, UNIT_SHARE, out, sizeof out), "0.10 %");
}

static void a_share_is_a_percentage_and_nothing_else(void **state)
{
	(void)state;
	struct error err;
	double share;
	assert_int_equal(units_parse_share("--most", "5%", &share, &err), ST_OK);
	assert_true(share == 0.05);
	assert_int_equal(units_parse_share("--most", "0%", &share, &err), ST_OK);
	assert_true(share == 0);
	const char *const wrong[] = {"5", "0.05", "-5%", "5ms", "5 percent", ""};
	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
		assert_int_equal(units_parse_share("--most", wrong[i], &share, &err), ST_USAGE);
	assert_int_equal(units_parse_share("--most", "5ms", &share, &err), ST_USAGE);
	assert_string_equal(err.what, "--most 5ms: a percentage is expected, such as 5%");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(durations_are_read_to_the_nanosecond),
		cmocka_unit_test(what_is_no_duration_is_refused_with_what_would_be),
		cmocka_unit_test(sizes_are_powers_of_two_as_in_postgresql),
		cmocka_unit_test(a_quantity_tells_its_unit),
		cmocka_unit_test(three_significant_digits_are_written),
		cmocka_unit_test(a_share_is_a_percentage_and_nothing_else),
	};
	return cmocka_run_group_tests_name("units", tests, NULL, NULL);
}
