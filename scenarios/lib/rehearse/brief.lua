-- A scenario made short, for --brief: whether it works can be told, what users feel cannot. Everything is performed; hardly anything waits.
local MS = 1000000
local MOST_RATE, MOST_PODS = 100, 2
local LOCK_TIMEOUT, BACKOFF, RETRIES = 200 * MS, 50 * MS, 30
-- A backfill of many rows has an autovacuum come to its table, which gives way only to somebody who has waited for deadlock_timeout (1 s; seen on 15).
local LARGE_LOCK_TIMEOUT = 1200 * MS

local function at_most(t, field, limit)
	if t[field] and t[field] > limit then t[field] = limit end
end

local function shorten(step, lock_timeout)
	at_most(step, "every", 100 * MS)
	at_most(step, "pause", 0)
	at_most(step, "time", 300 * MS)
	at_most(step, "recheck", 100 * MS)
	at_most(step, "lock_timeout", lock_timeout)
	at_most(step, "backoff", BACKOFF)
	if step.retries and step.retries > 0 then step.retries = math.max(step.retries, RETRIES) end
end

-- Changes the scenario, which has been checked. large: of more data than a sandbox of ours has by default.
return function(scenario, each_step, large)
	local phases, load = scenario.phases, scenario.load
	-- Long enough to see which tables the traffic writes: the server's own counters are up to a second late.
	at_most(phases, "warmup", 500 * MS)
	at_most(phases, "baseline", 1500 * MS)
	at_most(phases, "settle", 200 * MS)
	at_most(scenario, "rollback_after", 300 * MS)
	if type(load.rate) == "number" and not load.closed then at_most(load, "rate", MOST_RATE) end
	at_most(load, "pods", MOST_PODS)
	each_step(scenario.steps, function(step) shorten(step, large and LARGE_LOCK_TIMEOUT or LOCK_TIMEOUT) end)
	scenario.brief = true
end
