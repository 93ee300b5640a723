/* Where quotes, and two further bytes, are in 64 bytes, found at once: fields of logs are short. Private to the splitters. */
#ifndef PGR_REPLAY_LOG_BLOCK_H
#define PGR_REPLAY_LOG_BLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct log_block {
	char *at;               /* of bit 0 */
	uint64_t quotes, stops; /* stops: either of the two bytes */
};

static inline void log_block_fill(struct log_block *b, const char *bytes, char stop, char other_stop)
{
	b->quotes = b->stops = 0;
#ifdef __SSE2__
	const __m128i quote = _mm_set1_epi8('"'), one = _mm_set1_epi8(stop), two = _mm_set1_epi8(other_stop);
	for (unsigned i = 0; i < 64; i += 16) {
		__m128i some = _mm_loadu_si128((const __m128i *)(const void *)(bytes + i));
		__m128i stops = _mm_or_si128(_mm_cmpeq_epi8(some, one), _mm_cmpeq_epi8(some, two));
		b->quotes |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(some, quote)) << i;
		b->stops |= (uint64_t)(unsigned)_mm_movemask_epi8(stops) << i;
	}
#else
	for (unsigned i = 0; i < 64; i++) {
		b->quotes |= (uint64_t)(bytes[i] == '"') << i;
		b->stops |= (uint64_t)(bytes[i] == stop || bytes[i] == other_stop) << i;
	}
#endif
}

/* Bytes behind end are not read, and have no bits. */
static inline void log_block_look(struct log_block *b, char *at, const char *end, char stop, char other_stop)
{
	b->at = at;
	if (end - at >= 64) {
		log_block_fill(b, at, stop, other_stop);
	} else {
		char rest[64] = {0};
		memcpy(rest, at, (size_t)(end - at));
		log_block_fill(b, rest, stop, other_stop);
	}
}

#endif
