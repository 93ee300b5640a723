/* The lock sampler: one session on the primary that looks for lock waits every few milliseconds and feeds waits.h. While nothing of the
 * migration is under way, and nobody waits but for rows, it looks half as often. */
#ifndef PGR_OBSERVE_SAMPLER_H
#define PGR_OBSERVE_SAMPLER_H

#include "observe/clockmap.h"
#include "observe/link.h"
#include "observe/pace.h"
#include "observe/queries.h"
#include "observe/waits.h"
#include "runtime/loop.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct sampler {
	/* Set by the owner: link's dsn, warn, statements; and these. */
	struct link link;
	struct waits *waits;
	const struct pace *pace;
	int64_t period_ns;
	void (*before)(struct sampler *sampler); /* before what a look showed is worked in: hand over what clients have reported */
	void (*after)(struct sampler *sampler);  /* a round is complete */
	void *owner;

	/* Read by the owner. */
	int64_t samples;
	int64_t missed; /* ticks at which nothing could be sent */
	struct server_facts facts;

	/* Any thread: what began later than this can have been seen by no look. INT64_MAX while one is under way. */
	atomic_int_fast64_t seen_until_ns;

	/* Its own. */
	struct clockmap map;
	struct loop_timer tick;
	int64_t next_ns;
	bool ready; /* facts are known */
	bool in_round;
	bool told_blind;
	int64_t credit_ns, credited_ns; /* time that dear looks for waits for rows may take, as of then */
	glance_vec glances;
	seen_vec rows;
	blocker_vec blockers;
	int asked[256]; /* most sessions in one dear look */
	int asked_n;
	char pids[WAITS_MAX * 12 + 16];
	const char *values[1];
};

void sampler_start(struct sampler *sampler, struct loop *loop);
void sampler_stop(struct sampler *sampler);

/* The migration begins something, after a while of nothing: a look is taken at once. */
void sampler_rouse(struct sampler *sampler);

/* Between two looks while nothing of the migration is under way, where period_ns is asked for while it is. */
int64_t sampler_rest_period_ns(int64_t period_ns);

#endif
