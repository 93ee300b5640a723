/* load/think and load/waiting: pauses and numbers of requests have the asked distributions, and requests come out in order. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/rng.h"
#include "load/think.h"
#include "load/waiting.h"

#include <math.h>

#define N 100000

static struct think parsed(const char *text)
{
	struct think t;
	struct error err;
	if (think_parse(text, &t, &err) != ST_OK)
		fail_msg("%s: %s", text, err.what);
	return t;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Kolmogorov-Smirnov against a distribution function, at the 1 % point; draws of many users, a few each. */
static void check_distribution(const char *text, double (*f)(double ns))
{
	static double draws[N];
	struct think t = parsed(text);
	for (uint32_t i = 0; i < N; i++)
		draws[i] = (double)think_draw(&t, rng_at(99, i / 4), i % 4 + 1);
	qsort(draws, N, sizeof draws[0], by_value);
	double d = 0;
	for (int i = 0; i < N; i++)
		d = fmax(d, fmax(fabs(f(draws[i]) - i / (double)N), fabs(f(draws[i]) - (i + 1) / (double)N)));
	if (d >= 1.63 / sqrt(N))
		fail_msg("%s: D = %g", text, d);
}

static double exponential_100ms(double ns)
{
	return -expm1(-ns / 1e8);
}

static double uniform_50ms_150ms(double ns)
{
	return fmin(1, fmax(0, (ns - 5e7) / 1e8));
}

/* Mean 100 ms and standard deviation 50 ms. */
static double lognormal_100ms(double ns)
{
	double variance = log(1.25), mu = log(1e8) - variance / 2;
	return erfc(-(log(ns) - mu) / sqrt(2 * variance)) / 2;
}

static void think_times_follow_their_distributions(void **state)
{
	(void)state;
	check_distribution("exponential(100ms)", exponential_100ms);
	check_distribution("uniform(50ms, 150ms)", uniform_50ms_150ms);
	check_distribution("lognormal(100ms, 50ms)", lognormal_100ms);
	struct think t = parsed("250ms");
	assert_int_equal(think_draw(&t, 5, 1), 250 * NS_PER_MS);
	t = parsed("none");
	assert_int_equal(think_draw(&t, 5, 1), 0);
}

static void pauses_of_a_user_are_unrelated(void **state)
{
	(void)state;
	struct think t = parsed("uniform(0s, 1s)");
	double product = 0;
	for (uint32_t i = 0; i < N; i++) {
		uint64_t user = rng_at(3, i);
		product += ((double)think_draw(&t, user, 1) / 1e9 - 0.5) * ((double)think_draw(&t, user, 2) / 1e9 - 0.5);
	}
	assert_true(fabs(product / N) < 4 / 12.0 / sqrt(N));
}

static void users_make_as_many_requests_as_asked(void **state)
{
	(void)state;
	struct requests r;
	struct error err;
	assert_int_equal(requests_parse("5", &r, &err), ST_OK);
	assert_int_equal(requests_draw(&r, 1), 5);
	assert_int_equal(requests_parse("geometric(4)", &r, &err), ST_OK);
	double sum = 0;
	int ones = 0, twos = 0;
	for (uint32_t i = 0; i < N; i++) {
		uint32_t n = requests_draw(&r, rng_at(8, i));
		assert_true(n >= 1);
		sum += n;
		ones += n == 1;
		twos += n == 2;
	}
	assert_true(fabs(sum / N - 4) < 4 * sqrt(12.0 / N));
	assert_true(fabs(ones / (double)N - 0.25) < 4 * sqrt(0.25 * 0.75 / N));
	assert_true(fabs(twos / (double)N - 0.1875) < 4 * sqrt(0.1875 * 0.8125 / N));
}

static void other_texts_are_refused(void **state)
{
	(void)state;
	static const char *const WRONG[] = {"", "5", "exponential", "exponential()", "exponential(0s)", "exponential(1s, 2s)",
		"uniform(1s)", "uniform(2s, 1s)", "lognormal(1s)", "gamma(1s)", "exponential(1s) x", "exponential(1s", "-5ms"};
	struct error err;
	for (size_t i = 0; i < sizeof WRONG / sizeof WRONG[0]; i++) {
		struct think t;
		if (think_parse(WRONG[i], &t, &err) != ST_USAGE)
			fail_msg("\"%s\" was accepted", WRONG[i]);
		assert_non_null(strstr(err.hint, "lognormal"));
	}
	static const char *const NO_COUNTS[] = {"", "0", "-1", "2.5", "geometric(0.5)", "geometric", "poisson(3)", "geometric(1, 2)"};
	for (size_t i = 0; i < sizeof NO_COUNTS / sizeof NO_COUNTS[0]; i++) {
		struct requests r;
		if (requests_parse(NO_COUNTS[i], &r, &err) != ST_USAGE)
			fail_msg("\"%s\" was accepted", NO_COUNTS[i]);
	}
}

/* ---- waiting ---- */

static struct request request(int64_t due_ns, uint64_t user, int version)
{
	return (struct request){.arrival.due_ns = due_ns, .user = user, .count = 1, .version = version};
}

static void users_stop_thinking_in_the_order_of_time(void **state)
{
	(void)state;
	struct waiting *w = waiting_create();
	struct request r;
	assert_true(waiting_thinks_until(w) == PLAN_NEVER);
	for (uint64_t i = 0; i < 1000; i++) {
		r = request((int64_t)(rng_at(1, i) % 5000), i, 0);
		waiting_think(w, &r);
	}
	int64_t before = 0;
	int n = 0;
	while (waiting_take_thinker(w, 2500, &r)) {
		assert_true(r.arrival.due_ns >= before && r.arrival.due_ns <= 2500);
		before = r.arrival.due_ns;
		n++;
		if (n % 7 == 0) {
			struct request again = request(4999, 1, 0);
			waiting_think(w, &again);
		}
	}
	assert_true(n > 400 && n < 600);
	assert_true(waiting_thinks_until(w) > 2500);
	waiting_free(w);
}

static void the_oldest_of_all_versions_and_sides_is_served_first(void **state)
{
	(void)state;
	struct waiting *w = waiting_create();
	struct request r;
	for (int i = 0; i < 3000; i++) {
		r = request(i * 10 + (int)(rng_at(2, (uint64_t)i) % 10), (uint64_t)i, i % 3);
		waiting_push(w, i % 2 == 0 ? WAITING_USERS : WAITING_PLAN, &r);
		if (i % 3 == 2)
			assert_true(waiting_take_oldest(w, &r) && r.user == (uint64_t)i / 3);
	}
	assert_int_equal(waiting_count(w), 2000);
	for (uint64_t i = 1000; i < 3000; i++)
		assert_true(waiting_take_oldest(w, &r) && r.user == i);
	assert_false(waiting_take_oldest(w, &r));
	assert_true(waiting_oldest_due(w) == PLAN_NEVER);
	waiting_free(w);
}

static void each_version_has_its_own_patience(void **state)
{
	(void)state;
	struct waiting *w = waiting_create();
	const int64_t limits[LOAD_VERSIONS_MAX] = {100, 0, 10};
	for (int v = 0; v < 3; v++) {
		struct request r = request(1000, (uint64_t)v, v);
		waiting_push(w, WAITING_PLAN, &r);
	}
	struct request r;
	assert_int_equal(waiting_overdue_at(w, limits), 1010);
	assert_false(waiting_take_overdue(w, 1009, limits, &r));
	assert_true(waiting_take_overdue(w, 1010, limits, &r) && r.version == 2);
	assert_int_equal(waiting_overdue_at(w, limits), 1100);
	assert_true(waiting_take_overdue(w, 5000, limits, &r) && r.version == 0);
	assert_false(waiting_take_overdue(w, PLAN_NEVER - 200, limits, &r));
	assert_int_equal(waiting_count(w), 1);
	waiting_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(think_times_follow_their_distributions),
		cmocka_unit_test(pauses_of_a_user_are_unrelated),
		cmocka_unit_test(users_make_as_many_requests_as_asked),
		cmocka_unit_test(other_texts_are_refused),
		cmocka_unit_test(users_stop_thinking_in_the_order_of_time),
		cmocka_unit_test(the_oldest_of_all_versions_and_sides_is_served_first),
		cmocka_unit_test(each_version_has_its_own_patience),
	};
	return cmocka_run_group_tests_name("think", tests, NULL, NULL);
}
