/* Tests written in Lua: a file of tests/unit/FOLDER returns { [sentence] = function }; each function raises an error when it does not hold. */
#ifndef PGR_TESTS_LUA_CASES_H
#define PGR_TESTS_LUA_CASES_H

#include "runtime/script.h"
#include "unit.h"

#include <limits.h>

/* Runs them all, with scenarios/lib and the folder itself on their path; prepare (may be NULL) adds to the Lua state first. How many failed, each printed. */
static inline int run_lua_cases(const char *folder, const char *file, void (*prepare)(lua_State *L))
{
	char lib[PATH_MAX + 64], mine[PATH_MAX + 64], path[PATH_MAX + 128];
	snprintf(lib, sizeof lib, "%s/scenarios/lib", script_home());
	snprintf(mine, sizeof mine, "%s/tests/unit/%s", script_home(), folder);
	snprintf(path, sizeof path, "%s/%s", mine, file);
	const char *const dirs[] = {lib, mine, NULL};
	lua_State *L;
	struct error err;
	assert_int_equal(script_create(dirs, &L, &err), ST_OK);
	if (prepare != NULL)
		prepare(L);
	if (script_load(L, path, &err) != ST_OK)
		fail_msg("%s: %s", err.where, err.what);
	int failed = 0, n = 0;
	for (lua_pushnil(L); lua_next(L, 1); n++) {
		const char *sentence = lua_tostring(L, -2);
		if (script_call(L, 0, 0, ST_FAILED, &err) != ST_OK) {
			print_error("%s: %s: %s: %s\n", file, sentence, err.where, err.what);
			failed++;
		}
	}
	script_free(L);
	assert_true(n > 0);
	return failed;
}

#endif
