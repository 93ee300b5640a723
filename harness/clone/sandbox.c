/* Sandboxes: a primary and its streaming standbys, from nothing or a snapshot to their end.
 *
 *   ROOT/NAME/               root's or ours; sandbox.json says what it is
 *   ROOT/NAME/run/           the sockets (elsewhere when the path would be too long for one)
 *   ROOT/NAME/servers/       owned by the servers' user: primary/, primary.log, standby1/, standby1.log, ... */
#define _GNU_SOURCE
#include "clone/sandbox.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/proc.h"
#include "clone/copy.h"
#include "clone/registry.h"
#include "clone/server.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PRIMARY_PORT 5432 /* only the name of a socket file: nothing listens on TCP */
#define SPACE_NEEDED (INT64_C(512) << 20)
#define STREAMING_LIMIT_NS (120 * NS_PER_S)
#define SNAPSHOT_FORMAT 1
#define RECYCLED_WAL_KEPT 8 /* files of 16 MB */

/* One server of the sandbox, its strings for a struct server_place. */
struct member {
	char name[24];
	char data_dir[PATH_MAX];
	char log_path[PATH_MAX];
	char label[SANDBOX_NAME_MAX + 40];
	char dsn[PATH_MAX + 128];
	int port;
	bool running;
};

struct sandbox {
	struct sandbox_info info;
	struct server_tools tools;
	char servers_dir[PATH_MAX];
	char **settings; /* NULL-terminated, or NULL */
	struct proc_watcher watcher;
	const volatile sig_atomic_t *stop;
	bool up; /* the folder is there and ours to remove */
	struct member member[1 + SANDBOX_STANDBYS_MAX];
};

static struct server_place place_of(const struct sandbox *sb, int i)
{
	const struct member *m = &sb->member[i];
	return (struct server_place){.work_dir = sb->servers_dir,
		.data_dir = m->data_dir,
		.log_path = m->log_path,
		.socket_dir = sb->info.socket_dir,
		.port = m->port,
		.label = m->label};
}

static enum status check_stop(const struct sandbox *sb, struct error *err)
{
	return sb->stop != NULL && *sb->stop != 0 ? error_set(err, ST_INTERRUPTED, "interrupted while making the sandbox %s", sb->info.name)
						  : ST_OK;
}

/* Paths and connection strings. */

/* key='value' with what libpq wants escaped; plain when it may be. */
static void format_dsn(char *out, size_t size, const char *socket_dir, int port)
{
	char host[PATH_MAX * 2];
	size_t n = 0;
	bool plain = strpbrk(socket_dir, " \t'\\") == NULL;
	for (const char *p = socket_dir; *p != '\0' && n < sizeof host - 2; p++) {
		if (*p == '\'' || *p == '\\')
			host[n++] = '\\';
		host[n++] = *p;
	}
	host[n] = '\0';
	snprintf(out, size, "host=%s%.4000s%s port=%d user=postgres dbname=rehearsal", plain ? "" : "'", host, plain ? "" : "'", port);
}

static bool fits_socket(const char *dir)
{
	return strlen(dir) + sizeof "/.s.PGSQL.65535" <= sizeof((struct sockaddr_un *)0)->sun_path;
}

static enum status make_socket_dir(struct sandbox *sb, struct error *err)
{
	struct sandbox_info *info = &sb->info;
	snprintf(info->socket_dir, sizeof info->socket_dir, "%.4000s/run", info->dir);
	/* A comma separates hosts in a connection string. */
	if (fits_socket(info->socket_dir) && strchr(info->socket_dir, ',') == NULL && strchr(info->socket_dir, '"') == NULL) {
		if (mkdir(info->socket_dir, 0700) != 0)
			return error_errno(err, ST_FAILED, "cannot make the folder %s", info->socket_dir);
	} else {
		snprintf(info->socket_dir, sizeof info->socket_dir, "/tmp/pgrehearse-XXXXXX");
		if (mkdtemp(info->socket_dir) == NULL) {
			info->socket_dir[0] = '\0';
			return error_errno(err, ST_FAILED, "cannot make a folder for sockets in /tmp");
		}
	}
	return server_give(&sb->tools, info->socket_dir, 0700, err);
}

static void name_members(struct sandbox *sb)
{
	for (int i = 0; i <= SANDBOX_STANDBYS_MAX; i++) {
		struct member m = {.port = PRIMARY_PORT + i};
		if (i == 0)
			snprintf(m.name, sizeof m.name, "primary");
		else
			snprintf(m.name, sizeof m.name, "standby%d", i);
		snprintf(m.data_dir, sizeof m.data_dir, "%.4000s/%s", sb->servers_dir, m.name);
		snprintf(m.log_path, sizeof m.log_path, "%.4000s/%s.log", sb->servers_dir, m.name);
		snprintf(m.label, sizeof m.label, "pgrehearse %s %s", sb->info.name, m.name);
		format_dsn(m.dsn, sizeof m.dsn, sb->info.socket_dir, m.port);
		sb->member[i] = m;
	}
	memcpy(sb->info.dsn, sb->member[0].dsn, sizeof sb->info.dsn);
}

static enum status write_info(struct sandbox *sb, struct error *err)
{
	const char *dsns[SANDBOX_STANDBYS_MAX];
	for (int i = 0; i < sb->info.standbys; i++)
		dsns[i] = sb->member[1 + i].dsn;
	return registry_write(&sb->info, dsns, err);
}

/* The servers' user must be able to walk down to its folder: TMPDIR may lie in someone's home. */
static enum status check_reachable(const struct sandbox *sb, struct error *err)
{
	if (sb->tools.uid == 0)
		return ST_OK;
	const char *const argv[] = {"test", "-x", sb->servers_dir, NULL};
	struct proc_result result;
	enum status st = proc_run(&(struct proc_spec){.argv = argv, .uid = sb->tools.uid, .gid = sb->tools.gid}, NULL, &result, err);
	if (st == ST_OK && result.exit_code != 0) {
		st = error_set(err, ST_FAILED, "the user %s, who runs the servers, cannot reach %s", sb->tools.user, sb->servers_dir);
		error_hint(err, "set TMPDIR to a folder that other users may enter, such as /var/tmp");
	}
	return st;
}

static enum status check_space(const char *dir, int64_t needed, struct error *err)
{
	int64_t bytes;
	enum status st = fs_free_bytes(dir, &bytes, err);
	if (st != ST_OK || bytes >= needed)
		return st;
	error_set(err, ST_FAILED, "the disk is full: %lld MB free at %s, at least %lld MB are needed", (long long)(bytes >> 20), dir,
		(long long)(needed >> 20));
	error_hint(err, "free some space, or set TMPDIR to a folder on a larger disk");
	return ST_FAILED;
}

/* Making the servers. */

static enum status start_member(struct sandbox *sb, int i, struct error *err)
{
	struct server_place place = place_of(sb, i);
	enum status st = server_start(&sb->tools, &place, err);
	sb->member[i].running = st == ST_OK;
	return st;
}

static void replace_database(char *dsn, size_t size, const struct sandbox *sb, const char *database)
{
	snprintf(dsn, size, "%s", sb->member[0].dsn);
	char *name = strstr(dsn, "dbname=rehearsal");
	if (name != NULL)
		snprintf(name, size - (size_t)(name - dsn), "dbname=%s", database);
}

static enum status make_database(struct sandbox *sb, struct error *err)
{
	char dsn[PATH_MAX + 128];
	replace_database(dsn, sizeof dsn, sb, "postgres");
	enum status st = server_query(dsn, "CREATE DATABASE rehearsal", NULL, 0, err);
	if (st == ST_OK)
		st = server_query(dsn, "COMMENT ON DATABASE rehearsal IS 'pgrehearse clone'", NULL, 0, err);
	return st;
}

/* A WAL segment's timeline and its number (16 MB each, as initdb makes them); false when the name is none. */
static bool parse_wal_name(const char *name, uint32_t *timeline, uint64_t *number)
{
	if (strlen(name) != 24 || strspn(name, "0123456789ABCDEF") != 24)
		return false;
	char part[9] = "";
	uint32_t value[3];
	for (int i = 0; i < 3; i++) {
		memcpy(part, name + (ptrdiff_t)8 * i, 8);
		value[i] = (uint32_t)strtoul(part, NULL, 16);
	}
	*timeline = value[0];
	*number = (uint64_t)value[1] * 256 + value[2];
	return true;
}

/* WAL that no start needs: older than the first that it reads, or a recycled file for later. Some of the latter are kept,
 * since a server that has to make them all stalls its first writers in a way that one in production does not. */
static bool is_spare_wal(const char *name, const char *first)
{
	uint32_t timeline, first_timeline;
	uint64_t number, first_number;
	if (!parse_wal_name(name, &timeline, &number) || !parse_wal_name(first, &first_timeline, &first_number))
		return false;
	return timeline == first_timeline && (number < first_number || number > first_number + RECYCLED_WAL_KEPT);
}

/* arg: the name of the first WAL file needed. */
static bool is_left_out_of_copies(const char *path, void *arg)
{
	/* Slots would hold WAL back for standbys that are no more; the others belong to a running server. */
	static const char *const NAMES[] = {"pg_replslot/", "pg_dynshmem/", "pg_stat_tmp/"};
	for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
		if (strncmp(path, NAMES[i], strlen(NAMES[i])) == 0)
			return true;
	if (strncmp(path, "pg_wal/", 7) == 0 && is_spare_wal(path + 7, arg))
		return true;
	return strcmp(path, "postmaster.pid") == 0 || strcmp(path, "postmaster.opts") == 0;
}

/* needed: what restoring it will take, at most. */
static enum status check_snapshot(const struct sandbox *sb, const char *dir, int64_t *needed, struct error *err)
{
	char path[PATH_MAX];
	json_t *json = NULL;
	snprintf(path, sizeof path, "%.4000s/snapshot.json", dir);
	if (!fs_exists(path) || json_read_file(path, &json, err) != ST_OK) {
		error_set(err, ST_USAGE, "%s is not a snapshot", dir);
		error_hint(err, "a folder that holds a snapshot.json, as pgrehearse makes it");
		return ST_USAGE;
	}
	enum status st = ST_OK;
	int version = (int)json_get_int(json, "server_version", 0);
	/* A base backup is always a copy; the primary's data may share the snapshot's blocks, which is known when it did before. */
	int copies = sb->info.standbys + (json_get_int(json, "reflinked", 0) == 0);
	*needed = SPACE_NEEDED + json_get_int(json, "bytes", 0) * copies;
	if (json_get_int(json, "format", 0) != SNAPSHOT_FORMAT)
		st = error_set(err, ST_USAGE, "%s was made by another version of pgrehearse", dir);
	else if (version / 10000 != sb->tools.version / 10000)
		st = error_set(err, ST_USAGE, "the snapshot %s is PostgreSQL %d's, the server is %d", dir, version / 10000,
			sb->tools.version / 10000);
	json_decref(json);
	return st;
}

static enum status restore_primary(struct sandbox *sb, const char *snapshot, struct error *err)
{
	int64_t needed = 0;
	enum status st = check_snapshot(sb, snapshot, &needed, err);
	if (st == ST_OK)
		st = check_space(sb->info.dir, needed, err);
	if (st != ST_OK)
		return st;
	char data[PATH_MAX];
	snprintf(data, sizeof data, "%.4000s/data", snapshot);
	return copy_tree(data, sb->member[0].data_dir, sb->tools.uid, sb->tools.gid, NULL, NULL, NULL, err);
}

static enum status make_primary(struct sandbox *sb, const char *snapshot, struct error *err)
{
	struct server_place place = place_of(sb, 0);
	enum status st = snapshot != NULL ? restore_primary(sb, snapshot, err) : server_init(&sb->tools, &place, err);
	if (st == ST_OK)
		st = server_configure(&sb->tools, &place, (const char *const *)sb->settings, err);
	if (st == ST_OK)
		st = check_stop(sb, err);
	if (st == ST_OK)
		st = start_member(sb, 0, err);
	if (st == ST_OK && snapshot == NULL)
		st = make_database(sb, err);
	return st;
}

static enum status make_standby(struct sandbox *sb, int i, struct error *err)
{
	struct server_place place = place_of(sb, i);
	enum status st = check_stop(sb, err);
	if (st == ST_OK)
		st = server_clone_standby(&sb->tools, &place, sb->member[0].dsn, sb->member[i].name, err);
	if (st == ST_OK)
		st = server_configure(&sb->tools, &place, (const char *const *)sb->settings, err);
	if (st == ST_OK)
		st = start_member(sb, i, err);
	return st;
}

/* Every standby that runs is connected and has caught up with its base backup's end. */
static enum status wait_for_streaming(struct sandbox *sb, struct error *err)
{
	int expected = 0;
	for (int i = 1; i <= sb->info.standbys; i++)
		expected += sb->member[i].running;
	int64_t deadline = clock_now_ns() + STREAMING_LIMIT_NS;
	for (;;) {
		char count[16];
		enum status st = expected == 0
			? ST_OK
			: server_query(sb->member[0].dsn,
				  "SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE state = 'streaming' AND application_name LIKE 'standby%'",
				  count, sizeof count, err);
		if (st != ST_OK || expected == 0 || strtol(count, NULL, 10) >= expected)
			return st;
		if (clock_now_ns() > deadline) {
			error_set(err, ST_FAILED, "only %s of %d standbys stream from the primary", count, expected);
			error_hint(err, "their logs are %s/standby*.log", sb->servers_dir);
			return ST_FAILED;
		}
		if ((st = check_stop(sb, err)) != ST_OK)
			return st;
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
}

static enum status make_servers(struct sandbox *sb, const char *snapshot, struct error *err)
{
	enum status st = make_primary(sb, snapshot, err);
	for (int i = 1; i <= sb->info.standbys && st == ST_OK; i++)
		st = make_standby(sb, i, err);
	if (st == ST_OK)
		st = wait_for_streaming(sb, err);
	return st;
}

/* Up and down. */

/* In the watcher, after our process's end. */
static void reap(void *arg)
{
	const struct sandbox *sb = arg;
	(void)!registry_reap(sb->info.dir, sb->info.socket_dir, NULL);
}

/* libpq takes these for a connection string that does not name them, PGHOSTADDR even against its host: a sandbox's
 * connection string must lead to the sandbox. */
static void forget_libpq_environment(void)
{
	static const char *const NAMES[] = {"PGHOSTADDR", "PGSERVICE", "PGSERVICEFILE", "PGOPTIONS", "PGDATABASE", "PGTARGETSESSIONATTRS",
		"PGREQUIREPEER", "PGCLIENTENCODING", "PGDATESTYLE", "PGTZ", "PGREQUIREAUTH", "PGDATA"};
	for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++)
		unsetenv(NAMES[i]);
}

static enum status copy_settings(struct sandbox *sb, const char *const *settings, struct error *err)
{
	size_t n = 0;
	while (settings != NULL && settings[n] != NULL)
		n++;
	sb->settings = calloc(n + 1, sizeof *sb->settings);
	for (size_t i = 0; i < n && sb->settings != NULL; i++)
		if ((sb->settings[i] = strdup(settings[i])) == NULL)
			return error_set(err, ST_FAILED, "out of memory");
	return sb->settings != NULL ? ST_OK : error_set(err, ST_FAILED, "out of memory");
}

/* From the empty folder on; what it leaves when it fails, the caller removes. */
static enum status furnish(struct sandbox *sb, const struct sandbox_config *config, struct error *err)
{
	enum status st = check_space(sb->info.dir, SPACE_NEEDED, err);
	if (st == ST_OK)
		st = make_socket_dir(sb, err);
	if (st != ST_OK)
		return st;
	snprintf(sb->servers_dir, sizeof sb->servers_dir, "%.4000s/servers", sb->info.dir);
	name_members(sb);
	st = write_info(sb, err);
	/* A kept one too, until it is complete. */
	if (st == ST_OK)
		st = proc_watch(reap, sb, &sb->watcher, err);
	if (st == ST_OK && mkdir(sb->servers_dir, 0700) != 0)
		st = error_errno(err, ST_FAILED, "cannot make the folder %s", sb->servers_dir);
	if (st == ST_OK)
		st = server_give(&sb->tools, sb->servers_dir, 0700, err);
	if (st == ST_OK)
		st = check_reachable(sb, err);
	if (st == ST_OK)
		st = make_servers(sb, config->from_snapshot, err);
	if (st != ST_OK)
		return st;
	sb->info.ready = true;
	sb->info.running = true;
	st = write_info(sb, err);
	if (st == ST_OK && config->keep)
		st = sandbox_keep(sb, err);
	return st;
}

enum status sandbox_up(const struct sandbox_config *config, struct sandbox **out, struct error *err)
{
	*out = NULL;
	if (config->standbys < 0 || config->standbys > SANDBOX_STANDBYS_MAX)
		return error_set(err, ST_USAGE, "%d standbys cannot be made: 0 to %d", config->standbys, SANDBOX_STANDBYS_MAX);
	forget_libpq_environment();
	struct sandbox *sb = calloc(1, sizeof *sb);
	if (sb == NULL)
		return error_set(err, ST_FAILED, "out of memory");
	sb->watcher = PROC_WATCHER_NONE;
	sb->stop = config->stop;
	enum status st = server_find_tools(config->server_dir, &sb->tools, err);
	if (st == ST_OK)
		st = copy_settings(sb, config->settings, err);
	if (st == ST_OK)
		st = registry_create(config->name, &sb->info, err);
	if (st == ST_OK) {
		sb->up = true;
		sb->info.standbys = config->standbys;
		sb->info.server_version = sb->tools.version;
		snprintf(sb->info.server_dir, sizeof sb->info.server_dir, "%s", sb->tools.dir);
		st = furnish(sb, config, err);
	}
	if (st != ST_OK) {
		sandbox_down(sb, NULL);
		sandbox_free(sb);
		return st;
	}
	*out = sb;
	return ST_OK;
}

enum status sandbox_keep(struct sandbox *sb, struct error *err)
{
	sb->info.keep = true;
	enum status st = write_info(sb, err);
	if (st == ST_OK)
		proc_unwatch(&sb->watcher);
	return st;
}

enum status sandbox_down(struct sandbox *sb, struct error *err)
{
	if (sb == NULL || !sb->up)
		return ST_OK;
	enum status st = registry_reap(sb->info.dir, sb->info.socket_dir, err);
	if (st != ST_OK)
		return st;
	for (int i = 0; i <= SANDBOX_STANDBYS_MAX; i++)
		sb->member[i].running = false;
	sb->up = false;
	proc_unwatch(&sb->watcher);
	return ST_OK;
}

void sandbox_free(struct sandbox *sb)
{
	if (sb == NULL)
		return;
	if (!sb->info.keep)
		sandbox_down(sb, NULL);
	proc_unwatch(&sb->watcher);
	for (size_t i = 0; sb->settings != NULL && sb->settings[i] != NULL; i++)
		free(sb->settings[i]);
	free(sb->settings);
	free(sb);
}

/* Single servers. */

static enum status check_server(const struct sandbox *sb, int server, struct error *err)
{
	if (server < 0 || server > sb->info.standbys)
		return error_set(
			err, ST_USAGE, "the sandbox %s has no server %d: 0 (primary) to %d", sb->info.name, server, sb->info.standbys);
	return ST_OK;
}

enum status sandbox_stop_server(struct sandbox *sb, int server, bool immediate, struct error *err)
{
	enum status st = check_server(sb, server, err);
	if (st != ST_OK || !sb->member[server].running)
		return st;
	struct server_place place = place_of(sb, server);
	st = server_stop(&sb->tools, &place, immediate, err);
	if (st == ST_OK)
		sb->member[server].running = false;
	return st;
}

enum status sandbox_start_server(struct sandbox *sb, int server, struct error *err)
{
	enum status st = check_server(sb, server, err);
	return st != ST_OK || sb->member[server].running ? st : start_member(sb, server, err);
}

static void socket_path(const struct sandbox *sb, int i, char *out, size_t size)
{
	snprintf(out, size, "%.4000s/.s.PGSQL.%d", sb->info.socket_dir, sb->member[i].port);
}

/* Connecting to a socket follows links. */
static enum status move_address(const struct sandbox *sb, int to, struct error *err)
{
	char address[PATH_MAX], target[32];
	socket_path(sb, 0, address, sizeof address);
	snprintf(target, sizeof target, ".s.PGSQL.%d", sb->member[to].port);
	(void)!unlink(address);
	return symlink(target, address) == 0 ? ST_OK
					     : error_errno(err, ST_FAILED, "cannot let %s lead to %s", address, sb->member[to].name);
}

enum status sandbox_fail_over(struct sandbox *sb, int standby, struct error *err)
{
	if (standby < 0 || standby >= sb->info.standbys || !sb->member[1 + standby].running)
		return error_set(err, ST_USAGE, "the sandbox %s has no running standby %d to fail over to", sb->info.name, standby);
	char promoted[16] = "";
	enum status st = sandbox_stop_server(sb, 0, true, err);
	if (st == ST_OK)
		st = server_query(sb->member[1 + standby].dsn, "SELECT pg_catalog.pg_promote(true, 60)", promoted, sizeof promoted, err);
	if (st == ST_OK && strcmp(promoted, "t") != 0)
		st = error_set(err, ST_FAILED, "%s was not promoted within a minute", sb->member[1 + standby].name);
	if (st == ST_OK)
		st = move_address(sb, 1 + standby, err);
	return st;
}

/* Snapshots. */

static enum status remove_member(struct sandbox *sb, int i, struct error *err)
{
	struct member *m = &sb->member[i];
	if (!registry_stop_processes(m->data_dir))
		return error_set(err, ST_FAILED, "the server %s of the sandbox %s cannot be stopped", m->name, sb->info.name);
	m->running = false;
	return fs_remove_tree(m->data_dir, err);
}

static enum status write_snapshot_info(const struct sandbox *sb, const char *dir, const struct copy_totals *totals, struct error *err)
{
	char created[32], path[PATH_MAX];
	clock_format_wall(clock_wall_ns(), created, sizeof created);
	json_t *json = json_pack("{s:i, s:s, s:s, s:i, s:I, s:I, s:I}", "format", SNAPSHOT_FORMAT, "created", created, "sandbox",
		sb->info.name, "server_version", sb->tools.version, "files", (json_int_t)totals->files, "bytes", (json_int_t)totals->bytes,
		"reflinked", (json_int_t)totals->reflinked);
	if (json == NULL)
		return error_set(err, ST_FAILED, "out of memory");
	snprintf(path, sizeof path, "%.4000s/snapshot.json", dir);
	enum status st = json_write_file(path, json, err);
	json_decref(json);
	return st;
}

enum status sandbox_snapshot(struct sandbox *sb, const char *dir, struct error *err)
{
	if (fs_exists(dir)) {
		error_set(err, ST_USAGE, "cannot make a snapshot in %s: it exists already", dir);
		return ST_USAGE;
	}
	enum status st = ST_OK;
	for (int i = sb->info.standbys; i >= 1 && st == ST_OK; i--)
		st = remove_member(sb, i, err);
	/* Without the standbys there is nobody whom a clean stop would wait for. */
	if (st == ST_OK)
		st = sandbox_stop_server(sb, 0, false, err);
	if (st == ST_OK)
		st = fs_make_dirs(dir, 0700, err);
	char data[PATH_MAX];
	snprintf(data, sizeof data, "%.4000s/data", dir);
	struct copy_totals totals;
	struct server_place place = place_of(sb, 0);
	char first_wal[25] = "";
	if (st == ST_OK)
		st = server_first_wal(&sb->tools, &place, first_wal, err);
	if (st == ST_OK)
		st = copy_tree(sb->member[0].data_dir, data, 0, 0, is_left_out_of_copies, first_wal, &totals, err);
	/* Last: a folder with a snapshot.json is a whole one. */
	if (st == ST_OK)
		st = write_snapshot_info(sb, dir, &totals, err);
	if (st != ST_OK)
		(void)!fs_remove_tree(dir, NULL);
	return st;
}

enum status sandbox_reset(struct sandbox *sb, const char *snapshot, int standbys, struct error *err)
{
	int64_t needed;
	enum status st = check_snapshot(sb, snapshot, &needed, err);
	if (st == ST_OK && (standbys < 0 || standbys > SANDBOX_STANDBYS_MAX))
		st = error_set(err, ST_USAGE, "%d standbys cannot be made: 0 to %d", standbys, SANDBOX_STANDBYS_MAX);
	for (int i = sb->info.standbys; i >= 0 && st == ST_OK; i--)
		st = remove_member(sb, i, err);
	char address[PATH_MAX];
	socket_path(sb, 0, address, sizeof address);
	(void)!unlink(address); /* a link, after a failover */
	if (st != ST_OK)
		return st;
	sb->info.standbys = standbys;
	st = write_info(sb, err);
	return st == ST_OK ? make_servers(sb, snapshot, err) : st;
}

enum status sandbox_remove_snapshot(const char *dir, struct error *err)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%.4000s/snapshot.json", dir);
	if (!fs_exists(dir))
		return ST_OK;
	if (!fs_exists(path))
		return error_set(err, ST_USAGE, "%s is not a snapshot, and stays", dir);
	return fs_remove_tree(dir, err);
}

const char *sandbox_name(const struct sandbox *sb)
{
	return sb->info.name;
}

const char *sandbox_dir(const struct sandbox *sb)
{
	return sb->info.dir;
}

const char *sandbox_dsn(const struct sandbox *sb)
{
	return sb->member[0].dsn;
}

int sandbox_standbys(const struct sandbox *sb)
{
	return sb->info.standbys;
}

const char *sandbox_standby_name(const struct sandbox *sb, int i)
{
	return i >= 0 && i < sb->info.standbys ? sb->member[1 + i].name : NULL;
}

const char *sandbox_standby_dsn(const struct sandbox *sb, int i)
{
	return i >= 0 && i < sb->info.standbys ? sb->member[1 + i].dsn : NULL;
}

int sandbox_server_version(const struct sandbox *sb)
{
	return sb->tools.version;
}

const char *sandbox_server_dir(const struct sandbox *sb)
{
	return sb->tools.dir;
}
