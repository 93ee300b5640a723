/* Transactions without an answer, out of what the record says of the end. */
#include "judge/unanswered.h"

#include "base/clock.h"
#include "base/units.h"

#include <stdio.h>
#include <string.h>

#define FROM_NS NS_PER_S

static void add(struct unanswered *u, int64_t age_ns, struct hist *hist)
{
	if (age_ns < FROM_NS)
		return;
	u->n++;
	if (age_ns > u->oldest_ns)
		u->oldest_ns = age_ns;
	if (hist != NULL)
		hist_record(hist, age_ns);
}

struct unanswered unanswered_add(const struct facts *f, const char *transaction, bool service, struct hist *hist)
{
	struct unanswered u = {0};
	const json_t *totals = json_object_get(f->run, "totals"), *one;
	size_t i;
	json_array_foreach(json_object_get(totals, "open"), i,
		one) if (transaction[0] == '\0' || strcmp(json_get_string(one, "transaction", ""), transaction) == 0)
		add(&u, json_get_int(one, service ? "sent_age_ns" : "due_age_ns", 0), hist);
	if (transaction[0] != '\0' || service || f->intervals.n == 0)
		return u; /* of those that were not started it is known since when they waited, and not which they were */
	/* They fell due one after the other since the oldest one did. */
	int64_t n = json_get_int(totals, "never_started", 0), age_ns = f->intervals.at[f->intervals.n - 1].backlog_age_ns;
	for (int64_t k = 1; k <= n && age_ns >= FROM_NS; k++)
		add(&u, (int64_t)((double)age_ns * (double)k / (double)n), hist);
	return u;
}

void unanswered_tell(const struct unanswered *u, struct figure *out)
{
	char age[32];
	size_t len = strlen(out->evidence);
	if (u->n > 0)
		snprintf(out->evidence + len, sizeof out->evidence - len,
			"; %lld of them had no answer when the run ended, the oldest for %s", (long long)u->n,
			units_format_time(u->oldest_ns, age, sizeof age));
}
