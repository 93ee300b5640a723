/* What --target names: where the data of a rehearsal comes from, and how it gets from there into a sandbox. */
#ifndef PGR_CLONE_SOURCE_H
#define PGR_CLONE_SOURCE_H

#include "base/error.h"
#include "clone/origin.h"
#include "clone/sandbox.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum source_kind {
	SOURCE_SANDBOX,  /* data of the workload's generator */
	SOURCE_DUMP,     /* dump:PATH, of pg_dump or pg_dumpall */
	SOURCE_BASE,     /* base:PATH, of pg_basebackup, or a data folder that was stopped */
	SOURCE_SNAPSHOT, /* snapshot:NAME, of pgrehearse snapshot make */
	SOURCE_TEMPLATE, /* template:DSN, a database that is copied on its own server */
	SOURCE_COMMAND,  /* command:UP,DOWN, programs of the user's */
	SOURCE_DSN,      /* dsn:DSN, or a connection string as it stands */
};

struct source {
	enum source_kind kind;
	char *text; /* the path, name, connection string, or UP; NULL of a sandbox */
	char *down; /* of SOURCE_COMMAND */
};

/* text: of --target; NULL stands for "sandbox". ST_USAGE: a path that is not there, DOWN missing. */
enum status source_parse(const char *text, struct source *out, struct error *err) MUST_CHECK;
void source_free(struct source *s);
const char *source_kind_name(enum source_kind kind);

/* What getting the data is told and tells. */
struct source_job {
	const char *path;
	const char *database; /* the one to rehearse on, when the data holds several; NULL: there must be just one */
	int jobs;             /* of pg_restore, at once; 0: as many as there are processors, at most 8 */
	bool accept_errors;   /* go on after statements of a dump failed */
	json_t *facts;        /* takes what a record says of it: `defused`, `errors`, ... (reports/RECORD.md, target) */
	const volatile sig_atomic_t *stop;
	/* what: "restoring: 3 of 12 GB, about 2 min left"; up to the colon it says which work it is. done and total are 0. */
	void (*progress)(const char *what, int64_t done, int64_t total, void *arg);
	void *arg;
};

/* pg_dump's archives and scripts (source_dump.c). */

struct source_dump {
	char path[PATH_MAX];
	enum { DUMP_CUSTOM, DUMP_DIRECTORY, DUMP_TAR, DUMP_PLAIN } format;
	int64_t bytes;
};

/* ST_USAGE: it is not there, not a dump, compressed or encrypted as a whole. Nothing is started for it. */
enum status source_dump_inspect(const char *path, struct source_dump *out, struct error *err) MUST_CHECK;

/* Into the database of the sandbox, which is empty. Roles that are missing are made; when statements failed, it is ST_FAILED with the first
 * of them unless job->accept_errors; all are in the facts. Then normalised: VACUUM (ANALYZE). Blocks, until job->stop. */
enum status source_dump_restore(const struct source_dump *dump, struct sandbox *sb, struct source_job *job, struct error *err) MUST_CHECK;

/* Base backups and data folders (source_base.c). */

struct source_base {
	struct source_job *job;
	char path[PATH_MAX];
	bool tar;
	int version; /* major: 15 */
	char server_dir[PATH_MAX];
	struct origin origin; /* for sandbox_config: it may be used once */
};

/* ST_USAGE: it is not there, not whole, or of a server that runs. server_dir (or NULL): programs of its version are looked for where
 * they usually are. */
enum status source_base_inspect(struct source_job *job, const char *server_dir, struct source_base *out, struct error *err) MUST_CHECK;

/* Runs programs for the others (source_run.c). */

struct source_program {
	const char *const *argv;
	void (*line)(const char *line, void *arg); /* of what it says, without its end; or NULL */
	void (*tick)(pid_t pid, void *arg);        /* five times a second; or NULL */
	void *arg;
	const volatile sig_atomic_t *stop;
};

/* ST_OK: it ended by itself, with *exit_code. ST_INTERRUPTED: it was ended because of stop. */
enum status source_run(const struct source_program *p, int *exit_code, struct error *err) MUST_CHECK;

/* One statement on a connection of its own, cancelled on stop. */
enum status source_execute(const char *dsn, const char *sql, const volatile sig_atomic_t *stop, struct error *err) MUST_CHECK;

enum status source_execute_on(PGconn *conn, const char *sql, const volatile sig_atomic_t *stop, struct error *err) MUST_CHECK;

/* Bytes that the processes of pid's group have read from files so far. */
int64_t source_bytes_read(pid_t pid);

/* "VERB: 3 GB of 12 GB, about 2 min left" into out; more (may be "") goes before the time. */
void source_describe_progress(const char *verb, int64_t done, int64_t total, int64_t start_ns, const char *more, char *out, size_t size);

/* Adds { what, name } to facts.defused. */
void source_note_defused(json_t *facts, const char *what, const char *name);

/* What leads from a database out of the server it is in: statements that list it, and statements that cut it off; once in a cluster, and once in each
 * database. NULL-terminated. Each of the first gives rows of "what<TAB>name". */
extern const char *const SOURCE_LIST_CLUSTER[], *const SOURCE_CUT_CLUSTER[], *const SOURCE_LIST_DATABASE[], *const SOURCE_CUT_DATABASE[];

#endif
