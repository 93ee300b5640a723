/* A replay that is observed and recorded like a rehearsal, and what its fidelity is. */
#ifndef PGR_CLI_LOAD_TRACE_RECORD_H
#define PGR_CLI_LOAD_TRACE_RECORD_H

#include "cli/progress.h"
#include "scenario/replay_traffic.h"

/* Performs it and writes the record to out, a folder that is missing or empty. spec->result is filled also when it was interrupted. */
enum status load_trace_perform(const struct replay_spec *spec, const char *out, struct progress *progress,
	const volatile sig_atomic_t *stop, struct error *err) MUST_CHECK;

/* Tells the record's fidelity table. */
void load_trace_print_fidelity(const char *dir);

#endif
