/* Statements are nodes of a graph that is built as the trace is read and forgotten as they end. */
#define _GNU_SOURCE
#include "replay/play_order.h"

#include "base/clock.h"
#include "base/vec.h"

#include <string.h>

#define MASK (ORDER_WINDOW - 1)
#define ON_SENT UINT32_C(0x80000000) /* of a dependent: it waits for being sent only */
#define LOG_UNIT_NS NS_PER_MS        /* what is within one unit of the log's clock may have been the other way round */
#define LOOKS 16                     /* of a relation, that are remembered */
#define REFILL 32                    /* statements planned at a time */
#define RELATIONS_WRITTEN 16         /* of a transaction, that are told apart */

enum progress { PLANNED, SENT, ENDED };

struct node {
	uint32_t session;
	uint32_t waits; /* for so many */
	enum progress progress;
	bool asked;               /* its session has asked in vain */
	VEC(uint32_t) dependents; /* places; ON_SENT */
};

/* A statement that has not been planned yet may be sent or ended already: one that took longer than the window. */
struct lane {
	VEC(uint64_t) nodes; /* planned, not sent: from first on */
	size_t first;
	uint64_t running;      /* node + 1 of the statement that was sent, or 0 */
	int64_t sent, planned; /* how many so far */
	bool is_running;       /* one that was sent before it was planned */
	bool asked, released;  /* the next one, which has not been planned: it waits; it need not */
	/* Of the captured transaction that is open at the planner's place. */
	bool in_transaction, wrote, wrote_much;
	uint32_t relations[RELATIONS_WRITTEN], n_relations;
};

/* Ends of transactions that wrote, in their order. */
struct transaction_end {
	uint64_t node;
	int64_t end_ns; /* never before that of the one before */
	uint64_t base;  /* all before this one have ended before it is sent */
};

struct ends {
	VEC(struct transaction_end) at;
	uint64_t dropped; /* how many were before at[0] */
};

/* Which rows it found depends on who had ended before it. */
struct look {
	uint64_t node; /* + 1 */
	int64_t end_ns;
};

struct relation_state {
	bool has_columns;
	uint32_t columns[PLAY_KEY_MAX], n_columns; /* by whose values statements are told apart */
	uint64_t whole;                            /* the last node that may touch any row, + 1 */
	uint64_t looked;                           /* the last of these that waits for no lock, + 1 */
	struct look looks[LOOKS];                  /* the last ones of the others */
	unsigned n_looks;
	VEC(uint64_t) since;   /* nodes since then that touch some */
	VEC(uint64_t) readers; /* statements that write elsewhere and read here, while nobody has written here */
	struct ends ends;
};

struct key_slot {
	uint64_t hash, node; /* the last one with this key, + 1; 0: free */
};

struct order {
	enum order_mode mode;
	struct play_schema *schema;
	bool (*next)(struct order_step *step, void *arg);
	void *arg;
	bool exhausted;
	struct node *nodes; /* by number & MASK */
	uint64_t tail, head;
	int64_t *end_ns; /* by number & MASK */
	VEC(struct lane *) lanes;
	VEC(struct relation_state *) relations;
	struct ends ends; /* of all, for ORDER_COMMIT */
	struct key_slot *keys;
	size_t keys_size, keys_used;
	uint64_t global; /* the last node that may touch anything, + 1 */
	VEC(uint32_t) ready;
};

struct order *order_create(enum order_mode mode, struct play_schema *schema, bool (*next)(struct order_step *step, void *arg), void *arg)
{
	struct order *o = calloc(1, sizeof *o);
	if (o == NULL)
		abort();
	*o = (struct order){.mode = mode, .schema = schema, .next = next, .arg = arg, .keys_size = 4 * ORDER_WINDOW};
	o->nodes = calloc(ORDER_WINDOW, sizeof *o->nodes);
	o->end_ns = calloc(ORDER_WINDOW, sizeof *o->end_ns);
	o->keys = calloc(o->keys_size, sizeof *o->keys);
	if (o->nodes == NULL || o->end_ns == NULL || o->keys == NULL)
		abort();
	return o;
}

void order_free(struct order *o)
{
	if (o == NULL)
		return;
	for (uint64_t i = 0; i < ORDER_WINDOW; i++)
		VEC_FREE(&o->nodes[i].dependents);
	for (size_t i = 0; i < o->lanes.n; i++)
		if (o->lanes.at[i] != NULL) {
			VEC_FREE(&o->lanes.at[i]->nodes);
			free(o->lanes.at[i]);
		}
	for (size_t i = 0; i < o->relations.n; i++)
		if (o->relations.at[i] != NULL) {
			VEC_FREE(&o->relations.at[i]->since);
			VEC_FREE(&o->relations.at[i]->readers);
			VEC_FREE(&o->relations.at[i]->ends.at);
			free(o->relations.at[i]);
		}
	VEC_FREE(&o->lanes);
	VEC_FREE(&o->relations);
	VEC_FREE(&o->ends.at);
	VEC_FREE(&o->ready);
	free(o->nodes);
	free(o->end_ns);
	free(o->keys);
	free(o);
}

static struct lane *lane_of(struct order *o, uint32_t session)
{
	while (o->lanes.n <= session)
		VEC_PUSH(&o->lanes, NULL);
	if (o->lanes.at[session] == NULL) {
		o->lanes.at[session] = calloc(1, sizeof(struct lane));
		if (o->lanes.at[session] == NULL)
			abort();
	}
	return o->lanes.at[session];
}

static struct relation_state *relation_of(struct order *o, uint32_t relation)
{
	while (o->relations.n <= relation)
		VEC_PUSH(&o->relations, NULL);
	struct relation_state **at = &o->relations.at[relation];
	if (*at == NULL) {
		*at = calloc(1, sizeof **at);
		if (*at == NULL)
			abort();
		const struct play_relation *known = play_schema_relation(o->schema, &relation);
		memcpy((*at)->columns, known->key, sizeof known->key);
		(*at)->n_columns = known->n_key;
		(*at)->has_columns = known->n_key > 0;
	}
	return *at;
}

/* ---- edges ---- */

static struct node *node_at(struct order *o, uint64_t number)
{
	return &o->nodes[number & MASK];
}

static enum progress progress_of(struct order *o, uint64_t number)
{
	return number < o->tail ? ENDED : node_at(o, number)->progress;
}

/* The statement `to` waits for `from` (+ 1; 0: nothing). What a session does comes in its order anyway. */
static void add_edge(struct order *o, uint64_t from, uint64_t to, bool on_sent)
{
	if (from == 0)
		return;
	enum progress progress = progress_of(o, --from);
	if (progress == ENDED || (on_sent && progress == SENT))
		return;
	struct node *n = node_at(o, from), *m = node_at(o, to);
	if (n == m || n->session == m->session)
		return;
	VEC_PUSH(&n->dependents, (uint32_t)(to & MASK) | (on_sent ? ON_SENT : 0));
	m->waits++;
}

static void let_go(struct order *o, struct node *m)
{
	/* 0: it was released, or sent before it was planned. */
	if (m->waits > 0 && --m->waits == 0 && m->asked) {
		m->asked = false;
		VEC_PUSH(&o->ready, m->session);
	}
}

static void mark_sent(struct order *o, uint64_t number)
{
	struct node *n = node_at(o, number);
	size_t kept = 0;
	n->progress = SENT;
	for (size_t i = 0; i < n->dependents.n; i++) {
		uint32_t d = n->dependents.at[i];
		if ((d & ON_SENT) != 0)
			let_go(o, &o->nodes[d & MASK]);
		else
			n->dependents.at[kept++] = d;
	}
	n->dependents.n = kept;
}

static void mark_ended(struct order *o, uint64_t number)
{
	struct node *n = node_at(o, number);
	if (n->progress == PLANNED)
		mark_sent(o, number);
	n->progress = ENDED;
	for (size_t i = 0; i < n->dependents.n; i++)
		let_go(o, &o->nodes[n->dependents.at[i]]);
	n->dependents.n = 0;
	while (o->tail < o->head && node_at(o, o->tail)->progress == ENDED)
		o->tail++;
}

/* ---- ends of transactions ---- */

/* The place behind the last end that had ended by then. */
static uint64_t find_end(const struct ends *e, int64_t time_ns)
{
	size_t low = 0, high = e->at.n;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (e->at.at[middle].end_ns <= time_ns)
			low = middle + 1;
		else
			high = middle;
	}
	return e->dropped + low;
}

/* Makes a node wait for all that had ended by then. Returns the place behind them. */
static uint64_t wait_for_ends(struct order *o, const struct ends *e, int64_t time_ns, uint64_t node)
{
	uint64_t behind = find_end(e, time_ns);
	if (behind == e->dropped || e->at.at == NULL)
		return behind;
	uint64_t base = e->at.at[behind - 1 - e->dropped].base;
	for (uint64_t i = behind; i > e->dropped && i > base; i--)
		add_edge(o, e->at.at[i - 1 - e->dropped].node + 1, node, false);
	return behind;
}

static void drop_old_ends(struct order *o, struct ends *e)
{
	size_t n = 0;
	while (n < e->at.n && e->at.at[n].node < o->tail)
		n++;
	if (n < 1024 || n * 2 < e->at.n)
		return;
	memmove(e->at.at, e->at.at + n, (e->at.n - n) * sizeof *e->at.at);
	e->at.n -= n;
	e->dropped += n;
}

static void add_end(struct order *o, struct ends *e, const struct order_step *step, uint64_t node)
{
	uint64_t base = wait_for_ends(o, e, step->arrival_ns, node);
	int64_t end_ns = step->end_ns;
	if (e->at.n > 0) {
		const struct transaction_end *before = &e->at.at[e->at.n - 1];
		add_edge(o, before->node + 1, node, true);
		end_ns = before->end_ns > end_ns ? before->end_ns : end_ns;
	}
	drop_old_ends(o, e);
	VEC_PUSH(&e->at, (struct transaction_end){node, end_ns, base});
}

/* ---- rows ---- */

static struct key_slot *find_key(struct key_slot *keys, size_t size, uint64_t hash)
{
	size_t i = (size_t)hash & (size - 1);
	while (keys[i].node != 0 && keys[i].hash != hash)
		i = (i + 1) & (size - 1);
	return &keys[i];
}

/* Forgets keys whose statements have ended. */
static void sweep_keys(struct order *o)
{
	struct key_slot *old = o->keys;
	o->keys = calloc(o->keys_size, sizeof *o->keys);
	if (o->keys == NULL)
		abort();
	o->keys_used = 0;
	for (size_t i = 0; i < o->keys_size; i++)
		if (old[i].node > o->tail) {
			*find_key(o->keys, o->keys_size, old[i].hash) = old[i];
			o->keys_used++;
		}
	free(old);
}

static void touch_key(struct order *o, uint64_t hash, uint64_t node)
{
	if (o->keys_used * 2 > o->keys_size)
		sweep_keys(o);
	struct key_slot *slot = find_key(o->keys, o->keys_size, hash);
	add_edge(o, slot->node, node, false);
	o->keys_used += slot->node == 0;
	*slot = (struct key_slot){hash, node + 1};
}

static const struct effect_equal *equal_of(const struct order_step *step, const struct effect_touch *t, uint32_t column, uint64_t *value)
{
	for (uint32_t i = t->equal; i < t->equal + t->n_equal; i++)
		if (step->effect->equals[i].column == column) {
			*value = step->values[i];
			return &step->effect->equals[i];
		}
	return NULL;
}

static bool sets_column(const struct effect *e, const struct effect_touch *t, uint32_t column)
{
	for (uint32_t i = t->set; i < t->set + t->n_set; i++)
		if (e->sets[i] == column)
			return true;
	return false;
}

enum extent { ROWS_KEYED, ROWS_NEW, ROWS_ANY };

/* Which rows: by the values of the columns that tell a relation's statements apart. A change that names fewer of these leaves only those. */
static enum extent find_extent(struct relation_state *r, const struct order_step *step, const struct effect_touch *t, uint64_t *hash)
{
	uint64_t h = (uint64_t)t->relation * UINT64_C(0x9e3779b97f4a7c15), value;
	uint32_t common = 0;
	bool changed = false;
	if (!r->has_columns && t->mode == TOUCH_CHANGE) {
		for (uint32_t i = t->equal; i < t->equal + t->n_equal && r->n_columns < PLAY_KEY_MAX; i++)
			r->columns[r->n_columns++] = step->effect->equals[i].column;
		r->has_columns = r->n_columns > 0;
		changed = true; /* inserts before it were not told apart by these */
	}
	for (uint32_t i = 0; i < r->n_columns; i++) {
		if (equal_of(step, t, r->columns[i], &value) == NULL)
			continue;
		h = (h ^ value) * UINT64_C(0xff51afd7ed558ccd);
		h ^= h >> 29;
		changed |= sets_column(step->effect, t, r->columns[i]);
		if (t->mode == TOUCH_CHANGE)
			r->columns[common] = r->columns[i];
		common++;
	}
	*hash = h;
	if (t->mode == TOUCH_READ)
		return ROWS_ANY;
	if (t->mode == TOUCH_INSERT)
		return common == r->n_columns && common > 0 ? ROWS_KEYED : ROWS_NEW;
	if (common == r->n_columns)
		return common == 0 || changed ? ROWS_ANY : ROWS_KEYED;
	if (common > 0)
		r->n_columns = common;
	return ROWS_ANY;
}

static void wait_for_all(struct order *o, const uint64_t *nodes, size_t n, uint64_t node)
{
	for (size_t i = 0; i < n; i++)
		add_edge(o, nodes[i] + 1, node, false);
}

static void touch_whole(struct order *o, struct relation_state *r, uint64_t node)
{
	add_edge(o, r->whole, node, false);
	wait_for_all(o, r->since.at, r->since.n, node);
	wait_for_all(o, r->readers.at, r->readers.n, node);
	r->since.n = r->readers.n = 0;
	r->whole = node + 1;
}

/* How many of them have not ended; these come first. */
static size_t keep_open(struct order *o, uint64_t *nodes, size_t n)
{
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		if (progress_of(o, nodes[i]) != ENDED)
			nodes[kept++] = nodes[i];
	return kept;
}

static void note_look(struct relation_state *r, const struct order_step *step, const struct effect_touch *t, uint64_t node)
{
	if (t->mode == TOUCH_READ || t->never_waits)
		r->looked = node + 1;
	else
		r->looks[r->n_looks++ % LOOKS] = (struct look){node + 1, step->end_ns};
}

/* What it wrote was not there yet for those who had looked before. One that may have waited for this very end is told behind it only where
 * the log's clock says so. All who look wait for those before them. */
static void wait_for_looks(struct order *o, const struct relation_state *r, const struct order_step *step, uint64_t node)
{
	uint64_t last = 0;
	for (unsigned i = 0; i < LOOKS; i++)
		if (r->looks[i].node > last && r->looks[i].end_ns + LOG_UNIT_NS <= step->arrival_ns)
			last = r->looks[i].node;
	add_edge(o, last, node, false);
	add_edge(o, r->looked, node, false);
}

static void touch(struct order *o, const struct order_step *step, const struct effect_touch *t, uint64_t node)
{
	struct relation_state *r = relation_of(o, t->relation);
	uint32_t number = t->relation;
	const struct play_relation *known = play_schema_relation(o->schema, &number);
	uint64_t hash;
	enum extent extent = find_extent(r, step, t, &hash);
	/* Those who read what nobody writes do not wait for each other. */
	if (t->mode == TOUCH_READ && r->whole == 0 && r->since.n == 0) {
		if (r->readers.n == r->readers.cap)
			r->readers.n = keep_open(o, r->readers.at, r->readers.n);
		VEC_PUSH(&r->readers, node);
		return;
	}
	if (extent == ROWS_ANY || r->readers.n > 0) {
		touch_whole(o, r, node);
		note_look(r, step, t, node);
		return;
	}
	add_edge(o, r->whole, node, false);
	/* Two new rows collide only by a key; two that get theirs from a sequence get it in their order. */
	if (extent == ROWS_KEYED)
		touch_key(o, hash, node);
	if (t->generates || (extent == ROWS_NEW && (known->unique || known->generated != 0)))
		touch_key(o, (uint64_t)t->relation * UINT64_C(0xc4ceb9fe1a85ec53), node);
	if (r->since.n == r->since.cap)
		r->since.n = keep_open(o, r->since.at, r->since.n);
	VEC_PUSH(&r->since, node);
}

/* ---- planning ---- */

static void note_written(struct lane *l, uint32_t relation)
{
	for (uint32_t i = 0; i < l->n_relations; i++)
		if (l->relations[i] == relation)
			return;
	if (l->n_relations < RELATIONS_WRITTEN)
		l->relations[l->n_relations++] = relation;
	else
		l->wrote_much = true;
}

static void plan_touches(struct order *o, struct lane *l, const struct order_step *step, uint64_t node)
{
	const struct effect *e = step->effect;
	add_edge(o, o->global, node, false);
	if (e->global) {
		for (uint64_t i = o->global > o->tail ? o->global - 1 : o->tail; i < node; i++)
			add_edge(o, i + 1, node, false);
		o->global = node + 1;
		l->wrote_much = true;
	}
	for (uint32_t i = 0; i < e->n_touches; i++) {
		touch(o, step, &e->touches[i], node);
		if (e->touches[i].mode != TOUCH_READ)
			note_written(l, e->touches[i].relation);
	}
	l->wrote = true;
}

/* With ORDER_RELATION: a transaction that wrote what cannot be told stands in line everywhere. */
static void plan_end(struct order *o, struct lane *l, const struct order_step *step, uint64_t node)
{
	for (uint32_t i = 0; i < l->n_relations; i++)
		wait_for_looks(o, relation_of(o, l->relations[i]), step, node);
	if (o->mode == ORDER_COMMIT) {
		add_end(o, &o->ends, step, node);
	} else if (l->wrote_much) {
		for (uint32_t i = 0; i < o->relations.n; i++)
			if (o->relations.at[i] != NULL)
				add_end(o, &o->relations.at[i]->ends, step, node);
	} else {
		for (uint32_t i = 0; i < l->n_relations; i++)
			add_end(o, &relation_of(o, l->relations[i])->ends, step, node);
	}
}

static void plan_visible(struct order *o, const struct order_step *step, uint64_t node)
{
	int64_t until_ns = step->arrival_ns + LOG_UNIT_NS;
	if (o->mode == ORDER_COMMIT)
		(void)wait_for_ends(o, &o->ends, until_ns, node);
	for (uint32_t i = 0; o->mode == ORDER_RELATION && i < step->effect->n_touches; i++)
		(void)wait_for_ends(o, &relation_of(o, step->effect->touches[i].relation)->ends, until_ns, node);
}

static void plan(struct order *o, const struct order_step *step)
{
	struct lane *l = lane_of(o, step->session);
	const struct effect *e = step->effect;
	uint64_t number = o->head++;
	struct node *n = node_at(o, number);
	n->session = step->session;
	n->waits = 0;
	n->asked = false;
	n->progress = PLANNED;
	o->end_ns[number & MASK] = step->end_ns;
	bool early = l->planned < l->sent;
	if (!early) {
		if (l->first > 64 && l->first * 2 > l->nodes.n) {
			memmove(l->nodes.at, l->nodes.at + l->first, (l->nodes.n - l->first) * sizeof *l->nodes.at);
			l->nodes.n -= l->first;
			l->first = 0;
		}
		VEC_PUSH(&l->nodes, number);
	}
	l->planned++;
	if (!e->ends || e->begins)
		plan_visible(o, step, number);
	if (e->writes)
		plan_touches(o, l, step, number);
	l->in_transaction = e->begins ? !e->ends : l->in_transaction && !e->ends;
	if (!l->in_transaction || e->ends) {
		if (l->wrote)
			plan_end(o, l, step, number);
		l->wrote = l->wrote_much = false;
		l->n_relations = 0;
	}
	if (!early) {
		n->asked = l->asked;
		l->asked = false;
		if (n->asked && n->waits == 0) {
			n->asked = false;
			VEC_PUSH(&o->ready, n->session);
		}
		return;
	}
	/* It took so long that it was sent before its turn came to be planned. */
	n->waits = 0;
	if (l->is_running && l->planned == l->sent) {
		l->is_running = false;
		l->running = number + 1;
		mark_sent(o, number);
	} else {
		mark_ended(o, number);
	}
}

/* A few at a time: nothing else happens meanwhile. */
static void refill(struct order *o, int n)
{
	struct order_step step;
	for (; n > 0 && !o->exhausted && o->head - o->tail < ORDER_WINDOW; n--) {
		if (o->next(&step, o->arg))
			plan(o, &step);
		else
			o->exhausted = true;
	}
}

/* ---- what the player tells ---- */

static bool is_planned(const struct lane *l)
{
	return l->first < l->nodes.n;
}

bool order_may_send(struct order *o, uint32_t session, int64_t arrival_ns)
{
	struct lane *l = lane_of(o, session);
	while (!is_planned(l) && !o->exhausted && o->head - o->tail < ORDER_WINDOW)
		refill(o, REFILL);
	if (!is_planned(l)) {
		/* It ends behind all that is planned. What ended before it arrived has ended here too, or it waits. */
		bool may = o->tail == o->head || arrival_ns <= o->end_ns[o->tail & MASK] || l->released;
		if (may) {
			l->sent++;
			l->is_running = true;
		}
		l->asked = !may;
		l->released = false;
		return may;
	}
	uint64_t number = l->nodes.at[l->first];
	struct node *n = node_at(o, number);
	if (n->waits > 0) {
		n->asked = true;
		return false;
	}
	l->first++;
	l->sent++;
	l->running = number + 1;
	mark_sent(o, number);
	return true;
}

void order_ended(struct order *o, uint32_t session)
{
	struct lane *l = lane_of(o, session);
	if (l->running != 0)
		mark_ended(o, l->running - 1);
	l->running = 0;
	l->is_running = false;
	refill(o, REFILL);
}

void order_skip(struct order *o, uint32_t session)
{
	struct lane *l = lane_of(o, session);
	l->sent++;
	l->asked = false;
	if (is_planned(l))
		mark_ended(o, l->nodes.at[l->first++]);
}

bool order_release(struct order *o, uint32_t session)
{
	struct lane *l = lane_of(o, session);
	if (!is_planned(l))
		return l->released = l->asked;
	struct node *n = node_at(o, l->nodes.at[l->first]);
	bool waited = n->waits > 0;
	n->waits = 0;
	n->asked = false;
	return waited;
}

uint64_t order_progress(const struct order *o)
{
	return o->tail;
}

bool order_is_oldest(const struct order *o, uint32_t session)
{
	const struct node *n = &o->nodes[o->tail & MASK];
	return o->tail < o->head && n->session == session && n->progress == SENT;
}

bool order_take_ready(struct order *o, uint32_t *session)
{
	if (o->ready.n == 0)
		return false;
	*session = o->ready.at[--o->ready.n];
	return true;
}
