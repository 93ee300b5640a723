-- When a backfill has to wait: limits with names. Each pause is an event with the name of what caused it.
local POLL_NS = 100000000
local LOOK_NS = 500000000 -- how often the server is asked
local UNKNOWN_NS = 5000000000

local Throttle = {}
Throttle.__index = Throttle

-- Once a drill; not when that has taken the standby away, or goes without for the sake of brevity.
function Throttle.tell_no_standby(host, step, what)
	if not host.goes_without_standby then host.warning(string.format("step %q: there is no standby, so %s", step.name, what)) end
	host.goes_without_standby = true
end

-- Each looks once and returns what is over the limit, as text, or nil.
local LOOKS = {}

-- A standby that cannot be asked for a moment is none that lags; one that has not told anything for long may be. Without any there is nothing to wait for.
function LOOKS.replay_lag(self, limit)
	local host, lag = self.host, self.host.replay_lag()
	if lag then
		self.unknown_since = nil
		if lag > limit then return string.format("replay lag %.1f s", lag / 1e9) end
	elseif host.standbys() == 0 then
		Throttle.tell_no_standby(host, self.step, "its throttle replay_lag limits nothing")
	else
		self.unknown_since = self.unknown_since or host.now()
		if host.now() - self.unknown_since > UNKNOWN_NS then return string.format("replay lag not known for %.1f s", (host.now() - self.unknown_since) / 1e9) end
	end
end

function LOOKS.p99(self, limit)
	local p99 = self.host.p99()
	if p99 and p99 > limit then return string.format("p99 %.0f ms", p99 / 1e6) end
end

function LOOKS.wal_rate(self, limit, m)
	local now, position, last = self.host.now(), m:position(), self.wal
	if last and now - last.now < LOOK_NS then return last.over end
	self.wal = { now = now, position = position }
	local rate = last and (position - last.position) / ((now - last.now) / 1e9) or 0
	self.wal.over = rate > limit and string.format("WAL %.1f MB/s", rate / 2 ^ 20) or nil
	return self.wal.over
end

function LOOKS.dead_tuples(self, limit, m)
	local out = m:internal([[
SELECT COALESCE(pg_catalog.sum(pg_catalog.pg_stat_get_dead_tuples(o.oid)), 0)::int8 FROM
	(SELECT $1::oid AS oid UNION SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid) AS t) AS o]], self.oid)
	local dead = out.values[1][1]
	if dead > limit then return string.format("%d dead rows", dead) end
end

function LOOKS.autovacuum(self, _, m)
	local out = m:internal("SELECT p.phase FROM pg_catalog.pg_stat_progress_vacuum p WHERE p.relid = $1::oid OR p.relid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree($1::oid) AS t) LIMIT 1", self.oid)
	if out.values[1] then return "vacuum on the table, " .. out.values[1][1] end
end

function LOOKS.query(_, sql, m)
	local row = m:internal(sql).values[1]
	local value = row and row[1]
	if value == true then return "its query says true" end
	if type(value) == "string" and value ~= "" then return value end
end

local ASKS_SERVER = { dead_tuples = true, autovacuum = true, query = true }
local ORDER = { "replay_lag", "p99", "wal_rate", "dead_tuples", "autovacuum", "query" }

-- One for all workers of a step.
function Throttle.new(host, step, oid)
	return setmetatable({ host = host, step = step, limits = step.throttle, oid = oid, kept = {}, paused = {}, paused_ns = 0 }, Throttle)
end

-- What is over its limit now: name and text, or nil.
function Throttle:look(m)
	for _, name in ipairs(ORDER) do
		local limit = self.limits[name]
		if limit then
			local kept = ASKS_SERVER[name] and self.kept[name]
			if not kept or self.host.now() - kept.at >= LOOK_NS then
				kept = { at = self.host.now(), over = LOOKS[name](self, limit, m) }
				self.kept[name] = kept
			end
			if kept.over then return name, kept.over end
		end
	end
end

-- Waits while a limit is exceeded; the step fails when that takes too long.
function Throttle:wait(m, worker)
	local host, pause = self.host, nil
	local function ended()
		if not pause then return end
		local length = host.now() - pause.from_ns
		self.paused[pause.reason] = (self.paused[pause.reason] or 0) + length
		self.paused_ns = self.paused_ns + length
		host.event { type = "pause", step = self.step.name, worker = worker, reason = pause.reason, detail = pause.detail, from_ns = pause.from_ns, length_ns = length }
		pause = nil
	end
	local from = host.now()
	while true do
		local name, detail = self:look(m)
		if pause and pause.reason ~= name then ended() end
		if not name then return end
		pause = pause or { reason = name, detail = detail, from_ns = host.now() }
		self.reason = detail
		host.status { detail = "paused: " .. detail }
		if host.now() - from > self.limits.longest then
			ended()
			m:fail("throttled for longer than %.0f s: %s", self.limits.longest / 1e9, detail)
		end
		m:pause(POLL_NS)
	end
end

return Throttle
