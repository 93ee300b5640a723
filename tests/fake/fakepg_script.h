/* The script of a fake server: lines of conditions and actions, read once. */
#ifndef PGR_TESTS_FAKEPG_SCRIPT_H
#define PGR_TESTS_FAKEPG_SCRIPT_H

#include "base/error.h"

#include <stddef.h>

#define FAKE_ACTIONS_MAX 32

enum fake_event { FAKE_STARTUP, FAKE_PARSE, FAKE_RUN };

enum fake_verb {
	FAKE_OK,
	FAKE_ROW,
	FAKE_ROWS,
	FAKE_COMPLETE,
	FAKE_ERROR,
	FAKE_NOTICE,
	FAKE_STALL,
	FAKE_DROP,
	FAKE_RESET,
	FAKE_GARBAGE,
	FAKE_RAW
};

struct fake_action {
	enum fake_verb verb;
	char severity[8], code[6];
	char *text;   /* of a row, an error, a notice; the tag; bytes as hex */
	int n, bytes; /* milliseconds, rows, bytes */
};

struct fake_rule {
	enum fake_event event;
	char *glob;
	int first, last; /* which of the times that it fits, from 1 */
	int fitted;
	size_t n_actions;
	struct fake_action actions[FAKE_ACTIONS_MAX];
};

struct fake_script {
	size_t n;
	struct fake_rule *rules;
};

enum status fake_script_read(const char *text, struct fake_script *out, struct error *err) MUST_CHECK;
void fake_script_free(struct fake_script *script);

/* The rule that answers, or NULL; counts. */
const struct fake_rule *fake_script_find(struct fake_script *script, enum fake_event event, const char *sql);

#endif
