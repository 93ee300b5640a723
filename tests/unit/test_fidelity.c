/* What replayed statements become in the record, and when a replay is not true to its capture. */
#define _GNU_SOURCE
#include "replay/fidelity.h"

#include "base/clock.h"
#include "base/json.h"
#include "measure/hist.h"
#include "replay/play_message.h"
#include "unit.h"

#include <string.h>

static const struct trace_shape READ = {.fingerprint = UINT64_C(0x3f2a000000000001),
	.number = 0,
	.n = 29,
	.text = "SELECT * FROM users WHERE a=1"};
static const struct trace_shape WRITE = {.fingerprint = UINT64_C(0xbeef000000000002),
	.number = 1,
	.n = 24,
	.text = "INSERT INTO t VALUES (1)"};

static void perform(struct play_record *r, uint32_t class, int64_t at_ns, const char *captured, const char *replayed)
{
	play_record_due(r, class, at_ns, NS_PER_MS);
	play_record_sent(r, class);
	struct play_done d = {.class = class,
		.due_ns = at_ns,
		.sent_ns = at_ns,
		.done_ns = at_ns + 2 * NS_PER_MS,
		.captured_ns = NS_PER_MS,
		.captured = captured,
		.replayed = replayed,
		.message = "no",
		.captured_rows = -1,
		.rows = 1,
		.line = 7};
	play_record_done(r, &d);
}

static const json_t *measure(const json_t *fidelity, const char *name)
{
	json_t *m;
	size_t i;
	json_array_foreach(json_object_get(fidelity, "measures"), i, m)
	{
		if (strcmp(json_get_string(m, "name", ""), name) == 0)
			return m;
	}
	fail_msg("there is no measure %s", name);
	return NULL;
}

static bool is_ok(const json_t *fidelity, const char *name)
{
	return json_is_true(json_object_get(measure(fidelity, name), "ok"));
}

static void a_captured_error_that_comes_again_is_no_failure(void **state)
{
	(void)state;
	struct play_record *r = play_record_create();
	struct play_interval *in = calloc(1, sizeof *in);
	uint32_t read = play_record_class(r, &READ), write = play_record_class(r, &WRITE);
	assert_non_null(in);
	assert_string_equal(play_record_class_name(r, read), "select_users_3f2a");
	assert_string_equal(play_record_class_name(r, write), "insert_t_beef");
	assert_int_equal(play_record_class(r, &READ), read);
	play_record_start(r, NS_PER_S);
	perform(r, read, NS_PER_S, "00000", "00000");
	perform(r, write, NS_PER_S, "23505", "23505");
	perform(r, write, NS_PER_S, "?????", "23505");
	perform(r, write, NS_PER_S, "00000", "40P01");
	play_record_due(r, read, NS_PER_S, -1);
	play_record_collect(r, in);
	assert_int_equal(in->planned, 5);
	assert_int_equal(in->started, 4);
	assert_int_equal(in->ok, 3);
	assert_int_equal(in->failed, 1);
	assert_int_equal(in->backlog, 1);
	assert_string_equal(in->errors.at[0].sqlstate, "40P01");
	assert_int_equal(hist_count(in->hists[write].service_ok), 2);
	play_record_drop(r, read, -1, false);
	play_record_collect(r, in);
	assert_int_equal(in->planned, 0);
	assert_int_equal(in->dropped, 1);
	assert_int_equal(in->backlog, 0);
	play_record_totals(r, in);
	assert_int_equal(in->planned, in->started + in->dropped);
	free(in);
	play_record_free(r);
}

static json_t *fidelity_of(struct play_record *r, const struct fidelity_limits *limits)
{
	struct fidelity_run run = {.capture_loss = 0.01, .order_released = -1, .uncovered_ns = -1, .paced = true};
	play_record_summary(r, &run.played);
	return fidelity_json(&run, limits);
}

static void errors_are_new_vanished_or_changed(void **state)
{
	(void)state;
	struct play_record *r = play_record_create();
	struct fidelity_limits limits = FIDELITY_DEFAULTS;
	struct error err;
	uint32_t read = play_record_class(r, &READ);
	play_record_start(r, 0);
	for (int i = 0; i < 97; i++)
		perform(r, read, i * NS_PER_S / 10, "00000", "00000");
	perform(r, read, 0, "00000", "42P01");
	perform(r, read, 0, "23505", "00000");
	perform(r, read, 0, "23505", "40001");
	json_t *fidelity = fidelity_of(r, &limits);
	const json_t *class = json_array_get(json_object_get(fidelity, "classes"), 0);
	assert_int_equal(json_get_int(class, "new_errors", 0), 1);
	assert_int_equal(json_get_int(class, "vanished", 0), 1);
	assert_int_equal(json_get_int(class, "changed", 0), 1);
	assert_true(json_get_number(class, "ratio_p50", 0) > 1.9 && json_get_number(class, "ratio_p50", 0) < 2.1);
	assert_int_equal(json_get_int(json_array_get(json_object_get(fidelity, "errors"), 0), "line", 0), 7);
	assert_false(is_ok(fidelity, "new_errors"));
	assert_false(is_ok(fidelity, "lost_errors"));
	assert_true(is_ok(fidelity, "coverage"));
	json_t *reasons = fidelity_reasons(fidelity);
	assert_int_equal(json_array_size(reasons), 2);
	json_decref(reasons);
	json_decref(fidelity);
	assert_int_equal(fidelity_set_limit(&limits, "new_errors=1%", &err), ST_OK);
	assert_int_equal(fidelity_set_limit(&limits, "lost_errors=none", &err), ST_OK);
	assert_int_equal(fidelity_set_limit(&limits, "late=50ms", &err), ST_OK);
	assert_int_equal(fidelity_set_limit(&limits, "late=5%", &err), ST_USAGE);
	assert_int_equal(fidelity_set_limit(&limits, "lateness=5%", &err), ST_USAGE);
	fidelity = fidelity_of(r, &limits);
	reasons = fidelity_reasons(fidelity);
	assert_int_equal(json_array_size(reasons), 0);
	json_decref(reasons);
	json_decref(fidelity);
	play_record_free(r);
}

static void what_comes_after_the_baseline_is_the_migrations(void **state)
{
	(void)state;
	struct play_record *r = play_record_create();
	uint32_t read = play_record_class(r, &READ);
	play_record_start(r, 0);
	for (int i = 0; i < 10; i++)
		perform(r, read, i, "00000", "00000");
	play_record_close_baseline(r);
	for (int i = 0; i < 10; i++)
		perform(r, read, i, "00000", "55P03");
	json_t *fidelity = fidelity_of(r, &FIDELITY_DEFAULTS);
	assert_true(is_ok(fidelity, "new_errors"));
	assert_int_equal(json_get_int(json_object_get(fidelity, "locks"), "lock_timeouts_new", 0), 10);
	json_decref(fidelity);
	play_record_free(r);
}

static void what_was_not_sent_counts_unless_the_traffic_was_ended(void **state)
{
	(void)state;
	struct play_record *r = play_record_create();
	uint32_t read = play_record_class(r, &READ);
	play_record_start(r, 0);
	for (int i = 0; i < 10; i++)
		perform(r, read, i, "00000", "00000");
	play_record_due(r, read, 0, -1);
	play_record_drop(r, read, -1, true);
	json_t *fidelity = fidelity_of(r, &FIDELITY_DEFAULTS);
	assert_true(is_ok(fidelity, "coverage"));
	json_decref(fidelity);
	play_record_due(r, read, 0, -1);
	play_record_drop(r, read, -1, false);
	fidelity = fidelity_of(r, &FIDELITY_DEFAULTS);
	assert_false(is_ok(fidelity, "coverage"));
	json_decref(fidelity);
	play_record_free(r);
}

static void writes_that_only_reads_are_wanted_of_are_counted_apart(void **state)
{
	(void)state;
	struct play_record *r = play_record_create();
	uint32_t read = play_record_class(r, &READ), write = play_record_class(r, &WRITE);
	play_record_start(r, 0);
	for (int i = 0; i < 10; i++) {
		perform(r, read, i, "00000", "00000");
		play_record_refuse(r, write, NS_PER_MS);
	}
	play_record_due(r, read, 0, NS_PER_MS);
	play_record_sent(r, read);
	play_record_done(r,
		&(struct play_done){.class = read, .captured = "00000", .replayed = "25006", .message = "", .rows = -1, .refused = true});
	json_t *fidelity = fidelity_of(r, &FIDELITY_DEFAULTS), *reasons = fidelity_reasons(fidelity);
	assert_int_equal(json_array_size(reasons), 0);
	assert_int_equal(json_get_int(json_object_get(fidelity, "refused"), "writes", 0), 10);
	assert_int_equal(json_get_int(json_object_get(fidelity, "refused"), "by_server", 0), 1);
	assert_int_equal(json_get_int(json_object_get(fidelity, "refused"), "busy_ns", 0), 10 * NS_PER_MS);
	assert_int_equal(json_get_int(json_array_get(json_object_get(fidelity, "classes"), write), "refused", 0), 10);
	assert_non_null(strstr(json_get_string(measure(fidelity, "coverage"), "detail", ""), "11 of 11"));
	json_decref(reasons);
	json_decref(fidelity);
	play_record_free(r);
}

static void statements_before_their_turn_are_no_violations_behind_skipped_rows(void **state)
{
	(void)state;
	struct play_record *r = play_record_create();
	struct fidelity_run run = {.capture_loss = -1, .order_skipped = 5, .rows_taken = 9, .rows_otherwise = 4, .uncovered_ns = -1};
	uint32_t read = play_record_class(r, &READ);
	play_record_start(r, 0);
	for (int i = 0; i < 10; i++)
		perform(r, read, i, "00000", "00000");
	play_record_summary(r, &run.played);
	json_t *fidelity = fidelity_json(&run, &FIDELITY_DEFAULTS);
	assert_true(is_ok(fidelity, "order"));
	assert_string_equal(json_get_string(measure(fidelity, "order"), "detail", ""), "0; besides 5 behind rows taken with SKIP LOCKED");
	assert_int_equal(json_get_int(json_object_get(fidelity, "skip_locked"), "otherwise", 0), 4);
	json_decref(fidelity);
	run.order_released = 1;
	fidelity = fidelity_json(&run, &FIDELITY_DEFAULTS);
	assert_false(is_ok(fidelity, "order"));
	json_decref(fidelity);
	play_record_free(r);
}

static void a_statement_is_told_without_values(void **state)
{
	(void)state;
	static const char SHAPE[] = "SELECT '\1',\n$t$jane$t$ /*\1*/ FROM t WHERE a = $1";
	char out[160], few[12];
	play_describe_shape(SHAPE, sizeof SHAPE - 1, out, sizeof out);
	assert_string_equal(out, "SELECT '?', $t$?$t$ /*?*/ FROM t WHERE a = $1");
	play_describe_shape(SHAPE, sizeof SHAPE - 1, few, sizeof few);
	assert_string_equal(few, "SELECT '?',");
}

static const char *told(const char *sqlstate, const char *message, size_t message_size)
{
	static char out[200];
	play_withhold_values(sqlstate, message, message_size, out, sizeof out);
	return out;
}

static void a_message_is_told_without_values(void **state)
{
	(void)state;
	assert_string_equal(told("22012", "division by zero", 512), "division by zero");
	assert_string_equal(told("22P02", "invalid input syntax for type integer: \"jane@x.org\"", 512),
		"invalid input syntax for type integer: \"...\"");
	assert_string_equal(told("22P02", "malformed array literal: \"{\"jane\", \"joe\"}\", it says", 512),
		"malformed array literal: \"...\", it says");
	assert_string_equal(told("22P02", "malformed array literal: \"{\"jane", 33), "malformed array literal: \"...\"");
	assert_string_equal(
		told("22P02", "ungültige Eingabesyntax für Typ integer: »jane«", 512), "ungültige Eingabesyntax für Typ integer: \"...\"");
	assert_string_equal(told("23505", "duplicate\nDETAIL:  Key (email)=(jane) already exists.", 512), "duplicate\n");
	assert_null(strstr(told("P0001", "jane is blocked", 512), "jane"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_captured_error_that_comes_again_is_no_failure),
		cmocka_unit_test(errors_are_new_vanished_or_changed),
		cmocka_unit_test(what_comes_after_the_baseline_is_the_migrations),
		cmocka_unit_test(what_was_not_sent_counts_unless_the_traffic_was_ended),
		cmocka_unit_test(writes_that_only_reads_are_wanted_of_are_counted_apart),
		cmocka_unit_test(statements_before_their_turn_are_no_violations_behind_skipped_rows),
		cmocka_unit_test(a_statement_is_told_without_values),
		cmocka_unit_test(a_message_is_told_without_values),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
