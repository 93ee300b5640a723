/* A scenario looked at without a database: the expected locks, rewrites and scans of its statements, and what is wrong with them. */
#ifndef PGR_SCENARIO_CHECK_H
#define PGR_SCENARIO_CHECK_H

#include "base/error.h"

#include <jansson.h>

struct check_result {
	json_t *json;  /* { file, title, statements, findings, errors, warnings, notes, allowed }: scenarios/README.md */
	json_t *sarif; /* its findings as results of SARIF 2.1.0 */
	json_t *rules; /* all rules, as of SARIF's reportingDescriptor */
	char *text;    /* for people */
	int errors;
};

/* major: of the server that is meant. A step that lacks its down is a finding; anything else that scenario_read refuses is ST_USAGE. */
enum status check_scenario(const char *path, int major, struct check_result *out, struct error *err) MUST_CHECK;
void check_result_free(struct check_result *r);

#endif
