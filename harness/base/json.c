/* JSON through jansson: reading with our errors, writing whole files. */
#define _GNU_SOURCE
#include "base/json.h"

#include "base/buf.h"
#include "base/fs.h"

#include <stdlib.h>
#include <string.h>

#define JSON_FILE_MAX ((size_t)64 << 20)

enum status json_parse(const char *text, size_t len, const char *where, json_t **out, struct error *err)
{
	json_error_t problem;
	*out = json_loadb(text, len, JSON_DECODE_ANY, &problem);
	if (*out != NULL)
		return ST_OK;
	error_set(err, ST_USAGE, "not JSON: %s", problem.text);
	if (problem.line > 1)
		error_where(err, "%s:%d", where, problem.line);
	else
		error_where(err, "%s", where);
	return ST_USAGE;
}

enum status json_read_file(const char *path, json_t **out, struct error *err)
{
	struct buf text;
	buf_init(&text, JSON_FILE_MAX);
	*out = NULL;
	enum status st = fs_read_file(path, &text, err);
	if (st == ST_OK)
		st = json_parse(text.data, text.len, path, out, err);
	buf_free(&text);
	return st;
}

enum status json_write_file(const char *path, const json_t *value, struct error *err)
{
	char *text = json_dumps(value, JSON_INDENT(1) | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12));
	if (text == NULL)
		return error_set(err, ST_FAILED, "cannot write %s: out of memory or text that is not UTF-8", path);
	enum status st = fs_write_file(path, text, strlen(text), err);
	free(text);
	return st;
}

const char *json_get_string(const json_t *object, const char *key, const char *fallback)
{
	const char *value = json_string_value(json_object_get(object, key));
	return value != NULL ? value : fallback;
}

int64_t json_get_int(const json_t *object, const char *key, int64_t fallback)
{
	const json_t *value = json_object_get(object, key);
	return json_is_integer(value) ? (int64_t)json_integer_value(value) : fallback;
}

double json_get_number(const json_t *object, const char *key, double fallback)
{
	const json_t *value = json_object_get(object, key);
	return json_is_number(value) ? json_number_value(value) : fallback;
}
