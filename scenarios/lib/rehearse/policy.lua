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
