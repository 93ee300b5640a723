-- How far a backfill is, kept on the server in the schema pgrehearse and written in each batch's own transaction: a run that was cut
-- off goes on where it was. Nothing of it stays when the backfill is done.
local Resume = {}
Resume.__index = Resume

local MAKE = [[
DO $$ BEGIN
	IF pg_catalog.to_regclass('pgrehearse.backfill') IS NULL THEN
		IF pg_catalog.to_regnamespace('pgrehearse') IS NULL THEN CREATE SCHEMA pgrehearse; END IF;
		CREATE TABLE pgrehearse.backfill (step text, part int4, definition text NOT NULL, at text[], upper text[] NOT NULL, filled int8 NOT NULL DEFAULT 0,
			batches int8 NOT NULL DEFAULT 0, done bool NOT NULL DEFAULT false, changed timestamptz NOT NULL DEFAULT pg_catalog.now(), PRIMARY KEY (step, part));
		COMMENT ON TABLE pgrehearse.backfill IS 'how far backfills of pgrehearse are; may be dropped when none is to be resumed';
	END IF;
END $$]]

local FORGET = [[
DO $$ BEGIN
	IF NOT EXISTS (SELECT FROM pgrehearse.backfill) THEN DROP TABLE pgrehearse.backfill; END IF;
EXCEPTION WHEN lock_not_available OR undefined_table OR insufficient_privilege THEN NULL; END $$]]

-- A list as an array of PostgreSQL.
local function array(list)
	local out = {}
	for i, text in ipairs(list) do out[i] = '"' .. text:gsub('[\\"]', "\\%0") .. '"' end
	return "{" .. table.concat(out, ",") .. "}"
end

-- definition: what tells this backfill from another that bears the step's name. nil where the role may not keep anything.
function Resume.open(m, step, definition)
	if not step.resume then return nil end
	local out = m.raw:query(MAKE)
	if not out.ok then
		m.host.warning(string.format("step %q cannot be resumed when it is cut off: %s", step.name, out.message))
		return nil
	end
	return setmetatable({ m = m, step = step.name, definition = definition }, Resume)
end

-- Parts that a run before left: { { at, upper, filled, batches, done } }, empty when there are none. columns: how many the key has.
function Resume:parts(columns)
	local function picked(name)
		local out = {}
		for i = 1, columns do out[i] = string.format("%s[%d]", name, i) end
		return table.concat(out, ", ")
	end
	local out = self.m:internal(string.format("SELECT done, filled, batches, at IS NOT NULL, %s, %s FROM pgrehearse.backfill WHERE step = $1 AND definition = $2 ORDER BY part",
		picked "at", picked "upper"), self.step, self.definition)
	local parts = {}
	for i, row in ipairs(out.values) do
		parts[i] = { done = row[1], filled = row[2], batches = row[3], at = row[4] and table.move(row, 5, 4 + columns, 1, {}) or nil, upper = table.move(row, 5 + columns, 4 + 2 * columns, 1, {}) }
	end
	return parts
end

function Resume:begin(parts)
	self.m:internal("DELETE FROM pgrehearse.backfill WHERE step = $1", self.step)
	for i, part in ipairs(parts) do
		self.m:internal("INSERT INTO pgrehearse.backfill (step, part, definition, upper, at) VALUES ($1, $2::int4, $3, $4::text[], $5::text[])", self.step, i, self.definition, array(part.upper),
			part.at and array(part.at) or nil)
	end
end

-- In the batch's transaction, by its session.
function Resume:note(m, part, at, filled)
	m:internal("UPDATE pgrehearse.backfill SET at = $1::text[], filled = filled + $2::int8, batches = batches + 1, changed = pg_catalog.clock_timestamp() WHERE step = $3 AND part = $4::int4",
		array(at), filled, self.step, part)
end

function Resume:note_done(m, part) m:internal("UPDATE pgrehearse.backfill SET done = true WHERE step = $1 AND part = $2::int4", self.step, part) end

function Resume:forget()
	self.m:internal("DELETE FROM pgrehearse.backfill WHERE step = $1", self.step)
	self.m:internal(FORGET)
end

return Resume
