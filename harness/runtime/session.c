/* One connection to PostgreSQL on an event loop. libpq's rules for never blocking: PQconnectPoll, PQflush until it returns
 * 0, PQgetResult only when PQisBusy is 0 (also for the trailing NULL). */
#define _GNU_SOURCE
#include "runtime/session.h"

#include "base/clock.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Edge-triggered: an answer is read in one go, and a level-triggered socket would be polled once more by the kernel for nothing
 * (seen: 6 % of the CPU of a point select). Where something may be left, loop_io_rearm. */
#define WATCHED ((uint32_t)EPOLLIN | EPOLLRDHUP | EPOLLET)
#define CANCEL_AGAIN_NS (50 * NS_PER_MS)

struct session {
	struct loop *loop;
	char *dsn;
	char *application_name;
	struct session_hooks hooks;
	void *user;

	PGconn *conn;
	struct loop_io io;
	enum session_state state;

	/* The operation under way. */
	session_done_fn *done;
	void *arg;
	const struct session_statement *statement; /* to execute once its Parse is answered, or being executed */
	const char *const *values;
	bool failed; /* an error result has been seen; later results do not replace it */
	bool preparing;
	bool never_prepare;
	bool prepare_only;       /* no Execute follows the Parse */
	bool in_pipeline;        /* also when its connection has been lost, until its end */
	bool held;               /* what was cancelled has ended, and waits for the cancel request to be delivered */
	char part_sqlstate[6];   /* of the part of the pipeline that is being answered, when that has failed; see part_message */
	uint16_t generation;     /* of prepared, below */
	int part_done;           /* statements of that part that went well */
	unsigned syncs;          /* of the pipeline, not yet answered */
	struct loop_io cancel;   /* readable when the cancel request under way has been delivered, or could not be; see session_cancel */
	struct loop_timer timer; /* connect timeout, the end of an operation that failed at its start, or the next try to cancel one */
	struct session_outcome out;
	char part_message[256];

	/* The error with which the server ended the connection while nothing was asked of it (57P01, say); libpq (15) hands that
	 * out as a notice, and a statement that is sent after it learns no more than that the connection is gone. Told to the
	 * next statement, once. */
	char end_sqlstate[6];
	char end_message[192];

	/* Under which generation each statement is prepared on this connection; 0 = not. A statement that failed with 0A000 is
	 * prepared afresh under a new name: the old name lives on in the server until the connection ends. */
	uint16_t prepared[SESSION_STATEMENTS_MAX];
};

static void on_ready(struct loop_io *io, uint32_t ready);
static void on_cancelled(struct loop_io *io, uint32_t ready);
static void on_timer(struct loop_timer *t);

static void receive_notice(void *arg, const PGresult *notice)
{
	struct session *s = arg;
	const char *severity = PQresultErrorField(notice, PG_DIAG_SEVERITY_NONLOCALIZED);
	const char *sqlstate = PQresultErrorField(notice, PG_DIAG_SQLSTATE);
	if (severity != NULL && sqlstate != NULL && (strcmp(severity, "FATAL") == 0 || strcmp(severity, "PANIC") == 0)) {
		snprintf(s->end_sqlstate, sizeof s->end_sqlstate, "%s", sqlstate);
		snprintf(s->end_message, sizeof s->end_message, "%s", PQresultErrorMessage(notice));
	}
	if (s->hooks.notice != NULL)
		s->hooks.notice(s, notice, s->hooks.arg);
}

struct session *session_create(struct loop *loop, const char *dsn, const char *application_name, const struct session_hooks *hooks)
{
	struct session *s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	s->loop = loop;
	s->dsn = strdup(dsn);
	s->application_name = strdup(application_name);
	if (hooks != NULL)
		s->hooks = *hooks;
	s->io.fd = -1;
	s->io.fn = on_ready;
	s->cancel.fn = on_cancelled;
	s->timer.fn = on_timer;
	return s;
}

static void drop_result(struct session *s)
{
	PQclear(s->out.result);
	s->out.result = NULL;
}

/* The request is on its own, has arrived, or could not be sent. */
static void forget_cancel(struct session *s)
{
	if (!s->cancel.watched)
		return;
	loop_io_remove(s->loop, &s->cancel);
	close(s->cancel.fd);
}

/* A cancel request that comes late finds another backend, or none. */
static void disconnect(struct session *s)
{
	forget_cancel(s);
	loop_io_remove(s->loop, &s->io);
	if (s->conn != NULL)
		PQfinish(s->conn);
	s->conn = NULL;
	s->io.fd = -1;
	s->state = SESSION_CLOSED;
}

void session_free(struct session *s)
{
	if (s == NULL)
		return;
	loop_timer_cancel(s->loop, &s->timer);
	drop_result(s);
	disconnect(s);
	free(s->dsn);
	free(s->application_name);
	free(s);
}

static void set_failure(struct session *s, const char *sqlstate, const char *message)
{
	if (s->failed)
		return;
	s->failed = true;
	s->out.ok = false;
	snprintf(s->out.sqlstate, sizeof s->out.sqlstate, "%s", sqlstate);
	snprintf(s->out.message, sizeof s->out.message, "%s", message != NULL && message[0] ? message : "no reason was given");
	size_t n = strlen(s->out.message);
	while (n > 0 && s->out.message[n - 1] == '\n')
		s->out.message[--n] = '\0';
}

static void begin(struct session *s, session_done_fn *done, void *arg)
{
	drop_result(s);
	s->done = done;
	s->arg = arg;
	s->failed = false;
	s->preparing = s->prepare_only = false;
	s->in_pipeline = false;
	s->syncs = 0;
	s->statement = NULL;
	if (!s->out.ok)
		s->out.message[0] = '\0';
	s->out.ok = true;
	memcpy(s->out.sqlstate, "00000", 6);
	s->out.rows = 0;
	s->out.sent_ns = clock_now_ns();
}

/* Calls done as the very last thing: it may start the next operation or free the session. Not while a cancel request is on its way,
 * which would hit that next operation. */
static void finish(struct session *s)
{
	if (!s->held)
		s->out.done_ns = clock_now_ns();
	loop_timer_cancel(s->loop, &s->timer);
	s->held = s->cancel.watched;
	if (s->held)
		return;
	session_done_fn *done = s->done;
	s->done = NULL;
	if (done == NULL)
		return; /* the connection of a pipeline was lost: its end tells */
	s->in_pipeline = false;
	done(s, s->arg);
}

/* An operation that cannot even start ends in the next pass, so that its caller never sees done called from inside. */
static void finish_later(struct session *s)
{
	loop_timer_set(s->loop, &s->timer, clock_now_ns());
}

static void watch(struct session *s, uint32_t events)
{
	s->io.fd = PQsocket(s->conn);
	s->io.events = events;
	struct error err;
	if (loop_io_add(s->loop, &s->io, &err) != ST_OK)
		set_failure(s, "08001", err.what);
}

/* ---- connecting ---- */

static void connect_failed(struct session *s, const char *message)
{
	/* libpq 15 does not hand out the SQLSTATE of a refused connection; the server's messages are told apart by their text
	 * (English, since lc_messages is the server's own and C in sandboxes). */
	static const struct {
		const char *text;
		const char *sqlstate;
	} KNOWN[] = {
		{"too many", "53300"},
		{"remaining connection slots", "53300"},
		{"starting up", "57P03"},
		{"shutting down", "57P03"},
		{"recovery mode", "57P03"},
		{"not yet accepting", "57P03"},
		{"authentication failed", "28P01"},
		{"pg_hba.conf", "28000"},
		{"does not exist", "3D000"},
	};
	const char *sqlstate = "08001";
	for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
		if (strstr(message, KNOWN[i].text) != NULL && strstr(message, "Is the server running") == NULL) {
			sqlstate = KNOWN[i].sqlstate;
			break;
		}
	}
	set_failure(s, sqlstate, message);
	disconnect(s);
	finish(s);
}

/* The socket may be another one after each call (the next address, or without encryption), mostly with the number of the one that has been
 * closed: so it is watched anew each time. */
static void poll_connection(struct session *s)
{
	loop_io_remove(s->loop, &s->io);
	switch (PQconnectPoll(s->conn)) {
	case PGRES_POLLING_READING:
		watch(s, EPOLLIN);
		break;
	case PGRES_POLLING_WRITING:
		watch(s, EPOLLOUT);
		break;
	case PGRES_POLLING_OK:
		PQsetnonblocking(s->conn, 1);
		watch(s, WATCHED);
		if (s->failed)
			break;
		s->state = SESSION_IDLE;
		memset(s->prepared, 0, sizeof s->prepared);
		s->generation = 1;
		finish(s);
		return;
	default: {
		char message[512];
		snprintf(message, sizeof message, "%s", PQerrorMessage(s->conn));
		connect_failed(s, message);
		return;
	}
	}
	if (s->failed) {
		disconnect(s);
		finish(s);
	}
}

void session_connect(struct session *s, int64_t timeout_ns, session_done_fn *done, void *arg)
{
	begin(s, done, arg);
	const char *const keys[] = {"dbname", "application_name", "client_encoding", NULL};
	const char *const values[] = {s->dsn, s->application_name, "UTF8", NULL};
	s->conn = PQconnectStartParams(keys, values, 1);
	s->state = SESSION_CONNECTING;
	s->end_sqlstate[0] = '\0';
	if (s->conn == NULL || PQstatus(s->conn) == CONNECTION_BAD) {
		set_failure(s, "08001", s->conn != NULL ? PQerrorMessage(s->conn) : "out of memory");
		disconnect(s);
		finish_later(s);
		return;
	}
	PQsetNoticeReceiver(s->conn, receive_notice, s);
	watch(s, EPOLLOUT);
	if (s->failed) {
		disconnect(s);
		finish_later(s);
	} else if (timeout_ns > 0) {
		loop_timer_set(s->loop, &s->timer, clock_now_ns() + timeout_ns);
	}
}

static void on_timer(struct loop_timer *t)
{
	struct session *s = container_of(t, struct session, timer);
	if (s->state == SESSION_CONNECTING) {
		set_failure(s, "08001", "connecting took too long");
		disconnect(s);
	} else if (s->state == SESSION_BUSY) {
		session_cancel(s);
		return;
	}
	finish(s);
}

/* ---- statements ---- */

/* The connection is gone: the server's last words, where it had any, else these. */
static void set_gone(struct session *s, const char *sqlstate, const char *message)
{
	bool told = s->end_sqlstate[0] != '\0';
	set_failure(s, told ? s->end_sqlstate : sqlstate, told ? s->end_message : message);
	s->end_sqlstate[0] = '\0';
}

static void lost(struct session *s, const char *message)
{
	bool busy = s->state == SESSION_BUSY;
	if (busy)
		set_gone(s, "08006", message);
	disconnect(s);
	if (busy || s->held)
		finish(s);
	else if (s->hooks.lost != NULL)
		s->hooks.lost(s, s->hooks.arg);
}

/* Hands what libpq has buffered to the kernel; the rest goes when the socket is writable again. */
static void flush(struct session *s)
{
	int left = PQflush(s->conn);
	if (left >= 0)
		loop_io_change(s->loop, &s->io, left > 0 ? WATCHED | EPOLLOUT : WATCHED);
	/* left < 0: the connection is broken; the socket turns readable and on_ready reads the reason. */
}

static void sent(struct session *s, int ok)
{
	if (ok) {
		s->state = SESSION_BUSY;
		flush(s);
		return;
	}
	set_failure(s, "08006", PQerrorMessage(s->conn));
	if (PQstatus(s->conn) == CONNECTION_BAD)
		disconnect(s);
	finish_later(s);
}

static bool can_start(struct session *s)
{
	if (s->state == SESSION_IDLE)
		return true;
	set_gone(s, "08003", "there is no connection");
	finish_later(s);
	return false;
}

/* "p7_1": statement 7 as prepared under generation 1. Not by snprintf, which a pipeline of short statements would notice. */
static const char *statement_name(const struct session *s, const struct session_statement *st, char out[24])
{
	char *p = out + 23;
	*p = '\0';
	unsigned generation = s->prepared[st->index], index = st->index;
	do
		*--p = (char)('0' + generation % 10);
	while ((generation /= 10) > 0);
	*--p = '_';
	do
		*--p = (char)('0' + index % 10);
	while ((index /= 10) > 0);
	*--p = 'p';
	return p;
}

static void send_execute(struct session *s)
{
	char name[24];
	sent(s, PQsendQueryPrepared(s->conn, statement_name(s, s->statement, name), s->statement->params, s->values, NULL, NULL, 0));
}

/* In one message, without a name. */
static int send_whole(struct session *s, const struct session_statement *st, const char *const *values)
{
	return PQsendQueryParams(s->conn, st->sql, st->params, st->types, values, NULL, NULL, 0);
}

static void send_prepare(struct session *s)
{
	const struct session_statement *st = s->statement;
	s->preparing = true;
	s->prepared[st->index] = s->generation;
	char name[24];
	sent(s, PQsendPrepare(s->conn, statement_name(s, st, name), st->sql, st->types != NULL ? st->params : 0, st->types));
}

void session_execute(struct session *s, const struct session_statement *st, const char *const *values, session_done_fn *done, void *arg)
{
	begin(s, done, arg);
	if (!can_start(s))
		return;
	s->statement = st;
	s->values = values;
	if (s->never_prepare)
		sent(s, send_whole(s, st, values));
	else if (s->prepared[st->index] != 0)
		send_execute(s);
	else
		send_prepare(s);
}

void session_prepare(struct session *s, const struct session_statement *st, session_done_fn *done, void *arg)
{
	begin(s, done, arg);
	if (!can_start(s))
		return;
	if (session_is_prepared(s, st)) {
		finish_later(s);
		return;
	}
	s->statement = st;
	s->prepare_only = true;
	send_prepare(s);
}

bool session_is_prepared(const struct session *s, const struct session_statement *st)
{
	return s->prepared[st->index] != 0 || s->never_prepare;
}

void session_forget_prepared(struct session *s)
{
	memset(s->prepared, 0, sizeof s->prepared);
}

void session_never_prepare(struct session *s)
{
	s->never_prepare = true;
}

void session_query(struct session *s, const char *sql, session_done_fn *done, void *arg)
{
	begin(s, done, arg);
	if (can_start(s))
		sent(s, PQsendQuery(s->conn, sql));
}

void session_query_params(struct session *s, const char *sql, int n, const char *const *values, session_done_fn *done, void *arg)
{
	begin(s, done, arg);
	if (can_start(s))
		sent(s, PQsendQueryParams(s->conn, sql, n, NULL, values, NULL, NULL, 0));
}

/* ---- pipelines ---- */

void session_begin_pipeline(struct session *s)
{
	begin(s, NULL, NULL);
	s->in_pipeline = true;
	s->part_sqlstate[0] = '\0';
	s->part_done = 0;
	if (s->state != SESSION_IDLE) {
		set_gone(s, "08003", "there is no connection");
		return;
	}
	s->state = SESSION_BUSY;
	if (!PQenterPipelineMode(s->conn))
		set_failure(s, "08006", PQerrorMessage(s->conn));
}

/* libpq keeps what is enqueued until a sync, or until it has 64 kB. */
static void enqueued(struct session *s, int ok)
{
	if (!ok)
		set_failure(s, "08006", PQerrorMessage(s->conn));
}

void session_enqueue(struct session *s, const struct session_statement *st, const char *const *values)
{
	if (s->state != SESSION_BUSY)
		return;
	char name[24];
	enqueued(s,
		s->never_prepare ? send_whole(s, st, values)
				 : PQsendQueryPrepared(s->conn, statement_name(s, st, name), st->params, values, NULL, NULL, 0));
}

void session_enqueue_query(struct session *s, const char *sql)
{
	if (s->state == SESSION_BUSY)
		enqueued(s, PQsendQueryParams(s->conn, sql, 0, NULL, NULL, NULL, NULL, 0));
}

void session_sync_pipeline(struct session *s)
{
	if (s->state != SESSION_BUSY)
		return;
	if (!PQpipelineSync(s->conn)) {
		set_failure(s, "08006", PQerrorMessage(s->conn));
		return;
	}
	s->syncs++;
	flush(s);
}

void session_end_pipeline(struct session *s, session_done_fn *done, void *arg)
{
	s->done = done;
	s->arg = arg;
	session_sync_pipeline(s);
	if (s->state == SESSION_BUSY && s->syncs > 0)
		return;
	/* The connection was lost meanwhile, or is in a state that only a new one mends. */
	disconnect(s);
	finish_later(s);
}

bool session_in_pipeline(const struct session *s)
{
	return s->in_pipeline;
}

/* All syncs are answered. The end may not have been asked for yet: then more is to come. */
static void pipeline_done(struct session *s)
{
	if (s->done == NULL)
		return;
	if (!PQexitPipelineMode(s->conn))
		set_failure(s, "08006", PQerrorMessage(s->conn));
	/* Which statement it was is not known, so all are prepared afresh. */
	if (s->failed && (memcmp(s->out.sqlstate, "0A000", 6) == 0 || memcmp(s->out.sqlstate, "26000", 6) == 0)) {
		memset(s->prepared, 0, sizeof s->prepared);
		s->generation++;
	}
	s->state = SESSION_IDLE;
	finish(s);
}

static void end_part(struct session *s)
{
	bool failed = s->part_sqlstate[0] != '\0';
	if (s->hooks.part != NULL)
		s->hooks.part(s, s->part_done, failed ? s->part_sqlstate : "00000", failed ? s->part_message : "", s->hooks.arg);
	s->part_sqlstate[0] = '\0';
	s->part_done = 0;
}

static void take_result(struct session *s, PGresult *result)
{
	switch (PQresultStatus(result)) {
	case PGRES_PIPELINE_SYNC:
		s->syncs--;
		PQclear(result);
		end_part(s);
		return;
	case PGRES_PIPELINE_ABORTED:
		PQclear(result);
		return;
	case PGRES_BAD_RESPONSE:
	case PGRES_FATAL_ERROR: {
		const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
		const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
		if (sqlstate == NULL && s->end_sqlstate[0] != '\0') { /* libpq's own, of the end of the stream */
			sqlstate = s->end_sqlstate;
			message = s->end_message;
		}
		if (s->hooks.part != NULL) {
			snprintf(s->part_sqlstate, sizeof s->part_sqlstate, "%s", sqlstate != NULL ? sqlstate : "08006");
			snprintf(s->part_message, sizeof s->part_message, "%s", message != NULL ? message : "");
		}
		if (s->failed) {
			PQclear(result);
			return;
		}
		set_failure(s, sqlstate != NULL ? sqlstate : "08006", message != NULL ? message : PQresultErrorMessage(result));
		break;
	}
	case PGRES_COPY_IN:
		PQputCopyEnd(s->conn, "COPY is not possible in a session of a rehearsal");
		PQclear(result);
		return;
	case PGRES_TUPLES_OK:
		s->part_done++;
		s->out.rows = PQntuples(result);
		break;
	default: {
		s->part_done++;
		const char *count = PQcmdTuples(result);
		s->out.rows = count[0] != '\0' ? strtoll(count, NULL, 10) : 0;
		break;
	}
	}
	drop_result(s);
	bool taken = !s->failed && s->hooks.result != NULL && s->hooks.result(s, result, s->hooks.arg);
	s->out.result = taken ? NULL : result;
}

/* All results are in. A Parse that went well is followed by its Execute; everything else is the end. */
static void operation_done(struct session *s)
{
	s->state = SESSION_IDLE;
	const struct session_statement *st = s->statement;
	if (s->preparing && !s->prepare_only && !s->failed) {
		s->preparing = false;
		send_execute(s);
		return;
	}
	if (st != NULL && s->failed &&
		(s->preparing || memcmp(s->out.sqlstate, "0A000", 6) == 0 || memcmp(s->out.sqlstate, "26000", 6) == 0)) {
		s->prepared[st->index] = 0;
		s->generation++;
	}
	finish(s);
}

/* COPY OUT would have to be drained without blocking; nothing of ours asks for it, so the connection is dropped instead. */
static bool is_copy(const struct session *s, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);
	return status == PGRES_COPY_OUT || status == PGRES_COPY_BOTH || (status == PGRES_COPY_IN && s->in_pipeline);
}

static void read_results(struct session *s)
{
	bool between = false; /* the latest of a pipeline's results was the NULL that ends a statement's */
	while (!PQisBusy(s->conn)) {
		PGresult *result = PQgetResult(s->conn);
		if (result == NULL && PQstatus(s->conn) == CONNECTION_BAD) {
			lost(s, PQerrorMessage(s->conn));
			return;
		}
		if (result == NULL && !s->in_pipeline) {
			operation_done(s);
			return;
		}
		if (result == NULL && (between || s->syncs == 0))
			break;
		between = result == NULL;
		if (result == NULL)
			continue;
		if (is_copy(s, result)) {
			PQclear(result);
			lost(s, "COPY is not possible in a session of a rehearsal");
			return;
		}
		take_result(s, result);
		if (s->in_pipeline && s->syncs == 0) {
			pipeline_done(s);
			return;
		}
	}
	loop_io_rearm(s->loop, &s->io); /* libpq reads a buffer's worth: there may be more in the socket */
}

static void on_ready(struct loop_io *io, uint32_t ready)
{
	struct session *s = container_of(io, struct session, io);
	if (s->state == SESSION_CONNECTING) {
		poll_connection(s);
		return;
	}
	/* The end of the stream may stand behind what is about to be read. First, because a done function may free the session. */
	if (s->state != SESSION_BUSY || (ready & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0)
		loop_io_rearm(s->loop, &s->io);
	if (ready & EPOLLOUT)
		flush(s);
	if (!(ready & ~(uint32_t)EPOLLOUT))
		return;
	if (!PQconsumeInput(s->conn)) {
		/* The server's last words (57P01, say) may have arrived before the end of the stream. */
		char message[512];
		snprintf(message, sizeof message, "%s", PQerrorMessage(s->conn));
		PGresult *result;
		while (s->state == SESSION_BUSY && (result = PQgetResult(s->conn)) != NULL)
			take_result(s, result);
		lost(s, message);
		return;
	}
	if (s->state == SESSION_BUSY) {
		read_results(s);
		return;
	}
	PGnotify *note;
	while ((note = PQnotifies(s->conn)) != NULL)
		PQfreemem(note);
	/* After its last words the server closes the socket, in its own time. */
	if (PQstatus(s->conn) == CONNECTION_BAD || s->end_sqlstate[0] != '\0')
		lost(s, PQerrorMessage(s->conn));
}

void session_close(struct session *s)
{
	bool pending = s->state == SESSION_BUSY || s->state == SESSION_CONNECTING;
	if (pending)
		set_failure(s, "08006", "the connection was closed by us");
	disconnect(s);
	if (pending || s->held)
		finish_later(s);
}

/* ---- cancelling ---- */

/* A helper thread's: it tells that the request has been delivered by closing its end of a pair of sockets, and sends a byte before when it
 * could not be. So it needs nothing of the session. */
struct cancel {
	PGcancel *request;
	int told;
};

static void *run_cancel(void *arg)
{
	struct cancel *cancel = arg;
	char reason[256];
	if (!PQcancel(cancel->request, reason, sizeof reason)) {
		ssize_t n = send(cancel->told, "", 1, MSG_NOSIGNAL);
		(void)n; /* the session may have gone */
	}
	PQfreeCancel(cancel->request);
	close(cancel->told);
	free(cancel);
	return NULL;
}

static void cancel_again(struct session *s)
{
	loop_timer_set(s->loop, &s->timer, clock_now_ns() + CANCEL_AGAIN_NS);
}

static void on_cancelled(struct loop_io *io, uint32_t ready)
{
	(void)ready;
	struct session *s = container_of(io, struct session, cancel);
	char byte;
	bool failed = recv(io->fd, &byte, 1, MSG_DONTWAIT) == 1;
	forget_cancel(s);
	if (s->held)
		finish(s);
	else if (failed && s->state == SESSION_BUSY)
		cancel_again(s);
}

static bool start_cancel(struct session *s)
{
	int ends[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return false;
	s->cancel.fd = ends[0];
	s->cancel.events = EPOLLIN;
	struct cancel *cancel = malloc(sizeof *cancel);
	struct error err;
	pthread_t thread;
	if (cancel != NULL)
		*cancel = (struct cancel){.request = PQgetCancel(s->conn), .told = ends[1]};
	if (cancel != NULL && cancel->request != NULL && loop_io_add(s->loop, &s->cancel, &err) == ST_OK &&
		pthread_create(&thread, NULL, run_cancel, cancel) == 0) {
		pthread_detach(thread);
		return true;
	}
	loop_io_remove(s->loop, &s->cancel);
	close(ends[0]);
	close(ends[1]);
	if (cancel != NULL && cancel->request != NULL)
		PQfreeCancel(cancel->request);
	free(cancel);
	return false;
}

void session_cancel(struct session *s)
{
	if (s->state == SESSION_BUSY && !s->cancel.watched && !start_cancel(s))
		cancel_again(s);
}

const struct session_outcome *session_outcome(const struct session *s)
{
	return &s->out;
}

enum session_state session_state(const struct session *s)
{
	return s->state;
}

int session_pid(const struct session *s)
{
	return s->conn != NULL ? PQbackendPID(s->conn) : 0;
}

PGTransactionStatusType session_transaction(const struct session *s)
{
	return s->conn != NULL ? PQtransactionStatus(s->conn) : PQTRANS_UNKNOWN;
}

PGconn *session_conn(struct session *s)
{
	return s->conn;
}

struct loop *session_loop(const struct session *s)
{
	return s->loop;
}

void session_set_user(struct session *s, void *user)
{
	s->user = user;
}

void *session_user(const struct session *s)
{
	return s->user;
}
