-- How true a replay was to its capture: the measures with their limits, and what is behind them. For the page and for the terminal.
local page = require "lib.page"
local words = require "lib.words"

local fidelity = {}

local MOST_CLASSES, MOST_ERRORS = 40, 30

local function value_of(measure, field)
	local value = measure[field]
	if not value then return words.none end
	return measure.unit == "ns" and words.time(value) or string.format("%.2f %%", 100 * value)
end

local function limit_of(measure) return measure.limit and (measure.least and "≥ " or "≤ ") .. value_of(measure, "limit") or words.none end

local function ratio(x) return x and string.format("%.2f", x) or words.none end

-- Measures as rows of texts: name, what, value, limit, "fit" or "unfit" or "not known", detail.
function fidelity.measures(f)
	local rows = {}
	for i, m in ipairs(f.run.fidelity and f.run.fidelity.measures or {}) do
		rows[i] = { m.name, m.what or "", value_of(m, "value"), limit_of(m), not m.value and "not known" or m.ok and "fit" or "unfit", m.detail or "" }
	end
	return rows
end

local function measures_table(f)
	local rows = fidelity.measures(f)
	for _, r in ipairs(rows) do r[5] = r[5] == "unfit" and page.tag("INVALID") or r[5] end
	return page.table({ { "Measure", "tight" }, { "What", "wide" }, { "Value", "num" }, { "Limit", "num" }, { "", "tight" }, { "", "wide" } }, rows,
		f.run.fidelity.baseline and "Errors and rows are those of the baseline: later ones are the migration's doing." or nil)
end

local function by_captured(a, b)
	if a.captured ~= b.captured then return a.captured > b.captured end
	return a.name < b.name
end

local function classes_table(list)
	local sorted, rows = table.move(list, 1, #list, 1, {}), {}
	table.sort(sorted, by_captured)
	for i = 1, math.min(MOST_CLASSES, #sorted) do
		local c = sorted[i]
		rows[i] = { page.code(c.name), words.count(c.captured), words.count(c.replayed), words.count(c.new_errors), words.count(c.vanished), words.count(c.changed), words.time(c.captured_mean_ns),
			words.time(c.replayed_mean_ns), ratio(c.ratio_p50), ratio(c.ratio_p99), page.code(words.sql(c.sql or "", 80)) }
	end
	return page.table({ { "Class", "tight" }, { "Captured", "num" }, { "Replayed", "num" }, { "New errors", "num" }, { "Vanished", "num" }, { "Changed", "num" }, { "Mean captured", "num" },
		{ "Replayed", "num" }, { "p50 ×", "num" }, { "p99 ×", "num" }, { "Statement", "wide" } }, rows,
		(#sorted > MOST_CLASSES and "The " .. MOST_CLASSES .. " commonest of " .. #sorted .. ". " or "") .. "× is replayed ÷ captured, of statements that succeeded in both.")
end

local function errors_table(list)
	if #list == 0 then return "" end
	local rows = {}
	for i = 1, math.min(MOST_ERRORS, #list) do
		local e = list[i]
		local ok = "00000"
		rows[i] = { e.kind, page.code(e.class or ""), e.captured == ok and "success" or words.sqlstate(e.captured), e.replayed == ok and "success" or words.sqlstate(e.replayed), words.count(e.count),
			e.line and string.format("line %d%s", e.line, (e.file or 0) > 0 and " of file " .. e.file + 1 or "") or "", e.message or "" }
	end
	return page.table({ { "Error", "tight" }, { "Class", "tight" }, { "Captured", "tight" }, { "Replayed", "tight" }, { "Times", "num" }, { "In the log", "tight" }, { "Message of the replay", "wide" } }, rows)
end

local function lag_row(title, lag)
	return { title, words.count(lag.count), words.time(lag.count > 0 and lag.p50_ns or nil), words.time(lag.count > 0 and lag.p99_ns or nil), words.time(lag.count > 0 and lag.max_ns or nil),
		words.share(lag.over_1ms, lag.count), words.share(lag.over_10ms, lag.count), words.share(lag.over_100ms, lag.count) }
end

local function lag_table(lag)
	if not lag or not lag.generator_late or not lag.session_busy then return "" end
	return page.table({ { "Sent later than due", "wide" }, { "Statements", "num" }, { "p50", "num" }, { "p99", "num" }, { "Longest", "num" }, { "> 1 ms", "num" }, { "> 10 ms", "num" }, { "> 100 ms", "num" } },
		{ lag_row("their session was idle: the generator was late", lag.generator_late), lag_row("their session was busy: the server was not done", lag.session_busy) })
end

local function profile_table(d)
	local c, v, l, r = d.concurrency or {}, d.dispersion or {}, d.locks or {}, d.refused
	local t = d.skip_locked
	return page.facts {
		{ "Writes that were refused, as was wanted", r and string.format("%d, of %s when captured; %d by the server", r.writes + r.by_server, words.time(r.busy_ns), r.by_server) },
		{ "Statements under way, replayed ÷ captured", c.area_ratio and string.format("%.2f in sum, %s at the most; correlation of the seconds %s", c.area_ratio, ratio(c.max_ratio), ratio(c.correlation)) },
		{ "Arrivals in a second, variance ÷ mean", v.captured and string.format("%.2f captured, %.2f sent", v.captured, v.replayed or 0) },
		{ "Rows taken with SKIP LOCKED", t and string.format("%d, of them %d in the place of another: who is the first is a matter of moments%s", t.rows, t.otherwise,
			t.released > 0 and string.format("; %d statements sent before their turn for that", t.released) or "") },
		{ "Deadlocks", string.format("%d new, %d vanished", l.deadlocks_new or 0, l.deadlocks_vanished or 0) },
		{ "Lock timeouts", string.format("%d new, %d vanished", l.lock_timeouts_new or 0, l.lock_timeouts_vanished or 0) },
	}
end

function fidelity.section(f)
	local d = f.run.fidelity
	if not d then return nil end
	return measures_table(f) .. classes_table(d.classes or {}) .. errors_table(d.errors or {}) .. lag_table(d.lag) .. profile_table(d)
end

return fidelity
