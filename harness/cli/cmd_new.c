/* pgrehearse new: writes a scenario to start from, of a plain migration, or of a folder of migrations. */
#define _GNU_SOURCE
#include "base/fs.h"
#include "cli/commands.h"
#include "runtime/script.h"

#include <getopt.h>
#include <lauxlib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] = "usage: pgrehearse new NAME [--workload NAME] [--out FILE] [--force]\n"
			   "       pgrehearse new [NAME] --from-sql UP.sql [--down DOWN.sql] ...\n"
			   "       pgrehearse new [NAME] --from-dir DIR [--layout NAME] [--after VERSION] [--through VERSION] ...\n\n"
			   "Writes NAME.lua: a commented scenario to start from, one of a plain migration file, or one of the migrations\n"
			   "in a folder of Flyway, sqitch, goose, dbmate, golang-migrate or node-pg-migrate (of SQL).\n\n"
			   "  --from-sql UP.sql  the migration; each part that is a transaction, or cannot be in one, becomes a step\n"
			   "  --down DOWN.sql    its way back\n"
			   "  --from-dir DIR     the folder, read each time the scenario is\n"
			   "  --layout NAME      flyway, sqitch, goose, dbmate, golang-migrate, node-pg-migrate (default: as found)\n"
			   "  --after VERSION    only migrations after this one;  --through VERSION  only up to this one\n"
			   "  --workload NAME    the application's traffic (default: shop)\n"
			   "  --out FILE         where to (default: NAME.lua);  --force  also when that is there\n\n"
			   "Example: pgrehearse new add_nickname && pgrehearse check add_nickname.lua\n";

struct new_options {
	const char *name, *workload, *out, *from_sql, *down, *from_dir, *layout, *after, *through;
	bool force, help;
};

/* The last part of path, up to .sql or .up.sql. */
static void name_of(const char *path, char *out, size_t size)
{
	size_t end = strlen(path);
	while (end > 1 && path[end - 1] == '/')
		end--;
	size_t begin = end;
	while (begin > 0 && path[begin - 1] != '/')
		begin--;
	snprintf(out, size, "%.*s", (int)(end - begin), path + begin);
	for (const char *const *suffix = (const char *const[]){".sql", ".up", NULL}; *suffix != NULL; suffix++) {
		size_t n = strlen(out), m = strlen(*suffix);
		if (n > m && strcmp(out + n - m, *suffix) == 0)
			out[n - m] = '\0';
	}
}

/* Leaves the text of a file on the stack, or nil for NULL. */
static enum status push_file(lua_State *L, const char *path, struct error *err)
{
	if (path == NULL) {
		lua_pushnil(L);
		return ST_OK;
	}
	struct buf text;
	buf_init(&text, (size_t)8 << 20);
	enum status st = fs_read_file(path, &text, err);
	if (st == ST_OK)
		lua_pushlstring(L, text.data, text.len);
	buf_free(&text);
	return st;
}

/* DIR as the scenario file will name it: from its own folder. */
static enum status push_folder(lua_State *L, const char *dir, const char *out, struct error *err)
{
	char folder[PATH_MAX], here[PATH_MAX], there[PATH_MAX];
	const char *slash = strrchr(out, '/');
	snprintf(folder, sizeof folder, "%.*s", slash != NULL ? (int)(slash - out) : 1, slash != NULL ? out : ".");
	if (realpath(dir, there) == NULL)
		return error_errno(err, ST_USAGE, "--from-dir %s", dir);
	if (realpath(folder[0] != '\0' ? folder : "/", here) == NULL)
		return error_errno(err, ST_USAGE, "--out %s", out);
	size_t n = strlen(here);
	bool below = strncmp(here, there, n) == 0 && there[n] == '/';
	lua_pushstring(L, below ? there + n + 1 : there);
	return ST_OK;
}

/* Leaves the scenario's text on the stack. */
static enum status make_text(lua_State *L, const struct new_options *o, const char *name, const char *out, struct error *err)
{
	enum status st = ST_OK;
	lua_getglobal(L, "require");
	lua_pushliteral(L, "convert");
	if ((st = script_call(L, 1, 1, ST_FAILED, err)) != ST_OK)
		return st;
	lua_getfield(L, -1, o->from_sql != NULL ? "from_sql" : o->from_dir != NULL ? "from_directory" : "template");
	lua_pushstring(L, name);
	lua_pushstring(L, out);
	lua_pushstring(L, o->workload);
	int words = 3;
	if (o->from_sql != NULL) {
		st = push_file(L, o->from_sql, err);
		if (st == ST_OK)
			st = push_file(L, o->down, err);
		words = 5;
	} else if (o->from_dir != NULL) {
		st = push_folder(L, o->from_dir, out, err);
		lua_pushstring(L, o->from_dir);
		lua_pushstring(L, o->layout);
		lua_pushstring(L, o->after);
		lua_pushstring(L, o->through);
		words = 8;
	}
	if (st != ST_OK || (st = script_call(L, words, 1, ST_USAGE, err)) == ST_OK)
		return st;
	/* What has no place in our Lua is about the user's files: there the way through our functions tells nothing. */
	char *traceback = err->where[0] == '\0' ? strstr(err->what, "\nstack traceback:") : NULL;
	if (traceback != NULL)
		*traceback = '\0';
	return st;
}

static int write_scenario(const struct new_options *o)
{
	char name[256], out[PATH_MAX], lib[PATH_MAX];
	struct error err;
	name_of(o->name != NULL ? o->name : o->from_sql != NULL ? o->from_sql : o->from_dir, name, sizeof name);
	size_t n = strlen(name);
	if (n > 4 && strcmp(name + n - 4, ".lua") == 0)
		name[n - 4] = '\0';
	if (o->out != NULL)
		snprintf(out, sizeof out, "%s", o->out);
	else
		snprintf(out, sizeof out, "%s.lua", name);
	if (!o->force && fs_exists(out)) {
		error_set(&err, ST_USAGE, "%s is there already", out);
		error_hint(&err, "--out FILE writes elsewhere, --force replaces it");
		return command_fail(&err);
	}
	snprintf(lib, sizeof lib, "%s/scenarios/lib", script_home());
	lua_State *L = NULL;
	enum status st = script_create((const char *const[]){lib, NULL}, &L, &err);
	if (st == ST_OK)
		st = make_text(L, o, name, out, &err);
	if (st == ST_OK) {
		size_t length;
		const char *text = lua_tolstring(L, -1, &length);
		st = fs_write_file(out, text, length, &err);
	}
	script_free(L);
	if (st != ST_OK)
		return command_fail(&err);
	printf("%s\n", out);
	return ST_OK;
}

static enum status check_options(const struct new_options *o, struct error *err)
{
	enum status st = ST_OK;
	if (o->from_sql != NULL && o->from_dir != NULL)
		st = error_set(err, ST_USAGE, "new: --from-sql and --from-dir are two scenarios");
	else if (o->down != NULL && o->from_sql == NULL)
		st = error_set(err, ST_USAGE, "new: --down belongs to --from-sql");
	else if ((o->layout != NULL || o->after != NULL || o->through != NULL) && o->from_dir == NULL)
		st = error_set(err, ST_USAGE, "new: --layout, --after and --through belong to --from-dir");
	else if (o->name == NULL && o->from_sql == NULL && o->from_dir == NULL)
		st = error_set(err, ST_USAGE, "new: which name?");
	if (st != ST_OK)
		error_hint(err, "pgrehearse new --help shows what there is");
	return st;
}

int cmd_new(int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{"workload", required_argument, NULL, 'w'},
		{"out", required_argument, NULL, 'o'},
		{"force", no_argument, NULL, 'f'},
		{"from-sql", required_argument, NULL, 's'},
		{"down", required_argument, NULL, 'd'},
		{"from-dir", required_argument, NULL, 'D'},
		{"layout", required_argument, NULL, 'l'},
		{"after", required_argument, NULL, 'a'},
		{"through", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct new_options o = {.workload = "shop"};
	struct error err;
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		const char **value = c == 'w' ? &o.workload
			: c == 'o'            ? &o.out
			: c == 's'            ? &o.from_sql
			: c == 'd'            ? &o.down
			: c == 'D'            ? &o.from_dir
			: c == 'l'            ? &o.layout
			: c == 'a'            ? &o.after
			: c == 't'            ? &o.through
					      : NULL;
		if (value != NULL)
			*value = optarg;
		else if (c == 'f')
			o.force = true;
		else if (c == 'h')
			o.help = true;
		else
			return command_bad_option("new", c, optopt, argv[optind - 1]);
	}
	if (o.help)
		return fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
	if (optind < argc)
		o.name = argv[optind++];
	if (optind < argc) {
		error_set(&err, ST_USAGE, "new: it takes one name, and not \"%s\" too", argv[optind]);
		error_hint(&err, "pgrehearse new --help shows what there is");
		return command_fail(&err);
	}
	return check_options(&o, &err) == ST_OK ? write_scenario(&o) : command_fail(&err);
}
