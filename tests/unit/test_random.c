/* load/random: draws follow their distributions, repeat from their seed, and permute() is a bijection. */
#include "unit.h"

#include "load/random.h"

#include <lauxlib.h>
#include <lualib.h>
#include <math.h>

/* Chi-square of draws from a zipf against exact probabilities; neighbouring ranks are pooled until a cell expects 50. Returned
 * as the number of standard deviations above its mean (normal approximation; many cells). */
static double zipf_deviation(int64_t n, double s, int draws)
{
	struct random r = {0};
	random_seed(&r, 42);
	double *p = calloc((size_t)n + 1, sizeof *p);
	int *seen = calloc((size_t)n + 1, sizeof *seen);
	assert_non_null(p);
	assert_non_null(seen);
	double sum = 0;
	for (int64_t k = 1; k <= n; k++)
		sum += p[k] = pow((double)k, -s);
	for (int i = 0; i < draws; i++) {
		int64_t k = random_zipf(&r, n, s);
		assert_in_range(k, 1, n);
		seen[k]++;
	}
	double chi = 0, cells = 0, expected = 0, observed = 0;
	for (int64_t k = 1; k <= n; k++) {
		expected += p[k] / sum * draws;
		observed += seen[k];
		if (expected >= 50) {
			chi += (observed - expected) * (observed - expected) / expected;
			cells++;
			expected = observed = 0;
		}
	}
	free(p);
	free(seen);
	return cells < 2 ? 0 : (chi - (cells - 1)) / sqrt(2 * (cells - 1));
}

static void zipf_draws_fit_the_exact_probabilities_for_any_exponent(void **state)
{
	(void)state;
	static const double EXPONENTS[] = {0, 0.2, 0.5, 0.99, 1, 1.000000001, 1.01, 1.5, 2, 5};
	static const int64_t SIZES[] = {2, 3, 10, 1000, 100000};
	for (size_t i = 0; i < sizeof EXPONENTS / sizeof EXPONENTS[0]; i++)
		for (size_t j = 0; j < sizeof SIZES / sizeof SIZES[0]; j++) {
			double deviation = zipf_deviation(SIZES[j], EXPONENTS[i], 200000);
			if (fabs(deviation) > 4.5)
				fail_msg(
					"n %d s %g: chi-square is off by %.1f standard deviations", (int)SIZES[j], EXPONENTS[i], deviation);
		}
}

static void zipf_of_one_is_one_and_of_a_huge_range_stays_inside(void **state)
{
	(void)state;
	struct random r = {0};
	for (int i = 0; i < 1000; i++) {
		assert_int_equal(random_zipf(&r, 1, 1.1), 1);
		int64_t k = random_zipf(&r, INT64_C(1) << 52, 0.99);
		assert_true(k >= 1 && k <= INT64_C(1) << 52);
	}
}

static void a_seed_repeats_its_draws_whatever_was_drawn_before(void **state)
{
	(void)state;
	struct random a = {0}, b = {0};
	random_seed(&b, 1);
	for (int i = 0; i < 20; i++)
		random_zipf(&b, 100 + i, 1.1);
	random_seed(&a, 7);
	random_seed(&b, 7);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(random_zipf(&a, 1000, 1.1), random_zipf(&b, 1000, 1.1));
		assert_int_equal(random_int(&a, 1, 1000000), random_int(&b, 1, 1000000));
		assert_true(random_gaussian(&a, 5, 2) <= random_gaussian(&b, 5, 2));
	}
}

/* A record says which seed it ran with; these numbers keep that promise from release to release. */
static void the_first_draws_of_seed_1_are_those_of_every_release(void **state)
{
	(void)state;
	struct random r = {0};
	random_seed(&r, 1);
	static const int64_t INTS[] = {563118, 732928, 384908, 169830};
	for (size_t i = 0; i < sizeof INTS / sizeof INTS[0]; i++)
		assert_int_equal(random_int(&r, 1, 1000000), INTS[i]);
	static const int64_t RANKS[] = {56, 2, 128, 420, 8919, 39, 1, 1};
	for (size_t i = 0; i < sizeof RANKS / sizeof RANKS[0]; i++)
		assert_int_equal(random_zipf(&r, 100000, 1.1), RANKS[i]);
	char text[25] = "";
	random_text(&r, text, 24);
	assert_string_equal(text, "anuooc ntgp ocisua biaiw");
	static const int64_t PLACES[] = {17977, 83595, 59478, 91470, 98534};
	for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++)
		assert_int_equal(random_permute((int64_t)i + 1, 100000), PLACES[i]);
}

static void integers_cover_their_bounds_and_the_whole_range_works(void **state)
{
	(void)state;
	struct random r = {0};
	int seen[7] = {0};
	for (int i = 0; i < 70000; i++) {
		int64_t k = random_int(&r, -3, 3);
		assert_true(k >= -3 && k <= 3);
		seen[k + 3]++;
	}
	for (int i = 0; i < 7; i++)
		assert_in_range(seen[i], 9500, 10500);
	assert_int_equal(random_int(&r, 5, 5), 5);
	(void)random_int(&r, INT64_MIN, INT64_MAX);
}

static void permute_is_a_bijection_and_scatters(void **state)
{
	(void)state;
	for (int64_t n = 1; n <= 3000; n = n < 70 ? n + 1 : n * 3 / 2) {
		char *seen = calloc((size_t)n + 1, 1);
		assert_non_null(seen);
		for (int64_t i = 1; i <= n; i++) {
			int64_t k = random_permute(i, n);
			assert_in_range(k, 1, n);
			assert_int_equal(seen[k]++, 0);
		}
		free(seen);
	}
	/* The ten hottest ranks of a large table must not be neighbours on one page. */
	int64_t previous = random_permute(1, 100000);
	for (int64_t i = 2; i <= 10; i++) {
		int64_t k = random_permute(i, 100000);
		assert_true(llabs(k - previous) > 50);
		previous = k;
	}
}

static void gaussian_and_exponential_have_their_moments(void **state)
{
	(void)state;
	struct random r = {0};
	const int n = 200000;
	double sum = 0, squares = 0, waits = 0;
	for (int i = 0; i < n; i++) {
		double g = random_gaussian(&r, 10, 3);
		sum += g;
		squares += (g - 10) * (g - 10);
		double e = random_exponential(&r, 4);
		assert_true(e >= 0);
		waits += e;
	}
	assert_true(fabs(sum / n - 10) < 0.05);
	assert_true(fabs(sqrt(squares / n) - 3) < 0.05);
	assert_true(fabs(waits / n - 4) < 0.06);
}

static void text_has_the_length_asked_for_and_single_spaces(void **state)
{
	(void)state;
	struct random r = {0};
	char out[512];
	for (size_t len = 0; len < 400; len++) {
		memset(out, 0, sizeof out);
		random_text(&r, out, len);
		assert_int_equal(strlen(out), len);
		assert_int_equal(strspn(out, "abcdefghijklmnopqrstuvwxyz "), len);
		assert_null(strstr(out, "  "));
		if (len > 0)
			assert_true(out[0] != ' ' && out[len - 1] != ' ');
	}
}

static void lua_draws_the_same_numbers_and_names_a_wrong_argument(void **state)
{
	(void)state;
	lua_State *L = luaL_newstate();
	luaL_openlibs(L);
	struct random *in_lua = random_push(L);
	lua_setglobal(L, "r");
	struct random r = {0};
	random_seed(&r, 3);
	random_seed(in_lua, 3);
	assert_int_equal(luaL_dostring(L, "return r:int(1, 1000), r:zipf(5000, 0.99), r:text(12), r:permute(1, 77)"), LUA_OK);
	assert_int_equal(lua_tointeger(L, -4), random_int(&r, 1, 1000));
	assert_int_equal(lua_tointeger(L, -3), random_zipf(&r, 5000, 0.99));
	char text[13] = "";
	random_text(&r, text, 12);
	assert_string_equal(lua_tostring(L, -2), text);
	assert_int_equal(lua_tointeger(L, -1), random_permute(1, 77));
	assert_int_not_equal(luaL_dostring(L, "r:int(5, 4)"), LUA_OK);
	assert_non_null(strstr(lua_tostring(L, -1), "upper bound"));
	assert_int_not_equal(luaL_dostring(L, "r:zipf(10, -1)"), LUA_OK);
	assert_int_not_equal(luaL_dostring(L, "r:pick({})"), LUA_OK);
	lua_close(L);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(zipf_draws_fit_the_exact_probabilities_for_any_exponent),
		cmocka_unit_test(zipf_of_one_is_one_and_of_a_huge_range_stays_inside),
		cmocka_unit_test(a_seed_repeats_its_draws_whatever_was_drawn_before),
		cmocka_unit_test(the_first_draws_of_seed_1_are_those_of_every_release),
		cmocka_unit_test(integers_cover_their_bounds_and_the_whole_range_works),
		cmocka_unit_test(permute_is_a_bijection_and_scatters),
		cmocka_unit_test(gaussian_and_exponential_have_their_moments),
		cmocka_unit_test(text_has_the_length_asked_for_and_single_spaces),
		cmocka_unit_test(lua_draws_the_same_numbers_and_names_a_wrong_argument),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
