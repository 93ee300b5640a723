/* A session's state is the statement whose end has not been seen, and the parse and bind steps that may belong to the next one.
 *
 * What the server logs (src/backend/tcop/postgres.c) per setting:
 * - log_statement: "statement: SQL" or "execute NAME: SQL" when it arrives.
 * - log_duration: a bare "duration: X ms" when a statement that was told has ended, and for each parse and bind.
 * - log_min_duration_statement: "duration: X ms  statement: SQL" at the end; parse, bind and execute each with the SQL. Bare, when
 *   log_statement has told it already.
 * - errors: no duration, but ERROR with the SQL as STATEMENT; syntax errors were not told by log_statement before. */
#define _GNU_SOURCE
#include "replay/assemble.h"

#include "base/buf.h"
#include "base/clock.h"
#include "replay/log_language.h"

#include <stdlib.h>
#include <strings.h>

#define BUCKETS ((size_t)1 << 16)
#define ENDED ((size_t)1 << 15)
/* A step counts to the statement behind it when no more than this lies between them: times are whole milliseconds. */
#define STEP_GAP_NS (3 * NS_PER_MS)
#define PENDING_KEPT ((size_t)64 << 10) /* bytes that a session keeps for its next statement */

struct pending {
	bool open;
	enum captured_kind kind;
	enum loss_class lost; /* LOSS_STATEMENT: it is not */
	struct buf text, detail;
	size_t name_n, portal_n; /* at the begin of text: name, portal, SQL */
	int64_t arrival_ns, step_ns;
	size_t file;
	int64_t line;
};

struct session {
	struct session *next;            /* of its bucket */
	struct session *older, *younger; /* by when they were last heard of */
	uint64_t id;
	uint32_t number;
	bool connected; /* its connect event has been told */
	int64_t session_line;
	int64_t last_ns;
	int64_t step_begin_ns, step_end_ns, step_ns; /* parse and bind since the last statement */
	int64_t bare_ns;                             /* of these, what bare durations say: lost when no statement follows */
	struct pending pending;
};

struct ended {
	uint64_t id;
	int64_t line; /* its last number */
};

struct assembler {
	struct assemble_sink sink;
	struct loss loss;
	struct session **buckets;
	struct ended *ended;                       /* by id; a later session takes an earlier one's place */
	struct session *oldest, *youngest, *spare; /* spare: linked by next, with their buffers */
	size_t n_sessions;
	uint32_t next_number;
	int64_t newest_ns; /* of the message before */
	struct params params;
};

struct assembler *assemble_create(const struct assemble_sink *sink)
{
	struct assembler *a = calloc(1, sizeof *a);
	struct session **buckets = calloc(BUCKETS, sizeof(struct session *));
	struct ended *ended = calloc(ENDED, sizeof *ended);
	if (a == NULL || buckets == NULL || ended == NULL)
		abort();
	a->sink = *sink;
	a->buckets = buckets;
	a->ended = ended;
	return a;
}

const struct loss *assemble_loss(const struct assembler *a)
{
	return &a->loss;
}

static size_t bucket_of(uint64_t id)
{
	return (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 48);
}

/* ---- sessions ---- */

static void free_session(struct session *s)
{
	buf_free(&s->pending.text);
	buf_free(&s->pending.detail);
	free(s);
}

static void unlink_age(struct assembler *a, struct session *s)
{
	*(s->older != NULL ? &s->older->younger : &a->oldest) = s->younger;
	*(s->younger != NULL ? &s->younger->older : &a->youngest) = s->older;
}

static void link_youngest(struct assembler *a, struct session *s)
{
	s->older = a->youngest;
	s->younger = NULL;
	*(a->youngest != NULL ? &a->youngest->younger : &a->oldest) = s;
	a->youngest = s;
}

static void drop_steps(struct assembler *a, struct session *s)
{
	loss_add_busy(&a->loss, LOSS_DURATION, s->bare_ns);
	loss_add_busy(&a->loss, LOSS_STEP, s->step_ns - s->bare_ns);
	s->step_begin_ns = s->step_end_ns = s->step_ns = s->bare_ns = 0;
}

static void tell(struct assembler *a, const struct captured *c)
{
	a->sink.event(c, a->sink.arg);
}

static void tell_pending(struct assembler *a, const struct session *s, int64_t duration_ns, const char *sqlstate)
{
	const struct pending *p = &s->pending;
	if (p->lost != LOSS_STATEMENT) {
		loss_add_busy(&a->loss, p->lost, duration_ns + p->step_ns);
		return;
	}
	if (duration_ns < 0)
		a->loss.no_duration++;
	else
		duration_ns += p->step_ns;
	loss_add_busy(&a->loss, LOSS_STATEMENT, duration_ns);
	char *text = p->text.data;
	struct captured c = {.kind = p->kind,
		.session = s->number,
		.arrival_ns = p->arrival_ns,
		.duration_ns = duration_ns,
		.name = {text, p->name_n},
		.portal = {text + p->name_n, p->portal_n},
		.text = {text + p->name_n + p->portal_n, p->text.len - p->name_n - p->portal_n},
		.rows = -1,
		.file = p->file,
		.line = p->line};
	memcpy(c.sqlstate, sqlstate, 6);
	if (p->detail.len > 0 && params_read(p->detail.data, p->detail.len, &a->params)) {
		c.params = a->params.at;
		c.n_params = a->params.n;
		a->loss.perhaps_cut += (int64_t)a->params.perhaps_cut;
	}
	tell(a, &c);
}

/* Reports the statement under way. duration_ns -1: when it ended is unknown. What a long one has taken is given back, since so many sessions are
 * remembered. */
static void finish_pending(struct assembler *a, struct session *s, int64_t duration_ns, const char *sqlstate)
{
	struct pending *p = &s->pending;
	if (!p->open)
		return;
	p->open = false;
	tell_pending(a, s, duration_ns, sqlstate);
	if (p->text.cap > PENDING_KEPT)
		buf_free(&p->text);
	if (p->detail.cap > PENDING_KEPT)
		buf_free(&p->detail);
}

static void end_session(struct assembler *a, struct session *s, int64_t time_ns, bool logged)
{
	finish_pending(a, s, -1, "00000");
	drop_steps(a, s);
	if (s->connected) {
		struct captured c = {.kind = CAPTURED_DISCONNECT,
			.session = s->number,
			.arrival_ns = time_ns,
			.duration_ns = -1,
			.rows = -1,
			.no_end = !logged,
			.sqlstate = "00000"};
		tell(a, &c);
	}
	if (s->session_line > 0)
		a->ended[bucket_of(s->id) % ENDED] = (struct ended){s->id, s->session_line};
	struct session **link = &a->buckets[bucket_of(s->id)];
	while (*link != s)
		link = &(*link)->next;
	*link = s->next;
	unlink_age(a, s);
	s->next = a->spare;
	a->spare = s;
	a->n_sessions--;
}

static struct session *find_session(struct assembler *a, uint64_t id)
{
	struct session *s = a->buckets[bucket_of(id)];
	while (s != NULL && s->id != id)
		s = s->next;
	return s;
}

static struct session *make_session(struct assembler *a, const struct log_entry *e)
{
	if (a->n_sessions >= ASSEMBLE_SESSIONS_MAX) {
		a->loss.evicted++;
		end_session(a, a->oldest, a->oldest->last_ns, false);
	}
	struct session *s = a->spare;
	if (s != NULL) {
		a->spare = s->next;
		struct pending pending = s->pending;
		*s = (struct session){.pending = pending};
	} else {
		s = calloc(1, sizeof *s);
		if (s == NULL)
			abort();
		buf_init(&s->pending.text, LOG_RECORD_MAX);
		buf_init(&s->pending.detail, LOG_RECORD_MAX);
	}
	s->id = e->session;
	struct session **bucket = &a->buckets[bucket_of(s->id)];
	s->next = *bucket;
	*bucket = s;
	link_youngest(a, s);
	a->n_sessions++;
	return s;
}

static struct session *session_of(struct assembler *a, const struct log_entry *e)
{
	struct session *s = find_session(a, e->session);
	if (s == NULL) {
		s = make_session(a, e);
	} else if (a->youngest != s) {
		unlink_age(a, s);
		link_youngest(a, s);
	}
	if (e->session_line > 0) {
		if (s->session_line > 0 && e->session_line > s->session_line + 1)
			a->loss.missing += e->session_line - s->session_line - 1;
		s->session_line = e->last_line > e->session_line ? e->last_line : e->session_line;
	}
	s->last_ns = e->time_ns;
	return s;
}

static bool is_named(const struct log_text *t)
{
	return t->n > 0 && !(t->at[0] == '[' && t->at[t->n - 1] == ']'); /* "[unknown]", in any language */
}

/* Tells the session and that it was opened, before the first that it does. */
static void connect(struct assembler *a, struct session *s, const struct log_entry *e, const struct captured_session *known, bool logged)
{
	if (s->connected)
		return;
	struct captured_session told = known != NULL ? *known : (struct captured_session){0};
	s->connected = true;
	s->number = a->next_number++;
	told.number = s->number;
	told.id = s->id;
	told.start_ns = e->start_s * NS_PER_S;
	if (!is_named(&told.user))
		told.user = e->user;
	if (!is_named(&told.database))
		told.database = e->database;
	if (!is_named(&told.application))
		told.application = e->application;
	told.host = e->host;
	a->sink.session(&told, a->sink.arg);
	struct captured c = {.kind = CAPTURED_CONNECT,
		.session = s->number,
		.arrival_ns = e->time_ns,
		.duration_ns = -1,
		.rows = -1,
		.no_end = !logged,
		.sqlstate = "00000",
		.file = e->file,
		.line = e->line};
	if (!logged && told.start_ns > 0 && told.start_ns <= e->time_ns)
		c.arrival_ns = told.start_ns;
	tell(a, &c);
}

/* ---- what a message says ---- */

/* "12.345" milliseconds at the begin of t; takes it off. -1: it is none. */
static int64_t take_duration(struct log_text *t)
{
	int64_t us = 0;
	size_t i = 0;
	for (; i < t->n && i < 15 && t->at[i] >= '0' && t->at[i] <= '9'; i++)
		us = us * 10 + (t->at[i] - '0');
	if (i == 0 || t->n < i + 7 || t->at[i] != '.' || memcmp(t->at + i + 4, " ms", 3) != 0)
		return -1;
	for (size_t k = i + 1; k < i + 4; k++) {
		if (t->at[k] < '0' || t->at[k] > '9')
			return -1;
		us = us * 10 + (t->at[k] - '0');
	}
	t->at += i + 7;
	t->n -= i + 7;
	return us * NS_PER_US;
}

static inline bool take(struct log_text *t, const char *word)
{
	if (!log_text_begins(t, word))
		return false;
	size_t n = strlen(word);
	t->at += n;
	t->n -= n;
	return true;
}

/* "NAME: " or "NAME/PORTAL: "; t is then the SQL. */
static bool take_name(struct log_text *t, struct log_text *name, struct log_text *portal)
{
	char *colon = memmem(t->at, t->n, ": ", 2);
	*portal = (struct log_text){0};
	if (colon == NULL)
		return false;
	*name = (struct log_text){t->at, (size_t)(colon - t->at)};
	t->n -= name->n + 2;
	t->at = colon + 2;
	char *slash = memchr(name->at, '/', name->n);
	if (slash != NULL) {
		*portal = (struct log_text){slash + 1, (size_t)(name->at + name->n - slash - 1)};
		name->n = (size_t)(slash - name->at);
	}
	if (log_text_is(name, "<unnamed>"))
		name->n = 0;
	return true;
}

enum said { SAID_SIMPLE, SAID_EXECUTE, SAID_FETCH, SAID_STEP, SAID_FASTPATH, SAID_PLAN, SAID_OTHER };

static enum said understand(struct log_text *t, struct log_text *name, struct log_text *portal)
{
	*name = *portal = (struct log_text){0};
	if (take(t, "statement: "))
		return SAID_SIMPLE;
	if (take(t, "execute fetch from ") && take_name(t, name, portal))
		return SAID_FETCH;
	if (take(t, "execute ") && take_name(t, name, portal))
		return SAID_EXECUTE;
	if ((take(t, "parse ") || take(t, "bind ")) && take_name(t, name, portal))
		return SAID_STEP;
	if (log_text_begins(t, "fastpath function call: "))
		return SAID_FASTPATH;
	if (log_text_begins(t, "plan:"))
		return SAID_PLAN;
	return SAID_OTHER;
}

static bool has_word(const struct log_text *t, const char *word)
{
	size_t n = strlen(word), last = t->n < 4096 ? t->n : 4096;
	for (size_t i = 0; i + n <= last; i++)
		if (strncasecmp(t->at + i, word, n) == 0)
			return true;
	return false;
}

/* COPY FROM STDIN and TO STDOUT, also as one of several statements. */
static bool is_copy(const struct log_text *sql)
{
	size_t i = 0;
	while (i < sql->n && (sql->at[i] == ' ' || sql->at[i] == '\n' || sql->at[i] == '\t'))
		i++;
	if (sql->n - i < 5 || strncasecmp(sql->at + i, "copy", 4) != 0)
		return false;
	return has_word(sql, "stdin") || has_word(sql, "stdout");
}

/* ---- statements ---- */

/* Steps just before a statement are its own. Returns when it began. */
static int64_t use_steps(struct assembler *a, struct session *s, int64_t arrival_ns, int64_t *step_ns)
{
	*step_ns = 0;
	if (s->step_end_ns != 0 && arrival_ns - s->step_end_ns <= STEP_GAP_NS) {
		*step_ns = s->step_ns;
		arrival_ns = s->step_begin_ns < arrival_ns ? s->step_begin_ns : arrival_ns;
		s->step_ns = s->bare_ns = 0;
	}
	drop_steps(a, s);
	return arrival_ns;
}

static void add_step(struct assembler *a, struct session *s, int64_t begin_ns, int64_t duration_ns, bool bare)
{
	if (s->step_end_ns != 0 && begin_ns - s->step_end_ns > STEP_GAP_NS)
		drop_steps(a, s);
	if (s->step_end_ns == 0)
		s->step_begin_ns = begin_ns;
	s->step_end_ns = begin_ns + duration_ns;
	s->step_ns += duration_ns;
	s->bare_ns += bare ? duration_ns : 0;
}

static enum loss_class class_of(enum said said, const struct log_entry *e, const struct log_text *sql)
{
	if (is_copy(sql))
		return LOSS_COPY;
	if (said == SAID_EXECUTE && e->detail.n == 0 && e->context.n == 0 && params_needed(sql->at, sql->n))
		return LOSS_PARAMS;
	return LOSS_STATEMENT;
}

static enum captured_kind kind_of(enum said said)
{
	return said == SAID_SIMPLE ? CAPTURED_SIMPLE : said == SAID_FETCH ? CAPTURED_FETCH : CAPTURED_EXECUTE;
}

/* A statement has arrived; its end will be told, or not. */
static void begin_statement(struct assembler *a, struct session *s, const struct log_entry *e, enum said said, const struct log_text *sql,
	const struct log_text *name, const struct log_text *portal)
{
	struct pending *p = &s->pending;
	finish_pending(a, s, -1, "00000");
	p->open = true;
	p->kind = kind_of(said);
	p->lost = class_of(said, e, sql);
	p->arrival_ns = use_steps(a, s, e->time_ns, &p->step_ns);
	/* As precise as the log: what is reckoned from its milliseconds is no better, and costs more to keep. */
	if (e->time_ns % NS_PER_MS == 0)
		p->arrival_ns -= p->arrival_ns % NS_PER_MS;
	p->file = e->file;
	p->line = e->line;
	p->name_n = name->n;
	p->portal_n = portal->n;
	buf_clear(&p->text);
	buf_clear(&p->detail);
	if (name->n > 0)
		buf_add(&p->text, name->at, name->n);
	if (portal->n > 0)
		buf_add(&p->text, portal->at, portal->n);
	buf_add(&p->text, sql->at, sql->n);
	if (e->detail.n > 0 && said != SAID_SIMPLE)
		buf_add(&p->detail, e->detail.at, e->detail.n);
	loss_count(&a->loss, p->lost, e);
}

/* It failed before there was any use for parameters: while it was parsed, or in a transaction that had failed already. */
static bool needs_no_params(const struct log_entry *e)
{
	return log_text_is(&e->ps, "PARSE") || strncmp(e->sqlstate, "42", 2) == 0 || strcmp(e->sqlstate, "25P02") == 0;
}

/* A statement is told whole, at its end: with its duration, or with its error. */
static void whole_statement(struct assembler *a, struct session *s, struct log_entry *e, enum said said, const struct log_text *sql,
	const struct log_text *name, const struct log_text *portal, int64_t duration_ns, enum loss_class counted)
{
	bool failed = counted == LOSS_ERROR;
	finish_pending(a, s, -1, "00000");
	int64_t step_ns, arrival_ns = use_steps(a, s, e->time_ns - (duration_ns > 0 ? duration_ns : 0), &step_ns);
	if (duration_ns >= 0) {
		duration_ns += step_ns;
		arrival_ns = e->time_ns - duration_ns;
	} else {
		a->loss.no_duration++;
	}
	struct captured c = {.kind = kind_of(said),
		.session = s->number,
		.arrival_ns = arrival_ns,
		.duration_ns = duration_ns,
		.from_end = duration_ns >= 0,
		.name = *name,
		.portal = *portal,
		.text = *sql,
		.rows = -1,
		.file = e->file,
		.line = e->line};
	memcpy(c.sqlstate, failed ? e->sqlstate[0] != '\0' ? e->sqlstate : "?????" : "00000", 6);
	if (said != SAID_SIMPLE &&
		(params_read(e->detail.at, e->detail.n, &a->params) || params_read(e->context.at, e->context.n, &a->params))) {
		c.params = a->params.at;
		c.n_params = a->params.n;
		a->loss.perhaps_cut += (int64_t)a->params.perhaps_cut;
	}
	enum loss_class lost = counted;
	if (is_copy(sql))
		lost = LOSS_COPY;
	else if (said == SAID_EXECUTE && c.n_params == 0 && !(failed && needs_no_params(e)) && params_needed(sql->at, sql->n))
		lost = LOSS_PARAMS;
	loss_count(&a->loss, lost, e);
	loss_add_busy(&a->loss, lost, duration_ns);
	if (lost == counted)
		tell(a, &c);
}

static void take_bare_duration(struct assembler *a, struct session *s, const struct log_entry *e, int64_t duration_ns)
{
	bool step = log_text_is(&e->ps, "PARSE") || log_text_is(&e->ps, "BIND");
	if (s->pending.open && !step) {
		loss_count(&a->loss, LOSS_COMPLETION, e);
		finish_pending(a, s, duration_ns, "00000");
		return;
	}
	if (!step && e->ps.n > 0) {
		loss_count(&a->loss, LOSS_DURATION, e);
		loss_add_busy(&a->loss, LOSS_DURATION, duration_ns);
		return;
	}
	/* Without a statement it is a parse or bind step, or something that was not told. What follows decides. */
	add_step(a, s, e->time_ns - duration_ns, duration_ns, !step);
	loss_count(&a->loss, LOSS_STEP, e);
}

/* Where sessions have no id but their pid, one whose connection is received is a new one. */
static void restart_session(struct assembler *a, struct log_entry *e)
{
	struct session *old = find_session(a, e->session);
	if (old != NULL && e->start_s == 0)
		end_session(a, old, old->last_ns, false);
	(void)session_of(a, e);
}

struct telling {
	enum said said;
	struct log_text sql, name, portal;
	int64_t duration_ns;
};

static void take_told(struct assembler *a, struct session *s, struct log_entry *e, struct telling *t)
{
	if (t->said != SAID_OTHER && t->said != SAID_PLAN)
		connect(a, s, e, NULL, false);
	switch (t->said) {
	case SAID_SIMPLE:
	case SAID_EXECUTE:
	case SAID_FETCH:
		if (t->duration_ns >= 0)
			whole_statement(a, s, e, t->said, &t->sql, &t->name, &t->portal, t->duration_ns, LOSS_STATEMENT);
		else
			begin_statement(a, s, e, t->said, &t->sql, &t->name, &t->portal);
		break;
	case SAID_STEP:
		finish_pending(a, s, -1, "00000");
		loss_count(&a->loss, LOSS_STEP, e);
		if (t->duration_ns >= 0)
			add_step(a, s, e->time_ns - t->duration_ns, t->duration_ns, false);
		break;
	case SAID_FASTPATH:
		finish_pending(a, s, -1, "00000");
		loss_count(&a->loss, LOSS_FASTPATH, e);
		loss_add_busy(&a->loss, LOSS_FASTPATH, t->duration_ns);
		break;
	default:
		loss_count(&a->loss, LOSS_TELLING, e);
	}
}

static void take_telling(struct assembler *a, struct session *s, struct log_entry *e)
{
	struct telling t = {.sql = e->message, .duration_ns = -1};
	if (take(&t.sql, "duration: ")) {
		t.duration_ns = take_duration(&t.sql);
		if (t.duration_ns >= 0 && t.sql.n == 0) {
			connect(a, s, e, NULL, false);
			take_bare_duration(a, s, e, t.duration_ns);
			return;
		}
		(void)take(&t.sql, "  ");
	}
	t.said = understand(&t.sql, &t.name, &t.portal);
	take_told(a, s, e, &t);
}

/* The value behind "user=" up to the next blank that a further key follows. */
static struct log_text value_of(const struct log_text *message, const char *key)
{
	char *at = memmem(message->at, message->n, key, strlen(key));
	if (at == NULL)
		return (struct log_text){0};
	at += strlen(key);
	char *end = message->at + message->n, *p = at;
	while (p < end && *p != ' ')
		p++;
	return (struct log_text){at, (size_t)(p - at)};
}

static struct log_text foreign_application(const struct log_text *message)
{
	static const char *const KEYS[] = {
		" application_name=", " nombre_de_aplicación=", " приложение=", " applikationsnamn=", " აპლიკაციის_სახელი=", NULL};
	struct log_text found = {0};
	for (int i = 0; KEYS[i] != NULL && found.n == 0; i++)
		found = value_of(message, KEYS[i]);
	return found;
}

/* The same in another language. false: it tells neither a statement nor a connection. */
static bool take_foreign(struct assembler *a, struct log_entry *e)
{
	static const enum said SAID[] = {[LOG_TOLD_STATEMENT] = SAID_SIMPLE,
		[LOG_TOLD_EXECUTE] = SAID_EXECUTE,
		[LOG_TOLD_FETCH] = SAID_FETCH,
		[LOG_TOLD_STEP] = SAID_STEP};
	struct telling t = {0};
	enum log_told told = log_language_read(&e->message, &t.duration_ns, &t.sql);
	if (told == LOG_TOLD_NOTHING)
		return false;
	if (told == LOG_TOLD_RECEIVED)
		restart_session(a, e);
	else if (told == LOG_TOLD_AUTHORIZED)
		connect(a, session_of(a, e), e, &(struct captured_session){.application = foreign_application(&e->message)}, true);
	else if (told == LOG_TOLD_DISCONNECTED)
		end_session(a, session_of(a, e), e->time_ns, true);
	if (told >= LOG_TOLD_RECEIVED) {
		loss_count(&a->loss, LOSS_CONNECTION, e);
		return true;
	}
	struct session *s = session_of(a, e);
	if (told == LOG_TOLD_DURATION) {
		connect(a, s, e, NULL, false);
		take_bare_duration(a, s, e, t.duration_ns);
		return true;
	}
	t.said = SAID[told];
	if (told != LOG_TOLD_STATEMENT && told != LOG_TOLD_STEP && !take_name(&t.sql, &t.name, &t.portal))
		t.said = SAID_OTHER;
	take_told(a, s, e, &t);
	return true;
}

/* ---- connections ---- */

static bool take_connection(struct assembler *a, struct log_entry *e)
{
	const struct log_text *m = &e->message;
	if (log_text_begins(m, "connection received: ")) {
		restart_session(a, e);
	} else if (log_text_begins(m, "connection authorized: ")) {
		struct captured_session known = {.user = value_of(m, "user="),
			.database = value_of(m, "database="),
			.application = value_of(m, "application_name=")};
		connect(a, session_of(a, e), e, &known, true);
	} else if (log_text_begins(m, "disconnection: ")) {
		end_session(a, session_of(a, e), e->time_ns, true);
	} else if (log_text_begins(m, "unexpected EOF on client connection") || log_text_begins(m, "could not receive data from client")) {
		finish_pending(a, session_of(a, e), -1, "00000");
	} else if (!log_text_begins(m, "connection authenticated: ") && !log_text_begins(m, "connection ready: ")) {
		return false;
	}
	loss_count(&a->loss, LOSS_CONNECTION, e);
	return true;
}

/* ---- errors ---- */

static bool same_text(const struct log_text *a, const char *b, size_t n)
{
	return a->n == n && memcmp(a->at, b, n) == 0;
}

/* "connection to client lost", as the server finds out while it sends a result or looks whether anybody is there. How the statement would have
 * ended is not known, and a replay's client stays: that is no error to be compared with. */
static bool has_lost_its_client(const struct log_entry *e)
{
	return e->severity == LOG_SEVERITY_FATAL &&
		(strcmp(e->sqlstate, "08006") == 0 || log_text_is(&e->message, "connection to client lost"));
}

static void take_error(struct assembler *a, struct session *s, struct log_entry *e)
{
	struct pending *p = &s->pending;
	const char *sql = p->open ? p->text.data + p->name_n + p->portal_n : "";
	size_t n = p->open ? p->text.len - p->name_n - p->portal_n : 0;
	bool fatal = e->severity == LOG_SEVERITY_FATAL;
	if (p->open && has_lost_its_client(e)) {
		loss_count(&a->loss, LOSS_CONNECTION, e);
		finish_pending(a, s, -1, "00000");
	} else if (p->open && (e->query.n == 0 || same_text(&e->query, sql, n))) {
		enum loss_class counted = p->lost == LOSS_STATEMENT ? LOSS_ERROR : p->lost;
		loss_count(&a->loss, counted, e);
		int64_t duration_ns = e->time_ns - p->arrival_ns;
		finish_pending(a, s, duration_ns > 0 ? duration_ns - p->step_ns : 0, e->sqlstate[0] != '\0' ? e->sqlstate : "?????");
	} else if (e->query.n > 0) {
		static const struct log_text NONE = {0};
		struct log_text query = e->query;
		connect(a, s, e, NULL, false);
		enum said said = params_needed(query.at, query.n) ? SAID_EXECUTE : SAID_SIMPLE;
		whole_statement(a, s, e, said, &query, &NONE, &NONE, -1, LOSS_ERROR);
	} else {
		loss_count(&a->loss, !fatal ? LOSS_ERROR_ALONE : s->connected ? LOSS_CONNECTION : LOSS_REFUSED, e);
	}
	if (fatal)
		end_session(a, s, e->time_ns, false);
}

/* ---- all messages ---- */

/* Numbers of a session only grow. Where its id is a mere pid there may be another session of it. */
static bool was_read_before(struct assembler *a, const struct log_entry *e)
{
	if (e->session_line == 0 || e->start_s == 0)
		return false;
	const struct session *s = find_session(a, e->session);
	const struct ended *ended = &a->ended[bucket_of(e->session) % ENDED];
	return s != NULL ? e->session_line <= s->session_line : ended->id == e->session && e->session_line <= ended->line;
}

static bool is_servers_own(const struct log_entry *e)
{
	if (e->session == 0)
		return true;
	return e->backend_type.n > 0 && !log_text_is(&e->backend_type, "client backend") &&
		!log_text_is(&e->backend_type, "not initialized") && !log_text_is(&e->backend_type, "walsender");
}

static void take_trouble(struct assembler *a, const struct log_entry *e)
{
	static const enum loss_class CLASS_OF[] = {[LOG_TROUBLE_BROKEN] = LOSS_BROKEN,
		[LOG_TROUBLE_ALIEN] = LOSS_ALIEN,
		[LOG_TROUBLE_LONG] = LOSS_LONG,
		[LOG_TROUBLE_ORPHAN] = LOSS_ORPHAN,
		[LOG_TROUBLE_FILE] = LOSS_FILE};
	loss_count(&a->loss, CLASS_OF[e->trouble], e);
}

static void take_log(struct assembler *a, struct log_entry *e)
{
	const struct log_text *m = &e->message;
	bool first = m->n > 0;
	if (first && (m->at[0] == 'd' || m->at[0] == 's' || m->at[0] == 'e' || m->at[0] == 'p' || m->at[0] == 'b' || m->at[0] == 'f') &&
		(log_text_begins(m, "duration: ") || log_text_begins(m, "statement: ") || log_text_begins(m, "execute ") ||
			log_text_begins(m, "fastpath function call: "))) {
		take_telling(a, session_of(a, e), e);
		return;
	}
	bool telling = (log_text_begins(m, "process ") && has_word(m, " for ")) || log_text_begins(m, "temporary file: ");
	if (take_connection(a, e) || (!telling && take_foreign(a, e)))
		return;
	/* Its number in the session is looked at, whatever it says. */
	if (find_session(a, e->session) != NULL)
		(void)session_of(a, e);
	int64_t duration_ns;
	if (!telling && log_language_tells(m, &duration_ns)) {
		loss_count(&a->loss, LOSS_LANGUAGE, e);
		loss_add_busy(&a->loss, LOSS_LANGUAGE, duration_ns);
		return;
	}
	loss_count(&a->loss,
		log_text_begins(m, "replication connection authorized") || log_text_begins(m, "received replication command")
			? LOSS_REPLICATION
			: telling                                                   ? LOSS_TELLING
			: is_named(&e->user) || find_session(a, e->session) != NULL ? LOSS_SESSION
										    : LOSS_SERVER,
		e);
}

void assemble_entry(struct assembler *a, struct log_entry *e)
{
	a->loss.lines += e->lines + e->alien_lines;
	if (e->alien_lines > 0) {
		struct log_entry alien = {.lines = e->alien_lines, .file = e->file, .line = e->line};
		loss_count(&a->loss, LOSS_ALIEN, &alien);
	}
	if (e->trouble != LOG_TROUBLE_NONE) {
		take_trouble(a, e);
		return;
	}
	if (e->time_ns == INT64_MIN)
		e->time_ns = a->newest_ns; /* a prefix without a time */
	if (a->newest_ns - e->time_ns > NS_PER_S)
		a->loss.steps_back++;
	a->newest_ns = e->time_ns;
	if (is_servers_own(e)) {
		loss_count(&a->loss, LOSS_SERVER, e);
		return;
	}
	if (was_read_before(a, e)) {
		loss_count(&a->loss, LOSS_REPEATED, e);
		return;
	}
	switch (e->severity) {
	case LOG_SEVERITY_LOG:
		take_log(a, e);
		break;
	case LOG_SEVERITY_ERROR:
	case LOG_SEVERITY_FATAL:
		take_error(a, session_of(a, e), e);
		break;
	case LOG_SEVERITY_UNKNOWN:
		loss_count(&a->loss, LOSS_LANGUAGE, e);
		break;
	default:
		if (find_session(a, e->session) != NULL)
			(void)session_of(a, e);
		loss_count(&a->loss, LOSS_NOTICE, e);
	}
}

void assemble_end(struct assembler *a)
{
	for (struct session *s = a->oldest; s != NULL; s = s->younger) {
		finish_pending(a, s, -1, "00000");
		drop_steps(a, s);
	}
}

void assemble_free(struct assembler *a)
{
	if (a == NULL)
		return;
	for (struct session *s = a->oldest, *next; s != NULL; s = next) {
		next = s->younger;
		free_session(s);
	}
	for (struct session *s = a->spare, *next; s != NULL; s = next) {
		next = s->next;
		free_session(s);
	}
	params_free(&a->params);
	free(a->buckets);
	free(a->ended);
	free(a);
}
