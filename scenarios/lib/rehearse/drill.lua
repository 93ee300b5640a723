-- The drills: in which order phases and steps are performed. What they are performed with is the conductor's (`host`).
local blocked = require "rehearse.blocked"
local clean = require "rehearse.clean"
local stage = require "rehearse.stage"

local BRIEF_WARMUP_NS, BRIEF_BASELINE_NS = 1000000000, 2000000000
local BRIEFEST_NS = 300000000   -- of each, in a brief scenario, when no table is compared by what the baseline showed

-- Drills that live in files of their own.
local OTHERS = { ["rollback-each"] = "rehearse.rollback_each", crash = "rehearse.crash", versions = "rehearse.versions", failover = "rehearse.failover", ["failover-sync"] = "rehearse.failover" }

local drills = {}

-- True when all steps were performed.
function drills.forward(run)
	local host = run.host
	host.phase("migration")
	run.watching = true
	stage.watch_checks(run, "migration")
	for i, step in ipairs(run.scenario.steps) do
		run.problem = stage.step(run, i, "up")
		if run.problem then break end
		stage.run_checks(run, step.name)
		stage.watch_checks(run, step.name)
	end
	if run.problem then
		run.watching = false
		return false
	end
	stage.settle(run)
	run.watching = false
	stage.run_checks(run, "migration")
	return true
end

function drills.rollback(run)
	if not drills.forward(run) then return end
	-- What the new version writes until then has to survive, too.
	if run.scenario.rollback_after > 0 then
		run.host.status { detail = "the new version serves for a while before the way back" }
		run.host.sleep(run.scenario.rollback_after / 1e9)
	end
	run.host.phase("rollback")
	run.problem = stage.down(run)
	if run.problem then return end
	stage.settle(run)
	stage.run_checks(run, "rollback")
end

-- Of those that are not about what users feel, the baseline is a formality.
local function phases_of(scenario, name)
	local p = scenario.phases
	if name == "forward" or name == "rollback" then return p end
	if scenario.brief and name ~= "crash" then return { warmup = math.min(p.warmup, BRIEFEST_NS), baseline = math.min(p.baseline, BRIEFEST_NS), settle = p.settle } end
	return { warmup = math.min(p.warmup, BRIEF_WARMUP_NS), baseline = math.min(p.baseline, BRIEF_BASELINE_NS), settle = p.settle }
end

local drill = {}

-- Old and new must agree wherever they are compared.
local function reconciliations(scenario, name)
	local out = {}
	local function add(one) out[#out + 1] = string.format("reconcile[%s].mismatches = 0", one.name) end
	if name == "versions" then return out end
	for _, step in ipairs(scenario.steps) do if step.kind == "reconcile" and name ~= "forward" and name ~= "rollback" then add(step) end end
	for _, check in ipairs(scenario.checks) do
		if check.reconcile and name ~= "rollback-each" and (check.after ~= "rollback" or name == "rollback") then add(check.reconcile) end
	end
	return out
end

-- What a run of the drill is judged by: the scenario's list for forward and rollback; else what is written for that drill, checks and
-- the drill's own demands.
function drill.criteria(scenario, name)
	local out = {}
	local function add(list) for _, text in ipairs(list or {}) do out[#out + 1] = text end end
	if name == "forward" or name == "rollback" then
		add(scenario.criteria)
	else
		add { "drill.clean" }
		if name == "rollback-each" then add { "rollback.clean" } end
		if name == "failover-sync" then add { "ledger.clean" } end
		if name:match("^blocked%-") then add(blocked.criteria(scenario)) end
		local checks = 0
		for _, check in ipairs(scenario.checks) do if check.sql and check.after ~= "rollback" then checks = checks + 1 end end
		if checks > 0 and name ~= "rollback-each" and name ~= "versions" then add { "checks.clean" } end
	end
	add(reconciliations(scenario, name))
	local family = name:match("^%a+")
	if family ~= name and family ~= "rollback" then add(scenario.criteria[family]) end
	add(scenario.criteria[name])
	return out
end

-- Performs the drill called name. Returns { problem, checks, rollback, findings, ... }; problem: why a step failed, with which the drill ended.
function drill.perform(host, given, name)
	local scenario = setmetatable({ phases = phases_of(given, name) }, { __index = given })
	local run = stage.open(host, scenario, name)
	local body = drills[name] or name:match("^blocked%-") and blocked.perform or require(OTHERS[name])
	local compares = name == "rollback" or name == "rollback-each" or name == "crash" or name == "forward" and host.keeps_state and host.keeps_state()
	if compares then
		host.status { detail = "taking the fingerprint" }
		run.comparer = clean.open(host)
		run.before = clean.capture(run.comparer)
	end
	host.status { detail = "" }
	-- Cold caches and statements that are not prepared yet would make the baseline look slow, and so any migration harmless.
	local warm = scenario.phases.warmup > 0
	stage.start_traffic(run, warm and "warmup" or "baseline", warm and scenario.phases.warmup or scenario.phases.baseline)
	if warm then
		host.sleep(scenario.phases.warmup / 1e9)
		host.phase("baseline", scenario.phases.baseline)
	end
	host.sleep(scenario.phases.baseline / 1e9)
	run.writes_baseline = compares and clean.writes(run.comparer)
	body(run)
	stage.end_traffic(host)
	local result = { problem = run.problem, checks = run.checks, rollback = run.rollback, findings = run.findings, versions = run.versions }
	if name == "rollback" and not run.problem then
		host.status { detail = "comparing with the fingerprint" }
		result.rollback = clean.compare(host, run.before, clean.capture(run.comparer), run.writes_baseline, run.migration.touched)
	elseif name == "forward" and compares and not run.problem then
		local state = clean.capture(run.comparer)
		state.written = clean.written(run.before, run.writes_baseline)
		host.keep_state(state)
	end
	if run.at_end then
		run.at_end(run)
		result.findings = run.findings
	end
	result.reconcile = host.reconciled
	return result
end

-- Traffic without a migration. Returns { checks }: the workload's, before and after.
function drill.load(host, duration_ns)
	local run = { host = host, scenario = { actors = {} }, checks = host.array {}, inspector = host.session("pgrehearse inspector") }
	stage.run_workload_checks(run, "before")
	stage.start_traffic(run, "load", duration_ns)
	host.sleep(duration_ns / 1e9)
	stage.end_traffic(host)
	stage.run_workload_checks(run, "after")
	return { checks = run.checks }
end

return drill
