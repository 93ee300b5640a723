-- A way back that loses what came meanwhile, --set down=copy, and one that does not.
local rehearse = require "rehearse"
local DOWN = {
	copy = { "DROP TABLE visits", "ALTER TABLE kept RENAME TO visits", "ALTER INDEX kept_pkey RENAME TO visits_pkey" },
	keep = { "DROP TABLE kept", "ALTER TABLE visits DROP COLUMN source" },
}
return rehearse.scenario { title = "visits get a source", workload = "visits", load = { rate = 40, pods = 1, pool = 2 },
	phases = { warmup = "0", baseline = "500ms", settle = "500ms" }, criteria = { "rollback.clean" }, rollback_after = "500ms",
	steps = { rehearse.sql { name = "a source", up = { "CREATE TABLE kept (LIKE visits INCLUDING ALL)", "INSERT INTO kept SELECT * FROM visits", "ALTER TABLE visits ADD COLUMN source text" },
		down = DOWN[rehearse.setting("down", "copy")] } },
}
