-- What the article says: adding a foreign key takes ACCESS EXCLUSIVE on the table that gets it. What is true: SHARE ROW EXCLUSIVE, on both
-- tables. Reading goes on, so a watch over reads sees nothing; writing stops, and in the table that is referred to, too.
-- What gave it away: the windows in which orders and users could not be written, and none in which they could not be read.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A foreign key said to lock one table, against reading",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6 },
	actors = { "idle_in_transaction" },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "refer to users", lock_timeout = "none", long_transactions = "ignore",
			up = "ALTER TABLE orders ADD CONSTRAINT fk_orders_users FOREIGN KEY (user_id) REFERENCES users (id)",
			down = "ALTER TABLE orders DROP CONSTRAINT fk_orders_users" },
	},

	criteria = { "reads_blocked.max < 200ms", "writes_blocked[orders].max < 200ms", "writes_blocked[users].max < 200ms", "errors.rate < 0.1%" },
	expect = { fails = { "writes_blocked[orders].max", "writes_blocked[users].max" }, holds = "reads_blocked.max",
		because = "it waited for users with the lock on orders in its hand: neither could be written, both could be read" },
}
