/* How closely the observer looks. While nothing of the migration is under way, its questions are rarer: they would cost the traffic more
 * than what they tell is worth. */
#ifndef PGR_OBSERVE_PACE_H
#define PGR_OBSERVE_PACE_H

#include "base/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define PACE_LINGER_NS (100 * NS_PER_MS) /* the next statement is likely to follow */

struct pace {
	bool restless;      /* set by the owner: questions never become rarer, the migration may begin without a word */
	int under_way;      /* statements and commands of the migration */
	int64_t rest_at_ns; /* the last of them ended a while before that */
};

static inline bool pace_is_at_rest(const struct pace *p, int64_t now_ns)
{
	return !p->restless && p->under_way == 0 && now_ns >= p->rest_at_ns;
}

/* A statement or command of the migration begins: true if none had been under way for a while. */
static inline bool pace_rouse(struct pace *p)
{
	bool rested = pace_is_at_rest(p, clock_now_ns());
	p->under_way++;
	return rested;
}

/* One has ended. */
static inline void pace_calm(struct pace *p)
{
	if (p->under_way > 0)
		p->under_way--;
	p->rest_at_ns = clock_now_ns() + PACE_LINGER_NS;
}

#endif
