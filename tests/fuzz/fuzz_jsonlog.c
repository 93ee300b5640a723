/* libFuzzer target: jsonlog, from its bytes to a trace. */
#define _GNU_SOURCE
#include <stdint.h>

#include "logs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	read_log(data, size, LOG_FORMAT_JSON, NULL);
	return 0;
}
