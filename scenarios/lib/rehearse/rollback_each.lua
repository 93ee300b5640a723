-- The drill rollback-each: for each step, up to it and all the way back, once under traffic and once without. What traffic writes cannot be
-- told from what a bad way back destroyed, so what the tables hold is compared while it pauses.
local clean = require "rehearse.clean"
local stage = require "rehearse.stage"

local BETWEEN_S = 0.3   -- of traffic at the furthest point

-- Up to step k and back; returns the comparison with what was there before, or nil and why a step failed.
local function there_and_back(run, k, quiet)
	local host = run.host
	run.migration.touched = {}
	local why = stage.up(run, k, stage.hurried)
	if not why then
		if not quiet then host.sleep(BETWEEN_S) end
		why = stage.down(run, k, stage.hurried)
	end
	if why then return nil, why end
	local now = clean.capture(run.comparer)
	local comparison = clean.compare(host, run.before, now, run.writes_baseline, run.migration.touched, quiet and "all" or not run.scenario.load.closed and "later" or nil)
	run.before, now.writes = now, run.before.writes
	return comparison
end

local WORSE = { identical = 1, equivalent = 2, dirty = 3 }

-- What is only equivalent is so after each round, and told once.
local function add(run, comparison, step)
	local sum = run.rollback
	if WORSE[comparison.verdict] > WORSE[sum.verdict] then sum.verdict = comparison.verdict end
	for _, d in ipairs(comparison.differences) do
		local known = run.told[d.object] and d.class == "equivalent"
		run.told[d.object] = true
		d.step = step.name
		d.detail = string.format("back from %q: %s", step.name, d.detail)
		if not known then sum.differences[#sum.differences + 1] = d end
	end
	sum.sizes = clean.sizes(run.host, run.at_first, run.before)
	for _, t in ipairs(comparison.tables) do if t.method ~= "skipped" or #sum.tables == 0 then sum.tables = comparison.tables end end
end

-- One round; false when the next one would not start from where the first did.
local function round(run, k, quiet)
	local step = run.scenario.steps[k]
	local what = string.format("back from %q, %s", step.name, quiet and "while no traffic wrote" or "under traffic")
	local comparison, why = there_and_back(run, k, quiet)
	if not comparison then
		run.problem = why
		stage.found(run, false, what, why, step.name)
		return false
	end
	local first
	for _, d in ipairs(comparison.differences) do if d.class == "dirty" then first = first or d end end
	stage.found(run, not first, what, first and string.format("%s: %s", first.object, first.detail) or "schema and data are " .. comparison.verdict, step.name)
	add(run, comparison, step)
	return not first
end

return function(run)
	local host, steps = run.host, run.scenario.steps
	host.phase("migration")
	run.at_first = run.before
	run.rollback, run.told = { verdict = "identical", differences = host.array {}, tables = host.array {} }, {}
	for k, step in ipairs(steps) do
		if step.irreversible then
			stage.found(run, true, string.format("back from %q", step.name), "cannot be undone, as the scenario says: " .. tostring(step.irreversible), step.name)
			break
		end
		local fine = true
		if stage.pause(run) then
			local writes = run.before.writes
			run.before = clean.capture(run.comparer)
			run.before.writes = writes
			fine = round(run, k, true)
			stage.resume(run)
		end
		if not fine or not round(run, k, false) then
			if k < #steps then host.warning(string.format("the way back from behind %q was not as it should be; those from later steps were not tried", step.name)) end
			break
		end
	end
	stage.settle(run)
end
