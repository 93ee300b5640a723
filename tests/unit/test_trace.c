/* Traces: what is written is read again in the order of arrival, cut off or damaged files do no harm, shapes keep every byte. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/fs.h"
#include "base/rng.h"
#include "replay/anonymize.h"
#include "replay/capture.h"
#include "replay/trace.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define START_NS (INT64_C(1795269070) * NS_PER_S)

static char path[64], other[80];

static struct log_text text(const char *s)
{
	return (struct log_text){(char *)(uintptr_t)s, strlen(s)};
}

static void add_session(struct trace_writer *w, uint32_t number, const char *user)
{
	struct captured_session s = {.number = number, .id = 7000 + number, .user = text(user), .database = text("shop")};
	trace_add_session(&s, w);
}

static struct captured statement(uint32_t session, int64_t at_ns, int64_t duration_ns, const char *sql)
{
	return (struct captured){.kind = CAPTURED_SIMPLE,
		.session = session,
		.arrival_ns = START_NS + at_ns,
		.duration_ns = duration_ns,
		.text = text(sql),
		.rows = -1,
		.sqlstate = "00000"};
}

static void finish(struct trace_writer *w)
{
	struct error err;
	json_t *meta = json_pack("{s:s}", "format", "test");
	if (trace_finish(w, meta, &err) != ST_OK)
		fail_msg("%s", err.what);
	json_decref(meta);
}

static struct trace_writer *begin(void)
{
	struct trace_writer *w;
	struct error err;
	if (trace_create(path, &w, &err) != ST_OK)
		fail_msg("%s", err.what);
	return w;
}

static struct trace *open_trace(const char *file)
{
	struct trace *t;
	struct error err;
	if (trace_open(file, &t, &err) != ST_OK)
		fail_msg("%s", err.what);
	return t;
}

static void everything_comes_back(void **state)
{
	(void)state;
	struct trace_writer *w = begin();
	add_session(w, 0, "bob");
	add_session(w, 1, "eve");
	struct captured c = {
		.kind = CAPTURED_CONNECT, .arrival_ns = START_NS, .duration_ns = -1, .rows = -1, .sqlstate = "00000", .no_end = true};
	trace_add_event(&c, w);
	struct param params[] = {
		{.value = text("it's")}, {.null = true}, {.value = text("-123456")}, {.value = text("007")}, {.value = text("")}};
	c = statement(1, 5 * NS_PER_MS, 1234 * NS_PER_US, "SELECT $1, $2, $3, $4, $5, 'x', 17");
	c.kind = CAPTURED_EXECUTE;
	c.name = text("S_1");
	c.portal = text("C_2");
	c.params = params;
	c.n_params = 5;
	c.from_end = true;
	c.rows = 3;
	trace_add_event(&c, w);
	c = statement(0, 9 * NS_PER_MS + 1, -1, "SELECT '\1' || 'x'");
	memcpy(c.sqlstate, "22012", 6);
	c.file = 2;
	c.line = 123456;
	trace_add_event(&c, w);
	finish(w);

	struct trace *t = open_trace(path);
	struct trace_event e;
	struct error err;
	struct buf sql;
	buf_init(&sql, 4096);
	assert_int_equal(trace_summary(t)->events, 3);
	assert_false(trace_summary(t)->cut_off);
	assert_non_null(trace_meta(t));
	assert_true(trace_next(t, &e, &err));
	assert_int_equal(e.kind, CAPTURED_CONNECT);
	assert_true(e.no_end);
	assert_string_equal(e.session->user, "bob");
	assert_true(trace_next(t, &e, &err));
	assert_int_equal(e.arrival_ns, START_NS + 5 * NS_PER_MS);
	assert_int_equal(e.duration_ns, 1234 * NS_PER_US);
	assert_string_equal(e.session->user, "eve");
	assert_string_equal(e.name, "S_1");
	assert_string_equal(e.portal, "C_2");
	assert_int_equal(e.rows, 3);
	assert_int_equal(e.n_params, 5);
	assert_true(e.params[1].null);
	for (int i = 0; i < 5; i++)
		if (i != 1)
			assert_memory_equal(e.params[i].value.at, params[i].value.at, params[i].value.n);
	assert_int_equal(e.params[3].value.n, 3);
	trace_event_text(&e, &sql);
	assert_string_equal(sql.data, "SELECT $1, $2, $3, $4, $5, 'x', 17");
	assert_true(e.shape->fingerprint != 0);
	assert_true(trace_next(t, &e, &err));
	buf_clear(&sql);
	trace_event_text(&e, &sql);
	assert_string_equal(sql.data, "SELECT '\1' || 'x'");
	assert_string_equal(e.sqlstate, "22012");
	assert_int_equal(e.file, 2);
	assert_int_equal(e.line, 123456);
	assert_int_equal(e.arrival_ns, START_NS + 9 * NS_PER_MS + 1);
	assert_int_equal(e.duration_ns, -1);
	assert_false(trace_next(t, &e, &err));
	assert_int_equal(err.status, ST_OK);
	trace_close(t);
	buf_free(&sql);
}

/* As a log tells them: by their end, so that a statement of minutes comes long after its arrival. */
static void write_many(int n)
{
	struct trace_writer *w = begin();
	struct rng rng = {.state = 7};
	char sql[64];
	for (uint32_t i = 0; i < 50; i++)
		add_session(w, i, "bob");
	for (int i = 0; i < n; i++) {
		int64_t duration_ns = (int64_t)(rng_next(&rng) % (i % 1000 == 0 ? 60000 : 50)) * NS_PER_MS;
		int64_t end_ns = 120 * NS_PER_S + i * NS_PER_MS;
		snprintf(sql, sizeof sql, "SELECT %d FROM t%d WHERE a = 'x%d'", i, i % 7, i % 13);
		struct captured c = statement((uint32_t)(rng_next(&rng) % 50), end_ns - duration_ns, duration_ns, sql);
		c.from_end = true;
		trace_add_event(&c, w);
	}
	finish(w);
}

static void events_come_by_arrival_whatever_their_order_in_the_log(void **state)
{
	(void)state;
	write_many(100000);
	struct trace *t = open_trace(path);
	struct trace_event e;
	struct error err;
	int64_t last_ns = 0, n = 0, sum = 0;
	assert_in_range(trace_summary(t)->blocks, 4, 6);
	while (trace_next(t, &e, &err)) {
		assert_true(e.arrival_ns >= last_ns);
		last_ns = e.arrival_ns;
		sum += strtoll(e.literals[0].value.at, NULL, 10);
		n++;
	}
	assert_int_equal(err.status, ST_OK);
	assert_int_equal(n, 100000);
	assert_int_equal(sum, INT64_C(100000) * 99999 / 2);
	trace_close(t);
	t = open_trace(path);
	trace_seek(t, START_NS + 170 * NS_PER_S);
	int64_t later = 0;
	while (trace_next(t, &e, &err)) {
		assert_true(e.arrival_ns >= START_NS + 170 * NS_PER_S);
		later++;
	}
	assert_in_range(later, 49800, 50100);
	trace_close(t);
}

static void a_trace_that_was_cut_off_is_read_up_to_there(void **state)
{
	(void)state;
	write_many(100000);
	struct trace_event e;
	struct error err;
	struct trace *t = open_trace(path);
	int64_t bytes = trace_summary(t)->bytes;
	trace_close(t);
	assert_int_equal(truncate(path, bytes * 2 / 3), 0);
	t = open_trace(path);
	assert_true(trace_summary(t)->cut_off);
	assert_null(trace_meta(t));
	int64_t n = 0;
	while (trace_next(t, &e, &err))
		n++;
	assert_int_equal(err.status, ST_OK);
	assert_in_range(n, 32768, 99999);
	trace_close(t);
}

static void damage_is_an_error_and_no_crash(void **state)
{
	(void)state;
	struct buf whole;
	struct error err;
	write_many(300);
	buf_init(&whole, (size_t)1 << 20);
	assert_int_equal(fs_read_file(path, &whole, &err), ST_OK);
	struct rng rng = {.state = 3};
	for (int i = 0; i < 400; i++) {
		size_t at = (size_t)(rng_next(&rng) % whole.len);
		char before = whole.data[at];
		whole.data[at] = (char)(before ^ (char)(1 << (rng_next(&rng) % 8)));
		assert_int_equal(fs_write_file(path, whole.data, whole.len, &err), ST_OK);
		whole.data[at] = before;
		struct trace *t;
		struct trace_event e;
		if (trace_open(path, &t, &err) != ST_OK)
			continue;
		while (trace_next(t, &e, &err))
			;
		trace_close(t);
	}
	buf_free(&whole);
}

static void a_shape_gives_its_text_back(void **state)
{
	(void)state;
	static const struct {
		const char *sql, *shape;
	} CASES[] = {
		{"SELECT 1", "SELECT \1"},
		{"SELECT a1, $2 FROM t_3 WHERE b = -1.5e-3 AND c = 'it''s'", "SELECT a1, $2 FROM t_3 WHERE b = -\1 AND c = '\1'"},
		{"SELECT E'a\\'b', '', \"x'1\", $$it's 1$$, $t$ 2 $t$", "SELECT E'\1', '\1', \"x'1\", $$it's 1$$, $t$ 2 $t$"},
		{"/* id=77 /* in */ */ SELECT .5 -- 9\n+ 0x1f", "/*\1*/ SELECT \1 --\1\n+ \1"},
		{"SELECT 'never closed", "SELECT '\1"},
		{"x'", "x'\1"},
		{"", ""},
		{"SELECT 1\1", "\1"},
	};
	struct shapes *s = shapes_create();
	struct buf out;
	buf_init(&out, 4096);
	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
		const struct log_text *literals;
		bool is_new;
		const struct shape *shape = shapes_find(s, CASES[i].sql, strlen(CASES[i].sql), &literals, &is_new);
		assert_string_equal(shape->text, CASES[i].shape);
		buf_clear(&out);
		shape_write(shape, literals, &out);
		assert_string_equal(out.data, CASES[i].sql);
		assert_true(is_new);
		const struct shape *again = shapes_find(s, CASES[i].sql, strlen(CASES[i].sql), &literals, &is_new);
		assert_ptr_equal(again, shape);
		assert_false(is_new);
	}
	buf_free(&out);
	shapes_free(s);
}

/* Texts of a few tokens, each time with one of them changed, so that most are compared with a shape that is nearly theirs. */
static void a_shape_is_the_same_whatever_came_before(void **state)
{
	(void)state;
	static const char *const TOKENS[] = {"SELECT ", "a", "5", ".5", "1e+5", "'x'", "'it''s'", "E'\\''", "-", "--", "\n", "/*", "*/",
		"\"q\"", "$1", "$$", "$t$", ".", " ", "=", "x5", "'", "\001", "é", ", 17"};
	enum { N_TOKENS = sizeof TOKENS / sizeof TOKENS[0] };
	struct shapes *all = shapes_create();
	struct rng rng = {7};
	struct buf text, back;
	buf_init(&text, 4096);
	buf_init(&back, 4096);
	size_t chosen[10] = {0};
	for (int i = 0; i < 8000; i++) {
		if (i % 8 == 0)
			for (size_t k = 0; k < 10; k++)
				chosen[k] = rng_next(&rng) % N_TOKENS;
		else
			chosen[rng_next(&rng) % 10] = rng_next(&rng) % N_TOKENS;
		buf_clear(&text);
		for (size_t k = 0; k < 10; k++)
			buf_str(&text, TOKENS[chosen[k]]);
		const struct log_text *literals;
		bool is_new;
		struct shapes *alone = shapes_create();
		const struct shape *expected = shapes_find(alone, text.data, text.len, &literals, &is_new);
		const struct shape *shape = shapes_find(all, text.data, text.len, &literals, &is_new);
		if (strcmp(shape->text, expected->text) != 0 || shape->fingerprint != expected->fingerprint)
			fail_msg("%s: shape %s instead of %s", text.data, shape->text, expected->text);
		buf_clear(&back);
		shape_write(shape, literals, &back);
		assert_string_equal(back.data, text.data);
		shapes_free(alone);
	}
	buf_free(&text);
	buf_free(&back);
	shapes_free(all);
}

static const char *anonymous(const struct anonymizer *a, const char *value)
{
	static char out[2][128];
	static int turn;
	char *to = out[turn ^= 1];
	memset(to, 0, sizeof out[0]);
	anonymize_value(a, value, strlen(value), to);
	assert_int_equal(strlen(to), strlen(value));
	return to;
}

static void anonymous_values_keep_their_type_and_their_joins(void **state)
{
	(void)state;
	static const char *const KEEP[] = {"active"};
	struct anonymizer *a = anonymize_create("s", KEEP, 1), *b = anonymize_create("other", KEEP, 1);
	assert_string_equal(anonymous(a, "active"), "active");
	assert_string_equal(anonymous(a, "true"), "true");
	assert_string_equal(anonymous(a, "30 days"), "30 days");
	assert_string_not_equal(anonymous(a, "bob@example.com"), "bob@example.com");
	assert_string_not_equal(anonymous(a, "secret"), anonymous(b, "secret"));
	/* The same word in a pattern and in a value. */
	assert_memory_equal(anonymous(a, "%example%") + 1, anonymous(a, "bob@example.com") + 4, 7);
	const char *json = anonymous(a, "{\"name\": \"Robert\", \"n\": 123}");
	assert_memory_equal(json, "{\"name\": \"", 10);
	assert_null(strstr(json, "Robert"));
	const char *uuid = anonymous(a, "6ba7b810-9dad-11d1-80b4-00c04fd430c8");
	assert_int_equal(strspn(uuid, "0123456789abcdef-"), 36);
	assert_memory_equal(anonymous(a, "2026-11-21 13:51:10.123"), "2026-11-", 8);
	/* No two numbers become one, and none leaves its type. */
	static bool seen[100000];
	memset(seen, 0, sizeof seen);
	for (int i = 10000; i < 100000; i++) {
		char digits[16];
		snprintf(digits, sizeof digits, "%d", i);
		long to = strtol(anonymous(a, digits), NULL, 10);
		assert_in_range(to, i < 32768 ? 10000 : 32768, i < 32768 ? 32767 : 99999);
		assert_false(seen[to]);
		seen[to] = true;
	}
	anonymize_free(a);
	anonymize_free(b);
}

/* 9 stands for a digit, h for a hexadecimal one. */
static bool fits_shape(const char *text, const char *shape)
{
	for (; *shape != '\0'; shape++, text++)
		if (*shape == '9'               ? !(*text >= '0' && *text <= '9')
				: *shape == 'h' ? strchr("0123456789abcdefABCDEF", *text) == NULL
						: *shape != *text)
			return false;
	return *text == '\0';
}

static void anonymous_values_are_still_of_their_type(void **state)
{
	(void)state;
	struct anonymizer *a = anonymize_create("s", NULL, 0);
	static const struct {
		const char *value, *shape;
	} CASES[] = {
		{"06 12 34 56 78", "99 99 99 99 99"},
		{"+49 170 12", "+99 999 99"},
		{"08:00:2b:01:02:03", "hh:hh:hh:hh:hh:hh"},
		{"08-00-2b-01-02-03", "hh-hh-hh-hh-hh-hh"},
		{"fe80::1:22/64", "hhhh::h:hh/64"},
		{"21.11.1985", "99.99.1985"},
		{"11/21/85", "99/99/99"},
		{"1985-11-21T13:51:10.25+02:30", "1985-11-99T99:99:99.99+02:30"},
		{"13:51:10Z", "99:99:99Z"},
		{"\\x48656c", "\\xhhhhhh"},
		{"192.168.0.10/24", "999.999.0.99/24"},
		{"1.2345e-05", "9.9999e-05"},
		{"0xFF3a", "0xhhhh"},
		{"{6ba7b810-9dad-11d1-80b4-00c04fd430c8}", "{hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh}"},
		{"{\"a\": 17, \"ab\": \"12 34\"}", "{\"a\": 17, \"ab\": \"99 99\"}"},
		{"{US,DE}", "{US,DE}"},
		{"9e107d9d372bb6826bd81d3542a419d6", "hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh"},
	};
	for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
		const char *to = anonymous(a, CASES[i].value);
		bool same = strcmp(to, CASES[i].value) == 0;
		if (!fits_shape(to, CASES[i].shape) || same != (strcmp(CASES[i].value, "{US,DE}") == 0))
			fail_msg("%s became %s", CASES[i].value, to);
	}
	/* Each part below 256, and the same one by the same one; dates and times that there are. */
	for (int i = 100; i < 256; i++) {
		char value[40];
		snprintf(value, sizeof value, "%d.10.9.%d", i, i);
		const char *to = anonymous(a, value);
		assert_in_range(strtol(to, NULL, 10), 100, 255);
		assert_memory_equal(strrchr(to, '.') + 1, to, 3);
		snprintf(value, sizeof value, "%02d/%02d/%d %02d:%02d", i % 12 + 1, i % 12 + 1, 1900 + i, i % 24, i % 60);
		to = anonymous(a, value);
		assert_true(fits_shape(to, "99/99/9999 99:99"));
		assert_in_range(strtol(to, NULL, 10), 1, 12);
		assert_in_range(strtol(to + 3, NULL, 10), 1, 12);
		assert_in_range(strtol(to + 11, NULL, 10), 0, 23);
		assert_in_range(strtol(to + 14, NULL, 10), 0, 59);
	}
	/* The same UUID wherever it stands, and in either case. */
	char uuid[40], inner[60];
	snprintf(uuid, sizeof uuid, "%s", anonymous(a, "6ba7b810-9dad-11d1-80b4-00c04fd430c8"));
	snprintf(inner, sizeof inner, "%s", anonymous(a, "{\"id\": \"6ba7b810-9dad-11d1-80b4-00c04fd430c8\"}"));
	assert_memory_equal(inner + 8, uuid, 36);
	assert_int_equal(strcasecmp(anonymous(a, "6BA7B810-9DAD-11D1-80B4-00C04FD430C8"), uuid), 0);
	anonymize_free(a);
}

static const char *anonymous_sql(struct anonymizer *a, const char *sql, const char *param, const char **param_out)
{
	static struct buf out;
	static char value[64];
	const struct log_text *found;
	struct param literals[32], params[1] = {{.value = text(param)}};
	bool is_new;
	struct shapes *shapes = shapes_create();
	const struct shape *s = shapes_find(shapes, sql, strlen(sql), &found, &is_new);
	struct trace_shape shape = {.literals = s->literals, .n = s->n, .text = s->text};
	for (uint32_t i = 0; i < s->literals; i++)
		literals[i] = (struct param){.value = found[i]};
	struct trace_event e = {.kind = CAPTURED_EXECUTE,
		.shape = &shape,
		.literals = literals,
		.n_literals = s->literals,
		.params = params,
		.n_params = 1};
	buf_free(&out);
	buf_init(&out, 4096);
	const struct param *p = anonymize_event(a, &e, &out);
	snprintf(value, sizeof value, "%.*s", (int)p->value.n, p->value.at);
	*param_out = value;
	shapes_free(shapes);
	return out.data;
}

static void the_servers_own_words_stay_and_values_do_not(void **state)
{
	(void)state;
	struct anonymizer *a = anonymize_create("s", NULL, 0);
	const char *param;
	static const char *const STAY[] = {"SELECT nextval('orders_id_seq'), pg_catalog.setval( 'orders_id_seq', 1)",
		"SELECT 'orders'::regclass", "SELECT now() AT TIME ZONE 'Europe/Berlin'", "SELECT to_char(at, 'YYYY-MM-DD HH24:MI')",
		"SELECT a -> 'items' ->> 'name' FROM t", "SELECT to_tsvector('english', body), to_tsquery('english'::regconfig, $1)",
		"SET search_path = 'shop', public", "SET statement_timeout TO '5000ms'; SELECT 1",
		"SELECT set_config('search_path', 'shop', true)", "SELECT date_trunc('decade', at)", "SHOW work_mem"};
	for (size_t i = 0; i < sizeof STAY / sizeof STAY[0]; i++)
		assert_string_equal(anonymous_sql(a, STAY[i], "secret", &param), STAY[i]);
	static const char *const GO[] = {"SELECT $$secret$$", "SELECT $t$a secret$t$ || 'x'",
		"set work_mem = '64MB'; UPDATE t SET a = 'secret'", "SET LOCAL app.user_email = 'secret'",
		"SET \"app\".\"mail\" TO 'secret'", "SET application_name = 'secret'", "SELECT set_config('app.mail', 'secret', true)",
		"SELECT to_tsvector('secret')", "SELECT to_char(at, 'YYYY'), 'secret'", "SELECT f(nextval('s'), 'secret')",
		"show all; SELECT 'secret'", "DO $$ BEGIN UPDATE t SET a = 'secret'; -- secret\nEND $$", "SELECT a ->> 'k' = 'secret'",
		"SELECT E'a\\nsecret'"};
	for (size_t i = 0; i < sizeof GO / sizeof GO[0]; i++)
		if (strstr(anonymous_sql(a, GO[i], "secret", &param), "secret") != NULL)
			fail_msg("%s became %s", GO[i], anonymous_sql(a, GO[i], "secret", &param));
	assert_memory_equal(
		anonymous_sql(a, "DO $$ BEGIN UPDATE t SET a = 'secret'; END $$", "", &param), "DO $$ BEGIN UPDATE t SET a = '", 30);
	assert_memory_equal(anonymous_sql(a, "SELECT E'a\\nsecret'", "", &param) + 10, "\\n", 2);
	(void)anonymous_sql(a, "SELECT a ->> $1", "secret", &param);
	assert_string_equal(param, "secret");
	(void)anonymous_sql(a, "SELECT a ->> $1 WHERE b = $1", "secret", &param);
	assert_string_not_equal(param, "secret");
	(void)anonymous_sql(a, "SELECT 1 WHERE b = $1", "secret", &param);
	assert_string_not_equal(param, "secret");
	anonymize_free(a);
}

static void a_part_of_a_trace_is_a_trace(void **state)
{
	(void)state;
	struct error err;
	int64_t kept;
	struct trace_event e;
	write_many(1000);
	struct trace *t = open_trace(path);
	int64_t first_ns = trace_summary(t)->first_ns, behind_ns = START_NS + 120 * NS_PER_S + 500 * NS_PER_MS - first_ns;
	trace_close(t);
	struct capture_filter filter = {.from_ns = behind_ns, .to_ns = behind_ns + 100 * NS_PER_MS, .read_only = true};
	assert_int_equal(capture_rewrite(path, other, &filter, NULL, NULL, &kept, &err), ST_OK);
	assert_in_range(kept, 90, 110);
	t = open_trace(other);
	assert_int_equal(trace_summary(t)->events, kept);
	assert_true(json_is_true(json_object_get(trace_meta(t), "part")));
	while (trace_next(t, &e, &err))
		assert_in_range(e.arrival_ns - first_ns, filter.from_ns, filter.to_ns - 1);
	trace_close(t);
	assert_true(capture_reads_only("SELECT 1; SHOW work_mem"));
	assert_false(capture_reads_only("SELECT 1 FOR UPDATE"));
	assert_false(capture_reads_only("DELETE FROM t"));
	assert_false(capture_reads_only("SELECT oops FROM"));
}

static void a_trace_takes_its_name_when_it_is_whole(void **state)
{
	(void)state;
	struct error err;
	int64_t kept;
	struct stat s;
	struct trace_writer *second;
	char part[100], link[100];
	snprintf(part, sizeof part, "%s.part", path);
	snprintf(link, sizeof link, "%s.link", path);
	write_many(1000);
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	assert_int_not_equal(access(part, F_OK), 0);
	/* One that is given up leaves what was there, and so does one whose input it is. */
	struct trace_writer *w = begin();
	add_session(w, 0, "bob");
	assert_int_equal(access(part, F_OK), 0);
	assert_int_equal(trace_create(path, &second, &err), ST_USAGE);
	trace_abandon(w);
	assert_int_not_equal(access(part, F_OK), 0);
	assert_int_equal(symlink(path, link), 0);
	assert_int_equal(capture_rewrite(path, link, &(struct capture_filter){0}, NULL, NULL, &kept, &err), ST_USAGE);
	struct trace *t = open_trace(path);
	assert_int_equal(trace_summary(t)->bytes, s.st_size);
	assert_false(trace_summary(t)->cut_off);
	trace_close(t);
	/* What a killed run has left is in nobody's way; a link stays one. */
	close(open(part, O_WRONLY | O_CREAT, 0644));
	assert_int_equal(trace_create(link, &w, &err), ST_OK);
	finish(w);
	assert_int_equal(lstat(link, &s), 0);
	assert_true(S_ISLNK(s.st_mode));
	assert_int_equal(stat(path, &s), 0);
	assert_int_equal(s.st_mode & 0777, 0600);
	unlink(link);
}

int main(void)
{
	snprintf(path, sizeof path, "/tmp/pgr-test-trace-%d", (int)getpid());
	snprintf(other, sizeof other, "%s.other", path);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_comes_back),
		cmocka_unit_test(events_come_by_arrival_whatever_their_order_in_the_log),
		cmocka_unit_test(a_trace_that_was_cut_off_is_read_up_to_there),
		cmocka_unit_test(damage_is_an_error_and_no_crash),
		cmocka_unit_test(a_shape_gives_its_text_back),
		cmocka_unit_test(a_shape_is_the_same_whatever_came_before),
		cmocka_unit_test(anonymous_values_keep_their_type_and_their_joins),
		cmocka_unit_test(anonymous_values_are_still_of_their_type),
		cmocka_unit_test(the_servers_own_words_stay_and_values_do_not),
		cmocka_unit_test(a_part_of_a_trace_is_a_trace),
		cmocka_unit_test(a_trace_takes_its_name_when_it_is_whole),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	unlink(other);
	return failed;
}
