/* Where records go when --out does not say. */
#define _GNU_SOURCE
#include "base/clock.h"
#include "base/fs.h"
#include "cli/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TRIES 100

enum status command_name_out(const char *name, char *out, size_t size, struct error *err)
{
	char stamp[32], folder[160];
	clock_format_wall(clock_wall_ns(), stamp, sizeof stamp);
	size_t n = 0;
	for (const char *s = stamp; *s != '\0' && *s != '.'; s++)
		if (*s != '-' && *s != ':')
			folder[n++] = *s;
	n += (size_t)snprintf(folder + n, sizeof folder - n, "Z-%.100s", name);
	/* Two within one second: the later is -2. */
	for (int i = 2; i < TRIES; i++) {
		snprintf(out, size, "rehearsals/%s", folder);
		if (!fs_exists(out))
			break;
		snprintf(folder + n, sizeof folder - n, "-%d", i);
	}
	return fs_make_dirs("rehearsals", 0777, err);
}

void command_link_latest(const char *out)
{
	const char *folder = strncmp(out, "rehearsals/", 11) == 0 ? out + 11 : NULL;
	if (folder != NULL && (unlink("rehearsals/latest") == 0 || errno == ENOENT))
		(void)!symlink(folder, "rehearsals/latest");
}
