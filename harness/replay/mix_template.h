/* From a shape, whose literals are marks, to the text of a statement with parameters: literals that differ from one execution to the next become
 * parameters, others stay. Private to replay/. */
#ifndef PGR_REPLAY_MIX_TEMPLATE_H
#define PGR_REPLAY_MIX_TEMPLATE_H

#include "base/buf.h"
#include "replay/trace.h"

#include <stdbool.h>
#include <stdint.h>

enum literal_kind {
	LITERAL_COMMENT, /* part of no text */
	LITERAL_NUMBER,
	LITERAL_STRING,
	LITERAL_FIXED, /* of a form that no parameter can take: E'...', INTERVAL '...' */
};

struct literal {
	enum literal_kind kind;
	bool negative; /* a minus stands before it in the shape, which is part of the value */
};

/* Splits a shape: canonical text, without comments and blanks more than needed, with '\1' where a literal of any form stands, and
 * what each of the shape's literals is. out holds shape->literals of them. */
void template_read(const struct trace_shape *shape, struct buf *text, struct literal *out);

/* The value of a literal as a parameter has it: its sign in front, quotes not doubled. */
void template_value(const struct literal *l, const struct log_text *value, struct buf *out);

/* Canonical text with a parameter or a literal in each mark's place: params[i] is the parameter's number, or 0 for literals[i], SQL text. */
void template_write(const char *text, size_t n, const int *params, const char *const *literals, struct buf *out);

enum template_control {
	CONTROL_NONE, /* reads or writes data */
	CONTROL_BEGIN,
	CONTROL_COMMIT,
	CONTROL_ROLLBACK,
	CONTROL_SESSION, /* SET, SAVEPOINT and the like: of a session, not of its data */
	CONTROL_OTHER,   /* COPY, VACUUM, EXECUTE: work that no statement of a workload does */
};
enum template_control template_control(const char *text, size_t n);

#endif
