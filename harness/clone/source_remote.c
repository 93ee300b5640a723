/* template:DSN, command:UP,DOWN and what else belongs to servers that are not ours. */
#define _GNU_SOURCE
#include "clone/source_remote.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/hide.h"
#include "base/sha256.h"
#include "runtime/dsn.h"

#include <errno.h>
#include <libpq-fe.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define FILE_COPY_BYTES (INT64_C(256) << 20) /* from here on files are copied faster than they are logged */
#define COMMENT "pgrehearse copy, pid "
#define PREFIX "pgrehearse_" /* of the names of copies */
#define DROP_LIMIT_NS (30 * NS_PER_S)

/* Connection strings. */

enum status source_replace_database(const char *dsn, const char *database, char *out, size_t size, struct error *err)
{
	PQconninfoOption *options = dsn_parse(dsn, err);
	if (options == NULL)
		return ST_USAGE;
	struct buf text;
	buf_init(&text, size - 1);
	for (PQconninfoOption *o = options; o->keyword != NULL; o++)
		if (o->val != NULL && strcmp(o->keyword, "dbname") != 0)
			dsn_add_word(&text, o->keyword, o->val);
	dsn_add_word(&text, "dbname", database);
	snprintf(out, size, "%s", text.data);
	enum status st = text.overflow ? error_set(err, ST_USAGE, "the target's connection string is too long") : ST_OK;
	buf_free(&text);
	PQconninfoFree(options);
	return st;
}

static PGconn *connect_to(const char *dsn, struct error *err)
{
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, "10", "pgrehearse target", "UTF8", NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	const char *why = PQerrorMessage(conn);
	error_set(err, ST_FAILED, "cannot connect to the target: %.*s", (int)strcspn(why, "\n"), why);
	PQfinish(conn);
	return NULL;
}

/* The first value of the first row; false: there is none. */
static bool ask(PGconn *conn, const char *sql, char *out, size_t size)
{
	PGresult *r = PQexec(conn, sql);
	bool ok = PQresultStatus(r) == PGRES_TUPLES_OK && PQntuples(r) > 0 && !PQgetisnull(r, 0, 0);
	snprintf(out, size, "%s", ok ? PQgetvalue(r, 0, 0) : "");
	PQclear(r);
	return ok;
}

/* template: */

static PGconn *connect_beside(struct source_template *t, const char *dsn, struct error *err)
{
	static const char *const BESIDE[] = {"postgres", "template1"};
	PGconn *conn = NULL;
	for (size_t i = 0; conn == NULL && i < 2; i++)
		if (source_replace_database(dsn, BESIDE[i], t->admin, sizeof t->admin, err) == ST_OK)
			conn = connect_to(t->admin, err);
	return conn;
}

static enum status drop_database(PGconn *conn, const char *name, struct error *err)
{
	char sql[300];
	char *quoted = PQescapeIdentifier(conn, name, strlen(name));
	/* FORCE: sessions of ours may be just ending. */
	snprintf(sql, sizeof sql, "DROP DATABASE IF EXISTS %s%s", quoted, PQserverVersion(conn) >= 130000 ? " WITH (FORCE)" : "");
	PQfreemem(quoted);
	PGresult *r = PQexec(conn, sql);
	enum status st = PQresultStatus(r) == PGRES_COMMAND_OK ? ST_OK : error_set(err, ST_FAILED, "%s", PQresultErrorMessage(r));
	PQclear(r);
	return st;
}

static void host_name(char *out, size_t size)
{
	if (gethostname(out, size) != 0)
		snprintf(out, size, "?");
	out[size - 1] = '\0';
}

/* Where our number is ours alone: on this machine, since it was started, among the processes that we see. */
static void name_place(char out[9])
{
	char text[256], hex[SHA256_HEX_SIZE], space[64] = "";
	struct buf boot;
	buf_init(&boot, 4096);
	(void)!fs_read_file("/proc/sys/kernel/random/boot_id", &boot, NULL);
	ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
	host_name(text, 64);
	size_t used = strlen(text);
	snprintf(text + used, sizeof text - used, " %.64s %.*s", boot.data, n > 0 ? (int)n : 0, space);
	sha256_hex(text, strlen(text), hex);
	snprintf(out, 9, "%.8s", hex);
	buf_free(&boot);
}

/* pgrehearse_PLACE_PID_RANDOM_TEMPLATE: the process that made a copy is told by its name as well, which it has from its first moment on. */
static enum status make_name(struct source_template *t, struct error *err)
{
	char place[9];
	unsigned number;
	name_place(place);
	if (getrandom(&number, sizeof number, 0) != (ssize_t)sizeof number)
		return error_errno(err, ST_FAILED, "getrandom");
	snprintf(t->name, sizeof t->name, PREFIX "%s_%d_%08x_%.20s", place, (int)getpid(), number, t->template);
	return ST_OK;
}

/* The process that the name of a copy tells of; 0: it is not of our place, or no such name. */
static long maker_by_name(const char *name)
{
	char place[9], *end;
	name_place(place);
	size_t begin = sizeof PREFIX - 1;
	if (strncmp(name, PREFIX, begin) != 0 || strncmp(name + begin, place, 8) != 0 || name[begin + 8] != '_')
		return 0;
	long pid = strtol(name + begin + 9, &end, 10);
	return end[0] == '_' && strspn(end + 1, "0123456789abcdef") >= 8 && end[9] == '_' ? pid : 0;
}

static long maker_by_comment(const char *text)
{
	char host[64], *end;
	host_name(host, sizeof host);
	long pid = strtol(text + sizeof COMMENT - 1, &end, 10);
	return strncmp(end, " on ", 4) == 0 && strcmp(end + 4, host) == 0 ? pid : 0;
}

/* Copies of a process of this machine that is no more: their comment names it, or, where it did not get so far, their name does. */
static void sweep(PGconn *conn)
{
	PGresult *r = PQexec(conn,
		"SELECT d.datname, COALESCE(c.text, '') FROM pg_catalog.pg_database d,"
		" LATERAL (SELECT pg_catalog.shobj_description(d.oid, 'pg_database') AS text) c WHERE c.text LIKE '" COMMENT "%'"
		" OR c.text IS NULL AND d.datname LIKE 'pgrehearse\\_%'"
		" AND pg_catalog.pg_get_userbyid(d.datdba) OPERATOR(pg_catalog.=) current_user");
	for (int i = 0; PQresultStatus(r) == PGRES_TUPLES_OK && i < PQntuples(r); i++) {
		const char *name = PQgetvalue(r, i, 0), *text = PQgetvalue(r, i, 1);
		long pid = text[0] != '\0' ? maker_by_comment(text) : maker_by_name(name);
		if (pid > 1 && kill((pid_t)pid, 0) != 0 && errno == ESRCH)
			(void)!drop_database(conn, name, NULL);
	}
	PQclear(r);
}

/* Nobody else's database is ever dropped under this name: it was free when we took it. */
static enum status take_name(const struct source_template *t, PGconn *conn, struct error *err)
{
	char sql[512], found[8];
	char *literal = PQescapeLiteral(conn, t->name, strlen(t->name));
	snprintf(
		sql, sizeof sql, "SELECT pg_catalog.count(*) FROM pg_catalog.pg_database WHERE datname OPERATOR(pg_catalog.=) %s", literal);
	bool known = ask(conn, sql, found, sizeof found);
	/* By the name of its session the watcher finds the one that still copies. */
	snprintf(sql, sizeof sql, "SELECT pg_catalog.set_config('application_name', %s, false)", literal);
	PQfreemem(literal);
	if (known && strcmp(found, "0") != 0)
		return error_set(err, ST_FAILED, "there is a database %s already", t->name);
	if (!known || !ask(conn, sql, found, sizeof found))
		return error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
	return ST_OK;
}

static enum status copy_database(struct source_template *t, PGconn *conn, struct source_job *job, struct error *err)
{
	char size[32] = "", sql[512];
	char *template = PQescapeIdentifier(conn, t->template, strlen(t->template));
	char *literal = PQescapeLiteral(conn, t->template, strlen(t->template));
	char *name = PQescapeIdentifier(conn, t->name, strlen(t->name));
	snprintf(sql, sizeof sql, "SELECT pg_catalog.pg_database_size(%s)", literal);
	bool large = ask(conn, sql, size, sizeof size) && strtoll(size, NULL, 10) >= FILE_COPY_BYTES;
	int version = PQserverVersion(conn);
	bool by_files = version < 150000 || large;
	enum status st = ST_FAILED;
	const char *strategy = NULL;
	if (version >= 180000) { /* copy on write, where the file system has it */
		snprintf(sql, sizeof sql, "CREATE DATABASE %s TEMPLATE %s STRATEGY file_copy", name, template);
		st = source_execute_on(conn, "SET file_copy_method = clone", job->stop, err);
		if (st == ST_OK)
			st = source_execute_on(conn, sql, job->stop, err);
		strategy = "clone";
		if (st == ST_FAILED)
			(void)!source_execute_on(conn, "RESET file_copy_method", job->stop, NULL);
	}
	if (st == ST_FAILED) {
		snprintf(sql, sizeof sql, "CREATE DATABASE %s TEMPLATE %s%s", name, template,
			version >= 150000 && large ? " STRATEGY file_copy" : "");
		st = source_execute_on(conn, sql, job->stop, err);
		strategy = by_files ? "file_copy" : "wal_log";
	}
	PQfreemem(template);
	PQfreemem(literal);
	PQfreemem(name);
	json_object_set_new(job->facts, "strategy", json_string(strategy));
	return st;
}

static enum status comment(const struct source_template *t, PGconn *conn, struct source_job *job, struct error *err)
{
	char host[64], text[160], sql[512];
	host_name(host, sizeof host);
	snprintf(text, sizeof text, COMMENT "%d on %s", (int)getpid(), host);
	char *name = PQescapeIdentifier(conn, t->name, strlen(t->name));
	char *literal = PQescapeLiteral(conn, text, strlen(text));
	snprintf(sql, sizeof sql, "COMMENT ON DATABASE %s IS %s", name, literal);
	PQfreemem(name);
	PQfreemem(literal);
	return source_execute_on(conn, sql, job->stop, err);
}

/* A session that still copies does not notice that we are gone, and its copy is seen by nobody before it is done. */
static bool end_copying(const struct source_template *t, PGconn *conn)
{
	char sql[512], sessions[16];
	char *literal = PQescapeLiteral(conn, t->name, strlen(t->name));
	snprintf(sql, sizeof sql,
		"SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity WHERE application_name"
		" OPERATOR(pg_catalog.=) %s AND usename OPERATOR(pg_catalog.=) current_user",
		literal);
	PQfreemem(literal);
	return ask(conn, sql, sessions, sizeof sessions) && strcmp(sessions, "0") == 0;
}

static void drop_afterwards(void *arg)
{
	const struct source_template *t = arg;
	int64_t until_ns = clock_now_ns() + DROP_LIMIT_NS;
	bool done = false;
	while (!done && clock_now_ns() < until_ns) {
		PGconn *conn = connect_to(t->admin, NULL);
		done = conn != NULL && end_copying(t, conn) && drop_database(conn, t->name, NULL) == ST_OK;
		PQfinish(conn);
		if (!done)
			nanosleep(&(struct timespec){.tv_nsec = 100 * NS_PER_MS}, NULL);
	}
}

static enum status find_names(struct source_template *t, const char *dsn, struct error *err)
{
	PGconn *conn = connect_to(dsn, err);
	if (conn == NULL)
		return ST_FAILED;
	snprintf(t->template, sizeof t->template, "%.63s", PQdb(conn));
	PQfinish(conn);
	enum status st = make_name(t, err);
	return st == ST_OK ? source_replace_database(dsn, t->name, t->dsn, sizeof t->dsn, err) : st;
}

enum status source_template_make(struct source_template *t, const char *dsn, struct source_job *job, struct error *err)
{
	enum status st = source_template_drop(t, err);
	if (st == ST_OK)
		st = find_names(t, dsn, err);
	PGconn *conn = st == ST_OK ? connect_beside(t, dsn, err) : NULL;
	if (conn == NULL)
		return st == ST_OK ? ST_FAILED : st;
	sweep(conn);
	if (job->progress != NULL)
		job->progress("copying the template", 0, 0, job->arg);
	int64_t start = clock_now_ns();
	st = take_name(t, conn, err);
	if (st == ST_OK)
		st = proc_watch(drop_afterwards, t, &t->watcher, err);
	t->made = st == ST_OK; /* as far as it is: what is under the name from now on is ours */
	if (st == ST_OK)
		st = copy_database(t, conn, job, err);
	if (st == ST_OK)
		st = comment(t, conn, job, err);
	json_object_set_new(job->facts, "copy_ns", json_integer(clock_now_ns() - start));
	PQfinish(conn);
	if (st != ST_OK && strstr(err->what, "being accessed by other users") != NULL)
		error_hint(err, "nobody else may be connected to %.100s while it is copied", t->template);
	return st;
}

enum status source_template_drop(struct source_template *t, struct error *err)
{
	if (!t->made)
		return ST_OK;
	PGconn *conn = connect_to(t->admin, err);
	enum status st = conn != NULL ? drop_database(conn, t->name, err) : ST_FAILED;
	PQfinish(conn);
	if (st == ST_OK) {
		t->made = false;
		proc_unwatch(&t->watcher);
	}
	return st;
}

/* Programs of the user's. */

static void last_line(const char *text, char *out, size_t size)
{
	out[0] = '\0';
	for (const char *line = text; *line != '\0';) {
		size_t n = strcspn(line, "\n"), end = n;
		while (end > 0 && strchr(" \t\r", line[end - 1]) != NULL)
			end--;
		if (end > 0)
			snprintf(out, size, "%.*s", (int)end, line);
		line += n + (line[n] == '\n');
	}
}

/* What a program said last, to be quoted: it may be a connection string, or hold one. */
static void quote_line(const char *text, char *out, size_t size)
{
	char line[SOURCE_DSN_MAX]; /* whole, as a password is found by what stands behind it */
	last_line(text, line, sizeof line);
	hide_passwords(line);
	snprintf(out, size, "%.*s", (int)size - 1, line);
}

static enum status run_shell(const char *command, const char *dsn, const volatile sig_atomic_t *stop, volatile pid_t *group, char *line,
	size_t size, struct error *err)
{
	/* What it says to people is kept apart, and quoted when it fails. */
	char said[] = "/tmp/pgrehearse-said-XXXXXX", variable[SOURCE_DSN_MAX + 32];
	int fd = mkstemp(said);
	if (fd < 0)
		return error_errno(err, ST_FAILED, "cannot make a file in /tmp");
	close(fd);
	snprintf(variable, sizeof variable, "PGREHEARSE_DSN=%s", dsn);
	const char *const env[] = {variable, NULL};
	const char *const argv[] = {"sh", "-c", "exec 2>\"$0\"; eval \"$1\"", said, command, NULL};
	struct buf output, complaint;
	struct proc_result result;
	buf_init(&output, 1 << 20);
	buf_init(&complaint, 1 << 20);
	struct proc_spec spec = {.argv = argv, .env = env, .own_session = true, .stop = stop};
	spec.group = group;
	enum status st = proc_run(&spec, &output, &result, err);
	if (st == ST_OK && stop != NULL && *stop != 0)
		st = error_set(err, ST_INTERRUPTED, "interrupted");
	if (st == ST_OK && result.exit_code != 0) {
		(void)!fs_read_file(said, &complaint, NULL);
		char why[400], what[200];
		quote_line(complaint.len > 0 ? complaint.data : output.data, why, sizeof why);
		quote_line(command, what, sizeof what);
		st = error_set(err, ST_FAILED, "%s ended with exit code %d: %s", what, result.exit_code, why);
	}
	last_line(output.data, line, size);
	(void)!unlink(said);
	buf_free(&output);
	buf_free(&complaint);
	return st;
}

enum status source_run_shell(
	const char *command, const char *dsn, const volatile sig_atomic_t *stop, char *line, size_t size, struct error *err)
{
	return run_shell(command, dsn, stop, NULL, line, size, err);
}

/* An UP that is still at work would have its clone made after DOWN has been called. */
static void down_afterwards(void *arg)
{
	const struct source_command *c = arg;
	char ignored[64];
	if (c->group != NULL && *c->group > 1)
		proc_end_group(*c->group);
	(void)!source_run_shell(c->down, c->dsn, NULL, ignored, sizeof ignored, NULL);
}

static void forget_group(struct source_command *c)
{
	munmap((void *)(uintptr_t)c->group, sizeof *c->group);
	c->group = NULL;
}

/* What a program that failed said last may be chat. */
static bool is_connection_string(const char *line)
{
	PQconninfoOption *options = strchr(line, '=') != NULL || strstr(line, "://") != NULL ? dsn_parse(line, NULL) : NULL;
	PQconninfoFree(options);
	return options != NULL;
}

enum status source_command_up(struct source_command *c, const volatile sig_atomic_t *stop, struct error *err)
{
	c->dsn[0] = '\0';
	void *shared = mmap(NULL, sizeof *c->group, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return error_errno(err, ST_FAILED, "mmap");
	c->group = shared;
	enum status st = proc_watch(down_afterwards, c, &c->watcher, err);
	if (st != ST_OK) {
		forget_group(c);
		return st;
	}
	c->called = true;
	st = run_shell(c->up, "", stop, c->group, c->dsn, sizeof c->dsn, err);
	forget_group(c);
	if (st != ST_OK && !is_connection_string(c->dsn))
		c->dsn[0] = '\0';
	if (st == ST_OK && c->dsn[0] == '\0') {
		char what[200];
		quote_line(c->up, what, sizeof what);
		st = error_set(err, ST_USAGE, "%s printed no connection string", what);
		error_hint(err, "the last line that it writes to its standard output is taken for one");
	}
	/* A new watcher, which knows where it is, before the old one goes. */
	if (st == ST_OK) {
		struct proc_watcher old = c->watcher;
		st = proc_watch(down_afterwards, c, &c->watcher, err);
		proc_unwatch(&old);
	}
	if (st != ST_OK)
		(void)!source_command_down(c, NULL);
	return st;
}

enum status source_command_down(struct source_command *c, struct error *err)
{
	if (!c->called)
		return ST_OK;
	char ignored[64];
	c->called = false;
	enum status st = source_run_shell(c->down, c->dsn, NULL, ignored, sizeof ignored, err);
	proc_unwatch(&c->watcher);
	return st;
}

/* Standbys. */

enum status source_name_standby(const char *primary, const char *dsn, int number, char *name, size_t size, struct error *err)
{
	char recovery[8], cluster[128], known[128];
	snprintf(name, size, "standby%d", number);
	PGconn *conn = connect_to(dsn, err);
	if (conn == NULL)
		return ST_FAILED;
	ask(conn, "SELECT pg_catalog.pg_is_in_recovery()", recovery, sizeof recovery);
	ask(conn, "SELECT pg_catalog.current_setting('cluster_name')", cluster, sizeof cluster);
	PQfinish(conn);
	if (strcmp(recovery, "t") != 0) {
		error_set(err, ST_USAGE, "--standby: the server that it names is no standby");
		error_hint(err, "a server that follows the target is expected");
		return ST_USAGE;
	}
	/* What a standby calls itself, unless told otherwise, is its cluster_name. */
	if ((conn = connect_to(primary, err)) == NULL)
		return ST_FAILED;
	char *literal = PQescapeLiteral(conn, cluster, strlen(cluster));
	char sql[512];
	snprintf(sql, sizeof sql,
		"SELECT application_name FROM pg_catalog.pg_stat_replication WHERE application_name = %s "
		"OR (SELECT pg_catalog.count(*) = 1 FROM pg_catalog.pg_stat_replication WHERE state = 'streaming') LIMIT 1",
		literal);
	if (ask(conn, sql, known, sizeof known) && known[0] != '\0')
		snprintf(name, size, "%s", known);
	PQfreemem(literal);
	PQfinish(conn);
	return ST_OK;
}
