/* record/lua_record: a record as report writers read it. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/fs.h"
#include "measure/hist.h"
#include "record/lua_record.h"
#include "record/record.h"
#include "runtime/script.h"

#include <unistd.h>

static char root[64];
static lua_State *L;

static void write_hist(struct record *r, const char *tag, int64_t start_ns, int64_t first, int64_t last)
{
	struct hist *h = hist_create();
	for (int64_t v = first; v <= last; v++)
		hist_record(h, v);
	record_histogram(r, tag, start_ns, start_ns + NS_PER_S, h);
	hist_free(h);
}

static void write_record(const char *dir)
{
	struct error err;
	struct record *r = record_create(
		dir, json_pack("{s:s, s:{s:s}, s:n}", "drill", "forward", "scenario", "name", "user_status", "checks"), &err);
	assert_non_null(r);
	record_phase_start(r, "baseline", 0);
	record_phase_end(r, 10 * NS_PER_S);
	record_phase_start(r, "migration", 10 * NS_PER_S);
	record_phase_end(r, 20 * NS_PER_S);
	record_interval(r,
		json_pack("{s:I, s:f, s:[n, i], s:n, s:b}", "start_ns", (json_int_t)NS_PER_S, "share", 0.5, "list", 7, "none", "yes", 1));
	for (int i = 1; i <= 3; i++)
		record_wait(r, json_pack("{s:i}", "start_ns", i));
	write_hist(r, "total/response/ok", NS_PER_S, 1, 100);
	write_hist(r, "total/response/failed", 2 * NS_PER_S, 101, 200);
	write_hist(r, "total/response/ok", 11 * NS_PER_S, 1001, 1100);
	write_hist(r, "view/v1/response/ok", 11 * NS_PER_S, 1, 10);
	write_hist(r, "view/v2/response/ok", 11 * NS_PER_S, 11, 30);
	write_hist(r, "view/v2/service/ok", 30 * NS_PER_S, 5, 5);
	assert_int_equal(record_finish(r, "finished", NULL, &err), ST_OK);
	record_close(r);
}

static void append(const char *file, const char *text)
{
	char path[128];
	snprintf(path, sizeof path, "%s/r/%s", root, file);
	FILE *f = fopen(path, "a");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int set_up(void **state)
{
	(void)state;
	char dir[96];
	struct error err;
	static const char *const NO_DIRS[] = {NULL};
	snprintf(root, sizeof root, "/tmp/pgr-lua-record-XXXXXX");
	assert_non_null(mkdtemp(root));
	snprintf(dir, sizeof dir, "%s/r", root);
	write_record(dir);
	assert_int_equal(script_create(NO_DIRS, &L, &err), ST_OK);
	record_preload_lua(L);
	lua_pushstring(L, dir);
	lua_setglobal(L, "dir");
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	script_free(L);
	return fs_remove_tree(root, NULL) != ST_OK;
}

/* Runs a piece of Lua that has `rec`, a record opened for it; returns the error's text or NULL. */
static const char *lua(const char *code)
{
	static struct error err;
	char text[4096];
	snprintf(text, sizeof text, "local record = require 'record'; local rec = record.open(dir)\n%s", code);
	assert_int_equal(luaL_loadbuffer(L, text, strlen(text), "=test"), LUA_OK);
	return script_call(L, 0, 0, ST_FAILED, &err) == ST_OK ? NULL : err.what;
}

static void assert_lua(const char *code)
{
	const char *failure = lua(code);
	if (failure != NULL)
		fail_msg("%s", failure);
}

static void the_run_is_a_table(void **state)
{
	(void)state;
	assert_lua("assert(rec.dir == dir)\n"
		   "assert(rec.run.drill == 'forward' and rec.run.scenario.name == 'user_status' and rec.run.status == 'finished')\n"
		   "assert(math.type(rec.run.format) == 'integer' and rec.run.checks == nil)\n"
		   "assert(#rec.run.phases == 2 and rec.run.phases[2].name == 'migration')");
}

static void series_are_iterated_line_by_line(void **state)
{
	(void)state;
	assert_lua(
		"local n = 0 for w in rec:waits() do n = n + 1; assert(w.start_ns == n) end assert(n == 3)\n"
		"local edges = {} for e in rec:events() do edges[#edges + 1] = e.edge end\n"
		"assert(table.concat(edges, ' ') == 'start end start end')\n"
		"for i in rec:intervals() do\n"
		"  assert(i.share == 0.5 and #i.list == 2 and i.list[1] == false and i.list[2] == 7 and i.none == nil and i.yes == true)\n"
		"end");
}

static void a_loop_left_early_closes_its_file(void **state)
{
	(void)state;
	/* Far more loops than a process may have files, and no collection in between. */
	assert_lua("collectgarbage 'stop'; for i = 1, 3000 do for w in rec:waits() do break end end collectgarbage 'restart'");
}

static void two_loops_over_one_series_do_not_disturb_each_other(void **state)
{
	(void)state;
	assert_lua("local n = 0 for a in rec:waits() do for b in rec:waits() do n = n + 1 end end assert(n == 9)");
}

static void histograms_are_summed_by_tag_and_phase(void **state)
{
	(void)state;
	assert_lua("local h = rec:histogram { tag = 'total/response/*', phase = 'baseline' }\n"
		   "assert(h:count() == 200 and h:min() == 1 and h:max() == 200 and h:mean() == 100.5 and h:saturated() == 0)\n"
		   "assert(h:quantile(0.5) == 100 and h:quantile(1) == 200 and h:count_above(150) == 50)\n"
		   "assert(rec:histogram { tag = 'total/response/ok', phase = 'migration' }:max() == 1100)\n"
		   "assert(rec:histogram { tag = 'total/response/ok' }:count() == 200)\n"
		   "assert(rec:histogram { tag = 'view/*/response/*', phase = 'migration' }:count() == 30)\n"
		   "assert(rec:histogram { tag = '*/response/*' }:count() == 300)\n"
		   "assert(rec:histogram { tag = 'v*w/*2/*/o*' }:count() == 21)\n"
		   "assert(rec:histogram { phase = '' }:count() == 1)\n"
		   "assert(rec:histogram():count() == 331)\n"
		   "local none = rec:histogram { tag = 'nothing' }\n"
		   "assert(none:count() == 0 and none:max() == 0 and none:quantile(0.99) == 0)\n"
		   "for _ in none:buckets() do error 'empty' end");
}

static void buckets_hold_every_value(void **state)
{
	(void)state;
	assert_lua("local seen, last = 0, -1\n"
		   "for low, high, count, cumulative in rec:histogram { phase = 'migration' }:buckets() do\n"
		   "  seen = seen + count; assert(low > last and high >= low and cumulative == seen); last = high\n"
		   "end assert(seen == 130)");
}

static void tags_and_phases_are_told(void **state)
{
	(void)state;
	assert_lua(
		"assert(table.concat(rec:tags(), ' ') == 'total/response/failed total/response/ok view/v1/response/ok view/v2/response/ok view/v2/service/ok')\n"
		"assert(rec:phase_at(0) == 'baseline' and rec:phase_at(1e10) == 'migration' and rec:phase_at(30000000000) == '')");
}

static void what_cannot_be_read_is_counted(void **state)
{
	(void)state;
	append("waits.jsonl", "[1]\nnonsense\n{\"start_ns\": 4}\n{\"start_ns\": 5");
	append("latency.hlog", "nonsense\n");
	assert_lua("assert(rec:bad_lines() == 0)\n"
		   "local n = 0 for w in rec:waits() do n = n + 1 end assert(n == 4 and rec:bad_lines() == 2)\n"
		   "assert(rec:histogram():count() == 331 and rec:bad_lines() == 3)");
}

static void missing_files_are_empty(void **state)
{
	(void)state;
	static const char *const FILES[] = {"events.jsonl", "waits.jsonl", "intervals.jsonl", "latency.hlog"};
	char path[128];
	for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++) {
		snprintf(path, sizeof path, "%s/r/%s", root, FILES[i]);
		assert_int_equal(unlink(path), 0);
	}
	assert_lua("for _ in rec:events() do error 'line' end for _ in rec:waits() do error 'line' end\n"
		   "assert(rec:histogram():count() == 0 and #rec:tags() == 0)");
}

static void mistakes_are_named(void **state)
{
	(void)state;
	assert_non_null(strstr(lua("record.open '/nowhere'"), "/nowhere"));
	assert_non_null(strstr(lua("rec:histogram { tag = {} }"), "a string is expected"));
	assert_non_null(strstr(lua("rec:histogram():quantile(99)"), "0.99"));
	assert_non_null(strstr(lua("rec.events()"), "pgrehearse record"));
	assert_null(lua("assert(rec.nothing == nil)"));
}

static void finalizers_of_a_script_meet_a_closed_record_not_a_crash(void **state)
{
	(void)state;
	/* Lua finalizes in reverse: what is made before the record is finalized after it. */
	assert_lua(
		"local later, h\n"
		"keep = setmetatable({}, { __gc = function() pcall(later.events, later); pcall(later.tags, later); pcall(h.count, h) end })\n"
		"later = record.open(dir); h = later:histogram()");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_run_is_a_table, set_up, tear_down),
		cmocka_unit_test_setup_teardown(series_are_iterated_line_by_line, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_loop_left_early_closes_its_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(two_loops_over_one_series_do_not_disturb_each_other, set_up, tear_down),
		cmocka_unit_test_setup_teardown(histograms_are_summed_by_tag_and_phase, set_up, tear_down),
		cmocka_unit_test_setup_teardown(buckets_hold_every_value, set_up, tear_down),
		cmocka_unit_test_setup_teardown(tags_and_phases_are_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_cannot_be_read_is_counted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(missing_files_are_empty, set_up, tear_down),
		cmocka_unit_test_setup_teardown(mistakes_are_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(finalizers_of_a_script_meet_a_closed_record_not_a_crash, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
