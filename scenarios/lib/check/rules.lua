-- What is wrong with a migration as far as its statements tell. Each rule: level (error: it will hurt; warning: it may; note: worth
-- knowing) and what it is about, for those who see its name alone.
local catalogue = require "catalogue"
local plpgsql = require "catalogue.plpgsql"
local tree = require "catalogue.tree"

local rules = {}

rules.list = {
	{ "missing-down", "error", "A step has no way back." },
	{ "nothing-undone", "warning", "A step says that there is nothing to undo, but it changes the schema." },
	{ "lock-timeout-outruns-autovacuum", "note", "An autovacuum gives way only to somebody who has waited for deadlock_timeout, 1 s unless it was set." },
	{ "lock-timeout-none", "error", "A statement waits for its lock for as long as it takes, and everybody queues behind it." },
	{ "index-not-concurrent", "error", "An index is built under a lock that writes wait for." },
	{ "drop-index-not-concurrent", "warning", "An index is dropped under a lock that everybody waits for." },
	{ "if-not-exists-hides-invalid-index", "error", "IF NOT EXISTS takes an invalid index, left by a failed attempt, for done." },
	{ "retry-finds-invalid-index", "warning", "A failed CREATE INDEX CONCURRENTLY leaves an invalid index that the next attempt trips over." },
	{ "concurrently-in-transaction", "error", "The statement cannot run inside a transaction." },
	{ "constraint-builds-index", "error", "A constraint builds its index while nobody can read or write the table." },
	{ "table-rewrite", "error", "A table is written anew while nobody can read or write it." },
	{ "scan-under-lock", "error", "A table is read whole while nobody can read or write it." },
	{ "index-rebuild-under-lock", "error", "Indexes are built anew while nobody can read or write the table." },
	{ "foreign-key-validated-at-once", "error", "A foreign key looks up every row while writes to both tables wait." },
	{ "locks-referenced-table", "warning", "Writes to a referenced table wait." },
	{ "slow-work-while-locked", "error", "A transaction does something slow while it keeps a strong lock that it took before." },
	{ "several-tables-in-one-transaction", "warning", "A transaction keeps strong locks on several tables." },
	{ "unbatched-write", "error", "All rows are written in one transaction." },
	{ "enum-value-used-at-once", "error", "A value that is added to an enum cannot be used before its transaction ends." },
	{ "loop-is-one-transaction", "error", "A loop in a DO block without COMMIT is one transaction." },
	{ "commit-inside-transaction", "error", "A DO block commits, which fails inside of a transaction." },
	{ "required-column-without-default", "error", "A required column without a default cannot be added to a table that has rows." },
	{ "rename", "warning", "A name that the running version of the application uses is gone at once." },
	{ "loses-data", "warning", "Values are gone, and no way back brings them." },
	{ "cascade", "warning", "CASCADE drops what is not named." },
	{ "sync-trigger-without-insert", "warning", "A trigger that keeps two columns in step does not see the rows that old versions insert." },
	{ "sync-trigger-null-only", "warning", "A trigger that only fills what is NULL misses later changes." },
	{ "function-does-not-parse", "error", "The body of a function is no PL/pgSQL." },
	{ "misread-figures", "warning", "A query measures something else than it seems to." },
	{ "default-too-late", "warning", "Rows that come between the backfill and the default lack the value." },
	{ "set-local-outside-transaction", "warning", "SET LOCAL outside of a transaction does nothing." },
	{ "kills-by-text", "warning", "Sessions are chosen by the text of their last query, which need not be the one that holds the lock." },
	{ "backfill-without-throttle", "note", "A backfill does not look at what it does to others." },
	{ "not-read", "note", "What it does cannot be told before it runs." },
}
rules.by_id = {}
for _, r in ipairs(rules.list) do rules.by_id[r[1]] = { id = r[1], level = r[2], about = r[3] } end

-- The server's default.
local DEADLOCK_TIMEOUT_NS = 1000000000

local function is_strong(mode) return mode and catalogue.strength[mode] >= catalogue.strength.SRE end

local function names(list) return table.concat(list, ", ") end

local function locks_text(op)
	local out = {}
	for name, mode in pairs(op.locks) do out[#out + 1] = catalogue.words[mode] .. " on " .. name end
	table.sort(out)
	return #out > 0 and names(out) or "no lock on a table"
end

local function add(ctx, rule, op, what, more)
	local finding = { rule = rule, what = what, why = op and op.why or rules.by_id[rule].about, safer = op and op.safer or "" }
	for field, value in pairs(more or {}) do finding[field] = value end
	ctx.add(finding)
end

local CANNOT_IN_TRANSACTION = { create_index_concurrently = true, drop_index_concurrently = true, reindex_concurrently = true, detach_partition_concurrently = true,
	vacuum = true, vacuum_full = true }
local BUILDS_INDEX = { add_unique = true, add_primary_key = true, add_exclude = true }
local RENAMES = { rename_column = true, rename_table = true, rename_schema = true, set_schema = true, rename_enum_value = true }
local NO_INDEX = { create_index = true, reindex = true }

-- ---- one operation ----

-- Does another part of the statement do this already? One command writes or reads a table once, however many of its parts need it.
local function is_told(ctx, what, tables)
	local key = what .. " " .. names(tables)
	local before = ctx.told[key]
	ctx.told[key] = true
	return before
end

local function locks_on_others(op)
	for name, mode in pairs(op.locks) do if name ~= op.table and is_strong(mode) then return true end end
	return false
end

local function locks_and_work(ctx, op)
	local level = op.maybe and "warning" or nil
	local title = op.title .. (op.table and type(op.table) == "string" and " (" .. op.table .. ")" or "")
	if op.hidden and op.id == "add_fk" and locks_on_others(op) then
		add(ctx, "foreign-key-validated-at-once", op, title .. " looks up every row in " .. (op.parent or "the other table"))
	elseif op.made or op.hidden then
		if op.id == "add_fk" and locks_on_others(op) then add(ctx, "locks-referenced-table", op, string.format("%s takes %s", op.title, locks_text(op))) end
	elseif op.id == "truncate" then
		return
	elseif op.work.rewrite then
		if is_told(ctx, "rewrite", op.work.rewrite) then return end
		add(ctx, "table-rewrite", op, string.format("%s writes %s anew%s", title, names(op.work.rewrite), op.maybe and ": " .. op.maybe or ""), { level = level })
	elseif op.work.scan and is_strong(op.locks[op.work.scan[1]]) then
		if ctx.rewritten[op.work.scan[1]] or is_told(ctx, "scan", op.work.scan) then return end
		add(ctx, "scan-under-lock", op, string.format("%s reads %s whole", title, names(op.work.scan)), { level = level })
	elseif op.work.index_build and BUILDS_INDEX[op.id] then
		add(ctx, "constraint-builds-index", op, string.format("%s builds %s", title, names(op.work.index_build)))
	elseif op.work.index_build and NO_INDEX[op.id] then
		add(ctx, "index-not-concurrent", op, string.format("%s builds %s", title, names(op.work.index_build)))
	elseif op.work.index_build and not CANNOT_IN_TRANSACTION[op.id] then
		if ctx.rewritten[op.table] or is_told(ctx, "indexes", op.work.index_build) then return end
		add(ctx, "index-rebuild-under-lock", op, string.format("%s builds %s", title, names(op.work.index_build)))
	elseif op.id == "add_fk" and not op.made then
		add(ctx, "foreign-key-validated-at-once", op, title .. " looks up every row in " .. (op.parent or "the other table"))
	end
	if op.id == "drop_index" and not op.made and not op.hidden then add(ctx, "drop-index-not-concurrent", op, "DROP INDEX " .. (op.name or "") .. " locks out everybody") end
	if (op.id == "create_table_fk" or op.id == "add_column_references") and locks_on_others(op) then
		add(ctx, "locks-referenced-table", op, string.format("%s takes %s", op.title, locks_text(op)))
	end
end

local function index_rules(ctx, op)
	if op.if_not_exists and op.concurrent then
		add(ctx, "if-not-exists-hides-invalid-index", nil, "CREATE INDEX CONCURRENTLY IF NOT EXISTS " .. (op.index or "") .. " succeeds when a failed attempt has left it INVALID",
			{ safer = "leave out IF NOT EXISTS; on_retry = \"DROP INDEX CONCURRENTLY IF EXISTS " .. (op.index or "...") .. "\"" })
	end
	local again = ctx.direction == "down" and "on_retry_down" or "on_retry"
	if op.id == "create_index_concurrently" and not ctx.step.transaction and not ctx.step[again] and (ctx.step.retries or 0) > 0 and not op.if_not_exists then
		add(ctx, "retry-finds-invalid-index", op, string.format("CREATE INDEX CONCURRENTLY %s is tried up to %d times without clearing away what a failed attempt leaves", op.index or "", ctx.step.retries + 1),
			{ safer = again .. " = \"DROP INDEX CONCURRENTLY IF EXISTS " .. (op.index or "...") .. "\"" })
	end
	if CANNOT_IN_TRANSACTION[op.id] and ctx.in_transaction then
		add(ctx, "concurrently-in-transaction", op, op.title .. " cannot run inside a transaction (SQLSTATE 25001)", { safer = "transaction = false", why = rules.by_id["concurrently-in-transaction"].about })
	end
end

local function row_rules(ctx, op)
	if op.made or op.hidden then return end
	if op.id == "update_all" or op.id == "delete_all" then
		add(ctx, "unbatched-write", op, string.format("%s in %s, in one transaction%s", op.title, op.table, op.maybe and "; " .. op.maybe or ""), { level = op.condition and "warning" or nil })
	elseif op.id == "insert_select" then
		add(ctx, "unbatched-write", op, "INSERT INTO " .. op.table .. " copies a table in one transaction", { level = "warning" })
	end
end

local function naming_rules(ctx, op)
	if op.made or op.hidden then return end
	if RENAMES[op.id] then
		add(ctx, "rename", op, op.title .. (op.table and " of " .. op.table or "") .. (op.column and "." .. op.column or "") .. (op.new_name and ": it is called " .. op.new_name or ""))
	end
	if op.loses_data and op.id ~= "delete_all" and ctx.direction == "up" then
		add(ctx, "loses-data", op, op.title .. (op.table and " of " .. op.table or "") .. (op.column and "." .. op.column or ""), { level = ctx.step.irreversible and "note" or nil })
	end
	if op.cascade then add(ctx, "cascade", nil, op.title .. " ... CASCADE also drops what depends on it", { safer = "name each object" }) end
	if op.required_without_default then
		add(ctx, "required-column-without-default", nil, string.format("%s.%s is NOT NULL without a default: it fails as soon as there is a row (SQLSTATE 23502)", op.table, op.column or "?"),
			{ safer = "a default, or a nullable column that is filled, and then SET NOT NULL proved by a CHECK" })
	end
end

-- ---- triggers, defaults, blocks ----

local INSERT_BIT, UPDATE_BIT, BEFORE_BIT = 4, 16, 2

-- Columns that a trigger's body assigns, a set; and whether one of them is kept in step with others: the time of the change and a count of
-- changes are not.
local function assigned_columns(body)
	local out, keeps = {}, false
	for column, value in body:gmatch("NEW%.([%w_]+)%s*:?=%s*([^;]*)") do
		local upper = value:upper()
		local alone = upper:find("NOW%s*%(") or upper:find("CURRENT_TIMESTAMP") or upper:find("LOCALTIMESTAMP") or upper:find("_TIMESTAMP%s*%(") or upper:find("OLD%.") and not upper:find("NEW%.")
		out[column:lower()], keeps = true, keeps or not alone
	end
	return out, keeps
end

local function trigger_rules(ctx, op)
	if op.id ~= "create_trigger" or not op.events or not op.trigger_function then return end
	local body = ctx.bodies[op.trigger_function]
	if not body or not body:find("NEW%.[%w_]+%s*:?=[^=]") or (op.timing or BEFORE_BIT) & BEFORE_BIT == 0 then return end
	local columns, keeps = assigned_columns(body)
	for column in pairs(columns) do keeps = keeps and not ctx.synced_columns[(op.table or "") .. "." .. column] end
	if keeps and op.events & UPDATE_BIT ~= 0 and op.events & INSERT_BIT == 0 then
		add(ctx, "sync-trigger-without-insert", nil, "the trigger on " .. (op.table or "it") .. " fires on UPDATE alone: rows that the old version inserts are not kept in step", { safer = "BEFORE INSERT OR UPDATE" })
	end
	if op.events & INSERT_BIT ~= 0 then
		for column in pairs(columns) do ctx.synced_columns[(op.table or "") .. "." .. column] = true end
	end
	local upper = body:upper()
	if upper:find("NEW%.[%w_]+%s+IS%s+NULL") and not upper:find("DISTINCT%s+FROM") and not upper:find("<>") and not upper:find("TG_OP") then
		add(ctx, "sync-trigger-null-only", nil, op.trigger_function .. "() assigns only where the new column is NULL: what the old version changes later does not arrive",
			{ safer = "compare with OLD: IF NEW.x IS DISTINCT FROM OLD.x" })
	end
end

local function default_rules(ctx, op)
	local key = (op.table or "") .. "." .. (op.column or "")
	if op.id == "add_column" then ctx.bare_columns[key] = true end
	if op.id == "set_not_null" or op.id == "set_not_null_proved" then ctx.filled_columns[key] = true end
	if op.id == "set_default" and ctx.direction == "up" and ctx.bare_columns[key] and ctx.filled_columns[key] and not ctx.synced_columns[key] then
		add(ctx, "default-too-late", nil, "SET DEFAULT of " .. key .. " comes after the rows were filled: those inserted in between lack the value",
			{ safer = "SET DEFAULT right after ADD COLUMN" })
	end
end

local function block_rules(ctx, op)
	if op.id ~= "do_block" then return end
	local body = op.body:upper()
	local writes = body:find("%f[%w]UPDATE%f[%W]") or body:find("%f[%w]DELETE%f[%W]") or body:find("%f[%w]INSERT%f[%W]")
	local commits = body:find("%f[%w]COMMIT%f[%W]")
	if body:find("%f[%w]LOOP%f[%W]") and writes and not commits then
		local pauses = body:find("PG_SLEEP") ~= nil
		local where = op.title == "DO" and "the DO block" or op.title
		add(ctx, "loop-is-one-transaction", nil, pauses and "the loop of " .. where .. " looks like batches, but all of it is one transaction; pauses in it only keep the locks longer"
			or "what the loop of " .. where .. " writes is one transaction, however small its parts are", { safer = "rehearse.backfill", level = not pauses and "warning" or nil })
	elseif commits and ctx.in_transaction then
		add(ctx, "commit-inside-transaction", nil, "COMMIT in " .. (op.title == "DO" and "a DO block" or op.title) .. " fails inside of a transaction (SQLSTATE 2D000)", { safer = "transaction = false, or rehearse.backfill" })
	elseif not op.read then
		add(ctx, "not-read", nil, op.title .. ": what it locks shows when it runs", { safer = op.safer })
	end
end

-- ---- one statement ----

local function timeout_rules(ctx, prediction)
	local strongest
	for name, mode in pairs(prediction.locks) do
		local more = strongest and catalogue.strength[mode] - catalogue.strength[strongest.mode] or 1
		if catalogue.strength[mode] >= catalogue.strength.SUE and (more > 0 or more == 0 and name < strongest.name) then strongest = { name = name, mode = mode } end
	end
	if strongest and ctx.step.lock_timeout == 0 and not ctx.own_lock_timeout then
		add(ctx, "lock-timeout-none", nil, string.format("it waits for %s on %s without a limit", catalogue.words[strongest.mode], strongest.name),
			{ safer = 'lock_timeout = "2s" and retries: a short wait, again later' })
	elseif strongest and (ctx.step.lock_timeout or 0) > 0 and ctx.step.lock_timeout <= DEADLOCK_TIMEOUT_NS and not ctx.own_lock_timeout then
		add(ctx, "lock-timeout-outruns-autovacuum", nil, string.format("it gives up waiting for %s on %s before an autovacuum in the way is told to stop", catalogue.words[strongest.mode], strongest.name),
			{ safer = 'a lock_timeout somewhat longer than deadlock_timeout: "1200ms"' })
	end
end

local function set_rules(ctx, prediction)
	if prediction.kind ~= "VariableSetStmt" then return end
	local s = prediction.node
	if s.is_local and not ctx.in_transaction then
		add(ctx, "set-local-outside-transaction", nil, "SET LOCAL " .. (s.name or "") .. " does nothing: each statement of this step is a transaction of its own", { safer = "SET, or one transaction" })
	end
	if s.name == "lock_timeout" then
		local value = tree.text((s.args or {})[1]) or ""
		ctx.own_lock_timeout = not value:match("^0")
		if not ctx.own_lock_timeout then add(ctx, "lock-timeout-none", nil, "lock_timeout = " .. value .. ": what follows waits without a limit", { safer = "a short lock_timeout, and retries" }) end
	end
end

-- What a transaction has locked by now, and what is done while it keeps that.
local function transaction_rules(ctx, prediction)
	if not ctx.in_transaction then return end
	local slow
	for _, op in ipairs(prediction.operations) do
		if not op.made and op.id ~= "truncate" and (op.work.scan or op.work.index_build or op.work.fk_validation or op.work.rewrite or op.id == "update_all" or op.id == "delete_all" or op.id == "insert_select") then slow = op end
	end
	if slow then
		for _, held in ipairs(ctx.held) do
			if held.number < ctx.number then
				-- Once for the transaction: the first that is slow for certain, or else that may be.
				local first, certain = ctx.slow, not slow.maybe and not slow.condition
				if not first or certain and not first.certain then
					ctx.slow = { add = ctx.add, certain = certain, count = first and first.count or 0,
						what = string.format("%s while statement %d keeps %s on %s", slow.title, held.number, catalogue.words[held.mode], held.name) }
				end
				ctx.slow.count = ctx.slow.count + 1
				break
			end
		end
	end
	for name, mode in pairs(prediction.locks) do
		if is_strong(mode) and not ctx.schema:is_made(name) then
			local known
			for _, held in ipairs(ctx.held) do known = known or held.name == name end
			if not known then ctx.held[#ctx.held + 1] = { name = name, mode = mode, number = ctx.number } end
		end
	end
	local tables, numbers = {}, {}
	for _, held in ipairs(ctx.held) do tables[#tables + 1], numbers[held.number] = held.name, true end
	local count = 0
	for _ in pairs(numbers) do count = count + 1 end
	if count > 1 and #tables > 1 and not ctx.told_tables then
		ctx.told_tables = true
		table.sort(tables)
		add(ctx, "several-tables-in-one-transaction", nil, "one transaction keeps strong locks on " .. names(tables),
			{ why = catalogue.by_id.several_tables.why, safer = catalogue.by_id.several_tables.safer })
	end
end

-- Values that the transaction has added to enums, and what uses them in it. A type that it makes itself may be used.
local function enum_rules(ctx, prediction)
	local s = prediction.node
	if prediction.kind == "CreateEnumStmt" then ctx.made_types[tree.name(s.typeName)] = true end
	if not ctx.in_transaction then return end
	if prediction.kind == "AlterEnumStmt" then
		if s.newVal and not s.oldVal and not ctx.made_types[tree.name(s.typeName)] then ctx.new_values[s.newVal] = tree.name(s.typeName) end
	elseif next(ctx.new_values) and prediction.kind ~= "CommentStmt" then
		local used
		tree.walk({ s }, function(kind, value) if kind == "A_Const" and value.sval and ctx.new_values[value.sval.sval or ""] then used = used or value.sval.sval end end)
		if used then
			add(ctx, "enum-value-used-at-once", nil, string.format("'%s' was added to %s in this transaction, and cannot be used before that ends (SQLSTATE 55P04)", used, ctx.new_values[used]),
				{ safer = "ALTER TYPE ... ADD VALUE in a step of its own" })
			ctx.new_values[used] = nil
		end
	end
end

-- Queries of the system views that are easily misread, in checks and conditions too.
function rules.figures(ctx, text)
	local upper = text:upper()
	if upper:find("SENT_LSN") and upper:find("REPLAY_LSN") and not upper:find("PG_CURRENT_WAL") then
		add(ctx, "misread-figures", nil, "sent_lsn - replay_lsn leaves out the WAL that has not been sent yet", { safer = "pg_current_wal_lsn() - replay_lsn, or wait_until with replay_lag" })
	end
	if upper:find("PG_LOCKS") and upper:find("QUERY_START") and not upper:find("WAITSTART") then
		add(ctx, "misread-figures", nil, "query_start is when the statement began, not when it began to wait", { safer = "pg_locks.waitstart, from PostgreSQL 14 on" })
	end
end

-- Types are not looked up, so what depends on them cannot be told: a field of a row, a collation.
local function is_beyond_parser(problem)
	return problem:find('^"[^"]+%.[^"]+" is not a known variable') or problem:find("^collations are not supported") or problem:find("does not exist$")
end

local function body_rules(ctx, prediction)
	local s = prediction.node
	if prediction.kind ~= "CreateFunctionStmt" and prediction.kind ~= "DoStmt" then return end
	local list = s.options or s.args
	local language = tree.option(list, "language")
	language = language and tree.text(language) or prediction.kind == "DoStmt" and "plpgsql"
	if language ~= "plpgsql" or not tree.option(list, "as") then return end
	local problem = ctx.plpgsql_error(plpgsql.readable(prediction.sql))
	if problem and not is_beyond_parser(problem) then add(ctx, "function-does-not-parse", nil, "the body does not parse: " .. problem, { safer = "" }) end
end

local function text_rules(ctx, prediction)
	rules.figures(ctx, prediction.sql)
	local upper = prediction.sql:upper()
	if upper:find("PG_TERMINATE_BACKEND") and upper:find("QUERY%s+I?LIKE") then
		add(ctx, "kills-by-text", nil, "sessions are ended by what their last query looked like: one that idles in a transaction shows another", { safer = "pg_blocking_pids() of the session that waits" })
	end
end

-- For what stands in a body: said so, and only a warning where it may not be done at all.
local function of_block(ctx, op)
	return setmetatable({ add = function(finding)
		finding.what = "in " .. op.block .. ", " .. finding.what
		if op.conditional and (finding.level or rules.by_id[finding.rule].level) == "error" then finding.level = "warning" end
		ctx.add(finding)
	end }, { __index = ctx })
end

-- ctx: step, direction, in_transaction, made_types, new_values, number (of the statement), held, schema, bodies, bare_columns, filled_columns, synced_columns, add(finding).
function rules.statement(ctx, prediction)
	if prediction.unread then
		return add(ctx, "not-read", nil, "the parser, of PostgreSQL " .. ctx.parser .. ", cannot read it: " .. prediction.unread, { safer = "" })
	end
	if prediction.kind == "CreateFunctionStmt" then
		local body = tree.option(prediction.node.options, "as")
		ctx.bodies[tree.name(prediction.node.funcname)] = type(body) == "table" and tree.text(body) or ""
	end
	set_rules(ctx, prediction)
	ctx.told, ctx.rewritten = {}, {}
	for _, op in ipairs(prediction.operations) do for _, name in ipairs(op.work.rewrite or {}) do ctx.rewritten[name] = true end end
	for _, op in ipairs(prediction.operations) do
		local its = op.block and of_block(ctx, op) or ctx
		locks_and_work(its, op)
		index_rules(its, op)
		if not op.loop then row_rules(its, op) end
		naming_rules(its, op)
		trigger_rules(its, op)
		default_rules(its, op)
		block_rules(its, op)
	end
	timeout_rules(ctx, prediction)
	transaction_rules(ctx, prediction)
	enum_rules(ctx, prediction)
	text_rules(ctx, prediction)
	body_rules(ctx, prediction)
end

-- All statements of a step's one direction, once they are known.
function rules.finish(ctx)
	local slow = ctx.slow
	if not slow then return end
	add({ add = slow.add }, "slow-work-while-locked", nil, slow.what .. (slow.count > 1 and string.format("; %d more statement%s slow meanwhile", slow.count - 1, slow.count == 2 and " is" or "s are") or ""),
		{ level = not slow.certain and "warning" or nil, safer = "a step of its own: locks are kept until the transaction ends" })
end

-- A step as a whole, once its statements are known. operations: of its up. ctx: undone_elsewhere (by a step before it), add.
function rules.step(ctx, step, operations, lacks_down)
	if lacks_down then
		return add(ctx, "missing-down", nil, "it has no down", { safer = 'write one, or down = false when there is nothing to undo, or irreversible = "the reason"' })
	end
	if step.down == false and not step.irreversible and not step.rollback and not step.part and not ctx.undone_elsewhere and step.kind == "sql" then
		for _, op in ipairs(operations) do
			if op.reversible and not op.id:match("^update") and not op.id:match("^insert") and op.id ~= "write_rows" then
				return add(ctx, "nothing-undone", nil, "down = false, but " .. op.title .. " changes the schema", { safer = 'a down, or irreversible = "the reason"' })
			end
		end
	end
	local throttled = false
	for reason in pairs(step.throttle or {}) do throttled = throttled or reason ~= "longest" end
	if step.kind == "backfill" and not throttled then
		add(ctx, "backfill-without-throttle", nil, "it goes on however far the standby falls behind and however slow the application gets", { safer = 'throttle = { replay_lag = "5s", p99 = "100ms" }' })
	end
end

return rules
