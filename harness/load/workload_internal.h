/* What the files that read a workload share. Private to load/. */
#ifndef PGR_LOAD_WORKLOAD_INTERNAL_H
#define PGR_LOAD_WORKLOAD_INTERNAL_H

#include "load/workload.h"

/* Scripts of pgbench in one line (workloads/lib/pgbench/init.lua) instead of a file. */
#define WORKLOAD_PGBENCH "pgbench:"

bool workload_is_pgbench(const char *name);

/* Lets `require` find modules beside the file, in lib/ first. */
void workload_add_folder_of(lua_State *L, const char *path);

/* The number of a built-in type by the name that people write. ST_USAGE lists those that there are. */
enum status workload_type_oid(const char *name, Oid *oid, struct error *err) MUST_CHECK;

#endif
