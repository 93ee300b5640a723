/* Rate programs: how many arrivals a second, as a function of time, with the integral of it and the inverse of that, which is
 * what turns a unit-rate process into arrivals. Programs are constant once made and may be shared by threads. */
#ifndef PGR_LOAD_RATE_H
#define PGR_LOAD_RATE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define RATE_PIECES_MAX 128
#define RATE_MAX 1e6 /* arrivals a second */
#define RATE_NEVER INT64_MAX

/* Each shape has its integral in closed form, and the inverse of it too, but for the sine, where it is found by Newton's
 * method between bounds. t is the time since the piece began. */
enum rate_shape {
	RATE_CONSTANT, /* from */
	RATE_LINEAR,   /* from + (to - from) t / length */
	RATE_SINE,     /* from + to sin(2 pi t / period): mean and amplitude */
	RATE_BURST,    /* from, and `to` in the last burst_s of each period */
};

struct rate_piece {
	enum rate_shape shape;
	double length_s; /* INFINITY: it is the last and lasts for ever */
	double from, to;
	double period_s, burst_s;
	double start_s;     /* sum of the lengths before */
	long double before; /* arrivals that all pieces before yield on average */
};

/* Pieces follow one another; the last one is endless. */
struct rate_program {
	int n;
	struct rate_piece at[RATE_PIECES_MAX];
};

/* The same rate for ever: 0 to RATE_MAX, fractions included. ST_USAGE otherwise. */
enum status rate_constant(double rate, struct rate_program *out, struct error *err) MUST_CHECK;

/* Reads a program as people write it; ST_USAGE names what was expected where. Parts, joined by "then":
 *   400                                    a constant rate
 *   ramp(100, 2000, 60s)                   linear, from the first to the second
 *   sine(400, 200, 10min)                  mean, amplitude, period; begins at the mean, rising
 *   burst(200, 2000, 1s every 10s)         200, but 2000 in the last second of every ten
 *   steps(100/30s, 200/30s, 300/30s)       constant rates, each with its length
 * A part that would never end (number, sine, burst) takes a length when another follows: "400 for 30s then ramp(400, 2000, 1min)".
 * The rate at the end of the last part stays. */
enum status rate_parse(const char *text, struct rate_program *out, struct error *err) MUST_CHECK;

bool rate_is_constant(const struct rate_program *p);

/* The rate at a time since the start of the program. */
double rate_at(const struct rate_program *p, int64_t t_ns);

/* The highest rate that it ever has, and the mean over the first t_ns. */
double rate_peak(const struct rate_program *p);
double rate_mean(const struct rate_program *p, int64_t t_ns);

/* Lambda(t): arrivals that it yields on average until t_ns. */
long double rate_integral(const struct rate_program *p, int64_t t_ns);

/* Lambda^-1(u): when u > 0 arrivals have come on average, exact to 1 ns where the rate is not 0; RATE_NEVER when the program does
 * not yield as many within 146 years. */
int64_t rate_invert(const struct rate_program *p, long double u);

#endif
