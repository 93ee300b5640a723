/* libFuzzer target: a record read by Lua. The input is run.json up to the first NUL byte, then waits.jsonl up to the next,
 * then windows.jsonl, events.jsonl, intervals.jsonl, latency.hlog. */
#define _GNU_SOURCE
#include "base/fs.h"
#include "record/lua_record.h"
#include "runtime/script.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static lua_State *L;

static const char READ_ALL[] =
	"local record = require 'record'; local dir = ...\n"
	"local rec = record.open(dir)\n"
	"for _, name in ipairs { 'events', 'waits', 'windows', 'intervals' } do for line in rec[name](rec) do assert(type(line) == 'table') end end\n"
	"local n = 0\n"
	"for _, tag in ipairs(rec:tags()) do n = n + rec:histogram { tag = tag:gsub('[*]', '') }:count() end\n"
	"local all = rec:histogram()\n"
	"all:quantile(0.99); rec:phase_at(0); rec:bad_lines()";

static void remove_dir(void)
{
	struct error err;
	if (fs_remove_tree(dir, &err) != ST_OK)
		fputs(err.what, stderr);
}

static void set_up(void)
{
	static const char *const NO_DIRS[] = {NULL};
	struct error err;
	snprintf(dir, sizeof dir, "/tmp/pgr-fuzz-XXXXXX");
	if (mkdtemp(dir) == NULL || script_create(NO_DIRS, &L, &err) != ST_OK)
		abort();
	atexit(remove_dir);
	record_preload_lua(L);
	if (luaL_loadbuffer(L, READ_ALL, sizeof READ_ALL - 1, "=fuzz") != LUA_OK)
		abort();
}

/* Writes what stands before the next NUL byte into a file of the record; moves on behind it. */
static void put_file(const char *name, const uint8_t **data, size_t *size)
{
	char path[128];
	const uint8_t *nul = memchr(*data, '\0', *size);
	size_t n = nul != NULL ? (size_t)(nul - *data) : *size;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	if (f == NULL || fwrite(*data, 1, n, f) != n || fclose(f) != 0)
		abort();
	size_t used = nul != NULL ? n + 1 : n;
	*data += used;
	*size -= used;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err;
	if (L == NULL)
		set_up();
	put_file("run.json", &data, &size);
	put_file("waits.jsonl", &data, &size);
	put_file("windows.jsonl", &data, &size);
	put_file("events.jsonl", &data, &size);
	put_file("intervals.jsonl", &data, &size);
	put_file("latency.hlog", &data, &size);
	lua_pushvalue(L, -1);
	lua_pushstring(L, dir);
	/* Errors are fine, crashes are not. */
	if (script_call(L, 1, 0, ST_FAILED, &err) != ST_OK && err.what[0] == '\0')
		abort();
	lua_gc(L, LUA_GCCOLLECT);
	return 0;
}
