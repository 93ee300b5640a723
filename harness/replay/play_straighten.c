/* A window over the log's order: ends are moved within it as they come in. */
#define _GNU_SOURCE
#include "replay/play_straighten.h"

#include "base/clock.h"
#include "base/vec.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW ((size_t)256)
#define MASK (WINDOW - 1)
#define KEYS_MAX 24 /* of a statement */
#define LOG_UNIT_NS NS_PER_MS

/* A primary key's value, or that of its first columns, or of none. whole: the statement named no more of them. */
struct row_key {
	uint64_t hash;
	bool whole;
};

struct held {
	struct row_key key;
	uint64_t serial;
};

struct slot {
	struct order_step step;
	VEC(uint64_t) values;
	uint64_t serial;               /* place in the log */
	struct row_key keys[KEYS_MAX]; /* rows that it locked */
	uint32_t n_keys;
};

/* A session's captured transaction. */
struct lane {
	bool open;
	VEC(struct held) held;
};

struct straightener {
	struct play_schema *schema;
	bool (*next)(struct order_step *step, void *arg);
	void *arg;
	struct slot *slots[WINDOW];
	uint64_t first, behind; /* places of the window, & MASK */
	uint64_t serial;
	bool exhausted;
	VEC(struct lane) lanes;
};

struct straightener *straighten_create(struct play_schema *schema, bool (*next)(struct order_step *step, void *arg), void *arg)
{
	struct straightener *s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	*s = (struct straightener){.schema = schema, .next = next, .arg = arg};
	for (size_t i = 0; i < WINDOW; i++) {
		s->slots[i] = calloc(1, sizeof *s->slots[i]);
		if (s->slots[i] == NULL)
			abort();
	}
	return s;
}

void straighten_free(struct straightener *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < WINDOW; i++) {
		VEC_FREE(&s->slots[i]->values);
		free(s->slots[i]);
	}
	for (size_t i = 0; i < s->lanes.n; i++)
		VEC_FREE(&s->lanes.at[i].held);
	VEC_FREE(&s->lanes);
	free(s);
}

static struct slot *slot_at(const struct straightener *s, uint64_t place)
{
	return s->slots[place & MASK];
}

static struct lane *lane_of(struct straightener *s, uint32_t session)
{
	while (s->lanes.n <= session)
		VEC_PUSH(&s->lanes, (struct lane){0});
	return &s->lanes.at[session];
}

/* Which rows a touch locks: any of its relation, those with its first column of the primary key, with its first two, ..., as far as it names
 * them. */
static void add_rows(struct straightener *s, struct slot *slot, const struct effect_touch *t)
{
	const struct order_step *step = &slot->step;
	uint32_t number = t->relation;
	const struct play_relation *relation = play_schema_relation(s->schema, &number);
	uint64_t h = (uint64_t)number * UINT64_C(0x9e3779b97f4a7c15);
	if (t->mode == TOUCH_READ || t->never_waits || t->generates || slot->n_keys == KEYS_MAX)
		return;
	slot->keys[slot->n_keys++] = (struct row_key){h, true};
	for (uint32_t k = 0; k < relation->n_key && slot->n_keys < KEYS_MAX; k++) {
		uint32_t i = t->equal, end = t->equal + t->n_equal;
		while (i < end && step->effect->equals[i].column != relation->key[k])
			i++;
		if (i == end)
			return;
		h = (h ^ step->values[i]) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 31;
		slot->keys[slot->n_keys - 1].whole = false;
		slot->keys[slot->n_keys++] = (struct row_key){h, true};
	}
}

static void fill_slot(struct straightener *s, struct slot *slot, const struct order_step *step)
{
	const struct effect *e = step->effect;
	slot->step = *step;
	slot->serial = ++s->serial;
	slot->n_keys = 0;
	slot->values.n = 0;
	for (uint32_t i = 0; i < e->n_equals; i++)
		VEC_PUSH(&slot->values, step->values[i]);
	slot->step.values = slot->values.at;
	for (uint32_t i = 0; i < e->n_touches; i++)
		add_rows(s, slot, &e->touches[i]);
}

/* It locked a row that the transaction had locked before it. */
static bool took_from(const struct slot *later, const struct lane *l)
{
	for (uint32_t k = 0; k < later->n_keys; k++)
		for (size_t i = 0; i < l->held.n; i++)
			if (l->held.at[i].key.hash == later->keys[k].hash && (l->held.at[i].key.whole || later->keys[k].whole) &&
				l->held.at[i].serial < later->serial)
				return true;
	return false;
}

/* The newest one ends its transaction: it goes before the first that has got a row from it. Outside of a transaction it has had the row
 * for its own time only, and who has it still, in an open one, has got it since. */
static void move_end(struct straightener *s, uint64_t place, bool was_open)
{
	struct slot *end = slot_at(s, place);
	struct lane *l = lane_of(s, end->step.session);
	uint64_t to = place;
	struct lane own = {0};
	for (uint32_t k = 0; k < end->n_keys && !was_open; k++)
		VEC_PUSH(&own.held, (struct held){end->keys[k], 0});
	for (uint64_t i = place; i > s->first; i--) {
		const struct slot *x = slot_at(s, i - 1);
		if (x->step.session == end->step.session || x->step.end_ns < end->step.arrival_ns - LOG_UNIT_NS)
			break;
		if (x->n_keys > 0 && (was_open ? took_from(x, l) : lane_of(s, x->step.session)->open && took_from(x, &own)))
			to = i - 1;
	}
	VEC_FREE(&own.held);
	if (to == place)
		return;
	int64_t end_ns = slot_at(s, to)->step.end_ns;
	for (uint64_t i = place; i > to; i--)
		s->slots[i & MASK] = s->slots[(i - 1) & MASK];
	s->slots[to & MASK] = end;
	if (end_ns < end->step.end_ns)
		end->step.end_ns = end_ns;
}

static void take_step(struct straightener *s, const struct order_step *step)
{
	uint64_t place = s->behind++;
	struct slot *slot = slot_at(s, place);
	const struct effect *e = step->effect;
	fill_slot(s, slot, step);
	struct lane *l = lane_of(s, step->session);
	bool was_open = l->open;
	l->open = e->begins ? !e->ends : l->open && !e->ends;
	if (l->open) {
		for (uint32_t k = 0; k < slot->n_keys; k++)
			VEC_PUSH(&l->held, (struct held){slot->keys[k], slot->serial});
		return;
	}
	if (s->behind - s->first > 1 && (was_open || slot->n_keys > 0))
		move_end(s, place, was_open);
	l = lane_of(s, step->session);
	l->held.n = 0;
}

bool straighten_next(struct order_step *step, void *straightener)
{
	struct straightener *s = straightener;
	struct order_step taken;
	while (!s->exhausted && s->behind - s->first < WINDOW - 1) {
		if (s->next(&taken, s->arg))
			take_step(s, &taken);
		else
			s->exhausted = true;
	}
	if (s->first == s->behind)
		return false;
	*step = slot_at(s, s->first++)->step;
	return true;
}
