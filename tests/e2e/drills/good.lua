-- A migration that survives every drill: done becomes state, with an index and a deploy.
local rehearse = require "rehearse"

local SYNC = { [[CREATE FUNCTION sync_state() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF TG_OP = 'INSERT' AND NEW.state IS NULL OR TG_OP = 'UPDATE' AND NEW.done IS DISTINCT FROM OLD.done THEN NEW.state := CASE WHEN NEW.done THEN 'done' ELSE 'open' END;
	ELSE NEW.done := COALESCE(NEW.state, 'open') = 'done'; END IF; RETURN NEW; END $$]],
	"CREATE TRIGGER sync_state BEFORE INSERT OR UPDATE ON notes FOR EACH ROW EXECUTE FUNCTION sync_state()" }
local NO_SYNC = { "DROP TRIGGER sync_state ON notes", "DROP FUNCTION sync_state()" }

return rehearse.scenario {
	title = "done becomes state",
	workload = "notes",
	load = { rate = 60, pods = 2, pool = 2 },
	phases = { warmup = "0", baseline = "1s", settle = "300ms" },
	versions = { v2 = { statements = { get = "SELECT body, state FROM notes WHERE id = $1",
		mark = "UPDATE notes SET seen = seen + 1, state = 'done' WHERE id = $1" } } },
	steps = {
		rehearse.sql { name = "add state", lock_timeout = "150ms", retries = 30, backoff = "20ms",
			up = { "ALTER TABLE notes ADD COLUMN state text", "COMMENT ON COLUMN notes.state IS 'open or done'" }, down = "ALTER TABLE notes DROP COLUMN state" },
		rehearse.sql { name = "keep in step", lock_timeout = "150ms", retries = 30, backoff = "20ms", up = SYNC, down = NO_SYNC },
		rehearse.backfill { name = "fill state", table = "notes", set = "state = CASE WHEN done THEN 'done' ELSE 'open' END", where = "state IS NULL", batch = 500, lock_timeout = "150ms", retries = 30, backoff = "20ms" },
		rehearse.sql { name = "index it", transaction = false, lock_timeout = "150ms", retries = 30, backoff = "20ms", up = "CREATE INDEX CONCURRENTLY notes_state ON notes (state)",
			on_retry = "DROP INDEX CONCURRENTLY IF EXISTS notes_state", down = "DROP INDEX CONCURRENTLY notes_state" },
		rehearse.deploy { name = "roll out", from = "v1", to = "v2", every = "50ms" },
		rehearse.sql { name = "paint", lock_timeout = "150ms", retries = 30, backoff = "20ms", up = "UPDATE tags SET color = 'blue'", down = "UPDATE tags SET color = 'red'" },
	},
	checks = { filled = "SELECT id FROM notes WHERE state IS NULL" },
	criteria = { "migration.completed", "rollback.clean" },
}
