-- What the article says: add the column, UPDATE users SET status = ... to fill it, add the trigger: phase one. What is true: run as the file it is,
-- that is one transaction, which locks users against everybody until every row has been written; and run statement by statement, every row
-- that the UPDATE has come by stays locked until the last (../naive/one_update.lua).
-- What gave it away: how long users could not be read.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "Phase one as printed",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6 },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.25,

	steps = {
		rehearse.sql { name = "phase one",
			up = {
				"ALTER TABLE users ADD COLUMN status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled'))",
				"UPDATE users SET status = CASE WHEN is_active THEN 'active' ELSE 'disabled' END",
			},
			down = "ALTER TABLE users DROP COLUMN status" },
	},

	criteria = { "reads_blocked[users].max < 20ms", "errors.rate < 0.1%" },
	expect = { fails = "reads_blocked[users].max", holds = "errors.rate", because = "ADD COLUMN's lock was kept while the UPDATE wrote every user" },
}
