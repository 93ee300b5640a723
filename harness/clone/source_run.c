/* Programs and statements that take long: run beside us, looked at, ended when we are to end. */
#define _GNU_SOURCE
#include "clone/source.h"

#include "base/clock.h"
#include "base/proc.h"
#include "base/units.h"

#include <dirent.h>
#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 200
#define LINE_MAX_BYTES 65536

struct lines {
	const struct source_program *p;
	char text[LINE_MAX_BYTES];
	size_t n;
};

static void add_bytes(struct lines *l, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (bytes[i] == '\n') {
			l->text[l->n] = '\0';
			if (l->p->line != NULL)
				l->p->line(l->text, l->p->arg);
			l->n = 0;
		} else if (l->n < sizeof l->text - 1) {
			l->text[l->n++] = bytes[i];
		}
	}
}

/* Until it closes its end or nothing has come for `wait_ms`. */
static bool read_some(struct lines *l, int fd, int wait_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	while (poll(&p, 1, wait_ms) > 0) {
		char chunk[8192];
		ssize_t n = read(fd, chunk, sizeof chunk);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n > 0)
			add_bytes(l, chunk, (size_t)n);
		wait_ms = 0;
	}
	return true;
}

static bool stopped(const volatile sig_atomic_t *stop)
{
	return stop != NULL && *stop != 0;
}

enum status source_run(const struct source_program *p, int *exit_code, struct error *err)
{
	int fd;
	pid_t pid;
	enum status st = proc_start((char *const *)(uintptr_t)p->argv, environ, NULL, &pid, &fd, err);
	if (st != ST_OK)
		return st;
	struct lines *l = calloc(1, sizeof *l);
	if (l == NULL)
		abort();
	l->p = p;
	bool open_fd = true, asked = false;
	int status = 0;
	int64_t next_tick = 0;
	for (;;) {
		pid_t done = waitpid(pid, &status, WNOHANG);
		if (open_fd)
			open_fd = read_some(l, fd, done == pid ? 0 : LOOK_MS);
		else if (done != pid)
			poll(NULL, 0, 10);
		if (done == pid)
			break;
		if (!asked && stopped(p->stop)) {
			asked = true;
			kill(-pid, SIGTERM);
		}
		int64_t now = clock_now_ns();
		if (p->tick != NULL && now >= next_tick) {
			next_tick = now + LOOK_MS * NS_PER_MS;
			p->tick(pid, p->arg);
		}
	}
	if (l->n > 0)
		add_bytes(l, "\n", 1);
	close(fd);
	free(l);
	*exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return asked ? error_set(err, ST_INTERRUPTED, "interrupted") : ST_OK;
}

enum status source_execute_on(PGconn *conn, const char *sql, const volatile sig_atomic_t *stop, struct error *err)
{
	enum status st = PQsendQuery(conn, sql) != 0 ? ST_OK : error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
	bool asked = false;
	while (st == ST_OK && PQisBusy(conn)) {
		struct pollfd p = {.fd = PQsocket(conn), .events = POLLIN};
		poll(&p, 1, LOOK_MS);
		if (PQconsumeInput(conn) == 0)
			st = error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
		if (!asked && stopped(stop)) {
			asked = true;
			char ignored[256];
			PGcancel *cancel = PQgetCancel(conn);
			if (cancel != NULL && PQcancel(cancel, ignored, sizeof ignored) == 0)
				st = error_set(err, ST_INTERRUPTED, "interrupted");
			PQfreeCancel(cancel);
		}
	}
	for (PGresult *r; st != ST_INTERRUPTED && (r = PQgetResult(conn)) != NULL; PQclear(r))
		if (st == ST_OK && PQresultStatus(r) != PGRES_COMMAND_OK && PQresultStatus(r) != PGRES_TUPLES_OK)
			st = error_set(err, ST_FAILED, "%s (from: %.100s)", PQresultErrorMessage(r), sql);
	return asked ? error_set(err, ST_INTERRUPTED, "interrupted") : st;
}

enum status source_execute(const char *dsn, const char *sql, const volatile sig_atomic_t *stop, struct error *err)
{
	const char *const keys[] = {"dbname", "connect_timeout", "application_name", "client_encoding", NULL};
	const char *const values[] = {dsn, "10", "pgrehearse sandbox", "UTF8", NULL};
	PGconn *conn = PQconnectdbParams(keys, values, 1);
	enum status st = PQstatus(conn) == CONNECTION_OK ? source_execute_on(conn, sql, stop, err)
							 : error_set(err, ST_FAILED, "%s", PQerrorMessage(conn));
	PQfinish(conn);
	return st;
}

static bool read_text(const char *path, char *out, size_t size)
{
	FILE *f = fopen(path, "re");
	size_t n = f != NULL ? fread(out, 1, size - 1, f) : 0;
	if (f != NULL)
		fclose(f);
	out[n] = '\0';
	return n > 0;
}

/* The process group is field 5 of stat; the name in field 2 may hold anything, so it is counted from its last bracket. */
static bool is_in_group(const char *pid, pid_t group)
{
	char path[300], text[1024];
	int parent = 0, found = 0;
	snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
	const char *at = read_text(path, text, sizeof text) ? strrchr(text, ')') : NULL;
	if (at == NULL || at[1] == '\0' || at[2] == '\0')
		return false;
	char *end;
	parent = (int)strtol(at + 3, &end, 10);
	found = (int)strtol(end, NULL, 10);
	return parent > 0 && found == (int)group;
}

int64_t source_bytes_read(pid_t pid)
{
	DIR *proc = opendir("/proc");
	int64_t sum = 0;
	for (struct dirent *e; proc != NULL && (e = readdir(proc)) != NULL;) {
		if (e->d_name[0] < '1' || e->d_name[0] > '9' || !is_in_group(e->d_name, pid))
			continue;
		char path[300], text[512];
		snprintf(path, sizeof path, "/proc/%.20s/io", e->d_name);
		if (read_text(path, text, sizeof text) && strncmp(text, "rchar: ", 7) == 0)
			sum += strtoll(text + 7, NULL, 10);
	}
	if (proc != NULL)
		closedir(proc);
	return sum;
}

void source_describe_progress(const char *verb, int64_t done, int64_t total, int64_t start_ns, const char *more, char *out, size_t size)
{
	char left[32], bytes[32], of[32];
	done = done < total ? done : total;
	int64_t spent = clock_now_ns() - start_ns;
	int n = snprintf(out, size, "%s: %s of %s%s", verb, units_format_bytes((double)done, bytes, sizeof bytes),
		units_format_bytes((double)total, of, sizeof of), more);
	/* What the first second says of the rest is not worth saying. */
	if (n > 0 && (size_t)n < size && done > 0 && done < total && spent > NS_PER_S)
		snprintf(out + n, size - (size_t)n, ", about %s left",
			units_format_time(
				(int64_t)((double)spent / (double)done * (double)(total - done)) / NS_PER_S * NS_PER_S, left, sizeof left));
}
