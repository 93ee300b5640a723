/* How long it takes to put a snapshot back: beside CREATE DATABASE ... TEMPLATE and pg_restore of the same data in the same run; and plain
 * copying beside cp -a. Arguments: the size in MB, and the folder (not on a file system with reflinks) for plain copies. The sandbox lies below
 * $TMPDIR. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/fs.h"
#include "base/proc.h"
#include "clone/copy.h"
#include "clone/sandbox.h"
#include "clone/source.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

static void check(enum status st, const struct error *err)
{
	if (st == ST_OK)
		return;
	char text[2048];
	fprintf(stderr, "%s\n", error_text(err, text, sizeof text));
	exit(1);
}

static double since(int64_t start)
{
	return (double)(clock_now_ns() - start) / 1e9;
}

static double shell(const char *command)
{
	struct error err;
	const char *const argv[] = {"sh", "-c", command, NULL};
	int64_t start = clock_now_ns();
	check(proc_check(&(struct proc_spec){.argv = argv}, NULL, &err), &err);
	return since(start);
}

static void fill(const char *dsn, long megabytes)
{
	struct error err;
	char sql[256];
	check(source_execute(dsn, "CREATE TABLE big (id bigint, body text)", NULL, &err), &err);
	/* About 1 kB a row, and what cannot be compressed away. */
	snprintf(sql, sizeof sql, "INSERT INTO big SELECT g, repeat(md5(g::text), 30) FROM generate_series(1, %ld) g", megabytes * 1000);
	check(source_execute(dsn, sql, NULL, &err), &err);
	check(source_execute(dsn, "ALTER TABLE big ADD PRIMARY KEY (id)", NULL, &err), &err);
	check(source_execute(dsn, "VACUUM (ANALYZE) big", NULL, &err), &err);
}

static double reset_beside_peers(long megabytes, double *template, double *restore)
{
	static const char *const SETTINGS[] = {"max_wal_size=4GB", NULL};
	struct error err;
	struct sandbox *sb;
	char snapshot[PATH_MAX], command[PATH_MAX * 3];
	check(sandbox_up(&(struct sandbox_config){.settings = SETTINGS}, &sb, &err), &err);
	const char *dsn = sandbox_dsn(sb), *bin = sandbox_server_dir(sb), *dir = sandbox_dir(sb);
	fill(dsn, megabytes);
	check(source_execute(dsn, "CHECKPOINT", NULL, &err), &err);
	snprintf(command, sizeof command, "psql -Xqd '%.1000s dbname=postgres' -c 'CREATE DATABASE copy TEMPLATE rehearsal'", dsn);
	*template = shell(command);
	snprintf(command, sizeof command, "psql -Xqd '%.1000s dbname=postgres' -c 'DROP DATABASE copy' -c 'CREATE DATABASE copy'", dsn);
	shell(command);
	snprintf(command, sizeof command, "'%.500s/pg_dump' -Fd -Z0 -j2 -f '%.1000s/dump' '%.1000s'", bin, dir, dsn);
	shell(command);
	snprintf(command, sizeof command, "'%.500s/pg_restore' -j2 -d '%.1000s dbname=copy' '%.1000s/dump'", bin, dsn, dir);
	*restore = shell(command);
	snprintf(command, sizeof command, "rm -rf '%.1000s/dump'; psql -Xqd '%.1000s' -c 'DROP DATABASE copy'", dir, dsn);
	shell(command);
	snprintf(snapshot, sizeof snapshot, "%.1000s/snapshot", dir);
	check(sandbox_snapshot(sb, snapshot, &err), &err);
	check(sandbox_reset(sb, snapshot, 0, &err), &err);
	check(source_execute(dsn, "UPDATE big SET body = '' WHERE id < 1000", NULL, &err), &err);
	int64_t start = clock_now_ns();
	check(sandbox_reset(sb, snapshot, 0, &err), &err);
	double took = since(start);
	check(sandbox_down(sb, &err), &err);
	sandbox_free(sb);
	return took;
}

static double median(double a, double b, double c)
{
	return a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
}

/* Both end with the data on disk. */
static void copy_beside_cp(const char *folder, long megabytes, double *ours, double *peer)
{
	char command[PATH_MAX * 2], from[PATH_MAX], to[PATH_MAX];
	double a[3], b[3];
	struct error err;
	snprintf(from, sizeof from, "%.2000s/from", folder);
	snprintf(to, sizeof to, "%.2000s/to", folder);
	snprintf(command, sizeof command,
		"mkdir -p '%s'; for i in $(seq %ld); do head -c 16777216 /dev/urandom > '%s'/$i; done; for i in $(seq 500); do echo $i > '%s'/small$i; done; sync",
		from, megabytes / 16 + 1, from, from);
	shell(command);
	for (int i = 0; i < 3; i++) {
		snprintf(command, sizeof command, "cp -a --reflink=never '%s' '%s' && sync -f '%s'", from, to, to);
		b[i] = shell(command);
		check(fs_remove_tree(to, &err), &err);
		sync();
		int64_t start = clock_now_ns();
		check(copy_tree(from, to, 0, 0, NULL, NULL, NULL, &err), &err);
		check(copy_sync(to, &err), &err);
		a[i] = since(start);
		check(fs_remove_tree(to, &err), &err);
		sync();
	}
	*ours = median(a[0], a[1], a[2]);
	*peer = median(b[0], b[1], b[2]);
}

int main(int argc, char **argv)
{
	long megabytes = argc > 1 ? strtol(argv[1], NULL, 10) : 1000;
	double template, restore, ours, peer;
	double reset = reset_beside_peers(megabytes, &template, &restore);
	printf("{\"name\": \"reset of a snapshot of %ld MB with reflinks, recovery included\", \"value\": %.3f, \"unit\": \"s\", \"peer\": "
	       "\"CREATE DATABASE ... TEMPLATE\", \"peer_value\": %.3f, \"limit\": 1.0}\n",
		megabytes, reset, template);
	printf("{\"name\": \"the same\", \"value\": %.3f, \"unit\": \"s\", \"peer\": \"pg_restore -j2\", \"peer_value\": %.3f, \"limit\": 1.0}\n",
		reset, restore);
	copy_beside_cp(argc > 2 ? argv[2] : "/tmp", megabytes / 2, &ours, &peer);
	printf("{\"name\": \"plain copy of %ld MB\", \"value\": %.3f, \"unit\": \"s\", \"peer\": \"cp -a\", \"peer_value\": %.3f, \"limit\": 1.11}\n",
		megabytes / 2, ours, peer);
	return 0;
}
