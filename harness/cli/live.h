/* The live view of a run: the lines of it, without any terminal. */
#ifndef PGR_CLI_LIVE_H
#define PGR_CLI_LIVE_H

#include "scenario/conductor.h"

#include <stdbool.h>

#define LIVE_LINES 6
#define LIVE_BYTES 400

enum live_mood { LIVE_CALM, LIVE_WARNING, LIVE_BAD };

struct live_line {
	char text[LIVE_BYTES];
	enum live_mood mood;
};

/* Fills in at most LIVE_LINES lines; returns how many. */
int live_compose(const struct rehearsal_progress *r, struct live_line lines[LIVE_LINES]);

/* "12 × 55P03, 3 × 40001", most frequent first, at most `most` of them; "" when there are none. Returns out. */
const char *live_errors(const struct load_errors *errors, int most, char *out, size_t size);

/* "340 ms"; replication lag below what heartbeats resolve is "<0.1 s". Return out. */
const char *live_lag(int64_t ns, char *out, size_t size);

#endif
