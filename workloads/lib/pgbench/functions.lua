-- What a translated script calls while it runs: operators, functions and commands, together with those of values.lua and random.lua.

local values = require "pgbench.values"
local random = require "pgbench.random"

local F = {}

for _, module in ipairs { values, random } do
	for name, f in pairs(module) do
		F[name] = f
	end
end

local mtype = math.type
local NULL, fail, position, show = values.NULL, values.fail, values.position, values.show
local to_integer, to_double, to_boolean = values.to_integer, values.to_double, values.to_boolean

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
