/* What facts.c reads and figures.c computes from; private to the judge. */
#ifndef PGR_JUDGE_FACTS_PRIVATE_H
#define PGR_JUDGE_FACTS_PRIVATE_H

#include "base/vec.h"
#include "judge/facts.h"
#include "measure/hist.h"
#include "record/reader.h"

#define NAME_SIZE 128
#define MAX_PHASES 64 /* a record with more has its later ones left out of every figure */
#define MAX_HISTOGRAMS 4096
#define MAX_ERRORS 4096

/* `phase` below is an index into phases, or -1 between phases. */
struct phase_facts {
	char name[64];
	int64_t start_ns;
	int64_t end_ns; /* INT64_MAX while it lasts */
	bool ended;
};

struct hist_facts {
	char transaction[NAME_SIZE]; /* "": all */
	bool service;
	int phase;
	struct hist *hist; /* ok and failed, all app versions */
};

struct interval_facts {
	int phase;
	int64_t start_ns, end_ns;
	int64_t planned, abandoned, ok, failed;
	int64_t backlog, wal_bytes; /* -1: not known */
	int64_t backlog_age_ns;     /* of the oldest arrival that waits; 0: none does */
	double worker_cpu;          /* -1: not known */
	int64_t loop_lag_ns;        /* of the load's workers; -1: not known */
};

struct error_facts {
	int phase;
	char sqlstate[24];
	int64_t count;
};

struct lag_facts {
	int phase;
	char standby[64];
	int64_t heartbeat_ns, replay_bytes; /* -1: not known */
	bool expected;                      /* not the standby's first of a phase, nor after it became the primary */
	bool slot;                          /* of a replication slot, whose name and bytes these are */
	bool lost;                          /* a slot that the server gave up */
};

/* Lock waits of the application; those of the migration and of ourselves are left out. */
struct wait_facts {
	int phase;
	int64_t start_ns, length_ns;
	int64_t blamed; /* statement id, 0: none */
	int64_t root_pid;
	bool unfinished; /* it went on when the run ended */
	char relation[NAME_SIZE], waiter[64], root_role[24];
};

struct statement_facts {
	int phase;
	int64_t id, start_ns, end_ns, attempt;
	int rewrites, scans; /* of tables, to which it was put */
	bool external;       /* of a program, whose work nobody sees */
	char step[NAME_SIZE], sql[80], sqlstate[8];
};

struct step_facts {
	int phase;
	bool down, ok;
	bool interrupted;                                    /* by the drill, on purpose */
	bool program;                                        /* it is one that a step runs */
	int64_t start_ns, duration_ns;                       /* -1: it did not end */
	char name[NAME_SIZE], within[NAME_SIZE], error[256]; /* within: the parallel step that it is part of, "" */
};

/* Of a backfill: what was estimated before it began, and how far off that was (NAN: it did not end). */
struct eta_facts {
	int64_t eta_ns, low_ns, high_ns, rows, samples; /* eta_ns -1: nothing was estimated */
	bool production;                                /* of the size that production has */
	double error;
	char step[NAME_SIZE];
};

/* In which a table could not be read or written. */
struct window_facts {
	int phase;
	int64_t start_ns, length_ns, bound_ns;
	bool at_least;  /* length_ns is a lower limit */
	bool open;      /* because its end was not seen */
	int64_t blamed; /* statement id, 0: none */
	char table[NAME_SIZE], access[16];
};

struct facts {
	struct record_reader *reader;
	const json_t *run;
	struct phase_facts phases[MAX_PHASES];
	int phase_count;
	VEC(struct hist_facts) hists;
	VEC(struct interval_facts) intervals;
	VEC(struct error_facts) errors;
	VEC(struct lag_facts) lags;
	VEC(struct wait_facts) waits;
	VEC(struct window_facts) windows;
	VEC(struct statement_facts) statements;
	VEC(struct step_facts) steps;
	VEC(struct eta_facts) etas;
	int64_t bad_lines;
	int64_t failover_ns; /* since when a standby is the primary; INT64_MAX: no failover */
};

/* Whether the record knows of a table by that name: it was in use, watched, waited for or locked. True also where nobody looked. */
bool facts_has_table(const struct facts *f, const char *name);

/* METRIC_READS_BLOCKED and METRIC_WRITES_BLOCKED over the phases whose bits are set; scope: "during migration". */
void figure_blocked(const struct facts *f, const struct criterion *c, uint64_t phases, const char *scope, struct figure *out);

#endif
