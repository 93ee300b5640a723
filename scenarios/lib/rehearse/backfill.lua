-- The backfill step: batches in the key's order, a commit each, with pauses and throttles; then whatever still matches.
local POLL_S = 0.1
local EVENT_EVERY_NS = 500000000
local LAST_PASSES = 50

local backfill = {}

-- The statements of a backfill. `set` and `where` are the scenario's own SQL and stand as they are.
function backfill.statements(table_name, key, key_type, set, where, batch)
	local function walk(from)
		return string.format([[
WITH batch AS MATERIALIZED (SELECT %s AS k FROM %s WHERE %s ORDER BY %s LIMIT %d),
last AS MATERIALIZED (SELECT k FROM batch ORDER BY k DESC LIMIT 1),
done AS (UPDATE %s SET %s WHERE %s AND %s <= (SELECT k FROM last) AND (%s) RETURNING 1)
SELECT (SELECT k FROM last)::text, (SELECT pg_catalog.count(*) FROM batch), (SELECT pg_catalog.count(*) FROM done)]],
			key, table_name, from, key, batch, table_name, set, from, key, where)
	end
	return {
		first = walk("true"),
		next = walk(string.format("%s > $1::%s", key, key_type)),
		rest = string.format("UPDATE %s SET %s WHERE %s IN (SELECT %s FROM %s WHERE (%s) ORDER BY %s LIMIT %d) AND (%s)",
			table_name, set, key, key, table_name, where, key, batch, where),
		past = string.format("SELECT $1::%s >= $2::%s", key_type, key_type),
		bounds = string.format("SELECT %s::text FROM %s ORDER BY %s DESC LIMIT 1", key, table_name, key),
	}
end

-- Waits while a throttle's limit is exceeded; returns how long, and why.
local function wait_for_throttle(m, step)
	local host, throttle = m.host, step.throttle
	local from, reason = host.now(), nil
	while true do
		local lag, p99, now_reason = throttle.replay_lag and host.replay_lag(), throttle.p99 and host.p99(), nil
		if lag and lag > throttle.replay_lag then
			now_reason = string.format("replay lag %.1f s", lag / 1e9)
		elseif p99 and p99 > throttle.p99 then
			now_reason = string.format("p99 %.0f ms", p99 / 1e6)
		end
		if not now_reason then return host.now() - from, reason end
		reason = now_reason
		host.status { detail = "paused: " .. reason }
		if host.now() - from > throttle.longest then
			m:fail("throttled for longer than %.0f s: %s", throttle.longest / 1e9, reason)
		end
		host.sleep(POLL_S)
	end
end

-- One batch in a transaction of its own, tried again when it had to wait too long for a row. Returns the statement's outcome.
local function perform_batch(m, sql, ...)
	local args, out = table.pack(...), nil
	m:transaction(function()
		out = m:outcome(sql, table.unpack(args, 1, args.n))
		if out.values[1] then m:correct_rows(out.values[1][3]) end
	end)
	return out
end

-- What the step knows of its progress; one event at most every half second, and one when it is done.
local Progress = {}
Progress.__index = Progress

function Progress:report(seen, filled, paused_ns, reason, done)
	local host, now = self.host, self.host.now()
	self.batches, self.seen, self.filled = self.batches + 1, self.seen + seen, self.filled + filled
	self.paused_ns, self.reason = self.paused_ns + paused_ns, reason or self.reason
	local eta_ns
	if done then
		eta_ns = 0
	elseif self.total and self.seen > 0 then
		eta_ns = math.max(0, math.floor((now - self.from) / self.seen * (self.total - self.seen)))
	end
	host.status { detail = string.format("%d of about %s rows, %d batches", self.seen, self.total or "?", self.batches), eta_ns = eta_ns }
	if not done and now - self.said < EVENT_EVERY_NS then return end
	self.said = now
	host.event { type = "backfill", step = self.step, batches = self.batches, rows = self.filled, total = self.total, eta_ns = eta_ns,
		paused_ns = self.paused_ns, reason = self.reason, done = done }
	self.reason = nil
end

-- Walks the keys that exist now; rows that come later are the business of defaults and triggers, and of the last pass.
local function walk(m, step, sql, progress)
	local newest = m:internal(sql.bounds).values[1]
	if not newest then return end
	local at
	repeat
		local paused_ns, reason = wait_for_throttle(m, step)
		local out = at and perform_batch(m, sql.next, at) or perform_batch(m, sql.first)
		local last, seen, filled = out.values[1][1], out.values[1][2], out.values[1][3]
		progress:report(seen, filled, paused_ns, reason, false)
		local past = last == nil or m:internal(sql.past, last, newest[1]).values[1][1]
		at = last
		if not past and step.pause > 0 then m.host.sleep(step.pause / 1e9) end
	until past
end

-- Rows that still match: written while we walked, by something that does not know of the new column.
local function finish(m, step, sql, progress)
	for round = 1, LAST_PASSES do
		local out = perform_batch(m, sql.rest)
		if out.rows == 0 then return end
		progress:report(0, out.rows, 0, nil, false)
		if round == LAST_PASSES then
			m:fail("rows still match %q after %d further batches: either set does not make it false, or new rows keep coming that nothing fills", step.where, round)
		end
		if step.pause > 0 then m.host.sleep(step.pause / 1e9) end
	end
end

function backfill.perform(m, step)
	local host = m.host
	local found = m:internal([[
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod), pg_catalog.quote_ident(a.attname), c.reltuples::int8
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE c.oid = pg_catalog.to_regclass($1) AND a.attname = $2 AND NOT a.attisdropped]], step.table, step.key).values[1]
	if not found then m:fail("there is no table %s with a column %s", step.table, step.key) end
	local key_type, key, total = found[1], found[2], found[3]
	local sql = backfill.statements(step.table, key, key_type, step.set, step.where, step.batch)
	local progress = setmetatable({ host = host, step = step.name, batches = 0, seen = 0, filled = 0, paused_ns = 0,
		total = total >= 0 and total or nil, from = host.now(), said = 0 }, Progress)
	walk(m, step, sql, progress)
	finish(m, step, sql, progress)
	progress.batches = progress.batches - 1
	progress:report(0, 0, 0, nil, true)
end

return backfill
