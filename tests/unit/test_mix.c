/* From texts and values to a workload: columns of parameters, templates, domains. */
#define _GNU_SOURCE
#include "replay/domain.h"
#include "replay/mix_template.h"
#include "replay/scale.h"

#include "base/rng.h"
#include "unit.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static void parameters_belong_to_the_columns_that_they_are_compared_with(void **state)
{
	struct statement_columns s;
	struct param_column p[6];
	(void)state;
	assert_true(columns_of(
		"SELECT o.id FROM shop.orders o JOIN users u ON u.id = o.user_id WHERE u.email = $1 AND o.total BETWEEN $2 AND $3 "
		"AND o.state IN ('a', $4) AND o.id = ANY ($5) LIMIT $6",
		&s, p, 6));
	assert_string_equal(s.verb, "select");
	assert_string_equal(p[0].table, "users");
	assert_string_equal(p[0].column, "email");
	assert_int_equal(p[0].use, PARAM_KEY);
	assert_string_equal(p[1].table, "shop.orders");
	assert_int_equal(p[2].use, PARAM_RANGE);
	assert_string_equal(p[3].column, "state");
	assert_true(p[4].array);
	assert_int_equal(p[5].use, PARAM_LIMIT);
}

static void parameters_that_are_written_know_their_column(void **state)
{
	struct statement_columns s;
	struct param_column p[3];
	(void)state;
	assert_true(columns_of("UPDATE t SET n = n + $1, b = $2 WHERE id = $3::int", &s, p, 3));
	assert_string_equal(p[0].column, "n");
	assert_true(p[0].part);
	assert_int_equal(p[1].use, PARAM_SET);
	assert_false(p[1].part);
	assert_int_equal(p[2].use, PARAM_KEY);
	assert_string_equal(p[2].table, "t");
	assert_true(columns_of("INSERT INTO t VALUES ($1, now(), lower($2))", &s, p, 2));
	assert_int_equal(p[0].position, 1);
	assert_int_equal(p[1].position, 3);
	assert_int_equal(p[1].use, PARAM_WRITTEN);
	assert_true(columns_of("INSERT INTO t (a) VALUES ($1) RETURNING id, a", &s, p, 1));
	assert_string_equal(s.returning, "id");
	assert_false(columns_of("SELEC 1", &s, p, 0));
}

/* The canonical text and the values of what the shape of text would be. */
static void template_is(const char *text, const char *canonical, const char *values)
{
	struct shapes *shapes = shapes_create();
	const struct log_text *literals;
	bool is_new;
	const struct shape *shape = shapes_find(shapes, text, strlen(text), &literals, &is_new);
	struct trace_shape of = {.text = shape->text, .n = shape->n, .literals = shape->literals};
	struct literal kinds[32];
	struct buf out, all;
	buf_init(&out, 4096);
	buf_init(&all, 4096);
	template_read(&of, &out, kinds);
	for (size_t i = 0; i < out.len; i++)
		if (out.data[i] == SHAPE_MARK)
			out.data[i] = '?';
	assert_string_equal(out.data, canonical);
	for (uint32_t i = 0; i < shape->literals; i++) {
		if (kinds[i].kind == LITERAL_COMMENT)
			continue;
		template_value(&kinds[i], &literals[i], &all);
		buf_char(&all, '|');
	}
	assert_string_equal(all.data, values);
	buf_free(&out);
	buf_free(&all);
	shapes_free(shapes);
}

static void signs_belong_to_numbers_and_comments_to_nothing(void **state)
{
	(void)state;
	template_is("UPDATE t SET n = n + -5 WHERE id = 7;", "UPDATE t SET n = n + ? WHERE id = ?", "-5|7|");
	template_is("UPDATE t SET n = n + 5 WHERE id = 7", "UPDATE t SET n = n + ? WHERE id = ?", "5|7|");
	template_is("SELECT a -1, b FROM t WHERE a > - 2", "SELECT a -?, b FROM t WHERE a > - ?", "1|2|");
	template_is("SELECT  'it''s' /* by: 7 */,\n 'x' -- end", "SELECT ? , ?", "it's|x|");
}

static void what_no_parameter_can_stand_for_stays(void **state)
{
	struct shapes *shapes = shapes_create();
	const struct log_text *literals;
	bool is_new;
	(void)state;
	const char *text = "SELECT now() - interval '1 day', E'a\\n', 'b'";
	const struct shape *shape = shapes_find(shapes, text, strlen(text), &literals, &is_new);
	struct trace_shape of = {.text = shape->text, .n = shape->n, .literals = shape->literals};
	struct literal kinds[3];
	struct buf out;
	buf_init(&out, 4096);
	template_read(&of, &out, kinds);
	assert_int_equal(kinds[0].kind, LITERAL_FIXED);
	assert_int_equal(kinds[1].kind, LITERAL_FIXED);
	assert_int_equal(kinds[2].kind, LITERAL_STRING);
	const int params[] = {0, 0, 1};
	const char *const texts[] = {"'1 day'", "'a\\n'", NULL};
	struct buf sql;
	buf_init(&sql, 4096);
	template_write(out.data, out.len, params, texts, &sql);
	assert_string_equal(sql.data, "SELECT now() - interval '1 day', E'a\\n', $1");
	buf_free(&sql);
	buf_free(&out);
	shapes_free(shapes);
	assert_int_equal(template_control("begin isolation level serializable", 34), CONTROL_BEGIN);
	assert_int_equal(template_control("ROLLBACK TO SAVEPOINT a", 23), CONTROL_SESSION);
	assert_int_equal(template_control("END", 3), CONTROL_COMMIT);
	assert_int_equal(template_control("COPY t FROM stdin", 17), CONTROL_OTHER);
}

static void skew_is_found_again(void **state)
{
	const double n = 10000, exponents[] = {0.5, 0.99, 1.3};
	(void)state;
	assert_true(domain_fit_zipf(n, 1 / n) < 0.01);
	for (size_t i = 0; i < 3; i++) {
		double sum = 0, squares = 0;
		for (int k = 1; k <= (int)n; k++) {
			sum += pow(k, -exponents[i]);
			squares += pow(k, -2 * exponents[i]);
		}
		assert_true(fabs(domain_fit_zipf(n, squares / (sum * sum)) - exponents[i]) < 0.02);
	}
}

static void drawn_is(struct domain *d, const struct param_column *use, const char *expected)
{
	struct buf expression, lists;
	buf_init(&expression, 65536);
	buf_init(&lists, 65536);
	struct domain_text text = {.expression = &expression, .lists = &lists, .name = "x"};
	domain_write(d, use, "", &text);
	if (strstr(expression.data, expected) == NULL)
		fail_msg("%s instead of %s", expression.data, expected);
	domain_free(d);
	buf_free(&expression);
	buf_free(&lists);
}

static void values_are_drawn_as_they_were_seen(void **state)
{
	struct param_column key = {.use = PARAM_KEY}, written = {.use = PARAM_WRITTEN};
	struct domain d = {0};
	struct rng rng = {7};
	char value[64];
	(void)state;
	for (int i = 0; i < 2000; i++)
		domain_add(&d, value, (size_t)snprintf(value, sizeof value, "%d", 1000 + (int)(rng_next(&rng) % 9000)), false);
	d.low = 1000, d.high = 9999;
	drawn_is(&d, &key, "r:int(1000, 9999)");
	for (int i = 0; i < 100; i++)
		domain_add(&d, i % 4 == 0 ? "new" : "paid", i % 4 == 0 ? 3 : 4, i % 10 == 0);
	drawn_is(&d, &key, "r:chance(0.900) and r:weighted(values.x) or nil");
	for (int i = 0; i < 100; i++)
		domain_add(&d, value, (size_t)snprintf(value, sizeof value, "%08x-1111-2222-3333-444444444444", i), false);
	drawn_is(&d, &written, "r:uuid()");
	for (int i = 0; i < 100; i++)
		domain_add(&d, value, (size_t)snprintf(value, sizeof value, "%d.%02d", i, i), false);
	drawn_is(&d, &written, "string.format(\"%.2f\", 0.00 + r:unit() * 99.99)");
	for (int i = 0; i < 100; i++)
		domain_add(&d, "a", 1, false);
	drawn_is(&d, &key, "\"a\"");
	for (int i = 0; i < 100; i++)
		domain_add(&d, value, (size_t)snprintf(value, sizeof value, "%d", i), false);
	d.column = (struct column_facts){.known = true, .unique = true, .bounds = true, .low = 1, .high = 500, .type = "bigint"};
	drawn_is(&d, &written, "r:int(501, ");
}

static void a_range_is_permuted_onto_itself(void **state)
{
	(void)state;
	for (uint64_t n = 1; n <= 1000; n += 37) {
		bool seen[1000] = {false};
		uint64_t moved = 0;
		for (uint64_t x = 0; x < n; x++) {
			uint64_t y = scale_permute(x, n, 5);
			assert_true(y < n && !seen[y]);
			seen[y] = true;
			moved += y != x;
		}
		assert_true(n < 30 || moved > n / 2);
	}
	assert_true(scale_permute(UINT64_C(123456789012), UINT64_C(1000000000000), 9) < UINT64_C(1000000000000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(parameters_belong_to_the_columns_that_they_are_compared_with),
		cmocka_unit_test(parameters_that_are_written_know_their_column),
		cmocka_unit_test(signs_belong_to_numbers_and_comments_to_nothing),
		cmocka_unit_test(what_no_parameter_can_stand_for_stays),
		cmocka_unit_test(skew_is_found_again),
		cmocka_unit_test(a_range_is_permuted_onto_itself),
		cmocka_unit_test(values_are_drawn_as_they_were_seen),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
