/* A workload as C sees it: read from a Lua file, checked whole, then constant. Functions stay in the Lua state that they
 * were loaded into, so every worker loads its own. */
#ifndef PGR_LOAD_WORKLOAD_H
#define PGR_LOAD_WORKLOAD_H

#include "base/error.h"
#include "runtime/script.h"
#include "runtime/session.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORKLOAD_RETRY_ON_MAX 16

/* Which failures of a transaction are tried again, how often, and after what pause: it doubles each time and is jittered. */
struct workload_retry {
	int times; /* 0: never */
	int64_t backoff_ns;
	size_t n_on;
	char on[WORKLOAD_RETRY_ON_MAX][6]; /* SQLSTATEs */
};

/* One kind of transaction; the same in all versions but for what `run` does. Sorted by name, so that index i means the
 * same in every worker. */
struct workload_transaction {
	const char *name;
	double weight; /* > 0; relative to the sum, workload.weight_sum */
	bool read_only;
	int args_ref; /* Lua registry: args(r), or LUA_NOREF when it takes none */
	struct workload_retry retry;
	int64_t statement_timeout_ns; /* the server's, whole ms; 0: as the server has it */
	int64_t cancel_after_ns;      /* a statement that takes longer is cancelled by us; 0: none is */
};

/* One release of the application. Index 0 is always "v1", the workload as it stands; the others are sorted by name. */
struct workload_version {
	const char *name;
	int *run_refs;      /* one a transaction: Lua registry, run(c, ...) */
	int statements_ref; /* Lua registry: table from name to lightuserdata struct session_statement */
	size_t n_statements;
	const struct session_statement **statements; /* sorted by name; shared with v1 where not overridden */
};

/* A feature flag: what the application's configuration switches on and off. */
struct workload_flag {
	const char *name;
	int type; /* of its value for ever: LUA_TBOOLEAN, LUA_TNUMBER, LUA_TSTRING */
};

/* A background session that a scenario or an option switches on. Either sql alone (run, then wait) or begin with hold. */
struct workload_actor {
	const char *name;
	const char *sql;   /* NULL: see begin */
	const char *begin; /* executed after BEGIN; the transaction then idles for hold_ns and is rolled back */
	int64_t hold_ns;
	int64_t every_ns; /* from one start to the next; at once when it took longer */
};

/* What must be true of the data before and after traffic. */
struct workload_check {
	const char *name;
	const char *sql; /* returns the rows that are wrong; can stand in brackets behind FROM */
};

/* What becomes of the ledger's row when it is executed by itself. */
enum statement_kind {
	STATEMENT_OTHER,   /* reads, or is no business of the ledger */
	STATEMENT_WRITES,  /* INSERT, UPDATE, DELETE, MERGE, also behind WITH: outside of a block it commits by itself */
	STATEMENT_COMMITS, /* COMMIT or END */
};

struct workload {
	const char *name;
	const char *path;
	lua_State *L;
	double weight_sum;
	size_t n_transactions;
	struct workload_transaction *transactions;
	size_t n_versions;
	struct workload_version *versions;
	size_t n_statements;                   /* all versions together; session_statement.index is below this */
	struct session_statement **statements; /* by index */
	unsigned char *kinds;                  /* likewise, enum statement_kind */
	int params_max;                        /* the most parameters that one of them has */
	size_t n_actors;
	struct workload_actor *actors;
	size_t n_checks;
	struct workload_check *checks; /* sorted by name, numbers within by their value */
	size_t n_flags;
	struct workload_flag *flags; /* sorted by name */
	int flags_ref;               /* Lua registry: the table of their values, which scripts see as c.flags and info.flags */
	bool ledger;                 /* it asks for the ledger */
	int table_ref;               /* Lua registry: the workload's table */
};

/* Where a workload is: a path as it is, a name ("shop", "shop.lua") beside `beside` (a scenario's path, or NULL), then in
 * the program's folder workloads/. The caller frees *out. ST_USAGE says where it was looked for. */
enum status workload_find(const char *name, const char *beside, char **out, struct error *err) MUST_CHECK;

/* Runs the workload, and the scenario whose `versions` override parts of it, in L and calls the workload's setup().
 * L: from workload_create_state. workload_path: a name or path as for workload_find; NULL takes the scenario's.
 * scenario_path: NULL when there is none. scale > 0: of the data that the traffic will find. seed: of the run.
 * Mistakes are ST_USAGE with the file in where and what would be accepted in hint. L must outlive *out. */
enum status workload_load(lua_State *L, const char *workload_path, const char *scenario_path, double scale, uint64_t seed,
	struct workload **out, struct error *err) MUST_CHECK;
void workload_free(struct workload *w);

/* The same file for its data alone: transactions and setup are not looked at. Leaves a table on L's stack: name, schema and finish
 * (lists of groups of SQL), generate (list of { table, columns, rows, row }, rows being a number now), rows (by table). */
enum status workload_load_data(lua_State *L, const char *workload_path, double scale, struct error *err) MUST_CHECK;

/* A state that workload and scenario files find their modules in: workloads/lib and scenarios/lib of the program's folder,
 * and lib/ and the folder itself beside each file (either may be NULL). */
enum status workload_create_state(const char *workload_path, const char *scenario_path, lua_State **out, struct error *err) MUST_CHECK;

/* Index of a version, transaction or actor by name, or -1. */
int workload_find_version(const struct workload *w, const char *name);
int workload_find_transaction(const struct workload *w, const char *name);
int workload_find_actor(const struct workload *w, const char *name);

/* Gives a flag the value that text stands for: true or false, a number, or the text itself, by the type that the flag has. set false: only
 * says whether that is possible. ST_USAGE. */
enum status workload_set_flag(const struct workload *w, const char *name, const char *text, bool set, struct error *err) MUST_CHECK;

/* The value that a flag has now, as such a text; "" when there is no such flag. */
void workload_flag_value(const struct workload *w, const char *name, char *out, size_t size);

/* NULL when that version has no statement of this name. */
const struct session_statement *workload_find_statement(const struct workload *w, int version, const char *name);

/* The transaction whose share of the weights covers unit (0 <= unit < 1): how an arrival gets its kind. */
int workload_pick_transaction(const struct workload *w, double unit);

/* By its words alone: what functions write that a SELECT calls is not seen. Several statements in one are STATEMENT_OTHER. */
enum statement_kind workload_statement_kind(const char *sql);

/* The highest n of the $n in sql, outside of quotes, dollar quotes and comments. */
int workload_count_params(const char *sql);

#endif
