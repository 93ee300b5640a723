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

/*
 * The event's statement with its literals replaced, appended to text, comments emptied; the answer is its parameters (n_params of them),
 * valid until the next call. What the server must know where it stands stays (replay/anonymize_text.h says what). What stands between $tag$
 * is a value like any other; in the bodies of DO and CREATE FUNCTION names and keywords stay, and literals and comments are replaced like those of a
 * statement, SQL in them that is put together from texts included. A statement without a shape is withheld, and so is such a body.
 */
const struct param *anonymize_event(struct anonymizer *a, const struct trace_event *e, struct buf *text);

/*
 * One value, of n bytes, into as many bytes at out. Each run of letters and digits is replaced for itself, so that a name is the same in
 * a list, a pattern and a column:
 * - whole numbers by others of as many digits, never two by the same one, within smallint and integer when they were within these; so are the
 *   digits before a decimal point; the exponent of a number stays;
 * - dates and times by others that exist: of 2026-11-21 year and month stay, of 21.11.2026 the year;
 * - IPv4 addresses by others, each part as long as it was; lengths of networks stay;
 * - UUIDs, IPv6, MAC addresses, \x of a bytea, and runs of eight and more hexadecimal digits by hexadecimal digits;
 * - other letters by letters of the same case.
 * What has up to two letters and digits in all (a value; in a list or JSON each element) stays, and so do keys of JSON objects, true, null, units of
 * intervals with their one or two digits, and the like.
 */
void anonymize_value(const struct anonymizer *a, const char *value, size_t n, char *out);

#endif
