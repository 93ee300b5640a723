/* Who is named in a dump's SQL. pg_dump writes each of these statements in one line, which is all that is relied upon: a look-alike in a
 * function's body makes a role too many, in a sandbox. */
#define _GNU_SOURCE
#include "clone/source_roles.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IN_SQL, IN_COPY };

static void free_names(struct source_names *names)
{
	for (size_t i = 0; i < names->n; i++)
		free(names->at[i]);
	free(names->at);
	*names = (struct source_names){0};
}

void source_found_free(struct source_found *found)
{
	free_names(&found->roles);
	free_names(&found->databases);
	free_names(&found->tablespaces);
}

static void add_name(struct source_names *names, const char *name)
{
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->at[i], name) == 0)
			return;
	if (names->n == names->cap) {
		names->cap = names->cap > 0 ? names->cap * 2 : 8;
		names->at = realloc(names->at, names->cap * sizeof *names->at);
	}
	if (names->at == NULL || (names->at[names->n++] = strdup(name)) == NULL)
		abort();
}

/* Reads an identifier, or a name in single quotes, at text; returns what follows, or NULL when there is none. */
static const char *read_name(const char *text, char *out, size_t size)
{
	size_t n = 0;
	text += strspn(text, " ");
	char quote = *text == '"' || *text == '\'' ? *text++ : '\0';
	for (; *text != '\0'; text++) {
		if (quote != '\0' && *text == quote) {
			if (text[1] != quote)
				break;
			text++;
		} else if (quote == '\0' && strchr(" ,;()\t", *text) != NULL) {
			break;
		}
		if (n + 1 < size)
			out[n++] = *text;
	}
	out[n] = '\0';
	if (quote != '\0' && *text != quote)
		return NULL;
	return n > 0 ? text + (quote != '\0') : NULL;
}

static void add_role(const char *text, struct source_names *roles)
{
	static const char *const NOBODY[] = {"PUBLIC", "CURRENT_USER", "SESSION_USER", "CURRENT_ROLE", "DEFAULT"};
	char name[128];
	while ((text = read_name(text, name, sizeof name)) != NULL) {
		bool somebody = strlen(name) < 64;
		for (size_t i = 0; i < sizeof NOBODY / sizeof NOBODY[0]; i++)
			somebody = somebody && strcasecmp(name, NOBODY[i]) != 0;
		if (somebody)
			add_name(roles, name);
		if (*text != ',')
			return;
		text++;
	}
}

static bool starts(const char *line, const char *with)
{
	return strncmp(line, with, strlen(with)) == 0;
}

static const char *last_of(const char *line, const char *word)
{
	const char *found = NULL;
	for (const char *at = strstr(line, word); at != NULL; at = strstr(at + 1, word))
		found = at;
	return found != NULL ? found + strlen(word) : NULL;
}

static void add_after(const char *line, const char *word, struct source_names *roles)
{
	const char *at = strstr(line, word);
	if (at != NULL)
		add_role(at + strlen(word), roles);
}

static void scan_connect(const char *line, struct source_names *databases)
{
	static const char DBNAME[] = "dbname='";
	char name[128];
	const char *at = line + strlen("\\connect ");
	while (*at == '-' || *at == ' ') /* -reuse-previous=on */
		at += *at == '-' ? strcspn(at, " ") : 1;
	const char *rest = read_name(at, name, sizeof name);
	const char *inner = strstr(name, DBNAME);
	if (rest == NULL)
		return;
	if (inner == NULL) {
		add_name(databases, name);
	} else if (read_name(strdupa(inner + sizeof DBNAME - 2), name, sizeof name) != NULL) {
		add_name(databases, name);
	}
}

void source_scan_line(const char *line, int *state, struct source_found *found)
{
	if (*state == IN_COPY) {
		if (strcmp(line, "\\.") == 0)
			*state = IN_SQL;
		return;
	}
	size_t n = strlen(line);
	if (starts(line, "COPY ") && n > 12 && strcmp(line + n - 12, " FROM stdin;") == 0) {
		*state = IN_COPY;
	} else if (starts(line, "ALTER DEFAULT PRIVILEGES FOR ROLE ")) {
		add_after(line, " FOR ROLE ", &found->roles);
		const char *to = last_of(line, strstr(line, " REVOKE ") != NULL ? " FROM " : " TO ");
		if (to != NULL)
			add_role(to, &found->roles);
	} else if (starts(line, "ALTER ") && strstr(line, " OWNER TO ") != NULL) {
		add_role(last_of(line, " OWNER TO "), &found->roles);
	} else if (starts(line, "GRANT ") && strstr(line, " TO ") != NULL) {
		add_role(last_of(line, " TO "), &found->roles);
	} else if (starts(line, "REVOKE ") && strstr(line, " FROM ") != NULL) {
		add_role(last_of(line, " FROM "), &found->roles);
	} else if (starts(line, "SET SESSION AUTHORIZATION ")) {
		add_after(line, "AUTHORIZATION ", &found->roles);
	} else if (starts(line, "CREATE USER MAPPING FOR ")) {
		add_after(line, " FOR ", &found->roles);
	} else if (starts(line, "CREATE POLICY ")) {
		add_after(line, " TO ", &found->roles);
	} else if (starts(line, "CREATE SCHEMA ")) {
		add_after(line, " AUTHORIZATION ", &found->roles);
	} else if (starts(line, "CREATE TABLESPACE ")) {
		char name[128];
		if (read_name(line + strlen("CREATE TABLESPACE "), name, sizeof name) != NULL)
			add_name(&found->tablespaces, name);
	} else if (starts(line, "\\connect ")) {
		scan_connect(line, &found->databases);
	}
}

enum status source_scan_roles(const char *path, struct source_found *found, const volatile sig_atomic_t *stop, struct error *err)
{
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return error_errno(err, ST_FAILED, "cannot read %s", path);
	/* Longer lines are rows or long bodies: their beginning will do. */
	char line[8192];
	int state = 0;
	bool whole = true;
	enum status st = ST_OK;
	while (st == ST_OK && fgets(line, sizeof line, f) != NULL) {
		size_t n = strlen(line);
		bool ended = n > 0 && line[n - 1] == '\n';
		if (ended)
			line[--n] = '\0';
		if (n > 0 && line[n - 1] == '\r')
			line[--n] = '\0';
		if (whole)
			source_scan_line(line, &state, found);
		whole = ended;
		if (stop != NULL && *stop != 0)
			st = error_set(err, ST_INTERRUPTED, "interrupted");
	}
	fclose(f);
	return st;
}
