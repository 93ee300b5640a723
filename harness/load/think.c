/* Think times and numbers of requests: their text, and their draws by inversion. */
#include "load/think.h"

#include "base/rng.h"
#include "base/units.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TURN 6.283185307179586
#define LONGEST_NS 0x1p60 /* 36 years: a sum with any time of ours does not overflow */

/* Streams of a user's seed, besides the one that plan_draw takes for its requests. */
#define STREAM_THINK UINT64_C(0x7468696e6b)
#define STREAM_REQUESTS UINT64_C(0x7265717565737473)

/* ---- the text ---- */

static enum status refuse_think(const char *text, struct error *err)
{
	error_set(err, ST_USAGE, "\"%.100s\" is not a think time", text);
	error_hint(err, "none, 100ms, exponential(100ms), uniform(50ms, 150ms) or lognormal(100ms, 50ms): mean and standard deviation");
	return ST_USAGE;
}

/* "name(a)" or "name(a, b)": how many arguments there are; 0 when it is not of that form. */
static int split_call(const char *text, char name[16], char first[32], char second[32])
{
	int end = 0, end_2 = 0;
	if (sscanf(text, " %15[a-z] ( %31[^,() ] %n", name, first, &end) != 2 || end == 0)
		return 0;
	if (text[end] == ')')
		return text[end + 1 + (int)strspn(text + end + 1, " ")] == '\0' ? 1 : 0;
	if (sscanf(text + end, ", %31[^,() ] )%n", second, &end_2) != 1 || end_2 == 0)
		return 0;
	return text[end + end_2 + (int)strspn(text + end + end_2, " ")] == '\0' ? 2 : 0;
}

static bool read_ns(const char *text, double *out)
{
	int64_t ns;
	struct error ignored;
	if (units_parse_time(text, &ns, &ignored) != ST_OK)
		return false;
	*out = (double)ns;
	return true;
}

enum status think_parse(const char *text, struct think *out, struct error *err)
{
	static const struct {
		const char *name;
		enum think_shape shape;
		int arguments;
	} SHAPES[] = {{"exponential", THINK_EXPONENTIAL, 1}, {"uniform", THINK_UNIFORM, 2}, {"lognormal", THINK_LOGNORMAL, 2}};
	char name[16], first[32], second[32];
	*out = (struct think){.shape = THINK_NONE};
	if (strcmp(text, "none") == 0)
		return ST_OK;
	if (read_ns(text, &out->a_ns)) {
		out->shape = out->a_ns > 0 ? THINK_CONSTANT : THINK_NONE;
		return ST_OK;
	}
	int arguments = split_call(text, name, first, second);
	for (size_t i = 0; i < sizeof SHAPES / sizeof SHAPES[0]; i++) {
		if (arguments == 0 || strcmp(name, SHAPES[i].name) != 0)
			continue;
		out->shape = SHAPES[i].shape;
		if (arguments != SHAPES[i].arguments || !read_ns(first, &out->a_ns) || (arguments == 2 && !read_ns(second, &out->b_ns)))
			break;
		bool ordered = out->shape != THINK_UNIFORM || out->a_ns <= out->b_ns;
		return ordered && (out->a_ns > 0 || out->shape == THINK_UNIFORM) ? ST_OK : refuse_think(text, err);
	}
	return refuse_think(text, err);
}

enum status requests_parse(const char *text, struct requests *out, struct error *err)
{
	char name[16], first[32], second[32];
	struct error ignored;
	int64_t whole;
	if (units_parse_int("", text, 1, 1000000000, &whole, &ignored) == ST_OK) {
		*out = (struct requests){.shape = REQUESTS_FIXED, .mean = (double)whole};
		return ST_OK;
	}
	*out = (struct requests){.shape = REQUESTS_GEOMETRIC};
	if (split_call(text, name, first, second) == 1 && strcmp(name, "geometric") == 0 &&
		units_parse_number("", first, 1, 1e9, &out->mean, &ignored) == ST_OK)
		return ST_OK;
	error_set(err, ST_USAGE, "\"%.100s\" is not a number of requests of a user", text);
	error_hint(err, "5, or geometric(5): 5 on average");
	return ST_USAGE;
}

/* ---- the draws ---- */

double think_mean_ns(const struct think *think)
{
	return think->shape == THINK_UNIFORM ? (think->a_ns + think->b_ns) / 2 : think->a_ns;
}

int64_t think_draw(const struct think *think, uint64_t user_seed, uint32_t number)
{
	uint64_t stream = rng_at(user_seed, STREAM_THINK);
	double unit = rng_unit_open(rng_at(stream, 2 * (uint64_t)number)), ns = 0;
	switch (think->shape) {
	case THINK_NONE:
		break;
	case THINK_CONSTANT:
		ns = think->a_ns;
		break;
	case THINK_EXPONENTIAL:
		ns = -think->a_ns * log(unit);
		break;
	case THINK_UNIFORM:
		ns = think->a_ns + (think->b_ns - think->a_ns) * unit;
		break;
	case THINK_LOGNORMAL: {
		/* A normal variate by Box and Muller; its parameters from mean and standard deviation of the product. */
		double angle = TURN * rng_unit(rng_at(stream, 2 * (uint64_t)number + 1));
		double variance = log1p(think->b_ns / think->a_ns * (think->b_ns / think->a_ns));
		ns = think->a_ns * exp(sqrt(variance) * sqrt(-2 * log(unit)) * cos(angle) - variance / 2);
		break;
	}
	}
	return (int64_t)(ns < LONGEST_NS ? ns : LONGEST_NS);
}

uint32_t requests_draw(const struct requests *requests, uint64_t user_seed)
{
	if (requests->mean <= 1)
		return 1;
	if (requests->shape == REQUESTS_FIXED)
		return (uint32_t)requests->mean;
	double unit = rng_unit_open(rng_at(user_seed, STREAM_REQUESTS));
	double more = floor(log(unit) / log1p(-1 / requests->mean));
	return more < 4e9 ? 1 + (uint32_t)more : THINK_ENDLESS - 1;
}
