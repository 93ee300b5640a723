/* The Lua module `record`: run records as report writers read them. */
#ifndef PGR_RECORD_LUA_RECORD_H
#define PGR_RECORD_LUA_RECORD_H

#include <lua.h>

/*
 * Makes `require "record"` give, in this state:
 *
 *   record.open(dir)            a run record; raises a table whose message says why there is none
 *
 *   rec.dir, rec.run            the folder; run.json as a table. Objects and arrays are tables, integers Lua integers, null is nil (false
 *                               within an array, so that its length holds). `running` without a living writer reads `interrupted`
 *   rec:events()                iterators over the lines, as tables, in the order of the file, and their numbers in it:
 *                               for e, line in rec:events() do ... end
 *   rec:intervals()
 *   rec:waits()
 *   rec:windows()
 *   rec:histogram{tag=, phase=} the sum of all histograms whose tag matches (`*` stands for any characters but `/`; nil: every tag), of
 *                               the phase by name ("" is outside of any; nil: the whole run). An empty histogram when there are none
 *   rec:tags()                  all tags, sorted
 *   rec:phase_at(ns)            name of the phase that holds a time, "" between phases
 *   rec:bad_lines()             lines passed over so far because they could not be read
 *
 *   hist:count() :min() :max() :mean() :saturated()     values in ns; 0 when empty
 *   hist:quantile(q)            the value at rank ceil(q * count), q from 0 to 1
 *   hist:count_above(ns)        how many values were longer
 *   hist:buckets()              iterator: for low, high, count, cumulative in hist:buckets() do ... end
 *
 * latency.hlog is read once a record, at the first call that needs it; what it takes grows with the number of tags and phases only.
 */
void record_preload_lua(lua_State *L);

#endif
