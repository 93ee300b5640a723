/* What a sandbox's first data folder may be made from instead of initdb. Internal to the room. */
#ifndef PGR_CLONE_ORIGIN_H
#define PGR_CLONE_ORIGIN_H

#include "base/error.h"
#include "base/vec.h"
#include "clone/server.h"

#include <signal.h>

/* What making it is told, and what it tells. */
struct origin_data {
	const struct server_tools *tools;
	const struct server_place *place;  /* data_dir is not there yet */
	const char *const *settings;       /* the caller's, "name=value", NULL-terminated, or NULL */
	const volatile sig_atomic_t *stop; /* or NULL */
	VEC(char *) found;                 /* settings that the data came with, "name=value", malloc'd; the caller's go over them */
	char user[64], database[64];       /* to connect as and to */
};

struct origin {
	enum status (*make)(struct origin_data *data, void *arg, struct error *err);
	void *arg;
};

#endif
