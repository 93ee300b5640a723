-- The server during each phase, long commands, and the settings of the migration's session, for the HTML report.
local page = require "lib.page"
local words = require "lib.words"

local E = words.escape
local server = {}

local MOST_EVENTS = 8
local MOST_COMMANDS = 30

-- "nightly report (pid 12), idle in transaction for 3.2 s"
local function who(reading, age)
	if type(reading) ~= "table" then return nil end
	local name = reading.name or reading.application_name
	local text = (name and name ~= "" and name or reading.kind or "a session") .. (reading.pid and string.format(" (pid %d)", reading.pid) or "")
	if reading.state and reading.state ~= "active" then text = text .. ", " .. reading.state end
	return age and text .. ", " .. words.time(age) or text
end

-- Active sessions by what they waited for, the most frequent first: on average over the looks.
local function profile(p)
	local list = {}
	for name, n in pairs(p.wait_events or {}) do list[#list + 1] = { name, n } end
	table.sort(list, function(a, b) return a[2] > b[2] or (a[2] == b[2] and a[1] < b[1]) end)
	local out = {}
	for i, e in ipairs(list) do
		if i > MOST_EVENTS then break end
		out[i] = string.format("%s %s", words.number(e[2] / math.max(p.profile_samples or 1, 1)), e[1])
	end
	return #out > 0 and page.lines(out) or "nobody was active"
end

local function phases(f)
	local rows = {}
	for i, p in ipairs(f.run.phase_state or {}) do
		local fetched = p.blocks_fetched or 0
		rows[i] = { p.phase, profile(p),
			p.checkpoints_timed and string.format("%d + %d", p.checkpoints_timed, p.checkpoints_requested or 0),
			fetched > 0 and string.format("%.2f %%", 100 * (p.blocks_hit or 0) / fetched) or nil,
			p.xmin and page.join(words.number_of(p.xmin.age or 0, "transaction"), ": ", who(p.xmin)) or nil,
			p.longest_xact and who(p.longest_xact, p.longest_xact.age_ns) or nil,
			p.idle_in_transaction and string.format("%s, %s", words.number_of(p.idle_in_transaction.n or 0, "session"), words.time(p.idle_in_transaction.longest_ns)) or "none",
			#(p.autovacuum or {}) > 0 and table.concat(p.autovacuum, ", ") or "",
			p.locks and p.locks.n and p.locks.room and string.format("%s of %s", words.count(p.locks.n), words.count(p.locks.room)) or nil }
	end
	if #rows == 0 then return "" end
	return page.table({ { "Phase", "tight" }, { "Sessions active, on average" }, { "Checkpoints: by time + asked for", "num" }, { "From cache", "num" }, { "Vacuum held back by" },
		{ "Longest transaction" }, { "Idle in transaction" }, { "Autovacuum on", "wide" }, { "Shared lock table, at most", "num" } }, rows)
end

-- Of an interval what its machine was like: the most in its phase `p`, of memory the least that was left.
function server.gather_host(p, interval)
	local h, s = interval.host, (interval.end_ns - interval.start_ns) / 1e9
	if not h then return end
	local most = p.host or {}
	p.host = most
	local function keep(key, value) if value then most[key] = math.max(most[key] or 0, value) end end
	keep("cpu", h.cpu)
	keep("runnable", h.runnable)
	keep("blocked", h.blocked)
	keep("read_per_s", h.disk_read_bytes and h.disk_read_bytes / s)
	keep("written_per_s", h.disk_write_bytes and h.disk_write_bytes / s)
	keep("disk_busy", h.disk_busy)
	if h.memory_available_bytes then most.memory_left = math.min(most.memory_left or math.huge, h.memory_available_bytes) end
end

local function state_of(f, name)
	for _, p in ipairs(f.run.phase_state or {}) do if p.phase == name then return p end end
	return {}
end

local function percent(share) return share and words.share(share, 1) or nil end

local function machine(f)
	local rows = {}
	for _, phase in ipairs(f.phases) do
		local p, h = state_of(f, phase.name), (f.by_phase[phase.name] or {}).host or {}
		if next(p) or next(h) then
			rows[#rows + 1] = { phase.name, p.temp_bytes and words.bytes(p.temp_bytes), p.deadlocks and words.count(p.deadlocks), p.prepared and words.count(p.prepared),
				p.xid_age and words.count(p.xid_age), percent(h.cpu), h.runnable and words.count(h.runnable), h.blocked and words.count(h.blocked),
				h.read_per_s and words.bytes(h.read_per_s), h.written_per_s and words.bytes(h.written_per_s), percent(h.disk_busy), h.memory_left and words.bytes(h.memory_left) }
		end
	end
	if #rows == 0 then return "" end
	return page.table({ { "Phase", "tight" }, { "Temporary files", "num" }, { "Deadlocks", "num" }, { "Prepared transactions", "num" }, { "Transactions since the oldest freeze", "num" }, { "Processors busy", "num" },
		{ "Processes to run", "num" }, { "Waiting for a disk", "num" }, { "Read per second", "num" }, { "Written per second", "num" }, { "Busiest disk", "num" }, { "Memory left", "num" } }, rows) ..
		'<p class="note">Of prepared transactions and of the machine the most in the phase, of memory the least; of a server on another machine that is not known.</p>\n'
end

-- The same of one phase in a sentence, as far as it is known; nil when nothing is.
function server.sentence(f, name)
	local p, h, parts = state_of(f, name), (f.by_phase[name] or {}).host or {}, {}
	local function add(...) parts[#parts + 1] = string.format(...) end
	if h.cpu then add("the machine's processors %s busy", percent(h.cpu)) end
	if h.runnable then add("%s to run", words.number_of(h.runnable, "process", "processes")) end
	if h.disk_busy then add("the busiest disk %s", percent(h.disk_busy)) end
	if h.memory_left then add("%s of memory left", words.bytes(h.memory_left)) end
	if (p.temp_bytes or 0) > 0 then add("%s of temporary files", words.bytes(p.temp_bytes)) end
	if (p.deadlocks or 0) > 0 then add("%s", words.number_of(p.deadlocks, "deadlock")) end
	if (p.prepared or 0) > 0 then add("%s", words.number_of(p.prepared, "prepared transaction")) end
	return #parts > 0 and "During " .. name .. ", at worst: " .. table.concat(parts, ", ") .. "." or nil
end

local function change(before, after, format)
	if not before or not after then return nil end
	return before == after and "" or (after > before and "+ " or "− ") .. format(math.abs(after - before))
end

local function tables(f)
	local rows = {}
	for _, p in ipairs(f.run.phase_state or {}) do
		if p.phase ~= "warmup" then
			for _, t in ipairs(p.tables or {}) do
				rows[#rows + 1] = { t.table, p.phase, words.bytes(t.bytes_end or t.bytes_start), change(t.bytes_start, t.bytes_end, words.bytes), words.count(t.live_end), words.count(t.dead_end), change(t.dead_start, t.dead_end, words.count) }
			end
		end
	end
	table.sort(rows, function(a, b) return a[1] < b[1] end)
	if #rows == 0 then return "" end
	return page.details("Sizes and dead rows of the tables in use", page.table({ { "Table", "tight" }, { "Phase", "tight" }, { "Size at its end", "num" }, { "Change", "num" }, { "Rows", "num" },
		{ "Dead rows", "num" }, { "Change", "num" } }, rows) .. '<p class="note">With indexes and TOAST; rows as the server estimates them.</p>\n')
end

function server.section(f)
	local out = phases(f) .. machine(f) .. tables(f)
	return out ~= "" and out or nil
end

-- Events of type `progress`, folded to a line for each command and phase of it.
function server.gather_progress(list, event)
	local key = table.concat({ event.pid or 0, event.command or "", event.table or "", event.phase or "" }, "\0")
	local line = list[key]
	if not line then
		if #list >= 1000 then return end
		line = { command = event.command, table = event.table, application_name = event.application_name, phase = event.phase, from_ns = event.t_ns }
		list[key] = line
		list[#list + 1] = line
	end
	line.to_ns, line.done, line.total, line.unit = event.t_ns, event.done, event.total, event.unit
	local w = event.waiting_for
	if w and (not line.waiting_for or (w.xact_age_ns or 0) >= (line.waiting_for.xact_age_ns or 0)) then line.waiting_for = w end
end

function server.commands(f)
	local rows = {}
	for i, p in ipairs(f.progress) do
		if i > MOST_COMMANDS then
			rows[i] = { "", "", "and " .. (#f.progress - MOST_COMMANDS) .. " more in events.jsonl" }
			break
		end
		local w = p.waiting_for
		rows[i] = { p.command, p.table, p.phase, words.at(p.from_ns), words.at(p.to_ns), p.done and p.total and string.format("%s of %s %s", words.count(p.done), words.count(p.total), p.unit or "") or "",
			w and string.format("%s (pid %d), whose transaction was %s old", w.application_name ~= "" and w.application_name or "a session", w.pid or 0, words.time(w.xact_age_ns)) or "" }
	end
	if #rows == 0 then return nil end
	return page.table({ { "Command", "tight" }, { "Table", "tight" }, { "Phase" }, { "First seen", "num" }, { "Last seen", "num" }, { "Done", "num" }, { "Waited for", "wide" } }, rows)
end

function server.settings(f)
	local rows = {}
	for _, s in ipairs(f.run.migration_settings or {}) do rows[#rows + 1] = { page.code(s.name or ""), page.code(tostring(s.value)), s.source } end
	if #rows == 0 then return "" end
	return page.details("Settings of the migration's session, before its first step", page.table({ { "Setting" }, { "Value", "wide" }, { "From", "tight" } }, rows))
end

return server
