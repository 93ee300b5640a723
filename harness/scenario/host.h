/* What the Lua side of the conductor (scenarios/lib/rehearse/drill.lua) stands on: sessions, time, events, phases, traffic.
 * Internal to the room. */
#ifndef PGR_SCENARIO_HOST_H
#define PGR_SCENARIO_HOST_H

#include "base/vec.h"
#include "load/engine.h"
#include "observe/observer.h"
#include "record/record.h"
#include "runtime/fiber.h"
#include "runtime/loop.h"
#include "scenario/conductor.h"
#include "scenario/ticker.h"

#include <stdbool.h>
#include <stdint.h>

struct host_failover;
struct replay_traffic;
struct host_session;
struct exec_child;

/* What the step under way wants a person to see; set from Lua with host.status{}. */
struct host_status {
	char step[256];
	char detail[256];
	bool down;
	int index, count;
	int64_t eta_ns; /* -1: not known */
};

/* One drill under way. All of it belongs to the main thread. */
struct host {
	const struct rehearsal *spec;
	struct loop *loop;
	lua_State *L;
	struct record *record;
	struct observer *observer; /* NULL when there is none */
	struct load *load;
	struct replay_traffic *replay; /* whose traffic it is then: the load has none. Or NULL */
	struct ticker *ticker;
	int pods;
	bool closed; /* the load is a closed loop */
	bool traffic, traffic_ended;
	struct load_totals totals; /* once traffic_ended */
	struct host_status status;
	int64_t phase_ends_ns; /* of the run; -1: not known */
	VEC(struct fiber *) spawned;
	struct host_session *sessions;  /* all that are open */
	struct exec_child *children;    /* programs that steps run */
	int programs;                   /* how many were started */
	struct host_failover *failover; /* NULL: there was none */
};

/* Pushes the table `host` on L. h outlives L. */
void host_push(struct host *h, lua_State *L);

/* Stops programs that are still running, asks the server to cancel what the sessions are doing, and closes them all. Their fibers must
 * have been cancelled. */
void host_close_sessions(struct host *h);

/* Cancels and frees the fibers of host.spawn. */
void host_stop_spawned(struct host *h);

/* Ends the traffic and with it the last phase; at most drain_ns are given to the transactions in flight. Repeats are fine. */
void host_stop_load(struct host *h, int64_t drain_ns);

#endif
