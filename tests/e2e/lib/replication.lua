-- What a standby suffers: replay that is paused for a second, and a reader there who is in the way of a lock.
local rehearse = require "rehearse"

local standby = 'p="psql -XqAt -v ON_ERROR_STOP=1 -p $((PGPORT + 1))"\n'

return rehearse.scenario {
	title = "A standby falls behind",
	workload = "shop",
	load = { rate = 60, pods = 1, pool = 4 },
	phases = { warmup = "1s", baseline = "1s", settle = "3s" },
	steps = {
		rehearse.exec { name = "pause", down = false, timeout = "1min", up = standby .. [[
			$p -c 'SELECT pg_wal_replay_pause()'
			sleep 1.2
			$p -c 'SELECT pg_wal_replay_resume()']] },
		rehearse.exec { name = "reader", down = false, timeout = "1min", up = standby .. [[
			$p -c "ALTER SYSTEM SET max_standby_streaming_delay = '100ms'" -c 'SELECT pg_reload_conf()'
			setsid $p -c 'SELECT count(*), pg_sleep(60) FROM users' > /dev/null 2>&1 &
			until [ "$($p -c "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")" = 1 ]; do sleep 0.1; done]] },
		rehearse.sql { name = "lock", up = "ALTER TABLE users ADD COLUMN flag boolean", irreversible = "it is for a test" },
	},
}
