/* libFuzzer target: trace files, read to their end. */
#define _GNU_SOURCE
#include "replay/trace.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char path[64];
	struct trace *t;
	struct trace_event e;
	struct error err;
	int fd = memfd_create("trace", MFD_CLOEXEC);
	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (trace_open(path, &t, &err) == ST_OK) {
		struct buf sql;
		buf_init(&sql, LOG_RECORD_MAX);
		while (trace_next(t, &e, &err)) {
			buf_clear(&sql);
			trace_event_text(&e, &sql);
		}
		buf_free(&sql);
		trace_close(t);
	}
	close(fd);
	return 0;
}
