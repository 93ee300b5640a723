-- Sections of the HTML report that are pictures over time or over percentiles, each with its numbers in a table.
local facts = require "lib.facts"
local page = require "lib.page"
local words = require "lib.words"

local E = words.escape
local timelines = {}

-- Tables beside the pictures hold at most this many rows; the worst of each fold is kept.
local MOST_ROWS = 120

-- columns: { {title, function(point) -> text, number to fold by or nil}, ... }.
local function numbers(f, file, columns, has)
	local fold = math.max(1, math.ceil(#f.points / MOST_ROWS))
	local heads, rows = { { "From", "num" }, { "Phase", "tight" } }, {}
	for _, c in ipairs(columns) do heads[#heads + 1] = { c[1], "num" } end
	for i = 1, #f.points, fold do
		local row = { words.at(f.points[i].start_ns), f.points[i].phase }
		for _, c in ipairs(columns) do
			local worst
			for k = i, math.min(#f.points, i + fold - 1) do
				local v = c[2](f.points[k])
				if v and (not worst or v > worst) then worst = v end
			end
			row[#row + 1] = c[3](worst)
		end
		rows[#rows + 1] = row
	end
	local note = fold > 1 and "The largest of every " .. fold .. " points; all of them are in " or "As data: "
	return page.details("Its numbers", page.table(heads, rows) .. '<p class="note">' .. E(note) .. "<code>plots/" .. E(file) .. "</code></p>")
end

local function per_second(key) return function(p) return p[key] / (math.max(p.end_ns - p.start_ns, 1) / 1e9) end end
local function field(key) return function(p) return p[key] end end
local time, count, rate = words.time, words.count, words.number

local function any(f, key)
	for _, p in ipairs(f.points) do if (p[key] or 0) > 0 then return true end end
	return false
end

-- What changed in the traffic, by the letters in the pictures.
local function traffic_changes(f)
	if #f.changes == 0 then return "" end
	local rows = {}
	for i, c in ipairs(f.changes) do
		if i > 60 then
			rows[i] = { "", "", "and " .. (#f.changes - 60) .. " more in events.jsonl" }
			break
		end
		rows[i] = { c.letter, words.at(c.t_ns), c.text }
	end
	return page.table({ { "", "tight" }, { "At", "num" }, { "The traffic changed to", "wide" } }, rows)
end

-- The numbers above the pictures are the steps' numbers; here they get their names.
local function legend(f)
	if #f.steps == 0 then return "" end
	local out = {}
	for i, s in ipairs(f.steps) do
		if i > 40 then
			out[i] = "<li>…</li>"
			break
		end
		out[i] = "<li>" .. s.number .. " " .. E(s.name) .. (s.direction == "down" and " (down)" or "") .. "</li>"
	end
	return '<ol class="steps">' .. table.concat(out) .. "</ol>\n"
end

function timelines.load(f, board)
	if #f.points == 0 then return '<p class="note">The record holds no intervals.</p>\n' end
	local out = { legend(f), traffic_changes(f) }
	local function add(svg, reason, columns, note)
		out[#out + 1] = page.figure(svg, reason, (note and '<p class="note">' .. E(note) .. "</p>\n" or "") .. numbers(f, board.timeline_file, columns))
	end
	local svg, reason = board:response()
	local silent = 0
	for _, p in ipairs(f.points) do if not p.p50_ns then silent = silent + p.end_ns - p.start_ns end end
	local note = silent >= 500000000 and "Where the lines break (" .. words.time(silent) .. " in all) no transaction ended." or nil
	if f.folded > 1 then note = (note and note .. " " or "") .. "Each point is the largest of " .. f.folded .. " seconds." end
	add(svg, reason, { { "p50", field "p50_ns", time }, { "p99", field "p99_ns", time }, { "slowest", field "max_ns", time } }, note)
	svg, reason = board:rates()
	add(svg, reason, { { "planned/s", per_second "planned", rate }, { "done/s", per_second "ok", rate } })
	if any(f, "failed") then
		svg, reason = board:failed()
		add(svg, reason, { { "failed/s", per_second "failed", rate } })
	end
	if any(f, "backlog") then
		svg, reason = board:backlog()
		add(svg, reason, { { "due, not started", field "backlog", count }, { "age of the oldest", field "backlog_age_ns", time } })
	end
	if any(f, "waiting") then
		svg, reason = board:waiting()
		add(svg, reason, { { "sessions waiting", field "waiting", count }, { "longest wait so far", field "longest_wait_ns", time } })
	end
	return table.concat(out)
end

function timelines.curve(f, board)
	local svg, reason = board:curve()
	local heads, rows = { { "Phase", "tight" }, { "n", "num" }, { "mean", "num" } }, {}
	for _, q in ipairs(facts.QUANTILES) do heads[#heads + 1] = { string.format("p%g", q * 100), "num" } end
	heads[#heads + 1] = { "slowest", "num" }
	for _, p in ipairs(f.phases) do
		if p.response then
			local row = { p.name, count(p.response.n), time(p.response.mean_ns) }
			for _, q in ipairs(facts.QUANTILES) do row[#row + 1] = time(p.response.at[q]) end
			row[#row + 1] = time(p.response.max_ns)
			rows[#rows + 1] = row
		end
	end
	if #rows == 0 then return nil end
	return page.figure(svg, reason) .. page.table(heads, rows)
end

function timelines.replication(f, board)
	local out = {}
	if #f.standbys > 0 and #f.points > 0 then
		local rows = {}
		for i, s in ipairs(f.standbys) do
			rows[i] = { s.name, words.bytes(s.bytes), words.at(s.bytes_at_ns), words.lag(s.heartbeat_ns), words.at(s.heartbeat_at_ns), s.conflicts and words.count(s.conflicts) or "" }
		end
		out[1] = page.table({ { "Standby" }, { "Most not replayed", "num" }, { "at", "num" }, { "Furthest behind", "num" }, { "at", "num" }, { "Queries cancelled there", "num" } }, rows)
		local by_bytes, by_time = {}, {}
		for i, s in ipairs(f.standbys) do
			by_bytes[i] = { s.name, function(p) return p.lag[s.name] and p.lag[s.name].bytes end, words.bytes }
			by_time[i] = { s.name, function(p) return p.lag[s.name] and p.lag[s.name].heartbeat_ns end, words.lag }
		end
		local svg, reason = board:lag_time()
		out[#out + 1] = page.figure(svg, reason, numbers(f, board.timeline_file, by_time))
		svg, reason = board:lag_bytes()
		out[#out + 1] = page.figure(svg, reason, numbers(f, board.timeline_file, by_bytes))
	end
	if #f.slots > 0 then
		local rows = {}
		for i, s in ipairs(f.slots) do rows[i] = { s.name, s.active and "yes" or "no", s.status or "", words.bytes(s.bytes), words.at(s.bytes_at_ns) } end
		out[#out + 1] = page.table({ { "Replication slot" }, { "In use at the end" }, { "State of its WAL" }, { "Most WAL kept", "num" }, { "at", "num" } }, rows)
	end
	if any(f, "wal_bytes") then
		local svg, reason = board:wal()
		out[#out + 1] = page.figure(svg, reason, numbers(f, board.timeline_file, { { "WAL/s", per_second "wal_bytes", words.bytes } }))
	end
	return #out > 0 and table.concat(out) or nil
end

-- Why it paused, and how long for each; of records that do not say, the texts.
local function pauses_of(f, b)
	local reasons, seen = {}, {}
	for name, ns in pairs(f.pauses[b.step] or {}) do reasons[#reasons + 1] = name .. " " .. time(ns) end
	if #reasons == 0 then
		for _, p in ipairs(b.points) do
			if p.reason and not seen[p.reason] then
				seen[p.reason] = true
				reasons[#reasons + 1] = p.reason
			end
		end
	end
	table.sort(reasons)
	return table.concat(reasons, ", ")
end

-- What was estimated before each began, and how far off that was.
local function estimates(f)
	local rows = {}
	for _, b in ipairs(f.backfills) do
		local e = f.etas[b.step]
		local guess, truth = e and e.estimate, e and e["end"]
		if guess then
			rows[#rows + 1] = { b.step, count(guess.samples), count(guess.rows) .. (guess.production and " (production)" or ""), time(guess.eta_ns), time(guess.low_ns) .. " to " .. time(guess.high_ns),
				truth and time(truth.left_ns) or "", truth and time(truth.took_ns) or "", truth and string.format("%+.0f %%", 100 * truth.error) or "" }
		end
	end
	if #rows == 0 then return "" end
	return page.table({ { "Estimate of" }, { "Batches", "num" }, { "For rows", "num" }, { "Time", "num" }, { "95 %", "num" }, { "For the walk here", "num" }, { "which took", "num" }, { "Off by", "num" } }, rows)
end

function timelines.backfill(f, board)
	if #f.backfills == 0 then return nil end
	local svg, reason = board:backfill()
	local rows = {}
	for i, b in ipairs(f.backfills) do
		local last = b.last
		rows[i] = { b.step, count(last.rows), count(last.total), count(last.batches), time(last.t_ns - b.points[1].t_ns), time(last.paused_ns), pauses_of(f, b),
			last.done and "done" or "not done" .. (last.eta_ns and ", " .. time(last.eta_ns) .. " to go" or "") }
	end
	return page.table({ { "Backfill" }, { "Rows", "num" }, { "of about", "num" }, { "Batches", "num" }, { "Took", "num" }, { "Paused", "num" }, { "Because of" }, { "Outcome" } }, rows) ..
		estimates(f) .. page.figure(svg, reason)
end

-- Tries that did not get their lock, and transactions that were in the way before one.
function timelines.tries(f)
	if #f.tries == 0 then return nil end
	local rows = {}
	for i, t in ipairs(f.tries) do
		local what
		if t.type == "precheck" then
			local who = t.transactions and t.transactions[1] or {}
			what = string.format("%s, %s, open for %s: %s", who.application_name or "?", (who.pid or 0) > 0 and "pid " .. who.pid or "prepared", time(who.age_ns), who.sql or "")
		else
			what = string.format("%s in %s", t.sqlstate or "?", t.sql or "?")
		end
		rows[i] = { words.at(t.t_ns), t.step .. (t.direction == "down" and " (down)" or ""), count(t.attempt), t.type == "precheck" and "in the way" or "no lock in time", what,
			time(t.waited_ns or t.pause_ns), t.drain_ns and time(t.drain_ns) or "" }
	end
	return page.table({ { "At", "num" }, { "Step" }, { "Try", "num" }, { "Outcome" }, { "What" }, { "Waited", "num" }, { "Until the queue was empty", "num" } }, rows)
end

return timelines
