/* Lua 5.4 states: made with the libraries that scripts may use, called only through protected calls with a traceback. */
#ifndef PGR_RUNTIME_SCRIPT_H
#define PGR_RUNTIME_SCRIPT_H

#include "base/error.h"

#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>

/* A state with Lua's standard libraries. `require` finds modules only below the folders of dirs (NULL-terminated; "DIR/?.lua",
 * "DIR/?/init.lua"): never below the current folder or LUA_PATH, so that a run does not depend on where it was started. Its module `files` has
 * list(folder): the names in it, in order, folders with a / behind. */
enum status script_create(const char *const *dirs, lua_State **out, struct error *err) MUST_CHECK;
void script_free(lua_State *L);

/* Runs the file and leaves its one result on the stack. Errors name file and line and carry a traceback. */
enum status script_load(lua_State *L, const char *path, struct error *err) MUST_CHECK;

/* lua_pcall with a traceback; an error becomes err (status: the one to report) and leaves nothing on the stack. */
enum status script_call(lua_State *L, int args, int results, enum status status, struct error *err) MUST_CHECK;

/* Fills err from the error value on top of L's stack (a string, a table with a message field, anything) and pops it.
 * "file.lua:12: text" is split into where and what. Returns status. */
enum status script_error(lua_State *L, enum status status, struct error *err);

/* Where the program's Lua files are: the checkout it was built in or PREFIX/share/pgrehearse, found from the running
 * executable; the variable PGREHEARSE_HOME overrides. It holds the folders scenarios, workloads, reports. */
const char *script_home(void);

#endif
