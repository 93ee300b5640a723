/* The random source as Lua sees it: r:int(lo, hi) and its fellows. Documented in workloads/README.md. */
#include "load/random.h"

#include <lauxlib.h>
#include <string.h>

#define RANDOM_TYPE "pgrehearse random source"
#define TEXT_MAX (1 << 20)

struct random *random_check(lua_State *L, int index)
{
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
	{"permute", lua_permute},
	{NULL, NULL},
};

struct random *random_push(lua_State *L)
{
	struct random *r = lua_newuserdatauv(L, sizeof *r, 0);
	memset(r, 0, sizeof *r);
	random_seed(r, 0);
	if (luaL_newmetatable(L, RANDOM_TYPE)) {
		luaL_newlib(L, METHODS);
		lua_setfield(L, -2, "__index");
	}
	lua_setmetatable(L, -2);
	return r;
}
