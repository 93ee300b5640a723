/* What a person sees while a rehearsal prepares and runs: lines that change on a terminal, a plain line now and then on a pipe. */
#ifndef PGR_CLI_PROGRESS_H
#define PGR_CLI_PROGRESS_H

#include "scenario/conductor.h"

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool terminal;
	bool colour;    /* besides the words, which say the same */
	int lines;      /* that stand there and change, the last without its newline */
	char said[160]; /* the phase and step last announced */
	int64_t said_ns;
	int64_t rows_since_ns, rows_at_first; /* when rows began to be counted, and how many there were then; 0: not yet */
};

/* Goes to stderr: results go to stdout. */
void progress_init(struct progress *p);

/* Callbacks for struct target_config and struct rehearsal; arg is the struct progress. */
void progress_prepare(const char *what, int64_t done, int64_t total, void *arg);
void progress_run(const struct rehearsal_progress *r, void *arg);

/* A line that stays. */
void progress_note(struct progress *p, const char *text);

/* The lines that change are done with. */
void progress_end(struct progress *p);

#endif
