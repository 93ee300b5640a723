-- Writes scenarios: one to start from, one of a plain migration, one of a folder of migrations. `pgrehearse new`.
local migrations = require "rehearse.migrations"

local convert = {}

-- SQL or any text as a Lua string: in quotes when it fits a line, else in brackets that it does not close.
function convert.quote(text)
	if not text:find("[\n\"\\%c]") and #text <= 110 then return '"' .. text .. '"' end
	local level = ""
	while text:find("]" .. level .. "]", 1, true) or text:sub(-1 - #level) == "]" .. level do level = level .. "=" end
	return "[" .. level .. "[" .. (text:sub(1, 1) == "\n" and "\n" or "") .. text .. "]" .. level .. "]"
end

local function list(texts)
	if #texts == 1 then return convert.quote(texts[1]) end
	local out = {}
	for i, text in ipairs(texts) do out[i] = "\t\t\t\t" .. convert.quote(text) .. "," end
	return "{\n" .. table.concat(out, "\n") .. "\n\t\t\t}"
end

local function step_text(step)
	local lines = { "\t\trehearse.sql { name = " .. convert.quote(step.name) .. (step.transaction == false and ", transaction = false," or ",") .. (step.rollback and " rollback = true," or "") .. (step.part and " part = true," or "") }
	if step.lock_timeout then lines[#lines + 1] = "\t\t\tlock_timeout = " .. convert.quote(step.lock_timeout) .. ", retries = 10," end
	lines[#lines + 1] = "\t\t\tup = " .. (step.up and list(step.up) or "false") .. ","
	if step.on_retry then lines[#lines + 1] = "\t\t\ton_retry = " .. list(step.on_retry) .. "," end
	if step.irreversible then
		lines[#lines + 1] = "\t\t\tirreversible = " .. convert.quote(step.irreversible) .. "   -- or down = \"...\": what takes it back"
	else
		lines[#lines + 1] = "\t\t\tdown = " .. (step.down and list(step.down) or "false")
	end
	lines[#lines] = lines[#lines] .. (step.irreversible and "" or "")
	return table.concat(lines, "\n") .. (step.irreversible and "\n\t\t}," or " },")
end

local CRITERIA = [[
	-- What must hold. pgrehearse judge --help lists the figures; `during migration` and `x baseline` compare phases.
	criteria = {
		"migration.statement.max < 10s",
		"lock_wait.max < 1s",
		"latency.p99 during migration < 250ms",
		"errors.rate < 0.1%%",
		"replication.replay_lag.max < 30s",
		"checks.clean",
%s	},
]]

local HEAD = [[
-- %s
-- Look at it without a database: pgrehearse check %s. Perform it on a sandbox: pgrehearse run %s
local rehearse = require "rehearse"

return rehearse.scenario {
	title = %s,
	workload = %s,   -- the application: a name of workloads/, or a file of yours beside this one
	load = { rate = 200, pods = 4, pool = 6 },   -- transactions a second; processes of the application, and connections of each
	phases = { warmup = "3s", baseline = "10s", settle = "2s" },
]]

local function head(about, file, title, workload)
	return HEAD:format(about, file, file, convert.quote(title), convert.quote(workload))
end

local function is_reversible(steps)
	for _, step in ipairs(steps) do if step.irreversible then return false end end
	return true
end

-- ---- to start from ----

local TEMPLATE = [[

	-- The new version of the application: v1 is the workload as it stands; v2 says what it does otherwise, by name.
	versions = {
		v2 = {
			statements = {
				get_user = "SELECT id, email, full_name, is_active, last_login, locale, profile, nickname FROM users WHERE id = $1",
			},
		},
	},

	-- In order. Each has its way back in `down`, which the drill `rollback` performs in reverse order.
	steps = {
		-- SQL, in one transaction. It waits for its locks for lock_timeout at most, and is tried again: who waits for a lock holds up all
		-- who come after.
		rehearse.sql { name = "add the column", lock_timeout = "1200ms", retries = 10,
			up = "ALTER TABLE users ADD COLUMN nickname text",
			down = "ALTER TABLE users DROP COLUMN nickname" },

		-- Many rows in batches, each committed, as fast as the standby and the application can bear.
		rehearse.backfill { name = "fill it", table = "users", key = "id", batch = 2000, pause = "50ms",
			set = "nickname = split_part(full_name, ' ', 1)", where = "nickname IS NULL",
			throttle = { replay_lag = "5s", p99 = "250ms" } },

		-- What cannot run in a transaction says so. An index that failed is left INVALID: on_retry clears it away.
		rehearse.sql { name = "search by it", transaction = false,
			up = "CREATE INDEX CONCURRENTLY users_nickname ON users (nickname)",
			on_retry = "DROP INDEX CONCURRENTLY IF EXISTS users_nickname",
			down = "DROP INDEX CONCURRENTLY users_nickname" },

		-- The new version comes, one process after the other; both are in use meanwhile.
		rehearse.deploy { name = "roll out v2", from = "v1", to = "v2", every = "1s" },
	},

	-- Queries that find what is wrong: a row found is a check that failed.
	checks = {
		nicknames_fit = "SELECT id FROM users WHERE nickname IS NOT NULL AND position(' ' IN nickname) > 0",
	},

]]

-- name: of the scenario; file: where it will be, for the comments.
function convert.template(name, file, workload)
	return head("A scenario to start from: change the steps to those of your migration.", file, (name:gsub("[_%-]+", " ")), workload)
		.. TEMPLATE .. CRITERIA:format("\t\t\"rollback.clean\",\n") .. "}\n"
end

-- ---- of SQL ----

-- up, down: the texts of the files; down may be nil.
function convert.from_sql(name, file, workload, up, down)
	up, down = migrations.plain(up), down and migrations.plain(down)
	local steps = migrations.steps(up, down, { name = (name:gsub("[_%-]+", " "):gsub("[%[%]]", "")), in_transaction = true })
	local out = {}
	for i, step in ipairs(steps) do
		if step.up and step.transaction ~= false then step.lock_timeout = "2s" end
		out[i] = step_text(step)
	end
	local reversible = is_reversible(steps)
	return head("The migration " .. name .. ", as it was written.", file, (name:gsub("[_%-]+", " ")), workload) .. "\n\tsteps = {\n" .. table.concat(out, "\n\n") .. "\n\t},\n\n"
		.. CRITERIA:format(reversible and "\t\t\"rollback.clean\",\n" or "") .. "}\n"
end

-- ---- of a folder ----

-- path: as the scenario will name it; here: as it is found from where we are. after, through: versions, or nil.
function convert.from_directory(name, file, workload, path, here, layout, after, through)
	local found, known = migrations.read(here, layout, after, through)
	local steps = migrations.all_steps(found)
	local fields = { "path = " .. convert.quote(path), "layout = " .. convert.quote(known) }
	if after then fields[#fields + 1] = "after = " .. convert.quote(after) end
	if through then fields[#fields + 1] = "through = " .. convert.quote(through) end
	local note = string.format("\t-- %d migration%s, read from the folder each time: %s to %s. after = \"VERSION\" leaves out those that the database has already.\n", #found, #found == 1 and "" or "s",
		found[1].version, found[#found].version)
	local programs = migrations.programs(here, known)
	if #programs > 0 then
		note = note .. string.format("\t-- Left out, because %s: %s.\n", #programs == 1 and "it is a program" or "they are programs", table.concat(programs, ", "))
	end
	return head("The migrations of " .. path .. ".", file, (name:gsub("[_%-]+", " ")), workload) .. "\n" .. note
		.. "\tsteps = rehearse.directory { " .. table.concat(fields, ", ") .. ", lock_timeout = \"2s\", retries = 10 },\n\n"
		.. CRITERIA:format(is_reversible(steps) and "\t\t\"rollback.clean\",\n" or "") .. "}\n"
end

return convert
