-- Performs one step, up or down, with its events. The drills are made of it.
local Session = require "rehearse.session"
local backfill = require "rehearse.backfill"

local perform = {}

-- SQL texts, one after the other, in one transaction or each by itself.
local function perform_sql(m, step, action)
	local function cleanup()
		if not step.on_retry then return end
		for _, sql in ipairs(step.on_retry) do m:exec(sql) end
	end
	if step.transaction then
		m:transaction(function()
			for _, sql in ipairs(action) do m:exec(sql) end
		end, cleanup)
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

-- Pods one by one; each serves again before the next is taken.
local function deploy(m, step, from, to)
	local host = m.host
	local pods = host.pods()
	for pod = 1, pods do
		host.status { detail = string.format("pod %d of %d becomes %s", pod, pods, to) }
		host.replace_pod(pod, to)
		host.event { type = "deploy", step = step.name, pod = pod, from = from, to = to }
		if pod < pods then host.sleep(step.every / 1e9) end
	end
end

local function host_change(m, step)
	m.host.change_load { rate = step.rate, mix = step.mix, flags = step.flags }
end

local function do_it(m, step, direction)
	if direction == "down" and step.irreversible then m:fail("irreversible: %s", step.irreversible) end
	if step.kind == "deploy" then
		if direction == "up" then deploy(m, step, step.from, step.to) else deploy(m, step, step.to, step.from) end
	elseif step.kind == "load" then
		if direction == "up" then host_change(m, step) end
	elseif step.kind == "backfill" and direction == "up" then
		backfill.perform(m, step)
	else
		perform_action(m, step, step[direction])
	end
	if step.check and direction == "up" then
		local out = m:internal(string.format("SELECT pg_catalog.count(*) FROM (%s) AS violation", step.check))
		if out.values[1][1] > 0 then m:fail("its check found %d rows", out.values[1][1]) end
	end
end

-- Returns true, or false and why. Errors of the scenario's own Lua code are raised: they are no verdict on the migration.
function perform.step(m, step, direction)
	local host = m.host
	local from = host.now()
	host.status { step = step.name, direction = direction, detail = "", eta_ns = false }
	host.event { type = "step", name = step.name, kind = step.kind, direction = direction, edge = "start" }
	local ok, problem = xpcall(function()
		if step.kind ~= "deploy" and step.kind ~= "load" then m:begin_step(step, direction) end
		do_it(m, step, direction)
	end, function(e)
		return (Session.is_failure(e) or type(e) ~= "string") and e or debug.traceback(e, 2)
	end)
	m:end_step()
	local text = not ok and tostring(problem) or nil
	host.event { type = "step", name = step.name, kind = step.kind, direction = direction, edge = "end", ok = ok,
		duration_ns = host.now() - from, error = text }
	host.status { step = "", detail = "", eta_ns = false }
	if not ok and not Session.is_failure(problem) then error(problem, 0) end
	return ok, text
end

return perform
