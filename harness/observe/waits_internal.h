/* What waits.c and wait_chain.c share: a wait under observation, and the graph of who waits for whom. */
#ifndef PGR_OBSERVE_WAITS_INTERNAL_H
#define PGR_OBSERVE_WAITS_INTERNAL_H

#include "base/vec.h"
#include "observe/waits.h"

#define WAIT_BUCKETS 1024
#define WAIT_STATEMENTS 256 /* migration statements remembered */
#define WAIT_HOLDS_MAX \
	256 /* locks remembered of one; of a transaction that takes more, the later ones are blamed on its latest statement */

struct statement {
	int64_t id;
	int pid;
	int64_t start_ns, end_ns;
	VEC(struct wait_hold) holds; /* what its transaction had locked by its end; not known of ours outside of transactions */
};

/* Who stood in the way, as one or more dear looks in a row showed it. */
struct view {
	struct wait_blocker *blockers;
	int blockers_n;
	struct wait_blocker root;
	/* The same sessions by the latest look, if that is not the first: it takes the place of the above when another one follows. The last
	 * look at a wait may catch them as they leave, with a COMMIT. */
	struct wait_blocker *newest;
	struct wait_blocker newest_root;
	int chain[WAIT_CHAIN_MAX];
	int chain_n;
	int64_t blamed;
	uint64_t signature; /* 0: no view yet */
	int64_t since_ns, until_ns;
};

struct wait {
	struct wait *next; /* in the bucket of its pid, newest first */
	struct wait_session session;
	enum wait_role role;
	char version[32];
	struct wait_lock lock;

	int64_t start_us;      /* or WAIT_NONE */
	int64_t start_ns;      /* the server's start, or else the last time at which it was not waiting yet */
	int64_t start_last_ns; /* the latest that it can have started */

	int64_t seen_from_ns;
	int64_t gone_ns; /* or WAIT_NONE */
	bool gone;       /* over by what the server showed; gone_ns is set. There is at most one wait of a session that is not */
	bool superseded; /* the same session was found in another wait after this */
	enum wait_end gone_as;

	bool noted;
	struct wait_note note;
	bool nameless; /* its completion will not come: it took less than what is reported */

	int64_t query_start_us; /* of the glance that led to it */
	uint64_t event;
	bool next_statement;    /* the session was last seen waiting in another statement */
	bool waking;            /* by the last look it waits no more, but goes on with the same statement: see look_at_session */
	bool doubtful;          /* the next look may show another wait of the same session: look dearly */
	uint64_t round;         /* in which a look last mentioned it */
	int64_t detail_from_ns; /* when the last dear look that showed it was sent, */
	int64_t detail_ns;      /* and when the last one that was asked for it came back */

	struct wait_blocker *direct; /* as the last dear look had them: the edges of the graph */
	int direct_n;
	struct view current, best;
};

struct candidate {
	int pid;
	int64_t query_start_us;
	uint64_t event;
	bool row;
};

struct waits {
	struct waits_config config;
	struct wait *all[WAITS_MAX];
	int n;
	struct wait *bucket[WAIT_BUCKETS];

	uint64_t round;
	int64_t look_from_ns; /* of the last look, WAIT_NONE before the first */
	int64_t look_to_ns;
	int64_t look_before_ns; /* from of the look before it */
	VEC(struct candidate) candidates;

	struct wait_note notes[WAIT_NOTES_MAX];
	int notes_n;
	struct statement statements[WAIT_STATEMENTS];
	uint64_t statements_n; /* ever; the slot is the number modulo WAIT_STATEMENTS */

	struct waits_state state;
};

/* The wait of a session that is not over yet, or NULL. */
struct wait *waits_find_open(const struct waits *w, int pid);

/* The id of the latest statement of a migration session that had begun by at_ns, or 0. */
int64_t waits_find_statement(const struct waits *w, int pid, int64_t at_ns);

/* NULL for none; the caller frees it. */
struct wait_blocker *wait_copy_blockers(const struct wait_blocker *from, int n);

/* Is it a lock that a session asks for to wait for whoever has locked a row? */
bool wait_is_for_row(const struct wait_lock *wanted);

/* Works out who stands in the way of a wait whose direct blockers have just been read, with the whole graph up to date. */
void wait_update_view(const struct waits *w, struct wait *it, int64_t from_ns, int64_t to_ns);

void wait_free_view(struct view *view);

/* Of two views of one wait, does a tell more? */
bool wait_view_is_better(const struct view *a, const struct view *b);

#endif
