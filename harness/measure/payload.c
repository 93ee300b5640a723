/* Payloads. Outer: cookie, length, a zlib stream. Inner: a header of 40 bytes, then counts as ZigZag LEB128 with runs of zeros
 * as negative numbers. All integers are big-endian. */
#include "measure/payload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* The low byte of a cookie holds the word size of older encodings (0x10 stands for "variable") and is masked out. */
#define COOKIE_RAW UINT32_C(0x1c849303)
#define COOKIE_PACKED UINT32_C(0x1c849304)
#define COOKIE_WORD UINT32_C(0x10)
#define COOKIE_MASK (~UINT32_C(0xf0))

#define PACKED_HEADER 8
#define RAW_HEADER 40
#define LEB_MAX 9 /* HdrHistogram's variant: the ninth byte holds eight bits, so 64 bits need no tenth */

/* Counts for any 64-bit range at three digits; a longer one is not from a writer that we could read. */
#define RAW_MAX (RAW_HEADER + LEB_MAX * 54 * HIST_HALF)

static void put_u32(unsigned char *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void put_u64(unsigned char *p, uint64_t v)
{
	put_u32(p, (uint32_t)(v >> 32));
	put_u32(p + 4, (uint32_t)v);
}

static uint32_t get_u32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static uint64_t get_u64(const unsigned char *p)
{
	return (uint64_t)get_u32(p) << 32 | get_u32(p + 4);
}

/* Writes at most LEB_MAX bytes; returns how many. */
static size_t put_leb(unsigned char *p, int64_t value)
{
	uint64_t v = (uint64_t)value << 1 ^ (value < 0 ? UINT64_MAX : 0);
	size_t n = 0;
	while (n < LEB_MAX - 1 && v >= 0x80) {
		p[n++] = (unsigned char)(v | 0x80);
		v >>= 7;
	}
	p[n++] = (unsigned char)v;
	return n;
}

/* Reads one number; returns the bytes used, or 0 when the n bytes end within it. */
static size_t get_leb(const unsigned char *p, size_t n, int64_t *value)
{
	uint64_t v = 0;
	for (size_t i = 0; i < n && i < LEB_MAX; i++) {
		bool last = i == LEB_MAX - 1 || (p[i] & 0x80) == 0;
		v |= (uint64_t)(i == LEB_MAX - 1 ? p[i] : p[i] & 0x7f) << (7 * i);
		if (last) {
			*value = (int64_t)(v >> 1 ^ (0 - (v & 1)));
			return i + 1;
		}
	}
	return 0;
}

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void add_base64(struct buf *out, const unsigned char *p, size_t n)
{
	char *to = buf_reserve(out, (n + 2) / 3 * 4);
	if (to == NULL)
		return;
	char *start = to;
	for (; n > 0; p += 3) {
		size_t k = n < 3 ? n : 3;
		uint32_t v = (uint32_t)p[0] << 16 | (k > 1 ? (uint32_t)p[1] << 8 : 0) | (k > 2 ? p[2] : 0);
		*to++ = BASE64[v >> 18];
		*to++ = BASE64[v >> 12 & 63];
		*to++ = k > 1 ? BASE64[v >> 6 & 63] : '=';
		*to++ = k > 2 ? BASE64[v & 63] : '=';
		n -= k;
	}
	*to = '\0';
	out->len += (size_t)(to - start);
}

/* 0..63, or -1 for what is no digit. */
static int base64_digit(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes len characters into out, which must hold len / 4 * 3 bytes; false for anything but padded base64. */
static bool get_base64(const char *text, size_t len, unsigned char *out, size_t *n)
{
	*n = 0;
	if (len == 0 || len % 4 != 0)
		return false;
	for (size_t i = 0; i < len; i += 4) {
		size_t pad = 0;
		if (i + 4 == len)
			pad = text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
		uint32_t v = 0;
		for (size_t j = 0; j < 4; j++) {
			int digit = j < 4 - pad ? base64_digit(text[i + j]) : 0;
			if (digit < 0)
				return false;
			v = v << 6 | (uint32_t)digit;
		}
		for (size_t j = 0; j < 3 - pad; j++)
			out[(*n)++] = (unsigned char)(v >> (16 - 8 * j));
	}
	return true;
}

static size_t put_counts(unsigned char *p, const struct hist *h)
{
	size_t n = 0;
	int64_t zeros = h->total == 0 ? 1 : h->first;
	for (uint32_t i = h->first; i <= h->last; i++) {
		if (h->counts[i] == 0) {
			zeros++;
			continue;
		}
		if (zeros > 0)
			n += put_leb(p + n, -zeros);
		zeros = 0;
		n += put_leb(p + n, h->counts[i] > INT64_MAX ? INT64_MAX : (int64_t)h->counts[i]);
	}
	if (zeros > 0) /* an empty one: a single zero, as other writers have it */
		n += put_leb(p + n, -zeros);
	return n;
}

static void put_header(unsigned char *p, size_t counts_len)
{
	const double ratio = 1.0; /* "integer to double value conversion": ours are integers */
	uint64_t ratio_bits;
	memcpy(&ratio_bits, &ratio, sizeof ratio_bits);
	put_u32(p, COOKIE_RAW | COOKIE_WORD);
	put_u32(p + 4, (uint32_t)counts_len);
	put_u32(p + 8, 0); /* normalising offset */
	put_u32(p + 12, HIST_DIGITS);
	put_u64(p + 16, 1);
	put_u64(p + 24, (uint64_t)HIST_HIGHEST_NS);
	put_u64(p + 32, ratio_bits);
}

enum status payload_encode(const struct hist *h, struct buf *out, struct error *err)
{
	/* A run of zeros is always followed by a count but for the empty one, so a number a slot and one more are enough. */
	size_t used = h->total == 0 ? 0 : h->last - h->first + 1;
	size_t raw_max = RAW_HEADER + LEB_MAX * (used + 1);
	size_t packed_max = PACKED_HEADER + compressBound((uLong)raw_max);
	unsigned char *raw = malloc(raw_max);
	unsigned char *packed = malloc(packed_max);
	enum status st = ST_OK;
	if (raw == NULL || packed == NULL) {
		st = error_set(err, ST_FAILED, "no memory to write a histogram");
		goto done;
	}
	size_t counts_len = put_counts(raw + RAW_HEADER, h);
	put_header(raw, counts_len);
	uLongf stream_len = (uLongf)(packed_max - PACKED_HEADER);
	if (compress(packed + PACKED_HEADER, &stream_len, raw, (uLong)(RAW_HEADER + counts_len)) != Z_OK) {
		st = error_set(err, ST_FAILED, "no memory to compress a histogram");
		goto done;
	}
	put_u32(packed, COOKIE_PACKED | COOKIE_WORD);
	put_u32(packed + 4, (uint32_t)stream_len);
	add_base64(out, packed, PACKED_HEADER + stream_len);
done:
	free(raw);
	free(packed);
	return st;
}

enum status payload_scratch_init(struct payload_scratch *s, size_t text_max, struct error *err)
{
	s->packed_max = text_max / 4 * 3;
	s->packed = malloc(s->packed_max + 1);
	s->raw = malloc(RAW_MAX);
	if (s->packed != NULL && s->raw != NULL)
		return ST_OK;
	payload_scratch_free(s);
	return error_set(err, ST_FAILED, "no memory to read histograms");
}

void payload_scratch_free(struct payload_scratch *s)
{
	free(s->packed);
	free(s->raw);
	*s = (struct payload_scratch){0};
}

static enum status check_header(const unsigned char *p, struct error *err)
{
	double ratio;
	uint64_t ratio_bits = get_u64(p + 32);
	memcpy(&ratio, &ratio_bits, sizeof ratio);
	if ((get_u32(p) & COOKIE_MASK) != COOKIE_RAW) {
		error_set(err, ST_FAILED, "the histogram's encoding 0x%08" PRIx32 " is not known", get_u32(p));
		error_hint(err, "V2 encodings of HdrHistogram can be read");
		return ST_FAILED;
	}
	if (get_u32(p + 12) != HIST_DIGITS || get_u64(p + 16) != 1) {
		error_set(err, ST_FAILED, "the histogram has %" PRIu32 " significant digits from a lowest value of %" PRIu64,
			get_u32(p + 12), get_u64(p + 16));
		error_hint(err, "histograms of %d digits from a lowest value of 1 can be read", HIST_DIGITS);
		return ST_FAILED;
	}
	if (get_u32(p + 8) != 0 || !(ratio >= 1.0 && ratio <= 1.0))
		return error_set(err, ST_FAILED, "the histogram is shifted or holds scaled values, which cannot be read");
	return ST_OK;
}

static enum status get_counts(const unsigned char *p, size_t n, struct hist *h, struct error *err)
{
	uint64_t slot = 0;
	while (n > 0) {
		int64_t value;
		size_t used = get_leb(p, n, &value);
		if (used == 0)
			return error_set(err, ST_FAILED, "the histogram's counts end within a number");
		p += used;
		n -= used;
		if (value <= 0) {
			uint64_t run = value == 0 ? 1 : 0 - (uint64_t)value;
			slot = run < HIST_SLOTS - slot ? slot + run : HIST_SLOTS;
			continue;
		}
		if (slot >= HIST_SLOTS)
			return error_set(err, ST_FAILED, "the histogram holds values above %" PRId64, HIST_HIGHEST_NS);
		if ((uint64_t)value > (uint64_t)INT64_MAX - h->total)
			return error_set(err, ST_FAILED, "the histogram counts more values than fit into 63 bits");
		uint32_t i = (uint32_t)slot++;
		h->counts[i] = (uint64_t)value;
		h->total += (uint64_t)value;
		h->sum_ns += (double)value * ((double)hist_slot_low(i) + (double)hist_slot_high(i)) / 2;
		if (i < h->first)
			h->first = i;
		h->last = i;
	}
	if (h->total > 0) {
		h->min_ns = hist_slot_low(h->first);
		h->max_ns = hist_slot_high(h->last);
	}
	return ST_OK;
}

enum status payload_decode(struct payload_scratch *s, const char *text, size_t len, struct hist *h, struct error *err)
{
	hist_clear(h);
	size_t packed_len;
	if (len / 4 * 3 > s->packed_max || !get_base64(text, len, s->packed, &packed_len))
		return error_set(err, ST_FAILED, "the histogram is not base64");
	if (packed_len < PACKED_HEADER || (get_u32(s->packed) & COOKIE_MASK) != COOKIE_PACKED)
		return error_set(err, ST_FAILED, "the histogram is not in HdrHistogram's V2 compressed encoding");
	uint32_t stream_len = get_u32(s->packed + 4);
	if (stream_len > packed_len - PACKED_HEADER)
		return error_set(err, ST_FAILED, "the histogram is cut short: %" PRIu32 " bytes announced, %zu there", stream_len,
			packed_len - PACKED_HEADER);
	uLongf raw_len = RAW_MAX;
	if (uncompress(s->raw, &raw_len, s->packed + PACKED_HEADER, stream_len) != Z_OK)
		return error_set(err, ST_FAILED, "the histogram cannot be decompressed to at most %d bytes", RAW_MAX);
	if (raw_len < RAW_HEADER || get_u32(s->raw + 4) > raw_len - RAW_HEADER)
		return error_set(err, ST_FAILED, "the histogram's header does not match its length");
	enum status st = check_header(s->raw, err);
	if (st == ST_OK)
		st = get_counts(s->raw + RAW_HEADER, get_u32(s->raw + 4), h, err);
	if (st != ST_OK)
		hist_clear(h);
	return st;
}
