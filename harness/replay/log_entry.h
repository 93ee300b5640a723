/* One message of a server's log, whichever format it was written in. */
#ifndef PGR_REPLAY_LOG_ENTRY_H
#define PGR_REPLAY_LOG_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The longest message that is kept in memory; a longer one is skipped and told as LOG_TROUBLE_LONG. */
#define LOG_RECORD_MAX ((size_t)16 << 20)

/* Bytes in the reader's buffer: not terminated, valid until its next call. n 0: absent or empty. */
struct log_text {
	char *at;
	size_t n;
};

enum log_severity {
	LOG_SEVERITY_UNKNOWN, /* a word of another language, or none */
	LOG_SEVERITY_DEBUG,
	LOG_SEVERITY_LOG,
	LOG_SEVERITY_NOTICE, /* NOTICE, INFO */
	LOG_SEVERITY_WARNING,
	LOG_SEVERITY_ERROR,
	LOG_SEVERITY_FATAL, /* FATAL, PANIC: the session ends */
};

/* Why lines are no message. */
enum log_trouble {
	LOG_TROUBLE_NONE,
	LOG_TROUBLE_BROKEN, /* a record that begins well and ends badly: cut off, columns missing, quotes that do not match */
	LOG_TROUBLE_ALIEN,  /* lines of other writers */
	LOG_TROUBLE_LONG,   /* over LOG_RECORD_MAX */
	LOG_TROUBLE_ORPHAN, /* stderr: DETAIL, STATEMENT and the like that follow no message of their process */
	LOG_TROUBLE_FILE,   /* the rest of a file could not be read; message says why */
};

struct log_entry {
	enum log_trouble trouble; /* unless NONE only file, line, lines and message (a sample of it) are set */
	enum log_severity severity;
	int64_t time_ns;      /* since the Unix epoch, as precise as the log (mostly 1 ms); INT64_MIN: unknown */
	uint64_t session;     /* start in s << 32 | pid; only the pid where the log has no session id; 0: none */
	int64_t session_line; /* from 1; 0: unknown */
	int64_t last_line;    /* stderr numbers each part of a message: that of the last one; 0: session_line */
	int64_t start_s;      /* of the session, since the Unix epoch; 0: unknown */
	int pid;
	char sqlstate[6]; /* "" where the log has none */
	uint64_t xid;     /* 0: none, or unknown */
	struct log_text user, database, application, host, ps, backend_type;
	struct log_text message, detail, context, query;
	size_t file;         /* number of its file */
	int64_t line;        /* its first line in the file, from 1 */
	int64_t lines;       /* how many it has */
	int64_t alien_lines; /* of other writers amid these; not among `lines` */
};

/* s is not copied, and not to be changed through it. */
static inline struct log_text log_text_of(const char *s)
{
	return (struct log_text){(char *)(uintptr_t)s, strlen(s)};
}

static inline bool log_text_is(const struct log_text *t, const char *word)
{
	return t->n == strlen(word) && memcmp(t->at, word, t->n) == 0;
}

static inline bool log_text_begins(const struct log_text *t, const char *word)
{
	size_t n = strlen(word);
	return t->n >= n && memcmp(t->at, word, n) == 0;
}

#endif
