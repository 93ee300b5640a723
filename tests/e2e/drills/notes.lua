-- A table that the traffic writes, one that it only reads, and one that nobody looks at.
local workload = require "workload"
local notes
return workload {
	name = "notes",
	schema = [[CREATE TABLE notes (id bigint NOT NULL, seen int NOT NULL DEFAULT 0, body text, done boolean NOT NULL DEFAULT false);
		CREATE TABLE tags (name text, color text DEFAULT 'red'); CREATE TABLE old (id int, v text)]],
	generate = {
		{ table = "notes", columns = "id, body", rows = function(scale) return math.floor(2000 * scale) end,
			row = function(i, r) return i, r:text(60) end },
		{ table = "tags", columns = "name", rows = 50, row = function(i) return "tag" .. i end },
		{ table = "old", columns = "id, v", rows = 20, row = function(i) return i, "v" .. i end },
	},
	finish = { "ALTER TABLE notes ADD PRIMARY KEY (id)", "VACUUM (ANALYZE) notes" },
	setup = function(info) notes = info.rows.notes end,
	statements = { get = "SELECT body, done FROM notes WHERE id = $1", mark = "UPDATE notes SET seen = seen + 1, done = true WHERE id = $1" },
	transactions = {
		get = { weight = 3, read_only = true, args = function(r) return r:int(1, notes) end, run = function(c, id) c:exec("get", id) end },
		mark = { weight = 1, args = function(r) return r:int(1, notes) end, run = function(c, id) c:begin() c:exec("mark", id) c:commit() end },
	},
}
