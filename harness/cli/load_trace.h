/* pgrehearse load --trace: captured traffic instead of a workload's, with options of its own. */
#ifndef PGR_CLI_LOAD_TRACE_H
#define PGR_CLI_LOAD_TRACE_H

#include <stdbool.h>

/* Whether --trace is among the words. */
bool load_trace_wanted(int argc, char **argv);

/* Returns the exit code. */
int load_trace(int argc, char **argv);

#endif
