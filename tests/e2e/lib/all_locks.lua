-- A lock of known length inside a transaction, one that is waited for in vain, and an index built beside the traffic: for servers of
-- all versions, and roles that may do little.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "Locks of all kinds",
	workload = "shop",
	load = { rate = 80, pods = 1, pool = 4 },
	phases = { warmup = "1s", baseline = "1s", settle = "1s", checkpoint = true },
	checks = { always_true = { sql = "SELECT id FROM users WHERE id < 0", every = "100ms" }, sometimes_not = { sql = "SELECT 1 WHERE to_regclass('one') IS NULL", every = "100ms", after = "hold" } },
	steps = {
		rehearse.sql { name = "hold", up = { "LOCK TABLE users IN ACCESS EXCLUSIVE MODE", "SELECT pg_sleep(0.6)" }, irreversible = "it changes nothing" },
		rehearse.sql { name = "rewrite", up = "ALTER TABLE users ALTER COLUMN email TYPE varchar(400) USING email || ''", irreversible = "it is for a test" },
		rehearse.sql { name = "index", up = { "CREATE INDEX CONCURRENTLY one ON orders (user_id)", "DO $$ BEGIN LOCK TABLE orders IN SHARE MODE; PERFORM pg_sleep(0.2); END $$" }, transaction = false, irreversible = "it is for a test", lock_timeout = "30s" },
	},
}
