/* pgrehearse snapshot make|list|drop: prepared data that rehearsals start from. */
#define _GNU_SOURCE
#include "base/json.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "cli/signals.h"
#include "cli/target_options.h"
#include "clone/snapshots.h"
#include "load/workload.h"
#include "scenario/target.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char HELP[] = "usage: pgrehearse snapshot make NAME [--workload W] [--scale N] [--seed N] [--target WHAT] [OPTION]...\n"
			   "       pgrehearse snapshot list\n"
			   "       pgrehearse snapshot drop NAME...\n\n"
			   "A snapshot is data that were prepared once: generated, restored from a dump or copied from a base\n"
			   "backup, and normalised. --target snapshot:NAME rehearses on it; where the same data would be\n"
			   "generated with the same settings it is taken by itself. On a file system with reflinks (XFS, Btrfs)\n"
			   "putting it back takes no time to speak of, and no space.\n\n"
			   "Making that is cut off goes on where it was when it is asked for again.\n\n"
			   "  --workload W     whose data are generated (default shop)\n"
			   "  --scale N        how much of them (default 1)\n"
			   "  --seed N         of the data (default 1)\n"
			   "  --target WHAT    dump:PATH or base:PATH instead; --server, --pg-config and so on as in\n"
			   "                   pgrehearse run --help-all\n\n"
			   "They lie beside the sandboxes, below $TMPDIR or /tmp.\n\n"
			   "Example: pgrehearse snapshot make big --scale 20 && pgrehearse run scenarios/not_null.lua --scale 20\n";

static int fail_usage(const char *what, const char *hint)
{
	struct error err;
	error_set(&err, ST_USAGE, "snapshot: %s", what);
	error_hint(&err, "%s", hint);
	return command_fail(&err);
}

struct make_options {
	const char *name, *workload;
	double scale;
	int64_t seed;
	struct target_options target;
};

static enum status read_options(int argc, char **argv, struct make_options *o, int *bad_option, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"workload", required_argument, NULL, 'w'},
		{"scale", required_argument, NULL, 's'},
		{"seed", required_argument, NULL, 'e'},
		TARGET_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1;) {
		if (c == 'w') {
			o->workload = optarg;
		} else if (c == 's') {
			st = units_parse_number("--scale", optarg, 0.0001, 100000, &o->scale, err);
		} else if (c == 'e') {
			st = units_parse_int("--seed", optarg, 0, INT64_MAX, &o->seed, err);
		} else if (!target_option(&o->target, c, optarg, &st, err)) {
			*bad_option = c;
			return ST_USAGE;
		}
	}
	if (st == ST_OK && optind + 1 != argc) {
		st = error_set(err, ST_USAGE, "snapshot: make takes one name");
		error_hint(err, "pgrehearse snapshot make big --scale 20");
	}
	o->name = optind < argc ? argv[optind] : NULL;
	enum source_kind kind = o->target.source.kind;
	if (st == ST_OK && kind != SOURCE_SANDBOX && kind != SOURCE_DUMP && kind != SOURCE_BASE)
		st = error_set(err, ST_USAGE,
			"snapshot: --target %s cannot be made a snapshot of: dump:PATH, base:PATH or none is expected",
			source_kind_name(kind));
	return st;
}

static enum status make(struct make_options *o, struct error *err)
{
	char dir[PATH_MAX];
	char *workload = NULL;
	struct target *target = NULL;
	struct progress progress;
	progress_init(&progress);
	enum status st = snapshot_place(o->name, true, dir, sizeof dir, err);
	if (st == ST_OK)
		st = workload_find(o->workload, NULL, &workload, err);
	struct target_config config = {
		.workload_path = workload,
		.scale = o->scale,
		.seed = (uint64_t)o->seed,
		.snapshot = true,
		.snapshot_dir = dir,
		.stop = signals_watch(),
		.progress = progress_prepare,
		.arg = &progress,
	};
	target_options_apply(&o->target, &config);
	if (st == ST_OK)
		st = target_prepare(&config, &target, err);
	if (st == ST_OK) {
		json_t *about = target_about(target);
		st = snapshot_complete(dir, about, err);
		json_decref(about);
	}
	progress_end(&progress);
	target_free(target);
	free(workload);
	if (st == ST_OK)
		printf("The snapshot %s is made: pgrehearse run SCENARIO --target snapshot:%s\n", o->name, o->name);
	return st;
}

static int snapshot_make(int argc, char **argv)
{
	struct make_options o = {.workload = "shop", .scale = 1, .seed = 1, .target = TARGET_OPTIONS_DEFAULT};
	struct error err;
	int bad_option = 0, code = ST_OK;
	enum status st = read_options(argc, argv, &o, &bad_option, &err);
	if (bad_option != 0)
		code = command_bad_option("snapshot", bad_option, optopt, argv[optind - 1]);
	else if (st != ST_OK || make(&o, &err) != ST_OK)
		code = command_fail(&err);
	target_options_free(&o.target);
	return code;
}

static void describe_generated(const json_t *workload, char *out, size_t size)
{
	snprintf(out, size, "%.200s, scale %g, seed %lld", json_get_string(workload, "path", ""), json_get_number(workload, "scale", 0),
		(long long)json_get_int(workload, "seed", 0));
}

static int snapshot_list_all(void)
{
	json_t *all, *unfinished, *one;
	size_t i;
	struct error err;
	if (snapshot_list(&all, &err) != ST_OK)
		return command_fail(&err);
	if (snapshot_list_unfinished(&unfinished, &err) != ST_OK) {
		json_decref(all);
		return command_fail(&err);
	}
	if (json_array_size(all) == 0 && json_array_size(unfinished) == 0)
		printf("There is no snapshot. pgrehearse snapshot make makes one.\n");
	else
		printf("%-24s %-10s %9s  %-20s  %s\n", "name", "PostgreSQL", "size", "made (UTC)", "of");
	json_array_foreach(all, i, one)
	{
		const json_t *about = json_object_get(one, "about"), *workload = json_object_get(about, "workload");
		const json_t *target = json_object_get(about, "target");
		char version[32], size[32], of[300];
		int64_t number = json_get_int(one, "server_version", 0);
		const char *created = json_get_string(one, "created", "");
		snprintf(version, sizeof version, "%d.%d", (int)(number / 10000), (int)(number % 10000));
		if (workload != NULL)
			describe_generated(workload, of, sizeof of);
		else
			snprintf(of, sizeof of, "%s:%.250s", json_get_string(target, "kind", ""), json_get_string(target, "source", ""));
		printf("%-24s %-10s %9s  %.10s %.8s   %s\n", json_get_string(one, "name", ""), version,
			units_format_bytes((double)json_get_int(one, "bytes", 0), size, sizeof size), created,
			strlen(created) > 11 ? created + 11 : "", of);
	}
	json_array_foreach(unfinished, i, one)
	{
		char of[300];
		describe_generated(json_object_get(json_object_get(one, "about"), "workload"), of, sizeof of);
		printf("%-24s not finished: making it again goes on            %s\n", json_get_string(one, "name", ""), of);
	}
	json_decref(all);
	json_decref(unfinished);
	return ST_OK;
}

static int snapshot_drop_all(int argc, char **argv)
{
	int code = ST_OK;
	if (argc < 2)
		return fail_usage("drop needs the name of a snapshot", "pgrehearse snapshot list shows them");
	for (int i = 1; i < argc; i++) {
		struct error err;
		if (snapshot_drop(argv[i], &err) == ST_OK)
			printf("The snapshot %s is gone.\n", argv[i]);
		else
			code = command_fail(&err);
	}
	return code;
}

int cmd_snapshot(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
	if (strcmp(verb, "make") == 0)
		return snapshot_make(argc - 1, argv + 1);
	if (strcmp(verb, "list") == 0 && argc == 2)
		return snapshot_list_all();
	if (strcmp(verb, "drop") == 0)
		return snapshot_drop_all(argc - 1, argv + 1);
	return fail_usage("say what to do", "one of make, list, drop");
}
