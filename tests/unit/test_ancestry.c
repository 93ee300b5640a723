/* observe/ancestry: whose client is at the other end of a socket, with real processes and sockets and no server. */
#define _GNU_SOURCE
#include "unit.h"

#include "observe/ancestry.h"

#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static int listener, served = -1;
static union {
	struct sockaddr any;
	struct sockaddr_un local;
	struct sockaddr_in tcp;
} address;
static socklen_t address_size;
static pid_t root;
static int answer[2]; /* the grandchild says when it is connected */

static void listen_at(int family)
{
	memset(&address, 0, sizeof address);
	address.any.sa_family = (sa_family_t)family;
	if (family == AF_UNIX) {
		snprintf(address.local.sun_path + 1, sizeof address.local.sun_path - 1, "pgr-unit-%d", getpid()); /* abstract: no file */
		address_size = sizeof address.local;
	} else {
		address.tcp.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		address_size = sizeof address.tcp;
	}
	listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, &address.any, address_size), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, &address.any, &address_size), 0);
}

static void connect_and_stay(void)
{
	close(listener);
	int fd = socket(address.any.sa_family, SOCK_STREAM, 0);
	if (connect(fd, &address.any, address_size) != 0)
		_exit(1);
	if (write(answer[1], "x", 1) == 1)
		pause();
	_exit(0);
}

/* root starts a process that connects; with `orphan` root ends before it does. */
static void start_tree(bool orphan)
{
	char byte;
	assert_int_equal(pipe(answer), 0);
	root = fork();
	assert_true(root >= 0);
	if (root == 0) {
		setpgid(0, 0);
		pid_t child = fork();
		if (child == 0) {
			if (orphan)
				usleep(20000);
			connect_and_stay();
		}
		if (orphan)
			_exit(0);
		waitpid(child, NULL, 0);
		_exit(0);
	}
	assert_int_equal(read(answer[0], &byte, 1), 1);
	served = accept(listener, NULL, NULL);
	assert_true(served >= 0);
}

static int end_tree(void **state)
{
	(void)state;
	kill(-root, SIGKILL);
	waitpid(root, NULL, 0);
	close(answer[0]);
	close(answer[1]);
	close(served);
	close(listener);
	return 0;
}

static int client_port(void)
{
	struct sockaddr_in peer = {0};
	socklen_t size = sizeof peer;
	assert_int_equal(getpeername(served, (struct sockaddr *)&peer, &size), 0);
	return ntohs(peer.sin_port);
}

static pid_t find(pid_t of, int port)
{
	struct ancestry a = ANCESTRY_NONE;
	char why[128];
	pid_t roots[] = {of};
	ancestry_look(&a, roots, 1);
	pid_t found = ancestry_of(&a, getpid(), port, why, sizeof why);
	assert_string_equal(why, "");
	ancestry_free(&a);
	return found;
}

static void a_client_on_a_unix_socket_is_found_below_the_root(void **state)
{
	(void)state;
	listen_at(AF_UNIX);
	start_tree(false);
	assert_int_equal(find(root, -1), root);
	assert_int_equal(find(getppid(), -1), getppid()); /* we are below it too */
}

static void a_client_over_tcp_is_found_by_its_port(void **state)
{
	(void)state;
	listen_at(AF_INET);
	start_tree(false);
	assert_int_equal(find(root, client_port()), root);
}

static void a_client_whose_parent_has_ended_is_found_by_its_process_group(void **state)
{
	(void)state;
	listen_at(AF_UNIX);
	start_tree(true);
	assert_int_equal(find(root, -1), root);
}

static void another_process_is_no_parent(void **state)
{
	(void)state;
	pid_t other = fork();
	if (other == 0) {
		pause();
		_exit(0);
	}
	listen_at(AF_UNIX);
	start_tree(false);
	assert_int_equal(find(other, -1), 0);
	assert_int_equal(find(root, 1), 0); /* a port that none of its sockets has */
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
}

#define TEST(f) cmocka_unit_test_teardown(f, end_tree)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_client_on_a_unix_socket_is_found_below_the_root),
		TEST(a_client_over_tcp_is_found_by_its_port),
		TEST(a_client_whose_parent_has_ended_is_found_by_its_process_group),
		TEST(another_process_is_no_parent),
	};
	return cmocka_run_group_tests_name("ancestry", tests, NULL, NULL);
}
