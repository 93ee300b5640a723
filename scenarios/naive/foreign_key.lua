-- A foreign key in one go: it locks both tables against writes, then looks up every row. Behind someone's open transaction on either table
-- it waits, and all writers of both behind it. ../foreign_key.lua promises first and proves later.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A foreign key that is validated at once",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6 },
	actors = { "open_product" },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "refer to products", lock_timeout = "none", long_transactions = "ignore",
			up = "ALTER TABLE page_views ADD CONSTRAINT page_views_product_fkey FOREIGN KEY (product_id) REFERENCES products (id)",
			down = "ALTER TABLE page_views DROP CONSTRAINT page_views_product_fkey", criteria = { "scans = 0" } },
	},

	criteria = { "lock_wait[page_views].max < 200ms", "writes_blocked[products].max < 200ms", "reads_blocked.max < 200ms", "errors.rate < 0.1%", "rollback.clean" },
	expect = { fails = { "step[refer to products].scans", "writes_blocked[products].max", "lock_wait[page_views].max" }, holds = "reads_blocked.max",
		because = "page views cannot be counted and stock not be taken while it waits for both tables and then looks up every row; reading goes on" },
}
