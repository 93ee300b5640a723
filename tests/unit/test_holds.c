/* observe/holds: what looks at pg_locks tell of how long locks were held, on a clock that the tests move. */
#include "unit.h"

#include "base/clock.h"
#include "observe/holds.h"

#include <stdlib.h>
#include <string.h>

#define MS NS_PER_MS

static struct {
	struct hold_record r;
	char relation[32], mode[32];
} told[16];
static int told_n;
static struct holds *h;

static void keep(const struct hold_record *r, void *arg)
{
	(void)arg;
	assert_true(told_n < 16);
	told[told_n].r = *r;
	snprintf(told[told_n].relation, sizeof told[0].relation, "%s", r->relation);
	snprintf(told[told_n++].mode, sizeof told[0].mode, "%s", r->mode);
}

static struct {
	struct hold_grant g;
	char relation[32];
} grants[16];
static int grants_n;

static void keep_grant(const struct hold_grant *g, void *arg)
{
	(void)arg;
	assert_true(grants_n < 16);
	grants[grants_n].g = *g;
	snprintf(grants[grants_n++].relation, sizeof grants[0].relation, "%s", g->relation);
}

static int set_up(void **state)
{
	(void)state;
	told_n = grants_n = 0;
	h = holds_create(&(struct holds_config){.emit = keep, .granted = keep_grant});
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	holds_free(h);
	return 0;
}

static void look(int64_t at_ms, const struct hold_seen *rows, int n)
{
	holds_look(h, at_ms * MS, (at_ms + 1) * MS, rows, n);
}

static const struct hold_seen USERS = {7, "users", "AccessExclusiveLock", true};
static const struct hold_seen ASKED = {7, "users", "AccessExclusiveLock", false};

static void a_statement_outside_of_transactions_holds_to_its_end(void **state)
{
	(void)state;
	holds_begin(h, 1, 7, 100 * MS, false, false);
	look(110, NULL, 0);
	look(120, &USERS, 1);
	holds_end(h, 1, 7, 155 * MS, false);
	assert_int_equal(told_n, 1);
	assert_string_equal(told[0].relation, "users");
	assert_int_equal(told[0].r.statement, 1);
	assert_true(told[0].r.granted && told[0].r.asked_ns == INT64_MIN);
	assert_int_equal(told[0].r.from_ns, 110 * MS); /* the look that did not show it yet */
	assert_int_equal(told[0].r.to_ns, 155 * MS);
	assert_int_equal(told[0].r.bound_ns, 11 * MS);
}

static void waiting_and_holding_are_told_apart(void **state)
{
	(void)state;
	holds_begin(h, 1, 7, 100 * MS, false, false);
	look(110, &ASKED, 1);
	look(120, &ASKED, 1);
	look(130, &USERS, 1);
	look(140, NULL, 0);
	assert_int_equal(told_n, 1);
	assert_int_equal(told[0].r.asked_ns, 100 * MS);
	assert_int_equal(told[0].r.from_ns, 120 * MS);
	assert_int_equal(told[0].r.to_ns, 141 * MS);
	assert_int_equal(told[0].r.bound_ns, 11 * MS + 11 * MS);
}

static void in_a_transaction_only_what_a_failed_statement_took_is_told(void **state)
{
	(void)state;
	const struct hold_seen both[] = {USERS, {7, "orders", "AccessExclusiveLock", false}};
	holds_begin(h, 1, 7, 100 * MS, true, false);
	look(110, &USERS, 1);
	holds_end(h, 1, 7, 115 * MS, false);
	assert_int_equal(told_n, 0);
	holds_begin(h, 2, 7, 120 * MS, true, false);
	look(119, &USERS, 1); /* sent before the statement: tells nothing of it */
	look(130, &both[1], 1);
	holds_end(h, 2, 7, 330 * MS, true);
	assert_int_equal(told_n, 1);
	assert_string_equal(told[0].relation, "orders");
	assert_false(told[0].r.granted);
	assert_int_equal(told[0].r.to_ns - told[0].r.asked_ns, 210 * MS);
}

static void the_sessions_of_others_hold_beyond_their_statements(void **state)
{
	(void)state;
	holds_begin(h, 1000001, 7, 100 * MS, false, true);
	look(110, &USERS, 1);
	holds_begin(h, 1000002, 7, 120 * MS, false, true);
	look(130, &USERS, 1);
	assert_int_equal(told_n, 0);
	holds_gone(h, 7, 130 * MS, 141 * MS);
	assert_int_equal(told_n, 1);
	assert_int_equal(told[0].r.statement, 1000001);
	assert_true(told[0].r.external);
	assert_int_equal(told[0].r.from_ns, 100 * MS);
	assert_int_equal(told[0].r.to_ns, 141 * MS);
}

static void a_lock_is_told_when_it_is_first_seen_held(void **state)
{
	(void)state;
	const struct hold_seen both[] = {USERS, {7, "orders", "RowExclusiveLock", true}};
	holds_begin(h, 1000001, 7, 100 * MS, false, true);
	look(110, &ASKED, 1);
	assert_int_equal(grants_n, 0);
	look(120, &USERS, 1);
	assert_int_equal(grants_n, 1);
	assert_int_equal(grants[0].g.statement, 1000001);
	assert_int_equal(grants[0].g.pid, 7);
	assert_true(grants[0].g.external);
	assert_string_equal(grants[0].relation, "users");
	holds_begin(h, 1000002, 7, 125 * MS, false, true);
	look(130, both, 2);
	look(140, both, 2);
	assert_int_equal(grants_n, 2);
	assert_int_equal(grants[1].g.statement, 1000002);
	assert_string_equal(grants[1].relation, "orders");
}

static void what_is_open_at_the_end_is_told(void **state)
{
	(void)state;
	int pids[4];
	int64_t youngest;
	bool outside;
	assert_false(holds_running(h, &youngest, &outside));
	holds_begin(h, 1, 7, 100 * MS, false, false);
	assert_true(holds_running(h, &youngest, &outside) && outside && youngest == 100 * MS);
	assert_int_equal(holds_watched(h, pids, 4), 1);
	look(110, &USERS, 1);
	holds_finish(h, 200 * MS);
	assert_int_equal(told_n, 1);
	assert_int_equal(told[0].r.to_ns, 200 * MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_statement_outside_of_transactions_holds_to_its_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(waiting_and_holding_are_told_apart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(in_a_transaction_only_what_a_failed_statement_took_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_sessions_of_others_hold_beyond_their_statements, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_lock_is_told_when_it_is_first_seen_held, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_open_at_the_end_is_told, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
