/* dump:PATH: what pg_dump or pg_dumpall wrote, restored into a sandbox with their own programs, and made fit to measure on. */
#define _GNU_SOURCE
#include "clone/source.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "clone/server.h"
#include "clone/source_roles.h"

#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOBS_MAX 8
#define ERRORS_KEPT 200
#define HEAD_BYTES 1024

/* What it is. */

static int64_t folder_bytes(const char *dir)
{
	DIR *d = opendir(dir);
	int64_t sum = 0;
	for (struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
		struct stat st;
		if (fstatat(dirfd(d), e->d_name, &st, 0) == 0 && S_ISREG(st.st_mode))
			sum += (int64_t)st.st_size;
	}
	if (d != NULL)
		closedir(d);
	return sum;
}

static enum status refuse(const char *path, const char *what, const char *hint, struct error *err)
{
	error_set(err, ST_USAGE, "--target dump:%.300s: %s", path, what);
	error_hint(err, "%s", hint);
	return ST_USAGE;
}

static bool begins(const char *head, size_t n, const char *magic, size_t length)
{
	return n >= length && memcmp(head, magic, length) == 0;
}

static enum status inspect_file(const char *path, struct source_dump *out, struct error *err)
{
	char head[HEAD_BYTES];
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return error_errno(err, ST_USAGE, "--target dump:%.300s: it cannot be read", path);
	size_t n = fread(head, 1, sizeof head, f);
	fclose(f);
	static const struct {
		const char *magic;
		size_t n;
		const char *what, *hint;
	} OTHERS[] = {
		{"\x1f\x8b", 2, "it is compressed as a whole (gzip)", "unpack it first: gunzip"},
		{"\x28\xb5\x2f\xfd", 4, "it is compressed as a whole (zstd)", "unpack it first: unzstd"},
		{"\x04\x22\x4d\x18", 4, "it is compressed as a whole (lz4)", "unpack it first: unlz4"},
		{"BZh", 3, "it is compressed as a whole (bzip2)", "unpack it first: bunzip2"},
		{"\xfd"
		 "7zXZ",
			5, "it is compressed as a whole (xz)", "unpack it first: unxz"},
		{"PK\x03\x04", 4, "it is a ZIP archive", "unpack it first: unzip"},
		{"Salted__", 8, "it is encrypted (openssl)", "decrypt it first"},
		{"age-encryption.org", 18, "it is encrypted (age)", "decrypt it first"},
		{"-----BEGIN PGP", 14, "it is encrypted (PGP)", "decrypt it first"},
		{"\x85\x01", 2, "it is encrypted (PGP)", "decrypt it first"},
		{"\x85\x02", 2, "it is encrypted (PGP)", "decrypt it first"},
		{"\x8c\x0d", 2, "it is encrypted (PGP)", "decrypt it first"},
	};
	if (n == 0)
		return refuse(path, "it is empty", "pg_dump -Fc -f FILE DATABASE writes one", err);
	for (size_t i = 0; i < sizeof OTHERS / sizeof OTHERS[0]; i++)
		if (begins(head, n, OTHERS[i].magic, OTHERS[i].n))
			return refuse(path, OTHERS[i].what, OTHERS[i].hint, err);
	if (begins(head, n, "PGDMP", 5)) {
		out->format = DUMP_CUSTOM;
	} else if (n > 517 && memcmp(head + 257, "ustar", 5) == 0) {
		/* pg_dump's has its table of contents first, pg_basebackup's anything else. */
		if (strcmp(head, "toc.dat") != 0 || memcmp(head + 512, "PGDMP", 5) != 0)
			return refuse(path, "it is a tar archive, but not one of pg_dump's",
				"one of pg_basebackup's is named base:PATH; other archives are to be unpacked first", err);
		out->format = DUMP_TAR;
	} else if (memchr(head, '\0', n) != NULL) {
		return refuse(path, "it is not a dump: neither an archive of pg_dump's nor a script",
			"what pg_dump or pg_dumpall writes is expected; it may be encrypted or damaged", err);
	} else {
		out->format = DUMP_PLAIN;
	}
	return ST_OK;
}

enum status source_dump_inspect(const char *path, struct source_dump *out, struct error *err)
{
	*out = (struct source_dump){.format = DUMP_DIRECTORY};
	struct stat info;
	if (realpath(path, out->path) == NULL || stat(out->path, &info) != 0)
		return error_errno(err, ST_USAGE, "--target dump:%.300s: it cannot be read", path);
	if (!S_ISDIR(info.st_mode)) {
		out->bytes = (int64_t)info.st_size;
		return inspect_file(out->path, out, err);
	}
	char toc[PATH_MAX + 16];
	snprintf(toc, sizeof toc, "%s/toc.dat", out->path);
	out->bytes = folder_bytes(out->path);
	if (fs_exists(toc))
		return ST_OK;
	snprintf(toc, sizeof toc, "%s/PG_VERSION", out->path);
	if (fs_exists(toc))
		return refuse(path, "it is a server's data folder, not a dump", "name it base:PATH", err);
	return refuse(path, "the folder holds no toc.dat, so it is not one of pg_dump -Fd",
		"name the folder that pg_dump -Fd wrote, or a file", err);
}

/* Restoring it. */

struct restore {
	const struct source_dump *dump;
	struct sandbox *sb;
	struct source_job *job;
	char program[PATH_MAX];
	int64_t start_ns;
	int objects, objects_done;
	int errors;       /* those that were not expected */
	json_t *list;     /* of errors, the first ERRORS_KEPT */
	char last[1024];  /* said by the program */
	char fatal[1024]; /* the last error */
	bool went_on;     /* "errors ignored on restore" */
	char version[64]; /* of the server that was dumped */
	bool quiet;       /* the table of contents is listed */
};

static void find_program(const struct restore *r, const char *name, char *out, size_t size)
{
	snprintf(out, size, "%s/%s", sandbox_server_dir(r->sb), name);
	if (access(out, X_OK) != 0)
		snprintf(out, size, "%s", name);
}

static void say_progress(struct restore *r, const char *what)
{
	if (r->job->progress != NULL)
		r->job->progress(what, 0, 0, r->job->arg);
}

static void tick(pid_t pid, void *arg)
{
	struct restore *r = arg;
	char text[256], more[64] = "";
	int done = r->objects_done < r->objects ? r->objects_done : r->objects;
	if (r->objects > 0)
		snprintf(more, sizeof more, ", %d of %d objects", done, r->objects);
	source_describe_progress("restoring", source_bytes_read(pid), r->dump->bytes, r->start_ns, more, text, sizeof text);
	say_progress(r, text);
}

/* Roles are made beforehand, so a pg_dumpall makes them a second time; the sandbox's own database is there, too. Tables of a tablespace that is
 * not there are made where the others are, as pg_restore is told to. */
static bool is_expected(const char *text)
{
	size_t n = strlen(text);
	static const char EXISTS[] = "\" already exists";
	if (strstr(text, "invalid value for parameter \"default_tablespace\"") != NULL)
		return true;
	return (strstr(text, "role \"") != NULL || strstr(text, "database \"rehearsal\"") != NULL) && n > sizeof EXISTS - 1 &&
		strcmp(text + n - (sizeof EXISTS - 1), EXISTS) == 0;
}

static void note_error(struct restore *r, const char *text)
{
	if (is_expected(text))
		return;
	r->errors++;
	if (r->errors <= ERRORS_KEPT)
		json_array_append_new(r->list, json_text(text));
	snprintf(r->fatal, sizeof r->fatal, "%s", text);
}

static void restore_line(const char *line, void *arg)
{
	static const char RESTORE[] = "pg_restore: ", EXECUTE[] = "could not execute query: ", IGNORED[] = "warning: errors ignored";
	struct restore *r = arg;
	if (line[0] != '\0')
		snprintf(r->last, sizeof r->last, "%s", line);
	if (strncmp(line, RESTORE, sizeof RESTORE - 1) != 0)
		return;
	line += sizeof RESTORE - 1;
	if (strncmp(line, "creating ", 9) == 0 || strncmp(line, "processing data", 15) == 0)
		r->objects_done++;
	if (strncmp(line, IGNORED, sizeof IGNORED - 1) == 0)
		r->went_on = true;
	if (strncmp(line, "error: ", 7) != 0)
		return;
	line += 7;
	note_error(r, strncmp(line, EXECUTE, sizeof EXECUTE - 1) == 0 ? line + sizeof EXECUTE - 1 : line);
}

/* psql:PATH:LINE: ERROR:  TEXT */
static void script_line(const char *line, void *arg)
{
	struct restore *r = arg;
	if (line[0] != '\0')
		snprintf(r->last, sizeof r->last, "%s", line);
	const char *at = strncmp(line, "psql:", 5) == 0 ? strstr(line, ": ERROR:") : NULL;
	if (at == NULL && strncmp(line, "psql:", 5) == 0)
		at = strstr(line, ": error:");
	if (at == NULL)
		return;
	const char *number = at;
	while (number > line && number[-1] != ':')
		number--;
	char text[1024];
	const char *said = at + strlen(": ERROR:");
	said += strspn(said, " ");
	if (is_expected(said))
		return;
	snprintf(text, sizeof text, "line %.*s: %s", (int)(at - number), number, said);
	note_error(r, text);
}

static void count_line(const char *line, void *arg)
{
	static const char FROM[] = ";     Dumped from database version: ";
	struct restore *r = arg;
	if (strncmp(line, FROM, sizeof FROM - 1) == 0)
		snprintf(r->version, sizeof r->version, "%s", line + sizeof FROM - 1);
	if (line[0] != ';' && line[0] != '\0' && strncmp(line, "pg_restore", 10) != 0)
		r->objects++;
	if (strncmp(line, "pg_restore: error: ", 19) == 0)
		snprintf(r->fatal, sizeof r->fatal, "%s", line + 19);
}

static enum status refuse_archive(const struct restore *r, struct error *err)
{
	error_set(err, ST_USAGE, "--target dump:%.300s: %.400s", r->dump->path, r->fatal[0] != '\0' ? r->fatal : r->last);
	if (strstr(r->fatal, "unsupported version") != NULL)
		error_hint(
			err, "it was written by a newer pg_dump than %s reads: --server names a newer PostgreSQL's programs", r->program);
	else
		error_hint(err, "it is damaged or cut off: pg_restore --list reads a whole one");
	return ST_USAGE;
}

static enum status read_contents(struct restore *r, struct error *err)
{
	const char *argv[] = {r->program, "--list", r->dump->path, NULL};
	int code = 0;
	struct source_program p = {.argv = argv, .line = count_line, .arg = r, .stop = r->job->stop};
	enum status st = source_run(&p, &code, err);
	return st == ST_OK && code != 0 ? refuse_archive(r, err) : st;
}

/* The schema as a script, only to see who is named in it. */
static enum status find_roles(struct restore *r, struct source_found *found, struct error *err)
{
	if (r->dump->format == DUMP_PLAIN)
		return source_scan_roles(r->dump->path, found, r->job->stop, err);
	char script[PATH_MAX];
	snprintf(script, sizeof script, "%.4000s/schema.sql", sandbox_dir(r->sb));
	const char *argv[] = {r->program, "--schema-only", "-f", script, r->dump->path, NULL};
	int code = 0;
	struct source_program p = {.argv = argv, .line = restore_line, .arg = r, .stop = r->job->stop};
	enum status st = source_run(&p, &code, err);
	if (st == ST_OK && code != 0)
		st = refuse_archive(r, err);
	if (st == ST_OK)
		st = source_scan_roles(script, found, r->job->stop, err);
	(void)!unlink(script);
	return st;
}

static char *quote_name(const char *name, struct buf *out)
{
	buf_char(out, '"');
	for (; *name != '\0'; name++) {
		if (*name == '"')
			buf_char(out, '"');
		buf_char(out, *name);
	}
	buf_char(out, '"');
	return out->data;
}

static enum status make_roles(struct restore *r, const struct source_names *roles, struct error *err)
{
	json_t *made = json_array();
	enum status st = ST_OK;
	for (size_t i = 0; i < roles->n && st == ST_OK; i++) {
		struct buf sql;
		buf_init(&sql, 1024);
		buf_str(&sql, "CREATE ROLE ");
		quote_name(roles->at[i], &sql);
		struct error ours;
		if (strncmp(roles->at[i], "pg_", 3) == 0 || strcmp(roles->at[i], "postgres") == 0)
			;
		else if ((st = source_execute(sandbox_dsn(r->sb), sql.data, r->job->stop, &ours)) == ST_OK)
			json_array_append_new(made, json_text(roles->at[i]));
		else
			*err = ours;
		buf_free(&sql);
	}
	json_object_set_new(r->job->facts, "roles_made", made);
	return st;
}

/* A script that makes and enters databases of its own leaves ours empty. */
static enum status choose_database(struct restore *r, const struct source_names *databases, struct error *err)
{
	const char *chosen = r->job->database;
	char all[512] = "";
	size_t n = 0;
	for (size_t i = 0; i < databases->n; i++) {
		const char *name = databases->at[i];
		if (strcmp(name, "postgres") == 0 || strcmp(name, "template1") == 0)
			continue;
		size_t used = strlen(all);
		snprintf(all + used, sizeof all - used, "%s%s", n++ > 0 ? ", " : "", name);
		if (r->job->database == NULL)
			chosen = name;
	}
	if (r->job->database == NULL && n > 1) {
		error_set(err, ST_USAGE, "--target dump:%.300s: it holds several databases: %s", r->dump->path, all);
		error_hint(err, "say which one is migrated: --database NAME");
		return ST_USAGE;
	}
	return chosen != NULL ? sandbox_choose_database(r->sb, chosen, err) : ST_OK;
}

static enum status run_restore(struct restore *r, struct error *err)
{
	char jobs[16];
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	snprintf(jobs, sizeof jobs, "%d", r->job->jobs > 0 ? r->job->jobs : cores < JOBS_MAX ? (int)cores : JOBS_MAX);
	/* The database that we are in while a script runs is ours. */
	const char *script[] = {r->program, "--no-psqlrc", "--quiet", "--file", r->dump->path, "--dbname", sandbox_dsn(r->sb), NULL};
	/* A tar archive can only be read by one. */
	const char *tar[] = {r->program, "--verbose", "--no-tablespaces", "--dbname", sandbox_dsn(r->sb), r->dump->path, NULL};
	const char *archive[] = {
		r->program, "--verbose", "--no-tablespaces", "--jobs", jobs, "--dbname", sandbox_dsn(r->sb), r->dump->path, NULL};
	bool plain = r->dump->format == DUMP_PLAIN;
	struct source_program p = {.argv = plain      ? script
			: r->dump->format == DUMP_TAR ? tar
						      : archive,
		.line = plain ? script_line : restore_line,
		.tick = tick,
		.arg = r,
		.stop = r->job->stop};
	int code = 0;
	r->start_ns = clock_now_ns();
	enum status st = source_run(&p, &code, err);
	if (st != ST_OK || code == 0 || (r->errors > 0 && r->went_on))
		return st;
	error_set(err, ST_FAILED, "--target dump:%.300s could not be restored to its end: %.500s", r->dump->path,
		r->fatal[0] != '\0' ? r->fatal : r->last);
	if (strstr(r->fatal, "could not read from input file") != NULL || strstr(r->fatal, "end of file") != NULL)
		error_hint(err, "the dump is cut off or damaged: copy it again");
	return ST_FAILED;
}

static enum status judge_errors(const struct restore *r, struct error *err)
{
	if (r->errors == 0 || r->job->accept_errors)
		return ST_OK;
	struct buf text;
	buf_init(&text, 700);
	for (size_t i = 0; i < json_array_size(r->list) && i < 3; i++)
		buf_printf(&text, "%s%.200s", i > 0 ? "; " : "", json_string_value(json_array_get(r->list, i)));
	error_set(err, ST_FAILED, "--target dump:%.200s: %d statement%s failed while it was restored: %s%s", r->dump->path, r->errors,
		r->errors == 1 ? "" : "s", text.data, r->errors > 3 ? "; ..." : "");
	error_hint(err, "--accept-restore-errors goes on without what they would have made, and lists them in the record");
	buf_free(&text);
	return ST_FAILED;
}

static enum status query_rows(const char *dsn, const char *sql, json_t *facts, struct error *err)
{
	PGconn *conn = PQconnectdb(dsn);
	PGresult *res = PQexec(conn, sql);
	enum status st = PQresultStatus(res) == PGRES_TUPLES_OK ? ST_OK : error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
	for (int i = 0; st == ST_OK && i < PQntuples(res); i++) {
		char what[64];
		const char *row = PQgetvalue(res, i, 0);
		size_t n = strcspn(row, "\t");
		snprintf(what, sizeof what, "%.*s", (int)(n < 63 ? n : 63), row);
		source_note_defused(facts, what, row[n] != '\0' ? row + n + 1 : "");
	}
	PQclear(res);
	PQfinish(conn);
	return st;
}

static enum status defuse(struct restore *r, struct error *err)
{
	static const char *const *const LISTS[] = {SOURCE_LIST_CLUSTER, SOURCE_LIST_DATABASE};
	static const char *const *const CUTS[] = {SOURCE_CUT_CLUSTER, SOURCE_CUT_DATABASE};
	enum status st = ST_OK;
	for (size_t i = 0; i < 2 && st == ST_OK; i++) {
		for (const char *const *s = LISTS[i]; *s != NULL && st == ST_OK; s++)
			st = query_rows(sandbox_dsn(r->sb), *s, r->job->facts, err);
		for (const char *const *s = CUTS[i]; *s != NULL && st == ST_OK; s++)
			st = source_execute(sandbox_dsn(r->sb), *s, r->job->stop, err);
	}
	return st;
}

/* A restored table has no visibility map and no statistics: its plans are not production's, and autovacuum would come in the middle. */
static enum status normalise(struct restore *r, struct error *err)
{
	say_progress(r, "normalising: VACUUM (ANALYZE)");
	enum status st = source_execute(sandbox_dsn(r->sb), "VACUUM (ANALYZE)", r->job->stop, err);
	if (st == ST_OK)
		json_object_set_new(r->job->facts, "normalised", json_string("VACUUM (ANALYZE)"));
	return st;
}

enum status source_dump_restore(const struct source_dump *dump, struct sandbox *sb, struct source_job *job, struct error *err)
{
	static const char *const FORMATS[] = {"custom", "directory", "tar", "plain"};
	struct restore *r = calloc(1, sizeof *r);
	if (r == NULL)
		abort();
	*r = (struct restore){.dump = dump, .sb = sb, .job = job, .list = json_array()};
	struct source_found found = {0};
	find_program(r, dump->format == DUMP_PLAIN ? "psql" : "pg_restore", r->program, sizeof r->program);
	say_progress(r, "reading the dump");
	enum status st = dump->format == DUMP_PLAIN ? ST_OK : read_contents(r, err);
	if (st == ST_OK)
		st = find_roles(r, &found, err);
	if (st == ST_OK && found.tablespaces.n > 0) {
		st = error_set(err, ST_USAGE,
			"--target dump:%.300s: it would make the tablespace %.100s in a folder outside of the sandbox", dump->path,
			found.tablespaces.at[0]);
		error_hint(err, "dump without them: pg_dumpall --no-tablespaces");
	}
	if (st == ST_OK)
		st = make_roles(r, &found.roles, err);
	if (st == ST_OK)
		st = run_restore(r, err);
	if (st == ST_OK)
		st = judge_errors(r, err);
	json_object_set_new(job->facts, "format", json_string(FORMATS[dump->format]));
	json_object_set_new(job->facts, "bytes", json_integer(dump->bytes));
	json_object_set_new(job->facts, "dumped_from", r->version[0] != '\0' ? json_text(r->version) : json_null());
	json_object_set(job->facts, "errors", r->list);
	if (st == ST_OK)
		st = choose_database(r, &found.databases, err);
	if (st == ST_OK)
		st = defuse(r, err);
	if (st == ST_OK)
		st = normalise(r, err);
	if (st == ST_OK)
		json_object_set_new(job->facts, "restore_ns", json_integer(clock_now_ns() - r->start_ns));
	source_found_free(&found);
	json_decref(r->list);
	free(r);
	return st;
}
