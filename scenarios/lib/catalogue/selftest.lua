-- Performs every operation of scenarios/catalogue.lua on a server and compares what it did with what the table says. Each finds a
-- schema that was made anew. What differs is data: an entry's `differences`; `problem` is why one could not be performed.
local catalogue = require "catalogue"
local clean = require "rehearse.clean"
local work = require "rehearse.work"

local selftest = {}

local DATABASE = "pgrehearse_catalogue"
local HOST = { array = function(t) return t end }   -- what is needed of the conductor's; run() may be given another
local TOUCHED = setmetatable({}, { __index = function() return true end })   -- nobody else writes
local LOOKS_MAX = 2000                              -- of 5 ms each: an operation that has not ended by then is stuck

local RELATIONS = [[
SELECT c.oid::int8, CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END, c.relkind::text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema']]

local LOCKS = [[
SELECT relation::int8, mode FROM pg_catalog.pg_locks
WHERE pid = %d AND locktype = 'relation' AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())]]

local WAITS = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks WHERE pid = %d AND NOT granted"

local function list(sql) return type(sql) == "table" and sql or { sql } end

-- Raises when SQL of ours fails.
local function must(session, sql, what)
	local out = session:query(sql)
	if not out.ok then error(string.format("%s: %s (SQLSTATE %s)", what, out.message, out.sqlstate), 0) end
	return out
end

local function read_files(session) return work.read_files(must(session, work.FILES, "reading file numbers").values) end

local function before_operation(session, op)
	must(session, "DROP SCHEMA IF EXISTS public, s, z CASCADE; CREATE SCHEMA public", "making the schema anew")
	must(session, "RESET ALL; SET statement_timeout = '30s'; SET lock_timeout = '10s'", "setting limits")
	if op.before then must(session, op.before, "before it") end
	if op.tablespace then
		session:query("DROP TABLESPACE IF EXISTS " .. op.tablespace)
		must(session, "CREATE TABLESPACE " .. op.tablespace .. " LOCATION ''", "its tablespace")
	end
	must(session, catalogue.base, "the base tables")
	if op.setup then must(session, op.setup, "its setup") end
	local relations = {}
	for _, row in ipairs(must(session, RELATIONS, "reading relations").values) do relations[row[1]] = { name = row[2], index = row[3] == "i" or row[3] == "I" } end
	return relations
end

-- The strongest mode on each relation that was there before. Of indexes the weak ones are left out: every plan takes them.
local function add_locks(locks, rows, relations)
	for _, row in ipairs(rows) do
		local relation, short = relations[row[1]], catalogue.short[row[2]]
		if relation and short and not (relation.index and catalogue.strength[short] < catalogue.strength.SUE) then
			local was = locks[relation.name]
			if not was or catalogue.strength[was] < catalogue.strength[short] then locks[relation.name] = short end
		end
	end
end

-- In a transaction: its locks stay until it ends.
local function perform_inside(session, op, relations, seen)
	must(session, "BEGIN", "BEGIN")
	must(session, "SET LOCAL client_min_messages = debug1", "asking for messages")
	for _, sql in ipairs(list(op.sql)) do
		local out = session:query(sql)
		for _, notice in ipairs(out.notices) do seen.notices[#seen.notices + 1] = notice end
		if not out.ok then
			session:query("ROLLBACK")
			return out
		end
	end
	add_locks(seen.locks, must(session, LOCKS:format(session:pid()), "reading locks").values, relations)
	return session:query("COMMIT")
end

-- Outside of one: another session stands in its way, so that it can be looked at for as long as it takes.
local function perform_outside(session, other, op, relations, seen)
	if op.hold then must(other, "BEGIN; " .. op.hold, "standing in the way") end
	must(session, "SET client_min_messages = debug1", "asking for messages")
	session:send(op.sql)
	local out, held = nil, op.hold ~= nil
	for _ = 1, LOOKS_MAX do
		out = session:answer()
		if out then break end
		-- What is taken once nobody stands in the way is held too shortly to be seen each time.
		if held or not op.hold then add_locks(seen.locks, must(other, LOCKS:format(session:pid()), "reading locks").values, relations) end
		if held and must(other, WAITS:format(session:pid()), "reading locks").values[1][1] > 0 then
			add_locks(seen.locks, must(other, LOCKS:format(session:pid()), "reading locks").values, relations)
			must(other, "COMMIT", "stepping aside")
			held = false
		end
	end
	if held then other:query("ROLLBACK") end
	if not out then error("it did not end in time", 0) end
	for _, notice in ipairs(out.notices) do seen.notices[#seen.notices + 1] = notice end
	must(session, "RESET client_min_messages", "resetting")
	return out
end

local function sorted(set)
	local names = {}
	for name in pairs(set) do names[#names + 1] = name end
	table.sort(names)
	return names
end

-- { rewrite = { "t" }, ... } of work.lua's list.
local function by_kind(works, relations)
	local sets, out, there = {}, {}, {}
	for _, relation in pairs(relations) do there[relation.name] = true end
	for _, w in ipairs(works) do
		if w.on and not there[w.on] then goto continue end   -- an index of a table that is made here
		sets[w.what] = sets[w.what] or {}
		sets[w.what][w.object] = true
		::continue::
	end
	for what, set in pairs(sets) do out[what] = HOST.array(sorted(set)) end
	return out
end

local function lock_text(locks)
	local out = {}
	for _, name in ipairs(sorted(locks)) do out[#out + 1] = name .. " " .. locks[name] end
	return #out > 0 and table.concat(out, ", ") or "none"
end

local KINDS = { "rewrite", "scan", "index_build", "fk_validation", "proved" }
local function work_text(works)
	local out = {}
	for _, kind in ipairs(KINDS) do
		if works[kind] and #works[kind] > 0 then out[#out + 1] = kind:gsub("_", " ") .. " " .. table.concat(works[kind], ", ") end
	end
	return #out > 0 and table.concat(out, "; ") or "none"
end
selftest.lock_text, selftest.work_text = lock_text, work_text

local function compare(entry, op, seen)
	local function differ(what, expected, observed)
		if expected ~= observed then entry.differences[#entry.differences + 1] = { what = what, expected = expected, observed = observed } end
	end
	differ("locks", lock_text(op.locks), lock_text(seen.locks))
	differ("work", work_text(op.work), work_text(seen.work))
	differ("sqlstate", op.fails or "00000", seen.sqlstate)
	differ("left", op.left or "nothing", seen.left or "nothing")
	if op.residue or seen.residue then differ("residue", op.residue or "not asked", seen.residue or "not asked") end
end

local function perform(session, other, op, entry)
	local relations = before_operation(session, op)
	local fingerprint = op.undo and clean.capture(session)
	local seen, files = { locks = {}, notices = {} }, read_files(session)
	local out
	if op.transaction == false then
		out = perform_outside(session, other, op, relations, seen)
	else
		out = perform_inside(session, op, relations, seen)
	end
	seen.sqlstate = out.sqlstate
	local after = read_files(session)
	local works = work.read_notices(seen.notices)
	work.compare_files(works, files, after)
	seen.work = by_kind(works, relations)
	seen.left = work.invalid_indexes(files, after)[1]
	if op.undo then
		must(session, op.undo, "undoing it")
		local verdict = clean.compare(HOST, fingerprint, clean.capture(session), {}, TOUCHED)
		seen.residue, seen.remains = verdict.verdict, verdict.differences
	end
	if op.tablespace then
		session:query("DROP SCHEMA public CASCADE")
		session:query("DROP TABLESPACE " .. op.tablespace)
	end
	entry.observed = { locks = seen.locks, work = seen.work, sqlstate = seen.sqlstate, message = not out.ok and out.message or nil, left = seen.left,
		residue = seen.residue, remains = seen.remains }
	compare(entry, op, seen)
	if not out.ok and not op.fails then entry.problem = string.format("%s (SQLSTATE %s)", out.message, out.sqlstate) end
end

local function describe(op)
	return { id = op.id, n = op.n, title = op.title, sql = HOST.array(list(op.sql)), risk = op.risk, why = op.why, safer = op.safer, differences = HOST.array {},
		expected = { locks = op.locks, work = op.work, sqlstate = op.fails or "00000", left = op.left, residue = op.residue } }
end

local function open(server)
	local session, other = server.connect(DATABASE), server.connect(DATABASE)
	must(session, "SET client_min_messages = warning", "setting up")
	return session, other
end

-- server: the module of that name. only: part of the ids to perform, or nil. array: marks lists for JSON. Returns { version, major, operations, performed, differ, problems }.
function selftest.run(server, only, progress, array)
	HOST.array = array or HOST.array
	local first = server.connect()
	local version = first:version()
	local major = version // 10000
	must(first, "DROP DATABASE IF EXISTS " .. DATABASE, "removing the database of an earlier run")
	must(first, "CREATE DATABASE " .. DATABASE .. " TEMPLATE template0", "making the database")
	local result = { version = version, major = major, operations = HOST.array {}, performed = 0, differ = 0, problems = 0 }
	local session, other = open(server)
	for i, raw in ipairs(catalogue.operations) do
		if server.stopped() then
			result.stopped = true
			break
		end
		local op = catalogue.on(raw, major)
		if not only or op.id:find(only, 1, true) then
			local entry = describe(op)
			if progress then progress(i, #catalogue.operations, op.id) end
			if op.since and major < op.since then
				entry.skipped = "from PostgreSQL " .. op.since .. " on"
			else
				local ok, problem = pcall(perform, session, other, op, entry)
				if not ok then
					entry.problem = tostring(problem)
					-- Whatever state they are in now, the next operation finds fresh ones.
					session:close()
					other:close()
					session, other = open(server)
				end
				result.performed = result.performed + 1
				if #entry.differences > 0 then result.differ = result.differ + 1 end
				if entry.problem then result.problems = result.problems + 1 end
			end
			result.operations[#result.operations + 1] = entry
		end
	end
	session:close()
	other:close()
	must(first, "DROP DATABASE " .. DATABASE, "removing the database")
	first:close()
	return result
end

-- ---- for people ----

local function shown_operation(entry, lines)
	local expected = entry.expected
	lines[#lines + 1] = string.format("  %2d  %-46s %-34s %-44s %-11s %s", entry.n, entry.title, lock_text(expected.locks), work_text(expected.work), expected.residue or "no way back",
		entry.skipped and "not here: " .. entry.skipped or entry.problem and "COULD NOT BE PERFORMED" or #entry.differences > 0 and "DIFFERS" or "as expected")
	if entry.problem then lines[#lines + 1] = "        " .. entry.problem end
	for _, d in ipairs(entry.differences) do
		lines[#lines + 1] = string.format("        %s: expected %s; observed %s", d.what, d.expected, d.observed)
	end
end

-- The table as text: what is expected, and where a server that was asked does otherwise.
function selftest.text(result)
	local lines = { string.format("      %-46s %-34s %-44s %-11s", "operation", "locks", "work", "rolled back") }
	for _, entry in ipairs(result.operations) do shown_operation(entry, lines) end
	lines[#lines + 1] = ""
	lines[#lines + 1] = string.format("PostgreSQL %d.%d: %d operations performed, %d differ from the table, %d could not be performed.", result.version // 10000, result.version % 10000,
		result.performed, result.differ, result.problems)
	lines[#lines + 1] = "Locks: AS access share, RS row share, RX row exclusive, SUE share update exclusive, S share, SRE share row exclusive, X exclusive, AEL access exclusive."
	return table.concat(lines, "\n") .. "\n"
end

return selftest
