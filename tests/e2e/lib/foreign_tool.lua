-- A tool that is not ours migrates beside us, and a statement of ours fails to get its lock behind it. It thinks for a while between
-- its own statements, so that there is a look at the one that takes the lock before the next one comes.
local rehearse = require "rehearse"

return rehearse.scenario {
	title = "A tool of others",
	workload = "shop",
	load = { rate = 100, pods = 1, pool = 4 },
	phases = { warmup = "1s", baseline = "1s", settle = "1s" },
	migration_sessions = { application_name = "some tool%" },
	steps = {
		rehearse.step { name = "tool", irreversible = "it is for a test", up = function(m)
			local socket, port, db, role = m:row "SELECT trim('\"' FROM current_setting('unix_socket_directories')), current_setting('port'), current_database(), current_user"
			local tool = io.popen(string.format(
				[[PGAPPNAME='some tool 1.0' psql -X -q -h '%s' -p %s -U %s -d %s -c 'BEGIN' -c 'LOCK TABLE users IN ACCESS EXCLUSIVE MODE' -c '\! sleep 0.4' -c 'SELECT pg_sleep(1.5)' -c 'COMMIT' 2>&1]],
				socket, port, role, db))
			m:sleep "700ms"
			local ok = pcall(m.exec, m, "ALTER TABLE users ADD COLUMN late int")
			m:sleep "2s"
			local said = tool:read "a"
			tool:close()
			if ok or said:match "ERROR" or said:match "error" then m:fail("not as planned: %s", said) end
		end, lock_timeout = "700ms" },
	},
}
