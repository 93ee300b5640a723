/* Once a second, and at the edges of phases: collects what load and observer saw since then and writes it to the record.
 * Internal to the room. */
#ifndef PGR_SCENARIO_TICKER_H
#define PGR_SCENARIO_TICKER_H

#include "load/engine.h"
#include "observe/observer.h"
#include "record/record.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct ticker;
struct replay_traffic;

/* What the last interval was like, for throttles and for people. */
struct ticker_view {
	int64_t length_ns;
	uint64_t planned, ok, failed, abandoned, backlog, in_flight;
	int64_t backlog_age_ns;
	double rate;                    /* planned for its end, a second; 0: closed loop */
	int64_t p50_ns, p99_ns, max_ns; /* response time; -1: nothing ended */
	int64_t schedule_p99_ns;        /* -1: nothing was awaited */
	struct load_errors errors;      /* of all versions */
	int64_t lag_ns;                 /* the worst standby's heartbeat; -1: not known */
	int waiting;
	int64_t longest_wait_ns;
};

/* Of one app version, since the ticker was made. */
struct ticker_tally {
	const char *version;
	uint64_t ok, failed, abandoned;
	struct load_errors errors;
};

/* All four outlive the ticker. replay: whose traffic is counted instead of the load's, or NULL; observer may be NULL. */
struct ticker *ticker_create(struct load *load, struct replay_traffic *replay, struct observer *observer, struct record *record);
void ticker_free(struct ticker *t);

/* Writes the interval since the last cut as one of the current phase, and begins the next. Returns its end, in ns of the run. */
int64_t ticker_cut(struct ticker *t);

/* Ends the current phase (when there is one) at a cut, and starts `name` there (NULL: none). Before traffic begins, started is false:
 * there is nothing to collect yet. */
void ticker_phase(struct ticker *t, const char *name, bool started);

const char *ticker_phase_name(const struct ticker *t);
struct ticker_view ticker_view(const struct ticker *t);

/* As of the last cut; returns how many there are. */
size_t ticker_tally(const struct ticker *t, const struct ticker_tally **out);

/* Calls fn with the SQL of each of the workload's statements that has been executed by the last cut, in whichever version. */
void ticker_each_executed(const struct ticker *t, void (*fn)(const char *sql, void *arg), void *arg);

/* The fields `generator`, `latency` and `totals` of run.json. */
json_t *ticker_generator_json(const struct ticker *t);
json_t *ticker_latency_json(const struct ticker *t);
json_t *ticker_totals_json(const struct load_totals *totals);

#endif
