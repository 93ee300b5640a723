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
