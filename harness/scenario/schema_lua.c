/* Runs a workload's file for its data alone and takes out the SQL of its schema. */
#include "scenario/schema_lua.h"

#include "load/workload.h"
#include "runtime/script.h"

#include <stdlib.h>

/* Appends the SQL of a list of groups, on top of from, to the list on top of L. */
static void add_groups(lua_State *L, lua_State *from)
{
	lua_Integer n = luaL_len(L, -1);
	for (lua_Integer g = 1; lua_geti(from, -1, g) == LUA_TTABLE; g++) {
		for (lua_Integer i = 1; lua_geti(from, -1, i) == LUA_TSTRING; i++) {
			lua_pushstring(L, lua_tostring(from, -1));
			lua_seti(L, -2, ++n);
			lua_pop(from, 1);
		}
		lua_pop(from, 2);
	}
	lua_pop(from, 2);
}

void schema_push(lua_State *L, const char *workload, const char *beside)
{
	lua_State *data = NULL;
	char *path = NULL;
	struct error ignored;
	lua_newtable(L);
	if (workload != NULL && workload_find(workload, beside, &path, &ignored) == ST_OK &&
		workload_create_state(path, NULL, &data, &ignored) == ST_OK && workload_load_data(data, path, 1, &ignored) == ST_OK) {
		luaL_checkstack(data, 8, "schema");
		lua_getfield(data, -1, "schema");
		add_groups(L, data);
		lua_getfield(data, -1, "finish");
		add_groups(L, data);
	}
	script_free(data);
	free(path);
}
