-- Breaks in on a step at one of its statements, for drills: host.watch is asked before and after each statement of a migration session.
local Watch = {}
Watch.__index = Watch

local KILL_DELAY_S = 0.15   -- of a statement that is sure to take longer
local GONE_S = 10
local CONNECTED_NS = 1000000000

-- run; act(session, pid): what to do. at: the statement's SQL, or its number. inside: while it runs, not right after it.
function Watch.new(run, what, act, at, inside)
	return setmetatable({ run = run, what = what, act = act, at = at, inside = inside, seen = 0, pid = nil }, Watch)
end

local function is_it(self, sql)
	if type(self.at) == "string" then return sql == self.at end
	return self.seen == self.at
end

function Watch:before(session, sql)
	self.seen = self.seen + 1
	if self.fired or not self.inside or not is_it(self, sql) then return end
	if self.hold and sql:upper():find("CONCURRENTLY", 1, true) then self.hold() end
	self.fired, self.pid = self.what, session.raw:pid()
	self.run.host.spawn(function()
		if sql:upper():find("CONCURRENTLY", 1, true) then self.run.host.sleep(KILL_DELAY_S) end
		self.act(session, self.pid)
	end)
end

function Watch:after(session, sql)
	if self.fired or self.inside or not is_it(self, sql) then return end
	self.fired, self.pid = self.what, session.raw:pid()
	self.act(session, self.pid)
	-- Until we have noticed it ourselves.
	local limit = self.run.host.now() + GONE_S * 1000000000
	while session.raw:connected() and self.run.host.now() < limit do self.run.host.sleep(0.005) end
end

-- Waits until the server has no such session any more; ends it when it does not end by itself. True: it had to.
function Watch:await_end()
	local host, forced = self.run.host, false
	local limit = host.now() + GONE_S * 1000000000
	while self.pid do
		local out = self.run.inspector:query("SELECT 1 FROM pg_catalog.pg_stat_activity WHERE pid = " .. self.pid)
		if not out.ok or #out.values == 0 then return forced end
		if host.now() > limit and not forced then
			self.run.inspector:query("SELECT pg_catalog.pg_terminate_backend(" .. self.pid .. ")")
			forced, limit = true, host.now() + GONE_S * 1000000000
		elseif host.now() > limit then
			return forced
		end
		host.sleep(0.02)
	end
end

-- The sessions of the program that a step runs, and whether one of them has written something.
local PROGRAMS = [[SELECT pg_catalog.string_agg(a.pid::text, ','), COALESCE(pg_catalog.bool_or(a.backend_xid IS NOT NULL), false) FROM pg_catalog.pg_stat_activity a
	WHERE a.application_name LIKE 'exec by pgrehearse%' AND a.datname = pg_catalog.current_database()]]

-- Breaks in on a program instead, as soon as it has written something, or has been connected for a second: act(pids). It is to be
-- host.watch meanwhile; call stop when the step is over.
function Watch.program(run, what, act)
	local self, host = setmetatable({ run = run, what = what, seen = 0 }, Watch), run.host
	host.spawn(function()
		local session, since = host.session("pgrehearse inspector"), nil
		while not self.over and session:connected() do
			local out = session:query(PROGRAMS)
			local pids, wrote = table.unpack(out.ok and out.values[1] or {}, 1, 2)
			since = pids and (since or host.now()) or nil
			if pids and (wrote or host.now() - since > CONNECTED_NS) and not self.over then
				self.fired, self.acting = what, true
				act(pids)
				self.acting = false
				break
			end
			host.sleep(0.01)
		end
		session:close()
	end)
	return self
end

function Watch:stop()
	self.over = true
	while self.acting do self.run.host.sleep(0.01) end
end

-- Where to break in on a step: a statement, and whether it has to be while it runs. n: for the how-manieth time.
function Watch.place(step, n)
	local action = step.up
	if step.kind ~= "sql" or type(action) ~= "table" then return step.kind == "backfill" and 2 or n, false end
	if step.transaction ~= false then return n == 1 and action[(#action + 1) // 2] or action[#action], false end
	for _, sql in ipairs(action) do
		if sql:upper():find("CONCURRENTLY", 1, true) then return sql, true end
	end
	return action[(#action + 1) // 2], #action == 1
end

return Watch
