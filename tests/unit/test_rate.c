/* load/rate: programs are read strictly, their integrals are exact and so are the inverses. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "load/rate.h"

#include <math.h>

static struct rate_program parsed(const char *text)
{
	struct rate_program p;
	struct error err;
	if (rate_parse(text, &p, &err) != ST_OK)
		fail_msg("%s: %s", text, err.what);
	return p;
}

static void assert_near(long double value, long double expected, long double tolerance)
{
	if (!(fabsl(value - expected) <= tolerance))
		fail_msg("%.12Lg is not within %Lg of %.12Lg", value, tolerance, expected);
}

static int64_t seconds(double s)
{
	return (int64_t)llround(s * 1e9);
}

/* ---- integrals against arithmetic by hand ---- */

static void each_shape_yields_what_its_formula_says(void **state)
{
	(void)state;
	struct rate_program p = parsed("0.1");
	assert_near(rate_integral(&p, seconds(3600)), 360, 1e-12L);
	p = parsed("ramp(100, 2000, 60s)");
	assert_near(rate_integral(&p, seconds(60)), 63000, 1e-9L);
	assert_near(rate_integral(&p, seconds(30)), 100 * 30 + 0.5L * 1900 / 60 * 900, 1e-9L);
	assert_near(rate_integral(&p, seconds(61)), 65000, 1e-9L);
	p = parsed("sine(400, 200, 10min)");
	const long double pi = acosl(-1);
	assert_near(rate_integral(&p, seconds(600)), 240000, 1e-6L);
	assert_near(rate_integral(&p, seconds(300)), 120000 + 2 * 200 * 600 / (2 * pi), 1e-6L);
	assert_near(rate_integral(&p, seconds(150)), 60000 + 200 * 600 / (2 * pi), 1e-6L);
	p = parsed("burst(200, 2000, 1s every 10s)");
	assert_near(rate_integral(&p, seconds(9)), 1800, 1e-9L);
	assert_near(rate_integral(&p, seconds(10)), 3800, 1e-9L);
	assert_near(rate_integral(&p, seconds(29.5)), 3 * 3800 - 1000, 1e-9L);
	p = parsed("steps(100/30s, 0/5s, 200/30s)");
	assert_near(rate_integral(&p, seconds(30)), 3000, 1e-9L);
	assert_near(rate_integral(&p, seconds(35)), 3000, 1e-9L);
	assert_near(rate_integral(&p, seconds(66)), 3000 + 31 * 200, 1e-9L);
}

static void a_sequence_is_the_sum_of_its_parts(void **state)
{
	(void)state;
	struct rate_program p = parsed(
		"50/s for 2s then ramp(50, 150, 10s) then sine(100, 100, 4s) for 8s then burst(0, 1000, 100ms every 1s) for 3s then ramp(10,0,10s)");
	assert_near(rate_integral(&p, seconds(2)), 100, 1e-9L);
	assert_near(rate_integral(&p, seconds(12)), 1100, 1e-9L);
	assert_near(rate_integral(&p, seconds(20)), 1900, 1e-9L);
	assert_near(rate_integral(&p, seconds(23)), 2200, 1e-9L);
	assert_near(rate_integral(&p, seconds(33)), 2250, 1e-9L);
	/* The last rate, which is none, stays. */
	assert_near(rate_integral(&p, seconds(1e6)), 2250, 1e-9L);
	assert_true(rate_invert(&p, 2250.001L) == RATE_NEVER);
	assert_near(rate_peak(&p), 1000, 0);
	assert_near(rate_mean(&p, seconds(12)), 1100.0L / 12, 1e-9L);
}

/* Simpson's rule over the rate, in steps that end at the kinks. */
static void the_integral_is_that_of_the_rate(void **state)
{
	(void)state;
	static const char *const TEXTS[] = {"ramp(3, 700, 20s)", "ramp(700, 0, 20s)", "sine(30, 29, 7s)", "sine(5, 5, 3s) for 20s then 1"};
	for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
		struct rate_program p = parsed(TEXTS[i]);
		const int steps = 4000;
		long double sum = 0;
		for (int k = 0; k <= steps; k++) {
			long double weight = k == 0 || k == steps ? 1 : k % 2 == 1 ? 4 : 2;
			sum += weight * (long double)rate_at(&p, (int64_t)k * 5 * NS_PER_MS);
		}
		assert_near(rate_integral(&p, 20 * NS_PER_S), sum * 0.005L / 3, 1e-3L);
	}
}

static void the_inverse_finds_the_nanosecond(void **state)
{
	(void)state;
	static const char *const TEXTS[] = {"0.1", "100000", "ramp(100, 2000, 60s)", "ramp(2000, 100, 60s)", "sine(400, 200, 10min)",
		"sine(1000, 990, 24h)", "burst(200, 2000, 1s every 10s)", "burst(0.5, 90000, 1ms every 1s)",
		"20 for 3s then ramp(20, 500, 9s) then sine(500, 100, 5s)", "steps(1/5s, 100000/5s, 0.1/5s, 3/5s)"};
	for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
		struct rate_program p = parsed(TEXTS[i]);
		for (int k = 1; k < 4000; k++) {
			int64_t t = (int64_t)k * k * 104729 + k * 31;
			int64_t back = rate_invert(&p, rate_integral(&p, t));
			if (back < t - 1 || back > t + 1)
				fail_msg("%s: %lld ns came back as %lld ns", TEXTS[i], (long long)t, (long long)back);
		}
	}
	/* Weeks at a high rate. */
	struct rate_program day = parsed("sine(50000, 40000, 24h)");
	int64_t t = 30 * 86400 * NS_PER_S + 123456789;
	assert_true(llabs(rate_invert(&day, rate_integral(&day, t)) - t) <= 1);
}

static void a_rate_that_touches_zero_is_inverted_as_well(void **state)
{
	(void)state;
	/* At 3/4 of the period the rate is 0, and a nanosecond more or less yields nothing: the integral is what must come back. */
	static const char *const TEXTS[] = {"sine(100, 100, 10s)", "ramp(0, 50, 10s)", "ramp(50, 0, 10s)"};
	for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
		struct rate_program p = parsed(TEXTS[i]);
		long double all = rate_integral(&p, 10 * NS_PER_S);
		for (int k = 1; k < 2000; k++) {
			long double u = all * k / 2000;
			assert_near(rate_integral(&p, rate_invert(&p, u)), u, 1e-6L);
		}
	}
}

static void silence_yields_nothing_and_is_passed_over(void **state)
{
	(void)state;
	struct rate_program p = parsed("10 for 1s then 0 for 5s then 10");
	assert_int_equal(rate_invert(&p, 10), NS_PER_S);
	assert_int_equal(rate_invert(&p, 11), 6 * NS_PER_S + NS_PER_S / 10);
	p = parsed("0");
	assert_true(rate_invert(&p, 1) == RATE_NEVER);
	p = parsed("burst(0, 10, 1s every 10s)");
	assert_int_equal(rate_invert(&p, 1), 9 * NS_PER_S + NS_PER_S / 10);
	assert_int_equal(rate_invert(&p, 10), 10 * NS_PER_S);
	assert_int_equal(rate_invert(&p, 11), 19 * NS_PER_S + NS_PER_S / 10);
}

/* ---- the text ---- */

static void what_is_not_understood_is_named(void **state)
{
	(void)state;
	static const struct {
		const char *text, *message;
	} WRONG[] = {
		{"", "ends too early"},
		{"fast", "\"fast\""},
		{"-5", "a number, ramp"},
		{"400/min", "\"/min\""},
		{"1e9", "0 to 1000000"},
		{"nan", "a number, ramp"},
		{"0x10", "0 to 1000000"},
		{"ramp(100, 2000)", "\",\" is expected"},
		{"ramp(100, 2000, 60)", "a duration"},
		{"ramp(100, 2000, 60s", "ends too early: \")\""},
		{"ramp(100, 2000, 60s) for 10s", "has a length already"},
		{"sine(100, 200, 10s)", "not above the mean"},
		{"burst(1, 2, 3s)", "every"},
		{"burst(1, 2, 3s every 3s)", "longer than the burst"},
		{"steps(100)", "\"/\" is expected"},
		{"steps()", "a rate from 0"},
		{"400 then 500", "never end"},
		{"400 for 30s then", "ends too early"},
		{"400 400", "\"then\" or the end"},
		{"400 for 0s then 2", "a duration"},
		{"wave(1, 2)", "a number, ramp"},
	};
	for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
		struct rate_program p;
		struct error err;
		assert_int_equal(rate_parse(WRONG[i].text, &p, &err), ST_USAGE);
		if (strstr(err.what, WRONG[i].message) == NULL)
			fail_msg("%s: %s", WRONG[i].text, err.what);
		assert_non_null(strstr(err.hint, "ramp(100, 2000, 60s)"));
	}
}

static void blanks_and_units_are_free(void **state)
{
	(void)state;
	struct rate_program p = parsed("  ramp( 100/s ,2000/s,1min )then 5/s ");
	assert_int_equal(p.n, 2);
	assert_near(p.at[0].length_s, 60, 0);
	assert_near(rate_at(&p, seconds(100)), 5, 0);
}

static void more_parts_than_there_is_room_for_are_refused(void **state)
{
	(void)state;
	char text[4096];
	int n = snprintf(text, sizeof text, "steps(1/1s");
	for (int i = 0; i < 200; i++)
		n += snprintf(text + n, sizeof text - (size_t)n, ",1/1s");
	snprintf(text + n, sizeof text - (size_t)n, ")");
	struct rate_program p;
	struct error err;
	assert_int_equal(rate_parse(text, &p, &err), ST_USAGE);
	assert_non_null(strstr(err.what, "over 127 parts"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_shape_yields_what_its_formula_says),
		cmocka_unit_test(a_sequence_is_the_sum_of_its_parts),
		cmocka_unit_test(the_integral_is_that_of_the_rate),
		cmocka_unit_test(the_inverse_finds_the_nanosecond),
		cmocka_unit_test(a_rate_that_touches_zero_is_inverted_as_well),
		cmocka_unit_test(silence_yields_nothing_and_is_passed_over),
		cmocka_unit_test(what_is_not_understood_is_named),
		cmocka_unit_test(blanks_and_units_are_free),
		cmocka_unit_test(more_parts_than_there_is_room_for_are_refused),
	};
	return cmocka_run_group_tests_name("rate", tests, NULL, NULL);
}
