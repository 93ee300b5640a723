/* What the live view says: when, traffic, response times, errors, locks and lag, and the step under way. */
#define _GNU_SOURCE
#include "cli/live.h"

#include "base/clock.h"
#include "base/units.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define HEARTBEAT_NS (100 * NS_PER_MS) /* replication lag is known to this */
#define LATE_NS NS_PER_MS              /* schedule error of a generator worth a word of warning */
#define OLD_NS NS_PER_S                /* a backlog of this age as well */

static void add(struct live_line *line, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void add(struct live_line *line, const char *fmt, ...)
{
	va_list ap;
	size_t n = strlen(line->text);
	va_start(ap, fmt);
	vsnprintf(line->text + n, sizeof line->text - n, fmt, ap);
	va_end(ap);
}

static void add_time(struct live_line *line, const char *before, int64_t ns)
{
	char value[32];
	if (ns >= 0)
		add(line, "%s%s", before, units_format_time(ns, value, sizeof value));
}

const char *live_errors(const struct load_errors *errors, int most, char *out, size_t size)
{
	bool told[LOAD_SQLSTATES_MAX] = {false};
	size_t n = 0;
	out[0] = '\0';
	for (int k = 0; k < most && n < size; k++) {
		size_t best = errors->n;
		for (size_t i = 0; i < errors->n; i++)
			if (!told[i] && errors->at[i].count > 0 && (best == errors->n || errors->at[i].count > errors->at[best].count))
				best = i;
		if (best == errors->n)
			break;
		told[best] = true;
		n += (size_t)snprintf(
			out + n, size - n, "%s%" PRIu64 " × %s", k > 0 ? ", " : "", errors->at[best].count, errors->at[best].sqlstate);
	}
	return out;
}

const char *live_lag(int64_t ns, char *out, size_t size)
{
	if (ns < HEARTBEAT_NS)
		snprintf(out, size, "<0.1 s");
	else
		units_format_time(ns, out, size);
	return out;
}

static void compose_head(const struct rehearsal_progress *r, struct live_line *line)
{
	int64_t seconds = r->elapsed_ns / NS_PER_S;
	add(line, "  %02d:%02d     %s", (int)(seconds / 60), (int)(seconds % 60), r->drill);
	if (r->phase[0] != '\0' && strcmp(r->phase, r->drill) != 0)
		add(line, " · %s", r->phase);
	if (r->phase_left_ns >= 0)
		add(line, "   %" PRId64 " s left", (r->phase_left_ns + NS_PER_S - 1) / NS_PER_S);
}

static void compose_traffic(const struct rehearsal_progress *r, struct live_line *line)
{
	add(line, "  traffic   %.0f/s of %.0f/s planned", r->done_rate, r->planned_rate);
	if (r->backlog > 0) {
		add(line, "   backlog %" PRIu64, r->backlog);
		add_time(line, ", the oldest ", r->backlog_age_ns);
	}
	if (r->late_ns >= LATE_NS)
		add_time(line, "   the generator is late: p99 ", r->late_ns);
	if (r->backlog_age_ns >= OLD_NS || r->late_ns >= LATE_NS)
		line->mood = LIVE_WARNING;
}

static void compose_response(const struct rehearsal_progress *r, struct live_line *line)
{
	add(line, "  response ");
	if (r->p99_ns < 0)
		add(line, " nothing ended in the last second");
	add_time(line, " p50 ", r->p50_ns);
	add_time(line, "   p99 ", r->p99_ns);
	add_time(line, "   max ", r->max_ns);
}

static void compose_errors(const struct rehearsal_progress *r, struct live_line *line)
{
	char list[128];
	if (r->failed == 0) {
		add(line, "  errors    none");
		return;
	}
	line->mood = LIVE_BAD;
	add(line, "  errors    %" PRIu64, r->failed);
	live_errors(&r->errors, 4, list, sizeof list);
	if (list[0] != '\0')
		add(line, ": %s", list);
	if (r->abandoned > 0)
		add(line, "%s %" PRIu64 " gave up waiting", list[0] != '\0' ? "," : ":", r->abandoned);
}

static void compose_locks(const struct rehearsal_progress *r, struct live_line *line)
{
	char lag[32];
	if (r->waiting > 0) {
		add(line, "  locks     %d waiting", r->waiting);
		add_time(line, ", the longest ", r->longest_wait_ns);
		line->mood = LIVE_WARNING;
	} else {
		add(line, "  locks     nobody waits");
	}
	if (r->lag_ns >= 0)
		add(line, "   replication lag %s", live_lag(r->lag_ns, lag, sizeof lag));
}

static void compose_step(const struct rehearsal_progress *r, struct live_line *line)
{
	if (r->step[0] != '\0')
		add(line, "  step      %s%d/%d %s", r->down ? "undo " : "", r->step_index, r->step_count, r->step);
	else
		add(line, "  now       %s", r->detail);
	if (r->step[0] != '\0' && r->detail[0] != '\0')
		add(line, ": %s", r->detail);
	if (r->step[0] != '\0' && r->eta_ns > 0)
		add_time(line, "   left ", r->eta_ns);
}

int live_compose(const struct rehearsal_progress *r, struct live_line lines[LIVE_LINES])
{
	memset(lines, 0, LIVE_LINES * sizeof lines[0]);
	int n = 0;
	compose_head(r, &lines[n++]);
	if (r->traffic) {
		compose_traffic(r, &lines[n++]);
		compose_response(r, &lines[n++]);
		compose_errors(r, &lines[n++]);
		compose_locks(r, &lines[n++]);
	}
	if (r->step[0] != '\0' || r->detail[0] != '\0')
		compose_step(r, &lines[n++]);
	return n;
}
