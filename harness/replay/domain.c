/* A reservoir of values (Vitter's algorithm R) and exact bounds. Skew is fitted to how often two values of the sample are equal: that needs
 * no counts of single values, and is as sharp for keys that occur once as for hot ones. */
#define _GNU_SOURCE
#include "replay/domain.h"

#include "base/rng.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FEW_MAX 12      /* so many different values are listed with their weights */
#define PAIRS_MIN 30    /* equal pairs in the sample, below which nothing is said about skew */
#define ZIPF_EXACT 1000 /* terms of the sum; the rest is an integral */
#define PART_LOOKED 100 /* values, before a range is taken for that which is asked for */
#define PART_SHARE 0.5
#define SPARSE_SHARE 0.3 /* a key range that is emptier than this is drawn from a list */

/* ---- learning ---- */

static bool is_integer(const char *s, size_t n)
{
	size_t i = n > 1 && s[0] == '-';
	if (n - i == 0 || n - i > 18 || (s[i] == '0' && n > 1))
		return false;
	for (; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

/* digits: behind the point. */
static bool is_decimal(const char *s, size_t n, int *digits)
{
	size_t i = n > 1 && s[0] == '-', point = n;
	if (n - i == 0 || n > 30)
		return false;
	for (size_t from = i; i < n; i++) {
		if (s[i] == '.' && point == n && i > from)
			point = i;
		else if (s[i] < '0' || s[i] > '9')
			return false;
	}
	*digits = point < n ? (int)(n - point - 1) : 0;
	return point < n - 1;
}

static void sample(struct domain *d, const char *value, size_t n)
{
	if (n > DOMAIN_VALUE_MAX || memchr(value, '\0', n) != NULL) {
		d->unlisted++;
		return;
	}
	if (d->sample == NULL && (d->sample = calloc(DOMAIN_SAMPLE, sizeof *d->sample)) == NULL)
		abort();
	size_t at = d->n_sample;
	if (at == DOMAIN_SAMPLE) {
		struct rng rng = {d->state};
		uint64_t listed = (uint64_t)(d->count - d->nulls - d->unlisted);
		at = (size_t)(rng_next(&rng) % listed);
		d->state = rng.state;
		if (at >= DOMAIN_SAMPLE)
			return;
		free(d->sample[at]);
	} else {
		d->n_sample++;
	}
	d->sample[at] = strndup(value, n);
	if (d->sample[at] == NULL)
		abort();
}

static void note_integer(struct domain *d, const char *value, size_t n)
{
	char text[24];
	memcpy(text, value, n);
	text[n] = '\0';
	int64_t v = strtoll(text, NULL, 10);
	if (d->integers == 0 || v < d->low)
		d->low = v;
	if (d->integers == 0 || v > d->high)
		d->high = v;
	d->integers++;
}

static void note_decimal(struct domain *d, const char *value, size_t n, int digits)
{
	char text[32];
	memcpy(text, value, n);
	text[n] = '\0';
	double v = strtod(text, NULL);
	if (d->decimals == 0 || v < d->low_decimal)
		d->low_decimal = v;
	if (d->decimals == 0 || v > d->high_decimal)
		d->high_decimal = v;
	if (digits > d->digits)
		d->digits = digits;
	d->decimals++;
}

void domain_add(struct domain *d, const char *value, size_t n, bool null)
{
	int digits = 0;
	d->count++;
	if (null) {
		d->nulls++;
		return;
	}
	if (d->count - d->nulls == 1 || n < d->short_n)
		d->short_n = n;
	if (n > d->long_n)
		d->long_n = n;
	if (is_integer(value, n))
		note_integer(d, value, n);
	else if (is_decimal(value, n, &digits))
		note_decimal(d, value, n, digits);
	sample(d, value, n);
}

void domain_free(struct domain *d)
{
	for (size_t i = 0; i < d->n_sample; i++)
		free(d->sample[i]);
	free(d->sample);
	for (size_t i = 0; i < d->column.values.n; i++)
		free(d->column.values.at[i]);
	VEC_FREE(&d->column.values);
	VEC_FREE(&d->column.shares);
	*d = (struct domain){0};
}

/* ---- skew ---- */

static double zipf_sum(double n, double s)
{
	double sum = 0, from = n < ZIPF_EXACT ? n : ZIPF_EXACT;
	for (int k = 1; k <= (int)from; k++)
		sum += pow(k, -s);
	if (n <= from)
		return sum;
	double a = from + 0.5, b = n + 0.5;
	return sum + (fabs(s - 1) < 1e-9 ? log(b / a) : (pow(b, 1 - s) - pow(a, 1 - s)) / (1 - s));
}

double domain_fit_zipf(double n, double p)
{
	double low = 0, high = 3;
	if (n < 2 || p <= 1.3 / n)
		return 0;
	for (int i = 0; i < 50; i++) {
		double s = (low + high) / 2, sum = zipf_sum(n, s);
		if (zipf_sum(n, 2 * s) / (sum * sum) < p)
			low = s;
		else
			high = s;
	}
	return low;
}

static int by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

struct distinct {
	size_t n;                        /* different values in the sample */
	double equal_pairs, equal_share; /* of all pairs of the sample */
	VEC(char *) values;              /* each once, borrowed, in order */
	VEC(size_t) counts;
};

static struct distinct count_distinct(const struct domain *d)
{
	struct distinct out = {0};
	if (d->n_sample > 1)
		qsort(d->sample, d->n_sample, sizeof *d->sample, by_text);
	for (size_t i = 0; i < d->n_sample; i++) {
		if (out.n > 0 && strcmp(out.values.at[out.n - 1], d->sample[i]) == 0) {
			out.counts.at[out.n - 1]++;
			continue;
		}
		VEC_PUSH(&out.values, d->sample[i]);
		VEC_PUSH(&out.counts, 1);
		out.n++;
	}
	for (size_t i = 0; i < out.n; i++)
		out.equal_pairs += (double)out.counts.at[i] * (double)(out.counts.at[i] - 1) / 2;
	double n = (double)d->n_sample;
	out.equal_share = n > 1 ? out.equal_pairs / (n * (n - 1) / 2) : 0;
	return out;
}

/* ---- writing ---- */

void domain_quote(struct buf *out, const char *value, size_t n)
{
	buf_char(out, '"');
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)value[i];
		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", c);
		else if (c == '\n')
			buf_str(out, "\\n");
		else if (c == '\r')
			buf_str(out, "\\r");
		else if (c == '\t')
			buf_str(out, "\\t");
		else if (c < ' ' || c == 127)
			buf_printf(out, "\\%03d", c);
		else
			buf_char(out, (char)c);
	}
	buf_char(out, '"');
}

static void write_value(struct buf *out, const char *value)
{
	if (is_integer(value, strlen(value)))
		buf_str(out, value);
	else
		domain_quote(out, value, strlen(value));
}

static void note(struct domain_text *out, const char *text)
{
	snprintf(out->note, sizeof out->note, "%s", text);
}

static void write_pick(struct domain_text *out, char *const *values, size_t n)
{
	size_t step = n > DOMAIN_LIST_MAX ? n / DOMAIN_LIST_MAX + 1 : 1;
	buf_printf(out->lists, "  %s = { ", out->name);
	for (size_t i = 0; i < n; i += step) {
		if (i > 0)
			buf_str(out->lists, ", ");
		write_value(out->lists, values[i]);
	}
	buf_str(out->lists, " },\n");
	buf_printf(out->expression, "r:pick(values.%s)", out->name);
}

static void write_weighted(struct domain_text *out, const struct distinct *seen)
{
	buf_printf(out->lists, "  %s = { ", out->name);
	for (size_t i = 0; i < seen->n; i++) {
		buf_str(out->lists, i > 0 ? ", { " : "{ ");
		write_value(out->lists, seen->values.at[i]);
		buf_printf(out->lists, ", %zu }", seen->counts.at[i]);
	}
	buf_str(out->lists, " },\n");
	buf_printf(out->expression, "r:weighted(values.%s)", out->name);
}

static void write_range(struct buf *out, int64_t low, int64_t high, double s)
{
	if (low == high) {
		buf_printf(out, "%" PRId64, low);
		return;
	}
	if (s < 0.05) {
		buf_printf(out, "r:int(%" PRId64 ", %" PRId64 ")", low, high);
		return;
	}
	int64_t n = high - low + 1;
	if (low != 1)
		buf_printf(out, "%" PRId64 " + ", low - 1);
	buf_printf(out, "r:permute(r:zipf(%" PRId64 ", %.2f), %" PRId64 ")", n, s, n);
}

static bool is_text_type(const char *type)
{
	return strstr(type, "char") != NULL || strcmp(type, "text") == 0 || strcmp(type, "name") == 0 || strcmp(type, "citext") == 0;
}

static bool is_integer_type(const char *type)
{
	return strcmp(type, "integer") == 0 || strcmp(type, "bigint") == 0 || strcmp(type, "smallint") == 0;
}

/* New keys, behind all that are there. */
static void write_fresh(const struct column_facts *f, int64_t high, struct domain_text *out)
{
	int64_t top = strcmp(f->type, "bigint") == 0 ? INT64_C(1) << 50 : strcmp(f->type, "smallint") == 0 ? 32767 : INT32_MAX;
	if (f->bounds && f->high > high)
		high = f->high;
	buf_printf(out->expression, "r:int(%" PRId64 ", %" PRId64 ")", high < top ? high + 1 : top, top);
	note(out, "a new key, behind those that are there");
}

/* The clone's range, or that part of it which the traffic asks for; keys that are newer than the clone become its newest. */
static void choose_range(const struct domain *d, const struct column_facts *f, int64_t *low, int64_t *high)
{
	double whole = (double)f->high - (double)f->low + 1, asked = (double)d->high - (double)d->low + 1;
	if (d->count - d->nulls < PART_LOOKED || asked > PART_SHARE * whole) {
		*low = f->low;
		*high = f->high;
		return;
	}
	*low = d->low;
	*high = d->high;
	if (*high > f->high) {
		*low -= *high - f->high;
		*high = f->high;
	}
	if (*low < f->low)
		*low = f->low;
}

static void write_integers(const struct domain *d, const struct param_column *use, const struct distinct *seen, struct domain_text *out)
{
	const struct column_facts *f = &d->column;
	bool key = use->use == PARAM_KEY || use->use == PARAM_RANGE, seen_any = d->count > d->nulls;
	if (use->use == PARAM_WRITTEN && f->unique && !use->part) {
		write_fresh(f, seen_any ? d->high : 0, out);
		return;
	}
	int64_t low = seen_any ? d->low : f->low, high = seen_any ? d->high : f->high;
	if (key && f->bounds && !use->part) {
		choose_range(d, f, &low, &high);
		double range = (double)f->high - (double)f->low + 1;
		if (f->distinct > 0 && f->distinct < SPARSE_SHARE * range && f->values.n > 0) {
			write_pick(out, f->values.at, f->values.n);
			note(out, "some of the column's values: most numbers between them do not occur");
			return;
		}
	}
	double range = (double)high - (double)low + 1, s = 0;
	if (range < 9e15 && seen->equal_pairs >= PAIRS_MIN)
		s = domain_fit_zipf(range, seen->equal_share);
	if (!seen_any && use->use == PARAM_KEY)
		note(out, "which of them are asked for most is not known");
	write_range(out->expression, low, high, s);
}

static bool all_match(const struct domain *d, bool (*matches)(const char *value))
{
	for (size_t i = 0; i < d->n_sample; i++)
		if (!matches(d->sample[i]))
			return false;
	return d->n_sample > 0 && d->unlisted == 0;
}

static bool fits(const char *value, const char *pattern)
{
	for (; *pattern != '\0'; pattern++, value++) {
		bool digit = *value >= '0' && *value <= '9',
		     hex = digit || (*value >= 'a' && *value <= 'f') || (*value >= 'A' && *value <= 'F');
		if (*pattern == '9'               ? !digit
				: *pattern == 'x' ? !hex
				: *pattern == '_' ? *value != ' ' && *value != 'T'
						  : *value != *pattern)
			return false;
	}
	return true;
}

static bool is_uuid(const char *value)
{
	return strlen(value) == 36 && fits(value, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
}

static bool is_timestamp(const char *value)
{
	return fits(value, "9999-99-99_99:99:99");
}

static bool is_date(const char *value)
{
	return strlen(value) == 10 && fits(value, "9999-99-99");
}

/* The sample is in order. */
static void write_times(const struct domain *d, struct domain_text *out, bool dates)
{
	char low[20], high[20];
	snprintf(low, sizeof low, "%.19s", d->sample[0]);
	snprintf(high, sizeof high, "%.19s", d->sample[d->n_sample - 1]);
	if (!dates)
		low[10] = high[10] = ' ';
	if (strcmp(low, high) == 0) {
		domain_quote(out->expression, low, strlen(low));
		return;
	}
	buf_printf(out->expression, "r:timestamp(\"%s\", \"%s\")%s", low, high, dates ? ":sub(1, 10)" : "");
}

static void write_text(const struct domain *d, const struct param_column *use, const struct distinct *seen, struct domain_text *out)
{
	const struct column_facts *f = &d->column;
	bool written = use->use == PARAM_WRITTEN || use->use == PARAM_SET, once = (double)seen->n > 0.9 * (double)d->n_sample;
	if (all_match(d, is_timestamp)) {
		write_times(d, out, false);
	} else if (all_match(d, is_date)) {
		write_times(d, out, true);
	} else if (written && once && all_match(d, is_uuid)) {
		buf_str(out->expression, "r:uuid()");
	} else if (!written && !use->array && f->values.n > 0) {
		write_pick(out, f->values.at, f->values.n);
		note(out, "values of the column");
	} else if (written && once && d->n_sample > FEW_MAX && (f->type[0] == '\0' || is_text_type(f->type)) && d->sample[0][0] != '{' &&
		d->sample[0][0] != '[' && d->sample[0][0] != '\\') {
		if (d->short_n == d->long_n)
			buf_printf(out->expression, "r:alnum(%zu)", d->long_n);
		else
			buf_printf(out->expression, "r:text(r:int(%zu, %zu))", d->short_n, d->long_n);
	} else if (d->n_sample > 0) {
		write_pick(out, seen->values.at, seen->n);
	} else {
		buf_printf(out->expression, "r:text(r:int(%zu, %zu))", d->short_n, d->long_n);
	}
}

/* Nothing was seen: by the clone's column, or by the type alone. */
static void write_unseen(const struct domain *d, const struct param_column *use, const char *type, struct domain_text *out)
{
	const struct column_facts *f = &d->column;
	struct distinct none = {0};
	bool written = use->use == PARAM_WRITTEN || use->use == PARAM_SET, integer = is_integer_type(type);
	if (use->use == PARAM_LIMIT || use->use == PARAM_OFFSET)
		buf_str(out->expression, use->use == PARAM_LIMIT ? "20" : "0");
	else if (use->array && f->values.n > 0) {
		write_pick(out, f->values.at, f->values.n);
		struct buf *e = out->expression;
		buf_clear(e);
		buf_printf(e, "workload.array { r:pick(values.%s) }", out->name);
	} else if (use->part && integer)
		buf_str(out->expression, "r:int(1, 10)");
	else if (integer && f->bounds)
		write_integers(d, use, &none, out);
	else if (f->values.n > 0 && !(written && f->unique))
		write_pick(out, f->values.at, f->values.n);
	else if (integer || strcmp(type, "numeric") == 0 || strncmp(type, "double", 6) == 0 || strcmp(type, "real") == 0)
		buf_str(out->expression, "r:int(1, 1000)");
	else if (strcmp(type, "boolean") == 0)
		buf_str(out->expression, "r:chance(0.5)");
	else if (strncmp(type, "timestamp", 9) == 0 || strcmp(type, "date") == 0)
		buf_str(out->expression, "r:timestamp(\"2026-01-01\", \"2026-12-31\")");
	else if (strcmp(type, "uuid") == 0)
		buf_str(out->expression, "r:uuid()");
	else if (strncmp(type, "json", 4) == 0)
		buf_str(out->expression, "\"{}\"");
	else if (strcmp(type, "interval") == 0)
		buf_str(out->expression, "\"1 day\"");
	else if (strstr(type, "[]") != NULL)
		buf_str(out->expression, "\"{}\"");
	else
		buf_printf(out->expression, "r:alnum(%d)", f->unique ? 20 : 8);
	if (out->note[0] == '\0' && f->values.n == 0 && !f->bounds && use->use < PARAM_LIMIT)
		note(out, "a guess by its type: nothing is known of its values");
}

void domain_write(const struct domain *d, const struct param_column *use, const char *type, struct domain_text *out)
{
	int64_t seen_n = d->count - d->nulls;
	out->note[0] = '\0';
	if (d->count > 0 && seen_n == 0) {
		buf_str(out->expression, "nil");
		return;
	}
	if (d->count == 0) {
		write_unseen(d, use, type[0] != '\0' ? type : d->column.type, out);
		return;
	}
	struct distinct seen = count_distinct(d);
	struct buf whole;
	struct buf *expression = out->expression;
	buf_init(&whole, (size_t)1 << 20);
	out->expression = &whole;
	bool few = d->unlisted == 0 && seen.n <= FEW_MAX && d->n_sample >= 4 * seen.n;
	bool fresh = use->use == PARAM_WRITTEN && d->column.unique && d->integers == seen_n;
	if (few && seen.n == 1 && !fresh)
		write_value(&whole, seen.values.at[0]);
	else if (few && !fresh && (d->integers < seen_n || (double)d->high - (double)d->low + 1 > (double)seen.n))
		write_weighted(out, &seen);
	else if (d->integers == seen_n)
		write_integers(d, use, &seen, out);
	else if (d->integers + d->decimals == seen_n && d->digits <= 9) {
		double low = d->low_decimal, high = d->high_decimal;
		if (d->integers > 0 && (double)d->low < low)
			low = (double)d->low;
		if (d->integers > 0 && (double)d->high > high)
			high = (double)d->high;
		buf_printf(&whole, "string.format(\"%%.%df\", %.*f + r:unit() * %.*f)", d->digits, d->digits, low, d->digits, high - low);
	} else
		write_text(d, use, &seen, out);
	if (d->nulls > 0)
		buf_printf(expression, "r:chance(%.3f) and %s or nil", (double)seen_n / (double)d->count, whole.data);
	else
		buf_str(expression, whole.data);
	out->expression = expression;
	buf_free(&whole);
	VEC_FREE(&seen.values);
	VEC_FREE(&seen.counts);
}
