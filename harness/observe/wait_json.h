/* A lock wait as a line of waits.jsonl (reports/RECORD.md). */
#ifndef PGR_OBSERVE_WAIT_JSON_H
#define PGR_OBSERVE_WAIT_JSON_H

#include "observe/waits.h"

#include <jansson.h>

/* run_start_ns is the start of the run on the clock of the record's times. A new reference. */
json_t *wait_json(const struct wait_record *record, int64_t run_start_ns);

#endif
