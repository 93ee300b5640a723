-- What is known of a schema without asking a server: learned from the CREATE and ALTER statements that made it, and kept up to date
-- by those of the migration.
local tree = require "catalogue.tree"

local Schema = {}
Schema.__index = Schema

-- tables: name -> { columns = { name -> type }, not_null, indexes, checks = { name -> { columns, valid, not_null = column } },
-- fks = { name -> { parent, valid } }, unnamed foreign keys under the names that PostgreSQL gives, partitioned, default_partition,
-- bounds (a valid CHECK is there), made (by the migration, and still without rows of the application), unused (made with its rows, by a query),
-- unseen (made in the transaction that is still open), temporary }.
-- indexes: name -> table; those of a table know whether they are unique and their columns ("" for an expression; nil: not known). functions: name -> volatility. views: name -> tables that it reads, matviews too. domains: name -> it has a constraint.
function Schema.new()
	return setmetatable({ tables = {}, indexes = {}, functions = {}, views = {}, domains = {}, new_indexes = {} }, Schema)
end

local function copy_of(value)
	if type(value) ~= "table" then return value end
	local out = {}
	for k, v in pairs(value) do out[k] = copy_of(v) end
	return out
end

function Schema:copy() return setmetatable(copy_of(self), Schema) end

function Schema:table(name)
	local found = self.tables[name]
	if not found then
		found = { columns = {}, not_null = {}, indexes = {}, checks = {}, fks = {}, guessed = true }
		self.tables[name] = found
	end
	return found
end

function Schema:is_made(name) return self.tables[name] ~= nil and self.tables[name].made == true end

-- There may be rows in it, but nobody else can be using it.
function Schema:is_hidden(name)
	local t = self.tables[name]
	return t ~= nil and (t.unused or t.unseen or t.temporary) == true
end

-- From here on there are rows in it; in all of them, and the application uses them, without a name.
function Schema:fill(name)
	for _, t in pairs(name == nil and self.tables or { self.tables[name] }) do t.made, t.unused = nil, nil end
	if name == nil then self:end_transaction() end
end

-- What was made in a transaction is seen by others once it ends.
function Schema:end_transaction()
	for _, t in pairs(self.tables) do t.unseen = nil end
end

function Schema:index_names(name)
	local out = {}
	for index in pairs(self:table(name).indexes) do out[#out + 1] = index end
	table.sort(out)
	return out
end

-- Tables that a table's foreign keys lead to.
function Schema:parents(name)
	local seen, out = {}, {}
	for _, fk in pairs(self:table(name).fks) do
		if not seen[fk.parent] and fk.parent ~= name then
			seen[fk.parent] = true
			out[#out + 1] = fk.parent
		end
	end
	table.sort(out)
	return out
end

-- Tables whose foreign keys lead to this one.
function Schema:children(name)
	local out = {}
	for child, t in pairs(self.tables) do
		for _, fk in pairs(t.fks) do
			if fk.parent == name and child ~= name and out[#out] ~= child then out[#out + 1] = child end
		end
	end
	table.sort(out)
	return out
end

-- Partitions of a table, theirs, and the tables that inherit from it.
function Schema:descendants(name, seen)
	local out = seen or {}
	for child, t in pairs(self.tables) do
		if t.partition_of == name and not out[child] then
			out[child], out[#out + 1] = true, child
			self:descendants(child, out)
		end
	end
	if not seen then table.sort(out) end
	return out
end

-- A valid CHECK (column IS NOT NULL), alone or beside others.
function Schema:proves_not_null(name, column)
	for _, check in pairs(self:table(name).checks) do if check.valid and check.not_null[column] then return true end end
	return self:table(name).not_null[column] == true
end

function Schema:is_checked(name, column)
	for _, check in pairs(self:table(name).checks) do if check.columns[column] then return true end end
	return false
end

-- Columns that an expression says are not null: col IS NOT NULL, and its parts of an AND.
local function not_null_columns(expression, out)
	out = out or {}
	if type(expression) ~= "table" then return out end
	if expression.NullTest and expression.NullTest.nulltesttype == "IS_NOT_NULL" then
		for column in pairs(tree.columns(expression.NullTest.arg)) do out[column] = true end
	elseif expression.BoolExpr and expression.BoolExpr.boolop == "AND_EXPR" then
		for _, part in ipairs(expression.BoolExpr.args or {}) do not_null_columns(part, out) end
	end
	return out
end

-- The foreign keys of a table that a column is part of: name -> { parent, ... }.
function Schema:foreign_keys_of(name, column)
	local out = {}
	for key, fk in pairs(self:table(name).fks) do
		for _, own in ipairs(fk.columns or {}) do if own == column then out[key] = fk end end
	end
	return out
end

-- The foreign keys that lead to a column: { { table, name } ... }. Those that do not name it lead to the primary key.
function Schema:foreign_keys_to(name, column)
	local out, is_key = {}, false
	for _, key in ipairs(self:table(name).key or {}) do is_key = is_key or key == column end
	for child, t in pairs(self.tables) do
		for key, fk in pairs(t.fks) do
			local leads = fk.parent == name and not fk.parent_columns and is_key
			for _, referenced in ipairs(fk.parent == name and fk.parent_columns or {}) do leads = leads or referenced == column end
			if leads then out[#out + 1] = { table = child, name = key } end
		end
	end
	table.sort(out, function(a, b) return a.table .. "." .. a.name < b.table .. "." .. b.name end)
	return out
end

local function base_name(name) return name:match("[^.]+$") end

function Schema:add_index(index, name, unique, columns)
	self.indexes[index] = name
	self:table(name).indexes[index] = { unique = unique, columns = columns }
end

-- An index of a table by its name alone, as USING INDEX has it, and the name that it is known by here; nil when it is not known.
function Schema:index_of(name, index)
	local full = tree.qualify(name:match("^(.*)%.[^.]*$"), index)
	return self:table(name).indexes[full], full
end

-- Is each column of that index known to hold no NULL? Nil when the index is not known.
function Schema:is_index_not_null(name, index)
	local found = self:index_of(name, index)
	if not found or not found.columns then return nil end
	for _, column in ipairs(found.columns) do if not self:proves_not_null(name, column) then return false end end
	return true
end

-- A constraint of a table, or of a column of it.
function Schema:add_constraint(name, c, column)
	local t = self:table(name)
	local short = base_name(name)
	if c.contype == "CONSTR_CHECK" then
		t.checks[c.conname or short .. "_" .. (column or "") .. "_check"] =
			{ columns = tree.columns(c.raw_expr), valid = not c.skip_validation, not_null = not_null_columns(c.raw_expr) }
	elseif c.contype == "CONSTR_FOREIGN" then
		local keys = c.fk_attrs and tree.strings(c.fk_attrs) or { column or "" }
		t.fks[c.conname or short .. "_" .. table.concat(keys, "_") .. "_fkey"] = { parent = tree.relation(c.pktable) or "", valid = not c.skip_validation, columns = keys, parent_columns = c.pk_attrs and tree.strings(c.pk_attrs) }
	elseif (c.contype == "CONSTR_NOTNULL" or c.contype == "CONSTR_IDENTITY") and column then
		t.not_null[column] = true
	elseif c.contype == "CONSTR_PRIMARY" or c.contype == "CONSTR_UNIQUE" or c.contype == "CONSTR_EXCLUSION" then
		local used, full = nil, nil
		if c.indexname then used, full = self:index_of(name, c.indexname) end
		if used then self.indexes[full], t.indexes[full] = nil, nil end   -- it gets the constraint's name
		local keys = c.keys and tree.strings(c.keys) or used and used.columns or { column }
		local kind = c.contype == "CONSTR_PRIMARY" and short .. "_pkey" or short .. "_" .. table.concat(keys, "_") .. (c.contype == "CONSTR_UNIQUE" and "_key" or "_excl")
		self:add_index(c.conname or c.indexname or kind, name, true, #keys > 0 and { table.unpack(keys) } or nil)
		if c.contype == "CONSTR_PRIMARY" then
			t.key = keys
			for _, key in ipairs(keys) do t.not_null[key] = true end
		end
	end
end

function Schema:add_column(name, def)
	local t = self:table(name)
	local kind = tree.type(def.typeName)
	t.columns[def.colname or ""] = kind
	if kind and tree.SERIAL[kind.name] then t.not_null[def.colname or ""] = true end
	for _, c in ipairs(def.constraints or {}) do if c.Constraint then self:add_constraint(name, c.Constraint, def.colname) end end
end

local apply = {}

function apply.CreateStmt(self, s, made)
	local name = tree.relation(s.relation)
	if not name or self.tables[name] and not self.tables[name].guessed then return end
	self.tables[name] = { columns = {}, not_null = {}, indexes = {}, checks = {}, fks = {}, made = made or nil, unseen = made and self.in_transaction or nil,
		temporary = s.relation.relpersistence == "t" or nil, logged = s.relation.relpersistence == "p" }
	local t = self.tables[name]
	t.partitioned = s.partspec ~= nil
	local parent = s.inhRelations and s.inhRelations[1] and tree.relation(s.inhRelations[1].RangeVar)
	if parent and not s.partbound then t.partition_of = parent end
	if parent and s.partbound then
		for column, kind in pairs(self:table(parent).columns) do t.columns[column] = kind end
		for column in pairs(self:table(parent).not_null) do t.not_null[column] = true end
		t.partition_of = parent
		if s.partbound.is_default then self:table(parent).default_partition = name end
	end
	for _, element in ipairs(s.tableElts or {}) do
		if element.ColumnDef then self:add_column(name, element.ColumnDef) end
		if element.TableLikeClause then
			local like = self.tables[tree.relation(element.TableLikeClause.relation) or ""]
			for column, kind in pairs(like and like.columns or {}) do t.columns[column] = kind end
			for column in pairs(like and like.not_null or {}) do t.not_null[column] = true end
		end
	end
	for _, element in ipairs(s.tableElts or {}) do if element.Constraint then self:add_constraint(name, element.Constraint) end end
end

-- A table made of the rows of a query.
local function make_filled(self, into, made)
	local name = into and tree.relation(into.rel)
	if not name then return end
	local t = self:table(name)
	t.unused, t.unseen, t.temporary = made or nil, made and self.in_transaction or nil, into.rel.relpersistence == "t" or nil
	return name
end

function apply.CreateTableAsStmt(self, s, made)
	local name = make_filled(self, s.into, made)
	if name and s.objtype == "OBJECT_MATVIEW" then self.views[name] = tree.relations(s.query) end
end

function apply.SelectStmt(self, s, made) make_filled(self, s.intoClause, made) end

function apply.IndexStmt(self, s)
	local name = tree.relation(s.relation)
	local columns, words = {}, {}
	for i, p in ipairs(s.indexParams or {}) do
		columns[i] = p.IndexElem and p.IndexElem.name or ""
		words[i] = columns[i] ~= "" and columns[i] or "expr"
	end
	local index = s.idxname or base_name(name) .. "_" .. table.concat(words, "_") .. "_idx"
	self:add_index(tree.qualify(s.relation.schemaname, index), name, s.unique, columns)
	self.new_indexes[index] = true
end

function apply.ViewStmt(self, s) self.views[tree.relation(s.view) or ""] = tree.relations(s.query) end

function apply.CreateFunctionStmt(self, s)
	local volatility = tree.option(s.options, "volatility")
	self.functions[base_name(tree.name(s.funcname))] = type(volatility) == "table" and tree.text(volatility) or "volatile"
end

function apply.CreateDomainStmt(self, s)
	local constrained = false
	for _, c in ipairs(s.constraints or {}) do if c.Constraint and c.Constraint.contype ~= "CONSTR_DEFAULT" then constrained = true end end
	self.domains[tree.name(s.domainname)] = constrained
end

local function drop_table(self, name)
	for index, on in pairs(self.indexes) do if on == name then self.indexes[index] = nil end end
	self.tables[name] = nil
end

function apply.DropStmt(self, s)
	for _, object in ipairs(s.objects or {}) do
		local name = object.List and tree.name(object.List.items) or ""
		if s.removeType == "OBJECT_TABLE" then drop_table(self, name)
		elseif s.removeType == "OBJECT_INDEX" then
			local on = self.indexes[name]
			if on then self:table(on).indexes[name] = nil end
			self.indexes[name] = nil
		elseif s.removeType == "OBJECT_VIEW" or s.removeType == "OBJECT_MATVIEW" then self.views[name] = nil end
	end
end

function apply.RenameStmt(self, s)
	local name = tree.relation(s.relation)
	if s.renameType == "OBJECT_TABLE" and name and self.tables[name] then
		local new = tree.qualify(s.relation.schemaname, s.newname)
		self.tables[new], self.tables[name] = self.tables[name], nil
		for index, on in pairs(self.indexes) do if on == name then self.indexes[index] = new end end
		for _, t in pairs(self.tables) do
			for _, fk in pairs(t.fks) do if fk.parent == name then fk.parent = new end end
		end
	elseif s.renameType == "OBJECT_COLUMN" and name then
		local t = self:table(name)
		t.columns[s.newname], t.columns[s.subname or ""] = t.columns[s.subname or ""], nil
		t.not_null[s.newname], t.not_null[s.subname or ""] = t.not_null[s.subname or ""], nil
		local function renamed(list) for i, column in ipairs(list or {}) do if column == s.subname then list[i] = s.newname end end end
		renamed(t.key)
		for _, index in pairs(t.indexes) do renamed(index.columns) end
		for _, other in pairs(self.tables) do
			for _, fk in pairs(other.fks) do
				if other == t then renamed(fk.columns) end
				if fk.parent == name then renamed(fk.parent_columns) end
			end
		end
	elseif s.renameType == "OBJECT_INDEX" and name and self.indexes[name] then
		local on, new = self.indexes[name], tree.qualify(s.relation.schemaname, s.newname)
		self:table(on).indexes[new], self:table(on).indexes[name] = self:table(on).indexes[name], nil
		self.indexes[new], self.indexes[name] = on, nil
	end
end

local alter = {}
function alter.AT_AddColumn(self, name, c) self:add_column(name, c.def.ColumnDef) end
function alter.AT_DropColumn(self, name, c)
	local t = self:table(name)
	t.columns[c.name or ""], t.not_null[c.name or ""] = nil, nil
	for check, known in pairs(t.checks) do if known.columns[c.name or ""] then t.checks[check] = nil end end
	for fk in pairs(self:foreign_keys_of(name, c.name or "")) do t.fks[fk] = nil end
end
function alter.AT_SetNotNull(self, name, c) self:table(name).not_null[c.name or ""] = true end
function alter.AT_DropNotNull(self, name, c) self:table(name).not_null[c.name or ""] = nil end
function alter.AT_AlterColumnType(self, name, c) self:table(name).columns[c.name or ""] = tree.type(c.def.ColumnDef.typeName) end
function alter.AT_AddConstraint(self, name, c) self:add_constraint(name, c.def.Constraint) end
function alter.AT_ValidateConstraint(self, name, c)
	local t = self:table(name)
	for _, known in ipairs { t.checks[c.name or ""] or {}, t.fks[c.name or ""] or {} } do known.valid = true end
end
function alter.AT_DropConstraint(self, name, c)
	local t = self:table(name)
	t.checks[c.name or ""], t.fks[c.name or ""], t.indexes[c.name or ""] = nil, nil, nil
	if self.indexes[c.name or ""] == name then self.indexes[c.name or ""] = nil end
end
function alter.AT_AttachPartition(self, name, c)
	local partition = tree.relation(c.def.PartitionCmd.name)
	self:table(partition).partition_of = name
	if c.def.PartitionCmd.bound and c.def.PartitionCmd.bound.is_default then self:table(name).default_partition = partition end
end
function alter.AT_DetachPartition(self, name, c)
	local partition = tree.relation(c.def.PartitionCmd.name)
	if self:table(name).default_partition == partition then self:table(name).default_partition = nil end
	self:table(partition).partition_of = nil
end

function apply.AlterTableStmt(self, s)
	local name = tree.relation(s.relation)
	if s.objtype ~= "OBJECT_TABLE" or not name then return end
	for _, command in ipairs(s.cmds or {}) do
		local c = command.AlterTableCmd
		if c and alter[c.subtype] then alter[c.subtype](self, name, c) end
	end
end

function apply.InsertStmt(self, s) self:fill(tree.relation(s.relation)) end
function apply.CopyStmt(self, s) if s.relation then self:fill(tree.relation(s.relation)) end end

-- Of a CREATE TABLE that the parser cannot read at least the name is known: the migration makes it.
function Schema:learn_unread(sql)
	local lower = sql:lower()
	local at = lower:match("^%s*create%s+table%s+if%s+not%s+exists%s+()") or lower:match("^%s*create%s+[%a%s]-table%s+()")
	if not at then return end
	local parts = {}
	repeat
		local quoted, plain = sql:match('^"([^"]+)"', at), lower:match("^[%w_$]+", at)
		parts[#parts + 1] = quoted or plain
		at = at + (quoted and #quoted + 2 or #(plain or ""))
		local more = sql:sub(at, at) == "."
		at = at + 1
	until not more
	local name = parts[1] and tree.qualify(parts[2] and parts[1], parts[#parts])
	if not name or self.tables[name] then return end
	local t = self:table(name)
	t.unseen = self.in_transaction or nil
	if lower:find("%f[%w]as%s*%(?%s*[sw][ei][lt][eh]", at) then t.unused = true else t.made = true end
end

-- Takes in what a statement of a parse tree ({ CreateStmt = ... }) changes. made: by the migration: a table that it makes is empty.
function Schema:apply(statement, made)
	for kind, s in pairs(statement) do if apply[kind] then apply[kind](self, s, made) end end
end

return Schema
