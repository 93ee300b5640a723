/* Requests that had no answer when the run ended: they have waited at least that long, and are in no histogram and no count of errors. */
#ifndef PGR_JUDGE_UNANSWERED_H
#define PGR_JUDGE_UNANSWERED_H

#include "judge/facts_private.h"

struct unanswered {
	int64_t n, oldest_ns;
};

/* Of one transaction, or of all ("", also those that no session had come to). service: by the time since they were sent, else since they were due.
 * Their ages so far go into hist, which may be NULL. Those of less than a second are left out: so many are always under way. */
struct unanswered unanswered_add(const struct facts *f, const char *transaction, bool service, struct hist *hist);

/* Adds to out's sentence how many they are, when there are any. */
void unanswered_tell(const struct unanswered *u, struct figure *out);

#endif
