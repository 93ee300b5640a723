-- Locks held by the migration: for each statement, relation and mode how often, how long waited for, how long held.
local blame = require "lib.blame"

local held = {}

-- The migration's own waits by session, relation and mode.
local function index_waits(waits)
	local by = {}
	for _, w in ipairs(waits or {}) do
		local lock = w.lock or {}
		local key = table.concat({ w.waiter.pid or "", lock.relation or "", lock.mode or "" }, "\0")
		by[key] = by[key] or {}
		table.insert(by[key], w)
	end
	return by
end

-- The wait for a lock that a statement took between from_ns and from_last_ns; nil when it had it at once.
local function wait_for(by, pid, lock)
	local key = table.concat({ pid or "", lock.relation or "", lock.mode or "" }, "\0")
	for _, w in ipairs(by[key] or {}) do
		if w.start_ns >= lock.from_ns - 1000000 and w.start_ns <= (lock.from_last_ns or lock.from_ns) then return w end
	end
end

local function add(sums, f, entry)
	local s = f.statements[entry.statement]
	local key = table.concat({ s and blame.key_of(s) or "#" .. tostring(entry.statement), entry.relation or "", entry.mode or "" }, "\0")
	local sum = sums[key]
	if not sum then
		sum = { sql = s and s.sql, step = s and s.step, direction = s and s.direction, external = s and s.external and s.application_name, statement = entry.statement,
			relation = entry.relation, mode = entry.mode, n = 0, refused = 0, wait_max_ns = 0, hold_max_ns = 0, hold_total_ns = 0, bound_ns = 0 }
		sums[key] = sum
		sums[#sums + 1] = sum
	end
	sum.n = sum.n + 1
	if entry.granted == false then sum.refused = sum.refused + 1 end
	sum.wait_max_ns = math.max(sum.wait_max_ns, entry.wait_ns)
	sum.hold_max_ns = math.max(sum.hold_max_ns, entry.hold_ns)
	sum.hold_total_ns = sum.hold_total_ns + entry.hold_ns
	sum.bound_ns = math.max(sum.bound_ns, entry.bound_ns or 0)
end

-- transactions, locks: events of these types; waits: those of the migration's sessions. The longest held first.
function held.gather(f, transactions, locks, waits)
	local sums, by = {}, index_waits(waits)
	for _, tx in ipairs(transactions) do
		for _, lock in ipairs(tx.locks or {}) do
			local wait = wait_for(by, tx.pid, lock)
			local from = wait and wait.start_ns + wait.length_ns or lock.from_ns
			add(sums, f, { statement = lock.statement, relation = lock.relation, mode = lock.mode, wait_ns = wait and wait.length_ns or 0, hold_ns = math.max(0, lock.to_ns - from) })
		end
	end
	for _, lock in ipairs(locks) do
		local granted = lock.granted ~= false
		add(sums, f, { statement = lock.statement, relation = lock.relation, mode = lock.mode, granted = granted, bound_ns = lock.bound_ns,
			wait_ns = lock.asked_ns and math.max(0, (granted and lock.from_ns or lock.to_ns) - lock.asked_ns) or 0, hold_ns = granted and lock.to_ns - lock.from_ns or 0 })
	end
	table.sort(sums, function(a, b)
		if a.hold_max_ns ~= b.hold_max_ns then return a.hold_max_ns > b.hold_max_ns end
		if a.wait_max_ns ~= b.wait_max_ns then return a.wait_max_ns > b.wait_max_ns end
		if a.relation ~= b.relation then return (a.relation or "") < (b.relation or "") end
		return (a.mode or "") < (b.mode or "")
	end)
	return sums
end

return held
