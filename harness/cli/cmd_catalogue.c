/* pgrehearse catalogue: every operation of the catalogue performed on a server, and compared with the table. */
#define _GNU_SOURCE
#include "base/fs.h"
#include "base/units.h"
#include "cli/commands.h"
#include "cli/policy.h"
#include "cli/signals.h"
#include "clone/guard.h"
#include "clone/sandbox.h"
#include "runtime/script.h"
#include "scenario/catalogue.h"

#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] =
	"usage: pgrehearse catalogue [--server DIR|VERSION] [--target DSN] [--only WORD] [--json]\n\n"
	"Performs each operation of scenarios/catalogue.lua on a server and compares what it did with the table:\n"
	"locks on the table and beside it, rewrites, scans, index builds, what a rollback leaves behind.\n\n"
	"  --server DIR|VERSION  the folder of initdb, pg_ctl, postgres, or a major version: 13 to 18\n"
	"                        (default: the newest installed; scripts/more-servers fetches others)\n"
	"  --target DSN          a server marked as a clone, instead of a sandbox; a database is made on it and removed\n" POLICY_HELP
	"  --only WORD           only the operations whose id contains it: --only index\n"
	"  --json                one JSON object: performed, differ, problems, operations\n\n"
	"What differs from the table is a fact about that server. Exit codes: 0; 2 usage; 4 refused by the guard;\n"
	"5 an operation could not be performed.\n\n"
	"Example: pgrehearse catalogue --only add_column\n";

struct catalogue_options {
	const char *server, *target, *only;
	bool json, help;
	struct policy allowed; /* what the guard lets pass */
};

/* "17" is where Debian, or scripts/more-servers, puts it; a word in the sandbox's own sense otherwise. */
static enum status find_server(const char *word, char out[PATH_MAX], struct error *err)
{
	int64_t major;
	if (word[strspn(word, "0123456789")] != '\0') {
		snprintf(out, PATH_MAX, "%s", word);
		return ST_OK;
	}
	enum status st = units_parse_int("--server", word, 10, 99, &major, err);
	if (st != ST_OK)
		return st;
	snprintf(out, PATH_MAX, "/usr/lib/postgresql/%d/bin", (int)major);
	if (!fs_is_dir(out))
		snprintf(out, PATH_MAX, "%s/build/servers/%d/bin", script_home(), (int)major);
	if (fs_is_dir(out))
		return ST_OK;
	st = error_set(err, ST_USAGE, "--server %d: PostgreSQL %d is not installed", (int)major, (int)major);
	error_hint(err, "a folder with its programs, or scripts/more-servers %d", (int)major);
	return st;
}

static void show_progress(int done, int total, const char *id, void *arg)
{
	(void)arg;
	fprintf(stderr, "\r%3d of %d  %-48s\r", done, total, id);
}

static int perform(const struct catalogue_options *o, const char *dsn, const volatile sig_atomic_t *stop)
{
	struct error err;
	struct catalogue_spec spec = {.dsn = dsn, .only = o->only, .stop = stop, .progress = isatty(STDERR_FILENO) ? show_progress : NULL};
	json_t *result;
	char *text;
	if (catalogue_perform(&spec, &result, &text, &err) != ST_OK)
		return command_fail(&err);
	if (o->json) {
		json_dumpf(result, stdout, JSON_INDENT(2) | JSON_SORT_KEYS);
		putchar('\n');
	} else {
		fputs(text, stdout);
	}
	int code = json_integer_value(json_object_get(result, "problems")) > 0 ? ST_FAILED : ST_OK;
	if (json_integer_value(json_object_get(result, "performed")) == 0) {
		error_set(&err, ST_USAGE, "--only %s: no operation of this server has that in its id", o->only != NULL ? o->only : "");
		error_hint(&err, "the ids are in scenarios/catalogue.lua");
		code = command_fail(&err);
	}
	json_decref(result);
	free(text);
	return code;
}

static int perform_in_sandbox(const struct catalogue_options *o)
{
	char server[PATH_MAX];
	struct error err;
	struct sandbox *sb = NULL;
	struct sandbox_config config = {.stop = signals_watch(), .settings = (const char *const[]){"fsync=off", "autovacuum=off", NULL}};
	enum status st = ST_OK;
	if (o->server != NULL && (st = find_server(o->server, server, &err)) == ST_OK)
		config.server_dir = server;
	if (st == ST_OK)
		st = sandbox_up(&config, &sb, &err);
	if (st != ST_OK)
		return command_fail(&err);
	int code = perform(o, sandbox_dsn(sb), config.stop);
	if (sandbox_down(sb, &err) != ST_OK && code == ST_OK)
		code = command_fail(&err);
	sandbox_free(sb);
	return code;
}

static int read_and_perform(struct catalogue_options *o, int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{"server", required_argument, NULL, 's'},
		{"target", required_argument, NULL, 't'},
		{"only", required_argument, NULL, 'o'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		POLICY_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	struct error err;
	opterr = 0;
	for (int c; (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		switch (c) {
		case 's':
			o->server = optarg;
			break;
		case 't':
			o->target = optarg;
			break;
		case 'o':
			o->only = optarg;
			break;
		case 'j':
			o->json = true;
			break;
		case 'h':
			fputs(HELP, stdout);
			return ST_OK;
		default:
			if (policy_take(&o->allowed, c, optarg))
				break;
			return command_bad_option("catalogue", c, optopt, argv[optind - 1]);
		}
	}
	if (optind < argc) {
		error_set(&err, ST_USAGE, "catalogue: it takes no words, and not \"%s\"", argv[optind]);
		error_hint(&err, "--only %s performs the operations whose id contains it", argv[optind]);
		return command_fail(&err);
	}
	struct guard_policy policy = policy_close(&o->allowed);
	if (o->target == NULL)
		return perform_in_sandbox(o);
	if (o->server != NULL)
		error_set(&err, ST_USAGE, "catalogue: --server is for a sandbox, and --target is a server that runs; keep one of them");
	else if (guard_check_target(o->target, &policy, &err) == ST_OK)
		return perform(o, o->target, signals_watch());
	return command_fail(&err);
}

int cmd_catalogue(int argc, char **argv)
{
	struct catalogue_options o = {0};
	int code = read_and_perform(&o, argc, argv);
	policy_free(&o.allowed);
	return code;
}
