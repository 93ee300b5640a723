-- Reading parse trees of libpg_query: names, types, expressions.
local tree = {}

-- "public" is where names without a schema are; everywhere else the schema belongs to the name.
function tree.qualify(schema, name)
	if schema and schema ~= "" and schema ~= "public" then return schema .. "." .. name end
	return name
end

function tree.relation(range_var) return range_var and range_var.relname and tree.qualify(range_var.schemaname, range_var.relname) end

-- A list of String nodes as texts.
function tree.strings(list)
	local out = {}
	for _, item in ipairs(list or {}) do out[#out + 1] = item.String and item.String.sval or "" end
	return out
end

function tree.name(list)
	local parts = tree.strings(list)
	return tree.qualify(parts[#parts - 1], parts[#parts] or "")
end

-- { name = "varchar", mods = { 20 }, array = false }: pg_catalog left out.
function tree.type(type_name)
	if not type_name then return nil end
	local parts, mods = tree.strings(type_name.names), {}
	for _, mod in ipairs(type_name.typmods or {}) do
		local value = mod.A_Const and mod.A_Const.ival
		mods[#mods + 1] = value and (value.ival or 0)
	end
	if parts[1] == "pg_catalog" or parts[1] == "public" then table.remove(parts, 1) end
	return { name = table.concat(parts, "."), mods = mods, array = type_name.arrayBounds ~= nil }
end

-- Calls visit(kind, node) for every node below: kind is "FuncCall" and the like. A visit that returns true goes no deeper.
function tree.walk(node, visit)
	if type(node) ~= "table" then return end
	for key, value in pairs(node) do
		if type(value) == "table" then
			local deeper = true
			if type(key) == "string" and key:match("^%u") then deeper = not visit(key, value) end
			if deeper then tree.walk(value, visit) end
		end
	end
end

-- Names of all relations that a query reads, common table expressions left out.
function tree.relations(node)
	local names, ctes, out = {}, {}, {}
	tree.walk(node, function(kind, value)
		if kind == "CommonTableExpr" then ctes[value.ctename or ""] = true
		elseif kind == "RangeVar" then names[tree.relation(value) or ""] = true end
	end)
	for name in pairs(names) do if name ~= "" and not ctes[name] then out[#out + 1] = name end end
	table.sort(out)
	return out
end

-- Columns that an expression names.
function tree.columns(node)
	local out = {}
	tree.walk({ node }, function(kind, value)
		if kind == "ColumnRef" then
			local parts = tree.strings(value.fields)
			if parts[#parts] then out[parts[#parts]] = true end
		end
	end)
	return out
end

-- Functions of PostgreSQL that a default may call without a value of its own for each row. All others are taken for volatile.
local STEADY = {}
for name in ([[now transaction_timestamp statement_timestamp date_trunc date_part extract lower upper initcap concat concat_ws format to_char to_date to_timestamp to_number
	make_date make_time make_timestamp make_timestamptz make_interval md5 sha256 length char_length left right repeat replace trim btrim ltrim rtrim lpad rpad substr substring
	jsonb_build_object jsonb_build_array json_build_object json_build_array jsonb_object to_json to_jsonb array_fill abs ceil floor round sqrt power greatest least coalesce
	current_setting current_schema current_database timezone age int4range int8range numrange tsrange tstzrange daterange inet_client_addr point box hashtext encode decode]]):gmatch("%S+") do
	STEADY[name] = true
end

-- Does every row need a value of its own? known: volatility by name of functions of the application.
function tree.is_volatile(expression, known)
	local volatile = false
	tree.walk({ expression }, function(kind, value)
		if kind == "FuncCall" then
			local name = tree.strings(value.funcname)
			name = name[#name] or ""
			local own = known and known[name]
			if own then volatile = volatile or own == "volatile"
			elseif not STEADY[name] then volatile = true end
		end
	end)
	return volatile
end

-- The first node of a list of DefElem with that name: its argument, or true.
function tree.option(list, name)
	for _, item in ipairs(list or {}) do
		if item.DefElem and item.DefElem.defname == name then return item.DefElem.arg or true end
	end
end

function tree.text(node)
	if type(node) ~= "table" then return nil end
	if node.String then return node.String.sval end
	if node.List then return tree.text((node.List.items or {})[1]) end
	local constant = node.A_Const
	if not constant then return nil end
	if constant.sval then return constant.sval.sval or "" end
	if constant.ival then return tostring(constant.ival.ival or 0) end
	if constant.fval then return constant.fval.fval end
	if constant.boolval then return tostring(constant.boolval.boolval or false) end
end

return tree
