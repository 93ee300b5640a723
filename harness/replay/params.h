/* Parameter values as the server logs them: "Parameters: $1 = 'it''s', $2 = NULL" ("parameters:" in older versions). */
#ifndef PGR_REPLAY_PARAMS_H
#define PGR_REPLAY_PARAMS_H

#include "replay/log_entry.h"

#define PARAMS_MAX 65535

struct param {
	struct log_text value;
	bool null;
};

struct params {
	struct param *at;
	size_t n, cap;
	size_t perhaps_cut; /* how many end in "..." */
};

/* Values point into text, which is changed in place (quotes are halved); the list's memory is used again. false: text tells no
 * parameters, or is damaged; n is 0 then. text is a DETAIL, or a CONTEXT ("extended query with parameters: $1 = ..."). */
bool params_read(char *text, size_t n, struct params *out);
void params_free(struct params *p);

/* The text has $1 or the like outside of quotes. */
bool params_needed(const char *sql, size_t n);

#endif
