-- Drills on a host that only pretends: what is asked of it, in which order, and what comes of failures.
package.preload.sql = package.preload.sql or function() return { parse = function() return {} end } end   -- the program's own, in C
local rehearse = require "rehearse"
local drill = require "rehearse.drill"

local tests = {}

-- Answers every statement with success, but for those that `answers` (pattern -> function of the count so far) says otherwise.
local function fake_host(answers)
	local host = { log = {}, events = {}, clock = 0, counts = {} }
	local function note(text) host.log[#host.log + 1] = text end
	local function answer(sql)
		for pattern, reply in pairs(answers or {}) do
			if sql:match(pattern) then
				host.counts[pattern] = (host.counts[pattern] or 0) + 1
				return reply(host.counts[pattern])
			end
		end
	end
	local session = {}
	function session:pid() return 42 end
	function session:connected() return true end
	function session:cancel() end
	function session:close() note "closed" end
	function session:query(sql, ...)
		local start_ns = host.clock
		host.clock = host.clock + 1000
		local out = answer(sql) or {}
		if not sql:match("pg_catalog") and not sql:match("^SET ") then note(sql) end
		local values = out.values or sql:match("pg_current_wal_insert_lsn") and { { 100 } } or sql:match("WHERE NOT granted") and { { 0 } } or {}
		return { ok = not out.sqlstate, sqlstate = out.sqlstate or "00000", message = out.sqlstate and "no" or "", rows = out.rows or 0,
			start_ns = start_ns, end_ns = host.clock, values = values }
	end
	function host.session() return session end
	function host.now() return host.clock end
	function host.sleep(seconds) host.clock = host.clock + math.floor(seconds * 1e9) end
	function host.event(e)
		host.events[#host.events + 1] = e
		if e.type == "step" then note(e.direction .. " " .. e.edge .. " " .. e.name) end
	end
	function host.phase(name) note("phase " .. name) end
	function host.replace_pod(pod, version) note("pod " .. pod .. " " .. version) end
	function host.pods() return 2 end
	function host.backlog() return 0, 0 end
	function host.actors() return {} end
	function host.checks() return { { name = "sound", sql = "S" }, { name = "broken", sql = "B" }, { name = "wrong", sql = "W" } } end
	function host.array(t) return t end
	function host.start_load() note "traffic" end
	function host.kept_start() return nil end
	function host.keep_start() end
	function host.executed() return {} end
	function host.stop_load() note "end of traffic" end
	for _, name in ipairs { "status", "note", "note_locks", "set", "warning", "spawn", "stop_spawned" } do host[name] = function() end end
	function host.replay_lag() return nil end
	function host.standbys() return 0 end
	function host.p99() return nil end
	function host.executed() return {} end
	function host.replay_has_ended() return nil end
	return host
end

local function perform(host, steps, name, more)
	local s = { title = "t", workload = "w", steps = steps, versions = { v2 = {} }, phases = { checkpoint = false } }
	for k, v in pairs(more or {}) do s[k] = v end
	return drill.perform(host, rehearse.scenario(s), name or "forward")
end

local function expect(host, ...)
	local wanted = { ... }
	local got = table.concat(host.log, "\n")
	assert(got == table.concat(wanted, "\n"), "performed was:\n" .. got)
end

tests["steps are performed in order, each in a transaction of its own"] = function()
	local host = fake_host()
	local result = perform(host, {
		rehearse.sql { name = "one", up = "A; B", down = false },
		rehearse.sql { name = "two", up = { "C" }, down = false, transaction = false },
		rehearse.deploy { name = "three", from = "v1", to = "v2" },
	})
	assert(not result.problem)
	expect(host, "phase warmup", "traffic", "phase baseline", "phase migration", "up start one", "BEGIN", "A", "B", "COMMIT", "up end one",
		"up start two", "C", "up end two", "up start three", "pod 1 v2", "pod 2 v2", "up end three", "end of traffic")
end

tests["phases that are compared begin with a checkpoint, when the baseline is long enough to compare with, and the role may"] = function()
	local steps = { rehearse.sql { name = "one", up = "A", down = false } }
	local host = fake_host()
	perform(host, steps, "forward", { phases = {} })
	expect(host, "phase warmup", "traffic", "CHECKPOINT", "phase baseline", "CHECKPOINT", "phase migration", "up start one", "BEGIN", "A", "COMMIT", "up end one",
		"end of traffic")
	host = fake_host { ["^CHECKPOINT$"] = function() return { sqlstate = "42501" } end }
	perform(host, steps, "forward", { phases = { warmup = "0s" } })
	expect(host, "CHECKPOINT", "phase baseline", "traffic", "phase migration", "up start one", "BEGIN", "A", "COMMIT", "up end one", "end of traffic")
	assert(host.events[1].type == "checkpoint" and host.events[1].phase == "baseline" and host.events[1].error == "no")
	host = fake_host()
	perform(host, steps, "forward", { phases = { baseline = "4s" } })
	assert(not table.concat(host.log, " "):find("CHECKPOINT"))
end

tests["a lock that is not had in time ends the transaction, which is tried again as a whole"] = function()
	local host = fake_host { ["^B$"] = function(n) return n <= 2 and { sqlstate = "55P03" } or nil end }
	local result = perform(host, { rehearse.sql { name = "one", up = "A; B", down = false } })
	assert(not result.problem)
	local attempts = {}
	for _, e in ipairs(host.events) do
		if e.type == "statement" then attempts[#attempts + 1] = e.sql .. e.attempt .. e.sqlstate end
	end
	assert(table.concat(attempts, " ") == "A100000 B155P03 A200000 B255P03 A300000 B300000", table.concat(attempts, " "))
end

tests["a transaction that only tries something out is rolled back, and is no failure"] = function()
	local host = fake_host()
	local result = perform(host, { rehearse.sql { name = "one", up = "A; B", rollback = true } })
	assert(not result.problem)
	expect(host, "phase warmup", "traffic", "phase baseline", "phase migration", "up start one", "BEGIN", "A", "B", "ROLLBACK", "up end one", "end of traffic")
	local told = {}
	for _, e in ipairs(host.events) do if e.type == "transaction" then told[#told + 1] = tostring(e.committed) .. e.sqlstate end end
	assert(table.concat(told, " ") == "false00000", table.concat(told, " "))
end

tests["the drill ends with the step that fails for good, and says why"] = function()
	local host = fake_host { ["^B$"] = function() return { sqlstate = "42703" } end }
	local result = perform(host, { rehearse.sql { name = "one", up = "A; B", down = false }, rehearse.sql { name = "two", up = "C", down = false } })
	assert(result.problem:find('step "one"', 1, true) and result.problem:find("42703", 1, true), result.problem)
	expect(host, "phase warmup", "traffic", "phase baseline", "phase migration", "up start one", "BEGIN", "A", "B", "ROLLBACK", "up end one", "end of traffic")
end

tests["a check is repeated while the migration runs, and told when its outcome changes"] = function()
	local host, asked = fake_host { ["FROM %(V%)"] = function(n) return n == 2 and { values = { { "2", "(7)" }, { "2", "(8)" } } } or {} end }, 0
	local fibers = {}
	function host.spawn(body) fibers[#fibers + 1] = coroutine.create(body) end
	local sleep = host.sleep
	function host.sleep(seconds)
		if coroutine.isyieldable() then return coroutine.yield() end
		sleep(seconds)
	end
	local step = rehearse.step { name = "one", irreversible = "a test", up = function(m)
		for _ = 1, 3 do for _, f in ipairs(fibers) do assert(coroutine.resume(f)) end end
		asked = host.counts["FROM %(V%)"]
	end }
	local result = perform(host, { step }, "forward", { checks = { v = { sql = "V", every = "1s" } } })
	assert(asked == 3, asked)
	local during
	for _, c in ipairs(result.checks) do if c.when == "during" then during = c end end
	assert(during and not during.ok and during.rows == 2 and during.times == 3 and during.times_violated == 1 and during.sample:find("%(7%)"))
	local told = {}
	for _, e in ipairs(host.events) do if e.type == "check" and e.when == "during" then told[#told + 1] = tostring(e.ok) end end
	assert(table.concat(told, " ") == "true false true", table.concat(told, " "))
end

tests["waiting for standbys ends when there are none, and says so once, unless a brief run goes without"] = function()
	local host, warnings = fake_host(), {}
	host.warning = function(text) warnings[#warnings + 1] = text end
	local steps = { rehearse.wait_until { name = "one", replay_lag = "1s" }, rehearse.wait_until { name = "two", replay_lag = "1s" } }
	assert(not perform(host, steps).problem)
	assert(#warnings == 1 and warnings[1] == 'step "one": there is no standby, so there is nothing to wait for', table.concat(warnings, "; "))
	host.standbys = function() return 1 end
	assert(perform(host, steps).problem:find("timeout of 300", 1, true))
end

tests["retries end at the limit"] = function()
	local host = fake_host { ["^A$"] = function() return { sqlstate = "55P03" } end }
	local result = perform(host, { rehearse.sql { name = "one", up = "A", down = false, retries = 2 } })
	assert(result.problem:find("55P03", 1, true) and host.counts["^A$"] == 3)
end

tests["what a failed statement outside a transaction left behind is cleaned up before the next attempt"] = function()
	local host = fake_host { ["^CREATE"] = function(n) return n == 1 and { sqlstate = "55P03" } or nil end }
	perform(host, { rehearse.sql { name = "one", up = "CREATE INDEX CONCURRENTLY i ON t (a)", on_retry = "DROP INDEX i", down = false, transaction = false } })
	expect(host, "phase warmup", "traffic", "phase baseline", "phase migration", "up start one", "CREATE INDEX CONCURRENTLY i ON t (a)", "DROP INDEX i",
		"CREATE INDEX CONCURRENTLY i ON t (a)", "up end one", "end of traffic")
end

tests["cleaning up before the next attempt may have to wait for a lock itself"] = function()
	local host = fake_host { ["^CREATE"] = function(n) return n == 1 and { sqlstate = "55P03" } or nil end, ["^DROP"] = function(n) return n == 1 and { sqlstate = "55P03" } or nil end }
	local result = perform(host, { rehearse.sql { name = "one", up = "CREATE INDEX CONCURRENTLY i ON t (a)", on_retry = "DROP INDEX i", down = false, transaction = false, retries = 2 } })
	assert(not result.problem, result.problem)
	assert(host.counts["^CREATE"] == 2 and host.counts["^DROP"] == 2)
end

tests["what is cleaned up before another attempt of all statements is cleaned up on the way there only, unless the way back says what"] = function()
	local step = { name = "one", up = { "CREATE a", "CREATE b" }, on_retry = { "CLEAR a", "CLEAR b" }, down = "DROP a", transaction = false }
	local host = fake_host { ["^CREATE b"] = function(n) return n == 1 and { sqlstate = "55P03" } or nil end, ["^DROP"] = function(n) return n == 1 and { sqlstate = "55P03" } or nil end }
	local result = perform(host, { rehearse.sql(step) }, "rollback")
	assert(not result.problem, result.problem)
	local said = table.concat(host.log, ", ")
	assert(said:find("CREATE a, CREATE b, CLEAR a, CLEAR b, CREATE a, CREATE b, up end one", 1, true), said)
	assert(said:find("down start one, DROP a, DROP a, down end one", 1, true), said)
	step.on_retry_down = "MAKE a"
	host = fake_host { ["^DROP"] = function(n) return n == 1 and { sqlstate = "55P03" } or nil end }
	result = perform(host, { rehearse.sql(step) }, "rollback")
	said = table.concat(host.log, ", ")
	assert(said:find("down start one, DROP a, MAKE a, DROP a, down end one", 1, true), said)
end

tests["a step may be a function of a session, and its failures are findings"] = function()
	local host = fake_host { ["^X$"] = function() return { values = { { 7, n = 1 } } } end }
	local seen
	local result = perform(host, { { name = "f", up = function(m) seen = m:row("X") m:fail("too many: %d", seen) end, down = false } })
	assert(seen == 7 and result.problem:find("too many: 7", 1, true))
end

tests["a mistake in a scenario's own code is an error, not a finding"] = function()
	local ok, message = pcall(perform, fake_host(), { { name = "f", up = function() local x = nil; return x.y end, down = false } })
	assert(not ok and message:find("drills.lua:", 1, true), message)
end

tests["the way back goes through the steps in reverse"] = function()
	local host = fake_host { ["count%(%*%), COALESCE"] = function() return { values = { { 0, "0" } } } end }
	local result = perform(host, {
		rehearse.sql { name = "one", up = "A", down = "a" },
		rehearse.deploy { name = "two", from = "v1", to = "v2" },
		rehearse.sql { name = "three", up = "C", down = false },
	}, "rollback")
	assert(result.rollback.verdict == "identical")
	expect(host, "phase warmup", "traffic", "phase baseline", "phase migration", "up start one", "BEGIN", "A", "COMMIT", "up end one",
		"up start two", "pod 1 v2", "pod 2 v2", "up end two", "up start three", "BEGIN", "C", "COMMIT", "up end three",
		"phase rollback", "down start three", "down end three", "down start two", "pod 1 v1", "pod 2 v1", "down end two",
		"down start one", "BEGIN", "a", "COMMIT", "down end one", "end of traffic")
end

tests["a step that cannot be undone ends the way back"] = function()
	local result = perform(fake_host(), { rehearse.sql { name = "one", up = "A", irreversible = "the rows are gone" } }, "rollback")
	assert(result.problem:find("irreversible: the rows are gone", 1, true))
end

tests["checks run after what they name, and their rows are counted"] = function()
	local host = fake_host { ["violation::text"] = function() return { values = { { "12", "(1,x)" }, { "12", "(2,y)" } } } end }
	local result = perform(host, { rehearse.sql { name = "one", up = "A", down = false } }, "forward", { checks = { c = "SELECT 1" } })
	assert(result.checks[1].rows == 12 and not result.checks[1].ok and result.checks[1].sample == "(1,x), (2,y)" and result.checks[1].when == "migration")
end

-- A table of 25 rows with keys 1 to 25, walked and filled by the statements of the backfill. rest: how many still match when asked.
local function backfill_host(rest)
	local host
	local asked = 0
	host = fake_host {
		["pg_partition_tree%(c%.oid%)"] = function() return { values = { { 7, "public.t", "t", "r", 1, 25, "id" } } } end,
		["attnotnull"] = function() return { values = { { "id", "bigint", true, 1 } } } end,
		["indisunique"] = function() return { values = { { 1 } } } end,
		["TABLESAMPLE"] = function() return { values = { { "1", 25 }, { "13", 25 } } } end,
		["^WITH batch"] = function() return nil end,
		["AS filled"] = function() return nil end,
	}
	local session = host.session()
	local query = session.query
	function session:query(sql, ...)
		local at, upper = ...
		local out = query(self, sql, ...)
		if sql:match("^WITH batch") then
			local n = tonumber(sql:match("LIMIT (%d+)%)"))
			if sql:find("a IS NULL", 1, true) then
				asked = asked + 1
				local left = rest(asked)
				out.values = left > 0 and { { "26", tostring(25 + left), left } } or {}
			elseif sql:find("^WITH batch AS MATERIALIZED %([^)]*DESC LIMIT") then
				out.values = { { tostring(26 - n), "25", n } }
			else
				local from = sql:find("t.id > ", 1, true) and tonumber(at) or 0
				local last = math.min(25, from + n, tonumber(upper) or 25)
				out.values = last > from and { { tostring(from + 1), tostring(last), last - from } } or {}
			end
		elseif sql:find("filled AS", 1, true) then
			host.log[#host.log + 1] = at .. "-" .. upper
			out.values = { { math.tointeger(tonumber(upper)) - math.tointeger(tonumber(at)) + 1, 0 } }
		end
		return out
	end
	return host
end

local function fill(changes)
	local step = { name = "fill", table = "t", set = "a = 1", where = "a IS NULL", batch = 10, samples = 0, resume = false }
	for k, v in pairs(changes or {}) do step[k] = v end
	return rehearse.backfill(step)
end

local function batches(host)
	local out = {}
	for _, line in ipairs(host.log) do if line:match("^%d+%-%d+$") then out[#out + 1] = line end end
	return table.concat(out, " ")
end

tests["a backfill walks the keys that were there, then does the rest"] = function()
	local host = backfill_host(function(n) return n == 1 and 3 or 0 end)
	assert(not perform(host, { fill { pause = "1s" } }).problem)
	assert(batches(host) == "1-10 11-20 21-25 26-28", batches(host))
	local last
	for _, e in ipairs(host.events) do if e.type == "backfill" then last = e end end
	assert(last.done and last.rows == 28 and last.batches == 4 and last.total == 25, last.rows .. " " .. last.batches)
end

tests["a backfill that never ends is ended, and says what its passes found"] = function()
	local problem = perform(backfill_host(function() return 8 end), { fill() }).problem
	assert(problem:find("still match", 1, true) and problem:find("8, 8, 8, 8, 8", 1, true), problem)
end

tests["a backfill waits while the standby is behind, and says for how long and why"] = function()
	local host = backfill_host(function() return 0 end)
	local lag = 30e9
	function host.replay_lag()
		lag = lag - 1e9
		return lag
	end
	assert(not perform(host, { fill { throttle = { replay_lag = "5s" } } }).problem)
	local pause, paused
	for _, e in ipairs(host.events) do
		if e.type == "pause" then pause = e end
		if e.type == "backfill" then paused = e end
	end
	assert(pause.reason == "replay_lag" and pause.detail:find("replay lag 29.0 s", 1, true) and pause.length_ns >= 2e9)
	assert(paused.paused_ns >= 2e9 and paused.paused.replay_lag == paused.paused_ns)
end

tests["an estimate is made from batches all over the table, and compared with what it took"] = function()
	local host = backfill_host(function() return 0 end)
	assert(not perform(host, { fill { samples = 3, batch = 5, production_rows = 2500 } }).problem)
	assert(batches(host):find("^1%-2 3%-4 24%-25 14%-15 "), batches(host))
	local guess, truth
	for _, e in ipairs(host.events) do
		if e.type == "eta" and e.edge == "estimate" then guess = e end
		if e.type == "eta" and e.edge == "end" then truth = e end
	end
	assert(guess.samples == 3 and guess.sampled_rows == 8 and guess.rows == 2500 and guess.production and guess.low_ns <= guess.eta_ns and guess.eta_ns <= guess.high_ns)
	assert(truth.took_ns > 0 and math.abs(truth.error - (truth.left_ns / truth.took_ns - 1)) < 1e-9 and truth.inside ~= nil)
end

tests["a sample is all that is done when that is asked for"] = function()
	local host = backfill_host(function() error "it went on" end)
	assert(not perform(host, { fill { sample = "20%" } }).problem)
	assert(batches(host) == "1-2 3-4 24-25", batches(host))
end

tests["a step's function does not end the transaction that it runs in"] = function()
	local function ending(sql) return perform(fake_host(), { { name = "ends", down = false, up = function(m) m:exec(sql) end } }).problem end
	assert(ending("COMMIT"):find('"COMMIT" inside of the step\'s transaction', 1, true))
	assert(not ending("ROLLBACK TO SAVEPOINT s"))
end

tests["traffic alone has the workload's checks run before and after it"] = function()
	local host = fake_host {
		["%(B%)"] = function() return { values = { { "7", "(1,2)", n = 2 }, { "7", "(1,3)", n = 2 } } } end,
		["%(W%)"] = function() return { sqlstate = "42703" } end,
	}
	local session = host.session()
	local query = session.query
	function session:query(sql, ...)
		host.log[#host.log + 1] = sql:match("FROM %((.)%)")
		return query(self, sql, ...)
	end
	local checks = drill.load(host, 5000000000).checks
	expect(host, "S", "B", "W", "phase load", "traffic", "end of traffic", "S", "B", "W")
	assert(#checks == 6 and checks[1].when == "before" and checks[4].when == "after")
	assert(checks[1].ok and checks[1].rows == 0 and not checks[1].sample)
	assert(not checks[5].ok and checks[5].name == "broken" and checks[5].rows == 7 and checks[5].sample == "(1,2), (1,3)", checks[5].sample)
	assert(not checks[6].ok and checks[6].error == "no" and not checks[6].rows)
	assert(#host.events == 6 and host.events[5].type == "check" and host.events[5].name == "broken")
end

tests["the way back has to be clean, unless the scenario says what it has to be"] = function()
	local function judged(criteria, name)
		return table.concat(drill.criteria(rehearse.scenario { workload = "shop", title = "t", steps = { rehearse.sql { name = "a", up = "SELECT 1", down = false } }, criteria = criteria }, name), "; ")
	end
	assert(judged({ "errors.rate < 1%" }, "rollback") == "errors.rate < 1%; rollback.clean")
	assert(judged({}, "forward") == "")
	assert(judged({ "rollback.identical" }, "rollback") == "rollback.identical")
	assert(judged({ rollback = { "rollback.identical" } }, "rollback") == "rollback.identical")
end

return tests
