-- What the article says: before the migration, end the sessions whose query mentions the table and has run for long. What is true: pg_stat_activity
-- has a session's last query, which need not be the one that took the lock. Someone who wrote an order and then looked at something else sits on
-- the lock with another text.
-- What gave it away: the session was not found, the ALTER waited behind it, and the shop behind the ALTER.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A pre-check by the text of the last query",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6 },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.02,

	steps = {
		rehearse.parallel { name = "console and migration", steps = {
			rehearse.step { name = "someone's console", down = false, up = function(m)
				m:exec("UPDATE orders SET internal_note = internal_note WHERE id = 1")
				m:exec("SELECT count(*) FROM products")
				m:sleep("4s")
			end },
			rehearse.step { name = "pre-check, then migrate", lock_timeout = "5s",
				up = function(m)
					m:sleep("1s")
					-- The article has 5 minutes; a rehearsal has not.
					m:exec([[SELECT pg_terminate_backend(pid) FROM pg_stat_activity
						WHERE query ILIKE '%orders%' AND state != 'idle' AND query_start < now() - interval '500 milliseconds']])
					m:exec("ALTER TABLE orders ADD COLUMN bio text")
				end,
				down = function(m) m:exec("ALTER TABLE orders DROP COLUMN bio") end },
		} },
	},

	criteria = { "lock_wait[orders].max < 200ms", "errors.rate < 0.1%" },
	expect = { fails = "lock_wait[orders].max", holds = { "migration.completed", "errors.rate" },
		because = "the console's last query mentions products; its lock is on orders" },
}
