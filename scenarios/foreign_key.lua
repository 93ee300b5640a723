-- page_views.product_id must name a product that there is. The promise first, for rows to come: a moment's lock on both tables. The proof
-- for rows that there are second, alone in its transaction, while both tables are read and written.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "Page views refer to products by a foreign key",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	steps = {
		-- What cannot be proven is better known before the promise: it binds every row that is updated, too.
		rehearse.step { name = "look for orphans", down = false, up = function(m)
			local orphans = m:row("SELECT count(*) FROM page_views AS v WHERE NOT EXISTS (SELECT FROM products AS p WHERE p.id = v.product_id)")
			if orphans > 0 then m:fail("%d page views name a product that there is not; remove or repair them first", orphans) end
		end },

		rehearse.sql { name = "promise it",
			up = "ALTER TABLE page_views ADD CONSTRAINT page_views_product_fkey FOREIGN KEY (product_id) REFERENCES products (id) NOT VALID",
			down = "ALTER TABLE page_views DROP CONSTRAINT page_views_product_fkey" },

		rehearse.sql { name = "prove it", transaction = false,
			up = "ALTER TABLE page_views VALIDATE CONSTRAINT page_views_product_fkey", down = false },
	},

	checks = {
		no_orphans = "SELECT v.id, v.product_id FROM page_views AS v LEFT JOIN products AS p ON p.id = v.product_id WHERE p.id IS NULL",
		proven = "SELECT conname FROM pg_constraint WHERE conname = 'page_views_product_fkey' AND NOT convalidated",
	},

	criteria = {
		"migration.statement.max < 10s",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 10s",
		"checks.clean",
		"rollback.clean",
	},
}
