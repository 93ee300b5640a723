/* load/random: the less common distributions against their exact probabilities; load/moment against known dates. */
#include "unit.h"

#include "load/moment.h"
#include "load/random.h"

#include <lauxlib.h>
#include <lualib.h>
#include <math.h>

#define DRAWS 200000

/* Chi-square of what was seen against p (which sums to anything), as standard deviations above its mean. Neighbours are pooled until a
 * cell expects 50; what p says cannot be must not have been seen. */
static double deviation(const double *p, const int *seen, size_t n)
{
	double sum = 0, draws = 0, chi = 0, cells = 0, expected = 0, observed = 0;
	for (size_t i = 0; i < n; i++) {
		sum += p[i];
		draws += seen[i];
		if (!(p[i] > 0))
			assert_int_equal(seen[i], 0);
	}
	for (size_t i = 0; i < n; i++) {
		expected += p[i] / sum * draws;
		observed += seen[i];
		if (expected >= 50) {
			chi += (observed - expected) * (observed - expected) / expected;
			cells++;
			expected = observed = 0;
		}
	}
	return cells < 2 ? 0 : (chi - (cells - 1)) / sqrt(2 * (cells - 1));
}

static void assert_fits(const double *p, const int *seen, size_t n, const char *what)
{
	double d = deviation(p, seen, n);
	if (!(fabs(d) < 4.5))
		fail_msg("%s: chi-square is off by %.1f standard deviations", what, d);
}

static void nurand_fits_probabilities_counted_out_over_all_its_draws(void **state)
{
	(void)state;
	static const struct {
		int a, x, y, c;
	} CASES[] = {{255, 0, 999, 173}, {1023, 1, 3000, 259}, {63, 5, 36, 0}, {0, 1, 9, 4}};
	for (size_t t = 0; t < sizeof CASES / sizeof CASES[0]; t++) {
		int a = CASES[t].a, x = CASES[t].x, y = CASES[t].y, c = CASES[t].c;
		size_t n = (size_t)y - (size_t)x + 1;
		double *p = calloc(n, sizeof *p);
		int *seen = calloc(n, sizeof *seen);
		assert_non_null(p);
		assert_non_null(seen);
		for (int i = 0; i <= a; i++)
			for (int j = x; j <= y; j++)
				p[((i | j) + c) % (y - x + 1)]++;
		struct random r = {0};
		random_seed(&r, 11);
		for (int i = 0; i < DRAWS; i++) {
			int64_t k = random_nurand(&r, a, x, y, c);
			assert_in_range(k, x, y);
			seen[k - x]++;
		}
		assert_fits(p, seen, n, "nurand");
		free(p);
		free(seen);
	}
}

static void hotspot_gives_the_hot_keys_their_share(void **state)
{
	(void)state;
	static const struct {
		int n, hot;
		double share, weight;
	} CASES[] = {{100, 20, 0.2, 0.8}, {100, 20, 0.2, 0}, {100, 20, 0.2, 1}, {7, 1, 0.01, 0.5}, {50, 50, 1, 0.3}, {1, 1, 0, 0}};
	for (size_t t = 0; t < sizeof CASES / sizeof CASES[0]; t++) {
		int n = CASES[t].n, hot = CASES[t].hot;
		double p[100];
		int seen[100] = {0};
		for (int i = 0; i < n; i++)
			p[i] = hot == n ? 1 : i < hot ? CASES[t].weight / hot : (1 - CASES[t].weight) / (n - hot);
		struct random r = {0};
		random_seed(&r, t);
		for (int i = 0; i < DRAWS; i++) {
			int64_t k = random_hotspot(&r, n, CASES[t].share, CASES[t].weight);
			assert_in_range(k, 1, n);
			seen[k - 1]++;
		}
		assert_fits(p, seen, (size_t)n, "hotspot");
	}
}

static void latest_is_a_zipf_from_the_end(void **state)
{
	(void)state;
	double p[500];
	int seen[500] = {0};
	for (int i = 0; i < 500; i++)
		p[i] = pow(500 - i, -0.99);
	struct random r = {0};
	for (int i = 0; i < DRAWS; i++) {
		int64_t k = random_latest(&r, 500, 0.99);
		assert_in_range(k, 1, 500);
		seen[k - 1]++;
	}
	assert_fits(p, seen, 500, "latest");
}

static void pareto_has_its_distribution_function(void **state)
{
	(void)state;
	static const double SHAPES[] = {0.5, 1, 1.16, 3};
	for (size_t t = 0; t < sizeof SHAPES / sizeof SHAPES[0]; t++) {
		/* Twenty cells that are equally likely by P(above v) = (minimum / v)^shape. */
		double p[20];
		int seen[20] = {0};
		struct random r = {0};
		random_seed(&r, t);
		for (int i = 0; i < 20; i++)
			p[i] = 1;
		for (int i = 0; i < DRAWS; i++) {
			double v = random_pareto(&r, 2.5, SHAPES[t]);
			assert_true(v >= 2.5 && isfinite(v));
			int cell = (int)(20 * pow(2.5 / v, SHAPES[t]));
			seen[cell < 19 ? cell : 19]++;
		}
		assert_fits(p, seen, 20, "pareto");
	}
}

static void a_weighted_choice_fits_its_weights(void **state)
{
	(void)state;
	static const double WEIGHTS[] = {3, 1, 0.5, 12, 1e-9, 7};
	double sums[6], sum = 0;
	int seen[6] = {0};
	for (int i = 0; i < 6; i++)
		sums[i] = sum += WEIGHTS[i];
	struct random r = {0};
	for (int i = 0; i < DRAWS; i++)
		seen[random_weighted(&r, sums, 6)]++;
	assert_fits(WEIGHTS, seen, 6, "weighted");
	assert_int_equal(random_weighted(&r, sums, 1), 0);
}

static void letters_and_digits_are_even(void **state)
{
	(void)state;
	static const char ALL[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
	double even[62];
	for (int i = 0; i < 62; i++)
		even[i] = 1;
	int letters[62] = {0}, digits[10] = {0};
	struct random r = {0};
	for (int i = 0; i < 4000; i++) {
		char text[50];
		random_alnum(&r, text, sizeof text);
		for (size_t k = 0; k < sizeof text; k++) {
			const char *at = memchr(ALL, text[k], sizeof ALL - 1);
			assert_non_null(at);
			letters[at - ALL]++;
		}
		random_digits(&r, text, sizeof text);
		for (size_t k = 0; k < sizeof text; k++)
			digits[text[k] - '0']++;
	}
	assert_fits(even, letters, 62, "letters");
	assert_fits(even, digits, 10, "digits");
}

static void a_uuid_says_that_it_is_random_and_the_rest_is(void **state)
{
	(void)state;
	static const char DIGITS[] = "0123456789abcdef", VARIANTS[] = "89ab";
	double even[16];
	for (int i = 0; i < 16; i++)
		even[i] = 1;
	int seen[16] = {0}, variants[5] = {0};
	struct random r = {0};
	for (int i = 0; i < 20000; i++) {
		char text[RANDOM_UUID_LEN + 1] = "";
		random_uuid(&r, text);
		for (size_t k = 0; k < RANDOM_UUID_LEN; k++) {
			if (k == 8 || k == 13 || k == 18 || k == 23) {
				assert_int_equal(text[k], '-');
				continue;
			}
			const char *digit = strchr(DIGITS, text[k]);
			assert_non_null(digit);
			if (k == 14)
				assert_int_equal(text[k], '4');
			else if (k == 19)
				variants[strcspn(VARIANTS, (const char[]){text[k], '\0'})]++;
			else
				seen[digit - DIGITS]++;
		}
	}
	assert_fits(even, seen, 16, "hexadecimal digits");
	assert_fits(even, variants, 4, "variants");
}

static void moments_are_those_of_the_calendar(void **state)
{
	(void)state;
	static const struct {
		const char *text, *formatted;
		int64_t seconds;
	} KNOWN[] = {
		{"1970-01-01", "1970-01-01 00:00:00.000000+00", 0},
		{"2000-02-29 12:34:56", "2000-02-29 12:34:56.000000+00", 951827696},
		{"2026-07-01T09:05", "2026-07-01 09:05:00.000000+00", 1782896700},
		{"1969-12-31 23:59:59", "1969-12-31 23:59:59.000000+00", -1},
		{"0001-01-01", "0001-01-01 00:00:00.000000+00", -62135596800},
		{"9999-12-31 23:59:59", "9999-12-31 23:59:59.000000+00", 253402300799},
	};
	char out[MOMENT_LEN + 1];
	int64_t us;
	for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
		assert_true(moment_parse(KNOWN[i].text, &us));
		assert_int_equal(us, KNOWN[i].seconds * 1000000);
		moment_format(us, out);
		assert_string_equal(out, KNOWN[i].formatted);
	}
	assert_true(moment_parse("1969-12-31 23:59:59.25", &us));
	assert_int_equal(us, -750000);
	moment_format(us, out);
	assert_string_equal(out, "1969-12-31 23:59:59.250000+00");
	/* Each day of nine centuries, there and back. */
	int64_t from = 0;
	assert_true(moment_parse("1600-01-01", &from));
	for (int64_t day = 0; day < 900 * 365; day++) {
		moment_format(from + day * 86400 * 1000000, out);
		out[19] = '\0';
		assert_true(moment_parse(out, &us));
		assert_int_equal(us, from + day * 86400 * 1000000);
	}
	static const char *const WRONG[] = {"", "2026", "2026-13-01", "2026-02-29", "1900-02-29", "2026-06-31", "2026-00-10", "2026-1-1",
		"0000-01-01", "2026-07-01 ", "2026-07-01 24:00", "2026-07-01 10", "2026-07-01 10:60", "2026-07-01 10:00:00.",
		"2026-07-01 10:00:00.1234567", "2026-07-01 10:00:00+02", "2026-07-01x"};
	for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++)
		if (moment_parse(WRONG[i], &us))
			fail_msg("%s was accepted", WRONG[i]);
}

static const char *run(lua_State *L, const char *code)
{
	lua_settop(L, 0);
	return luaL_dostring(L, code) == LUA_OK ? "" : lua_tostring(L, -1);
}

static void lua_has_them_all_and_names_a_wrong_argument(void **state)
{
	(void)state;
	lua_State *L = luaL_newstate();
	luaL_openlibs(L);
	struct random *in_lua = random_push(L), r = {0};
	lua_setglobal(L, "r");
	random_seed(in_lua, 3);
	random_seed(&r, 3);
	assert_string_equal(run(L, "return r:nurand(8191, 1, 100000, 77), r:hotspot(100, 0.1, 0.9), r:latest(50, 1), r:pareto(1, 2)"), "");
	assert_int_equal(lua_tointeger(L, 1), random_nurand(&r, 8191, 1, 100000, 77));
	assert_int_equal(lua_tointeger(L, 2), random_hotspot(&r, 100, 0.1, 0.9));
	assert_int_equal(lua_tointeger(L, 3), random_latest(&r, 50, 1));
	assert_true(fabs(lua_tonumber(L, 4) - random_pareto(&r, 1, 2)) < 1e-12);
	assert_string_equal(
		run(L,
			"assert(#r:uuid() == 36 and #r:alnum(17) == 17 and r:digits(9):match('^%d+$'))\n"
			"for _ = 1, 1000 do\n"
			"  local t = r:timestamp('2024-02-28 23:59:59', '2024-03-01')\n"
			"  assert(t >= '2024-02-28 23:59:59' and t < '2024-03-01')\n"
			"end\n"
			"local seen, list = {}, { { 'a', 6 }, { 'b', 3 }, { nil, 1 } }\n"
			"for _ = 1, 100000 do\n"
			"  local v = r:weighted(list) or 'none'\n"
			"  seen[v] = (seen[v] or 0) + 1\n"
			"end\n"
			"assert(math.abs(seen.a - 60000) < 700 and math.abs(seen.b - 30000) < 700 and math.abs(seen.none - 10000) < 500)\n"
			"collectgarbage()\n"
			"assert(r:weighted { { 'only', 0.1 } } == 'only')\n"
			"assert(r:weighted(setmetatable({}, { __len = function() return 1 end, __index = function() return { 'made', 1 } end })) == 'made')"),
		"");
	static const struct {
		const char *code, *message;
	} WRONG[] = {
		{"r:nurand(100, 1, 10, 0)", "2^k - 1"},
		{"r:nurand(255, 10, 1, 0)", "upper bound"},
		{"r:nurand(255, 1, 10, -1)", "0 or more"},
		{"r:pareto(0, 1)", "minimum above 0"},
		{"r:pareto(1, -1)", "shape above 0"},
		{"r:hotspot(0, 0.1, 0.1)", "at least 1"},
		{"r:hotspot(10, 0.1, 1.1)", "from 0 to 1"},
		{"r:latest(10, -1)", "exponent"},
		{"r:weighted {}", "at least one"},
		{"r:weighted { 'a', 'b' }", "{ value, weight }"},
		{"r:weighted { { 'a', 1 }, { 'b', 0 } }", "above 0"},
		{"r:timestamp('2026-07-01', '2026-07-01')", "behind the start"},
		{"r:timestamp('1 July', '2026-07-01')", "2026-07-01 12:30:00"},
	};
	for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
		const char *message = run(L, WRONG[i].code);
		if (strstr(message, WRONG[i].message) == NULL)
			fail_msg("%s says: %s", WRONG[i].code, message);
	}
	lua_close(L);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nurand_fits_probabilities_counted_out_over_all_its_draws),
		cmocka_unit_test(hotspot_gives_the_hot_keys_their_share),
		cmocka_unit_test(latest_is_a_zipf_from_the_end),
		cmocka_unit_test(pareto_has_its_distribution_function),
		cmocka_unit_test(a_weighted_choice_fits_its_weights),
		cmocka_unit_test(letters_and_digits_are_even),
		cmocka_unit_test(a_uuid_says_that_it_is_random_and_the_rest_is),
		cmocka_unit_test(moments_are_those_of_the_calendar),
		cmocka_unit_test(lua_has_them_all_and_names_a_wrong_argument),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
