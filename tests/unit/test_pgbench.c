/* workloads/lib/pgbench: pgbench's scripts mean what they mean to pgbench. The facts are those of pgbench's documentation and of its
 * regression tests; values were compared with pgbench 15. */
#define _GNU_SOURCE
#include "unit.h"

#include "load/random.h"
#include "load/workload.h"
#include "runtime/script.h"

#include <unistd.h>

/* perform(text, protocol): runs a script once with a client that records what it is asked for. Returns the record, one line each, or
 * the error that ended it; the random source is the global r, variables stay from call to call until forget(). */
static const char HELPER[] =
	"local functions, script = require 'pgbench.functions', require 'pgbench.script'\n"
	"local log, variables, answers\n"
	"function functions.write_debug(line) log[#log + 1] = line end\n"
	"function functions.write_output() end\n"
	"function forget()\n"
	"  variables = { scale = 1, client_id = 0, random_seed = 5432, default_seed = 17, foo = '-10.1', bla = 'false', i = '+3', n = 'null',\n"
	"    t = 't', f = 'of', d = '1.0', word = 'bla', badtrue = 'trueXXX', minint = '-9223372036854775808', maxint = '9223372036854775807' }\n"
	"  answers = { rows = 1 }\n"
	"end\n"
	"function answer(...) answers = { ... } end\n"
	"local function values(...)\n"
	"  local out = table.pack(...)\n"
	"  for i = 1, out.n do out[i] = ' <' .. tostring(out[i]) .. '>' end\n"
	"  return table.concat(out)\n"
	"end\n"
	"local function client(statements)\n"
	"  local c = { random = r }\n"
	"  function c:query(name, sql) log[#log + 1] = name .. ' <' .. sql .. '>' end\n"
	"  function c:exec(name, ...) log[#log + 1] = name .. ' <' .. statements[name] .. '>' .. values(...) end\n"
	"  function c:last_row() return table.unpack(answers) end\n"
	"  function c:keep_results() end\n"
	"  function c:kept_results() return answers end\n"
	"  function c:shell(line) log[#log + 1] = 'shell <' .. line .. '>' return table.unpack(answers) end\n"
	"  for _, name in ipairs { 'sleep', 'start_pipeline', 'sync_pipeline', 'end_pipeline' } do\n"
	"    c[name] = function(_, ...) log[#log + 1] = name .. values(...) end\n"
	"  end\n"
	"  return c\n"
	"end\n"
	"function perform(text, protocol)\n"
	"  log = {}\n"
	"  local ok, problem = pcall(function()\n"
	"    local commands, statements, names = script.read('test.sql', text), {}, {}\n"
	"    for name in pairs(variables) do names[name] = true end\n"
	"    script.collect_variables(commands, names)\n"
	"    script.translate(commands, { path = 'test.sql', name = 's', simple = protocol ~= 'prepared', variables = names, parameters_max = 64,\n"
	"      statements = statements, variables_of = function() return variables end })(client(statements))\n"
	"  end)\n"
	"  if not ok then\n"
	"    log[#log + 1] = type(problem) == 'table' and problem.message .. ' | ' .. (problem.hint or '') or problem\n"
	"  end\n"
	"  return table.concat(log, '\\n')\n"
	"end\n"
	"forget()\n";

static lua_State *L;
static struct random *r;

static int make_state(void **state)
{
	(void)state;
	struct error err;
	assert_int_equal(workload_create_state(NULL, NULL, &L, &err), ST_OK);
	r = random_push(L);
	random_seed(r, 1);
	lua_setglobal(L, "r");
	if (luaL_dostring(L, HELPER))
		fail_msg("%s", lua_tostring(L, -1));
	lua_settop(L, 0);
	return 0;
}

static int free_state(void **state)
{
	(void)state;
	script_free(L);
	return 0;
}

/* The text stays until the next call. */
static const char *perform(const char *text, const char *protocol)
{
	lua_settop(L, 0);
	lua_getglobal(L, "perform");
	lua_pushstring(L, text);
	lua_pushstring(L, protocol);
	if (lua_pcall(L, 2, 1, 0))
		fail_msg("%s", lua_tostring(L, -1));
	return lua_tostring(L, -1);
}

static void run_lua(const char *code)
{
	if (luaL_dostring(L, code))
		fail_msg("%s", lua_tostring(L, -1));
	lua_settop(L, 0);
}

static const char *lua_text(const char *code)
{
	lua_settop(L, 0);
	if (luaL_dostring(L, code))
		fail_msg("%s", lua_tostring(L, -1));
	return luaL_tolstring(L, -1, NULL);
}

static const char *value_of(const char *expression)
{
	static char script[8192];
	snprintf(script, sizeof script, "\\set x debug(%s)\n", expression);
	const char *out = perform(script, "simple");
	static const char PREFIX[] = "test.sql:1: debug: ";
	return strncmp(out, PREFIX, strlen(PREFIX)) == 0 ? out + strlen(PREFIX) : out;
}

static void expressions_have_the_values_that_pgbench_gives_them(void **state)
{
	(void)state;
	static const struct {
		const char *expression, *value;
	} CASES[] = {
		/* integers: 64 bits, division towards zero, precedence from OR up to unary minus */
		{"17 / (4|1) + (4 + (7 >> 2))", "integer 8"},
		{"- (3 * 4 - (-(~ 1) + -(~ 0))) / -1 + 3 % -1", "integer 9"},
		{"64 % (((2 + 1 * 2 + (1 # 2) | 4 * (2 & 11)) - (1 << 2)) + 2)", "integer 12"},
		{"-7 / 2", "integer -3"},
		{"-7 % 2", "integer -1"},
		{"7 % -2", "integer 1"},
		{":minint % -1", "integer 0"},
		{"-9223372036854775808", "integer -9223372036854775808"},
		{"-(:minint + 1)", "integer 9223372036854775807"},
		{"~ 1 + 2", "integer -4"},
		{"~ 3 & 1", "integer 0"},
		{"1 | 6 & 4", "integer 4"},
		{"2 + 3 * 4 - 5", "integer 9"},
		{"-2 * 3 % 4", "integer -2"},
		{"1 << 65", "integer 2"},
		{"-8 >> 1", "integer -4"},
		{"-1 >> 63", "integer -1"},
		{"7 % 2.5", "integer 1"},
		{"10 + mod(13 * 7 + 12, 13) - mod(-19 * 11 - 17, 19)", "integer 39"},
		{"abs(-4) + greatest(5, 4, 3, 2) + least(-5, -4)", "integer 4"},
		{"int(7.3) * 100 + int(2.5) * 10 + int(3.5)", "integer 724"},
		{"int(-3.5)", "integer -4"},
		{"ABS(-1) + Int(1.0)", "integer 2"},
		/* doubles win over integers */
		{"sqrt(+1.5 * 2.0) * abs(-0.8E1)", "double 13.856406460551"},
		{"double(1 + 1) * (-75.0 / :foo)", "double 14.8514851485149"},
		{"pi() * 4.9", "double 15.39380400259"},
		{"greatest(4, 2, -1.17) * 4.0 * Ln(Exp(1.0))", "double 16"},
		{"least(-5.18, .0E0, 1.0/0) * -3.3", "double 17.094"},
		{"pow(-3, 3)", "double -27"},
		{"power(2.0, 10)", "double 1024"},
		{"pow(0, 0)", "double 1"},
		{"pow(-2, -3)", "double -0.125"},
		{"pow(10, 30)", "double 1e+30"},
		{"1.0 / 0", "double Infinity"},
		{"-1.0 / 0", "double -Infinity"},
		{"sqrt(-1.0)", "double NaN"},
		{"- 0.0", "double 0"},
		{"1e3 + .5", "double 1000.5"},
		{"9007199254740993 = 9007199254740992.0", "boolean true"},
		/* comparison and logic */
		{"1.0 = 0.0 and 1.0 != 0.0", "boolean false"},
		{"0 = 1 Or 1.0 = 1", "boolean true"},
		{"1 < 2 IS TRUE", "boolean true"},
		{"NOT 1 = 2", "boolean true"},
		{"NOT :t OR :t", "boolean true"},
		{"true OR false AND false", "boolean true"},
		{"NOT (0 > 1) AND (1 <= 1) AND NOT (0 >= 1) AND NOT (false and true) AND (NOT :f)", "boolean true"},
		{"1 IS NULL = false", "error"},
		/* NULL */
		{"NULL + NULL * exp(NULL)", "NULL"},
		{"least(1, NULL)", "NULL"},
		{"random(1, NULL)", "NULL"},
		{":n IS NULL AND :d IS NOT NULL AND :d NOTNULL", "boolean true"},
		{":n ISNULL AND NOT :n IS TRUE AND :n IS NOT FALSE", "boolean true"},
		{"NULL AND false", "NULL"},
		{"false AND NULL", "boolean false"},
		{"NULL OR true", "NULL"},
		{"1 IS TRUE", "boolean false"},
		{"NOT NULL", "NULL"},
		/* CASE */
		{"case when 0 < 1 then 32 else 0 end", "integer 32"},
		{"case when false THEN -1 when 1 = 1 then 13 + 19 + 2.0 end", "double 34"},
		{"CASE WHEN false THEN 1 END", "NULL"},
		{"case when false then 0 when 1-1 <> 0 then 1 else 38 end", "integer 38"},
		{"CASE WHEN 1 THEN TRUE END AND CASE WHEN 1.0 THEN TRUE END AND CASE WHEN :n THEN NULL ELSE TRUE END", "boolean true"},
		{"1 + CASE WHEN true THEN 2 END * least(3, CASE WHEN false THEN 1 ELSE 4 END)", "integer 7"},
		/* only what is asked for is evaluated */
		{"case when 0 = 0 then -1 else 1 / 0 end", "integer -1"},
		{"case when 0 = 0 or 1 / 0 < 0 then -1 else 1 / 0 end", "integer -1"},
		{"case when 0 > 0 and 1 / 0 < 0 then 1 / 0 else 1 end", "integer 1"},
		{"false AND 1", "boolean false"},
		{"true OR 1", "boolean true"},
		/* variables that are text are read when they are used */
		{":i + :scale", "integer 4"},
		{":t AND NOT :f AND NOT :bla", "boolean true"},
		{":maxint", "integer 9223372036854775807"},
		{":client_id + :random_seed", "integer 5432"},
		/* hashes */
		{"hash(10, 5432)", "integer -5817877081768721676"},
		{"hash_murmur2(10, 5432)", "integer -5817877081768721676"},
		{"hash_fnv1a(10, 5432)", "integer -7793829335365542153"},
		{"hash(10) = hash(10, :default_seed)", "boolean true"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		const char *value = value_of(CASES[i].expression);
		if (strcmp(CASES[i].value, "error") == 0 ? strstr(value, "test.sql:1: ") != value : strcmp(value, CASES[i].value) != 0)
			fail_msg("%s is %s, not %s", CASES[i].expression, value, CASES[i].value);
	}
}

static void permute_is_the_bijection_that_pgbench_computes(void **state)
{
	(void)state;
	static const long long GOLDEN[] = {520382784483822430, 1143715004660802862, 447293596416496998, 916527772266572956,
		2763809008686028849, 8648551549198294572, 4542876852200565125};
	char expression[200], expected[64];
	for (int i = 0; i < 7; i++) {
		snprintf(expression, sizeof expression, "permute(:maxint - 10 - %d, :maxint - 10, 5432)", i + 1);
		snprintf(expected, sizeof expected, "integer %lld", GOLDEN[i]);
		assert_string_equal(value_of(expression), expected);
	}
	assert_string_equal(value_of("permute(0, 2, 5431) = 0 and permute(1, 2, 5431) = 1"), "boolean true");
	assert_string_equal(value_of("permute(0, 2, 5433) = 1 and permute(1, 2, 5433) = 0"), "boolean true");
	assert_string_equal(value_of("permute(41, 1)"), "integer 0");
	assert_string_equal(value_of("permute(-1, 7, 3) = permute(1, 7, 3)"), "boolean true"); /* 2^64 - 1 is 1 modulo 7 */
	run_lua("local permute = require 'pgbench.functions'.permute\n"
		"for size = 1, 70 do\n"
		"  local seen = {}\n"
		"  for i = 0, size - 1 do\n"
		"    local p = permute(i, size, size * 31)\n"
		"    assert(p >= 0 and p < size and not seen[p] and p == permute(i + size, size, size * 31))\n"
		"    seen[p] = true\n"
		"  end\n"
		"end\n");
}

static void random_functions_stay_in_their_ranges_and_have_their_shapes(void **state)
{
	(void)state;
	run_lua("local F = require 'pgbench.functions'\n"
		"local function mean(f, n, ...)\n"
		"  local sum = 0\n"
		"  for _ = 1, n do\n"
		"    local x = f(r, 1000, 1999, ...)\n"
		"    assert(math.type(x) == 'integer' and x >= 1000 and x <= 1999)\n"
		"    sum = sum + x\n"
		"  end\n"
		"  return sum / n\n"
		"end\n"
		"local function near(x, y, d) assert(math.abs(x - y) < d, x) end\n"
		"near(mean(F.random, 20000), 1499.5, 12)\n"
		"near(mean(F.random_gaussian, 20000, 4.0), 1499.5, 6)\n"
		/* the mean of an exponential density cut off after 10 mean lengths is 1/10 of the range, less 10/(e^10 - 1) of that */
		"near(mean(F.random_exponential, 20000, 10.0), 1000 + 99.5, 5)\n"
		"local first = 0\n"
		"for _ = 1, 20000 do first = first + (F.random_zipfian(r, 1, 1000, 1.5) == 1 and 1 or 0) end\n"
		"near(first / 20000, 0.3912, 0.02)\n" /* 1 / sum of k^-1.5 for k up to 1000 */
		"assert(F.random(r, 5, 5) == 5 and F.random_zipfian(r, 7, 7, 2.0) == 7 and F.random_zipfian(r, 7, 9, 1000.0) == 7)\n"
		"for _ = 1, 100 do assert(F.random(r, -5000, 5000) // 5001 <= 0) end\n"
		"assert(F.random(r, 1, math.maxinteger) >= 1)\n"
		"assert(F.random_gaussian(r, 0, math.maxinteger - 1, 2.0) >= 0)\n");
	random_seed(r, 42);
	char first[64];
	snprintf(first, sizeof first, "%s", value_of("random(1, 1000000000) + random_gaussian(1, 1000000000, 2.5)"));
	random_seed(r, 42);
	assert_string_equal(value_of("random(1, 1000000000) + random_gaussian(1, 1000000000, 2.5)"), first);
}

static void what_cannot_be_evaluated_is_told_with_its_line(void **state)
{
	(void)state;
	static const struct {
		const char *expression, *reason;
	} CASES[] = {
		{"1 / 0", "division by zero"},
		{"1 % 0", "division by zero"},
		{":nosuchvariable", "there is no variable nosuchvariable"},
		{":word + 1", "the variable word holds \"bla\""},
		{":badtrue or true", "the variable badtrue holds \"trueXXX\""},
		{"NOT 0.0", "a double where a boolean is needed"},
		{"1 AND true", "an integer where a boolean is needed"},
		{"TRUE + 2", "a boolean where an integer is needed"},
		{"true = true", "a boolean where an integer is needed"},
		{"ln(TRUE)", "a boolean where a number is needed"},
		{"random(FALSE, TRUE)", "a boolean where an integer is needed"},
		{"int(1E32)", "does not fit into an integer"},
		{"(1<<62) + (1<<62)", "4611686018427387904 + 4611686018427387904 does not fit"},
		{"0 - (1<<62) - (1<<62) - (1<<62)", "does not fit"},
		{"2 * (1<<62)", "2 * 4611686018427387904 does not fit"},
		{"-1 * :minint", "does not fit"},
		{":minint * -1", "does not fit"},
		{"-(:minint)", "does not fit"},
		{":minint / -1", "does not fit"},
		{"random(5, 3)", "the range from 5 to 3 is empty"},
		{"random(:minint, :maxint)", "more than 2^63 - 1 numbers"},
		{"random(0, :maxint)", "more than 2^63 - 1 numbers"},
		{"random_gaussian(0, 10, 1.0)", "must be at least 2, but is 1"},
		{"random_exponential(0, 10, 0.0)", "must be above 0"},
		{"random_zipfian(0, 10, 1)", "from 1.001 to 1000"},
		{"random_zipfian(0, 10, 1000000)", "from 1.001 to 1000"},
		{"permute(0, 0)", "the size must be above 0"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		char script[200];
		snprintf(script, sizeof script, "-- first line\n\\set y 1\n\\set x %s\n", CASES[i].expression);
		const char *out = perform(script, "simple");
		if (strncmp(out, "test.sql:3: ", 12) != 0 || strstr(out, CASES[i].reason) == NULL)
			fail_msg("%s: %s, not %s", CASES[i].expression, out, CASES[i].reason);
	}
	assert_string_equal(perform("\\set a debug(1 + \\\n  :none)\n", "simple"), "test.sql:1: there is no variable none");
}

static void a_script_that_makes_no_sense_is_refused_with_its_line(void **state)
{
	(void)state;
	static const struct {
		const char *script, *message;
	} CASES[] = {
		{"\\set i 1 +\n", "test.sql:1: the expression cannot go on with the end of the line"},
		{"SELECT 1;\n\\set i (1 + 2\n", "test.sql:2: the expression cannot go on with the end of the line | ) is expected"},
		{"\\set i 1 2\n", "test.sql:1: the expression cannot go on with 2"},
		{"\\set i 1 < 2 < 3\n", "comparisons do not chain"},
		{"\\set i ;\n", "the character ; has no meaning"},
		{"\\set i noSuchFunction()\n", "there is no function noSuchFunction | functions: abs, "},
		{"\\set i CASE TRUE THEN 1 ELSE 0 END\n", "cannot go on with TRUE | when is expected"},
		{"\\set i CASE WHEN TRUE THEN 1\n", "when, else or end is expected"},
		{"\\set d ln(1.0, 2.0)\n", "ln cannot have 2 arguments | it takes 1"},
		{"\\set i least()\n", "least cannot have 0 arguments"},
		{"\\set i greatest()\n", "greatest cannot have 0 arguments"},
		{"\\set i hash()\n", "hash cannot have 0 arguments"},
		{"\\set i hash(1,2,3)\n", "hash cannot have 3 arguments"},
		{"\\set i permute(1)\n", "permute cannot have 1 argument"},
		{"\\set i permute(1, 2, 3, 4)\n", "permute cannot have 4 arguments"},
		{"\\set i least(0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16)\n", "least cannot have 17 arguments"},
		{"\\set i 100000000000000000000\n", "does not fit into 64 bits"},
		{"\\set i 9223372036854775808\n", "it needs a - right before it"},
		{"\\set d 1.0E309\n", "the double 1.0E309 is out of range"},
		{"\\set d .1E310\n", "the double .1E310 is out of range"},
		{"\\set i\n", "\\set has no expression"},
		{"\\set\n", "\\set has no arguments"},
		{"\\set . 1\n", "a variable cannot be called ."},
		{"\\set 1a 1\n", "a variable cannot be called 1a"},
		{"\\nosuchcommand\n", "there is no command \\nosuchcommand | commands: aset, elif, "},
		{"SELECT 1;\n\n\\if 1\n", "test.sql:3: \\if without an \\endif"},
		{"\\elif 1\n", "\\elif without an \\if"},
		{"\\else\n", "\\else without an \\if"},
		{"\\endif\n", "\\endif without an \\if"},
		{"\\if 1\n\\else\n\\elif 0\n\\endif\n", "test.sql:3: \\elif after \\else"},
		{"\\if 1\n\\else\n\\else\n\\endif\n", "test.sql:3: \\else after \\else"},
		{"\\if\n\\endif\n", "\\if has no expression"},
		{"\\if 0\n\\elif +\n\\endif\n", "test.sql:2: the expression cannot go on"},
		{"\\if 0\n\\else BAD\n\\endif\n", "\\else takes no argument"},
		{"\\if 0\n\\endif BAD\n", "\\endif takes no argument"},
		{"\\gset\n", "\\gset must follow an SQL command"},
		{"\\set i +1\n\\gset\n", "test.sql:2: \\gset must follow an SQL command"},
		{"SELECT 1 AS i \\gset\n\\gset\n", "test.sql:2: \\gset must follow an SQL command"},
		{"SELECT 1 \\gset a b\n", "\\gset has too many arguments"},
		{"\\sleep\n", "\\sleep has no argument"},
		{"\\sleep too many args\n", "\\sleep has too many arguments"},
		{"\\sleep x\n", "\\sleep cannot wait for x"},
		{"\\sleep 1 week\n", "\\sleep knows no unit week"},
		{"\\sleep 1week\n", "\\sleep knows no unit week"},
		{"\\shell\n", "\\shell has no command to run"},
		{"\\setshell var\n", "\\setshell has no command to run"},
		{"\\setshell\n", "\\setshell has no command to run"},
		{"\\startpipeline\n\\endpipeline\n", "test.sql:1: pipelines need the extended query protocol"},
		{"", "test.sql: the script has no commands"},
		{"-- nothing\n -- at all\n", "the script has no commands"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		const char *out = perform(CASES[i].script, "simple");
		if (strstr(out, CASES[i].message) == NULL || strncmp(out, "test.sql:", 9) != 0)
			fail_msg("%s: %s, not %s", CASES[i].script, out, CASES[i].message);
	}
	assert_non_null(strstr(perform("\\set a 1\nSELECT ':a';\n", "prepared"), "test.sql:2: :a stands within quotes"));
	assert_non_null(strstr(perform("SELECT 1 \\; SELECT 2;\n", "prepared"), "cannot be prepared"));
}

static void sql_is_split_as_psql_splits_it(void **state)
{
	(void)state;
	assert_string_equal(
		perform("SELECT 1;SELECT\n 2 ; \n\nSELECT 3\n", "simple"), "s_line1 <SELECT 1>\ns_line1b <SELECT\n 2>\ns_line4 <SELECT 3>");
	assert_string_equal(perform("SELECT ';', \";\", $$ ; $$, $a$ ; $$ ; $a$ /* ; /* ; */ ; */;", "simple"),
		"s_line1 <SELECT ';', \";\", $$ ; $$, $a$ ; $$ ; $a$ /* ; /* ; */ ; */>");
	assert_string_equal(perform("-- comment ; :scale\nSELECT 1 -- ; 'it''s\n + 1;", "simple"), "s_line2 <SELECT 1 \n + 1>");
	assert_string_equal(perform("SELECT E'\\';' || 'a''b' || '\\', 2;SELECT 3", "simple"),
		"s_line1 <SELECT E'\\';' || 'a''b' || '\\', 2>\ns_line1b <SELECT 3>");
	assert_string_equal(perform("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", "simple"),
		"s_line1 <CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)>\ns_line1b <SELECT 3>");
	assert_string_equal(
		perform("CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END; SELECT 3",
			"simple"),
		"s_line1 <CREATE OR REPLACE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; END>\ns_line1b <SELECT 3>");
	assert_string_equal(perform("BEGIN; SELECT 1; END;", "simple"), "s_line1 <BEGIN>\ns_line1b <SELECT 1>\ns_line1bb <END>");
	assert_string_equal(perform("SELECT 1 \\; SELECT 2\\;\nSELECT 3;", "simple"), "s_line1 <SELECT 1 ; SELECT 2;\nSELECT 3>");
	assert_string_equal(perform("SELECT 1\n\\set a 5\nSELECT :a", "simple"), "s_line1 <SELECT 1>\ns_line3 <SELECT 5>");
	assert_string_equal(perform(";SELECT 1;-- x\n;", "simple"), "s_line1 <;>\ns_line1b <SELECT 1>\ns_line2 <;>");
	assert_string_equal(perform("SELECT 'never closed;\n", "simple"), "s_line1 <SELECT 'never closed;>");
}

static void variables_are_text_in_simple_queries_and_parameters_in_prepared_ones(void **state)
{
	(void)state;
	static const char SETS[] = "\\set v0 NULL\n\\set v1 TRUE\n\\set v2 5432\n\\set v3 -54.21E-2\n";
	char script[400];
	snprintf(script, sizeof script, "%sSELECT :v0, :v1, :v2, :v3, :foo;\n", SETS);
	assert_string_equal(perform(script, "simple"), "s_line5 <SELECT NULL, true, 5432, -0.5421, -10.1>");
	assert_string_equal(perform(script, "prepared"), "s_line5 <SELECT $1, $2, $3, $4, $5> <nil> <true> <5432> <-0.5421> <-10.1>");
	/* casts, slices of digits, times and names that do not exist are no variables */
	assert_string_equal(perform("SELECT 1::int, :::v2, a[1:2], '12:30', :unknown, ':v2', \":v2\", $$:v2$$", "simple"),
		"s_line1 <SELECT 1::int, :::v2, a[1:2], '12:30', :unknown, '5432', \"5432\", $$5432$$>");
	assert_string_equal(perform("SELECT ':unknown', :v2, :v2::text /* :v2 */", "prepared"),
		"s_line1 <SELECT ':unknown', $1, $2::text /* :v2 */> <5432> <5432>");
	assert_string_equal(perform("SELECT 1 \\:v2", "simple"), "s_line1 <SELECT 1 :v2>");
	assert_string_equal(perform("\\set \xc3\xa9t\xc3\xa9 1\nSELECT :\xc3\xa9t\xc3\xa9;", "simple"), "s_line2 <SELECT 1>");
	/* as they were written */
	assert_string_equal(perform("SELECT :i, :n, :d;\n", "simple"), "s_line1 <SELECT +3, null, 1.0>");
}

static void branches_are_taken_as_conditions_say(void **state)
{
	(void)state;
	assert_string_equal(
		perform("\\if 1 > 0\nSELECT 1;\n\\elif 1/0\nSELECT 2;\n\\else\nSELECT 3;\n\\endif\n", "simple"), "s_line2 <SELECT 1>");
	assert_string_equal(
		perform("\\if NULL\nSELECT 1;\n\\elif 0.5\nSELECT 2;\n\\else\nSELECT 3;\n\\endif\n", "simple"), "s_line4 <SELECT 2>");
	assert_string_equal(
		perform("\\if 0\nSELECT 1;\n\\elif false\nSELECT 2;\n\\else\nSELECT 3;\n\\endif\n", "simple"), "s_line6 <SELECT 3>");
	assert_string_equal(
		perform("\\if 0\n\\if 1\nSELECT 1;\n\\else\nSELECT 2;\n\\endif\n\\endif\nSELECT 3;\n", "simple"), "s_line8 <SELECT 3>");
	assert_string_equal(perform("\\if false or case when true then true end\nSELECT 1 \\; SELECT 2\n\\endif", "simple"),
		"s_line2 <SELECT 1 ; SELECT 2>");
	assert_string_equal(lua_text("local n = 500\n"
				     "return perform(('\\\\if true\\n'):rep(n) .. 'SELECT 1;\\n' .. ('\\\\endif\\n'):rep(n))"),
		"s_line501 <SELECT 1>");
	assert_string_equal(
		lua_text(
			"return perform('\\\\if 0\\n' .. ('\\\\elif false and 1/0\\nSELECT 0;\\n'):rep(300) .. '\\\\else\\nSELECT 1;\\n\\\\endif')"),
		"s_line603 <SELECT 1>");
}

static void long_and_deep_expressions_are_translated(void **state)
{
	(void)state;
	assert_string_equal(lua_text("return perform('\\\\set x ' .. ('1 + '):rep(2000) .. '1\\nSELECT :x;')"), "s_line2 <SELECT 2001>");
	assert_string_equal(lua_text("return perform('\\\\set x ' .. ('1 - ('):rep(400) .. '1' .. (')'):rep(400) .. '\\nSELECT :x;')"),
		"s_line2 <SELECT 1>");
	assert_string_equal(
		lua_text("return perform('\\\\set x ' .. ('true and '):rep(2000) .. 'false\\nSELECT :x;')"), "s_line2 <SELECT false>");
	assert_string_equal(lua_text("return perform('\\\\set x case ' .. ('when false then 1 '):rep(1000) .. 'else 2 end\\nSELECT :x;')"),
		"s_line2 <SELECT 2>");
	assert_string_equal(
		lua_text("return perform('\\\\set x ' .. ('case when true then '):rep(80) .. '7' .. (' end'):rep(80) .. '\\nSELECT :x;')"),
		"s_line2 <SELECT 7>");
	assert_non_null(strstr(
		lua_text(
			"return perform('\\\\set x ' .. ('case when true then '):rep(300) .. '7' .. (' end'):rep(300) .. '\\nSELECT :x;')"),
		"test.sql:1: the expression nests AND, OR and CASE too deep"));
	assert_non_null(strstr(
		lua_text("return perform('\\\\set x ' .. ('('):rep(5000) .. '\\n')"), "test.sql:1: the expression is nested too deep"));
}

static void rows_become_variables(void **state)
{
	(void)state;
	run_lua("answer(1, 'one', '11', 'two', 'x y')");
	assert_string_equal(perform("SELECT 1 AS one, 2 AS two \\gset\nSELECT :one, ':two';\n", "simple"),
		"s_line1 <SELECT 1 AS one, 2 AS two>\ns_line2 <SELECT 11, 'x y'>");
	assert_string_equal(
		perform("SELECT 1 \\gset p_\n\\set y :p_one + 1\nSELECT :y;", "prepared"), "s_line1 <SELECT 1>\ns_line3 <SELECT $1> <12>");
	run_lua("answer(2, 'one', '1')");
	assert_string_equal(
		perform("SELECT 1\n\\gset", "simple"), "s_line1 <SELECT 1>\ntest.sql:1: \\gset needs one row, but there were 2");
	run_lua("answer(0)");
	assert_non_null(strstr(perform("SELECT 1 \\gset", "simple"), "\\gset needs one row, but there were 0"));
	run_lua("answer(1, '?column?', '1')");
	assert_non_null(strstr(perform("SELECT 1 \\gset", "simple"), "a column cannot become a variable called ?column?"));
	run_lua("answer({1, 'i6', '6'}, {0}, {2, 'i6', '8', 'i7', '7'})");
	assert_string_equal(perform("SELECT 6 AS i6 \\; SELECT 7 \\aset\n\\set i debug(:i6 * 10 + :i7)", "simple"),
		"s_line1 <SELECT 6 AS i6 ; SELECT 7>\ntest.sql:2: debug: integer 87");
	run_lua("forget()");
	assert_string_equal(perform("\\set i :i6", "simple"), "test.sql:1: there is no variable i6");
}

static void other_commands_reach_the_engine(void **state)
{
	(void)state;
	run_lua("forget()");
	assert_string_equal(
		perform("\\set one 1.0\n\\set zero 0\n\\sleep :one ms\n\\sleep 100 us\n\\sleep 2ms\n\\sleep 0 s\n\\sleep 3\n\\sleep :zero",
			"simple"),
		"sleep <0.001>\nsleep <0.0001>\nsleep <0.002>\nsleep <3.0>\nsleep <0.0>");
	assert_string_equal(perform("\\sleep :nosuchvariable", "simple"), "test.sql:1: \\sleep: there is no variable nosuchvariable");
	assert_string_equal(perform("\\sleep :word", "simple"), "test.sql:1: \\sleep: the variable word holds \"bla\", which is no time");
	run_lua("answer(0, ' 15 \\nmore')");
	assert_string_equal(
		perform("\\set one 1.0\n\\setshell another_one\\\n  echo \\\n    :one ::two\n\\set n debug(:another_one)\n\\shell true",
			"simple"),
		"shell <echo 1 :two>\ntest.sql:5: debug: integer 15\nshell <true>");
	assert_string_equal(perform("\\shell echo ::foo :nosuchvariable", "simple"),
		"test.sql:1: a shell command uses a variable nosuchvariable, which is not set");
	run_lua("answer(127, '')");
	assert_string_equal(perform("\\shell no-such-command", "simple"),
		"shell <no-such-command>\ntest.sql:1: the shell command failed with status 127");
	assert_non_null(strstr(perform("\\setshell var no-such-command", "simple"), "the command printed nothing"));
	run_lua("answer(0, 'one')");
	assert_non_null(strstr(perform("\\setshell i echo -n one", "simple"), "must print a whole number, not \"one\""));
	assert_string_equal(perform("\\startpipeline\nSELECT :scale;\n\\syncpipeline\nSELECT 2;\n\\endpipeline\nSELECT 3;", "prepared"),
		"start_pipeline <s_line2> <s_line4>\ns_line2 <SELECT $1> <1>\nsync_pipeline\ns_line4 <SELECT 2>\nend_pipeline\ns_line6 <SELECT 3>");
	assert_string_equal(perform("\\SET x 1\nSELECT :x;", "simple"), "s_line2 <SELECT 1>");
}

/* ---- the workload ---- */

static char folder[] = "/tmp/pgr-pgbench-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/bank.lua", folder);
	return make_state(state);
}

static int remove_folder(void **state)
{
	unlink(path);
	rmdir(folder);
	return free_state(state);
}

static const char *load_error(const char *options, struct workload **out)
{
	static struct error err;
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "return require 'pgbench' { %s }\n", options);
	fclose(f);
	enum status st = workload_load(L, path, NULL, 3, 7, out, &err);
	if (st == ST_OK)
		return "";
	assert_int_equal(st, ST_USAGE);
	static char text[4096];
	snprintf(text, sizeof text, "%s | %s | %s", err.where, err.what, err.hint);
	return text;
}

static void scripts_become_a_workload(void **state)
{
	(void)state;
	struct workload *w = NULL;
	assert_string_equal(load_error("scripts = { 'tpcb-like', { 'se', weight = 4 }, 'select-only', { 'simple', weight = 0 } }", &w), "");
	assert_string_equal(w->name, "pgbench");
	assert_int_equal(w->n_transactions, 3);
	int tpcb = workload_find_transaction(w, "tpcb_like"), select = workload_find_transaction(w, "select_only");
	assert_true(tpcb >= 0 && select >= 0 && workload_find_transaction(w, "select_only_2") >= 0);
	assert_true(w->transactions[select].weight == 4);
	assert_non_null(strstr(workload_find_statement(w, 0, "tpcb_like_line7")->sql, "UPDATE pgbench_accounts"));
	assert_int_equal(w->n_statements, 9);
	workload_free(w);
	char script[128];
	snprintf(script, sizeof script, "%s/beside.sql", folder);
	FILE *f = fopen(script, "w");
	assert_non_null(f);
	fputs("SELECT 1;\n", f);
	fclose(f);
	assert_string_equal(load_error("scripts = { 'beside.sql' }", &w), "");
	assert_non_null(workload_find_statement(w, 0, "beside_line1"));
	workload_free(w);
	unlink(script);
	assert_string_equal(load_error("scripts = { 'tpcb-like' }, protocol = 'prepared', define = { scale = 5, x = 'y' }", &w), "");
	assert_int_equal(workload_find_statement(w, 0, "tpcb_like_line7")->params, 2);
	workload_free(w);
}

/* Columns that hold numbers of accounts, as the schema declares them at this scale. */
static int wide_columns(double scale)
{
	struct error err;
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	fputs("return require 'pgbench' { scripts = { 'tpcb-like' } }\n", f);
	fclose(f);
	assert_int_equal(workload_load_data(L, path, scale, &err), ST_OK);
	assert_int_equal(lua_getfield(L, -1, "schema"), LUA_TTABLE);
	lua_rawgeti(L, -1, 1);
	assert_int_equal(lua_rawgeti(L, -1, 1), LUA_TSTRING);
	const char *sql = lua_tostring(L, -1);
	assert_null(strstr(sql, "AID"));
	int wide = 0;
	for (const char *at = sql; (at = strstr(at, " bigint")) != NULL; at++)
		wide++;
	assert_int_equal(
		(strstr(sql, "bid int, aid bigint, delta") != NULL) + (strstr(sql, "pgbench_accounts (aid bigint NOT") != NULL), wide);
	lua_settop(L, 0);
	return wide;
}

static void accounts_have_the_numbers_that_pgbench_gives_them(void **state)
{
	(void)state;
	assert_int_equal(wide_columns(0.1), 0);
	assert_int_equal(wide_columns(19999), 0);
	assert_int_equal(wide_columns(19999.5), 2);
	assert_int_equal(wide_columns(20000), 2);
}

static const char *line_error(const char *line, struct workload **out)
{
	static char text[4096];
	struct error err;
	char *found = NULL;
	assert_int_equal(workload_find(line, NULL, &found, &err), ST_OK);
	enum status st = workload_load(L, found, NULL, 3, 7, out, &err);
	free(found);
	snprintf(text, sizeof text, "%s | %s", err.what, err.hint);
	return st == ST_OK ? "" : text;
}

static void one_line_names_scripts_and_settings(void **state)
{
	(void)state;
	struct workload *w = NULL;
	assert_string_equal(line_error("pgbench:tpcb-like,select-only@9,simple@0?protocol=prepared&var.a%3db=1&scale=4", &w),
		"a variable cannot be called a=b | letters, digits and _, not a digit first");
	assert_string_equal(
		line_error("pgbench:tpcb-like,select-only@9,simple@0?protocol=prepared&var.n=%20x%26y&scale=4&max_tries=3", &w), "");
	assert_int_equal(w->n_transactions, 2);
	assert_int_equal(w->transactions[0].retry.times, 2);
	assert_true(w->transactions[0].weight == 9);
	assert_string_equal(w->path, "pgbench:tpcb-like,select-only@9,simple@0?protocol=prepared&var.n=%20x%26y&scale=4&max_tries=3");
	workload_free(w);
	assert_string_equal(
		line_error("pgbench:tpcb-like@one", &w), "the weight @one of tpcb-like is none | a whole number of 0 or more: FILE@3");
	assert_non_null(strstr(line_error("pgbench:tpcb-like?fast=1", &w), "no setting fast=1"));
	assert_non_null(strstr(line_error("pgbench:", &w), "scripts names no script"));
}

static void what_is_certain_to_fail_is_found_without_a_server(void **state)
{
	(void)state;
	static const struct {
		const char *script, *message; /* "": nothing is found */
	} CASES[] = {
		{"\\set a random(1, 100000 * :scael)\nSELECT :a;\n", ":1: there is no variable scael | "},
		{"SELECT 1;\n\\set a 1/0\n", ":2: 1 / 0: division by zero | "},
		{"\\set a random(0, 5)\n\\set b 1 / :a\n\\set c debug(1)\n", ""},
		{"\\set a random(0, 5)\n\\set b :c\n", ":2: there is no variable c | "},
		{"SELECT 1 AS one \\gset\n\\set b 1 / :one\n", ""},
		{"\\set a 1\n\\sleep :a us\n\\if :a = 2\n\\set b 1/0\n\\endif\n", ""},
	};
	char script[128], line[160], expected[256];
	snprintf(script, sizeof script, "%s/x.sql", folder);
	snprintf(line, sizeof line, "pgbench:%s", script);
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		FILE *f = fopen(script, "w");
		assert_non_null(f);
		fputs(CASES[i].script, f);
		fclose(f);
		struct workload *w = NULL;
		snprintf(expected, sizeof expected, "%s%s", CASES[i].message[0] != '\0' ? script : "", CASES[i].message);
		assert_string_equal(line_error(line, &w), expected);
		workload_free(w);
	}
	unlink(script);
}

static void a_workload_of_scripts_that_cannot_be_is_refused(void **state)
{
	(void)state;
	static const struct {
		const char *options, *message;
	} CASES[] = {
		{"", "scripts names no script"},
		{"scripts = { 'no-such-file' }", "no-such-file"},
		{"scripts = { 's' }", "s may mean select-only or simple-update"},
		{"scripts = { '/tmp' }", "is a folder"},
		{"scripts = { { 'tpcb-like', weight = -1 } }", "the weight -1 of tpcb-like"},
		{"scripts = { { 'tpcb-like', weight = 0 } }", "all scripts have the weight 0"},
		{"scripts = { 'tpcb-like' }, max_tries = 0", "cannot be tried 0 times"},
		{"scripts = { 'tpcb-like' }, protocol = 'fast'", "there is no protocol fast"},
		{"scripts = { 'tpcb-like' }, define = { ['1x'] = 1 }", "a variable cannot be called 1x"},
	};
	struct workload *w = NULL;
	for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
		const char *text = load_error(CASES[i].options, &w);
		if (strstr(text, CASES[i].message) == NULL)
			fail_msg("%s: %s", CASES[i].options, text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(expressions_have_the_values_that_pgbench_gives_them),
		cmocka_unit_test(permute_is_the_bijection_that_pgbench_computes),
		cmocka_unit_test(random_functions_stay_in_their_ranges_and_have_their_shapes),
		cmocka_unit_test(what_cannot_be_evaluated_is_told_with_its_line),
		cmocka_unit_test(a_script_that_makes_no_sense_is_refused_with_its_line),
		cmocka_unit_test(sql_is_split_as_psql_splits_it),
		cmocka_unit_test(variables_are_text_in_simple_queries_and_parameters_in_prepared_ones),
		cmocka_unit_test(branches_are_taken_as_conditions_say),
		cmocka_unit_test(long_and_deep_expressions_are_translated),
		cmocka_unit_test(rows_become_variables),
		cmocka_unit_test(other_commands_reach_the_engine),
		cmocka_unit_test(scripts_become_a_workload),
		cmocka_unit_test(accounts_have_the_numbers_that_pgbench_gives_them),
		cmocka_unit_test(one_line_names_scripts_and_settings),
		cmocka_unit_test(what_is_certain_to_fail_is_found_without_a_server),
		cmocka_unit_test(a_workload_of_scripts_that_cannot_be_is_refused),
	};
	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
