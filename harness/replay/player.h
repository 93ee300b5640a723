/* Replays a trace against a target: a session for each captured one, its statements in their order, each when it arrived (open loop), so long
 * after the one before as its client took, or at once. Sessions may be kept in order (replay/play_order.h says what that means). No error,
 * no lost connection and no wait for another session ends or hangs it. */
#ifndef PGR_REPLAY_PLAYER_H
#define PGR_REPLAY_PLAYER_H

#include "base/error.h"
#include "replay/capture.h"
#include "replay/play_order.h"

#include <signal.h>
#include <stdint.h>

struct guard_policy;
struct hist;
struct play_record;

#define PLAYER_DIVERGENCES_MAX 32

enum player_pacing {
	PACING_ARRIVAL, /* a statement is due when it arrived, whatever became of those before */
	PACING_THINK,   /* ... so long after the end of the one before as it arrived after that end; the first when it arrived */
	PACING_ASAP,    /* at once */
};

struct player_config {
	const char *trace, *dsn; /* user and database of the dsn win over the captured ones */
	bool captured_databases; /* the dsn may name no database: the guard has let each of the trace's pass (player_check_target) */
	enum player_pacing pacing;
	double speed; /* 2: twice as fast, waits half as long; not with PACING_ASAP */
	enum order_mode order;
	int64_t order_wait_ns;        /* so long a statement waits for other sessions, at most */
	bool record_values;           /* what is told of statements that ended otherwise may hold values; see replay/play_message.h */
	bool keep_keys;               /* generated keys stay as captured, instead of becoming those that the target generates */
	struct capture_filter filter; /* read_only: others are refused and counted, and no session can write */
	int64_t drain_ns;             /* statements under way at the end are waited for so long */
	const volatile sig_atomic_t *stop;
	void (*progress)(int64_t done, int64_t total, void *arg); /* events; or NULL */
	void *arg;

	/* Of a replay that is recorded; all may be NULL. */
	struct play_record *record;
	const volatile sig_atomic_t *end; /* when not 0, nothing more is sent, and what is under way ends */
	void (*slow)(int pid, int64_t sent_ns, int64_t done_ns, const char *sqlstate, uint32_t class, void *record_arg); /* over 1 ms */
	void (*beat)(void *record_arg); /* a few times a second, on the player's thread */
	void *record_arg;
};

/* Statements that ended otherwise than when they were captured. Pairs of SQLSTATEs; "00000" is success. */
struct player_divergence {
	char captured[6], replayed[6];
	int64_t count;
	int64_t line;  /* of the log, where the captured one failed; else 0 */
	char sql[160]; /* the first one; its shape, but for record_values */
	char message[160];
};

/* planned = sent + skipped + refused_writes + not_sent; sent = same + diverged + refused_there + unfinished. */
struct player_result {
	int64_t planned; /* statements of the trace that match */
	int64_t sent, same, diverged, unfinished;
	int64_t skipped;        /* fetches from portals (the execute has read all rows already); DEALLOCATE by names that are others here */
	int64_t refused_writes; /* with filter.read_only, by what they say */
	int64_t refused_there;  /* the same by the server: writes of functions, and what follows in their transactions */
	int64_t not_sent;       /* their session could not be opened, or the end came before */
	int64_t sessions, peak_sessions, refused, reconnects;
	int64_t keys_renamed;                       /* values that were sent as another one; see replay/play_keys.h */
	int64_t captured_busy_ns, replayed_busy_ns; /* of statements whose captured duration is known */
	int64_t took_ns;
	struct hist *late;      /* first byte sent less due, of statements whose session was idle when they fell due: the generator's */
	struct hist *busy;      /* the same where the session was still busy or connecting: the server's */
	struct hist *ordered;   /* how long statements waited for other sessions, of those that did */
	int64_t order_released; /* that waited too long, and were sent all the same: ordering violations */
	int64_t order_skipped;  /* besides: those that waited for who had, or had got otherwise, rows taken with SKIP LOCKED */
	int64_t rows_taken, rows_otherwise; /* with SKIP LOCKED; in the place of another one that another session has here */
	struct player_divergence divergences[PLAYER_DIVERGENCES_MAX];
	size_t n_divergences;
};

/* ST_USAGE: the dsn is no connection string, or names no database while captured_databases does not hold: sessions would go where the guard has
 * not looked. The dsn alone is looked at. */
enum status player_check_dsn(const struct player_config *config, struct error *err) MUST_CHECK;

/* Asks the guard (clone/guard.h) about where the dsn leads and, when it names no database, about each database that a session of the trace's would
 * be opened in; captured_databases holds when it lets all of them pass. Nothing but the guard's questions is sent. ST_REFUSED, and else as
 * guard_check_target(). ST_USAGE also for a trace that cannot be read, or does not know the database of a session. */
enum status player_check_target(const struct player_config *config, const struct guard_policy *policy, struct error *err) MUST_CHECK;

/* Blocks. The guard is the caller's: player_check_target, or guard_check_target for a dsn that names its database. ST_INTERRUPTED: *out holds what was done. player_result_free afterwards, always. */
enum status player_perform(const struct player_config *config, struct player_result *out, struct error *err) MUST_CHECK;
void player_result_free(struct player_result *r);

/* How many sessions a replay has open at a time, at least: of the trace's, as its log tells when they were opened and closed (a slower replay has
 * more where clients came and went). Reads the trace. ST_USAGE. */
enum status player_count_sessions(const struct player_config *config, int64_t *most, struct error *err) MUST_CHECK;

#endif
