-- A column dropped in the release that does without it: in the database first, in the application second. The old version writes it until
-- its last pod is replaced. ../drop_column.lua has the other order, and a way back for the values.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "DROP COLUMN while the old version still writes it",
	workload = "shop",
	load = { rate = 200, pods = 4, pool = 6 },
	phases = { warmup = "1s", baseline = "3s", settle = "1s" },
	scale = 0.02,

	versions = { v2 = { statements = { touch_user = "UPDATE users SET last_login = now() WHERE id = $1 AND is_active" } } },

	steps = {
		rehearse.sql { name = "drop login_count",
			up = "ALTER TABLE users DROP COLUMN login_count", down = "ALTER TABLE users ADD COLUMN login_count integer NOT NULL DEFAULT 0" },
		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "500ms" },
	},

	criteria = { "migration.statement.max < 10s", "lock_wait.max < 1s", "errors[42703].count = 0", "rollback.clean" },
	expect = { fails = "errors[42703].count", holds = { "migration.statement.max", "lock_wait.max" },
		because = "logins through pods of the old version write users.login_count; besides, its values do not come back" },
}
