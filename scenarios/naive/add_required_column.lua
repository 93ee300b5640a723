-- A required column in one transaction: add it, fill every row, forbid NULL. ADD COLUMN takes a lock that nobody passes, and keeps it until
-- all rows are written. ../add_required_column.lua takes the same way in steps.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A required column, added and filled in one transaction",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6 },
	phases = { warmup = "1s", baseline = "3s", settle = "1s" },
	scale = 0.15,

	steps = {
		rehearse.sql { name = "delivery class", lock_timeout = "none", long_transactions = "ignore",
			up = {
				"ALTER TABLE orders ADD COLUMN delivery_class text",
				"UPDATE orders SET delivery_class = CASE WHEN gift THEN 'gift' WHEN item_count > 4 THEN 'bulky' ELSE 'standard' END",
				"ALTER TABLE orders ALTER COLUMN delivery_class SET NOT NULL, ALTER COLUMN delivery_class SET DEFAULT 'standard'",
			},
			down = "ALTER TABLE orders DROP COLUMN delivery_class", criteria = { "scans = 0" } },
	},

	criteria = { "reads_blocked[orders].max < 50ms", "errors.rate < 0.1%", "rollback.clean" },
	expect = { fails = { "reads_blocked[orders].max", "step[delivery class].scans" }, holds = "errors.rate",
		because = "the table cannot even be read while every row of it is written, and then read once more for SET NOT NULL" },
}
