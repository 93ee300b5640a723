-- Markdown for a comment on a merge request: verdict, criteria, the worst of the blame table and of the waits. Stays under 1 MiB,
-- in fact under MOST bytes a run, because every table and every text in it is bounded.
local availability = require "lib.availability"
local drills = require "lib.drills"
local facts = require "lib.facts"
local felt = require "lib.felt"
local words = require "lib.words"

local LIMIT = 1000 * 1000 -- bytes; a comment may hold 1 MiB
local mark = { PASS = "✅", FAIL = "❌", FAILED = "❌", INVALID = "🚫", INCONCLUSIVE = "❔", SKIPPED = "➖", MEASURED = "ℹ️", INTERRUPTED = "⏹️", RUNNING = "⏳", ["NOT JUDGED"] = "❔" }

-- Text that is neither markup nor the end of a table's cell.
local function T(text)
	return (words.cut(text, 400):gsub("[\r\n]+", " "):gsub("&", "&amp;"):gsub("<", "&lt;"):gsub(">", "&gt;"):gsub("[\\|*_`%[%]~#@]", function(c) return "&#" .. c:byte() .. ";" end))
end

-- Code as HTML: backticks cannot be escaped within backticks, and a bar would end the cell.
local function code(text, most) return "<code>" .. T(words.sql(text, most or 100)) .. "</code>" end

local function table_of(heads, rows)
	local out = { "| " .. table.concat(heads, " | ") .. " |" }
	local rule = {}
	for i, h in ipairs(heads) do
		rule[i] = h:find(":$") and "---:" or "---"
		heads[i] = h:gsub(":$", "")
	end
	out[1] = "| " .. table.concat(heads, " | ") .. " |"
	out[2] = "| " .. table.concat(rule, " | ") .. " |"
	for _, r in ipairs(rows) do out[#out + 1] = "| " .. table.concat(r, " | ") .. " |" end
	return table.concat(out, "\n") .. "\n"
end

local function name_of(v)
	if v.role ~= "load" then return v.role or "?" end
	return (v.transaction or "?") .. (v.version and " " .. v.version or "")
end

local function run_text(f, several)
	local out = {}
	local function add(text) out[#out + 1] = text end
	add((several and "## " .. T(f.drill) .. ": " or "") .. (several and "" or "**") .. (mark[f.word] or "") .. " " .. f.word .. (several and "" or "**") .. "\n")
	if f.problem then
		add("**" .. T(f.problem.what) .. "**" .. (f.problem.where and " at " .. T(f.problem.where) or "") .. (f.problem.hint and " (" .. T(f.problem.hint) .. ")" or "") .. "\n")
	elseif f.word ~= "PASS" and f.word ~= "FAIL" then
		add(facts.meaning[f.word]:gsub("^%l", string.upper) .. ".\n")
	end
	for i, reason in ipairs(f.invalid) do if i <= 10 then add("Unfit: " .. T(reason) .. "\n") end end
	if f.lesson then add(T(f.lesson) .. "\n") end
	if #f.criteria > 0 then
		local rows = {}
		for i, c in ipairs(f.criteria) do
			if i > 200 then break end
			rows[i] = { (mark[c.verdict] or "") .. " " .. c.verdict, code(c.criterion, 200), T(c.observed or words.none), T(c.evidence or "") }
		end
		add(table_of({ "Verdict", "Criterion", "Observed:", "Evidence" }, rows))
	end
	for _, s in ipairs(felt.sentences(f)) do add("- " .. felt.text(s, code, T)) end
	for i, c in ipairs(f.changes) do
		if i > 12 then
			add("- and " .. words.number_of(#f.changes - 12, "later change") .. " of the traffic")
			break
		end
		add("- At " .. words.at(c.t_ns) .. " the traffic changed: " .. T(c.text) .. ".")
	end
	add("")
	local rows = {}
	for _, g in ipairs(f.blame.groups) do
		if g.migration and #rows < 10 then
			local who = {}
			for i, v in ipairs(g.victims) do if i <= 4 then who[i] = T(name_of(v)) .. " × " .. words.count(v.n) end end
			if #g.victims > 4 then who[5] = "…" end
			rows[#rows + 1] = { code(g.sql or "a statement whose end was not recorded", 120), words.count(g.sum.n), words.time(g.sum.total_ns), words.time(g.sum.max_ns), table.concat(who, ", ") }
		end
	end
	if #rows > 0 then
		add("**Who was held up by what**\n")
		add(table_of({ "Statement of the migration", "Waits:", "In sum:", "Longest:", "Who" }, rows))
	end
	rows = {}
	for i, r in ipairs(availability.rows(f)) do
		if i > 10 then break end
		local row = { T(r[1]) }
		for k = 2, 4 do row[k] = availability.total(r[k]) .. (r[k] and r[k].n > 1 and " (longest " .. words.time(r[k].max_ns) .. ")" or "") end
		row[5] = r.sql and code(r.sql, 80) or T(r.by or "")
		rows[i] = row
	end
	if #rows > 0 then
		add("**When tables could not be read or written**\n")
		add(table_of({ "Table", "No reads for:", "No row locks for:", "No writes for:", "Longest because of" }, rows))
	end
	rows = {}
	for i, w in ipairs(f.blame.longest) do
		if i > 5 then break end
		local root = w.root or {}
		rows[i] = { words.at(w.start_ns), words.time(w.length_ns), T(name_of(w.waiter or {})), T(words.relation(w.lock and w.lock.relation) or w.lock and w.lock.type or words.none) .. ", " .. T(words.mode(w.lock and w.lock.mode)),
			T(root.role or "?") .. " " .. (root.sql and code(root.sql, 80) or ""), T(w.ended or "") }
	end
	if #rows > 0 then
		add("<details><summary>The longest of " .. words.number_of(f.blame.all.n, "lock wait") .. "</summary>\n")
		add(table_of({ "At:", "Waited:", "Who", "For", "Behind", "Ended" }, rows))
		add("</details>\n")
	end
	rows = {}
	for i, one in ipairs(f.run.findings or {}) do
		if i > 100 then break end
		rows[i] = { mark[one.ok and "PASS" or "FAIL"], T(one.what or ""), T(one.detail or "") }
	end
	if #rows > 0 then
		add("<details><summary>What the drill found</summary>\n")
		add(table_of({ "", "What it demands", "What was found" }, rows))
		add("</details>\n")
	end
	local heads, lines = drills.versions(f)
	if heads then
		for _, line in ipairs(lines) do for i, cell in ipairs(line) do line[i] = T(cell) end end
		for i, h in ipairs(heads) do heads[i] = T(h) end
		add("**App versions and schemas**\n")
		add(table_of(heads, lines))
	end
	rows = {}
	for i, b in ipairs(f.blockers) do
		if i > 10 then break end
		rows[i] = { T(b.blocker), T(b.who), words.count(b.n), words.time(b.max_ns), words.count(b.not_had) }
	end
	if #rows > 0 then
		add("**Who stood in the way of whom**\n")
		add(table_of({ "At the root", "Who waited", "Waits:", "Longest:", "Did not get it:" }, rows))
	end
	rows = {}
	for i, one in ipairs(f.run.reconcile or {}) do
		if i > 20 then break end
		rows[i] = { T(one.name or "?"), words.count(one.rows), words.count(one.rechecked), T(one.error or words.count(one.mismatches)), T(one.sample or "") }
	end
	if #rows > 0 then
		add("**Old and new compared**\n")
		add(table_of({ "Reconciliation", "Rows:", "Looked at twice:", "Mismatches:", "Keys" }, rows))
	end
	rows = {}
	for _, e in ipairs(f.expected) do
		if #rows < 40 then rows[#rows + 1] = { code(e.sql, 80), T(e.verdict == "not read" and words.none or e.expected), T(e.observed), T(e.verdict .. (#e.differences > 0 and ": " .. table.concat(e.differences, "; ") or "")) } end
	end
	if #rows > 0 then
		add("<details><summary>Expected and observed: " .. words.number_of(f.expected.n, "statement") .. ", " .. words.count(f.expected.differ) .. " did otherwise</summary>\n")
		add(table_of({ "Statement of the migration", "Expected", "Observed", "Verdict" }, rows))
		add("</details>\n")
	end
	local r = f.run.rollback
	if r and r.verdict then
		local differences = r.differences or {}
		add("**After the rollback: " .. T(r.verdict) .. "**" .. (#differences > 0 and "\n" or ""))
		for i, d in ipairs(differences) do
			if i > 20 then
				add("- and " .. (#differences - 20) .. " more")
				break
			end
			add("- " .. T(d.class) .. ": " .. code(d.object or "") .. " " .. T(d.detail or ""))
		end
		add("")
	end
	if felt.observing(f) then add("<sub>" .. T(felt.observing(f)) .. "</sub>\n") end
	return table.concat(out, "\n")
end

return function(report)
	local several = #report.runs > 1
	local f = report.runs[1]
	local out = { "# " .. (several and (mark[report.word] or "") .. " " .. report.word .. ": " or "") .. T(report.title) .. "\n" }
	local run = f.run
	local about = {}
	if run.scenario then about[#about + 1] = code(run.scenario.path or run.scenario.name) end
	if run.load and run.load.program then
		about[#about + 1] = code(run.load.program) .. " arrivals/s"
	elseif run.load and run.load.mode == "replay" then
		about[#about + 1] = "replay of " .. code(run.load.trace or "a trace")
	elseif run.load and run.load.rate and run.load.mode ~= "closed" then
		about[#about + 1] = words.number(run.load.rate) .. " transactions/s"
	end
	if f.server then about[#about + 1] = T(f.server) end
	if run.seed then about[#about + 1] = "seed " .. T(run.seed) end
	out[2] = table.concat(about, " · ") .. "\n"
	if several then
		local rows = {}
		for i, r in ipairs(drills.summary(report)) do rows[i] = { T(r.drill), (mark[r.word] or "") .. " " .. r.word, r.time, T(r.why) } end
		out[#out + 1] = table_of({ "Drill", "Verdict", "Took:", "Why" }, rows)
	end
	local length, left = 0, 0
	for _, g in ipairs(report.runs) do
		local text = run_text(g, several)
		if length + #text > LIMIT then
			left = left + 1
		else
			length = length + #text
			out[#out + 1] = text
		end
	end
	if left > 0 then out[#out + 1] = words.number_of(left, "drill") .. " left out here; the HTML report has them.\n" end
	local dirs = {}
	for i, g in ipairs(report.runs) do dirs[i] = code(g.run.id or g.name) end
	out[#out + 1] = "<sub>Record " .. table.concat(dirs, ", ") .. "; <code>pgrehearse report</code> on it makes the page with pictures and all tables.</sub>\n"
	return table.concat(out, "\n")
end
