/* load/ledger on a real server that crashes: what was acknowledged is either there or reported as lost. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/fs.h"
#include "clone/sandbox.h"
#include "load/engine.h"
#include "load/ledger.h"

#include <libpq-fe.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char home[] = "/tmp/pgr-ledger-XXXXXX";
static char workload_path[64];
static struct sandbox *sandbox;

static int start_server(void **state)
{
	(void)state;
	struct error err;
	if (mkdtemp(home) == NULL || chmod(home, 0755) != 0 || setenv("TMPDIR", home, 1) != 0)
		return -1;
	snprintf(workload_path, sizeof workload_path, "%s/w.lua", home);
	FILE *f = fopen(workload_path, "w");
	if (f == NULL)
		return -1;
	fputs("return { name = 'w', ledger = true, statements = { put = 'INSERT INTO kept VALUES ($1)', bad = 'SELECT 1 / 0',\n"
	      "  defer = 'INSERT INTO strict VALUES (1)', get = 'SELECT count(*) FROM strict',\n"
	      "  back = \"INSERT INTO kept VALUES ($1) RETURNING n, 'x'\", ['end'] = 'END' },\n"
	      "transactions = {\n"
	      "  put = { weight = 20, args = function(r) return r:int(1, 9) end, run = function(c, n) c:begin() c:exec('put', n) c:commit() end },\n"
	      "  piped = { weight = 10, run = function(c) local r = c:pipeline(function(p) p:begin() p:exec('put', 5) p:commit() p:exec('put', 200) end)\n"
	      "    if c.number then assert(#r == 4 and r[1] == true and r[2] == 1 and r[3] == true and r[4] == 1) end end },\n"
	      "  behind = { run = function(c) c:pipeline(function(p) p:begin() p:exec('put', 6) p:commit() p:exec('bad') end) end },\n"
	      "  before = { run = function(c) c:pipeline(function(p) p:begin() p:exec('put', 0) p:exec('bad') p:commit() end) end },\n"
	      "  roll = { run = function(c) c:begin() c:exec('put', 0) c:rollback() end },\n"
	      "  fail = { run = function(c) c:begin() c:exec('put', 0) c:exec('bad') c:commit() end },\n"
	      "  late = { run = function(c) c:begin() c:exec('defer') c:commit() end },\n"
	      "  caught = { run = function(c) c:begin() pcall(c.exec, c, 'bad') c:commit() end },\n"
	      "  get = { read_only = true, run = function(c) c:begin() c:exec('get') c:commit() end },\n"
	      "  single = { run = function(c) local n = c:exec('put', 3) if c.number then assert(n == 1) end end },\n"
	      "  returned = { run = function(c) local a, b = c:row('back', 4) if c.number then assert(a == 4 and b == 'x') end end },\n"
	      "  strict = { run = function(c) c:exec('defer') end },\n"
	      "  implicit = { run = function(c) local r = c:pipeline(function(p) p:exec('put', 7) p:row('get') end) if c.number then assert(#r == 2) end end },\n"
	      "  ended = { run = function(c) c:begin() c:exec('put', 8) c:exec('end') end } } }\n",
		f);
	fclose(f);
	if (sandbox_up(&(struct sandbox_config){.name = "ledger"}, &sandbox, &err) != ST_OK) {
		print_error("%s: %s\n", err.where, err.what);
		return -1;
	}
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	struct error err;
	int failed = sandbox_down(sandbox, &err) != ST_OK;
	sandbox_free(sandbox);
	return fs_remove_tree(home, NULL) == ST_OK && !failed ? 0 : -1;
}

static long ask(const char *sql)
{
	PGconn *conn = PQconnectdb(sandbox_dsn(sandbox));
	PGresult *res = PQexec(conn, sql);
	long n = PQresultStatus(res) == PGRES_TUPLES_OK ? strtol(PQgetvalue(res, 0, 0), NULL, 10) : 0;
	if (PQresultStatus(res) != PGRES_TUPLES_OK && PQresultStatus(res) != PGRES_COMMAND_OK)
		fail_msg("%s", PQerrorMessage(conn));
	PQclear(res);
	PQfinish(conn);
	return n;
}

static void make_tables(void)
{
	ask("SET client_min_messages = error; DROP TABLE IF EXISTS kept, strict; CREATE TABLE kept (n int);\n"
	    "CREATE TABLE strict (n int, UNIQUE (n) DEFERRABLE INITIALLY DEFERRED); INSERT INTO strict VALUES (1)");
}

/* Traffic, a crash in its middle if wanted, and what the ledger says. *ok: transactions that succeeded. */
static struct load_ledger run(const char *options, bool crash, uint64_t *ok)
{
	struct error err;
	struct load *load;
	char dsn[1024];
	snprintf(dsn, sizeof dsn, "%s options='%s'", sandbox_dsn(sandbox), options);
	struct load_config config = {
		.dsn = dsn, .workload_path = workload_path, .scale = 1, .seed = 5, .closed = true, .pods = 1, .pool = 4, .workers = 2};
	make_tables();
	if (load_create(&config, &load, &err) != ST_OK || load_connect(load, 20 * NS_PER_S, &err) != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
	assert_true(load_has_ledger(load));
	load_start(load, clock_now_ns());
	nanosleep(&(struct timespec){.tv_nsec = 600000000}, NULL);
	if (crash) {
		assert_int_equal(sandbox_stop_server(sandbox, 0, true, &err), ST_OK);
		assert_int_equal(sandbox_start_server(sandbox, 0, &err), ST_OK);
	}
	struct load_totals totals;
	load_stop(load, 5 * NS_PER_S, &totals);
	struct load_ledger l;
	if (load_check_ledger(load, 20 * NS_PER_S, &l, &err) != ST_OK)
		fail_msg("%s", err.what);
	load_free(load);
	assert_int_equal(l.acknowledged, l.found + l.lost);
	assert_int_equal(l.strange, 0);
	*ok = totals.ok;
	return l;
}

static void without_a_crash_every_acknowledged_commit_is_found(void **state)
{
	(void)state;
	uint64_t ok;
	struct load_ledger l = run("", false, &ok);
	assert_true(l.acknowledged > 50 && l.acknowledged < ok);
	assert_int_equal(l.lost, 0);
	assert_int_equal(l.unknown_found + l.unknown_lost, 0);
	assert_int_equal(l.found, ask("SELECT count(*) FROM kept WHERE n BETWEEN 1 AND 9"));
	assert_int_equal(ask("SELECT count(*) FROM pg_namespace WHERE nspname = 'pgrehearse'"), 0);
}

static void a_crash_loses_nothing_that_was_committed_synchronously(void **state)
{
	(void)state;
	uint64_t ok;
	struct load_ledger l = run("", true, &ok);
	assert_true(l.acknowledged > 50);
	assert_int_equal(l.lost, 0);
	assert_int_equal(l.found + l.unknown_found, ask("SELECT count(*) FROM kept WHERE n BETWEEN 1 AND 9"));
}

static void what_a_crash_loses_of_asynchronous_commits_is_counted(void **state)
{
	(void)state;
	uint64_t ok;
	ask("ALTER SYSTEM SET wal_writer_delay = '10s'");
	ask("SELECT pg_reload_conf()");
	/* A crash right behind a flush loses nothing: somebody else's commit, of an autovacuum for instance, flushes what everybody wrote. */
	uint64_t lost = 0;
	for (int attempt = 0; attempt < 5 && lost == 0; attempt++) {
		struct load_ledger l = run("-c synchronous_commit=off", true, &ok);
		assert_true(l.acknowledged > 50);
		assert_int_equal(l.found + l.unknown_found, ask("SELECT count(*) FROM kept WHERE n BETWEEN 1 AND 9"));
		lost = l.lost;
	}
	assert_true(lost > 0);
}

static void a_book_counts_what_is_known_and_what_is_not(void **state)
{
	(void)state;
	struct ledger_book book = {0};
	static const enum ledger_end ENDS[] = {LEDGER_ACKNOWLEDGED, LEDGER_FAILED, LEDGER_UNKNOWN, LEDGER_ACKNOWLEDGED, LEDGER_UNKNOWN};
	for (size_t i = 0; i < sizeof ENDS / sizeof *ENDS; i++) {
		book.pending = true;
		ledger_end(&book, ENDS[i]);
		ledger_end(&book, LEDGER_ACKNOWLEDGED); /* nothing is pending any more */
	}
	assert_int_equal(book.next, 4);
	assert_int_equal(book.unknown.n, 2);
	assert_int_equal(book.unknown.at[0], 1);
	assert_int_equal(book.unknown.at[1], 3);
	VEC_FREE(&book.unknown);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_a_crash_every_acknowledged_commit_is_found),
		cmocka_unit_test(a_crash_loses_nothing_that_was_committed_synchronously),
		cmocka_unit_test(what_a_crash_loses_of_asynchronous_commits_is_counted),
		cmocka_unit_test(a_book_counts_what_is_known_and_what_is_not),
	};
	return cmocka_run_group_tests(tests, start_server, stop_server);
}
