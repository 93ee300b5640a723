/* Messages of servers whose lc_messages is not English: in the languages that PostgreSQL is mostly translated to they are understood (in UTF-8);
 * in others they are known for what they are. */
#ifndef PGR_REPLAY_LOG_LANGUAGE_H
#define PGR_REPLAY_LOG_LANGUAGE_H

#include "replay/log_entry.h"

enum log_told {
	LOG_TOLD_NOTHING,
	LOG_TOLD_DURATION,  /* a bare one */
	LOG_TOLD_STATEMENT, /* and on, with a duration or without: rest is the SQL */
	LOG_TOLD_EXECUTE,   /* rest is "NAME: SQL", as for the next two */
	LOG_TOLD_FETCH,
	LOG_TOLD_STEP,
	LOG_TOLD_RECEIVED, /* connections */
	LOG_TOLD_AUTHORIZED,
	LOG_TOLD_DISCONNECTED,
};

/* What a message that is none of the English ones tells. *duration_ns: -1: none. */
enum log_told log_language_read(const struct log_text *message, int64_t *duration_ns, struct log_text *rest);

/* The English word for one before a message or a part of it ("ERROR", "DETAIL", "STATEMENT"); NULL: it is not known. */
const char *log_language_english(const struct log_text *word);

/* Whether a session's message, which is none of those known, tells a statement or a duration in another language than English: words, a
 * colon and then SQL; or words, a number of milliseconds and their unit. *duration_ns: that number; -1: there is none. */
bool log_language_tells(const struct log_text *message, int64_t *duration_ns);

/* What the words for the severity say in another language, as far as the SQLSTATE does. "": unknown. */
enum log_severity log_language_severity(const char *sqlstate);

#endif
