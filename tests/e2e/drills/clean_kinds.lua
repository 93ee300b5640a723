-- Every kind of difference that the comparison of a rollback knows: each is made, compared, and undone. A mistake of the comparison fails the step.
local rehearse = require "rehearse"
local clean = require "rehearse.clean"

-- What is there to begin with.
local START = { [[CREATE TABLE t (a int PRIMARY KEY, b text DEFAULT 'x' NOT NULL, c numeric(10,2), d timestamptz, e float8)]],
	"INSERT INTO t SELECT i, 'row ' || i, i / 7.0, '2026-01-01 12:00+00'::timestamptz + i * interval '1 hour', 1 / i::float8 FROM generate_series(1, 50) AS i",
	"CREATE TABLE parent (a int NOT NULL) PARTITION BY LIST (a)", "CREATE TABLE part1 PARTITION OF parent FOR VALUES IN (1)", "CREATE TABLE part2 PARTITION OF parent FOR VALUES IN (2)",
	"CREATE TABLE child (a int REFERENCES t)", "CREATE SEQUENCE seq", "SELECT nextval('seq') FROM generate_series(1, 20)", "CREATE TYPE mood AS ENUM ('sad', 'happy')", "CREATE DOMAIN posint AS int CHECK (VALUE > 0)",
	"CREATE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'", "CREATE VIEW v AS SELECT a, b FROM t", "CREATE MATERIALIZED VIEW mv AS SELECT a FROM t",
	"CREATE FUNCTION tf() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'", "CREATE TRIGGER tg BEFORE UPDATE ON t FOR EACH ROW EXECUTE FUNCTION tf()",
	"CREATE ROLE reader", "CREATE INDEX t_b ON t (b)", "CREATE PUBLICATION pub FOR TABLE t", "CREATE SCHEMA other", "CREATE AGGREGATE agg(int) (SFUNC = int4pl, STYPE = int)" }

-- { what is done, what undoes it, the word, a pattern of one difference's object }
local CASES = {
	{ "SELECT 1", "SELECT 1", "identical" },
	-- equivalent
	{ { "ALTER TABLE t ADD COLUMN z int", "ALTER TABLE t DROP COLUMN z" }, "SELECT 1", "equivalent", "^table public%.t$" },
	{ { "ALTER TABLE t ADD COLUMN c2 numeric(10,2)", "UPDATE t SET c2 = c", "ALTER TABLE t DROP COLUMN c", "ALTER TABLE t RENAME c2 TO c" }, "SELECT 1", "equivalent", "^table public%.t$" },
	{ "SELECT setval('seq', 3)", "SELECT setval('seq', 20)", "equivalent", "^sequence public%.seq$" },
	{ "SELECT nextval('seq')", "SELECT setval('seq', 20)", "identical" },
	{ "VACUUM FULL t", "SELECT 1", "identical" },
	-- tables, columns
	{ "CREATE TABLE extra (a int)", "DROP TABLE extra", "dirty", "^relation public%.extra$" },
	{ "CREATE TABLE other.extra (a int)", "DROP TABLE other.extra", "dirty", "^relation other%.extra$" },
	{ "ALTER TABLE t ADD COLUMN z int", "ALTER TABLE t DROP COLUMN z", "dirty", "^column public%.t%.z$" },
	{ "ALTER TABLE t ALTER COLUMN b DROP DEFAULT", "ALTER TABLE t ALTER COLUMN b SET DEFAULT 'x'", "dirty", "^column public%.t%.b$" },
	{ "ALTER TABLE t ALTER COLUMN b DROP NOT NULL", "ALTER TABLE t ALTER COLUMN b SET NOT NULL", "dirty", "^column public%.t%.b$" },
	{ "ALTER TABLE t ALTER COLUMN c TYPE numeric(12,2)", "ALTER TABLE t ALTER COLUMN c TYPE numeric(10,2)", "dirty", "^column public%.t%.c$" },
	{ "ALTER TABLE t ALTER COLUMN b SET STATISTICS 500", "ALTER TABLE t ALTER COLUMN b SET STATISTICS -1", "dirty", "^column public%.t%.b$" },
	{ "ALTER TABLE t ALTER COLUMN b SET STORAGE EXTERNAL", "ALTER TABLE t ALTER COLUMN b SET STORAGE EXTENDED", "dirty", "^column public%.t%.b$" },
	{ "COMMENT ON COLUMN t.b IS 'new'", "COMMENT ON COLUMN t.b IS NULL", "dirty", "^column public%.t%.b$" },
	{ "ALTER TABLE t SET (fillfactor = 70)", "ALTER TABLE t RESET (fillfactor)", "dirty", "^relation public%.t$" },
	{ "ALTER TABLE t SET (toast.autovacuum_enabled = false)", "ALTER TABLE t RESET (toast.autovacuum_enabled)", "dirty", "^relation public%.t$" },
	{ "ALTER TABLE t SET UNLOGGED", "ALTER TABLE t SET LOGGED", "dirty", "^relation public%.t$", before = "ALTER TABLE child DROP CONSTRAINT child_a_fkey; DROP PUBLICATION pub",
		after = "ALTER TABLE child ADD FOREIGN KEY (a) REFERENCES t; CREATE PUBLICATION pub FOR TABLE t" },
	{ "ALTER TABLE t REPLICA IDENTITY FULL", "ALTER TABLE t REPLICA IDENTITY DEFAULT", "dirty", "^relation public%.t$" },
	{ "ALTER TABLE t ENABLE ROW LEVEL SECURITY", "ALTER TABLE t DISABLE ROW LEVEL SECURITY", "dirty", "^relation public%.t$" },
	{ "CREATE POLICY p ON t USING (true)", "DROP POLICY p ON t", "dirty", "^policy public%.t%.p$" },
	-- constraints and indexes
	{ "ALTER TABLE t ADD CONSTRAINT big CHECK (a < 1000) NOT VALID", "ALTER TABLE t DROP CONSTRAINT big", "dirty", "^constraint public%.t%.big$", detail = "not validated" },
	{ "ALTER TABLE child DROP CONSTRAINT child_a_fkey", "ALTER TABLE child ADD FOREIGN KEY (a) REFERENCES t", "dirty", "^constraint public%.child%.child_a_fkey$" },
	{ "ALTER DOMAIN posint DROP CONSTRAINT posint_check", "ALTER DOMAIN posint ADD CONSTRAINT posint_check CHECK (VALUE > 0)", "dirty", "^constraint public%.posint%.posint_check$" },
	{ "DROP INDEX t_b", "CREATE INDEX t_b ON t (b)", "dirty", "^index public%.t_b$" },
	{ { "INSERT INTO t VALUES (51, 'row 1')", fails = "CREATE UNIQUE INDEX CONCURRENTLY bad ON t (b)" }, { "DELETE FROM t WHERE a = 51", "DROP INDEX bad" }, "dirty", "^index public%.bad$", detail = "INVALID" },
	{ { "CREATE INDEX t_b_ccnew ON t (b)", "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 't_b_ccnew'::regclass" }, "DROP INDEX t_b_ccnew", "dirty", "^index public%.t_b_ccnew$", detail = "REINDEX CONCURRENTLY" },
	{ "ALTER TABLE t CLUSTER ON t_b", "ALTER TABLE t SET WITHOUT CLUSTER", "dirty", "^index public%.t_b$" },
	{ "CREATE STATISTICS st ON a, b FROM t", "DROP STATISTICS st", "dirty", "^statistics public%.st$" },
	-- partitions
	{ "ALTER TABLE parent DETACH PARTITION part2", "ALTER TABLE parent ATTACH PARTITION part2 FOR VALUES IN (2)", "dirty", "^relation public%.part2$" },
	{ "UPDATE pg_inherits SET inhdetachpending = true WHERE inhrelid = 'part2'::regclass", "UPDATE pg_inherits SET inhdetachpending = false WHERE inhrelid = 'part2'::regclass", "dirty", "^relation public%.part2$",
		detail = "detach pending", since = 140000 },
	-- triggers, functions, types
	{ "CREATE TRIGGER left_over BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION tf()", "DROP TRIGGER left_over ON t", "dirty", "^trigger public%.t%.left_over$" },
	{ "ALTER TABLE t DISABLE TRIGGER tg", "ALTER TABLE t ENABLE TRIGGER tg", "dirty", "^trigger public%.t%.tg$" },
	{ "ALTER TABLE child DISABLE TRIGGER ALL", "ALTER TABLE child ENABLE TRIGGER ALL", "dirty", "^trigger public%.child" },
	{ "CREATE FUNCTION left_over() RETURNS int LANGUAGE sql AS 'SELECT 1'", "DROP FUNCTION left_over()", "dirty", "^function public%.left_over%(%)$" },
	{ "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1 + 0'", "CREATE OR REPLACE FUNCTION f(int) RETURNS int LANGUAGE sql AS 'SELECT $1'", "dirty", "^function public%.f%(integer%)$" },
	{ { "DROP AGGREGATE agg(int)", "CREATE AGGREGATE agg(int) (SFUNC = int4mi, STYPE = int)" }, { "DROP AGGREGATE agg(int)", "CREATE AGGREGATE agg(int) (SFUNC = int4pl, STYPE = int)" }, "dirty", "^function public%.agg%(integer%)$" },
	{ "CREATE RULE r AS ON DELETE TO child DO INSTEAD NOTHING", "DROP RULE r ON child", "dirty", "^rule public%.child%.r$" },
	{ "CREATE OR REPLACE VIEW v AS SELECT a, b || '' AS b FROM t", "CREATE OR REPLACE VIEW v AS SELECT a, b FROM t", "dirty", "^relation public%.v$" },
	{ "CREATE TYPE pair AS (x int, y int)", "DROP TYPE pair", "dirty", "^relation public%.pair$" },
	{ "CREATE DOMAIN d AS text", "DROP DOMAIN d", "dirty", "^type public%.d$" },
	{ "CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)", "DROP OPERATOR === (int, int)", "dirty", "^operator " },
	{ "CREATE CAST (mood AS int) WITH INOUT", "DROP CAST (mood AS int)", "dirty", "^cast " },
	{ "CREATE COLLATION low (PROVIDER = libc, LOCALE = 'C')", "DROP COLLATION low", "dirty", "^collation public%.low$" },
	{ "CREATE TEXT SEARCH CONFIGURATION ts (COPY = simple)", "DROP TEXT SEARCH CONFIGURATION ts", "dirty", "^text search configuration public%.ts$" },
	{ "ALTER SEQUENCE seq INCREMENT 5", "ALTER SEQUENCE seq INCREMENT 1", "dirty", "^sequence public%.seq$" },
	-- beyond one schema
	{ "CREATE SCHEMA left_over", "DROP SCHEMA left_over", "dirty", "^schema left_over$" },
	{ "CREATE EXTENSION pg_trgm", "DROP EXTENSION pg_trgm", "dirty", "^extension pg_trgm$", optional = true },
	{ "ALTER PUBLICATION pub SET (publish = 'insert')", "ALTER PUBLICATION pub SET (publish = 'insert, update, delete, truncate')", "dirty", "^publication pub$" },
	{ "ALTER PUBLICATION pub ADD TABLE child", "ALTER PUBLICATION pub DROP TABLE child", "dirty", "^publication pub$" },
	{ { "CREATE FUNCTION ef() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'", "CREATE EVENT TRIGGER ev ON ddl_command_start EXECUTE FUNCTION ef()" },
		{ "DROP EVENT TRIGGER ev", "DROP FUNCTION ef()" }, "dirty", "^event trigger ev$" },
	{ "ALTER ROLE reader SET work_mem = '8MB'", "ALTER ROLE reader RESET work_mem", "dirty", "^setting " },
	{ "CREATE SERVER far FOREIGN DATA WRAPPER fdw", "DROP SERVER far", "dirty", "^foreign server far$", before = "CREATE FOREIGN DATA WRAPPER fdw", after = "DROP FOREIGN DATA WRAPPER fdw" },
	-- privileges and owners
	{ "GRANT SELECT ON t TO reader", "REVOKE ALL ON t FROM reader", "dirty", "^relation public%.t$", detail = "reader" },
	{ "GRANT UPDATE (b) ON t TO reader", "REVOKE ALL (b) ON t FROM reader", "dirty", "^column public%.t%.b$" },
	{ "REVOKE EXECUTE ON FUNCTION f(int) FROM PUBLIC", "GRANT EXECUTE ON FUNCTION f(int) TO PUBLIC", "dirty", "^function public%.f%(integer%)$" },
	{ "GRANT USAGE ON TYPE mood TO reader", "REVOKE USAGE ON TYPE mood FROM reader", "dirty", "^type public%.mood$" },
	{ "ALTER TABLE t OWNER TO reader", "ALTER TABLE t OWNER TO postgres", "dirty", "^relation public%.t$" },
	{ "ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO reader", "ALTER DEFAULT PRIVILEGES REVOKE SELECT ON TABLES FROM reader", "dirty", "^default privilege " },
	-- content
	{ "UPDATE t SET b = 'other' WHERE a = 7", "UPDATE t SET b = 'row 7' WHERE a = 7", "dirty", "^content of public%.t$" },
	{ "DELETE FROM t WHERE a = 50", "INSERT INTO t (a, b, c, d, e) SELECT 50, 'row 50', 50 / 7.0, '2026-01-03 14:00+00', 1 / 50::float8", "dirty", "^content of public%.t$" },
	{ "INSERT INTO child VALUES (1), (1)", "DELETE FROM child", "dirty", "^content of public%.child$" },
	{ { "CREATE TABLE t2 AS SELECT * FROM t ORDER BY random()", "DELETE FROM t", "INSERT INTO t SELECT * FROM t2", "DROP TABLE t2" }, "SELECT 1", "identical" },
	{ "ALTER ROLE postgres SET TimeZone = 'Asia/Tokyo'", "ALTER ROLE postgres RESET TimeZone", "dirty", "^setting ", again = true, only = true },
}

local function all(m, list)
	for _, sql in ipairs(type(list) == "table" and list or { list }) do m:exec(sql) end
	if type(list) == "table" and list.fails then pcall(m.exec, m, list.fails) end
end

local function try(m, session, case, problems)
	local host = m.host
	local name = type(case[1]) == "table" and case[1][#case[1]] or case[1]
	if case.since and m:row("SELECT current_setting('server_version_num')::int") < case.since then return end
	if case.before then m:exec(case.before) end
	local before = clean.capture(session)
	local ok, why = pcall(all, m, case[1])
	if not ok and case.optional then return end
	if not ok then error(why, 0) end
	-- A session that knows nothing of what the first one was set to.
	if case.again then session = clean.open(host) end
	local after = clean.capture(session)
	local c = clean.compare(host, before, after, {}, {}, "all")
	local hit, listed = case[4] == nil, {}
	for _, d in ipairs(c.differences) do
		listed[#listed + 1] = d.class .. " " .. d.object .. " (" .. d.detail:sub(1, 120) .. ")"
		if case[4] and d.object:match(case[4]) and (not case.detail or d.detail:find(case.detail, 1, true)) and d.class == case[3] then hit = true end
	end
	if c.verdict ~= case[3] or not hit or case.only and #c.differences > 1 then
		problems[#problems + 1] = string.format("%s: %s instead of %s; %s", name, c.verdict, case[3], table.concat(listed, "; "))
	end
	all(m, case[2])
	if case.after then m:exec(case.after) end
	if m.tried then m.tried = m.tried + 1 end
end

return rehearse.scenario {
	title = "every kind of difference", workload = "notes", load = { rate = 1, pods = 1, pool = 1 }, phases = { warmup = "0", baseline = "200ms", settle = "0" },
	observe = { availability = false },
	steps = {
		rehearse.sql { name = "start", up = START, irreversible = "a test" },
		rehearse.sql { name = "differences", transaction = false, irreversible = "a test", up = function(m)
			local session, problems = clean.open(m.host), {}
			m:exec("SET allow_system_table_mods = on")
			for _, case in ipairs(CASES) do try(m, session, case, problems) end
			if #problems > 0 then m:fail("%d of %d: %s", #problems, #CASES, table.concat(problems, "\n")) end
			m:exec(string.format("SELECT '%d kinds'", #CASES))
		end },
	},
}
