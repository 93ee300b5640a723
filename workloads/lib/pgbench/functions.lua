-- Values, operators and functions of pgbench's expressions: what a translated script calls while it runs.
--
-- A value is NULL, a boolean, an integer of 64 bits that never wraps around, or a double. A variable that was given as text (by -D
-- or from a query) stays text, which is what SQL sees, and is read as a value each time that an expression asks for it.

local F = {}

local mtype, floor, ult = math.type, math.floor, math.ult

local NULL = setmetatable({}, { __tostring = function() return "NULL" end })
F.NULL = NULL

-- Names of the chunks that scripts were translated to: an error is told at the script's line, which is the chunk's.
local chunks = {}

function F.register_chunk(name)
	chunks[name] = true
end

-- The file and line of the script that is being executed.
local function position()
	for level = 3, 250 do
		local info = debug.getinfo(level, "Sl")
		if not info then
			return ""
		elseif chunks[info.source] then
			return ("%s:%d: "):format(info.source:sub(2), info.currentline)
		end
	end
	return ""
end

local function fail(what, ...)
	error(position() .. what:format(...), 0)
end
F.fail = fail

-- ---- values and text ----

local function type_name(x)
	if x == NULL then
		return "NULL"
	end
	return mtype(x) == "integer" and "an integer" or mtype(x) == "float" and "a double" or "a " .. type(x)
end

-- How a value looks in SQL: 15 digits for a double.
local function show(x)
	if mtype(x) ~= "float" then
		return tostring(x)
	elseif x ~= x then
		return "NaN"
	elseif x == math.huge or x == -math.huge then
		return x > 0 and "Infinity" or "-Infinity"
	end
	return ("%.15g"):format(x)
end
F.show = show

-- A variable's text within SQL; what stands in the script when there is no such variable.
function F.text(x, written)
	if mtype(x) == "integer" or type(x) == "string" then
		return x
	elseif x == nil then
		return written
	end
	return show(x)
end

-- A variable as the parameter of a statement.
function F.param(x)
	if mtype(x) == "integer" or type(x) == "string" then
		return x
	elseif x == nil or x == NULL then
		return nil
	end
	return show(x)
end

-- Decimal digits as an integer, or nil when it does not fit.
local function parse_integer(text)
	local sign, digits = text:match("^([-+]?)0*(%d+)$")
	local largest = sign == "-" and "9223372036854775808" or "9223372036854775807"
	if not sign or #digits > #largest or #digits == #largest and digits > largest then
		return nil
	end
	return math.tointeger(tonumber(sign == "-" and sign .. digits or digits))
end
F.parse_integer = parse_integer

-- What C's strtod takes whole, without over- and underflow; or nil.
local function parse_double(text)
	local sign, word = text:match("^%s*([-+]?)(%a+)$")
	word = word and word:lower()
	if word == "inf" or word == "infinity" then
		return sign == "-" and -math.huge or math.huge
	elseif word == "nan" then
		return 0 / 0
	end
	if text:find("%s$") or not text:find("^%s*[-+]?[%.%d]") then
		return nil
	end
	local x = tonumber((text:gsub("^%s*%+", "")))
	x = x and x + 0.0
	local nought = not text:match("^[^eE]*"):find("[1-9]") and not text:find("[xX]")
	if not x or x == math.huge or x == -math.huge or math.abs(x) < 0x1p-1022 and not nought then
		return nil
	end
	return x
end
F.parse_double = parse_double

local WORDS = { null = NULL, on = true, of = false, off = false }
for word, value in pairs { ["true"] = true, yes = true, ["false"] = false, no = false } do
	for length = 1, #word do
		WORDS[word:sub(1, length)] = value
	end
end

-- Text as a value; nil when it is none.
local function parse(text)
	local word = WORDS[text:lower()]
	if word ~= nil then
		return word
	elseif text:find("^%s*[-+]?%d+%s*$") then
		return parse_integer(text:match("%S+"))
	end
	return parse_double(text)
end
F.parse = parse

-- A variable in an expression.
function F.value(x, name)
	if mtype(x) == "integer" then
		return x
	elseif x == nil then
		fail("there is no variable %s", name)
	elseif type(x) ~= "string" then
		return x
	end
	local value = parse(x)
	if value == nil then
		fail('the variable %s holds "%s", which is no number, boolean or NULL%s', name, x,
			x:find("^%s*[-+]?%d+%s*$") and " (integers have 64 bits)" or "")
	end
	return value
end

-- A double that is asked for as an integer is rounded, halves to the even side.
local function to_integer(x)
	if mtype(x) == "integer" then
		return x
	elseif mtype(x) ~= "float" then
		fail("%s where an integer is needed", type_name(x))
	elseif not (x >= -0x1p63 and x < 0x1p63) then
		fail("the double %s does not fit into an integer", show(x))
	end
	local n = floor(x)
	local rest = x - n
	if rest > 0.5 or rest == 0.5 and n % 2 == 1 then
		n = n + 1
	end
	return n
end

local function to_double(x)
	if mtype(x) == nil then
		fail("%s where a number is needed", type_name(x))
	end
	return x + 0.0
end

local function to_boolean(x)
	if type(x) ~= "boolean" then
		fail("%s where a boolean is needed", type_name(x))
	end
	return x
end

-- An operand of AND and OR.
function F.logical(x)
	if x == true or x == false or x == NULL then
		return x
	end
	return to_boolean(x)
end

-- Whether a branch of \if or CASE is taken: numbers other than 0 count as true, NULL as false.
function F.truth(x)
	if mtype(x) then
		return x ~= 0
	end
	return x == true
end

-- ---- operators ----

-- Two operands that are not both integers: doubles when one of them is a double; otherwise one is a boolean, which is an error.
local function two_doubles(a, b)
	if mtype(a) == "float" or mtype(b) == "float" then
		return to_double(a), to_double(b)
	end
	return to_integer(a), to_integer(b)
end

local function overflow(a, op, b)
	fail("%s %s %s does not fit into an integer", a, op, b)
end

function F.add(a, b)
	if mtype(a) == "integer" and mtype(b) == "integer" then
		local sum = a + b
		if (a ~ sum) & (b ~ sum) < 0 then
			overflow(a, "+", b)
		end
		return sum
	elseif a == NULL or b == NULL then
		return NULL
	end
	a, b = two_doubles(a, b)
	return a + b
end

function F.sub(a, b)
	if mtype(a) == "integer" and mtype(b) == "integer" then
		local difference = a - b
		if (a ~ b) & (a ~ difference) < 0 then
			overflow(a, "-", b)
		end
		return difference
	elseif a == NULL or b == NULL then
		return NULL
	end
	a, b = two_doubles(a, b)
	return a - b
end

function F.mul(a, b)
	if mtype(a) == "integer" and mtype(b) == "integer" then
		local product = a * b
		if (a ~= 0 and (product // a ~= b or product % a ~= 0)) or (a == -1 and b == math.mininteger) then
			overflow(a, "*", b)
		end
		return product
	elseif a == NULL or b == NULL then
		return NULL
	end
	a, b = two_doubles(a, b)
	return a * b
end

-- Towards zero.
function F.div(a, b)
	if a == NULL or b == NULL then
		return NULL
	elseif mtype(a) == "float" or mtype(b) == "float" then
		return to_double(a) / to_double(b)
	end
	a, b = to_integer(a), to_integer(b)
	if b == 0 then
		fail("%d / 0: division by zero", a)
	elseif b == -1 and a == math.mininteger then
		overflow(a, "/", b)
	end
	local quotient = a // b
	if quotient < 0 and quotient * b ~= a then
		quotient = quotient + 1
	end
	return quotient
end

-- Of integers only; the sign is that of a.
function F.mod(a, b)
	if a == NULL or b == NULL then
		return NULL
	end
	a, b = to_integer(a), to_integer(b)
	if b == 0 then
		fail("%d %% 0: division by zero", a)
	end
	return math.fmod(a, b)
end

function F.eq(a, b)
	if mtype(a) == "integer" and mtype(b) == "integer" then
		return a == b
	elseif a == NULL or b == NULL then
		return NULL
	end
	a, b = two_doubles(a, b)
	return a == b
end

function F.ne(a, b)
	local equal = F.eq(a, b)
	if equal == NULL then
		return NULL
	end
	return not equal
end

function F.lt(a, b)
	if mtype(a) == "integer" and mtype(b) == "integer" then
		return a < b
	elseif a == NULL or b == NULL then
		return NULL
	end
	a, b = two_doubles(a, b)
	return a < b
end

function F.le(a, b)
	if mtype(a) == "integer" and mtype(b) == "integer" then
		return a <= b
	elseif a == NULL or b == NULL then
		return NULL
	end
	a, b = two_doubles(a, b)
	return a <= b
end

function F.bit_and(a, b)
	if a == NULL or b == NULL then
		return NULL
	end
	return to_integer(a) & to_integer(b)
end

function F.bit_or(a, b)
	if a == NULL or b == NULL then
		return NULL
	end
	return to_integer(a) | to_integer(b)
end

function F.bit_xor(a, b)
	if a == NULL or b == NULL then
		return NULL
	end
	return to_integer(a) ~ to_integer(b)
end

-- C leaves shifts by 64 and more, and by less than 0, to the processor; these do what x86-64 and arm64 do: the lowest 6 bits count.
function F.shift_left(a, b)
	if a == NULL or b == NULL then
		return NULL
	end
	return to_integer(a) << (to_integer(b) & 63)
end

function F.shift_right(a, b)
	if a == NULL or b == NULL then
		return NULL
	end
	a, b = to_integer(a), to_integer(b) & 63
	return a < 0 and ~(~a >> b) or a >> b
end

function F.negate(a)
	return F.sub(0, a)
end

function F.complement(a)
	return F.bit_xor(-1, a)
end

function F.invert(a)
	if a == NULL then
		return NULL
	end
	return not to_boolean(a)
end

-- IS NULL, IS TRUE, IS FALSE.
function F.is(a, b)
	return a == b
end

-- ---- functions ----

function F.abs(x)
	if x == NULL then
		return NULL
	elseif mtype(x) == "integer" then
		return x < 0 and -x or x
	end
	x = to_double(x)
	return x < 0 and -x or x
end

local function extremum(pick, ...)
	local doubles = false
	for i = 1, select("#", ...) do
		local x = select(i, ...)
		if x == NULL then
			return NULL
		end
		doubles = doubles or mtype(x) == "float"
	end
	local convert = doubles and to_double or to_integer
	local best = convert((...))
	for i = 2, select("#", ...) do
		best = pick(best, convert((select(i, ...))))
	end
	return best
end

function F.least(...)
	return extremum(function(a, b) return a < b and a or b end, ...)
end

function F.greatest(...)
	return extremum(function(a, b) return a > b and a or b end, ...)
end

-- Where debug() writes a line, and \shell what its command printed; a test or a trial puts other functions here.
function F.write_debug(line)
	io.stderr:write(line, "\n")
end

function F.write_output(text)
	io.stdout:write(text)
end

function F.debug(x)
	local name = x == NULL and "" or type(x) == "boolean" and "boolean " or mtype(x) == "integer" and "integer " or "double "
	F.write_debug(("%sdebug: %s%s"):format(position(), name, show(x)))
	return x
end

function F.int(x)
	return x == NULL and NULL or to_integer(x)
end

function F.double(x)
	return x == NULL and NULL or to_double(x)
end

function F.sqrt(x)
	if x == NULL then
		return NULL
	end
	x = to_double(x)
	return x < 0 and 0 / 0 or math.sqrt(x)
end

function F.ln(x)
	return x == NULL and NULL or math.log(to_double(x))
end

function F.exp(x)
	return x == NULL and NULL or math.exp(to_double(x))
end

function F.pi()
	return math.pi
end

function F.pow(a, b)
	if a == NULL or b == NULL then
		return NULL
	end
	return to_double(a) ^ to_double(b)
end

-- ---- random functions: r is the arrival's random source ----

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

function F.random(r, lo, hi)
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
function F.random_exponential(r, lo, hi, parameter)
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
function F.random_gaussian(r, lo, hi, parameter)
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
function F.random_zipfian(r, lo, hi, parameter)
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
function F.hash_fnv1a(x, seed)
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
function F.hash_murmur2(x, seed)
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
function F.permute(x, size, seed)
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

-- ---- backslash commands ----

local function store(v, prefix, name, text)
	name = prefix .. name
	if not name:find("^[%a_\x80-\xff][%w_\x80-\xff]*$") then
		fail("a column cannot become a variable called %s (letters, digits and _, not a digit first)", name)
	end
	v[name] = text
end

-- \gset: the columns of the one row; rows: how many there were. What follows are names and texts in turn, "" for NULL.
function F.gset(v, prefix, rows, ...)
	if rows ~= 1 then
		fail("\\gset needs one row, but there were %d", rows)
	end
	for i = 1, select("#", ...), 2 do
		local name, text = select(i, ...)
		store(v, prefix, name, text)
	end
end

-- \aset: the same for each result, the last row of those that have any.
function F.aset(v, prefix, results)
	for _, result in ipairs(results) do
		for i = 2, #result, 2 do
			store(v, prefix, result[i], result[i + 1])
		end
	end
end

-- The number that a variable of \sleep begins with.
function F.sleep_time(x, name)
	if x == nil then
		fail("\\sleep: there is no variable %s", name)
	end
	local number = show(x):match("^%s*[-+]?%d+")
	if not number then
		fail('\\sleep: the variable %s holds "%s", which is no time', name, show(x))
	end
	return math.max(tonumber(number), 0)
end

function F.shell_text(x, name)
	if x == nil then
		fail("a shell command uses a variable %s, which is not set", name)
	end
	return show(x)
end

-- exit: the status of the shell, 128 + signal when it was killed. output: the beginning of what it printed.
function F.shell(exit, output)
	F.write_output(output)
	if exit ~= 0 then
		fail("the shell command failed with status %d", exit)
	end
end

function F.setshell(exit, output)
	local number = output:match("^[^\n]*"):match("^%s*([-+]?%d+)%s*$")
	if output == "" then
		fail("\\setshell: the command printed nothing (status %d)", exit)
	elseif not number then
		fail('\\setshell: the command must print a whole number, not "%s"', output:match("^[^\n]*"):sub(1, 64))
	end
	return tonumber(number)
end

return F
