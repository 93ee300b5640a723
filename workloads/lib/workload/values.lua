-- Values that Lua has no type for, as the text that PostgreSQL reads: bytes, arrays, JSON. For parameters and for generated rows;
-- workload.bytea, workload.array and workload.json of workloads/README.md.

local M = {}

local HEX = {}
for i = 0, 255 do
	HEX[string.char(i)] = ("%02x"):format(i)
end

-- Any bytes as a bytea.
function M.bytea(bytes)
	if type(bytes) ~= "string" then
		error("workload.bytea takes a string of bytes, not a " .. type(bytes), 2)
	end
	return "\\x" .. bytes:gsub(".", HEX)
end

-- Numbers so that they come back as they were.
local function number(x)
	if math.type(x) == "integer" then
		return tostring(x)
	elseif x ~= x then
		return "NaN"
	elseif x == math.huge or x == -math.huge then
		return x > 0 and "Infinity" or "-Infinity"
	end
	return ("%.17g"):format(x)
end

local function element(x, depth)
	local kind = type(x)
	if kind == "nil" then
		return "NULL"
	elseif kind == "number" then
		return number(x)
	elseif kind == "boolean" then
		return x and "t" or "f"
	elseif kind == "string" then
		return '"' .. x:gsub('[\\"]', "\\%0") .. '"'
	elseif kind == "table" and depth < 6 then
		return M.array(x, depth + 1)
	end
	error("an array cannot hold a " .. kind .. (kind == "table" and " so deep: 6 dimensions at most" or ""), depth + 2)
end

-- A list as an array: of strings, numbers, booleans, or lists of one length for more dimensions. n = how many when some are NULL.
function M.array(list, depth)
	depth = depth or 1
	if type(list) ~= "table" then
		error("workload.array takes a list, not a " .. type(list), 2)
	end
	local out = {}
	for i = 1, list.n or #list do
		out[i] = element(list[i], depth)
	end
	return "{" .. table.concat(out, ",") .. "}"
end

-- Stands for null in workload.json.
M.null = setmetatable({}, { __tostring = function() return "null" end })

local ESCAPES = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local function json_string(s)
	return '"' .. s:gsub('[%c"\\]', function(c) return ESCAPES[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

local encode

local function json_table(t, depth)
	local out = {}
	if #t > 0 or next(t) == nil then
		for i = 1, #t do
			out[i] = encode(t[i], depth)
		end
		return "[" .. table.concat(out, ",") .. "]"
	end
	local keys = {}
	for key in pairs(t) do
		if type(key) ~= "string" then
			error("workload.json: a key is a " .. type(key) .. ", not a string", 0)
		end
		keys[#keys + 1] = key
	end
	table.sort(keys)
	for i, key in ipairs(keys) do
		out[i] = json_string(key) .. ":" .. encode(t[key], depth)
	end
	return "{" .. table.concat(out, ",") .. "}"
end

function encode(x, depth)
	local kind = type(x)
	if x == M.null or kind == "nil" then
		return "null"
	elseif kind == "boolean" then
		return tostring(x)
	elseif kind == "string" then
		return json_string(x)
	elseif kind == "number" then
		if x ~= x or x == math.huge or x == -math.huge then
			error("workload.json: JSON knows no " .. tostring(x), 0)
		end
		return number(x)
	elseif kind == "table" and depth < 100 then
		return json_table(x, depth + 1)
	end
	error("workload.json cannot hold a " .. kind .. (kind == "table" and " so deep" or ""), 0)
end

-- A table as JSON, keys sorted. A table with [1], or with nothing, is a list; workload.null is null.
function M.json(value)
	return encode(value, 0)
end

return M
