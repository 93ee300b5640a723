-- What the article says: a loop in a DO block that updates 5,000 rows at a time and sleeps in between does not lock much. What is true: without
-- COMMIT it is one transaction; each row stays locked from its batch to the end of the loop, and the pauses only make that longer.
-- What gave it away: logins that waited for seconds, behind batches that took milliseconds.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "Batches that are one transaction",
	workload = "shop",
	load = { rate = 100, pods = 2, pool = 8, mix = { login = 60 } },
	phases = { warmup = "0", baseline = "2s", settle = "1s" },
	scale = 0.02,

	steps = {
		rehearse.sql { name = "add account_state", up = "ALTER TABLE users ADD COLUMN account_state text", down = "ALTER TABLE users DROP COLUMN account_state" },
		-- 40 batches, as they would be of 200,000 users.
		rehearse.sql { name = "fill in batches", down = false, up = [[DO $$
			DECLARE
				batch_size int := 50;
				last_id bigint := 0;
				max_id bigint;
			BEGIN
				SELECT max(id) INTO max_id FROM users;
				WHILE last_id < max_id LOOP
					UPDATE users SET account_state = locale WHERE id > last_id AND id <= last_id + batch_size AND account_state IS NULL;
					last_id := last_id + batch_size;
					PERFORM pg_sleep(0.05);
				END LOOP;
			END $$]] },
	},

	criteria = { "step[fill in batches].longest_wait < 200ms", "reads_blocked.max < 200ms", "errors.rate < 0.1%" },
	expect = { fails = "step[fill in batches].longest_wait", holds = { "reads_blocked.max", "errors.rate" },
		because = "whoever logged in after the first batches waited for the last" },
}
