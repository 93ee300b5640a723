-- The comparison behind rollback.clean, on fingerprints made by hand.
local clean = require "rehearse.clean"

local tests = {}
local host = { array = function(t) return t end }

local function print_of(changes)
	local p = {
		catalog = { ["column t.a"] = "bigint; NOT NULL", ["index t_pkey"] = "CREATE UNIQUE INDEX" },
		places = { t = { order = "a, b", holes = 0 } },
		positions = { s = 10 },
		behind = {},
		content = { t = { rows = 3, hash = "17", columns = "a, b" }, busy = { rows = 5, hash = "1", columns = "x" } },
		writes = { t = 0, busy = 0 },
	}
	for k, v in pairs(changes or {}) do p[k] = v end
	return p
end

local function compare(after, baseline, touched)
	return clean.compare(host, print_of(), print_of(after), baseline or {}, touched or {})
end

tests["the same twice is identical"] = function()
	local c = compare()
	assert(c.verdict == "identical" and #c.differences == 0 and c.tables[1].method == "whole" and c.tables[1].same)
end

tests["another order of columns, holes and a sequence that was set back are equivalent"] = function()
	local c = compare { places = { t = { order = "b, a", holes = 1 } }, positions = { s = 4 } }
	assert(c.verdict == "equivalent" and #c.differences == 3)
end

tests["a sequence that went on is no difference"] = function()
	assert(compare({ positions = { s = 99 } }).verdict == "identical")
end

tests["a sequence that stands behind the keys that there are is dirty"] = function()
	local c = compare { positions = { s = 4 }, behind = { s = "stands at 4, and t.a has 10" } }
	assert(c.verdict == "dirty" and c.differences[1].detail:find("stands at 4, and t.a has 10", 1, true))
end

tests["what is left over, gone or changed is dirty, and is listed"] = function()
	local c = compare { catalog = { ["column t.a"] = "bigint", ["index t_ccnew"] = "INVALID" }, places = { t = { order = "b, a", holes = 0 } } }
	assert(c.verdict == "dirty" and #c.differences == 4)
end

tests["other values in a table that only the migration wrote are dirty"] = function()
	local content = { t = { rows = 3, hash = "18", columns = "a, b" } }
	local c = compare({ content = content, writes = { t = 9 } }, {}, { t = true })
	assert(c.verdict == "dirty" and c.differences[1].object == "content of t")
end

tests["a table that the load writes is left out, with the reason"] = function()
	local content = { busy = { rows = 9, hash = "5", columns = "x" } }
	local c = compare({ content = content, writes = { busy = 40 } }, { busy = 20 })
	assert(c.verdict == "identical" and c.tables[1].method == "skipped" and c.tables[1].reason:find("20 rows", 1, true))
	c = compare({ content = content, writes = { busy = 40 } })
	assert(c.tables[1].method == "skipped" and c.tables[1].reason:find("not by the migration", 1, true))
end

tests["when nobody can tell what the migration wrote, other values are dirty wherever the load does not write"] = function()
	local content = { busy = { rows = 5, hash = "2", columns = "x" } }
	local c = compare({ content = content, writes = { busy = 3 } }, { busy = 0 }, { anything = true })
	assert(c.verdict == "dirty" and c.differences[1].object == "content of busy")
	assert(compare({ content = content, writes = { busy = 3 } }, { busy = true }, { anything = true }).verdict == "identical")
end

-- Marks as the load's what one statement writes, of the tables busy and busy_1, a partition of busy. Returns whether that is all, and the marks.
local function mark(parsed, trigger_on)
	local was = package.loaded.sql
	package.loaded.sql = { parse = function() return parsed end }
	local session = { query = function(_, sql)
		return { ok = true, values = sql:find("pg_trigger", 1, true) and (trigger_on and { { trigger_on } } or {}) or { { "busy_1", "busy" } } }
	end }
	local baseline = { busy = 0, busy_1 = 0, t = 0 }
	local all = clean.mark_written(session, baseline, { "a statement" })
	package.loaded.sql = was
	return all, baseline
end

tests["what the load writes is known by its statements, but for what triggers and functions do"] = function()
	local insert = { { InsertStmt = { relation = { relname = "busy" } } } }
	local all, marks = mark(insert)
	assert(all and marks.busy == true and marks.t == 0)
	assert(mark(insert, "t") and not mark(insert, "busy") and not mark(nil))
	assert(not mark { { SelectStmt = { FuncCall = { funcname = { { String = { sval = "pay" } } } } } } })
end

tests["a partition is left out only when it was written during the run"] = function()
	local _, marks = mark { { InsertStmt = { relation = { relname = "busy" } } } }
	local function one(rows, writes)
		local was, is = print_of { content = { busy_1 = { rows = 0, hash = "0", columns = "x" } }, writes = { busy_1 = 0 } }, print_of { content = { busy_1 = { rows = rows, hash = "1", columns = "x" } }, writes = { busy_1 = writes } }
		return clean.compare(host, was, is, marks, { anything = true })
	end
	assert(one(6, 6).verdict == "identical" and one(6, 6).tables[1].reason == "the load writes the table that it is a part of")
	assert(one(0, 0).verdict == "dirty" and one(0, 0).tables[1].method == "whole")
end

return tests
