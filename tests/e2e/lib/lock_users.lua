-- A migration that holds the strongest lock on users for a known time, with the traffic of the shop behind it.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A lock held for one second",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 4 },
	phases = { warmup = "1s", baseline = "2s", settle = "1s" },
	steps = {
		rehearse.sql { name = "hold",
			up = { "LOCK TABLE users IN ACCESS EXCLUSIVE MODE", "SELECT pg_sleep(1)" },
			irreversible = "it changes nothing" },
	},
	criteria = { "lock_wait[users].max < 100ms", "errors.rate < 1%" },
}
