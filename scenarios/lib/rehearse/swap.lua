-- Tables that change places: each gets the other's name in one transaction, and what an application would miss goes along:
-- owner, privileges, sequences, and names of indexes, constraints and sequences that are made of the table's.
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

-- Privileges on the table and its columns as statements for another: GRANT what they are, and what takes that back. The owner's own are left out.
local GRANTS = [[
SELECT pg_catalog.format('GRANT %s%s ON TABLE %s TO %s%s', a.privilege_type, COALESCE(' (' || pg_catalog.quote_ident(s.col) || ')', ''), $2::text,
	CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END, CASE WHEN a.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END),
	pg_catalog.format('REVOKE %s%s ON TABLE %s FROM %s', a.privilege_type, COALESCE(' (' || pg_catalog.quote_ident(s.col) || ')', ''), $2::text,
	CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(a.grantee)) END)
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

-- Indexes, constraints and sequences of two tables ($1 called $2, $3 called $4) whose names begin with the table's: kind, quoted name, whose,
-- name, what it is called when the tables have changed places, and whether nothing else bears that name. One without room for it is left out.
local NAMED = [[
WITH tables (relid, name, other) AS (VALUES ($1::oid, $2::text, $4::text), ($3::oid, $4::text, $2::text)),
found AS MATERIALIZED (
	SELECT 'constraint' AS kind, t.relid, k.conname::text AS name, t.name AS mine, t.other, k.oid AS conid, k.conindid AS classid
	FROM tables t JOIN pg_catalog.pg_constraint k ON k.conrelid = t.relid AND k.contype <> 't' AND k.conparentid = 0 AND k.coninhcount = 0
	UNION ALL
	SELECT 'index', t.relid, c.relname, t.name, t.other, 0, c.oid FROM tables t JOIN pg_catalog.pg_index i ON i.indrelid = t.relid JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
	WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conindid = c.oid AND k.contype IN ('p', 'u', 'x'))
	UNION ALL
	SELECT 'sequence', t.relid, c.relname, t.name, t.other, 0, c.oid FROM tables t JOIN pg_catalog.pg_depend d ON d.refobjid = t.relid
	AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.deptype IN ('a', 'i')
	JOIN pg_catalog.pg_class c ON c.oid = d.objid AND c.relkind = 'S'),
named AS (SELECT *, other || substr(name, length(mine) + 1) AS becomes FROM found WHERE starts_with(name, mine || '_'))
SELECT kind, pg_catalog.quote_ident(name), relid = $1::oid, name, becomes,
	NOT EXISTS (SELECT 1 FROM pg_catalog.pg_class c WHERE c.relname = becomes AND c.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = $1::oid)
		AND c.oid NOT IN (SELECT classid FROM named))
	AND NOT EXISTS (SELECT 1 FROM pg_catalog.pg_constraint k WHERE k.conname = becomes AND k.conrelid IN ($1::oid, $3::oid) AND k.oid NOT IN (SELECT conid FROM named))
FROM named WHERE octet_length(becomes) <= 63 ORDER BY kind, name]]

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

-- Returns what takes back those that the other table did not have.
local function carry_privileges(m, from, to)
	if from.owner ~= to.owner then m:exec(string.format("ALTER TABLE %s OWNER TO %s", to.full, from.owner)) end
	local has, back = {}, {}
	for _, row in ipairs(m:internal(GRANTS, to.oid, to.full).values) do has[row[1]] = true end
	for _, row in ipairs(m:internal(GRANTS, from.oid, to.full).values) do
		if not has[row[1]] then
			m:exec(row[1])
			back[#back + 1] = row[2]
		end
	end
	return back
end

local function rename(m, a, b)
	local aside = '"' .. (a.plain:sub(1, 40) .. "__swap"):gsub('"', '""') .. '"'
	m:exec(string.format("ALTER TABLE %s RENAME TO %s", a.full, aside))
	m:exec(string.format("ALTER TABLE %s RENAME TO %s", b.full, a.name))
	m:exec(string.format("ALTER TABLE %s.%s RENAME TO %s", a.schema, aside, b.name))
end

local function quoted(name) return '"' .. name:gsub('"', '""') .. '"' end

-- What was made for the table under its own name is found again under the name that the table has then: an error message names a constraint,
-- and an application a sequence. First all aside, since each may want another's name. Before the tables themselves change places.
local function exchange_names(m, live, other)
	local rows = m:internal(NAMED, live.oid, live.plain, other.oid, other.plain).values
	local stays, repeated = {}, nil
	for _, row in ipairs(rows) do stays[row[4]] = not row[6] or nil end
	repeat   -- who wants the name of one that stays, stays too
		repeated = false
		for _, row in ipairs(rows) do
			if not stays[row[4]] and stays[row[5]] then stays[row[4]], repeated = true, true end
		end
	until not repeated
	local function each(what)
		for i, row in ipairs(rows) do
			local from, to = what(i, row)
			local table = row[3] and live or other
			if stays[row[4]] then goto continue end
			if row[1] == "constraint" then m:exec(string.format("ALTER TABLE %s RENAME CONSTRAINT %s TO %s", table.full, from, to))
			else m:exec(string.format("ALTER %s %s.%s RENAME TO %s", row[1]:upper(), table.schema, from, to)) end
			::continue::
		end
	end
	each(function(i, row) return row[2], string.format("pgrehearse_swap_%d", i) end)
	each(function(i, row) return string.format("pgrehearse_swap_%d", i), quoted(row[5]) end)
end

-- Up and down are the same exchange of names: what bears the live name comes out of use, and the other takes over from it. Down takes back what up
-- has granted besides; a way back in another process than the way there leaves it.
function swap.perform(m, step)
	m:transaction(function()
		local names, lent = {}, {}
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
			lent[pair.live] = carry_privileges(m, live, other)
			carry_sequences(m, live, other)
			exchange_names(m, live, other)
			rename(m, live, other)
			for _, sql in ipairs(m.direction == "down" and step.lent and step.lent[pair.live] or {}) do m:exec(sql) end
		end
		if m.direction == "up" then step.lent = lent end
	end)
end

return swap
