/* The figures that criteria ask for, read from one record and from nothing else. */
#ifndef PGR_JUDGE_FACTS_H
#define PGR_JUDGE_FACTS_H

#include "base/error.h"
#include "base/json.h"
#include "judge/criterion.h"

#include <stdbool.h>
#include <stdint.h>

struct facts;

/* Reads the whole record in dir: one pass over each of its files. */
enum status facts_read(const char *dir, struct facts **out, struct error *err) MUST_CHECK;
void facts_free(struct facts *);

/* Lines of the record that could not be read, but for a last one that was cut short. */
int64_t facts_bad_lines(const struct facts *);

/* run.json, as long as facts live. */
const json_t *facts_run(const struct facts *);

struct figure {
	enum {
		FIGURE_KNOWN,
		FIGURE_TOO_FEW,     /* value is there, but too few samples stand behind it to tell */
		FIGURE_AT_LEAST,    /* it lies between value and upper: part of what it is about was not seen */
		FIGURE_MISSING,     /* no data: evidence says what is missing */
		FIGURE_OTHER_DRILL, /* the criterion is about a phase that this drill does not have */
	} state;
	double value; /* in the base unit of the criterion */
	double upper; /* what it cannot exceed: of a percentile with too few samples the largest value seen; INFINITY when not known */
	char evidence[600]; /* one sentence: where the value comes from, or what is missing */
};

/* The figure that c asks for, in `phase` (NULL: in the phase that c names, or its default scope: every phase but warmup and baseline). */
void facts_measure(const struct facts *, const struct criterion *c, const char *phase, struct figure *out);

/* Seconds with traffic, and those of them in which the busiest load worker used more than `share` of a core, or a timer of one fired
 * later than lag_ns. */
struct generator_seconds {
	int all, busy, lagging;
};
struct generator_seconds facts_count_generator(const struct facts *, double share, int64_t lag_ns);

#endif
