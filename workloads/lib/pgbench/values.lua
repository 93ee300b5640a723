-- Values of pgbench's expressions, how they look as text, and how what fails is told.
--
-- A value is NULL, a boolean, an integer of 64 bits that never wraps around, or a double. A variable that was given as text (by -D
-- or from a query) stays text, which is what SQL sees, and is read as a value each time that an expression asks for it.

local M = {}

local mtype, floor = math.type, math.floor

local NULL = setmetatable({}, { __tostring = function() return "NULL" end })
M.NULL = NULL

-- Names of the chunks that scripts were translated to: an error is told at the script's line, which is the chunk's.
local chunks = {}

function M.register_chunk(name)
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

M.position = position

local function fail(what, ...)
	error(position() .. what:format(...), 0)
end
M.fail = fail

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
M.show = show

-- A variable's text within SQL; what stands in the script when there is no such variable.
function M.text(x, written)
	if mtype(x) == "integer" or type(x) == "string" then
		return x
	elseif x == nil then
		return written
	end
	return show(x)
end

-- A variable as the parameter of a statement.
function M.param(x)
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
M.parse_integer = parse_integer

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
M.parse_double = parse_double

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
M.parse = parse

-- A variable in an expression.
function M.value(x, name)
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
function M.logical(x)
	if x == true or x == false or x == NULL then
		return x
	end
	return to_boolean(x)
end

-- Whether a branch of \if or CASE is taken: numbers other than 0 count as true, NULL as false.
function M.truth(x)
	if mtype(x) then
		return x ~= 0
	end
	return x == true
end

M.to_integer, M.to_double, M.to_boolean = to_integer, to_double, to_boolean

return M
