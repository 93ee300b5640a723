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

return tests
