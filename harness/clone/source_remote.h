/* Targets that are somebody else's servers: copies of a database made there, and programs that make a clone. */
#ifndef PGR_CLONE_SOURCE_REMOTE_H
#define PGR_CLONE_SOURCE_REMOTE_H

#include "base/error.h"
#include "base/proc.h"
#include "clone/source.h"

#include <stdbool.h>
#include <stddef.h>

#define SOURCE_DSN_MAX 4096

/* dsn with another database, as a string of keywords and values, into out. It holds the password if dsn does. */
enum status source_replace_database(const char *dsn, const char *database, char *out, size_t size, struct error *err) MUST_CHECK;

/* template:DSN */

struct source_template {
	char dsn[SOURCE_DSN_MAX];   /* of the copy */
	char admin[SOURCE_DSN_MAX]; /* of a database beside it */
	char name[64];              /* of the copy */
	char template[64];
	bool made;                   /* or begun: what is under the name is ours */
	struct proc_watcher watcher; /* ends the copying and drops the copy when we are killed */
};

/* Copies the database of dsn, which the guard has let pass, on its own server; a copy that t had made before is dropped first. Drops those
 * that dead runs of this machine left, too: by their comment, or by their name where no comment was written yet. facts: `strategy`, `copy_ns`. */
enum status source_template_make(struct source_template *t, const char *dsn, struct source_job *job, struct error *err) MUST_CHECK;

/* Drops the copy. Repeats and a zeroed t are fine. */
enum status source_template_drop(struct source_template *t, struct error *err);

/* command:UP,DOWN, and --reset-command */

struct source_command {
	const char *up, *down;
	char dsn[SOURCE_DSN_MAX];
	bool called;           /* UP was, so DOWN is to be */
	volatile pid_t *group; /* of UP's processes while it works; shared with the watcher. NULL: it does not */
	struct proc_watcher watcher;
};

/* Calls UP, whose last line of output is the connection string. After a failure DOWN has been called, with what UP had printed if that is a
 * connection string. When we are interrupted or killed, all of UP's processes are ended before DOWN is called. */
enum status source_command_up(struct source_command *c, const volatile sig_atomic_t *stop, struct error *err) MUST_CHECK;

/* Calls DOWN, with the connection string in $PGREHEARSE_DSN. Repeats and a zeroed c are fine. */
enum status source_command_down(struct source_command *c, struct error *err);

/* Runs a program by the shell, with $PGREHEARSE_DSN set; the last line that it writes to stdout goes into line ("" when there is none). */
enum status source_run_shell(
	const char *command, const char *dsn, const volatile sig_atomic_t *stop, char *line, size_t size, struct error *err) MUST_CHECK;

/* --standby DSN: the name under which the server at `primary` knows it, or one of our own making. ST_USAGE: it is no standby. */
enum status source_name_standby(const char *primary, const char *dsn, int number, char *name, size_t size, struct error *err) MUST_CHECK;

#endif
