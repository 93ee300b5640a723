/* Memory that is there from the beginning: the kernel has given all of its pages, and what was in it stays. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { PAGE = 4096, PAGES = 300, OUTSIDE = 100 };

static int count_resident(void *at, int pages)
{
	unsigned char resident[PAGES + 2 * OUTSIDE];
	int n = 0;
	assert_int_equal(mincore(at, (size_t)pages * PAGE, resident), 0);
	for (int i = 0; i < pages; i++)
		n += resident[i] & 1;
	return n;
}

static void what_is_touched_is_there_and_nothing_else(void **state)
{
	(void)state;
	const int all = PAGES + 2 * OUTSIDE;
	char *at = mmap(NULL, (size_t)all * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_ptr_not_equal(at, MAP_FAILED);
	madvise(at, (size_t)all * PAGE, MADV_NOHUGEPAGE);
	/* From the middle of one page to the middle of another. */
	memory_touch(at + OUTSIDE * PAGE + 100, (size_t)(PAGES - 1) * PAGE);
	assert_int_equal(count_resident(at + OUTSIDE * PAGE, PAGES), PAGES);
	assert_int_equal(count_resident(at, all), PAGES);
	munmap(at, (size_t)all * PAGE);
}

static void what_was_in_it_stays(void **state)
{
	(void)state;
	char text[3 * PAGE];
	memset(text, 'x', sizeof text);
	memory_touch(text, sizeof text);
	for (size_t i = 0; i < sizeof text; i++)
		assert_int_equal(text[i], 'x');
	memory_touch(text, 0);
}

static void what_is_made_is_zero(void **state)
{
	(void)state;
	char *at = memory_create((size_t)PAGES * PAGE);
	assert_non_null(at);
	for (size_t i = 0; i < (size_t)PAGES * PAGE; i++)
		assert_int_equal(at[i], 0);
	free(at);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_touched_is_there_and_nothing_else),
		cmocka_unit_test(what_was_in_it_stays),
		cmocka_unit_test(what_is_made_is_zero),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
