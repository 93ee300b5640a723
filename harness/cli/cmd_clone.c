/* pgrehearse clone mark | unmark | show: says of a database of the user's that it may be destroyed. */
#define _GNU_SOURCE
#include "cli/commands.h"
#include "cli/policy.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char HELP[] = "usage: pgrehearse clone mark DSN [--yes NAME] [OPTION]...\n"
			   "       pgrehearse clone unmark DSN | clone show DSN\n\n"
			   "Marks a database as a clone that rehearsals may destroy; --target takes no other. The mark is in the\n"
			   "database's comment and bound to the server as it runs now: a copy, a backup, a promoted standby or a\n"
			   "restart make it void. It takes the owner of the database, no superuser. show asks every rule of the\n"
			   "guard and writes nothing.\n\n"
			   "  --yes NAME            the database's name, instead of typing it on the terminal\n"
			   "  --allow-host HOST     a target that is not this machine, by the name it is given; repeatable\n"
			   "  --allow-client NAME   sessions of others: application_name or user@address, with wildcards\n"
			   "  --allow-standby NAME  a standby, subscriber or slot that belongs to the clone, with wildcards\n"
			   "\nExit code: 0 done, or all rules hold; 4 refused, with the rule and the remedy.\n\n"
			   "Example: pgrehearse clone mark 'host=/tmp dbname=shop' --yes shop\n";

struct clone_options {
	const char *verb, *dsn, *yes;
	struct policy allowed;
	struct guard_policy policy;
};

/* The name that is typed must be the database's. */
static bool confirm(const char *database, const char *place, void *arg)
{
	const struct clone_options *o = arg;
	char line[300];
	if (o->yes != NULL)
		return strcmp(o->yes, database) == 0;
	if (!isatty(STDIN_FILENO))
		return false;
	printf("The database \"%s\" at %s.\nRehearsals will change and destroy what is in it. Its name, to mark it: ", database, place);
	fflush(stdout);
	if (fgets(line, sizeof line, stdin) == NULL)
		return false;
	line[strcspn(line, "\n")] = '\0';
	return strcmp(line, database) == 0;
}

static void show_rule(enum guard_rule rule, const struct error *err, const char *detail, void *arg)
{
	(void)arg;
	printf("  %-10s  %-7s  %s\n", guard_rule_name(rule),
		err->status == ST_OK                ? "ok"
			: err->status == ST_REFUSED ? "refused"
						    : "failed",
		err->status == ST_OK ? detail : err->what);
	if (err->hint[0] != '\0')
		printf("  %21s%s\n", "", err->hint);
}

static int perform(struct clone_options *o)
{
	struct error err;
	enum status st;
	if (strcmp(o->verb, "mark") == 0) {
		st = guard_mark_target(o->dsn, &o->policy, confirm, o, &err);
		if (st == ST_OK)
			printf("It is marked, until the server is restarted or the mark is taken away: pgrehearse clone unmark\n");
	} else if (strcmp(o->verb, "unmark") == 0) {
		st = guard_unmark_target(o->dsn, &o->policy, &err);
		if (st == ST_OK)
			printf("The mark is gone.\n");
	} else {
		st = guard_examine_target(o->dsn, &o->policy, show_rule, NULL, &err);
		printf("%s\n", st == ST_OK ? "It may be rehearsed on." : "It is not rehearsed on.");
		return (int)st;
	}
	return st == ST_OK ? ST_OK : command_fail(&err);
}

int cmd_clone(int argc, char **argv)
{
	static const struct option OPTIONS[] = {
		{"yes", required_argument, NULL, 'y'},
		{"help", no_argument, NULL, 'h'},
		POLICY_OPTIONS,
		{NULL, 0, NULL, 0},
	};
	struct clone_options o = {.verb = ""};
	struct error err;
	int code = -1;
	opterr = 0;
	for (int c; code < 0 && (c = getopt_long(argc, argv, ":h", OPTIONS, NULL)) != -1;) {
		if (c == 'y')
			o.yes = optarg;
		else if (c == 'h')
			code = fputs(HELP, stdout) < 0 ? ST_FAILED : ST_OK;
		else if (!policy_take(&o.allowed, c, optarg))
			code = command_bad_option("clone", c, optopt, argv[optind - 1]);
	}
	if (code < 0 && argc - optind == 2) {
		o.verb = argv[optind];
		o.dsn = argv[optind + 1];
	}
	if (code < 0 && strcmp(o.verb, "mark") != 0 && strcmp(o.verb, "unmark") != 0 && strcmp(o.verb, "show") != 0) {
		error_set(&err, ST_USAGE, "clone: say mark, unmark or show, and one connection string");
		error_hint(&err, "pgrehearse clone mark 'host=/tmp dbname=shop'");
		code = command_fail(&err);
	}
	if (code < 0) {
		o.policy = policy_close(&o.allowed);
		code = perform(&o);
	}
	policy_free(&o.allowed);
	return code;
}
