/* Doctor: this machine, the scenario, and the guard. */
#define _GNU_SOURCE
#include "scenario/doctor.h"

#include "base/clock.h"
#include "base/fs.h"
#include "clone/registry.h"
#include "clone/server.h"
#include "scenario/doctor_private.h"
#include "scenario/replay_traffic.h"
#include "scenario/scenario.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define SPACE_NEEDED (INT64_C(512) << 20) /* what a sandbox asks for when it is made */
#define FILES_OF_OURS 128                 /* of the observer, the record, the scenario */
#define CLOCK_READS 10000
#define CLOCK_SLOW_NS 1000

const char *doctor_state_name(enum doctor_state state)
{
	static const char *const NAMES[] = {"ok", "note", "missing", "refused"};
	return NAMES[state];
}

void doctor_tell(struct doctor *d, enum doctor_state state, const char *what, const char *remedy, const char *found, ...)
{
	char text[1200];
	va_list args;
	va_start(args, found);
	vsnprintf(text, sizeof text, found, args);
	va_end(args);
	d->missing = d->missing || state == DOCTOR_MISSING;
	d->refused = d->refused || state == DOCTOR_REFUSED;
	const struct doctor_line line = {.state = state, .what = what, .found = text, .remedy = remedy != NULL ? remedy : ""};
	d->config->told(&line, d->config->arg);
}

static bool is_in_path(const char *program)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];
	for (const char *p = path != NULL ? path : ""; *p != '\0';) {
		size_t n = strcspn(p, ":");
		if ((size_t)snprintf(file, sizeof file, "%.*s/%s", (int)n, p, program) < sizeof file && n > 0 && access(file, X_OK) == 0)
			return true;
		p += n + (p[n] == ':');
	}
	return false;
}

const char *doctor_dsn(const struct doctor_config *config)
{
	enum source_kind kind = config->source->kind;
	return kind == SOURCE_DSN || kind == SOURCE_TEMPLATE ? config->source->text : NULL;
}

static bool makes_sandbox(const struct doctor_config *config)
{
	return doctor_dsn(config) == NULL && config->source->kind != SOURCE_COMMAND;
}

/* The programs of a server belong to a sandbox; of a target of the user's none are needed. */
static void check_tools(struct doctor *d)
{
	struct server_tools tools;
	struct error err;
	if (makes_sandbox(d->config)) {
		if (server_find_tools(d->config->server_dir, &tools, &err) == ST_OK)
			doctor_tell(d, DOCTOR_OK, "server programs", NULL, "PostgreSQL %d.%d in %.300s, run as %.60s",
				tools.version / 10000, tools.version % 10000, tools.dir, tools.user);
		else
			doctor_tell(d, DOCTOR_MISSING, "server programs", err.hint, "%s", err.what);
	}
	if (is_in_path("gnuplot"))
		doctor_tell(d, DOCTOR_OK, "gnuplot", NULL, "found");
	else
		doctor_tell(d, DOCTOR_NOTE, "gnuplot", "scripts/install-deps installs it", "not found: reports have tables and no plots");
	if (is_in_path("psql"))
		doctor_tell(d, DOCTOR_OK, "psql", NULL, "found");
	else
		doctor_tell(d, DOCTOR_NOTE, "psql", "scripts/install-deps installs it", "not found: steps that run it will fail");
}

static void check_space(struct doctor *d, const char *what, const char *dir, int64_t needed)
{
	struct error err;
	int64_t bytes = 0;
	if (fs_free_bytes(dir, &bytes, &err) != ST_OK)
		doctor_tell(d, DOCTOR_MISSING, what, "set TMPDIR to a folder that is there, or work in another one", "%s", err.what);
	else if (bytes < needed)
		doctor_tell(d, DOCTOR_MISSING, what, "free some space, or set TMPDIR to a folder on a larger disk",
			"%lld MB free at %.300s, at least %lld MB are needed", (long long)(bytes >> 20), dir, (long long)(needed >> 20));
	else if (access(dir, W_OK) != 0)
		doctor_tell(d, DOCTOR_MISSING, what, "work in another folder, or name one with --out", "%.300s may not be written to", dir);
	else
		doctor_tell(d, DOCTOR_OK, what, NULL, "%lld MB free at %.300s", (long long)(bytes >> 20), dir);
}

static void check_limits(struct doctor *d)
{
	struct rlimit files = {0};
	long long needed = FILES_OF_OURS + d->sessions;
	getrlimit(RLIMIT_NOFILE, &files);
	if (files.rlim_cur != RLIM_INFINITY && (long long)files.rlim_cur < needed)
		doctor_tell(d, DOCTOR_MISSING, "open files", "raise it: ulimit -n 4096", "this shell allows %lld, %lld are needed",
			(long long)files.rlim_cur, needed);
	else
		doctor_tell(d, DOCTOR_OK, "open files", NULL, "%lld are needed, and allowed", needed);
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	if (cores < 2)
		doctor_tell(d, DOCTOR_NOTE, "cores", "run it where there are two or more",
			"one: load, observer and a local server take it from each other");
	else
		doctor_tell(d, DOCTOR_OK, "cores", NULL, "%ld", cores);
}

/* What times are read from, twice and more a transaction: a clock that is a system call, or a slow device, is felt. */
static void check_clock(struct doctor *d)
{
	int64_t start = clock_now_ns(), now = start;
	for (int i = 0; i < CLOCK_READS; i++)
		now = clock_now_ns();
	long long cost_ns = (now - start) / CLOCK_READS;
	if (cost_ns > CLOCK_SLOW_NS)
		doctor_tell(d, DOCTOR_NOTE, "clock", "choose tsc or kvm-clock in /sys/devices/system/clocksource, if they are there",
			"reading it takes %lld ns, which is slow", cost_ns);
	else
		doctor_tell(d, DOCTOR_OK, "clock", NULL, "reading it takes %lld ns", cost_ns);
}

static void tell_rule(enum guard_rule rule, const struct error *err, const char *detail, void *arg)
{
	struct doctor *d = arg;
	char what[40];
	snprintf(what, sizeof what, "guard: %s", guard_rule_name(rule));
	if (rule == GUARD_REACHED)
		d->may_ask = err->status == ST_OK;
	else if (rule == GUARD_HOST || rule == GUARD_DENY)
		d->may_ask = d->may_ask && err->status == ST_OK;
	if (err->status == ST_OK)
		doctor_tell(d, DOCTOR_OK, what, NULL, "%s", detail);
	else
		doctor_tell(d, err->status == ST_REFUSED ? DOCTOR_REFUSED : DOCTOR_MISSING, what, err->hint, "%s", err->what);
}

static enum status read_trace(struct doctor *d, const struct player_config *player, struct error *err)
{
	int64_t most;
	if (player_count_sessions(player, &most, err) != ST_OK)
		return err->status;
	d->replays = true;
	d->sessions = most < INT_MAX / 2 ? (int)most : INT_MAX / 2;
	doctor_tell(d, DOCTOR_OK, "trace", NULL, "%.300s: %d session%s at a time", player->trace, d->sessions, d->sessions == 1 ? "" : "s");
	return ST_OK;
}

static enum status read_scenario(struct doctor *d, struct error *err)
{
	if (d->config->trace_path != NULL) {
		const struct player_config player = {.trace = d->config->trace_path};
		return read_trace(d, &player, err);
	}
	if (d->config->scenario_path == NULL)
		return ST_OK;
	struct scenario s;
	enum status st = scenario_read(d->config->scenario_path, &s, err);
	if (st != ST_OK)
		return st;
	const char *steps = s.steps == 1 ? "" : "s";
	if (s.replay != NULL) {
		doctor_tell(d, DOCTOR_OK, "scenario", NULL, "%.200s: %d step%s under a trace", s.title, s.steps, steps);
		st = read_trace(d, &s.replay->player, err);
	} else {
		d->sessions = s.pods * s.pool;
		doctor_tell(d, DOCTOR_OK, "scenario", NULL, "%.200s: %d step%s, %d pod%s of %d session%s", s.title, s.steps, steps, s.pods,
			s.pods == 1 ? "" : "s", s.pool, s.pool == 1 ? "" : "s");
	}
	scenario_free(&s);
	return st;
}

enum status doctor_examine(const struct doctor_config *config, struct error *err)
{
	struct doctor d = {.config = config};
	*err = (struct error){.status = ST_OK};
	enum status st = read_scenario(&d, err);
	if (st != ST_OK)
		return st;
	check_tools(&d);
	if (makes_sandbox(config))
		check_space(&d, "space for a sandbox", registry_parent(), SPACE_NEEDED);
	check_space(&d, "space for records", ".", SPACE_NEEDED / 8);
	check_limits(&d);
	check_clock(&d);
	struct error first;
	const char *dsn = doctor_dsn(config);
	doctor_check_source(&d);
	if (dsn != NULL)
		(void)!guard_examine_target(dsn, &config->policy, tell_rule, &d, &first);
	if (d.may_ask)
		doctor_ask_server(&d, dsn);
	return d.refused ? ST_REFUSED : d.missing ? ST_USAGE : ST_OK;
}
