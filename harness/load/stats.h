/* What one worker counts and measures between two collections. The worker owns the one that it fills; load_collect gives it an
 * empty one in exchange. */
#ifndef PGR_LOAD_STATS_H
#define PGR_LOAD_STATS_H

#include "load/engine.h"
#include "load/workload.h"

/* What sessions execute beside the workload's statements; their indexes stand behind those. */
enum extra_statement { EXTRA_BEGIN, EXTRA_COMMIT, EXTRA_ROLLBACK, EXTRA_PIPELINE, EXTRA_SET, EXTRA_STATEMENTS };
const char *stats_extra_name(enum extra_statement extra);

struct stats {
	uint64_t abandoned;
	uint64_t followed;       /* requests of users that fell due, besides those of the plan */
	uint64_t missed_wakeups; /* arrivals that the leading worker left lying */
	uint64_t reconnects;
	struct load_version versions[LOAD_VERSIONS_MAX];
	struct load_counters counters;
	struct load_version reads; /* on the standby; its name is NULL */
	size_t n_versions, n_transactions;
	struct load_hists *hists;                /* of version v and transaction t: [v * n_transactions + t] */
	size_t n_statements;                     /* of each version, with the extra ones */
	struct load_statement_hists *statements; /* of version v and statement i: [v * n_statements + i] */
	struct hist *schedule_error;

	/* Written when it is handed over. */
	int worker;
	uint64_t waiting;       /* in the worker's own queues */
	int64_t waiting_due_ns; /* of the oldest of these; PLAN_NEVER: none */
	int64_t loop_lag_ns;
	double cpu_share;
};

/* One transaction that ended. */
struct ending {
	int version, transaction;
	bool ok;
	char sqlstate[6];
	int64_t due_ns;
	int64_t sent_ns;   /* the first send; 0: it sent nothing */
	int64_t paused_ns; /* its code's first pause, also behind that; 0: none */
	int64_t end_ns;
	bool awaited; /* an idle session stood ready when it fell due: until it sent or paused it was the generator that was late */
};

/* NULL when memory runs out. Names are those of the workload, which must live longer. */
struct stats *stats_create(const struct workload *w);
void stats_free(struct stats *s);
void stats_clear(struct stats *s);

void stats_record(struct stats *s, const struct ending *e);

/* One execution. Its histogram is made when it is the first of its outcome. index: of the workload's statement, or behind these. */
void stats_record_statement(struct stats *s, int version, unsigned index, bool ok, int64_t ns);

/* One more transaction that succeeded or failed. */
void stats_count_end(struct load_version *version, bool ok, const char *sqlstate);
void stats_count_error(struct load_errors *errors, const char *sqlstate, uint64_t count);

/* False when there are too many names already, or this one is too long. */
bool stats_count(struct load_counters *counters, const char *name, int64_t n);
void stats_add_counters(struct load_counters *into, const struct load_counters *from);

void stats_add_errors(struct load_errors *into, const struct load_errors *from);

/* Sums for totals and intervals: counts of all errors and of versions. in_flight is added too. */
void stats_add_version(struct load_version *into, const struct load_version *from);

/* An array of hists for all versions and transactions, all allocated; NULL when memory runs out. */
struct load_hists *stats_create_hists(const struct workload *w);
void stats_free_hists(struct load_hists *hists, size_t n);
void stats_clear_hists(struct load_hists *hists, size_t n);

/* Likewise for statements, none of them with a histogram yet. n: of each version. */
struct load_statement_hists *stats_create_statements(const struct workload *w, size_t *n);
void stats_free_statements(struct load_statement_hists *statements, size_t n);
void stats_clear_statements(struct load_statement_hists *statements, size_t n);

/* Adds from, if there is anything in it, to *into, which is made where it is NULL. */
void stats_merge_lazily(struct hist **into, const struct hist *from);

/* Adds s to the interval: counts, histograms and, as maxima, health. The interval was cleared by stats_clear_interval. */
void stats_add(struct load_interval *into, const struct stats *s);
void stats_clear_interval(struct load_interval *interval);

#endif
