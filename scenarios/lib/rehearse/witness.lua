-- Rows of tables that the traffic writes, whose content is another one after the way back for good reasons: those that it has written are
-- looked for, since a way back to an old copy of a table has the schema of before and nothing of what came meanwhile; and of a sample of those
-- that were there before, what the traffic does not write must be as it was.
local clean = require "rehearse.clean"

local witness = {}

local MOST_ROWS, SAMPLE, TOLD = 2000, 500, 5
local LARGE = 50000   -- rows: of a table with more, some blocks are sampled
local SCANNED = 5000000   -- rows: a larger table whose key does not count them is not read for those that came
local MOST_OF = 0.5   -- of the sample: fewer may have been changed by triggers, and by what the traffic wrote elsewhere

-- Tables with a primary key: name, its columns in order, whether it is one number, whether triggers write the table, too, and about how many rows
-- it has. (A partitioned table has statistics of its own from 14 on, and only after ANALYZE.)
local KEYS = [[
SELECT c.oid::pg_catalog.regclass::text, pg_catalog.array_to_string(ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
	JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.attnum ORDER BY k.place), ' '),
	i.indnkeyatts = 1 AND (SELECT a.atttypid IN (20, 21, 23) FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = i.indkey[0]),
	EXISTS (SELECT 1 FROM pg_catalog.pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal),
	COALESCE((SELECT pg_catalog.sum(GREATEST(l.reltuples, 0)) FROM pg_catalog.pg_partition_tree(c.oid) p JOIN pg_catalog.pg_class l ON l.oid = p.relid WHERE p.isleaf), c.reltuples)::int8
FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisprimary AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND ]] .. clean.ours

-- Rows of transaction $1 and later ones: xmin has 32 bits and wraps around, an age does not.
local WRITTEN_SINCE = "pg_catalog.age(t.xmin) <= pg_catalog.age(($1::int8 % 4294967296)::text::pg_catalog.xid)"

-- Types of these columns, in that order, as far as there still is a table of that name with them.
local TYPES = [[
SELECT pg_catalog.format_type(a.atttypid, a.atttypmod) FROM pg_catalog.unnest($2::text[]) WITH ORDINALITY AS w (name, place)
	JOIN pg_catalog.pg_attribute a ON pg_catalog.quote_ident(a.attname) = w.name JOIN pg_catalog.pg_class c ON c.oid = a.attrelid
WHERE c.oid = pg_catalog.to_regclass($1) AND c.relkind IN ('r', 'p') AND NOT a.attisdropped ORDER BY w.place]]

local function ask(session, sql, ...)
	local out = session:query(sql, ...)
	if not out.ok then error(string.format("rows that the traffic wrote cannot be looked for: %s (SQLSTATE %s)", out.message, out.sqlstate), 0) end
	return out.values
end

local function array(list)
	local quoted = {}
	for i, text in ipairs(list) do quoted[i] = '"' .. tostring(text):gsub('[\\"]', "\\%0") .. '"' end
	return "{" .. table.concat(quoted, ",") .. "}"
end

-- nil: it is not there any more, under that name and with that key.
local function key_types(session, t)
	local out = {}
	for i, row in ipairs(ask(session, TYPES, t.name, array(t.columns))) do out[i] = row[1] end
	return #out == #t.columns and out or nil
end

local function is_there(session, t) return key_types(session, t) ~= nil end

-- The tables that can be followed, as they are called and keyed before the migration.
function witness.tables(session)
	local out = {}
	for _, row in ipairs(ask(session, KEYS)) do
		local t = { name = row[1], columns = {}, counts = row[3], triggers = row[4], about = row[5], parts = {} }
		for name in row[2]:gmatch("%S+") do t.columns[#t.columns + 1] = name end
		if not row[2]:find('"', 1, true) then out[#out + 1] = t end   -- a column with a space in its name
	end
	table.sort(out, function(a, b) return a.name < b.name end)
	return out
end

local function shown(t, keys)
	local list = {}
	for i = 1, math.min(#keys, TOLD) do list[i] = keys[i] end
	return string.format("%s %s%s", table.concat(t.columns, ", "), table.concat(list, "; "), #keys > TOLD and "; ..." or "")
end

local function rows(n, all, what) return string.format("%d of %d row%s that the traffic %s", n, all, all == 1 and "" or "s", what) end

local function differs(t, detail) return { class = "dirty", object = "content of " .. t.name, detail = detail } end

-- ---- while the traffic pauses on the way back: what it added and what it changed ----

local function key_columns(t)
	local out = {}
	for i, name in ipairs(t.columns) do out[i] = "t." .. name end
	return out
end

-- key -> { column -> hash of its value }, of rows that a condition picks. t.parts has the values that a key is made of.
local function read(session, t, condition, ...)
	local found, out, n = ask(session, string.format([[SELECT %s::text, c.key, COALESCE(pg_catalog.md5(c.value), '')
		FROM (SELECT t.* FROM %s AS t WHERE %s LIMIT %d) AS t, pg_catalog.jsonb_each_text(pg_catalog.to_jsonb(t)) AS c]],
		table.concat(key_columns(t), "::text, "), t.name, condition, MOST_ROWS), ...), {}, #t.columns
	for _, row in ipairs(found) do
		local key = table.concat(row, "/", 1, n)
		if not out[key] then out[key], t.parts[key] = {}, table.move(row, 1, n, 1, {}) end
		out[key][row[n + 1]] = row[n + 2]
	end
	return out
end

-- The same of rows with these keys; through the index, since tables are large. nil: the table is not there.
local function read_keys(session, t, keys)
	local types = key_types(session, t)
	if not types then return nil end
	local names, arrays, casts, values = {}, {}, {}, {}
	for i, kind in ipairs(types) do
		local list = {}
		for k, key in ipairs(keys) do list[k] = t.parts[key][i] end
		names[i], arrays[i], casts[i], values[i] = "k" .. i, string.format("pg_catalog.unnest($%d::text[])", i), string.format("u.k%d::%s", i, kind), array(list)
	end
	return read(session, t, string.format("(%s) IN (SELECT %s FROM ROWS FROM (%s) AS u (%s))", table.concat(key_columns(t), ", "), table.concat(casts, ", "),
		table.concat(arrays, ", "), table.concat(names, ", ")), table.unpack(values))
end

-- Call it at the furthest point, before the traffic that is to be followed.
function witness.open(host)
	local session = clean.open(host)
	ask(session, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
	return { session = session, since = ask(session, "SELECT pg_catalog.txid_snapshot_xmin(pg_catalog.txid_current_snapshot())::text")[1][1] }
end

-- What the traffic has written since; call it while it pauses. before: what these rows held at witness.open.
function witness.take(self, session, tables)
	local out = {}
	for _, t in ipairs(tables) do
		if is_there(session, t) then
			local now = read(session, t, WRITTEN_SINCE, self.since)
			local keys = {}
			for key in pairs(now) do keys[#keys + 1] = key end
			table.sort(keys)
			if #keys > 0 then out[#out + 1] = { table = t, keys = keys, now = now, before = read_keys(self.session, t, keys) or {} } end
		end
	end
	ask(self.session, "COMMIT")
	self.session:close()
	return out
end

-- Of the columns that the traffic changed in a row, those that hold again what they held before it did.
local function undone(before, now, after)
	local out = {}
	for column, value in pairs(now) do
		if before[column] and before[column] ~= value and after[column] == before[column] then out[#out + 1] = column end
	end
	return out
end

local function compare(w, after)
	local gone, reverted, columns, added, changed = {}, {}, {}, 0, 0
	for _, key in ipairs(w.keys) do
		local before, now = w.before[key], w.now[key]
		local wrote = not before
		for column, value in pairs(now) do wrote = wrote or before[column] ~= value end
		if wrote then
			if before then changed = changed + 1 else added = added + 1 end
			if not after[key] then
				gone[#gone + 1] = key
			elseif before then
				local list = undone(before, now, after[key])
				if #list > 0 then reverted[#reverted + 1] = key end
				for _, column in ipairs(list) do columns[column] = true end
			end
		end
	end
	local names = {}
	for name in pairs(columns) do names[#names + 1] = name end
	table.sort(names)
	return gone, reverted, names, added, changed
end

-- After the way back, while the traffic still pauses: the differences, and how many rows were looked for.
function witness.compare(session, taken)
	local out, looked = {}, 0
	for _, w in ipairs(taken) do
		local t, after = w.table, read_keys(session, w.table, w.keys)
		if after then
			local gone, reverted, names, added, changed = compare(w, after)
			looked = looked + added + changed
			if #gone > 0 then
				out[#out + 1] = differs(t, string.format("%s before the way back are gone after it: %s", rows(#gone, added + changed, "wrote"), shown(t, gone)))
			end
			if #reverted > 0 then
				out[#out + 1] = differs(t, string.format("%s before the way back hold again what they held before that (in %s): %s", rows(#reverted, changed, "changed"),
					table.concat(names, ", "), shown(t, reverted)))
			end
		end
	end
	return out, looked
end

-- ---- under traffic: what was there before ----

local CASCADES = [[SELECT pg_catalog.quote_ident(p.relname), pg_catalog.quote_ident(c.relname) FROM pg_catalog.pg_constraint f
	JOIN pg_catalog.pg_class p ON p.oid = f.confrelid JOIN pg_catalog.pg_class c ON c.oid = f.conrelid WHERE f.contype = 'f' AND f.confdeltype = 'c']]

local function plain(name) return name:match("[^.]+$") end

local function find_deleted(node, out)
	for kind, inner in pairs(node) do
		if type(inner) == "table" then
			if (kind == "DeleteStmt" or kind == "MergeStmt") and inner.relation then out[#out + 1] = inner.relation.relname end
			for _, one in ipairs(kind == "TruncateStmt" and inner.relations or {}) do out[#out + 1] = one.RangeVar and one.RangeVar.relname end
			find_deleted(inner, out)
		end
	end
end

-- A call of something that is named after deleting: nobody knows what it deletes from.
local function calls_deleter(upper)
	return upper:find("DELETE[%w_]*\"?%s*%(") or upper:find("MERGE[%w_]*\"?%s*%(") or upper:find("TRUNCATE[%w_]*\"?%s*%(")
end

-- Of which of these tables the traffic itself may have deleted rows that are gone, by name; what a foreign key deletes along is among them. Of all, when
-- it deletes from what is none of them (a view, a partition), or in a function.
local function deletes(session, tables, statements)
	local sql = require "sql"   -- the workers' states, which load scenarios too, do without
	local known, out, queue = {}, {}, {}
	for _, t in ipairs(tables) do known[plain(t.name)] = true end
	for _, text in ipairs(statements) do
		local upper = text:upper()
		if upper:find("DELETE", 1, true) or upper:find("MERGE", 1, true) or upper:find("TRUNCATE", 1, true) then
			local tree = sql.parse(text)
			if not tree or calls_deleter(upper) then return known end
			find_deleted(tree, queue)
		end
	end
	local cascades = #queue > 0 and ask(session, CASCADES) or {}
	while #queue > 0 do
		local name = table.remove(queue)
		if not known[name] then return known end
		if not out[name] then
			out[name] = true
			for _, row in ipairs(cascades) do if row[1] == name then queue[#queue + 1] = row[2] end end
		end
	end
	return out
end

-- Before the migration: some rows of each table, spread over it.
function witness.sample(session, tables)
	local out = {}
	for _, t in ipairs(tables) do
		local list, from = table.concat(key_columns(t), ", "), t.name .. " AS t"
		if t.about > LARGE then from = from .. string.format(" TABLESAMPLE SYSTEM (%.6f)", 1000 * SAMPLE / t.about) end   -- ten times as many as are taken
		out[#out + 1] = { table = t, rows = read(session, t, string.format("(%s) IN (SELECT %s FROM %s ORDER BY pg_catalog.hashtextextended(pg_catalog.concat_ws('/', %s), 0) LIMIT %d)",
			list, list, from, list, SAMPLE)) }
	end
	return out
end

local function set_columns(targets, into)
	for _, one in ipairs(targets or {}) do if one.ResTarget and one.ResTarget.name then into[one.ResTarget.name] = true end end
end

-- into[table][column]: what the statements below a node of a parse tree assign to rows that are there.
local function find_assigned(node, into)
	for kind, inner in pairs(node) do
		if type(inner) == "table" then
			local name = (kind == "UpdateStmt" or kind == "InsertStmt") and inner.relation and inner.relation.relname
			if name then
				into[name] = into[name] or {}
				set_columns(kind == "UpdateStmt" and inner.targetList or inner.onConflictClause and inner.onConflictClause.targetList, into[name])
			end
			find_assigned(inner, into)
		end
	end
end

-- Of one sampled table: which columns are not as they were in how many of the rows, and the keys.
local function changed_columns(s, after, assigned)
	local n, keys, names, rows_seen, gone = {}, {}, {}, 0, {}
	for key, columns in pairs(s.rows) do
		local now = after[key]
		if not now then
			gone[#gone + 1] = key
		else
			rows_seen = rows_seen + 1
			for column, value in pairs(columns) do
				if now[column] and now[column] ~= value and not assigned[column] then
					n[column], keys[column] = (n[column] or 0) + 1, keys[column] or {}
					table.insert(keys[column], key)
				end
			end
		end
	end
	for name in pairs(n) do names[#names + 1] = name end
	table.sort(names)
	return names, keys, rows_seen, gone
end

-- Does the traffic write tables, or columns of this one, that the sample does not know? What they hold may find its way into it.
local function writes_elsewhere(assigned, samples)
	local known = {}
	for _, s in ipairs(samples) do
		local _, row = next(s.rows)
		known[plain(s.table.name)] = row or {}
	end
	for name, columns in pairs(assigned) do
		if not known[name] then return true end
		for column in pairs(columns) do if not known[name][column] then return true end end
	end
	return false
end

-- When all is over: the differences. statements: what the traffic has executed.
function witness.spoilt(session, samples, statements)
	local out, assigned, tables, sql = {}, {}, {}, require "sql"
	for i, s in ipairs(samples) do tables[i] = s.table end
	local may_delete = deletes(session, tables, statements)
	for _, text in ipairs(statements) do find_assigned(sql.parse(text) or {}, assigned) end
	local elsewhere = writes_elsewhere(assigned, samples)
	for _, s in ipairs(samples) do
		local t, keys = s.table, {}
		for key in pairs(s.rows) do keys[#keys + 1] = key end
		local mine = assigned[plain(t.name)]
		local after = mine and #keys > 0 and read_keys(session, t, keys)
		if after then
			local names, where, seen, gone = changed_columns(s, after, mine)
			table.sort(gone)
			if #gone > 0 and not may_delete[plain(t.name)] then
				out[#out + 1] = differs(t, string.format("%d of %d rows that were looked at are gone: %s", #gone, #keys, shown(t, gone)))
			end
			for _, name in ipairs(names) do
				local list = where[name]
				table.sort(list)
				if #list > ((elsewhere or t.triggers) and MOST_OF or 0) * seen then
					out[#out + 1] = differs(t, string.format("%s, which the traffic does not write, holds something else than before in %d of %d rows that were looked at: %s",
						name, #list, seen, shown(t, list)))
				end
			end
		end
	end
	return out
end

-- ---- under traffic: what it added ----

-- When the last step is done, so that what comes from now on is the traffic's: the newest key of each table that counts its rows, and of others
-- the next transaction.
function witness.newest(session, tables)
	local next_xid
	for _, t in ipairs(tables) do
		if not is_there(session, t) then
			t.newest, t.since = nil, nil
		elseif t.counts then
			t.newest = ask(session, string.format("SELECT COALESCE(pg_catalog.max(%s), 0)::int8::text FROM %s", t.columns[1], t.name))[1][1]
		elseif t.about <= SCANNED then
			next_xid = next_xid or ask(session, "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())::text")[1][1]
			t.since = next_xid
		end
	end
end

-- Before the way back: the rows that have come since. Those of a counted key cost a look into an index; of others the table is read, and what was
-- changed is among what came.
function witness.added(session, tables)
	for _, t in ipairs(tables) do
		t.added = {}
		if t.newest and is_there(session, t) then
			local list = ask(session, string.format("SELECT %s::int8 FROM %s WHERE %s > $1::int8 ORDER BY 1 DESC LIMIT %d", t.columns[1], t.name, t.columns[1], MOST_ROWS), t.newest)
			for i, row in ipairs(list) do t.added[i] = row[1] end
		elseif t.since and is_there(session, t) then
			for key in pairs(read(session, t, WRITTEN_SINCE, t.since)) do t.added[#t.added + 1] = key end
			table.sort(t.added)
		end
	end
end

-- Of rows that were there before the way back those that are not now.
local function gone_of(session, t)
	local gone = {}
	if t.counts then
		for i, row in ipairs(ask(session, string.format("SELECT k FROM pg_catalog.unnest($1::int8[]) AS k WHERE NOT EXISTS (SELECT 1 FROM %s AS t WHERE t.%s = k) ORDER BY 1",
			t.name, t.columns[1]), array(t.added))) do gone[i] = tostring(row[1]) end
		return gone
	end
	local there = read_keys(session, t, t.added) or {}
	for _, key in ipairs(t.added) do if not there[key] then gone[#gone + 1] = key end end
	return gone
end

-- When all is over: the differences. statements: what the traffic has executed.
function witness.missing(session, tables, statements)
	local out = {}
	local may_delete = deletes(session, tables, statements)
	for _, t in ipairs(tables) do
		if #(t.added or {}) > 0 and not may_delete[plain(t.name)] and is_there(session, t) then
			local gone = gone_of(session, t)
			if #gone > 0 then
				out[#out + 1] = differs(t, string.format("%s before the way back are gone after it: %s", rows(#gone, #t.added, t.counts and "added" or "wrote"), shown(t, gone)))
			end
		end
	end
	return out
end

return witness
