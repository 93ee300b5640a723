/* Random draws for workloads: each a pure function of a 64-bit seed and the draws before it, without allocation. */
#ifndef PGR_LOAD_RANDOM_H
#define PGR_LOAD_RANDOM_H

#include "base/rng.h"

#include <lua.h>
#include <stddef.h>
#include <stdint.h>

/* Constants of one zipf distribution, so that a draw needs no more than a few calls of libm. */
struct zipf {
	int64_t n; /* 0: empty slot */
	double s;
	double h_first;  /* H(1.5) - 1 */
	double h_last;   /* H(n + 0.5) */
	double shortcut; /* below this distance to k no rejection test is needed */
};

#define RANDOM_ZIPF_SLOTS 8

struct random {
	uint64_t mark; /* tells Lua's random sources from other userdata faster than their metatable does; random_lua.c */
	struct rng rng;
	struct zipf zipf[RANDOM_ZIPF_SLOTS]; /* by (n, s), replaced in turn */
	unsigned next_slot;
};

/* Starts the stream of seed; keeps the cached constants. Use it on zero-initialised memory. */
void random_seed(struct random *r, uint64_t seed);

/* [lo, hi], both included; lo <= hi. Without modulo bias (Lemire 2019). */
int64_t random_int(struct random *r, int64_t lo, int64_t hi);

/* [0, 1). */
double random_unit(struct random *r);

/* 1..n with P(k) proportional to k^-s; n >= 1, any finite s >= 0, also 1. Rejection-inversion: Hörmann, Derflinger: Rejection-inversion
 * to generate variates from monotone discrete distributions, ACM TOMACS 6(3), 1996. */
int64_t random_zipf(struct random *r, int64_t n, double s);

double random_gaussian(struct random *r, double mean, double sd);
double random_exponential(struct random *r, double mean);

/* [x, y], skewed as TPC-C (revision 5.11, clause 2.1.6) asks for: ((random(0, a) | random(x, y)) + c) mod (y - x + 1) + x.
 * 0 <= x <= y, 0 <= c, a + 1 a power of two; all below 2^62. */
int64_t random_nurand(struct random *r, int64_t a, int64_t x, int64_t y, int64_t c);

/* [minimum, inf) with P(above v) = (minimum / v)^shape; both above 0. */
double random_pareto(struct random *r, double minimum, double shape);

/* 1..n: the first hot_share of them (whole numbers, at least one) get hot_weight of the draws, evenly; the others the rest.
 * n >= 1; both from 0 to 1. When all are hot, they are even. */
int64_t random_hotspot(struct random *r, int64_t n, double hot_share, double hot_weight);

/* 1..n, the highest most often: n + 1 - zipf. */
int64_t random_latest(struct random *r, int64_t n, double s);

/* An index below n; sums[i] is the sum of the weights 0..i, rising, n >= 1. */
size_t random_weighted(struct random *r, const double *sums, size_t n);

/* Fills out with len letters of both cases and digits; with len digits; no terminator. */
void random_alnum(struct random *r, char *out, size_t len);
void random_digits(struct random *r, char *out, size_t len);

/* A random (version 4) UUID as text, without a terminator: RFC 4122, section 4.4. */
#define RANDOM_UUID_LEN 36
void random_uuid(struct random *r, char out[static RANDOM_UUID_LEN]);

/* Fills out with len lower-case letters and spaces that look like words; no terminator. The same for hexadecimal digits. */
void random_text(struct random *r, char *out, size_t len);
void random_hex(struct random *r, char *out, size_t len);

/* A bijection on 1..n that does not depend on any seed: hot ranks of a zipf become keys that are scattered over the table. */
int64_t random_permute(int64_t i, int64_t n);

/* Lua: pushes a new userdata whose methods are those above (see workloads/README.md) and returns it, for reseeding. It
 * lives as long as Lua holds it. */
struct random *random_push(lua_State *L);

/* The random source at a stack index, or an argument error. */
struct random *random_check(lua_State *L, int index);

#endif
