/* jsonlog (PostgreSQL 15 and later): an object a line, keys without a value left out. Read by hand, since each line's strings are wanted
 * in place and without their escapes, which no JSON library gives. */
#define _GNU_SOURCE
#include "replay/log_block.h"
#include "replay/log_parse.h"

#define KEY_IS(k, word) ((k)->n == sizeof(word) - 1 && memcmp((k)->at, word, sizeof(word) - 1) == 0)

static char *skip_blanks(char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	return p;
}

/* A string with escapes, or one that is long: as read_string. */
static char *read_long_string(char *p, char *end, struct log_text *t, bool *escaped)
{
	char *begin = p;
	for (;;) {
		char *quote = memchr(p, '"', (size_t)(end - p));
		if (quote == NULL)
			return NULL;
		char *before = quote;
		while (before > begin && before[-1] == '\\')
			before--;
		if (((quote - before) & 1) == 0) {
			*t = (struct log_text){begin, (size_t)(quote - begin)};
			*escaped = memchr(begin, '\\', t->n) != NULL;
			return quote + 1;
		}
		p = quote + 1;
	}
}

/* A string whose first quote is at p[-1]: *t without the quotes. Returns what is behind the last one, or NULL. */
static inline char *read_string(struct log_block *b, char *p, char *end, struct log_text *t, bool *escaped)
{
	if ((size_t)(p - b->at) >= 32)
		log_block_look(b, p, end, '\\', '\\');
	size_t i = (size_t)(p - b->at);
	uint64_t quotes = b->quotes >> i, escapes = b->stops >> i;
	/* The first quote is the last one, when it comes before any backslash. */
	if (quotes == 0 || (escapes & ((quotes & -quotes) - 1)) != 0)
		return read_long_string(p, end, t, escaped);
	*t = (struct log_text){p, (size_t)__builtin_ctzll(quotes)};
	*escaped = false;
	return p + t->n + 1;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool read_hex4(const char *p, unsigned *code)
{
	*code = 0;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(p[i]);
		if (digit < 0)
			return false;
		*code = *code << 4 | (unsigned)digit;
	}
	return true;
}

static char *put_utf8(char *to, unsigned code)
{
	if (code < 0x80) {
		*to++ = (char)code;
	} else if (code < 0x800) {
		*to++ = (char)(0xc0 | code >> 6);
		*to++ = (char)(0x80 | (code & 0x3f));
	} else if (code < 0x10000) {
		*to++ = (char)(0xe0 | code >> 12);
		*to++ = (char)(0x80 | (code >> 6 & 0x3f));
		*to++ = (char)(0x80 | (code & 0x3f));
	} else {
		*to++ = (char)(0xf0 | code >> 18);
		*to++ = (char)(0x80 | (code >> 12 & 0x3f));
		*to++ = (char)(0x80 | (code >> 6 & 0x3f));
		*to++ = (char)(0x80 | (code & 0x3f));
	}
	return to;
}

/* The server itself writes \u only for control characters; other writers of such lines may do so for any. */
static char *put_escape(char *to, const char **from, const char *end)
{
	const char *p = *from + 1; /* behind the backslash */
	unsigned code, low;
	if (p >= end)
		return to;
	switch (*p) {
	case 'n':
		*to++ = '\n';
		break;
	case 't':
		*to++ = '\t';
		break;
	case 'r':
		*to++ = '\r';
		break;
	case 'b':
		*to++ = '\b';
		break;
	case 'f':
		*to++ = '\f';
		break;
	case 'u':
		if (end - p >= 5 && read_hex4(p + 1, &code)) {
			p += 4;
			if (code >= 0xd800 && code < 0xdc00 && end - p >= 7 && p[1] == '\\' && p[2] == 'u' && read_hex4(p + 3, &low) &&
				low >= 0xdc00 && low < 0xe000) {
				code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
				p += 6;
			}
			to = put_utf8(to, code);
			break;
		}
		/* fall through */
	default:
		*to++ = *p;
	}
	*from = p + 1;
	return to;
}

static void unescape(struct log_text *t)
{
	const char *end = t->at + t->n, *from = memchr(t->at, '\\', t->n);
	char *to = (char *)(uintptr_t)from;
	while (from != NULL && from < end) {
		if (*from == '\\' && from + 1 < end) {
			to = put_escape(to, &from, end);
			continue;
		}
		const char *next = memchr(from + 1, '\\', (size_t)(end - from - 1));
		size_t n = (size_t)((next != NULL ? next : end) - from);
		memmove(to, from, n);
		to += n;
		from += n;
	}
	if (to != NULL)
		t->n = (size_t)(to - t->at);
}

/* true: the value is of use. */
static bool take_field(
	struct log_clock *clock, struct log_entry *e, const struct log_text *key, const struct log_text *value, struct log_text **text)
{
	size_t used;
	*text = NULL;
	switch (key->n) {
	case 2:
		if (KEY_IS(key, "ps"))
			*text = &e->ps;
		break;
	case 3:
		if (KEY_IS(key, "pid"))
			e->pid = (int)log_number_read(value->at, value->n);
		break;
	case 4:
		if (KEY_IS(key, "user"))
			*text = &e->user;
		else if (KEY_IS(key, "txid"))
			e->xid = (uint64_t)log_number_read(value->at, value->n);
		break;
	case 6:
		if (KEY_IS(key, "dbname"))
			*text = &e->database;
		else if (KEY_IS(key, "detail"))
			*text = &e->detail;
		break;
	case 7:
		if (KEY_IS(key, "message"))
			*text = &e->message;
		else if (KEY_IS(key, "context"))
			*text = &e->context;
		break;
	case 8:
		if (KEY_IS(key, "line_num"))
			e->session_line = log_number_read(value->at, value->n);
		break;
	case 9:
		if (KEY_IS(key, "timestamp"))
			e->time_ns = log_clock_read(clock, value->at, value->n, &used);
		else if (KEY_IS(key, "statement"))
			*text = &e->query;
		break;
	case 10:
		if (KEY_IS(key, "session_id"))
			log_session_id_read(value->at, value->n, e);
		else if (KEY_IS(key, "state_code") && value->n == 5)
			memcpy(e->sqlstate, value->at, 5);
		break;
	case 11:
		if (KEY_IS(key, "remote_host"))
			*text = &e->host;
		break;
	case 12:
		if (KEY_IS(key, "backend_type"))
			*text = &e->backend_type;
		break;
	case 14:
		if (KEY_IS(key, "error_severity"))
			e->severity = log_severity_read(value->at, value->n);
		break;
	case 16:
		if (KEY_IS(key, "application_name"))
			*text = &e->application;
		break;
	default:
		break;
	}
	return *text != NULL;
}

static bool read_object(struct log_clock *clock, char *p, char *end, struct log_entry *e)
{
	struct log_text key, value, *text;
	bool escaped;
	struct log_block b;
	p = skip_blanks(p, end);
	if (p == end || *p++ != '{')
		return false;
	log_block_look(&b, p, end, '\\', '\\');
	for (;;) {
		p = skip_blanks(p, end);
		if (p < end && *p == '}')
			break;
		if (p == end || *p++ != '"' || (p = read_string(&b, p, end, &key, &escaped)) == NULL)
			return false;
		p = skip_blanks(p, end);
		if (p == end || *p++ != ':')
			return false;
		p = skip_blanks(p, end);
		if (p < end && *p == '"') {
			p = read_string(&b, p + 1, end, &value, &escaped);
			if (p == NULL)
				return false;
		} else {
			value.at = p;
			while (p < end && *p != ',' && *p != '}' && *p != ' ')
				p++;
			value.n = (size_t)(p - value.at);
			escaped = false;
			if (value.n == 0 || *value.at == '{' || *value.at == '[')
				return false;
		}
		if (take_field(clock, e, &key, &value, &text)) {
			if (escaped)
				unescape(&value);
			*text = value;
		}
		p = skip_blanks(p, end);
		if (p < end && *p == ',')
			p++;
		else if (p == end || *p != '}')
			return false;
	}
	p = skip_blanks(p + 1, end);
	return p == end || *p == '\r';
}

enum log_parse log_json_parse(struct log_clock *clock, char *at, size_t n, bool final, struct log_entry *e, size_t *used)
{
	*e = (struct log_entry){.time_ns = INT64_MIN};
	char *newline = memchr(at, '\n', n);
	if (newline == NULL && !final && n < LOG_RECORD_MAX)
		return LOG_PARSE_MORE;
	char *end = newline != NULL ? newline : at + n;
	*used = (size_t)(end - at) + (newline != NULL);
	e->lines = 1;
	if (read_object(clock, at, end, e) && e->time_ns != INT64_MIN)
		return LOG_PARSE_OK;
	bool object = end > at && *at == '{';
	*e = (struct log_entry){.time_ns = INT64_MIN, .lines = 1, .trouble = object ? LOG_TROUBLE_BROKEN : LOG_TROUBLE_ALIEN};
	e->message = (struct log_text){at, (size_t)(end - at)};
	return LOG_PARSE_BAD;
}
