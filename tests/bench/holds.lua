-- Locks held for known times, for holds.sh: in each round the transaction notes by the server's clock when it has its lock, and a session in
-- the queue notes when the lock is given back. HOLDS_TRUTH names the file that gets the lengths, a line a round, in nanoseconds.
local rehearse = require "rehearse"

local ROUNDS = { 30, 80, 200, 400, 900, 30, 80, 200, 400, 900 } -- ms

-- Asks for the lock again and again; when it had to wait it has just been given back. A block's exception gives back what it locked.
local WATCH = [[DO $$ DECLARE began timestamptz; got timestamptz; n int := 0; BEGIN
	WHILE n < %d LOOP
		began := clock_timestamp();
		BEGIN
			LOCK TABLE held IN ACCESS SHARE MODE;
			got := clock_timestamp();
			RAISE EXCEPTION USING ERRCODE = 'P0001';
		EXCEPTION WHEN raise_exception THEN NULL;
		END;
		IF got - began > interval '15 ms' THEN
			n := n + 1;
			INSERT INTO released VALUES (n, got);
		END IF;
		PERFORM pg_sleep(0.002);
	END LOOP;
END $$]]

local watcher -- kept: one that is collected is waited for

local steps = {
	rehearse.sql { name = "tables", irreversible = "it measures",
		up = { "CREATE TABLE held (id int)", "CREATE TABLE got (n int, at timestamptz)", "CREATE TABLE released (n int, at timestamptz)" } },
	rehearse.step { name = "watch", irreversible = "it measures", up = function(m)
		local socket, port, db, role = m:row "SELECT trim('\"' FROM current_setting('unix_socket_directories')), current_setting('port'), current_database(), current_user"
		watcher = io.popen(string.format([[psql -X -q -h '%s' -p %s -U %s -d %s -c "%s" > /dev/null 2>&1]], socket, port, role, db, WATCH:format(#ROUNDS):gsub("%$", "\\$"):gsub("\n%s*", " ")))
		m:sleep "500ms"
	end },
}
for i, ms in ipairs(ROUNDS) do
	steps[#steps + 1] = rehearse.sql { name = "round " .. i, irreversible = "it measures", up = {
		"LOCK TABLE held IN ACCESS EXCLUSIVE MODE",
		string.format("INSERT INTO got VALUES (%d, clock_timestamp())", i),
		string.format("SELECT pg_sleep(%g)", ms / 1000),
	} }
	steps[#steps + 1] = rehearse.step { name = "after round " .. i, irreversible = "it measures", up = function(m) m:sleep "50ms" end }
end
steps[#steps + 1] = rehearse.step { name = "truth", irreversible = "it measures", up = function(m)
	watcher:close() -- it ends when it has seen all rounds
	local file = assert(io.open(os.getenv "HOLDS_TRUTH", "w"))
	for i = 1, #ROUNDS do
		file:write(m:row(string.format("SELECT (extract(epoch FROM r.at - g.at) * 1000000000)::int8 FROM got g JOIN released r USING (n) WHERE n = %d", i)), "\n")
	end
	file:close()
end }

return rehearse.scenario { title = "Locks held", workload = "shop", load = { rate = 20, pods = 1, pool = 2 }, phases = { warmup = "1s", baseline = "1s", settle = "1s" }, steps = steps }
