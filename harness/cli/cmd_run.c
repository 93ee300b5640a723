/* pgrehearse run: a scenario's drills, each on a fresh target, each judged; ends with the verdicts and where the records are. */
#define _GNU_SOURCE
#include "base/json.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "cli/policy.h"
#include "cli/progress.h"
#include "cli/report.h"
#include "cli/signals.h"
#include "cli/target_options.h"
#include "judge/criterion.h"
#include "judge/judge.h"
#include "load/rate.h"
#include "record/reader.h"
#include "record/record.h"
#include "scenario/conductor.h"
#include "scenario/scenario.h"
#include "scenario/target.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DRILLS_MAX 32
static const char HELP[] = "usage: pgrehearse run SCENARIO.lua [--drill NAME[,NAME...]] [OPTION]...\n\n"
			   "Performs the scenario's migration under load, watched, once a drill, each on a fresh copy of one\n"
			   "generated data set in a sandbox of its own, and judges it. Without --drill: forward, then rollback.\n\n"
			   "  --drill NAMES         a list, or all. forward: every step; rollback: and the way back; rollback-each:\n"
			   "                        from behind each step; crash: sessions are killed inside each step; failover,\n"
			   "                        failover-sync: the primary is stopped; versions: each app version against each\n"
			   "                        schema; blocked: a reader, writer, dump, vacuum, prepared transaction in the way\n"
			   "  --scale N             size of the data (default: the scenario's, or 1)\n"
			   "  --rate R              arrivals a second instead of the scenario's: 400, \"ramp(100, 2000, 60s)\"\n"
			   "  --seed N              of data and traffic (default 1): the same seed asks the same questions\n"
			   "  --set NAME=VALUE      a setting of the scenario; repeatable\n"
			   "  --require CRITERION   a further criterion; repeatable\n"
			   "  --brief               a first try: hardly any pauses, short phases, little traffic, 200 ms for a lock\n"
			   "  --no-availability     do not try every few milliseconds whether tables can be read and written\n"
			   "  --target WHAT         your data instead of generated ones: dump:PATH, base:PATH, the connection string\n"
			   "                        of a marked clone, ... (--help-all); --scale then says how much there is\n"
			   "  --out DIR             the records go there, one folder a drill (default rehearsals/TIME-SCENARIO)\n"
			   "  --keep                the sandbox stays afterwards, as the last drill left it\n\n"
			   "Exit code: 0 pass, 1 a criterion failed, 3 inconclusive or invalid, 4 refused, 5 not carried out.\n\n"
			   "Example: pgrehearse run scenarios/user_status.lua --drill forward --scale 0.1\n";

struct run_options {
	const char *scenario;
	const char *drills[DRILLS_MAX];
	int n_drills;
	double scale;
	const char *rate;
	int64_t seed;
	const char *out;
	struct target_options target;
	bool keep, help, help_all, no_availability, brief;
	bool reads_standby; /* the scenario's read-only transactions do */
	VEC(const char *) settings;
	VEC(const char *) requires;
	struct policy allowed; /* what the guard lets pass */
};

static enum status refuse_drill(const char *name, struct error *err)
{
	char known[400] = "";
	size_t n = 0;
	for (const char *const *d = drill_names(); *d != NULL && n < sizeof known; d++)
		n += (size_t)snprintf(known + n, sizeof known - n, "%s%s", n > 0 ? ", " : "", *d);
	error_set(err, ST_USAGE, "--drill %s: there is no such drill", name);
	error_hint(err, "the drills are %s; blocked stands for its five, all for all of them", known);
	return ST_USAGE;
}

static bool is_among(const struct run_options *o, const char *drill)
{
	bool found = false;
	for (int i = 0; i < o->n_drills; i++)
		found = found || strcmp(o->drills[i], drill) == 0;
	return found;
}

/* One name of the list; "all" and the beginning of several stand for all of those. */
static enum status add_drill(struct run_options *o, const char *name, struct error *err)
{
	size_t length = strlen(name);
	int found = 0;
	bool group = strcmp(name, "all") == 0 || strcmp(name, "blocked") == 0;
	for (const char *const *d = drill_names(); *d != NULL; d++) {
		if (strcmp(name, "all") != 0 && strcmp(*d, name) != 0 && !(group && strncmp(*d, name, length) == 0 && (*d)[length] == '-'))
			continue;
		found++;
		if (is_among(o, *d) && !group)
			return error_set(err, ST_USAGE, "--drill %s is given twice", name);
		if (!is_among(o, *d))
			o->drills[o->n_drills++] = *d;
	}
	return found > 0 ? ST_OK : refuse_drill(name, err);
}

static enum status add_drills(struct run_options *o, const char *list, struct error *err)
{
	enum status st = ST_OK;
	for (const char *at = list; st == ST_OK; at++) {
		char name[64];
		size_t n = strcspn(at, ",");
		snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), at);
		st = add_drill(o, name, err);
		at += n;
		if (*at == '\0')
			break;
	}
	return st;
}

static enum status read_options(int argc, char **argv, struct run_options *o, int *bad_option, struct error *err)
{
	static const struct option OPTIONS[] = {
		{"drill", required_argument, NULL, 'd'},
		{"scale", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'a'},
		{"seed", required_argument, NULL, 'e'},
		{"set", required_argument, NULL, 'S'},
		{"require", required_argument, NULL, 'r'},
		TARGET_OPTIONS,
		{"out", required_argument, NULL, 'o'},
		{"brief", no_argument, NULL, 'b'},
		{"keep", no_argument, NULL, 'k'},
		{"no-availability", no_argument, NULL, 'v'},
		{"help", no_argument, NULL, 'h'},
		POLICY_OPTIONS,
		{"help-all", no_argument, NULL, 'H'},
		{NULL, 0, NULL, 0},
	};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 'd':
			st = add_drills(o, optarg, err);
			break;
		case 's':
			st = units_parse_number("--scale", optarg, 0.0001, 100000, &o->scale, err);
			break;
		case 'a':
			o->rate = optarg;
			st = rate_parse(optarg, &(struct rate_program){0}, err);
			break;
		case 'e':
			st = units_parse_int("--seed", optarg, 0, INT64_MAX, &o->seed, err);
			break;
		case 'S':
			VEC_PUSH(&o->settings, optarg);
			break;
		case 'r':
			VEC_PUSH(&o->requires, optarg);
			break;
		case 'o':
			o->out = optarg;
			break;
		case 'b':
			o->brief = true;
			break;
		case 'k':
			o->keep = true;
			break;
		case 'v':
			o->no_availability = true;
			break;
		case 'H':
			o->help_all = true;
			/* fall through */
		case 'h':
			o->help = true;
			return ST_OK;
		default:
			if (policy_take(&o->allowed, c, optarg) || target_option(&o->target, c, optarg, &st, err))
				break;
			*bad_option = c;
			return ST_USAGE;
		}
	}
	if (st == ST_OK && optind + 1 != argc) {
		st = error_set(
			err, ST_USAGE, optind == argc ? "run: which scenario?" : "run: one scenario at a time, not %s too", argv[argc - 1]);
		error_hint(err, "pgrehearse run scenarios/user_status.lua");
	}
	o->scenario = optind < argc ? argv[optind] : NULL;
	if (o->brief)
		VEC_PUSH(&o->settings, o->scale > 1 ? "brief=large" : "brief=true");
	VEC_PUSH(&o->settings, NULL);
	VEC_PUSH(&o->requires, NULL);
	return st;
}

/* All criteria are read before anything is started. */
static enum status check_criteria(const char *const *criteria, const char *where, struct error *err)
{
	struct criterion c;
	for (; *criteria != NULL; criteria++)
		if (criterion_parse(*criteria, &c, err) != ST_OK) {
			error_where(err, "%s", where);
			return err->status;
		}
	return ST_OK;
}

static enum status check_drill_criteria(const struct run_options *o, const struct scenario *scenario, struct error *err)
{
	enum status st = check_criteria(o->requires.at, "--require", err);
	for (int i = 0; i < o->n_drills && st == ST_OK; i++) {
		const char **criteria = NULL;
		st = scenario_criteria(scenario, o->drills[i], &criteria, err);
		if (st == ST_OK)
			st = check_criteria(criteria, o->scenario, err);
		free(criteria);
	}
	return st;
}

/* A crash has to arrive where forward did, in the same rehearsal. */
static void add_forward(struct run_options *o)
{
	if (!target_can_reset(&o->target) || !is_among(o, "crash"))
		return;
	int at = 0;
	while (at < o->n_drills && strcmp(o->drills[at], "forward") != 0)
		at++;
	if (at == o->n_drills)
		o->n_drills++;
	for (; at > 0; at--)
		o->drills[at] = o->drills[at - 1];
	o->drills[0] = "forward";
}

/* Others have no use for one beyond what it costs. */
static bool needs_standby(const char *drill)
{
	return strcmp(drill, "forward") == 0 || strcmp(drill, "rollback") == 0 || strncmp(drill, "failover", strlen("failover")) == 0;
}

/* What drills leave for those after them. */
struct states {
	json_t *start;   /* that each of them starts from */
	json_t *forward; /* that forward arrived at */
};

static enum status perform_drill(const struct run_options *o, struct target *target, const char *out, const char *drill,
	struct states *states, struct progress *progress, enum verdict *verdict, struct error *err)
{
	char dir[PATH_MAX];
	snprintf(dir, sizeof dir, "%s/%s", out, drill);
	enum status st = target_refresh(target, !o->brief || needs_standby(drill) || o->reads_standby ? o->target.standbys : 0, err);
	if (st != ST_OK)
		return st;
	struct rehearsal r = {
		.scenario_path = o->scenario,
		.drill = drill,
		.out_dir = dir,
		.criteria = o->requires.at,
		.rate = o->rate,
		.no_availability = o->no_availability,
		.keep_state = strcmp(drill, "forward") == 0 && is_among(o, "crash") ? &states->forward : NULL,
		.reference = strcmp(drill, "crash") == 0 ? states->forward : NULL,
		.start = &states->start,
		.progress = progress_run,
		.arg = progress,
	};
	target_describe(target, &r);
	st = conductor_perform(&r, err);
	progress_end(progress);
	if (st != ST_OK)
		return st;
	return judge_record(dir, NULL, 0, verdict, err);
}

/* One entry a drill: what a script wants to know of a rehearsal without reading its records. */
static json_t *summary_json(const char *out, const char *drill)
{
	struct record_reader *reader;
	struct error ignored;
	char dir[PATH_MAX];
	snprintf(dir, sizeof dir, "%s/%s", out, drill);
	if (record_open(dir, &reader, &ignored) != ST_OK)
		return json_pack("{s:s, s:n, s:n}", "drill", drill, "record", "verdict");
	const json_t *run = reader_run(reader), *verdict = json_object_get(run, "verdict");
	json_t *broken = json_array(), *c;
	size_t i;
	json_array_foreach(json_object_get(verdict, "criteria"), i, c)
	{
		const char *word = json_get_string(c, "verdict", "");
		if (strcmp(word, "PASS") != 0 && strcmp(word, "SKIPPED") != 0)
			json_array_append(broken, c);
	}
	json_t *one = json_pack("{s:s, s:s, s:s, s:O?, s:I, s:O?, s:o}", "drill", drill, "record", drill, "status",
		json_get_string(run, "status", "?"), "verdict", json_object_get(verdict, "verdict"), "duration_ns",
		(json_int_t)json_get_int(run, "duration_ns", 0), "error", json_object_get(run, "error"), "broken", broken);
	record_reader_free(reader);
	return one;
}

static enum status write_summary(const struct run_options *o, const char *out, int exit_code, struct error *err)
{
	char path[PATH_MAX];
	json_t *drills = json_array();
	for (int i = 0; i < o->n_drills; i++)
		json_array_append_new(drills, summary_json(out, o->drills[i]));
	json_t *summary = json_pack(
		"{s:i, s:o, s:i, s:o}", "format", 1, "scenario", json_text(o->scenario), "exit_code", exit_code, "drills", drills);
	snprintf(path, sizeof path, "%s/summary.json", out);
	enum status st = json_write_file(path, summary, err);
	json_decref(summary);
	snprintf(path, sizeof path, "%s/summary.md", out);
	struct report_spec page = {.dir = out, .format = "markdown", .out = path, .stream = stdout};
	return st == ST_OK ? report_write(&page, err) : st;
}

/* The verdict tables, and the page for people. */
static enum status report_all(const char *out, bool brief, struct error *err)
{
	char path[PATH_MAX];
	struct report_spec page = {.dir = out, .format = "html"};
	struct report_spec tables = {.dir = out, .format = "text", .out = "-", .stream = stdout};
	enum status st = brief ? ST_OK : report_write(&page, err);
	if (st == ST_OK)
		st = report_write(&tables, err);
	if (st == ST_OK && !brief)
		printf("\nThe report: %s\n", report_path(out, "html", path, sizeof path));
	return st;
}

/* A drill that could not be carried out does not keep the others from it; the exit code tells of it. */
static int perform_all(const struct run_options *o, struct target *target, const char *out, struct progress *progress)
{
	enum verdict worst = VERDICT_PASS;
	struct error err;
	struct states states = {0};
	int code = 0;
	bool ended = false;
	for (int i = 0; i < o->n_drills && !ended; i++) {
		enum verdict verdict = VERDICT_INVALID;
		enum status st = perform_drill(o, target, out, o->drills[i], &states, progress, &verdict, &err);
		if (st != ST_OK)
			code = command_fail(&err);
		ended = st != ST_OK && (st != ST_FAILED || o->n_drills == 1);
		if (verdict > worst)
			worst = verdict;
	}
	json_decref(states.start);
	json_decref(states.forward);
	if (ended)
		return code;
	code = code != 0 ? code : verdict_exit_code(worst);
	command_link_latest(out);
	if (write_summary(o, out, code, &err) != ST_OK || report_all(out, o->brief, &err) != ST_OK)
		return command_fail(&err);
	return code;
}

static enum status check_out(const struct run_options *o, struct error *err)
{
	char dir[PATH_MAX];
	enum status st = ST_OK;
	for (int i = 0; st == ST_OK && o->out != NULL && i < o->n_drills; i++) {
		snprintf(dir, sizeof dir, "%s/%s", o->out, o->drills[i]);
		st = record_check_dir(dir, err);
	}
	return st;
}

static int rehearse(struct run_options *o)
{
	struct error err;
	struct scenario scenario;
	enum status st = scenario_set_settings(o->settings.at, &err);
	if (st != ST_OK || (st = scenario_read(o->scenario, &scenario, &err)) != ST_OK)
		return command_fail(&err);
	o->reads_standby = scenario.read_from != NULL;
	char out[PATH_MAX - 64];
	struct target *target = NULL;
	struct progress progress;
	progress_init(&progress);
	if (o->n_drills == 0) {
		o->drills[o->n_drills++] = "forward";
		if (target_can_reset(&o->target))
			o->drills[o->n_drills++] = "rollback";
	} else if (!target_can_reset(&o->target) && o->n_drills > 1) {
		st = error_set(&err, ST_USAGE,
			"--target: a database that is not ours cannot be put back to where it started, so it takes one drill a run");
		error_hint(&err, "--drill forward, or --drill rollback");
	}
	add_forward(o);
	if (st == ST_OK)
		st = check_out(o, &err);
	if (st == ST_OK && scenario.traced && o->target.source.kind == SOURCE_SANDBOX) {
		st = error_set(&err, ST_USAGE, "the workload of %s is a trace, which has no data of its own", o->scenario);
		error_hint(&err,
			"--target: a dump, base backup or clone of when the capture began; or workload = \"shop\", load = { trace = ... }");
	}
	if (st == ST_OK)
		st = check_drill_criteria(o, &scenario, &err);
	struct target_config config = {
		.policy = policy_close(&o->allowed),
		.workload_path = scenario.workload_path,
		.scale = o->scale > 0        ? o->scale
			: scenario.scale > 0 ? scenario.scale
					     : 1,
		.seed = (uint64_t)o->seed,
		.keep = o->keep,
		.snapshot = o->n_drills > 1,
		.stop = signals_watch(),
		.progress = progress_prepare,
		.arg = &progress,
	};
	target_options_apply(&o->target, &config);
	if (st == ST_OK) {
		printf("%s\n", scenario.title);
		fflush(stdout);
		st = target_prepare(&config, &target, &err);
	}
	if (st == ST_OK && o->out != NULL)
		snprintf(out, sizeof out, "%s", o->out);
	else if (st == ST_OK)
		st = command_name_out(scenario.name, out, sizeof out, &err);
	progress_end(&progress);
	int code = st == ST_OK ? perform_all(o, target, out, &progress) : command_fail(&err);
	target_free(target);
	scenario_free(&scenario);
	return code;
}

int cmd_run(int argc, char **argv)
{
	struct run_options o = {.seed = 1, .target = TARGET_OPTIONS_DEFAULT};
	struct error err;
	int bad_option = 0;
	int code;
	enum status st = read_options(argc, argv, &o, &bad_option, &err);
	if (bad_option != 0)
		code = command_bad_option("run", bad_option, optopt, argv[optind - 1]);
	else if (st != ST_OK)
		code = command_fail(&err);
	else if (o.help)
		code = fputs(HELP, stdout) < 0 || (o.help_all && fputs(TARGET_HELP, stdout) < 0) ? ST_FAILED : ST_OK;
	else
		code = rehearse(&o);
	VEC_FREE(&o.settings);
	VEC_FREE(&o.requires);
	policy_free(&o.allowed);
	target_options_free(&o.target);
	return code;
}
