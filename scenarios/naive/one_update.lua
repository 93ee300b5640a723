-- One UPDATE for the whole table: each row it has come by stays locked until the last one is written, the table doubles in size, and the
-- standby gets it all at once. rehearse.backfill takes the same way in batches.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "Every row in one UPDATE",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6, mix = { pay_order = 60 } },
	phases = { warmup = "1s", baseline = "3s", settle = "1s" },
	scale = 0.15,

	steps = {
		rehearse.sql { name = "add a column", up = "ALTER TABLE orders ADD COLUMN shipped boolean", down = "ALTER TABLE orders DROP COLUMN shipped" },
		rehearse.sql { name = "fill it", up = "UPDATE orders SET shipped = status IN ('shipped', 'delivered')", down = false },
	},

	criteria = { "step[fill it].longest_wait < 30ms", "reads_blocked.max < 200ms", "errors.rate < 0.1%", "rollback.clean" },
	expect = { fails = "step[fill it].longest_wait", holds = { "reads_blocked.max", "errors.rate" },
		because = "whoever pays an order that the UPDATE has come by waits until all of them are written" },
}
