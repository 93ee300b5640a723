/* judge/criterion: each part of a criterion is understood or refused by name. */
#include "unit.h"

#include "judge/criterion.h"

static struct criterion parsed(const char *text)
{
	struct criterion c;
	struct error err;
	if (criterion_parse(text, &c, &err) != ST_OK)
		fail_msg("%s: %s", err.what, err.hint);
	return c;
}

static void the_criteria_of_the_design_are_understood(void **state)
{
	(void)state;
	struct criterion c = parsed("latency.p99 during migration < 2 x baseline");
	assert_int_equal(c.metric, METRIC_LATENCY);
	assert_int_equal(c.stat, STAT_QUANTILE);
	assert_float_equal(c.quantile, 0.99, 1e-12);
	assert_string_equal(c.phase, "migration");
	assert_true(c.relative);
	assert_float_equal(c.value, 2, 0);

	c = parsed("migration.statement.max < 10s");
	assert_int_equal(c.metric, METRIC_STATEMENT);
	assert_float_equal(c.value, 10, 0);
	c = parsed(" step[cut over].duration < 100ms ");
	assert_string_equal(c.label, "cut over");
	assert_float_equal(c.value, 0.1, 1e-12);
	c = parsed("errors.rate < 0.1%");
	assert_float_equal(c.value, 0.001, 1e-12);
	c = parsed("errors[40P01].count == 0");
	assert_string_equal(c.label, "40P01");
	c = parsed("replication.replay_lag.max < 30s");
	assert_int_equal(c.metric, METRIC_REPLAY_LAG);
	c = parsed("latency[view_user].p99.9 <= 250ms");
	assert_float_equal(c.quantile, 0.999, 1e-12);
	assert_int_equal(c.comparison, CMP_LE);
	c = parsed("rollback.clean");
	assert_int_equal(c.stat, STAT_CLEAN);
	c = parsed("throughput.mean during migration > 0.9 x baseline");
	assert_float_equal(c.value, 0.9, 1e-12);
	c = parsed("step[fill].duration during rollback < 1s");
	assert_string_equal(c.phase, "rollback");
	c = parsed("migration.duration during rollback < 1min");
	assert_string_equal(c.phase, "rollback");
}

static void what_is_not_understood_is_named_with_what_would_be_accepted(void **state)
{
	(void)state;
	static const struct {
		const char *text, *hint;
	} BAD[] = {
		{"latncy.p99 < 1s", "latency"},
		{"latency.p100 < 1s", ".max"},
		{"latency.p0 < 1s", ".min"},
		{"latency.median < 1s", ".p50"},
		{"latency < 1s", "latency"},
		{"latency.p99 during < 1s", "migration"},
		{"latency.p99 < 30MB", "time"},
		{"latency.p99 < 5", "50ms"},
		{"latency.p99 < 2s x baseline", "factor"},
		{"latency.p99 < 2 baseline", "2 x baseline"},
		{"latency.p99 < 2 x baseline please", "factor"},
		{"latency.p99 during baseline < 2 x baseline", "another phase"},
		{"latency.p99 1s", "<="},
		{"latency.p99 <", "50ms"},
		{"step.duration < 1s", "step[NAME]"},
		{"wal[x].bytes < 1GB", "no name"},
		{"lock_wait[users.max < 1s", "brackets"},
		{"rollback.clean < 1", "alone"},
		{"migration.duration < 1.5 x baseline", "name a value"},
		{"step[fill].eta_error < 2 x baseline", "name a value"},
		{"step[fill].duration < 2 x baseline", "name a value"},
		{"migration.statement.max < 2 x baseline", "name a value"},
		{"check[all].rows < 2 x baseline", "name a value"},
		{"ledger.lost < 2 x baseline", "name a value"},
		{"reconcile[status].mismatches < 2 x baseline", "name a value"},
		{"check[all].rows during migration = 0", "leave it out"},
		{"checks.clean during migration", "leave it out"},
		{"rollback.clean during rollback", "leave it out"},
		{"ledger.lost during migration = 0", "leave it out"},
		{"reconcile[status].mismatches during rollback = 0", "leave it out"},
		{"step[fill].eta during migration < 24h", "leave it out"},
		{"step[fill].duration during baseline < 1s", "during rollback"},
		{"", "latency"},
	};
	for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
		struct criterion c;
		struct error err;
		assert_int_equal(criterion_parse(BAD[i].text, &c, &err), ST_USAGE);
		if (strstr(err.hint, BAD[i].hint) == NULL)
			fail_msg("\"%s\": the hint \"%s\" does not name %s", BAD[i].text, err.hint, BAD[i].hint);
	}
}

static void comparisons_compare(void **state)
{
	(void)state;
	assert_true(criterion_holds(&(struct criterion){.comparison = CMP_LT}, 1, 2));
	assert_false(criterion_holds(&(struct criterion){.comparison = CMP_LT}, 2, 2));
	assert_true(criterion_holds(&(struct criterion){.comparison = CMP_LE}, 2, 2));
	assert_true(criterion_holds(&(struct criterion){.comparison = CMP_GE}, 2, 2));
	assert_false(criterion_holds(&(struct criterion){.comparison = CMP_EQ}, 1, 0));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_criteria_of_the_design_are_understood),
		cmocka_unit_test(what_is_not_understood_is_named_with_what_would_be_accepted),
		cmocka_unit_test(comparisons_compare),
	};
	return cmocka_run_group_tests_name("criterion", tests, NULL, NULL);
}
