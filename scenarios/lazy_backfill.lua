-- What users prefer moves out of users.profile, a JSON, into user_settings: v2 carries a user over when it meets them, in reads and in writes, so
-- that those who come are first; a backfill fetches those who do not come; v3 knows the new table alone.
local rehearse = require "rehearse"

local SETTINGS = [[id, COALESCE((profile ->> 'newsletter')::boolean, false), COALESCE(profile ->> 'theme', 'light'), COALESCE(profile -> 'interests', '[]')]]
local ADOPT = "INSERT INTO user_settings (user_id, newsletter, theme, interests) SELECT " .. SETTINGS .. " FROM users WHERE %s ON CONFLICT DO NOTHING"

return rehearse.scenario {
	title = "preferences move from users.profile to user_settings as users come by",
	workload = "shop",
	load = { rate = 250, pods = 4, pool = 6 },
	phases = { baseline = "10s", settle = "3s" },
	rollback_after = "5s",

	versions = {
		v2 = {
			-- The new table, or else the old form, which is carried over at once.
			view_user = function(c, id)
				if c:exec("get_settings", id) == 0 then
					c:exec("adopt", id)
				end
				c:exec("get_user", id)
			end,
			login = function(c, email)
				local id = c:row("find_user", email)
				if id then
					c:begin()
					c:exec("touch_user", id)
					c:exec("adopt", id)
					c:commit()
				end
			end,
			statements = {
				get_settings = "SELECT newsletter, theme, interests FROM user_settings WHERE user_id = $1",
				adopt = ADOPT:format("id = $1"),
			},
		},
		v3 = {
			view_user = function(c, id)
				c:exec("get_user", id)
			end,
			statements = {
				get_user = [[SELECT u.id, u.email, u.full_name, u.is_active, u.last_login, u.locale, s.newsletter, s.theme, s.interests
					FROM users u JOIN user_settings s ON s.user_id = u.id WHERE u.id = $1]],
			},
		},
	},

	steps = {
		-- The reference is promised while the table is empty, so nothing has to be looked up.
		rehearse.sql { name = "create user_settings",
			up = [[CREATE TABLE user_settings (
				user_id bigint PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
				newsletter boolean NOT NULL,
				theme text NOT NULL,
				interests jsonb NOT NULL,
				since timestamptz NOT NULL DEFAULT now())]],
			down = "DROP TABLE user_settings" },

		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1500ms" },

		rehearse.wait_until { name = "those who come", time = rehearse.setting("lazy", "10s") },

		rehearse.backfill { name = "those who do not", table = "users", key = "id", statement = ADOPT:format(":range"),
			where = "NOT EXISTS (SELECT FROM user_settings WHERE user_id = users.id)",
			batch = rehearse.setting("batch", 5000), pause = rehearse.setting("pause", "100ms"), throttle = { replay_lag = "10s", p99 = "1s" } },

		rehearse.deploy { name = "roll out v3", from = "v2", to = "v3", every = "1500ms" },
	},

	checks = {
		everybody = { after = "those who do not", sql = "SELECT id FROM users WHERE NOT EXISTS (SELECT FROM user_settings WHERE user_id = users.id)" },
		both_agree = "SELECT u.id FROM (SELECT " .. SETTINGS .. [[ FROM users) AS u (id, newsletter, theme, interests)
			LEFT JOIN user_settings s ON s.user_id = u.id WHERE (u.newsletter, u.theme, u.interests) IS DISTINCT FROM (s.newsletter, s.theme, s.interests)]],
	},

	criteria = {
		"migration.statement.max < 10s",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 500ms",
		"latency.p99 during rollback < 500ms",
		"errors.rate < 0.1%",
		"replication.replay_lag.max < 30s",
		"checks.clean",
		"rollback.clean",
	},
}
