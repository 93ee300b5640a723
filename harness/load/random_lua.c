/* The random source as Lua sees it: r:int(lo, hi) and its fellows. Documented in workloads/README.md. */
#include "load/moment.h"
#include "load/random.h"

#include <lauxlib.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#define RANDOM_TYPE "pgrehearse random source"
#define RANDOM_MARK UINT64_C(0x72616e646f6d2121)
#define TEXT_MAX (1 << 20)
#define NURAND_MAX (INT64_C(1) << 61)
#define WEIGHTED_MAX 1000000

/* Weights of a list that r:weighted() has met before, summed up; kept by the list in a weak table of the registry. */
struct weighted {
	lua_Integer n;
	double sums[];
};

static const char WEIGHTED_KEY;

struct random *random_check(lua_State *L, int index)
{
	struct random *r = lua_touserdata(L, index);
	if (r != NULL && lua_rawlen(L, index) == sizeof *r && r->mark == RANDOM_MARK)
		return r;
	return luaL_checkudata(L, index, RANDOM_TYPE);
}

static int lua_int(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Integer lo = luaL_checkinteger(L, 2), hi = luaL_checkinteger(L, 3);
	luaL_argcheck(L, lo <= hi, 3, "the upper bound must not be below the lower");
	lua_pushinteger(L, random_int(r, lo, hi));
	return 1;
}

static int lua_unit(lua_State *L)
{
	lua_pushnumber(L, random_unit(random_check(L, 1)));
	return 1;
}

static int lua_chance(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Number p = luaL_checknumber(L, 2);
	luaL_argcheck(L, p >= 0 && p <= 1, 2, "a probability from 0 to 1 is expected");
	lua_pushboolean(L, random_unit(r) < p);
	return 1;
}

static int lua_zipf(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Integer n = luaL_checkinteger(L, 2);
	lua_Number s = luaL_checknumber(L, 3);
	luaL_argcheck(L, n >= 1, 2, "at least 1 is expected");
	luaL_argcheck(L, s >= 0 && s <= 100, 3, "an exponent from 0 (uniform) to 100 is expected");
	lua_pushinteger(L, random_zipf(r, n, s));
	return 1;
}

static int lua_gaussian(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_pushnumber(L, random_gaussian(r, luaL_checknumber(L, 2), luaL_checknumber(L, 3)));
	return 1;
}

static int lua_exponential(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Number mean = luaL_checknumber(L, 2);
	luaL_argcheck(L, mean >= 0, 2, "a mean of 0 or more is expected");
	lua_pushnumber(L, random_exponential(r, mean));
	return 1;
}

static int lua_pick(lua_State *L)
{
	struct random *r = random_check(L, 1);
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_Integer n = luaL_len(L, 2);
	luaL_argcheck(L, n >= 1, 2, "a list with at least one element is expected");
	lua_geti(L, 2, random_int(r, 1, n));
	return 1;
}

static int push_filled(lua_State *L, void (*fill)(struct random *, char *, size_t))
{
	struct random *r = random_check(L, 1);
	lua_Integer len = luaL_checkinteger(L, 2);
	luaL_argcheck(L, len >= 0 && len <= TEXT_MAX, 2, "a length from 0 to 1048576 is expected");
	luaL_Buffer b;
	fill(r, luaL_buffinitsize(L, &b, (size_t)len), (size_t)len);
	luaL_pushresultsize(&b, (size_t)len);
	return 1;
}

static int lua_text(lua_State *L)
{
	return push_filled(L, random_text);
}

static int lua_hex(lua_State *L)
{
	return push_filled(L, random_hex);
}

static int lua_alnum(lua_State *L)
{
	return push_filled(L, random_alnum);
}

static int lua_digits(lua_State *L)
{
	return push_filled(L, random_digits);
}

static int lua_nurand(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Integer a = luaL_checkinteger(L, 2), x = luaL_checkinteger(L, 3), y = luaL_checkinteger(L, 4), c = luaL_checkinteger(L, 5);
	luaL_argcheck(L, a >= 0 && a < NURAND_MAX && (a & (a + 1)) == 0, 2, "2^k - 1 is expected, such as 255, 1023 or 8191");
	luaL_argcheck(L, x >= 0, 3, "0 or more is expected");
	luaL_argcheck(L, y >= x && y < NURAND_MAX, 4, "the upper bound must not be below the lower");
	luaL_argcheck(L, c >= 0 && c < NURAND_MAX, 5, "0 or more is expected");
	lua_pushinteger(L, random_nurand(r, a, x, y, c));
	return 1;
}

static int lua_pareto(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Number minimum = luaL_checknumber(L, 2), shape = luaL_checknumber(L, 3);
	luaL_argcheck(L, minimum > 0, 2, "a minimum above 0 is expected");
	luaL_argcheck(L, shape > 0, 3, "a shape above 0 is expected");
	lua_pushnumber(L, random_pareto(r, minimum, shape));
	return 1;
}

static int lua_hotspot(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Integer n = luaL_checkinteger(L, 2);
	lua_Number share = luaL_checknumber(L, 3), weight = luaL_checknumber(L, 4);
	luaL_argcheck(L, n >= 1, 2, "at least 1 is expected");
	luaL_argcheck(L, share >= 0 && share <= 1, 3, "a share from 0 to 1 is expected");
	luaL_argcheck(L, weight >= 0 && weight <= 1, 4, "a share from 0 to 1 is expected");
	lua_pushinteger(L, random_hotspot(r, n, share, weight));
	return 1;
}

static int lua_latest(lua_State *L)
{
	struct random *r = random_check(L, 1);
	lua_Integer n = luaL_checkinteger(L, 2);
	lua_Number s = luaL_checknumber(L, 3);
	luaL_argcheck(L, n >= 1, 2, "at least 1 is expected");
	luaL_argcheck(L, s >= 0 && s <= 100, 3, "an exponent from 0 (uniform) to 100 is expected");
	lua_pushinteger(L, random_latest(r, n, s));
	return 1;
}

/* Sums up the weights of the list at 2 and remembers them by it; the table of all is on top, and the result replaces it. */
static const struct weighted *prepare_weighted(lua_State *L)
{
	lua_Integer n = luaL_len(L, 2);
	luaL_argcheck(L, n >= 1 && n <= WEIGHTED_MAX, 2, "a list of { value, weight } with at least one element is expected");
	struct weighted *w = lua_newuserdatauv(L, sizeof *w + (size_t)n * sizeof w->sums[0], 0);
	w->n = n;
	double sum = 0;
	for (lua_Integer i = 0; i < n; i++) {
		double weight = 0;
		if (lua_geti(L, 2, i + 1) == LUA_TTABLE) {
			lua_geti(L, -1, 2);
			weight = lua_tonumber(L, -1);
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
		luaL_argcheck(L, weight > 0 && isfinite(weight), 2, "each element is { value, weight }, with a weight above 0");
		w->sums[i] = sum += weight;
	}
	lua_pushvalue(L, 2);
	lua_pushvalue(L, -2);
	lua_rawset(L, -4);
	lua_remove(L, -2);
	return w;
}

static int lua_weighted(lua_State *L)
{
	struct random *r = random_check(L, 1);
	luaL_checktype(L, 2, LUA_TTABLE);
	lua_settop(L, 2);
	lua_rawgetp(L, LUA_REGISTRYINDEX, &WEIGHTED_KEY);
	lua_pushvalue(L, 2);
	const struct weighted *w;
	if (lua_rawget(L, -2) == LUA_TNIL) {
		lua_pop(L, 1);
		w = prepare_weighted(L);
	} else {
		w = lua_touserdata(L, -1);
	}
	lua_geti(L, 2, (lua_Integer)random_weighted(r, w->sums, (size_t)w->n) + 1);
	lua_geti(L, -1, 1);
	return 1;
}

static int lua_uuid(lua_State *L)
{
	char text[RANDOM_UUID_LEN];
	random_uuid(random_check(L, 1), text);
	lua_pushlstring(L, text, sizeof text);
	return 1;
}

static int64_t check_moment(lua_State *L, int index)
{
	int64_t us = 0;
	if (!moment_parse(luaL_checkstring(L, index), &us))
		luaL_argerror(L, index, "a time such as 2026-07-01 or 2026-07-01 12:30:00 (UTC) is expected");
	return us;
}

static int lua_timestamp(lua_State *L)
{
	struct random *r = random_check(L, 1);
	int64_t from = check_moment(L, 2), to = check_moment(L, 3);
	luaL_argcheck(L, from < to, 3, "the end must be behind the start");
	char text[MOMENT_LEN + 1];
	moment_format(random_int(r, from, to - 1), text);
	lua_pushlstring(L, text, MOMENT_LEN);
	return 1;
}

static int lua_permute(lua_State *L)
{
	random_check(L, 1);
	lua_Integer i = luaL_checkinteger(L, 2), n = luaL_checkinteger(L, 3);
	luaL_argcheck(L, n >= 1, 3, "at least 1 is expected");
	luaL_argcheck(L, i >= 1 && i <= n, 2, "a number from 1 to n is expected");
	lua_pushinteger(L, random_permute(i, n));
	return 1;
}

static const luaL_Reg METHODS[] = {
	{"int", lua_int},
	{"unit", lua_unit},
	{"chance", lua_chance},
	{"zipf", lua_zipf},
	{"gaussian", lua_gaussian},
	{"exponential", lua_exponential},
	{"pick", lua_pick},
	{"text", lua_text},
	{"hex", lua_hex},
	{"alnum", lua_alnum},
	{"digits", lua_digits},
	{"permute", lua_permute},
	{"nurand", lua_nurand},
	{"pareto", lua_pareto},
	{"hotspot", lua_hotspot},
	{"latest", lua_latest},
	{"weighted", lua_weighted},
	{"uuid", lua_uuid},
	{"timestamp", lua_timestamp},
	{NULL, NULL},
};

struct random *random_push(lua_State *L)
{
	struct random *r = lua_newuserdatauv(L, sizeof *r, 0);
	memset(r, 0, sizeof *r);
	r->mark = RANDOM_MARK;
	random_seed(r, 0);
	if (luaL_newmetatable(L, RANDOM_TYPE)) {
		luaL_newlib(L, METHODS);
		lua_setfield(L, -2, "__index");
		lua_newtable(L);
		lua_createtable(L, 0, 1);
		lua_pushliteral(L, "k");
		lua_setfield(L, -2, "__mode");
		lua_setmetatable(L, -2);
		lua_rawsetp(L, LUA_REGISTRYINDEX, &WEIGHTED_KEY);
	}
	lua_setmetatable(L, -2);
	return r;
}
