/* Numbers with units, as people write them: "50ms", "30MB", "24h", "0.1%", "400/s". Read strictly, written briefly. */
#ifndef PGR_BASE_UNITS_H
#define PGR_BASE_UNITS_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum unit {
	UNIT_NONE,  /* a plain number */
	UNIT_TIME,  /* base unit: seconds */
	UNIT_BYTES, /* base unit: bytes */
	UNIT_SHARE, /* a percentage; base unit: 1 (so "0.1%" is 0.001) */
	UNIT_RATE,  /* "400/s"; base unit: per second */
};

/* "50ms" -> 50000000. Units ns us µs ms s min h d; a bare number is refused (except "0"). */
enum status units_parse_time(const char *text, int64_t *ns, struct error *err) MUST_CHECK;

/* "30MB" -> 30 * 2^20, as PostgreSQL reads its own settings. Units B kB MB GB TB (KiB, MiB... accepted too). */
enum status units_parse_bytes(const char *text, int64_t *bytes, struct error *err) MUST_CHECK;

/* A whole number within [min, max]. name is used in the message: "--scale". */
enum status units_parse_int(const char *name, const char *text, int64_t min, int64_t max, int64_t *out, struct error *err) MUST_CHECK;

/* A percentage, not below 0, as a share of 1: "5%" is 0.05. */
enum status units_parse_share(const char *name, const char *text, double *share, struct error *err) MUST_CHECK;

/* A finite decimal number within [min, max]. */
enum status units_parse_number(const char *name, const char *text, double min, double max, double *out, struct error *err) MUST_CHECK;

/* Any quantity that a criterion may hold: value in the base unit of what was found. */
enum status units_parse_quantity(const char *text, double *value, enum unit *unit, struct error *err) MUST_CHECK;

/* "1.25 s", "870 µs", "12.3 MB", "0.10 %", "400/s": three significant digits. Each returns out. */
const char *units_format_time(int64_t ns, char *out, size_t size);
const char *units_format_bytes(double bytes, char *out, size_t size);
const char *units_format_count(int64_t n, char *out, size_t size); /* "1,900,000,000" */
const char *units_format_quantity(double value, enum unit unit, char *out, size_t size);

#endif
