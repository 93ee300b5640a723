/* A session of the observer that is kept up. */
#include "observe/link.h"

#include "base/clock.h"
#include "observe/queries.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_NS (10 * NS_PER_S)
#define OPERATION_NS (30 * NS_PER_S) /* the server's own limit is 10 s: this is for a server that is gone without a word */
#define PAUSE_MIN_NS (50 * NS_PER_MS)
#define PAUSE_MAX_NS (2 * NS_PER_S)

static void connect_now(struct link *link);

#define WARNINGS_MAX 10 /* of one link: a server that comes and goes must not fill the record */

static void warn(struct link *link, const char *text)
{
	char line[1024];
	if (link->warnings == WARNINGS_MAX)
		return;
	bool last = ++link->warnings == WARNINGS_MAX;
	snprintf(line, sizeof line, "%s: %s%s", link->what, text, last ? " (no more is said about it)" : "");
	link->warn(line, link->warn_arg);
}

static void retry_later(struct link *link)
{
	link->is_up = false;
	link->busy = false;
	loop_timer_cancel(link->loop, &link->deadline);
	link->pause_ns = link->pause_ns == 0 ? PAUSE_MIN_NS : link->pause_ns * 2;
	if (link->pause_ns > PAUSE_MAX_NS)
		link->pause_ns = PAUSE_MAX_NS;
	loop_timer_set(link->loop, &link->retry, clock_now_ns() + link->pause_ns);
}

static void lose(struct link *link, const char *message)
{
	bool was_up = link->is_up;
	snprintf(link->last_error, sizeof link->last_error, "%s", message);
	retry_later(link);
	if (!link->told_lost) {
		char text[600];
		snprintf(text, sizeof text, "%s: %s", was_up ? "connection lost" : "no connection", message);
		warn(link, text);
		link->told_lost = true;
	}
	if (was_up && link->down != NULL)
		link->down(link);
}

static void on_lost(struct session *s, void *arg)
{
	(void)s;
	lose(arg, "the server closed it");
}

static void on_settings(struct session *s, void *arg)
{
	struct link *link = arg;
	const struct session_outcome *out = session_outcome(s);
	loop_timer_cancel(link->loop, &link->deadline);
	if (session_state(s) == SESSION_CLOSED || !out->ok) {
		char message[512];
		snprintf(message, sizeof message, "%s", out->message);
		session_close(s);
		lose(link, message);
		return;
	}
	link->is_up = true;
	link->told_lost = false;
	link->pause_ns = 0;
	link->last_error[0] = '\0';
	link->up(link);
}

static void on_connected(struct session *s, void *arg)
{
	struct link *link = arg;
	if (!session_outcome(s)->ok) {
		lose(link, session_outcome(s)->message);
		return;
	}
	atomic_fetch_add_explicit(link->statements, 1, memory_order_relaxed);
	loop_timer_set(link->loop, &link->deadline, clock_now_ns() + OPERATION_NS);
	session_query(s, QUERY_SETTINGS, on_settings, link);
}

static void connect_now(struct link *link)
{
	session_connect(link->session, CONNECT_NS, on_connected, link);
}

static void on_retry(struct loop_timer *t)
{
	connect_now(container_of(t, struct link, retry));
}

static void on_deadline(struct loop_timer *t)
{
	struct link *link = container_of(t, struct link, deadline);
	session_close(link->session);
}

static void on_part(struct session *s, int done, const char *sqlstate, const char *message, void *arg)
{
	(void)s;
	struct link *link = arg;
	link->part(link, done, sqlstate, message);
}

void link_open(struct link *link)
{
	struct session_hooks hooks = {.lost = on_lost, .part = link->part != NULL ? on_part : NULL, .arg = link};
	link->session = session_create(link->loop, link->dsn, LINK_APPLICATION, &hooks);
	link->retry.fn = on_retry;
	link->deadline.fn = on_deadline;
	connect_now(link);
}

void link_close(struct link *link)
{
	if (link->session == NULL)
		return;
	loop_timer_cancel(link->loop, &link->retry);
	loop_timer_cancel(link->loop, &link->deadline);
	session_free(link->session);
	link->session = NULL;
	link->is_up = link->busy = false;
}

static void on_done(struct session *s, void *arg)
{
	struct link *link = arg;
	link->busy = false;
	loop_timer_cancel(link->loop, &link->deadline);
	bool closed = session_state(s) == SESSION_CLOSED;
	char message[512];
	snprintf(message, sizeof message, "%s", session_outcome(s)->message);
	if (closed)
		link->is_up = false; /* so that done cannot start another operation */
	link->done(s, link);
	if (closed) {
		link->is_up = true;
		lose(link, message);
	}
}

static bool begin(struct link *link, session_done_fn *done)
{
	if (!link->is_up || link->busy)
		return false;
	link->busy = true;
	link->done = done;
	loop_timer_set(link->loop, &link->deadline, clock_now_ns() + OPERATION_NS);
	atomic_fetch_add_explicit(link->statements, 1, memory_order_relaxed);
	return true;
}

bool link_query(struct link *link, const char *sql, session_done_fn *done)
{
	if (!begin(link, done))
		return false;
	session_query(link->session, sql, on_done, link);
	return true;
}

bool link_execute(struct link *link, const struct session_statement *st, const char *const *values, session_done_fn *done)
{
	if (!begin(link, done))
		return false;
	session_execute(link->session, st, values, on_done, link);
	return true;
}

bool link_begin_pipeline(struct link *link, session_done_fn *done)
{
	if (!begin(link, done))
		return false;
	session_begin_pipeline(link->session);
	return true;
}

void link_end_pipeline(struct link *link)
{
	session_end_pipeline(link->session, on_done, link);
}

bool link_went_well(struct link *link, const char *doing)
{
	const struct session_outcome *out = session_outcome(link->session);
	if (out->ok)
		return true;
	if (strcmp(out->sqlstate, link->told_failure) != 0 && strncmp(out->sqlstate, "08", 2) != 0) {
		char text[700];
		snprintf(text, sizeof text, "%s: %s (SQLSTATE %s)", doing, out->message, out->sqlstate);
		warn(link, text);
		memcpy(link->told_failure, out->sqlstate, sizeof link->told_failure);
	}
	return false;
}
