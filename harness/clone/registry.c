/* Which sandboxes exist on this machine for this user, and the end of those whose owner is gone. */
#define _GNU_SOURCE
#include "clone/registry.h"

#include "clone/delayed_link.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/vec.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define FORMAT 1
#define HALF_MADE_S 60         /* a folder without sandbox.json is being made, or was left behind when it is older than this */
#define QUIT_NS (7 * NS_PER_S) /* postgres gives its own children 5 s before it kills them */
#define KILL_NS (3 * NS_PER_S)

static void sleep_ms(long ms)
{
	nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

/* The first line of a small file of the kernel's; false when there is none. */
static bool read_line(const char *path, char *out, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, out, size - 1);
	close(fd);
	if (n <= 0)
		return false;
	out[n] = '\0';
	out[strcspn(out, "\n")] = '\0';
	return true;
}

static bool path_is_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);
	return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Who a process is. A pid alone is used again; with its start time, the boot and the pid namespace it is not. */

struct identity {
	int64_t start_ticks; /* since boot */
	char boot[40];
	char pid_namespace[40];
};

static bool read_start_ticks(int64_t pid, int64_t *ticks)
{
	char path[64], text[1024];
	snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
	if (!read_line(path, text, sizeof text))
		return false;
	/* The name in field 2 may hold spaces and brackets: count from its last bracket. Field 3 is the state, 22 the start. */
	char *at = strrchr(text, ')');
	if (at == NULL || at[1] == '\0' || at[2] == 'Z')
		return false;
	at += 2;
	for (int field = 3; field < 22; field++) {
		at = strchr(at, ' ');
		if (at == NULL)
			return false;
		at++;
	}
	*ticks = strtoll(at, NULL, 10);
	return true;
}

static void read_machine(struct identity *id)
{
	if (!read_line("/proc/sys/kernel/random/boot_id", id->boot, sizeof id->boot))
		id->boot[0] = '\0';
	ssize_t n = readlink("/proc/self/ns/pid", id->pid_namespace, sizeof id->pid_namespace - 1);
	id->pid_namespace[n > 0 ? n : 0] = '\0';
}

static bool owner_is_alive(const json_t *owner)
{
	struct identity now;
	read_machine(&now);
	if (strcmp(json_get_string(owner, "boot", ""), now.boot) != 0)
		return false;
	/* Another container that shares our folder: its processes cannot be seen from here. */
	if (strcmp(json_get_string(owner, "pid_namespace", ""), now.pid_namespace) != 0)
		return true;
	int64_t ticks;
	return read_start_ticks(json_get_int(owner, "pid", 0), &ticks) && ticks == json_get_int(owner, "start_ticks", -1);
}

/* The root folder. */

const char *registry_parent(void)
{
	const char *tmp = getenv("TMPDIR");
	if (tmp != NULL && tmp[0] == '/')
		return tmp;
	/* Data files belong on a disk: in memory, fsync costs nothing and no rehearsal tells the truth about writes. */
	struct statfs fs;
	if (statfs("/tmp", &fs) == 0 && fs.f_type == TMPFS_MAGIC && statfs("/var/tmp", &fs) == 0 && fs.f_type != TMPFS_MAGIC)
		return "/var/tmp";
	return "/tmp";
}

enum status registry_root(char *out, size_t size, struct error *err)
{
	char base[PATH_MAX];
	const char *tmp = registry_parent();
	if (realpath(tmp, base) == NULL)
		return error_errno(err, ST_FAILED, "cannot use %s for sandboxes", tmp);
	int n = snprintf(out, size, "%s/pgrehearse-%u", strcmp(base, "/") == 0 ? "" : base, (unsigned)geteuid());
	if (n < 0 || (size_t)n >= size)
		return error_set(err, ST_FAILED, "the path of the temporary folder is too long: %s", base);
	/* 0711 for root: the servers' user has to pass through. */
	if (mkdir(out, geteuid() == 0 ? 0711 : 0700) != 0 && errno != EEXIST) {
		enum status st = error_errno(err, ST_FAILED, "cannot make the folder %s", out);
		error_hint(err, "set TMPDIR to a folder that you may write to");
		return st;
	}
	struct stat info;
	if (lstat(out, &info) != 0)
		return error_errno(err, ST_FAILED, "cannot look at %s", out);
	if (!S_ISDIR(info.st_mode) || info.st_uid != geteuid() || (info.st_mode & 022) != 0) {
		error_set(err, ST_FAILED, "%s is not a folder that is yours alone to write to", out);
		error_hint(err, "remove it, or set TMPDIR to another folder");
		return ST_FAILED;
	}
	if (geteuid() == 0 && chmod(out, 0711) != 0)
		return error_errno(err, ST_FAILED, "cannot set the mode of %s", out);
	return ST_OK;
}

/* One sandbox's description. */

static bool server_runs(const char *dir);

static bool read_info(const char *dir, struct sandbox_info *info)
{
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/sandbox.json", dir);
	json_t *json;
	struct error err;
	if (json_read_file(path, &json, &err) != ST_OK)
		return false;
	*info = (struct sandbox_info){0};
	snprintf(info->name, sizeof info->name, "%s", json_get_string(json, "name", ""));
	snprintf(info->dir, sizeof info->dir, "%s", dir);
	snprintf(info->socket_dir, sizeof info->socket_dir, "%s", json_get_string(json, "socket_dir", ""));
	snprintf(info->dsn, sizeof info->dsn, "%s", json_get_string(json, "dsn", ""));
	snprintf(info->server_dir, sizeof info->server_dir, "%s", json_get_string(json, "server_dir", ""));
	snprintf(info->created, sizeof info->created, "%s", json_get_string(json, "created", ""));
	snprintf(info->salvage, sizeof info->salvage, "%s", json_get_string(json, "salvage", ""));
	info->server_version = (int)json_get_int(json, "server_version", 0);
	info->standbys = (int)json_array_size(json_object_get(json, "standbys"));
	info->keep = json_is_true(json_object_get(json, "keep"));
	info->ready = json_is_true(json_object_get(json, "ready"));
	const json_t *owner = json_object_get(json, "owner");
	info->owner_pid = json_get_int(owner, "pid", 0);
	info->owner_alive = owner_is_alive(owner);
	info->running = server_runs(dir);
	bool ok = json_get_int(json, "format", 0) == FORMAT && info->name[0] != '\0';
	json_decref(json);
	return ok;
}

enum status registry_write(const struct sandbox_info *info, const char *const *standby_dsns, struct error *err)
{
	struct identity id = {0};
	read_machine(&id);
	if (!read_start_ticks(getpid(), &id.start_ticks))
		id.start_ticks = -1;
	json_t *standbys = json_array();
	for (int i = 0; i < info->standbys; i++)
		json_array_append_new(standbys, json_string(standby_dsns[i]));
	json_t *json = json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:b, s:b, s:{s:I, s:I, s:s, s:s}}", "format", FORMAT, "name",
		info->name, "created", info->created, "dsn", info->dsn, "socket_dir", info->socket_dir, "server_dir", info->server_dir,
		"server_version", info->server_version, "standbys", standbys, "keep", (int)info->keep, "ready", (int)info->ready, "owner",
		"pid", (json_int_t)info->owner_pid, "start_ticks", (json_int_t)id.start_ticks, "boot", id.boot, "pid_namespace",
		id.pid_namespace);
	if (json == NULL)
		return error_set(err, ST_FAILED, "cannot describe the sandbox %s: a path is not UTF-8", info->name);
	if (info->salvage[0] != '\0')
		json_object_set_new(json, "salvage", json_string(info->salvage));
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/sandbox.json", info->dir);
	enum status st = json_write_file(path, json, err);
	json_decref(json);
	return st;
}

/* Processes. */

/* Calls signal number `sig` on every server program whose working folder lies in dir (postgres changes into its data
 * folder; the others are started in the sandbox's). Returns how many there are. A shell that someone left in there is none. */
static int signal_processes(const char *dir, int sig)
{
	static const char *const PROGRAMS[] = {"postgres", "initdb", "pg_ctl", DELAYED_LINK_PROGRAM};
	DIR *proc = opendir("/proc");
	if (proc == NULL)
		return 0;
	int found = 0;
	for (struct dirent *e; (e = readdir(proc)) != NULL;) {
		long pid = strtol(e->d_name, NULL, 10);
		if (pid <= 1)
			continue;
		char path[64], cwd[PATH_MAX], name[32];
		snprintf(path, sizeof path, "/proc/%ld/cwd", pid);
		ssize_t n = readlink(path, cwd, sizeof cwd - 1);
		if (n <= 0)
			continue;
		cwd[n] = '\0';
		snprintf(path, sizeof path, "/proc/%ld/comm", pid);
		if (!path_is_below(cwd, dir) || !read_line(path, name, sizeof name))
			continue;
		for (size_t i = 0; i < sizeof PROGRAMS / sizeof PROGRAMS[0]; i++)
			if (strcmp(name, PROGRAMS[i]) == 0) {
				found++;
				if (sig != 0)
					kill((pid_t)pid, sig);
			}
	}
	closedir(proc);
	return found;
}

static bool wait_for_processes(const char *dir, int64_t limit_ns)
{
	int64_t deadline = clock_now_ns() + limit_ns;
	while (signal_processes(dir, 0) > 0) {
		if (clock_now_ns() > deadline)
			return false;
		sleep_ms(10);
	}
	return true;
}

bool registry_stop_processes(const char *dir)
{
	if (signal_processes(dir, SIGQUIT) == 0)
		return true;
	if (wait_for_processes(dir, QUIT_NS))
		return true;
	signal_processes(dir, SIGKILL);
	return wait_for_processes(dir, KILL_NS);
}

static bool server_runs(const char *dir)
{
	char path[PATH_MAX + 64], text[32];
	snprintf(path, sizeof path, "%s/servers/primary/postmaster.pid", dir);
	if (!read_line(path, text, sizeof text))
		return false;
	snprintf(path, sizeof path, "/proc/%ld/cwd", strtol(text, NULL, 10));
	char cwd[PATH_MAX];
	ssize_t n = readlink(path, cwd, sizeof cwd - 1);
	cwd[n > 0 ? n : 0] = '\0';
	return path_is_below(cwd, dir);
}

/* Two may remove the same folder at once (its watcher and a sweep): what the other one did first is no error. */
static enum status remove_folder(const char *dir, struct error *err)
{
	for (int tries = 0;; tries++) {
		enum status st = fs_remove_tree(dir, err);
		if (st == ST_OK || !fs_exists(dir))
			return ST_OK;
		if (tries == 20)
			return st;
		sleep_ms(50);
	}
}

/* The server is stopped, if not cleanly: what it had committed is there. Of two who do it at once one does it. */
static void salvage_data(const char *dir)
{
	char data[PATH_MAX + 32], path[PATH_MAX + 64], into[PATH_MAX + 16];
	json_t *json = NULL;
	snprintf(path, sizeof path, "%s/sandbox.json", dir);
	if (!fs_exists(path) || json_read_file(path, &json, NULL) != ST_OK)
		return;
	const char *folder = json_get_string(json, "salvage", "");
	snprintf(into, sizeof into, "%.4000s/data", folder);
	snprintf(data, sizeof data, "%s/servers/primary", dir);
	snprintf(path, sizeof path, "%s/" REGISTRY_SALVAGE_MARK, data);
	if (folder[0] != '\0' && fs_is_dir(folder) && fs_exists(path) && !fs_exists(into) && rename(data, into) != 0)
		log_warning("%s cannot be kept: %s", data, strerror(errno));
	json_decref(json);
}

enum status registry_reap(const char *dir, const char *socket_dir, struct error *err)
{
	if (!registry_stop_processes(dir)) {
		error_set(err, ST_FAILED, "server processes in %s cannot be stopped", dir);
		error_hint(err, "look at what they wait for with: ps -eo pid,stat,wchan:30,args");
		return ST_FAILED;
	}
	salvage_data(dir);
	/* sandbox.json goes last: what is left half removed is still known as a sandbox. */
	char servers[PATH_MAX + 16];
	snprintf(servers, sizeof servers, "%s/servers", dir);
	enum status st = remove_folder(servers, err);
	if (st == ST_OK && socket_dir[0] != '\0' && !path_is_below(socket_dir, dir))
		st = remove_folder(socket_dir, err);
	if (st == ST_OK)
		st = remove_folder(dir, err);
	return st;
}

/* The list. */

static int compare_names(const void *a, const void *b)
{
	return strcmp(((const struct sandbox_info *)a)->name, ((const struct sandbox_info *)b)->name);
}

enum status sandbox_list(struct sandbox_list *out, struct error *err)
{
	*out = (struct sandbox_list){0};
	char root[PATH_MAX];
	enum status st = registry_root(root, sizeof root, err);
	if (st != ST_OK)
		return st;
	DIR *d = opendir(root);
	if (d == NULL)
		return error_errno(err, ST_FAILED, "cannot read %s", root);
	VEC(struct sandbox_info) all = {0};
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char dir[PATH_MAX];
		struct sandbox_info info;
		if (e->d_name[0] == '.' || (size_t)snprintf(dir, sizeof dir, "%s/%s", root, e->d_name) >= sizeof dir)
			continue;
		if (read_info(dir, &info) && strcmp(info.name, e->d_name) == 0)
			VEC_PUSH(&all, info);
	}
	closedir(d);
	if (all.n > 0)
		qsort(all.at, all.n, sizeof all.at[0], compare_names);
	*out = (struct sandbox_list){.at = all.at, .n = all.n};
	return ST_OK;
}

void sandbox_list_free(struct sandbox_list *list)
{
	free(list->at);
	*list = (struct sandbox_list){0};
}

enum status sandbox_find(const char *name, struct sandbox_info *out, struct error *err)
{
	struct sandbox_list list;
	enum status st = sandbox_list(&list, err);
	if (st != ST_OK)
		return st;
	st = error_set(err, ST_USAGE, "there is no sandbox called %s", name);
	char names[400] = "";
	for (size_t i = 0; i < list.n; i++) {
		size_t used = strlen(names);
		snprintf(names + used, sizeof names - used, "%s%s", used > 0 ? ", " : "", list.at[i].name);
		if (strcmp(list.at[i].name, name) == 0) {
			*out = list.at[i];
			st = ST_OK;
		}
	}
	if (st != ST_OK && list.n > 0)
		error_hint(err, "there are: %s", names);
	else if (st != ST_OK)
		error_hint(err, "there is none at all; pgrehearse sandbox up %s makes it", name);
	sandbox_list_free(&list);
	return st;
}

enum status sandbox_remove(const char *name, struct error *err)
{
	struct sandbox_info info;
	enum status st = sandbox_find(name, &info, err);
	if (st != ST_OK)
		return st;
	if (info.owner_alive && !(info.keep && info.ready)) {
		error_set(err, ST_USAGE, "the sandbox %s is in use by process %lld", name, (long long)info.owner_pid);
		error_hint(err, "it is removed when that process ends");
		return ST_USAGE;
	}
	return registry_reap(info.dir, info.socket_dir, err);
}

/* Left behind before its sandbox.json was there. */
static bool is_abandoned_shell(const char *dir)
{
	struct stat st;
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/sandbox.json", dir);
	return lstat(dir, &st) == 0 && S_ISDIR(st.st_mode) && !fs_exists(path) && clock_wall_ns() / NS_PER_S - st.st_mtime > HALF_MADE_S;
}

enum status sandbox_sweep(int *removed, struct error *err)
{
	char root[PATH_MAX];
	enum status st = registry_root(root, sizeof root, err);
	if (st != ST_OK)
		return st;
	DIR *d = opendir(root);
	if (d == NULL)
		return error_errno(err, ST_FAILED, "cannot read %s", root);
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char dir[PATH_MAX];
		if (e->d_name[0] == '.' || (size_t)snprintf(dir, sizeof dir, "%s/%s", root, e->d_name) >= sizeof dir)
			continue;
		struct sandbox_info info = {0};
		bool known = read_info(dir, &info);
		/* A kept one that was never finished is worth nothing either. */
		bool dead = known ? !info.owner_alive && !(info.keep && info.ready) : is_abandoned_shell(dir);
		if (!dead)
			continue;
		enum status one = registry_reap(dir, info.socket_dir, st == ST_OK ? err : NULL);
		if (one != ST_OK)
			st = one;
		else if (removed != NULL)
			(*removed)++;
	}
	closedir(d);
	return st;
}

/* A new one. */

static enum status check_name(const char *name, struct error *err)
{
	size_t n = strlen(name);
	if (n > 0 && n <= SANDBOX_NAME_MAX && strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == n && name[0] != '-')
		return ST_OK;
	error_set(err, ST_USAGE, "\"%.64s\" cannot be the name of a sandbox", name);
	error_hint(err, "1 to %d of a-z, 0-9, - and _, not beginning with -", SANDBOX_NAME_MAX);
	return ST_USAGE;
}

enum status registry_create(const char *name, struct sandbox_info *info, struct error *err)
{
	*info = (struct sandbox_info){.owner_pid = getpid(), .owner_alive = true};
	char root[PATH_MAX];
	enum status st = registry_root(root, sizeof root, err);
	if (st == ST_OK && name != NULL)
		st = check_name(name, err);
	if (st != ST_OK)
		return st;
	struct error swept;
	if (sandbox_sweep(NULL, &swept) != ST_OK)
		log_warning("what an earlier run left is still there: %s", swept.what);
	clock_format_wall(clock_wall_ns(), info->created, sizeof info->created);
	for (int i = 1;; i++) {
		if (name != NULL)
			snprintf(info->name, sizeof info->name, "%s", name);
		else if (i == 1)
			snprintf(info->name, sizeof info->name, "rehearsal-%d", (int)getpid());
		else
			snprintf(info->name, sizeof info->name, "rehearsal-%d-%d", (int)getpid(), i);
		if ((size_t)snprintf(info->dir, sizeof info->dir, "%s/%s", root, info->name) >= sizeof info->dir)
			return error_set(err, ST_FAILED, "the path of the temporary folder is too long: %s", root);
		if (mkdir(info->dir, geteuid() == 0 ? 0711 : 0700) == 0)
			return ST_OK;
		if (errno != EEXIST)
			return error_errno(err, ST_FAILED, "cannot make the folder %s", info->dir);
		if (name != NULL || i == 1000) {
			error_set(err, ST_USAGE, "there is a sandbox called %s already", info->name);
			error_hint(err, "pgrehearse sandbox down %s removes it", info->name);
			return ST_USAGE;
		}
	}
}
