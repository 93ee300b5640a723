-- Performs one step, up or down, with its events. The drills are made of it.
local Session = require "rehearse.session"
local Throttle = require "rehearse.throttle"
local backfill = require "rehearse.backfill"
local reconcile = require "rehearse.reconcile"
local steps = require "rehearse.steps"
local swap = require "rehearse.swap"
local tasks = require "rehearse.tasks"

local perform = {}

-- ---- SQL ----

-- SQL texts, one after the other, in one transaction or each by itself.
local function perform_sql(m, step, action)
	local function all() for _, sql in ipairs(action) do m:exec(sql) end end
	local clean_up, cleanup = m.direction == "down" and step.on_retry_down or m.direction ~= "down" and step.on_retry, nil
	if clean_up then cleanup = function() for _, sql in ipairs(clean_up) do m:exec(sql) end end end
	-- An attempt of it was broken off by a drill.
	if cleanup and m.host.watch and m.host.watch.again then m:retrying(cleanup) end
	if step.transaction then
		m:transaction(all, cleanup, action)
	elseif cleanup then
		-- It undoes what the statements before the failed one did, too.
		m:retrying(all, cleanup)
	else
		for _, sql in ipairs(action) do
			m:retrying(function() m:exec(sql) end, cleanup)
		end
	end
end

local function perform_function(m, step, action)
	if step.transaction then
		m:transaction(function() action(m) end)
	else
		action(m)
	end
end

local function perform_action(m, step, action)
	if type(action) == "function" then
		perform_function(m, step, action)
	elseif action then
		perform_sql(m, step, action)
	end
end

-- ---- the application ----

-- Pods one by one; each serves again before the next is taken.
local function deploy(m, step, from, to)
	local host = m.host
	local pods = host.pods()
	for pod = 1, pods do
		host.status { detail = string.format("pod %d of %d becomes %s", pod, pods, to) }
		host.replace_pod(pod, to)
		host.event { type = "deploy", step = step.name, pod = pod, from = from, to = to }
		if pod < pods then m:pause(step.every) end
	end
end

-- ---- waiting ----

local function await(m, step, condition)
	local from = m.host.now()
	while true do
		local so_far = condition()
		if not so_far then break end
		m.host.status { detail = "waiting: " .. so_far }
		m:pause(step.every)
	end
	m.host.event { type = "wait", step = step.name, length_ns = m.host.now() - from }
end

local function wait_until(m, step)
	if step.time then
		m:pause(step.time)
	elseif step.replay_lag then
		await(m, step, function()
			local lag = m.host.replay_lag()
			if not lag and m.host.standbys() == 0 then return Throttle.tell_no_standby(m.host, step, "there is nothing to wait for") end
			if not lag then return "the lag of the standby is not known yet" end
			return lag > step.replay_lag and string.format("replay lag %.1f s", lag / 1e9) or nil
		end)
	else
		await(m, step, function()
			local row = m:internal(step.query).values[1]
			if row and row[1] == true then return nil end
			return "its query says " .. (row and tostring(row[1]) or "nothing")
		end)
	end
end

-- ---- programs ----

-- A server does not notice that a client is gone before its statement ends: what a command that was stopped had locked would stay so.
local function end_sessions(m, application)
	local session = m.host.session("pgrehearse inspector")
	session:query(string.format("SELECT pg_catalog.pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a WHERE a.application_name = '%s' AND a.datname = pg_catalog.current_database()", application))
	session:close()
end

-- The last lines of what a program said, of at most so many bytes; of a longer line its end.
function perform.ending(text, bytes)
	text = text:gsub("%s+$", "")
	if #text <= bytes then return text end
	local cut = text:sub(-bytes)
	if text:sub(-bytes - 1, -bytes - 1) == "\n" then return cut end
	return cut:match("^[^\n]*\n(.+)$") or cut
end

local function exec(m, step, command)
	local left = m.deadline_ns and m.deadline_ns - m.host.now()
	local env = {}
	for name, value in pairs(step.env) do env[#env + 1] = name .. "=" .. value end
	table.sort(env)
	local out = m.host.exec { step = step.name, direction = m.direction, argv = command, env = env, dir = step.dir, timeout_ns = left }
	m.host.event { type = "exec", step = step.name, direction = m.direction, command = table.concat(command, " "):sub(1, 2000), pid = out.pid,
		start_ns = out.start_ns, end_ns = out.end_ns, exit_code = out.exit_code, output = out.output }
	m.touched.anything = true
	if out.timed_out then end_sessions(m, out.application) end
	if out.exit_code == 0 and out.output then
		local said = ("\n" .. out.output):match("\n[^\n]-(ERROR:%s[^\n]+)")
		if said then m.host.warning(string.format("step %q: the command ended with exit code 0, but said %s (psql goes on after errors without -v ON_ERROR_STOP=1)", step.name, said:sub(1, 120))) end
	end
	if out.timed_out then m:fail("the step took longer than its timeout of %.1f s: %s was stopped", m.timeout_ns / 1e9, command[1]) end
	if out.error then m:fail("%s", out.error) end
	if out.exit_code ~= 0 then m:fail("%s ended with exit code %d: %s", table.concat(command, " "):sub(1, 200), out.exit_code, perform.ending(out.output, 500)) end
end

-- ---- several at once ----

local function together(m, step)
	local list = {}
	for i, one in ipairs(step.steps) do
		list[i] = function()
			local session = Session.open(m.host)
			session.within, session.outer_deadline_ns, session.outer_timeout_ns = step, m.deadline_ns, m.timeout_ns
			local ok, why = perform.step(session, one, "up")
			session:close(m)
			if not ok then session:fail("step %q: %s", one.name, why) end
		end
	end
	local why = {}
	for _, ended in ipairs(tasks.all(m.host, list)) do
		if not ended.ok and not Session.is_failure(ended.problem) then error(ended.problem, 0) end
		if not ended.ok then why[#why + 1] = tostring(ended.problem) end
	end
	if #why > 0 then m:fail("%s", table.concat(why, "; ")) end
end

local function one_by_one_back(m, step)
	for i = #step.steps, 1, -1 do
		local one = step.steps[i]
		local session = Session.open(m.host)
		session.within, session.outer_deadline_ns, session.outer_timeout_ns = step, m.deadline_ns, m.timeout_ns
		local ok, why = perform.step(session, one, "down")
		session:close(m)
		if not ok then m:fail("step %q: %s", one.name, why) end
	end
end

-- ---- any step ----

-- By kind: what is done up, and down. Kinds that are not here perform their fields up and down.
local KINDS = {
	deploy = { up = function(m, step) deploy(m, step, step.from, step.to) end, down = function(m, step) deploy(m, step, step.to, step.from) end },
	load = { up = function(m, step) m.host.change_load { rate = step.rate, mix = step.mix, flags = step.flags } end },
	flag = { up = function(m, step) m.host.change_load { flags = step.flags } end, down = function(m, step) m.host.change_load { flags = step.flags_back } end },
	wait_until = { up = wait_until },
	exec = { up = function(m, step) if step.up then exec(m, step, step.up) end end, down = function(m, step) if step.down then exec(m, step, step.down) end end },
	parallel = { up = together, down = one_by_one_back },
	reconcile = { up = reconcile.perform },
	swap_tables = { up = swap.perform, down = swap.perform },
	backfill = { up = backfill.perform, down = function(m, step) perform_action(m, step, step.down) end },
}

local function do_it(m, step, direction)
	if direction == "down" and step.irreversible then m:fail("irreversible: %s", step.irreversible) end
	local kind = KINDS[step.kind]
	if not kind then
		perform_action(m, step, step[direction])
	elseif kind[direction] then
		kind[direction](m, step)
	end
end

-- The text of a check as a part of another statement: without the semicolon at its end, and with an end of its last comment.
function perform.violations(sql)
	return (sql:gsub("[;%s]+$", "")) .. (sql:find("--", 1, true) and "\n" or "")
end

-- What the step promises to hold after it.
local function check(m, step)
	if type(step.check) == "function" then
		local ok, why = step.check(m)
		if ok ~= true then m:fail("its check does not hold%s", why and ": " .. tostring(why) or ok == nil and ": it returned nothing; true is expected, or false and why" or "") end
		return
	end
	local out = m:internal(string.format("SELECT pg_catalog.count(*) OVER (), violation::text FROM (%s) AS violation LIMIT 3", perform.violations(step.check)))
	if #out.values == 0 then return end
	local sample = {}
	for i, row in ipairs(out.values) do sample[i] = row[2] end
	local hint = step.check:lower():find("^%s*select%s+count%s*%(") and "; a check selects the rows that violate it, and a count is a row, too" or ""
	m:fail("its check found %d row%s: %s%s", out.values[1][1], out.values[1][1] == 1 and "" or "s", table.concat(sample, ", "):sub(1, 400), hint)
end

local function set_deadline(m, step)
	local own = step.timeout and m.host.now() + step.timeout
	local outer = m.outer_deadline_ns
	if outer and (not own or outer < own) then
		m:set_deadline(m.outer_timeout_ns, outer)
	else
		m:set_deadline(step.timeout, own)
	end
end

-- Could a step before this one have made what it names? Of programs and functions that cannot be told.
local function may_be_made(before, name)
	local bare = name:match("[^.]+$"):gsub('"', ""):lower()
	for _, step in ipairs(before) do
		for _, action in pairs { step.up or false, step.statement or false } do
			if type(action) == "function" or step.kind == "exec" or step.kind == "swap_tables" then return true end
			local sql = type(action) == "table" and table.concat(action, "\n") or action or ""
			if sql:lower():find(bare, 1, true) then return true end
		end
	end
	return false
end

-- The name that lock waits and windows have a table by: without the schema public.
local NAMED = [[SELECT EXISTS (SELECT FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END = $1)]]

-- A criterion on a table that there is not would hold whatever happens.
local function examine_tables(m, list, before)
	for _, text in pairs(list) do
		local name = type(text) == "table" and examine_tables(m, text, before)
			or type(text) == "string" and (text:match("^%s*lock_wait%[([^%]]+)%]") or text:match("^%s*reads_blocked%[([^%]]+)%]") or text:match("^%s*writes_blocked%[([^%]]+)%]"))
		if name and not m:internal(NAMED, name).values[1][1] and (name:match("^public%.") or not may_be_made(before, name)) then
			error({ message = string.format("criterion %q: there is no table %s, and no step makes one%s", text, name, name:match("^public%.") and "; those of the schema public are named without it" or ""),
				usage = true }, 0)
		end
	end
end

local function is_there(m, name)
	local out = m.raw:query("SELECT pg_catalog.to_regclass($1) IS NOT NULL", name)
	return out.ok and out.values[1][1]
end

-- Tables that a step names in fields of its own.
local function tables_named_by(step)
	local out = {}
	for _, pair in ipairs(step.kind == "swap_tables" and step.tables or {}) do table.move({ pair.live, pair.other }, 1, 2, #out + 1, out) end
	if step.kind == "reconcile" then out[1] = step.table end
	return out
end

-- Before anything is performed: what of the scenario is known to be wrong now that there is a server. Raises the first.
function perform.examine(m, scenario)
	local before = {}
	steps.each(scenario.steps, function(step)
		if step.kind == "backfill" then
			local why, missing = backfill.examine(m, step)
			if why and not (missing and may_be_made(before, step.table)) then error({ message = string.format("step %q: %s", step.name, why), usage = true }, 0) end
		end
		for _, name in ipairs(tables_named_by(step)) do
			if not is_there(m, name) and not may_be_made(before, name) then
				error({ message = string.format("step %q: there is no table %s, and no step before makes one", step.name, name), usage = true }, 0)
			end
		end
		before[#before + 1] = step
	end)
	examine_tables(m, scenario.criteria, before)
end

-- Returns true, or false and why. Errors of the scenario's own Lua code are raised: they are no verdict on the migration.
function perform.step(m, step, direction)
	local host = m.host
	local from = host.now()
	local function tell(what) if not m.within then host.status(what) end end
	tell { step = step.name, direction = direction, detail = "", eta_ns = false }
	host.event { type = "step", name = step.name, kind = step.kind, direction = direction, edge = "start", within = m.within and m.within.name }
	local ok, problem = xpcall(function()
		m:begin_step(step, direction)
		set_deadline(m, step)
		do_it(m, step, direction)
		if step.check and direction == "up" then check(m, step) end
	end, Session.describe)
	local text = not ok and tostring(problem) or nil
	if text and m.is_overdue and not text:find("timeout of", 1, true) then
		text = string.format("the step took longer than its timeout of %.1f s: %s", m.timeout_ns / 1e9, text)
	end
	m:end_step()
	host.event { type = "step", name = step.name, kind = step.kind, direction = direction, edge = "end", ok = ok,
		duration_ns = host.now() - from, error = text, within = m.within and m.within.name,
		interrupted = not ok and host.watch and host.watch.fired or nil }
	tell { step = "", detail = "", eta_ns = false }
	if not ok and not Session.is_failure(problem) then error(problem, 0) end
	return ok, text
end

return perform
