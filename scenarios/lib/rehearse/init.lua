-- What a scenario is written with: rehearse.scenario and its steps. Validates everything that can be known before anything
-- runs; performs nothing (see perform.lua). The reference for people is scenarios/README.md.
local brief = require "rehearse.brief"
local criteria = require "rehearse.criteria"
local fields = require "rehearse.fields"
local steps = require "rehearse.steps"

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

for kind, make in pairs(steps.makers) do rehearse[kind] = make end
rehearse.directory = require "rehearse.directory"(function(step) return rehearse.sql(step) end)
rehearse.each_step = steps.each
rehearse.criteria = { playbook = criteria.playbook }

-- ---- the scenario ----

local SCENARIO = {
	title = { "text", required = true }, workload = { "text", required = true, why = 'the name of a workload ("shop") or its file' },
	migration_sessions = { "table", default = {} }, versions = { "table", default = {} }, load = { "table", default = {} }, actors = { "table", default = {} },
	phases = { "table", default = {} }, steps = { "table", required = true }, checks = { "table", default = {} },
	criteria = { "table", default = {} }, observe = { "table", default = {} }, scale = { "number" }, ledger = { "boolean", default = false },
	rollback_after = { "time", default = "0" }, failover_in = { "text" }, expect = { "table" },
}

local LOAD = {
	rate = { "rate", default = 200 }, pods = { "positive", default = 2 }, pool = { "positive", default = 8 },
	workers = { "positive", default = 1 }, arrivals = { "arrivals", default = "poisson" }, mix = { "mix" }, flags = { "flags" }, read_from = { "text" }, acquire_timeout = { "time", default = "0" },
	patience = { "time", default = "0" }, overload = { "table", default = {} },
	closed = { "boolean", default = false }, users = { "positive" }, think = { "text", default = "none" }, requests = { "requests" },
	trace = { "text" }, speed = { "number" }, order = { "text" }, fidelity = { "table", default = {} },
}

-- What else may be said of traffic that is replayed, and where a workload that is a trace puts it.
local OF_TRACE = { trace = true, speed = true, order = true, fidelity = true }
local ORDERS = { none = true, commit = true, relation = true }

local function check_trace(owner, given_load, out, given)
	if given.workload and given.workload:match("%.trace$") then
		if out.trace then fields.fail(owner, "trace: the workload %s is a trace already", fields.show(given.workload)) end
		out.trace = given.workload
	end
	if not out.trace then
		for name in pairs(OF_TRACE) do
			if given_load[name] ~= nil then fields.fail(owner, "%s belongs to a trace that is replayed: trace = \"monday.trace\"", name) end
		end
		return
	end
	for name in pairs(given_load) do
		if not OF_TRACE[name] then fields.fail(owner, "%s: a trace says itself when what is asked for; only speed, order and fidelity can be said besides", name) end
	end
	if out.speed and not (out.speed > 0 and out.speed <= 1000) then fields.fail(owner, "speed is %g; 2 is twice as fast, 0.5 half", out.speed) end
	if out.order and not ORDERS[out.order] then fields.fail(owner, "order is %s; \"none\", \"commit\" or \"relation\" is expected", fields.show(out.order)) end
	for name, limit in pairs(out.fidelity) do
		if type(name) ~= "string" or type(limit) ~= "string" then fields.fail(owner, "fidelity: limits by name are expected, such as { new_errors = \"0.5%%\", late = \"50ms\" }") end
	end
end

local OBSERVE = { availability = { "boolean", default = true } }

local OVERLOAD = { acquire_timeout = { "time" }, patience = { "time" } }

-- What a version's own policy does not say it takes from the load's.
local function check_load(given_load, versions, given_scenario)
	local owner = "the scenario, load"
	local out = fields.check(owner, given_load, LOAD)
	check_trace(owner, given_load, out, given_scenario)
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

local PHASES = { warmup = { "time", default = "3s" }, baseline = { "time", default = "10s" }, settle = { "time", default = "2s" }, checkpoint = { "boolean" } }

local CHECK = { sql = { "text" }, reconcile = { "table" }, after = { "text", default = "migration" }, every = { "time" } }

local function check_checks(given_checks, step_names)
	local checks = {}
	for name, check in pairs(given_checks) do
		if type(name) ~= "string" then fields.fail("the scenario", "a check needs a name: checks = { name = [[SELECT ...]] }") end
		local owner = string.format("check %q", name)
		if type(check) == "string" then check = { sql = check } end
		if check.kind == "reconcile" then check = { reconcile = check } end
		local out = fields.check(owner, check, CHECK)
		if (out.sql == nil) == (out.reconcile == nil) then fields.fail(owner, "it needs its SQL: sql = [[SELECT the rows that violate it]], or reconcile = rehearse.reconcile { ... }") end
		if out.reconcile and out.reconcile.kind ~= "reconcile" then fields.fail(owner, "reconcile = rehearse.reconcile { ... } is expected") end
		if out.after ~= "migration" and out.after ~= "rollback" and not step_names[out.after] then
			fields.fail(owner, "after = %q is neither a step's name nor migration nor rollback", out.after)
		end
		if out.every and out.every == 0 then fields.fail(owner, "every = \"0\" would never pause") end
		if out.every and out.after == "rollback" then fields.fail(owner, "every is for checks while the migration runs; after = \"rollback\" is when it is over") end
		out.name = name
		if out.reconcile then out.reconcile.name = name end
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

local EXPECT = { fails = { "texts", required = true }, holds = { "texts" }, because = { "text", required = true } }

-- A scenario that shows a mistake says which of its criteria must fail and why; each is named by how it begins.
local function check_expect(given)
	if given == nil then return nil end
	return fields.check("the scenario, expect", given, EXPECT)
end

local SESSIONS = { application_name = { "table" }, user = { "table" } }

-- LIKE patterns of sessions that are not ours and belong to the migration, as text arrays of PostgreSQL.
-- commands: there are steps that run a program, whose sessions bear the name that it is given in its environment.
local function check_migration_sessions(given, commands)
	local owner = "the scenario, migration_sessions"
	local lists = {}
	for name, value in pairs(given) do lists[name] = type(value) == "string" and { value } or type(value) == "table" and table.move(value, 1, #value, 1, {}) or value end
	if commands then
		lists.application_name = lists.application_name or {}
		if type(lists.application_name) == "table" then table.insert(lists.application_name, "exec by pgrehearse%") end
	end
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

-- A list for forward and rollback, and lists by name for other drills.
local function check_criteria(owner, given_criteria)
	local drill_names = require("rehearse.stage").drills
	for key, value in pairs(given_criteria) do
		if math.type(key) == "integer" then
			if type(value) ~= "string" then fields.fail(owner, "criteria[%d] is %s; text is expected", key, fields.show(value)) end
		elseif type(value) ~= "table" or not drill_names[key] then
			fields.fail(owner, "criteria: %s = %s is not understood; texts are expected, and lists of them by name of a drill: %s", fields.show(key), fields.show(value),
				fields.list(drill_names()))
		else
			for i, criterion in ipairs(value) do
				if type(criterion) ~= "string" then fields.fail(owner, "criteria, %s[%d] is %s; text is expected", key, i, fields.show(criterion)) end
			end
		end
	end
end

local PHASES_OF_DRILLS = { warmup = true, baseline = true, migration = true, rollback = true }

-- What criteria name has to be there: a misspelt name would have no data, or none that is bad.
local function check_labels(owner, list, step_names, checks)
	local check_names = {}
	for _, check in ipairs(checks) do check_names[check.name] = true end
	for _, text in pairs(list) do
		if type(text) == "table" then
			check_labels(owner, text, step_names, checks)
		else
			local step = text:match("^%s*step%[([^%]]*)%]") or text:match("^%s*migration%.statement%[([^%]]*)%]")
			if step and not step_names[step] then fields.fail(owner, "criterion %q: no step has the name %q", text, step) end
			local check = text:match("^%s*check%[([^%]]*)%]")
			if check and not check_names[check] then fields.fail(owner, "criterion %q: no check has the name %q", text, check) end
			local phase = text:match("%sduring%s+([%w_-]+)")
			if phase and not PHASES_OF_DRILLS[phase] then fields.fail(owner, "criterion %q: there is no phase %s; there are %s", text, phase, "warmup, baseline, migration, rollback") end
		end
	end
end

function rehearse.scenario(given_scenario)
	local owner = "the scenario"
	local out = fields.check(owner, given_scenario, SCENARIO)
	for name, version in pairs(out.versions) do
		if type(name) ~= "string" or not name:match("^[%w_-]+$") then fields.fail(owner, "versions: %s is not a name of letters, digits, _ and -", fields.show(name)) end
		if type(version) ~= "table" then fields.fail(owner, "versions.%s is %s; a table of transactions is expected", name, fields.show(version)) end
		if name == "v1" then fields.fail(owner, "versions.v1 is the workload as it stands and cannot be overridden; call the new one v2") end
	end
	local step_names, step_criteria
	out.steps, step_names, step_criteria = steps.check(out.steps, out.versions)
	out.load = check_load(out.load, out.versions, out)
	local commands = false
	steps.each(out.steps, function(step)
		if step.kind == "load" and step.rate and out.load.closed then fields.fail(string.format("step %q", step.name), "a closed loop has no rate that could change") end
		local asks = step.kind == "deploy" or step.kind == "flag" or step.kind == "load"
		if asks and out.load.trace then fields.fail(string.format("step %q", step.name), "a replay asks for what was captured: it has no app versions, flags or rates that a step could change") end
		commands = commands or step.kind == "exec"
	end)
	out.phases = fields.check(owner .. ", phases", out.phases, PHASES)
	out.observe = fields.check(owner .. ", observe", out.observe, OBSERVE)
	out.checks = check_checks(out.checks, step_names)
	out.actors = check_actors(out.actors)
	out.migration_sessions = check_migration_sessions(out.migration_sessions, commands)
	check_criteria(owner, out.criteria)
	local all = criteria.expand(out.criteria, function(visit) steps.each(out.steps, visit) end)
	out.criteria = table.move(step_criteria, 1, #step_criteria, #all + 1, all)
	check_labels(owner, out.criteria, step_names, out.checks)
	out.expect = check_expect(out.expect)
	if out.failover_in and not step_names[out.failover_in] then fields.fail(owner, "failover_in = %q is no step's name", out.failover_in) end
	if given.brief then
		read.brief = true
		brief(out, steps.each, given.brief == "large")
	end
	out.kind = "scenario"
	return out
end

return rehearse
