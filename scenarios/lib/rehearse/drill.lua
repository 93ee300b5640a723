-- The drills: in which order phases and steps are performed. What they are performed with is the conductor's (`host`).
local Session = require "rehearse.session"
local perform = require "rehearse.perform"
local clean = require "rehearse.clean"
local actors = require "rehearse.actors"

local SETTLE_LONGEST_NS = 10000000000
local CHECK_SAMPLE = 3

-- Waits until the traffic has caught up, so that what a phase did to it is counted as that phase's.
local function settle(host, scenario)
	host.sleep(scenario.phases.settle / 1e9)
	local limit = host.now() + SETTLE_LONGEST_NS
	while host.now() < limit do
		local backlog, oldest_ns = host.backlog()
		if backlog == 0 and oldest_ns < 1000000000 then return end
		host.status { detail = string.format("waiting for a backlog of %d", backlog) }
		host.sleep(0.25)
	end
	host.warning(string.format("the traffic had not caught up %d s after the phase; what is left counts towards the next", SETTLE_LONGEST_NS // 1000000000))
end

-- Rows as text, for a person to recognise them.
local function sample_of(out)
	local lines = {}
	for i, row in ipairs(out.values) do lines[i] = row[1] end
	return #lines > 0 and table.concat(lines, ", ") or nil
end

-- What a check finds, asked by a session.
local function ask_check(session, check, when)
	local out = session:query(string.format("SELECT pg_catalog.count(*) OVER ()::text AS n, violation::text FROM (%s) AS violation LIMIT %d", check.sql, CHECK_SAMPLE))
	local entry = { name = check.name, when = when, ok = out.ok and #out.values == 0 }
	if out.ok then
		entry.rows = out.values[1] and math.tointeger(tonumber(out.values[1][1])) or 0
		for _, row in ipairs(out.values) do row[1] = row[2] end
		entry.sample = sample_of(out)
	else
		entry.error = out.message
	end
	return entry
end

local function tell_check(run, entry)
	local event = { type = "check" }
	for k, v in pairs(entry) do event[k] = v end
	run.host.event(event)
end

local function run_check(run, check, when)
	local entry = ask_check(run.inspector, check, when)
	run.checks[#run.checks + 1] = entry
	tell_check(run, entry)
end

-- Repeats a check in a fiber of its own until the migration phase is over. One entry sums it up: the worst answer, and how often it was
-- asked; an event is written when the outcome changes.
local function watch_check(run, check)
	run.host.spawn(function()
		local session, total, was = run.host.session("pgrehearse inspector"), nil, nil
		while run.watching do
			local entry = ask_check(session, check, "during")
			if not run.watching then break end
			if not total then
				total = { name = check.name, when = "during", ok = true, rows = 0, times = 0, times_violated = 0 }
				run.checks[#run.checks + 1] = total
			end
			total.times = total.times + 1
			if not entry.ok then
				total.times_violated = total.times_violated + 1
				if total.ok or (entry.rows or 0) > total.rows then total.sample, total.rows = entry.sample, math.max(total.rows, entry.rows or 0) end
				total.ok, total.error = false, total.error or entry.error
			end
			local now = entry.error or entry.ok
			if now ~= was then tell_check(run, entry) end
			was = now
			run.host.sleep(check.every / 1e9)
		end
	end)
end

-- Those to be repeated from now on: from a step's end, or from the beginning of the migration.
local function watch_checks(run, after)
	for _, check in ipairs(run.scenario.checks) do
		if check.every and check.after == after then watch_check(run, check) end
	end
end

local function run_checks(run, after)
	for _, check in ipairs(run.scenario.checks) do
		if check.after == after then run_check(run, check, after) end
	end
end

-- The workload's own, which hold whatever its traffic does.
local function run_workload_checks(run, when)
	for _, check in ipairs(run.host.checks()) do
		run.host.status { detail = string.format("check %s, %s the traffic", check.name, when) }
		run_check(run, check, when)
	end
	run.host.status { detail = "" }
end

-- Steps in order (up) or in reverse (down). Returns why one failed; nil when none did.
local function go_up(run)
	for i, step in ipairs(run.scenario.steps) do
		run.host.status { index = i, count = #run.scenario.steps }
		local ok, why = perform.step(run.migration, step, "up")
		if not ok then return string.format("step %q (up): %s", step.name, why) end
		run_checks(run, step.name)
		watch_checks(run, step.name)
	end
end

local function go_down(run)
	for i = #run.scenario.steps, 1, -1 do
		local step = run.scenario.steps[i]
		run.host.status { index = i, count = #run.scenario.steps }
		local ok, why = perform.step(run.migration, step, "down")
		if not ok then return string.format("step %q (down): %s", step.name, why) end
	end
end

local drills = {}

-- True when all steps were performed.
function drills.forward(run)
	run.host.phase("migration")
	run.watching = true
	watch_checks(run, "migration")
	run.problem = go_up(run)
	if run.problem then run.watching = false end
	if run.problem then return false end
	settle(run.host, run.scenario)
	run.watching = false
	run_checks(run, "migration")
	return true
end

function drills.rollback(run)
	if not drills.forward(run) then return end
	run.host.phase("rollback")
	run.problem = go_down(run)
	if run.problem then return end
	settle(run.host, run.scenario)
	run_checks(run, "rollback")
end

local function start_traffic(run, phase, length_ns)
	local host = run.host
	host.phase(phase, length_ns)
	host.start_load()
	for _, actor in ipairs(host.actors(run.scenario.actors)) do
		host.spawn(function() actors.run(host, actor) end)
	end
end

local function end_traffic(host)
	host.status { step = "", detail = "" }
	host.stop_spawned()
	host.stop_load()
end

local drill = {}

-- Performs the drill called name. Returns { problem, checks, rollback }; problem: why a step failed, with which the drill ended.
function drill.perform(host, scenario, name)
	local run = { host = host, scenario = scenario, checks = host.array {} }
	host.status { detail = "connecting" }
	run.migration = Session.open(host)
	run.migration:record_settings()
	run.inspector = host.session("pgrehearse inspector")
	local comparer, before
	if name == "rollback" then
		host.status { detail = "taking the fingerprint" }
		comparer = clean.open(host)
		before = clean.capture(comparer)
	end
	host.status { detail = "" }
	-- Cold caches and statements that are not prepared yet would make the baseline look slow, and so any migration harmless.
	local warm = scenario.phases.warmup > 0
	start_traffic(run, warm and "warmup" or "baseline", warm and scenario.phases.warmup or scenario.phases.baseline)
	if warm then
		host.sleep(scenario.phases.warmup / 1e9)
		host.phase("baseline", scenario.phases.baseline)
	end
	host.sleep(scenario.phases.baseline / 1e9)
	run.writes_baseline = before and clean.writes(comparer)
	drills[name](run)
	end_traffic(host)
	local result = { problem = run.problem, checks = run.checks }
	if before and not run.problem then
		host.status { detail = "comparing with the fingerprint" }
		result.rollback = clean.compare(host, before, clean.capture(comparer), run.writes_baseline, run.migration.touched)
	end
	return result
end

-- Traffic without a migration. Returns { checks }: the workload's, before and after.
function drill.load(host, duration_ns)
	local run = { host = host, scenario = { actors = {} }, checks = host.array {}, inspector = host.session("pgrehearse inspector") }
	run_workload_checks(run, "before")
	start_traffic(run, "load", duration_ns)
	host.sleep(duration_ns / 1e9)
	end_traffic(host)
	run_workload_checks(run, "after")
	return { checks = run.checks }
end

return drill
