/* pgrehearse sandbox up|down|list|psql|sweep: servers to try things on, kept until they are taken down. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/error.h"
#include "base/units.h"
#include "base/vec.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "clone/registry.h"
#include "clone/sandbox.h"
#include "scenario/target.h"

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int print_help(void)
{
	fputs("usage: pgrehearse sandbox up [NAME] [--from WHAT] [--standbys N] [--server DIR]\n"
	      "                             [--standby-delay TIME] [--setting NAME=VALUE]... [--foreground]\n"
	      "       pgrehearse sandbox list\n"
	      "       pgrehearse sandbox psql [NAME] [-- PSQL-ARGUMENT...]\n"
	      "       pgrehearse sandbox down NAME...|--all\n"
	      "       pgrehearse sandbox sweep\n\n"
	      "A sandbox is a PostgreSQL primary with its streaming standbys in a temporary folder, reached by unix\n"
	      "sockets only. `up` makes one that stays until `down`; a rehearsal makes and removes its own,\n"
	      "and each start sweeps what a killed one left; `sweep` does only that.\n\n"
	      "  --from WHAT           with data: dump:PATH, base:PATH or snapshot:NAME, as --target of a rehearsal takes\n"
	      "                        them; --database NAME chooses one of several\n"
	      "  --standbys N          0 to 8 standbys (default 1)\n"
	      "  --standby-delay TIME  what the primary sends reaches them so much later, for example 50ms\n"
	      "  --server DIR          the folder of initdb, pg_ctl, postgres (default: $PGREHEARSE_SERVER, or the newest installed)\n"
	      "  --setting NAME=VALUE  a server setting, for example work_mem=64MB\n"
	      "  --foreground          stay here; the sandbox goes when this command ends, however it ends\n"
	      "  --all                 with down: every sandbox that no running process uses\n\n"
	      "The data lies below $TMPDIR, or /tmp; set TMPDIR to choose another disk.\n\n"
	      "Example: pgrehearse sandbox up trial && pgrehearse sandbox psql trial -- -c 'SELECT version()'\n",
		stdout);
	return ST_OK;
}

static int bad_usage(const char *what, const char *word, const char *hint)
{
	struct error err;
	error_set(&err, ST_USAGE, "sandbox: %s%s%s%s", what, word[0] != '\0' ? " \"" : "", word, word[0] != '\0' ? "\"" : "");
	error_hint(&err, "%s", hint);
	return command_fail(&err);
}

static volatile sig_atomic_t interrupted;

static void note_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

static void print_made(const struct sandbox *sb, bool keep, int64_t took_ns)
{
	char took[32];
	int version = sandbox_server_version(sb);
	int standbys = sandbox_standbys(sb);
	printf("The sandbox %s is up: PostgreSQL %d.%d with %d standby%s, made in %s.\n\n", sandbox_name(sb), version / 10000,
		version % 10000, standbys, standbys == 1 ? "" : "s", units_format_time(took_ns, took, sizeof took));
	printf("  primary   %s\n", sandbox_dsn(sb));
	for (int i = 0; i < standbys; i++)
		printf("  %-8s  %s\n", sandbox_standby_name(sb, i), sandbox_standby_dsn(sb, i));
	printf("  folder    %s\n\n", sandbox_dir(sb));
	if (!keep)
		printf("Reach it:  pgrehearse sandbox psql %s\nRemove it: Ctrl-C\n", sandbox_name(sb));
	else
		printf("Reach it:  pgrehearse sandbox psql %s\nRemove it: pgrehearse sandbox down %s\n", sandbox_name(sb),
			sandbox_name(sb));
	fflush(stdout);
}

struct up_options {
	struct target_config config;
	struct source source; /* of --from */
	bool from, keep;
	VEC(const char *) settings;
};

/* An option's letter, or 0. */
static enum status read_up_options(int argc, char **argv, struct up_options *o, int *other, struct error *err)
{
	enum { STANDBYS = 1, DELAY, SERVER, SETTING, FOREGROUND, FROM, DATABASE, HELP_OPTION };
	static const struct option OPTIONS[] = {{"standbys", required_argument, NULL, STANDBYS},
		{"standby-delay", required_argument, NULL, DELAY}, {"server", required_argument, NULL, SERVER},
		{"setting", required_argument, NULL, SETTING}, {"foreground", no_argument, NULL, FOREGROUND},
		{"from", required_argument, NULL, FROM}, {"database", required_argument, NULL, DATABASE},
		{"help", no_argument, NULL, HELP_OPTION}, {0}};
	enum status st = ST_OK;
	opterr = 0;
	for (int c; st == ST_OK && (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		int64_t n = 0;
		switch (c) {
		case STANDBYS:
			st = units_parse_int("--standbys", optarg, 0, SANDBOX_STANDBYS_MAX, &n, err);
			o->config.standbys = (int)n;
			break;
		case DELAY:
			if ((st = units_parse_time(optarg, &o->config.standby_delay_ns, err)) != ST_OK)
				error_where(err, "--standby-delay");
			break;
		case SERVER:
			o->config.server_dir = optarg;
			break;
		case SETTING:
			VEC_PUSH(&o->settings, optarg);
			break;
		case FOREGROUND:
			o->keep = false;
			break;
		case FROM:
			source_free(&o->source);
			o->from = true;
			st = source_parse(optarg, &o->source, err);
			break;
		case DATABASE:
			o->config.database = optarg;
			break;
		default:
			*other = c == HELP_OPTION ? 'h' : c;
			return ST_OK;
		}
	}
	enum source_kind kind = o->source.kind;
	if (st == ST_OK && argc - optind > 1)
		st = error_set(err, ST_USAGE, "sandbox: up takes one name, not \"%s\" as well", argv[optind + 1]);
	else if (st == ST_OK && o->from && kind != SOURCE_DUMP && kind != SOURCE_BASE && kind != SOURCE_SNAPSHOT)
		st = error_set(err, ST_USAGE, "sandbox: --from takes dump:PATH, base:PATH or snapshot:NAME");
	o->config.name = argc > optind ? argv[optind] : NULL;
	VEC_PUSH(&o->settings, NULL);
	o->config.settings = o->settings.at;
	return st;
}

/* Until somebody ends us. */
static void stay(void)
{
	while (!interrupted)
		poll(NULL, 0, 100);
}

/* With data of the user's. */
static enum status up_with_data(struct up_options *o, struct error *err)
{
	struct progress progress;
	struct target *target = NULL;
	progress_init(&progress);
	o->config.source = &o->source;
	o->config.progress = progress_prepare;
	o->config.arg = &progress;
	int64_t start = clock_now_ns();
	enum status st = target_prepare(&o->config, &target, err);
	progress_end(&progress);
	/* Not before it is complete. */
	if (st == ST_OK && o->keep)
		st = target_keep(target, err);
	if (st == ST_OK)
		print_made(target_sandbox(target), o->keep, clock_now_ns() - start);
	if (st == ST_OK && !o->keep)
		stay();
	target_free(target);
	return st;
}

static enum status up_empty(struct up_options *o, struct error *err)
{
	const struct target_config *c = &o->config;
	struct sandbox_config config = {.name = c->name,
		.standbys = c->standbys,
		.server_dir = c->server_dir,
		.settings = c->settings,
		.standby_delay_ns = c->standby_delay_ns,
		.keep = o->keep,
		.stop = c->stop};
	struct sandbox *sb = NULL;
	int64_t start = clock_now_ns();
	enum status st = sandbox_up(&config, &sb, err);
	if (st == ST_OK)
		print_made(sb, o->keep, clock_now_ns() - start);
	if (st == ST_OK && !o->keep) {
		stay();
		st = sandbox_down(sb, err);
	}
	sandbox_free(sb);
	return st;
}

static int sandbox_cmd_up(int argc, char **argv)
{
	struct up_options o = {.config = {.standbys = 1, .stop = &interrupted}, .keep = true};
	struct error err;
	int other = 0, code = ST_OK;
	enum status st = read_up_options(argc, argv, &o, &other, &err);
	struct sigaction act = {.sa_handler = note_signal};
	sigaction(SIGINT, &act, NULL);
	sigaction(SIGTERM, &act, NULL);
	if (other == 'h')
		code = print_help();
	else if (other != 0)
		code = command_bad_option("sandbox", other, optopt, argv[optind - 1]);
	else if (st != ST_OK || (o.from ? up_with_data(&o, &err) : up_empty(&o, &err)) != ST_OK)
		code = command_fail(&err);
	VEC_FREE(&o.settings);
	source_free(&o.source);
	return code;
}

static const char *state_of(const struct sandbox_info *info)
{
	if (!info->ready)
		return info->owner_alive ? "being made" : "left behind";
	if (!info->keep)
		return info->owner_alive ? "in use" : "left behind";
	return info->running ? "kept" : "kept, stopped";
}

static int sandbox_cmd_list(void)
{
	struct sandbox_list list;
	struct error err;
	if (sandbox_list(&list, &err) != ST_OK)
		return command_fail(&err);
	if (list.n == 0)
		printf("There is no sandbox. pgrehearse sandbox up makes one.\n");
	else
		printf("%-24s %-13s %-10s %8s  %-20s  %s\n", "name", "state", "PostgreSQL", "standbys", "made (UTC)", "connection string");
	for (size_t i = 0; i < list.n; i++) {
		const struct sandbox_info *s = &list.at[i];
		char version[32];
		snprintf(version, sizeof version, "%d.%d", s->server_version / 10000, s->server_version % 10000);
		printf("%-24s %-13s %-10s %8d  %.10s %.8s   %s\n", s->name, state_of(s), version, s->standbys, s->created,
			strlen(s->created) > 11 ? s->created + 11 : "", s->dsn);
	}
	sandbox_list_free(&list);
	return ST_OK;
}

/* The one that is meant when no name is given: there must be just one. */
static enum status choose(const char *name, struct sandbox_info *info, struct error *err)
{
	if (name != NULL)
		return sandbox_find(name, info, err);
	struct sandbox_list list;
	enum status st = sandbox_list(&list, err);
	if (st != ST_OK)
		return st;
	if (list.n == 1) {
		*info = list.at[0];
	} else if (list.n == 0) {
		st = error_set(err, ST_USAGE, "there is no sandbox");
		error_hint(err, "pgrehearse sandbox up makes one");
	} else {
		st = error_set(err, ST_USAGE, "there are %zu sandboxes: say which", list.n);
		error_hint(err, "pgrehearse sandbox list shows them");
	}
	sandbox_list_free(&list);
	return st;
}

static int sandbox_cmd_psql(int argc, char **argv)
{
	int at = 1;
	const char *name = at < argc && argv[at][0] != '-' ? argv[at++] : NULL;
	if (at < argc && (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0))
		return print_help();
	if (at < argc && strcmp(argv[at], "--") == 0)
		at++;
	struct sandbox_info info;
	struct error err;
	if (choose(name, &info, &err) != ST_OK)
		return command_fail(&err);
	char program[sizeof info.server_dir + 8];
	snprintf(program, sizeof program, "%s/psql", info.server_dir);
	VEC(char *) words = {0};
	VEC_PUSH(&words, access(program, X_OK) == 0 ? program : (char[]){"psql"});
	VEC_PUSH(&words, (char[]){"--dbname"});
	VEC_PUSH(&words, info.dsn);
	for (; at < argc; at++)
		VEC_PUSH(&words, argv[at]);
	VEC_PUSH(&words, NULL);
	unsetenv("PGHOSTADDR");
	unsetenv("PGSERVICE");
	execvp(words.at[0], words.at);
	error_errno(&err, ST_FAILED, "cannot start %s", words.at[0]);
	error_hint(&err, "scripts/install-deps installs psql on Debian");
	VEC_FREE(&words);
	return command_fail(&err);
}

static int remove_all(void)
{
	struct sandbox_list list;
	struct error err;
	if (sandbox_list(&list, &err) != ST_OK)
		return command_fail(&err);
	int code = ST_OK;
	for (size_t i = 0; i < list.n; i++) {
		const struct sandbox_info *s = &list.at[i];
		if (s->owner_alive && !(s->keep && s->ready))
			printf("%s is in use by process %lld and stays.\n", s->name, (long long)s->owner_pid);
		else if (sandbox_remove(s->name, &err) == ST_OK)
			printf("The sandbox %s is gone.\n", s->name);
		else
			code = command_fail(&err);
	}
	if (list.n == 0)
		printf("There is no sandbox.\n");
	sandbox_list_free(&list);
	return code;
}

static int sandbox_cmd_down(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--all") == 0)
		return remove_all();
	if (argc < 2)
		return bad_usage("down needs the name of a sandbox, or --all", "", "pgrehearse sandbox list shows them");
	for (int i = 1; i < argc; i++)
		if (argv[i][0] == '-')
			return bad_usage("down does not know", argv[i], "it takes names, or --all alone");
	int code = ST_OK;
	for (int i = 1; i < argc; i++) {
		struct error err;
		if (sandbox_remove(argv[i], &err) == ST_OK)
			printf("The sandbox %s is gone.\n", argv[i]);
		else
			code = command_fail(&err);
	}
	return code;
}

static int sandbox_cmd_sweep(void)
{
	struct error err;
	int removed = 0;
	if (sandbox_sweep(&removed, &err) != ST_OK)
		return command_fail(&err);
	if (removed == 0)
		printf("Nothing was left behind.\n");
	else
		printf("%d sandbox%s that a killed run left %s gone.\n", removed, removed == 1 ? "" : "es", removed == 1 ? "is" : "are");
	return ST_OK;
}

int cmd_sandbox(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";
	for (int i = 1; i < argc && strcmp(verb, "psql") != 0; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return print_help();
	if (strcmp(verb, "up") == 0)
		return sandbox_cmd_up(argc - 1, argv + 1);
	if (strcmp(verb, "list") == 0)
		return argc == 2 ? sandbox_cmd_list()
				 : bad_usage("list takes nothing more, not", argv[2], "pgrehearse sandbox --help shows what there is");
	if (strcmp(verb, "psql") == 0)
		return sandbox_cmd_psql(argc - 1, argv + 1);
	if (strcmp(verb, "down") == 0)
		return sandbox_cmd_down(argc - 1, argv + 1);
	if (strcmp(verb, "sweep") == 0)
		return argc == 2 ? sandbox_cmd_sweep()
				 : bad_usage("sweep takes nothing more, not", argv[2], "pgrehearse sandbox down removes what is named");
	return bad_usage(verb[0] != '\0' ? "there is no" : "say what to do", verb, "one of up, down, list, psql, sweep");
}
