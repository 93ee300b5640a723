-- Stock moves from the wide rows of products into a table of its own, blue and green: the shop writes both while blue serves, the two are
-- reconciled, and all pods switch at once. Green goes on writing both, so that switching back loses nothing.
local rehearse = require "rehearse"

-- In this order everywhere: the copy locks the row of products, too, so that a change is either in what it copies or comes after it.
local function checkout(c, cart)
	c:begin()
	local id = c:row("insert_order", cart.order_no, cart.user, cart.items, cart.pieces, cart.total, cart.address, cart.city)
	for i, line in ipairs(cart.lines) do
		c:exec("take_stock", line.product, line.qty)
		c:exec("take_green_stock", line.product, line.qty)
		c:exec("insert_line", id, i, line.product, line.qty, line.price)
	end
	c:exec("insert_event", cart.user, "checkout", '{"total_cents": ' .. cart.total .. "}", cart.at)
	c:commit()
end

local TAKE = "UPDATE green.stock SET on_hand = on_hand - $2, changed_at = now() WHERE product_id = $1"

local function version(statements)
	statements.take_green_stock = TAKE
	return { checkout = checkout, statements = statements }
end

return rehearse.scenario {
	title = "stock moves into a schema of its own, blue and green",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },
	rollback_after = "5s",

	versions = {
		blue = version {},
		green = version {
			get_product = [[SELECT p.id, p.sku, p.name, p.description, p.price_cents, s.on_hand FROM products p JOIN green.stock s ON s.product_id = p.id
				WHERE p.id = $1 AND p.on_sale]],
		},
	},

	steps = {
		rehearse.sql { name = "build green",
			up = { "CREATE SCHEMA green",
				[[CREATE TABLE green.stock (product_id bigint PRIMARY KEY REFERENCES products (id), on_hand integer NOT NULL, changed_at timestamptz NOT NULL DEFAULT now())
					WITH (fillfactor = 50)]] },
			down = { "DROP TABLE green.stock", "DROP SCHEMA green" } },

		-- Pod by pod: both of them serve from blue, and what only v1 wrote is copied afterwards.
		rehearse.deploy { name = "write both", from = "v1", to = "blue", every = "1500ms" },

		rehearse.backfill { name = "copy to green", table = "products", key = "id",
			statement = "INSERT INTO green.stock (product_id, on_hand) SELECT id, stock FROM products WHERE :range ORDER BY id FOR NO KEY UPDATE ON CONFLICT DO NOTHING",
			where = "NOT EXISTS (SELECT FROM green.stock WHERE product_id = products.id)",
			batch = rehearse.setting("batch", 500), pause = rehearse.setting("pause", "50ms"), throttle = { replay_lag = "10s", p99 = "1s" } },

		rehearse.reconcile { name = "compare blue and green", key = "product_id", columns = { "on_hand" },
			old = "SELECT id AS product_id, stock AS on_hand FROM products", new = "green.stock" },

		-- All pods at once: the switch of a load balancer.
		rehearse.deploy { name = "switch to green", from = "blue", to = "green", every = "0" },
	},

	checks = {
		green_is_blue = { after = "copy to green", every = "3s", sql = [[SELECT p.id, p.stock, s.on_hand FROM products p LEFT JOIN green.stock s ON s.product_id = p.id
			WHERE p.stock IS DISTINCT FROM s.on_hand]] },
		nothing_lost = [[SELECT p.id, p.stock, s.on_hand FROM products p FULL JOIN green.stock s ON s.product_id = p.id WHERE p.stock IS DISTINCT FROM s.on_hand]],
	},

	criteria = {
		"migration.statement.max < 10s",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"latency.p99 during rollback < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 30s",
		"checks.clean",
		"rollback.clean",
	},
}
