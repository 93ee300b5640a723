-- The predictions of scenarios/lib/catalogue/predict.lua. Each entry: a sentence and a function that raises when it does not hold.
local catalogue = require "catalogue"
local Predictor = require "catalogue.predict"
local sql = require "sql"
local split = require "rehearse.split"

local tests = {}

local function equal(got, expected, what)
	if got ~= expected then error(string.format("%s: %s, not %s", what or "value", tostring(got), tostring(expected)), 2) end
end

local function show(locks)
	local out = {}
	for name, mode in pairs(locks) do out[#out + 1] = name .. " " .. mode end
	table.sort(out)
	return table.concat(out, ", ")
end

local function predictor(...)
	local p = Predictor.new { parse = sql.parse }
	p:learn { ... }
	return p
end

local SHOP = [[
CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, age int, note varchar(20), price numeric(8,2), seen timestamp, code char(10), flags bit(8));
CREATE INDEX users_email ON users (email);
CREATE TABLE orders (id bigint PRIMARY KEY, user_id int REFERENCES users, total int CHECK (total >= 0));
CREATE TABLE events (id int, at date) PARTITION BY RANGE (at);
]]

local function first(text, ...)
	local p = predictor(SHOP, ...)
	local prediction = p:statement(text)
	if prediction.unread then error(prediction.unread .. ": " .. text, 2) end
	return prediction.operations[1], prediction
end

-- What several statements do together is told of each by itself; reindex and the like lock indexes too, which is left out here.
local TOGETHER = { table_swap = true, several_tables = true, write_rows = true, create_object = true }
-- Newer than the parser.
local UNREAD = {}
for _, op in ipairs(catalogue.operations) do if op.since and op.since > sql.version then UNREAD[op.id] = true end end

tests["each operation of the catalogue is recognised by its SQL, and its locks on tables are named"] = function()
	for _, op in ipairs(catalogue.operations) do
		local p = predictor(catalogue.base, table.unpack(split(op.setup or "")))
		local indexes, last = {}, nil
		for name in pairs(p.schema.indexes) do indexes[name] = true end
		for _, text in ipairs(type(op.sql) == "table" and op.sql or { op.sql }) do last = p:statement(text) end
		if UNREAD[op.id] then
			if not last.unread and op.id ~= "validate_not_null" then error(op.id .. " can be read after all") end
		elseif not TOGETHER[op.id] then
			if last.unread then error(op.id .. ": " .. last.unread) end
			local ids, expected = {}, {}
			for _, o in ipairs(last.operations) do ids[o.id] = true end
			local id = op.id == "create_index_concurrently_fails" and "create_index_concurrently" or op.id
			if not ids[id] then error(string.format("%s is taken for %s", op.id, table.concat((function() local l = {} for k in pairs(ids) do l[#l + 1] = k end return l end)(), ", "))) end
			for name, mode in pairs(op.locks) do if not indexes[name] then expected[name] = mode end end
			local got = {}
			for name, mode in pairs(last.locks) do if not indexes[name] then got[name] = mode end end
			equal(show(got), show(expected), "locks of " .. op.id)
			equal(last.work.rewrite and last.work.rewrite[1], op.work.rewrite and op.work.rewrite[1], "rewrite of " .. op.id)
			equal(last.work.scan ~= nil, op.work.scan ~= nil, "scan of " .. op.id)
		end
	end
end

tests["a change of type is told by the type that the column has"] = function()
	for change, id in pairs {
		["age TYPE bigint"] = "type_rewrite", ["age TYPE int"] = "type_relaxed", ["note TYPE varchar(40)"] = "type_relaxed", ["note TYPE text"] = "type_relaxed", ["note TYPE varchar(10)"] = "type_narrowed",
		["email TYPE varchar"] = "type_relaxed", ["email TYPE varchar(100)"] = "type_narrowed", ["price TYPE numeric(12,2)"] = "type_precision", ["price TYPE numeric(12,3)"] = "type_rewrite",
		["price TYPE numeric"] = "type_precision", ["seen TYPE timestamptz"] = "type_timestamptz", ["age TYPE bigint USING age + 1"] = "type_rewrite",
		["note TYPE text USING upper(note)"] = "type_rewrite", ["code TYPE char(20)"] = "type_padded", ["code TYPE char(5)"] = "type_padded", ["code TYPE char(10)"] = "type_relaxed",
		["code TYPE bpchar"] = "type_relaxed", ["code TYPE text"] = "type_rewrite", ["flags TYPE bit(9)"] = "type_padded", ["flags TYPE varbit(9)"] = "type_rewrite", ["email TYPE text COLLATE \"C\""] = "type_collation",
	} do equal(first("ALTER TABLE users ALTER COLUMN " .. change).id, id, change) end
end

tests["a type that is not known is taken for the worst, and that is said"] = function()
	local op = first("ALTER TABLE strangers ALTER COLUMN x TYPE text")
	equal(op.id, "type_rewrite")
	if not op.maybe:find("not known") then error(op.maybe) end
end

tests["TimeZone decides about timestamptz"] = function()
	local p = predictor(SHOP)
	p:statement("SET LOCAL TimeZone = 'UTC'")
	equal(p:statement("ALTER TABLE users ALTER COLUMN seen TYPE timestamptz").work.rewrite, nil)
	p = predictor(SHOP)
	equal(p:statement("ALTER TABLE users ALTER COLUMN seen TYPE timestamptz").work.rewrite[1], "users")
end

tests["SET NOT NULL needs no scan once a CHECK has been validated, and one while it is NOT VALID"] = function()
	local p = predictor(SHOP)
	p:statement("ALTER TABLE users ADD CONSTRAINT c CHECK (age IS NOT NULL AND age > 0) NOT VALID")
	local before = p.schema:proves_not_null("users", "age")
	equal(before, false)
	p:statement("ALTER TABLE users VALIDATE CONSTRAINT c")
	equal(p:statement("ALTER TABLE users ALTER COLUMN age SET NOT NULL").operations[1].id, "set_not_null_proved")
	equal(predictor(SHOP):statement("ALTER TABLE users ALTER COLUMN age SET NOT NULL").work.scan[1], "users")
end

tests["a primary key USING INDEX reads the table whole, unless each of the columns is known to hold no NULL"] = function()
	local function key(...)
		local p = predictor(SHOP, "CREATE TABLE s.logs (id serial, n int GENERATED ALWAYS AS IDENTITY, at date, who int CHECK (who IS NOT NULL))", "CREATE UNIQUE INDEX i ON s.logs (id, n, who)",
			"CREATE UNIQUE INDEX j ON s.logs (id, at)", ...)
		return function(name) return p:statement("ALTER TABLE s.logs ADD CONSTRAINT k PRIMARY KEY USING INDEX " .. name).operations[1], p end
	end
	equal(key()("i").id, "add_primary_key_using_index")
	equal(key()("j").id, "add_primary_key_using_index_null")
	equal(key("ALTER TABLE s.logs ALTER COLUMN at SET NOT NULL")("j").id, "add_primary_key_using_index")
	equal(key("ALTER TABLE s.logs RENAME COLUMN at TO day", "ALTER TABLE s.logs ALTER COLUMN day SET NOT NULL")("j").id, "add_primary_key_using_index")
	equal(key("ALTER TABLE s.logs ALTER COLUMN n DROP IDENTITY", "ALTER TABLE s.logs ALTER COLUMN n DROP NOT NULL")("i").id, "add_primary_key_using_index_null")
	equal(key()("j").maybe, nil)
	local op = key()("strange")
	if op.id ~= "add_primary_key_using_index_null" or not op.maybe:find("not known") then error(tostring(op.maybe)) end
	local _, p = key()("j")
	equal(p.schema:proves_not_null("s.logs", "at"), true, "what the key has made of its column")
end

tests["a volatile default writes the table anew, now() and constants do not"] = function()
	for default, id in pairs { ["random()"] = "add_column_volatile_default", ["gen_random_uuid()::text"] = "add_column_volatile_default", ["now()"] = "add_column_stable_default",
		["'x'"] = "add_column_default", ["CURRENT_TIMESTAMP"] = "add_column_default", ["nextval('s')"] = "add_column_volatile_default", ["mine()"] = "add_column_volatile_default" } do
		equal(first("ALTER TABLE users ADD COLUMN c text DEFAULT " .. default).id, id, default)
	end
	equal(first("ALTER TABLE users ADD COLUMN c int DEFAULT mine()", "CREATE FUNCTION mine() RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1'").id, "add_column_stable_default")
end

tests["tables that foreign keys lead to are locked too"] = function()
	local _, p = first("DROP TABLE orders")
	equal(show(p.locks), "orders AEL, users AEL")
	_, p = first("CREATE TABLE lines (id int, order_id bigint REFERENCES orders, user_id int, FOREIGN KEY (user_id) REFERENCES users)")
	equal(show(p.locks), "orders SRE, users SRE")
	_, p = first("ALTER TABLE orders DROP CONSTRAINT orders_user_id_fkey")
	equal(show(p.locks), "orders AEL, users AEL")
end

tests["nobody waits for a table that the migration makes, until there are rows in it"] = function()
	local p = predictor(SHOP)
	p:statement("CREATE TABLE fresh (id int)")
	local made = p:statement("CREATE INDEX ON fresh (id)")
	equal(made.risk, "low")
	equal(show(made.locks), "")
	p:statement("INSERT INTO fresh SELECT id FROM users")
	local filled = p:statement("CREATE INDEX ON fresh (id)")
	equal(filled.risk, "high")
	equal(show(filled.locks), "fresh S")
end

tests["what is made in a transaction is seen by nobody else before it ends, whatever is in it"] = function()
	local p = predictor(SHOP)
	p:begin_step(true)
	p:statement("CREATE TABLE fresh (id int PRIMARY KEY, user_id int)")
	local fk = p:statement("ALTER TABLE fresh ADD FOREIGN KEY (user_id) REFERENCES users")
	equal(show(fk.locks) .. " " .. fk.risk, "users SRE medium")
	p:statement("INSERT INTO fresh SELECT id FROM users")
	for _, text in ipairs { "CREATE INDEX ON fresh (user_id)", "ALTER TABLE fresh ALTER COLUMN user_id TYPE bigint", "UPDATE fresh SET user_id = 1" } do
		local op = p:statement(text)
		equal(show(op.locks) .. op.risk, text:find("TYPE") and "users AELhigh" or "low", text)
	end
	equal(show(p:statement("ALTER TABLE users ADD COLUMN fresh_id int REFERENCES fresh").locks), "users AEL")
	p:begin_step(true)
	equal(show(p:statement("CREATE INDEX ON fresh (user_id)").locks), "fresh S")
end

tests["tables that a query fills, temporary ones and those of statements that cannot be read are made here, too"] = function()
	for _, text in ipairs { "CREATE TABLE fresh AS SELECT * FROM users", "SELECT * INTO fresh FROM users", "CREATE MATERIALIZED VIEW fresh AS SELECT * FROM users",
		"CREATE TABLE fresh AS SELECT id FROM (SELECT * FROM users)", 'CREATE TABLE IF NOT EXISTS public."fresh" (id int FROBNICATE)' } do
		local p = predictor(SHOP)
		p:statement(text)
		equal(show(p:statement("CREATE INDEX ON fresh (id)").locks), "", text)
	end
	local p = predictor(SHOP)
	p:statement("CREATE TEMP TABLE fresh (id int)")
	p:statement("INSERT INTO fresh SELECT id FROM users")
	equal(p:statement("UPDATE fresh SET id = 1").risk, "low")
end

tests["a column's foreign keys, and those that lead to it, are locked with it"] = function()
	for text, locks in pairs { ["ALTER TABLE orders DROP COLUMN user_id"] = "orders AEL, users AEL", ["ALTER TABLE orders DROP COLUMN total"] = "orders AEL",
		["ALTER TABLE orders ALTER COLUMN user_id TYPE bigint"] = "orders AEL, users AEL", ["ALTER TABLE users ALTER COLUMN id TYPE bigint"] = "orders AEL, users AEL",
		["ALTER TABLE users ALTER COLUMN age TYPE bigint"] = "users AEL", ["DROP TABLE users CASCADE"] = "orders AEL, users AEL", ["TRUNCATE users CASCADE"] = "orders AEL, users AEL",
		["ALTER TABLE users DROP CONSTRAINT users_pkey CASCADE"] = "orders AEL, users AEL", ["ALTER TABLE users DROP COLUMN id CASCADE"] = "orders AEL, users AEL" } do
		local _, p = first(text)
		equal(show(p.locks), locks, text)
	end
	local _, p = first("ALTER TABLE users ALTER COLUMN id TYPE bigint")
	equal(p.work.fk_validation[1], "orders_user_id_fkey")
end

tests["a default that calls a function in SQL is as volatile as that function's expression"] = function()
	for body, id in pairs { ["SELECT extract(epoch FROM now())::bigint"] = "add_column_stable_default", ["SELECT random()"] = "add_column_volatile_default", ["SELECT max(id) FROM users"] = "add_column_volatile_default" } do
		local p = predictor(SHOP)
		p:statement("CREATE FUNCTION mine() RETURNS bigint LANGUAGE sql AS $$ " .. body .. " $$")
		equal(p:statement("ALTER TABLE users ADD COLUMN c bigint DEFAULT mine()").operations[1].id, id, body)
	end
end

tests["what is done to a partitioned table is done to its partitions"] = function()
	local parts = "CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01'); CREATE TABLE heir (x int) INHERITS (users)"
	for text, locks in pairs { ["ALTER TABLE events ADD COLUMN c int"] = "events AEL, events_1 AEL", ["CREATE INDEX ON events (id)"] = "events S, events_1 S", ["DROP TABLE events"] = "events AEL, events_1 AEL",
		["ALTER TABLE events RENAME TO happenings"] = "events AEL", ["CREATE INDEX ON ONLY events (id)"] = "events S", ["ALTER TABLE users ADD COLUMN c int"] = "heir AEL, users AEL",
		["ALTER TABLE events DETACH PARTITION events_1"] = "events AEL, events_1 AEL" } do
		local _, p = first(text, parts)
		equal(show(p.locks), locks, text)
	end
end

tests["an operation is called by the name that it has"] = function()
	for text, title in pairs { ["ALTER TABLE users ALTER COLUMN note TYPE text"] = "TYPE varchar(20) to text", ["ALTER TABLE strangers ALTER COLUMN x TYPE timestamptz"] = "TYPE to timestamptz",
		["ALTER TABLE users ENABLE TRIGGER ALL"] = "ENABLE TRIGGER", ["ALTER TABLE users SET LOGGED"] = "SET LOGGED of a table that is so", ["ALTER TABLE strangers SET LOGGED"] = "SET LOGGED",
		["ALTER TABLE users DISABLE ROW LEVEL SECURITY"] = "DISABLE ROW LEVEL SECURITY", ["ALTER POLICY p ON users USING (true)"] = "ALTER POLICY", ["ALTER TRIGGER g ON users RENAME TO h"] = "RENAME TRIGGER",
		["DROP TYPE mood"] = "DROP TYPE", ["ALTER TABLE users SET ACCESS METHOD heap"] = "SET ACCESS METHOD" } do equal(first(text).title, title, text) end
	for text, locks in pairs { ["ALTER POLICY p ON users USING (true)"] = "users AEL", ["ALTER TRIGGER g ON users RENAME TO h"] = "users AEL", ["CREATE PUBLICATION p FOR TABLE users"] = "users SUE",
		["ALTER TABLE strangers INHERIT users"] = "strangers AEL, users SUE" } do
		local _, p = first(text)
		equal(show(p.locks), locks, text)
	end
	equal(first("ALTER TABLE users ALTER COLUMN note TYPE text USING email").id, "type_rewrite")
	equal(first("ALTER TABLE users ADD COLUMN c int DEFAULT random()").maybe, nil)
	equal(first("ALTER TABLE users ADD COLUMN c int DEFAULT stranger()").maybe, "stranger() is not known here; a default that is not volatile costs nothing")
end

tests["an UPDATE is of few rows when a key or a LIMIT says so"] = function()
	for text, id in pairs { ["UPDATE users SET age = 1"] = "update_all", ["UPDATE users SET age = 1 WHERE id = 7"] = "write_rows", ["UPDATE users SET age = 1 WHERE id = ANY($1)"] = "write_rows",
		["UPDATE users SET age = 1 WHERE age IS NULL"] = "update_all", ["UPDATE users SET age = 1 WHERE id IN (SELECT id FROM users WHERE age IS NULL LIMIT 100)"] = "write_rows",
		["WITH b AS (SELECT id FROM users LIMIT 5) UPDATE users u SET age = 1 FROM b WHERE u.id = b.id"] = "write_rows", ["DELETE FROM users"] = "delete_all",
		["DELETE FROM users WHERE id BETWEEN 1 AND 100"] = "write_rows" } do equal(first(text).id, id, text) end
end

tests["names with schemas and quotes stay apart"] = function()
	local _, p = first('ALTER TABLE audit."Big Table" ADD COLUMN c int')
	equal(show(p.locks), "audit.Big Table AEL")
	_, p = first("ALTER TABLE public.users ADD COLUMN c int")
	equal(show(p.locks), "users AEL")
end

tests["what a WITH writes counts too"] = function()
	local _, p = first("WITH gone AS (DELETE FROM orders RETURNING *) INSERT INTO users SELECT id FROM gone")
	equal(show(p.locks), "orders RX, users RX")
	_, p = first("MERGE INTO users USING orders ON users.id = orders.user_id WHEN MATCHED THEN DELETE")
	equal(show(p.locks), "orders AS, users RX")
end

tests["what the parser cannot read is named with the place, and refused by nobody"] = function()
	local p = predictor(SHOP):statement("ALTER TABLE users FROBNICATE")
	equal(p.unread ~= nil and p.at > 0, true)
	equal(#p.operations, 0)
end

tests["what a run expects of a statement does not change with its attempts, and follows what is undone and done again"] = function()
	local host = { array = function(t) return t end, schema = function() return { SHOP } end }
	local e = require("rehearse.expected").open(host, 15)
	local step = { name = "s", kind = "sql" }
	local function of(direction, text, attempt) return e:of(step, direction, text, attempt) end
	local first_time = of("up", "ALTER TABLE users ALTER COLUMN age SET NOT NULL", 1)
	equal(first_time.work[1].what, "scan")
	equal(of("up", "ALTER TABLE users ALTER COLUMN age SET NOT NULL", 2), first_time)
	of("up", "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID", 1)
	of("down", "ALTER TABLE users DROP CONSTRAINT c", 1)
	of("up", "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID", 1)
	equal(of("up", "ALTER TABLE users VALIDATE CONSTRAINT c", 1).operations[1].maybe, nil)
	equal(of("up", "ALTER TABLE users FROBNICATE", 1).unread ~= nil, true)
	equal(e:of({ name = "b", kind = "backfill" }, "up", "UPDATE users SET age = 1", 1), nil)
end

tests["what is renamed is known by its new name"] = function()
	local p = predictor(SHOP)
	p:statement("ALTER TABLE users RENAME TO people")
	local drop = p:statement("DROP TABLE orders")
	equal(show(drop.locks), "orders AEL, people AEL")
	equal(show(p:statement("DROP INDEX users_email").locks), "people AEL")
	p = predictor(SHOP)
	p:statement("ALTER TABLE orders RENAME COLUMN user_id TO owner_id")
	equal(show(p:statement("ALTER TABLE orders ALTER COLUMN owner_id TYPE bigint").locks), "orders AEL, users AEL")
end

return tests
