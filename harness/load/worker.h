/* A worker: one thread with its event loop, Lua state and share of every pod's sessions. Private to load/. */
#ifndef PGR_LOAD_WORKER_H
#define PGR_LOAD_WORKER_H

#include "base/rng.h"
#include "base/vec.h"
#include "load/engine.h"
#include "load/ledger.h"
#include "load/plan.h"
#include "load/random.h"
#include "load/replica.h"
#include "load/stats.h"
#include "load/waiting.h"
#include "load/workload.h"
#include "runtime/fiber.h"
#include "runtime/loop.h"
#include "runtime/session.h"

#include <pthread.h>
#include <stdatomic.h>

struct worker;

/* How long a request waits for a session of one app version. */
struct load_limit {
	bool is_patience; /* the user leaves; otherwise the application's pool gives an error */
};

/* What all workers of a load share. Constant while they run, but for what is _Atomic or under the lock. */
struct crew {
	bool ledger; /* transactions write into it */
	const struct load_config *config;
	struct plan *plan;          /* NULL: closed loop */
	uint64_t draw_seed;         /* closed loop: of plan_draw */
	_Atomic uint64_t next_draw; /* closed loop: relaxed, a number is all that it hands out */
	_Atomic(const double *)
		shares; /* of what the plan does not schedule; as in struct arrival; stored with release when the mix changes */
	bool has_users; /* a request may be followed by its user's next one */
	struct load_limit limits[LOAD_VERSIONS_MAX];
	int64_t limit_ns[LOAD_VERSIONS_MAX]; /* 0: for ever */
	int64_t limit_min_ns;                /* the least but 0; 0: all wait for ever */
	struct worker **workers;
	atomic_int leader;    /* number of the worker that wakes up for the next arrival; -1: nobody. See claim.c */
	atomic_int failures;  /* told so far, and one for each that was not any more */
	_Atomic bool *warned; /* [version * n_transactions + transaction]: its first Lua error has been told */

	pthread_mutex_t lock;   /* of the members below */
	pthread_cond_t changed; /* on CLOCK_MONOTONIC */
	int connected;          /* sessions that have been connected once */
	int drained;            /* workers that stop and have nothing in flight */
	bool refused;           /* no use waiting for the sessions to connect */
	char refusal[640];      /* why the latest attempt to connect failed; "" */
	char refusal_sqlstate[6];
};

/* A deploy of one pod. The load keeps them all to its end, since they are few. */
struct replacement {
	struct replacement *next;
	atomic_int left; /* sessions that do not serve yet */
	void (*done)(void *arg);
	void *arg;
};

enum client_state {
	CLIENT_AWAY, /* no connection: not yet begun, or waiting before the next attempt (the timer `retry`) */
	CLIENT_CONNECTING,
	CLIENT_IDLE,     /* in the worker's idle queue */
	CLIENT_BUSY,     /* a transaction is in flight: its fiber runs */
	CLIENT_CLEANING, /* the transaction has ended; the pipeline or block that it left open is ended */
	CLIENT_STOPPED,  /* for good; no session */
};

/* One session of a pod, and the transaction that it performs. */
struct client {
	struct worker *worker;
	int number; /* from 0, unique among all clients of the load */
	int pod;
	enum client_state state;
	int version;                     /* which the session serves */
	int wanted_version;              /* differs while a deploy waits for the transaction to end */
	int pid;                         /* of the latest backend of home: a lost connection no longer knows it */
	struct replacement *replacement; /* or NULL */
	struct client *prev, *next;      /* in the idle queue */
	int64_t idle_since_ns;

	struct session *session;    /* of the transaction in flight: home, or that of the replica */
	struct session *home;       /* on the primary */
	struct replica replica;     /* on the standby, if reads go there */
	int64_t timeout_ns;         /* statement_timeout that we set on this connection; 0: the server's own */
	struct loop_timer deadline; /* of the statement under way; armed while its transaction has a cancel_after */
	struct loop_timer retry;
	int64_t backoff_ns;

	struct fiber *fiber;
	int object_ref; /* Lua registry: what scripts call c */
	int random_ref; /* Lua registry: the userdata of random */
	struct random *random;

	struct ledger_book book;

	/* The transaction in flight. */
	int transaction;
	int attempt; /* from 0 */
	int64_t due_ns;
	uint64_t seed;
	struct loop_timer again;  /* armed: it failed and pauses before the next attempt */
	int64_t sent_ns;          /* first send of the first attempt; 0: none yet */
	int64_t paused_ns;        /* when its code first paused; 0: has not yet */
	const char *statement;    /* name of the latest; NULL: none yet */
	unsigned statement_index; /* as for stats_record_statement */
	bool awaited;             /* see struct ending */
	bool counted;             /* in crew.connected */
	struct request request;   /* what is served, for the user's next one */

	/* Of pgbench's scripts: client_pgbench.c. */
	VEC(PGresult *) kept;
	struct shell *shell;      /* the command under way, or NULL */
	const char *shell_output; /* of the latest; valid until the fiber goes on */
	size_t shell_len;
	int shell_exit;
	bool keeping;         /* results are copied into kept */
	bool piping;          /* results of c:pipeline are moved there */
	int ledger_result;    /* of c:pipeline: which of them is the ledger's row, right before the COMMIT's; -1: none */
	bool ledger_implicit; /* there is no COMMIT: it is an implicit transaction */

	/* Of the ledger's row that goes along with a statement: client_ledger.c. */
	lua_KFunction ledger_after;
	const PGresult *ledgered; /* in kept: the result of the latest statement, when it had such a row; NULL: it is the outcome's */

	/* Its parameters as text: numbers are formatted in here, strings stay in Lua. Room for workload.params_max. */
	const char **values;
	char (*numbers)[32];
};

struct worker {
	struct crew *crew;
	int number;
	pthread_t thread;
	struct loop *loop;
	lua_State *L;
	struct workload *workload;
	struct rng rng; /* jitter of reconnects */

	struct client *clients;
	int n_clients;
	struct client *idle_first, *idle_last; /* first: idle the longest */

	struct plan_cursor cursor;
	struct waiting *waiting;
	int *pod_versions;     /* as deployed */
	struct loop_timer due; /* the next arrival, or the end of the oldest one's patience */
	struct loop_message wake;
	atomic_bool woken;          /* the message is under way */
	_Atomic int64_t idle_since; /* of the session that has been idle the longest; PLAN_NEVER: none is */
	int64_t follow_ns;          /* how long behind the leader it looks */
	bool following;             /* the timer stands behind the leader's */
	int led;                    /* arrivals since it last handed the lead over */
	unsigned missed;            /* by the leader, found in this look */
	bool running;               /* arrivals are claimed */
	bool claiming;              /* claim_due is on the C stack */
	bool stopping;
	uint64_t in_flight;

	struct stats *stats; /* being filled */
	struct stats *spare; /* empty, or filled and handed over */
	struct load_version totals[LOAD_VERSIONS_MAX];
	struct load_counters counters;          /* in total */
	struct load_version reads;              /* in total: on the standby, a part of the versions' */
	uint64_t abandoned;                     /* in total */
	uint64_t followed;                      /* requests of users, besides those of the plan, that fell due */
	VEC(struct load_unfinished) unfinished; /* filled by worker_finish */
	int64_t cpu_ns, cpu_read_ns;            /* CPU time at the latest hand-over, and when that was */
};

/* Loads the scripts. sessions: its share of each pod, those numbers for which (pod * pool + k) % workers == number. */
enum status worker_create(struct crew *crew, int number, struct worker **out, struct error *err) MUST_CHECK;
void worker_free(struct worker *w);

/* The following run on the worker's thread. */
void worker_connect(struct worker *w, void *unused);
void worker_start(struct worker *w, void *start_ns);   /* const int64_t * */
void worker_review(struct worker *w, void *unused);    /* the plan has changed */
void worker_hand_over(struct worker *w, void *unused); /* swaps stats and spare */
void worker_stop(struct worker *w, void *unused);      /* claims no more */
void worker_finish(struct worker *w, void *unused);    /* closes all sessions */

/* The argument of worker_deploy. */
struct worker_deploy {
	int pod, version;
	struct replacement *replacement;
};
void worker_deploy(struct worker *w, void *arg);

/* Starts it in c, which is idle. awaited: an idle session stood ready when it fell due. */
void worker_start_request(struct client *c, const struct request *r, bool awaited);

#define WORKER_CONNECT_TIMEOUT_NS (10 * NS_PER_S)

/* "pgrehearse load v1 pod 2", into out. */
const char *worker_session_name(const struct client *c, char *out, size_t size);

/* The pause before the next attempt to connect: *backoff_ns doubles, up to a second, and a part of it is drawn. */
int64_t worker_backoff(struct worker *w, int64_t *backoff_ns);

/* Tell load_connect that a session could not connect, or has for the first time (sets *counted). */
void worker_tell_refusal(struct worker *w, const struct session_outcome *out);
void worker_tell_connected(struct worker *w, bool *counted);

/* client.c: makes c and its random source. */
void client_create_object(struct client *c);
void client_free_object(struct client *c);
void client_set_version(struct client *c);

/* Fires for c->deadline: cancels the statement under way. */
void client_give_up(struct loop_timer *t);

/* Pushes what a fiber performs, args(r) and then run(c, ...) of the client's transaction and version: a function and its arguments, whose
 * number is returned. */
int client_push_transaction(lua_State *L, struct client *c);

/* The SQLSTATE of the error value on top of L's stack into out: "LUA" when it is no statement's. Returns whether it was a statement's. */
bool client_error_sqlstate(lua_State *L, char out[6]);

#endif
