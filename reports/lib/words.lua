-- Words and numbers for people: counts, durations, escaping, SQLSTATE names. The one place where a report turns a value into text.
local host = require "host"

local words = {}

words.none = "–"

-- Duration and size with three significant digits, as everywhere in the program; nil is a dash.
-- From a minute on as people say it: "96 s", "12 min 05 s", "3 h 20 min".
function words.time(ns)
	if not ns then return words.none end
	if ns < 60e9 then return host.time(math.floor(ns)) end
	local s = math.floor(ns / 1e9 + 0.5)
	if s < 600 then return string.format("%d s", s) end
	if s < 7200 then return string.format("%d min %02d s", s // 60, s % 60) end
	return string.format("%s h %02d min", words.count(s // 3600), s // 60 % 60)
end

-- Replication lag by heartbeat: they come every 100 ms, so a smaller figure would claim more than is known.
function words.lag(ns) return ns and ns < 100e6 and "< 100 ms" or words.time(ns) end

function words.bytes(n)
	if not n then return words.none end
	return n > -1024 and n < 1024 and string.format("%d B", math.floor(n + 0.5)) or host.bytes(n)
end

-- A number as somebody wrote it: 1, 0.1, 2.5.
function words.plain(x) return x and string.format("%.10g", x) or words.none end

-- 12345 -> "12,345".
function words.count(n)
	if not n then return words.none end
	local digits = string.format("%.0f", n)
	local grouped = digits:reverse():gsub("(%d%d%d)", "%1,"):reverse():gsub("^(-?),", "%1")
	return grouped
end

-- "1 wait", "12 waits"; plural when it is not just an s.
function words.number_of(n, singular, plural) return words.count(n) .. " " .. (n == 1 and singular or plural or singular .. "s") end

-- Three significant digits, fewer where they are noughts: 0.0123 -> "0.012", 412.3 -> "412".
function words.number(x)
	if not x then return words.none end
	if x == 0 then return "0" end
	local magnitude = math.floor(math.log(math.abs(x), 10) + 1e-9)
	if magnitude >= 2 then return words.count(x) end
	if x == math.floor(x) then return string.format("%d", math.floor(x)) end
	return string.format("%." .. math.min(4, 2 - magnitude) .. "f", x)
end

-- A share as a percentage, with no more digits than `of` samples carry. A small one is never written as 0 %.
function words.share(part, of)
	if not part or not of or of == 0 then return words.none end
	local percent = 100 * part / of
	if part == 0 then return "0 %" end
	if percent >= 10 then return string.format("%.0f %%", percent) end
	if percent >= 0.01 then return string.format("%.2f %%", percent) end
	return "< 0.01 %"
end

-- How much of something: "2.3 ×".
function words.times(a, b)
	if not a or not b or b == 0 then return words.none end
	return words.number(a / b) .. " ×"
end

-- Seconds since the start of the run: "62.4 s", "1 h 02 min 03 s".
function words.at(ns)
	if not ns then return words.none end
	local s = ns / 1e9
	if s < 600 then return string.format("%.1f s", s) end
	local whole = math.floor(s)
	local h, m = whole // 3600, whole // 60 % 60
	return (h > 0 and string.format("%d h ", h) or "") .. string.format("%02d min %02d s", m, whole % 60)
end

-- One line of SQL: blanks folded, at most `most` characters.
function words.sql(text, most)
	if not text or text == "" then return "" end
	local line = text:gsub("%s+", " "):gsub("^ ", ""):gsub(" $", "")
	return words.cut(line, most or 200)
end

-- At most n characters of UTF-8, an ellipsis included.
function words.cut(text, n)
	text = words.clean(text)
	if utf8.len(text) <= n then return text end
	return text:sub(1, utf8.offset(text, n) - 1) .. "…"
end

function words.width(text) return utf8.len(text) or #text end

-- Valid UTF-8 without control characters, which neither XML nor a terminal should meet.
function words.clean(text)
	text = tostring(text)
	if not utf8.len(text) then text = text:gsub("[\x80-\xff]", "?") end
	return (text:gsub("[%z\1-\8\11\12\14-\31\127]", "?"):gsub("\u{FFFE}", "?"):gsub("\u{FFFF}", "?"))
end

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
-- For text and attributes of HTML and XML alike.
function words.escape(text)
	return (words.clean(text):gsub("[&<>\"']", entities))
end

local states = {
	["08000"] = "connection exception", ["08003"] = "connection does not exist", ["08006"] = "connection failure", ["0A000"] = "feature not supported",
	["22001"] = "value too long", ["23502"] = "not-null violation", ["23503"] = "foreign key violation", ["23505"] = "unique violation", ["23514"] = "check violation",
	["25P02"] = "in failed transaction", ["25P03"] = "idle in transaction timeout", ["40001"] = "serialization failure", ["40P01"] = "deadlock",
	["42501"] = "insufficient privilege", ["42601"] = "syntax error", ["42703"] = "undefined column", ["42704"] = "undefined object", ["42883"] = "undefined function",
	["42P01"] = "undefined table", ["42P07"] = "duplicate table", ["53100"] = "disk full", ["53200"] = "out of memory", ["53300"] = "too many connections",
	["55P03"] = "lock not available", ["57014"] = "query cancelled", ["57P01"] = "administrator shutdown", ["57P02"] = "crash shutdown",
	["57P03"] = "cannot connect now", POOL = "no free connection in time", LUA = "mistake in the workload", ["58030"] = "I/O error", ["XX000"] = "internal error", ["XX002"] = "index corrupted",
}
-- "55P03 (lock not available)".
function words.sqlstate(code)
	return states[code] and code .. " (" .. states[code] .. ")" or code
end

-- {["55P03"] = 31, ...} -> "31 × 55P03 (lock not available), ...", most frequent first.
function words.errors(by_state, most)
	local list = {}
	for code, n in pairs(by_state or {}) do if n > 0 then list[#list + 1] = { code, n } end end
	table.sort(list, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
	local out, rest = {}, 0
	for i, e in ipairs(list) do
		if i <= (most or 4) then out[i] = words.count(e[2]) .. " × " .. words.sqlstate(e[1]) else rest = rest + e[2] end
	end
	if rest > 0 then out[#out + 1] = words.count(rest) .. " others" end
	return table.concat(out, ", ")
end

-- "public.users" -> "users": the schema that everybody expects need not be said.
function words.relation(name) return name and (name:gsub("^public%.", "")) or nil end

-- "AccessExclusiveLock" -> "ACCESS EXCLUSIVE", as PostgreSQL's manual and LOCK TABLE write it.
function words.mode(mode)
	if not mode then return words.none end
	return (mode:gsub("Lock$", ""):gsub("(%l)(%u)", "%1 %2"):upper())
end


-- What a statement made the server do, worst first: "rewrites users, builds 2 indexes".
local WORKS = { { "rewrite", "rewrites" }, { "scan", "scans" }, { "fk_validation", "validates" }, { "index_build", "builds" }, { "proved", "proved without a scan:" } }
function words.work(list)
	local out = {}
	for _, kind in ipairs(WORKS) do
		local names = {}
		for _, w in ipairs(list or {}) do if w.what == kind[1] then names[#names + 1] = words.relation(w.object or "?") end end
		if #names > 0 then out[#out + 1] = kind[2] .. " " .. (#names > 3 and words.number_of(#names, kind[1] == "index_build" and "index" or "object", kind[1] == "index_build" and "indexes" or nil) or table.concat(names, ", ")) end
	end
	return table.concat(out, "; ")
end

return words
