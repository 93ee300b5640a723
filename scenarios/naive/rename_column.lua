-- A column renamed as one renames a variable. The statement takes a moment; every version of the application that is running asks for a
-- name that there is no more, until it has been replaced. ../rename_column.lua does it with both names side by side.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A plain RENAME COLUMN under a running application",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6 },
	phases = { warmup = "1s", baseline = "3s", settle = "1s" },
	scale = 0.02,

	versions = {
		v2 = {
			statements = {
				list_orders = "SELECT id, order_no, state, total_cents, item_count, placed_at FROM orders WHERE user_id = $1 ORDER BY placed_at DESC LIMIT 20",
				get_order = "SELECT id, order_no, user_id, state, items, total_cents, ship_name, ship_city, carrier, tracking_no, placed_at FROM orders WHERE id = $1",
				pay_order = "UPDATE orders SET state = 'paid', paid_cents = total_cents, paid_at = now(), updated_at = now() WHERE id = $1",
			},
		},
	},

	steps = {
		rehearse.sql { name = "rename status",
			up = "ALTER TABLE orders RENAME COLUMN status TO state", down = "ALTER TABLE orders RENAME COLUMN state TO status" },
		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "500ms" },
	},

	criteria = { "migration.statement.max < 10s", "lock_wait.max < 1s", "errors.rate < 0.1%", "rollback.clean" },
	expect = { fails = "errors.rate", holds = { "migration.statement.max", "lock_wait.max" },
		because = "the old version asks for orders.status (42703) until its last pod is gone; no lock was ever held for long" },
}
