/* The data of a workload: schema, rows by COPY, then keys and indexes. */
#ifndef PGR_LOAD_GENERATE_H
#define PGR_LOAD_GENERATE_H

#include "base/error.h"

#include <stdint.h>

/* Rows of all tables; what names the table that is being filled. total 0: the step is not counted in rows (schema, finish), done is how many
 * statements are. Called by the calling thread, about five times a second. */
typedef void generate_progress(const char *what, int64_t done, int64_t total, void *arg);

/* Fills the database of dsn, which must not hold the workload's tables yet. The same (workload, scale, seed) makes the same rows.
 * Blocks; uses as many connections and threads as there are processors, 2 to 8. workload_path: as for workload_find. progress may be NULL.
 * ST_USAGE: the workload; ST_FAILED: the server. After an error the database is to be thrown away. */
enum status generate_data(const char *dsn, const char *workload_path, double scale, uint64_t seed, generate_progress *progress, void *arg,
	struct error *err) MUST_CHECK;

/* The same, noting in the table pgrehearse.generated what is done, with it in one transaction: whatever ended it, even a crash of the server,
 * the next call with the same workload, scale and seed goes on from there. The table is gone when all is done. */
enum status generate_data_resumably(const char *dsn, const char *workload_path, double scale, uint64_t seed, generate_progress *progress,
	void *arg, struct error *err) MUST_CHECK;

/* About how many bytes the rows will take in the server's tables, without indexes: from the length of a few rows of each in COPY's text format and
 * the server's overhead a row. Needs no server. A row that cannot be made counts as empty. ST_USAGE: the workload. */
enum status generate_estimate(const char *workload_path, double scale, uint64_t seed, int64_t *bytes, struct error *err) MUST_CHECK;

#endif
