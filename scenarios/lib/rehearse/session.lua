-- The migration's session: performs statements, one recorded attempt each, in transactions that are tried again as a whole
-- when a lock could not be had in time. Steps that are functions get this object.
local fields = require "rehearse.fields"
local policy = require "rehearse.policy"
local expected = require "rehearse.expected"
local work = require "rehearse.work"
local written = require "rehearse.written"

local Session = {}
Session.__index = Session

-- Not had in time, deadlock, serialization failure: worth another attempt. Anything else ends the step.
local WORTH_RETRYING = { ["55P03"] = true, ["40P01"] = true, ["40001"] = true }
local DEFAULT_BACKOFF_MAX_NS = 10000000000
local DEFAULT_LOCK_TIMEOUT_NS = 2000000000 -- of steps that have no lock policy: what they ask takes no lock to speak of
local CANCEL_AGAIN_S = 0.2

-- Every relation that this transaction has locked, catalogs left out, with its file, and where the WAL is by now.
local LOCKS = [[
SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::int8, held.relation, held.mode, held.granted, held.full_name,
	held.oid, held.relkind, held.relfilenode
FROM (SELECT 1) AS one
LEFT JOIN (
	SELECT CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END AS relation, l.mode, l.granted,
		pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS full_name,
		c.oid::int8, c.relkind::text, c.relfilenode::int8
	FROM pg_catalog.pg_locks l
	JOIN pg_catalog.pg_class c ON c.oid = l.relation
	JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation' AND l.mode <> 'SIReadLock'
	AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())
	AND n.nspname NOT IN ('pg_catalog', 'pg_toast', 'information_schema')
	ORDER BY 1, 2
) AS held ON true]]

local LSN = "SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::int8"

-- What a failed statement raises.
local Failure = {}
Failure.__index = Failure
Failure.__tostring = function(f) return f.message end

function Session.is_failure(value) return getmetatable(value) == Failure end

-- For xpcall: failures as they are, mistakes in a script's own code with their traceback.
function Session.describe(e) return (Session.is_failure(e) or type(e) ~= "string") and e or debug.traceback(e, 2) end

local function failure(out, sql)
	return setmetatable({ sqlstate = out.sqlstate, text = out.message, sql = sql,
		message = string.format("%s (SQLSTATE %s) in: %s", out.message, out.sqlstate, (sql:gsub("%s+", " "):sub(1, 160))) }, Failure)
end

-- host: the conductor's primitives. Connects; waits for it. touched: full names of the tables that the migration may have written, and `anything`
-- once it has done what nobody can tell.
function Session.open(host)
	local self = setmetatable({ host = host, raw = host.session("pgrehearse migration"), pending = {}, attempt = 1, touched = {}, files = {} }, Session)
	local version = self:internal("SELECT pg_catalog.current_setting('server_version_num')::int4").values[1]
	self.counters_query, self.counters_scope = work.counters_for(version and version[1] or 0)
	if host.expected == nil then host.expected = expected.open(host, version and version[1] // 10000 or nil) or false end
	return self
end

-- For one that worked beside the migration's own: what it touched is the migration's.
function Session:close(into)
	if into then for name in pairs(self.touched) do into.touched[name] = true end end
	self.deadline_ns = nil
	self.raw:close()
end

-- Every statement of all sessions of a run is numbered.
local statements = 0

-- Harness's own statements: not recorded, a failure is raised.
function Session:internal(sql, ...)
	local out = self.raw:query(sql, ...)
	if not out.ok then error(failure(out, sql), 0) end
	return out
end

-- What bears on a migration, and all that somebody has set for this role, database or session.
local SETTINGS = [[
SELECT name, pg_catalog.current_setting(name), source FROM pg_catalog.pg_settings
WHERE name IN ('lock_timeout', 'statement_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout', 'deadlock_timeout', 'maintenance_work_mem',
	'max_parallel_maintenance_workers', 'synchronous_commit', 'synchronous_standby_names', 'default_transaction_isolation', 'session_replication_role', 'checkpoint_timeout', 'max_wal_size',
	'autovacuum', 'vacuum_cost_delay', 'max_standby_streaming_delay', 'log_lock_waits')
OR source IN ('database', 'user', 'database user') ORDER BY name]]

-- The settings in force here and where they come from, before any step has set its time limits.
function Session:record_settings()
	local out = self.raw:query(SETTINGS)
	local settings = self.host.array {}
	for i, row in ipairs(out.values) do settings[i] = { name = row[1], value = row[2], source = row[3] } end
	self.host.set("migration_settings", settings)
end

-- After its connection was lost.
function Session:reconnect()
	self.raw = self.host.session("pgrehearse migration")
	self.in_transaction, self.transaction_now, self.autovacuum_asked, self.pending = false, nil, nil, {}
end

function Session:position() return self:internal(LSN).values[1][1] end

local function write_events(self, to_ns)
	for _, event in ipairs(self.pending) do
		event.locks_to_ns = event.locks and to_ns or nil
		self.host.event(event)
	end
	self.pending = {}
end

-- A lock is held from the first statement that shows it to the end of the transaction, or to the end of a statement after which
-- it is gone, as after ROLLBACK TO SAVEPOINT.
local function follow_holds(tx, event, seen)
	for key, lock in pairs(seen) do
		if not tx.open[key] then
			local hold = { relation = lock.relation, mode = lock.mode, statement = event.id, from_ns = event.start_ns, from_last_ns = event.end_ns }
			tx.open[key] = hold
			tx.holds[#tx.holds + 1] = hold
		end
	end
	for key, hold in pairs(tx.open) do
		if not seen[key] then
			hold.to_ns = event.end_ns
			tx.open[key] = nil
		end
	end
end

-- Where the locks that a transaction holds are read: after each statement, before the next. Returns the WAL's position.
local function read_locks(self, event)
	local out, tx = self:internal(LOCKS), self.transaction_now
	local seen, files = {}, {}
	local locks = self.host.array {}
	for _, row in ipairs(out.values) do
		if row[2] then
			local lock = { relation = row[2], mode = row[3], granted = row[4] }
			locks[#locks + 1] = lock
			if row[4] then seen[row[6] .. row[3]] = lock end
			files[row[6]] = { name = row[2], kind = row[7], file = row[8] }
			if row[3] ~= "AccessShareLock" and row[3] ~= "RowShareLock" then self.touched[row[5]] = true end
		end
	end
	follow_holds(tx, event, seen)
	-- What writes a relation anew locks it in the strongest mode, so that it is among these.
	work.compare_files(event.work, tx.files, files)
	for oid, file in pairs(files) do tx.files[oid] = file end
	work.keep_locks(event, locks, self.host.array)
	self.host.note_locks(event.id, event.pid, event.locks)
	return out.values[1][1]
end

-- Counters of WAL and temporary files; nil where the server has none. Outside of transactions only. A backfill's batches are too
-- many and too short for it.
local function read_counters(self)
	if not self.counters_query or not self.raw:connected() or self.step and self.step.kind == "backfill" then return nil end
	self.raw:query(work.FLUSH)
	local out = self.raw:query(self.counters_query)
	return out.ok and out.values[1] or nil
end

local function read_files(self) return work.read_files(self:internal(work.FILES).values) end

-- What a statement outside of transactions did to files and indexes, also when it failed.
local function look_after(self, event, sql, counters)
	if not self.raw:connected() then return end
	work.count(event, counters, read_counters(self), self.counters_scope)
	if not work.may_move_files(sql) then return end
	local after = read_files(self)
	work.compare_files(event.work, self.files, after)
	local invalid = work.invalid_indexes(self.files, after)
	if #invalid > 0 then event.invalid_indexes = self.host.array(invalid) end
	self.files = after
end

local SAY_WORK = "SET client_min_messages = debug1" -- the server then says what a statement makes it do: see work.lua

-- A statement may have switched that off, as the first lines of a dump do.
local function keep_saying(self, sql)
	local word = work.first_word(sql)
	if not self.step or not self.step.lock_timeout then return end
	if word == "SET" or word == "RESET" or word == "DISCARD" or sql:lower():find("client_min_messages", 1, true) then self.raw:query(SAY_WORK) end
end

local function overdue(self)
	self.is_overdue = true
	self:fail("the step took longer than its timeout of %.1f s", self.timeout_ns / 1e9)
end

-- One attempt of one statement. Returns its outcome: { ok, sqlstate, message, rows, values }.
function Session:attempt_statement(sql, ...)
	if self.deadline_ns and self.host.now() >= self.deadline_ns then overdue(self) end
	statements = statements + 1
	local id, host = statements, self.host
	local counters = not self.in_transaction and read_counters(self) or nil
	local before = self:position()
	host.note(id, self.raw:pid(), sql, self.in_transaction == true)
	if host.watch then host.watch:before(self, sql) end
	local out = self.raw:query(sql, ...)
	host.note(id, self.raw:pid(), sql, self.in_transaction == true, out.start_ns, out.end_ns, out.sqlstate)
	local event = { type = "statement", id = id, step = self.step and self.step.name, direction = self.direction, attempt = self.attempt,
		sql = sql:sub(1, 2000), pid = self.raw:pid(), start_ns = out.start_ns, end_ns = out.end_ns, sqlstate = out.sqlstate,
		message = not out.ok and out.message or nil, rows = out.rows }
	local works, said = work.read_notices(out.notices)
	event.work = host.array(works)
	event.expected = host.expected and host.expected:of(self.step, self.direction, sql, self.attempt) or nil
	if #said > 0 then event.notices = host.array(said) end
	self.pending[#self.pending + 1] = event
	local tx = self.transaction_now
	if tx then tx.first, tx.last, tx.failed_ns = tx.first or id, id, not out.ok and out.end_ns or nil end
	if out.ok and self.raw:connected() then
		keep_saying(self, sql)
		if self.in_transaction then
			event.wal_bytes = read_locks(self, event) - before
			event.locks_from_ns = out.start_ns
		else
			event.wal_bytes = self:position() - before
		end
	end
	if not self.in_transaction then
		if self.raw:connected() then written.note(self, sql) end
		look_after(self, event, sql, counters)
		write_events(self)
	end
	if host.watch then host.watch:after(self, sql, out) end
	return out
end

-- For a statement that returns how many rows it changed: what the record is to say of it.
function Session:correct_rows(n) self.pending[#self.pending].rows = n end

local ENDS_TRANSACTION = { begin = true, start = true, commit = true, ["end"] = true, rollback = true, abort = true }

-- The same; a failure is raised, with .sqlstate.
function Session:outcome(sql, ...)
	if self.in_transaction and ENDS_TRANSACTION[(sql:match("^%s*(%a+)") or ""):lower()] and not sql:lower():find("^%s*rollback%s+%a*%s*to%s") then
		self:fail("%q inside of the step's transaction, which is begun and ended for it; transaction = false and m:transaction(...) make several", sql:sub(1, 60))
	end
	if not self.autovacuum_asked then policy.interrupt_autovacuum(self, { sql }) end
	return self:accept(self:attempt_statement(sql, ...), sql)
end

function Session:accept(out, sql)
	if not out.ok then error(failure(out, sql), 0) end
	return out
end

-- m:exec(sql, ...): one statement with parameters $1...; returns the number of rows.
function Session:exec(sql, ...) return self:outcome(sql, ...).rows end

-- m:rows(sql, ...): array of arrays. m:row(sql, ...): the first row's values, nothing when there is none.
function Session:rows(sql, ...) return self:outcome(sql, ...).values end

function Session:row(sql, ...)
	local rows = self:rows(sql, ...)
	if rows[1] then return table.unpack(rows[1], 1, rows[1].n) end
end

-- Ends the step: it cannot do what it is for. Not worth another attempt.
function Session:fail(format, ...)
	error(setmetatable({ message = string.format(format, ...) }, Failure), 0)
end

-- ---- the step's time ----

-- Waits, but not beyond the step's timeout, which fails it.
function Session:pause(ns)
	if ns <= 0 then return end
	local left = self.deadline_ns and self.deadline_ns - self.host.now()
	if left and left <= ns then
		if left > 0 then self.host.sleep(left / 1e9) end
		overdue(self)
	end
	self.host.sleep(ns / 1e9)
end

-- m:sleep("50ms") or m:sleep(seconds)
function Session:sleep(duration)
	local ns = type(duration) == "number" and math.floor(duration * 1e9) or fields.parse_time(duration)
	if not ns then error(string.format("m:sleep(%s): seconds, or text like \"50ms\" is expected", tostring(duration)), 2) end
	self:pause(ns)
end

-- From now until end_step: what runs longer than timeout_ns is cancelled. An earlier deadline, of a step around this one, stays.
function Session:set_deadline(timeout_ns, deadline_ns)
	self.is_overdue = false
	self.deadline_ns, self.timeout_ns = deadline_ns, timeout_ns
	if not deadline_ns then return end
	self.host.spawn(function()
		self.host.sleep(math.max(0, deadline_ns - self.host.now()) / 1e9)
		while self.deadline_ns == deadline_ns do
			self.is_overdue = true
			self.raw:cancel()
			self.host.sleep(CANCEL_AGAIN_S)
		end
	end)
end

local function milliseconds(ns) return tostring(ns // 1000000) end

-- The time limits of a step, for this session until the next step.
function Session:begin_step(step, direction)
	self.step, self.direction, self.attempt = step, direction, 1
	self:internal("SET lock_timeout = " .. milliseconds(step.lock_timeout or DEFAULT_LOCK_TIMEOUT_NS))
	self:internal("SET statement_timeout = " .. milliseconds(step.statement_timeout or 0))
	if not step.lock_timeout then return end
	self:internal(SAY_WORK)
	self.files = read_files(self)
end

function Session:end_step()
	self.step, self.direction, self.deadline_ns = nil, nil, nil
end

-- Between two tries: a growing pause with jitter, so that two migrations do not meet again and again, then the queue drains.
local function pause_before_retry(self, attempt, problem)
	local step, host = self.step, self.host
	local pause = math.floor(math.min(step.backoff * 2.0 ^ (attempt - 1), step.backoff_max or DEFAULT_BACKOFF_MAX_NS) * (0.5 + math.random()))
	host.status { detail = string.format("attempt %d of %d failed with %s, again in %.1f s", attempt, step.retries + 1, problem.sqlstate, pause / 1e9) }
	self:pause(pause)
	host.event { type = "retry", step = step.name, direction = self.direction, attempt = attempt, attempts = step.retries + 1, sqlstate = problem.sqlstate,
		sql = problem.sql and problem.sql:sub(1, 200), pause_ns = pause, drain_ns = policy.drain(self) }
end

-- Runs body, and again when a lock could not be had. before_retry: what to clean up first each time, or nil.
function Session:retrying(body, before_retry)
	local step = self.step
	for attempt = 1, step.retries + 1 do
		self.attempt = attempt
		policy.await_long_transactions(self)
		-- What goes before another attempt is a part of it: it may fail to get its locks like the attempt itself.
		local ok, problem = xpcall(function()
			if attempt > 1 and before_retry then before_retry() end
			body()
		end, Session.describe)
		if ok then return end
		if not Session.is_failure(problem) or not WORTH_RETRYING[problem.sqlstate] or attempt > step.retries then error(problem, 0) end
		pause_before_retry(self, attempt, problem)
	end
end

-- What a transaction held, for how long, and what it cost.
local function write_transaction(self, tx, committed, ended, counters)
	if not tx.first then return end -- nothing was asked in it
	local event = { type = "transaction", step = self.step and self.step.name, direction = self.direction, attempt = self.attempt,
		pid = self.raw:pid(), first = tx.first, last = tx.last, committed = committed, sqlstate = ended.sqlstate, start_ns = tx.start_ns,
		ending_ns = ended.start_ns, end_ns = ended.end_ns }
	-- The server gives locks back when a statement fails, before ROLLBACK comes.
	for _, hold in ipairs(tx.holds) do hold.to_ns = hold.to_ns or not committed and tx.failed_ns or ended.end_ns end
	work.keep_locks(event, tx.holds, self.host.array)
	if self.raw:connected() then work.count(event, counters, read_counters(self), self.counters_scope) end
	if committed then for oid, file in pairs(tx.files) do self.files[oid] = file end end
	self.host.event(event)
end

-- m:transaction(function() ... end): all in one transaction, tried again as a whole. texts: what it will perform, where that is known.
function Session:transaction(body, before_retry, texts)
	if self.in_transaction then error("m:transaction inside a transaction: a step has one unless it says transaction = false", 2) end
	self:retrying(function()
		local counters = read_counters(self)
		local tx = { open = {}, holds = self.host.array {}, files = setmetatable({}, { __index = self.files }), start_ns = self.host.now() }
		self:internal("BEGIN")
		self.in_transaction, self.transaction_now, self.autovacuum_asked = true, tx, texts ~= nil
		local ok, problem = xpcall(function()
			if texts then policy.interrupt_autovacuum(self, texts) end
			body()
		end, Session.describe)
		local ended = { sqlstate = "08006", message = "the connection was lost", start_ns = self.host.now(), end_ns = self.host.now() }
		local keeps = ok and not (self.step and self.step.rollback)
		if self.raw:connected() then ended = self.raw:query(keeps and "COMMIT" or "ROLLBACK") end
		self.in_transaction, self.transaction_now, self.autovacuum_asked = false, nil, nil
		write_events(self, ended.end_ns)
		write_transaction(self, tx, keeps and ended.ok and not tx.failed_ns, ended, counters)
		if not ok then error(problem, 0) end
		if not ended.ok then error(failure(ended, "COMMIT"), 0) end
	end, before_retry)
end

return Session
