/* The stderr format. A message is a line with the prefix, lines that go on behind a tab, and lines of the same process with DETAIL,
 * STATEMENT and the like. Lines of other writers may lie between these. */
#define _GNU_SOURCE
#include "replay/log_language.h"
#include "replay/log_parse.h"

enum part { PART_NONE, PART_MESSAGE, PART_DETAIL, PART_CONTEXT, PART_QUERY, PART_OTHER };

/* What a word behind the prefix begins; PART_MESSAGE for all severities, of any language. */
static enum part part_of(const struct log_text *word)
{
	static const struct {
		const char *word;
		enum part part;
	} PARTS[] = {
		{"DETAIL", PART_DETAIL},
		{"STATEMENT", PART_QUERY},
		{"CONTEXT", PART_CONTEXT},
		{"HINT", PART_OTHER},
		{"QUERY", PART_OTHER},
		{"LOCATION", PART_OTHER},
		{"BACKTRACE", PART_OTHER},
	};
	for (size_t i = 0; i < sizeof PARTS / sizeof PARTS[0]; i++)
		if (log_text_is(word, PARTS[i].word))
			return PARTS[i].part;
	const char *english = log_text_is(word, "LOG") || log_text_is(word, "ERROR") ? NULL : log_language_english(word);
	for (size_t i = 0; english != NULL && i < sizeof PARTS / sizeof PARTS[0]; i++)
		if (strcmp(english, PARTS[i].word) == 0)
			return PARTS[i].part;
	return PART_MESSAGE;
}

static size_t line_length(const char *line, const char *end)
{
	const char *newline = memchr(line, '\n', (size_t)(end - line));
	return newline != NULL ? (size_t)(newline - line) + 1 : (size_t)(end - line);
}

static size_t without_end(const char *line, size_t n, bool crlf)
{
	if (n > 0 && line[n - 1] == '\n')
		n--;
	if (crlf && n > 0 && line[n - 1] == '\r')
		n--;
	return n;
}

struct extent {
	size_t used;   /* up to the message's last line */
	int64_t lines; /* of it */
	int64_t alien; /* of others up to there */
	bool complete;
};

static struct extent find_extent(struct log_clock *clock, const struct log_prefix *prefix, struct log_stderr_ahead *ahead, char *at,
	size_t n, size_t first, bool final, const struct log_entry *head)
{
	struct extent x = {.used = first, .lines = 1};
	int64_t alien = 0;
	char *end = at + n;
	for (char *line = at + first; line < end;) {
		size_t whole = line_length(line, end), used;
		if (line[whole - 1] != '\n' && !final)
			return x;
		if (*line != '\t') {
			struct log_entry *e = &ahead->e;
			*e = (struct log_entry){.time_ns = INT64_MIN};
			if (log_prefix_match(prefix, clock, line, without_end(line, whole, ahead->crlf), e, &ahead->word, &used)) {
				if (part_of(&ahead->word) == PART_MESSAGE || e->pid != head->pid || e->session != head->session) {
					ahead->at = line;
					ahead->used = used;
					x.complete = true;
					return x;
				}
			} else {
				alien++;
				line += whole;
				continue;
			}
		}
		x.alien += alien;
		alien = 0;
		x.lines++;
		line += whole;
		x.used = (size_t)(line - at);
	}
	x.complete = final;
	return x;
}

static struct log_text *text_of(struct log_entry *e, enum part part)
{
	switch (part) {
	case PART_MESSAGE:
		return &e->message;
	case PART_DETAIL:
		return &e->detail;
	case PART_CONTEXT:
		return &e->context;
	case PART_QUERY:
		return &e->query;
	default:
		return NULL;
	}
}

/* Moves the parts of a text together, in place: each begins behind its prefix or its tab. */
static void gather(
	struct log_clock *clock, const struct log_prefix *prefix, bool crlf, char *at, size_t n, size_t first, struct log_entry *e)
{
	struct log_text *text = &e->message;
	char *end = at + n;
	for (char *line = at + first; line < end;) {
		size_t whole = line_length(line, end), length = without_end(line, whole, crlf), used;
		struct log_entry part = {.time_ns = INT64_MIN};
		struct log_text word;
		if (*line == '\t') {
			if (text != NULL && text->at != NULL) {
				text->at[text->n] = '\n';
				memmove(text->at + text->n + 1, line + 1, length - 1);
				text->n += length;
			}
		} else if (log_prefix_match(prefix, clock, line, length, &part, &word, &used)) {
			text = text_of(e, part_of(&word));
			e->last_line = part.session_line;
			if (text != NULL)
				*text = (struct log_text){line + used, length - used};
		}
		line += whole;
	}
}

static enum log_parse bad(enum log_trouble trouble, char *at, size_t n, struct log_entry *e)
{
	*e = (struct log_entry){.time_ns = INT64_MIN, .trouble = trouble, .lines = 1, .message = {at, without_end(at, n, true)}};
	return LOG_PARSE_BAD;
}

enum log_parse log_stderr_parse(struct log_clock *clock, const struct log_prefix *prefix, struct log_stderr_ahead *ahead, char *at,
	size_t n, bool final, struct log_entry *e, size_t *used)
{
	bool known = ahead->at == at;
	ahead->at = NULL;
	*e = (struct log_entry){.time_ns = INT64_MIN};
	size_t first = line_length(at, at + n), behind;
	if (at[first - 1] != '\n' && !final && n < LOG_RECORD_MAX)
		return LOG_PARSE_MORE;
	size_t length = without_end(at, first, ahead->crlf);
	struct log_text word;
	*used = first;
	if (known) {
		*e = ahead->e;
		word = ahead->word;
		behind = ahead->used;
	} else if (!log_prefix_match(prefix, clock, at, length, e, &word, &behind)) {
		return bad(LOG_TROUBLE_ALIEN, at, first, e);
	}
	if (part_of(&word) != PART_MESSAGE)
		return bad(LOG_TROUBLE_ORPHAN, at, first, e);
	struct extent x = find_extent(clock, prefix, ahead, at, n, first, final, e);
	if (!x.complete && n < LOG_RECORD_MAX)
		return LOG_PARSE_MORE;
	e->severity = log_severity_read(word.at, word.n);
	e->message = (struct log_text){at + behind, length - behind};
	e->lines = x.lines;
	e->alien_lines = x.alien;
	*used = x.used;
	if (x.lines > 1)
		gather(clock, prefix, ahead->crlf, at, x.used, first, e);
	return LOG_PARSE_OK;
}
