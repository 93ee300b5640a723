-- A unique index on the busiest table, and the constraint made of it, without anybody waiting for the build. A build that failed leaves
-- an index that nobody uses and everybody maintains: it is dropped before the next attempt, and a build counts only when it is valid.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A payment can be looked up, and is booked once",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	versions = {
		v2 = {
			pay_order = function(c, id)
				local reference = "pay_" .. id
				if not c:row("find_payment", reference) then c:exec("pay_order", id, reference) end
			end,
			statements = {
				find_payment = "SELECT id, status FROM orders WHERE payment_ref = $1",
				pay_order = [[UPDATE orders SET status = 'paid', paid_cents = total_cents, paid_at = now(), updated_at = now(), payment_ref = $2
					WHERE id = $1]],
			},
		},
	},

	steps = {
		-- Waits for every transaction that is older than itself; the table is read and written meanwhile.
		rehearse.sql { name = "build the index", transaction = false, retries = 10,
			up = "CREATE UNIQUE INDEX CONCURRENTLY orders_payment_ref_key ON orders (payment_ref)",
			on_retry = "DROP INDEX CONCURRENTLY IF EXISTS orders_payment_ref_key",
			check = [[SELECT 'not there, or invalid' AS what WHERE NOT EXISTS (SELECT FROM pg_index
				WHERE indexrelid = to_regclass('orders_payment_ref_key') AND indisvalid AND indisready)]],
			down = "DROP INDEX CONCURRENTLY IF EXISTS orders_payment_ref_key" },

		-- No scan: the index has the proof. Dropping the constraint drops the index with it, so the step before finds nothing left.
		rehearse.sql { name = "make it a constraint",
			up = "ALTER TABLE orders ADD CONSTRAINT orders_payment_ref_key UNIQUE USING INDEX orders_payment_ref_key",
			down = "ALTER TABLE orders DROP CONSTRAINT orders_payment_ref_key" },

		-- Not before the index is there: without it each look reads the whole table.
		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },
	},

	checks = {
		booked_once = "SELECT payment_ref FROM orders WHERE payment_ref IS NOT NULL GROUP BY payment_ref HAVING count(*) > 1",
		nothing_invalid = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid",
		nothing_invalid_after = { after = "rollback", sql = "SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid" },
	},

	criteria = {
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"latency.p99 during rollback < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 10s",
		"checks.clean",
		"rollback.clean",
	},
}
