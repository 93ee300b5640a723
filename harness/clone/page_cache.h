/* What of a folder's files the kernel holds in memory: emptied, filled, and counted. */
#ifndef PGR_CLONE_PAGE_CACHE_H
#define PGR_CLONE_PAGE_CACHE_H

#include "base/error.h"

#include <stdint.h>

struct page_cache_totals {
	int64_t bytes; /* of all files */
	int64_t held;  /* of these, in memory */
};

/* Drops what the kernel holds of the files below dir, as far as it is on disk already: pages that are not are kept. */
enum status page_cache_drop(const char *dir, struct error *err) MUST_CHECK;

/* Reads all files below dir. What does not fit into memory pushes out what came before. */
enum status page_cache_fill(const char *dir, struct error *err) MUST_CHECK;

/* How much of the files below dir is held now (mincore, by pages; the kernel tells the files' owner and root only). Files that go meanwhile
 * are left out, as they are above. */
enum status page_cache_count(const char *dir, struct page_cache_totals *totals, struct error *err) MUST_CHECK;

#endif
