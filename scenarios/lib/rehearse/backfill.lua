-- The backfill step: an estimate from batches all over the table, then batches in the key's order, a commit each, perhaps by several
-- sessions; with pauses and throttles; then passes over whatever still matches.
local Resume = require "rehearse.resume"
local Session = require "rehearse.session"
local Throttle = require "rehearse.throttle"
local eta = require "rehearse.eta"
local keys = require "rehearse.keys"
local tasks = require "rehearse.tasks"

local EVENT_EVERY_NS = 500000000
local LAST_PASSES = 20
local SAME_PASSES = 4      -- that do not find fewer rows than the one before: it will never end
local WINDOW_NS = 30000000000
local WINDOW_BATCHES = 20  -- that a window of the last passes is long
local SMALLEST_SHARE = 4   -- of the table all samples together take 1/4 at most

local backfill = {}

local Run = {}
Run.__index = Run

-- ---- what is known of its progress ----

function Run:time_left()
	local now, w = self.host.now(), self.window
	if now - w.from > WINDOW_NS then
		w.before = { from = w.from, seen = w.seen }
		w.from, w.seen = now, self.seen
	end
	local since = w.before or w
	local seen = self.seen - since.seen
	if seen <= 0 then return nil end
	return math.max(0, math.floor((now - since.from) / seen * (self.total - self.seen)))
end

-- One event at most every half second, and one when it is done.
function Run:report(seen, filled, done)
	local host, now = self.host, self.host.now()
	self.seen, self.filled = self.seen + seen, self.filled + filled
	if not done then self.batches = self.batches + 1 end
	local left = done and 0 or self:time_left()
	host.status { detail = string.format("%d of about %d rows, %d batches", self.seen, self.total, self.batches), eta_ns = left }
	if not done and now - self.said < EVENT_EVERY_NS then return end
	self.said = now
	host.event { type = "backfill", step = self.step.name, phase = self.phase, batches = self.batches, batch = self.size, workers = self.workers, rows = self.filled,
		total = self.total, eta_ns = left, paused_ns = self.throttle.paused_ns, paused = next(self.throttle.paused) and self.throttle.paused or nil,
		reason = self.throttle.reason, done = done or false }
	self.throttle.reason = nil
end

-- ---- a batch ----

-- Fills the rows between two keys in a transaction of its own; returns how many, and how long it took.
function Run:batch(m, place, free, part)
	local from, filled = self.host.now(), 0
	local sql, tells = self.key:fill(self.step, free)
	local args = table.move(place.last, 1, #place.last, #place.first + 1, table.move(place.first, 1, #place.first, 1, {}))
	m:transaction(function()
		local out = m:outcome(sql, table.unpack(args))
		filled = out.rows
		if not self.step.statement then
			filled = out.values[1] and out.values[1][1] or 0
			m:correct_rows(filled)
			if tells and out.values[1] and out.values[1][2] > 0 then
				m:fail("%d of %d rows still match %q after they were filled: set does not make it false, so that this would never end", out.values[1][2], filled, self.step.where)
			end
		end
		if part and self.store then self.store:note(m, part, place.last, filled) end
	end)
	return filled, self.host.now() - from
end

-- ---- the estimate ----

-- Batches at places all over the table, as many as the step asks for, or until its share is done.
function Run:take_samples(m)
	local step, places = self.step, self.places
	local wanted = step.sample and math.huge or step.samples
	local enough = step.sample and step.sample * self.total or math.huge
	local size = math.max(1, math.min(step.batch, math.ceil(step.sample and self.total * step.sample / 3 or self.total / (SMALLEST_SHARE * (step.samples + 1)))))
	local samples, at, done, i, idle = {}, {}, 0, 0, 0
	self.phase = "sample"
	-- The first is not counted: what it runs into is cold.
	while #samples < wanted and done < enough and idle < keys.TILES do
		self.throttle:wait(m)
		local slot = i == 0 and 1 or 1 + math.floor(eta.fraction((i - 1) % keys.TILES + 1) * #places + 0.5)
		local place
		if slot > #places and not at.last then
			place, at.last = self.key:next(m, size, nil, nil, nil, true), true
		else
			slot = math.min(slot, #places)
			-- The place itself is the first row after nothing, or after the one before it: a row more or less does not matter here.
			place = self.key:next(m, size, at[slot] or slot > 1 and places[slot] or nil)
			at[slot] = place and place.last or at[slot]
		end
		if place then
			local filled, ns = self:batch(m, place, false)
			if i > 0 then samples[#samples + 1] = { seen = place.n, ns = ns } end
			done, idle = done + place.n, 0
			self.filled, self.batches = self.filled + filled, self.batches + 1
			m:pause(step.pause)
		else
			idle = idle + 1
		end
		i = i + 1
	end
	return samples, done
end

function Run:estimate(m)
	local step = self.step
	local samples, done = self:take_samples(m)
	local rows = step.production_rows or self.total
	local all = eta.estimate(samples, rows, step.batch, step.pause, self.workers)
	local here = eta.estimate(samples, math.max(0, self.total - done), step.batch, step.pause, self.workers)
	if not all then return end
	self.guess = here
	self.host.event { type = "eta", step = step.name, edge = "estimate", rows = rows, production = step.production_rows ~= nil, samples = #samples, sampled_rows = done,
		eta_ns = all.ns, low_ns = all.low_ns, high_ns = all.high_ns, left_ns = here.ns }
end

-- How far off it was: of the time that the walk took, without the pauses that throttles made.
function Run:judge_estimate(took_ns)
	local guess = self.guess
	if not guess or took_ns <= 0 then return end
	self.host.event { type = "eta", step = self.step.name, edge = "end", left_ns = guess.ns, low_ns = guess.low_ns, high_ns = guess.high_ns, took_ns = took_ns,
		error = guess.ns / took_ns - 1, inside = took_ns >= guess.low_ns and took_ns <= guess.high_ns }
end

-- ---- the walk ----

function Run:walk_part(m, part, index)
	local step, size, row_ns = self.step, self.size, nil
	while not self.stop do
		self.throttle:wait(m, index)
		local place = self.key:next(m, size, part.at, part.upper)
		if not place then break end
		local filled, ns = self:batch(m, place, step.skip_locked, index)
		part.at = place.last
		row_ns = row_ns and 0.6 * row_ns + 0.4 * ns / place.n or ns / place.n
		self:report(place.n, filled)
		if place.n < size then break end
		size = eta.next_size(step, size, row_ns)
		self.size = size
		m:pause(step.pause)
	end
	if self.store and not self.stop then self.store:note_done(m, index) end
end

-- Ranges of keys that do not overlap, up to the newest key that there is now: rows that come later are the business of defaults and
-- triggers, and of the last passes.
function Run:split(newest)
	local parts, before = {}, nil
	for i = 1, self.workers do
		local upper = i == self.workers and newest or self.places[1 + i * #self.places // self.workers]
		if upper then
			parts[#parts + 1] = { at = before, upper = upper }
			before = upper
		end
	end
	return parts
end

function Run:walk(m, parts)
	self.phase = "walk"
	local open = {}
	for i, part in ipairs(parts) do
		if not part.done then open[#open + 1] = { part = part, index = i } end
	end
	if #open == 1 then return self:walk_part(m, open[1].part, open[1].index) end
	local list = {}
	for i, one in ipairs(open) do
		list[i] = function()
			local session = Session.open(self.host)
			session:begin_step(self.step, "up")
			session:set_deadline(m.timeout_ns, m.deadline_ns)
			local ok, problem = xpcall(self.walk_part, Session.describe, self, session, one.part, one.index)
			if not ok then self.stop = true end
			session:close(m)
			if not ok then error(problem, 0) end
		end
	end
	for _, ended in ipairs(tasks.all(self.host, list)) do
		if not ended.ok then error(ended.problem, 0) end
	end
end

-- ---- what still matches ----

-- Fills what matches after `at` and up to `upper`; returns how many rows that were.
function Run:fill_matching(m, at, upper)
	local step, n = self.step, 0
	while true do
		self.throttle:wait(m)
		local place = self.key:next(m, self.size, at, upper, step.where)
		if not place then return n end
		local full = place.n == self.size   -- the size may change while it is filled
		local filled = self:batch(m, place, false)
		at, n = place.last, n + place.n
		self:report(0, filled)
		if not full then return n end
		m:pause(step.pause)
	end
end

-- Rows that were locked when we came by, or were written meanwhile by something that does not know of the new column. Each pass ends at the
-- newest key that there was when it began, so it ends; and there must be fewer each time. It goes in windows: where nothing matches any more, a
-- question for the next row that does would read all of a large table, in one statement and with one snapshot.
function Run:finish(m)
	local step, found, same = self.step, {}, 0
	self.phase = "rest"
	for pass = 1, LAST_PASSES do
		local upper, at, n = self.key:newest(m), nil, 0
		local small = self.total <= WINDOW_BATCHES * self.size   -- one window, which need not be looked for: the shorter a pass, the fewer rows come meanwhile
		while upper do
			local window = small and not at and { last = upper } or not small and self.key:next(m, WINDOW_BATCHES * self.size, at, upper)
			if not window then break end
			n = n + self:fill_matching(m, at, window.last)
			at = window.last
		end
		if n == 0 then return end
		same = found[pass - 1] and n >= found[pass - 1] and same + 1 or 0
		found[pass] = n
		if same == SAME_PASSES then break end
		m:pause(step.pause)
	end
	m:fail("rows still match %q after %d passes over the table, which found %s: either it is not made false, or new rows keep coming that nothing fills",
		step.where, #found, table.concat(found, ", "))
end

-- ---- all of it ----

function backfill.perform(m, step)
	local host = m.host
	local key, why = keys.read(m, step)
	if not key then m:fail("%s", why) end
	local spread = key:spread(m)
	local throttle = Throttle.new(host, step, key.oid)
	local run = setmetatable({ host = host, step = step, key = key, throttle = throttle, places = spread.places, total = spread.rows, workers = math.max(1, math.min(step.workers, #spread.places)),
		size = step.batch, seen = 0, filled = 0, batches = 0, said = 0, window = { from = host.now(), seen = 0 } }, Run)
	local store = Resume.open(m, step, table.concat({ key.table, table.concat(key.names, ","), step.set or step.statement, step.where }, "\n"))
	local parts = store and store:parts(#key.columns) or {}
	local newest = key:newest(m)
	if #parts > 0 then
		for _, part in ipairs(parts) do run.filled, run.batches = run.filled + part.filled, run.batches + part.batches end
		host.event { type = "backfill", step = step.name, phase = "resume", batches = run.batches, rows = run.filled, total = run.total, workers = #parts, resumed = true, done = false }
	elseif newest then
		if step.sample or step.samples > 0 then run:estimate(m) end
		if step.sample then
			run:report(0, 0, true)
			if store then store:forget() end
			return
		end
		parts = run:split(newest)
		if store then store:begin(parts) end
	end
	run.store, run.window = store, { from = host.now(), seen = 0 }
	local from, paused = host.now(), throttle.paused_ns
	run:walk(m, parts)
	run:judge_estimate(host.now() - from - (throttle.paused_ns - paused) // run.workers)
	run:finish(m)
	run:report(0, 0, true)
	if store then store:forget() end
end

-- What is wrong with its table and key as they are now, or nil; and whether they are only not there, so that a step before may make them.
function backfill.examine(m, step)
	local key, why, missing = keys.read(m, step)
	if not key then return why, missing end
end

return backfill
