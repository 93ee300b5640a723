-- The drill crash: inside each step that speaks to the server its session is terminated, then, in the next attempt, its client's connection is
-- cut; then the step is run again. It has to arrive where forward did.
local Watch = require "rehearse.watch"
local clean = require "rehearse.clean"
local stage = require "rehearse.stage"

-- CONCURRENTLY waits for transactions like this one, and so is caught in the middle.
local function hold(run)
	local session = run.holder
	if not session or not session:connected() then
		session = run.host.session("pgrehearse actor snapshot")
		run.holder = session
	end
	local tables = session:query([[SELECT pg_catalog.string_agg(c.oid::pg_catalog.regclass::text, ', ') FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse')]]).values[1]
	session:query("BEGIN ISOLATION LEVEL REPEATABLE READ")
	if tables and tables[1] then session:query("LOCK TABLE " .. tables[1] .. " IN ACCESS SHARE MODE") end
	session:query("SELECT 1 FROM pg_catalog.pg_class LIMIT 1")
end

local WAYS = {
	{ name = "terminated", act = function(run, _, pid) run.inspector:query("SELECT pg_catalog.pg_terminate_backend(" .. pid .. ")") end },
	{ name = "cut", act = function(_, session) session.raw:cut() end },
}

-- One attempt that is broken off. True: it was; the step has to be run again. Otherwise why it failed by itself, or nil.
local function broken_attempt(run, i, way, n)
	local step, host = run.scenario.steps[i], run.host
	local at, inside = Watch.place(step, n)
	local watch = Watch.new(run, way.name, function(session, pid) way.act(run, session, pid) end, at, inside)
	watch.again = n > 1
	local held = false
	watch.hold = function()
		held = true
		hold(run)
	end
	host.watch = watch
	local why = stage.step(run, i, "up", stage.hurried(step))
	if inside then host.sleep(0.05) end
	host.watch = nil
	if held then run.holder:query("ROLLBACK") end
	watch:await_end()
	stage.reconnect(run, 10)
	if why and watch.fired then return true, why end
	return false, why
end

-- What it takes for a step that did not survive it.
local function hint(step)
	if step.kind == "sql" and not step.transaction and not step.on_retry then return "; it is no transaction, so what a broken attempt left has to be cleaned up by on_retry, or its SQL has to bear being run twice" end
	return ""
end

local function crash_step(run, i)
	local step, host = run.scenario.steps[i], run.host
	local broken = {}
	for n, way in ipairs(WAYS) do
		local again, why = broken_attempt(run, i, way, #broken + 1)
		if again then
			broken[#broken + 1] = way.name
		elseif why then
			return why, broken
		else
			-- It was over before: done. What is left to be tried is not inside of it any more.
			return nil, broken, n
		end
	end
	host.watch = { again = true, before = function() end, after = function() end }
	local why = stage.step(run, i, "up", stage.hurried(step))
	host.watch = nil
	return why, broken
end

-- A program's sessions are terminated; it is run again when that ended it.
local function crash_program(run, i)
	local host, step = run.host, run.scenario.steps[i]
	local watch = Watch.program(run, "terminated", function(pids)
		run.inspector:query("SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.unnest('{" .. pids .. "}'::int4[]) AS pid")
	end)
	host.watch = watch
	local why = stage.step(run, i, "up", step)
	watch:stop()
	host.watch = nil
	local broken = { watch.fired }
	if why and watch.fired then why = stage.step(run, i, "up", step) end
	return why, broken
end

return function(run)
	local host = run.host
	host.phase("migration")
	for i, step in ipairs(run.scenario.steps) do
		local what = string.format("%q broken off and run again", step.name)
		if not stage.speaks(step) and not stage.runs_program(step) then
			run.problem = stage.step(run, i, "up", stage.hurried(step))
		else
			local why, broken, early = (stage.speaks(step) and crash_step or crash_program)(run, i)
			local how = #broken == 0 and "over before it could be broken off" or "its session was " .. table.concat(broken, ", then ")
			if why then how = how .. "; then it failed: " .. why .. hint(step)
			elseif early and #broken > 0 then how = how .. "; the next attempt was over before it could be broken off"
			elseif #broken > 0 then how = how .. "; then it was completed" end
			stage.found(run, not why, what, how, step.name)
			run.problem = why
		end
		if run.problem then return end
		stage.run_checks(run, step.name)
	end
	stage.settle(run)
	stage.run_checks(run, "migration")
	run.at_end = function()
		local reference = host.reference()
		if not reference then
			stage.found(run, true, "the end is where forward ends", "not compared: forward was not performed in the same rehearsal")
			return
		end
		-- Counted from the start of this run, not of that one.
		reference.writes = run.before.writes
		for name in pairs(reference.written) do run.writes_baseline[name] = (tonumber(reference.writes[name]) or 0) + 1 end
		-- Of a table that the migration makes nobody could see in the baseline whether the traffic would write it.
		for name in pairs(reference.content) do
			if not run.before.content[name] then run.writes_baseline[name] = 1 end
		end
		local now = clean.capture(run.comparer, clean.compared(reference, run.writes_baseline, run.migration.touched))
		local comparison = clean.compare(host, reference, now, run.writes_baseline, run.migration.touched)
		local first
		for _, d in ipairs(comparison.differences) do if d.class == "dirty" then first = first or d end end
		stage.found(run, comparison.verdict ~= "dirty", "the end is where forward ends", first and string.format("%s %s", first.object, first.detail)
			or "schema and the tables that the traffic leaves alone are " .. comparison.verdict)
	end
end
