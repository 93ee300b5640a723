/* The event loop: epoll_pwait2 with nanosecond timeouts, a binary heap of timers, a mailbox on an eventfd. */
#define _GNU_SOURCE
#include "runtime/loop.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

#define EVENTS_PER_PASS 128
#define WAKE_DELAY_MAX_NS (100 * NS_PER_US) /* longer ones were the scheduler's, and tell nothing about the next */

struct loop {
	int epoll_fd;
	int64_t now_ns;
	atomic_bool stop;
	bool slack_set;
	bool relaxed;

	/* Timers: a binary heap by (due, order); slot of a timer is its index + 1. */
	struct loop_timer **heap;
	size_t timers;
	size_t heap_cap;
	uint64_t next_order;

	/* What epoll returned in this pass. An io that is removed meanwhile is struck out here, so that its fn is not called. */
	struct epoll_event ready[EVENTS_PER_PASS];
	int ready_count;

	/* Mailbox: a list under a lock, since messages are rare (some a second); the eventfd wakes the loop. */
	pthread_mutex_t mail_lock;
	struct loop_message *mail_head, **mail_tail;
	struct loop_io mail_io;

	struct loop_health health;
	int64_t wake_delay_ns; /* how late the kernel wakes us up, on average */
};

static void read_mail(struct loop_io *io, uint32_t ready)
{
	(void)ready;
	struct loop *loop = container_of(io, struct loop, mail_io);
	uint64_t count;
	if (read(io->fd, &count, sizeof count) < 0 && errno != EAGAIN)
		return;
	pthread_mutex_lock(&loop->mail_lock);
	struct loop_message *m = loop->mail_head;
	loop->mail_head = NULL;
	loop->mail_tail = &loop->mail_head;
	pthread_mutex_unlock(&loop->mail_lock);
	while (m != NULL) {
		struct loop_message *next = m->next;
		m->fn(m);
		m = next;
	}
}

void loop_post(struct loop *loop, struct loop_message *m)
{
	m->next = NULL;
	pthread_mutex_lock(&loop->mail_lock);
	*loop->mail_tail = m;
	loop->mail_tail = &m->next;
	pthread_mutex_unlock(&loop->mail_lock);
	uint64_t one = 1;
	ssize_t n = write(loop->mail_io.fd, &one, sizeof one);
	(void)n; /* it can only fail when the counter is full: then the loop is woken already */
}

void loop_relax(struct loop *loop)
{
	loop->relaxed = true;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	uint64_t one = 1;
	ssize_t n = write(loop->mail_io.fd, &one, sizeof one);
	(void)n;
}

/* Asked once here, since a loop whose waiting fails would spin. */
static bool can_wait(const struct loop *loop)
{
	struct epoll_event none;
	return epoll_pwait2(loop->epoll_fd, &none, 1, &(struct timespec){0}, NULL) >= 0 || errno == EINTR;
}

enum status loop_create(struct loop **out, struct error *err)
{
	struct loop *loop = calloc(1, sizeof *loop);
	if (loop == NULL)
		return error_set(err, ST_FAILED, "out of memory for an event loop");
	loop->mail_tail = &loop->mail_head;
	pthread_mutex_init(&loop->mail_lock, NULL);
	loop->now_ns = clock_now_ns();
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->mail_io = (struct loop_io){.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), .events = EPOLLIN, .fn = read_mail};
	if (loop->epoll_fd < 0 || loop->mail_io.fd < 0 || loop_io_add(loop, &loop->mail_io, NULL) != ST_OK) {
		enum status st = error_errno(err, ST_FAILED, "cannot make an event loop");
		loop_free(loop);
		return st;
	}
	if (!can_wait(loop)) {
		enum status st = error_errno(err, ST_FAILED, "this kernel does not let us wait with epoll_pwait2");
		error_hint(
			err, "Linux 5.11 or newer is needed, and nothing that forbids the system call, such as an old container runtime");
		loop_free(loop);
		return st;
	}
	*out = loop;
	return ST_OK;
}

void loop_free(struct loop *loop)
{
	if (loop == NULL)
		return;
	if (loop->mail_io.fd >= 0)
		close(loop->mail_io.fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	pthread_mutex_destroy(&loop->mail_lock);
	free(loop->heap);
	free(loop);
}

int64_t loop_now_ns(const struct loop *loop)
{
	return loop->now_ns;
}

int64_t loop_refresh(struct loop *loop)
{
	return loop->now_ns = clock_now_ns();
}

static bool fires_before(const struct loop_timer *a, const struct loop_timer *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->order < b->order;
}

static void put(struct loop *loop, size_t i, struct loop_timer *t)
{
	loop->heap[i] = t;
	t->slot = i + 1;
}

static void sift_up(struct loop *loop, size_t i)
{
	struct loop_timer *t = loop->heap[i];
	while (i > 0 && fires_before(t, loop->heap[(i - 1) / 2])) {
		put(loop, i, loop->heap[(i - 1) / 2]);
		i = (i - 1) / 2;
	}
	put(loop, i, t);
}

static void sift_down(struct loop *loop, size_t i)
{
	struct loop_timer *t = loop->heap[i];
	for (;;) {
		size_t child = 2 * i + 1;
		if (child >= loop->timers)
			break;
		if (child + 1 < loop->timers && fires_before(loop->heap[child + 1], loop->heap[child]))
			child++;
		if (!fires_before(loop->heap[child], t))
			break;
		put(loop, i, loop->heap[child]);
		i = child;
	}
	put(loop, i, t);
}

void loop_timer_cancel(struct loop *loop, struct loop_timer *t)
{
	if (t->slot == 0)
		return;
	size_t i = t->slot - 1;
	t->slot = 0;
	struct loop_timer *last = loop->heap[--loop->timers];
	if (last == t)
		return;
	put(loop, i, last);
	sift_up(loop, i);
	sift_down(loop, last->slot - 1);
}

void loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t due_ns)
{
	loop_timer_cancel(loop, t);
	if (loop->timers == loop->heap_cap) {
		size_t cap = loop->heap_cap ? loop->heap_cap * 2 : 64;
		struct loop_timer **heap = realloc(loop->heap, cap * sizeof(struct loop_timer *));
		if (heap == NULL)
			abort(); /* a timer that silently never fires would be worse */
		loop->heap = heap;
		loop->heap_cap = cap;
	}
	t->due_ns = due_ns;
	t->order = loop->next_order++;
	put(loop, loop->timers, t);
	sift_up(loop, loop->timers++);
}

/* Timers that a timer's function sets, even into the past, wait for the next pass: their order is at or above the mark. */
static void fire_timers(struct loop *loop)
{
	uint64_t mark = loop->next_order;
	while (loop->timers > 0) {
		struct loop_timer *t = loop->heap[0];
		if (t->due_ns > loop->now_ns || t->order >= mark)
			break;
		int64_t lag = loop->now_ns - t->due_ns;
		if (lag > loop->health.lag_max_ns)
			loop->health.lag_max_ns = lag;
		loop_timer_cancel(loop, t);
		t->fn(t);
	}
}

enum status loop_io_add(struct loop *loop, struct loop_io *io, struct error *err)
{
	struct epoll_event ev = {.events = io->events, .data.ptr = io};
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) != 0)
		return error_errno(err, ST_FAILED, "cannot watch descriptor %d", io->fd);
	io->watched = true;
	return ST_OK;
}

void loop_io_change(struct loop *loop, struct loop_io *io, uint32_t events)
{
	if (!io->watched || io->events == events)
		return;
	io->events = events;
	struct epoll_event ev = {.events = events, .data.ptr = io};
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev);
}

void loop_io_rearm(struct loop *loop, struct loop_io *io)
{
	struct epoll_event ev = {.events = io->events, .data.ptr = io};
	if (io->watched)
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev);
}

void loop_io_remove(struct loop *loop, struct loop_io *io)
{
	if (!io->watched)
		return;
	io->watched = false;
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
	for (int i = 0; i < loop->ready_count; i++)
		if (loop->ready[i].data.ptr == io)
			loop->ready[i].data.ptr = NULL;
}

static void wait_for_events(struct loop *loop, int64_t wait_ns)
{
	struct timespec timeout = {.tv_sec = wait_ns / NS_PER_S, .tv_nsec = wait_ns % NS_PER_S};
	loop->ready_count = epoll_pwait2(loop->epoll_fd, loop->ready, EVENTS_PER_PASS, &timeout, NULL);
	loop_refresh(loop);
}

/* Waits for a timer that is due at due_ns. The kernel wakes us up later than we ask for, by a time that differs from machine to
 * machine (6 us to 50 us were seen) but little from one wake-up to the next. So we ask for that much less and look again until it is
 * due. What that costs is the scatter of the delay, a few microseconds of CPU a timer; a fixed margin would cost all of it. */
static void wait_for_timer(struct loop *loop, int64_t due_ns)
{
	int64_t from_ns = clock_now_ns(), early_ns = loop->wake_delay_ns;
	int64_t wait_ns = due_ns - from_ns - early_ns;
	if (wait_ns > 0) {
		wait_for_events(loop, wait_ns);
		if (loop->ready_count != 0)
			return;
		int64_t delay_ns = loop->now_ns - from_ns - wait_ns;
		if (delay_ns > WAKE_DELAY_MAX_NS)
			delay_ns = WAKE_DELAY_MAX_NS;
		loop->wake_delay_ns += (delay_ns - early_ns) / 16;
	}
	do
		wait_for_events(loop, 0);
	while (loop->ready_count == 0 && loop->now_ns < due_ns);
}

static void wait_relaxed(struct loop *loop, int64_t due_ns)
{
	int64_t wait_ns = due_ns - clock_now_ns();
	wait_for_events(loop, wait_ns > 0 ? wait_ns : 0);
}

/* What an io belongs to lies around it, and has left the cache while servers ran on this core: asked for while another is being handled. */
static void prefetch(const void *io)
{
	for (int line = 0; line < 5; line++)
		__builtin_prefetch((const char *)io + (ptrdiff_t)line * 64);
}

void loop_run_once(struct loop *loop, int64_t max_wait_ns)
{
	if (!loop->slack_set && !loop->relaxed) {
		prctl(PR_SET_TIMERSLACK, 1UL);
		loop->slack_set = true;
	}
	if (loop->timers == 0 || loop->heap[0]->due_ns - clock_now_ns() >= max_wait_ns)
		wait_for_events(loop, max_wait_ns);
	else if (loop->relaxed)
		wait_relaxed(loop, loop->heap[0]->due_ns);
	else
		wait_for_timer(loop, loop->heap[0]->due_ns);
	loop->health.passes++;
	for (int i = 0; i < loop->ready_count; i++) {
		if (i + 1 < loop->ready_count)
			prefetch(loop->ready[i + 1].data.ptr);
		struct loop_io *io = loop->ready[i].data.ptr;
		if (io != NULL)
			io->fn(io, loop->ready[i].events);
	}
	loop->ready_count = 0;
	fire_timers(loop);
}

void loop_run(struct loop *loop)
{
	while (!atomic_load(&loop->stop))
		loop_run_once(loop, 3600 * NS_PER_S);
	atomic_store(&loop->stop, false);
}

struct loop_health loop_take_health(struct loop *loop)
{
	struct loop_health health = loop->health;
	loop->health = (struct loop_health){0};
	return health;
}
