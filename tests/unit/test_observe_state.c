/* observe/progress and observe/hostload: what is worked out from what a server and a kernel say. */
#include "unit.h"

#include "base/clock.h"
#include "base/json.h"
#include "observe/hostload.h"
#include "observe/progress.h"

#include <stdio.h>
#include <string.h>

static struct progress_facts building(int64_t done, int64_t total)
{
	struct progress_facts f = {.pid = 7, .done = done, .total = total, .locker_xact_age_ns = -1};
	snprintf(f.command, sizeof f.command, "CREATE INDEX");
	snprintf(f.relation, sizeof f.relation, "users");
	snprintf(f.phase, sizeof f.phase, "building index");
	snprintf(f.unit, sizeof f.unit, "blocks");
	return f;
}

static int64_t look(struct progress *p, const struct progress_facts *f, int64_t at_s)
{
	progress_begin_look(p);
	int64_t eta_ns = progress_estimate(p, f, at_s * NS_PER_S);
	progress_end_look(p);
	return eta_ns;
}

static void time_left_follows_from_the_speed_of_the_present_phase(void **state)
{
	(void)state;
	struct progress p = {0};
	struct progress_facts f = building(100, 1000);
	assert_int_equal(look(&p, &f, 10), -1); /* no speed yet */
	f.done = 400;
	assert_int_equal(look(&p, &f, 13), 6 * NS_PER_S); /* 100 a second, 600 to do */
	f.done = 1000;
	assert_int_equal(look(&p, &f, 19), 0);
	snprintf(f.phase, sizeof f.phase, "index validation");
	f.done = 10;
	assert_int_equal(look(&p, &f, 20), -1);
	f.done = 20;
	f.total = 30;
	assert_int_equal(look(&p, &f, 21), NS_PER_S);
}

static void nothing_is_foretold_of_a_wait_or_without_a_total(void **state)
{
	(void)state;
	struct progress p = {0};
	struct progress_facts f = building(0, 3);
	look(&p, &f, 1);
	f.done = 1;
	f.locker = 99;
	assert_int_equal(look(&p, &f, 2), -1);
	f.locker = 0;
	f.total = -1;
	assert_int_equal(look(&p, &f, 3), -1);
}

static void a_command_that_ended_is_forgotten(void **state)
{
	(void)state;
	struct progress p = {0};
	struct progress_facts f = building(1, 10);
	look(&p, &f, 1);
	assert_int_equal(p.n, 1);
	progress_begin_look(&p);
	progress_end_look(&p);
	assert_int_equal(p.n, 0);
	/* More at once than there is room for. */
	progress_begin_look(&p);
	for (int i = 0; i < PROGRESS_MAX + 5; i++) {
		f.pid = 100 + i;
		progress_estimate(&p, &f, NS_PER_S);
	}
	progress_end_look(&p);
	assert_int_equal(p.n, PROGRESS_MAX);
}

static void people_are_told_how_far_it_is_and_whom_it_waits_for(void **state)
{
	(void)state;
	char text[400];
	struct progress_facts f = building(420, 1000);
	progress_text(&f, 12 * NS_PER_S, text, sizeof text);
	assert_string_equal(text, "CREATE INDEX on users: building index, 42 %, 12.0 s left");
	f.locker = 55;
	f.locker_xact_age_ns = 90 * NS_PER_S;
	snprintf(f.locker_application_name, sizeof f.locker_application_name, "nightly report");
	snprintf(f.phase, sizeof f.phase, "waiting for old snapshots");
	progress_text(&f, -1, text, sizeof text);
	assert_string_equal(
		text, "CREATE INDEX on users: waiting for old snapshots: for nightly report (pid 55), whose transaction is 1.50 min old");
	progress_text(&f, -1, text, 20);
	assert_int_equal(strlen(text), 19);
}

static void the_machines_load_is_known_from_the_second_look_on(void **state)
{
	(void)state;
	struct hostload h = {0};
	assert_null(hostload_look(&h));
	volatile unsigned busy = 0;
	for (int64_t until = clock_now_ns() + 30 * NS_PER_MS; clock_now_ns() < until;)
		busy++;
	json_t *host = hostload_look(&h);
	assert_non_null(host);
	double cpu = json_get_number(host, "cpu", -1);
	assert_true(cpu == -1 || (cpu >= 0 && cpu <= 1)); /* -1: no tick has passed */
	assert_true(json_get_int(host, "runnable", -1) >= 1);
	assert_true(json_get_int(host, "memory_available_bytes", -1) > 0);
	json_decref(host);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_left_follows_from_the_speed_of_the_present_phase),
		cmocka_unit_test(nothing_is_foretold_of_a_wait_or_without_a_total),
		cmocka_unit_test(a_command_that_ended_is_forgotten),
		cmocka_unit_test(people_are_told_how_far_it_is_and_whom_it_waits_for),
		cmocka_unit_test(the_machines_load_is_known_from_the_second_look_on),
	};
	return cmocka_run_group_tests_name("observe_state", tests, NULL, NULL);
}
