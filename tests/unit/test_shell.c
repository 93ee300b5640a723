/* load/shell: commands run while the loop goes on, and none outlives who asked for it. */
#define _GNU_SOURCE
#include "unit.h"

#include "base/clock.h"
#include "load/shell.h"

#include <signal.h>
#include <unistd.h>

static struct loop *loop;

static int make_loop(void **state)
{
	(void)state;
	struct error err;
	return loop_create(&loop, &err) == ST_OK ? 0 : -1;
}

static int free_loop(void **state)
{
	(void)state;
	loop_free(loop);
	return 0;
}

struct ended {
	int times, code;
	size_t len;
	char text[SHELL_OUTPUT_MAX + 1];
};

static void note_end(int exit_code, const char *output, size_t len, void *arg)
{
	struct ended *e = arg;
	e->times++;
	e->code = exit_code;
	e->len = len;
	memcpy(e->text, output, len);
	e->text[len] = '\0';
}

static struct ended run(const char *command)
{
	struct ended e = {0};
	struct shell *s;
	struct error err;
	assert_int_equal(shell_start(loop, command, note_end, &e, &s, &err), ST_OK);
	int64_t deadline_ns = clock_now_ns() + 30 * NS_PER_S;
	while (e.times == 0 && clock_now_ns() < deadline_ns)
		loop_run_once(loop, 100 * NS_PER_MS);
	loop_run_once(loop, 0);
	assert_int_equal(e.times, 1);
	return e;
}

static void a_command_ends_with_its_status_and_what_it_printed(void **state)
{
	(void)state;
	struct ended e = run("echo one; echo two");
	assert_int_equal(e.code, 0);
	assert_string_equal(e.text, "one\ntwo\n");
	e = run("exit 3");
	assert_int_equal(e.code, 3);
	assert_int_equal(e.len, 0);
	assert_int_equal(run("no-such-command 2>/dev/null").code, 127);
	assert_int_equal(run("kill -TERM $$").code, 128 + SIGTERM);
	assert_int_equal(run("cat").code, 0); /* there is nothing to read */
}

static void more_output_than_is_kept_does_not_hold_it_up(void **state)
{
	(void)state;
	struct ended e = run("head -c 300000 /dev/zero | tr '\\0' x");
	assert_int_equal(e.code, 0);
	assert_int_equal(e.len, SHELL_OUTPUT_MAX);
}

static void what_is_left_in_the_background_is_not_waited_for(void **state)
{
	(void)state;
	struct ended e = run("sleep 30 & echo $!");
	assert_int_equal(e.code, 0);
	pid_t pid = (pid_t)strtol(e.text, NULL, 10);
	assert_true(pid > 1);
	assert_int_equal(kill(pid, SIGKILL), 0);
}

static void a_cancelled_command_is_gone_with_its_children(void **state)
{
	(void)state;
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	char command[64], byte;
	snprintf(command, sizeof command, "sleep 100 >&%d & echo x >&%d; sleep 100 >&%d", fds[1], fds[1], fds[1]);
	struct ended e = {0};
	struct shell *s;
	struct error err;
	assert_int_equal(shell_start(loop, command, note_end, &e, &s, &err), ST_OK);
	close(fds[1]);
	assert_int_equal(read(fds[0], &byte, 1), 1);
	shell_cancel(s);
	/* The pipe ends when nobody has it open any more. */
	while (read(fds[0], &byte, 1) > 0)
		;
	close(fds[0]);
	loop_run_once(loop, 0);
	assert_int_equal(e.times, 0);
	shell_cancel(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_command_ends_with_its_status_and_what_it_printed),
		cmocka_unit_test(more_output_than_is_kept_does_not_hold_it_up),
		cmocka_unit_test(what_is_left_in_the_background_is_not_waited_for),
		cmocka_unit_test(a_cancelled_command_is_gone_with_its_children),
	};
	return cmocka_run_group_tests_name("shell commands", tests, make_loop, free_loop);
}
