-- The line items of orders' JSON into a table of their own, with the trigger that keeps it up to date, in one transaction: CREATE TRIGGER locks
-- orders against writes, and the copying keeps them waiting. ../order_items.lua takes the same way in steps.
local rehearse = require "rehearse"

local LINES = "SELECT o.id, i.n, i.item ->> 'sku', (i.item ->> 'qty')::int, (i.item ->> 'price_cents')::int FROM %s, LATERAL jsonb_array_elements(o.items) WITH ORDINALITY AS i (item, n)"

return rehearse.scenario {
	title = "JSON split into rows in one transaction",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6, mix = { pay_order = 20, checkout = 10 } },
	phases = { warmup = "1s", baseline = "3s", settle = "1s" },
	scale = 0.25,

	steps = {
		rehearse.sql { name = "split items", lock_timeout = "none", long_transactions = "ignore",
			up = {
				"CREATE TABLE order_items (order_id bigint NOT NULL, line_no bigint NOT NULL, sku text NOT NULL, qty int NOT NULL, price_cents int NOT NULL)",
				[[CREATE FUNCTION split_items() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN
					INSERT INTO order_items ]] .. LINES:format("(SELECT NEW.id, NEW.items) AS o") .. [[;
					RETURN NULL;
				END $$]],
				"CREATE TRIGGER split_items AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION split_items()",
				"INSERT INTO order_items " .. LINES:format("orders AS o"),
				"ALTER TABLE order_items ADD PRIMARY KEY (order_id, line_no)",
				"CREATE INDEX order_items_sku_idx ON order_items (sku)",
				"ALTER TABLE order_items ADD FOREIGN KEY (order_id) REFERENCES orders (id)",
			},
			down = { "DROP TRIGGER split_items ON orders", "DROP FUNCTION split_items()", "DROP TABLE order_items" } },
	},

	criteria = { "step[split items].longest_wait < 30ms", "writes_blocked[orders].max < 30ms", "reads_blocked.max < 200ms", "errors.rate < 0.1%", "rollback.clean" },
	expect = { fails = { "step[split items].longest_wait", "writes_blocked[orders].max" }, holds = { "reads_blocked.max", "errors.rate" },
		because = "no order can be placed or paid from CREATE TRIGGER until the last item is copied, and its indexes and foreign key are made" },
}
