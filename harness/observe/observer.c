/* The observer's thread, and what crosses its border: notes go in by a queue under a lock, figures come out by a copy. */
#define _GNU_SOURCE
#include "observe/observer.h"

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/vec.h"
#include "observe/availability.h"
#include "observe/replication.h"
#include "observe/sampler.h"
#include "observe/state.h"
#include "observe/tracer.h"
#include "observe/wait_json.h"
#include "record/record.h"
#include "runtime/loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PERIOD_NS (10 * NS_PER_MS)
#define REFUSED_NS (2 * NS_PER_S) /* a server that refuses is asked again for so long at the start, */
#define SILENT_NS (15 * NS_PER_S) /* and one that says nothing */
#define STOP_NS (5 * NS_PER_S)

struct lock_note {
	int64_t id;
	int pid;
	struct wait_hold hold;
};

struct phase_note {
	char name[64];
};

struct command_note {
	struct tracer_tree tree;
	bool ended;
};

struct statement_note {
	int64_t id;
	int pid;
	int64_t start_ns, end_ns;
	char sqlstate[6];
	bool in_transaction;
};

/* What other threads have told, until the loop takes it in. */
struct inbox {
	struct wait_note slow[WAIT_NOTES_MAX];
	int slow_n;
	VEC(struct statement_note) statements;
	VEC(struct lock_note) locks;
	VEC(struct phase_note) phases;
	VEC(struct command_note) commands;
};

enum start { STARTING, STARTED, START_FAILED };

struct observer {
	struct record *record;
	char *dsn;
	pthread_t thread;
	struct loop *loop;
	struct waits *waits;
	struct pace pace;
	struct sampler sampler;
	struct replication replication;
	struct availability availability;
	bool probes; /* availability is measured */
	struct state state;
	struct tracer tracer;
	char *migration_names, *migration_roles;
	atomic_llong statements;

	pthread_mutex_t inbox_lock;
	struct inbox inboxes[2]; /* one is filled while the other is taken in */
	struct inbox *inbox;
	int64_t notes_dropped;

	/* Figures, copied by the loop's thread after each round; guarded by lock. */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum start start;
	char start_error[512];
	int64_t begin_ns;
	int64_t samples, missed;
	int64_t cpu_ns;
	int waiting, waiting_max;
	int tables;
	bool local;
	char progress[400];
	json_t *server; /* the latest reading, until it is taken */
	int64_t longest_ns;
	uint64_t waits_written, passed_over;

	/* Of the one caller of observer_collect. */
	int64_t collected_ns, collected_cpu_ns;

	bool told_overflow;
	bool dropping;
	bool dropped_table;
	struct loop_message stop, hurry;
	atomic_bool hurrying; /* hurry has been posted, and has not arrived */
	struct loop_timer stop_deadline;
};

static void warn(const char *text, void *arg)
{
	struct observer *o = arg;
	record_warning(o->record, "observer: %s", text);
	log_warning("observer: %s", text);
}

static void write_wait(const struct wait_record *wait, void *arg)
{
	struct observer *o = arg;
	record_wait(o->record, wait_json(wait, record_start_ns(o->record)));
	/* Checks have the observer's role too, but are no probes. */
	for (int i = 0; i < wait->blockers_n; i++)
		if (strcmp(wait->blockers[i].session.application_name, LINK_APPLICATION) == 0) {
			availability_note_delay(&o->availability, wait->length_ns);
			break;
		}
}

static void write_window(json_t *window, void *arg)
{
	struct observer *o = arg;
	record_window(o->record, window);
}

/* ---- on the loop's thread ---- */

static void rouse(struct observer *o, int64_t at_ns)
{
	if (!pace_rouse(&o->pace))
		return;
	availability_rouse(&o->availability, at_ns);
	sampler_rouse(&o->sampler);
	tracer_rouse(&o->tracer);
}

static void take_inbox(struct observer *o)
{
	pthread_mutex_lock(&o->inbox_lock);
	struct inbox *full = o->inbox;
	o->inbox = full == &o->inboxes[0] ? &o->inboxes[1] : &o->inboxes[0];
	pthread_mutex_unlock(&o->inbox_lock);
	for (size_t i = 0; i < full->statements.n; i++) {
		const struct statement_note *st = &full->statements.at[i];
		waits_statement(o->waits, st->id, st->pid, st->start_ns, st->end_ns, st->sqlstate);
		if (st->end_ns == 0) {
			rouse(o, st->start_ns);
			holds_begin(o->tracer.holds, st->id, st->pid, st->start_ns, st->in_transaction, false);
		} else {
			pace_calm(&o->pace);
			holds_end(o->tracer.holds, st->id, st->pid, st->end_ns, strcmp(st->sqlstate, "00000") != 0);
		}
	}
	full->statements.n = 0;
	for (size_t i = 0; i < full->locks.n; i++)
		waits_hold(o->waits, full->locks.at[i].id, full->locks.at[i].pid, &full->locks.at[i].hold);
	for (size_t i = 0; i < full->locks.n; i++)
		state_note_relation(&o->state, full->locks.at[i].hold.relation);
	full->locks.n = 0;
	for (size_t i = 0; i < full->phases.n; i++)
		state_note_phase(&o->state, full->phases.at[i].name);
	full->phases.n = 0;
	for (size_t i = 0; i < full->commands.n; i++) {
		if (full->commands.at[i].ended) {
			pace_calm(&o->pace);
			tracer_unwatch(&o->tracer, full->commands.at[i].tree.root);
		} else {
			rouse(o, 0); /* it may have begun a moment ago */
			tracer_watch(&o->tracer, &full->commands.at[i].tree);
		}
	}
	full->commands.n = 0;
	for (int i = 0; i < full->slow_n; i++)
		waits_note(o->waits, &full->slow[i]);
	full->slow_n = 0;
}

static void refresh(void *arg)
{
	take_inbox(arg);
}

static void on_hurry(struct loop_message *m)
{
	struct observer *o = container_of(m, struct observer, hurry);
	/* Before the inbox is taken: what is put in from now on posts again. */
	atomic_store(&o->hurrying, false);
	take_inbox(o);
}

static void before_look(struct sampler *sampler)
{
	take_inbox(sampler->owner);
}

static void before_trace(struct tracer *tracer)
{
	take_inbox(tracer->owner);
}

static void judge_start(struct observer *o, int64_t now_ns)
{
	const char *reason = o->sampler.link.last_error;
	if (o->sampler.samples > 0) {
		const char *host = PQhost(session_conn(o->sampler.link.session));
		o->local = host != NULL &&
			(host[0] == '/' || strcmp(host, "localhost") == 0 || strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0);
		o->start = STARTED;
	} else if (now_ns - o->begin_ns > (reason[0] != '\0' ? REFUSED_NS : SILENT_NS)) {
		o->start = START_FAILED;
		snprintf(o->start_error, sizeof o->start_error, "%s", reason[0] != '\0' ? reason : "the server does not answer");
	}
	if (o->start != STARTING)
		pthread_cond_signal(&o->changed);
}

static void after_round(struct sampler *sampler)
{
	struct observer *o = sampler->owner;
	struct waits_state state = waits_take_state(o->waits);
	pthread_mutex_lock(&o->lock);
	o->samples = sampler->samples;
	o->missed = sampler->missed;
	o->cpu_ns = clock_thread_cpu_ns();
	o->waiting = state.waiting;
	o->tables = o->availability.n;
	if (state.waiting_max > o->waiting_max)
		o->waiting_max = state.waiting_max;
	if (state.longest_ns > o->longest_ns)
		o->longest_ns = state.longest_ns;
	o->waits_written = state.emitted;
	o->passed_over = state.passed_over;
	if (o->start == STARTING)
		judge_start(o, clock_now_ns());
	pthread_mutex_unlock(&o->lock);
	if (state.overflowed > 0 && !o->told_overflow) {
		warn("more lock waits or completions at once than there is room for: some waits are missing from the record", o);
		o->told_overflow = true;
	}
}

static void on_stop_deadline(struct loop_timer *t)
{
	struct observer *o = container_of(t, struct observer, stop_deadline);
	loop_stop(o->loop);
}

static void on_dropped(struct replication *rep, bool ok)
{
	struct observer *o = container_of(rep, struct observer, replication);
	o->dropped_table = ok;
	loop_stop(o->loop);
}

/* The last phase has been summed up, or it cannot be. */
static void on_state_finished(void *arg)
{
	struct observer *o = arg;
	if (o->dropping)
		return;
	o->dropping = true;
	record_set(o->record, "phase_state", state_json(&o->state));
	replication_drop(&o->replication, on_dropped);
}

static void on_stop(struct loop_message *m)
{
	struct observer *o = container_of(m, struct observer, stop);
	take_inbox(o);
	waits_finish(o->waits, clock_now_ns());
	after_round(&o->sampler);
	sampler_stop(&o->sampler);
	if (o->probes) {
		record_set(o->record, "availability", availability_json(&o->availability));
		availability_stop(&o->availability);
		o->state.availability = NULL; /* a table that is seen in use from now on comes too late */
	}
	tracer_stop(&o->tracer);
	o->stop_deadline.fn = on_stop_deadline;
	loop_timer_set(o->loop, &o->stop_deadline, clock_now_ns() + STOP_NS);
	state_finish(&o->state);
}

static void take_server(json_t *server, void *arg)
{
	struct observer *o = arg;
	pthread_mutex_lock(&o->lock);
	json_t *old = o->server;
	o->server = server;
	pthread_mutex_unlock(&o->lock);
	json_decref(old);
}

static void take_progress(json_t *event, const char *text, void *arg)
{
	struct observer *o = arg;
	if (event != NULL) {
		json_object_set_new(event, "t_ns", json_integer((json_int_t)record_now_ns(o->record)));
		record_event(o->record, event);
		return;
	}
	pthread_mutex_lock(&o->lock);
	snprintf(o->progress, sizeof o->progress, "%s", text);
	pthread_mutex_unlock(&o->lock);
}

static void *run(void *arg)
{
	struct observer *o = arg;
	pthread_setname_np(pthread_self(), "observer");
	sampler_start(&o->sampler, o->loop);
	tracer_start(&o->tracer, o->loop);
	replication_start(&o->replication, o->loop);
	state_start(&o->state, o->loop);
	if (o->probes)
		availability_start(&o->availability, o->loop);
	loop_relax(o->loop);
	loop_run(o->loop);
	state_stop(&o->state);
	replication_stop(&o->replication);
	pthread_mutex_lock(&o->lock);
	o->cpu_ns = clock_thread_cpu_ns();
	pthread_mutex_unlock(&o->lock);
	return NULL;
}

/* ---- starting and stopping ---- */

static void free_observer(struct observer *o)
{
	waits_free(o->waits);
	loop_free(o->loop);
	replication_free(&o->replication);
	for (int i = 0; i < 2; i++) {
		VEC_FREE(&o->inboxes[i].statements);
		VEC_FREE(&o->inboxes[i].locks);
		VEC_FREE(&o->inboxes[i].phases);
		VEC_FREE(&o->inboxes[i].commands);
	}
	pthread_mutex_destroy(&o->inbox_lock);
	pthread_mutex_destroy(&o->lock);
	pthread_cond_destroy(&o->changed);
	json_decref(o->server);
	free(o->migration_names);
	free(o->migration_roles);
	free(o->dsn);
	free(o);
}

static void prepare_link(struct observer *o, struct link *link)
{
	link->dsn = o->dsn;
	link->warn = warn;
	link->warn_arg = o;
	link->statements = &o->statements;
}

enum status observer_start(const struct observer_config *config, struct observer **out, struct error *err)
{
	struct observer *o = memory_create(sizeof *o); /* its heartbeats alone are a megabyte, which takes two hours to fill */
	if (o == NULL)
		return error_set(err, ST_FAILED, "out of memory for the observer");
	o->record = config->record;
	o->dsn = strdup(config->dsn);
	o->inbox = &o->inboxes[0];
	pthread_mutex_init(&o->inbox_lock, NULL);
	pthread_mutex_init(&o->lock, NULL);
	pthread_cond_init(&o->changed, NULL);
	o->waits = waits_create(&(struct waits_config){.has_waitstart = true, .emit = write_wait, .arg = o});
	replication_init(&o->replication, config->standby_names, config->standby_dsns, config->standbys);
	prepare_link(o, &o->replication.beat_link);
	prepare_link(o, &o->replication.status_link);
	prepare_link(o, &o->sampler.link);
	prepare_link(o, &o->availability.link);
	prepare_link(o, &o->state.link);
	o->probes = !config->no_availability;
	o->availability.waits = o->waits;
	o->availability.map = &o->sampler.map;
	o->availability.emit = write_window;
	o->availability.refresh = refresh;
	o->availability.arg = o;
	o->availability.pace = &o->pace;
	o->sampler.pace = &o->pace;
	o->pace.restless = config->migration_names != NULL || config->migration_roles != NULL;
	o->hurry.fn = on_hurry;
	o->availability.origin_ns = record_start_ns(config->record);
	o->state.availability = o->probes ? &o->availability : NULL;
	o->state.facts = &o->sampler.facts;
	o->state.latest = take_server;
	o->state.progress = take_progress;
	o->state.finished = on_state_finished;
	o->state.arg = o;
	o->sampler.waits = o->waits;
	o->sampler.period_ns = config->period_ns > 0 ? config->period_ns : PERIOD_NS;
	o->sampler.before = before_look;
	o->sampler.after = after_round;
	o->sampler.owner = o;
	prepare_link(o, &o->tracer.link);
	o->migration_names = config->migration_names != NULL ? strdup(config->migration_names) : NULL;
	o->migration_roles = config->migration_roles != NULL ? strdup(config->migration_roles) : NULL;
	o->tracer.record = o->record;
	o->tracer.waits = o->waits;
	o->tracer.map = &o->sampler.map;
	o->tracer.pace = &o->pace;
	o->tracer.period_ns = o->sampler.period_ns;
	o->tracer.names = o->migration_names;
	o->tracer.roles = o->migration_roles;
	o->tracer.before = before_trace;
	o->tracer.owner = o;
	o->stop.fn = on_stop;
	o->begin_ns = o->collected_ns = clock_now_ns();
	enum status st = loop_create(&o->loop, err);
	if (st != ST_OK) {
		free_observer(o);
		return st;
	}
	if (pthread_create(&o->thread, NULL, run, o) != 0) {
		free_observer(o);
		return error_set(err, ST_FAILED, "cannot start the observer's thread");
	}
	pthread_mutex_lock(&o->lock);
	while (o->start == STARTING)
		pthread_cond_wait(&o->changed, &o->lock);
	char reason[512];
	snprintf(reason, sizeof reason, "%s", o->start_error);
	bool started = o->start == STARTED;
	pthread_mutex_unlock(&o->lock);
	if (!started) {
		observer_stop(o, NULL, NULL);
		error_set(err, ST_FAILED, "the observer cannot look at the server: %s", reason);
		return ST_FAILED;
	}
	*out = o;
	return ST_OK;
}

enum status observer_stop(struct observer *o, struct observer_totals *out, struct error *err)
{
	loop_post(o->loop, &o->stop);
	pthread_join(o->thread, NULL);
	bool dropped = o->dropped_table;
	if (out != NULL) {
		*out = (struct observer_totals){
			.period_ns = o->sampler.period_ns,
			.rest_period_ns = o->pace.restless ? o->sampler.period_ns : sampler_rest_period_ns(o->sampler.period_ns),
			.samples = o->samples,
			.missed = o->missed,
			.statements = atomic_load(&o->statements),
			.cpu_ns = o->cpu_ns,
			.waits = (int64_t)o->waits_written,
			.notes_dropped = o->notes_dropped,
			.passed_over = (int64_t)o->passed_over,
		};
	}
	free_observer(o);
	if (!dropped) {
		error_set(err, ST_FAILED, "the table pgrehearse.heartbeat may have been left behind on the server");
		error_hint(err, "DROP SCHEMA pgrehearse CASCADE");
		return ST_FAILED;
	}
	return ST_OK;
}

/* ---- for other threads ---- */

void observer_note_slow(struct observer *o, int pid, int64_t sent_ns, int64_t done_ns, const char *sqlstate, const char *version,
	const char *transaction, const char *statement)
{
	if (sent_ns > atomic_load(&o->sampler.seen_until_ns))
		return;
	struct wait_note note = {
		.pid = pid, .sent_ns = sent_ns, .done_ns = done_ns, .version = version, .transaction = transaction, .statement = statement};
	snprintf(note.sqlstate, sizeof note.sqlstate, "%s", sqlstate);
	pthread_mutex_lock(&o->inbox_lock);
	if (o->inbox->slow_n < WAIT_NOTES_MAX)
		o->inbox->slow[o->inbox->slow_n++] = note;
	else
		o->notes_dropped++;
	pthread_mutex_unlock(&o->inbox_lock);
}

void observer_note_statement(struct observer *o, const struct observer_statement *st)
{
	struct statement_note note = {
		.id = st->id, .pid = st->pid, .start_ns = st->start_ns, .end_ns = st->end_ns, .in_transaction = st->in_transaction};
	snprintf(note.sqlstate, sizeof note.sqlstate, "%s", st->sqlstate != NULL ? st->sqlstate : "00000");
	pthread_mutex_lock(&o->inbox_lock);
	VEC_PUSH(&o->inbox->statements, note);
	pthread_mutex_unlock(&o->inbox_lock);
	/* What it does to others is to be seen from its very start. */
	if (st->end_ns == 0 && o->probes && !atomic_exchange(&o->hurrying, true))
		loop_post(o->loop, &o->hurry);
}

void observer_note_locks(struct observer *o, int64_t id, int pid, const struct observer_lock *locks, int n)
{
	pthread_mutex_lock(&o->inbox_lock);
	for (int i = 0; i < n; i++) {
		struct lock_note note = {.id = id, .pid = pid};
		snprintf(note.hold.relation, sizeof note.hold.relation, "%s", locks[i].relation);
		snprintf(note.hold.mode, sizeof note.hold.mode, "%s", locks[i].mode);
		VEC_PUSH(&o->inbox->locks, note);
	}
	pthread_mutex_unlock(&o->inbox_lock);
}

void observer_collect(struct observer *o, struct observation *out)
{
	*out = (struct observation){.start_ns = o->collected_ns, .end_ns = clock_now_ns()};
	replication_collect(&o->replication, out);
	pthread_mutex_lock(&o->lock);
	out->waiting = o->waiting_max;
	out->longest_wait_ns = o->longest_ns;
	int64_t cpu_ns = o->cpu_ns;
	o->waiting_max = o->waiting;
	o->longest_ns = 0;
	pthread_mutex_unlock(&o->lock);
	int64_t elapsed_ns = out->end_ns - out->start_ns;
	out->cpu_share = elapsed_ns > 0 ? (double)(cpu_ns - o->collected_cpu_ns) / (double)elapsed_ns : 0;
	o->collected_ns = out->end_ns;
	o->collected_cpu_ns = cpu_ns;
}

static json_t *known(int64_t value)
{
	return value >= 0 ? json_integer(value) : json_null();
}

json_t *observation_lag_json(const struct observation *seen)
{
	json_t *lag = json_array();
	for (int i = 0; i < seen->standbys; i++) {
		const struct observer_lag *l = &seen->lag[i];
		json_array_append_new(lag,
			json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "standby", json_text(l->standby), "replay_bytes",
				known(l->replay_bytes), "sent_bytes", known(l->sent_bytes), "write_bytes", known(l->write_bytes),
				"flush_bytes", known(l->flush_bytes), "heartbeat_ns", known(l->heartbeat_ns), "replay_lag_ns",
				known(l->replay_lag_ns), "conflicts", known(l->conflicts)));
	}
	return lag;
}

json_t *observation_slots_json(const struct observation *seen)
{
	json_t *slots = json_array();
	for (int i = 0; i < seen->slots; i++) {
		const struct observer_slot *s = &seen->slot[i];
		json_array_append_new(slots,
			json_pack("{s:o, s:b, s:o, s:o, s:o}", "slot", json_text(s->slot), "active", s->active, "wal_status",
				s->wal_status[0] != '\0' ? json_text(s->wal_status) : json_null(), "restart_bytes", known(s->restart_bytes),
				"confirmed_bytes", known(s->confirmed_bytes)));
	}
	return slots;
}

int64_t observer_replay_lag_ns(struct observer *o)
{
	return replication_lag_ns(&o->replication);
}

int64_t observer_replay_lag_bytes(struct observer *o)
{
	return replication_lag_bytes(&o->replication);
}

int observer_waiting(struct observer *o)
{
	pthread_mutex_lock(&o->lock);
	int waiting = o->waiting;
	pthread_mutex_unlock(&o->lock);
	return waiting;
}

void observer_note_phase(struct observer *o, const char *name)
{
	struct phase_note note = {0};
	snprintf(note.name, sizeof note.name, "%s", name != NULL ? name : "");
	pthread_mutex_lock(&o->inbox_lock);
	VEC_PUSH(&o->inbox->phases, note);
	pthread_mutex_unlock(&o->inbox_lock);
}

static void note_command(struct observer *o, const struct command_note *note)
{
	pthread_mutex_lock(&o->inbox_lock);
	VEC_PUSH(&o->inbox->commands, *note);
	pthread_mutex_unlock(&o->inbox_lock);
}

void observer_watch_command(struct observer *o, const struct observer_command *command)
{
	struct command_note note = {.tree.root = command->pid};
	snprintf(note.tree.step, sizeof note.tree.step, "%s", command->step != NULL ? command->step : "");
	snprintf(note.tree.direction, sizeof note.tree.direction, "%s", command->direction != NULL ? command->direction : "");
	note_command(o, &note);
}

void observer_unwatch_command(struct observer *o, pid_t pid)
{
	note_command(o, &(struct command_note){.tree.root = pid, .ended = true});
}

json_t *observer_take_server_json(struct observer *o)
{
	pthread_mutex_lock(&o->lock);
	json_t *server = o->server;
	o->server = NULL;
	pthread_mutex_unlock(&o->lock);
	return server;
}

void observer_describe_progress(struct observer *o, char *out, size_t size)
{
	pthread_mutex_lock(&o->lock);
	snprintf(out, size, "%s", o->progress);
	pthread_mutex_unlock(&o->lock);
}

bool observer_is_local(struct observer *o)
{
	pthread_mutex_lock(&o->lock);
	bool local = o->local;
	pthread_mutex_unlock(&o->lock);
	return local;
}

int observer_tables(struct observer *o)
{
	pthread_mutex_lock(&o->lock);
	int tables = o->tables;
	pthread_mutex_unlock(&o->lock);
	return tables;
}

json_t *observer_totals_json(const struct observer_totals *t)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "period_ns", (json_int_t)t->period_ns, "rest_period_ns",
		(json_int_t)t->rest_period_ns, "samples", (json_int_t)t->samples, "missed", (json_int_t)t->missed, "statements",
		(json_int_t)t->statements, "cpu_ns", (json_int_t)t->cpu_ns, "waits", (json_int_t)t->waits, "notes_dropped",
		(json_int_t)t->notes_dropped, "passed_over", (json_int_t)t->passed_over);
}
