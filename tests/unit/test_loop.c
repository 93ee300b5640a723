/* runtime/loop: timers fire in order and never early, descriptors and messages wake it. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "base/rng.h"
#include "runtime/loop.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static struct loop *new_loop(void)
{
	struct loop *loop = NULL;
	struct error err;
	assert_int_equal(loop_create(&loop, &err), ST_OK);
	return loop;
}

struct shot {
	struct loop_timer timer;
	struct loop *loop;
	int id;
	int64_t fired_ns;
	struct shot *cancels;
};

static int fired[4096];
static int fired_count;

static void note_shot(struct loop_timer *t)
{
	struct shot *s = container_of(t, struct shot, timer);
	s->fired_ns = loop_now_ns(s->loop);
	fired[fired_count++] = s->id;
	if (s->cancels != NULL)
		loop_timer_cancel(s->loop, &s->cancels->timer);
}

static void timers_fire_in_the_order_of_due_time_then_of_setting(void **state)
{
	(void)state;
	struct loop *loop = new_loop();
	static struct shot shots[1000];
	struct rng r = {7};
	int64_t base = clock_now_ns();
	fired_count = 0;
	for (int i = 0; i < 1000; i++) {
		shots[i] = (struct shot){.timer = {.fn = note_shot}, .loop = loop, .id = i};
		loop_timer_set(loop, &shots[i].timer, base + (int64_t)(rng_next(&r) % 50) * 100 * NS_PER_US);
	}
	/* Some are re-armed and some cancelled. */
	for (int i = 0; i < 1000; i += 10)
		loop_timer_set(loop, &shots[i].timer, base + 2 * NS_PER_MS);
	for (int i = 5; i < 1000; i += 10)
		loop_timer_cancel(loop, &shots[i].timer);
	while (fired_count < 900)
		loop_run_once(loop, NS_PER_S);
	for (int i = 1; i < fired_count; i++) {
		const struct shot *a = &shots[fired[i - 1]], *b = &shots[fired[i]];
		assert_true(a->timer.due_ns < b->timer.due_ns || (a->timer.due_ns == b->timer.due_ns && a->timer.order < b->timer.order));
		assert_true(b->fired_ns >= b->timer.due_ns);
	}
	for (int i = 5; i < 1000; i += 10)
		assert_int_equal(shots[i].fired_ns, 0);
	loop_free(loop);
}

static void a_timer_may_cancel_one_that_is_due_in_the_same_pass(void **state)
{
	(void)state;
	struct loop *loop = new_loop();
	struct shot second = {.timer = {.fn = note_shot}, .loop = loop, .id = 2};
	struct shot first = {.timer = {.fn = note_shot}, .loop = loop, .id = 1, .cancels = &second};
	fired_count = 0;
	loop_timer_set(loop, &first.timer, 1);
	loop_timer_set(loop, &second.timer, 2);
	loop_run_once(loop, 0);
	loop_run_once(loop, 0);
	assert_int_equal(fired_count, 1);
	loop_free(loop);
}

struct again {
	struct loop_timer timer;
	struct loop *loop;
	int times;
};

static void rearm_in_the_past(struct loop_timer *t)
{
	struct again *a = container_of(t, struct again, timer);
	a->times++;
	loop_timer_set(a->loop, t, 0);
}

static void a_timer_that_rearms_itself_in_the_past_does_not_hold_up_the_pass(void **state)
{
	(void)state;
	struct loop *loop = new_loop();
	struct again a = {.timer = {.fn = rearm_in_the_past}, .loop = loop};
	loop_timer_set(loop, &a.timer, 0);
	loop_run_once(loop, NS_PER_S);
	assert_int_equal(a.times, 1);
	loop_run_once(loop, NS_PER_S);
	assert_int_equal(a.times, 2);
	loop_free(loop);
}

struct pair {
	struct loop_io io[2];
	struct loop *loop;
	int calls;
};

static struct pair pair;

static void remove_both(struct loop_io *io, uint32_t ready)
{
	(void)io;
	assert_true(ready & EPOLLIN);
	pair.calls++;
	loop_io_remove(pair.loop, &pair.io[0]);
	loop_io_remove(pair.loop, &pair.io[1]);
}

static void a_descriptor_removed_by_another_in_the_same_pass_is_not_called(void **state)
{
	(void)state;
	pair = (struct pair){.loop = new_loop()};
	int fds[2][2];
	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(fds[i]), 0);
		assert_int_equal(write(fds[i][1], "x", 1), 1);
		pair.io[i] = (struct loop_io){.fd = fds[i][0], .events = EPOLLIN, .fn = remove_both};
		assert_int_equal(loop_io_add(pair.loop, &pair.io[i], NULL), ST_OK);
	}
	loop_run_once(pair.loop, NS_PER_S);
	assert_int_equal(pair.calls, 1);
	loop_free(pair.loop);
	for (int i = 0; i < 2; i++) {
		close(fds[i][0]);
		close(fds[i][1]);
	}
}

#define MESSAGES 20000

struct letter {
	struct loop_message message;
	int number;
};

static struct letter letters[2][MESSAGES];
static struct loop *mail_loop;
static int next_of[2];

static void take_letter(struct loop_message *m)
{
	struct letter *l = container_of(m, struct letter, message);
	int sender = l >= letters[1];
	assert_int_equal(l->number, next_of[sender]++);
	if (next_of[0] + next_of[1] == 2 * MESSAGES)
		loop_stop(mail_loop);
}

static void *post_letters(void *arg)
{
	struct letter *mine = arg;
	for (int i = 0; i < MESSAGES; i++) {
		mine[i] = (struct letter){.message = {.fn = take_letter}, .number = i};
		loop_post(mail_loop, &mine[i].message);
	}
	return NULL;
}

static void messages_of_each_thread_arrive_once_and_in_order(void **state)
{
	(void)state;
	mail_loop = new_loop();
	pthread_t threads[2];
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, post_letters, letters[i]), 0);
	loop_run(mail_loop);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(next_of[0], MESSAGES);
	assert_int_equal(next_of[1], MESSAGES);
	loop_free(mail_loop);
}

/* From now on epoll_pwait2 fails with this errno, as on an old kernel or in an old container. */
static bool forbid_waiting(int with)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_epoll_pwait2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)with),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

enum { REFUSED, MADE, TOLD_NOTHING, NOT_POSSIBLE };

static int make_loop_without_waiting(int with)
{
	struct loop *loop;
	struct error err;
	if (!forbid_waiting(with))
		return NOT_POSSIBLE;
	if (loop_create(&loop, &err) == ST_OK)
		return MADE;
	return strstr(err.what, "epoll_pwait2") != NULL && strstr(err.hint, "5.11") != NULL ? REFUSED : TOLD_NOTHING;
}

static void a_kernel_that_cannot_wait_is_told_at_once(void **state)
{
	(void)state;
	static const int WITH[] = {ENOSYS, EPERM};
	for (size_t i = 0; i < sizeof WITH / sizeof *WITH; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(make_loop_without_waiting(WITH[i]));
		int status;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status));
		if (WEXITSTATUS(status) == NOT_POSSIBLE)
			skip();
		assert_int_equal(WEXITSTATUS(status), REFUSED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(timers_fire_in_the_order_of_due_time_then_of_setting),
		cmocka_unit_test(a_timer_may_cancel_one_that_is_due_in_the_same_pass),
		cmocka_unit_test(a_timer_that_rearms_itself_in_the_past_does_not_hold_up_the_pass),
		cmocka_unit_test(a_descriptor_removed_by_another_in_the_same_pass_is_not_called),
		cmocka_unit_test(messages_of_each_thread_arrive_once_and_in_order),
		cmocka_unit_test(a_kernel_that_cannot_wait_is_told_at_once),
	};
	return cmocka_run_group_tests_name("loop", tests, NULL, NULL);
}
