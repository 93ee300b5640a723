/* More traffic than was captured: further sessions beside each captured one, which do the same with other keys of the clone's data. */
#ifndef PGR_REPLAY_SCALE_H
#define PGR_REPLAY_SCALE_H

#include "replay/capture.h"

#define SCALE_MAX 1000

struct scale_config {
	const char *from, *to; /* traces */
	const char *dsn;       /* the clone, which is only read */
	double times;          /* 1: as captured; 2.5: each session and another one, and a third one beside every second */
	uint64_t seed;
	struct capture_filter filter;
	const volatile sig_atomic_t *stop; /* or NULL */
};

struct scale_result {
	int64_t events, sessions; /* of the new trace */
	int64_t copied;           /* statements of sessions that were added */
	int64_t other_keys;       /* of these, with at least one key that is another */
	int64_t keys;             /* columns whose values were redrawn */
};

/*
 * Keys are parameters and literals that are compared for equality with, or written to, a column that is a key: it refers to one, has a
 * unique index or is part of one, or (numbers and UUIDs) has the name of a column elsewhere that is one. All that refer to one column are
 * redrawn alike, so that what belonged together still does:
 * - whole numbers of the column's range by a bijection of that range, another one for each added session's number, so that what was hot
 *   is hot elsewhere; from the column's own values where its range is mostly empty;
 * - whole numbers behind the range, which the traffic has made, by others behind them;
 * - other types by values of the column; new ones (inserted by the traffic, or not in the clone) by others that are new.
 * Everything else stays: amounts, states, ranges, texts. Added sessions of a number begin up to a second after those that they are like.
 * Keys that the target will generate are known in a replay by what the trace says of it (replay/play_keys.h).
 * ST_USAGE: the trace or the clone cannot be read, or the trace was scaled before.
 */
enum status scale_trace(const struct scale_config *config, struct scale_result *out, struct error *err) MUST_CHECK;

/* A bijection of 0..n-1: which one, key says. */
uint64_t scale_permute(uint64_t x, uint64_t n, uint64_t key);

#endif
