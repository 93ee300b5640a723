/* Which sessions belong to a process on this machine: a session's client is found by its socket, and a process's sockets by /proc. */
#ifndef PGR_OBSERVE_ANCESTRY_H
#define PGR_OBSERVE_ANCESTRY_H

#include "base/vec.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define ANCESTRY_ROOTS_MAX 16
#define ANCESTRY_SOCKETS_MAX 16384

/* Sockets of the processes of each tree as of the last look. A process belongs to a tree when it is its root, descends from a process of it,
 * or is in the root's session or process group: what a daemon leaves behind when its parent ends is found by these. */
struct ancestry {
	VEC(struct ancestry_socket {
		uint64_t inode;
		pid_t root;
	})
	sockets;
	int diag_fd; /* of the kernel's socket diagnosis; opened when it is needed */
};
#define ANCESTRY_NONE ((struct ancestry){.diag_fd = -1})

/* Reads /proc: about 20 us a process of the machine. */
void ancestry_look(struct ancestry *a, const pid_t *roots, int n);
void ancestry_free(struct ancestry *a);

/* The root of the tree that the client of this session belongs to; 0: of none; -1: cannot be told, `why` says so ("" otherwise).
 * client_port as in pg_stat_activity: of a TCP client, which needs nothing of the server and so may be on another machine (not behind
 * address translation of ports, or a pooler); -1: a unix socket, for which the server process `backend` has to run on this machine, as
 * the same user or we as root. */
pid_t ancestry_of(struct ancestry *a, pid_t backend, int client_port, char *why, size_t size);

#endif
