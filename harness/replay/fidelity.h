/* How true a replay was to its capture: measures with limits, beyond which a run is unfit to be judged, and the tables behind them. */
#ifndef PGR_REPLAY_FIDELITY_H
#define PGR_REPLAY_FIDELITY_H

#include "replay/play_record.h"

#include <jansson.h>

/* Shares of 1, but for late_ns. A limit below 0 is not applied. */
struct fidelity_limits {
	double coverage;     /* of the statements that fell due, at least so many were sent: 0.99 */
	double capture_loss; /* of the log's busy time at most so much is not in the trace: 0.05 */
	double new_errors;   /* of the statements that ended: 0.001 */
	double lost_errors;  /* captured errors that did not come again, or came as others: 0.005 */
	double rows;         /* of the statements whose rows are known in both: 0.01 */
	double unfinished;   /* of the statements sent: 0.001 */
	double arrivals;     /* of the arrivals, by seconds, at least so many where the capture had them: 0.9 */
	double order;        /* sent although others that came before had not ended: 0.001 */
	double late_ns;      /* p99 of sent less due, of sessions that were idle: 20 ms */
	double uncovered_ns; /* of traffic after the trace's end: 1 s */
};
extern const struct fidelity_limits FIDELITY_DEFAULTS;

/* "NAME=VALUE" as people write it: new_errors=0.5%, late=50ms, arrivals=none. ST_USAGE. */
enum status fidelity_set_limit(struct fidelity_limits *limits, const char *text, struct error *err) MUST_CHECK;

struct fidelity_run {
	struct play_summary played;
	double capture_loss;                /* share; -1: unknown */
	int64_t order_released;             /* sent although their turn had not come; -1: nobody waited */
	int64_t order_skipped;              /* besides, behind rows taken with SKIP LOCKED */
	int64_t rows_taken, rows_otherwise; /* with SKIP LOCKED; in the place of another one */
	int64_t uncovered_ns;               /* traffic that was wanted after the trace's end; -1: it was none of anybody's business */
	bool paced;                         /* statements had due times; as fast as possible there is no lateness */
};

/* {measures: [{name, what, value, limit, unit, ok, detail}], ...}: the field `fidelity` of a record (reports/RECORD.md). */
json_t *fidelity_json(const struct fidelity_run *run, const struct fidelity_limits *limits);

/* A sentence for each measure beyond its limit (a new array): what makes the run INVALID. */
json_t *fidelity_reasons(const json_t *fidelity);

#endif
