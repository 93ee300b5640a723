/* Reading rates and mixes from Lua tables, and handing them to the load. */
#include "scenario/traffic.h"

#include "base/json.h"
#include "base/vec.h"
#include "load/rate.h"
#include "runtime/script.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef VEC(struct load_weight) weights;

/* Of the field mix of the table on top of the stack; the names live as long as that. */
static void read_mix(lua_State *L, weights *out)
{
	if (lua_getfield(L, -1, "mix") == LUA_TTABLE) {
		lua_pushnil(L);
		while (lua_next(L, -2) != 0) {
			struct load_weight w = {.transaction = lua_tostring(L, -2), .weight = lua_tonumber(L, -1)};
			VEC_PUSH(out, w);
			lua_pop(L, 1);
		}
	}
	lua_pop(L, 1);
}

/* A flag's value as text: the value on top of the stack, which it belongs to. */
static const char *flag_text(lua_State *L)
{
	return lua_isboolean(L, -1) ? (lua_toboolean(L, -1) ? "true" : "false") : luaL_tolstring(L, -1, NULL);
}

/* Sets the flags of the table on top, or looks whether that is possible; adds them to event, if there is one. */
static enum status change_flags(struct load *load, lua_State *L, bool set, json_t *event, struct error *err)
{
	enum status st = ST_OK;
	int top = lua_gettop(L);
	json_t *flags = json_object();
	if (lua_getfield(L, -1, "flags") == LUA_TTABLE) {
		lua_pushnil(L);
		while (st == ST_OK && lua_next(L, top + 1) != 0) {
			const char *name = lua_tostring(L, top + 2), *text = flag_text(L);
			st = set ? load_set_flag(load, name, text, err) : load_check_flag(load, name, text, err);
			lua_settop(L, top + 3);
			json_object_set_new(flags, name,
				lua_isboolean(L, -1)                     ? json_boolean(lua_toboolean(L, -1))
					: lua_isinteger(L, -1)           ? json_integer(lua_tointeger(L, -1))
					: lua_type(L, -1) == LUA_TNUMBER ? json_real(lua_tonumber(L, -1))
									 : json_text(lua_tostring(L, -1)));
			lua_settop(L, top + 2);
		}
	}
	lua_settop(L, top);
	if (event != NULL && json_object_size(flags) > 0)
		json_object_set(event, "flags", flags);
	json_decref(flags);
	return st;
}

static json_t *mix_json(const struct load_weight *mix, size_t n)
{
	json_t *out = json_object();
	for (size_t i = 0; i < n; i++)
		json_object_set_new(out, mix[i].transaction, json_real(mix[i].weight));
	return out;
}

/* step: its name, for the message; NULL: of the scenario's load, which is put to use. */
static enum status check_mix(struct load *load, lua_State *L, const char *step, json_t *recorded, struct error *err)
{
	weights mix = {0};
	read_mix(L, &mix);
	enum status st = ST_OK;
	if (mix.n > 0)
		st = step == NULL ? load_change(load, NULL, mix.at, mix.n, err) : load_check_mix(load, mix.at, mix.n, err);
	if (st == ST_OK)
		st = change_flags(load, L, step == NULL, step == NULL ? recorded : NULL, err);
	if (st == ST_OK && step == NULL && mix.n > 0)
		json_object_set_new(recorded, "mix", mix_json(mix.at, mix.n));
	if (st != ST_OK && step != NULL)
		error_where(err, "step \"%s\"", step);
	else if (st != ST_OK)
		error_where(err, "the scenario's load");
	VEC_FREE(&mix);
	return st;
}

/* 1 and 1.0 are one number. */
static bool is_same_value(const char *a, const char *b)
{
	char *a_end, *b_end;
	double x = strtod(a, &a_end), y = strtod(b, &b_end);
	return strcmp(a, b) == 0 || (*a != '\0' && *b != '\0' && *a_end == '\0' && *b_end == '\0' && x == y);
}

/* Of the step on top: that its flag has the value that it is to go back to. now: the values that steps before it have given. */
static enum status check_way_back(struct load *load, lua_State *L, const char *step, json_t *now, struct error *err)
{
	enum status st = ST_OK;
	int top = lua_gettop(L);
	if (lua_getfield(L, top, "flags_back") == LUA_TTABLE) {
		lua_pushnil(L);
		while (st == ST_OK && lua_next(L, top + 1) != 0) {
			const char *name = lua_tostring(L, top + 2), *from = flag_text(L);
			const char *known = json_string_value(json_object_get(now, name));
			char value[256] = "";
			if (known == NULL)
				load_flag_value(load, name, value, sizeof value);
			if (!is_same_value(from, known != NULL ? known : value)) {
				st = error_set(err, ST_USAGE, "from = %s, but the flag %s is %s when it begins", from, name,
					known != NULL ? known : value);
				error_hint(err, "its way back would give the flag a value that it has not had");
				error_where(err, "step \"%s\"", step);
			}
			lua_settop(L, top + 2);
		}
	}
	lua_settop(L, top);
	if (st == ST_OK && lua_getfield(L, top, "flags") == LUA_TTABLE) {
		lua_pushnil(L);
		while (lua_next(L, top + 1) != 0) {
			json_object_set_new(now, lua_tostring(L, top + 2), json_text(flag_text(L)));
			lua_settop(L, top + 2);
		}
	}
	lua_settop(L, top);
	return st;
}

/* Of the field steps of the table on top, and of those inside of them: any that has a mix or flags changes the traffic. */
static enum status check_steps(struct load *load, lua_State *L, json_t *now, struct error *err)
{
	enum status st = ST_OK;
	int top = lua_gettop(L);
	if (lua_getfield(L, -1, "steps") == LUA_TTABLE)
		for (lua_Integer i = 1; st == ST_OK && lua_geti(L, top + 1, i) == LUA_TTABLE; i++) {
			lua_getfield(L, top + 2, "name");
			const char *name = lua_tostring(L, -1);
			lua_pop(L, 1);
			st = check_mix(load, L, name, NULL, err);
			if (st == ST_OK)
				st = check_way_back(load, L, name, now, err);
			if (st == ST_OK && lua_checkstack(L, 8))
				st = check_steps(load, L, now, err);
			lua_settop(L, top + 1);
		}
	lua_settop(L, top);
	return st;
}

enum status traffic_check(struct load *load, lua_State *L, int scenario_ref, json_t *recorded, struct error *err)
{
	int top = lua_gettop(L);
	lua_rawgeti(L, LUA_REGISTRYINDEX, scenario_ref);
	lua_getfield(L, -1, "load");
	enum status st = check_mix(load, L, NULL, recorded, err);
	lua_pop(L, 1);
	json_t *now = json_object();
	if (st == ST_OK)
		st = check_steps(load, L, now, err);
	json_decref(now);
	lua_settop(L, top);
	return st;
}

enum status traffic_change(struct load *load, lua_State *L, int index, bool closed, json_t **event, struct error *err)
{
	weights mix = {0};
	struct rate_program program;
	lua_pushvalue(L, index);
	read_mix(L, &mix);
	lua_getfield(L, -1, "rate");
	const char *rate = lua_tostring(L, -1);
	enum status st = rate != NULL ? rate_parse(rate, &program, err) : ST_OK;
	if (st == ST_OK && (rate != NULL || mix.n > 0))
		st = load_change(load, rate != NULL ? &program : NULL, mix.at, mix.n, err);
	if (st == ST_OK) {
		*event = json_pack("{s:s, s:s}", "type", "load", "mode", closed ? "closed" : "open");
		if (rate != NULL)
			json_object_set_new(*event, "rate", json_real(rate_at(&program, 0)));
		if (rate != NULL && !rate_is_constant(&program))
			json_object_set_new(*event, "program", json_text(rate));
		if (mix.n > 0)
			json_object_set_new(*event, "mix", mix_json(mix.at, mix.n));
	}
	lua_pop(L, 1);
	if (st == ST_OK && (st = change_flags(load, L, true, *event, err)) != ST_OK)
		json_decref(*event);
	lua_pop(L, 1);
	VEC_FREE(&mix);
	return st;
}

enum status traffic_begin(
	struct load *load, const char *const *flags, const struct load_weight *mix, size_t n, json_t *recorded, struct error *err)
{
	enum status st = ST_OK;
	json_t *set = json_object();
	json_object_update(set, json_object_get(recorded, "flags"));
	for (; flags != NULL && *flags != NULL && st == ST_OK; flags++) {
		char name[64];
		const char *value = strchr(*flags, '=');
		if (value == NULL || value - *flags >= (ptrdiff_t)sizeof name) {
			st = error_set(err, ST_USAGE, "the flag %s has no value", *flags);
			error_hint(err, "NAME=VALUE");
			break;
		}
		snprintf(name, sizeof name, "%.*s", (int)(value - *flags), *flags);
		st = load_set_flag(load, name, value + 1, err);
		json_object_set_new(set, name, json_text(value + 1));
	}
	if (json_object_size(set) > 0)
		json_object_set(recorded, "flags", set);
	json_decref(set);
	if (st == ST_OK && n > 0 && (st = load_change(load, NULL, mix, n, err)) == ST_OK)
		json_object_set_new(recorded, "mix", mix_json(mix, n));
	return st;
}
