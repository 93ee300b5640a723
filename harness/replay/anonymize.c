/* Numbers go through a keyed permutation of those of their length, so that unique keys stay unique; letters are drawn from a generator that
 * a keyed hash of their word seeds. */
#define _GNU_SOURCE
#include "replay/anonymize.h"

#include "base/rng.h"
#include "base/sha256.h"
#include "base/vec.h"
#include "replay/anonymize_text.h"

#include <stdlib.h>
#include <strings.h>

#define KEPT_BYTES 2 /* flags, codes, page sizes: nobody is told from these */
#define DIGITS_MAX 18
#define HEX_RUN 8 /* letters up to f and digits in a run of so many are no word */

struct anonymizer {
	char key[SHA256_HEX_SIZE];
	uint64_t number_key;
	const char *const *keep;
	size_t n_keep;
	VEC(struct param) params;
	VEC(signed char) keeps; /* by parameter: 1 it stays, -1 it does not; 0: not seen yet */
	VEC(struct log_text) literals;
	struct buf values;
	struct shapes *shapes; /* of bodies; NULL: there was none yet */
};

/* What the server reads as words, in dates, intervals, booleans and settings. */
static const char *const WORDS[] = {"true", "false", "null", "yes", "no", "on", "off", "none", "now", "today", "tomorrow", "yesterday",
	"infinity", "epoch", "nan", "ago", "utc", "gmt", "dow", "doy", "quarter", "isodow", "am", "pm", "bc", "ad", NULL};
static const char *const UNITS[] = {"year", "years", "mon", "mons", "month", "months", "week", "weeks", "day", "days", "hour", "hours",
	"minute", "minutes", "min", "mins", "second", "seconds", "sec", "secs", "millisecond", "milliseconds", NULL};

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
	VEC_FREE(&a->keeps);
	VEC_FREE(&a->literals);
	buf_free(&a->values);
	shapes_free(a->shapes);
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

static bool is_run(char c)
{
	return is_digit(c) || is_letter(c);
}

static bool is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static size_t count(const char *p, const char *end, bool (*is)(char c))
{
	const char *q = p;
	while (q < end && is(*q))
		q++;
	return (size_t)(q - p);
}

static bool is_among(const char *const *words, const char *word, size_t n)
{
	for (; *words != NULL; words++)
		if (strlen(*words) == n && strncasecmp(*words, word, n) == 0)
			return true;
	return false;
}

static bool stays(const struct anonymizer *a, const char *word, size_t n)
{
	if (is_among(WORDS, word, n) || is_among(UNITS, word, n))
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

/* hex: by hexadecimal digits, in either case by the same ones. */
static void replace_word(const struct anonymizer *a, const char *word, size_t n, bool hex, char *out)
{
	struct buf keyed;
	char digest[SHA256_HEX_SIZE];
	buf_init(&keyed, n + sizeof a->key);
	buf_str(&keyed, a->key);
	for (size_t i = 0; i < n; i++)
		buf_char(&keyed, (char)(hex && word[i] >= 'A' && word[i] <= 'F' ? word[i] + 32 : word[i]));
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

/* d stands for a digit, h for a hexadecimal one; SHAPE says more than it needs to, so the answer is how much of it fits. */
static size_t fit(const char *shape, const char *p, const char *end)
{
	size_t n = 0;
	for (; shape[n] != '\0' && p + n < end; n++)
		if (shape[n] == 'd' ? !is_digit(p[n]) : shape[n] == 'h' ? !is_hex(p[n]) : shape[n] != p[n])
			break;
	return n;
}

/* What has just been read ends there: nothing of the same kind goes on. */
static bool ends(const char *q, const char *end, const char *separators)
{
	if (q < end && is_run(*q))
		return false;
	return q + 1 >= end || strchr(separators, *q) == NULL || *q == '\0' || !is_run(q[1]);
}

/* Two digits by two of what there is of: from first on, size of them. */
static void replace_two(const struct anonymizer *a, const char *p, unsigned first, unsigned size, char *out)
{
	char drawn[3];
	replace_word(a, (const char[]){p[0], p[1], (char)('A' + size % 26)}, 3, false, drawn);
	unsigned number = ((unsigned)drawn[0] * 131 + (unsigned)drawn[1] * 17 + (unsigned)drawn[2] * 7) % size + first;
	out[0] = (char)('0' + number / 10);
	out[1] = (char)('0' + number % 10);
}

/* ".123", "+02:30", "Z" behind a time: only the fraction is replaced. */
static size_t replace_behind_time(const struct anonymizer *a, const char *p, const char *end, char *out)
{
	const char *q = p;
	size_t digits = end - q >= 2 && *q == '.' ? count(q + 1, end, is_digit) : 0;
	if (digits > 0) {
		*out++ = '.';
		replace_word(a, q + 1, digits, false, out);
		out += digits;
		q += digits + 1;
	}
	size_t zone = q < end && (*q == 'Z' || *q == 'z') ? 1 : 0;
	if (end - q >= 3 && (*q == '+' || *q == '-') && fit("dd", q + 1, end) == 2)
		zone = fit(":dd", q + 3, end) == 3 ? 6 : fit("dd", q + 3, end) == 2 ? 5 : 3;
	memcpy(out, q, zone);
	return (size_t)(q - p) + zone;
}

/* "13:51", "13:51:10.25+02". */
static size_t replace_time(const struct anonymizer *a, const char *p, const char *end, char *out)
{
	static const unsigned SIZES[] = {24, 60, 60};
	size_t fits = fit("dd:dd:dd", p, end);
	fits = fits == 8 ? 8 : fits >= 5 ? 5 : 0;
	bool utc = p + fits < end && (p[fits] == 'Z' || p[fits] == 'z');
	if (fits == 0 || p[0] > '2' || p[3] > '5' || !(utc || ends(p + fits, end, ":")))
		return 0;
	memcpy(out, p, fits);
	for (size_t i = 0; i * 3 + 2 <= fits; i++)
		replace_two(a, p + i * 3, 0, SIZES[i], out + i * 3);
	return fits + replace_behind_time(a, p + fits, end, out + fits);
}

/* "2026-11-21", perhaps with a time: the year and the month stay. "21.11.2026", "11/21/26": day and month by what may be both. */
static size_t replace_date(const struct anonymizer *a, const char *p, const char *end, char *out)
{
	size_t n = fit("dddd-dd-dd", p, end);
	if (n == 10 && (p + 10 == end || !is_digit(p[10])) && (p[0] <= '2' || p[0] == '9') && p[5] <= '1' && p[8] <= '3') {
		memcpy(out, p, 10);
		replace_two(a, p + 8, 1, 28, out + 8);
		if (p + 10 >= end || (p[10] != ' ' && p[10] != 'T'))
			return 10;
		out[10] = p[10];
		n = replace_time(a, p + 11, end, out + 11);
		return n > 0 ? 11 + n : 10;
	}
	if (fit("dd", p, end) < 2 || end - p < 8 || strchr("./-", p[2]) == NULL || p[2] == '\0')
		return 0;
	n = fit((const char[]){'d', 'd', p[2], 'd', 'd', p[2], 'd', 'd', 'd', 'd', '\0'}, p, end);
	n = n == 10 ? 10 : n >= 8 ? 8 : 0;
	if (n == 0 || !ends(p + n, end, "./-") || p[0] > '3' || p[3] > '3')
		return 0;
	memcpy(out, p, n);
	replace_two(a, p, 1, 12, out);
	replace_two(a, p + 3, 1, 12, out + 3);
	if (n == 8)
		replace_two(a, p + 6, 0, 100, out + 6);
	return n;
}

/* Each group by itself, so that a part of one is the same everywhere. */
static size_t replace_groups(const struct anonymizer *a, const char *p, size_t n, char *out)
{
	for (size_t i = 0, run; i < n; i += run) {
		run = count(p + i, p + n, is_hex);
		if (run == 0)
			out[i] = p[i];
		else
			replace_word(a, p + i, run, true, out + i);
		run += run == 0;
	}
	return n;
}

/* "/24" behind an address. */
static size_t mask_of(const char *p, const char *end)
{
	size_t digits = p < end && *p == '/' ? count(p + 1, end, is_digit) : 0;
	return digits > 0 && digits <= 3 ? digits + 1 : 0;
}

/* UUIDs, addresses of interfaces, IPv6. */
static size_t replace_hex_groups(const struct anonymizer *a, const char *p, const char *end, char *out)
{
	if (fit("hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh", p, end) == 36 && ends(p + 36, end, ""))
		return replace_groups(a, p, 36, out);
	if (fit("hh-hh-hh-hh-hh-hh", p, end) == 17 && ends(p + 17, end, "-"))
		return replace_groups(a, p, 17, out);
	size_t n = 0, colons = 0, run;
	while ((run = count(p + n, end, is_hex)) <= 4 && p + n + run < end && p[n + run] == ':' && (run > 0 || n == 0 || p[n - 1] == ':')) {
		n += run + 1;
		colons++;
	}
	n += run <= 4 ? run : 0;
	if (colons < 2 || run > 4 || !ends(p + n, end, ":"))
		return 0;
	bool letters = colons > 2;
	for (size_t i = 0; i < n; i++)
		letters |= is_letter(p[i]) || (p[i] == ':' && i + 1 < n && p[i + 1] == ':');
	if (!letters)
		return 0;
	size_t mask = mask_of(p + n, end);
	memcpy(out + n, p + n, mask);
	return replace_groups(a, p, n, out) + mask;
}

/* "192.168.1.10": parts stay as long as they are, and below 256; 0 stays, as in addresses of networks. */
static size_t replace_quad(const struct anonymizer *a, const char *p, const char *end, char *out)
{
	unsigned parts[4];
	size_t lengths[4], n = 0;
	for (size_t i = 0; i < 4; i++) {
		lengths[i] = count(p + n, end, is_digit);
		if (lengths[i] == 0 || lengths[i] > 3 || (lengths[i] > 1 && p[n] == '0'))
			return 0;
		parts[i] = (unsigned)strtoul(
			(const char[]){p[n], lengths[i] > 1 ? p[n + 1] : '\0', lengths[i] > 2 ? p[n + 2] : '\0', '\0'}, NULL, 10);
		n += lengths[i];
		if (parts[i] > 255 || (i < 3 && (p + n >= end || p[n++] != '.')))
			return 0;
	}
	if (!ends(p + n, end, "."))
		return 0;
	size_t mask = mask_of(p + n, end);
	for (size_t i = 0; i < 4; i++) {
		unsigned from = lengths[i] == 1 ? 1 : lengths[i] == 2 ? 10 : 100, to = lengths[i] == 1 ? 10 : lengths[i] == 2 ? 100 : 256;
		unsigned part = parts[i] == 0 ? 0 : from + (unsigned)permute(parts[i] - from, to - from, a->number_key);
		for (size_t k = lengths[i]; k-- > 0; part /= 10)
			out[k] = (char)('0' + part % 10);
		out += lengths[i];
		if (i < 3)
			*out++ = '.';
	}
	memcpy(out, p + n, mask);
	return n + mask;
}

/* "1.2345e-05": the exponent stays. */
static size_t replace_float(const struct anonymizer *a, const char *p, const char *end, char *out)
{
	size_t whole = count(p, end, is_digit), point = p + whole < end && p[whole] == '.';
	size_t fraction = point ? count(p + whole + 1, end, is_digit) : 0, n = whole + point + fraction;
	if (whole == 0 || whole > DIGITS_MAX || p + n >= end || (p[n] != 'e' && p[n] != 'E'))
		return 0;
	size_t sign = p + n + 1 < end && (p[n + 1] == '+' || p[n + 1] == '-'), exponent = count(p + n + 1 + sign, end, is_digit);
	size_t all = n + 1 + sign + exponent;
	if (exponent == 0 || exponent > 3 || !ends(p + all, end, ""))
		return 0;
	memcpy(out, p, all);
	replace_number(a, p, whole, out);
	if (fraction > 0)
		replace_word(a, p + whole + 1, fraction, false, out + whole + 1);
	return all;
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

/* "\n" and the like stay, "\u00e9" becomes another one. */
static size_t replace_escape(const struct anonymizer *a, const char *p, const char *end, char *out)
{
	size_t digits = end - p < 2 ? 0 : p[1] == 'u' ? 4 : p[1] == 'U' ? 8 : 0;
	*out = *p;
	if (end - p < 2)
		return 1;
	if (digits == 0 || count(p + 2, end, is_hex) < digits) {
		bool known = strchr("\"\\/bfnrt'", p[1]) != NULL && p[1] != '\0';
		out[1] = p[1];
		return known ? 2 : 1;
	}
	char drawn[8];
	replace_word(a, p + 2, digits, true, drawn);
	out[1] = p[1];
	memset(out + 2, '0', digits);
	out[digits] = '6';
	out[digits + 1] = (char)('1' + (unsigned char)drawn[0] % 9);
	return digits + 2;
}

static bool is_separator(char c)
{
	return c == '{' || c == '}' || c == '[' || c == ']' || c == ',' || c == '"';
}

/* Whether the value, or the element of a list or of JSON, that p lies in has so few letters and digits that it stays. */
static bool is_short(const char *p, const char *begin, const char *end, bool list)
{
	size_t n = 0;
	for (const char *q = p; q > begin && n <= KEPT_BYTES && !(list && is_separator(q[-1])); q--)
		n += is_run(q[-1]);
	for (const char *q = p; q < end && n <= KEPT_BYTES && !(list && is_separator(*q)); q++)
		n += is_run(*q);
	return n <= KEPT_BYTES;
}

/* "30 days": how long it is. */
static bool is_of_unit(const char *q, const char *end)
{
	q += q < end && *q == ' ';
	return is_among(UNITS, q, count(q, end, is_run));
}

/* What is more than a run of letters and digits; 0: nothing of the kind. */
static size_t replace_known(const struct anonymizer *a, const char *p, const char *end, char *to)
{
	size_t n = is_digit(*p) ? replace_date(a, p, end, to) : 0;
	if (n == 0 && is_digit(*p))
		n = replace_time(a, p, end, to);
	if (n == 0 && is_digit(*p))
		n = replace_quad(a, p, end, to);
	if (n == 0 && is_hex(*p))
		n = replace_hex_groups(a, p, end, to);
	if (n == 0 && is_digit(*p))
		n = replace_float(a, p, end, to);
	return n;
}

static void replace_run(const struct anonymizer *a, const char *p, size_t n, bool behind_backslash, char *to)
{
	size_t digits = count(p, p + n, is_digit), hex = count(p, p + n, is_hex), all_digits = 0;
	for (size_t i = 0; i < n; i++)
		all_digits += is_digit(p[i]);
	/* \x48 of a bytea, 0x48 of a number */
	size_t prefix = behind_backslash ? 1 : 2;
	bool prefixed = n > 2 && (behind_backslash || *p == '0') && (p[prefix - 1] == 'x' || p[prefix - 1] == 'X');
	if (prefixed && count(p + prefix, p + n, is_hex) == n - prefix) {
		memcpy(to, p, prefix);
		replace_word(a, p + prefix, n - prefix, true, to + prefix);
	} else if (digits == n && n <= DIGITS_MAX) {
		replace_number(a, p, n, to);
	} else {
		replace_word(a, p, n, n >= HEX_RUN && hex == n && all_digits > 0 && all_digits < n, to);
	}
}

static void replace_value(const struct anonymizer *a, const char *value, size_t n, bool escapes, char *out)
{
	const char *p = value, *end = value + n;
	bool json = n > 0 && (value[0] == '{' || value[0] == '[');
	while (p < end) {
		char *to = out + (p - value);
		size_t length = count(p, end, is_run), known;
		if (length == 0 && (json || escapes) && *p == '\\') {
			p += replace_escape(a, p, end, to);
		} else if (length == 0 && !(*p == ':' && p + 1 < end && p[1] == ':')) {
			*to = *p++;
		} else if (length > 0 && (is_short(p, value, end, json) || (json && is_key(p + length, end)))) {
			memcpy(to, p, length);
			p += length;
		} else if ((known = length > 0 ? replace_known(a, p, end, to) : replace_hex_groups(a, p, end, to)) > 0) {
			p += known;
		} else if (length == 0) {
			*to = *p++;
		} else {
			if (stays(a, p, length) || (length <= KEPT_BYTES && is_digit(*p) && is_of_unit(p + length, end)))
				memcpy(to, p, length);
			else
				replace_run(a, p, length, p > value && p[-1] == '\\', to);
			p += length;
		}
	}
}

void anonymize_value(const struct anonymizer *a, const char *value, size_t n, char *out)
{
	replace_value(a, value, n, false, out);
}

/* ---- events ---- */

static struct log_text replaced(struct anonymizer *a, const struct log_text *value, bool escapes)
{
	char *to = buf_reserve(&a->values, value->n + 1);
	if (to == NULL)
		return (struct log_text){0};
	if (value->n > 0)
		replace_value(a, value->at, value->n, escapes, to);
	a->values.len += value->n;
	return (struct log_text){to, value->n};
}

struct writing {
	struct anonymizer *anonymizer;
	struct buf *text;
	bool in_body;
};

static void write_piece(const struct text_piece *p, void *arg);

/* A body is read like a statement. What of it cannot be split is left out. */
static void write_code(struct writing *w, const struct text_piece *body)
{
	struct anonymizer *a = w->anonymizer;
	struct writing inner = {.anonymizer = a, .text = w->text, .in_body = true};
	const struct log_text *literals;
	bool is_new;
	if (a->shapes == NULL)
		a->shapes = shapes_create();
	const struct shape *shape = shapes_find(a->shapes, body->at, body->n, &literals, &is_new);
	if (shape->n != 1 || shape->text[0] != SHAPE_MARK)
		text_walk(shape->text, shape->n, literals, shape->literals, write_piece, &inner);
}

static void write_piece(const struct text_piece *p, void *arg)
{
	struct writing *w = arg;
	struct anonymizer *a = w->anonymizer;
	if (p->kind == TEXT_COMMENT)
		return;
	if (p->kind == TEXT_PARAM && !w->in_body) {
		while (a->keeps.n <= p->param && p->param < PARAMS_MAX)
			VEC_PUSH(&a->keeps, 0);
		if (p->param < PARAMS_MAX)
			a->keeps.at[p->param] = p->keep && a->keeps.at[p->param] >= 0 ? 1 : -1;
	}
	if (p->kind == TEXT_BODY && p->code && !p->keep && !w->in_body) {
		write_code(w, p);
		return;
	}
	struct log_text t = {(char *)(uintptr_t)p->at, p->n};
	if ((p->kind == TEXT_LITERAL || p->kind == TEXT_BODY) && !p->keep) {
		buf_clear(&a->values);
		t = replaced(a, &t, p->escapes);
	}
	buf_add(w->text, t.at, t.n);
}

static void write_text(struct anonymizer *a, const struct trace_event *e, struct buf *text)
{
	struct writing w = {.anonymizer = a, .text = text};
	if (e->shape->n == 1 && e->n_literals == 1) {
		buf_str(text, "-- withheld");
		return;
	}
	a->literals.n = 0;
	for (uint32_t i = 0; i < e->n_literals; i++)
		VEC_PUSH(&a->literals, e->literals[i].value);
	text_walk(e->shape->text, e->shape->n, a->literals.at, a->literals.n, write_piece, &w);
}

const struct param *anonymize_event(struct anonymizer *a, const struct trace_event *e, struct buf *text)
{
	if (e->shape == NULL)
		return NULL;
	a->keeps.n = 0;
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
		if (!p.null && !(i < a->keeps.n && a->keeps.at[i] > 0))
			p.value = replaced(a, &p.value, false);
		VEC_PUSH(&a->params, p);
	}
	return a->params.at;
}
