-- Migrations as other tools keep them, read as steps: folders of Flyway, sqitch, goose, dbmate, golang-migrate and node-pg-migrate (of
-- SQL), and single files. Nothing is run; what comes out are the fields of rehearse.sql.
local files = require "files"
local split = require "rehearse.split"

local migrations = {}

local function fail(format, ...) error(string.format(format, ...), 0) end

-- The text of a file as UTF-8 without a mark before it, its lines ended by \n. Raises for UTF-16, which psql does not read either.
function migrations.plain(text)
	if text:find("^\255\254") or text:find("^\254\255") or text:find("\0", 1, true) then fail("it is not in UTF-8") end
	return (text:gsub("^\239\187\191", ""):gsub("\r\n", "\n"))
end

local function read(path)
	local file, reason = io.open(path, "r")
	if not file then fail("%s cannot be read: %s", path, reason) end
	local text = file:read("a")
	file:close()
	local ok, plain = pcall(migrations.plain, text)
	if not ok then fail("%s: %s", path, plain) end
	return plain
end

-- ---- statements ----

-- Without the blanks and comments before it.
local function bare(statement)
	local rest, before = statement, nil
	repeat
		before = rest
		rest = rest:gsub("^%s+", ""):gsub("^%-%-[^\n]*\n?", ""):gsub("^/%*.-%*/", "")
	until rest == before
	return rest
end

-- psql commands that change nothing but what psql shows, or how it starts: a dump has some at its head. \set makes variables too, in small letters.
local HARMLESS = { echo = true, qecho = true, warn = true, timing = true, pset = true, x = true, encoding = true, restrict = true, unrestrict = true }

local function is_harmless(command, statement) return HARMLESS[command] or command == "set" and statement:find("^%S+%s+%u[%u_]*%f[%s%z]") ~= nil end

local OPENS = { BEGIN = true, START = true }
local CLOSES = { COMMIT = true, END = true, ROLLBACK = true, ABORT = true }
local UNDOES = { ROLLBACK = true, ABORT = true }

local function first_word(statement) return (statement:match("^%a+") or ""):upper() end

-- Statements that PostgreSQL refuses inside of a transaction.
local function stands_alone(statement)
	local word, upper = first_word(statement), statement:upper()
	if word == "VACUUM" then return true end
	if word == "ALTER" and upper:find("^ALTER%s+SYSTEM") then return true end
	if word == "REINDEX" and (upper:find("%f[%w]DATABASE%f[%W]") or upper:find("%f[%w]SYSTEM%f[%W]") or upper:find("%f[%w]SCHEMA%f[%W]")) or upper == "CLUSTER" then return true end
	if (word == "CREATE" or word == "DROP") and (upper:find("^%a+%s+DATABASE") or upper:find("^%a+%s+TABLESPACE")) then return true end
	-- Not the bodies of functions, which may hold the word.
	if word == "CREATE" then return (upper:find("^CREATE%s+INDEX%s+CONCURRENTLY%f[%W]") or upper:find("^CREATE%s+UNIQUE%s+INDEX%s+CONCURRENTLY%f[%W]")) ~= nil end
	if word == "DROP" then return upper:find("^DROP%s+INDEX%s+CONCURRENTLY%f[%W]") ~= nil end
	if word == "ALTER" then return upper:find("^ALTER%s+TABLE%f[%W].*%f[%w]DETACH%s+PARTITION%f[%W].*%sCONCURRENTLY$") ~= nil end
	return word == "REINDEX" and upper:find("%f[%w_]CONCURRENTLY%f[^%w_]") ~= nil
end

-- A list of { statements, transaction, alone, rollback }: what one transaction holds, or each statement by itself. rollback: what it does is not kept.
local function groups_of(text, in_transaction)
	local out, current, explicit, opened = {}, nil, false, 1
	local function add(statement, transaction, alone)
		if not current or current.transaction ~= transaction or alone or current.alone then
			current = { statements = {}, transaction = transaction, alone = alone }
			out[#out + 1] = current
		end
		current.statements[#current.statements + 1] = statement
	end
	for _, raw in ipairs(split(text)) do
		local statement = bare(raw)
		local word = first_word(statement)
		local command = statement:match("^\\(%S*)")
		if statement == "" or command and is_harmless(command, statement) or word == "SAVEPOINT" or word == "RELEASE" then goto continue end
		if command then fail("it holds the psql command \\%s; only SQL is understood", command) end
		if statement:lower():match("^copy%s.*%sfrom%s+stdin%f[%W]") then fail("it holds COPY ... FROM stdin, whose rows psql would send: write INSERT, or load them by rehearse.exec") end
		if statement:upper():find("^ROLLBACK%s+%a*%s*TO%f[%W]") then fail("it holds ROLLBACK TO; a step performs all of its statements, or none") end
		if OPENS[word] then current, explicit, opened = nil, true, #out + 1
		elseif CLOSES[word] then
			if UNDOES[word] and not explicit and in_transaction then fail("it holds %s without a BEGIN before it, which would take back what the tool itself has begun", word) end
			for i = opened, UNDOES[word] and explicit and #out or 0 do out[i].rollback = out[i].transaction or nil end
			current, explicit, opened = nil, statement:upper():find("%sAND%s+CHAIN%f[%W]") ~= nil, #out + 1
		elseif stands_alone(statement) then add(statement, false, true)
		else add(statement, explicit or in_transaction) end
		::continue::
	end
	return out
end

-- A name, quoted or not, at the beginning of a text; and what follows it.
local function name_at(text)
	local quoted = text:gsub('""', "\0\0"):match('^"[^"]+"')
	local name = quoted and text:sub(1, #quoted) or text:match("^[%a_\128-\255][%w_$\128-\255]*")
	return name, name and text:sub(#name + 1):gsub("^%s+", "")
end

-- The name by which the index can be dropped that a CREATE INDEX CONCURRENTLY makes: it is in the schema of its table. Nil when it is given no name.
local function index_of(statement)
	local rest = statement:match("^[Cc][Rr][Ee][Aa][Tt][Ee]%s+(.*)$") or ""
	rest = rest:gsub("^[Uu][Nn][Ii][Qq][Uu][Ee]%s+", "")
	rest = rest:match("^[Ii][Nn][Dd][Ee][Xx]%s+[Cc][Oo][Nn][Cc][Uu][Rr][Rr][Ee][Nn][Tt][Ll][Yy]%s+(.*)$")
	if not rest then return nil end
	rest = rest:gsub("^[Ii][Ff]%s+[Nn][Oo][Tt]%s+[Ee][Xx][Ii][Ss][Tt][Ss]%s+", "")
	local name, schema, more
	name, rest = name_at(rest)
	if not name or name:upper() == "ON" then return nil end
	schema, more = name_at((rest:gsub("^[Oo][Nn]%s+", ""):gsub("^[Oo][Nn][Ll][Yy]%s+", "")))
	return more and more:find("^%.") and schema .. "." .. name or name
end

local COMMON = {}
for word in ([[ALTER TABLE ADD DROP COLUMN CREATE INDEX CONCURRENTLY IF EXISTS NOT NULL ON CONSTRAINT DEFAULT SET TYPE INT INTEGER BIGINT TEXT BOOLEAN UNIQUE USING CHECK FOREIGN KEY REFERENCES ONLY
	TRIGGER FUNCTION VIEW EXECUTE FOR EACH ROW BEFORE AFTER INSERT UPDATE DELETE OR REPLACE RETURNS LANGUAGE PLPGSQL AS BEGIN END PRIMARY VALIDATE VALID RENAME TO CASCADE PUBLIC]]):gmatch("%u+") do
	COMMON[word] = true
end

local function shares_a_name(a, b)
	local names = {}
	for word in a:gmatch("[%a_][%w_]*") do if not COMMON[word:upper()] then names[word:upper()] = true end end
	for word in b:gmatch("[%a_][%w_]*") do if names[word:upper()] then return true end end
	return false
end

-- Gives each group its part of the way back: when there are as many statements there as here, in reverse order and about the same
-- things. False when they cannot be told apart.
local function pair_downs(groups, downs)
	local ups, back = {}, {}
	for _, group in ipairs(groups) do for _, statement in ipairs(group.statements) do ups[#ups + 1] = { group = group, sql = statement } end end
	for _, group in ipairs(downs) do for _, statement in ipairs(group.statements) do back[#back + 1] = { group = group, sql = statement } end end
	if #ups ~= #back then return false end
	for i, up in ipairs(ups) do if not shares_a_name(up.sql, back[#back - i + 1].sql) then return false end end
	for i = #ups, 1, -1 do
		local down = ups[i].group.down or {}
		ups[i].group.down = down
		down[#down + 1] = back[#back - i + 1]
	end
	return true
end

-- Can a group's step perform its way back, { group, sql }..., as the tool does? A single statement is in a transaction or not, as may be, unless it must not.
local function fits(group)
	for _, back in ipairs(group.down) do
		if back.group.transaction ~= group.transaction and (back.group.alone or #group.down > 1) then return false end
	end
	return true
end

-- The SQL of a way back, and whether all of it is in transactions.
local function sql_of(list)
	local out, in_transaction = {}, true
	for i, one in ipairs(list) do out[i], in_transaction = one.sql, in_transaction and one.group.transaction end
	return out, in_transaction
end

-- Fields of rehearse.sql for a migration of these texts: a step for each transaction, and for what is in none. down: nil when there is
-- none. options: name, in_transaction (what the tool does), down_in_transaction (the same on the way back, when that differs), no_way_back
-- (the reason to give). Raises when there is no statement.
function migrations.steps(up, down, options)
	local groups, out = groups_of(up, options.in_transaction ~= false), {}
	if #groups == 0 and not (options.may_be_empty and down) then fail("%s holds no statement", options.name) end
	local down_in_transaction = options.in_transaction
	if options.down_in_transaction ~= nil then down_in_transaction = options.down_in_transaction end
	local downs = down and groups_of(down, down_in_transaction ~= false) or {}
	local kept, way_back = {}, false
	for _, group in ipairs(groups) do if not group.rollback then kept[#kept + 1] = group end end
	for _, group in ipairs(downs) do if group.rollback then fail("its way back ends with ROLLBACK, and so is none") end end
	if #downs > 0 then
		if #kept == 1 then
			kept[1].down = {}
			for _, group in ipairs(downs) do for _, statement in ipairs(group.statements) do table.insert(kept[1].down, { group = group, sql = statement }) end end
			way_back = fits(kept[1])
		else
			way_back = pair_downs(kept, downs)
		end
	end
	for i, group in ipairs(groups) do
		local name = #groups == 1 and options.name or string.format("%s, part %d", options.name, i)
		local step = { name = name, up = group.statements, transaction = group.transaction }
		local index = group.alone and index_of(group.statements[1])
		if index then step.on_retry = { "DROP INDEX CONCURRENTLY IF EXISTS " .. index } end
		out[#out + 1] = step
		if group.rollback then
			step.rollback, step.down = true, false
		elseif way_back and not fits(group) then
			-- One way is in a transaction, the other is not: two steps, of which each goes one way.
			local sql, in_transaction = sql_of(group.down)
			step.down = false
			out[#out + 1] = { name = name .. ", the way back", up = false, down = sql, transaction = in_transaction }
		elseif way_back then
			step.down = sql_of(group.down)
		elseif #downs == 0 then
			step.irreversible = options.no_way_back or "no way back was written"
		else
			step.down = false
		end
	end
	-- A way back that cannot be told apart is gone as a whole, when the first step is undone; each of its transactions, and what stands alone in it, by itself.
	if not way_back and #downs > 0 then
		local steps_back = {}
		for i, group in ipairs(downs) do
			steps_back[i] = { name = #downs == 1 and options.name .. ", the way back" or string.format("%s, the way back, part %d", options.name, i), up = false, down = group.statements,
				transaction = group.transaction }
		end
		for _, step in ipairs(steps_back) do table.insert(out, 1, step) end
	end
	for i = 1, #out - 1 do out[i].part = true end
	return out
end

-- ---- folders: layout -> function(path) that returns { version, name, up, down, in_transaction, verify }... in order ----

local function version_of(text)
	local parts = {}
	for digits in text:gmatch("%d+") do parts[#parts + 1] = (digits:gsub("^0+(%d)", "%1")) end
	return parts
end

local function before(a, b)
	for i = 1, math.max(#a, #b) do
		local x, y = a[i] or "0", b[i] or "0"
		if #x ~= #y then return #x < #y end
		if x ~= y then return x < y end
	end
	return false
end

local function in_order(list)
	table.sort(list, function(a, b)
		if before(a.key, b.key) then return true end
		if before(b.key, a.key) then return false end
		return a.name < b.name
	end)
	for i = 2, #list do
		if not before(list[i - 1].key, list[i].key) then fail("two migrations have the version %s: %s and %s", list[i].version, list[i - 1].name, list[i].name) end
	end
	return list
end

local function sql_files(path, below)
	local out = {}
	for _, name in ipairs(files.list(path)) do
		if name:match("/$") then
			if below then for _, inner in ipairs(sql_files(path .. "/" .. name:sub(1, -2), below)) do out[#out + 1] = inner end end
		elseif name:match("%.sql$") then
			out[#out + 1] = { name = name, path = path .. "/" .. name }
		end
	end
	return out
end

local function words(text) return (text:gsub("[_%-]+", " ")) end

local layouts = {}

function layouts.flyway(path)
	local list, undo, repeatable = {}, {}, {}
	for _, file in ipairs(sql_files(path, true)) do
		local kind, version, name = file.name:match("^([VUBR])([%d._]*)__(.+)%.sql$")
		local settings = io.open(file.path .. ".conf", "r")
		local in_transaction = true
		if settings then
			in_transaction = not settings:read("a"):find("executeInTransaction%s*=%s*false")
			settings:close()
		end
		if kind == "V" and version ~= "" then
			list[#list + 1] = { version = version, key = version_of(version), name = words(name), file = file.path, up = read(file.path), in_transaction = in_transaction }
		elseif kind == "U" then undo[table.concat(version_of(version), ".")] = file.path
		elseif kind == "R" then repeatable[#repeatable + 1] = { version = "R", key = {}, name = words(name), file = file.path, up = read(file.path), in_transaction = in_transaction } end
	end
	in_order(list)
	for _, m in ipairs(list) do
		m.down_file = undo[table.concat(m.key, ".")]
		m.down = m.down_file and read(m.down_file)
	end
	table.sort(repeatable, function(a, b) return a.name < b.name end)
	return table.move(repeatable, 1, #repeatable, #list + 1, list)
end

layouts["golang-migrate"] = function(path)
	local list, downs = {}, {}
	for _, file in ipairs(sql_files(path)) do
		local version, name, direction = file.name:match("^(%d+)_(.+)%.(%a+)%.sql$")
		if direction == "up" then list[#list + 1] = { version = version, key = version_of(version), name = words(name), file = file.path, up = read(file.path), in_transaction = true }
		elseif direction == "down" then downs[table.concat(version_of(version))] = file.path end
	end
	in_order(list)
	for _, m in ipairs(list) do
		m.down_file = downs[m.key[1]]
		m.down = m.down_file and read(m.down_file)
	end
	return list
end

-- One file holds both ways: tell_apart(text, path) returns { up, down, in_transaction, down_in_transaction }, the ways as texts or lists of lines.
local function in_one_file(path, tell_apart)
	local list = {}
	for _, file in ipairs(sql_files(path)) do
		local version, name = file.name:match("^(%d+)[_%-](.+)%.sql$")
		if version then
			local m = tell_apart(read(file.path), file.path)
			for _, side in ipairs { "up", "down" } do m[side] = type(m[side]) == "table" and table.concat(m[side], "\n") or m[side] end
			m.version, m.key, m.name, m.file = version, version_of(version), words(name), file.path
			m.down = m.down:find("%S") and m.down or nil
			list[#list + 1] = m
		end
	end
	return in_order(list)
end

local function lines_of(text) return (text .. "\n"):gmatch("([^\n]*)\n") end

local function goose_mark(line)
	local mark = line:match("^%s*%-%-%s*%+goose%s+(.-)%s*$")
	return mark and mark:upper():gsub("%s+", " ")
end

function layouts.goose(path)
	return in_one_file(path, function(text, file)
		local m, side, replaced, n = { up = {}, down = {}, in_transaction = true }, nil, false, 0
		for line in lines_of(text) do
			local mark = goose_mark(line)
			n = n + 1
			if mark == "UP" or mark == "DOWN" and side then side = mark:lower()
			elseif mark == "DOWN" then fail("%s: its -- +goose Down stands before -- +goose Up, and goose refuses it", file)
			elseif mark == "NO TRANSACTION" then m.in_transaction = false
			elseif mark == "ENVSUB ON" or mark == "ENVSUB OFF" then replaced = mark == "ENVSUB ON"
			elseif replaced and line:find("$", 1, true) and not line:find("^%s*%-%-") then fail("%s, line %d: goose puts something of its environment here (ENVSUB ON); only SQL that is written out is understood", file, n)
			elseif side and not mark then table.insert(m[side], line) end
		end
		if not side then fail("%s: it has no -- +goose Up, without which goose refuses it", file) end
		return m
	end)
end

-- A mark of dbmate: up or down, and the options behind it.
local function dbmate_mark(line)
	local side, options = line:match("^%-%-%s*migrate:(%a+)%f[%s\0](.*)$")
	if side == "up" or side == "down" then return side, options end
end

function layouts.dbmate(path)
	return in_one_file(path, function(text, file)
		local m, inside, side, early = { up = {}, down = {} }, {}, nil, false
		for line in lines_of(text) do
			local mark, options = dbmate_mark(line)
			if mark then
				if mark == "down" and not side then fail("%s: its -- migrate:down stands before -- migrate:up, and dbmate refuses it", file) end
				local own = options:find("%f[^%s]transaction:false%f[%s\0]") == nil
				if inside[mark] ~= nil and inside[mark] ~= own then fail("%s: of several -- migrate:%s some say transaction:false; make a file of each", file, mark) end
				side, inside[mark] = mark, own
			elseif side then
				table.insert(m[side], line)
			else
				early = early or line:find("%S") and not line:find("^%s*%-%-")
			end
		end
		if not side then fail("%s: it has no -- migrate:up, without which dbmate refuses it", file) end
		if early then fail("%s: it has SQL before -- migrate:up, and dbmate refuses it", file) end
		m.in_transaction, m.down_in_transaction = inside.up, inside.down
		return m
	end)
end

-- Where a side begins in a file of node-pg-migrate, by its own pattern.
local function node_mark(text, side)
	local at = ("\n" .. text:lower()):match("\n()%s*%-%-[%s%-]*" .. side .. "%s+migration")
	return at and at - 1
end

-- Without a mark of the way there all of the file is that; a comment about transactions counts at its very beginning.
layouts["node-pg-migrate"] = function(path)
	return in_one_file(path, function(text)
		local up, down = node_mark(text, "up"), node_mark(text, "down")
		return { up = up and text:sub(up, down and down > up and down - 1 or -1) or text, down = down and text:sub(down, up and up > down and up - 1 or -1) or "",
			in_transaction = text:lower():find("^%s*%-%-[%s%-]*no%s*transaction") == nil }
	end)
end

local function read_if_there(path)
	local file = io.open(path, "r")
	if not file then return nil end
	file:close()
	return read(path)
end

function layouts.sqitch(path)
	local plan, last = {}, {}
	for line in (read(path .. "/sqitch.plan") .. "\n"):gmatch("([^\n]*)\n") do
		local name, tag = line:match("^%s*([^%s@%%#%-+][^%s%[]*)"), line:match("^%s*(@[^%s]+)")
		if tag then
			for _, change in ipairs(plan) do table.insert(change.tags, tag) end
		elseif name then
			-- The scripts of a change that was reworked later are kept under the first tag between the two that they are found under.
			local before_it = last[name]
			if before_it then
				for _, candidate in ipairs(before_it.tags) do
					if read_if_there(path .. "/deploy/" .. name .. candidate .. ".sql") then
						before_it.script = name .. candidate
						break
					end
				end
				if before_it.script == name then fail("%s/sqitch.plan: %s is reworked, but deploy/ does not have it under a tag", path, name) end
			end
			last[name] = { script = name, tags = {} }
			plan[#plan + 1] = last[name]
		end
	end
	local list = {}
	for i, change in ipairs(plan) do
		local script = change.script
		list[i] = { version = script, key = { tostring(i) }, name = words(script), file = path .. "/deploy/" .. script .. ".sql", down_file = path .. "/revert/" .. script .. ".sql",
			up = read(path .. "/deploy/" .. script .. ".sql"), down = read_if_there(path .. "/revert/" .. script .. ".sql"), verify = read_if_there(path .. "/verify/" .. script .. ".sql"),
			verify_file = path .. "/verify/" .. script .. ".sql", in_transaction = false }
	end
	return list
end

local function names_of(t)
	local out = {}
	for name in pairs(t) do out[#out + 1] = name end
	table.sort(out)
	return table.concat(out, ", ")
end

-- Which tool keeps its migrations like that.
function migrations.detect(path)
	local names = files.list(path)
	for _, name in ipairs(names) do if name == "sqitch.plan" then return "sqitch" end end
	for _, file in ipairs(sql_files(path, true)) do if file.name:match("^V[%d._]+__.+%.sql$") then return "flyway" end end
	for _, name in ipairs(names) do if name:match("^%d+_.+%.up%.sql$") then return "golang-migrate" end end
	for _, file in ipairs(sql_files(path)) do
		local text = read(file.path)
		if text:find("%-%-%s*%+goose%s+[Uu]p") then return "goose" end
		if text:find("%-%-%s*migrate:up") then return "dbmate" end
		if node_mark(text, "up") then return "node-pg-migrate" end
	end
	fail("%s holds no migrations that are understood: expected is a folder of %s", path, names_of(layouts))
end

-- Migrations of these tools that are programs, not SQL.
local PROGRAMS = { goose = "^%d+_.+%.go$", flyway = "^[VR][%d._]*__.+%.[jkg]%a+$", ["node-pg-migrate"] = "^%d+[_-].+%.[mc]?[jt]s$" }

-- Names of the programs among the migrations of a folder, which are left out.
function migrations.programs(path, layout)
	local out = {}
	for _, name in ipairs(files.list(path)) do
		if PROGRAMS[layout] and name:match(PROGRAMS[layout]) and not name:match("_test%.go$") then out[#out + 1] = name end
	end
	return out
end

-- All migrations of a folder, in order, and the layout's name. after: only those that come after this version; through: only up to this one. The third
-- result is the SQL of those that came before.
function migrations.read(path, layout, after, through)
	layout = layout or migrations.detect(path)
	if not layouts[layout] then fail("layout = %q is not known; the layouts are %s", layout, names_of(layouts)) end
	local list, out, earlier, on, found = layouts[layout](path), {}, {}, after == nil, { [after or ""] = after == nil, [through or ""] = through == nil }
	local function is(m, version)
		return version and (m.version == version or layout ~= "sqitch" and table.concat(m.key, ".") == table.concat(version_of(version), ".") and #m.key > 0)
	end
	for _, m in ipairs(list) do
		if on then out[#out + 1] = m else earlier[#earlier + 1] = m.up end
		if is(m, after) then on, found[after] = true, true end
		if is(m, through) then
			found[through] = true
			break
		end
	end
	for _, version in ipairs { after or false, through or false } do
		if version and not found[version] then fail("%s has no version %s", path, version) end
	end
	if #out == 0 then fail("%s: there is no migration of the layout %s%s", path, layout, after and " after " .. after or "") end
	return out, layout, earlier
end

-- Fields of rehearse.sql for all of them, and the files that each comes from: { up, down }. What holds no statement is left out.
function migrations.all_steps(list)
	local out, sources = {}, {}
	for _, m in ipairs(list) do
		local name = m.version == m.name:gsub(" ", "_") and m.name or m.version == "R" and "repeatable " .. m.name or m.version .. " " .. m.name
		name = name:gsub("[%[%]]", "")
		local ok, steps = pcall(migrations.steps, m.up, m.down or "", { name = name, in_transaction = m.in_transaction, down_in_transaction = m.down_in_transaction,
			no_way_back = "the migration has no way back", may_be_empty = true })
		if not ok then fail("%s: %s", m.file, steps) end
		for _, step in ipairs(steps) do out[#out + 1], sources[#out + 1] = step, { up = m.file, down = m.down_file or m.file } end
		if m.verify and bare(m.verify):find("%S") then
			local known, verify = pcall(migrations.steps, m.verify, "", { name = name .. ", verified", in_transaction = true, may_be_empty = true })
			if not known then fail("%s: %s", m.verify_file, verify) end
			for _, step in ipairs(verify) do
				step.irreversible, step.down = nil, false
				out[#out + 1], sources[#out + 1] = step, { up = m.verify_file, down = m.verify_file }
			end
		end
	end
	if #out == 0 then fail("%s: there is no statement in any of the migrations", list[1].file) end
	return out, sources
end

return migrations
