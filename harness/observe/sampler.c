/* The lock sampler. A round is one cheap look and, when it shows sessions whose locks are not known yet, one dear look. */
#include "observe/sampler.h"

#include "base/clock.h"

#include <stdio.h>

/* Short enough to see each wait that lasts 20 ms. */
#define REST_NS (18 * NS_PER_MS)

/* Dear looks for nothing but waits for rows may take this part of the time, more while the migration is at it, and so much at once. */
#define ROWS_PART 100
#define ROWS_PART_MIGRATING 20
#define ROWS_CREDIT_NS (50 * NS_PER_MS)

static struct sampler *sampler_of(void *link)
{
	return container_of(link, struct sampler, link);
}

static void set_in_round(struct sampler *sampler, bool in_round, int64_t now_ns)
{
	sampler->in_round = in_round;
	atomic_store(&sampler->seen_until_ns, in_round ? INT64_MAX : now_ns);
}

static void end_round(struct sampler *sampler)
{
	int64_t now_ns = clock_now_ns();
	set_in_round(sampler, false, now_ns);
	waits_settle(sampler->waits, now_ns);
	sampler->after(sampler);
}

static bool may_look_dearly(struct sampler *sampler, int64_t now_ns)
{
	int64_t passed_ns = sampler->credited_ns != 0 ? now_ns - sampler->credited_ns : ROWS_CREDIT_NS * ROWS_PART;
	sampler->credit_ns += passed_ns / (waits_migrating(sampler->waits) ? ROWS_PART_MIGRATING : ROWS_PART);
	if (sampler->credit_ns > ROWS_CREDIT_NS)
		sampler->credit_ns = ROWS_CREDIT_NS;
	sampler->credited_ns = now_ns;
	return sampler->credit_ns > 0 || waits_urgent(sampler->waits);
}

static void on_detail(struct session *s, void *arg)
{
	struct sampler *sampler = sampler_of(arg);
	const struct session_outcome *out = session_outcome(s);
	sampler->credit_ns -= out->done_ns - out->sent_ns;
	if (sampler->credit_ns < -ROWS_CREDIT_NS)
		sampler->credit_ns = -ROWS_CREDIT_NS; /* what was spent on others is not owed for long */
	if (link_went_well(&sampler->link, "reading locks") &&
		queries_read_detail(out->result, &sampler->map, &sampler->rows, &sampler->blockers)) {
		sampler->before(sampler);
		waits_detail(sampler->waits, out->sent_ns, out->done_ns, sampler->asked, sampler->asked_n, sampler->rows.at,
			(int)sampler->rows.n);
	}
	end_round(sampler);
}

static void on_glance(struct session *s, void *arg)
{
	struct sampler *sampler = sampler_of(arg);
	const struct session_outcome *out = session_outcome(s);
	int64_t server_us;
	if (!link_went_well(&sampler->link, "looking for lock waits") || !queries_read_glance(out->result, &sampler->glances, &server_us)) {
		end_round(sampler);
		return;
	}
	sampler->samples++;
	clockmap_add(&sampler->map, out->sent_ns, out->done_ns, server_us);
	struct wait_look look = {out->sent_ns, out->done_ns, sampler->glances.at, (int)sampler->glances.n};
	sampler->before(sampler);
	waits_look(sampler->waits, &look);
	sampler->asked_n = waits_wanted(sampler->waits, sampler->asked, (int)(sizeof sampler->asked / sizeof sampler->asked[0]));
	if (sampler->asked_n > 0 && !may_look_dearly(sampler, look.to_ns)) {
		waits_pass_over(sampler->waits);
		sampler->asked_n = 0;
	}
	if (sampler->asked_n == 0) {
		end_round(sampler);
		return;
	}
	queries_format_pids(sampler->asked, sampler->asked_n, sampler->pids, sizeof sampler->pids);
	const struct session_statement *st = sampler->facts.version_num >= 140000 ? &QUERY_DETAIL : &QUERY_DETAIL_OLD;
	if (!link_execute(&sampler->link, st, sampler->values, on_detail))
		end_round(sampler);
}

static void on_tick(struct loop_timer *t)
{
	struct sampler *sampler = container_of(t, struct sampler, tick);
	int64_t now_ns = clock_now_ns();
	bool rest = pace_is_at_rest(sampler->pace, now_ns) && !waits_for_more_than_rows(sampler->waits);
	int64_t period_ns = rest ? sampler_rest_period_ns(sampler->period_ns) : sampler->period_ns;
	sampler->next_ns += period_ns;
	if (sampler->next_ns <= now_ns) {
		int64_t skipped = (now_ns - sampler->next_ns) / period_ns + 1;
		sampler->missed += skipped;
		sampler->next_ns += skipped * period_ns;
	}
	loop_timer_set(sampler->link.loop, t, sampler->next_ns);
	if (!sampler->ready || sampler->in_round || !sampler->link.is_up) {
		/* What clients report is taken in all the same: the queue is short. */
		sampler->missed++;
		sampler->before(sampler);
		waits_settle(sampler->waits, now_ns);
		sampler->after(sampler);
		return;
	}
	int watched[WAITS_MAX];
	int watched_n = waits_watched(sampler->waits, watched, WAITS_MAX);
	queries_format_pids(watched, watched_n, sampler->pids, sizeof sampler->pids);
	set_in_round(sampler, true, now_ns);
	if (!link_execute(&sampler->link, watched_n > 0 ? &QUERY_GLANCE : &QUERY_GLANCE_AT_ANY, sampler->values, on_glance))
		set_in_round(sampler, false, now_ns);
}

static void on_server(struct session *s, void *arg)
{
	struct sampler *sampler = sampler_of(arg);
	if (!link_went_well(&sampler->link, "asking for the version") || !queries_read_server(session_outcome(s)->result, &sampler->facts))
		return;
	waits_set_waitstart(sampler->waits, sampler->facts.version_num >= 140000);
	if (!sampler->facts.sees_all && !sampler->told_blind) {
		char text[200];
		snprintf(text, sizeof text,
			"role %s is not a member of pg_monitor: lock waits and replication are seen for its own sessions only",
			sampler->facts.role);
		sampler->link.warn(text, sampler->link.warn_arg);
		sampler->told_blind = true;
	}
	sampler->ready = true;
}

static void on_up(struct link *link)
{
	struct sampler *sampler = sampler_of(link);
	sampler->ready = false;
	link_query(link, QUERY_SERVER, on_server);
}

static void on_down(struct link *link)
{
	set_in_round(sampler_of(link), false, clock_now_ns());
}

void sampler_start(struct sampler *sampler, struct loop *loop)
{
	sampler->link.loop = loop;
	sampler->link.what = "lock sampler";
	sampler->link.up = on_up;
	sampler->link.down = on_down;
	sampler->values[0] = sampler->pids;
	sampler->tick.fn = on_tick;
	sampler->next_ns = clock_now_ns() + sampler->period_ns;
	loop_timer_set(loop, &sampler->tick, sampler->next_ns);
	link_open(&sampler->link);
}

void sampler_stop(struct sampler *sampler)
{
	loop_timer_cancel(sampler->link.loop, &sampler->tick);
	link_close(&sampler->link);
	VEC_FREE(&sampler->glances);
	VEC_FREE(&sampler->rows);
	VEC_FREE(&sampler->blockers);
}

void sampler_rouse(struct sampler *sampler)
{
	if (sampler->link.loop == NULL || sampler->in_round)
		return;
	sampler->next_ns = clock_now_ns();
	loop_timer_set(sampler->link.loop, &sampler->tick, sampler->next_ns);
}

int64_t sampler_rest_period_ns(int64_t period_ns)
{
	return period_ns > REST_NS ? period_ns : REST_NS;
}
