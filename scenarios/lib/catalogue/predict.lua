-- What a statement will lock and make the server do, before it runs: its operations in scenarios/catalogue.lua, with the names of
-- this migration in the places of t, parent and the like.
local catalogue = require "catalogue"
local Schema = require "catalogue.schema"
local plpgsql = require "catalogue.plpgsql"
local split = require "rehearse.split"
local tree = require "catalogue.tree"

local Predictor = {}
Predictor.__index = Predictor

-- parse: sql.parse. plpgsql: sql.plpgsql, or nil: then bodies are not read. major: of the server that is meant. The schema starts empty.
function Predictor.new(options)
	return setmetatable({ parse = options.parse, plpgsql = options.plpgsql, major = options.major or 15, schema = Schema.new(), settings = {}, bodies = {}, depth = 0 }, Predictor)
end

local keep_body

-- What the migration finds: SQL texts. Statements that cannot be read are left out.
function Predictor:learn(texts)
	for _, text in ipairs(texts) do
		local parsed = self.parse(text)
		for _, statement in ipairs(parsed and parsed.stmts or {}) do
			local first = (statement.stmt_location or 0) + 1
			local own = text:sub(first, statement.stmt_len and first + statement.stmt_len - 1 or -1)
			if statement.stmt.CreateFunctionStmt then keep_body(self, statement.stmt.CreateFunctionStmt, own) end
			self.schema:apply(statement.stmt, false)
		end
		local pieces = parsed and {} or split(text)
		if #pieces > 1 then self:learn(pieces) end
	end
	self.schema.new_indexes = {}
end

-- ---- operations ----

local RISKS = { low = 1, medium = 2, high = 3 }
local FOREIGN_KEYS = { add_fk = true, add_fk_not_valid = true }
local HEAVY = { rewrite = true, scan = true, index_build = true, fk_validation = true, proved = true }

-- An operation of the catalogue. roles: what stands for t, parent and so on; a role that nothing stands for is left out. Indexes of t, and
-- what is built, are `indexes` and `built`. more: fields that replace those of the table; maybe: why it may be less than this.
local function operation(self, id, roles, more)
	local raw = assert(catalogue.by_id[id], id)
	local op = catalogue.on(raw, self.major)
	local about = roles.t or roles.p or roles.w
	if type(about) == "table" then about = about[1] end
	local out = { id = id, title = op.title, table = about, locks = {}, work = {}, risk = op.risk, why = op.why, safer = op.safer,
		loses_data = op.loses_data, reversible = op.undo ~= nil or op.changes == true, transaction = op.transaction ~= false }
	for role, mode in pairs(op.locks) do
		local names = roles[role]
		for _, name in ipairs(type(names) == "table" and names or { names }) do
			if not out.locks[name] or catalogue.strength[mode] > catalogue.strength[out.locks[name]] then out.locks[name] = mode end
		end
	end
	for what, list in pairs(op.work) do
		local names = {}
		if what == "index_build" then
			names = roles.built and { roles.built } or self.schema:index_names(out.table or "")
			if #names == 0 then names = { "its indexes" } end
		elseif what == "fk_validation" or what == "proved" then
			names = { roles.constraint or out.table }
		else
			for _, role in ipairs(list) do
				local name = roles[role] or out.table
				names[#names + 1] = type(name) == "table" and name[1] or name
			end
		end
		out.work[what] = names
	end
	for field, value in pairs(more or {}) do out[field] = value end
	-- Nobody waits for a table that is made here, or that only this session sees; without rows there is nothing to do in it either.
	local own = type(out.table) == "string" and out.table or nil
	for name in pairs(out.locks) do if self.schema:is_made(name) or self.schema:is_hidden(name) then out.locks[name] = nil end end
	if own and self.schema:is_made(own) then
		out.made = true
		out.risk, out.why, out.safer = "low", "The table is made here and has no rows yet.", "nothing"
		for what in pairs(HEAVY) do out.work[what] = nil end
	elseif own and self.schema:is_hidden(own) then
		out.hidden = true
		out.risk, out.why, out.safer = "low", "The table is made here: nobody else uses it yet.", "nothing"
	end
	for _, mode in pairs((out.made or out.hidden) and out.locks or {}) do
		if catalogue.strength[mode] >= catalogue.strength.SRE then
			local as = out.made and FOREIGN_KEYS[id] and catalogue.by_id.create_table_fk or op
			out.risk, out.why, out.safer = as.risk, as.why, as.safer
		end
	end
	return out
end

-- ---- ALTER TABLE ----

local TEXTS = { text = true, varchar = true }
local PADDED = { bpchar = true, bit = true }   -- to whom no function tells the server that a longer one holds the same

-- Which operation a change of type is. from may be nil: not known.
local function type_change(self, name, column, def)
	local from, to = self.schema:table(name).columns[column], tree.type(def.typeName)
	local checked = self.schema:is_checked(name, column)
	local relaxed = checked and "type_relaxed_checked" or "type_relaxed"
	local plain = true
	if def.raw_default then   -- USING: anything but the column itself, perhaps cast, computes each value
		local e = def.raw_default.TypeCast and def.raw_default.TypeCast.arg or def.raw_default
		plain = e.ColumnRef ~= nil and tree.columns(e)[column] ~= nil
	end
	if not plain then return "type_rewrite" end
	if def.collClause then return "type_collation" end
	if not from then return "type_rewrite", "the type that it has is not known here; some changes of type cost nothing" end
	if from.array or to.array then return "type_rewrite" end
	local a, b = from.mods, to.mods
	if from.name == to.name and from.name == "numeric" then
		if #b == 0 or (#a > 0 and (a[2] or 0) == (b[2] or 0) and b[1] >= a[1]) then return checked and relaxed or "type_precision" end
		return "type_rewrite"
	end
	if TEXTS[from.name] and TEXTS[to.name] then
		if #b == 0 or (#a > 0 and b[1] >= a[1]) then return relaxed end
		return "type_narrowed"
	end
	if from.name == to.name then
		if PADDED[from.name] and #b > 0 and a[1] ~= b[1] then return "type_padded" end
		if #b == 0 or (#a > 0 and b[1] and a[1] and b[1] >= a[1]) then return relaxed end
		return "type_rewrite"
	end
	if from.name == "timestamp" and to.name == "timestamptz" or from.name == "timestamptz" and to.name == "timestamp" then
		local zone = (self.settings.timezone or ""):upper()
		if zone == "UTC" or zone == "ETC/UTC" or zone == "GMT" then return checked and relaxed or "type_timestamptz_utc" end
		return "type_timestamptz", "with TimeZone = UTC in the session it costs nothing"
	end
	if from.name == "json" and to.name == "jsonb" then return "type_json" end
	if from.name == "cidr" and to.name == "inet" or from.name == "xml" and to.name == "text" then return relaxed end
	return "type_rewrite"
end

-- Volatility of the application's functions by name. One in SQL is put into the default as its expression, and is then what that is.
local function volatilities(self)
	return setmetatable({}, { __index = function(_, name)
		local declared, body = self.schema.functions[name], self.bodies[name]
		if declared == "volatile" and body and body.language == "sql" then
			local parsed = self.parse(body.text)
			local query = parsed and #parsed.stmts == 1 and parsed.stmts[1].stmt.SelectStmt
			if query and not query.fromClause and not tree.is_volatile(query.targetList, self.schema.functions) then return "stable" end
		end
		return declared
	end })
end

local function add_column(self, name, def)
	local out, plain = {}, "add_column"
	local type = tree.type(def.typeName) or { name = "" }
	local required, filled, maybe = false, false, nil
	if tree.SERIAL[type.name] then plain, filled = "add_column_serial", true end
	local constrained = self.schema.domains[type.name]
	if constrained then plain, filled = "add_column_domain", true end
	local extra = {}
	for _, item in ipairs(def.constraints or {}) do
		local c = item.Constraint or {}
		if c.contype == "CONSTR_DEFAULT" then
			filled = true
			local expression = c.raw_expr or {}
			local volatile, guess = tree.is_volatile(expression, volatilities(self))
			if volatile then
				plain = "add_column_volatile_default"
				maybe = guess and guess .. "() is not known here; a default that is not volatile costs nothing"
			elseif plain == "add_column" then plain = expression.FuncCall and "add_column_stable_default" or "add_column_default" end
		elseif c.contype == "CONSTR_IDENTITY" then plain, filled = "add_column_identity", true
		elseif c.contype == "CONSTR_GENERATED" then plain, filled = "add_column_stored", true
		elseif c.contype == "CONSTR_NOTNULL" then required = true
		elseif c.contype == "CONSTR_CHECK" then extra[#extra + 1] = { "add_column_check", { t = name } }
		elseif c.contype == "CONSTR_FOREIGN" then extra[#extra + 1] = { "add_column_references", { t = name, parent = tree.relation(c.pktable) } }
		elseif c.contype == "CONSTR_UNIQUE" or c.contype == "CONSTR_PRIMARY" then
			local id = c.contype == "CONSTR_UNIQUE" and "add_unique" or "add_primary_key"
			extra[#extra + 1] = { id, { t = name, built = c.conname or name:match("[^.]+$") .. "_" .. (def.colname or "") .. "_key" } }
		end
	end
	out[1] = operation(self, plain, { t = name, t_pkey = nil }, { column = def.colname, maybe = maybe, required_without_default = required and not filled or nil })
	for _, e in ipairs(extra) do out[#out + 1] = operation(self, e[1], e[2], { column = def.colname }) end
	return out
end

local function add_constraint(self, name, c)
	local later = c.skip_validation
	if c.contype == "CONSTR_CHECK" then
		return operation(self, later and "add_check_not_valid" or "add_check", { t = name }, { constraint = c.conname })
	elseif c.contype == "CONSTR_FOREIGN" then
		local parent = tree.relation(c.pktable)
		return operation(self, later and "add_fk_not_valid" or "add_fk",
			{ t = name, parent = parent, constraint = c.conname or name:match("[^.]+$") .. "_" .. table.concat(tree.strings(c.fk_attrs), "_") .. "_fkey" },
			{ constraint = c.conname, parent = parent })
	elseif c.contype == "CONSTR_UNIQUE" then
		if c.indexname then return operation(self, "add_unique_using_index", { t = name }) end
		return operation(self, "add_unique", { t = name, built = c.conname or name:match("[^.]+$") .. "_" .. table.concat(tree.strings(c.keys), "_") .. "_key" })
	elseif c.contype == "CONSTR_PRIMARY" then
		if c.indexname then
			local proved = self.schema:is_index_not_null(name, c.indexname)
			return operation(self, proved and "add_primary_key_using_index" or "add_primary_key_using_index_null", { t = name },
				{ maybe = proved == nil and "which columns the index has is not known here; without any that may be NULL it costs nothing" or nil })
		end
		return operation(self, "add_primary_key", { t = name, built = c.conname or name:match("[^.]+$") .. "_pkey" })
	elseif c.contype == "CONSTR_EXCLUSION" then
		return operation(self, "add_exclude", { t = name, built = c.conname or "its index" })
	end
	return operation(self, "change_owner", { t = name })
end

local commands = {}
local function simple(id)
	return function(self, name, c) return { operation(self, id, { t = name }, { column = c.name, constraint = c.name }) } end
end
for subtype, id in pairs {
	AT_DropNotNull = "drop_not_null", AT_SetStatistics = "set_statistics", AT_SetRelOptions = "set_options", AT_ResetRelOptions = "set_options", AT_SetOptions = "set_statistics",
	AT_ResetOptions = "set_statistics", AT_SetStorage = "set_storage", AT_SetCompression = "set_storage", AT_DisableTrig = "disable_trigger",
	AT_DisableTrigAll = "disable_trigger", AT_DisableTrigUser = "disable_trigger", AT_SetUnLogged = "set_unlogged",
	AT_SetTableSpace = "set_tablespace", AT_ReplicaIdentity = "replica_identity", AT_EnableRowSecurity = "enable_row_security", AT_AddIdentity = "add_identity", AT_SetIdentity = "add_identity",
	AT_DropIdentity = "add_identity", AT_ClusterOn = "set_options", AT_DropCluster = "set_options",
} do commands[subtype] = simple(id) end

-- What is predicted as another operation is, under its own name.
local function like(id, more)
	return function(self, name, c)
		local fields = { column = c.name }
		for field, value in pairs(more) do fields[field] = value end
		return { operation(self, id, { t = name }, fields) }
	end
end
local ENABLED = { title = "ENABLE TRIGGER", risk = "low", why = "Writes wait, but only for a moment.", safer = "a short lock_timeout, and retries" }
for _, subtype in ipairs { "AT_EnableTrig", "AT_EnableTrigAll", "AT_EnableTrigUser", "AT_EnableAlwaysTrig", "AT_EnableReplicaTrig" } do commands[subtype] = like("disable_trigger", ENABLED) end
for subtype, title in pairs { AT_DisableRowSecurity = "DISABLE ROW LEVEL SECURITY", AT_ForceRowSecurity = "FORCE ROW LEVEL SECURITY", AT_NoForceRowSecurity = "NO FORCE ROW LEVEL SECURITY",
	AT_DropInherit = "NO INHERIT", AT_DropExpression = "DROP EXPRESSION", AT_AlterConstraint = "ALTER CONSTRAINT" } do commands[subtype] = like("change_owner", { title = title }) end
local WRITTEN_ANEW = "The table and all its indexes are written anew while nobody can read or write it."
commands.AT_SetAccessMethod = like("set_unlogged", { title = "SET ACCESS METHOD", why = WRITTEN_ANEW, safer = "a new table" })
commands.AT_DetachPartitionFinalize = like("set_options", { title = "DETACH PARTITION ... FINALIZE" })

function commands.AT_SetLogged(self, name, c)
	if self.schema:table(name).logged then return like("change_owner", { title = "SET LOGGED of a table that is so", reversible = false })(self, name, c) end
	return like("set_unlogged", { title = "SET LOGGED", why = WRITTEN_ANEW, maybe = "a table that is logged already costs nothing" })(self, name, c)
end

function commands.AT_AddInherit(self, name, c)
	local out = like("change_owner", { title = "INHERIT" })(self, name, c)
	local parent = tree.relation(c.def and c.def.RangeVar)
	if parent then out[1].locks[parent] = "SUE" end
	return out
end

-- Tables that a change of a column locks as well, and whose rows it looks up, because of foreign keys.
local function lock_others(self, op, tables, why)
	local also = {}
	for _, other in ipairs(tables) do
		if other ~= op.table and not op.locks[other] and not self.schema:is_made(other) and not self.schema:is_hidden(other) then
			op.locks[other] = "AEL"
			also[#also + 1] = other
		end
	end
	if #also > 0 then op.why = string.format("%s Nobody can use %s meanwhile, either: %s.", op.why, table.concat(also, ", "), why) end
end

function commands.AT_DropColumn(self, name, c)
	local parents, others = {}, {}
	for _, fk in pairs(self.schema:foreign_keys_of(name, c.name or "")) do parents[#parents + 1] = fk.parent end
	local op = operation(self, #parents > 0 and "drop_column_fk" or "drop_column", { t = name, parent = parents }, { column = c.name, title = "DROP COLUMN", cascade = c.behavior == "DROP_CASCADE" or nil })
	for _, fk in ipairs(op.cascade and self.schema:foreign_keys_to(name, c.name or "") or {}) do others[#others + 1] = fk.table end
	table.sort(others)
	lock_others(self, op, others, "a foreign key is dropped with it")
	return { op }
end

function commands.AT_AddColumn(self, name, c) return add_column(self, name, c.def.ColumnDef) end
function commands.AT_ColumnDefault(self, name, c) return { operation(self, c.def and "set_default" or "drop_default", { t = name }, { column = c.name }) } end
function commands.AT_SetNotNull(self, name, c)
	if self.schema:table(name).not_null[c.name or ""] then return { operation(self, "set_default", { t = name }, { column = c.name, title = "SET NOT NULL of a column that is so", reversible = false }) } end
	local proved = self.schema:proves_not_null(name, c.name or "")
	return { operation(self, proved and "set_not_null_proved" or "set_not_null", { t = name, constraint = name .. "." .. (c.name or "") }, { column = c.name }) }
end
function commands.AT_AlterColumnType(self, name, c)
	local id, maybe = type_change(self, name, c.name or "", c.def.ColumnDef)
	local from, to = self.schema:table(name).columns[c.name or ""], tree.type(c.def.ColumnDef.typeName)
	local title = string.format("TYPE %sto %s%s", from and tree.type_text(from) .. " " or "", tree.type_text(to), c.def.ColumnDef.collClause and " COLLATE" or "")
	-- Its foreign keys, and those that lead to it, are made anew.
	local parents, children, keys = {}, {}, {}
	for key, fk in pairs(self.schema:foreign_keys_of(name, c.name or "")) do parents[#parents + 1], keys[#keys + 1] = fk.parent, key end
	for _, fk in ipairs(self.schema:foreign_keys_to(name, c.name or "")) do children[#children + 1], keys[#keys + 1] = fk.table, fk.name end
	table.sort(keys)
	if id == "type_rewrite" or id == "type_padded" then id = #children > 0 and "type_referenced" or #parents > 0 and "type_fk" or id end
	local op = operation(self, id, { t = name, parent = parents, kid = children }, { column = c.name, maybe = maybe, title = title })
	table.move(children, 1, #children, #parents + 1, parents)
	table.sort(parents)
	lock_others(self, op, parents, "foreign keys are made anew")
	if op.work.rewrite and #keys > 0 then op.work.fk_validation = keys end
	return { op }
end
function commands.AT_AddConstraint(self, name, c) return { add_constraint(self, name, c.def.Constraint) } end
function commands.AT_ValidateConstraint(self, name, c)
	local t = self.schema:table(name)
	local fk = t.fks[c.name or ""]
	if fk then return { operation(self, "validate_fk", { t = name, parent = fk.parent, constraint = c.name }, { constraint = c.name }) } end
	return { operation(self, "validate_check", { t = name }, { constraint = c.name, maybe = not t.checks[c.name or ""] and "which constraint it is is not known here; a foreign key looks rows up instead" or nil }) }
end
function commands.AT_DropConstraint(self, name, c)
	local fk = self.schema:table(name).fks[c.name or ""]
	if fk then return { operation(self, "drop_fk", { t = name, parent = fk.parent }, { constraint = c.name }) } end
	local op = operation(self, "drop_constraint", { t = name }, { constraint = c.name, title = "DROP CONSTRAINT", cascade = c.behavior == "DROP_CASCADE" or nil })
	if op.cascade then lock_others(self, op, self.schema:children(name), "their foreign keys are dropped") end
	return { op }
end
function commands.AT_AttachPartition(self, name, c)
	local partition, default = tree.relation(c.def.PartitionCmd.name), self.schema:table(name).default_partition
	local proved
	for _, check in pairs(self.schema:table(partition).checks) do if check.valid then proved = true end end
	local id = default and "attach_partition_default" or proved and "attach_partition_proved" or "attach_partition"
	return { operation(self, id, { p = name, q = partition, pd = default, constraint = partition }, proved and { maybe = "whether its CHECK implies the bounds is not looked into" } or nil) }
end
function commands.AT_DetachPartition(self, name, c)
	local partition = tree.relation(c.def.PartitionCmd.name)
	return { operation(self, c.def.PartitionCmd.concurrent and "detach_partition_concurrently" or "detach_partition", { p = name, p1 = partition }) }
end

-- ---- statements: kind -> function(self, s) that returns a list of operations ----

local statements = {}

function statements.AlterTableStmt(self, s)
	local name, out = tree.relation(s.relation), {}
	if s.objtype == "OBJECT_INDEX" then
		local c = s.cmds and s.cmds[1] and s.cmds[1].AlterTableCmd or {}
		-- There is no DETACH: it goes with the index that it is attached to.
		return { operation(self, "alter_index", { t_a = name }, c.subtype == "AT_AttachPartition" and { title = "ALTER INDEX ATTACH PARTITION", reversible = false } or nil) }
	end
	if s.objtype ~= "OBJECT_TABLE" then
		return { operation(self, s.objtype == "OBJECT_VIEW" and "drop_view" or "create_object", { w = name }, { title = "ALTER of " .. (s.objtype or ""):gsub("^OBJECT_", ""):lower(), risk = "low" }) }
	end
	for _, item in ipairs(s.cmds or {}) do
		local c = item.AlterTableCmd or {}
		local made = commands[c.subtype] or simple("change_owner")
		for _, op in ipairs(made(self, name, c)) do out[#out + 1] = op end
	end
	return out
end

function statements.RenameStmt(self, s)
	local name = tree.relation(s.relation)
	local kinds = { OBJECT_COLUMN = "rename_column", OBJECT_TABLE = "rename_table", OBJECT_INDEX = "rename_index", OBJECT_TABCONSTRAINT = "rename_constraint", OBJECT_SCHEMA = "rename_schema" }
	local id = kinds[s.renameType]
	if id == "rename_index" then return { operation(self, id, { t_a = name }) } end
	if id then return { operation(self, id, { t = name }, { new_name = s.newname, column = s.subname }) } end
	local part = ({ OBJECT_TRIGGER = "TRIGGER", OBJECT_POLICY = "POLICY", OBJECT_RULE = "RULE" })[s.renameType]
	if part then return { operation(self, "create_policy", { t = name }, { title = "RENAME " .. part }) } end
	return { operation(self, "rename_enum_value", { t = name }, { title = "RENAME of " .. (s.renameType or ""):gsub("^OBJECT_", ""):lower(),
		locks = name and (s.renameType == "OBJECT_VIEW" or s.renameType == "OBJECT_MATVIEW") and { [name] = "AEL" } or {} }) }
end

function statements.CreateStmt(self, s)
	local name, parent = tree.relation(s.relation), s.inhRelations and s.inhRelations[1] and tree.relation(s.inhRelations[1].RangeVar)
	local parents, out = {}, {}
	local function look(c) if c and c.contype == "CONSTR_FOREIGN" then parents[tree.relation(c.pktable) or ""] = true end end
	local inherits = {}
	for _, r in ipairs(not s.partbound and s.inhRelations or {}) do inherits[#inherits + 1] = tree.relation(r.RangeVar) end
	for _, element in ipairs(s.tableElts or {}) do
		look(element.Constraint)
		for _, c in ipairs(element.ColumnDef and element.ColumnDef.constraints or {}) do look(c.Constraint) end
	end
	parents[name] = nil
	if #inherits > 0 then out[1] = operation(self, "create_table_inherits", { t = inherits }, { new = name }) end
	if s.partbound and parent then out[#out + 1] = operation(self, "create_partition", { p = parent }, { new = name }) end
	for referenced in pairs(parents) do out[#out + 1] = operation(self, "create_table_fk", { parent = referenced }, { new = name, parent = referenced }) end
	table.sort(out, function(a, b) return (a.parent or "") < (b.parent or "") end)
	if #out == 0 then out[1] = operation(self, "create_table", {}, { new = name }) end
	return out
end

local function reads(self, s, title)
	local out = operation(self, "read_rows", {}, { title = title, locks = {} })
	for _, name in ipairs(tree.relations(s)) do out.locks[name] = "AS" end
	return out
end

function statements.CreateTableAsStmt(self, s)
	local out = reads(self, s.query, "CREATE TABLE AS, CREATE MATERIALIZED VIEW")
	return { out }
end

function statements.ViewStmt(self, s)
	local name = tree.relation(s.view)
	local out = operation(self, s.replace and self.schema.views[name] and "replace_view" or "create_view", { w = name })
	for _, read in ipairs(tree.relations(s.query)) do out.locks[read] = "AS" end
	return { out }
end

function statements.IndexStmt(self, s)
	local name, t = tree.relation(s.relation), nil
	t = self.schema:table(name)
	if s.concurrent and t.partitioned then return { operation(self, "create_index_concurrently_partitioned", { p = name }, { if_not_exists = s.if_not_exists }) } end
	-- Its partitions get theirs CONCURRENTLY, and are attached.
	if t.partitioned and not s.relation.inh then return { operation(self, "create_index_only", { p = name }, { index = s.idxname, if_not_exists = s.if_not_exists, unique = s.unique }) } end
	return { operation(self, s.concurrent and "create_index_concurrently" or "create_index", { t = name, built = s.idxname or "an index" },
		{ index = s.idxname, concurrent = s.concurrent, if_not_exists = s.if_not_exists, unique = s.unique }) }
end

function statements.DropStmt(self, s)
	local out = {}
	for _, object in ipairs(s.objects or {}) do
		local parts = object.List and tree.strings(object.List.items) or {}
		local name = object.List and tree.name(object.List.items) or nil
		local more = { cascade = s.behavior == "DROP_CASCADE" or nil, name = name }
		if s.removeType == "OBJECT_TABLE" then
			local parents = self.schema:parents(name)
			more.title = "DROP TABLE"
			out[#out + 1] = operation(self, #parents > 0 and "drop_table_fk" or "drop_table", { t = name, parent = parents }, more)
			if more.cascade then lock_others(self, out[#out], self.schema:children(name), "their foreign keys are dropped") end
		elseif s.removeType == "OBJECT_INDEX" then
			out[#out + 1] = operation(self, s.concurrent and "drop_index_concurrently" or "drop_index", { t = self.schema.indexes[name] }, more)
		elseif s.removeType == "OBJECT_TRIGGER" or s.removeType == "OBJECT_POLICY" or s.removeType == "OBJECT_RULE" then
			table.remove(parts)
			out[#out + 1] = operation(self, "drop_trigger", { t = tree.qualify(parts[#parts - 1], parts[#parts] or "") }, s.removeType ~= "OBJECT_TRIGGER" and { title = "DROP POLICY, DROP RULE" } or nil)
		elseif s.removeType == "OBJECT_VIEW" or s.removeType == "OBJECT_MATVIEW" then
			out[#out + 1] = operation(self, "drop_view", { w = name }, more)
		else
			more.title = "DROP " .. s.removeType:gsub("^OBJECT_", ""):gsub("_", " ")
			out[#out + 1] = operation(self, "drop_object", {}, more)
			if s.removeType == "OBJECT_SCHEMA" and more.cascade then
				local schema, inside = tree.text(object), {}
				for known in pairs(self.schema.tables) do if schema and known:sub(1, #schema + 1) == schema .. "." then inside[#inside + 1] = known end end
				table.sort(inside)
				lock_others(self, out[#out], inside, "they are dropped")
			end
		end
	end
	return out
end

function statements.ReindexStmt(self, s)
	local concurrent = tree.option(s.params, "concurrently") ~= nil
	local name = tree.relation(s.relation)
	if s.kind == "REINDEX_OBJECT_INDEX" then
		local on = self.schema.indexes[name or ""]
		return { operation(self, concurrent and "reindex_concurrently" or "reindex", { t = on, built = name }, { title = concurrent and "REINDEX INDEX CONCURRENTLY" or "REINDEX INDEX" }) }
	end
	return { operation(self, concurrent and "reindex_concurrently" or "reindex", { t = name }) }
end

function statements.CreateTrigStmt(self, s)
	return { operation(self, "create_trigger", { t = tree.relation(s.relation) }, { events = s.events or 0, timing = s.timing, trigger_function = tree.name(s.funcname), columns = s.columns }) }
end
function statements.CreatePolicyStmt(self, s) return { operation(self, "create_policy", { t = tree.relation(s.table) }) } end
function statements.AlterPolicyStmt(self, s) return { operation(self, "create_policy", { t = tree.relation(s.table) }, { title = "ALTER POLICY" }) } end
local function publication(title)
	return function(self, s)
		local out = operation(self, "create_object", {}, { title = title })
		for _, object in ipairs(s.pubobjects or {}) do
			local name = object.PublicationObjSpec and object.PublicationObjSpec.pubtable and tree.relation(object.PublicationObjSpec.pubtable.relation)
			if name then out.locks[name] = "SUE" end
		end
		return { out }
	end
end
statements.CreatePublicationStmt, statements.AlterPublicationStmt = publication("CREATE PUBLICATION"), publication("ALTER PUBLICATION")
function statements.RuleStmt(self, s) return { operation(self, "create_policy", { t = tree.relation(s.relation) }, { title = "CREATE RULE" }) } end
function statements.CreateFunctionStmt(self, s) return { operation(self, "replace_function", {}, { title = s.replace and "CREATE OR REPLACE FUNCTION" or "CREATE FUNCTION" }) } end
function statements.RefreshMatViewStmt(self, s) return { operation(self, s.concurrent and "refresh_matview_concurrently" or "refresh_matview",
	{ w = tree.relation(s.relation), t = self.schema.views[tree.relation(s.relation) or ""] }, { table = tree.relation(s.relation) }) } end
function statements.AlterEnumStmt(self, s) return { operation(self, s.oldVal and "rename_enum_value" or "add_enum_value", {}) } end
function statements.AlterDomainStmt(self, s)
	local name, users = tree.name(s.typeName), {}
	for t, known in pairs(self.schema.tables) do
		for _, kind in pairs(known.columns) do if kind.name == name then users[#users + 1] = t end end
	end
	local later = s.def and s.def.Constraint and s.def.Constraint.skip_validation
	if s.subtype == "C" and not later or s.subtype == "V" or s.subtype == "O" then return { operation(self, "domain_add_check", { t = users }, { table = users[1], title = "ALTER DOMAIN" }) } end
	return { operation(self, "domain_add_check_not_valid", {}, s.subtype ~= "C" and { title = "ALTER DOMAIN" } or nil) }
end
function statements.TruncateStmt(self, s)
	local out = {}
	for _, r in ipairs(s.relations or {}) do
		out[#out + 1] = operation(self, "truncate", { t = tree.relation(r.RangeVar) }, { cascade = s.behavior == "DROP_CASCADE" or nil })
		if s.behavior == "DROP_CASCADE" then lock_others(self, out[#out], self.schema:children(tree.relation(r.RangeVar)), "their rows go, too") end
	end
	return out
end
function statements.ClusterStmt(self, s) return { operation(self, "cluster", { t = tree.relation(s.relation) }) } end
function statements.VacuumStmt(self, s)
	local id = not s.is_vacuumcmd and "analyze" or tree.option(s.options, "full") and "vacuum_full" or "vacuum"
	local out = {}
	for _, r in ipairs(s.rels or {}) do out[#out + 1] = operation(self, id, { t = tree.relation(r.VacuumRelation and r.VacuumRelation.relation) }) end
	if #out == 0 then out[1] = operation(self, id, {}) end
	return out
end
function statements.AlterObjectSchemaStmt(self, s)
	return { s.objectType == "OBJECT_TABLE" and operation(self, "set_schema", { t = tree.relation(s.relation) }) or operation(self, "rename_schema", {}, { title = "SET SCHEMA" }) }
end
function statements.CommentStmt(self, s)
	local parts = s.object and s.object.List and tree.strings(s.object.List.items) or {}
	if s.objtype == "OBJECT_COLUMN" then table.remove(parts) end
	local on = (s.objtype == "OBJECT_TABLE" or s.objtype == "OBJECT_COLUMN") and tree.qualify(parts[#parts - 1], parts[#parts]) or nil
	return { operation(self, "comment", { t = on }) }
end
function statements.GrantStmt(self, s)
	local names = {}
	for _, o in ipairs(s.objects or {}) do if o.RangeVar then names[#names + 1] = tree.relation(o.RangeVar) end end
	return { operation(self, "grant", { t = names }, { table = names[1] }) }
end
function statements.CreateStatsStmt(self, s) return { operation(self, "create_statistics", { t = s.relations and s.relations[1] and tree.relation(s.relations[1].RangeVar) }) } end
function statements.LockStmt(self, s)
	local short = { "AS", "RS", "RX", "SUE", "S", "SRE", "X", "AEL" }
	local out = {}
	for _, r in ipairs(s.relations or {}) do
		local name = tree.relation(r.RangeVar)
		out[#out + 1] = operation(self, "lock_table", { t = name }, { locks = { [name] = short[s.mode or 8] } })
	end
	return out
end

local KEYS = { AEXPR_OP = true, AEXPR_IN = true, AEXPR_OP_ANY = true, AEXPR_BETWEEN = true }
local function is_constant(node) return node ~= nil and (node.A_Const or node.ParamRef or node.TypeCast and is_constant(node.TypeCast.arg) or node.A_ArrayExpr or node.List) ~= nil end

-- Does a condition keep to few rows? A key that equals something, a LIMIT below it, ctid.
local function is_bounded(self, name, condition)
	if not condition then return false end
	local t, bounded = self.schema.tables[name] or {}, false
	local keys = { id = true, ctid = true }
	for _, key in ipairs(t.key or {}) do keys[key] = true end
	tree.walk({ condition }, function(kind, value)
		if kind == "SelectStmt" and value.limitCount then bounded = true end
		if kind == "A_Expr" and KEYS[value.kind] then
			local operator = value.name and value.name[1] and value.name[1].String and value.name[1].String.sval
			local equal = operator == "=" or value.kind == "AEXPR_BETWEEN"
			if equal then
				for column in pairs(tree.columns(value.lexpr)) do
					if keys[column] and (is_constant(value.rexpr) or value.rexpr and (self.block or not value.rexpr.ColumnRef)) then bounded = true end
				end
			end
		end
	end)
	return bounded
end

local function with_reads(out, self, s, target)
	for _, name in ipairs(tree.relations(s)) do if name ~= target and not out.locks[name] then out.locks[name] = "AS" end end
	return out
end

local function limited(s)
	local found = false
	tree.walk(s, function(kind, value) if kind == "SelectStmt" and value.limitCount then found = true end end)
	return found
end

function statements.UpdateStmt(self, s)
	local name = tree.relation(s.relation)
	local some = is_bounded(self, name, s.whereClause) or limited(s.withClause)
	local out = operation(self, some and "write_rows" or "update_all", { t = name }, { condition = s.whereClause ~= nil, maybe = not some and s.whereClause and "how many rows match is not known here" or nil,
		title = some and "UPDATE of some rows" or s.whereClause and "UPDATE of all rows that match" or "UPDATE of every row" })
	return { with_reads(out, self, { s.fromClause, s.whereClause, s.withClause, s.targetList }, name) }
end
function statements.DeleteStmt(self, s)
	local name = tree.relation(s.relation)
	local some = is_bounded(self, name, s.whereClause) or limited(s.withClause)
	local out = operation(self, some and "write_rows" or "delete_all", { t = name }, { condition = s.whereClause ~= nil, maybe = not some and s.whereClause and "how many rows match is not known here" or nil,
		title = some and "DELETE of some rows" or s.whereClause and "DELETE of all rows that match" or "DELETE of every row" })
	return { with_reads(out, self, { s.usingClause, s.whereClause, s.withClause }, name) }
end
function statements.InsertStmt(self, s)
	local name = tree.relation(s.relation)
	local query = s.selectStmt and s.selectStmt.SelectStmt
	local from = query and query.fromClause and tree.relations(query.fromClause) or {}
	local copies = #from > 0 and not query.limitCount and not is_bounded(self, from[1], query.whereClause)
	local out = copies and operation(self, "insert_select", { u = name }, { table = name, condition = query.whereClause ~= nil })
		or operation(self, "write_rows", { t = name }, { title = "INSERT of some rows" })
	return { with_reads(out, self, { s.selectStmt, s.withClause }, name) }
end
function statements.CopyStmt(self, s)
	local name = tree.relation(s.relation)
	if s.is_from then return { operation(self, "write_rows", { t = name }, { title = "COPY FROM" }) } end
	local out = reads(self, { s.query }, "COPY TO")
	if name then out.locks[name] = "AS" end
	return { out }
end
-- ---- bodies: of DO, and of functions that the migration or the schema makes ----

local DEEPEST = 4

-- What is read of a body: its operations go to out, as far as they are known, marked with `block`. Returns whether there is more in it.
local function read_body(self, text, language, block, out)
	local found
	if self.depth >= DEEPEST then return true end
	if language == "plpgsql" and self.plpgsql then
		local body = self.plpgsql(plpgsql.readable(text))
		if not body then return true end
		found = plpgsql.statements(body)
	elseif language == "sql" then
		found = { statements = { { sql = text } } }
	else
		return true
	end
	self.depth = self.depth + 1
	local more = found.dynamic or false
	for _, inner in ipairs(found.statements) do
		local prediction = self:statement(inner.sql, inner)
		if prediction.unread then more = true end
		for _, op in ipairs(prediction.operations) do
			if op.id == "do_block" and not op.read then more = true end
			if op.id ~= "read_rows" and op.id ~= "do_block" then
				op.block = op.block or block
				op.loop, op.conditional = op.loop or inner.loop, op.conditional or inner.conditional
				out[#out + 1] = op
			end
		end
	end
	self.depth = self.depth - 1
	return more
end

-- The text of a DO as CREATE FUNCTION has it is not needed: the parser of bodies takes both.
function statements.DoStmt(self, s, sql)
	local language = tree.option(s.args, "language")
	local out = { operation(self, "create_object", {}, { id = "do_block", title = "DO", why = "What it does is known when it runs.", safer = "steps of plain SQL, or a function of a migration session", body = tree.text(tree.option(s.args, "as")) or "" }) }
	out[1].read = not read_body(self, sql or "", language and tree.text(language) or "plpgsql", "the DO block", out)
	return out
end

-- Functions that a SELECT or CALL calls: those that are known are read.
local function calls(self, node, out)
	tree.walk({ node }, function(kind, value)
		if kind ~= "FuncCall" then return end
		local name = tree.name(value.funcname)
		local body = self.bodies[name:match("[^.]+$")]
		if not body and tree.is_builtin(value.funcname) then return end
		local op = operation(self, "create_object", {}, { id = "do_block", title = name .. "()", why = "What a function does is known when it runs.", safer = "steps of plain SQL",
			body = body and body.text or "" })
		out[#out + 1] = op
		op.read = body ~= nil and not read_body(self, body.text, body.language, op.title, out)
	end)
	return out
end

function statements.SelectStmt(self, s)
	if s.lockingClause then
		local out = operation(self, "lock_rows", {}, {})
		for _, name in ipairs(tree.relations(s)) do out.locks[name] = "RS" end
		return { out }
	end
	local out = { reads(self, s, s.intoClause and "SELECT INTO" or "SELECT") }
	return s.fromClause and out or calls(self, s.targetList, out)
end
function statements.CallStmt(self, s)
	local out = calls(self, { FuncCall = s.funccall }, {})
	if #out == 0 then out[1] = operation(self, "create_object", {}, { title = "CALL" }) end
	return out
end
function statements.MergeStmt(self, s)
	local name = tree.relation(s.relation)
	local out = operation(self, "update_all", { t = name }, { condition = true, maybe = "how many rows match is not known here", title = "MERGE" })
	return { with_reads(out, self, { s.sourceRelation, s.withClause }, name) }
end
function statements.VariableSetStmt(self, s)
	if s.kind == "VAR_SET_VALUE" and s.name then self.settings[s.name:lower()] = tree.text((s.args or {})[1]) or "" end
	return {}
end
function statements.TransactionStmt() return {} end
function statements.VariableShowStmt() return {} end
function statements.ExplainStmt() return {} end

-- ---- putting it together ----

local function union(prediction)
	prediction.locks, prediction.work, prediction.risk = {}, {}, "low"
	for _, op in ipairs(prediction.operations) do
		for name, mode in pairs(op.locks) do
			local was = prediction.locks[name]
			if not was or catalogue.strength[mode] > catalogue.strength[was] then prediction.locks[name] = mode end
		end
		for what, names in pairs(op.work) do
			local list = prediction.work[what] or {}
			prediction.work[what] = list
			for _, name in ipairs(names) do
				local there = false
				for _, n in ipairs(list) do there = there or n == name end
				if not there then list[#list + 1] = name end
			end
		end
		if RISKS[op.risk] > RISKS[prediction.risk] then prediction.risk = op.risk end
	end
	-- One scan does for all: a table that is written anew is not read once more.
	if prediction.work.rewrite then prediction.work.scan = nil end
end

-- What a command does to a partitioned table or one that others inherit from, it does to those too, unless it says ONLY.
local RECURSES = { AlterTableStmt = true, IndexStmt = true, DropStmt = true, TruncateStmt = true, RenameStmt = true, CreateTrigStmt = true }
local STAYS = { attach_partition = true, attach_partition_proved = true, attach_partition_default = true, detach_partition = true, detach_partition_concurrently = true, change_owner = true,
	rename_table = true, rename_constraint = true, enable_row_security = true, replica_identity = true, set_options = true, create_index_concurrently_partitioned = true, create_policy = true }

local function recurse(self, kind, s, ops)
	if not RECURSES[kind] or type(s.relation) == "table" and not s.relation.inh then return end
	for _, op in ipairs(ops) do
		local mode = type(op.table) == "string" and not STAYS[op.id] and op.locks[op.table]
		for _, name in ipairs(mode and self.schema:descendants(op.table) or {}) do op.locks[name] = op.locks[name] or mode end
	end
end

local WRITES = { UpdateStmt = true, DeleteStmt = true, InsertStmt = true, MergeStmt = true }

-- The operations of a statement, and of those that write within its WITH.
local function operations_of(self, kind, s, sql)
	local made = statements[kind]
	local ops = made and made(self, s, sql) or { operation(self, "create_object", {}, { title = (kind:gsub("Stmt$", ""):gsub("(%l)(%u)", "%1 %2"):upper()) }) }
	if type(s.withClause) == "table" then
		tree.walk(s.withClause, function(inner, value)
			if WRITES[inner] then for _, op in ipairs(statements[inner](self, value)) do ops[#ops + 1] = op end end
		end)
	end
	return ops
end

-- The body of a function is kept, for when it is called.
function keep_body(self, s, sql)
	local language, body = tree.option(s.options, "language"), tree.option(s.options, "as")
	language = language and (tree.text(language) or ""):lower()
	if type(body) == "table" then self.bodies[tree.name(s.funcname):match("[^.]+$")] = { language = language, text = language == "plpgsql" and sql or tree.text(body) or "" } end
end

-- One statement as text: { sql, kind, node, operations, locks, work, risk }, or { sql, unread = why, at = character }. It is taken as performed.
-- block: it is in a body, { conditional, loop }, where a name may be a variable.
function Predictor:statement(sql, block)
	local outer = self.block
	self.block = block or outer
	local prediction = self:predict(sql)
	self.block = outer
	return prediction
end

function Predictor:predict(sql)
	local parsed, why, at = self.parse(sql)
	if not parsed then self.schema:learn_unread(sql) end
	if not parsed then return { sql = sql, unread = why, at = at, operations = {}, locks = {}, work = {}, risk = "low" } end
	local prediction = { sql = sql, operations = {}, parsed = parsed.stmts or {} }
	for _, statement in ipairs(parsed.stmts or {}) do
		for kind, s in pairs(statement.stmt) do
			prediction.kind, prediction.node = kind, s
			if kind == "CreateFunctionStmt" then keep_body(self, s, sql) end
			local ops = operations_of(self, kind, s, sql)
			recurse(self, kind, s, ops)
			for _, op in ipairs(ops) do prediction.operations[#prediction.operations + 1] = op end
		end
		self.schema:apply(statement.stmt, true)
	end
	union(prediction)
	return prediction
end

-- The same statement is performed once more, after what it did had been undone.
function Predictor:again(prediction)
	for _, statement in ipairs(prediction.parsed or {}) do self.schema:apply(statement.stmt, true) end
end

-- What follows is another step, in a transaction or not: settings of the session are gone, and what the last transaction made is there for all.
-- undone: when it ends, the schema is what it was before.
function Predictor:begin_step(in_transaction, undone)
	self:end_step()
	self.before = undone and self.schema:copy() or nil
	self.settings = {}
	self.schema:end_transaction()
	self.schema.in_transaction = in_transaction
end

-- The step is over; without a step under way it changes nothing.
function Predictor:end_step() self.schema, self.before = self.before or self.schema, nil end

return Predictor
