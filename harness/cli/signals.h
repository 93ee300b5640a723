/* Ctrl-C and SIGTERM for commands that have something to take down first. */
#ifndef PGR_CLI_SIGNALS_H
#define PGR_CLI_SIGNALS_H

#include <signal.h>

/* From now on SIGINT, SIGTERM and SIGHUP only set the value that is returned. */
const volatile sig_atomic_t *signals_watch(void);

#endif
