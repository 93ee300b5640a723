-- What a scenario is written with: rehearse.scenario and its steps. Validates everything that can be known before anything
-- runs; performs nothing (see perform.lua). The reference for people is scenarios/README.md.
local fields = require "rehearse.fields"
local split = require "rehearse.split"

local rehearse = {}

-- ---- settings: --set NAME=VALUE ----

-- Every Lua state of the program reads the same values, the load workers' too; the environment reaches them all.
local given, read = {}, {}
for name, value in (os.getenv("PGREHEARSE_SETTINGS") or ""):gmatch("([%w_]+)=([^\n]*)") do given[name] = value end

rehearse.settings = setmetatable({}, {
	__index = function(_, name)
		read[name] = true
		return given[name]
	end,
	__newindex = function(_, name) error("rehearse.settings." .. tostring(name) .. " is set with --set, not by a scenario", 2) end,
})

-- The value of --set NAME=VALUE, read as the type of the default; the default when it was not given.
function rehearse.setting(name, default)
	local text = rehearse.settings[name]
	if text == nil then return default end
	if type(default) == "number" then
		local value = math.type(default) == "integer" and math.tointeger(tonumber(text)) or math.type(default) == "float" and tonumber(text)
		if not value then
			error(string.format("--set %s=%s: a %s is expected, as the default %s is", name, text,
				math.type(default) == "integer" and "whole number" or "number", default), 2)
		end
		return value
	elseif type(default) == "boolean" then
		local value = ({ ["true"] = true, on = true, yes = true, ["false"] = false, off = false, no = false })[text]
		if value == nil then error(string.format("--set %s=%s: true or false is expected", name, text), 2) end
		return value
	end
	return text
end

-- Names given with --set that the scenario never looked at, and those that it did: for the message about a mistyped one.
function rehearse.unknown_settings()
	local unknown, known = {}, {}
	for name in pairs(given) do if not read[name] then unknown[#unknown + 1] = name end end
	for name in pairs(read) do known[#known + 1] = name end
	return fields.list(unknown), fields.list(known)
end

-- ---- steps ----

local function owner_of(kind, step)
	if type(step) == "table" and type(step.name) == "string" then return string.format("step %q", step.name) end
	return "a step made by rehearse." .. kind
end

-- The folder of the scenario that calls: files are named from there.
local function scenario_folder()
	for level = 2, 20 do
		local info = debug.getinfo(level, "S")
		if not info then break end
		if info.source:sub(1, 1) == "@" and not info.source:match("/lib/rehearse/[%w_]+%.lua$") then
			return info.source:match("^@(.*)/[^/]*$") or "."
		end
	end
	return "."
end

local function read_sql(owner, field, path)
	local full = path:sub(1, 1) == "/" and path or scenario_folder() .. "/" .. path
	local file, reason = io.open(full, "r")
	if not file then fields.fail(owner, "%s = %q cannot be read: %s", field, path, reason) end
	local text = file:read("a")
	file:close()
	return text
end

local TRANSACTION_WORDS = { begin = true, start = true, commit = true, ["end"] = true, rollback = true, abort = true, savepoint = true }

local function statements(owner, field, action)
	if type(action) ~= "table" then return action end
	local out = {}
	for _, text in ipairs(action) do
		for _, one in ipairs(split(text)) do
			if one:match("^\\") then fields.fail(owner, "%s holds the psql command %s; only SQL is understood", field, one:match("^%S+")) end
			if TRANSACTION_WORDS[(one:match("^%a+") or ""):lower()] then
				fields.fail(owner, "%s holds %q; a step is one transaction, or none with transaction = false: make one step of each", field, one)
			end
			out[#out + 1] = one
		end
	end
	if #out == 0 then fields.fail(owner, "%s holds no statement", field) end
	return out
end

local function check_reversible(owner, step)
	if step.down == nil and not step.irreversible then
		fields.fail(owner, 'it has no down; write one, or down = false when there is nothing to undo, or irreversible = "the reason"')
	end
	if step.down ~= nil and step.irreversible then fields.fail(owner, "it has a down and says that it is irreversible; keep one of them") end
	return step
end

local function with_common(spec)
	spec.name = { "text", required = true }
	spec.irreversible = { "text" }
	spec.check = { "text" }
	return spec
end

local function with_session(spec)
	spec.lock_timeout = { "timeout", default = "2s" }
	spec.statement_timeout = { "timeout", default = "none" }
	spec.retries = { "count", default = 5 }
	spec.backoff = { "time", default = "500ms" }
	return spec
end

local SQL = with_session(with_common {
	up = { "action" }, down = { "action" }, file = { "text" }, down_file = { "text" },
	transaction = { "boolean", default = true }, on_retry = { "action" },
})

-- One or more SQL statements, in one transaction unless transaction = false.
function rehearse.sql(step)
	local owner = owner_of("sql", step)
	local out = fields.check(owner, step, SQL)
	for field, file in pairs { up = "file", down = "down_file" } do
		if out[file] then
			if out[field] ~= nil then fields.fail(owner, "both %s and %s are given; keep one of them", field, file) end
			out[field] = { read_sql(owner, file, out[file]) }
		end
		out[field] = statements(owner, out[file] and file or field, out[field])
	end
	out.on_retry = statements(owner, "on_retry", out.on_retry)
	if out.up == nil then fields.fail(owner, "it has neither up nor file") end
	out.kind = "sql"
	return check_reversible(owner, out)
end

local STEP = with_session(with_common { up = { "action", required = true }, down = { "action" } })

-- A step that is a Lua function of a migration session: up = function(m) m:exec(...) end.
function rehearse.step(step)
	local owner = owner_of("step", step)
	local out = fields.check(owner, step, STEP)
	for _, field in ipairs { "up", "down" } do
		if out[field] ~= nil and out[field] ~= false and type(out[field]) ~= "function" then
			fields.fail(owner, "%s = %s is not accepted; expected is a function of a migration session (SQL belongs into rehearse.sql)",
				field, fields.show(step[field]))
		end
	end
	out.kind, out.transaction = "function", true
	return check_reversible(owner, out)
end

local BACKFILL = with_session(with_common {
	table = { "text", required = true, why = "the table whose rows are to be filled" },
	key = { "text", default = "id" },
	set = { "text", required = true, why = 'what to assign: "status = ..."' },
	where = { "text", required = true, why = "which rows still need it; a row that has been filled must not match any more" },
	batch = { "positive", default = 5000 },
	pause = { "time", default = "0" },
	throttle = { "table", default = {} },
	down = { "action", default = false },
	transaction = { "boolean", default = true },
})

-- Fills a column in batches of the key's order, each committed by itself.
function rehearse.backfill(step)
	local owner = owner_of("backfill", step)
	local out = fields.check(owner, step, BACKFILL)
	out.throttle = fields.check(owner .. ", throttle", out.throttle, { replay_lag = { "time" }, p99 = { "time" }, longest = { "time", default = "5min" } })
	out.down = statements(owner, "down", out.down)
	if out.key:match(",") then fields.fail(owner, "key = %q: a key of one column is expected", out.key) end
	out.kind = "backfill"
	if out.irreversible then out.down = nil end
	return out
end

local DEPLOY = {
	name = { "text", required = true }, from = { "name", required = true, why = "the app version that runs before" },
	to = { "name", required = true, why = "the app version that runs after" }, every = { "time", default = "1s" },
	check = { "text" },
}

-- Replaces the pods of one app version by those of another, one by one. Its down deploys back.
function rehearse.deploy(step)
	local owner = owner_of("deploy", step)
	local out = fields.check(owner, step, DEPLOY)
	if out.from == out.to then fields.fail(owner, "from and to are both %q", out.to) end
	out.kind = "deploy"
	return out
end

local LOAD_STEP = {
	name = { "text", required = true }, rate = { "rate" }, mix = { "mix" }, flags = { "flags" }, check = { "text" },
}

-- Changes the traffic: its rate, its mix, feature flags of the workload. A rollback leaves it as it is.
function rehearse.load(step)
	local owner = owner_of("load", step)
	local out = fields.check(owner, step, LOAD_STEP)
	if not out.rate and not out.mix and not out.flags then fields.fail(owner, "it has neither rate nor mix nor flags; give one of them or more") end
	out.kind = "load"
	return out
end

-- ---- the scenario ----

local SCENARIO = {
	title = { "text", required = true }, workload = { "text", required = true, why = 'the name of a workload ("shop") or its file' },
	migration_sessions = { "table", default = {} }, versions = { "table", default = {} }, load = { "table", default = {} }, actors = { "table", default = {} },
	phases = { "table", default = {} }, steps = { "table", required = true }, checks = { "table", default = {} },
	criteria = { "table", default = {} }, observe = { "table", default = {} }, scale = { "number" }, ledger = { "boolean", default = false },
}

local LOAD = {
	rate = { "rate", default = 200 }, pods = { "positive", default = 2 }, pool = { "positive", default = 8 },
	workers = { "positive", default = 1 }, arrivals = { "arrivals", default = "poisson" }, mix = { "mix" }, flags = { "flags" }, read_from = { "text" }, acquire_timeout = { "time", default = "0" },
	patience = { "time", default = "0" }, overload = { "table", default = {} },
	closed = { "boolean", default = false }, users = { "positive" }, think = { "text", default = "none" }, requests = { "requests" },
}

local OBSERVE = { availability = { "boolean", default = true } }

local OVERLOAD = { acquire_timeout = { "time" }, patience = { "time" } }

-- What a version's own policy does not say it takes from the load's.
local function check_load(given_load, versions)
	local owner = "the scenario, load"
	local out = fields.check(owner, given_load, LOAD)
	if out.closed and (given_load.rate or given_load.arrivals) then fields.fail(owner, "a closed loop has no rate and no arrivals: its users set the pace; leave out closed, or those") end
	if out.closed and out.requests then fields.fail(owner, "requests are of users who arrive; those of a closed loop never leave") end
	if not out.closed and out.users then fields.fail(owner, "users = %d belongs to closed = true; otherwise they arrive by the rate", out.users) end
	if not out.closed and not out.requests and out.think ~= "none" then fields.fail(owner, "think is the pause between two requests of a user: say how many there are with requests, or closed = true") end
	for name, policy in pairs(out.overload) do
		if name ~= "v1" and not versions[name] then fields.fail(owner, "overload: there is no app version %s", fields.show(name)) end
		local checked = fields.check(owner .. ", overload." .. name, policy, OVERLOAD)
		out.overload[name] = { acquire_timeout = checked.acquire_timeout or out.acquire_timeout, patience = checked.patience or out.patience }
	end
	return out
end

local PHASES = { warmup = { "time", default = "3s" }, baseline = { "time", default = "10s" }, settle = { "time", default = "2s" } }

local function check_steps(given_steps, versions)
	local steps, seen, running = {}, {}, "v1"
	for i, step in ipairs(given_steps) do
		if type(step) ~= "table" then
			fields.fail("the scenario", "steps[%d] is %s; expected is rehearse.sql, rehearse.backfill, rehearse.deploy, rehearse.load or rehearse.step", i, fields.show(step))
		end
		if not step.kind then step = rehearse.step(step) end
		local owner = string.format("step %q", step.name)
		if seen[step.name] then fields.fail(owner, "two steps have this name; criteria could not tell them apart") end
		seen[step.name] = true
		if step.kind == "deploy" then
			for _, version in ipairs { step.from, step.to } do
				if version ~= "v1" and not versions[version] then
					fields.fail(owner, "there is no app version %q; v1 is the workload as it stands, others are defined in versions", version)
				end
			end
			if step.from ~= running then fields.fail(owner, "from = %q, but %q is what runs by then", step.from, running) end
			running = step.to
		end
		steps[i] = step
	end
	for key in pairs(given_steps) do
		if math.type(key) ~= "integer" or key < 1 or key > #steps then fields.fail("the scenario", "steps is a list; %s is not one of its places", fields.show(key)) end
	end
	if #steps == 0 then fields.fail("the scenario", "steps is empty") end
	return steps, seen
end

local CHECK = { sql = { "text", required = true }, after = { "text", default = "migration" }, every = { "time" } }

local function check_checks(given_checks, step_names)
	local checks = {}
	for name, check in pairs(given_checks) do
		if type(name) ~= "string" then fields.fail("the scenario", "a check needs a name: checks = { name = [[SELECT ...]] }") end
		local owner = string.format("check %q", name)
		if type(check) == "string" then check = { sql = check } end
		local out = fields.check(owner, check, CHECK)
		if out.after ~= "migration" and out.after ~= "rollback" and not step_names[out.after] then
			fields.fail(owner, "after = %q is neither a step's name nor migration nor rollback", out.after)
		end
		if out.every and out.every == 0 then fields.fail(owner, "every = \"0\" would never pause") end
		if out.every and out.after == "rollback" then fields.fail(owner, "every is for checks while the migration runs; after = \"rollback\" is when it is over") end
		out.name = name
		checks[#checks + 1] = out
	end
	table.sort(checks, function(a, b) return a.name < b.name end)
	return checks
end

local function check_actors(given_actors)
	local actors = {}
	for key, value in pairs(given_actors) do
		local name = math.type(key) == "integer" and value or key
		if type(name) ~= "string" then fields.fail("the scenario", "actors is a list of names: actors = { \"report\" }") end
		if math.type(key) == "integer" or value then
			actors[#actors + 1] = { name = name, options = type(value) == "table" and value or {} }
		end
	end
	table.sort(actors, function(a, b) return a.name < b.name end)
	return actors
end

local SESSIONS = { application_name = { "table" }, user = { "table" } }

-- LIKE patterns of sessions that are not ours and belong to the migration, as text arrays of PostgreSQL.
local function check_migration_sessions(given)
	local owner = "the scenario, migration_sessions"
	local lists = {}
	for name, value in pairs(given) do lists[name] = type(value) == "string" and { value } or value end
	local out = fields.check(owner, lists, SESSIONS)
	for name, list in pairs(out) do
		local quoted = {}
		for i, pattern in ipairs(list) do
			if type(pattern) ~= "string" or pattern == "" then fields.fail(owner, "%s[%d] is %s; a pattern as of LIKE is expected: \"flyway%%\"", name, i, fields.show(pattern)) end
			quoted[i] = '"' .. pattern:gsub('[\\"]', "\\%0") .. '"'
		end
		if #quoted == 0 then fields.fail(owner, "%s is empty", name) end
		out[name] = "{" .. table.concat(quoted, ",") .. "}"
	end
	return out
end

function rehearse.scenario(given_scenario)
	local owner = "the scenario"
	local out = fields.check(owner, given_scenario, SCENARIO)
	for name, version in pairs(out.versions) do
		if type(name) ~= "string" or not name:match("^[%w_-]+$") then fields.fail(owner, "versions: %s is not a name of letters, digits, _ and -", fields.show(name)) end
		if type(version) ~= "table" then fields.fail(owner, "versions.%s is %s; a table of transactions is expected", name, fields.show(version)) end
		if name == "v1" then fields.fail(owner, "versions.v1 is the workload as it stands and cannot be overridden; call the new one v2") end
	end
	local step_names
	out.steps, step_names = check_steps(out.steps, out.versions)
	out.load = check_load(out.load, out.versions)
	for _, step in ipairs(out.steps) do
		if step.kind == "load" and step.rate and out.load.closed then fields.fail(string.format("step %q", step.name), "a closed loop has no rate that could change") end
	end
	out.phases = fields.check(owner .. ", phases", out.phases, PHASES)
	out.observe = fields.check(owner .. ", observe", out.observe, OBSERVE)
	out.checks = check_checks(out.checks, step_names)
	out.actors = check_actors(out.actors)
	out.migration_sessions = check_migration_sessions(out.migration_sessions)
	for i, criterion in ipairs(out.criteria) do
		if type(criterion) ~= "string" then fields.fail(owner, "criteria[%d] is %s; text is expected", i, fields.show(criterion)) end
	end
	out.kind = "scenario"
	return out
end

return rehearse
