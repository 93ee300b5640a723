-- What the article says: VALIDATE CONSTRAINT of a foreign key locks the table that has it, lightly. What is true: it also takes ROW SHARE on
-- the table that is referred to, and keeps it for as long as it reads; an ALTER or TRUNCATE of that one waits for it, and everybody behind that.
-- What gave it away: the locks that its own session holds when it is done.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "VALIDATE said to lock one table",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6 },
	phases = { warmup = "0", baseline = "2s", settle = "500ms" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "promise it",
			up = "ALTER TABLE page_views ADD CONSTRAINT page_views_product_fkey FOREIGN KEY (product_id) REFERENCES products (id) NOT VALID",
			down = "ALTER TABLE page_views DROP CONSTRAINT page_views_product_fkey" },
		rehearse.step { name = "prove it", down = false, up = function(m)
			m:exec("ALTER TABLE page_views VALIDATE CONSTRAINT page_views_product_fkey")
			local mode = m:row("SELECT string_agg(mode, ', ') FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'products'::regclass")
			if mode then m:fail("it is said to lock page_views alone, and holds %s on products", mode) end
		end },
	},

	criteria = { "lock_wait.max < 1s", "errors.rate < 0.1%" },
	expect = { fails = "migration.completed", holds = { "lock_wait.max", "errors.rate" }, because = "it held RowShareLock on products" },
}
