/* Changes of the traffic that a scenario asks for: another rate program, another mix. Internal to the room. */
#ifndef PGR_SCENARIO_TRAFFIC_H
#define PGR_SCENARIO_TRAFFIC_H

#include "base/error.h"
#include "load/engine.h"

#include <jansson.h>
#include <lua.h>
#include <stdbool.h>

/* Whether the mixes of the scenario's load and steps name transactions that there are, and its flag steps begin with the values that the workload,
 * the scenario's load and the steps before give those flags (not --flag, which comes later). Sets the mix and the flags that the traffic begins
 * with, and adds them to recorded. scenario_ref: its table in the Lua registry. ST_USAGE. */
enum status traffic_check(struct load *load, lua_State *L, int scenario_ref, json_t *recorded, struct error *err) MUST_CHECK;

/* Sets what the command line says: flags ("NAME=VALUE", NULL-terminated, or NULL) and n weights; adds them to recorded. ST_USAGE. */
enum status traffic_begin(struct load *load, const char *const *flags, const struct load_weight *mix, size_t n, json_t *recorded,
	struct error *err) MUST_CHECK;

/* Changes the load to the fields rate (text or number) and mix (weights by name) of the table at index; nil ones stay as they are. *event:
 * the line of the record, without its time. ST_USAGE. */
enum status traffic_change(struct load *load, lua_State *L, int index, bool closed, json_t **event, struct error *err) MUST_CHECK;

#endif
