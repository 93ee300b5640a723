-- pgbench's expressions: read into a tree, then written as Lua that calls functions.lua.
--
-- Precedence, lowest first: OR; AND; NOT; IS ISNULL NOTNULL; < > = <= >= <> != (which do not chain); | # & << >> and unary ~;
-- + -; * / %; unary + and -.

local values = require "pgbench.values"

local M = {}

local DEPTH_MAX = 1000

-- ---- tokens ----

local KEYWORDS = { ["and"] = true, ["or"] = true, ["not"] = true, is = true, isnull = true, notnull = true, case = true, when = true,
	["then"] = true, ["else"] = true, ["end"] = true, ["true"] = true, ["false"] = true, null = true }

local SYMBOLS = { ["<="] = true, [">="] = true, ["<>"] = true, ["!="] = true, ["<<"] = true, [">>"] = true }

local WORD = "^[%a_\x80-\xff][%w_\x80-\xff]*"

-- The input: text, where the next token begins, and the token that is looked at: its kind, value and place. fail(place, what, hint)
-- refuses the script.
local function skip_blanks(s)
	local at = s.at
	while true do
		local next = s.text:match("^[ \t\r\f\v]+()", at) or s.text:match("^\\\r?\n()", at)
		if not next then
			return at
		end
		at = next
	end
end

local function read_number(s, at)
	local last = s.text:match("^%d+%.?%d*()", at) or s.text:match("^%.%d+()", at)
	last = s.text:match("^[eE][-+]?%d+()", last) or last
	local written = s.text:sub(at, last - 1)
	if written:find("^%d+$") then
		local value = values.parse_integer(written)
		if not value and values.parse_integer("-" .. written) ~= math.mininteger then
			s.fail(at, "the integer " .. written .. " does not fit into 64 bits", "from -9223372036854775808 to 9223372036854775807")
		end
		return value and "constant" or "2^63", value, last
	end
	local value = values.parse_double(written)
	if not value then
		s.fail(at, "the double " .. written .. " is out of range", "up to about 1.8e308 and not below 2.2e-308")
	end
	return "constant", value, last
end

local function read_token(s, at)
	local c = s.text:sub(at, at)
	if c == "" or c == "\n" then
		return "end of line", nil, at
	elseif s.text:find("^%.?%d", at) then
		return read_number(s, at)
	elseif SYMBOLS[s.text:sub(at, at + 1)] then
		return s.text:sub(at, at + 1), nil, at + 2
	elseif c:find("[-+*/%%()<>=|#&~,]") then
		return c, nil, at + 1
	end
	local name, last = s.text:match("^:([%w_\x80-\xff]+)()", at)
	if name then
		return "variable", name, last
	end
	local word = s.text:match(WORD, at)
	if word then
		local lower = word:lower()
		return KEYWORDS[lower] and lower or "function", word, at + #word
	end
	s.fail(at, "the character " .. c .. " has no meaning in an expression")
end

local function advance(s)
	s.place = skip_blanks(s)
	s.kind, s.token, s.at = read_token(s, s.place)
end

local function refuse(s, expected)
	local found = s.kind == "end of line" and "the end of the line" or s.text:sub(s.place, s.at - 1)
	s.fail(s.place, "the expression cannot go on with " .. found, expected)
end

local function take(s, kind)
	if s.kind ~= kind then
		refuse(s, kind .. " is expected")
	end
	advance(s)
end

-- ---- the tree ----

local function call(name, ...)
	return { kind = "call", name = name, ... }
end

local function constant(value)
	return { kind = "constant", value = value }
end

-- a AND b AND c is one node: it ends at the first that is not true, also at NULL.
local function lazy(kind, a, b)
	if a.kind == kind then
		a[#a + 1] = b
		return a
	end
	return { kind = kind, a, b }
end

-- Functions by name: what Lua calls, number of arguments from..to, whether it takes the random source.
local FUNCTIONS = {
	abs = { "abs", 1 }, debug = { "debug", 1 }, double = { "double", 1 }, exp = { "exp", 1 }, int = { "int", 1 }, ln = { "ln", 1 },
	sqrt = { "sqrt", 1 }, pi = { "pi", 0 }, mod = { "mod", 2 }, pow = { "pow", 2 }, power = { "pow", 2 },
	least = { "least", 1, 16 }, greatest = { "greatest", 1, 16 },
	hash = { "hash_murmur2", 1, 2, seeded = true }, hash_murmur2 = { "hash_murmur2", 1, 2, seeded = true },
	hash_fnv1a = { "hash_fnv1a", 1, 2, seeded = true }, permute = { "permute", 2, 3, seeded = true },
	random = { "random", 2, random = true }, random_exponential = { "random_exponential", 3, random = true },
	random_gaussian = { "random_gaussian", 3, random = true }, random_zipfian = { "random_zipfian", 3, random = true },
}

local function function_names()
	local names = {}
	for name in pairs(FUNCTIONS) do
		names[#names + 1] = name
	end
	table.sort(names)
	return table.concat(names, ", ")
end

local parse

local function parse_function(s)
	local name, place = s.token:lower(), s.place
	local f = FUNCTIONS[name]
	if not f then
		s.fail(place, "there is no function " .. s.token, "functions: " .. function_names())
	end
	advance(s)
	take(s, "(")
	local node = call(f[1])
	if s.kind ~= ")" then
		node[1] = parse(s, 0)
		while s.kind == "," do
			advance(s)
			node[#node + 1] = parse(s, 0)
		end
	end
	take(s, ")")
	local least, most = f[2], f[3] or f[2]
	if #node < least or #node > most then
		s.fail(place, ("%s cannot have %d argument%s"):format(name, #node, #node == 1 and "" or "s"),
			"it takes " .. (least == most and tostring(least) or least .. " to " .. most))
	end
	if f.seeded and #node < most then
		node[most] = { kind = "variable", name = "default_seed" }
	end
	node.random = f.random
	return node
end

local function parse_case(s)
	local node = { kind = "case" }
	advance(s)
	repeat
		take(s, "when")
		node[#node + 1] = parse(s, 0)
		take(s, "then")
		node[#node + 1] = parse(s, 0)
	until s.kind ~= "when"
	if s.kind == "else" then
		advance(s)
		node.otherwise = parse(s, 0)
	end
	if s.kind ~= "end" then
		refuse(s, "when, else or end is expected")
	end
	advance(s)
	return node
end

-- Binding powers.
local P_OR, P_AND, P_NOT, P_IS, P_COMPARE, P_BITS, P_SUM, P_PRODUCT, P_UNARY = 1, 2, 3, 4, 5, 6, 7, 8, 9

local BINARY = {
	["<"] = { P_COMPARE, "lt" }, [">"] = { P_COMPARE, "lt", swapped = true }, ["<="] = { P_COMPARE, "le" },
	[">="] = { P_COMPARE, "le", swapped = true }, ["="] = { P_COMPARE, "eq" }, ["<>"] = { P_COMPARE, "ne" }, ["!="] = { P_COMPARE, "ne" },
	["|"] = { P_BITS, "bit_or" }, ["#"] = { P_BITS, "bit_xor" }, ["&"] = { P_BITS, "bit_and" },
	["<<"] = { P_BITS, "shift_left" }, [">>"] = { P_BITS, "shift_right" },
	["+"] = { P_SUM, "add" }, ["-"] = { P_SUM, "sub" },
	["*"] = { P_PRODUCT, "mul" }, ["/"] = { P_PRODUCT, "div" }, ["%"] = { P_PRODUCT, "mod" },
	["and"] = { P_AND, lazy = true }, ["or"] = { P_OR, lazy = true },
	is = { P_IS }, isnull = { P_IS }, notnull = { P_IS },
}

local WORDS = { ["true"] = true, ["false"] = false, null = values.NULL }

local function parse_prefix(s)
	local kind = s.kind
	if kind == "constant" then
		local node = constant(s.token)
		advance(s)
		return node
	elseif WORDS[kind] ~= nil then
		advance(s)
		return constant(WORDS[kind])
	elseif kind == "variable" then
		local node = { kind = "variable", name = s.token }
		advance(s)
		return node
	elseif kind == "function" then
		return parse_function(s)
	elseif kind == "case" then
		return parse_case(s)
	elseif kind == "(" then
		advance(s)
		local node = parse(s, 0)
		take(s, ")")
		return node
	elseif kind == "+" then
		advance(s)
		return parse(s, P_UNARY)
	elseif kind == "-" then
		advance(s)
		if s.kind == "2^63" then
			advance(s)
			return constant(math.mininteger)
		end
		return call("negate", parse(s, P_UNARY))
	elseif kind == "~" then
		advance(s)
		return call("complement", parse(s, P_BITS + 1))
	elseif kind == "not" then
		advance(s)
		return call("invert", parse(s, P_NOT))
	elseif kind == "2^63" then
		s.fail(s.place, "the integer 9223372036854775808 does not fit into 64 bits", "it needs a - right before it")
	end
	refuse(s, "a number, a :variable, a function, CASE, NOT, + - ~ or a parenthesis is expected")
end

-- IS [NOT] NULL, TRUE or FALSE; ISNULL; NOTNULL.
local function parse_is(s, left)
	local kind = s.kind
	advance(s)
	local negated, value = kind == "notnull", values.NULL
	if kind == "is" then
		if s.kind == "not" then
			negated = true
			advance(s)
		end
		value = WORDS[s.kind]
		if value == nil then
			refuse(s, "NULL, TRUE or FALSE is expected after IS")
		end
		advance(s)
	end
	local node = call("is", left, constant(value))
	return negated and call("invert", node) or node
end

-- An expression whose operators bind at least as strongly as power.
function parse(s, power)
	s.depth = s.depth + 1
	if s.depth > DEPTH_MAX then
		s.fail(s.place, "the expression is nested too deep", "at most " .. DEPTH_MAX .. " levels")
	end
	local left = parse_prefix(s)
	local compared = false
	while true do
		local kind = s.kind
		local op = BINARY[kind]
		if not op or op[1] < power then
			break
		elseif op[1] == P_IS then
			left = parse_is(s, left)
			compared = false
		else
			if op[1] == P_COMPARE and compared then
				refuse(s, "comparisons do not chain: put one of them in parentheses")
			end
			compared = op[1] == P_COMPARE
			advance(s)
			local right = parse(s, op[1] + 1)
			if op.lazy then
				left = lazy(kind, left, right)
			else
				left = op.swapped and call(op[2], right, left) or call(op[2], left, right)
			end
		end
	end
	s.depth = s.depth - 1
	return left
end

-- The expression that begins in text at place and ends with the line; a line that ends with a backslash goes on. Returns its tree
-- and where the next line begins.
function M.parse(text, place, fail)
	local s = { text = text, at = place, fail = fail, depth = 0 }
	advance(s)
	local node = parse(s, 0)
	if s.kind ~= "end of line" then
		refuse(s, "an operator or the end of the line is expected")
	end
	return node, s.at + 1
end

-- ---- Lua ----

-- Calls nested deeper than this go through the table t, since a function of Lua has 255 registers; blocks cannot: Lua nests 200.
local CALLS_MAX, BLOCKS_MAX = 16, 180

local emit

-- Evaluates code now; returns where its value is kept.
local function keep(out, code)
	out.kept = out.kept + 1
	local place = ("t[%d]"):format(out.kept)
	out[#out + 1] = place .. "=" .. code
	return place
end

local function keep_all(out, node, args, n)
	for i = 1, n do
		if node[i].kind ~= "constant" and not args[i]:find("^t%[") then
			args[i] = keep(out, args[i])
		end
	end
end

local function emit_constant(value)
	if value == values.NULL then
		return "NULL"
	elseif value == math.mininteger then
		return "math.mininteger"
	elseif math.type(value) == "integer" then
		return ("%d"):format(value)
	elseif math.type(value) == "float" then
		return ("%a"):format(value)
	end
	return tostring(value)
end

-- Arguments are evaluated from left to right, so when one needs statements of its own the values of those before it are kept.
local function emit_call(node, out)
	local args, deepest = {}, 0
	for i, arg in ipairs(node) do
		local own = { kept = out.kept, blocks = out.blocks, fail = out.fail }
		local code, depth = emit(arg, own)
		out.kept = own.kept
		if #own > 0 or depth >= CALLS_MAX then
			keep_all(out, node, args, i - 1)
			table.move(own, 1, #own, #out + 1, out)
			if depth >= CALLS_MAX then
				code, depth = keep(out, code), 0
			end
			deepest = 0
		end
		args[i], deepest = code, math.max(deepest, depth)
	end
	return ("%s(%s%s)"):format(node.name, node.random and "r," or "", table.concat(args, ",")), deepest + 1
end

-- A block that sets its result and is left by `break`.
local function begin_block(out, levels)
	out.blocks = out.blocks + levels
	if out.blocks > BLOCKS_MAX then
		out.fail(nil, "the expression nests AND, OR and CASE too deep", "about " .. BLOCKS_MAX // 2 .. " levels")
	end
	out.kept = out.kept + 1
	out[#out + 1] = "repeat"
	return ("t[%d]"):format(out.kept)
end

local function end_block(out, levels)
	out.blocks = out.blocks - levels
	out[#out + 1] = "until true"
end

-- AND ends at the first operand that is not true, OR at the first that is not false; that one is the result.
local function emit_lazy(node, out)
	local result = begin_block(out, 1)
	for i, operand in ipairs(node) do
		local code = emit(operand, out) -- may add statements, so it comes first
		out[#out + 1] = ("%s=logical(%s)"):format(result, code)
		if i < #node then
			out[#out + 1] = ("if %s~=%s then break end"):format(result, node.kind == "and")
		end
	end
	end_block(out, 1)
	return result, 0
end

local function emit_case(node, out)
	local result = begin_block(out, 2)
	for i = 1, #node, 2 do
		local condition = emit(node[i], out)
		out[#out + 1] = ("if truth(%s) then"):format(condition)
		local code = emit(node[i + 1], out)
		out[#out + 1] = ("%s=%s break end"):format(result, code)
	end
	local code = node.otherwise and emit(node.otherwise, out) or "NULL"
	out[#out + 1] = ("%s=%s"):format(result, code)
	end_block(out, 2)
	return result, 0
end

function emit(node, out)
	if node.kind == "constant" then
		return emit_constant(node.value), 0
	elseif node.kind == "variable" then
		return ("value(v[%q],%q)"):format(node.name, node.name), 1
	elseif node.kind == "call" then
		return emit_call(node, out)
	elseif node.kind == "case" then
		return emit_case(node, out)
	end
	return emit_lazy(node, out)
end

-- Statements that come first (a string, "" when there are none) and a Lua expression for the tree's value. They use v (variables),
-- r (random source), t (a table to keep values in) and functions.lua's functions as locals.
function M.emit(node, fail)
	local out = { kept = 0, blocks = 0, fail = fail }
	local code = emit(node, out)
	return table.concat(out, " "), code
end

return M
