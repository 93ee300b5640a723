-- What the table of operations had expected of each statement of the migration, beside what was observed.
local blame = require "lib.blame"
local words = require "lib.words"

local expected = {}

local MODES = { "AccessShareLock", "RowShareLock", "RowExclusiveLock", "ShareUpdateExclusiveLock", "ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock" }
local strength = {}
for i, mode in ipairs(MODES) do strength[mode] = i end

local function keep_strongest(set, relation, mode)
	if relation and strength[mode] and strength[mode] > (strength[set[relation]] or 0) then set[relation] = mode end
end

-- Tables that were there before the migration, as far as the record names them.
local function tables_of(f)
	local out = {}
	for _, phase in ipairs(f.run.phase_state or {}) do
		if phase.phase == "baseline" then for _, t in ipairs(phase.tables or {}) do if t.table then out[t.table] = true end end end
	end
	for _, s in pairs(f.statements) do
		for _, lock in ipairs(s.expected and s.expected.locks or {}) do if lock.relation then out[lock.relation] = true end end
	end
	return out
end

local MAKES = { create_table = true, create_table_fk = true, create_partition = true, create_view = true, create_object = true, read_rows = true }

-- Of what is new nobody minds the locks and the indexes. read_rows: CREATE TABLE AS.
local function makes_a_table(s)
	if not (s.sql or ""):upper():find("^%s*CREATE") then return false end
	for _, op in ipairs(s.expected.operations or {}) do if MAKES[op.id or ""] then return true end end
	return false
end

local function kinds_of(list)
	local out = {}
	for _, w in ipairs(list or {}) do out[w.what or "?"] = out[w.what or "?"] or w.object or "" end
	return out
end

local WORDS = { rewrite = "writes %s anew", scan = "reads %s whole", index_build = "builds %s", fk_validation = "looks up the rows of %s", proved = "is spared a scan of %s" }
local KINDS = { "rewrite", "scan", "index_build", "fk_validation", "proved" }

local function locks_text(set)
	local out = {}
	for relation, mode in pairs(set) do out[#out + 1] = words.mode(mode) .. " on " .. (words.relation(relation) or relation) end
	table.sort(out)
	return out
end

local function work_text(list)
	local out, seen = {}, {}
	for _, kind in ipairs(KINDS) do
		for _, w in ipairs(list or {}) do
			local text = w.what == kind and WORDS[kind]:format(w.object or "?")
			if text and not seen[text] then
				seen[text] = true
				out[#out + 1] = text
			end
		end
	end
	return out
end

local function joined(a, b)
	local out = table.move(b, 1, #b, #a + 1, table.move(a, 1, #a, 1, {}))
	return #out > 0 and table.concat(out, "; ") or "nothing"
end

-- Locks that statement s was seen with: those of its transaction so far, or those that sampling caught.
local function observed_locks(s, by_statement)
	local out = {}
	for _, lock in ipairs(s.locks or by_statement[s.id] or {}) do keep_strongest(out, lock.relation, lock.mode) end
	return out
end

-- The name that a table has after statement s, and the one before it.
local function renames(s)
	local out = {}
	for _, op in ipairs(s.sqlstate == "00000" and s.expected.operations or {}) do
		if op.table and op.becomes then out[#out + 1] = { from = op.table, to = op.becomes } end
	end
	return out
end

-- What a set of locks says of one name, it says of the other.
local function move(set, from, to) set[to], set[from] = set[from] or set[to], nil end

-- tables: an empty one when nobody minds what else is locked.
local function compare_locks(row, s, wanted, so_far, seen, tables, earlier)
	for relation, mode in pairs(wanted) do
		if not seen[relation] then
			-- Sampling may miss a short one; what is read inside of a transaction is all there is.
			if s.locks then row.differences[#row.differences + 1] = words.mode(mode) .. " on " .. relation .. " was not taken" end
		elseif s.locks and seen[relation] ~= so_far[relation] or not s.locks and strength[seen[relation]] > strength[mode] then
			row.differences[#row.differences + 1] = string.format("%s: %s, not %s", relation, words.mode(seen[relation]), words.mode(so_far[relation] or mode))
		end
	end
	for relation, mode in pairs(seen) do
		if not so_far[relation] and earlier[relation] ~= mode and tables[relation] and strength[mode] >= strength.ShareUpdateExclusiveLock then
			row.differences[#row.differences + 1] = words.mode(mode) .. " on " .. relation .. " as well"
		end
	end
end

local function compare_work(row, s, e)
	local wanted, seen = kinds_of(e.work), kinds_of(s.work)
	local maybe, made = false, makes_a_table(s)
	for _, op in ipairs(e.operations or {}) do
		maybe = maybe or op.maybe
		made = made or op.made
	end
	for _, kind in ipairs(KINDS) do
		if wanted[kind] and not seen[kind] then
			if maybe then row.less = maybe else row.differences[#row.differences + 1] = "it did not: " .. WORDS[kind]:format(wanted[kind]) end
		elseif seen[kind] and not wanted[kind] and not made and not (kind == "scan" and wanted.rewrite) and kind ~= "proved" then
			row.differences[#row.differences + 1] = WORDS[kind]:format(seen[kind]) .. " as well"
		end
	end
end

-- One row a statement that succeeded, in the order in which they ran: { sql, step, direction, expected, observed, risk, verdict ("as expected",
-- "differs", "not read"), differences }; and counts of the verdicts.
function expected.gather(f)
	local by_statement, transaction_of, ids, out = {}, {}, {}, { n = 0, differ = 0, unread = 0 }
	for _, lock in ipairs(f.lock_events) do
		local id = lock.statement
		if id then
			by_statement[id] = by_statement[id] or {}
			table.insert(by_statement[id], lock)
		end
	end
	for i, tx in ipairs(f.transaction_events) do if tx.first and tx.last then for id = tx.first, math.min(tx.last, tx.first + 10000) do transaction_of[id] = i end end end
	for id, s in pairs(f.statements) do if s.expected then ids[#ids + 1] = id end end
	table.sort(ids)
	local tables, held, seen_before, seen_keys = tables_of(f), {}, {}, {}
	for _, id in ipairs(ids) do
		local s = f.statements[id]
		local e, key = s.expected, blame.key_of(s)
		local so_far, wanted = held[transaction_of[id] or "none"] or {}, {}
		if transaction_of[id] then held[transaction_of[id]] = so_far else so_far = {} end
		for _, lock in ipairs(e.locks or {}) do
			keep_strongest(wanted, lock.relation, lock.mode)
			keep_strongest(so_far, lock.relation, lock.mode)
		end
		-- A transaction shows what it has locked by now: what an earlier statement took is not this one's.
		local seen, earlier = observed_locks(s, by_statement), seen_before[transaction_of[id] or "none"] or {}
		if transaction_of[id] then seen_before[transaction_of[id]] = observed_locks(s, by_statement) end
		for _, r in ipairs(renames(s)) do move(seen, r.to, r.from) end
		if s.sqlstate == "00000" and not seen_keys[key] then
			seen_keys[key] = true
			local row = { sql = s.sql, step = s.step, direction = s.direction, risk = e.risk, differences = {}, expected = joined(locks_text(wanted), work_text(e.work)) }
			local shown = {}
			for relation, mode in pairs(seen) do
				if wanted[relation] or tables[relation] and earlier[relation] ~= mode then shown[relation] = mode end
			end
			row.observed = joined(locks_text(shown), work_text(s.work))
			if e.unread then
				row.verdict, out.unread = "not read", out.unread + 1
			else
				compare_locks(row, s, wanted, so_far, seen, makes_a_table(s) and {} or tables, earlier)
				compare_work(row, s, e)
				table.sort(row.differences)
				row.verdict = #row.differences > 0 and "differs" or "as expected"
				out.n = out.n + 1
				if row.verdict == "differs" then out.differ = out.differ + 1 end
			end
			out[#out + 1] = row
		end
		for _, r in ipairs(renames(s)) do move(so_far, r.from, r.to) end
	end
	return out
end

return expected
