-- Checks the tables that a scenario is written in: unknown fields, missing fields, wrong types and bad units are one clear
-- message each, which names the step, the field, the value and what would be accepted.
local fields = {}

local SECONDS = { ns = 1, us = 1e3, ["µs"] = 1e3, ms = 1e6, s = 1e9, min = 60e9, h = 3600e9, d = 86400e9 }

local LONGEST_NS = 9e18   -- what 64 bits hold: 285 years

-- "50ms" -> 50000000, or nil. A bare number is refused: "pause = 50" would be read as seconds by one and as ms by the next.
function fields.parse_time(text)
	if type(text) ~= "string" then return nil end
	local number, unit = text:match("^%s*([%d.]+)%s*(%S+)%s*$")
	local factor, value = SECONDS[unit], tonumber(number)
	if text:match("^%s*0%s*$") then return 0 end
	if not factor or not value or value * factor >= LONGEST_NS then return nil end
	return math.floor(value * factor + 0.5)
end

local function show(value)
	if type(value) == "string" then return string.format("%q", value) end
	return type(value) == "table" and "a table" or type(value) == "function" and "a function" or tostring(value)
end

local function list(names)
	table.sort(names)
	return table.concat(names, ", ")
end

-- Kinds of values: each returns the normalised value, or nil and what would be accepted.
local kinds = {}

function kinds.text(v)
	if type(v) == "string" and v:match("%S") then return v end
	return nil, "text"
end

function kinds.name(v)
	if type(v) == "string" and v:match("^[%w_-]+$") then return v end
	return nil, "a name of letters, digits, _ and -"
end

function kinds.time(v)
	local ns = fields.parse_time(v)
	if ns then return ns end
	return nil, 'a duration with its unit: "250us", "50ms", "2s", "10min", "24h"'
end

local BYTES = { B = 1, kB = 2 ^ 10, MB = 2 ^ 20, GB = 2 ^ 30, TB = 2 ^ 40 }

function kinds.bytes(v)
	local number, unit = tostring(v):match("^%s*([%d.]+)%s*(%a+)%s*$")
	if BYTES[unit] and tonumber(number) then return math.floor(tonumber(number) * BYTES[unit]) end
	return nil, 'a size with its unit: "512kB", "30MB", "2GB"'
end

-- "1%" -> 0.01
function kinds.share(v)
	local number = type(v) == "string" and tonumber(v:match("^%s*([%d.]+)%s*%%%s*$"))
	if number and number > 0 and number <= 100 then return number / 100 end
	return nil, 'a share over 0, at most 100: "1%"'
end

-- Columns: "id", "order_id, line_no", or a list.
function kinds.key(v)
	local list = {}
	if type(v) == "string" then
		for name in v:gmatch("[^,]+") do list[#list + 1] = name:match("^%s*(.-)%s*$") end
	elseif type(v) == "table" then
		list = table.move(v, 1, #v, 1, {})
	end
	for _, name in ipairs(list) do
		if type(name) ~= "string" or not name:match("%S") then list = {} end
	end
	if #list > 0 and #list <= 8 then return list end
	return nil, 'the columns of a unique key: "id", or { "order_id", "line_no" }'
end

function kinds.texts(v)
	local list = type(v) == "string" and { v } or type(v) == "table" and table.move(v, 1, #v, 1, {}) or {}
	for _, text in ipairs(list) do
		if type(text) ~= "string" or not text:match("%S") then return nil, "text, or a list of texts" end
	end
	if #list > 0 or type(v) == "table" then return list end
	return nil, "text, or a list of texts"
end

-- A timeout that guards others: leaving it off must be spelled out.
function kinds.timeout(v)
	if v == "none" then return 0 end
	local ns = fields.parse_time(v)
	if ns and ns >= 1e6 and ns < 2 ^ 31 * 1e6 then return ns end   -- milliseconds, in 31 bits
	return nil, 'a duration from 1ms to 24 days such as "2s", or "none" to wait for ever'
end

function kinds.count(v)
	if math.type(v) == "integer" and v >= 0 then return v end
	return nil, "a whole number, 0 or more"
end

function kinds.positive(v)
	if math.type(v) == "integer" and v >= 1 then return v end
	return nil, "a whole number, 1 or more"
end

function kinds.rate(v)
	if type(v) == "number" and v > 0 and v <= 1e6 then return v end
	if type(v) == "string" and v:match("%S") then return v end   -- the program checks it
	return nil, 'transactions per second, over 0 and at most 1000000, or text such as "ramp(100, 2000, 60s)"'
end

function kinds.arrivals(v)
	if v == "poisson" or v == "even" then return v end
	return nil, '"poisson" or "even"'
end

-- The program reads these texts; a number of requests may be a number.
function kinds.requests(v)
	if math.type(v) == "integer" and v >= 1 then return tostring(v) end
	if type(v) == "string" and v:match("%S") then return v end
	return nil, 'how many requests a user makes: 5, or "geometric(5)"'
end

-- Weights by transaction: those not named keep the workload's own.
function kinds.mix(v)
	local expected = "weights by name of a transaction: { view_user = 30, checkout = 0 }"
	if type(v) ~= "table" or next(v) == nil then return nil, expected end
	for name, weight in pairs(v) do
		if type(name) ~= "string" or type(weight) ~= "number" or not (weight >= 0 and weight < 1e12) then return nil, expected end
	end
	return v
end

-- Values by name of a feature flag that the workload declares.
function kinds.flags(v)
	local expected = "values by name of a flag of the workload: { new_checkout = true }"
	if type(v) ~= "table" or next(v) == nil then return nil, expected end
	for name, value in pairs(v) do
		local kind = type(value)
		if type(name) ~= "string" or kind ~= "boolean" and kind ~= "number" and kind ~= "string" then return nil, expected end
	end
	return v
end

function kinds.number(v)
	if type(v) == "number" and v > 0 then return v end
	return nil, "a number over 0"
end

function kinds.boolean(v)
	if type(v) == "boolean" then return v end
	return nil, "true or false"
end

function kinds.table(v)
	if type(v) == "table" then return v end
	return nil, "a table"
end

-- SQL to perform: text, a list of texts, or a function of a migration session; false says that there is nothing to do.
function kinds.action(v)
	if v == false or type(v) == "function" then return v end
	if type(v) == "string" and v:match("%S") then return { v } end
	if type(v) == "table" and #v > 0 then
		for i = 1, #v do
			if type(v[i]) ~= "string" or not v[i]:match("%S") then
				return nil, "a list in which each element is SQL text (element " .. i .. " is " .. show(v[i]) .. ")"
			end
		end
		return table.move(v, 1, #v, 1, {})
	end
	return nil, "SQL text, a list of SQL texts, a function of a migration session, or false for nothing to do"
end

-- What must hold after a step: SQL that selects what violates it, or a function of a session that returns true, or false and why.
function kinds.check(v)
	if type(v) == "function" or type(v) == "string" and v:match("%S") then return v end
	return nil, "SQL that selects what violates it, or a function of a migration session that returns true, or false and why"
end

function kinds.irreversible(v)
	if v == true or type(v) == "string" and v:match("%S") then return v end
	return nil, "the reason why, as text"
end

function kinds.nothing(v) return nil, "nothing: this step knows its own way back (it was " .. show(v) .. ")" end

function kinds.references(v)
	if v == "refuse" or v == "leave" then return v end
	return nil, '"refuse" to swap a table that foreign keys or views of others point to, or "leave" them pointing to it under its new name'
end

function kinds.long_action(v)
	if v == "wait" or v == "fail" or v == "ignore" then return v end
	return nil, '"wait" for them and then go on, "fail" when they do not end, or "ignore" them'
end

function kinds.long_transactions(v)
	if type(v) == "table" or kinds.long_action(v) then return v end
	return nil, '"wait", "fail" or "ignore", or { action = "wait", older_than = "5s", longest = "30s" }'
end

function kinds.autovacuum(v)
	if v == "interrupt" or v == "ignore" then return v end
	return nil, '"interrupt" one that is at work on a table, before a lock is asked for that others would wait behind, or "ignore" it'
end

function kinds.flag_value(v)
	if type(v) == "boolean" or type(v) == "number" or type(v) == "string" then return v end
	return nil, "true, false, a number or text"
end

-- A program and its words, or text for a shell.
function kinds.command(v)
	if v == false then return v end
	if type(v) == "string" and v:match("%S") then return { "sh", "-c", v } end
	if type(v) == "table" and #v > 0 then
		for i = 1, #v do
			if type(v[i]) ~= "string" then return nil, "a list of texts (element " .. i .. " is " .. show(v[i]) .. ")" end
		end
		return table.move(v, 1, #v, 1, {})
	end
	return nil, 'a list such as { "flyway", "migrate" }, text for a shell, or false for nothing to do'
end

function kinds.environment(v)
	local expected = 'values by name: { FLYWAY_LOCATIONS = "filesystem:sql" }'
	if type(v) ~= "table" then return nil, expected end
	for name, value in pairs(v) do
		if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") or type(value) ~= "string" then return nil, expected end
	end
	return v
end

fields.kinds = kinds
fields.show = show
fields.list = list

-- Raises for `owner` ('step "fill status"') at the scenario's own line: the first frame outside this library.
function fields.fail(owner, format, ...)
	local text = owner .. ": " .. string.format(format, ...)
	local level = 2
	while true do
		local info = debug.getinfo(level, "S")
		if not info then break end
		if info.what ~= "C" and not info.source:match("/lib/rehearse/[%w_]+%.lua$") then error(text, level) end
		level = level + 1
	end
	error(text, 0)
end

-- A copy of `given` with every value normalised. spec: field -> { kind, default = ..., required = true }.
function fields.check(owner, given, spec)
	if type(given) ~= "table" then fields.fail(owner, "a table is expected, not %s", show(given)) end
	local out, accepted = {}, {}
	for name in pairs(spec) do accepted[#accepted + 1] = name end
	for name in pairs(given) do
		if not spec[name] then fields.fail(owner, "unknown field %s; accepted are %s", show(name), list(accepted)) end
	end
	for name, rule in pairs(spec) do
		local value = given[name]
		if value == nil then value = rule.default end
		if value == nil then
			if rule.required then fields.fail(owner, "the field %s is missing: %s", name, rule.why or select(2, kinds[rule[1]](nil))) end
		else
			local accepted_value, expected = kinds[rule[1]](value)
			if accepted_value == nil then fields.fail(owner, "%s = %s is not accepted; expected is %s", name, show(value), expected) end
			out[name] = accepted_value
		end
	end
	return out
end

return fields
