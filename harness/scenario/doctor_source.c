/* Doctor: a target's files and names. They are read; nothing is restored, copied or called. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/proc.h"
#include "base/units.h"
#include "clone/registry.h"
#include "clone/server.h"
#include "clone/snapshots.h"
#include "scenario/doctor_private.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LISTED_MAX ((size_t)64 << 20)
#define LIST_LIMIT_NS (120 * NS_PER_S)
#define GROWTH_PACKED 5 /* how many times larger data are than what they are restored from, at most as a rule */
#define GROWTH_PLAIN 2

static void tell_error(struct doctor *d, const char *what, const struct error *err)
{
	doctor_tell(d, DOCTOR_MISSING, what, err->hint, "%s", err->what);
}

/* Of what is only an estimate too little is a note. */
static void check_room(struct doctor *d, int64_t needed, bool exact)
{
	char have[32], want[32];
	int64_t bytes = 0;
	const char *dir = registry_parent();
	if (fs_free_bytes(dir, &bytes, NULL) != ST_OK)
		return;
	units_format_bytes((double)bytes, have, sizeof have);
	units_format_bytes((double)needed, want, sizeof want);
	if (bytes >= needed)
		doctor_tell(d, DOCTOR_OK, "space for the data", NULL, "%s free at %.300s, %s%s are needed", have, dir,
			exact ? "" : "about ", want);
	else
		doctor_tell(d, exact ? DOCTOR_MISSING : DOCTOR_NOTE, "space for the data",
			"free some space, or set TMPDIR to a folder on a larger disk", "%s free at %.300s, %s%s are needed", have, dir,
			exact ? "" : "about ", want);
}

/* Its table of contents: an archive that is cut off, or of a newer pg_dump, is found out by its own program. */
static void list_dump(struct doctor *d, const char *path)
{
	struct server_tools tools;
	struct error err;
	char program[PATH_MAX + 16] = "pg_restore";
	if (server_find_tools(d->config->server_dir, &tools, &err) == ST_OK) {
		snprintf(program, sizeof program, "%s/pg_restore", tools.dir);
		if (access(program, X_OK) != 0)
			snprintf(program, sizeof program, "pg_restore");
	}
	const char *const argv[] = {program, "--list", path, NULL};
	struct buf said;
	buf_init(&said, LISTED_MAX);
	if (proc_check(&(struct proc_spec){.argv = argv, .timeout_ns = LIST_LIMIT_NS}, &said, &err) == ST_OK)
		doctor_tell(d, DOCTOR_OK, "contents of the dump", NULL, "can be read");
	else
		doctor_tell(d, DOCTOR_MISSING, "contents of the dump",
			"name the programs of the version that wrote it with --server; one that is damaged has to be made again", "%s",
			err.what);
	buf_free(&said);
}

static void check_dump(struct doctor *d)
{
	static const char *const FORMATS[] = {"a custom archive", "a directory", "a tar archive", "a script"};
	struct source_dump dump;
	struct error err;
	char size[32];
	if (source_dump_inspect(d->config->source->text, &dump, &err) != ST_OK) {
		tell_error(d, "dump", &err);
		return;
	}
	doctor_tell(
		d, DOCTOR_OK, "dump", NULL, "%s of %s", FORMATS[dump.format], units_format_bytes((double)dump.bytes, size, sizeof size));
	if (dump.format != DUMP_PLAIN)
		list_dump(d, dump.path);
	check_room(d, dump.bytes * (dump.format == DUMP_PLAIN || dump.format == DUMP_TAR ? GROWTH_PLAIN : GROWTH_PACKED), false);
}

static void check_base(struct doctor *d)
{
	static struct source_base base; /* large */
	json_t *facts = json_object();
	struct source_job job = {.path = d->config->source->text, .facts = facts};
	struct error err;
	char size[32];
	if (source_base_inspect(&job, d->config->server_dir, &base, &err) != ST_OK) {
		tell_error(d, "base backup", &err);
	} else {
		int64_t bytes = fs_tree_bytes(base.path);
		doctor_tell(d, DOCTOR_OK, "base backup", NULL, "PostgreSQL %d's, %s of %s", base.version,
			base.tar ? "tar archives" : "a folder", units_format_bytes((double)bytes, size, sizeof size));
		/* Where the file system shares blocks a copy takes none. */
		check_room(d, base.tar ? bytes * GROWTH_PACKED : bytes, false);
	}
	json_decref(facts);
}

static void check_snapshot(struct doctor *d)
{
	char dir[PATH_MAX], found[PATH_MAX];
	json_t *about = NULL, *made = NULL;
	struct error err;
	struct server_tools tools;
	if (snapshot_find(d->config->source->text, dir, sizeof dir, &about, &err) != ST_OK) {
		tell_error(d, "snapshot", &err);
		return;
	}
	json_decref(about);
	snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/snapshot.json");
	if (json_read_file(dir, &made, &err) != ST_OK) {
		tell_error(d, "snapshot", &err);
		return;
	}
	int version = (int)json_get_int(made, "server_version", 0) / 10000;
	char size[32];
	int64_t bytes = json_get_int(made, "bytes", 0);
	units_format_bytes((double)bytes, size, sizeof size);
	if (server_find_tools(d->config->server_dir, &tools, &err) == ST_OK && tools.version / 10000 != version)
		doctor_tell(d, DOCTOR_MISSING, "snapshot",
			server_find_version(version, found, sizeof found) ? "name the folder of those that fit with --server"
									  : "install that version",
			"PostgreSQL %d's, the programs are %d's", version, tools.version / 10000);
	else
		doctor_tell(d, DOCTOR_OK, "snapshot", NULL, "PostgreSQL %d's, %s", version, size);
	if (json_get_int(made, "reflinked", 0) == 0)
		check_room(d, bytes, true);
	json_decref(made);
}

void doctor_check_source(struct doctor *d)
{
	switch (d->config->source->kind) {
	case SOURCE_DUMP:
		check_dump(d);
		break;
	case SOURCE_BASE:
		check_base(d);
		break;
	case SOURCE_SNAPSHOT:
		check_snapshot(d);
		break;
	case SOURCE_COMMAND:
		doctor_tell(d, DOCTOR_NOTE, "command", "call it, and examine what it prints: pgrehearse doctor --target DSN",
			"it is not called: what it makes is not known before a rehearsal");
		break;
	case SOURCE_SANDBOX:
	case SOURCE_TEMPLATE:
	case SOURCE_DSN:
		break;
	}
}
