/* A shell command that runs while the loop goes on: what pgbench's \shell and \setshell ask for. */
#ifndef PGR_LOAD_SHELL_H
#define PGR_LOAD_SHELL_H

#include "base/error.h"
#include "runtime/loop.h"

#include <stddef.h>

#define SHELL_OUTPUT_MAX 4096

struct shell;

/* exit_code: or 128 + signal. output: the beginning of what it printed, SHELL_OUTPUT_MAX bytes at most; valid during the call.
 * The shell is gone then. */
typedef void shell_done_fn(int exit_code, const char *output, size_t len, void *arg);

/* Starts sh -c command, in a process group of its own, with nothing to read; stderr stays ours. done is called from the loop. */
enum status shell_start(
	struct loop *loop, const char *command, shell_done_fn *done, void *arg, struct shell **out, struct error *err) MUST_CHECK;

/* Kills its process group; done is not called. NULL is fine. */
void shell_cancel(struct shell *s);

#endif
