-- The migration's session: performs statements, one recorded attempt each, in transactions that are tried again as a whole
-- when a lock could not be had in time. Steps that are functions get this object.
local Session = {}
Session.__index = Session

-- Not had in time, deadlock, serialization failure: worth another attempt. Anything else ends the step.
local WORTH_RETRYING = { ["55P03"] = true, ["40P01"] = true, ["40001"] = true }
local LONGEST_BACKOFF_NS = 10000000000

-- Every relation that this transaction has locked, catalogs left out, and where the WAL is by now.
local LOCKS = [[
SELECT pg_catalog.pg_wal_lsn_diff(pg_catalog.pg_current_wal_insert_lsn(), '0/0')::int8, held.relation, held.mode, held.granted, held.full_name
FROM (SELECT 1) AS one
LEFT JOIN (
	SELECT CASE WHEN n.nspname = 'public' THEN c.relname::text ELSE n.nspname || '.' || c.relname END AS relation, l.mode, l.granted,
		pg_catalog.quote_ident(n.nspname) || '.' || pg_catalog.quote_ident(c.relname) AS full_name
	FROM pg_catalog.pg_locks l
	JOIN pg_catalog.pg_class c ON c.oid = l.relation
	JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
	WHERE l.pid = pg_catalog.pg_backend_pid() AND l.locktype = 'relation'
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

local function failure(out, sql)
	return setmetatable({ sqlstate = out.sqlstate, text = out.message, sql = sql,
		message = string.format("%s (SQLSTATE %s) in: %s", out.message, out.sqlstate, (sql:gsub("%s+", " "):sub(1, 160))) }, Failure)
end

-- host: the conductor's primitives. Connects; waits for it.
function Session.open(host)
	return setmetatable({ host = host, raw = host.session("pgrehearse migration"), pending = {}, attempt = 1, touched = {} }, Session)
end

-- Every statement of all sessions of a run is numbered.
local statements = 0

-- Harness's own statements: not recorded, a failure is raised.
function Session:internal(sql, ...)
	local out = self.raw:query(sql, ...)
	if not out.ok then error(failure(out, sql), 0) end
	return out
end

function Session:position() return self:internal(LSN).values[1][1] end

local function write_events(self, to_ns)
	for _, event in ipairs(self.pending) do
		event.locks_to_ns = event.locks and to_ns or nil
		self.host.event(event)
	end
	self.pending = {}
end

-- Where the locks that a transaction holds are read: after each statement, before the next.
local function read_locks(self, event)
	local out = self:internal(LOCKS)
	event.locks = self.host.array {}
	for _, row in ipairs(out.values) do
		if row[2] then
			event.locks[#event.locks + 1] = { relation = row[2], mode = row[3], granted = row[4] }
			if row[3] ~= "AccessShareLock" and row[3] ~= "RowShareLock" then self.touched[row[5]] = true end
		end
	end
	self.host.note_locks(event.id, event.pid, event.locks)
	return out.values[1][1]
end

-- One attempt of one statement. Returns its outcome: { ok, sqlstate, message, rows, values }.
function Session:attempt_statement(sql, ...)
	statements = statements + 1
	local id, host = statements, self.host
	local before = self:position()
	host.note(id, self.raw:pid(), sql)
	local out = self.raw:query(sql, ...)
	host.note(id, self.raw:pid(), sql, out.start_ns, out.end_ns, out.sqlstate)
	local event = { type = "statement", id = id, step = self.step and self.step.name, direction = self.direction, attempt = self.attempt,
		sql = sql:sub(1, 2000), pid = self.raw:pid(), start_ns = out.start_ns, end_ns = out.end_ns, sqlstate = out.sqlstate,
		message = not out.ok and out.message or nil, rows = out.rows }
	self.pending[#self.pending + 1] = event
	if out.ok and self.raw:connected() then
		if self.in_transaction then
			event.wal_bytes = read_locks(self, event) - before
			event.locks_from_ns = out.start_ns
		else
			event.wal_bytes = self:position() - before
		end
	end
	if not self.in_transaction then write_events(self) end
	return out
end

-- For a statement that returns how many rows it changed: what the record is to say of it.
function Session:correct_rows(n) self.pending[#self.pending].rows = n end

-- The same; a failure is raised, with .sqlstate.
function Session:outcome(sql, ...)
	local out = self:attempt_statement(sql, ...)
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

function Session:sleep(duration) self.host.sleep(duration) end

local function milliseconds(ns) return tostring(ns // 1000000) end

-- The time limits of a step, for this session until the next step.
function Session:begin_step(step, direction)
	self.step, self.direction, self.attempt = step, direction, 1
	self:internal("SET lock_timeout = " .. milliseconds(step.lock_timeout))
	self:internal("SET statement_timeout = " .. milliseconds(step.statement_timeout))
end

function Session:end_step() self.step, self.direction = nil, nil end

-- Runs body, and again with a growing pause when a lock could not be had. before_retry: what to clean up first, or nil.
function Session:retrying(body, before_retry)
	local step = self.step
	for attempt = 1, step.retries + 1 do
		self.attempt = attempt
		local ok, problem = xpcall(body, function(e)
			return (Session.is_failure(e) or type(e) ~= "string") and e or debug.traceback(e, 2)
		end)
		if ok then return end
		if not Session.is_failure(problem) or not WORTH_RETRYING[problem.sqlstate] or attempt > step.retries then error(problem, 0) end
		local pause = math.min(step.backoff * 2.0 ^ (attempt - 1), LONGEST_BACKOFF_NS) * (0.5 + math.random())
		self.host.status { detail = string.format("attempt %d of %d failed with %s, again in %.1f s", attempt, step.retries + 1, problem.sqlstate, pause / 1e9) }
		if before_retry then before_retry() end
		self.host.sleep(pause / 1e9)
	end
end

-- m:transaction(function() ... end): all in one transaction, tried again as a whole.
function Session:transaction(body, before_retry)
	if self.in_transaction then error("m:transaction inside a transaction: a step has one unless it says transaction = false", 2) end
	self:retrying(function()
		self:internal("BEGIN")
		self.in_transaction = true
		local ok, problem = xpcall(body, function(e)
			return (Session.is_failure(e) or type(e) ~= "string") and e or debug.traceback(e, 2)
		end)
		local ended = { end_ns = self.host.now() }
		if self.raw:connected() then ended = self.raw:query(ok and "COMMIT" or "ROLLBACK") end
		self.in_transaction = false
		write_events(self, ended.end_ns)
		if not ok then error(problem, 0) end
		if not ended.ok then error(failure(ended, "COMMIT"), 0) end
	end, before_retry)
end

return Session
