-- Plots of a run: data and gnuplot scripts are written beside the report, gnuplot makes SVG of them, and the SVG goes into the page.
local host = require "host"
local words = require "lib.words"

local plot = {}

-- Shades of the phases and colours of their curves, of the palette by Okabe and Ito, which most colour-blind people can tell apart.
local shade = { migration = "#E69F00", rollback = "#CC79A7", baseline = nil }
local line = { baseline = "#0072B2", migration = "#D55E00", rollback = "#CC79A7", recovery = "#009E73" }
local spare = { "#56B4E9", "#F0E442", "#333333" }

-- In the page colours follow the theme; in the files they stay as gnuplot wrote them.
local theme = {
	["51, 51, 51"] = "currentColor", ["221, 221, 221"] = "var(--grid)", ["0, 114, 178"] = "var(--blue)", ["230, 159, 0"] = "var(--orange)", ["213, 94, 0"] = "var(--vermilion)",
	["0, 158, 115"] = "var(--green)", ["204, 121, 167"] = "var(--purple)", ["86, 180, 233"] = "var(--sky)", ["240, 228, 66"] = "var(--yellow)",
}

local function read_all(path)
	local file = io.open(path, "rb")
	if not file then return nil end
	local text = file:read("a")
	file:close()
	return text
end

-- What the user can mend (a full disk, a folder that cannot be written) is an error without a traceback.
local function must(ok, why)
	if not ok then error({ message = why }, 0) end
	return ok
end

local function write_all(path, text)
	local file = must(io.open(path, "wb"))
	must(file:write(text))
	must(file:close())
end

-- A label for gnuplot's double quotes.
local function quoted(text) return (words.clean(text):gsub('[\\"]', "\\%0"):gsub("[\n\t]", " "):gsub("`", "'")) end

-- A row of bars at `at`: its label is a format to gnuplot.
local function tic(label, at) return string.format('"%s" %.1f', (quoted(words.cut(label, 24)):gsub("%%", "%%%%")), at) end

-- Number without exponent surprises; nil breaks the line that is drawn.
local function number(x)
	if x == nil then return "NaN" end
	return math.type(x) == "integer" and tostring(x) or string.format("%.6g", x)
end

-- Seconds, minutes or hours, whichever gives axis labels of few digits.
local function time_axis(f)
	local s = f.last_ns / 1e9
	if s > 3 * 3600 then return 3600e9, "hours since the start" end
	if s > 600 then return 60e9, "minutes since the start" end
	return 1e9, "seconds since the start"
end

local decades = { { 1e3, "1 µs" }, { 1e4, "10 µs" }, { 1e5, "100 µs" }, { 1e6, "1 ms" }, { 1e7, "10 ms" }, { 1e8, "100 ms" }, { 1e9, "1 s" }, { 1e10, "10 s" }, { 1e11, "100 s" }, { 1e12, "1,000 s" }, { 1e13, "10,000 s" }, { 1e14, "100,000 s" } }

-- Whole decades around [low, high] ns: tics, lowest, highest.
local function time_tics(low, high)
	local from, to = 10 ^ math.floor(math.log(math.max(low, 1e3), 10)), 10 ^ math.ceil(math.log(math.max(high, 1e4), 10) + 1e-9)
	local tics = {}
	for _, d in ipairs(decades) do
		if d[1] >= from and d[1] <= to then tics[#tics + 1] = string.format('"%s" %g', d[2], d[1]) end
	end
	return table.concat(tics, ", "), string.format("%g", from), string.format("%g", to)
end

-- Phases as shaded areas with their names, steps as a ribbon of numbered bars above the plot and faint lines
-- through it, changes of the traffic as dashed lines with a letter beside them.
local function backdrop(f, scale)
	local out = {}
	local function add(...) out[#out + 1] = string.format(...) end
	local span = math.max(f.last_ns / scale, 1e-9)
	for i, p in ipairs(f.phases) do
		local from, to = p.start_ns / scale, p.end_ns / scale
		local colour = shade[p.name]
		if colour then add('set object %d rectangle from first %.6g, graph 0 to first %.6g, graph 1 behind fc rgb "%s" fs transparent solid 0.10 noborder', 100 + i, from, to, colour) end
		if i > 1 then add('set arrow from first %.6g, graph 0 to first %.6g, graph 1 nohead back lc rgb "#333333" lw 0.5', from, from) end
		if (to - from) / span > 0.06 then add('set label "%s" at first %.6g, graph 1 left offset char 0.5, char -0.8 noenhanced font ",11" textcolor rgb "#333333" front', quoted(p.name), from) end
	end
	local free = -1
	for _, s in ipairs(f.steps) do
		local from, to = s.start_ns / scale, (s.start_ns + (s.duration_ns or 0)) / scale
		to = math.max(to, from + span * 0.0025)
		add('set object %d rectangle from first %.6g, graph 1 to first %.6g, graph 1.03 noclip fc rgb "#333333" fs transparent solid %s noborder', 200 + s.number, from, to, s.number % 2 == 1 and "0.55" or "0.30")
		add('set arrow from first %.6g, graph 0 to first %.6g, graph 1 nohead back dt 3 lc rgb "#333333" lw 0.35', from, from)
		if (from + to) / 2 >= free then
			add('set label "%d" at first %.6g, graph 1.03 center offset 0, char 0.55 noenhanced font ",10" textcolor rgb "#333333"', s.number, (from + to) / 2)
			free = (from + to) / 2 + span * 0.018
		end
	end
	free = -1
	for _, c in ipairs(f.changes) do
		local at = c.t_ns / scale
		add('set arrow from first %.6g, graph 0 to first %.6g, graph 1 nohead back dt 2 lc rgb "#333333" lw 0.5', at, at)
		if at >= free then
			add('set label "%s" at first %.6g, graph 1 left offset char 0.3, char -2.0 noenhanced font ",11" textcolor rgb "#333333" front', c.letter, at)
			free = at + span * 0.018
		end
	end
	return table.concat(out, "\n") .. "\n"
end

-- A round step that gives about four tics up to `most`.
local function step_for(most)
	local power = 10 ^ math.floor(math.log(most / 4, 10))
	for _, m in ipairs { 1, 2, 2.5, 5, 10 } do
		if most / (m * power) <= 4.5 then return m * power end
	end
end

-- Range and tics of an axis from 0.
local function from_zero(most, least)
	local top = math.max(most, least)
	return { YMAX = string.format("%.6g", top * 1.15), YSTEP = string.format("%.6g", step_for(top)) }
end

local function max_of(points, key)
	local most = 0
	for _, p in ipairs(points) do
		local v = type(key) == "function" and key(p) or p[key]
		if v and v > most then most = v end
	end
	return most
end

-- SVG for the page: no declaration, no background, no ids, colours by theme. None of our plots uses point symbols, so <defs> can go.
local function inline(svg, title)
	svg = svg:gsub("^.-(<svg)", "%1", 1):gsub("<title>.-</title>", "", 1):gsub("<desc>.-</desc>", "", 1):gsub("<defs>.-</defs>", "", 1)
	svg = svg:gsub("^<svg(.-)>", function(attributes)
		local box = attributes:match('viewBox="([^"]+)"') or "0 0 1000 300"
		return '<svg viewBox="' .. box .. '" role="img" aria-label="' .. words.escape(title) .. '">'
	end, 1)
	svg = svg:gsub('<rect x="0" y="0" [^>]-fill="#[fF]+"/>', "", 1):gsub(' color="[^"]*"', ""):gsub(' id="[^"]*"', "")
	svg = svg:gsub("([%a-]+)%s*=%s*(['\"])%s*rgb%(%s*(%d+),%s*(%d+),%s*(%d+)%)%s*%2", function(attribute, _, r, g, b)
		local colour = theme[r .. ", " .. g .. ", " .. b]
		return colour and attribute .. '="' .. colour .. '"' or nil
	end)
	svg = svg:gsub('%s*font%-family="[^"]*"', ""):gsub("\r", ""):gsub("\t", "")
	local emptied
	repeat svg, emptied = svg:gsub("<g [^>]*>%s*</g>%s*", "") until emptied == 0
	return svg
end

-- A drawing board for the run f: files go to <dir>/plots with the run's name in front.
function plot.board(dir, home, f)
	local board = { folder = dir .. "/plots", prefix = f.name:gsub("[^%w_-]", "_"), f = f, home = home }
	board.scale, board.xlabel = time_axis(f)
	return setmetatable(board, { __index = plot })
end

-- Writes rows (lists of numbers) as data under a comment that names the columns. Returns the file's name.
function plot:data(name, columns, rows)
	local out = { "# " .. table.concat(columns, "\t") }
	for _, r in ipairs(rows) do
		local cells = {}
		for i = 1, #columns do cells[i] = type(r[i]) == "string" and r[i] or number(r[i]) end
		out[#out + 1] = table.concat(cells, "\t")
	end
	local file = self.prefix .. "-" .. name .. ".dat"
	must(host.make_dirs(self.folder))
	write_all(self.folder .. "/" .. file, table.concat(out, "\n") .. "\n")
	return file
end

-- Draws with the script plots/<template>.gp, whose @WORDS@ are taken from values. Returns the SVG, or nil and the reason.
function plot:draw(name, template, title, values)
	local full = self.prefix .. "-" .. name
	local v = { NAME = full, ID = full:gsub("[^%w]", "_"), TITLE = quoted(title), XLABEL = self.xlabel, WIDTH = 1000, HEIGHT = 300, TOP = 56 }
	for key, value in pairs(values) do v[key] = value end
	local common, own = read_all(self.home .. "/plots/common.gp"), read_all(self.home .. "/plots/" .. template .. ".gp")
	if not common or not own then error("plots/" .. template .. ".gp is missing from " .. self.home) end
	local fill = function(text) return (text:gsub("@(%u+)@", function(key) return tostring(assert(v[key], key)) end)) end
	local script = fill(common)
	if not values.CROSSTIME then
		script = script .. string.format("set xrange [0:%.6g]\n", math.max(self.f.last_ns / self.scale, 0.1)) .. backdrop(self.f, self.scale)
	end
	write_all(self.folder .. "/" .. full .. ".gp", script .. fill(own))
	if plot.missing then return nil, plot.missing end
	local code, output = host.run(self.folder, "gnuplot", full .. ".gp")
	if not code then
		plot.missing = "gnuplot is not installed, so there are no pictures; the numbers are in the tables, and plots/ holds the scripts and data to draw them with"
		return nil, plot.missing
	end
	local svg = code == 0 and read_all(self.folder .. "/" .. full .. ".svg")
	if not svg or svg == "" then return nil, "gnuplot could not draw " .. full .. ".gp: " .. words.cut(output, 300) end
	return inline(svg, title)
end

-- The columns of the time series that all timelines are drawn from.
function plot:timeline()
	if self.timeline_file then return self.timeline_file end
	local rows, columns = {}, { "start", "length", "p50_ns", "p99_ns", "max_ns", "planned_per_s", "ok_per_s", "failed_per_s", "backlog", "waiting", "longest_wait_ns", "wal_bytes_per_s" }
	for _, s in ipairs(self.f.standbys) do
		local name = s.name:gsub("%s", "_")
		columns[#columns + 1] = name .. "_replay_bytes"
		columns[#columns + 1] = name .. "_heartbeat_s"
	end
	local function row(p, start)
		local s = math.max(p.end_ns - p.start_ns, 1) / 1e9
		local r = { start / self.scale, s, p.p50_ns, p.p99_ns, p.max_ns, p.planned / s, p.ok / s, p.failed / s, p.backlog, p.waiting, p.longest_wait_ns, p.wal_bytes / s }
		for i, standby in ipairs(self.f.standbys) do
			local at = p.lag[standby.name] or {}
			r[11 + 2 * i] = at.bytes
			r[12 + 2 * i] = at.heartbeat_ns and at.heartbeat_ns / 1e9
		end
		return r
	end
	-- A step is drawn up to the next row: where nothing follows, or something is not known from there on, the row is repeated at its end.
	local previous
	for i, p in ipairs(self.f.points) do
		local r = row(p, p.start_ns)
		for c = 3, previous and #columns or 0 do
			if previous[c] and not r[c] then
				rows[#rows + 1] = row(self.f.points[i - 1], p.start_ns)
				break
			end
		end
		rows[#rows + 1] = r
		previous = r
	end
	local last = self.f.points[#self.f.points]
	if last then rows[#rows + 1] = row(last, last.end_ns) end
	self.timeline_file = self:data("timeline", columns, rows)
	return self.timeline_file
end

function plot:response()
	local points = self.f.points
	local low = math.huge
	for _, p in ipairs(points) do if p.p50_ns and p.p50_ns > 0 then low = math.min(low, p.p50_ns) end end
	if low == math.huge then return nil, "No transaction ended." end
	local tics, from, to = time_tics(low, max_of(points, "max_ns"))
	return self:draw("response", "response", "Response time", { DATA = self:timeline(), HEIGHT = 340, TIMETICS = tics, YMIN = from, YMAX = to, YLABEL = "" })
end

local function rate_of(key) return function(p) return p[key] / (math.max(p.end_ns - p.start_ns, 1) / 1e9) end end

-- One curve or more over time, from 0; curves is what follows gnuplot's `plot`.
function plot:series(name, title, unit, most, least, curves, height)
	local values = from_zero(most, least)
	values.DATA, values.HEIGHT, values.YLABEL, values.CURVES = self:timeline(), height or 200, unit, table.concat(curves, ", \\\n\t")
	return self:draw(name, "series", title, values)
end

function plot:rates()
	local data = self:timeline()
	local most = math.max(max_of(self.f.points, rate_of("planned")), max_of(self.f.points, rate_of("ok")))
	return self:series("rates", "Transactions per second", "per second", most, 1, {
		string.format('"%s" using 1:7 with fillsteps fc rgb "#56B4E9" fs transparent solid 0.40 title "done"', data),
		string.format('"%s" using 1:6 with steps lc rgb "#333333" lw 1 title "planned"', data) }, 230)
end

function plot:failed()
	return self:series("failed", "Failed transactions per second", "per second", max_of(self.f.points, rate_of("failed")), 1, {
		string.format('"%s" using 1:8 with fillsteps fc rgb "#D55E00" fs transparent solid 0.35 notitle', self:timeline()),
		string.format('"%s" using 1:8 with steps lc rgb "#D55E00" lw 1.2 notitle', self:timeline()) }, 170)
end

function plot:waiting()
	return self:series("waiting", "Sessions waiting for a lock, at the most", "sessions", max_of(self.f.points, "waiting"), 4, {
		string.format('"%s" using 1:10 with fillsteps fc rgb "#D55E00" fs transparent solid 0.35 notitle', self:timeline()),
		string.format('"%s" using 1:10 with steps lc rgb "#D55E00" lw 1.2 notitle', self:timeline()) }, 180)
end

function plot:backlog()
	return self:series("backlog", "Transactions due and not yet started", "transactions", max_of(self.f.points, "backlog"), 4, {
		string.format('"%s" using 1:9 with fillsteps fc rgb "#0072B2" fs transparent solid 0.30 notitle', self:timeline()),
		string.format('"%s" using 1:9 with steps lc rgb "#0072B2" lw 1.2 notitle', self:timeline()) }, 180)
end

local function lag(self, name, title, unit, column, divisor, least)
	local curves, most = {}, 0
	for i, s in ipairs(self.f.standbys) do
		curves[i] = string.format('"%s" using 1:(column(%d) / %d) with steps lt %d title "%s"', self:timeline(), column + 2 * i, divisor, (i - 1) % 6 + 1, quoted(s.name))
		most = math.max(most, column == 11 and (s.bytes or 0) / divisor or column == 12 and (s.heartbeat_ns or 0) / 1e9)
	end
	return self:series(name, title, unit, most, least, curves)
end

function plot:lag_bytes() return lag(self, "lag-bytes", "Replication lag: bytes not yet replayed", "MB", 11, 1048576, 0.1) end
function plot:lag_time() return lag(self, "lag-time", "Replication lag: age of the newest heartbeat on the standby", "seconds", 12, 1, 0.01) end

-- A band a table, in the upper half of which no reads were possible, in the lower no writes. Windows too short to be seen are widened.
function plot:availability(a)
	local rows, tics, at = { reads = {}, writes = {} }, {}, {}
	for i, name in ipairs(a.tables) do
		if i > 16 then break end
		at[name], tics[i] = i, tic(name, i - 0.5)
	end
	local least = self.f.last_ns / self.scale * 0.0015
	for _, w in ipairs(a.longest) do
		local list, i = rows[w.access], at[w.table]
		if list and i then
			local from, to = w.start_ns / self.scale, (w.start_ns + w.length_ns) / self.scale
			local top = w.access == "reads" and i - 0.85 or i - 0.5
			list[#list + 1] = { from, math.max(to, from + least), top, top + 0.35 }
		end
	end
	local curves, data = {}, nil
	for _, kind in ipairs { { "reads", "#0072B2", "no reads" }, { "writes", "#D55E00", "no writes" } } do
		if #rows[kind[1]] > 0 then
			data = self:data("blocked-" .. kind[1], { "from", "to", "low", "high" }, rows[kind[1]])
			curves[#curves + 1] = string.format('"%s" using (($1+$2)/2):(($3+$4)/2):1:2:3:4 with boxxyerror fc rgb "%s" fs solid 0.9 noborder title "%s"', data, kind[2], kind[3])
		end
	end
	if #curves == 0 then return nil, "Only locks on rows were refused." end
	return self:draw("availability", "bars", "When tables could not be read or written", { DATA = self.prefix .. "-blocked-*.dat", HEIGHT = 110 + 26 * #tics, YLABEL = "",
		ROWS = #tics, TICS = table.concat(tics, ", "), CURVES = table.concat(curves, ", \\\n\t") })
end

-- Swim lanes: a lane for a statement of the migration, from when it began until nobody waited behind it, and below it one for each who waited.
local LANES, VICTIMS = 5, 4
function plot:lanes()
	local rows, tics, row = { blocker = {}, granted = {}, failed = {} }, {}, 0
	local least = self.f.last_ns / self.scale * 0.0015
	local function bar(list, from_ns, to_ns, part)
		local from, to = from_ns / self.scale, to_ns / self.scale
		list[#list + 1] = { from, math.max(to, from + least), row - 0.5 - part, row - 0.5 + part }
	end
	local function lane(label)
		row = row + 1
		tics[row] = tic(label, row - 0.5)
	end
	local shown = 0
	for _, g in ipairs(self.f.blame.groups) do
		if g.migration and #g.attempts > 0 and shown < LANES then
			shown = shown + 1
			lane(g.step or words.sql(g.sql or "the migration", 24))
			for _, a in ipairs(g.attempts) do
				local s = self.f.statements[a.id] or {}
				bar(rows.blocker, s.start_ns or a.first_ns, math.max(s.end_ns or 0, a.last_ns), 0.32)
			end
			for i, v in ipairs(g.victims) do
				if i > VICTIMS then break end
				lane(v.role == "load" and (v.transaction or "?") .. (v.version and " " .. v.version or "") or v.role)
				for _, w in ipairs(v.drawn) do bar(w[3] == "granted" and rows.granted or rows.failed, w[1], w[2], 0.22) end
			end
		end
	end
	if shown == 0 then return nil end
	local curves = {}
	for _, kind in ipairs { { "blocker", "#333333", "in the way", "solid 0.9" }, { "granted", "#E69F00", "waited", "transparent solid 0.5" }, { "failed", "#D55E00", "waited in vain", "transparent solid 0.8" } } do
		if #rows[kind[1]] > 0 then
			local data = self:data("lanes-" .. kind[1], { "from", "to", "low", "high" }, rows[kind[1]])
			curves[#curves + 1] = string.format('"%s" using (($1+$2)/2):(($3+$4)/2):1:2:3:4 with boxxyerror fc rgb "%s" fs %s noborder title "%s"', data, kind[2], kind[4], kind[3])
		end
	end
	return self:draw("lanes", "bars", "Who stood in the way, and who waited", { DATA = self.prefix .. "-lanes-*.dat", HEIGHT = 110 + 24 * #tics, YLABEL = "",
		ROWS = #tics, TICS = table.concat(tics, ", "), CURVES = table.concat(curves, ", \\\n\t") })
end

function plot:wal()
	return self:series("wal", "Write-ahead log written", "MB per second", max_of(self.f.points, rate_of("wal_bytes")) / 2 ^ 20, 0.1, {
		string.format('"%s" using 1:($12 / 1048576) with steps lt 4 notitle', self:timeline()) }, 180)
end

function plot:curve()
	local curves, low, high, reach, extra = {}, math.huge, 0, 10, 0
	for i, p in ipairs(self.f.phases) do
		if p.curve and #p.curve > 1 and p.name ~= "warmup" then
			local file = self:data("curve-" .. i, { "one_over_one_minus_q", "ns" }, p.curve)
			local colour = line[p.name]
			if not colour then
				extra = extra % #spare + 1
				colour = spare[extra]
			end
			curves[#curves + 1] = string.format('"%s" using 1:2 with lines lw 1.8 lc rgb "%s" title "%s"', file, colour, quoted(p.name))
			low, high, reach = math.min(low, p.curve[1][2]), math.max(high, p.curve[#p.curve][2]), math.max(reach, p.curve[#p.curve][1])
		end
	end
	if #curves == 0 then return nil, "No transaction ended." end
	local tics, from, to = time_tics(low, high)
	return self:draw("curve", "curve", "Response time by percentile", { CROSSTIME = true, DATA = self.prefix .. "-curve-*.dat", HEIGHT = 340, TOP = 40, TIMETICS = tics, YMIN = from, YMAX = to, YLABEL = "",
		XMAX = string.format("%.6g", reach), CURVES = table.concat(curves, ", \\\n\t") })
end

function plot:backfill()
	local curves = {}
	for i, b in ipairs(self.f.backfills) do
		local rows, total = {}, 0
		for _, e in ipairs(b.points) do total = math.max(total, e.total or 0, e.rows or 0) end
		for _, e in ipairs(b.points) do rows[#rows + 1] = { e.t_ns / self.scale, total > 0 and 100 * (e.rows or 0) / total or 0, e.rows, (e.paused_ns or 0) / 1e9 } end
		local file = self:data("backfill-" .. i, { "time", "percent", "rows", "paused_s" }, rows)
		curves[i] = string.format('"%s" using 1:2 with lines lt %d lw 1.8 title "%s"', file, (i - 1) % 6 + 1, quoted(b.step))
	end
	return self:draw("backfill", "backfill", "Backfill: rows done", { DATA = self.prefix .. "-backfill-*.dat", HEIGHT = 200, YLABEL = "", CURVES = table.concat(curves, ", \\\n\t") })
end

return plot
