-- The sections of a run's part of the HTML report, in order. write(f, board) returns markup, or nil where there is nothing to say.
local availability = require "lib.availability"
local drills = require "lib.drills"
local felt = require "lib.felt"
local fidelity = require "lib.fidelity"
local page = require "lib.page"
local server = require "lib.server"
local timelines = require "lib.timelines"
local words = require "lib.words"

local E = words.escape

-- "5 timed out, 1 deadlock": how waits ended that did not end with the lock.
local ends = { timeout = "timed out", deadlock = "deadlock", cancelled = "cancelled", lost = "lost", unfinished = "still waiting" }
local function not_granted(sum)
	local out = {}
	for _, how in ipairs { "timeout", "deadlock", "cancelled", "lost", "unfinished" } do
		if sum.ended[how] then out[#out + 1] = words.count(sum.ended[how]) .. " " .. ends[how] end
	end
	return table.concat(out, ", ")
end

local function direction_of(direction) return direction == "down" and " (down)" or "" end

local function criteria(f)
	if #f.criteria == 0 then
		local wanted = f.run.criteria or {}
		if #wanted == 0 then return nil end
		local rows = {}
		for i, c in ipairs(wanted) do rows[i] = { page.code(c), "not judged" } end
		return page.table({ { "Criterion", "wide" }, { "Verdict" } }, rows)
	end
	local rows = {}
	for i, c in ipairs(f.criteria) do rows[i] = { page.tag(c.verdict), page.code(c.criterion), c.observed or words.none, c.evidence or "" } end
	return page.table({ { "Verdict", "tight" }, { "Criterion", "sentence" }, { "Observed", "num" }, { "Evidence", "wide" } }, rows)
end

local function what_users_felt(f)
	local out = { '<ul class="felt">' }
	for _, s in ipairs(felt.sentences(f)) do
		out[#out + 1] = "<li>" .. felt.text(s, function(code) return page.code(code).html end, E) .. "</li>"
	end
	if #out == 1 then return '<p class="note">Nothing was measured.</p>' end
	out[#out + 1] = "</ul>\n"
	local rows = {}
	for _, p in ipairs(f.phases) do
		local r, waits = p.response, f.blame.phases[p.name]
		rows[#rows + 1] = { p.name, words.time(p.end_ns - p.start_ns), words.count(p.planned), words.count(p.failed), words.share(p.failed, p.planned), words.count(p.abandoned),
			words.time(r and r.at[0.5]), words.time(r and r.at[0.99]), words.time(r and r.at[0.999]), words.time(r and r.max_ns), words.count(waits and waits.n or 0), words.time(waits and waits.max_ns) }
	end
	out[#out + 1] = page.table({ { "Phase", "tight" }, { "Took", "num" }, { "Planned", "num" }, { "Failed", "num" }, { "Share", "num" }, { "Abandoned", "num" }, { "p50", "num" }, { "p99", "num" },
		{ "p99.9", "num" }, { "Slowest", "num" }, { "Lock waits", "num" }, { "Longest", "num" } }, rows,
		"Response times count from when a transaction was due, failed ones too. A quantile is shown when at least one transaction lies beyond it.")
	return table.concat(out)
end

-- Which attempts of a statement that was tried again caused the waits, the failed ones too.
local function attempts_of(g)
	if #g.attempts < 2 or (g.attempts[#g.attempts].attempt or 1) < 2 then return "" end
	local out = {}
	for i, a in ipairs(g.attempts) do
		if i > 6 then
			out[i] = "…"
			break
		end
		out[i] = string.format("attempt %s%s: %s, %s", tostring(a.attempt or "?"), a.sqlstate and a.sqlstate ~= "00000" and " (" .. a.sqlstate .. ")" or "",
			words.number_of(a.n, "wait"), words.time(a.total_ns))
	end
	return " · " .. table.concat(out, "; ")
end

-- In which of its statements a victim waited.
local function parts_of(victim)
	local parts = {}
	for k = 1, math.min(#victim.statements, 4) do parts[k] = words.count(victim.statements[k].n) .. " × " .. victim.statements[k].statement end
	if #parts == 0 then return "" end
	if #victim.statements > 4 then parts[5] = "…" end
	return { html = '<br><span class="soft">in ' .. E(table.concat(parts, ", ")) .. "</span>" }
end

local function blame_table(f)
	if f.blame.all.n == 0 then
		if #f.points == 0 and #f.steps == 0 then return nil end
		return f.observed and "<p>No lock wait was seen.</p>\n" or "<p>Lock waits were not observed.</p>\n"
	end
	local rows = {}
	local function numbers(sum) return words.count(sum.n), words.time(sum.total_ns), words.time(sum.max_ns), words.time(sum.p99_ns), not_granted(sum) end
	for _, g in ipairs(f.blame.groups) do
		local who
		if g.migration then
			who = page.join(page.code(words.sql(g.sql or "statement " .. tostring(g.id) .. ", whose end is not in the record", 220)), { html = "<br>" },
				{ html = '<span class="soft">' }, (g.step and "step “" .. g.step .. "”" .. direction_of(g.direction) or "the migration") ..
				(#g.relations > 0 and " · on " .. words.cut(words.relation(table.concat(g.relations, ", ")), 80) or "") ..
				attempts_of(g) .. (g.held_up_ns > 0 and " · somebody waited during " .. words.time(g.held_up_ns) or ""), { html = "</span>" })
		else
			local names = { load = "The application itself", actor = "Background actors", foreign = "Foreign sessions", observer = "The observer, checks and comparisons", migration = "The migration, statement not known" }
			who = page.join(names[g.role] or "Others, blocker not known", { html = ' <span class="soft">(not the migration\'s doing)</span>' })
			if g.role == "migration" then who = names.migration end
		end
		local n, total, longest, p99, ended = numbers(g.sum)
		rows[#rows + 1] = { who, n, total, longest, p99, ended, class = "group" }
		for i, v in ipairs(g.victims) do
			if i > 12 then
				rows[#rows + 1] = { "and " .. (#g.victims - 12) .. " more", class = "member" }
				break
			end
			local name = v.role == "load" and (v.transaction or "?") .. (v.version and ", " .. v.version or "") or v.role == "actor" and "actor " .. (v.transaction or "") or v.role
			n, total, longest, p99, ended = numbers(v)
			rows[#rows + 1] = { page.join(name, parts_of(v)), n, total, longest, p99, page.join(ended, v.errors and { html = "<br>" .. E(words.errors(v.errors)) } or ""), class = "member" }
		end
	end
	local n, total, longest, p99, ended = numbers(f.blame.all)
	rows[#rows + 1] = { "All lock waits", n, total, longest, p99, ended, class = "total" }
	return page.table({ { "Behind what, and who stood there", "wide" }, { "Waits", "num" }, { "In sum", "num" }, { "Longest", "num" }, { "p99", "num" }, { "Gave up" } }, rows)
end

local function who_stood_in_the_way(f, board)
	local text = blame_table(f)
	local svg, reason = board:lanes()
	return text and text .. ((svg or reason) and page.figure(svg, reason) or "")
end

local function who_behind_whom(f)
	local list = f.blame.longest
	if #list == 0 then return nil end
	local rows = {}
	for i, w in ipairs(list) do
		local waiter, lock, root = w.waiter or {}, w.lock or {}, w.root or {}
		local blocker = (w.blockers or {})[1] or root
		local who = (waiter.role == "load" and ((waiter.transaction or "?") .. (waiter.version and ", " .. waiter.version or "")) or waiter.role or "?")
		local mode = root.mode and ", " .. words.mode(root.mode) or ""
		local behind = (root.role or "?") .. (root.pid and " " .. root.pid or "") .. mode .. (root.state and root.state ~= "active" and ", " .. root.state or "")
		local age = root.xact_age_ns and ", in a transaction of " .. words.time(root.xact_age_ns) or ""
		local through = w.chain and #w.chain > 1 and ", through " .. words.number_of(#w.chain - 1, "other") or ""
		rows[i] = { words.at(w.start_ns), (w.quality == "bounded" and "≈ " or "") .. words.time(w.length_ns), w.ended or "",
			page.join(who, { html = "<br>" }, page.code(words.sql(waiter.sql, 90))),
			page.join(words.relation(lock.relation) or lock.type or words.none, { html = "<br>" }, { html = '<span class="soft">' .. E(words.mode(lock.mode)) .. "</span>" }),
			page.join(behind, { html = '<span class="soft">' .. E(age .. (blocker.queued and ", queued itself" or "") .. through) .. "</span><br>" }, page.code(words.sql(root.sql, 90))) }
	end
	local table_text = page.table({ { "At", "num" }, { "Waited", "num" }, { "Ended" }, { "Who", "wide" }, { "For", "tight" }, { "Behind", "wide" } }, rows)
	local rest = f.blame.all.n - #list
	local bounded = "A length with ≈ is bounded by the sampling period (up to " .. words.time(f.blame.all.bound_ns) .. " off); the others are exact to " .. "the client's own clock."
	local text = '<p class="note">' .. E((rest > 0 and "The " .. #list .. " longest; " .. words.count(rest) .. " shorter ones are in waits.jsonl. " or "Longest first. ") .. bounded) .. "</p>\n"
	if #list <= 14 then return text .. table_text end
	local head = {}
	for i = 1, 10 do head[i] = rows[i] end
	local tail = table.move(rows, 11, #rows, 1, {})
	local columns = { { "At", "num" }, { "Waited", "num" }, { "Ended" }, { "Who", "wide" }, { "For", "tight" }, { "Behind", "wide" } }
	return text .. page.table(columns, head) .. page.details("The next " .. #tail, page.table(columns, tail))
end

local function steps(f)
	if #f.steps == 0 then return nil end
	local rows = {}
	for i, s in ipairs(f.steps) do
		local state = s.cut and "did not end" or s.ok == false and "failed" or "done"
		local trouble = s.error
		if type(trouble) == "table" then trouble = trouble.what or trouble.message end
		rows[i] = { tostring(s.number), s.name, s.kind or "", s.direction or "", words.at(s.start_ns), words.time(s.duration_ns), s.statements > 0 and words.count(s.statements) or "",
			s.retries > 0 and words.count(s.retries) or "", trouble and page.join(state .. ": ", trouble) or state }
	end
	return page.table({ { "#", "num" }, { "Step", "wide" }, { "Kind" }, { "Way" }, { "From", "num" }, { "Took", "num" }, { "Statements", "num" }, { "Retries", "num" }, { "Outcome" } }, rows)
end

local strength = { "AccessExclusiveLock", "ExclusiveLock", "ShareRowExclusiveLock", "ShareLock", "ShareUpdateExclusiveLock", "RowExclusiveLock", "RowShareLock", "AccessShareLock" }
local rank = {}
for i, mode in ipairs(strength) do rank[mode] = i end
-- What a lock keeps out, in the words of a user of the table.
local keeps_out = { AccessExclusiveLock = "reads and writes", ExclusiveLock = "writes", ShareRowExclusiveLock = "writes", ShareLock = "writes" }

-- Whether the statement itself made the relation, so that nobody else could want it yet.
local function made_by(sql, relation)
	local head = (sql or ""):upper():match("^%s*CREATE%s+(.-)[%(;]") or ""
	head = head:match("^(.-)%sON%s") or head
	return (" " .. head .. " "):find("[%s.\"]" .. words.relation(relation or ""):upper():gsub("%p", "%%%0") .. "[%s\"]") ~= nil
end

-- Of each relation the strongest lock, strongest first; what the statement made comes last.
local function strongest(list, sql)
	for _, l in ipairs(list) do l.new = l.relation and made_by(sql, l.relation) end
	table.sort(list, function(a, b)
		if a.new ~= b.new then return not a.new end
		local x, y = rank[a.mode] or 9, rank[b.mode] or 9
		if x ~= y then return x < y end
		if (a.relation or "") ~= (b.relation or "") then return (a.relation or "") < (b.relation or "") end
		return a.granted and not b.granted
	end)
	local out, seen = {}, {}
	for _, l in ipairs(list) do
		local name = l.relation or ""
		if not seen[name] then
			seen[name] = true
			out[#out + 1] = l
		end
	end
	return out
end

local MOST_LOCKS, SHOWN_STATEMENTS = 4, 8

-- What it made the server do, and what it left behind.
local function work_of(s)
	local text = words.work(s.work)
	local out = text ~= "" and "<br>" .. E(text) or ""
	if #(s.invalid or {}) > 0 then out = out .. "<br><strong>left invalid: " .. E(table.concat(s.invalid, ", ")) .. "</strong>" end
	return { html = out }
end

local function locks(f)
	if #f.statement_sums == 0 then return nil end
	local rows, worst = {}, {}
	for i, s in ipairs(f.statement_sums) do
		local relation, mode, held, out = {}, {}, {}, {}
		local kept_out_ns = 0
		local list = strongest(s.locks, s.sql)
		for k = 1, math.min(#list, MOST_LOCKS) do
			local l = list[k]
			relation[k] = E(words.relation(l.relation) or words.none)
			mode[k] = E(words.mode(l.mode)) .. (l.granted == false and ' <span class="soft">asked for</span>' or "")
			local out_of = not l.new and l.granted ~= false and keeps_out[l.mode]
			if out_of then kept_out_ns = math.max(kept_out_ns, l.max_ns or 0) end
			held[k] = E(words.time(l.max_ns))
			out[k] = out_of or l.new and '<span class="soft">new</span>' or "&#160;"
		end
		if #list > MOST_LOCKS then relation[MOST_LOCKS + 1] = '<span class="soft">and ' .. (#list - MOST_LOCKS) .. " more</span>" end
		local function lines(of) return { html = table.concat(of, "<br>") } end
		rows[i] = { page.join(page.code(words.sql(s.sql, 160)), { html = '<br><span class="soft">' }, "step “" .. (s.step or "?") .. "”" .. direction_of(s.direction), { html = "</span>" },
			s.failed > 0 and { html = "<br>" .. E(words.errors(s.errors)) } or "", work_of(s)), words.count(s.n), words.time(s.max_ns), words.bytes(s.wal_bytes), lines(relation), lines(mode), lines(held), lines(out) }
		worst[i] = { row = rows[i], kept_out_ns = kept_out_ns, order = i }
	end
	local columns = { { "Statement", "wide" }, { "Runs", "num" }, { "Longest", "num" }, { "WAL", "num" }, { "Relation", "tight" }, { "Lock", "tight" }, { "Held up to", "num" }, { "Keeps out", "tight" } }
	local caption = "The strongest lock on each relation, held from the statement's start to the end of its transaction."
	if #rows <= SHOWN_STATEMENTS + 2 then return page.table(columns, rows, caption) end
	table.sort(worst, function(a, b) return a.kept_out_ns > b.kept_out_ns or (a.kept_out_ns == b.kept_out_ns and a.order < b.order) end)
	local first = {}
	for i = 1, SHOWN_STATEMENTS do first[i] = worst[i].row end
	return page.table(columns, first, caption .. " These kept others out longest.") .. page.details("All " .. #rows .. " statements in the order in which they ran", page.table(columns, rows))
end

local HELD_SHOWN = 12

local function held(f)
	if #f.held_locks == 0 then return nil end
	local rows, bounded = {}, 0
	for i, h in ipairs(f.held_locks) do
		local from = h.external and "session of " .. h.external or "step “" .. (h.step or "?") .. "”" .. direction_of(h.direction)
		bounded = math.max(bounded, h.bound_ns)
		rows[i] = { words.relation(h.relation) or words.none, page.join(words.mode(h.mode), h.refused > 0 and { html = '<br><span class="soft">' .. (h.refused == h.n and "" or h.refused .. " × ") .. "not had</span>" } or ""),
			page.join(page.code(words.sql(h.sql, 90)), { html = '<br><span class="soft">' }, from, { html = "</span>" }), words.count(h.n), h.wait_max_ns > 0 and words.time(h.wait_max_ns) or "",
			(h.bound_ns > 0 and h.hold_max_ns > 0 and "≈ " or "") .. words.time(h.hold_max_ns), words.time(h.hold_total_ns) }
	end
	local columns = { { "Relation", "tight" }, { "Lock", "tight" }, { "Taken by", "wide" }, { "Times", "num" }, { "Longest wait", "num" }, { "Longest hold", "num" }, { "Held in all", "num" } }
	local caption = "Every lock in every mode, from its grant to its release." .. (bounded > 0 and " Holds with ≈ come from sampling, and are at most " .. words.time(bounded) .. " shorter." or "")
	if #rows <= HELD_SHOWN + 2 then return page.table(columns, rows, caption) end
	return page.table(columns, table.move(rows, 1, HELD_SHOWN, 1, {}), caption) .. page.details("The other " .. (#rows - HELD_SHOWN), page.table(columns, table.move(rows, HELD_SHOWN + 1, #rows, 1, {})))
end

local function expectations(f)
	if #f.expected == 0 then return nil end
	local rows = {}
	for i, r in ipairs(f.expected) do
		rows[i] = { page.join(page.code(words.sql(r.sql, 100)), { html = '<br><span class="soft">' }, "step “" .. (r.step or "?") .. "”" .. direction_of(r.direction), { html = "</span>" }),
			r.verdict == "not read" and words.none or r.expected, r.observed, r.risk or "",
			page.join({ html = r.verdict == "differs" and "<strong>" or "" }, r.verdict, { html = r.verdict == "differs" and "</strong>" or "" }, #r.differences > 0 and ": " .. table.concat(r.differences, "; ") or r.less and ": less, since " .. r.less or "") }
	end
	local caption = "What the table of operations had expected of each statement, and what was seen. Locks of statements outside of transactions are sampled: short ones may be missed."
	return page.table({ { "Statement", "wide" }, { "Expected", "sentence" }, { "Observed", "sentence" }, { "Risk" }, { "Verdict", "sentence" } }, rows, caption)
end

local function transactions(f)
	if #f.transactions == 0 then return nil end
	local rows = {}
	for _, t in ipairs(f.transactions) do
		local before, shown = t.phases.baseline, false
		for _, p in ipairs(f.phases) do
			local q = t.phases[p.name]
			if q and p.name ~= "warmup" then
				rows[#rows + 1] = { shown and "" or t.name, p.name, words.count(q.n), words.time(q.at[0.5]), words.time(q.at[0.99]), words.time(q.at[0.999]), words.time(q.max_ns),
					p.name ~= "baseline" and before and words.times(q.at[0.99], before.at[0.99]) or "" }
				shown = true
			end
		end
	end
	return page.table({ { "Transaction", "tight" }, { "Phase", "tight" }, { "Ended", "num" }, { "p50", "num" }, { "p99", "num" }, { "p99.9", "num" }, { "Slowest", "num" }, { "p99 against baseline", "num" } }, rows,
		"Response times, all app versions together.")
end

local function rollback(f)
	local r = f.run.rollback
	if not r then return nil end
	local meaning = { identical = "schema and data are as they were at the start", equivalent = "the differences are of a kind that no application sees", dirty = "the way back does not lead back" }
	local out = { "<p>" .. page.tag(r.verdict or "not compared").html .. ": " .. E(meaning[r.verdict] or "") .. ".</p>\n" }
	local rows = {}
	for i, d in ipairs(r.differences or {}) do
		if i > 200 then
			rows[i] = { "", "and " .. (#r.differences - 200) .. " more in run.json", "" }
			break
		end
		rows[i] = { page.tag(d.class), page.code(d.object or ""), d.detail or "" }
	end
	if #rows > 0 then out[#out + 1] = page.table({ { "Class", "tight" }, { "Object", "wide" }, { "Difference", "wide" } }, rows) end
	rows = {}
	local same, different, skipped = 0, 0, 0
	for i, t in ipairs(r.tables or {}) do
		if t.same == true then same = same + 1 elseif t.same == false then different = different + 1 else skipped = skipped + 1 end
		rows[i] = { page.code(t.table or ""), t.method or "", words.count(t.rows), t.same == true and "same" or t.same == false and page.tag("dirty") or "not compared", t.reason or "" }
	end
	if #rows > 0 then
		out[#out + 1] = "<p>Content: " .. words.number_of(same, "table") .. " the same, " .. words.count(different) .. " different, " .. words.count(skipped) .. " not compared.</p>"
		local text = page.table({ { "Table" }, { "Compared" }, { "Rows", "num" }, { "Content" }, { "Reason", "wide" } }, rows)
		out[#out + 1] = #rows > 8 and page.details("All " .. #rows .. " tables", text) or text
	end
	rows = {}
	for i, s in ipairs(r.sizes or {}) do
		if i > 200 then break end
		rows[i] = { page.code(s.table or ""), words.bytes(s.bytes_before), words.bytes(s.bytes_after), s.bytes_before and s.bytes_before > 0 and words.times(s.bytes_after, s.bytes_before) or words.none,
			words.count(s.dead_before), words.count(s.dead_after), words.bytes(s.row_before), words.bytes(s.row_after) }
	end
	if #rows > 0 then
		out[#out + 1] = page.table({ { "Table" }, { "Size before", "num" }, { "after", "num" }, { "", "num" }, { "Dead rows before", "num" }, { "after", "num" }, { "Room a row before", "num" }, { "after", "num" } }, rows,
			"Size with indexes and TOAST; the room that a row takes in the table itself shows what is left empty.")
	end
	return table.concat(out)
end

-- A sample row as text, columns in order of name.
local function sample_text(sample)
	if type(sample) ~= "table" then return sample and tostring(sample) or "" end
	local keys, out = {}, {}
	for k in pairs(sample) do keys[#keys + 1] = k end
	table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
	for i, k in ipairs(keys) do out[i] = (type(k) == "string" and k .. " = " or "") .. sample_text(sample[k]) end
	return table.concat(out, ", ")
end

local function checks(f)
	if #(f.checks or {}) == 0 then return nil end
	local rows = {}
	for i, c in ipairs(f.checks) do
		local trouble = c.error
		if type(trouble) == "table" then trouble = trouble.what or trouble.message end
		rows[i] = { c.name, c.when or "", page.tag(c.ok and "PASS" or "FAIL"), words.count(c.rows), trouble and tostring(trouble) or c.sample and page.code(words.cut(sample_text(c.sample), 200)) or "" }
	end
	return page.table({ { "Check", "tight" }, { "When" }, { "Outcome" }, { "Rows against it", "num" }, { "First of them", "wide" } }, rows)
end

local function ledger(l)
	if not l then return "" end
	if l.error then return "<p>" .. page.tag("FAIL").html .. " The ledger could not be checked: " .. E(l.error) .. ".</p>\n" end
	local unknown = (l.unknown_found or 0) + (l.unknown_lost or 0)
	local strange = l.strange or 0
	return "<p>" .. page.tag((l.lost or 0) == 0 and strange == 0 and "PASS" or "FAIL").html .. " Ledger: of " .. words.number_of(l.acknowledged or 0, "acknowledged commit") .. " " .. words.count(l.found) .. " were found afterwards, " ..
		words.count(l.lost) .. " were lost" .. (unknown > 0 and "; of " .. words.count(unknown) .. " whose connection was lost during COMMIT " .. words.count(l.unknown_found) .. " are there" or "") ..
		(strange > 0 and "; " .. words.number_of(strange, "row") .. (strange == 1 and " is" or " are") .. " there that nobody wrote, or twice" or "") .. ".</p>\n"
end

local function counters(c)
	local rows, names = {}, {}
	for name in pairs(c or {}) do names[#names + 1] = name end
	if #names == 0 then return "" end
	table.sort(names)
	for i, name in ipairs(names) do rows[i] = { page.code(name), words.count(c[name]) } end
	return page.table({ { "Counted by the workload", "tight" }, { "", "num" } }, rows)
end

local function totals(f)
	local t = f.run.totals
	if not t then return nil end
	local law = t.holds == false and page.tag("FAIL").html .. " The conservation law does not hold: the numbers of this run cannot be trusted." or "The conservation law holds: every planned transaction is accounted for."
	local out = { "<p>" .. law .. "</p>", '<div class="columns"><div>', page.table({ { "Planned" }, { "", "num" } }, {
		{ "started", words.count(t.started) }, { "abandoned by users who waited too long", words.count(t.abandoned) }, { "never started", words.count(t.never_started) },
		{ "planned", words.count(t.planned), class = "total" } }), "</div><div>", page.table({ { "Started" }, { "", "num" } }, {
		{ "ok", words.count(t.ok) }, { "failed", words.count(t.failed) }, { "unfinished" .. ((t.unfinished or 0) > 0 and t.unfinished_oldest_ns and ", the oldest for " .. words.time(t.unfinished_oldest_ns) or ""), words.count(t.unfinished) },
		{ "started", words.count(t.started), class = "total" } }), "</div></div>\n" }
	local rows, names = {}, {}
	for name in pairs(t.versions or {}) do names[#names + 1] = name end
	table.sort(names)
	for i, name in ipairs(names) do local v = t.versions[name]; rows[i] = { name, words.count(v.started), words.count(v.ok), words.count(v.failed) } end
	if #rows > 0 then out[#out + 1] = page.table({ { "App version" }, { "Started", "num" }, { "Ok", "num" }, { "Failed", "num" } }, rows) end
	if next(t.errors or {}) then out[#out + 1] = "<p>Errors: " .. E(words.errors(t.errors, 20)) .. ".</p>\n" end
	if next(t.retries or {}) then out[#out + 1] = "<p>Attempts that failed and were tried again, no part of the failed: " .. E(words.errors(t.retries, 20)) .. ".</p>\n" end
	for name, reads in pairs(t.targets or {}) do
		out[#out + 1] = "<p>" .. words.count(reads.started) .. " of them were read-only and ran on " .. E(name) .. (next(reads.failed or {}) and ", where some failed: " .. E(words.errors(reads.failed, 20)) or "") .. ".</p>\n"
	end
	out[#out + 1] = ledger(t.ledger)
	out[#out + 1] = counters(t.counters)
	return table.concat(out)
end

-- Each statement over the whole run.
local function statements(f)
	local rows = {}
	for i, s in ipairs((f.run.latency or {}).statements or {}) do
		local function at(name) local p = (s.percentiles or {})[name] return p and words.time(p.ns) or "" end
		rows[i] = { page.code(s.statement or ""), s.version or "", s.outcome == "ok" and "ok" or page.tag("failed"), words.count(s.count), words.time(s.mean_ns), at "p50", at "p99", at "p99.9", words.time(s.max_ns) }
	end
	if #rows == 0 then return nil end
	local text = page.table({ { "Statement", "tight" }, { "App version" }, { "Outcome" }, { "Executed", "num" }, { "Mean", "num" }, { "p50", "num" }, { "p99", "num" }, { "p99.9", "num" }, { "Slowest", "num" } }, rows,
		"From the send to the end of the result, over the whole run. A percentile that no execution lies above is left out.")
	return #rows > 12 and page.details("All " .. #rows .. " of them", text) or text
end

local function health(f)
	local g, o = f.run.generator, f.run.observer
	if not g and not o then return nil end
	local schedule = g and g.schedule_error or {}
	local list = g and {
		{ "Schedule error", schedule.count and string.format("p50 %s, p99 %s, largest %s, over %s", words.time(schedule.p50_ns), words.time(schedule.p99_ns), words.time(schedule.max_ns), words.number_of(schedule.count, "arrival")) },
		{ "Late arrivals", g.late_share and words.share(g.late_share, 1) },
		{ "Busiest worker", g.cpu_share_max and words.share(g.cpu_share_max, 1) .. " of a core over a second" },
		{ "Longest loop pass", g.loop_lag_max_ns and words.time(g.loop_lag_max_ns) },
		{ "Missed wake-ups", g.missed_wakeups and words.count(g.missed_wakeups) .. (schedule.count and schedule.count > 0 and ", " .. words.share(g.missed_wakeups, schedule.count) .. " of the arrivals" or "") },
	} or {}
	if o then
		list[#list + 1] = { "Observer", string.format("%s at every %s, %s missed, %s", words.number_of(o.samples or 0, "sample"), words.time(o.period_ns), words.count(o.missed), words.number_of(o.statements or 0, "statement")) }
		list[#list + 1] = { "Observer's CPU", o.cpu_ns and words.time(o.cpu_ns) .. (f.duration_ns > 0 and ", " .. words.share(o.cpu_ns, f.duration_ns) .. " of a core, and " .. words.number((o.statements or 0) / (f.duration_ns / 1e9)) .. " statements/s" or "") }
		if (o.passed_over or 0) > 0 then list[#list + 1] = { "Waits for rows passed over", words.count(o.passed_over) .. " times, to save time: of short ones not all are in this report" } end
	end
	return page.facts(list)
end

local function settings(f)
	local s = f.run.server and f.run.server.settings
	local own = server.settings(f)
	if not s or not next(s) then return own ~= "" and own or nil end
	local names, rows = {}, {}
	for name in pairs(s) do names[#names + 1] = name end
	table.sort(names)
	for i, name in ipairs(names) do rows[i] = { page.code(name), page.code(tostring(s[name])) } end
	return page.details(words.number_of(#names, "setting") .. " of the server that differ from their defaults", page.table({ { "Setting" }, { "Value", "wide" } }, rows)) .. own
end

local function warnings(f)
	if #f.warnings == 0 then return nil end
	local rows = {}
	for i, w in ipairs(f.warnings) do
		if i > 100 then rows[i] = { "", "and " .. (#f.warnings - 100) .. " more in events.jsonl" } break end
		rows[i] = { words.at(w.t_ns), w.text or "" }
	end
	return page.table({ { "At", "num" }, { "Warning", "wide" } }, rows)
end

return {
	{ write = criteria },
	{ id = "findings", title = "What the drill found", write = drills.findings_section },
	{ id = "versions", title = "App versions and schemas", write = drills.versions_section },
	{ id = "blockers", title = "Who stood in the way of whom", write = drills.blockers_section },
	{ id = "felt", title = "What the users felt", write = what_users_felt },
	{ id = "blame", title = "Who was held up by what", write = who_stood_in_the_way },
	{ id = "time", title = "Over time", write = timelines.load },
	{ id = "curve", title = "How many were answered how fast", write = timelines.curve },
	{ id = "waits", title = "The longest lock waits", write = who_behind_whom },
	{ id = "availability", title = "When tables could not be read or written", write = availability.section },
	{ id = "steps", title = "Steps", write = steps },
	{ id = "locks", title = "Locks of the migration's statements", write = locks },
	{ id = "expected", title = "Expected and observed", write = expectations },
	{ id = "held", title = "Locks held", write = held },
	{ id = "commands", title = "Long commands", write = server.commands },
	{ id = "tries", title = "Tries, and who was in the way", write = timelines.tries },
	{ id = "backfill", title = "Backfill", write = timelines.backfill },
	{ id = "lag", title = "Replication and write-ahead log", write = timelines.replication },
	{ id = "server", title = "The server meanwhile", write = server.section },
	{ id = "rollback", title = "After the rollback", write = rollback },
	{ id = "reconcile", title = "Old and new compared", write = drills.reconcile_section },
	{ id = "checks", title = "Checks", write = checks },
	{ id = "transactions", title = "By transaction", write = transactions },
	{ id = "totals", title = "Every transaction accounted for", write = totals },
	{ id = "fidelity", title = "How true the replay was", write = fidelity.section },
	{ id = "statements", title = "Statements of the application", write = statements },
	{ id = "health", title = "Was the harness itself fit", write = health },
	{ id = "warnings", title = "Warnings", write = warnings },
	{ id = "settings", title = "Settings", write = settings },
}
