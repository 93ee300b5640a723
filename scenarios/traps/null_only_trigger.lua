-- What the article says: a trigger that fills whichever of the two columns is NULL keeps them in step. What is true: it fills once. When the old
-- version writes its column again, the new one is not NULL any more and keeps what it had.
-- What gave it away: the old version went on paying orders while old and new were compared. (The article has users.full_name; the shop's old
-- version writes orders.status.)
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A trigger that only fills what is NULL",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6, mix = { pay_order = 30 } },
	phases = { warmup = "0", baseline = "2s", settle = "500ms" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "add state", up = "ALTER TABLE orders ADD COLUMN state text", down = "ALTER TABLE orders DROP COLUMN state" },
		rehearse.sql { name = "keep both in step",
			up = {
				[[CREATE FUNCTION sync_state() RETURNS trigger LANGUAGE plpgsql AS $$
				BEGIN
					IF TG_OP = 'INSERT' OR TG_OP = 'UPDATE' THEN
						IF NEW.state IS NULL AND NEW.status IS NOT NULL THEN
							NEW.state := NEW.status;
						ELSIF NEW.status IS NULL AND NEW.state IS NOT NULL THEN
							NEW.status := NEW.state;
						END IF;
					END IF;
					RETURN NEW;
				END $$]],
				"CREATE TRIGGER sync_state BEFORE INSERT OR UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION sync_state()",
			},
			down = { "DROP TRIGGER sync_state ON orders", "DROP FUNCTION sync_state()" } },
		rehearse.backfill { name = "fill state", table = "orders", key = "id", set = "state = status", where = "state IS NULL", batch = 2000 },
		rehearse.wait_until { name = "the old version works on", time = "2s" },
	},

	checks = { both_agree = "SELECT id, status, state FROM orders WHERE status IS DISTINCT FROM state" },
	criteria = { "check[both_agree].rows = 0", "lock_wait.max < 1s", "errors.rate < 0.1%" },
	expect = { fails = "check[both_agree].rows", holds = { "migration.completed", "lock_wait.max", "errors.rate" },
		because = "orders that were paid after they had been filled are still new in the new column" },
}
