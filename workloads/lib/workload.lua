-- What a workload file calls: checks that its table makes sense and, for the program, lays it out as a plan: plain sorted
-- lists that C reads without asking further. Documented in workloads/README.md.

local values = require "workload.values"

local M = { bytea = values.bytea, array = values.array, json = values.json, null = values.null }

local Mistake = {}

-- what is wrong, and what would be accepted
local function refuse(hint, what, ...)
	error(setmetatable({ message = what:format(...), hint = hint }, Mistake), 0)
end

local function sorted_keys(t)
	local keys = {}
	for key in pairs(t) do
		keys[#keys + 1] = key
	end
	table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
	return keys
end

local function list(t)
	local names = sorted_keys(t)
	for i, name in ipairs(names) do
		names[i] = tostring(name)
	end
	return #names > 0 and table.concat(names, ", ") or "none"
end

-- Every key of t is known and every value has the type that its key asks for; "string|function" allows either, "!" at
-- the end means that it must be there.
local function check_fields(what, t, fields)
	if type(t) ~= "table" then
		refuse("a table with " .. list(fields), "%s is a %s, not a table", what, type(t))
	end
	for _, key in ipairs(sorted_keys(t)) do
		if not fields[key] then
			refuse("accepted: " .. list(fields), "%s has a field %s that means nothing", what, tostring(key))
		end
	end
	for _, key in ipairs(sorted_keys(fields)) do
		local types, value = fields[key], t[key]
		local needed = types:sub(-1) == "!"
		types = types:gsub("!", "")
		if value == nil then
			if needed then
				refuse("accepted: " .. types:gsub("|", " or "), "%s has no %s", what, key)
			end
		elseif not ("|" .. types .. "|"):find("|" .. type(value) .. "|", 1, true) then
			refuse("accepted: " .. types:gsub("|", " or "), "%s: %s is a %s", what, key, type(value))
		end
	end
end

local function check_name(what, name)
	if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") then
		refuse("a name of letters, digits and _", "%s %s cannot be called that", what, tostring(name))
	end
	return name
end

-- A list of SQL steps from a string or a list; a list within the list is a group whose members may run at once.
local function check_sql_steps(what, value)
	if value == nil then
		return {}
	end
	local steps = type(value) == "string" and { value } or value
	local expected = "a string of SQL, or a list of them; a list within the list runs at once"
	if type(steps) ~= "table" then
		refuse(expected, "%s is a %s", what, type(value))
	end
	local out = {}
	for i, step in ipairs(steps) do
		local group = type(step) == "string" and { step } or step
		if type(group) ~= "table" or #group == 0 then
			refuse(expected, "%s[%d] is a %s", what, i, type(step))
		end
		for _, sql in ipairs(group) do
			if type(sql) ~= "string" then
				refuse(expected, "%s[%d] holds a %s", what, i, type(sql))
			end
		end
		out[i] = group
	end
	if #out ~= #sorted_keys(steps) then
		refuse(expected, "%s is not a plain list", what)
	end
	return out
end

local function check_top(w)
	check_fields("the workload", w, {
		name = "string!", schema = "string|table|function", generate = "table", finish = "string|table", setup = "function",
		statements = "table!", transactions = "table!", actors = "table", checks = "table", flags = "table", ledger = "boolean",
	})
	check_name("a workload", w.name)
end

local function check_rows(what, rows, scale)
	if type(rows) == "function" then
		rows = rows(scale)
	end
	rows = math.tointeger(rows)
	if not rows or rows < 0 then
		refuse("a whole number of 0 or more, or a function of scale that returns one", "%s: rows is not a number of rows", what)
	end
	return rows
end

local function generators(w, scale)
	local out, seen = {}, {}
	for i, g in ipairs(w.generate or {}) do
		local what = "generate[" .. i .. "]"
		check_fields(what, g, { table = "string!", columns = "string!", rows = "number|function!", row = "function!" })
		if seen[g.table] then
			refuse("one entry a table", "%s fills %s a second time", what, g.table)
		end
		seen[g.table] = true
		out[i] = { table = g.table, columns = g.columns, rows = check_rows(what, g.rows, scale), row = g.row }
	end
	if w.generate and #out ~= #sorted_keys(w.generate) then
		refuse("{ { table = ..., columns = ..., rows = ..., row = ... }, ... }", "generate is not a plain list")
	end
	return out
end

local function statement(owner, name, st)
	check_name(owner .. ": statement", name)
	local what = owner .. ": statement " .. name
	if type(st) == "string" then
		st = { st }
	end
	if type(st) ~= "table" or type(st[1]) ~= "string" then
		refuse('"SQL" or { "SQL", types = { "int8", "text" } }', "%s has no SQL", what)
	end
	check_fields(what, st, { [1] = "string!", types = "table" })
	for _, type_name in ipairs(st.types or {}) do
		if type(type_name) ~= "string" then
			refuse('names of types, such as "int8"', "%s: types holds a %s", what, type(type_name))
		end
	end
	return { name = name, sql = st[1], types = st.types, owner = owner }
end

-- Reserved in the table of a version, so no transaction may be called that.
local VERSION_WORDS = { statements = true, extends = true }

-- A connection that was lost leaves it open whether the transaction took place, so it is not repeated.
local function retry(what, r)
	if r == nil then
		return nil
	end
	check_fields(what .. ": retry", r, { on = "table", times = "number", backoff = "string" })
	local on, times = r.on or { "40001", "40P01" }, math.tointeger(r.times or 3)
	for _, sqlstate in ipairs(on) do
		if type(sqlstate) ~= "string" or not sqlstate:match("^[0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z][0-9A-Z]$") or sqlstate:match("^08") then
			refuse('SQLSTATEs such as "40001"; not of class 08, where it is not known what became of the transaction',
				"%s cannot be retried on %s", what, tostring(sqlstate))
		end
	end
	if #on == 0 or #on > 16 or not times or times < 1 or times > 1000 then
		refuse('retry = { on = { "40001", "40P01" }, times = 3, backoff = "10ms" }; 1 to 16 SQLSTATEs, 1 to 1000 times',
			"%s: retry does not say on what, or how often", what)
	end
	return { on = on, times = times, backoff = r.backoff or "10ms" }
end

local function transactions(w)
	local out = {}
	for _, name in ipairs(sorted_keys(w.transactions)) do
		check_name("a transaction", name)
		local t, what = w.transactions[name], "transaction " .. name
		if VERSION_WORDS[name] then
			refuse("any other name", "%s: that word has a meaning in versions", what)
		end
		check_fields(what, t, { weight = "number", read_only = "boolean", args = "function", run = "function!", retry = "table",
			statement_timeout = "string", cancel_after = "string" })
		local weight = t.weight or 1
		if not (weight > 0 and weight < math.huge) then
			refuse("a number above 0; it is relative to the sum of all weights", "%s: weight is %s", what, weight)
		end
		out[#out + 1] = { name = name, weight = weight, read_only = t.read_only or false, args = t.args, run = t.run, retry = retry(what, t.retry),
			statement_timeout = t.statement_timeout, cancel_after = t.cancel_after }
	end
	if #out == 0 then
		refuse("transactions = { NAME = { weight = 1, run = function(c) ... end } }", "the workload has no transactions")
	end
	return out
end

-- One version after another, each behind the one that it extends.
local function versions(w, overrides, plan)
	local known = {}
	for _, t in ipairs(plan.transactions) do
		known[t.name] = true
	end
	local done = {}
	local function add(version)
		done[version.name] = version
		plan.versions[#plan.versions + 1] = version
		return version
	end
	local function number(st)
		plan.statements[#plan.statements + 1] = st
		st.index = #plan.statements - 1
		return st
	end
	local v1 = add { name = "v1", runs = {}, statements = {} }
	for _, name in ipairs(sorted_keys(w.statements)) do
		v1.statements[name] = number(statement("the workload", name, w.statements[name]))
	end
	for i, t in ipairs(plan.transactions) do
		v1.runs[i] = t.run
	end
	local path = {}
	local function build(name)
		if done[name] then
			return done[name]
		end
		check_name("a version", name)
		local what, o = "version " .. name, overrides[name]
		if type(o) ~= "table" then
			refuse("versions = { v2 = { TRANSACTION = function(c, ...) end, statements = { ... } } }", "%s is a %s", what, type(o))
		end
		local base = o.extends or "v1"
		if base ~= "v1" and overrides[base] == nil or path[base] or base == name then
			refuse("v1, or another version that does not build on this one", "%s cannot extend %s", what, tostring(base))
		end
		path[name] = true
		local from = build(base)
		path[name] = nil
		local version = { name = name, runs = {}, statements = {} }
		for i, t in ipairs(plan.transactions) do
			version.runs[i] = from.runs[i]
			local run = o[t.name]
			if type(run) == "table" then
				check_fields(what .. ": " .. t.name, run, { run = "function!" })
				run = run.run
			end
			if run ~= nil and type(run) ~= "function" then
				refuse("a function(c, ...)", "%s: %s is a %s", what, t.name, type(run))
			end
			version.runs[i] = run or version.runs[i]
		end
		for _, key in ipairs(sorted_keys(o)) do
			if not VERSION_WORDS[key] and not known[key] then
				refuse("transactions of the workload: " .. list(known), "%s overrides a transaction %s, which the workload does not have",
					what, tostring(key))
			end
		end
		for key, st in pairs(from.statements) do
			version.statements[key] = st
		end
		if o.statements ~= nil and type(o.statements) ~= "table" then
			refuse('statements = { NAME = "SQL" }', "%s: statements is a %s", what, type(o.statements))
		end
		for _, key in ipairs(sorted_keys(o.statements or {})) do
			version.statements[key] = number(statement(what, key, o.statements[key]))
		end
		return add(version)
	end
	if overrides ~= nil and type(overrides) ~= "table" then
		refuse("versions = { v2 = { ... } }", "versions is a %s", type(overrides))
	end
	if overrides and overrides.v1 ~= nil then
		refuse("v2 or any other name", "versions holds v1, which is the workload as it stands")
	end
	for _, name in ipairs(sorted_keys(overrides or {})) do
		build(name)
	end
	table.sort(plan.versions, function(a, b)
		if a.name == "v1" or b.name == "v1" then
			return a.name == "v1" and b.name ~= "v1"
		end
		return a.name < b.name
	end)
end

local function actors(w)
	local out = {}
	for _, name in ipairs(sorted_keys(w.actors or {})) do
		check_name("an actor", name)
		local a, what = w.actors[name], "actor " .. name
		check_fields(what, a, { sql = "string", begin = "string", hold = "string", every = "string!" })
		if (a.sql == nil) == (a.begin == nil) or (a.begin ~= nil) ~= (a.hold ~= nil) then
			refuse('{ sql = "...", every = "5s" } or { begin = "...", hold = "10s", every = "15s" }',
				"%s does neither run sql nor begin and hold a transaction", what)
		end
		out[#out + 1] = { name = name, sql = a.sql, begin = a.begin, hold = a.hold, every = a.every }
	end
	return out
end

-- Feature flags and what they are until a scenario says otherwise. The table itself is what scripts see: C changes it.
local function flags(w)
	local out = { names = {}, values = {} }
	for i, name in ipairs(sorted_keys(w.flags or {})) do
		check_name("a flag", name)
		local value = w.flags[name]
		if type(value) ~= "boolean" and type(value) ~= "string" and not (type(value) == "number" and value == value) then
			refuse("true, false, a number or a string", "flag %s is a %s", name, type(value))
		end
		out.names[i], out.values[name] = name, value
	end
	return out
end

-- Sorted so that condition_2 stands before condition_10.
local function checks(w)
	local out = {}
	for _, name in ipairs(sorted_keys(w.checks or {})) do
		check_name("a check", name)
		local sql = w.checks[name]
		if type(sql) ~= "string" or sql:match(";%s*$") then
			refuse("a SELECT that returns the rows that are wrong, without a semicolon", "check %s is %s", name,
				type(sql) == "string" and "SQL that ends with a semicolon" or "a " .. type(sql))
		end
		out[#out + 1] = { name = name, sql = sql, order = name:gsub("%d+", function(digits) return ("0"):rep(9 - #digits) .. digits end) }
	end
	table.sort(out, function(a, b) return a.order < b.order end)
	return out
end

-- A mistake becomes nil, what, hint; any other error goes on as it is.
local function guarded(f, ...)
	local ok, result = pcall(f, ...)
	if ok then
		return result
	elseif getmetatable(result) == Mistake then
		return nil, result.message, result.hint
	end
	error(result, 0)
end

-- For C: all that traffic needs. overrides: the `versions` of a scenario, or nil.
function M.plan(w, overrides)
	return guarded(function()
		check_top(w)
		local plan = { name = w.name, setup = w.setup, transactions = transactions(w), versions = {}, statements = {}, actors = actors(w),
			checks = checks(w), flags = flags(w), ledger = w.ledger or false }
		versions(w, overrides, plan)
		return plan
	end)
end

-- What a function of the scale returns, or what is there.
local function schema_of(w, scale)
	if type(w.schema) ~= "function" then
		return w.schema
	end
	local schema = w.schema(scale)
	if schema == nil then
		refuse("SQL: a string, or a list of them", "the function schema returns nothing at scale %s", tostring(scale))
	end
	return schema
end

-- For C: all that making the data needs, and how many rows each table has at this scale.
function M.data(w, scale)
	return guarded(function()
		check_top(w)
		local data = { name = w.name, schema = check_sql_steps("schema", schema_of(w, scale)), generate = generators(w, scale),
			finish = check_sql_steps("finish", w.finish), rows = {} }
		for _, g in ipairs(data.generate) do
			data.rows[g.table] = g.rows
		end
		return data
	end)
end

local PARAMETERS = { ["nil"] = true, boolean = true, number = true, string = true }
local CALLS_MAX = 200

-- For C: performs one transaction without a server, to find statements that do not exist and wrong numbers of parameters
-- before any traffic. Queries find no rows, so it may not come far; what fails for want of rows is no mistake.
function M.try(plan, version, transaction, r)
	local t, v = plan.transactions[transaction], plan.versions[version]
	local problem, hint, calls
	local c = { version = v.name, random = r, flags = plan.flags.values }
	local function call()
		calls = calls + 1
		if problem or calls > CALLS_MAX then
			error("enough is known", 0)
		end
	end
	local function execute(_, name, ...)
		call()
		local st = v.statements[name]
		if not st then
			problem = ("transaction %s of %s executes a statement %s, which does not exist"):format(t.name, v.name, tostring(name))
			hint = "statements: " .. list(v.statements)
		elseif select("#", ...) ~= st.params then
			problem = ("transaction %s of %s gives %d parameters to statement %s"):format(t.name, v.name, select("#", ...), name)
			hint = ("it takes %d: %s"):format(st.params, st.sql)
		else
			for i = 1, st.params do
				local kind = type((select(i, ...)))
				if not PARAMETERS[kind] then
					problem = ("transaction %s of %s gives a %s as $%d of statement %s"):format(t.name, v.name, kind, i, name)
					hint = "a string, a number, a boolean or nil for NULL"
				end
			end
		end
		if problem then
			error(problem, 0)
		end
	end
	c.row = execute
	function c.exec(...)
		execute(...)
		return 0
	end
	function c.rows(...)
		execute(...)
		return {}
	end
	for _, name in ipairs { "begin", "commit", "rollback", "sleep", "sync_pipeline", "end_pipeline" } do
		c[name] = call
	end
	function c.start_pipeline(_, ...)
		call()
		for i = 1, select("#", ...) do
			local name = select(i, ...)
			if not v.statements[name] then
				problem = ("transaction %s of %s begins a pipeline with a statement %s, which does not exist"):format(t.name, v.name, tostring(name))
				hint = "statements: " .. list(v.statements)
				error(problem, 0)
			end
		end
	end
	function c.count(_, name, n)
		call()
		if type(name) ~= "string" or not name:match("^[%a_][%w_]*$") or #name > 47 or not math.tointeger(n or 1) then
			problem = ("transaction %s of %s counts %s as %s"):format(t.name, v.name, tostring(n or 1), tostring(name))
			hint = "a whole number, under a name of letters, digits and _"
			error(problem, 0)
		end
	end
	function c.pipeline(_, f)
		f { exec = execute, row = execute, rows = execute, begin = call, commit = call, rollback = call }
		return {}
	end
	calls = 0
	local args = t.args and table.pack(t.args(r)) or { n = 0 }
	pcall(v.runs[transaction], c, table.unpack(args, 1, args.n))
	return problem, hint
end

-- workload { ... } in a workload file: the table itself; the program checks it when it knows the scenario too.
return setmetatable(M, { __call = function(_, w)
	if type(w) ~= "table" then
		error("workload { name = ..., statements = ..., transactions = ... } takes one table, not a " .. type(w), 2)
	end
	return w
end })
