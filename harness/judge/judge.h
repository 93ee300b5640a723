/* The judgement of one record: each criterion against the facts, and the word for the whole. */
#ifndef PGR_JUDGE_JUDGE_H
#define PGR_JUDGE_JUDGE_H

#include "base/error.h"

/* From best to worst, so that the worst of several is their maximum. */
enum verdict { VERDICT_PASS, VERDICT_INCONCLUSIVE, VERDICT_FAIL, VERDICT_INVALID };

/* "PASS" and so on. */
const char *verdict_name(enum verdict);

/* The program's exit code: 0 pass, 1 a criterion failed, 3 inconclusive or invalid. */
int verdict_exit_code(enum verdict);

/*
 * Judges the record in dir by its own criteria and `extra` (n of them, may be 0), and writes `verdict` and `invalid` into its run.json.
 * Every run with a phase migration is also judged by migration.completed, and one with findings by drill.clean, written or not.
 *
 * A criterion without data fails. One about a phase that the drill does not have (rollback.clean in the drill forward) is SKIPPED and
 * decides nothing. A percentile with fewer than ten samples above it is INCONCLUSIVE, unless even the longest sample satisfies it.
 * The run is INVALID when it did not finish, broke the conservation law, or when the load generator was the bottleneck:
 * in more than 5 % of the seconds (and in at least 3) a load worker used more than 90 % of a core, or, counted likewise, a timer of one fired
 * over 100 ms late; the p99 of its schedule error was above 20 ms (with fewer than 1,000 arrivals, its median); or its workers slept
 * through more than 10 % of the arrivals for which an idle session stood ready, so that another worker had to start them (with at
 * least 1,000 arrivals). Of captured traffic the schedule is left to the measure `late` of its fidelity, and workers that send as fast as
 * they can (pacing asap) may be busy.
 *
 * ST_USAGE: not a record, or a criterion that cannot be understood; nothing is written then.
 */
enum status judge_record(const char *dir, const char *const *extra, int n, enum verdict *out, struct error *err) MUST_CHECK;

#endif
