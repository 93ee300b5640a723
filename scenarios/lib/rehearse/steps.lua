-- The steps that a scenario is made of: what each kind may say, checked where it is written. Plain data comes out; the only
-- functions in it are the scenario's own. Performing them is perform.lua's.
local fields = require "rehearse.fields"
local split = require "rehearse.split"

local steps = { makers = {} }

local function owner_of(kind, step)
	if type(step) == "table" and type(step.name) == "string" then return string.format("step %q", step.name) end
	return "a step made by rehearse." .. kind
end

-- The folder of the scenario that calls: files are named from there.
local function scenario_folder()
	for level = 2, 20 do
		local info = debug.getinfo(level, "S")
		if not info then break end
		if info.source:sub(1, 1) == "@" and not info.source:match("/lib/rehearse/[%w_]+%.lua$") then
			return info.source:match("^@(.*)/[^/]*$") or "."
		end
	end
	return "."
end

local function read_sql(owner, field, path)
	local full = path:sub(1, 1) == "/" and path or scenario_folder() .. "/" .. path
	local file, reason = io.open(full, "r")
	if not file then fields.fail(owner, "%s = %q cannot be read: %s", field, path, reason) end
	local text = file:read("a")
	file:close()
	return text
end

local TRANSACTION_WORDS = { begin = true, start = true, commit = true, ["end"] = true, rollback = true, abort = true, savepoint = true }

local function statements(owner, field, action)
	if type(action) ~= "table" then return action end
	local out = {}
	for _, text in ipairs(action) do
		for _, one in ipairs(split(text)) do
			if one:match("^\\") then fields.fail(owner, "%s holds the psql command %s; only SQL is understood", field, one:match("^%S+")) end
			if one:lower():match("^copy%s.*%sfrom%s+stdin%f[%W]") then fields.fail(owner, "%s holds COPY ... FROM stdin, whose rows psql would send; write INSERT, or a step of rehearse.exec", field) end
			if TRANSACTION_WORDS[(one:match("^%a+") or ""):lower()] then
				fields.fail(owner, "%s holds %q; a step is one transaction, or none with transaction = false: make one step of each", field, one)
			end
			out[#out + 1] = one
		end
	end
	if #out == 0 then fields.fail(owner, "%s holds no statement", field) end
	return out
end

-- ---- what all steps have ----

-- Figures of the judge that are a step's own, and those of other names that take a step in brackets.
local STEP_FIGURES = { duration = true, attempts = true, eta = true, eta_error = true, victims = true, longest_wait = true, rewrites = true, scans = true }

local function check_criteria(owner, out)
	for i, sentence in ipairs(out.criteria) do
		if type(sentence) ~= "string" then fields.fail(owner, "criteria[%d] is %s; text is expected", i, fields.show(sentence)) end
		local figure, rest = sentence:match("^%s*([%w_]+)(.*)$")
		local statement = sentence:match("^%s*migration%.statement(%..*)$")
		local whole = sentence:match("^%s*step(%..*)$")
		if statement then
			sentence = string.format("migration.statement[%s]%s", out.name, statement)
		elseif whole then
			sentence = string.format("step[%s]%s", out.name, whole)
		elseif figure and STEP_FIGURES[figure] then
			sentence = string.format("step[%s].%s%s", out.name, figure, rest)
		elseif not sentence:find("[", 1, true) then
			fields.fail(owner, "criteria: %q is about the whole run; a step's own begin with duration, attempts, victims, longest_wait, rewrites, scans, eta, eta_error or migration.statement, or name something in brackets", sentence)
		end
		out.criteria[i] = sentence
	end
end

local function with_common(spec)
	spec.name = { "text", required = true }
	spec.check = { "check" }
	spec.timeout = { "time" }
	spec.criteria = { "table", default = {} }
	return spec
end

local function with_down(spec)
	spec.irreversible = { "irreversible" }
	spec.reason = { "text" }
	return with_common(spec)
end

-- `kind`'s fields, checked; of all kinds alike.
local function checked(kind, step, spec)
	local owner = owner_of(kind, step)
	local out = fields.check(owner, step, spec)
	if out.name:find("[%[%]]") then fields.fail(owner, "a name without brackets is expected: criteria stand it in some") end
	if out.timeout == 0 then fields.fail(owner, 'timeout = "0" would end it before it begins; leave it out for none') end
	out.criteria = table.move(out.criteria, 1, #out.criteria, 1, {})
	check_criteria(owner, out)
	if out.irreversible == true then
		if not out.reason then fields.fail(owner, 'irreversible = true needs a reason: reason = "the rows are gone"') end
		out.irreversible = out.reason
	elseif out.reason and not out.irreversible then
		fields.fail(owner, "reason belongs to irreversible = true")
	end
	out.kind, out.reason = kind, nil
	return out, owner
end

local function check_reversible(owner, step)
	if step.down == nil and not step.irreversible then
		fields.fail(owner, 'it has no down; write one, or down = false when there is nothing to undo, or irreversible = "the reason"')
	end
	if step.down ~= nil and step.irreversible then fields.fail(owner, "it has a down and says that it is irreversible; keep one of them") end
	return step
end

-- ---- the lock policy ----

local LONG = { action = { "long_action", default = "wait" }, older_than = { "time", default = "5s" }, longest = { "time", default = "30s" } }

local function with_policy(spec)
	spec.long_transactions = spec.long_transactions or { "long_transactions", default = "wait" }
	spec.autovacuum = { "autovacuum", default = "interrupt" }
	spec.lock_timeout = { "timeout", default = "2s" }
	spec.statement_timeout = { "timeout" }
	spec.retries = { "count", default = 5 }
	spec.backoff = { "time", default = "500ms" }
	spec.backoff_max = { "time", default = "10s" }
	spec.drain = { "time", default = "5s" }
	return spec
end

-- A statement in a transaction holds the locks of all before it: five minutes are more than any of them should take.
local STATEMENT_TIMEOUT_NS = 300000000000

local function check_policy(owner, out)
	local long = type(out.long_transactions) == "table" and out.long_transactions or { action = out.long_transactions }
	out.long_transactions = fields.check(owner .. ", long_transactions", long, LONG)
	if not out.statement_timeout then out.statement_timeout = out.transaction and STATEMENT_TIMEOUT_NS or 0 end
	if out.backoff_max < out.backoff then fields.fail(owner, "backoff_max is below backoff") end
end

-- ---- SQL, and functions of a session ----

local SQL = with_policy(with_down {
	up = { "action" }, down = { "action" }, file = { "text" }, down_file = { "text" },
	transaction = { "boolean", default = true }, rollback = { "boolean", default = false }, part = { "boolean", default = false }, on_retry = { "action" }, on_retry_down = { "action" },
})

-- One or more SQL statements, in one transaction unless transaction = false.
function steps.makers.sql(step)
	local out, owner = checked("sql", step, SQL)
	for field, file in pairs { up = "file", down = "down_file" } do
		if out[file] then
			if out[field] ~= nil then fields.fail(owner, "both %s and %s are given; keep one of them", field, file) end
			out[field] = { read_sql(owner, file, out[file]) }
		end
		out[field] = statements(owner, out[file] and file or field, out[field])
	end
	for _, field in ipairs { "on_retry", "on_retry_down" } do
		if type(out[field]) == "function" then fields.fail(owner, "%s is a function; SQL is expected: \"DROP INDEX CONCURRENTLY IF EXISTS i\"", field) end
		out[field] = statements(owner, field, out[field])
	end
	if out.up == nil then fields.fail(owner, "it has neither up nor file") end
	if out.rollback then
		if not out.transaction then fields.fail(owner, "rollback = true is how its transaction ends, but transaction = false says that it has none") end
		if out.down or out.irreversible then fields.fail(owner, "rollback = true leaves nothing that could be undone; leave out %s", out.down and "its down" or "irreversible") end
		out.down = false
	end
	check_policy(owner, out)
	return check_reversible(owner, out)
end

local STEP = with_policy(with_down { up = { "action", required = true }, down = { "action" } })

-- A step that is a Lua function of a migration session: up = function(m) m:exec(...) end.
function steps.makers.step(step)
	local out, owner = checked("step", step, STEP)
	for _, field in ipairs { "up", "down" } do
		if out[field] ~= nil and out[field] ~= false and type(out[field]) ~= "function" then
			fields.fail(owner, "%s = %s is not accepted; expected is a function of a migration session (SQL belongs into rehearse.sql)",
				field, fields.show(step[field]))
		end
	end
	out.kind, out.transaction = "function", true
	check_policy(owner, out)
	return check_reversible(owner, out)
end

-- ---- backfill ----

local BACKFILL = with_policy(with_down {
	table = { "text", required = true, why = "the table whose rows are to be filled" },
	alias = { "name" },
	key = { "key" },
	set = { "text" },
	statement = { "text" },
	where = { "text", required = true, why = "which rows still need it; a row that has been filled must not match any more" },
	batch = { "positive" }, batch_time = { "time" }, batch_min = { "positive", default = 100 }, batch_max = { "positive", default = 100000 },
	workers = { "positive", default = 1 },
	pause = { "time", default = "0" },
	throttle = { "table", default = {} },
	skip_locked = { "boolean" },
	resume = { "boolean", default = true },
	samples = { "count", default = 9 }, sample = { "share" }, production_rows = { "positive" },
	down = { "action", default = false },
	transaction = { "boolean", default = true },
	long_transactions = { "long_transactions", default = "ignore" },
})

local THROTTLE = { replay_lag = { "time" }, p99 = { "time" }, wal_rate = { "bytes" }, dead_tuples = { "positive" }, autovacuum = { "boolean" }, query = { "text" },
	longest = { "time", default = "5min" } }

local BATCH, BATCH_TIME_NS = 1000, 500000000 -- when the size of a batch is left to us

-- Fills a column in batches of the key's order, each committed by itself.
function steps.makers.backfill(step)
	local out, owner = checked("backfill", step, BACKFILL)
	out.throttle = fields.check(owner .. ", throttle", out.throttle, THROTTLE)
	if not out.throttle.autovacuum then out.throttle.autovacuum = nil end
	out.down = statements(owner, "down", out.down)
	if not out.set == not out.statement then
		fields.fail(owner, 'either set = "status = ..." is expected, or statement = "INSERT ... SELECT ... WHERE :range"; it has %s', out.set and "both" or "neither")
	end
	if out.statement then
		if not out.statement:find(":range", 1, true) then fields.fail(owner, "statement has no :range: that is where the keys of a batch are put") end
		if out.statement:find("$", 1, true) and out.statement:find("%$%d") then fields.fail(owner, "statement has a parameter of its own, %s", out.statement:match("%$%d+")) end
		if #statements(owner, "statement", { out.statement }) > 1 then fields.fail(owner, "statement is more than one") end
		if out.skip_locked then fields.fail(owner, "skip_locked is for set: what statement locks is its own business") end
	elseif out.skip_locked == nil then
		out.skip_locked = true
	end
	if not out.batch then
		out.batch, out.batch_time = BATCH, out.batch_time or BATCH_TIME_NS
	end
	if out.batch_time == 0 then fields.fail(owner, 'batch_time = "0": how long a batch should take is expected, "500ms"') end
	if out.batch_time and (out.batch_min > out.batch_max) then fields.fail(owner, "batch_min is above batch_max") end
	if not out.transaction then fields.fail(owner, "transaction = false: each batch has one of its own, that is what it is for") end
	check_policy(owner, out)
	if out.irreversible then out.down = nil end
	return out
end

-- ---- tables that change places ----

local SWAP = with_policy(with_down { tables = { "table", required = true, why = 'which tables change places: { users = "users_new" }' },
	references = { "references", default = "refuse" }, down = { "nothing" } })

-- Renames pairs of tables in one transaction, so that each gets the other's name. Its down swaps them back.
function steps.makers.swap_tables(step)
	local out, owner = checked("swap_tables", step, SWAP)
	local pairs_of, seen = {}, {}
	for live, other in pairs(out.tables) do
		for _, name in ipairs { live, other } do
			if type(name) ~= "string" or not name:match("^[^%s;]+$") then fields.fail(owner, 'tables: %s is not the name of a table; expected is { users = "users_new" }', fields.show(name)) end
			if seen[name] then fields.fail(owner, "tables: %q stands in it twice", name) end
			seen[name] = true
		end
		pairs_of[#pairs_of + 1] = { live = live, other = other }
	end
	if #pairs_of == 0 then fields.fail(owner, 'tables is empty; expected is { users = "users_new" }') end
	table.sort(pairs_of, function(a, b) return a.live < b.live end)
	out.tables, out.transaction = pairs_of, true
	check_policy(owner, out)
	return out
end

-- ---- traffic and application ----

local DEPLOY = with_common {
	from = { "name", required = true, why = "the app version that runs before" },
	to = { "name", required = true, why = "the app version that runs after" }, every = { "time", default = "1s" },
}

-- Replaces the pods of one app version by those of another, one by one. Its down deploys back.
function steps.makers.deploy(step)
	local out, owner = checked("deploy", step, DEPLOY)
	if out.from == out.to then fields.fail(owner, "from and to are both %q", out.to) end
	return out
end

local LOAD_STEP = with_common { rate = { "rate" }, mix = { "mix" }, flags = { "flags" } }

-- Changes the traffic: its rate, its mix, feature flags of the workload. A rollback leaves it as it is.
function steps.makers.load(step)
	local out, owner = checked("load", step, LOAD_STEP)
	if not out.rate and not out.mix and not out.flags then fields.fail(owner, "it has neither rate nor mix nor flags; give one of them or more") end
	return out
end

local FLAG = with_common { flag = { "text", required = true, why = "the name of a feature flag of the workload" },
	from = { "flag_value", required = true, why = "its value before, for the way back" }, to = { "flag_value", required = true, why = "its value from now on" } }

-- Gives a feature flag of the workload another value. Its down gives it back.
function steps.makers.flag(step)
	local out, owner = checked("flag", step, FLAG)
	if out.from == out.to then fields.fail(owner, "from and to are both %s", fields.show(out.to)) end
	if type(out.from) ~= type(out.to) then fields.fail(owner, "from and to are a %s and a %s; a flag has one type", type(out.from), type(out.to)) end
	out.flags, out.flags_back = { [out.flag] = out.to }, { [out.flag] = out.from }
	return out
end

-- ---- waiting, commands, several at once ----

local WAIT = with_common { query = { "text" }, replay_lag = { "time" }, time = { "time" }, every = { "time", default = "250ms" } }

-- Waits until a query's first value is true, until no standby is further behind than that, or for a time.
function steps.makers.wait_until(step)
	local out, owner = checked("wait_until", step, WAIT)
	local n = (out.query and 1 or 0) + (out.replay_lag and 1 or 0) + (out.time and 1 or 0)
	if n ~= 1 then fields.fail(owner, "one of query, replay_lag and time is expected, not %d", n) end
	if out.every == 0 then fields.fail(owner, 'every = "0" would never pause') end
	if out.time and out.timeout and out.timeout < out.time then fields.fail(owner, "its timeout ends before its time") end
	if not out.time and not out.timeout then out.timeout = fields.parse_time "5min" end
	return out
end

local EXEC = with_down { up = { "command", required = true, why = 'a command: { "flyway", "migrate" }, or text for a shell' }, down = { "command" }, dir = { "text" }, env = { "environment", default = {} } }

-- Runs a program with the target's PG* environment. Exit code 0 is success.
function steps.makers.exec(step)
	local out, owner = checked("exec", step, EXEC)
	local folder = scenario_folder()
	out.dir = not out.dir and folder or out.dir:sub(1, 1) == "/" and out.dir or folder .. "/" .. out.dir
	return check_reversible(owner, out)
end

local PARALLEL = with_common { steps = { "table", required = true, why = "the steps that are performed side by side" } }

-- Performs steps side by side, each with a session of its own. Its down performs theirs in reverse, one after the other.
function steps.makers.parallel(step)
	local out, owner = checked("parallel", step, PARALLEL)
	for i, one in ipairs(out.steps) do
		if type(one) ~= "table" then fields.fail(owner, "steps[%d] is %s; a step is expected", i, fields.show(one)) end
		if not one.kind then out.steps[i] = steps.makers.step(one) end
		if one.kind == "parallel" or one.kind == "deploy" then fields.fail(owner, "step %q is a %s, which cannot run beside others", one.name, one.kind) end
	end
	if #out.steps < 2 then fields.fail(owner, "it has %d steps; two or more are expected", #out.steps) end
	return out
end

-- ---- all of a scenario ----

local RECONCILE = with_common {
	table = { "text" }, key = { "key", required = true, why = 'the columns that tell rows apart: key = "id", or { "order_id", "line" }' },
	old = { "text", required = true, why = "the old form: an expression of `table`, or a table or query of its own" },
	new = { "text", required = true, why = "the new form, likewise" },
	columns = { "key" }, chunk = { "positive", default = 5000 }, pause = { "time", default = "0" }, recheck = { "time", default = "500ms" },
}

-- Compares two forms of the same data while traffic goes on: two expressions of a table's rows, or two tables or queries by key.
function steps.makers.reconcile(step)
	local out, owner = checked("reconcile", step, RECONCILE)
	if out.table and out.columns then fields.fail(owner, "columns are of two tables or queries; with table, old and new are expressions of its rows") end
	out.down = false
	if #out.criteria == 0 then out.criteria = { string.format("reconcile[%s].mismatches = 0", out.name) } end
	return out
end

-- Calls visit(step) for each step and for those inside of it, in order.
function steps.each(list, visit)
	for _, step in ipairs(list) do
		visit(step)
		if step.kind == "parallel" then steps.each(step.steps, visit) end
	end
end

-- The checked list, the set of all names, and the criteria of all steps.
function steps.check(given_steps, versions)
	local list, seen, criteria, running, left = {}, {}, {}, "v1", {}
	for i, step in ipairs(given_steps) do
		if type(step) ~= "table" then
			local known = {}
			for kind in pairs(steps.makers) do known[#known + 1] = "rehearse." .. kind end
			fields.fail("the scenario", "steps[%d] is %s; expected is one of %s", i, fields.show(step), fields.list(known))
		end
		list[i] = step.kind and step or steps.makers.step(step)
	end
	for key in pairs(given_steps) do
		if math.type(key) ~= "integer" or key < 1 or key > #list then fields.fail("the scenario", "steps is a list; %s is not one of its places", fields.show(key)) end
	end
	if #list == 0 then fields.fail("the scenario", "steps is empty") end
	if list[#list].part then fields.fail(string.format("step %q", list[#list].name), "part = true, but there is no step behind it that it could be a part with") end
	steps.each(list, function(step)
		local owner = string.format("step %q", step.name)
		if seen[step.name] then fields.fail(owner, "two steps have this name; criteria could not tell them apart") end
		seen[step.name] = true
		table.move(step.criteria, 1, #step.criteria, #criteria + 1, criteria)
		if step.kind ~= "deploy" then return end
		for _, version in ipairs { step.from, step.to } do
			if version ~= "v1" and not versions[version] then
				fields.fail(owner, "there is no app version %q; v1 is the workload as it stands, others are defined in versions", version)
			end
		end
		if step.from ~= running then fields.fail(owner, "from = %q, but %q is what runs by then", step.from, running) end
		left[step.from] = true
		if left[step.to] then fields.fail(owner, "to = %q, which was replaced before: the deploys go in a circle; the way back is what down is for", step.to) end
		running = step.to
	end)
	return list, seen, criteria
end

return steps
