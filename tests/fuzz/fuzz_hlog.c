/* libFuzzer target: histogram logs. The first byte chooses how deep the rest goes in: a whole log, a payload within its compression
 * (which random changes would not get past), or counts behind a good header. */
#define _GNU_SOURCE
#include "measure/hlog.h"
#include "measure/payload.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

/* What every histogram keeps, wherever it comes from. */
static void check_hist(const struct hist *h)
{
	struct hist_iter it = {0};
	struct hist_bucket b = {0};
	while (hist_next(h, &it, &b))
		require(b.count > 0 && b.low >= 0 && b.high <= HIST_HIGHEST_NS);
	require(b.cumulative == hist_count(h));
	require(hist_min(h) <= hist_quantile(h, 0.5) && hist_quantile(h, 0.5) <= hist_quantile(h, 0.99));
	require(hist_quantile(h, 0.99) <= hist_max(h) && hist_count_above(h, hist_max(h)) == 0);
	require(h->saturated <= hist_count(h));
}

static void read_log(const uint8_t *data, size_t size)
{
	FILE *file = fmemopen((void *)data, size, "r");
	struct hlog_reader *r;
	struct hlog_line line;
	struct error err;
	if (file == NULL || hlog_open_stream(file, "fuzz", &r, &err) != ST_OK)
		return;
	for (size_t calls = 0;; calls++) {
		require(calls <= size + 1); /* each call moves on */
		if (hlog_next(r, &line, &err) != ST_OK)
			continue;
		if (line.hist == NULL)
			break;
		require(line.tag != NULL && line.start_ns >= 0 && line.end_ns >= line.start_ns);
		check_hist(line.hist);
	}
	hlog_close(r);
}

static void put_u32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* Base64 of {cookie, length, zlib stream} around raw. */
static void wrap(const unsigned char *raw, size_t size, struct buf *out)
{
	static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uLongf stream_len = compressBound((uLong)size);
	unsigned char *packed = calloc(1, 8 + stream_len + 3);
	require(packed != NULL && compress2(packed + 8, &stream_len, raw, (uLong)size, 1) == Z_OK);
	put_u32(packed, UINT32_C(0x1c849314));
	put_u32(packed + 4, (uint32_t)stream_len);
	for (size_t i = 0; i < 8 + stream_len; i += 3) {
		uint32_t v = (uint32_t)packed[i] << 16 | (uint32_t)packed[i + 1] << 8 | packed[i + 2];
		for (int shift = 18; shift >= 0; shift -= 6)
			buf_char(out, DIGITS[v >> shift & 63]);
	}
	free(packed);
}

static void read_payload(const unsigned char *raw, size_t size)
{
	static struct payload_scratch scratch;
	static struct hist *h, *again;
	struct error err;
	if (h == NULL) {
		h = hist_create();
		again = hist_create();
		require(h != NULL && again != NULL && payload_scratch_init(&scratch, HLOG_LINE_MAX, &err) == ST_OK);
	}
	struct buf text;
	buf_init(&text, HLOG_LINE_MAX);
	wrap(raw, size, &text);
	bool good = !text.overflow && payload_decode(&scratch, text.data, text.len, h, &err) == ST_OK;
	check_hist(h);
	if (good) { /* and what was read can be written and read again */
		buf_clear(&text);
		require(payload_encode(h, &text, &err) == ST_OK && !text.overflow);
		require(payload_decode(&scratch, text.data, text.len, again, &err) == ST_OK);
		require(memcmp(h->counts, again->counts, sizeof h->counts) == 0);
	} else {
		require(hist_count(h) == 0);
	}
	buf_free(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned char HEADER[40] = {
		0x1c, 0x84, 0x93, 0x13, [15] = 3, [23] = 1, [26] = 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 0xf0};
	if (size < 2)
		return 0;
	if (data[0] == 0) {
		read_payload(data + 1, size - 1);
	} else if (data[0] == 1) {
		unsigned char *raw = malloc(sizeof HEADER + size - 1);
		require(raw != NULL);
		memcpy(raw, HEADER, sizeof HEADER);
		put_u32(raw + 4, (uint32_t)(size - 1));
		memcpy(raw + sizeof HEADER, data + 1, size - 1);
		read_payload(raw, sizeof HEADER + size - 1);
		free(raw);
	} else {
		read_log(data, size);
	}
	return 0;
}
