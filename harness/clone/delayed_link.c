/* A slow line between a primary and its standbys, as a process that carries bytes between unix sockets. */
#define _GNU_SOURCE
#include "clone/delayed_link.h"

#include "base/clock.h"
#include "base/proc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CALLS_MAX 32
#define PIECE_BYTES (1 << 16)
#define UNDER_WAY_BYTES (64 << 20)

/* What was read at once, and when it may go on. */
struct piece {
	struct piece *next;
	int64_t due_ns;
	size_t n, done;
	char bytes[];
};

/* One direction of a call. */
struct flow {
	struct piece *first, *last;
	size_t under_way;
	int64_t delay_ns;
	bool ended; /* its source has no more to say */
};

/* out: from the standby to the primary; back: the other way. */
struct call {
	int standby, primary; /* -1: the call is free */
	struct flow out, back;
};

struct delayed_link {
	int listener;
	struct sockaddr_un to;
	int64_t delay_ns;
	struct call calls[CALLS_MAX];
};

static void empty_flow(struct flow *f)
{
	while (f->first != NULL) {
		struct piece *p = f->first;
		f->first = p->next;
		free(p);
	}
	f->under_way = 0;
}

static void hang_up(struct call *c)
{
	close(c->standby);
	close(c->primary);
	empty_flow(&c->out);
	empty_flow(&c->back);
	*c = (struct call){.standby = -1, .primary = -1};
}

/* A standby that finds no primary is hung up on, and comes again as it would. */
static void take_call(struct delayed_link *l)
{
	int standby = accept4(l->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (standby < 0)
		return;
	int primary = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct call *c = NULL;
	for (int i = 0; i < CALLS_MAX && c == NULL; i++)
		if (l->calls[i].standby < 0)
			c = &l->calls[i];
	if (c == NULL || primary < 0 || connect(primary, (const struct sockaddr *)&l->to, sizeof l->to) != 0 ||
		fcntl(primary, F_SETFL, O_NONBLOCK) != 0) {
		close(standby);
		if (primary >= 0)
			close(primary);
		return;
	}
	*c = (struct call){.standby = standby, .primary = primary, .back.delay_ns = l->delay_ns};
}

static bool would_wait(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static void read_flow(struct flow *f, int fd)
{
	struct piece *p = malloc(sizeof *p + PIECE_BYTES);
	ssize_t n = p != NULL ? read(fd, p->bytes, PIECE_BYTES) : 0;
	if (n <= 0) {
		free(p);
		f->ended = n == 0 || !would_wait();
		return;
	}
	struct piece *fitting = realloc(p, sizeof *p + (size_t)n);
	p = fitting != NULL ? fitting : p;
	*p = (struct piece){.due_ns = clock_now_ns() + f->delay_ns, .n = (size_t)n};
	*(f->first != NULL ? &f->last->next : &f->first) = p;
	f->last = p;
	f->under_way += p->n;
}

/* Writes what is due. False: there is nobody to write to. */
static bool write_flow(struct flow *f, int fd, int64_t now_ns)
{
	while (f->first != NULL && f->first->due_ns <= now_ns) {
		struct piece *p = f->first;
		ssize_t n = send(fd, p->bytes + p->done, p->n - p->done, MSG_NOSIGNAL);
		if (n < 0)
			return would_wait();
		p->done += (size_t)n;
		f->under_way -= (size_t)n;
		if (p->done < p->n)
			return true;
		f->first = p->next;
		free(p);
	}
	return true;
}

/* What to wait for on the flow's source and destination; *wake_ns becomes earlier when a piece is to go on before. */
static void ask_for(const struct flow *f, short *source, short *destination, int64_t now_ns, int64_t *wake_ns)
{
	if (!f->ended && f->under_way < UNDER_WAY_BYTES)
		*source |= POLLIN;
	if (f->first == NULL)
		return;
	if (f->first->due_ns <= now_ns)
		*destination |= POLLOUT;
	else if (f->first->due_ns < *wake_ns)
		*wake_ns = f->first->due_ns;
}

/* False: the call is over. What a primary said before it went still arrives, as it would on a line. */
static bool serve_call(struct call *c, short standby, short primary)
{
	int64_t now_ns = clock_now_ns();
	if (standby & (POLLIN | POLLHUP | POLLERR))
		read_flow(&c->out, c->standby);
	if (primary & (POLLIN | POLLHUP | POLLERR))
		read_flow(&c->back, c->primary);
	if (c->back.ended || !write_flow(&c->out, c->primary, now_ns))
		empty_flow(&c->out);
	return !c->out.ended && write_flow(&c->back, c->standby, now_ns) && !(c->back.ended && c->back.first == NULL);
}

static void serve(int listener, void *arg)
{
	struct delayed_link *l = arg;
	l->listener = listener;
	for (int i = 0; i < CALLS_MAX; i++)
		l->calls[i].standby = l->calls[i].primary = -1;
	for (;;) {
		struct pollfd fds[1 + 2 * CALLS_MAX] = {{.fd = l->listener, .events = POLLIN}};
		int64_t now_ns = clock_now_ns(), wake_ns = INT64_MAX;
		for (int i = 0; i < CALLS_MAX; i++) {
			struct call *c = &l->calls[i];
			struct pollfd *standby = &fds[1 + 2 * i], *primary = standby + 1;
			standby->fd = primary->fd = -1;
			if (c->standby < 0)
				continue;
			ask_for(&c->out, &standby->events, &primary->events, now_ns, &wake_ns);
			ask_for(&c->back, &primary->events, &standby->events, now_ns, &wake_ns);
			standby->fd = c->standby;
			/* One that has hung up would be reported over and over while its last words are under way. */
			primary->fd = c->back.ended ? -1 : c->primary;
		}
		int64_t wait_ns = wake_ns - now_ns;
		struct timespec wait = {.tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S};
		if (ppoll(fds, sizeof fds / sizeof fds[0], wake_ns == INT64_MAX ? NULL : &wait, NULL) < 0 && errno != EINTR)
			return;
		for (int i = 0; i < CALLS_MAX; i++)
			if (l->calls[i].standby >= 0 && !serve_call(&l->calls[i], fds[1 + 2 * i].revents, fds[2 + 2 * i].revents))
				hang_up(&l->calls[i]);
		if (fds[0].revents != 0)
			take_call(l);
	}
}

static bool set_path(struct sockaddr_un *address, const char *path)
{
	size_t n = strlen(path);
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (n >= sizeof address->sun_path)
		return false;
	memcpy(address->sun_path, path, n);
	return true;
}

enum status delayed_link_start(const char *dir, const char *from, const char *to, int64_t delay_ns, pid_t *pid, struct error *err)
{
	struct delayed_link l = {.delay_ns = delay_ns};
	struct sockaddr_un address;
	if (!set_path(&address, from) || !set_path(&l.to, to))
		return error_set(err, ST_FAILED, "the path of the socket %s is too long", from);
	l.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l.listener < 0 || bind(l.listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
		listen(l.listener, CALLS_MAX) != 0) {
		enum status st = error_errno(err, ST_FAILED, "cannot listen on %s", from);
		if (l.listener >= 0)
			close(l.listener);
		return st;
	}
	enum status st = proc_serve(DELAYED_LINK_PROGRAM, dir, l.listener, serve, &l, pid, err);
	close(l.listener);
	return st;
}
