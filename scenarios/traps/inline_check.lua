-- What the article says: a column with a constant default is added in an instant, since PostgreSQL 11. What is true: with a CHECK in the same
-- breath the whole table is read, to see that the default obeys it in every row, under the lock that nobody passes.
-- What gave it away: the server's own word that it read the table, which it says of a small one, too.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A column with a default and a CHECK said to be free",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6 },
	phases = { warmup = "0", baseline = "2s", settle = "500ms" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "add status",
			up = "ALTER TABLE users ADD COLUMN status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'paused', 'disabled'))",
			down = "ALTER TABLE users DROP COLUMN status", criteria = { "scans = 0", "rewrites = 0" } },
	},

	criteria = { "errors.rate < 0.1%" },
	expect = { fails = "step[add status].scans", holds = { "step[add status].rewrites", "errors.rate" },
		because = "the table is not written anew, as the article says, but read whole under ACCESS EXCLUSIVE" },
}
