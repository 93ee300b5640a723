-- pgbench's random functions, hashes and permutation.

local values = require "pgbench.values"

local M = {}

local mtype, floor, ult = math.type, math.floor, math.ult
local NULL, fail, show, to_integer, to_double = values.NULL, values.fail, values.show, values.to_integer, values.to_double

-- ---- random numbers: r is the arrival's random source ----

local function check_range(name, lo, hi)
	lo, hi = to_integer(lo), to_integer(hi)
	if lo > hi then
		fail("%s: the range from %d to %d is empty", name, lo, hi)
	end
	local span = hi - lo
	if span < 0 or span == math.maxinteger then
		fail("%s: the range from %d to %d has more than 2^63 - 1 numbers", name, lo, hi)
	end
	return lo, hi, span + 1
end

function M.random(r, lo, hi)
	if mtype(lo) ~= "integer" or mtype(hi) ~= "integer" or lo > hi or hi - lo + 1 <= 0 then
		if lo == NULL or hi == NULL then
			return NULL
		end
		lo, hi = check_range("random", lo, hi)
	end
	return r:int(lo, hi)
end

-- The number at share x of a range of n numbers, x from 0 up to but not including 1.
local function at_share(lo, hi, n, x)
	local offset = n * x
	return offset >= 0x1p63 and hi or math.min(lo + floor(offset), hi)
end

-- The density falls from lo to hi by the factor exp(-parameter).
function M.random_exponential(r, lo, hi, parameter)
	if lo == NULL or hi == NULL or parameter == NULL then
		return NULL
	end
	local n
	lo, hi, n = check_range("random_exponential", lo, hi)
	parameter = to_double(parameter)
	if not (parameter > 0) then
		fail("random_exponential: the parameter must be above 0, but is %s", show(parameter))
	end
	local cut = math.exp(-parameter)
	return at_share(lo, hi, n, -math.log(cut + (1 - cut) * (1 - r:unit())) / parameter)
end

-- The middle of the range is the mean; parameter standard deviations on each side are within it.
function M.random_gaussian(r, lo, hi, parameter)
	if lo == NULL or hi == NULL or parameter == NULL then
		return NULL
	end
	local n
	lo, hi, n = check_range("random_gaussian", lo, hi)
	parameter = to_double(parameter)
	if not (parameter >= 2) then
		fail("random_gaussian: the parameter must be at least 2, but is %s", show(parameter))
	end
	local x
	repeat
		x = r:gaussian(0.0, 1.0)
	until x >= -parameter and x < parameter
	return at_share(lo, hi, n, (x + parameter) / (2 * parameter))
end

-- lo is the most frequent.
function M.random_zipfian(r, lo, hi, parameter)
	if lo == NULL or hi == NULL or parameter == NULL then
		return NULL
	end
	local n
	lo, hi, n = check_range("random_zipfian", lo, hi)
	parameter = to_double(parameter)
	if not (parameter >= 1.001 and parameter <= 1000) then
		fail("random_zipfian: the parameter must be from 1.001 to 1000, but is %s", show(parameter))
	elseif parameter > 100 then
		return lo -- every other number has less than one chance in 2^100
	end
	return lo - 1 + r:zipf(n, parameter)
end

-- ---- hashes ----

-- Fowler, Noll, Vo 1a over the 8 bytes of x, lowest first.
function M.hash_fnv1a(x, seed)
	if x == NULL or seed == NULL then
		return NULL
	end
	x, seed = to_integer(x), to_integer(seed)
	local hash = 0xcbf29ce484222325 ~ seed
	for _ = 1, 8 do
		hash = (hash ~ (x & 0xff)) * 0x100000001b3
		x = x >> 8
	end
	return hash
end

-- Austin Appleby's MurmurHash2 (64 bits) of one number of 8 bytes.
function M.hash_murmur2(x, seed)
	if x == NULL or seed == NULL then
		return NULL
	end
	local m <const> = 0xc6a4a7935bd1e995
	local k = to_integer(x) * m
	k = (k ~ (k >> 47)) * m
	local hash = ((to_integer(seed) ~ 8 * m) ~ k) * m
	hash = (hash ~ (hash >> 47)) * m
	return hash ~ (hash >> 47)
end

-- ---- permute ----

local function splitmix64(state)
	state = state + 0x9e3779b97f4a7c15
	local z = (state ~ (state >> 30)) * 0xbf58476d1ce4e5b9
	z = (z ~ (z >> 27)) * 0x94d049bb133111eb
	return state, z ~ (z >> 31)
end

local function rotate(x, n)
	return (x << n) | (x >> (64 - n))
end

-- xoroshiro128** (Blackman, Vigna: Scrambled Linear Pseudorandom Number Generators), started from two splitmix64 values.
local function generator(seed)
	local state, s0, s1 = seed, nil, nil
	state, s0 = splitmix64(state)
	state, s1 = splitmix64(state)
	return function()
		local out = rotate(s0 * 5, 7) * 9
		local x = s1 ~ s0
		s0, s1 = rotate(s0, 24) ~ x ~ (x << 16), rotate(x, 37)
		return out
	end
end

-- Number of bits behind the highest one of x > 0.
local function highest_bit(x)
	local n = 0
	while x > 1 do
		x, n = x >> 1, n + 1
	end
	return n
end

-- A bijection on 0..size-1: six rounds, each of which multiplies by something odd, mixes in and rotates the lower and then the
-- upper part of the range, a power of 2 in size each, and shifts the whole. All arithmetic is on unsigned numbers.
function M.permute(x, size, seed)
	if x == NULL or size == NULL or seed == NULL then
		return NULL
	end
	x, size, seed = to_integer(x), to_integer(size), to_integer(seed)
	if size <= 0 then
		fail("permute: the size must be above 0, but is %d", size)
	elseif size == 1 then
		return 0
	end
	local value = x % size
	if x < 0 then
		value = x - ((x >> 1) // size << 1) * size
		value = ult(value, size) and value or value - size
	end
	local next = generator(seed)
	local bits = highest_bit(size)
	local mask = (1 << bits) - 1
	local shift = 63 - highest_bit(size - 1)
	local function mix(part, factor, noise)
		part = (part * factor ~ noise) & mask
		return (part << 1) & mask | part >> (bits - 1)
	end
	for _ = 1, 6 do
		local factor, noise = next() & mask | 1, next() & mask
		if value <= mask then
			value = mix(value, factor, noise)
		end
		factor, noise = next() & mask | 1, next() & mask
		local mirrored = size - 1 - value
		if mirrored <= mask then
			value = size - 1 - mix(mirrored, factor, noise)
		end
		local offset
		repeat
			offset = next() >> shift
		until not ult(size - 1, offset)
		value = value - (size - offset)
		if value < 0 then
			value = value + size
		end
	end
	return value
end

return M
