/* Fills a sandbox with a workload's data, watched: progress, interruption, and before it whether the disk will hold them. */
#ifndef PGR_SCENARIO_FILL_H
#define PGR_SCENARIO_FILL_H

#include "base/error.h"
#include "clone/sandbox.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

struct fill_config {
	struct sandbox *sandbox;
	const char *workload_path; /* as found */
	double scale;
	uint64_t seed;
	bool resumable;                                                             /* as generate_data_resumably */
	const volatile sig_atomic_t *stop;                                          /* or NULL */
	void (*progress)(const char *what, int64_t done, int64_t total, void *arg); /* as generate_progress; or NULL */
	void *arg;
};

/* Blocks. ST_INTERRUPTED: *stop. ST_FAILED before anything is written when the rows alone need more room than the disk has. */
enum status fill_sandbox(const struct fill_config *config, struct error *err) MUST_CHECK;

#endif
