/* The kernel's page cache of a folder's files. */
#define _GNU_SOURCE
#include "clone/page_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* So much of a file is asked for at a time: a segment of a table has 1 GB. */
#define WINDOW ((size_t)64 << 20)
#define PAGES 16384 /* of it; pages are 4 kB or larger */

/* nftw passes no argument on. */
static struct page_cache_totals counted;

static int open_file(const char *path, int type)
{
	return type == FTW_F ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
}

static int drop_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)where;
	int fd = open_file(path, type);
	if (fd < 0)
		return 0;
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	close(fd);
	return 0;
}

static int fill_from_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)where;
	static char chunk[1 << 20];
	int fd = open_file(path, type);
	if (fd < 0)
		return 0;
	while (read(fd, chunk, sizeof chunk) > 0)
		;
	close(fd);
	return 0;
}

static void count_window(int fd, off_t from, size_t length, size_t page)
{
	static unsigned char pages[PAGES];
	void *at = mmap(NULL, length, PROT_READ, MAP_SHARED, fd, from);
	if (at == MAP_FAILED)
		return;
	if (mincore(at, length, pages) == 0) {
		for (size_t done = 0, i = 0; done < length; done += page, i++)
			if (pages[i] & 1)
				counted.held += (int64_t)(length - done < page ? length - done : page);
	}
	munmap(at, length);
}

static int count_file(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)where;
	int fd = open_file(path, type);
	if (fd < 0)
		return 0;
	counted.bytes += st->st_size;
	for (off_t from = 0; from < st->st_size; from += (off_t)WINDOW)
		count_window(fd, from, st->st_size - from < (off_t)WINDOW ? (size_t)(st->st_size - from) : WINDOW,
			(size_t)sysconf(_SC_PAGESIZE));
	close(fd);
	return 0;
}

static enum status walk(const char *dir, int (*each)(const char *, const struct stat *, int, struct FTW *), struct error *err)
{
	if (nftw(dir, each, 32, FTW_PHYS) == 0)
		return ST_OK;
	return error_set(err, ST_FAILED, "the files below %s cannot be looked through: %s", dir, strerror(errno));
}

enum status page_cache_drop(const char *dir, struct error *err)
{
	return walk(dir, drop_file, err);
}

enum status page_cache_fill(const char *dir, struct error *err)
{
	return walk(dir, fill_from_file, err);
}

enum status page_cache_count(const char *dir, struct page_cache_totals *totals, struct error *err)
{
	counted = (struct page_cache_totals){0};
	enum status st = walk(dir, count_file, err);
	*totals = counted;
	return st;
}
