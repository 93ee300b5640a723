/* Targets: made, filled, snapshotted, put back, removed. */
#define _GNU_SOURCE
#include "scenario/target.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/sha256.h"
#include "base/units.h"
#include "clone/guard.h"
#include "clone/page_cache.h"
#include "clone/pooler.h"
#include "clone/sandbox.h"
#include "clone/server_log.h"
#include "clone/snapshots.h"
#include "clone/source_remote.h"
#include "runtime/script.h"
#include "scenario/fill.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct target {
	struct target_config config;
	struct sandbox *sandbox; /* NULL: dsn */
	const char *dsn;
	json_t *facts; /* for the record */
	struct source_template copy;
	struct source_command command;
	struct pooler pooler;
	const char **clients;                         /* policy.clients, and sessions of ours that the pooler keeps */
	char reset_dsn[SOURCE_DSN_MAX];               /* that --reset-command printed */
	char given[REHEARSAL_STANDBYS_MAX][64];       /* names of --standby */
	char snapshot[PATH_MAX];                      /* "" until taken */
	int64_t log_begins[1 + SANDBOX_STANDBYS_MAX]; /* of each server: how long its log was when the drill began */
	char part[PATH_MAX];                          /* where it lies while it is made, when that may go on in another process; or "" */
	bool lasting;                                 /* the snapshot outlives us */
	bool fresh;                                   /* nothing has happened since the sandbox was made of it */
	const char *names[REHEARSAL_STANDBYS_MAX];
	const char *dsns[REHEARSAL_STANDBYS_MAX];
	bool passed; /* the guard has let config.dsn pass: objects of ours may be dropped there */
	int used;    /* drills so far */
};

static bool interrupted(const struct target_config *c)
{
	return c->stop != NULL && *c->stop != 0;
}

static void say(const struct target *t, const char *what)
{
	if (t->config.progress != NULL)
		t->config.progress(what, 0, 0, t->config.arg);
}

static enum status take_snapshot(struct target *t, struct error *err)
{
	/* Within the sandbox's folder, so that it goes with it however we end. */
	t->lasting = t->config.snapshot_dir != NULL;
	if (t->lasting)
		snprintf(t->snapshot, sizeof t->snapshot, "%s", t->config.snapshot_dir);
	else if ((size_t)snprintf(t->snapshot, sizeof t->snapshot, "%s/snapshot", sandbox_dir(t->sandbox)) >= sizeof t->snapshot)
		return error_set(err, ST_FAILED, "the path of the sandbox is too long: %s", sandbox_dir(t->sandbox));
	say(t, "taking a snapshot");
	enum status st = (t->lasting ? sandbox_become_snapshot : sandbox_snapshot)(t->sandbox, t->snapshot, err);
	if (st == ST_OK && t->part[0] != '\0')
		st = snapshot_end(t->snapshot, err);
	if (st != ST_OK)
		t->snapshot[0] = '\0';
	return st;
}

/* The data's own way into a sandbox; source_job and source_base live as long as sandbox_up() needs them. */
static enum status raise_sandbox(struct target *t, const struct origin *origin, const char *snapshot, bool isolated, struct error *err)
{
	const struct target_config *c = &t->config;
	/* When a snapshot will be taken, standbys are made afterwards. */
	struct sandbox_config config = {.standbys = c->snapshot && snapshot == NULL ? 0 : c->standbys,
		.name = c->name,
		.from_snapshot = snapshot,
		.server_dir = c->server_dir,
		.settings = c->settings,
		.standby_delay_ns = c->standby_delay_ns,
		.origin = origin,
		.salvage = t->part[0] != '\0' ? t->part : NULL,
		.isolated = isolated,
		.keep = c->keep,
		.stop = c->stop};
	if (origin == NULL)
		say(t, config.standbys > 0 ? "starting a primary and its standby" : "starting a server");
	enum status st = sandbox_up(&config, &t->sandbox, err);
	if (st == ST_OK && isolated)
		json_object_set_new(t->facts, "isolated", json_boolean(sandbox_is_isolated(t->sandbox)));
	return st;
}

static struct source_job job_of(struct target *t)
{
	const struct target_config *c = &t->config;
	return (struct source_job){.path = c->source->text,
		.database = c->database,
		.jobs = c->jobs,
		.accept_errors = c->accept_errors,
		.facts = t->facts,
		.stop = c->stop,
		.progress = c->progress,
		.arg = c->arg};
}

static enum status restore_dump(struct target *t, struct error *err)
{
	struct source_job job = job_of(t);
	struct source_dump dump;
	enum status st = source_dump_inspect(job.path, &dump, err);
	if (st == ST_OK)
		st = raise_sandbox(t, NULL, NULL, true, err);
	return st == ST_OK ? source_dump_restore(&dump, t->sandbox, &job, err) : st;
}

static enum status copy_base(struct target *t, struct error *err)
{
	struct source_job job = job_of(t);
	struct source_base *base = calloc(1, sizeof *base);
	if (base == NULL)
		abort();
	enum status st = source_base_inspect(&job, t->config.server_dir, base, err);
	if (st == ST_OK) {
		t->config.server_dir = base->server_dir;
		st = raise_sandbox(t, &base->origin, NULL, true, err);
	}
	t->config.server_dir = NULL;
	free(base);
	return st;
}

static json_t *settings_json(const struct target_config *c)
{
	json_t *list = json_array();
	for (const char *const *s = c->settings; s != NULL && *s != NULL; s++)
		json_array_append_new(list, json_text(*s));
	return list;
}

static int is_lua(const struct dirent *e)
{
	size_t n = strlen(e->d_name);
	return e->d_name[0] != '.' && (e->d_type != DT_REG || (n > 4 && strcmp(e->d_name + n - 4, ".lua") == 0));
}

/* A line of name and hash for each Lua file in dir, by name; of the folders in it too, when deep. */
static void add_lua_files(struct buf *out, const char *dir, bool deep)
{
	struct dirent **entries;
	int n = scandir(dir, &entries, is_lua, alphasort);
	for (int i = 0; i < n; i++) {
		char path[PATH_MAX], hash[SHA256_HEX_SIZE];
		bool fits = (size_t)snprintf(path, sizeof path, "%s/%s", dir, entries[i]->d_name) < sizeof path;
		if (fits && fs_is_dir(path) && deep)
			add_lua_files(out, path, true);
		else if (fits && !fs_is_dir(path) && sha256_file(path, hash, NULL) == ST_OK)
			buf_printf(out, "%s %s\n", entries[i]->d_name, hash);
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
}

/* Of everything that a workload may have taken data from besides its own file: our library, and the Lua files that lie beside it. */
static void hash_libraries(const char *workload_path, char out[SHA256_HEX_SIZE])
{
	struct buf files;
	buf_init(&files, (size_t)4 << 20);
	char dir[PATH_MAX + 16];
	snprintf(dir, sizeof dir, "%s/workloads/lib", script_home());
	add_lua_files(&files, dir, true);
	snprintf(dir, sizeof dir, "%s", workload_path);
	char *slash = strrchr(dir, '/');
	if (slash != NULL)
		*slash = '\0';
	add_lua_files(&files, slash == NULL ? "." : dir, false);
	sha256_hex(files.data, files.len, out);
	buf_free(&files);
}

json_t *target_about(const struct target *t)
{
	const struct target_config *c = &t->config;
	char hash[SHA256_HEX_SIZE] = "", libraries[SHA256_HEX_SIZE];
	json_t *about = json_pack("{s:O, s:o}", "target", t->facts, "settings", settings_json(c));
	if (c->source->kind == SOURCE_SANDBOX && sha256_file(c->workload_path, hash, NULL) == ST_OK) {
		hash_libraries(c->workload_path, libraries);
		json_object_set_new(about, "workload",
			json_pack("{s:o, s:s, s:s, s:s, s:f, s:I}", "path", json_text(c->workload_path), "sha256", hash, "libraries",
				libraries, "program", PGR_VERSION, "scale", c->scale, "seed", (json_int_t)c->seed));
	}
	return about;
}

static enum status use_snapshot(struct target *t, const char *name, struct error *err)
{
	json_t *about = NULL, *target;
	enum status st = snapshot_find(name, t->snapshot, sizeof t->snapshot, &about, err);
	t->lasting = true;
	if (st != ST_OK) {
		t->snapshot[0] = '\0';
		return st;
	}
	/* What is known of its making belongs to the record; how it is named now, too. */
	target = json_deep_copy(json_object_get(about, "target"));
	json_object_set_new(target, "snapshot", json_string(name));
	json_decref(t->facts);
	t->facts = target;
	const json_t *workload = json_object_get(about, "workload");
	t->config.scale = json_get_number(workload, "scale", t->config.scale);
	t->config.seed = (uint64_t)json_get_int(workload, "seed", (int64_t)t->config.seed);
	json_decref(about);
	say(t, "starting a server from the snapshot");
	t->fresh = true;
	return raise_sandbox(t, NULL, t->snapshot, false, err);
}

/* One that takes hours may be made in several goes. */
static enum status begin_snapshot(struct target *t, struct error *err)
{
	bool begun = false;
	json_t *about = target_about(t);
	enum status st = snapshot_begin(t->config.snapshot_dir, about, t->config.server_dir, t->part, sizeof t->part, &begun, err);
	json_decref(about);
	if (st != ST_OK)
		t->part[0] = '\0';
	if (begun)
		say(t, "going on from where it was cut off");
	return st;
}

/* A snapshot of the very data that would be generated saves the time. */
static enum status generate(struct target *t, struct error *err)
{
	char name[64] = "";
	json_t *about = target_about(t);
	enum status st = t->config.snapshot_dir != NULL ? ST_OK
							: snapshot_find_generated(about, t->config.server_dir, name, sizeof name, err);
	json_decref(about);
	if (st == ST_OK && name[0] != '\0')
		return use_snapshot(t, name, err);
	if (st == ST_OK && t->config.snapshot_dir != NULL)
		st = begin_snapshot(t, err);
	if (st == ST_OK)
		st = raise_sandbox(t, NULL, NULL, false, err);
	if (st == ST_OK)
		st = fill_sandbox(&(struct fill_config){.sandbox = t->sandbox,
					  .workload_path = t->config.workload_path,
					  .scale = t->config.scale,
					  .seed = t->config.seed,
					  .resumable = t->part[0] != '\0',
					  .stop = t->config.stop,
					  .progress = t->config.progress,
					  .arg = t->config.arg},
			err);
	/* A mistake is not to be gone on with. */
	if (st == ST_USAGE && t->part[0] != '\0')
		(void)!snapshot_end(t->config.snapshot_dir, NULL);
	return st;
}

static enum status make_sandbox(struct target *t, struct error *err)
{
	enum status st;
	switch (t->config.source->kind) {
	case SOURCE_DUMP:
		st = restore_dump(t, err);
		break;
	case SOURCE_BASE:
		st = copy_base(t, err);
		break;
	case SOURCE_SNAPSHOT:
		st = use_snapshot(t, t->config.source->text, err);
		break;
	default:
		st = generate(t, err);
	}
	if (st == ST_OK && t->config.snapshot && t->snapshot[0] == '\0')
		st = take_snapshot(t, err);
	return st;
}

/* What a run that was killed has left goes first. */
static enum status take_given(struct target *t, struct error *err)
{
	int dropped = 0;
	enum status st = guard_check_target(t->dsn, &t->config.policy, err);
	t->passed = st == ST_OK;
	if (st == ST_OK)
		st = guard_sweep_target(t->dsn, &dropped, err);
	if (dropped > 0)
		log_info("%d table%s in the schema pgrehearse, left by a run that was killed, %s gone", dropped, dropped == 1 ? "" : "s",
			dropped == 1 ? "is" : "are");
	return st;
}

/* Reads may go there, and whoever is asked for lag is a server like another. */
static enum status check_standbys(const struct target *t, struct error *err)
{
	enum status st = ST_OK;
	for (int i = 0; i < t->config.n_standby_dsns && st == ST_OK; i++)
		st = guard_check_standby(t->config.standby_dsns[i], t->dsn, &t->config.policy, err);
	return st;
}

static enum status name_standbys(struct target *t, struct error *err)
{
	enum status st = check_standbys(t, err);
	for (int i = 0; i < t->config.n_standby_dsns && st == ST_OK; i++) {
		st = source_name_standby(t->dsn, t->config.standby_dsns[i], i + 1, t->given[i], sizeof t->given[i], err);
		for (int j = 0; j < i && st == ST_OK; j++)
			if (strcmp(t->given[i], t->given[j]) == 0)
				snprintf(t->given[i], sizeof t->given[i], "standby%d", i + 1);
	}
	return st;
}

/* The template is what the guard is asked about; the copy is ours. */
static enum status copy_template(struct target *t, struct error *err)
{
	struct source_job job = job_of(t);
	enum status st = guard_check_target(t->config.source->text, &t->config.policy, err);
	if (st == ST_OK)
		st = source_template_make(&t->copy, t->config.source->text, &job, err);
	t->dsn = t->copy.dsn;
	return st;
}

static enum status call_up(struct target *t, struct error *err)
{
	say(t, "calling the command that makes a clone");
	enum status st = source_command_down(&t->command, err);
	t->command.up = t->config.source->text;
	t->command.down = t->config.source->down;
	if (st == ST_OK)
		st = source_command_up(&t->command, t->config.stop, err);
	t->dsn = t->command.dsn;
	return st == ST_OK ? take_given(t, err) : st;
}

static enum status check_pooler(struct target *t, struct error *err)
{
	if (t->config.pooler_dsn == NULL)
		return ST_OK;
	if (t->config.source->kind != SOURCE_DSN) {
		error_set(err, ST_USAGE, "--pooler goes with --target dsn:DSN: what else is made anew, no pooler leads to");
		return ST_USAGE;
	}
	enum status st = pooler_examine(t->config.pooler_dsn, t->dsn, &t->config.policy, &t->pooler, err);
	if (st == ST_OK)
		json_object_set_new(t->facts, "pooler",
			json_pack("{s:s, s:b}", "mode", t->pooler.transactions ? "transaction" : "session", "prepared",
				!t->pooler.transactions));
	return st;
}

/* What of the target may be told: a connection string or a command may hold a password. */
static json_t *describe_source(const struct source *s)
{
	bool path = s->kind == SOURCE_DUMP || s->kind == SOURCE_BASE || s->kind == SOURCE_SNAPSHOT;
	return json_pack("{s:s, s:o}", "kind", source_kind_name(s->kind), "source", path ? json_text(s->text) : json_null());
}

enum status target_prepare(const struct target_config *config, struct target **out, struct error *err)
{
	struct target *t = calloc(1, sizeof *t);
	if (t == NULL)
		abort();
	t->config = *config;
	t->facts = describe_source(config->source);
	enum status st;
	switch (config->source->kind) {
	case SOURCE_DSN:
		t->dsn = config->source->text;
		st = take_given(t, err);
		break;
	case SOURCE_TEMPLATE:
		st = copy_template(t, err);
		break;
	case SOURCE_COMMAND:
		st = call_up(t, err);
		break;
	default:
		st = make_sandbox(t, err);
	}
	if (st == ST_OK && t->sandbox == NULL)
		st = name_standbys(t, err);
	if (st == ST_OK)
		st = check_pooler(t, err);
	if (st != ST_OK) {
		bool kept = t->part[0] != '\0' && st != ST_USAGE;
		target_free(t);
		if (interrupted(config))
			st = error_set(err, ST_INTERRUPTED, "interrupted");
		if (kept)
			error_hint(
				err, "what is made so far stays: the same command goes on from there, pgrehearse snapshot drop removes it");
		return st;
	}
	*out = t;
	return ST_OK;
}

/* From the first drill on the pooler keeps sessions that it opened for our load, under its name. */
static void allow_pooled_clients(struct target *t)
{
	size_t n = 0;
	if (t->config.pooler_dsn == NULL || t->clients != NULL)
		return;
	while (t->config.policy.clients != NULL && t->config.policy.clients[n] != NULL)
		n++;
	t->clients = calloc(n + 2, sizeof *t->clients);
	if (t->clients == NULL)
		abort();
	for (size_t i = 0; i < n; i++)
		t->clients[i] = t->config.policy.clients[i];
	t->clients[n] = "pgrehearse load *";
	t->config.policy.clients = t->clients;
}

static enum status call_reset(struct target *t, struct error *err)
{
	char line[SOURCE_DSN_MAX];
	say(t, "calling the command that resets the target");
	enum status st = source_run_shell(t->config.reset_command, t->dsn, t->config.stop, line, sizeof line, err);
	/* Most commands chat; only what must be a connection string is one. */
	if (st == ST_OK &&
		(strncmp(line, "postgres://", 11) == 0 || strncmp(line, "postgresql://", 13) == 0 || strstr(line, "dbname=") != NULL)) {
		snprintf(t->reset_dsn, sizeof t->reset_dsn, "%s", line);
		t->dsn = t->reset_dsn;
	}
	return st == ST_OK ? take_given(t, err) : st;
}

static void note_reset(struct target *t, int64_t start)
{
	char took[32], text[96];
	int64_t reset_ns = clock_now_ns() - start;
	json_object_set_new(t->facts, "reset_ns", json_integer(reset_ns));
	snprintf(text, sizeof text, "the data were put back in %s", units_format_time(reset_ns, took, sizeof took));
	say(t, text);
}

/* Of what is no sandbox; first: nothing has been changed yet. */
static enum status renew(struct target *t, bool first, struct error *err)
{
	enum source_kind kind = t->config.source->kind;
	if (first && kind == SOURCE_TEMPLATE)
		return ST_OK;
	if (first) {
		enum status passed = guard_check_target(t->dsn, &t->config.policy, err);
		return passed == ST_OK ? check_standbys(t, err) : passed;
	}
	int64_t start = clock_now_ns();
	enum status st;
	allow_pooled_clients(t);
	if (kind == SOURCE_TEMPLATE) {
		st = copy_template(t, err);
	} else if (kind == SOURCE_COMMAND) {
		st = call_up(t, err);
	} else if (t->config.reset_command != NULL) {
		st = call_reset(t, err);
	} else {
		st = error_set(err, ST_USAGE, "this target cannot be put back to where it started, so it takes one drill a run");
		error_hint(err, "name one, --drill forward, or say with --reset-command how it is put back");
	}
	if (st == ST_OK)
		st = check_standbys(t, err);
	if (st == ST_OK)
		note_reset(t, start);
	return st;
}

static enum status put_back(struct target *t, int standbys, struct error *err)
{
	say(t, "putting the data back");
	int64_t start = clock_now_ns();
	enum status st = sandbox_reset(t->sandbox, t->snapshot, standbys, err);
	if (st == ST_OK)
		note_reset(t, start);
	return st;
}

/* What is warm when more data were asked for than fit into memory is told: figures of such a run are of a cache that is half cold. */
static void note_cache(struct target *t, struct page_cache_totals of)
{
	char all[32], text[160];
	double share = of.bytes > 0 ? (double)of.held / (double)of.bytes : 1;
	json_object_set_new(t->facts, "cache", json_string(t->config.cache));
	json_object_set_new(t->facts, "cache_held", json_real(share));
	snprintf(text, sizeof text, "%.0f %% of the primary's %s are in the kernel's cache", 100 * share,
		units_format_bytes((double)of.bytes, all, sizeof all));
	say(t, text);
}

/* Files of the primary: out of the kernel's cache, or into it. The servers' own buffers are empty, having just been started. */
static enum status set_cache(struct target *t, struct error *err)
{
	char dir[PATH_MAX];
	bool cold = strcmp(t->config.cache, "cold") == 0;
	struct page_cache_totals totals = {0};
	snprintf(dir, sizeof dir, "%.4000s/servers/primary", sandbox_dir(t->sandbox));
	say(t, cold ? "emptying the cache" : "warming the cache");
	/* Dirty pages cannot be dropped. */
	enum status st = source_execute(sandbox_dsn(t->sandbox), "CHECKPOINT", t->config.stop, err);
	if (st != ST_OK)
		return st;
	if (cold)
		sync();
	st = cold ? page_cache_drop(dir, err) : page_cache_fill(dir, err);
	if (st == ST_OK)
		st = page_cache_count(dir, &totals, err);
	if (st == ST_OK)
		note_cache(t, totals);
	return st;
}

/* Only now that there is somebody to wait for. */
static enum status make_synchronous(struct target *t, struct error *err)
{
	char sql[128];
	snprintf(sql, sizeof sql, "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (%s)'", sandbox_standby_name(t->sandbox, 0));
	enum status st = source_execute(sandbox_dsn(t->sandbox), sql, t->config.stop, err);
	return st == ST_OK ? source_execute(sandbox_dsn(t->sandbox), "SELECT pg_catalog.pg_reload_conf()", t->config.stop, err) : st;
}

static void note_logs(struct target *t)
{
	for (int i = 0; sandbox_server_log(t->sandbox, i) != NULL; i++)
		t->log_begins[i] = server_log_length(sandbox_server_log(t->sandbox, i));
}

void target_find_trouble(const struct target *t,
	void (*each)(const char *server, const char *trouble, const char *lines, size_t length, void *arg), void *arg)
{
	char trouble[256];
	for (int i = 0; t->sandbox != NULL && sandbox_server_log(t->sandbox, i) != NULL; i++) {
		struct buf lines;
		buf_init(&lines, 2 * SERVER_LOG_MAX);
		if (server_log_read(sandbox_server_log(t->sandbox, i), t->log_begins[i], &lines, trouble)[0] != '\0')
			each(sandbox_server_name(t->sandbox, i), trouble, lines.data, lines.len, arg);
		buf_free(&lines);
	}
}

enum status target_refresh(struct target *t, int standbys, struct error *err)
{
	int earlier = t->used++;
	if (t->sandbox == NULL)
		return renew(t, earlier == 0, err);
	enum status st = ST_OK;
	if (t->snapshot[0] != '\0' && !(t->fresh && earlier == 0))
		st = put_back(t, standbys < t->config.standbys ? standbys : t->config.standbys, err);
	if (st == ST_OK && t->config.cache != NULL)
		st = set_cache(t, err);
	if (st == ST_OK && t->config.synchronous && sandbox_standbys(t->sandbox) > 0)
		st = make_synchronous(t, err);
	note_logs(t);
	return st;
}

enum status target_fail_over(struct target *t, struct error *err)
{
	if (t->sandbox != NULL && sandbox_standbys(t->sandbox) > 0)
		return sandbox_fail_over(t->sandbox, 0, err);
	error_set(err, ST_USAGE, "there is no standby of ours to fail over to");
	error_hint(err, "the drill failover needs a sandbox with --standbys of 1 or more");
	return ST_USAGE;
}

void target_describe(struct target *t, struct rehearsal *r)
{
	r->scale = t->config.scale;
	r->seed = t->config.seed;
	r->stop = t->config.stop;
	r->target = t;
	r->target_facts = t->facts;
	r->record_values = t->config.record_values;
	if (t->sandbox == NULL) {
		r->dsn = t->dsn;
		r->pooler_dsn = t->config.pooler_dsn;
		r->pooler_transactions = t->pooler.transactions;
		r->standbys = t->config.n_standby_dsns;
		for (int i = 0; i < r->standbys; i++) {
			t->names[i] = t->given[i];
			t->dsns[i] = t->config.standby_dsns[i];
		}
		r->standby_names = t->names;
		r->standby_dsns = t->dsns;
		return;
	}
	r->dsn = sandbox_dsn(t->sandbox);
	r->sandbox = true;
	r->standbys = sandbox_standbys(t->sandbox);
	for (int i = 0; i < r->standbys; i++) {
		t->names[i] = sandbox_standby_name(t->sandbox, i);
		t->dsns[i] = sandbox_standby_dsn(t->sandbox, i);
	}
	r->standby_names = t->names;
	r->standby_dsns = t->dsns;
}

enum status target_keep(struct target *t, struct error *err)
{
	if (t->sandbox == NULL)
		return error_set(err, ST_USAGE, "the target is no sandbox of ours");
	enum status st = sandbox_keep(t->sandbox, err);
	t->config.keep = st == ST_OK;
	return st;
}

const struct sandbox *target_sandbox(const struct target *t)
{
	return t->sandbox;
}

const char *target_dsn(const struct target *t)
{
	return t->sandbox != NULL ? sandbox_dsn(t->sandbox) : t->dsn;
}

void target_free(struct target *t)
{
	if (t == NULL)
		return;
	struct error err;
	if (t->passed && t->config.source->kind == SOURCE_DSN && guard_sweep_target(t->dsn, NULL, &err) != ST_OK)
		log_warning("the schema pgrehearse may have been left behind on the target: %s", err.what);
	if (t->snapshot[0] != '\0' && !t->lasting && sandbox_remove_snapshot(t->snapshot, &err) != ST_OK)
		log_warning("the snapshot %s could not be removed: %s", t->snapshot, err.what);
	if (t->sandbox != NULL && t->config.keep)
		log_info("the sandbox %s is kept: pgrehearse sandbox psql %s, pgrehearse sandbox down %s", sandbox_name(t->sandbox),
			sandbox_name(t->sandbox), sandbox_name(t->sandbox));
	else if (t->sandbox != NULL && sandbox_down(t->sandbox, &err) != ST_OK)
		log_warning("the sandbox could not be removed: %s", err.what);
	sandbox_free(t->sandbox);
	if (source_template_drop(&t->copy, &err) != ST_OK)
		log_warning("the copy %s of the template is still there: %s", t->copy.name, err.what);
	if (source_command_down(&t->command, &err) != ST_OK)
		log_warning("the clone may still be there: %s", err.what);
	json_decref(t->facts);
	free(t->clients);
	free(t);
}
