-- The key that a backfill walks along: what the catalog says of it, and the statements that find places in its order and fill
-- what lies between two of them.
local keys = {}
keys.__index = keys

local SAMPLE_PAGES = 1000 -- that are read to learn how keys are spread
keys.TILES = 64           -- places that this gives, evenly over the rows

local TABLE = [[
SELECT c.oid::int8, pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname), pg_catalog.quote_ident(c.relname), c.relkind::text,
	(SELECT pg_catalog.sum(pg_catalog.pg_relation_size(t.relid) / 8192)::int8 FROM pg_catalog.pg_partition_tree(c.oid) AS t) + pg_catalog.pg_relation_size(c.oid) / 8192,
	(SELECT pg_catalog.sum(l.reltuples)::int8 FROM pg_catalog.pg_class l WHERE (l.oid = c.oid OR l.oid IN (SELECT t.relid FROM pg_catalog.pg_partition_tree(c.oid) AS t WHERE t.isleaf)) AND l.reltuples > 0),
	(SELECT pg_catalog.string_agg(a.attname, ',' ORDER BY k.n) FROM pg_catalog.pg_index i, pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n)
		JOIN pg_catalog.pg_attribute a ON a.attnum = k.attnum WHERE i.indrelid = c.oid AND i.indisprimary AND k.n <= i.indnkeyatts AND a.attrelid = c.oid)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = pg_catalog.to_regclass($1)]]

local COLUMN = [[
SELECT pg_catalog.quote_ident(a.attname), pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attnum::int8
FROM pg_catalog.pg_attribute a WHERE a.attrelid = $1::oid AND a.attname = $2 AND a.attnum > 0 AND NOT a.attisdropped]]

-- A unique index on these columns or on some of them: then no two rows have the same key.
local UNIQUE = [[
SELECT 1 FROM pg_catalog.pg_index i WHERE i.indrelid = $1::oid AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
AND (SELECT pg_catalog.array_agg(k.attnum) FROM pg_catalog.unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, n) WHERE k.n <= i.indnkeyatts) <@ $2::int2[] LIMIT 1]]

-- What the step's table and key are; nil and why when it cannot be walked. missing: there is no such table.
function keys.read(m, step)
	local row = m:internal(TABLE, step.table).values[1]
	if not row then return nil, string.format("there is no table %s", step.table), true end
	local self = setmetatable({ oid = row[1], table = row[2], pages = row[5] or 0, estimate = row[6], columns = {}, types = {} }, keys)
	self.alias = step.alias or row[3]
	if row[4] ~= "r" and row[4] ~= "p" then return nil, string.format("%s is not a table", step.table) end
	local names, numbers = step.key, {}
	if not names then
		if not row[7] then return nil, string.format("%s has no primary key; say which columns are its key", step.table) end
		names = {}
		for name in row[7]:gmatch("[^,]+") do names[#names + 1] = name end
	end
	self.names = names
	for i, name in ipairs(names) do
		local column = m:internal(COLUMN, self.oid, name).values[1]
		if not column then return nil, string.format("the table %s has no column %s", step.table, name), true end
		if not column[3] then return nil, string.format("the column %s of the key may be NULL: such rows would never be reached", name) end
		self.columns[i], self.types[i], numbers[i] = column[1], column[2], tostring(column[4])
	end
	if not m:internal(UNIQUE, self.oid, "{" .. table.concat(numbers, ",") .. "}").values[1] then
		return nil, string.format("the key (%s) of %s is not unique: no valid unique index is on it", table.concat(names, ", "), step.table)
	end
	return self
end

-- "a, b" of what each column becomes.
local function each(self, f)
	local out = {}
	for i, column in ipairs(self.columns) do out[i] = f(column, i) end
	return table.concat(out, ", ")
end

function keys:list() return each(self, function(c) return self.alias .. "." .. c end) end
function keys:order(direction) return each(self, function(c) return c .. " " .. direction end) end
function keys:texts() return each(self, function(c) return c .. "::text" end) end

-- A comparison with parameters that begin at $first; a row of one is a value.
function keys:compare(operator, first)
	local values = each(self, function(_, i) return string.format("$%d::%s", first + i - 1, self.types[i]) end)
	if #self.columns == 1 then return string.format("%s %s %s", self:list(), operator, values) end
	return string.format("(%s) %s (%s)", self:list(), operator, values)
end

-- The rows from the key at $1... to the one in the same number of parameters after it. With several columns the first one's limits are said once more by
-- themselves: PostgreSQL (15) sees no range in two comparisons of rows, takes it for a quarter of the table, and may read all of that for each batch.
function keys:range()
	local n, range = #self.columns, self:compare(">=", 1) .. " AND " .. self:compare("<=", #self.columns + 1)
	if n == 1 then return range end
	local first = self.alias .. "." .. self.columns[1]
	return string.format("%s >= $1::%s AND %s <= $%d::%s AND %s", first, self.types[1], first, n + 1, self.types[1], range)
end

local function from_table(self) return string.format("%s AS %s", self.table, self.alias) end

-- First and last key of the next rows in order and how many they are: after `at` (nil: from the beginning), not beyond `upper` (nil: no
-- end), of those that match where (nil: of all). descending: the last rows instead.
function keys:next(m, n, at, upper, where, descending)
	local conditions, args = {}, {}
	for _, bound in ipairs { { at, ">" }, { upper, "<=" } } do
		if bound[1] then
			conditions[#conditions + 1] = self:compare(bound[2], #args + 1)
			table.move(bound[1], 1, #self.columns, #args + 1, args)
		end
	end
	if where then conditions[#conditions + 1] = "(" .. where .. ")" end
	local sql = string.format([[
WITH batch AS MATERIALIZED (SELECT %s FROM %s%s ORDER BY %s LIMIT %d)
SELECT %s, %s, (SELECT pg_catalog.count(*) FROM batch) FROM (SELECT * FROM batch ORDER BY %s LIMIT 1) AS f, (SELECT * FROM batch ORDER BY %s LIMIT 1) AS l]],
		self:list(), from_table(self), #conditions > 0 and " WHERE " .. table.concat(conditions, " AND ") or "",
		each(self, function(c) return self.alias .. "." .. c .. (descending and " DESC" or "") end), n,
		each(self, function(c) return "f." .. c .. "::text" end), each(self, function(c) return "l." .. c .. "::text" end), self:order("ASC"), self:order("DESC"))
	local row = m:internal(sql, table.unpack(args)).values[1]
	if not row then return nil end
	local k = #self.columns
	return { first = table.move(row, 1, k, 1, {}), last = table.move(row, k + 1, 2 * k, 1, {}), n = row[2 * k + 1] }
end

-- The last key of all; nil when there is no row.
function keys:newest(m)
	local place = self:next(m, 1, nil, nil, nil, true)
	return place and place.last
end

-- Keys at about even distances over the rows, from a sample of the table's pages, and how many rows there are: { places, rows }.
function keys:spread(m)
	local percent = math.min(100, 100 * SAMPLE_PAGES / math.max(1, self.pages))
	local out = m:internal(string.format([[
SELECT %s, pgr_total::int8 FROM (SELECT %s, pg_catalog.row_number() OVER (ORDER BY %s) AS pgr_n, pg_catalog.count(*) OVER () AS pgr_total FROM %s TABLESAMPLE SYSTEM (%.6f)) AS s
WHERE pgr_n = 1 OR (pgr_n - 1) * %d / pgr_total <> (pgr_n - 2) * %d / pgr_total ORDER BY %s]],
		self:texts(), self:list(), self:list(), from_table(self), percent, keys.TILES, keys.TILES, self:order("ASC")))
	local places, k = {}, #self.columns
	for i, row in ipairs(out.values) do places[i] = table.move(row, 1, k, 1, {}) end
	local seen = out.values[1] and out.values[1][k + 1] or 0
	return { places = places, rows = percent == 100 and seen or self.estimate or math.floor(seen * 100 / percent) }
end

-- The statement that fills the rows from $1... to (the same number more), and whether it tells rows that match afterwards. free: rows that
-- somebody else has locked are left out.
function keys:fill(step, free)
	local range = self:range()
	if step.statement then return (step.statement:gsub(":range", (range:gsub("%%", "%%%%")))), false end
	-- What a subquery in it sees is the state before the statement.
	local tells = not step.where:lower():find("select", 1, true)
	local lock, join = "", ""
	if free then
		lock = string.format("free AS MATERIALIZED (SELECT %s FROM %s WHERE %s AND (%s) ORDER BY %s FOR NO KEY UPDATE SKIP LOCKED), ",
			each(self, function(c, i) return self.alias .. "." .. c .. " AS pgr_key" .. i end), from_table(self), range, step.where, self:list())
		join = " AND " .. each(self, function(c, i) return string.format("%s.%s = pgr_key%d", self.alias, c, i) end):gsub(", ", " AND ")
	end
	return string.format([[WITH %sfilled AS (UPDATE %s SET %s%s WHERE %s%s AND (%s) RETURNING %s AS still)
SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER (WHERE still) FROM filled]],
		lock, from_table(self), step.set, free and " FROM free" or "", range, join, step.where, tells and "(" .. step.where .. ")" or "false"), tells
end

return keys
