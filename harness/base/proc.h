/* Subprocesses: run a program to its end, collect what it says, never leave it behind. No shell in between. */
#ifndef PGR_BASE_PROC_H
#define PGR_BASE_PROC_H

#include "base/buf.h"
#include "base/error.h"

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct proc_spec {
	const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
	const char *const *env;  /* "NAME=value" to add, NULL-terminated, or NULL */
	const char *dir;         /* working folder, or NULL */
	const char *input_path;  /* stdin, opened as we are; NULL: empty */
	const char *output_path; /* both streams are appended to this file instead of `output`, or NULL */
	uid_t uid;               /* with gid: run as this user when we are root; 0 = as we are */
	gid_t gid;
	int64_t timeout_ns; /* killed after this long; 0 = no limit */
	const volatile sig_atomic_t
		*stop;         /* asked to end (SIGTERM) when it turns non-zero, with all that it started in own_session; or NULL */
	volatile pid_t *group; /* with own_session: that of its processes as long as it runs, then 0; it may be shared memory. Or NULL */
	bool own_session;      /* setsid: Ctrl-C at our terminal does not reach it */
	bool no_network; /* a network namespace of its own, with nothing in it; unix sockets work. Not everyone may: proc_can_isolate() */
};

struct proc_result {
	int exit_code; /* or 128 + signal */
	bool timed_out;
};

/* Runs it to its end. output (may be NULL) takes stdout and stderr together, up to its maximum; the rest is read and dropped.
 * ST_OK means it ran; look at exit_code. ST_FAILED: it could not be started. */
enum status proc_run(const struct proc_spec *spec, struct buf *output, struct proc_result *result, struct error *err) MUST_CHECK;

/* The same, and a non-zero exit or a timeout is an error that quotes the last lines of the output. */
enum status proc_check(const struct proc_spec *spec, struct buf *output, struct error *err) MUST_CHECK;

/* Ends all processes of a group: SIGTERM, and 10 s later SIGKILL for those that are still there. Blocks until then. */
void proc_end_group(pid_t group);

/* Whether no_network works here: for root it does, for others where the kernel lets them make user namespaces. */
bool proc_can_isolate(void);

/* Starts it beside us, in a process group of its own, and does not wait: the caller reads *out (both its streams, non-blocking), waits for *pid,
 * and closes *out. env is its whole environment, NULL-terminated; dir may be NULL. It is asked to end (SIGTERM) when the thread that
 * started it does. Safe while there are other threads. */
enum status proc_start(char *const *argv, char *const *env, const char *dir, pid_t *pid, int *out, struct error *err) MUST_CHECK;

/* Forks a process of this name (15 bytes of it) that works in dir, in a session of its own, and does nothing but serve(fd, arg), until it
 * is ended by SIGTERM or SIGQUIT; it outlives us. Of what we have open it keeps fd alone. It sees our memory as it is now, and must be
 * started before threads are. */
enum status proc_serve(
	const char *name, const char *dir, int fd, void (*serve)(int fd, void *arg), void *arg, pid_t *pid, struct error *err) MUST_CHECK;

struct proc_watcher {
	pid_t pid;
	int fd; /* our end of the pipe; -1: not watching */
};

/* Forks a watcher, in a session of its own, that waits until this process has ended, however it did (kill -9 too), then calls
 * act(arg) and ends. It sees our memory as it is now and must be started before other threads are. */
enum status proc_watch(void (*act)(void *arg), void *arg, struct proc_watcher *out, struct error *err) MUST_CHECK;

/* Calls the watcher off. Repeats are fine; a zeroed watcher is not: start from PROC_WATCHER_NONE. */
void proc_unwatch(struct proc_watcher *w);
#define PROC_WATCHER_NONE ((struct proc_watcher){.pid = 0, .fd = -1})

#endif
