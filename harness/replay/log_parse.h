/* The record splitters, one a format: from bytes to one message. Private to replay/ and its fuzz targets. */
#ifndef PGR_REPLAY_LOG_PARSE_H
#define PGR_REPLAY_LOG_PARSE_H

#include "base/error.h"
#include "replay/log_entry.h"
#include "replay/log_time.h"

enum log_parse {
	LOG_PARSE_OK,
	LOG_PARSE_MORE, /* the record does not end within these bytes */
	LOG_PARSE_BAD,  /* *used bytes are none; e->trouble says why */
};

/* csvlog: what follows the detail is mostly the same from record to record, and is then not looked at again. Zero-initialised. */
struct log_csv_tail {
	char text[256]; /* from a comma to the line end */
	size_t n;       /* 0: none */
	unsigned columns;
	size_t application, application_n, backend_type, backend_type_n; /* where in text */
};

/* Each reads the message at the begin of at[0..n), which it may change in place once that is complete, and says in *used how long it is.
 * final: nothing comes behind these bytes; then the answer is never MORE, and neither is it for n == 0, which is not to be asked. */
enum log_parse log_csv_parse(
	struct log_clock *clock, struct log_csv_tail *tail, char *at, size_t n, bool final, struct log_entry *e, size_t *used);
enum log_parse log_json_parse(struct log_clock *clock, char *at, size_t n, bool final, struct log_entry *e, size_t *used);

struct log_prefix;

/* stderr: that a message has ended shows when the next one's prefix has been read, which then need not be read again. Zero-initialised. */
struct log_stderr_ahead {
	bool crlf; /* all lines end so; else a carriage return before a line end is the message's own */
	char *at;  /* the next call's; else it is void */
	struct log_entry e;
	struct log_text word;
	size_t used;
};

enum log_parse log_stderr_parse(struct log_clock *clock, const struct log_prefix *prefix, struct log_stderr_ahead *ahead, char *at,
	size_t n, bool final, struct log_entry *e, size_t *used);

/* A log_line_prefix, made ready. ST_USAGE: it has an escape that there is not, or is too long. */
enum status log_prefix_compile(const char *text, struct log_prefix **out, struct error *err) MUST_CHECK;
void log_prefix_free(struct log_prefix *p);
const char *log_prefix_text(const struct log_prefix *p);

/* Reads the prefix of a line and the severity behind it. word: that severity as it stands. false: it does not begin so. */
bool log_prefix_match(const struct log_prefix *p, struct log_clock *clock, char *line, size_t n, struct log_entry *e, struct log_text *word,
	size_t *used);

/* The one among the prefixes in common use that most lines of a sample begin with; NULL: none does. */
const char *log_prefix_guess(const char *sample, size_t n);

/* What all of them need. */
enum log_severity log_severity_read(const char *word, size_t n);
void log_session_id_read(const char *text, size_t n, struct log_entry *e); /* "66f1a2b3.1f40" */
int64_t log_number_read(const char *text, size_t n);                       /* decimal digits; 0 for anything else */
int64_t log_lines_count(const char *text, size_t n);                       /* line ends in it, and one for a last line without */

#endif
