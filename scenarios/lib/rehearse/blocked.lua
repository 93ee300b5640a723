-- The drills blocked-*: something stands in the way of each step when it begins, holds on for longer than the step waits for a lock, then goes. The
-- migration has to get through by its lock policy, and those who wait behind it must not wait for longer than that allows.
local stage = require "rehearse.stage"

local HOLD_TIMES, HOLD_MIN_NS, HOLD_MAX_NS = 1.5, 300000000, 10000000000
local UNLIMITED_HOLD_NS = 2000000000   -- in the way of a step that would wait for ever
local SPARE_NS = 1000000000
local VACUUMS_MAX = 20

local TABLES = [[SELECT c.oid::pg_catalog.regclass::text, (SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute a
	WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a' ORDER BY a.attnum LIMIT 1)
	FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE c.relkind = 'r' AND n.nspname !~ '^pg_' AND n.nspname NOT IN ('information_schema', 'pgrehearse') ORDER BY 1]]

local function tables_of(run) return run.inspector:query(TABLES).values end

local function names_of(tables)
	local names = {}
	for i, t in ipairs(tables) do names[i] = t[1] end
	return table.concat(names, ", ")
end

-- A row of each table, written but not committed: the first that nobody else is just writing.
local function write_rows(session, tables)
	for _, t in ipairs(tables) do
		if t[2] then
			session:query(string.format("UPDATE %s SET %s = %s WHERE ctid = (SELECT ctid FROM %s LIMIT 1 FOR UPDATE SKIP LOCKED)", t[1], t[2], t[2], t[1]))
		end
	end
end

local function finish(session, sql)
	session:query(sql)
	session:close()
end

-- Each blocker: begin(run, tables) puts it in the way and returns a function that takes it away; nil and why when it is not possible here.
local BLOCKERS = {}

BLOCKERS.reader = { title = "a long reader", begin = function(run, tables)
	local session = run.host.session("pgrehearse actor long reader")
	session:query("BEGIN")
	for _, t in ipairs(tables) do session:query("SELECT 1 FROM " .. t[1] .. " LIMIT 1") end
	return function() finish(session, "ROLLBACK") end, session:pid()
end }

BLOCKERS.writer = { title = "a writer that idles in its transaction", begin = function(run, tables)
	local session = run.host.session("pgrehearse actor idle writer")
	session:query("BEGIN")
	write_rows(session, tables)
	return function() finish(session, "ROLLBACK") end, session:pid()
end }

-- What pg_dump does first, and keeps until it is done.
BLOCKERS.dump = { title = "a pg_dump", begin = function(run, tables)
	local session = run.host.session("pgrehearse actor pg_dump")
	session:query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	session:query("SELECT 1 FROM pg_catalog.pg_class LIMIT 1")
	if #tables > 0 then session:query("LOCK TABLE " .. names_of(tables) .. " IN ACCESS SHARE MODE") end
	return function() finish(session, "ROLLBACK") end, session:pid()
end }

-- A vacuum that goes slowly and does not give way to others, as one of autovacuum's that guards against wraparound.
BLOCKERS.vacuum = { title = "a vacuum that prevents wraparound", begin = function(run, tables)
	local sessions, going, left = {}, true, math.min(#tables, VACUUMS_MAX)
	for i = 1, left do sessions[i] = run.host.session("pgrehearse actor wraparound vacuum") end
	for i, session in ipairs(sessions) do
		run.host.spawn(function()
			session:query("SET vacuum_cost_delay = 100; SET vacuum_cost_limit = 1; SET vacuum_cost_page_hit = 1; SET lock_timeout = '2s'")
			repeat until not going or not session:query("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING) " .. tables[i][1]).ok or not session:connected()
			left = left - 1
		end)
	end
	run.host.sleep(0.1)
	return function()
		going = false
		for _, session in ipairs(sessions) do session:cancel() end
		while left > 0 do run.host.sleep(0.02) end
		for _, session in ipairs(sessions) do session:close() end
	end, sessions[1] and sessions[1]:pid()
end }

BLOCKERS.prepared = { title = "a prepared transaction", begin = function(run, tables)
	local session = run.host.session("pgrehearse actor prepared transaction")
	session:query("BEGIN")
	write_rows(session, tables)
	local out = session:query("PREPARE TRANSACTION 'pgrehearse_blocked'")
	if not out.ok then
		session:query("ROLLBACK")
		return nil, out.message
	end
	return function() finish(session, "ROLLBACK PREPARED 'pgrehearse_blocked'") end, session:pid()
end }

local function hold_of(step)
	if (step.lock_timeout or 0) == 0 then return UNLIMITED_HOLD_NS end
	return math.floor(math.min(HOLD_MAX_NS, math.max(HOLD_MIN_NS, step.lock_timeout * HOLD_TIMES)))
end

-- The step, with the blocker in its way for the hold. Returns why it failed, or nil, and whether the blocker stood there.
local function blocked_step(run, i, blocker)
	local host, step = run.host, run.scenario.steps[i]
	local hold = hold_of(step)
	local take_away, pid = blocker.begin(run, tables_of(run))
	if not take_away then
		run.impossible = pid
		return stage.step(run, i, "up", stage.hurried(step)), false
	end
	host.event { type = "actor", name = blocker.title, edge = "start", pid = pid }
	local gone = false
	host.spawn(function()
		host.sleep(hold / 1e9)
		take_away()
		host.event { type = "actor", name = blocker.title, edge = "end", pid = pid }
		gone = true
	end)
	local why = stage.step(run, i, "up", stage.hurried(step))
	while not gone do host.sleep(0.02) end
	return why, true
end

-- How long anybody may wait: behind the blocker itself, and then behind a try of the migration.
local function bound_of(scenario)
	local longest = 0
	for _, step in ipairs(scenario.steps) do
		if stage.speaks(step) then longest = math.max(longest, hold_of(step) + math.min(step.lock_timeout or 0, HOLD_MAX_NS)) end
	end
	return longest + SPARE_NS
end

local blocked = {}

-- What is demanded besides: see drill.criteria.
function blocked.criteria(scenario) return { string.format("lock_wait.max during migration < %dms", bound_of(scenario) // 1000000) } end

function blocked.perform(run)
	local host, blocker = run.host, BLOCKERS[run.name:match("^blocked%-(.*)$")]
	host.phase("migration")
	for i, step in ipairs(run.scenario.steps) do
		if not stage.speaks(step) then
			run.problem = stage.step(run, i, "up", stage.hurried(step))
		else
			local from = host.now()
			local why, stood = blocked_step(run, i, blocker)
			local what = string.format("%q gets past %s", step.name, blocker.title)
			if not stood then
				stage.found(run, not why, what, "it could not be put in the way: " .. run.impossible, step.name)
			else
				stage.found(run, not why, what, why or string.format("in %.2f s; it stood there for %.2f s", (host.now() - from) / 1e9, hold_of(step) / 1e9), step.name)
			end
			run.problem = why
		end
		if run.problem then return end
		stage.run_checks(run, step.name)
	end
	stage.settle(run)
	stage.run_checks(run, "migration")
end

return blocked
