/* What ps shows of our words: connection strings without their passwords, and no --secret. */
#define _GNU_SOURCE
#include "base/hide.h"

#include <stdlib.h>
#include <string.h>

static void mask(char *from, const char *to)
{
	for (; from < to; from++)
		*from = '*';
}

/* password=..., sslpassword = '...': as libpq reads it, quotes and all; in a URI it ends with the word. */
static void mask_keywords(char *word)
{
	for (char *p = word; (p = strcasestr(p, "password")) != NULL;) {
		p += strlen("password");
		p += strspn(p, " \t\n");
		if (*p != '=')
			continue;
		p++;
		p += strspn(p, " \t\n");
		char *end = p;
		if (*p == '\'') {
			for (end = ++p; *end != '\0' && *end != '\''; end++)
				end += *end == '\\' && end[1] != '\0';
		} else {
			for (; *end != '\0' && strchr(" \t\n", *end) == NULL; end++)
				end += *end == '\\' && end[1] != '\0';
		}
		mask(p, end);
		p = end;
	}
}

/* scheme://user:PASSWORD@ */
static void mask_uri(char *word)
{
	char *user = strstr(word, "://");
	char *at = user != NULL ? strrchr(user, '@') : NULL;
	char *colon = at != NULL ? memchr(user + 3, ':', (size_t)(at - user - 3)) : NULL;
	if (colon != NULL)
		mask(colon + 1, at);
}

void hide_passwords(char *word)
{
	mask_uri(word);
	mask_keywords(word);
}

/* --secret, also cut short as getopt lets it be, with its value in the same word or in the next one, which it returns. */
static char *find_secret(char *word, char *next)
{
	size_t n = strcspn(word, "=");
	if (n < strlen("--s") || strncmp(word, "--secret", n) != 0)
		return NULL;
	return word[n] == '=' ? word + n + 1 : next;
}

char **hide_arguments(int argc, char **argv)
{
	/* Kept until the end, so that a leak checker finds them in use. */
	static char **copies;
	copies = calloc((size_t)argc + 1, sizeof *copies);
	for (int i = 0; copies != NULL && i < argc; i++) {
		if ((copies[i] = strdup(argv[i])) == NULL)
			abort();
	}
	for (int i = 0; copies != NULL && i < argc; i++) {
		char *secret = find_secret(argv[i], argv[i + 1]);
		if (secret != NULL)
			mask(secret, secret + strlen(secret));
		hide_passwords(argv[i]);
	}
	if (copies == NULL)
		abort();
	return copies;
}
