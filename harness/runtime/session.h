/* One connection to PostgreSQL on an event loop: libpq without ever blocking. One operation at a time; each ends with
 * exactly one call of its done function, also when the connection is lost. */
#ifndef PGR_RUNTIME_SESSION_H
#define PGR_RUNTIME_SESSION_H

#include "base/error.h"
#include "runtime/loop.h"

#include <libpq-fe.h>
#include <stdbool.h>
#include <stdint.h>

enum session_state {
	SESSION_CLOSED, /* no connection; session_connect may be called */
	SESSION_CONNECTING,
	SESSION_IDLE, /* connected, nothing under way (perhaps inside a transaction) */
	SESSION_BUSY, /* an operation is under way */
};

#define SESSION_STATEMENTS_MAX 1024
#define SESSION_PARAMS_MAX 65535 /* as the protocol counts them */

/* A named statement, shared by all sessions; prepared once per connection, when a session first executes it. */
struct session_statement {
	const char *name; /* what people call it */
	const char *sql;
	unsigned index;   /* below SESSION_STATEMENTS_MAX, unique among the statements that a session executes */
	int params;       /* number of $n */
	const Oid *types; /* params of them, or NULL: the server infers */
};

/* How an operation ended. Lives in the session until its next operation starts. */
struct session_outcome {
	bool ok;
	char sqlstate[6];  /* "00000" when ok; "08006" connection lost, "08001" could not connect */
	PGresult *result;  /* last result of a successful operation (the first error's when not ok), or NULL; owned by the session */
	int64_t sent_ns;   /* just before the first byte was handed to libpq */
	int64_t done_ns;   /* when the last result had been read */
	int64_t rows;      /* rows returned or affected by the last statement */
	char message[512]; /* primary message of the server or of libpq; "" when ok. Last: what is used with each statement lies together */
};

struct session;
typedef void session_done_fn(struct session *s, void *arg);

struct session_hooks {
	void (*lost)(struct session *s, void *arg); /* connection went away while idle; state is SESSION_CLOSED */
	void (*notice)(struct session *s, const PGresult *notice, void *arg);
	/* Each result of an operation that is no error, as it comes. true: the caller has taken it, and clears it. */
	bool (*result)(struct session *s, PGresult *result, void *arg);
	/* Each part of a pipeline, from one sync to the next, as it has ended: how many of its statements went well, then "00000" or the
	 * SQLSTATE of the error in the one after them, and its message. */
	void (*part)(struct session *s, int done, const char *sqlstate, const char *message, void *arg);
	void *arg;
};

/* dsn: a connection string or URI; application_name and client_encoding=UTF8 are added. hooks may be NULL. */
struct session *session_create(struct loop *loop, const char *dsn, const char *application_name, const struct session_hooks *hooks);

/* Closes and frees; a pending done function is not called. May be called from the session's own done function. */
void session_free(struct session *s);

/* Starts connecting; its outcome is 00000 or an error of class 08, 28, 3D, 53 or 57. timeout_ns 0 = none. */
void session_connect(struct session *s, int64_t timeout_ns, session_done_fn *done, void *arg);

/* From now on statements are sent whole each time, none is prepared: for a pooler that gives each transaction another session of the server.
 * To be said before the first statement. */
void session_never_prepare(struct session *s);

/* Executes st with text parameters (NULL = SQL NULL), prepared on this connection first where needed. After SQLSTATE
 * 0A000 ("cached plan must not change result type") the next call prepares it afresh. values must stay valid until done. */
void session_execute(struct session *s, const struct session_statement *st, const char *const *values, session_done_fn *done, void *arg);

/* Simple protocol; several statements separated by ; are allowed, the first error ends them. */
void session_query(struct session *s, const char *sql, session_done_fn *done, void *arg);

/* Prepares st on this connection without executing it; ends at once where that has been done. */
void session_prepare(struct session *s, const struct session_statement *st, session_done_fn *done, void *arg);
bool session_is_prepared(const struct session *s, const struct session_statement *st);

/* The server has dropped all that was prepared, as was asked of it (DISCARD ALL, DEALLOCATE ALL): what is executed is prepared again. */
void session_forget_prepared(struct session *s);

/* Extended protocol, unprepared. */
void session_query_params(struct session *s, const char *sql, int n, const char *const *values, session_done_fn *done, void *arg);

/* A pipeline: statements go to the server without waiting for each other's results. From session_begin_pipeline, on an idle session, to
 * the done function of session_end_pipeline only the four calls below may be made; they are one operation, whose outcome is the
 * first error. What follows an error up to the next sync is not executed. st must be prepared; values are copied. */
void session_begin_pipeline(struct session *s);
void session_enqueue(struct session *s, const struct session_statement *st, const char *const *values);
void session_enqueue_query(struct session *s, const char *sql);
void session_sync_pipeline(struct session *s);
void session_end_pipeline(struct session *s, session_done_fn *done, void *arg); /* syncs too */
bool session_in_pipeline(const struct session *s);

/* Drops the connection now; a pending operation ends with 08006 (in the next pass of the loop). */
void session_close(struct session *s);

/* Asks the server to cancel what is under way, if anything is (PQcancel, from a helper thread since libpq's call blocks). The
 * operation does not end before the request has been delivered, so that it cannot hit the next one. A request that cannot be sent (no
 * descriptor is left, say) is tried again every 50 ms until the operation has ended. The session may be freed. */
void session_cancel(struct session *s);

const struct session_outcome *session_outcome(const struct session *s);
enum session_state session_state(const struct session *s);
int session_pid(const struct session *s); /* of the backend; 0 when closed */
PGTransactionStatusType session_transaction(const struct session *s);
PGconn *session_conn(struct session *s); /* for PQescape* and parameter status only */
struct loop *session_loop(const struct session *s);
void session_set_user(struct session *s, void *user); /* whatever the owner likes */
void *session_user(const struct session *s);

#endif
