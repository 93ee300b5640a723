-- ALTER COLUMN TYPE from int4 to int8: the table and all its indexes are written anew while nobody can read or write it. And sessions that have
-- prepared their statements meet a type that they did not prepare for.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A wider type by rewriting the table",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6 },
	phases = { warmup = "1s", baseline = "3s", settle = "1s" },
	scale = 0.15,

	steps = {
		rehearse.sql { name = "wider totals", lock_timeout = "none", long_transactions = "ignore",
			up = "ALTER TABLE orders ALTER COLUMN total_cents TYPE bigint",
			down = "ALTER TABLE orders ALTER COLUMN total_cents TYPE integer", criteria = { "rewrites = 0" } },
	},

	criteria = { "reads_blocked[orders].max < 30ms", "errors.rate < 0.1%", "rollback.clean" },
	expect = { fails = { "step[wider totals].rewrites", "reads_blocked[orders].max", "errors.rate" },
		because = "the table was written anew, with its indexes, under ACCESS EXCLUSIVE; then prepared statements were refused (0A000, 42P08)" },
}
