/* Performs one drill of a scenario on one fresh target, under load and observed, and writes one record. It judges nothing. */
#ifndef PGR_SCENARIO_CONDUCTOR_H
#define PGR_SCENARIO_CONDUCTOR_H

#include "base/error.h"
#include "load/engine.h"

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#define REHEARSAL_STANDBYS_MAX 16

/* What a person sees while it runs, about once a second. Strings last until the callback returns; -1 = not known. */
struct rehearsal_progress {
	const char *drill;
	const char *phase;  /* "" before the first */
	const char *step;   /* "" between steps */
	const char *detail; /* "12,000 of about 100,000 rows, 3 batches"; "" when there is none */
	int step_index, step_count;
	bool down;             /* the step is being undone */
	int64_t elapsed_ns;    /* since the record's start */
	int64_t eta_ns;        /* of the step */
	int64_t phase_left_ns; /* of a phase whose length is given */
	bool traffic;          /* the rest is known: traffic has begun */
	double planned_rate;   /* arrivals that fell due, a second */
	double done_rate;      /* transactions that succeeded, a second */
	uint64_t failed;       /* since the last call, those abandoned included */
	uint64_t abandoned;
	struct load_errors errors; /* of failed: by SQLSTATE */
	uint64_t backlog;
	int64_t backlog_age_ns;
	int64_t p50_ns, p99_ns, max_ns; /* response time of the last second */
	int64_t late_ns;                /* p99 of the generator's own schedule error */
	int64_t lag_ns;                 /* the worst standby's */
	int waiting;                    /* sessions that waited for a lock */
	int64_t longest_wait_ns;
};

struct target;
struct replay_spec;

struct rehearsal {
	const char *scenario_path; /* NULL: traffic without a migration */
	const char *workload_path; /* path or name; NULL: the scenario's */
	const char *drill;         /* one of drill_names() or "load" (without scenario) */
	double scale;              /* of the data that is there */
	uint64_t seed;
	const char *out_dir;         /* the record's folder: missing or empty */
	const char *const *criteria; /* further ones (--require), NULL-terminated; or NULL */

	const char *dsn;            /* the target, which the guard has let pass */
	struct target *target;      /* the same, for a failover; or NULL */
	const json_t *target_facts; /* how it was made, for the record; or NULL */
	bool sandbox;               /* it is one of ours */
	int standbys;
	const char *const *standby_names;
	const char *const *standby_dsns;
	bool record_values;     /* the record may hold what transactions bound to statements that failed */
	const char *pooler_dsn; /* the application's sessions go through it; or NULL */
	bool pooler_transactions;

	/* Of the load; 0 takes the scenario's value. */
	bool closed, even, ledger;
	const char *read_from;         /* a standby's name */
	const char *const *flags;      /* feature flags of the workload, "NAME=VALUE", NULL-terminated; or NULL */
	const struct load_weight *mix; /* weights that differ from the workload's */
	size_t n_mix;
	const char *rate; /* a program, as for rate_parse; NULL: the scenario's */
	struct think think;
	struct requests requests;
	int users;
	int64_t acquire_timeout_ns, patience_ns;
	int pods, pool, workers;
	int64_t duration_ns;              /* of the drill "load"; with replay: of a trace that would last longer, 0: its whole */
	const struct replay_spec *replay; /* a trace instead of a workload's transactions; NULL: the scenario's, if it names one */
	bool no_availability;             /* whether tables can be read and written is not tried, whatever the scenario says */

	/* What the database was like after the migration: the drill "forward" keeps it (a new value, when keep_state is not NULL), "crash" has to
	 * arrive at it (NULL: it is not compared). */
	json_t **keep_state;
	const json_t *reference;
	/* The fingerprint of the state that all drills of a rehearsal start from: the first that needs it keeps it here. NULL: the drill is alone,
	 * or does not start from where the others did. */
	json_t **start;

	const volatile sig_atomic_t *stop; /* when it turns non-zero, the drill ends with ST_INTERRUPTED; or NULL */
	void (*progress)(const struct rehearsal_progress *p, void *arg);
	void *arg;
};

/* ST_OK: it was performed to its end, though perhaps a step failed: that is a finding, for the judge. Otherwise the record says
 * `failed` or `interrupted`, or there is none (ST_USAGE: the scenario, the workload or the folder). Leaves no session behind. */
enum status conductor_perform(const struct rehearsal *rehearsal, struct error *err) MUST_CHECK;

/* The drills, in the order in which `all` performs them, NULL-terminated. A name followed by '-' stands for all that begin so, and so
 * does the part before '-': "blocked". */
const char *const *drill_names(void);

#endif
