/* Rate programs: integrals, their inverses, and the text that people write. Integrals are in long double: after 10^12 arrivals
 * a double would no longer tell nanoseconds apart. */
#include "load/rate.h"

#include "base/units.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define NS 1e9L
#define TURN 6.283185307179586476925286766559L /* 2 pi */
#define NEVER_NS 0x1p62L

/* ---- pieces ---- */

/* Within one period of a burst: the quiet part, then the burst. */
static long double burst_mass(const struct rate_piece *p, long double t)
{
	long double quiet = (long double)p->period_s - (long double)p->burst_s;
	return t <= quiet ? (long double)p->from * t : (long double)p->from * quiet + (long double)p->to * (t - quiet);
}

/* Arrivals on average in the first t seconds of the piece. */
static long double piece_mass(const struct rate_piece *p, long double t)
{
	switch (p->shape) {
	case RATE_CONSTANT:
		return p->from > 0 ? (long double)p->from * t : 0;
	case RATE_LINEAR:
		return (long double)p->from * t + ((long double)p->to - (long double)p->from) * t * t / (2 * (long double)p->length_s);
	case RATE_SINE: {
		/* 1 - cos x = 2 sin^2(x / 2), without the cancellation. */
		long double half = sinl(TURN / 2 * t / (long double)p->period_s);
		return (long double)p->from * t + (long double)p->to * (long double)p->period_s / TURN * 2 * half * half;
	}
	case RATE_BURST: {
		if (isinf(t))
			return p->from > 0 || p->to > 0 ? t : 0;
		long double periods = floorl(t / (long double)p->period_s);
		return periods * burst_mass(p, (long double)p->period_s) + burst_mass(p, t - periods * (long double)p->period_s);
	}
	}
	return 0;
}

/* Of the whole piece; the sine of an endless one has no value at infinity. */
static long double whole_mass(const struct rate_piece *p)
{
	if (p->shape == RATE_SINE && isinf(p->length_s))
		return p->from > 0 ? HUGE_VALL : 0;
	return piece_mass(p, (long double)p->length_s);
}

static double piece_rate(const struct rate_piece *p, double t)
{
	switch (p->shape) {
	case RATE_CONSTANT:
		return p->from;
	case RATE_LINEAR:
		return p->from + (p->to - p->from) * t / p->length_s;
	case RATE_SINE:
		return p->from + p->to * (double)sinl(TURN * fmodl((long double)t, (long double)p->period_s) / (long double)p->period_s);
	case RATE_BURST:
		return fmod(t, p->period_s) < p->period_s - p->burst_s ? p->from : p->to;
	}
	return 0;
}

/* The t for which rate t + slope t^2 / 2 = u, slope >= 0, written so that nothing cancels. */
static long double solve_rising(long double rate, long double slope, long double u)
{
	return u <= 0 ? 0 : 2 * u / (rate + sqrtl(rate * rate + 2 * slope * u));
}

static long double invert_linear(const struct rate_piece *p, long double u)
{
	long double from = (long double)p->from, to = (long double)p->to, length = (long double)p->length_s;
	if (to >= from)
		return solve_rising(from, (to - from) / length, u);
	/* A falling ramp is a rising one seen from its end; near a rate of 0 this side is the exact one. */
	return length - solve_rising(to, (from - to) / length, (from + to) / 2 * length - u);
}

/* Newton's method for the integral over one period, inside bounds that shrink with each step: where the rate comes near 0 the
 * step would leave them, and they are halved instead. */
static long double invert_sine(const struct rate_piece *p, long double u)
{
	long double mean = (long double)p->from, period = (long double)p->period_s;
	long double periods = floorl(u / (mean * period));
	long double rest = u - periods * mean * period;
	long double low = 0, high = period, t = rest / mean;
	for (int i = 0; i < 200; i++) {
		long double excess = piece_mass(p, t) - rest;
		if (excess > 0)
			high = t;
		else
			low = t;
		long double rate = mean + (long double)p->to * sinl(TURN * t / period);
		long double next = rate > 0 ? t - excess / rate : low - 1;
		if (!(next >= low && next <= high))
			next = (low + high) / 2;
		/* A hundredth of a nanosecond. */
		if (fabsl(next - t) < 1e-11L)
			return periods * period + next;
		t = next;
	}
	return periods * period + t;
}

static long double invert_burst(const struct rate_piece *p, long double u)
{
	long double period = (long double)p->period_s, quiet = period - (long double)p->burst_s;
	long double mass = burst_mass(p, period), low = (long double)p->from * quiet;
	long double periods = floorl(u / mass);
	long double rest = u - periods * mass;
	if (rest <= 0)
		return periods * period - (p->to > 0 ? 0 : (long double)p->burst_s);
	return periods * period + (rest <= low ? rest / (long double)p->from : quiet + (rest - low) / (long double)p->to);
}

/* Seconds from the start of the piece until u arrivals, of which it yields more than 0. */
static long double piece_invert(const struct rate_piece *p, long double u)
{
	switch (p->shape) {
	case RATE_CONSTANT:
		return u / (long double)p->from;
	case RATE_LINEAR:
		return invert_linear(p, u);
	case RATE_SINE:
		return invert_sine(p, u);
	case RATE_BURST:
		return invert_burst(p, u);
	}
	return HUGE_VALL;
}

/* ---- programs ---- */

enum status rate_constant(double rate, struct rate_program *out, struct error *err)
{
	if (!(rate >= 0 && rate <= RATE_MAX)) {
		error_set(err, ST_USAGE, "%g is not a rate of arrivals", rate);
		error_hint(err, "arrivals a second from 0 to %.0f; fractions are accepted", RATE_MAX);
		return ST_USAGE;
	}
	out->n = 1;
	out->at[0] = (struct rate_piece){.shape = RATE_CONSTANT, .length_s = (double)INFINITY, .from = rate};
	return ST_OK;
}

bool rate_is_constant(const struct rate_program *p)
{
	return p->n == 1 && p->at[0].shape == RATE_CONSTANT;
}

static const struct rate_piece *piece_at(const struct rate_program *p, double t_s)
{
	int i = 0;
	while (i + 1 < p->n && t_s >= p->at[i + 1].start_s)
		i++;
	return &p->at[i];
}

double rate_at(const struct rate_program *p, int64_t t_ns)
{
	double t_s = (double)t_ns / 1e9;
	const struct rate_piece *piece = piece_at(p, t_s);
	return piece_rate(piece, t_s - piece->start_s);
}

double rate_peak(const struct rate_program *p)
{
	double peak = 0;
	for (int i = 0; i < p->n; i++) {
		const struct rate_piece *at = &p->at[i];
		double highest = at->shape == RATE_CONSTANT ? at->from
			: at->shape == RATE_SINE            ? at->from + at->to
							    : fmax(at->from, at->to);
		peak = fmax(peak, highest);
	}
	return peak;
}

double rate_mean(const struct rate_program *p, int64_t t_ns)
{
	return t_ns > 0 ? (double)(rate_integral(p, t_ns) / ((long double)t_ns / NS)) : rate_at(p, 0);
}

long double rate_integral(const struct rate_program *p, int64_t t_ns)
{
	if (t_ns <= 0)
		return 0;
	long double t = (long double)t_ns / NS;
	const struct rate_piece *piece = piece_at(p, (double)t_ns / 1e9);
	t -= (long double)piece->start_s;
	return piece->before + (t > 0 ? piece_mass(piece, t) : 0);
}

int64_t rate_invert(const struct rate_program *p, long double u)
{
	int i = 0;
	while (i + 1 < p->n && u > p->at[i + 1].before)
		i++;
	/* A piece of silence yields nothing and is passed over: u > before of the piece that follows it only later. */
	const struct rate_piece *piece = &p->at[i];
	if (!(whole_mass(piece) > 0))
		return RATE_NEVER;
	long double ns = ((long double)piece->start_s + piece_invert(piece, u - piece->before)) * NS;
	return ns < NEVER_NS ? (int64_t)llroundl(ns) : RATE_NEVER;
}

/* ---- the text ---- */

struct reader {
	const char *text; /* all of it, for messages */
	const char *at;
	struct rate_program *out;
	struct error *err;
};

static enum status expect_failed(const struct reader *r, const char *at, const char *expected)
{
	if (*at == '\0')
		error_set(r->err, ST_USAGE, "the rate \"%.200s\" ends too early: %s is expected", r->text, expected);
	else
		error_set(r->err, ST_USAGE, "the rate \"%.200s\" is not understood at \"%.40s\": %s is expected", r->text, at, expected);
	error_hint(r->err,
		"400, ramp(100, 2000, 60s), sine(400, 200, 10min), burst(200, 2000, 1s every 10s), steps(100/30s, 200/30s), and "
		"several joined by \"then\"");
	return ST_USAGE;
}

static void skip_blanks(struct reader *r)
{
	r->at += strspn(r->at, " \t\n");
}

/* What stands here up to a blank or a sign that ends a value. */
static size_t word_length(const struct reader *r)
{
	return strcspn(r->at, " \t\n,()/");
}

/* Takes the word when it stands here. */
static bool take_word(struct reader *r, const char *word)
{
	skip_blanks(r);
	size_t n = strlen(word);
	if (word_length(r) != n || memcmp(r->at, word, n) != 0)
		return false;
	r->at += n;
	return true;
}

static bool take_sign(struct reader *r, char sign)
{
	skip_blanks(r);
	if (*r->at != sign)
		return false;
	r->at++;
	return true;
}

static enum status read_sign(struct reader *r, char sign)
{
	char expected[] = "\"?\"";
	expected[1] = sign;
	return take_sign(r, sign) ? ST_OK : expect_failed(r, r->at, expected);
}

static bool copy_word(struct reader *r, char *out, size_t size)
{
	skip_blanks(r);
	size_t n = word_length(r);
	if (n == 0 || n >= size)
		return false;
	memcpy(out, r->at, n);
	out[n] = '\0';
	return true;
}

/* A rate, with or without "/s" behind it. */
static enum status read_rate(struct reader *r, double *out)
{
	char word[32];
	struct error ignored;
	if (!copy_word(r, word, sizeof word) || word[strspn(word, "0123456789.eE+")] != '\0' ||
		units_parse_number("", word, 0, RATE_MAX, out, &ignored) != ST_OK)
		return expect_failed(r, r->at, "a rate from 0 to 1000000 a second");
	r->at += strlen(word);
	if (strncmp(r->at, "/s", 2) == 0 && strchr(" \t\n,)", r->at[2]) != NULL)
		r->at += 2;
	return ST_OK;
}

static enum status read_length(struct reader *r, double *seconds)
{
	char word[32];
	struct error ignored;
	int64_t ns = 0;
	if (!copy_word(r, word, sizeof word) || units_parse_time(word, &ns, &ignored) != ST_OK || ns <= 0)
		return expect_failed(r, r->at, "a duration such as 30s or 10min");
	r->at += strlen(word);
	*seconds = (double)ns / 1e9;
	return ST_OK;
}

static enum status add_piece(struct reader *r, struct rate_piece piece)
{
	/* One place is kept for the rate that stays. */
	if (r->out->n >= RATE_PIECES_MAX - 1)
		return error_set(r->err, ST_USAGE, "the rate \"%.60s...\" has over %d parts", r->text, RATE_PIECES_MAX - 1);
	r->out->at[r->out->n++] = piece;
	return ST_OK;
}

static enum status read_ramp(struct reader *r)
{
	struct rate_piece p = {.shape = RATE_LINEAR};
	enum status st = read_rate(r, &p.from);
	if (st == ST_OK)
		st = read_sign(r, ',');
	if (st == ST_OK)
		st = read_rate(r, &p.to);
	if (st == ST_OK)
		st = read_sign(r, ',');
	if (st == ST_OK)
		st = read_length(r, &p.length_s);
	return st == ST_OK ? add_piece(r, p) : st;
}

static enum status read_sine(struct reader *r)
{
	struct rate_piece p = {.shape = RATE_SINE, .length_s = (double)INFINITY};
	enum status st = read_rate(r, &p.from);
	if (st == ST_OK)
		st = read_sign(r, ',');
	skip_blanks(r);
	const char *amplitude = r->at;
	if (st == ST_OK)
		st = read_rate(r, &p.to);
	if (st == ST_OK && p.to > p.from)
		return expect_failed(r, amplitude, "an amplitude that is not above the mean (a rate cannot fall below 0)");
	if (st == ST_OK)
		st = read_sign(r, ',');
	if (st == ST_OK)
		st = read_length(r, &p.period_s);
	return st == ST_OK ? add_piece(r, p) : st;
}

static enum status read_burst(struct reader *r)
{
	struct rate_piece p = {.shape = RATE_BURST, .length_s = (double)INFINITY};
	enum status st = read_rate(r, &p.from);
	if (st == ST_OK)
		st = read_sign(r, ',');
	if (st == ST_OK)
		st = read_rate(r, &p.to);
	if (st == ST_OK)
		st = read_sign(r, ',');
	if (st == ST_OK)
		st = read_length(r, &p.burst_s);
	if (st == ST_OK && !take_word(r, "every"))
		st = expect_failed(r, r->at, "\"every\" and how often the burst comes, as in \"1s every 10s\"");
	skip_blanks(r);
	const char *period = r->at;
	if (st == ST_OK)
		st = read_length(r, &p.period_s);
	if (st == ST_OK && p.period_s <= p.burst_s)
		return expect_failed(r, period, "a period longer than the burst");
	return st == ST_OK ? add_piece(r, p) : st;
}

static enum status read_steps(struct reader *r)
{
	enum status st = ST_OK;
	do {
		struct rate_piece p = {.shape = RATE_CONSTANT};
		st = read_rate(r, &p.from);
		if (st == ST_OK)
			st = read_sign(r, '/');
		if (st == ST_OK)
			st = read_length(r, &p.length_s);
		if (st == ST_OK)
			st = add_piece(r, p);
	} while (st == ST_OK && take_sign(r, ','));
	return st;
}

static enum status read_part(struct reader *r)
{
	static const struct {
		const char *name;
		enum status (*read)(struct reader *r);
	} SHAPES[] = {{"ramp", read_ramp}, {"sine", read_sine}, {"burst", read_burst}, {"steps", read_steps}};
	for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
		if (!take_word(r, SHAPES[i].name))
			continue;
		enum status st = read_sign(r, '(');
		if (st == ST_OK)
			st = SHAPES[i].read(r);
		return st == ST_OK ? read_sign(r, ')') : st;
	}
	struct rate_piece p = {.shape = RATE_CONSTANT, .length_s = (double)INFINITY};
	skip_blanks(r);
	if (*r->at == '\0' || strchr("0123456789.", *r->at) == NULL)
		return expect_failed(r, r->at, "a number, ramp(...), sine(...), burst(...) or steps(...)");
	enum status st = read_rate(r, &p.from);
	return st == ST_OK ? add_piece(r, p) : st;
}

/* "for 30s" behind a part that would be endless. */
static enum status read_for(struct reader *r)
{
	struct rate_piece *last = &r->out->at[r->out->n - 1];
	skip_blanks(r);
	const char *at = r->at;
	if (!take_word(r, "for"))
		return ST_OK;
	if (!isinf(last->length_s))
		return expect_failed(r, at, "\"then\" or the end, since this part has a length already,");
	return read_length(r, &last->length_s);
}

/* Sums the pieces up; a last one that ends is followed by the rate that it ended with. */
static void complete(struct rate_program *p)
{
	const struct rate_piece *last = &p->at[p->n - 1];
	if (!isinf(last->length_s)) {
		double stays = last->shape == RATE_LINEAR ? last->to : piece_rate(last, last->length_s);
		p->at[p->n++] = (struct rate_piece){.shape = RATE_CONSTANT, .length_s = (double)INFINITY, .from = stays};
	}
	double start_s = 0;
	long double before = 0;
	for (int i = 0; i < p->n; i++) {
		p->at[i].start_s = start_s;
		p->at[i].before = before;
		start_s += p->at[i].length_s;
		before += whole_mass(&p->at[i]);
	}
}

enum status rate_parse(const char *text, struct rate_program *out, struct error *err)
{
	struct reader r = {.text = text, .at = text, .out = out, .err = err};
	out->n = 0;
	for (;;) {
		enum status st = read_part(&r);
		if (st == ST_OK)
			st = read_for(&r);
		if (st != ST_OK)
			return st;
		skip_blanks(&r);
		const char *behind = r.at;
		if (!take_word(&r, "then"))
			break;
		if (isinf(out->at[out->n - 1].length_s))
			return expect_failed(&r, behind, "a length for what would never end, as in \"400 for 30s then ...\",");
	}
	if (*r.at != '\0')
		return expect_failed(&r, r.at, "\"then\" or the end");
	complete(out);
	return ST_OK;
}
