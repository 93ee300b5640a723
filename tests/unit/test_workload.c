/* load/workload: what is read from a workload and a scenario, and that every mistake is one clear message. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/fs.h"
#include "load/random.h"
#include "load/workload.h"

#include <unistd.h>

static char folder[] = "/tmp/pgr-workload-XXXXXX";
static char workload_path[64], scenario_path[64];

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_folder(void **state)
{
	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(workload_path, sizeof workload_path, "%s/small.lua", folder);
	snprintf(scenario_path, sizeof scenario_path, "%s/change.lua", folder);
	return 0;
}

static int remove_folder(void **state)
{
	(void)state;
	unlink(workload_path);
	unlink(scenario_path);
	return rmdir(folder);
}

static const char SMALL[] =
	"local workload = require 'workload'\n"
	"local users\n"
	"return workload {\n"
	"  name = 'small',\n"
	"  schema = 'CREATE TABLE users (id bigint)',\n"
	"  generate = { { table = 'users', columns = 'id', rows = function(scale) return math.floor(1000 * scale) end, row = function(i) return i end } },\n"
	"  setup = function(info) users = info.rows.users; assert(info.scale == 0.5 and info.seed == 7 and users == 500) end,\n"
	"  statements = { get = 'SELECT * FROM users WHERE id = $1', put = { 'UPDATE users SET a = $2 WHERE id = $1', types = { 'int8', 'text' } } },\n"
	"  transactions = {\n"
	"    view = { weight = 3, read_only = true, args = function(r) return r:int(1, users) end, run = function(c, id) c:exec('get', id) end },\n"
	"    change = { args = function(r) return r:int(1, users), 'x' end, run = function(c, id, x) local a = c:row('get', id); c:exec('put', id, x); assert(a) end },\n"
	"  },\n"
	"  actors = { report = { sql = 'SELECT 1', every = '5s' }, idler = { begin = 'SELECT 2', hold = '10s', every = '15s' } },\n"
	"  checks = { part_10 = 'SELECT 10', part_2 = 'SELECT 2', orphans = 'SELECT 0' },\n"
	"}\n";

static const char CHANGE[] =
	"return { workload = 'small', versions = { v2 = { change = function(c, id, x) c:exec('put', id, x) c:exec('log') end,\n"
	"  statements = { put = 'UPDATE users SET b = $2 WHERE id = $1', log = 'SELECT 1' } }, v3 = { extends = 'v2' } } }\n";

/* What loading these texts says: "" when it went well. */
static const char *load_error(const char *workload, const char *scenario, struct error *err)
{
	write_file(workload_path, workload);
	if (scenario != NULL)
		write_file(scenario_path, scenario);
	lua_State *L;
	struct workload *w = NULL;
	assert_int_equal(workload_create_state(workload_path, scenario ? scenario_path : NULL, &L, err), ST_OK);
	enum status st = workload_load(L, scenario ? NULL : workload_path, scenario ? scenario_path : NULL, 0.5, 7, &w, err);
	assert_int_equal(lua_gettop(L), 0);
	if (st == ST_OK)
		err->what[0] = '\0';
	else
		assert_int_equal(st, ST_USAGE);
	workload_free(w);
	script_free(L);
	return err->what;
}

static void a_workload_is_read_whole(void **state)
{
	(void)state;
	write_file(workload_path, SMALL);
	write_file(scenario_path, CHANGE);
	struct error err;
	lua_State *L;
	struct workload *w;
	assert_int_equal(workload_create_state(NULL, scenario_path, &L, &err), ST_OK);
	if (workload_load(L, NULL, scenario_path, 0.5, 7, &w, &err) != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
	assert_string_equal(w->name, "small");
	assert_int_equal(w->n_transactions, 2);
	assert_string_equal(w->transactions[0].name, "change");
	assert_string_equal(w->transactions[1].name, "view");
	assert_true(w->transactions[1].read_only);
	assert_int_equal(workload_find_transaction(w, "view"), 1);
	assert_int_equal(workload_find_transaction(w, "nothing"), -1);
	assert_true(w->weight_sum == 4);
	assert_int_equal(workload_pick_transaction(w, 0), 0);
	assert_int_equal(workload_pick_transaction(w, 0.2499), 0);
	assert_int_equal(workload_pick_transaction(w, 0.25), 1);
	assert_int_equal(workload_pick_transaction(w, 0.9999999999999999), 1);

	assert_int_equal(w->n_versions, 3);
	assert_string_equal(w->versions[0].name, "v1");
	assert_int_equal(workload_find_version(w, "v2"), 1);
	const struct session_statement *v1 = workload_find_statement(w, 0, "put"), *v2 = workload_find_statement(w, 1, "put");
	assert_int_equal(v1->params, 2);
	assert_int_equal(v1->types[0], 20);
	assert_int_equal(v1->types[1], 25);
	assert_true(v1->index != v2->index);
	assert_null(v2->types);
	assert_non_null(strstr(v2->sql, "SET b"));
	assert_ptr_equal(workload_find_statement(w, 0, "get"), workload_find_statement(w, 1, "get"));
	assert_null(workload_find_statement(w, 0, "log"));
	assert_ptr_equal(workload_find_statement(w, 2, "put"), v2);
	for (size_t i = 0; i < w->n_statements; i++)
		assert_int_equal(w->statements[i]->index, i);
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->versions[1].statements_ref);
	lua_getfield(L, -1, "put");
	assert_ptr_equal(lua_touserdata(L, -1), v2);
	lua_pop(L, 2);

	assert_int_equal(w->n_actors, 2);
	const struct workload_actor *idler = &w->actors[workload_find_actor(w, "idler")];
	assert_true(idler->hold_ns == INT64_C(10000000000) && idler->every_ns == INT64_C(15000000000));
	assert_null(idler->sql);
	assert_int_equal(w->n_checks, 3);
	assert_string_equal(w->checks[0].name, "orphans");
	assert_string_equal(w->checks[1].name, "part_2");
	assert_string_equal(w->checks[1].sql, "SELECT 2");
	assert_string_equal(w->checks[2].name, "part_10");
	workload_free(w);
	script_free(L);
}

/* SMALL with the first occurrence of `old` replaced. */
static const char *changed(const char *old, const char *new)
{
	static char text[8192];
	const char *at = strstr(SMALL, old);
	assert_non_null(at);
	snprintf(text, sizeof text, "%.*s%s%s", (int)(at - SMALL), SMALL, new, at + strlen(old));
	return text;
}

static void each_mistake_is_one_message_with_what_would_be_accepted(void **state)
{
	(void)state;
	static const struct {
		const char *old, *new, *what, *hint;
	} MISTAKES[] = {
		{"weight = 3", "weight = 'x'", "transaction view: weight is a string", "number"},
		{"run = function(c, id) c:exec('get', id)", "run = function(c, id) c:start_pipeline('get', 'gett')",
			"transaction view of v1 begins a pipeline with a statement gett, which does not exist", "get, put"},
		{"weight = 3", "weight = 0", "transaction view: weight is 0", "above 0"},
		{"'CREATE TABLE users (id bigint)'", "function(scale) end", "the function schema returns nothing at scale 0.5", "a string"},
		{"weight = 3", "wieght = 3", "transaction view has a field wieght", "weight"},
		{"name = 'small',", "", "the workload has no name", "string"},
		{"c:exec('get', id)", "c:exec('got', id)", "transaction view of v1 executes a statement got", "statements: get, put"},
		{"c:exec('get', id)", "c:exec('get')", "transaction view of v1 gives 0 parameters to statement get", "it takes 1"},
		{"c:exec('get', id)", "c:exec('get', {})", "gives a table as $1", "nil for NULL"},
		{"'int8', 'text'", "'int8'", "statement put has 2 parameters but 1 types", "one type a parameter"},
		{"'int8', 'text'", "'int8', 'txt'", "there is no type txt", "text"},
		{"every = '5s'", "every = '5'", "5", "s"},
		{"sql = 'SELECT 1', ", "", "actor report does neither", "hold"},
		{"'SELECT * FROM users WHERE id = $1'", "5", "statement get has no SQL", "types"},
		{"'SELECT 2', orphans", "'SELECT 2; ', orphans", "check part_2 is SQL that ends with a semicolon", "rows that are wrong"},
		{"'SELECT 2', orphans", "2, orphans", "check part_2 is a number", "rows that are wrong"},
		{"weight = 3", "retry = { on = { '08006' } }", "transaction view cannot be retried on 08006", "not known what became"},
		{"weight = 3", "retry = { on = { 'deadlock' } }", "cannot be retried on deadlock", "40001"},
		{"weight = 3", "retry = { times = 0 }", "transaction view: retry does not say", "1 to 1000"},
		{"weight = 3", "retry = { tries = 1 }", "transaction view: retry has a field tries", "times"},
		{"weight = 3", "retry = { backoff = '10' }", "10", "ms"},
		{"weight = 3", "statement_timeout = '1500us'", "not a whole number of milliseconds", "cancel_after"},
		{"weight = 3", "cancel_after = '2 parsecs'", "parsecs", "s"},
		{"name = 'small',", "name = 'small', flags = { fast = {} },", "flag fast is a table", "true, false"},
		{"name = 'small',", "name = 'small', flags = { ['a b'] = true },", "a flag a b", "letters"},
		{"name = 'small',", "name = 'small', ledger = 1,", "ledger is a number", "boolean"},
		{"c:exec('get', id)", "c:count('a b')", "transaction view of v1 counts 1 as a b", "whole number"},
		{"c:exec('get', id)", "c:pipeline(function(p) p:exec('got', id) end)", "executes a statement got", "get, put"},
		{"rows = function(scale) return math.floor(1000 * scale) end", "rows = 1.5", "generate[1]: rows is not", "whole number"},
	};
	struct error err;
	for (size_t i = 0; i < sizeof MISTAKES / sizeof *MISTAKES; i++) {
		const char *what = load_error(changed(MISTAKES[i].old, MISTAKES[i].new), NULL, &err);
		if (strstr(what, MISTAKES[i].what) == NULL || strstr(err.hint, MISTAKES[i].hint) == NULL ||
			strstr(err.where, "small.lua") == NULL)
			fail_msg("mistake %zu: %s: %s (%s)", i, err.where, err.what, err.hint);
	}
	load_error("return 5", NULL, &err);
	assert_non_null(strstr(err.what, "the workload returns a number"));
	load_error(changed("users = info", "users = nothing.at_all; users = info"), NULL, &err);
	assert_non_null(strstr(err.where, "small.lua:7"));
	load_error(changed("return r:int(1, users) end", "return r:int(9, 1) end"), NULL, &err);
	assert_non_null(strstr(err.where, "small.lua:10"));
	load_error(changed("return workload {", "return workload 5 -- {"), NULL, &err);
	assert_true(err.what[0] != '\0');
}

static void what_a_transaction_does_when_it_fails_is_read(void **state)
{
	(void)state;
	write_file(workload_path,
		changed("weight = 3",
			"retry = { on = { '40001', '55P03' }, times = 5, backoff = '20ms' }, statement_timeout = '2s', cancel_after = '1500us'"));
	struct error err;
	lua_State *L;
	struct workload *w;
	assert_int_equal(workload_create_state(workload_path, NULL, &L, &err), ST_OK);
	if (workload_load(L, workload_path, NULL, 0.5, 7, &w, &err) != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
	const struct workload_transaction *change = &w->transactions[0], *view = &w->transactions[1];
	assert_int_equal(change->retry.times, 0);
	assert_true(change->statement_timeout_ns == 0 && change->cancel_after_ns == 0);
	assert_int_equal(view->retry.times, 5);
	assert_int_equal(view->retry.n_on, 2);
	assert_string_equal(view->retry.on[1], "55P03");
	assert_true(view->retry.backoff_ns == 20000000);
	assert_true(view->statement_timeout_ns == INT64_C(2000000000) && view->cancel_after_ns == 1500000);
	assert_false(w->ledger);
	workload_free(w);
	script_free(L);
}

static void a_version_overrides_only_what_the_workload_has(void **state)
{
	(void)state;
	struct error err;
	load_error(SMALL, "return { workload = 'small', versions = { v2 = { chnage = function() end } } }", &err);
	assert_non_null(strstr(err.what, "chnage"));
	assert_non_null(strstr(err.hint, "change, view"));
	assert_string_equal(err.where, scenario_path);
	load_error(SMALL, "return { workload = 'small', versions = { v1 = {} } }", &err);
	assert_non_null(strstr(err.what, "v1"));
	load_error(SMALL, "return { workload = 'small', versions = { v2 = { extends = 'v3' }, v3 = { extends = 'v2' } } }", &err);
	assert_non_null(strstr(err.what, "cannot extend"));
	load_error(SMALL, "return { workload = 'small', versions = { v2 = { view = 5 } } }", &err);
	assert_non_null(strstr(err.what, "view is a number"));
	load_error(SMALL, "return { workload = 'small', versions = { v2 = { view = function(c) c:row('get', 1, 2) end } } }", &err);
	assert_non_null(strstr(err.what, "transaction view of v2 gives 2 parameters"));
	assert_string_equal(err.where, scenario_path);
	load_error(SMALL, "return { workload = 'big' }", &err);
	assert_non_null(strstr(err.what, "there is no workload big"));
	assert_non_null(strstr(err.hint, "looked for"));
	load_error(SMALL, "return { }", &err);
	assert_non_null(strstr(err.what, "no workload is named"));
	assert_string_equal(load_error(SMALL, "return { workload = 'small', versions = { v2 = {} } }", &err), "");
}

static void parameters_are_counted_outside_of_quotes_and_comments(void **state)
{
	(void)state;
	static const struct {
		const char *sql;
		int params;
	} CASES[] = {
		{"", 0},
		{"SELECT $1, $2, $1", 2},
		{"SELECT '$3', \"$4\", $1", 1},
		{"SELECT 'it''s $3' || $1", 1},
		{"SELECT E'\\' $3' || $1", 1},
		{"SELECT '\\' || $2", 2},
		{"SELECT $1 -- $2\n, $3", 3},
		{"SELECT $1 /* $5 /* $6 */ $7 */ + $2", 2},
		{"SELECT $$ $5 $$, $tag$ $6 $$ $7 $tag$, $1", 1},
		{"SELECT a$3 FROM t WHERE x=$1::int", 1},
		{"SELECT 'open $1", 0},
		{"SELECT $$ open $1", 0},
		{"SELECT /* open $1", 0},
		{"INSERT INTO t VALUES($1,$2,$10)", 10},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
		if (workload_count_params(CASES[i].sql) != CASES[i].params)
			fail_msg("%s: %d", CASES[i].sql, workload_count_params(CASES[i].sql));
}

static void what_a_statement_does_is_told_by_its_words(void **state)
{
	(void)state;
	static const struct {
		const char *sql;
		enum statement_kind kind;
	} CASES[] = {
		{"INSERT INTO t VALUES (1)", STATEMENT_WRITES},
		{" -- delete\n/* x */ update t SET a = 'commit'; ", STATEMENT_WRITES},
		{"WITH gone AS (DELETE FROM t RETURNING *) SELECT * FROM gone", STATEMENT_WRITES},
		{"merge into t USING s ON true WHEN MATCHED THEN DO NOTHING", STATEMENT_WRITES},
		{"WITH a AS (SELECT 1) SELECT * FROM a, t FOR NO KEY UPDATE", STATEMENT_OTHER},
		{"WITH a AS (SELECT \"insert\" FROM t) SELECT * FROM a FOR UPDATE", STATEMENT_OTHER},
		{"SELECT 'delete' FROM t FOR UPDATE", STATEMENT_OTHER},
		{"UPDATE t SET a = ';'; DELETE FROM t", STATEMENT_OTHER},
		{"updated", STATEMENT_OTHER},
		{"COMMIT", STATEMENT_COMMITS},
		{"end;", STATEMENT_COMMITS},
		{"COMMIT PREPARED 'x'", STATEMENT_OTHER},
		{"", STATEMENT_OTHER},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
		if (workload_statement_kind(CASES[i].sql) != CASES[i].kind)
			fail_msg("%s: %d", CASES[i].sql, (int)workload_statement_kind(CASES[i].sql));
}

static void the_shop_loads_and_its_weights_are_percentages(void **state)
{
	(void)state;
	struct error err;
	lua_State *L;
	struct workload *w;
	assert_int_equal(workload_create_state("shop", NULL, &L, &err), ST_OK);
	if (workload_load(L, "shop", NULL, 1, 42, &w, &err) != ST_OK)
		fail_msg("%s: %s (%s)", err.where, err.what, err.hint);
	assert_true(w->weight_sum == 100);
	assert_true(workload_find_actor(w, "report") >= 0 && workload_find_actor(w, "idle_in_transaction") >= 0);
	workload_free(w);
	script_free(L);
}

/* Row i of generate[t], as text, made by a fresh state after `before` other rows. */
static void make_row(int t, int i, int before, char *out, size_t size)
{
	struct error err;
	lua_State *L;
	assert_int_equal(workload_create_state("shop", NULL, &L, &err), ST_OK);
	assert_int_equal(workload_load_data(L, "shop", 0.1, &err), ST_OK);
	struct random *r = random_push(L);
	lua_getfield(L, 1, "generate");
	lua_geti(L, -1, t);
	for (int k = 0; k <= before; k++) {
		int number = k == before ? i : k + 1;
		random_seed(r, (uint64_t)number);
		lua_settop(L, 4);
		lua_getfield(L, 4, "row");
		lua_pushinteger(L, number);
		lua_pushvalue(L, 2);
		lua_pushnumber(L, 0.1);
		assert_int_equal(script_call(L, 3, LUA_MULTRET, ST_USAGE, &err), ST_OK);
	}
	out[0] = '\0';
	for (int at = 5; at <= lua_gettop(L); at++) {
		size_t used = strlen(out);
		snprintf(out + used, size - used, "%s|", luaL_tolstring(L, at, NULL));
		lua_pop(L, 1);
	}
	script_free(L);
}

static void a_row_depends_on_its_seed_and_number_alone(void **state)
{
	(void)state;
	char one[4096], two[4096];
	for (int t = 1; t <= 6; t++) {
		make_row(t, 77, 0, one, sizeof one);
		make_row(t, 77, 100, two, sizeof two);
		assert_string_equal(one, two);
		assert_true(strlen(one) > 10);
	}
}

static void the_example_of_the_readme_loads(void **state)
{
	(void)state;
	char path[512];
	snprintf(path, sizeof path, "%s/workloads/README.md", script_home());
	struct error err;
	struct buf text;
	buf_init(&text, 1 << 20);
	assert_int_equal(fs_read_file(path, &text, &err), ST_OK);
	char *begin = strstr(text.data, "```lua\n");
	assert_non_null(begin);
	char *end = strstr(begin + 7, "```");
	assert_non_null(end);
	*end = '\0';
	lua_State *L;
	struct workload *w;
	write_file(workload_path, begin + 7);
	assert_int_equal(workload_create_state(workload_path, NULL, &L, &err), ST_OK);
	if (workload_load(L, workload_path, NULL, 1, 1, &w, &err) != ST_OK)
		fail_msg("%s: %s (%s)", err.where, err.what, err.hint);
	assert_int_equal(w->n_transactions, 2);
	workload_free(w);
	assert_int_equal(workload_load_data(L, workload_path, 2, &err), ST_OK);
	lua_getfield(L, -1, "rows");
	lua_getfield(L, -1, "notes");
	assert_int_equal(lua_tointeger(L, -1), 100000);
	script_free(L);
	buf_free(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_workload_is_read_whole),
		cmocka_unit_test(each_mistake_is_one_message_with_what_would_be_accepted),
		cmocka_unit_test(what_a_transaction_does_when_it_fails_is_read),
		cmocka_unit_test(a_version_overrides_only_what_the_workload_has),
		cmocka_unit_test(what_a_statement_does_is_told_by_its_words),
		cmocka_unit_test(parameters_are_counted_outside_of_quotes_and_comments),
		cmocka_unit_test(the_shop_loads_and_its_weights_are_percentages),
		cmocka_unit_test(a_row_depends_on_its_seed_and_number_alone),
		cmocka_unit_test(the_example_of_the_readme_loads),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
