/* The one error type. A fallible call returns an enum status and, when that is not ST_OK, fills a struct error. */
#ifndef PGR_BASE_ERROR_H
#define PGR_BASE_ERROR_H

/* The values are the program's exit codes, so that an error keeps its meaning all the way up to main(). */
enum status {
	ST_OK = 0,
	ST_USAGE = 2,         /* the user's words or files: options, scenarios, units, configuration */
	ST_UNFIT = 3,         /* a run took place but cannot be judged */
	ST_REFUSED = 4,       /* the production guard said no */
	ST_FAILED = 5,        /* the rehearsal could not be carried out: server, disk, network, script at run time */
	ST_INTERRUPTED = 130, /* SIGINT or SIGTERM */
};

struct error {
	enum status status;
	char what[1024]; /* what went wrong, naming the thing and the value; no trailing newline or full stop */
	char where[256]; /* file:line, a path, a server; "" when there is none */
	char hint[512];  /* what would be accepted or what to do; "" when there is none */
};

#define MUST_CHECK __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))

/* Fills err (which may be NULL) and returns status, so that a caller can `return error_set(err, ST_USAGE, ...)`. Clears where and hint. */
enum status error_set(struct error *err, enum status status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Like error_set, with strerror(errno) behind the text: "<text>: <reason>". */
enum status error_errno(struct error *err, enum status status, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Adds where it happened; keeps a more precise one that is there already. */
void error_where(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Adds what would be accepted or what to do. */
void error_hint(struct error *err, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* "where: what (hint)" in one line into out; returns out. */
const char *error_text(const struct error *err, char *out, unsigned long size);

/* The analyzer looks at one file at a time and would take it for possible that these return ST_OK. */
#ifdef __clang_analyzer__
#define error_set(err, status, ...) (error_set(err, status, __VA_ARGS__), (status))
#define error_errno(err, status, ...) (error_errno(err, status, __VA_ARGS__), (status))
#endif

#endif
