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

/* Length of the well-formed UTF-8 sequence at s, or 0. jansson refuses surrogates and overlong forms, so they count as malformed. */
static size_t utf8_length(const unsigned char *s)
{
	if (s[0] < 0x80)
		return 1;
	size_t n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
	if (s[0] < 0xC2 || s[0] > 0xF4)
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xC0) != 0x80)
			return 0;
	if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
		(s[0] == 0xF4 && s[1] > 0x8F))
		return 0;
	return n;
}

json_t *json_text(const char *text)
{
	if (text == NULL)
		return json_null();
	json_t *whole = json_string(text);
	if (whole != NULL)
		return whole;
	struct buf out;
	buf_init(&out, 4 * strlen(text) + 1);
	for (const unsigned char *at = (const unsigned char *)text; *at != 0;) {
		size_t n = utf8_length(at);
		if (n == 0)
			buf_str(&out, "\xEF\xBF\xBD");
		else
			buf_add(&out, at, n);
		at += n == 0 ? 1 : n;
	}
	whole = json_string(out.data);
	buf_free(&out);
	return whole;
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
