-- The drills: in which order phases and steps are performed. What they are performed with is the conductor's (`host`).
local blocked = require "rehearse.blocked"
local clean = require "rehearse.clean"
local stage = require "rehearse.stage"
local witness = require "rehearse.witness"

local BRIEF_WARMUP_NS, BRIEF_BASELINE_NS = 1000000000, 2000000000
local CHECKPOINT_FROM_NS = 5000000000   -- a shorter baseline is no measure of WAL
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
	if run.followed then witness.newest(run.comparer, run.followed) end
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
	stage.checkpoint(run, "rollback")
	witness.added(run.comparer, run.followed)
	run.host.phase("rollback")
	run.problem = stage.down(run)
	if run.problem then return end
	stage.settle(run)
	stage.run_checks(run, "rollback")
end

-- Of those that are not about what users feel, the baseline is a formality.
local function phases_of(scenario, name)
	local p = scenario.phases
	if name == "forward" or name == "rollback" then
		local checkpoint = p.checkpoint
		if checkpoint == nil then checkpoint = p.baseline >= CHECKPOINT_FROM_NS end
		return { warmup = p.warmup, baseline = p.baseline, settle = p.settle, checkpoint = checkpoint }
	end
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

local function asks_for_rollback(scenario)
	for _, list in ipairs { scenario.criteria, scenario.criteria.rollback or {} } do
		for _, text in ipairs(list) do if text:find("^%s*rollback%.") then return true end end
	end
	return false
end

-- What a run of the drill is judged by: the scenario's list for forward and rollback; else what is written for that drill, checks and
-- the drill's own demands.
function drill.criteria(scenario, name)
	local out = {}
	local function add(list) for _, text in ipairs(list or {}) do out[#out + 1] = text end end
	local checks = 0
	for _, check in ipairs(scenario.checks) do if check.sql and (check.after ~= "rollback" or name == "rollback") then checks = checks + 1 end end
	if name == "forward" or name == "rollback" then
		add(scenario.criteria)
		-- A check that nobody judges would be no check.
		local judged = false
		for _, text in ipairs(scenario.criteria) do judged = judged or text:find("^%s*checks?[.%[]") ~= nil end
		if checks > 0 and not judged then add { "checks.clean" } end
		if name == "rollback" and not asks_for_rollback(scenario) then add { "rollback.clean" } end
	else
		add { "drill.clean" }
		if name == "rollback-each" then add { "rollback.clean" } end
		if name == "failover-sync" then add { "ledger.clean" } end
		if name:match("^blocked%-") then add(blocked.criteria(scenario)) end
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
		run.before = host.kept_start()
		if not run.before then
			run.before = clean.capture(run.comparer)
			host.keep_start(run.before)
		end
	end
	if name == "rollback" then
		run.followed = witness.tables(run.comparer)
		run.sample = witness.sample(run.comparer, run.followed)
	end
	host.status { detail = "" }
	if name:match("^blocked%-") then blocked.open(run) end
	-- Cold caches and statements that are not prepared yet would make the baseline look slow, and so any migration harmless.
	local warm = scenario.phases.warmup > 0
	if not warm then stage.checkpoint(run, "baseline") end
	stage.start_traffic(run, warm and "warmup" or "baseline", warm and scenario.phases.warmup or scenario.phases.baseline)
	if warm then
		host.sleep(scenario.phases.warmup / 1e9)
		stage.checkpoint(run, "baseline")
		host.phase("baseline", scenario.phases.baseline)
	end
	host.sleep(scenario.phases.baseline / 1e9)
	run.writes_baseline = compares and clean.writes(run.comparer)
	stage.checkpoint(run, "migration")
	body(run)
	stage.end_traffic(host)
	-- What the traffic may have written cannot be told from what the migration did where nobody can tell what that did.
	if compares then
		local known = clean.mark_written(run.comparer, run.writes_baseline, host.executed()) and not scenario.load.trace
		if not known then run.migration.touched.anything = nil end
	end
	local result = { problem = run.problem, checks = run.checks, rollback = run.rollback, findings = run.findings, versions = run.versions }
	if name == "rollback" and not run.problem then
		host.status { detail = "comparing with the fingerprint" }
		local compared = clean.compared(run.before, run.writes_baseline, run.migration.touched)
		result.rollback = clean.compare(host, run.before, clean.capture(run.comparer, compared), run.writes_baseline, run.migration.touched)
		local executed = host.executed()
		clean.add(result.rollback, witness.missing(run.comparer, run.followed, executed))
		clean.add(result.rollback, witness.spoilt(run.comparer, run.sample, executed))
	elseif name == "forward" and compares and not run.problem then
		local written = clean.written(run.before, run.writes_baseline)
		local state = clean.capture(run.comparer, function(name) return not written[name] end)
		state.written = written
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
	stage.start_traffic(run, "load", duration_ns > 0 and duration_ns or nil)
	if host.replay_has_ended() == nil then
		host.sleep(duration_ns / 1e9)
	else
		local limit = host.now() + duration_ns
		while not host.replay_has_ended() and (duration_ns == 0 or host.now() < limit) do host.sleep(0.02) end
	end
	stage.end_traffic(host)
	stage.run_workload_checks(run, "after")
	return { checks = run.checks }
end

return drill
