/* Criteria: one sentence each, `metric[label].stat [during PHASE] OP VALUE [x baseline]`, read strictly.
 *
 *     latency.p99 during migration < 2 x baseline        step[fill status].duration < 24h
 *     lock_wait[users].max < 1s                           rollback.clean
 *     reads_blocked[users].max < 100ms                    writes_blocked.total during migration < 2s
 *
 * `during` is refused where no phase has a figure of its own (checks, rollback, ledger, drill, reconcile, a step's eta and eta_error),
 * `x baseline` there and where the baseline has none (step, migration, migration.statement).
 */
#ifndef PGR_JUDGE_CRITERION_H
#define PGR_JUDGE_CRITERION_H

#include "base/error.h"
#include "base/units.h"

#include <stdbool.h>
#include <stddef.h>

enum metric {
	METRIC_LATENCY,        /* [transaction] response time, failed transactions too */
	METRIC_SERVICE,        /* [transaction] service time, failed transactions too */
	METRIC_ERRORS,         /* [SQLSTATE] failed and abandoned transactions */
	METRIC_THROUGHPUT,     /* successful transactions per second */
	METRIC_BACKLOG,        /* arrivals due and not started, at the end of each interval */
	METRIC_LOCK_WAIT,      /* [relation] lock waits of the application: not of the migration, not of ourselves */
	METRIC_READS_BLOCKED,  /* [table] windows in which it could not be read */
	METRIC_WRITES_BLOCKED, /* [table] ... not be written */
	METRIC_STATEMENT,      /* [step] each attempt of each statement of the migration */
	METRIC_STEP,           /* [step] */
	METRIC_MIGRATION,      /* the phase as a whole */
	METRIC_REPLAY_LAG,     /* [standby] by heartbeat */
	METRIC_REPLAY_BYTES,   /* [standby] */
	METRIC_SLOT_BYTES,     /* [slot] */
	METRIC_WAL,
	METRIC_CHECK, /* [check] */
	METRIC_ROLLBACK,
	METRIC_LEDGER,    /* acknowledged commits that are not there */
	METRIC_DRILL,     /* what the drill itself demands: findings */
	METRIC_RECONCILE, /* [name] rows in which old and new differ */
};

enum stat {
	STAT_QUANTILE, /* "p50", "p99.9": see criterion.quantile */
	STAT_MIN,
	STAT_MAX,
	STAT_MEAN,
	STAT_COUNT,
	STAT_TOTAL,
	STAT_RATE,
	STAT_DURATION,
	STAT_ETA,          /* of a backfill, from batches all over the table */
	STAT_ETA_ERROR,    /* how far off it was, as a share, without its sign */
	STAT_VICTIMS,      /* lock waits of the application that the step's statements are blamed for */
	STAT_LONGEST_WAIT, /* of those */
	STAT_REWRITES,     /* of tables, by statements of the step */
	STAT_SCANS,        /* of whole tables, likewise, to prove a constraint */
	STAT_BYTES,
	STAT_ROWS,
	STAT_CLEAN, /* holds or not; no comparison follows */
	STAT_IDENTICAL,
	STAT_COMPLETED,
};

enum comparison { CMP_NONE, CMP_LT, CMP_LE, CMP_GT, CMP_GE, CMP_EQ };

struct criterion {
	char text[512]; /* as written, blanks trimmed */
	enum metric metric;
	char label[256]; /* "" = all */
	enum stat stat;
	double quantile; /* of STAT_QUANTILE: 0.99 */
	char phase[64];  /* "" = every phase but warmup and baseline (every phase, when there is no other) */
	enum comparison comparison;
	double value;   /* in the base unit of unit; with `relative` a factor */
	enum unit unit; /* of the metric's values */
	bool relative;  /* times the same figure of the phase baseline */
};

/* Errors name the part that is not understood and list what would be accepted there. */
enum status criterion_parse(const char *text, struct criterion *out, struct error *err) MUST_CHECK;

/* Whether observed (base unit) satisfies the comparison with limit. */
bool criterion_holds(const struct criterion *c, double observed, double limit);

#endif
