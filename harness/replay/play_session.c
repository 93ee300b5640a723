/* A session of the replay: its queue, its connection, what it waits for, and what became of its statements. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "measure/hist.h"
#include "replay/play_internal.h"
#include "replay/play_message.h"
#include "runtime/dsn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_NS (30 * NS_PER_S)
/* A server that restarts or fails over refuses for seconds, and one that is full for as long as others stay. */
#define RETRY_FIRST_NS (50 * NS_PER_MS)
#define RETRY_MOST_NS (2 * NS_PER_S)
#define GIVE_UP_NS (60 * NS_PER_S) /* of connects that all failed */

/* ---- what happened ---- */

/* As the shape of its class, which has no values. */
static void describe_statement(const struct player *p, const struct task *t, char *out, size_t size)
{
	if (p->config->record_values || t->shape == NULL)
		snprintf(out, size, "%s", t->sql);
	else
		play_describe_shape(t->shape->text, t->shape->n, out, size);
}

static const char *message_of(const struct player *p, const struct session_outcome *o, char *out, size_t size)
{
	if (p->config->record_values || o->ok)
		return o->message;
	play_withhold_values(o->sqlstate, o->message, sizeof o->message, out, size);
	return out;
}

static void note_divergence(struct player *p, const struct task *t, const struct session_outcome *o)
{
	char message[sizeof o->message];
	struct player_result *result = p->result;
	size_t i = 0;
	while (i < result->n_divergences &&
		(strcmp(result->divergences[i].captured, t->captured) != 0 || strcmp(result->divergences[i].replayed, o->sqlstate) != 0))
		i++;
	if (i == PLAYER_DIVERGENCES_MAX)
		return;
	struct player_divergence *d = &result->divergences[i];
	if (i == result->n_divergences) {
		result->n_divergences++;
		memcpy(d->captured, t->captured, 6);
		memcpy(d->replayed, o->sqlstate, 6);
		d->line = t->line;
		describe_statement(p, t, d->sql, sizeof d->sql);
		snprintf(d->message, sizeof d->message, "%.150s", message_of(p, o, message, sizeof message));
	}
	d->count++;
}

/* An error that the log does not name may be any. */
static bool same_outcome(const struct task *t, const struct session_outcome *o)
{
	return strcmp(t->captured, "?????") == 0 ? !o->ok : strcmp(t->captured, o->sqlstate) == 0;
}

static void note_lateness(const struct replayed *r, const struct task *t, const struct session_outcome *o)
{
	struct player_result *result = r->player->result;
	int64_t late_ns = o->sent_ns - t->due_ns;
	if (r->was_ordered)
		return;
	if (r->player->config->pacing != PACING_ASAP)
		hist_record(t->was_busy ? result->busy : result->late, late_ns > 0 ? late_ns : 0);
}

/* What a function writes is not told by the statement that calls it; the server does not let it. */
static bool was_refused(struct replayed *r, const struct task *t, const struct session_outcome *o)
{
	bool wanted = r->player->config->filter.read_only && strcmp(t->captured, "00000") == 0;
	r->refused = wanted && (strcmp(o->sqlstate, "25006") == 0 || (r->refused && strcmp(o->sqlstate, "25P02") == 0));
	return r->refused;
}

static void record_statement(struct replayed *r, const struct task *t, const struct session_outcome *o)
{
	const struct player_config *c = r->player->config;
	char message[sizeof o->message];
	int64_t sent_ns = o->sent_ns > 0 ? o->sent_ns : o->done_ns;
	struct play_done d = {
		.class = t->class,
		.due_ns = c->pacing == PACING_ASAP ? sent_ns : t->due_ns,
		.sent_ns = sent_ns,
		.done_ns = o->done_ns,
		.captured_ns = t->captured_ns,
		.captured = t->captured,
		.replayed = o->sqlstate,
		.message = message_of(r->player, o, message, sizeof message),
		.captured_rows = t->rows,
		.rows = o->rows,
		.file = t->file,
		.line = t->line,
		.busy = t->was_busy,
		.ordered = r->was_ordered || c->pacing == PACING_ASAP,
		.refused = r->refused,
	};
	play_record_done(c->record, &d);
	if (c->slow != NULL && o->done_ns - sent_ns >= NS_PER_MS)
		c->slow(session_pid(r->session), sent_ns, o->done_ns, o->sqlstate, t->class, c->record_arg);
}

static void statement_done(struct session *s, void *arg)
{
	struct replayed *r = arg;
	struct player *p = r->player;
	struct task *t = r->running;
	const struct session_outcome *o = session_outcome(s);
	r->running = NULL;
	r->done_ns = o->done_ns;
	p->in_flight--;
	if (was_refused(r, t, o)) {
		p->result->refused_there++;
	} else if (same_outcome(t, o)) {
		p->result->same++;
	} else {
		p->result->diverged++;
		note_divergence(p, t, o);
	}
	if (t->captured_ns >= 0) {
		p->result->captured_busy_ns += t->captured_ns;
		p->result->replayed_busy_ns += o->done_ns - o->sent_ns;
	}
	note_lateness(r, t, o);
	if (p->config->record != NULL)
		record_statement(r, t, o);
	r->took = session_transaction(s) == PQTRANS_INTRANS && (r->took || (t->effect != NULL && t->effect->skips));
	if (o->ok && t->frees_all)
		session_forget_prepared(s);
	if (o->ok && p->keys != NULL && t->effect != NULL && t->effect->n_sources > 0)
		play_keys_take(p->keys, r->number, t->effect, t->params, t->n_params, t->n_literals, o->result);
	free(t);
	if (p->order != NULL)
		order_ended(p->order, r->number);
	play_advance(r);
	play_let_ready_go(p);
}

/* ---- sessions ---- */

static struct task *take_task(struct replayed *r)
{
	struct task *t = r->first;
	r->first = t->next;
	if (r->first == NULL)
		r->last = &r->first;
	r->player->queued--;
	r->player->queued_bytes -= (int64_t)t->bytes;
	return t;
}

/* What frees a prepared statement under a name that it has not here. */
static void pass_over_left_out(struct replayed *r)
{
	while (r->first != NULL && r->first->left_out) {
		if (r->player->order != NULL)
			order_skip(r->player->order, r->number);
		free(take_task(r));
	}
}

void play_drop_tasks(struct replayed *r)
{
	for (pass_over_left_out(r); r->first != NULL; pass_over_left_out(r)) {
		r->player->result->not_sent++;
		if (r->player->config->record != NULL)
			play_record_drop(r->player->config->record, r->first->class, r->first->captured_ns, r->player->ended_early);
		if (r->player->order != NULL)
			order_skip(r->player->order, r->number);
		free(take_task(r));
	}
}

static void close_session(struct replayed *r)
{
	if (r->session == NULL)
		return;
	session_free(r->session);
	r->session = NULL;
	r->player->open--;
}

static void stop_waiting(struct replayed *r)
{
	struct player *p = r->player;
	if (r->waiting_ns == 0)
		return;
	*(r->before != NULL ? &r->before->behind : &p->first_waiting) = r->behind;
	*(r->behind != NULL ? &r->behind->before : &p->last_waiting) = r->before;
	hist_record(p->result->ordered, loop_refresh(p->loop) - r->waiting_ns);
	r->waiting_ns = 0;
	r->was_ordered = true;
}

static void connected(struct session *s, void *arg)
{
	struct replayed *r = arg;
	struct player *p = r->player;
	const struct session_outcome *o = session_outcome(s);
	if (o->ok) {
		r->failing_ns = 0;
		play_advance(r);
		return;
	}
	bool never = strncmp(o->sqlstate, "28", 2) == 0 || strcmp(o->sqlstate, "3D000") == 0;
	int64_t now = loop_refresh(p->loop);
	if (r->failing_ns == 0) {
		r->failing_ns = now;
		r->pause_ns = RETRY_FIRST_NS;
	}
	if (!never && now - r->failing_ns < GIVE_UP_NS) {
		r->retry_ns = now + r->pause_ns;
		r->pause_ns = r->pause_ns * 2 < RETRY_MOST_NS ? r->pause_ns * 2 : RETRY_MOST_NS;
		loop_timer_set(p->loop, &r->wake, r->retry_ns);
		return;
	}
	if (p->result->refused++ == 0)
		(void)error_set(&p->error, ST_FAILED, "%s", o->message);
	r->given_up = true;
	stop_waiting(r);
	play_drop_tasks(r);
}

void play_write_dsn(const struct player *p, const struct trace_session *s, struct buf *dsn)
{
	PQconninfoOption *options = dsn_parse(p->config->dsn, NULL);
	if (options == NULL) /* it was read when the replay began */
		abort();
	for (PQconninfoOption *o = options; o->keyword != NULL; o++)
		if (o->val != NULL && o->val[0] != '\0' && strcmp(o->keyword, "options") != 0)
			dsn_add_word(dsn, o->keyword, o->val);
	if (!p->user_given && s->user[0] != '\0')
		dsn_add_word(dsn, "user", s->user);
	if (!p->database_given)
		dsn_add_word(dsn, "dbname", s->database);
	if (p->options[0] != '\0')
		dsn_add_word(dsn, "options", p->options);
	PQconninfoFree(options);
}

/* Makes the connection; statements that are due wait for it. */
static void connect_session(struct replayed *r)
{
	struct player *p = r->player;
	r->session = session_create(p->loop, r->dsn, r->application, NULL);
	free(r->dsn);
	free(r->application);
	r->dsn = r->application = NULL;
	p->result->sessions++;
	if (++p->open > p->result->peak_sessions)
		p->result->peak_sessions = p->open;
	session_connect(r->session, CONNECT_TIMEOUT_NS, connected, r);
}

static void on_wake(struct loop_timer *timer)
{
	struct replayed *r = container_of(timer, struct replayed, wake);
	bool again = r->retry_ns != 0;
	r->retry_ns = 0;
	if (r->dsn != NULL)
		connect_session(r);
	else if (again && r->ending && r->first == NULL)
		close_session(r);
	else if (again)
		session_connect(r->session, CONNECT_TIMEOUT_NS, connected, r);
	else
		play_advance(r);
}

struct replayed *play_open_session(struct player *p, const struct trace_session *s, int64_t due_ns)
{
	struct replayed *r = calloc(1, sizeof *r);
	struct buf dsn;
	if (r == NULL)
		abort();
	*r = (struct replayed){.player = p, .number = s->number, .wake = {.fn = on_wake}};
	r->last = &r->first;
	buf_init(&dsn, 65536);
	play_write_dsn(p, s, &dsn);
	r->dsn = strdup(dsn.data);
	r->application = strdup(s->application[0] != '\0' && !p->application_given ? s->application : p->application);
	if (r->dsn == NULL || r->application == NULL)
		abort();
	buf_free(&dsn);
	if (due_ns <= loop_now_ns(p->loop))
		connect_session(r);
	else
		loop_timer_set(p->loop, &r->wake, due_ns);
	return r;
}

void play_free_session(struct replayed *r)
{
	loop_timer_cancel(r->player->loop, &r->wake);
	play_drop_tasks(r);
	r->player->result->unfinished += r->running != NULL;
	close_session(r);
	free(r->running);
	free(r->dsn);
	free(r->application);
	free(r);
}

/* ---- waiting for other sessions ---- */

static void begin_waiting(struct replayed *r)
{
	struct player *p = r->player;
	if (r->waiting_ns != 0)
		return;
	r->waiting_ns = loop_refresh(p->loop);
	r->before = p->last_waiting;
	r->behind = NULL;
	*(p->last_waiting != NULL ? &p->last_waiting->behind : &p->first_waiting) = r;
	p->last_waiting = r;
}

void play_release(struct replayed *r, bool took)
{
	struct player_result *result = r->player->result;
	if (order_release(r->player->order, r->number))
		(*(took || r->took ? &result->order_skipped : &result->order_released))++;
	play_advance(r);
}

void play_let_ready_go(struct player *p)
{
	uint32_t number;
	while (p->order != NULL && order_take_ready(p->order, &number))
		if (number < p->sessions.n && p->sessions.at[number] != NULL)
			play_advance(p->sessions.at[number]);
}

void play_let_waiting_go(struct player *p)
{
	int64_t now = loop_refresh(p->loop);
	uint64_t progress = order_progress(p->order);
	if (progress != p->progress || p->first_waiting == NULL)
		p->moved_ns = now;
	p->progress = progress;
	bool stands_still = now - p->moved_ns > p->config->order_wait_ns, took = false;
	for (size_t i = 0; stands_still && i < p->sessions.n; i++)
		took |= p->sessions.at[i] != NULL && p->sessions.at[i]->took;
	for (struct replayed *r = p->first_waiting, *next; r != NULL; r = next) {
		next = r->behind;
		if (stands_still && now - r->waiting_ns > p->config->order_wait_ns)
			play_release(r, took);
		else
			play_advance(r);
	}
	play_let_ready_go(p);
}

/* ---- statements ---- */

/* The statement with its literals as they are now. */
static const char *write_sql(struct player *p, const struct task *t)
{
	const char *from = t->shape->text, *end = from + t->shape->n;
	buf_clear(&p->sql);
	for (uint32_t i = 0; i < t->n_literals; i++) {
		const char *mark = memchr(from, SHAPE_MARK, (size_t)(end - from));
		if (mark == NULL)
			break;
		buf_add(&p->sql, from, (size_t)(mark - from));
		buf_str(&p->sql, t->params[t->n_params + i]);
		from = mark + 1;
	}
	buf_add(&p->sql, from, (size_t)(end - from));
	return p->sql.data;
}

static void send_task(struct replayed *r, struct task *t)
{
	struct player *p = r->player;
	const char *sql = t->sql;
	r->running = t;
	r->sent_ns = loop_now_ns(p->loop);
	p->in_flight++;
	p->result->sent++;
	if (p->config->record != NULL)
		play_record_sent(p->config->record, t->class);
	uint32_t renamed = 0;
	if (t->effect != NULL && p->keys != NULL)
		renamed = play_keys_rename(p->keys, r->number, t->effect, t->params, t->n_params, t->n_literals, t->texts);
	if (renamed > 0 && t->n_literals > 0)
		sql = write_sql(p, t);
	p->result->keys_renamed += renamed;
	if (t->prepared != NULL)
		session_execute(r->session, t->prepared, t->params, statement_done, r);
	else if (t->kind == CAPTURED_SIMPLE)
		session_query(r->session, sql, statement_done, r);
	else
		session_query_params(r->session, sql, (int)t->n_params, t->params, statement_done, r);
}

/* Its client is done with thinking; else it is woken then. */
static bool has_thought(struct replayed *r)
{
	struct player *p = r->player;
	struct task *t = r->first;
	if (p->config->pacing != PACING_THINK)
		return true;
	if (r->done_ns != 0)
		t->due_ns = r->done_ns + t->think_ns;
	if (t->due_ns <= loop_refresh(p->loop))
		return true;
	loop_timer_set(p->loop, &r->wake, t->due_ns);
	return false;
}

void play_advance(struct replayed *r)
{
	struct player *p = r->player;
	if (r->running != NULL || r->given_up || r->session == NULL)
		return;
	pass_over_left_out(r);
	enum session_state state = session_state(r->session);
	if (state == SESSION_CLOSED && r->first != NULL && r->retry_ns == 0) {
		p->result->reconnects++;
		session_connect(r->session, CONNECT_TIMEOUT_NS, connected, r);
		return;
	}
	if (state != SESSION_IDLE)
		return;
	if (r->first == NULL) {
		if (r->ending)
			close_session(r);
		return;
	}
	if (!has_thought(r))
		return;
	if (p->order != NULL && !order_may_send(p->order, r->number, r->first->arrival_ns)) {
		begin_waiting(r);
		return;
	}
	r->was_ordered = false;
	stop_waiting(r);
	send_task(r, take_task(r));
}

static const struct session_statement *prepare_shape(struct player *p, const struct trace_event *e)
{
	if (e->kind != CAPTURED_EXECUTE || e->name[0] == '\0' || e->n_literals > 0)
		return NULL;
	while (p->statements.n <= e->shape->number)
		VEC_PUSH(&p->statements, NULL);
	struct session_statement **known = &p->statements.at[e->shape->number];
	if (*known != NULL)
		return (*known)->params == (int)e->n_params ? *known : NULL;
	if (p->n_statements == SESSION_STATEMENTS_MAX)
		return NULL;
	struct session_statement *st = calloc(1, sizeof *st);
	if (st == NULL)
		abort();
	*st = (struct session_statement){.name = e->name, .sql = e->shape->text, .index = p->n_statements++, .params = (int)e->n_params};
	*known = st;
	return st;
}

static const char *copy_value(char **to, const struct param *value)
{
	const char *copy = *to;
	if (value->null)
		return NULL;
	if (value->value.n > 0)
		memcpy(*to, value->value.at, value->value.n);
	(*to)[value->value.n] = '\0';
	*to += value->value.n + 1;
	return copy;
}

static const struct effect *keys_of(struct player *p, const struct trace_event *e)
{
	const struct effect *effect = p->plan != NULL && e->shape != NULL ? play_plan_effect(p->plan, e) : NULL;
	bool concerned = effect != NULL && (effect->n_keys + effect->n_sources > 0 || effect->begins || effect->ends || effect->skips);
	return concerned ? effect : NULL;
}

static struct task *make_task(struct player *p, const struct trace_event *e, int64_t due_ns)
{
	const struct effect *effect = keys_of(p, e);
	uint32_t n_literals = effect != NULL ? e->n_literals : 0;
	size_t bytes = 0, n = e->n_params + n_literals, texts = effect != NULL ? effect->n_keys * sizeof(char[PLAY_KEY_TEXT]) : 0;
	buf_clear(&p->sql);
	trace_event_text(e, &p->sql);
	for (uint32_t i = 0; i < e->n_params; i++)
		bytes += e->params[i].value.n + 1;
	for (uint32_t i = 0; i < n_literals; i++)
		bytes += e->literals[i].value.n + 1;
	size_t fixed = sizeof(struct task) + n * sizeof(char *);
	size_t whole = fixed + texts + bytes + p->sql.len + 1;
	struct task *t = malloc(whole);
	if (t == NULL)
		abort();
	*t = (struct task){.kind = e->kind,
		.bytes = whole,
		.due_ns = due_ns,
		.arrival_ns = e->arrival_ns,
		.captured_ns = e->duration_ns,
		.line = e->line,
		.shape = e->shape,
		.effect = effect,
		.n_params = e->n_params,
		.n_literals = n_literals};
	memcpy(t->captured, e->sqlstate, 6);
	t->prepared = e->shape != NULL ? prepare_shape(p, e) : NULL;
	char *to = (char *)t + fixed;
	t->texts = (char(*)[PLAY_KEY_TEXT])to;
	to += texts;
	for (uint32_t i = 0; i < e->n_params; i++)
		t->params[i] = copy_value(&to, &e->params[i]);
	for (uint32_t i = 0; i < n_literals; i++)
		t->params[e->n_params + i] = copy_value(&to, &e->literals[i]);
	memcpy(to, p->sql.data, p->sql.len);
	to[p->sql.len] = '\0';
	t->sql = to;
	return t;
}

static int64_t think_of(const struct player *p, struct replayed *r, const struct trace_event *e)
{
	int64_t gap_ns = r->captured_done_ns == 0 ? 0 : e->arrival_ns - r->captured_done_ns;
	r->captured_done_ns = e->arrival_ns + (e->duration_ns > 0 ? e->duration_ns : 0);
	return gap_ns > 0 ? (int64_t)((double)gap_ns / p->config->speed) : 0;
}

void play_take_event(struct player *p, struct replayed *r, const struct trace_event *e, int64_t due_ns)
{
	enum prepared_fate fate = play_prepared_next(p->prepared, e);
	struct play_record *record = fate != PREPARED_LEAVE_OUT ? p->config->record : NULL;
	uint32_t class = record != NULL ? play_record_class(record, e->shape) : 0;
	if (record != NULL)
		play_record_due(record, class, due_ns, e->duration_ns);
	bool full = (p->queued >= PLAY_QUEUED_MOST || p->queued_bytes >= PLAY_QUEUED_BYTES_MOST) && p->order == NULL && r->first != NULL;
	if (full || r->given_up || (r->session == NULL && r->dsn == NULL)) {
		*(fate == PREPARED_LEAVE_OUT ? &p->result->skipped : &p->result->not_sent) += 1;
		if (record != NULL)
			play_record_drop(record, class, e->duration_ns, false);
		if (p->order != NULL)
			order_skip(p->order, r->number);
		return;
	}
	struct task *t = make_task(p, e, due_ns);
	t->left_out = fate == PREPARED_LEAVE_OUT;
	t->frees_all = fate == PREPARED_FREES_ALL;
	p->result->skipped += t->left_out;
	t->class = class;
	t->file = e->file;
	t->rows = e->rows;
	if (p->config->pacing == PACING_THINK)
		t->think_ns = think_of(p, r, e);
	else
		t->was_busy = r->running != NULL || r->first != NULL || r->session == NULL || session_state(r->session) != SESSION_IDLE;
	*r->last = t;
	r->last = &t->next;
	p->queued++;
	p->queued_bytes += (int64_t)t->bytes;
	play_advance(r);
}

/* ---- the target's connection string ---- */

enum status play_look_at_dsn(struct player *p, struct error *err)
{
	struct buf own;
	PQconninfoOption *options = dsn_parse(p->config->dsn, err);
	if (options == NULL)
		return ST_USAGE;
	const char *application = dsn_value(options, "application_name"), *more = dsn_value(options, "options");
	buf_init(&own, 65536);
	p->user_given = dsn_value(options, "user") != NULL;
	p->database_given = dsn_value(options, "dbname") != NULL;
	p->application_given = application != NULL;
	p->application = strdup(application != NULL ? application : "pgrehearse replay");
	if (more != NULL)
		buf_printf(&own, "%s ", more);
	if (p->config->filter.read_only)
		buf_str(&own, "-c default_transaction_read_only=on");
	p->options = strdup(own.data);
	if (p->options == NULL || p->application == NULL)
		abort();
	buf_free(&own);
	PQconninfoFree(options);
	return ST_OK;
}
