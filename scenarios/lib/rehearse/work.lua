-- What a statement of the migration made the server do: from what the server says of it at debug1, from the file numbers of
-- relations, and from its counters of WAL and temporary files. Everything is read outside of the statement's own transaction
-- but for what rides along with the reading of locks.
local work = {}

-- What the server says at debug1 -> what it does. These messages are not translated.
local MESSAGES = {
	{ "^rewriting table \"(.-)\"$", "rewrite" },
	{ "^verifying table \"(.-)\"$", "scan" },
	{ "^building index \"(.-)\" on table \"(.-)\"", "index_build" },
	{ "^validating foreign key constraint \"(.-)\"$", "fk_validation" },
	{ "^existing constraints on column \"(.-)\" are sufficient to prove", "proved" },
	{ "^partition constraint for table \"(.-)\" is implied", "proved" },
	{ "^updated partition constraint for default partition \"(.-)\" is implied", "proved" },
}
local SAID = { NOTICE = true, WARNING = true, INFO = true }
local SAID_KEPT = 20

-- What the messages of one statement tell: the list of works, and the messages meant for people.
function work.read_notices(notices)
	local works, said = {}, {}
	for _, notice in ipairs(notices or {}) do
		if SAID[notice.severity] then
			if #said < SAID_KEPT then said[#said + 1] = { severity = notice.severity, text = notice.text } end
		else
			for _, known in ipairs(MESSAGES) do
				local first, second = notice.text:match(known[1])
				if first then
					if not first:find("^pg_toast_") then
						works[#works + 1] = { what = known[2], object = first, on = second, by = "message" }
					end
					break
				end
			end
		end
	end
	return works, said
end

-- Statements that cannot move files: not worth a look at the catalog. Anything that is not known is looked at.
local KEEPS_FILES = {}
for word in ("SELECT INSERT UPDATE DELETE MERGE WITH VALUES TABLE SET RESET SHOW LOCK COPY ANALYZE COMMENT EXPLAIN GRANT REVOKE NOTIFY PREPARE EXECUTE DEALLOCATE CHECKPOINT"):gmatch("%u+") do
	KEEPS_FILES[word] = true
end

-- The first word of a statement, comments before it left out.
function work.first_word(sql)
	local rest, before = sql, nil
	repeat
		before = rest
		rest = rest:gsub("^%s+", ""):gsub("^%-%-[^\n]*", ""):gsub("^/%*.-%*/", "")
	until rest == before
	return (rest:match("^%(*%s*(%a+)") or ""):upper()
end

function work.may_move_files(sql) return not KEEPS_FILES[work.first_word(sql)] end

-- Every relation of users that has a file: by oid, since names change.
work.FILES = [[
SELECT c.oid::int8, CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END, c.relkind::text,
	c.relfilenode::int8, i.indisvalid
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_index i ON i.indexrelid = c.oid
WHERE c.relkind IN ('r', 'i', 'm', 'p', 'I') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname !~ '^pg_(toast|temp)']]

-- { [oid] = { name, kind, file, valid } }
function work.read_files(rows)
	local files = {}
	for _, row in ipairs(rows) do files[row[1]] = { name = row[2], kind = row[3], file = row[4], valid = row[5] } end
	return files
end

local function add_moved(works, name, kind)
	local what = kind == "i" and "index_build" or "rewrite"
	local short = name:match("[^.]+$")
	for _, w in ipairs(works) do
		if w.what == what and (w.object == name or w.object == short) then
			w.by = "both"
			return
		end
	end
	works[#works + 1] = { what = what, object = name, by = "files" }
end

-- Adds to works what the file numbers show: a table or an index that has another file than before was written anew. before: of
-- relations by oid; after: the same, of all or of some. A relation that is not in before is new, which is not a rewrite.
function work.compare_files(works, before, after)
	for oid, now in pairs(after) do
		local was = before[oid]
		if was and was.file ~= now.file and now.file ~= 0 then add_moved(works, now.name, now.kind) end
	end
	table.sort(works, function(a, b)
		if a.what ~= b.what then return a.what < b.what end
		return a.object < b.object
	end)
end

-- Indexes that are invalid after, and were not, or were not there, before.
function work.invalid_indexes(before, after)
	local names = {}
	for oid, now in pairs(after) do
		if now.valid == false and now.kind == "i" and not (before[oid] and before[oid].valid == false) then names[#names + 1] = now.name end
	end
	table.sort(names)
	return names
end

local LOCKS_KEPT = 2000
local STRENGTH = { AccessExclusiveLock = 8, ExclusiveLock = 7, ShareRowExclusiveLock = 6, ShareLock = 5, ShareUpdateExclusiveLock = 4, RowExclusiveLock = 3,
	RowShareLock = 2, AccessShareLock = 1 }

-- Of more locks than a line of the record is to hold the strongest, and how many are left out.
function work.keep_locks(event, locks, array)
	event.locks = locks
	if #locks <= LOCKS_KEPT then return end
	local order = {}
	for i, lock in ipairs(locks) do order[i] = { i, STRENGTH[lock.mode] or 0 } end
	table.sort(order, function(a, b) return a[2] > b[2] or a[2] == b[2] and a[1] < b[1] end)
	event.locks, event.locks_left_out = array {}, #locks - LOCKS_KEPT
	for i = 1, LOCKS_KEPT do event.locks[i] = locks[order[i][1]] end
end

-- Counters as of the end of the session's last transaction, once work.FLUSH has run before. The server has them for a single
-- session since 18 and can be made to flush them since 15; temporary files are counted by database.
work.FLUSH = "SELECT pg_catalog.pg_stat_force_next_flush()"
local COUNTERS = [[
SELECT w.wal_records::int8, w.wal_fpi::int8, d.temp_files::int8, d.temp_bytes::int8
FROM %s w, pg_catalog.pg_stat_database d WHERE d.datname = pg_catalog.current_database()]]

-- The query for a server's version, and whose WAL it counts; nil where there is none.
function work.counters_for(version_num)
	if version_num >= 180000 then return COUNTERS:format("pg_catalog.pg_stat_get_backend_wal(pg_catalog.pg_backend_pid())"), "session" end
	if version_num >= 150000 then return COUNTERS:format("pg_catalog.pg_stat_wal"), "server" end
end

-- The fields of the record for the difference of two readings.
function work.count(event, before, after, scope)
	if not before or not after then return end
	event.wal_records, event.wal_fpi, event.wal_scope = after[1] - before[1], after[2] - before[2], scope
	event.temp_files, event.temp_bytes = after[3] - before[3], after[4] - before[4]
end

return work
