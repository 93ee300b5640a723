-- What the drills found: their demands, app versions against schemas, who stood in whose way, and all drills of a rehearsal at a glance.
local page = require "lib.page"
local words = require "lib.words"

local drills = {}

local MOST_FINDINGS = 200

-- Waits by who stood at the root of them, where that was somebody who is no part of application and migration: rows { blocker, who, n, max_ns,
-- not_had }, the longest first.
function drills.gather_blockers(f, next_wait)
	local names, rows, usual = {}, {}, nil
	for _, a in ipairs(f.actors) do
		local name = a.name .. (a.stand_in and " (a stand-in)" or "")
		if a.pid then names[a.pid] = name end
		-- Some blockers are several sessions, or none any more; a real one is one.
		if (f.run.drill or ""):find("^blocked") and (not usual or a.stand_in) then usual = name end
	end
	for wait in next_wait do
		local root, waiter = wait.root or {}, wait.waiter or {}
		-- A real autovacuum is a session of nobody's, but an actor's by its pid.
		if root.role == "actor" or root.pid == 0 or root.role == "foreign" and names[root.pid] then
			local name = names[root.pid] or usual or "a background session"
			local who = waiter.role == "load" and (waiter.transaction or "?") .. (waiter.version and " " .. waiter.version or "") or
				waiter.role == "migration" and "the migration: " .. words.sql(waiter.sql, 70) or waiter.role or "?"
			local key = name .. "\0" .. who
			local row = rows[key]
			if not row then
				row = { blocker = name, who = who, migration = waiter.role == "migration", n = 0, max_ns = 0, not_had = 0 }
				rows[key], rows[#rows + 1] = row, row
			end
			row.n, row.max_ns = row.n + 1, math.max(row.max_ns, wait.length_ns or 0)
			if wait.ended ~= "granted" and wait.ended ~= "unknown" then row.not_had = row.not_had + 1 end
		end
	end
	table.sort(rows, function(a, b) return a.max_ns > b.max_ns end)
	f.blockers = rows
end

-- One line a drill: what it is, its word, what was not as it should be.
function drills.summary(report)
	local rows = {}
	for i, f in ipairs(report.runs) do
		local why
		for _, c in ipairs(f.criteria) do
			if c.verdict ~= "PASS" and c.verdict ~= "SKIPPED" then
				why = c.criterion .. (c.observed and ": " .. c.observed or "") .. (c.criterion == "drill.clean" and c.evidence and ", " .. c.evidence or "")
				break
			end
		end
		rows[i] = { drill = f.drill, word = f.word, time = words.time(f.duration_ns), why = f.problem and f.problem.what or f.invalid[1] or why or "" }
	end
	return rows
end

local function errors_of(cell)
	local list = {}
	for sqlstate, n in pairs(cell.errors or {}) do list[#list + 1] = { sqlstate, n } end
	table.sort(list, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
	for i, e in ipairs(list) do list[i] = e[1] .. " × " .. words.count(e[2]) end
	return table.concat(list, ", ")
end

-- Heads and rows of the table of versions: a row a schema and version, a column a transaction.
function drills.versions(f)
	local list = f.run.versions
	if type(list) ~= "table" or #list == 0 then return nil end
	local names, seen = {}, {}
	for _, v in ipairs(list) do
		for name in pairs(v.transactions or {}) do
			if not seen[name] then names[#names + 1], seen[name] = name, true end
		end
	end
	table.sort(names)
	local rows, last = {}, nil
	for i, v in ipairs(list) do
		local row = { v.state == last and "" or v.state or "", (v.version or "?") .. (v.serves and "" or " (does not serve then)") }
		for k, name in ipairs(names) do
			local cell = (v.transactions or {})[name] or {}
			local wrong = errors_of(cell)
			row[k + 2] = wrong ~= "" and wrong or (cell.ok or 0) + (cell.failed or 0) > 0 and "fine" or words.none
		end
		row.works, row.serves = v.works, v.serves
		rows[i], last = row, v.state
	end
	return { "After", "Version", table.unpack(names) }, rows
end

-- ---- as sections of the page ----

function drills.findings_section(f)
	local list = f.run.findings
	if type(list) ~= "table" or #list == 0 then return nil end
	local rows = {}
	for i, one in ipairs(list) do
		if i > MOST_FINDINGS then
			rows[i] = { "", "and " .. (#list - MOST_FINDINGS) .. " more in run.json", "" }
			break
		end
		rows[i] = { page.tag(one.ok and "PASS" or "FAIL"), one.what or "", one.detail or "" }
	end
	return page.table({ { "", "tight" }, { "What the drill demands", "wide" }, { "What was found", "wide" } }, rows)
end

function drills.versions_section(f)
	local heads, rows = drills.versions(f)
	if not heads then return nil end
	local columns = {}
	for i, h in ipairs(heads) do columns[i] = { h } end
	for _, r in ipairs(rows) do
		for i = 3, #heads do if r[i] ~= "fine" and r[i] ~= words.none then r[i] = r.serves and { html = "<strong>" .. words.escape(r[i]) .. "</strong>" } or r[i] end end
	end
	return page.table(columns, rows, "Each app version against each schema that the migration passes through: errors by SQLSTATE. A version has to work where it serves.")
end

function drills.reconcile_section(f)
	local list = f.run.reconcile
	if type(list) ~= "table" or #list == 0 then return nil end
	local rows = {}
	for _, r in ipairs(list) do
		rows[#rows + 1] = { r.name or "?", words.count(r.rows), words.count(r.rechecked), r.error and page.tag("FAIL") or words.count(r.mismatches), r.error or "" }
		for _, d in ipairs(r.differences or {}) do
			rows[#rows + 1] = { "", "", "", page.code(d.key or "?"), page.join(page.code(d.old or "?"), " but ", page.code(d.new or "?")) }
		end
	end
	return page.table({ { "Reconciliation" }, { "Rows", "num" }, { "Looked at twice", "num" }, { "Mismatches", "num" }, { "Old but new", "wide" } }, rows)
end

function drills.blockers_section(f)
	if #(f.blockers or {}) == 0 then return nil end
	local rows = {}
	for i, b in ipairs(f.blockers) do
		if i > 50 then break end
		rows[i] = { b.blocker, b.who, words.count(b.n), words.time(b.max_ns), b.not_had > 0 and words.count(b.not_had) or "" }
	end
	return page.table({ { "At the root" }, { "Who waited", "wide" }, { "Waits", "num" }, { "Longest", "num" }, { "Did not get it", "num" } }, rows)
end

return drills
