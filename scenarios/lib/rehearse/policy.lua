-- The lock policy: what a step does before it asks for a lock, and between two tries.
local POLL_S = 0.1

local policy = {}

-- Transactions that have been open for longer than $1 ms: whoever holds an old snapshot or an old lock. Ours that only watch are
-- left out; a prepared transaction has no session, and an autovacuum that guards against wraparound does not give way.
local LONG = [[
SELECT pid, name, state, age_ms, sql FROM (
	SELECT a.pid, CASE WHEN a.backend_type = 'client backend' THEN a.application_name ELSE a.backend_type END AS name, a.state,
		(1000 * EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start))::int8 AS age_ms, pg_catalog.left(a.query, 200) AS sql
	FROM pg_catalog.pg_stat_activity a
	WHERE a.datname = pg_catalog.current_database() AND a.xact_start IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
	AND (a.backend_type = 'client backend' OR a.query LIKE 'autovacuum:%(to prevent wraparound)')
	AND a.application_name NOT LIKE 'pgrehearse observer%' AND a.application_name NOT LIKE 'pgrehearse inspector%'
	AND a.application_name NOT LIKE 'pgrehearse migration%' AND a.application_name NOT LIKE 'exec by pgrehearse%'
	UNION ALL
	SELECT 0, 'prepared transaction ' || p.gid, 'prepared', (1000 * EXTRACT(epoch FROM pg_catalog.clock_timestamp() - p.prepared))::int8, ''
	FROM pg_catalog.pg_prepared_xacts p WHERE p.database = pg_catalog.current_database()
) AS open WHERE age_ms > $1::int8 ORDER BY age_ms DESC LIMIT 10]]

-- Sessions that stand in the queue for a table's lock.
local QUEUE = "SELECT pg_catalog.count(*)::int8 FROM pg_catalog.pg_locks WHERE NOT granted AND locktype = 'relation'"

local function found(m, older_than)
	local out = m:internal(LONG, older_than // 1000000)
	local list = m.host.array {}
	for i, row in ipairs(out.values) do
		list[i] = { pid = row[1], application_name = row[2], state = row[3], age_ns = row[4] * 1000000, sql = row[5] }
	end
	return list
end

local function describe(t)
	return string.format("%s (%s, %s, open for %.1f s%s)", t.pid == 0 and t.application_name or "pid " .. t.pid, t.application_name,
		t.state or "?", t.age_ns / 1e9, t.sql ~= "" and ": " .. t.sql:gsub("%s+", " ") or "")
end

-- Before a try: waits while transactions are open that are older than the policy has it. What was found is an event; when they do
-- not end, the step fails with them or goes on, as the policy says.
function policy.await_long_transactions(m)
	local long = m.step.long_transactions
	if not long or long.action == "ignore" then return end
	local host = m.host
	local from, seen = host.now(), nil
	while true do
		local now = found(m, long.older_than)
		seen = seen or #now > 0 and now or nil
		local waited = host.now() - from
		if #now == 0 or waited >= long.longest then
			if seen then
				host.event { type = "precheck", step = m.step.name, direction = m.direction, attempt = m.attempt, action = long.action, waited_ns = waited,
					gone = #now == 0, transactions = #now > 0 and now or seen }
			end
			if #now > 0 and long.action == "fail" then
				m:fail("%d transaction%s open for longer than %.1f s: %s", #now, #now == 1 and " has been" or "s have been", long.older_than / 1e9, describe(now[1]))
			end
			return
		end
		host.status { detail = "waiting for " .. describe(now[1]) }
		m:pause(math.min(POLL_S * 1e9, long.longest - waited))
	end
end

-- Tables that an autovacuum works on and that we may lock (which nobody may do with a materialized view), under their own name and those of the
-- tables that they are partitions of.
local VACUUMED = [[
WITH RECURSIVE vacuumed AS (
	SELECT l.relation, l.relation AS known_as, a.pid, (1000 * EXTRACT(epoch FROM pg_catalog.clock_timestamp() - a.xact_start))::int8 AS age_ms, pg_catalog.left(a.query, 200) AS sql
	FROM pg_catalog.pg_locks l JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
	WHERE l.locktype = 'relation' AND l.granted AND l.mode = 'ShareUpdateExclusiveLock' AND a.backend_type = 'autovacuum worker'
	AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
	UNION ALL SELECT v.relation, i.inhparent, v.pid, v.age_ms, v.sql FROM vacuumed v JOIN pg_catalog.pg_inherits i ON i.inhrelid = v.known_as
)
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), known.relname, v.pid, v.age_ms, v.sql
FROM vacuumed v JOIN pg_catalog.pg_class c ON c.oid = v.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_class known ON known.oid = v.known_as
WHERE c.relkind = 'r' AND n.nspname <> 'pg_catalog' AND pg_catalog.has_table_privilege(c.oid, 'UPDATE, DELETE, TRUNCATE')]]

local WORDS = { "ALTER", "CREATE", "DROP", "TRUNCATE", "LOCK", "REINDEX", "CLUSTER", "REFRESH" }

-- Does one of these change a table's definition, by more than a lock that is harmless itself? An autovacuum stands in the way of nothing else.
local function define(texts)
	for _, sql in ipairs(texts) do
		local words = sql:upper()
		local harmless = words:find("%f[%a]CONCURRENTLY%f[%A]") or words:find("%f[%a]VALIDATE%s+CONSTRAINT%f[%A]")
		for _, word in ipairs(WORDS) do
			if not harmless and words:find("%f[%a]" .. word .. "%f[%A]") then return true end
		end
	end
	return false
end

local function mention(texts, name)
	for _, sql in ipairs(texts) do
		if sql:lower():find(name:lower(), 1, true) then return true end
	end
	return false
end

local ROUNDS = 3 -- outside of a transaction the next autovacuum may be there before we are

local function interrupt(m, texts)
	local host, asked = m.host, {}
	for _, row in ipairs(m:internal(VACUUMED).values) do
		local full_name, known_as = row[1], row[2]
		if not asked[full_name] and mention(texts, known_as) then
			asked[full_name] = true
			local sql = "LOCK TABLE ONLY " .. full_name .. " IN SHARE UPDATE EXCLUSIVE MODE"
			if not m.in_transaction then sql = "DO $lock$BEGIN " .. sql .. "; END$lock$" end
			local out = m:attempt_statement(sql)
			host.event { type = "precheck", step = m.step.name, direction = m.direction, attempt = m.attempt, action = "interrupt", waited_ns = out.end_ns - out.start_ns,
				gone = out.ok, transactions = host.array { { pid = row[3], application_name = "autovacuum worker", state = "active", age_ns = row[4] * 1000000, sql = row[5] } } }
			m:accept(out, sql)
		end
	end
	return next(asked) ~= nil
end

-- Before a lock that others wait for is asked for. An autovacuum gives way only to somebody who has waited for deadlock_timeout, 1 s, and
-- whoever asks for a strong lock has the whole application behind it meanwhile. A lock that collides with the autovacuum and not with reads
-- or writes is asked for first: the same wait, and nobody behind it; no autovacuum begins before the transaction ends, nor, outside of one,
-- within the moment that it takes to go on. (15.18: ALTER TABLE after a backfill waited for 1.00 s behind a VACUUM ANALYZE, and 24
-- transactions behind it.)
function policy.interrupt_autovacuum(m, texts)
	if not m.step or m.step.autovacuum ~= "interrupt" or not define(texts) then return end
	for _ = 1, m.in_transaction and 1 or ROUNDS do
		if not interrupt(m, texts) then return end
	end
end

-- After a try that did not get its lock: until nobody waits for a table any more, so that those who stood behind us have had
-- their turn before we ask again. Returns how long it took.
function policy.drain(m)
	local host, longest = m.host, m.step.drain or 0
	local from = host.now()
	while host.now() - from < longest do
		if m:internal(QUEUE).values[1][1] == 0 then break end
		m:pause(POLL_S * 1e9)
	end
	return host.now() - from
end

return policy
