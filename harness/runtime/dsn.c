/* See the header. */
#define _GNU_SOURCE
#include "runtime/dsn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* libpq's own rule for what is a connection string rather than the bare name of a database. */
static bool is_connection_string(const char *dsn)
{
	return strncmp(dsn, "postgres://", 11) == 0 || strncmp(dsn, "postgresql://", 13) == 0 || strchr(dsn, '=') != NULL;
}

PQconninfoOption *dsn_parse(const char *dsn, struct error *err)
{
	char *problem = NULL;
	struct buf named;
	buf_init(&named, 2 * strlen(dsn) + 16);
	if (!is_connection_string(dsn) && dsn[0] != '\0')
		dsn_add_word(&named, "dbname", dsn);
	PQconninfoOption *options = PQconninfoParse(named.len > 0 ? named.data : dsn, &problem);
	PQfreemem(problem); /* it may quote the password */
	buf_free(&named);
	if (options == NULL) {
		error_set(err, ST_USAGE, "the target is not a connection string that libpq understands");
		error_hint(err, "for example \"host=/var/run/postgresql dbname=clone\" or postgresql:///clone");
	}
	return options;
}

const char *dsn_value(const PQconninfoOption *options, const char *keyword)
{
	for (const PQconninfoOption *o = options; o != NULL && o->keyword != NULL; o++)
		if (strcmp(o->keyword, keyword) == 0)
			return o->val != NULL && o->val[0] != '\0' ? o->val : NULL;
	return NULL;
}

void dsn_add_word(struct buf *out, const char *keyword, const char *value)
{
	buf_printf(out, "%s%s='", out->len > 0 ? " " : "", keyword);
	for (; *value != '\0'; value++) {
		if (*value == '\'' || *value == '\\')
			buf_char(out, '\\');
		buf_char(out, *value);
	}
	buf_char(out, '\'');
}
