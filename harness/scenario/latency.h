/* The detailed histograms of a run, by transaction and by statement: to latency.hlog every ten seconds, and their percentiles over
 * the whole run. Internal to the room. */
#ifndef PGR_SCENARIO_LATENCY_H
#define PGR_SCENARIO_LATENCY_H

#include "load/engine.h"
#include "record/record.h"

#include <jansson.h>
#include <stdint.h>

struct latency;

struct latency *latency_create(void);
void latency_free(struct latency *l);

/* Adds what the interval measured. All intervals are of one load. */
void latency_add(struct latency *l, const struct load_interval *in);

/* Writes what was added since the last time as one line a histogram, those without a value left out. Times in ns of the run. */
void latency_write(struct latency *l, struct record *record, int64_t from_ns, int64_t to_ns);

/* Field `latency` of run.json: of all that was written so far. */
json_t *latency_json(const struct latency *l);

#endif
