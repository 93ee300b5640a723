/* log_line_prefix as a pattern. Free text (a user, an application) ends where what follows it matches, which may take a few attempts. */
#define _GNU_SOURCE
#include "replay/log_parse.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define TOKENS_MAX 64
#define FREE_TEXT_MAX 256
#define SEVERITY_MAX 48
#define ATTEMPTS_MAX 2000 /* a line, so that no line is slow to refuse */

struct token {
	char escape;  /* the letter behind %, or 0: literal */
	bool free;    /* it is text that may have any byte in it */
	bool padded;  /* blanks may stand before or behind it */
	int width;    /* behind it: it has at least so many bytes, with these */
	char literal; /* one byte */
};

struct log_prefix {
	char text[256];
	struct token tokens[TOKENS_MAX];
	size_t n;
};

/* From the manual of PostgreSQL's default, Debian, RDS and Aurora, Cloud SQL, pgBadger, pgreplay and others. */
static const char *const COMMON[] = {
	"%m [%p] %q%u@%d ",
	"%m [%p] %q[user=%u,db=%d,app=%a] ",
	"%m [%p] ",
	"%t [%p] ",
	"%t [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
	"%t [%p]: user=%u,db=%d,app=%a,client=%h ",
	"%t [%p]: [%l-1] user=%u,db=%d ",
	"%t [%p]: [%l-1] ",
	"%m [%p]: [%l-1] user=%u,db=%d,app=%a,client=%h ",
	"%m [%p]: [%l-1] db=%d,user=%u ",
	"%m [%p]: [%l-1] db=%d,user=%u,app=%a,client=%h ",
	"%m [%p]: [%l] user=%u,db=%d,app=%a,client=%h ",
	"%t:%r:%u@%d:[%p]:",
	"%m:%r:%u@%d:[%p]:%l:%e:%s:%v:%x:%c:%q%a:",
	"%m|%u|%d|%c|%l|%e|%a|",
	"%m|%u|%d|%c|%l|%e|",
	"%m|%u|%d|%c|",
	"%m|%u|%d|%p|",
	"%m %u %d %c ",
	"%m [%p] %u@%d ",
	"%m [%p] %c %l ",
	"%m [%p] %u@%d/%a ",
	"%m [%p] %q%u@%d/%a ",
	"%m [%p]: [%l-1] ",
	"%t %p %u %d ",
	"%m %p ",
	"%t ",
	"%m ",
};

const char *log_prefix_text(const struct log_prefix *p)
{
	return p->text;
}

void log_prefix_free(struct log_prefix *p)
{
	free(p);
}

enum status log_prefix_compile(const char *text, struct log_prefix **out, struct error *err)
{
	if (strlen(text) >= sizeof(((struct log_prefix *)NULL)->text))
		return error_set(err, ST_USAGE, "log_line_prefix of over 255 bytes");
	struct log_prefix *p = calloc(1, sizeof *p);
	if (p == NULL)
		abort();
	snprintf(p->text, sizeof p->text, "%s", text);
	for (const char *s = text; *s != '\0'; s++) {
		struct token t = {.literal = *s};
		if (*s == '%') {
			s++;
			bool left = *s == '-';
			int width = 0;
			for (; *s == '-' || (*s >= '0' && *s <= '9'); s++) {
				t.padded = true;
				width = *s == '-' || width > 1000 ? width : width * 10 + (*s - '0');
			}
			t.width = left ? width : 0;
			if (*s == '\0' || strchr("abcdehiLlmnPpQqrstuvx%", *s) == NULL) {
				enum status st = error_set(
					err, ST_USAGE, "log_line_prefix %s: %%%c is no escape", text, *s != '\0' ? *s : ' ');
				free(p);
				return st;
			}
			t.escape = *s == '%' ? '\0' : *s;
			t.free = strchr("audrhiLb", *s) != NULL;
		}
		if (p->n == TOKENS_MAX) {
			free(p);
			return error_set(err, ST_USAGE, "log_line_prefix %s: over %d parts", text, TOKENS_MAX);
		}
		p->tokens[p->n++] = t;
	}
	*out = p;
	return ST_OK;
}

struct match {
	const struct log_prefix *prefix;
	struct log_clock *clock;
	char *line, *end;
	struct log_entry *e;
	struct log_text *word;
	char *behind;
	int attempts;
};

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Korean has two words for one. */
static bool is_blank_within(const char *from, const char *s, const char *end)
{
	return *s == ' ' && s > from && s + 1 < end && (unsigned char)s[-1] >= 0x80 && (unsigned char)s[1] >= 0x80;
}

/* "LOG:  " or, with verbose messages, "LOG:  00000: ". In other languages the words are longer, and in French a blank is before the colon. */
static bool match_severity(struct match *m, char *p)
{
	char *s = p;
	while (s < m->end && s - p < SEVERITY_MAX &&
		((*s >= 'A' && *s <= 'Z') || (unsigned char)*s >= 0x80 || is_digit(*s) || *s == '-' || is_blank_within(p, s, m->end)))
		s++;
	size_t n = (size_t)(s - p);
	if (s < m->end && *s == ' ')
		s++;
	if (n == 0 || m->end - s < 3 || s[0] != ':' || s[1] != ' ' || s[2] != ' ')
		return false;
	*m->word = (struct log_text){p, n};
	s += 3;
	if (m->end - s >= 7 && s[5] == ':' && s[6] == ' ' && is_digit(s[2]) && is_digit(s[3])) {
		bool state = true;
		for (int i = 0; i < 5; i++)
			state &= is_digit(s[i]) || (s[i] >= 'A' && s[i] <= 'Z');
		if (state) {
			memcpy(m->e->sqlstate, s, 5);
			s += 7;
		}
	}
	m->behind = s;
	return true;
}

static bool match_from(struct match *m, size_t i, char *p);

static char *skip_number(char *p, const char *end)
{
	while (p < end && is_digit(*p))
		p++;
	return p;
}

/* Free text: as short as possible, so that what follows it matches. */
static bool match_free(struct match *m, size_t i, char *p)
{
	const struct token *next = i + 1 < m->prefix->n ? &m->prefix->tokens[i + 1] : NULL;
	int width = m->prefix->tokens[i].width;
	if (m->end - p < width)
		return false;
	for (char *q = p + width; q <= m->end && q - p <= width + FREE_TEXT_MAX; q++) {
		if (next != NULL && next->escape == '\0') {
			q = memchr(q, next->literal, (size_t)(m->end - q));
			if (q == NULL)
				return false;
		}
		if (++m->attempts > ATTEMPTS_MAX)
			return false;
		if (!match_from(m, i + 1, q))
			continue;
		struct log_text t = {p, (size_t)(q - p)};
		while (m->prefix->tokens[i].padded && t.n > 0 && t.at[t.n - 1] == ' ')
			t.n--;
		switch (m->prefix->tokens[i].escape) {
		case 'a':
			m->e->application = t;
			break;
		case 'u':
			m->e->user = t;
			break;
		case 'd':
			m->e->database = t;
			break;
		case 'r':
		case 'h':
			m->e->host = t;
			break;
		case 'i':
			m->e->ps = t;
			break;
		case 'b':
			m->e->backend_type = t;
			break;
		default:
			break;
		}
		return true;
	}
	return false;
}

/* A time or a number: its length is known at once. Returns what is behind it, or NULL. */
static char *match_fixed(struct match *m, char escape, char *p)
{
	struct log_entry *e = m->e;
	size_t n = (size_t)(m->end - p), used;
	char *q = p;
	switch (escape) {
	case 't':
	case 'm':
	case 's': {
		int64_t time_ns = log_clock_read(m->clock, p, n, &used);
		if (time_ns == INT64_MIN)
			return NULL;
		if (escape == 's')
			e->start_s = time_ns / NS_PER_S;
		else
			e->time_ns = time_ns;
		return p + used;
	}
	case 'n': {
		q = skip_number(p, m->end);
		if (q == p || q - p > 11)
			return NULL;
		e->time_ns = log_number_read(p, (size_t)(q - p)) * NS_PER_S;
		if (q + 3 < m->end && *q == '.') {
			e->time_ns += log_number_read(q + 1, 3) * NS_PER_MS;
			q = skip_number(q + 1, m->end);
		}
		return q;
	}
	case 'p':
	case 'P':
	case 'l':
	case 'x':
		q = skip_number(p, m->end);
		if (q == p && escape != 'P')
			return NULL;
		if (escape == 'p')
			e->pid = (int)log_number_read(p, (size_t)(q - p));
		else if (escape == 'l')
			e->session_line = log_number_read(p, (size_t)(q - p));
		else if (escape == 'x')
			e->xid = (uint64_t)log_number_read(p, (size_t)(q - p));
		return q;
	case 'Q':
		return skip_number(p < m->end && *p == '-' ? p + 1 : p, m->end);
	case 'v':
		while (q < m->end && (is_digit(*q) || *q == '/' || *q == '-'))
			q++;
		return q;
	case 'e':
		if (n < 5)
			return NULL;
		memcpy(e->sqlstate, p, 5);
		return p + 5;
	case 'c':
		while (q < m->end && (is_digit(*q) || (*q >= 'a' && *q <= 'f') || *q == '.'))
			q++;
		if (memchr(p, '.', (size_t)(q - p)) == NULL)
			return NULL;
		log_session_id_read(p, (size_t)(q - p), e);
		return q;
	default:
		return NULL;
	}
}

static bool match_from(struct match *m, size_t i, char *p)
{
	for (; i < m->prefix->n; i++) {
		const struct token *t = &m->prefix->tokens[i];
		if (t->escape == '\0') {
			if (p >= m->end || *p != t->literal)
				return false;
			p++;
			continue;
		}
		/* Processes without a session leave out the rest. */
		if (t->escape == 'q')
			return match_from(m, i + 1, p) || match_severity(m, p);
		while (t->padded && p < m->end && *p == ' ')
			p++;
		if (t->free)
			return match_free(m, i, p);
		p = match_fixed(m, t->escape, p);
		if (p == NULL)
			return false;
		while (t->padded && p < m->end && *p == ' ' && i + 1 < m->prefix->n && m->prefix->tokens[i + 1].literal != ' ')
			p++;
	}
	return match_severity(m, p);
}

bool log_prefix_match(
	const struct log_prefix *p, struct log_clock *clock, char *line, size_t n, struct log_entry *e, struct log_text *word, size_t *used)
{
	struct match m = {.prefix = p, .clock = clock, .line = line, .end = line + n, .e = e, .word = word};
	if (!match_from(&m, 0, line))
		return false;
	/* A session id leads to its pid; without one the pid has to do. */
	if (e->session == 0 && e->pid != 0)
		e->session = (uint64_t)e->start_s << 32 | (uint32_t)e->pid;
	*used = (size_t)(m.behind - line);
	return true;
}

/* A user with a bar or a bracket in it is a prefix that does not fit. */
static bool is_odd(const struct log_text *name)
{
	bool odd = false;
	for (size_t i = 0; i < name->n; i++)
		odd |= strchr(" []=,|:", name->at[i]) != NULL;
	return odd && !log_text_is(name, "[unknown]");
}

const char *log_prefix_guess(const char *sample, size_t n)
{
	const char *best = NULL;
	int best_count = 0;
	char *copy = malloc(n + 1);
	if (copy == NULL)
		abort();
	memcpy(copy, sample, n);
	for (size_t i = 0; i < sizeof COMMON / sizeof COMMON[0]; i++) {
		struct log_prefix *p;
		struct log_clock clock = {0};
		struct error err;
		int count = 0;
		if (log_prefix_compile(COMMON[i], &p, &err) != ST_OK)
			continue;
		for (char *line = copy, *end = copy + n, *next; line < end; line = next + 1) {
			struct log_entry e = {.time_ns = INT64_MIN};
			struct log_text word;
			size_t used;
			next = memchr(line, '\n', (size_t)(end - line));
			if (next == NULL)
				break;
			if (!log_prefix_match(p, &clock, line, (size_t)(next - line), &e, &word, &used))
				continue;
			bool odd = is_odd(&e.user) || is_odd(&e.database);
			count += odd ? 0 : 1;
		}
		log_prefix_free(p);
		if (count > best_count) {
			best_count = count;
			best = COMMON[i];
		}
	}
	free(copy);
	return best;
}
