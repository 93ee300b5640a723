-- JUnit XML for CI: a test suite a drill, a test case a criterion. Fits both the schema of Ant's JUnit task as many tools check it
-- (attributes id, package, hostname, timestamp without a zone; properties first; system-out and system-err last) and that of
-- Jenkins' xUnit plugin, which is laxer but wants times with at most three decimals.
local availability = require "lib.availability"
local facts = require "lib.facts"
local felt = require "lib.felt"
local words = require "lib.words"

local E = words.escape

local function seconds(ns) return string.format("%.3f", (ns or 0) / 1e9) end

-- FAIL is a failure; what could not be told is an error.
local outcome = { FAIL = "failure", INVALID = "error", INCONCLUSIVE = "error" }

-- The cases of a run: first that it was carried out and is fit to be judged, so that a suite is never empty.
local function cases_of(f)
	local cases = { { name = "the rehearsal was carried out" } }
	local first = cases[1]
	if f.word == "FAILED" or f.word == "INTERRUPTED" or f.word == "RUNNING" or f.word == "NOT JUDGED" then
		local problem = f.problem or {}
		first.kind, first.type, first.message = "error", f.word, problem.what or facts.meaning[f.word]
		first.text = table.concat({ problem.where or "", problem.hint or "" }, "\n")
	elseif #f.invalid > 0 then
		first.kind, first.type, first.message, first.text = "error", "INVALID", "the run is unfit to be judged", table.concat(f.invalid, "\n")
	end
	for _, c in ipairs(f.criteria) do
		local kind = outcome[c.verdict]
		if c.verdict == "SKIPPED" then kind = "skipped" elseif c.verdict ~= "PASS" and not kind then kind = "error" end
		cases[#cases + 1] = { name = c.criterion, kind = kind, type = c.verdict, message = kind and "observed " .. (c.observed or "nothing"), text = c.evidence }
	end
	return cases
end

local function suite(f, id)
	local cases = cases_of(f)
	local failures, errors, skipped = 0, 0, 0
	for _, c in ipairs(cases) do
		if c.kind == "failure" then failures = failures + 1 elseif c.kind == "error" then errors = errors + 1 elseif c.kind then skipped = skipped + 1 end
	end
	local run = f.run
	local name = (run.scenario and run.scenario.name or run.workload and run.workload.name or "run") .. "." .. f.drill
	local stamp = tostring(run.started_at or ""):match("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d") or "1970-01-01T00:00:00"
	local out = {}
	local function add(...) out[#out + 1] = string.format(...) end
	add('  <testsuite id="%d" name="%s" package="pgrehearse" hostname="localhost" timestamp="%s" tests="%d" failures="%d" errors="%d" skipped="%d" time="%s">', id, E(name), stamp, #cases, failures, errors, skipped,
		seconds(f.duration_ns))
	out[#out + 1] = "    <properties>"
	for _, p in ipairs { { "verdict", f.word }, { "record", run.id or f.name }, { "title", f.title }, { "server", f.server }, { "seed", run.seed }, { "scale", run.workload and run.workload.scale } } do
		if p[2] ~= nil and p[2] ~= "" then add('      <property name="%s" value="%s"/>', p[1], E(tostring(p[2]))) end
	end
	out[#out + 1] = "    </properties>"
	for _, c in ipairs(cases) do
		local head = string.format('    <testcase name="%s" classname="%s" time="%s"', E(c.name), E("pgrehearse." .. name), seconds(0))
		if c.kind == "skipped" then
			out[#out + 1] = head .. "><skipped/></testcase>"
		elseif c.kind then
			add('%s>\n      <%s type="%s" message="%s">%s</%s>\n    </testcase>', head, c.kind, E(c.type), E(c.message), E(c.text or ""), c.kind)
		else
			out[#out + 1] = head .. "/>"
		end
	end
	local said = {}
	for i, s in ipairs(felt.sentences(f)) do said[i] = felt.text(s, function(code) return code end) end
	said[#said + 1] = felt.observing(f)
	for i, r in ipairs(availability.rows(f)) do
		if i > 50 then break end
		local parts = {}
		for k, what in pairs { [2] = "reads", [3] = "row locks", [4] = "writes" } do
			if r[k] then parts[#parts + 1] = string.format("no %s for %s", what, availability.total(r[k])) end
		end
		table.sort(parts)
		said[#said + 1] = r[1] .. ": " .. table.concat(parts, ", ") .. (r.sql and ", because of " .. words.sql(r.sql, 100) or r.by and ", because of " .. r.by or "")
	end
	add("    <system-out>%s</system-out>", E(table.concat(said, "\n")))
	out[#out + 1] = "    <system-err></system-err>"
	out[#out + 1] = "  </testsuite>"
	return table.concat(out, "\n")
end

return function(report)
	local out = { '<?xml version="1.0" encoding="UTF-8"?>', "<testsuites>" }
	for i, f in ipairs(report.runs) do out[#out + 1] = suite(f, i - 1) end
	out[#out + 1] = "</testsuites>\n"
	return table.concat(out, "\n")
end
