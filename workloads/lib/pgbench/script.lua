-- A pgbench script: text into commands, and commands into Lua.
--
-- The Lua stands on the lines of the script, so that whatever fails names the script's file and line.

local expression = require "pgbench.expression"
local functions = require "pgbench.functions"

local M = {}

-- ---- SQL, split as psql splits it ----

-- A statement is a list of parts: strings, and variables { name =, quoted = } that stand for themselves within quotes too.
-- psql calls it complete at a semicolon outside of quotes, comments, parentheses and BEGIN ATOMIC bodies.

local NAME = "^:([%a_\x80-\xff][%w_\x80-\xff]*)()"

local function add_text(sql, text)
	local last = #sql.parts
	if type(sql.parts[last]) == "string" then
		sql.parts[last] = sql.parts[last] .. text
	else
		sql.parts[last + 1] = text
	end
end

-- text[from, to): variables become parts. Two colons and more are no variable: that is a cast.
local function add_with_variables(sql, text, from, to, quoted)
	local at = from
	while at < to do
		local colon = text:find(":", at, true)
		if not colon or colon >= to then
			break
		end
		local name, after = text:match(NAME, colon)
		if name then
			add_text(sql, text:sub(at, colon - 1))
			sql.parts[#sql.parts + 1] = { name = name, quoted = quoted }
			at = after
		else
			after = text:match("^:+()", colon)
			add_text(sql, text:sub(at, after - 1))
			at = after
		end
	end
	if at < to then
		add_text(sql, text:sub(at, to - 1))
	end
end

-- Each returns where what begins at `at` ends, the end of the text when it never does.
local function end_of_quoted(text, at, quote, backslashes)
	local stop = "[" .. quote .. (backslashes and "\\" or "") .. "]"
	at = at + 1
	while true do
		local found = text:find(stop, at)
		if not found then
			return #text + 1
		elseif text:sub(found, found) == "\\" or text:sub(found + 1, found + 1) == quote then
			at = found + 2
		else
			return found + 1
		end
	end
end

local function end_of_comment(text, at)
	local depth = 0
	while true do
		local found, mark = text:match("()([/*][*/])", at)
		if not found then
			return #text + 1
		elseif mark == "/*" then
			depth, at = depth + 1, found + 2
		elseif mark == "*/" then
			depth, at = depth - 1, found + 2
			if depth == 0 then
				return at
			end
		else
			at = found + 1
		end
	end
end

-- CREATE FUNCTION and PROCEDURE may hold a body from BEGIN to END whose semicolons are its own.
local function note_word(sql, word)
	word = word:lower()
	sql.words = sql.words + 1
	if sql.words <= 4 then
		sql.beginning = sql.beginning .. word .. " "
	end
	local b = sql.beginning
	if not (b:find("^create function ") or b:find("^create procedure ") or b:find("^create or replace [fp]")) then
		return
	elseif word == "begin" then
		sql.bodies = sql.bodies + 1
	elseif word == "case" and sql.bodies > 0 then
		sql.bodies = sql.bodies + 1
	elseif word == "end" and sql.bodies > 0 then
		sql.bodies = sql.bodies - 1
	end
end

local function new_sql()
	return { parts = {}, words = 0, beginning = "", bodies = 0, parentheses = 0, statements = 0, begun = false }
end

-- nil when there is nothing to send. Blanks around are dropped.
local function finish_sql(sql)
	local parts = sql.parts
	if type(parts[1]) == "string" then
		parts[1] = parts[1]:gsub("^%s+", "")
	end
	local last = #parts
	if type(parts[last]) == "string" then
		parts[last] = parts[last]:gsub("%s+$", "")
	end
	for i = #parts, 1, -1 do
		if parts[i] == "" then
			table.remove(parts, i)
		end
	end
	return #parts > 0 and { kind = "sql", parts = parts, statements = sql.statements } or nil
end

-- Reads SQL from `at`. Returns what ended it ("semicolon", "backslash", "end") and where that is, behind it for a semicolon.
local function read_sql(text, at, sql)
	while at <= #text do
		local c, two = text:sub(at, at), text:sub(at, at + 1)
		local last
		if c == "'" or c == '"' then
			last = end_of_quoted(text, at, c, sql.escapes)
			add_with_variables(sql, text, at, last, true)
		elseif two == "--" then
			last = text:find("\n", at, true) or #text + 1 -- left out
		elseif two == "/*" then
			last = end_of_comment(text, at)
			add_text(sql, text:sub(at, last - 1))
		elseif c:find("[%a_\x80-\xff]") then
			local word
			word, last = text:match("^([%w_$\x80-\xff]+)()", at)
			note_word(sql, word)
			add_text(sql, word)
		elseif c == "$" and text:find("^%$[%w_\x80-\xff]*%$", at) and not text:find("^%$%d", at) then
			local tag = text:match("^%$[%w_\x80-\xff]*%$", at)
			local found = text:find(tag, at + #tag, true)
			last = found and found + #tag or #text + 1
			add_with_variables(sql, text, at, last, true)
		elseif c:find("%d") then
			last = text:match("^%d+%.?%d*()", at)
			last = text:match("^[eE][-+]?%d+()", last) or last
			add_text(sql, text:sub(at, last - 1))
		elseif two == "\\;" or two == "\\:" then
			last = at + 2
			add_text(sql, text:sub(at + 1, at + 1))
		elseif c == "\\" then
			return "backslash", at
		elseif c == ";" and sql.parentheses == 0 and sql.bodies == 0 then
			if not finish_sql(sql) then
				add_text(sql, ";") -- an empty query is one too: it measures what a round trip costs
			end
			return "semicolon", at + 1
		elseif c == ":" then
			local _, after = text:match(NAME, at)
			last = after or text:match("^:+()", at)
			add_with_variables(sql, text, at, last, false)
		else
			sql.parentheses = c == "(" and sql.parentheses + 1 or c == ")" and math.max(sql.parentheses - 1, 0) or sql.parentheses
			last = at + 1
			add_text(sql, c)
		end
		if two == "\\;" then
			sql.begun = false
		elseif not sql.begun and c:find("%S") and two ~= "--" and two ~= "/*" then
			sql.begun, sql.statements = true, sql.statements + 1
		end
		sql.escapes = c:find("^[eE]$") and last == at + 1
		at = last
	end
	return "end", at
end

-- ---- backslash commands ----

local ARGUMENTS_MAX = 255

local function check_variable_name(fail, place, name)
	if not name:find("^[%a_\x80-\xff][%w_\x80-\xff]*$") then
		fail(place, "a variable cannot be called " .. name, "letters, digits and _, not a digit first")
	end
	return name
end

-- Words up to the end of the line, each with its place; returns them and where the next line begins. A line that ends with a backslash
-- goes on.
local function read_words(text, at)
	local words = {}
	while true do
		at = text:match("^[ \t\r\f\v]+()", at) or at
		local c = text:sub(at, at)
		if c == "" or c == "\n" then
			return words, at + 1
		end
		local after = text:match("^\\\r?\n()", at)
		if not after then
			local word
			word, after = text:match("^([^ \t\r\f\v\n]+)()", at)
			if word:sub(-1) == "\\" and text:find("^\r?\n", after) then
				word, after = word:sub(1, -2), text:match("^\r?\n()", after)
			end
			words[#words + 1] = { text = word, place = at }
		end
		at = after
	end
end

local UNITS = { us = 1e-6, ms = 1e-3, s = 1 }

local function read_sleep(words, fail)
	local amount, unit = words[1], words[2]
	if not amount then
		fail(nil, "\\sleep has no argument", "\\sleep 10 ms, \\sleep :variable us")
	elseif words[3] then
		fail(words[3].place, "\\sleep has too many arguments", "\\sleep 10 ms, \\sleep :variable us")
	end
	local number, rest = amount.text:match("^([-+]?%d+)(.*)$")
	local command = { kind = "sleep" }
	local unit_text = unit and unit.text
	if amount.text:sub(1, 1) == ":" then
		command.variable = amount.text:sub(2)
	elseif not number or rest ~= "" and unit then
		fail(amount.place, "\\sleep cannot wait for " .. amount.text, "a whole number and us, ms or s")
	else
		command.amount = tonumber(number)
		unit_text = rest ~= "" and rest or unit_text
	end
	command.unit = UNITS[(unit_text or "s"):lower()]
	if not command.unit then
		fail((unit or amount).place, "\\sleep knows no unit " .. unit_text, "us, ms or s; s when left out")
	end
	return command
end

-- The command line of a shell: words are joined by blanks; :name is a variable, ::name the text ":name".
local function read_shell(words, from, name, fail)
	if #words > ARGUMENTS_MAX - 1 then
		fail(words[ARGUMENTS_MAX].place, name .. " has too many arguments", "at most " .. ARGUMENTS_MAX - 1)
	end
	local command = { parts = {} }
	for i = from, #words do
		local word = words[i].text
		if i > from then
			add_text(command, " ")
		end
		if word:find("^:[^:]") then
			command.parts[#command.parts + 1] = { name = word:sub(2) }
		else
			add_text(command, (word:gsub("^::", ":")))
		end
	end
	if #command.parts == 0 then
		fail(nil, name .. " has no command to run", name == "\\shell" and "\\shell COMMAND ARGUMENT..." or "\\setshell VARIABLE COMMAND ARGUMENT...")
	end
	return command
end

local function no_arguments(name, words, fail)
	if words[1] then
		fail(words[1].place, "\\" .. name .. " takes no argument")
	end
	return { kind = name }
end

-- Commands that take words.
local COMMANDS = {}

for _, name in ipairs { "else", "endif", "startpipeline", "syncpipeline", "endpipeline" } do
	COMMANDS[name] = function(words, fail)
		return no_arguments(name, words, fail)
	end
end

for _, name in ipairs { "gset", "aset" } do
	COMMANDS[name] = function(words, fail)
		if words[2] then
			fail(words[2].place, "\\" .. name .. " has too many arguments", "\\" .. name .. ", or with a prefix for the names of variables")
		end
		return { kind = name, prefix = words[1] and words[1].text or "" }
	end
end

COMMANDS.sleep = read_sleep

function COMMANDS.shell(words, fail)
	local command = read_shell(words, 1, "\\shell", fail)
	command.kind = "shell"
	return command
end

function COMMANDS.setshell(words, fail)
	local command = read_shell(words, 2, "\\setshell", fail)
	command.kind, command.name = "setshell", check_variable_name(fail, words[1].place, words[1].text)
	return command
end

local function read_expression(kind, text, at, fail)
	if text:find("^[ \t\r\f\v]*\n", at) or text:find("^[ \t\r\f\v]*$", at) then
		fail(nil, "\\" .. kind .. " has no expression")
	end
	local tree, after = expression.parse(text, at, fail)
	return { kind = kind, tree = tree }, after
end

-- The command behind the backslash at `at`; returns it and where the next line begins.
local function read_command(text, at, fail)
	at = text:match("^[ \t\r\f\v]*()", at + 1)
	local word, after = text:match("^([^ \t\r\f\v\n]+)()", at)
	local name = (word or ""):lower()
	if name == "if" or name == "elif" then
		return read_expression(name, text, after, fail)
	elseif name == "set" then
		local place = text:match("^[ \t\r\f\v]*()", after)
		local variable, behind = text:match("^([^ \t\r\f\v\n]+)()", place)
		if not variable then
			fail(nil, "\\set has no arguments", "\\set VARIABLE EXPRESSION")
		end
		check_variable_name(fail, place, variable)
		local command
		command, after = read_expression(name, text, behind, fail)
		command.name = variable
		return command, after
	elseif not COMMANDS[name] then
		local names = { "set", "if", "elif" }
		for known in pairs(COMMANDS) do
			names[#names + 1] = known
		end
		table.sort(names)
		fail(at, "there is no command \\" .. (word or ""), "commands: " .. table.concat(names, ", "))
	end
	local words
	words, after = read_words(text, after)
	return COMMANDS[name](words, fail), after
end

-- ---- the whole script ----

local function line_of(text, place)
	local line = 1
	for at in text:gmatch("()\n") do
		if at >= place then
			break
		end
		line = line + 1
	end
	return line
end

-- A refusal: what, with the file and line, and what would be accepted.
local function refuse(where, what, hint)
	error({ where = where, message = where .. ": " .. what, hint = hint }, 0)
end

-- \if and its fellows match up; \gset and \aset follow SQL and become part of it.
local function check_structure(path, commands)
	local open, out = {}, {}
	for _, command in ipairs(commands) do
		local kind, top = command.kind, open[#open]
		local where = path .. ":" .. command.line
		if kind == "gset" or kind == "aset" then
			local sql = out[#out]
			if not sql or sql.kind ~= "sql" or sql.into then
				refuse(where, "\\" .. kind .. " must follow an SQL command", "SELECT 1 AS one \\" .. kind)
			end
			sql.into, sql.prefix = kind, command.prefix
		else
			if kind == "if" then
				open[#open + 1] = command
			elseif kind == "elif" or kind == "else" or kind == "endif" then
				if not top then
					refuse(where, "\\" .. kind .. " without an \\if before it")
				elseif top.otherwise and kind ~= "endif" then
					refuse(where, "\\" .. kind .. " after \\else")
				end
				top.otherwise = top.otherwise or kind == "else"
				open[#open] = kind ~= "endif" and top or nil
			end
			out[#out + 1] = command
		end
	end
	if #open > 0 then
		refuse(path .. ":" .. open[#open].line, "\\if without an \\endif")
	end
	return out
end

-- The commands of a script. path is for messages.
function M.read(path, text)
	local commands = {}
	local at, here = 1, 1
	local function fail(place, what, hint)
		refuse(path .. ":" .. line_of(text, place or here), what, hint)
	end
	local function add(command)
		command.line = line_of(text, here)
		commands[#commands + 1] = command
	end
	while at <= #text do
		local sql = new_sql()
		local ended
		-- A comment before a statement is not part of its place.
		while true do
			local after = text:match("^%s+()", at) or text:match("^%-%-[^\n]*()", at)
			if not after then
				break
			end
			at = after
		end
		here = at
		ended, at = read_sql(text, at, sql)
		local command = finish_sql(sql)
		if command then
			add(command)
		end
		if ended == "backslash" then
			here = at
			command, at = read_command(text, at, fail)
			add(command)
		end
	end
	commands = check_structure(path, commands)
	if #commands == 0 then
		refuse(path, "the script has no commands")
	end
	return commands
end

-- ---- Lua ----

local function quote(text)
	return (("%q"):format(text):gsub("\\\n", "\\n"):gsub("\r", "\\r"))
end

-- Text with variables as a Lua expression.
local function concatenation(parts, variable)
	local out = {}
	for i, part in ipairs(parts) do
		out[i] = type(part) == "string" and quote(part) or variable(part)
	end
	return table.concat(out, "..")
end

-- By kind of command: its Lua. c is the engine's client object, which knows pipelines and results, v the variables.
local EMIT = {}

function EMIT.sql(command, s)
	local call
	if s.simple then
		call = ("c:query(%s,%s"):format(quote(command.name), concatenation(command.parts, function(part)
			return ("text(v[%q],%q)"):format(part.name, ":" .. part.name)
		end))
	else
		call = "c:exec(" .. quote(command.name)
		for _, name in ipairs(command.parameters) do
			call = ("%s,param(v[%q])"):format(call, name)
		end
	end
	if command.into == "gset" then
		return ("%s) gset(v,%s,c:last_row())"):format(call, quote(command.prefix))
	elseif command.into == "aset" then
		return ("c:keep_results() %s) aset(v,%s,c:kept_results())"):format(call, quote(command.prefix))
	end
	return call .. ")"
end

function EMIT.set(command, s)
	local before, value = expression.emit(command.tree, s.fail)
	return ("%s v[%q]=%s"):format(before, command.name, value)
end

-- A condition jumps to the next branch. Blocks would do too, but Lua nests only 200 of them.
local function emit_condition(command, s)
	local before, value = expression.emit(command.tree, s.fail)
	s.labels = s.labels + 1
	s.open[#s.open].next = s.labels
	return ("%s if not truth(%s) then goto l%d end"):format(before, value, s.labels)
end

local function begin_branch(s)
	local top = s.open[#s.open]
	local code = ("goto l%d ::l%d::"):format(top.finish, top.next)
	top.next = nil
	return code
end

EMIT["if"] = function(command, s)
	s.labels = s.labels + 1
	s.open[#s.open + 1] = { finish = s.labels }
	return emit_condition(command, s)
end

function EMIT.elif(command, s)
	return begin_branch(s) .. " " .. emit_condition(command, s)
end

EMIT["else"] = function(_, s)
	return begin_branch(s)
end

-- The empty block keeps labels apart: Lua's parser calls itself for a label behind a label.
function EMIT.endif(_, s)
	local top = table.remove(s.open)
	return (top.next and ("::l%d:: "):format(top.next) or "") .. ("::l%d:: do end"):format(top.finish)
end

function EMIT.sleep(command)
	if command.variable then
		return ("c:sleep(sleep_time(v[%q],%q)*%a)"):format(command.variable, command.variable, command.unit)
	end
	return command.amount > 0 and ("c:sleep(%a)"):format(command.amount * command.unit) or ""
end

local function emit_shell(command)
	return ("c:shell(%s)"):format(concatenation(command.parts, function(part)
		return ("shell_text(v[%q],%q)"):format(part.name, part.name)
	end))
end

function EMIT.shell(command)
	return ("shell(%s)"):format(emit_shell(command))
end

function EMIT.setshell(command)
	return ("v[%q]=setshell(%s)"):format(command.name, emit_shell(command))
end

function EMIT.startpipeline(command)
	local names = {}
	for i, name in ipairs(command.statements) do
		names[i] = quote(name)
	end
	return ("c:start_pipeline(%s)"):format(table.concat(names, ","))
end

function EMIT.syncpipeline()
	return "c:sync_pipeline()"
end

function EMIT.endpipeline()
	return "c:end_pipeline()"
end

-- SQL with $1, $2... for its variables, and their names in order. One within quotes cannot be a parameter: it is refused if a
-- script sets such a variable, and text otherwise.
local function parameterise(command, s)
	local names, out = {}, {}
	for i, part in ipairs(command.parts) do
		if type(part) == "string" then
			out[i] = part
		elseif not part.quoted then
			names[#names + 1] = part.name
			out[i] = "$" .. #names
		elseif s.variables[part.name] then
			s.fail(nil, (":%s stands within quotes, where a prepared statement has no parameters"):format(part.name),
				"--protocol simple, or build the text with || from a :" .. part.name .. " outside of quotes")
		else
			out[i] = ":" .. part.name
		end
	end
	if #names > s.parameters_max then
		s.fail(nil, ("the statement has %d variables"):format(#names), ("at most %d, or --protocol simple"):format(s.parameters_max))
	end
	command.parameters = names
	return table.concat(out)
end

-- Gives each SQL command a name, and fills s.statements with SQL by name.
local function name_statements(commands, s)
	local pipeline
	for _, command in ipairs(commands) do
		s.line = command.line
		if command.kind == "startpipeline" then
			pipeline, command.statements = command, {}
			if s.simple then
				s.fail(nil, "pipelines need the extended query protocol", "--protocol extended or prepared")
			end
		elseif command.kind == "endpipeline" then
			pipeline = nil
		elseif command.kind == "sql" then
			local name = ("%s_line%d"):format(s.name, command.line)
			while s.statements[name] do
				name = name .. "b"
			end
			command.name = name
			if s.simple then
				s.statements[name] = concatenation(command.parts, function(part) return quote(":" .. part.name) end)
				s.statements[name] = load("return " .. s.statements[name])()
			else
				s.statements[name] = parameterise(command, s)
				if command.statements > 1 then
					s.fail(nil, "statements that are joined by \\; cannot be prepared", "--protocol simple")
				end
			end
			if pipeline then
				pipeline.statements[#pipeline.statements + 1] = name
			end
		end
	end
end

-- Names of variables that scripts set themselves.
function M.collect_variables(commands, into)
	for _, command in ipairs(commands) do
		if command.kind == "set" or command.kind == "setshell" then
			into[command.name] = true
		end
	end
end

-- functions.lua's functions, as locals of the translation.
local LOCALS = {}
for name in pairs(functions) do
	LOCALS[#LOCALS + 1] = name
end
table.sort(LOCALS)

-- The commands of M.read as a function run(c). options: path of the script; name that its statements' names begin with; simple (query
-- protocol; otherwise statements are prepared); variables (names that are set anywhere); statements, which is filled with SQL by
-- name; parameters_max; variables_of(c), which returns the table of a client's variables.
function M.translate(commands, options)
	local s = setmetatable({ open = {}, labels = 0 }, { __index = options })
	function s.fail(_, what, hint)
		refuse(s.path .. ":" .. s.line, what, hint)
	end
	name_statements(commands, s)
	local out = { ("local functions,variables_of=... local t={} local %s=functions.%s return function(c) local v,r=variables_of(c),c.random"):format(
		table.concat(LOCALS, ","), table.concat(LOCALS, ",functions.")) }
	local line = 1
	for _, command in ipairs(commands) do
		s.line = command.line
		out[#out + 1] = ("\n"):rep(command.line - line)
		line = command.line
		out[#out + 1] = " " .. EMIT[command.kind](command, s)
	end
	out[#out + 1] = " end"
	local chunk = "@" .. s.path
	local f, problem = load(table.concat(out), chunk, "t", { math = math })
	if not f then
		refuse(s.path, "it is too large to be translated: " .. problem)
	end
	functions.register_chunk(chunk)
	return f(functions, options.variables_of)
end

return M
