/* A session of the observer that is kept up: it connects, sends its settings, and does so again with a growing pause whenever
 * the connection is lost. What goes wrong is told once until it goes well again. */
#ifndef PGR_OBSERVE_LINK_H
#define PGR_OBSERVE_LINK_H

#include "runtime/loop.h"
#include "runtime/session.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LINK_APPLICATION "pgrehearse observer" /* application_name of all of them */

struct link {
	/* Set by the owner before link_open. */
	struct loop *loop;
	const char *dsn;
	const char *what;                /* for messages: "the lock sampler" */
	void (*up)(struct link *link);   /* connected, settings sent, nothing under way */
	void (*down)(struct link *link); /* after a pending operation has been told; may be NULL */
	/* Of a pipeline, see runtime/session.h; may be NULL. */
	void (*part)(struct link *link, int done, const char *sqlstate, const char *message);
	void (*warn)(const char *text, void *arg); /* one warning per outage, and one per kind of failure */
	void *warn_arg;
	atomic_llong *statements; /* counts what is sent */
	void *owner;

	/* Read by the owner. */
	bool is_up;
	bool busy;
	char last_error[512]; /* of the last connect that failed, "" when none did */

	/* Its own. */
	struct session *session;
	session_done_fn *done;
	struct loop_timer retry;
	struct loop_timer deadline;
	int64_t pause_ns;
	int warnings;
	bool told_lost;
	char told_failure[6]; /* SQLSTATE last warned about by link_went_well */
};

/* Starts connecting; up is called when it is done, now or later. */
void link_open(struct link *link);

/* Drops the connection without calling anybody. */
void link_close(struct link *link);

/* Each starts an operation whose done function is called with the link as its argument, after at most 30 s; false, and done is not
 * called, when the link is down or busy. */
bool link_query(struct link *link, const char *sql, session_done_fn *done);
bool link_execute(struct link *link, const struct session_statement *st, const char *const *values, session_done_fn *done);

/* A pipeline, between the two calls, in which session_enqueue_query and session_sync_pipeline go to link->session; after a true only. */
bool link_begin_pipeline(struct link *link, session_done_fn *done);
void link_end_pipeline(struct link *link);

/* Did the operation go well? Warns "<what>: <doing>: <message>" when not, unless the failure before had the same SQLSTATE. A lost
 * connection is told by the link itself. */
bool link_went_well(struct link *link, const char *doing);

#endif
