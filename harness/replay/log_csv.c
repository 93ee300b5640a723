/* csvlog. Columns were added over the versions (23 up to 12, 24 in 13, 26 since 14), so they are counted, not presumed.
 *
 * A record that was cut off leaves its quotes open and swallows the next one, whose first quote then closes it in a place where no
 * quote can be: that is where it shows. Reading goes on where a line next begins with a time. */
#define _GNU_SOURCE
#include "replay/log_block.h"
#include "replay/log_language.h"
#include "replay/log_parse.h"

#define COLUMNS_MIN 22
#define COLUMNS_MAX 48

enum column {
	COLUMN_TIME,
	COLUMN_USER,
	COLUMN_DATABASE,
	COLUMN_PID,
	COLUMN_HOST,
	COLUMN_SESSION,
	COLUMN_SESSION_LINE,
	COLUMN_PS,
	COLUMN_XID = 10,
	COLUMN_SEVERITY,
	COLUMN_SQLSTATE,
	COLUMN_MESSAGE,
	COLUMN_DETAIL,
	COLUMN_CONTEXT = 18,
	COLUMN_QUERY,
	COLUMN_APPLICATION = 22,
	COLUMN_BACKEND_TYPE,
};

struct fields {
	struct log_text at[COLUMNS_MAX];
	uint64_t doubled; /* bit i: field i has quotes to halve */
	unsigned n;
};

static bool begins_record(const char *line, size_t n)
{
	static const char SHAPE[] = "dddd-dd-dd dd:dd:dd";
	if (n < sizeof SHAPE - 1)
		return false;
	for (size_t i = 0; i < sizeof SHAPE - 1; i++)
		if (SHAPE[i] == 'd' ? line[i] < '0' || line[i] > '9' : line[i] != SHAPE[i])
			return false;
	return true;
}

/* Where the next record may begin, behind this line; n: nowhere. */
static size_t next_record(const char *at, size_t n)
{
	for (const char *p = at;;) {
		p = memchr(p, '\n', (size_t)(at + n - p));
		if (p == NULL)
			return n;
		p++;
		/* What is too short to tell counts as one: the next look will see more of it. */
		if ((size_t)(at + n - p) < 20 || begins_record(p, (size_t)(at + n - p)))
			return (size_t)(p - at);
	}
}

static inline void look_at(struct log_block *b, char *at, const char *end)
{
	log_block_look(b, at, end, ',', '\n');
}

/* The comma or line end at p or behind it; end: there is none. */
static inline char *find_stop(struct log_block *b, char *p, char *end)
{
	for (;;) {
		size_t i = (size_t)(p - b->at);
		if (i < 64) {
			uint64_t found = b->stops >> i;
			if (found != 0)
				return p + __builtin_ctzll(found);
			p = b->at + 64;
		}
		if (p >= end)
			return end;
		look_at(b, p, end);
	}
}

/* The quote at p or behind it; NULL: there is none. */
static inline char *find_quote(struct log_block *b, char *p, char *end)
{
	size_t i = (size_t)(p - b->at);
	if (i < 64) {
		uint64_t found = b->quotes >> i;
		if (found != 0)
			return p + __builtin_ctzll(found);
		p = b->at + 64;
	}
	if (p >= end)
		return NULL;
	look_at(b, p, end);
	if (b->quotes != 0)
		return p + __builtin_ctzll(b->quotes);
	/* A long text. */
	return end - p > 64 ? memchr(p + 64, '"', (size_t)(end - p - 64)) : NULL;
}

/* What follows the detail is what followed the last one. */
static inline bool take_tail(const struct log_csv_tail *tail, char *p, const char *end, struct fields *f)
{
	if ((size_t)(end - p) < tail->n || tail->n == 0 || memcmp(p, tail->text, tail->n) != 0)
		return false;
	f->at[COLUMN_CONTEXT] = f->at[COLUMN_QUERY] = (struct log_text){0};
	f->at[COLUMN_APPLICATION] = (struct log_text){p + tail->application, tail->application_n};
	f->at[COLUMN_BACKEND_TYPE] = (struct log_text){p + tail->backend_type, tail->backend_type_n};
	f->n = tail->columns;
	return true;
}

static void remember_tail(struct log_csv_tail *tail, const char *p, size_t n, const struct fields *f)
{
	tail->n = 0;
	if (n > sizeof tail->text || f->n <= COLUMN_APPLICATION || f->doubled >> COLUMN_CONTEXT != 0 || f->at[COLUMN_CONTEXT].n > 0 ||
		f->at[COLUMN_QUERY].n > 0 || p[n - 1] != '\n')
		return;
	memcpy(tail->text, p, n);
	tail->n = n;
	tail->columns = f->n;
	tail->application = (size_t)(f->at[COLUMN_APPLICATION].at - p);
	tail->application_n = f->at[COLUMN_APPLICATION].n;
	tail->backend_type = f->n > COLUMN_BACKEND_TYPE ? (size_t)(f->at[COLUMN_BACKEND_TYPE].at - p) : 0;
	tail->backend_type_n = f->n > COLUMN_BACKEND_TYPE ? f->at[COLUMN_BACKEND_TYPE].n : 0;
}

static inline enum log_parse split(struct log_csv_tail *tail, char *at, size_t n, bool final, struct fields *f, size_t *used)
{
	char *p = at, *end = at + n, *behind_detail = NULL;
	struct log_block b;
	f->n = 0;
	f->doubled = 0;
	look_at(&b, p, end);
	for (;;) {
		struct log_text *field = &f->at[f->n];
		if (p < end && *p == '"') {
			char *q = p + 1;
			for (;;) {
				q = find_quote(&b, q, end);
				if (q == NULL || (q + 1 == end && !final))
					return final ? LOG_PARSE_BAD : LOG_PARSE_MORE;
				if (q + 1 == end || q[1] != '"')
					break;
				f->doubled |= UINT64_C(1) << f->n;
				q += 2;
			}
			*field = (struct log_text){p + 1, (size_t)(q - p - 1)};
			p = q + 1;
		} else {
			char *begin = p;
			if (p < end && *p != ',')
				p = find_stop(&b, p, end);
			*field = (struct log_text){begin, (size_t)(p - begin)};
		}
		f->n++;
		if (p < end && *p == ',' && f->n < COLUMNS_MAX) {
			if (f->n == COLUMN_DETAIL + 1) {
				if (take_tail(tail, p, end, f)) {
					*used = (size_t)(p - at) + tail->n;
					return LOG_PARSE_OK;
				}
				behind_detail = p;
			}
			p++;
			continue;
		}
		if (p < end && *p == '\r' && (p + 1 == end || p[1] == '\n'))
			p++;
		if (p == end) {
			*used = n;
			return final ? LOG_PARSE_OK : LOG_PARSE_MORE;
		}
		if (*p != '\n')
			return LOG_PARSE_BAD;
		*used = (size_t)(p + 1 - at);
		if (behind_detail != NULL)
			remember_tail(tail, behind_detail, (size_t)(p + 1 - behind_detail), f);
		return LOG_PARSE_OK;
	}
}

static struct log_text halve_quotes(struct log_text t)
{
	char *to = memchr(t.at, '"', t.n), *end = t.at + t.n;
	if (to == NULL)
		return t;
	for (char *from = to; from < end;) {
		char *quote = memchr(from, '"', (size_t)(end - from));
		size_t n = (size_t)((quote != NULL ? quote + 1 : end) - from);
		memmove(to, from, n);
		to += n;
		from += n + (quote != NULL ? 1 : 0);
	}
	t.n = (size_t)(to - t.at);
	return t;
}

static inline struct log_text column(const struct fields *f, enum column c)
{
	if (f->n <= (unsigned)c)
		return (struct log_text){0};
	return (f->doubled >> c & 1) != 0 ? halve_quotes(f->at[c]) : f->at[c];
}

static enum log_parse bad(char *at, size_t n, bool final, struct log_entry *e, size_t *used)
{
	*used = next_record(at, n);
	if (*used == n && !final && n < LOG_RECORD_MAX)
		return LOG_PARSE_MORE;
	e->trouble = LOG_TROUBLE_BROKEN;
	e->message = (struct log_text){at, *used};
	e->lines = log_lines_count(at, *used);
	return LOG_PARSE_BAD;
}

enum log_parse log_csv_parse(
	struct log_clock *clock, struct log_csv_tail *tail, char *at, size_t n, bool final, struct log_entry *e, size_t *used)
{
	struct fields f;
	*e = (struct log_entry){.time_ns = INT64_MIN};
	enum log_parse result = split(tail, at, n, final, &f, used);
	if (result == LOG_PARSE_MORE && n < LOG_RECORD_MAX)
		return result;
	if (result != LOG_PARSE_OK || f.n < COLUMNS_MIN)
		return bad(at, n, final, e, used);
	size_t time_n;
	e->time_ns = log_clock_read(clock, f.at[COLUMN_TIME].at, f.at[COLUMN_TIME].n, &time_n);
	if (e->time_ns == INT64_MIN)
		return bad(at, n, final, e, used);
	e->lines = log_lines_count(at, *used);
	e->user = column(&f, COLUMN_USER);
	e->database = column(&f, COLUMN_DATABASE);
	e->host = f.at[COLUMN_HOST];
	e->ps = column(&f, COLUMN_PS);
	e->message = column(&f, COLUMN_MESSAGE);
	e->detail = column(&f, COLUMN_DETAIL);
	e->context = column(&f, COLUMN_CONTEXT);
	e->query = column(&f, COLUMN_QUERY);
	e->application = column(&f, COLUMN_APPLICATION);
	e->backend_type = column(&f, COLUMN_BACKEND_TYPE);
	e->severity = log_severity_read(f.at[COLUMN_SEVERITY].at, f.at[COLUMN_SEVERITY].n);
	if (f.at[COLUMN_SQLSTATE].n == 5)
		memcpy(e->sqlstate, f.at[COLUMN_SQLSTATE].at, 5);
	if (e->severity == LOG_SEVERITY_UNKNOWN)
		e->severity = log_language_severity(e->sqlstate);
	e->xid = (uint64_t)log_number_read(f.at[COLUMN_XID].at, f.at[COLUMN_XID].n);
	e->session_line = log_number_read(f.at[COLUMN_SESSION_LINE].at, f.at[COLUMN_SESSION_LINE].n);
	log_session_id_read(f.at[COLUMN_SESSION].at, f.at[COLUMN_SESSION].n, e);
	if (e->pid == 0)
		e->pid = (int)log_number_read(f.at[COLUMN_PID].at, f.at[COLUMN_PID].n);
	return LOG_PARSE_OK;
}
