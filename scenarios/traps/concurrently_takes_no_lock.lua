-- What the article says: CREATE INDEX CONCURRENTLY takes no lock. What is true: it holds SHARE UPDATE EXCLUSIVE, which keeps out vacuum, other
-- DDL and a second build, and it waits for every transaction that is older than itself, on whatever table, however long that takes.
-- What gave it away: pg_locks, asked by another session meanwhile; and a duration that is the open transaction's, not the build's.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "CONCURRENTLY said to take no lock",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6 },
	actors = { "open_order" },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.02,

	steps = {
		rehearse.parallel { name = "build and look", steps = {
			rehearse.sql { name = "build", transaction = false, lock_timeout = "none", long_transactions = "ignore",
				up = "CREATE INDEX CONCURRENTLY orders_total_idx ON orders (total_cents)", down = "DROP INDEX CONCURRENTLY IF EXISTS orders_total_idx" },
			rehearse.step { name = "look", down = false, up = function(m)
				m:sleep("800ms")
				local mode = m:row([[SELECT string_agg(DISTINCT mode, ', ') FROM pg_locks
					WHERE relation = 'orders'::regclass AND granted AND mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')]])
				if mode then m:fail("it is said to take no lock, and holds %s on orders", mode) end
			end },
		} },
	},

	criteria = { "step[build].duration < 1s", "lock_wait.max < 1s", "errors.rate < 0.1%" },
	expect = { fails = { "migration.completed", "step[build].duration" }, holds = { "lock_wait.max", "errors.rate" },
		because = "it held ShareUpdateExclusiveLock on orders, and waited for a transaction that had nothing to do with it" },
}
