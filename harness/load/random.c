/* The draws themselves; Lua's view of them is in random_lua.c. */
#include "load/random.h"

#include <math.h>
#include <stdbool.h>

void random_seed(struct random *r, uint64_t seed)
{
	r->rng.state = rng_mix(seed ^ UINT64_C(0x6a09e667f3bcc909));
}

/* The high half of bits * range is uniform but for a few low halves, which are drawn again. */
int64_t random_int(struct random *r, int64_t lo, int64_t hi)
{
	uint64_t range = (uint64_t)hi - (uint64_t)lo + 1;
	uint64_t bits = rng_next(&r->rng);
	if (range == 0)
		return (int64_t)bits;
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)bits * range;
	if ((uint64_t)product < range) {
		uint64_t threshold = (0 - range) % range;
		while ((uint64_t)product < threshold)
			product = (wide)rng_next(&r->rng) * range;
	}
	return (int64_t)((uint64_t)lo + (uint64_t)(product >> 64));
}

double random_unit(struct random *r)
{
	return rng_unit(rng_next(&r->rng));
}

/* expm1(t) / t and log1p(t) / t, by their series where the quotient would lose digits. */
static double expm1_over(double t)
{
	return fabs(t) > 1e-8 ? expm1(t) / t : 1 + t / 2 * (1 + t / 3);
}

static double log1p_over(double t)
{
	return fabs(t) > 1e-8 ? log1p(t) / t : 1 - t * (0.5 - t / 3);
}

/* h(x) = x^-s; H is its integral from 1, written so that s = 1 is no special case. */
static double zipf_density(double s, double x)
{
	return exp(-s * log(x));
}

static double zipf_integral(double s, double x)
{
	double log_x = log(x);
	return expm1_over((1 - s) * log_x) * log_x;
}

static double zipf_inverse(double s, double y)
{
	double t = y * (1 - s);
	if (t < -1)
		t = -1; /* rounding only */
	return exp(log1p_over(t) * y);
}

static const struct zipf *find_zipf(struct random *r, int64_t n, double s)
{
	for (unsigned i = 0; i < RANDOM_ZIPF_SLOTS; i++) {
		const struct zipf *z = &r->zipf[i];
		if (z->n == n && !(z->s < s) && !(z->s > s))
			return z;
	}
	struct zipf *z = &r->zipf[r->next_slot];
	r->next_slot = (r->next_slot + 1) % RANDOM_ZIPF_SLOTS;
	z->n = n;
	z->s = s;
	z->h_first = zipf_integral(s, 1.5) - 1;
	z->h_last = zipf_integral(s, (double)n + 0.5);
	z->shortcut = 2 - zipf_inverse(s, zipf_integral(s, 2.5) - zipf_density(s, 2));
	return z;
}

int64_t random_zipf(struct random *r, int64_t n, double s)
{
	if (!(s > 0))
		return random_int(r, 1, n);
	const struct zipf *z = find_zipf(r, n, s);
	for (;;) {
		double y = z->h_last + random_unit(r) * (z->h_first - z->h_last);
		double x = zipf_inverse(s, y);
		int64_t k = x < (double)n ? (int64_t)(x + 0.5) : n;
		if (k < 1)
			k = 1;
		else if (k > n)
			k = n;
		double kd = (double)k;
		if (kd - x <= z->shortcut || y >= zipf_integral(s, kd + 0.5) - zipf_density(s, kd))
			return k;
	}
}

/* Box and Muller's first value; the second is not kept, so that a draw depends on nothing but the stream. */
double random_gaussian(struct random *r, double mean, double sd)
{
	double radius = sqrt(-2 * log(rng_unit_open(rng_next(&r->rng))));
	return mean + sd * radius * cos(6.283185307179586 * random_unit(r));
}

double random_exponential(struct random *r, double mean)
{
	return -mean * log(rng_unit_open(rng_next(&r->rng)));
}

int64_t random_nurand(struct random *r, int64_t a, int64_t x, int64_t y, int64_t c)
{
	int64_t wide = random_int(r, 0, a);
	wide |= random_int(r, x, y);
	return (wide + c) % (y - x + 1) + x;
}

double random_pareto(struct random *r, double minimum, double shape)
{
	return minimum * pow(rng_unit_open(rng_next(&r->rng)), -1 / shape);
}

int64_t random_hotspot(struct random *r, int64_t n, double hot_share, double hot_weight)
{
	double share = floor((double)n * hot_share);
	int64_t hot = share < 1 ? 1 : share < (double)n ? (int64_t)share : n;
	bool is_hot = random_unit(r) < hot_weight;
	if (hot == n)
		return random_int(r, 1, n);
	return is_hot ? random_int(r, 1, hot) : random_int(r, hot + 1, n);
}

int64_t random_latest(struct random *r, int64_t n, double s)
{
	return n + 1 - random_zipf(r, n, s);
}

size_t random_weighted(struct random *r, const double *sums, size_t n)
{
	double at = random_unit(r) * sums[n - 1];
	size_t lo = 0, hi = n - 1;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (at < sums[mid])
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

/* per_draw characters from one draw: few enough that the remainder's bias is below 1e-4. */
static void fill_from(struct random *r, char *out, size_t len, const char *letters, unsigned n, unsigned per_draw)
{
	uint64_t bits = 0;
	for (size_t i = 0; i < len; i++) {
		if (i % per_draw == 0)
			bits = rng_next(&r->rng);
		out[i] = letters[bits % n];
		bits /= n;
	}
}

void random_alnum(struct random *r, char *out, size_t len)
{
	fill_from(r, out, len, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", 62, 8);
}

void random_digits(struct random *r, char *out, size_t len)
{
	fill_from(r, out, len, "0123456789", 10, 15);
}

void random_uuid(struct random *r, char out[static RANDOM_UUID_LEN])
{
	random_hex(r, out, RANDOM_UUID_LEN);
	out[8] = out[13] = out[18] = out[23] = '-';
	out[14] = '4';
	out[19] = "89ab"[rng_next(&r->rng) & 3];
}

/* 5 bits a letter, about as frequent as in English, so that text compresses about as text does. */
void random_text(struct random *r, char *out, size_t len)
{
	static const char LETTERS[] = "etaoinshrdlucmfwypgbvketaoi     ";
	uint64_t bits = 0;
	unsigned left = 0;
	for (size_t i = 0; i < len; i++) {
		if (left == 0) {
			bits = rng_next(&r->rng);
			left = 12;
		}
		char c = LETTERS[bits & 31];
		if (c == ' ' && (i == 0 || i == len - 1 || out[i - 1] == ' '))
			c = 'e';
		out[i] = c;
		bits >>= 5;
		left--;
	}
}

void random_hex(struct random *r, char *out, size_t len)
{
	uint64_t bits = 0;
	for (size_t i = 0; i < len; i++) {
		if (i % 16 == 0)
			bits = rng_next(&r->rng);
		out[i] = "0123456789abcdef"[bits & 15];
		bits >>= 4;
	}
}

/* Odd multiplications and shifted xors are bijections on b bits; what falls outside of 1..n walks on along its cycle,
 * fewer than two steps on average. */
int64_t random_permute(int64_t i, int64_t n)
{
	unsigned bits = 0;
	while (bits < 63 && (UINT64_C(1) << bits) < (uint64_t)n)
		bits++;
	uint64_t mask = (UINT64_C(1) << bits) - 1;
	unsigned shift = (bits + 1) / 2;
	uint64_t x = (uint64_t)i - 1;
	do {
		x = (x * UINT64_C(0x9e3779b97f4a7c15) + UINT64_C(0x632be59bd9b4e019)) & mask;
		x ^= x >> shift;
		x = (x * UINT64_C(0xbf58476d1ce4e5b9) + UINT64_C(0x94d049bb133111eb)) & mask;
		x ^= x >> shift;
		x = (x * UINT64_C(0xd6e8feb86659fd93)) & mask;
		x ^= x >> shift;
	} while (x >= (uint64_t)n);
	return (int64_t)x + 1;
}
