/* A heap of users by the end of their think time, and a ring of requests for each side and app version. */
#include "load/waiting.h"

#include "base/vec.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* at[(first + i) % size], i < n; size is 0 or a power of two. */
struct ring {
	struct request *at;
	size_t first, n, size;
};

struct waiting {
	VEC(struct request) thinking; /* heap: children of i are 2i + 1 and 2i + 2 */

	/* Only the lock's holder changes the count. Without the lock it is looked at first, sequentially consistent: see claim.c. */
	pthread_mutex_t lock;
	struct ring rings[WAITING_SIDES][LOAD_VERSIONS_MAX];
	_Atomic uint64_t count; /* in all rings */
};

struct waiting *waiting_create(void)
{
	struct waiting *w = calloc(1, sizeof *w);
	if (w != NULL)
		pthread_mutex_init(&w->lock, NULL);
	return w;
}

void waiting_free(struct waiting *w)
{
	if (w == NULL)
		return;
	for (int s = 0; s < WAITING_SIDES; s++)
		for (int v = 0; v < LOAD_VERSIONS_MAX; v++)
			free(w->rings[s][v].at);
	VEC_FREE(&w->thinking);
	pthread_mutex_destroy(&w->lock);
	free(w);
}

/* ---- the heap ---- */

static bool before(const struct request *a, const struct request *b)
{
	return a->arrival.due_ns < b->arrival.due_ns || (a->arrival.due_ns == b->arrival.due_ns && a->user < b->user);
}

void waiting_think(struct waiting *w, const struct request *r)
{
	VEC_PUSH(&w->thinking, *r);
	struct request *at = w->thinking.at;
	size_t i = w->thinking.n - 1;
	while (i > 0 && before(r, &at[(i - 1) / 2])) {
		at[i] = at[(i - 1) / 2];
		i = (i - 1) / 2;
	}
	at[i] = *r;
}

int64_t waiting_thinks_until(const struct waiting *w)
{
	return w->thinking.n > 0 ? w->thinking.at[0].arrival.due_ns : PLAN_NEVER;
}

bool waiting_take_thinker(struct waiting *w, int64_t now_ns, struct request *out)
{
	if (w->thinking.n == 0 || w->thinking.at[0].arrival.due_ns > now_ns)
		return false;
	struct request *at = w->thinking.at;
	*out = at[0];
	size_t n = --w->thinking.n, i = 0;
	struct request moved = at[n];
	for (size_t child; (child = 2 * i + 1) < n; i = child) {
		if (child + 1 < n && before(&at[child + 1], &at[child]))
			child++;
		if (!before(&at[child], &moved))
			break;
		at[i] = at[child];
	}
	at[i] = moved;
	return true;
}

/* ---- the rings ---- */

static const struct request *head(const struct ring *r)
{
	return r->n > 0 ? &r->at[r->first] : NULL;
}

static void grow(struct ring *r)
{
	size_t size = r->size > 0 ? 2 * r->size : 64;
	struct request *at = malloc(size * sizeof *at);
	if (at == NULL)
		abort();
	for (size_t i = 0; i < r->n; i++)
		at[i] = r->at[(r->first + i) & (r->size - 1)];
	free(r->at);
	*r = (struct ring){.at = at, .n = r->n, .size = size};
}

static void take(struct waiting *w, struct ring *r, struct request *out)
{
	*out = r->at[r->first];
	r->first = (r->first + 1) & (r->size - 1);
	r->n--;
	w->count--;
}

void waiting_push(struct waiting *w, enum waiting_side side, const struct request *r)
{
	pthread_mutex_lock(&w->lock);
	struct ring *ring = &w->rings[side][r->version];
	if (ring->n == ring->size)
		grow(ring);
	ring->at[(ring->first + ring->n++) & (ring->size - 1)] = *r;
	w->count++;
	pthread_mutex_unlock(&w->lock);
}

uint64_t waiting_count(const struct waiting *w)
{
	return w->count;
}

static struct ring *oldest(struct waiting *w)
{
	struct ring *found = NULL;
	for (int s = 0; s < WAITING_SIDES; s++) {
		for (int v = 0; v < LOAD_VERSIONS_MAX; v++) {
			struct ring *r = &w->rings[s][v];
			if (r->n > 0 && (found == NULL || before(head(r), head(found))))
				found = r;
		}
	}
	return found;
}

int64_t waiting_oldest_due(struct waiting *w)
{
	if (w->count == 0)
		return PLAN_NEVER;
	pthread_mutex_lock(&w->lock);
	const struct ring *r = oldest(w);
	int64_t due_ns = r != NULL ? head(r)->arrival.due_ns : PLAN_NEVER;
	pthread_mutex_unlock(&w->lock);
	return due_ns;
}

bool waiting_take_oldest(struct waiting *w, struct request *out)
{
	if (w->count == 0)
		return false;
	pthread_mutex_lock(&w->lock);
	struct ring *r = oldest(w);
	if (r != NULL)
		take(w, r, out);
	pthread_mutex_unlock(&w->lock);
	return r != NULL;
}

/* The ring whose first request has waited, or will have, as long as its version lets it before those of the others; NULL: none will. */
static struct ring *least_patient(struct waiting *w, const int64_t limits[LOAD_VERSIONS_MAX], int64_t *at_ns)
{
	struct ring *found = NULL;
	*at_ns = PLAN_NEVER;
	for (int s = 0; s < WAITING_SIDES; s++) {
		for (int v = 0; v < LOAD_VERSIONS_MAX; v++) {
			struct ring *r = &w->rings[s][v];
			if (limits[v] == 0 || r->n == 0 || head(r)->arrival.due_ns + limits[v] >= *at_ns)
				continue;
			found = r;
			*at_ns = head(r)->arrival.due_ns + limits[v];
		}
	}
	return found;
}

bool waiting_take_overdue(struct waiting *w, int64_t now_ns, const int64_t limits[LOAD_VERSIONS_MAX], struct request *out)
{
	if (w->count == 0)
		return false;
	int64_t at_ns;
	pthread_mutex_lock(&w->lock);
	struct ring *r = least_patient(w, limits, &at_ns);
	bool overdue = r != NULL && at_ns <= now_ns;
	if (overdue)
		take(w, r, out);
	pthread_mutex_unlock(&w->lock);
	return overdue;
}

int64_t waiting_overdue_at(struct waiting *w, const int64_t limits[LOAD_VERSIONS_MAX])
{
	if (w->count == 0)
		return PLAN_NEVER;
	int64_t at_ns;
	pthread_mutex_lock(&w->lock);
	least_patient(w, limits, &at_ns);
	pthread_mutex_unlock(&w->lock);
	return at_ns;
}
