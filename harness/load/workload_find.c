/* Where a workload is, and where its file finds modules. */
#define _GNU_SOURCE
#include "base/buf.h"
#include "base/fs.h"
#include "load/workload_internal.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_file(const char *path)
{
	return fs_exists(path) && !fs_is_dir(path);
}

static void folder_of(const char *path, char out[static PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	if (slash == NULL)
		snprintf(out, PATH_MAX, ".");
	else
		snprintf(out, PATH_MAX, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

bool workload_is_pgbench(const char *name)
{
	return strncmp(name, WORKLOAD_PGBENCH, strlen(WORKLOAD_PGBENCH)) == 0;
}

/* The line with one more setting: the folder of the file that names it, where scripts may lie. */
static enum status find_pgbench(const char *name, const char *beside, char **out, struct error *err)
{
	struct buf line;
	buf_init(&line, (size_t)1 << 20);
	buf_str(&line, name);
	if (beside != NULL) {
		char folder[PATH_MAX];
		folder_of(beside, folder);
		buf_printf(&line, "%cbeside=", strchr(name, '?') != NULL ? '&' : '?');
		for (const char *c = folder; *c != '\0'; c++)
			buf_printf(&line, *c == '&' || *c == '%' ? "%%%02X" : "%c", (unsigned char)*c);
	}
	enum status st = line.overflow ? error_set(err, ST_USAGE, "the names of the pgbench scripts are too long") : ST_OK;
	if (st == ST_OK && (*out = strdup(line.data)) == NULL)
		st = error_set(err, ST_FAILED, "out of memory");
	buf_free(&line);
	return st;
}

enum status workload_find(const char *name, const char *beside, char **out, struct error *err)
{
	*out = NULL;
	if (workload_is_pgbench(name))
		return find_pgbench(name, beside, out, err);
	size_t len = strlen(name);
	/* A trace is no workload: it is replayed beside one that does nothing. */
	if (len > 6 && strcmp(name + len - 6, ".trace") == 0) {
		name = "traced";
		len = strlen(name);
		beside = NULL;
	}
	bool suffixed = len > 4 && strcmp(name + len - 4, ".lua") == 0;
	if (len == 0 || len > 1024)
		return error_set(err, ST_USAGE, len == 0 ? "the name of the workload is empty" : "the name of the workload is too long");
	char folder[PATH_MAX], tried[3][PATH_MAX + 2048];
	int n = 0;
	if (suffixed || strchr(name, '/') != NULL)
		snprintf(tried[n++], sizeof tried[0], "%s", name);
	if (beside != NULL && name[0] != '/') {
		folder_of(beside, folder);
		snprintf(tried[n++], sizeof tried[0], "%s/%s%s", folder, name, suffixed ? "" : ".lua");
	}
	if (name[0] != '/')
		snprintf(tried[n++], sizeof tried[0], "%s/workloads/%s%s", script_home(), name, suffixed ? "" : ".lua");
	for (int i = 0; i < n; i++) {
		if (is_file(tried[i])) {
			*out = strdup(tried[i]);
			return *out != NULL ? ST_OK : error_set(err, ST_FAILED, "out of memory");
		}
	}
	error_set(err, ST_USAGE, "there is no workload %s", name);
	error_hint(
		err, "looked for %s%s%s%s%s", tried[0], n > 1 ? ", " : "", n > 1 ? tried[1] : "", n > 2 ? ", " : "", n > 2 ? tried[2] : "");
	return ST_USAGE;
}

void workload_add_folder_of(lua_State *L, const char *path)
{
	char folder[PATH_MAX];
	folder_of(path, folder);
	lua_getglobal(L, "package");
	lua_getfield(L, -1, "path");
	const char *before = lua_tostring(L, -1);
	if (before == NULL)
		before = "";
	lua_pushfstring(L, "%s/lib/?.lua;%s/lib/?/init.lua;%s/?.lua", folder, folder, folder);
	if (strstr(before, lua_tostring(L, -1)) == NULL) {
		lua_pushfstring(L, "%s%s%s", before, before[0] != '\0' ? ";" : "", lua_tostring(L, -1));
		lua_setfield(L, -4, "path");
	}
	lua_pop(L, 3);
}

enum status workload_create_state(const char *workload_path, const char *scenario_path, lua_State **out, struct error *err)
{
	char workloads[PATH_MAX], scenarios[PATH_MAX];
	snprintf(workloads, sizeof workloads, "%s/workloads/lib", script_home());
	snprintf(scenarios, sizeof scenarios, "%s/scenarios/lib", script_home());
	enum status st = script_create((const char *const[]){workloads, scenarios, NULL}, out, err);
	if (st != ST_OK)
		return st;
	if (scenario_path != NULL)
		workload_add_folder_of(*out, scenario_path);
	if (workload_path != NULL && strchr(workload_path, '/') != NULL && !workload_is_pgbench(workload_path))
		workload_add_folder_of(*out, workload_path);
	return ST_OK;
}
