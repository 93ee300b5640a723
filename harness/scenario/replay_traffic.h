/* Captured traffic as a drill's: the player in a thread of its own, whose statements stand where a workload's transactions would. */
#ifndef PGR_SCENARIO_REPLAY_TRAFFIC_H
#define PGR_SCENARIO_REPLAY_TRAFFIC_H

#include "load/engine.h"
#include "replay/fidelity.h"
#include "replay/player.h"

#include <jansson.h>

struct replay_traffic;

/* What is replayed how; its trace, filter and pacing are set, the rest of player is filled in. */
struct replay_spec {
	struct player_config player;
	struct fidelity_limits limits;
	struct player_result *result; /* what the player counted, for the caller, who frees it with player_result_free; or NULL */
};

/* Opens the trace, so that a missing or broken one is told before anything is started. dsn: of the target (player_check_dsn). as_load: the sessions
 * are named as those of a load, by which the observer knows whom a migration blocks; else as they were captured. slow and arg as in struct load_config. */
enum status replay_create(const struct replay_spec *spec, const char *dsn, bool as_load, void (*slow)(const struct load_slow *s, void *arg),
	void *arg, struct replay_traffic **out, struct error *err) MUST_CHECK;
void replay_free(struct replay_traffic *r);

void replay_start(struct replay_traffic *r);

/* An interval like that of the engine, which has none of its own arrivals then: its times, and the replay's numbers. Until the next call. */
const struct load_interval *replay_interval(struct replay_traffic *r, const struct load_interval *engine);

/* Whether all of the trace has been replayed, or the player has given up. */
bool replay_has_ended(struct replay_traffic *r);

/* No statement is sent any more; those under way are given drain_ns. Blocks. */
void replay_stop(struct replay_traffic *r, int64_t drain_ns, struct load_totals *out);

/* Calls fn with each statement that has been executed, literals being 1. */
void replay_each_executed(struct replay_traffic *r, void (*fn)(const char *sql, void *arg), void *arg);

/* The baseline is over: errors from here on are the migration's. */
void replay_close_baseline(struct replay_traffic *r);

/* After replay_stop: the field `fidelity` of the record (a new value), and why the player gave up, or ST_OK. drill: the traffic should have
 * lasted as long as the drill, not as the trace. */
json_t *replay_fidelity(struct replay_traffic *r, bool drill);
enum status replay_outcome(const struct replay_traffic *r, struct error *err);

/* `load` of run.json. */
json_t *replay_load_json(const struct replay_traffic *r);

/* How long the trace takes at the spec's speed, in ns; 0: as fast as possible. ST_USAGE: it cannot be read. */
enum status replay_measure(const struct player_config *config, int64_t *length_ns, struct error *err) MUST_CHECK;

#endif
