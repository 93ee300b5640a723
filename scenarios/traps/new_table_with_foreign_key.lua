-- What the article says: the first phase only adds a table, so nobody can notice. What is true: its foreign key locks the table that it refers
-- to against writes. The lock is held for a moment, but it has to be had first: behind an open transaction that wrote an order it waits,
-- and every writer of orders behind it.
-- What gave it away: who waited for orders while CREATE TABLE order_items did.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A new table said to disturb nobody",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6, mix = { checkout = 10, pay_order = 10 } },
	actors = { "open_order" },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "add order_items", lock_timeout = "none", long_transactions = "ignore",
			up = "CREATE TABLE order_items (id bigserial PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders (id), sku text NOT NULL, qty int NOT NULL)",
			down = "DROP TABLE order_items" },
	},

	criteria = { "lock_wait[orders].max < 200ms", "writes_blocked[orders].max < 200ms", "reads_blocked.max < 200ms", "errors.rate < 0.1%" },
	expect = { fails = { "lock_wait[orders].max", "writes_blocked[orders].max" }, holds = "reads_blocked.max",
		because = "CREATE TABLE asked for SHARE ROW EXCLUSIVE on orders, and whoever wanted to place or pay an order stood behind it" },
}
