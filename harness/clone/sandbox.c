/* Sandboxes: a primary and its streaming standbys, from nothing or a snapshot to their end.
 *
 *   ROOT/NAME/               root's or ours; sandbox.json says what it is
 *   ROOT/NAME/run/           the sockets (elsewhere when the path would be too long for one)
 *   ROOT/NAME/servers/       owned by the servers' user: primary/, primary.log, standby1/, standby1.log, ... */
#define _GNU_SOURCE
#include "clone/sandbox_private.h"

#include "base/fs.h"
#include "clone/delayed_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define DELAYED_PORT 5431 /* of the primary too, by the delayed link */

enum status sandbox_check_stop(const struct sandbox *sb, struct error *err)
{
	return sb->stop != NULL && *sb->stop != 0 ? error_set(err, ST_INTERRUPTED, "interrupted while making the sandbox %s", sb->info.name)
						  : ST_OK;
}

/* Paths and connection strings. */

/* "key=value ", with what libpq wants escaped. */
static void add_word(char *out, size_t size, const char *key, const char *value)
{
	size_t n = strlen(out);
	bool plain = value[0] != '\0' && strpbrk(value, " \t'\\") == NULL;
	n += (size_t)snprintf(out + n, size - n, "%s%s=%s", n > 0 ? " " : "", key, plain ? "" : "'");
	for (const char *p = value; *p != '\0' && n + 4 < size; p++) {
		if (*p == '\'' || *p == '\\')
			out[n++] = '\\';
		out[n++] = *p;
	}
	snprintf(out + n, size - n, "%s", plain ? "" : "'");
}

void sandbox_format_dsn(char *out, size_t size, const struct sandbox *sb, int port, const char *database)
{
	char number[16];
	snprintf(number, sizeof number, "%d", port);
	out[0] = '\0';
	add_word(out, size, "host", sb->info.socket_dir);
	add_word(out, size, "port", number);
	add_word(out, size, "user", sb->user);
	add_word(out, size, "dbname", database);
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

void sandbox_name_members(struct sandbox *sb)
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
		sandbox_format_dsn(m.dsn, sizeof m.dsn, sb, m.port, sb->database);
		sb->member[i] = m;
	}
	memcpy(sb->info.dsn, sb->member[0].dsn, sizeof sb->info.dsn);
	sandbox_format_dsn(sb->upstream_dsn, sizeof sb->upstream_dsn, sb, sb->upstream_port, sb->database);
}

void sandbox_socket_path(const struct sandbox *sb, int port, char *out, size_t size)
{
	snprintf(out, size, "%.4000s/.s.PGSQL.%d", sb->info.socket_dir, port);
}

/* It stays for as long as the sandbox does, whichever servers come and go behind it. */
static enum status start_link(struct sandbox *sb, int64_t delay_ns, struct error *err)
{
	char from[PATH_MAX], to[PATH_MAX];
	sandbox_socket_path(sb, DELAYED_PORT, from, sizeof from);
	sandbox_socket_path(sb, PRIMARY_PORT, to, sizeof to);
	enum status st = delayed_link_start(sb->info.dir, from, to, delay_ns, &sb->link, err);
	sb->upstream_port = DELAYED_PORT;
	sandbox_format_dsn(sb->upstream_dsn, sizeof sb->upstream_dsn, sb, sb->upstream_port, sb->database);
	return st == ST_OK ? server_give(&sb->tools, from, 0700, err) : st;
}

enum status sandbox_write_info(struct sandbox *sb, struct error *err)
{
	const char *dsns[SANDBOX_STANDBYS_MAX];
	for (int i = 0; i < sb->info.standbys; i++)
		dsns[i] = sb->member[1 + i].dsn;
	return registry_write(&sb->info, dsns, err);
}

enum status sandbox_check_space(const char *dir, int64_t needed, struct error *err)
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

static void free_settings(char **settings)
{
	for (size_t i = 0; settings != NULL && settings[i] != NULL; i++)
		free(settings[i]);
	free(settings);
}

static void salvage_mark(const struct sandbox *sb, char *out, size_t size)
{
	snprintf(out, size, "%s/" REGISTRY_SALVAGE_MARK, sb->member[0].data_dir);
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
	enum status st = sandbox_check_space(sb->info.dir, SPACE_NEEDED, err);
	if (st == ST_OK)
		st = make_socket_dir(sb, err);
	if (st != ST_OK)
		return st;
	snprintf(sb->servers_dir, sizeof sb->servers_dir, "%.4000s/servers", sb->info.dir);
	sandbox_name_members(sb);
	st = sandbox_write_info(sb, err);
	/* A kept one too, until it is complete. */
	if (st == ST_OK)
		st = proc_watch(reap, sb, &sb->watcher, err);
	if (st == ST_OK && mkdir(sb->servers_dir, 0700) != 0)
		st = error_errno(err, ST_FAILED, "cannot make the folder %s", sb->servers_dir);
	if (st == ST_OK)
		st = server_give(&sb->tools, sb->servers_dir, 0700, err);
	if (st == ST_OK)
		st = check_reachable(sb, err);
	if (st == ST_OK && config->standby_delay_ns > 0)
		st = start_link(sb, config->standby_delay_ns, err);
	if (st == ST_OK)
		st = sandbox_make_servers(sb, config->from_snapshot, config->origin, err);
	if (st != ST_OK)
		return st;
	sb->info.ready = true;
	sb->info.running = true;
	st = sandbox_write_info(sb, err);
	char mark[PATH_MAX + 64];
	salvage_mark(sb, mark, sizeof mark);
	if (st == ST_OK && config->salvage != NULL)
		st = fs_write_file(mark, "", 0, err);
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
	sb->isolated = config->isolated && proc_can_isolate();
	sb->upstream_port = PRIMARY_PORT;
	snprintf(sb->user, sizeof sb->user, "postgres");
	snprintf(sb->database, sizeof sb->database, "rehearsal");
	enum status st = server_find_tools(config->server_dir, &sb->tools, err);
	if (st == ST_OK)
		st = copy_settings(sb, config->settings, err);
	if (st == ST_OK && config->from_snapshot != NULL)
		sandbox_adopt_snapshot(sb, config->from_snapshot);
	if (st == ST_OK)
		st = registry_create(config->name, &sb->info, err);
	if (st == ST_OK) {
		sb->up = true;
		sb->info.standbys = config->standbys;
		snprintf(sb->info.salvage, sizeof sb->info.salvage, "%s", config->salvage != NULL ? config->salvage : "");
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

enum status sandbox_choose_database(struct sandbox *sb, const char *name, struct error *err)
{
	if (name[0] == '\0' || strlen(name) >= sizeof sb->database)
		return error_set(err, ST_USAGE, "\"%.100s\" cannot be the name of a database", name);
	snprintf(sb->database, sizeof sb->database, "%s", name);
	for (int i = 0; i <= SANDBOX_STANDBYS_MAX; i++)
		sandbox_format_dsn(sb->member[i].dsn, sizeof sb->member[i].dsn, sb, sb->member[i].port, sb->database);
	memcpy(sb->info.dsn, sb->member[0].dsn, sizeof sb->info.dsn);
	return sandbox_write_info(sb, err);
}

enum status sandbox_keep(struct sandbox *sb, struct error *err)
{
	sb->info.keep = true;
	enum status st = sandbox_write_info(sb, err);
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
	if (sb->link > 0)
		waitpid(sb->link, NULL, 0);
	sb->link = 0;
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
	free_settings(sb->settings);
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
	struct server_place place = sandbox_place(sb, server);
	st = server_stop(&sb->tools, &place, immediate, err);
	if (st == ST_OK)
		sb->member[server].running = false;
	return st;
}

enum status sandbox_start_server(struct sandbox *sb, int server, struct error *err)
{
	enum status st = check_server(sb, server, err);
	return st != ST_OK || sb->member[server].running ? st : sandbox_start_member(sb, server, err);
}

/* Connecting to a socket follows links. */
static enum status move_address(const struct sandbox *sb, int to, struct error *err)
{
	char address[PATH_MAX], target[32];
	sandbox_socket_path(sb, PRIMARY_PORT, address, sizeof address);
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

const char *sandbox_server_name(const struct sandbox *sb, int server)
{
	return server >= 0 && server <= SANDBOX_STANDBYS_MAX ? sb->member[server].name : NULL;
}

const char *sandbox_server_log(const struct sandbox *sb, int server)
{
	return sandbox_server_name(sb, server) != NULL ? sb->member[server].log_path : NULL;
}

bool sandbox_is_isolated(const struct sandbox *sb)
{
	return sb->isolated;
}

int sandbox_server_version(const struct sandbox *sb)
{
	return sb->tools.version;
}

const char *sandbox_server_dir(const struct sandbox *sb)
{
	return sb->tools.dir;
}

bool sandbox_find_program(const struct sandbox *sb, const char *name, char *out, size_t size)
{
	return server_find_client(&sb->tools, name, out, size);
}
