-- Where a scenario's steps and SQL stand in its files: the functions that make steps are wrapped to remember the line of each call.
-- In this folder because messages about a scenario name the first line outside of it.
local located = {}

local NO_STEPS = { scenario = true, setting = true, unknown_settings = true, directory = true }

local lines = setmetatable({}, { __mode = "k" })   -- step -> { file, line }
local sources = setmetatable({}, { __mode = "k" })
local without_down = setmetatable({}, { __mode = "k" })

local function caller()
	for level = 3, 20 do
		local info = debug.getinfo(level, "Sl")
		if not info then break end
		if info.source:sub(1, 1) == "@" and not info.source:match("/lib/rehearse/[%w_]+%.lua$") then return { file = info.source:sub(2), line = info.currentline } end
	end
end

-- The folder of the scenario that calls.
function located.folder()
	local at = caller()
	return at and at.file:match("^(.*)/[^/]*$") or "."
end

local TAKES_DOWN = { sql = true, step = true, exec = true }

-- Call it before the scenario is run. A step that lacks its down is not refused then, but told by located.without_down.
function located.watch(rehearse)
	for name, make in pairs(rehearse) do
		if type(make) == "function" and not NO_STEPS[name] then
			rehearse[name] = function(step, ...)
				local lacks = false
				if TAKES_DOWN[name] and type(step) == "table" and step.down == nil and step.down_file == nil and not step.irreversible and not step.rollback then
					local given = {}
					for field, value in pairs(step) do given[field] = value end
					given.down, lacks = false, true
					step = given
				end
				local out = make(step, ...)
				if type(out) == "table" then
					lines[out] = lines[out] or caller()
					without_down[out] = lacks or nil
				end
				return out
			end
		end
	end
end

-- The files that a step's SQL was read from by us: { up, down }.
function located.remember(step, files) sources[step] = files end
function located.source(step) return sources[step] end

-- SQL of migrations that the database has already, in order.
local earlier = {}
function located.come_before(texts) table.move(texts, 1, #texts, #earlier + 1, earlier) end
function located.earlier() return earlier end

-- { file, line } of the call that made a step, or nil.
function located.step(step) return lines[step] end

function located.without_down(step) return without_down[step] == true end

-- ---- SQL in a file ----

local texts = {}

local function text_of(path)
	if texts[path] == nil then
		local file = io.open(path, "r")
		texts[path] = file and file:read("a"):gsub("\r\n", "\n") or false
		if file then file:close() end
	end
	return texts[path] or nil
end

local starts = {}   -- path -> where the lines of its text begin

-- Where the lines of a file begin: looked for once, however many statements it holds.
local function line_starts(path)
	local text = text_of(path)
	local known = starts[path]
	if not known then
		known = { 1 }
		for position in text:gmatch("\n()") do known[#known + 1] = position end
		starts[path] = known
	end
	return known
end

local function line_at(path, position)
	local from = line_starts(path)
	local low, high = 1, #from
	while low < high do
		local middle = (low + high + 1) // 2
		if from[middle] <= position then low = middle else high = middle - 1 end
	end
	return low
end

local function position_of(path, line)
	local from = line_starts(path)
	return from[math.min(line, #from)]
end

-- The line of a file on which SQL stands: at or after `line`, else anywhere; nil when it is put together by the program.
function located.sql(path, sql, line)
	local text = text_of(path)
	if not text then return nil end
	local first = sql:match("^%s*([^\n]*)") or ""
	local from = position_of(path, line or 1)
	-- A first line is shared by many, so the whole is looked for. A quote may be written with a backslash before it: then what stands before must do.
	for _, part in ipairs { sql:match("^%s*(.-)%s*$"), first, first:match("^[^'\"\\]*") } do
		if #part >= 8 then
			local found = text:find(part, from, true) or text:find(part, 1, true)
			if found then return line_at(path, found) end
		end
	end
end

-- The line on which a step's name stands.
function located.name(path, name)
	local text = text_of(path)
	local found = text and (text:find('"' .. name .. '"', 1, true) or text:find("'" .. name .. "'", 1, true))
	return found and line_at(path, found)
end

-- Rules that a comment allows there: "-- check: allow RULE" on the line or the one above. A set.
function located.allowed(path, line)
	local text, out = text_of(path), {}
	if not text or not line then return out end
	for _, at in ipairs { line, line - 1 } do
		if at >= 1 then
			local here = text:match("[^\n]*", position_of(path, at)) or ""
			for rule in (here:match("%-%-%s*check:%s*allow%s+([%w%-, ]+)") or ""):gmatch("[%w%-]+") do out[rule] = true end
		end
	end
	return out
end

return located
