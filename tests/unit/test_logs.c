/* Log readers: csvlog, jsonlog and stderr of several versions and settings, and what logs on real disks look like. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "logs.h"
#include "replay/log_parse.h"

#include <malloc.h>
#include <zlib.h>
#include <zstd.h>

/* A csvlog line of version 12 (23 columns) up to 17 (26). */
#define CSV(time, sid, line, ps, rest) \
	"2026-11-21 13:51:" time " UTC,\"bob\",\"shop\",8000,\"[local]\"," sid "," line ",\"" ps "\",2026-11-21 13:51:00 UTC,3/7,0," rest
#define TAIL ",,,,,,,,,\"psql\",\"client backend\",,0\n"
#define S1 "6b01a1c8.1f40"
#define S2 "6b01a1c9.1f41"

static void expect(const char *log, enum log_format format, const char *prefix, const char *expected)
{
	struct taken t;
	struct error err;
	if (take_log(log, strlen(log), format, prefix, &t, &err) != ST_OK)
		fail_msg("%s", err.what);
	assert_string_equal(t.text.data, expected);
	assert_true(loss_adds_up(&t.loss));
	buf_free(&t.text);
}

static struct loss losses(const char *log, size_t n, enum log_format format, const char *prefix)
{
	struct taken t;
	struct error err;
	if (take_log(log, n, format, prefix, &t, &err) != ST_OK)
		fail_msg("%s", err.what);
	assert_true(loss_adds_up(&t.loss));
	buf_free(&t.text);
	return t.loss;
}

static void csvlog_with_text_at_arrival_and_bare_durations(void **state)
{
	(void)state;
	expect(CSV("10.000", S1, "1", "idle", "LOG,00000,\"statement: SELECT \"\"a\"\",\n 'x';\"" TAIL) /* */
		CSV("10.005", S1, "2", "SELECT", "LOG,00000,\"duration: 4.321 ms\"" TAIL)               /* */
		CSV("10.010", S1, "3", "PARSE", "LOG,00000,\"duration: 0.100 ms\"" TAIL)                /* */
		CSV("10.010", S1, "4", "BIND", "LOG,00000,\"duration: 0.200 ms\"" TAIL)                 /* */
		CSV("10.010", S1, "5", "SELECT",
			"LOG,00000,\"execute p1: SELECT $1, $2, $3\",\"Parameters: $1 = 'it''s', $2 = NULL, $3 = '7'\",,,,,,,,\"\",\"client "
			"backend\",,0\n") CSV("10.012", S1, "6", "SELECT", "LOG,00000,\"duration: 1.000 ms\"" TAIL),
		LOG_FORMAT_GUESS, NULL,
		"session 0 bob@shop\nconnect 0\n"
		"simple 0 +6000.000 4.321 00000 |SELECT \"a\",\n 'x';\n"
		"execute 0 +6009.000 1.300 00000 p1|SELECT $1, $2, $3|'it's'|NULL|'7'\n");
}

static void csvlog_with_text_and_duration_at_the_end(void **state)
{
	(void)state;
	expect(CSV("10.010", S1, "1", "SELECT", "LOG,00000,\"duration: 4.000 ms  statement: SELECT 1\"" TAIL)        /* */
		CSV("10.020", S1, "2", "PARSE", "LOG,00000,\"duration: 0.500 ms  parse <unnamed>: SELECT $1\"" TAIL) /* */
		CSV("10.021", S1, "3", "BIND",
			"LOG,00000,\"duration: 0.500 ms  bind <unnamed>: SELECT $1\",\"parameters: $1 = '5'\",,,,,,,,\"\"\n") /* */
		CSV("10.022", S1, "4", "SELECT",
			"LOG,00000,\"duration: 1.000 ms  execute <unnamed>/c1: SELECT $1\",\"parameters: $1 = '5'\",,,,,,,,\"\"\n") /* */
		CSV("10.030", S1, "5", "SELECT",
			"LOG,00000,\"duration: 1.000 ms  execute fetch from <unnamed>/c1: SELECT $1\",\"parameters: $1 = '5'\",,,,,,,,\"\"\n"),
		LOG_FORMAT_CSV, NULL,
		"session 0 bob@shop\nconnect 0\n"
		"simple 0 +6006.000 4.000 00000 |SELECT 1\n"
		"execute 0 +6020.000 2.000 00000 /c1|SELECT $1|'5'\n"
		"fetch 0 +6029.000 1.000 00000 /c1|SELECT $1|'5'\n");
}

static void errors_belong_to_their_statement_or_tell_it(void **state)
{
	(void)state;
	expect(CSV("10.000", S1, "1", "idle", "LOG,00000,\"statement: SELECT 1/0\"" TAIL)                                              /* */
		CSV("10.002", S1, "2", "SELECT", "ERROR,22012,\"division by zero\",,,,,,\"SELECT 1/0\",,,\"psql\"\n")                  /* */
		CSV("10.003", S1, "3", "idle", "ERROR,42601,\"syntax error at or near \"\"SELEC\"\"\",,,,,,\"SELEC 1\",1,,\"psql\"\n") /* */
		CSV("10.004", S1, "4", "idle", "LOG,00000,\"statement: SELECT pg_sleep(9)\"" TAIL)                                     /* */
		CSV("10.009", S1, "5", "SELECT",
			"FATAL,57P01,\"terminating connection due to administrator command\",,,,,,\"SELECT pg_sleep(9)\",,,\"psql\"\n"),
		LOG_FORMAT_CSV, NULL,
		"session 0 bob@shop\nconnect 0\n"
		"simple 0 +6000.000 2.000 22012 |SELECT 1/0\n"
		"simple 0 +6003.000 - 42601 |SELEC 1\n"
		"simple 0 +6004.000 5.000 57P01 |SELECT pg_sleep(9)\n"
		"disconnect 0\n");
}

static void a_record_that_was_cut_off_costs_no_other(void **state)
{
	(void)state;
	struct loss loss;
	static const char LOG[] = CSV("10.000", S1, "1", "idle", "LOG,00000,\"statement: SELECT 1\"" TAIL) /* */
		"2026-11-21 13:51:10.001 UTC,\"bob\",\"shop\",8000,\"[local]\",6b01a1c8.1f40,2,\"idle\",2026-11-21 13:51:00 UTC,3/7,0,LOG,00000,\"statement: SEL\n" /* */
		CSV("10.002", S1, "3", "idle", "LOG,00000,\"statement: SELECT 3\"" TAIL) "sh: somebody else's words\n" /* */
		CSV("10.003", S1, "4", "idle", "LOG,00000,\"statement: SELECT 4\"" TAIL)
			CSV("10.004", S1, "9", "idle", "LOG,00000,\"statement: SELECT 5\"" TAIL) /* */
		"2026-11-21 13:51:11";
	expect(LOG, LOG_FORMAT_CSV, NULL,
		"session 0 bob@shop\nconnect 0\nsimple 0 +6000.000 - 00000 |SELECT 1\nsimple 0 +6002.000 - 00000 |SELECT 3\n"
		"simple 0 +6003.000 - 00000 |SELECT 4\nsimple 0 +6004.000 - 00000 |SELECT 5\n");
	loss = losses(LOG, sizeof LOG - 1, LOG_FORMAT_CSV, NULL);
	assert_int_equal(loss.rows[LOSS_BROKEN].messages, 3);
	assert_int_equal(loss.lines, 7);
	assert_int_equal(loss.missing, 5); /* 2, which was cut off, and 5 to 8 */
}

static void jsonlog_says_the_same(void **state)
{
	(void)state;
#define JSON(time, line, ps, rest)                                                                                                \
	"{\"timestamp\":\"2026-11-21 13:51:" time " CET\",\"user\":\"bob\",\"dbname\":\"shop\",\"pid\":8000,\"session_id\":\"" S1 \
	"\",\"line_num\":" line ",\"ps\":\"" ps "\",\"error_severity\":\"" rest ",\"backend_type\":\"client backend\",\"query_id\":0}\n"
	expect(JSON("10.000", "1", "idle", "LOG\",\"message\":\"statement: SELECT \\\"a\\\",\\n\\t'\\\\x' \\u0001\"")                /* */
		JSON("10.005", "2", "SELECT", "LOG\",\"message\":\"duration: 4.321 ms\"")                                            /* */
		JSON("10.006", "3", "SELECT", "LOG\",\"message\":\"execute p1: SELECT $1\",\"detail\":\"Parameters: $1 = 'it''s'\"") /* */
		"{\"timestamp\":\"2026-11-21 13:51:10.0\n"                                                                           /* */
		JSON("10.008", "4", "SELECT",
			"ERROR\",\"state_code\":\"22012\",\"message\":\"division by zero\",\"statement\":\"SELECT $1\""),
		LOG_FORMAT_GUESS, NULL,
		"session 0 bob@shop\nconnect 0\n"
		"simple 0 +0.000 4.321 00000 |SELECT \"a\",\n\t'\\x' \001\n"
		"execute 0 +6.000 2.000 22012 p1|SELECT $1|'it's'\n");
}

static void stderr_lines_go_on_behind_tabs_and_others_write_between(void **state)
{
	(void)state;
	expect("2026-11-21 13:51:10.000 CET [8000] bob@shop LOG:  statement: SELECT 1,\n"
	       "some library complains\n"
	       "\t2,\n"
	       "\t\t3\n"
	       "2026-11-21 13:51:10.001 CET [8001] LOG:  checkpoint starting: time\n"
	       "2026-11-21 13:51:10.004 CET [8000] bob@shop LOG:  duration: 3.500 ms\n"
	       "2026-11-21 13:51:10.010 CET [8000] bob@shop LOG:  execute s: SELECT $1\n"
	       "another one\n"
	       "2026-11-21 13:51:10.010 CET [8000] bob@shop DETAIL:  Parameters: $1 = 'two\n"
	       "\tlines'\n"
	       "2026-11-21 13:51:10.020 CET [8000] bob@shop ERROR:  division by zero\n"
	       "2026-11-21 13:51:10.020 CET [8000] bob@shop STATEMENT:  SELECT $1\n",
		LOG_FORMAT_GUESS, NULL,
		"session 0 bob@shop\nconnect 0\n"
		"simple 0 +0.000 3.500 00000 |SELECT 1,\n2,\n\t3\n"
		"execute 0 +10.000 10.000 ????? s|SELECT $1|'two\nlines'\n");
}

static void a_client_that_went_away_is_no_error(void **state)
{
	(void)state;
	expect("2026-11-21 13:51:10.000 CET [8000] bob@shop LOG:  statement: SELECT 1\n"
	       "2026-11-21 13:51:10.001 CET [8000] bob@shop LOG:  could not send data to client: Broken pipe\n"
	       "2026-11-21 13:51:10.001 CET [8000] bob@shop STATEMENT:  SELECT 1\n"
	       "2026-11-21 13:51:10.002 CET [8000] bob@shop FATAL:  connection to client lost\n"
	       "2026-11-21 13:51:10.002 CET [8000] bob@shop STATEMENT:  SELECT 1\n",
		LOG_FORMAT_GUESS, NULL, "session 0 bob@shop\nconnect 0\nsimple 0 +0.000 - 00000 |SELECT 1\ndisconnect 0\n");
}

static void any_prefix_is_read(void **state)
{
	(void)state;
	static const struct {
		const char *prefix, *line;
	} CASES[] = {
		{"%m|%u|%d|%c|", "2026-11-21 13:51:10.000 UTC|bob|shop|" S1 "|LOG:  statement: SELECT 1\n"},
		{"%t:%r:%u@%d:[%p]:", "2026-11-21 13:51:10 UTC:10.0.0.1(5432):bob@shop:[8000]:LOG:  statement: SELECT 1\n"},
		{"%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
			"2026-11-21 13:51:10 UTC [8000]: [3-1] user=bob,db=shop,app=my app, really,client=::1 LOG:  statement: SELECT 1\n"},
		{"%n %p %-10u %d %e %Q %v %x %b ",
			"1795269070.123 8000 bob        shop 00000 -77 3/12 0 client backend LOG:  00000: statement: SELECT 1\n"},
		{"<%m %p %q%u@%d/%a> ", "<2026-11-21 13:51:10.000 -03 8000 bob@shop/x> LOG:  statement: SELECT 1\n"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++)
		expect(CASES[i].line, LOG_FORMAT_STDERR, CASES[i].prefix,
			strstr(CASES[i].prefix, "%c") != NULL ? "session 0 bob@shop\nconnect 0\nsimple 0 +6000.000 - 00000 |SELECT 1\n"
							      : "session 0 bob@shop\nconnect 0\nsimple 0 +0.000 - 00000 |SELECT 1\n");
}

static void columns_are_counted_by_version(void **state)
{
	(void)state;
	expect(CSV("10.000", S1, "1", "idle", "LOG,00000,\"statement: SELECT 12\",,,,,,,,,\"psql\"\n")                           /* */
		CSV("10.001", S1, "2", "idle", "LOG,00000,\"statement: SELECT 13\",,,,,,,,,\"psql\",\"client backend\"\n")       /* */
		CSV("10.002", S1, "3", "idle", "LOG,00000,\"statement: SELECT 14\",,,,,,,,,\"psql\",\"client backend\",,-123\n") /* */
		CSV("10.003", S1, "4", "idle", "LOG,00000,\"statement: SELECT 99\",,,,,,,,,\"psql\",\"client backend\",,-123,\"new\"\n"),
		LOG_FORMAT_GUESS, NULL,
		"session 0 bob@shop\nconnect 0\nsimple 0 +6000.000 - 00000 |SELECT 12\nsimple 0 +6001.000 - 00000 |SELECT 13\n"
		"simple 0 +6002.000 - 00000 |SELECT 14\nsimple 0 +6003.000 - 00000 |SELECT 99\n");
}

static void what_cannot_be_replayed_is_counted_with_its_time(void **state)
{
	(void)state;
	static const char LOG[] = CSV(
		"10.000", S1, "1", "idle", "LOG,00000,\"duration: 3.000 ms  statement: copy t FROM stdin\"" TAIL) /* */
		CSV("10.001", S1, "2", "idle",
			"LOG,00000,\"duration: 1.000 ms  fastpath function call: \"\"lo_open\"\" (OID 952)\"" TAIL) /* */
		CSV("10.002", S1, "3", "SELECT", "LOG,00000,\"duration: 2.000 ms\"" TAIL)                           /* */
		CSV("10.003", S1, "4", "SELECT", "LOG,00000,\"duration: 2.000 ms  execute p: SELECT $1\"" TAIL)     /* */
		CSV("10.004", S1, "5", "SELECT", "LOG,00000,\"duration: 2.000 ms  plan:\nQuery Text: x\"" TAIL)     /* */
		CSV("10.005", S1, "6", "SELECT", "PROTOKOLL,00000,\"Kesto: 2.000 ms\"" TAIL)                        /* */
		CSV("10.006", S1, "7", "SELECT", "LOG,00000,\"duration: 8.000 ms  statement: SELECT 1\"" TAIL);
	struct loss loss = losses(LOG, sizeof LOG - 1, LOG_FORMAT_CSV, NULL);
	assert_int_equal(loss.rows[LOSS_COPY].busy_ns, 3000000);
	assert_int_equal(loss.rows[LOSS_FASTPATH].busy_ns, 1000000);
	assert_int_equal(loss.rows[LOSS_DURATION].busy_ns, 2000000);
	assert_int_equal(loss.rows[LOSS_PARAMS].busy_ns, 2000000);
	assert_int_equal(loss.rows[LOSS_TELLING].lines, 2);
	assert_int_equal(loss.rows[LOSS_LANGUAGE].messages, 1);
	assert_int_equal(loss_busy_kept_ns(&loss), 8000000);
	assert_int_equal(loss.rows[LOSS_LANGUAGE].busy_ns, 2000000);
	assert_int_equal(loss_busy_lost_ns(&loss), 10000000);
}

static void two_sessions_of_one_pid_are_two(void **state)
{
	(void)state;
	expect("2026-11-21 13:51:10.000 UTC [8000] [unknown]@[unknown] LOG:  connection received: host=[local]\n"
	       "2026-11-21 13:51:10.000 UTC [8000] bob@shop LOG:  connection authorized: user=bob database=shop application_name=psql\n"
	       "2026-11-21 13:51:10.001 UTC [8000] bob@shop LOG:  statement: SELECT 1\n"
	       "2026-11-21 13:51:10.002 UTC [8000] bob@shop LOG:  disconnection: session time: 0:00:00.002 user=bob database=shop host=[local]\n"
	       "2026-11-21 13:51:11.000 UTC [8000] [unknown]@[unknown] LOG:  connection received: host=[local]\n"
	       "2026-11-21 13:51:11.000 UTC [8000] eve@shop LOG:  connection authorized: user=eve database=shop application_name=psql\n"
	       "2026-11-21 13:51:11.001 UTC [8000] eve@shop LOG:  statement: SELECT 2\n",
		LOG_FORMAT_GUESS, NULL,
		"session 0 bob@shop\nconnect 0\nsimple 0 +1.000 - 00000 |SELECT 1\ndisconnect 0\n"
		"session 1 eve@shop\nconnect 1\nsimple 1 +1001.000 - 00000 |SELECT 2\n");
}

static void packed_logs_are_read_and_truncated_ones_to_their_end(void **state)
{
	(void)state;
	static const char LINE[] = CSV("10.000", S1, "0", "idle", "LOG,00000,\"statement: SELECT 1\"" TAIL);
	struct buf log;
	buf_init(&log, (size_t)8 << 20);
	for (int i = 0; i < 20000; i++)
		buf_str(&log, LINE);
	size_t room = compressBound(log.len) + 64;
	unsigned char *packed = malloc(room);
	assert_non_null(packed);
	z_stream z = {0};
	assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (unsigned char *)log.data;
	z.avail_in = (unsigned)log.len;
	z.next_out = packed;
	z.avail_out = (unsigned)room;
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	size_t gzip_n = room - z.avail_out;
	deflateEnd(&z);
	struct loss loss = losses((char *)packed, gzip_n, LOG_FORMAT_GUESS, NULL);
	assert_int_equal(loss.rows[LOSS_STATEMENT].messages, 20000);
	loss = losses((char *)packed, gzip_n / 2, LOG_FORMAT_GUESS, NULL);
	assert_in_range(loss.rows[LOSS_STATEMENT].messages, 1000, 19999);
	assert_int_equal(loss.rows[LOSS_FILE].messages, 1);
	size_t zstd_n = ZSTD_compress(packed, room, log.data, log.len, 1);
	assert_false(ZSTD_isError(zstd_n));
	loss = losses((char *)packed, zstd_n, LOG_FORMAT_GUESS, NULL);
	assert_int_equal(loss.rows[LOSS_STATEMENT].messages, 20000);
	loss = losses((char *)packed, zstd_n - 1, LOG_FORMAT_GUESS, NULL);
	assert_int_equal(loss.rows[LOSS_FILE].messages, 1);
	free(packed);
	buf_free(&log);
}

static void a_line_of_a_gigabyte_would_cost_16_megabytes(void **state)
{
	(void)state;
	size_t n = (LOG_RECORD_MAX)*2 + 1000;
	char *log = malloc(n);
	assert_non_null(log);
	static const char BEFORE[] = CSV("10.000", S1, "0", "idle", "LOG,00000,\"statement: SELECT 1\"" TAIL);
	static const char LONG[] = CSV("10.001", S1, "2", "idle", "LOG,00000,\"statement: SELECT '");
	memset(log, 'x', n);
	memcpy(log, BEFORE, sizeof BEFORE - 1);
	memcpy(log + sizeof BEFORE - 1, LONG, sizeof LONG - 1);
	log[n - sizeof BEFORE] = '\n';
	memcpy(log + n - sizeof BEFORE + 1, BEFORE, sizeof BEFORE - 1);
	struct loss loss = losses(log, n, LOG_FORMAT_CSV, NULL);
	assert_int_equal(loss.rows[LOSS_STATEMENT].messages, 2);
	assert_int_equal(loss.rows[LOSS_LONG].messages, 1);
	free(log);
}

static void times_are_read_with_their_zone(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		int64_t ms;
	} CASES[] = {
		{"1970-01-01 00:00:00.001 UTC", 1},
		{"2024-02-29 23:59:59.999 GMT", 1709251199999},
		{"2026-11-21 13:51:10.500 CET", 1795265470500},
		{"2026-11-21 13:51:10 -03", 1795279870000},
		{"2026-11-21 13:51:10 +05:30", 1795249270000},
	};
	struct log_clock clock = {0};
	size_t used;
	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
		assert_int_equal(log_clock_read(&clock, CASES[i].text, strlen(CASES[i].text), &used), CASES[i].ms * 1000000);
		assert_int_equal(used, strlen(CASES[i].text));
	}
	assert_true(log_clock_read(&clock, "2026-13-21 13:51:10 UTC", 23, &used) == INT64_MIN);
	assert_false(clock.unknown_zone);
	(void)log_clock_read(&clock, "2026-11-21 13:51:10 XYZT", 24, &used);
	assert_string_equal(clock.unknown_name, "XYZT");
}

/* Lines of PostgreSQL 15 in German, French and others. */
static void statements_told_in_the_languages_of_postgresql_are_read(void **state)
{
	(void)state;
	static const char GERMAN[] = CSV("10.000", S1, "1", "authentication",
		"LOG,00000,\"Verbindung autorisiert: Benutzer=bob Datenbank=shop application_name=psql\"" TAIL)                   /* */
		CSV("10.001", S1, "2", "idle", "LOG,00000,\"Anweisung: begin\"" TAIL)                                             /* */
		CSV("10.002", S1, "3", "BEGIN", "LOG,00000,\"Dauer: 0.050 ms\"" TAIL)                                             /* */
		CSV("10.003", S1, "4", "SELECT", "LOG,00000,\"Ausführen P0_1: SELECT $1\",\"Parameter: $1 = '5'\",,,,,,,,\"\"\n") /* */
		CSV("10.004", S1, "5", "SELECT", "LOG,00000,\"Dauer: 0.450 ms  Anweisung: SELECT 1\"" TAIL)                       /* */
		CSV("10.005", S1, "6", "idle", "LOG,00000,\"Anweisung: SELECT 1/0\"" TAIL)                                        /* */
		CSV("10.006", S1, "7", "SELECT", "FEHLER,22012,\"Division durch Null\",,,,,,\"SELECT 1/0\",,,\"psql\"\n")         /* */
		CSV("10.007", S1, "8", "idle", "LOG,00000,\"Verbindungsende: Sitzungszeit: 0:00:00.022 Benutzer=bob Datenbank=shop\"" TAIL);
	struct taken t;
	struct error err;
	assert_int_equal(take_log(GERMAN, sizeof GERMAN - 1, LOG_FORMAT_CSV, NULL, &t, &err), ST_OK);
	assert_string_equal(t.text.data,
		"session 0 bob@shop\nconnect 0\nsimple 0 +1.000 0.050 00000 |begin\nexecute 0 +3.000 - 00000 P0_1|SELECT $1|'5'\n"
		"simple 0 +3.550 0.450 00000 |SELECT 1\nsimple 0 +5.000 1.000 22012 |SELECT 1/0\ndisconnect 0\n");
	assert_int_equal(t.loss.rows[LOSS_LANGUAGE].messages, 0);
	buf_free(&t.text);
	static const char FRENCH[] = "2026-11-21 17:59:13.667 UTC|bob|shop|" S1 "|3|00000|psql|LOG:  instruction : drop table t\n"
				     "2026-11-21 17:59:13.668 UTC|bob|shop|" S1 "|4|00000|psql|LOG:  durée : 0.481 ms\n"
				     "2026-11-21 17:59:13.669 UTC|bob|shop|" S1
				     "|5|00000|psql|LOG:  durée : 0.1 ms, analyse P0_2 : UPDATE t SET a = $1\n"
				     "2026-11-21 17:59:13.669 UTC|bob|shop|" S1 "|6|00000|psql|LOG:  exécute P0_2: UPDATE t SET a = $1\n"
				     "2026-11-21 17:59:13.669 UTC|bob|shop|" S1 "|7|00000|psql|DÉTAIL:  paramètres : $1 = '3'\n"
				     "2026-11-21 17:59:13.670 UTC|bob|shop|" S1 "|8|22012|psql|ERREUR:  division par zéro\n"
				     "2026-11-21 17:59:13.670 UTC|bob|shop|" S1 "|9|22012|psql|INSTRUCTION :  SELECT 1/0\n";
	assert_int_equal(take_log(FRENCH, sizeof FRENCH - 1, LOG_FORMAT_STDERR, "%m|%u|%d|%c|%l|%e|%a|", &t, &err), ST_OK);
	assert_non_null(strstr(t.text.data, " 0.481 00000 |drop table t\n"));
	assert_non_null(strstr(t.text.data, "00000 P0_2|UPDATE t SET a = $1|'3'\n"));
	assert_non_null(strstr(t.text.data, "22012 |SELECT 1/0\n"));
	buf_free(&t.text);
	static const char MANY[] = CSV("10.000", S1, "1", "SELECT", "LOG,00000,\"продолжительность: 0.450 мс, оператор: SELECT 1\"" TAIL)
		CSV("10.001", S1, "2", "PARSE", "LOG,00000,\"실행시간: 0.100 ms  p 구문분석: SELECT 2\"" TAIL)
			CSV("10.001", S1, "3", "SELECT", "LOG,00000,\"执行时间: 0.250 ms 执行p: SELECT 2\"" TAIL)
				CSV("10.009", S1, "4", "SELECT", "LOG,00000,\"期間: 3.000 ミリ秒  文: SELECT 3\"" TAIL);
	assert_int_equal(take_log(MANY, sizeof MANY - 1, LOG_FORMAT_CSV, NULL, &t, &err), ST_OK);
	assert_non_null(strstr(t.text.data, " 0.450 00000 |SELECT 1\n"));
	assert_non_null(strstr(t.text.data, "00000 p|SELECT 2\n"));
	assert_non_null(strstr(t.text.data, " 3.000 00000 |SELECT 3\n"));
	buf_free(&t.text);
}

static void statements_told_in_another_language_are_named(void **state)
{
	(void)state;
	static const char FINNISH[] = CSV("10.001", S1, "1", "idle", "LOG,00000,\"lauseke: begin\"" TAIL) /* */
		CSV("10.002", S1, "2", "BEGIN", "LOG,00000,\"kesto: 0.050 ms\"" TAIL)                     /* */
		CSV("10.004", S1, "3", "SELECT", "LOG,00000,\"kesto: 0.450 ms  lauseke: SELECT 1\"" TAIL) /* */
		CSV("10.006", S1, "4", "SELECT", "VIRHE,22012,\"jako nollalla\",,,,,,\"SELECT 1/0\",,,\"psql\"\n");
	struct loss loss = losses(FINNISH, sizeof FINNISH - 1, LOG_FORMAT_CSV, NULL);
	assert_int_equal(loss.rows[LOSS_LANGUAGE].messages, 3);
	assert_int_equal(loss.rows[LOSS_LANGUAGE].busy_ns, 500000);
	/* The server's word for it is another, the SQLSTATE says the same. */
	assert_int_equal(loss.rows[LOSS_ERROR].messages, 1);
}

static void a_log_that_is_read_twice_counts_once(void **state)
{
	(void)state;
#define ONCE                                                                                                                              \
	CSV("10.000", S1, "1", "idle", "LOG,00000,\"statement: SELECT 1\"" TAIL)                                                          \
	CSV("10.001", S2, "1", "idle", "LOG,00000,\"statement: SELECT 2\"" TAIL)                                                          \
	CSV("10.002", S1, "2", "idle", "LOG,00000,\"disconnection: session time: 0:00:00.002 user=bob database=shop host=[local]\"" TAIL) \
	CSV("10.003", S2, "2", "SELECT", "LOG,00000,\"duration: 2.000 ms\"" TAIL)
	expect(ONCE ONCE CSV("10.004", S2, "3", "idle", "LOG,00000,\"statement: SELECT 3\"" TAIL), LOG_FORMAT_CSV, NULL,
		"session 0 bob@shop\nconnect 0\nsession 1 bob@shop\nconnect 1\n"
		"simple 0 +6000.000 - 00000 |SELECT 1\ndisconnect 0\n"
		"simple 1 +6001.000 2.000 00000 |SELECT 2\n"
		"simple 1 +6004.000 - 00000 |SELECT 3\n");
	struct loss loss = losses(ONCE ONCE, sizeof ONCE ONCE - 1, LOG_FORMAT_CSV, NULL);
	assert_int_equal(loss.rows[LOSS_REPEATED].messages, 4);
	assert_int_equal(loss.missing, 0);
}

static void the_clock_may_step_back_amid_a_statement(void **state)
{
	(void)state;
	static const char LOG[] = CSV("10.000", S1, "1", "idle", "LOG,00000,\"statement: SELECT 1\"" TAIL) /* */
		CSV("02.000", S1, "2", "SELECT", "LOG,00000,\"duration: 3.000 ms\"" TAIL)                  /* */
		CSV("02.500", S1, "3", "idle", "LOG,00000,\"statement: SELECT 2\"" TAIL)                   /* */
		CSV("01.000", S1, "4", "SELECT", "ERROR,22012,\"division by zero\",,,,,,\"SELECT 2\",,,\"psql\"\n");
	expect(LOG, LOG_FORMAT_CSV, NULL,
		"session 0 bob@shop\nconnect 0\nsimple 0 +6000.000 3.000 00000 |SELECT 1\nsimple 0 +-1500.000 0.000 22012 |SELECT 2\n");
	struct loss loss = losses(LOG, sizeof LOG - 1, LOG_FORMAT_CSV, NULL);
	assert_int_equal(loss.steps_back, 2);
}

static void parts_of_a_message_have_numbers_of_their_own_in_stderr(void **state)
{
	(void)state;
	static const char LOG[] = "2026-11-21 17:59:13.667 UTC|bob|shop|" S1 "|3|00000|psql|LOG:  execute p: SELECT $1\n"
				  "2026-11-21 17:59:13.667 UTC|bob|shop|" S1 "|4|00000|psql|DETAIL:  parameters: $1 = '3'\n"
				  "2026-11-21 17:59:13.668 UTC|bob|shop|" S1 "|5|00000|psql|LOG:  duration: 0.481 ms\n"
				  "2026-11-21 17:59:13.668 UTC|bob|shop|" S1 "|7|00000|psql|LOG:  statement: COMMIT\n";
	struct loss loss = losses(LOG, sizeof LOG - 1, LOG_FORMAT_STDERR, "%m|%u|%d|%c|%l|%e|%a|");
	assert_int_equal(loss.missing, 1); /* 6 */
	assert_int_equal(loss.rows[LOSS_REPEATED].messages, 0);
}

/* As PostgreSQL 15 logs what node-postgres sends. */
static void what_fails_before_it_runs_is_there_as_far_as_it_came(void **state)
{
	(void)state;
	static const char LOG[] = CSV("10.000", S1, "1", "BIND",
		"ERROR,22012,\"division by zero\",,,,,\"unnamed portal with parameters: $1 = '0'\",\"SELECT 1 / $1::int\",,,\"driver\",\"client backend\",,0\n") /* */
		CSV("10.001", S1, "2", "PARSE",
			"ERROR,42703,\"column \"\"nothing\"\" does not exist\",,,,,,\"SELECT nothing FROM things WHERE id = $1\",8,,\"driver\"\n") /* */
		CSV("10.002", S1, "3", "PARSE",
			"ERROR,25P02,\"current transaction is aborted\",,,,,,\"SELECT $1::int\",,,\"driver\"\n") /* */
		CSV("10.003", S1, "4", "BIND", "ERROR,22012,\"division by zero\",,,,,,\"SELECT 2 / $1::int\",,,\"driver\"\n");
	expect(LOG, LOG_FORMAT_CSV, NULL,
		"session 0 bob@shop\nconnect 0\n"
		"execute 0 +6000.000 - 22012 |SELECT 1 / $1::int|'0'\n"
		"execute 0 +6001.000 - 42703 |SELECT nothing FROM things WHERE id = $1\n"
		"execute 0 +6002.000 - 25P02 |SELECT $1::int\n");
	struct loss loss = losses(LOG, sizeof LOG - 1, LOG_FORMAT_CSV, NULL);
	assert_int_equal(loss.rows[LOSS_PARAMS].messages, 1);
}

static void a_carriage_return_belongs_to_the_text_unless_all_lines_have_one(void **state)
{
	(void)state;
	expect("2026-11-21 13:51:10.000 UTC [8000] bob@shop LOG:  statement: SELECT 'a\r\n\tb'\n"
	       "2026-11-21 13:51:10.001 UTC [8000] bob@shop LOG:  duration: 0.100 ms\n",
		LOG_FORMAT_GUESS, NULL, "session 0 bob@shop\nconnect 0\nsimple 0 +0.000 0.100 00000 |SELECT 'a\r\nb'\n");
	expect("2026-11-21 13:51:10.000 UTC [8000] bob@shop LOG:  statement: SELECT 'a\r\n\tb'\r\n"
	       "2026-11-21 13:51:10.001 UTC [8000] bob@shop LOG:  duration: 0.100 ms\r\n",
		LOG_FORMAT_GUESS, NULL, "session 0 bob@shop\nconnect 0\nsimple 0 +0.000 0.100 00000 |SELECT 'a\nb'\n");
}

static void garbage_is_counted(void **state)
{
	(void)state;
	static const char LOG[] =
		"2026-11-21 13:51:10.000 UTC [8000] bob@shop LOG:  statement: SELECT 1\n\0\1\2\377\376\n\n\tx\nDETAIL:  \n";
	struct loss loss = losses(LOG, sizeof LOG - 1, LOG_FORMAT_GUESS, NULL);
	assert_int_equal(loss.lines, 5);
	struct taken t;
	struct error err;
	assert_int_equal(take_log("hello\nworld\n", 12, LOG_FORMAT_GUESS, NULL, &t, &err), ST_USAGE);
	buf_free(&t.text);
}

#ifndef __SANITIZE_ADDRESS__ /* whose malloc tells nothing */
static void ignore_session(const struct captured_session *s, void *arg)
{
	(void)s, (void)arg;
}

static void ignore_event(const struct captured *c, void *arg)
{
	(void)c, (void)arg;
}

static size_t allocated(void)
{
	struct mallinfo2 all = mallinfo2();
	return all.uordblks + all.hblkhd;
}

static void what_a_session_said_once_takes_no_memory(void **state)
{
	(void)state;
	enum { SESSIONS = 64, BYTES = 1 << 20 };
	char *sql = malloc(BYTES + 1);
	assert_non_null(sql);
	memset(sql, 'x', BYTES);
	sql[snprintf(sql, BYTES, "statement: SELECT '")] = 'x';
	struct assembler *a = assemble_create(&(struct assemble_sink){ignore_session, ignore_event, NULL});
	size_t before = allocated();
	for (uint64_t i = 1; i <= SESSIONS; i++) {
		struct log_entry e = {
			.severity = LOG_SEVERITY_LOG, .time_ns = INT64_C(1795269070) * NS_PER_S, .session = i << 32 | 7, .lines = 1};
		e.message = (struct log_text){sql, BYTES};
		assemble_entry(a, &e);
		e.message = log_text_of("duration: 1.000 ms");
		assemble_entry(a, &e);
	}
	assert_int_equal(assemble_loss(a)->rows[LOSS_STATEMENT].messages, SESSIONS);
	assert_in_range(allocated() - before, 0, 4 << 20);
	assemble_free(a);
	free(sql);
}
#endif

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(csvlog_with_text_at_arrival_and_bare_durations),
		cmocka_unit_test(csvlog_with_text_and_duration_at_the_end),
		cmocka_unit_test(errors_belong_to_their_statement_or_tell_it),
		cmocka_unit_test(a_record_that_was_cut_off_costs_no_other),
		cmocka_unit_test(jsonlog_says_the_same),
		cmocka_unit_test(stderr_lines_go_on_behind_tabs_and_others_write_between),
		cmocka_unit_test(a_client_that_went_away_is_no_error),
		cmocka_unit_test(any_prefix_is_read),
		cmocka_unit_test(columns_are_counted_by_version),
		cmocka_unit_test(what_cannot_be_replayed_is_counted_with_its_time),
		cmocka_unit_test(two_sessions_of_one_pid_are_two),
		cmocka_unit_test(packed_logs_are_read_and_truncated_ones_to_their_end),
		cmocka_unit_test(a_line_of_a_gigabyte_would_cost_16_megabytes),
		cmocka_unit_test(times_are_read_with_their_zone),
		cmocka_unit_test(statements_told_in_the_languages_of_postgresql_are_read),
		cmocka_unit_test(statements_told_in_another_language_are_named),
		cmocka_unit_test(a_log_that_is_read_twice_counts_once),
		cmocka_unit_test(the_clock_may_step_back_amid_a_statement),
		cmocka_unit_test(parts_of_a_message_have_numbers_of_their_own_in_stderr),
		cmocka_unit_test(what_fails_before_it_runs_is_there_as_far_as_it_came),
		cmocka_unit_test(a_carriage_return_belongs_to_the_text_unless_all_lines_have_one),
		cmocka_unit_test(garbage_is_counted),
#ifndef __SANITIZE_ADDRESS__
		cmocka_unit_test(what_a_session_said_once_takes_no_memory),
#endif
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
