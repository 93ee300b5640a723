/* SQL about the state of the server, each of which returns what the record is to hold as JSON, or plain rows; by version. */
#ifndef PGR_OBSERVE_STATE_QUERIES_H
#define PGR_OBSERVE_STATE_QUERIES_H

#include "runtime/session.h"

#include <jansson.h>
#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

/* 12 and later; one JSON text, the field `server` of an interval: see RECORD.md. */
extern const struct session_statement QUERY_STATE;

/* What is counted over a phase, as one JSON object of integers. version_num as in server_facts; lives for ever. */
const char *state_query_counters(int version_num);

/* Active sessions by what they wait for: rows of (text, count). */
extern const struct session_statement QUERY_PROFILE;

/* $1 text[]: tables as SQL has them. One JSON array of {table, bytes, live, dead}. Waits for no lock for longer than lock_timeout. */
extern const struct session_statement QUERY_SIZES;

/* Long commands under way: rows for state_read_progress. */
const struct session_statement *state_query_progress(int version_num);

struct progress_facts {
	int pid;
	char command[32], relation[136], phase[64];
	char unit[16];
	int64_t done, total; /* -1: not known */
	char application_name[64];
	int locker; /* pid of the session that it waits for; 0: none */
	char locker_application_name[64];
	int64_t locker_xact_age_ns; /* -1: not known */
};
bool state_read_progress(const PGresult *result, int row, struct progress_facts *out);

/* The one JSON value of a result; NULL when the result has another shape or is longer than 256 kB. A new reference. */
json_t *state_read_json(const PGresult *result);

#endif
