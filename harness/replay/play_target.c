/* Where a replay's sessions will go, looked at before one is opened: the trace, which may be anybody's, names databases too. */
#define _GNU_SOURCE
#include "base/vec.h"
#include "clone/guard.h"
#include "clone/source_remote.h"
#include "replay/player.h"
#include "replay/trace.h"
#include "runtime/dsn.h"

#include <stdio.h>
#include <string.h>

enum status player_check_dsn(const struct player_config *config, struct error *err)
{
	PQconninfoOption *options = dsn_parse(config->dsn, err);
	if (options == NULL)
		return ST_USAGE;
	bool named = dsn_value(options, "dbname") != NULL;
	PQconninfoFree(options);
	if (named || config->captured_databases)
		return ST_OK;
	error_set(err, ST_USAGE, "the target names no database, and those of the captured sessions have not passed the guard");
	error_hint(err, "add dbname= of the clone to the target");
	return ST_USAGE;
}

typedef VEC(const char *) database_names;

/* The databases that sessions of the replay are in, each once; they live as long as the trace. */
static enum status list_databases(const struct player_config *config, struct trace *t, database_names *out, struct error *err)
{
	struct trace_event e;
	struct capture_filter filter = config->filter;
	VEC(bool) seen = {0}; /* by session */
	int64_t first_ns = trace_summary(t)->first_ns;
	filter.read_only = false; /* whoever only writes is opened too */
	struct capture_matcher *m = capture_matcher_create(&filter, first_ns);
	*err = (struct error){.status = ST_OK};
	while (trace_next(t, &e, err)) {
		if (!capture_matches(m, &e) || (e.session->number < seen.n && seen.at[e.session->number]))
			continue;
		while (seen.n <= e.session->number)
			VEC_PUSH(&seen, false);
		seen.at[e.session->number] = true;
		size_t i = 0;
		while (i < out->n && strcmp(out->at[i], e.session->database) != 0)
			i++;
		if (i == out->n)
			VEC_PUSH(out, e.session->database);
	}
	VEC_FREE(&seen);
	capture_matcher_free(m);
	return err->status;
}

static enum status check_database(
	const struct player_config *config, const char *database, const struct guard_policy *policy, struct error *err)
{
	char dsn[SOURCE_DSN_MAX];
	if (database[0] == '\0') {
		error_set(err, ST_USAGE, "%s does not tell the database of each session, and the target names none", config->trace);
		error_hint(err, "add dbname= of the clone to the target");
		return ST_USAGE;
	}
	enum status st = source_replace_database(config->dsn, database, dsn, sizeof dsn, err);
	if (st == ST_OK)
		st = guard_check_target(dsn, policy, err);
	if (st != ST_OK) {
		char more[sizeof err->hint];
		snprintf(more, sizeof more, "%s", err->hint);
		error_hint(err,
			"%.300s%ssessions of the trace are in the database %.60s, and go there unless the target names another with dbname=",
			more, more[0] != '\0' ? "; " : "", database);
	}
	return st;
}

enum status player_check_target(const struct player_config *config, const struct guard_policy *policy, struct error *err)
{
	struct trace *t;
	database_names databases = {0};
	PQconninfoOption *options = dsn_parse(config->dsn, err);
	if (options == NULL)
		return ST_USAGE;
	bool named = dsn_value(options, "dbname") != NULL;
	PQconninfoFree(options);
	enum status st = guard_check_target(config->dsn, policy, err);
	if (st != ST_OK || named)
		return st;
	if (trace_open(config->trace, &t, err) != ST_OK)
		return err->status;
	st = list_databases(config, t, &databases, err);
	for (size_t i = 0; st == ST_OK && i < databases.n; i++)
		st = check_database(config, databases.at[i], policy, err);
	VEC_FREE(&databases);
	trace_close(t);
	return st;
}
