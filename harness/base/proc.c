/* Subprocesses: run a program to its end, collect what it says, never leave it behind. */
#define _GNU_SOURCE
#include "base/proc.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define END_LIMIT_NS (10 * NS_PER_S) /* from SIGTERM to SIGKILL */

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? write(fd, text, strlen(text)) : -1;
	if (fd >= 0)
		close(fd);
	return n >= 0;
}

/* Into a network namespace without any interface that is up. Who is not root needs a user namespace for it, in which he stays who he is. */
static bool leave_network(void)
{
	if (geteuid() == 0)
		return unshare(CLONE_NEWNET) == 0;
	char users[64], groups[64];
	snprintf(users, sizeof users, "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
	snprintf(groups, sizeof groups, "%u %u 1", (unsigned)getegid(), (unsigned)getegid());
	return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 && write_text("/proc/self/setgroups", "deny") &&
		write_text("/proc/self/uid_map", users) && write_text("/proc/self/gid_map", groups);
}

/* After fork, before exec. What fails here reaches the parent as an errno through the status pipe. */
static void become_child(const struct proc_spec *spec, int out_fd, int status_fd)
{
	int in_fd = open(spec->input_path != NULL ? spec->input_path : "/dev/null", O_RDONLY);
	if (in_fd >= 0)
		dup2(in_fd, STDIN_FILENO);
	dup2(out_fd, STDOUT_FILENO);
	dup2(out_fd, STDERR_FILENO);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	if (spec->own_session)
		setsid();
	if (spec->group != NULL)
		*spec->group = getpid();
	bool ok = in_fd >= 0 || spec->input_path == NULL;
	ok = ok && (!spec->no_network || leave_network());
	if (ok && spec->uid != 0 && geteuid() == 0)
		ok = setgroups(0, NULL) == 0 && setgid(spec->gid) == 0 && setuid(spec->uid) == 0;
	if (ok && spec->dir != NULL)
		ok = chdir(spec->dir) == 0;
	for (const char *const *e = spec->env; ok && e != NULL && *e != NULL; e++)
		ok = putenv((char *)(uintptr_t)*e) == 0;
	if (ok)
		execvp(spec->argv[0], (char *const *)(uintptr_t)spec->argv);
	int reason = errno;
	ssize_t n = write(status_fd, &reason, sizeof reason);
	_exit(n > 0 ? 127 : 126);
}

static bool group_works(pid_t group)
{
	return kill(-group, 0) == 0;
}

void proc_end_group(pid_t group)
{
	int64_t until_ns = clock_now_ns() + END_LIMIT_NS;
	kill(-group, SIGTERM);
	while (group_works(group) && clock_now_ns() < until_ns)
		poll(NULL, 0, 20);
	kill(-group, SIGKILL);
}

/* Reads until the child closes its end, it exits, or the deadline passes. A daemon that the child leaves behind may keep
 * the pipe open for ever (pg_ctl start does), so the child's own end is watched too. */
static void collect(pid_t pid, int fd, struct buf *output, const struct proc_spec *spec, struct proc_result *result)
{
	int64_t deadline_ns = spec->timeout_ns ? clock_now_ns() + spec->timeout_ns : 0;
	int64_t linger_ns = 0; /* until then what it started, and was asked to end with it, is waited for */
	bool open_fd = fd >= 0, asked = false, done = false, waits = true;
	int status = 0;
	while (waits) {
		if (!done && waitpid(pid, &status, WNOHANG) == pid) {
			done = true;
			linger_ns = asked && spec->own_session ? clock_now_ns() + END_LIMIT_NS : 0;
		}
		waits = !done || (clock_now_ns() < linger_ns && group_works(pid));
		if (open_fd) {
			struct pollfd p = {.fd = fd, .events = POLLIN};
			while (poll(&p, 1, waits ? 20 : 0) > 0) {
				char chunk[4096];
				ssize_t n = read(fd, chunk, sizeof chunk);
				if (n <= 0) {
					open_fd = false;
					break;
				}
				if (output != NULL)
					buf_add(output, chunk, (size_t)n);
			}
		} else if (waits) {
			poll(NULL, 0, 5);
		}
		if (done)
			continue;
		if (!asked && spec->stop != NULL && *spec->stop != 0) {
			asked = true;
			kill(spec->own_session ? -pid : pid, SIGTERM);
		}
		if (deadline_ns != 0 && clock_now_ns() > deadline_ns && !result->timed_out) {
			result->timed_out = true;
			kill(pid, SIGKILL);
		}
	}
	if (linger_ns != 0)
		kill(-pid, SIGKILL);
	if (spec->group != NULL)
		*spec->group = 0;
	result->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

enum status proc_run(const struct proc_spec *spec, struct buf *output, struct proc_result *result, struct error *err)
{
	*result = (struct proc_result){0};
	int out_pipe[2] = {-1, -1};
	int status_pipe[2];
	if (pipe2(status_pipe, O_CLOEXEC) != 0)
		return error_errno(err, ST_FAILED, "cannot start %s", spec->argv[0]);
	int out_fd = spec->output_path != NULL ? open(spec->output_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644) : -1;
	if (spec->output_path != NULL ? out_fd < 0 : pipe2(out_pipe, O_CLOEXEC) != 0) {
		enum status st = error_errno(err, ST_FAILED, "cannot start %s", spec->argv[0]);
		close(status_pipe[0]);
		close(status_pipe[1]);
		return st;
	}
	if (out_fd < 0)
		out_fd = out_pipe[1];
	pid_t pid = fork();
	if (pid == 0)
		become_child(spec, out_fd, status_pipe[1]);
	int fork_errno = errno;
	close(out_fd);
	close(status_pipe[1]);
	int reason = 0;
	if (pid > 0 && read(status_pipe[0], &reason, sizeof reason) != (ssize_t)sizeof reason)
		reason = 0;
	close(status_pipe[0]);
	if (pid < 0)
		reason = fork_errno;
	else
		collect(pid, out_pipe[0], output, spec, result);
	if (out_pipe[0] >= 0)
		close(out_pipe[0]);
	if (reason != 0) {
		errno = reason;
		return error_errno(err, ST_FAILED, "cannot start %s", spec->argv[0]);
	}
	return ST_OK;
}

bool proc_can_isolate(void)
{
	static const char *const ARGV[] = {"true", NULL};
	struct proc_result result;
	return proc_run(&(struct proc_spec){.argv = ARGV, .no_network = true}, NULL, &result, NULL) == ST_OK && result.exit_code == 0;
}

/* Between fork and exec: nothing but system calls, since other threads may hold any lock. */
static void become_beside(char *const *argv, char *const *env, const char *dir, int out_fd, int status_fd)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	int null_fd = open("/dev/null", O_RDONLY);
	if (null_fd >= 0)
		dup2(null_fd, STDIN_FILENO);
	dup2(out_fd, STDOUT_FILENO);
	dup2(out_fd, STDERR_FILENO);
	if (dir == NULL || chdir(dir) == 0)
		execvpe(argv[0], argv, env);
	int reason = errno;
	ssize_t n = write(status_fd, &reason, sizeof reason);
	_exit(n > 0 ? 127 : 126);
}

enum status proc_start(char *const *argv, char *const *env, const char *dir, pid_t *pid, int *out, struct error *err)
{
	int pipes[2], status[2];
	if (pipe2(pipes, O_CLOEXEC) != 0)
		return error_errno(err, ST_FAILED, "cannot start %s", argv[0]);
	if (pipe2(status, O_CLOEXEC) != 0) {
		enum status st = error_errno(err, ST_FAILED, "cannot start %s", argv[0]);
		close(pipes[0]);
		close(pipes[1]);
		return st;
	}
	*pid = fork();
	if (*pid == 0)
		become_beside(argv, env, dir, pipes[1], status[1]);
	int reason = *pid < 0 ? errno : 0;
	close(pipes[1]);
	close(status[1]);
	if (*pid > 0) {
		setpgid(*pid, *pid); /* whoever is first: it may be signalled as soon as we return */
		if (read(status[0], &reason, sizeof reason) == (ssize_t)sizeof reason)
			waitpid(*pid, NULL, 0);
		else
			reason = 0;
	}
	close(status[0]);
	if (reason != 0) {
		close(pipes[0]);
		errno = reason;
		return error_errno(err, ST_FAILED, "cannot start %s", argv[0]);
	}
	*out = pipes[0];
	fcntl(*out, F_SETFL, O_NONBLOCK);
	return ST_OK;
}

/* The last lines of text, at most 600 bytes: that is where programs put their error. */
static const char *last_lines(const char *text, size_t len)
{
	const char *from = text;
	if (len > 600) {
		from = text + len - 600;
		const char *line = strchr(from, '\n');
		if (line != NULL && line[1] != '\0')
			from = line + 1;
	}
	return from;
}

enum status proc_check(const struct proc_spec *spec, struct buf *output, struct error *err)
{
	struct buf own;
	buf_init(&own, 65536);
	struct buf *out = output != NULL ? output : &own;
	struct proc_result result;
	enum status st = proc_run(spec, out, &result, err);
	if (st == ST_OK && (result.exit_code != 0 || result.timed_out)) {
		size_t len = out->len;
		while (len > 0 && out->data[len - 1] == '\n')
			out->data[--len] = '\0';
		st = error_set(err, ST_FAILED, "%s %s: %s", spec->argv[0], result.timed_out ? "took too long and was killed" : "failed",
			last_lines(out->data, len));
		if (spec->output_path != NULL)
			error_hint(err, "its output is in %s", spec->output_path);
	}
	buf_free(&own);
	return st;
}

/* Holds nothing of the parent's but fd, as its 3: neither its terminal nor another watcher's pipe, which would keep that one waiting. */
static void detach(const char *name, int fd)
{
	setsid();
	prctl(PR_SET_NAME, name);
	static const int IGNORED[] = {SIGINT, SIGHUP, SIGPIPE};
	for (size_t i = 0; i < sizeof IGNORED / sizeof IGNORED[0]; i++)
		signal(IGNORED[i], SIG_IGN);
	signal(SIGTERM, SIG_DFL);
	sigset_t none;
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	int null_fd = open("/dev/null", O_RDWR);
	for (int i = 0; null_fd >= 0 && i < 3; i++)
		dup2(null_fd, i);
	dup2(fd, 3);
	closefrom(4);
}

static void become_watcher(int fd, void (*act)(void *arg), void *arg)
{
	detach("pgr-watcher", fd);
	signal(SIGQUIT, SIG_IGN);
	if (chdir("/") != 0)
		errno = 0; /* not worth giving up for: the folder that we stand in stays busy, no more */
	char byte;
	ssize_t n;
	do
		n = read(3, &byte, 1);
	while (n > 0 || (n < 0 && errno == EINTR));
	if (act != NULL)
		act(arg);
	_exit(0);
}

static void end_service(int sig)
{
	(void)sig;
	_exit(0);
}

enum status proc_serve(
	const char *name, const char *dir, int fd, void (*serve)(int fd, void *arg), void *arg, pid_t *pid, struct error *err)
{
	*pid = fork();
	if (*pid == 0) {
		detach(name, fd);
		signal(SIGQUIT, end_service); /* no core */
		if (chdir(dir) == 0)
			serve(3, arg);
		_exit(1);
	}
	return *pid > 0 ? ST_OK : error_errno(err, ST_FAILED, "cannot start %s", name);
}

enum status proc_watch(void (*act)(void *arg), void *arg, struct proc_watcher *out, struct error *err)
{
	*out = PROC_WATCHER_NONE;
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return error_errno(err, ST_FAILED, "cannot start a watcher process");
	pid_t pid = fork();
	if (pid == 0)
		become_watcher(fds[0], act, arg);
	close(fds[0]);
	if (pid < 0) {
		close(fds[1]);
		return error_errno(err, ST_FAILED, "cannot start a watcher process");
	}
	*out = (struct proc_watcher){.pid = pid, .fd = fds[1]};
	return ST_OK;
}

void proc_unwatch(struct proc_watcher *w)
{
	if (w->fd < 0)
		return;
	kill(w->pid, SIGKILL);
	while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
		;
	close(w->fd);
	*w = PROC_WATCHER_NONE;
}
