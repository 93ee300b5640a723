/* --target as it is written, and what cuts a database off from the servers that it knows of. */
#define _GNU_SOURCE
#include "clone/source.h"

#include "base/fs.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	enum source_kind kind;
} KINDS[] = {{"sandbox", SOURCE_SANDBOX}, {"dump", SOURCE_DUMP}, {"base", SOURCE_BASE}, {"snapshot", SOURCE_SNAPSHOT},
	{"template", SOURCE_TEMPLATE}, {"command", SOURCE_COMMAND}, {"dsn", SOURCE_DSN}};
#define KIND_COUNT (sizeof KINDS / sizeof KINDS[0])

const char *source_kind_name(enum source_kind kind)
{
	for (size_t i = 0; i < KIND_COUNT; i++)
		if (KINDS[i].kind == kind)
			return KINDS[i].name;
	return "?";
}

static char *copy_text(const char *text)
{
	char *copy = strdup(text);
	if (copy == NULL)
		abort();
	return copy;
}

static enum status split_command(struct source *s, struct error *err)
{
	char *comma = strchr(s->text, ',');
	if (comma == NULL || comma == s->text || comma[1] == '\0') {
		error_set(err, ST_USAGE, "--target command:%.300s: two programs are expected, apart by a comma", s->text);
		error_hint(err, "command:UP,DOWN: UP makes a clone and prints its connection string, DOWN removes it");
		return ST_USAGE;
	}
	*comma = '\0';
	s->down = copy_text(comma + 1);
	return ST_OK;
}

/* Text before the first colon that is none of a URL. */
static bool names_kind(const char *text, size_t n)
{
	return text[n] == ':' && strncmp(text + n, "://", 3) != 0 && n > 0 && strspn(text, "abcdefghijklmnopqrstuvwxyz") == n;
}

enum status source_parse(const char *text, struct source *out, struct error *err)
{
	*out = (struct source){.kind = SOURCE_SANDBOX};
	if (text == NULL || strcmp(text, "sandbox") == 0)
		return ST_OK;
	size_t n = strcspn(text, ":");
	bool known = false;
	if (names_kind(text, n)) {
		for (size_t i = 1; i < KIND_COUNT && !known; i++) {
			known = strlen(KINDS[i].name) == n && strncmp(text, KINDS[i].name, n) == 0;
			out->kind = KINDS[i].kind;
		}
		if (!known) {
			error_set(err, ST_USAGE, "--target %.300s: there is no kind of target called \"%.*s\"", text,
				(int)(n < 40 ? n : 40), text);
			error_hint(err,
				"sandbox, dump:PATH, base:PATH, snapshot:NAME, template:DSN, command:UP,DOWN, dsn:DSN, or a connection string");
			return ST_USAGE;
		}
		text += n + 1;
	} else {
		out->kind = SOURCE_DSN;
	}
	if (text[0] == '\0')
		return error_set(err, ST_USAGE, "--target %s: says nothing behind the colon", source_kind_name(out->kind));
	out->text = copy_text(text);
	enum status st = ST_OK;
	if (out->kind == SOURCE_COMMAND)
		st = split_command(out, err);
	else if ((out->kind == SOURCE_DUMP || out->kind == SOURCE_BASE) && !fs_exists(text))
		st = error_set(err, ST_USAGE, "--target %s:%.300s: there is no such file or folder", source_kind_name(out->kind), text);
	if (st != ST_OK)
		source_free(out);
	return st;
}

void source_free(struct source *s)
{
	free(s->text);
	free(s->down);
	*s = (struct source){.kind = SOURCE_SANDBOX};
}

void source_note_defused(json_t *facts, const char *what, const char *name)
{
	json_t *list = json_object_get(facts, "defused");
	if (list == NULL) {
		list = json_array();
		json_object_set_new(facts, "defused", list);
	}
	json_array_append_new(list, json_pack("{s:s, s:s}", "what", what, "name", name));
}

/* Written to the catalogs themselves: ALTER SUBSCRIPTION would have to be asked of each in its own database, and a server that is dropped
 * and made anew would lose its tables. Versions 12 to 18. */
const char *const SOURCE_LIST_CLUSTER[] = {
	"SELECT 'subscription' || chr(9) || subname AS pgr FROM pg_catalog.pg_subscription",
	NULL,
};
const char *const SOURCE_CUT_CLUSTER[] = {
	"UPDATE pg_catalog.pg_subscription SET subenabled = false, subslotname = NULL, subconninfo = 'host=/nonexistent'",
	NULL,
};
const char *const SOURCE_LIST_DATABASE[] = {
	"SELECT 'foreign server' || chr(9) || s.srvname || ' (' || w.fdwname || ')' AS pgr FROM pg_catalog.pg_foreign_server s "
	"JOIN pg_catalog.pg_foreign_data_wrapper w ON w.oid = s.srvfdw",
	"SELECT 'user mapping' || chr(9) || usename || ' at ' || srvname AS pgr FROM pg_catalog.pg_user_mappings",
	NULL,
};
/* Without a handler a foreign table can be altered and dropped, not read. Without options there is nobody to connect to. */
const char *const SOURCE_CUT_DATABASE[] = {
	"UPDATE pg_catalog.pg_foreign_data_wrapper SET fdwhandler = 0 WHERE oid IN (SELECT srvfdw FROM pg_catalog.pg_foreign_server)",
	"UPDATE pg_catalog.pg_foreign_server SET srvoptions = NULL WHERE srvoptions IS NOT NULL",
	"UPDATE pg_catalog.pg_user_mapping SET umoptions = NULL WHERE umoptions IS NOT NULL",
	NULL,
};
