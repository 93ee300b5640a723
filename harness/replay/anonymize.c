/* Numbers go through a keyed permutation of those of their length, so that unique keys stay unique; letters are drawn from a generator that
 * a keyed hash of their word seeds. */
#define _GNU_SOURCE
#include "replay/anonymize.h"

#include "base/rng.h"
#include "base/sha256.h"
#include "base/vec.h"

#include <stdlib.h>
#include <strings.h>

#define KEPT_BYTES 2 /* flags, codes, page sizes: nobody is told from these */
#define DIGITS_MAX 18

struct anonymizer {
	char key[SHA256_HEX_SIZE];
	uint64_t number_key;
	const char *const *keep;
	size_t n_keep;
	VEC(struct param) params;
	struct buf values;
};

/* What the server reads as words, in dates, intervals, booleans and settings. */
static const char *const WORDS[] = {"true", "false", "null", "yes", "off", "none", "now", "today", "tomorrow", "yesterday", "infinity",
	"epoch", "nan", "year", "years", "mon", "mons", "month", "months", "week", "weeks", "day", "days", "hour", "hours", "minute",
	"minutes", "min", "mins", "second", "seconds", "sec", "secs", "millisecond", "milliseconds", "ago", "utc", "gmt", "dow", "doy",
	"quarter", "isodow"};

struct anonymizer *anonymize_create(const char *secret, const char *const *keep, size_t n)
{
	struct anonymizer *a = calloc(1, sizeof *a);
	if (a == NULL)
		abort();
	sha256_hex(secret, strlen(secret), a->key);
	char digits[17];
	memcpy(digits, a->key, 16);
	digits[16] = '\0';
	a->number_key = strtoull(digits, NULL, 16);
	a->keep = keep;
	a->n_keep = n;
	buf_init(&a->values, LOG_RECORD_MAX * 2);
	return a;
}

void anonymize_free(struct anonymizer *a)
{
	if (a == NULL)
		return;
	VEC_FREE(&a->params);
	buf_free(&a->values);
	free(a);
}

/* ---- runs of letters and digits ---- */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool stays(const struct anonymizer *a, const char *word, size_t n)
{
	if (n <= KEPT_BYTES)
		return true;
	for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
		if (strlen(WORDS[i]) == n && strncasecmp(WORDS[i], word, n) == 0)
			return true;
	for (size_t i = 0; i < a->n_keep; i++)
		if (strlen(a->keep[i]) == n && memcmp(a->keep[i], word, n) == 0)
			return true;
	return false;
}

/* A permutation of [0, size): four rounds of Feistel over the next power of four, again until the answer is within. */
static uint64_t permute(uint64_t value, uint64_t size, uint64_t key)
{
	unsigned half = 1;
	while (half < 32 && (UINT64_C(1) << 2 * half) < size)
		half++;
	uint64_t mask = (UINT64_C(1) << half) - 1;
	do {
		uint64_t left = value >> half, right = value & mask;
		for (uint64_t round = 0; round < 4; round++) {
			uint64_t next = left ^ (rng_at(key + size, right * 4 + round) & mask);
			left = right;
			right = next;
		}
		value = left << half | right;
	} while (value >= size);
	return value;
}

static void replace_number(const struct anonymizer *a, const char *text, size_t n, char *out)
{
	static const uint64_t BOUNDS[] = {32768, 2147483648};
	uint64_t value = 0, from = 1;
	for (size_t i = 0; i < n; i++) {
		value = value * 10 + (uint64_t)(text[i] - '0');
		from *= i > 0 ? 10 : 1;
	}
	if (text[0] == '0')
		from = 0;
	uint64_t to = text[0] == '0' ? 1 : from * 10;
	for (size_t i = 1; text[0] == '0' && i < n; i++)
		to *= 10;
	for (size_t i = 0; i < 2; i++) {
		if (value < BOUNDS[i] && to > BOUNDS[i])
			to = BOUNDS[i];
		else if (value >= BOUNDS[i] && from < BOUNDS[i])
			from = BOUNDS[i];
	}
	value = from + permute(value - from, to - from, a->number_key);
	for (size_t i = n; i-- > 0; value /= 10)
		out[i] = (char)('0' + value % 10);
}

static void replace_word(const struct anonymizer *a, const char *word, size_t n, bool hex, char *out)
{
	struct buf keyed;
	char digest[SHA256_HEX_SIZE];
	buf_init(&keyed, n + sizeof a->key);
	buf_str(&keyed, a->key);
	buf_add(&keyed, word, n);
	sha256_hex(keyed.data, keyed.len, digest);
	buf_free(&keyed);
	digest[16] = '\0';
	struct rng rng = {.state = strtoull(digest, NULL, 16)};
	for (size_t i = 0; i < n; i++) {
		uint64_t draw = rng_next(&rng) >> 8;
		if (is_digit(word[i]))
			out[i] = (char)('0' + draw % 10);
		else if (word[i] >= 'A' && word[i] <= 'Z')
			out[i] = (char)('A' + draw % (hex ? 6 : 26));
		else
			out[i] = (char)('a' + draw % (hex ? 6 : 26));
	}
}

/* ---- values ---- */

/* "2026-11-21", perhaps with a time: the year and the month stay. Returns how long it is, or 0. */
static size_t replace_date(const struct anonymizer *a, const char *value, size_t n, char *out)
{
	static const char SHAPE[] = "dddd-dd-dd dd:dd:dd";
	static const unsigned RANGES[] = {28, 24, 60, 60};
	static const unsigned PLACES[] = {8, 11, 14, 17};
	size_t fits = 0;
	while (fits < sizeof SHAPE - 1 && fits < n &&
		(SHAPE[fits] == 'd' ? is_digit(value[fits]) : value[fits] == SHAPE[fits] || (SHAPE[fits] == ' ' && value[fits] == 'T')))
		fits++;
	if (fits < 10 || (n > fits && is_digit(value[fits])))
		return 0;
	fits = fits >= 19 ? 19 : fits >= 16 ? 16 : 10;
	char digest[19];
	replace_word(a, value, fits, false, digest);
	memcpy(out, value, fits);
	for (size_t i = 0; i < 4 && PLACES[i] + 2 <= fits; i++) {
		unsigned number = ((unsigned)digest[PLACES[i]] * 131 + (unsigned)digest[PLACES[i] + 1] * 17) % RANGES[i] + (i == 0);
		out[PLACES[i]] = (char)('0' + number / 10);
		out[PLACES[i] + 1] = (char)('0' + number % 10);
	}
	return fits;
}

static bool is_hex(const char *value, size_t n)
{
	size_t i = 0;
	while (i < n &&
		(is_digit(value[i]) || value[i] == '-' || (value[i] >= 'a' && value[i] <= 'f') || (value[i] >= 'A' && value[i] <= 'F')))
		i++;
	return n >= 8 && i == n;
}

/* "key": of a JSON object. */
static bool is_key(const char *behind, const char *end)
{
	if (behind == end || *behind++ != '"')
		return false;
	while (behind < end && *behind == ' ')
		behind++;
	return behind < end && *behind == ':';
}

void anonymize_value(const struct anonymizer *a, const char *value, size_t n, char *out)
{
	const char *p = value, *end = value + n;
	bool json = n > 0 && (value[0] == '{' || value[0] == '['), numeric = true;
	for (size_t i = 0; i < n; i++)
		numeric &= is_digit(value[i]) || (i == 0 && value[i] == '-');
	bool hex = !numeric && is_hex(value, n);
	while (p < end) {
		const char *q = p;
		char *to = out + (p - value);
		bool digits = true;
		size_t date = is_digit(*p) ? replace_date(a, p, (size_t)(end - p), to) : 0;
		if (date > 0) {
			p += date;
			continue;
		}
		for (; q < end && (is_digit(*q) || is_letter(*q)); q++)
			digits &= is_digit(*q);
		size_t length = (size_t)(q - p);
		if (length == 0) {
			*to = *p++;
			continue;
		}
		if (stays(a, p, length) || (json && is_key(q, end)))
			memcpy(to, p, length);
		else if (digits && length <= DIGITS_MAX && !hex)
			replace_number(a, p, length, to);
		else
			replace_word(a, p, length, hex, to);
		p = q;
	}
}

/* ---- events ---- */

static bool begins_with(const char *text, const char *word)
{
	return strncasecmp(text, word, strlen(word)) == 0;
}

static struct log_text replaced(struct anonymizer *a, const struct log_text *value)
{
	char *to = buf_reserve(&a->values, value->n + 1);
	if (to == NULL)
		return (struct log_text){0};
	if (value->n > 0)
		anonymize_value(a, value->at, value->n, to);
	a->values.len += value->n;
	return (struct log_text){to, value->n};
}

static void write_text(struct anonymizer *a, const struct trace_event *e, struct buf *text)
{
	const char *begin = e->shape->text, *p = begin, *end = begin + e->shape->n;
	if (e->shape->n == 1 && e->n_literals == 1) {
		buf_str(text, "-- withheld");
		return;
	}
	if (begins_with(p, "set ") || begins_with(p, "show ")) {
		trace_event_text(e, text);
		return;
	}
	for (uint32_t i = 0; i < e->n_literals; i++) {
		const char *mark = memchr(p, SHAPE_MARK, (size_t)(end - p));
		if (mark == NULL)
			break;
		buf_add(text, p, (size_t)(mark - p));
		p = mark + 1;
		bool comment = mark - begin >= 2 && (memcmp(mark - 2, "/*", 2) == 0 || memcmp(mark - 2, "--", 2) == 0);
		bool catalog = end - mark >= 7 && memcmp(mark, "\1'::reg", 7) == 0;
		const struct log_text *literal = &e->literals[i].value;
		if (comment)
			continue;
		if (catalog) {
			buf_add(text, literal->at, literal->n);
			continue;
		}
		buf_clear(&a->values);
		struct log_text t = replaced(a, literal);
		buf_add(text, t.at, t.n);
	}
	buf_add(text, p, (size_t)(end - p));
}

const struct param *anonymize_event(struct anonymizer *a, const struct trace_event *e, struct buf *text)
{
	if (e->shape == NULL)
		return NULL;
	write_text(a, e, text);
	/* Values must not move while they are collected. */
	size_t total = 1;
	for (uint32_t i = 0; i < e->n_params; i++)
		total += e->params[i].value.n + 1;
	buf_clear(&a->values);
	(void)buf_reserve(&a->values, total);
	a->params.n = 0;
	for (uint32_t i = 0; i < e->n_params; i++) {
		struct param p = e->params[i];
		if (!p.null)
			p.value = replaced(a, &p.value);
		VEC_PUSH(&a->params, p);
	}
	return a->params.at;
}
