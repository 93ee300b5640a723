-- Two forms of the same data while traffic writes: one by a trigger, one by the application in two transactions, and one that is simply wrong.
local rehearse = require "rehearse"
return rehearse.scenario {
	title = "old and new agree", workload = "notes", load = { rate = 200, pods = 1, pool = 8, mix = { get = 0 } }, phases = { warmup = "0", baseline = "300ms", settle = "0" },
	observe = { availability = false },
	versions = { v2 = { statements = { copy = "UPDATE copy SET seen = (SELECT seen FROM notes WHERE notes.id = copy.id) WHERE id = $1" },
		-- The new table is written in a transaction of its own, a moment later.
		mark = function(c, id) c:begin() c:exec("mark", id) c:commit() c:sleep("30ms") c:exec("copy", id) end } },
	steps = {
		rehearse.sql { name = "copy", up = { "CREATE TABLE copy (id bigint PRIMARY KEY, seen int)", "ALTER TABLE notes ADD COLUMN twice int",
			"CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.twice := 2 * NEW.seen; RETURN NEW; END'",
			"CREATE TRIGGER t BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION f()" }, irreversible = "a test" },
		rehearse.deploy { name = "write both", from = "v1", to = "v2", every = "10ms" },
		-- Who copies a row meanwhile waits: it would not see ours yet, and the next to see it would see the old one.
		rehearse.sql { name = "fill", up = { "LOCK TABLE copy IN SHARE ROW EXCLUSIVE MODE", "INSERT INTO copy SELECT id, seen FROM notes", "UPDATE notes SET twice = 2 * seen WHERE twice IS NULL" }, irreversible = "a test" },
		rehearse.reconcile { name = "tables", old = "notes", new = "SELECT id, seen FROM copy", key = "id", columns = "seen", chunk = 40, recheck = "300ms" },
		rehearse.reconcile { name = "columns", table = "notes", old = "2 * seen", new = "twice", key = "id", chunk = 70, pause = "1ms" },
		rehearse.sql { name = "spoil", transaction = false, up = { "CREATE TABLE lines AS SELECT 'o''' || id / 10 AS o, id % 10 AS l, body FROM notes",
			"CREATE TABLE lines2 AS SELECT * FROM lines", "UPDATE lines2 SET body = 'else' WHERE o = 'o''3' AND l = 7", "DELETE FROM lines2 WHERE o = 'o''5' AND l = 1", "INSERT INTO lines2 VALUES ('o''99', 1, 'more')" }, irreversible = "a test" },
		rehearse.reconcile { name = "spoilt", old = "lines", new = "lines2", key = { "o", "l" }, chunk = 30, recheck = "1ms" },
	},
	checks = { at_end = rehearse.reconcile { name = "x", table = "notes", old = "2 * seen", new = "twice", key = "id" },
		mistaken = "SELECT id FROM nowhere", with_a_comment = "SELECT id FROM notes WHERE id < 0 -- none", with_an_end = "SELECT id FROM notes WHERE id < 0;" },
}
