/* The event loop: epoll, a heap of nanosecond timers, and a mailbox that other threads may post to.
 * A loop belongs to the thread that runs it; loop_post and loop_stop are the only calls for others. */
#ifndef PGR_RUNTIME_LOOP_H
#define PGR_RUNTIME_LOOP_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* Embed it in what it belongs to; container_of() leads back. Zero-initialised means not armed. */
struct loop_timer {
	int64_t due_ns;                   /* clock_now_ns() scale */
	uint64_t order;                   /* ties fire in the order in which they were set */
	size_t slot;                      /* place in the heap + 1; 0 = not armed */
	void (*fn)(struct loop_timer *t); /* may set or cancel any timer, this one too */
};

struct loop_io {
	int fd;
	uint32_t events;                                /* EPOLLIN, EPOLLOUT; level-triggered unless EPOLLET is among them */
	void (*fn)(struct loop_io *io, uint32_t ready); /* may remove any io, this one too */
	bool watched;
};

/* A message to a loop; owned by the sender until fn has run on the loop's thread. */
struct loop_message {
	struct loop_message *next;
	void (*fn)(struct loop_message *m);
};

#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/* Needs Linux 5.11. */
enum status loop_create(struct loop **out, struct error *err) MUST_CHECK;
void loop_free(struct loop *loop);

/* Runs until loop_stop. Sets this thread's timer slack to 1 ns: the default of 50 µs would delay each wake-up. */
void loop_run(struct loop *loop);

/* Timers of this loop may fire as late as the kernel wakes us up (some 50 µs), for which it spends no CPU on being precise. */
void loop_relax(struct loop *loop);

/* Runs one pass: waits at most max_wait_ns, then handles what is due. */
void loop_run_once(struct loop *loop, int64_t max_wait_ns);

/* Makes loop_run return after the current pass. Any thread. */
void loop_stop(struct loop *loop);

/* The time at the start of this pass (after waiting); loop_refresh reads the clock again. */
int64_t loop_now_ns(const struct loop *loop);
int64_t loop_refresh(struct loop *loop);

/* Arms or re-arms t; t->fn must be set. A due time in the past fires in the next pass. */
void loop_timer_set(struct loop *loop, struct loop_timer *t, int64_t due_ns);
void loop_timer_cancel(struct loop *loop, struct loop_timer *t);
static inline bool loop_timer_armed(const struct loop_timer *t)
{
	return t->slot != 0;
}

/* io->fd, events and fn must be set. */
enum status loop_io_add(struct loop *loop, struct loop_io *io, struct error *err) MUST_CHECK;
void loop_io_change(struct loop *loop, struct loop_io *io, uint32_t events);
void loop_io_remove(struct loop *loop, struct loop_io *io);

/* For an io with EPOLLET that has not read all there was: fires again if it is ready now. Nothing when it is not watched. */
void loop_io_rearm(struct loop *loop, struct loop_io *io);

/* Any thread: m->fn runs on the loop's thread, in the order of posting. */
void loop_post(struct loop *loop, struct loop_message *m);

/* For the generator's health; reading it resets it. */
struct loop_health {
	int64_t lag_max_ns; /* the latest that a timer fired behind its due time */
	uint64_t passes;
};
struct loop_health loop_take_health(struct loop *loop);

#endif
