/* Memory that is there from the beginning. */
#ifndef PGR_BASE_MEMORY_H
#define PGR_BASE_MEMORY_H

#include <stddef.h>

/* Has the kernel give the pages of n bytes of zeros now: a long run then takes no more memory at its end than at its beginning, and nothing
 * is written with a page fault. What is there stays as it is. */
void memory_touch(void *at, size_t n);

/* n bytes of zeros, touched; for free(). NULL when memory runs out. */
void *memory_create(size_t n);

#endif
