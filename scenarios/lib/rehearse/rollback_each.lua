-- The drill rollback-each: for each step, up to it and all the way back, once under traffic and once without. What traffic writes cannot be
-- told from what a bad way back destroyed, so what the tables hold is compared while it pauses. A brief scenario does so once, from its last
-- step: all ways back are part of that one. Behind a step that is a part of a migration nobody turns around. From the last the traffic also pauses on the way back only: what it has written before must survive.
local clean = require "rehearse.clean"
local stage = require "rehearse.stage"
local witness = require "rehearse.witness"

local BETWEEN_S, LONGEST_BETWEEN_S = 0.3, 1   -- of traffic at the furthest point
local ENOUGH = 40   -- transactions there, to have some that write
local ONLY_FOR_TRAFFIC = { deploy = true, load = true, flag = true, reconcile = true }   -- without it the round would be the one before it again
local function nothing() return false end

local function transactions(host)
	local n = 0
	for _, one in pairs((host.tally())) do n = n + one.ok + one.failed end
	return n
end

-- Some traffic with all steps up to here done, and then none; the rows that it wrote, or nil when it cannot pause.
local function follow(run)
	local host = run.host
	local watch, from = witness.open(host), transactions(host)
	local limit = host.now() + LONGEST_BETWEEN_S * 1000000000
	host.sleep(BETWEEN_S)
	while transactions(host) - from < ENOUGH and host.now() < limit do host.sleep(0.05) end
	local paused = stage.pause(run)
	return witness.take(watch, run.comparer, paused and run.followed or {})
end

-- Up to step k and back; returns the comparison with what was there before, or nil and why a step failed. way: "quiet", "busy" or "followed".
-- final: no round comes after this one.
local function there_and_back(run, k, way, final)
	local host, quiet, written = run.host, way == "quiet", nil
	run.migration.touched = {}
	local why = stage.up(run, k, stage.hurried)
	if not why then
		if way == "busy" then host.sleep(BETWEEN_S) elseif way == "followed" then written = follow(run) end
		why = stage.down(run, k, stage.hurried)
	end
	if why then return nil, why end
	local lost, looked
	if written then lost, looked = witness.compare(run.comparer, written) end
	local how = quiet and "all" or not run.scenario.load.closed and "later" or nil
	-- Counting all rows takes seconds when there are millions, and nobody asks for them before the last round.
	local now = clean.capture(run.comparer, how == "later" and nothing or nil, how == "later" and not final)
	run.migration.touched.anything = nil   -- all tables are compared where the traffic pauses
	local comparison = clean.compare(host, run.before, now, run.writes_baseline, run.migration.touched, how)
	clean.add(comparison, lost or {})
	comparison.looked = looked
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

local WAYS = { quiet = "while no traffic wrote", busy = "under traffic", followed = "after traffic wrote" }

-- One round; false when the next one would not start from where the first did.
local function round(run, k, way, final)
	local step = run.scenario.steps[k]
	local what = string.format("back from %q, %s", step.name, WAYS[way])
	local comparison, why = there_and_back(run, k, way, final)
	if not comparison then
		run.problem = why
		stage.found(run, false, what, why, step.name)
		return false
	end
	local first
	for _, d in ipairs(comparison.differences) do if d.class == "dirty" then first = first or d end end
	local fine = comparison.looked and string.format("schema is %s; %d rows that the traffic wrote before are there", comparison.verdict, comparison.looked) or "schema and data are " .. comparison.verdict
	stage.found(run, not first, what, first and string.format("%s: %s", first.object, first.detail) or fine, step.name)
	add(run, comparison, step)
	return not first
end

-- Why a step, or one inside of it, cannot be undone; nil when it can.
local function irreversible(step)
	for _, one in ipairs(step.kind == "parallel" and step.steps or {}) do
		if one.irreversible then return one.irreversible end
	end
	return step.irreversible
end

-- How many steps can be undone, and the last of them behind which anybody turns around.
local function last_reversible(steps)
	local n = #steps
	for k, step in ipairs(steps) do
		if irreversible(step) then
			n = k - 1
			break
		end
	end
	local last = n
	while last > 0 and steps[last].part do last = last - 1 end
	return last, n
end

-- All rounds from behind step k; false when one of them was not as it should be.
local function rounds(run, k, last)
	local step = run.scenario.steps[k]
	local fine, pauses = true, (k == last or not run.scenario.brief and not ONLY_FOR_TRAFFIC[step.kind]) and stage.pause(run)
	if pauses then
		local writes = run.before.writes
		run.before = clean.capture(run.comparer)
		run.before.writes = writes
		fine = round(run, k, "quiet")
		stage.resume(run)
	end
	if fine and (k < last or not pauses or not run.scenario.brief) then fine = round(run, k, "busy", k == last and not pauses) end
	if fine and k == last and pauses then
		fine = round(run, k, "followed", true)
		stage.resume(run)
	end
	return fine
end

return function(run)
	local host, steps = run.host, run.scenario.steps
	local last, n = last_reversible(steps)
	host.phase("migration")
	run.at_first, run.followed = run.before, witness.tables(run.comparer)
	run.rollback, run.told = { verdict = "identical", differences = host.array {}, tables = host.array {} }, {}
	local fine = true
	for k = 1, last do
		if not steps[k].part then fine = rounds(run, k, last) end
		if not fine then
			if k < #steps then host.warning(string.format("the way back from behind %q was not as it should be; those from later steps were not tried", steps[k].name)) end
			break
		end
	end
	local final = fine and steps[n + 1]
	if final then stage.found(run, true, string.format("back from %q", final.name), "cannot be undone, as the scenario says: " .. tostring(irreversible(final)), final.name) end
	stage.settle(run)
end
