/* What a rehearsal runs on: the server's version and settings, this machine. Internal to the room. */
#ifndef PGR_SCENARIO_FACTS_H
#define PGR_SCENARIO_FACTS_H

#include "base/error.h"

#include <jansson.h>
#include <stdbool.h>

/* The field `server` of run.json. Blocks for 10 s at most. */
enum status facts_server(const char *dsn, bool sandbox, int standbys, json_t **out, struct error *err) MUST_CHECK;

/* The field `host` of run.json. */
json_t *facts_host(void);

#endif
