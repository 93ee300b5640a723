-- The drills failover and failover-sync: the primary is stopped inside a step, its standby takes its place, traffic and migration go on. With a
-- synchronous standby nothing that was acknowledged may be lost; without, it is counted.
local Watch = require "rehearse.watch"
local stage = require "rehearse.stage"

local RECONNECT_S, SYNC_S = 60, 20

local function is_named(step, name)
	for _, one in ipairs(step.kind == "parallel" and step.steps or {}) do
		if one.name == name then return true end
	end
	return step.name == name
end

-- In which step: the one that the scenario names, the first backfill, or the one in the middle; a program only where there is nothing else, since it
-- need not ask the server for anything. nil: none speaks to the server.
local function find_step(scenario)
	local speaking, programs = {}, {}
	for i, step in ipairs(scenario.steps) do
		if scenario.failover_in and is_named(step, scenario.failover_in) then return i end
		if stage.speaks(step) then speaking[#speaking + 1] = i end
		if stage.runs_program(step) then programs[#programs + 1] = i end
	end
	for _, i in ipairs(speaking) do
		if not scenario.failover_in and scenario.steps[i].kind == "backfill" then return i end
	end
	if #speaking == 0 then speaking = programs end
	return speaking[(#speaking + 1) // 2]
end

local function make_synchronous(run)
	local host, inspector = run.host, run.inspector
	inspector:query("ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (standby1)'")
	inspector:query("SELECT pg_catalog.pg_reload_conf()")
	local limit = host.now() + SYNC_S * 1000000000
	repeat
		host.sleep(0.05)
		local out = inspector:query("SELECT 1 FROM pg_catalog.pg_stat_replication WHERE sync_state IN ('sync', 'quorum')")
		if out.ok and #out.values > 0 then return true end
	until host.now() > limit
	return false
end

-- Stops the primary; the new one answers when this returns.
local function fail_over(run)
	local host = run.host
	local from = host.now()
	host.event { type = "failover", edge = "start", synchronous = run.synchronous }
	host.status { detail = "the primary is stopped, the standby takes its place" }
	host.goes_without_standby = true
	local ok, why = host.fail_over()
	run.failover = { ok = ok, why = why, took_ns = host.now() - from, from = from }
	host.event { type = "failover", edge = "end", synchronous = run.synchronous, ok = ok, duration_ns = host.now() - from, error = why }
end

local function tell_outage(run)
	local host, before = run.host, run.failover.tally
	local limit = host.now() + RECONNECT_S * 1000000000
	repeat
		local ok = 0
		for _, t in pairs(host.tally()) do ok = ok + t.ok end
		if ok > before then return host.now() - run.failover.from end
		host.sleep(0.05)
	until host.now() > limit
end

local function ok_of(host)
	local ok = 0
	for _, t in pairs(host.tally()) do ok = ok + t.ok end
	return ok
end

local function act(run)
	fail_over(run)
	run.failover.tally = ok_of(run.host)
end

local function tell_that_traffic_goes_on(run)
	local outage = tell_outage(run)
	stage.found(run, outage, "the traffic goes on", outage and string.format("first success %.2f s after the primary was stopped", outage / 1e9) or "no transaction succeeded within a minute")
end

-- Beside steps that ask nothing of the server: before the first.
local function failover_without_step(run)
	act(run)
	stage.found(run, run.failover.ok, "the standby takes the primary's place", run.failover.ok and string.format("in %.2f s, before the first step: none asks the server for anything",
		run.failover.took_ns / 1e9) or run.failover.why)
	if not run.failover.ok then return run.failover.why end
	stage.reconnect(run, RECONNECT_S)
	tell_that_traffic_goes_on(run)
end

local function step_with_failover(run, i)
	local host, step = run.host, run.scenario.steps[i]
	local watch
	if stage.runs_program(step) then
		watch = Watch.program(run, "failover", function() act(run) end)
	else
		watch = Watch.new(run, "failover", function() act(run) end, Watch.place(step, 1), false)
	end
	host.watch = watch
	local why = stage.step(run, i, "up", step)
	watch:stop()
	host.watch = nil
	if not watch.fired then
		stage.found(run, false, "the primary is stopped inside " .. string.format("%q", step.name), "it was over before: " .. (why or "it speaks too little"), step.name)
		return why
	end
	stage.found(run, run.failover.ok, "the standby takes the primary's place", run.failover.ok and string.format("in %.2f s", run.failover.took_ns / 1e9) or run.failover.why, step.name)
	if not run.failover.ok then return run.failover.why end
	stage.reconnect(run, RECONNECT_S)
	if why then
		host.watch = { again = true, before = function() end, after = function() end }
		why = stage.step(run, i, "up", step)
		host.watch = nil
	end
	stage.found(run, not why, string.format("%q is completed on the new primary", step.name), why or "it is", step.name)
	tell_that_traffic_goes_on(run)
	return why
end

return function(run)
	local host = run.host
	run.synchronous = run.name == "failover-sync"
	if host.standbys() == 0 then
		stage.found(run, false, "there is a standby to fail over to", "there is none: the drill needs a sandbox")
		host.phase("migration")
		return
	end
	if run.synchronous then stage.found(run, make_synchronous(run), "the standby is synchronous", "synchronous_standby_names = 'FIRST 1 (standby1)'") end
	local place = find_step(run.scenario)
	host.phase("migration")
	run.watching = true
	stage.watch_checks(run, "migration")
	if not place then run.problem = failover_without_step(run) end
	for i, step in ipairs(run.problem and {} or run.scenario.steps) do
		if i == place then run.problem = step_with_failover(run, i)
		else run.problem = stage.step(run, i, "up", stage.hurried(step)) end
		if run.problem then break end
		stage.run_checks(run, step.name)
	end
	run.watching = false
	if run.problem then return end
	stage.settle(run)
	stage.run_checks(run, "migration")
end
