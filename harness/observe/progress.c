/* Progress of long commands. */
#include "observe/progress.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/units.h"

#include <stdio.h>
#include <string.h>

void progress_begin_look(struct progress *p)
{
	for (int i = 0; i < p->n; i++)
		p->marks[i].seen = false;
}

void progress_end_look(struct progress *p)
{
	int kept = 0;
	for (int i = 0; i < p->n; i++)
		if (p->marks[i].seen)
			p->marks[kept++] = p->marks[i];
	p->n = kept;
}

static struct progress_mark *find_mark(struct progress *p, const struct progress_facts *facts)
{
	for (int i = 0; i < p->n; i++)
		if (p->marks[i].pid == facts->pid && strcmp(p->marks[i].command, facts->command) == 0)
			return &p->marks[i];
	if (p->n == PROGRESS_MAX)
		return NULL;
	p->marks[p->n] = (struct progress_mark){.pid = facts->pid, .done = -1};
	snprintf(p->marks[p->n].command, sizeof p->marks[p->n].command, "%s", facts->command);
	return &p->marks[p->n++];
}

int64_t progress_estimate(struct progress *p, const struct progress_facts *facts, int64_t now_ns)
{
	struct progress_mark *m = find_mark(p, facts);
	if (m == NULL)
		return -1;
	m->seen = true;
	if (m->done < 0 || strcmp(m->phase, facts->phase) != 0 || facts->done < m->done) {
		snprintf(m->phase, sizeof m->phase, "%s", facts->phase);
		m->since_ns = now_ns;
		m->done = facts->done >= 0 ? facts->done : 0;
		return -1;
	}
	/* Whom it waits for tells nothing about when they end. */
	if (facts->locker != 0 || facts->total <= 0 || facts->done <= m->done || facts->total < facts->done)
		return -1;
	return (int64_t)((double)(now_ns - m->since_ns) * (double)(facts->total - facts->done) / (double)(facts->done - m->done));
}

static json_t *known(int64_t value)
{
	return value >= 0 ? json_integer(value) : json_null();
}

json_t *progress_json(const struct progress_facts *f, int64_t eta_ns)
{
	json_t *event = json_pack("{s:s, s:i, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "type", "progress", "pid", f->pid, "command",
		json_text(f->command), "application_name", json_text(f->application_name), "phase", json_text(f->phase), "done",
		known(f->done), "total", known(f->total), "unit", json_text(f->unit), "eta_ns", known(eta_ns));
	json_object_set_new(event, "table", f->relation[0] != '\0' ? json_text(f->relation) : json_null());
	if (f->locker != 0)
		json_object_set_new(event, "waiting_for",
			json_pack("{s:i, s:o, s:o}", "pid", f->locker, "application_name", json_text(f->locker_application_name),
				"xact_age_ns", known(f->locker_xact_age_ns)));
	return event;
}

void progress_text(const struct progress_facts *f, int64_t eta_ns, char *out, size_t size)
{
	char left[48] = "", share[32] = "", waits[160] = "", time[32];
	if (f->total > 0 && f->done >= 0 && f->locker == 0)
		snprintf(share, sizeof share, ", %d %%", (int)(100.0 * (double)f->done / (double)f->total));
	if (eta_ns >= 0)
		snprintf(left, sizeof left, ", %s left", units_format_time(eta_ns, time, sizeof time));
	if (f->locker != 0)
		snprintf(waits, sizeof waits, ": for %s (pid %d), whose transaction is %s old",
			f->locker_application_name[0] != '\0' ? f->locker_application_name : "a session", f->locker,
			f->locker_xact_age_ns >= 0 ? units_format_time(f->locker_xact_age_ns, time, sizeof time) : "of unknown age,");
	snprintf(
		out, size, "%s%s%s: %s%s%s%s", f->command, f->relation[0] != '\0' ? " on " : "", f->relation, f->phase, share, left, waits);
}
