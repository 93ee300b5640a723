-- An index as one adds it on a laptop: CREATE INDEX on the busiest big table. It reads the whole table under a lock that every write
-- has to wait for. This scenario is meant to FAIL; scenarios/README.md shows the same with CONCURRENTLY.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A plain CREATE INDEX on a busy table",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6 },
	phases = { baseline = "8s", settle = "3s" },

	steps = {
		-- "none": it waits for its lock however long that takes, as a migration tool without settings would.
		rehearse.sql { name = "search orders by item", lock_timeout = "none",
			up = "CREATE INDEX orders_items_idx ON orders USING gin (items)",
			down = "DROP INDEX orders_items_idx" },
	},

	criteria = {
		"migration.statement.max < 60s",
		"lock_wait[orders].max < 200ms",
		"latency[checkout].max during migration < 300ms",
		"errors.rate < 0.1%",
		"rollback.clean",
	},
	expect = { fails = "lock_wait[orders].max", holds = "errors.rate",
		because = "whoever places or pays an order waits until the index is built" },
}
