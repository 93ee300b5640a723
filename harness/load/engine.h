/* The load engine: worker threads that perform a workload's transactions against a server, open or closed loop, by the
 * plan of arrivals, in pods of so many sessions. It measures and counts; it judges nothing and writes no files.
 *
 * Names of versions and transactions in its answers live as long as the load.
 * Calls may come from any thread and are carried out one after the other. Those that say "blocks" wait for the workers; none
 * may be made from a callback of this header. */
#ifndef PGR_LOAD_ENGINE_H
#define PGR_LOAD_ENGINE_H

#include "base/error.h"
#include "load/think.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hist;
struct load;
struct rate_program;
struct workload;

#define LOAD_VERSIONS_MAX 16
#define LOAD_SQLSTATES_MAX 64
#define LOAD_PODS_MAX 10000
#define LOAD_SESSIONS_MAX 10000
#define LOAD_WORKERS_MAX 256
#define LOAD_USERS_MAX 1000000

/* Instead of an SQLSTATE: no session of the pool was free in time. */
#define LOAD_POOL_TIMEOUT "POOL"

/* One statement that took 1 ms or longer. The strings live as long as the load. */
struct load_slow {
	int pid; /* of the backend that executed it; nothing is told of sessions behind a pooler, whose backends are not known */
	int64_t sent_ns, done_ns; /* clock_now_ns() */
	char sqlstate[6];         /* "00000": it succeeded */
	const char *version, *transaction;
	const char *statement; /* its name in the workload; "BEGIN", "COMMIT", "ROLLBACK" for those */
};

/* One statement that failed, with what it was given. The strings live until the call returns. */
struct load_failure {
	const char *version, *transaction, *statement, *sqlstate, *message;
	int params;
	const char *const *values; /* params of them, as text; NULL: SQL NULL */
};

#define LOAD_FAILURES_TOLD 200

/* How long a request waits for a session of one app version's pods; the shorter one counts. 0: for ever. */
struct load_policy {
	const char *version;
	int64_t acquire_timeout_ns; /* the application's pool: a failed transaction with LOAD_POOL_TIMEOUT */
	int64_t patience_ns;        /* the user's, who then leaves: abandoned */
};

/* Strings are copied. */
struct load_config {
	const char *dsn;
	const char *workload_path;               /* path or name as for workload_find; NULL: the scenario's */
	const char *scenario_path;               /* its `versions` override transactions; or NULL */
	double scale;                            /* of the data that is there */
	uint64_t seed;                           /* of arrivals and of all that transactions draw */
	bool closed;                             /* each session starts its next transaction at once; rate is not used */
	bool even;                               /* open loop: one arrival every 1/rate instead of Poisson's; for tests and calibration */
	double rate;                             /* open loop: arrivals a second, >= 0; fractions are exact */
	const struct rate_program *program;      /* open loop: instead of rate; read by load_create only. Or NULL */
	int pods, pool;                          /* pods of pool sessions each; >= 1 */
	int workers;                             /* threads, >= 1; each has its share of every pod's sessions */
	int64_t acquire_timeout_ns, patience_ns; /* of versions without a policy of their own; as in struct load_policy */
	const struct load_policy *policies;      /* read by load_create only */
	size_t n_policies;
	struct think think;       /* pause between two requests of a user */
	struct requests requests; /* open loop: how many each arriving user makes; rate is then that of users. Zero: one */
	int users;                /* closed loop: how many there are; 0: one a session */
	const char *version;      /* that all pods start with; NULL: "v1" */
	const char *read_dsn;     /* read_only transactions run there, on sessions of their own beside those of the pools; or NULL */
	const char *read_from;    /* what the record calls it: "standby1" */
	const char *pooler_dsn;   /* the sessions of the pools go there, to the same database, through a connection pooler; or NULL */
	bool pooler_transactions; /* which gives each transaction another session of the server, so that nothing may outlast one: no statement is prepared */
	bool ledger; /* commits of transactions that are not read_only write into the ledger; the workload may say so too */

	/* All are called from worker threads, several at once, and must be quick. Each may be NULL. */
	void (*slow)(const struct load_slow *slow, void *arg);
	void (*warn)(const char *text,
		void *arg); /* an error of the workload's Lua, with traceback: the first of each transaction and version */
	void (*failed)(const struct load_failure *failure,
		void *arg); /* of the first LOAD_FAILURES_TOLD; what they were given is somebody's data */
	void *arg;          /* for all */
};

/* SQLSTATEs in the order in which they first occurred. A full table counts the rest as "OTHER". Three are not the server's: "LUA"
 * is a mistake in the workload, LOAD_POOL_TIMEOUT says that no session was free in time, 08006 that a connection was lost in mid-transaction
 * without a last word from the server. */
struct load_errors {
	size_t n;
	struct load_error {
		char sqlstate[6];
		uint64_t count;
	} at[LOAD_SQLSTATES_MAX];
};

#define LOAD_COUNTERS_MAX 32

/* What transactions count with c:count, by name in the order in which they were first used. */
struct load_counters {
	size_t n;
	struct load_counter {
		char name[48];
		int64_t value;
	} at[LOAD_COUNTERS_MAX];
};

struct load_version {
	const char *name;
	uint64_t started, ok, failed;
	uint64_t abandoned;         /* of the requests that were sent to it */
	uint64_t in_flight;         /* as at the end; not in totals */
	struct load_errors errors;  /* their sum is failed */
	struct load_errors retries; /* attempts that failed and were followed by another one: no part of failed */
};

/* The four histograms of one transaction in one version, in ns. They span all attempts of a transaction that is retried. They belong to the interval; empty ones have hist_count 0. */
struct load_hists {
	const char *transaction, *version;
	struct hist *response_ok, *response_failed; /* from the due time to the end */
	struct hist *service_ok, *service_failed;   /* from the first send to the end; none for those that sent nothing */
};

/* From the send to the end, of one statement in one version, in ns. NULL: it has not been executed since the load began. Beside those of
 * the workload there are BEGIN, COMMIT and ROLLBACK, SET, and pipeline for a pipeline as a whole. */
struct load_statement_hists {
	const char *statement, *version;
	struct hist *ok, *failed;
};

/* What happened between two calls of load_collect. A transaction belongs to the interval in which it ended. */
struct load_interval {
	int64_t start_ns, end_ns; /* clock_now_ns() */
	double rate;              /* planned for its end, a second; 0 in the closed loop */
	uint64_t planned;         /* fell due (closed loop without think time: started) */
	uint64_t abandoned;       /* their users' patience ended before they were started */
	uint64_t backlog;         /* due and not yet started, as at the end */
	int64_t backlog_age_ns;   /* of the oldest of these; 0 when there is none */
	size_t n_versions;        /* all of the workload's, serving or not */
	struct load_version versions[LOAD_VERSIONS_MAX];
	size_t n_hists; /* n_versions times the number of transactions */
	struct load_hists *hists;
	struct load_hists total; /* sums; its names are NULL */
	size_t n_statements;
	struct load_statement_hists *statements;
	struct load_counters counters;
	struct load_version reads;   /* of these, on the standby: its name is that of read_from, or NULL. No retries, no in_flight */
	struct hist *schedule_error; /* first send or pause - due, where an idle session stood ready; empty in the closed loop */
	double cpu_share;            /* of one core, the busiest worker */
	int n_workers;
	double worker_cpu[LOAD_WORKERS_MAX]; /* share of one core, each */
	uint64_t worker_started[LOAD_WORKERS_MAX];
	uint64_t missed_wakeups; /* arrivals for which a worker stood ready but only the second one to look started them */
	int64_t loop_lag_ns;     /* the latest that a timer of a worker fired behind its time */
	uint64_t reconnects;     /* connections lost or refused and opened again */
};

/* A transaction that had no answer when the load stopped. */
struct load_unfinished {
	const char *transaction, *version;
	int64_t due_age_ns, sent_age_ns; /* since it was due; since its first send, 0: it has sent nothing */
};

/* The conservation law: planned = started + abandoned + never_started, started = ok + failed + unfinished. Each term has a
 * counter of its own, so that `holds` is a finding and not an identity. */
struct load_totals {
	uint64_t planned, started, abandoned, never_started;
	uint64_t ok, failed, unfinished;
	int64_t unfinished_oldest_ns; /* age since its due time; 0 when all finished */
	size_t n_open;
	const struct load_unfinished *open; /* each of the unfinished; they are the load's. None of them is known of a replay */
	struct load_errors errors, retries;
	size_t n_versions;
	struct load_version versions[LOAD_VERSIONS_MAX];
	struct load_counters counters;
	struct load_version reads; /* as in the interval */
	bool holds;
};

/* What became of the rows that transactions wrote into the ledger. acknowledged = found + lost. */
struct load_ledger {
	uint64_t acknowledged;
	uint64_t found, lost;
	uint64_t unknown_found, unknown_lost; /* of those whose connection was lost during COMMIT */
	uint64_t strange;                     /* rows that nobody wrote, or twice: 0 unless something is very wrong */
	struct error left;                    /* why its table is still there; what is "" when it is not */
};

/* Loads the scripts in every worker, so that their mistakes show here (ST_USAGE). */
enum status load_create(const struct load_config *config, struct load **out, struct error *err) MUST_CHECK;

/* Starts the workers and opens all sessions. Blocks until each has been connected once, for timeout_ns at most (ST_FAILED, with the
 * server's words); a wrong password or database fails at once. */
enum status load_connect(struct load *load, int64_t timeout_ns, struct error *err) MUST_CHECK;

/* Traffic begins: start_ns (clock_now_ns() scale) is the origin of the plan. Blocks for the workers' next pass. */
void load_start(struct load *load, int64_t start_ns);

/* One weight of a changed mix. */
struct load_weight {
	const char *transaction;
	double weight; /* >= 0 */
};

/* Changes the traffic 10 ms from now, which ends a segment of the plan and begins one. program: begins then; NULL: the rate goes on as
 * it is. weights: of the transactions named, the others having the workload's own; n 0: the mix stays as it is. ST_USAGE for an
 * unknown transaction, for weights that leave nothing, for a rate in closed mode, and when there were over 4,000 changes. */
enum status load_change(
	struct load *load, const struct rate_program *program, const struct load_weight *weights, size_t n, struct error *err) MUST_CHECK;

/* Only whether the weights could be changed to; they stay. */
enum status load_check_mix(struct load *load, const struct load_weight *weights, size_t n, struct error *err) MUST_CHECK;

/* Gives a feature flag of the workload another value for all transactions that begin from now on: as text, "true", "0.5" or what a text flag may be.
 * Blocks for the workers' next pass. ST_USAGE for a flag that there is not, or not of this type. load_check_flag only looks. */
enum status load_set_flag(struct load *load, const char *name, const char *value, struct error *err) MUST_CHECK;
enum status load_check_flag(struct load *load, const char *name, const char *value, struct error *err) MUST_CHECK;

/* The value that a flag has now, as such a text; "" when there is no such flag. Blocks likewise. */
void load_flag_value(struct load *load, const char *name, char *out, size_t size);

/* load_change to a constant rate. */
enum status load_change_rate(struct load *load, double rate, struct error *err) MUST_CHECK;

/* Replaces a pod (from 0): each of its sessions finishes its transaction, closes, and opens as the other version. done, which may be
 * NULL, is called once, on a worker's thread, when all of them serve again, or when the load stops before. ST_USAGE for unknown
 * pods and versions; done is not called then. */
enum status load_replace_pod(
	struct load *load, int pod, const char *version, void (*done)(void *arg), void *arg, struct error *err) MUST_CHECK;

/* Memory for load_collect's answers, used again and again. */
struct load_interval *load_interval_create(const struct load *load);
void load_interval_free(struct load_interval *interval);

/* All since the last call (or the start), merged over the workers. Blocks for their next pass. */
void load_collect(struct load *load, struct load_interval *out);

/* No more arrivals are started; waits up to drain_ns for the transactions in flight; cancels the rest, which is `unfinished`, and closes
 * all sessions. Blocks. load_collect may be called once more for what ended meanwhile. */
void load_stop(struct load *load, int64_t drain_ns, struct load_totals *out);

/* Where read_only transactions run; NULL: on the primary. */
const char *load_read_from(const struct load *load);

/* Whether transactions write into the ledger: the workload or the configuration says so. */
bool load_has_ledger(const struct load *load);

/* After load_stop: looks for each row of the ledger, and drops it. Waits up to timeout_ns for a server that takes no connections, and as
 * long for one that falls silent. Blocks. */
enum status load_check_ledger(struct load *load, int64_t timeout_ns, struct load_ledger *out, struct error *err) MUST_CHECK;

/* Also right after a failed load_connect, and without load_stop. NULL is fine. */
void load_free(struct load *load);

/* Process ids of the backends of all connected sessions, at most max; returns how many. Blocks. */
int load_pids(struct load *load, int *pids, int max);

/* The workload as loaded, for its names and actors; its Lua state belongs to a worker and must not be touched. */
const struct workload *load_workload(const struct load *load);

#endif
