-- orders.delivery_class, which every order must have: derived from the order for those that there are, a default for those that old
-- versions place. The default comes with the column, before anything is filled: set last, as many a playbook has it, the orders placed
-- in between break the promise (traps/default_after_validate.lua).
local rehearse = require "rehearse"

local CLASS = "CASE WHEN gift THEN 'gift' WHEN item_count > 4 THEN 'bulky' ELSE 'standard' END"

return rehearse.scenario {
	title = "Orders get a required column with a default",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	versions = {
		v2 = {
			statements = {
				get_order = [[SELECT id, order_no, user_id, status, items, total_cents, ship_name, ship_city, carrier, tracking_no, placed_at, delivery_class
					FROM orders WHERE id = $1]],
				insert_order = [[INSERT INTO orders (order_no, user_id, items, item_count, subtotal_cents, total_cents, ship_street, ship_city, payment_method, delivery_class)
					VALUES ($1, $2, $3, $4, $5, $5, $6, $7, 'card', CASE WHEN $4 > 4 THEN 'bulky' ELSE 'standard' END) RETURNING id]],
			},
		},
	},

	steps = {
		-- Two commands: ADD COLUMN ... DEFAULT would give the orders that there are the default, too.
		rehearse.sql { name = "add the column",
			up = { "ALTER TABLE orders ADD COLUMN delivery_class text", "ALTER TABLE orders ALTER COLUMN delivery_class SET DEFAULT 'standard'" },
			down = "ALTER TABLE orders DROP COLUMN delivery_class" },

		rehearse.backfill { name = "classify", table = "orders", key = "id", set = "delivery_class = " .. CLASS, where = "delivery_class IS NULL",
			batch = rehearse.setting("batch", 2000), pause = "100ms", throttle = { replay_lag = "5s", p99 = "500ms" } },

		rehearse.sql { name = "promise a class",
			up = "ALTER TABLE orders ADD CONSTRAINT orders_class_present CHECK (delivery_class IS NOT NULL) NOT VALID",
			down = "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_class_present" },

		rehearse.sql { name = "prove it", transaction = false,
			up = "ALTER TABLE orders VALIDATE CONSTRAINT orders_class_present", down = false },

		-- The proven constraint spares SET NOT NULL its scan (PostgreSQL 12 and later).
		rehearse.sql { name = "require a class",
			up = { "ALTER TABLE orders ALTER COLUMN delivery_class SET NOT NULL", "ALTER TABLE orders DROP CONSTRAINT orders_class_present" },
			down = "ALTER TABLE orders ALTER COLUMN delivery_class DROP NOT NULL" },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },
	},

	checks = {
		known_classes = "SELECT id, delivery_class FROM orders WHERE delivery_class NOT IN ('standard', 'bulky', 'gift')",
		all_have_one = { after = "classify", sql = "SELECT id FROM orders WHERE delivery_class IS NULL" },
		gifts_are_gifts = "SELECT id, delivery_class FROM orders WHERE gift AND delivery_class <> 'gift'",
	},

	criteria = {
		"migration.statement.max < 10s",
		"step[classify].duration < 10min",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 10s",
		"checks.clean",
		"rollback.clean",
	},
}
