/* libFuzzer target: a server's configuration and a dump's SQL, line by line, as clones read them. */
#define _GNU_SOURCE
#include "clone/source_config.h"
#include "clone/source_roles.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
	if (!holds)
		abort();
}

static void check_names(const struct source_names *names)
{
	for (size_t i = 0; i < names->n; i++) {
		require(names->at[i][0] != '\0' && strlen(names->at[i]) < 128);
		for (size_t j = 0; j < i; j++)
			require(strcmp(names->at[i], names->at[j]) != 0);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	struct buf name, value;
	struct source_found found = {0};
	int state = 0;
	if (text == NULL)
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	buf_init(&name, 1 << 20);
	buf_init(&value, 1 << 20);
	for (char *line = text, *next; line != NULL; line = next) {
		next = strchr(line, '\n');
		if (next != NULL)
			*next++ = '\0';
		size_t n = strlen(line);
		enum source_setting got = source_read_setting(line, &name, &value);
		require(got != SETTING_READ || (name.len > 0 && name.len + value.len <= n));
		require(got != SETTING_NONE || (name.len == 0 && value.len == 0));
		source_scan_line(line, &state, &found);
	}
	check_names(&found.roles);
	check_names(&found.databases);
	check_names(&found.tablespaces);
	source_found_free(&found);
	buf_free(&name);
	buf_free(&value);
	free(text);
	return 0;
}
