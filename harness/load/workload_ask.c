/* Looking things up in a workload that has been read. */
#define _GNU_SOURCE
#include "load/workload.h"

#include <string.h>

int workload_find_version(const struct workload *w, const char *name)
{
	for (size_t i = 0; i < w->n_versions; i++)
		if (strcmp(w->versions[i].name, name) == 0)
			return (int)i;
	return -1;
}

int workload_find_transaction(const struct workload *w, const char *name)
{
	for (size_t i = 0; i < w->n_transactions; i++)
		if (strcmp(w->transactions[i].name, name) == 0)
			return (int)i;
	return -1;
}

int workload_find_actor(const struct workload *w, const char *name)
{
	for (size_t i = 0; i < w->n_actors; i++)
		if (strcmp(w->actors[i].name, name) == 0)
			return (int)i;
	return -1;
}

enum status workload_set_flag(const struct workload *w, const char *name, const char *text, bool set, struct error *err)
{
	lua_State *L = w->L;
	size_t i = 0;
	while (i < w->n_flags && strcmp(w->flags[i].name, name) != 0)
		i++;
	if (i == w->n_flags) {
		error_set(err, ST_USAGE, "the workload %s has no flag %s", w->name, name);
		error_hint(err, "a workload declares them: flags = { %s = false }", name);
		return ST_USAGE;
	}
	int type = w->flags[i].type;
	bool on = strcmp(text, "true") == 0;
	if (type == LUA_TBOOLEAN && !on && strcmp(text, "false") != 0)
		return error_set(err, ST_USAGE, "flag %s is true or false, not %s", name, text);
	if (type == LUA_TBOOLEAN)
		lua_pushboolean(L, on);
	else if (type == LUA_TSTRING)
		lua_pushstring(L, text);
	else if (lua_stringtonumber(L, text) == 0)
		return error_set(err, ST_USAGE, "flag %s is a number, not %s", name, text);
	if (set) {
		lua_rawgeti(L, LUA_REGISTRYINDEX, w->flags_ref);
		lua_pushvalue(L, -2);
		lua_setfield(L, -2, name);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
	return ST_OK;
}

void workload_flag_value(const struct workload *w, const char *name, char *out, size_t size)
{
	lua_State *L = w->L;
	int top = lua_gettop(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, w->flags_ref);
	lua_getfield(L, -1, name);
	snprintf(out, size, "%s", lua_isnil(L, -1) ? "" : luaL_tolstring(L, -1, NULL));
	lua_settop(L, top);
}

const struct session_statement *workload_find_statement(const struct workload *w, int version, const char *name)
{
	const struct workload_version *v = &w->versions[version];
	size_t lo = 0, hi = v->n_statements;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		int order = strcmp(name, v->statements[mid]->name);
		if (order == 0)
			return v->statements[mid];
		if (order < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

int workload_pick_transaction(const struct workload *w, double unit)
{
	double left = unit * w->weight_sum;
	for (size_t i = 0; i + 1 < w->n_transactions; i++) {
		left -= w->transactions[i].weight;
		if (left < 0)
			return (int)i;
	}
	return (int)w->n_transactions - 1;
}
