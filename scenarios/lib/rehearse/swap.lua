-- Tables that change places: each gets the other's name in one transaction, and what an application would miss goes along:
-- owner, privileges, sequences.
local swap = {}

-- oid, schema, quoted schema, quoted name, quoted owner of a table that may be named with its schema.
local TABLE = [[
SELECT c.oid::int8, pg_catalog.quote_ident(n.nspname), pg_catalog.quote_ident(c.relname), pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(c.relowner)), c.relname::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p')]]

-- What points to a table by its oid, and so goes on pointing to it under whatever name.
local REFERENCES = [[
SELECT pg_catalog.string_agg(what, ', ' ORDER BY what) FROM (
	SELECT 'foreign key ' || k.conname || ' of ' || k.conrelid::pg_catalog.regclass::text AS what
	FROM pg_catalog.pg_constraint k WHERE k.contype = 'f' AND k.confrelid = $1::oid AND k.conrelid <> $1::oid
	UNION
	SELECT CASE v.relkind WHEN 'm' THEN 'materialized view ' ELSE 'view ' END || v.oid::pg_catalog.regclass::text
	FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid JOIN pg_catalog.pg_class v ON v.oid = r.ev_class
	WHERE d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1::oid AND v.oid <> $1::oid
) AS pointing]]

-- Privileges on the table and its columns as statements for another: GRANT what they are. The owner's own are left out.
local GRANTS = [[
SELECT pg_catalog.format('GRANT %s%s ON TABLE %s TO %s%s', a.privilege_type, COALESCE(' (' || pg_catalog.quote_ident(s.col) || ')', ''), $2::text,
	CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM (SELECT c.relacl AS acl, c.relowner AS owner, NULL::name AS col FROM pg_catalog.pg_class c WHERE c.oid = $1::oid
	UNION ALL SELECT t.attacl, c.relowner, t.attname FROM pg_catalog.pg_attribute t JOIN pg_catalog.pg_class c ON c.oid = t.attrelid
		WHERE t.attrelid = $1::oid AND t.attnum > 0 AND NOT t.attisdropped) AS s, pg_catalog.aclexplode(s.acl) AS a
WHERE a.grantee <> s.owner ORDER BY 1]]

-- Sequences that belong to a column of the table: quoted name, quoted column, is it of an identity column.
local SEQUENCES = [[
SELECT s.oid::pg_catalog.regclass::text, pg_catalog.quote_ident(a.attname), d.deptype = 'i', a.attname::text, s.oid::int8
FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class s ON s.oid = d.objid AND s.relkind = 'S'
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = $1::oid AND d.deptype IN ('a', 'i') ORDER BY 1]]

-- Does the default of the table's column take from that sequence?
local USES = [[
SELECT 1 FROM pg_catalog.pg_attrdef f JOIN pg_catalog.pg_attribute a ON a.attrelid = f.adrelid AND a.attnum = f.adnum
JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass AND d.objid = f.oid AND d.refobjid = $3::oid
WHERE f.adrelid = $1::oid AND a.attname = $2]]

local function find(m, name)
	local row = m:internal(TABLE, name).values[1]
	if not row then m:fail("there is no table %s", name) end
	return { oid = row[1], schema = row[2], name = row[3], owner = row[4], plain = row[5], full = row[2] .. "." .. row[3] }
end

-- The one that comes into use goes on where the other's sequences are, so that no key is given twice.
local function carry_sequences(m, from, to)
	local own = {}
	for _, s in ipairs(m:internal(SEQUENCES, to.oid).values) do own[s[4]] = s end
	for _, s in ipairs(m:internal(SEQUENCES, from.oid).values) do
		local other = own[s[4]]
		if other then
			m:exec(string.format("SELECT pg_catalog.setval('%s'::pg_catalog.regclass, GREATEST(a.last_value, b.last_value), a.is_called OR b.is_called) FROM %s a, %s b",
				other[1]:gsub("'", "''"), s[1], other[1]))
		elseif not s[3] and m:internal(USES, to.oid, s[4], s[5]).values[1] then
			-- It would be dropped with the table that is out of use.
			m:exec(string.format("ALTER SEQUENCE %s OWNED BY %s.%s", s[1], to.full, s[2]))
		end
	end
end

local function carry_privileges(m, from, to)
	if from.owner ~= to.owner then m:exec(string.format("ALTER TABLE %s OWNER TO %s", to.full, from.owner)) end
	local has = {}
	for _, row in ipairs(m:internal(GRANTS, to.oid, to.full).values) do has[row[1]] = true end
	for _, row in ipairs(m:internal(GRANTS, from.oid, to.full).values) do
		if not has[row[1]] then m:exec(row[1]) end
	end
end

local function rename(m, a, b)
	local aside = '"' .. (a.plain:sub(1, 40) .. "__swap"):gsub('"', '""') .. '"'
	m:exec(string.format("ALTER TABLE %s RENAME TO %s", a.full, aside))
	m:exec(string.format("ALTER TABLE %s RENAME TO %s", b.full, a.name))
	m:exec(string.format("ALTER TABLE %s.%s RENAME TO %s", a.schema, aside, b.name))
end

-- Up and down are the same exchange of names: what bears the live name comes out of use, and the other takes over from it.
function swap.perform(m, step)
	m:transaction(function()
		local names = {}
		for _, pair in ipairs(step.tables) do
			names[#names + 1] = find(m, pair.live).full
			names[#names + 1] = find(m, pair.other).full
		end
		m:exec("LOCK TABLE " .. table.concat(names, ", ") .. " IN ACCESS EXCLUSIVE MODE")
		for _, pair in ipairs(step.tables) do
			local live, other = find(m, pair.live), find(m, pair.other)
			if live.schema ~= other.schema then m:fail("%s and %s are in different schemas", pair.live, pair.other) end
			local pointing = step.references == "refuse" and m:internal(REFERENCES, live.oid).values[1][1]
			if pointing then
				m:fail('%s is referred to by what would go on pointing to it as %s: %s; move that first, or say references = "leave"', pair.live, pair.other, pointing)
			end
			carry_privileges(m, live, other)
			carry_sequences(m, live, other)
			rename(m, live, other)
		end
	end)
end

return swap
