-- SET NOT NULL on a column that nothing proves to be filled: the whole table is read under a lock that nobody passes. And the lock has to be
-- had first: behind someone's open transaction the statement waits, and everybody behind it. ../not_null.lua proves it beforehand.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "SET NOT NULL that reads the table under an exclusive lock",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6 },
	actors = { "open_order" },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "require a payment method", lock_timeout = "none", long_transactions = "ignore",
			up = "ALTER TABLE orders ALTER COLUMN payment_method SET NOT NULL",
			down = "ALTER TABLE orders ALTER COLUMN payment_method DROP NOT NULL", criteria = { "scans = 0" } },
	},

	criteria = { "lock_wait[orders].max < 200ms", "reads_blocked[orders].max < 200ms", "errors.rate < 0.1%", "rollback.clean" },
	expect = { fails = { "step[require a payment method].scans", "lock_wait[orders].max", "reads_blocked[orders].max" },
		because = "it read all of orders while it held ACCESS EXCLUSIVE, for which it had queued behind an open transaction, with everybody behind it" },
}
