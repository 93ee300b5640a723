/* The Lua module `record`, documented in the header. */
#define _GNU_SOURCE
#include "record/lua_record.h"

#include "base/vec.h"
#include "measure/hist.h"
#include "record/reader.h"
#include "record/series.h"
#include "base/json_lua.h"

#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_TYPE "pgrehearse record"
#define HIST_TYPE "pgrehearse histogram"
#define SERIES_TYPE "pgrehearse series"
#define PROBLEM_TYPE "pgrehearse record problem"

/* A run has some dozens of tags and a handful of phases; a file with more sums than this is not one of ours. */
#define SUMS_MAX 8192

/* All histograms of one tag in one phase. */
struct sum {
	char *tag;
	const char *phase; /* the reader's */
	struct hist *hist;
};

struct lua_record {
	struct record_reader *reader; /* NULL once closed */
	bool summed;
	VEC(struct sum) sums;
	int64_t bad_lines; /* in series that were read to their end */
};

static int problem_text(lua_State *L)
{
	lua_getfield(L, 1, "message");
	return 1;
}

/* Raises err as an error that is no mistake of the script: a table with `message`, which is its text too. */
static int raise(lua_State *L, const struct error *err)
{
	char text[2048];
	lua_createtable(L, 0, 1);
	lua_pushstring(L, error_text(err, text, sizeof text));
	lua_setfield(L, -2, "message");
	if (luaL_newmetatable(L, PROBLEM_TYPE)) {
		lua_pushcfunction(L, problem_text);
		lua_setfield(L, -2, "__tostring");
	}
	lua_setmetatable(L, -2);
	return lua_error(L);
}

/* --- histograms --- */

static struct hist *check_hist(lua_State *L)
{
	struct hist **slot = luaL_checkudata(L, 1, HIST_TYPE);
	luaL_argcheck(L, *slot != NULL, 1, "the histogram is closed"); /* a finalizer of the script, run after ours */
	return *slot;
}

/* Pushes a new empty histogram. */
static struct hist *push_hist(lua_State *L)
{
	struct hist **slot = lua_newuserdatauv(L, sizeof(struct hist *), 0);
	*slot = NULL;
	luaL_setmetatable(L, HIST_TYPE);
	*slot = hist_create();
	if (*slot == NULL)
		luaL_error(L, "no memory for a histogram");
	return *slot;
}

static int hist_collect(lua_State *L)
{
	struct hist **slot = luaL_checkudata(L, 1, HIST_TYPE);
	hist_free(*slot);
	*slot = NULL;
	return 0;
}

static int lua_hist_count(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)hist_count(check_hist(L)));
	return 1;
}

static int lua_hist_min(lua_State *L)
{
	lua_pushinteger(L, hist_min(check_hist(L)));
	return 1;
}

static int lua_hist_max(lua_State *L)
{
	lua_pushinteger(L, hist_max(check_hist(L)));
	return 1;
}

static int lua_hist_mean(lua_State *L)
{
	lua_pushnumber(L, hist_mean(check_hist(L)));
	return 1;
}

static int lua_hist_saturated(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)check_hist(L)->saturated);
	return 1;
}

static int lua_hist_quantile(lua_State *L)
{
	struct hist *h = check_hist(L);
	lua_Number q = luaL_checknumber(L, 2);
	luaL_argcheck(L, q >= 0 && q <= 1, 2, "a share from 0 to 1 is expected, such as 0.99");
	lua_pushinteger(L, hist_quantile(h, q));
	return 1;
}

static int lua_hist_count_above(lua_State *L)
{
	lua_pushinteger(L, (lua_Integer)hist_count_above(check_hist(L), luaL_checkinteger(L, 2)));
	return 1;
}

/* Upvalues: the histogram, which lives as long as we do, and where we are. */
static int next_bucket(lua_State *L)
{
	struct hist **slot = lua_touserdata(L, lua_upvalueindex(1));
	struct hist_iter *it = lua_touserdata(L, lua_upvalueindex(2));
	struct hist_bucket b;
	if (*slot == NULL || !hist_next(*slot, it, &b))
		return 0;
	lua_pushinteger(L, b.low);
	lua_pushinteger(L, b.high);
	lua_pushinteger(L, (lua_Integer)b.count);
	lua_pushinteger(L, (lua_Integer)b.cumulative);
	return 4;
}

static int lua_hist_buckets(lua_State *L)
{
	check_hist(L);
	lua_settop(L, 1);
	struct hist_iter *it = lua_newuserdatauv(L, sizeof *it, 0);
	*it = (struct hist_iter){0};
	lua_pushcclosure(L, next_bucket, 2);
	return 1;
}

/* --- series --- */

/* What an iterator holds. A line is kept here while it is turned into a table, so that an error on the way does not lose it. */
struct lua_series {
	struct series *series; /* NULL at the end */
	json_t *line;
};

static void close_series(struct lua_series *s)
{
	json_decref(s->line);
	series_close(s->series);
	*s = (struct lua_series){0};
}

static int series_collect(lua_State *L)
{
	close_series(luaL_checkudata(L, 1, SERIES_TYPE));
	return 0;
}

/* Upvalues: the series and the record that it is of. */
static int next_line(lua_State *L)
{
	struct lua_series *s = lua_touserdata(L, lua_upvalueindex(1));
	struct lua_record *rec = lua_touserdata(L, lua_upvalueindex(2));
	struct error err;
	if (s->series == NULL)
		return 0;
	json_decref(s->line);
	s->line = NULL;
	if (series_next(s->series, &s->line, &err) != ST_OK)
		return raise(L, &err);
	if (s->line == NULL) {
		rec->bad_lines += series_bad_lines(s->series);
		close_series(s);
		return 0;
	}
	json_push_lua(L, s->line);
	lua_pushinteger(L, series_line(s->series));
	return 2;
}

static struct lua_record *check_record(lua_State *L)
{
	struct lua_record *rec = luaL_checkudata(L, 1, RECORD_TYPE);
	luaL_argcheck(L, rec->reader != NULL, 1, "the record is closed");
	return rec;
}

static int iterate(lua_State *L, const char *name)
{
	struct lua_record *rec = check_record(L);
	char path[4096];
	struct error err;
	if (snprintf(path, sizeof path, "%s/%s.jsonl", reader_dir(rec->reader), name) >= (int)sizeof path)
		return luaL_error(L, "the folder's name is too long: %s", reader_dir(rec->reader));
	struct lua_series *s = lua_newuserdatauv(L, sizeof *s, 0);
	*s = (struct lua_series){0};
	luaL_setmetatable(L, SERIES_TYPE);
	if (series_open(path, &s->series, &err) != ST_OK)
		return raise(L, &err);
	int series = lua_gettop(L);
	lua_pushvalue(L, series);
	lua_pushvalue(L, 1);
	lua_pushcclosure(L, next_line, 2);
	lua_pushnil(L);
	lua_pushnil(L);
	lua_pushvalue(L, series); /* the loop closes it, also when it is left early */
	return 4;
}

static int lua_events(lua_State *L)
{
	return iterate(L, "events");
}

static int lua_intervals(lua_State *L)
{
	return iterate(L, "intervals");
}

static int lua_waits(lua_State *L)
{
	return iterate(L, "waits");
}

static int lua_windows(lua_State *L)
{
	return iterate(L, "windows");
}

/* --- records --- */

struct summing {
	struct lua_record *rec;
	const char *trouble;
};

static struct hist *sum_for(struct lua_record *rec, const char *tag, const char *phase)
{
	for (size_t i = 0; i < rec->sums.n; i++) {
		struct sum *s = &rec->sums.at[i];
		if (strcmp(s->tag, tag) == 0 && strcmp(s->phase, phase) == 0)
			return s->hist;
	}
	struct sum new = {strdup(tag), phase, hist_create()};
	if (new.tag == NULL || new.hist == NULL) {
		free(new.tag);
		hist_free(new.hist);
		return NULL;
	}
	VEC_PUSH(&rec->sums, new);
	return new.hist;
}

static bool add_to_sum(const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *hist, void *arg)
{
	(void)end_ns; /* an interval never spans two phases */
	struct summing *s = arg;
	struct hist *into = sum_for(s->rec, tag, reader_phase_at(s->rec->reader, start_ns));
	if (into == NULL) {
		s->trouble = "no memory to sum histograms";
		return false;
	}
	if (s->rec->sums.n > SUMS_MAX) {
		s->trouble = "latency.hlog holds too many different tags";
		return false;
	}
	hist_merge(into, hist);
	return true;
}

static void drop_sums(struct lua_record *rec)
{
	for (size_t i = 0; i < rec->sums.n; i++) {
		free(rec->sums.at[i].tag);
		hist_free(rec->sums.at[i].hist);
	}
	VEC_FREE(&rec->sums);
}

/* Reads latency.hlog, unless that was done. */
static void sum_histograms(lua_State *L, struct lua_record *rec)
{
	if (rec->summed)
		return;
	struct error err;
	struct summing s = {rec, NULL};
	drop_sums(rec); /* of an attempt that failed */
	if (reader_histograms(rec->reader, add_to_sum, &s, &err) != ST_OK)
		raise(L, &err);
	if (s.trouble != NULL)
		luaL_error(L, "%s: %s", reader_dir(rec->reader), s.trouble);
	rec->summed = true;
}

/* `*` stands for any characters but `/`. */
static bool tag_matches(const char *pattern, const char *tag)
{
	const char *star = NULL, *retry = NULL;
	while (*tag != '\0') {
		if (*pattern == '*') {
			star = pattern++;
			retry = tag;
		} else if (*pattern == *tag) {
			pattern++;
			tag++;
		} else if (star != NULL && *retry != '/') {
			pattern = star + 1;
			tag = ++retry;
		} else {
			return false;
		}
	}
	while (*pattern == '*')
		pattern++;
	return *pattern == '\0';
}

/* The string field of the table at index 2, or NULL; it stays on the stack. */
static const char *option(lua_State *L, const char *name)
{
	if (lua_getfield(L, 2, name) != LUA_TNIL && lua_type(L, -1) != LUA_TSTRING)
		luaL_error(L, "histogram{%s=}: a string is expected, not a %s", name, luaL_typename(L, -1));
	return lua_tostring(L, -1);
}

static int lua_histogram(lua_State *L)
{
	struct lua_record *rec = check_record(L);
	lua_settop(L, 2);
	if (lua_isnil(L, 2)) {
		lua_newtable(L);
		lua_replace(L, 2);
	}
	luaL_checktype(L, 2, LUA_TTABLE);
	const char *tag = option(L, "tag"), *phase = option(L, "phase");
	sum_histograms(L, rec);
	struct hist *h = push_hist(L);
	for (size_t i = 0; i < rec->sums.n; i++) {
		const struct sum *s = &rec->sums.at[i];
		if ((tag == NULL || tag_matches(tag, s->tag)) && (phase == NULL || strcmp(phase, s->phase) == 0))
			hist_merge(h, s->hist);
	}
	return 1;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct sum *)a)->tag, ((const struct sum *)b)->tag);
}

static int lua_tags(lua_State *L)
{
	struct lua_record *rec = check_record(L);
	sum_histograms(L, rec);
	if (rec->sums.n > 0)
		qsort(rec->sums.at, rec->sums.n, sizeof rec->sums.at[0], by_name);
	lua_newtable(L);
	lua_Integer n = 0;
	for (size_t i = 0; i < rec->sums.n; i++) {
		if (i > 0 && strcmp(rec->sums.at[i].tag, rec->sums.at[i - 1].tag) == 0)
			continue;
		lua_pushstring(L, rec->sums.at[i].tag);
		lua_rawseti(L, -2, ++n);
	}
	return 1;
}

static int lua_phase_at(lua_State *L)
{
	struct lua_record *rec = check_record(L);
	lua_Number ns = luaL_checknumber(L, 2); /* a script may have halved it */
	luaL_argcheck(L, ns >= -9e18 && ns <= 9e18, 2, "a time in nanoseconds is expected");
	lua_pushstring(L, reader_phase_at(rec->reader, (int64_t)ns));
	return 1;
}

static int lua_bad_lines(lua_State *L)
{
	struct lua_record *rec = check_record(L);
	lua_pushinteger(L, rec->bad_lines + reader_bad_lines(rec->reader));
	return 1;
}

static int record_collect(lua_State *L)
{
	struct lua_record *rec = luaL_checkudata(L, 1, RECORD_TYPE);
	drop_sums(rec);
	record_reader_free(rec->reader);
	rec->reader = NULL;
	return 0;
}

static int lua_open(lua_State *L)
{
	const char *dir = luaL_checkstring(L, 1);
	struct error err;
	struct lua_record *rec = lua_newuserdatauv(L, sizeof *rec, 1);
	*rec = (struct lua_record){0};
	luaL_setmetatable(L, RECORD_TYPE);
	if (record_open(dir, &rec->reader, &err) != ST_OK)
		return raise(L, &err);
	lua_createtable(L, 0, 2);
	json_push_lua(L, reader_run(rec->reader));
	lua_setfield(L, -2, "run");
	lua_pushstring(L, dir);
	lua_setfield(L, -2, "dir");
	lua_setiuservalue(L, -2, 1);
	return 1;
}

/* Upvalue: the methods. */
static int record_index(lua_State *L)
{
	check_record(L);
	lua_settop(L, 2);
	lua_pushvalue(L, 2);
	lua_gettable(L, lua_upvalueindex(1));
	if (!lua_isnil(L, -1))
		return 1;
	lua_getiuservalue(L, 1, 1);
	lua_pushvalue(L, 2);
	lua_gettable(L, -2);
	return 1;
}

static const luaL_Reg RECORD_METHODS[] = {
	{"events", lua_events},
	{"intervals", lua_intervals},
	{"waits", lua_waits},
	{"windows", lua_windows},
	{"histogram", lua_histogram},
	{"tags", lua_tags},
	{"phase_at", lua_phase_at},
	{"bad_lines", lua_bad_lines},
	{NULL, NULL},
};

static const luaL_Reg HIST_METHODS[] = {
	{"count", lua_hist_count},
	{"min", lua_hist_min},
	{"max", lua_hist_max},
	{"mean", lua_hist_mean},
	{"saturated", lua_hist_saturated},
	{"quantile", lua_hist_quantile},
	{"count_above", lua_hist_count_above},
	{"buckets", lua_hist_buckets},
	{NULL, NULL},
};

/* A metatable that scripts can neither see nor change. */
static void make_type(lua_State *L, const char *name, lua_CFunction collect)
{
	luaL_newmetatable(L, name);
	lua_pushcfunction(L, collect);
	lua_setfield(L, -2, "__gc");
	lua_pushboolean(L, 0);
	lua_setfield(L, -2, "__metatable");
}

static int load_module(lua_State *L)
{
	make_type(L, SERIES_TYPE, series_collect);
	lua_pushcfunction(L, series_collect);
	lua_setfield(L, -2, "__close");

	make_type(L, HIST_TYPE, hist_collect);
	luaL_newlib(L, HIST_METHODS);
	lua_setfield(L, -2, "__index");

	make_type(L, RECORD_TYPE, record_collect);
	luaL_newlib(L, RECORD_METHODS);
	lua_pushcclosure(L, record_index, 1);
	lua_setfield(L, -2, "__index");

	lua_createtable(L, 0, 1);
	lua_pushcfunction(L, lua_open);
	lua_setfield(L, -2, "open");
	return 1;
}

void record_preload_lua(lua_State *L)
{
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, load_module);
	lua_setfield(L, -2, "record");
	lua_pop(L, 1);
}
