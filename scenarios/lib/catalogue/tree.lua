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

-- Names of types that are a number with a sequence, and NOT NULL.
tree.SERIAL = { serial = true, serial4 = true, bigserial = true, serial8 = true, smallserial = true, serial2 = true }

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

local TYPE_WORDS = { int2 = "smallint", int4 = "int", int8 = "bigint", bool = "boolean", float4 = "real", float8 = "double precision", bpchar = "char" }

-- A type of tree.type as it is written.
function tree.type_text(type)
	local mods = {}
	for _, mod in ipairs(type.mods) do mods[#mods + 1] = tostring(mod) end
	return (TYPE_WORDS[type.name] or type.name) .. (#mods > 0 and "(" .. table.concat(mods, ", ") .. ")" or "") .. (type.array and "[]" or "")
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

local VOLATILE = {}
for name in ([[random random_normal clock_timestamp timeofday gen_random_uuid uuidv4 uuidv7 uuid_generate_v1 uuid_generate_v1mc uuid_generate_v4 nextval setval currval gen_random_bytes gen_salt
	txid_current pg_current_xact_id]]):gmatch("%S+") do VOLATILE[name] = true end

local OTHERS = {}
for name in ([[set_config setval currval lastval count sum min max avg array_agg string_agg json_agg jsonb_agg bool_and bool_or exists generate_series unnest array_length cardinality array_append
	array_remove array_to_string string_to_array regexp_replace regexp_matches split_part position strpos version to_regclass to_regtype has_table_privilege quote_ident quote_literal
	jsonb_set jsonb_array_elements jsonb_each jsonb_typeof jsonb_array_length jsonb_agg json_array_elements row_to_json nullif obj_description col_description format_type starts_with
	clock_timestamp sign mod hashtextextended gen_random_uuid uuid_generate_v4]]):gmatch("%S+") do OTHERS[name] = true end

-- Is it a function of PostgreSQL that changes nothing that a migration is looked at for? funcname: as in a FuncCall.
function tree.is_builtin(funcname)
	local parts = tree.strings(funcname)
	local name = parts[#parts] or ""
	return parts[1] == "pg_catalog" and #parts > 1 or name:sub(1, 3) == "pg_" or STEADY[name] or VOLATILE[name] or OTHERS[name] or false
end

-- Does every row need a value of its own? known: volatility by name of functions of the application. The second result names a function that is
-- only taken for volatile because nothing is known of it.
function tree.is_volatile(expression, known)
	local volatile, guess = false, nil
	tree.walk({ expression }, function(kind, value)
		if kind == "FuncCall" then
			local name = tree.strings(value.funcname)
			name = name[#name] or ""
			local own = known and known[name]
			if own then volatile = volatile or own == "volatile"
			elseif VOLATILE[name] then volatile = true
			elseif not STEADY[name] then guess = name end
		end
	end)
	return volatile or guess ~= nil, not volatile and guess or nil
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
