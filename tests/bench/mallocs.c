/* Preloaded by allocations.sh: counts calls of malloc and its fellows by who makes them, in a file that the script reads while the
 * program runs: [0] the program's own code, [1] Lua, [2] everything else (libpq, jansson, libc). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct range {
	uintptr_t from, to;
};

static struct range program, lua;
static _Atomic uint64_t *counts;

extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);

static int note_object(struct dl_phdr_info *info, size_t size, void *arg)
{
	(void)size;
	int *n = arg;
	const char *within = getenv("MALLOC_LUA"); /* "FROM TO", hexadecimal: where Lua allocates, if it is a part of the program */
	if (*n == 0 && within != NULL) {
		char *end;
		lua.from = info->dlpi_addr + strtoul(within, &end, 16);
		lua.to = info->dlpi_addr + strtoul(end, NULL, 16);
	}
	struct range *out = (*n)++ == 0 ? &program : strstr(info->dlpi_name, "/liblua") != NULL ? &lua : NULL;
	for (int i = 0; out != NULL && i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		if (p->p_type == PT_LOAD && (p->p_flags & PF_X) != 0)
			*out = (struct range){info->dlpi_addr + p->p_vaddr, info->dlpi_addr + p->p_vaddr + p->p_memsz};
	}
	return 0;
}

__attribute__((constructor)) static void open_counts(void)
{
	const char *path = getenv("MALLOC_COUNTS");
	int n = 0, fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	unsetenv("LD_PRELOAD"); /* servers and scripts that it starts are not counted */
	if (fd < 0)
		return;
	dl_iterate_phdr(note_object, &n);
	void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (map != MAP_FAILED)
		counts = map;
}

static bool holds(struct range r, uintptr_t at)
{
	return at >= r.from && at < r.to;
}

static void count(void *caller)
{
	uintptr_t at = (uintptr_t)caller;
	if (counts != NULL)
		atomic_fetch_add_explicit(&counts[holds(lua, at) ? 1 : holds(program, at) ? 0 : 2], 1, memory_order_relaxed);
}

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): glibc's names are reserved ones */
void *malloc(size_t n)
{
	count(__builtin_return_address(0));
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	count(__builtin_return_address(0));
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	count(__builtin_return_address(0));
	return __libc_realloc(p, n);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
