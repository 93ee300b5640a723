/* Users who think: the pause between two requests of one, and how many requests one makes. Both are drawn from the user's
 * seed and the request's number alone, so that they do not depend on what the server does. */
#ifndef PGR_LOAD_THINK_H
#define PGR_LOAD_THINK_H

#include "base/error.h"

#include <stdint.h>

#define THINK_ENDLESS UINT32_MAX

enum think_shape { THINK_NONE, THINK_CONSTANT, THINK_EXPONENTIAL, THINK_UNIFORM, THINK_LOGNORMAL };

/* Zero-initialised: no pause. */
struct think {
	enum think_shape shape;
	double a_ns, b_ns; /* constant: a; exponential: mean a; uniform: from a to b; lognormal: mean a, standard deviation b */
};

enum requests_shape { REQUESTS_FIXED, REQUESTS_GEOMETRIC };

/* Zero-initialised: not said. */
struct requests {
	enum requests_shape shape;
	double mean; /* >= 1 */
};

/* "none", "100ms", "exponential(100ms)", "uniform(50ms, 150ms)", "lognormal(100ms, 50ms)". ST_USAGE otherwise. */
enum status think_parse(const char *text, struct think *out, struct error *err) MUST_CHECK;

/* The pause before request `number` (from 1) of the user with this seed, in ns. */
int64_t think_draw(const struct think *think, uint64_t user_seed, uint32_t number);

double think_mean_ns(const struct think *think);

/* "5": that many; "geometric(5)": 5 on average, each as likely to be the last. ST_USAGE otherwise. */
enum status requests_parse(const char *text, struct requests *out, struct error *err) MUST_CHECK;

/* How many requests the user with this seed makes: at least 1. */
uint32_t requests_draw(const struct requests *requests, uint64_t user_seed);

#endif
