/* JSON through jansson: reading with our errors, writing whole files. */
#ifndef PGR_BASE_JSON_H
#define PGR_BASE_JSON_H

#include "base/error.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

/* Reads one JSON value from a file of at most 64 MB. The caller owns *out. */
enum status json_read_file(const char *path, json_t **out, struct error *err) MUST_CHECK;

/* Parses len bytes; where ("events.jsonl:17") goes into the error. The caller owns *out. */
enum status json_parse(const char *text, size_t len, const char *where, json_t **out, struct error *err) MUST_CHECK;

/* Replaces path atomically with value, indented. */
enum status json_write_file(const char *path, const json_t *value, struct error *err) MUST_CHECK;

/* A string value of text from outside (a server message, a file name): bytes that are not UTF-8 become U+FFFD. NULL gives null. */
json_t *json_text(const char *text);

/* A string field or fallback; an integer field or fallback; a real (or integer) field or fallback. */
const char *json_get_string(const json_t *object, const char *key, const char *fallback);
int64_t json_get_int(const json_t *object, const char *key, int64_t fallback);
double json_get_number(const json_t *object, const char *key, double fallback);

#endif
