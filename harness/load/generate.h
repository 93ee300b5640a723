/* The data of a workload: schema, rows by COPY, then keys and indexes. */
#ifndef PGR_LOAD_GENERATE_H
#define PGR_LOAD_GENERATE_H

#include "base/error.h"

#include <stdint.h>

/* total 0: the step is not counted in rows (schema, finish), done is how many statements are. Called by the calling thread, about five times a second. */
typedef void generate_progress(const char *what, int64_t done, int64_t total, void *arg);

/* Fills the database of dsn, which must not hold the workload's tables yet. The same (workload, scale, seed) makes the same rows.
 * Blocks; uses two connections and two threads. workload_path: as for workload_find. progress may be NULL.
 * ST_USAGE: the workload; ST_FAILED: the server. After an error the database is to be thrown away. */
enum status generate_data(const char *dsn, const char *workload_path, double scale, uint64_t seed, generate_progress *progress, void *arg,
	struct error *err) MUST_CHECK;

#endif
