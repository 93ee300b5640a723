/* What a worker starts next, and when: arrivals of the plan, requests of users, and those that nobody waits for any longer.
 *
 * Who wakes up. With several workers that have idle sessions, one leads: its timer stands at the next arrival. The others'
 * timers stand a little behind that, so that an arrival costs one wake-up, not one a worker, and a leader that is held up
 * (a long Lua call, no CPU) is noticed: who then finds the arrival unclaimed takes it and the lead. That delay grows while it proves
 * needless. A leader without an idle session wakes a worker that has one; and after LEAD_LENGTH arrivals it hands over to it anyway,
 * since one thread should not do the work of all.
 *
 * No wake-up is lost: a leader resigns (leader = NOBODY) before it looks at idle_since of the others, and a worker
 * stores its idle_since before it looks at leader, both sequentially consistent, so at least one sees the other.
 *
 * What is due and not the plan's lies with one worker (waiting.h), but any may start it: who has no idle session wakes one that has when
 * something is left waiting, with whomever, and that one does the same in its turn. In the same way no wake-up is lost: what waits is
 * counted before idle_since is looked at, and idle_since is stored before the counts are. */
#define _GNU_SOURCE
#include "load/claim.h"

#include "base/clock.h"

#include <stdio.h>
#include <string.h>

#define NOBODY (-1)
#define LEAD_LENGTH 16
#define FOLLOW_FIRST_NS (50 * NS_PER_US)
#define FOLLOW_LAST_NS NS_PER_MS
#define STREAM_NEXT UINT64_C(0x6e657874) /* of a user's seed: kinds and seeds of requests */

/* ---- leading and following ---- */

void claim_publish_idle(struct worker *w)
{
	if (w->crew->config->workers > 1)
		atomic_store(&w->idle_since, w->idle_first != NULL ? w->idle_first->idle_since_ns : PLAN_NEVER);
}

static void wake_up(struct loop_message *m)
{
	struct worker *w = container_of(m, struct worker, wake);
	atomic_store(&w->woken, false);
	claim_due(w);
}

/* Another worker with an idle session, or NULL. */
static struct worker *find_idle(struct worker *w)
{
	const struct crew *crew = w->crew;
	int n = crew->config->workers;
	for (int i = 1; i < n; i++) {
		struct worker *other = crew->workers[(w->number + i) % n];
		if (atomic_load(&other->idle_since) != PLAN_NEVER)
			return other;
	}
	return NULL;
}

static void wake(struct worker *w)
{
	if (!atomic_exchange(&w->woken, true))
		loop_post(w->loop, &w->wake);
}

static void resign(struct worker *w)
{
	struct crew *crew = w->crew;
	if (atomic_load(&crew->leader) != w->number)
		return;
	atomic_store(&crew->leader, NOBODY);
	struct worker *next = find_idle(w);
	if (next != NULL)
		wake(next);
}

static void hand_over_lead(struct worker *w)
{
	struct crew *crew = w->crew;
	w->led = 0;
	struct worker *next = atomic_load(&crew->leader) == w->number ? find_idle(w) : NULL;
	if (next == NULL)
		return;
	atomic_store(&crew->leader, next->number);
	wake(next);
}

/* How long after the next arrival's due time this worker, which has an idle session, looks for it. */
static int64_t follow_delay(struct worker *w)
{
	struct crew *crew = w->crew;
	if (crew->config->workers == 1)
		return 0;
	int leader = NOBODY;
	if (atomic_compare_exchange_strong(&crew->leader, &leader, w->number) || leader == w->number)
		return 0;
	if (w->follow_ns == 0)
		w->follow_ns = FOLLOW_FIRST_NS;
	return w->follow_ns;
}

/* Whether a session of another worker stood idle when the arrival fell due. */
static bool awaited_elsewhere(const struct worker *w, int64_t due_ns)
{
	const struct crew *crew = w->crew;
	for (int i = 0; i < crew->config->workers; i++)
		if (i != w->number && atomic_load_explicit(&crew->workers[i]->idle_since, memory_order_relaxed) <= due_ns)
			return true;
	return false;
}

/* ---- users ---- */

/* The pod that a request is sent to, as far as patience goes: by its seed. */
static int version_of(const struct worker *w, const struct arrival *a)
{
	const struct crew *crew = w->crew;
	return crew->limit_min_ns > 0 ? w->pod_versions[rng_mix(a->seed) % (uint64_t)crew->config->pods] : 0;
}

static void draw_request(const struct worker *w, struct request *r)
{
	int64_t due_ns = r->arrival.due_ns;
	r->arrival = plan_draw(rng_at(r->user, STREAM_NEXT), r->number);
	r->arrival.due_ns = due_ns;
	r->arrival.shares = atomic_load_explicit(&w->crew->shares, memory_order_acquire);
}

void claim_start_users(struct worker *w, int64_t start_ns)
{
	const struct crew *crew = w->crew;
	if (!crew->has_users || crew->plan != NULL)
		return;
	for (int u = w->number; u < crew->config->users; u += crew->config->workers) {
		struct request r = {.user = rng_at(crew->draw_seed, (uint64_t)u), .count = THINK_ENDLESS};
		/* Somewhere in the first pause: otherwise constant pauses would keep all users in step. */
		double share = rng_unit(rng_at(r.user, 0));
		r.arrival.due_ns = start_ns + (int64_t)((double)think_draw(&crew->config->think, r.user, 0) * share);
		draw_request(w, &r);
		waiting_think(w->waiting, &r);
	}
}

void claim_next_request(struct worker *w, const struct request *ended, int64_t now_ns)
{
	if (!w->crew->has_users || (ended->count != THINK_ENDLESS && ended->number + 1 >= ended->count))
		return;
	struct request r = *ended;
	r.number++;
	r.arrival.due_ns = now_ns + think_draw(&w->crew->config->think, r.user, r.number);
	draw_request(w, &r);
	waiting_think(w->waiting, &r);
}

void claim_end_thinking(struct worker *w, int64_t now_ns)
{
	struct request r;
	while (waiting_take_thinker(w->waiting, now_ns, &r)) {
		r.version = version_of(w, &r.arrival);
		waiting_push(w->waiting, WAITING_USERS, &r);
		w->stats->followed++;
		w->followed++;
	}
}

static struct request first_request(const struct worker *w, const struct arrival *a)
{
	struct request r = {.arrival = *a, .user = a->seed, .count = 1};
	if (w->crew->has_users)
		r.count = requests_draw(&w->crew->config->requests, r.user);
	return r;
}

/* ---- the end of patience ---- */

/* The user has gone, or the application got an error from its pool, which is what the user then saw. */
static void give_up(struct worker *w, const struct request *r, int64_t now_ns)
{
	const struct load_limit *limit = &w->crew->limits[r->version];
	if (limit->is_patience) {
		w->stats->abandoned++;
		w->stats->versions[r->version].abandoned++;
		w->totals[r->version].abandoned++;
		w->abandoned++;
		if (r->count == THINK_ENDLESS)
			claim_next_request(w, r, now_ns);
		return;
	}
	struct ending e = {
		.version = r->version,
		.transaction = claim_pick_transaction(w->workload, &r->arrival),
		.sqlstate = LOAD_POOL_TIMEOUT,
		.due_ns = r->arrival.due_ns,
		.end_ns = now_ns,
	};
	struct load_version *total = &w->totals[e.version];
	w->stats->versions[e.version].started++;
	total->started++;
	total->failed++;
	stats_count_error(&total->errors, e.sqlstate, 1);
	stats_record(w->stats, &e);
	claim_next_request(w, r, now_ns);
}

/* Takes out of the plan what has waited as long as the least patient version lets it, and looks whose it is. */
static void give_up_overdue(struct worker *w, int64_t now_ns)
{
	const struct crew *crew = w->crew;
	struct request r;
	struct arrival a;
	if (crew->limit_min_ns == 0)
		return;
	while (crew->plan != NULL && plan_claim(crew->plan, &w->cursor, now_ns - crew->limit_min_ns, &a)) {
		r = first_request(w, &a);
		r.version = version_of(w, &a);
		waiting_push(w->waiting, WAITING_PLAN, &r);
	}
	while (waiting_take_overdue(w->waiting, now_ns, crew->limit_ns, &r))
		give_up(w, &r, now_ns);
}

/* ---- claiming ---- */

/* Whether anything but the plan and its own requests may concern a worker. */
static bool shares_waiting(const struct crew *crew)
{
	return crew->config->workers > 1 && (crew->has_users || crew->limit_min_ns > 0);
}

/* With whom the request waits that fell due first; PLAN_NEVER: none waits. */
static struct worker *find_oldest(struct worker *w, int64_t *due_ns)
{
	const struct crew *crew = w->crew;
	struct worker *found = w;
	*due_ns = waiting_oldest_due(w->waiting);
	for (int i = 0; shares_waiting(crew) && i < crew->config->workers; i++) {
		int64_t other_ns = i != w->number ? waiting_oldest_due(crew->workers[i]->waiting) : PLAN_NEVER;
		if (other_ns >= *due_ns)
			continue;
		found = crew->workers[i];
		*due_ns = other_ns;
	}
	return found;
}

/* Has others do what we have no session for. */
static void pass_on(struct worker *w)
{
	int64_t due_ns;
	if (w->idle_first != NULL || !shares_waiting(w->crew))
		return;
	find_oldest(w, &due_ns);
	struct worker *next = due_ns != PLAN_NEVER ? find_idle(w) : NULL;
	if (next != NULL)
		wake(next);
}

/* The oldest of what is due, the plan's or what waits with any of us. */
static bool take_next(struct worker *w, int64_t now_ns, struct request *out)
{
	struct crew *crew = w->crew;
	struct arrival a;
	if (crew->plan == NULL && !crew->has_users) {
		a = plan_draw(crew->draw_seed, atomic_fetch_add_explicit(&crew->next_draw, 1, memory_order_relaxed));
		a.due_ns = now_ns;
		a.shares = atomic_load_explicit(&crew->shares, memory_order_acquire);
		*out = first_request(w, &a);
		return true;
	}
	for (;;) {
		int64_t due_ns;
		struct worker *from = find_oldest(w, &due_ns);
		if (crew->plan != NULL && plan_claim(crew->plan, &w->cursor, due_ns < now_ns ? due_ns : now_ns, &a)) {
			*out = first_request(w, &a);
			return true;
		}
		if (due_ns == PLAN_NEVER)
			return false;
		if (waiting_take_oldest(from->waiting, out))
			return true;
		/* Another worker has been faster. */
	}
}

/* An idle session stood ready when it fell due: what it is sent late by is our own error. */
static bool is_awaited(struct worker *w, const struct client *c, const struct request *r, int64_t now_ns)
{
	const struct crew *crew = w->crew;
	int64_t due_ns = r->arrival.due_ns;
	if (crew->plan == NULL && !crew->has_users)
		return false;
	if (c->idle_since_ns <= due_ns) {
		/* For a user's later request nobody leads. */
		w->missed += crew->plan != NULL && r->number == 0 && now_ns - due_ns >= FOLLOW_FIRST_NS;
		return true;
	}
	return crew->config->workers > 1 && awaited_elsewhere(w, due_ns);
}

/* When there will be something to start, or to give up if all sessions are busy until then; PLAN_NEVER: a session must free
 * itself first. */
static int64_t next_event(struct worker *w)
{
	const struct crew *crew = w->crew;
	bool idle = w->idle_first != NULL;
	int64_t at_ns = PLAN_NEVER, limit_ns = crew->limit_min_ns;
	w->following = false;
	if (!idle)
		resign(w);
	if (!idle && limit_ns == 0 && !shares_waiting(crew))
		return PLAN_NEVER;
	at_ns = waiting_thinks_until(w->waiting); /* also without an idle session: another worker may have one */
	if (!idle && limit_ns == 0)
		return at_ns;
	int64_t overdue_ns = limit_ns > 0 ? waiting_overdue_at(w->waiting, crew->limit_ns) : PLAN_NEVER;
	if (overdue_ns < at_ns)
		at_ns = overdue_ns;
	if (crew->plan == NULL)
		return at_ns;
	plan_seek_unclaimed(crew->plan, &w->cursor);
	if (w->cursor.due_ns == PLAN_NEVER)
		return at_ns;
	int64_t delay_ns = idle ? follow_delay(w) : limit_ns;
	if (w->cursor.due_ns + delay_ns >= at_ns)
		return at_ns;
	w->following = idle && delay_ns > 0;
	return w->cursor.due_ns + delay_ns;
}

static void set_due_timer(struct worker *w, int64_t at_ns)
{
	if (at_ns == PLAN_NEVER)
		loop_timer_cancel(w->loop, &w->due);
	else if (!loop_timer_armed(&w->due) || w->due.due_ns != at_ns)
		loop_timer_set(w->loop, &w->due, at_ns);
}

/* Who finds what the leader has missed leads from now on. */
static void learn_from_misses(struct worker *w)
{
	struct crew *crew = w->crew;
	if (crew->config->workers == 1 || w->missed == 0 || atomic_load(&crew->leader) == w->number)
		return;
	atomic_store(&crew->leader, w->number);
	w->follow_ns = FOLLOW_FIRST_NS;
	w->stats->missed_wakeups += w->missed;
}

/* A transaction that waits for nothing ends inside of this, which brings its session back into the queue; so there is a bound,
 * after which what has arrived from the server is read first. */
void claim_due_at(struct worker *w, int64_t now_ns)
{
	if (!w->running || w->claiming)
		return;
	w->claiming = true;
	claim_end_thinking(w, now_ns);
	give_up_overdue(w, now_ns);
	int left = w->n_clients;
	struct request r;
	w->missed = 0;
	while (left > 0 && w->idle_first != NULL && take_next(w, now_ns, &r)) {
		struct client *c = w->idle_first;
		worker_start_request(c, &r, is_awaited(w, c, &r, now_ns));
		left--;
		w->led++;
	}
	w->claiming = false;
	learn_from_misses(w);
	if (w->led >= LEAD_LENGTH && w->crew->config->workers > 1)
		hand_over_lead(w);
	pass_on(w);
	set_due_timer(w, left == 0 && w->idle_first != NULL ? now_ns : next_event(w));
}

void claim_due(struct worker *w)
{
	claim_due_at(w, loop_refresh(w->loop));
}

static void on_due(struct loop_timer *t)
{
	struct worker *w = container_of(t, struct worker, due);
	bool following = w->following;
	int led = w->led;
	claim_due(w);
	if (following && w->led == led && w->follow_ns < FOLLOW_LAST_NS)
		w->follow_ns *= 2;
}

void claim_init(struct worker *w)
{
	w->due.fn = on_due;
	w->wake.fn = wake_up;
	atomic_init(&w->idle_since, PLAN_NEVER);
	atomic_init(&w->woken, false);
}

int claim_pick_transaction(const struct workload *w, const struct arrival *a)
{
	if (a->shares == NULL)
		return workload_pick_transaction(w, a->kind);
	int i = 0;
	while (a->kind >= a->shares[i])
		i++;
	return i;
}
