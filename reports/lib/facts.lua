-- Everything that reports show about one run record, computed once and in one place. Writers only arrange and word it.
local availability = require "lib.availability"
local blame = require "lib.blame"
local changes = require "lib.changes"
local drills = require "lib.drills"
local expected = require "lib.expected"
local lesson = require "lib.lesson"
local held = require "lib.held"
local record = require "record"
local server = require "lib.server"
local shape = require "lib.shape"

local facts = {}

-- At most this many points a series: longer runs are folded, the worst value of each fold kept.
facts.POINTS = 900

-- What stands large at the top: a verdict when the rehearsal was carried out, otherwise what became of it.
local function word_of(run)
	if run.status == "failed" then return "FAILED" end
	if run.status == "interrupted" then return "INTERRUPTED" end
	if run.status == "running" then return "RUNNING" end
	-- Traffic alone is judged to be fit or not; that it is fit is no criterion that held.
	if run.verdict and (run.verdict.verdict ~= "PASS" or #(run.verdict.criteria or {}) > 0) then return run.verdict.verdict end
	return #(run.criteria or {}) > 0 and "NOT JUDGED" or "MEASURED"
end

-- From worst to best; one bad drill spoils the rehearsal.
local severity = { FAILED = 8, INTERRUPTED = 7, FAIL = 6, INVALID = 5, RUNNING = 4, INCONCLUSIVE = 3, ["NOT JUDGED"] = 2, PASS = 1, MEASURED = 0 }

facts.meaning = {
	PASS = "every criterion held",
	FAIL = "at least one criterion was broken",
	INCONCLUSIVE = "the data cannot tell",
	INVALID = "the run itself was unfit to be judged",
	FAILED = "the rehearsal could not be carried out",
	INTERRUPTED = "the rehearsal did not come to its end",
	RUNNING = "the rehearsal is still going on",
	["NOT JUDGED"] = "the record holds no verdict",
	MEASURED = "no criteria were given, so there is no verdict",
}

function facts.worst_word(list)
	local worst = list[1] and list[1].word or "NOT JUDGED"
	for _, f in ipairs(list) do
		if (severity[f.word] or 0) > (severity[worst] or 0) then worst = f.word end
	end
	return worst
end

local function read_events(rec, f)
	f.statements, f.steps, f.warnings, f.backfills, f.deploys, f.actors, f.loads = {}, {}, {}, {}, {}, {}, {}
	f.lock_events, f.transaction_events = {}, {}
	local checks, open = {}, {}
	local handlers = {}
	f.progress = {}
	function handlers.progress(e) server.gather_progress(f.progress, e) end
	function handlers.statement(e) f.statements[e.id] = e end
	function handlers.warning(e) f.warnings[#f.warnings + 1] = e end
	function handlers.deploy(e) f.deploys[#f.deploys + 1] = e end
	function handlers.load(e) f.loads[#f.loads + 1] = e end
	function handlers.lock(e) f.lock_events[#f.lock_events + 1] = e end
	function handlers.transaction(e) f.transaction_events[#f.transaction_events + 1] = e end
	function handlers.check(e) checks[#checks + 1] = e end
	function handlers.backfill(e)
		local b = f.backfills[e.step]
		if not b then
			b = { step = e.step, points = {} }
			f.backfills[e.step] = b
			f.backfills[#f.backfills + 1] = b
		end
		b.points[#b.points + 1] = e
		b.last = e
	end
	f.etas, f.pauses, f.tries = {}, {}, {}
	function handlers.eta(e)
		f.etas[e.step] = f.etas[e.step] or {}
		f.etas[e.step][e.edge] = e
	end
	function handlers.pause(e)
		local sums = f.pauses[e.step] or {}
		f.pauses[e.step] = sums
		sums[e.reason] = (sums[e.reason] or 0) + (e.length_ns or 0)
	end
	function handlers.retry(e) f.tries[#f.tries + 1] = e end
	handlers.precheck = handlers.retry
	function handlers.actor(e)
		local key = "actor\0" .. tostring(e.name)
		if e.edge == "start" then
			open[key] = { name = e.name, start_ns = e.t_ns, pid = e.pid, stand_in = e.stand_in }
			f.actors[#f.actors + 1] = open[key]
		elseif open[key] then
			open[key].end_ns = e.t_ns
		end
	end
	function handlers.step(e)
		local key = "step\0" .. tostring(e.name) .. "\0" .. tostring(e.direction)
		if e.edge == "start" or not open[key] then
			local s = { name = e.name, kind = e.kind, direction = e.direction, start_ns = e.t_ns - (e.duration_ns or 0), number = #f.steps + 1 }
			open[key] = s
			f.steps[#f.steps + 1] = s
		end
		if e.edge == "end" then
			local s = open[key]
			s.end_ns, s.ok, s.error = e.t_ns, e.ok, e.error
			s.duration_ns = e.duration_ns or e.t_ns - s.start_ns
			open[key] = nil
		end
	end
	for e in rec:events() do
		f.last_ns = math.max(f.last_ns, e.t_ns or 0)
		local handler = handlers[e.type]
		if handler then handler(e) end
	end
	f.checks = f.run.checks or checks
end

-- Works and invalid indexes of one statement, each once per sum.
local function add_work(sum, s)
	sum.work, sum.invalid = sum.work or {}, sum.invalid or {}
	for _, w in ipairs(s.work or {}) do
		local key = (w.what or "") .. "\0" .. (w.object or "")
		if not sum.work[key] then
			sum.work[key] = true
			sum.work[#sum.work + 1] = w
		end
	end
	for _, name in ipairs(s.invalid_indexes or {}) do
		if not sum.invalid[name] then
			sum.invalid[name] = true
			sum.invalid[#sum.invalid + 1] = name
		end
	end
end

-- Statements that are the same but for attempt or batch, as one line each; and what each step's took in attempts.
local function sum_statements(f)
	local ids = {}
	for id in pairs(f.statements) do ids[#ids + 1] = id end
	table.sort(ids)
	local sums, by_step = {}, {}
	for _, id in ipairs(ids) do
		local s = f.statements[id]
		local key = blame.key_of(s)
		local sum = sums[key]
		if not sum then
			sum = { step = s.step, direction = s.direction, sql = s.sql, n = 0, total_ns = 0, max_ns = 0, wal_bytes = nil, rows = nil, errors = {}, locks = {}, attempts = 0, start_ns = s.start_ns, failed = 0 }
			sums[key] = sum
			sums[#sums + 1] = sum
		end
		local length = (s.end_ns or s.start_ns) - s.start_ns
		sum.n = sum.n + 1
		add_work(sum, s)
		sum.total_ns = sum.total_ns + length
		sum.max_ns = math.max(sum.max_ns, length)
		sum.attempts = math.max(sum.attempts, s.attempt or 1)
		if s.wal_bytes then sum.wal_bytes = (sum.wal_bytes or 0) + s.wal_bytes end
		if s.rows then sum.rows = (sum.rows or 0) + s.rows end
		if s.sqlstate and s.sqlstate ~= "00000" then
			sum.failed = sum.failed + 1
			sum.errors[s.sqlstate] = (sum.errors[s.sqlstate] or 0) + 1
			sum.message = s.message or sum.message
		end
		local held = s.locks_to_ns and s.locks_from_ns and s.locks_to_ns - s.locks_from_ns
		for _, lock in ipairs(s.locks or {}) do
			local name = (lock.relation or "") .. "\0" .. (lock.mode or "") .. "\0" .. tostring(lock.granted)
			local l = sum.locks[name]
			if not l then
				l = { relation = lock.relation, mode = lock.mode, granted = lock.granted, n = 0, max_ns = nil }
				sum.locks[name] = l
				sum.locks[#sum.locks + 1] = l
			end
			l.n = l.n + 1
			if held then l.max_ns = math.max(l.max_ns or 0, held) end
		end
		local key_of_step = (s.step or "") .. "\0" .. (s.direction or "")
		local t = by_step[key_of_step] or { statements = 0, retries = 0 }
		by_step[key_of_step] = t
		t.statements = t.statements + 1
		if (s.attempt or 1) > 1 then t.retries = t.retries + 1 end
	end
	for _, step in ipairs(f.steps) do
		local t = by_step[(step.name or "") .. "\0" .. (step.direction or "")]
		step.statements, step.retries = t and t.statements or 0, t and t.retries or 0
	end
	f.statement_sums = sums
end

local function new_phase(name) return { name = name, planned = 0, started = 0, ok = 0, failed = 0, abandoned = 0, errors = {}, wal_bytes = 0, span_ns = 0 } end

-- Folds `n` intervals into one point of the time series: sums of counts, the largest of everything else.
local function fold(point, i, f)
	point.end_ns = i.end_ns
	point.planned = point.planned + (i.planned or 0)
	for name, v in pairs(i.versions or {}) do
		point.ok = point.ok + (v.ok or 0)
		point.by_version[name] = (point.by_version[name] or 0) + (v.ok or 0)
		if not f.version_seen[name] then
			f.version_seen[name] = true
			f.versions[#f.versions + 1] = name
		end
		for _, n in pairs(v.failed or {}) do point.failed = point.failed + n end
	end
	local largest = function(key, value) if value then point[key] = math.max(point[key] or 0, value) end end
	largest("backlog", i.backlog)
	largest("backlog_age_ns", i.backlog_age_ns)
	largest("waiting", i.waiting)
	largest("longest_wait_ns", i.longest_wait_ns)
	local r = i.response or {}
	if (r.n or 0) > 0 then
		largest("p50_ns", r.p50_ns)
		largest("p99_ns", r.p99_ns)
		largest("max_ns", r.max_ns)
	end
	point.wal_bytes = point.wal_bytes + (i.wal_bytes or 0)
	for _, s in ipairs(i.slots or {}) do
		local slot = f.slots[s.slot]
		if not slot then
			slot = { name = s.slot }
			f.slots[s.slot] = slot
			f.slots[#f.slots + 1] = slot
		end
		if s.restart_bytes and s.restart_bytes >= (slot.bytes or 0) then slot.bytes, slot.bytes_at_ns = s.restart_bytes, i.end_ns end
		slot.status, slot.active = s.wal_status, s.active
	end
	for _, l in ipairs(i.lag or {}) do
		local at = point.lag[l.standby] or {}
		point.lag[l.standby] = at
		if l.replay_bytes then at.bytes = math.max(at.bytes or 0, l.replay_bytes) end
		local heartbeat = l.heartbeat_ns or nil
		if heartbeat then at.heartbeat_ns = math.max(at.heartbeat_ns or 0, heartbeat) end
		local s = f.standbys[l.standby]
		if not s then
			s = { name = l.standby, bytes = nil, heartbeat_ns = nil }
			f.standbys[l.standby] = s
			f.standbys[#f.standbys + 1] = s
		end
		if l.replay_bytes and l.replay_bytes >= (s.bytes or 0) then s.bytes, s.bytes_at_ns = l.replay_bytes, i.end_ns end
		if l.conflicts then s.conflicts = math.max(s.conflicts or 0, l.conflicts) end
		if heartbeat and heartbeat >= (s.heartbeat_ns or 0) then s.heartbeat_ns, s.heartbeat_at_ns = heartbeat, i.end_ns end
	end
	local cpu = i.cpu or {}
	largest("cpu_host", cpu.host)
	largest("cpu_worker", cpu.worker)
	largest("cpu_observer", cpu.observer)
end

local SLIVER_NS = 250000000

-- First the length of the run, then the series: two passes over a file are cheaper than keeping every line of a long one.
local function read_intervals(rec, f)
	local count = 0
	for i in rec:intervals() do
		count = count + 1
		f.last_ns = math.max(f.last_ns, i.end_ns or 0)
		if i.waiting and not f.run.observer then f.observed = true end -- of a run that was cut short
	end
	f.points, f.versions, f.version_seen, f.standbys, f.by_phase = {}, {}, {}, {}, {}
	f.slots = {}
	f.folded = math.max(1, math.ceil(count / facts.POINTS))
	local point
	for i in rec:intervals() do
		local phase = i.phase or ""
		local sliver = i.end_ns - i.start_ns < SLIVER_NS and point and point.phase == phase -- at the edge of a phase: too short for a rate
		if not sliver and (not point or point.merged >= f.folded or point.phase ~= phase) then
			point = { start_ns = i.start_ns, phase = phase, merged = 0, planned = 0, ok = 0, failed = 0, wal_bytes = 0, lag = {}, by_version = {} }
			f.points[#f.points + 1] = point
		end
		point.merged = point.merged + 1
		fold(point, i, f)
		local p = f.by_phase[phase] or new_phase(phase)
		f.by_phase[phase] = p
		p.planned = p.planned + (i.planned or 0)
		p.abandoned = p.abandoned + (i.abandoned or 0)
		p.wal_bytes = p.wal_bytes + (i.wal_bytes or 0)
		p.span_ns = p.span_ns + (i.end_ns - i.start_ns)
		if i.end_ns - i.start_ns >= SLIVER_NS then server.gather_host(p, i) end
		for _, v in pairs(i.versions or {}) do
			p.started = p.started + (v.started or 0)
			p.ok = p.ok + (v.ok or 0)
			for code, n in pairs(v.failed or {}) do
				p.failed = p.failed + n
				p.errors[code] = (p.errors[code] or 0) + n
			end
		end
	end
	table.sort(f.versions)
end

facts.QUANTILES = { 0.5, 0.9, 0.95, 0.99, 0.999, 0.9999 }

-- A quantile needs a few values beyond it to mean anything.
local function quantiles_of(hist)
	local n = hist:count()
	if n == 0 then return nil end
	local out = { n = n, max_ns = hist:max(), mean_ns = hist:mean(), at = {} }
	for _, q in ipairs(facts.QUANTILES) do
		if n * (1 - q) >= 1 then out.at[q] = hist:quantile(q) end
	end
	return out
end

-- Points {1 / (1 - q), ns} of a percentile curve, evenly spread over the logarithmic axis. The value of rank k of n stands at (k - 0.5) / n.
local function curve_of(hist)
	local n, points, last = hist:count(), {}, -1
	for _, high, count, cumulative in hist:buckets() do
		local x = 1 / (1 - (cumulative - 0.5) / n)
		local place = math.log(x, 10)
		if place - last >= 0.01 or cumulative == n then
			points[#points + 1] = { x, high }
			last = place
		end
	end
	return points
end

local function read_histograms(rec, f)
	for _, p in ipairs(f.phases) do
		local hist = rec:histogram { tag = "total/response/*", phase = p.name }
		p.response = quantiles_of(hist)
		if p.response then p.curve = curve_of(hist) end
		p.service = quantiles_of(rec:histogram { tag = "total/service/*", phase = p.name })
	end
	local seen, names = {}, {}
	for _, tag in ipairs(rec:tags()) do
		local name = tag:match("^([^/]+)/[^/]+/response/[^/]+$")
		if name and not seen[name] then
			seen[name] = true
			names[#names + 1] = name
		end
	end
	table.sort(names)
	f.transactions = {}
	for _, name in ipairs(names) do
		local t = { name = name, phases = {} }
		for _, p in ipairs(f.phases) do
			t.phases[p.name] = quantiles_of(rec:histogram { tag = name .. "/*/response/*", phase = p.name })
		end
		f.transactions[#f.transactions + 1] = t
	end
end

local function read_phases(f)
	f.phases = {}
	for _, p in ipairs(f.run.phases or {}) do
		local counts = f.by_phase[p.name] or new_phase(p.name)
		counts.start_ns, counts.end_ns, counts.cut = p.start_ns, p.end_ns or f.last_ns, not p.end_ns
		f.phases[#f.phases + 1] = counts
		f.phases[p.name] = counts
	end
	for _, s in ipairs(f.steps) do
		if not s.end_ns then
			s.cut = true
			s.duration_ns = f.last_ns - s.start_ns
		end
	end
end

-- What went wrong as { what, where, hint }, each a non-empty line or nil. A Lua traceback is for the one who wrote the script; the record has it.
local function problem_of(run)
	if type(run.error) ~= "table" then return nil end
	local function line(text)
		text = text and tostring(text):gsub("\nstack traceback:.*", ""):gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
		return text ~= "" and text or nil
	end
	return { what = line(run.error.what) or "the record does not say why", where = line(run.error.where), hint = line(run.error.hint) }
end

local function server_of(run)
	local version = run.server and run.server.version
	if not version then return nil end
	return version:find("^PostgreSQL") and version or "PostgreSQL " .. version
end

local function phase_at(f, ns)
	for _, p in ipairs(f.run.phases or {}) do
		if ns >= p.start_ns and (not p.end_ns or ns < p.end_ns) then return p.name end
	end
	return ""
end

-- Reads the record in dir. What the record does not hold is nil or an empty list.
function facts.gather(dir)
	local rec = shape.checked(record.open(dir))
	local run = rec.run
	local f = { dir = dir, run = run, word = word_of(run), last_ns = run.duration_ns or 0 }
	f.drill = run.drill or "run"
	f.name = dir:gsub("/+$", ""):match("([^/]+)$") or f.drill
	f.title = run.scenario and (run.scenario.title or run.scenario.name) or run.workload and "Traffic of " .. tostring(run.workload.name) or "A run"
	f.criteria = run.verdict and run.verdict.criteria or {}
	f.invalid = run.invalid or {}
	f.problem = problem_of(run)
	f.server = server_of(run)
	f.held, f.asked = 0, 0
	for _, c in ipairs(f.criteria) do
		if c.verdict == "PASS" then f.held = f.held + 1 end
		if c.verdict ~= "SKIPPED" then f.asked = f.asked + 1 end
	end
	read_events(rec, f)
	read_intervals(rec, f)
	f.duration_ns = run.duration_ns or f.last_ns
	read_phases(f)
	f.changes = changes.gather(f.loads, f.phases[1] and f.phases[1].start_ns)
	sum_statements(f)
	read_histograms(rec, f)
	f.availability = availability.gather(rec:windows(), run.availability)
	f.blame = blame.gather(rec:waits(), f.statements, function(ns) return phase_at(f, ns) end)
	drills.gather_blockers(f, rec:waits())
	f.expected = expected.gather(f)
	f.lesson = lesson.sentence(f)
	f.held_locks = held.gather(f, f.transaction_events, f.lock_events, f.blame.own)
	if f.blame.all.n > 0 or run.observer and (run.observer.samples or 0) > 0 then f.observed = true end
	return f
end

return facts
