/* Times as server logs write them: "2026-11-21 13:51:13.123 CET". */
#ifndef PGR_REPLAY_LOG_TIME_H
#define PGR_REPLAY_LOG_TIME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What the last time had in common with the next one. Zero-initialised. */
struct log_clock {
	char minute[16]; /* "2026-11-21 13:51" */
	int64_t minute_ns;
	bool has_minute;
	char zone[12];
	size_t zone_n;
	int64_t zone_ns;       /* east of Greenwich */
	bool unknown_zone;     /* a zone's abbreviation was taken for UTC */
	char unknown_name[12]; /* the first such */
};

/* Reads a time at the begin of text; *used is its length with the zone. INT64_MIN: it is none. Time zones are read as numbers ("+02",
 * "-03:30") and as the common abbreviations; any other counts as UTC and is kept in unknown_name. */
int64_t log_clock_read(struct log_clock *clock, const char *text, size_t n, size_t *used);

#endif
