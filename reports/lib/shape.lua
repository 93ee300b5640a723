-- Whether a record has the shape that RECORD.md gives it, so that the rest of the report can rely on it. A value of another type is
-- told with its file and line. Fields that are not named here are nobody's business; null is the same as absent.
local shape = {}

local N, S, B = "number", "string", "boolean"
local ANY = "any"
local function one_of(...) return { one_of = { ... } } end
local function list(of) return { list = of } end
local function map(of) return { map = of } end

local COUNTS = map(N)
local TEXTS = list(S)
local LOCKS = list { relation = S, mode = S, granted = B, statement = N, from_ns = N, from_last_ns = N, to_ns = N }
local WORK = list { what = S, object = S, on = S, by = S }
local FIGURES = { count = N, mean_ns = N, max_ns = N, transaction = S, statement = S, version = S, kind = S, outcome = S, percentiles = map { ns = N, above = N } }
local SESSION = { pid = N, role = S, version = S, transaction = S, statement = S, sql = S, mode = S, queued = B, state = S, xact_age_ns = N, application_name = S }

local RUN = {
	pgrehearse = S, id = S, status = one_of("running", "finished", "failed", "interrupted"), started_at = S, duration_ns = N, drill = S, seed = N,
	error = { what = S, where = S, hint = S },
	scenario = { path = S, name = S, title = S, sha256 = S, expect = ANY },
	workload = { path = S, name = S, sha256 = S, scale = N },
	load = { mode = S, rate = N, program = S, arrivals = S, pods = N, pool = N, workers = N, users = N, requests_mean = N, think_mean_ns = N, mix = COUNTS, flags = map(ANY), trace = S,
		trace_sha256 = S, pacing = S, speed = N, order = S, read_only = B },
	server = { kind = S, version = S, version_num = N, standbys = N, settings = map(ANY) },
	target = { kind = S, source = S, isolated = B, bytes = N, dumped_from = S, normalised = S, reset_ns = N, cache = S, cache_held = N, errors = TEXTS, defused = list { what = S, name = S, need = { "what", "name" } } },
	host = { cores = N, memory_bytes = N, kernel = S },
	phases = list { name = S, start_ns = N, end_ns = N, need = { "name", "start_ns" } },
	criteria = TEXTS,
	totals = { planned = N, started = N, abandoned = N, never_started = N, ok = N, failed = N, unfinished = N, unfinished_oldest_ns = N, open = list { transaction = S, version = S, due_age_ns = N }, errors = COUNTS, retries = COUNTS,
		versions = map { started = N, ok = N, failed = N, abandoned = N }, targets = map { started = N, ok = N, failed = COUNTS }, counters = COUNTS, holds = B,
		ledger = { acknowledged = N, found = N, lost = N, unknown_found = N, unknown_lost = N, strange = N, error = S } },
	generator = { schedule_error = { count = N, p50_ns = N, p99_ns = N, max_ns = N }, cpu_share_max = N, loop_lag_max_ns = N, late_share = N, missed_wakeups = N,
		workers = list { started = N, cpu_share_max = N, cpu_share_mean = N } },
	latency = { response = FIGURES, service = FIGURES, transactions = list(FIGURES), statements = list(FIGURES) },
	observer = { period_ns = N, samples = N, missed = N, statements = N, cpu_ns = N, waits = N, notes_dropped = N, passed_over = N },
	migration_settings = list { name = S, value = S, source = S },
	phase_state = list { phase = S, checkpoints_timed = N, checkpoints_requested = N, blocks_hit = N, blocks_fetched = N, temp_bytes = N, deadlocks = N, xact_commit = N,
		wait_events = COUNTS, profile_samples = N, prepared = N, xid_age = N, locks = { n = N, fastpath = N, room = N }, autovacuum = TEXTS, xmin = { age = N, kind = S, name = S, pid = N, state = S, xact_age_ns = N },
		longest_xact = { pid = N, application_name = S, state = S, sql = S, age_ns = N }, idle_in_transaction = { n = N, longest_ns = N, application_name = S },
		tables = list { table = S, bytes_start = N, bytes_end = N, live_start = N, live_end = N, dead_start = N, dead_end = N } },
	availability = { period_ns = N, rest_period_ns = N, blocked_period_ns = N, tables = TEXTS, denied = list { table = S, access = S }, rounds = N, missed = N, windows = N, held_ns = N, delayed = N, delayed_ns = N },
	rollback = { verdict = S, differences = list { class = S, object = S, detail = S, need = { "class", "object", "detail" } },
		tables = list { table = S, method = S, rows = N, same = B, reason = S } },
	checks = list { name = S, when = S, rows = N, ok = B, error = S, sample = ANY, times = N, times_violated = N },
	verdict = { verdict = one_of("PASS", "FAIL", "INCONCLUSIVE", "INVALID"), need = { "verdict" },
		criteria = list { criterion = S, verdict = one_of("PASS", "FAIL", "INCONCLUSIVE", "INVALID", "SKIPPED"), observed = S, evidence = S, need = { "criterion", "verdict" } } },
	invalid = TEXTS,
	fidelity = { baseline = B, measures = list { name = S, what = S, value = N, limit = N, unit = S, least = B, ok = B, detail = S, need = { "name" } },
		classes = list { class = S, name = S, sql = S, captured = N, replayed = N, new_errors = N, vanished = N, changed = N, rows_differ = N, captured_mean_ns = N, replayed_mean_ns = N, ratio_p50 = N,
			ratio_p99 = N, need = { "name", "captured", "replayed", "new_errors", "vanished", "changed" } },
		errors = list { kind = S, class = S, captured = S, replayed = S, count = N, message = S, file = N, line = N, need = { "kind", "captured", "replayed", "count" } },
		lag = map { count = N, p50_ns = N, p99_ns = N, max_ns = N, over_1ms = N, over_10ms = N, over_100ms = N, need = { "count" } },
		locks = map(N), dispersion = map(N), concurrency = map(N) },
}

local PROGRESS = { pid = N, application_name = S, command = S, table = S, phase = S, done = N, total = N, unit = S, eta_ns = N, waiting_for = { pid = N, application_name = S, xact_age_ns = N } }
local EVENT = { t_ns = N, type = S, need = { "t_ns", "type" } }
local EVENTS = {
	phase = { name = S, edge = S },
	step = { name = S, kind = S, direction = S, edge = S, ok = B, duration_ns = N, error = S, need = { "name", "edge" } },
	statement = { id = N, step = S, direction = S, attempt = N, sql = S, pid = N, start_ns = N, end_ns = N, sqlstate = S, message = S, rows = N, wal_bytes = N, locks = LOCKS, locks_from_ns = N,
		locks_to_ns = N, work = WORK,
		expected = { operations = list { id = S, title = S, table = S, maybe = S, made = B }, locks = LOCKS, work = WORK, risk = S, unread = S }, external = B, application_name = S, bound_ns = N, notices = list { severity = S, text = S }, invalid_indexes = TEXTS, wal_records = N, wal_fpi = N,
		wal_scope = S, temp_files = N, temp_bytes = N, need = { "id", "start_ns" } },
	transaction = { step = S, direction = S, attempt = N, pid = N, first = N, last = N, committed = B, sqlstate = S, start_ns = N, ending_ns = N, end_ns = N, locks = LOCKS, wal_records = N,
		wal_fpi = N, wal_scope = S, temp_files = N, temp_bytes = N, need = { "start_ns", "end_ns" } },
	lock = { statement = N, pid = N, external = B, relation = S, mode = S, granted = B, asked_ns = N, from_ns = N, to_ns = N, bound_ns = N, need = { "from_ns", "to_ns" } },
	backfill = { step = S, batches = N, rows = N, total = N, eta_ns = N, paused_ns = N, reason = S, done = B, need = { "step" } },
	deploy = { step = S, pod = N, from = S, to = S },
	load = { mode = S, flags = map(ANY), rate = N, program = S, mix = COUNTS },
	check = { name = S, when = S, rows = N, ok = B, error = S, sample = ANY },
	actor = { name = S, edge = S, pid = N, stand_in = S },
	progress = PROGRESS,
	warning = { text = S },
}

local LINES = {
	intervals = { start_ns = N, end_ns = N, phase = S, planned = N, abandoned = N, backlog = N, backlog_age_ns = N, rate = N, wal_bytes = N, waiting = N, longest_wait_ns = N,
		versions = map { started = N, ok = N, failed = COUNTS, retries = COUNTS, abandoned = N, in_flight = N }, response = { n = N, p50_ns = N, p99_ns = N, max_ns = N },
		lag = list { standby = S, replay_bytes = N, heartbeat_ns = N, replay_lag_ns = N, conflicts = N, need = { "standby" } },
		slots = list { slot = S, active = B, wal_status = S, restart_bytes = N, need = { "slot" } }, cpu = { host = N, worker = N, observer = N }, counters = COUNTS,
		host = { cpu = N, runnable = N, blocked = N, memory_available_bytes = N, disk_read_bytes = N, disk_write_bytes = N, disk_busy = N },
		need = { "start_ns", "end_ns" } },
	waits = { start_ns = N, length_ns = N, quality = S, bound_ns = N, ended = S, waiter = SESSION, lock = { type = S, relation = S, mode = S }, blockers = list(SESSION), root = SESSION, chain = list(N),
		blamed = N, need = { "start_ns", "length_ns" } },
	windows = { table = S, access = S, start_ns = N, length_ns = N, bound_ns = N, at_least = B, ended = S, blamed = N, holders = list(SESSION), need = { "start_ns", "length_ns" } },
}

local LARGEST = 9e18 -- what an integer holds, nearly
local kind_of = { number = "number", string = "text", boolean = "true or false", table = "object or list" }

-- What is wrong with value, as a path and a sentence; nil when nothing is.
local function problem(value, of, path)
	if of == nil or of == ANY or value == nil then return nil end
	local is = type(value)
	if type(of) == "string" then
		if is ~= of then return path .. " is no " .. (of == S and "text" or of == N and "number" or "truth value") .. " but a " .. (kind_of[is] or is) end
		if is == "number" and not (value > -LARGEST and value < LARGEST) then return path .. " is too large" end
		return nil
	end
	if of.one_of then
		for _, word in ipairs(of.one_of) do if value == word then return nil end end
		return path .. " is none of " .. table.concat(of.one_of, ", ")
	end
	if is ~= "table" then return path .. " is no " .. (of.list and "list" or "object") .. " but a " .. (kind_of[is] or is) end
	if of.list then
		local n = 0
		for _ in pairs(value) do n = n + 1 end
		if n ~= #value then return path .. " is an object where a list is expected" end
		for i, item in ipairs(value) do
			if item == false and of.list ~= B then return path .. "[" .. i .. "] is null" end
			local found = problem(item, of.list, path .. "[" .. i .. "]")
			if found then return found end
		end
		return nil
	end
	if #value > 0 then return path .. " is a list where an object is expected" end
	for _, name in ipairs(of.need or {}) do
		if value[name] == nil then return (path ~= "" and path .. "." or "") .. name .. " is missing" end
	end
	local prefix = path ~= "" and path .. "." or ""
	for name, item in pairs(value) do
		local found = problem(item, of.map or of[name], prefix .. name)
		if found then return found end
	end
	return nil
end

-- A table, for report.lua to take as something that the user can mend.
local function refuse(dir, file, line, what) error({ message = dir .. "/" .. file .. (line and ":" .. line or "") .. ": " .. what .. "; this is no record of ours, or a damaged one" }, 0) end

-- rec, whose run.json has been looked at and whose lines are as they are read.
function shape.checked(rec)
	local dir = rec.dir
	local found = problem(rec.run, RUN, "")
	if found then refuse(dir, "run.json", nil, found) end
	local function lines(name, spec)
		return function()
			local following, _, _, closing = rec[name](rec)
			return function()
				local line, number = following()
				if not line then return nil end
				local what = problem(line, spec(line), "")
				if what then refuse(dir, name .. ".jsonl", number, what) end
				return line
			end, nil, nil, closing
		end
	end
	local out = { run = rec.run, dir = dir }
	for name, of in pairs(LINES) do out[name] = lines(name, function() return of end) end
	out.events = lines("events", function(e)
		if problem(e, EVENT, "") then return EVENT end
		return EVENTS[e.type] or ANY
	end)
	return setmetatable(out, { __index = function(_, name)
		local method = rec[name]
		return type(method) == "function" and function(_, ...) return method(rec, ...) end or method
	end })
end

return shape
