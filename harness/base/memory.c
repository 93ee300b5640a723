/* See the header. */
#include "base/memory.h"

#include <stdlib.h>

enum { PAGE = 4096 };

void memory_touch(void *at, size_t n)
{
	/* Writing, though they are zero: a page that was only read is the kernel's common page of zeros. */
	volatile char *bytes = at;
	for (size_t i = 0; i < n; i += PAGE)
		bytes[i] = bytes[i];
	if (n > 0)
		bytes[n - 1] = bytes[n - 1];
}

void *memory_create(size_t n)
{
	void *at = calloc(1, n);
	if (at != NULL)
		memory_touch(at, n);
	return at;
}
