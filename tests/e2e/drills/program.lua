-- A migration by somebody else's tool, which the drills break in on as on our own; --set steps=idle: programs that ask the server for nothing,
-- --set steps=traffic: no step does.
local rehearse = require "rehearse"
local STEPS = {
	program = { rehearse.exec { name = "widen", up = { "psql", "-Xqc", "ALTER TABLE tags ADD COLUMN size int; UPDATE tags SET size = 1; SELECT pg_sleep(1.5)" },
		down = { "psql", "-Xqc", "ALTER TABLE tags DROP COLUMN size" } } },
	idle = { rehearse.exec { name = "tell", up = "true", down = false }, rehearse.sql { name = "note it", up = "CREATE TABLE noted (id int)", down = "DROP TABLE noted" },
		rehearse.exec { name = "tell again", up = "true", down = false }, rehearse.exec { name = "and again", up = "true", down = false } },
	traffic = { rehearse.load { name = "more of it", rate = 60 } },
}
return rehearse.scenario { title = "a tool widens tags", workload = "notes", load = { rate = 40, pods = 1, pool = 2 },
	phases = { warmup = "0", baseline = "500ms", settle = "300ms" }, criteria = { "migration.completed" }, steps = STEPS[rehearse.setting("steps", "program")],
}
