/* libFuzzer target: SQL of a migration, as `pgrehearse check` reads it. Whatever the parser accepts must be predicted and judged without
 * an error of ours. */
#define _GNU_SOURCE
#include "runtime/script.h"
#include "sql/parse.h"

#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char EXAMINE[] =
	"local check, catalogue, split = require 'check', require 'catalogue', require 'rehearse.split'\n"
	"local same = function(t) return t end\n"
	"return function(text)\n"
	"  local ok, up = pcall(split, text)\n"
	"  if not ok or #up == 0 then return end\n"
	"  local half = table.move(up, #up // 2 + 1, #up, 1, {})\n"
	"  local step = { name = 's', kind = 'sql', up = up, down = half, transaction = #text % 2 == 0, lock_timeout = #text % 3, retries = 1 }\n"
	"  local result = check.examine('none.lua', { title = 't', steps = { step } }, { catalogue.base }, 15, same)\n"
	"  check.text(result)\n"
	"  check.sarif_results(result, same)\n"
	"end\n";

static lua_State *make_state(void)
{
	static char lib[PATH_MAX];
	lua_State *L;
	struct error err;
	snprintf(lib, sizeof lib, "%s/scenarios/lib", script_home());
	if (script_create((const char *const[]){lib, NULL}, &L, &err) != ST_OK)
		abort();
	sql_preload_lua(L);
	if (luaL_loadstring(L, EXAMINE) != LUA_OK || script_call(L, 0, 1, ST_FAILED, &err) != ST_OK) {
		fprintf(stderr, "%s\n", err.what);
		abort();
	}
	return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static lua_State *L;
	struct error err;
	if (size > INPUT_MAX)
		return 0;
	if (L == NULL)
		L = make_state();
	lua_pushvalue(L, 1);
	lua_pushlstring(L, (const char *)data, size);
	if (script_call(L, 1, 0, ST_FAILED, &err) != ST_OK) {
		fprintf(stderr, "%s: %s\n", err.where, err.what);
		abort();
	}
	return 0;
}
