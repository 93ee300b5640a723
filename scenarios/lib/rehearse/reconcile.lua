-- Reconciliation: the old and the new form of the same data compared while traffic goes on, in chunks of the key's order. Each chunk is one statement,
-- which sees both sides in one snapshot. Rows that differ are looked at again: what two transactions write one after the other agrees by then.
local reconcile = {}

local ROUNDS = 5          -- looks at a row that differs and keeps changing
local LISTED = 20         -- differences that the record shows
local CHUNK_LISTED = 1000 -- differences of one chunk that are looked at again

local function quote(text) return text == nil and "NULL" or "'" .. tostring(text):gsub("'", "''") .. "'" end

-- The name of a column as SQL has it, and as the catalog has it. Written in quotes it is both; else a name means itself, capitals and all.
local function identifier(name)
	if name:match('^".*"$') or name:match("^[%l_][%l%d_$]*$") then return name end
	return '"' .. name:gsub('"', '""') .. '"'
end

local function plain(name) return quote((name:match('^"(.*)"$') or name):gsub('""', '"')) end

-- Columns in a format: %s is one as an identifier, %n its name as a text.
local function each(list, format, joint)
	local out = {}
	for i, one in ipairs(list) do out[i] = format:gsub("%%([sn])", { s = identifier(one), n = plain(one) }) end
	return table.concat(out, joint)
end

-- A side as SQL: key columns and v, the value that is compared.
local function side(spec, what, range)
	local key = each(spec.key, "s.%s", ", ")
	if spec.table then
		return string.format("SELECT %s, pg_catalog.to_jsonb(%s) AS v FROM %s AS s WHERE %s", key, what, spec.table, range)
	end
	local from = what:upper():match("^%s*SELECT%s") or what:upper():match("^%s*WITH%s") and true
	from = from and "(" .. what .. ")" or what
	local value = spec.columns and "pg_catalog.jsonb_build_object(" .. each(spec.columns, "%n, s.%s", ", ") .. ")" or
		"pg_catalog.to_jsonb(s) - ARRAY[" .. each(spec.key, "%n", ", ") .. "]::text[]"
	return string.format("SELECT %s, %s AS v FROM %s AS s WHERE %s", key, value, from, range)
end

-- (s.a, s.b) > ('1', '2'): literals without a type take the columns'.
local function bound(spec, comparison, values)
	local quoted = {}
	for i, v in ipairs(values) do quoted[i] = quote(v) end
	return string.format("(%s) %s (%s)", each(spec.key, "s.%s", ", "), comparison, table.concat(quoted, ", "))
end

-- Keys behind `from` up to `to`; nil has no limit. With several columns the first one's limits are said once more by themselves: PostgreSQL (15) sees no
-- range in two comparisons of rows, takes it for a quarter of the table and reads all of that, and it moves none into a query whose other columns are made
-- by a function, as those of a list's elements.
local function between(spec, from, to)
	local several, out = #spec.key > 1, {}
	if from and several then out[#out + 1] = string.format("s.%s >= %s", identifier(spec.key[1]), quote(from[1])) end
	if to and several then out[#out + 1] = string.format("s.%s <= %s", identifier(spec.key[1]), quote(to[1])) end
	if from then out[#out + 1] = bound(spec, ">", from) end
	if to then out[#out + 1] = bound(spec, "<=", to) end
	return #out > 0 and table.concat(out, " AND ") or "true"
end

-- Rows in which the sides differ, with the number of rows compared in each line's first column.
local function comparison(spec, range, limit)
	return string.format([[WITH o AS MATERIALIZED (%s), n AS MATERIALIZED (%s)
SELECT c.rows, d.* FROM (SELECT GREATEST((SELECT pg_catalog.count(*) FROM o), (SELECT pg_catalog.count(*) FROM n)) AS rows) AS c LEFT JOIN (
	SELECT %s, pg_catalog.left(o.v::text, 200), pg_catalog.left(n.v::text, 200), pg_catalog.md5(COALESCE(o.v::text, '') || ' ' || COALESCE(n.v::text, ''))
	FROM o FULL JOIN n ON %s WHERE o.v IS DISTINCT FROM n.v ORDER BY %s LIMIT %d) AS d ON true]],
		side(spec, spec.old, range), side(spec, spec.new, range), each(spec.key, "COALESCE(o.%s, n.%s)::text", ", "), each(spec.key, "o.%s = n.%s", " AND "),
		each(spec.key, "COALESCE(o.%s, n.%s)", ", "), limit)
end

-- The last key of the chunk that begins behind `from`; nil when it is the last one.
local function chunk_end(query, spec, from)
	local out = query(string.format("SELECT %s FROM (%s) AS s ORDER BY %s OFFSET %d LIMIT 1", each(spec.key, "s.%s::text", ", "),
		side(spec, spec.old, between(spec, from)), each(spec.key, "s.%s", ", "), spec.chunk - 1))
	return out[1]
end

local function differences_of(rows, spec)
	local n, out = #spec.key, {}
	for _, row in ipairs(rows) do
		if row[2] ~= nil then
			local key = table.move(row, 2, n + 1, 1, {})
			out[#out + 1] = { key = key, name = table.concat(key, "/"), old = row[n + 2], new = row[n + 3], hash = row[n + 4] }
		end
	end
	return out
end

-- Looks at those again until they agree, or differ twice alike, or have been looked at often enough. Returns those that differ.
local function recheck(query, host, spec, suspects, result)
	local wrong = {}
	for round = 1, ROUNDS do
		if #suspects == 0 then break end
		result.rechecked = result.rechecked + (round == 1 and #suspects or 0)
		if spec.recheck > 0 then host.sleep(spec.recheck / 1e9) end
		local before, keys = {}, {}
		for i, s in ipairs(suspects) do
			before[s.name] = s.hash
			keys[i] = bound(spec, "=", s.key)
		end
		suspects = {}
		for _, d in ipairs(differences_of(query(comparison(spec, table.concat(keys, " OR "), CHUNK_LISTED)), spec)) do
			if d.hash == before[d.name] or round == ROUNDS then wrong[#wrong + 1] = d else suspects[#suspects + 1] = d end
		end
	end
	return wrong
end

-- query(sql) -> rows, or raises. spec: see rehearse.reconcile. Returns { name, rows, mismatches, rechecked, sample, differences }.
function reconcile.compare(query, host, spec, progress)
	local result = { name = spec.name, rows = 0, mismatches = 0, rechecked = 0, differences = host.array {} }
	local from, keys = nil, {}
	repeat
		local to = chunk_end(query, spec, from)
		local rows = query(comparison(spec, between(spec, from, to), CHUNK_LISTED))
		result.rows = result.rows + (rows[1] and rows[1][1] or 0)
		for _, d in ipairs(recheck(query, host, spec, differences_of(rows, spec), result)) do
			result.mismatches = result.mismatches + 1
			if #result.differences < LISTED then
				result.differences[#result.differences + 1] = { key = d.name, old = d.old or "no row", new = d.new or "no row" }
				keys[#keys + 1] = d.name
			end
		end
		if progress then progress(result) end
		from = to
		if to and spec.pause > 0 then host.sleep(spec.pause / 1e9) end
	until not to
	result.sample = #keys > 0 and table.concat(keys, ", ") or nil
	return result
end

-- Keeps a result for the record; host.reconciled is in run.json as `reconcile`.
function reconcile.tell(host, result)
	host.reconciled = host.reconciled or host.array {}
	-- A name that comes again (another round of a drill): the worst of them stays.
	local at = #host.reconciled + 1
	for i, r in ipairs(host.reconciled) do if r.name == result.name then at = i end end
	local was = host.reconciled[at]
	if not was or result.error or (result.mismatches or 0) >= (was.mismatches or 0) then host.reconciled[at] = result end
	local event = { type = "reconcile" }
	for k, v in pairs(result) do event[k] = v end
	host.event(event)
end

-- As a step: mismatches are no failure of the step; the criterion reconcile[NAME].mismatches = 0, which comes with it, is about them.
function reconcile.perform(m, step)
	local function query(sql) return m:internal(sql).values end
	local result = reconcile.compare(query, m.host, step, function(r)
		m.host.status { detail = string.format("%d rows compared, %d differ", r.rows, r.mismatches) }
	end)
	reconcile.tell(m.host, result)
end

-- As a check, by a session of the harness.
function reconcile.check(session, host, spec)
	local ok, result = pcall(reconcile.compare, function(sql)
		local out = session:query(sql)
		if not out.ok then error({ text = out.message .. " (SQLSTATE " .. out.sqlstate .. ")" }, 0) end
		return out.values
	end, host, spec)
	if not ok and type(result) ~= "table" then error(result, 0) end
	if not ok then result = { name = spec.name, error = result.text } end
	reconcile.tell(host, result)
	return result
end

return reconcile
