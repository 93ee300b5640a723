-- When tables could not be read or written: windows summed by table, and the picture of them.
local page = require "lib.page"
local words = require "lib.words"

local E = words.escape
local availability = {}

-- Of a table that is blocked thousands of times the longest windows are drawn and listed.
local KEPT = 2000
local LISTED = 20

local KINDS = { "reads", "row_locks", "writes" }
local TITLES = { reads = "Reads", row_locks = "Row locks", writes = "Writes" }

local function keep(list, window)
	list[#list + 1] = window
	if #list >= 2 * KEPT then
		table.sort(list, function(a, b) return a.length_ns > b.length_ns end)
		for i = #list, KEPT + 1, -1 do list[i] = nil end
	end
end

-- next_window: iterator over windows.jsonl. Returns nil when nothing was measured, else { tables, by_table, longest }, where
-- by_table[name][access] = { n, total_ns, max_ns }.
function availability.gather(next_window, summary)
	local out = { tables = {}, by_table = {}, longest = {}, n = 0 }
	for window in next_window do
		local name, access = window.table or "?", window.access or "?"
		local by = out.by_table[name] or {}
		out.by_table[name] = by
		by[access] = by[access] or { n = 0, total_ns = 0, max_ns = 0 }
		local sum, length = by[access], window.length_ns or 0
		sum.n, sum.total_ns, sum.max_ns = sum.n + 1, sum.total_ns + length, math.max(sum.max_ns, length)
		sum.at_least = sum.at_least or window.at_least
		out.n = out.n + 1
		keep(out.longest, window)
	end
	if not summary and out.n == 0 then return nil end
	local seen = {}
	for _, name in ipairs(summary and summary.tables or {}) do seen[name] = true end
	for name in pairs(out.by_table) do seen[name] = true end
	for name in pairs(seen) do out.tables[#out.tables + 1] = name end
	local function worst(name)
		local by = out.by_table[name] or {}
		local ns = 0
		for _, sum in pairs(by) do ns = math.max(ns, sum.total_ns) end
		return ns
	end
	table.sort(out.tables, function(a, b)
		local x, y = worst(a), worst(b)
		if x ~= y then return x > y end
		return a < b
	end)
	table.sort(out.longest, function(a, b)
		if a.length_ns ~= b.length_ns then return a.length_ns > b.length_ns end
		return a.start_ns < b.start_ns
	end)
	return out
end

local function denied(summary, name, access)
	for _, d in ipairs(summary.denied or {}) do if d.table == name and d.access == access then return true end end
end

local function behind(f, window)
	local s = window.blamed and f.statements[window.blamed]
	if s then return page.code(words.sql(s.sql, 120)) end
	local h = (window.holders or {})[1]
	if not h then return nil end
	return string.format("%s (%s)", h.role == "foreign" and (h.application_name ~= "" and h.application_name or "a session") or h.role or "a session", "pid " .. tostring(h.pid))
end

local function mode_of(window)
	local h = (window.holders or {})[1]
	return h and words.mode(h.mode) .. (h.queued and ", queued" or "") or nil
end

local function longest(f, a)
	local rows = {}
	for _, w in ipairs(a.longest) do
		if #rows == LISTED then break end
		rows[#rows + 1] = { words.at(w.start_ns), w.table, TITLES[w.access] or w.access, (w.at_least and "at least " or "") .. words.time(w.length_ns), words.time(w.bound_ns), mode_of(w), behind(f, w) }
	end
	if #rows == 0 then return "" end
	return page.table({ { "At", "num" }, { "Table", "tight" }, { "No", "tight" }, { "For", "num" }, { "within", "num" }, { "Lock in the way", "tight" }, { "By", "wide" } }, rows,
		a.n > LISTED and "The longest " .. LISTED .. " of " .. words.number_of(a.n, "window") or nil)
end

-- How long in all, of one sum or nil; a lower limit says so.
function availability.total(sum)
	return sum and (sum.at_least and "≥ " or "") .. words.time(sum.total_ns) or "0"
end

-- For reports without pictures: tables with windows, worst first, each { name, {total_ns, max_ns, n} or nil of reads, of row locks, of writes,
-- sql or by = who was in the way of the longest }.
function availability.rows(f)
	local rows = {}
	local a = f.availability
	for _, name in ipairs(a and a.tables or {}) do
		local by = a.by_table[name]
		if by then
			local row = { name, by.reads, by.row_locks, by.writes }
			for _, w in ipairs(a.longest) do
				if w.table == name then
					local s = w.blamed and f.statements[w.blamed]
					local h = (w.holders or {})[1]
					row.sql = s and s.sql
					row.by = h and (h.role == "foreign" and h.application_name ~= "" and h.application_name or h.role) or nil
					break
				end
			end
			rows[#rows + 1] = row
		end
	end
	return rows
end

function availability.section(f, board)
	local a, summary = f.availability, f.run.availability or {}
	if not a then return nil end
	local out = {}
	if a.n > 0 then
		local svg, reason = board:availability(a)
		out[1] = page.figure(svg, reason, "")
	end
	local rows = {}
	for i, name in ipairs(a.tables) do
		local row = { name }
		for _, access in ipairs(KINDS) do
			local sum = a.by_table[name] and a.by_table[name][access]
			if denied(summary, name, access) then
				row[#row + 1], row[#row + 2] = "not measured", ""
			else
				row[#row + 1] = availability.total(sum)
				row[#row + 1] = sum and words.time(sum.max_ns) or ""
			end
		end
		rows[i] = row
	end
	if #rows == 0 then return '<p class="note">No table was seen in use.</p>\n' end
	out[#out + 1] = page.table({ { "Table", "tight" }, { "No reads for", "num" }, { "longest", "num" }, { "No row locks for", "num" }, { "longest", "num" }, { "No writes for", "num" }, { "longest", "num" } }, rows)
	out[#out + 1] = longest(f, a)
	local period = summary.period_ns or 10000000
	local rest = summary.rest_period_ns or period
	local note = string.format("Tried every %s%s, and every %s while something was refused; a lock that is only queued counts.", words.time(period),
		rest ~= period and string.format(" (%s while the migration did nothing)", words.time(rest)) or "", words.time(summary.blocked_period_ns or 5000000))
	if (summary.delayed or 0) > 0 then note = note .. string.format(" %s waited behind an attempt, for %s in all.", words.number_of(summary.delayed, "session"), words.time(summary.delayed_ns)) end
	out[#out + 1] = '<p class="note">' .. E(note) .. "</p>\n"
	return table.concat(out)
end

return availability
