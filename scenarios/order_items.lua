-- orders.items, a JSON list, becomes the table order_items. Expand, write both, fill, reconcile, read the new one. The JSON stays, and stays
-- true, for as long as one may want to go back: dropping it is another migration.
local rehearse = require "rehearse"

-- The lines of the orders' JSON as rows.
local AS_ROWS = [[SELECT orders.id AS order_id, line.line_no::integer AS line_no, item ->> 'sku' AS sku, (item ->> 'qty')::integer AS qty,
	(item ->> 'price_cents')::integer AS price_cents
	FROM orders CROSS JOIN LATERAL jsonb_array_elements(orders.items) WITH ORDINALITY AS line (item, line_no)]]
local FILL = "INSERT INTO order_items (order_id, line_no, sku, qty, price_cents) " .. AS_ROWS

-- v2 writes both forms in one transaction, and still reads the old one.
local WRITE_BOTH = FILL .. " WHERE orders.id = $1"

local function checkout(c, cart)
	c:begin()
	local id = c:row("insert_order", cart.order_no, cart.user, cart.items, cart.pieces, cart.total, cart.address, cart.city)
	c:exec("insert_items", id)
	for i, line in ipairs(cart.lines) do
		c:exec("take_stock", line.product, line.qty)
		c:exec("insert_line", id, i, line.product, line.qty, line.price)
	end
	c:exec("insert_event", cart.user, "checkout", '{"total_cents": ' .. cart.total .. "}", cart.at)
	c:commit()
end

return rehearse.scenario {
	title = "orders.items, a JSON list, becomes the table order_items",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },
	rollback_after = "5s",

	versions = {
		v2 = { checkout = checkout, statements = { insert_items = WRITE_BOTH } },
		v3 = {
			checkout = checkout,
			view_order = function(c, id)
				c:exec("get_order", id)
				c:exec("get_items", id)
				c:exec("get_lines", id)
			end,
			statements = {
				insert_items = WRITE_BOTH,
				get_order = "SELECT id, order_no, user_id, status, total_cents, ship_name, ship_city, carrier, tracking_no, placed_at FROM orders WHERE id = $1",
				get_items = "SELECT line_no, sku, qty, price_cents FROM order_items WHERE order_id = $1 ORDER BY line_no",
			},
		},
	},

	steps = {
		-- The reference is promised while the table is empty: nothing has to be looked up, and writers of orders wait for an instant only.
		rehearse.sql { name = "create order_items",
			up = [[CREATE TABLE order_items (
				order_id bigint NOT NULL REFERENCES orders (id) ON DELETE CASCADE,
				line_no integer NOT NULL,
				sku text NOT NULL,
				qty integer NOT NULL CHECK (qty > 0),
				price_cents integer NOT NULL,
				created_at timestamptz NOT NULL DEFAULT now(),
				PRIMARY KEY (order_id, line_no))]],
			down = "DROP TABLE order_items" },

		-- Before the filling: an order that v1 writes after its key was passed would have no lines.
		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },

		-- An order is filled as a whole or not at all, and those that v2 wrote are left alone.
		rehearse.backfill { name = "fill order_items", table = "orders", key = "id",
			statement = FILL .. " WHERE :range ON CONFLICT DO NOTHING",
			where = "jsonb_array_length(items) > 0 AND NOT EXISTS (SELECT FROM order_items WHERE order_id = orders.id)",
			batch = rehearse.setting("batch", 50000), pause = rehearse.setting("pause", "200ms"),
			throttle = { replay_lag = "10s", p99 = "1s" } },

		-- When the table has its rows: building an index once is less work than maintaining it meanwhile.
		rehearse.sql { name = "index it by article", transaction = false,
			up = "CREATE INDEX CONCURRENTLY order_items_sku_idx ON order_items (sku)",
			on_retry = "DROP INDEX CONCURRENTLY IF EXISTS order_items_sku_idx",
			down = "DROP INDEX CONCURRENTLY IF EXISTS order_items_sku_idx" },

		rehearse.sql { name = "statistics", up = "ANALYZE order_items", down = false },

		rehearse.reconcile { name = "compare before v3", key = { "order_id", "line_no" }, columns = { "sku", "qty", "price_cents" },
			old = AS_ROWS, new = "order_items" },

		rehearse.deploy { name = "roll out v3", from = "v2", to = "v3", every = "1500ms" },
	},

	checks = {
		all_filled = { after = "fill order_items", sql = "SELECT id FROM orders WHERE jsonb_array_length(items) <> (SELECT count(*) FROM order_items WHERE order_id = orders.id)" },
		both_agree = "SELECT * FROM (" .. AS_ROWS .. [[) AS old FULL JOIN order_items AS new USING (order_id, line_no)
			WHERE (old.sku, old.qty, old.price_cents) IS DISTINCT FROM (new.sku, new.qty, new.price_cents)]],
	},

	criteria = rehearse.criteria.playbook {
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"latency.p99 during rollback < 500ms",
		"errors.rate < 0.1%",
		"checks.clean",
	},
}
