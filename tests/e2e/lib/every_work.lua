-- One statement for each kind of work that a migration can make the server do.
local rehearse = require "rehearse"

local function step(name, transaction, ...) return rehearse.sql { name = name, up = { ... }, transaction = transaction, irreversible = "it is for a test", retries = 0 } end

return rehearse.scenario {
	title = "Every kind of work",
	workload = "shop",
	load = { rate = 50, pods = 1, pool = 4 },
	phases = { warmup = "1s", baseline = "1s", settle = "1s" },
	steps = {
		step("rewrite", true, "ALTER TABLE users ALTER COLUMN email TYPE varchar(400) USING email || ''", "ALTER TABLE users ADD COLUMN flag boolean"),
		step("verify", true, "SET client_min_messages = warning", "ALTER TABLE users ADD CONSTRAINT kept CHECK (email IS NOT NULL) NOT VALID", "ALTER TABLE users VALIDATE CONSTRAINT kept"),
		step("side", true, "RESET ALL", "ALTER TABLE orders ADD CONSTRAINT owner FOREIGN KEY (user_id) REFERENCES users"),
		step("zone", true, "CREATE TABLE moment (a timestamp, b timestamp)", "SET LOCAL TimeZone = 'UTC'", "ALTER TABLE moment ALTER a TYPE timestamptz",
			"SET LOCAL TimeZone = 'Europe/Paris'", "ALTER TABLE moment ALTER b TYPE timestamptz"),
		step("local", false, "SET LOCAL lock_timeout = '1s'"),
		step("files", false, "CREATE INDEX CONCURRENTLY one ON orders (user_id)", "VACUUM FULL orders", "DO $$ BEGIN RAISE WARNING 'careful'; END $$"),
		step("serializable", false, "SET default_transaction_isolation = serializable"),
		step("read", true, "SELECT count(*) FROM orders", "SELECT count(*) FROM users"),
		step("as it was", false, "RESET default_transaction_isolation"),
		step("leave", false, "CREATE UNIQUE INDEX CONCURRENTLY broken ON orders (user_id)"),
	},
}
