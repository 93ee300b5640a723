-- What the library says about scenarios that are wrong, and how it reads those that are right.
local rehearse = require "rehearse"
local fields = require "rehearse.fields"
local split = require "rehearse.split"

local tests = {}

local function fails(body, ...)
	local ok, message = pcall(body)
	assert(not ok, "it was accepted")
	for _, words in ipairs { ... } do
		assert(tostring(message):find(words, 1, true), string.format("%q is missing in: %s", words, message))
	end
end

local function scenario(changes)
	local s = { title = "t", workload = "w", steps = { rehearse.sql { name = "a", up = "SELECT 1", down = false } } }
	for k, v in pairs(changes or {}) do s[k] = v end
	return rehearse.scenario(s)
end

tests["an unknown field is named, with those that are accepted and the step's name"] = function()
	fails(function() rehearse.sql { name = "add it", up = "SELECT 1", down = false, lock_timout = "1s" } end,
		'step "add it"', 'unknown field "lock_timout"', "lock_timeout", "checks.lua:")
end

tests["a step without a way back must say why"] = function()
	fails(function() rehearse.exec { name = "run it", up = "true" } end, 'step "run it"', "irreversible")
	fails(function() rehearse.sql { name = "x", up = "SELECT 1", irreversible = true } end, "needs a reason")
	assert(rehearse.sql { name = "x", up = "SELECT 1", irreversible = true, reason = "gone" }.irreversible == "gone")
	fails(function() rehearse.sql { name = "drop it", up = "DROP TABLE t" } end, 'step "drop it"', "irreversible")
	assert(rehearse.sql { name = "drop it", up = "DROP TABLE t", irreversible = "the rows are gone" }.irreversible)
	fails(function() rehearse.sql { name = "x", up = "SELECT 1", down = "SELECT 2", irreversible = "no" } end, "keep one")
end

tests["probing of tables can be switched off, by a boolean"] = function()
	assert(scenario().observe.availability == true)
	assert(scenario { observe = { availability = false } }.observe.availability == false)
	fails(function() scenario { observe = { availability = "no" } } end, "observe", 'availability = "no"')
	fails(function() scenario { observe = { avail = false } } end, 'unknown field "avail"')
end

tests["durations need a unit, and waiting for ever must be spelled out"] = function()
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", down = false, lock_timeout = 2 } end, "lock_timeout = 2", '"none"')
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", down = false, lock_timeout = "0s" } end, "lock_timeout")
	assert(rehearse.sql { name = "a", up = "SELECT 1", down = false }.lock_timeout == 2000000000)
	assert(rehearse.sql { name = "a", up = "SELECT 1", down = false, lock_timeout = "none" }.lock_timeout == 0)
	assert(fields.parse_time("250us") == 250000 and fields.parse_time("1.5 s") == 1500000000 and fields.parse_time("10") == nil)
end

tests["statements are told apart at their semicolons, not at those inside of quotes and bodies"] = function()
	local found = split [[
		-- one; comment
		CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $x$ BEGIN RETURN 'a;b'; END $x$;
		SELECT E'it\'s;', 'it''s;', "a;b" /* ; /* ; */ */;
		CREATE FUNCTION g() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
		CREATE RULE r AS ON INSERT TO t DO ALSO (SELECT 1; SELECT 2);
		;
	]]
	assert(#found == 4, #found)
	assert(found[1]:find("END $x$", 1, true) and found[3]:match("END$") and found[4]:match("%)$"))
end

tests["a psql command is refused by name"] = function()
	fails(function() rehearse.sql { name = "a", up = "\\copy t FROM 'x'", down = false } end, "\\copy")
	fails(function() rehearse.sql { name = "a", up = "SELECT 1;\n\\echo it's; here\nSELECT 2", down = false } end, "\\echo")
	local found = split("-- first\n\\set ON_ERROR_STOP on\nSELECT ';';\n\\echo it's; here\nSELECT 2")
	assert(#found == 4 and found[1] == "\\set ON_ERROR_STOP on" and found[2] == "SELECT ';'" and found[3] == "\\echo it's; here" and found[4] == "SELECT 2", table.concat(found, "|"))
end

tests["rows behind COPY FROM stdin are not taken for statements, and refused"] = function()
	local found = split("COPY public.t (a, b) FROM stdin WITH (FORMAT text);\n1\tit's; one\n2\t$x$\n\\.\n\nSELECT 1;\nCOPY t TO stdout;\nSELECT 'stdin';\nSELECT 2")
	assert(#found == 5 and found[2] == "SELECT 1" and found[5] == "SELECT 2", table.concat(found, "|"))
	found = split("COPY t FROM stdin;\n\\.\nSELECT 1")
	assert(#found == 2 and found[2] == "SELECT 1", table.concat(found, "|"))
	fails(function() rehearse.sql { name = "a", up = "COPY t FROM STDIN;\n1\n\\.\n", down = false } end, "COPY ... FROM stdin")
end

tests["a step's SQL does not begin or end transactions"] = function()
	fails(function() rehearse.sql { name = "a", up = "BEGIN; SELECT 1; COMMIT", down = false } end, 'step "a"', '"BEGIN"')
	rehearse.sql { name = "a", up = "DO $$ BEGIN NULL; END $$", down = false }
end

tests["a step whose transaction is rolled back leaves nothing to undo"] = function()
	local s = rehearse.sql { name = "a", up = "SELECT 1", rollback = true }
	assert(s.rollback and s.down == false and not rehearse.sql { name = "a", up = "SELECT 1", down = false }.rollback)
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", rollback = true, down = "SELECT 2" } end, 'step "a"', "leave out its down")
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", rollback = true, irreversible = "gone" } end, "leave out irreversible")
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", rollback = true, transaction = false } end, "transaction = false")
end

tests["a step that is a part has one behind it"] = function()
	local a, b = rehearse.sql { name = "a", up = "SELECT 1", down = false, part = true }, rehearse.sql { name = "b", up = "SELECT 1", down = false }
	assert(scenario { steps = { a, b } }.steps[1].part)
	fails(function() scenario { steps = { b, a } } end, 'step "a"', "part = true")
end

tests["deploys follow on one another"] = function()
	local versions = { v2 = {}, v3 = {} }
	fails(function() scenario { steps = { rehearse.deploy { name = "d", from = "v1", to = "v2" } } } end, 'no app version "v2"')
	fails(function()
		scenario { versions = versions, steps = { rehearse.deploy { name = "d", from = "v2", to = "v3" } } }
	end, 'from = "v2"', '"v1"')
	scenario { versions = versions, steps = { rehearse.deploy { name = "d", from = "v1", to = "v2" }, rehearse.deploy { name = "e", from = "v2", to = "v3" } } }
end

tests["names of steps are unique, and checks name steps that exist"] = function()
	local step = rehearse.sql { name = "a", up = "SELECT 1", down = false }
	fails(function() scenario { steps = { step, step } } end, "two steps")
	fails(function() scenario { checks = { c = { sql = "SELECT 1", after = "b" } } } end, 'check "c"', 'after = "b"')
	assert(scenario { checks = { c = { sql = "SELECT 1", after = "a" } } }.checks[1].after == "a")
end

tests["a plain table with up and down as functions is a step"] = function()
	local s = scenario { steps = { { name = "f", up = function() end, down = function() end } } }
	assert(s.steps[1].kind == "function" and s.steps[1].transaction)
end

tests["defaults are filled in"] = function()
	local s = scenario()
	assert(s.load.rate == 200 and s.load.pods == 2 and s.phases.baseline == 10000000000 and s.phases.settle == 2000000000)
	local b = rehearse.backfill { name = "b", table = "t", set = "a = 1", where = "a IS NULL" }
	assert(b.key == nil and b.batch == 1000 and b.batch_time == 500000000 and b.workers == 1 and b.skip_locked and b.down == false and b.throttle.longest == 300000000000)
end

tests["traffic is changed by a rate, a mix or both, by name of transactions"] = function()
	local s = scenario { load = { rate = "ramp(1, 2, 3s)", mix = { view = 2 }, arrivals = "even" }, steps = { rehearse.load { name = "rush", rate = 5 } } }
	assert(s.load.rate == "ramp(1, 2, 3s)" and s.load.mix.view == 2 and s.steps[1].kind == "load" and s.steps[1].rate == 5)
	fails(function() rehearse.load { name = "l" } end, 'step "l"', "neither rate nor mix")
	fails(function() rehearse.load { name = "l", rate = 0 } end, "rate = 0", "ramp(100, 2000, 60s)")
	fails(function() rehearse.load { name = "l", mix = { view = -1 } } end, "weights by name")
	assert(rehearse.load { name = "l", flags = { new = true } }.flags.new == true)
	fails(function() rehearse.load { name = "l", flags = { "new" } } end, "values by name of a flag")
	fails(function() scenario { load = { arrivals = "odd" } } end, '"odd"', '"poisson" or "even"')
end

tests["users and patience are checked for what belongs together"] = function()
	local versions = { v2 = {} }
	local s = scenario { versions = versions, load = { acquire_timeout = "5s", overload = { v2 = { patience = "2s" } }, requests = 3, think = "1s" } }
	assert(s.load.overload.v2.patience == 2e9 and s.load.overload.v2.acquire_timeout == 5e9 and s.load.requests == "3")
	fails(function() scenario { load = { closed = true, rate = 5 } } end, "a closed loop has no rate")
	fails(function() scenario { load = { closed = true }, steps = { rehearse.load { name = "l", rate = 5 } } } end, 'step "l"', "closed loop")
	fails(function() scenario { load = { users = 5 } } end, "users = 5")
	fails(function() scenario { load = { think = "1s" } } end, "how many there are with requests")
	fails(function() scenario { load = { overload = { v3 = {} } } } end, '"v3"')
	fails(function() scenario { versions = versions, load = { overload = { v2 = { timeout = "1s" } } } } end, "overload.v2", "timeout")
end

tests["a backfill says what it assigns or performs, and how its key goes"] = function()
	local function backfill(changes)
		local step = { name = "b", table = "t", set = "a = 1", where = "a IS NULL" }
		for k, v in pairs(changes) do step[k] = v or nil end
		return rehearse.backfill(step)
	end
	fails(function() backfill { set = false } end, 'step "b"', "it has neither")
	fails(function() backfill { statement = "INSERT INTO u SELECT id FROM t WHERE :range" } end, "it has both")
	fails(function() backfill { set = false, statement = "INSERT INTO u SELECT id FROM t" } end, ":range")
	fails(function() backfill { key = 5 } end, "the columns of a unique key")
	fails(function() backfill { throttle = { lag = "1s" } } end, "throttle", 'unknown field "lag"', "replay_lag")
	fails(function() backfill { throttle = { wal_rate = 5 } } end, "wal_rate = 5", '"30MB"')
	fails(function() backfill { sample = "1" } end, 'sample = "1"', '"1%"')
	fails(function() backfill { batch_time = "1s", batch_min = 10, batch_max = 5 } end, "batch_min is above batch_max")
	assert(table.concat(backfill { key = "x, y" }.key, "+") == "x+y" and backfill { key = { "x", "y" } }.key[2] == "y")
	assert(backfill { batch = 10 }.batch_time == nil and backfill { throttle = { wal_rate = "2MB" } }.throttle.wal_rate == 2097152)
	assert(backfill { sample = "1%" }.sample == 0.01)
end

tests["samples are taken at 0, 1, 1/2, 1/4, 3/4 and so on, and tell a time with an interval"] = function()
	local eta = require "rehearse.eta"
	local places = {}
	for i = 1, 9 do places[i] = eta.fraction(i) end
	assert(table.concat(places, " ") == "0 1 0.5 0.25 0.75 0.125 0.625 0.375 0.875", table.concat(places, " "))
	-- 1, 2 and 3 ms a row: mean 2, standard error 1/sqrt(3), t = 4.303 for 2 degrees of freedom.
	local e = eta.estimate({ { seen = 10, ns = 10e6 }, { seen = 10, ns = 20e6 }, { seen = 10, ns = 30e6 } }, 1000, 100, 50e6, 2)
	assert(e.ns == 1250000000 and math.abs(e.high_ns - (1250000000 + 500 * 4.303e6 / math.sqrt(3))) < 2, e.high_ns)
	assert(e.low_ns == 250000000, e.low_ns)
	assert(eta.estimate({}, 10, 1, 0, 1) == nil)
end

tests["the size of a batch goes towards the time that one is to take, in steps"] = function()
	local eta = require "rehearse.eta"
	local step = { batch_time = 100000000, batch_min = 10, batch_max = 5000 }
	assert(eta.next_size({}, 77, 5) == 77)
	assert(eta.next_size(step, 1000, 1) == 1500 and eta.next_size(step, 4000, 1) == 5000)
	assert(eta.next_size(step, 1000, 1e9) == 500 and eta.next_size(step, 12, 1e9) == 10)
	assert(eta.next_size(step, 1000, 1e5) == 1000)
end

tests["a step's own criteria get its name, and become the scenario's"] = function()
	local s = scenario { criteria = { "lock_wait.max < 1s" }, steps = { rehearse.sql { name = "a b", up = "SELECT 1", down = false,
		criteria = { "duration < 5s", "migration.statement.max < 1s", "step.attempts <= 1", "lock_wait[users].max < 1s" } } } }
	assert(table.concat(s.criteria, "; ") == "lock_wait.max < 1s; step[a b].duration < 5s; migration.statement[a b].max < 1s; step[a b].attempts <= 1; lock_wait[users].max < 1s", table.concat(s.criteria, "; "))
	fails(function() rehearse.sql { name = "x", up = "SELECT 1", down = false, criteria = { "errors.rate < 1%" } } end, "whole run")
end

tests["steps inside of others are steps of the scenario"] = function()
	local function both(a, b) return rehearse.parallel { name = "both", steps = { rehearse.wait_until { name = a, time = "1s" }, { name = b, up = function() end, down = false } } } end
	local names = {}
	local s = scenario { steps = { both("x", "y") }, checks = { c = { sql = "SELECT 1", after = "y" } } }
	rehearse.each_step(s.steps, function(step) names[#names + 1] = step.name .. ":" .. step.kind end)
	assert(table.concat(names, " ") == "both:parallel x:wait_until y:function", table.concat(names, " "))
	fails(function() scenario { steps = { both("x", "x") } } end, 'step "x"', "two steps")
	fails(function() rehearse.parallel { name = "p", steps = { both("a", "b"), both("c", "d") } } end, "cannot run beside others")
end

tests["a lock policy is safe by default, and anything else is spelled out"] = function()
	local s = rehearse.sql { name = "a", up = "SELECT 1", down = false }
	assert(s.lock_timeout == 2e9 and s.statement_timeout == 300e9 and s.retries == 5 and s.drain == 5e9 and s.long_transactions.action == "wait" and s.autovacuum == "interrupt")
	assert(rehearse.sql { name = "a", up = "SELECT 1", down = false, transaction = false }.statement_timeout == 0)
	assert(rehearse.sql { name = "a", up = "SELECT 1", down = false, long_transactions = { action = "fail", older_than = "1s" } }.long_transactions.longest == 30e9)
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", down = false, long_transactions = "kill" } end, '"kill"', '"wait", "fail" or "ignore"')
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", down = false, autovacuum = "kill" } end, '"kill"', '"interrupt"', '"ignore"')
	fails(function() rehearse.sql { name = "a", up = "SELECT 1", down = false, backoff = "1min" } end, "backoff_max is below backoff")
end

tests["a setting has the type of its default"] = function()
	assert(rehearse.setting("nothing", 5) == 5 and rehearse.setting("nothing", "x") == "x")
	local unknown, known = rehearse.unknown_settings()
	assert(unknown == "" and known == "nothing")
end

tests["a ready set of criteria is taken as it is or with more, and speaks of each backfill"] = function()
	local fill = rehearse.backfill { name = "fill", table = "t", set = "a = 1", where = "a IS NULL" }
	local function text_of(s) return table.concat(s.criteria, "; ") end
	local plain = scenario { steps = { fill }, criteria = rehearse.criteria.playbook }
	assert(text_of(plain) == "migration.statement.max < 10s; replication.replay_lag.max < 30s; rollback.clean; step[fill].eta <= 24h", text_of(plain))
	local more = scenario { steps = { fill }, criteria = rehearse.criteria.playbook { "errors.rate < 0.1%", crash = { "errors.rate < 1%" } } }
	assert(text_of(more):find("rollback.clean; errors.rate < 0.1%; step[fill].eta", 1, true) and more.criteria.crash[1] == "errors.rate < 1%")
	assert(#rehearse.criteria.playbook == 3 and #scenario { criteria = rehearse.criteria.playbook }.criteria == 3)
	fails(function() scenario { criteria = rehearse.criteria.playbook { 5 } } end, "criteria[4] is 5")
end

tests["a brief scenario does the same without the pauses"] = function()
	local brief = require "rehearse.brief"
	local s = scenario { versions = { v2 = {} }, load = { rate = 500, pods = 8 }, rollback_after = "1min", steps = {
		rehearse.sql { name = "a", up = "SELECT 1", down = false, lock_timeout = "3s" },
		rehearse.sql { name = "b", up = "SELECT 1", down = false, lock_timeout = "none", retries = 0 },
		rehearse.backfill { name = "fill", table = "t", set = "a = 1", where = "a IS NULL", pause = "1s" },
		rehearse.deploy { name = "d", from = "v1", to = "v2", every = "10s" },
		rehearse.parallel { name = "p", steps = { rehearse.wait_until { name = "w", time = "1min" }, rehearse.wait_until { name = "x", time = "1min" } } },
	} }
	brief(s, rehearse.each_step)
	assert(s.load.rate == 100 and s.load.pods == 2 and s.phases.baseline == 1.5e9 and s.rollback_after == 3e8)
	assert(s.steps[1].lock_timeout == 2e8 and s.steps[1].retries == 30 and s.steps[2].lock_timeout == 0 and s.steps[2].retries == 0)
	assert(s.steps[3].pause == 0 and s.steps[4].every == 1e8 and s.steps[5].steps[1].time == 3e8)
end

return tests
