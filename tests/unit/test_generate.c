/* load/generate on a real server: values arrive as they were, one seed makes one set of rows, mistakes are named. */
#define _GNU_SOURCE
#include "unit.h"

#include "load/generate.h"
#include "server.h"

static char workload_path[96];

static int start_server(void **state)
{
	(void)state;
	if (server_start(0) != 0)
		return -1;
	snprintf(workload_path, sizeof workload_path, "%s/w.lua", server_home);
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	return server_stop();
}

/* Empties the database and fills it from a workload whose row function has this body. Returns the error's text, "" when there is none. */
static const char *generate(const char *row, const char *finish, struct error *err)
{
	server_ask("SET client_min_messages = warning; DROP TABLE IF EXISTS t");
	FILE *f = fopen(workload_path, "w");
	assert_non_null(f);
	fprintf(f,
		"return { name = 'w', schema = 'CREATE TABLE t (i int, s text, f float8, b boolean)',\n"
		"generate = { { table = 't', columns = 'i, s, f, b', rows = 25000, row = function(i, r)\n%s end } },\n"
		"finish = { { 'CREATE INDEX ON t (i)', 'CREATE INDEX ON t (b)' }, '%s' }, statements = {}, transactions = {} }",
		row, finish);
	fclose(f);
	memset(err, 0, sizeof *err);
	return generate_data(sandbox_dsn(server), workload_path, 1, 5, NULL, NULL, err) == ST_OK ? "" : err->what;
}

static void every_value_arrives_as_it_was(void **state)
{
	(void)state;
	struct error err;
	assert_string_equal(generate("if i % 5 == 0 then return i, nil, nil, nil end\n"
				     "return -i, 'a\\tb\\nc\\\\d\\r\\\\N\\\\.\\n\\\\.\\n\\'é' .. i, i / 3, i % 2 == 0",
				    "VACUUM t", &err),
		"");
	assert_string_equal(
		server_ask("SELECT count(*) || ' ' || count(DISTINCT i) || ' ' || count(s) || ' ' || count(f) || ' ' || count(b) FROM t"),
		"25000 25000 20000 20000 20000");
	assert_string_equal(
		server_ask(
			"SELECT bool_and(s = E'a\\tb\\nc\\\\d\\r\\\\N\\\\.\\n\\\\.\\n''é' || -i AND f = -i / 3.0::float8 AND b = (i % 2 = 0)) FROM t"),
		"t");
	assert_string_equal(server_ask("SELECT count(*) FROM pg_index WHERE indrelid = 't'::regclass"), "2");
}

static void one_seed_makes_one_set_of_rows(void **state)
{
	(void)state;
	static const char ROW[] = "return i, r:text(r:int(1, 40)), r:gaussian(0, 1), r:chance(0.3)";
	static const char HASH[] = "SELECT sum(hashtextextended(t::text, 0)) FROM t";
	struct error err;
	char first[512];
	assert_string_equal(generate(ROW, "SELECT 1", &err), "");
	snprintf(first, sizeof first, "%s", server_ask(HASH));
	assert_string_equal(generate(ROW, "SELECT 1", &err), "");
	assert_string_equal(server_ask(HASH), first);
	server_ask("DROP TABLE t");
	assert_int_equal(generate_data(sandbox_dsn(server), workload_path, 1, 6, NULL, NULL, &err), ST_OK);
	assert_string_not_equal(server_ask(HASH), first);
	assert_string_equal(server_ask("SELECT count(DISTINCT s) > 20000 FROM t"), "t");
}

static void a_mistake_is_named_and_ends_it(void **state)
{
	(void)state;
	struct error err;
	assert_string_equal(generate("return i, 'x', 1", "", &err), "row 1 of table t has 3 values for 4 columns");
	assert_string_equal(err.where, workload_path);
	assert_int_equal(err.status, ST_USAGE);
	assert_string_equal(generate("return i, {}, 1, true", "", &err), "row 1 of table t holds a table as value 2");
	generate("if i == 17001 then error('boom') end return i, 'x', 1, true", "", &err);
	assert_non_null(strstr(err.what, "boom"));
	assert_non_null(strstr(err.where, "w.lua:3"));
	generate("return i, 'x', i == 17001 and 'no number' or 1, true", "", &err);
	assert_non_null(strstr(err.what, "no number"));
	assert_int_equal(err.status, ST_FAILED);
	generate("return i, 'x', 1, true", "VACUUM nothing", &err);
	assert_non_null(strstr(err.what, "VACUUM nothing: relation \"nothing\" does not exist"));
	assert_int_equal(generate_data(sandbox_dsn(server), workload_path, 1, 5, NULL, NULL, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "relation \"t\" already exists"));
}

static void what_failed_halfway_goes_on_and_nothing_is_made_twice(void **state)
{
	(void)state;
	static const char BOOK[] = "SELECT string_agg(step || part, ' ' ORDER BY step, part) FROM pgrehearse.generated";
	struct error err;
	server_ask("SET client_min_messages = warning; DROP TABLE t");
	generate("if i == 24001 then error('boom') end return i, 'x', 1, true", "VACUUM t", &err);
	server_ask("DROP TABLE t");
	assert_int_equal(generate_data_resumably(sandbox_dsn(server), workload_path, 1, 5, NULL, NULL, &err), ST_USAGE);
	assert_non_null(strstr(err.what, "boom"));
	assert_string_equal(server_ask(BOOK), "rows0 rows1 schema0");
	assert_string_equal(server_ask("SELECT count(*) FROM t"), "20000");
	server_ask("CREATE TABLE kept AS SELECT ctid AS at, i FROM t");
	/* The file is mended, and a later statement fails. */
	server_ask("CREATE FUNCTION deny() RETURNS int LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END'");
	FILE *f = fopen(workload_path, "w");
	assert_non_null(f);
	fprintf(f,
		"return { name = 'w', schema = 'CREATE TABLE t (i int, s text, f float8, b boolean)',\n"
		"generate = { { table = 't', columns = 'i, s, f, b', rows = 25000, row = function(i, r) return i, 'x', 1, true end } },\n"
		"finish = { 'CREATE UNIQUE INDEX ON t (i)', 'VACUUM t', 'SELECT deny()' }, statements = {}, transactions = {} }");
	fclose(f);
	assert_int_equal(generate_data_resumably(sandbox_dsn(server), workload_path, 1, 5, NULL, NULL, &err), ST_FAILED);
	assert_string_equal(server_ask(BOOK), "finish0 finish1 rows0 rows1 rows2 schema0");
	assert_string_equal(server_ask("SELECT count(*) FROM kept k JOIN t ON t.ctid = k.at AND t.i = k.i"), "20000");
	server_ask("CREATE OR REPLACE FUNCTION deny() RETURNS int LANGUAGE sql AS 'SELECT 1'");
	assert_int_equal(generate_data_resumably(sandbox_dsn(server), workload_path, 1, 5, NULL, NULL, &err), ST_OK);
	assert_string_equal(server_ask("SELECT count(DISTINCT i) || ' ' || count(*) FROM t"), "25000 25000");
	assert_string_equal(server_ask("SELECT to_regnamespace('pgrehearse') IS NULL"), "t");
}

struct progress {
	int calls;
	int64_t rows;
};

static void note_progress(const char *what, int64_t done, int64_t total, void *arg)
{
	struct progress *p = arg;
	p->calls++;
	if (strstr(what, "generating ") != NULL && done == total)
		p->rows = done;
}

static void the_shop_is_consistent_with_itself(void **state)
{
	(void)state;
	struct error err;
	struct progress p = {0};
	if (generate_data(sandbox_dsn(server), "shop", 0.01, 42, note_progress, &p, &err) != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
	assert_true(p.calls > 0);
	assert_true(p.rows > 1000);
	int64_t estimate;
	assert_int_equal(generate_estimate("shop", 0.01, 42, &estimate, &err), ST_OK);
	const double actual = strtod(
		server_ask(
			"SELECT sum(pg_relation_size(t)) FROM unnest('{orders,users,order_lines,events,page_views,products}'::regclass[]) AS t"),
		NULL);
	assert_true((double)estimate > 0.6 * actual && (double)estimate < 1.2 * actual);
	assert_string_equal(server_ask("SELECT count(*) FROM users"), "1000");
	assert_string_equal(server_ask("SELECT count(*) FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attnum > 0"), "47");
	/* Both forms of an order's lines say the same. */
	assert_string_equal(
		server_ask(
			"SELECT count(*) FROM orders o WHERE subtotal_cents <> (SELECT sum(qty * price_cents) FROM order_lines l WHERE l.order_id = o.id)"
			" OR subtotal_cents <> (SELECT sum((x ->> 'qty')::int * (x ->> 'price_cents')::int) FROM jsonb_array_elements(items) x)"),
		"0");
	assert_string_equal(server_ask("INSERT INTO page_views (product_id, day) VALUES (1, '2026-07-01') RETURNING id"), "1900000501");
	assert_string_equal(server_ask("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated"), "3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_value_arrives_as_it_was),
		cmocka_unit_test(one_seed_makes_one_set_of_rows),
		cmocka_unit_test(a_mistake_is_named_and_ends_it),
		cmocka_unit_test(what_failed_halfway_goes_on_and_nothing_is_made_twice),
		cmocka_unit_test(the_shop_is_consistent_with_itself),
	};
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
