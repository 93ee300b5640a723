/* When could a table not have been read or written? A session tries, every few milliseconds, for the locks that statements of the
 * application begin with, and gives them back at once. It never waits: what it is refused, they would have had to wait for. */
#ifndef PGR_OBSERVE_AVAILABILITY_H
#define PGR_OBSERVE_AVAILABILITY_H

#include "base/buf.h"
#include "observe/clockmap.h"
#include "observe/link.h"
#include "observe/pace.h"
#include "observe/waits.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define AVAILABILITY_TABLES_MAX 16

/* ACCESS SHARE: SELECT. ROW SHARE: SELECT FOR UPDATE, and the check of a foreign key. ROW EXCLUSIVE: INSERT, UPDATE, DELETE. What refuses
 * one of them refuses those after it too. */
enum access { ACCESS_READS, ACCESS_ROW_LOCKS, ACCESS_WRITES, ACCESSES };

struct attempt {
	int64_t sent_ns, done_ns; /* 0: there was none */
};

/* One access to one table. While it is blocked: from first on, until last at least. */
struct gate {
	bool denied; /* the role lacks the privilege */
	bool blocked;
	struct attempt passed; /* the latest that succeeded */
	struct attempt first, last;
	int64_t roused_ns; /* of the probes, when it began */
	int64_t blamed;
	json_t *holders; /* as they were found soon after it began; NULL: not found yet */
	int looks;
};

struct target {
	char relation[136];
	char *quoted;
	bool missing;
	bool together;    /* with others in one attempt, in this round */
	bool again;       /* the attempt at it did not come to all modes */
	int64_t again_ns; /* when a missing one is looked for again */
	struct gate gates[ACCESSES];
};

struct availability {
	/* Set by the owner, with dsn, warn and statements of link. */
	struct link link;
	struct waits *waits;
	const struct clockmap *map;
	void (*refresh)(void *arg);              /* hands over to waits what has been noted of the migration's statements and locks */
	void (*emit)(json_t *window, void *arg); /* takes the reference */
	void *arg;
	int64_t origin_ns; /* times in windows count from here */
	const struct pace *pace;

	/* Its own. */
	struct target targets[AVAILABILITY_TABLES_MAX];
	int n;
	struct loop_timer tick;
	int batch[1 + AVAILABILITY_TABLES_MAX]; /* attempts under way: one on all tables that are together, or one on a target */
	int batch_n, answered;
	int64_t batch_sent_ns;
	bool refused; /* those that are together were refused, all or one of them */
	bool in_round;
	int64_t due_ns;
	int64_t roused_ns; /* when the first statement of the migration began, after none had been for a while; 0: never */
	struct buf sql;
	char names[AVAILABILITY_TABLES_MAX * 300];
	const char *values[1];

	/* For the record. */
	int64_t rounds, missed, windows;
	int64_t held_ns; /* longest that its locks can have been held, all told: from the sending of each round to its last answer */
	int64_t delayed, delayed_ns;
};

void availability_start(struct availability *a, struct loop *loop);
void availability_stop(struct availability *a); /* windows still open are written as unfinished */

/* A further table, by its name as in waits.jsonl and as SQL has it. One that is there already, or finds no room, is left out. */
void availability_add(struct availability *a, const char *relation, const char *quoted);

/* A statement or command of the migration begins at (is about to be sent), and none had been under way for a while: an attempt is made at
 * once. */
void availability_rouse(struct availability *a, int64_t at_ns);

/* A session waited behind one of ours. */
void availability_note_delay(struct availability *a, int64_t length_ns);

/* The field `availability` of run.json; a new reference. */
json_t *availability_json(const struct availability *a);

#endif
