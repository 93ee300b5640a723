/* The deny list: its two sources, its rules, and what they match. */
#define _GNU_SOURCE
#include "clone/deny.h"

#include "base/buf.h"
#include "base/fs.h"

#include <errno.h>
#include <fnmatch.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RULE_MAX 512
#define BLANKS " \t\r\n,"

static bool matches_place(const char *pattern, const char *host, const char *port)
{
	char both[RULE_MAX];
	if (host == NULL || host[0] == '\0')
		return false;
	if (fnmatch(pattern, host, FNM_CASEFOLD) == 0)
		return true;
	snprintf(both, sizeof both, "%s:%s", host, port);
	return port[0] != '\0' && fnmatch(pattern, both, FNM_CASEFOLD) == 0;
}

static bool matches_host(const char *pattern, const struct deny_target *t)
{
	return matches_place(pattern, t->host, t->port) || matches_place(pattern, t->address, t->port) ||
		matches_place(pattern, t->server_address, t->server_port);
}

static bool matches_system(const char *rule, const struct deny_target *t)
{
	size_t id_len = strcspn(rule, "@");
	bool same = t->system[0] == '\0' || (strlen(t->system) == id_len && strncmp(rule, t->system, id_len) == 0);
	return same && (rule[id_len] == '\0' || matches_host(rule + id_len + 1, t));
}

static enum status bad_rule(const char *rule, const char *source, struct error *err)
{
	error_set(err, ST_USAGE, "the deny list has a rule that cannot be read: \"%.200s\"", rule);
	error_where(err, "%s", source);
	error_hint(err, "rules are host=PATTERN, database=PATTERN, system=ID or system=ID@ADDRESS");
	return ST_USAGE;
}

static enum status check_rule(const char *rule, const char *source, const struct deny_target *t, struct error *err)
{
	bool hit = false;
	const char *value = strchr(rule, '=');
	if (value == NULL || value[1] == '\0')
		return bad_rule(rule, source, err);
	value++;
	if (strncmp(rule, "host=", 5) == 0)
		hit = matches_host(value, t);
	else if (strncmp(rule, "database=", 9) == 0)
		hit = t->database != NULL && fnmatch(value, t->database, 0) == 0;
	else if (strncmp(rule, "system=", 7) == 0 && strspn(value, "0123456789") == strcspn(value, "@") && value[0] != '@')
		hit = t->system != NULL && matches_system(value, t);
	else
		return bad_rule(rule, source, err);
	if (!hit)
		return ST_OK;
	bool unknown = t->system != NULL && t->system[0] == '\0' && strncmp(rule, "system=", 7) == 0;
	error_set(err, ST_REFUSED, "the target %s: %.200s",
		unknown ? "does not tell its system identifier, which the deny list asks for" : "is on the deny list", rule);
	error_where(err, "%s", source);
	error_hint(err, "name another target, or take the rule off the list if it really is a clone");
	return ST_REFUSED;
}

static enum status check_text(const char *text, const char *source, const struct deny_target *t, struct error *err)
{
	enum status st = ST_OK;
	while (st == ST_OK && *(text += strspn(text, BLANKS)) != '\0') {
		char rule[RULE_MAX];
		size_t n = strcspn(text, *text == '#' ? "\n" : BLANKS);
		if (*text != '#') {
			snprintf(rule, sizeof rule, "%.*s", (int)(n < RULE_MAX ? n : RULE_MAX - 1), text);
			st = n < RULE_MAX ? check_rule(rule, source, t, err) : bad_rule(rule, source, err);
		}
		text += n;
	}
	return st;
}

/* Services and schedulers often start programs without $HOME. */
static bool find_home(char *out, size_t size)
{
	char text[4096];
	struct passwd entry, *found = NULL;
	const char *home = getenv("HOME");
	if ((home == NULL || home[0] == '\0') && getpwuid_r(geteuid(), &entry, text, sizeof text, &found) == 0 && found != NULL)
		home = found->pw_dir;
	return home != NULL && home[0] != '\0' && (size_t)snprintf(out, size, "%s", home) < size;
}

static enum status check_file(const struct deny_target *t, struct error *err)
{
	char path[PATH_MAX], home[PATH_MAX - 64];
	if (!find_home(home, sizeof home))
		return ST_OK;
	snprintf(path, sizeof path, "%s/.config/pgrehearse/deny", home);
	if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
		return ST_OK;
	struct buf text;
	buf_init(&text, 1 << 20);
	enum status st = fs_read_file(path, &text, err);
	if (st != ST_OK) {
		if (err != NULL)
			error_hint(err, "a deny list that cannot be read lets nothing pass");
		st = ST_REFUSED;
		if (err != NULL)
			err->status = st;
	} else {
		buf_add(&text, "", 1);
		st = check_text(text.data, path, t, err);
	}
	buf_free(&text);
	return st;
}

enum status deny_check(const struct deny_target *target, struct error *err)
{
	const char *rules = getenv("PGREHEARSE_DENY");
	enum status st = rules != NULL ? check_text(rules, "PGREHEARSE_DENY", target, err) : ST_OK;
	return st == ST_OK ? check_file(target, err) : st;
}
