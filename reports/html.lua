-- The report as one HTML file: no script, nothing fetched, pictures inside. Sections are in lib/section_*.lua.
local facts = require "lib.facts"
local page = require "lib.page"
local plot = require "lib.plot"
local sections = require "lib.sections"
local words = require "lib.words"

local E = words.escape

local function style(home)
	local file = assert(io.open(home .. "/style.css", "rb"))
	local text = file:read("a")
	file:close()
	return text
end

local function load_text(load)
	if not load then return nil end
	if load.mode == "replay" then
		return string.format("replay of %s, %s, %s", load.trace or "a trace", load.pacing == "asap" and "as fast as possible"
			or string.format("paced by %s at %s × the captured speed", load.pacing == "think" and "think time" or "arrival", words.plain(load.speed or 1)),
			load.order == "none" and "sessions not ordered" or "in the order of " .. (load.order == "commit" and "commits" or "commits to the same relations"))
	end
	local think = load.think_mean_ns and ", who think for " .. words.time(load.think_mean_ns) .. " on average" or ""
	if load.mode == "closed" then
		return string.format("closed loop, %s of %s%s", words.number_of(load.pods or 1, "pod"), words.number_of(load.pool or 1, "session"),
			load.users and ", " .. words.number_of(load.users, "user") .. think or think)
	end
	local rate = load.program or words.number(load.rate)
	local what = load.requests_mean and string.format("users per second, each with %s requests%s", words.plain(load.requests_mean), think) or "transactions per second"
	return string.format("%s %s, open loop, %s arrivals, %s with a pool of %s", rate, what, load.arrivals or "poisson",
		words.number_of(load.pods or 1, "pod"), words.number_of(load.pool or 1, "connection"))
end

local KINDS = { dump = "a dump", base = "a base backup", snapshot = "a snapshot", template = "a copy of a template", command = "a clone that a command made", dsn = "a clone" }

local function data_text(target)
	local kind = target and KINDS[target.kind]
	if not kind then return nil end
	local errors = #(target.errors or {})
	return page.join(target.source and page.code(target.source) or "", (target.source and ", " or "") .. kind .. (target.bytes and ", " .. words.bytes(target.bytes) or "")
		.. (target.dumped_from and ", of PostgreSQL " .. target.dumped_from or "") .. (errors > 0 and ", restored with " .. words.number_of(errors, "error", "errors") or ""))
end

-- What the data knew of the world, and were cut off from before they were started.
local function defused_text(target)
	local names, order = {}, {}
	for _, d in ipairs(target and target.defused or {}) do
		if not names[d.what] then names[d.what], order[#order + 1] = {}, d.what end
		table.insert(names[d.what], d.name)
	end
	for i, what in ipairs(order) do order[i] = what .. " " .. table.concat(names[what], ", ") end
	if target and target.isolated ~= nil then order[#order + 1] = target.isolated and "the network" or "not the network: this machine does not allow it" end
	return table.concat(order, "; ")
end

local function opening(report)
	local f = report.runs[1]
	local run = f.run
	local server, host, workload = run.server or {}, run.host or {}, run.workload
	return "<header>" .. '<p class="over">pgrehearse · rehearsal of a schema change</p>' .. "<h1>" .. E(report.title) .. "</h1>" .. page.facts {
		{ "Scenario", run.scenario and page.join(page.code(run.scenario.path or run.scenario.name), run.scenario.sha256 and ", sha256 " .. run.scenario.sha256:sub(1, 12) or "") },
		{ "Workload", workload and page.join(page.code(workload.path or workload.name), string.format(", scale %s", words.plain(workload.scale or 1))) },
		{ "Load", load_text(run.load) },
		{ "Server", (f.server or words.none) .. (server.kind == "sandbox" and ", a sandbox of its own" or "") ..
			(server.standbys and ", " .. words.number_of(server.standbys, "standby", "standbys") or "") },
		{ "Data", data_text(run.target) },
		{ "Cut off from", defused_text(run.target) },
		{ "Machine", host.cores and words.number_of(host.cores, "core") .. (host.memory_bytes and ", " .. words.bytes(host.memory_bytes) or "") .. (host.kernel and ", Linux " .. host.kernel:gsub("^Linux ", "") or "") },
		{ "Seed", run.seed and tostring(run.seed) },
		{ "Started", run.started_at and run.started_at:gsub("T", " "):gsub("%.%d+", ""):gsub("Z$", " UTC") },
	}
end

-- The big word, what it means, and what made it so.
local function band(f, word, extra, small)
	local out = { '<div class="band ' .. page.kind(word) .. (small and " small" or "") .. '"><p class="word">' .. E(word) .. "</p><p>" .. E(facts.meaning[word]:gsub("^%l", string.upper)) .. "." .. (extra or "") .. "</p>" }
	local problem = f and f.problem
	if problem then
		out[#out + 1] = "<p><strong>" .. E(problem.what) .. "</strong>" .. (problem.where and "<br>at " .. E(problem.where) or "") ..
			(problem.hint and '<br><span class="soft">' .. E(problem.hint) .. "</span>" or "") .. "</p>"
	end
	if f and (f.word == "INTERRUPTED" or f.word == "RUNNING") then
		out[#out + 1] = "<p>The record holds the first " .. E(words.at(f.last_ns)) .. "; what follows is about those.</p>"
	end
	for _, reason in ipairs(f and f.invalid or {}) do out[#out + 1] = "<p>Unfit: " .. E(reason) .. "</p>" end
	if f and f.lesson then out[#out + 1] = "<p>" .. E(f.lesson) .. "</p>" end
	out[#out + 1] = "</div>\n"
	return table.concat(out)
end

local function overview(report)
	local rows = {}
	for i, f in ipairs(report.runs) do
		local broken = {}
		for _, c in ipairs(f.criteria) do
			if c.verdict ~= "PASS" and c.verdict ~= "SKIPPED" then broken[#broken + 1] = c.criterion end
		end
		rows[i] = { { html = '<a href="#run' .. i .. '">' .. E(f.drill) .. "</a>" }, page.tag(f.word), words.time(f.duration_ns), string.format("%d of %d", f.held, f.asked),
			#broken > 0 and page.lines(broken) or "", words.time(f.blame.load.n > 0 and f.blame.load.max_ns or nil) }
	end
	return page.table({ { "Drill", "tight" }, { "Verdict", "tight" }, { "Took", "num" }, { "Criteria held", "num" }, { "Not held", "wide" }, { "Longest lock wait", "num" } }, rows)
end

local function run_section(report, i, f)
	local out = {}
	local several = #report.runs > 1
	if several then out[#out + 1] = '<h2 id="run' .. i .. '">Drill: ' .. E(f.drill) .. "</h2>\n" end
	out[#out + 1] = band(f, f.word, nil, several)
	local board = plot.board(report.options.dir, report.options.home, f)
	for _, section in ipairs(sections) do
		local body = section.write(f, board)
		if body and body ~= "" then
			if section.title then out[#out + 1] = '<h3 id="' .. section.id .. i .. '">' .. E(section.title) .. "</h3>\n" end
			out[#out + 1] = body
		end
	end
	return table.concat(out)
end

return function(report)
	local out = { "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>",
		E(report.word .. ": " .. report.title), "</title>\n<style>\n", style(report.options.home), "</style>\n</head>\n<body>\n", opening(report) }
	if #report.runs > 1 then
		out[#out + 1] = "</header><main>\n" .. band(nil, report.word, " " .. E(words.number_of(#report.runs, "drill") .. ", each from a fresh start.")) .. overview(report)
	else
		out[#out + 1] = "</header><main>\n"
	end
	for i, f in ipairs(report.runs) do out[#out + 1] = run_section(report, i, f) end
	out[#out + 1] = "</main>\n<footer>"
	local ids = {}
	for i, f in ipairs(report.runs) do ids[i] = "<code>" .. E(f.run.id or f.name) .. "</code>" end
	out[#out + 1] = "Record " .. table.concat(ids, ", ") .. ", written by pgrehearse " .. E(report.runs[1].run.pgrehearse or "?") .. "; report by pgrehearse " .. E(report.options.version) ..
		". Scripts and data of the pictures are in <code>plots/</code>.</footer>\n</body>\n</html>\n"
	return table.concat(out)
end
