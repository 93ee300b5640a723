/* observe/waits: lock waits from looks, completions and statements, against a small model of a server whose truth is known. */
#include "unit.h"

#include "base/clock.h"
#include "observe/waits.h"

#define MS NS_PER_MS
#define BACKENDS 64

/* The model: what the server would show if it were asked now. */
struct backend {
	const char *app;
	const char *state;
	int pid;
	int64_t start_ms;     /* of the wait */
	int64_t statement_ms; /* start of the statement */
	uint64_t lock;
	int blockers[8];
	int blockers_n;
	bool waiting;
	bool start_hidden; /* waitstart is NULL for an instant */
	bool blinks;       /* awake for a moment to look for a deadlock: no wait_event */
	bool queued;       /* what it is to those behind it */
	const char *mode;  /* that it wants on the relation users; NULL: some other lock */
	const char *row;   /* it waits for a row of this relation */
};

struct seen {
	struct wait_record record;
	int pid;
	char version[32], transaction[32];
	int root, blockers_n, chain[8];
	char root_state[32], first_state[32];
	bool first_queued;
};

static struct backend backends[BACKENDS];
static int backends_n;
static struct waits *waits;
static struct seen out[BACKENDS];
static int out_n;
static bool has_waitstart;

static void keep(const struct wait_record *r, void *arg)
{
	(void)arg;
	struct seen *s = &out[out_n++];
	memset(s, 0, sizeof *s);
	s->record = *r;
	s->pid = r->waiter->pid;
	snprintf(s->version, sizeof s->version, "%s", r->version != NULL ? r->version : "");
	snprintf(s->transaction, sizeof s->transaction, "%s", r->transaction != NULL ? r->transaction : "");
	s->root = r->root != NULL ? r->root->session.pid : -1;
	snprintf(s->root_state, sizeof s->root_state, "%s", r->root != NULL ? r->root->session.state : "");
	snprintf(s->first_state, sizeof s->first_state, "%s", r->blockers_n > 0 ? r->blockers[0].session.state : "");
	s->blockers_n = r->blockers_n;
	s->first_queued = r->blockers_n > 0 && r->blockers[0].queued;
	for (int i = 0; i < r->chain_n && i < 8; i++)
		s->chain[i] = r->chain[i];
}

static int start_with(bool waitstart)
{
	has_waitstart = waitstart;
	backends_n = out_n = 0;
	waits = waits_create(&(struct waits_config){.has_waitstart = waitstart, .emit = keep});
	return 0;
}

static int set_up(void **state)
{
	(void)state;
	return start_with(true);
}

static int set_up_old_server(void **state)
{
	(void)state;
	return start_with(false);
}

static int tear_down(void **state)
{
	(void)state;
	waits_free(waits);
	return 0;
}

static struct backend *backend(int pid)
{
	for (int i = 0; i < backends_n; i++)
		if (backends[i].pid == pid)
			return &backends[i];
	backends[backends_n] = (struct backend){.pid = pid, .app = "psql", .state = "active"};
	return &backends[backends_n++];
}

static struct backend *wait_for(int pid, const char *app, int64_t at_ms, uint64_t lock, int blocker)
{
	struct backend *b = backend(pid);
	b->app = app;
	b->state = "active";
	b->waiting = true;
	b->statement_ms = b->start_ms = at_ms;
	b->lock = lock;
	b->blockers[0] = blocker;
	b->blockers_n = 1;
	return b;
}

static void leave(int pid)
{
	for (int i = 0; i < backends_n; i++)
		if (backends[i].pid == pid)
			backends[i] = backends[--backends_n];
}

static void fill_session(struct wait_session *s, int pid)
{
	const struct backend *b = backend(pid);
	*s = (struct wait_session){.pid = pid, .xact_start_us = b->statement_ms * 1000, .xact_start_ns = b->statement_ms * MS};
	snprintf(s->application_name, sizeof s->application_name, "%s", b->app);
	snprintf(s->state, sizeof s->state, "%s", b->state);
}

/* A round of looks that starts at the given time; each request takes 0.2 ms. */
static void look_at(int64_t at_ms)
{
	int watched[BACKENDS], asked[BACKENDS];
	int watched_n = waits_watched(waits, watched, BACKENDS);
	struct wait_glance glances[BACKENDS];
	struct wait_look look = {.from_ns = at_ms * MS, .to_ns = at_ms * MS + MS / 5, .sessions = glances};
	for (int i = 0; i < backends_n; i++) {
		bool wanted = backends[i].waiting;
		for (int k = 0; k < watched_n; k++)
			wanted = wanted || watched[k] == backends[i].pid;
		if (!wanted)
			continue;
		struct wait_glance *g = &glances[look.n++];
		*g = (struct wait_glance){.pid = backends[i].pid,
			.waiting = backends[i].waiting && !backends[i].blinks,
			.query_start_us = backends[i].statement_ms * 1000};
		snprintf(g->state, sizeof g->state, "%s", backends[i].state);
	}
	waits_look(waits, &look);
	int asked_n = waits_wanted(waits, asked, BACKENDS);
	struct wait_seen rows[BACKENDS];
	static struct wait_blocker blockers[BACKENDS][8];
	int n = 0;
	for (int k = 0; k < asked_n; k++) {
		const struct backend *b = backend(asked[k]);
		if (!b->waiting)
			continue;
		struct wait_seen *row = &rows[n];
		*row = (struct wait_seen){
			.start_us = WAIT_NONE, .start_ns = WAIT_NONE, .error_ns = MS / 20, .blockers = blockers[n], .lock.tag = b->lock};
		if (b->mode != NULL) {
			snprintf(row->lock.type, sizeof row->lock.type, "relation");
			snprintf(row->lock.relation, sizeof row->lock.relation, "users");
			snprintf(row->lock.mode, sizeof row->lock.mode, "%s", b->mode);
		}
		if (b->row != NULL) {
			snprintf(row->lock.type, sizeof row->lock.type, "transactionid");
			snprintf(row->lock.relation, sizeof row->lock.relation, "%s", b->row);
			snprintf(row->lock.mode, sizeof row->lock.mode, "ShareLock");
		}
		if (has_waitstart && !b->start_hidden) {
			row->start_us = b->start_ms * 1000;
			row->start_ns = b->start_ms * MS;
		}
		fill_session(&row->session, b->pid);
		struct backend copy = *b; /* fill_session may move the array's end */
		for (int i = 0; i < copy.blockers_n; i++) {
			memset(&blockers[n][i], 0, sizeof blockers[n][i]);
			fill_session(&blockers[n][i].session, copy.blockers[i]);
			blockers[n][i].queued = backend(copy.blockers[i])->queued;
		}
		row->blockers_n = copy.blockers_n;
		n++;
	}
	if (asked_n > 0)
		waits_detail(waits, look.from_ns + MS * 3 / 10, look.from_ns + MS / 2, asked, asked_n, rows, n);
	waits_settle(waits, look.from_ns + MS / 2);
}

static void look_from_to(int64_t from_ms, int64_t to_ms)
{
	for (int64_t t = from_ms; t <= to_ms; t += 10)
		look_at(t);
}

static void complete(int pid, int64_t sent_ms, double done_ms, const char *sqlstate)
{
	struct wait_note note = {.pid = pid,
		.sent_ns = sent_ms * MS,
		.done_ns = (int64_t)(done_ms * 1e6),
		.version = "v2",
		.transaction = "checkout",
		.statement = "pay"};
	snprintf(note.sqlstate, sizeof note.sqlstate, "%s", sqlstate);
	waits_note(waits, &note);
}

static void the_completion_ends_a_wait_exactly(void **state)
{
	(void)state;
	wait_for(7, "pgrehearse load v1 pod 1", 103, 1, 9);
	look_from_to(100, 400);
	backend(7)->waiting = false;
	complete(7, 102, 404, "00000");
	look_at(410);
	assert_int_equal(out_n, 1);
	assert_true(out[0].record.exact);
	assert_int_equal(out[0].record.start_ns, 103 * MS);
	assert_int_equal(out[0].record.length_ns, 301 * MS);
	assert_in_range(out[0].record.bound_ns, 1, 5 * MS);
	assert_int_equal(out[0].record.ended, WAIT_GRANTED);
	assert_string_equal(out[0].version, "v2");
	assert_string_equal(out[0].transaction, "checkout");
}

static void a_completion_that_arrives_late_still_names_and_ends_its_wait(void **state)
{
	(void)state;
	wait_for(7, "pgrehearse load v1 pod 1", 103, 1, 9);
	look_from_to(100, 400);
	*backend(7) = (struct backend){.pid = 7, .app = "pgrehearse load v1 pod 1", .state = "idle"};
	look_from_to(410, 900);
	assert_int_equal(out_n, 0);
	complete(7, 102, 404, "00000");
	look_at(910);
	assert_int_equal(out_n, 1);
	assert_true(out[0].record.exact);
	assert_int_equal(out[0].record.length_ns, 301 * MS);
	assert_string_equal(out[0].transaction, "checkout");
}

static void a_completion_before_the_first_look_at_its_wait_is_not_lost(void **state)
{
	(void)state;
	look_at(100);
	wait_for(7, "pgrehearse load v1 pod 1", 105, 1, 9);
	complete(7, 104, 110.4, "00000"); /* it ended while the look below was under way */
	look_at(110);
	backend(7)->waiting = false;
	look_at(120);
	assert_int_equal(out_n, 1);
	assert_true(out[0].record.exact);
	assert_int_equal(out[0].record.length_ns, 110400000 - 105 * MS);
}

static void a_long_statement_ends_its_wait_with_the_look_that_misses_it(void **state)
{
	(void)state;
	wait_for(7, "pgrehearse load v1 pod 1", 103, 1, 9);
	look_from_to(100, 200);
	backend(7)->waiting = false; /* granted, and the statement works on */
	look_from_to(210, 700);
	complete(7, 102, 702, "00000");
	look_at(710);
	assert_int_equal(out_n, 1);
	assert_false(out[0].record.exact);
	assert_int_equal(out[0].record.ended, WAIT_GRANTED);
	assert_int_equal(out[0].record.length_ns, 210 * MS + MS / 2 - 103 * MS);
	assert_in_range(out[0].record.bound_ns, 9 * MS, 11 * MS);
	assert_string_equal(out[0].transaction, "checkout");
}

static void one_statement_can_hold_several_waits(void **state)
{
	(void)state;
	wait_for(7, "pgrehearse load v1 pod 1", 103, 1, 9);
	look_from_to(100, 150);
	backend(7)->start_ms = 157; /* the same statement, another row */
	look_at(160);
	backend(7)->start_ms = 185;
	backend(7)->lock = 2;
	look_from_to(170, 300);
	backend(7)->waiting = false;
	complete(7, 102, 301, "00000");
	look_at(310);
	assert_int_equal(out_n, 3);
	int64_t total = 0;
	for (int i = 0; i < 3; i++) {
		total += out[i].record.length_ns;
		assert_int_equal(out[i].record.ended, WAIT_GRANTED);
		assert_string_equal(out[i].transaction, "checkout");
	}
	assert_in_range(total, 190 * MS, 198 * MS);
}

static void the_sqlstate_says_how_the_wait_ended(void **state)
{
	(void)state;
	static const struct {
		const char *sqlstate;
		enum wait_end end;
	} CASES[] = {{"55P03", WAIT_TIMEOUT}, {"40P01", WAIT_DEADLOCK}, {"57014", WAIT_CANCELLED}, {"57P01", WAIT_LOST},
		{"08006", WAIT_LOST}, {"23505", WAIT_GRANTED}, {"25P04", WAIT_TIMEOUT}};
	enum { CASES_N = sizeof CASES / sizeof CASES[0] };
	for (int i = 0; i < CASES_N; i++)
		wait_for(10 + i, "pgrehearse load v1 pod 1", 103, 1, 9);
	look_from_to(100, 300);
	for (int i = 0; i < CASES_N; i++) {
		backend(10 + i)->waiting = false;
		complete(10 + i, 102, 303, CASES[i].sqlstate);
	}
	look_at(310);
	assert_int_equal(out_n, CASES_N);
	for (int i = 0; i < CASES_N; i++)
		assert_int_equal(out[i].record.ended, CASES[out[i].pid - 10].end);
}

static void a_transaction_timeout_long_after_the_wait_is_not_its_end(void **state)
{
	(void)state;
	wait_for(7, "pgrehearse load v1 pod 1", 103, 1, 9);
	wait_for(8, "pgrehearse load v1 pod 1", 103, 1, 9);
	look_from_to(100, 200);
	backend(7)->waiting = backend(8)->waiting = false; /* granted; then both work on */
	look_from_to(210, 700);
	complete(7, 102, 702, "25P04");
	complete(8, 102, 702, "55P03");
	look_at(710);
	assert_int_equal(out_n, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(out[i].record.ended, out[i].pid == 7 ? WAIT_GRANTED : WAIT_TIMEOUT);
}

static void a_timeout_that_the_look_saw_before_the_client_is_still_a_timeout(void **state)
{
	(void)state;
	wait_for(7, "pgrehearse migration", 103, 1, 9);
	waits_statement(waits, 1, 7, 102 * MS, 0, NULL);
	look_from_to(100, 300);
	*backend(7) = (struct backend){.pid = 7, .app = "pgrehearse migration", .state = "idle in transaction (aborted)"};
	look_at(310);
	waits_statement(waits, 1, 7, 102 * MS, 312 * MS, "55P03");
	look_at(320);
	assert_int_equal(out_n, 1);
	assert_int_equal(out[0].record.role, WAIT_ROLE_MIGRATION);
	assert_int_equal(out[0].record.ended, WAIT_TIMEOUT);
	assert_int_equal(out[0].record.blamed, 0);
}

static void a_retry_of_the_same_statement_is_another_wait(void **state)
{
	(void)state;
	for (int attempt = 0; attempt < 3; attempt++) {
		int64_t t = 100 + attempt * 105;
		wait_for(7, "pgrehearse migration", t + 3, 1, 9);
		waits_statement(waits, attempt + 1, 7, (t + 2) * MS, 0, NULL);
		look_from_to(t, t + 90);
		waits_statement(waits, attempt + 1, 7, (t + 2) * MS, (t + 103) * MS, "55P03");
	}
	backend(7)->waiting = false;
	look_at(500);
	assert_int_equal(out_n, 3);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(out[i].record.ended, WAIT_TIMEOUT);
		assert_int_equal(out[i].record.length_ns, 100 * MS);
	}
}

static void those_behind_a_queued_migration_blame_its_statement_and_find_the_reader_at_the_root(void **state)
{
	(void)state;
	backend(1)->state = "idle in transaction";
	wait_for(2, "pgrehearse migration", 110, 5, 1)->queued = true;
	waits_statement(waits, 41, 2, 50 * MS, 60 * MS, "00000");
	waits_statement(waits, 42, 2, 109 * MS, 0, NULL);
	look_at(115);
	for (int i = 0; i < 4; i++)
		wait_for(10 + i, "pgrehearse load v1 pod 1", 120 + i, 6, 2);
	look_from_to(130, 600);
	for (int pid = 10; pid < 14; pid++) {
		backend(pid)->waiting = false;
		complete(pid, 119, 604, "00000");
	}
	leave(1);
	look_at(610);
	assert_int_equal(out_n, 4);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(out[i].record.blamed, 42);
		assert_int_equal(out[i].root, 1);
		assert_int_equal(out[i].record.chain_n, 2);
		assert_int_equal(out[i].chain[0], 2);
		assert_int_equal(out[i].chain[1], 1);
		assert_true(out[i].first_queued);
	}
}

static void a_lock_held_between_statements_is_blamed_on_the_last_one(void **state)
{
	(void)state;
	backend(2)->app = "pgrehearse migration";
	backend(2)->state = "idle in transaction";
	waits_statement(waits, 3, 2, 90 * MS, 95 * MS, "00000");
	wait_for(10, "pgrehearse load v1 pod 1", 103, 6, 2);
	look_from_to(110, 200);
	waits_statement(waits, 4, 2, 205 * MS, 0, NULL);
	backend(10)->waiting = false;
	complete(10, 102, 206, "00000");
	look_at(210);
	assert_int_equal(out_n, 1);
	assert_int_equal(out[0].record.blamed, 3);
	assert_int_equal(out[0].root, 2);
}

static void who_locked_a_table_is_known_from_what_statements_held(void **state)
{
	(void)state;
	static const struct wait_hold strong = {"users", "AccessExclusiveLock"}, weak = {"users", "ShareUpdateExclusiveLock"};
	struct wait_lock wanted = {.type = "relation", .mode = "AccessShareLock", .relation = "users"};
	waits_statement(waits, 1, 2, 100 * MS, 110 * MS, "00000");
	waits_hold(waits, 1, 2, &strong);
	waits_statement(waits, 2, 2, 120 * MS, 130 * MS, "00000");
	waits_hold(waits, 2, 2, &weak);
	assert_int_equal(waits_find_locker(waits, &wanted, 105 * MS, 125 * MS), 1);
	assert_int_equal(waits_find_locker(waits, &wanted, 90 * MS, 99 * MS), 0);
	assert_int_equal(waits_find_locker(waits, &wanted, 115 * MS, 140 * MS), 0); /* the second takes nobody's read */
	snprintf(wanted.relation, sizeof wanted.relation, "orders");
	assert_int_equal(waits_find_locker(waits, &wanted, 105 * MS, 125 * MS), 0);
}

static void a_lock_is_blamed_on_the_statement_that_took_it(void **state)
{
	(void)state;
	static const struct wait_hold other = {"orders", "AccessExclusiveLock"}, weak = {"users", "ShareUpdateExclusiveLock"},
				      strong = {"users", "ShareLock"};
	backend(2)->app = "pgrehearse migration";
	backend(2)->statement_ms = 80;                           /* start of its transaction */
	waits_statement(waits, 1, 2, 60 * MS, 70 * MS, "00000"); /* of a transaction before */
	waits_hold(waits, 1, 2, &strong);
	waits_statement(waits, 2, 2, 81 * MS, 85 * MS, "00000");
	waits_hold(waits, 2, 2, &other);
	waits_hold(waits, 2, 2, &weak);
	waits_statement(waits, 3, 2, 90 * MS, 95 * MS, "00000");
	waits_hold(waits, 3, 2, &weak);
	waits_hold(waits, 3, 2, &strong);
	waits_statement(waits, 4, 2, 96 * MS, 0, NULL); /* goes on for long, under the lock that 3 took */
	wait_for(10, "pgrehearse load v1 pod 1", 103, 6, 2)->mode = "RowExclusiveLock";
	wait_for(11, "pgrehearse load v1 pod 1", 104, 7, 2)->mode = "AccessShareLock"; /* which none of these holds against */
	look_from_to(110, 200);
	waits_finish(waits, 210 * MS);
	assert_int_equal(out_n, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(out[i].record.blamed, out[i].pid == 10 ? 3 : 4);
}

static void the_migration_works_until_the_statements_of_others_are_over_too(void **state)
{
	(void)state;
	assert_false(waits_migrating(waits));
	waits_statement(waits, 1, 2, 100 * MS, 0, NULL);
	waits_statement(waits, 1000001, 3, 105 * MS, 0, NULL);
	waits_statement(waits, 1, 2, 100 * MS, 110 * MS, "00000");
	assert_true(waits_migrating(waits));
	wait_for(10, "pgrehearse load v1 pod 1", 112, 6, 3);
	wait_for(3, "some tool", 111, 7, 9);
	look_from_to(115, 125);
	waits_statement_over(waits, 1000001, 3, 127 * MS);
	assert_false(waits_migrating(waits));
	look_from_to(135, 145);
	waits_finish(waits, 150 * MS);
	assert_int_equal(out_n, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(out[i].record.ended, WAIT_UNFINISHED); /* it was no completion of its client */
		assert_int_equal(out[i].record.blamed, out[i].pid == 10 ? 1000001 : 0);
	}
}

static void a_row_is_blamed_on_the_statement_that_wrote_to_its_table(void **state)
{
	(void)state;
	static const struct wait_hold checked = {"users", "ShareUpdateExclusiveLock"}, written = {"users", "RowExclusiveLock"},
				      indexed = {"orders", "ShareLock"};
	backend(2)->app = "pgrehearse migration";
	backend(2)->statement_ms = 80;
	waits_statement(waits, 1, 2, 81 * MS, 85 * MS, "00000");
	waits_hold(waits, 1, 2, &checked);
	waits_statement(waits, 2, 2, 86 * MS, 90 * MS, "00000");
	waits_hold(waits, 2, 2, &checked);
	waits_hold(waits, 2, 2, &written);
	waits_statement(waits, 3, 2, 91 * MS, 95 * MS, "00000");
	waits_hold(waits, 3, 2, &written);
	waits_hold(waits, 3, 2, &indexed);
	waits_statement(waits, 4, 2, 96 * MS, 0, NULL);
	wait_for(10, "pgrehearse load v1 pod 1", 103, 6, 2)->row = "users";
	wait_for(11, "pgrehearse load v1 pod 1", 104, 7, 2)->row = ""; /* which table is not known */
	wait_for(12, "pgrehearse load v1 pod 1", 104, 8, 2)->row = "orders";
	look_from_to(110, 200);
	waits_finish(waits, 210 * MS);
	assert_int_equal(out_n, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(out[i].record.blamed, out[i].pid == 10 ? 2 : 4);
}

static void a_migration_further_up_is_found_behind_other_blockers(void **state)
{
	(void)state;
	backend(2)->app = "pgrehearse migration";
	waits_statement(waits, 8, 2, 90 * MS, 0, NULL);
	struct backend *b = wait_for(20, "pgrehearse load v1 pod 1", 103, 6, 3); /* 3 is idle and foreign */
	b->blockers[b->blockers_n++] = 21;
	wait_for(21, "psql", 101, 7, 2);
	look_from_to(110, 200);
	waits_finish(waits, 210 * MS);
	assert_int_equal(out_n, 2);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(out[i].record.blamed, 8);
		assert_int_equal(out[i].record.ended, WAIT_UNFINISHED);
		assert_int_equal(out[i].root, 2);
	}
}

static void who_stands_in_the_way_is_told_as_seen_last_before_leaving(void **state)
{
	(void)state;
	backend(2)->state = "active";
	wait_for(10, "pgrehearse load v1 pod 1", 103, 6, 2);
	look_from_to(110, 200);
	backend(2)->state = "idle in transaction";
	look_from_to(210, 390);
	backend(2)->state = "active"; /* it commits */
	look_at(400);
	waits_finish(waits, 410 * MS);
	assert_int_equal(out_n, 1);
	assert_int_equal(out[0].root, 2);
	assert_string_equal(out[0].root_state, "idle in transaction");
	assert_string_equal(out[0].first_state, "idle in transaction");
	assert_true(out[0].record.seen_ns >= 300 * MS);
}

static void sessions_that_wait_for_each_other_do_not_hang_the_search(void **state)
{
	(void)state;
	wait_for(1, "psql", 103, 1, 2);
	wait_for(2, "psql", 104, 2, 3);
	wait_for(3, "psql", 105, 3, 1);
	look_from_to(110, 300);
	leave(1);
	backend(2)->waiting = backend(3)->waiting = false;
	look_at(310);
	assert_int_equal(out_n, 3);
	for (int i = 0; i < 3; i++)
		assert_int_equal(out[i].record.chain_n, 2);
}

static void what_a_foreign_session_does_next_says_how_its_wait_ended(void **state)
{
	(void)state;
	for (int pid = 1; pid <= 5; pid++)
		wait_for(pid, "psql", 103, 1, 9);
	look_from_to(100, 200);
	for (int pid = 1; pid <= 5; pid++)
		backend(pid)->waiting = false;
	backend(2)->state = "idle in transaction";
	backend(3)->state = "idle in transaction (aborted)";
	backend(4)->statement_ms = 205;
	leave(5);
	look_at(210);
	assert_int_equal(out_n, 5);
	static const enum wait_end ENDS[] = {WAIT_GRANTED, WAIT_GRANTED, WAIT_UNKNOWN, WAIT_UNKNOWN, WAIT_UNKNOWN};
	for (int i = 0; i < 5; i++) {
		assert_int_equal(out[i].record.ended, ENDS[out[i].pid - 1]);
		assert_in_range(out[i].record.length_ns, 107 * MS, 108 * MS);
		assert_false(out[i].record.exact);
	}
}

static void a_reused_pid_does_not_inherit_the_wait_before(void **state)
{
	(void)state;
	wait_for(7, "psql", 103, 1, 9);
	look_from_to(100, 200);
	wait_for(7, "pgrehearse load v1 pod 1", 206, 1, 9); /* another backend, by chance with the same pid and the same lock */
	look_from_to(210, 300);
	backend(7)->waiting = false;
	complete(7, 205, 303, "00000");
	look_at(310);
	assert_int_equal(out_n, 2);
	const struct seen *second = &out[out[0].record.role == WAIT_ROLE_LOAD ? 0 : 1];
	const struct seen *first = &out[out[0].record.role == WAIT_ROLE_LOAD ? 1 : 0];
	assert_int_equal(first->record.length_ns, 103 * MS);
	assert_int_equal(first->record.ended, WAIT_UNKNOWN);
	assert_string_equal(first->transaction, "");
	assert_int_equal(second->record.length_ns, 97 * MS);
	assert_true(second->record.exact);
}

static void a_start_that_is_hidden_at_first_is_learnt_with_the_next_look(void **state)
{
	(void)state;
	look_at(100);
	wait_for(7, "pgrehearse load v1 pod 1", 110, 1, 9)->start_hidden = true;
	look_at(110);
	backend(7)->start_hidden = false;
	look_from_to(120, 200);
	backend(7)->waiting = false;
	complete(7, 109, 203, "00000");
	look_at(210);
	assert_int_equal(out_n, 1);
	assert_true(out[0].record.exact);
	assert_int_equal(out[0].record.start_ns, 110 * MS);
	assert_int_equal(out[0].record.length_ns, 93 * MS);
}

static void without_waitstart_the_start_is_bounded_by_the_looks_and_the_send(void **state)
{
	(void)state;
	look_from_to(80, 100);
	wait_for(7, "pgrehearse load v1 pod 1", 106, 1, 9);
	wait_for(8, "psql", 106, 1, 9);
	look_from_to(110, 200);
	backend(7)->waiting = backend(8)->waiting = false;
	complete(7, 104, 203, "00000");
	look_at(210);
	assert_int_equal(out_n, 2);
	for (int i = 0; i < 2; i++) {
		assert_false(out[i].record.exact);
		assert_int_equal(out[i].record.start_ns, out[i].pid == 7 ? 104 * MS : 100 * MS);
		int64_t truth = 203 * MS - 106 * MS;
		assert_true(llabs(out[i].record.length_ns - truth) <= out[i].record.bound_ns);
	}
}

static void without_waitstart_a_new_statement_is_a_new_wait(void **state)
{
	(void)state;
	look_at(90);
	wait_for(7, "psql", 100, 1, 9);
	look_from_to(100, 200);
	wait_for(7, "psql", 205, 1, 9);
	look_from_to(210, 300);
	backend(7)->waiting = false;
	look_at(310);
	assert_int_equal(out_n, 2);
}

static void a_wait_too_short_to_be_reported_by_its_client_is_ended_by_the_next_statement(void **state)
{
	(void)state;
	wait_for(7, "pgrehearse load v1 pod 1", 109, 1, 9);
	look_at(110);
	*backend(7) = (struct backend){.pid = 7, .app = "pgrehearse load v1 pod 1", .state = "active", .statement_ms = 112};
	look_at(120);
	assert_int_equal(out_n, 0);
	complete(7, 112, 125, "00000");
	look_at(130);
	assert_int_equal(out_n, 1);
	assert_int_equal(out[0].record.length_ns, 3 * MS);
	assert_string_equal(out[0].transaction, "");
	assert_string_equal(out[0].version, "v1");
}

static void a_session_that_wakes_to_look_for_a_deadlock_still_waits(void **state)
{
	(void)state;
	wait_for(7, "psql", 103, 1, 9);
	look_from_to(100, 1090);
	backend(7)->blinks = true;
	look_at(1100);
	backend(7)->blinks = false;
	look_from_to(1110, 1500);
	assert_int_equal(out_n, 0);
	backend(7)->waiting = false;
	look_at(1510);
	assert_int_equal(out_n, 1);
	assert_int_equal(out[0].record.start_ns, 103 * MS);
	assert_int_equal(out[0].record.ended, WAIT_GRANTED);
	assert_in_range(out[0].record.length_ns, 1407 * MS, 1408 * MS);
}

static void a_gap_between_looks_shows_in_the_bound(void **state)
{
	(void)state;
	wait_for(7, "psql", 103, 1, 9);
	look_from_to(100, 200);
	backend(7)->waiting = false;
	look_at(1200); /* the server did not answer for a second */
	assert_int_equal(out_n, 1);
	assert_true(out[0].record.bound_ns >= 999 * MS);
}

static void the_figures_for_the_interval_are_the_largest_since_the_last_call(void **state)
{
	(void)state;
	wait_for(1, "psql", 100, 1, 9);
	wait_for(2, "psql", 100, 1, 9);
	look_from_to(100, 150);
	backend(1)->waiting = backend(2)->waiting = false;
	look_at(160);
	struct waits_state s = waits_take_state(waits);
	assert_int_equal(s.waiting_max, 2);
	assert_int_equal(s.waiting, 0);
	assert_in_range(s.longest_ns, 60 * MS, 61 * MS);
	assert_int_equal(s.emitted, 2);
	look_at(170);
	s = waits_take_state(waits);
	assert_int_equal(s.waiting_max, 0);
	assert_int_equal(s.longest_ns, 0);
}

static void the_role_is_told_by_the_application_name(void **state)
{
	(void)state;
	char version[32];
	assert_int_equal(wait_role_of("pgrehearse load v12 pod 3", version), WAIT_ROLE_LOAD);
	assert_string_equal(version, "v12");
	assert_int_equal(wait_role_of("pgrehearse migration", version), WAIT_ROLE_MIGRATION);
	assert_int_equal(wait_role_of("pgrehearse actor report", version), WAIT_ROLE_ACTOR);
	assert_int_equal(wait_role_of("pgrehearse observer", version), WAIT_ROLE_OBSERVER);
	assert_int_equal(wait_role_of("pgrehearse inspector", version), WAIT_ROLE_OBSERVER);
	assert_int_equal(wait_role_of("pgrehearse comparison", version), WAIT_ROLE_OBSERVER);
	assert_int_equal(wait_role_of("pgrehearse loader", version), WAIT_ROLE_FOREIGN);
	assert_int_equal(wait_role_of("", version), WAIT_ROLE_FOREIGN);
	assert_string_equal(version, "");
}

#define ON_14(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
#define ON_12(f) cmocka_unit_test_setup_teardown(f, set_up_old_server, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_14(the_completion_ends_a_wait_exactly),
		ON_14(a_completion_that_arrives_late_still_names_and_ends_its_wait),
		ON_14(a_completion_before_the_first_look_at_its_wait_is_not_lost),
		ON_14(a_long_statement_ends_its_wait_with_the_look_that_misses_it),
		ON_14(who_locked_a_table_is_known_from_what_statements_held),
		ON_14(one_statement_can_hold_several_waits),
		ON_14(the_sqlstate_says_how_the_wait_ended),
		ON_14(a_transaction_timeout_long_after_the_wait_is_not_its_end),
		ON_14(a_timeout_that_the_look_saw_before_the_client_is_still_a_timeout),
		ON_14(a_retry_of_the_same_statement_is_another_wait),
		ON_14(those_behind_a_queued_migration_blame_its_statement_and_find_the_reader_at_the_root),
		ON_14(a_lock_held_between_statements_is_blamed_on_the_last_one),
		ON_14(a_lock_is_blamed_on_the_statement_that_took_it),
		ON_14(the_migration_works_until_the_statements_of_others_are_over_too),
		ON_14(a_row_is_blamed_on_the_statement_that_wrote_to_its_table),
		ON_14(a_migration_further_up_is_found_behind_other_blockers),
		ON_14(who_stands_in_the_way_is_told_as_seen_last_before_leaving),
		ON_14(sessions_that_wait_for_each_other_do_not_hang_the_search),
		ON_14(what_a_foreign_session_does_next_says_how_its_wait_ended),
		ON_14(a_reused_pid_does_not_inherit_the_wait_before),
		ON_14(a_start_that_is_hidden_at_first_is_learnt_with_the_next_look),
		ON_12(without_waitstart_the_start_is_bounded_by_the_looks_and_the_send),
		ON_12(without_waitstart_a_new_statement_is_a_new_wait),
		ON_14(a_wait_too_short_to_be_reported_by_its_client_is_ended_by_the_next_statement),
		ON_14(a_session_that_wakes_to_look_for_a_deadlock_still_waits),
		ON_14(a_gap_between_looks_shows_in_the_bound),
		ON_14(the_figures_for_the_interval_are_the_largest_since_the_last_call),
		cmocka_unit_test(the_role_is_told_by_the_application_name),
	};
	return cmocka_run_group_tests_name("waits", tests, NULL, NULL);
}
