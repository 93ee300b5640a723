/* Interval logs: the lines around the payloads. */
#define _GNU_SOURCE
#include "measure/hlog.h"

#include "base/clock.h"
#include "measure/payload.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void hlog_format_header(struct buf *out, int64_t start_wall_ns)
{
	char stamp[32];
	buf_printf(out,
		"#[Histogram log format version 1.2]\n"
		"#[StartTime: %" PRId64 ".%03" PRId64 " (seconds since epoch), %s]\n"
		"\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n",
		start_wall_ns / NS_PER_S, start_wall_ns % NS_PER_S / NS_PER_MS, clock_format_wall(start_wall_ns, stamp, sizeof stamp));
}

static bool tag_is_fit(const char *tag)
{
	for (; *tag != '\0'; tag++) {
		unsigned char c = (unsigned char)*tag;
		if (c <= ' ' || c == ',' || c == 0x7f)
			return false;
	}
	return true;
}

enum status hlog_format_line(struct buf *out, const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *h, struct error *err)
{
	if (!tag_is_fit(tag)) {
		error_set(err, ST_USAGE, "a histogram log cannot hold the tag \"%s\"", tag);
		error_hint(err, "tags are without commas, white space and control characters");
		return ST_USAGE;
	}
	if (start_ns < 0 || end_ns < start_ns)
		return error_set(
			err, ST_USAGE, "a histogram log cannot hold an interval from %" PRId64 " ns to %" PRId64 " ns", start_ns, end_ns);
	size_t before = out->len;
	if (tag[0] != '\0')
		buf_printf(out, "Tag=%s,", tag);
	int64_t length_ns = end_ns - start_ns;
	int64_t max_ns = hist_max(h);
	buf_printf(out, "%" PRId64 ".%09" PRId64 ",%" PRId64 ".%09" PRId64 ",%" PRId64 ".%06" PRId64 ",", start_ns / NS_PER_S,
		start_ns % NS_PER_S, length_ns / NS_PER_S, length_ns % NS_PER_S, max_ns / NS_PER_MS, max_ns % NS_PER_MS);
	enum status st = payload_encode(h, out, err);
	buf_char(out, '\n');
	if (st == ST_OK && out->overflow)
		st = error_set(err, ST_FAILED, "no room for a line of the histogram log");
	if (st != ST_OK) {
		out->len = before;
		if (out->cap > 0)
			out->data[before] = '\0';
	}
	return st;
}

static enum status write_out(FILE *file, struct buf *b, enum status st, struct error *err)
{
	if (st == ST_OK && (b->overflow || fwrite(b->data, 1, b->len, file) != b->len))
		st = error_errno(err, ST_FAILED, "cannot write to the histogram log");
	buf_free(b);
	return st;
}

enum status hlog_write_header(FILE *file, int64_t start_wall_ns, struct error *err)
{
	struct buf b;
	buf_init(&b, HLOG_LINE_MAX);
	hlog_format_header(&b, start_wall_ns);
	return write_out(file, &b, ST_OK, err);
}

enum status hlog_write(FILE *file, const char *tag, int64_t start_ns, int64_t end_ns, const struct hist *h, struct error *err)
{
	struct buf b;
	buf_init(&b, HLOG_LINE_MAX);
	enum status st = hlog_format_line(&b, tag, start_ns, end_ns, h, err);
	return write_out(file, &b, st, err);
}

struct hlog_reader {
	FILE *file;
	char *name;
	char *line; /* HLOG_LINE_MAX + 1 bytes */
	int64_t line_number;
	int64_t start_wall_ns;
	bool at_end;
	struct hist *hist;
	struct payload_scratch scratch;
};

enum status hlog_open_stream(FILE *file, const char *name, struct hlog_reader **out, struct error *err)
{
	*out = NULL;
	struct hlog_reader *r = calloc(1, sizeof *r);
	if (r == NULL) {
		fclose(file);
		return error_set(err, ST_FAILED, "no memory to read a histogram log");
	}
	r->file = file;
	r->name = strdup(name);
	r->line = malloc(HLOG_LINE_MAX + 1);
	r->hist = hist_create();
	enum status st = payload_scratch_init(&r->scratch, HLOG_LINE_MAX, err);
	if (st == ST_OK && (r->name == NULL || r->line == NULL || r->hist == NULL))
		st = error_set(err, ST_FAILED, "no memory to read a histogram log");
	if (st != ST_OK) {
		hlog_close(r);
		return st;
	}
	*out = r;
	return ST_OK;
}

enum status hlog_open(const char *path, struct hlog_reader **out, struct error *err)
{
	*out = NULL;
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return error_errno(err, ST_FAILED, "cannot open the histogram log %s", path);
	return hlog_open_stream(file, path, out, err);
}

void hlog_close(struct hlog_reader *r)
{
	if (r == NULL)
		return;
	fclose(r->file);
	free(r->name);
	free(r->line);
	hist_free(r->hist);
	payload_scratch_free(&r->scratch);
	free(r);
}

int64_t hlog_start_wall_ns(const struct hlog_reader *r)
{
	return r->start_wall_ns;
}

enum line_end { LINE_WHOLE, LINE_CUT, LINE_TOO_LONG, LINE_NONE };

/* Reads a line without its end into r->line; of one that is too long, only the beginning. */
static enum line_end read_line(struct hlog_reader *r, size_t *len)
{
	size_t n = 0;
	bool long_line = false;
	int c;
	while ((c = getc_unlocked(r->file)) != EOF && c != '\n') {
		if (n < HLOG_LINE_MAX)
			r->line[n++] = (char)c;
		else
			long_line = true;
	}
	if (n > 0 && r->line[n - 1] == '\r')
		n--;
	r->line[n] = '\0';
	*len = n;
	if (c == EOF)
		return n == 0 ? LINE_NONE : LINE_CUT;
	r->line_number++;
	return long_line ? LINE_TOO_LONG : LINE_WHOLE;
}

/* Reads "12.345" at *text in units of 10^-decimals, dropping digits beyond; moves *text behind it. False for anything else. */
static bool read_fixed(const char **text, int decimals, int64_t *out)
{
	const char *p = *text;
	int64_t value = 0;
	if (!isdigit((unsigned char)*p))
		return false;
	for (; isdigit((unsigned char)*p); p++) {
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *p - '0', &value))
			return false;
	}
	if (*p == '.')
		p++;
	for (int i = 0; i < decimals; i++) {
		int digit = isdigit((unsigned char)*p) ? *p++ - '0' : 0;
		if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, digit, &value))
			return false;
	}
	while (isdigit((unsigned char)*p))
		p++;
	*text = p;
	*out = value;
	return true;
}

/* The log's max column tells the maximum more precisely than its slot does; believed as far as the slot allows it. */
static void restore_max(struct hist *h, int64_t max_ns)
{
	if (h->total == 0)
		return;
	if (max_ns > HIST_HIGHEST_NS && h->last == HIST_SLOTS - 1) {
		h->max_ns = max_ns;
		h->saturated = 1;
	} else if (max_ns >= hist_slot_low(h->last) && max_ns <= hist_slot_high(h->last)) {
		h->max_ns = max_ns;
	}
}

static enum status parse_line(struct hlog_reader *r, size_t len, struct hlog_line *out, struct error *err)
{
	char *p = r->line;
	char *tag = p + len; /* "" */
	if (strncmp(p, "Tag=", 4) == 0) {
		char *comma = strchr(p, ',');
		if (comma == NULL)
			return error_set(err, ST_FAILED, "a line of the histogram log ends within its tag");
		tag = p + 4;
		*comma = '\0';
		p = comma + 1;
	}
	const char *at = p;
	int64_t start_ns, length_ns, end_ns, max_ns = 0;
	if (!read_fixed(&at, 9, &start_ns) || *at++ != ',' || !read_fixed(&at, 9, &length_ns) || *at++ != ',' ||
		__builtin_add_overflow(start_ns, length_ns, &end_ns)) {
		error_set(err, ST_FAILED, "a line of the histogram log does not start with two times");
		error_hint(err, "\"[Tag=T,]start,length,max,payload\" with times in seconds is what a line looks like");
		return ST_FAILED;
	}
	if (!read_fixed(&at, 6, &max_ns))
		max_ns = 0; /* in whatever notation: it is only a help */
	at = strchr(at, ',');
	if (at == NULL)
		return error_set(err, ST_FAILED, "a line of the histogram log has no histogram");
	at++;
	enum status st = payload_decode(&r->scratch, at, strlen(at), r->hist, err);
	if (st != ST_OK)
		return st;
	restore_max(r->hist, max_ns);
	*out = (struct hlog_line){tag, start_ns, end_ns, r->hist};
	return ST_OK;
}

static enum status parse_comment(struct hlog_reader *r, struct error *err)
{
	static const char VERSION[] = "#[Histogram log format version ";
	static const char START[] = "#[StartTime: ";
	if (strncmp(r->line, VERSION, sizeof VERSION - 1) == 0 && strncmp(r->line + sizeof VERSION - 1, "1.", 2) != 0) {
		error_set(err, ST_FAILED, "the histogram log is of version %.8s", r->line + sizeof VERSION - 1);
		error_hint(err, "versions 1.0 to 1.3 can be read");
		return ST_FAILED;
	}
	if (strncmp(r->line, START, sizeof START - 1) == 0) {
		const char *at = r->line + sizeof START - 1;
		int64_t wall_ns;
		if (read_fixed(&at, 9, &wall_ns))
			r->start_wall_ns = wall_ns;
	}
	return ST_OK;
}

enum status hlog_next(struct hlog_reader *r, struct hlog_line *out, struct error *err)
{
	*out = (struct hlog_line){.tag = ""};
	while (!r->at_end) {
		size_t len;
		enum status st = ST_OK;
		enum line_end end = read_line(r, &len);
		if (end == LINE_CUT || end == LINE_NONE) {
			r->at_end = true;
			if (ferror(r->file))
				return error_errno(err, ST_FAILED, "cannot read the histogram log %s", r->name);
			if (end == LINE_NONE)
				return ST_OK;
		}
		if (end == LINE_TOO_LONG)
			st = error_set(err, ST_FAILED, "a line of the histogram log is longer than %d bytes", HLOG_LINE_MAX);
		else if (r->line[0] == '#')
			st = parse_comment(r, err);
		else if (len > 0 && r->line[0] != '"') /* the names of the columns are quoted */
			st = parse_line(r, len, out, err);
		if (end == LINE_CUT && st != ST_OK) /* by the death of its writer; other writers may just omit the last line's end */
			return ST_OK;
		if (st != ST_OK) {
			error_where(err, "%s:%" PRId64, r->name, r->line_number);
			return st;
		}
		if (out->hist != NULL)
			return ST_OK;
	}
	return ST_OK;
}
