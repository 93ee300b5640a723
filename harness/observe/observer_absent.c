/* Until observer.c is here: an observer that sees nothing, so that the rest can be linked and run. Weak: the real one takes its place. */
#include "observe/observer.h"

#include "base/clock.h"

#include <stdlib.h>

#define WEAK __attribute__((weak))

struct observer {
	int64_t last_ns;
};

WEAK enum status observer_start(const struct observer_config *config, struct observer **out, struct error *err)
{
	(void)config;
	struct observer *o = calloc(1, sizeof *o);
	if (o == NULL)
		return error_set(err, ST_FAILED, "out of memory");
	o->last_ns = clock_now_ns();
	*out = o;
	return ST_OK;
}

WEAK void observer_note_slow(struct observer *o, int pid, int64_t sent_ns, int64_t done_ns, const char *sqlstate, const char *version,
	const char *transaction, const char *statement)
{
	(void)o, (void)pid, (void)sent_ns, (void)done_ns, (void)sqlstate, (void)version, (void)transaction, (void)statement;
}

WEAK void observer_note_statement(struct observer *o, const struct observer_statement *st)
{
	(void)o, (void)st;
}

WEAK void observer_collect(struct observer *o, struct observation *out)
{
	*out = (struct observation){.start_ns = o->last_ns, .end_ns = clock_now_ns(), .wal_bytes = -1};
	o->last_ns = out->end_ns;
}

WEAK json_t *observation_lag_json(const struct observation *seen)
{
	(void)seen;
	return json_array();
}

WEAK int64_t observer_replay_lag_ns(struct observer *o)
{
	(void)o;
	return -1;
}

WEAK json_t *observer_totals_json(const struct observer_totals *totals)
{
	return json_pack("{s:I}", "period_ns", (json_int_t)totals->period_ns);
}

WEAK enum status observer_stop(struct observer *o, struct observer_totals *out, struct error *err)
{
	(void)err;
	*out = (struct observer_totals){0};
	free(o);
	return ST_OK;
}
