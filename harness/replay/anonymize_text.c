/* Tokens are told apart as far as they decide about a literal: words, operators, and which argument of which function it is. */
#define _GNU_SOURCE
#include "replay/anonymize_text.h"

#include "replay/shape.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEPTH_MAX 64
#define WORD_MAX 40

enum token { TOKEN_NONE, TOKEN_WORD, TOKEN_OPERATOR, TOKEN_OPEN, TOKEN_COMMA, TOKEN_OTHER };

struct call {
	char name[WORD_MAX]; /* "": parentheses of something else */
	unsigned argument;
	bool plain_setting; /* the name before is one of the server's settings */
};

struct walk {
	const char *p, *end, *copied; /* copied: up to there it has been handed out */
	const struct log_text *literals;
	size_t n, next;
	void (*take)(const struct text_piece *p, void *arg);
	void *arg;
	enum token token; /* the last one */
	char op[8];
	char word[WORD_MAX], before[WORD_MAX]; /* the last two */
	char verb[WORD_MAX];                   /* the statement's first word */
	bool set_named, set_keeps;
	unsigned depth;
	struct call calls[DEPTH_MAX], outside;
};

/* ---- what stays ---- */

static const struct {
	const char *name;
	unsigned argument; /* and those behind it, when more */
	bool more, only_first_of_two;
} KNOWN[] = {
	{"nextval", 0, false, false},
	{"currval", 0, false, false},
	{"setval", 0, false, false},
	{"pg_get_serial_sequence", 0, true, false},
	{"to_regclass", 0, false, false},
	{"current_setting", 0, false, false},
	{"set_config", 0, false, false},
	{"to_char", 1, false, false},
	{"to_date", 1, false, false},
	{"to_timestamp", 1, false, false},
	{"to_number", 1, false, false},
	{"date_trunc", 0, false, false},
	{"date_part", 0, false, false},
	{"date_bin", 0, false, false},
	{"timezone", 0, false, false},
	{"to_tsvector", 0, false, true},
	{"to_tsquery", 0, false, true},
	{"plainto_tsquery", 0, false, true},
	{"phraseto_tsquery", 0, false, true},
	{"websearch_to_tsquery", 0, false, true},
	{"json_extract_path", 1, true, false},
	{"json_extract_path_text", 1, true, false},
	{"jsonb_extract_path", 1, true, false},
	{"jsonb_extract_path_text", 1, true, false},
	{"encode", 1, false, false},
	{"decode", 1, false, false},
	{"convert_from", 1, false, false},
	{"convert_to", 1, false, false},
	{"digest", 1, false, false},
};

static struct call *innermost(struct walk *w)
{
	w->outside = (struct call){0};
	return w->depth > 0 && w->depth <= DEPTH_MAX ? &w->calls[w->depth - 1] : &w->outside;
}

/* p: behind a literal or a parameter. */
static const char *skip_cast(const char *p, const char *end)
{
	if (end - p >= 2 && memcmp(p, "::", 2) == 0)
		for (p += 2; p < end && (*p == '_' || *p == '.' || (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z'));)
			p++;
	while (p < end && (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r'))
		p++;
	return p;
}

static bool begins(const char *p, const char *end, const char *word)
{
	size_t n = strlen(word);
	return (size_t)(end - p) >= n && strncasecmp(p, word, n) == 0;
}

static bool is_known_argument(struct walk *w, const char *behind)
{
	const struct call *call = innermost(w);
	if (w->token != TOKEN_OPEN && w->token != TOKEN_COMMA)
		return false;
	if (call->plain_setting && call->argument == 1)
		return true;
	for (size_t i = 0; i < sizeof KNOWN / sizeof KNOWN[0]; i++) {
		if (strcmp(KNOWN[i].name, call->name) != 0)
			continue;
		const char *next = skip_cast(behind, w->end);
		return (call->argument == KNOWN[i].argument || (KNOWN[i].more && call->argument > KNOWN[i].argument)) &&
			(!KNOWN[i].only_first_of_two || (next < w->end && *next == ','));
	}
	return false;
}

static bool stays(struct walk *w, const char *behind)
{
	if (strcmp(w->verb, "set") == 0)
		return w->set_keeps;
	if (w->token == TOKEN_OPERATOR && (strncmp(w->op, "->", 2) == 0 || strncmp(w->op, "#>", 2) == 0 || strcmp(w->op, "?") == 0))
		return true;
	if (w->token == TOKEN_WORD && strcmp(w->word, "zone") == 0 && strcmp(w->before, "time") == 0)
		return true;
	return begins(behind, w->end, "::reg") || begins(behind, w->end, "::pg_catalog.reg") || is_known_argument(w, behind);
}

/* ---- pieces ---- */

static void copy_to(struct walk *w, const char *to)
{
	if (to > w->copied)
		w->take(&(struct text_piece){.kind = TEXT_COPY, .at = w->copied, .n = (size_t)(to - w->copied)}, w->arg);
	w->p = w->copied = to;
}

/* The mark at w->p. */
static void hand_out_literal(struct walk *w, struct text_piece piece)
{
	copy_to(w, w->p);
	const struct log_text *literal = w->next < w->n ? &w->literals[w->next++] : &(struct log_text){0};
	piece.at = literal->at;
	piece.n = literal->n;
	struct call *call = innermost(w);
	if (strcmp(call->name, "set_config") == 0 && call->argument == 0 && piece.kind == TEXT_LITERAL && w->token == TOKEN_OPEN)
		call->plain_setting = memchr(piece.n > 0 ? piece.at : "", '.', piece.n) == NULL &&
			!(piece.n == 16 && strncasecmp(piece.at, "application_name", 16) == 0);
	w->take(&piece, w->arg);
	w->copied = ++w->p;
}

static void take_comment(struct walk *w, bool block)
{
	w->p += 2;
	if (w->p < w->end && *w->p == SHAPE_MARK)
		hand_out_literal(w, (struct text_piece){.kind = TEXT_COMMENT});
	if (block && begins(w->p, w->end, "*/"))
		w->p += 2;
}

static void take_string(struct walk *w, bool escapes)
{
	w->p++;
	if (w->p < w->end && *w->p == SHAPE_MARK) {
		const char *behind = w->p + 1 + (w->p + 1 < w->end && w->p[1] == '\'');
		hand_out_literal(w, (struct text_piece){.kind = TEXT_LITERAL, .escapes = escapes, .keep = stays(w, behind)});
	}
	if (w->p < w->end && *w->p == '\'')
		w->p++;
	w->token = TOKEN_OTHER;
}

/* ---- tokens ---- */

static bool is_word(char c)
{
	return c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void note_word(struct walk *w, const char *at, size_t n, bool quoted)
{
	memcpy(w->before, w->word, sizeof w->before);
	size_t kept = n < WORD_MAX ? n : WORD_MAX - 1;
	for (size_t i = 0; i < kept; i++)
		w->word[i] = (char)(!quoted && at[i] >= 'A' && at[i] <= 'Z' ? at[i] + 32 : at[i]);
	w->word[kept] = '\0';
	w->token = TOKEN_WORD;
	if (w->verb[0] == '\0' && !quoted) {
		memcpy(w->verb, w->word, sizeof w->verb);
		w->set_named = false;
		w->set_keeps = true;
	}
	if (strcmp(w->word, "to") == 0 && !quoted)
		w->set_named = true;
	if (!w->set_named && (strcmp(w->word, "application_name") == 0 || (quoted && memchr(at, '.', n) != NULL)))
		w->set_keeps = false;
}

static void take_word(struct walk *w)
{
	const char *q = w->p;
	while (q < w->end && (is_word(*q) || is_digit(*q) || *q == '$'))
		q++;
	bool prefix = q - w->p == 1 && strchr("eEnNbBxX", *w->p) != NULL && q < w->end && *q == '\'';
	bool escapes = prefix && (*w->p == 'e' || *w->p == 'E');
	if (!prefix)
		note_word(w, w->p, (size_t)(q - w->p), false);
	w->p = q;
	if (prefix)
		take_string(w, escapes);
}

static void take_dollar(struct walk *w)
{
	const char *q = w->p + 1;
	while (q < w->end && (is_word(*q) || is_digit(*q)))
		q++;
	if (q > w->p + 1 && is_digit(w->p[1])) {
		struct text_piece piece = {.kind = TEXT_PARAM, .at = w->p, .n = (size_t)(q - w->p), .keep = stays(w, q)};
		piece.param = (uint32_t)strtoul(w->p + 1, NULL, 10) - 1;
		copy_to(w, w->p);
		w->take(&piece, w->arg);
		w->p = w->copied = q;
	} else if (q < w->end && *q == '$') {
		size_t tag_n = (size_t)(q + 1 - w->p);
		const char *body = q + 1, *close = memmem(body, (size_t)(w->end - body), w->p, tag_n);
		const char *body_end = close != NULL ? close : w->end;
		struct text_piece piece = {.kind = TEXT_BODY, .at = body, .n = (size_t)(body_end - body)};
		piece.keep = stays(w, close != NULL ? close + tag_n : w->end);
		piece.code = strcmp(w->verb, "do") == 0 || strcmp(w->verb, "create") == 0;
		copy_to(w, body);
		w->take(&piece, w->arg);
		w->copied = body_end;
		w->p = close != NULL ? close + tag_n : w->end;
	} else {
		w->p = q;
	}
	w->token = TOKEN_OTHER;
}

static void take_operator(struct walk *w)
{
	const char *q = w->p;
	while (q < w->end && strchr("+-*/<>=~!@#%^&|`?", *q) != NULL && *q != '\0' &&
		!(q > w->p && (begins(q, w->end, "--") || begins(q, w->end, "/*"))))
		q++;
	size_t n = (size_t)(q - w->p) < sizeof w->op ? (size_t)(q - w->p) : sizeof w->op - 1;
	memcpy(w->op, w->p, n);
	w->op[n] = '\0';
	w->set_named |= w->op[0] == '=';
	w->token = TOKEN_OPERATOR;
	w->p = q;
}

static void open_call(struct walk *w, bool of_function)
{
	if (w->depth++ < DEPTH_MAX) {
		struct call *call = &w->calls[w->depth - 1];
		*call = (struct call){0};
		if (of_function && w->token == TOKEN_WORD)
			memcpy(call->name, w->word, sizeof call->name);
	}
	w->token = TOKEN_OPEN;
}

static void take_punctuation(struct walk *w)
{
	char c = *w->p++;
	enum token token = TOKEN_OTHER;
	if (c == '(' || c == '[') {
		open_call(w, c == '(');
		return;
	}
	if ((c == ')' || c == ']') && w->depth > 0)
		w->depth--;
	if (c == ',') {
		innermost(w)->argument++;
		token = TOKEN_COMMA;
	}
	if (c == '.' && !w->set_named)
		w->set_keeps = false;
	if (c == ';' && w->depth == 0) {
		w->verb[0] = '\0';
		token = TOKEN_NONE;
	}
	w->token = token;
}

static void take_token(struct walk *w)
{
	char c = *w->p;
	if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v') {
		w->p++;
	} else if (begins(w->p, w->end, "--") || begins(w->p, w->end, "/*")) {
		take_comment(w, c == '/');
	} else if (c == '\'') {
		take_string(w, false);
	} else if (c == SHAPE_MARK) {
		hand_out_literal(w, (struct text_piece){.kind = TEXT_LITERAL, .keep = strcmp(w->verb, "set") == 0 && w->set_keeps});
		w->token = TOKEN_OTHER;
	} else if (c == '"') {
		const char *q = memchr(w->p + 1, '"', (size_t)(w->end - w->p - 1));
		q = q != NULL ? q : w->end;
		note_word(w, w->p + 1, (size_t)(q - w->p - 1), true);
		w->p = q < w->end ? q + 1 : q;
	} else if (c == '$') {
		take_dollar(w);
	} else if (is_word(c)) {
		take_word(w);
	} else if (c != '\0' && strchr("+-*/<>=~!@#%^&|`?", c) != NULL) {
		take_operator(w);
	} else {
		take_punctuation(w);
	}
}

void text_walk(const char *shape, size_t shape_n, const struct log_text *literals, size_t n,
	void (*take)(const struct text_piece *p, void *arg), void *arg)
{
	struct walk *w = malloc(sizeof *w);
	if (w == NULL)
		abort();
	*w = (struct walk){.p = shape,
		.end = shape + shape_n,
		.copied = shape,
		.literals = literals,
		.n = n,
		.take = take,
		.arg = arg,
		.set_keeps = true};
	while (w->p < w->end)
		take_token(w);
	copy_to(w, w->end);
	free(w);
}
