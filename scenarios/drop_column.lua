-- users.login_count goes. First the version that does without it, everywhere; then, for as long as one may want to go back, the column
-- stays and is written no more; the drop itself is a moment. Its values are copied before, a batch at a time, or the way back would
-- have nothing to bring.
local rehearse = require "rehearse"

local BATCH = rehearse.setting("batch", 4000)

local function bring_back(m)
	local at = 0
	while at do
		local upto
		m:transaction(function()
			upto = m:row("SELECT max(id) FROM (SELECT id FROM users_login_count WHERE id > $1 ORDER BY id LIMIT $2) AS batch", at, BATCH)
			if upto then
				m:exec([[UPDATE users AS u SET login_count = old.login_count FROM users_login_count AS old
					WHERE old.id = u.id AND old.id > $1 AND old.id <= $2 AND u.login_count <> old.login_count]], at, upto)
			end
		end)
		at = upto
	end
end

return rehearse.scenario {
	title = "users.login_count is dropped",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	versions = {
		v2 = { statements = { touch_user = "UPDATE users SET last_login = now() WHERE id = $1 AND is_active" } },
	},

	steps = {
		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },

		-- Nobody writes the column any more, so what is copied stays true.
		rehearse.sql { name = "room for a copy",
			up = "CREATE TABLE users_login_count (id bigint PRIMARY KEY, login_count integer NOT NULL)",
			down = "DROP TABLE users_login_count" },

		rehearse.backfill { name = "copy", table = "users", key = "id",
			statement = "INSERT INTO users_login_count SELECT id, login_count FROM users WHERE :range ON CONFLICT DO NOTHING",
			where = "NOT EXISTS (SELECT FROM users_login_count AS copy WHERE copy.id = users.id)",
			batch = BATCH, pause = "50ms", throttle = { replay_lag = "5s", p99 = "500ms" } },

		rehearse.sql { name = "bring the values back", transaction = false, up = false, down = bring_back },

		rehearse.sql { name = "drop it",
			up = "ALTER TABLE users DROP COLUMN login_count",
			down = "ALTER TABLE users ADD COLUMN login_count integer NOT NULL DEFAULT 0" },
	},

	checks = {
		all_copied = "SELECT id FROM users WHERE NOT EXISTS (SELECT FROM users_login_count AS copy WHERE copy.id = users.id)",
	},

	criteria = {
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"latency.p99 during rollback < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 10s",
		"checks.clean",
		"rollback.clean",
	},
}
