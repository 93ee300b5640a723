/* A shell command as two things that the loop watches: the pipe it prints to, and its end (a pidfd). */
#define _GNU_SOURCE
#include "load/shell.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

struct shell {
	struct loop *loop;
	shell_done_fn *done;
	void *arg;
	pid_t pid;
	struct loop_io end;    /* readable when the process has ended */
	struct loop_io output; /* fd -1 once it is closed */
	size_t len;
	char text[SHELL_OUTPUT_MAX];
};

static void close_io(struct loop *loop, struct loop_io *io)
{
	loop_io_remove(loop, io);
	if (io->fd >= 0)
		close(io->fd);
	io->fd = -1;
}

static void free_shell(struct shell *s)
{
	close_io(s->loop, &s->end);
	close_io(s->loop, &s->output);
	free(s);
}

/* All that is there. What goes beyond the maximum is read and dropped, so that the command is not held up. */
static void read_output(struct shell *s)
{
	char dropped[4096];
	while (s->output.fd >= 0) {
		size_t room = sizeof s->text - s->len;
		ssize_t n = room > 0 ? read(s->output.fd, s->text + s->len, room) : read(s->output.fd, dropped, sizeof dropped);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0)
			close_io(s->loop, &s->output);
		else if (room > 0)
			s->len += (size_t)n;
	}
}

static void on_output(struct loop_io *io, uint32_t ready)
{
	(void)ready;
	read_output(container_of(io, struct shell, output));
}

static void on_end(struct loop_io *io, uint32_t ready)
{
	(void)ready;
	struct shell *s = container_of(io, struct shell, end);
	int status = 0;
	if (waitpid(s->pid, &status, WNOHANG) == 0)
		return;
	read_output(s);
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	struct shell last = *s; /* done may start the next one */
	free_shell(s);
	last.done(code, last.text, last.len, last.arg);
}

static int spawn(const char *command, int out_fd, pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t how;
	sigset_t none, usual;
	sigemptyset(&none);
	sigemptyset(&usual);
	sigaddset(&usual, SIGINT);
	sigaddset(&usual, SIGTERM);
	sigaddset(&usual, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&files, out_fd, STDOUT_FILENO);
	posix_spawnattr_init(&how);
	posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&how, &none);
	posix_spawnattr_setsigdefault(&how, &usual);
	const char *const argv[] = {"sh", "-c", command, NULL};
	int problem = posix_spawnp(pid, argv[0], &files, &how, (char *const *)(uintptr_t)argv, environ);
	posix_spawnattr_destroy(&how);
	posix_spawn_file_actions_destroy(&files);
	return problem;
}

static void end_process(pid_t pid)
{
	kill(-pid, SIGKILL);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

enum status shell_start(struct loop *loop, const char *command, shell_done_fn *done, void *arg, struct shell **out, struct error *err)
{
	int fds[2];
	if (pipe2(fds, O_CLOEXEC) != 0)
		return error_errno(err, ST_FAILED, "no pipe for a shell command");
	struct shell *s = calloc(1, sizeof *s);
	if (s == NULL)
		abort();
	*s = (struct shell){.loop = loop, .done = done, .arg = arg};
	int problem = spawn(command, fds[1], &s->pid);
	close(fds[1]);
	if (problem != 0) {
		close(fds[0]);
		free(s);
		errno = problem;
		return error_errno(err, ST_FAILED, "no shell could be started");
	}
	s->output = (struct loop_io){.fd = fds[0], .events = EPOLLIN, .fn = on_output};
	s->end = (struct loop_io){.fd = (int)syscall(SYS_pidfd_open, s->pid, 0), .events = EPOLLIN, .fn = on_end};
	enum status st = s->end.fd >= 0 ? ST_OK : error_errno(err, ST_FAILED, "the end of a shell command cannot be waited for");
	if (st == ST_OK && fcntl(fds[0], F_SETFL, O_NONBLOCK) != 0)
		st = error_errno(err, ST_FAILED, "the output of a shell command cannot be read");
	if (st == ST_OK)
		st = loop_io_add(loop, &s->end, err);
	if (st == ST_OK)
		st = loop_io_add(loop, &s->output, err);
	if (st != ST_OK) {
		end_process(s->pid);
		free_shell(s);
		return st;
	}
	*out = s;
	return ST_OK;
}

void shell_cancel(struct shell *s)
{
	if (s == NULL)
		return;
	end_process(s->pid);
	free_shell(s);
}
