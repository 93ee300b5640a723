/* The servers of a sandbox: the primary's data from nothing, a snapshot or elsewhere, the standbys as copies of it, and their start. */
#define _GNU_SOURCE
#include "clone/sandbox_private.h"

#include "base/clock.h"
#include "base/fs.h"
#include "clone/copy.h"
#include "clone/origin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define STREAMING_LIMIT_NS (120 * NS_PER_S)

struct server_place sandbox_place(const struct sandbox *sb, int i)
{
	const struct member *m = &sb->member[i];
	return (struct server_place){.work_dir = sb->servers_dir,
		.data_dir = m->data_dir,
		.log_path = m->log_path,
		.socket_dir = sb->info.socket_dir,
		.port = m->port,
		.label = m->label,
		.name = m->name,
		.primary_dsn = i > 0 ? sb->upstream_dsn : NULL,
		.isolated = sb->isolated};
}

enum status sandbox_start_member(struct sandbox *sb, int i, struct error *err)
{
	struct server_place place = sandbox_place(sb, i);
	enum status st = server_start(&sb->tools, &place, err);
	sb->member[i].running = st == ST_OK;
	return st;
}

static enum status make_database(struct sandbox *sb, struct error *err)
{
	char dsn[PATH_MAX + 128];
	sandbox_format_dsn(dsn, sizeof dsn, sb, PRIMARY_PORT, "postgres");
	return server_query(dsn, "CREATE DATABASE rehearsal", NULL, 0, err);
}

void sandbox_prepend_settings(struct sandbox *sb, struct origin_data *data)
{
	for (char **s = sb->settings; s != NULL && *s != NULL; s++)
		VEC_PUSH(&data->found, *s);
	VEC_PUSH(&data->found, NULL);
	free(sb->settings);
	sb->settings = data->found.at;
}

static enum status make_from_origin(struct sandbox *sb, const struct origin *origin, struct error *err)
{
	struct server_place place = sandbox_place(sb, 0);
	struct origin_data data = {.tools = &sb->tools, .place = &place, .settings = (const char *const *)sb->settings, .stop = sb->stop};
	snprintf(data.user, sizeof data.user, "%s", sb->user);
	snprintf(data.database, sizeof data.database, "%s", sb->database);
	enum status st = origin->make(&data, origin->arg, err);
	sandbox_prepend_settings(sb, &data);
	snprintf(sb->user, sizeof sb->user, "%s", data.user);
	snprintf(sb->database, sizeof sb->database, "%s", data.database);
	sandbox_name_members(sb);
	return st;
}

/* The primary's data, cleanly stopped. */
static enum status lay_out_primary(
	struct sandbox *sb, const char *snapshot, const struct origin *origin, struct copy_totals *totals, struct error *err)
{
	struct server_place place = sandbox_place(sb, 0);
	bool settled = snapshot != NULL ? sandbox_made_with_our_settings(sb, snapshot) : origin != NULL || sb->settings[0] == NULL;
	enum status st = snapshot != NULL ? sandbox_restore_primary(sb, snapshot, totals, err)
		: origin != NULL          ? make_from_origin(sb, origin, err)
					  : server_init(&sb->tools, &place, err);
	if (st == ST_OK)
		st = server_configure(&sb->tools, &place, (const char *const *)sb->settings, err);
	if (st == ST_OK && !settled && sb->info.standbys > 0)
		st = server_settle(&sb->tools, &place, err);
	return st;
}

/* A copy of the primary before it starts: faster than a base backup, and no program of a client's is needed. */
static enum status lay_out_standby(struct sandbox *sb, int i, struct error *err)
{
	struct server_place primary = sandbox_place(sb, 0);
	struct server_place place = sandbox_place(sb, i);
	struct needed_wal wal = {.recycled = 0};
	server_first_wal(&primary, wal.first);
	enum status st = sandbox_check_stop(sb, err);
	if (st == ST_OK)
		st = copy_tree_over(primary.data_dir, place.data_dir, sb->tools.uid, sb->tools.gid, sandbox_leaves_out, &wal, NULL, err);
	return st == ST_OK ? server_configure(&sb->tools, &place, (const char *const *)sb->settings, err) : st;
}

/* What an earlier process was making; false: there is nothing. */
static bool take_salvaged(struct sandbox *sb)
{
	char data[PATH_MAX + 16], pid[PATH_MAX + 32];
	snprintf(data, sizeof data, "%.4000s/data", sb->info.salvage);
	if (sb->info.salvage[0] == '\0' || rename(data, sb->member[0].data_dir) != 0)
		return false;
	snprintf(pid, sizeof pid, "%s/postmaster.pid", sb->member[0].data_dir);
	(void)!unlink(pid);
	return true;
}

/* At once, before a checkpoint could remove what the standbys begin with. */
static enum status make_slots(struct sandbox *sb, const char *database, struct error *err)
{
	if (sb->info.standbys == 0)
		return ST_OK;
	char dsn[PATH_MAX + 128], sql[256];
	sandbox_format_dsn(dsn, sizeof dsn, sb, PRIMARY_PORT, database);
	snprintf(sql, sizeof sql,
		"SELECT pg_catalog.count(pg_catalog.pg_create_physical_replication_slot('standby' || i, true)) "
		"FROM pg_catalog.generate_series(1, %d) AS i",
		sb->info.standbys);
	return server_query(dsn, sql, NULL, 0, err);
}

/* Every standby that runs is connected, and shows what has been written until now: the database, for one. */
static enum status wait_for_streaming(struct sandbox *sb, struct error *err)
{
	int expected = 0;
	for (int i = 1; i <= sb->info.standbys; i++)
		expected += sb->member[i].running;
	if (expected == 0)
		return ST_OK;
	char written[32], count[16], sql[256];
	enum status st = server_query(sb->member[0].dsn, "SELECT pg_catalog.pg_current_wal_flush_lsn()", written, sizeof written, err);
	snprintf(sql, sizeof sql,
		"SELECT count(*) FROM pg_catalog.pg_stat_replication WHERE state = 'streaming' AND replay_lsn >= '%s' "
		"AND application_name LIKE 'standby%%'",
		written);
	int64_t deadline = clock_now_ns() + STREAMING_LIMIT_NS;
	while (st == ST_OK && (st = server_query(sb->member[0].dsn, sql, count, sizeof count, err)) == ST_OK &&
		strtol(count, NULL, 10) < expected) {
		if (clock_now_ns() > deadline) {
			error_set(err, ST_FAILED, "only %s of %d standbys stream from the primary", count, expected);
			error_hint(err, "their logs are %s/standby*.log", sb->servers_dir);
			return ST_FAILED;
		}
		if ((st = sandbox_check_stop(sb, err)) == ST_OK)
			nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	return st;
}

enum status sandbox_make_servers(struct sandbox *sb, const char *snapshot, const struct origin *origin, struct error *err)
{
	struct copy_totals totals = {0};
	bool salvaged = take_salvaged(sb);
	struct server_place primary = sandbox_place(sb, 0);
	enum status st = salvaged ? server_configure(&sb->tools, &primary, (const char *const *)sb->settings, err)
				  : lay_out_primary(sb, snapshot, origin, &totals, err);
	for (int i = 1; i <= sb->info.standbys && st == ST_OK; i++)
		st = lay_out_standby(sb, i, err);
	if (st == ST_OK && snapshot != NULL && totals.reflinked == 0)
		st = copy_sync(sb->servers_dir, err);
	if (st == ST_OK)
		st = sandbox_check_stop(sb, err);
	if (st == ST_OK)
		st = sandbox_start_member(sb, 0, err);
	bool fresh = snapshot == NULL && origin == NULL && !salvaged;
	if (st == ST_OK)
		st = make_slots(sb, fresh ? "postgres" : sb->database, err);
	if (st == ST_OK && fresh)
		st = make_database(sb, err);
	for (int i = 1; i <= sb->info.standbys && st == ST_OK; i++)
		if ((st = sandbox_check_stop(sb, err)) == ST_OK)
			st = sandbox_start_member(sb, i, err);
	return st == ST_OK ? wait_for_streaming(sb, err) : st;
}
