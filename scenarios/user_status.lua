-- users.is_active, a boolean, becomes users.status, one of three words, while the shop is open. Expand, let both live side by side,
-- fill, prove, deploy, contract; every step can be undone, also under traffic of the new version.
local rehearse = require "rehearse"

-- Both directions and INSERT: the old version knows is_active alone, the new one status alone, and both run during the deploy.
local SYNC = {
	[[CREATE FUNCTION sync_user_status() RETURNS trigger LANGUAGE plpgsql AS $$
	BEGIN
		IF TG_OP = 'INSERT' AND NEW.status IS NULL THEN
			NEW.status := CASE WHEN NEW.is_active THEN 'active' ELSE 'disabled' END;
		ELSIF TG_OP = 'INSERT' OR NEW.status IS DISTINCT FROM OLD.status THEN
			NEW.is_active := NEW.status = 'active';
		ELSIF NEW.is_active IS DISTINCT FROM OLD.is_active THEN
			NEW.status := CASE WHEN NEW.is_active THEN 'active' ELSE 'disabled' END;
		END IF;
		RETURN NEW;
	END $$]],
	[[CREATE TRIGGER sync_user_status BEFORE INSERT OR UPDATE OF is_active, status ON users
		FOR EACH ROW EXECUTE FUNCTION sync_user_status()]],
}
local NO_SYNC = { "DROP TRIGGER sync_user_status ON users", "DROP FUNCTION sync_user_status()" }

return rehearse.scenario {
	title = "users.is_active becomes users.status",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	versions = {
		v2 = {
			statements = {
				get_user = "SELECT id, email, full_name, status, last_login, locale, profile FROM users WHERE id = $1",
				find_user = "SELECT id, full_name, status FROM users WHERE email = $1",
				touch_user = "UPDATE users SET last_login = now(), login_count = login_count + 1 WHERE id = $1 AND status = 'active'",
				set_active = "UPDATE users SET status = CASE WHEN $2::boolean THEN 'active' ELSE 'disabled' END WHERE id = $1",
			},
		},
	},

	steps = {
		rehearse.sql { name = "add status",
			up = "ALTER TABLE users ADD COLUMN status text",
			down = "ALTER TABLE users DROP COLUMN status" },

		rehearse.sql { name = "allow three words",
			up = [[ALTER TABLE users ADD CONSTRAINT users_status_check CHECK (status IN ('active', 'paused', 'disabled')) NOT VALID]],
			down = "ALTER TABLE users DROP CONSTRAINT users_status_check" },

		rehearse.sql { name = "keep both in step", up = SYNC, down = NO_SYNC },

		rehearse.backfill { name = "fill status", table = "users", key = "id",
			set = "status = CASE WHEN is_active THEN 'active' ELSE 'disabled' END",
			where = "status IS NULL",
			batch = rehearse.setting("batch", 4000), pause = "150ms",
			throttle = { replay_lag = "5s", p99 = "500ms" } },

		-- Not before the rows are filled: a NOT VALID constraint still binds every row that is updated.
		rehearse.sql { name = "promise a status",
			up = "ALTER TABLE users ADD CONSTRAINT users_status_present CHECK (status IS NOT NULL) NOT VALID",
			down = "ALTER TABLE users DROP CONSTRAINT IF EXISTS users_status_present" },

		-- Reads the whole table under a lock that lets reads and writes pass; so not in one transaction with what came before.
		rehearse.sql { name = "prove it", transaction = false,
			up = { "ALTER TABLE users VALIDATE CONSTRAINT users_status_check", "ALTER TABLE users VALIDATE CONSTRAINT users_status_present" },
			down = false },

		-- The proven constraint spares SET NOT NULL its scan (PostgreSQL 12 and later).
		rehearse.sql { name = "require a status",
			up = { "ALTER TABLE users ALTER COLUMN status SET NOT NULL", "ALTER TABLE users DROP CONSTRAINT users_status_present" },
			down = "ALTER TABLE users ALTER COLUMN status DROP NOT NULL" },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },

		-- The way back, third part: is_active is in step for rows that change; this is for those that did not.
		rehearse.sql { name = "refill is_active",
			up = false,
			down = "UPDATE users SET is_active = false WHERE is_active AND status <> 'active'" },

		rehearse.sql { name = "stop keeping both in step", up = NO_SYNC, down = SYNC },

		rehearse.sql { name = "drop is_active",
			up = "ALTER TABLE users DROP COLUMN is_active",
			down = "ALTER TABLE users ADD COLUMN is_active boolean NOT NULL DEFAULT true" },
	},

	checks = {
		both_agree = { after = "roll out v2", sql = "SELECT id, is_active, status FROM users WHERE is_active <> (status = 'active')" },
		known_states = "SELECT id, status FROM users WHERE status IS NULL OR status NOT IN ('active', 'paused', 'disabled')",
	},

	criteria = {
		"migration.statement.max < 10s",
		"step[fill status].duration < 60s",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 250ms",
		"latency.p99 during rollback < 250ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 10s",
		"checks.clean",
		"rollback.clean",
	},
}
