/* Logs of a sandbox's servers. */
#define _GNU_SOURCE
#include "clone/server_log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LINE_MAX_BYTES 2048 /* what is longer is cut */

void server_log_explain_start(const char *path, struct error *err)
{
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return;
	char tail[601];
	bool cut = fseek(f, -600, SEEK_END) == 0;
	if (!cut)
		rewind(f);
	size_t n = fread(tail, 1, sizeof tail - 1, f);
	fclose(f);
	while (n > 0 && tail[n - 1] == '\n')
		n--;
	tail[n] = '\0';
	const char *line = cut ? strchr(tail, '\n') : NULL;
	const char *text = line != NULL ? line + 1 : tail;
	bool full = strstr(text, "No space left on device") != NULL;
	error_set(err, ST_FAILED, "the server in %.200s did not start; its log ends with: %s", path, text);
	if (full)
		error_hint(err, "the disk is full: free some space, or set TMPDIR to a folder on a larger disk");
}

int64_t server_log_length(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? st.st_size : 0;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* The message of a line that a process of the server itself wrote, from its level on; NULL of any other. A session has an application name,
 * or "[unknown]", where these have nothing. */
static const char *own_message(const char *line)
{
	static const char *const LEVELS[] = {"LOG:  ", "WARNING:  ", "ERROR:  ", "FATAL:  ", "PANIC:  "};
	const char *at = strchr(line, '[');
	if (at == NULL || line[0] < '0' || line[0] > '9')
		return NULL;
	size_t digits = strspn(at + 1, "0123456789");
	if (digits == 0 || !begins(at + 1 + digits, "]  "))
		return NULL;
	at += digits + strlen("[]  ");
	for (size_t i = 0; i < sizeof LEVELS / sizeof LEVELS[0]; i++)
		if (begins(at, LEVELS[i]))
			return at;
	return NULL;
}

/* A worker of another process may end with a code, as the launcher of logical replication does whenever the server stops. */
static bool is_trouble(const char *message)
{
	static const char *const SIGNS[] = {"was terminated by signal", "could not fork", "No space left on device", "could not write",
		"could not fsync", "could not extend"};
	if (begins(message, "PANIC:"))
		return true;
	if (strstr(message, " exited with exit code ") != NULL && strstr(message, "background worker") == NULL)
		return true;
	for (size_t i = 0; i < sizeof SIGNS / sizeof SIGNS[0]; i++)
		if (strstr(message, SIGNS[i]) != NULL)
			return true;
	return false;
}

/* The last messages are those that matter: of a full buffer the first half goes, to a line's end. */
static void keep_line(struct buf *lines, const char *line)
{
	size_t n = strlen(line);
	if (lines->len + n + 1 > SERVER_LOG_MAX) {
		const char *cut = memchr(lines->data + lines->len / 2, '\n', lines->len - lines->len / 2);
		size_t gone = cut != NULL ? (size_t)(cut + 1 - lines->data) : lines->len;
		memmove(lines->data, lines->data + gone, lines->len - gone);
		lines->len -= gone;
	}
	buf_add(lines, line, n);
	buf_char(lines, '\n');
}

void server_log_scan(FILE *f, struct buf *lines, char trouble[256])
{
	char line[LINE_MAX_BYTES];
	bool begun = false; /* what comes is the rest of a line that was cut */
	trouble[0] = '\0';
	while (fgets(line, sizeof line, f) != NULL) {
		size_t n = strlen(line);
		bool whole = n > 0 && line[n - 1] == '\n';
		const char *message = begun ? NULL : own_message(line);
		if (whole)
			line[n - 1] = '\0';
		begun = !whole;
		if (message == NULL)
			continue;
		keep_line(lines, line);
		if (trouble[0] == '\0' && is_trouble(message))
			snprintf(trouble, 256, "%s", message);
	}
}

const char *server_log_read(const char *path, int64_t from, struct buf *lines, char trouble[256])
{
	trouble[0] = '\0';
	FILE *f = fopen(path, "re");
	if (f == NULL)
		return trouble;
	if (fseeko(f, (off_t)from, SEEK_SET) != 0)
		rewind(f);
	server_log_scan(f, lines, trouble);
	fclose(f);
	return trouble;
}
