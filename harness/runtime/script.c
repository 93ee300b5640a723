/* Lua states, protected calls, and error values turned into struct error. */
#define _GNU_SOURCE
#include "runtime/script.h"

#include "base/fs.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <lualib.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* files.list(folder): the names in it, in order, folders with a / behind; raises when it cannot be read. */
static int files_list(lua_State *L)
{
	const char *folder = luaL_checkstring(L, 1);
	struct dirent **entries = NULL;
	int n = scandir(folder, &entries, NULL, compare_names);
	if (n < 0)
		return luaL_error(L, "%s cannot be read: %s", folder, strerror(errno));
	lua_createtable(L, n, 0);
	lua_Integer at = 0;
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX];
		snprintf(path, sizeof path, "%s/%s", folder, entries[i]->d_name);
		if (entries[i]->d_name[0] != '.') {
			lua_pushfstring(L, "%s%s", entries[i]->d_name, fs_is_dir(path) ? "/" : "");
			lua_rawseti(L, -2, ++at);
		}
		free(entries[i]);
	}
	free(entries);
	return 1;
}

static int open_files(lua_State *L)
{
	static const luaL_Reg FUNCTIONS[] = {{"list", files_list}, {NULL, NULL}};
	luaL_newlib(L, FUNCTIONS);
	return 1;
}

enum status script_create(const char *const *dirs, lua_State **out, struct error *err)
{
	lua_State *L = luaL_newstate();
	if (L == NULL)
		return error_set(err, ST_FAILED, "out of memory for a Lua state");
	/* Coroutines inherit these bytes; a fiber's own hold its struct fiber, so that others are known not to be fibers. */
	memset(lua_getextraspace(L), 0, LUA_EXTRASPACE);
	luaL_openlibs(L);
	luaL_Buffer path;
	luaL_buffinit(L, &path);
	for (const char *const *d = dirs; d != NULL && *d != NULL; d++) {
		lua_pushfstring(L, "%s%s/?.lua;%s/?/init.lua", d == dirs ? "" : ";", *d, *d);
		luaL_addvalue(&path);
	}
	luaL_pushresult(&path);
	lua_getglobal(L, LUA_LOADLIBNAME);
	lua_insert(L, -2);
	lua_setfield(L, -2, "path");
	lua_pushliteral(L, "");
	lua_setfield(L, -2, "cpath");
	lua_pop(L, 1);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, open_files);
	lua_setfield(L, -2, "files");
	lua_pop(L, 1);
	*out = L;
	return ST_OK;
}

void script_free(lua_State *L)
{
	if (L != NULL)
		lua_close(L);
}

/* Message handler: text becomes text with a traceback; an error table keeps its fields and gets one named traceback. */
static int add_traceback(lua_State *L)
{
	if (lua_type(L, 1) == LUA_TTABLE) {
		luaL_traceback(L, L, NULL, 1);
		lua_setfield(L, 1, "traceback");
		lua_settop(L, 1);
		return 1;
	}
	luaL_traceback(L, L, luaL_tolstring(L, 1, NULL), 1);
	return 1;
}

/* "dir/file.lua:12: text" -> where "dir/file.lua:12", what "text". A position is only believed when digits and ": " follow. */
static void split_position(const char *text, struct error *err, enum status status)
{
	for (const char *colon = strchr(text, ':'); colon != NULL && strchr(colon, '\n') != colon; colon = strchr(colon + 1, ':')) {
		size_t digits = strspn(colon + 1, "0123456789");
		if (digits > 0 && strncmp(colon + 1 + digits, ": ", 2) == 0) {
			error_set(err, status, "%s", colon + digits + 3);
			error_where(err, "%.*s", (int)(colon + 1 + digits - text), text);
			return;
		}
		const char *newline = memchr(text, '\n', (size_t)(colon - text));
		if (newline != NULL)
			break;
	}
	error_set(err, status, "%s", text);
}

enum status script_error(lua_State *L, enum status status, struct error *err)
{
	if (lua_type(L, -1) == LUA_TTABLE) {
		lua_getfield(L, -1, "message");
		lua_getfield(L, -2, "traceback");
		const char *message = lua_tostring(L, -2);
		const char *traceback = lua_tostring(L, -1);
		if (message != NULL && traceback != NULL)
			lua_pushfstring(L, "%s\n%s", message, traceback);
		else
			lua_pushstring(L, message != NULL ? message : "an error that is a table without a message");
		split_position(lua_tostring(L, -1), err, status);
		lua_pop(L, 4);
		return status;
	}
	split_position(luaL_tolstring(L, -1, NULL), err, status);
	lua_pop(L, 2);
	return status;
}

enum status script_call(lua_State *L, int args, int results, enum status status, struct error *err)
{
	int handler = lua_gettop(L) - args;
	lua_pushcfunction(L, add_traceback);
	lua_insert(L, handler);
	int outcome = lua_pcall(L, args, results, handler);
	lua_remove(L, handler);
	return outcome == LUA_OK ? ST_OK : script_error(L, status, err);
}

enum status script_load(lua_State *L, const char *path, struct error *err)
{
	if (!fs_exists(path))
		return error_set(err, ST_USAGE, "there is no file %s", path);
	lua_pushfstring(L, "@%s", path);
	struct buf text;
	buf_init(&text, (size_t)8 << 20);
	enum status st = fs_read_file(path, &text, err);
	if (st == ST_OK && luaL_loadbufferx(L, text.data, text.len, lua_tostring(L, -1), "t") != LUA_OK)
		st = script_error(L, ST_USAGE, err);
	buf_free(&text);
	if (st != ST_OK) {
		lua_pop(L, 1);
		return st;
	}
	lua_remove(L, -2);
	return script_call(L, 0, 1, ST_USAGE, err);
}

static char home[PATH_MAX];

static bool has_lua_files(const char *dir)
{
	char probe[PATH_MAX + 16];
	snprintf(probe, sizeof probe, "%s/workloads", dir);
	return fs_is_dir(probe);
}

/* build/pgrehearse -> the checkout; build/asan/pgrehearse and build/tests/unit/test_x too; PREFIX/bin/pgrehearse -> PREFIX/share/pgrehearse. */
static void find_home(void)
{
	const char *given = getenv("PGREHEARSE_HOME");
	if (given != NULL && given[0] != '\0') {
		snprintf(home, sizeof home, "%s", given);
		return;
	}
	char exe[PATH_MAX] = "";
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	exe[n > 0 ? n : 0] = '\0';
	char *slash;
	for (int up = 0; up < 6 && (slash = strrchr(exe, '/')) != NULL; up++) {
		*slash = '\0';
		if ((size_t)snprintf(home, sizeof home, "%s/share/pgrehearse", exe) < sizeof home && has_lua_files(home))
			return;
		snprintf(home, sizeof home, "%s", exe);
		if (has_lua_files(home))
			return;
	}
	snprintf(home, sizeof home, ".");
}

const char *script_home(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, find_home);
	return home;
}
