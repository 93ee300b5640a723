-- Ways back that are wrong, one a run: --set down=...
local rehearse = require "rehearse"
local SYNC = { "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f()" }
local WRONG = {
	trigger = rehearse.sql { name = "wrong", up = SYNC, down = "SELECT 1" },
	default = rehearse.sql { name = "wrong", up = "ALTER TABLE tags ALTER COLUMN color SET DEFAULT 'blue'", down = "ALTER TABLE tags ALTER COLUMN color DROP DEFAULT" },
	data = rehearse.sql { name = "wrong", up = "ALTER TABLE notes DROP COLUMN done", down = "ALTER TABLE notes ADD COLUMN done boolean NOT NULL DEFAULT false" },
	meanwhile = rehearse.sql { name = "wrong", up = { "CREATE TABLE notes2 (LIKE notes INCLUDING ALL)", "INSERT INTO notes2 SELECT * FROM notes", "ALTER TABLE notes RENAME TO notes1", "ALTER TABLE notes2 RENAME TO notes" },
		down = { "DROP TABLE notes", "ALTER TABLE notes1 RENAME TO notes" } },
	body = rehearse.sql { name = "wrong", up = "ALTER TABLE notes DROP COLUMN body", down = "ALTER TABLE notes ADD COLUMN body text" },
	rows = rehearse.sql { name = "wrong", up = "CREATE TABLE more (id int)", down = { "DROP TABLE more", "DELETE FROM notes WHERE id = 7" } },
}
return rehearse.scenario { title = "a way back that is wrong", workload = "notes", load = { rate = 40, pods = 1, pool = 2 },
	phases = { warmup = "0", baseline = "500ms", settle = "0" }, criteria = { "rollback.clean" },
	versions = { v2 = { statements = { get = "SELECT done FROM notes WHERE id = $1" } } },
	steps = {
		rehearse.deploy { name = "without body", from = "v1", to = "v2", every = "0" },
		rehearse.sql { name = "fine", up = "ALTER TABLE notes ADD COLUMN a int", down = "ALTER TABLE notes DROP COLUMN a" },
		WRONG[rehearse.setting("down", "trigger")],
	},
}
