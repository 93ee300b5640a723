/* What the parts of a sandbox share: sandbox.c (the folder, its end, single servers), sandbox_servers.c (making them), sandbox_snapshot.c. */
#ifndef PGR_CLONE_SANDBOX_PRIVATE_H
#define PGR_CLONE_SANDBOX_PRIVATE_H

#include "base/proc.h"
#include "clone/registry.h"
#include "clone/sandbox.h"
#include "clone/server.h"

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define PRIMARY_PORT 5432 /* only the name of a socket file: nothing listens on TCP */
#define SPACE_NEEDED (INT64_C(512) << 20)

struct copy_totals;
struct origin;
struct origin_data;

/* One server of the sandbox, its strings for a struct server_place. */
struct member {
	char name[24];
	char data_dir[PATH_MAX];
	char log_path[PATH_MAX];
	char label[SANDBOX_NAME_MAX + 40];
	char dsn[PATH_MAX + 128];
	int port;
	bool running;
};

struct sandbox {
	struct sandbox_info info;
	struct server_tools tools;
	char servers_dir[PATH_MAX];
	char **settings; /* NULL-terminated, or NULL */
	char user[64], database[64];
	bool isolated;
	struct proc_watcher watcher;
	const volatile sig_atomic_t *stop;
	bool up;    /* the folder is there and ours to remove */
	pid_t link; /* of the delayed link; 0: there is none */
	int upstream_port;
	char upstream_dsn[PATH_MAX + 128]; /* the primary's for its standbys: through the link where there is one */
	struct member member[1 + SANDBOX_STANDBYS_MAX];
};

/* ---- sandbox.c ---- */

/* Of its servers by that port, as that user's. */
void sandbox_format_dsn(char *out, size_t size, const struct sandbox *sb, int port, const char *database);
void sandbox_socket_path(const struct sandbox *sb, int port, char *out, size_t size);

/* Fills sb->member and the connection strings, from the folders, the user and the database. */
void sandbox_name_members(struct sandbox *sb);

/* sandbox.json anew. */
enum status sandbox_write_info(struct sandbox *sb, struct error *err) MUST_CHECK;

/* ST_INTERRUPTED once the caller wants to stop. */
enum status sandbox_check_stop(const struct sandbox *sb, struct error *err) MUST_CHECK;

/* So many bytes are free where dir lies. */
enum status sandbox_check_space(const char *dir, int64_t needed, struct error *err) MUST_CHECK;

/* ---- sandbox_servers.c ---- */

/* i: 0 is the primary. Its strings are those of sb. */
struct server_place sandbox_place(const struct sandbox *sb, int i);
enum status sandbox_start_member(struct sandbox *sb, int i, struct error *err) MUST_CHECK;

/* All of them, running and in step: from the snapshot in that folder, an origin, what was salvaged, or nothing (both NULL). */
enum status sandbox_make_servers(struct sandbox *sb, const char *snapshot, const struct origin *origin, struct error *err) MUST_CHECK;

/* What the data came with goes before what the caller wants: the later one of two settings holds. Takes data->found. */
void sandbox_prepend_settings(struct sandbox *sb, struct origin_data *data);

/* ---- sandbox_snapshot.c ---- */

/* What a copy of a stopped server's data needs of its WAL. */
struct needed_wal {
	char first[25]; /* "": all of it */
	int recycled;   /* how many more are kept */
};

/* Files that copies go without, for copy_tree(). wal: a struct needed_wal. */
bool sandbox_leaves_out(const char *path, void *wal);

/* Whom to connect as and to, and the settings of the servers that it was made with. Whether it can be used is seen later. */
void sandbox_adopt_snapshot(struct sandbox *sb, const char *snapshot);
bool sandbox_made_with_our_settings(const struct sandbox *sb, const char *snapshot);

/* The primary's data folder from it; totals: of what was copied. */
enum status sandbox_restore_primary(struct sandbox *sb, const char *snapshot, struct copy_totals *totals, struct error *err) MUST_CHECK;

#endif
