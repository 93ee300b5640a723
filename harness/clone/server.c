/* PostgreSQL's own programs: where they are, and initdb, pg_ctl, postgres as calls. */
#define _GNU_SOURCE
#include "clone/server.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "clone/server_log.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OLDEST_VERSION 120000
#define NEWEST_LOOKED_FOR 40 /* a major version that there will not be for long */
#define PROGRAM_LIMIT_NS (300 * NS_PER_S)
#define WAL_FILE_BYTES (16 << 20) /* as initdb makes them */
#define START_LIMIT "300"         /* s; a snapshot may have to recover */

/* A program of the server's, argv's first element in tools->dir, as the servers' user. said takes what it prints. */
static enum status ask_program(const struct server_tools *tools, const char *dir, const char **argv, int64_t limit_ns, bool isolated,
	struct buf *said, struct error *err)
{
	char program[PATH_MAX + 64];
	snprintf(program, sizeof program, "%s/%s", tools->dir, argv[0]);
	const char *name = argv[0];
	argv[0] = program;
	/* PGHOST: what a server connects to (dblink, a foreign server) without naming a host must not be this machine's own server. */
	static const char *const ENV[] = {"LC_ALL=C", "PGOPTIONS=", NULL};
	static const char *const ISOLATED[] = {"LC_ALL=C", "PGOPTIONS=", "PGHOST=/nonexistent", NULL};
	struct proc_spec spec = {.argv = argv,
		.env = isolated ? ISOLATED : ENV,
		.dir = dir,
		.timeout_ns = limit_ns,
		.own_session = true,
		.no_network = isolated};
	spec.uid = tools->uid;
	spec.gid = tools->gid;
	enum status st = proc_check(&spec, said, err);
	if (st != ST_OK && strstr(said->data, "No space left on device") != NULL) {
		error_set(err, ST_FAILED, "the disk is full: %s could not write below %s", name, dir);
		error_hint(err, "free some space, or set TMPDIR to a folder on a larger disk");
	}
	argv[0] = name;
	return st;
}

static enum status run_program(const struct server_tools *tools, const char *dir, const char **argv, int64_t limit_ns, struct error *err)
{
	struct buf said;
	buf_init(&said, 65536);
	enum status st = ask_program(tools, dir, argv, limit_ns, false, &said, err);
	buf_free(&said);
	return st;
}

enum status server_ask_program(
	const struct server_tools *tools, const struct server_place *place, const char **argv, struct buf *said, struct error *err)
{
	return ask_program(tools, place->work_dir, argv, PROGRAM_LIMIT_NS, place->isolated, said, err);
}

enum status server_run_single(const struct server_tools *tools, const struct server_place *place, const char *database, const char *sql,
	const volatile sig_atomic_t *stop, struct buf *said, struct error *err)
{
	char program[PATH_MAX + 64], input[PATH_MAX];
	snprintf(program, sizeof program, "%s/postgres", tools->dir);
	snprintf(input, sizeof input, "%.4000s/single.sql", place->work_dir);
	static const char *const ENV[] = {"LC_ALL=C", "PGOPTIONS=", "PGHOST=/nonexistent", NULL};
	const char *argv[] = {
		program, "--single", "-c", "exit_on_error=true", "-c", "log_min_messages=log", "-D", place->data_dir, database, NULL};
	struct proc_spec spec = {.argv = argv,
		.env = ENV,
		.dir = place->work_dir,
		.input_path = input,
		.own_session = true,
		.no_network = place->isolated,
		.stop = stop,
		.uid = tools->uid,
		.gid = tools->gid};
	enum status st = fs_write_file(input, sql, strlen(sql), err);
	if (st == ST_OK)
		st = proc_check(&spec, said, err);
	(void)!unlink(input);
	return st == ST_FAILED && stop != NULL && *stop != 0 ? error_set(err, ST_INTERRUPTED, "interrupted") : st;
}

/* Finding the programs. */

static bool holds_programs(const char *dir)
{
	static const char *const PROGRAMS[] = {"initdb", "pg_ctl", "postgres"};
	for (size_t i = 0; i < sizeof PROGRAMS / sizeof PROGRAMS[0]; i++) {
		char path[PATH_MAX];
		if ((size_t)snprintf(path, sizeof path, "%s/%s", dir, PROGRAMS[i]) >= sizeof path || access(path, X_OK) != 0)
			return false;
	}
	return true;
}

/* The highest number N for which pattern (with one %d) is a folder of programs; 0 when there is none. */
static int newest_version(const char *parent, const char *prefix)
{
	int best = 0;
	DIR *d = opendir(parent);
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		size_t n = strlen(prefix);
		char dir[PATH_MAX];
		if (strncmp(e->d_name, prefix, n) != 0 || !isdigit((unsigned char)e->d_name[n]))
			continue;
		snprintf(dir, sizeof dir, "%s/%s/bin", parent, e->d_name);
		int version = (int)strtol(e->d_name + n, NULL, 10);
		if (version > best && holds_programs(dir))
			best = version;
	}
	if (d != NULL)
		closedir(d);
	return best;
}

static const char *const PLACES[] = {"/usr/lib/postgresql/", "/usr/pgsql-"};

bool server_find_version(int major, char *out, size_t size)
{
	for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
		snprintf(out, size, "%s%d/bin", PLACES[i], major);
		if (holds_programs(out))
			return true;
	}
	return false;
}

bool server_find_client(const struct server_tools *tools, const char *name, char *out, size_t size)
{
	snprintf(out, size, "%s/%s", tools->dir, name);
	if (access(out, X_OK) == 0)
		return true;
	for (int major = NEWEST_LOOKED_FOR; major >= tools->version / 10000; major--)
		for (size_t i = 0; i < sizeof PLACES / sizeof PLACES[0]; i++) {
			snprintf(out, size, "%s%d/bin/%s", PLACES[i], major, name);
			if (access(out, X_OK) == 0)
				return true;
		}
	return false;
}

static bool find_in_path(char *out, size_t size)
{
	const char *path = getenv("PATH");
	while (path != NULL && *path != '\0') {
		size_t n = strcspn(path, ":");
		snprintf(out, size, "%.*s", (int)n, path);
		if (n > 0 && holds_programs(out))
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

static bool ask_pg_config(char *out, size_t size)
{
	static const char *const ARGV[] = {"pg_config", "--bindir", NULL};
	struct buf output;
	buf_init(&output, PATH_MAX);
	struct proc_result result;
	bool ok = proc_run(&(struct proc_spec){.argv = ARGV, .timeout_ns = 10 * NS_PER_S}, &output, &result, NULL) == ST_OK &&
		result.exit_code == 0;
	output.data[strcspn(output.data, "\n")] = '\0';
	snprintf(out, size, "%s", output.data);
	buf_free(&output);
	return ok && holds_programs(out);
}

static enum status find_folder(const char *asked, char *out, size_t size, struct error *err)
{
	const char *usual = getenv("PGREHEARSE_SERVER");
	if (asked == NULL && usual != NULL && usual[0] != '\0')
		asked = usual;
	if (asked != NULL) {
		/* The programs are started in other folders. */
		char absolute[PATH_MAX];
		const char *dir = realpath(asked, absolute) != NULL ? absolute : asked;
		snprintf(out, size, "%s", dir);
		if (holds_programs(out))
			return ST_OK;
		snprintf(out, size, "%.4000s/bin", dir);
		if (holds_programs(out))
			return ST_OK;
		error_set(err, ST_USAGE, "%s does not hold PostgreSQL's server programs initdb, pg_ctl and postgres", asked);
		error_hint(err, "on Debian they are in /usr/lib/postgresql/NN/bin; scripts/install-deps installs them");
		return ST_USAGE;
	}
	static const struct {
		const char *parent, *prefix;
	} KNOWN[] = {{"/usr/lib/postgresql", ""}, {"/usr", "pgsql-"}};
	for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
		int version = newest_version(KNOWN[i].parent, KNOWN[i].prefix);
		if (version > 0) {
			snprintf(out, size, "%s/%s%d/bin", KNOWN[i].parent, KNOWN[i].prefix, version);
			return ST_OK;
		}
	}
	if (ask_pg_config(out, size) || find_in_path(out, size))
		return ST_OK;
	error_set(err, ST_FAILED,
		"no PostgreSQL server found: looked for initdb, pg_ctl and postgres in "
		"/usr/lib/postgresql/*/bin, /usr/pgsql-*/bin, the folder that pg_config names, and PATH");
	error_hint(err, "scripts/install-deps installs it on Debian; --server DIR names the folder of another one");
	return ST_FAILED;
}

/* "postgres (PostgreSQL) 15.14 (Debian ...)" -> 150014; "... 17beta1" -> 170000. */
static int parse_version(const char *text)
{
	const char *at = strstr(text, ") ");
	if (at == NULL)
		return 0;
	char *end;
	long major = strtol(at + 2, &end, 10);
	long minor = *end == '.' ? strtol(end + 1, NULL, 10) : 0;
	return major > 0 && major < 1000 ? (int)(major * 10000 + minor) : 0;
}

static enum status choose_user(struct server_tools *tools, struct error *err)
{
	tools->uid = 0;
	tools->gid = 0;
	if (geteuid() != 0) {
		const struct passwd *me = getpwuid(geteuid());
		snprintf(tools->user, sizeof tools->user, "%s", me != NULL ? me->pw_name : "you");
		return ST_OK;
	}
	static const char *const NAMES[] = {"postgres", "nobody"};
	for (size_t i = 0; i < sizeof NAMES / sizeof NAMES[0]; i++) {
		const struct passwd *pw = getpwnam(NAMES[i]);
		if (pw == NULL || pw->pw_uid == 0)
			continue;
		tools->uid = pw->pw_uid;
		tools->gid = pw->pw_gid;
		snprintf(tools->user, sizeof tools->user, "%s", pw->pw_name);
		return ST_OK;
	}
	error_set(err, ST_FAILED, "PostgreSQL does not run as root, and there is neither a user postgres nor a user nobody");
	error_hint(err, "make one (adduser --system postgres), or start pgrehearse as an ordinary user");
	return ST_FAILED;
}

enum status server_find_tools(const char *asked, struct server_tools *out, struct error *err)
{
	*out = (struct server_tools){0};
	enum status st = find_folder(asked, out->dir, sizeof out->dir, err);
	if (st == ST_OK)
		st = choose_user(out, err);
	if (st != ST_OK)
		return st;
	char program[PATH_MAX + 16];
	snprintf(program, sizeof program, "%s/postgres", out->dir);
	const char *const argv[] = {program, "--version", NULL};
	struct buf output;
	buf_init(&output, 4096);
	st = proc_check(&(struct proc_spec){.argv = argv, .uid = out->uid, .gid = out->gid, .timeout_ns = 10 * NS_PER_S}, &output, err);
	if (st == ST_OK)
		out->version = parse_version(output.data);
	if (st == ST_OK && out->version < OLDEST_VERSION) {
		st = error_set(err, ST_USAGE, "%s is no server that can be rehearsed on: %.100s", program, output.data);
		error_hint(err, "PostgreSQL %d or later is needed", OLDEST_VERSION / 10000);
	}
	buf_free(&output);
	return st;
}

enum status server_give(const struct server_tools *tools, const char *path, mode_t mode, struct error *err)
{
	if (chmod(path, mode) != 0)
		return error_errno(err, ST_FAILED, "cannot set the mode of %s", path);
	if (tools->uid != 0 && chown(path, tools->uid, tools->gid) != 0)
		return error_errno(err, ST_FAILED, "cannot give %s to the user %s", path, tools->user);
	return ST_OK;
}

/* Settings. */

/* What a sandbox stands on; a caller's setting of these is refused. */
static const char *const RESERVED[] = {"listen_addresses", "port", "unix_socket_directories", "data_directory", "hba_file", "ident_file",
	"config_file", "external_pid_file", "logging_collector", "cluster_name", "hot_standby", "primary_conninfo", "primary_slot_name"};

/* Settings that differ from PostgreSQL's defaults, and why. fsync and synchronous_commit stay on: a rehearsal without them
 * would promise what production cannot keep. */
static const char *const REHEARSAL[] = {
	"max_connections = 200",  /* pods x pool, and the harness */
	"shared_buffers = 128MB", /* whatever initdb guessed on this machine */
	"wal_level = replica",
	"max_wal_senders = 16", /* 8 standbys, and a backup of the user's */
	"max_replication_slots = 16",
	"max_prepared_transactions = 8", /* for one that is left behind */
	"track_io_timing = on",
	"log_line_prefix = '%m [%p] %a '",
	"log_lock_waits = on",
	NULL,
};

static void add_quoted(struct buf *out, const char *value)
{
	buf_char(out, '\'');
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			buf_char(out, *value);
		buf_char(out, *value);
	}
	buf_str(out, "'\n");
}

static enum status add_setting(struct buf *out, const char *setting, struct error *err)
{
	size_t n = strcspn(setting, "=");
	char name[64];
	size_t len = 0;
	for (size_t i = 0; i < n && len < sizeof name - 1; i++)
		if (setting[i] != ' ')
			name[len++] = (char)tolower((unsigned char)setting[i]);
	name[len] = '\0';
	if (setting[n] != '=' || len == 0 || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_.") != len ||
		strchr(setting, '\n') != NULL) {
		error_set(err, ST_USAGE, "\"%.100s\" is not a server setting", setting);
		error_hint(err, "name=value, for example work_mem=64MB");
		return ST_USAGE;
	}
	for (size_t i = 0; i < sizeof RESERVED / sizeof RESERVED[0]; i++)
		if (strcmp(name, RESERVED[i]) == 0)
			return error_set(err, ST_USAGE, "the server setting %s is the sandbox's own and cannot be changed", name);
	const char *value = setting + n + 1;
	value += strspn(value, " ");
	buf_printf(out, "%s = ", name);
	add_quoted(out, value);
	return ST_OK;
}

enum status server_configure(
	const struct server_tools *tools, const struct server_place *place, const char *const *settings, struct error *err)
{
	struct buf text;
	buf_init(&text, 1 << 20);
	enum status st = ST_OK;
	for (const char *const *s = REHEARSAL; *s != NULL; s++)
		buf_printf(&text, "%s\n", *s);
	for (const char *const *s = settings; s != NULL && *s != NULL && st == ST_OK; s++)
		st = add_setting(&text, *s, err);
	buf_printf(&text, "listen_addresses = ''\nport = %d\nhot_standby = on\nlogging_collector = off\nunix_socket_permissions = 0700\n",
		place->port);
	buf_str(&text, "cluster_name = ");
	add_quoted(&text, place->label);
	/* A list: the path in double quotes, so that a comma in it does no harm. */
	char directory[PATH_MAX + 8];
	snprintf(directory, sizeof directory, "\"%s\"", place->socket_dir);
	buf_str(&text, "unix_socket_directories = ");
	add_quoted(&text, directory);
	if (place->primary_dsn != NULL) {
		char dsn[PATH_MAX + 256];
		snprintf(dsn, sizeof dsn, "%s application_name=%s", place->primary_dsn, place->name);
		buf_str(&text, "primary_conninfo = ");
		add_quoted(&text, dsn);
		buf_str(&text, "primary_slot_name = ");
		add_quoted(&text, place->name);
	}
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/pgrehearse.conf", place->data_dir);
	if (st == ST_OK && text.overflow)
		st = error_set(err, ST_USAGE, "the server settings take more than 1 MB");
	if (st == ST_OK)
		st = fs_write_file(path, text.data, text.len, err);
	if (st == ST_OK)
		st = server_give(tools, path, 0600, err);
	buf_free(&text);
	if (st != ST_OK || place->primary_dsn == NULL)
		return st;
	snprintf(path, sizeof path, "%s/standby.signal", place->data_dir);
	st = fs_write_file(path, "", 0, err);
	return st == ST_OK ? server_give(tools, path, 0600, err) : st;
}

/* The programs. */

enum status server_init(const struct server_tools *tools, const struct server_place *place, struct error *err)
{
	/* Locale C: the same order of strings on every machine that a record may be compared with. */
	const char *argv[] = {
		"initdb", "--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C", "-D", place->data_dir, NULL};
	enum status st = run_program(tools, place->work_dir, argv, PROGRAM_LIMIT_NS, err);
	if (st != ST_OK)
		return st;
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/postgresql.conf", place->data_dir);
	FILE *f = fopen(path, "ae");
	bool ok = f != NULL && fputs("\ninclude 'pgrehearse.conf'\n", f) >= 0;
	if (f != NULL && fclose(f) != 0)
		ok = false;
	return ok ? ST_OK : error_errno(err, ST_FAILED, "cannot write %s", path);
}

enum status server_settle(const struct server_tools *tools, const struct server_place *place, struct error *err)
{
	/* Single-user mode: reads no input, and ends with a checkpoint. */
	const char *argv[] = {"postgres", "--single", "-D", place->data_dir, "template1", NULL};
	return run_program(tools, place->work_dir, argv, PROGRAM_LIMIT_NS, err);
}

/* The beginning of a control file, the same from PostgreSQL 12 to 18: ControlFileData and CheckPoint in catalog/pg_control.h. */
struct control_head {
	uint64_t system_identifier;
	uint32_t control_version;
	uint32_t catalog_version;
	uint32_t state;
	int64_t time;
	uint64_t checkpoint;
	uint64_t redo;
	uint32_t timeline;
};

static bool read_control(const struct server_place *place, struct control_head *head)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/global/pg_control", place->data_dir);
	FILE *f = fopen(path, "re");
	bool known = f != NULL && fread(head, sizeof *head, 1, f) == 1 && head->control_version >= 1201 && head->control_version < 1900;
	if (f != NULL)
		fclose(f);
	return known;
}

/* Not by pg_controldata, which not every package of servers has. */
const char *server_control_state(const struct server_place *place)
{
	static const char *const STATES[] = {"starting up", "shut down", "shut down in recovery", "shutting down", "in crash recovery",
		"in archive recovery", "in production"};
	struct control_head head;
	return read_control(place, &head) && head.state < sizeof STATES / sizeof STATES[0] ? STATES[head.state] : "unknown";
}

void server_first_wal(const struct server_place *place, char out[25])
{
	char path[PATH_MAX + 32];
	struct control_head head;
	struct stat wal;
	out[0] = '\0';
	if (!read_control(place, &head))
		return;
	uint64_t file = head.redo / WAL_FILE_BYTES;
	snprintf(out, 25, "%08X%08X%08X", head.timeline, (unsigned)(file >> 8), (unsigned)(file & 255));
	snprintf(path, sizeof path, "%s/pg_wal/%s", place->data_dir, out);
	if (stat(path, &wal) != 0 || wal.st_size != WAL_FILE_BYTES)
		out[0] = '\0';
}

enum status server_start(const struct server_tools *tools, const struct server_place *place, struct error *err)
{
	const char *argv[] = {"pg_ctl", "start", "-w", "-s", "-t", START_LIMIT, "-D", place->data_dir, "-l", place->log_path, NULL};
	struct buf said;
	buf_init(&said, 65536);
	enum status st = ask_program(tools, place->work_dir, argv, PROGRAM_LIMIT_NS + 10 * NS_PER_S, place->isolated, &said, err);
	buf_free(&said);
	if (st != ST_OK)
		server_log_explain_start(place->log_path, err);
	return st;
}

enum status server_stop(const struct server_tools *tools, const struct server_place *place, bool immediate, struct error *err)
{
	const char *argv[] = {
		"pg_ctl", "stop", "-w", "-s", "-t", START_LIMIT, "-m", immediate ? "immediate" : "fast", "-D", place->data_dir, NULL};
	return run_program(tools, place->work_dir, argv, PROGRAM_LIMIT_NS + 10 * NS_PER_S, err);
}

static void drop_notice(void *arg, const char *message)
{
	(void)arg, (void)message;
}

enum status server_query(const char *dsn, const char *sql, char *value, size_t size, struct error *err)
{
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, "10", "pgrehearse sandbox", "UTF8", NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	enum status st = ST_OK;
	PGresult *res = NULL;
	if (PQstatus(conn) != CONNECTION_OK) {
		st = error_set(err, ST_FAILED, "cannot connect to the sandbox: %s", PQerrorMessage(conn));
	} else {
		PQsetNoticeProcessor(conn, drop_notice, NULL);
		res = PQexec(conn, sql);
		ExecStatusType kind = PQresultStatus(res);
		if (kind != PGRES_COMMAND_OK && kind != PGRES_TUPLES_OK)
			st = error_set(err, ST_FAILED, "%s (in the sandbox, from: %.100s)", PQresultErrorMessage(res), sql);
		else if (value != NULL)
			snprintf(value, size, "%s", PQntuples(res) > 0 && PQnfields(res) > 0 ? PQgetvalue(res, 0, 0) : "");
	}
	PQclear(res);
	PQfinish(conn);
	return st;
}
