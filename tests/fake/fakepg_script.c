/* Reads the script of a fake server; see fakepg.h for its form. */
#define _GNU_SOURCE
#include "fake/fakepg_script.h"

#include <ctype.h>
#include <fnmatch.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const EVENTS[] = {[FAKE_STARTUP] = "startup", [FAKE_PARSE] = "parse", [FAKE_RUN] = "run"};
static const char *const VERBS[] = {[FAKE_OK] = "ok",
	[FAKE_ROW] = "row",
	[FAKE_ROWS] = "rows",
	[FAKE_COMPLETE] = "complete",
	[FAKE_ERROR] = "error",
	[FAKE_NOTICE] = "notice",
	[FAKE_STALL] = "stall",
	[FAKE_DROP] = "drop",
	[FAKE_RESET] = "reset",
	[FAKE_GARBAGE] = "garbage",
	[FAKE_RAW] = "raw"};

/* The next word of *text, which moves behind it and the blanks that follow. */
static size_t take_word(char **text, char *out, size_t size)
{
	size_t n = strcspn(*text, " \t");
	snprintf(out, size, "%.*s", (int)n, *text);
	*text += n;
	*text += strspn(*text, " \t");
	return n;
}

static int find_word(const char *const *words, size_t n, const char *word)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(words[i], word) == 0)
			return (int)i;
	return -1;
}

static void trim_end(char *text)
{
	size_t n = strlen(text);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		text[--n] = '\0';
}

static enum status read_action(char *text, struct fake_action *a, struct error *err)
{
	char word[32], number[16];
	text += strspn(text, " \t");
	trim_end(text);
	take_word(&text, word, sizeof word);
	int verb = find_word(VERBS, sizeof VERBS / sizeof *VERBS, word);
	if (verb < 0)
		return error_set(err, ST_USAGE, "there is no action %s", word);
	a->verb = (enum fake_verb)verb;
	if (a->verb == FAKE_ERROR) {
		take_word(&text, a->severity, sizeof a->severity);
		take_word(&text, a->code, sizeof a->code);
	} else if (a->verb == FAKE_STALL || a->verb == FAKE_GARBAGE || a->verb == FAKE_ROWS) {
		take_word(&text, number, sizeof number);
		a->n = (int)strtol(number, NULL, 10);
		take_word(&text, number, sizeof number);
		a->bytes = (int)strtol(number, NULL, 10);
	}
	a->text = strdup(text);
	return ST_OK;
}

static enum status read_rule(char *line, struct fake_rule *rule, struct error *err)
{
	char *actions = strstr(line, "->"), word[32];
	if (actions == NULL)
		return error_set(err, ST_USAGE, "no -> in: %s", line);
	*actions = '\0';
	actions += 2;
	trim_end(line);
	rule->first = 1;
	rule->last = INT_MAX;
	take_word(&line, word, sizeof word);
	if (word[0] == '#') {
		rule->first = rule->last = (int)strtol(word + 1, NULL, 10);
		take_word(&line, word, sizeof word);
	} else if (isdigit((unsigned char)word[0])) {
		rule->last = (int)strtol(word, NULL, 10);
		take_word(&line, word, sizeof word);
	}
	int event = find_word(EVENTS, sizeof EVENTS / sizeof *EVENTS, word);
	if (event < 0)
		return error_set(err, ST_USAGE, "%s never happens: startup, parse, run do", word);
	rule->event = (enum fake_event)event;
	rule->glob = strdup(line[0] != '\0' ? line : "*");
	char *rest = actions, *action;
	while ((action = strsep(&rest, ";")) != NULL) {
		if (rule->n_actions == FAKE_ACTIONS_MAX)
			return error_set(err, ST_USAGE, "over %d actions", FAKE_ACTIONS_MAX);
		enum status st = read_action(action, &rule->actions[rule->n_actions++], err);
		if (st != ST_OK)
			return st;
	}
	return ST_OK;
}

enum status fake_script_read(const char *text, struct fake_script *out, struct error *err)
{
	*out = (struct fake_script){0};
	size_t lines = 1;
	for (const char *c = text; *c != '\0'; c++)
		lines += *c == '\n';
	char *copy = strdup(text), *rest = copy, *line;
	out->rules = calloc(lines, sizeof *out->rules);
	enum status st = copy != NULL && out->rules != NULL ? ST_OK : error_set(err, ST_FAILED, "out of memory");
	while (st == ST_OK && (line = strsep(&rest, "\n")) != NULL) {
		line += strspn(line, " \t");
		if (line[0] != '\0' && !(line[0] == '#' && !isdigit((unsigned char)line[1])))
			st = read_rule(line, &out->rules[out->n++], err);
	}
	free(copy);
	if (st != ST_OK)
		fake_script_free(out);
	return st;
}

void fake_script_free(struct fake_script *script)
{
	for (size_t i = 0; i < script->n; i++) {
		free(script->rules[i].glob);
		for (size_t a = 0; a < script->rules[i].n_actions; a++)
			free(script->rules[i].actions[a].text);
	}
	free(script->rules);
	*script = (struct fake_script){0};
}

const struct fake_rule *fake_script_find(struct fake_script *script, enum fake_event event, const char *sql)
{
	const struct fake_rule *found = NULL;
	for (size_t i = 0; i < script->n; i++) {
		struct fake_rule *rule = &script->rules[i];
		if (rule->event != event || fnmatch(rule->glob, sql, 0) != 0)
			continue;
		rule->fitted++;
		if (found == NULL && rule->fitted >= rule->first && rule->fitted <= rule->last)
			found = rule;
	}
	return found;
}
