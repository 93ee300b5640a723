/* HdrHistogram's V2 compressed encoding of one histogram, in base64: the last column of an interval log. */
#ifndef PGR_MEASURE_PAYLOAD_H
#define PGR_MEASURE_PAYLOAD_H

#include "base/buf.h"
#include "base/error.h"
#include "measure/hist.h"

/* Appends h to out. ST_FAILED when memory ran out; overflow is in out. */
enum status payload_encode(const struct hist *h, struct buf *out, struct error *err) MUST_CHECK;

/* Memory to decode in, allocated once: what a payload may unfold to is bounded by it. */
struct payload_scratch {
	unsigned char *packed;
	size_t packed_max;
	unsigned char *raw;
};

/* text_max: the longest text that payload_decode will be given. */
enum status payload_scratch_init(struct payload_scratch *s, size_t text_max, struct error *err) MUST_CHECK;
void payload_scratch_free(struct payload_scratch *s);

/*
 * Decodes len bytes of text into h, which is cleared first. Whatever the text is, h is valid afterwards; on an error it is empty.
 * min_ns and max_ns become the lowest and highest value of their slots, the sum that of the slots' middles.
 */
enum status payload_decode(struct payload_scratch *s, const char *text, size_t len, struct hist *h, struct error *err) MUST_CHECK;

#endif
