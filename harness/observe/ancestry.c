/* Process trees and their sockets, from /proc and from the kernel's socket diagnosis (sock_diag(7)), which tells the other end of a unix socket. */
#define _GNU_SOURCE
#include "observe/ancestry.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEPTH_MAX 64

struct process {
	pid_t pid, parent, group, session;
};
typedef VEC(struct process) process_vec;

static int read_number(const char *name)
{
	char *end;
	long n = strtol(name, &end, 10);
	return *end == '\0' && end != name && n > 0 ? (int)n : 0;
}

/* "PID (NAME) STATE PPID PGRP SESSION ...": the name may hold blanks and parentheses. */
static bool read_process(pid_t pid, struct process *out)
{
	char path[64], text[512];
	snprintf(path, sizeof path, "/proc/%d/stat", pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text - 1);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	const char *p = strrchr(text, ')');
	if (p == NULL || strlen(p) < 4)
		return false;
	char *end;
	out->pid = pid;
	out->parent = (pid_t)strtol(p + 3, &end, 10);
	out->group = (pid_t)strtol(end, &end, 10);
	out->session = (pid_t)strtol(end, &end, 10);
	return true;
}

static void read_processes(process_vec *out)
{
	DIR *dir = opendir("/proc");
	if (dir == NULL)
		return;
	const struct dirent *entry;
	while ((entry = readdir(dir)) != NULL) {
		struct process p;
		int pid = read_number(entry->d_name);
		if (pid > 0 && read_process(pid, &p))
			VEC_PUSH(out, p);
	}
	closedir(dir);
}

static const struct process *find_process(const process_vec *all, pid_t pid)
{
	for (size_t i = 0; i < all->n; i++)
		if (all->at[i].pid == pid)
			return &all->at[i];
	return NULL;
}

static bool belongs_to(const process_vec *all, const struct process *p, pid_t root)
{
	for (int depth = 0; p != NULL && depth < DEPTH_MAX; depth++) {
		if (p->pid == root || p->group == root || p->session == root)
			return true;
		p = p->parent > 0 ? find_process(all, p->parent) : NULL;
	}
	return false;
}

/* "/proc/PID/fd" -> the inodes of its sockets; -1 when it may not be read. */
static int read_sockets(pid_t pid, uint64_t *out, int max)
{
	char path[64], link[64];
	snprintf(path, sizeof path, "/proc/%d/fd", pid);
	DIR *dir = opendir(path);
	if (dir == NULL)
		return errno == ENOENT ? 0 : -1;
	int n = 0, refused = 0;
	const struct dirent *entry;
	while ((entry = readdir(dir)) != NULL && n < max) {
		ssize_t length = readlinkat(dirfd(dir), entry->d_name, link, sizeof link - 1);
		if (length < 0) {
			refused += errno == EACCES || errno == EPERM;
			continue;
		}
		link[length] = '\0';
		if (strncmp(link, "socket:[", 8) == 0)
			out[n++] = strtoull(link + 8, NULL, 10);
	}
	closedir(dir);
	return n == 0 && refused > 0 ? -1 : n;
}

void ancestry_look(struct ancestry *a, const pid_t *roots, int n)
{
	process_vec all = {0};
	a->sockets.n = 0;
	read_processes(&all);
	for (size_t i = 0; i < all.n; i++) {
		for (int k = 0; k < n; k++) {
			if (!belongs_to(&all, &all.at[i], roots[k]))
				continue;
			uint64_t inodes[1024];
			int found = read_sockets(all.at[i].pid, inodes, (int)(sizeof inodes / sizeof inodes[0]));
			for (int s = 0; s < found && a->sockets.n < ANCESTRY_SOCKETS_MAX; s++)
				VEC_PUSH(&a->sockets, (struct ancestry_socket){inodes[s], roots[k]});
			break;
		}
	}
	VEC_FREE(&all);
}

void ancestry_free(struct ancestry *a)
{
	VEC_FREE(&a->sockets);
	if (a->diag_fd >= 0)
		close(a->diag_fd);
	a->diag_fd = -1;
}

static pid_t owner_of(const struct ancestry *a, uint64_t inode)
{
	for (size_t i = 0; i < a->sockets.n; i++)
		if (a->sockets.at[i].inode == inode)
			return a->sockets.at[i].root;
	return 0;
}

/* The inode at the other end of a connected unix socket; 0 when there is none. The answer to a request for one socket is one message,
 * and an inode is 32 bits wide here. */
static uint64_t peer_of(struct ancestry *a, uint64_t inode)
{
	if (a->diag_fd < 0)
		a->diag_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (a->diag_fd < 0)
		return 0;
	struct {
		struct nlmsghdr header;
		struct unix_diag_req request;
	} ask = {
		.header = {.nlmsg_len = sizeof ask, .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST},
		.request = {.sdiag_family = AF_UNIX,
			.udiag_states = ~0U,
			.udiag_ino = (uint32_t)inode,
			.udiag_show = UDIAG_SHOW_PEER,
			.udiag_cookie = {~0U, ~0U}},
	};
	union {
		struct nlmsghdr header;
		char bytes[1024];
	} answer;
	if (send(a->diag_fd, &ask, sizeof ask, 0) != (ssize_t)sizeof ask)
		return 0;
	ssize_t n = recv(a->diag_fd, &answer, sizeof answer, 0);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct unix_diag_msg)) || answer.header.nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return 0;
	size_t at = NLMSG_SPACE(sizeof(struct unix_diag_msg));
	while (at + sizeof(struct rtattr) <= (size_t)n) {
		struct rtattr attribute;
		uint32_t peer;
		memcpy(&attribute, answer.bytes + at, sizeof attribute);
		if (attribute.rta_len < sizeof attribute || at + attribute.rta_len > (size_t)n)
			return 0;
		if (attribute.rta_type == UNIX_DIAG_PEER && attribute.rta_len >= RTA_LENGTH(sizeof peer)) {
			memcpy(&peer, answer.bytes + at + RTA_LENGTH(0), sizeof peer);
			return peer;
		}
		at += RTA_ALIGN(attribute.rta_len);
	}
	return 0;
}

/* Of our sockets that are connected from this port. Lines: "  0: LOCAL:PORT REMOTE:PORT STATE ... INODE ...", numbers in hexadecimal but the inode. */
static pid_t owner_of_port(const struct ancestry *a, const char *path, int port)
{
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return 0;
	char line[512];
	pid_t root = 0;
	while (root == 0 && fgets(line, sizeof line, f) != NULL) {
		const char *field[10];
		char *rest = NULL;
		int n = 0;
		for (char *word = strtok_r(line, " \n", &rest); word != NULL && n < 10; word = strtok_r(NULL, " \n", &rest))
			field[n++] = word;
		const char *colon = n == 10 ? strrchr(field[1], ':') : NULL;
		if (colon != NULL && strtol(colon + 1, NULL, 16) == port)
			root = owner_of(a, strtoull(field[9], NULL, 10));
	}
	fclose(f);
	return root;
}

pid_t ancestry_of(struct ancestry *a, pid_t backend, int client_port, char *why, size_t size)
{
	why[0] = '\0';
	if (client_port > 0) {
		pid_t root = owner_of_port(a, "/proc/net/tcp", client_port);
		return root != 0 ? root : owner_of_port(a, "/proc/net/tcp6", client_port);
	}
	uint64_t inodes[64];
	int n = read_sockets(backend, inodes, (int)(sizeof inodes / sizeof inodes[0]));
	if (n < 0) {
		snprintf(why, size, "/proc/%d/fd may not be read", backend);
		return -1;
	}
	for (int i = 0; i < n; i++) {
		uint64_t peer = peer_of(a, inodes[i]);
		pid_t root = peer != 0 ? owner_of(a, peer) : 0;
		if (root != 0)
			return root;
	}
	if (a->diag_fd < 0) {
		snprintf(why, size, "the kernel tells nothing about sockets");
		return -1;
	}
	return 0;
}
