/* Of each domain (columns that hold the same keys): pairs that are known, keys got but not yet met in the trace, and their distance. */
#define _GNU_SOURCE
#include "replay/play_keys.h"

#include "base/json.h"
#include "base/vec.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAIRS_MAX ((size_t)1 << 20) /* of a generation; there are two, the older one goes as a whole */
#define PENDING_MAX 256             /* of a session: got, not yet met */
#define NEAR 100                    /* keys of one moment are no further apart: sessions at a time, and a sequence's cache */
#define SWAPPED 32
#define TRUST_MAX 16
#define TAKEN_MAX 256 /* of a session, at a time */
#define TRUSTED 3

struct pair {
	uint64_t hash; /* of domain and captured key; 0: free */
	char replayed[PLAY_KEY_TEXT];
};

struct pairs {
	struct pair *at;
	size_t size, n;
};

struct pending {
	uint32_t domain;
	bool number;
	uint64_t transaction, statement; /* of its session, by which it was got */
	int64_t value;
	char text[PLAY_KEY_TEXT];
};

/* A row that the session took when it last did so. */
struct taken {
	uint32_t domain;
	char captured[PLAY_KEY_TEXT]; /* what it is called in the capture; "": that is not known yet */
	char replayed[PLAY_KEY_TEXT];
};

struct session_keys {
	VEC(struct taken) taken;
	VEC(struct pending) pending;     /* oldest first */
	uint64_t transaction, statement; /* how many it has begun */
	bool open;
	uint32_t last; /* domain of its last insert, for lastval() */
};

struct domain {
	bool known, told;  /* a key was generated; its distance is known */
	int64_t low, high; /* keys generated so far */
	int64_t distance;  /* replayed less captured */
	int trust;         /* how many agreed with that lately */
	int64_t other;     /* a distance that was seen instead, once */
	bool has_other;
	int64_t greatest; /* of the capture's keys, until one may have been generated */
	bool scaled;      /* greater ones than above are copies' */
	int64_t above;
};

struct play_keys {
	struct play_schema *schema;
	struct pairs young, old;
	VEC(struct session_keys) sessions;
	VEC(struct domain) domains;
	struct play_taken taken;
	VEC(const struct effect_key *) of_taken; /* places of statements that have had the key of a row that their session had taken */
};

struct play_keys *play_keys_create(struct play_schema *schema)
{
	struct play_keys *k = calloc(1, sizeof *k);
	if (k == NULL)
		abort();
	k->schema = schema;
	return k;
}

void play_keys_free(struct play_keys *k)
{
	if (k == NULL)
		return;
	for (size_t i = 0; i < k->sessions.n; i++) {
		VEC_FREE(&k->sessions.at[i].pending);
		VEC_FREE(&k->sessions.at[i].taken);
	}
	VEC_FREE(&k->of_taken);
	VEC_FREE(&k->sessions);
	VEC_FREE(&k->domains);
	free(k->young.at);
	free(k->old.at);
	free(k);
}

static struct domain *domain_of(struct play_keys *k, uint32_t domain)
{
	while (k->domains.n <= domain)
		VEC_PUSH(&k->domains, (struct domain){0});
	return &k->domains.at[domain];
}

void play_keys_read_scaled(struct play_keys *k, const json_t *meta)
{
	const json_t *of;
	size_t i;
	json_array_foreach(json_object_get(meta, "scaled_keys"), i, of)
	{
		const char *table = json_get_string(of, "table", ""), *dot = strchr(table, '.');
		uint32_t relation = play_schema_name(k->schema, dot != NULL ? dot + 1 : table);
		uint32_t column = play_schema_name(k->schema, json_get_string(of, "column", ""));
		uint32_t domain = play_schema_domain(k->schema, relation, column);
		if (domain == 0)
			continue;
		struct domain *d = domain_of(k, domain);
		int64_t above = json_get_int(of, "above", 0);
		d->above = d->scaled && d->above > above ? d->above : above;
		d->scaled = true;
	}
}

static struct session_keys *session_of(struct play_keys *k, uint32_t session)
{
	while (k->sessions.n <= session)
		VEC_PUSH(&k->sessions, (struct session_keys){0});
	return &k->sessions.at[session];
}

/* ---- known pairs ---- */

static uint64_t hash_of(uint32_t domain, const char *text)
{
	uint64_t h = domain * UINT64_C(0x9e3779b97f4a7c15);
	for (; *text != '\0'; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	h ^= h >> 32;
	return h != 0 ? h : 1;
}

static struct pair *find_pair(const struct pairs *p, uint64_t hash)
{
	size_t i = (size_t)(hash * UINT64_C(0xff51afd7ed558ccd) >> 20) & (p->size - 1);
	while (p->at[i].hash != 0 && p->at[i].hash != hash)
		i = (i + 1) & (p->size - 1);
	return &p->at[i];
}

static const char *replayed_of(const struct play_keys *k, uint64_t hash)
{
	const struct pairs *generations[] = {&k->young, &k->old};
	for (int i = 0; i < 2; i++) {
		const struct pair *pair = generations[i]->size > 0 ? find_pair(generations[i], hash) : NULL;
		if (pair != NULL && pair->hash == hash)
			return pair->replayed;
	}
	return NULL;
}

static void grow(struct pairs *p)
{
	struct pairs more = {.size = p->size > 0 ? p->size * 2 : 1024, .n = p->n};
	more.at = calloc(more.size, sizeof *more.at);
	if (more.at == NULL)
		abort();
	for (size_t i = 0; i < p->size; i++)
		if (p->at[i].hash != 0)
			*find_pair(&more, p->at[i].hash) = p->at[i];
	free(p->at);
	*p = more;
}

static void add_pair(struct play_keys *k, uint64_t hash, const char *replayed)
{
	if (k->young.n == PAIRS_MAX) {
		free(k->old.at);
		k->old = k->young;
		k->young = (struct pairs){0};
	}
	if (k->young.n * 2 >= k->young.size)
		grow(&k->young);
	struct pair *pair = find_pair(&k->young, hash);
	k->young.n += pair->hash == 0;
	pair->hash = hash;
	snprintf(pair->replayed, sizeof pair->replayed, "%s", replayed);
}

/* ---- distances ---- */

static int64_t apart(int64_t a, int64_t b)
{
	int64_t difference;
	if (__builtin_sub_overflow(a, b, &difference) || difference == INT64_MIN)
		return INT64_MAX;
	return difference < 0 ? -difference : difference;
}

/* A few that were swapped do not change it; a new one that comes twice does. */
static void note_distance(struct domain *d, int64_t distance)
{
	if (!d->told) {
		d->told = true;
		d->distance = distance;
		d->trust = distance == 0 ? TRUST_MAX : TRUSTED;
	} else if (distance == d->distance) {
		d->trust += d->trust < TRUST_MAX;
	} else if (--d->trust < 0) {
		d->distance = distance;
		d->trust = 1;
	}
}

static bool read_number(const char *text, int64_t *value)
{
	char *end;
	if (text[0] == '\0' || strlen(text) > 18)
		return false;
	*value = strtoll(text, &end, 10);
	return *end == '\0';
}

/* ---- renaming ---- */

static bool is_pending_elsewhere(const struct play_keys *k, const struct session_keys *own, uint32_t domain, int64_t value)
{
	for (size_t i = 0; i < k->sessions.n; i++) {
		const struct session_keys *s = &k->sessions.at[i];
		for (size_t n = 0; s != own && n < s->pending.n; n++)
			if (s->pending.at[n].domain == domain && s->pending.at[n].number && s->pending.at[n].value == value)
				return true;
	}
	return false;
}

/* How far keys of the capture are from those of the replay is told by a key that comes back: on a clone of the same state it is the very same.
 * Any other may be an old row's: only what is greater than all that was seen, and twice by the same distance, tells it. */
static bool tells_distance(struct domain *d, const struct pending *p, int64_t value, int64_t greatest)
{
	int64_t distance = p->value - value;
	if (value <= greatest)
		return false;
	bool again = d->has_other && apart(d->other, distance) <= NEAR;
	d->other = distance;
	d->has_other = !again;
	if (again && d->told) {
		d->distance = distance;
		d->trust = 1;
	}
	return again;
}

/* Which of the keys that the session got is this one? Those of the transaction under way are its own whatever their number says: sessions that
 * insert at the same time may get theirs in another order. A uuid says nothing: it counts only there, or at once. NULL: none. */
static struct pending *find_pending(struct play_keys *k, struct session_keys *s, uint32_t domain, const char *text)
{
	struct domain *d = domain_of(k, domain);
	int64_t value = 0, least = INT64_MAX, greatest = d->greatest;
	bool number = read_number(text, &value);
	struct pending *best = NULL, *newest = NULL;
	if (number && value > greatest && !d->told && !d->has_other)
		d->greatest = value;
	for (size_t i = 0; i < s->pending.n; i++) {
		struct pending *p = &s->pending.at[i];
		if (p->domain != domain || p->number != number)
			continue;
		if (!number && ((s->open && p->transaction == s->transaction) || p->statement + 1 == s->statement))
			return p;
		newest = p;
		int64_t off = number ? apart(p->value, value + d->distance) : INT64_MAX;
		if (off < least) {
			least = off;
			best = p;
		}
	}
	if (best == NULL || least == 0)
		return best;
	bool now = s->open && best->transaction == s->transaction;
	if (!d->told || (least > NEAR && d->trust < TRUSTED)) {
		bool own = s->open && newest->transaction == s->transaction && value > greatest;
		return tells_distance(d, newest, value, greatest) || (!d->told && own) ? newest : NULL;
	}
	/* The first ones that told it may have been swapped. */
	int64_t swapped = d->trust < TRUST_MAX ? SWAPPED : 0;
	if (least > NEAR || value + d->distance < d->low - swapped)
		return NULL;
	return now || !is_pending_elsewhere(k, s, domain, value + d->distance) ? best : NULL;
}

/* Of two that other sessions got: one whose session has gone on without it comes first, then the older one. */
static bool is_better(const struct session_keys *s, const struct pending *p, const struct session_keys *than_s, const struct pending *than)
{
	bool left = p->statement + 2 <= s->statement, than_left = than->statement + 2 <= than_s->statement;
	return left != than_left ? left : p->value < than->value;
}

/* A key of a scaled trace that somebody made: the first of those that the session got in its transaction, else the last that it got, else the
 * oldest that others have got and left. */
static struct pending *find_made(struct play_keys *k, struct session_keys *s, uint32_t domain, struct session_keys **of)
{
	struct pending *found = NULL;
	*of = s;
	for (size_t i = 0; i < s->pending.n; i++) {
		struct pending *p = &s->pending.at[i];
		if (p->domain != domain || !p->number)
			continue;
		if (s->open && p->transaction == s->transaction)
			return p;
		found = p;
	}
	bool own = found != NULL;
	for (size_t n = 0; !own && n < k->sessions.n; n++) {
		struct session_keys *other = &k->sessions.at[n];
		for (size_t i = 0; i < other->pending.n; i++) {
			struct pending *p = &other->pending.at[i];
			bool there = p->domain == domain && p->number && !(other->open && p->transaction == other->transaction);
			if (there && (found == NULL || is_better(other, p, *of, found))) {
				found = p;
				*of = other;
			}
		}
	}
	return found;
}

static void bind_pending(struct play_keys *k, struct session_keys *s, struct pending *p, uint64_t hash, const char *text)
{
	int64_t value;
	struct domain *d = domain_of(k, p->domain);
	if (p->number && !d->scaled && read_number(text, &value) && (d->told || p->value == value || !d->has_other))
		note_distance(d, p->value - value);
	add_pair(k, hash, p->text);
	size_t i = (size_t)(p - s->pending.at);
	memmove(p, p + 1, (s->pending.n - i - 1) * sizeof *p);
	s->pending.n--;
}

/* What the key is called here; NULL: the same. */
static const char *rename_key(struct play_keys *k, struct session_keys *s, uint32_t domain, const char *text, char *to)
{
	struct domain *d = domain_of(k, domain);
	uint64_t hash = hash_of(domain, text);
	const char *known = replayed_of(k, hash);
	int64_t value = 0;
	if (!d->known) {
		if (read_number(text, &value) && value > d->greatest)
			d->greatest = value;
		return NULL;
	}
	bool number = read_number(text, &value);
	if (d->scaled && number && value <= d->above)
		return NULL;
	struct session_keys *of = s;
	struct pending *p = known != NULL ? NULL : d->scaled && number ? find_made(k, s, domain, &of) : find_pending(k, s, domain, text);
	if (p != NULL) {
		snprintf(to, PLAY_KEY_TEXT, "%s", p->text);
		bind_pending(k, of, p, hash, text);
		return strcmp(to, text) != 0 ? to : NULL;
	}
	if (known != NULL) {
		snprintf(to, PLAY_KEY_TEXT, "%s", known);
		return strcmp(to, text) != 0 ? to : NULL;
	}
	/* Got by somebody who has not used it himself. */
	if (!d->told || d->distance == 0 || !number || value + d->distance < d->low || value + d->distance > d->high)
		return NULL;
	snprintf(to, PLAY_KEY_TEXT, "%" PRId64, value + d->distance);
	return to;
}

/* ---- rows that are taken ---- */

static bool has_taken(const struct session_keys *s, uint32_t domain, const char *replayed)
{
	for (size_t i = 0; i < s->taken.n; i++)
		if (s->taken.at[i].domain == domain && strcmp(s->taken.at[i].replayed, replayed) == 0)
			return true;
	return false;
}

static bool has_another_taken(const struct play_keys *k, const struct session_keys *own, uint32_t domain, const char *replayed)
{
	for (size_t i = 0; i < k->sessions.n; i++)
		if (&k->sessions.at[i] != own && has_taken(&k->sessions.at[i], domain, replayed))
			return true;
	return false;
}

/* Has this place of a statement had the key of a row that its session had taken? */
static bool means_taken(const struct play_keys *k, const struct effect_key *place)
{
	for (size_t i = 0; i < k->of_taken.n; i++)
		if (k->of_taken.at[i] == place)
			return true;
	return false;
}

/* text: as captured; as: what it is called here. The row that the session has taken in its place, or NULL: it is no such key, as far as is
 * known; one that another session has taken is. */
static const char *rename_taken(
	struct play_keys *k, struct session_keys *s, const struct effect_key *place, const char *text, const char *as)
{
	struct taken *first = NULL, *same = NULL;
	for (size_t i = 0; i < s->taken.n; i++) {
		struct taken *t = &s->taken.at[i];
		if (t->domain != place->domain)
			continue;
		if (strcmp(t->captured, text) == 0)
			return t->replayed;
		if (strcmp(t->replayed, as) == 0)
			same = t;
		if (first == NULL && t->captured[0] == '\0')
			first = t;
	}
	bool means = means_taken(k, place);
	if (same != NULL && !means)
		VEC_PUSH(&k->of_taken, place);
	if (same != NULL && same->captured[0] == '\0')
		first = same;
	else if (first == NULL || !(means || has_another_taken(k, s, place->domain, as)))
		return NULL;
	snprintf(first->captured, sizeof first->captured, "%s", text);
	k->taken.others += first != same;
	return first->replayed;
}

static void take_row(struct play_keys *k, struct session_keys *s, uint32_t domain, const char *text)
{
	struct taken t = {.domain = domain};
	if (s->taken.n == TAKEN_MAX || strlen(text) >= sizeof t.replayed)
		return;
	snprintf(t.replayed, sizeof t.replayed, "%s", text);
	VEC_PUSH(&s->taken, t);
	k->taken.rows++;
}

struct play_taken play_keys_taken(const struct play_keys *k)
{
	return k->taken;
}

/* ---- each statement ---- */

static uint32_t place_of(uint32_t slot, uint32_t n_params, uint32_t n_literals)
{
	if (slot < EFFECT_LITERAL)
		return slot < n_params ? slot : UINT32_MAX;
	return slot - EFFECT_LITERAL < n_literals ? n_params + slot - EFFECT_LITERAL : UINT32_MAX;
}

uint32_t play_keys_rename(struct play_keys *k, uint32_t session, const struct effect *e, const char **values, uint32_t n_params,
	uint32_t n_literals, char (*texts)[PLAY_KEY_TEXT])
{
	struct session_keys *s = session_of(k, session);
	uint32_t differ = 0;
	s->statement++;
	if (e->begins || !s->open)
		s->transaction++;
	s->open = e->begins ? !e->ends : s->open && !e->ends;
	for (uint32_t i = 0; i < e->n_keys; i++) {
		uint32_t place = place_of(e->keys[i].slot, n_params, n_literals);
		if (place == UINT32_MAX || values[place] == NULL || strlen(values[place]) >= PLAY_KEY_TEXT)
			continue;
		const char *renamed = rename_key(k, s, e->keys[i].domain, values[place], texts[i]);
		if (s->taken.n > 0 && e->writes) {
			const char *row = rename_taken(k, s, &e->keys[i], values[place], renamed != NULL ? renamed : values[place]);
			if (row != NULL && strcmp(row, values[place]) != 0) {
				snprintf(texts[i], PLAY_KEY_TEXT, "%s", row);
				renamed = texts[i];
			}
		}
		if (renamed != NULL) {
			values[place] = renamed;
			differ++;
		}
	}
	return differ;
}

/* ---- what was generated ---- */

static void add_pending(struct play_keys *k, struct session_keys *s, uint32_t domain, const char *text)
{
	struct pending p = {.domain = domain, .transaction = s->transaction, .statement = s->statement};
	struct domain *d = domain_of(k, domain);
	if (strlen(text) >= sizeof p.text)
		return;
	snprintf(p.text, sizeof p.text, "%s", text);
	p.number = read_number(text, &p.value);
	if (p.number) {
		d->low = !d->known || p.value < d->low ? p.value : d->low;
		d->high = !d->known || p.value > d->high ? p.value : d->high;
	}
	d->known = true;
	if (s->pending.n == PENDING_MAX) {
		memmove(s->pending.at, s->pending.at + 1, (PENDING_MAX - 1) * sizeof p);
		s->pending.n--;
	}
	VEC_PUSH(&s->pending, p);
}

/* 'public.orders_id_seq' or '"Orders_id_seq"': the domain of the column that gets its keys there. */
static uint32_t domain_of_sequence(struct play_keys *k, const char *name)
{
	char bare[128];
	const char *dot = strrchr(name, '.');
	snprintf(bare, sizeof bare, "%s", dot != NULL ? dot + 1 : name);
	size_t n = strlen(bare), quoted = bare[0] == '"';
	if (quoted && n > 1 && bare[n - 1] == '"')
		bare[n - 1] = '\0';
	return play_schema_domain_of_sequence(k->schema, bare + quoted);
}

void play_keys_take(struct play_keys *k, uint32_t session, const struct effect *e, const char *const *values, uint32_t n_params,
	uint32_t n_literals, const PGresult *result)
{
	struct session_keys *s = session_of(k, session);
	for (uint32_t i = 0; i < e->n_sources; i++) {
		const struct effect_source *source = &e->sources[i];
		uint32_t domain = source->domain;
		int column = source->returns != 0 ? PQfnumber(result, play_schema_text(k->schema, source->returns)) : 0;
		if (source->kind == SOURCE_TAKEN)
			s->taken.n = 0;
		else if (source->kind == SOURCE_INSERT)
			s->last = domain;
		else if (source->kind == SOURCE_LAST)
			domain = s->last;
		else {
			uint32_t place = place_of(source->slot, n_params, n_literals);
			domain = place != UINT32_MAX && values[place] != NULL ? domain_of_sequence(k, values[place]) : 0;
		}
		if (domain == 0 || (source->kind == SOURCE_INSERT && source->returns == 0) || column < 0 || column >= PQnfields(result))
			continue;
		for (int row = 0; row < PQntuples(result); row++)
			if (PQgetisnull(result, row, column))
				continue;
			else if (source->kind == SOURCE_TAKEN)
				take_row(k, s, domain, PQgetvalue(result, row, column));
			else
				add_pending(k, s, domain, PQgetvalue(result, row, column));
	}
}
