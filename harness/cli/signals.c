/* Ctrl-C and SIGTERM for commands that have something to take down first. */
#define _GNU_SOURCE
#include "cli/signals.h"

#include <stddef.h>

static volatile sig_atomic_t caught;

static void note_signal(int number)
{
	caught = number;
}

const volatile sig_atomic_t *signals_watch(void)
{
	struct sigaction action = {.sa_handler = note_signal};
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGHUP, &action, NULL);
	return &caught;
}
