-- The drill versions: every app version against every schema that the migration passes through, and every setting of its flags, a burst of each
-- transaction at a time, so that each SQLSTATE has a transaction to belong to. Who serves at a point of the plan has to work there; of others it is only told.
local stage = require "rehearse.stage"

local BURST, BURST_S = 12, 0.1              -- transactions of a burst, and how long it takes
local BRIEF_BURST, BRIEF_BURST_S = 5, 0.02
local LONGEST_S = 5
local START = "the start"

-- Errors that are no matter of the schema: conflicts with others, and time.
local EXCUSED = { ["25P04"] = true, ["40001"] = true, ["40P01"] = true, ["55P03"] = true, ["57014"] = true, POOL = true }

-- These leave the schema as it is.
local ONLY_TRAFFIC = { deploy = true, load = true, flag = true, wait_until = true, reconcile = true }

local function wait_for_idle(host)
	local limit = host.now() + LONGEST_S * 1000000000
	local tally, busy
	repeat
		host.sleep(0.01)
		tally, busy = host.tally()
	until busy == 0 or host.now() > limit
	return tally
end

-- A burst of one transaction, all pods being of one version. Returns { ok, failed, errors }.
local function burst(run, version, transaction)
	local host, mix = run.host, {}
	for _, name in ipairs(run.transactions) do mix[name] = name == transaction and 1 or 0 end
	local before = host.tally()[version] or { ok = 0, failed = 0, errors = {} }
	local brief = run.scenario.brief
	local count, length = brief and BRIEF_BURST or BURST, brief and BRIEF_BURST_S or BURST_S
	host.set_load { rate = string.format("%g for %dms then 0", count / length, math.floor(length * 1000)), mix = mix }
	host.sleep(length + 0.015)
	local after = wait_for_idle(host)[version]
	local errors
	for sqlstate, n in pairs(after.errors) do
		if n > (before.errors[sqlstate] or 0) then
			errors = errors or {}
			errors[sqlstate] = n - (before.errors[sqlstate] or 0)
		end
	end
	return { ok = after.ok - before.ok, failed = after.failed - before.failed, errors = errors }
end

-- Versions that may serve with the schema and the flags as they are between step i and the next: those before and after each deploy that stands there.
local function serving_after(scenario, i)
	local now, out = "v1", {}
	for k = 1, i do if scenario.steps[k].kind == "deploy" then now = scenario.steps[k].to end end
	out[now] = true
	for k = i + 1, #scenario.steps do
		local step = scenario.steps[k]
		if not ONLY_TRAFFIC[step.kind] or step.flags then break end
		if step.kind == "deploy" then out[step.to] = true end
	end
	return out
end

local function words_of(errors)
	local list = {}
	for sqlstate, n in pairs(errors or {}) do list[#list + 1] = string.format("%s × %d", sqlstate, n) end
	table.sort(list)
	return table.concat(list, ", ")
end

-- One line of the table: a version against the schema as it is now.
local function try(run, state, version, must)
	local host = run.host
	for pod = 1, host.pods() do host.replace_pod(pod, version) end
	local cells, bad, tried = {}, {}, 0
	for _, transaction in ipairs(run.transactions) do
		host.status { detail = string.format("%s with %s after %s", transaction, version, state) }
		local cell = burst(run, version, transaction)
		cells[transaction], tried = cell, tried + cell.ok + cell.failed
		for sqlstate in pairs(cell.errors or {}) do
			if not EXCUSED[sqlstate] then
				bad[#bad + 1] = transaction .. ": " .. words_of(cell.errors)
				break
			end
		end
	end
	run.versions[#run.versions + 1] = { state = state, version = version, serves = must or false, works = #bad == 0, transactions = cells }
	host.event { type = "version", state = state, version = version, serves = must or false, works = #bad == 0 }
	if must then
		stage.found(run, #bad == 0 and tried > 0, string.format("%s works with the schema after %q", version, state),
			#bad > 0 and table.concat(bad, "; ") or string.format("%d transactions", tried), state)
	end
end

local function try_all(run, state, i)
	local must = serving_after(run.scenario, i)
	for _, version in ipairs(run.host.versions()) do try(run, state, version, must[version]) end
end

return function(run)
	local host = run.host
	run.versions, run.transactions = host.array {}, host.transactions()
	host.set_load { rate = 0 }
	wait_for_idle(host)
	host.phase("migration")
	try_all(run, START, 0)
	for i, step in ipairs(run.scenario.steps) do
		if ONLY_TRAFFIC[step.kind] then
			if step.flags then
				host.set_load { flags = step.flags }
				try_all(run, step.name, i)
			end
		else
			run.problem = stage.step(run, i, "up", stage.hurried(step))
			if run.problem then return end
			try_all(run, step.name, i)
		end
	end
end
