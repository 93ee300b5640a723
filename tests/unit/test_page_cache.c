/* What the kernel holds of files: dropped, filled, and counted to the page. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/fs.h"
#include "clone/page_cache.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#define PAGES 1000

static char home[32];
static size_t page;
static bool in_memory; /* then nothing can be dropped */

/* A file of so many pages and a bit in a folder of home. */
static void put(const char *name, int pages)
{
	char path[PATH_MAX];
	char *content = calloc(1, page);
	assert_non_null(content);
	snprintf(path, sizeof path, "%s/%s", home, name);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	for (int i = 0; i < pages; i++)
		assert_int_equal(write(fd, content, page), (ssize_t)page);
	assert_int_equal(write(fd, content, 10), 10);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	free(content);
}

static struct page_cache_totals count(void)
{
	struct error err = {0};
	struct page_cache_totals totals = {0};
	assert_int_equal(page_cache_count(home, &totals, &err), ST_OK);
	return totals;
}

static int set_up(void **state)
{
	(void)state;
	struct statfs fs;
	page = (size_t)sysconf(_SC_PAGESIZE);
	snprintf(home, sizeof home, "/tmp/pgr-unit-XXXXXX");
	if (mkdtemp(home) == NULL || statfs(home, &fs) != 0)
		return -1;
	in_memory = fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return fs_remove_tree(home, NULL) == ST_OK ? 0 : -1;
}

static void test_what_was_dropped_is_not_held_and_what_was_filled_is(void **state)
{
	(void)state;
	struct error err = {0};
	int64_t all = (int64_t)((PAGES + 3) * page + 20);
	if (in_memory)
		skip();
	put("large", PAGES);
	put("small", 3);
	assert_int_equal(page_cache_drop(home, &err), ST_OK);
	struct page_cache_totals totals = count();
	assert_int_equal(totals.bytes, all);
	assert_in_range(totals.held, 0, all / 10);
	assert_int_equal(page_cache_fill(home, &err), ST_OK);
	totals = count();
	assert_int_equal(totals.bytes, all);
	assert_int_equal(totals.held, all);
}

static void test_single_pages_are_counted(void **state)
{
	(void)state;
	struct error err = {0};
	char path[PATH_MAX], byte;
	if (in_memory)
		skip();
	put("large", PAGES);
	assert_int_equal(page_cache_drop(home, &err), ST_OK);
	int64_t before = count().held;
	snprintf(path, sizeof path, "%s/large", home);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	/* Without it the kernel reads what follows, too. */
	assert_int_equal(posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(pread(fd, &byte, 1, (off_t)((size_t)(i * 50) * page)), 1);
	close(fd);
	/* Some file systems read a few pages at once. */
	assert_in_range(count().held - before, 10 * page, 160 * page);
}

static void test_a_folder_that_is_not_there_is_an_error(void **state)
{
	(void)state;
	struct error err = {0};
	struct page_cache_totals totals;
	assert_int_equal(page_cache_count("/nonexistent/folder", &totals, &err), ST_FAILED);
	assert_non_null(strstr(err.what, "/nonexistent/folder"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_was_dropped_is_not_held_and_what_was_filled_is, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_single_pages_are_counted, set_up, tear_down),
		cmocka_unit_test(test_a_folder_that_is_not_there_is_an_error),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
