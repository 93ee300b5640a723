/* The words of the record for roles and ends of waits, and the role that an application_name tells. */
#include "observe/waits.h"

#include <stdio.h>
#include <string.h>

enum wait_role wait_role_of(const char *application_name, char *version)
{
	static const struct {
		const char *prefix;
		enum wait_role role;
	} KNOWN[] = {
		{"pgrehearse load", WAIT_ROLE_LOAD},
		{"pgrehearse migration", WAIT_ROLE_MIGRATION},
		{"pgrehearse actor", WAIT_ROLE_ACTOR},
		{"pgrehearse observer", WAIT_ROLE_OBSERVER},
		/* Checks, reconciliation and the comparison after the way back ask questions that nobody asks in production. */
		{"pgrehearse inspector", WAIT_ROLE_OBSERVER},
		{"pgrehearse comparison", WAIT_ROLE_OBSERVER},
	};
	version[0] = '\0';
	for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
		size_t n = strlen(KNOWN[i].prefix);
		if (strncmp(application_name, KNOWN[i].prefix, n) != 0 || (application_name[n] != ' ' && application_name[n] != '\0'))
			continue;
		if (KNOWN[i].role == WAIT_ROLE_LOAD && application_name[n] == ' ')
			snprintf(version, 32, "%.*s", (int)strcspn(application_name + n + 1, " "), application_name + n + 1);
		return KNOWN[i].role;
	}
	return WAIT_ROLE_FOREIGN;
}

const char *wait_role_name(enum wait_role role)
{
	static const char *const NAMES[] = {"load", "migration", "actor", "observer", "foreign"};
	return NAMES[role];
}

const char *wait_end_name(enum wait_end end)
{
	static const char *const NAMES[] = {"granted", "timeout", "deadlock", "cancelled", "lost", "unfinished", "unknown"};
	return NAMES[end];
}
