/* Numbers with units, as people write them. */
#define _GNU_SOURCE
#include "base/units.h"

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct scale {
	const char *name;
	double factor;
};

static const struct scale TIME_SCALES[] = {
	{"ns", 1e-9},
	{"us", 1e-6},
	{"µs", 1e-6},
	{"ms", 1e-3},
	{"s", 1},
	{"min", 60},
	{"h", 3600},
	{"d", 86400},
	{NULL, 0},
};
static const struct scale BYTE_SCALES[] = {
	{"B", 1},
	{"kB", 0x1p10},
	{"KiB", 0x1p10},
	{"MB", 0x1p20},
	{"MiB", 0x1p20},
	{"GB", 0x1p30},
	{"GiB", 0x1p30},
	{"TB", 0x1p40},
	{"TiB", 0x1p40},
	{NULL, 0},
};
static const struct scale SHARE_SCALES[] = {{"%", 0.01}, {NULL, 0}};
static const struct scale RATE_SCALES[] = {{"/s", 1}, {"/min", 1.0 / 60}, {NULL, 0}};

static const char *TIME_HINT = "a duration looks like 250us, 50ms, 2s, 10min, 24h or 7d";
static const char *BYTES_HINT = "a size looks like 512kB, 30MB or 2GB";

/* The number at the start of text; rest points behind it and any blanks. Hex, inf and nan are not numbers here. */
static bool read_number(const char *text, double *value, const char **rest)
{
	const char *p = text + strspn(text, " \t");
	size_t n = strspn(p, "+-.0123456789eE");
	char number[64];
	if (n == 0 || n >= sizeof number)
		return false;
	memcpy(number, p, n);
	number[n] = '\0';
	char *end;
	errno = 0;
	*value = strtod(number, &end);
	if (end == number || errno == ERANGE || !isfinite(*value))
		return false;
	p += end - number;
	*rest = p + strspn(p, " \t");
	return true;
}

static bool find_scale(const struct scale *scales, const char *name, double *factor)
{
	size_t n = strlen(name);
	while (n > 0 && (name[n - 1] == ' ' || name[n - 1] == '\t'))
		n--;
	for (; scales->name != NULL; scales++) {
		if (strlen(scales->name) == n && memcmp(scales->name, name, n) == 0) {
			*factor = scales->factor;
			return true;
		}
	}
	return false;
}

static enum status parse_scaled(
	const char *text, const struct scale *scales, const char *kind, const char *hint, double *value, struct error *err)
{
	const char *rest;
	double factor = 1;
	if (!read_number(text, value, &rest) || (!find_scale(scales, rest, &factor) && !(rest[0] == '\0' && *value == 0))) {
		error_set(err, ST_USAGE, "\"%s\" is not %s", text, kind);
		error_hint(err, "%s", hint);
		return ST_USAGE;
	}
	*value *= factor;
	return ST_OK;
}

static enum status to_whole(const char *text, double value, const char *hint, int64_t *out, struct error *err)
{
	if (value < 0 || value > 9.2e18) {
		error_set(err, ST_USAGE, "\"%s\" is out of range", text);
		error_hint(err, "%s, and neither negative nor over 292 years", hint);
		return ST_USAGE;
	}
	*out = (int64_t)llround(value);
	return ST_OK;
}

enum status units_parse_time(const char *text, int64_t *ns, struct error *err)
{
	double seconds;
	enum status st = parse_scaled(text, TIME_SCALES, "a duration", TIME_HINT, &seconds, err);
	return st != ST_OK ? st : to_whole(text, seconds * 1e9, TIME_HINT, ns, err);
}

enum status units_parse_bytes(const char *text, int64_t *bytes, struct error *err)
{
	double value;
	enum status st = parse_scaled(text, BYTE_SCALES, "a size", BYTES_HINT, &value, err);
	return st != ST_OK ? st : to_whole(text, value, BYTES_HINT, bytes, err);
}

enum status units_parse_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *out, struct error *err)
{
	char *end;
	errno = 0;
	long long value = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno == ERANGE || value < min || value > max) {
		error_set(err, ST_USAGE, "%s: \"%s\" is not accepted", name, text);
		error_hint(err, "a whole number from %lld to %lld", (long long)min, (long long)max);
		return ST_USAGE;
	}
	*out = value;
	return ST_OK;
}

enum status units_parse_number(const char *name, const char *text, double min, double max, double *out, struct error *err)
{
	const char *rest;
	if (!read_number(text, out, &rest) || *rest != '\0' || *out < min || *out > max) {
		error_set(err, ST_USAGE, "%s: \"%s\" is not accepted", name, text);
		error_hint(err, "a number from %g to %g", min, max);
		return ST_USAGE;
	}
	return ST_OK;
}

enum status units_parse_quantity(const char *text, double *value, enum unit *unit, struct error *err)
{
	static const struct {
		const struct scale *scales;
		enum unit unit;
	} KINDS[] = {{TIME_SCALES, UNIT_TIME}, {BYTE_SCALES, UNIT_BYTES}, {SHARE_SCALES, UNIT_SHARE}, {RATE_SCALES, UNIT_RATE}};
	const char *rest;
	if (read_number(text, value, &rest)) {
		if (*rest == '\0') {
			*unit = UNIT_NONE;
			return ST_OK;
		}
		for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
			double factor;
			if (find_scale(KINDS[i].scales, rest, &factor)) {
				*value *= factor;
				*unit = KINDS[i].unit;
				return ST_OK;
			}
		}
	}
	error_set(err, ST_USAGE, "\"%s\" is not a number with a unit", text);
	error_hint(err, "durations ns us ms s min h d, sizes B kB MB GB TB, shares %%, rates /s, or a plain number");
	return ST_USAGE;
}

enum status units_parse_share(const char *name, const char *text, double *share, struct error *err)
{
	enum unit unit;
	enum status st = units_parse_quantity(text, share, &unit, err);
	if (st == ST_OK && (unit != UNIT_SHARE || *share < 0))
		st = error_set(err, ST_USAGE, "%s %s: a percentage is expected, such as 5%%", name, text);
	return st;
}

/* Three significant digits without an exponent: 1.23, 12.3, 123, 1234. */
static void format_digits(double value, char *out, size_t size)
{
	double size_of = fabs(value);
	int decimals = size_of >= 99.95 || size_of == 0 ? 0 : size_of >= 9.995 ? 1 : 2;
	snprintf(out, size, "%.*f", decimals, value);
}

static const char *format_with(double value, const struct scale *scales, size_t count, char *out, size_t size)
{
	size_t i = 0;
	/* 999.5 of one unit would print as 1000 of it: pass on to the next. */
	while (i + 1 < count && fabs(value) / scales[i + 1].factor >= 0.9995)
		i++;
	char digits[32];
	format_digits(value / scales[i].factor, digits, sizeof digits);
	snprintf(out, size, "%s %s", digits, scales[i].name);
	return out;
}

const char *units_format_time(int64_t ns, char *out, size_t size)
{
	static const struct scale SHOWN[] = {{"ns", 1}, {"µs", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"min", 60e9}, {"h", 3600e9}, {"d", 86400e9}};
	return format_with((double)ns, SHOWN, sizeof SHOWN / sizeof SHOWN[0], out, size);
}

const char *units_format_bytes(double bytes, char *out, size_t size)
{
	static const struct scale SHOWN[] = {{"B", 1}, {"kB", 0x1p10}, {"MB", 0x1p20}, {"GB", 0x1p30}, {"TB", 0x1p40}};
	return format_with(bytes, SHOWN, sizeof SHOWN / sizeof SHOWN[0], out, size);
}

const char *units_format_count(int64_t n, char *out, size_t size)
{
	char digits[24];
	size_t used = 0, left = (size_t)snprintf(digits, sizeof digits, "%lld", (long long)n);
	for (const char *d = digits; *d != '\0' && used + 2 < size; d++) {
		out[used++] = *d;
		if (--left > 0 && left % 3 == 0 && *d != '-')
			out[used++] = ',';
	}
	out[used] = '\0';
	return out;
}

const char *units_format_quantity(double value, enum unit unit, char *out, size_t size)
{
	char digits[32];
	switch (unit) {
	case UNIT_TIME:
		return units_format_time((int64_t)llround(value * 1e9), out, size);
	case UNIT_BYTES:
		return units_format_bytes(value, out, size);
	case UNIT_SHARE:
		format_digits(value * 100, digits, sizeof digits);
		snprintf(out, size, "%s %%", digits);
		return out;
	case UNIT_RATE:
		format_digits(value, digits, sizeof digits);
		snprintf(out, size, "%s/s", digits);
		return out;
	case UNIT_NONE:
		break;
	}
	if (value == floor(value) && fabs(value) < 1e15)
		snprintf(out, size, "%.0f", value);
	else
		snprintf(out, size, "%.4g", value);
	return out;
}
