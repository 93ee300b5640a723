-- The rules of `pgrehearse check`. Each entry: a sentence and a function that raises when it does not hold.
local check = require "check"
local rehearse = require "rehearse"
check.watch()

local tests = {}

local SCHEMA = { "CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL, age int, active boolean)", "CREATE TABLE orders (id bigint PRIMARY KEY, user_id int REFERENCES users)" }

-- Findings of a scenario of these steps, as { rule = level }.
local function found(...)
	local result = check.examine("no/file.lua", { title = "t", steps = { ... } }, SCHEMA, 15, function(t) return t end)
	local out = {}
	for _, f in ipairs(result.findings) do
		if f.direction == "up" then out[f.rule] = f.level end
	end
	return out, result
end

local function step(fields)
	fields.name = fields.name or "a step"
	if fields.down == nil and not fields.irreversible then fields.down = "SELECT 1" end
	return rehearse.sql(fields)
end

-- up -> rule = level, or false for none at all.
local function expect(cases)
	for _, case in ipairs(cases) do
		local rules = found(step(case.step or { up = case.up }))
		if case.none then
			for rule in pairs(rules) do error(string.format("%s: %s is found", tostring(case.up or case.name), rule), 2) end
		elseif rules[case.rule] ~= (case.level or "error") then
			local names = {}
			for rule, level in pairs(rules) do names[#names + 1] = rule .. " " .. level end
			error(string.format("%s: %s %s is not found, but %s", tostring(case.up or case.rule), case.level or "error", case.rule, table.concat(names, ", ")), 2)
		end
	end
end

tests["what a step takes back itself is not taken for done"] = function()
	local probe = { name = "probe", up = "ALTER TABLE users ALTER COLUMN age SET NOT NULL", rollback = true }
	local rules, result = found(rehearse.sql(probe), step { name = "a step", up = "ALTER TABLE users ALTER COLUMN age SET NOT NULL" })
	assert(not rules["nothing-undone"] and not rules["missing-down"])
	local scans = 0
	for _, f in ipairs(result.findings) do if f.rule == "scan-under-lock" then scans = scans + 1 end end
	assert(scans == 2, scans)
end

tests["the index of a partitioned table is made in parts without a finding"] = function()
	local parted = "CREATE TABLE events (id int, at date) PARTITION BY RANGE (at); CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
	local function findings_of(...)
		local out = {}
		local steps = { step { name = "only", up = "CREATE INDEX events_id ON ONLY events (id)", down = "DROP INDEX events_id" }, ... }
		for _, f in ipairs(check.examine("no/file.lua", { title = "t", steps = steps }, { parted }, 15, function(t) return t end).findings) do
			if f.direction == "up" then out[#out + 1] = f.rule end
		end
		return table.concat(out, " ")
	end
	local parts = findings_of(step { name = "each", transaction = false, up = "CREATE INDEX CONCURRENTLY events_1_id ON events_1 (id)", on_retry = "DROP INDEX CONCURRENTLY IF EXISTS events_1_id" },
		step { name = "together", up = "ALTER INDEX events_id ATTACH PARTITION events_1_id", down = false })
	assert(parts == "", parts)
	assert(findings_of(step { name = "whole", up = "CREATE INDEX ON events (at)" }) == "index-not-concurrent")
	assert(findings_of(step { name = "a partition", up = "CREATE INDEX ON ONLY events_1 (at)" }) == "index-not-concurrent")
end

tests["a step that says that there is nothing to undo must not change the schema"] = function()
	for _, up in ipairs { "ALTER TABLE users ADD CONSTRAINT users_email_key UNIQUE USING INDEX users_email_key", "ALTER TABLE users ADD CONSTRAINT users_email_key PRIMARY KEY USING INDEX users_email_key",
		"ALTER TABLE users OWNER TO other", "ALTER TABLE users ALTER COLUMN age TYPE bigint", "ALTER TABLE users ALTER COLUMN email TYPE varchar(80)", "ALTER TABLE users ALTER COLUMN email TYPE text COLLATE \"C\"",
		"ALTER TYPE mood ADD VALUE 'bad'", "ALTER TABLE users INHERIT people", "ALTER TABLE orders DETACH PARTITION o CONCURRENTLY" } do
		assert(found(step { up = up, down = false })["nothing-undone"] == "warning", up)
		assert(not found(step { up = up, irreversible = "a test" })["nothing-undone"], up)
	end
	for _, up in ipairs { "ALTER TABLE users VALIDATE CONSTRAINT c", "ANALYZE users", "REINDEX TABLE CONCURRENTLY users", "ALTER TABLE users ALTER COLUMN email SET NOT NULL", "UPDATE users SET age = 1 WHERE id = 1",
		"ALTER INDEX users_id ATTACH PARTITION users_1_id", "SELECT 1" } do
		assert(not found(step { up = up, down = false })["nothing-undone"], up)
	end
end

tests["naive forms are found"] = function()
	expect {
		{ up = "CREATE INDEX i ON users (age)", rule = "index-not-concurrent" },
		{ up = "REINDEX TABLE users", rule = "index-not-concurrent" },
		{ up = "DROP INDEX i", rule = "drop-index-not-concurrent", level = "warning" },
		{ up = "ALTER TABLE users ALTER COLUMN age TYPE bigint", rule = "table-rewrite" },
		{ up = "ALTER TABLE users ADD COLUMN token uuid DEFAULT gen_random_uuid()", rule = "table-rewrite" },
		{ up = "VACUUM FULL users", rule = "concurrently-in-transaction" },
		{ up = "ALTER TABLE users ALTER COLUMN age SET NOT NULL", rule = "scan-under-lock" },
		{ up = "ALTER TABLE users ADD CHECK (age > 0)", rule = "scan-under-lock" },
		{ up = "ALTER TABLE users ADD COLUMN s text NOT NULL DEFAULT 'a' CHECK (s <> '')", rule = "scan-under-lock" },
		{ up = "ALTER TABLE users ADD UNIQUE (email)", rule = "constraint-builds-index" },
		{ up = "ALTER TABLE users ADD FOREIGN KEY (age) REFERENCES orders (id)", rule = "foreign-key-validated-at-once" },
		{ up = "CREATE TABLE lines (id int, order_id bigint REFERENCES orders)", rule = "locks-referenced-table", level = "warning" },
		{ up = "CREATE TABLE lines (id int, order_id bigint); ALTER TABLE lines ADD FOREIGN KEY (order_id) REFERENCES orders", rule = "locks-referenced-table", level = "warning" },
		{ up = "ALTER TYPE mood ADD VALUE 'bad'; ALTER TABLE users ALTER COLUMN email SET DEFAULT 'bad'", rule = "enum-value-used-at-once" },
		{ up = "UPDATE users SET age = 1", rule = "unbatched-write" },
		{ up = "UPDATE users SET age = 1 WHERE age IS NULL", rule = "unbatched-write", level = "warning" },
		{ up = "DELETE FROM orders", rule = "unbatched-write" },
		{ up = "ALTER TABLE users RENAME COLUMN email TO mail", rule = "rename", level = "warning" },
		{ up = "ALTER TABLE users DROP COLUMN age", rule = "loses-data", level = "warning" },
		{ up = "DROP TABLE orders CASCADE", rule = "cascade", level = "warning" },
		{ up = "ALTER TABLE users ADD COLUMN c int NOT NULL", rule = "required-column-without-default" },
		{ up = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query ILIKE '%users%'", rule = "kills-by-text", level = "warning" },
		{ up = "SELECT 1 FROM pg_stat_replication WHERE pg_wal_lsn_diff(sent_lsn, replay_lsn) > 100", rule = "misread-figures", level = "warning" },
		{ up = "SELECT now() - query_start FROM pg_stat_activity JOIN pg_locks USING (pid)", rule = "misread-figures", level = "warning" },
		{ up = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.a := NEW.b); RETURN NEW; END $$", rule = "function-does-not-parse" },
		{ up = "SET lock_timeout = 0", rule = "lock-timeout-none" },
		{ up = "ALTER TABLE users FROBNICATE", rule = "not-read", level = "note" },
	}
end

tests["safe forms are left alone"] = function()
	expect {
		{ up = "ALTER TABLE users ADD COLUMN c int", none = true },
		{ up = "ALTER TABLE users ADD COLUMN c int NOT NULL DEFAULT 0", none = true },
		{ up = "ALTER TABLE users ADD CHECK (age > 0) NOT VALID", none = true },
		{ up = "UPDATE users SET age = 1 WHERE id = 3", none = true },
		{ up = "CREATE TABLE fresh (id int PRIMARY KEY); CREATE INDEX ON fresh (id); ALTER TABLE fresh ALTER COLUMN id TYPE bigint", none = true },
		{ up = "CREATE TABLE fresh (id int); INSERT INTO fresh VALUES (1); CREATE INDEX i ON fresh (id); DROP INDEX i; UPDATE fresh SET id = 2; ALTER TABLE fresh RENAME COLUMN id TO c", none = true },
		{ up = "ALTER TABLE users ADD COLUMN boss int REFERENCES users (id)", none = true },
		{ up = "CREATE TYPE mood AS ENUM ('good'); ALTER TYPE mood ADD VALUE 'bad'; ALTER TABLE users ADD COLUMN m mood DEFAULT 'bad'", none = true },
		{ up = "ALTER TRIGGER a ON users RENAME TO b", none = true },
		{ up = "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.updated_at = now(); RETURN NEW; END $$; CREATE TRIGGER g BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION f()", none = true },
		{ name = "index", none = true, step = { transaction = false, up = "CREATE INDEX CONCURRENTLY i ON users (age)", on_retry = "DROP INDEX CONCURRENTLY IF EXISTS i", down = "DROP INDEX CONCURRENTLY i" } },
	}
end

-- How often a rule is found.
local function times(rule, ...)
	local _, result = found(...)
	local n, what = 0, nil
	for _, f in ipairs(result.findings) do if f.rule == rule and f.direction == "up" then n, what = n + 1, f.what end end
	return n, what
end

local CONSTRAINT = [[DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_constraint WHERE conname = 'c') THEN ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0); END IF;
	EXCEPTION WHEN duplicate_object THEN NULL; END $$]]
local FILL = "CREATE FUNCTION fill() RETURNS void LANGUAGE %s AS $$ %s $$"

tests["SQL that is written out in a body is looked at, and a body that holds more is named"] = function()
	expect {
		{ up = CONSTRAINT, rule = "scan-under-lock", level = "warning" },
		{ up = "DO $$ BEGIN CREATE INDEX i ON users (age); END $$", rule = "index-not-concurrent" },
		{ up = "DO $$ BEGIN EXECUTE 'CREATE INDEX i ON users (age)'; END $$", rule = "index-not-concurrent" },
		{ up = "DO $$ BEGIN EXECUTE format('CREATE INDEX i ON %I (age)', 'users'); END $$", rule = "not-read", level = "note" },
		{ up = "DO $$ BEGIN CREATE TYPE mood AS ENUM ('good'); EXCEPTION WHEN duplicate_object THEN NULL; END $$", none = true },
		{ up = "DO $$ DECLARE n int; BEGIN SELECT id INTO n FROM users LIMIT 1; UPDATE users SET age = 1 WHERE id = n; END $$", none = true },
		{ up = "DO $$ DECLARE r record; BEGIN FOR r IN SELECT id FROM users LOOP UPDATE users SET age = 1 WHERE id = r.id; END LOOP; END $$", rule = "loop-is-one-transaction", level = "warning" },
		{ rule = "unbatched-write", step = { up = { FILL:format("plpgsql", "BEGIN UPDATE users SET age = 1; END"), "SELECT fill()" } } },
		{ rule = "unbatched-write", step = { up = { FILL:format("sql", "SELECT 1; UPDATE users SET age = 1"), "DO $$ BEGIN PERFORM fill(); END $$" } } },
		{ rule = "not-read", level = "note", step = { up = { FILL:format("plpgsql", "BEGIN PERFORM fill(); END"), "SELECT fill()" } } },
		{ rule = "commit-inside-transaction", step = { up = { "CREATE PROCEDURE fill() LANGUAGE plpgsql AS $$ BEGIN LOOP UPDATE users SET age = 1 WHERE id = 1; COMMIT; END LOOP; END $$", "CALL fill()" } } },
		{ up = "SELECT stranger()", rule = "not-read", level = "note" },
		{ up = "CALL stranger()", rule = "not-read", level = "note" },
		{ up = "SELECT pg_catalog.set_config('search_path', '', false), setval('s', 1), count(*)", none = true },
		{ up = FILL:format("plpgsql", "BEGIN UPDATE users SET age = 1; END"), none = true },
	}
	local _, result = found(step { up = CONSTRAINT })
	assert(result.findings[1].what == "in the DO block, ADD CHECK (users) reads users whole", result.findings[1].what)
end

tests["what the parser of bodies cannot know is not held against a function"] = function()
	expect {
		{ up = "CREATE FUNCTION f(OUT a int) RETURNS SETOF int LANGUAGE plpgsql AS $$ BEGIN a := 1; RETURN NEXT; RETURN; END $$", none = true },
		{ up = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ DECLARE r users%rowtype; BEGIN r.age := 1; RETURN r.age; END $$", none = true },
		{ up = [[CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ DECLARE t text COLLATE "C"; BEGIN RETURN 1; END $$]], none = true },
		{ up = "CREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$ BEGIN nowhere := 1; RETURN 1; END $$", rule = "function-does-not-parse" },
	}
end

tests["a table that is filled and then refers to another keeps that locked while its rows are looked up"] = function()
	expect { { rule = "foreign-key-validated-at-once",
		step = { up = { "CREATE TABLE lines AS SELECT id AS order_id FROM orders", "ALTER TABLE lines ADD FOREIGN KEY (order_id) REFERENCES orders" } } } }
end

tests["what is one work for the server is told once"] = function()
	local n = times("table-rewrite", step { up = "ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (1) STORED, ADD COLUMN b int GENERATED ALWAYS AS (2) STORED, ALTER COLUMN age SET NOT NULL" })
	assert(n == 1, n)
	n = times("scan-under-lock", step { up = "ALTER TABLE users ALTER COLUMN age SET NOT NULL, ALTER COLUMN active SET NOT NULL" })
	assert(n == 1, n)
	n = times("scan-under-lock", step { up = "ALTER TABLE users ALTER COLUMN age SET NOT NULL, ALTER COLUMN age TYPE bigint" })
	assert(n == 0, n)
	assert(times("table-rewrite", step { up = "TRUNCATE users" }) == 0)
	local many, what = times("slow-work-while-locked", step { up = { "ALTER TABLE users ADD COLUMN c int", "UPDATE users SET c = 1 WHERE c IS NULL", "CREATE INDEX i ON users (c)", "CREATE INDEX j ON users (c)" } })
	assert(many == 1 and what:find("^CREATE INDEX while statement 1 keeps") and what:find("2 more statements are slow"), what)
end

tests["what belongs to the step is looked at"] = function()
	expect {
		{ rule = "lock-timeout-none", step = { up = "ALTER TABLE users ADD COLUMN c int", lock_timeout = "none" } },
		{ rule = "lock-timeout-outruns-autovacuum", level = "note", step = { up = "ALTER TABLE users ADD COLUMN c int", lock_timeout = "500ms" } },
		{ none = true, step = { up = "ALTER TABLE users ADD COLUMN c int", lock_timeout = "1200ms" } },
		{ rule = "if-not-exists-hides-invalid-index", step = { up = "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON users (age)", transaction = false } },
		{ rule = "retry-finds-invalid-index", level = "warning", step = { up = "CREATE INDEX CONCURRENTLY i ON users (age)", transaction = false } },
		{ rule = "concurrently-in-transaction", step = { up = "CREATE INDEX CONCURRENTLY i ON users (age)" } },
		{ rule = "set-local-outside-transaction", level = "warning", step = { up = { "SET LOCAL work_mem = '1GB'", "ANALYZE users" }, transaction = false } },
		{ rule = "slow-work-while-locked", step = { up = { "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0) NOT VALID", "ALTER TABLE users VALIDATE CONSTRAINT c" } } },
		{ rule = "slow-work-while-locked", step = { up = { "ALTER TABLE users ADD COLUMN c int", "UPDATE users SET c = 1" } } },
		{ rule = "several-tables-in-one-transaction", level = "warning", step = { up = { "ALTER TABLE users ADD COLUMN c int", "ALTER TABLE orders ADD COLUMN c int" } } },
		{ rule = "loop-is-one-transaction", step = { up = "DO $$ BEGIN LOOP UPDATE users SET age = 1 WHERE id < 100; EXIT; PERFORM pg_sleep(1); END LOOP; END $$" } },
		{ rule = "commit-inside-transaction", step = { up = "DO $$ BEGIN LOOP UPDATE users SET age = 1; COMMIT; END LOOP; END $$" } },
		{ rule = "nothing-undone", level = "warning", step = { up = "ALTER TABLE users ADD COLUMN c int", down = false } },
	}
end

tests["a step without a way back is found, not refused"] = function()
	local rules = found(rehearse.sql { name = "a step", up = "ALTER TABLE users ADD COLUMN c int" })
	if rules["missing-down"] ~= "error" then error("it is not found") end
end

local SYNC = [[CREATE FUNCTION sync() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN %s RETURN NEW; END $$]]

tests["triggers that keep columns in step by halves are found"] = function()
	expect {
		{ rule = "sync-trigger-without-insert", level = "warning", step = { up = { SYNC:format("NEW.age := 1;"), "CREATE TRIGGER s BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync()" } } },
		{ rule = "sync-trigger-null-only", level = "warning",
			step = { up = { SYNC:format("IF NEW.age IS NULL THEN NEW.age := 1; END IF;"), "CREATE TRIGGER s BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync()" } } },
	}
	local rules = found(step { up = { SYNC:format("IF NEW.age IS DISTINCT FROM OLD.age THEN NEW.age := 1; END IF;"), "CREATE TRIGGER s BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync()" } })
	if next(rules) then error("a good one is found: " .. next(rules)) end
end

tests["a default that comes after the rows were filled is found"] = function()
	local rules = found(step { name = "1", up = "ALTER TABLE users ADD COLUMN c int" },
		rehearse.backfill { name = "2", table = "users", set = "c = 1", where = "c IS NULL" },
		step { name = "3", up = "ALTER TABLE users ALTER COLUMN c SET DEFAULT 1" })
	if rules["default-too-late"] ~= "warning" then error("it is not found") end
	if rules["backfill-without-throttle"] ~= "note" then error("a backfill that looks at nothing is not found") end
	rules = found(step { name = "1", up = "ALTER TABLE users ADD COLUMN c int" },
		step { name = "2", up = { SYNC:format("NEW.c := 1;"), "CREATE TRIGGER s BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION sync()" } },
		rehearse.backfill { name = "3", table = "users", set = "c = 1", where = "c IS NULL" },
		step { name = "4", up = "ALTER TABLE users ALTER COLUMN c SET DEFAULT 1" })
	if rules["default-too-late"] then error("it is found though a trigger fills the column of every row that comes") end
end

tests["the statement of a backfill is read"] = function()
	local rules, result = found(rehearse.backfill { name = "1", table = "users", where = "true", throttle = { p99 = "1s" },
		statement = "INSERT INTO orders (id, user_id) SELECT id, id FROM users WHERE :range ON CONFLICT DO NOTHING" })
	if rules["not-read"] then error("it is not read") end
	if #result.statements ~= 1 or not result.statements[1].sql:find("INSERT INTO orders", 1, true) then error("it is not among the statements") end
end

tests["an error in a way back is a warning"] = function()
	local _, result = found(step { up = "SELECT 1", down = "UPDATE users SET age = 1" })
	if result.errors ~= 0 or result.warnings ~= 1 then error(result.errors .. " errors") end
end

return tests
