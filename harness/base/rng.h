/* Counter-based random numbers: draw number n of seed s is a pure function of (s, n), so that any thread can compute
 * any arrival. SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). */
#ifndef PGR_BASE_RNG_H
#define PGR_BASE_RNG_H

#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_mix(uint64_t z)
{
	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* Draw number n of the stream that belongs to seed. */
static inline uint64_t rng_at(uint64_t seed, uint64_t n)
{
	return rng_mix(seed + (n + 1) * UINT64_C(0x9e3779b97f4a7c15));
}

static inline uint64_t rng_next(struct rng *r)
{
	r->state += UINT64_C(0x9e3779b97f4a7c15);
	return rng_mix(r->state);
}

/* [0, 1) with 53 bits. */
static inline double rng_unit(uint64_t bits)
{
	return (double)(bits >> 11) * 0x1.0p-53;
}

/* (0, 1]: safe to take a logarithm of. */
static inline double rng_unit_open(uint64_t bits)
{
	return ((double)(bits >> 11) + 1.0) * 0x1.0p-53;
}

#endif
