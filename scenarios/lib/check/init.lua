-- A scenario looked at without a database: what each statement will lock and cause, and what is wrong with it. `pgrehearse check`.
local catalogue = require "catalogue"
local located = require "rehearse.located"
local Predictor = require "catalogue.predict"
local rules = require "check.rules"
local sql = require "sql"

local check = {}

-- Call it before the scenario's file is run.
function check.watch() located.watch(require "rehearse") end

local LEVELS = { note = 1, warning = 2, error = 3 }

local function folder_of(path) return path:match("^(.*)/[^/]*$") or "." end

-- Where a statement of a step stands: { file, line }. read: file -> the line after the last statement found in it; a file is read from top to bottom.
local function place_of(path, step, source, text, direction, read)
	local call = located.step(step)
	local from = call and call.file == path and call.line or nil
	local read_from = located.source(step)
	if read_from then
		local file = read_from[direction or "up"]
		local line = located.sql(file, text, read and read[file])
		if read and line then read[file] = line + 1 end
		return { file = file, line = line or 1 }
	end
	if source then
		local full = source:sub(1, 1) == "/" and source or folder_of(path) .. "/" .. source
		return { file = full, line = located.sql(full, text, 1) or 1 }
	end
	-- A step's statements are looked for from its call on, and each behind the one before it.
	local after = read and read[step]
	local line = located.sql(path, text, after and from and math.max(after, from) or from)
	if read and line then read[step] = line end
	return { file = path, line = line or from or located.name(path, step.name) or 1 }
end

local function new_state(path, major)
	return { path = path, predictor = Predictor.new { parse = sql.parse, plpgsql = sql.plpgsql, major = major }, findings = {}, statements = {}, bodies = {}, bare_columns = {}, filled_columns = {}, synced_columns = {}, read = {} }
end

-- A finding is kept unless a comment at its place allows it. Of a way back an error is a warning: it is not what is meant to happen.
local function keep(state, finding, step, direction, place)
	local rule = rules.by_id[finding.rule]
	local level = finding.level or rule.level
	if direction == "down" and level == "error" and finding.rule ~= "missing-down" then level = "warning" end
	if located.allowed(place.file, place.line)[finding.rule] then
		state.allowed = (state.allowed or 0) + 1
		return
	end
	state.findings[#state.findings + 1] = { rule = finding.rule, level = level, file = place.file, line = place.line, step = step.name, direction = direction,
		what = finding.what, why = finding.why ~= "" and finding.why or nil, safer = finding.safer ~= "" and finding.safer ~= "nothing" and finding.safer or nil, sql = finding.sql }
end

local function one_line(text) return (text:gsub("%s+", " ")) end

-- The statements of one direction of a step, in order.
local function examine_action(state, step, direction, action, source, operations)
	state.predictor:begin_step(step.transaction ~= false, step.rollback)
	local ctx = { step = step, direction = direction, in_transaction = step.transaction ~= false, held = {}, schema = state.predictor.schema, bodies = state.bodies,
		bare_columns = state.bare_columns, filled_columns = state.filled_columns, synced_columns = state.synced_columns, made_types = {}, new_values = {}, parser = tostring(sql.version), plpgsql_error = sql.plpgsql_error }
	for i, text in ipairs(action) do
		local place = place_of(state.path, step, source, text, direction, state.read)
		ctx.number = i
		ctx.add = function(finding)
			finding.sql = finding.sql or text
			keep(state, finding, step, direction, place)
		end
		local prediction = state.predictor:statement(text)
		rules.statement(ctx, prediction)
		local ids = {}
		for _, op in ipairs(prediction.operations) do
			ids[#ids + 1] = { id = op.id, title = op.title, table = type(op.table) == "string" and op.table or nil, maybe = op.maybe }
			operations[#operations + 1] = op
		end
		state.statements[#state.statements + 1] = { step = step.name, direction = direction, file = place.file, line = place.line, sql = one_line(text), operations = ids,
			locks = prediction.locks, work = prediction.work, risk = not prediction.unread and prediction.risk or nil, unread = prediction.unread }
	end
	rules.finish(ctx)
	state.predictor:end_step()
end

-- What only shows when it runs, a Lua function or a command: listed in its place, and named as not read. Nothing can be said of tables after it.
local function examine_unread(state, step, direction, what, place)
	keep(state, { rule = "not-read", what = what .. ": what it locks shows when it runs" }, step, direction, place)
	state.statements[#state.statements + 1] = { step = step.name, direction = direction, file = place.file, line = place.line, sql = "(" .. what .. ")", operations = {}, locks = {},
		work = {}, unread = "what it locks shows when it runs" }
	state.predictor.schema:fill()
end

local function place_of_function(state, step, action)
	local info = debug.getinfo(action, "S")
	if info.source:sub(1, 1) == "@" and info.linedefined > 0 then return { file = info.source:sub(2), line = info.linedefined } end
	return place_of(state.path, step, nil, "")
end

-- What steps other than SQL do with the database, as SQL.
local function as_sql(step, direction)
	if step.kind == "backfill" and direction == "up" then
		-- A batch is bounded whatever the key is.
		if step.statement then return { (step.statement:gsub(":range%f[%W]", "ctid = '(0,1)'")) } end
		return { string.format("UPDATE %s SET %s WHERE (%s) AND ctid = '(0,1)'", step.table, step.set, step.where) }
	elseif step.kind == "swap_tables" then
		local out = {}
		for _, pair in ipairs(step.tables) do out[#out + 1] = string.format("LOCK TABLE %s, %s IN ACCESS EXCLUSIVE MODE", pair.live, pair.other) end
		return out
	end
end

local function examine_direction(state, step, direction)
	local action, operations = as_sql(step, direction) or step[direction], {}
	if step.kind == "exec" and action then
		local command = type(action) == "table" and table.concat(action, " ") or tostring(action)
		examine_unread(state, step, direction, "the command " .. one_line(command), place_of(state.path, step, nil, type(action) == "table" and action[#action] or command))
		return operations
	end
	if type(action) == "table" then
		local source = direction == "up" and step.file or direction == "down" and step.down_file or nil
		examine_action(state, step, direction, action, source, operations)
	elseif type(action) == "function" then
		examine_unread(state, step, direction, "a Lua function", place_of_function(state, step, action))
	end
	for _, text in ipairs(direction == "up" and step.on_retry or direction == "down" and step.on_retry_down or {}) do state.predictor.parse(text) end
	return operations
end

local function steps_of(list, out)
	for _, step in ipairs(list or {}) do
		if type(step) == "table" then
			out[#out + 1] = step
			if type(step.steps) == "table" then steps_of(step.steps, out) end
		end
	end
	return out
end

local function by_place(a, b)
	if a.file ~= b.file then return a.file < b.file end
	if a.line ~= b.line then return a.line < b.line end
	if LEVELS[a.level] ~= LEVELS[b.level] then return LEVELS[a.level] > LEVELS[b.level] end
	return a.rule < b.rule
end

-- { orders = "S" } as the record has it: { { relation = "orders", mode = "ShareLock" } }.
function check.lock_list(locks)
	local out = {}
	for name, short in pairs(locks) do out[#out + 1] = { relation = name, mode = catalogue.modes[short] } end
	table.sort(out, function(a, b) return a.relation < b.relation end)
	return out
end

-- scenario: what its file returned, after check.watch(). schema: SQL texts of what is there before, or an empty list. major: of the server
-- that is meant. array: marks lists for JSON. Returns { file, title, statements, findings, errors, warnings, notes, allowed, unread }.
function check.examine(path, scenario, schema, major, array)
	local state = new_state(path, major)
	state.predictor:learn(schema)
	state.predictor:learn(located.earlier())
	local steps = steps_of(scenario.steps, {})
	local undone_elsewhere = false   -- a step before it goes back only, and so for more than itself
	for _, step in ipairs(steps) do
		local operations = examine_direction(state, step, "up")
		local place = place_of(path, step, nil, "")
		undone_elsewhere = undone_elsewhere or step.up == false and type(step.down) == "table"
		rules.step({ undone_elsewhere = undone_elsewhere, add = function(finding) keep(state, finding, step, "up", place) end }, step, operations, located.without_down(step))
		if type(step.query) == "string" then rules.figures({ add = function(finding) keep(state, finding, step, "up", place) end }, step.query) end
		if step.kind == "backfill" then
			state.predictor.schema:fill(step.table)
			for column in tostring(step.set):gmatch("([%w_]+)%s*=") do state.filled_columns[step.table .. "." .. column] = true end
		elseif step.kind == "deploy" then
			state.predictor.schema:fill()
		end
	end
	state.predictor.schema:fill()
	for i = #steps, 1, -1 do examine_direction(state, steps[i], "down") end
	for name, one in pairs(scenario.checks or {}) do
		local text = type(one) == "table" and one.sql or one
		local owner = { name = "check " .. tostring(type(one) == "table" and one.name or name) }
		local place = { file = path, line = type(text) == "string" and located.sql(path, text) or 1 }
		if type(text) == "string" then rules.figures({ add = function(finding) keep(state, finding, owner, "up", place) end }, text) end
	end
	table.sort(state.findings, by_place)
	local counts = { error = 0, warning = 0, note = 0 }
	for _, finding in ipairs(state.findings) do counts[finding.level] = counts[finding.level] + 1 end
	local unread = 0
	for _, s in ipairs(state.statements) do
		if s.unread then unread = unread + 1 end
		s.operations, s.locks = array(s.operations), array(check.lock_list(s.locks))
		for what, list in pairs(s.work) do s.work[what] = array(list) end
	end
	return { file = path, title = scenario.title, statements = array(state.statements), findings = array(state.findings), errors = counts.error, warnings = counts.warning,
		notes = counts.note, allowed = state.allowed or 0, unread = unread }
end

-- ---- for people ----

local function plural(n, word) return string.format("%d %s%s", n, word, n == 1 and "" or "s") end

local KINDS = { { "rewrite", "writes %s anew" }, { "scan", "reads %s whole" }, { "index_build", "builds %s" }, { "fk_validation", "looks up the rows of %s" }, { "proved", "saves a scan of %s" } }

local function does(s)
	if s.unread then return "not read: " .. s.unread end
	local out = {}
	for _, lock in ipairs(s.locks) do out[#out + 1] = catalogue.words[catalogue.short[lock.mode]] .. " on " .. lock.relation end
	if #out == 0 then out[1] = "locks no table" end
	for _, kind in ipairs(KINDS) do if s.work[kind[1]] then out[#out + 1] = kind[2]:format(table.concat(s.work[kind[1]], ", ")) end end
	return table.concat(out, "; ") .. "; risk " .. s.risk
end

local function wrap(text, indent, width)
	local lines, line = {}, ""
	for word in text:gmatch("%S+") do
		if #line + #word + 1 > width - #indent and line ~= "" then
			lines[#lines + 1] = indent .. line
			line = word
		else
			line = line == "" and word or line .. " " .. word
		end
	end
	lines[#lines + 1] = indent .. line
	return table.concat(lines, "\n")
end

local function cut(text, n)
	if utf8.len(text) and utf8.len(text) > n then return text:sub(1, utf8.offset(text, n - 2) - 1) .. "..." end
	return text
end

function check.text(result)
	local out = { string.format("%s: %s, %s, %s%s%s", result.file, plural(result.errors, "error"), plural(result.warnings, "warning"), plural(result.notes, "note"),
		result.allowed > 0 and string.format(", %d allowed by comments", result.allowed) or "", result.unread > 0 and string.format("; %d not read", result.unread) or "") }
	local step, direction
	for _, s in ipairs(result.statements) do
		if s.step ~= step or s.direction ~= direction then
			out[#out + 1] = string.format("\n  %s%s", s.step, s.direction == "down" and ", undone" or "")
			step, direction = s.step, s.direction
		end
		out[#out + 1] = string.format("    %4d  %s", s.line, cut(s.sql, 100))
		out[#out + 1] = "          " .. does(s)
	end
	for _, f in ipairs(result.findings) do
		out[#out + 1] = string.format("\n%s:%d: %s: %s", f.file, f.line, f.level, f.rule)
		out[#out + 1] = wrap(string.format("%s%s: %s.", f.step, f.direction == "down" and ", undone" or "", f.what), "  ", 110)
		if f.why then out[#out + 1] = wrap(f.why, "  ", 110) end
		if f.safer then out[#out + 1] = wrap("Safer: " .. f.safer .. ".", "  ", 110) end
	end
	return table.concat(out, "\n") .. "\n"
end

-- ---- SARIF 2.1.0: the rules of the tool and the results of one file ----

function check.sarif_rules(array)
	local out = array {}
	for i, r in ipairs(rules.list) do
		out[i] = { id = r[1], shortDescription = { text = r[3] }, defaultConfiguration = { level = r[2] } }
	end
	return out
end

-- Relative paths stay so: code hosts look for them in the repository.
local function uri(path)
	local escaped = path:gsub("[^%w%-%._~/]", function(c) return string.format("%%%02X", c:byte()) end)
	return path:sub(1, 1) == "/" and "file://" .. escaped or escaped
end

function check.sarif_results(result, array)
	local out = array {}
	for i, f in ipairs(result.findings) do
		local text = string.format("%s%s: %s.%s%s", f.step, f.direction == "down" and ", undone" or "", f.what, f.why and " " .. f.why or "", f.safer and " Safer: " .. f.safer .. "." or "")
		out[i] = { ruleId = f.rule, level = f.level, message = { text = text },
			locations = array { { physicalLocation = { artifactLocation = { uri = uri(f.file) }, region = { startLine = f.line } } } } }
	end
	return out
end

return check
