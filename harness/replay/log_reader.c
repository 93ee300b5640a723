/* Which format, in which order the files, and the one loop that asks the splitters. */
#define _GNU_SOURCE
#include "replay/log_reader.h"

#include "replay/log_language.h"
#include "replay/log_parse.h"
#include "replay/log_source.h"

#include <stdio.h>
#include <stdlib.h>

#define SAMPLE ((size_t)1 << 16)

struct log_reader {
	struct log_source *source;
	enum log_format format;
	struct log_prefix *prefix;
	struct log_clock clock;
	struct log_csv_tail csv_tail;
	struct log_stderr_ahead ahead;
	const char **paths; /* in the order of their times */
	size_t n;
	bool in_file;
	bool skipping; /* what is left of a record that was too long */
	int64_t line;  /* the next one, of this file, from 1 */
};

enum log_severity log_severity_read(const char *word, size_t n)
{
	static const struct {
		const char *word;
		enum log_severity severity;
	} WORDS[] = {
		{"LOG", LOG_SEVERITY_LOG},
		{"ERROR", LOG_SEVERITY_ERROR},
		{"FATAL", LOG_SEVERITY_FATAL},
		{"PANIC", LOG_SEVERITY_FATAL},
		{"WARNING", LOG_SEVERITY_WARNING},
		{"NOTICE", LOG_SEVERITY_NOTICE},
		{"INFO", LOG_SEVERITY_NOTICE},
	};
	struct log_text t = {.at = (char *)(uintptr_t)word, .n = n};
	for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++)
		if (log_text_is(&t, WORDS[i].word))
			return WORDS[i].severity;
	if (log_text_begins(&t, "DEBUG"))
		return LOG_SEVERITY_DEBUG;
	const char *english = log_language_english(&t);
	return english != NULL ? log_severity_read(english, strlen(english)) : LOG_SEVERITY_UNKNOWN;
}

int64_t log_number_read(const char *text, size_t n)
{
	int64_t value = 0;
	if (n > 18)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return 0;
		value = value * 10 + (text[i] - '0');
	}
	return value;
}

/* Value + 1 of a hexadecimal digit as the server writes them; 0: it is none. */
static const unsigned char HEX[256] = {['0'] = 1,
	['1'] = 2,
	['2'] = 3,
	['3'] = 4,
	['4'] = 5,
	['5'] = 6,
	['6'] = 7,
	['7'] = 8,
	['8'] = 9,
	['9'] = 10,
	['a'] = 11,
	['b'] = 12,
	['c'] = 13,
	['d'] = 14,
	['e'] = 15,
	['f'] = 16};

/* At most 8 digits, or -1. */
static inline int64_t read_hex(const char *text, const char *end)
{
	int64_t value = 0;
	if (text == end || end - text > 8)
		return -1;
	for (; text < end; text++) {
		unsigned digit = HEX[(unsigned char)*text];
		if (digit == 0)
			return -1;
		value = value << 4 | (digit - 1);
	}
	return value;
}

void log_session_id_read(const char *text, size_t n, struct log_entry *e)
{
	/* The start has had 8 digits since 2004. */
	const char *dot = n > 8 && text[8] == '.' ? text + 8 : n > 0 ? memchr(text, '.', n) : NULL;
	if (dot == NULL)
		return;
	int64_t start = read_hex(text, dot), pid = read_hex(dot + 1, text + n);
	if (start < 0 || pid < 0)
		return;
	e->start_s = start;
	e->session = (uint64_t)start << 32 | (uint64_t)pid;
	if (e->pid == 0)
		e->pid = (int)(pid & INT32_MAX);
}

int64_t log_lines_count(const char *text, size_t n)
{
	int64_t lines = 0;
	const char *end = text + n;
	for (const char *p = text; p < end; p++) {
		p = memchr(p, '\n', (size_t)(end - p));
		if (p == NULL)
			return lines + 1;
		lines++;
	}
	return lines;
}

const char *log_format_name(enum log_format format)
{
	static const char *const NAMES[] = {"unknown", "csvlog", "jsonlog", "stderr"};
	return NAMES[format];
}

/* ---- opening ---- */

static size_t first_line(const char *at, size_t n)
{
	const char *newline = memchr(at, '\n', n);
	return newline != NULL ? (size_t)(newline - at) : n;
}

/* Several lines are looked at, since the first ones may be another writer's. */
static enum log_format guess_format(const char *at, size_t n)
{
	struct log_clock clock = {0};
	for (size_t i = 0, lines = 0; i < n && lines < 200; lines++) {
		size_t length = first_line(at + i, n - i), used;
		if (length > 2 && at[i] == '{' && at[i + 1] == '"')
			return LOG_FORMAT_JSON;
		if (log_clock_read(&clock, at + i, length, &used) != INT64_MIN && used < length && at[i + used] == ',')
			return LOG_FORMAT_CSV;
		i += length + 1;
	}
	return log_prefix_guess(at, n) != NULL ? LOG_FORMAT_STDERR : LOG_FORMAT_GUESS;
}

struct opening {
	const char *path;
	size_t place;
	int64_t first_ns;
	enum log_format format;
};

static int by_time(const void *a, const void *b)
{
	const struct opening *x = a, *y = b;
	if (x->first_ns != y->first_ns)
		return x->first_ns < y->first_ns ? -1 : 1;
	return x->place < y->place ? -1 : 1;
}

static enum status choose_prefix(struct log_reader *r, const struct log_reader_config *config, const char *at, size_t n, struct error *err)
{
	const char *text = config->prefix != NULL ? config->prefix : log_prefix_guess(at, n);
	if (text == NULL) {
		enum status st = error_set(err, ST_USAGE, "its lines begin with none of the prefixes in common use");
		error_hint(err, "--prefix, with what SHOW log_line_prefix says");
		return st;
	}
	return log_prefix_compile(text, &r->prefix, err);
}

static bool all_lines_end_with_return(const char *at, size_t n)
{
	const char *end = at + n;
	for (const char *p = at; (p = memchr(p, '\n', (size_t)(end - p))) != NULL; p++)
		if (p == at || p[-1] != '\r')
			return false;
	return n > 0;
}

/* The time of the first message within the bytes; INT64_MAX: there is none. */
static int64_t first_time(struct log_reader *r, enum log_format format, char *at, size_t n)
{
	struct log_entry e;
	for (size_t used; n > 0; at += used, n -= used) {
		enum log_parse parsed = format == LOG_FORMAT_CSV ? log_csv_parse(&r->clock, &r->csv_tail, at, n, true, &e, &used)
			: format == LOG_FORMAT_JSON              ? log_json_parse(&r->clock, at, n, true, &e, &used)
						    : log_stderr_parse(&r->clock, r->prefix, &r->ahead, at, n, true, &e, &used);
		if (parsed == LOG_PARSE_OK && e.time_ns != INT64_MIN)
			return e.time_ns;
	}
	return INT64_MAX;
}

static enum status look_at(
	struct log_reader *r, const struct log_reader_config *config, struct log_source *s, struct opening *o, struct error *err)
{
	while (log_source_n(s) < SAMPLE && log_source_fill(s))
		;
	char *at = log_source_at(s);
	size_t n = log_source_n(s) < SAMPLE ? log_source_n(s) : SAMPLE;
	o->first_ns = INT64_MAX;
	o->format = config->format;
	if (n == 0)
		return ST_OK; /* an empty file is of any format */
	if (o->format == LOG_FORMAT_GUESS)
		o->format = config->prefix != NULL ? LOG_FORMAT_STDERR : guess_format(at, n);
	if (o->format == LOG_FORMAT_GUESS) {
		enum status st = error_set(err, ST_USAGE, "this is neither csvlog nor jsonlog, nor stderr with a prefix in common use");
		error_hint(err, "--format csv, json or stderr; for stderr --prefix, with what SHOW log_line_prefix says");
		return st;
	}
	if (r->format == LOG_FORMAT_GUESS)
		r->format = o->format;
	if (r->format != o->format) {
		enum status st = error_set(
			err, ST_USAGE, "this is %s, other files are %s", log_format_name(o->format), log_format_name(r->format));
		error_hint(err, "name the files of one format: the server writes the same messages to each");
		return st;
	}
	if (r->format == LOG_FORMAT_STDERR && r->prefix == NULL && choose_prefix(r, config, at, n, err) != ST_OK)
		return err->status;
	r->ahead.crlf = all_lines_end_with_return(at, n);
	/* Looking changes the bytes, so it is done on a copy; the source itself is opened again. */
	if (r->n > 1) {
		char *copy = malloc(n);
		if (copy == NULL)
			abort();
		memcpy(copy, at, n);
		o->first_ns = first_time(r, r->format, copy, n);
		r->ahead.at = NULL;
		free(copy);
	}
	return ST_OK;
}

/* A pipe cannot be opened twice: a single file is looked at in the source that is then read. */
static enum status open_single(struct log_reader *r, const struct log_reader_config *config, struct error *err)
{
	struct opening o = {0};
	r->source = config->memory != NULL ? log_source_create_memory(config->memory, config->memory_n) : log_source_create(r->paths, 1);
	if (log_source_next_file(r->source, err) && err->status != ST_OK)
		return err->status;
	r->in_file = true;
	enum status st = look_at(r, config, r->source, &o, err);
	if (st != ST_OK)
		error_where(err, "%s", log_source_path(r->source, 0));
	return st;
}

static enum status open_several(struct log_reader *r, const struct log_reader_config *config, struct error *err)
{
	enum status st = ST_OK;
	struct opening *all = calloc(r->n, sizeof *all);
	if (all == NULL)
		abort();
	for (size_t i = 0; i < r->n && st == ST_OK; i++) {
		all[i] = (struct opening){.path = r->paths[i], .place = i};
		if (strcmp(r->paths[i], "-") == 0) {
			st = error_set(err, ST_USAGE, "standard input cannot be one of several logs");
			break;
		}
		struct log_source *s = log_source_create(&r->paths[i], 1);
		if (log_source_next_file(s, err) && err->status != ST_OK)
			st = err->status;
		else if ((st = look_at(r, config, s, &all[i], err)) != ST_OK)
			error_where(err, "%s", r->paths[i]);
		log_source_free(s);
	}
	if (st == ST_OK)
		qsort(all, r->n, sizeof *all, by_time);
	for (size_t i = 0; i < r->n && st == ST_OK; i++)
		r->paths[i] = all[i].path;
	free(all);
	r->source = log_source_create(r->paths, r->n);
	return st;
}

enum status log_reader_open(const struct log_reader_config *config, struct log_reader **out, struct error *err)
{
	struct log_reader *r = calloc(1, sizeof *r);
	if (r == NULL)
		abort();
	*err = (struct error){0};
	r->n = config->memory != NULL ? 1 : config->n;
	r->line = 1;
	r->paths = calloc(r->n > 0 ? r->n : 1, sizeof *r->paths);
	if (r->paths == NULL)
		abort();
	for (size_t i = 0; i < r->n && config->memory == NULL; i++)
		r->paths[i] = config->paths[i];
	enum status st = r->n == 0 ? error_set(err, ST_USAGE, "which log?")
		: r->n == 1        ? open_single(r, config, err)
				   : open_several(r, config, err);
	if (st == ST_OK && r->format == LOG_FORMAT_GUESS)
		r->format = LOG_FORMAT_CSV; /* nothing in it */
	if (st == ST_OK)
		*out = r;
	else
		log_reader_close(r);
	return st;
}

void log_reader_close(struct log_reader *r)
{
	if (r == NULL)
		return;
	log_source_free(r->source);
	log_prefix_free(r->prefix);
	free(r->paths);
	free(r);
}

/* ---- reading ---- */

static bool file_trouble(struct log_reader *r, const char *text, struct log_entry *e)
{
	*e = (struct log_entry){.time_ns = INT64_MIN, .trouble = LOG_TROUBLE_FILE, .file = log_source_file(r->source), .line = r->line};
	e->message = (struct log_text){(char *)(uintptr_t)text, strlen(text)};
	return true;
}

/* The record fills the buffer. Its begin is told; up to the next line end that is near, the rest is dropped. */
static void skip_long(struct log_reader *r, struct log_entry *e)
{
	char *at = log_source_at(r->source);
	size_t n = log_source_n(r->source);
	e->trouble = LOG_TROUBLE_LONG;
	e->message = (struct log_text){at, n < 200 ? n : 200};
	e->lines = log_lines_count(at, n);
	r->line += e->lines;
	log_source_take(r->source, n);
	r->skipping = true;
}

static void skip_rest(struct log_reader *r)
{
	for (;;) {
		char *at = log_source_at(r->source);
		size_t n = log_source_n(r->source);
		char *newline = n > 0 ? memchr(at, '\n', n) : NULL;
		if (newline != NULL) {
			log_source_take(r->source, (size_t)(newline - at) + 1);
			break;
		}
		log_source_take(r->source, n);
		if (!log_source_fill(r->source))
			break;
	}
	r->skipping = false;
}

static enum log_parse parse(struct log_reader *r, struct log_entry *e, size_t *used)
{
	char *at = log_source_at(r->source);
	size_t n = log_source_n(r->source);
	bool final = log_source_at_end(r->source);
	switch (r->format) {
	case LOG_FORMAT_JSON:
		return log_json_parse(&r->clock, at, n, final, e, used);
	case LOG_FORMAT_STDERR:
		return log_stderr_parse(&r->clock, r->prefix, &r->ahead, at, n, final, e, used);
	default:
		return log_csv_parse(&r->clock, &r->csv_tail, at, n, final, e, used);
	}
}

bool log_reader_next(struct log_reader *r, struct log_entry *e)
{
	static _Thread_local struct error err;
	for (;;) {
		if (!r->in_file) {
			if (!log_source_next_file(r->source, &err))
				return false;
			r->in_file = true;
			r->line = 1;
			if (err.status != ST_OK)
				return file_trouble(r, err.what, e);
		}
		if (r->skipping)
			skip_rest(r);
		if (log_source_n(r->source) == 0 && !log_source_fill(r->source)) {
			const char *why = log_source_error(r->source);
			r->in_file = false;
			if (why != NULL)
				return file_trouble(r, why, e);
			continue;
		}
		size_t used = 0;
		int64_t line = r->line;
		enum log_parse parsed = parse(r, e, &used);
		if (parsed == LOG_PARSE_MORE) {
			if (log_source_fill(r->source) || log_source_at_end(r->source))
				continue;
			skip_long(r, e);
		} else if (parsed == LOG_PARSE_BAD && log_source_n(r->source) >= LOG_RECORD_MAX && used == log_source_n(r->source)) {
			skip_long(r, e);
		} else {
			log_source_take(r->source, used);
			r->line += e->lines + e->alien_lines;
		}
		e->file = log_source_file(r->source);
		e->line = line;
		return true;
	}
}

enum log_format log_reader_format(const struct log_reader *r)
{
	return r->format;
}

const char *log_reader_prefix(const struct log_reader *r)
{
	return r->prefix != NULL ? log_prefix_text(r->prefix) : NULL;
}

const char *log_reader_path(const struct log_reader *r, size_t file)
{
	return log_source_path(r->source, file);
}

const char *log_reader_unknown_zone(const struct log_reader *r)
{
	return r->clock.unknown_zone ? r->clock.unknown_name : NULL;
}

void log_reader_progress(const struct log_reader *r, int64_t *done, int64_t *total)
{
	*done = log_source_bytes(r->source);
	*total = log_source_total(r->source);
}
