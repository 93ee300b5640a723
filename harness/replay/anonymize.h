/* Values of a trace replaced by others of the same type and length, the same value by the same one everywhere, so that joins, groups and
 * repetitions stay what they were. */
#ifndef PGR_REPLAY_ANONYMIZE_H
#define PGR_REPLAY_ANONYMIZE_H

#include "base/buf.h"
#include "replay/trace.h"

struct anonymizer;

/* secret decides what becomes of each value; who has it can do the same with other traces, and guess at values. keep: words that stay,
 * such as those of an enum type; n of them, borrowed. */
struct anonymizer *anonymize_create(const char *secret, const char *const *keep, size_t n);
void anonymize_free(struct anonymizer *a);

/* The event's statement with its literals replaced, appended to text, comments emptied; the answer is its parameters (n_params of them),
 * valid until the next call. SET and SHOW stay as they are; a statement without a shape is withheld. */
const struct param *anonymize_event(struct anonymizer *a, const struct trace_event *e, struct buf *text);

/* One value, of n bytes, into as many bytes at out. Each run of letters and digits is replaced for itself, so that a name is the same in
 * a list, a pattern and a column:
 * - whole numbers of three digits and more by others of as many digits, never two by the same one, within smallint and integer when
 *   they were within these; so are the digits before a decimal point;
 * - days, hours, minutes and seconds of dates by others that exist;
 * - letters by letters of the same case, hexadecimal ones of UUIDs by such;
 * - up to two bytes, keys of JSON objects, true, null, units of intervals and the like: they stay. */
void anonymize_value(const struct anonymizer *a, const char *value, size_t n, char *out);

#endif
