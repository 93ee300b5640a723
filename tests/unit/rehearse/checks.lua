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
end

tests["a step's SQL does not begin or end transactions"] = function()
	fails(function() rehearse.sql { name = "a", up = "BEGIN; SELECT 1; COMMIT", down = false } end, 'step "a"', '"BEGIN"')
	rehearse.sql { name = "a", up = "DO $$ BEGIN NULL; END $$", down = false }
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
	assert(b.key == "id" and b.batch == 5000 and b.down == false and b.throttle.longest == 300000000000)
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

tests["a backfill without its set, or with a composite key, is refused"] = function()
	fails(function() rehearse.backfill { name = "b", table = "t", where = "a IS NULL" } end, "set is missing")
	fails(function() rehearse.backfill { name = "b", table = "t", set = "a = 1", where = "a IS NULL", key = "x, y" } end, "one column")
end

tests["a setting has the type of its default"] = function()
	assert(rehearse.setting("nothing", 5) == 5 and rehearse.setting("nothing", "x") == "x")
	local unknown, known = rehearse.unknown_settings()
	assert(unknown == "" and known == "nothing")
end

return tests
