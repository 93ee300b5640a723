-- pgbench's scripts as a workload: each script is a transaction, translated to Lua, and runs unchanged.
--
-- return require "pgbench" { scripts = { "tpcb-like", { "my.sql", weight = 3 } }, define = { n = 5 } } is a whole workload file;
-- workload = "pgbench:tpcb-like,my.sql@3?var.n=5" says the same in a scenario or on the command line.

local functions = require "pgbench.functions"
local script = require "pgbench.script"
local tables = require "pgbench.tables"
local trial = require "pgbench.trial"

local M = {}

-- Names of the scripts that come with pgbench; their files lie in workloads/pgbench.
M.BUILTINS = { "select-only", "simple-update", "tpcb-like" }

local PROTOCOLS = { simple = true, extended = true, prepared = true }

local PARAMETERS_MAX = 64
local SCRIPTS_MAX = 128
local TRIES_MAX = 1000

-- A mistake of whoever named the scripts, as script.lua's refusals: what, and what would be accepted.
local function refuse(what, hint)
	error({ message = what, hint = hint }, 0)
end

-- workloads/ of the program: the folder that holds lib/pgbench/init.lua.
local function home()
	return (debug.getinfo(1, "S").source:match("^@(.*)lib/pgbench/init%.lua$") or "") .. "pgbench/"
end

-- A built-in by its name or the beginning of it that only it has.
local function find_builtin(name)
	local found = {}
	for _, builtin in ipairs(M.BUILTINS) do
		if builtin == name then
			return builtin
		elseif builtin:sub(1, #name) == name then
			found[#found + 1] = builtin
		end
	end
	if #found > 1 then
		refuse(("%s may mean %s"):format(name, table.concat(found, " or ")))
	end
	return found[1]
end

local function read_file(name)
	local file, problem = io.open(name, "rb")
	if file and file:read(0) == nil and file:seek("end") ~= 0 then
		file, problem = nil, name .. " is a folder"
	end
	if file then
		file:seek("set")
		local text = file:read("a")
		file:close()
		return text
	end
	return nil, problem
end

-- A script may lie beside what names it: in the folder of the scenario, or beside a workload file, where modules are looked for too.
local function find_beside(name, beside)
	local templates = (beside and beside .. "/?.lua;" or "") .. package.path
	for template in templates:gmatch("[^;]+") do
		local folder = template:match("^(.*/)%?%.lua$")
		if folder and name:sub(1, 1) ~= "/" and read_file(folder .. name) then
			return folder .. name
		end
	end
	return name
end

-- Path, text and whether it is a built-in.
local function open_script(name, beside)
	name = find_beside(name, beside)
	local text, problem = read_file(name)
	if text and text:find("\0", 1, true) then
		refuse(name .. " holds a zero byte, which SQL cannot", "a text file")
	elseif text then
		return name, text, false
	end
	local builtin = not name:find("/") and find_builtin(name)
	if not builtin then
		refuse("there is no pgbench script " .. name .. ": " .. problem, "a file, or one of pgbench's own: " .. table.concat(M.BUILTINS, ", "))
	end
	local path = home() .. builtin .. ".sql"
	text, problem = read_file(path)
	if not text then
		refuse(problem)
	end
	return path, text, true
end

local function unique(name, taken)
	name = name:gsub("^.*/", ""):gsub("%.[%w]+$", ""):gsub("[^%w_]", "_")
	if name:find("^%d") or name == "" or name == "statements" or name == "extends" then
		name = "_" .. name
	end
	local candidate, n = name, 1
	while taken[candidate] do
		n = n + 1
		candidate = name .. "_" .. n
	end
	taken[candidate] = true
	return candidate
end

-- The scripts of options.scripts: { path, text, weight, builtin, name }. A weight of 0 leaves a script out, as long as another one is left.
local function open_scripts(list, beside)
	local out, taken = {}, {}
	if type(list) ~= "table" or #list == 0 then
		refuse("scripts names no script", 'scripts = { "tpcb-like", { "my.sql", weight = 3 } }')
	elseif #list > SCRIPTS_MAX then
		refuse(("there are %d scripts"):format(#list), "at most " .. SCRIPTS_MAX)
	end
	for _, entry in ipairs(list) do
		entry = type(entry) == "table" and entry or { entry }
		if type(entry[1]) ~= "string" then
			refuse("a script is a " .. type(entry[1]), "the name of a file or a built-in")
		end
		local weight = entry.weight == nil and 1 or math.tointeger(entry.weight)
		if not weight or weight < 0 then
			refuse(("the weight %s of %s is none"):format(tostring(entry.weight), entry[1]), "a whole number of 0 or more")
		end
		local path, text, builtin = open_script(entry[1], beside)
		if weight > 0 then
			out[#out + 1] = { path = path, text = text, weight = weight, builtin = builtin, name = unique(path, taken) }
		end
	end
	if #out == 0 then
		refuse("all scripts have the weight 0", "at least one of them must be above it")
	end
	return out
end

local function check_defines(define)
	for name, value in pairs(define) do
		if type(name) ~= "string" or not name:find("^[%a_\x80-\xff][%w_\x80-\xff]*$") then
			refuse("a variable cannot be called " .. tostring(name), "letters, digits and _, not a digit first")
		elseif type(value) == "number" or type(value) == "boolean" then
			define[name] = functions.show(value)
		elseif type(value) ~= "string" then
			refuse(("the variable %s is a %s"):format(name, type(value)), "text, a number or a boolean")
		end
	end
	return define
end

-- Variables that are there from the start, for one client. Those of -D win.
local function first_variables(state, client)
	local v = { scale = state.scale, client_id = client, random_seed = state.seed, default_seed = state.default_seed }
	for name, value in pairs(state.define) do
		v[name] = value
	end
	return v
end

-- The scale of pgbench's tables is a whole number.
local function whole(scale)
	return math.max(1, math.ceil(scale))
end

-- A table for `workload`. options: scripts, define, protocol ("simple"; "extended" runs as "prepared"), scale (of the tables that are
-- there; that of the run when left out), max_tries (of a transaction that meets a serialization failure or a deadlock; 1), name.
function M.workload(options)
	local protocol = options.protocol or "simple"
	if not PROTOCOLS[protocol] then
		refuse("there is no protocol " .. tostring(protocol), "simple, extended or prepared")
	end
	local tries = math.tointeger(options.max_tries or 1)
	if not tries or tries < 1 or tries > TRIES_MAX then
		refuse(("a transaction cannot be tried %s times"):format(tostring(options.max_tries)), "max_tries from 1 to " .. TRIES_MAX)
	end
	local state = { define = check_defines(options.define or {}), scale = whole(options.scale or 1), seed = 0, default_seed = 0 }
	local variables = { scale = true, client_id = true, random_seed = true, default_seed = true }
	for name in pairs(state.define) do
		variables[name] = true
	end
	local scripts = open_scripts(options.scripts, options.beside)
	for _, s in ipairs(scripts) do
		s.commands = script.read(s.path, s.text)
		script.collect_variables(s.commands, variables)
	end

	local function variables_of(c)
		local v = c.variables
		if not v then
			v = first_variables(state, c.number)
			c.variables = v
		end
		return v
	end
	local statements, transactions, runs = {}, {}, {}
	for i, s in ipairs(scripts) do
		runs[i] = script.translate(s.commands, { path = s.path, name = s.name, simple = protocol == "simple", variables = variables,
			statements = statements, parameters_max = PARAMETERS_MAX, variables_of = variables_of })
		transactions[s.name] = { weight = s.weight, run = runs[i],
			retry = tries > 1 and { on = { "40001", "40P01" }, times = tries - 1, backoff = "0s" } or nil }
	end
	local mistake = trial.perform(runs)
	if mistake then
		refuse(mistake)
	end
	return {
		name = options.name or "pgbench",
		schema = tables.schema(whole),
		generate = tables.generate(whole),
		finish = tables.finish,
		statements = statements,
		transactions = transactions,
		setup = function(info)
			state.scale = whole(options.scale or info.scale)
			state.seed = info.seed
			state.default_seed = functions.hash_murmur2(info.seed, 0)
		end,
	}
end

-- ---- a workload in one line ----

local function decode(text)
	return (text:gsub("%%(%x%x)", function(digits) return string.char(tonumber(digits, 16)) end))
end

-- SCRIPT[@WEIGHT]{,SCRIPT[@WEIGHT]}[?KEY=VALUE{&KEY=VALUE}], with %XX for what would end a part. Keys: protocol, scale,
-- max_tries, beside (a folder where scripts may lie), var.NAME.
local function parse_line(line)
	local options = { scripts = {}, define = {} }
	local list, settings = line:match("^([^?]*)%??(.*)$")
	for item in list:gmatch("[^,]+") do
		local name, weight = item:match("^(.*)@([^@]*)$")
		if weight and not weight:find("^%d+$") then
			refuse(("the weight @%s of %s is none"):format(decode(weight), decode(name)), "a whole number of 0 or more: FILE@3")
		end
		options.scripts[#options.scripts + 1] = { decode(name or item), weight = tonumber(weight) }
	end
	for item in settings:gmatch("[^&]+") do
		local key, value = item:match("^([^=]*)=(.*)$")
		local variable = key and decode(key):match("^var%.(.*)$")
		if variable then
			options.define[variable] = decode(value)
		elseif key == "protocol" or key == "beside" then
			options[key] = decode(value)
		elseif (key == "scale" or key == "max_tries") and tonumber(value) then
			options[key] = tonumber(value)
		else
			refuse(("pgbench scripts have no setting %s"):format(decode(item)), "protocol=simple, scale=10, max_tries=3 or var.NAME=VALUE")
		end
	end
	return options
end

-- For the program: the workload of such a line, or nil, what is wrong with it, and what would be accepted.
function M.from_line(line)
	local ok, result = pcall(function() return M.workload(parse_line(line)) end)
	if ok then
		return result
	elseif type(result) == "table" then
		return nil, result.message, result.hint
	end
	error(result, 0)
end

return setmetatable(M, { __call = function(_, options)
	return M.workload(options)
end })
