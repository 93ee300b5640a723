-- What a statement made the server do, as messages, files and counters tell it.
local work = require "rehearse.work"

local tests = {}

tests["messages of the server at debug1 tell rewrites, scans, index builds and what was proved"] = function()
	local works, said = work.read_notices {
		{ severity = "DEBUG", text = 'rewriting table "users"' },
		{ severity = "DEBUG", text = 'building index "pg_toast_16384_index" on table "pg_toast_16384" serially' },
		{ severity = "DEBUG", text = 'building index "users_pkey" on table "users" with request for 2 parallel workers' },
		{ severity = "DEBUG", text = 'verifying table "users"' },
		{ severity = "DEBUG", text = 'validating foreign key constraint "orders_user_id_fkey"' },
		{ severity = "DEBUG", text = 'existing constraints on column "users.id" are sufficient to prove that it does not contain nulls' },
		{ severity = "DEBUG", text = "something else" },
		{ severity = "WARNING", text = "SET LOCAL can only be used in transaction blocks" },
	}
	local got = {}
	for i, w in ipairs(works) do got[i] = w.what .. " " .. w.object end
	assert(table.concat(got, ", ") == "rewrite users, index_build users_pkey, scan users, fk_validation orders_user_id_fkey, proved users.id", table.concat(got, ", "))
	assert(#said == 1 and said[1].severity == "WARNING")
end

tests["another file than before is a rewrite, a relation that was not there is none"] = function()
	local works = { { what = "rewrite", object = "users", by = "message" } }
	local before = { [1] = { name = "users", kind = "r", file = 10 }, [2] = { name = "a.orders", kind = "r", file = 20 }, [3] = { name = "i", kind = "i", file = 30 }, [4] = { name = "parted", kind = "p", file = 0 } }
	work.compare_files(works, before, { [1] = { name = "users", kind = "r", file = 11 }, [2] = { name = "a.orders", kind = "r", file = 21 },
		[3] = { name = "i_renamed", kind = "i", file = 30 }, [4] = { name = "parted", kind = "p", file = 0 }, [5] = { name = "new", kind = "r", file = 50 } })
	assert(#works == 2 and works[1].object == "a.orders" and works[1].by == "files" and works[2].object == "users" and works[2].by == "both")
end

tests["of many locks the strongest are kept, and how many are left out is told"] = function()
	local event, locks = {}, {}
	for i = 1, 3000 do locks[i] = { relation = "t" .. i, mode = i == 2500 and "AccessExclusiveLock" or i % 2 == 0 and "AccessShareLock" or "RowExclusiveLock" } end
	work.keep_locks(event, locks, function(list) return list end)
	assert(#event.locks == 2000 and event.locks_left_out == 1000)
	assert(event.locks[1].relation == "t2500" and event.locks[2].relation == "t1" and event.locks[2000].mode == "AccessShareLock")
	event = {}
	work.keep_locks(event, { locks[1] }, nil)
	assert(#event.locks == 1 and event.locks_left_out == nil)
end

tests["an index is told when it is invalid and was not before"] = function()
	local before = { [1] = { name = "old", kind = "i", valid = false }, [2] = { name = "good", kind = "i", valid = true } }
	local after = { [1] = before[1], [2] = { name = "good", kind = "i", valid = false }, [3] = { name = "new", kind = "i", valid = false }, [4] = { name = "parted", kind = "I", valid = false } }
	assert(table.concat(work.invalid_indexes(before, after), " ") == "good new")
end

tests["statements that cannot move files are known by their first word"] = function()
	for _, sql in ipairs { "SELECT 1", "  -- why\n/* not */ update t set a = 1", "(SELECT 1)", "lock table t" } do assert(not work.may_move_files(sql), sql) end
	for _, sql in ipairs { "ALTER TABLE t ADD c int", "/* x */ VACUUM FULL t", "DO $$ BEGIN END $$", "CALL p()", "CREATE INDEX ON t (a)", "" } do assert(work.may_move_files(sql), sql) end
end

tests["counters exist since 15, of the session alone since 18"] = function()
	assert(work.counters_for(140000) == nil)
	assert(select(2, work.counters_for(150000)) == "server" and select(2, work.counters_for(180000)) == "session")
	local event = {}
	work.count(event, { 10, 1, 0, 0 }, { 15, 3, 1, 8192 }, "server")
	assert(event.wal_records == 5 and event.wal_fpi == 2 and event.temp_files == 1 and event.temp_bytes == 8192 and event.wal_scope == "server")
	work.count(event, nil, { 1, 1, 1, 1 }, "server")
end

return tests
