/* How long tables could not be read or written: figures out of windows.jsonl. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/units.h"
#include "judge/facts_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_start(const void *a, const void *b)
{
	const struct window_facts *x = a, *y = b;
	return (x->start_ns > y->start_ns) - (x->start_ns < y->start_ns);
}

/* Nanoseconds in which at least one of the windows was open; sorts them. */
static int64_t time_in_any(struct window_facts *windows, size_t n)
{
	int64_t total_ns = 0, until_ns = INT64_MIN;
	qsort(windows, n, sizeof *windows, by_start);
	for (size_t i = 0; i < n; i++) {
		int64_t from_ns = windows[i].start_ns > until_ns ? windows[i].start_ns : until_ns;
		int64_t to_ns = windows[i].start_ns + windows[i].length_ns;
		if (to_ns > from_ns) {
			total_ns += to_ns - from_ns;
			until_ns = to_ns;
		}
	}
	return total_ns;
}

/* Why nothing can be said about a table, in `out`; false when something can. */
static bool is_unknown(const struct facts *f, const struct criterion *c, const char *access, struct figure *out)
{
	const json_t *summary = json_object_get(f->run, "availability");
	const char *why = NULL;
	size_t i;
	json_t *entry;
	bool watched = c->label[0] == '\0' && json_array_size(json_object_get(summary, "tables")) > 0;
	json_array_foreach(json_object_get(summary, "tables"), i, entry) if (strcmp(json_string_value(entry), c->label) == 0)
		watched = true;
	if (summary == NULL)
		why = "availability was not measured";
	else if (json_get_int(summary, "rounds", 0) == 0)
		why = "availability was measured not once";
	else if (!watched && c->label[0] == '\0')
		why = "no table was in use";
	json_array_foreach(json_object_get(summary, "denied"), i, entry)
	{
		const char *table = json_get_string(entry, "table", "");
		if (why == NULL && strcmp(json_get_string(entry, "access", ""), access) == 0 &&
			(c->label[0] == '\0' || strcmp(c->label, table) == 0)) {
			snprintf(out->evidence, sizeof out->evidence, "%s of table %s were not measured: the role lacks the privilege",
				access, table);
			out->state = FIGURE_MISSING;
			return true;
		}
	}
	if (why == NULL && !watched) {
		snprintf(out->evidence, sizeof out->evidence, "table %s was not watched: no traffic was seen on it", c->label);
		out->state = FIGURE_MISSING;
		return true;
	}
	if (why == NULL)
		return false;
	snprintf(out->evidence, sizeof out->evidence, "%s", why);
	out->state = FIGURE_MISSING;
	return true;
}

void figure_blocked(const struct facts *f, const struct criterion *c, uint64_t phases, const char *scope, struct figure *out)
{
	bool writes = c->metric == METRIC_WRITES_BLOCKED;
	const char *access = writes ? "writes" : "reads";
	if (is_unknown(f, c, access, out))
		return;
	struct window_facts *windows = calloc(f->windows.n + 1, sizeof *windows);
	const struct window_facts *longest = NULL;
	size_t n = 0, open = 0;
	for (size_t i = 0; windows != NULL && i < f->windows.n; i++) {
		const struct window_facts *w = &f->windows.at[i];
		if (w->phase < 0 || (phases >> w->phase & 1) == 0 || strcmp(w->access, access) != 0 ||
			(c->label[0] != '\0' && strcmp(c->label, w->table) != 0))
			continue;
		windows[n++] = *w;
		open += w->open;
		if (longest == NULL || w->length_ns > longest->length_ns)
			longest = w;
	}
	int64_t total_ns = windows != NULL ? time_in_any(windows, n) : 0;
	free(windows);
	int64_t value_ns = c->stat == STAT_MAX ? (longest != NULL ? longest->length_ns : 0) : total_ns;
	out->value = c->stat == STAT_COUNT ? (double)n : (double)value_ns / (double)NS_PER_S;
	if (longest == NULL) {
		snprintf(out->evidence, sizeof out->evidence, "%s were possible at every look %s", access, scope);
		return;
	}
	char length[32], bound[32], at[32], behind[64] = "";
	if (longest->blamed != 0)
		snprintf(behind, sizeof behind, ", by statement %lld", (long long)longest->blamed);
	snprintf(out->evidence, sizeof out->evidence, "%zu window%s without %s %s; the longest of %s%s (within %s) on %s at %s%s", n,
		n == 1 ? "" : "s", access, scope, longest->at_least ? "at least " : "",
		units_format_time(longest->length_ns, length, sizeof length), units_format_time(longest->bound_ns, bound, sizeof bound),
		longest->table, units_format_time(longest->start_ns, at, sizeof at), behind);
	if (open == 0 || c->stat == STAT_COUNT)
		return;
	out->state = FIGURE_AT_LEAST;
	out->upper = INFINITY;
	size_t len = strlen(out->evidence);
	snprintf(out->evidence + len, sizeof out->evidence - len, "; %zu of them %s not seen to end", open, open == 1 ? "was" : "were");
}
