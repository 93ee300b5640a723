-- orders.warehouse must be known, but the running version leaves it empty for each new order. A default for those to come, a backfill for
-- those that there are, then a proof under a lock that nobody notices; SET NOT NULL by itself would read the table while all wait.
-- What is filled in is 0, which no warehouse is called: so the way back knows which rows were empty.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "orders.warehouse becomes NOT NULL",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	versions = {
		v2 = {
			statements = {
				get_order = [[SELECT id, order_no, user_id, status, items, total_cents, ship_name, ship_city, carrier, tracking_no, placed_at, 'W' || warehouse
					FROM orders WHERE id = $1]],
				insert_order = [[INSERT INTO orders (order_no, user_id, items, item_count, subtotal_cents, total_cents, ship_street, ship_city, payment_method, warehouse)
					VALUES ($1, $2, $3, $4, $5, $5, $6, $7, 'card', 1 + length($7) % 6) RETURNING id]],
			},
		},
	},

	steps = {
		-- The last of the way back, when nothing puts a 0 there any more.
		rehearse.sql { name = "empty again", up = false, down = "UPDATE orders SET warehouse = NULL WHERE warehouse = 0" },

		rehearse.sql { name = "0 by default",
			up = "ALTER TABLE orders ALTER COLUMN warehouse SET DEFAULT 0",
			down = "ALTER TABLE orders ALTER COLUMN warehouse DROP DEFAULT" },

		rehearse.backfill { name = "fill the empty ones", table = "orders", key = "id", set = "warehouse = 0", where = "warehouse IS NULL",
			batch = rehearse.setting("batch", 2000), pause = "100ms", throttle = { replay_lag = "5s", p99 = "500ms" } },

		rehearse.sql { name = "promise a warehouse",
			up = "ALTER TABLE orders ADD CONSTRAINT orders_warehouse_present CHECK (warehouse IS NOT NULL) NOT VALID",
			down = "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_warehouse_present" },

		rehearse.sql { name = "prove it", transaction = false,
			up = "ALTER TABLE orders VALIDATE CONSTRAINT orders_warehouse_present", down = false },

		rehearse.sql { name = "require a warehouse",
			up = { "ALTER TABLE orders ALTER COLUMN warehouse SET NOT NULL", "ALTER TABLE orders DROP CONSTRAINT orders_warehouse_present" },
			down = "ALTER TABLE orders ALTER COLUMN warehouse DROP NOT NULL" },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },
	},

	checks = {
		all_have_one = { after = "fill the empty ones", sql = "SELECT id FROM orders WHERE warehouse IS NULL" },
		empty_again = { after = "rollback", sql = "SELECT id FROM orders WHERE warehouse = 0" },
		required = [[SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass AND attname = 'warehouse' AND NOT attnotnull]],
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
