-- What the article says: CREATE INDEX CONCURRENTLY can fail silently. What is true: it fails with an error, and leaves an index that is not valid. Silent
-- is IF NOT EXISTS, the next time: it finds an index of that name and is content.
-- What gave it away: the first try reports 55P03, the second success; and the index is not valid.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "IF NOT EXISTS content with an invalid index",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6 },
	actors = { "open_order" },
	phases = { warmup = "0", baseline = "2s", settle = "500ms" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "build", transaction = false, lock_timeout = "500ms", backoff = "100ms", long_transactions = "ignore",
			up = "CREATE INDEX CONCURRENTLY IF NOT EXISTS orders_total_idx ON orders (total_cents)",
			down = "DROP INDEX CONCURRENTLY IF EXISTS orders_total_idx", criteria = { "attempts <= 1" } },
	},

	checks = { index_is_valid = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid" },
	criteria = { "check[index_is_valid].rows = 0", "errors.rate < 0.1%" },
	expect = { fails = { "check[index_is_valid].rows", "step[build].attempts" }, holds = { "migration.completed", "errors.rate" },
		because = "the second attempt took what the first had left for the index" },
}
