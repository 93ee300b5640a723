-- What the article says: add the column, fill it, promise NOT NULL and prove it, and set the default last. What is true: the old version goes on
-- inserting rows without the column. Before the promise they make the proof fail; after it they are refused.
-- What gave it away: checkouts refused with 23514. (The article has users.subscription_tier; the shop's old version inserts orders.)
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "The default set last",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 6, mix = { checkout = 20 } },
	phases = { warmup = "0", baseline = "2s", settle = "500ms" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "add tier", up = "ALTER TABLE orders ADD COLUMN tier text", down = "ALTER TABLE orders DROP COLUMN tier" },
		rehearse.sql { name = "fill tier", transaction = false, down = false, up = [[DO $$
			DECLARE rows_updated int;
			BEGIN
				LOOP
					UPDATE orders SET tier = 'free' WHERE tier IS NULL AND id IN (SELECT id FROM orders WHERE tier IS NULL LIMIT 5000 FOR UPDATE SKIP LOCKED);
					GET DIAGNOSTICS rows_updated = ROW_COUNT;
					EXIT WHEN rows_updated = 0;
					COMMIT;
				END LOOP;
			END $$]] },
		rehearse.sql { name = "promise a tier", up = "ALTER TABLE orders ADD CONSTRAINT orders_tier_not_null CHECK (tier IS NOT NULL) NOT VALID",
			down = "ALTER TABLE orders DROP CONSTRAINT IF EXISTS orders_tier_not_null" },
		-- What it takes to prove it, of a large table.
		rehearse.wait_until { name = "the old version works on", time = "2s" },
		rehearse.sql { name = "prove it", transaction = false, up = "ALTER TABLE orders VALIDATE CONSTRAINT orders_tier_not_null", down = false },
		rehearse.sql { name = "require a tier", up = "ALTER TABLE orders ALTER COLUMN tier SET NOT NULL", down = "ALTER TABLE orders ALTER COLUMN tier DROP NOT NULL" },
		rehearse.sql { name = "set the default", up = "ALTER TABLE orders ALTER COLUMN tier SET DEFAULT 'free'", down = "ALTER TABLE orders ALTER COLUMN tier DROP DEFAULT" },
	},

	criteria = { "errors[23514].count = 0", "lock_wait.max < 1s" },
	expect = { fails = "errors[23514].count", holds = "lock_wait.max", because = "the old version's checkouts break the promise until there is a default" },
}
