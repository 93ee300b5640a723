/* replay/play_*: what a statement touches, who waits for whom, where a logged end belongs, and which key a captured one became. */
#include "unit.h"

#include "base/clock.h"
#include "base/vec.h"
#include "replay/play_effect.h"
#include "replay/play_keys.h"
#include "replay/play_order.h"
#include "replay/play_straighten.h"

#include <stdlib.h>
#include <string.h>

static struct play_schema *make_schema(void)
{
	struct play_schema *s = play_schema_create();
	uint32_t accounts = play_schema_name(s, "accounts"), orders = play_schema_name(s, "orders");
	struct play_relation *relation = play_schema_relation(s, &accounts);
	*relation = (struct play_relation){.known = true, .unique = true, .n_key = 1};
	uint32_t aid = play_schema_name(s, "aid");
	play_schema_relation(s, &accounts)->key[0] = aid;
	play_schema_generates(s, "orders", "id", "orders_id_seq");
	play_schema_join(s, play_schema_name(s, "lines"), play_schema_name(s, "order_id"), orders, play_schema_name(s, "id"));
	play_schema_add_writer(s, "place_order");
	return s;
}

static struct effect *effect(const char *shape, struct play_schema *schema)
{
	return effect_of_shape(shape, strlen(shape), schema);
}

static void a_statement_tells_what_it_touches(void **state)
{
	(void)state;
	struct play_schema *schema = make_schema();
	struct effect *e = effect("UPDATE accounts SET balance = balance + \1 WHERE aid = \1 AND note = '\1'", schema);
	assert_true(e->writes && !e->global && !e->reads);
	assert_int_equal(e->n_touches, 1);
	assert_int_equal(e->n_equals, 2);
	assert_int_equal(e->equals[0].column, play_schema_name(schema, "aid"));
	assert_int_equal(e->equals[0].slot, EFFECT_LITERAL + 1);
	assert_int_equal(e->equals[1].slot, EFFECT_LITERAL + 2);
	effect_free(e);
	e = effect("SELECT a.x FROM accounts AS a JOIN b ON b.aid = a.aid WHERE a.aid = $2 FOR UPDATE OF a SKIP LOCKED", schema);
	assert_int_equal(e->touches[0].relation, play_schema_name(schema, "accounts"));
	assert_true(e->touches[0].never_waits && e->writes);
	assert_int_equal(e->equals[0].slot, 1);
	effect_free(e);
	e = effect("SELECT count(*) FROM accounts", schema);
	assert_true(e->reads && !e->writes);
	effect_free(e);
	e = effect("SELECT place_order(\1)", schema);
	assert_true(e->global && !e->reads);
	effect_free(e);
	e = effect("BEGIN", schema);
	assert_true(e->begins && !e->ends && !e->writes);
	effect_free(e);
	e = effect("this is no SQL", schema);
	assert_true(e->global);
	effect_free(e);
	e = effect("ALTER TABLE accounts ADD COLUMN c int", schema);
	assert_true(e->global);
	effect_free(e);
	play_schema_free(schema);
}

/* ---- a captured log, a statement a line: session, arrival and end in ms, text, its key ---- */

struct line {
	uint32_t session;
	int64_t arrival, end;
	const char *sql;
	uint64_t key;
};

struct log {
	const struct line *lines;
	size_t n, next;
	struct play_schema *schema;
	VEC(struct effect *) effects;
	uint64_t values[4];
};

static bool next_line(struct order_step *step, void *arg)
{
	struct log *log = arg;
	if (log->next == log->n)
		return false;
	const struct line *line = &log->lines[log->next++];
	VEC_PUSH(&log->effects, effect(line->sql, log->schema));
	for (int i = 0; i < 4; i++)
		log->values[i] = line->key;
	*step = (struct order_step){.session = line->session,
		.arrival_ns = line->arrival * NS_PER_MS,
		.end_ns = line->end * NS_PER_MS,
		.effect = log->effects.at[log->effects.n - 1],
		.values = log->values};
	return true;
}

static void end_log(struct log *log)
{
	for (size_t i = 0; i < log->effects.n; i++)
		effect_free(log->effects.at[i]);
	VEC_FREE(&log->effects);
	play_schema_free(log->schema);
}

#define LOG(...)                                          \
	static const struct line LINES[] = {__VA_ARGS__}; \
	struct log log = {.lines = LINES, .n = sizeof LINES / sizeof LINES[0], .schema = make_schema()}

#define UPDATE "UPDATE accounts SET balance = \1 WHERE aid = $1"

static bool may(struct order *o, uint32_t session, int64_t arrival)
{
	return order_may_send(o, session, arrival * NS_PER_MS);
}

static void two_who_change_a_row_do_so_in_the_captured_order(void **state)
{
	(void)state;
	uint32_t ready;
	LOG({1, 0, 1, "BEGIN", 0}, {2, 0, 1, "BEGIN", 0}, {1, 2, 3, UPDATE, 7}, {1, 8, 9, "COMMIT", 0}, {2, 2, 9, UPDATE, 7},
		{2, 12, 13, "COMMIT", 0});
	struct order *o = order_create(ORDER_COMMIT, log.schema, next_line, &log);
	assert_true(may(o, 2, 0));
	order_ended(o, 2);
	assert_false(may(o, 2, 2)); /* session 1 had the row first */
	assert_true(may(o, 1, 0));
	order_ended(o, 1);
	assert_true(may(o, 1, 2));
	assert_false(order_take_ready(o, &ready));
	order_ended(o, 1);
	assert_true(order_take_ready(o, &ready));
	assert_int_equal(ready, 2);
	assert_true(may(o, 2, 2)); /* and waits for it in the server */
	assert_true(may(o, 1, 8));
	order_ended(o, 1);
	order_ended(o, 2);
	assert_true(may(o, 2, 12));
	order_free(o);
	end_log(&log);
}

static void other_rows_and_readers_do_not_wait(void **state)
{
	(void)state;
	LOG({1, 2, 9, UPDATE, 7}, {2, 2, 9, UPDATE, 8}, {3, 2, 9, "SELECT balance FROM accounts WHERE aid = $1", 7},
		{4, 2, 9, "UPDATE accounts SET balance = \1", 0});
	struct order *o = order_create(ORDER_RELATION, log.schema, next_line, &log);
	assert_false(may(o, 4, 2)); /* all rows */
	assert_true(may(o, 3, 2));
	assert_true(may(o, 1, 2));
	assert_true(may(o, 2, 2));
	order_ended(o, 1);
	assert_false(may(o, 4, 2));
	order_ended(o, 2);
	assert_true(may(o, 4, 2));
	order_free(o);
	end_log(&log);
}

static void a_reader_sees_what_had_ended_before_it_came(void **state)
{
	(void)state;
	LOG({1, 2, 3, UPDATE, 7}, {2, 10, 11, "SELECT balance FROM accounts WHERE aid = $1", 7});
	struct order *o = order_create(ORDER_COMMIT, log.schema, next_line, &log);
	assert_false(may(o, 2, 10));
	assert_true(may(o, 1, 2));
	order_ended(o, 1);
	assert_true(may(o, 2, 10));
	order_free(o);
	end_log(&log);
}

static void one_that_is_released_goes_and_counts(void **state)
{
	(void)state;
	LOG({1, 2, 3, UPDATE, 7}, {2, 2, 4, UPDATE, 7}, {3, 20, 21, UPDATE, 9});
	struct order *o = order_create(ORDER_COMMIT, log.schema, next_line, &log);
	assert_false(may(o, 2, 2));
	assert_true(order_release(o, 2));
	assert_true(may(o, 2, 2));
	order_ended(o, 2);
	assert_false(may(o, 3, 20));
	order_skip(o, 1); /* its session is gone */
	assert_true(may(o, 3, 20));
	assert_int_equal(order_progress(o), 2);
	order_free(o);
	end_log(&log);
}

/* The server let session 2 have the row before it logged that session 1 had committed. */
static void an_end_that_was_logged_late_goes_before_who_got_its_row(void **state)
{
	(void)state;
	LOG({1, 0, 1, "BEGIN", 0}, {2, 0, 1, "BEGIN", 0}, {1, 2, 3, UPDATE, 7}, {2, 2, 9, UPDATE, 7}, {2, 9, 10, "COMMIT", 0},
		{1, 8, 11, "COMMIT", 0});
	struct straightener *s = straighten_create(log.schema, next_line, &log);
	struct order_step step;
	uint32_t sessions[6];
	for (int i = 0; i < 6; i++) {
		assert_true(straighten_next(&step, s));
		sessions[i] = step.session;
	}
	assert_false(straighten_next(&step, s));
	static const uint32_t EXPECTED[] = {1, 2, 1, 1, 2, 2};
	assert_memory_equal(sessions, EXPECTED, sizeof EXPECTED);
	straighten_free(s);
	end_log(&log);
}

/* ---- keys ---- */

static PGresult *one_value(const char *column, const char *value)
{
	PGresAttDesc about = {.name = (char *)(uintptr_t)column, .typlen = -1, .atttypmod = -1};
	PGresult *r = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PQsetResultAttrs(r, 1, &about);
	PQsetvalue(r, 0, 0, (char *)(uintptr_t)value, (int)strlen(value));
	return r;
}

static const char *renamed(struct play_keys *k, uint32_t session, const struct effect *e, const char *value)
{
	static char texts[4][PLAY_KEY_TEXT];
	static const char *values[1];
	values[0] = value;
	(void)play_keys_rename(k, session, e, values, 1, 0, texts);
	return values[0];
}

static void insert(struct play_keys *k, uint32_t session, const struct effect *e, const char *got)
{
	const char *values[] = {"1"};
	PGresult *r = one_value("id", got);
	(void)renamed(k, session, e, "1");
	play_keys_take(k, session, e, values, 1, 0, r);
	PQclear(r);
}

static void keys_that_were_generated_are_known_again_in_all_sessions(void **state)
{
	(void)state;
	struct play_schema *schema = make_schema();
	struct play_keys *k = play_keys_create(schema);
	struct effect *place = effect("INSERT INTO orders (customer) VALUES ($1) RETURNING id", schema);
	struct effect *line = effect("INSERT INTO lines (order_id) VALUES ($1)", schema);
	struct effect *ship = effect("UPDATE orders SET state = '\1' WHERE id = $1", schema);
	assert_int_equal(place->n_sources, 1);
	assert_int_equal(line->n_keys, 1);
	assert_string_equal(renamed(k, 1, ship, "17"), "17"); /* an old one */
	insert(k, 1, place, "5000");
	assert_string_equal(renamed(k, 1, ship, "12"), "12");   /* an old one, though it follows an insert */
	assert_string_equal(renamed(k, 1, line, "100"), "100"); /* perhaps */
	insert(k, 1, place, "5001");
	assert_string_equal(renamed(k, 1, line, "101"), "5001"); /* it is */
	insert(k, 1, place, "5002");
	insert(k, 2, place, "5003");
	assert_string_equal(renamed(k, 3, ship, "103"), "5003"); /* never used by who got it */
	assert_string_equal(renamed(k, 1, line, "102"), "5002");
	assert_string_equal(renamed(k, 3, ship, "17"), "17");
	assert_string_equal(renamed(k, 2, ship, "60"), "60");
	effect_free(place);
	effect_free(line);
	effect_free(ship);
	play_keys_free(k);
	play_schema_free(schema);
}

static void on_a_clone_of_the_same_state_old_keys_stay_what_they_are(void **state)
{
	(void)state;
	struct play_schema *schema = make_schema();
	struct play_keys *k = play_keys_create(schema);
	struct effect *place = effect("INSERT INTO orders (customer) VALUES ($1) RETURNING id", schema);
	struct effect *ship = effect("UPDATE orders SET state = '\1' WHERE id = $1", schema);
	insert(k, 1, place, "501");
	assert_string_equal(renamed(k, 1, ship, "480"), "480");
	insert(k, 1, place, "502");
	assert_string_equal(renamed(k, 1, ship, "7"), "7");
	assert_string_equal(renamed(k, 1, ship, "502"), "502");
	insert(k, 1, place, "503");
	assert_string_equal(renamed(k, 1, ship, "490"), "490");
	assert_string_equal(renamed(k, 2, ship, "8"), "8");
	effect_free(place);
	effect_free(ship);
	play_keys_free(k);
	play_schema_free(schema);
}

static void keys_of_a_scaled_trace_are_those_that_its_own_session_got_or_that_others_left(void **state)
{
	(void)state;
	struct play_schema *schema = make_schema();
	struct play_keys *k = play_keys_create(schema);
	struct effect *begin = effect("BEGIN", schema), *commit = effect("COMMIT", schema);
	struct effect *place = effect("INSERT INTO orders (customer) VALUES ($1) RETURNING id", schema);
	struct effect *line = effect("INSERT INTO lines (order_id) VALUES ($1)", schema);
	struct effect *ship = effect("UPDATE orders SET state = '\1' WHERE id = $1", schema);
	json_t *meta = json_pack("{s:[{s:s, s:s, s:i}]}", "scaled_keys", "table", "public.orders", "column", "id", "above", 500);
	play_keys_read_scaled(k, meta);
	json_decref(meta);
	insert(k, 1, place, "501");
	insert(k, 2, place, "502");
	assert_string_equal(renamed(k, 1, ship, "480"), "480"); /* an old one, whatever was got */
	assert_string_equal(renamed(k, 2, line, "1000000501"), "502");
	assert_string_equal(renamed(k, 3, line, "501"), "501"); /* the first one's, who did not need it */
	renamed(k, 1, begin, "");
	insert(k, 1, place, "903");
	insert(k, 1, place, "907");
	assert_string_equal(renamed(k, 1, line, "503"), "903");               /* far off by now: others take keys too */
	assert_string_equal(renamed(k, 3, ship, "1000000502"), "1000000502"); /* nobody's yet */
	assert_string_equal(renamed(k, 1, line, "504"), "907");
	renamed(k, 1, commit, "");
	assert_string_equal(renamed(k, 3, ship, "503"), "903");
	assert_string_equal(renamed(k, 2, ship, "1000000501"), "502");
	effect_free(begin);
	effect_free(commit);
	effect_free(place);
	effect_free(line);
	effect_free(ship);
	play_keys_free(k);
	play_schema_free(schema);
}

static void take(struct play_keys *k, uint32_t session, const struct effect *e, const char *got)
{
	const char *values[] = {"new"};
	PGresult *r = one_value("id", got);
	(void)renamed(k, session, e, "new");
	play_keys_take(k, session, e, values, 1, 0, r);
	PQclear(r);
}

static void who_takes_another_row_of_a_queue_goes_on_with_that(void **state)
{
	(void)state;
	struct play_schema *schema = make_schema();
	uint32_t orders = play_schema_name(schema, "orders"), id = play_schema_name(schema, "id");
	struct play_relation *relation = play_schema_relation(schema, &orders);
	relation->key[relation->n_key++] = id;
	struct play_keys *k = play_keys_create(schema);
	struct effect *next = effect("SELECT o.id FROM orders AS o WHERE state = $1 ORDER BY o.id LIMIT 1 FOR UPDATE SKIP LOCKED", schema);
	struct effect *claim = effect(
		"UPDATE orders SET state = $1 WHERE id = (SELECT id FROM orders LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id", schema);
	struct effect *done = effect("UPDATE orders SET state = '\1' WHERE id = $1", schema);
	struct effect *look = effect("SELECT state FROM orders WHERE id = $1", schema);
	struct effect *parent = effect("UPDATE orders SET parts = parts - 1 WHERE id = $1", schema);
	assert_true(next->skips && claim->skips && !done->skips);
	assert_int_equal(next->n_sources, 1);
	assert_int_equal(claim->n_sources, 1);
	take(k, 1, next, "12");
	take(k, 2, next, "11");
	assert_string_equal(renamed(k, 1, look, "11"), "11");
	assert_string_equal(renamed(k, 1, parent, "4"), "4");
	assert_string_equal(renamed(k, 1, done, "11"), "12"); /* the other one has it */
	assert_string_equal(renamed(k, 2, done, "12"), "11");
	assert_string_equal(renamed(k, 1, look, "11"), "11"); /* only writing is done to what was taken */
	take(k, 1, claim, "13");
	assert_string_equal(renamed(k, 1, done, "13"), "13");
	take(k, 1, claim, "15");
	assert_string_equal(renamed(k, 1, parent, "4"), "4");
	assert_string_equal(renamed(k, 1, done, "14"), "15"); /* nobody has it yet, but this is where such keys stand */
	assert_string_equal(renamed(k, 1, done, "14"), "15");
	struct play_taken taken = play_keys_taken(k);
	assert_int_equal(taken.rows, 4);
	assert_int_equal(taken.others, 3);
	effect_free(next);
	effect_free(claim);
	effect_free(done);
	effect_free(look);
	effect_free(parent);
	play_keys_free(k);
	play_schema_free(schema);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keys_of_a_scaled_trace_are_those_that_its_own_session_got_or_that_others_left),
		cmocka_unit_test(who_takes_another_row_of_a_queue_goes_on_with_that),
		cmocka_unit_test(a_statement_tells_what_it_touches),
		cmocka_unit_test(two_who_change_a_row_do_so_in_the_captured_order),
		cmocka_unit_test(other_rows_and_readers_do_not_wait),
		cmocka_unit_test(a_reader_sees_what_had_ended_before_it_came),
		cmocka_unit_test(one_that_is_released_goes_and_counts),
		cmocka_unit_test(an_end_that_was_logged_late_goes_before_who_got_its_row),
		cmocka_unit_test(keys_that_were_generated_are_known_again_in_all_sessions),
		cmocka_unit_test(on_a_clone_of_the_same_state_old_keys_stay_what_they_are),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
