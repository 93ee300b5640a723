/* One thread and its loop. A timer hands out events when they fall due; each goes to its session's queue, and a session that is idle
 * sends the first of its queue. */
#define _GNU_SOURCE
#include "replay/player.h"

#include "base/clock.h"
#include "measure/hist.h"
#include "replay/play_internal.h"

#include <stdlib.h>
#include <string.h>

#define QUEUED_MAX 20000 /* events read ahead while sessions are busy */
#define STALLED_NS (50 * NS_PER_MS)
#define TICK_NS (200 * NS_PER_MS)
#define ORDER_TICK_NS (10 * NS_PER_MS) /* the same where sessions wait for each other */

/* ---- events ---- */

int64_t play_due(const struct player *p, int64_t captured_ns)
{
	if (p->config->pacing == PACING_ASAP)
		return p->start_ns;
	return p->start_ns + (int64_t)((double)(captured_ns - p->first_ns - p->config->filter.from_ns) / p->config->speed);
}

static struct replayed *replayed_of(struct player *p, const struct trace_event *e, int64_t due_ns)
{
	while (p->sessions.n <= e->session->number)
		VEC_PUSH(&p->sessions, NULL);
	struct replayed **slot = &p->sessions.at[e->session->number];
	if (*slot == NULL)
		*slot = play_open_session(p, e->session, due_ns);
	return *slot;
}

static void refuse_write(struct player *p, const struct trace_event *e)
{
	struct play_record *record = p->config->record;
	p->result->refused_writes++;
	if (record != NULL)
		play_record_refuse(record, play_record_class(record, e->shape), e->duration_ns);
}

static void start_event(struct player *p, const struct trace_event *e, int64_t due_ns)
{
	if (e->kind == CAPTURED_DISCONNECT) {
		struct replayed *r = e->session->number < p->sessions.n ? p->sessions.at[e->session->number] : NULL;
		play_prepared_end(p->prepared, e->session->number);
		if (r != NULL) {
			r->ending = true;
			play_advance(r);
		}
		return;
	}
	struct replayed *r = replayed_of(p, e, due_ns);
	if (e->kind == CAPTURED_CONNECT)
		return;
	p->result->planned++;
	if (e->kind == CAPTURED_FETCH)
		p->result->skipped++;
	else if (p->reader != NULL && !capture_matches(p->reader, e))
		refuse_write(p, e);
	else
		play_take_event(p, r, e, due_ns);
}

static void read_next(struct player *p)
{
	int64_t to_ns = p->config->filter.to_ns;
	struct error err = {.status = ST_OK};
	p->has_event = false;
	while (!p->ended && trace_next(p->trace, &p->event, &err)) {
		if (to_ns > 0 && p->event.arrival_ns - p->first_ns >= to_ns)
			break;
		p->told++;
		if (capture_matches(p->matcher, &p->event)) {
			p->has_event = true;
			return;
		}
	}
	p->ended = true;
	if (err.status != ST_OK)
		p->error = err;
}

/* As many as sessions may need; more where all that have been read wait for one that has not: here, or in the server for a lock. What is due
 * in an open loop is read, whoever is busy. */
static bool has_read_enough(struct player *p, int64_t now)
{
	int64_t done = p->result->same + p->result->diverged;
	bool open_loop = p->config->pacing == PACING_ARRIVAL && p->order == NULL;
	bool room = p->queued < QUEUED_MAX && p->queued_bytes < PLAY_QUEUED_BYTES_MOST;
	if (open_loop || room || (p->in_flight == 0 && p->first_waiting != NULL))
		return false;
	if (done != p->done) {
		p->done = done;
		p->done_ns = now;
	}
	if (now < p->done_ns + STALLED_NS)
		return true;
	p->done_ns = now - STALLED_NS + NS_PER_MS; /* a few at a time */
	return false;
}

/* All that is due, or with other pacing all that there is room for; in between the loop looks at the sessions. */
static void on_due(struct loop_timer *timer)
{
	struct player *p = container_of(timer, struct player, due);
	bool ahead = p->config->pacing != PACING_ARRIVAL;
	bool enough = false;
	int64_t now = loop_refresh(p->loop), due_ns;
	for (int i = 0; p->has_event && i < 256 && (i % 16 != 0 || !(enough = has_read_enough(p, now))); i++) {
		due_ns = play_due(p, p->event.arrival_ns);
		if (due_ns > now && !ahead)
			break;
		start_event(p, &p->event, due_ns);
		read_next(p);
	}
	if (!p->has_event)
		return;
	due_ns = ahead ? now : play_due(p, p->event.arrival_ns);
	if (enough)
		due_ns = now + NS_PER_MS;
	loop_timer_set(p->loop, timer, due_ns > now ? due_ns : now);
}

static void on_tick(struct loop_timer *timer)
{
	struct player *p = container_of(timer, struct player, tick);
	int64_t now = loop_now_ns(p->loop);
	if (p->order != NULL) {
		play_let_waiting_go(p);
		play_look_for_blocked(p);
	}
	if (p->config->beat != NULL)
		p->config->beat(p->config->record_arg);
	if (p->config->progress != NULL && now >= p->told_ns + TICK_NS) {
		p->config->progress(p->told, trace_summary(p->trace)->events, p->config->arg);
		p->told_ns = now;
	}
	loop_timer_set(p->loop, timer, now + (p->order != NULL ? ORDER_TICK_NS : TICK_NS));
}

/* ---- the whole ---- */

static bool is_to_end(const struct player *p)
{
	return p->config->end != NULL && *p->config->end;
}

/* Only what is under way is waited for. */
static void end_early(struct player *p)
{
	p->has_event = false;
	p->ended = p->ended_early = true;
	for (size_t i = 0; i < p->sessions.n; i++) {
		struct replayed *r = p->sessions.at[i];
		if (r == NULL)
			continue;
		play_drop_tasks(r);
		/* What it holds in a transaction that will not go on, another's last statement may wait for. */
		r->ending = true;
		play_advance(r);
	}
}

/* Whoever has sent all that was read of it disconnects: others may wait for its locks, and its COMMIT is not in this part of the trace. */
static void end_sessions(struct player *p)
{
	p->ending = true;
	for (size_t i = 0; i < p->sessions.n; i++)
		if (p->sessions.at[i] != NULL) {
			p->sessions.at[i]->ending = true;
			play_advance(p->sessions.at[i]);
		}
}

/* What is under way when all has been read ends, or nothing does for so long. */
static bool run(struct player *p)
{
	int64_t end_ns = 0, ended = -1;
	for (;;) {
		const struct player_result *r = p->result;
		if (p->config->stop != NULL && *p->config->stop)
			return false;
		if (is_to_end(p) && (p->has_event || p->queued > 0))
			end_early(p);
		if (!p->has_event && p->queued == 0 && p->in_flight == 0)
			return true;
		if (!p->has_event && !p->ending)
			end_sessions(p);
		if (p->has_event || r->same + r->diverged != ended || (p->config->pacing == PACING_THINK && p->in_flight == 0)) {
			end_ns = loop_now_ns(p->loop) + p->config->drain_ns;
			ended = r->same + r->diverged;
		}
		if (loop_now_ns(p->loop) > end_ns)
			return true;
		loop_run_once(p->loop, TICK_NS);
	}
}

static void free_player(struct player *p)
{
	for (size_t i = 0; i < p->sessions.n; i++)
		if (p->sessions.at[i] != NULL)
			play_free_session(p->sessions.at[i]);
	for (size_t i = 0; i < p->statements.n; i++)
		free(p->statements.at[i]);
	if (p->loop != NULL) {
		loop_timer_cancel(p->loop, &p->due);
		loop_timer_cancel(p->loop, &p->tick);
	}
	session_free(p->asker);
	order_free(p->order);
	straighten_free(p->straightener);
	play_keys_free(p->keys);
	play_plan_free(p->plan);
	play_prepared_free(p->prepared);
	VEC_FREE(&p->sessions);
	VEC_FREE(&p->statements);
	capture_matcher_free(p->matcher);
	capture_matcher_free(p->reader);
	buf_free(&p->sql);
	free(p->options);
	buf_free(&p->dsn);
	free(p->application);
	loop_free(p->loop);
	trace_close(p->trace);
}

/* What has to be known of the target; that of the first session, where the connection string names no database. */
static enum status prepare_order(struct player *p, struct error *err)
{
	const struct player_config *c = p->config;
	bool ordered = c->order != ORDER_NONE;
	if (!p->has_event || (!ordered && c->keep_keys))
		return ST_OK;
	play_write_dsn(p, p->event.session, &p->dsn);
	if (play_plan_create(c->trace, &c->filter, p->dsn.data, ordered, &p->plan, err) != ST_OK)
		return err->status;
	if (!c->keep_keys) {
		p->keys = play_keys_create(play_plan_schema(p->plan));
		play_keys_read_scaled(p->keys, trace_meta(p->trace));
	}
	if (ordered) {
		p->straightener = straighten_create(play_plan_schema(p->plan), play_plan_next, p->plan);
		p->order = order_create(c->order, play_plan_schema(p->plan), straighten_next, p->straightener);
	}
	return ST_OK;
}

static enum status prepare(struct player *p, struct error *err)
{
	const struct player_config *c = p->config;
	struct capture_filter all = c->filter;
	if (trace_open(c->trace, &p->trace, err) != ST_OK || loop_create(&p->loop, err) != ST_OK)
		return err->status;
	if (player_check_dsn(c, err) != ST_OK || play_look_at_dsn(p, err) != ST_OK)
		return err->status;
	p->prepared = play_prepared_create();
	p->first_ns = trace_summary(p->trace)->first_ns;
	all.read_only = false;
	p->matcher = capture_matcher_create(&all, p->first_ns);
	if (c->filter.read_only)
		p->reader = capture_matcher_create(&c->filter, p->first_ns);
	if (c->filter.from_ns > 0)
		trace_seek(p->trace, p->first_ns + c->filter.from_ns);
	read_next(p);
	return prepare_order(p, err);
}

enum status player_perform(const struct player_config *config, struct player_result *out, struct error *err)
{
	struct player p = {.config = config, .result = out, .due = {.fn = on_due}, .tick = {.fn = on_tick}};
	*out = (struct player_result){.late = hist_create(), .busy = hist_create(), .ordered = hist_create()};
	buf_init(&p.sql, LOG_RECORD_MAX);
	buf_init(&p.dsn, 65536);
	if (prepare(&p, err) != ST_OK) {
		free_player(&p);
		return err->status;
	}
	p.start_ns = loop_refresh(p.loop) + 10 * NS_PER_MS;
	if (p.has_event)
		loop_timer_set(p.loop, &p.due, p.start_ns);
	loop_timer_set(p.loop, &p.tick, p.start_ns);
	if (config->record != NULL)
		play_record_start(config->record, p.start_ns);
	bool whole = run(&p);
	out->took_ns = clock_now_ns() - p.start_ns;
	if (p.keys != NULL) {
		struct play_taken taken = play_keys_taken(p.keys);
		out->rows_taken = taken.rows;
		out->rows_otherwise = taken.others;
	}
	if (config->record != NULL && whole && !is_to_end(&p))
		play_record_end(config->record, clock_now_ns());
	free_player(&p);
	if (!whole)
		return error_set(err, ST_INTERRUPTED, "interrupted");
	if (p.error.status != ST_OK && out->sent == 0) {
		*err = p.error;
		return err->status;
	}
	return ST_OK;
}

enum status player_count_sessions(const struct player_config *config, int64_t *most, struct error *err)
{
	struct trace *t;
	struct trace_event e;
	struct capture_filter filter = config->filter;
	VEC(bool) open = {0};
	int64_t n = 0;
	*most = 0;
	if (trace_open(config->trace, &t, err) != ST_OK)
		return err->status;
	int64_t first_ns = trace_summary(t)->first_ns;
	filter.read_only = false; /* whoever only writes is there too */
	struct capture_matcher *m = capture_matcher_create(&filter, first_ns);
	if (filter.from_ns > 0)
		trace_seek(t, first_ns + filter.from_ns);
	err->status = ST_OK;
	while (trace_next(t, &e, err) && (filter.to_ns == 0 || e.arrival_ns - first_ns < filter.to_ns)) {
		if (!capture_matches(m, &e))
			continue;
		while (open.n <= e.session->number)
			VEC_PUSH(&open, false);
		bool opens = e.kind != CAPTURED_DISCONNECT;
		n += (int)opens - (int)open.at[e.session->number];
		open.at[e.session->number] = opens;
		*most = n > *most ? n : *most;
	}
	VEC_FREE(&open);
	capture_matcher_free(m);
	trace_close(t);
	return err->status;
}

void player_result_free(struct player_result *r)
{
	hist_free(r->late);
	hist_free(r->busy);
	hist_free(r->ordered);
	r->late = r->busy = r->ordered = NULL;
}
