-- Verdict tables for a terminal: what `pgrehearse run` ends with. Colour only where asked for, and never as the only sign.
local availability = require "lib.availability"
local drills = require "lib.drills"
local words = require "lib.words"
local felt = require "lib.felt"
local fidelity = require "lib.fidelity"
local facts = require "lib.facts"
local server = require "lib.server"

local paint = { PASS = "32", FAIL = "31", FAILED = "31", INVALID = "35", INCONCLUSIVE = "33", INTERRUPTED = "33", RUNNING = "36", ["NOT JUDGED"] = "33" }

local function pad(text, width) return text .. string.rep(" ", width - words.width(text)) end

-- Breaks text at blanks so that no line is wider than width, where a word allows it.
local function wrap(text, width)
	local lines, line = {}, ""
	for word in words.clean(text):gmatch("%S+") do
		if line ~= "" and words.width(line) + 1 + words.width(word) > width then
			lines[#lines + 1] = line
			line = word
		else
			line = line == "" and word or line .. " " .. word
		end
	end
	if line ~= "" then lines[#lines + 1] = line end
	return lines
end

return function(report)
	local options = report.options
	local width = math.max(60, math.min(options.width or 100, 160))
	local out = {}
	local function say(line) out[#out + 1] = (line:gsub("%s+$", "")) end
	local function coloured(word, text)
		local code = paint[word]
		return options.colour and code and "\27[1;" .. code .. "m" .. text .. "\27[0m" or text
	end
	local function sentence(text, indent)
		for _, line in ipairs(wrap(text, width - #indent)) do say(indent .. line) end
	end

	local function verdict_table(f)
		local word_width, criterion_width, observed_width = 0, 9, 8
		for _, c in ipairs(f.criteria) do
			word_width = math.max(word_width, #c.verdict)
			criterion_width = math.max(criterion_width, words.width(words.clean(c.criterion)))
			observed_width = math.max(observed_width, words.width(words.clean(c.observed or words.none)))
		end
		criterion_width = math.min(criterion_width, 60)
		say("  " .. pad("", word_width) .. "  " .. pad("criterion", criterion_width) .. "  " .. "observed")
		for _, c in ipairs(f.criteria) do
			local text = words.clean(c.criterion)
			say("  " .. coloured(c.verdict, pad(c.verdict, word_width)) .. "  " .. pad(text, math.max(criterion_width, words.width(text))) .. "  " .. words.clean(c.observed or words.none))
			if c.verdict ~= "PASS" and c.evidence then sentence(c.evidence, string.rep(" ", word_width + 6)) end
		end
	end

	local function blame_table(f)
		local rows, most = {}, 5
		for _, g in ipairs(f.blame.groups) do
			if g.migration and g.load.n > 0 and #rows < most then
				local who = {}
				for _, v in ipairs(g.victims) do
					if v.role == "load" and #who < 5 then who[#who + 1] = words.count(v.n) .. " × " .. (v.transaction or "?") .. (v.version and " " .. v.version or "") end
				end
				rows[#rows + 1] = { words.count(g.load.n), words.time(g.load.total_ns), words.time(g.load.max_ns), words.sql(g.sql or "a statement whose end was not recorded", width - 36),
					who = words.clean(table.concat(who, ", ")) }
			end
		end
		if #rows == 0 then return end
		say("")
		say("  Who was held up by the migration:")
		table.insert(rows, 1, { "waits", "in sum", "longest", "behind" })
		for _, r in ipairs(rows) do
			say("  " .. string.rep(" ", 7 - words.width(r[1])) .. r[1] .. string.rep(" ", 11 - words.width(r[2])) .. r[2] .. string.rep(" ", 11 - words.width(r[3])) .. r[3] .. "  " .. r[4])
			if r.who then sentence(r.who, string.rep(" ", 33)) end
		end
	end

	local function windows_table(f)
		local rows, most, name_width = availability.rows(f), 5, 8
		if #rows == 0 then return end
		for i = 1, math.min(most, #rows) do name_width = math.max(name_width, words.width(rows[i][1])) end
		local function line(name, reads, row_locks, writes, by)
			local text = "  " .. pad(name, name_width)
			for _, figure in ipairs { reads, row_locks, writes } do text = text .. string.rep(" ", 12 - words.width(figure)) .. figure end
			say(text .. (by and "  " .. by or ""))
		end
		say("")
		say("  When tables could not be read or written:")
		line("table", "no reads", "row locks", "writes", "because of")
		for i = 1, math.min(most, #rows) do
			local r, figures = rows[i], {}
			for k = 2, 4 do figures[k] = availability.total(r[k]) end
			line(words.clean(r[1]), figures[2], figures[3], figures[4], r.sql and words.sql(r.sql, math.max(20, width - 42 - name_width)) or r.by and words.clean(r.by) or "")
		end
		if #rows > most then say("  and " .. words.number_of(#rows - most, "table") .. " more") end
	end

	local function expectations(f)
		if f.expected.n == 0 then return end
		say("")
		if f.expected.differ == 0 then
			say("  " .. words.number_of(f.expected.n, "statement") .. " of the migration did what was expected beforehand.")
			return
		end
		say(string.format("  Of %s of the migration %s did other than expected:", words.number_of(f.expected.n, "statement"), words.count(f.expected.differ)))
		for _, r in ipairs(f.expected) do
			if r.verdict == "differs" then sentence(words.sql(r.sql, 60) .. ": expected " .. r.expected .. "; " .. table.concat(r.differences, "; ") .. ".", "    ") end
		end
	end

	-- Of many drills, those that passed take a line each in the table at the end: only the first shows what a good one looks like.
	local many = #report.runs > 2
	local function is_told(n, f) return not many or n == 1 or f.word ~= "PASS" end

	local function tell(n, f)
		if n > 1 then say("") end
		say(coloured(f.word, f.word) .. "  " .. words.clean(f.title) .. " · " .. f.drill .. " · " .. words.time(f.duration_ns) .. (f.word == "PASS" and "" or " (" .. facts.meaning[f.word] .. ")"))
		if f.problem then
			sentence((f.problem.where and f.problem.where .. ": " or "") .. f.problem.what .. (f.problem.hint and " (" .. f.problem.hint .. ")" or ""), "  ")
		end
		for _, reason in ipairs(f.invalid) do sentence("unfit: " .. reason, "  ") end
		if options.verdict_only then return end
		if f.lesson then sentence(f.lesson, "  ") end
		if #f.criteria > 0 then
			say("")
			verdict_table(f)
		end
		say("")
		for _, s in ipairs(felt.sentences(f)) do sentence(felt.text(s, function(code) return code end), "  ") end
		for i, c in ipairs(f.changes) do
			if i > 12 then
				sentence("and " .. words.number_of(#f.changes - 12, "later change") .. " of the traffic", "  ")
				break
			end
			sentence("At " .. words.at(c.t_ns) .. " the traffic changed: " .. c.text .. ".", "  ")
		end
		blame_table(f)
		windows_table(f)
		if felt.observing(f) then
			say("")
			sentence(felt.observing(f), "  ")
		end
		for _, name in ipairs { "migration", "rollback" } do
			local said = server.sentence(f, name)
			if said then sentence(said, "  ") end
		end
		local ledger = f.run.totals and f.run.totals.ledger
		if ledger and ledger.acknowledged then
			local strange = ledger.strange or 0
			sentence(string.format("Of %s %s are not in the database%s.", words.number_of(ledger.acknowledged, "acknowledged commit"), words.count(ledger.lost),
				strange > 0 and "; " .. words.number_of(strange, "row") .. " of the ledger nobody wrote, or twice" or ""), "  ")
		end
		local measures = fidelity.measures(f)
		if #measures > 0 then
			say("")
			say("  How true the replay was to its capture:")
			for _, m in ipairs(measures) do
				say("  " .. pad(m[1], 13) .. string.rep(" ", 10 - words.width(m[3])) .. m[3] .. "  " .. pad(m[4], 12) .. pad(m[5], 10) .. words.clean(m[6] ~= "" and m[6] or m[2]))
			end
		end
		local warned = 0
		for _, w in ipairs(f.warnings) do
			local text = w.text or ""
			if warned < 3 and not text:find("^observer:") then   -- what was not observed is in the page, table by table
				if warned == 0 then say("") end
				warned = warned + 1
				sentence("Warning: " .. text, "  ")
			end
		end
		local failed = 0
		for _, one in ipairs(f.run.findings or {}) do
			if not one.ok and failed < 10 then
				if failed == 0 then
					say("")
					say("  What was not as the drill demands:")
				end
				failed = failed + 1
				sentence((one.what or "?") .. ": " .. (one.detail or ""), "    ")
			end
		end
		local heads, rows = drills.versions(f)
		if heads then
			table.insert(rows, 1, heads)
			local widths = {}
			for _, r in ipairs(rows) do for i, cell in ipairs(r) do widths[i] = math.max(widths[i] or 0, words.width(words.clean(cell))) end end
			say("")
			for _, r in ipairs(rows) do
				local cells = {}
				for i, cell in ipairs(r) do cells[i] = pad(words.clean(cell), widths[i]) end
				say("  " .. table.concat(cells, "  "))
			end
		end
		if #f.blockers > 0 then
			say("")
			say("  Who stood in the way of whom:")
			for i = 1, math.min(6, #f.blockers) do
				local b = f.blockers[i]
				sentence(string.format("%s: %s waited %s, at the longest %s%s", b.blocker, b.who, b.n == 1 and "once" or words.count(b.n) .. " times", words.time(b.max_ns),
					b.not_had > 0 and string.format(" (%d without getting the lock)", b.not_had) or ""), "    ")
			end
		end
		expectations(f)
		if f.run.rollback and f.run.rollback.verdict then
			say("")
			local differences = {}
			for _, class in ipairs { "dirty", "equivalent" } do
				for _, d in ipairs(f.run.rollback.differences or {}) do if d.class == class then differences[#differences + 1] = d end end
			end
			say("  After the rollback: " .. f.run.rollback.verdict .. (#differences > 0 and ", " .. words.number_of(#differences, "difference") or "") .. ".")
			for i = 1, math.min(5, #differences) do sentence(differences[i].class .. ": " .. differences[i].object .. ": " .. differences[i].detail, "    ") end
			if #differences > 5 then say("    and " .. (#differences - 5) .. " more") end
			local skipped = {}
			for _, t in ipairs(f.run.rollback.tables or {}) do if t.method == "skipped" then skipped[#skipped + 1] = t.table end end
			if #skipped > 0 then
				local named = table.concat(skipped, ", ", 1, math.min(3, #skipped)) .. (#skipped > 3 and " and " .. (#skipped - 3) .. " more" or "")
				sentence("What they hold was not compared as a whole, since the traffic writes them: " .. named .. ". The drill rollback-each does it while the traffic pauses.", "    ")
			end
		end
	end
	local left_out
	for n, f in ipairs(report.runs) do
		if is_told(n, f) then tell(n, f) else left_out = left_out or report.options.dirs[n] end
	end
	if many then
		local rows, widths = drills.summary(report), { 5, 7, 4 }
		for _, r in ipairs(rows) do
			widths = { math.max(widths[1], #r.drill), math.max(widths[2], #r.word), math.max(widths[3], words.width(r.time)) }
		end
		say("")
		say("  " .. pad("drill", widths[1]) .. "  " .. pad("verdict", widths[2]) .. "  " .. pad("took", widths[3]))
		for _, r in ipairs(rows) do
			local rest = width - widths[1] - widths[2] - widths[3] - 8
			local lines = wrap(r.why, math.max(20, rest))
			say("  " .. pad(r.drill, widths[1]) .. "  " .. coloured(r.word, pad(r.word, widths[2])) .. "  " .. pad(r.time, widths[3]) .. "  " .. (lines[1] or ""))
			for i = 2, math.min(3, #lines) do say(string.rep(" ", widths[1] + widths[2] + widths[3] + 8) .. lines[i]) end
		end
		if left_out then
			say("")
			say("  One that passed, in full: pgrehearse report " .. left_out .. " --format text")
		end
	end
	return table.concat(out, "\n") .. "\n"
end
