-- orders.total_cents, an integer, becomes orders.total, numeric: another type and another unit. ALTER COLUMN TYPE ... USING would write 47 columns
-- of every order anew behind a lock; here old and new stand side by side, each filled from the other, until nobody asks for the old one.
local rehearse = require "rehearse"

-- v1 writes total_cents alone, v2 total alone, and both run during the deploy.
local SYNC = {
	[[CREATE FUNCTION sync_orders_total() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'INSERT' THEN
			NEW.total := COALESCE(NEW.total, NEW.total_cents / 100.0);
			NEW.total_cents := COALESCE(NEW.total_cents, (NEW.total * 100)::integer);
		ELSIF NEW.total IS DISTINCT FROM OLD.total THEN
			NEW.total_cents := (NEW.total * 100)::integer;
		ELSE
			NEW.total := NEW.total_cents / 100.0;
		END IF;
		RETURN NEW;
	END $$]],
	"CREATE TRIGGER sync_orders_total BEFORE INSERT OR UPDATE OF total_cents, total ON orders FOR EACH ROW EXECUTE FUNCTION sync_orders_total()",
}
local NO_SYNC = { "DROP TRIGGER sync_orders_total ON orders", "DROP FUNCTION sync_orders_total()" }

local BATCH, PAUSE = rehearse.setting("batch", 5000), rehearse.setting("pause", "100ms")

-- For the way back out of the last step: what v2 wrote, batch by batch.
local function refill_cents(m)
	local from, to = m:row("SELECT min(id), max(id) FROM orders")
	while from and from <= to do
		m:transaction(function()
			m:exec("UPDATE orders SET total_cents = (total * 100)::integer WHERE id >= $1 AND id < $2 AND total_cents IS NULL", from, from + BATCH)
		end)
		from = from + BATCH
		m:sleep(PAUSE)
	end
end

return rehearse.scenario {
	title = "orders.total_cents, an integer, becomes orders.total, numeric",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },
	rollback_after = "5s",

	versions = {
		v2 = {
			statements = {
				list_orders = "SELECT id, order_no, status, total, item_count, placed_at FROM orders WHERE user_id = $1 ORDER BY placed_at DESC LIMIT 20",
				get_order = "SELECT id, order_no, user_id, status, items, total, ship_name, ship_city, carrier, tracking_no, placed_at FROM orders WHERE id = $1",
				pay_order = "UPDATE orders SET status = 'paid', paid_cents = (total * 100)::integer, paid_at = now(), updated_at = now() WHERE id = $1",
				insert_order = [[INSERT INTO orders (order_no, user_id, items, item_count, subtotal_cents, total, ship_street, ship_city, payment_method)
					VALUES ($1, $2, $3, $4, $5, $5::integer / 100.0, $6, $7, 'card') RETURNING id]],
			},
		},
	},

	steps = {
		rehearse.sql { name = "add total",
			up = "ALTER TABLE orders ADD COLUMN total numeric(12, 2)",
			down = "ALTER TABLE orders DROP COLUMN total" },

		rehearse.sql { name = "keep both in step", up = SYNC, down = NO_SYNC },

		rehearse.backfill { name = "fill total", table = "orders", key = "id", set = "total = total_cents / 100.0", where = "total IS NULL",
			batch = BATCH, pause = PAUSE, throttle = { replay_lag = "10s", p99 = "1s" } },

		rehearse.sql { name = "promise a total",
			up = "ALTER TABLE orders ADD CONSTRAINT orders_total_present CHECK (total IS NOT NULL) NOT VALID",
			down = "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_total_present" },

		rehearse.sql { name = "prove it", up = "ALTER TABLE orders VALIDATE CONSTRAINT orders_total_present", down = false },

		-- The proof spares SET NOT NULL its scan.
		rehearse.sql { name = "require a total",
			up = { "ALTER TABLE orders ALTER COLUMN total SET NOT NULL", "ALTER TABLE orders DROP CONSTRAINT orders_total_present" },
			down = "ALTER TABLE orders ALTER COLUMN total DROP NOT NULL" },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },

		-- Only ways back: total_cents is required again when it has been filled, without a scan behind a lock.
		rehearse.sql { name = "require total_cents again", up = false,
			down = { "ALTER TABLE orders ALTER COLUMN total_cents SET NOT NULL", "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_total_cents_present" } },
		rehearse.sql { name = "prove total_cents again", up = false, transaction = false,
			down = { "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_total_cents_present",
				"ALTER TABLE orders ADD CONSTRAINT orders_total_cents_present CHECK (total_cents IS NOT NULL) NOT VALID",
				"ALTER TABLE orders VALIDATE CONSTRAINT orders_total_cents_present" } },
		rehearse.sql { name = "refill total_cents", up = false, transaction = false, down = refill_cents },

		rehearse.sql { name = "drop total_cents",
			up = { NO_SYNC[1], NO_SYNC[2], "ALTER TABLE orders DROP COLUMN total_cents" },
			down = { "ALTER TABLE orders ADD COLUMN total_cents integer", SYNC[1], SYNC[2] } },
	},

	checks = {
		both_agree = { after = "roll out v2", sql = "SELECT id, total_cents, total FROM orders WHERE (total * 100)::integer IS DISTINCT FROM total_cents" },
		cents_again = { after = "rollback", sql = "SELECT id FROM orders WHERE total_cents < subtotal_cents - discount_cents" },
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
