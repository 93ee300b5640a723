/* Parameters of a workload's statements: how many there are, and the numbers of their types. */
#define _GNU_SOURCE
#include "load/workload_internal.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Each skips what begins at s and returns the first character behind it, the terminator when it does not end. */
static const char *skip_quoted(const char *s, char quote, bool backslashes)
{
	for (s++; *s != '\0'; s++) {
		if (backslashes && *s == '\\' && s[1] != '\0')
			s++;
		else if (*s == quote && s[1] == quote)
			s++;
		else if (*s == quote)
			return s + 1;
	}
	return s;
}

static const char *skip_comment(const char *s)
{
	int depth = 0;
	while (*s != '\0') {
		if (s[0] == '/' && s[1] == '*') {
			depth++;
			s += 2;
		} else if (s[0] == '*' && s[1] == '/') {
			s += 2;
			if (--depth == 0)
				return s;
		} else {
			s++;
		}
	}
	return s;
}

static bool is_word(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || (c & 0x80) != 0;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* $tag$...$tag$; returns s when no such quote begins there. */
static const char *skip_dollar_quoted(const char *s)
{
	const char *tag_end = s + 1;
	while (is_word(*tag_end))
		tag_end++;
	if (*tag_end != '$' || is_digit(s[1]))
		return s;
	size_t tag = (size_t)(tag_end + 1 - s);
	for (const char *p = s + tag; *p != '\0'; p++)
		if (*p == '$' && strncmp(p, s, tag) == 0)
			return p + tag;
	return s + strlen(s);
}

/* Behind the string, quoted name or comment that begins at s; s when none does. */
static const char *skip_opaque(const char *sql, const char *s)
{
	if (*s == '\'') {
		bool escapes = s > sql && (s[-1] == 'E' || s[-1] == 'e') && (s - 1 == sql || !is_word(s[-2]));
		return skip_quoted(s, '\'', escapes);
	}
	if (*s == '"')
		return skip_quoted(s, '"', false);
	if (s[0] == '-' && s[1] == '-')
		return s + strcspn(s, "\n");
	if (s[0] == '/' && s[1] == '*')
		return skip_comment(s);
	return *s == '$' && !is_digit(s[1]) ? skip_dollar_quoted(s) : s;
}

struct word {
	const char *at;
	size_t len;
};

static bool is(struct word w, const char *text)
{
	return w.len == strlen(text) && strncasecmp(w.at, text, w.len) == 0;
}

/* before: the word before it, since FOR UPDATE and FOR NO KEY UPDATE write nothing that could be lost. */
static bool is_write(struct word w, struct word before)
{
	return is(w, "insert") || is(w, "delete") || is(w, "merge") || (is(w, "update") && !is(before, "for") && !is(before, "key"));
}

enum statement_kind workload_statement_kind(const char *sql)
{
	enum statement_kind kind = STATEMENT_OTHER;
	struct word first = {0}, before = {0};
	bool ended = false;
	for (const char *s = sql, *next; *s != '\0'; s = next) {
		if ((next = skip_opaque(sql, s)) != s)
			continue;
		next = s + 1;
		if (ended && strchr("; \t\r\n", *s) == NULL)
			return STATEMENT_OTHER;
		ended = ended || *s == ';';
		if (!is_word(*s))
			continue;
		while (is_word(*next) || *next == '$')
			next++;
		struct word word = {.at = s, .len = (size_t)(next - s)};
		if (first.at == NULL)
			first = word;
		if (first.at == s && (is(word, "commit") || is(word, "end")))
			kind = STATEMENT_COMMITS;
		else if ((first.at == s || is(first, "with")) && is_write(word, before))
			kind = STATEMENT_WRITES;
		else if (kind == STATEMENT_COMMITS && is(word, "prepared"))
			kind = STATEMENT_OTHER;
		before = word;
	}
	return kind;
}

int workload_count_params(const char *sql)
{
	int most = 0;
	for (const char *s = sql, *next; *s != '\0';) {
		if ((next = skip_opaque(sql, s)) != s) {
			s = next;
		} else if (is_word(*s)) {
			/* A $ within a word belongs to it. */
			while (is_word(*s) || *s == '$')
				s++;
		} else if (*s == '$' && is_digit(s[1])) {
			int n = 0;
			for (s++; is_digit(*s); s++)
				n = n < 100000 ? n * 10 + (*s - '0') : n;
			most = n > most ? n : most;
		} else {
			s++;
		}
	}
	return most;
}

/* Built-in types by the names that people write (PostgreSQL's pg_type.dat; these numbers never change). */
static const struct {
	const char *name;
	Oid oid;
} TYPES[] = {
	{"bigint", 20},
	{"bool", 16},
	{"boolean", 16},
	{"bytea", 17},
	{"char", 18},
	{"date", 1082},
	{"float4", 700},
	{"float8", 701},
	{"inet", 869},
	{"int", 23},
	{"int2", 21},
	{"int4", 23},
	{"int8", 20},
	{"integer", 23},
	{"interval", 1186},
	{"json", 114},
	{"jsonb", 3802},
	{"numeric", 1700},
	{"oid", 26},
	{"real", 700},
	{"smallint", 21},
	{"text", 25},
	{"time", 1083},
	{"timestamp", 1114},
	{"timestamptz", 1184},
	{"uuid", 2950},
	{"varchar", 1043},
	{"bigint[]", 1016},
	{"bool[]", 1000},
	{"boolean[]", 1000},
	{"bytea[]", 1001},
	{"date[]", 1182},
	{"float8[]", 1022},
	{"int[]", 1007},
	{"int2[]", 1005},
	{"int4[]", 1007},
	{"int8[]", 1016},
	{"jsonb[]", 3807},
	{"numeric[]", 1231},
	{"text[]", 1009},
	{"timestamptz[]", 1185},
	{"uuid[]", 2951},
	{"varchar[]", 1015},
	{"unknown", 0},
};

enum status workload_type_oid(const char *name, Oid *oid, struct error *err)
{
	for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++) {
		if (strcmp(TYPES[i].name, name) == 0) {
			*oid = TYPES[i].oid;
			return ST_OK;
		}
	}
	error_set(err, ST_USAGE, "there is no type %s for a parameter", name);
	char names[600] = "";
	for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
		snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i > 0 ? ", " : "", TYPES[i].name);
	error_hint(err, "accepted: %s; or leave types out and write $1::type", names);
	return ST_USAGE;
}
