/* libFuzzer target: rate programs, think times and numbers of requests as people write them. What is accepted must be usable. */
#define _GNU_SOURCE
#include "load/rate.h"
#include "load/think.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void use_rate(const struct rate_program *p)
{
	long double before = 0;
	for (int64_t t = 1; t < (int64_t)1 << 52; t *= 7) {
		double rate = rate_at(p, t);
		long double u = rate_integral(p, t);
		require(isfinite(rate) && rate >= 0 && rate <= rate_peak(p) * (1 + 1e-9) + 1e-9);
		require(isfinite(u) && u >= before * (1 - 1e-12L));
		before = u;
		int64_t back = u > 0 ? rate_invert(p, u) : 0;
		require(back >= 0);
		/* The time that comes back may differ where the rate is 0; what it yields may not. */
		if (u > 0 && back != RATE_NEVER)
			require(fabsl(rate_integral(p, back) - u) <= 1e-6L + u * 1e-9L);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct rate_program program;
	char text[512];
	struct think think;
	struct requests requests;
	struct error err;
	if (size >= sizeof text)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	if (rate_parse(text, &program, &err) == ST_OK)
		use_rate(&program);
	else
		require(err.what[0] != '\0' && err.hint[0] != '\0');
	if (think_parse(text, &think, &err) == ST_OK)
		for (uint32_t i = 0; i < 10; i++)
			require(think_draw(&think, size * 1234567 + i, i) >= 0);
	if (requests_parse(text, &requests, &err) == ST_OK)
		require(requests_draw(&requests, size) >= 1);
	return 0;
}
