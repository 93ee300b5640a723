-- What the article says: a trigger BEFORE UPDATE keeps old and new column in step until all writers have moved. What is true: the old version also
-- inserts, and those rows have no value in the new column, or its default, whatever the old one says.
-- What gave it away: orders placed by the old version meanwhile. (The article has users.is_active; the shop's old version inserts orders.)
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A trigger that does not see INSERT",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6, mix = { checkout = 20 } },
	phases = { warmup = "0", baseline = "2s", settle = "500ms" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "add state", up = "ALTER TABLE orders ADD COLUMN state text", down = "ALTER TABLE orders DROP COLUMN state" },
		rehearse.sql { name = "keep both in step",
			up = {
				[[CREATE FUNCTION sync_state() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN
					IF NEW.state IS DISTINCT FROM OLD.state THEN NEW.status := NEW.state; ELSE NEW.state := NEW.status; END IF;
					RETURN NEW;
				END $$]],
				"CREATE TRIGGER sync_state BEFORE UPDATE OF status, state ON orders FOR EACH ROW EXECUTE FUNCTION sync_state()",
			},
			down = { "DROP TRIGGER sync_state ON orders", "DROP FUNCTION sync_state()" } },
		rehearse.sql { name = "fill state", up = "UPDATE orders SET state = status WHERE state IS NULL", down = false },
		rehearse.wait_until { name = "the old version works on", time = "2s" },
	},

	checks = { both_agree = "SELECT id, status, state FROM orders WHERE status IS DISTINCT FROM state" },
	criteria = { "check[both_agree].rows = 0", "errors.rate < 0.1%" },
	expect = { fails = "check[both_agree].rows", holds = { "migration.completed", "errors.rate" },
		because = "orders placed after the column was filled have none" },
}
