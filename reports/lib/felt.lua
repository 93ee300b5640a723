-- What the users of the database would have felt, in a few plain sentences. Each sentence is a list of parts {text} or {code = text}.
local availability = require "lib.availability"
local words = require "lib.words"

local felt = {}

local function latency(f, phase)
	local now, before = phase.response, f.phases.baseline and f.phases.baseline.response
	if not now then return nil end
	local p99 = now.at[0.99]
	local out = "During " .. phase.name .. " (" .. words.time(phase.end_ns - phase.start_ns) .. ") "
	if p99 then
		out = out .. "99 % of transactions were answered within " .. words.time(p99)
		local was = before and phase.name ~= "baseline" and before.at[0.99]
		if was then out = out .. ", against " .. words.time(was) .. " in the baseline" end
		return { out .. "; the slowest took " .. words.time(now.max_ns) .. "." }
	end
	return { out .. "the slowest of " .. words.number_of(now.n, "transaction") .. " took " .. words.time(now.max_ns) .. "." }
end

local function culprit(f)
	if not f.observed then return { "Lock waits were not observed." } end
	local worst
	for _, g in ipairs(f.blame.groups) do
		if g.migration and g.load.n > 0 and (not worst or g.load.total_ns > worst.load.total_ns) then worst = g end
	end
	if not worst then
		return { "No transaction was seen waiting for a lock of the migration." }
	end
	local where = #worst.relations > 0 and " for " .. words.relation(worst.relations[1]) .. (#worst.relations > 1 and " and others" or "") or ""
	return { { code = words.sql(worst.sql or "a statement of the migration", 80) },
		(worst.step and " (step “" .. worst.step .. "”)" or "") .. " made the application wait " .. (worst.load.n == 1 and "once" or words.count(worst.load.n) .. " times") .. where ..
		", " .. words.time(worst.load.total_ns) .. " in sum, at the longest " .. words.time(worst.load.max_ns) .. "." }
end

-- The table that was closed longest; nil when none was, or nobody looked.
local function closed(f)
	local r = availability.rows(f)[1]
	if not r then return nil end
	local reads, writes = r[2] and r[2].total_ns or 0, r[4] and r[4].total_ns or 0
	local function part(what, sum) return what .. " for " .. words.time(sum.total_ns) .. (sum.n > 1 and " in " .. words.number_of(sum.n, "window") .. ", the longest " .. words.time(sum.max_ns) or "") end
	local kinds = {}
	if reads > 0 then kinds[1] = part("read", r[2]) end
	if writes > 0 then kinds[#kinds + 1] = part("written", r[4]) end
	if #kinds == 0 and r[3] then kinds[1] = part("locked by row", r[3]) end
	return { { code = r[1] }, " could not be " .. table.concat(kinds, ", and not ") .. "." }
end

local function failures(f)
	local failed, ended, errors, abandoned = 0, 0, {}, 0
	for _, p in ipairs(f.phases) do
		if p.name ~= "baseline" and p.name ~= "warmup" or #f.phases == 1 then
			failed, ended, abandoned = failed + p.failed, ended + p.ok + p.failed + p.abandoned, abandoned + p.abandoned
			for code, n in pairs(p.errors) do errors[code] = (errors[code] or 0) + n end
		end
	end
	if ended == 0 then return nil end
	local when = #f.phases > 1 and f.phases.baseline and " since the baseline" or ""
	if failed + abandoned == 0 then return { "None of " .. words.number_of(ended, "transaction") .. " failed" .. when .. "." } end
	local out = ""
	if failed > 0 then
		out = words.count(failed) .. " of " .. words.number_of(ended, "transaction") .. " (" .. words.share(failed, ended) .. ") failed" .. when .. ": " .. words.errors(errors, 3) .. "."
	end
	if abandoned > 0 then
		out = out .. (out ~= "" and " " or "") .. words.count(abandoned) .. " (" .. words.share(abandoned, ended) .. ") gave up waiting" .. (failed > 0 and "" or when) .. "."
	end
	return { out }
end

-- Who still waited when the traffic ended is in no figure above.
local function unanswered(f)
	local t, last = f.run.totals or {}, f.points[#f.points] or {}
	local n, oldest = 0, 0
	local function add(age)
		if age >= 1e9 then n, oldest = n + 1, math.max(oldest, age) end
	end
	for _, one in ipairs(t.open or {}) do add(one.due_age_ns) end
	local waiting = t.never_started or 0
	for k = 1, waiting do add((last.backlog_age_ns or 0) * k / waiting) end   -- as the judge has it
	if n == 0 then return nil end
	return { words.number_of(n, "transaction") .. " had no answer when the run ended, the oldest for " .. words.time(oldest) .. "." }
end

-- The sentences for one run, most telling first; empty when nothing was measured.
function felt.sentences(f)
	local out = {}
	local named = false
	for _, name in ipairs { "migration", "rollback" } do
		local phase = f.phases[name]
		if phase then
			out[#out + 1] = latency(f, phase)
			named = true
		end
	end
	if not named and f.phases[1] then out[#out + 1] = latency(f, f.phases[#f.phases]) end
	if f.phases.migration then out[#out + 1] = culprit(f) end
	out[#out + 1] = closed(f)
	out[#out + 1] = failures(f)
	out[#out + 1] = unanswered(f)
	return out
end

-- What looking at the server cost, in a line; nil when nobody looked.
function felt.observing(f)
	local o = f.run.observer
	if not o or not o.cpu_ns or f.duration_ns <= 0 then return nil end
	return string.format("Observed with %s of a core and %s statements/s.", words.share(o.cpu_ns, f.duration_ns), words.number((o.statements or 0) / (f.duration_ns / 1e9)))
end

-- A sentence as plain text; quote(code) wraps what is code.
function felt.text(sentence, quote, escape)
	local out = {}
	for i, part in ipairs(sentence) do
		out[i] = type(part) == "table" and quote(part.code) or escape and escape(part) or part
	end
	return table.concat(out)
end

return felt
