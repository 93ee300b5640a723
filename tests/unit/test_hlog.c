/* measure/hlog: what is written comes back, a cut log gives all its whole lines, and a hostile one harms nobody. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "measure/hlog.h"
#include "measure/payload.h"

#include <unistd.h>

static struct hlog_reader *reader_of(const char *text, size_t len)
{
	FILE *file = tmpfile();
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, len, file), len);
	rewind(file);
	struct hlog_reader *r;
	struct error err;
	assert_int_equal(hlog_open_stream(file, "test.hlog", &r, &err), ST_OK);
	return r;
}

static void assert_ends(struct hlog_reader *r)
{
	struct hlog_line line;
	struct error err;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(hlog_next(r, &line, &err), ST_OK);
		assert_null(line.hist);
	}
}

static void assert_same_counts(const struct hist *a, const struct hist *b)
{
	assert_int_equal(hist_count(a), hist_count(b));
	assert_int_equal(hist_max(a), hist_max(b));
	assert_memory_equal(a->counts, b->counts, sizeof a->counts);
}

static struct buf log_of(const struct hist *h, const char *tag, int lines)
{
	struct buf b;
	struct error err;
	buf_init(&b, 64 << 20);
	hlog_format_header(&b, INT64_C(1795243818123456789));
	for (int i = 0; i < lines; i++)
		assert_int_equal(hlog_format_line(&b, tag, i * NS_PER_S + 1, (i + 1) * NS_PER_S, h, &err), ST_OK);
	return b;
}

static void round_trip(const struct hist *h)
{
	struct buf b = log_of(h, "checkout/v1/response/ok", 2);
	struct hlog_reader *r = reader_of(b.data, b.len);
	struct hlog_line line;
	struct error err;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(hlog_next(r, &line, &err), ST_OK);
		assert_non_null(line.hist);
		assert_string_equal(line.tag, "checkout/v1/response/ok");
		assert_int_equal(line.start_ns, i * NS_PER_S + 1);
		assert_int_equal(line.end_ns, (i + 1) * NS_PER_S);
		assert_same_counts(h, line.hist);
		if (hist_count(h) > 0)
			assert_true(hist_mean(line.hist) >= hist_mean(h) * 0.999 && hist_mean(line.hist) <= hist_mean(h) * 1.001);
	}
	assert_ends(r);
	assert_int_equal(hlog_start_wall_ns(r), INT64_C(1795243818123000000));
	hlog_close(r);
	buf_free(&b);
}

static void what_is_written_comes_back(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	round_trip(h); /* empty */
	hist_record(h, 0);
	round_trip(h);
	hist_clear(h);
	hist_record(h, 123456789);
	round_trip(h);
	for (int64_t v = 1; v < HIST_HIGHEST_NS / 2; v = v * 5 / 4 + 1) {
		for (int i = 0; i < 1 + v % 300; i++)
			hist_record(h, v);
	}
	round_trip(h);
	hist_record(h, HIST_HIGHEST_NS);
	round_trip(h);
	hist_free(h);
}

static void even_a_histogram_with_every_slot_in_use_comes_back(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	uint64_t x = 1;
	for (uint32_t slot = 0; slot < HIST_SLOTS; slot++) {
		hist_record(h, hist_slot_low(slot));
		x ^= x << 13, x ^= x >> 7, x ^= x << 17; /* noise: compresses as badly as anything can */
		h->counts[slot] += x >> 18;
		h->total += x >> 18;
		h->sum_ns += (double)(x >> 18) * (double)hist_slot_low(slot);
	}
	round_trip(h);
	hist_free(h);
}

static void the_largest_count_comes_back(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	hist_record(h, 5);
	h->counts[5] = h->total = INT64_MAX;
	h->sum_ns = 5.0 * (double)INT64_MAX;
	round_trip(h);
	hist_free(h);
}

static void an_exact_maximum_survives_even_out_of_range(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	hist_record(h, HIST_HIGHEST_NS + 12345);
	struct buf b = log_of(h, "", 1);
	struct hlog_reader *r = reader_of(b.data, b.len);
	struct hlog_line line;
	struct error err;
	assert_int_equal(hlog_next(r, &line, &err), ST_OK);
	assert_string_equal(line.tag, "");
	assert_int_equal(hist_max(line.hist), HIST_HIGHEST_NS + 12345);
	assert_int_equal(line.hist->saturated, 1);
	hlog_close(r);
	buf_free(&b);
	hist_free(h);
}

static void a_log_cut_at_any_byte_gives_its_whole_lines(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	for (int64_t v = 1000; v < 40000; v += 77)
		hist_record(h, v * v);
	struct buf b = log_of(h, "total/response/ok", 3);
	for (size_t cut = 0; cut <= b.len; cut += cut < 300 || cut + 300 > b.len ? 1 : 13) {
		struct hlog_reader *r = reader_of(b.data, cut);
		struct hlog_line line;
		struct error err;
		int lines = 0, whole = -3; /* less the three lines of the header */
		for (size_t i = 0; i < cut; i++)
			whole += b.data[i] == '\n';
		for (;;) {
			assert_int_equal(hlog_next(r, &line, &err), ST_OK);
			if (line.hist == NULL)
				break;
			assert_same_counts(h, line.hist);
			lines++;
		}
		/* A line that lacks nothing but its end is whole too. */
		if (cut < b.len && b.data[cut] == '\n' && whole >= 0)
			whole++;
		assert_int_equal(lines, whole < 0 ? 0 : whole);
		hlog_close(r);
	}
	buf_free(&b);
	hist_free(h);
}

static void bad_lines_are_named_and_the_next_one_read(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	hist_record(h, 42);
	struct buf b = log_of(h, "a", 1);
	static const char *const BAD[] = {"Tag=b,1.0,1.0,0.1,AAAA\n", "Tag=b\n", "1.0\n", "1.0,1.0\n", "1.0,1.0,1.0\n", "nonsense\n",
		"9999999999,1.0,1,\n", "-1.0,1.0,1.0,\n"};
	size_t bad = sizeof BAD / sizeof BAD[0];
	for (size_t i = 0; i < bad; i++)
		buf_str(&b, BAD[i]);
	struct error err;
	assert_int_equal(hlog_format_line(&b, "c", 0, 1, h, &err), ST_OK);
	struct hlog_reader *r = reader_of(b.data, b.len);
	struct hlog_line line;
	assert_int_equal(hlog_next(r, &line, &err), ST_OK);
	assert_string_equal(line.tag, "a");
	for (size_t i = 0; i < bad; i++) {
		char where[32];
		snprintf(where, sizeof where, "test.hlog:%zu", 5 + i);
		assert_int_equal(hlog_next(r, &line, &err), ST_FAILED);
		assert_null(line.hist);
		assert_string_equal(err.where, where);
	}
	assert_int_equal(hlog_next(r, &line, &err), ST_OK);
	assert_string_equal(line.tag, "c");
	assert_ends(r);
	hlog_close(r);
	buf_free(&b);
	hist_free(h);
}

static void a_line_without_end_is_refused_not_swallowed(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	hist_record(h, 42);
	struct buf b;
	struct error err;
	buf_init(&b, 4 << 20);
	for (size_t i = 0; i < HLOG_LINE_MAX + 1000; i++)
		buf_char(&b, '1');
	buf_char(&b, '\n');
	assert_int_equal(hlog_format_line(&b, "after", 0, 1, h, &err), ST_OK);
	struct hlog_reader *r = reader_of(b.data, b.len);
	struct hlog_line line;
	assert_int_equal(hlog_next(r, &line, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "longer than"));
	assert_int_equal(hlog_next(r, &line, &err), ST_OK);
	assert_string_equal(line.tag, "after");
	hlog_close(r);
	buf_free(&b);
	hist_free(h);
}

static void a_tag_that_would_break_the_line_is_refused(void **state)
{
	(void)state;
	static const char *const BAD[] = {"a,b", "a b", "a\nb", "\t"};
	struct hist *h = hist_create();
	struct buf b;
	struct error err;
	buf_init(&b, 1000);
	for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++)
		assert_int_equal(hlog_format_line(&b, BAD[i], 0, 1, h, &err), ST_USAGE);
	assert_int_equal(hlog_format_line(&b, "a", 2, 1, h, &err), ST_USAGE);
	assert_int_equal(b.len, 0);
	hist_free(h);
}

static void a_line_that_does_not_fit_is_left_out_whole(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	struct buf b;
	struct error err;
	buf_init(&b, 60);
	buf_str(&b, "before\n");
	assert_int_equal(hlog_format_line(&b, "a", 0, 1, h, &err), ST_FAILED);
	assert_string_equal(b.data, "before\n");
	buf_free(&b);
	hist_free(h);
}

static void payloads_of_other_makes_are_refused_by_name(void **state)
{
	(void)state;
	/* Made by HdrHistogram's Python port: digits 2, then lowest 1000. */
	static const char *const OTHER[] = {"HISTFAAAACN4nJNpmSzMwMDAxAABMJqRgYHZzWDHAgb7DxCBYCYAV6IEoQ==",
		"HISTFAAAACR4nJNpmSzMwMDAzAABUJr5BRC7GexYwGD/ASKymJEJAG++Bd4="};
	struct payload_scratch s;
	struct hist *h = hist_create();
	struct error err;
	assert_int_equal(payload_scratch_init(&s, 4096, &err), ST_OK);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(payload_decode(&s, OTHER[i], strlen(OTHER[i]), h, &err), ST_FAILED);
		assert_non_null(strstr(err.what, "significant digits"));
		assert_non_null(strstr(err.hint, "3 digits"));
		assert_int_equal(hist_count(h), 0);
	}
	payload_scratch_free(&s);
	hist_free(h);
}

static void a_payload_of_another_writer_is_read(void **state)
{
	(void)state;
	/* HdrHistogram's Python port, 1 to one hour in nanoseconds, 3 digits: 1, 2047, 2048, 1000000 three times, 3600000000000. */
	static const char OURS[] = "HISTFAAAAC54nJNpmSzMwMDAxwABzFCaEch0M9ixgMH+A1SA6ac8E9P+Pka2y7eZmACqFQh+";
	struct payload_scratch s;
	struct hist *h = hist_create(), *expected = hist_create();
	struct error err;
	assert_int_equal(payload_scratch_init(&s, 4096, &err), ST_OK);
	assert_int_equal(payload_decode(&s, OURS, strlen(OURS), h, &err), ST_OK);
	static const int64_t V[] = {1, 2047, 2048, 1000000, 1000000, 1000000, INT64_C(3600000000000)};
	for (size_t i = 0; i < sizeof V / sizeof V[0]; i++)
		hist_record(expected, V[i]);
	assert_int_equal(hist_count(h), 7);
	assert_memory_equal(h->counts, expected->counts, sizeof h->counts);
	payload_scratch_free(&s);
	hist_free(h);
	hist_free(expected);
}

static void a_flipped_bit_never_leaves_a_broken_histogram(void **state)
{
	(void)state;
	struct hist *h = hist_create();
	for (int64_t v = 1; v < 100000000; v = v * 3 / 2 + 1)
		hist_record(h, v);
	struct buf b;
	struct error err;
	struct payload_scratch s;
	buf_init(&b, HLOG_LINE_MAX);
	assert_int_equal(payload_encode(h, &b, &err), ST_OK);
	assert_int_equal(payload_scratch_init(&s, HLOG_LINE_MAX, &err), ST_OK);
	for (size_t bit = 0; bit < b.len * 8; bit++) {
		b.data[bit / 8] = (char)(b.data[bit / 8] ^ 1 << bit % 8);
		if (payload_decode(&s, b.data, b.len, h, &err) == ST_OK) {
			struct hist_iter it = {0};
			struct hist_bucket bucket = {0};
			while (hist_next(h, &it, &bucket))
				;
			assert_int_equal(bucket.cumulative, hist_count(h));
		} else {
			assert_int_equal(hist_count(h), 0);
		}
		b.data[bit / 8] = (char)(b.data[bit / 8] ^ 1 << bit % 8);
	}
	payload_scratch_free(&s);
	buf_free(&b);
	hist_free(h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_comes_back),
		cmocka_unit_test(even_a_histogram_with_every_slot_in_use_comes_back),
		cmocka_unit_test(the_largest_count_comes_back),
		cmocka_unit_test(an_exact_maximum_survives_even_out_of_range),
		cmocka_unit_test(a_log_cut_at_any_byte_gives_its_whole_lines),
		cmocka_unit_test(bad_lines_are_named_and_the_next_one_read),
		cmocka_unit_test(a_line_without_end_is_refused_not_swallowed),
		cmocka_unit_test(a_tag_that_would_break_the_line_is_refused),
		cmocka_unit_test(a_line_that_does_not_fit_is_left_out_whole),
		cmocka_unit_test(payloads_of_other_makes_are_refused_by_name),
		cmocka_unit_test(a_payload_of_another_writer_is_read),
		cmocka_unit_test(a_flipped_bit_never_leaves_a_broken_histogram),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
