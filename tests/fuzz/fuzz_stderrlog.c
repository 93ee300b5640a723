/* libFuzzer target: stderr logs. The first line is the prefix, unless it is empty: then it is guessed. */
#define _GNU_SOURCE
#include <stdint.h>

#include "logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char prefix[256];
	const uint8_t *newline = memchr(data, '\n', size);
	if (newline == NULL || (size_t)(newline - data) >= sizeof prefix)
		return 0;
	size_t n = (size_t)(newline - data);
	memcpy(prefix, data, n);
	prefix[n] = '\0';
	read_log(newline + 1, size - n - 1, LOG_FORMAT_STDERR, n > 0 ? prefix : NULL);
	return 0;
}
