-- What all drills are made of: phases with traffic, checks, steps up and down, and findings, which are what a drill itself demands.
-- A run is { host, scenario, name, migration, inspector, checks, findings }.
local Session = require "rehearse.session"
local perform = require "rehearse.perform"
local reconcile = require "rehearse.reconcile"
local actors = require "rehearse.actors"

local SETTLE_LONGEST_NS = 10000000000
local CHECK_SAMPLE = 3

local stage = {}

-- Names of drills that criteria may be meant for: "blocked" and "failover" are of all that begin so. Called, it lists them.
stage.drills = setmetatable({ forward = true, rollback = true, ["rollback-each"] = true, crash = true, failover = true, ["failover-sync"] = true,
	versions = true, blocked = true, ["blocked-reader"] = true, ["blocked-writer"] = true, ["blocked-dump"] = true, ["blocked-vacuum"] = true,
	["blocked-prepared"] = true }, { __call = function(names)
	local out = {}
	for name in pairs(names) do out[#out + 1] = name end
	return out
end })

-- ---- traffic ----

-- Waits until the traffic has caught up, so that what a phase did to it is counted as that phase's.
function stage.settle(run)
	local host = run.host
	host.sleep(run.scenario.phases.settle / 1e9)
	local limit = host.now() + SETTLE_LONGEST_NS
	while host.now() < limit do
		local backlog, oldest_ns = host.backlog()
		if backlog == 0 and oldest_ns < 1000000000 then return end
		host.status { detail = string.format("waiting for a backlog of %d", backlog) }
		host.sleep(0.25)
	end
	host.warning(string.format("the traffic had not caught up %d s after the phase; what is left counts towards the next", SETTLE_LONGEST_NS // 1000000000))
end

-- How much WAL a phase writes depends on how long ago the last checkpoint was: a page that changes for the first time after it is written
-- whole. So phases that are compared begin alike. Of a role that may not do it, it is said once.
function stage.checkpoint(run, phase)
	if not run.scenario.phases.checkpoint then return end
	local from = run.host.now()
	local out = run.inspector:query("CHECKPOINT")
	run.host.event { type = "checkpoint", phase = phase, took_ns = run.host.now() - from, error = not out.ok and out.message or nil }
	if not out.ok then run.scenario.phases.checkpoint = false end
end

function stage.start_traffic(run, phase, length_ns)
	local host = run.host
	host.phase(phase, length_ns)
	host.start_load()
	for _, actor in ipairs(host.actors(run.scenario.actors)) do
		host.spawn(function() actors.run(host, actor) end)
	end
end

-- Ends the traffic's arrivals and waits for what is under way; stage.resume lets them come again. The closed loop and a replay cannot pause: nil.
function stage.pause(run)
	if run.scenario.load.closed or run.scenario.load.trace then return nil end
	local host = run.host
	host.set_load { rate = 0 }
	host.sleep(0.02)
	local limit = host.now() + SETTLE_LONGEST_NS
	while host.now() < limit do
		local _, busy = host.tally()
		if busy == 0 then return true end
		host.sleep(0.02)
	end
	return nil
end

function stage.resume(run)
	if not run.scenario.load.closed and not run.scenario.load.trace then run.host.set_load { rate = run.scenario.load.rate } end
end

function stage.end_traffic(host)
	host.status { step = "", detail = "" }
	host.stop_spawned()
	host.stop_load()
end

-- ---- checks ----

-- Rows as text, for a person to recognise them.
local function sample_of(out)
	local lines = {}
	for i, row in ipairs(out.values) do lines[i] = row[1] end
	return #lines > 0 and table.concat(lines, ", ") or nil
end

-- What a check finds, asked by a session.
local function ask_check(session, check, when)
	local out = session:query(string.format("SELECT pg_catalog.count(*) OVER ()::text AS n, violation::text FROM (%s) AS violation LIMIT %d", perform.violations(check.sql), CHECK_SAMPLE))
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
	if check.reconcile then
		run.host.status { detail = string.format("reconciliation %s", check.name) }
		reconcile.check(run.inspector, run.host, check.reconcile)
		run.host.status { detail = "" }
		return
	end
	local entry = ask_check(run.inspector, check, when)
	run.checks[#run.checks + 1] = entry
	tell_check(run, entry)
end

-- Repeats a check in a fiber of its own until the migration phase is over. One entry sums it up: the worst answer, and how often it was
-- asked; an event is written when the outcome changes.
local function watch_check(run, check)
	run.host.spawn(function()
		local session, total, was = run.host.session("pgrehearse inspector"), nil, nil
		while check.reconcile and run.watching do
			reconcile.check(session, run.host, check.reconcile)
			run.host.sleep(check.every / 1e9)
		end
		while run.watching do
			local entry = ask_check(session, check, "during")
			if not run.watching or not session:connected() then break end
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
function stage.watch_checks(run, after)
	for _, check in ipairs(run.scenario.checks) do
		if check.every and check.after == after then watch_check(run, check) end
	end
end

function stage.run_checks(run, after)
	for _, check in ipairs(run.scenario.checks) do
		if check.after == after then run_check(run, check, after) end
	end
end

-- The workload's own, which hold whatever its traffic does.
function stage.run_workload_checks(run, when)
	for _, check in ipairs(run.host.checks()) do
		run.host.status { detail = string.format("check %s, %s the traffic", check.name, when) }
		run_check(run, check, when)
	end
	run.host.status { detail = "" }
end

-- ---- steps ----

-- One step. Returns why it failed; nil when it did not.
function stage.step(run, i, direction, step)
	step = step or run.scenario.steps[i]
	run.host.status { index = i, count = #run.scenario.steps }
	local ok, why = perform.step(run.migration, step, direction)
	if not ok then return string.format("step %q (%s): %s", step.name, direction, why) end
end

-- Steps in order (up to `last`), or back from there; as: what to make of each step before, or nil. Return why one failed.
function stage.up(run, last, as)
	for i = 1, last or #run.scenario.steps do
		local why = stage.step(run, i, "up", as and as(run.scenario.steps[i]))
		if why then return why end
	end
end

function stage.down(run, last, as)
	for i = last or #run.scenario.steps, 1, -1 do
		local why = stage.step(run, i, "down", as and as(run.scenario.steps[i]))
		if why then return why end
	end
end

-- For drills that are about states, not about what users feel: pods are replaced and batches follow on one another with hardly a pause.
function stage.hurried(step)
	local changes = { every = math.min(step.every or 0, 100000000), pause = 0 }
	if step.kind ~= "deploy" and step.kind ~= "backfill" then return step end
	return setmetatable(changes, { __index = step })
end

-- Whether a step has statements of its own that a drill can break in on.
local SILENT = { deploy = true, load = true, flag = true, wait_until = true, exec = true, reconcile = true }
function stage.speaks(step) return not SILENT[step.kind] and (step.kind == "backfill" or step.kind == "parallel" or step.kind == "swap_tables" or step.up) end

-- Whether a step runs a program, which has sessions of its own.
function stage.runs_program(step) return step.kind == "exec" and step.up and true or false end

-- The migration's session, and the checks', after their server or connection went away. Waits for at most so many seconds.
function stage.reconnect(run, seconds)
	local limit = run.host.now() + seconds * 1000000000
	while true do
		local ok, why = pcall(function()
			if not run.migration.raw:connected() then run.migration:reconnect() end
			if not run.inspector:connected() then run.inspector = run.host.session("pgrehearse inspector") end
		end)
		if ok then return end
		if run.host.now() > limit then error(why, 0) end
		run.host.sleep(0.1)
	end
end

-- ---- findings ----

-- What the drill demands, and whether it was so.
function stage.found(run, ok, what, detail, step)
	run.findings = run.findings or run.host.array {}
	local finding = { ok = ok and true or false, what = what, detail = detail, step = step }
	run.findings[#run.findings + 1] = finding
	run.host.event { type = "finding", ok = finding.ok, what = what, detail = detail, step = step }
end

function stage.open(host, scenario, name)
	local run = { host = host, scenario = scenario, name = name, checks = host.array {} }
	host.goes_without_standby = scenario.brief   -- most drills of a brief run have none
	host.status { detail = "connecting" }
	run.migration = Session.open(host)
	run.migration:record_settings()
	perform.examine(run.migration, scenario)
	run.inspector = host.session("pgrehearse inspector")
	return run
end

return stage
