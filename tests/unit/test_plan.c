/* load/plan: arrivals are a pure function of the seed, Poisson at the asked rate to the nanosecond, and claimed once each. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "load/plan.h"

#include <math.h>
#include <pthread.h>
#include <time.h>

#define START INT64_C(5000000000000)

static enum status create_plan(uint64_t seed, double rate, bool even, struct plan **out, struct error *err)
{
	struct rate_program program;
	enum status st = rate_constant(rate, &program, err);
	return st == ST_OK ? plan_create(seed, &program, even, out, err) : st;
}

static enum status change_rate(struct plan *plan, double rate, int64_t at_ns, struct error *err)
{
	struct rate_program program;
	enum status st = rate_constant(rate, &program, err);
	return st == ST_OK ? plan_change(plan, &program, NULL, at_ns, err) : st;
}

static struct plan *make_plan(uint64_t seed, double rate, bool even)
{
	struct plan *plan = NULL;
	struct error err;
	assert_int_equal(create_plan(seed, rate, even, &plan, &err), ST_OK);
	plan_start(plan, START);
	return plan;
}

static struct arrival claim(struct plan *plan, struct plan_cursor *c)
{
	struct arrival a;
	assert_true(plan_claim(plan, c, PLAN_NEVER - 1, &a));
	return a;
}

/* ---- the plan is a pure function ---- */

static void one_seed_gives_the_same_arrivals_and_another_seed_others(void **state)
{
	(void)state;
	struct plan *a = make_plan(7, 1000, false), *b = make_plan(7, 1000, false), *c = make_plan(8, 1000, false);
	struct plan_cursor ca = {0}, cb = {0}, cc = {0};
	int same = 0;
	for (int i = 0; i < 1000; i++) {
		struct arrival x = claim(a, &ca), y = claim(b, &cb), z = claim(c, &cc);
		assert_true(x.due_ns == y.due_ns && x.seed == y.seed && x.kind == y.kind);
		same += x.due_ns == z.due_ns || x.seed == z.seed || x.kind == z.kind;
	}
	assert_int_equal(same, 0);
	plan_free(a);
	plan_free(b);
	plan_free(c);
}

static void it_does_not_matter_how_many_cursors_share_the_claims(void **state)
{
	(void)state;
	struct plan *one = make_plan(42, 500, false), *many = make_plan(42, 500, false);
	struct plan_cursor alone = {0}, shared[3] = {{0}};
	for (unsigned i = 0; i < 3000; i++) {
		struct arrival x = claim(one, &alone), y = claim(many, &shared[(i * i + i / 7) % 3]);
		assert_true(x.due_ns == y.due_ns && x.seed == y.seed);
	}
	plan_free(one);
	plan_free(many);
}

static void what_is_not_due_cannot_be_claimed(void **state)
{
	(void)state;
	struct plan *plan = make_plan(3, 10, true);
	struct plan_cursor c = {0};
	struct arrival a;
	assert_false(plan_claim(plan, &c, START + 99999999, &a));
	assert_int_equal(c.due_ns, START + 100000000);
	assert_true(plan_claim(plan, &c, START + 100000000, &a));
	assert_int_equal(a.due_ns, START + 100000000);
	assert_false(plan_claim(plan, &c, START + 100000000, &a));
	plan_free(plan);
}

/* ---- threads ---- */

#define THREADS 4
#define RATE 100000

struct claimer {
	struct plan *plan;
	pthread_t thread;
	uint64_t count;
	uint64_t seed_sum;
	int64_t last_due;
	bool ordered;
};

static void *claim_all(void *arg)
{
	struct claimer *me = arg;
	struct plan_cursor c = {0};
	struct arrival a;
	me->ordered = true;
	while (plan_claim(me->plan, &c, START + 2 * NS_PER_S, &a)) {
		me->count++;
		me->seed_sum += a.seed;
		me->ordered = me->ordered && a.due_ns >= me->last_due;
		me->last_due = a.due_ns;
	}
	return NULL;
}

static void threads_together_claim_each_arrival_once(void **state)
{
	(void)state;
	struct plan *plan = make_plan(11, RATE, false), *twin = make_plan(11, RATE, false);
	struct claimer claimers[THREADS] = {{0}};
	for (int i = 0; i < THREADS; i++) {
		claimers[i].plan = plan;
		assert_int_equal(pthread_create(&claimers[i].thread, NULL, claim_all, &claimers[i]), 0);
	}
	uint64_t count = 0, sum = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(claimers[i].thread, NULL);
		assert_true(claimers[i].ordered);
		count += claimers[i].count;
		sum += claimers[i].seed_sum;
	}
	struct claimer alone = {.plan = twin};
	claim_all(&alone);
	assert_true(count == alone.count && sum == alone.seed_sum);
	struct plan_cursor counter = {0}, unclaimed = {0};
	assert_int_equal(plan_count_until(plan, &counter, START + 2 * NS_PER_S), count);
	plan_seek_unclaimed(plan, &unclaimed);
	assert_int_equal(unclaimed.passed, count);
	plan_free(plan);
	plan_free(twin);
}

/* Claims as a worker does, by the real clock, while the rate changes. */
static void *claim_by_the_clock(void *arg)
{
	struct claimer *me = arg;
	struct plan_cursor c = {0};
	struct arrival a;
	for (int64_t now = 0; now < me->last_due; now = clock_now_ns()) {
		while (now > 0 && plan_claim(me->plan, &c, now, &a)) {
			me->count++;
			me->seed_sum += a.seed;
		}
	}
	return NULL;
}

static void changes_of_the_rate_under_way_lose_and_repeat_no_arrival(void **state)
{
	(void)state;
	struct plan *plan = NULL;
	struct error err;
	assert_int_equal(create_plan(5, 20000, false, &plan, &err), ST_OK);
	int64_t start = clock_now_ns(), end = start + 300 * NS_PER_MS;
	plan_start(plan, start);
	struct claimer claimers[2] = {{0}};
	for (int i = 0; i < 2; i++) {
		claimers[i] = (struct claimer){.plan = plan, .last_due = end};
		assert_int_equal(pthread_create(&claimers[i].thread, NULL, claim_by_the_clock, &claimers[i]), 0);
	}
	struct plan *twin = NULL;
	assert_int_equal(create_plan(5, 20000, false, &twin, &err), ST_OK);
	plan_start(twin, start);
	for (int i = 0; clock_now_ns() < end - 50 * NS_PER_MS; i++) {
		double rate = i % 3 == 0 ? 50000 : 2000;
		int64_t at = clock_now_ns() + 10 * NS_PER_MS;
		assert_int_equal(change_rate(plan, rate, at, &err), ST_OK);
		assert_int_equal(change_rate(twin, rate, at, &err), ST_OK);
		nanosleep(&(struct timespec){.tv_nsec = NS_PER_MS}, NULL);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(claimers[i].thread, NULL);
	struct plan_cursor unclaimed = {0};
	plan_seek_unclaimed(plan, &unclaimed);
	struct plan_cursor again = {0};
	uint64_t count = 0, sum = 0;
	for (; count < unclaimed.passed; count++)
		sum += claim(twin, &again).seed;
	assert_true(count > 1000);
	assert_int_equal(count, claimers[0].count + claimers[1].count);
	assert_int_equal(sum, claimers[0].seed_sum + claimers[1].seed_sum);
	plan_free(plan);
	plan_free(twin);
}

/* ---- distribution ---- */

static void the_mean_rate_is_the_asked_one_also_for_fractions(void **state)
{
	(void)state;
	static const double RATES[] = {0.1, 7.3, 400, 3e5, 99999.5};
	for (size_t r = 0; r < sizeof RATES / sizeof RATES[0]; r++) {
		struct plan *plan = make_plan(100 + r, RATES[r], false);
		struct plan_cursor c = {0};
		const double n = 200000;
		int64_t t = START + (int64_t)(n / RATES[r] * 1e9);
		double count = (double)plan_count_until(plan, &c, t);
		assert_true(fabs(count - n) <= 3 * sqrt(n));
		plan_free(plan);
	}
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void gaps_pass_kolmogorov_and_smirnov_against_the_exponential(void **state)
{
	(void)state;
	enum { N = 100000 };
	static double gaps[N];
	struct plan *plan = make_plan(2024, 400, false);
	struct plan_cursor c = {0};
	int64_t before = START;
	for (int i = 0; i < N; i++) {
		int64_t due = claim(plan, &c).due_ns;
		gaps[i] = (double)(due - before) * 1e-9;
		before = due;
	}
	qsort(gaps, N, sizeof gaps[0], by_value);
	double d = 0;
	for (int i = 0; i < N; i++) {
		double f = -expm1(-400 * gaps[i]);
		d = fmax(d, fmax(fabs(f - i / (double)N), fabs(f - (i + 1) / (double)N)));
	}
	assert_true(d < 1.63 / sqrt(N)); /* the 1 % point */
	plan_free(plan);
}

static void counts_vary_as_much_as_a_poisson_process_does(void **state)
{
	(void)state;
	enum { WINDOWS = 20000 };
	struct plan *plan = make_plan(99, 1000, false);
	struct plan_cursor c = {0};
	double mean = 0, m2 = 0;
	uint64_t before = 0;
	for (int i = 1; i <= WINDOWS; i++) {
		uint64_t now = plan_count_until(plan, &c, START + i * 10 * NS_PER_MS);
		double x = (double)(now - before), delta = x - mean;
		before = now;
		mean += delta / i;
		m2 += delta * (x - mean);
	}
	double dispersion = m2 / (WINDOWS - 1) / mean;
	assert_true(dispersion > 0.95 && dispersion < 1.05);
	plan_free(plan);
}

static void kinds_are_uniform_and_unrelated_to_gaps(void **state)
{
	(void)state;
	enum { N = 100000 };
	struct plan *plan = make_plan(31, 1, false);
	struct plan_cursor c = {0};
	double sum = 0, product = 0;
	int64_t before = START;
	for (int i = 0; i < N; i++) {
		struct arrival a = claim(plan, &c);
		assert_true(a.kind >= 0 && a.kind < 1);
		sum += a.kind;
		product += (a.kind - 0.5) * ((double)(a.due_ns - before) * 1e-9 - 1);
		before = a.due_ns;
	}
	assert_true(fabs(sum / N - 0.5) < 4 * sqrt(1.0 / 12 / N));
	assert_true(fabs(product / N) < 4 * sqrt(1.0 / 12 / N));
	plan_free(plan);
}

/* ---- programs ---- */

static struct plan *make_program_plan(uint64_t seed, const char *text, struct rate_program *program)
{
	struct plan *plan = NULL;
	struct error err;
	assert_int_equal(rate_parse(text, program, &err), ST_OK);
	assert_int_equal(plan_create(seed, program, false, &plan, &err), ST_OK);
	plan_start(plan, START);
	return plan;
}

static const char *const PROGRAMS[] = {"ramp(100, 2000, 60s)", "ramp(3000, 0, 80s) then 500", "sine(400, 400, 7s)",
	"burst(200, 5000, 100ms every 1s)", "steps(10/5s, 0/1s, 2000/20s, 300/5s)",
	"100 for 3s then ramp(100, 900, 10s) then sine(900, 300, 4s)"};

/* Time rescaled by Lambda, a Poisson process of any rate has unit-rate gaps. */
static void gaps_of_every_program_are_exponential_in_operational_time(void **state)
{
	(void)state;
	enum { N = 40000 };
	static double gaps[N];
	for (size_t p = 0; p < sizeof PROGRAMS / sizeof PROGRAMS[0]; p++) {
		struct rate_program program;
		struct plan *plan = make_program_plan(31 + p, PROGRAMS[p], &program);
		struct plan_cursor c = {0};
		long double before = 0;
		for (int i = 0; i < N; i++) {
			long double u = rate_integral(&program, claim(plan, &c).due_ns - START);
			gaps[i] = (double)(u - before);
			before = u;
		}
		qsort(gaps, N, sizeof gaps[0], by_value);
		double d = 0;
		for (int i = 0; i < N; i++) {
			double f = -expm1(-gaps[i]);
			d = fmax(d, fmax(fabs(f - i / (double)N), fabs(f - (i + 1) / (double)N)));
		}
		if (d >= 1.63 / sqrt(N))
			fail_msg("%s: D = %g", PROGRAMS[p], d);
		plan_free(plan);
	}
}

/* Counts of windows over many seeds, standardised by their own means: variance / mean is 1. */
static void counts_of_every_program_are_as_many_and_as_scattered_as_its_integral_says(void **state)
{
	(void)state;
	enum { SEEDS = 60, WINDOWS = 100 };
	for (size_t p = 0; p < sizeof PROGRAMS / sizeof PROGRAMS[0]; p++) {
		double squares = 0, sum = 0, expected = 0;
		int n = 0;
		for (uint64_t seed = 0; seed < SEEDS; seed++) {
			struct rate_program program;
			struct plan *plan = make_program_plan(1000 + seed, PROGRAMS[p], &program);
			struct plan_cursor c = {0};
			uint64_t before = 0;
			for (int64_t w = 0; w < WINDOWS; w++) {
				int64_t from = w * 310 * NS_PER_MS, to = from + 310 * NS_PER_MS;
				uint64_t now = plan_count_until(plan, &c, START + to);
				double mean = (double)(rate_integral(&program, to) - rate_integral(&program, from));
				double count = (double)(now - before);
				before = now;
				sum += count;
				expected += mean;
				if (mean < 1)
					continue;
				squares += (count - mean) * (count - mean) / mean;
				n++;
			}
			plan_free(plan);
		}
		assert_true(fabs(sum - expected) < 3.5 * sqrt(expected));
		if (fabs(squares / n - 1) > 0.05)
			fail_msg("%s: variance / mean = %g over %d windows", PROGRAMS[p], squares / n, n);
	}
}

static void arrivals_of_a_program_do_not_depend_on_who_claims_them(void **state)
{
	(void)state;
	struct rate_program program;
	struct plan *plan = make_program_plan(11, "sine(100000, 90000, 1s)", &program);
	struct plan *twin = make_program_plan(11, "sine(100000, 90000, 1s)", &program);
	struct claimer claimers[THREADS] = {{0}};
	for (int i = 0; i < THREADS; i++) {
		claimers[i].plan = plan;
		assert_int_equal(pthread_create(&claimers[i].thread, NULL, claim_all, &claimers[i]), 0);
	}
	uint64_t count = 0, sum = 0;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(claimers[i].thread, NULL);
		count += claimers[i].count;
		sum += claimers[i].seed_sum;
	}
	struct claimer alone = {.plan = twin};
	claim_all(&alone);
	assert_true(count == alone.count && sum == alone.seed_sum);
	plan_free(plan);
	plan_free(twin);
}

static void even_arrivals_of_a_ramp_stand_where_its_integral_is_whole(void **state)
{
	(void)state;
	struct rate_program program;
	struct plan *plan = NULL;
	struct plan_cursor c = {0};
	struct error err;
	assert_int_equal(rate_parse("ramp(0, 200, 10s)", &program, &err), ST_OK);
	assert_int_equal(plan_create(1, &program, true, &plan, &err), ST_OK);
	plan_start(plan, START);
	/* 10 t^2 = k */
	for (int k = 1; k <= 1000; k++) {
		int64_t due = claim(plan, &c).due_ns - START;
		assert_true(llabs(due - (int64_t)llround(sqrt(k / 10.0) * 1e9)) <= 1);
	}
	plan_free(plan);
}

static void a_change_of_the_mix_lets_the_program_go_on(void **state)
{
	(void)state;
	static const double SHARES[] = {0.25, 1};
	struct rate_program program;
	struct plan *plan = make_program_plan(6, "ramp(0, 2000, 100s)", &program);
	struct plan_cursor c = {0};
	struct error err;
	assert_int_equal(plan_change(plan, NULL, SHARES, START + 50 * NS_PER_S, &err), ST_OK);
	assert_true(fabs(plan_rate_at(plan, START + 75 * NS_PER_S) - 1500) < 1e-6);
	double first = (double)plan_count_until(plan, &c, START + 50 * NS_PER_S);
	double second = (double)plan_count_until(plan, &c, START + 100 * NS_PER_S) - first;
	assert_true(fabs(first - 25000) < 3 * sqrt(25000));
	assert_true(fabs(second - 75000) < 3 * sqrt(75000));
	struct plan_cursor again = {0};
	for (;;) {
		struct arrival a = claim(plan, &again);
		assert_true(a.shares == (a.due_ns < START + 50 * NS_PER_S ? NULL : SHARES));
		if (a.due_ns > START + 60 * NS_PER_S)
			break;
	}
	plan_free(plan);
}

/* ---- precision ---- */

static void hours_at_a_high_rate_keep_their_nanoseconds(void **state)
{
	(void)state;
	/* A period of 3,333.3 ns: rounded to ns a gap, this would be off by 0.3 ns an arrival. */
	struct plan *plan = make_plan(1, 300000, true);
	struct plan_cursor c = {0};
	const uint64_t n = 6000000;
	plan_count_until(plan, &c, START + 20 * NS_PER_S);
	assert_int_equal(c.passed, n);
	assert_int_equal(plan_arrival_at(plan, &c).due_ns, START + 20 * NS_PER_S + 3333);
	plan_free(plan);
	/* Ten hours on, without walking there: the place is set by hand. */
	plan = make_plan(1, 100000, true);
	struct plan_cursor far = {.placed = true,
		.index = UINT64_C(3600000000) - 2,
		.whole = UINT64_C(3600000000) - 1,
		.part = 0.25,
		.passed = 0,
		.due_ns = 0};
	plan_count_until(plan, &far, 0);
	assert_int_equal(plan_count_until(plan, &far, START), 1);
	assert_int_equal(far.due_ns, START + INT64_C(36000) * NS_PER_S + 2500);
	plan_free(plan);
}

/* ---- changes of the rate ---- */

static void a_change_of_the_rate_ends_a_segment_and_opens_another(void **state)
{
	(void)state;
	struct plan *plan = make_plan(77, 100, false);
	struct plan_cursor c = {0};
	struct error err;
	int64_t at = START + 100 * NS_PER_S;
	assert_int_equal(change_rate(plan, 1000, at, &err), ST_OK);
	double first = (double)plan_count_until(plan, &c, at);
	double second = (double)plan_count_until(plan, &c, at + 100 * NS_PER_S) - first;
	assert_true(fabs(first - 1e4) < 3 * sqrt(1e4));
	assert_true(fabs(second - 1e5) < 3 * sqrt(1e5));
	plan_free(plan);
}

static void a_change_does_not_touch_what_was_due_before_it(void **state)
{
	(void)state;
	struct plan *changed = make_plan(9, 200, false), *steady = make_plan(9, 200, false);
	struct plan_cursor a = {0}, b = {0};
	struct error err;
	int64_t at = START + 5 * NS_PER_S;
	assert_int_equal(change_rate(changed, 50, at, &err), ST_OK);
	for (;;) {
		struct arrival x = claim(changed, &a), y = claim(steady, &b);
		if (x.due_ns >= at) {
			assert_true(y.due_ns >= at);
			assert_true(x.seed != y.seed);
			break;
		}
		assert_true(x.due_ns == y.due_ns && x.seed == y.seed);
	}
	plan_free(changed);
	plan_free(steady);
}

static void a_rate_of_zero_is_silence_until_the_next_change(void **state)
{
	(void)state;
	struct plan *plan = make_plan(4, 100, true);
	struct plan_cursor c = {0}, unclaimed = {0};
	struct arrival a;
	struct error err;
	assert_int_equal(change_rate(plan, 0, START + NS_PER_S, &err), ST_OK);
	assert_int_equal(change_rate(plan, 100, START + 3 * NS_PER_S, &err), ST_OK);
	assert_int_equal(plan_count_until(plan, &c, START + 3 * NS_PER_S), 99);
	struct plan_cursor worker = {0};
	for (int i = 0; i < 99; i++)
		assert_true(plan_claim(plan, &worker, START + 3 * NS_PER_S, &a));
	assert_false(plan_claim(plan, &worker, START + 3 * NS_PER_S, &a));
	assert_int_equal(worker.due_ns, START + 3 * NS_PER_S + 10 * NS_PER_MS);
	plan_seek_unclaimed(plan, &unclaimed);
	assert_int_equal(unclaimed.passed, 99);
	assert_true(plan_claim(plan, &worker, worker.due_ns, &a));
	plan_free(plan);
}

static void a_waiting_worker_sees_the_change(void **state)
{
	(void)state;
	/* The next arrival was minutes away when the cursor looked; now it is not. */
	struct plan *plan = make_plan(6, 0.001, true);
	struct plan_cursor c = {0};
	struct arrival a;
	struct error err;
	assert_false(plan_claim(plan, &c, START + 1, &a));
	assert_int_equal(c.due_ns, START + 1000 * NS_PER_S);
	assert_int_equal(change_rate(plan, 1000, START + 10 * NS_PER_MS, &err), ST_OK);
	assert_false(plan_claim(plan, &c, START + 2, &a));
	assert_int_equal(c.due_ns, START + 11 * NS_PER_MS);
	plan_free(plan);
}

static void a_rate_that_is_none_is_refused(void **state)
{
	(void)state;
	struct plan *plan = NULL;
	struct error err;
	assert_int_equal(create_plan(1, -1, false, &plan, &err), ST_USAGE);
	assert_int_equal(create_plan(1, (double)NAN, false, &plan, &err), ST_USAGE);
	assert_non_null(strstr(err.hint, "fractions"));
	plan = make_plan(1, 1, false);
	assert_int_equal(change_rate(plan, HUGE_VAL, START, &err), ST_USAGE);
	for (int i = 1; i < PLAN_SEGMENTS_MAX; i++)
		assert_int_equal(change_rate(plan, 1, START + i, &err), ST_OK);
	assert_int_equal(change_rate(plan, 1, START, &err), ST_USAGE);
	plan_free(plan);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_seed_gives_the_same_arrivals_and_another_seed_others),
		cmocka_unit_test(it_does_not_matter_how_many_cursors_share_the_claims),
		cmocka_unit_test(what_is_not_due_cannot_be_claimed),
		cmocka_unit_test(threads_together_claim_each_arrival_once),
		cmocka_unit_test(changes_of_the_rate_under_way_lose_and_repeat_no_arrival),
		cmocka_unit_test(the_mean_rate_is_the_asked_one_also_for_fractions),
		cmocka_unit_test(gaps_pass_kolmogorov_and_smirnov_against_the_exponential),
		cmocka_unit_test(counts_vary_as_much_as_a_poisson_process_does),
		cmocka_unit_test(kinds_are_uniform_and_unrelated_to_gaps),
		cmocka_unit_test(gaps_of_every_program_are_exponential_in_operational_time),
		cmocka_unit_test(counts_of_every_program_are_as_many_and_as_scattered_as_its_integral_says),
		cmocka_unit_test(arrivals_of_a_program_do_not_depend_on_who_claims_them),
		cmocka_unit_test(even_arrivals_of_a_ramp_stand_where_its_integral_is_whole),
		cmocka_unit_test(a_change_of_the_mix_lets_the_program_go_on),
		cmocka_unit_test(hours_at_a_high_rate_keep_their_nanoseconds),
		cmocka_unit_test(a_change_of_the_rate_ends_a_segment_and_opens_another),
		cmocka_unit_test(a_change_does_not_touch_what_was_due_before_it),
		cmocka_unit_test(a_rate_of_zero_is_silence_until_the_next_change),
		cmocka_unit_test(a_waiting_worker_sees_the_change),
		cmocka_unit_test(a_rate_that_is_none_is_refused),
	};
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
