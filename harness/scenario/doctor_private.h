/* What the parts of doctor share. */
#ifndef PGR_SCENARIO_DOCTOR_PRIVATE_H
#define PGR_SCENARIO_DOCTOR_PRIVATE_H

#include "scenario/doctor.h"

#include <stdbool.h>

struct doctor {
	const struct doctor_config *config;
	int sessions; /* of the load, pods x pool, or of the trace at a time; 0: neither was named */
	bool replays;
	bool may_ask; /* the server, which is where we may go, whatever else the guard has against it */
	bool missing, refused;
};

/* remedy: NULL for none. */
void doctor_tell(struct doctor *d, enum doctor_state state, const char *what, const char *remedy, const char *found, ...) PRINTF_LIKE(5, 6);

/* Of a target that is made from files, by a command, or from a snapshot. */
void doctor_check_source(struct doctor *d);

/* Privileges, room for sessions, settings, clock of the server at dsn, which the guard lets us ask. */
void doctor_ask_server(struct doctor *d, const char *dsn);

/* The connection string that there is one of before a rehearsal; NULL: none. */
const char *doctor_dsn(const struct doctor_config *config);

#endif
