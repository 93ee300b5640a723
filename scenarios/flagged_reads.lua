-- A column moves, and what is read from where is the flag's business, not the deploy's: the new version writes both places from its first
-- pod on, reads the old one until the flag says otherwise, and then the new one, with the old one for rows that nobody has filled yet.
-- Should the new values be wrong, the flag goes back and nothing else has to.
local rehearse = require "rehearse"

-- v2 reads either place, by the flag; v3 knows the new one alone.
local OLD = "SELECT id, email, full_name, is_active, last_login, locale, profile FROM users WHERE id = $1"
local NEW = "SELECT id, email, COALESCE(display_name, full_name), is_active, last_login, locale, profile FROM users WHERE id = $1"

return rehearse.scenario {
	title = "Reads move to a new column behind a flag",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },

	versions = {
		-- Members rename themselves; the old version knows no such thing, and writes the one column.
		v2 = {
			view_user = function(c, id) c:exec(c.flags.read_new and "get_user_new" or "get_user", id) end,
			search_by_email = function(c, email) c:exec(c.flags.read_new and "find_user_new" or "find_user", email) end,
			set_active = function(c, id, on)
				c:begin()
				c:exec("set_active", id, on)
				c:exec("set_name", id, on and "Member " .. id or "Gone " .. id)
				c:commit()
			end,
			statements = {
				get_user = OLD, get_user_new = NEW,
				find_user_new = "SELECT id, COALESCE(display_name, full_name), is_active FROM users WHERE email = $1",
				set_name = "UPDATE users SET full_name = $2, display_name = $2 WHERE id = $1",
			},
		},
		v3 = {
			extends = "v2",
			view_user = function(c, id) c:exec("get_user_new", id) end,
			search_by_email = function(c, email) c:exec("find_user_new", email) end,
			statements = {
				get_user_new = "SELECT id, email, display_name, is_active, last_login, locale, profile FROM users WHERE id = $1",
				find_user_new = "SELECT id, display_name, is_active FROM users WHERE email = $1",
			},
		},
	},

	steps = {
		rehearse.sql { name = "add display_name",
			up = "ALTER TABLE users ADD COLUMN display_name text",
			down = "ALTER TABLE users DROP COLUMN display_name" },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1s" },

		-- With the fallback in place the flag need not wait for the backfill.
		rehearse.flag { name = "read the new one", flag = "read_new", from = false, to = true },

		rehearse.backfill { name = "fill display_name", table = "users", key = "id", set = "display_name = full_name", where = "display_name IS NULL",
			batch = rehearse.setting("batch", 2000), pause = "100ms", throttle = { replay_lag = "5s", p99 = "500ms" } },

		-- Back and forth once, as one would if the new values were wrong.
		rehearse.flag { name = "back to the old one", flag = "read_new", from = true, to = false },
		rehearse.flag { name = "and forth again", flag = "read_new", from = false, to = true },

		-- No fallback from here on: so not before every row is filled.
		rehearse.deploy { name = "roll out v3", from = "v2", to = "v3", every = "1s" },
	},

	checks = {
		both_agree = "SELECT id, full_name, display_name FROM users WHERE display_name <> full_name",
		all_filled = { after = "fill display_name", sql = "SELECT id FROM users WHERE display_name IS NULL" },
	},

	criteria = {
		"step[fill display_name].duration < 10min",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 10s",
		"checks.clean",
		"rollback.clean",
	},
}
