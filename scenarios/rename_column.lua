-- orders.status becomes orders.state while the shop is open. A RENAME would break every running version at once; so a second column
-- lives beside the first, kept in step both ways, until nobody asks for the first any more.
local rehearse = require "rehearse"

-- Whoever writes one column writes both. The old version leaves status to its default and knows no state; the new one always says state.
local SYNC = {
	[[CREATE FUNCTION sync_order_state() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'INSERT' AND NEW.state IS NULL THEN
			NEW.state := NEW.status;
		ELSIF TG_OP = 'INSERT' OR NEW.state IS DISTINCT FROM OLD.state THEN
			NEW.status := NEW.state;
		ELSIF NEW.status IS DISTINCT FROM OLD.status THEN
			NEW.state := NEW.status;
		END IF;
		RETURN NEW;
	END $$]],
	[[CREATE TRIGGER sync_order_state BEFORE INSERT OR UPDATE OF status, state ON orders
		FOR EACH ROW EXECUTE FUNCTION sync_order_state()]],
}
local NO_SYNC = { "DROP TRIGGER sync_order_state ON orders", "DROP FUNCTION sync_order_state()" }

local BATCH = rehearse.setting("batch", 2000)

-- A batch at a time, like the way up: it is most rows of a wide table.
local function refill_status(m)
	local at = 0
	while at do
		local upto
		m:transaction(function()
			upto = m:row("SELECT max(id) FROM (SELECT id FROM orders WHERE id > $1 ORDER BY id LIMIT $2) AS batch", at, BATCH)
			if upto then m:exec("UPDATE orders SET status = state WHERE id > $1 AND id <= $2 AND status <> state", at, upto) end
		end)
		at = upto
	end
end

return rehearse.scenario {
	title = "orders.status is renamed to orders.state",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	versions = {
		v2 = {
			statements = {
				list_orders = "SELECT id, order_no, state, total_cents, item_count, placed_at FROM orders WHERE user_id = $1 ORDER BY placed_at DESC LIMIT 20",
				get_order = "SELECT id, order_no, user_id, state, items, total_cents, ship_name, ship_city, carrier, tracking_no, placed_at FROM orders WHERE id = $1",
				pay_order = "UPDATE orders SET state = 'paid', paid_cents = total_cents, paid_at = now(), updated_at = now() WHERE id = $1",
				insert_order = [[INSERT INTO orders (order_no, user_id, state, items, item_count, subtotal_cents, total_cents, ship_street, ship_city, payment_method)
					VALUES ($1, $2, 'new', $3, $4, $5, $5, $6, $7, 'card') RETURNING id]],
			},
		},
	},

	steps = {
		rehearse.sql { name = "add state",
			up = "ALTER TABLE orders ADD COLUMN state text",
			down = "ALTER TABLE orders DROP COLUMN state" },

		rehearse.sql { name = "keep both in step", up = SYNC, down = NO_SYNC },

		rehearse.backfill { name = "fill state", table = "orders", key = "id", set = "state = status", where = "state IS NULL",
			batch = BATCH, pause = "100ms", throttle = { replay_lag = "5s", p99 = "500ms" } },

		rehearse.sql { name = "promise a state",
			up = "ALTER TABLE orders ADD CONSTRAINT orders_state_present CHECK (state IS NOT NULL) NOT VALID",
			down = "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_state_present" },

		rehearse.sql { name = "prove it", transaction = false,
			up = "ALTER TABLE orders VALIDATE CONSTRAINT orders_state_present", down = false },

		rehearse.sql { name = "require a state",
			up = { "ALTER TABLE orders ALTER COLUMN state SET NOT NULL", "ALTER TABLE orders DROP CONSTRAINT orders_state_present" },
			down = "ALTER TABLE orders ALTER COLUMN state DROP NOT NULL" },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },

		-- The way back, third part: rows that the new version wrote after both ceased to be in step, and all others, whose status came
		-- back with the default.
		rehearse.sql { name = "refill status", transaction = false, up = false, down = refill_status },

		rehearse.sql { name = "stop keeping both in step", up = NO_SYNC, down = SYNC },

		rehearse.sql { name = "drop status",
			up = { "ALTER TABLE orders DROP COLUMN status", "ALTER TABLE orders ALTER COLUMN state SET DEFAULT 'new'" },
			down = { "ALTER TABLE orders ALTER COLUMN state DROP DEFAULT", "ALTER TABLE orders ADD COLUMN status text NOT NULL DEFAULT 'new'" } },
	},

	checks = {
		both_agree = { after = "roll out v2", sql = "SELECT id, status, state FROM orders WHERE status IS DISTINCT FROM state" },
		known_states = "SELECT id, state FROM orders WHERE state NOT IN ('new', 'paid', 'shipped', 'delivered', 'cancelled')",
		nothing_unpaid_is_paid = { after = "rollback", sql = "SELECT id, status FROM orders WHERE (status = 'paid') AND paid_at IS NULL" },
	},

	criteria = {
		"step[fill state].duration < 10min",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"latency.p99 during rollback < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 10s",
		"checks.clean",
		"rollback.clean",
	},
}
