/* --target and what belongs to it. */
#define _GNU_SOURCE
#include "cli/target_options.h"

#include "base/buf.h"
#include "base/fs.h"
#include "base/units.h"
#include "clone/source_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONFIG_MAX (1 << 20)

const char TARGET_HELP[] = "\nThe target, and its options:\n\n"
			   "  --target sandbox      a server of its own, filled with the workload's data (default)\n"
			   "           dump:PATH    a dump of pg_dump's or pg_dumpall's, restored into one\n"
			   "           base:PATH    a base backup (folder or tar) or a stopped data folder, copied into one\n"
			   "           snapshot:NAME  prepared data: pgrehearse snapshot --help\n"
			   "           template:DSN a copy (CREATE DATABASE ... TEMPLATE) of a marked database, on its own server\n"
			   "           command:UP,DOWN  UP makes a clone and prints its connection string, DOWN removes it\n"
			   "           [dsn:]DSN    the connection string of a database that is marked as a clone; one drill a run, or\n"
			   "  --reset-command CMD   puts it back between drills; a connection string that it prints is the new one\n"
			   "  --standby DSN         a standby of it, to be watched; repeatable. The guard asks it who it is, too\n"
			   "  --pooler DSN          the same database through PgBouncer or the like: the load goes there, nothing else\n"
			   "  --standbys N          of the sandbox, 0 to 8 (default 1)\n"
			   "  --standby-delay TIME  what the primary sends reaches them so much later, for example 50ms\n"
			   "  --sync-standby        commits wait for the first standby\n"
			   "  --server DIR          the folder of initdb, pg_ctl, postgres (default: as it fits, else the newest)\n"
			   "  --pg-config FILE      settings of the sandbox's servers, a line each: work_mem = 64MB\n"
			   "  --database NAME       the one that is migrated, when a dump or backup holds several\n"
			   "  --allow-host, --allow-client, --allow-standby NAME   let a DSN pass the guard: pgrehearse clone --help\n"
			   "  --cache HOW           of the sandbox when a drill begins: cold, warm, as-is (default)\n"
			   "  --record-values       the record holds what was bound to statements that failed; else no value ever\n"
			   "  --accept-restore-errors  go on after statements of a dump have failed; the record lists them\n";

static enum status read_config(struct target_options *o, const char *path, struct error *err)
{
	struct buf text;
	buf_init(&text, CONFIG_MAX);
	enum status st = fs_read_file(path, &text, err);
	if (st != ST_OK)
		err->status = st = ST_USAGE;
	struct buf name, value;
	buf_init(&name, CONFIG_MAX);
	buf_init(&value, CONFIG_MAX);
	int number = 1;
	for (char *line = text.data; st == ST_OK && *line != '\0'; number++) {
		size_t n = strcspn(line, "\n");
		char *next = line + n + (line[n] == '\n');
		line[n] = '\0';
		char *setting = NULL;
		switch (source_read_setting(line, &name, &value)) {
		case SETTING_NONE:
			break;
		case SETTING_READ:
			if (asprintf(&setting, "%s=%s", name.data, value.data) < 0)
				abort();
			VEC_PUSH(&o->settings, setting);
			break;
		case SETTING_MALFORMED:
			st = error_set(err, ST_USAGE, "\"%.100s\" is not a server setting", line);
			error_where(err, "%s:%d", path, number);
			error_hint(err, "as in postgresql.conf: work_mem = 64MB");
			break;
		}
		line = next;
	}
	buf_free(&name);
	buf_free(&value);
	buf_free(&text);
	return st;
}

bool target_option(struct target_options *o, int option, const char *value, enum status *st, struct error *err)
{
	int64_t n = 0;
	switch (option) {
	case TARGET_WHAT:
		source_free(&o->source);
		*st = source_parse(value, &o->source, err);
		return true;
	case TARGET_STANDBYS:
		*st = units_parse_int("--standbys", value, 0, SANDBOX_STANDBYS_MAX, &n, err);
		o->standbys = (int)n;
		return true;
	case TARGET_STANDBY_DSN:
		if (o->n_standby_dsns == REHEARSAL_STANDBYS_MAX)
			*st = error_set(err, ST_USAGE, "--standby: over %d of them", REHEARSAL_STANDBYS_MAX);
		else
			o->standby_dsns[o->n_standby_dsns++] = value;
		return true;
	case TARGET_CACHE:
		o->cache = strcmp(value, "as-is") == 0 ? NULL : value;
		if (strcmp(value, "as-is") != 0 && strcmp(value, "cold") != 0 && strcmp(value, "warm") != 0)
			*st = error_set(err, ST_USAGE, "--cache %s: cold, warm or as-is is expected", value);
		return true;
	case TARGET_RESET:
		o->reset_command = value;
		return true;
	case TARGET_DELAY:
		*st = units_parse_time(value, &o->standby_delay_ns, err);
		return true;
	case TARGET_SYNC:
		o->synchronous = true;
		return true;
	case TARGET_SERVER:
		o->server_dir = value;
		return true;
	case TARGET_PG_CONFIG:
		*st = read_config(o, value, err);
		return true;
	case TARGET_DATABASE:
		o->database = value;
		return true;
	case TARGET_POOLER:
		o->pooler_dsn = value;
		return true;
	case TARGET_VALUES:
		o->record_values = true;
		return true;
	case TARGET_ACCEPT_ERRORS:
		o->accept_errors = true;
		return true;
	default:
		return false;
	}
}

bool target_can_reset(const struct target_options *o)
{
	return o->source.kind != SOURCE_DSN || o->reset_command != NULL;
}

void target_options_apply(struct target_options *o, struct target_config *config)
{
	if (o->settings.n > 0 && o->settings.at[o->settings.n - 1] != NULL)
		VEC_PUSH(&o->settings, NULL);
	config->source = &o->source;
	config->standbys = o->standbys;
	config->standby_delay_ns = o->standby_delay_ns;
	config->standby_dsns = o->standby_dsns;
	config->n_standby_dsns = o->n_standby_dsns;
	config->reset_command = o->reset_command;
	config->pooler_dsn = o->pooler_dsn;
	config->record_values = o->record_values;
	config->cache = o->cache;
	config->synchronous = o->synchronous;
	config->server_dir = o->server_dir;
	config->database = o->database;
	config->accept_errors = o->accept_errors;
	config->settings = (const char *const *)o->settings.at;
}

void target_options_free(struct target_options *o)
{
	source_free(&o->source);
	for (size_t i = 0; i < o->settings.n; i++)
		free(o->settings.at[i]);
	VEC_FREE(&o->settings);
}
