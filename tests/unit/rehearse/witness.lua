-- Rows that are gone after the way back: whether the traffic may have deleted them itself is read from its statements.
local perform = require "rehearse.perform"
local witness = require "rehearse.witness"

local tests = {}

-- As libpg_query has them, shortened.
local TREES = {
	["DELETE FROM lines WHERE id = $1"] = { { DeleteStmt = { relation = { relname = "lines" } } } },
	["DELETE FROM carts WHERE id = $1"] = { { DeleteStmt = { relation = { relname = "carts" } } } },
	["DELETE FROM old_orders"] = { { DeleteStmt = { relation = { relname = "old_orders" } } } },
	["WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d"] = { { SelectStmt = { withClause = { ctes = { { CommonTableExpr = { ctequery = {
		DeleteStmt = { relation = { relname = "orders" } } } } } } } } } },
	["TRUNCATE orders"] = { { TruncateStmt = { relations = { { RangeVar = { relname = "orders" } } } } } },
	["UPDATE orders SET deleted_at = now()"] = { { UpdateStmt = { relation = { relname = "orders" } } } },
	["SELECT delete_order($1)"] = { { SelectStmt = {} } },
}

-- A database in which a row that came into orders meanwhile is gone. cascades: rows of { from, along }.
local function missing(statement, cascades)
	package.loaded.sql = { parse = function(text) return TREES[text] end }
	local session = {}
	function session:query(sql)
		if sql:find("pg_constraint", 1, true) then return { ok = true, values = cascades or {} } end
		if sql:find("format_type", 1, true) then return { ok = true, values = { { "bigint" } } } end
		return { ok = true, values = { { 17 } } }
	end
	local tables = { { name = "public.orders", columns = { "id" }, counts = true, added = { 16, 17 } },
		{ name = "public.carts", columns = { "id" }, counts = true }, { name = "public.lines", columns = { "id" }, counts = true } }
	local found = witness.missing(session, tables, { "SELECT 1", statement })
	package.loaded.sql = nil
	assert(#found <= 1 and (not found[1] or found[1].detail:find("1 of 2 rows that the traffic added before the way back are gone after it: id 17", 1, true)))
	return #found == 1
end

tests["a row is missed where the traffic deletes from other tables only"] = function()
	assert(missing("DELETE FROM carts WHERE id = $1") and missing("DELETE FROM lines WHERE id = $1"))
	assert(missing("UPDATE orders SET deleted_at = now()"))
end

tests["a row that the traffic may have deleted is not missed"] = function()
	assert(not missing("TRUNCATE orders") and not missing("WITH d AS (DELETE FROM orders RETURNING *) SELECT * FROM d"))
end

tests["nor is one that a foreign key may have deleted along, over several tables too"] = function()
	assert(not missing("DELETE FROM carts WHERE id = $1", { { "carts", "orders" } }))
	assert(not missing("DELETE FROM carts WHERE id = $1", { { "lines", "orders" }, { "carts", "lines" } }))
	assert(missing("DELETE FROM carts WHERE id = $1", { { "orders", "carts" } }))
end

tests["nor one that is deleted nobody knows how: in a function, through a view, by what cannot be read"] = function()
	assert(not missing("SELECT delete_order($1)") and not missing("DELETE FROM old_orders") and not missing("MERGE INTO what is this"))
end

tests["the end of what a program said begins with a line's start"] = function()
	assert(perform.ending("one\ntwo\n", 100) == "one\ntwo")
	assert(perform.ending("one\ntwo\nthree\n\n", 9) == "two\nthree")
	assert(perform.ending("one\ntwo\nthree", 8) == "three")
	assert(perform.ending("a line without end", 8) == "hout end" and perform.ending("a\nlong line", 9) == "long line")
end

return tests
