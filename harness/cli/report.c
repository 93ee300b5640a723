/* Runs the report writers of reports/: gives them the module `record` and the little that Lua cannot do by itself. */
#define _GNU_SOURCE
#include "cli/report.h"

#include "base/fs.h"
#include "base/proc.h"
#include "base/units.h"
#include "record/lua_record.h"
#include "record/reader.h"
#include "runtime/script.h"

#include <lauxlib.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_TOOL_WORDS = 8, TOOL_OUTPUT = 64 * 1024 };
#define TOOL_TIMEOUT_NS INT64_C(60000000000)

/* In the order in which messages list them. file: below DIR; NULL goes to the stream. */
static const struct format {
	const char *name;
	const char *file;
} FORMATS[] = {{"html", "report.html"}, {"markdown", NULL}, {"junit", "junit.xml"}, {"text", NULL}};
#define FORMAT_COUNT (sizeof FORMATS / sizeof FORMATS[0])

static const struct format *find_format(const char *name)
{
	for (size_t i = 0; i < FORMAT_COUNT; i++)
		if (strcmp(FORMATS[i].name, name) == 0)
			return &FORMATS[i];
	return NULL;
}

/* host.time(ns) -> "1.25 s" */
static int host_time(lua_State *L)
{
	char out[64];
	lua_pushstring(L, units_format_time((int64_t)luaL_checkinteger(L, 1), out, sizeof out));
	return 1;
}

/* host.bytes(n) -> "12.3 MB" */
static int host_bytes(lua_State *L)
{
	char out[64];
	lua_pushstring(L, units_format_bytes(luaL_checknumber(L, 1), out, sizeof out));
	return 1;
}

/* host.make_dirs(path): the folder and those above it. Returns true, or nil and why not. */
static int host_make_dirs(lua_State *L)
{
	struct error err;
	if (fs_make_dirs(luaL_checkstring(L, 1), 0755, &err) == ST_OK) {
		lua_pushboolean(L, 1);
		return 1;
	}
	lua_pushnil(L);
	lua_pushstring(L, err.what);
	return 2;
}

/* host.run(folder, program, words...) -> exit code and output; nil and why when the program could not be started. No shell in between. */
static int host_run(lua_State *L)
{
	const char *argv[MAX_TOOL_WORDS + 1] = {NULL};
	int n = lua_gettop(L) - 1;
	luaL_argcheck(L, n >= 1 && n <= MAX_TOOL_WORDS, 2, "a program and at most 7 words");
	for (int i = 0; i < n; i++)
		argv[i] = luaL_checkstring(L, i + 2);
	struct proc_spec spec = {.argv = argv, .dir = luaL_checkstring(L, 1), .timeout_ns = TOOL_TIMEOUT_NS};
	struct proc_result result;
	struct buf output;
	struct error err;
	buf_init(&output, TOOL_OUTPUT);
	if (proc_run(&spec, &output, &result, &err) == ST_OK) {
		lua_pushinteger(L, result.exit_code);
		lua_pushlstring(L, output.data, output.len);
	} else {
		lua_pushnil(L);
		lua_pushstring(L, err.what);
	}
	buf_free(&output);
	return 2;
}

static int load_host(lua_State *L)
{
	static const luaL_Reg FUNCTIONS[] = {
		{"time", host_time},
		{"bytes", host_bytes},
		{"make_dirs", host_make_dirs},
		{"run", host_run},
		{NULL, NULL},
	};
	luaL_newlib(L, FUNCTIONS);
	return 1;
}

static int terminal_width(FILE *stream)
{
	struct winsize size;
	if (stream != NULL && ioctl(fileno(stream), TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return 100;
}

/* Pushes the table that reports/report.lua describes. */
static void push_options(lua_State *L, const struct report_spec *spec, const char *home, const char *beside,
	const struct record_list *records, bool to_stream)
{
	bool terminal = to_stream && spec->stream != NULL && isatty(fileno(spec->stream)) && getenv("NO_COLOR") == NULL;
	lua_newtable(L);
	lua_pushstring(L, spec->format);
	lua_setfield(L, -2, "format");
	lua_pushstring(L, home);
	lua_setfield(L, -2, "home");
	lua_pushstring(L, beside);
	lua_setfield(L, -2, "dir");
	lua_pushstring(L, PGR_VERSION);
	lua_setfield(L, -2, "version");
	lua_pushboolean(L, terminal);
	lua_setfield(L, -2, "colour");
	lua_pushboolean(L, spec->verdict_only);
	lua_setfield(L, -2, "verdict_only");
	lua_pushinteger(L, terminal_width(terminal ? spec->stream : NULL));
	lua_setfield(L, -2, "width");
	lua_createtable(L, records->n, 0);
	for (int i = 0; i < records->n; i++) {
		lua_pushstring(L, records->dirs[i]);
		lua_rawseti(L, -2, i + 1);
	}
	lua_setfield(L, -2, "dirs");
}

static enum status write_result(const struct report_spec *spec, const char *path, const char *text, size_t len, struct error *err)
{
	if (strcmp(path, "-") != 0)
		return fs_write_file(path, text, len, err);
	if (fwrite(text, 1, len, spec->stream) != len || fflush(spec->stream) != 0)
		return error_errno(err, ST_FAILED, "the report could not be written");
	return ST_OK;
}

/* The folder of path; that of the record for a stream. */
static void folder_of(const char *path, const char *dir, char out[PATH_MAX])
{
	if (strcmp(path, "-") == 0) {
		snprintf(out, PATH_MAX, "%s", dir);
		return;
	}
	const char *slash = strrchr(path, '/');
	if (slash == NULL)
		snprintf(out, PATH_MAX, ".");
	else
		snprintf(out, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

static enum status write_records(const struct report_spec *spec, const struct record_list *records, const char *path, struct error *err)
{
	char home[PATH_MAX], entry[PATH_MAX + 16], beside[PATH_MAX];
	snprintf(home, sizeof home, "%s/reports", script_home());
	snprintf(entry, sizeof entry, "%s/report.lua", home);
	folder_of(path, spec->dir, beside);

	const char *const dirs[] = {home, NULL};
	lua_State *L;
	enum status st = script_create(dirs, &L, err);
	if (st != ST_OK)
		return st;
	record_preload_lua(L);
	luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
	lua_pushcfunction(L, load_host);
	lua_setfield(L, -2, "host");
	lua_pop(L, 1);
	if ((st = script_load(L, entry, err)) == ST_OK) {
		push_options(L, spec, home, beside, records, strcmp(path, "-") == 0);
		st = script_call(L, 1, 2, ST_FAILED, err);
	}
	if (st == ST_OK) {
		size_t len;
		const char *text = lua_tolstring(L, -2, &len);
		if (text != NULL)
			st = write_result(spec, path, text, len, err);
		else
			st = error_set(err, ST_FAILED, "%s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "the writer gave no text");
	}
	script_free(L);
	return st;
}

const char *report_path(const char *dir, const char *format, char *out, size_t size)
{
	const struct format *f = find_format(format);
	if (f == NULL)
		return NULL;
	if (f->file == NULL)
		snprintf(out, size, "-");
	else
		snprintf(out, size, "%s/%s", dir, f->file);
	return out;
}

enum status report_write(const struct report_spec *spec, struct error *err)
{
	char path[PATH_MAX];
	if (report_path(spec->dir, spec->format, path, sizeof path) == NULL) {
		error_set(err, ST_USAGE, "there is no report format \"%s\"", spec->format);
		error_hint(err, "html, markdown, junit or text");
		return ST_USAGE;
	}
	struct record_list records;
	enum status st = reader_list(spec->dir, &records, err);
	if (st != ST_OK)
		return st;
	st = write_records(spec, &records, spec->out != NULL ? spec->out : path, err);
	reader_list_free(&records);
	return st;
}

enum status report_verdict(const char *dir, enum verdict *verdict, struct error *err)
{
	struct report_spec words = {.dir = dir, .format = "text", .out = "-", .stream = stdout, .verdict_only = true};
	enum status st = judge_record(dir, NULL, 0, verdict, err);
	return st == ST_OK && *verdict == VERDICT_INVALID ? report_write(&words, err) : st;
}
