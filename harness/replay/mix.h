/* A mix of transactions that is like captured traffic: statements as templates with domains of their parameters, sequences of statements with
 * how often they occurred, and how transactions arrived. From a trace or from pg_stat_statements; written as a Lua workload. */
#ifndef PGR_REPLAY_MIX_H
#define PGR_REPLAY_MIX_H

#include "base/vec.h"
#include "replay/capture.h"
#include "replay/columns.h"
#include "replay/domain.h"

#include <signal.h>

#define MIX_STEPS_MAX 60        /* of a transaction, loops rolled up; longer ones are left out */
#define MIX_TRANSACTIONS_MAX 64 /* that a workload has; the rarest are left out */
#define MIX_REPEATS_MAX 200     /* of a loop */
#define MIX_SECONDS_MAX (7 * 86400)

/* A class of statements, and how it is written. */
struct mix_statement {
	uint64_t fingerprint;
	char *name; /* "select_users": unique */
	char *sql;  /* with $1 to $n */
	size_t n;   /* parameters */
	struct domain *domains;
	struct param_column *columns;
	char (*types)[32];               /* by the clone, or "" */
	struct statement_columns tables; /* and verb */
	bool read_only;
	char *left_out;   /* why it cannot be written; NULL: it is */
	int64_t captured; /* how often it succeeded */
	double written;   /* in how many it would, of as many statements: set by mix_compare */
};

/* One statement of a transaction; a loop is a run of steps of the same number > 0. */
struct mix_step {
	uint32_t statement;
	uint32_t loop;
};

/* Of a loop: how often it was gone through. */
struct mix_loop {
	int64_t passes[MIX_REPEATS_MAX + 1];
};

/* A sequence of statements that occurred as a transaction. */
struct mix_transaction {
	char *name;
	bool begun, rolled_back; /* between BEGIN and COMMIT or ROLLBACK; not begun: a statement alone */
	bool left_out;
	size_t n;
	struct mix_step *steps;
	struct mix_loop *loops; /* by number - 1 */
	size_t n_loops, n_slots;
	int64_t count;
	int64_t looked;   /* occurrences whose parameters were compared */
	uint32_t *equal;  /* n_slots squared: in how many slot i was as slot j, j < i */
	uint32_t *passes; /* n_slots: in how many slot i of a loop was the number of the pass, from 1 */
};

struct mix {
	VEC(struct mix_statement) statements;
	VEC(struct mix_transaction) transactions;
	const char *source; /* "trace" or "pg_stat_statements" */
	char *path;
	int64_t span_ns;                           /* of the traffic; 0: unknown */
	int64_t statements_seen, failed, controls; /* succeeded; failed; BEGIN, COMMIT, SET and the like */
	int64_t too_long, broken;                  /* transactions over MIX_STEPS_MAX; with a failure or without an end */
	VEC(uint32_t) seconds;                     /* transactions that began in each */
	int64_t sessions, in_sessions;             /* and transactions within them */
	int64_t session_ns;                        /* all told, of those whose end is known */
	int64_t sessions_ended;
	VEC(char *) notes;
};

/* Reads the trace twice, in constant memory but for what is kept of each class. ST_USAGE: it cannot be read, or holds nothing to write. */
enum status mix_read_trace(struct mix *mix, const char *path, const struct capture_filter *filter, const volatile sig_atomic_t *stop,
	struct error *err) MUST_CHECK;

/* The statements of the database that dsn leads to, by pg_stat_statements. One session, which only reads. */
enum status mix_read_stats(struct mix *mix, const char *dsn, struct error *err) MUST_CHECK;

/* Asks a database (the clone) what it knows of the columns that parameters belong to, and whether it can prepare each statement, which gets
 * casts where it cannot else. One session, which only reads. */
enum status mix_learn(struct mix *mix, const char *dsn, struct error *err) MUST_CHECK;

/* Which transactions are written, by how many statements they are of; names of all. */
void mix_choose(struct mix *mix);

/* The statements' shares in what would be written: fills `written`. Returns the largest difference of two shares. */
double mix_compare(struct mix *mix);

/* The workload, as a Lua file. */
enum status mix_write(const struct mix *mix, const char *path, struct error *err) MUST_CHECK;

/* Transactions a second over the whole span, and the index of dispersion of its seconds (variance / mean: 1 for a Poisson process); 0: unknown. */
double mix_rate(const struct mix *mix);
double mix_dispersion(const struct mix *mix);

/* The rate as a program of at most n steps, as for load --rate; "" when the seconds differ no more than chance has it. */
void mix_rate_program(const struct mix *mix, int n, struct buf *out);

void mix_free(struct mix *mix);

/* ---- of the room ---- */

/* A template of a statement: name, tables, use of each parameter. name: NULL, to be found. n: parameters. sql is taken. */
struct mix_statement *mix_add_statement(struct mix *mix, uint64_t fingerprint, char *sql, size_t n);
void mix_note(struct mix *mix, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
