/* libFuzzer target: the log of a sandbox's server. What is kept is a part of it, within its limit. */
#define _GNU_SOURCE
#include "clone/server_log.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char trouble[256];
	struct buf lines;
	FILE *f = size > 0 ? fmemopen((void *)(uintptr_t)data, size, "r") : NULL;
	if (f == NULL)
		return 0;
	buf_init(&lines, 2 * SERVER_LOG_MAX);
	server_log_scan(f, &lines, trouble);
	if (lines.len > SERVER_LOG_MAX || lines.len > size + 1 || lines.overflow || strlen(trouble) > 255)
		abort();
	if (trouble[0] != '\0' && lines.len == 0)
		abort();
	buf_free(&lines);
	fclose(f);
	return 0;
}
