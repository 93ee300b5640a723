-- The drills blocked-*: something stands in the way of each step when it begins, holds on for longer than the step waits for a lock, then goes. The
-- migration has to get through by its lock policy, and those who wait behind it must not wait for longer than that allows.
local perform = require "rehearse.perform"
local stage = require "rehearse.stage"
local Wraparound = require "rehearse.wraparound"

local HOLD_TIMES, HOLD_MIN_NS, HOLD_MAX_NS = 1.5, 300000000, 10000000000
local UNLIMITED_HOLD_NS = 2000000000   -- in the way of a step that would wait for ever
local SPARE_NS = 1000000000
local VACUUMS_MAX = 20
local DUMP_SCHEMA_NS, DUMP_LONGEST_NS = 2000000000, 30000000000   -- how long a dump's output is read until it comes to a table, and at the very most
local DUMP_CONNECTS_NS = 1000000000

-- Name, a column that can be written, the partitioned tables that it is a part of, pages.
local TABLES = [[SELECT c.oid::pg_catalog.regclass::text, (SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute a
	WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' AND a.attidentity <> 'a' ORDER BY a.attnum LIMIT 1),
	(SELECT pg_catalog.string_agg(p.relid::pg_catalog.regclass::text, ' ') FROM pg_catalog.pg_partition_ancestors(c.oid) AS p WHERE c.relispartition), c.relpages
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

-- Each blocker: begin(run, tables, step, hold_ns) puts it in the way and returns { pid, take_away(), stand_in }; nil and why when it is not
-- possible here. stand_in: why it is not the real thing but a session that holds what that would hold. Some have more: hold(until_ns) waits until then
-- or until it has gone by itself; keep_away() is called until the step is over, put_back() then. open(run) goes before the traffic, close() last.
local BLOCKERS = {}

BLOCKERS.reader = { title = "a long reader", begin = function(run, tables)
	local session = run.host.session("pgrehearse actor long reader")
	session:query("BEGIN")
	for _, t in ipairs(tables) do session:query("SELECT 1 FROM " .. t[1] .. " LIMIT 1") end
	return { pid = session:pid(), take_away = function() finish(session, "ROLLBACK") end }
end }

BLOCKERS.writer = { title = "a writer that idles in its transaction", begin = function(run, tables)
	local session = run.host.session("pgrehearse actor idle writer")
	session:query("BEGIN")
	write_rows(session, tables)
	return { pid = session:pid(), take_away = function() finish(session, "ROLLBACK") end }
end }

-- The backend of the dump, what it does, and whether it has been waiting for pg_dump, which then is held up in what it writes.
local DUMP = [[SELECT pid, query LIKE 'COPY %', state LIKE 'idle in transaction%' AND pg_catalog.clock_timestamp() - state_change > interval '20 ms'
	FROM pg_catalog.pg_stat_activity WHERE application_name = 'pgrehearse actor pg_dump' AND datname = pg_catalog.current_database()]]

-- The real one. It writes nothing before it has locked every table, so it stands wherever its output is not read; but in the middle of a table
-- is where dumps stand.
local function hold_dump(run, program)
	local host = run.host
	local child, why = host.hold { argv = { program, "--no-password" }, env = { "PGAPPNAME=pgrehearse actor pg_dump" } }
	if not child then return nil, why end
	local from, held_up_ns = host.now(), nil
	while true do
		local row = run.inspector:query(DUMP).values[1]
		if row and row[3] then held_up_ns = held_up_ns or host.now() end
		if row and (row[2] or held_up_ns and host.now() - held_up_ns > DUMP_SCHEMA_NS) then return { pid = row[1], take_away = function() host.release(child) end } end
		local late = host.now() - from > DUMP_LONGEST_NS
		-- One that cannot connect wants to say so.
		local go = row and row[3] or not row and host.now() - from > DUMP_CONNECTS_NS
		if late or not host.held_read(child, go) then
			local out = host.release(child)
			return nil, late and "pg_dump did not come to the data in time" or string.format("pg_dump ended with exit code %d: %s", out.exit_code, perform.ending(out.output, 200))
		end
		host.sleep(go and 0.002 or 0.01)
	end
end

-- What pg_dump does first, and keeps until it is done.
local function stand_in_for_dump(run, tables)
	local session = run.host.session("pgrehearse actor pg_dump")
	session:query("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
	session:query("SELECT 1 FROM pg_catalog.pg_class LIMIT 1")
	if #tables > 0 then session:query("LOCK TABLE " .. names_of(tables) .. " IN ACCESS SHARE MODE") end
	return { pid = session:pid(), take_away = function() finish(session, "ROLLBACK") end }
end

BLOCKERS.dump = { title = "a pg_dump", begin = function(run, tables)
	local program = run.host.server_program("pg_dump")
	local stand, why
	if program then
		stand, why = hold_dump(run, program)
	else
		why = run.host.is_ours() and "no pg_dump that fits the server was found" or "the server is none of ours"
	end
	if stand then return stand end
	stand = stand_in_for_dump(run, tables)
	stand.stand_in = why
	return stand
end }

-- Vacuums that go slowly and do not give way to others.
local function stand_in_for_vacuum(run, tables)
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
	return { pid = sessions[1] and sessions[1]:pid(), take_away = function()
		going = false
		for _, session in ipairs(sessions) do session:cancel() end
		while left > 0 do run.host.sleep(0.02) end
		for _, session in ipairs(sessions) do session:close() end
	end }
end

-- All that a step says, for names of tables to be looked for; of a function its constants.
local function words_of(step)
	local out = { step.table or "" }
	local function add(value)
		if type(value) == "string" then out[#out + 1] = value
		elseif type(value) == "function" then out[#out + 1] = string.dump(value, true)
		elseif type(value) == "table" then for _, one in pairs(value) do add(one) end end
	end
	add(step.kind == "parallel" and step.steps or { step.up or "", step.tables or "" })
	return table.concat(out, "\n")
end

-- Where words name a table, in whatever schema.
local function named_at(words, name)
	return (words:find("%f[%w_]" .. name:gsub('"', ""):match("[^.]*$"):gsub("%p", "%%%0") .. "%f[^%w_]"))
end

-- The table that a step is about: the one that it names first; of the parts of a partitioned table the largest. nil: it names none.
local function table_of(step, tables)
	local words, best, best_at = words_of(step), nil, nil
	for _, t in ipairs(tables) do
		local at = named_at(words, t[1])
		for whole in (t[3] or ""):gmatch("%S+") do at = at or named_at(words, whole) end
		if at and (not best or at < best_at or at == best_at and t[4] > best[4]) then best, best_at = t, at end
	end
	return best and best[1]
end

BLOCKERS.vacuum = { title = "a vacuum that prevents wraparound",
	open = function(run) run.wraparound, run.no_wraparound = Wraparound.open(run.host) end,
	close = function(run) if run.wraparound then run.wraparound:close() end end,
	begin = function(run, tables, step, hold_ns)
		local name, stand, why = table_of(step, tables), nil, run.no_wraparound
		if run.wraparound and not name then
			why = "the step names no table that is there"
		elseif run.wraparound and run.scenario.brief and run.had_wraparound then
			why = "in a brief run one step meets the real one"
		elseif run.wraparound then
			stand, why = run.wraparound:stand(name, hold_ns, run.host)
			run.had_wraparound = run.had_wraparound or stand ~= nil
		end
		if stand then return stand end
		stand = stand_in_for_vacuum(run, tables)
		stand.stand_in = why
		return stand
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
	return { pid = session:pid(), take_away = function() finish(session, "ROLLBACK PREPARED 'pgrehearse_blocked'") end }
end }

local function hold_of(step)
	if (step.lock_timeout or 0) == 0 then return UNLIMITED_HOLD_NS end
	return math.floor(math.min(HOLD_MAX_NS, math.max(HOLD_MIN_NS, step.lock_timeout * HOLD_TIMES)))
end

-- The step, with the blocker in its way for the hold. Returns why it failed, or nil, and how the blocker stood there: { ns, stand_in }, or nil.
local function blocked_step(run, i, blocker)
	local host, step = run.host, run.scenario.steps[i]
	local hold = hold_of(step)
	local stand, impossible = blocker.begin(run, tables_of(run), step, hold)
	if not stand then
		run.impossible = impossible
		return stage.step(run, i, "up", stage.hurried(step)), nil
	end
	host.event { type = "actor", name = blocker.title, edge = "start", pid = stand.pid, stand_in = stand.stand_in }
	local from, stood, over, gone = host.now(), nil, false, false
	host.spawn(function()
		if stand.hold then stand.hold(from + hold) else host.sleep(hold / 1e9) end
		stand.take_away()
		stood = host.now() - from
		host.event { type = "actor", name = blocker.title, edge = "end", pid = stand.pid }
		while stand.keep_away and not over do stand.keep_away() end
		gone = true
	end)
	local why = stage.step(run, i, "up", stage.hurried(step))
	over = true
	while not gone do host.sleep(0.02) end
	if stand.put_back then stand.put_back() end
	return why, { ns = stood, stand_in = stand.stand_in }
end

local function asks_server(step) return stage.speaks(step) or stage.runs_program(step) end

-- How long anybody may wait: behind the blocker itself, and then behind a try of the migration.
local function bound_of(scenario)
	local longest = 0
	for _, step in ipairs(scenario.steps) do
		if asks_server(step) then longest = math.max(longest, hold_of(step) + math.min(step.lock_timeout or 0, HOLD_MAX_NS)) end
	end
	return longest + SPARE_NS
end

local blocked = {}

-- What is demanded besides: see drill.criteria.
function blocked.criteria(scenario) return { string.format("lock_wait.max during migration < %dms", bound_of(scenario) // 1000000) } end

local function blocker_of(name) return BLOCKERS[name:match("^blocked%-(.*)$")] end

-- Before there is traffic.
function blocked.open(run)
	local blocker = blocker_of(run.name)
	run.host.status { detail = "preparing " .. blocker.title }
	if blocker.open then blocker.open(run) end
	run.host.status { detail = "" }
end

local function perform_steps(run, blocker)
	local host, any = run.host, false
	for i, step in ipairs(run.scenario.steps) do
		if not asks_server(step) then
			run.problem = stage.step(run, i, "up", stage.hurried(step))
		else
			any = true
			local from = host.now()
			local why, stood = blocked_step(run, i, blocker)
			local what = string.format("%q gets past %s", step.name, blocker.title)
			if not stood then
				stage.found(run, not why, what, "it could not be put in the way: " .. run.impossible, step.name)
			else
				local who = stood.stand_in and string.format("a stand-in stood there for %.2f s: %s", stood.ns / 1e9, stood.stand_in) or string.format("it stood there for %.2f s", stood.ns / 1e9)
				stage.found(run, not why, what, why or string.format("in %.2f s; %s", (host.now() - from) / 1e9, who), step.name)
			end
			run.problem = why
		end
		if run.problem then return end
		stage.run_checks(run, step.name)
	end
	if not any then stage.found(run, true, blocker.title .. " is in nobody's way", "no step asks the server for anything") end
	stage.settle(run)
	stage.run_checks(run, "migration")
end

function blocked.perform(run)
	local blocker = blocker_of(run.name)
	run.host.phase("migration")
	perform_steps(run, blocker)
	if blocker.close then blocker.close(run) end
end

return blocked
