-- Which tables statements write, as far as their text says it. The content of the others cannot have been changed by them.
local tree = require "catalogue.tree"

local written = {}

local WRITING = { InsertStmt = true, UpdateStmt = true, DeleteStmt = true, MergeStmt = true }
local CODE = { DoStmt = true, CallStmt = true, ExecuteStmt = true }

-- Adds to out the tables that the statements of a parse tree write, by name: { schema (or nil), table }. True: it runs code besides, and nobody
-- can tell what that writes.
function written.find(parsed, out)
	local code = false
	tree.walk(parsed, function(kind, node)
		local relation = (WRITING[kind] or kind == "CopyStmt" and node.is_from) and node.relation
		if relation and relation.relname then out[(relation.schemaname and relation.schemaname .. "." or "") .. relation.relname] = { relation.schemaname, relation.relname } end
		code = code or CODE[kind] or kind == "FuncCall" and not tree.is_builtin(node.funcname)
	end)
	return code
end

-- As the locks of a transaction have it; nothing when there is no such table any more.
local FULL_NAME = [[
SELECT pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass(CASE WHEN $1 = '' THEN '' ELSE pg_catalog.quote_ident($1) || '.' END || pg_catalog.quote_ident($2))]]

-- A statement of the migration outside of a transaction, whose locks are gone when it ends: marks what it wrote in m.touched; touched.anything
-- when that cannot be told.
function written.note(m, text)
	local parsed, tables = require "sql".parse(text), {}   -- the workers' states, which load scenarios too, do without
	if not parsed or written.find(parsed, tables) then m.touched.anything = true end
	for _, name in pairs(tables) do
		local out = m.raw:query(FULL_NAME, name[1] or "", name[2])
		if not out.ok then m.touched.anything = true   -- its session is gone, say
		elseif out.values[1] then m.touched[out.values[1][1]] = true end
	end
end

return written
