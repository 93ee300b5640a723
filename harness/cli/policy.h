/* What a user lets pass the guard by name: --allow-host, --allow-client, --allow-standby, for every command with a target. */
#ifndef PGR_CLI_POLICY_H
#define PGR_CLI_POLICY_H

#include "base/vec.h"
#include "clone/guard.h"

#include <getopt.h>

/* For a command's table of long options, above any character of its own. */
enum { OPTION_ALLOW_HOST = 1000, OPTION_ALLOW_CLIENT, OPTION_ALLOW_STANDBY };
#define POLICY_OPTIONS                                                                                                              \
	{"allow-host", required_argument, NULL, OPTION_ALLOW_HOST}, {"allow-client", required_argument, NULL, OPTION_ALLOW_CLIENT}, \
	{                                                                                                                           \
		"allow-standby", required_argument, NULL, OPTION_ALLOW_STANDBY                                                      \
	}

/* Of the help text of a command with targets; clone's has it in full. */
#define POLICY_HELP "  --allow-host, --allow-client, --allow-standby NAME   let it pass the guard: pgrehearse clone --help\n"

typedef VEC(const char *) policy_names;
struct policy {
	policy_names hosts, clients, standbys;
};

/* Takes one of the three options; false when c is none of them. */
static inline bool policy_take(struct policy *p, int c, const char *value)
{
	policy_names *list = c == OPTION_ALLOW_HOST ? &p->hosts
		: c == OPTION_ALLOW_CLIENT          ? &p->clients
		: c == OPTION_ALLOW_STANDBY         ? &p->standbys
						    : NULL;
	if (list == NULL)
		return false;
	VEC_PUSH(list, value);
	return true;
}

/* What the guard takes; lives until policy_free(). */
static inline struct guard_policy policy_close(struct policy *p)
{
	VEC_PUSH(&p->hosts, NULL);
	VEC_PUSH(&p->clients, NULL);
	VEC_PUSH(&p->standbys, NULL);
	return (struct guard_policy){.hosts = p->hosts.at, .clients = p->clients.at, .standbys = p->standbys.at};
}

static inline void policy_free(struct policy *p)
{
	VEC_FREE(&p->hosts);
	VEC_FREE(&p->clients);
	VEC_FREE(&p->standbys);
}

#endif
